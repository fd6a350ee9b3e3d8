//! Links: how a peer is reached, and which of several sessions with it counts (protocol, ANNOUNCE
//! and HANDSHAKE). The state itself is `peer::Link`; how a session comes about lives in `dial`.

use std::{net::SocketAddr, time::Duration};

use super::{
    Node,
    credit::Credit,
    dial::dials_first,
    event::NoticeCode,
    peer::{Fading, Link, Peer, Rising},
};
use crate::{
    clock::{Instant, Now},
    crypto::handshake::Role,
    id::{PeerId, SessionIndex},
    node::interface::on_link,
    session::{CloseReason, PathAddr, Session, SessionEvent},
    store::row::{Op, Trust},
    wire::{self, frame::CloseCode, message, packet::PacketHeader},
};

/// Between two sessions with the same peer the loser is received for this long.
const FADE: Duration = Duration::from_secs(10);
/// A copy of a peer's profile takes the link over no sooner than this.
const CLONE_TURN: Duration = Duration::from_secs(5);
/// Keepalive of a link that somebody looks at or that has unreceipted mail; at most this many links.
const KEEPALIVE_IN_VIEW: Duration = Duration::from_secs(1);
pub(crate) const IN_VIEW_MAX: usize = 8;
/// Keepalive of other links on this LAN, and elsewhere.
const KEEPALIVE_ON_LINK: Duration = Duration::from_secs(15);
const KEEPALIVE_OFF_LINK: Duration = Duration::from_secs(20);
/// A session on this LAN that carried nothing for this long is closed quietly.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// The same where another waits for the credit that it holds.
const IDLE_CROWDED_MAX: Duration = Duration::from_secs(2);
/// A peer that said goodbye, or counts on another session, must answer a ping within this.
const DOUBT: Duration = Duration::from_millis(300);

/// Whom a session index belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Dial(PeerId),
    HalfOpen,
    Session(PeerId),
}

impl Node {
    // --- packets

    /// A handshake datagram or a packet, straight from a peer or by a relay.
    pub(super) fn on_from_peer(&mut self, now: Now, path: PathAddr, bytes: &mut [u8]) {
        match wire::kind(bytes) {
            Ok(wire::KIND_PACKET) => self.on_packet(now, path, bytes),
            Ok(wire::KIND_INITIATION) => self.on_initiation(now, path, bytes),
            Ok(wire::KIND_RESPONSE) => self.on_response(now, path, bytes),
            Ok(wire::KIND_CONFIRM) => self.on_confirm(now, path, bytes),
            _ => self.drop_datagram(),
        }
    }

    pub(super) fn drop_datagram(&mut self) {
        self.dropped += 1;
    }

    pub(crate) fn on_packet(&mut self, now: Now, path: PathAddr, datagram: &mut [u8]) {
        let Ok(header) = PacketHeader::decode(datagram) else { return self.drop_datagram() };
        let Some(&Route::Session(id)) = self.routes.get(&header.receiver) else { return self.drop_datagram() };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.sessions_mut().find(|session| session.local_index() == header.receiver) else { return };
        if session.handle_datagram(now.instant, path, datagram).is_err() {
            return self.drop_datagram();
        }
        self.on_authenticated(now, id, path);
        self.drain_sessions(now, id);
    }

    /// Something of this peer opened: it is there, and it was there at this address.
    fn on_authenticated(&mut self, now: Now, id: PeerId, path: PathAddr) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_news = !peer.heard || peer.silent || peer.aloof;
        peer.heard = true;
        peer.silent = false;
        peer.aloof = false;
        peer.contact.last_heard = Some(now.unix);
        if peer.candidates.first().is_none_or(|candidate| candidate.path != path) || is_news {
            peer.on_heard_at(now.instant, path);
        }
        if is_news {
            self.tell_presence(now, id);
        }
    }

    /// Takes what the sessions of a peer have to say.
    pub(crate) fn drain_sessions(&mut self, now: Now, id: PeerId) {
        loop {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            let next = peer.sessions_mut().find_map(|session| session.poll_event().map(|event| (session.local_index(), event)));
            let Some((index, event)) = next else { break };
            match event {
                SessionEvent::Opened => self.on_opened(now, id, index),
                SessionEvent::Received { n, bytes } => self.on_item(now, id, index, n, &bytes),
                SessionEvent::Acked(number) if self.is_link(&id, index) => self.on_acked(now, id, number),
                SessionEvent::Acked(_) => {}
                SessionEvent::PathChanged => {
                    tracing::debug!(peer = %id.short(), "another path");
                    self.remember_path(id);
                    self.readmit(id);
                    self.tell_presence(now, id);
                }
                SessionEvent::Pong { .. } if !self.is_link(&id, index) => {}
                SessionEvent::Pong { rtt } => {
                    if let Some(peer) = self.peers.get_mut(&id) {
                        peer.doubt_until = None;
                    }
                    self.on_pong(id, rtt);
                }
                SessionEvent::Unresponsive => self.on_unresponsive(now, id, index),
                SessionEvent::Closed(reason) => self.on_closed(now, id, index, reason),
            }
        }
        self.touch(id);
    }

    /// Where the session has moved to is where it may be found again, once all seeds are gone.
    fn remember_path(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(path) = peer.session().map(Session::path) else { return };
        if peer.remember(path) && peer.stored {
            let contact = peer.contact.clone();
            self.batches.push(Op::Contact(contact));
        }
    }

    /// The session with this peer that has this index, whether or not it counts.
    pub(crate) fn session_mut(&mut self, id: PeerId, index: SessionIndex) -> Option<&mut Session> {
        self.peers.get_mut(&id)?.sessions_mut().find(|session| session.local_index() == index)
    }

    pub(crate) fn is_link(&self, id: &PeerId, index: SessionIndex) -> bool {
        self.peers.get(id).and_then(|peer| peer.session()).is_some_and(|session| session.local_index() == index)
    }

    // --- which session counts

    /// A session's first packet of epoch 1 opened: from now on it counts. Against another one with the
    /// same peer the newer boot wins; with equal boots the one that the lower id initiated.
    fn on_opened(&mut self, now: Now, id: PeerId, index: SessionIndex) {
        let me = self.id();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(Rising { session, .. }) = peer.take_rising(index) else { return };
        let initiated_by_lower = |session: &Session| (session.role() == Role::Initiator) == dials_first(&me, &id);
        let mut is_clone = false;
        let wins = match &peer.link {
            Link::Up(current) if current.boot() == session.boot() => initiated_by_lower(&session) || !initiated_by_lower(current),
            // A live handshake of an older run beside a newer one: two copies of a profile take turns.
            Link::Up(current) if current.boot() > session.boot() => {
                is_clone = true;
                now.instant.since(peer.up_since) >= CLONE_TURN
            }
            _ => true,
        };
        if is_clone {
            self.notice(
                NoticeCode::PeerClonedProfile,
                "this peer's profile runs on two machines; its messages are all kept",
                Some(id),
            );
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !wins {
            return self.fade(now, id, session, is_clone);
        }
        let old = std::mem::replace(&mut peer.link, Link::Idle);
        peer.up_since = now.instant;
        peer.session_boot = session.boot();
        peer.failures = 0;
        peer.doubt_until = None;
        let same_run = matches!(&old, Link::Up(current) if current.boot() == session.boot());
        let is_first_meeting = peer.contact.trust == Trust::Unknown;
        if is_first_meeting {
            peer.contact.trust = Trust::Seen;
        }
        if (peer.remember(session.path()) || is_first_meeting) && peer.stored {
            let contact = peer.contact.clone();
            self.batches.push(Op::Contact(contact));
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(conversation) = &mut peer.conversation {
            conversation.on_session_lost();
        }
        peer.link = Link::Up(session);
        match old {
            Link::Up(old) => self.fade(now, id, old, !same_run && is_clone),
            Link::Handshaking(dial) => {
                self.routes.remove(&dial.index);
            }
            Link::Idle | Link::Waiting(_) => {}
        }
        tracing::debug!(peer = %id.short(), "session begins");
        self.end_seek(id);
        self.leave_relay(now, id);
        self.greet(now, id);
        self.tell_presence(now, id);
    }

    /// The first items of a session: admission, the name, and the books of the conversation.
    fn greet(&mut self, now: Now, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.admitted = None;
        }
        self.readmit(id);
        self.send_conversation(now, id);
        self.ping_link(now, id);
        self.adjust_keepalive(now, id);
    }

    /// The loser is received for a while; a copy of a profile is told to go, so that it tries again.
    fn fade(&mut self, now: Now, id: PeerId, mut session: Box<Session>, superseded: bool) {
        if superseded {
            session.close(CloseCode::Superseded);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        session.set_keepalive(now.instant, None);
        let replaced = peer.fading.replace(Fading { session, until: now.instant + FADE, books: None });
        if let Some(replaced) = replaced {
            self.routes.remove(&replaced.session.local_index());
        }
    }

    fn on_closed(&mut self, now: Now, id: PeerId, index: SessionIndex, reason: CloseReason) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(rising) = peer.take_rising(index) {
            // It answered our first datagram, and then nothing.
            peer.aloof = rising.confirm.is_some() && !rising.session.is_heard();
            self.routes.remove(&index);
            return self.give_up_dial_unless_up(now, id);
        }
        if peer.fading.as_ref().is_some_and(|fading| fading.session.local_index() == index) {
            if let CloseReason::Remote(_) = reason {
                peer.fading = None;
                self.routes.remove(&index);
            }
            return;
        }
        if !self.is_link(&id, index) {
            return;
        }
        if reason == CloseReason::Remote(CloseCode::Done)
            && let Some(peer) = self.peers.get_mut(&id)
        {
            // It said goodbye, or was idle; an announce tells which.
            peer.silent = !peer.neighbour || peer.doubt_until.is_some();
        }
        self.lose_link(now, id, reason);
    }

    fn give_up_dial_unless_up(&mut self, now: Now, id: PeerId) {
        if matches!(self.peers.get(&id).map(|peer| &peer.link), Some(Link::Idle)) {
            self.give_up_dial(now, id);
        }
    }

    /// The peer opens the conversation in a session that lost here: it counts on that one, and may not have
    /// the link's any more. The link must answer a ping; else the other one takes its place.
    pub(crate) fn on_rival_books(&mut self, now: Now, id: PeerId, index: SessionIndex, books: message::Conversation) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (Link::Up(session), Some(fading)) = (&mut peer.link, &mut peer.fading) else { return };
        if fading.session.local_index() != index || fading.session.boot() != session.boot() {
            return;
        }
        fading.books = Some(books);
        session.ping(now.instant);
        peer.doubt_until = Some(now.instant + DOUBT);
    }

    /// The link is dead, and the peer counts on the session that lost against it.
    fn take_rival(&mut self, now: Now, id: PeerId, rival: Fading) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let dead = std::mem::replace(&mut peer.link, Link::Up(rival.session));
        peer.up_since = now.instant;
        if let Some(conversation) = &mut peer.conversation {
            conversation.on_session_lost();
        }
        if let Link::Up(dead) = dead {
            self.routes.remove(&dead.local_index());
        }
        self.greet(now, id);
        if let Some(books) = rival.books {
            self.on_conversation(now, id, books);
        }
        self.tell_presence(now, id);
    }

    /// The peer does not answer any more: its messages wait, and it is dialled anew. What it may still send in
    /// the session finds nobody, so that it notices soon.
    fn on_unresponsive(&mut self, now: Now, id: PeerId, index: SessionIndex) {
        if !self.is_link(&id, index) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.silent = true;
        }
        self.lose_link(now, id, CloseReason::Local(CloseCode::Done));
        if let Some(dead) = self.peers.get_mut(&id).and_then(|peer| peer.fading.take()) {
            self.routes.remove(&dead.session.local_index());
        }
    }

    /// The link's session is over. What it carried is offered again in the next one; what still comes in
    /// on it is received for a while.
    pub(crate) fn lose_link(&mut self, now: Now, id: PeerId, reason: CloseReason) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Link::Up(session) = std::mem::replace(&mut peer.link, Link::Idle) else { return };
        if let Some(conversation) = &mut peer.conversation {
            conversation.on_session_lost();
        }
        peer.doubt_until = None;
        self.drop_relays(&id);
        tracing::debug!(peer = %id.short(), ?reason, "session ended");
        self.fade(now, id, session, false);
        self.end_knocks(&id);
        if let CloseReason::Remote(CloseCode::Superseded) | CloseReason::Violation(_) = reason {
            self.give_up_dial(now, id);
        }
        self.tell_presence(now, id);
        self.touch(id);
    }

    // --- time

    pub(crate) fn on_peer_timeout(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for session in peer.sessions_mut() {
            if session.poll_timeout().is_some_and(|at| at <= now.instant) {
                session.handle_timeout(now.instant);
            }
        }
        let conversation = peer.conversation.as_mut();
        let is_renewal_due = conversation.is_some_and(|conversation| {
            conversation.on_timeout(now.instant);
            conversation.wants_renewal(now.instant)
        });
        if let Some(fading) = peer.fading.take_if(|fading| fading.until <= now.instant) {
            self.routes.remove(&fading.session.local_index());
            self.forget_blank(id);
        }
        if is_renewal_due {
            self.start_new_incarnation(now);
        }
        self.repeat_confirms(now, id);
        self.drain_sessions(now, id);
        self.end_doubt(now, id);
        self.close_idle(now, id);
        self.take_next_name(now, id);
        self.tell_missing(now, id);
        self.end_pings(now, id);
        self.adjust_keepalive(now, id);
    }

    /// The link did not answer: the session that the peer counts on takes its place; where it counts on none,
    /// it is gone.
    fn end_doubt(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.doubt_until.take_if(|until| *until <= now.instant).is_none() {
            return;
        }
        match peer.fading.take_if(|fading| fading.books.is_some() && !fading.session.is_closed()) {
            Some(rival) => self.take_rival(now, id, rival),
            None => {
                peer.silent = true;
                self.lose_link(now, id, CloseReason::Local(CloseCode::Done));
            }
        }
    }

    fn close_idle(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let keep = peer.is_looked_at() || peer.has_mail();
        let Link::Up(session) = &mut peer.link else { return };
        let idle_max = idle_max(&self.credit, session);
        if !keep && session.path().on_link && now.instant.since(session.idle_since()) >= idle_max {
            session.close(CloseCode::Done);
            self.lose_link(now, id, CloseReason::Local(CloseCode::Done));
        }
    }

    /// Somebody looks, or mail is unreceipted: the link is asked often, but only a few links are.
    pub(crate) fn adjust_keepalive(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let in_view = peer.watched || peer.has_mail();
        let Link::Up(session) = &mut peer.link else {
            self.in_view.remove(&id);
            return;
        };
        let is_near = in_view && (self.in_view.contains(&id) || self.in_view.len() < IN_VIEW_MAX);
        if is_near {
            self.in_view.insert(id);
        } else {
            self.in_view.remove(&id);
        }
        let interval = match (is_near, session.path().on_link) {
            (true, _) => KEEPALIVE_IN_VIEW,
            (false, true) => KEEPALIVE_ON_LINK,
            (false, false) => KEEPALIVE_OFF_LINK,
        };
        session.set_keepalive(now.instant, Some(interval));
    }

    /// When this peer wants `on_peer_timeout`.
    pub(crate) fn peer_deadline(&self, peer: &Peer) -> Option<Instant> {
        let link = match &peer.link {
            Link::Waiting(until) => peer.is_wanted().then_some(*until),
            Link::Handshaking(dial) => Some(dial.repeat.at),
            // Closed by us, in the middle of something else: its end is still to be taken.
            Link::Up(session) if session.is_closed() && !self.is_leaving() => Some(self.now.instant),
            Link::Up(session) => [session.poll_timeout(), self.idle_deadline(peer, session)].into_iter().flatten().min(),
            Link::Idle => peer.dial_at,
        };
        let rising = peer.rising.iter().flat_map(|rising| {
            let repeat = rising.confirm.as_ref().filter(|_| !rising.session.is_heard()).map(|(_, repeat)| repeat.at);
            [rising.session.poll_timeout(), repeat]
        });
        let fading = peer.fading.iter().flat_map(|fading| [fading.session.poll_timeout(), Some(fading.until)]);
        let conversation = peer.conversation.as_ref().filter(|one| one.is_open).and_then(|one| one.poll_timeout());
        let missing = peer.conversation.as_ref().and_then(|one| one.missing_deadline());
        let rename = Self::rename_deadline(peer);
        let seek = self.seek_deadline(peer);
        let relay = self.relay_deadline(peer);
        let ping = peer.pings.iter().map(|ping| ping.until).min();
        rising.chain(fading).chain([link, conversation, peer.doubt_until, rename, missing, seek, relay, ping]).flatten().min()
    }

    fn idle_deadline(&self, peer: &Peer, session: &Session) -> Option<Instant> {
        (session.path().on_link && !peer.is_looked_at() && !peer.has_mail())
            .then(|| session.idle_since() + idle_max(&self.credit, session))
    }

    /// LEAVING was heard in this peer's name.
    pub(crate) fn doubt(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.neighbour = false;
        match &mut peer.link {
            Link::Up(session) => {
                session.ping(now.instant);
                peer.doubt_until = Some(now.instant + DOUBT);
            }
            _ => peer.silent = true,
        }
        self.tell_presence(now, id);
        self.touch(id);
    }

    pub(crate) fn path(&self, remote: SocketAddr) -> PathAddr {
        PathAddr::direct(remote, on_link(&self.interfaces, &remote))
    }
}

fn idle_max(credit: &Credit, session: &Session) -> Duration {
    if credit.is_wanted_from(session.local_index()) { IDLE_CROWDED_MAX } else { IDLE_MAX }
}
