//! Which bytes of one message are there: as runs, merged where they touch. What the bytes are for, to be acked or to be
//! joined, lives in `outgoing` and `assembler`.

/// Runs `start..end` of bytes, ascending, with a gap between each two.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Adds `start..end`; how many bytes of it were not there.
    pub(super) fn insert(&mut self, start: u32, end: u32) -> u32 {
        if start >= end {
            return 0;
        }
        // In order is what mostly happens.
        let last = self.0.last_mut();
        if let Some(last) = last.filter(|(last_start, last_end)| *last_start <= start && start <= *last_end) {
            let fresh = end.saturating_sub(last.1);
            last.1 = last.1.max(end);
            return fresh;
        }
        let from = self.0.partition_point(|(_, known_end)| *known_end < start);
        let to = self.0.partition_point(|(known_start, _)| *known_start <= end);
        let touched = self.0.get(from..to).unwrap_or_default();
        let known: u32 = touched.iter().map(|&(a, b)| b.min(end).saturating_sub(a.max(start))).sum();
        let joined = touched.iter().fold((start, end), |(a, b), &(c, d)| (a.min(c), b.max(d)));
        self.0.splice(from..to, [joined]);
        end.saturating_sub(start).saturating_sub(known)
    }

    /// The first byte from `start` on that is not there.
    pub(super) fn missing_from(&self, start: u32) -> u32 {
        let at = self.0.partition_point(|(_, known_end)| *known_end <= start);
        self.0.get(at).filter(|(known_start, _)| *known_start <= start).map_or(start, |(_, known_end)| *known_end)
    }

    /// True where everything below `total` is there.
    pub(super) fn is_whole(&self, total: u32) -> bool {
        self.0 == [(0, total)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_agree_with_a_set(pieces in proptest::collection::vec((0u32..200, 0u32..30), 1..60), asked in 0u32..240) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (start, len) in pieces {
                let before = set.len();
                set.extend(start..start + len);
                let fresh = usize::try_from(ranges.insert(start, start + len)).unwrap();
                prop_assert_eq!(fresh, set.len() - before);
                prop_assert!(ranges.0.is_sorted_by(|a, b| a.1 < b.0) && ranges.0.iter().all(|(a, b)| a < b), "{:?}", ranges);
                let all: u32 = ranges.0.iter().map(|(a, b)| b - a).sum();
                prop_assert_eq!(usize::try_from(all).unwrap(), set.len());
                prop_assert_eq!(ranges.missing_from(asked), (asked..).find(|at| !set.contains(at)).unwrap());
                prop_assert!(all == 0 || ranges.is_whole(all) == (set.last() == Some(&(all - 1))));
            }
        }
    }
}
