//! Keys and what is done with them. No address is known here.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

pub mod chance;
pub mod cookie;
pub mod handshake;
pub mod identity;
pub mod keys;
pub mod knock;
pub mod record;
pub mod replay;
mod resolver;
mod rotating;
pub mod vault;
