//! How many messages a second the store makes durable, beside bare redb in the same run (performance:
//! P9). Each figure is a ratio taken on one machine; nothing is asserted.

use std::{path::Path, sync::Arc, time::Instant};

use p2pchat_udp::{
    clock::Unix,
    crypto::vault::{Cost, Unlock},
    id::{BatchId, BootId, ConversationId, Incarnation, MessageId, PeerId, Seq},
    store::{
        Fresh, HistoryQuery, Store,
        row::{Direction, HistoryRow, Op, OutboxRow, State, WriteBatch},
    },
};
use redb::{Database, TableDefinition};

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

fn peer() -> PeerId {
    let mut base = [0x66; 32]; // the base point
    base[0] = 0x58;
    PeerId::from_bytes(base).expect("a valid key")
}

fn line(peer: PeerId, n: u64, direction: Direction) -> HistoryRow {
    HistoryRow {
        id: MessageId::new(n, &[1; 10]),
        conversation: ConversationId::from_bytes([1; 32]),
        peer,
        name: String::new(),
        direction,
        incarnation: Incarnation(1),
        seq: Seq(n),
        kind: 0,
        text: "x".repeat(100),
        more: Vec::new(),
        sent_at: Unix(n),
        received_at: Unix(n),
        late: false,
        state: State::Queued,
        reason: String::new(),
    }
}

fn queue(peer: PeerId, n: u64) -> Op {
    let line = line(peer, n, Direction::Out);
    let row = OutboxRow {
        conversation: line.conversation,
        peer: line.peer,
        seq: line.seq,
        id: line.id,
        kind: 0,
        text: line.text.clone(),
        created: Unix(n),
        expires: None,
        void: None,
    };
    Op::Queue(row, line)
}

fn settle(n: u64) -> Op {
    let conversation = ConversationId::from_bytes([1; 32]);
    Op::Settle { conversation, seq: Seq(n), state: State::Delivered, reason: "" }
}

/// Messages a second; `commit` writes the messages of a range of numbers.
fn rate(batch: u64, batches: u64, mut commit: impl FnMut(std::ops::Range<u64>)) -> f64 {
    let started = Instant::now();
    for n in 0..batches {
        commit(n * batch + 1..(n + 1) * batch + 1);
    }
    (batch * batches) as f64 / started.elapsed().as_secs_f64()
}

fn bare(dir: &Path, quick_repair: bool, batch: u64, batches: u64) -> f64 {
    let database = Database::create(dir.join(format!("bare-{quick_repair}-{batch}"))).expect("a new file");
    rate(batch, batches, |numbers| {
        let mut transaction = database.begin_write().expect("nothing is wrong with the disk");
        transaction.set_quick_repair(quick_repair);
        {
            let mut rows = transaction.open_table(ROWS).expect("the one table");
            for n in numbers {
                rows.insert(n, [7; 100].as_slice()).expect("room");
            }
        }
        transaction.commit().expect("room");
    })
}

fn new_store(dir: &Path, sealed: bool) -> Store {
    let fresh = Fresh { secret: [0; 32], name: String::new(), boot: BootId(1) };
    let store = Store::create(dir, &fresh).expect("a new profile");
    if !sealed {
        return store;
    }
    drop(store);
    let unlock = Unlock::new("a password".to_owned().into(), [7; 32]);
    Store::set_password(dir, None, Some(&unlock), Cost::NEW).expect("nobody has it open");
    Store::unlock(dir, &unlock).expect("it is the one that was set")
}

fn main() {
    let dir = tempfile::tempdir().expect("a place to write");
    println!(
        "{:>6} {:>12} {:>12} {:>9} {:>12} {:>12} {:>12}   messages/s",
        "batch", "bare", "bare, quick", "password", "queue", "receive", "settle"
    );
    for (batch, batches) in [(1, 500), (10, 300), (100, 100), (1_000, 20)] {
        let plain = bare(dir.path(), false, batch, batches);
        let quick = bare(dir.path(), true, batch, batches);
        for sealed in [false, true] {
            let mut store = new_store(&dir.path().join(format!("store-{batch}-{sealed}")), sealed);
            let peer = peer();
            let mut run = |op: &dyn Fn(u64) -> Op| {
                let made = (0..batches).map(|n| Arc::new((n * batch + 1..(n + 1) * batch + 1).map(op).collect()));
                let mut made: Vec<WriteBatch> = made.map(|ops| WriteBatch { id: BatchId(1), ops }).collect();
                made.reverse();
                rate(batch, batches, |_| {
                    store.commit(made.pop().expect("as many as asked for")).expect("room");
                })
            };
            let rates = [run(&|n| queue(peer, n)), run(&|n| Op::Receive(line(peer, n, Direction::In))), run(&settle)];
            let [queue, receive, settle] = rates.map(|rate| format!("{rate:.0} {:.2}", rate / quick));
            let password = if sealed { "yes" } else { "no" };
            println!("{batch:>6} {plain:>12.0} {quick:>12.0} {password:>9} {queue:>12} {receive:>12} {settle:>12}");
        }
    }
    println!("(beside each: the ratio to bare redb with quick repair, one row a message)");
    growth(dir.path());
}

/// What 10, 100 and 1,000 times as many messages in history and outbox cost.
fn growth(dir: &Path) {
    let fresh = Fresh { secret: [0; 32], name: String::new(), boot: BootId(1) };
    let path = dir.join("growth");
    let mut store = Store::create(&path, &fresh).expect("a new profile");
    let peer = peer();
    let mut written = 0;
    println!(
        "\n{:>9} {:>14} {:>10} {:>10} {:>12} {:>12}",
        "messages", "100 more, ms", "open, ms", "load, ms", "newest, ms", "by id, us"
    );
    for len in [100, 1_000, 10_000, 100_000] {
        while written < len {
            let last = len.min(written + 5_000);
            let ops = Arc::new((written + 1..=last).map(|n| queue(peer, n)).collect());
            store.commit(WriteBatch { id: BatchId(1), ops }).expect("room");
            written = last;
        }
        let ops: Vec<_> = (written + 1..=written + 100).map(|n| queue(peer, n)).collect();
        written += 100;
        let batch = WriteBatch { id: BatchId(1), ops: Arc::new(ops) };
        let more = millis(|| drop(store.commit(&batch).expect("room")));
        drop(store);
        let mut opened = None;
        let open = millis(|| opened = Some(Store::open(&path).expect("it is there")));
        store = opened.expect("just set");
        let reader = store.reader();
        let load = millis(|| drop(reader.load().expect("nothing is damaged")));
        let newest =
            millis(|| drop(reader.history(&HistoryQuery { limit: 50, ..HistoryQuery::default() }).expect("nothing is damaged")));
        let by_id = millis(|| drop(reader.own_by_id(MessageId::new(len / 2, &[1; 10])).expect("nothing is damaged"))) * 1e3;
        println!("{len:>9} {more:>14.2} {open:>10.2} {load:>10.2} {newest:>12.3} {by_id:>12.1}");
    }
}

fn millis(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1e3
}
