//! What the seeds' answers mean for peers and commands: who is looked for across networks, and when. The
//! seeds themselves, and what travels to and from them, are `seeds`' affair.
//!
//! LAN first: about a peer that is heard on this LAN nothing is asked anywhere else.

use std::{net::SocketAddr, time::Duration};

use super::{
    Node,
    command::{Claim, Claims, Command, CommandError, CommandId, PeerView, Question, Reply},
    event::Event,
    interface::on_link,
    peer::Peer,
    seeds::{AskId, Found, Progress, SeedsEvent, Want},
};
use crate::{
    clock::{Instant, Now},
    crypto::record::sign_record,
    id::PeerId,
    text::Name,
    wire::{
        addr::{is_dialable, is_global},
        record::Visibility,
    },
};

/// After our first announce a neighbour has this long to be heard before seeds are asked for it.
const LAN_FIRST: Duration = Duration::from_millis(500);
/// How long seeds are asked for a peer.
const SEEK_TIMEOUT: Duration = Duration::from_secs(3);
/// Wait before a peer is looked for again where a seed did not answer, or its word led nowhere; doubled up
/// to [`SEEK_MAX`].
const SEEK_MIN: Duration = Duration::from_secs(2);
/// The same where all seeds have answered: they tell when the peer comes.
const SEEK_MAX: Duration = Duration::from_secs(60);
/// Contacts that are looked for although there is nothing to deliver, at most: for their presence.
const SOUGHT_FOR_PRESENCE_MAX: usize = 64;
/// Claims told of one question at most.
const CLAIMS_MAX: usize = 512;

/// Who asked the seeds.
#[derive(Debug)]
pub(super) enum Asker {
    /// A command that wants to know how they are.
    Seeds { command: CommandId, only: Option<String> },
    /// A command that wants to know what they have.
    Claims { command: CommandId, claims: Vec<Claim> },
    /// A look-up; see `resolve`.
    Lookup { command: CommandId, claims: Vec<Claim> },
    /// A link without a path.
    Seek(PeerId),
    /// A link whose path may be lost.
    Introducer(PeerId),
}

/// What is known of a peer by its seeds.
#[derive(Debug, Default)]
pub(crate) struct Seek {
    ask: Option<AskId>,
    /// It is under way, and not only watched for.
    is_asking: bool,
    /// Not before then.
    at: Option<Instant>,
    failures: u32,
    /// Highest seq of its records so far.
    seq: u64,
    /// A seed said that it is there, and none has said otherwise since.
    is_here: bool,
    /// The question under way has found it.
    is_found: bool,
    /// Nothing goes to an address off this LAN that was not heard since then: what comes before an introduction may
    /// spoil it, since some NATs remember whom they refused.
    pub(super) hold: Option<Instant>,
    /// Which seed: the one that can introduce us.
    pub(super) seed: Option<SocketAddr>,
}

impl Seek {
    /// A seed said that it is there.
    pub(crate) const fn is_here(&self) -> bool {
        self.is_here
    }

    /// It is there for more than one look, and what was tried since the first has led nowhere.
    pub(crate) const fn is_out_of_reach(&self) -> bool {
        self.is_here && self.failures > 1
    }

    /// A seed has its record; one where it is at home will also have the next.
    fn on_introducer(&mut self, found: &Found) {
        if found.is_at_home() || self.seed.is_none() {
            self.seed = Some(found.seed);
        }
    }
}

impl Node {
    /// A seed whose name is to be resolved; answer with [`Self::handle_resolved`].
    pub fn poll_resolve(&mut self) -> Option<String> {
        self.seeds.poll_resolve()
    }

    /// Where a seed is, or in words why nobody knows.
    pub fn handle_resolved(&mut self, now: Now, seed: &str, outcome: Result<Vec<SocketAddr>, String>) {
        self.now = now;
        self.seeds.handle_resolved(now, seed, outcome);
        self.finish(now);
    }

    /// A router sends on to our session port what comes to this address of its own; `None`: none does. Seeds
    /// hear of it where it is a global one. Whether it is true, whoever dials it finds out.
    pub fn handle_mapped(&mut self, now: Now, outside: Option<SocketAddr>) {
        self.now = now;
        self.seeds.handle_mapped(now, outside);
        self.finish(now);
    }

    pub(super) fn on_answer(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        if !self.seeds.handle_datagram(now, from, bytes) {
            self.drop_datagram();
        }
    }

    /// Our own addresses, as seeds and those who look us up are told.
    pub(super) fn own_addrs(&self) -> Vec<SocketAddr> {
        let usable = self.interfaces.iter().filter(|interface| !interface.loopback).flat_map(|interface| &interface.addrs);
        usable.map(|(ip, _)| SocketAddr::new(*ip, self.config.port)).collect()
    }

    // --- commands

    pub(super) fn on_seed_command(&mut self, now: Now, command: CommandId, wanted: Command) {
        let (want, only, timeout) = match wanted {
            Command::Seeds { only, timeout } => (Want::Status, only, timeout),
            Command::Register { on, only, timeout } => (Want::Home(on), only, timeout),
            Command::Ask { question, only, timeout } => (Want::Records(question), only, timeout),
            _ => return,
        };
        if only.as_ref().is_some_and(|name| !self.seeds.has_room_for(name)) {
            return self.fail(command, CommandError::TooManySeeds);
        }
        let asker = match want {
            Want::Records(_) => Asker::Claims { command, claims: Vec::new() },
            Want::Status | Want::Home(_) => Asker::Seeds { command, only: only.clone() },
        };
        if let Want::Home(on) = want {
            self.seeds.register(now, on, only.as_deref());
        }
        let ask = self.seeds.ask(now, want, only.as_deref(), &[], false, timeout);
        self.asks.insert(ask, asker);
    }

    /// Asks the seeds on behalf of a look-up; what they say comes to `resolve`.
    pub(super) fn ask_for_lookup(&mut self, now: Now, command: CommandId, question: Question, deadline: Instant) -> AskId {
        let want = Want::Records(question);
        let ask = self.seeds.ask(now, want, None, &[], false, deadline.since(now.instant));
        self.asks.insert(ask, Asker::Lookup { command, claims: Vec::new() });
        ask
    }

    /// What the seeds have said so far, to somebody who waits no longer.
    pub(super) fn claims_so_far(&mut self, ask: AskId) -> Claims {
        let progress = self.seeds.progress(ask);
        match self.asks.remove(&ask) {
            Some(Asker::Claims { claims, .. } | Asker::Lookup { claims, .. }) => claims_of(claims, progress),
            Some(Asker::Seeds { .. } | Asker::Seek(_) | Asker::Introducer(_)) | None => claims_of(Vec::new(), progress),
        }
    }

    /// Somebody of whom only a claim is known, as a list shows it.
    pub(super) fn view_of_claim(&self, claim: &Claim) -> PeerView {
        PeerView { name: claim.name.clone(), addr: Some(claim.addr), ..self.view(&Peer::blank(claim.id, self.now.unix)) }
    }

    // --- events

    /// Takes what the seeds have to say, and signs what they are to be told.
    pub(super) fn drain_seeds(&mut self, now: Now) {
        while let Some(record) = self.seeds.poll_record() {
            let (bytes, signature) = sign_record(&self.identity, &record);
            self.seeds.handle_signed(now, record, bytes, signature);
        }
        while let Some(event) = self.seeds.poll_event() {
            match event {
                SeedsEvent::Found { ask, found } => self.on_found(now, ask, &found),
                SeedsEvent::Done { ask, progress } => self.on_ask_done(now, ask, progress),
                SeedsEvent::State { code, text } => self.tell(Event::Notice { code, text, peer: None }),
                SeedsEvent::Knocked { attempt, seen } => self.on_knocked(now, attempt, seen),
                SeedsEvent::NotKnocked { attempt } => self.on_not_knocked(now, attempt),
                SeedsEvent::Bound { seed, peer, channel, open } => self.on_bound(now, seed, peer, channel, open),
                SeedsEvent::NotBound { seed, peer, why } => self.on_not_bound(now, seed, peer, why),
                SeedsEvent::Moved => self.on_moved(now),
                SeedsEvent::Notified { seed, from, sealed } => self.on_notified(now, seed, from, &sealed),
            }
        }
    }

    fn on_found(&mut self, now: Now, ask: AskId, found: &Found) {
        match self.asks.get_mut(&ask) {
            Some(Asker::Claims { claims, .. } | Asker::Lookup { claims, .. }) => add_claim(claims, found),
            Some(Asker::Seek(id)) => {
                let id = *id;
                self.on_sought(now, id, found);
            }
            Some(Asker::Introducer(id)) => {
                let id = *id;
                self.peers.entry(id).and_modify(|peer| peer.seek.on_introducer(found));
                let told = self.told_by(found);
                self.introduce(now, id, found.seed, told);
            }
            Some(Asker::Seeds { .. }) | None => {}
        }
    }

    fn on_ask_done(&mut self, now: Now, ask: AskId, progress: Progress) {
        match self.asks.remove(&ask) {
            Some(Asker::Seeds { command, only }) => {
                let views = self.seeds.views(only.as_deref());
                self.reply(command, Reply::Seeds(views));
            }
            Some(Asker::Claims { command, mut claims }) => {
                claims.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
                self.reply(command, Reply::Claims(claims_of(claims, progress)));
            }
            Some(Asker::Lookup { command, claims }) => self.on_lookup_asked(now, command, claims_of(claims, progress)),
            Some(Asker::Seek(id)) => {
                // The watch goes on.
                self.asks.insert(ask, Asker::Seek(id));
                self.on_seek_done(now, id, progress.answered == progress.asked);
            }
            Some(Asker::Introducer(_)) | None => {}
        }
    }

    // --- peers without a path

    /// Asks the seeds for a peer that is wanted, and that nobody hears on this LAN.
    pub(super) fn drive_seek(&mut self, now: Now, id: PeerId) {
        if !self.may_ask_for(&id) {
            return;
        }
        let (for_presence, lan_first) = (self.may_seek_for_presence(&id), self.lan_first_until());
        let is_helpful = self.seeds.is_reachable();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !is_sought(peer, for_presence) {
            return self.end_seek(id);
        }
        if peer.seek.is_asking || peer.seek.at.is_some_and(|at| at > now.instant) {
            return;
        }
        if let Some(at) = lan_first.filter(|at| *at > now.instant) {
            peer.seek.at = Some(at);
            return;
        }
        tracing::debug!(peer = %id.short(), "asks the seeds");
        let watched = peer.seek.ask.take();
        peer.seek.is_asking = true;
        peer.seek.is_found = false;
        peer.seek.hold = is_helpful.then_some(now.instant);
        if !peer.has_mail() && !peer.is_looked_at() {
            self.presence_sought.insert(id);
        }
        let seeds = peer.contact.seeds.clone();
        if let Some(watched) = watched {
            self.seeds.forget(watched);
            self.asks.remove(&watched);
        }
        let ask = self.seeds.ask(now, Want::Records(Question::Id(id)), None, &seeds, true, SEEK_TIMEOUT);
        self.asks.insert(ask, Asker::Seek(id));
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.seek.ask = Some(ask);
        }
    }

    /// Asks the seeds which of them can introduce us to a peer, although there is a session with it.
    pub(super) fn ask_who_introduces(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get(&id).filter(|_| self.may_ask_for(&id)) else { return };
        let seeds = peer.contact.seeds.clone();
        let ask = self.seeds.ask(now, Want::Records(Question::Id(id)), None, &seeds, false, SEEK_TIMEOUT);
        self.asks.insert(ask, Asker::Introducer(id));
    }

    /// There are seeds to ask: those in use, or where there is none those of its link.
    fn may_ask_for(&self, id: &PeerId) -> bool {
        let has_own = self.peers.get(id).is_some_and(|peer| !peer.contact.seeds.is_empty());
        (self.seeds.is_in_use() || has_own) && !self.is_leaving()
    }

    fn may_seek_for_presence(&self, id: &PeerId) -> bool {
        self.presence_sought.contains(id) || self.presence_sought.len() < SOUGHT_FOR_PRESENCE_MAX
    }

    /// Until then a neighbour may still be heard for the first time.
    fn lan_first_until(&self) -> Option<Instant> {
        if !self.config.lan || self.discovery.asked(self.now.instant) {
            return None;
        }
        // Before the first announce left, it is looked again whether it has.
        let first = self.first_announce.unwrap_or(self.now.instant);
        Some((first + LAN_FIRST).min(self.discovery.asked_at()))
    }

    /// The peer is reached, or nobody wants it any more.
    pub(super) fn end_seek(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.seek.at.is_some() || peer.seek.ask.is_some()) else { return };
        let Seek { seq, seed, ask, .. } = std::mem::take(&mut peer.seek);
        peer.seek = Seek { seq, seed, ..Seek::default() };
        self.presence_sought.remove(&id);
        if let Some(ask) = ask {
            self.seeds.forget(ask);
            self.asks.remove(&ask);
        }
    }

    /// Where the seed and the record say that its owner may be; the seed's own sight stands first.
    fn told_by(&self, found: &Found) -> Vec<SocketAddr> {
        let loopback = found.seed.ip().is_loopback();
        let is_near = |addr: &SocketAddr| is_global(addr) || on_link(&self.interfaces, addr);
        let listed = found.record.addrs.iter().map(|addr| addr.0).filter(is_near);
        [found.seen].into_iter().chain(listed).filter(|addr| is_dialable(addr, loopback)).collect()
    }

    /// A seed says where a peer is, and can introduce us.
    fn on_sought(&mut self, now: Now, id: PeerId, found: &Found) {
        let told = self.told_by(found);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if found.record.seq < peer.seek.seq {
            return;
        }
        peer.seek.seq = found.record.seq;
        (peer.seek.is_here, peer.seek.is_found) = (true, true);
        peer.seek.on_introducer(found);
        let is_up = peer.session().is_some();
        self.on_name(id, &found.record.name);
        if !is_up {
            self.introduce(now, id, found.seed, told);
            self.want_relay(now, id, found.seed, false);
        }
        self.touch(id);
    }

    fn on_seek_done(&mut self, now: Now, id: PeerId, all_answered: bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let seek = &mut peer.seek;
        seek.is_asking = false;
        seek.is_here &= seek.is_found || !all_answered;
        seek.hold = seek.hold.filter(|_| seek.is_found);
        let wait = if all_answered && !seek.is_here {
            SEEK_MAX
        } else {
            SEEK_MIN.saturating_mul(1 << seek.failures.min(8)).min(SEEK_MAX)
        };
        seek.failures = seek.failures.saturating_add(1);
        seek.at = Some(now.instant + wait);
        self.touch(id);
    }

    /// When this peer wants to be looked for again.
    pub(super) fn seek_deadline(&self, peer: &Peer) -> Option<Instant> {
        let is_sought = is_sought(peer, self.may_seek_for_presence(&peer.contact.id));
        let wants = is_sought && self.may_ask_for(&peer.contact.id);
        peer.seek.at.filter(|_| wants && !peer.seek.is_asking)
    }
}

/// True where seeds may be asked for this peer.
fn is_sought(peer: &Peer, for_presence: bool) -> bool {
    let is_near = peer.is_near();
    let is_missed = peer.has_mail() || peer.is_looked_at() || (peer.contact.added && for_presence);
    !is_near && is_missed && !peer.is_blocked() && peer.session().is_none()
}

fn claims_of(mut claims: Vec<Claim>, progress: Progress) -> Claims {
    let Progress { asked, answered, missing, more, young } = progress;
    let more = more || claims.len() > CLAIMS_MAX;
    claims.truncate(CLAIMS_MAX);
    Claims { claims, asked, answered, missing, more, young }
}

/// One claim of each id: the one that its seed heard last.
fn add_claim(claims: &mut Vec<Claim>, found: &Found) {
    let id = found.record.id;
    let claim = Claim {
        id,
        name: Name::parse(&found.record.name).map_or_else(|_| id.short(), |name| name.to_string()),
        addr: found.seen,
        age: found.age,
        listed: found.record.visibility == Visibility::Listed,
    };
    match claims.iter().position(|claim| claim.id == id) {
        Some(known) if claim.age < claims[known].age => claims[known] = claim,
        Some(_) => {}
        // One too many, to know that there are more.
        None if claims.len() <= CLAIMS_MAX => claims.push(claim),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::{crypto::identity::Identity, wire::record::Record};

    fn found(n: usize) -> Found {
        let identity = Identity::generate(&mut ChaCha20Rng::seed_from_u64(n as u64));
        let record = Record {
            id: identity.id(),
            seq: 1,
            issued: 1,
            lifetime: 1,
            network: [0; 8],
            name: format!("n{n}"),
            visibility: Visibility::Listed,
            seeds: Vec::new(),
            addrs: Vec::new(),
        };
        let addr = "192.0.2.1:17118".parse().unwrap();
        Found { record, seen: addr, age: Duration::ZERO, seed: addr }
    }

    #[test]
    fn a_list_that_is_longer_than_what_is_kept_says_that_there_is_more() {
        for (records, more) in [(CLAIMS_MAX, false), (CLAIMS_MAX + 1, true), (CLAIMS_MAX + 2, true)] {
            let mut claims = Vec::new();
            (0..records).for_each(|n| add_claim(&mut claims, &found(n)));
            let claims = claims_of(claims, Progress::default());
            assert_eq!((claims.claims.len(), claims.more), (CLAIMS_MAX, more));
        }
    }
}
