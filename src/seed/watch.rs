//! Who waits for whom: an asker that looked in vain and wants to hear when the other comes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use super::{
    directory::TTL,
    shards::{SHARDS, Shards, keyed_hash},
};
use crate::{clock::Instant, wire::phonebook::RawId};

/// Seconds for which a watch is kept.
pub(super) const WATCH_SECONDS: u16 = TTL;
/// Watchers of one id at most; who comes later looks again instead.
const WATCHERS_PER_ID_MAX: usize = 4;
/// Watchers in one shard at most, 65,536 in all; who comes later looks again instead.
const WATCHERS_PER_SHARD_MAX: usize = 256;

/// Somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watcher {
    /// Where it is.
    pub(super) at: SocketAddr,
    /// Of its query.
    pub(super) txid: u64,
    until: Instant,
}

#[derive(Default)]
struct Shard {
    watched: BTreeMap<RawId, Vec<Watcher>>,
    len: usize,
}

/// All of them, shared by the threads: who comes may come to another thread than who waits.
pub(super) struct Watches {
    shards: Shards<Shard>,
    /// Watchers in all: most of the time there are none, and nobody needs a lock to know that.
    len: AtomicUsize,
    swept: AtomicUsize,
    hash_key: [u8; 16],
}

impl Watches {
    pub(super) fn new(hash_key: [u8; 16]) -> Self {
        Self { shards: Shards::new(SHARDS), len: AtomicUsize::new(0), swept: AtomicUsize::new(0), hash_key }
    }

    /// `at` waits for `id` from now on. False where there are too many.
    pub(super) fn insert(&self, now: Instant, id: &RawId, at: SocketAddr, txid: u64) -> bool {
        let watcher = Watcher { at, txid, until: now + Duration::from_secs(WATCH_SECONDS.into()) };
        self.with(id, |shard| {
            let is_full = shard.len >= WATCHERS_PER_SHARD_MAX;
            let watchers = shard.watched.get_mut(id);
            if let Some(known) = watchers.and_then(|watchers| watchers.iter_mut().find(|known| known.at == at)) {
                *known = watcher;
                return true;
            }
            if is_full || shard.watched.get(id).is_some_and(|watchers| watchers.len() >= WATCHERS_PER_ID_MAX) {
                return false;
            }
            shard.watched.entry(*id).or_default().push(watcher);
            shard.len += 1;
            self.len.fetch_add(1, Relaxed);
            true
        })
    }

    /// Takes out who waits for `id`.
    pub(super) fn take(&self, now: Instant, id: &RawId) -> Vec<Watcher> {
        if self.len.load(Relaxed) == 0 {
            return Vec::new();
        }
        let mut watchers = self.with(id, |shard| {
            let watchers = shard.watched.remove(id).unwrap_or_default();
            shard.len -= watchers.len();
            self.len.fetch_sub(watchers.len(), Relaxed);
            watchers
        });
        watchers.retain(|watcher| now < watcher.until);
        watchers
    }

    /// `at` waits no more.
    pub(super) fn remove(&self, id: &RawId, at: SocketAddr) {
        self.with(id, |shard| self.retain(shard, |watched, watcher| watched != id || watcher.at != at));
    }

    /// Forgets some of those who have waited long enough; all within 256 calls.
    pub(super) fn sweep(&self, now: Instant) {
        let at = self.swept.fetch_add(1, Relaxed);
        self.shards.with(at, |shard| self.retain(shard, |_, watcher| now < watcher.until));
    }

    fn retain(&self, shard: &mut Shard, keeps: impl Fn(&RawId, &Watcher) -> bool) {
        let before = shard.len;
        shard.watched.retain(|id, watchers| {
            watchers.retain(|watcher| keeps(id, watcher));
            !watchers.is_empty()
        });
        shard.len = shard.watched.values().map(Vec::len).sum();
        self.len.fetch_sub(before - shard.len, Relaxed);
    }

    fn with<R>(&self, id: &RawId, look: impl FnOnce(&mut Shard) -> R) -> R {
        self.shards.with(keyed_hash(&self.hash_key, &[id]) as usize, look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 1], port))
    }

    fn second(second: u64) -> Instant {
        Instant::from_start(Duration::from_secs(second))
    }

    #[test]
    fn whoever_waits_is_told_once_and_not_after_its_time() {
        let watches = Watches::new([1; 16]);
        let id = [7; 32];
        assert!(watches.insert(second(0), &id, at(2_000), 1));
        assert!(watches.insert(second(10), &id, at(2_000), 2), "again: the later query counts");
        assert!(watches.insert(second(10), &id, at(2_001), 3));
        assert!(watches.take(second(20), &[8; 32]).is_empty());
        let told: Vec<_> = watches.take(second(84), &id).iter().map(|watcher| (watcher.at, watcher.txid)).collect();
        assert_eq!(told, [(at(2_000), 2), (at(2_001), 3)]);
        assert!(watches.take(second(84), &id).is_empty());
        assert!(watches.insert(second(0), &id, at(2_000), 1));
        assert!(watches.take(second(75), &id).is_empty(), "nobody waits for ever");
    }

    #[test]
    fn there_are_never_more_than_the_limits() {
        let watches = Watches::new([1; 16]);
        let id = [7; 32];
        let noted = (0..10).filter(|port| watches.insert(second(0), &id, at(2_000 + port), 1)).count();
        assert_eq!(noted, WATCHERS_PER_ID_MAX);
        for n in 0..100_000_u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_le_bytes());
            watches.insert(second(0), &id, at(2_000), 1);
        }
        let len = watches.len.load(Relaxed);
        assert!((WATCHERS_PER_SHARD_MAX * SHARDS - 256..=WATCHERS_PER_SHARD_MAX * SHARDS).contains(&len), "{len}");
        watches.remove(&id, at(2_000));
        assert_eq!(watches.len.load(Relaxed), len - 1);
        (0..SHARDS).for_each(|_| watches.sweep(second(75)));
        assert_eq!(watches.len.load(Relaxed), 0);
    }
}
