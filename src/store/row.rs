//! What the store keeps, as values: rows, the operations of a write batch, and the types that make a
//! claim wait for its commit. How they lie on disk does not live here (`tables`), nor when they are
//! written (`node`).

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Unix,
    id::{BatchId, BootId, ConversationId, Incarnation, MessageId, PeerId, Seq},
};

/// Addresses remembered for a peer at most; the oldest goes.
pub const REMEMBERED_ADDRESSES_MAX: usize = 8;
/// Incarnations of one peer's direction that are remembered at most; the oldest goes.
pub const INCARNATIONS_MAX: usize = 8;

/// How far a peer's key is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Never completed a handshake with us.
    #[default]
    Unknown,
    /// Key pinned at first use.
    Seen,
    /// Compared by its owner and me.
    Verified,
    /// Costs us nothing any more.
    Blocked,
}

/// A peer that we have met or added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// Who. The first of `ids` for as long as a contact has one device.
    pub id: PeerId,
    /// Reserved for several devices of one person: further ids.
    #[serde(default)]
    pub more_ids: Vec<PeerId>,
    /// What it called itself last; empty where it never said.
    pub name: String,
    /// What I call it.
    pub petname: Option<String>,
    /// How far its key is trusted.
    pub trust: Trust,
    /// True once I added it or wrote to it; else a stranger that wrote to me.
    pub added: bool,
    /// When it was met first.
    pub since: Unix,
    /// When something authenticated came last.
    pub last_heard: Option<Unix>,
    /// Highest boot heard, and the highest announce seq within it.
    pub boot: BootId,
    /// See `boot`.
    pub announce_seq: u64,
    /// Where it was reached, newest first. The interface of a link-local address is not stored: its
    /// index means nothing after a restart.
    pub addresses: Vec<SocketAddr>,
    /// Seeds that its link named, each as `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<String>,
    /// It asks to write to me, and I have not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// Whether it is told what I have read; `None`: as all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipts: Option<bool>,
    /// I have refused to have anything of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// What a stranger asks with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The message that it would send.
    pub id: MessageId,
    /// Content kind of it.
    #[serde(default)]
    pub kind: u64,
    /// Its text, or the beginning of it.
    pub text: String,
    /// When it came.
    pub received_at: Unix,
}

/// Both directions of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversationRow {
    /// Which.
    pub id: ConversationId,
    /// With whom, as long as there are no rooms.
    pub peer: PeerId,
    /// What we send.
    pub mine: MineRow,
    /// What we received, newest incarnation last, at most [`INCARNATIONS_MAX`].
    pub yours: Vec<YoursRow>,
    /// Bytes received here that nobody was shown; counted for a stranger only.
    #[serde(default)]
    pub unread: u64,
    /// Up to where the peer has read what we sent, of each of our lives, newest last, at most [`INCARNATIONS_MAX`].
    #[serde(default)]
    pub read: Vec<(Incarnation, Seq)>,
}

impl ConversationRow {
    /// Up to where the peer has read what we sent in this life; 0: nothing.
    pub fn read_to(&self, incarnation: Incarnation) -> Seq {
        self.read.iter().find(|(life, _)| *life == incarnation).map_or(Seq(0), |(_, seq)| *seq)
    }

    /// It has read up to here.
    pub fn set_read_to(&mut self, incarnation: Incarnation, seq: Seq) {
        self.read.retain(|(life, _)| *life != incarnation);
        if self.read.len() >= INCARNATIONS_MAX {
            self.read.remove(0);
        }
        self.read.push((incarnation, seq));
    }
}

/// Our sending direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MineRow {
    /// Current life.
    pub incarnation: Incarnation,
    /// Seq of the next new message; the first is 1.
    pub next: Seq,
    /// The life before, and its last seq.
    pub previous: Option<(Incarnation, Seq)>,
    /// Messages below may have left; none from here on has. `None`: written by a version that did not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_below: Option<Seq>,
}

/// One life of the receiving direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct YoursRow {
    /// Which life.
    pub incarnation: Incarnation,
    /// Everything up to here is in the history, void, or given up by its sender.
    pub high_water: Seq,
    /// Inclusive ranges above it that wait in `held`, ascending, at most 32.
    pub held: Vec<(Seq, Seq)>,
}

/// A message that waits for its receipt. Key: conversation and seq.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// Which conversation.
    pub conversation: ConversationId,
    /// To whom.
    pub peer: PeerId,
    /// Place in our direction's current incarnation.
    pub seq: Seq,
    /// The message's name.
    pub id: MessageId,
    /// Content kind.
    pub kind: u64,
    /// The text; empty where `void`.
    pub text: String,
    /// When it was asked for, by this machine's clock.
    pub created: Unix,
    /// When it stops being worth sending.
    pub expires: Option<Unix>,
    /// It was withdrawn or expired after its seq was given: a hole is offered in its place.
    pub void: Option<VoidReason>,
}

/// Why a message became a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VoidReason {
    /// Somebody withdrew it.
    Cancelled,
    /// Its time was up.
    Expired,
}

/// Who wrote a line of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The peer.
    In,
    /// We.
    Out,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On our disk.
    Queued,
    /// Put on the wire to a live session.
    Sent,
    /// On the receiver's disk.
    Delivered,
    /// Read there.
    Read,
    /// Withdrawn before it was delivered.
    Cancelled,
    /// Will never be delivered.
    Failed,
}

/// A line of the history, in order of commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// The message's name.
    pub id: MessageId,
    /// Which conversation.
    pub conversation: ConversationId,
    /// The other side.
    pub peer: PeerId,
    /// What the other side called itself then; empty: nobody knows.
    #[serde(default)]
    pub name: String,
    /// Who wrote it.
    pub direction: Direction,
    /// Place in its author's direction.
    pub incarnation: Incarnation,
    /// Place in its author's direction.
    pub seq: Seq,
    /// Content kind.
    pub kind: u64,
    /// The text.
    pub text: String,
    /// Fields of later versions as a MessagePack map; empty where there were none.
    #[serde(default, with = "serde_bytes")]
    pub more: Vec<u8>,
    /// When it was written, by this machine's clock: arrival minus age for what came in.
    pub sent_at: Unix,
    /// When it came, or was queued.
    pub received_at: Unix,
    /// It had waited at least 30 s at its sender.
    pub late: bool,
    /// For `Out`: what became of it. For `In`: `Delivered`, or `Read`.
    pub state: State,
    /// Why it failed, in the words of the manual; empty elsewhere.
    #[serde(default)]
    pub reason: String,
}

impl HistoryRow {
    /// Where it stands and what it is called.
    pub const fn place(&self) -> Place {
        (self.conversation, self.incarnation, self.seq, self.id)
    }

    /// True where it never came over the wire to this profile, nor was written in it.
    pub fn is_imported(&self) -> bool {
        self.seq == Seq(0)
    }
}

/// One change. A batch's operations are applied in order, all or none.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// This run's boot id.
    Boot(BootId),
    /// What we call ourselves.
    Name(String),
    /// Inserts or replaces a contact.
    Contact(Contact),
    /// Inserts or replaces a conversation's counters.
    Conversation(ConversationRow),
    /// A new message of ours: an outbox row, and its history row in state `Queued`. Nothing where a
    /// message of ours with this id was ever queued, whatever became of it.
    Queue(OutboxRow, HistoryRow),
    /// Replaces an outbox row (a hole, or another seq after a new incarnation).
    Outbox(OutboxRow),
    /// Another message of ours in the place of one that waits, whose history row ends as `Cancelled`. Nothing where a message
    /// with the new id was ever queued.
    Replace {
        /// The message that waits there.
        old: MessageId,
        /// The new one, at the same place.
        row: OutboxRow,
        /// Its line of the history.
        history: HistoryRow,
    },
    /// Removes the outbox row at this place, and where there was one, sets the state of its history
    /// row as `State` does.
    Settle {
        /// Which conversation.
        conversation: ConversationId,
        /// Which place.
        seq: Seq,
        /// What the history row says from now on.
        state: State,
        /// Why, where it failed.
        reason: &'static str,
    },
    /// Removes the outbox row without a word about the message: it lives on under another seq.
    Unqueue(ConversationId, Seq),
    /// Sets the state of the history row of one of our messages, if it is there; never backwards
    /// (`Queued`, `Sent`, then an end: `Delivered`, `Cancelled` or `Failed`, then `Read`).
    State(MessageId, State),
    /// A received message that is next in order: appended to the history and unread, unless a message
    /// of the same peer with this id stands there already (then [`Committed::is_duplicate`] says so).
    /// Remembers the id under (conversation, incarnation, seq), unless another came there first.
    Receive(HistoryRow),
    /// A received message before which others are missing: kept aside, durable, invisible; beside
    /// what another id holds at the same place (a cloned profile). Remembers the id as `Receive`
    /// does. Also a void: text empty, kind [`HELD_VOID`].
    Hold(HistoryRow),
    /// Moves what was held at this place to the end of the history (a void: just removes it); with the
    /// same rule for duplicates as `Receive`. [`Committed::released`] has the rows.
    Release(ConversationId, Incarnation, Seq),
    /// A line that was said elsewhere, or here before: appended to the history as it is, read, and never sent. Nothing where
    /// a message of this id stands there already (then [`Committed::is_duplicate`] says so).
    Import(HistoryRow),
    /// Marks every message of this peer as read up to and including this id's row, which may be ours
    /// to it. Never backwards; nothing where the id is unknown.
    MarkRead(PeerId, MessageId),
}

/// Kind of a held row that is a hole. No wire kind: those are below.
pub const HELD_VOID: u64 = u64::MAX;

/// What the node wants written, in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteBatch {
    /// Batches are committed in the order of their ids, one at a time.
    pub id: BatchId,
    /// The changes. Shared, so that the node can hand the same batch in again after a failure.
    pub ops: Arc<Vec<Op>>,
}

/// Where a message stands and what it is called: enough to tell two messages apart, also where a
/// cloned profile gave one place to both.
pub type Place = (ConversationId, Incarnation, Seq, MessageId);

/// The proof that a batch, and every batch before it, is on disk. Only a store can make one.
#[derive(Debug)]
pub struct Committed {
    batch: BatchId,
    /// Sorted places of `Receive` and `Release` whose message stood in the history already.
    duplicates: Vec<Place>,
    /// What `Release` appended to the history, in that order.
    released: Vec<HistoryRow>,
}

impl Committed {
    pub(super) fn new(batch: BatchId, mut duplicates: Vec<Place>, released: Vec<HistoryRow>) -> Self {
        duplicates.sort_unstable();
        Self { batch, duplicates, released }
    }

    /// Which batch.
    pub const fn batch(&self) -> BatchId {
        self.batch
    }

    /// True where this received message stood in the history before its operation: it must not be
    /// shown again. Told by place and id, so that the same message under two places is shown once.
    pub fn is_duplicate(&self, row: &HistoryRow) -> bool {
        self.duplicates.binary_search(&row.place()).is_ok()
    }

    /// The messages that this batch's `Release` operations moved to the history, in that order;
    /// duplicates and holes are left out.
    pub fn released(&self) -> &[HistoryRow] {
        &self.released
    }
}

/// A value that claims something about a batch: nobody sees it before the batch is on disk.
#[derive(Debug)]
pub struct Gated<T> {
    batch: BatchId,
    value: T,
}

impl<T> Gated<T> {
    /// Locks `value` until `batch` is committed.
    pub const fn new(batch: BatchId, value: T) -> Self {
        Self { batch, value }
    }

    /// The value, where `committed` is this batch or a later one; else itself back, still closed.
    pub fn open(self, committed: &Committed) -> Result<T, Self> {
        if self.batch <= committed.batch { Ok(self.value) } else { Err(self) }
    }
}

/// Why a batch is not known to be on disk: nothing gated may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// No room. Nothing of the batch is on disk; what was asked for must be refused.
    #[error("the disk is full")]
    Full,
    /// The file could not be written or synced. Whether the batch is on disk is unknown: it is to be
    /// handed in again as it was, until that is told.
    #[error("the store cannot be written")]
    Io,
}
