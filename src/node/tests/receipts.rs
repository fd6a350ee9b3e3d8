//! Who is told what was read, and when.

use super::*;
use crate::node::command::Edit;

impl Pair {
    /// The second side has read all that the first wrote, or up to this.
    fn read(&mut self, side: usize, message: MessageId) {
        let peer = self.id(1 - side);
        self.command(side, Command::MarkRead(peer, message));
    }

    fn let_know(&mut self, side: usize, on: bool) {
        self.command(side, Command::SetReadReceipts(on));
        self.run_for(Duration::from_millis(20));
    }

    fn stored(&self, side: usize, message: MessageId) -> State {
        self.sides[side].store.reader().own_by_id(message).unwrap().unwrap().state
    }

    fn is_told(&self, side: usize) -> Option<bool> {
        self.sides[side].node.peer_tells_read(&self.id(1 - side))
    }
}

/// Both have written, and are contacts; three messages of the first are delivered.
fn delivered() -> (Pair, [MessageId; 3]) {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    pair.send(1, "hello");
    let messages = ["one", "two", "three"].map(|text| pair.send(0, text));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.texts(1), ["one", "two", "three"]);
    (pair, messages)
}

#[test]
fn nobody_is_told_before_it_is_switched_on() {
    let (mut pair, [one, two, three]) = delivered();
    pair.read(1, two);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.is_told(0), Some(false));
    assert!([one, two, three].iter().all(|message| pair.stored(0, *message) == State::Delivered));
    // What was read before is said now: up to there, and no further.
    pair.let_know(1, true);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.is_told(0), Some(true));
    assert_eq!([one, two, three].map(|message| pair.stored(0, message)), [State::Read, State::Read, State::Delivered]);
    assert_eq!(pair.states(0, two), [State::Queued, State::Sent, State::Delivered, State::Read]);
    assert_eq!(pair.states(0, three).last(), Some(&State::Delivered));
    pair.let_know(1, false);
    pair.read(1, three);
    pair.run_for(Duration::from_secs(1));
    assert_eq!((pair.is_told(0), pair.stored(0, three)), (Some(false), State::Delivered));
}

#[test]
fn what_is_said_of_one_contact_goes_before_what_is_said_of_all() {
    for (all, one, told) in [(false, Some(true), true), (true, Some(false), false), (true, None, true)] {
        let (mut pair, [.., three]) = delivered();
        pair.let_know(1, all);
        let peer = pair.id(0);
        pair.command(1, Command::EditContact { peer, edit: Edit::Receipts(one) });
        pair.run_for(Duration::from_millis(20));
        pair.read(1, three);
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.stored(0, three) == State::Read, told, "{all} {one:?}");
        assert_eq!(pair.is_told(0), Some(told));
    }
}

#[test]
fn a_stranger_is_told_nothing() {
    let mut pair = Pair::new();
    pair.let_know(1, true);
    let message = pair.send(0, "hi");
    pair.run_for(Duration::from_secs(1));
    pair.read(1, message);
    pair.run_for(Duration::from_secs(1));
    assert_eq!((pair.is_told(0), pair.stored(0, message)), (Some(false), State::Delivered));
    let peer = pair.id(0);
    pair.command(1, Command::EditContact { peer, edit: Edit::Verify });
    pair.run_for(Duration::from_secs(1));
    assert_eq!((pair.is_told(0), pair.stored(0, message)), (Some(true), State::Read));
}

#[test]
fn it_is_said_after_it_is_on_disk_and_again_where_it_was_lost() {
    let (mut pair, [one, _, three]) = delivered();
    pair.let_know(1, true);
    pair.sides[1].commit_takes = Duration::from_secs(1);
    pair.read(1, three);
    pair.run_for(Duration::from_millis(900));
    assert_eq!(pair.states(0, three).last(), Some(&State::Delivered), "a crash may still take it back");
    pair.run_for(Duration::from_millis(200));
    assert_eq!(pair.states(0, three).last(), Some(&State::Read));
    pair.sides[1].commit_takes = Duration::ZERO;
    // The sender's disk has it too, and a state never goes back.
    assert_eq!(pair.stored(0, one), State::Read);
    let four = pair.send(0, "four");
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.stored(0, four), State::Delivered);
    // The one who read it is killed before the word is out, and finds it on its disk.
    pair.read(1, four);
    pair.drain();
    let batch = pair.sides[1].committing.take().unwrap().1;
    pair.sides[1].store.commit(&batch).unwrap();
    let loaded = pair.sides[1].store.reader().load().unwrap();
    let boot = Op::Boot(next_boot(loaded.boot, pair.now.unix));
    pair.sides[1].store.commit(&WriteBatch { id: BatchId(0), ops: std::sync::Arc::new(vec![boot]) }).unwrap();
    pair.sides[1].node = start(&pair.sides[1].store, 2, pair.now);
    pair.let_know(1, true);
    pair.run_for(Duration::from_secs(120));
    assert_eq!(pair.stored(0, four), State::Read);
}

#[test]
fn a_peer_cannot_have_read_what_was_never_given() {
    let (mut pair, [.., three]) = delivered();
    let incarnation = pair.incarnation(0);
    for (life, range) in [(incarnation, (Seq(1), Seq(u64::MAX))), (Incarnation(99), (Seq(1), Seq(3)))] {
        let receipt = Receipt { incarnation: life, read: vec![range], ..Receipt::default() };
        pair.hear(0, &Item::Receipt(receipt));
    }
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.stored(0, three), State::Read, "it may say so of what it has");
    let rows = pair.sides[0].store.reader().load().unwrap().conversations;
    assert_eq!(rows[0].read, [(incarnation, Seq(3))]);
    let four = pair.send(0, "four");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.stored(0, four), State::Delivered);
}
