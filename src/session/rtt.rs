//! The round trip: latest, smoothed, variance, minimum (RFC 9002 §5), and the probe timeout from them.

use std::time::Duration;

/// First guess of a round trip where no router is between (protocol, PACKETS).
pub(super) const RTT_FIRST_ON_LINK: Duration = Duration::from_millis(50);
/// First guess elsewhere.
pub(super) const RTT_FIRST: Duration = Duration::from_millis(250);
/// Probe timeout at least, where no router is between.
pub(super) const PROBE_TIMEOUT_MIN_ON_LINK: Duration = Duration::from_millis(4);
/// Probe timeout at least, elsewhere.
pub(super) const PROBE_TIMEOUT_MIN: Duration = Duration::from_millis(8);
/// Probe timeout at most, after all backoff: so long after a link returned what waited is still waiting.
pub(super) const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(2);
/// No path takes longer there and back.
const SAMPLE_MAX: Duration = Duration::from_secs(10);
/// What four variances count for at least.
const VARIANCE_MIN: Duration = Duration::from_millis(2);
/// An ack waits for company at most this long.
pub(super) const ACK_DELAY_MAX: Duration = Duration::from_millis(5);

/// Round-trip estimates of one path.
#[derive(Debug, Clone)]
pub(super) struct Rtt {
    latest: Duration,
    smoothed: Duration,
    variance: Duration,
    min: Option<Duration>,
    on_link: bool,
}

impl Rtt {
    /// A path that nothing was measured on; `guess` where the handshake saw one.
    pub(super) fn new(on_link: bool, guess: Option<Duration>) -> Self {
        let first = guess.unwrap_or(if on_link { RTT_FIRST_ON_LINK } else { RTT_FIRST });
        Self { latest: first, smoothed: first, variance: first / 2, min: None, on_link }
    }

    /// Takes a sample: from sending a packet to its ack, `delay` of it spent waiting at the peer.
    pub(super) fn update(&mut self, sample: Duration, delay: Duration) {
        // Whoever was asleep in between has not measured the path.
        if sample > SAMPLE_MAX {
            return;
        }
        self.latest = sample;
        let Some(min) = self.min else {
            self.min = Some(sample);
            self.smoothed = sample;
            self.variance = sample / 2;
            return;
        };
        let min = min.min(sample);
        self.min = Some(min);
        // RFC 9002 §5.3: the delay is believed only where it leaves at least the minimum.
        let adjusted = if sample >= min.saturating_add(delay) { sample.saturating_sub(delay) } else { sample };
        let deviation = self.smoothed.abs_diff(adjusted);
        self.variance = (self.variance.saturating_mul(3).saturating_add(deviation)) / 4;
        self.smoothed = (self.smoothed.saturating_mul(7).saturating_add(adjusted)) / 8;
    }

    /// The smoothed round trip.
    pub(super) fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// The larger of smoothed and latest: what the time threshold is made of.
    pub(super) fn conservative(&self) -> Duration {
        self.smoothed.max(self.latest)
    }

    /// How long our acks may wait for company: min(srtt / 4, 5 ms).
    pub(super) fn ack_delay(&self) -> Duration {
        (self.smoothed / 4).min(ACK_DELAY_MAX)
    }

    /// srtt + max(4·rttvar, 2 ms) + ack delay (0 when the peer was asked to ack at once), with a floor,
    /// after `backoff` timeouts in a row: ×1.5, ×1.5, then ×2.
    pub(super) fn probe_timeout(&self, ack_now: bool, backoff: u32) -> Duration {
        let delay = if ack_now { Duration::ZERO } else { self.ack_delay() };
        let floor = if self.on_link { PROBE_TIMEOUT_MIN_ON_LINK } else { PROBE_TIMEOUT_MIN };
        let spread = self.variance.saturating_mul(4).max(VARIANCE_MIN);
        let mut timeout = self.smoothed.saturating_add(spread).saturating_add(delay).max(floor);
        for step in 0..backoff {
            if timeout >= PROBE_TIMEOUT_MAX {
                return PROBE_TIMEOUT_MAX;
            }
            timeout = if step < 2 { timeout.saturating_mul(3) / 2 } else { timeout.saturating_mul(2) };
        }
        timeout.min(PROBE_TIMEOUT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_probe_timeout_follows_its_formula() {
        let mut rtt = Rtt::new(true, None);
        assert_eq!(rtt.probe_timeout(true, 0), 150 * MS, "50 + 4·25 before the first sample");
        assert_eq!(Rtt::new(false, None).probe_timeout(true, 0), 750 * MS);
        for _ in 0..200 {
            rtt.update(MS / 2, Duration::ZERO);
        }
        assert_eq!(rtt.probe_timeout(true, 0), 4 * MS, "the floor");
        assert_eq!(rtt.probe_timeout(true, 1), 6 * MS);
        assert_eq!(rtt.probe_timeout(true, 2), 9 * MS);
        assert_eq!(rtt.probe_timeout(true, 4), 36 * MS);
        assert_eq!(rtt.probe_timeout(true, 40), PROBE_TIMEOUT_MAX);
        for _ in 0..200 {
            rtt.update(40 * MS, Duration::ZERO);
        }
        let (at_once, later) = (rtt.probe_timeout(true, 0), rtt.probe_timeout(false, 0));
        assert!(at_once >= 41 * MS && later - at_once == 5 * MS, "{at_once:?} {later:?}");
    }

    #[test]
    fn a_sleep_is_no_round_trip() {
        let mut rtt = Rtt::new(true, None);
        (0..50).for_each(|_| rtt.update(10 * MS, Duration::ZERO));
        rtt.update(600_000 * MS, Duration::ZERO);
        assert_eq!(rtt.smoothed(), 10 * MS);
    }

    #[test]
    fn a_peer_that_lies_about_its_delay_cannot_shrink_the_round_trip_below_the_minimum() {
        let mut rtt = Rtt::new(true, None);
        (0..50).for_each(|_| rtt.update(10 * MS, 1_000 * MS));
        assert_eq!(rtt.smoothed(), 10 * MS);
    }
}
