//! Sessions that begin on a relay, and leave it.

use super::*;
use crate::id::ChannelId;

fn relayed(rng_seed: u64) -> Pair {
    let seed = SocketAddr::from(([203, 0, 113, 1], 17_118));
    // Each end sees the seed where the other one is.
    let ends = [1, 2].map(|channel| PathAddr::relayed(SocketAddr::new(seed.ip(), seed.port() + channel), ChannelId(7)));
    Pair::between(rng_seed, LinkConfig { delay: 40 * MS, ..CLEAN }, ends).opened()
}

#[test]
fn messages_of_every_length_fit_through_a_relay() {
    let mut pair = relayed(1);
    for len in [1_000, 1_079, 1_080, 1_081, 1_100, 1_120, 1_121, 1_200, 5_000, 60_000] {
        pair.exchange(A, 1, 30 * SECOND, |_| len);
    }
    pair.exchange(B, 300, 120 * SECOND, |n| 900 + n);
    assert_eq!((pair.stats(A).lost, pair.stats(B).lost), (0, 0));
}

#[test]
fn what_waits_on_a_relay_goes_on_where_the_session_goes() {
    let mut pair = relayed(2);
    pair.send(A, vec![1; 200_000]);
    pair.run_for(10 * SECOND);
    for (end, other) in [(A, addr(1, 1_000)), (B, addr(2, 2_000))] {
        pair.ends[end].addr = other;
    }
    let now = pair.now;
    pair.ends[A].session.try_path(now, addr(2, 2_000));
    pair.run_until(2 * SECOND, |pair| pair.ends[A].acked.len() == 1);
    assert!(pair.ends.iter().all(|end| end.session.path().relay.is_none()));
    pair.exchange(A, 10, SECOND, |_| 50_000);
}
