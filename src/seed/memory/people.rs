//! One shard of the records, each at the seat that its id gives it. Nothing here knows names.

use hashbrown::HashTable;

use super::packed::{Packed, Tick};
use crate::wire::phonebook::RawId;

/// Where a record lies: 32 bits of its id's hash. Another may lie there too, or later, so who kept a seat looks
/// whether what is there is what was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat(u32);

impl Seat {
    pub(super) const MIN: Self = Self(0);
    pub(super) const MAX: Self = Self(u32::MAX);

    /// The seat of an id with this hash.
    pub(super) const fn new(hash: u64) -> Self {
        Self(hash as u32)
    }

    pub(super) const fn shard(self) -> usize {
        (self.0 >> 24) as usize
    }

    /// As tables want it: the high bits, by which they tell apart what lies together, are of all the others.
    const fn hash(self) -> u64 {
        (self.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The records of one shard.
#[derive(Default)]
pub(super) struct People(HashTable<Packed>);

impl People {
    /// The record of `id`, whose seat this is.
    pub(super) fn get(&mut self, seat: Seat, id: &RawId) -> Option<&mut Packed> {
        self.0.find_mut(seat.hash(), |packed| packed.is_of(id))
    }

    /// All that may lie at this seat.
    pub(super) fn at(&self, seat: Seat) -> impl Iterator<Item = &Packed> {
        self.0.iter_hash(seat.hash())
    }

    /// Puts in an id that is not there yet; `seat` is the one of any id.
    pub(super) fn insert(&mut self, packed: Packed, seat: impl Fn(&RawId) -> Seat) {
        let hash = seat(packed.id()).hash();
        self.0.insert_unique(hash, packed, |packed| seat(packed.id()).hash());
    }

    /// Takes out one that may lie at this seat and is over.
    pub(super) fn take_over_at(&mut self, seat: Seat, now: Tick) -> Option<Packed> {
        let over = self.0.find_entry(seat.hash(), |packed| packed.deadline() <= now).ok()?;
        Some(over.remove().0)
    }

    /// Takes out all that are over.
    pub(super) fn take_over(&mut self, now: Tick) -> impl Iterator<Item = Packed> {
        self.0.extract_if(move |packed| packed.deadline() <= now)
    }

    /// Places that there are, also empty ones.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.0.capacity()
    }
}
