//! The table of who is here: bounded, with what each said last, where it was heard, and per interface
//! the count and digest that we announce. Whether an announce may be believed is decided before it
//! comes here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use blake2::{Blake2s256, Digest};
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use super::{schedule::Families, values::Neighbour};
use crate::{
    clock::Instant,
    id::{BootId, PeerId},
    wire::announce::{Announce, FLAG_AWAY},
};

/// Peers in the table at most, those that have gone included. Past it the longest gone is forgotten;
/// where all are here, one at random that is no contact.
pub const NEIGHBOURS_MAX: usize = 4_096;
/// Peers that one source address may bring into the table; more are not taken in.
pub const NEIGHBOURS_PER_SOURCE_MAX: usize = 64;
/// Addresses remembered per peer; past it the one heard longest ago goes.
pub const ADDRS_MAX: usize = 8;
/// A TTL longer than this is taken for this.
const TTL_MAX: Duration = Duration::from_secs(6 * 3_600);
/// How much one source counts at most in the estimate of how many would answer a question.
const CROWD_PER_SOURCE_MAX: usize = 4;

/// What the digest of an announce is the XOR of.
pub(super) fn digest_part(id: &PeerId, boot: BootId) -> u64 {
    let mut hash = Blake2s256::new();
    hash.update(b"p2pchat-udp neighbour");
    hash.update(id.as_bytes());
    hash.update(boot.0.to_le_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(hash.first_chunk().copied().unwrap_or_default())
}

/// One peer, here or gone.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) shown: Neighbour,
    /// Highest seq heard in this boot.
    pub(super) seq: u64,
    /// Hash of the bytes that carried it: the same bytes need no second check.
    pub(super) bytes: [u8; 32],
    /// Where copies of these bytes came from.
    pub(super) copies: Vec<(SocketAddr, u32)>,
    /// The last question's nonce, and whether we answer it.
    pub(super) question: Option<(u64, bool)>,
    /// Peers and digest that it announced last, per interface.
    pub(super) said: BTreeMap<u32, (u32, u64)>,
    /// When it came.
    pub(super) came: Instant,
    /// When it is taken for gone; `None`: it is gone.
    here_until: Option<Instant>,
    /// Since when it is gone, while it is.
    gone_since: Instant,
    part: u64,
    sightings: BTreeMap<u32, Families>,
    source: IpAddr,
}

impl Entry {
    pub(super) const fn is_here(&self) -> bool {
        self.here_until.is_some()
    }

    /// What was heard of it last.
    pub(super) const fn heard(&self) -> (BootId, u64) {
        (self.shown.boot, self.seq)
    }
}

/// Who is seen on one interface.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct View {
    pub(super) count: u32,
    pub(super) digest: u64,
    /// How many were heard by this family and not by the other.
    pub(super) only_v4: u32,
    pub(super) only_v6: u32,
}

impl View {
    fn shift(&mut self, families: Families, part: u64, add: bool) {
        let step = |count: &mut u32| *count = if add { count.saturating_add(1) } else { count.saturating_sub(1) };
        step(&mut self.count);
        self.digest ^= part;
        match families {
            Families { v4: true, v6: false } => step(&mut self.only_v4),
            Families { v4: false, v6: true } => step(&mut self.only_v6),
            Families { .. } => {}
        }
    }
}

/// What an announce changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// It was not here.
    pub(super) came: bool,
    /// This boot was not heard before.
    pub(super) new_boot: bool,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// By id; the key is raw so that a random place can be looked up.
    entries: BTreeMap<[u8; 32], Entry>,
    expiries: BTreeSet<(Instant, [u8; 32])>,
    gone: BTreeSet<(Instant, [u8; 32])>,
    views: BTreeMap<u32, View>,
    /// How many of those here came from each source.
    sources: BTreeMap<IpAddr, usize>,
}

impl Neighbours {
    pub(super) fn here(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.is_here())
    }

    pub(super) fn get(&self, id: &PeerId) -> Option<&Entry> {
        self.entries.get(id.as_bytes())
    }

    pub(super) fn get_mut(&mut self, id: &PeerId) -> Option<&mut Entry> {
        self.entries.get_mut(id.as_bytes())
    }

    pub(super) fn view(&self, interface: u32) -> View {
        self.views.get(&interface).copied().unwrap_or_default()
    }

    /// The first moment at which somebody's time is up.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// About how many would answer a question: everybody here, but a source that brings many counts as
    /// [`CROWD_PER_SOURCE_MAX`], so that one machine's fakes do not silence us.
    pub(super) fn crowd(&self) -> usize {
        self.sources.values().map(|count| (*count).min(CROWD_PER_SOURCE_MAX)).sum()
    }

    /// True where a digest shows that its sender knows everybody whom we know, but not us: alone, or with
    /// one other. `part` is our part of `mine`.
    pub(super) fn lacks(&self, theirs: (u32, u64), mine: (u32, u64), part: u64) -> bool {
        let missing = theirs.1 ^ mine.1 ^ part;
        match mine.0.saturating_sub(theirs.0) {
            1 => missing == 0,
            2 => self.here().any(|entry| entry.part == missing),
            _ => false,
        }
    }

    /// True where somebody announced on `interface` that he knows more than `peers`.
    pub(super) fn says_more(&self, interface: u32, peers: u32) -> bool {
        self.here().any(|entry| entry.said.get(&interface).is_some_and(|said| said.0 > peers))
    }

    /// True where `source` may bring in another peer.
    pub(super) fn has_room_for(&self, source: IpAddr) -> bool {
        self.sources.get(&source).is_none_or(|count| *count < NEIGHBOURS_PER_SOURCE_MAX)
    }

    /// Makes room for one more; returns who had to go although it was here. False where everybody is
    /// `pinned`.
    pub(super) fn make_room(&mut self, pinned: impl Fn(&PeerId) -> bool, rng: &mut ChaCha20Rng) -> (bool, Option<PeerId>) {
        if self.entries.len() < NEIGHBOURS_MAX {
            return (true, None);
        }
        if let Some((_, oldest)) = self.gone.pop_first() {
            self.entries.remove(&oldest);
            return (true, None);
        }
        let mut place = [0; 32];
        rng.fill_bytes(&mut place);
        let after = self.entries.range(place..);
        let victim = after.chain(self.entries.range(..place)).map(|(_, entry)| entry.shown.id).find(|id| !pinned(id));
        let Some(victim) = victim else { return (false, None) };
        let gone_since = self.get(&victim).map_or_else(Instant::default, |entry| entry.shown.last_heard);
        self.leave(gone_since, &victim);
        self.gone.remove(&(gone_since, *victim.as_bytes()));
        self.entries.remove(victim.as_bytes());
        (true, Some(victim))
    }

    /// A believed announce that is newer than all before it. There is room.
    pub(super) fn hear(&mut self, now: Instant, announce: &Announce, bytes: [u8; 32], addr: SocketAddr) -> Change {
        let key = *announce.id.as_bytes();
        let before = self.entries.get(&key).map(|entry| (entry.is_here(), entry.shown.boot));
        let change =
            Change { came: before.is_none_or(|(here, _)| !here), new_boot: before.is_none_or(|(_, boot)| boot != announce.boot) };
        if change.came || change.new_boot {
            // What another run said, and where, is no longer true.
            self.leave(now, &announce.id);
            self.gone.remove(&(now, key));
            *self.sources.entry(addr.ip()).or_default() += 1;
            let part = digest_part(&announce.id, announce.boot);
            self.entries.insert(key, Entry::new(now, announce, part, addr));
        }
        let ttl = Duration::from_secs(announce.ttl.into()).min(TTL_MAX);
        let Some(entry) = self.entries.get_mut(&key) else { return change };
        if let Some(until) = entry.here_until.replace(now + ttl) {
            self.expiries.remove(&(until, key));
        }
        self.expiries.insert((now + ttl, key));
        entry.seq = announce.seq;
        entry.bytes = bytes;
        entry.copies.clear();
        entry.shown.name.clone_from(&announce.name);
        entry.shown.away = announce.flags & FLAG_AWAY != 0;
        entry.shown.last_heard = now;
        change
    }

    /// A copy of what was heard last came from `addr` by `interface`. True where the address is new.
    pub(super) fn sight(&mut self, id: &PeerId, addr: SocketAddr, interface: u32, said: (u32, u64)) -> bool {
        let Some(entry) = self.entries.get_mut(id.as_bytes()) else { return false };
        entry.copies.push((addr, interface));
        let known = entry.shown.addrs.contains(&addr);
        entry.shown.addrs.retain(|other| *other != addr);
        entry.shown.addrs.insert(0, addr);
        entry.shown.addrs.truncate(ADDRS_MAX);
        entry.said.insert(interface, said);
        let families = Families { v4: addr.is_ipv4(), v6: addr.is_ipv6() };
        let view = self.views.entry(interface).or_default();
        if let Some(seen) = entry.sightings.get_mut(&interface) {
            view.shift(*seen, entry.part, false);
            *seen = seen.or(families);
            view.shift(*seen, entry.part, true);
        } else {
            entry.sightings.insert(interface, families);
            view.shift(families, entry.part, true);
        }
        !known
    }

    /// This peer is gone; what was heard of it last stays known. False where it was not here.
    pub(super) fn leave(&mut self, now: Instant, id: &PeerId) -> bool {
        let key = *id.as_bytes();
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let Some(until) = entry.here_until.take() else {
            self.gone.remove(&(entry.gone_since, key));
            entry.gone_since = now;
            self.gone.insert((now, key));
            return false;
        };
        self.expiries.remove(&(until, key));
        entry.gone_since = now;
        self.gone.insert((now, key));
        for (interface, families) in std::mem::take(&mut entry.sightings) {
            if let Some(view) = self.views.get_mut(&interface) {
                view.shift(families, entry.part, false);
            }
        }
        entry.said.clear();
        if let Some(count) = self.sources.get_mut(&entry.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.sources.remove(&entry.source);
            }
        }
        true
    }

    /// The next peer whose time is up at `now`; it is gone then.
    pub(super) fn expire(&mut self, now: Instant) -> Option<PeerId> {
        let (at, key) = *self.expiries.first()?;
        let id = self.entries.get(&key)?.shown.id;
        (at <= now && self.leave(now, &id)).then_some(id)
    }

    /// Whose time is up gets until `grace`, but is no longer counted: we slept, and they could not know.
    pub(super) fn doubt(&mut self, now: Instant, grace: Instant) {
        let late: Vec<_> = self.expiries.range(..=(now, [u8::MAX; 32])).copied().collect();
        for (until, key) in late {
            self.expiries.remove(&(until, key));
            self.expiries.insert((grace, key));
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.here_until = Some(grace);
            for (interface, families) in std::mem::take(&mut entry.sightings) {
                if let Some(view) = self.views.get_mut(&interface) {
                    view.shift(families, entry.part, false);
                }
            }
        }
    }

    /// Nobody is seen on this interface any more; they stay until their time is up.
    pub(super) fn forget_interface(&mut self, interface: u32) {
        self.views.remove(&interface);
        for entry in self.entries.values_mut() {
            entry.sightings.remove(&interface);
            entry.said.remove(&interface);
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let here = self.here().count();
        assert_eq!(self.expiries.len(), here);
        assert_eq!(self.gone.len() + here, self.entries.len());
        assert_eq!(self.sources.values().sum::<usize>(), here);
        for (interface, view) in &self.views {
            let seen: Vec<_> = self.here().filter(|entry| entry.sightings.contains_key(interface)).collect();
            assert_eq!(view.count as usize, seen.len());
            assert_eq!(view.digest, seen.iter().fold(0, |digest, entry| digest ^ entry.part));
        }
        assert!(self.entries.len() <= NEIGHBOURS_MAX);
    }
}

impl Entry {
    /// A peer that is just heard; `hear` fills in what it says.
    fn new(now: Instant, announce: &Announce, part: u64, addr: SocketAddr) -> Self {
        Self {
            shown: Neighbour {
                id: announce.id,
                boot: announce.boot,
                name: String::new(),
                away: false,
                addrs: Vec::new(),
                last_heard: now,
            },
            seq: announce.seq,
            bytes: [0; 32],
            copies: Vec::new(),
            question: None,
            said: BTreeMap::new(),
            came: now,
            here_until: None,
            gone_since: now,
            part,
            sightings: BTreeMap::new(),
            source: addr.ip(),
        }
    }
}
