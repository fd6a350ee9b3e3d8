//! The password of a profile: set, changed and removed. To set or to remove it writes the whole file anew, so that nothing stays
//! in the old one's free pages; to change it wraps the same key again. What sealing does to keys and values lives in `cells`.

use std::{cell::RefCell, path::Path, sync::Arc};

use rand_chacha::ChaCha20Rng;
use redb::{Database, Key, StorageBackend, TableError, Value, WriteTransaction, backends::FileBackend};

use super::{
    CACHE_LEN, Store, StoreError,
    cells::{Cells, Sealer},
    disk::{self, Disk},
    load_directory, look,
    migrate::STEPS,
    open_database,
    reader::ReadError,
    snapshot::Snapshot,
    tables,
};
use crate::crypto::vault::{Cost, LockedOut, Unlock, Vault};

/// Single values that a copy has of its own, or none: what lies open, and how many lines are missing in the file.
const NOT_COPIED: [&str; 4] = [tables::OPEN[0], tables::OPEN[1], tables::OPEN[2], "removed"];
/// Rows between two questions whether to go on.
const ASK_EVERY: u64 = 256;

/// What a copy's values are sealed with.
pub(super) struct Lock {
    pub(super) vault: Arc<Vault>,
    pub(super) wrapped: Vec<u8>,
    pub(super) rng: RefCell<ChaCha20Rng>,
}

impl Lock {
    /// A key of its own, wrapped with this password.
    fn new(unlock: &Unlock, cost: Cost) -> Result<Self, StoreError> {
        let mut rng = unlock.rng();
        let vault = Arc::new(Vault::generate(&mut rng));
        let wrapped = vault.wrap(unlock, cost, &mut rng)?;
        Ok(Self { vault, wrapped, rng: RefCell::new(rng) })
    }
}

/// A wrapped key that a password has opened.
pub(super) struct Seen {
    wrapped: Vec<u8>,
    pub(super) vault: Arc<Vault>,
}

/// Opens the wrapped key, unless it is the one that was seen before.
pub(super) fn unlocked(
    wrapped: Option<Vec<u8>>,
    unlock: Option<&Unlock>,
    seen: Option<Seen>,
) -> Result<Option<Seen>, StoreError> {
    let Some(wrapped) = wrapped else { return Ok(None) };
    if let Some(seen) = seen
        && seen.wrapped == wrapped
    {
        return Ok(Some(seen));
    }
    let vault = Vault::unwrap(&wrapped, unlock.ok_or(StoreError::Sealed)?)?;
    Ok(Some(Seen { wrapped, vault: Arc::new(vault) }))
}

impl From<LockedOut> for StoreError {
    fn from(error: LockedOut) -> Self {
        match error {
            LockedOut::WrongPassword => Self::WrongPassword,
            LockedOut::Damaged => Self::Corrupt(error.to_string()),
        }
    }
}

impl Store {
    /// Sets, changes or removes (`new` is none) the password of the profile in `dir`, which nobody may have open. `old` is
    /// what it has now. A crash, and an error, leave either what was or what is to be, each with its own password.
    pub fn set_password(dir: &Path, old: Option<&Unlock>, new: Option<&Unlock>, cost: Cost) -> Result<(), StoreError> {
        Self::open_with(dir, STEPS, old)?.lock_by(dir, new, cost)
    }

    /// The same while this store has it open: whoever reads goes on, and the lock on the profile stays ours. Takes its time
    /// for a long history. After [`StoreError::WrongPassword`] nothing has changed.
    pub fn change_password(
        &mut self,
        dir: &Path,
        old: Option<&Unlock>,
        new: Option<&Unlock>,
        cost: Cost,
    ) -> Result<(), StoreError> {
        if self.unsure.is_some() || !self.slot.is_open() {
            return Err(ReadError::Closed.into());
        }
        unlocked(self.slot.snapshot()?.wrapped_key()?, old, None)?;
        self.lock_by(dir, new, cost)
    }

    fn lock_by(&mut self, dir: &Path, new: Option<&Unlock>, cost: Cost) -> Result<(), StoreError> {
        match (self.slot.vault(), new) {
            (None, None) => Ok(()),
            (Some(vault), Some(new)) => {
                let wrapped = vault.wrap(new, cost, &mut new.rng())?;
                look(|| self.rewrap(&wrapped).map_err(StoreError::from_redb))
            }
            (Some(_), None) | (None, Some(_)) => {
                let lock = new.map(|new| Lock::new(new, cost)).transpose()?;
                self.move_to_copy(dir, lock, new.map(Unlock::rng), &mut |_, _| true)?;
                // All that is said stands in there too, without a password.
                disk::remove_copies(dir);
                Ok(())
            }
        }
    }

    pub(super) fn rewrap(&self, wrapped: &[u8]) -> Result<(), redb::Error> {
        let mut transaction = self.slot.begin_write().ok_or(redb::Error::DatabaseClosed)?;
        transaction.set_quick_repair(true);
        tables::put_wrapped_key(&transaction, wrapped)?;
        transaction.commit()?;
        Ok(())
    }

    /// A copy takes the place of the file, and this store goes on with it.
    pub(super) fn move_to_copy(
        &mut self,
        dir: &Path,
        lock: Option<Lock>,
        chance: Option<ChaCha20Rng>,
        go_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<(), StoreError> {
        let mut made = None;
        let replaced = disk::replace_file(dir, |file| {
            let is_there = disk::still(dir, &file);
            let disk = Disk::new(FileBackend::new(file).map_err(StoreError::from_redb)?);
            let (database, vault) = self.copy_onto(&disk, lock, go_on)?;
            let directory = look(|| load_directory(&database, vault.as_ref()))?;
            made = Some((is_there, disk, database, vault, directory));
            Ok(())
        });
        // Also where its name could not be made durable: what is written to the other file from here on is lost.
        if let Some((is_there, disk, database, vault, directory)) = made
            && is_there()
        {
            self.slot.put(database, vault);
            self.disk = disk;
            self.directory = directory;
            self.chance = chance;
        }
        replaced
    }

    /// Writes all that is here to an empty backend, sealed under `new` with a key of its own where that is given. Errors
    /// where a row is damaged: it would be lost there.
    pub fn copy_to(&self, backend: impl StorageBackend, new: Option<&Unlock>, cost: Cost) -> Result<(), StoreError> {
        let lock = new.map(|new| Lock::new(new, cost)).transpose()?;
        self.copy_onto(&Disk::new(backend), lock, &mut |_, _| true).map(drop)
    }

    fn copy_onto(
        &self,
        disk: &Arc<Disk>,
        lock: Option<Lock>,
        go_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<(Database, Option<Arc<Vault>>), StoreError> {
        let sealed = lock.as_ref().map(|lock| (Sealer { vault: &lock.vault, rng: &lock.rng }, lock.wrapped.as_slice()));
        let database = open_database(disk, CACHE_LEN)?;
        look(|| {
            let mut transaction = database.begin_write().map_err(StoreError::from_redb)?;
            transaction.set_quick_repair(true);
            tables::lay_out(&transaction, tables::SCHEMA, sealed).map_err(StoreError::from_redb)?;
            let from = &self.slot.snapshot()?;
            let mut copy = Copy { from, to: &transaction, sealer: sealed.map(|(sealer, _)| sealer), done: 0, of: 0, go_on };
            copy.all()?;
            transaction.commit().map_err(StoreError::from_redb)
        })?;
        Ok((database, lock.map(|lock| lock.vault)))
    }
}

/// All rows on their way to another file.
struct Copy<'t> {
    from: &'t Snapshot,
    to: &'t WriteTransaction,
    sealer: Option<Sealer<'t>>,
    /// Rows that are there, of how many.
    done: u64,
    of: u64,
    go_on: &'t mut dyn FnMut(u64, u64) -> bool,
}

impl Copy<'_> {
    /// The index of words is left out: it is made anew.
    fn all(&mut self) -> Result<(), StoreError> {
        self.of =
            self.rows(tables::HISTORY)? + self.rows(tables::MARKS)? + self.rows(tables::IDS)? + self.rows(tables::RECEIVED)?;
        self.table(tables::META)?;
        self.table(tables::CONTACTS)?;
        self.table(tables::CONVERSATIONS)?;
        self.table(tables::NUMBERS)?;
        self.table(tables::PEERS)?;
        self.table(tables::HOT)?;
        self.table(tables::OUTBOX)?;
        self.table(tables::HISTORY)?;
        self.table(tables::MARKS)?;
        self.table(tables::IDS)?;
        self.table(tables::RECEIVED)?;
        self.table(tables::HELD)
    }

    fn rows<K: Key + 'static, V: Value + 'static>(&self, cells: Cells<K, V>) -> Result<u64, StoreError> {
        Ok(self.from.open(cells)?.len().map_err(ReadError::from)?)
    }

    fn table<K: Key + 'static, V: Value + 'static>(&mut self, cells: Cells<K, V>) -> Result<(), StoreError> {
        let from = match self.from.open(cells) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            from => from.map_err(ReadError::from)?,
        };
        let mut to = cells.open(self.to, self.sealer);
        for row in from.iter().map_err(StoreError::from_redb)? {
            let row = row.map_err(StoreError::from_redb)?;
            if cells.name == tables::META.name && NOT_COPIED.iter().any(|key| row.stored() == key.as_bytes()) {
                continue;
            }
            self.done += 1;
            if self.done.is_multiple_of(ASK_EVERY) && !(self.go_on)(self.done, self.of.max(self.done)) {
                return Err(StoreError::GivenUp);
            }
            let (key, value) = row.open().map_err(ReadError::from)?;
            to.insert(key.value(), value.value()).map_err(StoreError::from_redb)?;
        }
        Ok(())
    }
}
