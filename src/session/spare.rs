//! Whether a packet that has room to spare carries copies of what is still unacked, so that a lost one costs nobody a round trip
//! (protocol, PACKETS). What is copied lives in `outgoing`; how many packets are lost, in `recovery`.

use crate::clock::Instant;

/// A message that is copied has so many bytes at most.
pub(super) const COPY_LEN_MAX: usize = 256;
/// Loss from which on one copy is made, and two, in parts of [`LOSS_ONE`].
const LOSS_FOR_ONE: u32 = LOSS_ONE / 200;
/// See [`LOSS_FOR_ONE`].
const LOSS_FOR_TWO: u32 = LOSS_ONE / 25;
/// The same for three: with two, one message in a hundred would still be lost with all its copies.
const LOSS_FOR_THREE: u32 = LOSS_ONE / 8;
/// Every packet is lost.
pub(super) const LOSS_ONE: u32 = 1 << 16;
/// Bytes of messages a second up to which there is room to spare.
const RATE_MAX: u64 = 64 << 10;
/// Bytes that may come at once.
const BURST_MAX: u64 = 8 << 10;

/// How fast messages are given, as far as that matters here.
#[derive(Debug)]
pub(super) struct Spare {
    /// Bytes above the rate; leaks at [`RATE_MAX`].
    level: u64,
    at: Instant,
}

impl Spare {
    pub(super) const fn new(now: Instant) -> Self {
        Self { level: 0, at: now }
    }

    /// Messages of `len` bytes leave for the first time.
    pub(super) fn on_sent(&mut self, now: Instant, len: u64) {
        let leaked = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX).saturating_mul(RATE_MAX) / 1_000_000;
        // A little time leaks nothing yet: it counts with what comes next.
        if leaked > 0 || self.level == 0 {
            self.at = now;
        }
        self.level = self.level.saturating_sub(leaked).saturating_add(len).min(2 * BURST_MAX);
    }

    /// Copies for the next packet, where this part of packets is lost.
    pub(super) const fn copies(&self, loss: u32) -> usize {
        if self.level > BURST_MAX || loss < LOSS_FOR_ONE {
            0
        } else if loss < LOSS_FOR_TWO {
            1
        } else if loss < LOSS_FOR_THREE {
            2
        } else {
            3
        }
    }
}

/// The part of packets that are lost, of the last hundred or so.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LossRate(u32);

/// One packet counts for this part.
const WEIGHT: u32 = 128;

impl LossRate {
    /// In parts of [`LOSS_ONE`].
    pub(super) const fn get(self) -> u32 {
        self.0
    }

    pub(super) fn on_acked(&mut self) {
        self.0 = self.0.saturating_sub(self.0 / WEIGHT);
    }

    pub(super) fn on_lost(&mut self) {
        self.0 = self.0.saturating_add(LOSS_ONE.saturating_sub(self.0) / WEIGHT);
    }

    /// One that had been counted as lost has come after all.
    pub(super) fn undo(&mut self) {
        self.0 = self.0.saturating_sub(LOSS_ONE / WEIGHT);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn copies_come_with_loss_and_go_where_much_is_to_be_sent() {
        let start = Instant::from_start(Duration::from_secs(1));
        let mut spare = Spare::new(start);
        assert_eq!([0, LOSS_ONE / 100, LOSS_ONE / 10, LOSS_ONE / 5].map(|loss| spare.copies(loss)), [0, 1, 2, 3]);
        // 500 messages of 100 bytes a second are below the rate, 1,000 above.
        for (every, is_spare) in [(2_000, true), (1_000, false)] {
            for n in 0..1_000 {
                spare.on_sent(start + Duration::from_micros(every * n), 100);
            }
            assert_eq!(spare.copies(LOSS_ONE / 10) > 0, is_spare, "one every {every} µs");
        }
        spare.on_sent(start + Duration::from_secs(60), 100);
        assert_eq!(spare.copies(LOSS_ONE / 10), 2, "it has leaked away");
    }

    #[test]
    fn the_rate_of_loss_follows_what_is_lost() {
        let mut rate = LossRate::default();
        for n in 0..10_000 {
            if n % 20 == 0 { rate.on_lost() } else { rate.on_acked() }
        }
        let percent = rate.get() * 100 / LOSS_ONE;
        assert!((4..=6).contains(&percent), "{percent}");
        (0..2_000).for_each(|_| rate.on_acked());
        assert!(rate.get() < LOSS_FOR_ONE);
        rate.on_lost();
        rate.undo();
        assert!(rate.get() < LOSS_FOR_ONE, "late is not lost");
        (0..2_000).for_each(|_| rate.on_lost());
        assert!(rate.get() <= LOSS_ONE);
    }
}
