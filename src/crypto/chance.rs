//! Where the randomness of secrets comes from: a generator that forgets what it gave, by fast key erasure (Bernstein, "Fast-key-erasure
//! random-number generators", 2017). Whoever reads the memory later learns no key of before. What may be known, such as when something
//! is tried again, comes from any generator.

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use zeroize::Zeroizing;

/// The seed of what is given next.
#[derive(Debug)]
pub struct Chance(Zeroizing<[u8; 32]>);

impl Chance {
    /// The first seed comes from `rng`.
    pub fn new(rng: &mut ChaCha20Rng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self(seed)
    }

    /// A generator for one act, to be dropped after it. The seed that made it is gone.
    pub fn rng(&mut self) -> ChaCha20Rng {
        let mut rng = ChaCha20Rng::from_seed(*self.0);
        rng.fill_bytes(&mut *self.0);
        rng
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_act_has_chance_of_its_own_and_the_same_seed_the_same_acts() {
        let acts = || {
            let mut chance = Chance::new(&mut ChaCha20Rng::from_seed([1; 32]));
            let given: Vec<_> = (0..3).map(|_| (0..100).map(|_| chance.rng().next_u64()).collect::<Vec<_>>()).collect();
            (given, *chance.0)
        };
        let (given, left) = acts();
        assert_eq!((given.clone(), left), acts());
        let mut all = given.concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 300, "nothing is given twice");
    }

    #[test]
    fn what_is_left_is_not_what_was_given() {
        let mut chance = Chance::new(&mut ChaCha20Rng::from_seed([2; 32]));
        let before = *chance.0;
        let mut given = [0; 4_096];
        chance.rng().fill_bytes(&mut given);
        assert_ne!(*chance.0, before);
        assert!(!given.windows(32).any(|window| window == *chance.0), "who is given something knows nothing of what follows");
    }
}
