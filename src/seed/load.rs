//! How busy one thread of a seed is, for whoever asks its status.

use super::limits::SIGNATURES_PER_SECOND;
use crate::clock::Instant;

/// Queries that a core answers in a second, roughly.
const QUERIES_PER_SECOND: u64 = 200_000;
/// All that it takes.
const FULL: u64 = 1_000;

/// What was done in this second and the one before.
#[derive(Default)]
pub(super) struct Load {
    second: u64,
    now: Done,
    before: Done,
}

#[derive(Default, Clone, Copy)]
struct Done {
    queries: u64,
    signatures: u64,
}

impl Load {
    pub(super) fn count_query(&mut self, now: Instant) {
        self.at(now).queries += 1;
    }

    pub(super) fn count_signature(&mut self, now: Instant, cost: u32) {
        self.at(now).signatures += u64::from(cost);
    }

    /// Thousandths of what this thread takes, in the second before.
    pub(super) fn thousandths(&mut self, now: Instant) -> u16 {
        self.at(now);
        let queries = self.before.queries * FULL / QUERIES_PER_SECOND;
        let signatures = self.before.signatures * FULL / u64::from(SIGNATURES_PER_SECOND);
        u16::try_from(queries.max(signatures).min(FULL)).unwrap_or(u16::MAX)
    }

    fn at(&mut self, now: Instant) -> &mut Done {
        let second = now.since_start().as_secs();
        if second != self.second {
            self.before = if second == self.second + 1 { self.now } else { Done::default() };
            (self.second, self.now) = (second, Done::default());
        }
        &mut self.now
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn load_is_that_of_the_second_before() {
        let at = |ms| Instant::from_start(Duration::from_millis(ms));
        let mut load = Load::default();
        (0..QUERIES_PER_SECOND / 4).for_each(|_| load.count_query(at(5_000)));
        assert_eq!(load.thousandths(at(5_999)), 0);
        assert_eq!(load.thousandths(at(6_500)), 250);
        (0..SIGNATURES_PER_SECOND * 2).for_each(|_| load.count_signature(at(6_500), 1));
        assert_eq!(load.thousandths(at(7_000)), 1_000, "full is full");
        assert_eq!(load.thousandths(at(9_000)), 0);
    }
}
