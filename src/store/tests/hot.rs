//! What a commit costs, and ids that wait among what changes often.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::store::hot::{RECENT_MAX, recent};

/// Bytes of a page.
const PAGE_LEN: usize = 4_096;

/// Counts the pages that are written.
#[derive(Debug, Clone, Default)]
struct Counting {
    backend: Arc<Mutex<InMemoryBackend>>,
    pages: Arc<AtomicUsize>,
}

impl Counting {
    fn pages(&self, work: impl FnOnce()) -> usize {
        let before = self.pages.load(Ordering::Relaxed);
        work();
        self.pages.load(Ordering::Relaxed) - before
    }
}

impl StorageBackend for Counting {
    fn len(&self) -> io::Result<u64> {
        self.backend.lock().unwrap().len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.lock().unwrap().read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.lock().unwrap().set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.pages.fetch_add(data.len().div_ceil(PAGE_LEN), Ordering::Relaxed);
        self.backend.lock().unwrap().write(offset, data)
    }
}

#[test]
fn a_message_costs_hardly_more_pages_than_one_row_of_one_table() {
    let (counting, bare) = (Counting::default(), Counting::default());
    let mut store = Store::create_backend(counting.clone(), &fresh()).unwrap();
    let database = Database::builder().create_with_backend(bare.clone()).unwrap();
    let insert = |n: u64| {
        let mut transaction = database.begin_write().unwrap();
        transaction.set_quick_repair(true);
        transaction.open_table(redb::TableDefinition::<u64, &[u8]>::new("rows")).unwrap().insert(n, [7; 100].as_slice()).unwrap();
        transaction.commit().unwrap();
    };
    let counters = |n: u64| {
        Op::Conversation(ConversationRow {
            id: conversation(1),
            peer: peer(1),
            mine: MineRow { incarnation: Incarnation(4), next: Seq(4), previous: None, sent_below: None },
            yours: vec![YoursRow { incarnation: Incarnation(1), high_water: Seq(n), held: Vec::new() }],
            unread: 0,
            read: Vec::new(),
        })
    };
    let (mut queued, mut received, mut rows) = (0, 0, 0);
    // As many as it takes for the ids that wait to go on some times.
    let count = 10 * RECENT_MAX as u64;
    for n in 1..=count {
        rows += bare.pages(|| insert(n));
        queued += counting.pages(|| drop(commit(&mut store, vec![queue(1, n, 2 * n)])));
        received += counting.pages(|| drop(commit(&mut store, vec![Op::Receive(line_in(1, n, 2 * n + 1)), counters(n)])));
        commit(&mut store, vec![settle(1, n, State::Delivered)]);
    }
    let [queued, received, rows] = [queued, received, rows].map(|pages| pages as f64 / count as f64);
    assert!(queued < rows + 2.5 && received < rows + 1.5, "{queued}, {received}, {rows}");
}

#[test]
fn ids_that_wait_go_on_many_at_a_time_and_are_known_all_along() {
    let backend = Counting::default();
    let mut store = Store::create_backend(backend.clone(), &fresh()).unwrap();
    let all = 3 * RECENT_MAX as u64;
    let gone_on = |store: &Store| store.slot.snapshot().unwrap().open(tables::IDS).unwrap().len().unwrap();
    for n in 1..=all {
        commit(&mut store, vec![queue(1, n, 2 * n), Op::Receive(line_in(1, n, 2 * n + 1))]);
        let reader = store.reader();
        for m in 1..=n {
            assert_eq!(reader.own_by_id(id(2 * m)).unwrap(), Some(line_out(1, m, 2 * m)));
            assert!(reader.has_received(peer(1), id(2 * m + 1)).unwrap());
            assert_eq!(reader.received_id(conversation(1), Incarnation(1), Seq(m)).unwrap(), Some(id(2 * m + 1)));
        }
        // What is known is not taken twice, wherever its id stands; and a place stays whose it was.
        let again = HistoryRow { seq: Seq(1), ..line_in(1, 1, 2 * n + 1) };
        assert!(commit(&mut store, vec![Op::Receive(again.clone()), queue(1, 900, 2 * n)]).is_duplicate(&again));
        assert_eq!(store.reader().received_id(conversation(1), Incarnation(1), Seq(1)).unwrap(), Some(id(3)));
        assert_eq!(history(&store).len() as u64, (2 * n).min(256));
        if n == all / 2 {
            drop(store);
            store = Store::open_backend(backend.clone()).unwrap();
        }
    }
    let waiting = 2 * all - gone_on(&store);
    assert!((1..=RECENT_MAX as u64).contains(&waiting), "{waiting}");
    // A large batch lets nothing wait.
    let large: Vec<_> = (1..=RECENT_MAX as u64 + 1).map(|n| Op::Receive(line_in(2, n, 10_000 + n))).collect();
    let len = large.len() as u64;
    commit(&mut store, large);
    assert_eq!(gone_on(&store), 2 * all + len);
}

#[test]
fn an_id_that_waits_and_is_damaged_is_known_all_the_same() {
    let mut store = new_store();
    let line = line_in(1, 1, 3);
    commit(&mut store, vec![Op::Receive(line.clone())]);
    let transaction = store.slot.begin_write().unwrap();
    transaction.open_table(tables::HOT.plain()).unwrap().insert(recent(&id(3), 1), b"\xc1".as_slice()).unwrap();
    transaction.commit().unwrap();
    for others in [0, RECENT_MAX] {
        let ops = std::iter::repeat_n(Op::Receive(line.clone()), 1 + others).collect();
        assert!(commit(&mut store, ops).is_duplicate(&line));
        assert_eq!(history(&store), std::slice::from_ref(&line));
    }
}
