//! Places of one life of a receiving direction: which are taken, which are held back, which come next. Pure
//! bookkeeping; what a place means to whom lives in `conversation`.

use std::collections::BTreeSet;

use super::conversation::WINDOW_MESSAGES_MAX;
use crate::{id::Seq, store::row::YoursRow};

/// What the receiver said about a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// The next one: it and what it released are visible once committed.
    Next,
    /// Kept aside.
    Held,
    /// Known already.
    Known,
    /// Too far ahead, or too many gaps: not taken, the sender will offer it again.
    NotTaken,
}

/// Takes a place into one life of the receiving direction. `Next` moves the high-water mark by one;
/// whoever calls goes on with [`release_next`].
pub(crate) fn receive(yours: &mut YoursRow, seq: Seq) -> Received {
    if is_known(yours, seq) {
        return Received::Known;
    }
    if seq == yours.high_water.next() {
        yours.high_water = seq;
        return Received::Next;
    }
    if seq.0 - yours.high_water.0 > 2 * WINDOW_MESSAGES_MAX as u64 {
        return Received::NotTaken;
    }
    insert_held(&mut yours.held, seq);
    Received::Held
}

/// True for a place that was taken before.
pub(crate) fn is_known(yours: &YoursRow, seq: Seq) -> bool {
    seq <= yours.high_water || yours.held.iter().any(|held| held.0 <= seq && seq <= held.1)
}

/// Moves the high-water mark over the next held place, if it is the next one.
pub(crate) fn release_next(yours: &mut YoursRow) -> Option<Seq> {
    let first = yours.held.first_mut()?;
    if first.0 != yours.high_water.next() {
        return None;
    }
    let seq = first.0;
    if first.0 == first.1 {
        yours.held.remove(0);
    } else {
        first.0 = first.0.next();
    }
    yours.high_water = seq;
    Some(seq)
}

fn insert_held(held: &mut Vec<(Seq, Seq)>, seq: Seq) {
    let at = held.partition_point(|range| range.1 < seq);
    let joins_before = at > 0 && held[at - 1].1.next() == seq;
    let joins_after = at < held.len() && seq.next() == held[at].0;
    match (joins_before, joins_after) {
        (true, true) => {
            held[at - 1].1 = held[at].1;
            held.remove(at);
        }
        (true, false) => held[at - 1].1 = seq,
        (false, true) => held[at].0 = seq,
        (false, false) => held.insert(at, (seq, seq)),
    }
}

/// Sorted seqs as inclusive ranges.
pub(crate) fn ranges(seqs: &BTreeSet<Seq>) -> Vec<(Seq, Seq)> {
    let mut ranges: Vec<(Seq, Seq)> = Vec::new();
    for &seq in seqs {
        match ranges.last_mut() {
            Some(last) if last.1.next() == seq => last.1 = seq,
            _ => ranges.push((seq, seq)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Incarnation;

    proptest! {
        #[test]
        fn held_ranges_agree_with_a_set(seqs in proptest::collection::vec(1u64..400, 0..300)) {
            let mut yours = YoursRow { incarnation: Incarnation(1), high_water: Seq(0), held: Vec::new() };
            let mut taken = BTreeSet::new();
            for seq in seqs.into_iter().map(Seq) {
                let known = taken.contains(&seq);
                let received = receive(&mut yours, seq);
                prop_assert_eq!(received == Received::Known, known);
                if received != Received::NotTaken {
                    taken.insert(seq);
                }
                while release_next(&mut yours).is_some() {}
                let high_water = (1..).map(Seq).find(|seq| !taken.contains(seq)).map_or(0, |seq| seq.0 - 1);
                prop_assert_eq!(yours.high_water, Seq(high_water));
                let above = taken.iter().copied().filter(|seq| seq.0 > high_water).collect();
                prop_assert_eq!(&yours.held, &ranges(&above));
            }
        }
    }
}
