//! The figures that were promised, exact on virtual time.

use std::time::Duration;

use super::lan::{Lan, START, ms, percentile};

/// Mutual discovery over many cold starts of `count` machines.
fn cold_starts(count: usize, runs: u64, loss: f64, dual: bool) -> (Duration, Duration) {
    let mut times = Vec::new();
    for rng_seed in 0..runs {
        let mut lan = Lan::cold(rng_seed, count, ms(20), dual);
        lan.loss = loss;
        lan.run_until(START + ms(6_000));
        times.extend(lan.mutual());
    }
    (percentile(&mut times, 50.0), percentile(&mut times, 99.0))
}

#[test]
fn machines_find_each_other_within_two_milliseconds() {
    for (count, runs) in [(2, 200), (8, 20), (32, 3)] {
        for dual in [true, false] {
            let (p50, p99) = cold_starts(count, runs, 0.0, dual);
            println!("P11: {count} machines, IPv6 {dual}: p50 {p50:?}, p99 {p99:?}");
            assert!(p50 <= ms(2) && p99 <= ms(10), "{count}: {p50:?} {p99:?}");
        }
    }
}
