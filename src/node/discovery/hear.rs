//! What becomes of an announce that comes in: whether it is worth a look, whether it is believed, and
//! what it changes. Which of them are answered is decided in `say`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use blake2::{Blake2s256, Digest};

use super::{
    Arrival, Discovery, DiscoveryEvent, Ignored, Stage,
    budget::Claim,
    neighbours::{ADDRS_MAX, Entry},
    say::{NONCE_LIFETIME, Question},
    schedule::Families,
};
use crate::{
    clock::Instant,
    node::interface::on_link,
    wire::{
        WireError,
        announce::{Announce, FLAG_ANSWER, FLAG_ANSWER_ME, FLAG_AWAY, FLAG_LEAVING, Signed},
    },
};

/// Ports below are never talked to: a forged announce must not aim at a system service.
const PORT_MIN: u16 = 1_024;
/// An old announce of our own makes us ask at most this often who that was.
const DOUBT_PAUSE: Duration = Duration::from_secs(60);

/// An announce as it was heard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// Its source.
    pub(super) from: SocketAddr,
    /// Where its sender can be dialled.
    pub(super) addr: SocketAddr,
    pub(super) interface: u32,
    /// To a group; else it is an answer to us.
    pub(super) multicast: bool,
    /// Bytes of the datagram.
    pub(super) len: usize,
}

enum Freshness {
    New,
    /// The bytes that were believed last, by another way.
    Copy,
}

impl Discovery {
    /// See [`Discovery::handle_datagram`].
    pub(super) fn hear(
        &mut self,
        now: Instant,
        arrival: Arrival,
        datagram: &[u8],
        verify: impl FnOnce(&Signed<'_>) -> bool,
    ) -> Result<(), Ignored> {
        if !self.config.lan || self.stage != Stage::Here {
            return Err(Ignored::Interface);
        }
        let signed = Signed::decode(datagram).map_err(|error| self.on_malformed(error))?;
        let announce = &signed.announce;
        if announce.network != self.config.network {
            return Err(Ignored::Network);
        }
        if announce.id == self.config.id && announce.boot == self.config.boot {
            return Err(Ignored::Own);
        }
        let from = canonical(arrival.from, arrival.interface);
        let source = from.ip();
        let interface = self.interface_of(now, arrival, from, announce)?;
        let addr = self.dialable(from, announce.port, interface, arrival.on_link).ok_or(Ignored::Address)?;
        let heard = Heard { from, addr, interface, multicast: arrival.on_link, len: datagram.len() };
        let bytes: [u8; 32] = Blake2s256::digest(datagram).into();
        match self.freshness(announce, &bytes, (addr, interface))? {
            Freshness::Copy => self.on_copy(now, announce, heard),
            Freshness::New => {
                let claim = self.claim(announce, arrival.on_link);
                if claim != Claim::Known && !self.neighbours.has_room_for(source) {
                    return Err(Ignored::Full);
                }
                if !self.budget.take(now, claim, source) {
                    return Err(Ignored::Budget);
                }
                let good = verify(&signed);
                self.budget.judge(now, source, good);
                if !good {
                    return Err(Ignored::Signature);
                }
                self.on_believed(now, announce, bytes, heard)?;
            }
        }
        Ok(())
    }

    /// Somebody here speaks another version of this protocol.
    pub fn heard_other_version(&self) -> bool {
        self.told_other_version
    }

    fn on_malformed(&mut self, error: WireError) -> Ignored {
        if !matches!(error, WireError::OtherVersion(_)) {
            return Ignored::Malformed;
        }
        if !std::mem::replace(&mut self.told_other_version, true) {
            self.events.push_back(DiscoveryEvent::OtherVersion);
        }
        Ignored::OtherVersion
    }

    /// The interface by which an announce counts as heard: where it came in, or where we asked.
    fn interface_of(&self, now: Instant, arrival: Arrival, from: SocketAddr, announce: &Announce) -> Result<u32, Ignored> {
        if arrival.on_link {
            let member = self.schedules.get(&arrival.interface).ok_or(Ignored::Interface)?.member;
            let joined = if from.is_ipv4() { member.v4 } else { member.v6 };
            return if joined { Ok(arrival.interface) } else { Err(Ignored::Interface) };
        }
        let ours = |question: &&Question| question.nonce == announce.nonce && now.since(question.at) <= NONCE_LIFETIME;
        let asked = announce.flags & FLAG_ANSWER != 0;
        self.questions.iter().filter(|_| asked).find(ours).map(|question| question.interface).ok_or(Ignored::NotAsked)
    }

    /// Where the sender can be dialled; `None` where that is nowhere to talk to.
    fn dialable(&self, from: SocketAddr, port: u16, interface: u32, multicast: bool) -> Option<SocketAddr> {
        let interface = self.interfaces.iter().find(|known| known.index == interface)?;
        let local = match from.ip() {
            IpAddr::V4(v4) => {
                let plain = !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast() && v4.octets()[0] < 240;
                // Another subnet on the same wire: these meet by their link-local IPv6 addresses.
                plain && (!multicast || on_link(std::slice::from_ref(interface), &from))
            }
            IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
        };
        let loopback_fits = !from.ip().is_loopback() || interface.loopback;
        let mut addr = from;
        addr.set_port(port);
        (local && loopback_fits && port >= PORT_MIN && from.port() >= PORT_MIN).then_some(addr)
    }

    fn claim(&self, announce: &Announce, multicast: bool) -> Claim {
        let here = self.neighbours.get(&announce.id).is_some_and(|entry| entry.is_here());
        if here || self.known.contains_key(&announce.id) || announce.id == self.config.id {
            Claim::Known
        } else if multicast {
            Claim::Unknown
        } else {
            Claim::Asked
        }
    }

    /// "A smaller boot or seq is ignored, the highest seen is kept per contact."
    fn freshness(&self, announce: &Announce, bytes: &[u8; 32], copy: (SocketAddr, u32)) -> Result<Freshness, Ignored> {
        let entry = self.neighbours.get(&announce.id);
        let this = (announce.boot, announce.seq);
        let kept = self.known.get(&announce.id).copied();
        let highest = entry.map(Entry::heard).into_iter().chain(kept).max();
        if highest.is_none_or(|highest| this > highest) {
            return Ok(Freshness::New);
        }
        match entry {
            Some(entry) if entry.is_here() && entry.heard() == this && entry.bytes == *bytes => {
                let again = entry.copies.contains(&copy) || entry.copies.len() >= ADDRS_MAX;
                if again { Err(Ignored::Duplicate) } else { Ok(Freshness::Copy) }
            }
            _ => Err(Ignored::Old),
        }
    }

    /// The bytes that were believed a moment ago, by another way: an address more.
    fn on_copy(&mut self, now: Instant, announce: &Announce, heard: Heard) {
        let said = (announce.peers, announce.digest);
        if self.neighbours.sight(&announce.id, heard.addr, heard.interface, said) {
            self.tell_heard(announce, heard, false, false);
        }
        self.consider_question(now, announce, heard, false);
    }

    /// An announce that is really by the id in it, and new.
    fn on_believed(&mut self, now: Instant, announce: &Announce, bytes: [u8; 32], heard: Heard) -> Result<(), Ignored> {
        if announce.id == self.config.id {
            self.on_my_id(now, announce, heard);
            return Ok(());
        }
        if let Some(kept) = self.known.get_mut(&announce.id) {
            *kept = (announce.boot, announce.seq);
        }
        if announce.flags & FLAG_LEAVING != 0 {
            self.on_leaving(now, announce);
            return Ok(());
        }
        if self.neighbours.get(&announce.id).is_none() {
            let (room, evicted) = self.neighbours.make_room(|id| self.known.contains_key(id), &mut self.rng);
            self.events.extend(evicted.map(|id| DiscoveryEvent::Expired { id }));
            if !room {
                return Err(Ignored::Full);
            }
        }
        let change = self.neighbours.hear(now, announce, bytes, heard.addr);
        self.neighbours.sight(&announce.id, heard.addr, heard.interface, (announce.peers, announce.digest));
        if heard.multicast {
            self.heard.heard(now);
        }
        if change.came {
            self.last_news = Some(now);
        }
        self.tell_heard(announce, heard, change.came, change.new_boot);
        self.consider_question(now, announce, heard, change.came || change.new_boot);
        Ok(())
    }

    fn on_leaving(&mut self, now: Instant, announce: &Announce) {
        let here = self.neighbours.leave(now, &announce.id);
        if let Some(entry) = self.neighbours.get_mut(&announce.id) {
            // Kept, so that nothing older can bring it back.
            entry.shown.boot = announce.boot;
            entry.seq = announce.seq;
        }
        if here {
            self.events.push_back(DiscoveryEvent::Left { id: announce.id });
        }
    }

    /// Our own id in another boot. An old announce of ours may be a recording; a higher boot, or an
    /// answer to a question of this boot, is somebody who runs with our key now: so we ask.
    fn on_my_id(&mut self, now: Instant, announce: &Announce, heard: Heard) {
        let fresh = announce.boot > self.config.boot || !heard.multicast;
        if announce.boot > self.config.boot {
            let silent_in = if announce.flags & FLAG_LEAVING != 0 { 0 } else { announce.ttl };
            self.copy = Some((announce.boot, now + Duration::from_secs(silent_in.into())));
        }
        if fresh && !std::mem::replace(&mut self.told_elsewhere, true) {
            self.events.push_back(DiscoveryEvent::MyIdElsewhere);
        }
        if heard.multicast && announce.flags & FLAG_ANSWER_ME != 0 {
            self.answer(now, announce, heard);
        }
        let doubted = self.doubted.is_some_and(|at| now.since(at) < DOUBT_PAUSE);
        if !self.told_elsewhere
            && !doubted
            && let Some(schedule) = self.schedules.get_mut(&heard.interface)
        {
            self.doubted = Some(now);
            schedule.burst(now, Families::from(&schedule.member));
        }
    }

    fn tell_heard(&mut self, announce: &Announce, heard: Heard, came: bool, new_boot: bool) {
        self.events.push_back(DiscoveryEvent::Heard {
            id: announce.id,
            boot: announce.boot,
            seq: announce.seq,
            name: announce.name.clone(),
            away: announce.flags & FLAG_AWAY != 0,
            addr: heard.addr,
            interface: heard.interface,
            proven: true,
            came,
            new_boot,
        });
    }
}

/// IPv4 in its own form, and link-local IPv6 with its interface.
fn canonical(from: SocketAddr, interface: u32) -> SocketAddr {
    let SocketAddr::V6(mut v6) = from else { return from };
    if let Some(v4) = v6.ip().to_ipv4_mapped() {
        return SocketAddr::new(v4.into(), v6.port());
    }
    // Elsewhere flow label and scope say nothing, and would make one address look like two.
    v6.set_flowinfo(0);
    match (v6.ip().is_unicast_link_local(), v6.scope_id()) {
        (true, 0) => v6.set_scope_id(interface),
        (true, _) => {}
        (false, _) => v6.set_scope_id(0),
    }
    SocketAddr::V6(v6)
}
