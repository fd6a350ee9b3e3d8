//! CUBIC (RFC 9438): what most of the Internet sends with, a rival at the bottleneck. Slow start, one cut to
//! seven tenths in each round trip that loses, the cubic way back, never below what Reno would take.

use super::{congestion::RateSample, *};
use crate::wire::DATAGRAM_LEN_MAX;

const CUT: f64 = 0.7;
const C: f64 = 0.4;
const SEGMENT: f64 = DATAGRAM_LEN_MAX as f64;

/// The window of RFC 9438, in segments.
#[derive(Debug)]
pub(super) struct Cubic {
    window: f64,
    threshold: f64,
    /// Before the last cut, perhaps less where it had not come back to the cut before.
    window_max: f64,
    /// What Reno would have.
    reno: f64,
    epoch: Option<(Instant, f64)>,
    /// Bytes delivered in all, and what they must pass for the next cut.
    delivered: u64,
    cut_until: u64,
    /// Where the last cut was none.
    before_cut: Option<(f64, f64, f64)>,
    lost: usize,
}

impl Cubic {
    pub(super) fn new() -> Self {
        Self {
            window: 10.0,
            threshold: f64::MAX,
            window_max: 0.0,
            reno: 0.0,
            epoch: None,
            delivered: 0,
            cut_until: 0,
            before_cut: None,
            lost: 0,
        }
    }

    fn grow(&mut self, now: Instant, segments: f64, rtt: Duration) {
        if self.window < self.threshold {
            self.window += segments;
            return;
        }
        let window = self.window;
        if self.epoch.is_none() {
            self.reno = window;
        }
        let (start, first) = *self.epoch.get_or_insert((now, window));
        let k = ((self.window_max - first).max(0.0) / C).cbrt();
        let t = (now.since(start) + rtt).as_secs_f64() - k;
        let cubic = (C * t.powi(3) + self.window_max.max(first)).clamp(window, window * 1.5);
        // Reno's share of an AIMD that cuts less, until it stands where the cut was.
        let alpha = if self.reno < self.window_max { 3.0 * (1.0 - CUT) / (1.0 + CUT) } else { 1.0 };
        self.reno += alpha * segments / window;
        self.window = (window + (cubic - window) * segments / window).max(self.reno);
    }
}

impl Congestion for Cubic {
    fn window(&self) -> usize {
        (self.window * SEGMENT) as usize
    }

    fn on_ack(&mut self, now: Instant, len: usize, in_flight: usize, rtt: Option<Duration>, rate: Option<&RateSample>) {
        if let Some(sample) = rate {
            self.delivered = sample.total_delivered;
            // Packets that left after the cut arrive: it is over.
            if sample.prior_delivered >= self.cut_until {
                self.cut_until = 0;
            }
        }
        if self.cut_until == 0 && in_flight * 2 >= self.window() {
            self.grow(now, len as f64 / SEGMENT, rtt.unwrap_or(Duration::ZERO));
        }
    }

    fn on_lost(&mut self, len: usize) {
        self.lost += len;
        if self.cut_until > 0 {
            return;
        }
        self.before_cut = Some((self.window, self.threshold, self.window_max));
        self.cut_until = self.delivered.max(1);
        let fast = if self.window < self.window_max { (1.0 + CUT) / 2.0 } else { 1.0 };
        self.window_max = self.window * fast;
        self.window = (self.window * CUT).max(2.0);
        self.threshold = self.window;
        self.epoch = None;
        self.lost = len;
    }

    fn undo(&mut self, len: usize) {
        self.lost = self.lost.saturating_sub(len);
        if self.lost == 0
            && let Some((window, threshold, window_max)) = self.before_cut.take()
        {
            (self.window, self.threshold, self.window_max, self.epoch, self.cut_until) = (window, threshold, window_max, None, 0);
        }
    }
}
