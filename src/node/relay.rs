//! Relays (protocol, SEEDS): where no path opens between two peers, a seed that both are registered with
//! forwards their datagrams, slowly. It is asked beside every introduction, so that the first text waits for
//! no probe; a session moves away from it as soon as there is a path, and never back.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use super::{
    Node, Target,
    dial::dials_first,
    peer::{Link, Peer},
};
use crate::{
    clock::{Instant, Now},
    id::{ChannelId, PeerId},
    node::seeds::NotBound,
    session::PathAddr,
    wire::{
        record::HOME_SEEDS_MAX,
        relay::{self, Relayed},
    },
};

/// What the seed forgets an end of a channel after, unless it was bound again.
const BOUND_FOR: Duration = Duration::from_secs(75);
/// An end is bound again this often.
const BIND_AGAIN: Duration = Duration::from_secs(20);
/// The same while the peer's end is not there, or we are not registered yet.
const BIND_SOON: Duration = Duration::from_millis(500);
/// Where no path is open by then, a seed that is not ours is asked to relay, too.
const ABROAD_AFTER: Duration = Duration::from_millis(700);
/// Binds in a row without an open channel; then the next introduction begins anew.
const BINDS_MAX: u32 = 10;
/// While a session is relayed, another introduction is tried this often.
const INTRODUCE_AGAIN: Duration = Duration::from_secs(60);
/// One address that the peer's record lists is tried for so long before the next.
const TRY_FOR: Duration = Duration::from_secs(3);
/// Seeds that relay to one peer at most: as many as may be its home.
const RELAYS_MAX: usize = HOME_SEEDS_MAX;
/// Channels at most; past that no other is taken until one has lapsed.
const CHANNELS_MAX: usize = 256;

/// A seed that does not relay is not asked again for so long.
const REFUSED_FOR: Duration = Duration::from_secs(600);
/// Seeds remembered for that at most; of more the oldest is asked again.
const REFUSALS_MAX: usize = 64;

/// Seeds that do not relay, and when they said so.
#[derive(Default)]
pub(super) struct Refusals(BTreeMap<SocketAddr, Instant>);

impl Refusals {
    fn add(&mut self, now: Instant, seed: SocketAddr) {
        self.0.insert(seed, now);
        if self.0.len() > REFUSALS_MAX {
            let oldest = self.0.iter().min_by_key(|(_, at)| **at).map(|(seed, _)| *seed);
            oldest.map(|seed| self.0.remove(&seed));
        }
    }

    fn holds(&self, now: Instant, seed: &SocketAddr) -> bool {
        self.0.get(seed).is_some_and(|at| now.since(*at) < REFUSED_FOR)
    }
}

/// The way to one peer by one seed.
#[derive(Debug, Default)]
struct Relay {
    channel: Option<ChannelId>,
    /// The peer's end was there when we heard last.
    open: bool,
    is_asking: bool,
    /// When to bind (again).
    at: Option<Instant>,
    binds: u32,
    /// The peer asked for it: our end is bound once whatever way there seems to be, since the peer may have lost it.
    is_asked: bool,
}

/// The ways to one peer by seeds.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    by_seed: BTreeMap<SocketAddr, Relay>,
    introduced: Option<Instant>,
    /// What the peer's record lists and is still to be tried, and when the next one is.
    listed: VecDeque<PathAddr>,
    try_at: Option<Instant>,
}

impl Relays {
    /// There is none, nor is one asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.by_seed.is_empty()
    }

    /// When a bind is due.
    fn deadline(&self) -> Option<Instant> {
        let binds = self.by_seed.values().filter(|relay| !relay.is_asking).filter_map(|relay| relay.at);
        binds.chain(self.try_at).min()
    }

    /// What the peer's record lists, as a port that a router maps, may lead there where no probe does.
    pub(super) fn on_listed(&mut self, now: Instant, listed: &[PathAddr]) {
        self.listed = listed.iter().copied().collect();
        self.try_at = Some(now).filter(|_| !listed.is_empty());
    }

    /// The listed address that is to be tried now.
    fn next_listed(&mut self, now: Instant) -> Option<PathAddr> {
        self.try_at.take_if(|at| *at <= now)?;
        let next = self.listed.pop_front()?;
        self.try_at = Some(now + TRY_FOR);
        Some(next)
    }

    /// There is a way that needs none of this.
    pub(super) fn on_live_path(&mut self) {
        (self.listed, self.try_at) = Default::default();
        self.by_seed.values_mut().for_each(|relay| relay.is_asked = false);
    }
}

/// Channels that were bound: at which seed, to whom. What comes in one is taken for as long as the seed forwards it, also
/// after the session has left: the peer may not know yet that it has.
#[derive(Debug, Default)]
pub(super) struct Channels(BTreeMap<(SocketAddr, ChannelId), (PeerId, Instant)>);

impl Channels {
    /// False where there are too many.
    fn insert(&mut self, now: Instant, seed: SocketAddr, channel: ChannelId, id: PeerId) -> bool {
        if self.0.len() >= CHANNELS_MAX {
            self.0.retain(|_, (_, until)| now < *until);
        }
        let has_room = self.0.len() < CHANNELS_MAX || self.0.contains_key(&(seed, channel));
        if has_room {
            self.0.insert((seed, channel), (id, now + BOUND_FOR));
        }
        has_room
    }

    fn contains(&self, now: Instant, seed: SocketAddr, channel: ChannelId) -> bool {
        self.0.get(&(seed, channel)).is_some_and(|(_, until)| now < *until)
    }
}

/// The datagram, and where it goes: in a channel where the path is one.
pub(super) fn addressed(path: PathAddr, datagram: &[u8]) -> (Target, Vec<u8>) {
    let mut out = datagram.to_vec();
    wrap(path, &mut out);
    (Target::Unicast(path.remote), out)
}

/// Puts the channel in front of a datagram that goes by a relay.
pub(super) fn wrap(path: PathAddr, datagram: &mut Vec<u8>) {
    if let Some(channel) = path.relay {
        let inner = std::mem::take(datagram);
        relay::encode(channel, &inner, datagram);
    }
}

impl Node {
    /// Takes a datagram that a relay forwarded.
    pub(super) fn on_relayed(&mut self, now: Now, from: SocketAddr, bytes: &mut [u8]) {
        let Ok(Relayed { channel, datagram }) = Relayed::decode(bytes) else { return self.drop_datagram() };
        if !self.channels.contains(now.instant, from, channel) {
            return self.drop_datagram();
        }
        self.on_from_peer(now, PathAddr::relayed(from, channel), datagram);
    }

    /// Asks this seed to relay for us and a peer, unless there is a better way already; where the peer asked for it
    /// (`is_asked`), that way may be lost.
    pub(super) fn want_relay(&mut self, now: Now, id: PeerId, seed: SocketAddr, is_asked: bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_direct = !is_asked && peer.session().is_some_and(|session| session.path().relay.is_none());
        let relays = &mut peer.relays;
        let is_known = relays.by_seed.contains_key(&seed);
        if is_direct || (!is_known && relays.by_seed.len() >= RELAYS_MAX) || self.refusals.holds(now.instant, &seed) {
            return;
        }
        // A record at a seed that is not ours outlives its use, and whoever finds it there looks for us in vain: most pairs
        // have a path before one is needed.
        let at = if self.seeds.may_hold_us(seed) { now.instant } else { now.instant + ABROAD_AFTER };
        // One that was bound before is bound again: somebody may be elsewhere.
        let relay = relays.by_seed.entry(seed).or_default();
        (relay.at, relay.binds) = (Some(relay.at.map_or(at, |before| before.min(at))), 0);
        relay.is_asked |= is_asked;
        relays.introduced.get_or_insert(now.instant);
        self.touch(id);
    }

    /// Binds what is due, introduces again, or lets go of relays that nobody needs.
    pub(super) fn drive_relay(&mut self, now: Now, id: PeerId) {
        let me = self.id();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let current = relay_in_use(peer);
        if let Some(seed) = current.filter(|seed| !peer.relays.by_seed.contains_key(seed)) {
            // The peer came by one that we were asked for beside that of the session before.
            peer.relays.by_seed.insert(seed, Relay { at: Some(now.instant), ..Relay::default() });
            peer.relays.introduced = Some(now.instant);
        }
        if peer.relays.by_seed.is_empty() {
            return;
        }
        let is_leaving = self.leaving.is_some();
        if !is_relay_needed(peer) || is_leaving {
            self.drop_relays_but(&id, |relay| relay.is_asked && !is_leaving);
        }
        self.try_listed(now, id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_due = |relay: &Relay| relay.at.is_some_and(|at| at <= now.instant) && !relay.is_asking;
        let mut given_up = Vec::new();
        for (seed, relay) in peer.relays.by_seed.iter_mut().filter(|(_, relay)| is_due(relay)) {
            relay.binds += u32::from(current != Some(*seed));
            if relay.binds > BINDS_MAX {
                given_up.push(*seed);
                continue;
            }
            // Who has no record there yet needs one for this.
            self.seeds.register_for_relay(now, *seed);
            relay.is_asking = self.seeds.bind(now, *seed, id);
            relay.at = (!relay.is_asking).then_some(now.instant + BIND_SOON);
        }
        let is_old = peer.relays.introduced.is_some_and(|at| now.instant.since(at) >= INTRODUCE_AGAIN);
        if let Some(seed) = current.filter(|_| is_old && dials_first(&me, &id)) {
            peer.relays.introduced = Some(now.instant);
            self.introduce(now, id, seed, Vec::new());
        }
        given_up.into_iter().for_each(|seed| self.give_up_relay(&id, seed));
    }

    /// The seed bound our end; `open`: the peer's is there, too.
    pub(super) fn on_bound(&mut self, now: Now, seed: SocketAddr, id: PeerId, channel: ChannelId, open: bool) {
        if !self.peers.get(&id).is_some_and(|peer| peer.relays.by_seed.contains_key(&seed)) {
            return;
        }
        if !self.channels.insert(now.instant, seed, channel, id) {
            return self.on_not_bound(now, seed, id, NotBound::Silent);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let current = relay_in_use(peer);
        if peer.session().is_some() && current != Some(seed) {
            // Only in case that the peer has lost the session, and comes that way: as long as this once is good for.
            self.give_up_relay(&id, seed);
            return self.touch(id);
        }
        let Some(relay) = peer.relays.by_seed.get_mut(&seed) else { return };
        let is_news = relay.channel.replace(channel) != Some(channel) || (open && !relay.open);
        (relay.is_asking, relay.is_asked, relay.open) = (false, false, open);
        relay.at = Some(now.instant + if open { BIND_AGAIN } else { BIND_SOON });
        let path = PathAddr::relayed(seed, channel);
        if is_news {
            peer.candidates.retain(|candidate| candidate.path.relay.is_none() || candidate.path.remote != seed);
            peer.on_heard_at(now.instant, path);
        }
        match &mut peer.link {
            // The seed has started anew, and knows the channel by another number.
            Link::Up(session) if open => session.try_path(now.instant, path),
            Link::Up(_) => {}
            Link::Idle | Link::Waiting(_) | Link::Handshaking(_) if is_news => self.dial_soon(id),
            Link::Idle | Link::Waiting(_) | Link::Handshaking(_) => {}
        }
        self.touch(id);
    }

    /// The seed does not bind our end.
    pub(super) fn on_not_bound(&mut self, now: Now, seed: SocketAddr, id: PeerId, why: NotBound) {
        if why == NotBound::Refused {
            self.refusals.add(now.instant, seed);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if why != NotBound::NotYet && relay_in_use(peer) != Some(seed) {
            return self.give_up_relay(&id, seed);
        }
        let Some(relay) = peer.relays.by_seed.get_mut(&seed) else { return };
        relay.is_asking = false;
        relay.at = Some(now.instant + BIND_SOON);
        self.touch(id);
    }

    /// This seed is asked no more.
    fn give_up_relay(&mut self, id: &PeerId, seed: SocketAddr) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.relays.by_seed.remove(&seed);
        peer.candidates.retain(|candidate| candidate.path.relay.is_none() || candidate.path.remote != seed);
        self.end_relay(seed);
        self.forget_blank(*id);
    }

    /// Whatever comes next begins anew; what still comes in by a channel is taken until it has lapsed.
    pub(super) fn drop_relays(&mut self, id: &PeerId) {
        self.drop_relays_but(id, |_| false);
    }

    fn drop_relays_but(&mut self, id: &PeerId, stays: impl Fn(&Relay) -> bool) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.candidates.retain(|candidate| candidate.path.relay.is_none());
        let (stay, dropped) = std::mem::take(&mut peer.relays).by_seed.into_iter().partition(|(_, relay)| stays(relay));
        peer.relays.by_seed = stay;
        let dropped: BTreeMap<_, _> = dropped;
        dropped.into_keys().for_each(|seed| self.end_relay(seed));
    }

    /// While the session is relayed, one listed address after the other is tried.
    fn try_listed(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(path) = peer.relays.next_listed(now.instant)
            && let Link::Up(session) = &mut peer.link
        {
            session.try_path(now.instant, path);
        }
    }

    /// Where nobody is reached by this seed any more it needs no record of ours for that.
    fn end_relay(&mut self, seed: SocketAddr) {
        if !self.peers.values().any(|peer| peer.relays.by_seed.contains_key(&seed)) {
            self.seeds.end_relay(seed);
        }
    }

    /// A path that opened while the handshake went by a relay was no news to anybody then: it is tried now. Where there
    /// is none, what the peer's record lists may still lead to it.
    pub(super) fn leave_relay(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let live = peer.heard_straight(now.instant);
        let Link::Up(session) = &mut peer.link else { return };
        match live {
            _ if session.path().relay.is_none() => {}
            Some(path) => session.try_path(now.instant, path),
            // A knock from before may never have come to where the peer is heard now.
            None => {
                self.end_knocks(&id);
                self.ask_who_introduces(now, id);
            }
        }
    }

    /// Our way to the seeds may be another: they must see our ends where we are now.
    pub(super) fn bind_all_again(&mut self, now: Now) {
        for (id, peer) in &mut self.peers {
            for relay in peer.relays.by_seed.values_mut() {
                (relay.at, relay.is_asking) = (Some(now.instant), false);
                self.touched.insert(*id);
            }
        }
    }

    /// When this peer's relays want attention.
    pub(super) fn relay_deadline(&self, peer: &Peer) -> Option<Instant> {
        let is_ours = relay_in_use(peer).is_some() && dials_first(&self.id(), &peer.contact.id);
        let again = peer.relays.introduced.filter(|_| is_ours && !peer.relays.by_seed.is_empty());
        peer.relays.deadline().into_iter().chain(again.map(|at| at + INTRODUCE_AGAIN)).min()
    }
}

/// The seed that the session goes by.
fn relay_in_use(peer: &Peer) -> Option<SocketAddr> {
    let path = peer.session()?.path();
    path.relay.map(|_| path.remote)
}

/// True as long as there is no better way to a peer that somebody wants to reach.
fn is_relay_needed(peer: &Peer) -> bool {
    match &peer.link {
        Link::Up(session) => session.path().relay.is_some(),
        Link::Idle | Link::Waiting(_) | Link::Handshaking(_) => peer.is_wanted() || !peer.rising.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listed_address_has_its_time_until_a_path_is_live() {
        let second = |second| Instant::from_start(Duration::from_secs(second));
        let paths = [1, 2, 3].map(|last| PathAddr::direct(SocketAddr::from(([203, 0, 113, last], 17_118)), false));
        for live in [None, Some(second(4))] {
            let mut relays = Relays::default();
            relays.on_listed(second(0), &paths);
            let mut tried = Vec::new();
            while let Some(at) = relays.deadline() {
                if live.is_some_and(|live| live <= at) {
                    relays.on_live_path();
                }
                tried.extend(relays.next_listed(at).map(|path| (at, path)));
            }
            let expected = [second(0), second(3), second(6)].into_iter().zip(paths);
            assert_eq!(tried, expected.take(if live.is_some() { 2 } else { 3 }).collect::<Vec<_>>());
        }
    }
}
