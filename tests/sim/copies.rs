//! One key, two runs: a copied profile and its original, a restored profile and its former self. Each may
//! have another message under the same seq, and a receipt for the one must never settle the other.

use std::time::Duration;

use crate::{
    faults::Strike,
    scenarios::{MS, SECOND, office, until_delivered},
    world::World,
};

#[test]
fn a_receipt_for_one_copy_does_not_settle_the_other_ones_message() {
    for rng_seed in 0..60 {
        println!("rng seed {rng_seed}");
        let mut world = office(rng_seed, 2);
        world.run_until(SECOND);
        world.send(0, 1, "before");
        until_delivered(&mut world, 3 * SECOND, 0, 1);
        world.run_until(world.now + SECOND);
        let copy = world.copy(0, 600 * SECOND);
        world.run_until(world.now + (rng_seed as u32 % 6) * 2 * MS);
        world.commit_time = (Duration::ZERO, 200 * MS);
        let messages = [world.send(0, 1, "of the original"), world.send(copy, 1, "of the copy")];
        world.run_until(world.now + 60 * SECOND);
        let all = |world: &_| messages.iter().all(|id| World::shown_at(world, 1, *id).is_some());
        assert!(world.run_while(world.now + 120 * SECOND, all), "lost");
    }
}

#[test]
fn a_receipt_for_the_former_self_does_not_settle_a_new_message() {
    for step in 0..25 {
        println!("step {step}");
        let mut world = office(4, 2);
        world.run_until(SECOND);
        world.send(0, 1, "before");
        until_delivered(&mut world, 3 * SECOND, 0, 1);
        world.run_until(world.now + SECOND);
        let begin = world.now;
        world.strike_at(begin, Strike::Restore { node: 0, after: 8 * MS });
        world.run_until(begin + MS);
        world.send(0, 1, "of the former self");
        world.run_until(begin + MS + MS / 25 * step);
        world.commit_time = (1_500 * MS, 1_500 * MS);
        world.run_until(begin + 900 * MS);
        world.commit_time = (MS / 3, MS / 3);
        world.run_until(begin + 1_100 * MS);
        let new = world.send(0, 1, "new");
        assert!(world.run_while(world.now + 60 * SECOND, |world| world.shown_at(1, new).is_some()), "lost");
    }
}

/// The node's disk was never idle, so a conversation that had to begin anew waited for as long as somebody
/// else was written to.
#[test]
fn a_busy_disk_does_not_keep_a_new_life_waiting() {
    let mut world = office(4, 3);
    world.run_until(SECOND);
    for _ in 0..5 {
        world.send(0, 1, "one");
    }
    world.send(2, 0, "hello");
    until_delivered(&mut world, 3 * SECOND, 0, 5);
    let begin = world.now;
    world.strike_at(begin, Strike::Restore { node: 0, after: 5 * SECOND });
    world.run_until(begin + SECOND);
    for _ in 0..5 {
        world.send(0, 1, "two");
    }
    until_delivered(&mut world, 3 * SECOND, 0, 10);
    world.leave(1, 12 * SECOND);
    world.run_until(begin + 8 * SECOND);
    world.commit_time = (60 * MS, 60 * MS);
    let new = world.send(0, 1, "new");
    for number in 0..1_000 {
        world.run_until(begin + 8 * SECOND + 20 * MS * number);
        world.send(0, 2, "chatter");
    }
    assert!(world.shown_at(1, new).is_some(), "waits for as long as somebody else writes");
}
