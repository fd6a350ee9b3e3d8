//! The program and its documents from outside.

mod across;
mod archive;
mod backup;
mod bots;
mod chat;
#[cfg(feature = "redis")]
mod cluster;
mod contacts;
mod corpus;
mod editing;
mod hostile;
mod log;
mod manual;
mod network;
mod output;
mod owner;
mod pane;
mod password;
mod person;
mod phonebook;
mod presence;
mod profile;
mod readme;
mod receipts;
mod recorded;
mod requests;
mod retention;
mod schema;
mod searching;
mod seed;
mod seeds;
mod served;
mod shell;
mod unread;
mod usage;
mod vectors;
