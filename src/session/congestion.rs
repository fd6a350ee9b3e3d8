//! How much may be in flight, and how fast it leaves: the window behind one small trait, and the pacer.
//! What is lost, and when, is `recovery`'s affair.

use std::time::Duration;

use crate::{
    clock::Instant,
    wire::{
        DATAGRAM_LEN_MAX,
        relay::{RELAY_BURST_LEN_MAX, RELAY_RATE},
    },
};

/// Window at the start, in packets (protocol, PACKETS).
const WINDOW_FIRST: usize = 10;
/// The same where no router is between.
const WINDOW_FIRST_ON_LINK: usize = 32;
/// The window never shrinks below this where no router is between: a LAN's buffers take it, and a round
/// trip there is so short that jitter of the machine would stall anything smaller.
const WINDOW_MIN_ON_LINK: usize = 64;
/// The same elsewhere.
const WINDOW_MIN: usize = 10;
/// Packets that may leave in one burst (protocol, PACKETS).
const BURST_MAX: usize = 44;
/// A pacer that must wait waits for what this time earns, not for each datagram.
const PACE_INTERVAL: Duration = Duration::from_millis(1);
/// On a relay we stay below what it forwards: acks and probes are not paced, and what is dropped costs more.
const PACED_RELAY_RATE: usize = RELAY_RATE - RELAY_RATE / 8;
const PACED_RELAY_BURST: usize = RELAY_BURST_LEN_MAX / 2;
/// Below this round trip nothing is paced.
const PACED_RTT_MIN: Duration = Duration::from_millis(2);
/// Rounds that a delivery rate is remembered.
const RATE_ROUNDS: u64 = 10;
/// How long a minimum of the round trip is believed.
const RTT_MIN_AGE_MAX: Duration = Duration::from_secs(10);
/// Rounds without a rate a quarter higher that end the start.
const PLATEAU_ROUNDS: u32 = 3;

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
    Box::new(DeliveryRate::new(on_link))
}

/// A window of one and a half times what the path was seen to carry in its shortest round trip. Lost
/// packets do not shrink it, so random loss of any rate cannot collapse it; loss together with a round
/// trip well above its minimum is a queue that overflows, and takes the half away.
struct DeliveryRate {
    window: usize,
    window_min: usize,
    starting: bool,
    /// Best rate in bytes per second, of this span of rounds and of the one before.
    rates: [u64; 2],
    span_start: u64,
    round: u64,
    round_end: u64,
    plateau: u32,
    plateau_rate: u64,
    rtt_min: Option<(Duration, Instant)>,
    rtt_round: Duration,
    acked: usize,
    lost: usize,
    loss_eighths: usize,
    queue_overflows: bool,
}

impl DeliveryRate {
    fn new(on_link: bool) -> Self {
        let (first, min) = if on_link { (WINDOW_FIRST_ON_LINK, WINDOW_MIN_ON_LINK) } else { (WINDOW_FIRST, WINDOW_MIN) };
        Self {
            window: first.saturating_mul(DATAGRAM_LEN_MAX),
            window_min: min.saturating_mul(DATAGRAM_LEN_MAX),
            starting: true,
            rates: [0; 2],
            span_start: 0,
            round: 0,
            round_end: 0,
            plateau: 0,
            plateau_rate: 0,
            rtt_min: None,
            rtt_round: Duration::MAX,
            acked: 0,
            lost: 0,
            loss_eighths: 0,
            queue_overflows: false,
        }
    }

    fn rate(&self) -> u64 {
        self.rates.into_iter().max().unwrap_or(0)
    }

    fn on_round(&mut self, app_limited: bool) {
        self.round = self.round.saturating_add(1);
        if self.round.saturating_sub(self.span_start) >= RATE_ROUNDS / 2 {
            let [newest, _] = self.rates;
            self.rates = [0, newest];
            self.span_start = self.round;
        }
        let all = self.acked.saturating_add(self.lost).max(1);
        self.loss_eighths = self.lost.saturating_mul(8).checked_div(all).unwrap_or(0);
        let rtt_min = self.rtt_min.map_or(Duration::ZERO, |(rtt, _)| rtt);
        let queue = self.rtt_round != Duration::MAX && self.rtt_round > rtt_min.saturating_mul(3) / 2 + Duration::from_millis(5);
        self.queue_overflows = queue && self.lost.saturating_mul(50) > all;
        (self.acked, self.lost, self.rtt_round) = (0, 0, Duration::MAX);
        if self.starting && !app_limited {
            let rate = self.rate();
            if rate >= self.plateau_rate.saturating_add(self.plateau_rate / 4) {
                (self.plateau, self.plateau_rate) = (0, rate);
            } else {
                self.plateau = self.plateau.saturating_add(1);
            }
        }
        self.starting &= self.plateau < PLATEAU_ROUNDS && !self.queue_overflows;
    }

    /// Rate × shortest round trip × gain, and what is lost on the way on top.
    fn target(&self) -> usize {
        let Some((rtt, _)) = self.rtt_min else { return self.window };
        let carried = u128::from(self.rate()).saturating_mul(rtt.as_nanos()) / 1_000_000_000;
        let carried = usize::try_from(carried).unwrap_or(usize::MAX);
        if self.queue_overflows {
            return carried.max(self.window_min);
        }
        let arriving = 8usize.saturating_sub(self.loss_eighths.min(4));
        (carried.saturating_mul(3) / 2).saturating_mul(8).checked_div(arriving).unwrap_or(carried).max(self.window_min)
    }
}

impl Congestion for DeliveryRate {
    fn window(&self) -> usize {
        self.window
    }

    fn on_ack(&mut self, now: Instant, len: usize, in_flight: usize, rtt: Option<Duration>, rate: Option<&RateSample>) {
        self.acked = self.acked.saturating_add(len);
        if let Some(rtt) = rtt {
            self.rtt_round = self.rtt_round.min(rtt);
            if self.rtt_min.is_none_or(|(min, at)| rtt <= min || now.since(at) > RTT_MIN_AGE_MAX) {
                self.rtt_min = Some((rtt, now));
            }
        }
        if let Some(sample) = rate {
            let seen = u128::from(sample.delivered).saturating_mul(1_000_000_000).checked_div(sample.interval.as_nanos());
            let seen = seen.and_then(|seen| u64::try_from(seen).ok()).unwrap_or(0);
            // An interval shorter than any round trip is compressed acks, not a rate.
            let whole = self.rtt_min.is_none_or(|(min, _)| sample.interval >= min);
            if whole && (!sample.app_limited || seen > self.rate()) {
                let [newest, _] = &mut self.rates;
                *newest = (*newest).max(seen);
            }
            if sample.prior_delivered >= self.round_end {
                self.round_end = sample.total_delivered;
                self.on_round(sample.app_limited);
            }
        }
        // A window that was not used says nothing about a larger one.
        let used = in_flight.saturating_mul(2) >= self.window;
        if self.starting {
            self.window = if used { self.window.saturating_add(len) } else { self.window };
        } else {
            let target = self.target();
            self.window = if self.window < target && used { self.window.saturating_add(len).min(target) } else { self.window };
            self.window = if self.window > target { target } else { self.window };
        }
    }

    fn on_lost(&mut self, len: usize) {
        self.lost = self.lost.saturating_add(len);
    }

    fn undo(&mut self, len: usize) {
        self.lost = self.lost.saturating_sub(len);
    }
}

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

    /// Rounds of a path that carries `rate` bytes per second, of which `lost` in a thousand do not arrive.
    fn rounds(window: &mut DeliveryRate, rounds: u64, rate: u64, rtt: Duration, lost: usize) {
        let mut now = Instant::from_start(MS * 1_000_000 + MS * u32::try_from(window.round).unwrap());
        let mut total = window.round_end;
        for _ in 0..rounds {
            now = now + rtt;
            let per_rtt = u64::try_from(u128::from(rate) * rtt.as_nanos() / 1_000_000_000).unwrap();
            let arrived = u64::try_from(window.window()).unwrap().min(per_rtt);
            let len = usize::try_from(arrived).unwrap();
            window.on_lost(len * lost / 1_000);
            let sample = RateSample {
                delivered: arrived,
                interval: rtt,
                app_limited: false,
                prior_delivered: total,
                total_delivered: total + arrived,
            };
            total += arrived;
            let in_flight = window.window();
            window.on_ack(now, len, in_flight, Some(rtt), Some(&sample));
        }
    }

    #[test]
    fn the_window_settles_at_one_and_a_half_times_what_the_path_carries() {
        let mut window = DeliveryRate::new(false);
        rounds(&mut window, 60, 10_000_000, 50 * MS, 0);
        let carried = 500_000;
        assert!((carried * 14 / 10..=carried * 16 / 10).contains(&window.window()), "{}", window.window());
    }

    #[test]
    fn random_loss_takes_nothing_and_loss_with_a_queue_takes_the_half() {
        let mut window = DeliveryRate::new(false);
        rounds(&mut window, 60, 10_000_000, 50 * MS, 0);
        let clean = window.window();
        rounds(&mut window, 20, 10_000_000, 50 * MS, 10);
        assert!(window.window() >= clean);
        rounds(&mut window, 3, 10_000_000, 120 * MS, 50);
        assert!(window.window() <= clean * 3 / 4, "{} of {clean}", window.window());
    }

    #[test]
    fn a_loss_that_was_none_is_undone() {
        let (mut told, mut undone) = (DeliveryRate::new(false), DeliveryRate::new(false));
        for window in [&mut told, &mut undone] {
            rounds(window, 60, 10_000_000, 50 * MS, 0);
            window.on_lost(400_000);
        }
        undone.undo(400_000);
        [&mut told, &mut undone].into_iter().for_each(|window| rounds(window, 1, 10_000_000, 120 * MS, 0));
        assert!(told.queue_overflows && !undone.queue_overflows);
        assert!(told.window() < undone.window());
    }

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
