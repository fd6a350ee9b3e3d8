//! How much may be in flight: the window, behind one small trait. How fast it leaves is `pacer`'s affair, what is lost, and
//! when, `recovery`'s.

use std::time::Duration;

use crate::{clock::Instant, wire::DATAGRAM_LEN_MAX};

/// Window at the start, in packets (protocol, PACKETS).
const WINDOW_FIRST: usize = 10;
/// The same where no router is between.
const WINDOW_FIRST_ON_LINK: usize = 32;
/// The window never shrinks below this where no router is between: a LAN's buffers take it, and a round
/// trip there is so short that jitter of the machine would stall anything smaller.
const WINDOW_MIN_ON_LINK: usize = 64;
/// The same elsewhere.
const WINDOW_MIN: usize = 10;
/// Half of how long a shortest round trip is believed.
const BASE_SPAN: Duration = Duration::from_secs(10);
/// Rounds without a rate a quarter higher that end the start.
const PLATEAU_ROUNDS: u32 = 3;
/// Acks in a row behind a full queue that end it.
const LATE_ACKS: u32 = 8;
/// By so much the window grows in a round soon after a cut, where there is a queue.
const GROWTH_LEN: usize = 2_400;
/// Rounds from a cut to what it has done.
const SETTLE_ROUNDS: u32 = 2;
/// Cuts in a row that leave a full queue: it is not ours.
const VAIN_CUTS: u32 = 2;

/// How fast data arrived, seen from one acked packet (draft-cheng-iccrg-delivery-rate-estimation).
#[derive(Debug, Clone)]
pub(super) struct RateSample {
    /// Bytes delivered since the packet was sent.
    pub(super) delivered: u64,
    /// In this time.
    pub(super) interval: Duration,
    /// The sender had nothing more to send, so the rate may be below what the path carries.
    pub(super) app_limited: bool,
    /// Bytes delivered in all when the packet was sent: ends a round once it passes the round's start.
    pub(super) prior_delivered: u64,
    /// Bytes delivered in all.
    pub(super) total_delivered: u64,
}

/// What decides the window. Lengths are bytes of datagrams.
pub(super) trait Congestion: Send {
    /// May be in flight.
    fn window(&self) -> usize;
    /// `len` bytes were acked while `in_flight` were out.
    fn on_ack(&mut self, now: Instant, len: usize, in_flight: usize, rtt: Option<Duration>, rate: Option<&RateSample>);
    /// `len` bytes were lost.
    fn on_lost(&mut self, len: usize);
    /// `len` bytes had been counted as lost and arrived after all.
    fn undo(&mut self, len: usize);
}

/// The window for a path that nothing is known about.
pub(super) fn new(on_link: bool) -> Box<dyn Congestion> {
    Box::new(ShortQueue::new(on_link))
}

/// A window that grows until it sees a queue, and is then cut to what the path holds without one.
///
/// The sign of a queue is the round trip. Loss alone is none, so random loss of any rate takes nothing; loss together
/// with a round trip an eighth and a millisecond above the shortest is a queue that overflows. Flows that share a queue see
/// the same, are cut by the same part and grow by the same bytes, so they come to equal windows. A queue that two cuts
/// did not empty is somebody else's who knows loss alone: it counts as the path's, and both share by loss.
struct ShortQueue {
    window: usize,
    window_min: usize,
    /// Nothing has limited it yet.
    starting: bool,
    /// Bytes delivered in all that end this round.
    round_end: u64,
    /// Rounds without a rate a quarter above the one here.
    plateau: (u32, u64),
    /// Best rate so far, bytes per second.
    rate: u64,
    /// Shortest round trips of this span of time and of the one before.
    bases: [Duration; 2],
    span_start: Instant,
    /// Shortest round trip with what others keep in the queue.
    shared: Duration,
    /// Shortest round trip of this round and of the last.
    rtt_round: Duration,
    rtt_before: Duration,
    /// Acks in a row that saw a full queue.
    late: u32,
    /// Bytes lost in this round.
    lost: usize,
    /// The window was made use of in this round.
    used: bool,
    /// Rounds until a cut has done its work.
    settling: u32,
    /// Cuts in a row that left a full queue.
    vain: u32,
    cut_at: Instant,
    /// Window and bytes lost at the last cut: it is undone where they were not lost.
    before_cut: Option<(usize, usize)>,
    /// Window and rate before packets were lost without a queue.
    before_loss: (usize, u64),
    /// Something takes all that is above a rate, without a queue.
    policed: bool,
}

impl ShortQueue {
    fn new(on_link: bool) -> Self {
        let (first, min) = if on_link { (WINDOW_FIRST_ON_LINK, WINDOW_MIN_ON_LINK) } else { (WINDOW_FIRST, WINDOW_MIN) };
        Self {
            window: first.saturating_mul(DATAGRAM_LEN_MAX),
            window_min: min.saturating_mul(DATAGRAM_LEN_MAX),
            starting: true,
            round_end: 0,
            plateau: (0, 0),
            rate: 0,
            bases: [Duration::MAX; 2],
            span_start: Instant::default(),
            shared: Duration::ZERO,
            rtt_round: Duration::MAX,
            rtt_before: Duration::MAX,
            late: 0,
            lost: 0,
            used: false,
            settling: 0,
            vain: 0,
            cut_at: Instant::default(),
            before_loss: (0, 0),
            policed: false,
            before_cut: None,
        }
    }

    /// The round trip without a queue of ours.
    fn base(&self) -> Duration {
        self.bases.into_iter().min().unwrap_or(Duration::MAX)
    }

    /// The same with a queue that others keep.
    fn shared(&self) -> Duration {
        self.shared.max(self.base())
    }

    /// It is as long as we let it become.
    fn is_full(&self, rtt: Duration) -> bool {
        is_longer(rtt, self.shared(), 2, Duration::from_millis(5))
    }

    /// It is shorter than that, and full.
    fn overflows(&self, rtt: Duration) -> bool {
        self.lost > 0 && is_longer(rtt, self.base(), 8, Duration::from_millis(1))
    }

    fn on_rtt(&mut self, now: Instant, rtt: Duration) {
        if now.since(self.span_start) > BASE_SPAN {
            let [newest, _] = self.bases;
            self.bases = [Duration::MAX, newest];
            self.span_start = now;
            self.shared = Duration::ZERO;
            self.policed = false;
        }
        let [newest, _] = &mut self.bases;
        *newest = (*newest).min(rtt);
        self.shared = self.shared.min(rtt);
        self.rtt_round = self.rtt_round.min(rtt);
        self.late = if self.is_full(rtt) || self.overflows(rtt) { self.late.saturating_add(1) } else { 0 };
        // It doubles in a round: the end of the round would be too late.
        if self.starting && self.used && self.late >= LATE_ACKS {
            self.cut(now, rtt);
        }
    }

    /// To what the path holds without a queue, and a little less so that it empties.
    fn cut(&mut self, now: Instant, rtt: Duration) {
        let fits = u128::try_from(self.window).unwrap_or(u128::MAX).saturating_mul(self.shared().as_nanos());
        let fits = usize::try_from(fits.checked_div(rtt.as_nanos()).unwrap_or(0)).unwrap_or(usize::MAX);
        let least = if self.starting { self.window / 4 } else { self.window / 2 };
        self.before_cut = (self.lost > 0).then_some((self.window, self.lost));
        self.shrink(now, (fits / 8).saturating_mul(7).max(least));
        self.starting = false;
    }

    /// What a path of this rate holds without a queue.
    fn carried(&self, rate: u64) -> usize {
        let carried = u128::from(rate).saturating_mul(self.base().as_nanos()) / 1_000_000_000;
        usize::try_from(carried).unwrap_or(usize::MAX)
    }

    fn shrink(&mut self, now: Instant, window: usize) {
        self.window = window.max(self.window_min).min(self.window);
        self.settling = SETTLE_ROUNDS;
        self.cut_at = now;
    }

    fn on_round(&mut self, now: Instant, rate: u64, app_limited: bool) {
        let rtt = std::mem::replace(&mut self.rtt_round, Duration::MAX);
        self.rtt_before = rtt;
        if self.settling > 0 {
            self.settling = self.settling.saturating_sub(1);
            if self.settling == 0 {
                self.vain = if self.is_full(rtt) { self.vain.saturating_add(1) } else { 0 };
                if self.vain >= VAIN_CUTS {
                    (self.vain, self.shared) = (0, rtt);
                }
            }
        } else {
            // A window that was not used made no queue.
            if self.used && (self.is_full(rtt) || self.overflows(rtt)) {
                self.cut(now, rtt);
            } else if self.starting && !app_limited && self.is_plateau() {
                self.starting = false;
                self.shrink(now, self.carried(self.rate));
            } else {
                self.look_for_police(now, rate);
            }
        }
        (self.lost, self.used) = (0, false);
    }

    fn is_plateau(&mut self) -> bool {
        let (rounds, rate) = &mut self.plateau;
        if self.rate >= rate.saturating_add(*rate / 4) {
            (*rounds, *rate) = (0, self.rate);
        } else {
            *rounds = rounds.saturating_add(1);
        }
        *rounds >= PLATEAU_ROUNDS
    }

    /// Loss without a queue is the path's own, or takes all that is above a rate: then a larger window brings nothing.
    fn look_for_police(&mut self, now: Instant, rate: u64) {
        let (window, rate_before) = self.before_loss;
        let grown = self.window >= window.saturating_add(window / 4);
        let heavy = self.lost >= self.window / 8;
        if heavy && grown && rate < rate_before.saturating_add(rate_before / 8) {
            self.policed = true;
            self.shrink(now, self.carried(rate));
        }
        if !heavy || grown {
            self.before_loss = (self.window, rate);
        }
    }

    /// What an ack of `len` bytes lets the window grow by.
    fn growth(&self, now: Instant, len: usize) -> usize {
        if self.starting {
            return len;
        }
        if !self.policed && !is_longer(self.rtt_before, self.shared(), 16, Duration::from_millis(1)) {
            return len / 8;
        }
        // As many bytes in a round whatever the window is, and the more the longer ago the last cut is (H-TCP).
        let since = usize::try_from(now.since(self.cut_at).as_millis()).unwrap_or(usize::MAX).saturating_sub(1_000);
        let per_mille = since.saturating_mul(10).saturating_add(since.saturating_mul(since) / 4_000).saturating_add(1_000);
        let step = GROWTH_LEN.saturating_mul(per_mille) / 1_000;
        step.saturating_mul(len).checked_div(self.window).unwrap_or(0).min(len)
    }
}

/// Longer than `base` by more than one such part of it and `more`.
fn is_longer(rtt: Duration, base: Duration, part: u32, more: Duration) -> bool {
    let part = base.checked_div(part).unwrap_or_default();
    rtt != Duration::MAX && rtt > base.saturating_add(part).saturating_add(more)
}

impl Congestion for ShortQueue {
    fn window(&self) -> usize {
        self.window
    }

    fn on_ack(&mut self, now: Instant, len: usize, in_flight: usize, rtt: Option<Duration>, rate: Option<&RateSample>) {
        // A window that was not used says nothing about a larger one.
        let used = in_flight.saturating_mul(2) >= self.window;
        self.used |= used;
        if let Some(rtt) = rtt {
            self.on_rtt(now, rtt);
        }
        if let Some(sample) = rate {
            let seen = u128::from(sample.delivered).saturating_mul(1_000_000_000).checked_div(sample.interval.as_nanos());
            let seen = seen.and_then(|seen| u64::try_from(seen).ok()).unwrap_or(0);
            // An interval shorter than any round trip is compressed acks, not a rate.
            if sample.interval >= self.base() {
                self.rate = self.rate.max(seen);
            }
            if sample.prior_delivered >= self.round_end {
                self.round_end = sample.total_delivered;
                self.on_round(now, seen, sample.app_limited);
            }
        }
        if used && self.settling == 0 {
            self.window = self.window.saturating_add(self.growth(now, len));
        }
    }

    fn on_lost(&mut self, len: usize) {
        self.lost = self.lost.saturating_add(len);
    }

    fn undo(&mut self, len: usize) {
        self.lost = self.lost.saturating_sub(len);
        if let Some((window, lost)) = self.before_cut.take() {
            let lost = lost.saturating_sub(len);
            if lost == 0 {
                self.window = self.window.max(window);
            } else {
                self.before_cut = Some((window, lost));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RATE: u64 = 10_000_000;
    const RTT: Duration = Duration::from_millis(50);
    const CARRIED: usize = 500_000;

    struct Used(ShortQueue, Instant);

    fn new() -> Used {
        Used(ShortQueue::new(false), Instant::from_start(MS * 1_000))
    }

    /// A path that carries [`RATE`] and takes `rtt_base`, with a queue; so many bytes in a thousand do not arrive.
    fn rounds(Used(window, now): &mut Used, rounds: u64, rtt_base: Duration, lost: usize) {
        for _ in 0..rounds {
            let in_flight = window.window();
            let arrived = in_flight - in_flight * lost / 1_000;
            let takes = Duration::from_nanos(arrived as u64 * 1_000_000_000 / RATE);
            let rtt = rtt_base.max(takes);
            *now = *now + rtt;
            if lost > 0 {
                window.on_lost(in_flight - arrived);
            }
            let prior = window.round_end;
            let sample = RateSample {
                delivered: arrived as u64,
                interval: rtt,
                app_limited: false,
                prior_delivered: prior,
                total_delivered: prior + arrived as u64,
            };
            window.on_ack(*now, arrived, in_flight, Some(rtt), Some(&sample));
        }
    }

    #[test]
    fn the_window_stays_between_what_the_path_carries_and_a_short_queue() {
        let mut window = new();
        rounds(&mut window, 60, RTT, 0);
        for _ in 0..200 {
            rounds(&mut window, 1, RTT, 0);
            assert!((CARRIED * 7 / 10..=CARRIED * 18 / 10).contains(&window.0.window()), "{}", window.0.window());
        }
    }

    #[test]
    fn random_loss_takes_nothing_and_loss_with_a_queue_cuts_once() {
        for lost in [10, 50, 200] {
            let mut window = new();
            rounds(&mut window, 60, RTT, lost);
            for _ in 0..200 {
                rounds(&mut window, 1, RTT, lost);
                assert!(window.0.window() >= CARRIED * 7 / 10, "{lost}: {}", window.0.window());
            }
        }
        let mut window = new();
        rounds(&mut window, 60, RTT, 0);
        (window.0.window, window.0.settling) = (CARRIED * 13 / 10, 0);
        rounds(&mut window, 1, RTT, 50);
        let cut = window.0.window();
        assert!((CARRIED * 8 / 10..CARRIED * 11 / 10).contains(&cut), "{cut}");
        rounds(&mut window, 1, RTT, 50);
        assert_eq!(window.0.window(), cut, "until the cut has done its work");
    }

    #[test]
    fn what_a_chat_loses_on_a_restless_path_takes_nothing_from_what_comes_later() {
        let Used(mut window, mut now) = new();
        let before = window.window();
        for round in 0..1_000_u64 {
            // One packet a round, from 40 to 70 ms; some are lost.
            let rtt = MS * u32::try_from(40 + round * 7 % 31).unwrap();
            now = now + rtt;
            if round % 20 == 0 {
                window.on_lost(200);
            }
            let end = window.round_end;
            let sample =
                RateSample { delivered: 200, interval: rtt, app_limited: true, prior_delivered: end, total_delivered: end + 200 };
            window.on_ack(now, 200, 200, Some(rtt), Some(&sample));
        }
        assert!(window.starting && window.window() == before, "{}", window.window());
    }

    #[test]
    fn a_loss_that_was_none_is_undone() {
        let mut window = new();
        rounds(&mut window, 60, RTT, 0);
        (window.0.window, window.0.settling, window.0.lost) = (CARRIED * 13 / 10, 0, 0);
        window.0.on_lost(50_000);
        rounds(&mut window, 1, RTT, 0);
        assert!(window.0.window() < CARRIED * 11 / 10);
        window.0.undo(20_000);
        assert!(window.0.window() < CARRIED * 11 / 10);
        window.0.undo(30_000);
        assert!(window.0.window() >= CARRIED * 13 / 10);
    }

    #[test]
    fn a_longer_way_is_no_queue_for_long() {
        let mut window = new();
        rounds(&mut window, 60, RTT, 0);
        let before = window.0.window();
        rounds(&mut window, 20, 4 * RTT, 0);
        assert!(window.0.window() >= before / 4, "cut twice: {}", window.0.window());
        rounds(&mut window, 110, 4 * RTT, 0);
        assert!(window.0.window() >= 4 * CARRIED * 7 / 10, "and found: {}", window.0.window());
    }
}
