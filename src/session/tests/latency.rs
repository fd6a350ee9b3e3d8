//! How late messages come where datagrams are lost, at exact virtual times: what a chat feels like.

use super::*;

/// A chat's messages, one every 2 ms, of a peer that has nothing else to say.
const INTERVAL: Duration = Duration::from_millis(2);
const LEN: usize = 100;
/// Messages until the session knows its path.
const WARM_UP: usize = 1_000;

/// Both ends, opened before anything is lost.
fn lossy(rng_seed: u64, delay: Duration, loss: u32) -> Pair {
    let mut pair = Pair::open(rng_seed, LinkConfig { delay, ..CLEAN });
    pair.link.loss = loss;
    pair
}

/// How late each of so many messages came, sorted; each once.
fn delays(pair: &mut Pair, count: usize) -> Vec<Duration> {
    let mut sent: BTreeMap<u64, Instant> = BTreeMap::new();
    let mut came: BTreeMap<u64, Duration> = BTreeMap::new();
    let mut next = pair.now;
    while came.len() < count {
        while sent.len() < count && next <= pair.now {
            let n = pair.send(A, vec![7; LEN]);
            sent.insert(n, next);
            next = next + INTERVAL;
        }
        pair.step(if sent.len() < count { next } else { pair.now + SECOND });
        pair.settle();
        for (n, _) in std::mem::take(&mut pair.ends[B].received) {
            let late = pair.now.since(sent[&n]);
            assert!(came.insert(n, late).is_none(), "{n} came twice");
        }
    }
    let mut delays: Vec<Duration> = came.into_values().skip(WARM_UP).collect();
    delays.sort_unstable();
    delays
}

/// One message after the other, each once the one before was acked.
fn one_at_a_time(pair: &mut Pair, count: usize) -> Vec<Duration> {
    let mut delays = Vec::new();
    for _ in 0..count {
        let start = pair.now;
        pair.ends[A].acked.clear();
        pair.send(A, vec![7; LEN]);
        pair.run_until(10 * SECOND, |pair| !pair.ends[B].received.is_empty());
        delays.push(pair.now.since(start));
        pair.run_until(10 * SECOND, |pair| !pair.ends[A].acked.is_empty());
        pair.ends[B].received.clear();
    }
    delays.sort_unstable();
    delays
}

fn percentile(delays: &[Duration], per_mille: usize) -> Duration {
    delays[(delays.len() * per_mille / 1_000).min(delays.len() - 1)]
}

#[test]
fn a_chat_over_a_lossy_path_is_repaired_fast() {
    // Loss in percent, one way, then the half and 99 of 100 messages at the latest.
    let us = Duration::from_micros;
    for (loss, delay, half, most) in [
        (0, us(300), us(300), us(300)),
        (1, us(300), us(300), us(2_500)),
        (5, us(300), us(300), us(2_500)),
        (20, us(300), us(300), us(8_000)),
        (0, 25 * MS, 25 * MS, 25 * MS),
        (1, 25 * MS, 25 * MS, 29 * MS),
        (5, 25 * MS, 25 * MS, 29 * MS),
        (20, 25 * MS, 25 * MS, 33 * MS),
        (0, 100 * MS, 100 * MS, 100 * MS),
        (1, 100 * MS, 100 * MS, 104 * MS),
        (5, 100 * MS, 100 * MS, 106 * MS),
        (20, 100 * MS, 100 * MS, 110 * MS),
    ] {
        for rng_seed in 290..293 {
            let mut pair = lossy(rng_seed, delay, loss);
            let before = pair.stats(A);
            let delays = delays(&mut pair, 10_000);
            let [p50, p99, p999, max] = [500, 990, 999, 1_000].map(|per_mille| percentile(&delays, per_mille));
            let stats = pair.stats(A);
            let (datagrams, bytes) = (stats.sent - before.sent, stats.sent_len - before.sent_len);
            let said = format!(
                "{loss} % loss, {delay:?}: p50 {p50:?} p99 {p99:?} p99.9 {p999:?} max {max:?}; {datagrams} datagrams, {bytes} bytes, \
                 {} copied, {} again",
                stats.copied, stats.retransmitted
            );
            println!("{said}");
            assert!(p50 <= half && p99 <= most, "{said}");
            // One datagram for a message, and what is repaired; copies ride along, and where nothing is lost there are none.
            assert!(datagrams <= 10_000 + 10_000 * u64::from(loss) / 50 + 100, "{said}");
            assert!(bytes <= 1_400_000 * if loss == 0 { 1 } else { 4 }, "{said}");
            assert_eq!(stats.copied > 0, loss > 0, "{said}");
        }
    }
}

#[test]
fn a_lost_message_of_a_dialogue_on_a_lan_comes_within_milliseconds() {
    for rng_seed in 290..293 {
        let mut pair = lossy(rng_seed, Duration::from_micros(300), 1);
        let delays = one_at_a_time(&mut pair, 10_000);
        let [p50, p99, max] = [500, 990, 1_000].map(|per_mille| percentile(&delays, per_mille));
        println!("one at a time: p50 {p50:?} p99 {p99:?} max {max:?}");
        assert!(p50 == Duration::from_micros(300) && p99 <= Duration::from_micros(4_500), "{p99:?}");
    }
}

#[test]
fn what_is_sent_in_bulk_is_not_copied() {
    let mut pair = lossy(290, 25 * MS, 5);
    pair.exchange(A, 20_000, 600 * SECOND, |_| LEN);
    let stats = pair.stats(A);
    assert!(stats.copied < 200, "{stats:?}");
}
