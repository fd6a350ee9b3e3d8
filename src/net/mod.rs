//! The only place that touches sockets, clocks and threads.

pub mod committer;
pub mod driver;
pub mod interfaces;
pub mod socket;
