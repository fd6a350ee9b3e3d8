//! Worlds built by hand in which a disk cannot be read for a while. No page stays in memory there, as in a
//! profile that is much larger than the memory.

use std::time::Duration;

use p2pchat_udp::{
    node::{
        command::{CommandError, Reply},
        event::Event,
    },
    store::row::State,
};

use crate::{
    faults::{Fault, Strike},
    scenarios::{MS, SECOND, office, until_delivered},
    workload::{Ask, text_of},
    world::World,
};

/// So many machines on one wire whose stores keep nothing in memory.
fn forgetful_office(rng_seed: u64, machines: usize) -> World {
    let mut world = office(rng_seed, machines);
    world.cache_len = 0;
    world
}

fn can_look(world: &World, machine: usize) -> bool {
    world.machines[machine].process.as_ref().is_some_and(|process| process.reader.outbox_page(None, 1).is_ok())
}

fn no_reads(node: usize, reads: u64, heal: Duration) -> Strike {
    Strike::ReadErrors { node, reads, reopen: false, heal }
}

#[test]
fn a_disk_that_failed_a_reader_gives_again_although_nobody_writes() {
    let mut world = forgetful_office(20, 2);
    world.run_until(SECOND);
    world.send(0, 1, "before");
    until_delivered(&mut world, 3 * SECOND, 0, 1);
    world.run_until(world.now + 5 * SECOND);
    assert!(can_look(&world, 0));
    world.strike_at(world.now, no_reads(0, 0, 2 * SECOND));
    world.run_until(world.now + SECOND);
    let refused = world.send(0, 1, "nobody knows whether it was asked before");
    let is_refused = |event: &Event| matches!(event, Event::Reply(_, Reply::Failed(CommandError::Store)));
    assert!(world.seen.iter().any(|(_, at, event)| *at == 0 && is_refused(event)));
    assert!(!can_look(&world, 0) && world.fired.count(Fault::ReadIo) > 0);
    let heals = world.now + SECOND;
    assert!(world.run_while(heals + 2 * SECOND, |world| can_look(world, 0)), "the store stayed closed");
    println!("after {:?}", world.now.saturating_sub(heals));
    assert!(world.shown_at(1, refused).is_none());
    world.run_until(world.now + 100 * MS);
    world.send(0, 1, "after");
    until_delivered(&mut world, SECOND, 0, 2);
    world.finish();
}

#[test]
fn what_expires_expires_although_the_disk_gave_nothing_at_the_start() {
    let mut struck = 0;
    // Somewhere among these, the store is open and the node looks.
    for reads in 90..180 {
        let mut world = World::new(reads);
        world.cache_len = 0;
        let (alice, bob) = (world.add_machine("alice", &[0], true, true), world.add_machine("bob", &[0], true, true));
        world.start_at(Duration::ZERO, alice);
        let (text, expire) = ("too late".to_owned(), Some(5 * SECOND));
        world.ask_at(SECOND, Ask::Send { from: alice, to: bob, nth: 0, kind: 0, text, expire });
        world.strike_at(2 * SECOND, Strike::Kill { node: alice, back: SECOND });
        world.strike_at(2 * SECOND, no_reads(alice, reads, 2 * SECOND));
        world.start_at(20 * SECOND, bob);
        world.run_until(30 * SECOND);
        struck += world.fired.count(Fault::ReadIo);
        assert_eq!(world.shown_at(bob, world.messages[&0]), None, "reads {reads}");
        let state = world.history(alice)[0].state;
        assert_eq!(state, State::Failed, "reads {reads}");
        world.finish();
    }
    assert!(struck > 0);
}

#[test]
fn a_new_incarnation_waits_for_a_disk_that_cannot_be_read() {
    for moment in 0..25 {
        let mut world = forgetful_office(21, 2);
        world.run_until(SECOND);
        world.send(0, 1, "before");
        until_delivered(&mut world, 3 * SECOND, 0, 1);
        world.strike_at(world.now, Strike::Restore { node: 0, after: 3 * SECOND });
        world.run_until(world.now + SECOND);
        for n in 10..15 {
            world.send(0, 1, &text_of(n, 20));
        }
        until_delivered(&mut world, SECOND, 0, 6);
        world.strike_at(world.now, Strike::Partition { a: 0, b: 1, both: true, heal: 8 * SECOND });
        let heals = world.now + 8 * SECOND;
        world.run_until(world.now + 5 * SECOND);
        let after: Vec<_> = (0..3).map(|n| world.send(0, 1, &text_of(n, 30))).collect();
        world.run_until(heals);
        world.strike_at(world.now + 20 * MS * moment, no_reads(0, 0, 3 * SECOND));
        let shown = world.run_while(heals + 12 * SECOND, |world| after.iter().all(|id| world.shown_at(1, *id).is_some()));
        assert!(shown, "moment {moment}");
        world.finish();
    }
}
