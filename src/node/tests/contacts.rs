//! What one says of the other: a petname, a verified key, a block and its end.

use super::*;
use crate::{
    node::command::{Edit, Presence},
    store::row::Trust,
    wire::{KIND_PACKET, KIND_RESPONSE},
};

impl Pair {
    fn edit(&mut self, side: usize, edit: Edit) -> Reply {
        let peer = self.id(1 - side);
        let command = self.command(side, Command::EditContact { peer, edit });
        self.run_for(Duration::from_millis(50));
        self.replies(side, command).remove(0)
    }

    fn trust(&self, side: usize) -> Trust {
        self.sides[side].store.reader().load().unwrap().contacts[0].trust
    }

    fn why_waiting(&mut self, side: usize) -> Option<Reason> {
        let peer = self.id(1 - side);
        let command = self.command(side, Command::Waiting(peer));
        self.drain();
        match self.replies(side, command).as_slice() {
            [Reply::Waiting { reason, .. }] => *reason,
            other => panic!("{other:?}"),
        }
    }

    fn restart(&mut self, side: usize) {
        let boot = WriteBatch { id: BatchId(0), ops: std::sync::Arc::new(vec![Op::Boot(next_boot(BootId(0), self.now.unix))]) };
        self.sides[side].store.commit(&boot).unwrap();
        self.sides[side].node = start(&self.sides[side].store, side as u8 + 1, self.now);
    }
}

/// Two who have talked.
fn acquainted() -> Pair {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    pair.send(0, "one");
    pair.send(1, "two");
    pair.run_for(Duration::from_millis(200));
    assert_eq!((pair.texts(0), pair.texts(1)), (vec!["two".to_owned()], vec!["one".to_owned()]));
    pair
}

#[test]
fn whom_i_block_gets_one_response_and_then_silence() {
    let mut pair = acquainted();
    assert_eq!(pair.edit(1, Edit::Block), Reply::Done);
    assert_eq!(pair.trust(1), Trust::Blocked);
    pair.sent[1].clear();
    let message = pair.send(0, "do you hear me?");
    pair.run_for(Duration::from_secs(50));
    assert_eq!(pair.sent[1].iter().filter(|kind| **kind == KIND_RESPONSE).count(), 1, "{:?}", pair.sent[1]);
    assert!(!pair.sent[1].contains(&KIND_PACKET), "nothing that only the two could read: {:?}", pair.sent[1]);
    assert_eq!(pair.texts(1), ["one"]);
    assert_ne!(pair.states(0, message).last(), Some(&State::Delivered));
    assert_eq!(pair.why_waiting(0), Some(Reason::Offline), "as if switched off, although its announces are heard");
    // For an hour it costs some handshakes, and no more.
    pair.run_for(Duration::from_secs(3_600));
    let responses = pair.sent[1].iter().filter(|kind| **kind == KIND_RESPONSE).count();
    assert!((2..=7).contains(&responses), "{responses} handshakes in an hour");
    assert!(!pair.sent[1].contains(&KIND_PACKET));
}

#[test]
fn what_waited_comes_once_the_block_is_taken_back() {
    let mut pair = acquainted();
    pair.edit(1, Edit::Block);
    pair.send(0, "later");
    pair.run_for(Duration::from_secs(120));
    pair.restart(1);
    pair.run_for(Duration::from_secs(120));
    assert_eq!(pair.texts(1), ["one"], "a block outlives its program");
    assert_eq!(pair.edit(1, Edit::Unblock), Reply::Done);
    assert_eq!(pair.trust(1), Trust::Seen);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.texts(1), ["one", "later"]);
}

#[test]
fn nothing_is_written_to_whom_i_block_and_what_waits_says_why() {
    let mut pair = acquainted();
    pair.cut = true;
    pair.send(0, "before");
    assert_eq!(pair.edit(0, Edit::Block), Reply::Done);
    assert_eq!(pair.why_waiting(0), Some(Reason::Blocked));
    let peer = pair.id(1);
    let (id, text) = (MessageId::new(1, &[7; 10]), "after".to_owned());
    let command = pair.command(0, Command::Send { peer, id, kind: 0, text, expire: None });
    pair.cut = false;
    pair.run_for(Duration::from_secs(30));
    assert_eq!(pair.replies(0, command), [Reply::Failed(CommandError::Blocked)]);
    assert_eq!(pair.edit(0, Edit::Verify), Reply::Failed(CommandError::Blocked));
    assert_eq!(pair.texts(1), ["one"]);
    pair.edit(0, Edit::Unblock);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.texts(1), ["one", "before"]);
}

#[test]
fn a_name_and_a_verified_key_are_on_disk_before_they_are_said_to_be() {
    let mut pair = acquainted();
    pair.sides[0].commit_takes = Duration::from_millis(30);
    assert_eq!(pair.edit(0, Edit::Petname(Some("boss".to_owned()))), Reply::Done);
    assert_eq!(pair.edit(0, Edit::Verify), Reply::Done);
    let row = pair.sides[0].store.reader().load().unwrap().contacts[0].clone();
    assert_eq!((row.petname.as_deref(), row.trust, row.added), (Some("boss"), Trust::Verified, true));
    // No contact any more: what it was called and that it was verified goes, what was written stays.
    assert_eq!(pair.edit(0, Edit::Remove), Reply::Done);
    let row = pair.sides[0].store.reader().load().unwrap().contacts[0].clone();
    assert_eq!((row.petname, row.trust, row.added), (None, Trust::Seen, false));
    assert_eq!(pair.sides[0].store.reader().history(&HistoryQuery::default()).unwrap().rows.len(), 2);
    for edit in [Edit::Remove, Edit::Petname(None)] {
        assert_eq!(pair.edit(0, edit), Reply::Failed(CommandError::NoContact));
    }
    let me = pair.id(0);
    let command = pair.command(0, Command::EditContact { peer: me, edit: Edit::Block });
    pair.drain();
    assert_eq!(pair.replies(0, command), [Reply::Failed(CommandError::Myself)]);
}

#[test]
fn somebody_whom_i_block_comes_and_goes_unmentioned() {
    let mut pair = acquainted();
    pair.edit(0, Edit::Block);
    pair.sides[0].events.clear();
    pair.restart(1);
    pair.run_for(Duration::from_secs(90));
    let mentions = pair.sides[0].events.iter().filter(|event| matches!(event, Event::Peer(_))).count();
    assert_eq!(mentions, 0, "{:?}", pair.sides[0].events);
}

/// It looked as if blocked, and was not dialled any more.
#[test]
fn a_contact_whose_handshake_broke_off_is_dialled_again_and_here() {
    let mut pair = Pair::new();
    let peer = pair.id(1);
    pair.command(0, Command::AddContact { peer, petname: None, name: None, seeds: Vec::new() });
    while !pair.sent[1].contains(&KIND_RESPONSE) {
        pair.run_for(Duration::from_micros(100));
    }
    pair.cut = true;
    pair.run_for(Duration::from_secs(12));
    let last = |pair: &Pair| {
        let presence = |event: &Event| if let Event::Peer(view) = event { Some(view.presence) } else { None };
        pair.sides[0].events.iter().rev().find_map(presence)
    };
    assert_eq!(last(&pair), Some(Presence::Offline), "it took up a handshake and then said nothing");
    pair.cut = false;
    pair.run_for(Duration::from_secs(70));
    assert_eq!(last(&pair), Some(Presence::Online));
}
