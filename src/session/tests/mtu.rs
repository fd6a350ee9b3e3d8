//! Paths that carry more, less, and suddenly less.

use super::*;

fn carrying(rng_seed: u64, mtu: usize) -> Pair {
    Pair::open(rng_seed, LinkConfig { mtu, delay: 5 * MS, ..CLEAN })
}

fn lens(pair: &Pair) -> [usize; 2] {
    [A, B].map(|end| pair.ends[end].session.datagram_len_max())
}

/// Enough to send for the search to come to its end.
fn bulk(pair: &mut Pair) {
    (0..20).for_each(|_| pair.exchange(A, 4, 10 * SECOND, |_| 65_536));
}

#[test]
fn a_chat_is_never_probed_and_bulk_finds_what_the_path_carries() {
    for (mtu, finds) in [(1_200, 1_200..=1_200), (1_300, 1_268..=1_300), (ETHERNET, 1_452..=1_452), (9_000, 8_952..=8_952)] {
        let mut pair = carrying(1, mtu);
        let before = pair.stats(A).sent;
        for _ in 0..20 {
            pair.exchange(A, 1, SECOND, |_| 1_000);
        }
        assert_eq!((pair.stats(A).sent - before, lens(&pair)), (20, [1_200; 2]));
        bulk(&mut pair);
        let [found, other] = lens(&pair);
        assert!(finds.contains(&found) && other == 1_200, "{mtu}: {found}");
        let stats = pair.stats(A);
        assert_eq!((stats.lost, stats.retransmitted), (0, 0), "a lost probe is no loss: {stats:?}");
        let before = (pair.stats(A).sent, pair.ends[A].timeouts);
        pair.exchange(A, 20, 10 * SECOND, |_| 65_536);
        let packets = pair.stats(A).sent - before.0;
        let least = 20 * 65_536_u64 / u64::try_from(found).unwrap();
        assert!((least..least * 11 / 10 + 20).contains(&packets), "{mtu}: {packets} packets, {least} at least");
        let window = pair.ends[A].session.window();
        pair.run_for(60 * SECOND);
        assert_eq!(window, pair.ends[A].session.window());
    }
}

#[test]
fn a_path_whose_mtu_shrinks_goes_on_and_one_that_grows_again_is_found() {
    for (before, after) in [(9_000, ETHERNET), (9_000, 1_200), (ETHERNET, 1_300), (ETHERNET, 1_200)] {
        for rng_seed in 0..3 {
            let mut pair = carrying(rng_seed, before);
            bulk(&mut pair);
            let large = lens(&pair)[A];
            assert!(large > 1_200);
            // In the middle of a transfer, fragments of the old size on their way.
            for _ in 0..100 {
                pair.send(A, vec![5; 65_536]);
            }
            pair.run_for(8 * MS);
            pair.link.mtu = after;
            let (start, done) = (pair.now, pair.ends[B].received.len());
            pair.run_until(SECOND, |pair| pair.ends[B].received.len() > done);
            println!("{before} to {after}: the first came after {:?}", pair.now.since(start));
            assert!(pair.now.since(start) < 250 * MS, "{:?}", pair.now.since(start));
            pair.run_until(10 * SECOND, |pair| pair.ends[B].received.len() == 100 && pair.ends[A].session.queued() == 0);
            pair.ends.iter_mut().for_each(|end| (end.received.clear(), end.acked.clear()).0);
            bulk(&mut pair);
            let small = lens(&pair)[A];
            assert!(small <= after && small + 40 > after.min(1_452), "{small} of {after}");
            // Later the path is what it was.
            pair.link.mtu = before;
            bulk(&mut pair);
            assert_eq!(lens(&pair)[A], small, "what was found is believed");
            pair.run_for(600 * SECOND);
            bulk(&mut pair);
            assert_eq!(lens(&pair)[A], large, "for ten minutes");
        }
    }
}

#[test]
fn a_long_message_alone_passes_a_path_that_has_shrunk() {
    let mut pair = carrying(7, 9_000);
    pair.exchange(A, 20, 10 * SECOND, |_| 65_536);
    assert_eq!(lens(&pair)[A], 8_952);
    pair.link.mtu = 1_200;
    for len in [3_000, 5_000, 20_000] {
        let start = pair.now;
        pair.exchange(A, 1, 10 * SECOND, |_| len);
        assert!(pair.now.since(start) < 500 * MS, "{len}: {:?}", pair.now.since(start));
    }
}

#[test]
fn random_loss_is_not_taken_for_a_black_hole() {
    for (loss, mtu) in [(5, ETHERNET), (20, ETHERNET), (20, 9_000)] {
        for rng_seed in 0..3 {
            let mut pair = carrying(rng_seed, mtu);
            bulk(&mut pair);
            let large = lens(&pair)[A];
            assert!(large > 1_200);
            pair.link.loss = loss;
            let (mut was, mut holes) = (large, 0);
            for count in 1..=100 {
                (0..4).for_each(|i| _ = pair.send(A, vec![1; [100, 3_000, 65_536, 20_000][i]]));
                pair.run_until(60 * SECOND, |pair| {
                    let now = lens(pair)[A];
                    holes += usize::from(now < was);
                    was = now;
                    pair.ends[A].acked.len() >= 4 * count
                });
            }
            // The end of a message is lost with nothing behind it that would tell: seldom four times in a row.
            assert!(holes <= 3, "{loss} % loss, {mtu}: {holes} black holes seen in {:?}", pair.stats(A));
        }
    }
}
