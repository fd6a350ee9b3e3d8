//! Relays (protocol §7): where no path opens between two peers, a seed that both are registered with
//! forwards their datagrams, slowly. It is asked beside every introduction, so that the first text waits for
//! no probe; a session moves away from it as soon as there is a path, and never back.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{
    Node, Target,
    dial::dials_first,
    peer::{Link, Peer},
};
use crate::{
    clock::{Instant, Now},
    id::{ChannelId, PeerId},
    session::PathAddr,
    wire::relay::{self, Relayed},
};

/// An end of a channel is forgotten by the seed 75 s after it was bound: it is bound again this often.
const BIND_AGAIN: Duration = Duration::from_secs(20);
/// The same while the peer's end is not there, or we are not registered yet.
const BIND_SOON: Duration = Duration::from_millis(500);
/// Binds in a row without an open channel; then the next introduction begins anew.
const BINDS_MAX: u32 = 10;
/// While a session is relayed, another introduction is tried this often.
const INTRODUCE_AGAIN: Duration = Duration::from_secs(60);
/// Channels at most.
const CHANNELS_MAX: usize = 256;
/// A seed that does not relay is not asked again for so long.
const REFUSED_FOR: Duration = Duration::from_secs(600);
/// Seeds remembered for that at most; of more the oldest is asked again.
const REFUSALS_MAX: usize = 64;

/// Which seed both ends should choose, where each may know several; a better one takes the place of another.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Choice {
    /// None, or one that does not answer.
    #[default]
    Any,
    /// One where the higher id was found.
    OfHigher,
    /// One where the lower id was found: both ends know that it is.
    OfLower,
    /// One that relays for us now.
    Open,
}

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

/// The way to one peer by a seed.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    seed: Option<SocketAddr>,
    choice: Choice,
    channel: Option<ChannelId>,
    is_asking: bool,
    /// When to bind (again).
    at: Option<Instant>,
    binds: u32,
    introduced: Option<Instant>,
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
        if self.channels.get(&channel).is_none_or(|(seed, _)| *seed != from) {
            return self.drop_datagram();
        }
        self.on_from_peer(now, PathAddr::relayed(from, channel), datagram);
    }

    /// Asks the seed at which `found` was found to relay for us and a peer, unless there is as good a way already.
    pub(super) fn want_relay(&mut self, now: Now, id: PeerId, seed: SocketAddr, found: PeerId) {
        let choice = if found == id.min(self.id()) { Choice::OfLower } else { Choice::OfHigher };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_direct = peer.session().is_some_and(|session| session.path().relay.is_none());
        let is_chosen = match peer.relay.seed {
            Some(chosen) if chosen == seed => peer.relay.channel.is_some() || peer.relay.is_asking,
            Some(_) => peer.relay.choice >= choice,
            None => false,
        };
        if is_direct || is_chosen || self.refusals.holds(now.instant, &seed) {
            return;
        }
        self.drop_relay(&id);
        if let Some(peer) = self.peers.get_mut(&id) {
            let (at, introduced) = (Some(now.instant), Some(now.instant));
            peer.relay = Relay { seed: Some(seed), choice, at, introduced, ..Relay::default() };
        }
        self.seeds.register_for_relay(now, seed);
        self.touch(id);
    }

    /// Binds what is due, introduces again, or lets go of a relay that nobody needs.
    pub(super) fn drive_relay(&mut self, now: Now, id: PeerId) {
        let me = self.id();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(seed) = peer.relay.seed else { return };
        if !is_relay_needed(peer) || self.leaving.is_some() {
            return self.drop_relay(&id);
        }
        let is_relayed = peer.session().is_some_and(|session| session.path().relay.is_some());
        if peer.relay.at.is_some_and(|at| at <= now.instant) && !peer.relay.is_asking {
            peer.relay.binds += u32::from(!is_relayed);
            if peer.relay.binds > BINDS_MAX {
                return self.drop_relay(&id);
            }
            let is_asked = self.seeds.bind(now, seed, id);
            peer.relay.is_asking = is_asked;
            peer.relay.at = (!is_asked).then_some(now.instant + BIND_SOON);
        }
        let is_old = peer.relay.introduced.is_some_and(|at| now.instant.since(at) >= INTRODUCE_AGAIN);
        if is_relayed && is_old && dials_first(&me, &id) {
            peer.relay.introduced = Some(now.instant);
            self.introduce(now, id, seed, Vec::new());
        }
    }

    fn drop_relay(&mut self, id: &PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Relay { seed, channel, .. } = std::mem::take(&mut peer.relay);
        peer.candidates.retain(|candidate| candidate.path.relay.is_none());
        channel.map(|channel| self.channels.remove(&channel));
        let is_over = |seed: &SocketAddr| self.peers.values().all(|peer| peer.relay.seed != Some(*seed));
        if let Some(seed) = seed.filter(is_over) {
            self.seeds.end_relay(seed);
        }
    }

    pub(super) fn on_bound(&mut self, now: Now, seed: SocketAddr, id: PeerId, channel: ChannelId, open: bool) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.relay.seed == Some(seed)) else { return };
        peer.relay.is_asking = false;
        peer.relay.at = Some(now.instant + if open { BIND_AGAIN } else { BIND_SOON });
        match (open, peer.relay.choice) {
            (true, _) => peer.relay.choice = Choice::Open,
            (false, Choice::Open) => peer.relay.choice = Choice::OfHigher,
            (false, _) => {}
        }
        if peer.relay.channel == Some(channel) || self.channels.len() >= CHANNELS_MAX {
            return self.touch(id);
        }
        let before = peer.relay.channel.replace(channel);
        peer.candidates.retain(|candidate| candidate.path.relay.is_none());
        peer.on_heard_at(now.instant, PathAddr::relayed(seed, channel));
        let is_down = !matches!(peer.link, Link::Up(_));
        before.map(|before| self.channels.remove(&before));
        self.channels.insert(channel, (seed, id));
        if is_down {
            self.dial_soon(id);
        }
        self.touch(id);
    }

    /// The seed does not relay, or did not answer.
    pub(super) fn on_not_bound(&mut self, now: Now, seed: SocketAddr, id: PeerId, refused: bool) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.relay.seed == Some(seed)) else { return };
        if refused {
            self.refusals.add(now.instant, seed);
            return self.drop_relay(&id);
        }
        (peer.relay.is_asking, peer.relay.choice) = (false, Choice::Any);
        peer.relay.at = Some(now.instant + BIND_SOON);
        self.touch(id);
    }

    /// Our way to the seeds may be another: they must see our ends where we are now.
    pub(super) fn bind_all_again(&mut self, now: Now) {
        for peer in self.peers.values_mut().filter(|peer| peer.relay.channel.is_some()) {
            peer.relay.at = Some(now.instant);
            peer.relay.introduced = None;
        }
    }

    /// When this peer's relay wants attention.
    pub(super) fn relay_deadline(&self, peer: &Peer) -> Option<Instant> {
        peer.relay.seed?;
        let again = peer.relay.introduced.map(|at| at + INTRODUCE_AGAIN);
        let again = again.filter(|_| peer.session().is_some() && dials_first(&self.id(), &peer.contact.id));
        peer.relay.at.filter(|_| !peer.relay.is_asking).into_iter().chain(again).min()
    }
}

/// True as long as there is no better way to a peer that somebody wants to reach.
fn is_relay_needed(peer: &Peer) -> bool {
    match &peer.link {
        Link::Up(session) => session.path().relay.is_some(),
        Link::Idle | Link::Waiting(_) | Link::Handshaking(_) => peer.is_wanted() || !peer.rising.is_empty(),
    }
}
