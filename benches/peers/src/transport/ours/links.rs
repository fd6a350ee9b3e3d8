//! Handshakes and sessions of one side: what a node's `dial` and `link` do of them, without peers, contacts and
//! strangers.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use p2pchat_udp::{
    clock::Instant,
    crypto::{
        handshake::{Established, Initiator, Mac1Key, Responder},
        identity::Identity,
    },
    id::{BootId, Epoch, PeerId, SessionIndex},
    session::{PathAddr, Session, SessionConfig, SessionEvent},
    wire::{
        self, WIRE_VERSION,
        message::HandshakePayload,
        packet::{Confirm, PacketHeader, Response},
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

/// Tries of a handshake datagram, and the first wait for an answer, on a link and across routers; doubled each time.
const TRIES_MAX: u32 = 8;
const RETRY_ON_LINK: Duration = Duration::from_millis(50);
const RETRY_OFF_LINK: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Signs of life that are asked for.
const KEEPALIVE_ON_LINK: Duration = Duration::from_secs(15);
const KEEPALIVE_OFF_LINK: Duration = Duration::from_secs(20);
/// The default network.
const NETWORK: &str = "";

/// All handshakes and sessions of one side.
pub(super) struct Links {
    identity: Identity,
    mac1: Mac1Key,
    payload: HandshakePayload,
    on_link: bool,
    rng: ChaCha20Rng,
    dials: HashMap<SessionIndex, Dial>,
    half_open: HashMap<SessionIndex, Responder>,
    links: Vec<Link>,
    /// What a session is called by its peer, and its place among the links.
    routes: HashMap<SessionIndex, usize>,
    accepted: VecDeque<usize>,
    /// Handshake datagrams to leave.
    handshakes: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Sessions that may have something to say.
    touched: Vec<usize>,
    deadlines: BTreeSet<(Instant, usize)>,
}

/// A datagram that is sent again until it is answered.
struct Repeated {
    datagram: Vec<u8>,
    to: SocketAddr,
    tries: u32,
    at: Instant,
}

struct Dial {
    initiator: Initiator,
    initiation: Repeated,
}

/// One session.
pub(super) struct Link {
    session: Session,
    confirm: Option<Repeated>,
    received: VecDeque<Vec<u8>>,
    queued: usize,
    is_touched: bool,
    deadline: Option<Instant>,
    is_over: bool,
}

impl Repeated {
    fn new(now: Instant, datagram: Vec<u8>, to: SocketAddr, on_link: bool) -> Self {
        Self { datagram, to, tries: 1, at: now + retry(0, on_link) }
    }

    fn repeat(&mut self, now: Instant, on_link: bool) -> Option<(SocketAddr, Vec<u8>)> {
        if self.at > now || self.tries >= TRIES_MAX {
            return None;
        }
        self.at = now + retry(self.tries, on_link);
        self.tries += 1;
        Some((self.to, self.datagram.clone()))
    }
}

fn retry(tries: u32, on_link: bool) -> Duration {
    let first = if on_link { RETRY_ON_LINK } else { RETRY_OFF_LINK };
    first.saturating_mul(1 << tries.min(8)).min(RETRY_MAX)
}

impl Link {
    /// Bytes of messages given and not acked.
    pub(super) fn queued_len(&self) -> usize {
        self.session.queued()
    }

    /// As many messages.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Opened => {
                    let on_link = self.session.path().on_link;
                    let keepalive = if on_link { KEEPALIVE_ON_LINK } else { KEEPALIVE_OFF_LINK };
                    self.session.set_keepalive(now, Some(keepalive));
                }
                SessionEvent::Received { bytes, .. } => {
                    self.session.consumed(bytes.len());
                    self.received.push_back(bytes);
                }
                SessionEvent::Acked(_) => self.queued = self.queued.saturating_sub(1),
                SessionEvent::Closed(_) => self.is_over = true,
                SessionEvent::PathChanged | SessionEvent::Pong { .. } | SessionEvent::Unresponsive => {}
            }
        }
        // All that the session would make use of: a node has enough for a few.
        if let Some(credit) = self.session.credit_wanted() {
            self.session.grant(credit);
        }
        if self.session.is_heard() {
            self.confirm = None;
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let confirm = self.confirm.as_ref().filter(|confirm| confirm.tries < TRIES_MAX).map(|confirm| confirm.at);
        [self.session.poll_timeout(), confirm].into_iter().flatten().min()
    }
}

impl Links {
    pub(super) fn new(identity: Identity, on_link: bool, rng: ChaCha20Rng) -> Self {
        let software = "p2pchat-udp/peers".to_owned();
        Self {
            mac1: Mac1Key::of_id(&identity.id()),
            identity,
            payload: HandshakePayload { version: WIRE_VERSION, boot: BootId(1), features: Vec::new(), software },
            on_link,
            rng,
            dials: HashMap::new(),
            half_open: HashMap::new(),
            links: Vec::new(),
            routes: HashMap::new(),
            accepted: VecDeque::new(),
            handshakes: VecDeque::new(),
            touched: Vec::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// The session at this place; an error where it is over.
    pub(super) fn link(&self, place: usize) -> Result<&Link> {
        self.links.get(place).filter(|link| !link.is_over).context("the session is over")
    }

    /// The place of a session that somebody else began, once.
    pub(super) fn accepted(&mut self) -> Option<usize> {
        self.accepted.pop_front()
    }

    /// The place of this dial's session once it lets content leave, its first rekey done here; an error where nobody answered.
    /// The peer, proved by its handshake, learns of it by the first packet: as with QUIC, whose dialler waits for no more either.
    pub(super) fn ready(&self, index: SessionIndex) -> Result<Option<usize>> {
        if self.dials.get(&index).is_some_and(|dial| dial.initiation.tries >= TRIES_MAX) {
            bail!("nobody answers");
        }
        let Some(&place) = self.routes.get(&index) else { return Ok(None) };
        Ok((self.link(place)?.session.epoch() > Epoch(0)).then_some(place))
    }

    /// The next message of this session.
    pub(super) fn received(&mut self, place: usize) -> Result<Option<Vec<u8>>> {
        let link = self.links.get_mut(place).context("no such session")?;
        let received = link.received.pop_front();
        if received.is_none() && link.is_over {
            bail!("the session is over");
        }
        Ok(received)
    }

    /// Gives a session a message.
    pub(super) fn send(&mut self, place: usize, message: &[u8]) -> Result<()> {
        let link = self.links.get_mut(place).context("no such session")?;
        link.session.send_message(message.to_vec());
        link.queued += 1;
        self.touch(place);
        Ok(())
    }

    /// Begins a handshake.
    pub(super) fn dial(&mut self, now: Instant, peer: PeerId, to: SocketAddr) -> SessionIndex {
        let index = self.free_index();
        let (initiator, initiation) = Initiator::new(&self.identity, peer, NETWORK, index, &mut self.rng);
        self.handshakes.push_back((to, initiation.clone()));
        let initiation = Repeated::new(now, initiation, to, self.on_link);
        self.dials.insert(index, Dial { initiator, initiation });
        index
    }

    fn free_index(&mut self) -> SessionIndex {
        loop {
            let index = SessionIndex(self.rng.next_u32());
            let is_taken =
                self.routes.contains_key(&index) || self.dials.contains_key(&index) || self.half_open.contains_key(&index);
            if !is_taken {
                return index;
            }
        }
    }

    /// Takes a datagram; what does not fit is dropped.
    pub(super) fn on_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &mut [u8]) {
        let path = PathAddr::direct(from, self.on_link);
        match wire::kind(bytes) {
            Ok(wire::KIND_PACKET) => self.on_packet(now, path, bytes),
            Ok(wire::KIND_INITIATION) => self.on_initiation(from, bytes),
            Ok(wire::KIND_RESPONSE) => self.on_response(now, path, bytes),
            Ok(wire::KIND_CONFIRM) => self.on_confirm(now, path, bytes),
            _ => {}
        }
    }

    fn on_packet(&mut self, now: Instant, path: PathAddr, bytes: &mut [u8]) {
        let Ok(header) = PacketHeader::decode(bytes) else { return };
        let Some(&place) = self.routes.get(&header.receiver) else { return };
        let Some(link) = self.links.get_mut(place) else { return };
        if link.session.handle_datagram(now, path, bytes).is_ok() {
            link.take_events(now);
            self.touch(place);
        }
    }

    fn on_initiation(&mut self, from: SocketAddr, bytes: &[u8]) {
        if !self.mac1.verify(bytes) {
            return;
        }
        if let Some(responder) = self.half_open.values().find(|responder| responder.answers(bytes)) {
            self.handshakes.push_back((from, responder.response().to_vec()));
            return;
        }
        let index = self.free_index();
        let made = Responder::new(&self.identity, NETWORK, bytes, index, &self.payload, &mut self.rng);
        if let Ok((responder, response)) = made {
            self.half_open.insert(index, responder);
            self.handshakes.push_back((from, response));
        }
    }

    fn on_response(&mut self, now: Instant, path: PathAddr, bytes: &[u8]) {
        let Ok(response) = Response::decode(bytes) else { return };
        let Some(dial) = self.dials.get_mut(&response.receiver) else { return };
        let Ok((established, confirm)) = dial.initiator.on_response(bytes, &self.payload) else { return };
        self.dials.remove(&response.receiver);
        self.handshakes.push_back((path.remote, confirm.clone()));
        let confirm = Repeated::new(now, confirm, path.remote, path.on_link);
        self.insert(now, established, path, Some(confirm));
    }

    fn on_confirm(&mut self, now: Instant, path: PathAddr, bytes: &[u8]) {
        let Ok(confirm) = Confirm::decode(bytes) else { return };
        let Some(responder) = self.half_open.get_mut(&confirm.receiver) else { return };
        let Ok(established) = responder.on_confirm(bytes) else { return };
        self.half_open.remove(&confirm.receiver);
        let place = self.insert(now, established, path, None);
        self.accepted.push_back(place);
    }

    fn insert(&mut self, now: Instant, established: Established, path: PathAddr, confirm: Option<Repeated>) -> usize {
        let place = self.links.len();
        self.routes.insert(established.local, place);
        let session = Session::new(established, path, SessionConfig::default(), now, &mut self.rng);
        let received = VecDeque::new();
        let link = Link { session, confirm, received, queued: 0, is_touched: false, deadline: None, is_over: false };
        self.links.push(link);
        self.touch(place);
        place
    }

    fn touch(&mut self, place: usize) {
        let Some(link) = self.links.get_mut(place) else { return };
        if !std::mem::replace(&mut link.is_touched, true) {
            self.touched.push(place);
        }
    }

    /// What is due of handshakes and sessions.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        for dial in self.dials.values_mut() {
            self.handshakes.extend(dial.initiation.repeat(now, self.on_link));
        }
        while let Some(&(at, place)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, place));
            let Some(link) = self.links.get_mut(place) else { continue };
            link.deadline = None;
            if link.session.poll_timeout().is_some_and(|at| at <= now) {
                link.session.handle_timeout(now);
            }
            link.take_events(now);
            if let Some(confirm) = &mut link.confirm {
                self.handshakes.extend(confirm.repeat(now, self.on_link));
            }
            self.touch(place);
        }
    }

    /// The next datagram, and where it goes.
    pub(super) fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        if let Some((to, datagram)) = self.handshakes.pop_front() {
            *out = datagram;
            return Some(to);
        }
        while let Some(&place) = self.touched.last() {
            let Some(link) = self.links.get_mut(place) else {
                self.touched.pop();
                continue;
            };
            if let Some(path) = link.session.poll_transmit(now, out) {
                return Some(path.remote);
            }
            link.take_events(now);
            self.touched.pop();
            link.is_touched = false;
            let next = link.next_deadline();
            if next != link.deadline {
                if let Some(old) = std::mem::replace(&mut link.deadline, next) {
                    self.deadlines.remove(&(old, place));
                }
                self.deadlines.extend(next.map(|at| (at, place)));
            }
        }
        None
    }

    /// When something is due next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let dial = self.dials.values().map(|dial| dial.initiation.at).min();
        [self.deadlines.first().map(|(at, _)| *at), dial].into_iter().flatten().min()
    }
}
