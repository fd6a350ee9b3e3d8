//! What a hostile seed may try: the machine alone on virtual time.

mod real;

use super::*;
use crate::{
    clock::Unix,
    crypto::{identity::Identity, record::sign_record},
    node::command::Question,
    wire::{
        SIGNATURE_LEN,
        phonebook::{Answer, COOKIE_LEN, Entry, Header, Query, Refusal},
        record::RECORD_LIFETIME_MAX,
    },
};

const UNIX_MS: u64 = 1_760_000_000_000;

/// A peer that registers at one seed, which we play.
struct World {
    identity: Identity,
    seeds: Seeds,
    seed: SocketAddr,
    now: Now,
    /// Records that were signed.
    signed: Vec<Record>,
}

impl World {
    fn new(visibility: Option<Visibility>, hidden: bool) -> Self {
        let identity = Identity::generate(&mut ChaCha20Rng::seed_from_u64(1));
        let seed: SocketAddr = "192.0.2.1:17118".parse().unwrap();
        let config = SeedsConfig {
            id: identity.id(),
            network: [0; 8],
            name: "alice".to_owned(),
            visibility,
            hidden,
            seeds: vec![seed.to_string()],
        };
        let now = Now { instant: Instant::from_start(Duration::from_secs(100)), unix: Unix(UNIX_MS) };
        let seeds = Seeds::new(config, [2; 32], now.instant);
        Self { identity, seeds, seed, now, signed: Vec::new() }
    }

    /// Lets time pass until a query of ours that is no Hello has left, and returns its txid and whether it
    /// registers.
    fn next_query(&mut self) -> (u64, bool) {
        self.query_within(100).expect("something is asked")
    }

    /// The same within so many seconds. The seed gives a cookie to who has none.
    fn query_within(&mut self, seconds: u32) -> Option<(u64, bool)> {
        for _ in 0..seconds {
            self.seeds.handle_timeout(self.now);
            while let Some(record) = self.seeds.poll_record() {
                self.signed.push(record.clone());
                let (bytes, signature) = sign_record(&self.identity, &record);
                self.seeds.handle_signed(self.now, record, bytes, signature);
            }
            while let Some((_, datagram)) = self.seeds.poll_transmit() {
                match Query::decode(&datagram).unwrap() {
                    (header, Query::Hello) => {
                        let cookie = Header { txid: header.txid, cookie: [7; COOKIE_LEN] };
                        self.answer(cookie, &Answer::Cookie { seen: self.seed });
                    }
                    (header, query) => return Some((header.txid, matches!(query, Query::Register { .. }))),
                }
            }
            let wait = Duration::from_secs(1);
            self.now = Now { instant: self.now.instant + wait, unix: self.now.unix.after(wait) };
        }
        None
    }

    /// Lets time pass, and answers nothing but who has no cookie.
    fn be_silent_for(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.now.instant < end {
            self.query_within(1);
        }
    }

    fn answer(&mut self, header: Header, answer: &Answer<'_>) {
        let mut datagram = Vec::new();
        answer.encode(header, &mut datagram);
        self.seeds.handle_datagram(self.now, self.seed, &datagram);
    }

    fn refuse(&mut self, refusal: Refusal) {
        let (txid, registers) = self.next_query();
        assert!(registers);
        self.answer(Header { txid, cookie: [0; COOKIE_LEN] }, &Answer::Refused(refusal));
    }
}

#[test]
fn a_seq_that_a_seed_knows_is_passed_by_unless_none_could_be() {
    let mut world = World::new(Some(Visibility::Findable), false);
    world.refuse(Refusal::Stale { seq: UNIX_MS + 1_000_000 });
    world.refuse(Refusal::Stale { seq: u64::MAX });
    let (_, registers) = world.next_query();
    assert!(registers, "it is tried again");
    let seqs: Vec<_> = world.signed.iter().map(|record| record.seq).collect();
    assert_eq!(seqs, [UNIX_MS, UNIX_MS + 1_000_001]);
}

/// Once the record of a clock that was wrong was tried for half an hour.
#[test]
fn a_clock_that_was_set_is_in_the_next_record() {
    for (error, taken) in [(3_300_000, false), (300_000, true)] {
        let mut world = World::new(Some(Visibility::Findable), false);
        world.now.unix = Unix(UNIX_MS + error);
        let registered = Answer::Registered { token: [5; 16], ttl: 75, seen: world.seed };
        let refused = Answer::Refused(Refusal::WrongClock { unix: UNIX_MS / 1_000 });
        for answer in [if taken { &registered } else { &refused }, &registered] {
            let (txid, registers) = world.next_query();
            assert!(registers);
            world.answer(Header { txid, cookie: [0; COOKIE_LEN] }, answer);
            world.now.unix = Unix(world.now.unix.0 - error * u64::from(world.signed.len() == 1));
        }
        let [wrong, right] = world.signed.as_slice() else { panic!("{:?}", world.signed) };
        assert_eq!(wrong.seq, UNIX_MS + error);
        assert!(right.issued >= UNIX_MS / 1_000 && right.issued <= world.now.unix.0 / 1_000, "{right:?}");
        // What a seed has is passed by; else the clock counts, or a restart would stand below for as long as it was ahead.
        assert_eq!(right.seq, if taken { wrong.seq + 1 } else { right.issued * 1_000 });
        assert_eq!(world.query_within(10), None, "it is there, and true");
    }
}

#[test]
fn who_hides_is_registered_by_nothing_but_a_command() {
    let mut world = World::new(None, true);
    world.seeds.register_for_relay(world.now, world.seed);
    assert_eq!(world.query_within(100), None);
    world.seeds.register(world.now, true, None);
    assert!(world.next_query().1);
}

#[test]
fn what_a_relay_needed_is_taken_back_and_what_a_command_wanted_lapses() {
    for (commanded, says_goodbye) in [(false, true), (true, false)] {
        let mut world = World::new(None, false);
        assert_eq!(world.query_within(10), None);
        if commanded {
            world.seeds.register(world.now, true, None);
        } else {
            world.seeds.register_for_relay(world.now, world.seed);
        }
        let (txid, registers) = world.next_query();
        assert!(registers);
        let registered = Answer::Registered { token: [5; 16], ttl: 75, seen: world.seed };
        world.answer(Header { txid, cookie: [0; COOKIE_LEN] }, &registered);
        assert_eq!(world.seeds.registered(), 1);
        assert_eq!(world.signed[0].name, if commanded { "alice" } else { "" }, "a relay needs no name");
        world.seeds.leave(world.now);
        assert_eq!(world.seeds.has_left(), !says_goodbye, "nothing is waited for");
        assert_eq!(world.query_within(1).map(|(_, registers)| registers), says_goodbye.then_some(false));
    }
}

#[test]
fn a_seed_may_have_a_peer_knock_for_as_long_as_it_holds_our_record() {
    let mut world = World::new(Some(Visibility::Findable), false);
    let (txid, _) = world.next_query();
    let notify = |world: &mut World| {
        world.answer(Header { txid: 0, cookie: [0; COOKIE_LEN] }, &Answer::Notify { from: world.seed, sealed: &[1; 48] });
        let events: Vec<_> = std::iter::from_fn(|| world.seeds.poll_event()).collect();
        events.iter().any(|event| matches!(event, SeedsEvent::Notified { .. }))
    };
    assert!(!notify(&mut world));
    world.answer(Header { txid, cookie: [0; COOKIE_LEN] }, &Answer::Registered { token: [5; 16], ttl: 75, seen: world.seed });
    let registered = world.now.instant;
    // No refresh is answered.
    while world.now.instant.since(registered) < Duration::from_secs(74) {
        assert!(notify(&mut world), "{:?}", world.now.instant.since(registered));
        world.query_within(1);
    }
    assert_eq!(world.seeds.registered(), 0);
    world.query_within(1);
    assert!(!notify(&mut world));
}

#[test]
fn who_is_found_where_he_is_not_at_home_is_asked_for_at_home() {
    let home: SocketAddr = "192.0.2.9:17118".parse().unwrap();
    let bob = Identity::generate(&mut ChaCha20Rng::seed_from_u64(2));
    for (homes, is_asked_on) in [(vec![home], true), (vec![home, "192.0.2.1:17118".parse().unwrap()], false), (vec![], false)] {
        let mut world = World::new(None, true);
        let want = Want::Records(Question::Id(bob.id()));
        let ask = world.seeds.ask(world.now, want, None, &[], false, Duration::from_secs(3));
        let (txid, _) = world.next_query();
        let record = Record {
            id: bob.id(),
            seq: UNIX_MS,
            issued: UNIX_MS / 1_000,
            lifetime: RECORD_LIFETIME_MAX,
            network: [0; 8],
            name: "bob".to_owned(),
            visibility: Visibility::Findable,
            seeds: homes.into_iter().map(Addr).collect(),
            addrs: Vec::new(),
        };
        let (bytes, signature): (_, [u8; SIGNATURE_LEN]) = sign_record(&bob, &record);
        let entry = Entry { record: &bytes, signature, seen: "198.51.100.2:17118".parse().unwrap(), age: 70 };
        world.answer(Header { txid, cookie: [0; COOKIE_LEN] }, &Answer::Found { entries: vec![entry], more: false });
        let asked: Vec<_> = std::iter::from_fn(|| world.seeds.poll_transmit()).map(|(to, _)| to).collect();
        assert_eq!(asked, if is_asked_on { vec![home] } else { vec![] });
        let events: Vec<_> = std::iter::from_fn(|| world.seeds.poll_event()).collect();
        let is_found = |event: &SeedsEvent| matches!(event, SeedsEvent::Found { ask: one, .. } if *one == ask);
        assert!(events.iter().any(is_found), "what is left over may still lead to him: {events:?}");
    }
}

/// A list was cut after so many pages, or when time was up, and looked whole.
#[test]
fn a_list_that_is_cut_is_said_to_be() {
    for answered in [31, 32] {
        let mut world = World::new(None, true);
        let ask =
            world.seeds.ask(world.now, Want::Records(Question::Prefix(String::new())), None, &[], false, Duration::from_secs(3));
        let record = |n: u64| Record {
            id: world.identity.id(),
            seq: UNIX_MS,
            issued: UNIX_MS / 1_000,
            lifetime: RECORD_LIFETIME_MAX,
            network: [0; 8],
            name: format!("n{n:02}"),
            visibility: Visibility::Listed,
            seeds: Vec::new(),
            addrs: Vec::new(),
        };
        let pages: Vec<_> = (0..answered).map(|n| sign_record(&world.identity, &record(n))).collect();
        for (bytes, signature) in &pages {
            let now = world.now;
            let (txid, _) = world.next_query();
            world.now = now;
            let entry = Entry { record: bytes, signature: *signature, seen: world.seed, age: 0 };
            world.answer(Header { txid, cookie: [0; COOKIE_LEN] }, &Answer::Found { entries: vec![entry], more: true });
        }
        world.be_silent_for(Duration::from_secs(4));
        let events: Vec<_> = std::iter::from_fn(|| world.seeds.poll_event()).collect();
        let done = events.iter().find_map(|event| match event {
            SeedsEvent::Done { ask: one, progress } if *one == ask => Some(progress),
            _ => None,
        });
        let missing = if answered == 32 { vec![] } else { vec![world.seed.to_string()] };
        assert!(done.is_some_and(|done| done.more && done.missing == missing), "{done:?}");
    }
}

/// Every seed that a command or a link named once was kept for ever, and once they were 64 no other one was asked.
#[test]
fn seeds_that_were_asked_once_leave_room_for_others() {
    let mut world = World::new(Some(Visibility::Findable), false);
    let ask = |world: &mut World, n: usize| {
        let name = format!("198.51.100.{n}:17118");
        assert!(world.seeds.has_room_for(&name));
        world.seeds.ask(world.now, Want::Status, Some(&name), &[], false, Duration::from_secs(3));
        world.seeds.views(Some(&name)).len()
    };
    for n in 0..3 * SEEDS_MAX {
        assert_eq!(ask(&mut world, n), 1);
        world.now.instant = world.now.instant + Duration::from_secs(5);
        world.seeds.handle_timeout(world.now);
    }
    assert_eq!(world.seeds.seeds.len(), SEEDS_MAX);
    assert_eq!(world.seeds.views(None)[0].seed, world.seed.to_string(), "what is in use stays");
    // While all are asked there is no room.
    (0..SEEDS_MAX - 1).for_each(|n| assert_eq!(ask(&mut world, n), 1));
    assert!(!world.seeds.has_room_for("198.51.100.200:17118") && world.seeds.has_room_for("198.51.100.0:17118"));
    // What a command has us registered at is no spare seat.
    world.now.instant = world.now.instant + Duration::from_secs(5);
    world.seeds.handle_timeout(world.now);
    world.seeds.register(world.now, true, Some("198.51.100.201:17118"));
    (0..SEEDS_MAX - 2).for_each(|n| assert_eq!(ask(&mut world, n), 1));
    assert!(!world.seeds.has_room_for("198.51.100.200:17118"));
}

/// It was asked of DNS every 30 s for as long as the process lived.
#[test]
fn a_name_that_nobody_uses_any_more_is_not_resolved_again() {
    let mut world = World::new(None, true);
    for (name, again) in [("asked.example:1", false), ("registered.example:1", true)] {
        if again {
            world.seeds.register(world.now, true, Some(name));
        }
        world.seeds.ask(world.now, Want::Status, Some(name), &[], false, Duration::from_secs(3));
        assert_eq!(world.seeds.poll_resolve().as_deref(), Some(name));
        world.seeds.handle_resolved(world.now, name, Err("no such name".to_owned()));
        world.be_silent_for(Duration::from_secs(40));
        assert_eq!(world.seeds.poll_resolve().as_deref(), again.then_some(name));
    }
}
