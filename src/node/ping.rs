//! `ping`: a session with a peer is opened where there is none, asked for a sign of life, and how long that took is told.
//! Nothing else changes by it.

use std::time::Duration;

use super::{
    Node,
    command::{CommandError, CommandId, PeerView, Reply},
    peer::Link,
};
use crate::{
    clock::{Instant, Now},
    id::PeerId,
};

/// Pings of one peer that wait for an answer at most.
const PINGS_MAX: usize = 16;

/// Somebody waits for an answer of this peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ping {
    command: CommandId,
    pub(crate) until: Instant,
}

/// How a ping ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Pong {
    /// The peer, as it is now.
    pub peer: PeerView,
    /// From the question to the answer; `None`: time was up first.
    pub rtt: Option<Duration>,
    /// Packets that its session has sent so far; 0 without one.
    pub sent: u64,
    /// Of those, lost on the way.
    pub lost: u64,
}

impl Node {
    pub(super) fn ping(&mut self, now: Now, command: CommandId, id: PeerId, timeout: Duration) {
        if id == self.identity.id() {
            return self.reply(command, Reply::Failed(CommandError::Myself));
        }
        let peer = self.peer_mut(id, now);
        if peer.is_blocked() {
            return self.reply(command, Reply::Failed(CommandError::Blocked));
        }
        if peer.pings.len() >= PINGS_MAX {
            return self.reply(command, Reply::Failed(CommandError::TooManyPings));
        }
        peer.pings.push(Ping { command, until: now.instant + timeout });
        match &mut peer.link {
            Link::Up(session) => session.ping(now.instant),
            _ => self.dial_soon(id),
        }
        self.touch(id);
    }

    /// A link is up: whoever waited for one asks now.
    pub(super) fn ping_link(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.pings.is_empty()
            && let Link::Up(session) = &mut peer.link
        {
            session.ping(now.instant);
        }
    }

    pub(super) fn on_pong(&mut self, id: PeerId, rtt: Duration) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for ping in std::mem::take(&mut peer.pings) {
            self.end_ping(id, ping, Some(rtt));
        }
    }

    /// Those whose time is up.
    pub(super) fn end_pings(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (over, left) = std::mem::take(&mut peer.pings).into_iter().partition(|ping: &Ping| ping.until <= now.instant);
        peer.pings = left;
        let over: Vec<Ping> = over;
        let ended = !over.is_empty();
        over.into_iter().for_each(|ping| self.end_ping(id, ping, None));
        if ended {
            self.forget_blank(id);
        }
    }

    fn end_ping(&mut self, id: PeerId, ping: Ping, rtt: Option<Duration>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let stats = peer.session().map(crate::session::Session::stats).unwrap_or_default();
        let lost = stats.lost.saturating_sub(stats.spurious);
        let pong = Pong { peer: self.view(peer), rtt, sent: stats.sent, lost };
        self.reply(ping.command, Reply::Ponged(Box::new(pong)));
    }
}
