//! What was said, in order of commit: how lines come, and what becomes of them. How pages of them are read lives in `reader`,
//! how one is found by its words in `search`.

use std::borrow::Cow;

use redb::StorageError;
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;

use super::{
    apply::Writing,
    outbox::is_zero,
    row::{Direction, HELD_VOID, HistoryRow, State},
    tables::{OWN, encode},
};
use crate::{
    clock::Unix,
    id::{ConversationId, Incarnation, MessageId, PeerId, Seq},
};

/// The value of `tables::HISTORY` and `tables::HELD`; conversation and peer stand in
/// `tables::NUMBERS`. One letter a field, since there are many of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line<'a> {
    #[serde(rename = "i")]
    pub(super) id: MessageId,
    #[serde(rename = "d")]
    pub(super) direction: Direction,
    #[serde(rename = "n")]
    pub(super) incarnation: Incarnation,
    #[serde(rename = "s")]
    pub(super) seq: Seq,
    #[serde(rename = "u", default, skip_serializing_if = "str::is_empty")]
    pub(super) name: Cow<'a, str>,
    #[serde(rename = "k", default, skip_serializing_if = "is_zero")]
    pub(super) kind: u64,
    #[serde(rename = "t")]
    pub(super) text: Cow<'a, str>,
    #[serde(rename = "m", default, skip_serializing_if = "is_empty")]
    pub(super) more: Cow<'a, Bytes>,
    #[serde(rename = "w")]
    pub(super) sent_at: Unix,
    #[serde(rename = "r")]
    pub(super) received_at: Unix,
    #[serde(rename = "l", default, skip_serializing_if = "is_false")]
    pub(super) late: bool,
    /// As it was written; what became of it since stands in `tables::MARKS` and `hot::unread`.
    #[serde(rename = "a")]
    pub(super) state: State,
    #[serde(rename = "x", default, skip_serializing_if = "str::is_empty")]
    pub(super) reason: Cow<'a, str>,
}

fn is_empty(bytes: &Bytes) -> bool {
    bytes.is_empty()
}

const fn is_false(value: &bool) -> bool {
    !*value
}

impl<'a> Line<'a> {
    pub(super) fn new(row: &'a HistoryRow) -> Self {
        Self {
            id: row.id,
            direction: row.direction,
            incarnation: row.incarnation,
            seq: row.seq,
            name: Cow::Borrowed(&row.name),
            kind: row.kind,
            text: Cow::Borrowed(&row.text),
            more: Cow::Borrowed(Bytes::new(&row.more)),
            sent_at: row.sent_at,
            received_at: row.received_at,
            late: row.late,
            state: row.state,
            reason: Cow::Borrowed(&row.reason),
        }
    }

    /// The row, of a conversation with `peer`.
    pub(super) fn into_row(self, conversation: ConversationId, peer: PeerId) -> HistoryRow {
        HistoryRow {
            id: self.id,
            conversation,
            peer,
            name: self.name.into_owned(),
            direction: self.direction,
            incarnation: self.incarnation,
            seq: self.seq,
            kind: self.kind,
            text: self.text.into_owned(),
            more: self.more.into_owned().into_vec(),
            sent_at: self.sent_at,
            received_at: self.received_at,
            late: self.late,
            state: self.state,
            reason: self.reason.into_owned(),
        }
    }
}

/// The value of `tables::MARKS`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mark<'a> {
    #[serde(rename = "a")]
    pub(super) state: State,
    #[serde(rename = "x", default, skip_serializing_if = "str::is_empty")]
    pub(super) reason: Cow<'a, str>,
}

/// How far a message has come: a state of a lower rank does not replace one of a higher.
const fn rank(state: State) -> u8 {
    match state {
        State::Queued => 0,
        State::Sent => 1,
        State::Delivered | State::Cancelled | State::Failed => 2,
        State::Read => 3,
    }
}

impl Writing<'_> {
    pub(super) fn set_state(&mut self, id: &MessageId, state: State) -> Result<(), StorageError> {
        match self.known(id, OWN)? {
            Some((number, line, _)) => self.mark(number, line, state, ""),
            None => Ok(()),
        }
    }

    /// Notes what became of a message of ours.
    pub(super) fn mark(&mut self, number: u32, line: u64, state: State, reason: &str) -> Result<(), StorageError> {
        let mark = encode(&Mark { state, reason: Cow::Borrowed(reason) });
        let old = self.marks.replace((number, line), mark.as_slice())?;
        let Some(old) = old else { return Ok(()) };
        if rmp_serde::from_slice::<Mark<'static>>(&old).is_ok_and(|old| rank(old.state) > rank(state)) {
            self.marks.insert((number, line), old.as_slice())?;
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, row: &HistoryRow) -> Result<(), StorageError> {
        let number = self.number(row.conversation, &row.peer)?;
        let is_first = self.is_large || self.is_first((number, row.incarnation.0, row.seq.0))?;
        // With its id waits that it was the first.
        let appended = self.append(number, row, is_first.then_some(row.incarnation))?;
        if is_first && (self.is_large || !appended) { self.remember(number, row) } else { Ok(()) }
    }

    pub(super) fn hold(&mut self, row: &HistoryRow) -> Result<(), StorageError> {
        let number = self.number(row.conversation, &row.peer)?;
        if self.is_first((number, row.incarnation.0, row.seq.0))? {
            self.remember(number, row)?;
        }
        let key = (number, row.incarnation.0, row.seq.0, row.id.as_bytes());
        self.held.insert(key, encode(&Line::new(row)).as_slice())?;
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        conversation: ConversationId,
        incarnation: Incarnation,
        seq: Seq,
    ) -> Result<(), StorageError> {
        let Some(&number) = self.directory.numbers.get(&conversation) else { return Ok(()) };
        let range = (number, incarnation.0, seq.0, &[0; 16])..=(number, incarnation.0, seq.0, &[u8::MAX; 16]);
        let mut found = Vec::new();
        for entry in self.held.range(range)? {
            let row = entry?;
            let stored = row.stored();
            let line = row.value().ok().and_then(|value| rmp_serde::from_slice::<Line<'static>>(value.value()).ok());
            found.push((stored, line));
        }
        for (stored, line) in found {
            self.held.remove_stored(&stored)?;
            // A damaged one is lost; what follows it must not wait for ever.
            let Some(line) = line.filter(|line| line.kind != HELD_VOID) else { continue };
            let Some(peer) = self.peer_of(number)? else { continue };
            let row = line.into_row(conversation, peer);
            if self.append(number, &row, None)? {
                self.released.push(row);
            }
        }
        Ok(())
    }

    pub(super) fn import(&mut self, row: &HistoryRow) -> Result<(), StorageError> {
        let number = self.number(row.conversation, &row.peer)?;
        let line = self.directory.next_line;
        let of = if row.direction == Direction::In { number } else { OWN };
        if !self.note(&row.id, of, (number, line, row.seq.0), None)? {
            self.duplicates.push(row.place());
            return Ok(());
        }
        self.directory.next_line += 1;
        self.history.insert((number, line), encode(&Line::new(row)).as_slice())?;
        match row.direction {
            Direction::In => Ok(()),
            // Nothing that is said of it later takes its end back.
            Direction::Out => self.mark(number, line, row.state, &row.reason),
        }
    }

    pub(super) fn mark_read(&mut self, peer: &PeerId, id: &MessageId) -> Result<(), StorageError> {
        let Some(number) = self.peers.get(peer.as_bytes())?.map(|number| number.value()) else { return Ok(()) };
        let theirs = self.known(id, number)?.map(|known| known.1);
        let line = match theirs {
            Some(line) => Some(line),
            None => self.known(id, OWN)?.filter(|known| known.0 == number).map(|known| known.1),
        };
        let (unread, read_up_to) = *self.unread_of(number)?;
        let Some(line) = line.filter(|line| *line > read_up_to) else { return Ok(()) };
        let mut left = 0;
        if unread > 0 {
            for entry in self.history.range((number, line.saturating_add(1))..=(number, u64::MAX))? {
                let Ok(value) = entry?.value() else { continue };
                let line = rmp_serde::from_slice::<Line<'static>>(value.value());
                // One that was read before it came here counts for nothing.
                left += u64::from(line.is_ok_and(|line| line.direction == Direction::In && line.state != State::Read));
            }
        }
        *self.unread_of(number)? = (left, line);
        Ok(())
    }

    /// Remembers which message came first at this place.
    fn remember(&mut self, number: u32, row: &HistoryRow) -> Result<(), StorageError> {
        let place = (number, row.incarnation.0, row.seq.0);
        self.received.insert_new(place, row.id.as_bytes()).map(drop)
    }

    /// Appends a received message, or notes that it is a duplicate; true where it was appended. With an `incarnation` it is the
    /// first at its place.
    fn append(&mut self, number: u32, row: &HistoryRow, incarnation: Option<Incarnation>) -> Result<bool, StorageError> {
        let line = self.directory.next_line;
        if !self.note(&row.id, number, (number, line, row.seq.0), incarnation)? {
            self.duplicates.push(row.place());
            return Ok(false);
        }
        self.directory.next_line += 1;
        self.history.insert((number, line), encode(&Line::new(row)).as_slice())?;
        self.unread_of(number)?.0 += 1;
        Ok(true)
    }

    fn peer_of(&self, number: u32) -> Result<Option<PeerId>, StorageError> {
        let entry = self.numbers.get(number)?;
        Ok(entry.and_then(|entry| PeerId::from_bytes(*entry.value().1).ok()))
    }
}
