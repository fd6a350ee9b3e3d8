//! The one protocol of every front door: JSON lines over the unix socket of an owner, or over a pipe in
//! memory to the server in the own process. What a person sees of them does not live here (`shell`,
//! `commands`), nor what they mean to a peer (`node`).

mod answer;
mod archive;
pub mod call;
pub mod client;
mod config;
mod contacts;
pub mod doctor;
mod follow;
pub mod keyboard;
mod phonebook;
mod ping;
pub mod proto;
mod requests;
pub mod server;
mod span;
mod stored;
mod unread;

pub use self::{config::follow_settings, stored::newest_received};

/// Bytes of one line at most, its newline included; a longer one ends the connection.
pub const LINE_LEN_MAX: usize = 8 * 1024 * 1024;
/// Version of this protocol, as `ready` says it.
pub const CONTROL_VERSION: u32 = 1;
/// Events that wait for a subscriber at most; then it is dropped with a last `too-slow`.
pub const SUBSCRIBER_EVENTS_MAX: usize = 1_024;
