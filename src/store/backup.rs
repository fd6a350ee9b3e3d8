//! A copy of a profile while it is used, and a profile made of such a copy. The copy is the file as it lies on the disk between two
//! commits, as encrypted as it is; what is restored from it goes on in new lives.

use std::{io, path::Path, sync::Arc};

use rand_core::RngCore;
use redb::backends::FileBackend;

use super::{
    ROWS_MAX, Store, StoreError,
    disk::{self, Disk},
    look,
    migrate::STEPS,
    reader::{Loaded, ReadError},
    row::{ConversationRow, MineRow, Op, OutboxRow, WriteBatch},
};
use crate::{
    crypto::vault::Unlock,
    id::{BatchId, ConversationId, Incarnation, Seq},
};

/// Bytes of texts that are renumbered in one piece, about.
const PIECE_BYTES: usize = 4 << 20;

impl Store {
    /// Copies the profile as it is to a new file, for its owner only, synced. [`StoreError::Exists`] where there is one of
    /// that name; after any error there is none. Nothing may be committed meanwhile.
    pub fn back_up(&self, path: &Path) -> Result<(), StoreError> {
        if self.unsure.is_some() || !self.slot.is_open() {
            return Err(ReadError::Closed.into());
        }
        disk::create_beside(path, |file| self.disk.copy_into(file))
    }

    /// Makes a profile in `dir`, which has none, of a copy that [`Self::back_up`] made. All its conversations begin a new
    /// life: what was sent after the copy was made had the seqs that would come next. What it begins with comes back.
    pub fn restore(dir: &Path, copy: &Path, unlock: Option<&Unlock>, rng: &mut impl RngCore) -> Result<Loaded, StoreError> {
        let mut from = disk::open_path(copy)?;
        let mut loaded = None;
        disk::create_file(dir, |mut file| {
            io::copy(&mut from, &mut file).map_err(StoreError::from_io)?;
            let backend = FileBackend::new(file).map_err(StoreError::from_redb)?;
            let disk = Disk::new(backend);
            let mut store = Self::open_disk(disk, super::CACHE_LEN, STEPS, (unlock, None), |_| Ok(()))?;
            look(|| store.begin_new_lives(rng))?;
            loaded = Some(store.reader().load()?);
            Ok(())
        })?;
        loaded.ok_or(StoreError::Missing)
    }

    fn begin_new_lives(&mut self, rng: &mut impl RngCore) -> Result<(), StoreError> {
        for row in self.reader().load()?.conversations {
            let (mut next, mut from) = (Seq(1), Seq(1));
            loop {
                let (piece, up_to) = self.waiting(row.id, from)?;
                let Some(up_to) = up_to else { break };
                let mut ops = Vec::new();
                for waiting in piece {
                    // Seqs only become smaller, so none that still waits to be renumbered is overwritten.
                    if waiting.seq != next {
                        ops.push(Op::Unqueue(waiting.conversation, waiting.seq));
                        ops.push(Op::Outbox(OutboxRow { seq: next, ..waiting }));
                    }
                    next = next.next();
                }
                self.put(ops)?;
                from = up_to.next();
            }
            let incarnation = Incarnation(rng.next_u64() | 1);
            let end = Seq(row.mine.next.0.saturating_sub(1));
            let mine = MineRow { incarnation, next, previous: Some((row.mine.incarnation, end)), sent_below: Some(next) };
            self.put(vec![Op::Conversation(ConversationRow { mine, ..row })])?;
        }
        Ok(())
    }

    /// What waits from there on, and up to where that is; `None`: nothing.
    fn waiting(&self, conversation: ConversationId, from: Seq) -> Result<(Vec<OutboxRow>, Option<Seq>), StoreError> {
        let rows = self.reader().outbox(conversation, from, ROWS_MAX, PIECE_BYTES)?.rows;
        let last = rows.last().map(|row| row.seq);
        Ok((rows, last))
    }

    fn put(&mut self, ops: Vec<Op>) -> Result<(), StoreError> {
        let batch = WriteBatch { id: BatchId(1), ops: Arc::new(ops) };
        match self.commit(batch) {
            Ok(_) => Ok(()),
            Err(super::row::CommitError::Full) => Err(StoreError::Full),
            Err(error @ super::row::CommitError::Io) => Err(StoreError::Io(io::Error::other(error.to_string()))),
        }
    }
}
