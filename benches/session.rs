//! Two sessions in memory, no sockets: what sealing, acks and bookkeeping cost by themselves.
//! `cargo bench --bench session` prints; nothing is asserted.

use std::{net::SocketAddr, time::Duration};

use p2pchat_udp::{
    clock::Instant,
    crypto::handshake::{Established, Role},
    id::{BootId, PeerId, SessionIndex},
    session::{CREDIT_MAX, PathAddr, Session, SessionConfig, SessionEvent},
    wire::message::HandshakePayload,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// The Ed25519 base point: a valid id, nobody's key.
const ID: [u8; 32] = {
    let mut bytes = [0x66; 32];
    bytes[0] = 0x58;
    bytes
};

/// Both ends and the time of their link, which has a round trip of 100 µs and loses nothing.
struct Pair {
    now: Instant,
    ends: [Session; 2],
    paths: [PathAddr; 2],
    out: Vec<u8>,
    received: usize,
}

impl Pair {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let now = Instant::from_start(Duration::from_secs(1));
        let path = |port| PathAddr::direct(SocketAddr::from(([127, 0, 0, 1], port)), true);
        let paths = [path(1), path(2)];
        let payload = HandshakePayload { version: 1, boot: BootId(1), features: vec![], software: String::new() };
        let mut end = |role, local, remote, send: u8, receive: u8, path| {
            let established = Established {
                peer: PeerId::from_bytes(ID).expect("the base point is an id"),
                payload: payload.clone(),
                role,
                local: SessionIndex(local),
                remote: SessionIndex(remote),
                handshake_hash: [3; 32],
                send_key: [send; 32].into(),
                receive_key: [receive; 32].into(),
            };
            let mut session = Session::new(established, path, SessionConfig::default(), now, &mut rng);
            session.grant(CREDIT_MAX);
            session
        };
        let ends = [end(Role::Initiator, 1, 2, 8, 9, paths[1]), end(Role::Responder, 2, 1, 9, 8, paths[0])];
        Self { now, ends, paths, out: Vec::new(), received: 0 }
    }

    /// Everything that both may send now; then time goes on.
    fn turn(&mut self) {
        for from in 0..2 {
            let to = 1 - from;
            while self.ends[from].poll_transmit(self.now, &mut self.out).is_some() {
                let path = self.paths[from];
                _ = self.ends[to].handle_datagram(self.now, path, &mut self.out);
            }
            while let Some(event) = self.ends[to].poll_event() {
                if let SessionEvent::Received { bytes, .. } = event {
                    self.ends[to].consumed(bytes.len());
                    self.received += 1;
                }
            }
        }
        while self.ends[0].poll_event().is_some() {}
        self.now = self.now + Duration::from_micros(50);
        for end in &mut self.ends {
            if end.poll_timeout().is_some_and(|at| at <= self.now) {
                end.handle_timeout(self.now);
            }
        }
    }

    fn receive(&mut self, count: usize) {
        while self.received < count {
            self.turn();
        }
        self.received = 0;
    }
}

/// Seconds on a processor where the system says so, else by the clock: a shared machine stretches that.
fn spent(start: std::time::Instant) -> f64 {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").ok();
    let nanos = schedstat.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanos.map_or_else(|| start.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

fn time(what: &str, count: usize, run: impl FnOnce()) -> f64 {
    let start = std::time::Instant::now();
    let before = spent(start);
    run();
    let each = (spent(start) - before) / count as f64;
    println!("{what}: {:.3} µs each, {:.0} a second", each * 1e6, 1.0 / each);
    each
}

fn main() {
    println!("a session is {} bytes, without what it allocates", size_of::<Session>());
    const OPENED: usize = 200;
    time("two sessions opened, first rekey included", OPENED, || {
        for _ in 0..OPENED {
            let mut pair = Pair::new();
            while !pair.ends.iter().all(Session::is_open) {
                pair.turn();
            }
        }
    });
    let mut pair = Pair::new();
    while !pair.ends.iter().all(Session::is_open) {
        pair.turn();
    }
    (0..100).for_each(|_| pair.turn());
    const SINGLE: usize = 100_000;
    time("one message of 100 bytes and its ack", SINGLE, || {
        for _ in 0..SINGLE {
            pair.ends[0].send_message(vec![1; 100]);
            pair.receive(1);
        }
    });
    for count in [10_000, 100_000, 1_000_000] {
        time(&format!("{count} messages of 100 bytes, pipelined"), count, || {
            (0..count).for_each(|_| _ = pair.ends[0].send_message(vec![1; 100]));
            pair.receive(count);
        });
    }
    const LARGE: usize = 8_000;
    let each = time("64 KiB messages, pipelined", LARGE, || {
        for _ in 0..LARGE / 100 {
            (0..100).for_each(|_| _ = pair.ends[0].send_message(vec![1; 65_536]));
            pair.receive(100);
        }
    });
    println!("that is {:.2} s for a GB", each / 65_536.0 * 1e9);
    println!("{:?}", pair.ends[0].stats());
}
