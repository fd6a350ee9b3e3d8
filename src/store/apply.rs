//! One batch becoming one transaction: the tables it has open, what it learns on the way, and which
//! operation is whose. What each operation does lives in `outbox`, `history` and `contacts`.

use std::collections::BTreeMap;

use redb::{ReadableTable, StorageError, Table, WriteTransaction};

use super::{
    row::{HistoryRow, Op, Place},
    tables,
};
use crate::id::{ConversationId, PeerId};

/// What is kept in memory so that operations need not ask for it; as of the last commit.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Numbers of the conversations.
    pub(super) numbers: BTreeMap<ConversationId, u32>,
    /// Line of the next message.
    pub(super) next_line: u64,
    /// Segments of the history whose index is known to be there.
    pub(super) indexed: u64,
    /// How many transactions were committed in this file's life.
    pub(super) commits: u64,
}

impl Directory {
    /// Reads it anew.
    pub(super) fn load(transaction: &redb::ReadTransaction) -> Result<Self, redb::Error> {
        let commits = transaction.open_table(tables::META)?.get("commits")?.and_then(|value| value.value().try_into().ok());
        let commits = commits.map_or(0, u64::from_le_bytes);
        let mut directory = Self { numbers: BTreeMap::new(), next_line: 1, indexed: 0, commits };
        let history = transaction.open_table(tables::HISTORY)?;
        for entry in transaction.open_table(tables::CONVERSATIONS)?.iter()? {
            let (id, number) = entry?;
            let number = number.value();
            directory.numbers.insert(ConversationId::from_bytes(*id.value()), number);
            if let Some(last) = history.range((number, 0)..=(number, u64::MAX))?.next_back() {
                directory.next_line = directory.next_line.max(last?.0.value().1.saturating_add(1));
            }
        }
        Ok(directory)
    }
}

/// A batch's transaction.
pub(super) struct Writing<'t> {
    pub(super) meta: Table<'t, &'static str, &'static [u8]>,
    pub(super) contacts: Table<'t, &'static [u8; 32], &'static [u8]>,
    pub(super) conversations: Table<'t, &'static [u8; 32], u32>,
    pub(super) numbers: Table<'t, u32, (&'static [u8; 32], &'static [u8; 32])>,
    pub(super) peers: Table<'t, &'static [u8; 32], u32>,
    pub(super) counters: Table<'t, u32, &'static [u8]>,
    pub(super) outbox: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) history: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) marks: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) ids: Table<'t, (&'static [u8; 16], u32), (u32, u64, u64)>,
    pub(super) received: Table<'t, (u32, u64, u64), &'static [u8; 16]>,
    pub(super) held: Table<'t, (u32, u64, u64, &'static [u8; 16]), &'static [u8]>,
    pub(super) unread: Table<'t, u32, (u64, u64)>,
    pub(super) directory: &'t mut Directory,
    /// Rows of `unread` that this batch has touched.
    pub(super) unread_now: BTreeMap<u32, (u64, u64)>,
    pub(super) duplicates: Vec<Place>,
    pub(super) released: Vec<HistoryRow>,
}

impl<'t> Writing<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction, directory: &'t mut Directory) -> Result<Self, redb::Error> {
        Ok(Self {
            meta: transaction.open_table(tables::META)?,
            contacts: transaction.open_table(tables::CONTACTS)?,
            conversations: transaction.open_table(tables::CONVERSATIONS)?,
            numbers: transaction.open_table(tables::NUMBERS)?,
            peers: transaction.open_table(tables::PEERS)?,
            counters: transaction.open_table(tables::COUNTERS)?,
            outbox: transaction.open_table(tables::OUTBOX)?,
            history: transaction.open_table(tables::HISTORY)?,
            marks: transaction.open_table(tables::MARKS)?,
            ids: transaction.open_table(tables::IDS)?,
            received: transaction.open_table(tables::RECEIVED)?,
            held: transaction.open_table(tables::HELD)?,
            unread: transaction.open_table(tables::UNREAD)?,
            directory,
            unread_now: BTreeMap::new(),
            duplicates: Vec::new(),
            released: Vec::new(),
        })
    }

    /// Applies one operation.
    pub(super) fn apply(&mut self, op: &Op) -> Result<(), StorageError> {
        match op {
            Op::Boot(boot) => self.set_boot(*boot),
            Op::Name(name) => self.set_name(name),
            Op::Contact(contact) => self.put_contact(contact),
            Op::Conversation(row) => self.put_conversation(row),
            Op::Queue(row, history) => self.queue(row, history),
            Op::Outbox(row) => self.put_outbox(row),
            Op::Replace { old, row, history } => self.replace(old, row, history),
            Op::Settle { conversation, seq, state, reason } => self.settle(*conversation, *seq, *state, reason),
            Op::Unqueue(conversation, seq) => self.unqueue(*conversation, *seq),
            Op::State(id, state) => self.set_state(id, *state),
            Op::Receive(row) => self.receive(row),
            Op::Hold(row) => self.hold(row),
            Op::Release(conversation, incarnation, seq) => self.release(*conversation, *incarnation, *seq),
            Op::MarkRead(peer, id) => self.mark_read(peer, id),
        }
    }

    /// Writes what was gathered, once per batch, and counts the commit: by that count a later look
    /// sees whether a commit that ended in an error is on disk.
    pub(super) fn finish(&mut self) -> Result<(), StorageError> {
        self.directory.commits += 1;
        self.meta.insert("commits", self.directory.commits.to_le_bytes().as_slice())?;
        for (number, counts) in &self.unread_now {
            self.unread.insert(number, counts)?;
        }
        Ok(())
    }

    /// The number of a conversation, given now where it has none.
    pub(super) fn number(&mut self, conversation: ConversationId, peer: &PeerId) -> Result<u32, StorageError> {
        if let Some(number) = self.directory.numbers.get(&conversation) {
            return Ok(*number);
        }
        let number = self.numbers.last()?.map_or(1, |(last, _)| last.value().saturating_add(1));
        self.conversations.insert(conversation.as_bytes(), number)?;
        self.numbers.insert(number, (conversation.as_bytes(), peer.as_bytes()))?;
        if self.peers.get(peer.as_bytes())?.is_none() {
            self.peers.insert(peer.as_bytes(), number)?;
        }
        self.directory.numbers.insert(conversation, number);
        Ok(number)
    }
}
