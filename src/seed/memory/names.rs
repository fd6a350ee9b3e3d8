//! Which records claim a name, and which are listed: places, in the order in which they are asked for.
//! A place is only a hint; whoever follows it looks whether the record still says so.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use super::{packed::Tick, people::Place};
use crate::wire::phonebook::RawId;

/// Records of one name that are found by it, at most: the newest. Anybody may take any name any number of
/// times, and each claim costs its search.
pub(super) const CLAIMS_MAX: usize = 32;

/// One shard of the names: hash of network and key, newest first.
#[derive(Default)]
pub(super) struct Names(BTreeSet<(u32, Reverse<Tick>, Place)>);

impl Names {
    pub(super) fn insert(&mut self, hash: u32, now: Tick, place: Place) {
        let oldest = self.claims(hash).nth(CLAIMS_MAX - 1);
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
        self.0.insert((hash, Reverse(now), place));
    }

    pub(super) fn remove(&mut self, hash: u32, place: Place) {
        let claim = self.claims(hash).find(|claim| claim.2 == place);
        if let Some(claim) = claim {
            self.0.remove(&claim);
        }
    }

    /// Where records of that name are, the newest first; now and then one of another.
    pub(super) fn places(&self, hash: u32) -> Vec<Place> {
        self.claims(hash).map(|(_, _, place)| place).collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn claims(&self, hash: u32) -> impl Iterator<Item = (u32, Reverse<Tick>, Place)> + '_ {
        let ends = (hash, Reverse(Tick::MAX), Place::new(0, 0))..=(hash, Reverse(0), Place::new(u8::MAX, 0x00ff_ffff));
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
pub(super) struct Lists(BTreeMap<Line, Place>);

impl Lists {
    pub(super) fn insert(&mut self, line: Line, place: Place) {
        self.0.insert(line, place);
    }

    pub(super) fn remove(&mut self, line: &Line) {
        self.0.remove(line);
    }

    /// At most `max` lines of the network whose keys begin with `prefix`.
    pub(super) fn lines(&self, from: Bound<Line>, network: &[u8; 8], prefix: &str, max: usize) -> Vec<(Line, Place)> {
        self.0
            .range((from, Bound::Unbounded))
            .take_while(|(line, _)| line.network == *network && line.key.starts_with(prefix))
            .take(max)
            .map(|(line, place)| (line.clone(), *place))
            .collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
