//! The directory of one machine: all records in memory, gone with the process.
//!
//! Records lie in shards by the hash of their id; names and lists hold seats of records, in shards of
//! their own. Locks are taken in this order only: people, then names or lists.

mod names;
mod packed;
mod people;

use std::{
    net::SocketAddr,
    ops::Bound,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use self::{
    names::{Line, Lists, Names},
    packed::{Packed, TICKS_PER_SECOND, Tick},
    people::{People, Seat},
};
use super::{
    directory::{Directory, Known, Outcome, Registration},
    shards::{SHARDS, Shards, keyed_hash},
};
use crate::{
    clock::{Instant, Now},
    text::name_key,
    wire::{
        phonebook::{Entry, RawId},
        record::{Claim, Visibility},
    },
};

/// Lines that one search walks over at most, most of them because their records are over.
const SEARCH_STEPS_MAX: usize = 1_024;
/// Lines that a search takes at a time: a page, and whether there is more.
const SEARCH_STEP: usize = 9;

/// At most so many records as it was made for.
pub struct Memory {
    people: Shards<People>,
    names: Shards<Names>,
    lists: Shards<Lists>,
    /// Slots in use, those of farewells included.
    held: AtomicUsize,
    /// Of these, farewells.
    gone: AtomicUsize,
    swept: AtomicUsize,
    records_max: usize,
    hash_key: [u8; 16],
    start: Instant,
}

/// Where an id belongs.
#[derive(Clone, Copy)]
struct Home {
    hash: u64,
    shard: u8,
}

impl Memory {
    /// With room for `records_max`; `hash_key` is random and tells nobody which shard an id is in.
    pub fn new(records_max: usize, hash_key: [u8; 16], now: Now) -> Self {
        Self {
            people: Shards::new(SHARDS),
            names: Shards::new(SHARDS),
            lists: Shards::new(SHARDS),
            held: AtomicUsize::new(0),
            gone: AtomicUsize::new(0),
            swept: AtomicUsize::new(0),
            records_max,
            hash_key,
            start: now.instant,
        }
    }

    fn tick(&self, now: Now) -> Tick {
        let tenths = now.instant.since(self.start).as_millis() / u128::from(1_000 / TICKS_PER_SECOND);
        Tick::try_from(tenths).unwrap_or(Tick::MAX)
    }

    fn hash(&self, id: &RawId) -> u64 {
        keyed_hash(&self.hash_key, &[id])
    }

    fn home(&self, id: &RawId) -> Home {
        let hash = self.hash(id);
        // Bits that the hash table uses neither for its buckets nor for its tags.
        Home { hash, shard: hash.to_le_bytes()[4] }
    }

    /// Looks at the slot of `id` where there is one that is not over.
    fn with<R>(&self, now: Now, id: &RawId, look: impl FnOnce(&mut Packed, Tick, Seat) -> Option<R>) -> Option<R> {
        let (home, tick) = (self.home(id), self.tick(now));
        self.people.with(home.shard.into(), |people| {
            let slot = people.slot(home.hash, id)?;
            let packed = people.at_mut(slot).filter(|packed| packed.deadline() > tick)?;
            look(packed, tick, Seat::new(home.shard, slot))
        })
    }

    /// Looks at what lies at `seat`, and takes it away where it is over.
    fn at(&self, now: Now, seat: Seat, look: impl FnOnce(&Claim<'_>, &Entry<'_>)) {
        let tick = self.tick(now);
        self.people.with(seat.shard(), |people| {
            let Some(packed) = people.at(seat.slot()) else { return };
            if packed.deadline() <= tick {
                self.bury(people, seat);
            } else if let Some(entry) = packed.entry(tick)
                && let Ok(claim) = Claim::decode(entry.record)
            {
                look(&claim, &entry);
            }
        });
    }

    /// Room for one more is taken, where there is some.
    fn take_room(&self) -> bool {
        self.held.fetch_update(Relaxed, Relaxed, |held| (held < self.records_max).then_some(held + 1)).is_ok()
    }

    /// Frees a slot and forgets its names.
    fn bury(&self, people: &mut People, seat: Seat) {
        let Some(hash) = people.at(seat.slot()).map(|packed| self.hash(packed.id())) else { return };
        let Some(packed) = people.remove(seat.slot(), hash) else { return };
        self.unname(&packed, seat);
        self.gone.fetch_sub(packed.is_gone().into(), Relaxed);
        self.held.fetch_sub(1, Relaxed);
    }

    fn name(&self, claim: &Claim<'_>, now: Tick, seat: Seat) {
        let key = name_key(claim.name);
        let (shard, hash) = self.name_home(&claim.network, &key);
        self.names.with(shard, |names| names.insert(hash, now, seat));
        if claim.visibility == Visibility::Listed {
            let line = Line { network: claim.network, key: key.into(), id: claim.id };
            self.lists.with(self.list_shard(&claim.network), |lists| lists.insert(line, seat));
        }
    }

    fn unname(&self, packed: &Packed, seat: Seat) {
        let Some(Ok(claim)) = packed.entry(0).map(|entry| Claim::decode(entry.record)) else { return };
        let key = name_key(claim.name);
        let (shard, hash) = self.name_home(&claim.network, &key);
        self.names.with(shard, |names| names.remove(hash, seat));
        if claim.visibility == Visibility::Listed {
            let line = Line { network: claim.network, key: key.into(), id: claim.id };
            self.lists.with(self.list_shard(&claim.network), |lists| lists.remove(&line));
        }
    }

    fn name_home(&self, network: &[u8; 8], key: &str) -> (usize, u32) {
        let [shard, _, _, _, hash @ ..] = keyed_hash(&self.hash_key, &[network, key.as_bytes()]).to_le_bytes();
        (shard.into(), u32::from_le_bytes(hash))
    }

    fn list_shard(&self, network: &[u8; 8]) -> usize {
        keyed_hash(&self.hash_key, &[network]).to_le_bytes()[0].into()
    }
}

/// Why a record may not take the seat of `packed`: that is newer, or the same from another address.
fn is_stale(packed: &Packed, registration: &Registration<'_>, now: Tick) -> bool {
    let seq = registration.claim.seq;
    let is_elsewhere = packed.entry(now).is_none_or(|entry| entry.seen != registration.seen);
    seq < packed.seq() || seq == packed.seq() && (packed.is_gone() || is_elsewhere && !registration.may_move)
}

impl Directory for Memory {
    fn known(&self, now: Now, id: &RawId) -> Known {
        let known = self.with(now, id, |packed, tick, _| {
            let (seq, entry) = (packed.seq(), packed.entry(tick));
            Some(entry.map_or(Known::Gone { seq }, |entry| Known::Live { seq, seen: entry.seen }))
        });
        let is_full = self.held.load(Relaxed) >= self.records_max;
        known.unwrap_or(if is_full { Known::Full } else { Known::Nothing })
    }

    fn register(&self, now: Now, registration: &Registration<'_>) -> Outcome {
        let (claim, tick) = (registration.claim, self.tick(now));
        let left = claim.expires().saturating_mul(1_000).saturating_sub(now.unix.0) / u64::from(1_000 / TICKS_PER_SECOND);
        let expires = tick.saturating_add(Tick::try_from(left).unwrap_or(Tick::MAX));
        let Registration { record, signature, seen, .. } = *registration;
        let packed = Packed::live(&claim.id, claim.seq, (tick, expires), seen, signature, record);
        let Some(packed) = packed else { return Outcome::Full };
        let (ttl, home) = (packed.ttl(tick), self.home(&claim.id));
        self.people.with(home.shard.into(), |people| {
            let seat = |slot| Seat::new(home.shard, slot);
            let mut slot = people.slot(home.hash, &claim.id);
            if let Some(over) = slot.filter(|slot| people.at(*slot).is_some_and(|known| known.deadline() <= tick)) {
                self.bury(people, seat(over));
                slot = None;
            }
            let slot = match slot.and_then(|slot| Some((slot, people.at_mut(slot)?))) {
                Some((_, known)) if is_stale(known, registration, tick) => return Outcome::Stale { seq: known.seq() },
                Some((slot, known)) => {
                    self.unname(known, seat(slot));
                    self.gone.fetch_sub(known.is_gone().into(), Relaxed);
                    people.replace(slot, packed);
                    slot
                }
                None if !self.take_room() => return Outcome::Full,
                None => match people.insert(packed, |id| self.hash(id)) {
                    Some(slot) => slot,
                    None => {
                        self.held.fetch_sub(1, Relaxed);
                        return Outcome::Full;
                    }
                },
            };
            self.name(claim, tick, seat(slot));
            Outcome::Registered { ttl }
        })
    }

    fn refresh(
        &self,
        now: Now,
        id: &RawId,
        seq: u64,
        seen: SocketAddr,
        is_proved: &mut dyn FnMut(&Entry<'_>) -> bool,
    ) -> Option<u16> {
        self.with(now, id, |packed, tick, _| {
            if packed.seq() != seq || !packed.entry(tick).is_some_and(|entry| is_proved(&entry)) {
                return None;
            }
            packed.hear(tick, seen);
            Some(packed.ttl(tick))
        })
    }

    fn unregister(&self, now: Now, id: &RawId, seq: u64) -> bool {
        let was = self.with(now, id, |packed, _, seat| {
            if packed.is_gone() || packed.seq() >= seq {
                return None;
            }
            self.unname(packed, seat);
            // It is over later than what it stands for, so whoever looks then finds it there.
            *packed = Packed::gone(id, seq, packed.expires());
            self.gone.fetch_add(1, Relaxed);
            Some(())
        });
        was.is_some()
    }

    fn lookup(&self, now: Now, id: &RawId, show: &mut dyn FnMut(&Entry<'_>)) -> bool {
        self.with(now, id, |packed, tick, _| packed.entry(tick).map(|entry| show(&entry))).is_some()
    }

    fn find(&self, now: Now, network: &[u8; 8], key: &str, show: &mut dyn FnMut(&Entry<'_>) -> bool) {
        let (shard, hash) = self.name_home(network, key);
        let mut wants_more = true;
        for seat in self.names.with(shard, |names| names.seats(hash)) {
            self.at(now, seat, |claim, entry| {
                if wants_more && claim.network == *network && name_key(claim.name) == key {
                    wants_more = show(entry);
                }
            });
        }
    }

    fn search(
        &self,
        now: Now,
        network: &[u8; 8],
        prefix: &str,
        after: Option<(&str, &RawId)>,
        show: &mut dyn FnMut(&Entry<'_>) -> bool,
    ) {
        let line = |key: &str, id: &RawId| Line { network: *network, key: key.into(), id: *id };
        let mut from = match after {
            Some((key, id)) if key >= prefix => Bound::Excluded(line(key, id)),
            _ => Bound::Included(line(prefix, &[0; 32])),
        };
        let (mut steps, mut wants_more) = (0, true);
        while wants_more && steps < SEARCH_STEPS_MAX {
            let lines =
                self.lists.with(self.list_shard(network), |lists| lists.lines(from.clone(), network, prefix, SEARCH_STEP));
            steps += lines.len();
            for (line, seat) in &lines {
                self.at(now, *seat, |claim, entry| {
                    let is_meant = claim.id == line.id && claim.network == *network && name_key(claim.name) == *line.key;
                    if wants_more && is_meant {
                        wants_more = show(entry);
                    }
                });
            }
            match lines.into_iter().next_back() {
                Some((last, _)) => from = Bound::Excluded(last),
                None => return,
            }
        }
    }

    fn sweep(&self, now: Now) {
        let (tick, shard) = (self.tick(now), (self.swept.fetch_add(1, Relaxed) % SHARDS) as u8);
        self.people.with(shard.into(), |people| {
            let mut from = 0;
            while let Some(over) = people.next_over(from, tick) {
                self.bury(people, Seat::new(shard, over));
                from = over + 1;
            }
        });
    }

    fn len(&self) -> usize {
        self.held.load(Relaxed).saturating_sub(self.gone.load(Relaxed))
    }
}

#[cfg(test)]
mod tests;
