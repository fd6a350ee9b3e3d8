//! How fast packets leave: a window is spread over its round trip, in bursts. How large it is, is `congestion`'s affair.

use std::time::Duration;

use crate::{
    clock::Instant,
    wire::{
        DATAGRAM_LEN_MAX,
        relay::{RELAY_BURST_LEN_MAX, RELAY_RATE},
    },
};

/// Packets that may leave in one burst (protocol, PACKETS).
const BURST_MAX: usize = 44;
/// A pacer that must wait waits for what this time earns, not for each datagram.
const PACE_INTERVAL: Duration = Duration::from_millis(1);
/// On a relay we stay below what it forwards: acks and probes are not paced, and what is dropped costs more.
const PACED_RELAY_RATE: usize = RELAY_RATE - RELAY_RATE / 8;
const PACED_RELAY_BURST: usize = RELAY_BURST_LEN_MAX / 2;
/// Below this round trip nothing is paced.
const PACED_RTT_MIN: Duration = Duration::from_millis(2);

/// Spreads a window over its round trip, in bursts.
#[derive(Debug)]
pub(super) struct Pacer {
    budget: usize,
    at: Instant,
}

impl Pacer {
    const BURST_LEN_MAX: usize = BURST_MAX * DATAGRAM_LEN_MAX;

    pub(super) fn new(now: Instant) -> Self {
        Self { budget: Self::BURST_LEN_MAX, at: now }
    }

    /// When the next datagram of `len` bytes may leave; `None`: now.
    pub(super) fn wait(&mut self, now: Instant, len: usize, window: usize, rtt: Duration) -> Option<Instant> {
        if rtt < PACED_RTT_MIN {
            return None;
        }
        // A quarter faster than the window, so that pacing itself is never what limits.
        let per_rtt = window.saturating_add(window / 4).max(1);
        self.wait_at(now, len, per_rtt, rtt, Self::BURST_LEN_MAX)
    }

    /// The same on a relay, which drops what is faster than its budget.
    pub(super) fn wait_for_relay(&mut self, now: Instant, len: usize) -> Option<Instant> {
        self.wait_at(now, len, PACED_RELAY_RATE, Duration::from_secs(1), PACED_RELAY_BURST)
    }

    /// Earns `per_rtt` bytes in each `rtt`, and holds at most `burst_len_max`.
    fn wait_at(&mut self, now: Instant, len: usize, per_rtt: usize, rtt: Duration, burst_len_max: usize) -> Option<Instant> {
        let elapsed = now.since(self.at).as_nanos();
        let earned = u128::try_from(per_rtt).unwrap_or(u128::MAX).saturating_mul(elapsed);
        let earned = earned.checked_div(rtt.as_nanos()).unwrap_or(0);
        if earned > 0 {
            self.budget = self.budget.saturating_add(usize::try_from(earned).unwrap_or(usize::MAX)).min(burst_len_max);
            self.at = now;
        }
        self.budget = self.budget.min(burst_len_max);
        if self.budget >= len {
            return None;
        }
        let time_for = |len: usize| {
            let nanos = u128::try_from(len).unwrap_or(u128::MAX).saturating_mul(rtt.as_nanos());
            let nanos = nanos.checked_div(u128::try_from(per_rtt).unwrap_or(u128::MAX)).unwrap_or(0);
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).saturating_add(1))
        };
        let one = time_for(len.saturating_sub(self.budget));
        let burst = time_for(burst_len_max / 2);
        Some(now + one.max(PACE_INTERVAL.min(burst)))
    }

    /// `len` bytes left.
    pub(super) fn on_sent(&mut self, len: usize) {
        self.budget = self.budget.saturating_sub(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_paced_window_leaves_over_its_round_trip_in_bursts() {
        let (mut pacer, mut now) = (Pacer::new(Instant::default()), Instant::default());
        let (window, rtt) = (1_200_000, 100 * MS);
        let (mut sent, mut waits) = (0, 0);
        while sent < window {
            match pacer.wait(now, 1_200, window, rtt) {
                Some(at) => {
                    assert!(at > now);
                    now = at;
                    waits += 1;
                }
                None => {
                    pacer.on_sent(1_200);
                    sent += 1_200;
                }
            }
        }
        let took = now.since(Instant::default());
        assert!((70 * MS..=85 * MS).contains(&took), "{took:?}: four fifths of the round trip");
        assert!(waits <= 90, "{waits}");
        assert_eq!(pacer.wait(now, 1_200, window, MS), None, "a short round trip is not paced");
    }
}
