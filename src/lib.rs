//! Chat for people who share a wire.
//!
//! Modules in reading order.

pub mod app;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod contact_link;
pub mod control;
pub mod crypto;
pub mod editor;
pub mod exec;
pub mod id;
pub mod net;
pub mod node;
pub mod seed;
pub mod session;
pub mod shell;
pub mod store;
pub mod text;
pub mod wire;
pub mod words;
