//! The store: outbox, history, contacts, identity, in one redb file.

pub mod row;
