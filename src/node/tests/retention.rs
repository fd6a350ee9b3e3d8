//! What has gone from the history is still known.

use super::*;
use crate::store::{Walk, row::WriteBatch};

impl Pair {
    /// Everything that this side has read goes from its history.
    fn forget(&mut self, side: usize, read: MessageId) {
        let ops = vec![Op::MarkRead(self.id(1 - side), read)];
        let store = &mut self.sides[side].store;
        store.commit(WriteBatch { id: BatchId(0), ops: ops.into() }).unwrap();
        store.remove_old(Unix(u64::MAX), &mut Walk::default()).unwrap();
        assert_eq!(store.lines().unwrap(), 0);
    }
}

#[test]
fn a_message_that_is_offered_again_after_its_text_has_gone_is_delivered_and_not_shown_again() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    pair.send(0, "first");
    pair.run_for(Duration::from_secs(5));
    let message = pair.send(0, "once");
    // It is queued at once; that it was delivered never reaches the disk.
    pair.run_for(Duration::from_micros(10));
    pair.sides[0].commit_takes = Duration::from_secs(3_600);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.texts(1), ["first", "once"]);
    pair.forget(1, message);
    let boot = WriteBatch { id: BatchId(0), ops: vec![Op::Boot(next_boot(BootId(0), pair.now.unix))].into() };
    let alice = &mut pair.sides[0];
    (alice.committing, alice.commit_takes) = (None, Duration::ZERO);
    alice.store.commit(&boot).unwrap();
    assert_eq!(alice.store.reader().load().unwrap().outbox_len, 1, "she does not know");
    alice.node = start(&alice.store, 1, pair.now);
    alice.events.clear();
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.texts(1), ["first", "once"]);
    assert_eq!(pair.states(0, message), [State::Sent, State::Delivered], "at the first try");
    assert_eq!(pair.sides[0].store.reader().load().unwrap().outbox_len, 0);
}

#[test]
fn an_id_whose_text_has_gone_is_not_given_to_another_message() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    let (peer, id) = (pair.id(1), MessageId::new(1, &[7; 10]));
    let ask = Command::Send { peer, id, kind: 0, text: "once".to_owned(), expire: None };
    pair.command(0, ask.clone());
    pair.run_for(Duration::from_secs(1));
    pair.forget(0, id);
    let again = pair.command(0, ask);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.replies(0, again), [Reply::Failed(CommandError::TakenId)]);
    assert_eq!(pair.texts(1), ["once"]);
}
