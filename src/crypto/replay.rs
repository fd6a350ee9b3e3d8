//! The replay window: which packet numbers have been opened. A bit each, nothing else; when to look
//! and when to move it is the session's affair (after the tag was verified, never before).

use crate::id::PacketNumber;

/// Numbers that may still come out of order below the largest (protocol, PACKETS).
pub const REPLAY_WINDOW_LEN: u64 = 2_048;

const WORD_BITS: u64 = 64;
/// One word more than the window needs, so that a word that is partly inside is never reused.
const WORDS: u64 = REPLAY_WINDOW_LEN / WORD_BITS + 1;
const _: () = assert!(WORDS == 33, "the array's length");

/// Packet numbers seen, the newest [`REPLAY_WINDOW_LEN`] of them exactly, all older ones as seen.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    largest: Option<u64>,
    words: [u64; 33],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { largest: None, words: [0; 33] }
    }
}

impl ReplayWindow {
    /// The largest number inserted.
    pub fn largest(&self) -> Option<PacketNumber> {
        self.largest.map(PacketNumber)
    }

    /// True where `number` was inserted before or is too old to know.
    pub fn contains(&self, number: PacketNumber) -> bool {
        let Some(largest) = self.largest else { return false };
        if number.0 > largest {
            return false;
        }
        let too_old = largest.saturating_sub(number.0) >= REPLAY_WINDOW_LEN;
        too_old || self.words.get(word(number.0)).is_none_or(|word| word & bit(number.0) != 0)
    }

    /// Notes `number`. Below the window it changes nothing.
    pub fn insert(&mut self, number: PacketNumber) {
        let number = number.0;
        match self.largest {
            Some(largest) if number <= largest => {
                if largest.saturating_sub(number) >= REPLAY_WINDOW_LEN {
                    return;
                }
            }
            Some(largest) => {
                // Words between the old and the new largest begin anew; past one lap, all of them.
                let laps = (number / WORD_BITS).saturating_sub(largest / WORD_BITS);
                for step in 1..=laps.min(WORDS) {
                    let start = (largest / WORD_BITS).saturating_add(step).saturating_mul(WORD_BITS);
                    self.words.get_mut(word(start)).into_iter().for_each(|word| *word = 0);
                }
                self.largest = Some(number);
            }
            None => self.largest = Some(number),
        }
        self.words.get_mut(word(number)).into_iter().for_each(|word| *word |= bit(number));
    }
}

fn word(number: u64) -> usize {
    usize::try_from(number / WORD_BITS % WORDS).unwrap_or(0)
}

fn bit(number: u64) -> u64 {
    1 << (number % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What the protocol says, once more: a window that is one longer or shorter is another protocol.
    const LEN: u64 = 2_048;

    /// What the window promises, said slowly.
    #[derive(Default)]
    struct Oracle(BTreeSet<u64>);

    impl Oracle {
        fn contains(&self, number: u64) -> bool {
            self.0.contains(&number) || self.0.last().is_some_and(|largest| largest.saturating_sub(number) >= LEN)
        }
    }

    fn agree(numbers: impl IntoIterator<Item = u64>) {
        let (mut window, mut oracle) = (ReplayWindow::default(), Oracle::default());
        for number in numbers {
            assert_eq!(window.contains(PacketNumber(number)), oracle.contains(number), "{number}");
            window.insert(PacketNumber(number));
            if !oracle.contains(number) {
                oracle.0.insert(number);
            }
            assert!(window.contains(PacketNumber(number)));
        }
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(steps in proptest::collection::vec((0u8..5, 0u64..5_000), 1..400)) {
            let mut at = 3_000u64;
            agree(steps.into_iter().map(|(kind, far)| {
                match kind {
                    0 => at += 1,
                    1 => at += far % 70,
                    2 => at += far,
                    _ => {}
                }
                match kind {
                    3 => at.saturating_sub(far),
                    // Around the edge, on both sides of it.
                    4 => at.saturating_sub(LEN - 3 + far % 6),
                    _ => at,
                }
            }));
        }
    }

    #[test]
    fn the_window_ends_where_the_protocol_says() {
        for largest in 2_048..2_048 + 3 * WORD_BITS * WORDS {
            let mut window = ReplayWindow::default();
            window.insert(PacketNumber(largest));
            assert!(!window.contains(PacketNumber(largest - 2_047)), "{largest}: the oldest that may come");
            assert!(window.contains(PacketNumber(largest - 2_048)), "{largest}: the newest that is too old");
        }
    }

    #[test]
    fn edges_of_the_window_are_exact() {
        agree([0, 2_047, 0, 2_048, 0, 1, 2, 2_111, 64, 63, 4_159, 2_112, 2_111]);
        agree([u64::MAX, u64::MAX - 2_047, u64::MAX - 1, u64::MAX]);
    }
}
