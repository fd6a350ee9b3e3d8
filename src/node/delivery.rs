//! Delivery: the outbox's policy, receipts and marks (protocol §5). The walk of a message passes here
//! four times: `send`, `offer`, `receive`, `on_receipt`. Which places are open lives in `conversation`,
//! what carries the bytes in `session`.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Node,
    batch::Health,
    command::{Command, CommandError, CommandId, Reason, Reply},
    conversation::{Conversation, Received, ranges, receive, release_next},
    event::{Event, NoticeCode},
    peer::Peer,
};
use crate::{
    clock::{Now, Unix},
    id::{ConversationId, Incarnation, MessageId, PeerId, Seq, SessionIndex},
    store::{
        ReadError, Reader,
        row::{CommitError, Committed, Direction, HELD_VOID, HistoryRow, Op, OutboxRow, State, Trust, VoidReason},
    },
    wire::{
        SEQ_RANGES_MAX, TEXT_LEN_MAX,
        message::{self, Content, Item, Mine, Receipt},
    },
};

/// Waited at its sender for at least this long: shown as late (cli: JSON lines).
const LATE_AFTER_MS: u64 = 30_000;
/// Messages in all outboxes together.
pub(crate) const OUTBOX_MAX: u64 = 1_048_576;
/// Rows read from the store at once when the window is filled.
const PAGE_ROWS: usize = 64;
const PAGE_BYTES: usize = 1024 * 1024;
/// What a peer is told while we cannot store anything.
const BUSY_RETRY_MS: u64 = 2_000;

/// What waits for a commit.
#[derive(Debug)]
pub(crate) enum Claim {
    /// A message of ours is on disk: its askers hear so, and it may leave.
    Queued(Box<OutboxRow>),
    /// An answer.
    Reply(CommandId, Reply),
    /// A received message is on disk: shown, unless it was known before.
    Shown(Box<HistoryRow>),
    /// A held message was released: the commit brings it along.
    Released(ConversationId, Incarnation, Seq),
    /// A place of the peer's direction is on disk: it may be receipted.
    Receipt { peer: PeerId, incarnation: Incarnation, seq: Seq, outcome: Outcome },
    /// An item that names committed rows only.
    Item { peer: PeerId, session: SessionIndex, bytes: Vec<u8> },
    /// Received bytes have found their place: the sender may send as many more.
    Consumed { peer: PeerId, session: SessionIndex, len: usize },
    /// A hole is on disk and takes the offer's place.
    Void { peer: PeerId, seq: Seq, reason: VoidReason },
    /// The whole direction has new seqs on disk.
    Renumbered(PeerId),
    /// Something to tell.
    Event(Event),
}

/// What a receipt says about a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Void,
    Cloned,
}

/// Receipts that one commit has opened, gathered into few items.
#[derive(Debug, Default)]
pub(crate) struct Receipts(BTreeMap<(PeerId, Incarnation), [BTreeSet<Seq>; 3]>);

impl Receipts {
    fn add(&mut self, peer: PeerId, incarnation: Incarnation, seq: Seq, outcome: Outcome) {
        let sets = self.0.entry((peer, incarnation)).or_default();
        sets[outcome as usize].insert(seq);
    }
}

impl Node {
    // --- sending

    /// Gives the message its place and puts it into the growing batch. Nothing leaves yet.
    pub(crate) fn send(&mut self, now: Now, command: CommandId, ask: Command) {
        let Command::Send { peer: id, id: message, kind, text, expire } = ask else { return };
        if let Err(error) = self.may_send(&id, &text) {
            return self.fail(command, error);
        }
        if let Some(askers) = self.asked.get_mut(&message) {
            return askers.push(command);
        }
        if self.is_known_message(&message) {
            return self.reply(command, Reply::Queued(message));
        }
        let me = self.id();
        let incarnation = self.random_incarnation();
        let created = self.steady(now);
        self.peer_mut(id, now);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_new_contact = !std::mem::replace(&mut peer.contact.added, true);
        let conversation = peer.conversation.get_or_insert_with(|| Conversation::new(&me, id, incarnation));
        let seq = conversation.row.mine.next;
        conversation.row.mine.next = seq.next();
        let expires = expire.map(|expire| Unix(created.0.saturating_add(u64::try_from(expire.as_millis()).unwrap_or(u64::MAX))));
        let row =
            OutboxRow { conversation: conversation.row.id, peer: id, seq, id: message, kind, text, created, expires, void: None };
        let history = HistoryRow {
            id: message,
            conversation: row.conversation,
            peer: id,
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
        self.batches.gate(Claim::Queued(Box::new(row)));
        self.asked.insert(message, vec![command]);
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
        if self.peers.get(peer).is_some_and(|peer| peer.contact.trust == Trust::Blocked) {
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

    /// True where this message stands in our books already: the same call came twice.
    fn is_known_message(&self, message: &MessageId) -> bool {
        self.reader.own_by_id(*message).is_ok_and(|row| row.is_some())
    }

    /// A message is on disk: its askers hear so, and it may leave.
    fn on_queued(&mut self, row: OutboxRow) {
        let Some(askers) = self.asked.remove(&row.id) else { return };
        for command in askers {
            self.reply(command, Reply::Queued(row.id));
        }
        if let Some(expires) = row.expires {
            self.expiries.insert((expires, row.id));
        }
        let reason = self.waiting_reason(&row.peer);
        let Some(conversation) = self.peers.get_mut(&row.peer).and_then(|peer| peer.conversation.as_mut()) else { return };
        conversation.insert(row.seq, row.id, None, row.created, (row.kind, row.text));
        let at = self.now.unix;
        self.tell(Event::Status { id: row.id, to: row.peer, state: State::Queued, reason, at });
        self.touch(row.peer);
    }

    /// Hands offers to the session while it has room: the first transmission, and every re-offer.
    pub(crate) fn offer(&mut self, now: Now, id: PeerId) {
        let wall = self.steady(now);
        loop {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            let (Some(conversation), super::peer::Link::Up(session)) = (&mut peer.conversation, &mut peer.link) else { return };
            if !conversation.is_open || conversation.busy_until.is_some() || conversation.wants_new_incarnation {
                return;
            }
            let Some(seq) = conversation.next_ready() else {
                if conversation.more && conversation.has_room() && self.load_offers(now, id) {
                    continue;
                }
                return;
            };
            if conversation.peer_has(seq) {
                self.settle(now, id, seq, State::Delivered);
                continue;
            }
            if session.queue_room() == 0 {
                return;
            }
            let Some(item) = offered_item(conversation, &self.reader, seq, wall) else { return };
            let number = session.send_message(item.encode());
            conversation.on_handed(seq, number);
        }
    }

    /// Loads a page of the outbox into the window. True where something came.
    fn load_offers(&mut self, now: Now, id: PeerId) -> bool {
        let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return false };
        let page = match self.reader.outbox(conversation.row.id, conversation.loaded_to, PAGE_ROWS, PAGE_BYTES) {
            Ok(page) => page.rows,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                conversation.more = false;
                return false;
            }
        };
        if page.is_empty() {
            conversation.more = false;
            return false;
        }
        let mut settled = Vec::new();
        for row in page {
            if !conversation.has_room() {
                break;
            }
            // Places below it are settled: the rows between are gone.
            conversation.loaded_to = row.seq;
            if conversation.peer_has(row.seq) {
                settled.push(row.seq);
            }
            conversation.insert(row.seq, row.id, row.void, row.created, (row.kind, row.text));
        }
        for seq in settled {
            self.settle(now, id, seq, State::Delivered);
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
            self.tell(Event::Status { id: id_of_message, to: id, state: State::Sent, reason: None, at: now.unix });
        }
    }

    /// A receipt, or the peer's own books, settled a place of ours. The row goes with the next batch: a
    /// crash before that offers it again, and the same receipt comes.
    fn settle(&mut self, now: Now, id: PeerId, seq: Seq, state: State) {
        let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return };
        let Some(offer) = conversation.settle(now.instant, seq) else { return };
        let reason = match (state, offer.void) {
            (State::Failed, _) => Some(Reason::Expired),
            _ => None,
        };
        let word = if reason.is_some() { "expired" } else { "" };
        self.batches.push(Op::Settle { conversation: conversation.row.id, seq, state, reason: word });
        self.outbox_len = self.outbox_len.saturating_sub(1);
        self.tell(Event::Status { id: offer.id, to: id, state, reason, at: now.unix });
    }

    fn on_receipt(&mut self, now: Now, id: PeerId, receipt: &Receipt) {
        let Some(conversation) = self.peers.get(&id).and_then(|peer| peer.conversation.as_ref()) else { return };
        if receipt.incarnation != conversation.row.mine.incarnation {
            return;
        }
        let places = |ranges: &[(Seq, Seq)]| -> Vec<Seq> {
            ranges.iter().flat_map(|&(first, last)| conversation.offers.range(first..=last).map(|(seq, _)| *seq)).collect()
        };
        let (delivered, void, refused) = (places(&receipt.delivered), places(&receipt.void), places(&receipt.refused));
        let ends: Vec<_> = void
            .into_iter()
            .map(|seq| match conversation.offers.get(&seq).and_then(|offer| offer.void) {
                Some(VoidReason::Expired) => (seq, State::Failed),
                _ => (seq, State::Cancelled),
            })
            .collect();
        delivered.into_iter().for_each(|seq| self.settle(now, id, seq, State::Delivered));
        ends.into_iter().for_each(|(seq, state)| self.settle(now, id, seq, state));
        refused.into_iter().for_each(|seq| self.settle(now, id, seq, State::Failed));
        if !receipt.cloned.is_empty() {
            self.notice(
                NoticeCode::ProfileInUseElsewhere,
                "this profile runs on two machines: nothing is lost, but stop one of them",
                None,
            );
        }
    }

    // --- withdrawing

    /// Puts a durable hole where the message stands; how it ends, the receiver decides.
    pub(crate) fn cancel(&mut self, command: CommandId, message: MessageId) {
        match self.reader.outbox_by_id(message) {
            Ok(Some(row)) if self.is_settled(&row) => self.reply(command, Reply::Cancelled(Some(State::Delivered))),
            Ok(Some(row)) => {
                self.make_void(row, VoidReason::Cancelled);
                self.batches.gate(Claim::Reply(command, Reply::Cancelled(None)));
            }
            _ => self.fail(command, CommandError::NoSuchMessage),
        }
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

    /// Makes holes of what has expired.
    pub(crate) fn expire(&mut self, now: Now) {
        let wall = self.steady(now);
        while let Some(&(at, message)) = self.expiries.first().filter(|(at, _)| *at <= wall) {
            self.expiries.remove(&(at, message));
            if let Ok(Some(row)) = self.reader.outbox_by_id(message)
                && !self.is_settled(&row)
            {
                self.make_void(row, VoidReason::Expired);
            }
        }
    }

    // --- receiving

    /// What a session has received. Credit for what needs the disk returns with its commit.
    pub(crate) fn on_item(&mut self, now: Now, id: PeerId, session: SessionIndex, bytes: &[u8]) {
        let len = bytes.len();
        let Ok(item) = Item::decode(bytes) else {
            self.dropped += 1;
            return self.consumed(id, session, len);
        };
        match item {
            Item::Content(content) => return self.on_content(now, id, session, content, len),
            Item::Void(void) => {
                let place = HeldVoid { id: void.id };
                self.on_place(now, id, void.incarnation, void.seq, Place::Void(place));
            }
            Item::Conversation(conversation) => self.on_conversation(now, id, conversation),
            Item::Receipt(receipt) => self.on_receipt(now, id, &receipt),
            Item::Busy(busy) => {
                if let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) {
                    let wait = std::time::Duration::from_millis(busy.retry_ms.clamp(100, 60_000));
                    conversation.busy_until = Some(now.instant + wait);
                }
            }
            Item::Presence(presence) => self.on_away(id, presence.away.then_some(presence.text)),
            Item::Name(name) => self.on_name(id, &name.name),
            Item::Admission(_) | Item::Unknown(_) => {}
        }
        self.consumed(id, session, len);
    }

    fn consumed(&mut self, id: PeerId, session: SessionIndex, len: usize) {
        if let Some(session) =
            self.peers.get_mut(&id).and_then(|peer| peer.sessions_mut().find(|one| one.local_index() == session))
        {
            session.consumed(len);
        }
    }

    fn on_content(&mut self, now: Now, id: PeerId, session: SessionIndex, content: Content, len: usize) {
        if !self.can_store() {
            return self.say_busy(id, session, len);
        }
        let wall = self.steady(now);
        let row = HistoryRow {
            id: content.id,
            conversation: ConversationId::direct(&self.id(), &id),
            peer: id,
            direction: Direction::In,
            incarnation: content.incarnation,
            seq: content.seq,
            kind: content.kind,
            text: content.text,
            more: content.more,
            sent_at: Unix(wall.0.saturating_sub(content.age_ms)),
            received_at: wall,
            late: content.age_ms >= LATE_AFTER_MS,
            state: State::Delivered,
            reason: String::new(),
        };
        self.on_place(now, id, content.incarnation, content.seq, Place::Message(Box::new(row)));
        if let Some(open) = self.batches.gate_or_open(Claim::Consumed { peer: id, session, len }) {
            self.on_claim(now, open, None, &mut Receipts::default());
        }
    }

    fn can_store(&self) -> bool {
        self.batches.health() == Health::Well && !self.batches.is_full()
    }

    fn say_busy(&mut self, id: PeerId, session: SessionIndex, len: usize) {
        let busy = Item::Busy(message::Busy { retry_ms: BUSY_RETRY_MS }).encode();
        if let Some(session) =
            self.peers.get_mut(&id).and_then(|peer| peer.sessions_mut().find(|one| one.local_index() == session))
        {
            session.consumed(len);
            session.send_control(busy);
        }
    }

    /// A message or a hole at a place of the peer's direction.
    fn on_place(&mut self, now: Now, id: PeerId, incarnation: Incarnation, seq: Seq, place: Place) {
        if !self.can_store() {
            return;
        }
        let me = self.id();
        let fresh = self.random_incarnation();
        let peer = self.peer_mut(id, now);
        let conversation = peer.conversation.get_or_insert_with(|| Conversation::new(&me, id, fresh));
        if conversation.yours(incarnation).is_none() && conversation.theirs != Some(incarnation) {
            // Its sender's books come first; without them nobody knows what came before this place. It is
            // offered again.
            if conversation.theirs.is_some() {
                return;
            }
        }
        let key = (conversation.row.id, incarnation, seq);
        let yours = conversation.yours_mut(incarnation, Seq(1));
        match receive(yours, seq) {
            Received::NotTaken => {}
            Received::Known => self.on_known_place(now, id, key, place),
            Received::Next => {
                self.uncommitted.insert(key, (self.batches.growing(), place.message()));
                let outcome = place.outcome();
                if let Place::Message(row) = place {
                    self.batches.push(Op::Receive((*row).clone()));
                    self.batches.gate(Claim::Shown(row));
                }
                self.batches.gate(Claim::Receipt { peer: id, incarnation, seq, outcome });
                self.release(id, incarnation);
            }
            Received::Held => {
                self.uncommitted.insert(key, (self.batches.growing(), place.message()));
                let outcome = place.outcome();
                let row = place.into_row(id, incarnation, seq, key.0);
                self.batches.push(Op::Hold(row));
                self.batches.gate(Claim::Receipt { peer: id, incarnation, seq, outcome });
            }
        }
        self.write_counters(id);
    }

    /// The same place again: a repeated offer is receipted as before, another message under one place is
    /// the work of a copied profile: both are kept.
    fn on_known_place(&mut self, now: Now, id: PeerId, key: (ConversationId, Incarnation, Seq), place: Place) {
        let (conversation, incarnation, seq) = key;
        let kept = match self.uncommitted.get(&key) {
            Some((_, kept)) => *kept,
            None => match self.kept_at(id, conversation, incarnation, seq) {
                Ok(kept) => kept,
                // Without a look at the disk nothing may be claimed: the place is offered again.
                Err(_) => return,
            },
        };
        let mut receipts = Receipts::default();
        let outcome = match (kept, place) {
            (Some(kept), Place::Message(row)) if kept != row.id => {
                self.batches.push(Op::Receive((*row).clone()));
                self.batches.gate(Claim::Shown(row));
                self.notice(
                    NoticeCode::PeerClonedProfile,
                    "this peer's profile runs on two machines; its messages are all kept",
                    Some(id),
                );
                self.batches.gate(Claim::Receipt { peer: id, incarnation, seq, outcome: Outcome::Delivered });
                Outcome::Cloned
            }
            (Some(_), _) => Outcome::Delivered,
            (None, _) => Outcome::Void,
        };
        if let Some(open) = self.batches.gate_or_open(Claim::Receipt { peer: id, incarnation, seq, outcome }) {
            self.on_claim(now, open, None, &mut receipts);
        }
        self.send_receipts(receipts);
    }

    /// The message that is on disk at a place of a peer's direction; none for a hole.
    fn kept_at(
        &self,
        peer: PeerId,
        conversation: ConversationId,
        incarnation: Incarnation,
        seq: Seq,
    ) -> Result<Option<MessageId>, ReadError> {
        let Some(id) = self.reader.received_id(conversation, incarnation, seq)? else { return Ok(None) };
        let held = self.reader.held(conversation, incarnation, seq)?.rows;
        let is_message = held.iter().any(|row| row.kind != HELD_VOID) || self.reader.history_by_id(peer, id)?.is_some();
        Ok(is_message.then_some(id))
    }

    /// Makes visible what the high-water mark has reached.
    fn release(&mut self, id: PeerId, incarnation: Incarnation) {
        loop {
            let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return };
            let conversation_id = conversation.row.id;
            let Some(seq) = release_next(conversation.yours_mut(incarnation, Seq(1))) else { return };
            self.batches.push(Op::Release(conversation_id, incarnation, seq));
            self.batches.gate(Claim::Released(conversation_id, incarnation, seq));
        }
    }

    fn write_counters(&mut self, id: PeerId) {
        if let Some(conversation) = self.peers.get(&id).and_then(|peer| peer.conversation.as_ref()) {
            self.batches.push_counters(&conversation.row);
        }
    }

    // --- opening a conversation in a session

    /// Our books for the peer, as soon as they are on disk.
    pub(crate) fn send_conversation(&mut self, now: Now, id: PeerId) {
        let me = self.id();
        let incarnation = self.random_incarnation();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.session().map(crate::session::Session::local_index) else { return };
        let is_new = peer.conversation.is_none();
        let conversation = peer.conversation.get_or_insert_with(|| Conversation::new(&me, id, incarnation));
        let mine = Mine {
            incarnation: conversation.row.mine.incarnation,
            base: conversation.base(),
            next: conversation.row.mine.next,
            previous: conversation.row.mine.previous,
        };
        let item = Item::Conversation(message::Conversation { conversation: None, mine, yours: conversation.yours_for_peer() });
        if is_new {
            self.batches.push_counters(&conversation.row);
        }
        if let Some(open) = self.batches.gate_or_open(Claim::Item { peer: id, session, bytes: item.encode() }) {
            self.on_claim(now, open, None, &mut Receipts::default());
        }
    }

    fn on_conversation(&mut self, now: Now, id: PeerId, theirs: message::Conversation) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(conversation) = &mut peer.conversation else { return };
        let said = conversation.yours_for_peer().map(|yours| yours.incarnation);
        conversation.theirs = Some(theirs.mine.incarnation);
        conversation.on_yours(theirs.yours);
        let is_first = !std::mem::replace(&mut conversation.is_open, true);
        let is_known = conversation.yours(theirs.mine.incarnation).is_some();
        let renewed = theirs.mine.previous.is_some_and(|previous| !is_known && conversation.yours(previous.0).is_some());
        if self.can_store() {
            self.give_up_below(id, theirs.mine.incarnation, theirs.mine.base);
        }
        if renewed {
            self.notice(NoticeCode::NewIncarnation, "this peer went on from an older copy of its profile", Some(id));
        }
        let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return };
        if is_first && is_known && said != Some(theirs.mine.incarnation) {
            self.send_conversation(now, id);
        } else if conversation.wants_new_incarnation {
            self.start_new_incarnation(now);
        }
        self.clear_received(now, id);
        self.touch(id);
    }

    /// Settles the offers that the peer says it has.
    fn clear_received(&mut self, now: Now, id: PeerId) {
        let Some(conversation) = self.peers.get(&id).and_then(|peer| peer.conversation.as_ref()) else { return };
        if conversation.wants_new_incarnation {
            return;
        }
        let known: Vec<_> = conversation.offers.keys().copied().filter(|seq| conversation.peer_has(*seq)).collect();
        known.into_iter().for_each(|seq| self.settle(now, id, seq, State::Delivered));
    }

    /// The peer can offer nothing below `base` any more: what is held there becomes visible, the rest is
    /// named as missing.
    fn give_up_below(&mut self, id: PeerId, incarnation: Incarnation, base: Seq) {
        let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return };
        let is_new = conversation.yours(incarnation).is_none();
        let mut missing = 0u64;
        loop {
            let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return };
            let yours = conversation.yours_mut(incarnation, base);
            let below = Seq(base.0.saturating_sub(1));
            if yours.high_water >= below {
                break;
            }
            let next_held = yours.held.first().map_or(base, |held| held.0.min(base));
            missing += next_held.0 - yours.high_water.0 - 1;
            yours.high_water = Seq(next_held.0 - 1);
            self.release(id, incarnation);
        }
        self.release(id, incarnation);
        if missing > 0 && !is_new {
            let text = format!("{missing} messages were lost or withdrawn before they came");
            let event = Event::Notice { code: NoticeCode::MessagesMissing, text, peer: Some(id) };
            self.batches.gate(Claim::Event(event));
        }
        if missing > 0 || is_new {
            self.write_counters(id);
        }
    }

    /// Our profile is older than what the peer has of us: everything that waits goes on under new seqs in
    /// a new incarnation. Only while nothing is in flight, so that the outbox on disk is the outbox.
    pub(crate) fn start_new_incarnation(&mut self, now: Now) {
        if !self.batches.is_idle() {
            return;
        }
        let wanting: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.conversation.as_ref().is_some_and(|conversation| conversation.wants_new_incarnation))
            .map(|(id, _)| *id)
            .collect();
        for id in wanting {
            let incarnation = self.random_incarnation();
            let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { continue };
            let mut from = Seq(1);
            let mut next = Seq(1);
            while let Ok(page) = self.reader.outbox(conversation.row.id, from, PAGE_ROWS, PAGE_BYTES) {
                let Some(last) = page.rows.last() else { break };
                from = last.seq.next();
                for row in page.rows {
                    self.batches.push(Op::Unqueue(row.conversation, row.seq));
                    self.batches.push(Op::Outbox(OutboxRow { seq: next, ..row }));
                    next = next.next();
                }
            }
            conversation.restart_mine(incarnation, next);
            self.batches.push_counters(&conversation.row);
            self.batches.gate(Claim::Renumbered(id));
            self.notice(
                NoticeCode::NewIncarnation,
                "this profile is older than what the peer has seen of it: a restored backup, or a copy",
                Some(id),
            );
            let _ = now;
        }
    }

    // --- what a commit opens

    /// Opens all that `committed` proves.
    pub(crate) fn open_claims(&mut self, now: Now, committed: &Committed) {
        let mut receipts = Receipts::default();
        while let Some(claim) = self.batches.open_next(committed) {
            self.on_claim(now, claim, Some(committed), &mut receipts);
        }
        self.uncommitted.retain(|_, (batch, _)| *batch > committed.batch());
        self.send_receipts(receipts);
        self.start_new_incarnation(now);
    }

    fn on_claim(&mut self, now: Now, claim: Claim, committed: Option<&Committed>, receipts: &mut Receipts) {
        match claim {
            Claim::Queued(row) => self.on_queued(*row),
            Claim::Reply(command, reply) => self.reply(command, reply),
            Claim::Shown(row) => self.show(*row, committed),
            Claim::Released(conversation, incarnation, seq) => {
                let is_it = |row: &&HistoryRow| (row.conversation, row.incarnation, row.seq) == (conversation, incarnation, seq);
                for row in committed.into_iter().flat_map(Committed::released).filter(is_it) {
                    self.show(row.clone(), None);
                }
            }
            Claim::Receipt { peer, incarnation, seq, outcome } => receipts.add(peer, incarnation, seq, outcome),
            Claim::Item { peer, session, bytes } => {
                if let Some(session) = self.session_mut(peer, session) {
                    session.send_control(bytes);
                }
                self.touch(peer);
            }
            Claim::Consumed { peer, session, len } => {
                self.consumed(peer, session, len);
                self.touch(peer);
            }
            Claim::Void { peer, seq, reason } => {
                if let Some(conversation) = self.peers.get_mut(&peer).and_then(|peer| peer.conversation.as_mut()) {
                    conversation.make_void(seq, reason);
                }
                self.touch(peer);
            }
            Claim::Renumbered(peer) => {
                self.send_conversation(now, peer);
                self.touch(peer);
            }
            Claim::Event(event) => self.tell(event),
        }
    }

    fn show(&mut self, row: HistoryRow, committed: Option<&Committed>) {
        if committed.is_some_and(|committed| committed.is_duplicate(&row)) {
            return;
        }
        let name = self.peers.get(&row.peer).map(Peer::name).unwrap_or_default();
        self.tell(Event::Message { row, name });
    }

    /// Says what the last commit has proved: as few items as the limits allow.
    fn send_receipts(&mut self, receipts: Receipts) {
        for ((id, incarnation), [delivered, void, cloned]) in receipts.0 {
            let Some(session) = self.peers.get_mut(&id).and_then(Peer::session_mut) else { continue };
            let (delivered, void, cloned) = (ranges(&delivered), ranges(&void), ranges(&cloned));
            let items = delivered.len().max(void.len()).max(cloned.len()).div_ceil(SEQ_RANGES_MAX);
            let part = |ranges: &[(Seq, Seq)], item: usize| {
                ranges.chunks(SEQ_RANGES_MAX).nth(item).map(<[_]>::to_vec).unwrap_or_default()
            };
            for item in 0..items {
                let receipt = Receipt {
                    incarnation,
                    delivered: part(&delivered, item),
                    void: part(&void, item),
                    cloned: part(&cloned, item),
                    ..Receipt::default()
                };
                session.send_control(Item::Receipt(receipt).encode());
            }
            self.touch(id);
        }
    }

    /// No room on the disk: what was asked for and is not on disk is refused, and says so; what came from
    /// peers waits for room.
    pub(crate) fn refuse_unwritten(&mut self, error: CommandError) {
        let withdrawn = self.batches.withdraw(|op| matches!(op, Op::Queue(..)));
        let mut lowest: BTreeMap<PeerId, Seq> = BTreeMap::new();
        for op in withdrawn {
            let Op::Queue(row, _) = op else { continue };
            let seq = lowest.entry(row.peer).or_insert(row.seq);
            *seq = (*seq).min(row.seq);
            self.outbox_len = self.outbox_len.saturating_sub(1);
            for command in self.asked.remove(&row.id).unwrap_or_default() {
                self.fail(command, error.clone());
            }
        }
        for (id, seq) in lowest {
            let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { continue };
            conversation.row.mine.next = seq;
            self.batches.correct_counters(&conversation.row);
        }
    }
}

/// The item for a place in the window: the message, read back where it is no longer in memory, or the
/// hole. A row that the disk does not give any more becomes a hole too: the receiver must not wait for
/// it for ever.
fn offered_item(conversation: &mut Conversation, reader: &Reader, seq: Seq, wall: Unix) -> Option<Item> {
    let incarnation = conversation.row.mine.incarnation;
    let id = conversation.row.id;
    let offer = conversation.offers.get_mut(&seq)?;
    let text = match offer.text.take() {
        text if offer.void.is_some() => text,
        Some(text) => Some(text),
        None => match reader.outbox(id, seq, 1, usize::MAX) {
            Ok(page) => page.rows.into_iter().next().filter(|row| row.seq == seq).map(|row| (row.kind, row.text)),
            Err(ReadError::Closed) => return None,
            Err(_) => None,
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

/// What stands at a place of a direction.
enum Place {
    Message(Box<HistoryRow>),
    Void(HeldVoid),
}

struct HeldVoid {
    id: MessageId,
}

impl Place {
    /// The message that is kept here; none for a hole.
    fn message(&self) -> Option<MessageId> {
        match self {
            Self::Message(row) => Some(row.id),
            Self::Void(_) => None,
        }
    }

    const fn outcome(&self) -> Outcome {
        match self {
            Self::Message(_) => Outcome::Delivered,
            Self::Void(_) => Outcome::Void,
        }
    }

    /// The row to hold back.
    fn into_row(self, peer: PeerId, incarnation: Incarnation, seq: Seq, conversation: ConversationId) -> HistoryRow {
        match self {
            Self::Message(row) => *row,
            Self::Void(void) => HistoryRow {
                id: void.id,
                conversation,
                peer,
                direction: Direction::In,
                incarnation,
                seq,
                kind: HELD_VOID,
                text: String::new(),
                more: Vec::new(),
                sent_at: Unix(0),
                received_at: Unix(0),
                late: false,
                state: State::Delivered,
                reason: String::new(),
            },
        }
    }
}
