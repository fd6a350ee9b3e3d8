//! One batch becoming one transaction: the tables it has open, what it learns on the way, and which
//! operation is whose. What each operation does lives in `outbox`, `history` and `contacts`.

use std::collections::{BTreeMap, BTreeSet};

use redb::{StorageError, WriteTransaction};

use super::{
    cells::{Sealer, Table},
    hot::{self, COMMITS, Key, RECENT_MAX},
    reader::ReadError,
    row::{HistoryRow, Op, Place},
    snapshot::Snapshot,
    tables::{self, encode},
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
    /// Lines that were removed since the file was last written anew.
    pub(super) removed: u64,
    /// How many transactions were committed in this file's life.
    pub(super) commits: u64,
}

impl Directory {
    /// Reads it anew.
    pub(super) fn load(snapshot: &Snapshot) -> Result<Self, ReadError> {
        let commits = snapshot.commits()?;
        let next_line = snapshot.meta_number("lines")?.max(1);
        let removed = snapshot.meta_number("removed")?;
        let mut directory = Self { numbers: BTreeMap::new(), next_line, indexed: 0, removed, commits };
        let history = snapshot.open(tables::HISTORY)?;
        for row in snapshot.open(tables::CONVERSATIONS)?.iter()? {
            match row?.open() {
                Ok((id, number)) => {
                    directory.numbers.insert(ConversationId::from_bytes(*id.value()), number.value());
                }
                Err(damaged) => tracing::warn!(%damaged),
            }
        }
        for row in snapshot.open(tables::NUMBERS)?.iter()? {
            let row = row?;
            let number = row.key();
            if let Some(last) = history.range((number, 0)..=(number, u64::MAX))?.next_back() {
                directory.next_line = directory.next_line.max(last?.key().1.saturating_add(1));
            }
            // The same backwards: where one is damaged the other one tells, and no conversation begins anew.
            if snapshot.is_sealed()
                && let Ok(names) = row.value()
            {
                directory.numbers.entry(ConversationId::from_bytes(*names.value().0)).or_insert(number);
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
    pub(super) hot: Table<'t, Key<'static>, &'static [u8]>,
    pub(super) outbox: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) history: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) marks: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) ids: Table<'t, (&'static [u8; 16], u32), (u32, u64, u64)>,
    pub(super) received: Table<'t, (u32, u64, u64), &'static [u8; 16]>,
    pub(super) held: Table<'t, (u32, u64, u64, &'static [u8; 16]), &'static [u8]>,
    pub(super) directory: &'t mut Directory,
    /// More operations than are worth to let their ids wait in `hot`.
    pub(super) is_large: bool,
    /// Places whose ids wait there, once they were looked for.
    pub(super) recent_places: Option<BTreeSet<(u32, u64, u64)>>,
    /// What is unread in the conversations that this batch has touched.
    pub(super) unread_now: BTreeMap<u32, (u64, u64)>,
    pub(super) duplicates: Vec<Place>,
    pub(super) released: Vec<HistoryRow>,
}

impl<'t> Writing<'t> {
    pub(super) fn new(
        transaction: &'t WriteTransaction,
        sealer: Option<Sealer<'t>>,
        directory: &'t mut Directory,
    ) -> Result<Self, redb::Error> {
        Ok(Self {
            meta: tables::META.open(transaction, sealer),
            contacts: tables::CONTACTS.open(transaction, sealer),
            conversations: tables::CONVERSATIONS.open(transaction, sealer),
            numbers: tables::NUMBERS.open(transaction, sealer),
            peers: tables::PEERS.open(transaction, sealer),
            hot: tables::HOT.open(transaction, sealer),
            outbox: tables::OUTBOX.open(transaction, sealer),
            history: tables::HISTORY.open(transaction, sealer),
            marks: tables::MARKS.open(transaction, sealer),
            ids: tables::IDS.open(transaction, sealer),
            received: tables::RECEIVED.open(transaction, sealer),
            held: tables::HELD.open(transaction, sealer),
            directory,
            is_large: false,
            recent_places: None,
            unread_now: BTreeMap::new(),
            duplicates: Vec::new(),
            released: Vec::new(),
        })
    }

    /// Applies these operations.
    pub(super) fn apply_all(&mut self, ops: &[Op]) -> Result<(), StorageError> {
        self.is_large = ops.len() > RECENT_MAX;
        if self.is_large {
            self.pass_on()?;
        }
        ops.iter().try_for_each(|op| self.apply(op))?;
        self.pass_on()
    }

    fn apply(&mut self, op: &Op) -> Result<(), StorageError> {
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
            Op::Import(row) => self.import(row),
            Op::MarkRead(peer, id) => self.mark_read(peer, id),
        }
    }

    /// Writes what was gathered, once per batch, and counts the commit: by that count a later look
    /// sees whether a commit that ended in an error is on disk.
    pub(super) fn finish(&mut self) -> Result<(), StorageError> {
        self.directory.commits += 1;
        self.hot.insert(COMMITS, self.directory.commits.to_le_bytes().as_slice())?;
        for (number, counts) in &self.unread_now {
            self.hot.insert(hot::unread(*number), encode(counts).as_slice())?;
        }
        Ok(())
    }

    /// The number of a conversation, given now where it has none.
    pub(super) fn number(&mut self, conversation: ConversationId, peer: &PeerId) -> Result<u32, StorageError> {
        if let Some(number) = self.directory.numbers.get(&conversation) {
            return Ok(*number);
        }
        let number = self.numbers.last()?.map_or(1, |last| last.key().saturating_add(1));
        self.conversations.insert(conversation.as_bytes(), number)?;
        self.numbers.insert(number, (conversation.as_bytes(), peer.as_bytes()))?;
        self.peers.insert_new(peer.as_bytes(), number)?;
        self.directory.numbers.insert(conversation, number);
        Ok(number)
    }
}
