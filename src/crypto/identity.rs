//! The profile's key: one Ed25519 key whose X25519 form is the Noise static key (protocol, IDENTITY). What an
//! id looks like and which bytes are one stands in `id`; who is trusted is `node`'s affair.

use blake2::{Blake2s256, Digest};
use curve25519_dalek::{edwards::CompressedEdwardsY, montgomery::MontgomeryPoint};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use zeroize::Zeroizing;

use crate::{
    id::PeerId,
    wire::{
        SIGNATURE_LEN,
        announce::{Announce, Signed},
    },
};

/// Bytes of the tag that keeps networks of different names apart.
pub const NETWORK_TAG_LEN: usize = 8;

/// Why bytes are no key of ours or of a peer. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The public key of this secret has sign bit 1; [`Identity::generate`] never makes one.
    #[error("the key's public half has its sign bit set")]
    SignBit,
    /// A Noise static key that is no id: on the twist, of small order or not canonical.
    #[error("no valid public key")]
    Public,
}

/// Who we are. The secret is wiped from memory with its owner and never shown.
pub struct Identity {
    key: SigningKey,
    id: PeerId,
    noise_public: [u8; 32],
}

impl Identity {
    /// A new key; draws until the public key's sign bit is 0 (protocol, IDENTITY), twice on average.
    pub fn generate(rng: &mut ChaCha20Rng) -> Self {
        loop {
            let mut secret = Zeroizing::new([0; 32]);
            rng.fill_bytes(secret.as_mut_slice());
            if let Ok(identity) = Self::from_secret(&secret) {
                return identity;
            }
        }
    }

    /// The identity of a stored secret (an RFC 8032 seed). Errors where no profile can have held it.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(secret);
        let id = PeerId::from_bytes(key.verifying_key().to_bytes()).map_err(|_| KeyError::SignBit)?;
        Ok(Self { key, id, noise_public: noise_public(&id) })
    }

    /// What the store keeps.
    pub fn secret(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Who we are to everybody else.
    pub const fn id(&self) -> PeerId {
        self.id
    }

    /// The Noise static secret: the scalar behind the id, in X25519 form.
    pub(super) fn noise_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_scalar_bytes())
    }

    /// What [`noise_public`] makes of our id.
    pub(super) const fn noise_public(&self) -> [u8; 32] {
        self.noise_public
    }

    /// The whole datagram: the announce and the signature over its bytes. Kind and magic stand in
    /// front, so it can be mistaken for nothing else that this key signs.
    pub fn sign_announce(&self, announce: &Announce) -> Vec<u8> {
        let mut datagram = announce.encode_unsigned();
        let signature = self.sign(&datagram);
        datagram.extend_from_slice(&signature);
        datagram
    }

    /// A signature over bytes that say themselves what they are.
    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.key.sign(bytes).to_bytes()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// True where the announce was signed by the id it names. Strict (RFC 8032 §5.1.7 without cofactor, no
/// small orders), so that all implementations agree on every signature.
pub fn verify_announce(signed: &Signed<'_>) -> bool {
    VerifyingKey::from_bytes(signed.announce.id.as_bytes())
        .is_ok_and(|key| key.verify_strict(signed.signed, &Signature::from_bytes(&signed.signature)).is_ok())
}

/// The Noise static key of a peer: its id in X25519 form (RFC 7748 §4.1, u = (1 + y)/(1 − y)).
pub fn noise_public(id: &PeerId) -> [u8; 32] {
    let point = CompressedEdwardsY(*id.as_bytes()).decompress().expect("a PeerId is a point");
    point.to_montgomery().to_bytes()
}

/// The id behind a Noise static key. The sign of the point is lost on the way, and by the sign-bit rule
/// it is 0, so exactly one id has this key.
pub fn peer_id_from_noise(public: &[u8; 32]) -> Result<PeerId, KeyError> {
    let point = MontgomeryPoint(*public).to_edwards(0).ok_or(KeyError::Public)?;
    // Other encodings of the same u (above 2^255 - 19, or with bit 255) are no keys of ours.
    if point.to_montgomery().as_bytes() != public {
        return Err(KeyError::Public);
    }
    PeerId::from_point(point.compress().0, &point).map_err(|_| KeyError::Public)
}

/// What an announce carries instead of the network's name; zeros for the unnamed network.
pub fn network_tag(network: &str) -> [u8; NETWORK_TAG_LEN] {
    let mut tag = [0; NETWORK_TAG_LEN];
    if !network.is_empty() {
        let hash = Blake2s256::new().chain_update(b"p2pchat-udp network").chain_update(network).finalize();
        tag.iter_mut().zip(hash).for_each(|(tag, hash)| *tag = hash);
    }
    tag
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_core::SeedableRng;

    use super::*;
    use crate::id::BootId;

    fn identity(rng_seed: u64) -> Identity {
        Identity::generate(&mut ChaCha20Rng::seed_from_u64(rng_seed))
    }

    fn announce(id: PeerId) -> Announce {
        Announce {
            id,
            boot: BootId(7),
            seq: 1,
            port: 17_118,
            ttl: 53,
            network: network_tag("lab"),
            flags: 0,
            peers: 1,
            digest: 0,
            nonce: 0,
            name: "alice".to_owned(),
            ext: Vec::new(),
            pad: 0,
        }
    }

    #[test]
    fn half_of_all_secrets_are_refused_for_their_sign_bit_and_none_is_ever_generated() {
        let mut refused = 0;
        for byte in 0..=255 {
            match Identity::from_secret(&[byte; 32]) {
                Ok(identity) => assert_eq!(identity.id().as_bytes()[31] & 0x80, 0),
                Err(error) => {
                    assert_eq!(error, KeyError::SignBit);
                    refused += 1;
                }
            }
        }
        assert!((96..160).contains(&refused), "{refused} of 256");
        for rng_seed in 0..32 {
            let made = identity(rng_seed);
            assert_eq!(Identity::from_secret(made.secret()).unwrap().id(), made.id());
        }
    }

    #[test]
    fn the_same_rng_seed_makes_the_same_key() {
        assert_eq!(identity(3).id(), identity(3).id());
        assert_ne!(identity(3).id(), identity(4).id());
    }

    #[test]
    fn an_id_is_its_noise_key_and_back() {
        for rng_seed in 0..32 {
            let identity = identity(rng_seed);
            let public = noise_public(&identity.id());
            let secret = x25519_dalek::StaticSecret::from(*identity.noise_secret());
            assert_eq!(x25519_dalek::PublicKey::from(&secret).as_bytes(), &public);
            assert_eq!(peer_id_from_noise(&public), Ok(identity.id()));
        }
    }

    #[test]
    fn small_orders_and_second_encodings_are_no_noise_keys() {
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(peer_id_from_noise(&[0; 32]), Err(KeyError::Public), "order 2");
        assert_eq!(peer_id_from_noise(&one), Err(KeyError::Public), "order 4");
        // The two points of order 8 (curve25519.cr.yp.to/ecdh.html).
        for hex in [
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ] {
            let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap();
            assert_eq!(peer_id_from_noise(&bytes), Err(KeyError::Public), "{hex}");
        }
        let mut high_bit = noise_public(&identity(1).id());
        high_bit[31] |= 0x80;
        assert_eq!(peer_id_from_noise(&high_bit), Err(KeyError::Public), "bit 255");
        let mut p_plus_nine = [0xff; 32];
        p_plus_nine[0] = 0xed + 9;
        p_plus_nine[31] = 0x7f;
        assert_eq!(peer_id_from_noise(&p_plus_nine), Err(KeyError::Public), "u = 9 written as p + 9");
        assert!(
            peer_id_from_noise(&{
                let mut nine = [0; 32];
                nine[0] = 9;
                nine
            })
            .is_ok()
        );
        let mut two = [0; 32];
        two[0] = 2;
        assert_eq!(peer_id_from_noise(&two), Err(KeyError::Public), "on the twist");
    }

    #[test]
    fn an_announce_counts_only_with_its_own_signature() {
        let (alice, bob) = (identity(1), identity(2));
        let datagram = alice.sign_announce(&announce(alice.id()));
        let signed = Signed::decode(&datagram).unwrap();
        assert!(verify_announce(&signed));
        assert_eq!(signed.announce, announce(alice.id()));

        let stolen = bob.sign_announce(&announce(alice.id()));
        assert!(!verify_announce(&Signed::decode(&stolen).unwrap()), "bob signs as alice");
        for place in 6..datagram.len() {
            let mut flipped = datagram.clone();
            flipped[place] ^= 1;
            if let Ok(signed) = Signed::decode(&flipped) {
                assert!(!verify_announce(&signed), "byte {place} changed and nobody noticed");
            }
        }
    }

    #[test]
    fn networks_have_tags_and_the_unnamed_one_has_zeros() {
        assert_eq!(network_tag(""), [0; NETWORK_TAG_LEN]);
        assert_ne!(network_tag("lab"), [0; NETWORK_TAG_LEN]);
        assert_ne!(network_tag("lab"), network_tag("Lab"));
    }

    #[test]
    fn a_secret_is_not_in_the_debug_form() {
        let identity = identity(1);
        assert_eq!(format!("{identity:?}"), format!("Identity {{ id: {:?}, .. }}", identity.id()));
    }

    proptest! {
        #[test]
        fn every_accepted_noise_key_has_one_id(bytes: [u8; 32]) {
            if let Ok(id) = peer_id_from_noise(&bytes) {
                prop_assert_eq!(noise_public(&id), bytes);
            }
        }
    }
}
