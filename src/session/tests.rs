//! Two sessions over a seeded, lossy link in memory, on virtual time.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    rc::Rc,
};

use rand_core::{RngCore, SeedableRng};

use super::*;
use crate::{crypto::keys::tests::established_pair, wire::MESSAGE_LEN_MAX};

mod attack;
mod bottleneck;
mod bulk;
mod cubic;
mod fairness;
mod faults;
mod latency;
mod mtu;
mod rekeying;
mod relaying;
mod roaming;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What the link does to a datagram; chances in percent.
#[derive(Debug, Clone)]
struct LinkConfig {
    delay: Duration,
    /// Each datagram takes up to this much longer.
    jitter: Duration,
    loss: u32,
    duplicate: u32,
    corrupt: u32,
    /// Bytes per second; 0: without limit.
    rate: u64,
    /// Bytes of the longest datagram that arrives.
    mtu: usize,
}

/// What Ethernet carries in IPv4.
const ETHERNET: usize = 1_472;
const CLEAN: LinkConfig =
    LinkConfig { delay: MS, jitter: Duration::ZERO, loss: 0, duplicate: 0, corrupt: 0, rate: 0, mtu: ETHERNET };

/// One of the two ends.
struct End {
    session: Session,
    addr: PathAddr,
    received: Vec<(u64, Vec<u8>)>,
    acked: Vec<u64>,
    events: Vec<SessionEvent>,
    timeouts: u64,
    /// Consumes what it receives at once.
    consumes: bool,
}

/// Both ends, the datagrams between them, and the time.
struct Pair {
    now: Instant,
    ends: [End; 2],
    link: LinkConfig,
    rng: ChaCha20Rng,
    /// (arrival, order) → (receiver, from, bytes)
    flying: BTreeMap<(Instant, u64), (usize, PathAddr, Vec<u8>)>,
    order: u64,
    free_at: [Instant; 2],
    /// Every datagram ever sent, where a test asks for it: (receiver, from, bytes).
    tape: Option<Vec<(usize, PathAddr, Vec<u8>)>>,
    /// Bytes that left, by where they went.
    sent_to: BTreeMap<SocketAddr, usize>,
    /// Drops every datagram to an address that is not here, and to this end while `true`.
    deaf: [bool; 2],
    /// What goes from A to B waits here, perhaps behind other pairs' datagrams.
    queue: Option<Rc<RefCell<bottleneck::Queue>>>,
}

const A: usize = 0;
const B: usize = 1;

fn addr(last: u8, port: u16) -> PathAddr {
    PathAddr::direct(SocketAddr::from(([192, 168, 1, last], port)), true)
}

impl Pair {
    fn new(rng_seed: u64, link: LinkConfig) -> Self {
        Self::between(rng_seed, link, [addr(1, 1_000), addr(2, 2_000)])
    }

    fn between(rng_seed: u64, link: LinkConfig, [addr_a, addr_b]: [PathAddr; 2]) -> Self {
        println!("rng_seed {rng_seed}, {link:?}");
        let mut rng = ChaCha20Rng::seed_from_u64(rng_seed);
        let (a, b) = established_pair(rng_seed);
        let now = Instant::from_start(SECOND);
        let mut end = |established, addr, to| End {
            session: Session::new(established, to, SessionConfig::default(), now, &mut rng),
            addr,
            received: vec![],
            acked: vec![],
            events: vec![],
            timeouts: 0,
            consumes: true,
        };
        let ends = [end(a, addr_a, addr_b), end(b, addr_b, addr_a)];
        let free_at = [now; 2];
        Self {
            now,
            ends,
            link,
            rng,
            flying: BTreeMap::new(),
            order: 0,
            free_at,
            tape: None,
            sent_to: BTreeMap::new(),
            deaf: [false; 2],
            queue: None,
        }
    }

    /// Both sides open and admitted, and quiet again.
    fn open(rng_seed: u64, link: LinkConfig) -> Self {
        Self::new(rng_seed, link).opened()
    }

    fn opened(mut self) -> Self {
        let pair = &mut self;
        pair.ends.iter_mut().for_each(|end| end.session.grant(CREDIT_FULL));
        pair.run_until(60 * SECOND, |pair| pair.ends.iter().all(|end| end.session.is_open()));
        pair.run_for(SECOND);
        assert!(pair.ends.iter().all(|end| end.session.epoch() == Epoch(1)));
        self
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.next_u32() % 100 < percent
    }

    fn fly(&mut self, from: PathAddr, receiver: usize, bytes: Vec<u8>) {
        let mut at = self.now + self.link.delay;
        if let Some(takes) = (bytes.len() as u64 * 1_000_000_000).checked_div(self.link.rate) {
            let free = &mut self.free_at[receiver];
            let start = (*free).max(self.now);
            // A drop-tail queue of 100 ms.
            if start.since(self.now) > 100 * MS {
                return;
            }
            *free = start + Duration::from_nanos(takes);
            at = *free + self.link.delay;
        }
        if let Some(queue) = self.queue.as_ref().filter(|_| receiver == B) {
            let Some(leaves) = queue.borrow_mut().enter(self.now, bytes.len()) else { return };
            at = leaves + self.link.delay;
        }
        let jitter = self.link.jitter.as_nanos() as u64;
        let extra = if jitter > 0 { self.rng.next_u64() % jitter } else { 0 };
        self.order += 1;
        self.flying.insert((at + Duration::from_nanos(extra), self.order), (receiver, from, bytes));
    }

    /// Lets one end send all it may.
    fn transmit(&mut self, from: usize) {
        let mut out = Vec::new();
        while let Some(path) = self.ends[from].session.poll_transmit(self.now, &mut out) {
            assert!(path.relay.is_none() || out.len() <= path.datagram_len_max(), "{path:?}");
            *self.sent_to.entry(path.remote).or_default() += out.len();
            let receiver = 1 - from;
            let source = self.ends[from].addr;
            if let Some(tape) = &mut self.tape {
                tape.push((receiver, source, out.clone()));
            }
            let arrives = path.remote == self.ends[receiver].addr.remote && !self.deaf[receiver] && out.len() <= self.link.mtu;
            if !arrives || self.chance(self.link.loss) {
                continue;
            }
            let mut bytes = out.clone();
            if self.chance(self.link.corrupt) {
                let bit = self.rng.next_u32() as usize % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            if self.chance(self.link.duplicate) {
                self.fly(source, receiver, bytes.clone());
            }
            self.fly(source, receiver, bytes);
        }
        let end = &mut self.ends[from];
        while let Some(event) = end.session.poll_event() {
            match event {
                SessionEvent::Received { n, bytes } => {
                    if end.consumes {
                        end.session.consumed(bytes.len());
                    }
                    end.received.push((n, bytes));
                }
                SessionEvent::Acked(n) => end.acked.push(n),
                event => end.events.push(event),
            }
        }
    }

    fn settle(&mut self) {
        (0..2).for_each(|end| self.transmit(end));
        // What was consumed may let a credit go.
        (0..2).for_each(|end| self.transmit(end));
    }

    /// When the next thing happens.
    fn next(&self) -> Option<Instant> {
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let timer = self.ends.iter().filter_map(|end| end.session.poll_timeout()).min();
        arrival.into_iter().chain(timer).min()
    }

    /// Goes to the next thing that happens, if it happens before `end`.
    fn step(&mut self, end: Instant) -> bool {
        self.settle();
        let Some(next) = self.next().filter(|next| *next <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (receiver, from, mut bytes) = entry.remove();
            _ = self.ends[receiver].session.handle_datagram(self.now, from, &mut bytes);
        }
        for end in &mut self.ends {
            if end.session.poll_timeout().is_some_and(|deadline| deadline <= self.now) {
                end.timeouts += 1;
                end.session.handle_timeout(self.now);
                assert!(
                    end.session.poll_timeout().is_none_or(|next| next > self.now),
                    "stays due at {:?}: {:?}",
                    self.now,
                    end.session.timers
                );
            }
        }
        true
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.settle();
    }

    /// Panics where `done` does not come true within `limit` of virtual time.
    fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return;
            }
            if !self.step(end) {
                break;
            }
        }
        for end in &self.ends {
            let session = &end.session;
            let (flight, queued, window) = (session.in_flight(), session.queued(), session.window());
            println!("{:?} in flight {flight} queued {queued} window {window}", session.stats());
            println!("{:?} rtt {:?} epoch {:?} {:?}", end.events, session.rtt(), session.epoch(), session.timers);
        }
        panic!("not done after {limit:?}");
    }

    fn send(&mut self, from: usize, bytes: Vec<u8>) -> u64 {
        self.ends[from].session.send_message(bytes)
    }

    /// Sends `count` messages, waits for all, and looks that each came exactly once and as it was.
    fn exchange(&mut self, from: usize, count: usize, limit: Duration, mut len: impl FnMut(usize) -> usize) {
        let to = 1 - from;
        let (received, acked) = (self.ends[to].received.len(), self.ends[from].acked.len());
        let mut sent = BTreeMap::new();
        for i in 0..count {
            let mut bytes = vec![0; len(i).max(8)];
            self.rng.fill_bytes(&mut bytes);
            let n = self.send(from, bytes.clone());
            assert!(sent.insert(n, bytes).is_none());
        }
        self.run_until(limit, |pair| {
            pair.ends[to].received.len() >= received + count && pair.ends[from].acked.len() >= acked + count
        });
        let arrived: BTreeMap<_, _> = self.ends[to].received.drain(received..).collect();
        assert_eq!(arrived.len(), count, "none twice");
        assert!(arrived == sent, "as they were");
        let acks: BTreeSet<_> = self.ends[from].acked.drain(acked..).collect();
        assert_eq!(acks.len(), count, "each acked once");
        assert_eq!(self.ends[from].session.queued(), 0);
    }

    fn stats(&self, end: usize) -> Stats {
        self.ends[end].session.stats()
    }
}

#[test]
fn two_sessions_open_within_three_round_trips() {
    let mut pair = Pair::new(1, CLEAN);
    let start = pair.now;
    pair.run_until(SECOND, |pair| pair.ends.iter().all(|end| end.session.is_open()));
    assert!(pair.now.since(start) <= 6 * MS, "{:?}", pair.now.since(start));
    for end in &pair.ends {
        assert_eq!(end.events, [SessionEvent::Opened]);
    }
    pair.run_for(60 * SECOND);
    assert!(pair.ends.iter().all(|end| end.session.stats().retransmitted == 0 && end.session.stats().timeouts == 0));
}

#[test]
fn a_clean_link_sees_no_needless_packet() {
    let mut pair = Pair::open(2, CLEAN);
    pair.exchange(A, 1, SECOND, |_| 100);
    pair.exchange(B, 10_000, 60 * SECOND, |_| 100);
    pair.exchange(A, 1, 60 * SECOND, |_| MESSAGE_LEN_MAX);
    for end in [A, B] {
        let stats = pair.stats(end);
        assert_eq!((stats.retransmitted, stats.lost, stats.duplicate, stats.timeouts), (0, 0, 0, 0), "{stats:?}");
    }
}

#[test]
fn one_message_costs_one_datagram_and_one_ack() {
    let mut pair = Pair::open(3, CLEAN);
    let before = (pair.stats(A).sent, pair.stats(B).sent);
    let start = pair.now;
    pair.exchange(A, 1, SECOND, |_| 100);
    assert_eq!(pair.now.since(start), 2 * MS, "the ack did not wait");
    pair.run_for(60 * SECOND);
    assert_eq!((pair.stats(A).sent, pair.stats(B).sent), (before.0 + 1, before.1 + 1));
}

#[test]
fn many_small_messages_share_a_packet() {
    let mut pair = Pair::open(4, CLEAN);
    let before = pair.stats(A).sent;
    pair.exchange(A, 10_000, 60 * SECOND, |_| 50);
    let packets = pair.stats(A).sent - before;
    assert!(packets < 10_000 / 18, "{packets} packets for 10,000 messages of 50 bytes");
}

#[test]
fn control_overtakes_queued_messages() {
    let mut pair = Pair::open(5, CLEAN);
    let first = pair.send(A, vec![1; 1_000_000]);
    let control = pair.ends[A].session.send_control(vec![2; 10]).unwrap();
    pair.run_until(10 * SECOND, |pair| pair.ends[B].received.len() == 2);
    let order: Vec<u64> = pair.ends[B].received.iter().map(|(n, _)| *n).collect();
    assert_eq!(order, [control, first]);
}

#[test]
fn an_idle_session_is_silent_and_wakes_nobody() {
    let mut pair = Pair::open(6, CLEAN);
    pair.run_for(60 * SECOND);
    let before = (pair.stats(A).sent, pair.stats(B).sent, pair.ends[A].timeouts + pair.ends[B].timeouts);
    pair.run_for(3_600 * SECOND);
    assert_eq!((pair.stats(A).sent, pair.stats(B).sent, pair.ends[A].timeouts + pair.ends[B].timeouts), before);
    assert!(pair.ends.iter().all(|end| end.session.poll_timeout().is_none()));

    let now = pair.now;
    pair.ends[A].session.set_keepalive(now, Some(15 * SECOND));
    pair.run_for(3_600 * SECOND);
    let timeouts = pair.ends[A].timeouts + pair.ends[B].timeouts - before.2;
    // A keepalive each 15 s or half a second later, and once per rekey the old keys are erased.
    assert!((230..=310).contains(&timeouts), "{timeouts} wake-ups in an hour");
    let sent = pair.stats(A).sent - before.0;
    assert!((230..=400).contains(&sent), "{sent} packets in an hour");
    assert_eq!(pair.stats(A).timeouts + pair.stats(B).timeouts, 0, "no probe was needed");
}

#[test]
fn of_two_sides_that_keep_a_session_alive_one_asks_and_many_ask_at_once() {
    let mut asked = BTreeSet::new();
    for rng_seed in 0..20 {
        let mut pair = Pair::open(rng_seed, CLEAN);
        pair.run_for(SECOND + MS * 77 * u32::try_from(rng_seed).unwrap());
        let now = pair.now;
        pair.ends.iter_mut().for_each(|end| end.session.set_keepalive(now, Some(15 * SECOND)));
        pair.run_for(20 * SECOND);
        let before = pair.stats(A).sent + pair.stats(B).sent;
        pair.run_for(60 * SECOND);
        let sent = pair.stats(A).sent + pair.stats(B).sent - before;
        assert!((6..=8).contains(&sent), "{sent} packets in a minute: a question and its answer each 15 s");
        asked.insert(pair.ends[A].session.poll_timeout().map(|at| at.since_start().as_millis() % 500));
    }
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[test]
fn a_session_that_was_busy_and_is_idle_gives_its_memory_back() {
    let mut pair = Pair::open(6, CLEAN);
    let now = pair.now;
    pair.ends[A].session.set_keepalive(now, Some(15 * SECOND));
    for _ in 0..200 {
        pair.ends[A].session.send_message(vec![1; 1_000]);
        pair.ends[B].session.send_control(vec![1; 100]);
    }
    pair.run_for(SECOND);
    let kept = |end: &End| end.session.events.capacity() + end.session.recovery.capacity() + end.session.outgoing.capacity();
    assert!(pair.ends.iter().all(|end| kept(end) > 100), "or it shows nothing");
    pair.run_for(20 * SECOND);
    for end in &pair.ends {
        assert!(kept(end) <= 6 * RESTING_CAPACITY, "room for {} is kept", kept(end));
    }
}

#[test]
fn a_silent_peer_is_noticed_after_three_keepalives_and_said_once() {
    let mut pair = Pair::open(7, CLEAN);
    let now = pair.now;
    pair.ends[A].session.set_keepalive(now, Some(SECOND));
    pair.run_for(10 * SECOND);
    pair.ends[A].events.clear();
    let heard = pair.ends[A].session.heard_at();
    pair.deaf[B] = true;
    pair.run_until(20 * SECOND, |pair| !pair.ends[A].events.is_empty());
    assert_eq!(pair.ends[A].events, [SessionEvent::Unresponsive]);
    let silence = pair.now.since(heard);
    assert!(silence > 3 * SECOND && silence <= 5 * SECOND, "{silence:?}");
    pair.run_for(60 * SECOND);
    assert_eq!(pair.ends[A].events.len(), 1);
    pair.deaf[B] = false;
    pair.run_for(20 * SECOND);
    pair.deaf[B] = true;
    pair.run_for(20 * SECOND);
    assert_eq!(pair.ends[A].events, [SessionEvent::Unresponsive, SessionEvent::Unresponsive], "after it was heard again");
}

#[test]
fn a_silent_peer_is_noticed_without_keepalives_while_something_waits() {
    let mut pair = Pair::open(8, CLEAN);
    pair.deaf[B] = true;
    pair.send(A, vec![1; 100]);
    let before = pair.ends[A].timeouts;
    pair.run_for(120 * SECOND);
    assert_eq!(pair.ends[A].events.last(), Some(&SessionEvent::Unresponsive));
    assert!(pair.ends[A].timeouts - before < 75, "{} wake-ups", pair.ends[A].timeouts - before);
    pair.deaf[B] = false;
    pair.run_until(3 * SECOND, |pair| pair.ends[B].received.len() == 1);
}

#[test]
fn a_ping_is_answered_by_a_pong() {
    let mut pair = Pair::open(9, CLEAN);
    let now = pair.now;
    pair.ends[A].events.clear();
    pair.ends[A].session.ping(now);
    pair.run_for(SECOND);
    assert_eq!(pair.ends[A].events, [SessionEvent::Pong { rtt: 2 * MS }]);
}

#[test]
fn credit_holds_a_sender_back_until_its_messages_are_consumed() {
    let mut pair = Pair::open(10, CLEAN);
    pair.ends[B].consumes = false;
    for _ in 0..40 {
        pair.send(A, vec![7; 100_000]);
    }
    pair.run_for(60 * SECOND);
    let held: usize = pair.ends[B].received.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(held <= 2 << 20 && held > (2 << 20) - 200_000, "{held}");
    let quiet = pair.stats(A).sent;
    pair.run_for(60 * SECOND);
    assert!(pair.stats(A).sent - quiet <= 2, "no storm while waiting");
    pair.ends[B].consumes = true;
    pair.ends[B].session.consumed(held);
    pair.run_until(60 * SECOND, |pair| pair.ends[B].received.len() == 40);
}

#[test]
fn who_is_not_admitted_gets_four_kibibytes() {
    let mut pair = Pair::new(11, CLEAN);
    pair.ends[B].consumes = false;
    for _ in 0..100 {
        pair.send(A, vec![7; 100]);
    }
    pair.run_for(10 * SECOND);
    assert_eq!(pair.ends[B].received.len(), 40);
    pair.ends[B].session.grant(CREDIT_FULL);
    pair.run_for(SECOND);
    assert_eq!(pair.ends[B].received.len(), 100);
}

#[test]
fn a_fast_flow_gets_eight_mebibytes_of_credit() {
    let mut pair = Pair::open(12, LinkConfig { delay: 25 * MS, ..CLEAN });
    for credit in [4 << 20, CREDIT_MAX] {
        pair.exchange(A, 320, 60 * SECOND, |_| 65_536);
        assert_eq!(pair.ends[B].session.credit_wanted(), Some(credit));
        pair.ends[B].session.grant(credit);
    }
    pair.exchange(A, 320, 60 * SECOND, |_| 65_536);
    assert_eq!(pair.ends[B].session.credit_wanted(), None, "no more than that");
    pair.ends[B].consumes = false;
    for _ in 0..160 {
        pair.send(A, vec![7; 65_536]);
    }
    pair.run_for(60 * SECOND);
    let held: usize = pair.ends[B].received.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(held > 7 << 20 && held <= 8 << 20, "{held}");
}

#[test]
fn close_reaches_the_peer_once_and_ends_everything() {
    let mut pair = Pair::open(13, CLEAN);
    pair.ends.iter_mut().for_each(|end| end.events.clear());
    pair.ends[A].session.close(CloseCode::Done);
    pair.send(A, vec![1; 10]);
    pair.run_for(60 * SECOND);
    assert_eq!(pair.ends[A].events, [SessionEvent::Closed(CloseReason::Local(CloseCode::Done))]);
    assert_eq!(pair.ends[B].events, [SessionEvent::Closed(CloseReason::Remote(CloseCode::Done))]);
    assert!(pair.ends[B].received.is_empty());
    assert!(pair.ends.iter().all(|end| end.session.poll_timeout().is_none() && end.session.is_closed()));
}
