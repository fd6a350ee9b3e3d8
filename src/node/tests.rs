//! Two nodes on virtual time, a `Vec` for a network, stores in memory: what delivery, links and
//! look-ups do between two people. Faults of every kind are the simulator's (`tests/sim`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use redb::backends::InMemoryBackend;

use super::{
    command::{CommandError, Reason},
    *,
};
use crate::{
    id::Seq,
    store::{
        Fresh, HistoryQuery, Store,
        row::{Direction, State},
    },
    wire::{
        DATAGRAM_LEN_MAX,
        message::{Item, Receipt},
    },
};

mod away;
mod commits;
mod contacts;
mod limits;
mod mapped;
mod order;
mod ping;
mod reading;
mod receipts;
mod requests;
mod retention;
mod rewriting;
mod withdrawing;

const DELAY: Duration = Duration::from_micros(300);

struct Side {
    node: Node,
    store: Store,
    addr: SocketAddr,
    events: Vec<Event>,
    commit_takes: Duration,
    committing: Option<(Instant, WriteBatch)>,
    full: bool,
    commands: u64,
}

struct Pair {
    now: Now,
    sides: [Side; 2],
    wire: Vec<(Instant, usize, SocketAddr, SocketKind, Vec<u8>)>,
    /// Datagrams in the second side's direction are lost.
    cut: bool,
    /// Of them one alone, after so many.
    loses: Option<usize>,
    /// What each side has sent to the other alone, by the datagram's kind.
    sent: [Vec<u8>; 2],
}

fn side(number: u8, now: Now) -> Side {
    let mut rng = ChaCha20Rng::from_seed([number; 32]);
    let identity = Identity::generate(&mut rng);
    let fresh = Fresh { secret: *identity.secret(), name: format!("side{number}"), boot: next_boot(BootId(0), now.unix) };
    let store = Store::create_backend(InMemoryBackend::new(), &fresh).unwrap();
    let addr = SocketAddr::from(([192, 0, 2, number], 17118));
    let node = start(&store, number, now);
    Side { node, store, addr, events: Vec::new(), commit_takes: Duration::ZERO, committing: None, full: false, commands: 0 }
}

fn start(store: &Store, number: u8, now: Now) -> Node {
    let loaded = store.reader().load().unwrap();
    let identity = Identity::from_secret(&loaded.secret).unwrap();
    let config = NodeConfig { name: loaded.name.clone(), port: 17118, lan: true, ..NodeConfig::default() };
    start_as(config, 24, identity, loaded, store, number, now)
}

/// One that is configured so, in a subnet of this size.
fn start_as(config: NodeConfig, prefix: u8, identity: Identity, loaded: Loaded, store: &Store, number: u8, now: Now) -> Node {
    let mut node = Node::new(config, identity, loaded, store.reader(), [number; 32], now);
    let addr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
    let interface = Interface {
        index: 2,
        name: "eth0".to_owned(),
        addrs: vec![(addr, prefix)],
        multicast: true,
        loopback: false,
        point_to_point: false,
    };
    node.handle_interfaces(now, vec![interface]);
    node
}

impl Pair {
    fn new() -> Self {
        let now = Now { instant: Instant::from_start(Duration::from_secs(100)), unix: Unix(1_700_000_000_000) };
        Self {
            now,
            sides: [side(1, now), side(2, now)],
            wire: Vec::new(),
            cut: false,
            loses: None,
            sent: [Vec::new(), Vec::new()],
        }
    }

    fn id(&self, side: usize) -> PeerId {
        self.sides[side].node.id()
    }

    fn command(&mut self, side: usize, command: Command) -> CommandId {
        let one = &mut self.sides[side];
        one.commands += 1;
        let id = CommandId(one.commands);
        one.node.handle_command(self.now, id, command);
        id
    }

    fn send(&mut self, side: usize, text: &str) -> MessageId {
        let peer = self.id(1 - side);
        let number = self.sides[side].commands + 1;
        let mut random = [side as u8; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let id = MessageId::new(self.now.unix.0, &random);
        self.command(side, Command::Send { peer, id, kind: 0, text: text.to_owned(), expire: None });
        id
    }

    /// The other side says this in its session, whatever its own program would say.
    fn hear(&mut self, side: usize, item: &Item) {
        let (now, peer) = (self.now, self.id(1 - side));
        let node = &mut self.sides[side].node;
        let session = node.session(&peer).unwrap().local_index();
        node.on_item(now, peer, session, u64::MAX, &item.encode());
        node.finish(now);
    }

    /// The incarnation that a side sends in.
    fn incarnation(&self, side: usize) -> Incarnation {
        self.sides[side].node.peers[&self.id(1 - side)].conversation.as_ref().unwrap().row.mine.incarnation
    }

    /// Moves everything that moves until `end`.
    fn run_for(&mut self, time: Duration) {
        let end = self.now.instant + time;
        loop {
            self.drain();
            let next = self
                .sides
                .iter()
                .flat_map(|side| [side.node.poll_timeout(), side.committing.as_ref().map(|committing| committing.0)])
                .chain(self.wire.iter().map(|sent| Some(sent.0)))
                .flatten()
                .min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.advance(next.max(self.now.instant));
        }
        self.advance_clock(end);
    }

    fn advance_clock(&mut self, to: Instant) {
        let step = to.since(self.now.instant);
        self.now = Now { instant: to, unix: Unix(self.now.unix.0 + step.as_millis() as u64) };
    }

    fn advance(&mut self, to: Instant) {
        self.advance_clock(to);
        let now = self.now;
        let due: Vec<_> = self.wire.extract_if(.., |sent| sent.0 <= to).collect();
        for (_, to_side, from, socket, mut bytes) in due {
            let hop_limit = Some(255);
            let datagram = Datagram { from, interface: 2, socket, hop_limit, bytes: &mut bytes };
            self.sides[to_side].node.handle_datagram(now, datagram);
        }
        for side in &mut self.sides {
            if let Some((_, batch)) = side.committing.take_if(|committing| committing.0 <= to) {
                let id = batch.id;
                let result = if side.full { Err(CommitError::Full) } else { side.store.commit(&batch) };
                side.node.handle_committed(now, id, result);
            }
            if side.node.poll_timeout().is_some_and(|at| at <= to) {
                side.node.handle_timeout(now);
            }
        }
    }

    fn drain(&mut self) {
        let now = self.now;
        for index in 0..2 {
            let mut out = Vec::new();
            let side = &mut self.sides[index];
            if let Some(batch) = side.node.poll_write() {
                side.committing = Some((now.instant + side.commit_takes, batch));
            }
            while let Some(target) = side.node.poll_transmit(now, &mut out) {
                let other = 1 - index;
                let socket = match target {
                    Target::Unicast(_) => SocketKind::Session,
                    Target::Multicast { .. } => SocketKind::Discovery,
                };
                if socket == SocketKind::Session {
                    self.sent[index].push(out[0]);
                }
                let is_lost = other == 1 && (self.cut || self.loses == Some(0));
                self.loses = if other == 1 { self.loses.and_then(|left| left.checked_sub(1)) } else { self.loses };
                // As much as any path carries.
                if !is_lost && out.len() <= DATAGRAM_LEN_MAX {
                    self.wire.push((now.instant + DELAY, other, side.addr, socket, out.clone()));
                }
            }
            side.events.extend(std::iter::from_fn(|| side.node.poll_event()));
        }
    }

    fn texts(&self, side: usize) -> Vec<String> {
        let shown = |event: &Event| match event {
            Event::Message { row, .. } => Some(row.text.clone()),
            _ => None,
        };
        self.sides[side].events.iter().filter_map(shown).collect()
    }

    fn states(&self, side: usize, message: MessageId) -> Vec<State> {
        let state = |event: &Event| match event {
            Event::Status { id, state, .. } if *id == message => Some(*state),
            _ => None,
        };
        self.sides[side].events.iter().filter_map(state).collect()
    }

    fn replies(&self, side: usize, command: CommandId) -> Vec<Reply> {
        let reply = |event: &Event| match event {
            Event::Reply(id, reply) if *id == command => Some(reply.clone()),
            _ => None,
        };
        self.sides[side].events.iter().filter_map(reply).collect()
    }
}

#[test]
fn two_strangers_meet_and_the_first_message_is_delivered() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    let message = pair.send(0, "hi");
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.texts(1), ["hi"]);
    assert_eq!(pair.states(0, message).last(), Some(&State::Delivered));
    let history = pair.sides[1].store.reader().history(&HistoryQuery::default()).unwrap();
    assert_eq!(history.rows.len(), 1);
    assert_eq!(history.rows[0].1.direction, Direction::In);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.sides[0].store.reader().load().unwrap().outbox_len, 0);
}

#[test]
fn both_write_at_once_and_everything_comes_in_order() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    for number in 0..500 {
        pair.send(0, &format!("a{number}"));
        pair.send(1, &format!("b{number}"));
    }
    pair.run_for(Duration::from_secs(3));
    let written = |who: char| (0..500).map(|number| format!("{who}{number}")).collect::<Vec<_>>();
    assert!(pair.texts(1) == written('a'), "lost or out of order: {:?}", pair.texts(1));
    assert!(pair.texts(0) == written('b'), "lost or out of order: {:?}", pair.texts(0));
}

#[test]
fn delivered_is_never_told_before_the_receivers_commit() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    pair.sides[1].commit_takes = Duration::from_millis(1_500);
    let message = pair.send(0, "slow disk");
    pair.run_for(Duration::from_millis(1_400));
    assert!(pair.texts(1).is_empty());
    assert!(!pair.states(0, message).contains(&State::Delivered));
    pair.run_for(Duration::from_secs(6));
    assert_eq!(pair.states(0, message).last(), Some(&State::Delivered));
    let retransmitted = pair.sides[0].node.session(&pair.id(1)).unwrap().stats().retransmitted;
    assert_eq!(retransmitted, 0, "a slow disk costs no retransmit");
}

#[test]
fn mail_waits_for_a_peer_that_restarts() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    pair.send(0, "one");
    pair.run_for(Duration::from_millis(200));
    pair.cut = true;
    pair.send(0, "two");
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.texts(1), ["one"]);
    // Killed, and started again.
    let boot = WriteBatch { id: BatchId(0), ops: std::sync::Arc::new(vec![Op::Boot(next_boot(BootId(0), pair.now.unix))]) };
    pair.sides[1].store.commit(&boot).unwrap();
    pair.sides[1].committing = None;
    pair.sides[1].node = start(&pair.sides[1].store, 2, pair.now);
    pair.cut = false;
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.texts(1), ["one", "two"]);
    let late: Vec<_> = pair.sides[1]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Message { row, .. } => Some(row.late),
            _ => None,
        })
        .collect();
    assert_eq!(late, [false, true]);
}

#[test]
fn the_same_send_twice_is_one_message() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    let (peer, id) = (pair.id(1), MessageId::new(1, &[7; 10]));
    let ask = Command::Send { peer, id, kind: 0, text: "once".to_owned(), expire: None };
    let commands = [pair.command(0, ask.clone()), pair.command(0, ask.clone())];
    pair.run_for(Duration::from_millis(100));
    let third = pair.command(0, ask);
    pair.run_for(Duration::from_millis(100));
    for command in commands.into_iter().chain([third]) {
        assert_eq!(pair.replies(0, command), [Reply::Queued(id)]);
    }
    assert_eq!(pair.texts(1), ["once"]);
}

#[test]
fn an_id_is_not_answered_with_the_state_of_another_message() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    let (peer, id) = (pair.id(1), MessageId::new(1, &[7; 10]));
    let somebody = Identity::generate(&mut ChaCha20Rng::from_seed([9; 32])).id();
    let ask = |peer, kind, text: &str| Command::Send { peer, id, kind, text: text.to_owned(), expire: None };
    let others = [ask(somebody, 0, "once"), ask(peer, 0, "twice"), ask(peer, 1, "once")];
    pair.sides[0].commit_takes = Duration::from_millis(50);
    // While it grows, while it is on its way to the disk, when it is there, and when it is delivered.
    let first = pair.command(0, ask(peer, 0, "once"));
    let mut refused = Vec::new();
    for wait in [0, 20, 40, 1_000] {
        refused.extend(others.clone().map(|other| pair.command(0, other)));
        pair.run_for(Duration::from_millis(wait));
    }
    refused.extend(others.map(|other| pair.command(0, other)));
    pair.run_for(Duration::ZERO);
    assert_eq!(pair.replies(0, first), [Reply::Queued(id)]);
    for command in refused {
        assert_eq!(pair.replies(0, command), [Reply::Failed(CommandError::TakenId)]);
    }
    assert_eq!(pair.texts(1), ["once"]);
    assert_eq!(pair.states(0, id).last(), Some(&State::Delivered));
}

#[test]
fn a_full_disk_refuses_what_is_asked_and_loses_no_place() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    pair.send(0, "before");
    pair.run_for(Duration::from_millis(100));
    pair.sides[0].full = true;
    let peer = pair.id(1);
    let ask = Command::Send { peer, id: MessageId::new(1, &[9; 10]), kind: 0, text: "lost".to_owned(), expire: None };
    let refused = pair.command(0, ask);
    pair.run_for(Duration::from_millis(500));
    assert_eq!(pair.replies(0, refused), [Reply::Failed(CommandError::DiskFull)]);
    pair.sides[0].full = false;
    pair.run_for(Duration::from_secs(3));
    pair.send(0, "after");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.texts(1), ["before", "after"]);
}

#[test]
fn a_withdrawn_message_is_a_hole_that_nobody_sees() {
    let mut pair = Pair::new();
    pair.cut = true;
    let first = pair.send(0, "first");
    let second = pair.send(0, "second");
    pair.run_for(Duration::from_millis(100));
    let command = pair.command(0, Command::Cancel(first));
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.replies(0, command), [Reply::Cancelled(None)]);
    pair.cut = false;
    pair.run_for(Duration::from_secs(20));
    assert_eq!(pair.texts(1), ["second"]);
    assert_eq!(pair.states(0, first).last(), Some(&State::Cancelled));
    assert_eq!(pair.states(0, second).last(), Some(&State::Delivered));
}

#[test]
fn a_name_is_looked_for_and_found_or_honestly_refused() {
    let mut pair = Pair::new();
    let timeout = Duration::from_secs(3);
    let found = pair.command(0, Command::Resolve { peer: "SIDE2".to_owned(), timeout });
    let nobody = pair.command(0, Command::Resolve { peer: "carol".to_owned(), timeout });
    pair.run_for(Duration::from_secs(3));
    assert_eq!(pair.replies(0, found), [Reply::Resolved(pair.id(1))]);
    let error = CommandError::NoSuchPeer { peer: "carol".to_owned(), asked: "asked the LAN, 1 there".to_owned() };
    assert_eq!(pair.replies(0, nobody), [Reply::Failed(error)]);
}

#[test]
fn goodbye_makes_offline_at_once() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    pair.send(0, "hi");
    pair.run_for(Duration::from_millis(100));
    let left = pair.command(1, Command::Leave);
    pair.run_for(Duration::from_millis(400));
    assert_eq!(pair.replies(1, left), [Reply::Left]);
    let last = pair.sides[0].events.iter().rev().find_map(|event| match event {
        Event::Peer(view) => Some(view.presence),
        _ => None,
    });
    assert_eq!(last, Some(command::Presence::Offline));
}

#[test]
fn a_stranger_that_only_shook_hands_leaves_nothing_on_the_disk() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    let target = pair.id(1);
    pair.command(0, Command::Watch(Some(target)));
    pair.run_for(Duration::from_secs(1));
    let me = pair.id(0);
    assert!(pair.sides[1].node.session(&me).is_some(), "they have a session");
    let loaded = pair.sides[1].store.reader().load().unwrap();
    assert!(loaded.contacts.is_empty() && loaded.conversations.is_empty(), "{:?}", loaded.contacts);
    pair.send(0, "now I write");
    pair.run_for(Duration::from_secs(1));
    let loaded = pair.sides[1].store.reader().load().unwrap();
    assert_eq!(loaded.contacts.len(), 1);
    assert_eq!(pair.texts(1), ["now I write"]);
}

/// This version refuses nothing, but a later one may: it must not look as if its time was up.
#[test]
fn what_a_later_version_refuses_has_failed_as_refused() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    let message = pair.send(0, "no, thanks");
    pair.sides[1].commit_takes = Duration::from_secs(60);
    pair.run_for(Duration::from_millis(100));
    let peer = pair.id(1);
    let node = &mut pair.sides[0].node;
    let index = node.session(&peer).unwrap().local_index();
    let incarnation = node.peers[&peer].conversation.as_ref().unwrap().row.mine.incarnation;
    let receipt = Receipt { incarnation, refused: vec![(Seq(1), Seq(1))], ..Receipt::default() };
    node.on_item(pair.now, peer, index, 0, &Item::Receipt(receipt).encode());
    pair.run_for(Duration::from_millis(100));
    let ends = |event: &Event| matches!(event, Event::Status { id, state: State::Failed, reason: Some(Reason::Refused), .. } if *id == message);
    assert!(pair.sides[0].events.iter().any(ends), "{:?}", pair.states(0, message));
    let row = pair.sides[0].store.reader().own_by_id(message).unwrap().unwrap();
    assert_eq!((row.state, row.reason.as_str()), (State::Failed, "refused"));
}
