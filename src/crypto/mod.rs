//! Keys and what is done with them. No address is known here.

pub mod handshake;
pub mod identity;
pub mod keys;
pub mod replay;
