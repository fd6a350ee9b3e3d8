//! The store against disks that are cut off, full or broken (docs: proof T2): whatever was reported
//! committed is there whole, nothing later is half there, and work goes on.
//!
//! `STORE_CRASH_SEED=n` runs one seed of the first test, `STORE_CRASH_SEEDS=n` so many.

mod journal;

use std::{env, fmt::Write, sync::Arc, time::Instant};

use journal::{Crashes, Disk, Failure};
use p2pchat_udp::{
    clock::Unix,
    id::{BatchId, BootId, ConversationId, Incarnation, MessageId, PeerId, Seq},
    store::{
        Fresh, HistoryQuery, Reader, Store, hush_caught_panics,
        row::{
            CommitError, Committed, ConversationRow, Direction, HELD_VOID, HistoryRow, MineRow, Op, OutboxRow, State, VoidReason,
            WriteBatch,
        },
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

const PEERS: u64 = 2;
const SEQS: u64 = 6;
const IDS: u64 = 24;
/// Seeds of the crash test in CI; each is a workload of its own.
const SEEDS: u64 = 5;
/// Images per crash point.
const IMAGES: usize = 3;

/// Ids and conversations of the workloads, made once: keys are slow.
struct Cast {
    peers: Vec<PeerId>,
    conversations: Vec<ConversationId>,
}

impl Cast {
    fn new() -> Self {
        let keys = (0..=u8::MAX).map(|i| ed25519_dalek::SigningKey::from_bytes(&[i; 32]).verifying_key().to_bytes());
        let ids: Vec<_> = keys.filter_map(|key| PeerId::from_bytes(key).ok()).take(PEERS as usize + 1).collect();
        let conversations = ids[1..].iter().map(|peer| ConversationId::direct(&ids[0], peer)).collect();
        Self { peers: ids[1..].to_vec(), conversations }
    }
}

fn below(rng: &mut ChaCha20Rng, end: u64) -> u64 {
    rng.next_u64() % end
}

fn message(rng: &mut ChaCha20Rng) -> (MessageId, String) {
    let n = below(rng, IDS);
    let text = if n.is_multiple_of(11) { "long ".repeat(2_000) } else { format!("message {n}") };
    (MessageId::new(n, &[3; 10]), text)
}

fn line(cast: &Cast, rng: &mut ChaCha20Rng, direction: Direction) -> HistoryRow {
    let peer = below(rng, PEERS) as usize;
    let (id, text) = message(rng);
    HistoryRow {
        id,
        conversation: cast.conversations[peer],
        peer: cast.peers[peer],
        name: String::new(),
        direction,
        incarnation: Incarnation(1 + below(rng, 2)),
        seq: Seq(1 + below(rng, SEQS)),
        kind: 0,
        text,
        more: Vec::new(),
        sent_at: Unix(below(rng, 1_000)),
        received_at: Unix(below(rng, 1_000)),
        late: false,
        state: if direction == Direction::In { State::Delivered } else { State::Queued },
        reason: String::new(),
    }
}

fn outbox_row(line: &HistoryRow, void: Option<VoidReason>) -> OutboxRow {
    OutboxRow {
        conversation: line.conversation,
        peer: line.peer,
        seq: line.seq,
        id: line.id,
        kind: line.kind,
        text: if void.is_some() { String::new() } else { line.text.clone() },
        created: line.sent_at,
        expires: None,
        void,
    }
}

/// Any operation: the store must put up with all of them in any order.
fn any_op(cast: &Cast, rng: &mut ChaCha20Rng) -> Op {
    let mine = line(cast, rng, Direction::Out);
    let theirs = line(cast, rng, Direction::In);
    match below(rng, 14) {
        0..=2 => Op::Queue(outbox_row(&mine, None), mine),
        3 => Op::Outbox(outbox_row(&mine, (below(rng, 2) == 0).then_some(VoidReason::Cancelled))),
        4 => Op::Settle { conversation: mine.conversation, seq: mine.seq, state: State::Delivered, reason: "" },
        5 => Op::Unqueue(mine.conversation, mine.seq),
        6 => Op::State(mine.id, State::Read),
        7..=8 => Op::Receive(theirs),
        9 => Op::Hold(theirs),
        10 => Op::Hold(HistoryRow { kind: HELD_VOID, text: String::new(), ..theirs }),
        11 => Op::Release(theirs.conversation, theirs.incarnation, theirs.seq),
        12 => Op::MarkRead(theirs.peer, theirs.id),
        _ => Op::Conversation(ConversationRow {
            id: mine.conversation,
            peer: mine.peer,
            mine: MineRow { incarnation: mine.incarnation, next: mine.seq, previous: None, sent_below: None },
            yours: Vec::new(),
            unread: 0,
            read: Vec::new(),
        }),
    }
}

fn workload(cast: &Cast, rng: &mut ChaCha20Rng, batches: u64) -> Vec<WriteBatch> {
    let batch = |id| {
        // Sometimes so many that the ids of new messages do not wait.
        let more = if below(rng, 8) == 0 { 33 } else { 0 };
        WriteBatch { id: BatchId(id), ops: Arc::new((0..=below(rng, 8) + more).map(|_| any_op(cast, rng)).collect()) }
    };
    (1..=batches).map(batch).collect()
}

/// All that can be read, as text.
fn dump(cast: &Cast, reader: &Reader) -> String {
    let mut all = String::new();
    let loaded = reader.load().expect("it can be loaded");
    write!(all, "{:?}\n{:?}\n{:?}\n", loaded.conversations, loaded.outbox_counts, loaded.damaged).unwrap();
    let mut query = HistoryQuery { after: Some(0), ..HistoryQuery::default() };
    loop {
        let page = reader.history(&query).expect("the history can be read");
        let Some((last, _)) = page.rows.last() else { break };
        query.after = Some(*last);
        writeln!(all, "{page:?}").unwrap();
    }
    writeln!(all, "{:?}", reader.outbox_page(None, usize::MAX).expect("the outbox can be read")).unwrap();
    writeln!(all, "{:?}", reader.unread().expect("the counts can be read")).unwrap();
    for conversation in &cast.conversations {
        for place in 0..SEQS * 2 {
            let (incarnation, seq) = (Incarnation(1 + place / SEQS), Seq(1 + place % SEQS));
            let held = reader.held(*conversation, incarnation, seq).expect("what is held can be read");
            let id = reader.received_id(*conversation, incarnation, seq).expect("the ids can be read");
            writeln!(all, "{held:?} {id:?}").unwrap();
        }
    }
    all
}

fn created() -> Vec<u8> {
    let disk = Disk::default();
    let fresh = Fresh { secret: [7; 32], name: "alice".to_owned(), boot: BootId(1) };
    drop(Store::create_backend(disk.clone(), &fresh).unwrap());
    disk.image()
}

/// What a commit told, in words.
fn told(batch: &WriteBatch, committed: &Committed) -> String {
    let mut all = String::new();
    for op in batch.ops.iter() {
        if let Op::Receive(row) | Op::Hold(row) = op {
            write!(all, "{}", u8::from(committed.is_duplicate(row))).unwrap();
        }
    }
    let released: Vec<_> = committed.released().iter().map(HistoryRow::place).collect();
    write!(all, " {released:?}").unwrap();
    all
}

/// A workload's run on a good disk.
struct Run {
    batches: Vec<WriteBatch>,
    start: Vec<u8>,
    disk: Disk,
    /// What can be read after so many batches, and what the commits told.
    states: Vec<String>,
    told: Vec<String>,
}

fn run(cast: &Cast, rng: &mut ChaCha20Rng, batches: u64) -> Run {
    let batches = workload(cast, rng, batches);
    let start = created();
    let disk = Disk::holding(start.clone());
    let mut store = Store::open_backend(disk.clone()).unwrap();
    let mut states = vec![dump(cast, &store.reader())];
    let mut told_all = Vec::new();
    for (done, batch) in batches.iter().enumerate() {
        let committed = store.commit(batch).unwrap();
        disk.mark(done + 1);
        told_all.push(told(batch, &committed));
        states.push(dump(cast, &store.reader()));
    }
    drop(store);
    Run { batches, start, disk, states, told: told_all }
}

/// Opens what a crash left and checks it; then writes on.
fn check(cast: &Cast, run: &Run, marked: usize, image: Vec<u8>, rng: &mut ChaCha20Rng) -> Result<u64, String> {
    let mut points = 1;
    let disk = Disk::holding(image.clone());
    let store = Store::open_backend(disk.clone()).map_err(|error| format!("does not open: {error}"))?;
    whole(cast, run, marked, &store)?;
    // A second crash, somewhere in the recovery of the first.
    let steps = disk.steps();
    let mut crashes = Crashes::new(image, &steps);
    for _ in 0..below(rng, steps.len() as u64 + 1) {
        crashes.advance();
    }
    if !steps.is_empty() {
        points += 1;
        let again = Store::open_backend(Disk::holding(crashes.image(rng))).map_err(|error| format!("second: {error}"))?;
        whole(cast, run, marked, &again)?;
    }
    let mut store = store;
    let name = "al".repeat(50);
    let batch = WriteBatch { id: BatchId(1), ops: vec![Op::Name(name.clone())].into() };
    store.commit(batch).map_err(|error| format!("does not go on: {error}"))?;
    if store.reader().load().map_err(|error| error.to_string())?.name != name {
        return Err("what is written afterwards is not there".to_owned());
    }
    whole(cast, run, marked, &store)?;
    Ok(points)
}

/// Every batch that was reported committed, and of the next one all or nothing.
fn whole(cast: &Cast, run: &Run, marked: usize, store: &Store) -> Result<(), String> {
    let state = dump(cast, &store.reader());
    let next = run.states.get(marked + 1);
    if state == run.states[marked] || Some(&state) == next {
        return Ok(());
    }
    Err(format!("after {marked} batches: {state}\nneither {}\nnor {next:?}", run.states[marked]))
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn a_crash_at_any_operation_loses_nothing_committed_and_halves_nothing() {
    let started = Instant::now();
    let cast = Cast::new();
    let seeds = match number("STORE_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STORE_CRASH_SEEDS").unwrap_or(SEEDS),
    };
    let points = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let (cast, seeds) = (&cast, seeds.clone());
            scope.spawn(move || seeds.filter(|seed| seed % 2 == half).map(|seed| crash_everywhere(cast, seed)).sum::<u64>())
        });
        halves.map(|half| half.join().expect("a half failed")).iter().sum::<u64>()
    });
    println!("store: {points} crash points, rng seeds {seeds:?}, {:.1} s", started.elapsed().as_secs_f32());
    let asked = seeds.end - seeds.start;
    assert!(points >= 2_000 * asked, "the crashes did not happen");
}

fn crash_everywhere(cast: &Cast, rng_seed: u64) -> u64 {
    let mut rng = ChaCha20Rng::seed_from_u64(rng_seed);
    let run = run(cast, &mut rng, 24);
    let steps = run.disk.steps();
    let mut crashes = Crashes::new(run.start.clone(), &steps);
    let mut points = 0;
    let mut step = 0;
    loop {
        for image in 0..IMAGES {
            match check(cast, &run, crashes.marked(), crashes.image(&mut rng), &mut rng) {
                Ok(more) => points += more,
                Err(why) => panic!(
                    "rng seed {rng_seed}, step {step} of {}, image {image}: {why}\n\
                     replay: STORE_CRASH_SEED={rng_seed} cargo test --test store_crash -- --nocapture a_crash",
                    steps.len()
                ),
            }
        }
        step += 1;
        if !crashes.advance() {
            return points;
        }
    }
}

#[test]
fn an_error_of_the_disk_at_any_operation_is_survived() {
    let cast = Cast::new();
    let mut errors = 0;
    for (rng_seed, failure) in [(100, Failure::Io), (101, Failure::Full), (102, Failure::Io)] {
        let run = run(&cast, &mut ChaCha20Rng::seed_from_u64(rng_seed), 6);
        let mut at = 0;
        loop {
            // Once, or for as long as it takes for several tries to fail.
            let count = if at % 3 == 0 { 4 } else { 1 };
            match fail_at(&cast, &run, at, count, failure) {
                Ok(0) => break,
                Ok(failed) => errors += failed,
                Err(why) => panic!(
                    "rng seed {rng_seed}, {failure:?} at operation {at}, {count} times: {why}\n\
                     replay: cargo test --test store_crash -- --nocapture an_error_of"
                ),
            }
            at += 1;
        }
    }
    println!("store: {errors} errors of the disk");
    assert!(errors >= 300, "the errors did not happen");
}

/// Runs the workload with an error at operation `at`; a failed batch is tried again. The number of
/// errors that happened.
fn fail_at(cast: &Cast, run: &Run, at: u64, count: u64, failure: Failure) -> Result<u64, String> {
    let disk = Disk::holding(run.start.clone());
    let mut store = Store::open_backend(disk.clone()).map_err(|error| format!("does not open: {error}"))?;
    disk.fail(at, count, failure);
    for (done, batch) in run.batches.iter().enumerate() {
        let mut tries = 0;
        let committed = loop {
            match store.commit(batch) {
                Ok(committed) => break committed,
                Err(error) if tries < 8 => {
                    if error == CommitError::Full {
                        let state = dump_if_open(cast, &store.reader());
                        if failure != Failure::Full || state.is_some_and(|state| state != run.states[done]) {
                            return Err(format!("batch {done} is reported as without room, and is there"));
                        }
                    }
                    tries += 1;
                }
                Err(error) => return Err(format!("batch {done} fails for ever: {error}")),
            }
        };
        let words = told(batch, &committed);
        if words != run.told[done] {
            return Err(format!("batch {done} told {words} instead of {}", run.told[done]));
        }
    }
    let state = dump(cast, &store.reader());
    if Some(&state) != run.states.last() {
        return Err(format!("the end is {state}"));
    }
    // The power fails; what a failed sync had not written was not written later by itself.
    let after = Store::open_backend(Disk::holding(disk.durable())).map_err(|error| format!("after power failed: {error}"))?;
    if Some(&dump(cast, &after.reader())) != run.states.last() {
        return Err("something committed was lost after a failed sync".to_owned());
    }
    Ok(disk.failed())
}

/// Nothing while the store could not reopen itself.
fn dump_if_open(cast: &Cast, reader: &Reader) -> Option<String> {
    reader.load().ok().map(|_| dump(cast, reader))
}

#[test]
fn an_error_while_reading_is_told_and_costs_no_commit() {
    let cast = Cast::new();
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let disk = Disk::holding(created());
    let mut store = Store::open_backend(disk.clone()).unwrap();
    // More than redb keeps in memory.
    let large = (0..IDS).map(|n| HistoryRow {
        id: MessageId::new(n, &[4; 10]),
        text: "x".repeat(1 << 20),
        ..line(&cast, &mut rng, Direction::In)
    });
    store.commit(WriteBatch { id: BatchId(1), ops: Arc::new(large.map(Op::Receive).collect()) }).unwrap();
    let reader = store.reader();
    for _ in 0..4 {
        disk.fail(below(&mut rng, 4), 1, Failure::Io);
        let failed = disk.failed();
        let read = reader.history(&HistoryQuery::default());
        assert!(read.is_err() && disk.failed() == failed + 1, "nothing was read from the disk");
        store.commit(WriteBatch { id: BatchId(2), ops: vec![Op::Name("al".to_owned())].into() }).unwrap();
        assert_eq!(reader.history(&HistoryQuery::default()).unwrap().rows.len(), IDS as usize);
    }
}

#[test]
fn a_profile_half_made_is_none() {
    let disk = Disk::default();
    let fresh = Fresh { secret: [7; 32], name: "alice".to_owned(), boot: BootId(1) };
    drop(Store::create_backend(disk.clone(), &fresh).unwrap());
    let steps = disk.steps();
    let mut crashes = Crashes::new(Vec::new(), &steps);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut none, mut whole) = (0, 0);
    loop {
        for _ in 0..5 {
            match Store::open_backend(Disk::holding(crashes.image(&mut rng))) {
                Ok(store) => {
                    assert_eq!(store.reader().load().unwrap().secret, [7; 32]);
                    whole += 1;
                }
                Err(_) => none += 1,
            }
        }
        if !crashes.advance() {
            break;
        }
    }
    println!("store: of {} cut creations {whole} were whole", none + whole);
    assert!(none > 0 && whole > 0);
}

#[test]
fn damaged_pages_are_errors_and_never_panics() {
    hush_caught_panics();
    let cast = Cast::new();
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let run = run(&cast, &mut rng, 12);
    let good = run.disk.image();
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let (mut refused, mut noticed, mut read) = (0, 0, 0);
    for _ in 0..400 {
        let mut image = good.clone();
        for _ in 0..=below(&mut rng, 3) {
            let at = used[below(&mut rng, used.len() as u64) as usize];
            image[at] ^= 1 << below(&mut rng, 8);
        }
        let Ok(mut store) = Store::open_backend(Disk::holding(image)) else {
            refused += 1;
            continue;
        };
        let reader = store.reader();
        let history = reader.history(&HistoryQuery::default());
        let outbox = reader.outbox_page(None, 256);
        let _ = (reader.unread(), reader.held(cast.conversations[0], Incarnation(1), Seq(1)));
        match (reader.load(), history, outbox) {
            (Ok(loaded), Ok(history), Ok(outbox))
                if loaded.damaged.is_empty() && history.damaged.is_empty() && outbox.damaged.is_empty() =>
            {
                read += 1;
            }
            _ => noticed += 1,
        }
        let _ = store.commit(&run.batches[0]);
    }
    println!("store: of 400 damaged files {refused} were refused, {noticed} noticed when read, {read} read");
    assert!(refused > 0 && noticed > 0 && read > 0);
}
