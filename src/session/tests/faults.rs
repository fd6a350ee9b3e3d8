//! Loss, duplication, reordering, corruption, and what they must not do.

use super::*;

#[test]
fn every_message_arrives_once_whatever_the_link_does() {
    for loss in [0, 1, 5, 20, 50] {
        for rng_seed in 0..6 {
            let link = LinkConfig { loss, duplicate: 5, corrupt: 2, jitter: 3 * MS, ..CLEAN };
            let mut pair = Pair::open(100 + rng_seed, link);
            pair.exchange(A, 300, 120 * SECOND, |i| 20 + i * 7 % 3_000);
            pair.exchange(B, 20, 120 * SECOND, |i| 30_000 + i);
            assert!(loss == 0 || pair.stats(A).retransmitted > 0);
        }
    }
}

#[test]
fn a_mebibyte_arrives_through_heavy_loss() {
    for loss in [1, 20, 50] {
        let mut pair = Pair::open(200, LinkConfig { loss, delay: 5 * MS, ..CLEAN });
        let start = pair.now;
        pair.exchange(A, 1, 120 * SECOND, |_| MESSAGE_LEN_MAX);
        println!("{loss} % loss: {:?} {:?}", pair.now.since(start), pair.stats(A));
    }
}

#[test]
fn ten_thousand_messages_arrive_through_loss() {
    for loss in [1, 20] {
        let mut pair = Pair::open(210, LinkConfig { loss, delay: MS, ..CLEAN });
        let start = pair.now;
        pair.exchange(A, 10_000, 120 * SECOND, |_| 100);
        println!("{loss} % loss: {:?} {:?}", pair.now.since(start), pair.stats(A));
    }
}

#[test]
fn one_lost_message_is_repaired_within_a_probe_timeout() {
    // Performance goal P6: 0.6 ms round trip, one message at a time.
    let mut pair = Pair::open(220, LinkConfig { delay: Duration::from_micros(300), ..CLEAN });
    pair.exchange(A, 1, SECOND, |_| 100);
    for _ in 0..50 {
        pair.exchange(A, 1, SECOND, |_| 100);
    }
    let start = pair.now;
    pair.deaf[B] = true;
    pair.send(A, vec![1; 100]);
    pair.transmit(A);
    pair.deaf[B] = false;
    let received = pair.ends[B].received.len();
    pair.run_until(SECOND, |pair| pair.ends[B].received.len() > received);
    assert!(pair.now.since(start) <= Duration::from_micros(4_400), "{:?}", pair.now.since(start));
}

#[test]
fn a_narrow_link_is_filled_and_not_flooded() {
    let mut pair = Pair::open(240, LinkConfig { delay: 10 * MS, rate: 1_000_000, ..CLEAN });
    let start = pair.now;
    pair.exchange(A, 80, 120 * SECOND, |_| 65_536);
    let rate = (80.0 * 65_536.0) / pair.now.since(start).as_secs_f64();
    let stats = pair.stats(A);
    println!("{:.2} MB/s {stats:?}", rate / 1e6);
    assert!(rate > 700_000.0, "{rate}");
    assert!(stats.lost * 10 < stats.sent, "{stats:?}");
}

#[test]
fn reordering_stops_looking_like_loss() {
    let mut pair = Pair::open(250, LinkConfig { delay: 10 * MS, jitter: 4 * MS, rate: 5_000_000, ..CLEAN });
    pair.exchange(A, 40, 60 * SECOND, |_| 65_536);
    let first = pair.stats(A);
    assert!(first.spurious > 0, "the link reorders");
    pair.exchange(A, 40, 60 * SECOND, |_| 65_536);
    let second = pair.stats(A);
    println!("{first:?} {second:?}");
    assert!((second.lost - first.lost) * 4 <= first.lost.max(4), "patience was learnt: {first:?} {second:?}");
}

#[test]
fn a_pause_in_delivery_is_not_taken_for_congestion() {
    // All datagrams of a while arrive late but arrive: nothing may stay cut.
    let mut pair = Pair::open(260, LinkConfig { delay: 5 * MS, ..CLEAN });
    pair.exchange(A, 40, 60 * SECOND, |_| 65_536);
    let window = pair.ends[A].session.window();
    pair.link.delay = 60 * MS;
    pair.exchange(A, 4, 60 * SECOND, |_| 65_536);
    pair.link.delay = 5 * MS;
    pair.exchange(A, 40, 60 * SECOND, |_| 65_536);
    assert!(pair.ends[A].session.window() >= window / 2, "{} of {window}", pair.ends[A].session.window());
}

#[test]
fn timers_do_not_storm_under_loss() {
    let mut pair = Pair::open(270, LinkConfig { loss: 20, delay: 5 * MS, ..CLEAN });
    let before = (pair.ends[A].timeouts, pair.stats(A).sent + pair.stats(B).sent);
    pair.exchange(A, 2_000, 60 * SECOND, |_| 500);
    let (timeouts, packets) = (pair.ends[A].timeouts - before.0, pair.stats(A).sent + pair.stats(B).sent - before.1);
    assert!(timeouts <= packets, "{timeouts} wake-ups for {packets} packets");
}

#[test]
fn a_million_messages_do_not_go_quadratic() {
    // In debug builds a tenth must do; the shape is the same.
    let count = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    let mut pair = Pair::open(280, LinkConfig { delay: MS / 10, loss: 1, ..CLEAN });
    let time = |pair: &mut Pair, count| {
        let start = std::time::Instant::now();
        pair.exchange(A, count, 600 * SECOND, |_| 100);
        start.elapsed().as_secs_f64() / count as f64
    };
    let (few, many) = (time(&mut pair, count / 10), time(&mut pair, count));
    println!("{few:.9} s and {many:.9} s a message");
}

/// A link, its faults and the traffic, all drawn from one rng seed.
fn life(rng_seed: u64) {
    let mut dice = ChaCha20Rng::seed_from_u64(rng_seed ^ 0xD1CE);
    let mut roll = |sides: u32| dice.next_u32() % sides;
    let link = LinkConfig {
        delay: Duration::from_micros(50 + u64::from(roll(60_000))),
        jitter: Duration::from_micros(u64::from(roll(3) * roll(10_000))),
        loss: [0, 1, 5, 20, 50][roll(5) as usize],
        duplicate: [0, 10][roll(2) as usize],
        corrupt: [0, 3][roll(2) as usize],
        rate: [0, 300_000, 5_000_000][roll(3) as usize],
        mtu: [1_200, 1_300, ETHERNET, 9_000][roll(4) as usize],
    };
    let mut pair = Pair::open(rng_seed, link);
    let mut sent = [BTreeMap::new(), BTreeMap::new()];
    for _ in 0..40 {
        for _ in 0..roll(20) {
            let (from, len) = (roll(2) as usize, [8, 100, 1_080, 1_081, 4_000, 60_000][roll(6) as usize]);
            let mut bytes = vec![0; len];
            pair.rng.fill_bytes(&mut bytes);
            let session = &mut pair.ends[from].session;
            let n = if roll(3) == 0 { session.send_control(bytes.clone()).unwrap() } else { session.send_message(bytes.clone()) };
            assert!(sent[from].insert(n, bytes).is_none());
        }
        match roll(12) {
            0 => pair.deaf[roll(2) as usize] = true,
            1 | 2 => pair.deaf = [false; 2],
            3 => {
                // Whoever moves says so: its node pings when an interface changes.
                let (last, now) = (10 + roll(200), pair.now);
                let end = &mut pair.ends[roll(2) as usize];
                end.addr = addr(last as u8, 5_000);
                end.session.ping(now);
            }
            4 => pair.link.mtu = [1_200, 1_300, ETHERNET, 9_000][roll(4) as usize],
            7 => pair.run_for(SECOND * roll(150)),
            5 => pair.ends.iter_mut().for_each(|end| end.consumes = roll(2) == 0),
            6 => {
                let now = pair.now;
                pair.ends[roll(2) as usize].session.ping(now);
            }
            _ => {}
        }
        pair.run_for(MS * roll(400));
        if pair.ends.iter().any(|end| !end.consumes) {
            // Whoever held back takes it all at last.
            for end in &mut pair.ends {
                end.consumes = true;
                end.session.consumed(usize::MAX);
            }
        }
        // Both at once cannot find each other again: that is the node's business.
        if pair.ends[A].addr != pair.ends[B].session.path() && pair.ends[B].addr != pair.ends[A].session.path() {
            pair.ends[B].addr = pair.ends[A].session.path();
        }
    }
    pair.deaf = [false; 2];
    pair.link.loss = pair.link.loss.min(20);
    let counts = [sent[B].len(), sent[A].len()];
    pair.run_until(600 * SECOND, |pair| {
        (0..2).all(|end| pair.ends[end].received.len() >= counts[end] && pair.ends[end].session.queued() == 0)
    });
    for end in 0..2 {
        assert_eq!(pair.ends[end].received.len(), counts[end], "none twice");
        let arrived: BTreeMap<_, _> = pair.ends[end].received.drain(..).collect();
        assert!(arrived == sent[1 - end], "as they were");
        assert!(!pair.ends[end].session.is_closed());
    }
}

#[test]
fn every_life_of_a_session_keeps_its_promises() {
    let lives = std::env::var("P2PCHAT_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let first = std::env::var("P2PCHAT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (first..first + lives).for_each(life);
}
