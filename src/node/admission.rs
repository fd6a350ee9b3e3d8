//! Who may cost us a handshake: the half-open table and its limits, and from where none is taken up for a while
//! (protocol, HANDSHAKE). Nothing here changes
//! a session; an entry becomes one only when its confirm opens.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use crate::{
    clock::Instant,
    crypto::handshake::Responder,
    id::{PeerId, SessionIndex},
    wire::MAC_LEN,
};

/// Handshakes that wait for their confirm at most; past that a random one goes.
pub(crate) const HALF_OPEN_MAX: usize = 1_024;
/// Of them from one source.
pub(crate) const HALF_OPEN_PER_SOURCE_MAX: usize = 8;
/// Places that only addresses of contacts may take.
const HALF_OPEN_FOR_CONTACTS: usize = 256;
/// A handshake that took longer is forgotten.
const HALF_OPEN_FOR: Duration = Duration::from_secs(10);

/// Addresses of peers whom I block that are remembered at most; the one that is heard again first goes.
const SHUNNED_MAX: usize = 256;
/// The first time such an address is ignored; twice as long each time after, up to [`SHUN_MAX`].
const SHUN_MIN: Duration = Duration::from_secs(60);
const SHUN_MAX: Duration = Duration::from_secs(3_600);

/// An initiation that we answered.
pub(crate) struct HalfOpen {
    pub(crate) responder: Responder,
    source: SocketAddr,
    is_contact: bool,
    mac1: [u8; MAC_LEN],
    deadline: Instant,
}

/// From where peers whom I block have tried. Who somebody is shows at the end of a handshake only, so each try of theirs
/// costs us one, and then for a while nothing.
#[derive(Default)]
pub(crate) struct Shunned(BTreeMap<SocketAddr, Shun>);

struct Shun {
    peer: PeerId,
    until: Instant,
    wait: Duration,
}

impl Shunned {
    /// A peer whom I block has tried from this address: what comes from there is ignored.
    pub(crate) fn shun(&mut self, now: Instant, from: SocketAddr, peer: PeerId) {
        // Whoever kept away for as long again begins anew.
        self.0.retain(|_, shun| shun.until + shun.wait > now);
        let wait = self.0.get(&from).map_or(SHUN_MIN, |shun| (shun.wait * 2).min(SHUN_MAX));
        if self.0.len() >= SHUNNED_MAX
            && let Some(first) = self.0.iter().min_by_key(|(_, shun)| shun.until).map(|(addr, _)| *addr)
        {
            self.0.remove(&first);
        }
        self.0.insert(from, Shun { peer, until: now + wait, wait });
    }

    /// True where nothing from this address is worth a handshake now.
    pub(crate) fn is_ignored(&self, now: Instant, from: SocketAddr) -> bool {
        self.0.get(&from).is_some_and(|shun| now < shun.until)
    }

    /// I do not block this peer any more.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.0.retain(|_, shun| shun.peer != *peer);
    }
}

/// The half-open table.
#[derive(Default)]
pub(crate) struct HalfOpens {
    by_index: BTreeMap<SessionIndex, HalfOpen>,
    by_mac1: BTreeMap<[u8; MAC_LEN], SessionIndex>,
    pub(crate) shunned: Shunned,
}

impl HalfOpens {
    /// The response that this very initiation got before.
    pub(crate) fn repeated(&self, mac1: &[u8; MAC_LEN]) -> Option<&[u8]> {
        let index = self.by_mac1.get(mac1)?;
        self.by_index.get(index).map(|half_open| half_open.responder.response())
    }

    /// True where a further initiation from `source` may be answered.
    pub(crate) fn admits(&self, source: SocketAddr) -> bool {
        self.by_index.values().filter(|half_open| half_open.source.ip() == source.ip()).count() < HALF_OPEN_PER_SOURCE_MAX
    }

    /// Adds an entry; returns the index of the one that had to go for it. What it means for the sums:
    /// strangers never take the last places.
    #[expect(clippy::too_many_arguments, reason = "one entry, field by field")]
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        index: SessionIndex,
        responder: Responder,
        mac1: [u8; MAC_LEN],
        source: SocketAddr,
        is_contact: bool,
        rng: &mut ChaCha20Rng,
    ) -> Option<SessionIndex> {
        let room = if is_contact { HALF_OPEN_MAX } else { HALF_OPEN_MAX - HALF_OPEN_FOR_CONTACTS };
        let evicted = if self.by_index.len() >= room { self.random_stranger(rng) } else { None };
        if let Some(evicted) = evicted {
            self.remove(evicted);
        }
        self.by_mac1.insert(mac1, index);
        let deadline = now + HALF_OPEN_FOR;
        self.by_index.insert(index, HalfOpen { responder, source, is_contact, mac1, deadline });
        evicted
    }

    fn random_stranger(&self, rng: &mut ChaCha20Rng) -> Option<SessionIndex> {
        let start = SessionIndex(rng.next_u32());
        let strangers = |half_open: &(&SessionIndex, &HalfOpen)| !half_open.1.is_contact;
        self.by_index.range(start..).chain(self.by_index.range(..start)).find(strangers).map(|(index, _)| *index)
    }

    pub(crate) fn get_mut(&mut self, index: SessionIndex) -> Option<&mut HalfOpen> {
        self.by_index.get_mut(&index)
    }

    pub(crate) fn remove(&mut self, index: SessionIndex) -> Option<HalfOpen> {
        let half_open = self.by_index.remove(&index)?;
        self.by_mac1.remove(&half_open.mac1);
        Some(half_open)
    }

    /// Forgets what took too long; returns the indices that are free again.
    pub(crate) fn on_timeout(&mut self, now: Instant) -> Vec<SessionIndex> {
        let late: Vec<_> =
            self.by_index.iter().filter(|(_, half_open)| half_open.deadline <= now).map(|(index, _)| *index).collect();
        for index in &late {
            self.remove(*index);
        }
        late
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.by_index.values().map(|half_open| half_open.deadline).min()
    }
}
