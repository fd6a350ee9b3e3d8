//! The figures that were promised, exact on virtual time.

use std::time::Duration;

use super::{
    super::DiscoveryEvent,
    lan::{Lan, START, ms, percentile},
};

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
    for (count, runs) in [(2, 200), (8, 10), (32, 1)] {
        for dual in [true, false] {
            let (p50, p99) = cold_starts(count, runs, 0.0, dual);
            println!("P11: {count} machines, IPv6 {dual}: p50 {p50:?}, p99 {p99:?}");
            assert!(p50 <= ms(2) && p99 <= ms(10), "{count}: {p50:?} {p99:?}");
        }
    }
}

#[test]
fn a_fifth_of_all_multicast_may_be_lost() {
    for (count, runs) in [(2, 300), (8, 20), (32, 2)] {
        for dual in [true, false] {
            let (p50, p99) = cold_starts(count, runs, 0.2, dual);
            println!("P11: {count} machines, 20 % loss, IPv6 {dual}: p50 {p50:?}, p99 {p99:?}");
            assert!(p99 <= ms(150), "{count}: {p50:?} {p99:?}");
        }
    }
}

#[test]
fn fifty_start_at_once_and_the_wire_stays_quiet() {
    for rng_seed in 0..3 {
        let mut lan = Lan::cold(rng_seed, 50, ms(300), true);
        lan.run_until(START + ms(150_000));
        let p99 = percentile(&mut lan.mutual(), 99.0);
        let (packets, bytes) = lan.multicast_between(START, START + ms(30_000));
        let minute = (60..90).map(|s| lan.multicast_between(START + ms(s * 1_000), START + ms((s + 60) * 1_000)).1);
        let steady = minute.max().unwrap_or(0);
        println!("P12: all pairs p99 {p99:?}; 30 s: {packets} packets, {bytes} B; steady {steady} B/min");
        assert!(p99 <= ms(500), "{p99:?}");
        assert!(packets <= 500 && bytes <= 100_000, "{packets} packets, {bytes} B");
        assert!(steady <= 60_000, "{steady} B/min");
    }
}
#[test]
fn fifty_start_at_once_on_a_lossy_wire() {
    let mut lan = Lan::cold(7, 50, ms(300), true);
    lan.loss = 0.2;
    lan.run_until(START + ms(30_000));
    let p99 = percentile(&mut lan.mutual(), 99.0);
    let (packets, bytes) = lan.multicast_between(START, lan.now);
    println!("P12 with 20 % loss: all pairs p99 {p99:?}; 30 s: {packets} packets, {bytes} B");
    assert!(p99 <= ms(1_000), "{p99:?}");
    assert!(packets <= 500 && bytes <= 100_000, "{packets} packets, {bytes} B");
}

#[test]
fn a_goodbye_is_heard_within_thirty_milliseconds() {
    let mut times = Vec::new();
    for rng_seed in 0..10 {
        let mut lan = Lan::cold(rng_seed, 12, ms(300), true);
        lan.loss = if rng_seed < 5 { 0.0 } else { 0.2 };
        lan.run_until(START + ms(10_000));
        let (left, at) = (lan.nodes[0].id, lan.now);
        lan.act(0, |discovery, now| discovery.leave(now));
        assert!(!lan.nodes[0].discovery.has_left());
        lan.run_for(ms(30));
        assert!(lan.nodes[0].discovery.has_left());
        for node in &lan.nodes[1..] {
            let heard = node.events.iter().find(|(_, event)| *event == DiscoveryEvent::Left { id: left });
            times.push(heard.map(|(heard, _)| heard.since(at)));
        }
        let said = lan.tap.len();
        lan.run_for(ms(60_000));
        assert!(lan.tap[said..].iter().all(|seen| seen.from != 0), "nothing is said after the goodbye");
    }
    let (p50, p99) = (percentile(&mut times, 50.0), percentile(&mut times, 99.0));
    println!("P13: goodbye heard after p50 {p50:?}, p99 {p99:?}");
    assert!(p99 <= ms(30), "{p99:?}");
}

/// One line of the growth table: pairs and multicast over `start`, then, where asked, minutes of the
/// steady beat.
fn growth(count: usize, dual: bool, start: Duration, steady: bool) {
    let mut lan = Lan::cold(1, count, ms(300), dual);
    lan.run_until(START + start);
    let mut pairs = lan.mutual();
    let (p50, p99) = (percentile(&mut pairs, 50.0), percentile(&mut pairs, 99.0));
    let (packets, bytes) = lan.multicast_between(START, lan.now);
    let mut minute = 0;
    if steady {
        lan.run_until(START + ms(150_000));
        let second = |s: u64| START + ms(s * 1_000);
        minute = (60..90).map(|s| lan.multicast_between(second(s), second(s + 60)).1).max().unwrap_or(0);
        assert!(minute <= 60_000, "{count}: {minute} B/min");
    }
    println!("{count:3} peers: pairs p50 {p50:?}, p99 {p99:?}; {packets} packets, {bytes} B in {start:?}; steady {minute} B/min");
    assert!(packets <= 10 * count, "{count}: {packets} packets");
    lan.nodes.iter().for_each(|node| node.discovery.neighbours.check());
}

#[test]
fn what_it_costs_grows_with_the_number_of_peers_and_no_faster() {
    for count in [2, 8, 32, 50] {
        growth(count, true, ms(30_000), true);
    }
    // The model's own work grows with the square: the start by one family is enough to tell.
    growth(150, false, ms(1_000), false);
    if cfg!(debug_assertions) {
        println!("300 peers: only where the test is optimized, it takes a minute else");
    } else {
        growth(150, false, ms(30_000), true);
        growth(300, false, ms(30_000), true);
    }
}
