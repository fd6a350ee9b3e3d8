//! The readline shell.

pub mod parse;
