//! One state of the store, and how rows are put together from the tables. What may be asked for lives
//! in `reader`.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use redb::{Key, ReadTransaction, TableError, Value};

use super::{
    StoreError,
    cells::{Cells, Range, Read, Reading, Row},
    contacts::Counters,
    history::{Line, Mark},
    hot,
    index::{self, SEGMENT_LINES},
    outbox::Waiting,
    reader::{Damaged, HistoryQuery, Loaded, ROWS_MAX, ReadError, Rows},
    row::{Contact, ConversationRow, Direction, HistoryRow, OutboxRow, State},
    search::Search,
    tables::{self, decode},
};
use crate::{
    clock::Unix,
    crypto::vault::Vault,
    id::{BootId, ConversationId, Incarnation, PeerId, Seq},
};

/// Lines of ours behind the last one of a peer that are looked through for it at most.
const OWN_LINES_MAX: usize = 4_096;

/// One state of the store.
pub(super) struct Snapshot {
    transaction: ReadTransaction,
    vault: Option<Arc<Vault>>,
}

impl Snapshot {
    pub(super) const fn new(transaction: ReadTransaction, vault: Option<Arc<Vault>>) -> Self {
        Self { transaction, vault }
    }

    pub(super) fn open<K: Key, V: Value>(&self, cells: Cells<K, V>) -> Result<Reading<K, V>, TableError> {
        cells.read(&self.transaction, self.vault.as_ref())
    }

    pub(super) const fn is_sealed(&self) -> bool {
        self.vault.is_some()
    }

    pub(super) fn wrapped_key(&self) -> Result<Option<Vec<u8>>, StoreError> {
        tables::wrapped_key(&self.transaction)
    }

    /// A number among the single values; 0 where it is missing or damaged.
    pub(super) fn meta_number(&self, key: &str) -> Result<u64, ReadError> {
        match self.open(tables::META)?.get(key) {
            Ok(value) => Ok(value.and_then(|value| value.value().try_into().ok()).map_or(0, u64::from_le_bytes)),
            Err(ReadError::Row(damaged)) => {
                tracing::warn!(%damaged);
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn load(&self) -> Result<Loaded, ReadError> {
        let meta = self.open(tables::META)?;
        let damaged = |key: &str| Damaged { table: "meta", key: key.to_owned(), why: "missing or of the wrong size".to_owned() };
        let secret = meta.get("secret")?.and_then(|value| value.value().try_into().ok()).ok_or_else(|| damaged("secret"))?;
        let boot = meta.get("boot")?.and_then(|value| value.value().try_into().ok()).ok_or_else(|| damaged("boot"))?;
        let mut lost = Vec::new();
        let name = match meta.get("name") {
            Ok(name) => name.map(|value| String::from_utf8_lossy(value.value()).into_owned()),
            Err(ReadError::Row(damaged)) => {
                lost.push(damaged);
                None
            }
            Err(error) => return Err(error),
        };
        let mut loaded = Loaded {
            secret,
            name: name.unwrap_or_default(),
            boot: BootId(u64::from_le_bytes(boot)),
            contacts: Vec::new(),
            conversations: Vec::new(),
            outbox_len: 0,
            outbox_counts: BTreeMap::new(),
            damaged: Vec::new(),
        };
        let contacts = self.contacts()?;
        loaded.contacts = contacts.rows;
        loaded.damaged = lost;
        loaded.damaged.extend(contacts.damaged);
        self.load_conversations(&mut loaded)?;
        loaded.conversations.sort_by_key(|row| row.id);
        Ok(loaded)
    }

    /// All contacts, by id.
    pub(super) fn contacts(&self) -> Result<Rows<Contact>, ReadError> {
        let mut rows = Rows::default();
        for entry in self.open(tables::CONTACTS)?.iter()? {
            let opened = entry?.open();
            rows.take(opened.and_then(|(id, value)| decode("contacts", || format!("{:02x?}", id.value()), value.value())));
        }
        // Hashed ids lie in another order.
        rows.rows.sort_by_key(|contact: &Contact| contact.id);
        Ok(rows)
    }

    fn load_conversations(&self, loaded: &mut Loaded) -> Result<(), ReadError> {
        let hot = self.open(tables::HOT)?;
        let outbox = self.open(tables::OUTBOX)?;
        loaded.outbox_len = outbox.len()?;
        for entry in self.open(tables::CONVERSATIONS)?.iter()? {
            let (id, number) = match entry?.open() {
                Ok((id, number)) => (ConversationId::from_bytes(*id.value()), number.value()),
                Err(damaged) => {
                    loaded.damaged.push(damaged);
                    continue;
                }
            };
            let row = match hot.get(hot::counters(number)) {
                Ok(Some(value)) => self.counters_of(id, number, value.value()).map(Some),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            match row {
                Ok(row) => loaded.conversations.extend(row),
                Err(ReadError::Row(damaged)) => loaded.damaged.push(damaged),
                Err(error) => return Err(error),
            }
            for entry in outbox.range((number, 0)..=(number, u64::MAX))? {
                let seq = Seq(entry?.key().1);
                loaded.outbox_counts.entry(id).or_insert((seq, 0)).1 += 1;
            }
        }
        Ok(())
    }

    fn counters_of(&self, id: ConversationId, number: u32, value: &[u8]) -> Result<ConversationRow, ReadError> {
        let (_, peer) = self.names(number)?;
        let Counters { mine, yours, unread, read } = decode("hot", || number.to_string(), value)?;
        Ok(ConversationRow { id, peer, mine, yours, unread, read })
    }

    pub(super) fn number(&self, conversation: ConversationId) -> Result<Option<u32>, ReadError> {
        let number = self.open(tables::CONVERSATIONS)?.get(conversation.as_bytes())?;
        Ok(number.map(|number| number.value()))
    }

    pub(super) fn number_with(&self, peer: PeerId) -> Result<Option<u32>, ReadError> {
        let number = self.open(tables::PEERS)?.get(peer.as_bytes())?;
        Ok(number.map(|number| number.value()))
    }

    /// Which conversation a number means, and with whom.
    pub(super) fn names(&self, number: u32) -> Result<(ConversationId, PeerId), ReadError> {
        let damaged = |why: String| Damaged { table: "numbers", key: number.to_string(), why };
        let entry = self.open(tables::NUMBERS)?.get(number)?;
        let entry = entry.ok_or_else(|| damaged("missing".to_owned()))?;
        let (conversation, peer) = entry.value();
        let peer = PeerId::from_bytes(*peer).map_err(|error| damaged(error.to_string()))?;
        Ok((ConversationId::from_bytes(*conversation), peer))
    }

    pub(super) fn outbox(
        &self,
        number: u32,
        from: Seq,
        rows_max: usize,
        bytes_max: usize,
        rows: &mut Rows<OutboxRow>,
    ) -> Result<(), ReadError> {
        let (conversation, peer) = self.names(number)?;
        let history = self.open(tables::HISTORY)?;
        let mut bytes = 0;
        for entry in self.open(tables::OUTBOX)?.range((number, from.0)..=(number, u64::MAX))? {
            if rows.rows.len() >= rows_max || bytes >= bytes_max {
                break;
            }
            let entry = entry?;
            let seq = Seq(entry.key().1);
            let key = || format!("{:?}", (number, seq.0));
            let waiting = entry.value().and_then(|value| decode::<Waiting<'static>>("outbox", key, value.value()));
            let row = waiting.and_then(|row| {
                let text = match (row.void, row.text) {
                    (Some(_), _) => String::new(),
                    (None, Some(text)) => text.into_owned(),
                    (None, None) => {
                        let missing = || Damaged { table: "history", key: row.line.to_string(), why: "missing".to_owned() };
                        let line = match history.get((number, row.line)) {
                            Err(ReadError::Row(damaged)) => return Err(damaged),
                            line => line.ok().flatten().ok_or_else(missing)?,
                        };
                        decode::<Line<'static>>("history", || row.line.to_string(), line.value())?.text.into_owned()
                    }
                };
                let Waiting { id, kind, created, expires, void, .. } = row;
                Ok(OutboxRow { conversation, peer, seq, id, kind, text, created, expires, void })
            });
            bytes += row.as_ref().map_or(0, |row| row.text.len());
            rows.take(row);
        }
        Ok(())
    }

    pub(super) fn line(&self, number: u32, line: u64) -> Result<Option<HistoryRow>, ReadError> {
        let Some(value) = self.open(tables::HISTORY)?.get((number, line))? else { return Ok(None) };
        let of = self.open_line(number)?;
        Ok(Some(of.row(line, value.value())?))
    }

    /// The same; none where the row is missing or damaged.
    pub(super) fn known_names(&self, number: u32) -> Result<Option<(ConversationId, PeerId)>, ReadError> {
        match self.names(number) {
            Err(ReadError::Row(_)) => Ok(None),
            names => names.map(Some),
        }
    }

    fn open_line(&self, number: u32) -> Result<Lines, ReadError> {
        let (conversation, peer) = self.names(number)?;
        let (_, read_up_to) = self.unread(number)?;
        // Damaged ones are told where they are needed.
        let read_there = match self.open(tables::HOT)?.get(hot::counters(number)) {
            Ok(value) => value.and_then(|value| decode::<Counters>("hot", String::new, value.value()).ok()),
            Err(ReadError::Row(_)) => None,
            Err(error) => return Err(error),
        };
        let read_there = read_there.map(|counters| counters.read).unwrap_or_default();
        Ok(Lines { number, conversation, peer, read_up_to, read_there, marks: self.open(tables::MARKS)? })
    }

    /// The place of the newest message of this peer that I have read.
    pub(super) fn read_to(&self, peer: PeerId) -> Result<Option<(Incarnation, Seq)>, ReadError> {
        let Some(number) = self.number_with(peer)? else { return Ok(None) };
        let of = self.open_line(number)?;
        let history = self.open(tables::HISTORY)?;
        let mut own = 0;
        for row in history.range((number, 0)..=(number, of.read_up_to))?.rev() {
            let row = row?;
            let line = row.key().1;
            let Ok(value) = row.value() else { continue };
            let Ok(row) = of.row(line, value.value()) else { continue };
            // Of what was imported its writer is told nothing.
            if row.is_imported() {
                continue;
            }
            own += 1;
            if own > OWN_LINES_MAX {
                break;
            }
            if row.direction == Direction::In {
                return Ok(Some((row.incarnation, row.seq)));
            }
        }
        Ok(None)
    }

    pub(super) fn history(&self, query: &HistoryQuery) -> Result<Rows<(u64, HistoryRow)>, ReadError> {
        let (low, high) = (query.after.map_or(0, |after| after.saturating_add(1)), query.before.unwrap_or(u64::MAX));
        let numbers = match query.peer {
            Some(peer) => self.number_with(peer)?.into_iter().collect(),
            None => self.all_numbers()?,
        };
        let forward = query.after.is_some();
        let mut looking = Looking {
            snapshot: self,
            history: self.open(tables::HISTORY)?,
            search: Search::new(&query.words),
            since: query.since,
            limit: query.limit.min(ROWS_MAX),
            forward,
            conversations: BTreeMap::new(),
            rows: Rows::default(),
        };
        if looking.search.is_empty() {
            looking.read_through(&numbers, low, high)?;
        } else {
            looking.look_up(&numbers, low, high)?;
        }
        let mut rows = looking.rows;
        if !forward {
            rows.rows.reverse();
        }
        Ok(rows)
    }

    pub(super) fn all_numbers(&self) -> Result<Vec<u32>, ReadError> {
        let numbers = self.open(tables::NUMBERS)?;
        numbers.iter()?.map(|entry| Ok(entry?.key())).collect()
    }
}

/// A walk through the history, from one end, until enough was found.
struct Looking<'s> {
    snapshot: &'s Snapshot,
    history: Reading<(u32, u64), &'static [u8]>,
    search: Search,
    since: Option<Unix>,
    limit: usize,
    forward: bool,
    conversations: BTreeMap<u32, Option<Lines>>,
    rows: Rows<(u64, HistoryRow)>,
}

impl Looking<'_> {
    fn has_enough(&self) -> bool {
        self.rows.rows.len() >= self.limit
    }

    /// Reads each line of these conversations from `low` to below `high`.
    fn read_through(&mut self, numbers: &[u32], low: u64, high: u64) -> Result<(), ReadError> {
        if low >= high {
            return Ok(());
        }
        let mut merge = Merge { forward: self.forward, heads: BTreeMap::new() };
        for number in numbers {
            merge.advance(*number, self.history.range((*number, low)..(*number, high))?)?;
        }
        while !self.has_enough()
            && let Some((line, number, row)) = merge.next()?
        {
            self.take(number, line, row.value())?;
        }
        Ok(())
    }

    /// The same by the index, as far as there is one.
    fn look_up(&mut self, numbers: &[u32], low: u64, high: u64) -> Result<(), ReadError> {
        let last = |number: &u32| {
            let last = self.history.range((*number, 0)..=(*number, u64::MAX))?.next_back();
            last.map_or(Ok(0), |entry| entry.map(|row| row.key().1))
        };
        let last = numbers.iter().map(last).collect::<Result<Vec<_>, redb::StorageError>>()?.into_iter().max().unwrap_or(0);
        let high = high.min(last.saturating_add(1));
        if low >= high {
            return Ok(());
        }
        let segments = low / SEGMENT_LINES..=(high - 1) / SEGMENT_LINES;
        let mut next: Box<dyn Iterator<Item = u64>> = if self.forward { Box::new(segments) } else { Box::new(segments.rev()) };
        while !self.has_enough()
            && let Some(segment) = next.next()
        {
            let begin = segment * SEGMENT_LINES;
            let (from, to) = (low.max(begin), high.min(begin + SEGMENT_LINES));
            let Some(mut found) = index::look_up(self.snapshot, segment, &self.search)? else {
                self.read_through(numbers, from, to)?;
                continue;
            };
            found.lines.retain(|(line, number)| (from..to).contains(line) && numbers.binary_search(number).is_ok());
            if !self.forward {
                found.lines.reverse();
            }
            for (line, number) in found.lines {
                if self.has_enough() {
                    break;
                }
                match self.history.get((number, line)) {
                    Ok(Some(value)) => self.take(number, line, Ok(value))?,
                    Ok(None) => {}
                    Err(ReadError::Row(damaged)) => self.rows.take(Err(damaged)),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Takes a line where it is one that is looked for.
    fn take(&mut self, number: u32, line: u64, value: Result<Read<'_, &'static [u8]>, Damaged>) -> Result<(), ReadError> {
        let of = match self.conversations.entry(number) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => match self.snapshot.open_line(number) {
                Ok(of) => entry.insert(Some(of)),
                Err(ReadError::Row(damaged)) => {
                    // Told once: whose lines these are is not known any more.
                    self.rows.take(Err(damaged));
                    entry.insert(None)
                }
                Err(error) => return Err(error),
            },
        };
        let Some(of) = of else { return Ok(()) };
        match value.map_err(ReadError::from).and_then(|value| of.row(line, value.value())) {
            Ok(row) if self.since.is_none_or(|since| row.received_at >= since) && self.search.matches(&row.text) => {
                self.rows.rows.push((line, row));
            }
            Ok(_) => {}
            Err(ReadError::Row(damaged)) => self.rows.take(Err(damaged)),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The lines of one conversation.
struct Lines {
    number: u32,
    conversation: ConversationId,
    peer: PeerId,
    read_up_to: u64,
    /// Up to where the peer has read ours, by life.
    read_there: Vec<(Incarnation, Seq)>,
    marks: Reading<(u32, u64), &'static [u8]>,
}

impl Lines {
    fn row(&self, line: u64, value: &[u8]) -> Result<HistoryRow, ReadError> {
        let decoded = decode::<Line<'static>>("history", || line.to_string(), value)?;
        let mut row = decoded.into_row(self.conversation, self.peer);
        match row.direction {
            Direction::In if line <= self.read_up_to => row.state = State::Read,
            Direction::In => {}
            Direction::Out => {
                if let Some(mark) = self.marks.get((self.number, line))? {
                    let mark: Mark<'static> = decode("marks", || line.to_string(), mark.value())?;
                    let is_read = self.read_there.iter().any(|(life, seq)| *life == row.incarnation && row.seq <= *seq);
                    row.state = if is_read && mark.state == State::Delivered { State::Read } else { mark.state };
                    row.reason = mark.reason.into_owned();
                }
            }
        }
        Ok(row)
    }
}

type Stored = Row<'static, (u32, u64), &'static [u8]>;
type StoredLines = Range<'static, (u32, u64), &'static [u8]>;

/// Brings the lines of several conversations into the one order of their numbers.
struct Merge {
    forward: bool,
    /// Next line of each conversation: its value, its conversation, and what follows.
    heads: BTreeMap<u64, (Stored, u32, StoredLines)>,
}

impl Merge {
    fn advance(&mut self, number: u32, mut range: StoredLines) -> Result<(), ReadError> {
        let next = if self.forward { range.next() } else { range.next_back() };
        if let Some(entry) = next {
            let row = entry?;
            let line = row.key().1;
            self.heads.insert(line, (row, number, range));
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(u64, u32, Stored)>, ReadError> {
        let head = if self.forward { self.heads.pop_first() } else { self.heads.pop_last() };
        let Some((line, (value, number, range))) = head else { return Ok(None) };
        self.advance(number, range)?;
        Ok(Some((line, number, value)))
    }
}
