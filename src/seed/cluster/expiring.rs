//! A table of things that end by themselves. How many there may be, and what happens then, is its owner's
//! affair.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::Instant;

/// What is inserted with the same lifetime ends in the order in which it came.
pub(super) struct Expiring<K, V> {
    table: BTreeMap<K, (Instant, V)>,
    /// Also keys that are gone, or that came again with a later end.
    ends: VecDeque<(Instant, K)>,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { table: BTreeMap::new(), ends: VecDeque::new() }
    }
}

impl<K: Ord + Clone, V> Expiring<K, V> {
    /// Of those there and those taken out before their end: what a limit must count.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn insert(&mut self, until: Instant, key: K, value: V) {
        self.ends.push_back((until, key.clone()));
        self.table.insert(key, (until, value));
    }

    pub(super) fn at(&self, now: Instant, key: &K) -> Option<&V> {
        self.table.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value)
    }

    pub(super) fn at_mut(&mut self, now: Instant, key: &K) -> Option<&mut V> {
        self.table.get_mut(key).filter(|(until, _)| now < *until).map(|(_, value)| value)
    }

    /// Also of what is over and was not taken out yet.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.table.remove(key).map(|(_, value)| value);
        // Mostly what came first goes first, and then nothing of it stays.
        while self.ends.front().is_some_and(|(until, key)| self.table.get(key).is_none_or(|(end, _)| end != until)) {
            self.ends.pop_front();
        }
        removed
    }

    /// The end that comes next, or came already of something that was taken out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.ends.front().map(|(until, _)| *until)
    }

    /// Takes out the first that is over.
    pub(super) fn pop_over(&mut self, now: Instant) -> Option<(K, V)> {
        while self.next().is_some_and(|until| until <= now) {
            if let Some(over) = self.pop_first() {
                return Some(over);
            }
        }
        None
    }

    /// Takes out the first; `None` also where it was taken out before, or has come again since.
    pub(super) fn pop_first(&mut self) -> Option<(K, V)> {
        let (until, key) = self.ends.pop_front()?;
        let ends_now = self.table.get(&key).is_some_and(|(of_this, _)| *of_this == until);
        if ends_now { self.table.remove(&key).map(|(_, value)| (key, value)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn second(second: u64) -> Instant {
        Instant::from_start(Duration::from_secs(second))
    }

    #[test]
    fn what_came_again_ends_later_and_what_was_taken_out_never() {
        let mut table = Expiring::default();
        table.insert(second(1), 'a', 1);
        table.insert(second(1), 'b', 2);
        assert_eq!(table.remove(&'b'), Some(2));
        table.insert(second(2), 'a', 3);
        assert_eq!((table.len(), table.next()), (3, Some(second(1))));
        assert_eq!(table.pop_over(second(1)), None);
        assert_eq!((table.at(second(1), &'a'), table.at(second(2), &'a')), (Some(&3), None), "over is gone");
        assert_eq!(table.pop_over(second(2)), Some(('a', 3)));
        assert_eq!((table.len(), table.next()), (0, None));
    }
}
