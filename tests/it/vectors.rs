//! The test vectors of man/p2pchat-udp-protocol.7 against the program. What can be computed from the
//! page's own formulas is computed here a second time, without the program's code for it.

use std::{fmt::Write as _, fs, path::Path};

use data_encoding::HEXLOWER;
use ml_kem::{B32, EncapsulateDeterministic, EncodedSizeUser, KemCore, MlKem768};
use p2pchat_udp::{
    crypto::{
        handshake::{Established, Initiator, Responder},
        identity::{Identity, network_tag, noise_public},
        keys::{Keys, Proposal, answer},
    },
    id::{BootId, ConversationId, Incarnation, MessageId, PacketNumber, Seq, SessionIndex},
    wire::{
        PACKET_HEADER_LEN, WIRE_VERSION,
        announce::{Announce, FLAG_ANSWER_ME},
        frame::{Ack, CloseCode, Frame},
        message::{Admission, Content, HandshakePayload, Item, Receipt, Void},
        packet::PacketHeader,
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use ring::{aead, digest, hkdf};
use x25519_dalek::{PublicKey, StaticSecret};

mod page;
mod seeds;

/// Hexadecimal digits of a line on the page.
const LINE_LEN: usize = 64;

const ALICE: SessionIndex = SessionIndex(0xa11ce);
const BOB: SessionIndex = SessionIndex(0xb0b);

/// The vectors in the order of the page.
#[derive(Default)]
struct Vectors(String);

impl Vectors {
    fn add(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        self.add_text(name, &HEXLOWER.encode(bytes.as_ref()));
    }

    fn add_text(&mut self, name: &str, text: &str) {
        writeln!(self.0, "{name}").unwrap();
        for line in text.as_bytes().chunks(LINE_LEN) {
            writeln!(self.0, "  {}", str::from_utf8(line).unwrap()).unwrap();
        }
    }
}

fn draw(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// The secrets 00 01 02 … and 20 21 22 …, or the next that are identities.
fn identity(first: u8) -> Identity {
    let secret = |last: u8| std::array::from_fn(|i| if i == 31 { last } else { first + u8::try_from(i).unwrap() });
    (0..=255).find_map(|last| Identity::from_secret(&secret(last)).ok()).unwrap()
}

/// The secret behind the ephemeral key of whoever draws next from `rng`.
fn ephemeral(rng: &ChaCha20Rng) -> [u8; 32] {
    draw(&mut ChaCha20Rng::from_seed(draw(&mut rng.clone())))
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    prk.expand(&[info], Len(N)).unwrap().fill(&mut out).unwrap();
    out
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap()
}

/// A packet by the page's words.
fn seal(key: &[u8], epoch: u8, receiver: SessionIndex, number: u64, frames: &[u8]) -> Vec<u8> {
    let mut header = vec![1, epoch];
    header.extend(receiver.0.to_le_bytes());
    header.extend(number.to_le_bytes());
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key).unwrap());
    let mut sealed = frames.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, aead::Aad::from(&header), &mut sealed).unwrap();
    [header, sealed].concat()
}

/// The same packet by the program.
fn program_seal(keys: &Keys, number: u64, frames: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; PACKET_HEADER_LEN];
    datagram.extend_from_slice(frames);
    keys.seal(BOB, PacketNumber(number), &mut datagram);
    datagram
}

fn add_identities(vectors: &mut Vectors, alice: &Identity, bob: &Identity) {
    for (name, identity) in [("alice", alice), ("bob", bob)] {
        vectors.add(&format!("{name} secret"), identity.secret());
        vectors.add(&format!("{name} id"), identity.id().as_bytes());
        vectors.add_text(&format!("{name} id, as text"), &identity.id().to_string());
        vectors.add(&format!("{name} noise public key"), noise_public(&identity.id()));
    }
    vectors.add("conversation id", ConversationId::direct(&alice.id(), &bob.id()).as_bytes());
    vectors.add("network tag of lab", network_tag("lab"));
}

/// Alice announces herself: boot 1,000, seq 300, port 17118, ttl 53, ANSWER_ME, 2 peers, digest 70,000,
/// nonce 5, name alice, no ext, 3 bytes of pad.
fn add_announce(vectors: &mut Vectors, alice: &Identity) {
    let announce = Announce {
        id: alice.id(),
        boot: BootId(1_000),
        seq: 300,
        port: 17_118,
        ttl: 53,
        network: network_tag("lab"),
        flags: FLAG_ANSWER_ME,
        peers: 2,
        digest: 70_000,
        nonce: 5,
        name: "alice".to_owned(),
        ext: Vec::new(),
        pad: 3,
    };
    vectors.add("announce", alice.sign_announce(&announce));
}

fn add_handshake(vectors: &mut Vectors, alice: &Identity, bob: &Identity) -> (Established, Established) {
    let payload = HandshakePayload { version: WIRE_VERSION, boot: BootId(1), features: Vec::new(), software: String::new() };
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let alice_ephemeral = ephemeral(&rng);
    let (mut initiator, initiation) = Initiator::new(alice, bob.id(), "lab", ALICE, &mut rng);
    let bob_ephemeral = ephemeral(&rng);
    let (mut responder, response) = Responder::new(bob, "lab", &initiation, BOB, &payload, &mut rng).unwrap();
    for (secret, datagram, at) in [(alice_ephemeral, &initiation, 5), (bob_ephemeral, &response, 9)] {
        let public = PublicKey::from(&StaticSecret::from(secret));
        assert_eq!(&datagram[at..at + 32], public.as_bytes(), "the ephemeral secret is the one of the page");
    }
    let (of_alice, confirm) = initiator.on_response(&response, &payload).unwrap();
    let of_bob = responder.on_confirm(&confirm).unwrap();
    vectors.add("payload", payload.encode());
    vectors.add("alice ephemeral secret", alice_ephemeral);
    vectors.add("bob ephemeral secret", bob_ephemeral);
    vectors.add("initiation", initiation);
    vectors.add("response", response);
    vectors.add("confirm", confirm);
    vectors.add("handshake hash", of_alice.handshake_hash);
    vectors.add("epoch 0, key initiator to responder", &of_alice.send_key[..]);
    vectors.add("epoch 0, key responder to initiator", &of_alice.receive_key[..]);
    (of_alice, of_bob)
}

fn add_rekey(vectors: &mut Vectors, alice: &Established, bob: &Established) {
    let (mut of_alice, mut of_bob) = (Keys::new(alice), Keys::new(bob));
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let mut same = rng.clone();
    let [d, z, alice_x25519] = std::array::from_fn(|_| draw(&mut same));
    let proposal = Proposal::new(&of_alice, &mut rng);
    let [bob_x25519, m] = std::array::from_fn(|_| draw(&mut same));
    let reply = answer(&mut of_bob, proposal.message(), &mut rng).unwrap();
    proposal.finish(&mut of_alice, &reply).unwrap();

    // The same by the words of the page.
    let (alice_secret, bob_secret) = (StaticSecret::from(alice_x25519), StaticSecret::from(bob_x25519));
    let (_, encapsulation) = MlKem768::generate_deterministic(&B32::from(d), &B32::from(z));
    let (ciphertext, shared) = encapsulation.encapsulate_deterministic(&B32::from(m)).unwrap();
    let message = [PublicKey::from(&alice_secret).as_bytes(), &encapsulation.as_bytes()[..]].concat();
    assert_eq!(proposal.message(), message);
    assert_eq!(reply, [PublicKey::from(&bob_secret).as_bytes(), &ciphertext[..]].concat());
    let dh = alice_secret.diffie_hellman(&PublicKey::from(&bob_secret));
    let split = [alice.send_key.as_slice(), alice.receive_key.as_slice()].concat();
    let root_0: [u8; 32] = derive(&alice.handshake_hash, &split, b"p2pchat-udp/1 root");
    let info = [&b"p2pchat-udp/1 rekey"[..], &1u32.to_le_bytes(), &sha256(&[message.as_slice(), &reply].concat())].concat();
    let secret = [dh.as_bytes().as_slice(), &shared].concat();
    let keys: [u8; 96] = derive(&root_0, &secret, &info);
    let (initiator_to_responder, responder_to_initiator) = (&keys[32..64], &keys[64..]);

    vectors.add("root 0", root_0);
    vectors.add("alice rekey X25519 secret", alice_x25519);
    vectors.add("alice rekey d", d);
    vectors.add("alice rekey z", z);
    vectors.add("SHA-256 of the message", sha256(&message));
    vectors.add("bob rekey X25519 secret", bob_x25519);
    vectors.add("bob rekey m", m);
    vectors.add("SHA-256 of the reply", sha256(&reply));
    vectors.add("root 1", &keys[..32]);
    vectors.add("epoch 1, key initiator to responder", initiator_to_responder);
    vectors.add("epoch 1, key responder to initiator", responder_to_initiator);

    let frames = encode(&[Frame::Ping]);
    let packet = seal(&alice.send_key[..], 0, BOB, 7, &frames);
    assert_eq!(program_seal(&of_alice, 7, &frames), packet);
    vectors.add("packet of epoch 0 with a Ping", packet);
    assert!(of_alice.advance() && of_bob.advance());
    let item = Item::Admission(Admission::FULL).encode();
    let frames = encode(&[Frame::Message { n: 0, bytes: &item }, Frame::AckNow]);
    let packet = seal(initiator_to_responder, 1, BOB, 8, &frames);
    assert_eq!(program_seal(&of_alice, 8, &frames), packet);
    let mut opened = packet.clone();
    let header = PacketHeader::decode(&opened).unwrap();
    assert_eq!(of_bob.open(&header, &mut opened).unwrap().1, frames, "bob opens what alice seals");
    vectors.add("packet of epoch 1 with an Admission and AckNow", packet);
}

fn encode(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

fn add_frames(vectors: &mut Vectors) {
    let ranges = vec![(PacketNumber(8), PacketNumber(10)), (PacketNumber(5), PacketNumber(5))];
    vectors.add("Ack of 8 to 10 and 5, delay 300", encode(&[Frame::Ack(Ack { delay_us: 300, ranges })]));
    vectors.add("Message 5 of \"hi\"", encode(&[Frame::Message { n: 5, bytes: b"hi" }]));
    vectors
        .add("Fragment of item 5, its byte 1 of 2, \"x\"", encode(&[Frame::Fragment { n: 5, offset: 1, total: 2, bytes: b"x" }]));
    vectors.add("PathChallenge 01 00 00 00 00 00 00 00", encode(&[Frame::PathChallenge(1)]));
    vectors.add("Credit 2097152", encode(&[Frame::Credit { limit: 2 << 20 }]));
    vectors.add("Close, superseded", encode(&[Frame::Close(CloseCode::Superseded)]));
}

fn add_items(vectors: &mut Vectors) {
    let id = MessageId::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap()));
    let content = Content {
        conversation: None,
        incarnation: Incarnation(7),
        seq: Seq(1),
        id,
        author: None,
        age_ms: 250,
        kind: 0,
        text: "hi".to_owned(),
        more: Vec::new(),
    };
    vectors.add("Content {i: 7, s: 1, d: 00 01 .. 0f, g: 250, t: hi}", Item::Content(content).encode());
    let void = Void { conversation: None, incarnation: Incarnation(7), seq: Seq(2), id };
    vectors.add("Void {i: 7, s: 2, d: 00 01 .. 0f}", Item::Void(void).encode());
    let delivered = vec![(Seq(1), Seq(1)), (Seq(3), Seq(400))];
    let receipt = Receipt { incarnation: Incarnation(7), delivered, ..Receipt::default() };
    vectors.add("Receipt {i: 7, d: [[1, 1], [3, 400]]}", Item::Receipt(receipt).encode());
}

#[test]
fn the_manual_has_the_vectors_of_the_program() {
    let (alice, bob) = (identity(0x00), identity(0x20));
    let mut vectors = Vectors::default();
    add_identities(&mut vectors, &alice, &bob);
    add_announce(&mut vectors, &alice);
    let (of_alice, of_bob) = add_handshake(&mut vectors, &alice, &bob);
    add_rekey(&mut vectors, &of_alice, &of_bob);
    add_frames(&mut vectors);
    add_items(&mut vectors);
    seeds::add(&mut vectors, &alice, &bob);

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/p2pchat-udp-protocol.7");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split_once(".SH TEST VECTORS").expect("the section is there").1;
    let block = section.split_once(".EX\n").expect("it has a block").1.split_once(".EE").expect("that ends").0;
    assert_eq!(block, vectors.0, "the block should be:\n{}", vectors.0);
}
