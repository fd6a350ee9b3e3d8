//! Whole nodes on virtual time: the real core, the real store over a disk that crashes, real keys, one
//! queue of events, no thread and no sleep. One `rng_seed`, one run. Read `world` first.
//!
//! A failure prints the command that replays it: `SIM_SEED=7 cargo test --test sim -- seeds`. With
//! `SIM_LOG=1` beside it every event is printed; `SIM_SEEDS=20000` runs more of them. `abroad` in the place of
//! `seeds` runs those with an internet.

mod abroad;
mod across;
mod bounds;
mod callers;
mod checkers;
mod copies;
mod dice;
mod disk;
mod faults;
mod heard;
mod liars;
mod nat;
mod network;
mod phonebook;
mod reads;
mod relays;
mod rivals;
mod roaming;
mod scenarios;
mod seeds;
mod service;
mod slow;
mod stranger;
mod workload;
mod world;

#[path = "../../examples/two_nodes.rs"]
mod two_nodes;

#[test]
fn the_example_runs() {
    two_nodes::main();
}
