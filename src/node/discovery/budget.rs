//! Whose signature is worth checking, and who is answered how often: buckets that fill with time. A
//! flood of fakes must cost bounded work and must not hide a real peer (3,000 signature checks a second;
//! known ids first, then remembered sources, then whoever comes while there is something left).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use crate::clock::Instant;

/// Signatures checked per second at most; past it announces are dropped unread.
pub const SIGNATURES_PER_SECOND_MAX: u32 = 3_000;
/// Of these for ids that are known: whoever claims to be one of them cannot spend everything.
const KNOWN_PER_SECOND_MAX: u32 = 1_500;
/// Checks that may be made at once after a quiet time.
const SIGNATURES_AT_ONCE_MAX: u32 = 1_000;
/// Checks per second for unknown ids from one source, and at once; people who share a machine fit.
const SOURCE_PER_SECOND_MAX: u32 = 32;
const SOURCE_AT_ONCE_MAX: u32 = 64;
/// Sources remembered; past it the one heard from longest ago is forgotten.
const SOURCES_MAX: usize = 4_096;
/// What a class leaves in the bucket for those before it.
const RESERVE_PROVEN: u32 = 300;
const RESERVE_WAITING: u32 = 450;
const RESERVE_NEW: u32 = 600;
/// What the class of bad sources may draw: one check a second each.
const BAD_PAUSE: Duration = Duration::from_secs(1);

/// Tokens that come back with time.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Nanoseconds that one token takes to come back.
    interval: u64,
    /// Tokens at most.
    capacity: u32,
    /// What is there, in nanoseconds of coming back.
    credit: u64,
    /// When `credit` was true.
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) const fn new(per_second: u32, capacity: u32, now: Instant) -> Self {
        let interval = 1_000_000_000 / per_second as u64;
        Self { interval, capacity, credit: interval * capacity as u64, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let gained = u64::try_from(now.since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.credit = self.credit.saturating_add(gained).min(self.interval * u64::from(self.capacity));
        self.at = self.at.max(now);
    }

    /// Takes one token where more than `reserve` are there.
    pub(super) fn take(&mut self, now: Instant, reserve: u32) -> bool {
        self.refill(now);
        let enough = self.credit >= self.interval * (u64::from(reserve) + 1);
        if enough {
            self.credit -= self.interval;
        }
        enough
    }
}

/// Who asks to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// An id that is a contact, is here, or is ours.
    Known,
    /// Whoever it is: it echoes a nonce of ours.
    Asked,
    /// Anybody else.
    Unknown,
}

/// What a source has shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Dropped for want of budget, never checked: real peers repeat themselves, so it goes first.
    Waiting,
    /// Its last checked announce was good.
    Proven,
    /// Its last checked announce was not.
    Bad(Instant),
}

#[derive(Debug)]
struct Source {
    standing: Standing,
    bucket: Bucket,
    last: Instant,
}

/// The signature budget.
#[derive(Debug)]
pub(super) struct Budget {
    all: Bucket,
    known: Bucket,
    sources: BTreeMap<IpAddr, Source>,
    /// Sources by when they were heard last, for forgetting.
    by_age: BTreeSet<(Instant, IpAddr)>,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            all: Bucket::new(SIGNATURES_PER_SECOND_MAX, SIGNATURES_AT_ONCE_MAX, now),
            known: Bucket::new(KNOWN_PER_SECOND_MAX, SIGNATURES_AT_ONCE_MAX / 2, now),
            sources: BTreeMap::new(),
            by_age: BTreeSet::new(),
        }
    }

    /// A contact was reached at this address: it is a remembered source.
    pub(super) fn remember(&mut self, now: Instant, source: IpAddr) {
        self.source(now, source).standing = Standing::Proven;
    }

    /// True where an announce with this claim from `source` may be checked; it has been paid for then.
    pub(super) fn take(&mut self, now: Instant, claim: Claim, source: IpAddr) -> bool {
        let reserve = match claim {
            Claim::Known => return self.known.take(now, 0) && self.all.take(now, 0),
            Claim::Asked => RESERVE_PROVEN / 2,
            Claim::Unknown => match self.sources.get(&source).map(|source| source.standing) {
                Some(Standing::Proven) => RESERVE_PROVEN,
                Some(Standing::Waiting) => RESERVE_WAITING,
                Some(Standing::Bad(since)) if now.since(since) < BAD_PAUSE => return false,
                Some(Standing::Bad(_)) | None => RESERVE_NEW,
            },
        };
        let entry = self.source(now, source);
        entry.bucket.take(now, 0) && self.all.take(now, reserve)
    }

    /// How the check of an announce from `source` came out.
    pub(super) fn judge(&mut self, now: Instant, source: IpAddr, good: bool) {
        let entry = self.source(now, source);
        // A good word of the past is not undone by fakes in its name.
        if good {
            entry.standing = Standing::Proven;
        } else if entry.standing != Standing::Proven {
            entry.standing = Standing::Bad(now);
        }
    }

    fn source(&mut self, now: Instant, source: IpAddr) -> &mut Source {
        if let Some(entry) = self.sources.get(&source) {
            self.by_age.remove(&(entry.last, source));
        } else if self.sources.len() >= SOURCES_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.sources.remove(&oldest);
        }
        self.by_age.insert((now, source));
        let entry = self.sources.entry(source).or_insert_with(|| Source {
            standing: Standing::Waiting,
            bucket: Bucket::new(SOURCE_PER_SECOND_MAX, SOURCE_AT_ONCE_MAX, now),
            last: now,
        });
        entry.last = now;
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_start(Duration::from_secs(100));

    fn at(ms: u64) -> Instant {
        START + Duration::from_millis(ms)
    }

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    #[test]
    fn no_second_sees_more_checks_than_promised() {
        let mut budget = Budget::new(START);
        let mut taken = 0;
        // 20 k/s of new sources, each heard once, for ten seconds.
        for n in 0..200_000u32 {
            let now = START + Duration::from_micros(u64::from(n) * 50);
            taken += u32::from(budget.take(now, Claim::Unknown, ip(n)));
        }
        assert!(taken <= 10 * SIGNATURES_PER_SECOND_MAX + SIGNATURES_AT_ONCE_MAX, "{taken}");
        assert!(taken >= 9 * SIGNATURES_PER_SECOND_MAX, "the budget is there to be used: {taken}");
        assert!(budget.sources.len() <= SOURCES_MAX && budget.by_age.len() == budget.sources.len());
    }

    #[test]
    fn known_ids_get_through_a_flood() {
        let mut budget = Budget::new(START);
        for n in 0..50_000u32 {
            let now = START + Duration::from_micros(u64::from(n) * 100);
            budget.take(now, Claim::Unknown, ip(n));
            if n % 1_000 == 999 {
                assert!(budget.take(now, Claim::Known, ip(1 << 20)), "at {n}");
                assert!(budget.take(now, Claim::Asked, ip((1 << 20) + 1)), "at {n}");
            }
        }
    }

    #[test]
    fn one_source_cannot_spend_everything() {
        let mut budget = Budget::new(START);
        let taken: u32 = (0..10_000u32)
            .map(|n| u32::from(budget.take(START + Duration::from_micros(u64::from(n) * 100), Claim::Unknown, ip(1))))
            .sum();
        assert!(taken <= SOURCE_AT_ONCE_MAX + SOURCE_PER_SECOND_MAX, "{taken}");
        assert!(budget.take(at(1_000), Claim::Unknown, ip(2)));
    }

    #[test]
    fn a_source_that_lied_waits_and_one_that_did_not_is_not_blamed_for_fakes() {
        let mut budget = Budget::new(START);
        budget.judge(at(0), ip(1), false);
        assert!(!budget.take(at(999), Claim::Unknown, ip(1)));
        assert!(budget.take(at(1_001), Claim::Unknown, ip(1)));
        budget.judge(at(0), ip(2), true);
        budget.judge(at(1), ip(2), false);
        assert!(budget.take(at(2), Claim::Unknown, ip(2)));
    }
}
