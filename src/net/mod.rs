//! The only place that touches sockets, clocks and threads.

pub mod alarm;
pub mod clock;
pub mod committer;
pub mod counters;
pub mod dns;
pub mod doorbell;
pub mod driver;
pub mod echo;
pub mod handle;
pub mod interfaces;
pub mod multicast;
pub mod portmap;
#[cfg(feature = "redis")]
pub mod redis;
pub mod resolver;
pub mod seed;
pub mod socket;
