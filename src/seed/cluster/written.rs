//! What was put into the depot lately: about 20 to 40 bytes for each record, since there may be a million.

use std::net::SocketAddr;

use hashbrown::HashTable;

use super::WRITE_INTERVAL;
use crate::{
    clock::Instant,
    seed::{shards::keyed_hash, subject},
    wire::phonebook::RawId,
};

/// Records that one thread remembers at most; whatever is beyond is put into the depot later.
const WRITTEN_MAX: usize = 2 << 20;

/// A record as it is known: whose, which of his, seen where. With any of it changed it is another.
#[derive(Debug, Clone, Copy)]
pub(in crate::seed) struct Known<'a> {
    pub(in crate::seed) id: &'a RawId,
    pub(in crate::seed) seq: u64,
    pub(in crate::seed) seen: SocketAddr,
}

pub(super) struct Written {
    /// By their hashes alone: who cannot know the key makes no two alike.
    at: HashTable<(u64, u32)>,
    hash_key: [u8; 16],
    next_sweep: Instant,
}

impl Written {
    pub(super) fn new(hash_key: [u8; 16]) -> Self {
        Self { at: HashTable::new(), hash_key, next_sweep: Instant::default() }
    }

    /// True where it was put there less than [`WRITE_INTERVAL`] ago.
    pub(super) fn is_fresh(&self, now: Instant, what: Known<'_>) -> bool {
        let hash = self.hash(what);
        self.at.find(hash, |(known, _)| *known == hash).is_some_and(|(_, at)| is_fresh(now, *at))
    }

    /// It is put there now. False where that cannot be remembered.
    pub(super) fn note(&mut self, now: Instant, what: Known<'_>) -> bool {
        let hash = self.hash(what);
        if let Some((_, at)) = self.at.find_mut(hash, |(known, _)| *known == hash) {
            *at = seconds(now);
            return true;
        }
        let has_room = self.at.len() < WRITTEN_MAX;
        if has_room {
            self.at.insert_unique(hash, (hash, seconds(now)), |(hash, _)| *hash);
        }
        has_room
    }

    /// Forgets what is due again.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.next_sweep <= now {
            self.next_sweep = now + WRITE_INTERVAL;
            self.at.retain(|(_, at)| is_fresh(now, *at));
        }
    }

    pub(super) fn clear(&mut self) {
        self.at.clear();
    }

    fn hash(&self, Known { id, seq, seen }: Known<'_>) -> u64 {
        keyed_hash(&self.hash_key, &[id, &seq.to_le_bytes(), subject(seen, &mut [0; 18])])
    }
}

/// Rounded up, so that nothing is put there too early.
fn seconds(now: Instant) -> u32 {
    u32::try_from(now.since_start().as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

fn is_fresh(now: Instant, at: u32) -> bool {
    now.since_start().as_secs() < u64::from(at) + WRITE_INTERVAL.as_secs()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn millis(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn a_record_is_written_at_most_every_75_seconds() {
        let mut written = Written::new([1; 16]);
        let alice = Known { id: &[1; 32], seq: 1, seen: SocketAddr::from(([203, 0, 113, 1], 17_118)) };
        assert!(!written.is_fresh(millis(500), alice));
        assert!(written.note(millis(500), alice));
        assert!(written.is_fresh(millis(75_500), alice) && !written.is_fresh(millis(76_000), alice));
        let moved = SocketAddr::from(([203, 0, 113, 1], 17_119));
        for other in [Known { id: &[2; 32], ..alice }, Known { seq: 2, ..alice }, Known { seen: moved, ..alice }] {
            assert!(!written.is_fresh(millis(500), other));
            assert!(written.note(millis(30_000), other));
        }
        assert!(written.note(millis(76_000), alice));
        written.sweep(millis(120_000));
        assert!(written.is_fresh(millis(120_000), alice) && written.at.len() == 1);
    }
}
