//! The store: outbox, history, contacts, identity, in one redb file. How a profile is made, opened,
//! migrated and written lives here. It knows tables and no network; it never asks for the time and
//! starts no thread (`net::committer` does).

use std::{borrow::Borrow, io, path::Path};

pub use reader::{Damaged, HistoryQuery, Loaded, ROWS_MAX, ReadError, Reader, Rows};
pub use redb::StorageBackend;
use row::{CommitError, Committed, WriteBatch};

use crate::id::BootId;

mod reader;
pub mod row;

/// Name of the store's file in a profile.
pub const FILE_NAME: &str = "profile.redb";

/// What a new profile begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// The identity's secret key.
    pub secret: [u8; 32],
    /// What we call ourselves.
    pub name: String,
    /// The first run's boot id.
    pub boot: BootId,
}

/// Why a profile cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another store of this process, has it open.
    #[error("the profile is in use")]
    Locked,
    /// There is no profile here.
    #[error("there is no profile here")]
    Missing,
    /// There is a profile here already (only when creating).
    #[error("there is a profile here already")]
    Exists,
    /// The file is something else.
    #[error("{FILE_NAME} is not a profile of p2pchat-udp")]
    NotOurs,
    /// The file was a profile once.
    #[error("the profile is damaged: {0}")]
    Corrupt(String),
    /// A later version has migrated it.
    #[error("the profile is of a newer version (schema {found}, this version knows {known})")]
    Newer {
        /// The file's schema.
        found: u32,
        /// The newest schema that this version knows.
        known: u32,
    },
    /// The system denies access.
    #[error("no permission to read and write the profile")]
    Permission,
    /// No room on the disk.
    #[error("the disk is full")]
    Full,
    /// Any other error of the disk.
    #[error("the profile cannot be read or written: {0}")]
    Io(io::Error),
}

/// An open profile. One per process; the file is locked for as long as it lives.
#[derive(Debug)]
pub struct Store {
    reader: Reader,
}

impl Store {
    /// Makes a profile in `dir` (created, mode 0700, where missing) and opens it. A crash leaves either
    /// no profile or a whole one.
    pub fn create(dir: &Path, fresh: &Fresh) -> Result<Self, StoreError> {
        let _ = (dir, fresh);
        Err(StoreError::Missing)
    }

    /// Opens the profile in `dir`.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let _ = dir;
        Err(StoreError::Missing)
    }

    /// Makes a profile on an empty backend. Not safe against a crash before it returns.
    pub fn create_backend(backend: impl StorageBackend, fresh: &Fresh) -> Result<Self, StoreError> {
        let _ = (backend, fresh);
        Err(StoreError::Missing)
    }

    /// Opens the profile on a backend.
    pub fn open_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        let _ = backend;
        Err(StoreError::Missing)
    }

    /// Snapshots of what is committed; cheap to clone, for any thread.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Applies a batch in one transaction and syncs it. Blocks for as long as the disk takes.
    ///
    /// After an error its outcome is unknown, the store has reopened itself where it had to, and the
    /// batch, or one with the same operations in it, may be committed again: each operation then does
    /// what is left to do, and what the failed attempt may have brought to disk unnoticed is not
    /// reported as a duplicate. [`CommitError::Full`] is certain: nothing of the batch is on disk.
    pub fn commit(&mut self, batch: impl Borrow<WriteBatch>) -> Result<Committed, CommitError> {
        let _ = batch.borrow();
        Err(CommitError::Io)
    }
}
