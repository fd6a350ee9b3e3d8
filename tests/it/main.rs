//! The program and its documents from outside.

mod vectors;
