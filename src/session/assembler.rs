//! Messages on their way in: fragments joined, each message once, and the credit that bounds what a peer
//! can make us hold. What a message means lives in `node`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    outgoing::{CREDIT_FIRST, Lane, NUMBERS_AHEAD_MAX, PARTIALS_MAX, lane_of},
    ranges::Ranges,
};
use crate::clock::Instant;

/// Credit of a peer that uses more than what every session begins with (protocol, PACKETS).
pub const CREDIT_FULL: u64 = 2 << 20;
/// Credit of a fast flow at most.
pub const CREDIT_MAX: u64 = 8 << 20;
const WORD_BITS: u64 = 64;
/// Words that a lane without holes keeps room for.
const WORDS_KEPT: usize = 16;

/// The peer broke a rule: more than its credit, too many messages at once, fragments that do not fit
/// together. The session closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation;

/// What became of a message or fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It was there already.
    Duplicate,
    /// More of the message must come.
    Partly,
    /// The message is whole.
    Whole(Vec<u8>),
}

/// Places of one lane that have arrived whole: all below a base, and a bit each above it.
#[derive(Debug, Default)]
struct Arrived {
    /// Multiple of [`WORD_BITS`].
    base: u64,
    words: VecDeque<u64>,
}

impl Arrived {
    fn at(&self, place: u64) -> Option<(usize, u64)> {
        let ahead = place.checked_sub(self.base)?;
        Some((usize::try_from(ahead / WORD_BITS).ok()?, 1 << (ahead % WORD_BITS)))
    }

    fn contains(&self, place: u64) -> bool {
        self.at(place).is_none_or(|(word, bit)| self.words.get(word).is_some_and(|word| word & bit != 0))
    }

    /// The caller has looked that `place` is not too far ahead.
    fn insert(&mut self, place: u64) {
        let Some((at, bit)) = self.at(place) else { return };
        if at >= self.words.len() {
            self.words.resize(at.saturating_add(1), 0);
        }
        self.words.get_mut(at).into_iter().for_each(|word| *word |= bit);
        while self.words.front() == Some(&u64::MAX) {
            self.words.pop_front();
            self.base = self.base.saturating_add(WORD_BITS);
        }
        if self.words.is_empty() && self.words.capacity() > WORDS_KEPT {
            self.words = VecDeque::new();
        }
    }
}

/// A message of which fragments have come.
#[derive(Debug)]
struct Partial {
    total: u32,
    have: Ranges,
    /// Up to the end of what came; zeros where something is missing.
    bytes: Vec<u8>,
}

impl Partial {
    fn new(total: u32) -> Self {
        // Nothing is reserved: what comes is granted, what is claimed is not.
        Self { total, have: Ranges::default(), bytes: Vec::new() }
    }

    /// Bytes that the peer must have sent in all for what is here: fragments are first sent in order.
    fn reach(&self) -> usize {
        self.bytes.len()
    }

    /// `false`: it was there already.
    fn insert(&mut self, offset: u32, bytes: &[u8]) -> bool {
        let end = offset.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        if self.have.insert(offset, end) == 0 {
            return false;
        }
        let (start, end) = (usize::try_from(offset).unwrap_or(usize::MAX), usize::try_from(end).unwrap_or(usize::MAX));
        if start == self.bytes.len() {
            self.bytes.extend_from_slice(bytes);
            return true;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes.get_mut(start..end).into_iter().for_each(|place| place.copy_from_slice(bytes));
        true
    }
}

/// Everything that has come and is not whole yet, what was whole, and the peer's credit.
#[derive(Debug)]
pub(super) struct Assembler {
    control: Arrived,
    message: Arrived,
    partials: BTreeMap<u64, Partial>,
    /// Message bytes that the peer has used of its credit.
    used: u64,
    /// Message bytes that the peer may use in all, as it was told.
    limit: u64,
    /// Message bytes that the owner is done with.
    consumed: u64,
    /// How far the limit runs ahead of what is consumed.
    window: u64,
    /// All of a full window was used within two round trips.
    is_fast: bool,
    /// Where growth is measured from.
    measured: (u64, Instant),
    limit_due: bool,
}

impl Assembler {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            control: Arrived::default(),
            message: Arrived::default(),
            partials: BTreeMap::new(),
            used: 0,
            limit: CREDIT_FIRST,
            consumed: 0,
            window: CREDIT_FIRST,
            is_fast: false,
            measured: (0, now),
            limit_due: false,
        }
    }

    fn arrived(&mut self, lane: Lane) -> &mut Arrived {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Message => &mut self.message,
        }
    }

    /// The lane and place of a number that may come now.
    fn place(&mut self, n: u64) -> Result<(Lane, u64), Violation> {
        let (lane, place) = lane_of(n).ok_or(Violation)?;
        let ahead = place.saturating_sub(self.arrived(lane).base);
        // Our base may lag a word behind the peer's, never more.
        if ahead < NUMBERS_AHEAD_MAX.saturating_add(WORD_BITS) { Ok((lane, place)) } else { Err(Violation) }
    }

    fn charge(&mut self, len: usize) -> Result<(), Violation> {
        let used = self.used.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if used > self.limit {
            return Err(Violation);
        }
        self.used = used;
        Ok(())
    }

    /// A whole message came.
    pub(super) fn insert_message(&mut self, n: u64, bytes: &[u8]) -> Result<Inserted, Violation> {
        let (lane, place) = self.place(n)?;
        if self.arrived(lane).contains(place) {
            return Ok(Inserted::Duplicate);
        }
        if bytes.is_empty() || self.partials.contains_key(&n) {
            return Err(Violation);
        }
        self.charge(bytes.len())?;
        self.arrived(lane).insert(place);
        Ok(Inserted::Whole(bytes.to_vec()))
    }

    /// A fragment came; wire has looked at its own limits. The same bytes may come again otherwise cut, since a path may
    /// carry less than before.
    pub(super) fn insert(&mut self, n: u64, offset: u32, total: u32, bytes: &[u8]) -> Result<Inserted, Violation> {
        let (lane, place) = self.place(n)?;
        if self.arrived(lane).contains(place) {
            return Ok(Inserted::Duplicate);
        }
        if !self.partials.contains_key(&n) && self.partials.len() >= PARTIALS_MAX {
            return Err(Violation);
        }
        let partial = self.partials.entry(n).or_insert_with(|| Partial::new(total));
        // Looked at before anything is stored: what would be held must be granted.
        let end = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(bytes.len());
        let (before, room) = (partial.reach(), self.limit.saturating_sub(self.used));
        if partial.total != total || end.saturating_sub(before) > usize::try_from(room).unwrap_or(usize::MAX) {
            return Err(Violation);
        }
        if !partial.insert(offset, bytes) {
            return Ok(Inserted::Duplicate);
        }
        let (after, whole) = (partial.reach(), partial.have.is_whole(total));
        self.charge(after.saturating_sub(before))?;
        if !whole {
            return Ok(Inserted::Partly);
        }
        self.arrived(lane).insert(place);
        Ok(self.partials.remove(&n).map_or(Inserted::Duplicate, |partial| Inserted::Whole(partial.bytes)))
    }

    /// How far the limit runs ahead of what is consumed.
    pub(super) const fn window(&self) -> u64 {
        self.window
    }

    /// The window that the peer would make use of, where this one limits it.
    pub(super) fn wanted(&self) -> Option<u64> {
        let is_short = self.limit.saturating_sub(self.used) < self.window / 2;
        if self.window < CREDIT_FULL {
            return is_short.then_some(CREDIT_FULL);
        }
        (self.is_fast && self.window < CREDIT_MAX).then(|| self.window.saturating_mul(2).min(CREDIT_MAX))
    }

    /// The peer may have more under way from now on; never less.
    pub(super) fn grant(&mut self, window: u64) {
        self.limit_due |= self.window < window;
        self.window = self.window.max(window);
        self.is_fast = false;
    }

    /// Nothing is received any more: what is not whole will never be.
    pub(super) fn end(&mut self) {
        self.partials = BTreeMap::new();
    }

    /// The owner is done with `len` bytes.
    pub(super) fn on_consumed(&mut self, len: usize) {
        self.consumed = self.consumed.saturating_add(u64::try_from(len).unwrap_or(u64::MAX)).min(self.used);
    }

    /// True where [`next_limit`](Self::next_limit) has something to say.
    pub(super) fn is_limit_due(&self) -> bool {
        let ahead = self.consumed.saturating_add(self.window).saturating_sub(self.limit);
        self.limit_due || ahead >= self.window / 4
    }

    /// The limit to tell the peer now.
    pub(super) fn next_limit(&mut self, now: Instant, rtt: Duration) -> u64 {
        // A window that was used up within two round trips is what limits the peer.
        let (from, since) = self.measured;
        if self.consumed.saturating_sub(from) >= self.window {
            self.is_fast = now.since(since) < rtt.saturating_mul(2);
            self.measured = (self.consumed, now);
        }
        self.limit_due = false;
        self.limit = self.limit.max(self.consumed.saturating_add(self.window));
        self.limit
    }

    /// The packet with the newest limit was lost.
    pub(super) fn on_limit_lost(&mut self) {
        self.limit_due = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assembler(window: u64) -> Assembler {
        let mut assembler = Assembler::new(Instant::default());
        assembler.grant(window);
        assembler.next_limit(Instant::default(), Duration::ZERO);
        assembler
    }

    proptest! {
        /// Fragments of several messages in any order, some twice, some cut otherwise the second time: each message comes
        /// out once, as it was.
        #[test]
        fn messages_come_out_once_and_as_they_were(
            lens in proptest::collection::vec((1usize..9_000, 1usize..300, 1usize..300), 1..8),
            order in proptest::collection::vec(any::<u32>(), 400),
        ) {
            let mut assembler = assembler(1 << 20);
            let mut pieces = Vec::new();
            let mut messages = Vec::new();
            for (i, &(whole, len, other_len)) in lens.iter().enumerate() {
                let n = u64::try_from(i).unwrap() * 4 + 1;
                let bytes: Vec<u8> = (0..whole).map(|at| u8::try_from((at * 31 + i * 7) % 251).unwrap()).collect();
                let total = u32::try_from(whole).unwrap();
                for (len, part) in [(len, 1), (other_len, 4)] {
                    for (index, piece) in bytes.chunks(len).enumerate().filter(|(index, _)| index % part == 0) {
                        pieces.push((n, u32::try_from(index * len).unwrap(), total, piece.to_vec()));
                    }
                }
                messages.push((n, bytes));
            }
            let mut keyed: Vec<_> = pieces.into_iter().enumerate().collect();
            keyed.sort_by_key(|(i, _)| order.get(*i % order.len()).copied());
            let mut out = Vec::new();
            for (_, (n, offset, total, piece)) in keyed {
                if let Inserted::Whole(bytes) = assembler.insert(n, offset, total, &piece).unwrap() {
                    out.push((n, bytes));
                }
            }
            out.sort();
            prop_assert_eq!(&out, &messages);
            let all: usize = messages.iter().map(|(_, bytes)| bytes.len()).sum();
            prop_assert_eq!(assembler.used, u64::try_from(all).unwrap(), "credit is counted once, in message bytes");
            prop_assert!(assembler.partials.is_empty());
        }

        /// Whatever comes, what is held is granted.
        #[test]
        fn what_is_held_is_never_more_than_the_credit(
            frames in proptest::collection::vec((0u64..600, 0u32..100_000, 1u32..100_000, 1usize..1_200), 1..300),
        ) {
            let mut assembler = assembler(64 << 10);
            for (n, offset, behind, len) in frames {
                let total = offset + u32::try_from(len).unwrap() + behind;
                if assembler.insert(n * 4 + 1, offset, total, &vec![0; len]).is_err() {
                    break;
                }
                let held: usize = assembler.partials.values().map(|partial| partial.bytes.len()).sum();
                prop_assert!(held <= 64 << 10);
                let allocated: usize = assembler.partials.values().map(|partial| partial.bytes.capacity()).sum();
                prop_assert!(allocated <= 2 * (64 << 10), "a vector doubles");
                prop_assert!(assembler.partials.len() <= PARTIALS_MAX);
            }
        }

        #[test]
        fn arrived_agrees_with_a_set(places in proptest::collection::vec(0u64..400, 1..600)) {
            let (mut arrived, mut set) = (Arrived::default(), std::collections::BTreeSet::new());
            for place in places {
                prop_assert_eq!(arrived.contains(place), set.contains(&place));
                arrived.insert(place);
                set.insert(place);
                prop_assert!(arrived.contains(place));
            }
        }
    }

    #[test]
    fn credit_follows_what_is_consumed() {
        let mut assembler = Assembler::new(Instant::default());
        assert!(!assembler.is_limit_due(), "4 KiB need no frame");
        assert_eq!(assembler.wanted(), None);
        assembler.insert_message(5, &[0; 2_049]).unwrap();
        assert_eq!(assembler.wanted(), Some(CREDIT_FULL), "what was not consumed is in the way");
        assembler.on_consumed(2_049);
        assembler.grant(CREDIT_FULL);
        assert_eq!(assembler.wanted(), None);
        assert!(assembler.is_limit_due());
        assert_eq!(assembler.next_limit(Instant::default(), Duration::ZERO), 2_049 + (2 << 20));
        assembler.insert_message(1, &[0; 1_000]).unwrap();
        assembler.on_consumed(1_000);
        assert!(!assembler.is_limit_due(), "a quarter of the window must be free first");
        assembler.on_consumed(usize::MAX);
        assert_eq!(assembler.consumed, 3_049, "no more than came");
    }
}
