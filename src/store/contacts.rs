//! Who we are, whom we know, and the counters of conversations: the rows that are few and replaced.

use redb::StorageError;
use serde::{Deserialize, Serialize};

use super::{
    apply::Writing,
    hot,
    outbox::is_zero,
    row::{Contact, ConversationRow, MineRow, YoursRow},
    tables::encode,
};
use crate::id::{BootId, Incarnation, Seq};

/// The value of `hot::counters`; id and peer stand in `tables::NUMBERS`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) mine: MineRow,
    pub(super) yours: Vec<YoursRow>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) unread: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) read: Vec<(Incarnation, Seq)>,
}

impl Writing<'_> {
    pub(super) fn set_boot(&mut self, boot: BootId) -> Result<(), StorageError> {
        self.meta.insert("boot", boot.0.to_le_bytes().as_slice())?;
        Ok(())
    }

    pub(super) fn set_name(&mut self, name: &str) -> Result<(), StorageError> {
        self.meta.insert("name", name.as_bytes())?;
        Ok(())
    }

    pub(super) fn set_secret(&mut self, secret: &[u8; 32]) -> Result<(), StorageError> {
        self.meta.insert("secret", secret.as_slice())?;
        Ok(())
    }

    pub(super) fn put_contact(&mut self, contact: &Contact) -> Result<(), StorageError> {
        self.contacts.insert(contact.id.as_bytes(), encode(contact).as_slice())?;
        Ok(())
    }

    pub(super) fn put_conversation(&mut self, row: &ConversationRow) -> Result<(), StorageError> {
        let number = self.number(row.id, &row.peer)?;
        let counters = Counters { mine: row.mine.clone(), yours: row.yours.clone(), unread: row.unread, read: row.read.clone() };
        self.hot.insert(hot::counters(number), encode(&counters).as_slice())?;
        Ok(())
    }

    /// How many lines of this conversation's peer are unread, and up to which line all are read.
    pub(super) fn unread_of(&mut self, number: u32) -> Result<&mut (u64, u64), StorageError> {
        use std::collections::btree_map::Entry;
        match self.unread_now.entry(number) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let stored = self.hot.get(hot::unread(number))?;
                let stored = stored.and_then(|value| rmp_serde::from_slice(value.value()).ok()).unwrap_or_default();
                Ok(entry.insert(stored))
            }
        }
    }
}
