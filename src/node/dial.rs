//! Dialling and handshakes: when a peer is dialled, which datagram goes out again and when, and who is
//! let in (protocol, ANNOUNCE and HANDSHAKE). Which of several sessions counts is decided in `link`.

use std::time::Duration;

use rand_core::RngCore;

use super::{
    Node,
    command::{CommandId, Reply},
    link::Route,
    peer::{Dial, Link, Repeat, Rising},
    relay::addressed,
};
use crate::{
    clock::Now,
    crypto::handshake::{Established, Initiator, Responder},
    id::{PeerId, SessionIndex},
    node::interface::on_link,
    session::{PathAddr, Session, SessionConfig},
    wire::{
        WIRE_VERSION,
        message::HandshakePayload,
        packet::{Confirm, Initiation, Response},
    },
};

/// Handshake datagrams of one attempt at most.
const TRIES_MAX: u32 = 8;
/// First wait for an answer, by kind of path; doubled up to [`RETRY_MAX`], ±20 %.
const RETRY_ON_LINK: Duration = Duration::from_millis(50);
const RETRY_OFF_LINK: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Wait after the first failed attempt; doubled up to [`REDIAL_MAX`], with jitter.
const REDIAL_MIN: Duration = Duration::from_millis(200);
const REDIAL_MAX: Duration = Duration::from_secs(60);
/// The higher id leaves the lower one this long to dial first.
const LOWER_FIRST: Duration = Duration::from_millis(300);
/// Sessions with one peer that wait for their first rekey at most.
const RISING_MAX: usize = 4;

impl Node {
    /// Starts what this peer needs now: an attempt, a repetition, or nothing.
    pub(crate) fn drive_link(&mut self, now: Now, id: PeerId) {
        let me = self.id();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match &peer.link {
            Link::Idle => {}
            Link::Waiting(until) if *until <= now.instant => peer.link = Link::Idle,
            Link::Handshaking(dial) if dial.repeat.at <= now.instant => return self.repeat_dial(now, id),
            Link::Waiting(_) | Link::Handshaking(_) | Link::Up(_) => return,
        }
        if !peer.is_wanted() || peer.candidates.is_empty() || self.leaving.is_some() {
            peer.dial_at = None;
            return;
        }
        // A session is about to open: no second one beside it.
        if !peer.rising.is_empty() {
            peer.dial_at = None;
            return;
        }
        if !dials_first(&me, &id) && !peer.has_mail() && !peer.is_looked_at() {
            let at = *peer.dial_at.get_or_insert(now.instant + LOWER_FIRST);
            if at > now.instant {
                return;
            }
        }
        peer.dial_at = None;
        let index = self.free_index();
        let (initiator, datagram) = Initiator::new(&self.identity, id, &self.config.network, index, &mut self.chance.rng());
        self.routes.insert(index, Route::Dial(id));
        let dial = Dial { initiator, index, datagram, repeat: Repeat { tries: 0, at: now.instant } };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.link = Link::Handshaking(Box::new(dial));
        }
        self.repeat_dial(now, id);
    }

    /// Sends the initiation (again), or gives the attempt up.
    fn repeat_dial(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Link::Handshaking(dial) = &peer.link else { return };
        let tries = dial.repeat.tries;
        if tries >= TRIES_MAX || !peer.is_wanted() {
            return self.give_up_dial(now, id);
        }
        let targets = peer.targets(now.instant);
        let Link::Handshaking(dial) = &mut peer.link else { return };
        let near = targets.iter().any(|target| on_link(&self.interfaces, &target.remote));
        for target in targets {
            self.transmits.push_back(addressed(target, &dial.datagram));
        }
        dial.repeat.tries += 1;
        dial.repeat.at = now.instant + retry(tries, near, &mut self.rng);
    }

    pub(super) fn give_up_dial(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Link::Handshaking(dial) = &peer.link {
            self.routes.remove(&dial.index);
        }
        let wait = REDIAL_MIN.saturating_mul(1 << peer.failures.min(16)).min(REDIAL_MAX);
        peer.failures = peer.failures.saturating_add(1);
        peer.link = Link::Waiting(now.instant + jitter(wait, &mut self.rng));
        self.tell_presence(now, id);
    }

    /// Something says that the peer is back: no waiting.
    pub(crate) fn dial_soon(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.failures = 0;
        match &mut peer.link {
            Link::Waiting(_) => peer.link = Link::Idle,
            // Nobody heard the tries so far; the pause after them may have grown to seconds.
            Link::Handshaking(dial) => dial.repeat = Repeat { tries: 0, at: self.now.instant },
            Link::Idle | Link::Up(_) => {}
        }
        self.touch(id);
    }

    /// Everybody with mail is dialled now, or this peer alone.
    pub(super) fn retry(&mut self, command: CommandId, only: Option<PeerId>) {
        let waiting = self.peers.iter().filter(|(id, peer)| only.is_none_or(|only| only == **id) && peer.has_mail());
        let waiting: Vec<_> = waiting.map(|(id, _)| *id).collect();
        waiting.into_iter().for_each(|peer| self.dial_soon(peer));
        self.reply(command, Reply::Done);
    }

    // --- handshake datagrams

    pub(crate) fn on_initiation(&mut self, now: Now, path: PathAddr, datagram: &[u8]) {
        let Ok(initiation) = Initiation::decode(datagram) else { return self.drop_datagram() };
        if self.half_open.shunned.is_ignored(now.instant, path.remote) || !self.mac1.verify(datagram) || self.leaving.is_some() {
            return self.drop_datagram();
        }
        if let Some(response) = self.half_open.repeated(&initiation.mac1) {
            let response = addressed(path, response);
            return self.transmits.push_back(response);
        }
        let from = path.remote;
        if !self.half_open.admits(from) {
            return self.drop_datagram();
        }
        let index = self.free_index();
        let payload = self.payload();
        let made = Responder::new(&self.identity, &self.config.network, datagram, index, &payload, &mut self.chance.rng());
        let Ok((responder, response)) = made else { return self.drop_datagram() };
        // Through full tables this takes less than the handshake itself: 0.1 ms beside 0.2.
        let mut contacts = self.peers.values().filter(|peer| peer.contact.added);
        let is_contact = contacts.any(|peer| peer.candidates.iter().any(|candidate| candidate.path.remote == from));
        let evicted = self.half_open.insert(now.instant, index, responder, initiation.mac1, from, is_contact, &mut self.rng);
        if let Some(evicted) = evicted {
            self.routes.remove(&evicted);
        }
        self.routes.insert(index, Route::HalfOpen);
        self.transmits.push_back(addressed(path, &response));
    }

    pub(crate) fn on_response(&mut self, now: Now, path: PathAddr, datagram: &[u8]) {
        let Ok(response) = Response::decode(datagram) else { return self.drop_datagram() };
        let Some(&Route::Dial(id)) = self.routes.get(&response.receiver) else { return self.drop_datagram() };
        let payload = self.payload();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Link::Handshaking(dial) = &mut peer.link else { return };
        let Ok((established, confirm)) = dial.initiator.on_response(datagram, &payload) else { return self.drop_datagram() };
        let repeat = Repeat { tries: 1, at: now.instant + retry(0, path.on_link, &mut self.rng) };
        peer.link = Link::Idle;
        self.transmits.push_back(addressed(path, &confirm));
        self.add_rising(now, established, path, Some((confirm, repeat)));
    }

    pub(crate) fn on_confirm(&mut self, now: Now, path: PathAddr, datagram: &[u8]) {
        let Ok(confirm) = Confirm::decode(datagram) else { return self.drop_datagram() };
        let Some(half_open) = self.half_open.get_mut(confirm.receiver) else { return self.drop_datagram() };
        let Ok(established) = half_open.responder.on_confirm(datagram) else { return self.drop_datagram() };
        self.half_open.remove(confirm.receiver);
        self.routes.remove(&confirm.receiver);
        if self.peers.get(&established.peer).is_some_and(|peer| peer.is_blocked()) {
            // A relay is the address of many.
            if path.relay.is_none() {
                self.half_open.shunned.shun(now.instant, path.remote, established.peer);
            }
        } else if self.admits(now, &established.peer, path) {
            self.add_rising(now, established, path, None);
        }
    }

    /// Who may have a session: contacts, strangers from this LAN, and a few from elsewhere, who can only ask to write.
    fn admits(&mut self, now: Now, id: &PeerId, path: PathAddr) -> bool {
        let is_contact = self.peers.get(id).is_some_and(|peer| peer.contact.added);
        let has_room = self.peers.contains_key(id) || self.peers.len() < super::PEERS_MAX;
        *id != self.id() && (is_contact || (has_room && (path.on_link || self.has_room_for_caller(now))))
    }

    fn add_rising(&mut self, now: Now, established: Established, path: PathAddr, confirm: Option<(Vec<u8>, Repeat)>) {
        let id = established.peer;
        let index = established.local;
        self.peer_mut(id, now);
        let session = Box::new(Session::new(established, path, SessionConfig::default(), now.instant, &mut self.chance.rng()));
        self.routes.insert(index, Route::Session(id));
        let peer = self.peer_mut(id, now);
        if peer.rising.len() >= RISING_MAX {
            let oldest = peer.rising.remove(0);
            self.routes.remove(&oldest.session.local_index());
        }
        self.peer_mut(id, now).rising.push(Rising { session, confirm });
        self.drain_sessions(now, id);
    }

    /// The third datagram goes out again until the responder was heard.
    pub(super) fn repeat_confirms(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for rising in &mut peer.rising {
            if rising.session.is_heard() {
                rising.confirm = None;
            }
            let Some((confirm, repeat)) = &mut rising.confirm else { continue };
            if repeat.at <= now.instant {
                let path = rising.session.path();
                self.transmits.push_back(addressed(path, confirm));
                repeat.at = now.instant + retry(repeat.tries, path.on_link, &mut self.rng);
                repeat.tries += 1;
            }
        }
    }

    fn payload(&self) -> HandshakePayload {
        let software = concat!("p2pchat-udp/", env!("CARGO_PKG_VERSION")).to_owned();
        HandshakePayload { version: WIRE_VERSION, boot: self.boot, features: Vec::new(), software }
    }

    fn free_index(&mut self) -> SessionIndex {
        loop {
            let index = SessionIndex(self.rng.next_u32());
            if !self.routes.contains_key(&index) {
                return index;
            }
        }
    }
}

/// True where `me` dials `peer`, and not the other way round (protocol, ANNOUNCE).
pub(crate) fn dials_first(me: &PeerId, peer: &PeerId) -> bool {
    me < peer
}

fn retry(tries: u32, near: bool, rng: &mut rand_chacha::ChaCha20Rng) -> Duration {
    let first = if near { RETRY_ON_LINK } else { RETRY_OFF_LINK };
    jitter(first.saturating_mul(1 << tries.min(8)).min(RETRY_MAX), rng)
}

/// ±20 %.
fn jitter(wait: Duration, rng: &mut rand_chacha::ChaCha20Rng) -> Duration {
    wait * (80 + rng.next_u32() % 41) / 100
}
