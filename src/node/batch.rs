//! The growing write batch and what waits for it. A claim goes in closed and comes out only with the
//! proof of its commit (protocol, DELIVERY). What a claim *means* lives in `delivery`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    clock::Instant,
    id::{BatchId, ConversationId},
    store::row::{CommitError, Committed, ConversationRow, Gated, Op, WriteBatch},
};

/// Operations that one batch may gather while another is being committed; past that nothing that
/// needs the disk is accepted.
pub(crate) const BATCH_OPS_MAX: usize = 65_536;
/// Bytes of texts that one batch may gather.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Wait before a batch that failed is handed in again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LATER: Duration = Duration::from_secs(1);
/// What nothing waits for stays so long at most before it has a commit of its own: whoever sends one message after another is
/// quicker, and shares that of the next.
const LAZY_MAX: Duration = Duration::from_millis(2);
/// Failures in a row after which the store counts as read-only.
const FAILURES_MAX: u32 = 3;

/// Whether writing works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// The last commit went well.
    Well,
    /// The last commit failed; the same batch is tried again.
    Failing(CommitError),
    /// Several failed in a row: nothing is accepted until one goes well.
    ReadOnly(CommitError),
}

/// All that is on its way to the disk, and the claims `C` behind it.
#[derive(Debug)]
pub(crate) struct Batches<C> {
    growing: BatchId,
    ops: Vec<Op>,
    /// Bytes of the texts in `ops`.
    bytes: usize,
    /// Conversations whose counters changed: one row each, appended when the batch is sealed.
    counters: BTreeMap<ConversationId, ConversationRow>,
    /// Nothing waits for what has grown so far: it is committed then at the latest.
    lazy_until: Option<Instant>,
    in_flight: Option<WriteBatch>,
    /// The batch in flight failed: hand it in again then.
    retry_at: Option<Instant>,
    failures: u32,
    error: Option<CommitError>,
    gated: VecDeque<Gated<C>>,
}

impl<C> Batches<C> {
    pub(crate) const fn new() -> Self {
        Self {
            growing: BatchId(1),
            ops: Vec::new(),
            bytes: 0,
            counters: BTreeMap::new(),
            lazy_until: None,
            in_flight: None,
            retry_at: None,
            failures: 0,
            error: None,
            gated: VecDeque::new(),
        }
    }

    pub(crate) fn health(&self) -> Health {
        match self.error {
            None => Health::Well,
            Some(error) if self.failures < FAILURES_MAX => Health::Failing(error),
            Some(error) => Health::ReadOnly(error),
        }
    }

    /// The batch that takes what is pushed now.
    pub(crate) const fn growing(&self) -> BatchId {
        self.growing
    }

    /// True where nothing waits for the disk.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && !self.grows()
    }

    /// True where the outbox of this conversation is on disk as it is: nothing of it is on its way.
    pub(crate) fn is_outbox_idle(&self, conversation: ConversationId) -> bool {
        let touches = |op: &Op| match op {
            Op::Queue(row, _) | Op::Outbox(row) | Op::Replace { row, .. } => row.conversation == conversation,
            Op::Settle { conversation: one, .. } | Op::Unqueue(one, _) => *one == conversation,
            _ => false,
        };
        self.in_flight.is_none() && !self.ops.iter().any(touches)
    }

    /// True where no more may be asked of the disk for now.
    pub(crate) fn is_full(&self) -> bool {
        self.ops.len() >= BATCH_OPS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    pub(crate) fn push(&mut self, op: Op) {
        self.lazy_until = None;
        self.bytes += match &op {
            Op::Queue(_, row) | Op::Replace { history: row, .. } | Op::Receive(row) | Op::Hold(row) => row.text.len(),
            _ => 0,
        };
        self.ops.push(op);
    }

    /// The same for what nothing waits for, and what a crash does no harm to: it goes along with the next one.
    pub(crate) fn push_lazy(&mut self, now: Instant, op: Op) {
        if !self.grows() {
            self.lazy_until = Some(now + LAZY_MAX);
        }
        self.ops.push(op);
    }

    fn grows(&self) -> bool {
        !self.ops.is_empty() || !self.counters.is_empty()
    }

    /// The counters of a conversation changed; only their last value of a batch is written.
    pub(crate) fn push_counters(&mut self, row: &ConversationRow) {
        self.lazy_until = None;
        self.counters.insert(row.id, row.clone());
    }

    /// Closes `claim` behind all that was pushed so far.
    pub(crate) fn gate(&mut self, claim: C) {
        self.lazy_until = None;
        self.gated.push_back(Gated::new(self.growing, claim));
    }

    /// The next batch to commit: a failed one again once its wait is over, else all that has grown; with
    /// `even_empty` also where nothing has.
    pub(crate) fn poll_write(&mut self, now: Instant, even_empty: bool) -> Option<WriteBatch> {
        if let Some(batch) = &self.in_flight {
            self.retry_at.take_if(|at| *at <= now)?;
            return Some(batch.clone());
        }
        let is_due = self.grows() && self.lazy_until.is_none_or(|until| until <= now);
        if !is_due && !even_empty {
            return None;
        }
        self.lazy_until = None;
        self.bytes = 0;
        let mut ops = std::mem::take(&mut self.ops);
        ops.extend(std::mem::take(&mut self.counters).into_values().map(Op::Conversation));
        let batch = WriteBatch { id: self.growing, ops: Arc::new(ops) };
        self.growing = self.growing.next();
        self.in_flight = Some(batch.clone());
        Some(batch)
    }

    /// When [`Self::poll_write`] has something that it does not have now.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.in_flight.is_some() { self.retry_at } else { self.lazy_until }
    }

    /// A commit went well: forgets the batch.
    pub(crate) fn on_committed(&mut self, committed: &Committed) {
        if self.in_flight.as_ref().is_some_and(|batch| batch.id == committed.batch()) {
            self.in_flight = None;
            self.retry_at = None;
            self.failures = 0;
            self.error = None;
        }
    }

    /// The next claim that `committed` proves.
    pub(crate) fn open_next(&mut self, committed: &Committed) -> Option<C> {
        match self.gated.pop_front()?.open(committed) {
            Ok(claim) => Some(claim),
            Err(still_closed) => {
                self.gated.push_front(still_closed);
                None
            }
        }
    }

    /// A claim about nothing that is on its way: opens at once where all is idle.
    pub(crate) fn gate_or_open(&mut self, claim: C) -> Option<C> {
        if self.is_idle() && self.gated.is_empty() {
            return Some(claim);
        }
        // With nothing growing, the batch in flight is the last one that matters.
        let last = if self.grows() { self.growing } else { BatchId(self.growing.0.saturating_sub(1)) };
        self.lazy_until = None;
        self.gated.push_back(Gated::new(last, claim));
        None
    }

    /// A commit failed, with an unknown outcome: the same batch is handed in again after a wait.
    pub(crate) fn on_failed(&mut self, now: Instant, batch: BatchId, error: CommitError) {
        if self.in_flight.as_ref().is_some_and(|in_flight| in_flight.id == batch) {
            self.failures = self.failures.saturating_add(1);
            self.error = Some(error);
            self.retry_at = Some(now + if self.failures < FAILURES_MAX { RETRY_FIRST } else { RETRY_LATER });
        }
    }

    /// The operations on their way to the disk, oldest first.
    pub(crate) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.in_flight.iter().flat_map(|batch| batch.ops.iter()).chain(&self.ops)
    }

    /// Takes the operations for which `is_unwanted` holds out of the failed batch and the growing one.
    pub(crate) fn withdraw(&mut self, is_unwanted: impl Fn(&Op) -> bool) -> Vec<Op> {
        let mut withdrawn = Vec::new();
        let mut sift = |ops: &mut Vec<Op>| {
            let (out, keep) = std::mem::take(ops).into_iter().partition(|op| is_unwanted(op));
            *ops = keep;
            withdrawn.extend::<Vec<Op>>(out);
        };
        if let Some(batch) = &mut self.in_flight {
            let mut ops = Arc::unwrap_or_clone(std::mem::take(&mut batch.ops));
            sift(&mut ops);
            batch.ops = Arc::new(ops);
        }
        sift(&mut self.ops);
        withdrawn
    }

    /// Replaces the counters of our direction in the failed batch, which were written for what was withdrawn.
    /// Those of the peer's direction may count by now what only the next batch brings.
    pub(crate) fn correct_counters(&mut self, row: &ConversationRow) {
        if let Some(batch) = &mut self.in_flight {
            for op in Arc::make_mut(&mut batch.ops) {
                if let Op::Conversation(old) = op
                    && old.id == row.id
                {
                    old.mine = row.mine.clone();
                }
            }
        }
        if self.counters.contains_key(&row.id) {
            self.push_counters(row);
        }
    }
}
