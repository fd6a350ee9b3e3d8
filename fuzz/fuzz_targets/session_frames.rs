//! A peer that finished the handshake and then writes what the fuzzer wants into honest packets, in epoch
//! 0 and, after a rekey of its own, in epoch 1. The session may close; it never panics, and what it holds
//! stays within what it granted.
#![no_main]

use std::{net::SocketAddr, sync::LazyLock, time::Duration};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use p2pchat_udp::{
    clock::Instant,
    crypto::{
        handshake::{Established, Initiator, Responder},
        identity::Identity,
        keys::{Keys, Proposal},
    },
    id::{BootId, PacketNumber, SessionIndex},
    session::{CREDIT_MAX, PathAddr, Session, SessionConfig, SessionEvent},
    wire::{
        PACKET_HEADER_LEN, REKEY_PART_LEN_MAX, WIRE_VERSION,
        frame::{Frame, Frames, RekeyPart},
        message::HandshakePayload,
        packet::PacketHeader,
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const PACKETS_MAX: usize = 64;

#[derive(Arbitrary, Debug)]
struct Packet {
    /// Steps that the packet number goes on by.
    gap: u8,
    wait_ms: u16,
    port: bool,
    frames: Written,
}

#[derive(Arbitrary, Debug)]
enum Written {
    Raw(Vec<u8>),
    Message { n: u64, bytes: Vec<u8> },
    Fragment { n: u8, offset: u16, behind: u16, len: u16 },
    Rekey { epoch: u32, part: u8, parts: u8, bytes: Vec<u8> },
    Reply { epoch: u32, part: u8, parts: u8, bytes: Vec<u8> },
    PathResponse(u64),
    PathChallenge(u64),
    Credit(u64),
}

#[derive(Arbitrary, Debug)]
struct Input {
    rekeyed: bool,
    packets: Vec<Packet>,
}

static PAIR: LazyLock<(Established, Established)> = LazyLock::new(|| {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mallory, victim) = (Identity::generate(&mut rng), Identity::generate(&mut rng));
    let payload = HandshakePayload { version: WIRE_VERSION, boot: BootId(1), features: Vec::new(), software: String::new() };
    let (mut initiator, initiation) = Initiator::new(&mallory, victim.id(), "", SessionIndex(1), &mut rng);
    let (mut responder, response) =
        Responder::new(&victim, "", &initiation, SessionIndex(2), &payload, &mut rng).expect("genuine");
    let (of_mallory, confirm) = initiator.on_response(&response, &payload).expect("genuine");
    (of_mallory, responder.on_confirm(&confirm).expect("genuine"))
});

struct Mallory {
    keys: Keys,
    number: u64,
    victim: Session,
    now: Instant,
}

impl Mallory {
    fn send(&mut self, from: PathAddr, payload: &[u8]) {
        let mut datagram = vec![0; PACKET_HEADER_LEN];
        datagram.extend_from_slice(payload);
        self.keys.seal(SessionIndex(2), PacketNumber(self.number), &mut datagram);
        self.number += 1;
        let _ = self.victim.handle_datagram(self.now, from, &mut datagram);
    }

    /// Takes what the victim sends; gathers the parts of its reply to a rekey.
    fn receive(&mut self, reply: &mut [Option<Vec<u8>>]) {
        let mut out = Vec::new();
        for _ in 0..1_000 {
            if self.victim.poll_transmit(self.now, &mut out).is_none() {
                return;
            }
            let header = PacketHeader::decode(&out).expect("a packet");
            let Ok((_, payload)) = self.keys.open(&header, &mut out) else { continue };
            for frame in Frames::new(payload) {
                if let Frame::RekeyReply(part) = frame.expect("the victim writes frames") {
                    if let Some(place) = reply.get_mut(usize::from(part.part)) {
                        *place = Some(part.bytes.to_vec());
                    }
                }
            }
        }
        panic!("the victim never stops sending");
    }

    fn rekey(&mut self, from: PathAddr) {
        let proposal = Proposal::new(&self.keys, &mut ChaCha20Rng::seed_from_u64(3));
        let parts: Vec<&[u8]> = proposal.message().chunks(REKEY_PART_LEN_MAX).collect();
        let mut reply = vec![None; 2];
        for (part, bytes) in (0..).zip(&parts) {
            let mut payload = Vec::new();
            Frame::Rekey(RekeyPart { epoch: proposal.epoch(), part, parts: parts.len() as u8, bytes }).encode(&mut payload);
            self.send(from, &payload);
            self.receive(&mut reply);
        }
        let reply: Vec<u8> = reply.into_iter().flatten().flatten().collect();
        proposal.finish(&mut self.keys, &reply).expect("an honest reply");
        assert!(self.keys.advance());
    }
}

fuzz_target!(|input: Input| {
    let (of_mallory, of_victim) = PAIR.clone();
    let now = Instant::from_start(Duration::from_secs(1));
    let addr = |port| PathAddr::direct(SocketAddr::from(([192, 0, 2, 1], port)), true);
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let mut victim = Session::new(of_victim, addr(2_000), SessionConfig::default(), now, &mut rng);
    victim.grant(CREDIT_MAX);
    let mut mallory = Mallory { keys: Keys::new(&of_mallory), number: 0, victim, now };
    if input.rekeyed {
        mallory.rekey(addr(2_000));
    }
    let mut held = 0;
    for packet in input.packets.into_iter().take(PACKETS_MAX) {
        let mut payload = Vec::new();
        match packet.frames {
            Written::Raw(bytes) => payload = bytes,
            Written::Message { n, bytes } => Frame::Message { n, bytes: &bytes }.encode(&mut payload),
            Written::Fragment { n, offset, behind, len } => {
                let bytes = vec![7; usize::from(len) % 8_900];
                let offset = u32::from(offset) * 16;
                let total = offset + u32::from(len) % 8_900 + u32::from(behind);
                Frame::Fragment { n: n.into(), offset, total, bytes: &bytes }.encode(&mut payload);
            }
            Written::Rekey { epoch, part, parts, bytes } => {
                let part = RekeyPart { epoch: p2pchat_udp::id::Epoch(epoch), part, parts, bytes: &bytes };
                Frame::Rekey(part).encode(&mut payload);
            }
            Written::Reply { epoch, part, parts, bytes } => {
                let part = RekeyPart { epoch: p2pchat_udp::id::Epoch(epoch), part, parts, bytes: &bytes };
                Frame::RekeyReply(part).encode(&mut payload);
            }
            Written::PathResponse(token) => Frame::PathResponse(token).encode(&mut payload),
            Written::PathChallenge(token) => Frame::PathChallenge(token).encode(&mut payload),
            Written::Credit(limit) => Frame::Credit { limit }.encode(&mut payload),
        }
        mallory.number += u64::from(packet.gap);
        mallory.now = mallory.now + Duration::from_millis(packet.wait_ms.into());
        for _ in 0..100 {
            match mallory.victim.poll_timeout() {
                Some(due) if due <= mallory.now => mallory.victim.handle_timeout(mallory.now),
                _ => break,
            }
        }
        mallory.send(addr(if packet.port { 2_000 } else { 3_000 }), &payload);
        mallory.receive(&mut []);
        while let Some(event) = mallory.victim.poll_event() {
            if let SessionEvent::Received { bytes, .. } = event {
                held += bytes.len();
            }
        }
        assert!(held <= 2 << 20, "more than was granted: {held} bytes");
    }
});
