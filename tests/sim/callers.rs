//! Worlds in which strangers from other networks write to somebody who has not added them: what reaches him, and what
//! many of them may cost.

use std::time::Duration;

use p2pchat_udp::{
    id::PeerId,
    node::command::{Command, Edit, Reply},
    wire::record::Visibility,
};

use crate::{
    nat::Kind,
    phonebook::{SECOND, befriend, last_reply, path, seed_that},
    world::World,
};

/// Somebody with an address of his own or behind such a router, and a stranger to him each behind one of `routers`.
fn called(rng_seed: u64, own: Option<Kind>, routers: &[Option<Kind>], relay: Option<u32>) -> World {
    let mut world = World::new(rng_seed);
    let (_, seed) = seed_that(&mut world, Vec::new(), relay);
    world.node_config.seeds = vec![seed.to_string()];
    world.node_config.visibility = Some(Visibility::Findable);
    let mut segment = 0;
    for (number, kind) in [own].iter().chain(routers).enumerate() {
        let name = if number == 0 { "bob".to_owned() } else { format!("stranger {number}") };
        let machine = match kind {
            None => world.add_public_machine(&name),
            Some(kind) => {
                let machine = world.add_machine(&name, &[segment], true, false);
                world.network.add_router(segment, *kind);
                segment += 1;
                machine
            }
        };
        world.start_at(Duration::ZERO, machine);
    }
    world.run_until(SECOND);
    (1..=routers.len()).for_each(|stranger| befriend(&mut world, stranger, 0));
    world.run_until(5 * SECOND);
    world
}

/// Who asks at the first machine.
fn asking(world: &mut World) -> Vec<PeerId> {
    world.command(0, Command::Requests);
    match last_reply(world, 0) {
        Some(Reply::Requests(views)) => views.iter().map(|view| view.peer).collect(),
        other => panic!("{other:?}"),
    }
}

fn accept(world: &mut World, peer: PeerId) {
    world.command(0, Command::EditContact { peer, edit: Edit::Accept });
}

#[test]
fn a_stranger_can_ask_from_behind_any_router_and_is_let_in() {
    for (own, other, relay) in [
        (None, Some(Kind::SYMMETRIC), None),
        (Some(Kind::PORT_RESTRICTED_CONE), None, None),
        (Some(Kind::LINUX), Some(Kind::PORT_RESTRICTED_CONE), None),
        (Some(Kind::SYMMETRIC), Some(Kind::SYMMETRIC), Some(1 << 20)),
    ] {
        let mut world = called(1, own, &[other], relay);
        let message = world.send(1, 0, "may I?");
        let begin = world.now;
        let stranger = world.machines[1].person;
        while asking(&mut world) != [stranger] {
            assert!(world.now - begin < 20 * SECOND, "nobody asks: {own:?} {other:?}");
            world.run_until(world.now + SECOND / 10);
        }
        println!("{own:?} {other:?}: asks after {:?} by {:?}", world.now - begin, path(&world, 0, 1));
        world.run_until(world.now + 30 * SECOND);
        assert!(world.shown_at(0, message).is_none(), "nobody was let in");
        accept(&mut world, stranger);
        assert!(world.run_while(world.now + 5 * SECOND, |world| world.shown_at(0, message).is_some()));
        world.send(0, 1, "of course");
        world.finish();
    }
}

#[test]
fn of_strangers_one_a_minute_has_its_way_opened_by_a_seed() {
    let router = Some(Kind::PORT_RESTRICTED_CONE);
    let mut world = called(2, router, &[router; 3], None);
    let begin = world.now;
    (1..=3).for_each(|stranger| _ = world.send(stranger, 0, "may I?"));
    let mut times = Vec::new();
    while times.len() < 3 {
        assert!(world.now - begin < 400 * SECOND, "{times:?}");
        world.run_until(world.now + SECOND);
        if asking(&mut world).len() > times.len() {
            times.push(world.now - begin);
        }
    }
    println!("they ask after {times:?}");
    assert!(times[0] < 10 * SECOND, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 50 * SECOND), "{times:?}");
    let all = asking(&mut world);
    all.into_iter().for_each(|stranger| accept(&mut world, stranger));
    world.finish();
}

#[test]
fn of_many_strangers_so_many_have_a_session_and_twenty_ask() {
    let mut world = called(3, None, &[None; 80], None);
    (1..=80).for_each(|stranger| _ = world.send(stranger, 0, "may I?"));
    let sessions = |world: &World| {
        (1..=80).filter(|stranger| path(world, 0, *stranger) != p2pchat_udp::node::command::PathKind::None).count()
    };
    let mut most = 0;
    for _ in 0..120 {
        world.run_until(world.now + SECOND);
        most = most.max(sessions(&world));
    }
    assert_eq!(most, 64);
    let first = asking(&mut world);
    assert_eq!(first.len(), 20);
    // Whoever comes to be asked for is let in at last, also those who had no session at first.
    let mut accepted = 0;
    let begin = world.now;
    while accepted < 80 {
        assert!(world.now - begin < 1_800 * SECOND, "{accepted} so far");
        for stranger in asking(&mut world) {
            accept(&mut world, stranger);
            accepted += 1;
        }
        world.run_until(world.now + SECOND);
    }
    println!("the last of 80 asked after {:?}", world.now - begin);
    world.finish();
}
