//! What waits for a commit, and what happens when it opens (protocol, DELIVERY).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    clock::Now,
    id::{BatchId, BootId, ConversationId, Incarnation, MessageId, PeerId, Seq, SessionIndex},
    node::{
        Node,
        batch::Health,
        command::{CommandError, CommandId, Reply},
        conversation::Renewal,
        event::{Event, NoticeCode},
        places::ranges,
    },
    store::row::{CommitError, Committed, HistoryRow, Op, OutboxRow, VoidReason},
    wire::{
        SEQ_RANGES_MAX,
        message::{Item, Receipt},
    },
};

/// What waits for a commit.
#[derive(Debug)]
pub(crate) enum Claim {
    /// A message of ours is on disk: its askers hear so, and it may leave; at once where the disk says that too (`leaves`).
    Queued { batch: BatchId, row: Box<OutboxRow>, leaves: bool },
    /// Another text stands in the place of a message that waited.
    Rewritten { batch: BatchId, old: MessageId, row: Box<OutboxRow> },
    /// The disk says that what waits below may have been seen.
    MayLeave { peer: PeerId, below: Seq },
    /// An answer.
    Reply(CommandId, Reply),
    /// A received message is on disk: shown, unless it was known before.
    Shown(Box<HistoryRow>),
    /// A held message was released: the commit brings it along.
    Released(ConversationId, Incarnation, Seq),
    /// A place of the peer's direction is on disk: it may be receipted.
    Receipt { to: Run, incarnation: Incarnation, seq: Seq, outcome: Outcome },
    /// Our books, which name committed rows only: the peer may hear of this incarnation.
    Conversation { peer: PeerId, session: SessionIndex, incarnation: Incarnation, bytes: Vec<u8> },
    /// Received bytes have found their place: the sender may send as many more.
    Consumed { peer: PeerId, session: SessionIndex, len: usize },
    /// A hole is on disk and takes the offer's place.
    Void { peer: PeerId, seq: Seq, reason: VoidReason },
    /// The whole direction has new seqs on disk.
    Renumbered(PeerId),
    /// It is on disk how far I have read this peer's messages.
    MarkedRead(PeerId),
    /// It is on disk that the peer has read ours, behind one place up to another.
    Read { peer: PeerId, incarnation: Incarnation, after: Seq, to: Seq },
    /// Lines of a history are on disk, or were there before.
    Imported(CommandId, Vec<HistoryRow>),
    /// Something to tell.
    Event(Event),
}

/// One run of a peer's program. Another one with the same key, a copy of its profile or its restored
/// former self, may have other messages under the same seqs: a receipt must not reach that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run {
    pub(crate) peer: PeerId,
    pub(crate) boot: BootId,
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
pub(crate) struct Receipts(BTreeMap<(Run, Incarnation), [BTreeSet<Seq>; 3]>);

impl Receipts {
    fn add(&mut self, to: Run, incarnation: Incarnation, seq: Seq, outcome: Outcome) {
        let sets = self.0.entry((to, incarnation)).or_default();
        sets[outcome as usize].insert(seq);
    }
}

impl Node {
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

    pub(super) fn on_claim(&mut self, now: Now, claim: Claim, committed: Option<&Committed>, receipts: &mut Receipts) {
        match claim {
            Claim::Queued { batch, row, leaves } => self.on_queued(batch, *row, leaves),
            Claim::Rewritten { batch, old, row } => self.on_rewritten(batch, old, *row),
            Claim::MayLeave { peer, below } => self.on_may_leave(peer, below),
            Claim::Reply(command, reply) => self.reply(command, reply),
            Claim::Shown(row) => self.show(*row, committed),
            Claim::Released(conversation, incarnation, seq) => {
                let is_it = |row: &&HistoryRow| (row.conversation, row.incarnation, row.seq) == (conversation, incarnation, seq);
                for row in committed.into_iter().flat_map(Committed::released).filter(is_it) {
                    self.show(row.clone(), None);
                }
            }
            Claim::Receipt { to, incarnation, seq, outcome } => receipts.add(to, incarnation, seq, outcome),
            Claim::Conversation { peer: id, session, incarnation, bytes } => {
                let Some(peer) = self.peers.get_mut(&id) else { return };
                let Some(session) = peer.session_mut().filter(|one| one.local_index() == session) else { return };
                session.send_control(bytes);
                if let Some(conversation) = &mut peer.conversation {
                    conversation.introduced = Some(incarnation);
                }
                self.touch(id);
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
                if let Some(conversation) = self.peers.get_mut(&peer).and_then(|peer| peer.conversation.as_mut()) {
                    conversation.renewal = Renewal::No;
                    for (command, message) in std::mem::take(&mut conversation.cancel_later) {
                        self.cancel(command, message);
                    }
                }
                self.send_conversation(now, peer);
                self.touch(peer);
            }
            Claim::MarkedRead(peer) => self.send_read(peer),
            Claim::Read { peer, incarnation, after, to } => self.tell_read(now, peer, incarnation, (after, to)),
            Claim::Imported(command, rows) => self.on_imported(command, &rows, committed),
            Claim::Event(event) => self.tell(event),
        }
    }

    fn show(&mut self, row: HistoryRow, committed: Option<&Committed>) {
        if committed.is_some_and(|committed| committed.is_duplicate(&row)) {
            return;
        }
        let name = self.peers.get(&row.peer).map(|peer| peer.name()).unwrap_or_default();
        let stranger = self.peers.get(&row.peer).is_none_or(|peer| !peer.contact.added);
        self.tell(Event::Message { row, name, stranger });
    }

    /// Says what the last commit has proved: as few items as the limits allow. Where another run has taken the
    /// link meanwhile, nothing: what it has itself, it offers itself.
    pub(super) fn send_receipts(&mut self, receipts: Receipts) {
        for ((Run { peer: id, boot }, incarnation), [delivered, void, cloned]) in receipts.0 {
            let session = self.peers.get_mut(&id).and_then(|peer| peer.session_mut());
            let Some(session) = session.filter(|session| session.boot() == boot) else { continue };
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

    /// A commit failed: nothing opens, the same batch is tried again, and whoever asks hears why.
    pub(crate) fn on_commit_failed(&mut self, now: Now, batch: BatchId, error: CommitError) {
        self.batches.on_failed(now.instant, batch, error);
        match (error, self.batches.health()) {
            (CommitError::Full, _) => {
                self.refuse_unwritten(CommandError::DiskFull);
                self.notice(NoticeCode::DiskFull, "the disk is full: nothing is accepted until there is room", None);
            }
            (CommitError::Io, Health::ReadOnly(_)) => {
                self.notice(NoticeCode::ReadOnly, "the profile cannot be written: nothing is accepted until it can", None);
            }
            _ => {}
        }
    }

    /// No room on the disk: what was asked for and is not on disk is refused, and says so; what came from
    /// peers waits for room.
    fn refuse_unwritten(&mut self, error: CommandError) {
        let withdrawn = self.batches.withdraw(|op| matches!(op, Op::Queue(..) | Op::Replace { .. }));
        let mut lowest: BTreeMap<PeerId, Seq> = BTreeMap::new();
        for op in withdrawn {
            let row = match op {
                Op::Queue(row, _) => row,
                Op::Replace { row, .. } => {
                    self.not_rewritten(&row, &error);
                    continue;
                }
                _ => continue,
            };
            let seq = lowest.entry(row.peer).or_insert(row.seq);
            *seq = (*seq).min(row.seq);
            self.outbox_len = self.outbox_len.saturating_sub(1);
            for command in self.asked.remove(&row.id).into_iter().flat_map(|asked| asked.commands) {
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
