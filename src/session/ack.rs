//! The receiving side of acks: which packets arrived, and when the peer is told. What an ack does at
//! the side that gets it lives in `recovery`.

use std::time::Duration;

use crate::{
    clock::Instant,
    id::PacketNumber,
    wire::{ACK_RANGES_MAX, frame::Ack},
};

/// Ack-eliciting packets that may wait for one ack.
const PACKETS_PER_ACK_MAX: u32 = 16;

/// What arrived and what of it was not acked yet.
#[derive(Debug)]
pub(super) struct Acks {
    /// Descending; at most [`ACK_RANGES_MAX`], the oldest are forgotten: they were reported before.
    ranges: Vec<(PacketNumber, PacketNumber)>,
    largest_at: Instant,
    /// Ack-eliciting packets since the last ack left.
    waiting: u32,
    due: bool,
}

impl Acks {
    pub(super) fn new(now: Instant) -> Self {
        Self { ranges: Vec::new(), largest_at: now, waiting: 0, due: false }
    }

    /// Notes an opened packet. `at_once`: the sender asked for its ack, or it held a Ping. True where
    /// an ack waits that did not wait before.
    pub(super) fn on_packet(&mut self, now: Instant, number: PacketNumber, ack_eliciting: bool, at_once: bool) -> bool {
        // RFC 9000 §13.2.1: at once where a packet is out of order, which covers a filled gap too.
        let in_order = self.ranges.first().is_none_or(|(_, last)| last.next() == number);
        if self.ranges.first().is_none_or(|(_, last)| *last < number) {
            self.largest_at = now;
        }
        self.insert(number);
        if !ack_eliciting {
            return false;
        }
        self.waiting = self.waiting.saturating_add(1);
        self.due |= at_once || !in_order || self.waiting >= PACKETS_PER_ACK_MAX;
        self.waiting == 1
    }

    fn insert(&mut self, number: PacketNumber) {
        let at = self.ranges.iter().position(|(first, _)| *first <= number).unwrap_or(self.ranges.len());
        if self.ranges.get(at).is_some_and(|(_, last)| *last >= number) {
            return;
        }
        let joins_older = self.ranges.get(at).is_some_and(|(_, last)| last.next() == number);
        let newer = at.checked_sub(1).and_then(|newer| self.ranges.get_mut(newer));
        let joined_newer = newer.filter(|newer| newer.0 == number.next());
        match (joined_newer, joins_older) {
            (Some(newer), false) => newer.0 = number,
            (Some(_), true) => {
                let (older_first, _) = self.ranges.remove(at);
                at.checked_sub(1)
                    .and_then(|newer| self.ranges.get_mut(newer))
                    .into_iter()
                    .for_each(|newer| newer.0 = older_first);
            }
            (None, true) => self.ranges.get_mut(at).into_iter().for_each(|older| older.1 = number),
            (None, false) => {
                self.ranges.insert(at, (number, number));
                self.ranges.truncate(ACK_RANGES_MAX);
            }
        }
    }

    /// True where an ack-eliciting packet was not acked yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// True where the ack must leave now, alone if need be.
    pub(super) fn is_due(&self) -> bool {
        self.due && self.waiting > 0
    }

    /// The ack has waited for company long enough.
    pub(super) fn on_delay(&mut self) {
        self.due = true;
    }

    /// Takes the ack frame's content; give the ranges back with [`sent`](Self::sent). `None` where
    /// nothing has arrived.
    pub(super) fn take(&mut self, now: Instant) -> Option<Ack> {
        if self.ranges.is_empty() {
            return None;
        }
        let delay: Duration = now.since(self.largest_at);
        Some(Ack { delay_us: u32::try_from(delay.as_micros()).unwrap_or(u32::MAX), ranges: std::mem::take(&mut self.ranges) })
    }

    /// Takes the ranges back. `left`: the ack is in a packet that leaves.
    pub(super) fn put_back(&mut self, ack: Ack, left: bool) {
        self.ranges = ack.ranges;
        if left {
            self.waiting = 0;
            self.due = false;
        }
    }

    /// The largest number that an ack would name.
    pub(super) fn largest(&self) -> Option<PacketNumber> {
        self.ranges.first().map(|(_, last)| *last)
    }

    /// The peer has seen an ack that named `largest`: what is older need not be said again (RFC 9000
    /// §13.2.4).
    pub(super) fn on_ack_acked(&mut self, largest: PacketNumber) {
        let newest = self.largest();
        self.ranges.retain(|(_, last)| *last > largest || Some(*last) == newest);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn acks() -> Acks {
        Acks::new(Instant::default())
    }

    fn ranges(acks: &Acks) -> Vec<(u64, u64)> {
        acks.ranges.iter().map(|(first, last)| (first.0, last.0)).collect()
    }

    proptest! {
        #[test]
        fn ranges_are_the_newest_runs_of_the_set(numbers in proptest::collection::vec(0u64..60, 1..200)) {
            let (mut acks, mut set) = (acks(), BTreeSet::new());
            for number in numbers {
                acks.on_packet(Instant::default(), PacketNumber(number), true, false);
                set.insert(number);
                let mut runs: Vec<(u64, u64)> = Vec::new();
                for &number in set.iter().rev() {
                    match runs.last_mut() {
                        Some(run) if run.0 == number + 1 => run.0 = number,
                        _ => runs.push((number, number)),
                    }
                }
                prop_assert_eq!(ranges(&acks), runs);
            }
        }
    }

    #[test]
    fn no_more_ranges_than_the_wire_allows() {
        let mut acks = acks();
        (0..1_000).for_each(|n| _ = acks.on_packet(Instant::default(), PacketNumber(2 * n), true, false));
        assert_eq!(acks.ranges.len(), ACK_RANGES_MAX);
        assert_eq!(acks.largest(), Some(PacketNumber(1_998)));
    }

    #[test]
    fn an_ack_waits_for_sixteen_packets_in_order_and_for_nothing_else() {
        let mut acks = acks();
        for n in 0..15 {
            assert_eq!(acks.on_packet(Instant::default(), PacketNumber(n), true, false), n == 0);
            assert!(!acks.is_due());
        }
        acks.on_packet(Instant::default(), PacketNumber(15), true, false);
        assert!(acks.is_due());
        let ack = acks.take(Instant::default()).unwrap();
        acks.put_back(ack, true);
        assert!(!acks.is_waiting());

        acks.on_packet(Instant::default(), PacketNumber(17), true, false);
        assert!(acks.is_due(), "a gap");
        let ack = acks.take(Instant::default()).unwrap();
        acks.put_back(ack, true);
        acks.on_packet(Instant::default(), PacketNumber(16), true, false);
        assert!(acks.is_due(), "a filled gap");
        assert_eq!(ranges(&acks), [(0, 17)]);
        let ack = acks.take(Instant::default()).unwrap();
        acks.put_back(ack, true);
        acks.on_packet(Instant::default(), PacketNumber(18), false, true);
        assert!(!acks.is_waiting(), "an ack is not acked");
        acks.on_packet(Instant::default(), PacketNumber(19), true, true);
        assert!(acks.is_due(), "asked for");
    }

    #[test]
    fn what_the_peer_knows_is_not_said_again() {
        let mut acks = acks();
        (0..4).for_each(|n| _ = acks.on_packet(Instant::default(), PacketNumber(2 * n + 1), true, false));
        acks.on_ack_acked(PacketNumber(5));
        assert_eq!(ranges(&acks), [(7, 7)]);
        acks.on_ack_acked(PacketNumber(7));
        assert_eq!(ranges(&acks), [(7, 7)], "the newest stays: an ack needs a range");
    }
}
