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
fn random_loss_does_not_collapse_the_window() {
    // 20 MiB over 50 ms of round trip; a window that halves on loss manages 0.3 MB/s at 1 %.
    for (loss, least) in [(0, 8_000_000.0), (1, 8_000_000.0), (20, 2_000_000.0)] {
        let link = LinkConfig { delay: 25 * MS, loss, rate: 12_500_000, ..CLEAN };
        let mut pair = Pair::open(230, link);
        let start = pair.now;
        pair.exchange(A, 320, 120 * SECOND, |_| 65_536);
        let rate = (320.0 * 65_536.0) / pair.now.since(start).as_secs_f64();
        println!("{loss} % loss: {:.1} MB/s {:?}", rate / 1e6, pair.stats(A));
        assert!(rate >= least, "{loss} %: {rate}");
    }
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

/// One-way delays of 500 messages a second for 20 s, in milliseconds, sorted.
fn delays(loss: u32, rng_seed: u64) -> Vec<f64> {
    let mut pair = Pair::open(rng_seed, LinkConfig { delay: 25 * MS, loss, ..CLEAN });
    let mut sent = BTreeMap::new();
    let mut delays = Vec::new();
    for _ in 0..10_000 {
        let (n, now) = (pair.send(A, vec![1; 100]), pair.now);
        sent.insert(n, now);
        let end = pair.now + 2 * MS;
        while pair.step(end) {
            pair.settle();
            let now = pair.now;
            delays.extend(pair.ends[B].received.drain(..).map(|(n, _)| now.since(sent[&n]).as_secs_f64() * 1e3));
        }
    }
    delays.sort_by(f64::total_cmp);
    delays
}

#[test]
fn a_chat_over_a_lossy_path_is_repaired_fast() {
    // Performance goals P4 and P5, which need no copies for their "must".
    for (loss, p50, p99) in [(0, 26.0, 26.0), (5, 26.0, 85.0), (20, 28.0, 150.0)] {
        let delays = delays(loss, 290);
        let at = |share: f64| delays[(delays.len() as f64 * share) as usize];
        println!("{loss} % loss: p50 {:.1} p99 {:.1} max {:.1} ms", at(0.5), at(0.99), delays.last().unwrap());
        assert!(at(0.5) <= p50 && at(0.99) <= p99);
    }
}
