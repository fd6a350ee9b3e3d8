//! What is looked at in each workload, and how good ours should be: a ratio to somebody in the same run, or a figure by
//! itself where the link decides. `must` is what a change may not lose, `stretch` what would be fine.

use crate::{
    plan::{Peer, Workload},
    schedule::Results,
};

/// One figure of a workload.
pub(crate) struct Measure {
    pub(crate) workload: Workload,
    /// Its name in a run's output.
    pub(crate) figure: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    /// From what is printed by a run to `unit`.
    pub(crate) scale: f64,
    pub(crate) goals: &'static [Goal],
}

/// One thing that ours should be.
pub(crate) struct Goal {
    /// Whose figure ours is divided by; `None`: ours itself is looked at.
    pub(crate) against: Option<Peer>,
    pub(crate) must: Option<Bound>,
    pub(crate) stretch: Option<Bound>,
}

/// Which way is good, and how far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    /// True where it is kept.
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl Goal {
    /// What is compared with the bounds, where it was measured.
    pub(crate) fn value(&self, measure: &Measure, results: &Results) -> Option<f64> {
        let ours = results.spread(measure, Peer::Ours)?.median;
        match self.against {
            None => Some(ours),
            Some(peer) => Some(ours / results.spread(measure, peer)?.median),
        }
    }
}

const fn at_most(against: Option<Peer>, must: f64, stretch: f64) -> Goal {
    Goal { against, must: Some(Bound::AtMost(must)), stretch: Some(Bound::AtMost(stretch)) }
}

const fn at_least(against: Peer, must: f64) -> Goal {
    Goal { against: Some(against), must: Some(Bound::AtLeast(must)), stretch: None }
}

/// All, in the order of the rows.
pub(crate) const MEASURES: &[Measure] = &[
    Measure {
        workload: Workload::P1,
        figure: "p50",
        title: "median",
        unit: "µs",
        scale: 1e6,
        goals: &[at_most(Some(Peer::Quinn), 0.85, 0.75), at_most(Some(Peer::Raw), 1.45, 1.30)],
    },
    Measure {
        workload: Workload::P2,
        figure: "cpu_per_message",
        title: "CPU of both sides per million",
        unit: "s",
        scale: 1e6,
        goals: &[at_most(Some(Peer::Quinn), 0.65, 0.50), at_most(Some(Peer::Enet), 1.10, 0.85)],
    },
    Measure {
        workload: Workload::P3,
        figure: "cpu_per_byte",
        title: "CPU of both sides per GB",
        unit: "s",
        scale: 1e9,
        goals: &[at_most(Some(Peer::QuinnStream), 1.25, 1.0)],
    },
    Measure {
        workload: Workload::P4,
        figure: "p50",
        title: "delivery, median",
        unit: "ms",
        scale: 1e3,
        goals: &[Goal { against: None, must: Some(Bound::AtMost(26.0)), stretch: None }],
    },
    Measure {
        workload: Workload::P4,
        figure: "p99",
        title: "delivery, 99 of 100",
        unit: "ms",
        scale: 1e3,
        goals: &[at_most(None, 85.0, 32.0)],
    },
    Measure {
        workload: Workload::P5,
        figure: "p50",
        title: "delivery, median",
        unit: "ms",
        scale: 1e3,
        goals: &[Goal { against: None, must: Some(Bound::AtMost(28.0)), stretch: None }],
    },
    Measure {
        workload: Workload::P5,
        figure: "p99",
        title: "delivery, 99 of 100",
        unit: "ms",
        scale: 1e3,
        goals: &[at_most(None, 150.0, 45.0)],
    },
    Measure {
        workload: Workload::P6,
        figure: "p99",
        title: "99 of 100",
        unit: "ms",
        scale: 1e3,
        goals: &[at_most(None, 8.0, 4.5)],
    },
    Measure {
        workload: Workload::P7,
        figure: "bytes_per_second",
        title: "throughput",
        unit: "MB/s",
        scale: 1e-6,
        goals: &[
            at_least(Peer::QuinnStream, 30.0),
            at_least(Peer::QuinnBbr, 0.9),
            Goal { against: Some(Peer::Tcp), must: None, stretch: Some(Bound::AtLeast(0.6)) },
        ],
    },
    Measure {
        workload: Workload::P8,
        figure: "cpu",
        title: "CPU of both sides each",
        unit: "µs",
        scale: 1e6,
        goals: &[at_most(Some(Peer::Quinn), 1.0, 0.75)],
    },
    Measure {
        workload: Workload::P8,
        figure: "memory",
        title: "idle, memory of a side",
        unit: "KiB",
        scale: 1.0 / 1_024.0,
        goals: &[at_most(None, 8.0, 3.0)],
    },
];
