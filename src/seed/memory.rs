//! The directory of one machine: all records in memory, gone with the process.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use super::{
    directory::{Directory, Known, Outcome, Registration, TTL},
    shards::{SHARDS, Shards, keyed_hash},
};
use crate::{
    clock::{Instant, Now},
    wire::{
        SIGNATURE_LEN,
        phonebook::{Entry, RawId},
    },
};

struct Stored {
    seq: u64,
    seen: SocketAddr,
    heard: Instant,
    deadline: Instant,
    expires: Instant,
    record: Vec<u8>,
    signature: [u8; SIGNATURE_LEN],
}

impl Stored {
    fn entry(&self, now: Now) -> Entry<'_> {
        let age = u16::try_from(now.instant.since(self.heard).as_secs()).unwrap_or(u16::MAX);
        Entry { record: &self.record, signature: self.signature, seen: self.seen, age }
    }

    fn ttl(&self, now: Now) -> u16 {
        u16::try_from(self.deadline.since(now.instant).as_secs()).unwrap_or(TTL)
    }
}

/// At most so many records as it was made for.
pub struct Memory {
    people: Shards<BTreeMap<RawId, Stored>>,
    len: AtomicUsize,
    records_max: usize,
    hash_key: [u8; 16],
}

impl Memory {
    /// With room for `records_max`; `hash_key` is random and tells nobody which shard an id is in.
    pub fn new(records_max: usize, hash_key: [u8; 16], _now: Now) -> Self {
        Self { people: Shards::new(SHARDS), len: AtomicUsize::new(0), records_max, hash_key }
    }

    fn shard<R>(&self, id: &RawId, look: impl FnOnce(&mut BTreeMap<RawId, Stored>) -> R) -> R {
        self.people.with(usize::try_from(keyed_hash(&self.hash_key, &[id]) >> 56).unwrap_or(0), look)
    }
}

impl Directory for Memory {
    fn known(&self, now: Now, id: &RawId) -> Known {
        self.shard(id, |shard| match shard.get(id) {
            Some(stored) if stored.deadline > now.instant => Known::Live { seq: stored.seq, seen: stored.seen },
            _ if self.len.load(Relaxed) >= self.records_max => Known::Full,
            _ => Known::Nothing,
        })
    }

    fn register(&self, now: Now, registration: &Registration<'_>) -> Outcome {
        let claim = registration.claim;
        let lifetime = Duration::from_secs(claim.expires()).saturating_sub(Duration::from_millis(now.unix.0));
        let expires = now.instant + lifetime;
        let stored = Stored {
            seq: claim.seq,
            seen: registration.seen,
            heard: now.instant,
            deadline: expires.min(now.instant + Duration::from_secs(TTL.into())),
            expires,
            record: registration.record.to_vec(),
            signature: *registration.signature,
        };
        let ttl = stored.ttl(now);
        self.shard(&claim.id, |shard| {
            if shard.insert(claim.id, stored).is_none() {
                self.len.fetch_add(1, Relaxed);
            }
        });
        Outcome::Registered { ttl }
    }

    fn refresh(
        &self,
        now: Now,
        id: &RawId,
        seq: u64,
        seen: SocketAddr,
        is_proved: &mut dyn FnMut(&Entry<'_>) -> bool,
    ) -> Option<u16> {
        self.shard(id, |shard| {
            let stored = shard.get_mut(id).filter(|stored| stored.seq == seq && stored.deadline > now.instant)?;
            is_proved(&stored.entry(now)).then_some(())?;
            (stored.seen, stored.heard) = (seen, now.instant);
            stored.deadline = stored.expires.min(now.instant + Duration::from_secs(TTL.into()));
            Some(stored.ttl(now))
        })
    }

    fn unregister(&self, _now: Now, id: &RawId, _seq: u64) -> bool {
        let was = self.shard(id, |shard| shard.remove(id).is_some());
        if was {
            self.len.fetch_sub(1, Relaxed);
        }
        was
    }

    fn lookup(&self, now: Now, id: &RawId, show: &mut dyn FnMut(&Entry<'_>)) -> bool {
        self.shard(id, |shard| match shard.get(id) {
            Some(stored) if stored.deadline > now.instant => {
                show(&stored.entry(now));
                true
            }
            _ => false,
        })
    }

    fn find(&self, _now: Now, _network: &[u8; 8], _key: &str, _show: &mut dyn FnMut(&Entry<'_>) -> bool) {}

    fn search(
        &self,
        _now: Now,
        _network: &[u8; 8],
        _prefix: &str,
        _after: Option<(&str, &RawId)>,
        _show: &mut dyn FnMut(&Entry<'_>) -> bool,
    ) {
    }

    fn sweep(&self, _now: Now) {}

    fn len(&self) -> usize {
        self.len.load(Relaxed)
    }
}
