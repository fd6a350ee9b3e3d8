//! What the LAN's news means for peers, and how we say goodbye. Who is announced when, `discovery`
//! decides.

use super::{
    LEAVE_MAX, Leaving, Node, PEERS_MAX,
    batch::Health,
    command::{CommandId, NodeStatus, Reply},
    discovery::DiscoveryEvent,
    event::NoticeCode,
};
use crate::{clock::Now, session::CloseReason, store::row::Op, wire::frame::CloseCode};

impl Node {
    pub(super) fn on_discovery(&mut self, now: Now, event: DiscoveryEvent) {
        match event {
            DiscoveryEvent::Heard { id, boot, seq, name, away, addr, came, new_boot, .. } => {
                if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&id) {
                    return;
                }
                let path = self.path(addr);
                let peer = self.peer_mut(id, now);
                let is_back = came || new_boot || peer.silent;
                peer.neighbour = true;
                peer.heard = true;
                peer.silent = false;
                // Nobody would find out that it answers by now.
                peer.aloof &= peer.is_wanted() && !(came || new_boot);
                peer.contact.boot = boot;
                peer.contact.announce_seq = seq;
                peer.contact.last_heard = Some(now.unix);
                peer.on_heard_at(now.instant, path);
                // LAN first: a session that came about elsewhere moves here.
                if let Some(session) = peer.session_mut().filter(|session| path.on_link && !session.path().on_link) {
                    session.try_path(now.instant, path);
                }
                // Another run of its program, by its own signature: the session with the run before is over.
                let is_over = peer.session().is_some_and(|session| session.boot() < boot);
                let risen_before = peer.rising.iter().filter(|rising| rising.session.boot() < boot);
                let risen_before: Vec<_> = risen_before.map(|rising| rising.session.local_index()).collect();
                peer.rising.retain(|rising| rising.session.boot() >= boot);
                for index in risen_before {
                    self.routes.remove(&index);
                }
                if is_over {
                    self.lose_link(now, id, CloseReason::Local(CloseCode::Superseded));
                }
                self.on_name(id, &name);
                self.on_away(id, away.then(String::new));
                if is_back {
                    self.dial_soon(id);
                }
                self.tell_presence(now, id);
                self.touch(id);
                self.answer_lookups_about(now, id);
            }
            DiscoveryEvent::Left { id } => self.doubt(now, id),
            DiscoveryEvent::Expired { id } => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.neighbour = false;
                }
                self.tell_presence(now, id);
                self.forget_blank(id);
            }
            DiscoveryEvent::MyIdElsewhere => {
                self.notice(
                    NoticeCode::ProfileInUseElsewhere,
                    "this profile runs on two machines: nothing is lost, but stop one of them",
                    None,
                );
            }
            DiscoveryEvent::NewBoot { boot } => {
                self.boot = boot;
                self.batches.push(Op::Boot(boot));
            }
            DiscoveryEvent::OtherVersion => {
                self.notice(NoticeCode::OtherVersion, "somebody here speaks another version of the protocol", None);
            }
        }
    }

    /// The way to everybody may have changed: sessions ask for a sign of life, which also shows the peer
    /// our new address, and nobody waits to dial.
    pub(super) fn wake_links(&mut self, now: Now) {
        self.seeds.handle_network(now, self.own_addrs());
        self.bind_all_again(now);
        self.introduce_again(now);
        for peer in self.peers.values_mut() {
            peer.sessions_mut().for_each(|session| session.ping(now.instant));
        }
        let all: Vec<_> = self.peers.keys().copied().collect();
        all.into_iter().for_each(|id| self.dial_soon(id));
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    pub(super) fn leave(&mut self, now: Now, command: CommandId) {
        self.leaving = Some(Leaving { command, until: now.instant + LEAVE_MAX, told: false });
        self.discovery.leave(now.instant);
        self.seeds.leave(now);
        for peer in self.peers.values_mut() {
            peer.sessions_mut().for_each(|session| session.close(CloseCode::Done));
        }
        self.ready.extend(self.peers.keys().copied());
    }

    /// Goodbye is said once the last announce is out and the disk has what it was given.
    pub(super) fn end_leaving(&mut self, now: Now) {
        let said = self.discovery.has_left() && self.seeds.has_left() && self.batches.is_idle();
        let Some(leaving) = &mut self.leaving else { return };
        if !leaving.told && (said || leaving.until <= now.instant) {
            leaving.told = true;
            let command = leaving.command;
            self.reply(command, Reply::Left);
        }
    }

    pub(super) fn status(&self) -> NodeStatus {
        let commit_error = match self.batches.health() {
            Health::Well => None,
            Health::Failing(error) | Health::ReadOnly(error) => Some(error),
        };
        NodeStatus {
            sessions: self.peers.values().filter(|peer| peer.session().is_some()).count(),
            neighbours: self.discovery.neighbours().count(),
            seeds: self.seeds.registered(),
            outbox: self.outbox_len,
            allow: self.config.allow,
            requests: self.request_views().len(),
            read_receipts: self.config.read_receipts,
            commit_error,
            other_version: self.discovery.heard_other_version(),
            dropped: self.dropped,
        }
    }
}
