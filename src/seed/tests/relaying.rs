//! Relaying as two peers see it: who gets an end, what is forwarded, and what is not.

use super::*;
use crate::{
    id::ChannelId,
    wire::{KIND_ANNOUNCE, KIND_PACKET, KIND_RELAYED, phonebook::RelayStatus, relay},
};

/// Somebody who is registered, and where.
struct Person {
    signed: Signed,
    token: [u8; TOKEN_LEN],
    at: SocketAddr,
}

fn person(world: &mut World, n: u8) -> Person {
    let owner = identity(n.into());
    let signed = Signed::new(&owner, &record(&owner, 1));
    Person { token: world.token(addr(n), &signed), signed, at: addr(n) }
}

impl Person {
    fn bind(&self, peer: &Self) -> Query<'static> {
        Query::Bind { id: self.signed.id, token: self.token, peer: peer.signed.id }
    }
}

/// Alice and bob, with their ends bound.
fn bound(world: &mut World) -> (Person, Person, ChannelId) {
    let (alice, bob) = (person(world, 1), person(world, 2));
    let Answer::Bound { channel, open: false } = world.told(alice.at, &alice.bind(&bob)) else { panic!() };
    assert_eq!(world.told(bob.at, &bob.bind(&alice)), Answer::Bound { channel, open: true });
    assert_eq!(world.told(alice.at, &alice.bind(&bob)), Answer::Bound { channel, open: true });
    (alice, bob, channel)
}

fn packet(channel: ChannelId, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    relay::encode(channel, &vec![KIND_PACKET; len], &mut out);
    out
}

#[test]
fn what_comes_in_a_channel_goes_to_the_other_end_as_it_is() {
    let mut world = World::relaying();
    let (alice, bob, channel) = bound(&mut world);
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        let datagram = packet(channel, 700);
        world.seed.handle_datagram(world.now, from.at, &datagram);
        assert_eq!(world.leaving(), [(to.at, datagram)]);
    }
    let counters = world.counters();
    assert_eq!((counters.bind, counters.channels, counters.relayed, counters.relayed_bytes), (3, 1, 2, 2 * 709));
    let out = world.ask(addr(9), &Query::Status);
    let Answer::Status(status) = Answer::decode(&out).unwrap().1 else { panic!() };
    assert_eq!(status.relay, RelayStatus { rate_max: 1 << 20, channels: 1, bytes: 2 * 709 });
}

#[test]
fn nobody_else_and_nothing_else_is_relayed_and_nobody_is_told() {
    let mut world = World::relaying();
    let (alice, bob, channel) = bound(&mut world);
    world.seed.handle_datagram(world.now, addr(3), &packet(channel, 700));
    world.seed.handle_datagram(world.now, alice.at, &packet(ChannelId(channel.0 + 1), 700));
    let carol = person(&mut world, 3);
    let Answer::Bound { channel: half, open: false } = world.told(alice.at, &alice.bind(&carol)) else { panic!() };
    world.seed.handle_datagram(world.now, alice.at, &packet(half, 700));
    assert!(world.leaving().is_empty());
    assert_eq!(world.counters().stray, 3);
    let mut announce = packet(channel, 700);
    announce[relay::RELAYED_HEADER_LEN] = KIND_ANNOUNCE;
    for datagram in [announce, packet(channel, relay::RELAYED_LEN_MAX + 1), vec![KIND_RELAYED], packet(channel, 0)] {
        world.seed.handle_datagram(world.now, bob.at, &datagram);
    }
    assert!(world.leaving().is_empty());
    assert_eq!(world.counters().dropped, 4);
}

#[test]
fn an_end_is_for_who_is_registered_and_has_the_token() {
    let mut world = World::relaying();
    let (alice, bob) = (person(&mut world, 1), person(&mut world, 2));
    let query = |id, token, peer| Query::Bind { id, token, peer };
    let mut told = |from, query| world.told(from, &query);
    assert_eq!(told(addr(9), query(alice.signed.id, [0; TOKEN_LEN], bob.signed.id)), Answer::Need);
    assert_eq!(told(addr(9), query(alice.signed.id, bob.token, bob.signed.id)), Answer::Need);
    assert_eq!(told(addr(9), query([9; 32], alice.token, bob.signed.id)), Answer::Need, "nobody");
    assert_eq!(told(alice.at, query(alice.signed.id, alice.token, alice.signed.id)), Answer::Refused(Refusal::BadRecord));
    let low = SocketAddr::new(alice.at.ip(), 53);
    assert_eq!(told(low, query(alice.signed.id, alice.token, bob.signed.id)), Answer::Refused(Refusal::BadRecord));
    // The token is its owner's, so an end may be elsewhere than where the record says.
    assert!(matches!(told(addr(8), alice.bind(&bob)), Answer::Bound { open: false, .. }));
    assert!(matches!(told(alice.at, query(alice.signed.id, alice.token, [7; 32])), Answer::Bound { open: false, .. }));
    world.pass(75);
    assert_eq!(world.told(alice.at, &alice.bind(&bob)), Answer::Need, "who is not there any more");
    assert_eq!(world.counters().channels, 0);
}

#[test]
fn without_a_cookie_no_end_is_bound() {
    let mut world = World::relaying();
    let (alice, bob) = (person(&mut world, 1), person(&mut world, 2));
    let stolen = world.cookie(addr(5));
    for cookie in [[0; COOKIE_LEN], stolen] {
        let out = world.raw(alice.at, &bytes(&alice.bind(&bob), cookie));
        assert_eq!(plain(&out), Answer::Cookie { seen: alice.at });
    }
    assert!(matches!(world.told(bob.at, &bob.bind(&alice)), Answer::Bound { open: false, .. }));
}

#[test]
fn a_seed_that_does_not_relay_says_so() {
    let mut world = World::new();
    let (alice, bob) = (person(&mut world, 1), person(&mut world, 2));
    assert_eq!(world.told(alice.at, &alice.bind(&bob)), Answer::Refused(Refusal::NoRelay));
    world.seed.handle_datagram(world.now, alice.at, &packet(ChannelId(1), 700));
    assert!(world.leaving().is_empty());
    assert_eq!((world.counters().dropped, world.counters().stray), (1, 0));
    let out = world.ask(addr(9), &Query::Status);
    assert!(matches!(Answer::decode(&out).unwrap().1, Answer::Status(status) if status.relay == RelayStatus::default()));
}

#[test]
fn a_pair_that_floods_gets_its_budget_and_takes_nothing_from_others() {
    let mut world = World::relaying();
    let (alice, bob, channel) = bound(&mut world);
    let (carol, dave) = (person(&mut world, 3), person(&mut world, 4));
    world.told(carol.at, &carol.bind(&dave));
    let Answer::Bound { channel: other, open: true } = world.told(dave.at, &dave.bind(&carol)) else { panic!() };
    let (mut flooded, mut calm) = (0, 0);
    for _ in 0..60 {
        for _ in 0..2_000 {
            world.seed.handle_datagram(world.now, alice.at, &packet(channel, 1_100));
            flooded += world.leaving().iter().map(|(to, out)| if *to == bob.at { out.len() } else { 0 }).sum::<usize>();
        }
        world.seed.handle_datagram(world.now, carol.at, &packet(other, 1_100));
        calm += world.leaving().len();
        world.pass(1);
    }
    let budget = relay::RELAY_BURST_LEN_MAX + 59 * relay::RELAY_RATE;
    assert!(flooded <= budget && flooded + 1_109 > budget, "{flooded} of {budget}");
    assert_eq!(calm, 60);
    assert_eq!(world.counters().over_budget, 120_000 - flooded as u64 / 1_109);
}

#[test]
fn threads_share_their_channels() {
    let mut world = World::relaying();
    let (alice, bob, channel) = bound(&mut world);
    let mut other =
        World { seed: Seed::new(world.shared.clone(), [5; 32], world.now), shared: world.shared.clone(), now: world.now };
    let datagram = packet(channel, 100);
    other.seed.handle_datagram(other.now, alice.at, &datagram);
    assert_eq!(other.leaving(), [(bob.at, datagram)]);
}
