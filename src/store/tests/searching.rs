//! The index finds what reading everything finds, whatever was indexed, damaged or is missing.

use redb::{Database, ReadableTable, backends::FileBackend};

use super::*;
use crate::store::{index::SEGMENT_LINES, tables::WORDS};

/// Words that a text is made of: accents, case, signs that stand alone, and some that begin alike.
const VOCABULARY: [&str; 16] =
    ["Café", "cafe", "Kaffee", "über", "UBER", "東京", "京", "acht", "achtung", "achten", "a", "x1", "x12", "ﬁne", "fine", "ü"];

/// Text of a line, from its number.
fn sample(n: u64) -> String {
    let word = |place: u64| VOCABULARY[(n.wrapping_mul(2_654_435_761).wrapping_add(place * 97) / 7 % 16) as usize];
    (0..1 + n % 5).map(word).collect::<Vec<_>>().join(if n.is_multiple_of(3) { ", " } else { " " })
}

/// A store with so many lines of two peers, and in one of them a text that is too long for the index.
fn filled(lines: u64) -> Store {
    let mut store = new_store();
    let mut ops = Vec::new();
    for n in 1..=lines {
        let with = 1 + u8::from(n % 7 == 0);
        let text = if n == 100 { format!("{} needle", "hay ".repeat(4_200)) } else { sample(n) };
        ops.push(Op::Receive(HistoryRow { text, received_at: Unix(n), ..line_in(with, n, n) }));
        if ops.len() == 4_000 {
            commit(&mut store, std::mem::take(&mut ops));
        }
    }
    commit(&mut store, ops);
    store
}

/// Every line that fits, page by page, from either end.
fn find(store: &Store, query: &HistoryQuery) -> Vec<u64> {
    let reader = store.reader();
    let mut query = query.clone();
    let (mut found, forward) = (Vec::new(), query.after.is_some());
    loop {
        let rows = reader.history(&query).unwrap().rows;
        let Some((edge, _)) = (if forward { rows.last() } else { rows.first() }) else { break };
        if forward {
            query.after = Some(*edge);
        } else {
            query.before = Some(*edge);
        }
        found.extend(rows.iter().map(|(line, _)| *line));
    }
    found.sort_unstable();
    found
}

fn queries() -> Vec<HistoryQuery> {
    let mut queries = Vec::new();
    for words in [
        &["cafe"][..],
        &["CAFÉ"],
        &["acht*"],
        &["acht", "x1*"],
        &["uber cafe"],
        &["東京"],
        &["京"],
        &["a"],
        &["a*"],
        &["fine fine"],
        &["nowhere"],
        &["needle"],
        &["hay", "needle"],
        &["achtung acht*"],
    ] {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let base = HistoryQuery { words, ..HistoryQuery::default() };
        queries.push(base.clone());
        queries.push(HistoryQuery { peer: Some(peer(2)), limit: 90, ..base.clone() });
        queries.push(HistoryQuery { after: Some(3_000), before: Some(9_000), limit: 100, ..base.clone() });
        queries.push(HistoryQuery { since: Some(Unix(5_000)), before: Some(8_500), ..base });
    }
    queries
}

#[test]
fn by_the_index_everything_is_found_that_reading_finds_and_nothing_else() {
    let mut store = filled(2 * SEGMENT_LINES + 1_500);
    let read: Vec<_> = queries().iter().map(|query| find(&store, query)).collect();
    assert!(read.iter().filter(|found| !found.is_empty()).count() > 30, "there is something to find: {read:?}");
    for segments in 1..=2 {
        assert!(store.index());
        let found: Vec<_> = queries().iter().map(|query| find(&store, query)).collect();
        assert!(found == read, "after {segments} segments");
    }
    assert!(!store.index(), "the last lines are no whole segment");
}

#[test]
fn the_index_is_made_once_and_anew_where_it_is_damaged_or_missing() {
    let mut store = filled(3 * SEGMENT_LINES);
    while store.index() {}
    let read: Vec<_> = queries().iter().map(|query| find(&store, query)).collect();
    let rows = |store: &Store| {
        let transaction = store.slot.begin_write().unwrap();
        let words = transaction.open_table(WORDS.plain()).unwrap();
        words
            .iter()
            .unwrap()
            .map(|row| row.map(|(key, value)| (key.value(), value.value().to_vec())).unwrap())
            .collect::<Vec<_>>()
    };
    let before = rows(&store);
    assert!(before.len() > 6);
    let damage = |store: &Store, key: (u32, u64), value: Option<&[u8]>| {
        let transaction = store.slot.begin_write().unwrap();
        {
            let mut words = transaction.open_table(WORDS.plain()).unwrap();
            match value {
                Some(value) => drop(words.insert(key, value).unwrap()),
                None => drop(words.remove(key).unwrap()),
            }
        }
        transaction.commit().unwrap();
    };
    // A block that is gone, one that makes no sense, and a head: their segments are read instead.
    for (key, value) in
        [((0, 1), None), ((1, u64::from(u32::MAX)), Some(&b"\xc1"[..])), ((1, 1), Some(b"")), ((2, 0), Some(b"nonsense"))]
    {
        damage(&store, key, value);
        let found: Vec<_> = queries().iter().map(|query| find(&store, query)).collect();
        assert!(found == read, "{key:?}");
    }
    // At the next start a head that is missing is made anew.
    store.reopen();
    while store.index() {}
    let after = rows(&store);
    assert!(after.iter().filter(|row| row.0.0 == 2).eq(before.iter().filter(|row| row.0.0 == 2)));
}

#[test]
fn what_was_indexed_survives_and_later_lines_are_found_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = || std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
    let mut store = Store::create_backend(FileBackend::new(file()).unwrap(), &fresh()).unwrap();
    let said = |n: u64| Op::Receive(HistoryRow { text: format!("word{n}"), ..line_in(1, n, n) });
    commit(&mut store, (1..=SEGMENT_LINES).map(said).collect());
    while store.index() {}
    drop(store);
    let mut store = Store::open_backend(FileBackend::new(file()).unwrap()).unwrap();
    assert!(!store.index(), "it is there");
    commit(&mut store, vec![said(SEGMENT_LINES + 1)]);
    for n in [1, SEGMENT_LINES - 1, SEGMENT_LINES, SEGMENT_LINES + 1] {
        let query = HistoryQuery { words: vec![format!("WORD{n}")], ..HistoryQuery::default() };
        assert_eq!(find(&store, &query).len(), 1, "{n}");
    }
    drop(store);
    // A version that knows no index leaves it alone, and one that does finds it all the same.
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.delete_table(WORDS.plain()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let mut store = Store::open_backend(FileBackend::new(file()).unwrap()).unwrap();
    assert_eq!(find(&store, &HistoryQuery { words: vec!["word77".to_owned()], ..HistoryQuery::default() }).len(), 1);
    assert!(store.index(), "made anew");
}
