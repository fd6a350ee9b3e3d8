//! Worlds built by hand in which two peers hold different sessions with each other after a wire that carried
//! one way only.

use std::time::Duration;

use crate::{
    faults::Strike,
    scenarios::{MS, SECOND, office, until_delivered},
    workload::text_of,
};

/// From the moment that both ways are open again to the last receipt: an initiation is repeated after 2 s, ±20 %,
/// a link in doubt has 0.3 s, and a handshake and what it opens take some milliseconds.
const MENDED_WITHIN: Duration = Duration::from_millis(2_720);

#[test]
fn after_a_one_way_partition_both_sides_come_to_one_session() {
    let mut slowest = Duration::ZERO;
    for rng_seed in 0..10 {
        for (deaf, seconds) in
            [0, 1].into_iter().flat_map(|deaf| [2, 5, 8, 11, 14, 20, 35, 50, 70].map(|seconds| (deaf, seconds)))
        {
            let mut world = office(rng_seed, 2);
            world.run_until(SECOND);
            world.send(0, 1, "one");
            world.send(1, 0, "two");
            until_delivered(&mut world, 3 * SECOND, 0, 1);
            until_delivered(&mut world, 3 * SECOND, 1, 1);
            let heal = seconds * SECOND + 37 * MS * rng_seed as u32;
            world.strike_at(world.now, Strike::Partition { a: 1 - deaf, b: deaf, both: false, heal });
            let healed = world.now + heal;
            // Mail of the one, of the other, of both, of none.
            for from in (0..2).filter(|from| rng_seed as usize >> from & 1 == 1) {
                world.send(from, 1 - from, &text_of(from, 40));
            }
            world.run_until(healed);
            world.send(0, 1, "three");
            world.send(1, 0, "four");
            let want = [0, 1].map(|from| 2 + (rng_seed as usize >> from & 1));
            let done = world.run_while(healed + 90 * SECOND, |world| [world.delivered(0), world.delivered(1)] == want);
            let took = world.now - healed;
            assert!(done, "rng_seed {rng_seed}, machine {deaf} deaf for {seconds} s");
            slowest = slowest.max(took);
            world.finish();
        }
    }
    println!("slowest: {slowest:?}");
    assert!(slowest <= MENDED_WITHIN, "{slowest:?}");
}
