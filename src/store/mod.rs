//! The store: outbox, history, contacts, identity, in one redb file. How a profile is made, opened,
//! migrated and written lives here. It knows tables and no network; it never asks for the time and
//! starts no thread (`net::committer` does).

mod apply;
mod contacts;
mod disk;
mod history;
mod outbox;
mod reader;
pub mod row;
mod tables;

use std::{
    borrow::Borrow,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use apply::{Attempt, Directory, Writing};
use disk::{Disk, Handle};
use reader::Slot;
pub use reader::{Damaged, HistoryQuery, Loaded, ROWS_MAX, ReadError, Reader, Rows};
pub use redb::StorageBackend;
use redb::{Builder, Database, backends::FileBackend};
use row::{CommitError, Committed, WriteBatch};
use tables::Step;

use crate::id::BootId;

/// Name of the store's file in a profile.
pub const FILE_NAME: &str = "profile.redb";
/// Memory that redb may use for pages, in bytes.
const CACHE_LEN: usize = 8 << 20;

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

impl StoreError {
    fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission,
            _ if disk::is_full(&error) => Self::Full,
            _ => Self::Io(error),
        }
    }

    fn from_redb(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Self::NotOurs,
            // A file that ends before what its header promises.
            redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Corrupt(error.to_string()),
            redb::Error::Io(error) => Self::from_io(error),
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            redb::Error::UpgradeRequired(_) => Self::NotOurs,
            error @ redb::Error::PreviousIo => Self::Io(io::Error::other(error.to_string())),
            error => Self::Corrupt(error.to_string()),
        }
    }
}

/// An open profile. One per process; the file is locked for as long as it lives.
#[derive(Debug)]
pub struct Store {
    disk: Arc<Disk>,
    slot: Arc<Slot>,
    directory: Directory,
    /// A commit failed and the database was not opened since.
    failed: Option<Attempt>,
    /// What failed commits brought to disk after all, since the last one that went well.
    landed: Attempt,
}

impl Store {
    /// Makes a profile in `dir` (created, mode 0700, where missing) and opens it. A crash leaves either
    /// no profile or a whole one.
    pub fn create(dir: &Path, fresh: &Fresh) -> Result<Self, StoreError> {
        disk::create_file(dir, |file| {
            let backend = FileBackend::new(file).map_err(StoreError::from_redb)?;
            Self::create_backend(backend, fresh).map(drop)
        })?;
        Self::open(dir)
    }

    /// Opens the profile in `dir`. A newer or foreign file stays as it is, byte for byte; an older one
    /// is migrated after a copy of it was put beside it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, tables::STEPS)
    }

    fn open_with(dir: &Path, steps: &[Step]) -> Result<Self, StoreError> {
        let file = disk::open_file(dir)?;
        look_first(dir, steps)?;
        let disk = Disk::new(FileBackend::new(file).map_err(StoreError::from_redb)?);
        let copied = Arc::clone(&disk);
        let store = Self::open_disk(disk, steps, |found| {
            copied.copy_to(&dir.join(format!("profile.schema-{found}.redb"))).map_err(StoreError::from_io)
        })?;
        disk::remove_remains(dir);
        Ok(store)
    }

    /// Makes a profile on an empty backend. A crash before it returns leaves something that no `open`
    /// takes.
    pub fn create_backend(backend: impl StorageBackend, fresh: &Fresh) -> Result<Self, StoreError> {
        let disk = Disk::new(backend);
        if Handle(Arc::clone(&disk)).len().map_err(StoreError::from_io)? > 0 {
            return Err(StoreError::Exists);
        }
        let database = open_database(&disk)?;
        guarded(|| fill(&database, fresh).map_err(StoreError::from_redb))?;
        drop(database);
        Self::open_disk(disk, tables::STEPS, |_| Ok(()))
    }

    /// Opens the profile on a backend. An older one is migrated without a copy.
    pub fn open_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        let disk = Disk::new(backend);
        if Handle(Arc::clone(&disk)).len().map_err(StoreError::from_io)? == 0 {
            return Err(StoreError::Missing);
        }
        Self::open_disk(disk, tables::STEPS, |_| Ok(()))
    }

    fn open_disk(disk: Arc<Disk>, steps: &[Step], copy: impl FnOnce(u32) -> Result<(), StoreError>) -> Result<Self, StoreError> {
        let database = open_database(&disk)?;
        let directory = guarded(|| {
            let found = tables::schema_of(&database)?;
            tables::migrate(&database, found, steps, || copy(found))?;
            load_directory(&database)
        })?;
        Ok(Self { disk, slot: Arc::new(Slot::new(database)), directory, failed: None, landed: Attempt::default() })
    }

    /// Snapshots of what is committed; cheap to clone, for any thread. Closed with the store.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.slot))
    }

    /// Applies a batch in one transaction and syncs it. Blocks for as long as the disk takes.
    ///
    /// After an error its outcome is unknown, the store has reopened itself where it could, and the
    /// batch, or another with the same operations in it, may be committed again: each operation then
    /// does what is left to do, and what the failed attempt brought to disk unnoticed is not reported
    /// as a duplicate. [`CommitError::Full`] is certain: no message of the batch is on disk.
    pub fn commit(&mut self, batch: impl Borrow<WriteBatch>) -> Result<Committed, CommitError> {
        self.commit_batch(batch.borrow())
    }

    fn commit_batch(&mut self, batch: &WriteBatch) -> Result<Committed, CommitError> {
        if self.failed.is_some() {
            self.reopen();
        }
        self.disk.take_full();
        let mut attempt = Attempt::default();
        let mut result = self.attempt(batch, &mut attempt);
        if matches!(result, Err(Failed::BeforeBegin)) {
            // A reader's error has closed the database; this batch has not met the disk yet.
            self.failed = Some(Attempt::default());
            self.reopen();
            result = self.attempt(batch, &mut attempt);
        }
        if let Ok(committed) = result {
            self.landed = Attempt::default();
            return Ok(committed);
        }
        let probe = attempt.probe;
        self.failed = Some(attempt);
        let full = self.disk.take_full();
        let landed = self.reopen();
        if full && (landed == Some(false) || probe.is_none()) { Err(CommitError::Full) } else { Err(CommitError::Io) }
    }

    /// One try; `attempt` says afterwards what it would have brought.
    fn attempt(&mut self, batch: &WriteBatch, attempt: &mut Attempt) -> Result<Committed, Failed> {
        let Self { slot, directory, landed, .. } = self;
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let mut transaction = slot.begin_write().ok_or(Failed::BeforeBegin)?;
            transaction.set_quick_repair(true);
            let (duplicates, released) = {
                let mut writing = Writing::new(&transaction, directory, landed)?;
                for op in batch.ops.iter() {
                    writing.apply(op)?;
                }
                writing.finish()?;
                *attempt = writing.attempt;
                (writing.duplicates, writing.released)
            };
            transaction.commit()?;
            Ok(Committed::new(batch.id, duplicates, released))
        }));
        tried.unwrap_or(Err(Failed::Within))
    }

    /// Opens the database anew after a failed commit. True where what was attempted is on disk, false
    /// where it is not, none where nobody can tell.
    fn reopen(&mut self) -> Option<bool> {
        let attempt = self.failed.as_ref()?;
        self.slot.close();
        let database = open_database(&self.disk).ok()?;
        let looked = guarded(|| {
            let directory = load_directory(&database)?;
            let landed =
                attempt.probe.map(|probe| reader::stands(&database, probe)).transpose().map_err(StoreError::from_redb)?;
            Ok((directory, landed))
        });
        let (directory, landed) = looked.ok()?;
        self.directory = directory;
        self.slot.put(database);
        let attempt = self.failed.take()?;
        if landed == Some(true) {
            self.landed.extend(attempt);
        }
        landed
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.slot.close();
    }
}

/// Where an attempt to commit failed.
enum Failed {
    /// Before this batch met the disk.
    BeforeBegin,
    /// Later.
    Within,
}

impl<E: Into<redb::Error>> From<E> for Failed {
    fn from(_: E) -> Self {
        Self::Within
    }
}

/// Runs what reads pages of a file that may be damaged: redb panics on some of them.
fn guarded<T>(look: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|panic| Err(StoreError::Corrupt(reader::words_of(&*panic))))
}

fn open_database(disk: &Arc<Disk>) -> Result<Database, StoreError> {
    let handle = Handle(Arc::clone(disk));
    let database =
        guarded(|| Builder::new().set_cache_size(CACHE_LEN).create_with_backend(handle).map_err(StoreError::from_redb))?;
    disk.keep_lock();
    Ok(database)
}

fn load_directory(database: &Database) -> Result<Directory, StoreError> {
    use redb::ReadableDatabase;
    let transaction = database.begin_read().map_err(StoreError::from_redb)?;
    Directory::load(&transaction).map_err(StoreError::from_redb)
}

fn fill(database: &Database, fresh: &Fresh) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    tables::lay_out(&transaction, tables::SCHEMA)?;
    {
        let mut directory = Directory::default();
        let nothing = Attempt::default();
        let mut writing = Writing::new(&transaction, &mut directory, &nothing)?;
        writing.set_secret(&fresh.secret)?;
        writing.set_name(&fresh.name)?;
        writing.set_boot(fresh.boot)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Refuses a newer or foreign file before anything opens it for writing. What only a repair can make
/// readable is left to that.
fn look_first(dir: &Path, steps: &[Step]) -> Result<(), StoreError> {
    let path = dir.join(FILE_NAME);
    let database = catch_unwind(|| Builder::new().set_cache_size(CACHE_LEN).open_read_only(path));
    let database = match database {
        Ok(Ok(database)) => database,
        Ok(Err(redb::DatabaseError::DatabaseAlreadyOpen)) => return Err(StoreError::Locked),
        _ => return Ok(()),
    };
    let found = guarded(|| tables::schema_of(&database))?;
    let known = tables::newest(steps);
    if found > known { Err(StoreError::Newer { found, known }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
