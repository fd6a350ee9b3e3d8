//! What waits for its receipt: the rows of the outbox, and how they come, change and go.

use std::borrow::Cow;

use redb::StorageError;
use serde::{Deserialize, Serialize};

use super::{
    apply::Writing,
    history::Line,
    row::{HistoryRow, OutboxRow, State, VoidReason},
    tables::{OWN, encode},
};
use crate::{
    clock::Unix,
    id::{ConversationId, MessageId, Seq},
};

/// The value of `tables::OUTBOX`; one letter a field, since there are many of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Waiting<'a> {
    /// Line of the message in the history; 0 where it does not stand there.
    #[serde(rename = "l")]
    pub(super) line: u64,
    #[serde(rename = "i")]
    pub(super) id: MessageId,
    #[serde(rename = "k", default, skip_serializing_if = "is_zero")]
    pub(super) kind: u64,
    #[serde(rename = "c")]
    pub(super) created: Unix,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Unix>,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub(super) void: Option<VoidReason>,
    /// The text, where it is not the history's.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Cow<'a, str>>,
}

pub(super) const fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl<'a> Waiting<'a> {
    /// `text_there`: what the history's line says.
    fn new(row: &'a OutboxRow, line: u64, text_there: Option<&str>) -> Self {
        let text = (row.void.is_none() && text_there != Some(&row.text)).then_some(Cow::Borrowed(row.text.as_str()));
        Self { line, id: row.id, kind: row.kind, created: row.created, expires: row.expires, void: row.void, text }
    }
}

impl Writing<'_> {
    pub(super) fn queue(&mut self, row: &OutboxRow, history: &HistoryRow) -> Result<(), StorageError> {
        let number = self.number(row.conversation, &row.peer)?;
        let line = self.directory.next_line;
        if !self.note(&row.id, OWN, (number, line, row.seq.0), None)? {
            return Ok(());
        }
        self.directory.next_line += 1;
        self.history.insert((number, line), encode(&Line::new(history)).as_slice())?;
        self.outbox.insert((number, row.seq.0), encode(&Waiting::new(row, line, Some(&history.text))).as_slice())?;
        Ok(())
    }

    pub(super) fn replace(&mut self, old: &MessageId, row: &OutboxRow, history: &HistoryRow) -> Result<(), StorageError> {
        if !self.is_known(&row.id, OWN)? {
            self.set_state(old, State::Cancelled)?;
        }
        self.queue(row, history)
    }

    pub(super) fn put_outbox(&mut self, row: &OutboxRow) -> Result<(), StorageError> {
        let number = self.number(row.conversation, &row.peer)?;
        let known = self.known(&row.id, OWN)?;
        let mut line = 0;
        let mut text = None;
        if let Some((there, known_line, seq)) = known {
            line = known_line;
            if row.void.is_none() {
                let value = self.history.get((there, line))?;
                text = value.and_then(|value| rmp_serde::from_slice::<Line<'static>>(value.value()).ok()).map(|line| line.text);
            }
            if (there, seq) != (number, row.seq.0) {
                self.move_known(&row.id, OWN, (there, line, row.seq.0))?;
            }
        }
        self.outbox.insert((number, row.seq.0), encode(&Waiting::new(row, line, text.as_deref())).as_slice())?;
        Ok(())
    }

    pub(super) fn settle(
        &mut self,
        conversation: ConversationId,
        seq: Seq,
        state: State,
        reason: &str,
    ) -> Result<(), StorageError> {
        let Some(&number) = self.directory.numbers.get(&conversation) else { return Ok(()) };
        let line = match self.outbox.remove((number, seq.0))? {
            // A damaged row goes too: whom it belonged to is not known any more.
            Some(value) => rmp_serde::from_slice::<Waiting<'static>>(&value).map_or(0, |row| row.line),
            None => 0,
        };
        if line == 0 { Ok(()) } else { self.mark(number, line, state, reason) }
    }

    pub(super) fn unqueue(&mut self, conversation: ConversationId, seq: Seq) -> Result<(), StorageError> {
        if let Some(&number) = self.directory.numbers.get(&conversation) {
            self.outbox.remove((number, seq.0))?;
        }
        Ok(())
    }
}
