//! Lines of the history that nobody wants to keep any longer: which of them may go, and how they go; and the file, written anew where
//! little of it is left. When that is, and how old is too old, is not known here.
//!
//! A line goes with its text and its mark. Its id stays, and its place: so what comes again is still known, and nothing is shown
//! twice.

use std::{collections::BTreeSet, path::Path};

use redb::TableError;

use super::{
    Store, StoreError, fork,
    guard::guarded,
    history::Line,
    index::{self, SEGMENT_LINES},
    outbox::Waiting,
    password::Lock,
    reader::ReadError,
    row::{Direction, State},
    sealer,
    snapshot::Snapshot,
    tables,
};
use crate::clock::Unix;

/// Lines that are looked at in one piece.
const PIECE_LINES: u64 = 1_000;
/// And bytes of them, about.
const PIECE_LEN: usize = 4 << 20;
/// Lines that were removed before the file is worth writing anew.
const REMOVED_MIN: u64 = 4_096;

/// What is done to the store while nobody waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// Old lines are removed.
    Retention,
    /// The file is written anew.
    Compaction,
}

/// How far that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What.
    pub what: Upkeep,
    /// Rows that were dealt with.
    pub done: u64,
    /// Of about so many.
    pub of: u64,
}

/// One walk through the history, in pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    next: (u32, u64),
    /// Lines whose text the outbox needs. What is queued later is not old.
    waiting: Option<BTreeSet<(u32, u64)>>,
    /// Lines that were looked at.
    pub seen: u64,
    /// Lines that were removed.
    pub removed: u64,
}

/// A piece of the history: what goes of it, and where the next begins.
#[derive(Default)]
struct Piece {
    old: Vec<(u32, u64)>,
    seen: u64,
    next: Option<(u32, u64)>,
}

impl Store {
    /// Lines of the history.
    pub fn lines(&self) -> Result<u64, StoreError> {
        Ok(self.slot.snapshot()?.open(tables::HISTORY).map_err(ReadError::from)?.len().map_err(ReadError::from)?)
    }

    /// Looks at some more lines of the history, and removes those that came before `before`, but for what is unread, waits in
    /// the outbox, or is damaged; false once `walk` is through. To be called while nothing is to be committed: it takes some
    /// milliseconds. After an error nothing of this piece has gone.
    pub fn remove_old(&mut self, before: Unix, walk: &mut Walk) -> Result<bool, StoreError> {
        if self.unsure.is_some() || !self.slot.is_open() {
            return Err(ReadError::Closed.into());
        }
        let found = guarded(|| self.slot.snapshot().and_then(|snapshot| piece(&snapshot, before, walk)));
        let piece = found.unwrap_or_else(|panic| Err(ReadError::Corrupt(panic)))?;
        if !piece.old.is_empty() {
            let removed = guarded(|| self.remove_lines(&piece.old));
            let removed = removed.map_err(StoreError::Corrupt).and_then(|removed| removed.map_err(StoreError::from_redb));
            if let Err(error) = removed {
                // Whoever comes next finds it open, and tries for itself.
                self.reopen();
                return Err(error);
            }
        }
        walk.seen += piece.seen;
        walk.removed += piece.old.len() as u64;
        walk.next = piece.next.unwrap_or(walk.next);
        Ok(piece.next.is_some())
    }

    fn remove_lines(&mut self, lines: &[(u32, u64)]) -> Result<(), redb::Error> {
        let chance = fork(&mut self.chance);
        let vault = self.slot.vault();
        let sealer = sealer(vault.as_ref(), chance.as_ref());
        let Some(mut transaction) = self.slot.begin_write() else { return Err(redb::Error::DatabaseClosed) };
        transaction.set_quick_repair(true);
        let removed = self.directory.removed + lines.len() as u64;
        let segments: BTreeSet<u64> = lines.iter().map(|(_, line)| line / SEGMENT_LINES).collect();
        {
            let mut history = tables::HISTORY.open(&transaction, sealer);
            let mut marks = tables::MARKS.open(&transaction, sealer);
            for line in lines {
                history.remove(*line)?;
                marks.remove(*line)?;
            }
            // Their words go too; what is left of their segments is indexed anew.
            let mut words = tables::WORDS.open(&transaction, sealer);
            for segment in &segments {
                let rows = words.range(index::key(*segment, 0)..=index::key(*segment, u32::MAX))?;
                let stored = rows.map(|row| Ok(row?.stored())).collect::<Result<Vec<_>, redb::StorageError>>()?;
                for stored in stored {
                    words.remove_stored(&stored)?;
                }
            }
            // No line is numbered twice, also where the last of all has gone.
            let mut meta = tables::META.open(&transaction, sealer);
            meta.insert("lines", self.directory.next_line.to_le_bytes().as_slice())?;
            meta.insert("removed", removed.to_le_bytes().as_slice())?;
        }
        transaction.commit()?;
        self.directory.removed = removed;
        self.directory.indexed = self.directory.indexed.min(segments.first().copied().unwrap_or(u64::MAX));
        Ok(())
    }

    /// True where more lines have gone since the file was last written anew than are left.
    pub fn wants_compaction(&self) -> bool {
        let removed = self.directory.removed;
        removed >= REMOVED_MIN && self.lines().is_ok_and(|lines| removed >= lines)
    }

    /// Writes the file of the profile in `dir` anew, without the room that removed lines leave, and goes on with that one.
    /// `go_on` is asked again and again, with the rows that were copied and how many there are: once it says no,
    /// [`StoreError::GivenUp`]. A crash, and any error, leave the file as it was.
    pub fn compact(&mut self, dir: &Path, go_on: &mut dyn FnMut(u64, u64) -> bool) -> Result<(), StoreError> {
        if self.unsure.is_some() || !self.slot.is_open() {
            return Err(ReadError::Closed.into());
        }
        let lock = match (self.slot.vault(), self.slot.snapshot()?.wrapped_key()?, fork(&mut self.chance)) {
            (Some(vault), Some(wrapped), Some(rng)) => Some(Lock { vault, wrapped, rng }),
            _ => None,
        };
        let chance = self.chance.clone();
        self.move_to_copy(dir, lock, chance, go_on)
    }
}

/// Lines of the history that stand for what waits in the outbox.
fn waiting(snapshot: &Snapshot) -> Result<BTreeSet<(u32, u64)>, ReadError> {
    let mut lines = BTreeSet::new();
    for row in snapshot.open(tables::OUTBOX)?.iter()? {
        let row = row?;
        let (number, _) = row.key();
        // One that is damaged says of no line that it waits, nor can it be sent.
        let Ok(value) = row.value() else { continue };
        lines.extend(rmp_serde::from_slice::<Waiting<'_>>(value.value()).map(|row| (number, row.line)));
    }
    Ok(lines)
}

fn piece(snapshot: &Snapshot, before: Unix, walk: &mut Walk) -> Result<Piece, ReadError> {
    if walk.waiting.is_none() {
        walk.waiting = Some(waiting(snapshot)?);
    }
    let waits = |line| walk.waiting.as_ref().is_some_and(|waiting| waiting.contains(&line));
    let (mut piece, mut len) = (Piece::default(), 0);
    for row in snapshot.open(tables::HISTORY)?.range(walk.next..)? {
        let row = row?;
        let (number, line) = row.key();
        piece.next = Some((number, line));
        if piece.seen == PIECE_LINES || len >= PIECE_LEN {
            return Ok(piece);
        }
        piece.seen += 1;
        let Ok(value) = row.value() else { continue };
        len += value.value().len();
        let Ok(there) = rmp_serde::from_slice::<Line<'_>>(value.value()) else { continue };
        if there.received_at >= before {
            continue;
        }
        let stays = match there.direction {
            Direction::In if there.state == State::Read => Ok(false),
            Direction::In => snapshot.unread(number).map(|(_, read_up_to)| line > read_up_to),
            Direction::Out => Ok(waits((number, line))),
        };
        match stays {
            Ok(false) => piece.old.push((number, line)),
            // Of what is damaged nobody knows whether it may go.
            Ok(true) | Err(ReadError::Row(_)) => {}
            Err(error) => return Err(error),
        }
    }
    piece.next = None;
    Ok(piece)
}

impl From<TableError> for StoreError {
    fn from(error: TableError) -> Self {
        ReadError::from(error).into()
    }
}
