//! Worlds with seeds: people behind NATs who find each other through a phonebook, and what becomes of them
//! when seeds lie, restart or are gone. The seed is the real one; times are exact.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use p2pchat_udp::{
    clock::{Instant, Now},
    node::{
        command::{Command, CommandError, PathKind, Reply},
        event::Event,
    },
    seed::{Seed, SeedConfig, Shared, memory::Memory},
    wire::record::Visibility,
};

use crate::{faults::Strike, nat::Kind, service::Service, world::World};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
const SEED_PORT: u16 = 17_118;

/// The real seed, one thread of it.
struct Station {
    seed: Seed,
    shared: Arc<Shared>,
}

impl Service for Station {
    fn handle_datagram(&mut self, now: Now, from: SocketAddr, bytes: &mut [u8]) {
        self.seed.handle_datagram(now, from, bytes);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.seed.handle_timeout(now);
    }

    fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        self.seed.poll_transmit(out)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.seed.poll_timeout()
    }
}

/// A seed on a host of its own, open from the beginning on.
pub(crate) fn seed(world: &mut World, fellows: Vec<SocketAddr>) -> (usize, SocketAddr) {
    seed_that(world, fellows, None)
}

/// One that relays so many bytes in a second, where it relays.
pub(crate) fn seed_that(world: &mut World, fellows: Vec<SocketAddr>, relay: Option<u32>) -> (usize, SocketAddr) {
    let host = world.network.add_public_host(SEED_PORT);
    let begin = move |rng_seed: [u8; 32], now: Now| -> Box<dyn Service> {
        let config = SeedConfig {
            name: "attic".to_owned(),
            records_max: 1_000,
            fellows: fellows.clone(),
            cores: 1,
            loopback: false,
            relay,
        };
        let directory = Box::new(Memory::new(config.records_max, [7; 16], now));
        let hash_key = *rng_seed.last_chunk().expect("16 of 32 bytes");
        let shared = Shared::new(config, &[1; 32], &rng_seed, hash_key, now, directory);
        Box::new(Station { seed: Seed::new(shared.clone(), rng_seed, now), shared })
    };
    world.add_station(host, Box::new(begin));
    world.open_at(world.now, host);
    (host, world.network.address(host))
}

/// These seeds know each other from now on.
pub(crate) fn acquaint(world: &mut World, seeds: &[(usize, SocketAddr)]) {
    for (host, _) in seeds {
        let fellows = seeds.iter().filter(|(other, _)| other != host).map(|(_, addr)| *addr).collect();
        world.tell(*host, |now, station: &mut Station| station.seed.handle_fellows(now, fellows));
    }
}

/// How many have a record at this seed.
pub(crate) fn records(world: &World, host: usize) -> u64 {
    world.service::<Station>(host).expect("it runs").shared.counters().records
}

/// Pairs that this seed relays for, as of its last sweep.
pub(crate) fn channels(world: &World, host: usize) -> u64 {
    world.service::<Station>(host).expect("it runs").shared.counters().channels
}

/// Two people, each behind a NAT of this kind, who have each other's links, and one seed.
pub(crate) fn two_networks(rng_seed: u64, kinds: [Kind; 2]) -> (World, usize) {
    let (world, hosts) = two_networks_that(rng_seed, kinds, &[None]);
    (world, hosts[0])
}

/// The same with seeds that relay so many bytes in a second, where they relay.
pub(crate) fn two_networks_that(rng_seed: u64, kinds: [Kind; 2], relays: &[Option<u32>]) -> (World, Vec<usize>) {
    let mut world = World::new(rng_seed);
    let seeds: Vec<_> = relays.iter().map(|relay| seed_that(&mut world, Vec::new(), *relay)).collect();
    world.node_config.seeds = seeds.iter().map(|(_, addr)| addr.to_string()).collect();
    world.node_config.visibility = Some(Visibility::Findable);
    for (segment, kind) in kinds.into_iter().enumerate() {
        let machine = world.add_machine(["alice", "bob"][segment], &[segment], true, false);
        world.network.add_router(segment, kind);
        world.start_at(Duration::ZERO, machine);
    }
    world.run_until(10 * MS);
    befriend(&mut world, 0, 1);
    befriend(&mut world, 1, 0);
    (world, seeds.into_iter().map(|(host, _)| host).collect())
}

pub(crate) fn befriend(world: &mut World, machine: usize, other: usize) {
    let peer = world.machines[other].person;
    world.command(machine, Command::AddContact { peer, petname: None, name: None, seeds: Vec::new() });
}

/// How `machine` reaches `other` now.
pub(crate) fn path(world: &World, machine: usize, other: usize) -> PathKind {
    let node = &world.machines[machine].process.as_ref().expect("it runs").node;
    match node.session(&world.machines[other].person) {
        Some(session) if session.path().relay.is_some() => PathKind::Relay,
        Some(session) if session.path().on_link => PathKind::Lan,
        Some(_) => PathKind::Direct,
        None => PathKind::None,
    }
}

/// What was replied last to a machine.
pub(crate) fn last_reply(world: &World, machine: usize) -> Option<&Reply> {
    world.seen.iter().rev().find_map(|(_, who, event)| match event {
        Event::Reply(_, reply) if *who == machine => Some(reply),
        _ => None,
    })
}

#[test]
fn people_behind_cones_find_each_other_and_go_direct() {
    for kind in [Kind::FULL_CONE, Kind::RESTRICTED_CONE, Kind::PORT_RESTRICTED_CONE, Kind::LINUX] {
        for rng_seed in 0..5 {
            println!("{kind:?}, rng seed {rng_seed}");
            let (mut world, _) = two_networks(rng_seed, [kind, kind]);
            world.run_until(SECOND);
            let begin = world.now;
            let message = world.send(0, 1, "across");
            let done = world.run_while(begin + 10 * SECOND, |world| world.shown_at(1, message).is_some());
            assert!(done, "not delivered");
            println!("delivered after {:?}", world.now - begin);
            assert!(world.now - begin <= 1_500 * MS, "{:?}", world.now - begin);
            assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Direct; 2]);
            world.finish();
        }
    }
}

#[test]
fn people_behind_cones_of_different_kinds_go_direct() {
    let kinds = [Kind::FULL_CONE, Kind::RESTRICTED_CONE, Kind::PORT_RESTRICTED_CONE, Kind::LINUX];
    let pairs = kinds.iter().flat_map(|one| kinds.iter().map(move |other| [*one, *other]));
    for pair in pairs.filter(|[one, other]| one != other) {
        for rng_seed in 0..3 {
            let (mut world, _) = two_networks(rng_seed, pair);
            world.run_until(SECOND);
            let begin = world.now;
            let message = world.send((rng_seed % 2) as usize, 1 - (rng_seed % 2) as usize, "across");
            let is_shown = |world: &World| (0..2).any(|machine| world.shown_at(machine, message).is_some());
            assert!(world.run_while(begin + 1_500 * MS, is_shown), "not delivered, {pair:?}, rng seed {rng_seed}");
            assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Direct; 2], "{pair:?}, rng seed {rng_seed}");
            world.finish();
        }
    }
}

#[test]
fn on_two_subnets_behind_one_router_people_meet_by_its_outside_where_it_lets_them() {
    let hairpin = |kind| Kind { hairpin: true, ..kind };
    for (kind, by) in [
        (hairpin(Kind::FULL_CONE), PathKind::Direct),
        (hairpin(Kind::RESTRICTED_CONE), PathKind::Direct),
        (hairpin(Kind::PORT_RESTRICTED_CONE), PathKind::Direct),
        (hairpin(Kind::SYMMETRIC), PathKind::Relay),
        // Both have one inside port, which towards the seed only one of them keeps: nobody can tell the other's.
        (hairpin(Kind::LINUX), PathKind::Relay),
        (Kind::PORT_RESTRICTED_CONE, PathKind::Relay),
    ] {
        for rng_seed in 0..3 {
            let mut world = World::new(rng_seed);
            let (_, addr) = seed_that(&mut world, Vec::new(), Some(1 << 20));
            world.node_config.seeds = vec![addr.to_string()];
            world.node_config.visibility = Some(Visibility::Findable);
            for (segment, name) in ["alice", "bob"].into_iter().enumerate() {
                let machine = world.add_machine(name, &[segment], true, true);
                world.start_at(Duration::ZERO, machine);
            }
            let router = world.network.add_router(0, kind);
            world.network.join_router(router, 1);
            world.run_until(10 * MS);
            befriend(&mut world, 0, 1);
            befriend(&mut world, 1, 0);
            let message = world.send(0, 1, "next door");
            assert!(world.run_while(5 * SECOND, |world| world.shown_at(1, message).is_some()), "{kind:?}");
            println!("{kind:?}, rng seed {rng_seed}: shown after {:?}", world.now);
            world.run_until(world.now + 10 * SECOND);
            assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [by; 2], "{kind:?}, rng seed {rng_seed}");
            world.finish();
        }
    }
}

#[test]
fn mail_for_somebody_who_is_away_is_delivered_when_the_seed_hears_of_him() {
    let (mut world, _) = two_networks(3, [Kind::PORT_RESTRICTED_CONE; 2]);
    world.run_until(5 * SECOND);
    world.leave(1, 300 * SECOND);
    world.run_until(20 * SECOND);
    let message = world.send(0, 1, "when you are back");
    let back = world.now + 300 * SECOND;
    assert!(!world.run_while(back - 20 * SECOND, |world| world.shown_at(1, message).is_some()));
    let started = |world: &World| world.machines[1].process.is_some();
    assert!(world.run_while(back + 10 * SECOND, started));
    let begin = world.now;
    assert!(world.run_while(begin + 20 * SECOND, |world| world.shown_at(1, message).is_some()), "not delivered");
    println!("delivered {:?} after the return", world.now - begin);
    assert!(world.now - begin <= 3 * SECOND, "{:?}", world.now - begin);
    world.finish();
}

#[test]
fn who_comes_back_asks_the_seeds_half_a_second_after_his_first_announce() {
    for rng_seed in 0..5 {
        let (mut world, _) = two_networks(rng_seed, [Kind::PORT_RESTRICTED_CONE; 2]);
        world.run_until(5 * SECOND);
        // Nobody hears of it: the session lives on at the other end.
        world.strike_at(world.now, Strike::Kill { node: 1, back: SECOND });
        let back = world.now + SECOND;
        let message = world.send(0, 1, "while you were down");
        assert!(world.run_while(back + 20 * SECOND, |world| world.shown_at(1, message).is_some()), "not delivered");
        println!("rng seed {rng_seed}: delivered {:?} after the return", world.now - back);
        assert!(world.now - back <= 1_200 * MS, "{:?}", world.now - back);
        world.finish();
    }
}

/// Whoever writes finds out by four unanswered keepalives; whoever does not, by the next refresh at a seed.
#[test]
fn with_another_address_of_a_router_a_conversation_goes_on_as_soon_as_somebody_can_know() {
    for rng_seed in 0..5 {
        let (mut world, _) = two_networks(rng_seed, [Kind::PORT_RESTRICTED_CONE; 2]);
        world.run_until(5 * SECOND);
        // One right after the other: the introduction before must not stand in the way.
        for (router, bound) in [(0, 5_500), (0, 5_500), (1, 24_500), (0, 5_500), (1, 24_500)] {
            world.strike_at(world.now, Strike::RouterRenumbered { router });
            let begin = world.now;
            let message = world.send(0, 1, "here I am");
            assert!(world.run_while(begin + 60 * SECOND, |world| world.shown_at(1, message).is_some()), "not delivered");
            println!("rng seed {rng_seed}, router {router}: delivered after {:?}", world.now - begin);
            assert!(world.now - begin <= bound * MS, "{:?}", world.now - begin);
        }
        world.finish();
    }
}

#[test]
fn who_leaves_a_lan_in_the_middle_of_a_conversation_is_reached_across_networks_soon() {
    for rng_seed in 0..5 {
        let mut world = World::new(rng_seed);
        let (_, addr) = seed(&mut world, Vec::new());
        world.node_config.seeds = vec![addr.to_string()];
        world.node_config.visibility = Some(Visibility::Findable);
        for (name, segments) in [("alice", &[0][..]), ("bob", &[0, 1])] {
            let machine = world.add_machine(name, segments, true, false);
            world.start_at(Duration::ZERO, machine);
        }
        (0..2).for_each(|segment| _ = world.network.add_router(segment, Kind::PORT_RESTRICTED_CONE));
        world.run_until(10 * MS);
        befriend(&mut world, 0, 1);
        befriend(&mut world, 1, 0);
        world.run_until(5 * SECOND);
        assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Lan; 2]);
        world.strike_at(world.now, Strike::CablePull { node: 1, back: 100 * SECOND });
        let begin = world.now;
        let message = world.send(0, 1, "where are you?");
        assert!(world.run_while(begin + 60 * SECOND, |world| world.shown_at(1, message).is_some()), "not delivered");
        println!("rng seed {rng_seed}: delivered {:?} after the move", world.now - begin);
        // Of which up to 2 s until it is noticed that an interface has gone.
        assert!(world.now - begin <= 3 * SECOND, "{:?}", world.now - begin);
        assert_eq!(path(&world, 1, 0), PathKind::Direct);
        world.finish();
    }
}

#[test]
fn a_name_that_nobody_has_is_nobodys_only_once_all_seeds_have_said_so() {
    let (mut world, host) = two_networks(4, [Kind::PORT_RESTRICTED_CONE; 2]);
    // A seed that has just started has not heard of everybody.
    world.run_until(80 * SECOND);
    let resolve = |world: &mut World, peer: &str| {
        world.command(0, Command::Resolve { peer: peer.to_owned(), timeout: 3 * SECOND });
        world.run_until(world.now + 4 * SECOND);
        last_reply(world, 0).cloned()
    };
    let Some(Reply::Failed(CommandError::NoSuchPeer { asked, .. })) = resolve(&mut world, "carol") else {
        panic!("{:?}", last_reply(&world, 0));
    };
    assert_eq!(asked, "asked the LAN, 0 there; 1 of 1 seeds");
    world.close_at(world.now, host);
    let Some(Reply::Failed(CommandError::NotFound { asked, .. })) = resolve(&mut world, "carol") else {
        panic!("{:?}", last_reply(&world, 0));
    };
    assert_eq!(asked, "LAN; 0 of 1 seeds answered");
}

#[test]
fn a_stranger_is_found_by_a_name_with_one_claim() {
    let (mut world, _) = two_networks(5, [Kind::PORT_RESTRICTED_CONE; 2]);
    let carol = world.add_machine("carol", &[1], true, false);
    world.start_at(world.now, carol);
    world.run_until(5 * SECOND);
    world.command(0, Command::Resolve { peer: "CAROL".to_owned(), timeout: 3 * SECOND });
    world.run_until(world.now + 4 * SECOND);
    assert_eq!(last_reply(&world, 0), Some(&Reply::Resolved(world.machines[carol].person)));
}

#[test]
fn with_a_path_on_the_lan_no_seed_is_asked_for_the_peer() {
    let mut world = World::new(6);
    let victim = world.network.add_public_host(SEED_PORT);
    world.node_config.seeds = vec![world.network.address(victim).to_string()];
    for name in ["alice", "bob"] {
        let machine = world.add_machine(name, &[0], true, true);
        world.start_at(Duration::ZERO, machine);
    }
    world.network.add_router(0, Kind::PORT_RESTRICTED_CONE);
    world.run_until(10 * MS);
    befriend(&mut world, 0, 1);
    befriend(&mut world, 1, 0);
    let message = world.send(0, 1, "near");
    assert!(world.run_while(3 * SECOND, |world| world.shown_at(1, message).is_some()));
    assert!(world.now < 300 * MS, "{:?}", world.now);
    world.run_until(600 * SECOND);
    assert_eq!(path(&world, 0, 1), PathKind::Lan);
    assert!(!world.heard.contains_key(&victim), "{:?}", world.heard.get(&victim));
    world.finish();
}

#[test]
fn with_all_seeds_gone_known_addresses_still_work() {
    let (mut world, host) = two_networks(7, [Kind::FULL_CONE; 2]);
    world.run_until(5 * SECOND);
    assert_eq!(path(&world, 0, 1), PathKind::Direct);
    world.close_at(world.now, host);
    world.leave(0, 10 * SECOND);
    let begin = world.now + 10 * SECOND;
    world.run_until(begin + SECOND);
    let message = world.send(0, 1, "without any seed");
    assert!(world.run_while(begin + 30 * SECOND, |world| world.shown_at(1, message).is_some()), "not delivered");
    println!("delivered {:?} after the return", world.now - begin);
}

#[test]
fn the_fourth_seed_takes_the_place_of_a_home_that_is_lost() {
    for rng_seed in 0..5 {
        let mut world = World::new(rng_seed);
        let seeds = [(); 4].map(|()| seed(&mut world, Vec::new()));
        world.node_config.seeds = seeds.iter().map(|(_, addr)| addr.to_string()).collect();
        world.node_config.visibility = Some(Visibility::Findable);
        let alice = world.add_machine("alice", &[0], true, false);
        world.network.add_router(0, Kind::PORT_RESTRICTED_CONE);
        world.start_at(world.now, alice);
        world.run_until(5 * SECOND);
        let held = |world: &World, at: &[usize]| at.iter().map(|at| records(world, seeds[*at].0)).collect::<Vec<_>>();
        assert_eq!(held(&world, &[0, 1, 2, 3]), [1, 1, 1, 0]);
        let lost = (rng_seed % 3) as usize;
        world.close_at(world.now, seeds[lost].0);
        let begin = world.now;
        // The next refresh, at the latest after 23 s, and its four tries.
        let is_taken = world.run_while(begin + 25_500 * MS, |world| records(world, seeds[3].0) == 1);
        println!("rng seed {rng_seed}: taken after {:?}", world.now - begin);
        assert!(is_taken, "the place is empty");
        world.open_at(world.now, seeds[lost].0);
        world.run_until(world.now + 120 * SECOND);
        let mut expected = vec![1; 4];
        expected[lost] = 0;
        assert_eq!(held(&world, &[0, 1, 2, 3]), expected, "three suffice, and who has come back is the fourth");
    }
}
