//! Any operations in any order, beside a model of maps that says what they should do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use redb::backends::InMemoryBackend;

use super::{
    super::{
        hot::RECENT_MAX,
        row::{Direction, HELD_VOID, HistoryRow, Op, OutboxRow, Place, State, VoidReason},
        *,
    },
    *,
};
use crate::id::{ConversationId, Incarnation, MessageId, PeerId, Seq};

type Slot = (ConversationId, Incarnation, Seq);

#[derive(Debug, Default)]
struct Model {
    /// The row, and the line of the history that it stands for.
    outbox: BTreeMap<(ConversationId, Seq), (OutboxRow, Option<usize>)>,
    history: Vec<HistoryRow>,
    /// Lines that were too old.
    gone: BTreeSet<usize>,
    own: BTreeMap<MessageId, usize>,
    theirs: BTreeMap<(PeerId, MessageId), usize>,
    received: BTreeMap<Slot, MessageId>,
    held: BTreeMap<Place, HistoryRow>,
    /// Lines below this are read.
    read: BTreeMap<PeerId, usize>,
    duplicates: Vec<Place>,
    released: Vec<HistoryRow>,
}

impl Model {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Queue(row, line) if !self.own.contains_key(&row.id) => {
                self.own.insert(row.id, self.history.len());
                self.outbox.insert((row.conversation, row.seq), (row.clone(), Some(self.history.len())));
                self.history.push(line.clone());
            }
            Op::Outbox(row) => {
                self.outbox.insert((row.conversation, row.seq), (row.clone(), self.own.get(&row.id).copied()));
            }
            Op::Replace { old, row, history } if !self.own.contains_key(&row.id) => {
                self.apply(&Op::State(*old, State::Cancelled));
                self.apply(&Op::Queue(row.clone(), history.clone()));
            }
            Op::Settle { conversation, seq, state, reason } => {
                if let Some((_, Some(line))) = self.outbox.remove(&(*conversation, *seq)) {
                    self.mark(line, *state, reason);
                }
            }
            Op::Unqueue(conversation, seq) => drop(self.outbox.remove(&(*conversation, *seq))),
            Op::State(id, state) => {
                if let Some(line) = self.own.get(id) {
                    self.mark(*line, *state, "");
                }
            }
            Op::Receive(row) => {
                self.received.entry((row.conversation, row.incarnation, row.seq)).or_insert(row.id);
                self.append(row.clone());
            }
            Op::Hold(row) => {
                self.received.entry((row.conversation, row.incarnation, row.seq)).or_insert(row.id);
                self.held.insert(row.place(), row.clone());
            }
            Op::Release(conversation, incarnation, seq) => {
                let places: Vec<_> = self.held.keys().copied().collect();
                for place in places.into_iter().filter(|place| (place.0, place.1, place.2) == (*conversation, *incarnation, *seq))
                {
                    let row = self.held.remove(&place).unwrap();
                    if row.kind != HELD_VOID && self.append(row.clone()) {
                        self.released.push(row);
                    }
                }
            }
            Op::Import(row) if row.direction == Direction::In => drop(self.append(row.clone())),
            Op::Import(row) if self.own.contains_key(&row.id) => self.duplicates.push(row.place()),
            Op::Import(row) => {
                self.own.insert(row.id, self.history.len());
                self.history.push(row.clone());
            }
            Op::MarkRead(peer, id) => {
                let own = self.own.get(id).filter(|line| self.history[**line].peer == *peer);
                if let Some(line) = self.theirs.get(&(*peer, *id)).or(own) {
                    let read = self.read.entry(*peer).or_default();
                    *read = (*read).max(line + 1);
                }
            }
            Op::Queue(..) | Op::Replace { .. } | Op::Boot(_) | Op::Name(_) | Op::Contact(_) | Op::Conversation(_) => {}
        }
    }

    fn append(&mut self, row: HistoryRow) -> bool {
        if self.theirs.contains_key(&(row.peer, row.id)) {
            self.duplicates.push(row.place());
            return false;
        }
        self.theirs.insert((row.peer, row.id), self.history.len());
        self.history.push(row);
        true
    }

    fn mark(&mut self, line: usize, state: State, reason: &str) {
        let way = [&[State::Queued][..], &[State::Sent], &[State::Delivered, State::Cancelled, State::Failed], &[State::Read]];
        let how_far = |state| way.iter().position(|step| step.contains(&state));
        let row = &mut self.history[line];
        if how_far(state) >= how_far(row.state) {
            (row.state, row.reason) = (state, reason.to_owned());
        }
    }

    fn shown(&self) -> Vec<HistoryRow> {
        let lines = self.history.iter().enumerate().map(|(line, row)| {
            let read = row.direction == Direction::In && line < self.read.get(&row.peer).copied().unwrap_or(0);
            HistoryRow { state: if read { State::Read } else { row.state }, ..row.clone() }
        });
        lines.collect()
    }

    /// What stands at each line, as it is read.
    fn kept(&self) -> Vec<HistoryRow> {
        let lines = self.shown().into_iter().enumerate().filter(|(line, _)| !self.gone.contains(line));
        lines.map(|(_, row)| row).collect()
    }

    fn remove_old(&mut self, before: Unix) {
        for (line, row) in self.shown().into_iter().enumerate() {
            let waits = row.direction == Direction::Out && self.outbox.values().any(|(_, stands)| *stands == Some(line));
            let is_unread = row.direction == Direction::In && row.state != State::Read;
            if row.received_at < before && !waits && !is_unread {
                self.gone.insert(line);
            }
        }
    }

    fn unread(&self) -> BTreeMap<PeerId, u64> {
        let mut unread = BTreeMap::new();
        for row in self.shown() {
            if row.direction == Direction::In && row.state != State::Read {
                *unread.entry(row.peer).or_default() += 1;
            }
        }
        unread
    }
}

/// Peers 1 and 2, each with message ids of its own.
fn any_op() -> impl Strategy<Value = Op> {
    (0..15u8, 1..3u8, 1..6u64, 0..8u64, 1..3u64, 0..6usize).prop_map(|(what, with, seq, n, incarnation, state)| {
        let n = n * 2 + u64::from(with);
        let incarnation = Incarnation(incarnation);
        let theirs = HistoryRow { incarnation, ..line_in(with, seq, n) };
        let state = [State::Queued, State::Sent, State::Delivered, State::Read, State::Cancelled, State::Failed][state];
        match what {
            0..=2 => queue(with, seq, n),
            3 => Op::Outbox(waiting(with, seq, n)),
            4 => Op::Outbox(OutboxRow { void: Some(VoidReason::Expired), text: String::new(), ..waiting(with, seq, n) }),
            5 => Op::Settle { conversation: conversation(with), seq: Seq(seq), state, reason: "refused" },
            6 => Op::Unqueue(conversation(with), Seq(seq)),
            7 => Op::State(id(n), state),
            8 => Op::Receive(theirs),
            9 if state == State::Sent => Op::Hold(HistoryRow { kind: HELD_VOID, text: String::new(), ..theirs }),
            9 => Op::Hold(theirs),
            12 => match queue(with, seq, n) {
                Op::Queue(row, history) => Op::Replace { old: id(n ^ 2), row, history },
                other => other,
            },
            13 => Op::Import(HistoryRow { incarnation: Incarnation(0), seq: Seq(0), state: State::Read, ..theirs }),
            14 => match queue(with, seq, n) {
                Op::Queue(_, history) => Op::Import(HistoryRow { incarnation: Incarnation(0), seq: Seq(0), state, ..history }),
                other => other,
            },
            10 => Op::Release(conversation(with), incarnation, Seq(seq)),
            _ => Op::MarkRead(peer(with), id(n)),
        }
    })
}

/// Mostly a few, and sometimes so many that no id waits.
fn any_batch() -> impl Strategy<Value = Vec<Op>> {
    use proptest::collection::vec;
    prop_oneof![3 => vec(any_op(), 1..8), 1 => vec(any_op(), RECENT_MAX..RECENT_MAX + 5)]
}

fn same(store: &Store, model: &Model) {
    let reader = store.reader();
    assert_eq!(history(store), model.kept());
    assert_eq!(reader.unread().unwrap(), model.unread());
    for with in 1..3 {
        let rows = model.outbox.range((conversation(with), Seq(0))..=(conversation(with), Seq(u64::MAX)));
        assert_eq!(outbox(store, with), rows.map(|(_, (row, _))| row.clone()).collect::<Vec<_>>());
        for incarnation in [1, 2].map(Incarnation) {
            for seq in (1..6).map(Seq) {
                let slot = (conversation(with), incarnation, seq);
                assert_eq!(reader.received_id(slot.0, slot.1, slot.2).unwrap(), model.received.get(&slot).copied());
                let held: Vec<_> =
                    model.held.values().filter(|row| (row.conversation, row.incarnation, row.seq) == slot).cloned().collect();
                assert_eq!(reader.held(slot.0, slot.1, slot.2).unwrap().rows, held);
            }
        }
    }
    assert_eq!(reader.load().unwrap().outbox_len, model.outbox.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_do_what_the_model_says(
        batches in proptest::collection::vec((any_batch(), 0..40u64), 1..12)
    ) {
        let mut store = Store::create_backend(InMemoryBackend::new(), &fresh()).unwrap();
        let mut model = Model::default();
        for (ops, before) in batches {
            (model.duplicates, model.released) = (Vec::new(), Vec::new());
            for op in &ops {
                model.apply(op);
            }
            let committed = commit(&mut store, ops.clone());
            prop_assert_eq!(committed.released(), &model.released);
            for op in &ops {
                if let Op::Receive(row) = op {
                    prop_assert_eq!(committed.is_duplicate(row), model.duplicates.contains(&row.place()));
                }
            }
            // Mostly nothing is too old.
            let before = Unix(1_000 + before.saturating_sub(20));
            model.remove_old(before);
            prop_assert!(!store.remove_old(before, &mut Walk::default()).unwrap());
        }
        same(&store, &model);
    }
}
