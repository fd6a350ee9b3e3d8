//! Profiles with a password: nothing of them lies open, each value is bound to its place, and what is damaged is
//! named and takes nothing else along.

use std::path::Path;

use redb::{Durability, Key, ReadableTable, TableDefinition, Value};

use super::*;
use crate::{
    crypto::vault::{Cost, Unlock},
    store::{
        cells::Cells,
        hot::{COMMITS, Key as HotKey, RECENT_MAX, is_unread},
    },
};

pub(super) const CHEAP: Cost = Cost { memory_kib: 8, passes: 1 };
const TEXT: &str = "the quick brown fox tells nobody";

pub(super) fn unlock(password: &str) -> Unlock {
    Unlock::new(password.to_owned().into(), [3; 32])
}

fn contact(n: u8) -> Contact {
    Contact {
        id: peer(n),
        more_ids: Vec::new(),
        name: format!("somebody {n}"),
        petname: Some(format!("darling {n}")),
        trust: Trust::Seen,
        added: true,
        since: Unix(5),
        last_heard: None,
        boot: BootId(7),
        announce_seq: 8,
        addresses: Vec::new(),
        seeds: Vec::new(),
        request: None,
        receipts: None,
        refused: false,
    }
}

/// Rows in each table, of two conversations.
pub(super) fn ops() -> Vec<Op> {
    let mut ops = Vec::new();
    for n in [1, 2] {
        let first = u64::from(n) * 100;
        ops.push(Op::Contact(contact(n)));
        ops.push(Op::Conversation(ConversationRow {
            id: conversation(n),
            peer: peer(n),
            mine: MineRow { incarnation: Incarnation(4), next: Seq(4), previous: None, sent_below: None },
            yours: vec![YoursRow { incarnation: Incarnation(1), high_water: Seq(3), held: vec![(Seq(5), Seq(5))] }],
            unread: 7,
            read: vec![(Incarnation(4), Seq(1))],
        }));
        for seq in 1..=3 {
            let line = line_in(n, seq, first + seq);
            ops.push(Op::Receive(HistoryRow { text: format!("{TEXT} {n} {seq}"), ..line }));
            ops.push(queue(n, seq, first + 20 + seq));
        }
        ops.push(Op::Hold(line_in(n, 5, first + 9)));
        ops.push(settle(n, 1, State::Delivered));
        ops.push(settle(n, 2, State::Failed));
        ops.push(Op::MarkRead(peer(n), id(first + 2)));
    }
    ops
}

/// A profile in a file, with a password.
fn sealed_in(dir: &Path, ops: Vec<Op>) -> Store {
    let mut store = Store::create(dir, &fresh()).unwrap();
    commit(&mut store, ops);
    drop(store);
    Store::set_password(dir, None, Some(&unlock("pw")), CHEAP).unwrap();
    Store::unlock(dir, &unlock("pw")).unwrap()
}

/// All that a reader tells, each row for itself, as text; and what is damaged.
pub(super) fn told(store: &Store) -> (Vec<String>, Vec<Damaged>) {
    let reader = store.reader();
    let (mut rows, mut damaged) = (Vec::new(), Vec::new());
    fn note<T>(damaged: &mut Vec<Damaged>, read: Result<T, ReadError>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(ReadError::Row(row)) => {
                damaged.push(row);
                None
            }
            Err(error) => panic!("more than a row: {error}"),
        }
    }
    fn all<T: std::fmt::Debug>(rows: &mut Vec<String>, damaged: &mut Vec<Damaged>, what: &str, read: Rows<T>) {
        rows.extend(read.rows.iter().map(|row| format!("{what} {row:?}")));
        damaged.extend(read.damaged);
    }
    if let Some(loaded) = note(&mut damaged, reader.load()) {
        rows.push(format!("{:?} {:?}", loaded.secret, loaded.boot));
        rows.push(format!("name {}", loaded.name));
        rows.extend(loaded.contacts.iter().map(|row| format!("contact {row:?}")));
        rows.extend(loaded.conversations.iter().map(|row| format!("conversation {row:?}")));
        damaged.extend(loaded.damaged);
    }
    if let Some(read) = note(&mut damaged, reader.history(&HistoryQuery::default())) {
        all(&mut rows, &mut damaged, "history", read);
    }
    for n in [1, 2] {
        let query = HistoryQuery { peer: Some(peer(n)), ..HistoryQuery::default() };
        if let Some(read) = note(&mut damaged, reader.history(&query)) {
            all(&mut rows, &mut damaged, "of one", read);
        }
        if let Some(read) = note(&mut damaged, reader.outbox(conversation(n), Seq(0), 256, usize::MAX)) {
            all(&mut rows, &mut damaged, "outbox", read);
        }
        if let Some(read) = note(&mut damaged, reader.held(conversation(n), Incarnation(1), Seq(5))) {
            all(&mut rows, &mut damaged, "held", read);
        }
        for seq in [1, 2, 3, 5] {
            let first = note(&mut damaged, reader.received_id(conversation(n), Incarnation(1), Seq(seq)));
            rows.extend(first.map(|first| format!("first {n} {seq} {first:?}")));
        }
        let messages = (1..=3).chain(21..=23).map(|m| id(u64::from(n) * 100 + m));
        for message in messages {
            let row = note(&mut damaged, reader.history_by_id(peer(n), message));
            rows.extend(row.map(|row| format!("by id {row:?}")));
            let row = note(&mut damaged, reader.own_by_id(message));
            rows.extend(row.map(|row| format!("own {row:?}")));
        }
    }
    if let Some(unread) = note(&mut damaged, reader.unread()) {
        rows.extend(unread.iter().map(|row| format!("unread {row:?}")));
    }
    (rows, damaged)
}

/// Each value of a table as it lies there.
fn stored<K: Key + 'static, V: Value + 'static>(store: &Store, cells: Cells<K, V>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let transaction = store.slot.begin_write().unwrap();
    let table = transaction.open_table(TableDefinition::<K, &[u8]>::new(cells.name)).unwrap();
    let rows = table.iter().unwrap().map(|row| {
        let (key, value) = row.unwrap();
        (K::as_bytes(&key.value()).as_ref().to_vec(), value.value().to_vec())
    });
    rows.collect()
}

fn put<K: Key + 'static, V: Value + 'static>(store: &Store, cells: Cells<K, V>, key: &[u8], value: &[u8]) {
    let mut transaction = store.slot.begin_write().unwrap();
    transaction.set_durability(Durability::None).unwrap();
    {
        let mut table = transaction.open_table(TableDefinition::<K, &[u8]>::new(cells.name)).unwrap();
        table.insert(K::from_bytes(key), value).unwrap();
    }
    transaction.commit().unwrap();
}

/// What was told before, of which a mark on it may now be unknown.
struct Attack<'s> {
    store: &'s Store,
    before: Vec<String>,
    /// Some value of another table.
    foreign: Vec<u8>,
    attacked: usize,
}

impl Attack<'_> {
    /// Changes each value of the table in every way, one at a time.
    fn table<K: Key + 'static, V: Value + 'static>(&mut self, cells: Cells<K, V>) {
        let rows = stored(self.store, cells);
        assert!(!rows.is_empty(), "{} has rows", cells.name);
        for (at, (key, value)) in rows.iter().enumerate() {
            if cells.name == "meta" && tables::OPEN.iter().any(|open| key == open.as_bytes()) {
                continue;
            }
            let mut ways = vec![Vec::new(), self.foreign.clone(), value[..value.len() - 1].to_vec(), [value, &[0][..]].concat()];
            ways.extend([0, 24, value.len() / 2, value.len() - 1].map(|byte: usize| {
                let mut flipped = value.clone();
                flipped[byte] ^= 1 << (byte % 8);
                flipped
            }));
            ways.extend(rows.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, row)| row.1.clone()));
            for way in ways.iter().filter(|way| *way != value) {
                put(self.store, cells, key, way);
                self.look(cells.name, key);
            }
            put(self.store, cells, key, value);
        }
    }

    fn look(&mut self, table: &'static str, key: &[u8]) {
        self.attacked += 1;
        let (rows, mut damaged) = told(self.store);
        // Read by the writer alone, which counts anew.
        let row = (table == "hot").then(|| HotKey::from_bytes(key));
        if row.is_some_and(|row| row.0 == 0 && row.1 == 0) {
            let snapshot = self.store.slot.snapshot().unwrap();
            assert!(matches!(snapshot.open(tables::HOT).unwrap().get(COMMITS), Err(ReadError::Row(_))));
            return assert_eq!(rows, self.before);
        }
        damaged.retain(|row| row.table == table);
        assert!(!damaged.is_empty(), "{table} {key:?} is not told");
        // A line whose mark is lost is not shown at all; a name that is lost is none.
        let wrong: Vec<_> = rows.iter().filter(|row| !self.before.contains(row) && *row != "name ").collect();
        assert!(wrong.is_empty(), "{table} {key:?}: {wrong:#?}");
        let history = |rows: &[String]| rows.iter().filter(|row| row.starts_with("history")).count();
        let lost = history(&self.before) - history(&rows);
        let may = match table {
            "history" | "marks" => 1,
            // Of one of two conversations nobody knows any more whose it is, or what of it was read.
            "numbers" => history(&self.before) / 2,
            "hot" if row.is_some_and(is_unread) => history(&self.before) / 2,
            _ => 0,
        };
        assert!(lost <= may, "{table} {key:?} took {lost} lines along");
    }
}

/// The same with so much in one batch that no id waits among what changes often.
pub(super) fn many_ops() -> Vec<Op> {
    let again = std::iter::repeat_n(Op::MarkRead(peer(1), id(102)), RECENT_MAX);
    ops().into_iter().chain(again).collect()
}

#[test]
fn each_value_that_is_changed_is_named_and_nothing_wrong_is_told() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let store = sealed_in(dirs[0].path(), many_ops());
    let (before, damaged) = told(&store);
    assert_eq!(damaged, []);
    let foreign = stored(&store, tables::HOT)[0].1.clone();
    let mut attack = Attack { store: &store, before, foreign, attacked: 0 };
    attack.table(tables::META);
    attack.table(tables::CONTACTS);
    attack.table(tables::CONVERSATIONS);
    attack.table(tables::NUMBERS);
    attack.table(tables::PEERS);
    attack.foreign = stored(&store, tables::HISTORY)[0].1.clone();
    attack.table(tables::HOT);
    attack.table(tables::OUTBOX);
    attack.foreign = stored(&store, tables::HELD)[0].1.clone();
    attack.table(tables::HISTORY);
    attack.table(tables::MARKS);
    attack.table(tables::IDS);
    attack.table(tables::RECEIVED);
    attack.foreign = stored(&store, tables::HISTORY)[0].1.clone();
    attack.table(tables::HELD);
    assert_eq!(told(&store), (attack.before, Vec::new()), "all is as before");
    let attacked = attack.attacked;
    // The same while ids wait.
    let store = sealed_in(dirs[1].path(), ops());
    let (before, _) = told(&store);
    let mut attack = Attack { store: &store, before, foreign: stored(&store, tables::HISTORY)[0].1.clone(), attacked };
    attack.table(tables::HOT);
    assert!(attack.attacked > 500, "{}", attack.attacked);
    assert_eq!(told(&store), (attack.before, Vec::new()), "all is as before");
}

#[test]
fn a_password_changes_nothing_that_is_told_and_goes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut plain = Store::create(dir.path(), &fresh()).unwrap();
    commit(&mut plain, ops());
    let before = told(&plain);
    assert!(!plain.reader().is_sealed());
    drop(plain);
    let set = |old: Option<&str>, new: Option<&str>| {
        Store::set_password(dir.path(), old.map(unlock).as_ref(), new.map(unlock).as_ref(), CHEAP)
    };
    let check = |password: Option<&str>, others: &[&str]| {
        let store = match password {
            None => Store::open(dir.path()).unwrap(),
            Some(password) => Store::unlock(dir.path(), &unlock(password)).unwrap(),
        };
        assert!(told(&store) == before);
        assert_eq!(store.reader().is_sealed(), password.is_some());
        drop(store);
        let bytes = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
        for other in others {
            assert!(matches!(Store::unlock(dir.path(), &unlock(other)), Err(StoreError::WrongPassword)));
        }
        if password.is_some() {
            assert!(matches!(Store::open(dir.path()), Err(StoreError::Sealed)));
        }
        assert!(bytes == std::fs::read(dir.path().join(FILE_NAME)).unwrap(), "a wrong password touches nothing");
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(files, [FILE_NAME]);
    };
    check(None, &[]);
    set(None, Some("one")).unwrap();
    check(Some("one"), &["", "two"]);
    assert!(matches!(set(None, Some("two")), Err(StoreError::Sealed)));
    assert!(matches!(set(Some("two"), None), Err(StoreError::WrongPassword)));
    set(Some("one"), Some("two")).unwrap();
    check(Some("two"), &["one", ""]);
    set(Some("two"), None).unwrap();
    check(None, &[]);
}

#[test]
fn a_sealed_profile_is_written_and_read_as_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = sealed_in(dir.path(), ops());
    let mut plain = new_store();
    commit(&mut plain, ops());
    let more =
        || vec![release(1, 5), queue(1, 4, 124), settle(2, 3, State::Read), Op::Receive(line_in(1, 1, 101)), queue(2, 9, 222)];
    let (one, other) = (commit(&mut store, more()), commit(&mut plain, more()));
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    assert!(told(&store) == told(&plain));
    drop(store);
    assert!(told(&Store::unlock(dir.path(), &unlock("pw")).unwrap()) == told(&plain));
}

#[test]
fn words_are_found_in_a_sealed_profile_and_stand_nowhere_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = sealed_in(dir.path(), ops());
    let said = |n: u64| Op::Receive(HistoryRow { text: format!("word{n}"), ..line_in(1, 100 + n, 1_000 + n) });
    commit(&mut store, (1..=4_200).map(said).collect());
    while store.index() {}
    let query = HistoryQuery { words: vec!["word77".to_owned()], ..HistoryQuery::default() };
    assert_eq!(store.reader().history(&query).unwrap().rows.len(), 1);
    drop(store);
    let bytes = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
    let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(!holds(b"word77"));
}

#[test]
fn nothing_of_a_sealed_profile_lies_open() {
    let dir = tempfile::tempdir().unwrap();
    drop(sealed_in(dir.path(), ops()));
    let mut secrets: Vec<Vec<u8>> =
        [TEXT, "message 1", "somebody", "darling", "alice", "pw"].map(|s| s.as_bytes().to_vec()).into();
    secrets.push(vec![7; 32]);
    for n in [1, 2] {
        secrets.push(peer(n).as_bytes().to_vec());
        secrets.push(peer(n).to_string().into_bytes());
        secrets.push(conversation(n).as_bytes().to_vec());
        secrets.extend((1..=3).chain(21..=23).map(|m| id(u64::from(n) * 100 + m).as_bytes().to_vec()));
    }
    let holds = |dir: &Path| {
        let bytes = std::fs::read(dir.join(FILE_NAME)).unwrap();
        let found = secrets.iter().filter(|what| what.len() > 2 && bytes.windows(what.len()).any(|window| window == **what));
        found.count()
    };
    assert_eq!(holds(dir.path()), 0);
    let plain = tempfile::tempdir().unwrap();
    commit(&mut Store::create(plain.path(), &fresh()).unwrap(), ops());
    assert!(holds(plain.path()) > 15, "without a password all of that is found");
}
