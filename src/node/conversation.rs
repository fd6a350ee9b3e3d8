//! One conversation, both directions, as this run knows it: which places are offered, which are
//! receipted, which are on disk. Pure bookkeeping: what is said to whom lives in `delivery`.

mod yours;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::command::CommandId;
use crate::{
    clock::Instant,
    id::{ConversationId, Incarnation, MessageId, PeerId, Seq, SessionIndex},
    store::row::{ConversationRow, MineRow, VoidReason},
    wire::message::{self, BusyReason},
};

/// Messages beyond the lowest unreceipted one that may be under way (protocol, DELIVERY).
pub(crate) const WINDOW_MESSAGES_MAX: usize = 256;
/// Bytes beyond the lowest unreceipted message that may be under way.
pub(crate) const WINDOW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Re-offer no sooner than this after the last fragment was acked. A receipt waits for two commits at
/// worst, and a slow disk of 2 s each must not cause one needless offer.
const REOFFER_MIN: Duration = Duration::from_secs(5);
const REOFFER_MAX: Duration = Duration::from_secs(60);

/// Our direction starts anew at most this often for each peer: it is the peer that says so, and each time all that
/// waits for it is read and written.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
/// That messages are missing is told at most this often for each peer, as a sum.
const MISSING_PAUSE: Duration = Duration::from_secs(1);
/// Places that a peer repeats are looked up and receipted again so often a second at most; it offers the
/// others again later. A window that a new session repeats fits twice. Measured: one look takes 32 µs, so
/// that without a limit 30,000 short holes a second, 1 MB, would leave the loop no time for anybody else.
const REPEATS_PER_SECOND_MAX: u32 = 512;

/// A message of ours in the window.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) id: MessageId,
    pub(crate) void: Option<VoidReason>,
    pub(crate) len: usize,
    /// The text, where it is still in memory; else it is read from the store.
    pub(crate) text: Option<(u64, String)>,
    pub(crate) stage: Stage,
    pub(crate) created: crate::clock::Unix,
    /// `sent` was told.
    pub(crate) told_sent: bool,
    wait: Duration,
}

/// How far an offer is, in this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// To be given to the session.
    Ready,
    /// The session has it under this number.
    Handed(u64),
    /// Its last fragment was acked; the receipt is awaited until `at`, then it is offered again.
    Acked { since: Instant, at: Instant },
}

/// How far a new incarnation of our direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// None is needed.
    No,
    /// It begins as soon as the disk is idle, and no sooner than a minute after the one before.
    Wanted,
    /// The new seqs are on their way to the disk; the rows there still have the old ones.
    Writing,
}

/// A conversation in memory.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) row: ConversationRow,
    /// Our offers by seq, all committed; the lowest is the lowest unreceipted one that was loaded.
    pub(crate) offers: BTreeMap<Seq, Offer>,
    offered_bytes: usize,
    /// Places below may leave: the disk says that they may have been seen.
    pub(crate) sending_below: Seq,
    /// Below this they will, with a batch that is on its way.
    pub(crate) leaving_below: Seq,
    /// Places that get another text: neither leaves before it is on disk.
    pub(crate) rewriting: BTreeSet<Seq>,
    /// Seqs below this are in `offers` or settled; from here on the store is asked.
    pub(crate) loaded_to: Seq,
    /// There may be rows at or above `loaded_to` in the store.
    pub(crate) more: bool,
    /// Offers to hand over, and when to offer acked ones again.
    ready: BTreeSet<Seq>,
    reoffer: BTreeSet<(Instant, Seq)>,
    by_number: BTreeMap<u64, Seq>,
    /// The peer's view arrived in this session: content may leave once the peer knows `introduced`.
    pub(crate) is_open: bool,
    /// The incarnation of ours that the peer has books of, or has them before it in this session. Places
    /// of another one would only be refused there, and offered again seconds later.
    pub(crate) introduced: Option<Incarnation>,
    /// How far I have read, as the peer was told, and in which session.
    pub(crate) told_read: Option<(SessionIndex, (Incarnation, Seq))>,
    /// Places of ours that the peer says it has.
    there: Vec<(Seq, Seq)>,
    /// The peer asks to wait: no offer before then.
    pub(crate) busy: Option<(Instant, BusyReason)>,
    /// Offers without a receipt that the session may have; few after the peer has asked to wait.
    under_way_max: usize,
    /// Our disk did not give a row: it is asked again then.
    pub(crate) look_again: Option<Instant>,
    /// Smoothed time from ack to receipt.
    receipt_time: Duration,
    /// The incarnation that the peer sends in now, once it said so in this session.
    pub(crate) theirs: Option<Incarnation>,
    /// The highest place between our offers that is settled and that the peer may not know: its disk may
    /// be an older one than that which sent the receipt. It hears of it once the base has passed it.
    gap: Option<Seq>,
    /// Messages that are known to be missing and that nobody was told of, and when somebody was last.
    pub(crate) missing: u64,
    missing_told: Instant,
    /// Places that the peer repeated in the second that began then.
    repeats: (Instant, u32),
    /// Whether our direction starts anew; nothing is offered until it did.
    pub(crate) renewal: Renewal,
    /// It does not start anew again before then.
    renewal_pause: Option<Instant>,
    /// Cancels that came while the seqs on disk were about to change.
    pub(crate) cancel_later: Vec<(CommandId, MessageId)>,
}

impl Conversation {
    pub(crate) fn new(me: &PeerId, peer: PeerId, incarnation: Incarnation) -> Self {
        let id = ConversationId::direct(me, &peer);
        let mine = MineRow { incarnation, next: Seq(1), previous: None, sent_below: Some(Seq(1)) };
        Self::load(ConversationRow { id, peer, mine, yours: Vec::new(), unread: 0, read: Vec::new() }, Seq(1), false)
    }

    /// From the store: `lowest` is the lowest seq in the outbox, where there is one.
    pub(crate) fn load(mut row: ConversationRow, lowest: Seq, more: bool) -> Self {
        let sending_below = *row.mine.sent_below.get_or_insert(row.mine.next);
        Self {
            row,
            sending_below,
            leaving_below: sending_below,
            rewriting: BTreeSet::new(),
            offers: BTreeMap::new(),
            offered_bytes: 0,
            loaded_to: lowest,
            more,
            ready: BTreeSet::new(),
            reoffer: BTreeSet::new(),
            by_number: BTreeMap::new(),
            is_open: false,
            introduced: None,
            told_read: None,
            there: Vec::new(),
            busy: None,
            under_way_max: WINDOW_MESSAGES_MAX,
            look_again: None,
            receipt_time: Duration::ZERO,
            theirs: None,
            gap: None,
            missing: 0,
            missing_told: Instant::default(),
            repeats: (Instant::default(), 0),
            renewal: Renewal::No,
            renewal_pause: None,
            cancel_later: Vec::new(),
        }
    }

    /// True where content may leave in this session now.
    pub(crate) fn may_offer(&self) -> bool {
        self.is_open
            && self.introduced == Some(self.row.mine.incarnation)
            && self.busy.is_none()
            && self.offers.len() - self.ready.len() < self.under_way_max
            && self.look_again.is_none()
            && self.renewal == Renewal::No
    }

    /// True where our disk and the peer let us say anything of what waits.
    pub(crate) fn may_ask(&self) -> bool {
        self.busy.is_none() && self.look_again.is_none() && self.renewal == Renewal::No
    }

    /// The first message that was not withdrawn.
    pub(crate) fn first_message(&self) -> Option<Seq> {
        self.offers.iter().find(|(_, offer)| offer.void.is_none()).map(|(seq, _)| *seq)
    }

    /// True for an offer that the session does not have.
    pub(crate) fn is_ready(&self, seq: Seq) -> bool {
        self.ready.contains(&seq) && !self.rewriting.contains(&seq)
    }

    /// True while something of ours waits for a receipt, as far as memory knows.
    pub(crate) fn has_mail(&self) -> bool {
        self.more || !self.offers.is_empty()
    }

    /// The lowest seq that can still be offered; `next` where nothing can. What is on its way to the
    /// disk counts: it will be offered.
    pub(crate) fn base(&self) -> Seq {
        self.offers.first_key_value().map_or(self.loaded_to, |(seq, _)| *seq)
    }

    /// The books go to the peer: holes between the offers are noted.
    pub(crate) fn note_gaps(&mut self) {
        let mut expected = self.base();
        self.gap = None;
        for seq in self.offers.keys().copied().chain([self.loaded_to]) {
            if seq != expected {
                self.gap = Some(Seq(seq.0.saturating_sub(1)));
            }
            expected = seq.next();
        }
    }

    /// Rows were loaded from the store up to `seq`, without one between.
    pub(crate) fn skip_to(&mut self, seq: Seq) {
        if seq > self.loaded_to {
            self.gap = Some(Seq(seq.0.saturating_sub(1)));
            self.loaded_to = seq;
        }
    }

    /// True, once, where the base has passed the highest hole.
    pub(crate) fn take_passed_gap(&mut self) -> bool {
        let base = self.base();
        self.gap.take_if(|gap| *gap < base).is_some()
    }

    pub(crate) fn has_room(&self) -> bool {
        let span = self.offers.first_key_value().map_or(0, |(lowest, _)| self.loaded_to.0.saturating_sub(lowest.0));
        span < WINDOW_MESSAGES_MAX as u64 && self.offered_bytes < WINDOW_BYTES_MAX
    }

    /// Puts a committed message into the window. False where there is no room or rows before it were
    /// not loaded yet: then it is loaded from the store in its turn.
    pub(crate) fn insert(
        &mut self,
        seq: Seq,
        id: MessageId,
        void: Option<VoidReason>,
        created: crate::clock::Unix,
        text: (u64, String),
    ) -> bool {
        if seq != self.loaded_to || !self.has_room() {
            self.more |= seq >= self.loaded_to;
            return false;
        }
        self.loaded_to = seq.next();
        let len = text.1.len();
        self.offered_bytes += len;
        let offer =
            Offer { id, void, len, text: Some(text), stage: Stage::Ready, created, told_sent: false, wait: Duration::ZERO };
        self.offers.insert(seq, offer);
        self.ready.insert(seq);
        true
    }

    /// The next offer to hand to the session, lowest first. What the peer says it has comes before all
    /// else, and alone: if another message stands there, everything goes on in a new incarnation, and no
    /// later place may have been taken in this one by then.
    pub(crate) fn next_ready(&self) -> Option<Seq> {
        let there = || self.there.iter().filter(|(first, last)| first <= last);
        let is_decided = |seq: &&Seq| !self.rewriting.contains(seq);
        if there().all(|&(first, last)| self.offers.range(first..=last).next().is_none()) {
            return self.ready.iter().find(is_decided).copied();
        }
        there().find_map(|&(first, last)| self.ready.range(first..=last).find(is_decided).copied())
    }

    /// True for a place that nobody can have seen.
    pub(crate) fn is_unseen(&self, seq: Seq) -> bool {
        self.row.mine.sent_below.is_some_and(|below| seq >= below)
    }

    /// Another message is on disk in this place.
    pub(crate) fn on_rewritten(&mut self, seq: Seq, id: MessageId, created: crate::clock::Unix, text: (u64, String)) {
        self.rewriting.remove(&seq);
        let Some(offer) = self.offers.get_mut(&seq) else { return };
        let len = text.1.len();
        self.offered_bytes = self.offered_bytes.saturating_sub(offer.len) + len;
        *offer =
            Offer { id, void: None, len, text: Some(text), stage: Stage::Ready, created, told_sent: false, wait: Duration::ZERO };
    }

    /// The session has it.
    pub(crate) fn on_handed(&mut self, seq: Seq, number: u64) {
        if let Some(offer) = self.offers.get_mut(&seq) {
            offer.stage = Stage::Handed(number);
            offer.text = None;
            self.ready.remove(&seq);
            self.by_number.insert(number, seq);
        }
    }

    /// The session says that all of a message was acked. Returns the offer's seq.
    pub(crate) fn on_acked(&mut self, now: Instant, number: u64) -> Option<Seq> {
        let seq = self.by_number.remove(&number)?;
        let first = REOFFER_MIN.max(self.receipt_time * 4);
        let offer = self.offers.get_mut(&seq)?;
        offer.wait = if offer.wait.is_zero() { first } else { (offer.wait * 2).min(REOFFER_MAX) };
        let at = now + offer.wait;
        offer.stage = Stage::Acked { since: now, at };
        self.reoffer.insert((at, seq));
        Some(seq)
    }

    /// Offers again what was acked and not receipted in time.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if self.busy.take_if(|(until, _)| *until <= now).is_some() {
            self.offer_acked_again();
        }
        if self.look_again.is_some_and(|at| at <= now) {
            self.look_again = None;
        }
        self.renewal_pause.take_if(|until| *until <= now);
        while let Some((at, seq)) = self.reoffer.first().copied().filter(|(at, _)| *at <= now) {
            self.reoffer.remove(&(at, seq));
            if let Some(offer) = self.offers.get_mut(&seq) {
                offer.stage = Stage::Ready;
                self.ready.insert(seq);
            }
        }
    }

    /// The peer asks to wait: then the lowest offer goes alone, and with each receipt one more, so that what it
    /// cannot take is not sent to it again and again.
    pub(crate) fn on_busy(&mut self, until: Instant, reason: BusyReason) {
        self.busy = Some((until, reason));
        self.under_way_max = 1;
    }

    /// Which of them were refused is not known: those that were not are receipted once more.
    fn offer_acked_again(&mut self) {
        self.reoffer.clear();
        for (seq, offer) in &mut self.offers {
            if let Stage::Acked { .. } = offer.stage {
                offer.stage = Stage::Ready;
                offer.wait = Duration::ZERO;
                self.ready.insert(*seq);
            }
        }
    }

    /// Everything may be sent that could not before: also what the session had already, since nothing of it was taken.
    pub(crate) fn on_admitted(&mut self) {
        self.busy = None;
        self.offer_acked_again();
        for (_, seq) in std::mem::take(&mut self.by_number) {
            if let Some(offer) = self.offers.get_mut(&seq) {
                offer.stage = Stage::Ready;
                self.ready.insert(seq);
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let reoffer = self.reoffer.first().map(|(at, _)| *at);
        [reoffer, self.busy.map(|(until, _)| until), self.look_again, self.renewal_pause].into_iter().flatten().min()
    }

    /// A receipt, or the peer's own books, settled this place.
    pub(crate) fn settle(&mut self, now: Instant, seq: Seq) -> Option<Offer> {
        let offer = self.offers.remove(&seq)?;
        self.offered_bytes = self.offered_bytes.saturating_sub(offer.len);
        self.ready.remove(&seq);
        if self.busy.is_none() {
            self.under_way_max = (self.under_way_max + 1).min(WINDOW_MESSAGES_MAX);
        }
        match offer.stage {
            // Not given to this session: it came by another one, whose peer may be another copy.
            Stage::Ready => self.gap = self.gap.max(Some(seq)),
            Stage::Handed(number) => {
                self.by_number.remove(&number);
            }
            Stage::Acked { since, at } => {
                self.reoffer.remove(&(at, seq));
                let sample = now.since(since);
                self.receipt_time = if self.receipt_time.is_zero() { sample } else { (self.receipt_time * 7 + sample) / 8 };
            }
        }
        Some(offer)
    }

    /// A committed hole replaces an offer: it is offered anew.
    pub(crate) fn make_void(&mut self, seq: Seq, reason: VoidReason) {
        let Some(offer) = self.offers.get_mut(&seq) else { return };
        offer.void = Some(reason);
        offer.text = Some((0, String::new()));
        match offer.stage {
            Stage::Ready => {}
            Stage::Handed(number) => {
                self.by_number.remove(&number);
            }
            Stage::Acked { at, .. } => {
                self.reoffer.remove(&(at, seq));
            }
        }
        offer.stage = Stage::Ready;
        self.ready.insert(seq);
    }

    /// The session is gone: everything is offered again in the next one.
    pub(crate) fn on_session_lost(&mut self) {
        self.is_open = false;
        self.introduced = None;
        self.there.clear();
        self.theirs = None;
        self.busy = None;
        self.by_number.clear();
        self.reoffer.clear();
        for (seq, offer) in &mut self.offers {
            offer.stage = Stage::Ready;
            offer.wait = Duration::ZERO;
            self.ready.insert(*seq);
        }
    }

    /// Everything about our direction starts anew: what is in the outbox comes back under new seqs.
    pub(crate) fn restart_mine(&mut self, now: Instant, incarnation: Incarnation, next: Seq) {
        let end = Seq(self.row.mine.next.0.saturating_sub(1));
        let previous = Some((self.row.mine.incarnation, end));
        self.row.mine = MineRow { incarnation, next, previous, sent_below: Some(next) };
        (self.sending_below, self.leaving_below) = (next, next);
        self.rewriting.clear();
        self.offers.clear();
        self.offered_bytes = 0;
        self.ready.clear();
        self.reoffer.clear();
        self.by_number.clear();
        self.loaded_to = Seq(1);
        self.more = next > Seq(1);
        self.gap = None;
        self.there.clear();
        self.renewal = Renewal::Writing;
        self.renewal_pause = Some(now + RENEWAL_PAUSE);
    }

    /// What the peer says it has of ours. More than we ever sent shows that we went back in time. It
    /// settles nothing: a copy of this profile, or its former self, may have used the same seqs for other
    /// messages. Only receipts for what this run offered settle.
    pub(crate) fn on_yours(&mut self, yours: Option<&message::Yours>) {
        let Some(yours) = yours.filter(|yours| yours.incarnation == self.row.mine.incarnation) else { return };
        self.introduced = Some(yours.incarnation);
        self.there = [(Seq(1), yours.high_water)].into_iter().chain(yours.held.iter().copied()).collect();
        let highest = yours.held.last().map_or(yours.high_water, |held| held.1);
        if highest >= self.row.mine.next {
            self.want_new_incarnation();
        }
    }

    /// The peer has under our seqs what we did not send: our direction starts anew as soon as the disk is idle.
    pub(crate) fn want_new_incarnation(&mut self) {
        if self.renewal == Renewal::No {
            self.renewal = Renewal::Wanted;
        }
    }

    /// The renewal is due, and the disk is not to be left alone.
    pub(crate) fn wants_renewal(&self, now: Instant) -> bool {
        let is_over = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        self.renewal == Renewal::Wanted && is_over(self.look_again) && is_over(self.renewal_pause)
    }
}
