//! All chance of a world: one seeded generator, and words for what is drawn from it. Also the trace
//! hash, which shows that the same `rng_seed` gave the same run.

use std::{ops::RangeInclusive, time::Duration};

use blake2::{Blake2s256, Digest};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

/// A seeded source of decisions.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha20Rng);

impl Dice {
    /// Independent streams for one `rng_seed`, by name: a new use of one never moves another.
    pub(crate) fn new(rng_seed: u64, stream: &str) -> Self {
        Self(ChaCha20Rng::from_seed(Self::seed_of(rng_seed, stream)))
    }

    /// 32 bytes for a generator of its own.
    pub(crate) fn seed_of(rng_seed: u64, stream: &str) -> [u8; 32] {
        let mut hash = Blake2s256::new();
        hash.update(rng_seed.to_le_bytes());
        hash.update(stream.as_bytes());
        hash.finalize().into()
    }

    /// 0 to `limit - 1`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "a draw from nothing");
        self.0.next_u64() % limit
    }

    /// An index into a slice of this length.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// One of a range.
    pub(crate) fn range(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1_000) < u64::from(permille)
    }

    /// A time between the two, in microseconds' steps.
    pub(crate) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_micros(self.range(low.as_micros() as u64..=high.as_micros().max(low.as_micros()) as u64))
    }

    /// Random bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Fills a slice.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// A running hash over everything observable that happened, in order.
#[derive(Default)]
pub(crate) struct Trace {
    hash: Blake2s256,
    lines: u64,
}

impl Trace {
    /// Adds a happening: when, what, and its bytes.
    pub(crate) fn note(&mut self, at: Duration, what: &str, bytes: &[u8]) {
        self.lines += 1;
        self.hash.update((at.as_nanos() as u64).to_le_bytes());
        self.hash.update(what.as_bytes());
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    /// Hash so far, and how many happenings it covers.
    pub(crate) fn digest(&self) -> (u64, u64) {
        let digest: [u8; 32] = self.hash.clone().finalize().into();
        (u64::from_le_bytes(*digest.first_chunk().expect("32 bytes hold 8")), self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_do_not_touch_each_other() {
        let draw = |seed, stream| Dice::new(seed, stream).below(u64::MAX);
        assert_eq!(draw(1, "net"), draw(1, "net"));
        assert_ne!(draw(1, "net"), draw(1, "work"));
        assert_ne!(draw(1, "net"), draw(2, "net"));
    }

    #[test]
    fn the_trace_sees_time_order_and_content() {
        let trace = |notes: &[(u64, &str, &[u8])]| {
            let mut trace = Trace::default();
            notes.iter().for_each(|(at, what, bytes)| trace.note(Duration::from_millis(*at), what, bytes));
            trace.digest()
        };
        let one = trace(&[(1, "a", b"x"), (2, "b", b"y")]);
        assert_eq!(one, trace(&[(1, "a", b"x"), (2, "b", b"y")]));
        assert_ne!(one, trace(&[(2, "b", b"y"), (1, "a", b"x")]));
        assert_ne!(one, trace(&[(1, "a", b"x"), (3, "b", b"y")]));
        assert_ne!(one, trace(&[(1, "a", b"x"), (2, "b", b"z")]));
    }
}
