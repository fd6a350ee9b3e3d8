//! Signing and checking records of the phonebook, and the token by which a seed knows a record again that
//! it has checked before (protocol, SEEDS). What a record says stands in `wire::record`.

use std::hash::Hasher;

use ed25519_dalek::{Signature, VerifyingKey, verify_batch};
use siphasher::sip128::{Hasher128, SipHasher24};
use subtle::ConstantTimeEq;

use super::{identity::Identity, rotating::RotatingKey};
use crate::{
    id::PeerId,
    wire::{
        SIGNATURE_LEN, WireError,
        phonebook::{RawId, TOKEN_LEN},
        record::{Claim, Record},
    },
};

/// Stands before a record where it is signed: a record's signature is one of nothing else.
const CONTEXT: &[u8] = b"p2pchat-udp record 1";
/// Seconds for which one key makes tokens; a token is good for that time and the next.
const TOKEN_KEY_SECONDS: u64 = 86_400;

/// The record's bytes and its owner's signature over them.
pub fn sign_record(identity: &Identity, record: &Record) -> (Vec<u8>, [u8; SIGNATURE_LEN]) {
    let bytes = record.encode();
    let signature = identity.sign(&[CONTEXT, &bytes].concat());
    (bytes, signature)
}

/// Reads a record and checks that the id it names signed these very bytes, strictly (as announces are).
pub fn verify_record(bytes: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<Record, WireError> {
    let claim = Claim::decode(bytes)?;
    let id = verify_claim(&claim.id, bytes, signature)?;
    Ok(claim.of(id))
}

/// Checks that `id` is one and signed the record's bytes. The key is decompressed once for both questions.
pub fn verify_claim(id: &RawId, bytes: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<PeerId, WireError> {
    let (key, id) = key(id)?;
    let signed = [CONTEXT, bytes].concat();
    key.verify_strict(&signed, &Signature::from_bytes(signature)).map_err(|_| WireError::Malformed)?;
    Ok(id)
}

/// A record's bytes, whose they say that they are, and a signature that may be his.
#[derive(Debug, Clone, Copy)]
pub struct Unverified<'a> {
    /// Whose.
    pub id: &'a RawId,
    /// The record.
    pub bytes: &'a [u8],
    /// Of the owner over the bytes.
    pub signature: &'a [u8; SIGNATURE_LEN],
}

/// True where [`verify_claim`] says yes to all of them, for little more than half of the price. Where it says
/// no to one, this is false, and which one it is must be asked one by one.
///
/// It may also let pass a signature whose maker, who has the key, gave its point R a part of small order. At a
/// seed he spoils nothing by that but his own record: whoever finds it there checks it strictly and does not
/// believe it.
pub fn verify_all(records: &[Unverified<'_>]) -> bool {
    let keys: Result<Vec<_>, _> = records.iter().map(|record| key(record.id).map(|(key, _)| key)).collect();
    let Ok(keys) = keys else { return false };
    let messages: Vec<_> = records.iter().map(|record| [CONTEXT, record.bytes].concat()).collect();
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let signatures: Vec<_> = records.iter().map(|record| Signature::from_bytes(record.signature)).collect();
    verify_batch(&messages, &signatures, &keys).is_ok()
}

fn key(id: &RawId) -> Result<(VerifyingKey, PeerId), WireError> {
    let key = VerifyingKey::from_bytes(id).map_err(|_| WireError::Malformed)?;
    let id = PeerId::from_point(*id, &key.to_edwards()).map_err(|_| WireError::Malformed)?;
    Ok((key, id))
}

/// Makes and checks a seed's tokens. Its secret is all that a seed keeps over a restart. A token is a keyed
/// SipHash-2-4-128: only the seed that made it reads it, and one is checked for every refresh.
pub struct TokenKey(RotatingKey);

impl TokenKey {
    /// From the seed's secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(RotatingKey::new(secret, b"token"))
    }

    /// The token of a record whose signature was checked; `unix`: the seed's clock in seconds.
    pub fn token(&mut self, unix: u64, id: &RawId, record: &[u8], signature: &[u8; SIGNATURE_LEN]) -> [u8; TOKEN_LEN] {
        self.mac(unix / TOKEN_KEY_SECONDS, id, record, signature)
    }

    /// True where this seed made the token for this very record, today or yesterday.
    pub fn verify(
        &mut self,
        unix: u64,
        id: &RawId,
        record: &[u8],
        signature: &[u8; SIGNATURE_LEN],
        token: &[u8; TOKEN_LEN],
    ) -> bool {
        let today = unix / TOKEN_KEY_SECONDS;
        [today, today.saturating_sub(1)].into_iter().any(|day| self.mac(day, id, record, signature).ct_eq(token).into())
    }

    fn mac(&mut self, day: u64, id: &RawId, record: &[u8], signature: &[u8; SIGNATURE_LEN]) -> [u8; TOKEN_LEN] {
        let mut hasher = SipHasher24::new_with_key(self.0.key(day));
        // Two of fixed length, then what is left: no two inputs look the same.
        [id, &signature[..], record].into_iter().for_each(|part| hasher.write(part));
        hasher.finish128().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::wire::record::Visibility;

    fn identity(rng_seed: u64) -> Identity {
        Identity::generate(&mut ChaCha20Rng::seed_from_u64(rng_seed))
    }

    fn record(identity: &Identity) -> Record {
        Record {
            id: identity.id(),
            seq: 1,
            issued: 1_760_000_000,
            lifetime: 3_600,
            network: [0; 8],
            name: "alice".to_owned(),
            visibility: Visibility::Findable,
            seeds: Vec::new(),
            addrs: Vec::new(),
        }
    }

    #[test]
    fn of_many_records_one_false_signature_is_noticed() {
        let signed: Vec<_> = (0..70)
            .map(|n| {
                let owner = identity(n);
                let (bytes, signature) = sign_record(&owner, &record(&owner));
                (*owner.id().as_bytes(), bytes, signature)
            })
            .collect();
        // The identity: of small order, and no key.
        let weak = std::array::from_fn(|at| u8::from(at == 0));
        let mut all: Vec<_> = signed.iter().map(|(id, bytes, signature)| Unverified { id, bytes, signature }).collect();
        assert!(verify_all(&all) && verify_all(&all[..1]) && verify_all(&[]));
        let [(one, _, of_one), (_, record_of_other, _), ..] = &signed[..] else { panic!() };
        for place in [0, 33, 69] {
            let good = all[place];
            all[place] = Unverified { signature: if place == 0 { &[7; 64] } else { of_one }, ..good };
            assert!(!verify_all(&all), "another's signature in place {place}");
            all[place] = Unverified { id: one, bytes: record_of_other, ..good };
            assert!(!verify_all(&all), "another's record in place {place}");
            all[place] = Unverified { id: &weak, ..good };
            assert!(!verify_all(&all), "no key in place {place}");
            all[place] = good;
        }
        assert!(verify_all(&all));
    }

    #[test]
    fn a_record_counts_only_with_its_owners_signature() {
        let (alice, bob) = (identity(1), identity(2));
        let (bytes, signature) = sign_record(&alice, &record(&alice));
        assert_eq!(verify_record(&bytes, &signature), Ok(record(&alice)));
        let (stolen, by_bob) = sign_record(&bob, &record(&alice));
        assert_eq!(verify_record(&stolen, &by_bob), Err(WireError::Malformed), "bob signs as alice");
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1;
            assert!(verify_record(&flipped, &signature).is_err(), "byte {place} changed and nobody noticed");
        }
        assert!(verify_record(&bytes, &alice.sign(&bytes)).is_err(), "signed without saying what it is");
    }

    #[test]
    fn a_token_is_of_one_record_and_of_two_days() {
        let alice = identity(1);
        let mut key = TokenKey::new(&[7; 32]);
        let (bytes, signature) = sign_record(&alice, &record(&alice));
        let id = alice.id();
        let token = key.token(TOKEN_KEY_SECONDS, id.as_bytes(), &bytes, &signature);
        let mut good = |unix: u64| key.verify(unix, id.as_bytes(), &bytes, &signature, &token);
        assert!(good(TOKEN_KEY_SECONDS) && good(3 * TOKEN_KEY_SECONDS - 1));
        assert!(!good(TOKEN_KEY_SECONDS - 1) && !good(3 * TOKEN_KEY_SECONDS));
        assert!(!key.verify(TOKEN_KEY_SECONDS, id.as_bytes(), &bytes[1..], &signature, &token));
        assert!(!key.verify(TOKEN_KEY_SECONDS, identity(2).id().as_bytes(), &bytes, &signature, &token));
        assert!(!TokenKey::new(&[8; 32]).verify(TOKEN_KEY_SECONDS, id.as_bytes(), &bytes, &signature, &token));
    }
}
