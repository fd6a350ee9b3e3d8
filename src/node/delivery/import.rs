//! Lines of a history that were said elsewhere, or here before: they are kept, and nothing follows from them. What a file of
//! them looks like is not known here.

use super::Claim;
use crate::{
    clock::Unix,
    id::{ConversationId, Incarnation, MessageId, PeerId, Seq},
    node::{
        Node,
        batch::Health,
        command::{CommandError, CommandId, Reply},
    },
    store::row::{Committed, Direction, HistoryRow, Op, State},
};

/// A line of somebody's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Which message.
    pub id: MessageId,
    /// The other side.
    pub peer: PeerId,
    /// What the other side was called then.
    pub name: String,
    /// Who wrote it.
    pub direction: Direction,
    /// Content kind.
    pub kind: u64,
    /// 1 to `TEXT_LEN_MAX` bytes, no NUL.
    pub text: String,
    /// When it was written.
    pub sent_at: Unix,
    /// When it came, or was queued.
    pub received_at: Unix,
    /// What had become of it.
    pub state: State,
}

impl Node {
    pub(in crate::node) fn import(&mut self, command: CommandId, lines: Vec<Import>) {
        match self.batches.health() {
            Health::Well => {}
            Health::Failing(_) | Health::ReadOnly(_) => return self.reply(command, Reply::Failed(CommandError::Store)),
        }
        let me = self.id();
        if lines.iter().any(|line| line.peer == me) {
            return self.reply(command, Reply::Failed(CommandError::Myself));
        }
        let rows: Vec<HistoryRow> = lines.into_iter().map(|line| row(&me, line)).collect();
        for row in &rows {
            self.batches.push(Op::Import(row.clone()));
        }
        self.batches.gate(Claim::Imported(command, rows));
    }

    pub(super) fn on_imported(&mut self, command: CommandId, rows: &[HistoryRow], committed: Option<&Committed>) {
        let known = rows.iter().filter(|row| committed.is_some_and(|committed| committed.is_duplicate(row))).count();
        self.reply(command, Reply::Imported { added: rows.len() - known, known });
    }
}

fn row(me: &PeerId, line: Import) -> HistoryRow {
    let state = match (line.direction, line.state) {
        (Direction::In, _) => State::Read,
        // What waited there goes out from there, and never from here.
        (Direction::Out, State::Queued | State::Sent) => State::Cancelled,
        (Direction::Out, state) => state,
    };
    HistoryRow {
        id: line.id,
        conversation: ConversationId::direct(me, &line.peer),
        peer: line.peer,
        name: line.name,
        direction: line.direction,
        // No message has these: nothing that is said of one is about this line.
        incarnation: Incarnation(0),
        seq: Seq(0),
        kind: line.kind,
        text: line.text,
        more: Vec::new(),
        sent_at: line.sent_at,
        received_at: line.received_at,
        late: false,
        state,
        reason: String::new(),
    }
}
