//! Two honest sessions and a network that does what the fuzzer wants: loses, doubles, delays, reorders,
//! changes and moves datagrams, and carries longer or shorter ones. Whatever it does, neither end sees the other break a rule, nothing comes
//! twice or changed, and once the network behaves everything arrives.
#![no_main]

use std::{collections::BTreeMap, net::SocketAddr, sync::LazyLock, time::Duration};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use p2pchat_udp::{
    clock::Instant,
    crypto::{
        handshake::{Established, Initiator, Responder},
        identity::Identity,
    },
    id::{BootId, SessionIndex},
    session::{CREDIT_MAX, CloseReason, PathAddr, Session, SessionConfig, SessionEvent},
    wire::{DATAGRAM_LEN_JUMBO, DATAGRAM_LEN_MAX, WIRE_VERSION, message::HandshakePayload},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const OPS_MAX: usize = 400;
const FLYING_MAX: usize = 512;
const STEPS_MAX: usize = 20_000;

#[derive(Arbitrary, Debug)]
enum Op {
    Send { end: bool, control: bool, len: u16 },
    SendLong { end: bool, kib: u8 },
    Transmit { end: bool },
    Deliver { pick: u16 },
    Drop { pick: u16 },
    Double { pick: u16 },
    Flip { pick: u16, bit: u16 },
    Wait { ms: u16 },
    Ping { end: bool },
    Keepalive { end: bool, seconds: Option<u8> },
    Roam { end: bool, port: u8 },
    TryPath { end: bool, port: u8 },
    Carry { longer: u16 },
}

static PAIR: LazyLock<(Established, Established)> = LazyLock::new(|| {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (alice, bob) = (Identity::generate(&mut rng), Identity::generate(&mut rng));
    let payload = HandshakePayload { version: WIRE_VERSION, boot: BootId(1), features: Vec::new(), software: String::new() };
    let (mut initiator, initiation) = Initiator::new(&alice, bob.id(), "", SessionIndex(1), &mut rng);
    let (mut responder, response) = Responder::new(&bob, "", &initiation, SessionIndex(2), &payload, &mut rng).expect("genuine");
    let (of_alice, confirm) = initiator.on_response(&response, &payload).expect("genuine");
    (of_alice, responder.on_confirm(&confirm).expect("genuine"))
});

struct End {
    session: Session,
    addr: PathAddr,
    sent: BTreeMap<u64, Vec<u8>>,
    /// What has come of the other end's `sent`.
    received: BTreeMap<u64, ()>,
}

struct World {
    now: Instant,
    ends: [End; 2],
    /// (to, from, to which address, bytes)
    flying: Vec<(usize, PathAddr, PathAddr, Vec<u8>)>,
    /// Longer datagrams are lost.
    carried: usize,
    count: u8,
}

fn addr(end: usize, port: u8) -> PathAddr {
    let remote = SocketAddr::from(([192, 0, 2, if end == 0 { 1 } else { 2 }], 2_000 + u16::from(port)));
    PathAddr::direct(remote, true)
}

impl World {
    fn new() -> Self {
        let now = Instant::from_start(Duration::from_secs(1));
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let (a, b) = PAIR.clone();
        let mut end = |established: Established, me: usize| {
            let mut session = Session::new(established, addr(1 - me, 0), SessionConfig::default(), now, &mut rng);
            session.grant(CREDIT_MAX);
            End { session, addr: addr(me, 0), sent: BTreeMap::new(), received: BTreeMap::new() }
        };
        Self { now, ends: [end(a, 0), end(b, 1)], flying: Vec::new(), carried: DATAGRAM_LEN_JUMBO, count: 0 }
    }

    fn send(&mut self, end: usize, control: bool, len: usize) {
        self.count = self.count.wrapping_add(1);
        let item = vec![self.count; len.max(1)];
        let End { session, sent, .. } = &mut self.ends[end];
        let n = if control { session.send_control(item.clone()) } else { Some(session.send_message(item.clone())) };
        let Some(n) = n else { return };
        assert!(sent.insert(n, item).is_none(), "two items under one number");
    }

    fn transmit(&mut self, end: usize) {
        let mut out = Vec::new();
        while let Some(to) = self.ends[end].session.poll_transmit(self.now, &mut out) {
            assert!(out.len() <= DATAGRAM_LEN_JUMBO);
            if self.flying.len() < FLYING_MAX && out.len() <= self.carried {
                self.flying.push((1 - end, self.ends[end].addr, to, out.clone()));
            }
        }
    }

    fn deliver(&mut self, (to, from, at, mut bytes): (usize, PathAddr, PathAddr, Vec<u8>)) {
        if self.ends[to].addr == at {
            let _ = self.ends[to].session.handle_datagram(self.now, from, &mut bytes);
            self.drain(to);
        }
    }

    fn drain(&mut self, end: usize) {
        while let Some(event) = self.ends[end].session.poll_event() {
            match event {
                SessionEvent::Received { n, bytes } => {
                    assert_eq!(self.ends[1 - end].sent.get(&n), Some(&bytes), "changed, or never sent");
                    assert!(self.ends[end].received.insert(n, ()).is_none(), "twice");
                    self.ends[end].session.consumed(bytes.len());
                }
                SessionEvent::Acked(n) => assert!(self.ends[1 - end].received.contains_key(&n), "acked and not there"),
                SessionEvent::Closed(CloseReason::NeverOpened) => {}
                SessionEvent::Closed(reason) => panic!("{reason:?} between honest ends"),
                _ => {}
            }
        }
    }

    /// Lets time pass, timers fire and, where `clean`, datagrams arrive.
    fn wait(&mut self, time: Duration, clean: bool) {
        let end = self.now + time;
        for _ in 0..STEPS_MAX {
            if clean {
                self.transmit(0);
                self.transmit(1);
                if !self.flying.is_empty() {
                    self.now = self.now + Duration::from_millis(1);
                    std::mem::take(&mut self.flying).into_iter().for_each(|datagram| self.deliver(datagram));
                    continue;
                }
                if self.is_done() {
                    return;
                }
            }
            let next = self.ends.iter().filter_map(|end| end.session.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            for at in 0..2 {
                if self.ends[at].session.poll_timeout().is_some_and(|due| due <= self.now) {
                    self.ends[at].session.handle_timeout(self.now);
                    self.drain(at);
                }
                if !clean {
                    self.transmit(at);
                }
            }
        }
        self.now = self.now.max(end);
    }

    fn is_done(&self) -> bool {
        (0..2).all(|end| self.ends[end].received.len() == self.ends[1 - end].sent.len())
    }

    fn apply(&mut self, op: &Op) {
        let pick = |pick: u16, flying: &[_]| (!flying.is_empty()).then(|| usize::from(pick) % flying.len());
        match *op {
            Op::Send { end, control, len } => self.send(usize::from(end), control, usize::from(len) % 3_000),
            Op::SendLong { end, kib } => self.send(usize::from(end), false, usize::from(kib) * 1_024),
            Op::Transmit { end } => self.transmit(usize::from(end)),
            Op::Deliver { pick: at } => {
                if let Some(at) = pick(at, &self.flying) {
                    let datagram = self.flying.remove(at);
                    self.deliver(datagram);
                }
            }
            Op::Drop { pick: at } => {
                if let Some(at) = pick(at, &self.flying) {
                    self.flying.remove(at);
                }
            }
            Op::Double { pick: at } => {
                if let Some(at) = pick(at, &self.flying).filter(|_| self.flying.len() < FLYING_MAX) {
                    self.flying.push(self.flying[at].clone());
                }
            }
            Op::Flip { pick: at, bit } => {
                if let Some(at) = pick(at, &self.flying) {
                    let bytes = &mut self.flying[at].3;
                    let bit = usize::from(bit) % (bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            Op::Wait { ms } => self.wait(Duration::from_millis(ms.into()), false),
            Op::Ping { end } => self.ends[usize::from(end)].session.ping(self.now),
            Op::Keepalive { end, seconds } => {
                let interval = seconds.map(|seconds| Duration::from_secs(1 + u64::from(seconds)));
                self.ends[usize::from(end)].session.set_keepalive(self.now, interval);
            }
            Op::Roam { end, port } => self.ends[usize::from(end)].addr = addr(usize::from(end), port % 4),
            Op::TryPath { end, port } => {
                let to = addr(1 - usize::from(end), port % 4);
                self.ends[usize::from(end)].session.try_path(self.now, to);
            }
            Op::Carry { longer } => {
                self.carried = DATAGRAM_LEN_MAX + usize::from(longer) % (DATAGRAM_LEN_JUMBO - DATAGRAM_LEN_MAX + 1)
            }
        }
    }
}

fuzz_target!(|ops: Vec<Op>| {
    let mut world = World::new();
    for op in ops.iter().take(OPS_MAX) {
        world.apply(op);
        world.drain(0);
        world.drain(1);
    }
    // Where one end is still known by an address that it left, only its owner can help: go back there.
    for end in 0..2 {
        world.ends[end].addr = world.ends[1 - end].session.path();
    }
    world.flying.clear();
    world.wait(Duration::from_secs(300), true);
    let opened = world.ends.iter().all(|end| !end.session.is_closed());
    assert!(!opened || world.is_done(), "a quiet network and yet not everything came");
});
