//! The hot paths one by one, and how each grows with 10, 100 and 1,000 times the work: frames, sealing and opening, the replay
//! window, acks of flights in order, with losses and upside down, fragments, items, receipts. No socket, no disk: whole
//! sessions are in `session`, batches of the store in `store`. `cargo bench --bench paths` prints; nothing is asserted.

use std::{collections::BTreeMap, hint::black_box, net::SocketAddr, time::Duration};

use p2pchat_udp::{
    clock::Instant,
    crypto::{
        handshake::{Established, Role},
        keys::Keys,
        replay::ReplayWindow,
    },
    id::{BootId, Incarnation, MessageId, PacketNumber, PeerId, Seq, SessionIndex},
    session::{CREDIT_MAX, PathAddr, Session, SessionConfig, SessionEvent},
    wire::{
        PACKET_HEADER_LEN,
        frame::{Frame, Frames},
        message::{Content, HandshakePayload, Item, Receipt},
        packet::PacketHeader,
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// 1,000 and ten, a hundred and a thousand times as many.
const GROWTH: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// So many are done at least for one figure.
const MEASURED_MIN: u64 = 200_000;
/// One way of the link that acks are measured on, in virtual time.
const DELAY: Duration = Duration::from_millis(25);
/// Flights of each kind.
const ROUNDS: usize = 60;

/// The Ed25519 base point: a valid id, nobody's key.
fn id() -> PeerId {
    let mut bytes = [0x66; 32];
    bytes[0] = 0x58;
    PeerId::from_bytes(bytes).expect("the base point is an id")
}

/// What a handshake leaves to both ends.
fn established() -> [Established; 2] {
    [(Role::Initiator, 1, 2), (Role::Responder, 2, 1)].map(|(role, local, remote)| Established {
        peer: id(),
        payload: HandshakePayload { version: 1, boot: BootId(1), features: vec![], software: String::new() },
        role,
        local: SessionIndex(local),
        remote: SessionIndex(remote),
        handshake_hash: [3; 32],
        send_key: [u8::try_from(local).expect("it is small"); 32].into(),
        receive_key: [u8::try_from(remote).expect("it is small"); 32].into(),
    })
}

/// CPU nanoseconds where the system says so, else by the clock: a shared machine stretches that.
fn spent(start: std::time::Instant) -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = schedstat.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.unwrap_or_else(|| start.elapsed().as_nanos() as f64)
}

/// Prints what one of so many costs, for each number of them.
fn table(what: &str, mut work: impl FnMut(u64)) {
    print!("{what:<52}");
    for count in GROWTH {
        // The system's clock ticks slowly: few are done many times.
        let times = (MEASURED_MIN / count).max(1);
        let start = std::time::Instant::now();
        let before = spent(start);
        (0..times).for_each(|_| work(count));
        print!("{:>10.1}", (spent(start) - before) / (count * times) as f64);
    }
    println!();
}

fn main() {
    print!("{:<52}", "nanoseconds of CPU each, of so many");
    GROWTH.iter().for_each(|count| print!("{count:>10}"));
    println!();
    frames();
    sealing();
    table("packet numbers into the replay window", |count| {
        let mut window = ReplayWindow::default();
        for number in 0..count {
            assert!(!window.contains(PacketNumber(number)));
            window.insert(PacketNumber(number));
        }
    });
    items();
    sessions();
    acks();
}

fn frames() {
    for len in [16, 100, 1_100] {
        let text = vec![1; len];
        let mut packet = Vec::new();
        table(&format!("message frames of {len} bytes encoded, packed"), |count| {
            for n in 0..count {
                let frame = Frame::Message { n, bytes: &text };
                if packet.len() + frame.encoded_len() > 1_160 {
                    packet.clear();
                }
                frame.encode(&mut packet);
            }
        });
        packet.clear();
        while packet.len() + len + 8 <= 1_160 {
            Frame::Message { n: packet.len() as u64, bytes: &text }.encode(&mut packet);
        }
        table("  and decoded", |count| {
            let mut seen = 0;
            while seen < count {
                seen += Frames::new(&packet).map(|frame| drop(black_box(frame))).count() as u64;
            }
        });
    }
}

fn sealing() {
    let [mine, theirs] = established().map(|established| Keys::new(&established));
    for len in [150, 1_200] {
        let mut datagram = Vec::with_capacity(len);
        table(&format!("packets of {len} bytes sealed"), |count| {
            for number in 0..count {
                datagram.clear();
                datagram.resize(len - 16, 7);
                mine.seal(SessionIndex(2), PacketNumber(number), &mut datagram);
            }
        });
        let sealed = datagram.clone();
        let header = PacketHeader::decode(&sealed).expect("it was just made");
        table("  and opened", |count| {
            for _ in 0..count {
                datagram.clone_from(&sealed);
                black_box(theirs.open(&header, &mut datagram).expect("it was sealed for it"));
            }
        });
    }
    println!("  ({PACKET_HEADER_LEN} bytes of header and 16 of tag among them)");
}

fn items() {
    let content = |seq| {
        let (id, text) = (MessageId::new(seq, &[1; 10]), "x".repeat(100));
        let (conversation, author, more) = (None, None, Vec::new());
        Item::Content(Content {
            conversation,
            incarnation: Incarnation(7),
            seq: Seq(seq),
            id,
            author,
            age_ms: 0,
            kind: 0,
            text,
            more,
        })
    };
    table("messages of 100 bytes encoded and decoded", |count| {
        (1..=count).for_each(|seq| drop(black_box(Item::decode(&content(seq).encode()))));
    });
    for ranges in [1, 32] {
        let delivered = (0..ranges).map(|range| (Seq(range * 10 + 1), Seq(range * 10 + 5))).collect();
        let receipt = Item::Receipt(Receipt { incarnation: Incarnation(7), delivered, ..Receipt::default() });
        table(&format!("receipts of {ranges} ranges encoded and decoded"), |count| {
            (0..count).for_each(|_| drop(black_box(Item::decode(&receipt.encode()))));
        });
    }
}

/// Two open sessions whose datagrams the bench carries.
struct Pair {
    now: Instant,
    ends: [Session; 2],
    paths: [PathAddr; 2],
}

impl Pair {
    fn open() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let now = Instant::from_start(Duration::from_secs(1));
        let paths = [1, 2].map(|port| PathAddr::direct(SocketAddr::from(([127, 0, 0, 1], port)), true));
        let mut to = [paths[1], paths[0]].into_iter();
        let ends = established().map(|established| {
            let path = to.next().expect("one for each");
            let mut session = Session::new(established, path, SessionConfig::default(), now, &mut rng);
            session.grant(CREDIT_MAX);
            session
        });
        let mut pair = Self { now, ends, paths };
        while !pair.ends.iter().all(Session::is_open) {
            for from in [0, 1] {
                let flight = pair.flight(from);
                pair.deliver(1 - from, flight);
            }
        }
        pair
    }

    /// All that one end may send now.
    fn flight(&mut self, from: usize) -> Vec<Vec<u8>> {
        let (mut flight, mut out) = (Vec::new(), Vec::new());
        loop {
            while self.ends[from].poll_transmit(self.now, &mut out).is_some() {
                flight.push(std::mem::take(&mut out));
            }
            // The pacer lets the rest go a little later, within the round trip.
            let soon = self.ends[from].poll_timeout().filter(|at| at.since(self.now) < DELAY / 10);
            match soon.filter(|_| self.ends[from].queued() > 0 && self.ends[from].in_flight() < self.ends[from].window()) {
                Some(at) => self.now = at.max(self.now + Duration::from_micros(1)),
                None => return flight,
            }
            self.ends[from].handle_timeout(self.now);
        }
    }

    /// It arrives one way later; the nanoseconds that its receiver takes for it, and the messages in it.
    fn deliver(&mut self, to: usize, flight: Vec<Vec<u8>>) -> (f64, u64) {
        self.now = self.now + DELAY;
        let (start, mut messages) = (std::time::Instant::now(), 0);
        for mut datagram in flight {
            _ = self.ends[to].handle_datagram(self.now, self.paths[1 - to], &mut datagram);
            while let Some(event) = self.ends[to].poll_event() {
                if let SessionEvent::Received { bytes, .. } = event {
                    self.ends[to].consumed(bytes.len());
                    messages += 1;
                }
            }
        }
        let took = start.elapsed().as_nanos() as f64;
        for end in &mut self.ends {
            if end.poll_timeout().is_some_and(|at| at <= self.now) {
                end.handle_timeout(self.now);
            }
        }
        (took, messages)
    }

    /// One round trip: a flight there, and what comes back. Nanoseconds that both took.
    fn round(&mut self, mut change: impl FnMut(&mut Vec<Vec<u8>>)) -> (usize, [f64; 2], u64) {
        let mut flight = self.flight(0);
        let packets = flight.len();
        change(&mut flight);
        let (received, messages) = self.deliver(1, flight);
        let back = self.flight(1);
        let (acked, _) = self.deliver(0, back);
        (packets, [received, acked], messages)
    }
}

fn sessions() {
    for (what, len) in [("messages of 100 bytes", 100), ("fragments of messages of 64 KiB", 65_536)] {
        let fragments = (len as u64).div_ceil(1_120);
        for (how, is_upside_down) in [("", false), (", flights upside down", true)] {
            table(&format!("{what} received{how}"), |count| {
                let mut pair = Pair::open();
                let mut left = (count / fragments).max(1);
                (0..left).for_each(|_| _ = pair.ends[0].send_message(vec![1; len]));
                while left > 0 {
                    let (_, _, messages) = pair.round(|flight| {
                        if is_upside_down {
                            flight.reverse();
                        }
                    });
                    left = left.saturating_sub(messages);
                }
            });
        }
    }
    println!("  (their sending and acks included)");
}

/// What an ack costs for each packet that was in flight, by how many were: the least of all rounds, since somebody else may
/// have had the processor in the others.
fn acks() {
    println!("\n{:<52}{:>10}{:>10}", "acks taken, by packets in flight", "at least", "ns/packet");
    for (how, every) in [("nothing lost", 0), ("each 100th lost", 100), ("each 10th lost", 10)] {
        let mut pair = Pair::open();
        let mut number = 0u64;
        let mut least = BTreeMap::new();
        for _ in 0..ROUNDS {
            while pair.ends[0].queued() < 12 << 20 {
                pair.ends[0].send_message(vec![1; 1_100]);
            }
            let (packets, [_, acked], _) = pair.round(|flight| {
                flight.retain(|_| {
                    number += 1;
                    every == 0 || !number.is_multiple_of(every)
                });
            });
            let each = acked / packets.max(1) as f64;
            let one = least.entry(packets.checked_ilog(8).unwrap_or(0)).or_insert(each);
            *one = one.min(each);
        }
        for (in_flight, each) in least.into_iter().filter(|(band, _)| *band > 0) {
            println!("{how:<52}{:>10}{each:>10.1}", 8u32.pow(in_flight));
        }
    }
}
