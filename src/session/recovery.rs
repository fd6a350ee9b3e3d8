//! What was sent and is neither acked nor lost: packet numbers, loss by later packets and by time, the
//! probe timeout's backoff, losses that proved spurious (RFC 9002; protocol, PACKETS). What a lost packet held
//! is named by `Piece`s; sending them again is `outgoing`'s and `rekey`'s affair. Round trips live in
//! `rtt`, the window in `congestion`.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{congestion::RateSample, rtt::Rtt, spare::LossRate};
use crate::{
    clock::Instant,
    id::{Epoch, PacketNumber},
    wire::{DATAGRAM_LEN_MAX, frame::Ack},
};

/// Packets that are remembered at once. At the limit nothing leaves but acks and probes.
pub(super) const SENT_PACKETS_MAX: usize = 16_384;
/// Packets that an idle session keeps room for.
const CAPACITY_KEPT: usize = 256;
/// Later packets that make one lost, before any loss proved spurious (RFC 9002 §6.1.1).
const PACKET_THRESHOLD: u64 = 3;
/// To which spurious losses may raise it; time alone decides then.
const PACKET_THRESHOLD_MAX: u64 = 16_384;
/// Eighths of a round trip after which a packet below the largest acked is lost (RFC 9002 §6.1.2).
const TIME_THRESHOLD_EIGHTHS: u32 = 9;
/// To which spurious losses may raise them.
const TIME_THRESHOLD_EIGHTHS_MAX: u32 = 16;
/// Loss by time at least.
const TIME_THRESHOLD_MIN: Duration = Duration::from_millis(2);

/// Something in a packet that matters after it is acked or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// `count` whole messages of one lane, from number `first` on.
    Messages {
        /// Number of the first.
        first: u64,
        /// How many.
        count: u32,
    },
    /// A message once more while it was unacked: where it is lost nothing follows, the first one counts.
    Copy {
        /// Its number.
        n: u64,
    },
    /// A fragment.
    Fragment {
        /// Number of the message.
        n: u64,
        /// Its first byte.
        offset: u32,
        /// The byte behind its last.
        end: u32,
    },
    /// The newest credit at that time.
    Credit,
    /// A part of a rekey, or of its reply.
    Rekey {
        /// Where it leads.
        epoch: Epoch,
        /// The part.
        part: u8,
        /// Which half.
        reply: bool,
    },
    /// A ping.
    Ping,
    /// A datagram that asks whether the path carries so many bytes. It holds nothing else.
    MtuProbe {
        /// Of the whole datagram.
        len: usize,
        /// Which of the session's paths it asks about.
        path: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InFlight,
    Lost,
    /// Acked, or nothing whose ack would matter.
    Done,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    len: usize,
    state: State,
    /// Not ack-eliciting packets never count as in flight and are never lost.
    ack_eliciting: bool,
    pieces: u32,
    /// Index of the first piece, counted from the session's start.
    pieces_at: u64,
    /// The largest number in the ack that it carried.
    acks: Option<PacketNumber>,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    app_limited: bool,
}

/// A packet that leaves.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Bytes of its datagram.
    pub(super) len: usize,
    /// False for acks and closes alone.
    pub(super) ack_eliciting: bool,
    /// It asks for its ack at once.
    pub(super) ack_now: bool,
    /// The largest number in the ack that it carries.
    pub(super) acks: Option<PacketNumber>,
    /// Nothing more waited to be sent behind it.
    pub(super) app_limited: bool,
}

/// What an ack brought.
#[derive(Debug, Default)]
pub(super) struct Acked {
    /// Bytes of newly acked packets that were in flight.
    pub(super) len: usize,
    /// Bytes of packets that had been declared lost.
    pub(super) spurious_len: usize,
    /// How many such packets.
    pub(super) spurious: u64,
    /// From sending the largest, newly acked and ack-eliciting, packet to this ack.
    pub(super) rtt: Option<Duration>,
    /// Delivery rate, from the newest of the acked packets.
    pub(super) rate: Option<RateSample>,
    /// The largest number in the acks that the acked packets carried.
    pub(super) acks: Option<PacketNumber>,
}

/// What was found lost.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    /// How many packets, probes of the path's MTU left out: they say nothing about the way.
    pub(super) packets: u64,
    /// Their bytes.
    pub(super) len: usize,
}

/// The peer acked a packet that was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NeverSent;

/// Everything sent that may still matter.
#[derive(Debug)]
pub(super) struct Recovery {
    /// Packets from number `base` on, without holes.
    sent: VecDeque<Sent>,
    base: u64,
    /// What they hold, in the order of packets.
    pieces: VecDeque<Piece>,
    pieces_base: u64,
    largest_acked: Option<u64>,
    /// In flight and below the largest acked.
    waiting: BTreeSet<u64>,
    loss_rate: LossRate,
    /// Declared lost, and remembered in case they arrive after all.
    lost: BTreeSet<u64>,
    in_flight: usize,
    in_flight_packets: usize,
    /// The newest packet above [`DATAGRAM_LEN_MAX`] that was acked, and how many above it that size were lost since.
    large_acked: Option<u64>,
    large_lost: u32,
    packet_threshold: u64,
    time_eighths: u32,
    loss_at: Option<Instant>,
    /// Probe timeouts since the last ack.
    backoff: u32,
    probe_base: Instant,
    last_ack_now: bool,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
}

impl Recovery {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sent: VecDeque::new(),
            base: 0,
            pieces: VecDeque::new(),
            pieces_base: 0,
            largest_acked: None,
            waiting: BTreeSet::new(),
            lost: BTreeSet::new(),
            in_flight: 0,
            in_flight_packets: 0,
            large_acked: None,
            large_lost: 0,
            loss_rate: LossRate::default(),
            packet_threshold: PACKET_THRESHOLD,
            time_eighths: TIME_THRESHOLD_EIGHTHS,
            loss_at: None,
            backoff: 0,
            probe_base: now,
            last_ack_now: true,
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
        }
    }

    /// The number of the next packet.
    pub(super) fn next_number(&self) -> PacketNumber {
        PacketNumber(self.base.saturating_add(wide(self.sent.len())))
    }

    /// Gives back what a busier time has allocated.
    pub(super) fn rest(&mut self, capacity: usize) {
        self.sent.shrink_to(capacity);
        self.pieces.shrink_to(capacity);
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.sent.capacity() + self.pieces.capacity()
    }

    /// Bytes in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// True where nothing waits for an ack.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight_packets == 0
    }

    /// False at [`SENT_PACKETS_MAX`].
    pub(super) fn has_room(&self) -> bool {
        self.sent.len() < SENT_PACKETS_MAX
    }

    /// Notes what the packet that is being written holds; [`on_sent`](Self::on_sent) ends it.
    pub(super) fn hold(&mut self, piece: Piece) {
        self.pieces.push_back(piece);
    }

    /// Notes that the packet with [`next_number`](Self::next_number) leaves.
    pub(super) fn on_sent(&mut self, now: Instant, leaving: &Leaving) {
        let noted = self.sent.back().map_or(self.pieces_base, |sent| sent.pieces_at.saturating_add(u64::from(sent.pieces)));
        let pieces_end = self.pieces_base.saturating_add(wide(self.pieces.len()));
        let pieces = u32::try_from(pieces_end.saturating_sub(noted)).unwrap_or(u32::MAX);
        if leaving.ack_eliciting {
            if self.in_flight_packets == 0 {
                self.delivered_at = now;
                self.first_sent_at = now;
            }
            self.in_flight = self.in_flight.saturating_add(leaving.len);
            self.in_flight_packets = self.in_flight_packets.saturating_add(1);
            self.probe_base = now;
            self.last_ack_now = leaving.ack_now;
        }
        self.sent.push_back(Sent {
            at: now,
            len: leaving.len,
            state: if leaving.ack_eliciting { State::InFlight } else { State::Done },
            ack_eliciting: leaving.ack_eliciting,
            pieces,
            pieces_at: noted,
            acks: leaving.acks,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            app_limited: leaving.app_limited,
        });
        if self.in_flight_packets == 0 || !self.has_room() {
            self.forget(now, Duration::MAX);
        }
    }

    /// Takes an ack; `on_piece` hears of every piece of every newly acked packet. On `Err` nothing has
    /// changed.
    pub(super) fn on_ack(&mut self, now: Instant, ack: &Ack, mut on_piece: impl FnMut(Piece)) -> Result<Acked, NeverSent> {
        let Some(&(_, PacketNumber(largest))) = ack.ranges.first() else { return Ok(Acked::default()) };
        if largest >= self.next_number().0 {
            return Err(NeverSent);
        }
        let mut acked = Acked::default();
        // Above the largest acked so far everything is new; below it only the holes are.
        let new_from = self.largest_acked.map_or(self.base, |largest| largest.saturating_add(1)).max(self.base);
        let mut hole_from = new_from;
        for &(PacketNumber(first), PacketNumber(last)) in ack.ranges.iter().rev() {
            for number in self.holes(first, last) {
                self.on_packet_acked(now, number, &mut acked, &mut on_piece);
            }
            for number in hole_from..first.min(largest) {
                if self.packet(number).is_some_and(|sent| sent.state == State::InFlight) {
                    self.waiting.insert(number);
                }
            }
            for number in first.max(new_from)..=last {
                self.on_packet_acked(now, number, &mut acked, &mut on_piece);
            }
            hole_from = hole_from.max(last.saturating_add(1));
        }
        let largest_is_new = self.largest_acked.is_none_or(|known| known < largest);
        if largest_is_new {
            self.largest_acked = Some(largest);
            acked.rtt = self.packet(largest).filter(|sent| sent.ack_eliciting).map(|sent| now.since(sent.at));
        }
        if acked.len > 0 {
            self.backoff = 0;
        }
        Ok(acked)
    }

    /// Numbers in flight or lost, below the largest acked, from `first` to `last`.
    fn holes(&self, first: u64, last: u64) -> Vec<u64> {
        self.waiting.range(first..=last).chain(self.lost.range(first..=last)).copied().collect()
    }

    fn packet(&mut self, number: u64) -> Option<&mut Sent> {
        let at = usize::try_from(number.checked_sub(self.base)?).ok()?;
        self.sent.get_mut(at)
    }

    fn on_packet_acked(&mut self, now: Instant, number: u64, acked: &mut Acked, on_piece: &mut impl FnMut(Piece)) {
        let (largest, base) = (self.largest_acked, self.base);
        let Some(sent) = number.checked_sub(base).and_then(|at| self.sent.get_mut(usize::try_from(at).ok()?)) else { return };
        let was = std::mem::replace(&mut sent.state, State::Done);
        acked.acks = acked.acks.max(sent.acks);
        let len = sent.len;
        match was {
            State::Done => return,
            State::InFlight => {
                self.in_flight = self.in_flight.saturating_sub(len);
                self.in_flight_packets = self.in_flight_packets.saturating_sub(1);
                self.waiting.remove(&number);
                self.loss_rate.on_acked();
                acked.len = acked.len.saturating_add(len);
            }
            State::Lost => {
                self.lost.remove(&number);
                self.loss_rate.undo();
                acked.spurious = acked.spurious.saturating_add(1);
                acked.spurious_len = acked.spurious_len.saturating_add(len);
                // It was late, not lost: have more patience from now on.
                let late_by = largest.unwrap_or(number).saturating_sub(number).saturating_add(1);
                self.packet_threshold = self.packet_threshold.max(late_by.min(PACKET_THRESHOLD_MAX));
                self.time_eighths = self.time_eighths.saturating_add(1).min(TIME_THRESHOLD_EIGHTHS_MAX);
            }
        }
        if len > DATAGRAM_LEN_MAX && self.large_acked < Some(number) {
            (self.large_acked, self.large_lost) = (Some(number), 0);
        }
        self.delivered = self.delivered.saturating_add(wide(len));
        self.delivered_at = now;
        // The newest acked packet decides the sample: its own sending time starts the next one.
        let rate = RateSample {
            delivered: self.delivered.saturating_sub(sent.delivered),
            interval: now.since(sent.delivered_at).max(sent.at.since(sent.first_sent_at)),
            app_limited: sent.app_limited,
            prior_delivered: sent.delivered,
            total_delivered: self.delivered,
        };
        if acked.rate.as_ref().is_none_or(|known| known.prior_delivered <= rate.prior_delivered) {
            self.first_sent_at = sent.at;
            acked.rate = Some(rate);
        }
        if let Some(skip) = sent.pieces_at.checked_sub(self.pieces_base).and_then(|skip| usize::try_from(skip).ok()) {
            let count = usize::try_from(sent.pieces).unwrap_or(usize::MAX);
            self.pieces.range(skip.min(self.pieces.len())..).take(count).for_each(|piece| on_piece(*piece));
        }
    }

    /// Finds the packets that are lost by now; `on_piece` hears of every piece in them.
    pub(super) fn detect_lost(&mut self, now: Instant, rtt: &Rtt, mut on_piece: impl FnMut(Piece)) -> Lost {
        self.loss_at = None;
        let Some(largest) = self.largest_acked else { return Lost::default() };
        let patience = rtt.conservative().saturating_mul(self.time_eighths) / 8;
        let patience = patience.max(TIME_THRESHOLD_MIN);
        let mut lost = Lost::default();
        while let Some(&number) = self.waiting.first() {
            let late = largest.saturating_sub(number) >= self.packet_threshold;
            let Some(sent) = self.packet(number) else {
                self.waiting.remove(&number);
                continue;
            };
            if !late && now < sent.at + patience {
                self.loss_at = Some(sent.at + patience);
                break;
            }
            sent.state = State::Lost;
            let len = sent.len;
            let held = (sent.pieces_at, sent.pieces);
            self.waiting.remove(&number);
            self.lost.insert(number);
            self.in_flight = self.in_flight.saturating_sub(len);
            self.in_flight_packets = self.in_flight_packets.saturating_sub(1);
            // What it held leaves at once: until then a probe would only double it.
            self.probe_base = self.probe_base.max(now);
            if !self.pieces_of(held).any(|piece| matches!(piece, Piece::MtuProbe { .. })) {
                self.loss_rate.on_lost();
                lost.packets = lost.packets.saturating_add(1);
                lost.len = lost.len.saturating_add(len);
                let is_large = len > DATAGRAM_LEN_MAX && self.large_acked < Some(number);
                self.large_lost = self.large_lost.saturating_add(u32::from(is_large));
            }
            self.pieces_of(held).for_each(&mut on_piece);
        }
        self.forget(now, rtt.probe_timeout(false, 0).saturating_mul(3));
        lost
    }

    /// Packets above [`DATAGRAM_LEN_MAX`] that were lost while none as large that was sent later has arrived. Random loss makes few
    /// of them: those sent later arrive.
    pub(super) const fn large_lost(&self) -> u32 {
        self.large_lost
    }

    /// Counts them anew: the path's MTU is another now.
    pub(super) fn on_mtu_change(&mut self) {
        (self.large_acked, self.large_lost) = (self.next_number().0.checked_sub(1), 0);
    }

    fn pieces_of(&self, (at, count): (u64, u32)) -> impl Iterator<Item = Piece> + '_ {
        let skip = at.checked_sub(self.pieces_base).and_then(|skip| usize::try_from(skip).ok());
        let skip = skip.unwrap_or(usize::MAX).min(self.pieces.len());
        self.pieces.range(skip..).take(usize::try_from(count).unwrap_or(usize::MAX)).copied()
    }

    /// Drops the oldest packets that cannot matter any more: acked, or lost for longer than `patience`.
    fn forget(&mut self, now: Instant, patience: Duration) {
        while let Some(oldest) = self.sent.front() {
            match oldest.state {
                State::InFlight => break,
                State::Lost if self.has_room() && now.since(oldest.at) < patience => break,
                State::Lost => _ = self.lost.remove(&self.base),
                State::Done => {}
            }
            let end = oldest.pieces_at.saturating_add(u64::from(oldest.pieces));
            let gone = usize::try_from(end.saturating_sub(self.pieces_base)).unwrap_or(usize::MAX);
            self.pieces.drain(..gone.min(self.pieces.len()));
            self.pieces_base = end;
            self.sent.pop_front();
            self.base = self.base.saturating_add(1);
        }
        // Thousands of sessions are idle at a time; a burst must not mark them for ever.
        if self.sent.is_empty() && self.sent.capacity() > CAPACITY_KEPT {
            (self.sent, self.pieces) = (VecDeque::new(), VecDeque::new());
        }
    }

    /// The part of packets that are lost.
    pub(super) const fn loss_rate(&self) -> LossRate {
        self.loss_rate
    }

    /// When to call [`detect_lost`](Self::detect_lost) next.
    pub(super) fn loss_deadline(&self) -> Option<Instant> {
        self.loss_at
    }

    /// When the last packet that asks for an ack left, or the last probe was due.
    pub(super) const fn probe_base(&self) -> Instant {
        self.probe_base
    }

    /// When to probe: never while nothing is in flight or the loss deadline is set (RFC 9002 §6.2.1).
    /// Waits `timeout_max` at most.
    pub(super) fn probe_deadline(&self, rtt: &Rtt, timeout_max: Duration) -> Option<Instant> {
        let waits = self.in_flight_packets > 0 && self.loss_at.is_none();
        waits.then(|| self.probe_base + rtt.probe_timeout(self.last_ack_now, self.backoff).min(timeout_max))
    }

    /// A probe timeout: the next one waits longer.
    pub(super) fn on_probe_timeout(&mut self, now: Instant) {
        self.backoff = self.backoff.saturating_add(1);
        self.probe_base = now;
    }

    /// Probe timeouts since anything was acked.
    pub(super) const fn backoff(&self) -> u32 {
        self.backoff
    }

    /// A new path: patience and backoff start anew.
    pub(super) fn on_path_change(&mut self) {
        self.backoff = 0;
    }

    /// What the oldest `packets` packets in flight hold.
    pub(super) fn oldest_in_flight(&self, packets: usize) -> impl Iterator<Item = Piece> + '_ {
        let oldest = self.sent.iter().filter(|sent| sent.state == State::InFlight).take(packets);
        oldest.flat_map(|sent| self.pieces_of((sent.pieces_at, sent.pieces)))
    }
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Instant {
        Instant::from_start(Duration::from_millis(1_000 + ms))
    }

    fn send(recovery: &mut Recovery, now: Instant, ack_eliciting: bool) -> u64 {
        let number = recovery.next_number().0;
        if ack_eliciting {
            recovery.hold(Piece::Messages { first: number, count: 1 });
        }
        recovery.on_sent(now, &Leaving { len: 100, ack_eliciting, ack_now: false, acks: None, app_limited: false });
        number
    }

    fn ack(ranges: &[(u64, u64)]) -> Ack {
        Ack { delay_us: 0, ranges: ranges.iter().map(|&(first, last)| (PacketNumber(first), PacketNumber(last))).collect() }
    }

    fn first(piece: Piece) -> u64 {
        match piece {
            Piece::Messages { first, .. } => first,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        /// Against a map of every packet: each piece is acked once at most, what is in flight adds up, and
        /// in the end everything was acked or lost.
        #[test]
        fn acks_by_range_agree_with_a_map(steps in proptest::collection::vec((0u8..8, any::<u32>()), 1..300)) {
            let mut recovery = Recovery::new(at(0));
            let rtt = Rtt::new(true, Some(10 * MS));
            let mut known = std::collections::BTreeMap::new();
            let mut arrived = BTreeSet::new();
            for (i, (kind, random)) in steps.into_iter().enumerate() {
                let now = at(u64::try_from(i).unwrap());
                let sent = recovery.next_number().0;
                if kind < 5 || sent == 0 {
                    let number = send(&mut recovery, now, kind != 4);
                    if kind != 4 {
                        known.insert(number, "in flight");
                    }
                    if random % 4 > 0 {
                        arrived.insert(number);
                    }
                    continue;
                }
                // An ack of what has arrived up to a random packet.
                let up_to = u64::from(random) % sent;
                let mut ranges: Vec<(u64, u64)> = Vec::new();
                for &number in arrived.range(..=up_to).rev() {
                    let full = ranges.len() == 4;
                    match ranges.last_mut() {
                        Some(range) if range.0 == number + 1 => range.0 = number,
                        _ if full => break,
                        _ => ranges.push((number, number)),
                    }
                }
                if ranges.is_empty() {
                    continue;
                }
                let mut acked = Vec::new();
                recovery.on_ack(now, &ack(&ranges), |piece| acked.push(first(piece))).unwrap();
                for number in acked {
                    prop_assert!(ranges.iter().any(|range| (range.0..=range.1).contains(&number)));
                    prop_assert_ne!(known.insert(number, "acked"), Some("acked"));
                }
                let mut lost = Vec::new();
                recovery.detect_lost(now, &rtt, |piece| lost.push(first(piece)));
                for number in lost {
                    prop_assert_eq!(known.insert(number, "lost"), Some("in flight"));
                }
                let in_flight = known.values().filter(|state| **state == "in flight").count();
                prop_assert_eq!(recovery.in_flight(), in_flight * 100);
                prop_assert_eq!(recovery.is_idle(), in_flight == 0);
            }
        }
    }

    #[test]
    fn three_later_packets_or_nine_eighths_of_a_round_trip_make_one_lost() {
        let mut recovery = Recovery::new(at(0));
        let mut rtt = Rtt::new(true, None);
        rtt.update(80 * MS, Duration::ZERO);
        (0..6).for_each(|_| _ = send(&mut recovery, at(0), true));
        let mut lost = Vec::new();
        recovery.on_ack(at(80), &ack(&[(3, 3)]), |_| {}).unwrap();
        assert_eq!(recovery.detect_lost(at(80), &rtt, |piece| lost.push(first(piece))), Lost { packets: 1, len: 100 });
        assert_eq!(lost, [0], "1 and 2 have two and one behind them");
        assert_eq!(recovery.loss_deadline(), Some(at(90)));
        assert_eq!(recovery.probe_deadline(&rtt, 10_000 * MS), None, "never both");
        recovery.detect_lost(at(89), &rtt, |piece| lost.push(first(piece)));
        recovery.detect_lost(at(90), &rtt, |piece| lost.push(first(piece)));
        assert_eq!(lost, [0, 1, 2]);
        assert!(recovery.probe_deadline(&rtt, 10_000 * MS).is_some(), "4 and 5 wait for an ack");
    }

    #[test]
    fn a_late_packet_teaches_patience() {
        let mut recovery = Recovery::new(at(0));
        let rtt = Rtt::new(true, Some(100 * MS));
        (0..10).for_each(|_| _ = send(&mut recovery, at(0), true));
        recovery.on_ack(at(20), &ack(&[(7, 7)]), |_| {}).unwrap();
        assert_eq!(recovery.detect_lost(at(20), &rtt, |_| {}), Lost { packets: 5, len: 500 });
        let acked = recovery.on_ack(at(21), &ack(&[(0, 7)]), |_| {}).unwrap();
        assert_eq!((acked.spurious, acked.spurious_len), (5, 500));
        let again = recovery.on_ack(at(22), &ack(&[(0, 7)]), |_| panic!("once")).unwrap();
        assert_eq!((again.len, again.spurious), (0, 0));
        (0..10).for_each(|_| _ = send(&mut recovery, at(30), true));
        recovery.on_ack(at(40), &ack(&[(16, 16), (0, 9)]), |_| {}).unwrap();
        assert_eq!(recovery.detect_lost(at(40), &rtt, |_| {}), Lost::default(), "six behind it are not enough any more");
    }

    #[test]
    fn what_is_done_is_forgotten() {
        let mut recovery = Recovery::new(at(0));
        let rtt = Rtt::new(true, Some(10 * MS));
        for round in 0..1_000 {
            let number = send(&mut recovery, at(round), true);
            send(&mut recovery, at(round), false);
            recovery.on_ack(at(round), &ack(&[(0, number)]), |_| {}).unwrap();
            recovery.detect_lost(at(round), &rtt, |_| {});
            assert!(recovery.sent.len() <= 2 && recovery.pieces.len() <= 2);
        }
        assert_eq!(recovery.on_ack(at(2_000), &ack(&[(0, 2_000)]), |_| {}).unwrap_err(), NeverSent);
    }
}
