//! How much one source may ask of a seed: a table of fixed size, so that whoever comes from many addresses
//! costs no more memory than whoever comes from one. What an answer may weigh is `answers`' affair.

use std::{net::IpAddr, time::Duration};

use super::shards::keyed_hash;
use crate::{clock::Instant, wire::phonebook::RawId};

/// Bytes of the tables of all threads together.
const TABLES_LEN: usize = 16 << 20;
/// Counters in a line, which is what a memory fetches at once.
const LINE_LEN: usize = 8;

/// What one address may cost in a second, of an IPv4 address and of an IPv6 network of one house (/64): a
/// refresh is 1. Behind one address there may be a thousand people, each refreshing every 20 s.
const NEAR_PER_SECOND: u64 = 500;
/// What its surroundings may: /24, /48.
const WIDE_PER_SECOND: u64 = 2_000;
/// Signature checks in a second and core, at most: about half of a core, where they are made in batches.
pub(super) const SIGNATURES_PER_SECOND: u32 = 30_000;
/// Networks (/24, /48) that sent a false signature, remembered for each thread; where two share a place the later
/// one has it.
const SUSPECTS_MAX: usize = 4_096;
/// For so long.
const SUSPECT_FOR: Duration = Duration::from_secs(600);
/// Knocks from one address to one peer in a second.
const KNOCKS_PER_PAIR: u64 = 1;
/// Knocks to one peer in a second.
const KNOCKS_PER_TARGET: u64 = 10;
/// A second in the unit of the counters.
const SECOND: u64 = 1_000_000_000;
/// For so long a source may be ahead of its rate.
const AHEAD_MAX: u64 = 2 * SECOND;
/// Likewise for signature checks: as much as may delay everybody else.
const SIGNATURES_AHEAD_MAX: Duration = Duration::from_millis(100);

/// Counts, by the time at which each count is paid off (the GCRA of ATM): one number a count, and nothing to
/// do as time passes.
pub(super) struct Limiter {
    /// Each source has two counters of one line and is believed the lower: whoever shares one of them with
    /// a loud neighbour is not silenced for it.
    lines: Box<[[u64; LINE_LEN]]>,
    /// When the signature checks are paid off.
    signatures: Instant,
    /// Until when a network is kept apart.
    suspects: Box<[Instant]>,
    hash_key: [u8; 16],
    /// Threads among which a source's queries are spread.
    cores: u64,
}

/// Two counters, and by how many nanoseconds they run.
struct Count {
    line: usize,
    counters: [usize; 2],
    step: u64,
}

impl Limiter {
    /// One thread's part of `cores`.
    pub(super) fn new(cores: u32, hash_key: [u8; 16]) -> Self {
        let cores = cores.max(1);
        let lines = TABLES_LEN / (LINE_LEN * 8) / cores as usize;
        Self {
            lines: vec![[0; LINE_LEN]; lines.max(1)].into_boxed_slice(),
            signatures: Instant::default(),
            suspects: vec![Instant::default(); SUSPECTS_MAX].into_boxed_slice(),
            hash_key,
            cores: cores.into(),
        }
    }

    /// Counts a query of `source` that costs as much as `cost` refreshes. Errors with the time to wait, and
    /// then nothing was counted.
    pub(super) fn count_query(&mut self, now: Instant, source: IpAddr, cost: u32) -> Result<(), Duration> {
        let (near, wide) = match source {
            IpAddr::V4(v4) => (self.key(b"4", &v4.octets()), self.key(b"w", &v4.octets()[..3])),
            IpAddr::V6(v6) => (self.key(b"6", &v6.octets()[..8]), self.key(b"W", &v6.octets()[..6])),
        };
        let times = self.cores * u64::from(cost);
        let near = self.count(near, times * (SECOND / NEAR_PER_SECOND));
        let wide = self.count(wide, times * (SECOND / WIDE_PER_SECOND));
        self.pay(now, [near, wide])
    }

    /// `source` sent a false signature: what comes from there is kept apart for a while. Its neighbours are, too, and
    /// lose nothing by it.
    pub(super) fn suspect(&mut self, now: Instant, source: IpAddr) {
        let place = self.suspect_place(source);
        self.suspects[place] = now + SUSPECT_FOR;
    }

    /// True of a source, or one that shares its place, that sent a false signature not long ago.
    pub(super) fn is_suspect(&self, now: Instant, source: IpAddr) -> bool {
        now < self.suspects[self.suspect_place(source)]
    }

    fn suspect_place(&self, source: IpAddr) -> usize {
        let hash = match source {
            IpAddr::V4(v4) => self.key(b"s", &v4.octets()[..3]),
            IpAddr::V6(v6) => self.key(b"S", &v6.octets()[..6]),
        };
        hash as usize % SUSPECTS_MAX
    }

    /// Counts a knock of `source` at `target`'s door.
    pub(super) fn count_knock(&mut self, now: Instant, source: IpAddr, target: &RawId) -> Result<(), Duration> {
        let key = match source {
            IpAddr::V4(v4) => keyed_hash(&self.hash_key, &[b"k", target, &v4.octets()]),
            IpAddr::V6(v6) => keyed_hash(&self.hash_key, &[b"k", target, &v6.octets()[..8]]),
        };
        let pair = self.count(key, SECOND / KNOCKS_PER_PAIR);
        let door = self.count(self.key(b"d", target), self.cores * (SECOND / KNOCKS_PER_TARGET));
        self.pay(now, [pair, door])
    }

    /// Counts a signature check that costs as much as so many in a batch.
    pub(super) fn count_signature(&mut self, now: Instant, cost: u32) -> Result<(), Duration> {
        let ahead = self.signatures.since(now);
        if ahead > SIGNATURES_AHEAD_MAX {
            return Err(ahead);
        }
        self.add_signatures(now, cost);
        Ok(())
    }

    /// Counts checks that nobody asks whether there is time for.
    pub(super) fn add_signatures(&mut self, now: Instant, checks: u32) {
        self.signatures = self.signatures.max(now) + Duration::from_secs(1) / SIGNATURES_PER_SECOND * checks;
    }

    fn key(&self, domain: &[u8], bytes: &[u8]) -> u64 {
        keyed_hash(&self.hash_key, &[domain, bytes])
    }

    fn count(&self, hash: u64, step: u64) -> Count {
        // The high bits choose a line, evenly and without a division; the low ones choose counters.
        let line = (u128::from(hash) * self.lines.len() as u128) >> 64;
        Count { line: line as usize, counters: [hash as usize % LINE_LEN, (hash >> 3) as usize % LINE_LEN], step }
    }

    /// Counts both or none.
    fn pay(&mut self, now: Instant, counts: [Count; 2]) -> Result<(), Duration> {
        let now = u64::try_from(now.since_start().as_nanos()).unwrap_or(u64::MAX);
        let paid_off = counts.each_ref().map(|count| {
            let line = &self.lines[count.line];
            count.counters.map(|counter| line[counter]).into_iter().min().unwrap_or(0)
        });
        let ahead = paid_off.into_iter().max().unwrap_or(0).saturating_sub(now);
        if ahead > AHEAD_MAX {
            return Err(Duration::from_nanos(ahead - AHEAD_MAX));
        }
        for (count, paid_off) in counts.iter().zip(paid_off) {
            let paid_off = paid_off.max(now).saturating_add(count.step);
            for counter in count.counters {
                let counter = &mut self.lines[count.line][counter];
                *counter = paid_off.max(*counter);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_start(Duration::from_millis(ms))
    }

    fn v4(a: u8, b: u8) -> IpAddr {
        IpAddr::from([203, 0, a, b])
    }

    /// How many queries of `source` pass at `now`.
    fn passing(limiter: &mut Limiter, now: Instant, source: IpAddr) -> u64 {
        (0..100_000).take_while(|_| limiter.count_query(now, source, 1).is_ok()).count() as u64
    }

    #[test]
    fn a_source_has_its_rate_and_its_surroundings_theirs() {
        let mut limiter = Limiter::new(1, [5; 16]);
        assert_eq!(passing(&mut limiter, at(10_000), v4(113, 1)), 2 * NEAR_PER_SECOND + 1);
        assert_eq!(passing(&mut limiter, at(10_000), v4(113, 1)), 0);
        assert_eq!(passing(&mut limiter, at(11_000), v4(113, 1)), NEAR_PER_SECOND);
        assert_eq!(passing(&mut limiter, at(11_000), v4(114, 1)), 2 * NEAR_PER_SECOND + 1, "another network");
        let near: u64 = (2..50).map(|last| passing(&mut limiter, at(11_000), v4(113, last))).sum();
        assert!((WIDE_PER_SECOND..2 * WIDE_PER_SECOND).contains(&near), "a whole /24 asked {near}");
        let house = |last| IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, last]);
        let one = passing(&mut limiter, at(11_000), house(1));
        assert_eq!((one, passing(&mut limiter, at(11_000), house(2))), (2 * NEAR_PER_SECOND + 1, 0), "one /64 is one source");
    }

    #[test]
    fn many_sources_share_a_table_of_one_size() {
        let mut limiter = Limiter::new(4, [5; 16]);
        let len = limiter.lines.len();
        for source in 0..200_000_u32 {
            // Each in a /24 of its own.
            assert_eq!(limiter.count_query(at(1_000), IpAddr::from((source << 8).to_be_bytes()), 1), Ok(()));
        }
        assert_eq!(limiter.lines.len(), len);
        assert!(len * LINE_LEN * 8 * 4 <= TABLES_LEN);
    }

    #[test]
    fn what_is_dearer_counts_for_more_and_a_core_is_a_part() {
        let mut limiter = Limiter::new(4, [5; 16]);
        let passing = (0..10_000).take_while(|_| limiter.count_query(at(1_000), v4(113, 1), 5).is_ok()).count();
        assert_eq!(passing as u64, 2 * NEAR_PER_SECOND / 4 / 5 + 1);
    }

    #[test]
    fn doors_are_knocked_at_now_and_then() {
        let mut limiter = Limiter::new(1, [5; 16]);
        let (alice, bob) = ([1; 32], [2; 32]);
        let mut knock = |now, last, target: &RawId| limiter.count_knock(now, v4(113, last), target);
        let first: Vec<_> = (0..5).map(|_| knock(at(1_000), 1, &alice).is_ok()).collect();
        assert_eq!(first, [true, true, true, false, false]);
        assert!(knock(at(1_000), 1, &bob).is_ok() && knock(at(1_000), 2, &alice).is_ok(), "others are not meant");
        assert!(knock(at(2_000), 1, &alice).is_ok());
        let all = (3..100).filter(|last| knock(at(2_000), *last, &alice).is_ok()).count();
        assert!(all <= 3 * KNOCKS_PER_TARGET as usize, "{all} at one door");
    }

    #[test]
    fn signatures_have_a_budget() {
        let mut limiter = Limiter::new(1, [5; 16]);
        let mut checked = 0;
        for ms in 1_000..3_000 {
            while limiter.count_signature(at(ms), 1).is_ok() {
                checked += 1;
            }
        }
        assert!(
            (2 * SIGNATURES_PER_SECOND..=2 * SIGNATURES_PER_SECOND + SIGNATURES_PER_SECOND / 9).contains(&checked),
            "{checked}"
        );
    }
}
