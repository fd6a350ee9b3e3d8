//! The node: everything that one peer knows and decides, without a socket, a clock or a task.
//!
//! The contract of its run loop (`net::driver` keeps it): after any `handle_*`, drain `poll_write`,
//! `poll_transmit` and `poll_event`, then sleep until `poll_timeout` or the next input. Each `handle_*`
//! is one mutation at one instant; nothing happens between them. Methods are sorted: making one,
//! `handle_*`, `poll_*`; the rooms beside this file hold the rest: `link` (how a peer is reached),
//! `delivery` (what is said), `discovery` (who is here), `resolve` (who is meant).

mod admission;
mod batch;
pub mod command;
mod contacts;
mod conversation;
mod credit;
mod delivery;
mod dial;
pub mod discovery;
pub mod event;
pub mod interface;
mod introduction;
mod lan;
mod link;
mod peer;
mod phonebook;
mod ping;
mod places;
mod presence;
mod relay;
mod requests;
mod resolve;
mod seeds;
mod strangers;
#[cfg(test)]
mod tests;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

pub use self::values::{Datagram, NodeConfig, SocketKind, Target};
use self::{
    admission::HalfOpens,
    batch::{Batches, Health},
    command::{Command, CommandId, Reply},
    credit::Credit,
    delivery::Claim,
    discovery::{Arrival, Destination, Discovery, Ignored},
    event::{Event, NoticeCode},
    interface::Interface,
    introduction::Punches,
    link::Route,
    peer::Peer,
    phonebook::Asker,
    relay::{Channels, Refusals},
    requests::Requests,
    resolve::Lookup,
    seeds::{AskId, Seeds},
    strangers::Strangers,
};
use crate::{
    clock::{Instant, Now, Unix},
    crypto::{
        chance::Chance,
        handshake::Mac1Key,
        identity::{Identity, verify_announce},
    },
    id::{BatchId, BootId, ConversationId, Incarnation, MessageId, PeerId, Seq, SessionIndex},
    session::{PathAddr, Session},
    store::{
        Loaded, Reader,
        row::{CommitError, Committed, Op, WriteBatch},
    },
    wire,
};

/// Peers in memory at most: contacts, strangers with a session, and neighbours.
pub const PEERS_MAX: usize = 8_192;
/// A node that leaves waits no longer than this for its disk.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// A send on its way to the disk.
#[derive(Debug)]
struct Asked {
    /// Where it stands. What was refused for want of room may be asked again, and stand elsewhere then.
    place: (BatchId, Seq),
    /// Who wants to know.
    commands: Vec<CommandId>,
}

/// Goodbye is being said.
#[derive(Debug)]
struct Leaving {
    command: CommandId,
    until: Instant,
    told: bool,
}

/// A node.
pub struct Node {
    config: NodeConfig,
    identity: Identity,
    mac1: Mac1Key,
    boot: BootId,
    rng: ChaCha20Rng,
    chance: Chance,
    reader: Reader,
    start: Now,
    now: Now,
    interfaces: Vec<Interface>,
    discovery: Discovery,
    first_announce: Option<Instant>,
    peers: BTreeMap<PeerId, Box<Peer>>,
    routes: BTreeMap<SessionIndex, Route>,
    half_open: HalfOpens,
    in_view: BTreeSet<PeerId>,
    away: Option<String>,
    strangers: Strangers,
    requests: Requests,
    credit: Credit,
    lookups: Vec<Lookup>,
    seeds: Seeds,
    asks: BTreeMap<AskId, Asker>,
    punches: Punches,
    channels: Channels,
    refusals: Refusals,
    /// Peers that seeds are asked for although there is nothing to deliver.
    presence_sought: BTreeSet<PeerId>,
    batches: Batches<Claim>,
    /// Sends that are on their way to the disk, and who asked for them.
    asked: BTreeMap<MessageId, Asked>,
    /// Places of peers' directions that are on their way to the disk, with the message at each.
    uncommitted: BTreeMap<(ConversationId, Incarnation, Seq), (BatchId, Option<MessageId>)>,
    expiries: BTreeSet<(Unix, MessageId)>,
    /// The disk did not give all of them at the start: it is asked again then.
    look_for_expiries: Option<Unix>,
    outbox_len: u64,
    /// Peers about which something changed since the last look.
    touched: BTreeSet<PeerId>,
    /// Peers whose sessions may have something to send.
    ready: BTreeSet<PeerId>,
    deadlines: BTreeSet<(Instant, PeerId)>,
    transmits: VecDeque<(Target, Vec<u8>)>,
    events: VecDeque<Event>,
    /// What was told once already. Of peers only such as are stored, who stay: nobody makes it grow from outside.
    noticed: BTreeSet<(NoticeCode, Option<PeerId>)>,
    leaving: Option<Leaving>,
    dropped: u64,
}

/// The boot id of a new run: above every one before, and near the clock so that a lost profile's
/// successor is above it too. Whoever starts a node commits it first (`Op::Boot`).
pub fn next_boot(stored: BootId, now: Unix) -> BootId {
    BootId(stored.0.saturating_add(1).max(now.0))
}

impl Node {
    /// A node over what its store holds. `loaded.boot` is this run's boot and is committed already;
    /// `rng_seed` decides every random choice. It is silent until it is told its interfaces.
    pub fn new(config: NodeConfig, identity: Identity, loaded: Loaded, reader: Reader, rng_seed: [u8; 32], now: Now) -> Self {
        let mut rng = ChaCha20Rng::from_seed(rng_seed);
        let mut discovery_seed = [0; 32];
        rng.fill_bytes(&mut discovery_seed);
        // Of the same draw, so that a node without seeds goes on as ever.
        let mut seeds_seed = discovery_seed;
        seeds_seed.reverse();
        let discovery = config.discovery(identity.id(), &loaded);
        let seeds = config.seeds(identity.id());
        let (boot, outbox_len, is_renamed) = (loaded.boot, loaded.outbox_len, loaded.name != config.name);
        let peers = peer::load(loaded, now.unix);
        let mut node = Self {
            mac1: Mac1Key::of_id(&identity.id()),
            boot,
            discovery: Discovery::new(discovery, discovery_seed, now.instant),
            config,
            identity,
            chance: Chance::new(&mut rng),
            rng,
            reader,
            start: now,
            now,
            interfaces: Vec::new(),
            first_announce: None,
            touched: peers.keys().copied().collect(),
            strangers: Strangers::load(peers.iter()),
            requests: Requests::load(peers.iter()),
            credit: Credit::default(),
            peers,
            routes: BTreeMap::new(),
            half_open: HalfOpens::default(),
            in_view: BTreeSet::new(),
            away: None,
            lookups: Vec::new(),
            seeds: Seeds::new(seeds, seeds_seed, now.instant),
            asks: BTreeMap::new(),
            punches: Punches::default(),
            channels: Channels::default(),
            refusals: Refusals::default(),
            presence_sought: BTreeSet::new(),
            batches: Batches::new(),
            asked: BTreeMap::new(),
            uncommitted: BTreeMap::new(),
            expiries: BTreeSet::new(),
            look_for_expiries: None,
            outbox_len,
            ready: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            noticed: BTreeSet::new(),
            leaving: None,
            dropped: 0,
        };
        if is_renamed {
            node.batches.push(Op::Name(node.config.name.clone()));
        }
        node.load_expiries(now);
        node
    }

    /// Who we are.
    pub fn id(&self) -> PeerId {
        self.identity.id()
    }

    /// The session with a peer, where the link is up: for tests, benches and `ping`.
    pub fn session(&self, peer: &PeerId) -> Option<&Session> {
        self.peers.get(peer).and_then(|peer| peer.session())
    }

    // --- input

    /// Takes a datagram. Whatever makes no sense is counted and changes nothing.
    pub fn handle_datagram(&mut self, now: Now, datagram: Datagram<'_>) {
        self.now = now;
        let Datagram { from, interface, socket, hop_limit, bytes } = datagram;
        let is_session = socket == SocketKind::Session;
        match wire::kind(bytes) {
            Ok(wire::KIND_PACKET..=wire::KIND_CONFIRM) if is_session => self.on_from_peer(now, self.path(from), bytes),
            Ok(wire::KIND_RELAYED) if is_session => self.on_relayed(now, from, bytes),
            Ok(wire::KIND_ANSWER) if is_session => self.on_answer(now, from, bytes),
            Ok(wire::KIND_PROBE) if is_session => self.on_probe(now, from, bytes),
            Ok(wire::KIND_ANNOUNCE) => {
                let arrival = Arrival { from, interface, on_link: !is_session && hop_limit == Some(255) };
                let heard = self.discovery.handle_datagram(now.instant, arrival, bytes, verify_announce);
                if heard.is_err_and(Ignored::is_nonsense) {
                    self.drop_datagram();
                }
            }
            _ => self.drop_datagram(),
        }
        self.finish(now);
    }

    /// Takes a command; its reply comes as an event.
    pub fn handle_command(&mut self, now: Now, id: CommandId, command: Command) {
        self.now = now;
        match command {
            Command::Send { .. } => self.send(now, id, command),
            Command::Resolve { peer, timeout } => self.resolve(now, id, peer, timeout),
            Command::Sight { peer, timeout } => self.sight(now, id, peer, timeout),
            Command::Peers { settle } => self.list_peers(now, id, settle),
            Command::Watch(peer) => self.watch(now, id, peer),
            Command::Ping { peer, timeout } => self.ping(now, id, peer, timeout),
            Command::Cancel(message) => self.cancel(id, message),
            Command::Rewrite { message, id: new, text } => self.rewrite(now, id, (message, new), text),
            Command::Retry(peer) => self.retry(id, peer),
            Command::SetName(name) => self.set_name(now, id, name),
            Command::SetAway(away) => self.set_away(now, id, away),
            Command::MarkRead(peer, message) => self.mark_read(id, peer, message),
            Command::Shown(peers) => {
                self.on_shown(&peers);
                self.reply(id, Reply::Done);
            }
            Command::Requests => self.reply(id, Reply::Requests(self.request_views())),
            Command::SetAllow(allow) => self.set_allow(id, allow),
            Command::SetReadReceipts(on) => self.set_read_receipts(id, on),
            Command::AddContact { .. } | Command::EditContact { .. } => self.on_contact_command(now, id, command),
            Command::Seeds { .. } | Command::Ask { .. } | Command::Register { .. } => self.on_seed_command(now, id, command),
            Command::Import(lines) => self.import(id, lines),
            Command::Waiting(peer) => {
                let reason = self.waiting_reason(&peer);
                let (next_try, reads) = (self.next_try(&peer), self.peer_tells_read(&peer));
                self.reply(id, Reply::Waiting { reason, next_try, reads });
            }
            Command::Status => {
                let status = self.status();
                self.reply(id, Reply::Status(status));
            }
            Command::Leave => self.leave(now, id),
        }
        self.finish(now);
    }

    /// Takes the end of a commit: opens what waited for it, or keeps it closed.
    pub fn handle_committed(&mut self, now: Now, batch: BatchId, result: Result<Committed, CommitError>) {
        self.now = now;
        match result {
            Ok(committed) => {
                let was_well = self.batches.health() == Health::Well;
                self.batches.on_committed(&committed);
                self.open_claims(now, &committed);
                if !was_well {
                    self.noticed.retain(|(code, _)| !matches!(code, NoticeCode::DiskFull | NoticeCode::ReadOnly));
                }
            }
            Err(error) => self.on_commit_failed(now, batch, error),
        }
        self.finish(now);
    }

    /// Takes the interfaces as they are now.
    pub fn handle_interfaces(&mut self, now: Now, interfaces: Vec<Interface>) {
        self.now = now;
        let had = self.has_network();
        let first = self.interfaces.is_empty();
        let changed = self.interfaces != interfaces;
        self.interfaces = interfaces;
        self.discovery.handle_interfaces(now.instant, &self.interfaces);
        match (had, self.has_network()) {
            (_, false) if had || first => {
                self.notice_again(NoticeCode::NoNetwork, "no network: messages are kept and go out when there is one")
            }
            (false, true) if !first => self.notice_again(NoticeCode::NetworkBack, "the network is back"),
            _ => {}
        }
        if changed {
            self.wake_links(now);
        }
        self.finish(now);
    }

    fn has_network(&self) -> bool {
        self.interfaces.iter().any(|interface| !interface.loopback && !interface.addrs.is_empty())
    }

    /// The machine has slept: everybody may have gone, and we may have been forgotten.
    pub fn handle_wake(&mut self, now: Now) {
        self.now = now;
        self.discovery.handle_wake(now.instant);
        self.wake_links(now);
        self.finish(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        self.discovery.handle_timeout(now.instant);
        for index in self.half_open.on_timeout(now.instant) {
            self.routes.remove(&index);
        }
        self.seeds.handle_timeout(now);
        // A look-up and what it asks of seeds end at one time: what they said comes first.
        self.drain_seeds(now);
        self.drive_punches(now);
        self.expire(now);
        while let Some((at, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now.instant) {
            self.deadlines.remove(&(at, id));
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.deadline = None;
            }
            self.on_peer_timeout(now, id);
        }
        self.answer_lookups(now);
        self.finish(now);
    }

    /// Every mutation ends here: news of the LAN, then each peer that something happened to.
    fn finish(&mut self, now: Now) {
        while let Some(event) = self.discovery.poll_event() {
            self.on_discovery(now, event);
        }
        self.drain_seeds(now);
        self.grant_waiting();
        while let Some(id) = self.touched.pop_first() {
            self.drive_seek(now, id);
            self.drive_relay(now, id);
            self.drive_link(now, id);
            self.offer(now, id);
            self.grant_credit(id);
            self.ready.insert(id);
            self.set_deadline(id);
        }
        self.end_leaving(now);
    }

    // --- output

    /// The next batch to commit; `None` while one is in flight.
    pub fn poll_write(&mut self) -> Option<WriteBatch> {
        self.batches.poll_write(self.now.instant, self.reader.wants_commit())
    }

    /// Writes one datagram into `out` (cleared first) and says where it goes; `None`: nothing more now.
    pub fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) -> Option<Target> {
        out.clear();
        if let Some((target, datagram)) = self.transmits.pop_front() {
            out.extend_from_slice(&datagram);
            return Some(target);
        }
        if let Some((seed, datagram)) = self.seeds.poll_transmit() {
            out.extend_from_slice(&datagram);
            return Some(Target::Unicast(seed));
        }
        if let Some(outgoing) = self.discovery.poll_announce() {
            self.first_announce.get_or_insert(now.instant);
            out.extend_from_slice(&self.identity.sign_announce(&outgoing.announce));
            return Some(match outgoing.to {
                Destination::Multicast { interface, group } => Target::Multicast { interface, group },
                Destination::Unicast(addr) => Target::Unicast(addr),
            });
        }
        while let Some(id) = self.ready.first().copied() {
            let peer = self.peers.get_mut(&id);
            let path = peer.and_then(|peer| peer.sessions_mut().find_map(|session| session.poll_transmit(now.instant, out)));
            if let Some(path) = path {
                relay::wrap(path, out);
                return Some(Target::Unicast(path.remote));
            }
            self.ready.remove(&id);
            self.set_deadline(id);
        }
        None
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None`: not before the next
    /// input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let start = self.start;
        let expiry = self.expiries.first().map(|(at, _)| *at).into_iter().chain(self.look_for_expiries).min();
        let expiry = expiry.map(|at| start.instant + at.since(start.unix));
        let leaving = self.leaving.as_ref().filter(|leaving| !leaving.told).map(|leaving| leaving.until);
        [
            self.discovery.poll_timeout(),
            self.half_open.poll_timeout(),
            self.seeds.poll_timeout(),
            self.punches.poll_timeout(),
            self.deadlines.first().map(|(at, _)| *at),
            self.batches.poll_timeout(),
            self.lookup_timeout(),
            expiry,
            leaving,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    // --- the rest is for the rooms beside this file

    fn set_deadline(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let deadline = self.peer_deadline(peer);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.deadline != deadline {
            if let Some(old) = peer.deadline {
                self.deadlines.remove(&(old, id));
            }
            peer.deadline = deadline;
            self.deadlines.extend(deadline.map(|at| (at, id)));
        }
    }

    fn touch(&mut self, id: PeerId) {
        self.touched.insert(id);
    }

    fn peer_mut(&mut self, id: PeerId, now: Now) -> &mut Peer {
        self.peers.entry(id).or_insert_with(|| {
            let mut peer = Peer::blank(id, now.unix);
            if let Some(neighbour) = self.discovery.neighbour(&id) {
                (peer.neighbour, peer.heard) = (true, true);
                for remote in neighbour.addrs.iter().rev() {
                    let on_link = interface::on_link(&self.interfaces, remote);
                    peer.on_heard_at(now.instant, PathAddr::direct(*remote, on_link));
                }
            }
            peer
        })
    }

    /// The wall clock as this run has seen it start: a jump of the real one changes no age.
    fn steady(&self, now: Now) -> Unix {
        let run = now.instant.since(self.start.instant);
        Unix(self.start.unix.0.saturating_add(u64::try_from(run.as_millis()).unwrap_or(u64::MAX)))
    }

    fn random_incarnation(&mut self) -> Incarnation {
        Incarnation(self.rng.next_u64() | 1)
    }
}
