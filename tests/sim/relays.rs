//! Worlds in which no path opens between two people, and a seed relays for them; and what becomes of that
//! when routers change, seeds restart, or no seed relays. How seeds are found lives in `phonebook`.

use std::{net::SocketAddr, time::Duration};

use p2pchat_udp::{
    id::SessionIndex,
    node::command::{Command, PathKind, Reason, Reply},
    wire::record::Visibility,
};

use crate::{
    nat::Kind,
    phonebook::{MS, SECOND, befriend, last_reply, path, seed, seed_that, two_networks, two_networks_that},
    world::World,
};

const BOTH_SYMMETRIC: [Kind; 2] = [Kind::SYMMETRIC; 2];
const RATE_MAX: Option<u32> = Some(1 << 20);
/// There and back: four ways of 20 ms across the internet, and the segments.
const RELAY_ROUND_TRIP: Duration = Duration::from_micros(81_200);
/// For so long somebody is looked for on the LAN before a seed is asked.
const LAN_FIRST: Duration = Duration::from_millis(500);

/// Two behind symmetric NATs who reach each other by a relay.
fn relayed(rng_seed: u64) -> (World, usize) {
    let (mut world, hosts) = two_networks_that(rng_seed, BOTH_SYMMETRIC, &[RATE_MAX]);
    world.run_until(5 * SECOND);
    assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Relay; 2]);
    (world, hosts[0])
}

/// How long until the machine shows what is sent to it now.
fn takes(world: &mut World, from: usize, to: usize, text: &str, at_most: Duration) -> Duration {
    let begin = world.now;
    let message = world.send(from, to, text);
    assert!(world.run_while(begin + at_most, |world| world.shown_at(to, message).is_some()), "not delivered in {at_most:?}");
    world.now - begin
}

/// Alice's session with bob.
fn session(world: &World) -> SessionIndex {
    let node = &world.machines[0].process.as_ref().expect("it runs").node;
    node.session(&world.machines[1].person).expect("there is one").local_index()
}

#[test]
fn a_first_text_does_not_wait_for_probes_that_lead_nowhere() {
    for rng_seed in 0..10 {
        let (mut world, _) = two_networks_that(rng_seed, BOTH_SYMMETRIC, &[RATE_MAX]);
        world.run_until(5 * SECOND);
        let from = (rng_seed % 2) as usize;
        let to = 1 - from;
        world.leave(from, 100 * SECOND);
        world.run_until(104 * SECOND);
        assert!(world.run_while(120 * SECOND, |world| world.machines[from].process.is_some()));
        // LAN first: after that the seed is asked.
        let took = takes(&mut world, from, to, "by a detour", 10 * SECOND);
        println!("rng seed {rng_seed}: shown {took:?} after the start, of which {LAN_FIRST:?} for the LAN");
        assert!(took <= LAN_FIRST + 2 * RELAY_ROUND_TRIP + SECOND, "{took:?}");
        assert_eq!([path(&world, from, to), path(&world, to, from)], [PathKind::Relay; 2]);
        let back = takes(&mut world, to, from, "and back", SECOND);
        assert!(back <= RELAY_ROUND_TRIP, "{back:?}");
        world.finish();
    }
}

#[test]
fn a_megabyte_gets_through_a_relay_across_rekeys() {
    let (mut world, _) = relayed(1);
    let text = "a quite long text, ".repeat((1 << 20) / 19);
    let took = takes(&mut world, 0, 1, &text, 400 * SECOND);
    println!("{} bytes took {took:?}", text.len());
    assert!(took <= 330 * SECOND, "{took:?}");
    assert_eq!(path(&world, 0, 1), PathKind::Relay);
    let node = &world.machines[0].process.as_ref().unwrap().node;
    let stats = node.session(&world.machines[1].person).unwrap().stats();
    println!("{stats:?}");
    assert!(stats.rekeys >= 3, "{stats:?}");
    world.finish();
}

/// Both talk, a text a second each, until they reach each other straight; how long that took.
fn talk_until_direct(world: &mut World, at_most: Duration) -> Duration {
    let begin = world.now;
    while [path(world, 0, 1), path(world, 1, 0)] != [PathKind::Direct; 2] {
        assert!(world.now - begin < at_most, "still on the relay");
        world.send(0, 1, "to bob");
        world.send(1, 0, "to alice");
        world.run_until(world.now + SECOND);
    }
    world.now - begin
}

#[test]
fn once_routers_let_a_path_open_the_session_moves_there() {
    for rng_seed in 0..4 {
        let (mut world, _) = relayed(rng_seed);
        let before = session(&world);
        world.network.change_router((rng_seed % 2) as usize, Kind::FULL_CONE);
        let took = talk_until_direct(&mut world, 75 * SECOND);
        println!("rng seed {rng_seed}: direct after {took:?}");
        assert!(took <= 65 * SECOND, "{took:?}");
        assert_eq!(session(&world), before, "the session moved");
        let took = takes(&mut world, 0, 1, "straight", SECOND);
        assert!(took <= 50 * MS, "{took:?}");
        world.finish();
    }
}

#[test]
fn behind_another_router_a_relayed_pair_meets_anew() {
    for (router, kind) in [(0, Kind::FULL_CONE), (1, Kind::FULL_CONE), (0, Kind::SYMMETRIC)] {
        let (mut world, _) = relayed(2);
        world.network.change_router(router, kind);
        world.network.reboot_router(router);
        if kind == Kind::SYMMETRIC {
            let took = takes(&mut world, 0, 1, "still by the relay", 30 * SECOND);
            println!("after a reboot of its router: shown after {took:?}");
        } else {
            println!("router {router}: direct after {:?}", talk_until_direct(&mut world, 30 * SECOND));
        }
        world.finish();
    }
}

#[test]
fn after_a_restart_of_the_relay_the_conversation_goes_on_by_itself() {
    for rng_seed in 0..3 {
        let (mut world, host) = relayed(rng_seed);
        takes(&mut world, 0, 1, "before", SECOND);
        world.close_at(world.now, host);
        world.run_until(world.now + 2 * SECOND);
        world.open_at(world.now, host);
        let took = takes(&mut world, 0, 1, "after", 60 * SECOND);
        println!("rng seed {rng_seed}: shown {took:?} after the seed is back");
        assert!(took <= 30 * SECOND, "{took:?}");
        takes(&mut world, 1, 0, "and back", SECOND);
        assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Relay; 2]);
        world.finish();
    }
}

#[test]
fn a_session_that_nobody_uses_follows_its_relay_through_a_restart() {
    let (mut world, host) = relayed(5);
    world.run_until(30 * SECOND);
    let before = session(&world);
    world.close_at(world.now, host);
    world.open_at(world.now + 100 * MS, host);
    world.run_until(world.now + 45 * SECOND);
    let took = takes(&mut world, 0, 1, "as if nothing had been", SECOND);
    assert!(took <= RELAY_ROUND_TRIP, "{took:?}");
    assert_eq!(session(&world), before);
    world.finish();
}

#[test]
fn of_several_seeds_the_one_that_relays_is_found() {
    for rng_seed in 0..6 {
        let mut relays = [None; 3];
        relays[(rng_seed % 3) as usize] = RATE_MAX;
        let (mut world, _) = two_networks_that(rng_seed, BOTH_SYMMETRIC, &relays);
        world.run_until(2 * SECOND);
        let took = takes(&mut world, 0, 1, "by one of them", 5 * SECOND);
        println!("rng seed {rng_seed}: {took:?}");
        world.run_until(120 * SECOND);
        assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Relay; 2]);
        world.finish();
    }
}

#[test]
fn with_several_that_relay_both_meet_at_one_of_them_and_go_on_at_another() {
    for rng_seed in 0..6 {
        let (mut world, hosts) = two_networks_that(rng_seed, BOTH_SYMMETRIC, &[RATE_MAX; 3]);
        world.run_until(5 * SECOND);
        assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Relay; 2]);
        for host in &hosts[..2] {
            world.close_at(world.now, *host);
            world.run_until(world.now + SECOND);
            let took = takes(&mut world, 0, 1, "still", 10 * SECOND);
            println!("rng seed {rng_seed}: {took:?} with one seed less");
            world.run_until(world.now + 100 * SECOND);
            let took = takes(&mut world, 1, 0, "as ever", SECOND);
            assert!(took <= RELAY_ROUND_TRIP, "{took:?}");
        }
        world.finish();
    }
}

#[test]
fn two_who_use_different_seeds_are_relayed_by_that_of_the_link() {
    for rng_seed in 0..3 {
        let mut world = World::new(rng_seed);
        let addrs = [0, 1].map(|_| seed_that(&mut world, Vec::new(), RATE_MAX).1.to_string());
        world.node_config.visibility = Some(Visibility::Findable);
        for (segment, name) in ["alice", "bob"].into_iter().enumerate() {
            world.node_config.seeds = vec![addrs[segment].clone()];
            let machine = world.add_machine(name, &[segment], true, false);
            world.network.add_router(segment, Kind::SYMMETRIC);
            world.start_at(world.now, machine);
            world.run_until(world.now + SECOND);
        }
        let contact = |peer, seeds| Command::AddContact { peer, petname: None, name: None, seeds };
        let (alice, bob) = (world.machines[0].person, world.machines[1].person);
        world.command(0, contact(bob, vec![addrs[1].clone()]));
        world.command(1, contact(alice, Vec::new()));
        let took = takes(&mut world, 0, 1, "by your seed", 10 * SECOND);
        println!("rng seed {rng_seed}: {took:?}");
        assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Relay; 2]);
        world.finish();
    }
}

#[test]
fn a_path_that_opened_and_closed_again_is_tried_once_more() {
    // Somewhere in there what proves the new path is lost.
    for after in (500..900).step_by(20) {
        let (mut world, _) = relayed(6);
        world.run_until(40 * SECOND);
        world.network.change_router(0, Kind::FULL_CONE);
        world.run_until(60 * SECOND + after * MS);
        let (alice, bob) = (world.machines[0].host, world.machines[1].host);
        world.network.block(alice, bob, true);
        world.run_until(world.now + 12 * SECOND);
        world.network.unblock(alice, bob, true);
        let took = talk_until_direct(&mut world, 75 * SECOND);
        println!("blocked after {after} ms: direct {took:?} after that");
        world.finish();
    }
}

#[test]
fn where_no_seed_relays_what_is_said_is_kept_and_the_reason_is_told() {
    let (mut world, _) = two_networks(3, BOTH_SYMMETRIC);
    world.run_until(5 * SECOND);
    let message = world.send(0, 1, "kept");
    world.run_until(120 * SECOND);
    assert_eq!(world.shown_at(1, message), None);
    world.command(0, Command::Waiting(world.machines[1].person));
    let Some(Reply::Waiting { reason, .. }) = last_reply(&world, 0) else { panic!("{:?}", last_reply(&world, 0)) };
    assert_eq!(*reason, Some(Reason::NoPath));
    // Others are not meant by that.
    let carol = world.add_machine("carol", &[2], true, false);
    world.network.add_router(2, Kind::FULL_CONE);
    world.start_at(world.now, carol);
    world.run_until(world.now + SECOND);
    befriend(&mut world, 0, carol);
    befriend(&mut world, carol, 0);
    takes(&mut world, carol, 0, "straight", 10 * SECOND);
    assert_eq!(path(&world, 0, carol), PathKind::Direct);
    world.network.change_router(1, Kind::FULL_CONE);
    world.network.reboot_router(1);
    world.finish();
    assert!(world.shown_at(1, message).is_some());
}

#[test]
fn a_pair_that_sends_much_slows_no_other_down() {
    let (mut world, _) = relayed(4);
    for (segment, name) in [(2, "carol"), (3, "dave")] {
        let machine = world.add_machine(name, &[segment], true, false);
        world.network.add_router(segment, Kind::SYMMETRIC);
        world.start_at(world.now, machine);
    }
    world.run_until(world.now + SECOND);
    befriend(&mut world, 2, 3);
    befriend(&mut world, 3, 2);
    for _ in 0..20 {
        world.send(0, 1, &"x".repeat(10_000));
    }
    let begin = world.now;
    takes(&mut world, 2, 3, "first", 3 * SECOND);
    while world.now < begin + 60 * SECOND {
        let took = takes(&mut world, 3, 2, "calm", SECOND);
        assert!(took <= RELAY_ROUND_TRIP, "{took:?}");
        world.run_until(world.now + SECOND);
    }
    assert_eq!([path(&world, 0, 1), path(&world, 2, 3)], [PathKind::Relay; 2]);
    world.finish();
}

/// Two people behind symmetric NATs who use these seeds.
fn apart(world: &mut World, seeds: [Vec<SocketAddr>; 2]) {
    world.node_config.visibility = Some(Visibility::Findable);
    for (segment, (name, seeds)) in ["alice", "bob"].into_iter().zip(seeds).enumerate() {
        world.node_config.seeds = seeds.iter().map(SocketAddr::to_string).collect();
        let machine = world.add_machine(name, &[segment], true, false);
        world.network.add_router(segment, Kind::SYMMETRIC);
        world.start_at(world.now, machine);
        world.run_until(world.now + 20 * MS);
    }
    world.run_until(2 * SECOND);
}

#[test]
fn who_uses_other_seeds_registers_at_the_one_that_relays_as_long_as_it_does() {
    for rng_seed in 0..10 {
        let mut world = World::new(rng_seed);
        let (_, first) = seed_that(&mut world, Vec::new(), RATE_MAX);
        let (_, second) = seed_that(&mut world, vec![first], RATE_MAX);
        // The one that knows the other is asked by bob: alice finds nobody, but is told by a knock.
        apart(&mut world, [vec![first], vec![second]]);
        befriend(&mut world, 0, 1);
        befriend(&mut world, 1, 0);
        let took = takes(&mut world, 1, 0, "from another phonebook", 10 * SECOND);
        println!("rng seed {rng_seed}: shown after {took:?}");
        assert!(took <= 3 * SECOND, "{took:?}");
        assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Relay; 2]);
        world.run_until(world.now + 100 * SECOND);
        let back = takes(&mut world, 0, 1, "and back", SECOND);
        assert!(back <= RELAY_ROUND_TRIP, "{back:?}");
        world.network.change_router(0, Kind::FULL_CONE);
        world.network.reboot_router(0);
        takes(&mut world, 0, 1, "straight", 100 * SECOND);
        world.finish();
    }
}

#[test]
fn of_two_seeds_the_one_that_relays_does() {
    for rng_seed in 0..10 {
        let mut world = World::new(rng_seed);
        let (_, first) = seed(&mut world, Vec::new());
        let (_, second) = seed_that(&mut world, Vec::new(), RATE_MAX);
        apart(&mut world, [vec![first, second], vec![first, second]]);
        befriend(&mut world, 0, 1);
        befriend(&mut world, 1, 0);
        let took = takes(&mut world, (rng_seed % 2) as usize, 1 - (rng_seed % 2) as usize, "by the other", 20 * SECOND);
        println!("rng seed {rng_seed}: shown after {took:?}");
        assert!(took <= 5 * SECOND, "{took:?}");
        assert_eq!([path(&world, 0, 1), path(&world, 1, 0)], [PathKind::Relay; 2]);
        world.finish();
    }
}
