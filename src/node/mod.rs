//! The node.

pub mod command;
pub mod event;
