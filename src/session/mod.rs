//! Reliable messages with one peer over lossy datagrams: key epochs, packets, acks, loss, fragments,
//! credit, a congestion window, and the move from one path to another (protocol §3 and §4).
//! Sans-IO: no socket, no clock; `now` and the generator are arguments. What a message means, who may
//! open a session, and the repetition of handshake datagrams live in `node`.
//!
//! The run-loop contract: after every `handle_*` or command call `poll_transmit` until it returns
//! `None`, then `poll_event` until `None`, then ask `poll_timeout`. Methods are sorted: getters,
//! `handle_*`, commands, `poll_*`.
//!
//! The initiator's node repeats the third handshake datagram until [`Session::is_heard`] is true; a
//! session needs nothing else from the handshake.

use std::{net::SocketAddr, time::Duration};

use rand_chacha::ChaCha20Rng;

use crate::{
    clock::Instant,
    crypto::handshake::{Established, Role},
    id::{BootId, PeerId, SessionIndex},
    wire::frame::CloseCode,
};

/// One way to reach the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathAddr {
    /// Where datagrams go, and come from.
    pub remote: SocketAddr,
    /// True where no router is between: first guesses of the round trip and the window are bolder.
    pub on_link: bool,
}

/// What a session may be told at its start.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The round trip that the handshake saw, where it was not retransmitted.
    pub rtt: Option<Duration>,
    /// First keepalive interval; see [`Session::set_keepalive`].
    pub keepalive: Option<Duration>,
    /// Received and not yet consumed message bytes at most, once all is granted and the flow is fast.
    pub credit_max: u64,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self { rtt: None, keepalive: None, credit_max: 8 << 20 }
    }
}

/// Why a datagram changed nothing. Never a reason to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// No packet, or not for this session.
    #[error("not a packet of this session")]
    Malformed,
    /// Its epoch's keys are erased or not made yet.
    #[error("no keys for this epoch")]
    NoKeys,
    /// Its number came before, or is older than the replay window.
    #[error("replayed")]
    Replayed,
    /// Its tag is wrong.
    #[error("forged")]
    Forged,
    /// The session has ended.
    #[error("the session has ended")]
    Closed,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// [`Session::close`] was called.
    Local(CloseCode),
    /// The peer closed it.
    Remote(CloseCode),
    /// The peer broke a rule; it was told so with this code.
    Violation(CloseCode),
    /// No first rekey within 10 s. The peer was told nothing.
    NeverOpened,
}

/// What a session tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// The first packet of epoch 1 opened: from now on this session counts. Once.
    Opened,
    /// A whole message of the peer, once each, in no order.
    Received {
        /// Its number; the peer's `send_*` returned the same one.
        n: u64,
        /// The item.
        bytes: Vec<u8>,
    },
    /// All of our message `n` has arrived at the peer's transport. Not a receipt. Once each.
    Acked(u64),
    /// The peer is reached by another path from now on: [`Session::path`].
    PathChanged,
    /// A [`Session::ping`] was answered.
    Pong {
        /// From the call to the answer.
        rtt: Duration,
    },
    /// The peer is silent: three keepalives went unanswered, or what was sent for a long time. Comes
    /// again only after the peer was heard once more. The session goes on trying.
    Unresponsive,
    /// The last event: nothing is received any more, and nothing sent but our `Close`.
    Closed(CloseReason),
}

/// Counts since the session's start, for tests, benches and `status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets sealed.
    pub sent: u64,
    /// Packets opened.
    pub received: u64,
    /// Bytes of all datagrams sent.
    pub sent_len: u64,
    /// Packets declared lost.
    pub lost: u64,
    /// Packets declared lost and acked later.
    pub spurious: u64,
    /// Messages and fragments sent once more.
    pub retransmitted: u64,
    /// Received messages and fragments that were there already.
    pub duplicate: u64,
    /// Probe timeouts.
    pub timeouts: u64,
    /// Datagrams that were dropped: see [`Dropped`].
    pub dropped: u64,
    /// Calls of `handle_timeout` that found a timer due.
    pub timers: u64,
    /// Rekeys finished, the first included.
    pub rekeys: u64,
}

/// A session with one peer.
pub struct Session {
    established: Established,
    path: PathAddr,
}

/// Getters.
impl Session {
    /// A session from a finished handshake. `path` is where the handshake's last datagram came from or
    /// went to. Draws its own randomness from `rng`.
    pub fn new(established: Established, path: PathAddr, config: SessionConfig, now: Instant, rng: &mut ChaCha20Rng) -> Self {
        let _ = (config, now, rng);
        Self { established, path }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> PeerId {
        self.established.peer
    }

    /// The run of the peer's program, from the handshake.
    pub fn boot(&self) -> BootId {
        self.established.payload.boot
    }

    /// The receiver index of packets to us.
    pub fn local_index(&self) -> SessionIndex {
        self.established.local
    }

    /// The receiver index of packets to the peer.
    pub fn remote_index(&self) -> SessionIndex {
        self.established.remote
    }

    /// Our side of the handshake.
    pub fn role(&self) -> Role {
        self.established.role
    }

    /// Where packets go now.
    pub fn path(&self) -> PathAddr {
        self.path
    }

    /// The smoothed round trip; a first guess before anything was measured.
    pub fn rtt(&self) -> Duration {
        Duration::ZERO
    }

    /// True once any packet of this session opened: the peer holds the session too.
    pub fn is_heard(&self) -> bool {
        false
    }

    /// True once a packet of epoch 1 opened: the session counts.
    pub fn is_open(&self) -> bool {
        false
    }

    /// True after [`SessionEvent::Closed`], or once it waits in the event queue.
    pub fn is_closed(&self) -> bool {
        false
    }

    /// When the last message was given, sent or received; keepalives and acks do not count.
    pub fn idle_since(&self) -> Instant {
        Instant::default()
    }

    /// When the last authenticated packet came; the session's start before any came.
    pub fn heard_at(&self) -> Instant {
        Instant::default()
    }

    /// Bytes of packets sent and neither acked nor lost.
    pub fn in_flight(&self) -> usize {
        0
    }

    /// Bytes of messages given and not wholly acked.
    pub fn queued(&self) -> usize {
        0
    }

    /// Message bytes that may still be given before the caller should hold back.
    pub fn queue_room(&self) -> usize {
        0
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}

/// Input.
impl Session {
    /// Takes a datagram of [`KIND_PACKET`](crate::wire::KIND_PACKET) whose receiver index is ours; it
    /// is decrypted in place. Only what is authenticated and new changes anything.
    pub fn handle_datagram(&mut self, now: Instant, from: PathAddr, datagram: &mut [u8]) -> Result<(), Dropped> {
        let _ = (now, from, datagram);
        Err(Dropped::Malformed)
    }

    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }
}

/// Commands.
impl Session {
    /// Queues an item before all messages: receipts, presence. 1 to
    /// [`MESSAGE_LEN_MAX`](crate::wire::MESSAGE_LEN_MAX) bytes. Returns its number.
    pub fn send_control(&mut self, item: Vec<u8>) -> u64 {
        let _ = item;
        0
    }

    /// Queues an item behind what is queued. 1 to [`MESSAGE_LEN_MAX`](crate::wire::MESSAGE_LEN_MAX)
    /// bytes. Returns its number.
    pub fn send_message(&mut self, item: Vec<u8>) -> u64 {
        let _ = item;
        0
    }

    /// The peer is admitted: its credit goes from 4 KiB to 2 MiB, and grows with a fast flow.
    pub fn grant_full(&mut self) {}

    /// The owner is done with `bytes` of what `Received` brought: the peer may send as much more.
    pub fn consumed(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// Asks the peer for a sign of life after each `interval` of silence; three unanswered make
    /// [`SessionEvent::Unresponsive`]. `None`: never asks.
    pub fn set_keepalive(&mut self, now: Instant, interval: Option<Duration>) {
        let _ = (now, interval);
    }

    /// Asks for a sign of life now; [`SessionEvent::Pong`] follows the answer.
    pub fn ping(&mut self, now: Instant) {
        let _ = now;
    }

    /// Tries another path to the peer; packets go there once it has answered.
    pub fn try_path(&mut self, now: Instant, path: PathAddr) {
        let _ = (now, path);
    }

    /// Ends the session: one `Close` leaves, then nothing. The session may be dropped as soon as
    /// `poll_transmit` returns `None`.
    pub fn close(&mut self, code: CloseCode) {
        let _ = code;
    }
}

/// Output.
impl Session {
    /// Writes one datagram into `out` (cleared first) and returns where it goes; `None`: nothing may
    /// leave now.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<PathAddr> {
        let _ = now;
        out.clear();
        None
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None`: not before the next
    /// input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}
