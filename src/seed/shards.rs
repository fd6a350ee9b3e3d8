//! The one lock of the core: values that the threads of a seed share, many behind a lock each, so that
//! two threads seldom want the same. Nobody holds one for longer than a look, and whoever holds two took
//! them in the order of `memory` (people, then names or lists) or of `relay` (channels, then owners).

use std::{
    hash::Hasher,
    sync::{Mutex, PoisonError},
};

use siphasher::sip::SipHasher13;

/// How many shards a table has that everybody wants.
pub(super) const SHARDS: usize = 256;

/// Equal values, each behind its lock.
pub(super) struct Shards<T>(Box<[Mutex<T>]>);

impl<T: Default> Shards<T> {
    /// `count` of them, empty; at least one.
    pub(super) fn new(count: usize) -> Self {
        Self((0..count.max(1)).map(|_| Mutex::default()).collect())
    }
}

impl<T> Shards<T> {
    /// Looks into the shard of `at`.
    pub(super) fn with<R>(&self, at: usize, look: impl FnOnce(&mut T) -> R) -> R {
        let shard = &self.0[at % self.0.len()];
        // Whoever panicked held a shard that is whole between any two of its steps.
        look(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A hash that nobody without the key can aim at.
pub(super) fn keyed_hash(key: &[u8; 16], parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}
