//! One shard of the records: slots, and which slot an id is in. Nothing here knows names.

use hashbrown::HashTable;

use super::packed::{Packed, Tick};
use crate::wire::phonebook::RawId;

/// Slots of one shard at most: what a [`Seat`] can say.
const SLOTS_MAX: usize = 1 << 24;

/// Where a record lies: its shard, and its slot there. Another may lie there later, so who kept a seat looks
/// whether it is still the one that was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat(u32);

impl Seat {
    pub(super) const fn new(shard: u8, slot: u32) -> Self {
        Self((shard as u32) << 24 | slot)
    }

    pub(super) const fn shard(self) -> usize {
        (self.0 >> 24) as usize
    }

    pub(super) const fn slot(self) -> u32 {
        self.0 & 0x00ff_ffff
    }
}

/// The records of one shard.
#[derive(Default)]
pub(super) struct People {
    index: HashTable<u32>,
    slots: Vec<Option<Packed>>,
    /// For each slot: before this nobody needs to look whether its record is over. A million records are far
    /// memory, and this is near.
    due: Vec<Tick>,
    free: Vec<u32>,
}

impl People {
    /// The slot of `id`, whose hash is `hash`.
    pub(super) fn slot(&self, hash: u64, id: &RawId) -> Option<u32> {
        self.index.find(hash, |slot| self.at(*slot).is_some_and(|packed| packed.is_of(id))).copied()
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Packed> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> Option<&mut Packed> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Slots that there are, also empty ones.
    #[cfg(test)]
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The first slot from `from` on whose record is over.
    pub(super) fn next_over(&mut self, from: u32, now: Tick) -> Option<u32> {
        let slots = self.slots.iter().zip(&mut self.due).enumerate().skip(from as usize);
        for (slot, (packed, due)) in slots.filter(|(_, (_, due))| **due <= now) {
            *due = packed.as_ref().map_or(Tick::MAX, Packed::deadline);
            if *due <= now {
                return u32::try_from(slot).ok();
            }
        }
        None
    }

    /// Puts another record of the same id into its slot.
    pub(super) fn replace(&mut self, slot: u32, packed: Packed) {
        if let (Some(known), Some(due)) = (self.slots.get_mut(slot as usize), self.due.get_mut(slot as usize)) {
            *due = packed.deadline();
            *known = Some(packed);
        }
    }

    /// Puts in an id that is not there yet; `hash` is the one of any id. `None` where the shard is full.
    pub(super) fn insert(&mut self, packed: Packed, hash: impl Fn(&RawId) -> u64) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < SLOTS_MAX => {
                self.grow();
                self.slots.push(None);
                self.due.push(Tick::MAX);
                self.slots.len() as u32 - 1
            }
            None => return None,
        };
        let id_hash = hash(packed.id());
        self.replace(slot, packed);
        let slots = &self.slots;
        self.index.insert_unique(id_hash, slot, |slot| slots[*slot as usize].as_ref().map_or(0, |packed| hash(packed.id())));
        Some(slot)
    }

    /// Takes the record out of a slot.
    pub(super) fn remove(&mut self, slot: u32, hash: u64) -> Option<Packed> {
        let packed = self.slots.get_mut(slot as usize)?.take()?;
        if let Ok(found) = self.index.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some(packed)
    }

    /// By an eighth, not to twice the size: half of a million empty slots would be paid for.
    fn grow(&mut self) {
        if self.slots.len() == self.slots.capacity() {
            let more = (self.slots.len() / 8).max(4);
            self.slots.reserve_exact(more);
            self.due.reserve_exact(more);
        }
    }
}
