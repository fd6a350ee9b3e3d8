//! What Noise is made of here: snow's own primitives, with our randomness, and X25519 that knows our static key. Handshakes
//! are `handshake`, knocks `knock`.

use curve25519_dalek::montgomery::MontgomeryPoint;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use snow::{
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};
use zeroize::Zeroizing;

/// snow's own primitives, but the randomness that we give: the same seed, the same handshake. And our static key, whose
/// public half is known: snow would make it from the secret once more for each handshake.
pub(super) struct Resolver {
    pub(super) rng_seed: Zeroizing<[u8; 32]>,
    pub(super) noise_public: [u8; 32],
}

/// X25519 (RFC 7748).
struct X25519 {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
    /// Of our static key: nothing else is ever set.
    noise_public: [u8; 32],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        self.public.len()
    }

    fn priv_len(&self) -> usize {
        self.secret.len()
    }

    fn set(&mut self, secret: &[u8]) {
        self.secret.copy_from_slice(secret);
        self.public = self.noise_public;
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(self.secret.as_mut_slice())?;
        self.public = MontgomeryPoint::mul_base_clamped(*self.secret).to_bytes();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_slice()
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let (public, out) = (public.first_chunk().ok_or(snow::Error::Dh)?, out.first_chunk_mut().ok_or(snow::Error::Dh)?);
        *out = MontgomeryPoint(*public).mul_clamped(*self.secret).to_bytes();
        Ok(())
    }
}

struct Seeded(ChaCha20Rng);

impl Random for Seeded {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seeded(ChaCha20Rng::from_seed(*self.rng_seed))))
    }

    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(X25519 { secret: Zeroizing::default(), public: [0; 32], noise_public: self.noise_public }))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}
