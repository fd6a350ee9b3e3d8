//! The readline shell.
