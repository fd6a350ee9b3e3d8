//! What a session is told at its start, what it tells its owner, and why it drops or ends: values only.

use std::{net::SocketAddr, time::Duration};

#[expect(unused_imports, reason = "named in the documentation")]
use super::Session;
use crate::{
    id::ChannelId,
    wire::{DATAGRAM_LEN_MAX, frame::CloseCode, relay::RELAYED_LEN_MAX},
};

/// One way to reach the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathAddr {
    /// Where datagrams go, and come from.
    pub remote: SocketAddr,
    /// True where no router is between: first guesses of the round trip and the window are bolder.
    pub on_link: bool,
    /// `remote` is a seed that relays in this channel.
    pub relay: Option<ChannelId>,
}

impl PathAddr {
    /// Straight to the peer.
    pub const fn direct(remote: SocketAddr, on_link: bool) -> Self {
        Self { remote, on_link, relay: None }
    }

    /// By a seed.
    pub const fn relayed(seed: SocketAddr, channel: ChannelId) -> Self {
        Self { remote: seed, on_link: false, relay: Some(channel) }
    }

    /// Bytes of a datagram on this path at most, before it has proved more.
    pub const fn datagram_len_max(&self) -> usize {
        if self.relay.is_some() { RELAYED_LEN_MAX } else { DATAGRAM_LEN_MAX }
    }
}

/// What a session may be told at its start.
#[derive(Debug, Clone, Default)]
pub struct SessionConfig {
    /// The round trip that the handshake saw, where it was not retransmitted.
    pub rtt: Option<Duration>,
    /// First keepalive interval; see [`Session::set_keepalive`].
    pub keepalive: Option<Duration>,
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
    /// Messages sent once more while they were unacked, in packets with room to spare.
    pub copied: u64,
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
