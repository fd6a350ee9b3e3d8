//! Which records have a name, and which are listed: seats and ids, in the order in which they are asked for.
//! Both are only hints; whoever follows them looks whether the record still says so.

use std::{cmp::Reverse, collections::BTreeSet, ops::Bound};

use super::{packed::Tick, people::Seat};
use crate::wire::phonebook::RawId;

/// Records of one name that are found by it, at most: the newest. Anybody may take any name any number of
/// times, and each of them costs a search.
pub(super) const NAMESAKES_MAX: usize = 32;

/// One shard of the names: hash of network and key, newest first.
#[derive(Default)]
pub(super) struct Names(BTreeSet<(u32, Reverse<Tick>, Seat)>);

impl Names {
    pub(super) fn insert(&mut self, hash: u32, now: Tick, seat: Seat) {
        let oldest = self.namesakes(hash).nth(NAMESAKES_MAX - 1);
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
        self.0.insert((hash, Reverse(now), seat));
    }

    pub(super) fn remove(&mut self, hash: u32, seat: Seat) {
        let known = self.namesakes(hash).find(|(_, _, known)| *known == seat);
        if let Some(known) = known {
            self.0.remove(&known);
        }
    }

    /// Where records of that name are, the newest first; now and then one of another.
    pub(super) fn seats(&self, hash: u32) -> Vec<Seat> {
        self.namesakes(hash).map(|(_, _, seat)| seat).collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn namesakes(&self, hash: u32) -> impl Iterator<Item = (u32, Reverse<Tick>, Seat)> + '_ {
        let ends = (hash, Reverse(Tick::MAX), Seat::MIN)..=(hash, Reverse(0), Seat::MAX);
        self.0.range(ends).copied()
    }
}

/// A listed record in the order of lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) network: [u8; 8],
    pub(super) key: Box<str>,
    pub(super) id: RawId,
}

/// One shard of the lists.
#[derive(Default)]
pub(super) struct Lists(BTreeSet<Line>);

impl Lists {
    pub(super) fn insert(&mut self, line: Line) {
        self.0.insert(line);
    }

    pub(super) fn remove(&mut self, line: &Line) {
        self.0.remove(line);
    }

    /// At most `max` lines of the network whose keys begin with `prefix`.
    pub(super) fn lines(&self, from: Bound<Line>, network: &[u8; 8], prefix: &str, max: usize) -> Vec<Line> {
        self.0
            .range((from, Bound::Unbounded))
            .take_while(|line| line.network == *network && line.key.starts_with(prefix))
            .take(max)
            .cloned()
            .collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
