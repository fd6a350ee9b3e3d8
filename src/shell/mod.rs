//! The readline shell.

pub mod chat;
pub mod parse;
pub mod render;
