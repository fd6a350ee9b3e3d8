//! The readline shell.

pub mod parse;
pub mod render;
