//! What is said about peers, and about us: presence, names, away, the list of everybody. Presence is
//! never better than its evidence (protocol, PACKETS).

use super::{
    Node,
    command::{CommandId, PathKind, PeerView, Presence, Reason, Reply},
    delivery::Claim,
    event::Event,
    peer::{Link, Peer},
};
use crate::{
    clock::{Instant, Now},
    id::PeerId,
    store::row::Op,
    text::Name,
    wire::message::{self, Admission, BusyReason, Item},
};

use std::time::Duration;

/// A peer's new name is taken at most this often, and whether it is away; of several meanwhile, the last one.
const RENAME_PAUSE: Duration = Duration::from_secs(1);

impl Node {
    fn presence(peer: &Peer) -> Presence {
        let reachable = peer.session().is_some() || peer.is_near();
        match (reachable, &peer.away) {
            (true, None) => Presence::Online,
            (true, Some(_)) => Presence::Away,
            (false, _) if peer.heard || peer.contact.last_heard.is_some() => Presence::Offline,
            (false, _) => Presence::Unknown,
        }
    }

    pub(super) fn view(&self, peer: &Peer) -> PeerView {
        let session = peer.session();
        let path = match session {
            Some(session) if session.path().relay.is_some() => PathKind::Relay,
            Some(session) if session.path().on_link => PathKind::Lan,
            Some(_) => PathKind::Direct,
            None if peer.is_near() => PathKind::Lan,
            None => PathKind::None,
        };
        let addr = session
            .map(|session| session.path().remote)
            .or_else(|| peer.candidates.first().map(|candidate| candidate.path.remote));
        PeerView {
            id: peer.contact.id,
            name: peer.name(),
            petname: peer.contact.petname.clone(),
            presence: Self::presence(peer),
            away_text: peer.away.clone().unwrap_or_default(),
            path,
            addr: addr.filter(|_| path != PathKind::None),
            last_heard: peer.contact.last_heard,
            trust: peer.contact.trust,
            contact: peer.contact.added,
            rtt: session.map(crate::session::Session::rtt),
        }
    }

    /// Everybody known: online first, then by name, then by id.
    pub(crate) fn peer_views(&self) -> Vec<PeerView> {
        let mut views: Vec<_> = self.peers.values().map(|peer| self.view(peer)).collect();
        let rank = |view: &PeerView| match view.presence {
            Presence::Online => 0,
            Presence::Away => 1,
            Presence::Offline => 2,
            Presence::Unknown => 3,
        };
        views.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name)).then_with(|| a.id.cmp(&b.id)));
        views
    }

    /// Tells the presence of a peer where it changed.
    pub(crate) fn tell_presence(&mut self, _now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let presence = Self::presence(peer);
        // Whom I block may come and go.
        if presence == Presence::Unknown || peer.told == Some(presence) || peer.is_blocked() {
            return;
        }
        // That somebody is not here is news only about somebody who was.
        let is_news = peer.told.is_some() || presence != Presence::Offline;
        peer.told = Some(presence);
        if is_news && let Some(peer) = self.peers.get(&id) {
            let view = self.view(peer);
            self.tell(Event::Peer(view));
        }
    }

    /// A peer that only ever announced itself and is gone leaves nothing behind.
    pub(crate) fn forget_blank(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let blank = !peer.contact.added && !peer.stored && !peer.neighbour;
        let unused = matches!(peer.link, Link::Idle | Link::Waiting(_))
            && peer.rising.is_empty()
            && peer.fading.is_none()
            && peer.relays.is_empty()
            && !peer.is_looked_at();
        if blank && unused {
            if let Some(peer) = self.peers.remove(&id)
                && let Some(deadline) = peer.deadline
            {
                self.deadlines.remove(&(deadline, id));
            }
            self.touched.remove(&id);
            self.ready.remove(&id);
        }
    }

    /// A peer said what it calls itself.
    pub(crate) fn on_name(&mut self, id: PeerId, name: &str) {
        let now = self.now.instant;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let name = Name::parse(name).map(|name| name.to_string()).unwrap_or_default();
        peer.next_name = None;
        if peer.contact.name == name {
            return;
        }
        if peer.renamed_at.is_some_and(|at| now < at + RENAME_PAUSE) {
            peer.next_name = Some(name);
            return;
        }
        peer.renamed_at = Some(now);
        peer.contact.name = name;
        if peer.stored {
            let contact = peer.contact.clone();
            self.batches.push(Op::Contact(contact));
        }
        if let Some(peer) = self.peers.get(&id)
            && peer.told.is_some()
        {
            let view = self.view(peer);
            self.tell(Event::Peer(view));
        }
    }

    /// When the name that waits may be taken.
    pub(crate) fn rename_deadline(peer: &Peer) -> Option<Instant> {
        let name = peer.next_name.as_ref().and(peer.renamed_at);
        let away = peer.next_away.as_ref().and(peer.away_at);
        name.into_iter().chain(away).min().map(|at| at + RENAME_PAUSE)
    }

    /// Takes the name, and what was said about being away, that have waited long enough.
    pub(crate) fn take_next_name(&mut self, now: Now, id: PeerId) {
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at + RENAME_PAUSE <= now.instant);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let name = if is_over(peer.renamed_at) { peer.next_name.take() } else { None };
        let away = if is_over(peer.away_at) { peer.next_away.take() } else { None };
        if let Some(name) = name {
            self.on_name(id, &name);
        }
        if let Some(away) = away {
            self.on_away(id, away);
        }
    }

    pub(crate) fn on_away(&mut self, id: PeerId, away: Option<String>) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        // The announce only says that; the session also says why.
        if away.is_some() && peer.away.is_some() && away.as_deref() == Some("") {
            // It is away now, whatever waited to be told.
            peer.next_away.take_if(|next| next.is_none());
            return;
        }
        peer.next_away = None;
        if peer.away == away {
            return;
        }
        let is_reason = away.is_some() && peer.away.as_deref() == Some("");
        if !is_reason && peer.away_at.is_some_and(|at| now.instant < at + RENAME_PAUSE) {
            peer.next_away = Some(away);
            return self.touch(id);
        }
        peer.away_at = Some(now.instant);
        let has_new_words = away.is_some() && peer.away.is_some() && away != peer.away;
        peer.away = away;
        if has_new_words && peer.told == Some(Presence::Away) {
            // Away as before, for another reason; or the announce was quicker than the reason.
            let view = self.peers.get(&id).map(|peer| self.view(peer));
            view.into_iter().for_each(|view| self.tell(Event::Peer(view)));
        }
        self.tell_presence(now, id);
    }

    /// Why a message to this peer waits; `None` where it is connected.
    pub(crate) fn waiting_reason(&self, id: &PeerId) -> Option<Reason> {
        let peer = self.peers.get(id)?;
        if peer.is_blocked() {
            return Some(Reason::Blocked);
        }
        if peer.session().is_some() {
            if peer.admission() == Some(Admission::REQUEST) {
                return Some(Reason::AwaitingAcceptance);
            }
            let (_, reason) = peer.conversation.as_ref()?.busy?;
            return Some(match reason {
                BusyReason::DiskFull => Reason::DiskFullThere,
                BusyReason::Unanswered => Reason::AwaitingAcceptance,
                BusyReason::Other => Reason::BusyThere,
            });
        }
        Some(match Self::presence(peer) {
            Presence::Online | Presence::Away if peer.failures > 0 => Reason::NoPath,
            Presence::Offline | Presence::Unknown if peer.seek.is_out_of_reach() => Reason::NoPath,
            Presence::Online | Presence::Away => return None,
            Presence::Offline => Reason::Offline,
            Presence::Unknown => Reason::Looking,
        })
    }

    pub(crate) fn next_try(&self, id: &PeerId) -> Option<Duration> {
        match &self.peers.get(id)?.link {
            Link::Waiting(until) => Some(until.since(self.now.instant)),
            Link::Idle | Link::Handshaking(_) | Link::Up(_) => None,
        }
    }

    pub(crate) fn watch(&mut self, now: Now, command: CommandId, target: Option<PeerId>) {
        for (id, peer) in &mut self.peers {
            if std::mem::replace(&mut peer.watched, Some(*id) == target) != peer.watched {
                self.touched.insert(*id);
            }
        }
        if let Some(target) = target.filter(|target| *target != self.identity.id()) {
            self.peer_mut(target, now).watched = true;
            self.dial_soon(target);
        }
        let changed: Vec<_> = self.touched.iter().copied().collect();
        changed.into_iter().for_each(|id| self.adjust_keepalive(now, id));
        self.reply(command, Reply::Done);
    }

    pub(crate) fn set_name(&mut self, now: Now, command: CommandId, name: String) {
        self.discovery.set_name(now.instant, &name);
        self.seeds.set_name(now, &name);
        self.config.name.clone_from(&name);
        self.batches.push(Op::Name(name.clone()));
        self.batches.gate(Claim::Reply(command, Reply::Done));
        self.tell_all(&Item::Name(message::Name { name }));
    }

    pub(crate) fn set_away(&mut self, now: Now, command: CommandId, away: Option<String>) {
        self.discovery.set_away(now.instant, away.is_some());
        self.away.clone_from(&away);
        let item = Item::Presence(message::Presence { away: away.is_some(), text: away.unwrap_or_default() });
        self.tell_all(&item);
        self.reply(command, Reply::Done);
    }

    fn tell_all(&mut self, item: &Item) {
        let bytes = item.encode();
        // Who may only ask to write hears nothing of us.
        let is_told = |peer: &Peer| peer.admitted.is_some_and(|(_, admission)| admission >= Admission::FULL);
        for (id, peer) in self.peers.iter_mut().filter(|(_, peer)| is_told(peer)) {
            if let Some(session) = peer.session_mut() {
                session.send_control(bytes.clone());
                self.touched.insert(*id);
            }
        }
    }
}
