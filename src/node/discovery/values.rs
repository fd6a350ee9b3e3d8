//! What goes into and comes out of discovery, as values. Nothing is decided here.

use std::net::SocketAddr;

use crate::{
    clock::Instant,
    id::{BootId, PeerId},
    store::row::Contact,
    wire::announce::Announce,
};

/// What a node's discovery is made from.
#[derive(Debug, Clone)]
pub struct DiscoveryConfig {
    /// Who we are.
    pub id: PeerId,
    /// This run.
    pub boot: BootId,
    /// Tag of our network's name; announces with another one are ignored.
    pub network: [u8; 8],
    /// UDP port of our session socket.
    pub port: u16,
    /// What we call ourselves, at most 64 bytes; longer is cut.
    pub name: String,
    /// False: nothing is ever announced, heard or answered.
    pub lan: bool,
    /// Names of the interfaces to use; empty: all.
    pub only: Vec<String>,
    /// Contacts: their announces are checked first, and older ones than these are ignored.
    pub known: Vec<Known>,
}

/// What is remembered of a peer from earlier runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub id: PeerId,
    /// Highest boot heard, zero where none was.
    pub boot: BootId,
    /// Highest announce seq heard in that boot.
    pub seq: u64,
    /// Where it was reached.
    pub addresses: Vec<SocketAddr>,
}

impl Known {
    /// What a contact's row remembers.
    pub fn of(contact: &Contact) -> Self {
        let (id, boot, seq) = (contact.id, contact.boot, contact.announce_seq);
        Self { id, boot, seq, addresses: contact.addresses.clone() }
    }
}

/// How a datagram came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its source.
    pub from: SocketAddr,
    /// The interface it came in by; 0 where that is not known (session socket only).
    pub interface: u32,
    /// It came to a discovery socket with hop limit 255, so nobody routed it. Everything else is heard
    /// only where it echoes a nonce of ours.
    pub on_link: bool,
}

/// Why a datagram changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Ignored {
    /// Not an announce of this version.
    #[error("malformed")]
    Malformed,
    /// An announce of another version.
    #[error("another version")]
    OtherVersion,
    /// It was routed, and answers no question of ours.
    #[error("not from this link and not asked for")]
    NotAsked,
    /// Discovery is off, or not on this interface.
    #[error("not an interface of ours")]
    Interface,
    /// It belongs to another network name.
    #[error("another network")]
    Network,
    /// We said it ourselves.
    #[error("our own")]
    Own,
    /// A newer one of the same peer was heard before.
    #[error("old")]
    Old,
    /// The same bytes from the same source were heard before.
    #[error("heard before")]
    Duplicate,
    /// Its source is no address to talk to.
    #[error("bad source address")]
    Address,
    /// The signature budget is spent.
    #[error("over budget")]
    Budget,
    /// The signature is wrong.
    #[error("bad signature")]
    Signature,
    /// Its source announces too many peers already.
    #[error("too many peers from one source")]
    Full,
}

impl Ignored {
    /// It made no sense, rather than being no news or nobody's business.
    pub const fn is_nonsense(self) -> bool {
        matches!(self, Self::Malformed | Self::OtherVersion | Self::NotAsked | Self::Address | Self::Signature)
    }
}

/// An announce to sign and send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Two with the same `seq` are equal: sign once.
    pub announce: Announce,
    /// To whom.
    pub to: Destination,
}

/// Where an announce goes; always from the session socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// To a group, by interface index.
    Multicast {
        /// Index of the interface.
        interface: u32,
        /// Which group.
        group: Group,
    },
    /// To one peer. Link-local addresses carry their scope.
    Unicast(SocketAddr),
}

/// The groups that announces go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Our own IPv4 group.
    V4,
    /// Our own IPv6 group.
    V6,
    /// All nodes on the link, `ff02::1`: what no switch filters.
    AllNodesV6,
}

/// What the node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoveryEvent {
    /// A peer said something new, or the same from a new address.
    Heard {
        /// Who.
        id: PeerId,
        /// Which run of its program.
        boot: BootId,
        /// Place of the announce within that run.
        seq: u64,
        /// What it calls itself, as it came: not yet a valid name.
        name: String,
        /// It is not at the keyboard.
        away: bool,
        /// Where it can be dialled: a candidate, nothing more.
        addr: SocketAddr,
        /// Interface it was heard by.
        interface: u32,
        /// The source is proved in the sense of the protocol: on this link, or it echoed our nonce.
        proven: bool,
        /// It was not here a moment ago.
        came: bool,
        /// This run of it was never heard before.
        new_boot: bool,
    },
    /// A peer said goodbye.
    Left {
        /// Who.
        id: PeerId,
    },
    /// A peer has not been heard for longer than it promised.
    Expired {
        /// Who.
        id: PeerId,
    },
    /// Somebody else runs with our key: a copy of this profile. Told once.
    MyIdElsewhere,
    /// Such a copy had a later boot than ours and is silent now: this run goes on under the next one.
    NewBoot {
        /// Our boot from now on.
        boot: BootId,
    },
    /// Somebody speaks another version of the protocol. Told once.
    OtherVersion,
}

/// A peer that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Who.
    pub id: PeerId,
    /// Which run of its program.
    pub boot: BootId,
    /// What it calls itself, as it came.
    pub name: String,
    /// It is not at the keyboard.
    pub away: bool,
    /// Where it was heard, newest first, never empty.
    pub addrs: Vec<SocketAddr>,
    /// When it was heard last.
    pub last_heard: Instant,
}
