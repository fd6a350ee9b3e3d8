//! Delivery: the outbox's policy, receipts and marks (protocol, DELIVERY). The walk of a message passes here
//! four times: `send`, `offer`, `receive`, `on_receipt`. Which places are open lives in `conversation`,
//! what carries the bytes in `session`.

mod claim;
mod import;
mod read;
mod receive;
mod rewrite;

use std::time::Duration;

pub(crate) use self::claim::Claim;
pub use self::import::Import;
use super::{
    Asked, Node,
    batch::Health,
    command::{Command, CommandError, CommandId, Reason, Reply},
    conversation::{Conversation, Renewal},
    event::{Event, NoticeCode},
    peer::Link,
};
use crate::{
    clock::{Instant, Now, Unix},
    id::{BatchId, MessageId, PeerId, Seq},
    store::{
        ROWS_MAX, ReadError, Reader,
        row::{CommitError, Direction, HistoryRow, Op, OutboxRow, State, VoidReason},
    },
    wire::{
        TEXT_LEN_MAX,
        message::{self, Admission, Content, Item, Receipt},
    },
};

/// What the disk does not show now is looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Messages in all outboxes together.
pub(crate) const OUTBOX_MAX: u64 = 1_048_576;
/// Rows read from the store at once when the window is filled.
pub(super) const PAGE_ROWS: usize = 64;
/// Bytes of texts read with them.
pub(super) const PAGE_BYTES: usize = 1024 * 1024;

impl Node {
    /// Gives the message its place and puts it into the growing batch. Nothing leaves yet.
    pub(crate) fn send(&mut self, now: Now, command: CommandId, ask: Command) {
        let Command::Send { peer: id, id: message, kind, text, expire } = ask else { return };
        if let Err(error) = self.may_send(&id, &text) {
            return self.fail(command, error);
        }
        let is_same = |row: &HistoryRow| row.peer == id && row.kind == kind && row.text == text;
        // The same call may come twice; another message under its id would be told a state that is not its own.
        if let Some(asked) = self.asked.get_mut(&message) {
            let is_it = |op: &Op| matches!(op, Op::Queue(_, row) if row.id == message && is_same(row));
            if !self.batches.ops().any(is_it) {
                return self.fail(command, CommandError::TakenId);
            }
            return asked.commands.push(command);
        }
        let look = |known| if known { self.reader.own_by_id(message).map(Some) } else { Ok(None) };
        match self.reader.has_own(message).and_then(look) {
            Ok(None) => {}
            Ok(Some(Some(row))) if is_same(&row) => return self.reply(command, Reply::Queued(message)),
            // Another one; or its text is no longer kept, so nobody can say whether it is the same.
            Ok(Some(_)) => return self.fail(command, CommandError::TakenId),
            // Without a look it might be queued twice.
            Err(_) => return self.fail(command, CommandError::Store),
        }
        let me = self.id();
        let incarnation = self.random_incarnation();
        let created = self.steady(now);
        let is_new_contact = self.befriend(now, id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let leaves = peer.admission().is_some_and(|admission| admission >= Admission::FULL);
        let conversation = peer.conversation.get_or_insert_with(|| Conversation::new(&me, id, incarnation));
        let seq = conversation.row.mine.next;
        conversation.row.mine.next = seq.next();
        if leaves {
            conversation.row.mine.sent_below = Some(seq.next());
        }
        let expires = expire.map(|expire| Unix(created.0.saturating_add(u64::try_from(expire.as_millis()).unwrap_or(u64::MAX))));
        let row =
            OutboxRow { conversation: conversation.row.id, peer: id, seq, id: message, kind, text, created, expires, void: None };
        let history = HistoryRow {
            id: message,
            conversation: row.conversation,
            peer: id,
            name: peer.contact.name.clone(),
            direction: Direction::Out,
            incarnation: conversation.row.mine.incarnation,
            seq,
            kind,
            text: row.text.clone(),
            more: Vec::new(),
            sent_at: created,
            received_at: created,
            late: false,
            state: State::Queued,
            reason: String::new(),
        };
        self.batches.push_counters(&conversation.row);
        if is_new_contact {
            let contact = peer.contact.clone();
            self.batches.push(Op::Contact(contact));
        }
        self.batches.push(Op::Queue(row.clone(), history));
        let batch = self.batches.growing();
        self.batches.gate(Claim::Queued { batch, row: Box::new(row), leaves });
        self.asked.insert(message, Asked { place: (batch, seq), commands: vec![command] });
        self.outbox_len += 1;
        self.touch(id);
    }

    fn may_send(&self, peer: &PeerId, text: &str) -> Result<(), CommandError> {
        if *peer == self.id() {
            return Err(CommandError::Myself);
        }
        if text.is_empty() || text.len() > TEXT_LEN_MAX || text.contains('\0') {
            return Err(CommandError::BadText("a text has 1 to 1,048,576 bytes and no NUL"));
        }
        if self.is_leaving() {
            return Err(CommandError::Leaving);
        }
        if self.peers.get(peer).is_some_and(|peer| peer.is_blocked()) {
            return Err(CommandError::Blocked);
        }
        if self.outbox_len >= OUTBOX_MAX || self.batches.is_full() {
            return Err(CommandError::OutboxFull);
        }
        match self.batches.health() {
            Health::Well => Ok(()),
            Health::Failing(CommitError::Full) | Health::ReadOnly(CommitError::Full) => Err(CommandError::DiskFull),
            Health::Failing(_) => Ok(()),
            Health::ReadOnly(_) => Err(CommandError::Store),
        }
    }

    /// A message is on disk: its askers hear so, and it may leave. Not so where it was taken out of its
    /// batch again because there was no room.
    pub(super) fn on_queued(&mut self, batch: BatchId, row: OutboxRow, leaves: bool) {
        if self.asked.get(&row.id).is_none_or(|asked| asked.place != (batch, row.seq)) {
            return;
        }
        for command in self.asked.remove(&row.id).into_iter().flat_map(|asked| asked.commands) {
            self.reply(command, Reply::Queued(row.id));
        }
        if let Some(expires) = row.expires {
            self.expiries.insert((expires, row.id));
        }
        let reason = self.waiting_reason(&row.peer);
        let Some(conversation) = self.peers.get_mut(&row.peer).and_then(|peer| peer.conversation.as_mut()) else { return };
        conversation.insert(row.seq, row.id, None, row.created, (row.kind, row.text));
        if leaves {
            conversation.sending_below = conversation.sending_below.max(row.seq.next());
        }
        let at = self.now.unix;
        self.tell(Event::Status { id: row.id, to: row.peer, state: State::Queued, reason, at });
        self.touch(row.peer);
    }

    /// Hands offers to the session while it has room: the first transmission, and every re-offer.
    pub(crate) fn offer(&mut self, now: Now, id: PeerId) {
        let wall = self.steady(now);
        loop {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            if peer.admission().is_none_or(|admission| admission < Admission::FULL) {
                return self.offer_little(now, id);
            }
            let (Some(conversation), Link::Up(session)) = (&mut peer.conversation, &mut peer.link) else { return };
            if !conversation.may_offer() {
                return;
            }
            let Some(seq) = conversation.next_ready() else {
                if conversation.more && conversation.has_room() && self.load_offers(id) {
                    continue;
                }
                return;
            };
            if session.queue_room() == 0 {
                return;
            }
            if seq >= conversation.sending_below && !self.may_leave(id, seq) {
                return;
            }
            let Some(peer) = self.peers.get_mut(&id) else { return };
            let (Some(conversation), Link::Up(session)) = (&mut peer.conversation, &mut peer.link) else { return };
            let Some(item) = offered_item(conversation, &self.reader, seq, now.instant, wall) else { return };
            let number = session.send_message(item.encode());
            conversation.on_handed(seq, number);
        }
    }

    /// Loads a page of the outbox into the window. True where something came.
    pub(super) fn load_offers(&mut self, id: PeerId) -> bool {
        let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return false };
        let page = match self.reader.outbox(conversation.row.id, conversation.loaded_to, PAGE_ROWS, PAGE_BYTES) {
            Ok(page) => page.rows,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                conversation.look_again = Some(self.now.instant + LOOK_AGAIN);
                return false;
            }
        };
        if page.is_empty() {
            conversation.more = false;
            return false;
        }
        for row in page {
            if !conversation.has_room() {
                break;
            }
            // Places below it are settled: the rows between are gone.
            conversation.skip_to(row.seq);
            conversation.insert(row.seq, row.id, row.void, row.created, (row.kind, row.text));
        }
        true
    }

    /// The session's transport has all of a message.
    pub(crate) fn on_acked(&mut self, now: Now, id: PeerId, number: u64) {
        let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return };
        let Some(seq) = conversation.on_acked(now.instant, number) else { return };
        let Some(offer) = conversation.offers.get_mut(&seq) else { return };
        if !offer.told_sent && offer.void.is_none() {
            offer.told_sent = true;
            let id_of_message = offer.id;
            let reason = self.is_asking(&id).then_some(Reason::AwaitingAcceptance);
            if reason.is_some() {
                // It may be so for days.
                self.batches.push(Op::State(id_of_message, State::Sent));
            }
            self.tell(Event::Status { id: id_of_message, to: id, state: State::Sent, reason, at: now.unix });
        }
    }

    /// A receipt settled a place of ours. The row goes with the next batch: a
    /// crash before that offers it again, and the same receipt comes.
    pub(super) fn settle(&mut self, now: Now, id: PeerId, seq: Seq, (state, reason): (State, Option<Reason>)) {
        let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return };
        let Some(offer) = conversation.settle(now.instant, seq) else { return };
        let word = match reason {
            Some(Reason::Refused) => "refused",
            Some(_) => "expired",
            None => "",
        };
        let op = Op::Settle { conversation: conversation.row.id, seq, state, reason: word };
        self.batches.push_lazy(now.instant, op);
        self.outbox_len = self.outbox_len.saturating_sub(1);
        let passed = conversation.take_passed_gap();
        self.tell(Event::Status { id: offer.id, to: id, state, reason, at: now.unix });
        if passed {
            self.send_conversation(now, id);
        }
    }

    pub(super) fn on_receipt(&mut self, now: Now, id: PeerId, receipt: &Receipt) {
        let Some(conversation) = self.peers.get(&id).and_then(|peer| peer.conversation.as_ref()) else { return };
        if receipt.incarnation != conversation.row.mine.incarnation {
            return;
        }
        let places = |ranges: &[(Seq, Seq)]| -> Vec<Seq> {
            ranges.iter().flat_map(|&(first, last)| conversation.offers.range(first..=last).map(|(seq, _)| *seq)).collect()
        };
        let (delivered, void, refused) = (places(&receipt.delivered), places(&receipt.void), places(&receipt.refused));
        let mut ends = Vec::new();
        let mut is_taken = !places(&receipt.cloned).is_empty();
        for seq in void {
            match conversation.offers.get(&seq).and_then(|offer| offer.void) {
                Some(VoidReason::Expired) => ends.push((seq, (State::Failed, Some(Reason::Expired)))),
                Some(VoidReason::Cancelled) => ends.push((seq, (State::Cancelled, None))),
                // The peer gave this place up, or has somebody else's hole there.
                None => is_taken = true,
            }
        }
        ends.extend(delivered.into_iter().map(|seq| (seq, (State::Delivered, None))));
        ends.extend(refused.into_iter().map(|seq| (seq, (State::Failed, Some(Reason::Refused)))));
        ends.into_iter().for_each(|(seq, end)| self.settle(now, id, seq, end));
        self.on_read(id, receipt.incarnation, &receipt.read);
        // The places are taken by what a copy of this profile sent, or its former self: everything that
        // waits goes on under seqs of its own. The receiver knows by their ids what it has already.
        if is_taken && let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) {
            conversation.want_new_incarnation();
            self.start_new_incarnation(now);
        }
        if !receipt.cloned.is_empty() {
            self.notice(
                NoticeCode::ProfileInUseElsewhere,
                "this profile runs on two machines: nothing is lost, but stop one of them",
                None,
            );
        }
    }

    /// This person has read what the peer wrote, up to this message.
    pub(crate) fn mark_read(&mut self, command: CommandId, peer: PeerId, message: MessageId) {
        self.batches.push(Op::MarkRead(peer, message));
        self.batches.gate(Claim::Reply(command, Reply::Done));
        self.batches.gate(Claim::MarkedRead(peer));
    }

    // --- withdrawing

    /// Puts a durable hole where the message stands; how it ends, the receiver decides.
    pub(crate) fn cancel(&mut self, command: CommandId, message: MessageId) {
        match self.reader.outbox_by_id(message) {
            Ok(Some(row)) if self.is_settled(&row) => {
                self.reply(command, Reply::Cancelled(row.void.is_none().then_some(State::Delivered)));
            }
            Ok(Some(row)) => {
                if let Some(conversation) = self.renumbering(&row.peer) {
                    return conversation.cancel_later.push((command, message));
                }
                self.make_void(row, VoidReason::Cancelled);
                // A hole that is on disk already writes nothing, and nothing would open the claim.
                if self.batches.gate_or_open(Claim::Reply(command, Reply::Cancelled(None))).is_some() {
                    self.reply(command, Reply::Cancelled(None));
                }
            }
            Ok(None) => self.fail(command, CommandError::NoSuchMessage),
            Err(_) => self.fail(command, CommandError::Store),
        }
    }

    /// The conversation with this peer, where the rows on disk are about to get other seqs: what is read
    /// of them now is not what may be written.
    fn renumbering(&mut self, peer: &PeerId) -> Option<&mut Conversation> {
        let conversation = self.peers.get_mut(peer)?.conversation.as_mut()?;
        (conversation.renewal == Renewal::Writing).then_some(conversation)
    }

    /// True for a row that is still on disk only because its removal waits for the next batch.
    fn is_settled(&self, row: &OutboxRow) -> bool {
        let conversation = self.peers.get(&row.peer).and_then(|peer| peer.conversation.as_ref());
        conversation.is_some_and(|conversation| row.seq < conversation.loaded_to && !conversation.offers.contains_key(&row.seq))
    }

    fn make_void(&mut self, mut row: OutboxRow, reason: VoidReason) {
        if row.void.is_some() {
            return;
        }
        row.void = Some(reason);
        row.text = String::new();
        let (peer, seq) = (row.peer, row.seq);
        self.batches.push(Op::Outbox(row));
        self.batches.gate(Claim::Void { peer, seq, reason });
    }

    /// What is due to expire, from the outbox on disk.
    pub(crate) fn load_expiries(&mut self, now: Now) {
        self.look_for_expiries = None;
        let mut after = None;
        loop {
            let Ok(page) = self.reader.outbox_page(after, ROWS_MAX) else {
                return self.look_for_expiries = Some(self.steady(now).after(LOOK_AGAIN));
            };
            let Some(last) = page.rows.last() else { return };
            after = Some((last.conversation, last.seq));
            let expiring = page.rows.iter().filter(|row| row.void.is_none());
            self.expiries.extend(expiring.filter_map(|row| row.expires.map(|expires| (expires, row.id))));
        }
    }

    /// Makes holes of what has expired.
    pub(crate) fn expire(&mut self, now: Now) {
        let wall = self.steady(now);
        if self.look_for_expiries.is_some_and(|at| at <= wall) {
            self.load_expiries(now);
        }
        while let Some(&(at, message)) = self.expiries.first().filter(|(at, _)| *at <= wall) {
            self.expiries.remove(&(at, message));
            let row = match self.reader.outbox_by_id(message) {
                Ok(Some(row)) => row,
                Ok(None) => continue,
                Err(_) => {
                    self.expiries.insert((wall.after(LOOK_AGAIN), message));
                    continue;
                }
            };
            if self.renumbering(&row.peer).is_some() {
                self.expiries.insert((wall.after(LOOK_AGAIN), message));
            } else if !self.is_settled(&row) {
                self.make_void(row, VoidReason::Expired);
            }
        }
    }
}

/// The item for a place in the window: the message, read back where it is no longer in memory, or the
/// hole. A row that the disk does not give any more becomes a hole too: the receiver must not wait for
/// it for ever.
pub(super) fn offered_item(conversation: &mut Conversation, reader: &Reader, seq: Seq, at: Instant, wall: Unix) -> Option<Item> {
    let incarnation = conversation.row.mine.incarnation;
    let id = conversation.row.id;
    let offer = conversation.offers.get_mut(&seq)?;
    let text = match offer.text.take() {
        text if offer.void.is_some() => text,
        Some(text) => Some(text),
        None => match reader.outbox(id, seq, 1, usize::MAX) {
            Ok(page) => page.rows.into_iter().next().filter(|row| row.seq == seq).and_then(|row| {
                // The hole may be on disk before this run hears of its commit.
                offer.void = row.void;
                row.void.is_none().then_some((row.kind, row.text))
            }),
            Err(ReadError::Row(_)) => None,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                conversation.look_again = Some(at + LOOK_AGAIN);
                return None;
            }
        },
    };
    let Some((kind, text)) = text.filter(|_| offer.void.is_none()) else {
        offer.void.get_or_insert(VoidReason::Cancelled);
        return Some(Item::Void(message::Void { conversation: None, incarnation, seq, id: offer.id }));
    };
    let age_ms = wall.0.saturating_sub(offer.created.0);
    let (author, more) = (None, Vec::new());
    Some(Item::Content(Content { conversation: None, incarnation, seq, id: offer.id, author, age_ms, kind, text, more }))
}
