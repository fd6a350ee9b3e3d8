//! When an interface is announced on: the start burst, then the steady beat (protocol, ANNOUNCE). What is
//! said does not live here.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use crate::{clock::Instant, node::interface::Membership};

/// "0 / 80 / 400 / 1,500 / 4,000 ms": when the rounds of a burst are due, from its start.
pub const BURST_ROUNDS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(80),
    Duration::from_millis(400),
    Duration::from_millis(1_500),
    Duration::from_millis(4_000),
];
/// Rounds that agreement does not cut: on a lossy link the first one alone proves little.
pub(super) const BURST_ROUNDS_MIN: usize = 2;
/// The steady beat is never faster than this.
pub const STEADY_INTERVAL_MIN: Duration = Duration::from_secs(15);
/// Bytes per second that all peers of a link together announce at most, on average.
pub const STEADY_BYTES_PER_SECOND: u64 = 1_000;
/// Ethernet, IPv6 and UDP headers: an announce's size on the wire is so much more than its datagram.
pub(super) const HEADERS_LEN: usize = 14 + 40 + 8;
/// A changed interface is announced on within this time: not all machines of a room at once.
pub const CHANGE_DELAY_MAX: Duration = Duration::from_millis(120);
/// Announces heard per second above which bursts are stretched, averaged over `HEARD_WINDOW`.
const HEARD_PER_SECOND_MAX: u32 = 20;
const HEARD_BUCKET: Duration = Duration::from_millis(500);
const HEARD_BUCKETS: usize = 10;
/// A burst is stretched at most this often, so that a flood cannot silence us.
const STRETCH_MAX: u32 = 8;
/// TTL over interval, in halves: 3.5.
const TTL_HALVES: u32 = 7;

/// A uniformly random duration between both, inclusive.
pub(super) fn between(rng: &mut ChaCha20Rng, low: Duration, high: Duration) -> Duration {
    let span = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX - 1);
    low + Duration::from_nanos(rng.next_u64() % (span + 1))
}

/// `interval` · U[0.75, 1.25].
fn jittered(rng: &mut ChaCha20Rng, interval: Duration) -> Duration {
    between(rng, interval * 3 / 4, interval * 5 / 4)
}

/// T(N) before jitter: "max(15 s, N·S / 1,000 B/s)", where each beat sends `copies` announces of `len`
/// bytes.
pub(super) fn steady_interval(peers: u32, len: usize, copies: usize) -> Duration {
    let wire = ((len + HEADERS_LEN) * copies) as u64;
    let millis = u64::from(peers) * wire * 1_000 / STEADY_BYTES_PER_SECOND;
    STEADY_INTERVAL_MIN.max(Duration::from_millis(millis))
}

/// Seconds that go on the wire as TTL: 3.5 intervals, rounded up.
pub(super) fn ttl_seconds(interval: Duration) -> u16 {
    let ttl = interval * TTL_HALVES / 2;
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    u16::try_from(seconds).unwrap_or(u16::MAX)
}

/// Which families a round goes out by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Families {
    pub(super) v4: bool,
    pub(super) v6: bool,
}

impl Families {
    pub(super) const fn any(self) -> bool {
        self.v4 || self.v6
    }

    pub(super) const fn count(self) -> usize {
        self.v4 as usize + self.v6 as usize
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self { v4: self.v4 && other.v4, v6: self.v6 && other.v6 }
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self { v4: self.v4 || other.v4, v6: self.v6 || other.v6 }
    }
}

impl From<&Membership> for Families {
    fn from(member: &Membership) -> Self {
        Self { v4: member.v4, v6: member.v6 }
    }
}

/// How many announces were heard lately.
#[derive(Debug, Default)]
pub(super) struct HeardRate {
    buckets: [u32; HEARD_BUCKETS],
    /// Number of the newest bucket since the clock's start.
    newest: u128,
}

impl HeardRate {
    fn advance(&mut self, now: Instant) {
        let bucket = now.since_start().as_nanos() / HEARD_BUCKET.as_nanos();
        let passed = bucket.saturating_sub(self.newest).min(HEARD_BUCKETS as u128);
        for step in 1..=passed {
            self.buckets[((self.newest + step) % HEARD_BUCKETS as u128) as usize] = 0;
        }
        if passed == HEARD_BUCKETS as u128 {
            self.buckets = [0; HEARD_BUCKETS];
        }
        self.newest = self.newest.max(bucket);
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.advance(now);
        let bucket = &mut self.buckets[(self.newest % HEARD_BUCKETS as u128) as usize];
        *bucket = bucket.saturating_add(1);
    }

    /// By how much a burst is stretched now, in percent: 100 up to 20 announces a second.
    fn stretch_percent(&mut self, now: Instant) -> u32 {
        self.advance(now);
        let heard = self.buckets.iter().fold(0u32, |sum, bucket| sum.saturating_add(*bucket));
        let quiet = HEARD_PER_SECOND_MAX * (HEARD_BUCKETS as u32) / 2;
        (heard.saturating_mul(100) / quiet).clamp(100, STRETCH_MAX * 100)
    }
}

/// What an interface does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Round `round` of a burst is due.
    Burst { start: Instant, round: usize, families: Families },
    /// The next beat is due; by IPv6 where families alternate.
    Steady { v6: bool },
}

/// What is due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A round of a burst, with its number.
    Round(usize, Families),
    /// A steady beat; where families may alternate it is this one's turn.
    Beat { v6: bool },
}

/// One interface's schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) member: Membership,
    phase: Phase,
    due: Instant,
    /// When we spoke here last, and until when that may be believed.
    spoke: Option<(Instant, Instant)>,
}

impl Schedule {
    /// A burst at `start` on all families.
    pub(super) fn new(member: Membership, start: Instant) -> Self {
        let families = Families::from(&member);
        Self { member, phase: Phase::Burst { start, round: 0, families }, due: start, spoke: None }
    }

    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// When we spoke here last; the clock's start where we did not.
    pub(super) fn spoke(&self) -> Instant {
        self.spoke.map_or_else(Instant::default, |(at, _)| at)
    }

    /// The round of a burst that is next, or past all rounds.
    pub(super) const fn round(&self) -> usize {
        match self.phase {
            Phase::Burst { round, .. } => round,
            Phase::Steady { .. } => BURST_ROUNDS.len(),
        }
    }

    /// Starts again on `families`; those of an unfinished burst stay in.
    pub(super) fn burst(&mut self, start: Instant, families: Families) {
        let running = match self.phase {
            Phase::Burst { families, .. } => families,
            Phase::Steady { .. } => Families::default(),
        };
        let families = running.or(families).and(Families::from(&self.member));
        if families.any() {
            self.phase = Phase::Burst { start, round: 0, families };
            self.due = start;
        }
    }

    /// What is due at `now`, if anything. Follow it by `sent` or `settle`.
    pub(super) fn poll(&self, now: Instant) -> Option<Due> {
        (self.due <= now).then_some(match self.phase {
            Phase::Burst { round, families, .. } => Due::Round(round, families),
            Phase::Steady { v6 } => Due::Beat { v6 },
        })
    }

    /// What was due went out: the next is so much later than *now*, however late that was.
    pub(super) fn sent(&mut self, now: Instant, interval: Duration, ttl: Duration, heard: &mut HeardRate, rng: &mut ChaCha20Rng) {
        self.spoke = Some((now, now + ttl));
        match self.phase {
            Phase::Burst { start, round, families } if round + 1 < BURST_ROUNDS.len() => {
                let next = round + 1;
                let after = jittered(rng, BURST_ROUNDS[next]) * heard.stretch_percent(now) / 100;
                self.phase = Phase::Burst { start, round: next, families };
                // A late loop must not make rounds run into each other.
                self.due = (start + after).max(now + BURST_ROUNDS[1] / 2);
            }
            Phase::Burst { .. } => self.settle(now, interval, rng),
            Phase::Steady { v6 } => {
                self.phase = Phase::Steady { v6: !v6 };
                self.due = now + jittered(rng, interval);
            }
        }
    }

    /// Nothing more to say for now: the steady beat from here on.
    pub(super) fn settle(&mut self, now: Instant, interval: Duration, rng: &mut ChaCha20Rng) {
        self.phase = Phase::Steady { v6: rng.next_u32() & 1 == 1 };
        let due = now + jittered(rng, interval);
        // What we said last must not run out before we speak again, nor when that is lost once.
        self.due = self.spoke.map_or(due, |(at, until)| due.min(at + until.since(at) / 2));
    }

    /// There is news about us: the next beat comes at `at` where it would come later.
    pub(super) fn hurry(&mut self, at: Instant) {
        if matches!(self.phase, Phase::Steady { .. }) {
            self.due = self.due.min(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    const MEMBER: Membership = Membership { index: 2, v4: true, v6: true };

    #[test]
    fn a_burst_has_its_rounds_within_a_quarter_and_then_beats() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut heard = HeardRate::default();
        let start = Instant::from_start(Duration::from_secs(5));
        for _ in 0..200 {
            let mut schedule = Schedule::new(MEMBER, start);
            for (round, at) in BURST_ROUNDS.iter().enumerate() {
                let now = schedule.due();
                let after = now.since(start);
                assert!(after >= *at * 3 / 4 && after <= *at * 5 / 4, "round {round} after {after:?}");
                assert_eq!(schedule.poll(now), Some(Due::Round(round, Families { v4: true, v6: true })));
                schedule.sent(now, STEADY_INTERVAL_MIN, Duration::from_secs(53), &mut heard, &mut rng);
            }
            let now = schedule.due();
            let Some(Due::Beat { v6 }) = schedule.poll(now) else { panic!("a beat") };
            schedule.sent(now, STEADY_INTERVAL_MIN, Duration::from_secs(53), &mut heard, &mut rng);
            let gap = schedule.due().since(now);
            assert!(gap >= STEADY_INTERVAL_MIN * 3 / 4 && gap <= STEADY_INTERVAL_MIN * 5 / 4, "{gap:?}");
            assert_eq!(schedule.poll(schedule.due()), Some(Due::Beat { v6: !v6 }), "families alternate");
        }
    }

    #[test]
    fn missed_beats_are_not_replayed() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let mut schedule = Schedule::new(MEMBER, Instant::default());
        schedule.settle(Instant::default(), STEADY_INTERVAL_MIN, &mut rng);
        let late = Instant::from_start(Duration::from_secs(8 * 3_600));
        assert!(schedule.poll(late).is_some());
        schedule.sent(late, STEADY_INTERVAL_MIN, Duration::from_secs(53), &mut HeardRate::default(), &mut rng);
        assert!(schedule.poll(late).is_none());
        assert!(schedule.due() >= late + STEADY_INTERVAL_MIN * 3 / 4);
    }

    #[test]
    fn the_interval_keeps_all_peers_together_below_the_rate() {
        for peers in [2u32, 50, 74, 75, 150, 300, 4_096] {
            let interval = steady_interval(peers, 160, 1);
            let bytes = f64::from(peers) * (160 + HEADERS_LEN) as f64 / interval.as_secs_f64();
            assert!(bytes <= 1_000.1, "{peers}: {bytes} B/s");
            assert!(Duration::from_secs(ttl_seconds(interval).into()) * 2 >= interval * 7);
        }
        assert_eq!(ttl_seconds(STEADY_INTERVAL_MIN), 53, "52.5 s, rounded up");
    }

    #[test]
    fn a_burst_is_stretched_by_what_is_heard() {
        let mut heard = HeardRate::default();
        let second = |s: u64| Instant::from_start(Duration::from_secs(s));
        assert_eq!(heard.stretch_percent(second(0)), 100);
        (0..100).for_each(|_| heard.heard(second(1)));
        assert_eq!(heard.stretch_percent(second(1)), 100, "20 a second over 5 s are not too many");
        (0..200).for_each(|_| heard.heard(second(3)));
        assert_eq!(heard.stretch_percent(second(3)), 300);
        assert_eq!(heard.stretch_percent(second(7)), 200, "the first hundred are forgotten");
        assert_eq!(heard.stretch_percent(second(60)), 100);
        (0..1_000_000).for_each(|_| heard.heard(second(61)));
        assert_eq!(heard.stretch_percent(second(61)), STRETCH_MAX * 100);
    }
}
