//! Reliable messages with one peer over lossy datagrams: key epochs, packets, acks, loss, fragments,
//! credit, a congestion window, and the move from one path to another (protocol, HANDSHAKE and PACKETS).
//! Sans-IO: no socket, no clock; `now` and the generator are arguments. What a message means, who may
//! open a session, and the repetition of handshake datagrams live in `node`.
//!
//! The run-loop contract: after every `handle_*` or command call `poll_transmit` until it returns
//! `None`, then `poll_event` until `None`, then ask `poll_timeout`. Methods are sorted: getters,
//! `handle_*`, commands, `poll_*`.
//!
//! The initiator's node repeats the third handshake datagram until [`Session::is_heard`] is true; a
//! session needs nothing else from the handshake.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

mod ack;
mod assembler;
mod congestion;
mod event;
mod mtu;
mod outgoing;
mod pacer;
mod path;
mod ranges;
mod receive;
mod recovery;
mod rekey;
mod rtt;
mod spare;
#[cfg(test)]
mod tests;
mod timer;
mod transmit;

use std::{collections::VecDeque, time::Duration};

use rand_chacha::ChaCha20Rng;

pub use self::assembler::{CREDIT_FULL, CREDIT_MAX};
pub use self::event::{CloseReason, Dropped, PathAddr, SessionConfig, SessionEvent, Stats};
use self::{
    ack::Acks,
    assembler::Assembler,
    congestion::Congestion,
    mtu::PathMtu,
    outgoing::{Lane, Outgoing, QUEUED_LEN_MAX},
    pacer::Pacer,
    path::Paths,
    recovery::{Piece, Recovery},
    rekey::Rekey,
    rtt::{PROBE_TIMEOUT_MAX, Rtt},
    spare::Spare,
    timer::{Timer, Timers, keepalive_at},
};
use crate::{
    clock::Instant,
    crypto::{
        chance::Chance,
        handshake::{Established, Role},
        keys::Keys,
        replay::ReplayWindow,
    },
    id::{BootId, Epoch, PeerId, SessionIndex},
    wire::frame::CloseCode,
};

/// A session that has not reached epoch 1 by then is dropped (protocol, HANDSHAKE).
const FIRST_REKEY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest probe timeout until epoch 1: ten seconds must be enough tries on a bad link.
const PROBE_TIMEOUT_MAX_OPENING: Duration = Duration::from_millis(500);
/// Packets in flight whose parts of the first rekey a probe timeout repeats.
const OPENING_PACKETS_REPEATED: usize = 8;
/// Unanswered keepalives that make a peer unresponsive.
const KEEPALIVES_MISSED_MAX: u32 = 3;
/// Silence that makes a peer unresponsive where there is no keepalive but something to be acked.
const UNRESPONSIVE_SILENCE: Duration = Duration::from_secs(10);
/// Who is heard again after this much silence gets back to work with little: what a busier time has allocated is given back.
const RESTING_AFTER: Duration = Duration::from_secs(10);
/// Places that queues of such a session keep: a sign of life and its answer need no more.
const RESTING_CAPACITY: usize = 4;
/// Events that an idle session keeps room for.
const EVENTS_KEPT: usize = 64;
/// Times that our `Close` is sent: once, and again when the peer goes on sending.
const CLOSES_MAX: u8 = 3;

/// Where the session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// From the handshake on; what may be sent is a matter of the epoch.
    Active,
    /// We have ended it, and say so `left` times more at most, the next time when `due`.
    Closing { code: CloseCode, due: bool, left: u8 },
    /// Ended; nothing is sent.
    Closed,
}

/// A session with one peer.
pub struct Session {
    peer: PeerId,
    boot: BootId,
    role: Role,
    local: SessionIndex,
    remote: SessionIndex,
    state: State,
    keys: Keys,
    rekey: Rekey,
    replay: ReplayWindow,
    acks: Acks,
    recovery: Recovery,
    rtt: Rtt,
    congestion: Box<dyn Congestion>,
    pacer: Pacer,
    paths: Paths,
    mtu: PathMtu,
    outgoing: Outgoing,
    spare: Spare,
    assembler: Assembler,
    timers: Timers,
    events: VecDeque<SessionEvent>,
    chance: Chance,
    is_heard: bool,
    is_open: bool,
    heard_at: Instant,
    idle_since: Instant,
    /// Ack-eliciting packets came since the keys' age was last looked at.
    in_use: bool,
    /// When the owner asked for a Pong that has not come.
    pong_asked_at: Option<Instant>,
    ping_due: bool,
    /// Packets that may leave now whatever the window says.
    probes: u32,
    keepalive: Option<Duration>,
    keepalives_missed: u32,
    said_unresponsive: bool,
    stats: Stats,
}

/// Getters.
impl Session {
    /// A session from a finished handshake. `path` is where the handshake's last datagram came from or
    /// went to. Draws its own randomness from `rng`.
    pub fn new(established: Established, path: PathAddr, config: SessionConfig, now: Instant, rng: &mut ChaCha20Rng) -> Self {
        let mut session = Self {
            peer: established.peer,
            boot: established.payload.boot,
            role: established.role,
            local: established.local,
            remote: established.remote,
            state: State::Active,
            keys: Keys::new(&established),
            rekey: Rekey::new(established.role, now),
            replay: ReplayWindow::default(),
            acks: Acks::new(now),
            recovery: Recovery::new(now),
            rtt: Rtt::new(path.on_link, config.rtt),
            congestion: congestion::new(path.on_link),
            pacer: Pacer::new(now),
            paths: Paths::new(path, now),
            mtu: PathMtu::new(path, now),
            outgoing: Outgoing::new(),
            spare: Spare::new(now),
            assembler: Assembler::new(now),
            timers: Timers::default(),
            events: VecDeque::new(),
            chance: Chance::new(rng),
            is_heard: false,
            is_open: false,
            heard_at: now,
            idle_since: now,
            in_use: false,
            pong_asked_at: None,
            ping_due: false,
            probes: 0,
            keepalive: None,
            keepalives_missed: 0,
            said_unresponsive: false,
            stats: Stats::default(),
        };
        session.timers.set(Timer::FirstRekey, Some(now + FIRST_REKEY_TIMEOUT));
        session.set_keepalive(now, config.keepalive);
        session
    }

    /// Who is at the other end.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The run of the peer's program, from the handshake.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// The receiver index of packets to us.
    pub fn local_index(&self) -> SessionIndex {
        self.local
    }

    /// The receiver index of packets to the peer.
    pub fn remote_index(&self) -> SessionIndex {
        self.remote
    }

    /// Our side of the handshake.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where packets go now.
    pub fn path(&self) -> PathAddr {
        self.paths.current()
    }

    /// The smoothed round trip; a first guess before anything was measured.
    pub fn rtt(&self) -> Duration {
        self.rtt.smoothed()
    }

    /// The epoch that packets are sealed in.
    pub fn epoch(&self) -> Epoch {
        self.keys.epoch()
    }

    /// True once any packet of this session opened: the peer holds the session too.
    pub fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// True once a packet of epoch 1 opened: the session counts.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// True after [`SessionEvent::Closed`], or once it waits in the event queue.
    pub fn is_closed(&self) -> bool {
        self.state != State::Active
    }

    /// When a message last left or came; keepalives and acks do not count.
    pub fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// When the last authenticated packet came; the session's start before any came.
    pub fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// Bytes of packets sent and neither acked nor lost.
    pub fn in_flight(&self) -> usize {
        self.recovery.in_flight()
    }

    /// Bytes that may be in flight.
    pub fn window(&self) -> usize {
        self.congestion.window()
    }

    /// Bytes of messages given and not wholly acked.
    pub fn queued(&self) -> usize {
        self.outgoing.queued()
    }

    /// Message bytes that may still be given before the caller should hold back. Items given beyond it
    /// are taken all the same.
    pub fn queue_room(&self) -> usize {
        QUEUED_LEN_MAX.saturating_sub(self.outgoing.queued())
    }

    /// Message bytes that the peer may have under way, received and not yet consumed.
    pub fn credit(&self) -> u64 {
        self.assembler.window()
    }

    /// The credit that the peer would make use of, where what it has limits it: [`CREDIT_FULL`], then twice what it has,
    /// to [`CREDIT_MAX`].
    pub fn credit_wanted(&self) -> Option<u64> {
        self.assembler.wanted()
    }

    /// Bytes of a datagram that the path is known to carry.
    pub fn datagram_len_max(&self) -> usize {
        self.mtu.get()
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}

/// Input; `handle_datagram` is in `receive`.
impl Session {
    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expire(now) {
            self.stats.timers = self.stats.timers.saturating_add(1);
            match timer {
                Timer::Loss => self.detect_lost(now),
                Timer::Probe => {
                    self.recovery.on_probe_timeout(now);
                    self.stats.timeouts = self.stats.timeouts.saturating_add(1);
                    // Two once it is no tail that was lost (RFC 9002 §6.2.4): each long wait has twice the chance.
                    self.probes = if self.recovery.backoff() > 1 { 2 } else { 1 };
                    self.repeat_first_rekey();
                    self.on_silence(now);
                }
                Timer::Ack => self.acks.on_delay(),
                Timer::Pace => {}
                Timer::Keepalive => self.on_keepalive(now),
                Timer::EraseKeys => self.keys.erase_previous(),
                Timer::FirstRekey => self.end(State::Closed, CloseReason::NeverOpened),
                Timer::Path => self.paths.on_timer(now, self.rtt.probe_timeout(false, 0)),
            }
        }
        self.set_timers();
    }

    fn on_keepalive(&mut self, now: Instant) {
        let Some(interval) = self.keepalive else { return };
        self.timers.set(Timer::Keepalive, Some(keepalive_at(now, interval, self.role)));
        if self.keepalives_missed == KEEPALIVES_MISSED_MAX {
            self.say_unresponsive();
        }
        self.keepalives_missed = self.keepalives_missed.saturating_add(1);
        if self.recovery.is_idle() {
            self.ping_due = true;
        } else if now.since(self.recovery.probe_base()) >= self.rtt.probe_timeout(false, 0) {
            // What left a moment ago asks for a sign of life already.
            self.probes = 1;
        }
    }

    /// Until epoch 1 a timeout repeats all parts of a half, not the oldest alone: ten seconds must do, and
    /// both halves must arrive whole.
    fn repeat_first_rekey(&mut self) {
        let Self { recovery, rekey, keys, is_open: false, .. } = self else { return };
        for piece in recovery.oldest_in_flight(OPENING_PACKETS_REPEATED) {
            if let Piece::Rekey { epoch, part, reply } = piece {
                rekey.on_lost(epoch, part, reply, keys);
            }
        }
    }

    /// A probe timeout, and no keepalive that would notice a silent peer.
    fn on_silence(&mut self, now: Instant) {
        if self.keepalive.is_none() && now.since(self.heard_at) >= UNRESPONSIVE_SILENCE {
            self.say_unresponsive();
        }
    }

    /// Thousands of sessions are idle at a time, and each was busy once, if only with its first rekey.
    fn rest(&mut self) {
        self.events.shrink_to(RESTING_CAPACITY);
        self.recovery.rest(RESTING_CAPACITY);
        self.outgoing.rest(RESTING_CAPACITY);
    }

    fn say_unresponsive(&mut self) {
        if !std::mem::replace(&mut self.said_unresponsive, true) {
            self.events.push_back(SessionEvent::Unresponsive);
        }
    }

    /// Looks for lost packets; what they held waits to be sent again.
    fn detect_lost(&mut self, now: Instant) {
        let Self { recovery, outgoing, assembler, rekey, keys, mtu, ping_due, pong_asked_at, .. } = self;
        let lost = recovery.detect_lost(now, &self.rtt, |piece| match piece {
            Piece::Messages { .. } | Piece::Fragment { .. } => outgoing.on_lost(piece),
            Piece::Credit => assembler.on_limit_lost(),
            Piece::Rekey { epoch, part, reply } => rekey.on_lost(epoch, part, reply, keys),
            Piece::Ping => *ping_due |= pong_asked_at.is_some(),
            Piece::MtuProbe { len, path } => mtu.on_probe_lost(now, len, path),
            Piece::Copy { .. } => {}
        });
        if lost.packets > 0 {
            self.stats.lost = self.stats.lost.saturating_add(lost.packets);
            self.congestion.on_lost(lost.len);
        }
        if self.mtu.on_large_lost(now, self.recovery.large_lost()) {
            self.recovery.on_mtu_change();
        }
    }

    /// Timers that follow from what is in flight.
    fn set_timers(&mut self) {
        if self.state != State::Active {
            self.timers.clear();
            return;
        }
        self.timers.set(Timer::Loss, self.recovery.loss_deadline());
        let timeout_max = if self.is_open { PROBE_TIMEOUT_MAX } else { PROBE_TIMEOUT_MAX_OPENING };
        self.timers.set(Timer::Probe, self.recovery.probe_deadline(&self.rtt, timeout_max));
        self.timers.set(Timer::Path, self.paths.deadline());
    }

    fn end(&mut self, state: State, reason: CloseReason) {
        if self.state == State::Active {
            self.state = state;
            self.timers.clear();
            self.assembler.end();
            self.events.push_back(SessionEvent::Closed(reason));
        }
    }

    /// The peer broke a rule.
    fn violated(&mut self, code: CloseCode) {
        self.end(State::Closing { code, due: true, left: CLOSES_MAX }, CloseReason::Violation(code));
    }
}

/// Commands.
impl Session {
    /// Queues an item before all messages: receipts, presence. 1 to
    /// [`MESSAGE_LEN_MAX`](crate::wire::MESSAGE_LEN_MAX) bytes. Where too many wait, the session is closed
    /// with [`CloseCode::Protocol`] and the item dropped. Returns its number; `None`: dropped.
    pub fn send_control(&mut self, item: Vec<u8>) -> Option<u64> {
        if self.outgoing.is_control_full() {
            self.close(CloseCode::Protocol);
            return None;
        }
        Some(self.outgoing.push(Lane::Control, item))
    }

    /// Queues an item behind what is queued. 1 to [`MESSAGE_LEN_MAX`](crate::wire::MESSAGE_LEN_MAX)
    /// bytes. Returns its number.
    pub fn send_message(&mut self, item: Vec<u8>) -> u64 {
        self.outgoing.push(Lane::Message, item)
    }

    /// The peer may have so many message bytes under way, received and not yet consumed; never fewer than before. Every
    /// session begins with 4 KiB.
    pub fn grant(&mut self, credit: u64) {
        self.assembler.grant(credit);
    }

    /// The owner is done with `bytes` of what `Received` brought: the peer may send as much more.
    pub fn consumed(&mut self, bytes: usize) {
        self.assembler.on_consumed(bytes);
    }

    /// Asks the peer for a sign of life after each `interval` of silence; three unanswered make
    /// [`SessionEvent::Unresponsive`]. `None`: never asks.
    pub fn set_keepalive(&mut self, now: Instant, interval: Option<Duration>) {
        if self.keepalive != interval && self.state == State::Active {
            self.keepalive = interval;
            let at = interval.map(|interval| keepalive_at(self.heard_at, interval, self.role).max(now));
            self.timers.set(Timer::Keepalive, at);
        }
    }

    /// Asks for a sign of life now; [`SessionEvent::Pong`] follows the answer.
    pub fn ping(&mut self, now: Instant) {
        self.pong_asked_at = self.pong_asked_at.or(Some(now));
        self.ping_due = true;
    }

    /// Tries another path to the peer; packets go there once it has answered.
    pub fn try_path(&mut self, now: Instant, path: PathAddr) {
        if self.is_open {
            self.paths.try_path(now, path, &mut self.chance);
            self.set_timers();
        }
    }

    /// Ends the session: one `Close` leaves, then nothing. The session may be dropped as soon as
    /// `poll_transmit` returns `None`.
    pub fn close(&mut self, code: CloseCode) {
        self.end(State::Closing { code, due: true, left: CLOSES_MAX }, CloseReason::Local(code));
    }
}

/// Output; `poll_transmit` is in `transmit`.
impl Session {
    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > EVENTS_KEPT {
            self.events = VecDeque::new();
        }
        event
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None`: not before the next
    /// input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}
