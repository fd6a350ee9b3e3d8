//! Two sides of a handshake, and those who would like to be one of them.

use proptest::prelude::*;
use rand_core::SeedableRng;
use snow::{
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::CryptoResolver,
    types::{Cipher, Dh, Hash, Random},
};

use super::*;
use crate::{
    id::BootId,
    wire::{INITIATION_LEN, WIRE_VERSION},
};

const ALICE: SessionIndex = SessionIndex(0xa11ce);
const BOB: SessionIndex = SessionIndex(0xb0b);

fn rng(rng_seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(rng_seed)
}

fn identity(rng_seed: u64) -> Identity {
    Identity::generate(&mut rng(rng_seed))
}

fn payload(boot: u64) -> HandshakePayload {
    HandshakePayload { version: WIRE_VERSION, boot: BootId(boot), features: Vec::new(), software: "test".to_owned() }
}

/// Alice dials bob; both as far as the response.
struct Pair {
    alice: Identity,
    bob: Identity,
    initiator: Initiator,
    initiation: Vec<u8>,
    responder: Responder,
    response: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        Self::seeded(3)
    }

    fn seeded(rng_seed: u64) -> Self {
        let (alice, bob) = (identity(1), identity(2));
        let mut rng = rng(rng_seed);
        let (initiator, initiation) = Initiator::new(&alice, bob.id(), "lab", ALICE, &mut rng);
        let (responder, response) = Responder::new(&bob, "lab", &initiation, BOB, &payload(2), &mut rng).unwrap();
        Self { alice, bob, initiator, initiation, responder, response }
    }

    fn finish(&mut self) -> (Established, Established) {
        let (alice, confirm) = self.initiator.on_response(&self.response, &payload(1)).unwrap();
        let bob = self.responder.on_confirm(&confirm).unwrap();
        (alice, bob)
    }
}

/// Writes mac1 and mac2 anew, as an attacker who changed something does.
fn remac(datagram: &mut Vec<u8>, key: &Mac1Key) {
    datagram.truncate(datagram.len() - 2 * MAC_LEN);
    key.seal(datagram);
}

fn ephemeral_of(initiation: &[u8]) -> [u8; EPHEMERAL_LEN] {
    *Initiation::decode(initiation).unwrap().noise.first_chunk().unwrap()
}

#[test]
fn both_sides_know_each_other_and_share_two_keys() {
    let mut pair = Pair::new();
    let (alice, bob) = pair.finish();
    assert_eq!((alice.peer, bob.peer), (pair.bob.id(), pair.alice.id()));
    assert_eq!((alice.local, alice.remote), (ALICE, BOB));
    assert_eq!((bob.local, bob.remote), (BOB, ALICE));
    assert_eq!((alice.role, bob.role), (Role::Initiator, Role::Responder));
    assert_eq!((&alice.payload, &bob.payload), (&payload(2), &payload(1)));
    assert_eq!(alice.handshake_hash, bob.handshake_hash);
    assert_eq!(alice.send_key, bob.receive_key);
    assert_eq!(alice.receive_key, bob.send_key);
    assert_ne!(alice.send_key, alice.receive_key);
}

#[test]
fn the_same_rng_seed_makes_the_same_datagrams_and_keys() {
    let (mut one, mut two, mut other) = (Pair::seeded(7), Pair::seeded(7), Pair::seeded(8));
    assert_eq!(one.initiation, two.initiation);
    assert_eq!(one.response, two.response);
    assert_ne!(one.initiation, other.initiation);
    let (one, two, other) = (one.finish().0, two.finish().0, other.finish().0);
    assert_eq!(one.send_key, two.send_key);
    assert_ne!(one.send_key, other.send_key);
}

#[test]
fn no_response_is_longer_than_its_initiation() {
    let (alice, bob) = (identity(1), identity(2));
    let (mut initiator, initiation) = Initiator::new(&alice, bob.id(), "", ALICE, &mut rng(3));
    assert_eq!(initiation.len(), INITIATION_LEN);
    let mut longest = payload(u64::MAX);
    longest.software.clear();
    while longest.encode().len() < HANDSHAKE_PAYLOAD_LEN_MAX {
        longest.software.push('x');
    }
    assert_eq!(longest.encode().len(), HANDSHAKE_PAYLOAD_LEN_MAX, "the length of a text can meet the limit exactly");
    let (mut responder, response) = Responder::new(&bob, "", &initiation, BOB, &longest, &mut rng(4)).unwrap();
    assert_eq!(response.len(), INITIATION_LEN, "the longest payload fills the response");
    let (_, confirm) = initiator.on_response(&response, &longest).unwrap();
    assert!(confirm.len() <= HANDSHAKE_LEN_MAX);
    responder.on_confirm(&confirm).unwrap();

    longest.software.push('x');
    let refused = Responder::new(&bob, "", &initiation, BOB, &longest, &mut rng(4)).err();
    assert_eq!(refused, Some(HandshakeError::PayloadLength));
}

#[test]
fn mac1_tells_whom_an_initiation_is_for() {
    let pair = Pair::new();
    assert!(Mac1Key::of_id(&pair.bob.id()).verify(&pair.initiation));
    assert!(!Mac1Key::of_id(&pair.alice.id()).verify(&pair.initiation));
    let key = Mac1Key::of_id(&pair.bob.id());
    for place in 0..INITIATION_LEN - MAC_LEN {
        let mut changed = pair.initiation.clone();
        changed[place] ^= 1;
        assert!(!key.verify(&changed), "byte {place}");
    }
    for len in 0..INITIATION_LEN {
        assert!(!key.verify(&pair.initiation[..len]), "cut to {len}");
    }
    let carol = identity(9);
    let refused = Responder::new(&carol, "lab", &pair.initiation, BOB, &payload(0), &mut rng(1)).err();
    assert_eq!(refused, Some(HandshakeError::Mac));
}

#[test]
fn whoever_answers_for_bob_is_refused_and_bob_still_gets_through() {
    let mut pair = Pair::new();
    let mallory = identity(66);
    // Mallory sees the initiation, knows bob's id, and answers first with her own key.
    let mut seen = pair.initiation.clone();
    remac(&mut seen, &Mac1Key::of_id(&mallory.id()));
    let (_, forged) = Responder::new(&mallory, "lab", &seen, SessionIndex(6), &payload(6), &mut rng(5)).unwrap();
    for _ in 0..3 {
        assert_eq!(pair.initiator.on_response(&forged, &payload(1)).err(), Some(HandshakeError::WrongPeer));
    }
    pair.finish();
}

#[test]
fn no_changed_response_ends_the_attempt() {
    let mut pair = Pair::new();
    let key = Mac1Key::of_ephemeral(&ephemeral_of(&pair.initiation));
    for place in 9..pair.response.len() - 2 * MAC_LEN {
        let mut changed = pair.response.clone();
        changed[place] ^= 0x40;
        assert_eq!(pair.initiator.on_response(&changed, &payload(1)).err(), Some(HandshakeError::Mac));
        remac(&mut changed, &key);
        assert_eq!(pair.initiator.on_response(&changed, &payload(1)).err(), Some(HandshakeError::Noise), "byte {place}");
    }
    let (alice, bob) = pair.finish();
    assert_eq!(alice.send_key, bob.receive_key);
}

#[test]
fn no_changed_confirm_ends_the_attempt() {
    let mut pair = Pair::new();
    let (alice, confirm) = pair.initiator.on_response(&pair.response, &payload(1)).unwrap();
    let key = Mac1Key::of_id(&pair.bob.id());
    for place in 5..confirm.len() - 2 * MAC_LEN {
        let mut changed = confirm.clone();
        changed[place] ^= 0x40;
        assert_eq!(pair.responder.on_confirm(&changed).err(), Some(HandshakeError::Mac));
        remac(&mut changed, &key);
        assert_eq!(pair.responder.on_confirm(&changed).err(), Some(HandshakeError::Noise), "byte {place}");
    }
    let bob = pair.responder.on_confirm(&confirm).unwrap();
    assert_eq!(alice.send_key, bob.receive_key);
}

#[test]
fn datagrams_of_other_attempts_are_told_apart() {
    let (mut pair, mut other) = (Pair::seeded(1), Pair::seeded(2));
    assert_eq!(pair.initiator.on_response(&other.response, &payload(1)).err(), Some(HandshakeError::Mac));
    let (_, confirm) = other.initiator.on_response(&other.response, &payload(1)).unwrap();
    assert_eq!(pair.responder.on_confirm(&confirm).err(), Some(HandshakeError::Noise));
    let mut elsewhere = pair.response.clone();
    elsewhere[5] ^= 1;
    assert_eq!(pair.initiator.on_response(&elsewhere, &payload(1)).err(), Some(HandshakeError::Index));
    assert_eq!(pair.initiator.on_response(&pair.initiation, &payload(1)).err(), Some(HandshakeError::Wire(WireError::Malformed)));
    pair.finish();
}

#[test]
fn an_attempt_ends_well_once() {
    let mut pair = Pair::new();
    let (_, confirm) = pair.initiator.on_response(&pair.response, &payload(1)).unwrap();
    pair.responder.on_confirm(&confirm).unwrap();
    assert_eq!(pair.initiator.on_response(&pair.response, &payload(1)).err(), Some(HandshakeError::Finished));
    assert_eq!(pair.responder.on_confirm(&confirm).err(), Some(HandshakeError::Finished));
    assert_eq!(pair.responder.on_confirm(&confirm).err(), Some(HandshakeError::Finished), "and stays so");
}

#[test]
fn a_repeated_initiation_is_recognized() {
    let pair = Pair::new();
    assert_eq!(pair.initiator.initiation(), pair.initiation);
    assert_eq!(pair.responder.response(), pair.response);
    assert!(pair.responder.answers(pair.initiator.initiation()));
    assert!(!pair.responder.answers(&Pair::seeded(9).initiation));
}

#[test]
fn another_network_does_not_open() {
    let (alice, bob) = (identity(1), identity(2));
    let (mut initiator, initiation) = Initiator::new(&alice, bob.id(), "lab", ALICE, &mut rng(3));
    let (_, response) = Responder::new(&bob, "office", &initiation, BOB, &payload(2), &mut rng(4)).unwrap();
    assert_eq!(initiator.on_response(&response, &payload(1)).err(), Some(HandshakeError::Noise));
}

#[test]
fn another_kind_of_datagram_is_no_initiation() {
    let pair = Pair::new();
    let mut other_kind = pair.initiation.clone();
    other_kind[0] = crate::wire::KIND_COOKIE;
    let refused = Responder::new(&pair.bob, "lab", &other_kind, BOB, &payload(0), &mut rng(1)).err();
    assert_eq!(refused, Some(HandshakeError::Wire(WireError::Malformed)));
}

/// X25519 that shows one public key and computes with another secret: all that somebody can do who
/// has stolen alice's secret and knows bob's id.
struct Stolen {
    shown: [u8; 32],
    secret: [u8; 32],
}

impl Dh for Stolen {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, _: &[u8]) {}
    fn generate(&mut self, _: &mut dyn Random) -> Result<(), snow::Error> {
        unreachable!("the static key is set")
    }
    fn pubkey(&self) -> &[u8] {
        &self.shown
    }
    fn privkey(&self) -> &[u8] {
        &self.secret
    }
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public = x25519_dalek::PublicKey::from(<[u8; 32]>::try_from(&public[..32]).unwrap());
        out[..32].copy_from_slice(x25519_dalek::StaticSecret::from(self.secret).diffie_hellman(&public).as_bytes());
        Ok(())
    }
}

/// snow asks for the static key's arithmetic first, for the ephemeral one's second.
struct KciResolver {
    seeded: Resolver,
    stolen: std::sync::Mutex<Option<Stolen>>,
}

impl CryptoResolver for KciResolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        self.seeded.resolve_rng()
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match self.stolen.lock().unwrap().take() {
            Some(stolen) => Some(Box::new(stolen)),
            None => self.seeded.resolve_dh(choice),
        }
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        self.seeded.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        self.seeded.resolve_cipher(choice)
    }
}

/// A builder for somebody who has the secret of `victim` and shows the id `shown`.
fn thief(victim: &Identity, shown: PeerId) -> Builder<'static> {
    let stolen = Stolen { shown: noise_public(&shown), secret: *victim.noise_secret() };
    let resolver = KciResolver {
        seeded: Resolver { rng_seed: Zeroizing::new([5; 32]), noise_public: [0; 32] },
        stolen: std::sync::Mutex::new(Some(stolen)),
    };
    Builder::with_resolver(NOISE.parse().unwrap(), Box::new(resolver))
        .local_private_key(&[0; 32])
        .and_then(|builder| builder.prologue(b"p2pchat-udp/1lab"))
        .unwrap()
}

/// With alice's own secret nobody can play bob to alice, neither answering nor dialling.
/// The control runs show that the attack would succeed if the thief had the key that he shows.
#[test]
fn a_stolen_key_does_not_let_others_in_as_somebody_else() {
    let (alice, bob) = (identity(1), identity(2));
    for (shown, reached) in [(bob.id(), false), (alice.id(), true)] {
        // Alice dials `shown`, the thief answers.
        let (mut initiator, initiation) = Initiator::new(&alice, shown, "lab", ALICE, &mut rng(3));
        let mut noise = thief(&alice, shown).build_responder().unwrap();
        read(&mut noise, Initiation::decode(&initiation).unwrap().noise).unwrap();
        let message = write(&mut noise, &payload(6).encode());
        let mut response = Vec::new();
        Response::encode_without_macs(SessionIndex(6), ALICE, &message, &mut response);
        Mac1Key::of_ephemeral(&ephemeral_of(&initiation)).seal(&mut response);
        assert_eq!(initiator.on_response(&response, &payload(1)).is_ok(), reached, "answering as {shown}");

        // The thief dials alice as `shown`.
        let mut noise = thief(&alice, shown).build_initiator().unwrap();
        let message = write(&mut noise, &[0; INITIATION_NOISE_LEN - EPHEMERAL_LEN]);
        let mut initiation = Vec::new();
        Initiation::encode_without_macs(SessionIndex(6), &message, &mut initiation);
        Mac1Key::of_id(&alice.id()).seal(&mut initiation);
        let (mut responder, response) = Responder::new(&alice, "lab", &initiation, ALICE, &payload(1), &mut rng(4)).unwrap();
        read(&mut noise, Response::decode(&response).unwrap().noise).unwrap();
        let message = write(&mut noise, &payload(6).encode());
        let mut confirm = Vec::new();
        Confirm::encode_without_macs(ALICE, &message, &mut confirm);
        Mac1Key::of_id(&alice.id()).seal(&mut confirm);
        assert_eq!(responder.on_confirm(&confirm).is_ok(), reached, "dialling as {shown}");
    }
}

/// A peer whose static key is no id (here: on the twist) is nobody, although Noise itself works.
#[test]
fn a_static_key_that_is_no_id_is_refused() {
    let alice = identity(1);
    let mut secret = [7; 32];
    let public = loop {
        let public = *x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(secret)).as_bytes();
        // Scalars times the base point are on the curve; the second encoding with bit 255 is what is left
        // to a hostile peer: X25519 ignores that bit, an id must not.
        if peer_id_from_noise(&public).is_ok() {
            let mut second = public;
            second[31] |= 0x80;
            break second;
        }
        secret[0] += 1;
    };
    let resolver = KciResolver {
        seeded: Resolver { rng_seed: Zeroizing::new([5; 32]), noise_public: [0; 32] },
        stolen: std::sync::Mutex::new(Some(Stolen { shown: public, secret })),
    };
    let mut noise = Builder::with_resolver(NOISE.parse().unwrap(), Box::new(resolver))
        .local_private_key(&[0; 32])
        .and_then(|builder| builder.prologue(b"p2pchat-udp/1lab"))
        .unwrap()
        .build_initiator()
        .unwrap();
    let message = write(&mut noise, &[0; INITIATION_NOISE_LEN - EPHEMERAL_LEN]);
    let mut initiation = Vec::new();
    Initiation::encode_without_macs(SessionIndex(6), &message, &mut initiation);
    Mac1Key::of_id(&alice.id()).seal(&mut initiation);
    let (mut responder, response) = Responder::new(&alice, "lab", &initiation, ALICE, &payload(1), &mut rng(4)).unwrap();
    read(&mut noise, Response::decode(&response).unwrap().noise).unwrap();
    let message = write(&mut noise, &payload(6).encode());
    let mut confirm = Vec::new();
    Confirm::encode_without_macs(ALICE, &message, &mut confirm);
    Mac1Key::of_id(&alice.id()).seal(&mut confirm);
    assert_eq!(responder.on_confirm(&confirm).err(), Some(HandshakeError::Key));
}

#[test]
fn a_payload_that_is_no_map_is_refused() {
    let alice = identity(1);
    let bob = identity(2);
    let mut noise = thief(&bob, bob.id()).build_initiator().unwrap();
    let message = write(&mut noise, &[0; INITIATION_NOISE_LEN - EPHEMERAL_LEN]);
    let mut initiation = Vec::new();
    Initiation::encode_without_macs(SessionIndex(6), &message, &mut initiation);
    Mac1Key::of_id(&alice.id()).seal(&mut initiation);
    let (mut responder, response) = Responder::new(&alice, "lab", &initiation, ALICE, &payload(1), &mut rng(4)).unwrap();
    read(&mut noise, Response::decode(&response).unwrap().noise).unwrap();
    let message = write(&mut noise, b"\xc1 no MessagePack");
    let mut confirm = Vec::new();
    Confirm::encode_without_macs(ALICE, &message, &mut confirm);
    Mac1Key::of_id(&alice.id()).seal(&mut confirm);
    assert_eq!(responder.on_confirm(&confirm).err(), Some(HandshakeError::Payload));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn noise_on_the_wire_is_never_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 2u8..5) {
        let mut pair = Pair::new();
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        prop_assert!(Responder::new(&pair.bob, "lab", &bytes, BOB, &payload(2), &mut rng(1)).is_err());
        prop_assert!(pair.initiator.on_response(&bytes, &payload(1)).is_err());
        prop_assert!(pair.responder.on_confirm(&bytes).is_err());
        pair.finish();
    }
}
