//! The store: outbox, history, contacts, identity, in one redb file. How a profile is made, opened,
//! migrated and written lives here. It knows tables and no network; it never asks for the time and
//! starts no thread (`net::committer` does).

mod apply;
mod backup;
mod cells;
mod contacts;
mod disk;
mod guard;
mod history;
mod hot;
mod index;
mod migrate;
mod outbox;
mod password;
mod reader;
mod retention;
pub mod row;
mod search;
mod snapshot;
mod tables;

use std::{borrow::Borrow, cell::RefCell, io, path::Path, sync::Arc};

use apply::{Directory, Writing};
use cells::Sealer;
use disk::{Disk, Handle};
use guard::guarded;
pub use guard::hush_caught_panics;
use migrate::{STEPS, Step};
use password::{Seen, unlocked};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use reader::Slot;
pub use reader::{Damaged, HistoryQuery, Loaded, ROWS_MAX, ReadError, Reader, Rows};
pub use redb::StorageBackend;
use redb::{Builder, Database, ReadableDatabase, backends::FileBackend};
pub use retention::{Progress, Upkeep, Walk};
use row::{CommitError, Committed, WriteBatch};
use snapshot::Snapshot;
use zeroize::Zeroizing;

use crate::{
    crypto::vault::{Unlock, Vault},
    id::{BatchId, BootId},
};

/// Name of the store's file in a profile.
pub const FILE_NAME: &str = "profile.redb";
/// Memory that redb may use for pages, in bytes.
pub const CACHE_LEN: usize = 8 << 20;

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
    /// It has a password, and none was given.
    #[error("the profile has a password")]
    Sealed,
    /// It is not this password.
    #[error("wrong password")]
    WrongPassword,
    /// The system denies access.
    #[error("no permission to read and write the profile")]
    Permission,
    /// Something else came between, and goes before.
    #[error("given up for something else")]
    GivenUp,
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

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::Io(io::Error::other(error.to_string())),
            ReadError::Io(why) => Self::Io(io::Error::other(why)),
            ReadError::Corrupt(why) => Self::Corrupt(why),
            ReadError::Row(damaged) => Self::Corrupt(damaged.to_string()),
        }
    }
}

/// An open profile. One per process; the file is locked for as long as it lives.
#[derive(Debug)]
pub struct Store {
    disk: Arc<Disk>,
    slot: Arc<Slot>,
    directory: Directory,
    cache_len: usize,
    /// Where nonces come from, with a password.
    chance: Option<ChaCha20Rng>,
    /// A commit that ended in an error and may be on disk all the same.
    unsure: Option<Unsure>,
}

/// What becomes true if a commit that ended in an error is on disk.
#[derive(Debug)]
struct Unsure {
    batch: BatchId,
    /// Then this many commits are counted there, or more.
    commits: u64,
    committed: Committed,
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
    /// is migrated after a copy of it was put beside it, which the next opening removes. [`StoreError::Sealed`] where it has a password.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, STEPS, None)
    }

    /// The same with the password of one that has one, else it is not needed. Takes the time that trying a password
    /// costs; after [`StoreError::WrongPassword`] nothing has changed.
    pub fn unlock(dir: &Path, unlock: &Unlock) -> Result<Self, StoreError> {
        Self::open_with(dir, STEPS, Some(unlock))
    }

    fn open_with(dir: &Path, steps: &[Step], unlock: Option<&Unlock>) -> Result<Self, StoreError> {
        let file = disk::open_file(dir)?;
        let seen = look_first(dir, steps, unlock)?;
        let still = disk::still(dir, &file);
        let disk = Disk::new(FileBackend::new(file).map_err(StoreError::from_redb)?);
        let (copied, mut migrated) = (Arc::clone(&disk), false);
        let store = Self::open_disk(disk, CACHE_LEN, steps, (unlock, seen), |found| {
            migrated = true;
            copied.copy_beside(dir, found).map_err(StoreError::from_io)
        })?;
        // Before we had the lock, another process may have put another file in its place.
        if !still() {
            return Err(StoreError::Locked);
        }
        disk::remove_remains(dir);
        // What was migrated before is open once more.
        if !migrated {
            disk::remove_copies(dir);
        }
        Ok(store)
    }

    /// Makes a profile on an empty backend. A crash before it returns leaves something that no `open`
    /// takes.
    pub fn create_backend(backend: impl StorageBackend, fresh: &Fresh) -> Result<Self, StoreError> {
        let disk = Disk::new(backend);
        if Handle(Arc::clone(&disk)).len().map_err(StoreError::from_io)? > 0 {
            return Err(StoreError::Exists);
        }
        let database = open_database(&disk, CACHE_LEN)?;
        look(|| fill(&database, fresh).map_err(StoreError::from_redb))?;
        drop(database);
        Self::open_disk(disk, CACHE_LEN, STEPS, (None, None), |_| Ok(()))
    }

    /// Opens the profile on a backend. An older one is migrated without a copy.
    pub fn open_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        Self::open_any(backend, CACHE_LEN, None)
    }

    /// The same with other memory for pages than [`CACHE_LEN`], in bytes: with none, every page is read from the
    /// backend each time, as in a profile that is much larger than the memory.
    pub fn open_backend_with(backend: impl StorageBackend, cache_len: usize) -> Result<Self, StoreError> {
        Self::open_any(backend, cache_len, None)
    }

    /// [`Self::unlock`] on a backend.
    pub fn unlock_backend(backend: impl StorageBackend, unlock: &Unlock) -> Result<Self, StoreError> {
        Self::open_any(backend, CACHE_LEN, Some(unlock))
    }

    fn open_any(backend: impl StorageBackend, cache_len: usize, unlock: Option<&Unlock>) -> Result<Self, StoreError> {
        let disk = Disk::new(backend);
        if Handle(Arc::clone(&disk)).len().map_err(StoreError::from_io)? == 0 {
            return Err(StoreError::Missing);
        }
        Self::open_disk(disk, cache_len, STEPS, (unlock, None), |_| Ok(()))
    }

    fn open_disk(
        disk: Arc<Disk>,
        cache_len: usize,
        steps: &[Step],
        (unlock, seen): (Option<&Unlock>, Option<Seen>),
        copy: impl FnOnce(u32) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let database = open_database(&disk, cache_len)?;
        let (vault, directory, chance) = look(|| {
            let found = tables::schema_of(&database)?;
            let vault = unlocked(wrapped_key(&database)?, unlock, seen)?.map(|seen| seen.vault);
            let mut chance = unlock.filter(|_| vault.is_some()).map(Unlock::rng);
            let rng = fork(&mut chance);
            migrate::migrate(&database, found, steps, sealer(vault.as_ref(), rng.as_ref()), || copy(found))?;
            let directory = load_directory(&database, vault.as_ref())?;
            Ok((vault, directory, chance))
        })?;
        Ok(Self { disk, slot: Arc::new(Slot::new(database, vault)), directory, cache_len, chance, unsure: None })
    }

    /// Snapshots of what is committed; cheap to clone, for any thread. Closed with the store.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.slot))
    }

    /// Applies a batch in one transaction and syncs it. Blocks for as long as the disk takes.
    ///
    /// After an error the store opens the file anew and looks. [`CommitError::Full`] is certain: nothing
    /// of the batch is on disk. After [`CommitError::Io`] the same batch is to be handed in again, as it
    /// was: if it reached the disk after all, it is not applied twice, and told as the first time.
    pub fn commit(&mut self, batch: impl Borrow<WriteBatch>) -> Result<Committed, CommitError> {
        self.commit_batch(batch.borrow())
    }

    fn commit_batch(&mut self, batch: &WriteBatch) -> Result<Committed, CommitError> {
        if self.slot.take_failed() || !self.slot.is_open() {
            self.reopen();
        }
        if let Some(outcome) = self.make_sure(batch.id) {
            return outcome;
        }
        self.disk.take_full();
        let mut result = self.attempt(batch);
        if matches!(result, Err(Failed::BeforeBegin)) {
            // A reader's error has closed the database; this batch has not met the disk yet.
            self.reopen();
            result = self.attempt(batch);
        }
        result.or_else(|_| {
            let full = self.disk.take_full();
            if !self.reopen() {
                return Err(CommitError::Io);
            }
            self.make_sure(batch.id).unwrap_or(Err(if full { CommitError::Full } else { CommitError::Io }))
        })
    }

    /// One try.
    fn attempt(&mut self, batch: &WriteBatch) -> Result<Committed, Failed> {
        let Self { slot, directory, chance, unsure, .. } = self;
        let chance = fork(chance);
        let vault = slot.vault();
        let sealer = sealer(vault.as_ref(), chance.as_ref());
        let tried = guarded(|| {
            let mut transaction = slot.begin_write().ok_or(Failed::BeforeBegin)?;
            transaction.set_quick_repair(true);
            let told = {
                let mut writing = Writing::new(&transaction, sealer, directory)?;
                writing.apply_all(&batch.ops)?;
                writing.finish()?;
                Committed::new(batch.id, writing.duplicates, writing.released)
            };
            *unsure = Some(Unsure { batch: batch.id, commits: directory.commits, committed: told });
            transaction.commit()?;
            unsure.take().map(|unsure| unsure.committed).ok_or(Failed::Within)
        });
        tried.unwrap_or(Err(Failed::Within))
    }

    /// Makes the index of some more of the history, where there is some without; true where there may be more. To be called
    /// while nothing is to be committed: it takes some hundredths of a second. An error leaves everything as it was, and the
    /// index for another time.
    pub fn index(&mut self) -> bool {
        if self.unsure.is_some() || !self.slot.is_open() {
            return false;
        }
        let reader = self.reader();
        let lines = self.directory.next_line;
        while (self.directory.indexed + 1) * index::SEGMENT_LINES <= lines {
            let segment = match reader.missing_segment(self.directory.indexed) {
                Ok(None) => {
                    self.directory.indexed += 1;
                    continue;
                }
                Ok(Some(segment)) => segment,
                Err(error) => {
                    tracing::warn!(%error, "the history is not indexed further");
                    return false;
                }
            };
            let written = guarded(|| self.write_segment(&segment));
            if !matches!(written, Ok(Ok(()))) {
                tracing::warn!("the index of the history could not be written");
                // Whoever comes next finds it open, and tries for itself.
                self.reopen();
                return false;
            }
            self.directory.indexed += 1;
            return true;
        }
        false
    }

    fn write_segment(&mut self, segment: &index::Segment) -> Result<(), redb::Error> {
        let chance = fork(&mut self.chance);
        let vault = self.slot.vault();
        let sealer = sealer(vault.as_ref(), chance.as_ref());
        let Some(mut transaction) = self.slot.begin_write() else { return Err(redb::Error::DatabaseClosed) };
        transaction.set_quick_repair(true);
        {
            let mut words = tables::WORDS.open(&transaction, sealer);
            for (block, value) in &segment.rows {
                words.insert(index::key(segment.number, *block), value.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// What is seen of a failed commit may be seen in the system's memory only. It counts once another
    /// commit went well: that one writes and syncs the file's header again, and all but the header was
    /// synced before the failed commit touched it (redb's two phases). None where there was none.
    fn make_sure(&mut self, batch: BatchId) -> Option<Result<Committed, CommitError>> {
        if self.unsure.take_if(|unsure| unsure.batch != batch).is_some() {
            return None;
        }
        let unsure = self.unsure.take()?;
        let nothing = WriteBatch { id: batch, ops: Arc::default() };
        if self.attempt(&nothing).is_ok() {
            return Some(Ok(unsure.committed));
        }
        self.unsure = Some(unsure);
        self.reopen();
        Some(Err(CommitError::Io))
    }

    /// True where the database is open afterwards; then it is also known whether the last failed commit
    /// is on disk.
    fn reopen(&mut self) -> bool {
        self.slot.close();
        let Ok(database) = open_database(&self.disk, self.cache_len) else { return false };
        let vault = self.slot.vault();
        let Ok(directory) = look(|| load_directory(&database, vault.as_ref())) else { return false };
        self.unsure.take_if(|unsure| unsure.commits > directory.commits);
        self.directory = directory;
        self.slot.put(database, vault);
        true
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

/// Looks at a file that may be damaged.
fn look<T>(look: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    guarded(look).unwrap_or_else(|panic| Err(StoreError::Corrupt(panic)))
}

fn open_database(disk: &Arc<Disk>, cache_len: usize) -> Result<Database, StoreError> {
    let handle = Handle(Arc::clone(disk));
    let database = look(|| Builder::new().set_cache_size(cache_len).create_with_backend(handle).map_err(StoreError::from_redb))?;
    disk.keep_lock();
    Ok(database)
}

fn wrapped_key(database: &impl ReadableDatabase) -> Result<Option<Vec<u8>>, StoreError> {
    tables::wrapped_key(&database.begin_read().map_err(StoreError::from_redb)?)
}

fn load_directory(database: &Database, vault: Option<&Arc<Vault>>) -> Result<Directory, StoreError> {
    let transaction = database.begin_read().map_err(StoreError::from_redb)?;
    Directory::load(&Snapshot::new(transaction, vault.cloned())).map_err(StoreError::from)
}

fn sealer<'t>(vault: Option<&'t Arc<Vault>>, rng: Option<&'t RefCell<ChaCha20Rng>>) -> Option<Sealer<'t>> {
    Some(Sealer { vault: vault?, rng: rng? })
}

/// A generator for one transaction: all of its tables share it.
fn fork(chance: &mut Option<ChaCha20Rng>) -> Option<RefCell<ChaCha20Rng>> {
    let mut seed = Zeroizing::new([0; 32]);
    chance.as_mut()?.fill_bytes(&mut *seed);
    Some(RefCell::new(ChaCha20Rng::from_seed(*seed)))
}

fn fill(database: &Database, fresh: &Fresh) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    tables::lay_out(&transaction, tables::SCHEMA, None)?;
    {
        let mut directory = Directory::default();
        let mut writing = Writing::new(&transaction, None, &mut directory)?;
        writing.set_secret(&fresh.secret)?;
        writing.set_name(&fresh.name)?;
        writing.set_boot(fresh.boot)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Refuses a newer or foreign file, and a wrong password, before anything opens it for writing. What only a repair can
/// make readable is left to that.
fn look_first(dir: &Path, steps: &[Step], unlock: Option<&Unlock>) -> Result<Option<Seen>, StoreError> {
    let path = dir.join(FILE_NAME);
    let database = guarded(|| Builder::new().set_cache_size(CACHE_LEN).open_read_only(path));
    let database = match database {
        Ok(Ok(database)) => database,
        Ok(Err(redb::DatabaseError::DatabaseAlreadyOpen)) => return Err(StoreError::Locked),
        _ => return Ok(None),
    };
    let found = look(|| tables::schema_of(&database))?;
    let known = migrate::newest(steps);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let wrapped = look(|| wrapped_key(&database))?;
    drop(database);
    unlocked(wrapped, unlock, None)
}

#[cfg(test)]
mod tests;
