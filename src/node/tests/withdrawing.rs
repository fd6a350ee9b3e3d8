//! What is taken back: by its writer, or because there is no room for it.

use super::*;

/// The counters that a withdrawn message corrects are those of our own direction alone: what the peer's
/// counted meanwhile is in the next batch, and a crash may come before that one.
#[test]
fn a_full_disk_and_a_crash_lose_no_held_message() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    pair.send(0, "one");
    pair.send(1, "hi");
    pair.run_for(Duration::from_secs(15));
    pair.loses = Some(0);
    pair.send(0, "two");
    pair.run_for(Duration::ZERO);
    let three = pair.send(0, "three");
    pair.run_for(Duration::from_micros(100));
    pair.cut = true;
    pair.run_for(Duration::from_millis(2));
    assert_eq!(pair.states(0, three).last(), Some(&State::Delivered), "held back there");
    pair.sides[1].commit_takes = Duration::from_secs(1);
    pair.sides[1].full = true;
    pair.send(1, "no room for this");
    pair.run_for(Duration::from_millis(1));
    pair.cut = false;
    pair.run_for(Duration::from_millis(1_010));
    pair.sides[1].full = false;
    // The batch that had no room is tried again; the crash comes while the next one is written.
    let writing = |pair: &Pair| pair.sides[1].committing.as_ref().map(|(_, batch)| batch.id);
    while writing(&pair).is_none() {
        pair.run_for(Duration::from_millis(1));
    }
    let failed = writing(&pair);
    while writing(&pair).is_none_or(|id| Some(id) == failed) {
        pair.run_for(Duration::from_millis(1));
    }
    let loaded = pair.sides[1].store.reader().load().unwrap();
    let boot = Op::Boot(next_boot(loaded.boot, pair.now.unix));
    pair.sides[1].store.commit(&WriteBatch { id: BatchId(0), ops: std::sync::Arc::new(vec![boot]) }).unwrap();
    pair.sides[1].committing = None;
    pair.sides[1].commit_takes = Duration::ZERO;
    pair.sides[1].node = start(&pair.sides[1].store, 2, pair.now);
    pair.run_for(Duration::from_secs(200));
    assert_eq!(pair.texts(1), ["one", "two", "three"]);
}

/// Its claim waited behind a batch in which nothing grew, and everything after it did too: no session with
/// anybody opened any more.
#[test]
fn a_second_cancel_is_answered() {
    let mut pair = Pair::new();
    pair.cut = true;
    let message = pair.send(0, "first");
    pair.run_for(Duration::from_millis(100));
    for _ in 0..2 {
        let cancel = pair.command(0, Command::Cancel(message));
        pair.run_for(Duration::from_millis(100));
        assert_eq!(pair.replies(0, cancel), [Reply::Cancelled(None)]);
    }
}

#[test]
fn a_withdrawn_message_is_not_called_delivered() {
    let mut pair = Pair::new();
    pair.cut = true;
    let message = pair.send(0, "never mind");
    pair.run_for(Duration::from_millis(100));
    pair.command(0, Command::Cancel(message));
    pair.run_for(Duration::from_millis(100));
    pair.cut = false;
    pair.sides[0].commit_takes = Duration::from_millis(500);
    while pair.states(0, message).last() != Some(&State::Cancelled) {
        pair.run_for(Duration::from_millis(1));
    }
    let again = pair.command(0, Command::Cancel(message));
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.replies(0, again), [Reply::Cancelled(None)]);
}
