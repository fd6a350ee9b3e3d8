//! The node: everything that one peer knows and decides, without a socket, a clock or a task.
//!
//! The contract of its run loop (`net::driver` keeps it): after any `handle_*`, drain `poll_write`,
//! `poll_transmit` and `poll_event`, then sleep until `poll_timeout` or the next input. Each `handle_*`
//! is one mutation at one instant; nothing happens between them.

pub mod command;
pub mod discovery;
pub mod event;
pub mod interface;

use std::net::SocketAddr;

use crate::{
    clock::Unix,
    id::{BootId, PeerId},
};

/// What a node is told once.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// What we call ourselves: a valid name.
    pub name: String,
    /// Peers of another network name neither see nor reach us.
    pub network: String,
    /// Port of the session sockets, as announced.
    pub port: u16,
    /// Announce and listen on the LAN.
    pub lan: bool,
}

/// Which socket a datagram came in on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// Our own port: packets, handshakes, unicast answers.
    Session,
    /// The shared port of the multicast group.
    Discovery,
}

/// A datagram that came in.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Its source.
    pub from: SocketAddr,
    /// Index of the interface it came in on; 0 where the system did not say.
    pub interface: u32,
    /// The socket it came in on.
    pub socket: SocketKind,
    /// TTL or hop limit on arrival, where the system said.
    pub hop_limit: Option<u8>,
    /// Its payload; opened in place.
    pub bytes: &'a mut [u8],
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// To one address, from a session socket.
    Unicast(SocketAddr),
    /// To the group, out of this interface, from a session socket, hop limit 255.
    Multicast {
        /// Index of the interface.
        interface: u32,
        /// Which group.
        group: discovery::Group,
    },
}

/// The boot id of a new run: above every one before, and near the clock so that a lost profile's
/// successor is above it too. Whoever starts a node commits it first (`Op::Boot`).
pub fn next_boot(stored: BootId, now: Unix) -> BootId {
    BootId(stored.0.saturating_add(1).max(now.0))
}

/// True where both ids name the same pair of people and the first of them dials first (protocol §2).
pub(crate) fn dials_first(me: &PeerId, peer: &PeerId) -> bool {
    me < peer
}
