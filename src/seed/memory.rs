//! The directory of one machine: all records in memory, gone with the process.
//!
//! Records lie in shards by the hash of their id; names hold seats of records and lists hold ids, in shards
//! of their own. Locks are taken in this order only: people, then names or lists.

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
    /// Records, the marks of farewells included.
    held: AtomicUsize,
    /// Of these, farewells.
    gone: AtomicUsize,
    swept: AtomicUsize,
    records_max: usize,
    hash_key: [u8; 16],
    start: Instant,
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

    fn seat(&self, id: &RawId) -> Seat {
        Seat::new(keyed_hash(&self.hash_key, &[id]))
    }

    /// Looks at the record of `id` where there is one that is not over.
    fn with<R>(&self, now: Now, id: &RawId, look: impl FnOnce(&mut Packed, Tick) -> Option<R>) -> Option<R> {
        let (seat, tick) = (self.seat(id), self.tick(now));
        self.people.with(seat.shard(), |people| {
            let packed = people.get(seat, id).filter(|packed| packed.deadline() > tick)?;
            look(packed, tick)
        })
    }

    /// Looks at what may lie at `seat`, and takes away what is over there.
    fn at(&self, now: Now, seat: Seat, mut look: impl FnMut(&Claim<'_>, &Entry<'_>)) {
        let tick = self.tick(now);
        self.people.with(seat.shard(), |people| {
            while let Some(over) = people.take_over_at(seat, tick) {
                self.bury(&over);
            }
            for entry in people.at(seat).filter_map(|packed| packed.entry(tick)) {
                if let Ok(claim) = Claim::decode(entry.record) {
                    look(&claim, &entry);
                }
            }
        });
    }

    /// Room for one more is taken, where there is some.
    fn take_room(&self) -> bool {
        self.held.fetch_update(Relaxed, Relaxed, |held| (held < self.records_max).then_some(held + 1)).is_ok()
    }

    /// A record was taken out: its room is free, and nobody finds it by a name.
    fn bury(&self, packed: &Packed) {
        self.unname(packed);
        self.gone.fetch_sub(packed.is_gone().into(), Relaxed);
        self.held.fetch_sub(1, Relaxed);
    }

    fn name(&self, claim: &Claim<'_>, now: Tick) {
        let key = name_key(claim.name);
        let (shard, hash) = self.name_home(&claim.network, &key);
        self.names.with(shard, |names| names.insert(hash, now, self.seat(&claim.id)));
        if claim.visibility == Visibility::Listed {
            let line = Line { network: claim.network, key: key.into(), id: claim.id };
            self.lists.with(self.list_shard(&claim.network), |lists| lists.insert(line));
        }
    }

    fn unname(&self, packed: &Packed) {
        let Some(Ok(claim)) = packed.entry(0).map(|entry| Claim::decode(entry.record)) else { return };
        let key = name_key(claim.name);
        let (shard, hash) = self.name_home(&claim.network, &key);
        self.names.with(shard, |names| names.remove(hash, self.seat(&claim.id)));
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
        let known = self.with(now, id, |packed, tick| {
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
        let (ttl, seat) = (packed.ttl(tick), self.seat(&claim.id));
        self.people.with(seat.shard(), |people| {
            match people.get(seat, &claim.id) {
                Some(known) if known.deadline() > tick && is_stale(known, registration, tick) => {
                    return Outcome::Stale { seq: known.seq() };
                }
                // What is over gives its room as well.
                Some(known) => {
                    self.unname(known);
                    self.gone.fetch_sub(known.is_gone().into(), Relaxed);
                    *known = packed;
                }
                None if !self.take_room() => return Outcome::Full,
                None => people.insert(packed, |id| self.seat(id)),
            }
            self.name(claim, tick);
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
        self.with(now, id, |packed, tick| {
            if packed.seq() != seq || !packed.entry(tick).is_some_and(|entry| is_proved(&entry)) {
                return None;
            }
            packed.hear(tick, seen);
            Some(packed.ttl(tick))
        })
    }

    fn unregister(&self, now: Now, id: &RawId, seq: u64) -> bool {
        let was = self.with(now, id, |packed, _| {
            if packed.is_gone() || packed.seq() >= seq {
                return None;
            }
            self.unname(packed);
            // It is over later than what it stands for, so whoever looks then finds it there.
            *packed = Packed::gone(id, seq, packed.expires());
            self.gone.fetch_add(1, Relaxed);
            Some(())
        });
        was.is_some()
    }

    fn lookup(&self, now: Now, id: &RawId, show: &mut dyn FnMut(&Entry<'_>)) -> bool {
        self.with(now, id, |packed, tick| packed.entry(tick).map(|entry| show(&entry))).is_some()
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
            for line in &lines {
                self.at(now, self.seat(&line.id), |claim, entry| {
                    let is_meant = claim.id == line.id && claim.network == *network && name_key(claim.name) == *line.key;
                    if wants_more && is_meant {
                        wants_more = show(entry);
                    }
                });
            }
            match lines.into_iter().next_back() {
                Some(last) => from = Bound::Excluded(last),
                None => return,
            }
        }
    }

    fn sweep(&self, now: Now) {
        let (tick, shard) = (self.tick(now), self.swept.fetch_add(1, Relaxed) % SHARDS);
        self.people.with(shard, |people| people.take_over(tick).for_each(|packed| self.bury(&packed)));
    }

    fn len(&self) -> usize {
        self.held.load(Relaxed).saturating_sub(self.gone.load(Relaxed))
    }
}

#[cfg(test)]
mod tests;
