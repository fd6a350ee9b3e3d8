//! A packet's way in: window, keys, frames, and the note for its ack. What leaves in answer is written in
//! `transmit`.

use std::time::Duration;

use super::{
    CloseReason, Dropped, PathAddr, RESTING_AFTER, Session, SessionEvent, State,
    assembler::Inserted,
    assembler::Violation,
    congestion,
    pacer::Pacer,
    recovery::Piece,
    rekey::Step,
    rtt::{ACK_DELAY_MAX, Rtt},
    timer::{Timer, keepalive_at},
};
use crate::{
    clock::Instant,
    crypto::keys::OpenError,
    id::Epoch,
    wire::{
        WireError,
        frame::{Ack, CloseCode, Frame, Frames},
        packet::PacketHeader,
    },
};

impl Session {
    /// Takes a datagram of [`KIND_PACKET`](crate::wire::KIND_PACKET) whose receiver index is ours; it
    /// is decrypted in place. Only what is authenticated and new changes anything.
    pub fn handle_datagram(&mut self, now: Instant, from: PathAddr, datagram: &mut [u8]) -> Result<(), Dropped> {
        let result = self.receive(now, from, datagram);
        if result.is_err() {
            self.stats.dropped = self.stats.dropped.saturating_add(1);
        }
        result
    }

    fn receive(&mut self, now: Instant, from: PathAddr, datagram: &mut [u8]) -> Result<(), Dropped> {
        let header = PacketHeader::decode(datagram).map_err(|_| Dropped::Malformed)?;
        if header.receiver != self.local {
            return Err(Dropped::Malformed);
        }
        if self.state == State::Closed {
            return Err(Dropped::Closed);
        }
        if self.replay.contains(header.number) {
            return Err(Dropped::Replayed);
        }
        let len = datagram.len();
        let (epoch, frames) = self.keys.open(&header, datagram).map_err(|error| match error {
            OpenError::NoKeys => Dropped::NoKeys,
            OpenError::Forged => Dropped::Forged,
        })?;
        // Only here, behind the tag, may anything change.
        let newest = self.replay.largest().is_none_or(|largest| largest < header.number);
        self.replay.insert(header.number);
        if let State::Closing { due, .. } = &mut self.state {
            *due = true;
            return Err(Dropped::Closed);
        }
        self.stats.received = self.stats.received.saturating_add(1);
        let was_silent = now.since(self.heard_at) >= RESTING_AFTER;
        self.on_heard(now);
        self.on_epoch(now, epoch);
        if epoch > Epoch(0) {
            self.paths.on_packet(now, from, len, newest, &mut self.chance);
        }
        let (mut ack_eliciting, mut at_once) = (false, epoch == Epoch(0));
        for frame in Frames::new(frames) {
            let result = frame.map_err(|error| match error {
                WireError::UnsupportedFrame(_) => CloseCode::Unsupported,
                _ => CloseCode::Protocol,
            });
            let result = result.and_then(|frame| {
                ack_eliciting |= frame.is_ack_eliciting();
                at_once |= matches!(frame, Frame::AckNow | Frame::Ping);
                self.on_frame(now, from, epoch, frame).map_err(|Violation| CloseCode::Protocol)
            });
            if let Err(code) = result {
                self.violated(code);
            }
            if self.state != State::Active {
                return Ok(());
            }
        }
        // Only now, behind the acks: they free most of it.
        if was_silent {
            self.rest();
        }
        self.in_use |= ack_eliciting;
        if self.acks.on_packet(now, header.number, ack_eliciting, at_once) {
            self.timers.set(Timer::Ack, Some(now + self.rtt.ack_delay()));
        }
        self.set_timers();
        Ok(())
    }

    fn on_heard(&mut self, now: Instant) {
        self.is_heard = true;
        self.heard_at = now;
        self.keepalives_missed = 0;
        self.said_unresponsive = false;
        if let Some(interval) = self.keepalive {
            self.timers.set(Timer::Keepalive, Some(keepalive_at(now, interval, self.role)));
        }
    }

    /// A packet opened in `epoch`: perhaps the first of it.
    fn on_epoch(&mut self, now: Instant, epoch: Epoch) {
        if epoch > self.keys.epoch() {
            // The peer has our whole reply: the new epoch is common.
            let next = self.recovery.next_number();
            self.rekey.advance(now, &mut self.keys, next, &mut self.chance);
            self.on_advanced();
        }
        if epoch > Epoch(0) && !self.is_open {
            self.is_open = true;
            self.timers.set(Timer::FirstRekey, None);
            self.events.push_back(SessionEvent::Opened);
        }
    }

    fn on_advanced(&mut self) {
        self.stats.rekeys = self.stats.rekeys.saturating_add(1);
        self.timers.set(Timer::EraseKeys, Some(self.rekey.erase_deadline(&self.keys)));
    }

    fn on_frame(&mut self, now: Instant, from: PathAddr, epoch: Epoch, frame: Frame<'_>) -> Result<(), Violation> {
        let of_epoch_0 = matches!(frame, Frame::Ack(_) | Frame::Ping | Frame::Rekey(_) | Frame::RekeyReply(_) | Frame::Close(_));
        if epoch == Epoch(0) && !of_epoch_0 {
            return Err(Violation);
        }
        match frame {
            Frame::Ack(ack) => self.on_ack(now, &ack)?,
            Frame::Message { n, bytes } => {
                let inserted = self.assembler.insert_message(n, bytes)?;
                self.on_inserted(now, n, inserted);
            }
            Frame::Fragment { n, offset, total, bytes } => {
                let inserted = self.assembler.insert(n, offset, total, bytes)?;
                self.on_inserted(now, n, inserted);
            }
            Frame::PathChallenge(token) => self.paths.on_challenge(from, token),
            Frame::PathResponse(token) => self.on_path_response(now, token),
            Frame::Credit { limit } => self.outgoing.on_credit(limit),
            Frame::Rekey(part) => {
                self.rekey.on_rekey(now, &part, &mut self.keys, &mut self.chance)?;
            }
            Frame::RekeyReply(part) => {
                let next = self.recovery.next_number();
                if self.rekey.on_reply(now, &part, &mut self.keys, next, &mut self.chance)? == Step::Advanced {
                    self.on_advanced();
                    // The peer sends in the new epoch from the first packet that opens in it.
                    self.ping_due = true;
                }
            }
            Frame::Close(code) => self.end(State::Closed, CloseReason::Remote(code)),
            Frame::AckNow | Frame::Padding(_) | Frame::Ping => {}
        }
        Ok(())
    }

    fn on_inserted(&mut self, now: Instant, n: u64, inserted: Inserted) {
        match inserted {
            Inserted::Duplicate => self.stats.duplicate = self.stats.duplicate.saturating_add(1),
            Inserted::Partly => self.idle_since = now,
            Inserted::Whole(bytes) => {
                self.idle_since = now;
                self.events.push_back(SessionEvent::Received { n, bytes });
            }
        }
    }

    fn on_ack(&mut self, now: Instant, ack: &Ack) -> Result<(), Violation> {
        let in_flight = self.recovery.in_flight();
        let Self { recovery, outgoing, events, mtu, pong_asked_at, .. } = self;
        let acked = recovery.on_ack(now, ack, |piece| match piece {
            Piece::Ping => {
                let asked_at = pong_asked_at.take();
                events.extend(asked_at.map(|asked_at| SessionEvent::Pong { rtt: now.since(asked_at) }));
            }
            Piece::MtuProbe { len, path } => mtu.on_probe_acked(now, len, path),
            piece => outgoing.on_acked(piece, |n| events.push_back(SessionEvent::Acked(n))),
        });
        let acked = acked.map_err(|_| Violation)?;
        if let Some(sample) = acked.rtt {
            self.rtt.update(sample, Duration::from_micros(u64::from(ack.delay_us)).min(ACK_DELAY_MAX));
        }
        if acked.spurious > 0 {
            self.stats.spurious = self.stats.spurious.saturating_add(acked.spurious);
            self.congestion.undo(acked.spurious_len);
        }
        if let Some(largest) = acked.acks {
            self.acks.on_ack_acked(largest);
        }
        self.detect_lost(now);
        self.congestion.on_ack(now, acked.len, in_flight, acked.rtt, acked.rate.as_ref());
        Ok(())
    }

    fn on_path_response(&mut self, now: Instant, token: u64) {
        let before = self.paths.current();
        let Some(path) = self.paths.on_response(now, token) else { return };
        // Another port alone is a NAT's whim: what is known about the way stays true (RFC 9000 §9.4).
        if path.remote.ip() != before.remote.ip() {
            self.rtt = Rtt::new(path.on_link, None);
            self.congestion = congestion::new(path.on_link);
            self.pacer = Pacer::new(now);
        }
        if path.remote.ip() != before.remote.ip() || path.relay != before.relay {
            self.mtu.on_path_change(path, now);
            self.recovery.on_mtu_change();
        }
        self.recovery.on_path_change();
        self.events.push_back(SessionEvent::PathChanged);
    }
}
