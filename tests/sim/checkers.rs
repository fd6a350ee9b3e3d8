//! The promises, one checker each. The ledger knows what people asked for; the books of a machine know
//! what is on its disk, from the batches that were committed, independently of what the node believes.
//! A broken promise is a value with its name; the world turns it into a failed test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use p2pchat_udp::{
    id::{ConversationId, Incarnation, MessageId, PeerId, Seq},
    store::row::{Direction, HELD_VOID, HistoryRow, Op, State},
};

/// A promise that was not kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    promise: &'static str,
    what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BROKEN PROMISE \"{}\": {}", self.promise, self.what)
    }
}

fn broken<T>(promise: &'static str, what: String) -> Result<T, Broken> {
    Err(Broken { promise, what })
}

/// A message that somebody asked to send.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// The machine that was asked.
    pub(crate) machine: usize,
    /// Who is to receive it.
    pub(crate) to: PeerId,
    /// Who wrote it.
    pub(crate) author: PeerId,
    pub(crate) kind: u64,
    pub(crate) text: String,
    /// Withdrawn by somebody, or with an end.
    pub(crate) may_end: bool,
    /// Place among all that was ever queued; 0 before.
    order: u64,
    /// Its sender forgot it and queued it again: it has two places, and may be shown at either.
    has_two_places: bool,
    /// On its sender's disk, at least once.
    committed: bool,
    /// The sender's node said that it is queued.
    promised: bool,
    /// Why it may be missing at the end.
    pub(crate) excused: Option<&'static str>,
}

/// Where a received message stands at its receiver.
type Place = (ConversationId, Incarnation, Seq);

/// What is known to be on a machine's disk, and what was shown there. Copied with the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// Stored, whether shown or held back.
    pub(crate) received: BTreeMap<MessageId, Place>,
    /// Queued by a committed batch.
    pub(crate) queued: BTreeSet<MessageId>,
    shown: BTreeSet<MessageId>,
    /// Order of the last message shown, by sending machine and its life.
    last_shown: BTreeMap<(usize, Incarnation), u64>,
}

impl Books {
    /// A batch is on disk.
    pub(crate) fn commit(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::Queue(outbox, _) => drop(self.queued.insert(outbox.id)),
                Op::Receive(row) | Op::Hold(row) if row.kind != HELD_VOID => {
                    self.received.insert(row.id, (row.conversation, row.incarnation, row.seq));
                }
                _ => {}
            }
        }
    }
}

/// Everything that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) sent: BTreeMap<MessageId, Sent>,
    orders: u64,
    /// Machines whose identity runs, or ran, on two machines: their order is judged by nobody.
    pub(crate) copied: BTreeSet<PeerId>,
    /// Whose machine went back to an older image.
    pub(crate) restored: BTreeSet<PeerId>,
    /// What was received and went away with that: a receipt may still be on its way.
    pub(crate) forgotten: BTreeSet<MessageId>,
}

impl Ledger {
    /// Somebody asks a machine to send. Asking again changes nothing.
    #[expect(clippy::too_many_arguments, reason = "one message, field by field")]
    pub(crate) fn asked(
        &mut self,
        id: MessageId,
        machine: usize,
        author: PeerId,
        to: PeerId,
        kind: u64,
        text: String,
        end: bool,
    ) {
        let sent = Sent {
            machine,
            to,
            author,
            kind,
            text,
            may_end: end,
            order: 0,
            has_two_places: false,
            committed: false,
            promised: false,
            excused: None,
        };
        self.sent.entry(id).or_insert(sent);
    }

    /// A peer that is no machine of this world sends it.
    pub(crate) fn asked_elsewhere(&mut self, id: MessageId, author: PeerId, to: PeerId, kind: u64, text: &str) {
        self.asked(id, usize::MAX, author, to, kind, text.to_owned(), false);
        self.orders += 1;
        let sent = self.sent.get_mut(&id).expect("just asked");
        (sent.committed, sent.order) = (true, self.orders);
    }

    /// Somebody withdraws it.
    pub(crate) fn cancelled(&mut self, id: MessageId) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.may_end = true;
        }
    }

    /// A node wants this batch written: messages get their places in the order of its operations.
    pub(crate) fn batch(&mut self, ops: &[Op]) -> Result<(), Broken> {
        for op in ops {
            let Op::Queue(row, _) = op else { continue };
            let Some(sent) = self.sent.get_mut(&row.id) else {
                return broken("nothing is invented", format!("{:?} is queued, nobody asked for it", row.id));
            };
            self.orders += 1;
            sent.has_two_places |= sent.committed && self.restored.contains(&sent.author);
            sent.order = self.orders;
        }
        Ok(())
    }

    /// A batch of `machine`, whose owner is `me`, is on disk.
    pub(crate) fn committed(&mut self, me: PeerId, ops: &[Op]) -> Result<(), Broken> {
        for op in ops {
            match op {
                Op::Queue(row, _) => {
                    if let Some(sent) = self.sent.get_mut(&row.id) {
                        sent.committed = true;
                    }
                }
                Op::Receive(row) | Op::Hold(row) if row.kind != HELD_VOID => self.received(me, row)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// What a machine stores was asked for, by the peer it is put down to, for this machine's owner; and
    /// it left its sender only after it was on the sender's disk.
    fn received(&self, me: PeerId, row: &HistoryRow) -> Result<(), Broken> {
        let Some(sent) = self.sent.get(&row.id) else {
            return broken("nothing is invented", format!("{:?} was stored by {me:?}, nobody sent it", row.id));
        };
        if sent.to != me {
            return broken("nothing is misdelivered", format!("{:?} for {:?} was stored by {me:?}", row.id, sent.to));
        }
        if sent.author != row.peer || sent.text != row.text || sent.kind != row.kind || row.direction != Direction::In {
            return broken("nothing is invented", format!("{:?} is not what {:?} wrote: {:?}", row.id, sent.author, short(row)));
        }
        if !sent.committed {
            return broken("a claim waits for its commit", format!("{:?} travelled before it was on its sender's disk", row.id));
        }
        Ok(())
    }

    /// A node says `Queued`.
    pub(crate) fn promised(&mut self, id: MessageId, books: &Books) -> Result<(), Broken> {
        let Some(sent) = self.sent.get_mut(&id) else {
            return broken("nothing is invented", format!("{id:?} is said to be queued, nobody asked for it"));
        };
        sent.promised = true;
        if !books.queued.contains(&id) {
            return broken("a claim waits for its commit", format!("{id:?} is said to be queued and is not on disk"));
        }
        Ok(())
    }

    /// A node shows a message on `books`' machine, owned by `me`.
    pub(crate) fn shown(&self, me: PeerId, row: &HistoryRow, books: &mut Books) -> Result<(), Broken> {
        self.received(me, row)?;
        if !books.received.contains_key(&row.id) {
            return broken("a claim waits for its commit", format!("{:?} was shown before it was on disk", row.id));
        }
        if !books.shown.insert(row.id) {
            return broken("nothing is doubled", format!("{:?} was shown twice to {me:?}", row.id));
        }
        let sent = &self.sent[&row.id];
        if sent.has_two_places {
            return Ok(());
        }
        // Whoever went back in time offers again, in a new life, what may have been received in the old one.
        let life = if self.restored.contains(&sent.author) { row.incarnation } else { Incarnation(0) };
        let last = books.last_shown.insert((sent.machine, life), sent.order).unwrap_or(0);
        if last >= sent.order && !self.copied.contains(&sent.author) {
            let what = format!("{:?} (place {}) was shown after place {last} of the same sender", row.id, sent.order);
            return broken("each sender stays in order", what);
        }
        Ok(())
    }

    /// A node says that one of its messages reached a state. `addressee`: the books of every machine of
    /// the addressee.
    pub(crate) fn claimed<'a>(
        &self,
        id: MessageId,
        state: State,
        mut addressee: impl Iterator<Item = &'a Books>,
    ) -> Result<(), Broken> {
        let Some(sent) = self.sent.get(&id) else {
            return broken("nothing is invented", format!("{id:?} has a state, nobody asked for it"));
        };
        match state {
            State::Queued | State::Sent if !sent.committed => {
                broken("a claim waits for its commit", format!("{id:?} is said to be {state:?} and was never on disk"))
            }
            State::Delivered | State::Read
                if !addressee.any(|books| books.received.contains_key(&id)) && !self.forgotten.contains(&id) =>
            {
                broken("delivered is on the receiver's disk", format!("{id:?} is said to be {state:?} and is not there"))
            }
            State::Cancelled | State::Failed if !sent.may_end => {
                broken("nothing is lost", format!("{id:?} ended as {state:?}, nobody withdrew it and it had no end"))
            }
            _ => Ok(()),
        }
    }

    /// A disk was opened again: what was known to be there must be there, and what is there is known from
    /// now on. `history`: all rows; `outbox`: all ids; `has_place`: what is remembered for a place.
    pub(crate) fn reopened(
        &mut self,
        books: &mut Books,
        history: &[HistoryRow],
        has_place: impl Fn(&Place) -> Option<MessageId>,
    ) -> Result<(), Broken> {
        let ins = || history.iter().filter(|row| row.direction == Direction::In);
        let outs = || history.iter().filter(|row| row.direction == Direction::Out);
        let in_ids: BTreeSet<MessageId> = ins().map(|row| row.id).collect();
        for (id, place) in &books.received {
            if !in_ids.contains(id) && has_place(place) != Some(*id) {
                return broken("what was committed stays", format!("received {id:?} is gone after a restart"));
            }
        }
        let out_ids: BTreeSet<MessageId> = outs().map(|row| row.id).collect();
        if let Some(id) = books.queued.difference(&out_ids).next() {
            return broken("what was committed stays", format!("queued {id:?} is gone after a restart"));
        }
        if in_ids.len() != ins().count() {
            return broken("nothing is doubled", "a history holds a received message twice".to_owned());
        }
        for row in outs() {
            books.queued.insert(row.id);
            match self.sent.get_mut(&row.id) {
                Some(sent) => sent.committed = true,
                None => return broken("nothing is invented", format!("{:?} is in the history, nobody sent it", row.id)),
            }
        }
        for row in ins() {
            books.received.entry(row.id).or_insert((row.conversation, row.incarnation, row.seq));
        }
        Ok(())
    }

    /// The end, at a sender: `rows` is what its history says of its own messages, `outbox` what still
    /// waits. Everything accepted reached an end, and the right one.
    pub(crate) fn nothing_lost<'a, I: Iterator<Item = &'a [HistoryRow]>>(
        &self,
        machine: usize,
        rows: &[HistoryRow],
        outbox: &[MessageId],
        addressee: impl Fn(PeerId) -> I,
    ) -> Result<(), Broken> {
        if let Some(id) = outbox.iter().find(|id| self.sent.get(id).is_none_or(|sent| sent.excused.is_none())) {
            return broken("all outboxes are empty in the end", format!("{id:?} still waits, {} in all", outbox.len()));
        }
        let states: BTreeMap<MessageId, State> =
            rows.iter().filter(|row| row.direction == Direction::Out).map(|row| (row.id, row.state)).collect();
        for (id, sent) in self.sent.iter().filter(|(_, sent)| sent.machine == machine && (sent.promised || sent.committed)) {
            if sent.excused.is_some() {
                continue;
            }
            let there = addressee(sent.to).any(|rows| rows.iter().any(|row| row.id == *id && row.direction == Direction::In));
            let restored = self.restored.contains(&sent.to);
            let tangled = self.copied.contains(&sent.to) || self.copied.contains(&sent.author);
            match states.get(id) {
                Some(State::Delivered | State::Read) if there || restored => {}
                Some(State::Cancelled | State::Failed) if sent.may_end => {
                    if there && !restored && !tangled && !self.restored.contains(&sent.author) {
                        return broken("a state tells the truth", format!("{id:?} is {:?} and was delivered", states.get(id)));
                    }
                }
                state => {
                    let what = format!("{id:?} from machine {machine} to {:?}: {state:?} in the end, there: {there}", sent.to);
                    return broken("nothing is lost", what);
                }
            }
        }
        Ok(())
    }
}

fn short(row: &HistoryRow) -> (PeerId, u64, String) {
    (row.peer, row.kind, row.text.chars().take(40).collect())
}

#[cfg(test)]
mod tests {
    use p2pchat_udp::{clock::Unix, crypto::identity::Identity, store::row::OutboxRow};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn person(n: u8) -> PeerId {
        Identity::generate(&mut ChaCha20Rng::from_seed([n; 32])).id()
    }

    fn id(n: u8) -> MessageId {
        MessageId::from_bytes([n; 16])
    }

    fn row(n: u8, direction: Direction, peer: PeerId, state: State) -> HistoryRow {
        HistoryRow {
            id: id(n),
            conversation: ConversationId::direct(&person(1), &person(2)),
            peer,
            name: String::new(),
            direction,
            incarnation: Incarnation(1),
            seq: Seq(n.into()),
            kind: 0,
            text: format!("text {n}"),
            more: Vec::new(),
            sent_at: Unix(0),
            received_at: Unix(0),
            late: false,
            state,
            reason: String::new(),
        }
    }

    fn queue(n: u8) -> Op {
        let history = row(n, Direction::Out, person(2), State::Queued);
        let outbox = OutboxRow {
            conversation: history.conversation,
            peer: history.peer,
            seq: history.seq,
            id: history.id,
            kind: 0,
            text: history.text.clone(),
            created: Unix(0),
            expires: None,
            void: None,
        };
        Op::Queue(outbox, history)
    }

    fn received(n: u8) -> HistoryRow {
        row(n, Direction::In, person(1), State::Delivered)
    }

    /// Person 1 asked to send messages 1 to 3 to person 2, and they are on 1's disk; and 2's books.
    fn three_sent() -> (Ledger, Books) {
        let mut ledger = Ledger::default();
        for n in 1..=3 {
            ledger.asked(id(n), 0, person(1), person(2), 0, format!("text {n}"), false);
            ledger.batch(&[queue(n)]).unwrap();
            ledger.committed(person(1), &[queue(n)]).unwrap();
        }
        (ledger, Books::default())
    }

    fn promise<T: fmt::Debug>(result: Result<T, Broken>) -> &'static str {
        result.unwrap_err().promise
    }

    #[test]
    fn a_good_run_passes() {
        let (mut ledger, mut books) = three_sent();
        for n in 1..=3 {
            let ops = [Op::Receive(received(n))];
            ledger.committed(person(2), &ops).unwrap();
            books.commit(&ops);
            ledger.shown(person(2), &received(n), &mut books).unwrap();
            ledger.claimed(id(n), State::Delivered, [&books].into_iter()).unwrap();
        }
        let out: Vec<_> = (1..=3).map(|n| row(n, Direction::Out, person(2), State::Delivered)).collect();
        let there: Vec<_> = (1..=3).map(received).collect();
        ledger.nothing_lost(0, &out, &[], |_| [there.as_slice()].into_iter()).unwrap();
    }

    #[test]
    fn what_was_never_sent_or_was_changed_is_invented() {
        let (ledger, mut books) = three_sent();
        let mut ledger = ledger;
        assert_eq!(promise(ledger.shown(person(2), &received(4), &mut books)), "nothing is invented");
        let mut changed = received(1);
        changed.text.push('!');
        assert_eq!(promise(ledger.committed(person(2), &[Op::Hold(changed)])), "nothing is invented");
        assert_eq!(promise(ledger.batch(&[queue(4)])), "nothing is invented");
        assert_eq!(promise(ledger.committed(person(3), &[Op::Receive(received(1))])), "nothing is misdelivered");
    }

    #[test]
    fn twice_out_of_order_and_too_early_are_seen() {
        let (mut ledger, mut books) = three_sent();
        assert_eq!(promise(ledger.shown(person(2), &received(1), &mut books)), "a claim waits for its commit");
        books.commit(&[Op::Receive(received(1)), Op::Receive(received(2))]);
        ledger.shown(person(2), &received(2), &mut books).unwrap();
        assert_eq!(promise(ledger.shown(person(2), &received(2), &mut books)), "nothing is doubled");
        assert_eq!(promise(ledger.shown(person(2), &received(1), &mut books)), "each sender stays in order");
        assert_eq!(promise(ledger.promised(id(1), &Books::default())), "a claim waits for its commit");
        let nobody = || [].into_iter();
        assert_eq!(promise(ledger.claimed(id(1), State::Delivered, nobody())), "delivered is on the receiver's disk");
        assert_eq!(promise(ledger.claimed(id(1), State::Cancelled, nobody())), "nothing is lost");
        ledger.cancelled(id(1));
        ledger.claimed(id(1), State::Cancelled, nobody()).unwrap();
        ledger.asked(id(9), 0, person(1), person(2), 0, "text 9".to_owned(), false);
        assert_eq!(promise(ledger.claimed(id(9), State::Sent, nobody())), "a claim waits for its commit");
        assert_eq!(promise(ledger.committed(person(2), &[Op::Receive(received(9))])), "a claim waits for its commit");
    }

    #[test]
    fn a_disk_that_forgets_is_seen() {
        let (mut ledger, mut books) = three_sent();
        books.commit(&[Op::Receive(received(1)), Op::Hold(received(3)), queue(2)]);
        let out = row(2, Direction::Out, person(2), State::Queued);
        let whole = [received(1), out];
        ledger.reopened(&mut books, &whole, |_| Some(id(3))).unwrap();
        let stays = "what was committed stays";
        assert_eq!(promise(ledger.reopened(&mut books, &whole, |_| None)), stays, "the held one is gone");
        assert_eq!(promise(ledger.reopened(&mut books, &whole[..1], |_| Some(id(3)))), stays, "the queued one is gone");
        assert_eq!(promise(ledger.reopened(&mut books, &whole[1..], |_| Some(id(3)))), stays, "the received one is gone");
        let twice = [received(1), received(1), whole[1].clone()];
        assert_eq!(promise(ledger.reopened(&mut books, &twice, |_| Some(id(3)))), "nothing is doubled");
    }

    #[test]
    fn what_is_missing_in_the_end_is_lost() {
        let (mut ledger, _) = three_sent();
        let out = |state| -> Vec<_> { (1..=3).map(|n| row(n, Direction::Out, person(2), state)).collect() };
        let there: Vec<_> = (1..=3).map(received).collect();
        let end = |ledger: &Ledger, rows: &[HistoryRow], outbox: &[MessageId], there: &[HistoryRow]| {
            ledger.nothing_lost(0, rows, outbox, |_| [there].into_iter())
        };
        assert_eq!(promise(end(&ledger, &out(State::Delivered), &[id(1)], &there)), "all outboxes are empty in the end");
        assert_eq!(promise(end(&ledger, &out(State::Delivered), &[], &there[1..])), "nothing is lost");
        assert_eq!(promise(end(&ledger, &out(State::Sent), &[], &there)), "nothing is lost");
        assert_eq!(promise(end(&ledger, &out(State::Delivered)[1..], &[], &there)), "nothing is lost");
        assert_eq!(promise(end(&ledger, &out(State::Failed), &[], &[])), "nothing is lost");
        (1..=3).for_each(|n| ledger.cancelled(id(n)));
        end(&ledger, &out(State::Cancelled), &[], &[]).unwrap();
        assert_eq!(promise(end(&ledger, &out(State::Cancelled), &[], &there)), "a state tells the truth");
    }
}
