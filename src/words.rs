//! The safety words of two people: who sees the same ones on both screens talks to the other and to nobody between.

use bip39::Language;
use blake2::{Blake2s256, Digest};

use crate::id::PeerId;

/// How many words there are.
pub const WORDS: usize = 12;
/// Bits that one word stands for.
const WORD_BITS: usize = 11;

/// The words of two ids, the same in either order: the first 132 bits of their hash, in words of BIP-39's English
/// list (protocol, IDENTITY).
pub fn words(a: &PeerId, b: &PeerId) -> [&'static str; WORDS] {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let hash = Blake2s256::new().chain_update(b"verify").chain_update(low.as_bytes()).chain_update(high.as_bytes()).finalize();
    let bit = |at: usize| usize::from(hash[at / 8] >> (7 - at % 8) & 1);
    let list = Language::English.word_list();
    std::array::from_fn(|word| list[(0..WORD_BITS).fold(0, |index, at| index << 1 | bit(word * WORD_BITS + at))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> PeerId {
        let point = curve25519_dalek::constants::ED25519_BASEPOINT_POINT * curve25519_dalek::Scalar::from(number + 1);
        let mut bytes = point.compress().0;
        bytes[31] &= 0x7f;
        PeerId::from_bytes(bytes).expect("a multiple of the base point")
    }

    #[test]
    fn both_see_the_same_words_and_nobody_else_does() {
        assert_eq!(words(&id(1), &id(2)), words(&id(2), &id(1)));
        let differing = words(&id(1), &id(2)).iter().zip(words(&id(1), &id(3))).filter(|(a, b)| **a != *b).count();
        assert!(differing >= WORDS - 1, "{differing} of {WORDS} words differ");
    }

    /// Also of another program, or a later version: who computes them otherwise frightens people.
    #[test]
    fn the_words_of_two_known_ids() {
        assert_eq!(
            words(&id(1), &id(2)).join(" "),
            "bleak lizard civil reunion when tank place humble eager project pumpkin coach"
        );
    }
}
