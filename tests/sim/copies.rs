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
