//! Looking at the store: snapshots of what is committed, in pages. Nothing here writes.

use std::collections::BTreeMap;

use super::row::{Contact, ConversationRow, HistoryRow, OutboxRow};
use crate::{
    clock::Unix,
    id::{BootId, ConversationId, Incarnation, MessageId, PeerId, Seq},
};

/// Rows in one answer at most, whatever was asked for.
pub const ROWS_MAX: usize = 256;

/// Why nothing could be read. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store reopens itself after an error of the disk, or is closed: ask again later.
    #[error("the store is closed at this moment")]
    Closed,
    /// The disk did not give it.
    #[error("the store cannot be read: {0}")]
    Io(String),
    /// Damage beyond single rows.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// This one row is damaged; the others can be read.
    #[error("{0}")]
    Row(Damaged),
}

/// A row whose value makes no sense any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the row {key} of {table} is damaged: {why}")]
pub struct Damaged {
    /// Which table.
    pub table: &'static str,
    /// Which row: its key, in words.
    pub key: String,
    /// What the decoder said.
    pub why: String,
}

/// Rows, and what could not be read among them. An empty `rows` is the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// What could be read, in order.
    pub rows: Vec<T>,
    /// What could not; skipped, at most [`ROWS_MAX`] of them are named.
    pub damaged: Vec<Damaged>,
}

/// What a node starts with.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The identity's secret key.
    pub secret: [u8; 32],
    /// What we call ourselves.
    pub name: String,
    /// The last run's boot id.
    pub boot: BootId,
    /// All contacts, by id.
    pub contacts: Vec<Contact>,
    /// All conversations whose counters were ever written, by id.
    pub conversations: Vec<ConversationRow>,
    /// How many messages wait for their receipt.
    pub outbox_len: u64,
    /// The same per conversation, with the lowest seq.
    pub outbox_counts: BTreeMap<ConversationId, (Seq, u64)>,
    /// Contacts and conversations that are left out because they are damaged.
    pub damaged: Vec<Damaged>,
}

/// Which lines of the history. Rows come oldest first; of more than `limit`, the newest ones, unless
/// `after` is given: then the oldest ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only with this peer.
    pub peer: Option<PeerId>,
    /// Only what came, or was queued, at this time or later.
    pub since: Option<Unix>,
    /// Only lines with a smaller number.
    pub before: Option<u64>,
    /// Only lines with a greater number.
    pub after: Option<u64>,
    /// Only lines with all of these: a word, the beginning of a word and `*`, or a phrase of several
    /// words. Case and accents make no difference.
    pub words: Vec<String>,
    /// Lines at most; [`ROWS_MAX`] where more are asked for.
    pub limit: usize,
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self { peer: None, since: None, before: None, after: None, words: Vec::new(), limit: ROWS_MAX }
    }
}

/// Snapshots of what is committed. Each call sees one state, whole; a later call a later one.
#[derive(Debug, Clone)]
pub struct Reader {}

impl Reader {
    /// Everything that a node keeps in memory.
    pub fn load(&self) -> Result<Loaded, ReadError> {
        Err(ReadError::Closed)
    }

    /// The outbox of a conversation from `from` on, by seq: at most `rows_max` rows, and no further row
    /// once their texts have `bytes_max` bytes (the first always comes).
    pub fn outbox(
        &self,
        conversation: ConversationId,
        from: Seq,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Rows<OutboxRow>, ReadError> {
        let _ = (conversation, from, rows_max, bytes_max);
        Err(ReadError::Closed)
    }

    /// The outbox row of a message.
    pub fn outbox_by_id(&self, id: MessageId) -> Result<Option<OutboxRow>, ReadError> {
        let _ = id;
        Err(ReadError::Closed)
    }

    /// The whole outbox in pages: what follows `after`, conversation by conversation.
    pub fn outbox_page(&self, after: Option<(ConversationId, Seq)>, max: usize) -> Result<Rows<OutboxRow>, ReadError> {
        let _ = (after, max);
        Err(ReadError::Closed)
    }

    /// The id that came first under this place of a peer's direction, held ones and holes included.
    pub fn received_id(
        &self,
        conversation: ConversationId,
        incarnation: Incarnation,
        seq: Seq,
    ) -> Result<Option<MessageId>, ReadError> {
        let _ = (conversation, incarnation, seq);
        Err(ReadError::Closed)
    }

    /// What is held at this place: one row, or several where a cloned profile used it twice.
    pub fn held(&self, conversation: ConversationId, incarnation: Incarnation, seq: Seq) -> Result<Rows<HistoryRow>, ReadError> {
        let _ = (conversation, incarnation, seq);
        Err(ReadError::Closed)
    }

    /// A message of ours.
    pub fn own_by_id(&self, id: MessageId) -> Result<Option<HistoryRow>, ReadError> {
        let _ = id;
        Err(ReadError::Closed)
    }

    /// A message of the conversation with `peer`: the peer's own, else ours to it.
    pub fn history_by_id(&self, peer: PeerId, id: MessageId) -> Result<Option<HistoryRow>, ReadError> {
        let _ = (peer, id);
        Err(ReadError::Closed)
    }

    /// Lines of the history with their numbers, which grow in order of commit.
    pub fn history(&self, query: &HistoryQuery) -> Result<Rows<(u64, HistoryRow)>, ReadError> {
        let _ = query;
        Err(ReadError::Closed)
    }

    /// How many messages of each peer are unread; peers without any are left out.
    pub fn unread(&self) -> Result<BTreeMap<PeerId, u64>, ReadError> {
        Err(ReadError::Closed)
    }
}
