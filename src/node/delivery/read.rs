//! Read receipts: what I have read goes to whom I let know, and what others say they have read of mine.
//!
//! Each side's messages are shown in order, so what is read is everything up to a seq. Where I am is known from the disk
//! (`Reader::read_to`), and told anew in each session: nothing of it is lost. What a peer says is one number of the
//! conversation's counters, and the history shows it.

use super::Claim;
use crate::{
    clock::Now,
    id::{Incarnation, PeerId, Seq},
    node::{
        Node,
        command::{CommandId, Reply},
        event::Event,
    },
    store::{
        HistoryQuery, ROWS_MAX,
        row::{Direction, State},
    },
    wire::message::{Admission, Item, Receipt},
};

impl Node {
    /// True where this peer is told what I have read: a contact, where that is on.
    pub(crate) fn tells_read(&self, id: &PeerId) -> bool {
        let contact = self.peers.get(id).map(|peer| &peer.contact);
        contact.is_some_and(|contact| contact.added && contact.receipts.unwrap_or(self.config.read_receipts))
    }

    /// Who is not told otherwise hears what I have read from now on, or nothing more of it.
    pub(crate) fn set_read_receipts(&mut self, command: CommandId, on: bool) {
        self.config.read_receipts = on;
        let all: Vec<_> = self.peers.keys().copied().collect();
        all.into_iter().for_each(|id| self.readmit(id));
        self.reply(command, Reply::Done);
    }

    /// Says how far I have read, where that is to be said and was not said in this session.
    pub(crate) fn send_read(&mut self, id: PeerId) {
        if !self.tells_read(&id) {
            return;
        }
        let Ok(Some(read)) = self.reader.read_to(id) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.session().map(|session| session.local_index()) else { return };
        let Some(conversation) = &mut peer.conversation else { return };
        // Of another life the peer knows nothing in this session.
        let (incarnation, seq) = read;
        if conversation.theirs != Some(incarnation) || conversation.told_read == Some((session, read)) {
            return;
        }
        conversation.told_read = Some((session, read));
        let receipt = Receipt { incarnation, read: vec![(Seq(1), seq)], ..Receipt::default() };
        if let Some(session) = self.peers.get_mut(&id).and_then(|peer| peer.session_mut()) {
            session.send_control(Item::Receipt(receipt).encode());
        }
        self.touch(id);
    }

    /// The peer has read what we sent, up to a place that we have given.
    pub(super) fn on_read(&mut self, id: PeerId, incarnation: Incarnation, ranges: &[(Seq, Seq)]) {
        let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return };
        let Some(&(_, last)) = ranges.last() else { return };
        let last = last.min(Seq(conversation.row.mine.next.0.saturating_sub(1)));
        let before = conversation.row.read_to(incarnation);
        if last <= before {
            return;
        }
        conversation.row.set_read_to(incarnation, last);
        self.batches.push_counters(&conversation.row);
        self.batches.gate(Claim::Read { peer: id, incarnation, after: before, to: last });
    }

    /// It is on disk that the peer has read these: whoever waits for it hears so.
    pub(super) fn tell_read(&mut self, now: Now, id: PeerId, incarnation: Incarnation, (after, to): (Seq, Seq)) {
        // What is older than a page nobody waits for; the history says it all the same.
        let query = HistoryQuery { peer: Some(id), limit: ROWS_MAX, ..HistoryQuery::default() };
        let Ok(page) = self.reader.history(&query) else { return };
        let is_read = |row: &&crate::store::row::HistoryRow| {
            row.direction == Direction::Out
                && row.incarnation == incarnation
                && row.state == State::Read
                && after < row.seq
                && row.seq <= to
        };
        let rows: Vec<_> = page.rows.into_iter().map(|(_, row)| row).collect();
        for row in rows.iter().filter(is_read) {
            self.tell(Event::Status { id: row.id, to: id, state: State::Read, reason: None, at: now.unix });
        }
    }

    /// Whether the peer says what it has read; `None`: it was not heard yet.
    pub(crate) fn peer_tells_read(&self, id: &PeerId) -> Option<bool> {
        let admission = self.peers.get(id)?.admission().filter(|admission| *admission >= Admission::FULL)?;
        Some(admission.reads)
    }
}
