//! What befalls routers in the middle of a conversation: they forget whom they let in, or get another address. How soon
//! two who have different seeds talk again.

use std::time::Duration;

use p2pchat_udp::{node::command::PathKind, wire::record::Visibility};

use crate::{
    faults::Strike,
    nat::Kind,
    phonebook::{MS, SECOND, acquaint, befriend, channels, path, records, seed_that, two_networks_that},
    world::World,
};

/// Two people behind routers of these kinds, each with a seed of their own that relays, and those seeds' hosts. The seeds know each other.
fn apart(rng_seed: u64, kinds: [Kind; 2]) -> (World, [usize; 2]) {
    let mut world = World::new(rng_seed);
    let seeds = [0, 1].map(|_| seed_that(&mut world, Vec::new(), Some(1 << 20)));
    world.run_until(MS);
    acquaint(&mut world, &seeds);
    world.run_until(SECOND);
    world.node_config.visibility = Some(Visibility::Findable);
    for (segment, name) in ["alice", "bob"].into_iter().enumerate() {
        world.node_config.seeds = vec![seeds[segment].1.to_string()];
        let machine = world.add_machine(name, &[segment], true, false);
        world.network.add_router(segment, kinds[segment]);
        world.start_at(world.now, machine);
        world.run_until(world.now + 20 * MS);
    }
    befriend(&mut world, 0, 1);
    befriend(&mut world, 1, 0);
    (world, seeds.map(|(host, _)| host))
}

/// How long until bob is shown what alice sends now.
fn takes(world: &mut World, text: &str, at_most: Duration) -> Duration {
    let begin = world.now;
    let message = world.send(0, 1, text);
    let done = world.run_while(begin + at_most, |world| world.shown_at(1, message).is_some());
    assert!(done, "{text}: not delivered in {at_most:?}");
    world.now - begin
}

/// What befalls a router, and within how many milliseconds what alice says arrives: whoever writes finds out by four
/// unanswered keepalives; whoever does not, by the next refresh at his seed. With one seed it takes as long.
const BEFALLS: [(&str, Strike, u32); 4] = [
    ("the sender's router forgets", Strike::RouterReboot { router: 0 }, 5_500),
    ("the receiver's router forgets", Strike::RouterReboot { router: 1 }, 24_500),
    ("the sender's router gets another address", Strike::RouterRenumbered { router: 0 }, 5_500),
    ("the receiver's router gets another address", Strike::RouterRenumbered { router: 1 }, 24_500),
];

#[test]
fn whatever_befalls_a_router_two_with_different_seeds_talk_again_as_soon_as_somebody_can_know() {
    for rng_seed in 0..10 {
        let (mut world, _) = apart(rng_seed, [Kind::PORT_RESTRICTED_CONE; 2]);
        takes(&mut world, "hello", 5 * SECOND);
        befall(&mut world, rng_seed, |world| {
            assert_eq!([path(world, 0, 1), path(world, 1, 0)], [PathKind::Direct; 2]);
        });
    }
}

/// Linux remembers for 30 s whom it refused, and a path to him opens no sooner. The other one's session seems up to him for
/// as long as he sends nothing: he comes to the relay all the same.
#[test]
fn behind_routers_that_remember_whom_they_refused_a_relay_carries_on_as_soon() {
    for rng_seed in 0..10 {
        let mut world = apart(rng_seed, [Kind::LINUX; 2]).0;
        takes(&mut world, "hello", 5 * SECOND);
        befall(&mut world, rng_seed, |world| assert_ne!(path(world, 0, 1), PathKind::None));
    }
}

#[test]
fn two_behind_symmetric_routers_go_on_by_a_relay_as_soon() {
    for rng_seed in 0..10 {
        let mut world = apart(rng_seed, [Kind::SYMMETRIC; 2]).0;
        takes(&mut world, "hello", 5 * SECOND);
        befall(&mut world, rng_seed, |world| {
            assert_eq!([path(world, 0, 1), path(world, 1, 0)], [PathKind::Relay; 2]);
        });
    }
}

/// All that may befall routers, one after the other; ten seconds after each message `check` looks.
fn befall(world: &mut World, rng_seed: u64, check: impl Fn(&World)) {
    for (what, strike, bound) in BEFALLS {
        world.strike_at(world.now, strike);
        let took = takes(world, what, bound * MS);
        println!("rng seed {rng_seed}: {what}: delivered after {took:?}");
        world.run_until(world.now + 10 * SECOND);
        check(world);
    }
    world.finish();
}

#[test]
fn where_a_path_opens_no_record_is_left_at_the_seed_of_the_other() {
    for rng_seed in 0..10 {
        let (mut world, hosts) = apart(rng_seed, [Kind::PORT_RESTRICTED_CONE; 2]);
        takes(&mut world, "hello", 5 * SECOND);
        assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Direct; 2]);
        world.run_until(world.now + 2 * SECOND);
        assert_eq!(hosts.map(|host| records(&world, host)), [1, 1]);
        world.finish();
    }
}

/// Two who have one seed, and two who have different ones.
#[test]
fn where_a_path_opens_no_relay_is_in_its_way() {
    for kind in [Kind::FULL_CONE, Kind::RESTRICTED_CONE, Kind::PORT_RESTRICTED_CONE, Kind::LINUX] {
        for (mut world, hosts) in [two_networks_that(1, [kind; 2], &[Some(1 << 20)]), {
            let (world, hosts) = apart(1, [kind; 2]);
            (world, hosts.to_vec())
        }] {
            let took = takes(&mut world, "hello", 5 * SECOND);
            println!("{kind:?}, {} seeds: {took:?}", hosts.len());
            assert!(took <= 1_500 * MS, "{took:?}");
            let is_direct = |world: &World| [path(world, 0, 1), path(world, 1, 0)] == [PathKind::Direct; 2];
            world.run_until(world.now + SECOND);
            assert!(is_direct(&world));
            // Bob is knocked for while his session seems up, and binds his end.
            world.strike_at(world.now, Strike::RouterRenumbered { router: 0 });
            takes(&mut world, "elsewhere", 5_500 * MS);
            let begin = world.now;
            assert!(world.run_while(begin + 70 * SECOND, is_direct), "still on the relay");
            println!("straight again {:?} after that", world.now - begin);
            for _ in 0..120 {
                let took = takes(&mut world, "straight", SECOND);
                assert!(took <= 50 * MS, "{took:?}");
                world.run_until(world.now + SECOND);
                assert!(is_direct(&world), "went back");
            }
            assert!(hosts.iter().all(|host| channels(&world, *host) == 0), "somebody still binds an end");
            world.finish();
        }
    }
}
