//! Another text in the place of a message that nobody has seen yet. The line of the history that says the old one stays, as
//! withdrawn; the new one is a message of its own, in the old one's place of the conversation.
//!
//! What may have been seen is known from the disk: before the first message of a place goes into any session, the counters
//! say so (`MineRow::sent_below`).

use super::Claim;
use crate::{
    clock::Now,
    id::{BatchId, MessageId, PeerId, Seq},
    node::{
        Asked, Node,
        batch::Health,
        command::{CommandError, CommandId, Reply},
        event::Event,
    },
    store::row::{Direction, HistoryRow, Op, OutboxRow, State},
};

impl Node {
    /// Puts another text in the place of a message, where that has never left; `id` is the new one's.
    pub(crate) fn rewrite(&mut self, now: Now, command: CommandId, (old, id): (MessageId, MessageId), text: String) {
        match self.may_rewrite(old, id, &text) {
            Ok(row) => self.replace(command, OutboxRow { id, text, created: self.steady(now), ..row }, old),
            Err(error) => self.fail(command, error),
        }
    }

    fn may_rewrite(&mut self, old: MessageId, id: MessageId, text: &str) -> Result<OutboxRow, CommandError> {
        let row = self.reader.outbox_by_id(old).map_err(|_| CommandError::Store)?.ok_or(CommandError::NoSuchMessage)?;
        self.may_send(&row.peer, text)?;
        if self.reader.has_own(id).map_err(|_| CommandError::Store)? || self.asked.contains_key(&id) {
            return Err(CommandError::TakenId);
        }
        if row.void.is_some() || self.is_settled(&row) {
            return Err(CommandError::NoSuchMessage);
        }
        let is_renumbering = self.renumbering(&row.peer).is_some();
        let conversation = self.peers.get(&row.peer).and_then(|peer| peer.conversation.as_ref());
        let is_unseen = conversation.is_some_and(|one| one.is_unseen(row.seq) && !one.rewriting.contains(&row.seq));
        if is_unseen && !is_renumbering { Ok(row) } else { Err(CommandError::TooLate) }
    }

    fn replace(&mut self, command: CommandId, row: OutboxRow, old: MessageId) {
        let Some(peer) = self.peers.get_mut(&row.peer) else { return };
        let name = peer.contact.name.clone();
        let Some(conversation) = peer.conversation.as_mut() else { return };
        // Neither text leaves before the disk has decided.
        conversation.rewriting.insert(row.seq);
        let history = HistoryRow {
            id: row.id,
            conversation: row.conversation,
            peer: row.peer,
            name,
            direction: Direction::Out,
            incarnation: conversation.row.mine.incarnation,
            seq: row.seq,
            kind: row.kind,
            text: row.text.clone(),
            more: Vec::new(),
            sent_at: row.created,
            received_at: row.created,
            late: false,
            state: State::Queued,
            reason: String::new(),
        };
        self.batches.push(Op::Replace { old, row: row.clone(), history });
        let batch = self.batches.growing();
        self.asked.insert(row.id, Asked { place: (batch, row.seq), commands: vec![command] });
        self.batches.gate(Claim::Rewritten { batch, old, row: Box::new(row) });
    }

    /// The new text is on disk: it may leave, and the old one never does.
    pub(super) fn on_rewritten(&mut self, batch: BatchId, old: MessageId, row: OutboxRow) {
        // Taken out of its batch again where there was no room.
        if self.asked.get(&row.id).is_none_or(|asked| asked.place != (batch, row.seq)) {
            return;
        }
        for command in self.asked.remove(&row.id).into_iter().flat_map(|asked| asked.commands) {
            self.reply(command, Reply::Queued(row.id));
        }
        let reason = self.waiting_reason(&row.peer);
        let (id, to, at) = (row.id, row.peer, self.now.unix);
        if let Some(expires) = row.expires {
            self.expiries.remove(&(expires, old));
            self.expiries.insert((expires, id));
        }
        if let Some(conversation) = self.peers.get_mut(&to).and_then(|peer| peer.conversation.as_mut()) {
            conversation.on_rewritten(row.seq, id, row.created, (row.kind, row.text));
        }
        self.tell(Event::Status { id: old, to, state: State::Cancelled, reason: None, at });
        self.tell(Event::Status { id, to, state: State::Queued, reason, at });
        self.touch(to);
    }

    /// There was no room for it: the old text stands, and goes out.
    pub(super) fn not_rewritten(&mut self, row: &OutboxRow, error: &CommandError) {
        for command in self.asked.remove(&row.id).into_iter().flat_map(|asked| asked.commands) {
            self.fail(command, error.clone());
        }
        if let Some(conversation) = self.peers.get_mut(&row.peer).and_then(|peer| peer.conversation.as_mut()) {
            conversation.rewriting.remove(&row.seq);
        }
        self.touch(row.peer);
    }

    /// True where the place may leave now. Else the disk is told first that it may have; where it cannot be told, what is
    /// there goes out all the same.
    pub(crate) fn may_leave(&mut self, id: PeerId, seq: Seq) -> bool {
        let is_well = self.batches.health() == Health::Well;
        let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return false };
        if seq < conversation.sending_below {
            return true;
        }
        let below = conversation.row.mine.next;
        conversation.row.mine.sent_below = Some(below);
        if is_well && seq >= conversation.leaving_below {
            conversation.leaving_below = below;
            self.batches.push_counters(&conversation.row);
            self.batches.gate(Claim::MayLeave { peer: id, below });
        }
        !is_well
    }

    /// The disk says that what is below may have been seen.
    pub(super) fn on_may_leave(&mut self, id: PeerId, below: Seq) {
        if let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) {
            conversation.sending_below = conversation.sending_below.max(below);
        }
        self.touch(id);
    }
}
