//! What most commits change, in one table: a commit costs a page for each place that it touches, and these share one. The
//! count of commits, the counters of conversations and what is unread stay here; ids of the newest messages come by, and go on
//! to `tables::IDS` and `tables::RECEIVED` many at a time.

use std::{collections::BTreeSet, ops::RangeInclusive};

use redb::StorageError;
use serde::{Deserialize, Serialize};

use super::{
    apply::Writing,
    reader::ReadError,
    snapshot::Snapshot,
    tables::{self, HOT, decode, encode},
};
use crate::id::{Incarnation, MessageId, Seq};

/// A key of [`HOT`]: the number of a conversation, or 0; which row of it, or whose id; 0; and the id, or zeros. As in
/// `tables::HELD`: code for keys of another form would be a hundredth of the program.
pub(super) type Key<'a> = (u32, u64, u64, &'a [u8; 16]);
/// What `tables::IDS` has of a message: number, line and seq.
pub(super) type Known = (u32, u64, u64);
/// A place in a peer's direction: number, incarnation and seq.
pub(super) type Place = (u32, u64, u64);

/// How many transactions were committed in this file's life.
pub(super) const COMMITS: Key<'static> = (0, 0, 0, &[0; 16]);
/// Ids that wait here at most. Of a batch with more operations than that none does.
pub(super) const RECENT_MAX: usize = 32;

/// The row with the counters of a conversation.
pub(super) const fn counters(number: u32) -> Key<'static> {
    (number, 0, 0, &[0; 16])
}

/// The row that says how many lines of a peer are unread, and up to which line all are read.
pub(super) const fn unread(number: u32) -> Key<'static> {
    (number, 1, 0, &[0; 16])
}

/// Whether [`unread`] made this key.
#[cfg(test)]
pub(super) const fn is_unread((number, row, ..): Key<'_>) -> bool {
    number > 0 && row == 1
}

/// The row of a new message; `whose` as in `tables::IDS`.
pub(super) const fn recent(id: &MessageId, whose: u32) -> Key<'_> {
    (0, whose as u64, 0, id.as_bytes())
}

/// Whether [`recent`] made this key.
pub(super) const fn is_recent((number, whose, ..): Key<'_>) -> bool {
    number == 0 && whose > 0
}

/// All of them, and [`COMMITS`].
fn all_recent() -> RangeInclusive<Key<'static>> {
    COMMITS..=(0, u64::MAX, u64::MAX, &[u8::MAX; 16])
}

/// What is there of a message whose id is new.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Recent {
    #[serde(rename = "c")]
    number: u32,
    #[serde(rename = "l")]
    line: u64,
    #[serde(rename = "s")]
    seq: Seq,
    /// Of one that was the first at its place.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    incarnation: Option<Incarnation>,
}

impl Recent {
    const fn new((number, line, seq): Known, incarnation: Option<Incarnation>) -> Self {
        Self { number, line, seq: Seq(seq), incarnation }
    }

    const fn known(&self) -> Known {
        (self.number, self.line, self.seq.0)
    }

    fn place(&self) -> Option<Place> {
        Some((self.number, self.incarnation?.0, self.seq.0))
    }
}

/// A new message.
struct Found {
    /// Its key as it lies there.
    stored: Vec<u8>,
    id: MessageId,
    whose: u32,
    recent: Recent,
}

impl Writing<'_> {
    /// What is known of the message with this id; `whose` as in `tables::IDS`.
    pub(super) fn known(&self, id: &MessageId, whose: u32) -> Result<Option<Known>, StorageError> {
        if let Some(value) = self.hot.get(recent(id, whose))? {
            return Ok(rmp_serde::from_slice::<Recent>(value.value()).ok().map(|row| row.known()));
        }
        Ok(self.ids.get((id.as_bytes(), whose))?.map(|known| known.value()))
    }

    /// Whether there is one, damaged or not.
    pub(super) fn is_known(&self, id: &MessageId, whose: u32) -> Result<bool, StorageError> {
        Ok(self.hot.contains(recent(id, whose))? || self.ids.contains((id.as_bytes(), whose))?)
    }

    /// Notes a new message, and with an `incarnation` that it was the first at its place. False where one with this id is known:
    /// then nothing has changed.
    pub(super) fn note(
        &mut self,
        id: &MessageId,
        whose: u32,
        known: Known,
        incarnation: Option<Incarnation>,
    ) -> Result<bool, StorageError> {
        if self.is_large {
            // One that is damaged waits for ever.
            return Ok(!self.hot.contains(recent(id, whose))? && self.ids.insert_new((id.as_bytes(), whose), known)?);
        }
        if self.is_known(id, whose)? {
            return Ok(false);
        }
        let row = Recent::new(known, incarnation);
        self.hot.insert(recent(id, whose), encode(&row).as_slice())?;
        if let Some(place) = row.place() {
            self.recent_places()?.insert(place);
        }
        Ok(true)
    }

    /// Notes that a message of ours stands elsewhere.
    pub(super) fn move_known(&mut self, id: &MessageId, whose: u32, known: Known) -> Result<(), StorageError> {
        if self.hot.contains(recent(id, whose))? {
            self.hot.insert(recent(id, whose), encode(&Recent::new(known, None)).as_slice())
        } else {
            self.ids.insert((id.as_bytes(), whose), known)
        }
    }

    /// Whether no message has come at this place yet.
    pub(super) fn is_first(&mut self, place: Place) -> Result<bool, StorageError> {
        Ok(!self.recent_places()?.contains(&place) && !self.received.contains(place)?)
    }

    /// Places of which `tables::RECEIVED` does not know yet.
    fn recent_places(&mut self) -> Result<&mut BTreeSet<Place>, StorageError> {
        let places = match self.recent_places.take() {
            Some(places) => places,
            None => self.recent()?.iter().filter_map(|found| found.recent.place()).collect(),
        };
        Ok(self.recent_places.insert(places))
    }

    /// All new messages; damaged rows are left out, and stay.
    fn recent(&self) -> Result<Vec<Found>, StorageError> {
        let mut rows = Vec::new();
        for row in self.hot.range(all_recent())? {
            let row = row?;
            let stored = row.stored();
            if is_recent(row.key())
                && let Ok((key, value)) = row.open()
                && let Ok(recent) = rmp_serde::from_slice(value.value())
            {
                let (_, whose, _, id) = key.value();
                let Ok(whose) = u32::try_from(whose) else { continue };
                rows.push(Found { stored, id: MessageId::from_bytes(*id), whose, recent });
            }
        }
        Ok(rows)
    }

    /// Lets the ids that wait here go on, once they are many, or at once for a large batch.
    pub(super) fn pass_on(&mut self) -> Result<(), StorageError> {
        if !self.is_large {
            let mut waiting = 0;
            for row in self.hot.range(all_recent())? {
                waiting += usize::from(is_recent(row?.key()));
            }
            if waiting <= RECENT_MAX {
                return Ok(());
            }
        }
        for Found { stored, id, whose, recent } in self.recent()? {
            self.ids.insert((id.as_bytes(), whose), recent.known())?;
            if let Some(place) = recent.place() {
                self.received.insert(place, id.as_bytes())?;
            }
            self.hot.remove_stored(&stored)?;
        }
        Ok(())
    }
}

impl Snapshot {
    /// Number, line and seq of a message; `whose` as in `tables::IDS`.
    pub(super) fn known(&self, id: MessageId, whose: u32) -> Result<Option<Known>, ReadError> {
        if let Some(value) = self.open(HOT)?.get(recent(&id, whose))? {
            return Ok(Some(decode::<Recent>(HOT.name, || id.to_string(), value.value())?.known()));
        }
        let known = self.open(tables::IDS)?.get((id.as_bytes(), whose))?;
        Ok(known.map(|known| known.value()))
    }

    /// The id that came first at this place.
    pub(super) fn received_id(&self, place: Place) -> Result<Option<MessageId>, ReadError> {
        if let Some(id) = self.open(tables::RECEIVED)?.get(place)? {
            return Ok(Some(MessageId::from_bytes(*id.value())));
        }
        // A damaged one may be what is looked for.
        let mut nothing = Ok(None);
        for row in self.open(HOT)?.range(all_recent())? {
            let row = row?;
            if !is_recent(row.key()) {
                continue;
            }
            let read = row.open().and_then(|(key, value)| {
                let id = MessageId::from_bytes(*key.value().3);
                decode::<Recent>(HOT.name, || id.to_string(), value.value()).map(|row| (id, row))
            });
            match read {
                Ok((id, row)) if row.place() == Some(place) => return Ok(Some(id)),
                Ok(_) => {}
                Err(damaged) => nothing = Err(damaged.into()),
            }
        }
        nothing
    }

    /// How many lines of this conversation's peer are unread, and up to which line all are read.
    pub(super) fn unread(&self, number: u32) -> Result<(u64, u64), ReadError> {
        let Some(value) = self.open(HOT)?.get(unread(number))? else { return Ok((0, 0)) };
        Ok(decode(HOT.name, || number.to_string(), value.value())?)
    }

    /// How many transactions were committed; 0 where that is missing or damaged.
    pub(super) fn commits(&self) -> Result<u64, ReadError> {
        match self.open(HOT)?.get(COMMITS) {
            Ok(value) => Ok(value.and_then(|value| value.value().try_into().ok()).map_or(0, u64::from_le_bytes)),
            Err(ReadError::Row(damaged)) => {
                tracing::warn!(%damaged);
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}
