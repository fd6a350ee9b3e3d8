//! The one place through which keys and values pass on their way to redb and back. Without a password they lie there as they are;
//! with one, every value is sealed for its table and its key, and what a key names is a keyed hash.
//!
//! Sealed tables have the same names and the same keys, so ranges of numbers are read as ever: numbers and lines say how much is
//! there and who not. Ids in keys are hashed, each table for itself; the id itself stands in the value, before it. Only `application`,
//! `schema` and the wrapped key lie open, in `tables`.

use std::{
    cell::{OnceCell, RefCell},
    marker::PhantomData,
    ops::RangeBounds,
    sync::Arc,
};

use rand_chacha::ChaCha20Rng;
use redb::{
    AccessGuard, Key, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, StorageError, TableDefinition,
    TableError, Value, WriteTransaction,
};

use super::reader::{Damaged, ReadError};
use crate::crypto::vault::Vault;

/// Every sealed value is bound to this layout.
const LAYOUT: u8 = 1;

/// A sealed table of these keys.
type Sealed = &'static [u8];

/// A table: what it is called, and which bytes of its keys are an id.
pub(super) struct Cells<K, V> {
    pub(super) name: &'static str,
    id: (usize, usize),
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Cells<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Cells<K, V> {}

/// What sealing takes: the lock, and chance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealer<'t> {
    pub(super) vault: &'t Arc<Vault>,
    pub(super) rng: &'t RefCell<ChaCha20Rng>,
}

/// A key or a value that was read.
pub(super) enum Read<'a, V: Value + 'static> {
    Plain(AccessGuard<'a, V>),
    Opened(Vec<u8>),
}

impl<V: Value + 'static> Read<'_, V> {
    pub(super) fn value(&self) -> V::SelfType<'_> {
        match self {
            Self::Plain(guard) => guard.value(),
            Self::Opened(bytes) => V::from_bytes(bytes),
        }
    }
}

impl<K: Key + 'static, V: Value + 'static> Cells<K, V> {
    /// A table whose keys name nobody.
    pub(super) const fn new(name: &'static str) -> Self {
        Self::naming(name, 0, 0)
    }

    /// A table in whose keys these bytes are an id.
    pub(super) const fn naming(name: &'static str, from: usize, to: usize) -> Self {
        Self { name, id: (from, to), types: PhantomData }
    }

    pub(super) fn plain(self) -> TableDefinition<'static, K, V> {
        TableDefinition::new(self.name)
    }

    fn sealed(self) -> TableDefinition<'static, K, Sealed> {
        TableDefinition::new(self.name)
    }

    /// The table for writing: opened, and made where it is missing, at its first use. Most transactions use few of them.
    pub(super) const fn open<'t>(self, transaction: &'t WriteTransaction, sealer: Option<Sealer<'t>>) -> Table<'t, K, V> {
        Table { cells: self, transaction, sealer, opened: OnceCell::new() }
    }

    /// Removes it and all of its rows.
    pub(super) fn delete(self, transaction: &WriteTransaction, sealer: Option<Sealer<'_>>) -> Result<(), redb::Error> {
        match sealer {
            None => transaction.delete_table(self.plain())?,
            Some(_) => transaction.delete_table(self.sealed())?,
        };
        Ok(())
    }

    /// Opens it for reading.
    pub(super) fn read(self, transaction: &ReadTransaction, vault: Option<&Arc<Vault>>) -> Result<Reading<K, V>, TableError> {
        Ok(match vault {
            None => Reading::Plain(transaction.open_table(self.plain())?),
            Some(vault) => Reading::Sealed(self, transaction.open_table(self.sealed())?, Arc::clone(vault)),
        })
    }

    /// Bytes of a key as they are stored, and the id that stood in them.
    fn stored_key(self, vault: &Vault, key: &K::SelfType<'_>) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = K::as_bytes(key).as_ref().to_vec();
        let named = bytes.get_mut(self.id.0..self.id.1).unwrap_or_default();
        let id = named.to_vec();
        if !id.is_empty() {
            vault.blind(self.name, named);
        }
        (bytes, id)
    }

    fn place(self, stored_key: &[u8]) -> Vec<u8> {
        [&[LAYOUT], self.name.as_bytes(), &[0], stored_key].concat()
    }

    fn seal(self, sealer: Sealer<'_>, key: &K::SelfType<'_>, value: &V::SelfType<'_>) -> (Vec<u8>, Vec<u8>) {
        let (stored, id) = self.stored_key(sealer.vault, key);
        let value = V::as_bytes(value);
        let place = self.place(&stored);
        let mut rng = sealer.rng.borrow_mut();
        let sealed = if id.is_empty() {
            sealer.vault.seal(&place, value.as_ref(), &mut rng)
        } else {
            sealer.vault.seal(&place, &[&id, value.as_ref()].concat(), &mut rng)
        };
        (stored, sealed)
    }

    /// Key and value as they were before they were sealed.
    fn unseal(self, vault: &Vault, stored: &[u8], sealed: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Damaged> {
        let damaged = || Damaged {
            table: self.name,
            key: format!("{:?}", K::from_bytes(stored)),
            why: "it is not what was sealed here".to_owned(),
        };
        let mut value = vault.open(&self.place(stored), sealed).ok_or_else(damaged)?;
        let mut key = stored.to_vec();
        if let Some(id) = key.get_mut(self.id.0..self.id.1).filter(|id| !id.is_empty()) {
            if value.len() < id.len() {
                return Err(damaged());
            }
            let len = id.len();
            id.copy_from_slice(&value[..len]);
            value.drain(..len);
        }
        if V::fixed_width().is_some_and(|width| width != value.len()) {
            return Err(damaged());
        }
        Ok((key, value))
    }
}

/// A table that is written.
pub(super) struct Table<'t, K: Key + 'static, V: Value + 'static> {
    cells: Cells<K, V>,
    transaction: &'t WriteTransaction,
    sealer: Option<Sealer<'t>>,
    opened: OnceCell<Opened<'t, K, V>>,
}

enum Opened<'t, K: Key + 'static, V: Value + 'static> {
    Plain(redb::Table<'t, K, V>),
    Sealed(SealedTable<'t, K, V>),
}

struct SealedTable<'t, K: Key + 'static, V: Value + 'static> {
    cells: Cells<K, V>,
    table: redb::Table<'t, K, Sealed>,
    sealer: Sealer<'t>,
}

impl<K: Key + 'static, V: Value + 'static> SealedTable<'_, K, V> {
    /// What a write that meets damage goes on with.
    fn told(&self, stored: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        match self.cells.unseal(self.sealer.vault, stored, sealed) {
            Ok((_, value)) => Some(value),
            Err(damaged) => {
                tracing::warn!(%damaged);
                None
            }
        }
    }
}

impl<'t, K: Key + 'static, V: Value + 'static> Table<'t, K, V> {
    /// Opens it now, which makes it where it is missing.
    pub(super) fn make(mut self) -> Result<(), StorageError> {
        self.opened_mut().map(drop)
    }

    fn opened(&self) -> Result<&Opened<'t, K, V>, StorageError> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = self.open_now()?;
        Ok(self.opened.get_or_init(|| opened))
    }

    fn opened_mut(&mut self) -> Result<&mut Opened<'t, K, V>, StorageError> {
        self.opened()?;
        Ok(self.opened.get_mut().expect("it was opened above"))
    }

    fn open_now(&self) -> Result<Opened<'t, K, V>, StorageError> {
        let opened = match self.sealer {
            None => self.transaction.open_table(self.cells.plain()).map(Opened::Plain),
            Some(sealer) => {
                let table = self.transaction.open_table(self.cells.sealed());
                table.map(|table| Opened::Sealed(SealedTable { cells: self.cells, table, sealer }))
            }
        };
        opened.map_err(|error| match error {
            TableError::Storage(error) => error,
            other => StorageError::Corrupted(other.to_string()),
        })
    }

    /// The value; none, and a warning, where it is damaged.
    pub(super) fn get(&self, key: K::SelfType<'_>) -> Result<Option<Read<'_, V>>, StorageError> {
        match self.opened()? {
            Opened::Plain(table) => Ok(table.get(key)?.map(Read::Plain)),
            Opened::Sealed(sealed) => {
                let (stored, _) = sealed.cells.stored_key(sealed.sealer.vault, &key);
                let Some(value) = sealed.table.get(K::from_bytes(&stored))? else { return Ok(None) };
                Ok(sealed.told(&stored, value.value()).map(Read::Opened))
            }
        }
    }

    /// Whether there is a value, damaged or not.
    pub(super) fn contains(&self, key: K::SelfType<'_>) -> Result<bool, StorageError> {
        match self.opened()? {
            Opened::Plain(table) => Ok(table.get(key)?.is_some()),
            Opened::Sealed(sealed) => {
                let (stored, _) = sealed.cells.stored_key(sealed.sealer.vault, &key);
                Ok(sealed.table.get(K::from_bytes(&stored))?.is_some())
            }
        }
    }

    /// Writes a value over whatever is there.
    pub(super) fn insert(&mut self, key: K::SelfType<'_>, value: V::SelfType<'_>) -> Result<(), StorageError> {
        match self.opened_mut()? {
            Opened::Plain(table) => table.insert(key, value).map(drop),
            Opened::Sealed(sealed) => {
                let (stored, value) = sealed.cells.seal(sealed.sealer, &key, &value);
                sealed.table.insert(K::from_bytes(&stored), value.as_slice()).map(drop)
            }
        }
    }

    /// Writes a value where there is none; false where there is one, damaged or not: it stays. One walk to the row where there
    /// is none, as mostly.
    pub(super) fn insert_new(&mut self, key: K::SelfType<'_>, value: V::SelfType<'_>) -> Result<bool, StorageError> {
        match self.opened_mut()? {
            Opened::Plain(table) => {
                let stored = K::as_bytes(&key).as_ref().to_vec();
                let old = table.insert(K::from_bytes(&stored), value)?.map(|old| V::as_bytes(&old.value()).as_ref().to_vec());
                if let Some(old) = &old {
                    table.insert(K::from_bytes(&stored), V::from_bytes(old))?;
                }
                Ok(old.is_none())
            }
            Opened::Sealed(sealed) => {
                let (stored, value) = sealed.cells.seal(sealed.sealer, &key, &value);
                let old = sealed.table.insert(K::from_bytes(&stored), value.as_slice())?.map(|old| old.value().to_vec());
                if let Some(old) = &old {
                    sealed.table.insert(K::from_bytes(&stored), old.as_slice())?;
                }
                Ok(old.is_none())
            }
        }
    }

    /// Writes a value and gives the bytes of the old one; none, and a warning, where that is damaged.
    pub(super) fn replace(&mut self, key: K::SelfType<'_>, value: V::SelfType<'_>) -> Result<Option<Vec<u8>>, StorageError> {
        match self.opened_mut()? {
            Opened::Plain(table) => Ok(table.insert(key, value)?.map(|old| V::as_bytes(&old.value()).as_ref().to_vec())),
            Opened::Sealed(sealed) => {
                let (stored, value) = sealed.cells.seal(sealed.sealer, &key, &value);
                let old = sealed.table.insert(K::from_bytes(&stored), value.as_slice())?.map(|old| old.value().to_vec());
                Ok(old.and_then(|old| sealed.told(&stored, &old)))
            }
        }
    }

    /// Removes a row and gives the bytes of its value; none, and a warning, where that is damaged.
    pub(super) fn remove(&mut self, key: K::SelfType<'_>) -> Result<Option<Vec<u8>>, StorageError> {
        match self.opened_mut()? {
            Opened::Plain(table) => Ok(table.remove(key)?.map(|old| V::as_bytes(&old.value()).as_ref().to_vec())),
            Opened::Sealed(sealed) => {
                let (stored, _) = sealed.cells.stored_key(sealed.sealer.vault, &key);
                let old = sealed.table.remove(K::from_bytes(&stored))?.map(|old| old.value().to_vec());
                Ok(old.and_then(|old| sealed.told(&stored, &old)))
            }
        }
    }

    /// Removes a row by its key as [`Row::stored`] gave it.
    pub(super) fn remove_stored(&mut self, stored: &[u8]) -> Result<(), StorageError> {
        match self.opened_mut()? {
            Opened::Plain(table) => table.remove(K::from_bytes(stored)).map(drop),
            Opened::Sealed(sealed) => sealed.table.remove(K::from_bytes(stored)).map(drop),
        }
    }

    /// Rows between keys; of those, what stands before an id counts.
    pub(super) fn range<'a>(&self, range: impl RangeBounds<K::SelfType<'a>> + 'a) -> Result<Range<'_, K, V>, StorageError> {
        Ok(match self.opened()? {
            Opened::Plain(table) => Range::Plain(table.range::<K::SelfType<'a>>(range)?),
            Opened::Sealed(sealed) => {
                Range::Sealed(sealed.cells, sealed.table.range::<K::SelfType<'a>>(range)?, Arc::clone(sealed.sealer.vault))
            }
        })
    }

    /// The row with the greatest key.
    pub(super) fn last(&self) -> Result<Option<Row<'_, K, V>>, StorageError> {
        Ok(match self.opened()? {
            Opened::Plain(table) => table.last()?.map(|(key, value)| Row::Plain(key, value)),
            Opened::Sealed(sealed) => {
                let last = sealed.table.last()?;
                last.map(|(key, value)| Row::Sealed(sealed.cells, key, value, Arc::clone(sealed.sealer.vault)))
            }
        })
    }
}

/// A table that is read.
pub(super) enum Reading<K: Key + 'static, V: Value + 'static> {
    Plain(ReadOnlyTable<K, V>),
    Sealed(Cells<K, V>, ReadOnlyTable<K, Sealed>, Arc<Vault>),
}

impl<K: Key + 'static, V: Value + 'static> Reading<K, V> {
    /// The value. Errors with [`ReadError::Row`] where it is damaged.
    pub(super) fn get(&self, key: K::SelfType<'_>) -> Result<Option<Read<'static, V>>, ReadError> {
        match self {
            Self::Plain(table) => Ok(table.get(key)?.map(Read::Plain)),
            Self::Sealed(cells, table, vault) => {
                let (stored, _) = cells.stored_key(vault, &key);
                let Some(value) = table.get(K::from_bytes(&stored))? else { return Ok(None) };
                Ok(Some(Read::Opened(cells.unseal(vault, &stored, value.value())?.1)))
            }
        }
    }

    /// Rows between keys; of those, what stands before an id counts.
    pub(super) fn range<'a>(&self, range: impl RangeBounds<K::SelfType<'a>> + 'a) -> Result<Range<'static, K, V>, StorageError> {
        Ok(match self {
            Self::Plain(table) => Range::Plain(table.range::<K::SelfType<'a>>(range)?),
            Self::Sealed(cells, table, vault) => Range::Sealed(*cells, table.range::<K::SelfType<'a>>(range)?, Arc::clone(vault)),
        })
    }

    /// All rows.
    pub(super) fn iter(&self) -> Result<Range<'static, K, V>, StorageError> {
        Ok(match self {
            Self::Plain(table) => Range::Plain(table.range::<K::SelfType<'_>>(..)?),
            Self::Sealed(cells, table, vault) => Range::Sealed(*cells, table.range::<K::SelfType<'_>>(..)?, Arc::clone(vault)),
        })
    }

    pub(super) fn len(&self) -> Result<u64, StorageError> {
        match self {
            Self::Plain(table) => table.len(),
            Self::Sealed(_, table, _) => table.len(),
        }
    }
}

/// Rows of a table, from both ends.
pub(super) enum Range<'a, K: Key + 'static, V: Value + 'static> {
    Plain(redb::Range<'a, K, V>),
    Sealed(Cells<K, V>, redb::Range<'a, K, Sealed>, Arc<Vault>),
}

impl<'a, K: Key + 'static, V: Value + 'static> Iterator for Range<'a, K, V> {
    type Item = Result<Row<'a, K, V>, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self {
            Self::Plain(range) => range.next()?.map(|(key, value)| Row::Plain(key, value)),
            Self::Sealed(cells, range, vault) => {
                range.next()?.map(|(key, value)| Row::Sealed(*cells, key, value, Arc::clone(vault)))
            }
        })
    }
}

impl<K: Key + 'static, V: Value + 'static> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        Some(match self {
            Self::Plain(range) => range.next_back()?.map(|(key, value)| Row::Plain(key, value)),
            Self::Sealed(cells, range, vault) => {
                range.next_back()?.map(|(key, value)| Row::Sealed(*cells, key, value, Arc::clone(vault)))
            }
        })
    }
}

/// A row that is opened when its value is asked for.
pub(super) enum Row<'a, K: Key + 'static, V: Value + 'static> {
    Plain(AccessGuard<'a, K>, AccessGuard<'a, V>),
    Sealed(Cells<K, V>, AccessGuard<'a, K>, AccessGuard<'a, Sealed>, Arc<Vault>),
}

impl<'a, K: Key + 'static, V: Value + 'static> Row<'a, K, V> {
    /// Its key, in which an id may be hashed.
    pub(super) fn key(&self) -> K::SelfType<'_> {
        match self {
            Self::Plain(key, _) | Self::Sealed(_, key, ..) => key.value(),
        }
    }

    /// Its key as it lies there.
    pub(super) fn stored(&self) -> Vec<u8> {
        K::as_bytes(&self.key()).as_ref().to_vec()
    }

    /// Key and value.
    pub(super) fn open(self) -> Result<(Read<'a, K>, Read<'a, V>), Damaged> {
        match self {
            Self::Plain(key, value) => Ok((Read::Plain(key), Read::Plain(value))),
            Self::Sealed(cells, key, value, vault) => {
                let stored = K::as_bytes(&key.value()).as_ref().to_vec();
                let (key, value) = cells.unseal(&vault, &stored, value.value())?;
                Ok((Read::Opened(key), Read::Opened(value)))
            }
        }
    }

    /// The value.
    pub(super) fn value(self) -> Result<Read<'a, V>, Damaged> {
        self.open().map(|(_, value)| value)
    }
}
