//! What a peer without manners, or a slow disk, may cost at most: queues, events, writes.

use super::*;
use crate::wire::message::{self, Mine, Void, Yours};

impl Pair {
    /// Two who have met: their sessions are up, and all is quiet.
    fn met() -> Self {
        let mut pair = Self::new();
        pair.run_for(Duration::from_millis(20));
        pair.send(0, "hi");
        pair.send(1, "hi");
        // Until the session that lost against another one is forgotten too.
        pair.run_for(Duration::from_secs(15));
        assert!(pair.sides.iter().all(|side| side.node.batches.is_idle()));
        pair.sides.iter_mut().for_each(|side| side.events.clear());
        pair
    }

    /// Time passes, and nothing arrives anywhere.
    fn run_apart(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.now.instant < end {
            self.run_for(DELAY / 2);
            self.wire.clear();
        }
    }

    /// The names that a side was told of the other one.
    fn names(&self, side: usize) -> Vec<String> {
        let name = |event: &Event| match event {
            Event::Peer(view) => Some(view.name.clone()),
            _ => None,
        };
        self.sides[side].events.iter().filter_map(name).collect()
    }
}

#[test]
fn a_session_that_is_full_of_control_items_ends_and_another_one_delivers() {
    let mut pair = Pair::met();
    let peer = pair.id(1);
    for number in 0..17_000 {
        pair.command(0, Command::SetAway(Some(format!("{number}"))));
    }
    assert!(pair.sides[0].node.session(&peer).unwrap().queued() < 16_384 * 100);
    let message = pair.send(0, "and I wait");
    pair.run_apart(Duration::from_millis(100));
    assert!(pair.sides[0].node.session(&peer).is_none(), "nothing waits in a session that is over");
    pair.run_for(Duration::from_secs(30));
    assert_eq!(pair.texts(1), ["and I wait"]);
    assert_eq!(pair.states(0, message).last(), Some(&State::Delivered));
}

#[test]
fn a_peer_that_renames_itself_all_the_time_is_news_once_a_second() {
    let mut pair = Pair::met();
    for number in 0..350 {
        pair.command(1, Command::SetName(format!("name{number}")));
        pair.run_for(Duration::from_millis(10));
    }
    let told = pair.names(0).len();
    assert!((3..=5).contains(&told), "{:?}", pair.names(0));
    // Sooner than the next announce, which says it too.
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.names(0).last().unwrap(), "name349");
    let contacts = pair.sides[0].store.reader().load().unwrap().contacts;
    assert_eq!(contacts[0].name, "name349");
}

#[test]
fn a_name_that_was_taken_back_in_time_is_no_news() {
    let mut pair = Pair::met();
    for name in ["one", "two", "one"] {
        pair.command(1, Command::SetName(name.to_owned()));
        pair.run_for(Duration::from_millis(10));
    }
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.names(0), ["one"]);
}

#[test]
fn a_batch_does_not_outgrow_its_bytes_while_a_commit_is_slow() {
    let mut pair = Pair::met();
    pair.sides[0].commit_takes = Duration::from_secs(20);
    pair.send(0, "this one is on its way to the disk");
    pair.run_for(Duration::from_millis(100));
    let (peer, long) = (pair.id(1), "x".repeat(wire::TEXT_LEN_MAX));
    let send = |pair: &mut Pair, number: u8| {
        let ask = Command::Send { peer, id: MessageId::new(2, &[number; 10]), kind: 0, text: long.clone(), expire: None };
        pair.command(0, ask)
    };
    let asked: Vec<_> = (0..70).map(|number| send(&mut pair, number)).collect();
    // What comes in meanwhile finds no room either, and its sender hears so.
    pair.send(1, "and back");
    pair.run_for(Duration::from_secs(1));
    let refused = |pair: &Pair| asked.iter().filter(|one| !pair.replies(0, **one).is_empty()).count();
    assert_eq!(refused(&pair), 6, "64 MiB fit");
    for one in &asked[64..] {
        assert_eq!(pair.replies(0, *one), [Reply::Failed(CommandError::OutboxFull)]);
    }
    assert_eq!(pair.sides[1].node.waiting_reason(&pair.id(0)), Some(Reason::DiskFullThere));
    pair.sides[0].commit_takes = Duration::ZERO;
    pair.run_for(Duration::from_secs(60));
    assert!(asked[..64].iter().all(|one| matches!(pair.replies(0, *one)[..], [Reply::Queued(_)])));
    assert_eq!(pair.texts(0), ["and back"]);
    assert_eq!(pair.texts(1).len(), 1 + 64);
}

/// 64 strangers have written already; one more wants to.
fn crowded() -> Pair {
    let mut pair = Pair::new();
    let stranger = |number: u8| {
        let identity = Identity::generate(&mut ChaCha20Rng::from_seed([100 + number; 32]));
        Op::Contact(Peer::blank(identity.id(), pair.now.unix).contact)
    };
    let ops = (0..64).map(stranger).collect();
    pair.sides[1].store.commit(&WriteBatch { id: BatchId(0), ops: std::sync::Arc::new(ops) }).unwrap();
    pair.sides[1].node = start(&pair.sides[1].store, 2, pair.now);
    pair.run_for(Duration::from_millis(20));
    pair
}

#[test]
fn the_sixty_fifth_stranger_can_only_ask_until_it_is_written_to() {
    let mut pair = crowded();
    let message = pair.send(0, "me too");
    pair.run_for(Duration::from_secs(600));
    assert!(pair.texts(1).is_empty());
    assert_eq!(pair.states(0, message).last(), Some(&State::Sent));
    let peer = pair.id(1);
    let asked = pair.command(0, Command::Waiting(peer));
    pair.run_for(Duration::ZERO);
    let reason = Some(Reason::AwaitingAcceptance);
    assert_eq!(pair.replies(0, asked), [Reply::Waiting { reason, next_try: None, reads: None }]);
    let is_notice = |event: &&Event| matches!(event, Event::Notice { code: NoticeCode::TooManyStrangers, .. });
    assert_eq!(pair.sides[1].events.iter().filter(is_notice).count(), 1);
    let loaded = pair.sides[1].store.reader().load().unwrap();
    assert_eq!((loaded.contacts.len(), loaded.conversations.len()), (65, 0), "nothing of it is kept but what it asks with");
    assert_eq!(loaded.contacts.iter().filter(|contact| contact.request.is_some()).count(), 1);
    pair.send(1, "come in");
    pair.run_for(Duration::from_secs(1));
    assert_eq!((pair.texts(1), pair.texts(0)), (vec!["me too".to_owned()], vec!["come in".to_owned()]));
}

#[test]
fn an_added_contact_is_bounded_by_nothing() {
    let mut pair = crowded();
    let peer = pair.id(0);
    pair.command(1, Command::AddContact { peer, petname: None, name: None, seeds: Vec::new() });
    for number in 0..500 {
        pair.send(0, &number.to_string());
    }
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.texts(1).len(), 500);
}

#[test]
fn a_peer_that_gives_places_up_all_the_time_is_a_notice_once_a_second() {
    let mut pair = Pair::met();
    let incarnation = pair.incarnation(0);
    for base in (1..=350).map(|number| Seq(2 + 2 * number)) {
        let mine = Mine { incarnation, base, next: base, previous: None };
        pair.hear(1, &Item::Conversation(message::Conversation { conversation: None, mine, yours: None }));
        pair.run_for(Duration::from_millis(10));
    }
    pair.run_for(Duration::from_secs(1));
    let missing = |event: &Event| match event {
        Event::Notice { code: NoticeCode::MessagesMissing, text, .. } => text.split(' ').next()?.parse::<u64>().ok(),
        _ => None,
    };
    let told: Vec<_> = pair.sides[1].events.iter().filter_map(missing).collect();
    assert!((4..=5).contains(&told.len()), "{told:?}");
    assert_eq!(told.iter().sum::<u64>(), 700, "none is forgotten: {told:?}");
}

#[test]
fn a_peer_that_claims_more_than_was_sent_all_the_time_has_it_numbered_anew_once_a_minute() {
    let mut pair = Pair::met();
    let books = |incarnation| Mine { incarnation, base: Seq(2), next: Seq(2), previous: None };
    let mut lives = vec![pair.incarnation(0)];
    let begin = pair.now.instant;
    for round in 0..1_790 {
        let yours = Some(Yours { incarnation: pair.incarnation(0), high_water: Seq(1 << 40), held: Vec::new() });
        let mine = books(pair.incarnation(1));
        pair.hear(0, &Item::Conversation(message::Conversation { conversation: None, mine, yours }));
        pair.run_for(Duration::from_millis(100));
        if pair.incarnation(0) != lives[lives.len() - 1] {
            lives.push(pair.incarnation(0));
        }
        assert!(round > 0 || lives.len() == 2, "the first time at once");
    }
    assert_eq!(pair.now.instant.since(begin), Duration::from_secs(179));
    assert_eq!(lives.len(), 1 + 3, "at once, after a minute, and after two");
    let message = pair.send(0, "and yet it comes");
    pair.run_for(Duration::from_secs(61));
    assert_eq!(pair.texts(1), ["and yet it comes"]);
    assert_eq!(pair.states(0, message).last(), Some(&State::Delivered));
}

#[test]
fn places_that_a_peer_repeats_all_the_time_are_looked_up_so_often_a_second() {
    let mut pair = Pair::met();
    let (peer, incarnation) = (pair.id(0), pair.incarnation(0));
    let again = Item::Void(Void { conversation: None, incarnation, seq: Seq(1), id: MessageId::new(3, &[3; 10]) });
    let queued = |pair: &Pair| pair.sides[1].node.session(&peer).unwrap().queued();
    pair.hear(1, &again);
    let receipt = queued(&pair);
    assert!(receipt > 0);
    (0..5_000).for_each(|_| pair.hear(1, &again));
    assert_eq!(queued(&pair), receipt * 512, "and not for each");
    assert!(pair.sides[1].node.batches.is_idle(), "nothing new for the disk");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(queued(&pair), 0);
    pair.hear(1, &again);
    assert_eq!(queued(&pair), receipt, "in the next second it is heard again");
    pair.send(0, "and then");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.texts(1), ["and then"]);
}

#[test]
fn an_announce_wakes_only_the_look_ups_that_it_may_answer() {
    let mut pair = Pair::new();
    let (now, id) = (pair.now, pair.id(1));
    let timeout = Duration::from_secs(3);
    for word in ["carol", "SIDE2", &id.to_string()[..10]] {
        pair.command(0, Command::Resolve { peer: word.to_owned(), timeout });
    }
    pair.command(0, Command::Peers { settle: true });
    let node = &mut pair.sides[0].node;
    node.peer_mut(id, now).contact.name = "side2".to_owned();
    let woken: Vec<_> = node.lookups.iter().map(|lookup| node.may_be_about(now, lookup, &id)).collect();
    assert_eq!(woken, [false, true, true, true]);
}
