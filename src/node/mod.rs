//! The node.

pub mod command;
pub mod discovery;
pub mod event;
pub mod interface;
