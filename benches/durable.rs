//! Two whole nodes on loopback, each on a thread and with a file on the disk of its own: how many messages a second are
//! delivered, which is when both disks have them, and how soon one is (performance: P9, P10). Beside them, in the same run
//! and on the same disk, what one commit for each message allows, and bare redb with batches of the same size.
//! `cargo bench --bench durable -- 200000` has so many at last; nothing is asserted.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use p2pchat_udp::{
    clock::Unix,
    crypto::identity::Identity,
    id::{BatchId, BootId, ConversationId, Incarnation, MessageId, PeerId, Seq},
    net::{
        committer::{Committer, Keep},
        driver::{Driver, DriverConfig},
        handle::{Handle, Subscription},
        socket::{Groups, SocketConfig},
    },
    node::{
        NodeConfig,
        command::{Command, Reply},
        event::Event,
    },
    store::{
        Fresh, Store,
        row::{Direction, HistoryRow, Op, OutboxRow, State, WriteBatch},
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use redb::{Database, TableDefinition};
use tokio::{
    runtime::{self, Runtime},
    sync::oneshot,
    task::JoinSet,
};

/// Bytes of each text.
const TEXT_LEN: usize = 100;
/// Who gives messages to the node at the same time, each one after the other.
const GIVERS: u64 = 1_024;
/// One message at a time.
const SINGLE: u64 = 100;
/// The same, beside what each is made of.
const TYPED: u64 = 300;
const PAUSE: Duration = Duration::from_millis(20);
const WAIT: Duration = Duration::from_secs(10);
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// A node on its thread.
struct Running {
    handle: Handle,
    runtime: runtime::Handle,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(dir: &Path, name: &'static str) -> Self {
        let secret = *Identity::generate(&mut ChaCha20Rng::from_seed([name.as_bytes()[0]; 32])).secret();
        let fresh = Fresh { secret, name: name.to_owned(), boot: BootId(0) };
        let dir = dir.join(name);
        let store = Store::create(&dir, &fresh).expect("a new profile");
        let (tell, told) = std::sync::mpsc::channel();
        let drive = move || {
            let runtime = new_runtime();
            let mut groups = Groups::default();
            let port = 20_000 + u16::try_from(std::process::id() % 10_000).expect("less than 10,000");
            groups.v4.set_port(port);
            groups.v6.set_port(port);
            let listen = Some(":0".parse().expect("every address"));
            let sockets = SocketConfig { listen, groups, no_lan: false, interfaces: vec!["lo".to_owned()] };
            let node = NodeConfig { name: name.to_owned(), ..NodeConfig::default() };
            let keep = Keep { dir: Some(dir), retention: None };
            let driver = {
                let _within = runtime.enter();
                let (driver, handle) = Driver::start(DriverConfig { sockets, node, keep }, store).expect("a network");
                tell.send((handle, runtime.handle().clone())).expect("somebody waits for it");
                driver
            };
            runtime.block_on(driver.run());
        };
        let thread = thread::spawn(drive);
        let (handle, runtime) = told.recv().expect("a node");
        Self { handle, runtime, thread }
    }

    fn call(&self, command: Command) -> Reply {
        new_runtime().block_on(self.handle.call(command))
    }

    /// What it has committed so far.
    fn commits(&self) -> u64 {
        self.handle.reader().commits().expect("nothing is damaged")
    }

    /// Runs on the node's own thread, where a front door runs.
    fn within<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = oneshot::channel();
        self.runtime.spawn(async move { drop(tell.send(work.await)) });
        told.blocking_recv().expect("it runs to its end")
    }

    fn leave(self) {
        assert_eq!(self.call(Command::Leave), Reply::Left);
        self.thread.join().expect("it ends well");
    }
}

fn new_runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_all().build().expect("the system gives one")
}

fn send(peer: PeerId, n: u64) -> Command {
    Command::Send { peer, id: message(n), kind: 0, text: "x".repeat(TEXT_LEN), expire: None }
}

fn message(n: u64) -> MessageId {
    MessageId::new(1_700_000_000_000 + n, &[7; 10])
}

/// Gives these messages to the node, as fast as it takes them, from another thread than its own.
async fn give(handle: Handle, peer: PeerId, first: u64, count: u64) {
    let mut givers = JoinSet::new();
    for giver in 0..GIVERS.min(count) {
        let handle = handle.clone();
        givers.spawn(async move {
            for n in (first + giver..first + count).step_by(usize::try_from(GIVERS).expect("it is small")) {
                let reply = handle.call(send(peer, n)).await;
                assert_eq!(reply, Reply::Queued(message(n)));
            }
        });
    }
    while let Some(ended) = givers.join_next().await {
        ended.expect("all are queued");
    }
}

/// How long it takes to give these messages and have all of them delivered.
fn pipelined(node: &Running, peer: PeerId, first: u64, count: u64) -> Duration {
    let mut events = node.handle.subscribe();
    let started = Instant::now();
    let handle = node.handle.clone();
    let giving = thread::spawn(move || new_runtime().block_on(give(handle, peer, first, count)));
    let took = node.within(async move {
        let mut delivered = 0;
        while delivered < count {
            delivered += u64::from(matches!(&*next(&mut events).await, Event::Status { state: State::Delivered, .. }));
        }
        started.elapsed()
    });
    giving.join().expect("all are queued");
    took
}

async fn next(events: &mut Subscription) -> Arc<Event> {
    tokio::time::timeout(WAIT, events.next()).await.expect("something happens").expect("it is read quickly enough")
}

/// One after the other, each given once the one before is delivered; how long each took.
async fn one_at_a_time(handle: Handle, peer: PeerId, first: u64, count: u64) -> Vec<Duration> {
    let mut events = handle.subscribe();
    let mut times = Vec::new();
    for n in first..first + count {
        let started = Instant::now();
        let reply = handle.call(send(peer, n)).await;
        assert_eq!(reply, Reply::Queued(message(n)));
        let is_it = |event: &Event| matches!(event, Event::Status { id, state: State::Delivered, .. } if *id == message(n));
        while !is_it(&*next(&mut events).await) {}
        times.push(started.elapsed());
    }
    times
}

/// The round trip of a ping over the open session.
async fn ping(handle: Handle, peer: PeerId) -> Duration {
    let started = Instant::now();
    let reply = handle.call(Command::Ping { peer, timeout: WAIT }).await;
    assert!(matches!(reply, Reply::Ponged(pong) if pong.rtt.is_some()));
    started.elapsed()
}

/// The time that so many of a thousand are done in.
fn quantile(times: &mut [Duration], per_mille: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * per_mille / 1_000].as_secs_f64() * 1e6
}

fn say(what: &str, times: &mut [Duration]) -> f64 {
    let (middle, late) = (quantile(times, 500), quantile(times, 990));
    println!("{what:<52} p50 {middle:>8.0} µs   p99 {late:>8.0} µs");
    middle
}

/// What [`Command::Send`] writes, and what its receiver does.
fn queue(n: u64) -> [Op; 2] {
    let mut base = [0x66; 32]; // the base point
    base[0] = 0x58;
    let peer = PeerId::from_bytes(base).expect("a valid key");
    let (conversation, seq, id, text) = (ConversationId::from_bytes([1; 32]), Seq(n), message(n), "x".repeat(TEXT_LEN));
    let row = OutboxRow { conversation, peer, seq, id, kind: 0, text: text.clone(), created: Unix(n), expires: None, void: None };
    let history = HistoryRow {
        id,
        conversation,
        peer,
        name: String::new(),
        direction: Direction::Out,
        incarnation: Incarnation(1),
        seq,
        kind: 0,
        text,
        more: Vec::new(),
        sent_at: Unix(n),
        received_at: Unix(n),
        late: false,
        state: State::Queued,
        reason: String::new(),
    };
    let received =
        HistoryRow { id: message(n + (1 << 40)), direction: Direction::In, state: State::Delivered, ..history.clone() };
    [Op::Queue(row, history), Op::Receive(received)]
}

fn insert(database: &Database, numbers: std::ops::Range<u64>) {
    let mut transaction = database.begin_write().expect("nothing is wrong with the disk");
    transaction.set_quick_repair(true);
    {
        let mut rows = transaction.open_table(ROWS).expect("the one table");
        for n in numbers {
            rows.insert(n, [7; TEXT_LEN].as_slice()).expect("room");
        }
    }
    transaction.commit().expect("room");
}

/// Rows a second that bare redb makes durable, so many in each commit: in one file, and in each of two at the same time.
fn bare(dir: &Path, batch: u64, count: u64) -> [f64; 2] {
    let batches = (count / batch).clamp(3, 200);
    let rate = |name: &str| {
        let database = Database::create(dir.join(format!("bare-{batch}-{count}-{name}"))).expect("a new file");
        let took = timed(|| (0..batches).for_each(|n| insert(&database, n * batch..(n + 1) * batch)));
        (batch * batches) as f64 / took.as_secs_f64()
    };
    let both = thread::scope(|scope| {
        let other = scope.spawn(|| rate("other"));
        rate("one").min(other.join().expect("room"))
    });
    [rate("alone"), both]
}

/// The kind of file system on which this directory lies.
fn file_system(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let lines = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above: BTreeMap<_, _> = lines.filter(|(at, _)| dir.starts_with(at)).map(|(at, kind)| (at.len(), kind)).collect();
    above.last_key_value().map_or("unknown", |(_, kind)| kind).to_owned()
}

/// CPU seconds of this process so far, both nodes and all that drives them.
fn cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("it is this process");
    [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).iter().sum()
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// Messages one at a time, each beside what it is made of: on a disk that others use too, what one takes changes from one
/// moment to the next. `pause` goes before each: after one, as people make them, a processor has to wake and its caches are
/// cold, which all of these feel.
fn typed(dir: &Path, pause: Duration, [alice, bob]: [&Running; 2], take: &mut impl FnMut(u64) -> u64) {
    let dir = &dir.join(format!("{}", pause.as_micros()));
    std::fs::create_dir(dir).expect("room");
    let fresh = Fresh { secret: [0; 32], name: String::new(), boot: BootId(1) };
    let store = Store::create(&dir.join("single"), &fresh).expect("a new profile");
    let mut committer = Committer::spawn(store, Keep::default()).expect("a thread");
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let database = Database::create(dir.join("single.redb")).expect("a new file");
    let peer = bob.handle.id();
    let [mut bare, mut own, mut theirs, mut round, mut typed, mut bare_goals, mut goals] = [const { Vec::new() }; 7];
    for n in 1..=TYPED {
        thread::sleep(pause);
        bare.push(timed(|| insert(&database, n..n + 1)));
        thread::sleep(pause);
        for (op, times) in queue(n).into_iter().zip([&mut own, &mut theirs]) {
            let batch = WriteBatch { id: BatchId(n), ops: Arc::new(vec![op]) };
            times.push(timed(|| {
                committer.submit(batch);
                runtime.block_on(committer.committed()).1.expect("room");
            }));
            thread::sleep(pause);
        }
        round.push(alice.within(ping(alice.handle.clone(), peer)));
        thread::sleep(pause);
        typed.extend(alice.within(one_at_a_time(alice.handle.clone(), peer, take(1), 1)));
        let trips = round[round.len() - 1] * 3 / 2;
        bare_goals.push(bare[bare.len() - 1] * 2 + trips);
        goals.push(own[own.len() - 1] + theirs[theirs.len() - 1] + trips);
    }
    println!("\none at a time, the session open, after {pause:?} of nothing");
    _ = say("commit of one row, bare redb", &mut bare);
    _ = say("the store's thread commits one queued message", &mut own);
    _ = say("the store's thread commits one received message", &mut theirs);
    _ = say("a ping and its answer", &mut round);
    let bare_goal = say("two bare commits and one and a half round trips", &mut bare_goals);
    let goal = say("the same with the two commits of the store's thread", &mut goals);
    let middle = say("given to delivered", &mut typed);
    println!("{:<52} p50 {:>8.2} and {:.2}", "  of each", middle / bare_goal, middle / goal);
}

/// How many a second are delivered one after the other, each given at once after the one before.
fn single(node: &Running, peer: PeerId, first: u64) -> f64 {
    let times = node.within(one_at_a_time(node.handle.clone(), peer, first, SINGLE));
    SINGLE as f64 / times.iter().sum::<Duration>().as_secs_f64()
}

fn main() {
    let last = std::env::args().skip(1).find(|arg| arg != "--bench");
    let last: u64 = last.map_or(20_000, |arg| arg.parse().expect("how many messages"));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a place to write");
    println!("on {}, {} cores", file_system(dir.path()), thread::available_parallelism().map_or(0, usize::from));
    let [alice, bob] = ["alice", "bob"].map(|name| Running::start(dir.path(), name));
    let ids = [alice.handle.id(), bob.handle.id()];
    for (node, peer) in [(&alice, ids[1]), (&bob, ids[0])] {
        let contact = Command::AddContact { peer, petname: None, name: None, seeds: Vec::new() };
        assert_eq!(node.call(contact), Reply::Done);
    }
    let mut numbers = 0..;
    let mut take =
        |count: u64| (numbers.by_ref().nth(usize::try_from(count - 1).expect("it is small")).expect("endless") + 1) - count;
    _ = alice.within(one_at_a_time(alice.handle.clone(), ids[1], take(20), 20));

    typed(dir.path(), PAUSE, [&alice, &bob], &mut take);
    typed(dir.path(), Duration::ZERO, [&alice, &bob], &mut take);
    println!(
        "\n{:>8} {:>10} {:>9} {:>10} {:>15} {:>12} {:>8} {:>13} {:>8}",
        "messages", "durable/s", "single/s", "of single", "a commit, each", "bare redb/s", "of bare", "of two files", "µs CPU"
    );
    let growth = [200, 2_000, 20_000, 200_000, 2_000_000];
    for count in growth.into_iter().take_while(|count| *count <= last) {
        let single = single(&alice, ids[1], take(SINGLE));
        let (before, cpu_before) = ([alice.commits(), bob.commits()], cpu());
        let took = pipelined(&alice, ids[1], take(count), count);
        let cpu = (cpu() - cpu_before) / count as f64 * 1e6;
        let batches = [alice.commits() - before[0], bob.commits() - before[1]].map(|commits| count as f64 / commits as f64);
        let durable = count as f64 / took.as_secs_f64();
        let [bare, both] = bare(dir.path(), (batches[1].round() as u64).max(1), count);
        println!(
            "{count:>8} {durable:>10.0} {single:>9.0} {:>10.1} {:>6.1} {:>8.1} {bare:>12.0} {:>8.2} {:>13.2} {cpu:>8.1}",
            durable / single,
            batches[0],
            batches[1],
            durable / bare,
            durable / both,
        );
    }
    alice.leave();
    bob.leave();
}
