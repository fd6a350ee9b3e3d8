//! How the store lies on disk: the tables, their keys, how values are encoded, and the schema's number. What the rows mean
//! does not live here (`outbox`, `history`, `contacts`, `hot`), nor the way from an older schema (`migrate`).
//!
//! Values that may grow fields are MessagePack maps (protocol, ENCODINGS); a reader skips fields that it does
//! not know. Keys are small: a conversation has a local number, given at its first row.

use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    cells::{Cells, Sealer},
    hot::Key,
    migrate::{STEPS, newest},
    reader::Damaged,
};

/// What this version writes.
pub(super) const SCHEMA: u32 = newest(STEPS);

/// Single values: `application`, `schema`, `secret`, `name`, `boot`; `lines` and `removed` where lines were removed: the
/// number of the next one then, and how many; and `vault`, the wrapped key, which with the first
/// two is never sealed.
pub(super) const META: Cells<&'static str, &'static [u8]> = Cells::new("meta");
/// PeerId to `row::Contact`.
pub(super) const CONTACTS: Cells<&'static [u8; 32], &'static [u8]> = Cells::naming("contacts", 0, 32);
/// ConversationId to the conversation's number, from 1.
pub(super) const CONVERSATIONS: Cells<&'static [u8; 32], u32> = Cells::naming("conversations", 0, 32);
/// The same backwards: number to ConversationId and PeerId.
pub(super) const NUMBERS: Cells<u32, (&'static [u8; 32], &'static [u8; 32])> = Cells::new("numbers");
/// PeerId to the number of the conversation of two.
pub(super) const PEERS: Cells<&'static [u8; 32], u32> = Cells::naming("peers", 0, 32);
/// What most commits change; the keys are made in `hot`.
pub(super) const HOT: Cells<Key<'static>, &'static [u8]> = Cells::naming("hot", 20, 36);
/// Number and seq to what waits for its receipt. The text stands once, in the history.
pub(super) const OUTBOX: Cells<(u32, u64), &'static [u8]> = Cells::new("outbox");
/// Number and line to a message. Lines count through all conversations in order of commit, from 1.
pub(super) const HISTORY: Cells<(u32, u64), &'static [u8]> = Cells::new("history");
/// Number and line of a message of ours to what became of it, where that is more than `Queued`: so
/// that a receipt writes some bytes and not the text again.
pub(super) const MARKS: Cells<(u32, u64), &'static [u8]> = Cells::new("marks");
/// MessageId and number ([`OWN`] for ours) to number, line and seq; of the newest messages [`HOT`] has it.
pub(super) const IDS: Cells<(&'static [u8; 16], u32), (u32, u64, u64)> = Cells::naming("ids", 0, 16);
/// Number, incarnation and seq of a peer's direction to the MessageId that came first; of the newest messages [`HOT`] has it.
pub(super) const RECEIVED: Cells<(u32, u64, u64), &'static [u8; 16]> = Cells::new("received");
/// Number, incarnation, seq and MessageId to what waits for what is missing before it.
pub(super) const HELD: Cells<(u32, u64, u64, &'static [u8; 16]), &'static [u8]> = Cells::naming("held", 20, 36);

/// Segment and block to words of the history and where they stand; the keys are made in `index`. Made from the rest, and made
/// anew where it is missing: also in profiles of older versions.
pub(super) const WORDS: Cells<(u32, u64), &'static [u8]> = Cells::new("index");

/// In place of a number in [`IDS`]: the message is ours.
pub(super) const OWN: u32 = u32::MAX;

/// Written under `application` in [`META`]: whose file this is.
const APPLICATION: &[u8] = b"p2pchat-udp profile";

/// Added to the schema of a file whose values are sealed: versions that know of no password take it for a newer one.
const SEALED: u32 = 1 << 16;
/// Where in [`META`] the wrapped key stands.
const VAULT: &str = "vault";
/// What is never sealed in [`META`].
pub(super) const OPEN: [&str; 3] = ["application", "schema", VAULT];

/// Encodes a value as a MessagePack map.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("the rows hold nothing that MessagePack cannot, and a Vec takes all")
}

/// Decodes a value; the error names the row.
pub(super) fn decode<'a, T: Deserialize<'a>>(
    table: &'static str,
    key: impl FnOnce() -> String,
    value: &'a [u8],
) -> Result<T, Damaged> {
    rmp_serde::from_slice(value).map_err(|error| Damaged { table, key: key(), why: error.to_string() })
}

/// Makes all tables, and marks the file as ours, within `transaction`. `sealed`: with what, and the wrapped key.
pub(super) fn lay_out(
    transaction: &WriteTransaction,
    schema: u32,
    sealed: Option<(Sealer<'_>, &[u8])>,
) -> Result<(), redb::Error> {
    let sealer = sealed.map(|(sealer, _)| sealer);
    CONTACTS.open(transaction, sealer).make()?;
    CONVERSATIONS.open(transaction, sealer).make()?;
    NUMBERS.open(transaction, sealer).make()?;
    PEERS.open(transaction, sealer).make()?;
    HOT.open(transaction, sealer).make()?;
    OUTBOX.open(transaction, sealer).make()?;
    HISTORY.open(transaction, sealer).make()?;
    MARKS.open(transaction, sealer).make()?;
    IDS.open(transaction, sealer).make()?;
    RECEIVED.open(transaction, sealer).make()?;
    HELD.open(transaction, sealer).make()?;
    let mut meta = transaction.open_table(META.plain())?;
    meta.insert("application", APPLICATION)?;
    let mark = if sealed.is_some() { SEALED } else { 0 };
    meta.insert("schema", (schema | mark).to_le_bytes().as_slice())?;
    if let Some((_, wrapped)) = sealed {
        meta.insert(VAULT, wrapped)?;
    }
    Ok(())
}

/// The wrapped key of a file whose values are sealed.
pub(super) fn wrapped_key(transaction: &ReadTransaction) -> Result<Option<Vec<u8>>, StoreError> {
    if marked_schema(transaction)? & SEALED == 0 {
        return Ok(None);
    }
    let meta = transaction.open_table(META.plain()).map_err(StoreError::from_redb)?;
    let wrapped = meta.get(VAULT).map_err(StoreError::from_redb)?;
    wrapped.map(|value| Some(value.value().to_vec())).ok_or_else(|| StoreError::Corrupt("its wrapped key is missing".to_owned()))
}

/// Puts another wrapped key in the place of the one there.
pub(super) fn put_wrapped_key(transaction: &WriteTransaction, wrapped: &[u8]) -> Result<(), redb::Error> {
    transaction.open_table(META.plain())?.insert(VAULT, wrapped)?;
    Ok(())
}

/// The file's schema. Errors with [`StoreError::NotOurs`] where it is no profile.
pub(super) fn schema_of(database: &impl ReadableDatabase) -> Result<u32, StoreError> {
    let transaction = database.begin_read().map_err(StoreError::from_redb)?;
    marked_schema(&transaction).map(|schema| schema & !SEALED)
}

pub(super) fn marked_schema(transaction: &ReadTransaction) -> Result<u32, StoreError> {
    let meta = match transaction.open_table(META.plain()) {
        Ok(meta) => meta,
        Err(redb::TableError::Storage(error)) => return Err(StoreError::from_redb(error)),
        Err(_) => return Err(StoreError::NotOurs),
    };
    if meta.get("application").map_err(StoreError::from_redb)?.is_none_or(|value| value.value() != APPLICATION) {
        return Err(StoreError::NotOurs);
    }
    let schema = meta.get("schema").map_err(StoreError::from_redb)?;
    schema
        .and_then(|value| Some(u32::from_le_bytes(value.value().try_into().ok()?)))
        .ok_or_else(|| StoreError::Corrupt("its schema cannot be read".to_owned()))
}

/// Notes that the file has this schema now; `marked` says what its old number said of a password.
pub(super) fn put_schema(transaction: &WriteTransaction, schema: u32, marked: u32) -> Result<(), redb::Error> {
    transaction.open_table(META.plain())?.insert("schema", (schema | marked & SEALED).to_le_bytes().as_slice())?;
    Ok(())
}
