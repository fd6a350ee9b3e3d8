//! A packet's way out: what goes into it, whether it may leave now, and the note for its ack. What a frame
//! looks like is `wire`'s affair.

use super::{
    PathAddr, Session, State,
    outgoing::Filled,
    recovery::{Leaving, Piece},
    timer::Timer,
};
use crate::{
    clock::Instant,
    id::{Epoch, PacketNumber},
    wire::{
        PACKET_HEADER_LEN, REKEY_PART_LEN_MAX, TAG_LEN,
        frame::{CloseCode, Frame},
    },
};

/// Room for an [`Frame::AckNow`] behind everything else.
const ACK_NOW_LEN: usize = 2;

/// A [`Frame::Credit`] at most.
const CREDIT_LEN_MAX: usize = 11;
/// Room that a packet must have: header, a ping and a credit.
const PACKET_LEN_MIN: usize = PACKET_HEADER_LEN + 2 + CREDIT_LEN_MAX;
/// Room that a part of a rekey must have.
const REKEY_ROOM: usize = REKEY_PART_LEN_MAX + 24;
/// Packets whose content a probe repeats, as much of it as fits.
const PROBED_PACKETS: usize = 4;

/// What has been written into the packet so far.
#[derive(Debug, Default)]
struct Written {
    ack_eliciting: bool,
    /// The largest number in its ack.
    acks: Option<PacketNumber>,
    /// A part of a rekey travels alone.
    alone: bool,
    /// Its length matters: nothing may follow.
    full: bool,
}

impl Session {
    /// Writes one datagram into `out` (cleared first) and returns where it goes; `None`: nothing may
    /// leave now.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<PathAddr> {
        out.clear();
        match self.state {
            State::Active => {}
            State::Closing { code, due: true, left } if left > 0 => return Some(self.transmit_close(code, left, now, out)),
            State::Closing { .. } | State::Closed => return None,
        }
        out.resize(PACKET_HEADER_LEN, 0);
        if self.is_open
            && self.recovery.has_room()
            && let Some((path, frame)) = self.paths.next_frame()
        {
            frame.encode(out);
            self.finish(now, path, out, &Written { ack_eliciting: true, ..Written::default() });
            return Some(path);
        }
        self.rekey_if_due(now);
        let (path, allowance) = self.paths.destination();
        if allowance.is_none()
            && self.recovery.has_room()
            && self.rekey.lets_content(now, &self.keys)
            && let Some((len, asked)) = self.mtu.take_probe()
        {
            self.write_mtu_probe(len, asked, out);
            self.finish(now, path, out, &Written { ack_eliciting: true, full: true, ..Written::default() });
            return Some(path);
        }
        // What is repeated because nothing was heard must not be longer than what certainly arrives.
        let proved = if self.probes == 0 && allowance.is_none() { self.mtu.get() } else { path.datagram_len_max() };
        let len_max = allowance.unwrap_or(usize::MAX).min(proved);
        let len_max = len_max.saturating_sub(TAG_LEN + ACK_NOW_LEN);
        // An unproved path whose allowance is used up: every single short frame fits, or nothing leaves.
        if len_max < PACKET_LEN_MIN {
            out.clear();
            return None;
        }
        let written = self.write_frames(now, out, len_max);
        if out.len() == PACKET_HEADER_LEN {
            out.clear();
            return None;
        }
        self.finish(now, path, out, &written);
        Some(path)
    }

    fn transmit_close(&mut self, code: CloseCode, left: u8, now: Instant, out: &mut Vec<u8>) -> PathAddr {
        self.state = State::Closing { code, due: false, left: left.saturating_sub(1) };
        out.resize(PACKET_HEADER_LEN, 0);
        Frame::Close(code).encode(out);
        let path = self.paths.current();
        self.finish(now, path, out, &Written::default());
        path
    }

    /// Rekeys where the keys' age asks for it and the session is in use.
    fn rekey_if_due(&mut self, now: Instant) {
        let first = self.keys.epoch() == Epoch(0);
        let items = self.assembler.is_limit_due() || self.outgoing.has_sendable();
        let used = std::mem::take(&mut self.in_use) || self.ping_due || items;
        if (first || used) && self.rekey.is_due(now, &self.keys, self.recovery.next_number()) {
            self.rekey.propose(&self.keys, &mut self.chance);
        }
    }

    /// True where something that the window limits waits to be sent.
    fn has_content(&self, now: Instant) -> bool {
        let items = self.assembler.is_limit_due() || self.outgoing.has_sendable();
        self.rekey.has_unsent() || self.ping_due || (items && self.rekey.lets_content(now, &self.keys))
    }

    /// Window and pacer; sets the pacer's timer where only it says no.
    fn may_send(&mut self, now: Instant) -> bool {
        let in_flight = self.recovery.in_flight();
        let window = self.congestion.window();
        let len = self.mtu.get();
        if !self.recovery.has_room() || (in_flight > 0 && in_flight.saturating_add(len) > window) {
            return false;
        }
        let wait = match self.paths.destination().0.relay {
            Some(_) => self.pacer.wait_for_relay(now, len),
            None => self.pacer.wait(now, len, window, self.rtt.smoothed()),
        };
        self.timers.set(Timer::Pace, wait);
        wait.is_none()
    }

    fn write_frames(&mut self, now: Instant, out: &mut Vec<u8>, len_max: usize) -> Written {
        let mut written = Written::default();
        let content = self.has_content(now) && self.may_send(now);
        // A peer that acks nothing gets no acks alone: what we remember of sent packets stays bounded.
        let alone = self.acks.is_due() && self.recovery.has_room();
        if alone || (self.acks.is_waiting() && (content || self.probes > 0)) {
            self.write_ack(now, out, len_max, &mut written);
        }
        if self.probes > 0 {
            self.probes = self.probes.saturating_sub(1);
            self.write_probe(now, out, len_max, &mut written);
        }
        if content && !written.alone {
            self.write_content(now, out, len_max, &mut written);
        }
        written
    }

    fn write_ack(&mut self, now: Instant, out: &mut Vec<u8>, len_max: usize, written: &mut Written) {
        let Some(ack) = self.acks.take(now) else { return };
        let frame = Frame::Ack(ack);
        let fits = out.len().saturating_add(frame.encoded_len()) <= len_max;
        if fits {
            frame.encode(out);
        }
        if let Frame::Ack(ack) = frame {
            self.acks.put_back(ack, fits);
        }
        if fits {
            written.acks = self.acks.largest();
            self.timers.set(Timer::Ack, None);
        }
    }

    fn write_content(&mut self, now: Instant, out: &mut Vec<u8>, len_max: usize, written: &mut Written) {
        if self.rekey.has_unsent() {
            // Each part in a packet of its own; an ack may ride along, other content goes next.
            if !written.ack_eliciting {
                self.write_rekey(out, len_max, written);
            }
            return;
        }
        let fits = |len: usize, out: &Vec<u8>| out.len().saturating_add(len) <= len_max;
        if self.ping_due && fits(2, out) {
            self.ping_due = false;
            self.write(Frame::Ping, Piece::Ping, out, written);
        }
        if !self.rekey.lets_content(now, &self.keys) {
            return;
        }
        if self.assembler.is_limit_due() && fits(CREDIT_LEN_MAX, out) {
            self.write_limit(now, out, written);
        }
        let Self { outgoing, recovery, .. } = self;
        let place = outgoing.next_message();
        let filled = outgoing.fill(out, len_max, |piece| recovery.hold(piece));
        if filled != Filled::default() {
            written.ack_eliciting = true;
            self.idle_since = now;
        }
        self.stats.retransmitted = self.stats.retransmitted.saturating_add(filled.again);
        if filled.fresh > 0 {
            self.spare.on_sent(now, filled.fresh_len);
            self.write_copies(out, len_max, place);
        }
    }

    /// Where packets are lost, one that has room to spare brings the messages before `place` once more.
    fn write_copies(&mut self, out: &mut Vec<u8>, len_max: usize, place: u64) {
        let copies = self.spare.copies(self.recovery.loss_rate().get());
        if copies > 0 {
            let Self { outgoing, recovery, .. } = self;
            let copied = outgoing.copy(out, len_max / 2, copies, place, |piece| recovery.hold(piece));
            self.stats.copied = self.stats.copied.saturating_add(copied);
        }
    }

    /// A ping, and so much padding that the datagram has `len` bytes (RFC 8899 §4.1).
    fn write_mtu_probe(&mut self, len: usize, path: u32, out: &mut Vec<u8>) {
        Frame::Ping.encode(out);
        // Type, and three bytes of length.
        let used = out.len().saturating_add(TAG_LEN + 4);
        Frame::Padding(len.saturating_sub(used)).encode(out);
        self.recovery.hold(Piece::MtuProbe { len, path });
    }

    fn write(&mut self, frame: Frame<'_>, piece: Piece, out: &mut Vec<u8>, written: &mut Written) {
        frame.encode(out);
        self.recovery.hold(piece);
        written.ack_eliciting = true;
    }

    fn write_rekey(&mut self, out: &mut Vec<u8>, len_max: usize, written: &mut Written) {
        if out.len().saturating_add(REKEY_ROOM) > len_max {
            return;
        }
        let Some((frame, piece)) = self.rekey.next_part(&self.keys) else { return };
        frame.encode(out);
        self.recovery.hold(piece);
        written.ack_eliciting = true;
        written.alone = true;
    }

    fn write_limit(&mut self, now: Instant, out: &mut Vec<u8>, written: &mut Written) {
        let limit = self.assembler.next_limit(now, self.rtt.smoothed());
        self.write(Frame::Credit { limit }, Piece::Credit, out, written);
    }

    /// The oldest unacked once more, or a ping where that was nothing to repeat (RFC 9002 §6.2.4).
    fn write_probe(&mut self, now: Instant, out: &mut Vec<u8>, len_max: usize, written: &mut Written) {
        let pieces: Vec<Piece> = self.recovery.oldest_in_flight(PROBED_PACKETS).collect();
        for piece in pieces {
            match piece {
                Piece::Rekey { epoch, part, reply } => {
                    // Moot once the next epoch is in use; else it travels alone.
                    self.rekey.on_lost(epoch, part, reply, &self.keys);
                    if self.rekey.has_unsent() && !written.ack_eliciting {
                        self.write_rekey(out, len_max, written);
                        return;
                    }
                }
                Piece::Credit => self.assembler.on_limit_lost(),
                Piece::Ping | Piece::Copy { .. } | Piece::MtuProbe { .. } => {}
                Piece::Messages { .. } | Piece::Fragment { .. } => {
                    let Self { outgoing, recovery, stats, .. } = self;
                    let before = stats.retransmitted;
                    _ = outgoing.encode(piece, out, len_max, &mut stats.retransmitted, &mut |piece| recovery.hold(piece));
                    written.ack_eliciting |= stats.retransmitted > before;
                }
            }
        }
        let limit_fits = out.len().saturating_add(CREDIT_LEN_MAX) <= len_max;
        if limit_fits && self.assembler.is_limit_due() && self.rekey.lets_content(now, &self.keys) {
            self.write_limit(now, out, written);
        }
        if !written.ack_eliciting {
            self.write(Frame::Ping, Piece::Ping, out, written);
        }
    }

    /// Seals the packet and notes it.
    fn finish(&mut self, now: Instant, path: PathAddr, out: &mut Vec<u8>, written: &Written) {
        let more = self.has_content(now);
        if more && self.outgoing.has_sendable() {
            self.mtu.on_much_to_send(now);
        }
        let in_flight = self.recovery.in_flight().saturating_add(out.len()).saturating_add(self.mtu.get());
        let burst_ends = !more || in_flight > self.congestion.window();
        // The receiver acks all of epoch 0 at once.
        let first = self.keys.epoch() == Epoch(0);
        if written.ack_eliciting && burst_ends && !first && !written.full {
            Frame::AckNow.encode(out);
        }
        let number = self.recovery.next_number();
        self.keys.seal(self.remote, number, out);
        let leaving = Leaving {
            len: out.len(),
            ack_eliciting: written.ack_eliciting,
            ack_now: burst_ends || first,
            acks: written.acks,
            app_limited: !more,
        };
        self.recovery.on_sent(now, &leaving);
        if written.ack_eliciting {
            self.pacer.on_sent(out.len());
        }
        self.paths.on_sent(path, out.len());
        self.stats.sent = self.stats.sent.saturating_add(1);
        self.stats.sent_len = self.stats.sent_len.saturating_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
        self.set_timers();
    }
}
