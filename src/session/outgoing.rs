//! Messages on their way out: two lanes, fragmentation, the peer's credit, and what must be sent again.
//! When a packet may leave and what else is in it lives in `transmit`; which packets were lost, in
//! `recovery`.

use std::collections::VecDeque;

use super::{recovery::Piece, spare::COPY_LEN_MAX};
use crate::wire::{DATAGRAM_LEN_MAX, FRAGMENTS_MAX, MESSAGE_LEN_MAX, frame::Frame, relay::RELAYED_LEN_MAX};

/// Bytes of a fragment, and of the longest message that travels whole: fits a datagram of 1,200 bytes
/// beside the header, the tag, its own head and a short ack.
pub(super) const FRAGMENT_LEN: usize = 1_120;
/// The same in a session that begins on a relay. None that begins elsewhere ever gets there.
pub(super) const FRAGMENT_LEN_RELAYED: usize = FRAGMENT_LEN - (DATAGRAM_LEN_MAX - RELAYED_LEN_MAX);
const _: () = assert!(MESSAGE_LEN_MAX <= FRAGMENTS_MAX * FRAGMENT_LEN_RELAYED);
/// Credit that both sides have without a `Credit` frame (protocol, PACKETS).
pub(super) const CREDIT_FIRST: u64 = 4_096;
/// Fragmented messages that may be on their way at once; the receiver closes above it.
pub(super) const PARTIALS_MAX: usize = 256;
/// How far a message's number may be above the oldest one of its lane that was not wholly acked; the
/// receiver closes above it.
pub(super) const NUMBERS_AHEAD_MAX: u64 = 65_536;
/// Message bytes that are queued before the owner is asked to hold back.
pub(super) const QUEUED_LEN_MAX: usize = 16 << 20;
/// Control items that may wait for the peer's credit or ack. A peer that lets more come together takes
/// what it is sent without ever granting, and is not served any more.
const CONTROL_ITEMS_MAX: usize = 16_384;
/// Among so many of the youngest messages those to copy are looked for.
const COPIED_AMONG: u64 = 16;
/// Messages that an idle lane keeps room for.
const CAPACITY_KEPT: usize = 256;
/// The two low bits of a message's number name its lane; the rest counts within it.
pub(super) const LANES: u64 = 4;

/// Which queue an item waits in. Control goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Number ≡ 0 modulo 4.
    Control,
    /// Number ≡ 1 modulo 4. 2 and 3 are left for later lanes.
    Message,
}

/// The lane and the place in it that a number names; `None` for a lane that does not exist.
pub(super) fn lane_of(n: u64) -> Option<(Lane, u64)> {
    let lane = match n % LANES {
        0 => Lane::Control,
        1 => Lane::Message,
        _ => return None,
    };
    Some((lane, n / LANES))
}

#[derive(Debug)]
enum Slot {
    Whole(Vec<u8>),
    Parts(Box<Parts>),
    Acked,
}

#[derive(Debug)]
struct Parts {
    bytes: Vec<u8>,
    fragment_len: usize,
    unacked: usize,
    /// A bit per fragment.
    acked: Vec<u64>,
}

impl Parts {
    fn count(&self) -> u16 {
        u16::try_from(self.bytes.len().div_ceil(self.fragment_len)).unwrap_or(u16::MAX)
    }

    fn fragment(&self, index: u16) -> &[u8] {
        self.bytes.chunks(self.fragment_len).nth(usize::from(index)).unwrap_or_default()
    }

    fn is_acked(&self, index: u16) -> bool {
        self.acked.get(usize::from(index / 64)).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    fn set_acked(&mut self, index: u16) -> bool {
        let fresh = index < self.count() && !self.is_acked(index);
        if fresh {
            self.acked.get_mut(usize::from(index / 64)).into_iter().for_each(|word| *word |= 1 << (index % 64));
            self.unacked = self.unacked.saturating_sub(1);
        }
        fresh
    }
}

#[derive(Debug, Default)]
struct Queue {
    /// Messages from place `base` on.
    slots: VecDeque<Slot>,
    base: u64,
    /// Place of the first message that was not wholly sent, and its first fragment that was not.
    next: u64,
    next_fragment: u16,
}

impl Queue {
    fn slot(&self, place: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(place.checked_sub(self.base)?).ok()?)
    }

    fn slot_mut(&mut self, place: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(place.checked_sub(self.base)?).ok()?)
    }
}

/// Counts of [`Outgoing::fill`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filled {
    /// Messages and fragments sent for the first time.
    pub(super) fresh: u64,
    /// Their bytes.
    pub(super) fresh_len: u64,
    /// Messages and fragments sent once more.
    pub(super) again: u64,
}

/// All messages that were given and not wholly acked.
#[derive(Debug)]
pub(super) struct Outgoing {
    fragment_len: usize,
    control: Queue,
    message: Queue,
    /// Lost, to be sent before anything fresh. What was acked meanwhile is skipped.
    repairs: VecDeque<Piece>,
    credit: u64,
    credit_used: u64,
    queued: usize,
    /// Fragmented messages begun and not wholly acked.
    partials: usize,
}

impl Outgoing {
    /// Nothing given. Fragments, and messages that travel whole, are of `fragment_len` bytes at most.
    pub(super) fn new(fragment_len: usize) -> Self {
        Self {
            fragment_len,
            control: Queue::default(),
            message: Queue::default(),
            repairs: VecDeque::new(),
            credit: CREDIT_FIRST,
            credit_used: 0,
            queued: 0,
            partials: 0,
        }
    }

    fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Control => &self.control,
            Lane::Message => &self.message,
        }
    }

    fn queue_mut(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Message => &mut self.message,
        }
    }

    /// Queues an item of 1 to [`MESSAGE_LEN_MAX`] bytes; returns its number.
    pub(super) fn push(&mut self, lane: Lane, item: Vec<u8>) -> u64 {
        debug_assert!((1..=MESSAGE_LEN_MAX).contains(&item.len()), "the caller keeps the limits of an item");
        self.queued = self.queued.saturating_add(item.len());
        let fragment_len = self.fragment_len;
        let slot = if item.len() <= fragment_len {
            Slot::Whole(item)
        } else {
            let count = item.len().div_ceil(fragment_len);
            Slot::Parts(Box::new(Parts { bytes: item, fragment_len, unacked: count, acked: vec![0; count.div_ceil(64)] }))
        };
        let queue = self.queue_mut(lane);
        let place = queue.base.saturating_add(u64::try_from(queue.slots.len()).unwrap_or(u64::MAX));
        queue.slots.push_back(slot);
        number(lane, place)
    }

    /// Message bytes given and not wholly acked.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// No further control item may be given.
    pub(super) fn is_control_full(&self) -> bool {
        self.control.slots.len() >= CONTROL_ITEMS_MAX
    }

    /// The peer takes `limit` message bytes in all; a smaller limit than before is an old one.
    pub(super) fn on_credit(&mut self, limit: u64) {
        self.credit = self.credit.max(limit);
    }

    /// True where a message or fragment could go into a packet now. May be true for a repair that was
    /// acked meanwhile.
    pub(super) fn has_sendable(&self) -> bool {
        !self.repairs.is_empty() || self.fresh(Lane::Control).is_some() || self.fresh(Lane::Message).is_some()
    }

    /// The next fresh frame of a lane that credit and limits let go.
    fn fresh(&self, lane: Lane) -> Option<Frame<'_>> {
        let queue = self.queue(lane);
        if queue.next.saturating_sub(queue.base) >= NUMBERS_AHEAD_MAX {
            return None;
        }
        let n = number(lane, queue.next);
        let (frame, len) = match queue.slot(queue.next)? {
            Slot::Whole(bytes) => (Frame::Message { n, bytes }, bytes.len()),
            Slot::Parts(_) if queue.next_fragment == 0 && self.partials >= PARTIALS_MAX => return None,
            Slot::Parts(parts) => {
                let (index, bytes) = (queue.next_fragment, parts.fragment(queue.next_fragment));
                (Frame::Fragment { n, index, count: parts.count(), bytes }, bytes.len())
            }
            Slot::Acked => return None,
        };
        let used = self.credit_used.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        (used <= self.credit).then_some(frame)
    }

    /// Appends frames to `out` while they fit into `len_max` bytes: repairs, control, messages. `hold`
    /// hears of every piece.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, len_max: usize, mut hold: impl FnMut(Piece)) -> Filled {
        let mut filled = Filled::default();
        while let Some(piece) = self.repairs.pop_front() {
            let rest = self.encode(piece, out, len_max, &mut filled.again, &mut hold);
            if let Some(rest) = rest {
                self.repairs.push_front(rest);
                return filled;
            }
        }
        for lane in [Lane::Control, Lane::Message] {
            let mut run: Option<(u64, u32)> = None;
            while let Some(frame) = self.fresh(lane) {
                if out.len().saturating_add(frame.encoded_len()) > len_max {
                    break;
                }
                frame.encode(out);
                filled.fresh = filled.fresh.saturating_add(1);
                let (len, last_fragment) = match frame {
                    Frame::Message { n, bytes } => {
                        run = run.map_or(Some((n, 1)), |(first, count)| Some((first, count.saturating_add(1))));
                        (bytes.len(), None)
                    }
                    Frame::Fragment { n, index, count, bytes } => {
                        run.take().into_iter().for_each(|(first, count)| hold(Piece::Messages { first, count }));
                        hold(Piece::Fragment { n, index });
                        (bytes.len(), Some(index.saturating_add(1) == count))
                    }
                    _ => (0, None),
                };
                filled.fresh_len = filled.fresh_len.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
                self.on_fresh_sent(lane, len, last_fragment);
            }
            run.into_iter().for_each(|(first, count)| hold(Piece::Messages { first, count }));
        }
        filled
    }

    /// `last_fragment`: `None` for a whole message.
    fn on_fresh_sent(&mut self, lane: Lane, len: usize, last_fragment: Option<bool>) {
        self.credit_used = self.credit_used.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        let queue = self.queue_mut(lane);
        let begins = last_fragment.is_some() && queue.next_fragment == 0;
        if last_fragment == Some(false) {
            queue.next_fragment = queue.next_fragment.saturating_add(1);
        } else {
            queue.next = queue.next.saturating_add(1);
            queue.next_fragment = 0;
        }
        self.partials = self.partials.saturating_add(usize::from(begins));
    }

    /// Place of the first message that has never left.
    pub(super) const fn next_message(&self) -> u64 {
        self.message.next
    }

    /// Appends up to `copies` of the youngest short messages that are unacked and stand before `place`, while they fit into
    /// `len_max` bytes; how many.
    pub(super) fn copy(&self, out: &mut Vec<u8>, len_max: usize, copies: usize, place: u64, mut hold: impl FnMut(Piece)) -> u64 {
        let mut copied: usize = 0;
        for place in (place.saturating_sub(COPIED_AMONG)..place).rev() {
            let Some(Slot::Whole(bytes)) = self.message.slot(place) else { continue };
            let frame = Frame::Message { n: number(Lane::Message, place), bytes };
            if bytes.len() > COPY_LEN_MAX || out.len().saturating_add(frame.encoded_len()) > len_max {
                continue;
            }
            frame.encode(out);
            hold(Piece::Copy { n: number(Lane::Message, place) });
            copied = copied.saturating_add(1);
            if copied == copies {
                break;
            }
        }
        u64::try_from(copied).unwrap_or(u64::MAX)
    }

    /// Appends what a packet held and was not acked meanwhile; returns what of it did not fit.
    pub(super) fn encode(
        &self,
        piece: Piece,
        out: &mut Vec<u8>,
        len_max: usize,
        count: &mut u64,
        hold: &mut impl FnMut(Piece),
    ) -> Option<Piece> {
        match piece {
            Piece::Messages { first, count: run } => {
                for step in 0..run {
                    let n = first.saturating_add(u64::from(step).saturating_mul(LANES));
                    let Some(Slot::Whole(bytes)) = lane_of(n).and_then(|(lane, place)| self.queue(lane).slot(place)) else {
                        continue;
                    };
                    let frame = Frame::Message { n, bytes };
                    if out.len().saturating_add(frame.encoded_len()) > len_max {
                        return Some(Piece::Messages { first: n, count: run.saturating_sub(step) });
                    }
                    frame.encode(out);
                    *count = count.saturating_add(1);
                    hold(Piece::Messages { first: n, count: 1 });
                }
            }
            Piece::Fragment { n, index } => {
                let slot = lane_of(n).and_then(|(lane, place)| self.queue(lane).slot(place));
                let Some(Slot::Parts(parts)) = slot.filter(|slot| !slot.has_acked(index)) else { return None };
                let frame = Frame::Fragment { n, index, count: parts.count(), bytes: parts.fragment(index) };
                if out.len().saturating_add(frame.encoded_len()) > len_max {
                    return Some(piece);
                }
                frame.encode(out);
                *count = count.saturating_add(1);
                hold(piece);
            }
            // The first one counts.
            Piece::Copy { .. } | Piece::Credit | Piece::Rekey { .. } | Piece::Ping => {}
        }
        None
    }

    /// A packet with this piece was lost.
    pub(super) fn on_lost(&mut self, piece: Piece) {
        self.repairs.push_back(piece);
    }

    /// A packet with this piece was acked; `done` hears of each message that is wholly acked now.
    pub(super) fn on_acked(&mut self, piece: Piece, mut done: impl FnMut(u64)) {
        let (first, run, index) = match piece {
            Piece::Messages { first, count } => (first, count, None),
            Piece::Copy { n } => (n, 1, None),
            Piece::Fragment { n, index } => (n, 1, Some(index)),
            Piece::Credit | Piece::Rekey { .. } | Piece::Ping => return,
        };
        let Some((lane, first_place)) = lane_of(first) else { return };
        for place in (first_place..).take(usize::try_from(run).unwrap_or(usize::MAX)) {
            let Some(slot) = self.queue_mut(lane).slot_mut(place) else { continue };
            let len = match (&mut *slot, index) {
                (Slot::Whole(bytes), None) => bytes.len(),
                (Slot::Parts(parts), Some(index)) => {
                    parts.set_acked(index);
                    if parts.unacked > 0 {
                        continue;
                    }
                    parts.bytes.len()
                }
                _ => continue,
            };
            let was = std::mem::replace(slot, Slot::Acked);
            self.queued = self.queued.saturating_sub(len);
            self.partials = self.partials.saturating_sub(usize::from(matches!(was, Slot::Parts(_))));
            done(number(lane, place));
        }
        let queue = self.queue_mut(lane);
        while matches!(queue.slots.front(), Some(Slot::Acked)) {
            queue.slots.pop_front();
            queue.base = queue.base.saturating_add(1);
        }
        if queue.slots.is_empty() && queue.slots.capacity() > CAPACITY_KEPT {
            queue.slots = VecDeque::new();
        }
    }
}

impl Slot {
    fn has_acked(&self, index: u16) -> bool {
        match self {
            Self::Whole(_) => false,
            Self::Parts(parts) => parts.is_acked(index),
            Self::Acked => true,
        }
    }
}

fn number(lane: Lane, place: u64) -> u64 {
    let lane = match lane {
        Lane::Control => 0,
        Lane::Message => 1,
    };
    place.saturating_mul(LANES).saturating_add(lane)
}
