//! Chat for people who share a wire.
//!
//! Modules in reading order.

pub mod clock;
pub mod id;
pub mod node;
pub mod store;
pub mod wire;
