//! A lot at once over ways that lose, reorder, are long or go away, at exact virtual times: how fast it is there, and
//! what it costs.

use super::{bottleneck::Bottleneck, *};

/// 100 Mbit/s.
const RATE: u64 = 12_500_000;
const LEN: usize = 20 << 20;

/// Moves 20 MiB; returns bytes per second, bytes of datagrams a byte, and datagrams back a datagram forth.
fn moved(rng_seed: u64, rtt: Duration, loss: u32) -> [f64; 3] {
    let mut net = Bottleneck::new(RATE, 100 * MS);
    net.join(rng_seed, rtt, loss, None);
    let start = net.now;
    while net.flows[0].arrived < LEN {
        net.run_for(5 * MS);
        assert!(net.now.since(start) < 60 * SECOND, "stalls");
    }
    let (sent, back) = (net.flows[0].pair.stats(A), net.flows[0].pair.stats(B));
    let arrived = net.flows[0].arrived as f64;
    let told = [
        arrived / net.now.since(start).as_secs_f64(),
        // What is in flight when the last byte arrives was sent as well.
        (sent.sent_len as f64 - net.flows[0].pair.ends[A].session.in_flight() as f64) / arrived,
        back.sent as f64 / sent.sent as f64,
    ];
    println!("{rtt:?}, {loss} % loss: {:.2} MB/s, {:.3} bytes a byte, {:.3} acks a datagram", told[0] / 1e6, told[1], told[2]);
    told
}

#[test]
fn loss_that_is_no_congestion_takes_no_more_than_what_is_lost() {
    // quinn, 50 ms, 1 %: 0.3 MB/s with CUBIC, 10.2 with BBR.
    for (rtt, loss, least, bytes) in [
        (50, 0, 9.8e6, 1.12),
        (50, 1, 9.7e6, 1.12),
        (50, 5, 9.4e6, 1.17),
        (50, 20, 6.0e6, 1.42),
        (200, 0, 6.0e6, 1.17),
        (200, 1, 5.8e6, 1.15),
    ] {
        for rng_seed in [230, 231] {
            let [rate, bytes_spent, acks] = moved(rng_seed, rtt * MS, loss);
            assert!(rate >= least, "{rate}");
            assert!(bytes_spent <= bytes && acks <= 0.35, "{bytes_spent} {acks}");
            if loss == 0 {
                break;
            }
        }
    }
}

#[test]
fn reordering_takes_little() {
    for rng_seed in 232..234 {
        for delay in [10 * MS, 25 * MS] {
            let mut times = vec![];
            for jitter in [Duration::ZERO, 5 * MS] {
                let mut pair = Pair::open(rng_seed, LinkConfig { delay, rate: 5_000_000, ..CLEAN });
                pair.link.jitter = jitter;
                pair.exchange(A, 20, 60 * SECOND, |_| 65_536);
                let (learning, start) = (pair.stats(A), pair.now);
                pair.exchange(A, 40, 60 * SECOND, |_| 65_536);
                let stats = pair.stats(A);
                times.push(pair.now.since(start));
                let (lost, sent) = (stats.lost - learning.lost, stats.sent - learning.sent);
                println!(
                    "{delay:?}, jitter {jitter:?}: {:?}, {lost} taken for lost of {sent}, {} before",
                    times, learning.spurious
                );
                assert!(lost * 50 <= sent, "patience was learnt: {stats:?}");
            }
            assert!(times[1] * 4 <= times[0] * 5, "{times:?}");
        }
    }
}

#[test]
fn what_waits_for_a_dead_link_is_there_soon_after_it_returns() {
    for rng_seed in 234..237 {
        let mut pair = Pair::open(rng_seed, LinkConfig { delay: 25 * MS, rate: RATE, ..CLEAN });
        pair.exchange(A, 20, 60 * SECOND, |_| 65_536);
        for end in [A, B] {
            (0..300).for_each(|_| _ = pair.send(end, vec![7; 1_000]));
        }
        pair.run_for(10 * MS);
        assert!((0..2).all(|end| pair.ends[end].session.in_flight() > 0));
        pair.deaf = [true; 2];
        let before = [pair.stats(A).sent, pair.stats(B).sent];
        // Between two probes, wherever that is.
        pair.run_for(60 * SECOND + MS * 333 * (rng_seed - 234) as u32);
        let spent: Vec<u64> = [A, B].into_iter().map(|end| pair.stats(end).sent - before[end]).collect();
        pair.deaf = [false; 2];
        let start = pair.now;
        let received = [pair.ends[A].received.len(), pair.ends[B].received.len()];
        pair.run_until(SECOND * 20, |pair| (0..2).any(|end| pair.ends[end].received.len() > received[end]));
        let first = pair.now.since(start);
        pair.run_until(SECOND * 20, |pair| [A, B].iter().all(|end| pair.ends[*end].session.queued() == 0));
        let all = pair.now.since(start);
        println!("first after {first:?}, all after {all:?}, datagrams spent {spent:?}");
        assert!(first <= 2_100 * MS && all <= 3 * SECOND, "{first:?} {all:?}");
        assert!(spent.iter().all(|spent| *spent <= 400), "{spent:?}");
    }
}
