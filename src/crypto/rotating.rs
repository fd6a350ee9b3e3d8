//! A secret that lasts, and the keys that are made of it, one for each stretch of time: what is made with a
//! key is good as long as its key can be. How long a stretch is, and what is made, is the caller's affair.

use blake2::{Blake2s256, Digest};
use zeroize::Zeroizing;

/// Bytes of a key: a SipHash's.
pub(super) const KEY_LEN: usize = 16;

type Key = Zeroizing<[u8; KEY_LEN]>;

/// The secret, and the keys of the last two stretches that were asked for: making one for every datagram
/// would cost more than the rest.
pub(super) struct RotatingKey {
    secret: Zeroizing<[u8; 32]>,
    label: &'static [u8],
    keys: [(u64, Key); 2],
}

impl RotatingKey {
    /// Keys of one label are no keys of another, also where the secret is the same.
    pub(super) fn new(secret: &[u8; 32], label: &'static [u8]) -> Self {
        let keys = [0, 1].map(|stretch| (stretch, derive(secret, label, stretch)));
        Self { secret: Zeroizing::new(*secret), label, keys }
    }

    /// The key of a stretch.
    pub(super) fn key(&mut self, stretch: u64) -> &[u8; KEY_LEN] {
        let [even, odd] = &mut self.keys;
        let slot = if stretch.is_multiple_of(2) { even } else { odd };
        if slot.0 != stretch {
            *slot = (stretch, derive(&self.secret, self.label, stretch));
        }
        &slot.1
    }
}

fn derive(secret: &[u8; 32], label: &[u8], stretch: u64) -> Key {
    let hash = Blake2s256::new().chain_update(label).chain_update(secret).chain_update(stretch.to_le_bytes()).finalize();
    Zeroizing::new(<[u8; 32]>::from(hash).first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stretch_label_and_secret_has_its_key_whatever_was_asked_before() {
        let mut rotating = RotatingKey::new(&[7; 32], b"cookie");
        let mut seen = std::collections::BTreeSet::new();
        for stretch in [0, 1, 2, 3, u64::MAX] {
            assert!(seen.insert(*rotating.key(stretch)));
        }
        for stretch in [3, 0, u64::MAX, 2] {
            assert_eq!(rotating.key(stretch), RotatingKey::new(&[7; 32], b"cookie").key(stretch));
            assert!(seen.contains(rotating.key(stretch)));
        }
        assert!(seen.insert(*RotatingKey::new(&[8; 32], b"cookie").key(0)));
        assert!(seen.insert(*RotatingKey::new(&[7; 32], b"token").key(0)));
    }
}
