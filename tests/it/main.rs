//! The program and its documents from outside.

mod chat;
mod manual;
mod owner;
mod person;
mod profile;
mod usage;
mod vectors;
