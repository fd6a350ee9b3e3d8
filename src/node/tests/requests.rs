//! Who may write: every cell of the table, and what becomes of who may only ask.

use super::*;
use crate::{
    node::{
        command::{Allow, Edit, RequestView},
        requests::REQUESTS_MAX,
    },
    store::row::Contact,
    wire::message::{Admission, Content, Request},
};

/// Where the two are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// On one LAN.
    On,
    /// Behind routers; the first knows where the second is.
    Off,
}

impl Pair {
    /// Two who never met, of whom the second lets others write so.
    fn strangers(allow: Allow, link: Link) -> Self {
        let mut pair = Self::new();
        for side in 0..2 {
            pair.start_again(side, if side == 1 { allow } else { Allow::Contacts }, link);
        }
        pair.run_for(Duration::from_millis(20));
        pair
    }

    /// Kills a side, and starts it again.
    fn start_again(&mut self, side: usize, allow: Allow, link: Link) {
        let (number, other) = (side as u8 + 1, self.sides[1 - side].addr);
        let loaded = self.sides[side].store.reader().load().unwrap();
        let boot = WriteBatch { id: BatchId(0), ops: std::sync::Arc::new(vec![Op::Boot(next_boot(loaded.boot, self.now.unix))]) };
        self.sides[side].store.commit(&boot).unwrap();
        let store = &self.sides[side].store;
        let loaded = store.reader().load().unwrap();
        let identity = Identity::from_secret(&loaded.secret).unwrap();
        let (name, lan) = (loaded.name.clone(), link == Link::On);
        let config = NodeConfig { name, port: 17118, lan, allow, ..NodeConfig::default() };
        let prefix = if lan { 24 } else { 32 };
        let mut node = start_as(config, prefix, identity, loaded, store, number, self.now);
        if link == Link::Off && side == 0 {
            node.peer_mut(self.sides[1].node.id(), self.now).on_told_at(self.now.instant, PathAddr::direct(other, false));
        }
        self.sides[side].node = node;
        self.sides[side].committing = None;
    }

    fn requests(&mut self) -> Vec<RequestView> {
        let command = self.command(1, Command::Requests);
        self.drain();
        match self.replies(1, command).remove(0) {
            Reply::Requests(views) => views,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, edit: Edit) -> Reply {
        let peer = self.id(0);
        let command = self.command(1, Command::EditContact { peer, edit });
        self.run_for(Duration::from_millis(50));
        self.replies(1, command).remove(0)
    }

    fn why(&mut self) -> Option<Reason> {
        let peer = self.id(1);
        let command = self.command(0, Command::Waiting(peer));
        self.drain();
        match self.replies(0, command).as_slice() {
            [Reply::Waiting { reason, .. }] => *reason,
            other => panic!("{other:?}"),
        }
    }

    fn end_of(&self, message: MessageId) -> Option<(State, Option<Reason>)> {
        let end = |event: &Event| match event {
            Event::Status { id, state, reason, .. } if *id == message => Some((*state, *reason)),
            _ => None,
        };
        self.sides[0].events.iter().filter_map(end).next_back()
    }

    fn contact(&self) -> Option<Contact> {
        self.sides[1].store.reader().load().unwrap().contacts.into_iter().next()
    }
}

#[test]
fn every_cell_of_the_table_holds() {
    let asks = (State::Sent, Some(Reason::AwaitingAcceptance));
    let refused = (State::Failed, Some(Reason::Refused));
    for (allow, link, end) in [
        (Allow::Lan, Link::On, (State::Delivered, None)),
        (Allow::Lan, Link::Off, asks),
        (Allow::Requests, Link::On, asks),
        (Allow::Requests, Link::Off, asks),
        (Allow::Contacts, Link::On, refused),
        (Allow::Contacts, Link::Off, refused),
    ] {
        let mut pair = Pair::strangers(allow, link);
        let message = pair.send(0, "hi");
        pair.run_for(Duration::from_secs(20));
        let cell = format!("{allow:?} {link:?}");
        assert_eq!(pair.end_of(message), Some(end), "{cell}");
        assert_eq!(pair.texts(1).len(), usize::from(end.0 == State::Delivered), "{cell}");
        let asked: Vec<_> = pair.requests().into_iter().map(|view| (view.peer, view.name, view.request.text)).collect();
        let expected = (end == asks).then(|| (pair.id(0), "side1".to_owned(), "hi".to_owned()));
        assert_eq!(asked, Vec::from_iter(expected), "{cell}");
        let told = pair.sides[1].events.iter().filter(|event| matches!(event, Event::Request(_))).count();
        assert_eq!(told, usize::from(end == asks), "told once: {cell}");
        assert_eq!(pair.contact().is_some(), end != refused, "whom nothing is taken of leaves nothing: {cell}");
        // A contact may write wherever it is.
        let peer = pair.id(0);
        pair.command(1, Command::AddContact { peer, petname: None, name: None, seeds: Vec::new() });
        pair.run_for(Duration::from_millis(20));
        let second = pair.send(0, "and now?");
        pair.run_for(Duration::from_secs(5));
        assert_eq!(pair.end_of(second), Some((State::Delivered, None)), "{cell}");
    }
}

#[test]
fn who_asks_is_told_by_the_peer_and_what_it_wrote_comes_in_order_once_accepted() {
    let mut pair = Pair::strangers(Allow::Requests, Link::Off);
    let long = "é".repeat(200);
    let first = pair.send(0, &long);
    let second = pair.send(0, "two");
    pair.run_for(Duration::from_secs(2));
    assert_eq!((pair.why(), pair.end_of(second).unwrap().0), (Some(Reason::AwaitingAcceptance), State::Queued));
    assert_eq!(pair.requests()[0].request.text, "é".repeat(128), "no more than 256 bytes");
    // Both are killed while it is not answered, and nobody asks twice.
    pair.start_again(1, Allow::Requests, Link::Off);
    pair.run_for(Duration::from_secs(5));
    pair.start_again(0, Allow::Contacts, Link::Off);
    pair.run_for(Duration::from_secs(600));
    assert_eq!(pair.requests().len(), 1);
    assert!(pair.texts(1).is_empty());
    let third = pair.send(0, "three");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.end_of(third), Some((State::Queued, Some(Reason::AwaitingAcceptance))));
    assert_eq!(pair.answer(Edit::Accept), Reply::Done);
    pair.run_for(Duration::from_millis(200));
    assert_eq!(pair.texts(1), [long.as_str(), "two", "three"]);
    for message in [first, second, third] {
        assert_eq!(pair.end_of(message), Some((State::Delivered, None)));
    }
    assert!(pair.requests().is_empty());
    assert_eq!(pair.answer(Edit::Accept), Reply::Failed(CommandError::NoRequest));
    assert_eq!(pair.answer(Edit::Refuse), Reply::Failed(CommandError::NoRequest));
    let contact = pair.contact().unwrap();
    assert!(contact.added && contact.request.is_none());
}

#[test]
fn who_is_refused_is_told_so_also_later_and_after_a_restart() {
    let mut pair = Pair::strangers(Allow::Lan, Link::Off);
    let first = pair.send(0, "please");
    let withdrawn = pair.send(0, "no, wait");
    pair.run_for(Duration::from_secs(2));
    pair.command(0, Command::Cancel(withdrawn));
    pair.run_for(Duration::from_secs(1));
    // It is away when the answer is given.
    pair.cut = true;
    assert_eq!(pair.answer(Edit::Refuse), Reply::Done);
    pair.start_again(1, Allow::Lan, Link::Off);
    pair.run_for(Duration::from_secs(300));
    pair.cut = false;
    pair.run_for(Duration::from_secs(120));
    assert_eq!(pair.end_of(first), Some((State::Failed, Some(Reason::Refused))));
    assert_eq!(pair.end_of(withdrawn), Some((State::Cancelled, None)));
    assert!(pair.requests().is_empty());
    let again = pair.send(0, "pretty please");
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.end_of(again), Some((State::Failed, Some(Reason::Refused))));
    assert_eq!(pair.sides[0].store.reader().load().unwrap().outbox_len, 0);
    assert!(pair.requests().is_empty() && pair.texts(1).is_empty());
    // Taken back.
    let peer = pair.id(0);
    pair.command(1, Command::AddContact { peer, petname: None, name: None, seeds: Vec::new() });
    pair.run_for(Duration::from_millis(20));
    let last = pair.send(0, "thank you");
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.end_of(last), Some((State::Delivered, None)));
    assert_eq!(pair.texts(1), ["thank you"]);
}

#[test]
fn to_write_to_who_asks_is_an_answer() {
    let mut pair = Pair::strangers(Allow::Requests, Link::On);
    pair.send(0, "may I?");
    pair.run_for(Duration::from_secs(1));
    pair.send(1, "of course");
    pair.run_for(Duration::from_secs(1));
    assert_eq!((pair.texts(0), pair.texts(1)), (vec!["of course".to_owned()], vec!["may I?".to_owned()]));
    assert!(pair.requests().is_empty());
}

#[test]
fn whom_i_block_asks_no_more() {
    let mut pair = Pair::strangers(Allow::Requests, Link::On);
    let message = pair.send(0, "may I?");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.answer(Edit::Block), Reply::Done);
    pair.run_for(Duration::from_secs(60));
    assert!(pair.requests().is_empty());
    assert_eq!((pair.end_of(message).unwrap().0, pair.why()), (State::Sent, Some(Reason::Offline)));
}

#[test]
fn others_may_write_as_soon_as_i_say_so_and_no_longer() {
    let mut pair = Pair::strangers(Allow::Lan, Link::On);
    pair.send(0, "one");
    pair.run_for(Duration::from_secs(1));
    let say = |pair: &mut Pair, allow| {
        let command = pair.command(1, Command::SetAllow(allow));
        pair.run_for(Duration::from_millis(20));
        assert_eq!(pair.replies(1, command), [Reply::Done]);
    };
    say(&mut pair, Allow::Requests);
    let two = pair.send(0, "two");
    pair.run_for(Duration::from_secs(30));
    assert_eq!(pair.end_of(two), Some((State::Sent, Some(Reason::AwaitingAcceptance))));
    say(&mut pair, Allow::Lan);
    pair.run_for(Duration::from_millis(50));
    assert_eq!(pair.texts(1), ["one", "two"], "at once, and not when it would be offered again");
    say(&mut pair, Allow::Contacts);
    let three = pair.send(0, "three");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.end_of(three), Some((State::Failed, Some(Reason::Refused))));
    assert_eq!(pair.texts(1), ["one", "two"]);
}

#[test]
fn what_a_peer_sends_that_may_only_ask_is_not_taken() {
    let mut pair = Pair::strangers(Allow::Requests, Link::On);
    pair.send(0, "may I?");
    pair.run_for(Duration::from_secs(1));
    let incarnation = pair.incarnation(0);
    let id = MessageId::new(9, &[9; 10]);
    let content = Content {
        conversation: None,
        incarnation,
        seq: Seq(1),
        id,
        author: None,
        age_ms: 0,
        kind: 0,
        text: "I just do".to_owned(),
        more: Vec::new(),
    };
    for number in 0..1_000 {
        pair.hear(1, &Item::Content(content.clone()));
        pair.hear(1, &Item::Request(Request::new(MessageId::new(number, &[9; 10]), 0, "another text")));
    }
    pair.run_for(Duration::from_secs(1));
    assert!(pair.texts(1).is_empty());
    let asked: Vec<_> = pair.requests().into_iter().map(|view| view.request.text).collect();
    assert_eq!(asked, ["may I?"], "one each");
    let loaded = pair.sides[1].store.reader().load().unwrap();
    assert_eq!((loaded.contacts.len(), loaded.conversations.len()), (1, 0));
}

#[test]
fn who_may_only_ask_hears_neither_name_nor_presence() {
    let mut pair = Pair::strangers(Allow::Requests, Link::Off);
    pair.command(1, Command::SetAway(Some("at the dentist".to_owned())));
    pair.send(0, "may I?");
    pair.run_for(Duration::from_secs(1));
    pair.command(1, Command::SetName("renamed".to_owned()));
    pair.command(1, Command::SetAway(None));
    pair.command(1, Command::SetAway(Some("back at ten".to_owned())));
    pair.run_for(Duration::from_secs(5));
    let id = pair.id(1);
    let peer = |pair: &Pair| {
        let peer = &pair.sides[0].node.peers[&id];
        (peer.contact.name.clone(), peer.away.clone())
    };
    assert_eq!(peer(&pair), (String::new(), None));
    pair.answer(Edit::Accept);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(peer(&pair), ("renamed".to_owned(), Some("back at ten".to_owned())));
}

#[test]
fn a_twenty_first_request_waits_until_one_is_answered() {
    let mut pair = Pair::strangers(Allow::Requests, Link::On);
    let asking = |number: u8| {
        let identity = Identity::generate(&mut ChaCha20Rng::from_seed([100 + number; 32]));
        let mut contact = Peer::blank(identity.id(), pair.now.unix).contact;
        let id = MessageId::new(u64::from(number), &[number; 10]);
        contact.request =
            Some(crate::store::row::Request { id, kind: 0, text: number.to_string(), received_at: Unix(u64::from(number)) });
        contact
    };
    let others: Vec<_> = (0..REQUESTS_MAX as u8).map(asking).collect();
    let ops = others.iter().cloned().map(Op::Contact).collect();
    pair.sides[1].store.commit(&WriteBatch { id: BatchId(0), ops: std::sync::Arc::new(ops) }).unwrap();
    pair.start_again(1, Allow::Requests, Link::On);
    let message = pair.send(0, "me too");
    pair.run_for(Duration::from_secs(130));
    let texts = |pair: &mut Pair| pair.requests().into_iter().map(|view| view.request.text).collect::<Vec<_>>();
    assert_eq!(texts(&mut pair), (0..20).map(|number| number.to_string()).collect::<Vec<_>>(), "who came first stays");
    assert_eq!(pair.end_of(message), Some((State::Sent, Some(Reason::AwaitingAcceptance))));
    let is_notice = |event: &&Event| matches!(event, Event::Notice { code: NoticeCode::TooManyRequests, .. });
    assert_eq!(pair.sides[1].events.iter().filter(is_notice).count(), 1);
    pair.command(1, Command::EditContact { peer: others[3].id, edit: Edit::Refuse });
    pair.run_for(Duration::from_secs(70));
    assert_eq!(texts(&mut pair).last().map(String::as_str), Some("me too"));
}

#[test]
fn what_the_peer_let_us_write_in_another_session_counts_for_nothing_in_this_one() {
    let mut pair = Pair::strangers(Allow::Lan, Link::On);
    pair.send(0, "one");
    pair.run_for(Duration::from_secs(1));
    let peer = pair.id(1);
    assert_eq!(pair.sides[0].node.peers[&peer].admission(), Some(Admission::FULL));
    pair.start_again(1, Allow::Requests, Link::On);
    let two = pair.send(0, "two");
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.end_of(two), Some((State::Sent, Some(Reason::AwaitingAcceptance))));
    assert_eq!(pair.texts(1), ["one"]);
}
