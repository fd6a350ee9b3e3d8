//! Epoch keys: sealing and opening packets, and the cryptography of a rekey (protocol, HANDSHAKE). When a
//! rekey is due, how its parts travel and when keys are erased lives in `session::rekey`.

use libcrux_ml_kem::mlkem768::{self, MlKem768Ciphertext, MlKem768PrivateKey, MlKem768PublicKey};
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hkdf,
};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use super::handshake::{Established, Role};
use crate::{
    id::{Epoch, PacketNumber, SessionIndex},
    wire::{PACKET_HEADER_LEN, TAG_LEN, packet::PacketHeader},
};

/// Bytes of a rekey's first half: X25519 ephemeral, ML-KEM-768 encapsulation key.
pub const REKEY_LEN: usize = 32 + 1_184;
/// Bytes of a rekey's second half: X25519 ephemeral, ML-KEM-768 ciphertext.
pub const REKEY_REPLY_LEN: usize = 32 + 1_088;

type Key = Zeroizing<[u8; 32]>;

/// The keys of both directions in one epoch.
struct EpochKeys {
    epoch: Epoch,
    send: Key,
    receive: Key,
}

/// All keys of a session: of the epoch that it sends in, the one before and the one to come.
pub struct Keys {
    role: Role,
    root: Key,
    previous: Option<EpochKeys>,
    current: EpochKeys,
    next: Option<(Key, EpochKeys)>,
}

/// Why a packet does not open. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The epoch's keys are erased or not made yet.
    #[error("no keys for this epoch")]
    NoKeys,
    /// The tag is wrong.
    #[error("forged")]
    Forged,
}

/// A half of a rekey has the wrong length or no valid key in it. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a rekey")]
pub struct RekeyError;

impl Keys {
    /// Epoch 0: the raw split keys. root₀ = HKDF(both split keys, salt handshake hash).
    pub fn new(established: &Established) -> Self {
        let (i2r, r2i) = match established.role {
            Role::Initiator => (&established.send_key, &established.receive_key),
            Role::Responder => (&established.receive_key, &established.send_key),
        };
        let mut secret = Zeroizing::new([0; 64]);
        let (first, second) = secret.split_at_mut(32);
        first.copy_from_slice(&i2r[..]);
        second.copy_from_slice(&r2i[..]);
        let mut root = Key::default();
        derive(&established.handshake_hash, &secret[..], &[b"p2pchat-udp/1 root"], &mut root[..]);
        let current = EpochKeys { epoch: Epoch(0), send: established.send_key.clone(), receive: established.receive_key.clone() };
        Self { role: established.role, root, previous: None, current, next: None }
    }

    /// The epoch that packets are sealed in.
    pub fn epoch(&self) -> Epoch {
        self.current.epoch
    }

    /// True where the keys of the next epoch wait for [`advance`](Self::advance).
    pub fn has_next(&self) -> bool {
        self.next.is_some()
    }

    /// Seals `datagram` in place: [`PACKET_HEADER_LEN`] bytes of room for the header, then frames. The
    /// nonce is the number, so each number is used once in a session.
    pub fn seal(&self, receiver: SessionIndex, number: PacketNumber, datagram: &mut Vec<u8>) {
        let [epoch, ..] = self.current.epoch.0.to_le_bytes();
        let header = PacketHeader { epoch, receiver, number }.encode();
        let Some((room, frames)) = datagram.split_at_mut_checked(PACKET_HEADER_LEN) else { return };
        room.copy_from_slice(&header);
        let tag = aead(&self.current.send).seal_in_place_separate_tag(nonce(number), Aad::from(header), frames);
        datagram.extend_from_slice(tag.expect("a datagram is far below the AEAD's limit").as_ref());
    }

    /// Opens `datagram` in place: the epoch that it was sealed in, and the frames.
    pub fn open<'a>(&self, header: &PacketHeader, datagram: &'a mut [u8]) -> Result<(Epoch, &'a [u8]), OpenError> {
        let known = [Some(&self.current), self.next.as_ref().map(|(_, keys)| keys), self.previous.as_ref()];
        let of_epoch = |keys: &&EpochKeys| keys.epoch.0.to_le_bytes().first() == Some(&header.epoch);
        let keys = known.into_iter().flatten().find(of_epoch).ok_or(OpenError::NoKeys)?;
        let (aad, sealed) = datagram.split_at_mut_checked(PACKET_HEADER_LEN).ok_or(OpenError::Forged)?;
        let frames =
            aead(&keys.receive).open_in_place(nonce(header.number), Aad::from(&*aad), sealed).map_err(|_| OpenError::Forged)?;
        Ok((keys.epoch, frames))
    }

    /// Sends in the next epoch from now on; the old keys still open. True where there was a next one.
    pub fn advance(&mut self) -> bool {
        let Some((root, keys)) = self.next.take() else { return false };
        self.root = root;
        self.previous = Some(std::mem::replace(&mut self.current, keys));
        true
    }

    /// Erases the keys before the current ones.
    pub fn erase_previous(&mut self) {
        self.previous = None;
    }

    /// (root, key i→r, key r→i) = HKDF(root, DH ‖ KEM secret, hash of both joined frames), for the next
    /// epoch.
    fn mix(&mut self, dh: &Key, kem: &Key, message: &[u8], reply: &[u8]) {
        let mut secret = Zeroizing::new([0; 64]);
        for (to, from) in secret.iter_mut().zip(dh.iter().chain(kem.iter())) {
            *to = *from;
        }
        let mut transcript = digest::Context::new(&digest::SHA256);
        transcript.update(message);
        transcript.update(reply);
        let transcript = transcript.finish();
        let epoch = self.current.epoch.next();
        let mut out = Zeroizing::new([0; 96]);
        let info = [&b"p2pchat-udp/1 rekey"[..], &epoch.0.to_le_bytes(), transcript.as_ref()];
        derive(&self.root[..], &secret[..], &info, &mut out[..]);
        let mut keys = out.chunks_exact(32).map(|chunk| {
            let mut key = Key::default();
            key.copy_from_slice(chunk);
            key
        });
        let (root, i2r, r2i) =
            (keys.next().unwrap_or_default(), keys.next().unwrap_or_default(), keys.next().unwrap_or_default());
        let (send, receive) = match self.role {
            Role::Initiator => (i2r, r2i),
            Role::Responder => (r2i, i2r),
        };
        self.next = Some((root, EpochKeys { epoch, send, receive }));
    }
}

/// The first half of a rekey, kept by who sent it until the second half is whole.
pub struct Proposal {
    epoch: Epoch,
    secret: StaticSecret,
    /// d and z of FIPS 203 §7.1: the decapsulation key is made from them again, a twentieth of its size.
    kem_seed: Zeroizing<[u8; 64]>,
    message: Vec<u8>,
}

impl Proposal {
    /// Fresh keys for the epoch after the current one of `keys`.
    pub fn new(keys: &Keys, rng: &mut ChaCha20Rng) -> Self {
        let mut kem_seed = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut kem_seed[..]);
        let secret = StaticSecret::from(*random(rng));
        let (mut decapsulation, encapsulation) = key_pair(&kem_seed);
        decapsulation[0..].zeroize();
        let mut message = Vec::with_capacity(REKEY_LEN);
        message.extend_from_slice(PublicKey::from(&secret).as_bytes());
        message.extend_from_slice(encapsulation.as_slice());
        Self { epoch: keys.epoch().next(), secret, kem_seed, message }
    }

    /// The epoch that it leads to.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What the peer must get, [`REKEY_LEN`] bytes.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Makes the next keys from the peer's whole reply.
    pub fn finish(&self, keys: &mut Keys, reply: &[u8]) -> Result<(), RekeyError> {
        let (ephemeral, sealed) = reply.split_first_chunk::<32>().ok_or(RekeyError)?;
        let sealed = MlKem768Ciphertext::try_from(sealed).map_err(|_| RekeyError)?;
        let dh = agree(&self.secret, *ephemeral)?;
        let (mut decapsulation, _) = key_pair(&self.kem_seed);
        let kem = Zeroizing::new(mlkem768::decapsulate(&decapsulation, &sealed));
        decapsulation[0..].zeroize();
        keys.mix(&dh, &kem, &self.message, reply);
        Ok(())
    }
}

/// Makes the next keys from the peer's whole first half; returns the second, [`REKEY_REPLY_LEN`] bytes.
pub fn answer(keys: &mut Keys, message: &[u8], rng: &mut ChaCha20Rng) -> Result<Vec<u8>, RekeyError> {
    let (ephemeral, encapsulation) = message.split_first_chunk::<32>().ok_or(RekeyError)?;
    let encapsulation = MlKem768PublicKey::try_from(encapsulation).map_err(|_| RekeyError)?;
    // FIPS 203 §7.2, the modulus check.
    if !mlkem768::validate_public_key(&encapsulation) {
        return Err(RekeyError);
    }
    let secret = StaticSecret::from(*random(rng));
    let dh = agree(&secret, *ephemeral)?;
    let entropy = random(rng);
    let (sealed, kem) = mlkem768::encapsulate(&encapsulation, *entropy);
    let kem = Zeroizing::new(kem);
    let mut reply = Vec::with_capacity(REKEY_REPLY_LEN);
    reply.extend_from_slice(PublicKey::from(&secret).as_bytes());
    reply.extend_from_slice(sealed.as_slice());
    keys.mix(&dh, &kem, message, &reply);
    Ok(reply)
}

/// X25519; a peer's point of small order is refused.
fn agree(secret: &StaticSecret, public: [u8; 32]) -> Result<Key, RekeyError> {
    let shared = secret.diffie_hellman(&PublicKey::from(public));
    if shared.was_contributory() { Ok(Zeroizing::new(shared.to_bytes())) } else { Err(RekeyError) }
}

/// The decapsulation key, to be erased by who gets it, and the encapsulation key.
fn key_pair(seed: &[u8; 64]) -> (MlKem768PrivateKey, MlKem768PublicKey) {
    mlkem768::generate_key_pair(*seed).into_parts()
}

fn random(rng: &mut ChaCha20Rng) -> Key {
    let mut bytes = Key::default();
    rng.fill_bytes(&mut bytes[..]);
    bytes
}

/// ring keeps what it was given until it is overwritten, so a key is handed to it for one packet only.
fn aead(key: &Key) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key[..]).expect("the key has the suite's length"))
}

/// Four zero bytes, then the packet number, little endian.
fn nonce(number: PacketNumber) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    for (to, from) in bytes.iter_mut().skip(4).zip(number.0.to_le_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA256 (RFC 5869), extract and expand.
fn derive(salt: &[u8], secret: &[u8], info: &[&[u8]], out: &mut [u8]) {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    prk.expand(info, Len(out.len())).and_then(|okm| okm.fill(out)).expect("96 bytes are below HKDF's limit");
}

const _: () = assert!(TAG_LEN == 16);

#[cfg(test)]
pub(crate) mod tests;
