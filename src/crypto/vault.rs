//! What a password locks: a random key of the profile, wrapped by argon2id, with which every stored value is sealed. Which values
//! there are, and where the wrapped key lies, is not known here (`store`).
//!
//! A value is XChaCha20-Poly1305 under a random nonce, bound to where it stands: moved to another place it does not open. Ids that
//! are looked up by become keyed hashes. Changing the password wraps the same key anew.

use std::{cell::RefCell, fmt};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use blake2::{Blake2s256, Blake2sMac256, Digest, digest::Mac};
use chacha20poly1305::{AeadInPlace, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use zeroize::{Zeroize, Zeroizing};

/// Bytes that sealing adds to a value.
pub const SEAL_LEN: usize = 40;
/// Bytes of a password at most.
pub const PASSWORD_LEN_MAX: usize = 4_096;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const _: () = assert!(NONCE_LEN + TAG_LEN == SEAL_LEN);
/// KiB of memory that a stored cost may ask for at most: a manipulated file must not ask for all there is.
const MEMORY_KIB_MAX: u32 = 256 << 10;
/// The same of its passes.
const PASSES_MAX: u32 = 16;

/// A password, and chance for what is sealed with it. Its `Debug` says nothing.
pub struct Unlock {
    password: Zeroizing<String>,
    chance: RefCell<ChaCha20Rng>,
}

impl Unlock {
    /// A password as it was typed. The seed comes from the system, another one each time.
    pub fn new(password: Zeroizing<String>, rng_seed: [u8; 32]) -> Self {
        Self { password, chance: RefCell::new(ChaCha20Rng::from_seed(rng_seed)) }
    }

    /// A generator that nonces, salts and keys come from; each call gives another one, for nonces must not come twice.
    pub fn rng(&self) -> ChaCha20Rng {
        let mut seed = Zeroizing::new([0; 32]);
        self.chance.borrow_mut().fill_bytes(&mut *seed);
        ChaCha20Rng::from_seed(*seed)
    }
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unlock")
    }
}

/// What trying one password costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// KiB of memory.
    #[serde(rename = "m")]
    pub memory_kib: u32,
    /// Passes over it.
    #[serde(rename = "t")]
    pub passes: u32,
}

impl Cost {
    /// What new passwords cost: 64 MiB, three passes.
    pub const NEW: Self = Self { memory_kib: 64 << 10, passes: 3 };
}

/// Why a wrapped key does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LockedOut {
    /// It is not this password.
    #[error("wrong password")]
    WrongPassword,
    /// What is stored makes no sense, whatever the password.
    #[error("the wrapped key is damaged")]
    Damaged,
}

/// The wrapped key as it is stored.
#[derive(Serialize, Deserialize)]
struct Wrapped {
    #[serde(rename = "c")]
    cost: Cost,
    #[serde(rename = "s")]
    salt: ByteArray<16>,
    #[serde(rename = "n")]
    nonce: ByteArray<NONCE_LEN>,
    #[serde(rename = "k")]
    key: ByteArray<32>,
    #[serde(rename = "g")]
    tag: ByteArray<TAG_LEN>,
}

/// The open lock of a profile. Its `Debug` says nothing; its keys leave memory with it.
pub struct Vault {
    key: Zeroizing<[u8; 32]>,
    values: XChaCha20Poly1305,
    ids: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

/// Bytes of the checksum before a wrapped key: damage is told from a wrong password by it.
const SUM_LEN: usize = 8;

impl Vault {
    /// A new one, with a key of its own.
    pub fn generate(rng: &mut ChaCha20Rng) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *key);
        Self::of(key)
    }

    fn of(key: Zeroizing<[u8; 32]>) -> Self {
        let values = subkey(&key, b"p2pchat-udp vault values");
        let ids = subkey(&key, b"p2pchat-udp vault ids");
        Self { values: XChaCha20Poly1305::new((&*values).into()), ids, key }
    }

    /// The key, to be stored: only this password opens it. Takes the time and the memory that `cost` says.
    pub fn wrap(&self, unlock: &Unlock, cost: Cost, rng: &mut ChaCha20Rng) -> Result<Vec<u8>, LockedOut> {
        let (mut salt, mut nonce) = ([0; 16], [0; NONCE_LEN]);
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut nonce);
        let mut key = Zeroizing::new(*self.key);
        let tag = outer(&unlock.password, cost, &salt)?
            .encrypt_in_place_detached(XNonce::from_slice(&nonce), WRAP, &mut *key)
            .map_err(|_| LockedOut::Damaged)?;
        let wrapped = Wrapped {
            cost,
            salt: ByteArray::new(salt),
            nonce: ByteArray::new(nonce),
            key: ByteArray::new(*key),
            tag: ByteArray::new(tag.into()),
        };
        let body = rmp_serde::to_vec_named(&wrapped).map_err(|_| LockedOut::Damaged)?;
        Ok([&sum(&body)[..], &body].concat())
    }

    /// Opens what [`Self::wrap`] gave, at the same cost.
    pub fn unwrap(stored: &[u8], unlock: &Unlock) -> Result<Self, LockedOut> {
        let (before, body) = stored.split_at_checked(SUM_LEN).ok_or(LockedOut::Damaged)?;
        if before != sum(body) {
            return Err(LockedOut::Damaged);
        }
        let wrapped: Wrapped = rmp_serde::from_slice(body).map_err(|_| LockedOut::Damaged)?;
        let mut key = Zeroizing::new(*wrapped.key);
        outer(&unlock.password, wrapped.cost, &wrapped.salt)?
            .decrypt_in_place_detached(XNonce::from_slice(&*wrapped.nonce), WRAP, &mut *key, Tag::from_slice(&*wrapped.tag))
            .map_err(|_| LockedOut::WrongPassword)?;
        Ok(Self::of(key))
    }

    /// Seals a value for this place.
    pub fn seal(&self, place: &[u8], value: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let mut sealed = Vec::with_capacity(value.len().saturating_add(SEAL_LEN));
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        let (_, body) = sealed.split_at_mut(NONCE_LEN);
        let tag = self
            .values
            .encrypt_in_place_detached(XNonce::from_slice(&nonce), place, body)
            .expect("a value is far shorter than the 256 GiB that the cipher takes");
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// The value that was sealed for this place; `None` where it is another one, or is not what was sealed.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let (body, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_LEN)?)?;
        let mut value = body.to_vec();
        let opened = self.values.decrypt_in_place_detached(XNonce::from_slice(nonce), place, &mut value, Tag::from_slice(tag));
        match opened {
            Ok(()) => Some(value),
            Err(_) => {
                value.zeroize();
                None
            }
        }
    }

    /// Puts a keyed hash in the place of an id of at most 32 bytes, another one for each table.
    pub fn blind(&self, table: &str, id: &mut [u8]) {
        let mut mac = <Blake2sMac256 as Mac>::new_from_slice(&*self.ids).expect("BLAKE2s takes keys of 32 bytes");
        mac.update(table.as_bytes());
        mac.update(&[0]);
        mac.update(id);
        let hash = mac.finalize().into_bytes();
        id.iter_mut().zip(hash).for_each(|(byte, hash)| *byte = hash);
    }
}

/// What a wrapped key is bound to.
const WRAP: &[u8] = b"p2pchat-udp vault 1";

fn sum(body: &[u8]) -> [u8; SUM_LEN] {
    let hash: [u8; 32] = Blake2s256::digest(body).into();
    let mut sum = [0; SUM_LEN];
    sum.iter_mut().zip(hash).for_each(|(byte, hash)| *byte = hash);
    sum
}

fn subkey(key: &[u8; 32], what: &[u8]) -> Zeroizing<[u8; 32]> {
    let mac = <Blake2sMac256 as Mac>::new_from_slice(key).expect("BLAKE2s takes keys of 32 bytes").chain_update(what);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The cipher that a password gives.
fn outer(password: &str, cost: Cost, salt: &[u8; 16]) -> Result<XChaCha20Poly1305, LockedOut> {
    if cost.memory_kib > MEMORY_KIB_MAX || cost.passes > PASSES_MAX || password.len() > PASSWORD_LEN_MAX {
        return Err(LockedOut::Damaged);
    }
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(32)).map_err(|_| LockedOut::Damaged)?;
    let mut memory = vec![Block::default(); params.block_count()];
    let mut key = Zeroizing::new([0; 32]);
    let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
        password.as_bytes(),
        salt,
        &mut *key,
        &mut memory,
    );
    memory.iter_mut().for_each(Zeroize::zeroize);
    done.map_err(|_| LockedOut::Damaged)?;
    Ok(XChaCha20Poly1305::new((&*key).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1 };

    fn unlock(password: &str) -> Unlock {
        Unlock::new(password.to_owned().into(), [7; 32])
    }

    #[test]
    fn only_the_password_opens_and_every_flip_of_the_wrapped_key_is_damage() {
        let mut rng = unlock("x").rng();
        let vault = Vault::generate(&mut rng);
        let stored = vault.wrap(&unlock("right"), CHEAP, &mut rng).unwrap();
        assert_eq!(*Vault::unwrap(&stored, &unlock("right")).unwrap().key, *vault.key);
        assert_eq!(Vault::unwrap(&stored, &unlock("Right")).unwrap_err(), LockedOut::WrongPassword);
        for at in 0..stored.len() {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            assert_eq!(Vault::unwrap(&flipped, &unlock("right")).unwrap_err(), LockedOut::Damaged, "byte {at}");
            assert_eq!(Vault::unwrap(&stored[..at], &unlock("right")).unwrap_err(), LockedOut::Damaged, "up to {at}");
        }
    }

    #[test]
    fn a_cost_beyond_all_reason_is_refused_before_memory_is_asked_for() {
        for cost in [Cost { memory_kib: u32::MAX, passes: 3 }, Cost { memory_kib: 64 << 10, passes: u32::MAX }] {
            let mut rng = unlock("x").rng();
            let wrapped = Wrapped {
                cost,
                salt: ByteArray::new([0; 16]),
                nonce: ByteArray::new([0; NONCE_LEN]),
                key: ByteArray::new([0; 32]),
                tag: ByteArray::new([0; TAG_LEN]),
            };
            let body = rmp_serde::to_vec_named(&wrapped).unwrap();
            let stored = [&sum(&body)[..], &body].concat();
            assert_eq!(Vault::unwrap(&stored, &unlock("x")).unwrap_err(), LockedOut::Damaged);
            assert_eq!(Vault::generate(&mut rng).wrap(&unlock("x"), cost, &mut rng), Err(LockedOut::Damaged));
        }
    }

    #[test]
    fn a_value_opens_only_as_it_was_sealed_and_where() {
        let mut rng = unlock("x").rng();
        let vault = Vault::generate(&mut rng);
        let sealed = vault.seal(b"here", b"value", &mut rng);
        assert_eq!(sealed.len(), 5 + SEAL_LEN);
        assert_eq!(vault.open(b"here", &sealed).as_deref(), Some(&b"value"[..]));
        assert_eq!(vault.open(b"there", &sealed), None);
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 0x80;
            assert_eq!(vault.open(b"here", &flipped), None);
            assert_eq!(vault.open(b"here", &sealed[..at]), None);
        }
        assert_eq!(Vault::generate(&mut rng).open(b"here", &sealed), None);
        assert_ne!(vault.seal(b"here", b"value", &mut rng), sealed, "another nonce each time");
    }

    #[test]
    fn neither_password_nor_key_is_told() {
        let unlock = unlock("secret words");
        let vault = Vault::generate(&mut unlock.rng());
        assert_eq!(format!("{unlock:?} {vault:?}"), "Unlock Vault");
    }
}
