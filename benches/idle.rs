//! A node with many open sessions in which nothing is said: what each keeps in memory, and what all of them cost of a core,
//! keepalives included (performance: P8). The peers are nodes too, in a process of their own, over real sockets of this machine.
//! `cargo bench --bench idle -- 1000` has so many; nothing is asserted.

use std::{
    alloc::System,
    cell::RefCell,
    future::pending,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command as Process, Stdio},
    rc::Rc,
    time::Duration,
};

use p2pchat_udp::{
    clock::Unix,
    crypto::identity::Identity,
    id::{BootId, MessageId, PeerId},
    net::{
        clock::now,
        committer::Keep,
        driver::{Driver, DriverConfig},
        handle::Handle,
        socket::SocketConfig,
    },
    node::{
        Datagram, Node, NodeConfig, SocketKind, Target,
        command::{Command, CommandId, Reply},
        event::Event,
        interface::Interface,
    },
    store::{
        CACHE_LEN, Fresh, Store,
        row::{Contact, Trust},
    },
    wire::{DATAGRAM_LEN_JUMBO, TEXT_LEN_MAX},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use redb::backends::InMemoryBackend;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::{net::UdpSocket, runtime, task::LocalSet, time::sleep};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Until what a handshake leaves behind is gone, the session that lost against another one among it, and the first keepalive
/// has come.
const SETTLE: Duration = Duration::from_secs(18);
/// Two keepalives.
const IDLE: Duration = Duration::from_secs(30);
/// From one peer's first word to the next one's.
const NEXT: Duration = Duration::from_millis(4);
const PATIENCE: Duration = Duration::from_secs(60);

/// Number 0 is the node that is measured.
fn identity(number: u64) -> Identity {
    let mut rng_seed = [5; 32];
    rng_seed[..8].copy_from_slice(&number.to_le_bytes());
    Identity::generate(&mut ChaCha20Rng::from_seed(rng_seed))
}

fn run(work: impl Future<Output = ()>) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("the system gives one");
    LocalSet::new().block_on(&runtime, work);
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |at: usize| args.get(at).map(|arg| arg.parse::<u64>().expect("a number"));
    if args.first().is_some_and(|arg| arg == "peers") {
        let port = u16::try_from(number(1).expect("the port")).expect("a port");
        return run(peers(port, number(2).expect("how many")));
    }
    println!("{:>8} {:>21} {:>10} {:>17}", "", "bytes on the heap of", "resident", "datagrams/minute");
    println!(
        "{:>8} {:>10} {:>10} {:>10} {:>8} {:>8} {:>12}",
        "sessions", "a contact", "a session", "of it", "in", "out", "% of a core"
    );
    let asked: Vec<_> = (0..args.len()).filter_map(number).collect();
    for count in if asked.is_empty() { vec![0, 100, 1_000, 2_000] } else { asked } {
        run(measure(count));
    }
}

/// What is allocated now, in bytes.
fn heap() -> f64 {
    let stats = HEAP.stats();
    stats.bytes_allocated as f64 - stats.bytes_deallocated as f64
}

/// What of this process is in memory, in bytes; 0 where the system does not say.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or_default() * 4_096.0
}

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("it is this process");
    [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).iter().sum()
}

/// The peers of a measurement; they end with it.
struct Peers(Child);

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn measure(count: u64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a place to write");
    let fresh = Fresh { secret: *identity(0).secret(), name: "idle".to_owned(), boot: BootId(0) };
    let store = Store::create(dir.path(), &fresh).expect("a new profile");
    let listen = Some("127.0.0.1:0".parse().expect("an address"));
    let sockets = SocketConfig { listen, no_lan: true, ..SocketConfig::default() };
    let node = NodeConfig { name: "idle".to_owned(), ..NodeConfig::default() };
    let config = DriverConfig { sockets, node, keep: Keep::default() };
    let (driver, handle) = Driver::start(config, store).expect("a network");
    let node = tokio::task::spawn_local(driver.run());
    fill_cache(&handle).await;
    sleep(SETTLE / 8).await;
    let alone = heap();
    let mut asked = Vec::new();
    for number in 1..=count {
        let (handle, peer) = (handle.clone(), identity(number).id());
        let add = Command::AddContact { peer, petname: None, name: None, seeds: Vec::new() };
        asked.push(tokio::task::spawn_local(async move { handle.call(add).await }));
    }
    for asked in asked {
        assert_eq!(asked.await.expect("it runs to its end"), Reply::Done);
    }
    sleep(SETTLE / 4).await;
    let before = [heap(), resident()];
    let peers = start_peers(&handle, count).await;
    sleep(SETTLE).await;
    let after = [heap(), resident()];
    let (counted, spent) = (handle.counts(), cpu());
    sleep(IDLE).await;
    let spent = (cpu() - spent) / IDLE.as_secs_f64() * 100.0;
    let Reply::Status(status) = handle.call(Command::Status).await else { panic!("no status") };
    let counts = handle.counts();
    let each = count.max(1) as f64;
    let [heap, resident] = [0, 1].map(|at| (after[at] - before[at]) / each);
    let contact = (before[0] - alone) / each;
    let datagrams = [counts.received - counted.received, counts.sent - counted.sent];
    let [received, sent] = datagrams.map(|datagrams| datagrams as f64 / each / IDLE.as_secs_f64() * 60.0);
    println!("{:>8} {contact:>10.0} {heap:>10.0} {resident:>10.0} {received:>8.1} {sent:>8.1} {spent:>12.3}", status.sessions);
    assert_eq!(u64::try_from(status.sessions), Ok(count), "all are open");
    drop(peers);
    assert_eq!(handle.call(Command::Leave).await, Reply::Left);
    node.await.expect("it ends well");
}

/// What the store keeps of its file in memory has a limit. Filled now, it counts for no contact and no session later.
async fn fill_cache(handle: &Handle) {
    let peer = identity(u64::MAX).id();
    let texts = u64::try_from(2 * CACHE_LEN / TEXT_LEN_MAX).expect("it is small");
    for n in 0..texts {
        let (id, text) = (MessageId::new(n, &[1; 10]), "x".repeat(TEXT_LEN_MAX));
        let reply = handle.call(Command::Send { peer, id, kind: 0, text, expire: None }).await;
        assert_eq!(reply, Reply::Queued(id));
    }
}

/// Returns once each has a session.
async fn start_peers(handle: &Handle, count: u64) -> Peers {
    let mut process = Process::new(std::env::current_exe().expect("this one"));
    process.args(["peers", &handle.port().to_string(), &count.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = process.spawn().expect("it starts");
    let said = BufReader::new(child.stdout.take().expect("it is piped"));
    let peers = Peers(child);
    let line = tokio::task::spawn_blocking(move || said.lines().next()).await.expect("it runs to its end");
    line.expect("all are open").expect("it is text");
    peers
}

/// So many peers of the node at this port, whose disks are one, in memory.
async fn peers(port: u16, count: u64) {
    let fresh = Fresh { secret: [0; 32], name: String::new(), boot: BootId(0) };
    let store = Rc::new(RefCell::new(Store::create_backend(InMemoryBackend::new(), &fresh).expect("room")));
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (opened, mut open) = tokio::sync::mpsc::unbounded_channel();
    for number in 1..=count {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there are ports");
        tokio::task::spawn_local(peer(number, socket, to, Rc::clone(&store), opened.clone()));
        sleep(NEXT).await;
    }
    for _ in 0..count {
        open.recv().await.expect("each says so");
    }
    println!("open");
    pending().await
}

/// The node that is measured, as each of its peers knows it.
fn contact(id: PeerId, addr: SocketAddr) -> Contact {
    Contact {
        id,
        more_ids: Vec::new(),
        name: "idle".to_owned(),
        petname: None,
        trust: Trust::Unknown,
        added: true,
        since: Unix(0),
        last_heard: None,
        boot: BootId(0),
        announce_seq: 0,
        addresses: vec![addr],
        seeds: Vec::new(),
        request: None,
        receipts: None,
        refused: false,
    }
}

async fn peer(
    number: u64,
    socket: UdpSocket,
    to: SocketAddr,
    store: Rc<RefCell<Store>>,
    opened: tokio::sync::mpsc::UnboundedSender<()>,
) {
    let reader = store.borrow().reader();
    let mut loaded = reader.load().expect("it is there");
    let (me, other) = (identity(number), identity(0).id());
    (loaded.secret, loaded.boot, loaded.contacts) = (*me.secret(), BootId(1), vec![contact(other, to)]);
    let mut rng_seed = [9; 32];
    rng_seed[..8].copy_from_slice(&number.to_le_bytes());
    let config = NodeConfig { port: socket.local_addr().expect("bound").port(), ..NodeConfig::default() };
    let mut node = Node::new(config, me, loaded, reader, rng_seed, now());
    let (index, name, addrs) = (1, "lo".to_owned(), vec![(Ipv4Addr::LOCALHOST.into(), 8)]);
    let loopback = Interface { index, name, addrs, multicast: false, loopback: true, point_to_point: false };
    node.handle_interfaces(now(), vec![loopback]);
    node.handle_command(now(), CommandId(1), Command::Ping { peer: other, timeout: PATIENCE });
    let (mut buffer, mut out) = (vec![0; DATAGRAM_LEN_JUMBO], Vec::new());
    loop {
        while let Some(batch) = node.poll_write() {
            let id = batch.id;
            let outcome = store.borrow_mut().commit(batch);
            node.handle_committed(now(), id, outcome);
        }
        while let Some(target) = node.poll_transmit(now(), &mut out) {
            if let Target::Unicast(to) = target {
                // What finds no room is lost, as on any network.
                let _ = socket.try_send_to(&out, to);
            }
        }
        while let Some(event) = node.poll_event() {
            if let Event::Reply(_, Reply::Ponged(pong)) = event {
                assert!(pong.rtt.is_some(), "no answer");
                let _ = opened.send(());
            }
        }
        let wait = node.poll_timeout().map_or(PATIENCE, |at| at.since(now().instant));
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let Ok((len, from)) = received else { continue };
                let bytes = &mut buffer[..len];
                let datagram = Datagram { from, interface: index, socket: SocketKind::Session, hop_limit: None, bytes };
                node.handle_datagram(now(), datagram);
            }
            () = sleep(wait) => node.handle_timeout(now()),
        }
    }
}
