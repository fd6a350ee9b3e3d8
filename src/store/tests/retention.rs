//! Old lines go, and with them their words; what is unread or waits stays, nothing is numbered or shown twice, and a file that has
//! become too large is written anew.

use std::sync::Mutex;

use super::{
    sealed::{CHEAP, told, unlock},
    sealing::Imaging,
    *,
};
use crate::store::index::SEGMENT_LINES;

/// Lines 1 to `lines` of one peer, which came at these times; all are read.
fn filled(store: &mut Store, lines: std::ops::RangeInclusive<u64>) {
    let last = *lines.end();
    let mut ops = Vec::new();
    for n in lines {
        let text = if n == 7 { "a needle of old".to_owned() } else { format!("hay {n}") };
        ops.push(Op::Receive(HistoryRow { text, received_at: Unix(n), ..line_in(1, n, n) }));
        if ops.len() == 4_000 {
            commit(store, std::mem::take(&mut ops));
        }
    }
    ops.push(Op::MarkRead(peer(1), id(last)));
    commit(store, ops);
}

/// Removes all that came before, piece by piece; how many lines went.
fn remove_old(store: &mut Store, before: u64) -> u64 {
    let mut walk = Walk::default();
    while store.remove_old(Unix(before), &mut walk).unwrap() {}
    walk.removed
}

fn found(store: &Store, word: &str) -> Vec<u64> {
    let query = HistoryQuery { words: vec![word.to_owned()], ..HistoryQuery::default() };
    store.reader().history(&query).unwrap().rows.into_iter().map(|(line, _)| line).collect()
}

fn all_lines(store: &Store) -> Vec<u64> {
    let (reader, mut lines) = (store.reader(), Vec::new());
    loop {
        let query = HistoryQuery { after: Some(lines.last().copied().unwrap_or(0)), ..HistoryQuery::default() };
        let page = reader.history(&query).unwrap().rows;
        if page.is_empty() {
            return lines;
        }
        lines.extend(page.into_iter().map(|(line, _)| line));
    }
}

#[test]
fn old_lines_go_with_their_words_but_what_is_unread_or_waits_stays() {
    let mut store = new_store();
    filled(&mut store, 1..=2 * SEGMENT_LINES + 10);
    commit(&mut store, vec![queue(1, 1, 90_001), queue(1, 2, 90_002), settle(1, 2, State::Delivered)]);
    let unread = HistoryRow { received_at: Unix(5), ..line_in(2, 1, 90_003) };
    commit(&mut store, vec![Op::Receive(unread)]);
    while store.index() {}
    assert_eq!(found(&store, "needle"), [7]);
    // Lines 90,001 and 90,002 came at 91,001 and 91,002.
    assert_eq!(remove_old(&mut store, SEGMENT_LINES + 1), SEGMENT_LINES);
    assert_eq!(found(&store, "needle"), [] as [u64; 0]);
    let rest: Vec<u64> = (SEGMENT_LINES + 1..=2 * SEGMENT_LINES + 13).collect();
    assert_eq!(all_lines(&store), rest);
    let words = |store: &Store| {
        let rows = store.slot.snapshot().unwrap().open(tables::WORDS).unwrap();
        let bytes = rows.iter().unwrap().map(|row| row.unwrap().value().unwrap().value().to_vec());
        bytes.collect::<Vec<_>>().concat()
    };
    let has = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
    assert!(!has(&words(&store), "needle"), "the index has forgotten it too");
    while store.index() {}
    assert_eq!(found(&store, "hay").len(), ROWS_MAX);
    assert!(has(&words(&store), "hay"));

    assert_eq!(remove_old(&mut store, u64::MAX), SEGMENT_LINES + 11);
    assert_eq!(all_lines(&store), [2 * SEGMENT_LINES + 11, 2 * SEGMENT_LINES + 13], "what waits, and what is unread");
    assert_eq!(outbox(&store, 1)[0].text, text(90_001));
    commit(&mut store, vec![settle(1, 1, State::Delivered), Op::MarkRead(peer(2), id(90_003))]);
    assert_eq!(remove_old(&mut store, u64::MAX), 2);
    assert_eq!(all_lines(&store), [] as [u64; 0]);
}

#[test]
fn what_has_gone_is_still_known_and_no_line_is_numbered_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), &fresh()).unwrap();
    filled(&mut store, 1..=20);
    commit(&mut store, vec![queue(1, 1, 90_001), settle(1, 1, State::Delivered)]);
    assert_eq!(remove_old(&mut store, u64::MAX), 21);
    drop(store);
    let mut store = Store::open(dir.path()).unwrap();
    let reader = store.reader();
    assert!(reader.has_received(peer(1), id(7)).unwrap() && !reader.has_received(peer(1), id(21)).unwrap());
    assert!(reader.has_own(id(90_001)).unwrap() && reader.own_by_id(id(90_001)).unwrap().is_none());
    assert_eq!(reader.received_line(id(7)).unwrap(), Some(7));
    let again = line_in(1, 7, 7);
    let committed = commit(&mut store, vec![Op::Receive(again.clone()), Op::Import(line_in(1, 8, 8))]);
    assert!(committed.is_duplicate(&again));
    commit(&mut store, vec![Op::Receive(line_in(1, 22, 22))]);
    assert_eq!(all_lines(&store), [22]);
    assert_eq!(store.reader().unread().unwrap(), BTreeMap::from([(peer(1), 1)]));
}

#[test]
fn under_a_password_old_lines_go_and_the_file_is_written_anew_under_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), &fresh()).unwrap();
    filled(&mut store, 1..=5_000);
    drop(store);
    Store::set_password(dir.path(), None, Some(&unlock("pw")), CHEAP).unwrap();
    let mut store = Store::unlock(dir.path(), &unlock("pw")).unwrap();
    while store.index() {}
    assert_eq!(remove_old(&mut store, 4_900), 4_899);
    assert!(store.wants_compaction());
    let all = told(&store);
    store.compact(dir.path(), &mut |_, _| true).unwrap();
    assert!(!store.wants_compaction() && store.reader().is_sealed());
    assert!(told(&store) == all);
    commit(&mut store, vec![Op::Receive(line_in(1, 5_001, 5_001))]);
    assert_eq!(all_lines(&store).last(), Some(&5_001));
    drop(store);
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Sealed)));
    assert_eq!(all_lines(&Store::unlock(dir.path(), &unlock("pw")).unwrap()).len(), 102);
}

#[test]
fn a_file_that_has_become_too_large_is_written_anew_unless_somebody_comes_between() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), &fresh()).unwrap();
    filled(&mut store, 1..=20_000);
    assert!(!store.wants_compaction());
    assert_eq!(remove_old(&mut store, 9_000), 8_999);
    assert!(!store.wants_compaction(), "more is left than went");
    assert_eq!(remove_old(&mut store, 19_000), 10_000);
    assert!(store.wants_compaction());
    let len = || std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().len();
    let (before, lines) = (len(), all_lines(&store));
    let mut asked = Vec::new();
    let given_up = store.compact(dir.path(), &mut |done, of| {
        asked.push((done, of));
        asked.len() < 3
    });
    assert!(matches!(given_up, Err(StoreError::GivenUp)));
    assert!(asked.is_sorted() && asked.iter().all(|(done, of)| done <= of) && asked.len() == 3, "{asked:?}");
    assert_eq!((len(), std::fs::read_dir(dir.path()).unwrap().count()), (before, 1), "nothing is left of it");
    commit(&mut store, vec![Op::Name("al".to_owned())]);
    let reader = store.reader();
    store.compact(dir.path(), &mut |_, _| true).unwrap();
    assert!(len() * 3 < before * 2, "{} of {before}", len());
    assert_eq!((all_lines(&store), reader.load().unwrap().name), (lines, "al".to_owned()));
    drop(store);
    assert!(!Store::open(dir.path()).unwrap().wants_compaction());
}

#[test]
fn a_kill_while_lines_are_removed_leaves_all_of_a_piece_or_none() {
    let dir = tempfile::tempdir().unwrap();
    filled(&mut Store::create(dir.path(), &fresh()).unwrap(), 1..=30);
    let images = Arc::<Mutex<Vec<tempfile::TempDir>>>::default();
    let imaging = Imaging::new(disk::open_file(dir.path()).unwrap(), dir.path(), &images);
    let mut store = Store::open_backend(imaging).unwrap();
    assert_eq!(remove_old(&mut store, 21), 20);
    drop(store);
    let images = images.lock().unwrap();
    let (mut all, mut rest) = (0, 0);
    for image in images.iter() {
        let mut store = Store::open(image.path()).unwrap();
        match all_lines(&store).len() {
            30 => all += 1,
            10 => rest += 1,
            other => panic!("{other} lines"),
        }
        assert!(store.reader().has_received(peer(1), id(7)).unwrap());
        commit(&mut store, vec![Op::Receive(line_in(1, 31, 31))]);
        assert_eq!(all_lines(&store).last(), Some(&31));
    }
    assert!(all > 0 && rest > 0, "{all} and {rest}");
}

#[test]
fn what_was_imported_hides_no_message_whose_writer_is_to_hear_that_it_was_read() {
    let mut store = new_store();
    commit(&mut store, vec![Op::Receive(line_in(1, 1, 21))]);
    let imported =
        |n| Op::Import(HistoryRow { incarnation: Incarnation(0), seq: Seq(0), state: State::Read, ..line_in(1, 0, n) });
    commit(&mut store, (100..5_000).map(imported).collect());
    commit(&mut store, vec![Op::MarkRead(peer(1), id(4_999))]);
    assert_eq!(store.reader().read_to(peer(1)).unwrap(), Some((Incarnation(1), Seq(1))));
}
