//! The receiving half of delivery: what a session brought, into its place of the peer's direction; and
//! how two sides open a conversation in a session by comparing their books.

use std::time::Duration;

use super::{
    LOOK_AGAIN, PAGE_BYTES, PAGE_ROWS,
    claim::{Claim, Outcome, Receipts, Run},
};
use crate::{
    clock::{Now, Unix},
    id::{ConversationId, Incarnation, MessageId, PeerId, Seq, SessionIndex},
    node::{
        Node,
        batch::Health,
        conversation::{Conversation, Renewal},
        event::{Event, NoticeCode},
        peer::ToldBusy,
        places::{Received, is_known, receive, release_next},
    },
    session::Session,
    store::{
        ReadError, Reader,
        row::{Direction, HELD_VOID, HistoryRow, Op, OutboxRow, State},
    },
    wire::message::{self, Admission, Busy, BusyReason, Content, Item, Mine},
};

/// Waited at its sender for at least this long: shown as late.
const LATE_AFTER_MS: u64 = 30_000;
/// How long a peer waits while we cannot store anything.
const DISK_WAIT: Duration = Duration::from_secs(2);
/// How long we wait where a peer asks for it: no less, no longer.
const BUSY_MIN: Duration = Duration::from_millis(100);
const BUSY_MAX: Duration = Duration::from_secs(60);

impl Node {
    /// What a session has received, as its message `n`. Credit for what needs the disk returns with its commit.
    pub(crate) fn on_item(&mut self, now: Now, id: PeerId, session: SessionIndex, n: u64, bytes: &[u8]) {
        let len = bytes.len();
        let Ok(item) = Item::decode(bytes) else {
            self.dropped += 1;
            return self.consumed(id, session, len);
        };
        // Only the conversation of the two people at the ends is built; what belongs to a room, or was
        // written by somebody else, is a later version's.
        let direct = Some(ConversationId::direct(&self.id(), &id));
        let elsewhere = match &item {
            Item::Content(content) => {
                content.conversation.is_some_and(|one| Some(one) != direct) || content.author.is_some_and(|author| author != id)
            }
            Item::Void(void) => void.conversation.is_some_and(|one| Some(one) != direct),
            Item::Conversation(conversation) => conversation.conversation.is_some_and(|one| Some(one) != direct),
            Item::Receipt(receipt) => receipt.conversation.is_some_and(|one| Some(one) != direct),
            _ => false,
        };
        if elsewhere {
            return self.consumed(id, session, len);
        }
        let Some(boot) = self.session_mut(id, session).map(|session| session.boot()) else { return };
        let from = Run { peer: id, boot };
        // What came before its sender heard that it may not be sent is lost, and offered again when it may.
        let needs_all = matches!(item, Item::Content(_) | Item::Void(_) | Item::Conversation(_));
        if needs_all && self.admission_in(&id, session) < Admission::FULL {
            self.readmit(id);
            return self.consumed(id, session, len);
        }
        match item {
            Item::Content(content) => return self.on_content(now, from, session, content, len),
            Item::Void(void) => {
                let place = HeldVoid { id: void.id };
                if let Err(busy) = self.on_place(now, from, void.incarnation, void.seq, Place::Void(place)) {
                    self.say_busy(now, id, session, busy);
                }
            }
            Item::Conversation(books) if self.is_link(&id, session) => self.on_conversation(now, id, books),
            Item::Conversation(books) => self.on_rival_books(now, id, session, books),
            Item::Receipt(receipt) => self.on_receipt(now, id, &receipt),
            Item::Busy(busy) => {
                if let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) {
                    conversation.on_busy(now.instant + busy.wait().clamp(BUSY_MIN, BUSY_MAX), busy.reason);
                }
            }
            Item::Presence(presence) => self.on_away(id, presence.away.then_some(presence.text)),
            Item::Name(name) => self.on_name(id, &name.name),
            Item::Admission(admission) => self.on_admission(now, id, session, (n, admission)),
            Item::Request(request) => self.on_request(now, id, session, request),
            Item::Unknown(_) => {}
        }
        self.consumed(id, session, len);
    }

    pub(super) fn consumed(&mut self, id: PeerId, session: SessionIndex, len: usize) {
        if let Some(session) = self.session_mut(id, session) {
            session.consumed(len);
        }
    }

    fn on_content(&mut self, now: Now, from: Run, session: SessionIndex, content: Content, len: usize) {
        let id = from.peer;
        let wall = self.steady(now);
        let row = HistoryRow {
            id: content.id,
            conversation: ConversationId::direct(&self.id(), &id),
            peer: id,
            name: self.peers.get(&id).map_or_else(String::new, |peer| peer.contact.name.clone()),
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
        if let Err(busy) = self.on_place(now, from, content.incarnation, content.seq, Place::Message(Box::new(row))) {
            self.say_busy(now, id, session, busy);
            return self.consumed(id, session, len);
        }
        // Told before it sends in vain.
        if let Some(busy) = self.strangers.pause(now.instant, &id) {
            self.say_busy(now, id, session, busy);
        }
        if let Some(open) = self.batches.gate_or_open(Claim::Consumed { peer: id, session, len }) {
            self.on_claim(now, open, None, &mut Receipts::default());
        }
    }

    pub(crate) fn can_store(&self) -> bool {
        self.batches.health() == Health::Well && !self.batches.is_full()
    }

    /// Asks the peer to wait; once, however much it has under way.
    pub(crate) fn say_busy(&mut self, now: Now, id: PeerId, session: SessionIndex, busy: Busy) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.told_busy.as_ref().is_some_and(|told| told.session == session && now.instant < told.until) {
            return;
        }
        peer.told_busy = Some(ToldBusy { session, until: now.instant + busy.wait(), reason: busy.reason });
        if let Some(session) = self.session_mut(id, session) {
            session.send_control(Item::Busy(busy).encode());
        }
    }

    /// A message or a hole at a place of the peer's direction. Where there is no room for it: what its sender is told.
    fn on_place(&mut self, now: Now, from: Run, incarnation: Incarnation, seq: Seq, place: Place) -> Result<(), Busy> {
        let id = from.peer;
        if !self.can_store() {
            return Err(Busy::new(DISK_WAIT, BusyReason::DiskFull));
        }
        let me = self.id();
        let fresh = self.random_incarnation();
        self.peer_mut(id, now);
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let conversation = peer.conversation.get_or_insert_with(|| Conversation::new(&me, id, fresh));
        let yours = conversation.yours(incarnation);
        if yours.is_none() && conversation.theirs != Some(incarnation) {
            // Its sender's books come first; without them nobody knows what came before this place. It is
            // offered again.
            if conversation.theirs.is_some() || !conversation.row.yours.is_empty() {
                return Ok(());
            }
        }
        if !yours.is_some_and(|yours| is_known(yours, seq)) {
            self.admit_content(now, id, place.len())?;
        }
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let Some(conversation) = &mut peer.conversation else { return Ok(()) };
        let key = (conversation.row.id, incarnation, seq);
        let yours = conversation.yours_mut(incarnation, Seq(1));
        let received = receive(yours, seq);
        if !std::mem::replace(&mut peer.stored, true) {
            let contact = peer.contact.clone();
            self.batches.push(Op::Contact(contact));
        }
        match received {
            Received::Known if conversation.may_repeat(now.instant) => {
                self.on_known_place(now, from, key, place);
                return Ok(());
            }
            Received::NotTaken | Received::Known => return Ok(()),
            Received::Next => {
                self.uncommitted.insert(key, (self.batches.growing(), place.message()));
                let outcome = place.outcome();
                if let Place::Message(row) = place {
                    self.batches.push(Op::Receive((*row).clone()));
                    self.batches.gate(Claim::Shown(row));
                }
                self.batches.gate(Claim::Receipt { to: from, incarnation, seq, outcome });
                self.release(id, incarnation);
            }
            Received::Held => {
                self.uncommitted.insert(key, (self.batches.growing(), place.message()));
                let outcome = place.outcome();
                let row = place.into_row(id, incarnation, seq, key.0);
                self.batches.push(Op::Hold(row));
                self.batches.gate(Claim::Receipt { to: from, incarnation, seq, outcome });
            }
        }
        self.write_counters(id);
        Ok(())
    }

    /// The same place again: a repeated offer is receipted as before. Another message under one place is
    /// the work of a copied profile, or of one that went back in time: its sender is told, and offers it
    /// again under a place of its own, so that both are kept and each in order.
    fn on_known_place(&mut self, now: Now, from: Run, key: (ConversationId, Incarnation, Seq), place: Place) {
        let id = from.peer;
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
                self.notice(
                    NoticeCode::PeerClonedProfile,
                    "this peer's profile runs on two machines; its messages are all kept",
                    Some(id),
                );
                Outcome::Cloned
            }
            // Another message stands here: the withdrawn one did not come.
            (Some(kept), Place::Void(void)) if kept != void.id => Outcome::Void,
            (Some(_), _) => Outcome::Delivered,
            (None, _) => Outcome::Void,
        };
        if let Some(open) = self.batches.gate_or_open(Claim::Receipt { to: from, incarnation, seq, outcome }) {
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
        let is_message = held.iter().any(|row| row.kind != HELD_VOID) || self.reader.has_received(peer, id)?;
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

    /// A stranger that only ever shook hands leaves nothing on our disk.
    fn write_counters(&mut self, id: PeerId) {
        if let Some(conversation) = self.peers.get(&id).filter(|peer| peer.stored).and_then(|peer| peer.conversation.as_ref()) {
            self.batches.push_counters(&conversation.row);
        }
    }

    // --- opening a conversation in a session

    /// Our books for the peer, as soon as they are on disk.
    pub(crate) fn send_conversation(&mut self, now: Now, id: PeerId) {
        let me = self.id();
        let incarnation = self.random_incarnation();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.session().map(Session::local_index) else { return };
        let is_new = peer.conversation.is_none();
        let conversation = peer.conversation.get_or_insert_with(|| Conversation::new(&me, id, incarnation));
        conversation.note_gaps();
        let mine = Mine {
            incarnation: conversation.row.mine.incarnation,
            base: conversation.base(),
            next: conversation.row.mine.next,
            previous: conversation.row.mine.previous,
        };
        let item = Item::Conversation(message::Conversation { conversation: None, mine, yours: conversation.yours_for_peer() });
        if is_new && peer.stored {
            self.batches.push_counters(&conversation.row);
        }
        let incarnation = conversation.row.mine.incarnation;
        let claim = Claim::Conversation { peer: id, session, incarnation, bytes: item.encode() };
        if let Some(open) = self.batches.gate_or_open(claim) {
            self.on_claim(now, open, None, &mut Receipts::default());
        }
    }

    pub(crate) fn on_conversation(&mut self, now: Now, id: PeerId, theirs: message::Conversation) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(conversation) = &mut peer.conversation else { return };
        let said = conversation.yours_for_peer().map(|yours| yours.incarnation);
        conversation.theirs = Some(theirs.mine.incarnation);
        // Who never wrote and was never written to has nothing of ours, whatever it says.
        if peer.stored {
            conversation.on_yours(theirs.yours.as_ref());
        }
        let is_first = !std::mem::replace(&mut conversation.is_open, true);
        let is_known = conversation.yours(theirs.mine.incarnation).is_some();
        let previous = theirs.mine.previous.filter(|previous| !is_known && conversation.yours(previous.0).is_some());
        // Nothing more comes in the lives before a new one: what they left here is shown first.
        let ends = if is_known { Vec::new() } else { conversation.ends(previous) };
        for (incarnation, end) in ends {
            self.give_up_below(now, id, incarnation, end.next());
        }
        self.give_up_below(now, id, theirs.mine.incarnation, theirs.mine.base);
        if previous.is_some() {
            self.notice(NoticeCode::NewIncarnation, "this peer went on from an older copy of its profile", Some(id));
        }
        self.send_read(id);
        let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { return };
        if is_first && is_known && said != Some(theirs.mine.incarnation) {
            self.send_conversation(now, id);
        } else if conversation.renewal == Renewal::Wanted {
            self.start_new_incarnation(now);
        }
        self.touch(id);
    }

    /// The peer can offer nothing below `base` any more: what is held there becomes visible, the rest is
    /// named as missing.
    fn give_up_below(&mut self, now: Now, id: PeerId, incarnation: Incarnation, base: Seq) {
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
        if missing > 0 || is_new {
            self.write_counters(id);
        }
        let peer = self.peers.get_mut(&id).filter(|peer| peer.stored && !is_new);
        if let Some(conversation) = peer.and_then(|peer| peer.conversation.as_mut()) {
            conversation.missing = conversation.missing.saturating_add(missing);
            self.tell_missing(now, id);
        }
    }

    /// Tells how many messages are missing, not more than once a second: a peer says it as often as it likes.
    pub(crate) fn tell_missing(&mut self, now: Now, id: PeerId) {
        let conversation = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut());
        let Some(missing) = conversation.and_then(|conversation| conversation.take_missing(now.instant)) else { return };
        let text = format!("{missing} messages were lost or withdrawn before they came");
        let event = Event::Notice { code: NoticeCode::MessagesMissing, text, peer: Some(id) };
        if let Some(open) = self.batches.gate_or_open(Claim::Event(event)) {
            self.on_claim(now, open, None, &mut Receipts::default());
        }
    }

    /// Our profile is older than what the peer has of us: everything that waits goes on under new seqs in
    /// a new incarnation. Only while nothing of it is in flight, so that the outbox on disk is the outbox.
    pub(crate) fn start_new_incarnation(&mut self, now: Now) {
        let wants = |one: &Conversation| one.wants_renewal(now.instant) && self.batches.is_outbox_idle(one.row.id);
        let wanting: Vec<_> =
            self.peers.iter().filter(|(_, peer)| peer.conversation.as_ref().is_some_and(wants)).map(|(id, _)| *id).collect();
        for id in wanting {
            let incarnation = self.random_incarnation();
            let Some(conversation) = self.peers.get_mut(&id).and_then(|peer| peer.conversation.as_mut()) else { continue };
            let Ok(rows) = whole_outbox(&self.reader, conversation.row.id) else {
                conversation.look_again = Some(now.instant + LOOK_AGAIN);
                self.touch(id);
                continue;
            };
            let mut next = Seq(1);
            for row in rows {
                self.batches.push(Op::Unqueue(row.conversation, row.seq));
                self.batches.push(Op::Outbox(OutboxRow { seq: next, ..row }));
                next = next.next();
            }
            conversation.restart_mine(now.instant, incarnation, next);
            self.batches.push_counters(&conversation.row);
            self.batches.gate(Claim::Renumbered(id));
            self.notice(
                NoticeCode::NewIncarnation,
                "this profile is older than what the peer has seen of it: a restored backup, or a copy",
                Some(id),
            );
        }
    }
}

/// All that waits in a conversation. Errors where a page could not be read: half of it would be worse.
fn whole_outbox(reader: &Reader, conversation: ConversationId) -> Result<Vec<OutboxRow>, ReadError> {
    let (mut from, mut rows) = (Seq(1), Vec::new());
    loop {
        let page = reader.outbox(conversation, from, PAGE_ROWS, PAGE_BYTES)?.rows;
        let Some(last) = page.last() else { return Ok(rows) };
        from = last.seq.next();
        rows.extend(page);
    }
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

    /// Bytes that it takes on the disk, but for what every place takes.
    fn len(&self) -> usize {
        match self {
            Self::Message(row) => row.text.len() + row.more.len(),
            Self::Void(_) => 0,
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
                name: String::new(),
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
