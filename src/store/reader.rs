//! Looking at the store: snapshots of what is committed, in pages. Nothing here writes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Database, ReadableDatabase, WriteTransaction};

use super::{
    guard::guarded,
    history::Line,
    index::{self, Segment},
    row::{Contact, ConversationRow, HistoryRow, OutboxRow},
    snapshot::Snapshot,
    tables::{self, OWN, decode},
};
use crate::{
    clock::Unix,
    crypto::vault::Vault,
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

/// The database, or its absence while it is opened anew, or another file takes its place. The one lock of this module: it is
/// held for the beginning of a transaction, never for one, so nobody waits for a disk behind it.
#[derive(Debug)]
pub(super) struct Slot {
    held: RwLock<Held>,
    /// The disk failed a reader: redb gives nothing more until the database is opened anew.
    failed: AtomicBool,
}

#[derive(Debug)]
struct Held {
    database: Option<Database>,
    /// What opens its values, where they are sealed.
    vault: Option<Arc<Vault>>,
}

impl Slot {
    pub(super) const fn new(database: Database, vault: Option<Arc<Vault>>) -> Self {
        Self { held: RwLock::new(Held { database: Some(database), vault }), failed: AtomicBool::new(false) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn vault(&self) -> Option<Arc<Vault>> {
        self.read().vault.clone()
    }

    pub(super) fn is_open(&self) -> bool {
        self.read().database.is_some()
    }

    /// Gives readers this database from now on. One that was there before is closed once nobody reads it any more.
    pub(super) fn put(&self, database: Database, vault: Option<Arc<Vault>>) {
        let held = Held { database: Some(database), vault };
        let before = std::mem::replace(&mut *self.held.write().unwrap_or_else(PoisonError::into_inner), held);
        let _ = guarded(|| drop(before));
    }

    /// Whether the disk failed a reader since this was last taken.
    pub(super) fn take_failed(&self) -> bool {
        self.failed.swap(false, Ordering::AcqRel)
    }

    /// Closes the database; returns when its file is at rest.
    pub(super) fn close(&self) {
        let database = self.held.write().unwrap_or_else(PoisonError::into_inner).database.take();
        // Outside the lock, and guarded: the last words of a damaged database may be a panic.
        let _ = guarded(|| drop(database));
    }

    pub(super) fn begin_write(&self) -> Option<WriteTransaction> {
        self.read().database.as_ref()?.begin_write().ok()
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let held = self.read();
        let database = held.database.as_ref().ok_or(ReadError::Closed)?;
        Ok(Snapshot::new(database.begin_read().map_err(redb::Error::from)?, held.vault.clone()))
    }
}

impl From<redb::Error> for ReadError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseClosed | redb::Error::PreviousIo => Self::Closed,
            redb::Error::Io(error) => Self::Io(error.to_string()),
            error => Self::Corrupt(error.to_string()),
        }
    }
}

impl From<redb::TableError> for ReadError {
    fn from(error: redb::TableError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::StorageError> for ReadError {
    fn from(error: redb::StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<Damaged> for ReadError {
    fn from(damaged: Damaged) -> Self {
        Self::Row(damaged)
    }
}

/// Snapshots of what is committed. Each call sees one state, whole; a later call a later one.
#[derive(Debug, Clone)]
pub struct Reader {
    slot: Arc<Slot>,
}

impl Reader {
    pub(super) const fn new(slot: Arc<Slot>) -> Self {
        Self { slot }
    }

    /// True where the disk has failed a reader: no other one sees anything before the next commit, an empty one
    /// too, has opened the file anew.
    pub fn wants_commit(&self) -> bool {
        self.slot.failed.load(Ordering::Acquire)
    }

    /// Everything that a node keeps in memory.
    pub fn load(&self) -> Result<Loaded, ReadError> {
        self.look(Snapshot::load)
    }

    /// Batches that were ever committed in this file.
    pub fn commits(&self) -> Result<u64, ReadError> {
        self.look(|snapshot| snapshot.commits())
    }

    /// True where what is stored is sealed under a password.
    pub fn is_sealed(&self) -> bool {
        self.slot.vault().is_some()
    }

    /// All contacts and strangers that wrote, by id.
    pub fn contacts(&self) -> Result<Rows<Contact>, ReadError> {
        self.look(Snapshot::contacts)
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
        self.look(|snapshot| {
            let mut rows = Rows::default();
            if let Some(number) = snapshot.number(conversation)? {
                snapshot.outbox(number, from, rows_max.min(ROWS_MAX), bytes_max, &mut rows)?;
            }
            Ok(rows)
        })
    }

    /// The outbox row of a message.
    pub fn outbox_by_id(&self, id: MessageId) -> Result<Option<OutboxRow>, ReadError> {
        self.look(|snapshot| {
            let Some((number, _, seq)) = snapshot.known(id, OWN)? else { return Ok(None) };
            let mut rows = Rows::default();
            snapshot.outbox(number, Seq(seq), 1, usize::MAX, &mut rows)?;
            match rows.damaged.pop() {
                Some(damaged) if rows.rows.is_empty() => Err(damaged.into()),
                _ => Ok(rows.rows.pop().filter(|row| row.id == id)),
            }
        })
    }

    /// The whole outbox in pages: what follows `after`, conversation by conversation.
    pub fn outbox_page(&self, after: Option<(ConversationId, Seq)>, max: usize) -> Result<Rows<OutboxRow>, ReadError> {
        self.look(|snapshot| {
            let max = max.min(ROWS_MAX);
            let mut rows = Rows::default();
            let mut from = match after {
                Some((conversation, seq)) => (snapshot.number(conversation)?.unwrap_or(0), seq.next().0),
                None => (0, 0),
            };
            let keys = snapshot.open(tables::OUTBOX)?;
            while rows.rows.len() < max {
                let Some(entry) = keys.range(from..)?.next() else { break };
                let (number, seq) = entry?.key();
                snapshot.outbox(number, Seq(seq), max, usize::MAX, &mut rows)?;
                from = (number.saturating_add(1), 0);
            }
            Ok(rows)
        })
    }

    /// The id that came first under this place of a peer's direction, held ones and holes included.
    pub fn received_id(
        &self,
        conversation: ConversationId,
        incarnation: Incarnation,
        seq: Seq,
    ) -> Result<Option<MessageId>, ReadError> {
        self.look(|snapshot| {
            let Some(number) = snapshot.number(conversation)? else { return Ok(None) };
            snapshot.received_id((number, incarnation.0, seq.0))
        })
    }

    /// What is held at this place: one row, or several where a cloned profile used it twice.
    pub fn held(&self, conversation: ConversationId, incarnation: Incarnation, seq: Seq) -> Result<Rows<HistoryRow>, ReadError> {
        self.look(|snapshot| {
            let mut rows = Rows::default();
            let Some(number) = snapshot.number(conversation)? else { return Ok(rows) };
            let (conversation, peer) = snapshot.names(number)?;
            let place = (number, incarnation.0, seq.0);
            let range = (place.0, place.1, place.2, &[0; 16])..=(place.0, place.1, place.2, &[u8::MAX; 16]);
            for entry in snapshot.open(tables::HELD)?.range(range)? {
                let value = entry?.value();
                let line = value.and_then(|value| decode::<Line<'static>>("held", || format!("{place:?}"), value.value()));
                rows.take(line.map(|line| line.into_row(conversation, peer)));
            }
            Ok(rows)
        })
    }

    /// A message of ours.
    pub fn own_by_id(&self, id: MessageId) -> Result<Option<HistoryRow>, ReadError> {
        self.look(|snapshot| match snapshot.known(id, OWN)? {
            Some((number, line, _)) => snapshot.line(number, line),
            None => Ok(None),
        })
    }

    /// A message of the conversation with `peer`: the peer's own, else ours to it.
    pub fn history_by_id(&self, peer: PeerId, id: MessageId) -> Result<Option<HistoryRow>, ReadError> {
        self.look(|snapshot| {
            let Some(number) = snapshot.number_with(peer)? else { return Ok(None) };
            let theirs = snapshot.known(id, number)?;
            let known = match theirs {
                Some(known) => Some(known),
                None => snapshot.known(id, OWN)?.filter(|known| known.0 == number),
            };
            known.map_or(Ok(None), |(number, line, _)| snapshot.line(number, line))
        })
    }

    /// True where a message of this peer's came with this id, also where its text is no longer kept.
    pub fn has_received(&self, peer: PeerId, id: MessageId) -> Result<bool, ReadError> {
        self.look(|snapshot| match snapshot.number_with(peer)? {
            Some(number) => Ok(snapshot.known(id, number)?.is_some()),
            None => Ok(false),
        })
    }

    /// True where a message of ours has this id, also where its text is no longer kept.
    pub fn has_own(&self, id: MessageId) -> Result<bool, ReadError> {
        self.look(|snapshot| Ok(snapshot.known(id, OWN)?.is_some()))
    }

    /// The line of the history at which a message with this id came, also where it is no longer kept.
    pub fn received_line(&self, id: MessageId) -> Result<Option<u64>, ReadError> {
        self.look(|snapshot| {
            for number in snapshot.all_numbers()? {
                if let Some((_, line, _)) = snapshot.known(id, number)? {
                    return Ok(Some(line));
                }
            }
            Ok(None)
        })
    }

    /// Lines of the history with their numbers, which grow in order of commit.
    pub fn history(&self, query: &HistoryQuery) -> Result<Rows<(u64, HistoryRow)>, ReadError> {
        self.look(|snapshot| snapshot.history(query))
    }

    /// The place of the newest message of this peer that I have read; `None` where there is none, or too much of ours
    /// was written since.
    pub fn read_to(&self, peer: PeerId) -> Result<Option<(Incarnation, Seq)>, ReadError> {
        self.look(|snapshot| snapshot.read_to(peer))
    }

    /// This segment of the index, where it is not there.
    pub(super) fn missing_segment(&self, segment: u64) -> Result<Option<Segment>, ReadError> {
        self.look(|snapshot| {
            let is_there = index::is_there(snapshot, segment)?;
            if is_there { Ok(None) } else { index::make(snapshot, segment).map(Some) }
        })
    }

    /// How many messages of each peer are unread; peers without any are left out.
    pub fn unread(&self) -> Result<BTreeMap<PeerId, u64>, ReadError> {
        self.look(|snapshot| {
            let mut unread = BTreeMap::new();
            for number in snapshot.all_numbers()? {
                let count = match snapshot.unread(number) {
                    Ok((count, _)) => count,
                    // Damage is told whenever the lines themselves are read.
                    Err(ReadError::Row(_)) => continue,
                    Err(error) => return Err(error),
                };
                if count > 0
                    && let Some((_, peer)) = snapshot.known_names(number)?
                {
                    *unread.entry(peer).or_default() += count;
                }
            }
            Ok(unread)
        })
    }

    /// Panics of redb over damaged pages end here.
    fn look<T>(&self, look: impl FnOnce(&Snapshot) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let looked = guarded(|| look(&self.slot.snapshot()?)).unwrap_or_else(|panic| Err(ReadError::Corrupt(panic)));
        if let Err(ReadError::Closed | ReadError::Io(_)) = looked {
            self.slot.failed.store(true, Ordering::Release);
        }
        looked
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), damaged: Vec::new() }
    }
}

impl<T> Rows<T> {
    pub(super) fn take(&mut self, row: Result<T, Damaged>) {
        match row {
            Ok(row) => self.rows.push(row),
            Err(damaged) if self.damaged.len() < ROWS_MAX => self.damaged.push(damaged),
            Err(_) => {}
        }
    }
}
