//! What can go wrong in a world: the kinds of faults with their "sometimes" counters, and the seeded
//! schedule of those that strike at a time. What they do to datagrams lives in `network`, to disks in
//! `backend`, to nodes in `world`.

use std::{collections::BTreeMap, time::Duration};

use crate::dice::Dice;

/// Every fault of the programme. Each must have fired somewhere in a run of the CI seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Loss,
    BurstLoss,
    Duplicate,
    Reorder,
    Replay,
    Corrupt,
    Truncate,
    SmallMtu,
    MulticastOff,
    OneWayPartition,
    TwoWayPartition,
    AddressChange,
    CablePull,
    ClockForward,
    ClockBack,
    Kill,
    KillInStorage,
    TornWrite,
    KillWhileOpening,
    RestoredImage,
    CopiedProfile,
    SlowCommit,
    CommitIo,
    CommitFull,
    ReadIo,
    Suspend,
    LeaveAndReturn,
    Garbage,
    InternetDown,
    RouterReboot,
    RouterRenumbered,
    StationRestart,
}

/// Those of machines on segments.
pub(crate) const ALL: [Fault; 28] = [
    Fault::Loss,
    Fault::BurstLoss,
    Fault::Duplicate,
    Fault::Reorder,
    Fault::Replay,
    Fault::Corrupt,
    Fault::Truncate,
    Fault::SmallMtu,
    Fault::MulticastOff,
    Fault::OneWayPartition,
    Fault::TwoWayPartition,
    Fault::AddressChange,
    Fault::CablePull,
    Fault::ClockForward,
    Fault::ClockBack,
    Fault::Kill,
    Fault::KillInStorage,
    Fault::TornWrite,
    Fault::KillWhileOpening,
    Fault::RestoredImage,
    Fault::CopiedProfile,
    Fault::SlowCommit,
    Fault::CommitIo,
    Fault::CommitFull,
    Fault::ReadIo,
    Fault::Suspend,
    Fault::LeaveAndReturn,
    Fault::Garbage,
];

/// Those that only a world with an internet knows.
pub(crate) const ACROSS: [Fault; 4] = [Fault::InternetDown, Fault::RouterReboot, Fault::RouterRenumbered, Fault::StationRestart];

/// How often each fault really struck (a lost datagram, a torn write), not how often it was planned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fired(BTreeMap<Fault, u64>);

impl Fired {
    /// It struck once more.
    pub(crate) fn strike(&mut self, fault: Fault) {
        self.add(fault, 1);
    }

    /// It struck so often.
    pub(crate) fn add(&mut self, fault: Fault, times: u64) {
        *self.0.entry(fault).or_default() += times;
    }

    /// How often.
    pub(crate) fn count(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Adds another world's counters.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(fault, times)| self.add(*fault, *times));
    }

    /// Those of these that never struck.
    pub(crate) fn missing(&self, faults: &[Fault]) -> Vec<Fault> {
        faults.iter().copied().filter(|fault| self.count(*fault) == 0).collect()
    }
}

/// A fault that strikes a node, or a pair, at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// What `a` sends no longer reaches `b`; with `both`, nor the other way. Heals after the time.
    Partition { a: usize, b: usize, both: bool, heal: Duration },
    /// The interface gets other addresses.
    AddressChange { node: usize },
    /// The interface goes, and comes back after the time.
    CablePull { node: usize, back: Duration },
    /// The wall clock jumps by so many milliseconds.
    ClockJump { node: usize, ms: i64 },
    /// kill -9 now; restart after the time.
    Kill { node: usize, back: Duration },
    /// kill -9 at the n-th storage operation from now; restart after the time.
    KillInStorage { node: usize, operations: u64, back: Duration },
    /// kill -9 now, and again at the n-th storage operation of the first restart.
    KillWhileOpening { node: usize, operations: u64, back: Duration },
    /// A copy of the profile is laid aside now; after the time the node is killed and goes on from the copy.
    Restore { node: usize, after: Duration },
    /// A second machine runs on a copy of the profile for the time.
    Copy { node: usize, life: Duration },
    /// The next commits fail.
    CommitErrors { node: usize, full: bool, commits: u64 },
    /// From the n-th read on no read succeeds, for the time; with `reopen`, a commit fails first, so that
    /// the store must read the file again.
    ReadErrors { node: usize, reads: u64, reopen: bool, heal: Duration },
    /// The machine sleeps for the time.
    Suspend { node: usize, wake: Duration },
    /// The program ends in good order and is started again after the time.
    Leave { node: usize, back: Duration },
    /// Datagrams of noise to every port of the node.
    Garbage { node: usize, datagrams: u64 },
    /// Nothing passes between public addresses, for the time; segments go on.
    InternetDown { heal: Duration },
    /// A router starts anew and knows no mapping.
    RouterReboot { router: usize },
    /// A router gets another public address.
    RouterRenumbered { router: usize },
    /// A station's service is killed, and starts with nothing after the time.
    StationRestart { host: usize, back: Duration },
}

/// What strikes when: seeded, sorted by time. Each world draws few kinds, so that faults meet in ever
/// other pairs ("swarm testing").
pub(crate) fn schedule(dice: &mut Dice, nodes: usize, window: Duration) -> Vec<(Duration, Strike)> {
    const KINDS: u64 = 13;
    let kinds: Vec<u64> = (0..dice.range(1..=4)).map(|_| dice.below(KINDS)).collect();
    let mut copied = false;
    let mut strikes = Vec::new();
    for _ in 0..dice.range(1..=7) {
        let at = dice.between(Duration::ZERO, window);
        let kind = kinds[dice.index(kinds.len())];
        if kind == 8 {
            // A second copy of a copy says nothing new, and the checkers follow one.
            if copied {
                continue;
            }
            copied = true;
        }
        strikes.push((at, strike(dice, kind, nodes)));
    }
    strikes.sort_by_key(|(at, _)| *at);
    strikes
}

/// When disks cannot be read: on a stream of dice of its own, so that the worlds of the other faults stay as
/// they were.
pub(crate) fn reads(dice: &mut Dice, nodes: usize, window: Duration) -> Vec<(Duration, Strike)> {
    let strikes = if dice.chance(250) { dice.range(1..=4) } else { 0 };
    let mut draw = || {
        let at = dice.between(Duration::ZERO, window);
        let heal = dice.between(Duration::from_millis(50), Duration::from_secs(20));
        let reads = if dice.chance(500) { 0 } else { dice.range(1..=60) };
        (at, Strike::ReadErrors { node: dice.index(nodes), reads, reopen: dice.chance(700), heal })
    };
    (0..strikes).map(|_| draw()).collect()
}

/// When something befalls the internet: its routers, its stations, all of it.
pub(crate) fn across(dice: &mut Dice, routers: usize, stations: &[usize], window: Duration) -> Vec<(Duration, Strike)> {
    let strikes = dice.range(0..=5);
    let mut draw = || {
        let at = dice.between(Duration::ZERO, window);
        let some = dice.between(Duration::from_millis(50), Duration::from_secs(20));
        let strike = match dice.below(4) {
            0 => Strike::InternetDown { heal: some },
            1 => Strike::RouterReboot { router: dice.index(routers) },
            2 => Strike::RouterRenumbered { router: dice.index(routers) },
            _ => Strike::StationRestart { host: stations[dice.index(stations.len())], back: some },
        };
        (at, strike)
    };
    (0..strikes).map(|_| draw()).collect()
}

fn strike(dice: &mut Dice, kind: u64, nodes: usize) -> Strike {
    let node = dice.index(nodes);
    let some = dice.between(Duration::from_millis(50), Duration::from_secs(20));
    match kind {
        0 => {
            let b = (node + 1 + dice.index(nodes - 1)) % nodes;
            Strike::Partition { a: node, b, both: dice.chance(500), heal: some }
        }
        1 => Strike::AddressChange { node },
        2 => Strike::CablePull { node, back: some },
        3 => {
            let ms = dice.range(1..=3_600_000) as i64;
            Strike::ClockJump { node, ms: if dice.chance(500) { ms } else { -ms } }
        }
        4 => Strike::Kill { node, back: some },
        5 => Strike::KillInStorage { node, operations: dice.range(1..=120), back: some },
        6 => Strike::KillWhileOpening { node, operations: dice.range(1..=60), back: some },
        7 => Strike::Restore { node, after: some },
        8 => Strike::Copy { node, life: some },
        9 => Strike::CommitErrors { node, full: dice.chance(500), commits: dice.range(1..=2) },
        10 => Strike::Suspend { node, wake: some },
        11 => Strike::Leave { node, back: some },
        _ => Strike::Garbage { node, datagrams: dice.range(1..=60) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once() {
        let mut sorted = [&ALL[..], &ACROSS].concat();
        let listed = sorted.len();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), listed);
        assert_eq!(Fault::StationRestart as usize + 1, listed, "a new fault belongs into ALL or ACROSS");
    }

    #[test]
    fn what_never_struck_is_named() {
        let mut fired = Fired::default();
        ALL.into_iter().filter(|fault| *fault != Fault::Suspend).for_each(|fault| fired.strike(fault));
        assert_eq!(fired.missing(&ALL), [Fault::Suspend]);
        let mut other = Fired::default();
        other.add(Fault::Suspend, 3);
        fired.merge(&other);
        assert_eq!(fired.missing(&ALL), []);
        assert_eq!(fired.count(Fault::Suspend), 3);
    }

    #[test]
    fn schedules_repeat_and_stay_in_their_window() {
        let window = Duration::from_secs(30);
        let drawn = |seed| schedule(&mut Dice::new(seed, "faults"), 3, window);
        assert_eq!(drawn(7), drawn(7));
        for seed in 0..200 {
            let strikes = drawn(seed);
            assert!(strikes.iter().all(|(at, _)| *at <= window), "{strikes:?}");
            assert!(strikes.is_sorted_by_key(|(at, _)| *at));
            assert!(strikes.iter().filter(|(_, strike)| matches!(strike, Strike::Copy { .. })).count() <= 1);
            for (_, strike) in strikes {
                if let Strike::Partition { a, b, .. } = strike {
                    assert!(a != b && a < 3 && b < 3);
                }
            }
        }
    }
}
