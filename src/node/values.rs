//! What a node is given and gives, as values: its configuration, datagrams in, targets out.

use std::net::SocketAddr;

use super::{
    command::Allow,
    discovery::{DiscoveryConfig, Group, Known},
    seeds::SeedsConfig,
};
use crate::{crypto::identity::network_tag, id::PeerId, store::Loaded, wire::record::Visibility};

/// What a node is told once.
#[derive(Debug, Clone, Default)]
pub struct NodeConfig {
    /// What we call ourselves: a valid name.
    pub name: String,
    /// Peers of another network name neither see nor reach us.
    pub network: String,
    /// Port of the session sockets, as announced.
    pub port: u16,
    /// Announce and listen on the LAN.
    pub lan: bool,
    /// Names of the interfaces to use; empty: all.
    pub interfaces: Vec<String>,
    /// Seeds to use, each as `HOST:PORT`.
    pub seeds: Vec<String>,
    /// Who may find our record at the seeds; `None`: there is none, unless something needs one.
    pub visibility: Option<Visibility>,
    /// Contacts are told what we have read, but for those of whom it is said otherwise.
    pub read_receipts: bool,
    /// Whom we let write to us.
    pub allow: Allow,
    /// Seeds never hear of us, whatever would need it, but for a command that says so.
    pub hidden: bool,
}

impl NodeConfig {
    pub(super) fn discovery(&self, id: PeerId, loaded: &Loaded) -> DiscoveryConfig {
        DiscoveryConfig {
            id,
            boot: loaded.boot,
            network: network_tag(&self.network),
            port: self.port,
            name: self.name.clone(),
            lan: self.lan,
            only: self.interfaces.clone(),
            known: loaded.contacts.iter().map(Known::of).collect(),
        }
    }

    pub(super) fn seeds(&self, id: PeerId) -> SeedsConfig {
        SeedsConfig {
            id,
            network: network_tag(&self.network),
            name: self.name.clone(),
            visibility: self.visibility,
            hidden: self.hidden,
            seeds: self.seeds.clone(),
        }
    }
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

/// Where a datagram goes; always from a session socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// To one address.
    Unicast(SocketAddr),
    /// To a group, out of this interface, hop limit 255.
    Multicast {
        /// Index of the interface.
        interface: u32,
        /// Which group.
        group: Group,
    },
}

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Sessions open now.
    pub sessions: usize,
    /// Peers heard on this LAN now.
    pub neighbours: usize,
    /// Seeds that have our record now.
    pub seeds: usize,
    /// Messages that wait for a receipt.
    pub outbox: u64,
    /// Who may write to us now.
    pub allow: Allow,
    /// Strangers who ask to.
    pub requests: usize,
    /// Contacts are told what we have read.
    pub read_receipts: bool,
    /// The last commit's error, where it failed.
    pub commit_error: Option<crate::store::row::CommitError>,
    /// Somebody on this LAN speaks another version.
    pub other_version: bool,
    /// Datagrams dropped because they made no sense to us.
    pub dropped: u64,
}
