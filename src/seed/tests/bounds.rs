//! No help to whoever aims at a third: bytes out against bytes in, for every query and any history.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::wire::{
    KIND_PACKET,
    phonebook::{ANSWER_FACTOR_MAX, QUERY_LEN_MIN},
    relay,
};

/// What somebody does.
#[derive(Debug, Clone)]
struct Step {
    who: u8,
    whom: u8,
    kind: u8,
    seq: u64,
    seconds: u64,
    /// Bytes of the datagram, where that is possible.
    len: usize,
    has_cookie: bool,
    flag: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![Just(0), QUERY_LEN_MIN..=1_200_usize];
    let seconds = prop_oneof![4 => Just(0_u64), 1 => 0..90_u64];
    (0..6_u8, 0..6_u8, 0..11_u8, 1..4_u64, seconds, len, prop::bool::weighted(0.9), any::<bool>()).prop_map(
        |(who, whom, kind, seq, seconds, len, has_cookie, flag)| Step { who, whom, kind, seq, seconds, len, has_cookie, flag },
    )
}

/// People with long names and many addresses, and with short ones.
fn signed(n: u8, seq: u64, lifetime: u16) -> Signed {
    let owner = identity(n.into());
    let addrs = vec![crate::wire::addr::Addr("[2001:db8::7]:17118".parse().unwrap()); usize::from(n)];
    let name = ["a", "alice"][usize::from(n) % 2].repeat(usize::from(n) * 2 + 1);
    let visibility = if n.is_multiple_of(3) { Visibility::Findable } else { Visibility::Listed };
    Signed::new(&owner, &Record { lifetime, addrs, name, visibility, ..record(&owner, seq) })
}

fn query(world: &World, step: &Step, with: impl FnOnce(&Query<'_>)) {
    let (own, other) = (signed(step.who, step.seq, 3_600), signed(step.whom, step.seq, 3_600));
    let farewell = signed(step.who, step.seq, 0);
    let name = Record::decode(&other.record).unwrap().name;
    let after = step.flag.then_some((name.as_str(), other.id));
    with(&match step.kind {
        0 => Query::Hello,
        1 | 2 => own.register(None),
        3 => Query::Refresh { id: own.id, seq: step.seq, token: [1; TOKEN_LEN] },
        4 => Query::Lookup { id: other.id, watch: step.flag },
        5 => Query::Find { network: [0; 8], name: &name },
        6 => Query::Search { network: [0; 8], prefix: &name[..name.len() / 2], after },
        7 => Query::Knock { to: other.id, sealed: &[7; 352][..step.len % 352] },
        8 if step.flag => farewell.unregister(),
        9 => {
            let unix = world.now.unix.0 / 1_000;
            let token = TokenKey::new(&world.shared.token_secret).token(unix, &own.id, &own.record, &own.signature);
            Query::Bind { id: own.id, token, peer: other.id }
        }
        _ => Query::Status,
    });
}

/// Three people who are registered, each with an end for each of the others.
fn bind_all(world: &mut World) {
    for (who, whom) in (0..3).flat_map(|who| (0..3).map(move |whom| (who, whom))) {
        for kind in [1, 9] {
            let step = Step { who, whom, kind, seq: 1, seconds: 0, len: 0, has_cookie: true, flag: false };
            let (cookie, mut datagram) = (world.cookie(addr(who)), Vec::new());
            query(world, &step, |query| datagram = bytes(query, cookie));
            world.raw(addr(who), &datagram);
        }
    }
}

/// What the ends of a channel send each other.
fn relayed(world: &World, step: &Step) -> Vec<u8> {
    let mut ids = [signed(step.who, 1, 3_600).id, signed(step.whom, 1, 3_600).id];
    ids.sort_unstable();
    let channel = world.shared.relays.as_ref().unwrap().channel(&ids);
    let mut datagram = Vec::new();
    relay::encode(channel, &vec![KIND_PACKET; step.len], &mut datagram);
    datagram
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nobody_is_sent_more_than_was_paid_for(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::relaying();
        world.seed.handle_fellows(world.now, Vec::new());
        bind_all(&mut world);
        // Bytes that each may still be sent, by what each has sent with a cookie.
        let mut credit: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for step in steps {
            world.pass(step.seconds);
            let from = addr(step.who);
            if step.kind == 10 {
                let datagram = relayed(&world, &step);
                world.seed.handle_datagram(world.now, from, &datagram);
                let left = world.leaving();
                prop_assert!(left.is_empty() || left == [(addr(step.whom), datagram)], "as it is, to the other end, or not at all");
                continue;
            }
            let cookie = if step.has_cookie { world.cookie(from) } else { [0; COOKIE_LEN] };
            let mut datagram = Vec::new();
            query(&world, &step, |query| datagram = bytes(query, cookie));
            if let Some(more) = step.len.checked_sub(datagram.len()) {
                datagram.resize(datagram.len() + more, 0);
            } else if step.kind == 4 {
                // A lookup may be shorter than an honest one.
                datagram.truncate(step.len.max(QUERY_LEN_MIN));
            }
            world.seed.handle_datagram(world.now, from, &datagram);
            world.seed.check_signatures(world.now);
            let left = world.leaving();
            prop_assert!(left.iter().all(|(_, out)| out.len() <= 1_200));
            if !step.has_cookie {
                prop_assert!(left.len() == 1 && left[0].0 == from && left[0].1.len() <= datagram.len());
                continue;
            }
            *credit.entry(from).or_default() += ANSWER_FACTOR_MAX * datagram.len();
            let notified = left.iter().filter(|(_, out)| matches!(Answer::decode(out), Ok((_, Answer::Notify { .. }))));
            let notified: usize = notified.map(|(_, out)| out.len()).sum();
            let own: usize = left.iter().filter(|(to, _)| *to == from).map(|(_, out)| out.len()).sum();
            let told = left.iter().any(|(to, out)| *to != from && !matches!(Answer::decode(out), Ok((_, Answer::Notify { .. }))));
            prop_assert!(!told || matches!(step.kind, 1 | 2), "only who registers makes others hear");
            if step.kind == 7 {
                prop_assert!(notified + own <= ANSWER_FACTOR_MAX * datagram.len());
                prop_assert!(notified <= datagram.len());
                continue;
            }
            prop_assert!(step.kind == 1 || step.kind == 2 || own <= ANSWER_FACTOR_MAX * datagram.len());
            for (to, out) in &left {
                let credit = credit.entry(*to).or_default();
                prop_assert!(out.len() <= *credit, "{to} is sent {} and has {credit} left", out.len());
                *credit -= out.len();
            }
        }
    }
}

#[test]
fn the_longest_answer_that_comes_unasked_is_paid_for() {
    let entry = Entry { record: &[1; 600], signature: [2; 64], seen: "[2001:db8::9]:17118".parse().unwrap(), age: u16::MAX };
    let (mut found, mut not_found) = (Vec::new(), Vec::new());
    let header = Header { txid: u64::MAX, cookie: [0; COOKIE_LEN] };
    Answer::Found { entries: vec![entry], more: false }.encode(header, &mut found);
    Answer::NotFound { warming: true, retry_after: u16::MAX, seeds: vec![entry.seen; 4] }.encode(header, &mut not_found);
    assert!(found.len() + not_found.len() <= ANSWER_FACTOR_MAX * crate::wire::phonebook::LOOKUP_LEN);
    assert!(not_found.len() <= ANSWER_FACTOR_MAX * QUERY_LEN_MIN);
}
