//! Messages on their way out: two lanes, fragmentation, the peer's credit, and what must be sent again.
//! When a packet may leave and what else is in it lives in `transmit`; which packets were lost, in
//! `recovery`.

use std::collections::VecDeque;

use super::{ranges::Ranges, recovery::Piece, spare::COPY_LEN_MAX};
use crate::wire::{FRAGMENT_LEN_MIN, MESSAGE_LEN_MAX, frame::Frame, relay::RELAYED_LEN_MAX};

/// A longer message travels in fragments, which a path that turns out to carry less can cut anew: fits a datagram on any
/// path, a relay too, beside the header, the tag, its own head and a short ack.
const WHOLE_LEN_MAX: usize = RELAYED_LEN_MAX - 80;
/// A fragment is not begun in less room, but for a message's end.
const FRAGMENT_ROOM_MIN: usize = 1_000;
const _: () = assert!(2 * FRAGMENT_LEN_MIN <= FRAGMENT_ROOM_MIN && FRAGMENT_ROOM_MIN <= WHOLE_LEN_MAX);
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
    acked: Ranges,
}

impl Parts {
    fn total(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    /// The fragment of message `n` from `offset` to `end` at most, as long as `room` lets it; `None` where that is too little.
    fn fragment(&self, n: u64, offset: u32, end: u32, room: usize) -> Option<Frame<'_>> {
        let total = self.total();
        let whole = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let fits = Frame::fragment_len(n, offset, total, room).min(whole);
        // What is cut off must be long enough for a fragment of its own, where it does not end the message.
        let len = if fits == whole || end == total { fits } else { fits.min(whole.saturating_sub(FRAGMENT_LEN_MIN)) };
        if len < whole && room < FRAGMENT_ROOM_MIN {
            return None;
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(start..start.saturating_add(len)).filter(|bytes| !bytes.is_empty())?;
        Some(Frame::Fragment { n, offset, total, bytes })
    }
}

#[derive(Debug, Default)]
struct Queue {
    /// Messages from place `base` on.
    slots: VecDeque<Slot>,
    base: u64,
    /// Place of the first message that was not wholly sent, and its first byte that was not.
    next: u64,
    next_offset: u32,
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
    /// Nothing given.
    pub(super) fn new() -> Self {
        Self {
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

    /// Gives back what a busier time has allocated.
    pub(super) fn rest(&mut self, capacity: usize) {
        self.control.slots.shrink_to(capacity);
        self.message.slots.shrink_to(capacity);
        self.repairs.shrink_to(capacity);
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.control.slots.capacity() + self.message.slots.capacity() + self.repairs.capacity()
    }

    /// Queues an item of 1 to [`MESSAGE_LEN_MAX`] bytes; returns its number.
    pub(super) fn push(&mut self, lane: Lane, item: Vec<u8>) -> u64 {
        debug_assert!((1..=MESSAGE_LEN_MAX).contains(&item.len()), "the caller keeps the limits of an item");
        self.queued = self.queued.saturating_add(item.len());
        let slot = if item.len() <= WHOLE_LEN_MAX {
            Slot::Whole(item)
        } else {
            Slot::Parts(Box::new(Parts { bytes: item, acked: Ranges::default() }))
        };
        let queue = self.queue_mut(lane);
        let place = queue.base.saturating_add(wide(queue.slots.len()));
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
        let fresh = |lane| self.fresh(lane, usize::MAX).is_some();
        !self.repairs.is_empty() || fresh(Lane::Control) || fresh(Lane::Message)
    }

    /// The next fresh frame of a lane that credit and limits let go, in `room` bytes.
    fn fresh(&self, lane: Lane, room: usize) -> Option<Frame<'_>> {
        let queue = self.queue(lane);
        if queue.next.saturating_sub(queue.base) >= NUMBERS_AHEAD_MAX {
            return None;
        }
        let n = number(lane, queue.next);
        let credit = self.credit.saturating_sub(self.credit_used);
        match queue.slot(queue.next)? {
            Slot::Whole(bytes) => {
                let frame = Frame::Message { n, bytes };
                (wide(bytes.len()) <= credit && frame.encoded_len() <= room).then_some(frame)
            }
            Slot::Parts(_) if queue.next_offset == 0 && self.partials >= PARTIALS_MAX => None,
            Slot::Parts(parts) => {
                let granted = queue.next_offset.saturating_add(u32::try_from(credit).unwrap_or(u32::MAX));
                let enough = granted >= parts.total() || credit >= wide(FRAGMENT_ROOM_MIN);
                parts.fragment(n, queue.next_offset, granted.min(parts.total()), room).filter(|_| enough)
            }
            Slot::Acked => None,
        }
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
            while let Some(frame) = self.fresh(lane, len_max.saturating_sub(out.len())) {
                frame.encode(out);
                filled.fresh = filled.fresh.saturating_add(1);
                let (len, fragment) = match frame {
                    Frame::Message { n, bytes } => {
                        run = run.map_or(Some((n, 1)), |(first, count)| Some((first, count.saturating_add(1))));
                        (bytes.len(), None)
                    }
                    Frame::Fragment { n, offset, total, bytes } => {
                        run.take().into_iter().for_each(|(first, count)| hold(Piece::Messages { first, count }));
                        let end = offset.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                        hold(Piece::Fragment { n, offset, end });
                        (bytes.len(), Some((end, total)))
                    }
                    _ => (0, None),
                };
                filled.fresh_len = filled.fresh_len.saturating_add(wide(len));
                self.on_fresh_sent(lane, len, fragment);
            }
            run.into_iter().for_each(|(first, count)| hold(Piece::Messages { first, count }));
        }
        filled
    }

    /// `fragment`: where it ended, and the whole message; `None` for a message that left whole.
    fn on_fresh_sent(&mut self, lane: Lane, len: usize, fragment: Option<(u32, u32)>) {
        self.credit_used = self.credit_used.saturating_add(wide(len));
        let queue = self.queue_mut(lane);
        let begins = fragment.is_some() && queue.next_offset == 0;
        match fragment {
            Some((end, total)) if end < total => queue.next_offset = end,
            _ => {
                queue.next = queue.next.saturating_add(1);
                queue.next_offset = 0;
            }
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
            Piece::Fragment { n, offset, end } => {
                let slot = lane_of(n).and_then(|(lane, place)| self.queue(lane).slot(place));
                let Some(Slot::Parts(parts)) = slot else { return None };
                let missing = parts.acked.missing_from(offset);
                if missing >= end {
                    return None;
                }
                // No shorter than a fragment may be.
                let latest = end.saturating_sub(u32::try_from(FRAGMENT_LEN_MIN).unwrap_or(u32::MAX));
                let offset = missing.min(latest.max(offset));
                let Some(frame) = parts.fragment(n, offset, end, len_max.saturating_sub(out.len())) else { return Some(piece) };
                frame.encode(out);
                *count = count.saturating_add(1);
                let Frame::Fragment { bytes, .. } = frame else { return None };
                let cut = offset.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                hold(Piece::Fragment { n, offset, end: cut });
                return (cut < end).then_some(Piece::Fragment { n, offset: cut, end });
            }
            // The first one counts.
            Piece::Copy { .. } | Piece::Credit | Piece::Rekey { .. } | Piece::Ping | Piece::MtuProbe { .. } => {}
        }
        None
    }

    /// A packet with this piece was lost.
    pub(super) fn on_lost(&mut self, piece: Piece) {
        self.repairs.push_back(piece);
    }

    /// A packet with this piece was acked; `done` hears of each message that is wholly acked now.
    pub(super) fn on_acked(&mut self, piece: Piece, mut done: impl FnMut(u64)) {
        let (first, run, part) = match piece {
            Piece::Messages { first, count } => (first, count, None),
            Piece::Copy { n } => (n, 1, None),
            Piece::Fragment { n, offset, end } => (n, 1, Some((offset, end))),
            Piece::Credit | Piece::Rekey { .. } | Piece::Ping | Piece::MtuProbe { .. } => return,
        };
        let Some((lane, first_place)) = lane_of(first) else { return };
        for place in (first_place..).take(usize::try_from(run).unwrap_or(usize::MAX)) {
            let Some(slot) = self.queue_mut(lane).slot_mut(place) else { continue };
            let len = match (&mut *slot, part) {
                (Slot::Whole(bytes), None) => bytes.len(),
                (Slot::Parts(parts), Some((offset, end))) => {
                    parts.acked.insert(offset, end);
                    if !parts.acked.is_whole(parts.total()) {
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

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn number(lane: Lane, place: u64) -> u64 {
    let lane = match lane {
        Lane::Control => 0,
        Lane::Message => 1,
    };
    place.saturating_mul(LANES).saturating_add(lane)
}
