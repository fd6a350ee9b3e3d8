//! Introductions (protocol, SEEDS): two peers that a seed knows open a path to each other through their NATs.
//! The caller has the seed hand a sealed knock on; then both send probes to where the seed saw the other, so
//! that both NATs let the other in. A path counts once something of ours was answered over it.
//!
//! A record can aim nobody at a victim: probed are only the address that the seed itself saw, and of those
//! that the caller names such as are on-link here.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use rand_core::RngCore;

use super::{
    Node, PEERS_MAX, Target,
    interface::{Interface, on_link},
    peer::{Link, Peer},
};
use crate::{
    clock::{Instant, Now},
    crypto::knock::{ProbeKey, open_knock, seal_knock},
    id::PeerId,
    session::PathAddr,
    wire::{
        addr::{Addr, is_dialable},
        probe::{Probe, ProbeStage},
        record::{ADDRS_MAX, Knock},
    },
};

/// Introductions under way at most; more are not begun.
const PUNCHES_MAX: usize = 64;
/// Probes to each address, and when, from the beginning on.
const PROBES_AT: [Duration; 7] = {
    let ms = Duration::from_millis;
    [ms(0), ms(50), ms(100), ms(200), ms(400), ms(800), ms(1_600)]
};
/// Probes to one address within [`PROBED_WITHIN`] at most, unless it has answered: whoever claims that a peer is
/// there, a victim gets no more than one introduction's.
const PROBES_MAX: usize = PROBES_AT.len();
const PROBED_WITHIN: Duration = Duration::from_secs(60);
/// Addresses whose probes are counted at most; more are not probed.
const PROBED_MAX: usize = 1_024;
/// Addresses probed in one introduction at most.
const TARGETS_MAX: usize = ADDRS_MAX + 2;
/// Where nothing came over any path by then, the addresses of the record are dialled as they are.
const TOLD_AFTER: Duration = Duration::from_millis(700);
/// Seeds that wait until the one before them has not managed by then, at most.
const OFFERS_MAX: usize = 8;
/// An introduction ends after this.
const PUNCH_FOR: Duration = Duration::from_secs(5);
/// Knocks opened in a second at most: each costs two X25519.
const KNOCKS_PER_SECOND_MAX: u32 = 20;
/// Of strangers by one seed one in this time, from so many seeds at most.
const STRANGER_PAUSE: Duration = Duration::from_secs(60);
const STRANGERS_MAX: usize = 64;
/// Acks of probes within one introduction at most.
const ACKS_MAX: u32 = 64;

/// A seed that knows a peer and can introduce us.
struct Offer {
    seed: SocketAddr,
    /// Where the peer may be by its word: addresses to dial where no probe is answered.
    told: Vec<SocketAddr>,
}

/// One introduction.
pub(super) struct Punch {
    peer: PeerId,
    key: ProbeKey,
    seed: SocketAddr,
    targets: Vec<SocketAddr>,
    /// Probes leave since then; `None`: the seed has not confirmed the knock.
    began: Option<Instant>,
    round: usize,
    acks: u32,
    is_live: bool,
    /// As in [`Offer`].
    told: Vec<SocketAddr>,
    told_at: Option<Instant>,
    /// Whom to ask where this one does not manage: it may lie.
    others: VecDeque<Offer>,
    until: Instant,
}

/// All introductions under way, by the number that their probes carry.
#[derive(Default)]
pub(super) struct Punches {
    by_attempt: BTreeMap<u64, Punch>,
    /// Knocks opened in the second that began then.
    opened: (Instant, u32),
    /// Seeds that handed a stranger's knock on, and when.
    strangers: BTreeMap<SocketAddr, Instant>,
    /// Probes to addresses that have not answered: how many since when.
    probed: BTreeMap<SocketAddr, (Instant, usize)>,
}

impl Punch {
    /// Nobody knows yet whether it opens a path.
    fn is_undecided(&self) -> bool {
        !self.is_live && (self.began.is_none() || self.told_at.is_some())
    }

    fn deadline(&self) -> Instant {
        let probe = self.began.and_then(|began| PROBES_AT.get(self.round).map(|at| began + *at));
        [probe, self.told_at].into_iter().flatten().fold(self.until, Instant::min)
    }
}

impl Punches {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.by_attempt.values().map(Punch::deadline).min()
    }

    /// True where one more probe may go there; counts it.
    fn may_probe(probed: &mut BTreeMap<SocketAddr, (Instant, usize)>, now: Instant, to: SocketAddr) -> bool {
        if probed.len() >= PROBED_MAX && !probed.contains_key(&to) {
            probed.retain(|_, (since, _)| now.since(*since) < PROBED_WITHIN);
        }
        if probed.len() >= PROBED_MAX && !probed.contains_key(&to) {
            return false;
        }
        let (since, count) = probed.entry(to).or_insert((now, 0));
        if now.since(*since) >= PROBED_WITHIN {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= PROBES_MAX
    }

    /// The offer, where it is to be taken up now; else it waits for its turn, or is not needed.
    fn due(&mut self, id: PeerId, offer: Offer) -> Option<Offer> {
        let ours = || self.by_attempt.values().filter(|punch| punch.peer == id && punch.key.is_caller());
        // What a seed handed on a while ago may have been lost: it is no reason against its trying again.
        let is_known = |punch: &Punch| {
            punch.is_undecided() && (punch.seed == offer.seed || punch.others.iter().any(|other| other.seed == offer.seed))
        };
        if ours().any(|punch| punch.is_live || is_known(punch)) {
            return None;
        }
        let mut ours = self.by_attempt.values_mut().filter(|punch| punch.peer == id && punch.key.is_caller());
        match ours.find(|punch| punch.is_undecided()) {
            Some(punch) if punch.others.len() < OFFERS_MAX => {
                punch.others.push_back(offer);
                None
            }
            Some(_) => None,
            None => Some(offer),
        }
    }

    /// True for the first stranger's knock in a minute by this seed.
    fn takes_stranger(&mut self, now: Instant, seed: SocketAddr) -> bool {
        self.strangers.retain(|_, at| now.since(*at) < STRANGER_PAUSE);
        let has_room = self.strangers.len() < STRANGERS_MAX && !self.strangers.contains_key(&seed);
        if has_room {
            self.strangers.insert(seed, now);
        }
        has_room
    }

    fn takes_knock(&mut self, now: Instant) -> bool {
        if now.since(self.opened.0) >= Duration::from_secs(1) {
            self.opened = (now, 0);
        }
        self.opened.1 += 1;
        self.opened.1 <= KNOCKS_PER_SECOND_MAX
    }
}

impl Node {
    /// Has the seed that knows a peer introduce us. `told`: where the peer may be beside where the seed sees it.
    pub(super) fn introduce(&mut self, now: Now, id: PeerId, seed: SocketAddr, told: Vec<SocketAddr>) {
        if let Some(offer) = self.punches.due(id, Offer { seed, told }) {
            self.knock(now, id, offer, VecDeque::new());
        }
    }

    fn knock(&mut self, now: Now, id: PeerId, offer: Offer, others: VecDeque<Offer>) {
        let Offer { seed, told } = offer;
        if self.punches.by_attempt.len() >= PUNCHES_MAX {
            return self.on_unopened(now, id, told, VecDeque::new());
        }
        let mut knock = Knock { attempt: self.rng.next_u64(), secret: [0; 16], relay: true, addrs: Vec::new() };
        let mut secret = self.chance.rng();
        secret.fill_bytes(&mut knock.secret);
        knock.addrs = self.own_addrs().into_iter().filter(|addr| is_dialable(addr, false)).take(ADDRS_MAX).map(Addr).collect();
        let sealed = seal_knock(&self.identity, &id, &self.config.network, &knock, &mut secret);
        let punch = Punch {
            peer: id,
            key: ProbeKey::new(&knock, true),
            seed,
            targets: Vec::new(),
            began: None,
            round: 0,
            acks: 0,
            is_live: false,
            told,
            told_at: None,
            others,
            until: now.instant + PUNCH_FOR,
        };
        tracing::debug!(peer = %id.short(), %seed, "knocks");
        self.punches.by_attempt.insert(knock.attempt, punch);
        self.seeds.knock(now, seed, knock.attempt, *id.as_bytes(), sealed);
    }

    /// Our address may be another: a NAT on the other side does not know it, so whoever is reached across networks is
    /// knocked for again.
    pub(super) fn introduce_again(&mut self, now: Now) {
        let is_far = |peer: &Peer| peer.session().is_some_and(|session| is_far(&self.interfaces, session.path()));
        let far = self.peers.values().filter(|peer| is_far(peer)).map(|peer| (peer.contact.id, peer.seek.seed));
        for (id, seed) in far.take(PUNCHES_MAX).collect::<Vec<_>>() {
            match seed {
                Some(seed) => self.introduce(now, id, seed, Vec::new()),
                // So far it was always the peer that looked for us.
                None => self.ask_who_introduces(now, id),
            }
        }
    }

    /// A seed sees us elsewhere than before: a NAT on our side has forgotten us. What those whom we reach across networks
    /// send is lost until they hear of it.
    pub(super) fn on_moved(&mut self, now: Now) {
        tracing::debug!("is seen at another address");
        self.bind_all_again(now);
        self.introduce_again(now);
        for (id, peer) in &mut self.peers {
            if let Some(session) = peer.session_mut().filter(|session| is_far(&self.interfaces, session.path())) {
                session.ping(now.instant);
                self.ready.insert(*id);
            }
        }
    }

    /// A session is lost, or begins: no knock of ours from before keeps another from being made.
    pub(super) fn end_knocks(&mut self, id: &PeerId) {
        self.punches.by_attempt.retain(|_, punch| punch.peer != *id || !punch.key.is_caller());
    }

    /// No way to this peer is opened any more.
    pub(super) fn end_punches(&mut self, id: &PeerId) {
        self.punches.by_attempt.retain(|_, punch| punch.peer != *id);
    }

    /// The seed handed our knock over: the peer opens its NAT now, and so do we.
    pub(super) fn on_knocked(&mut self, now: Now, attempt: u64, seen: SocketAddr) {
        let Some(punch) = self.punches.by_attempt.get_mut(&attempt) else { return };
        tracing::debug!(peer = %punch.peer.short(), at = %seen, "was knocked for");
        if is_dialable(&seen, punch.seed.ip().is_loopback()) {
            punch.targets.push(seen);
        }
        punch.began = Some(now.instant);
        punch.told_at = Some(now.instant + TOLD_AFTER);
        punch.until = now.instant + PUNCH_FOR;
        self.drive_punches(now);
    }

    /// It did not: what is left is to try the addresses that we were told, and other seeds.
    pub(super) fn on_not_knocked(&mut self, now: Now, attempt: u64) {
        if let Some(punch) = self.punches.by_attempt.remove(&attempt) {
            tracing::debug!(peer = %punch.peer.short(), "could not be knocked for");
            self.on_unopened(now, punch.peer, punch.told, punch.others);
        }
    }

    /// Somebody knocks, and the seed says where that is.
    pub(super) fn on_notified(&mut self, now: Now, seed: SocketAddr, from: SocketAddr, sealed: &[u8]) {
        if !self.punches.takes_knock(now.instant) || self.punches.by_attempt.len() >= PUNCHES_MAX || self.is_leaving() {
            return self.drop_datagram();
        }
        let Ok((id, knock)) = open_knock(&self.identity, &self.config.network, sealed) else { return self.drop_datagram() };
        if id == self.id() || self.punches.by_attempt.contains_key(&knock.attempt) || !self.is_welcome(now, &id, seed) {
            return;
        }
        let near = knock.addrs.iter().map(|addr| addr.0).filter(|addr| self.path(*addr).on_link);
        let targets: Vec<_> = [from].into_iter().chain(near).filter(|addr| is_dialable(addr, seed.ip().is_loopback())).collect();
        let punch = Punch {
            peer: id,
            key: ProbeKey::new(&knock, false),
            seed,
            targets,
            began: Some(now.instant),
            round: 0,
            acks: 0,
            is_live: false,
            told: Vec::new(),
            told_at: None,
            others: VecDeque::new(),
            until: now.instant + PUNCH_FOR,
        };
        tracing::debug!(peer = %id.short(), %from, "somebody knocks");
        self.punches.by_attempt.insert(knock.attempt, punch);
        if knock.relay {
            self.peer_mut(id, now);
            self.want_relay(now, id, seed, true);
        }
        self.drive_punches(now);
    }

    /// Whom I block gets no word of ours, also not by a knock; a stranger may ask to write, but few of them can have us
    /// send anything anywhere.
    fn is_welcome(&mut self, now: Now, id: &PeerId, seed: SocketAddr) -> bool {
        match self.peers.get(id) {
            Some(peer) if peer.is_blocked() => false,
            Some(peer) if peer.contact.added => true,
            known => (known.is_some() || self.peers.len() < PEERS_MAX) && self.punches.takes_stranger(now.instant, seed),
        }
    }

    /// A probe came: whoever made it knows the knock's secret, and sends from there.
    pub(super) fn on_probe(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        let Ok(probe) = Probe::decode(bytes) else { return self.drop_datagram() };
        let Some(punch) = self.punches.by_attempt.get_mut(&probe.attempt) else { return self.drop_datagram() };
        if !punch.key.verify(&probe) || punch.acks >= ACKS_MAX {
            return self.drop_datagram();
        }
        punch.acks += 1;
        let answer = match probe.stage {
            ProbeStage::Probe => Some(ProbeStage::Ack),
            ProbeStage::Ack => Some(ProbeStage::AckOfAck),
            ProbeStage::AckOfAck => None,
        };
        if let Some(stage) = answer {
            self.transmits.push_back((Target::Unicast(from), punch.key.probe(stage).encode().to_vec()));
        }
        let is_live = probe.stage != ProbeStage::Probe;
        if is_live {
            let is_first = !std::mem::replace(&mut punch.is_live, true);
            punch.told_at = None;
            let peer = punch.peer;
            self.punches.probed.remove(&from);
            self.on_live_path(now, peer, from, is_first);
        }
    }

    /// What we sent there was answered from there; `is_first`: and nothing in this introduction before.
    fn on_live_path(&mut self, now: Now, id: PeerId, remote: SocketAddr, is_first: bool) {
        let path = self.path(remote);
        tracing::debug!(peer = %id.short(), %remote, "a path is open");
        let interfaces = &self.interfaces;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_news = !peer.is_first_candidate(path);
        peer.on_heard_at(now.instant, path);
        peer.relays.on_live_path();
        match &mut peer.link {
            Link::Up(session) => {
                let current = session.path();
                let is_better = current != path && (path.on_link || is_far(interfaces, current));
                if is_better && (is_news || is_first) {
                    session.try_path(now.instant, path);
                }
            }
            // What went to this very address before the way there was open is lost, and the pause after it may have
            // grown to seconds; but told of the same path twice, an attempt does not begin anew.
            Link::Handshaking(_) if !is_first => {}
            Link::Idle | Link::Waiting(_) | Link::Handshaking(_) => self.dial_soon(id),
        }
        self.touch(id);
    }

    /// Sends the probes that are due, and ends what took too long.
    pub(super) fn drive_punches(&mut self, now: Now) {
        let mut untold = Vec::new();
        let Punches { by_attempt, probed, .. } = &mut self.punches;
        for punch in by_attempt.values_mut() {
            while let Some(at) = punch.began.and_then(|began| PROBES_AT.get(punch.round).map(|at| began + *at))
                && at <= now.instant
            {
                punch.round += 1;
                // Over a path that is live everything is known already.
                for to in punch.targets.iter().take(TARGETS_MAX).filter(|_| !punch.is_live) {
                    if !Punches::may_probe(probed, now.instant, *to) {
                        continue;
                    }
                    let probe = punch.key.probe(ProbeStage::Probe).encode().to_vec();
                    self.transmits.push_back((Target::Unicast(*to), probe));
                }
            }
            if punch.told_at.take_if(|at| *at <= now.instant).is_some() {
                untold.push((punch.peer, std::mem::take(&mut punch.told), std::mem::take(&mut punch.others)));
            }
        }
        for (peer, told, others) in untold {
            self.on_unopened(now, peer, told, others);
        }
        let mut ended = Vec::new();
        self.punches.by_attempt.retain(|_, punch| {
            let stays = punch.until > now.instant;
            if !stays {
                ended.push(punch.peer);
            }
            stays
        });
        ended.into_iter().for_each(|id| self.forget_blank(id));
    }

    /// A seed's word has opened no path so far: its addresses are dialled as they are, and the next seed is asked.
    fn on_unopened(&mut self, now: Now, id: PeerId, told: Vec<SocketAddr>, mut others: VecDeque<Offer>) {
        let paths: Vec<PathAddr> = told.into_iter().map(|addr| self.path(addr)).collect();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        paths.iter().for_each(|path| peer.on_told_at(now.instant, *path));
        if let Link::Up(session) = &peer.link {
            // The first is where the seed sees it, and was probed.
            if session.path().relay.is_some()
                && let Some((_, listed)) = paths.split_first()
            {
                peer.relays.on_listed(now.instant, listed);
                self.touch(id);
            }
            return;
        }
        self.dial_soon(id);
        if let Some(next) = others.pop_front() {
            self.knock(now, id, next, others);
        }
    }
}

/// True where a path leaves our LANs as they are now: it may have begun on one that we have left.
fn is_far(interfaces: &[Interface], path: PathAddr) -> bool {
    path.relay.is_some() || !on_link(interfaces, &path.remote)
}
