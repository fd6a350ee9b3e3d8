//! The session sockets: one per IP version, the same port, ours alone. Everything that we send leaves
//! from them, unicast in batches and multicast by interface. What is received for the LAN group lies in
//! `multicast`; what datagrams mean does not live here.
//!
//! A datagram that cannot leave now is lost, as any other on its way: it is counted, never queued.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    task::{Context, Poll},
};

use socket2::SockRef;

use self::session::{Buffers, SessionSocket, Share};
use super::{counters::Counters, multicast::LanSockets};
use crate::{
    node::{Datagram, SocketKind, Target, discovery::Group, interface::Interface},
    wire::DATAGRAM_LEN_MAX,
};

mod batch;
mod config;
mod session;
#[cfg(test)]
mod tests;

pub use batch::{BATCH_DATAGRAMS_MAX, Batch};
pub use config::{GROUP_PORT, GROUP_V4, GROUP_V6, GroupError, Groups, Listen, ListenError, SocketConfig};

/// The session port that is tried first.
pub const PORT_FIRST: u16 = 17_118;
/// The last that is tried before any free one.
pub const PORT_LAST: u16 = 17_133;
/// All nodes of the link.
pub const ALL_NODES_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// What we send arrives with this where no router was in between.
pub const HOP_LIMIT: u8 = 255;
/// Asked of the system for each direction of a session socket; it may give less.
pub const SOCKET_BUFFER_LEN: usize = 4 << 20;

/// Tries to find a port that is free for both IP versions, where the system chooses.
const ANY_PORT_TRIES_MAX: usize = 16;
/// Receive calls for one socket and turn; what waits then is taken in the next turn.
const RECEIVE_CALLS_MAX: usize = 4;
/// Bytes that leave in one call at most, below the largest UDP payload.
const BATCH_LEN_MAX: usize = 60_000;
/// Datagrams that leave in one call at most: the system's own limit (UDP_MAX_SEGMENTS).
const BATCH_SEGMENTS_MAX: usize = 64;

/// The session sockets could not be bound; nothing is left open (exit 9).
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {at}: {source}")]
pub struct BindError {
    /// Where.
    pub at: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// All sockets of a node.
#[derive(Debug)]
pub struct Sockets {
    session: Sessions,
    lan: LanSockets,
    groups: Groups,
    interfaces: Vec<Interface>,
    outgoing: Outgoing,
    buffers: Buffers,
    counters: Counters,
}

#[derive(Debug)]
struct Sessions {
    v4: Option<SessionSocket>,
    v6: Option<SessionSocket>,
    /// Where they are, with the port that they have got.
    listen: Listen,
}

/// Datagrams of one size to one address that have not left yet; the last may be shorter.
#[derive(Debug)]
struct Outgoing {
    to: SocketAddr,
    segment: usize,
    count: usize,
    bytes: Vec<u8>,
}

impl Sockets {
    /// Binds the session sockets. The LAN is joined by the first [`Self::set_interfaces`]. Must be called
    /// in a tokio runtime. Errors where `--listen` cannot be had, or nothing at all.
    pub fn bind(config: &SocketConfig, counters: Counters) -> Result<Self, BindError> {
        Ok(Self::of(Sessions::bind(config.listen)?, config, Buffers::of_flows(), counters))
    }

    /// For a seed: session sockets that threads share, each with [another](Self::another) set, and no LAN.
    /// Must be called in a tokio runtime. Errors where `listen` cannot be had.
    pub fn bind_shared(listen: Listen, counters: Counters) -> Result<Self, BindError> {
        let session = Sessions::bind_both(listen, Share::First)?;
        Ok(Self::of(session, &SocketConfig { no_lan: true, ..SocketConfig::default() }, Buffers::of_single(), counters))
    }

    /// One more set on the same port: the system hands every sender's datagrams to one of them, always the
    /// same. Must be called in a tokio runtime. Errors where the system cannot share a port.
    pub fn another(&self) -> Result<Self, BindError> {
        let session = Sessions::bind_both(self.session.listen, Share::Another)?;
        let config = SocketConfig { no_lan: true, ..SocketConfig::default() };
        Ok(Self::of(session, &config, Buffers::of_single(), self.counters.clone()))
    }

    fn of(session: Sessions, config: &SocketConfig, buffers: Buffers, counters: Counters) -> Self {
        Self {
            session,
            lan: LanSockets::new(config.groups, !config.no_lan, config.interfaces.clone()),
            groups: config.groups,
            interfaces: Vec::new(),
            outgoing: Outgoing {
                to: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
                segment: 0,
                count: 0,
                bytes: Vec::with_capacity(BATCH_LEN_MAX),
            },
            buffers,
            counters,
        }
    }

    /// The port of the session sockets.
    pub fn port(&self) -> u16 {
        self.session.listen.port
    }

    /// Where others on our networks reach us: loopback left out.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let addrs = self.interfaces.iter().filter(|interface| !interface.loopback).flat_map(|interface| {
            interface.addrs.iter().map(|(addr, _)| match addr {
                std::net::IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                    SocketAddrV6::new(*v6, self.port(), 0, interface.index).into()
                }
                addr => SocketAddr::new(*addr, self.port()),
            })
        });
        addrs.filter(|addr| self.session.covers(addr)).collect()
    }

    /// Joins and leaves groups so that they are those of `interfaces`. A failure on one is logged and
    /// tried again at the next call; the others go on.
    pub fn set_interfaces(&mut self, interfaces: &[Interface]) {
        self.lan.set_interfaces(interfaces);
        interfaces.clone_into(&mut self.interfaces);
    }

    /// Joins every group again: a switch may have forgotten us.
    pub fn rejoin(&mut self) {
        self.lan.rejoin();
    }

    /// Ready once a datagram may wait on one of the sockets.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        for socket in [&self.session.v4, &self.session.v6].into_iter().flatten() {
            if socket.poll_readable(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        self.lan.poll_readable(cx)
    }

    /// Hands over what waits, up to a limit per socket; what is left makes [`Self::poll_readable`] ready
    /// at once.
    pub fn receive(&mut self, mut each: impl FnMut(Datagram<'_>)) {
        for socket in [&self.session.v4, &self.session.v6].into_iter().flatten() {
            for _ in 0..RECEIVE_CALLS_MAX {
                let more = socket.receive(&mut self.buffers, &self.counters, &mut |meta, bytes| {
                    let (from, interface) = (without_flow(meta.addr), meta.interface_index.unwrap_or(0));
                    each(Datagram { from, interface, socket: SocketKind::Session, hop_limit: None, bytes });
                });
                if !more {
                    break;
                }
            }
        }
        self.lan.receive(&self.counters, &mut each);
    }

    /// Sends one datagram; it may leave together with those that follow, at the latest with
    /// [`Self::flush`]. An empty one says nothing to anybody and does not leave.
    pub fn send(&mut self, to: Target, datagram: &[u8]) {
        match to {
            _ if datagram.is_empty() => {}
            Target::Unicast(to) => self.send_unicast(to, datagram),
            Target::Multicast { interface, group } => {
                self.flush();
                let sent = self.send_to_group(interface, group, datagram);
                self.counters.sent(1, datagram.len(), sent);
            }
        }
    }

    /// Sends one datagram by an interface at once. Errors where it does not leave; nobody counts it.
    pub fn send_to_group(&self, interface: u32, group: Group, datagram: &[u8]) -> io::Result<()> {
        match group {
            Group::V4 => self.multicast_v4(interface, datagram),
            Group::V6 => self.multicast_v6(interface, *self.groups.v6.ip(), datagram),
            Group::AllNodesV6 => self.multicast_v6(interface, ALL_NODES_V6, datagram),
        }
    }

    /// Sends what waits to leave.
    pub fn flush(&mut self) {
        let Outgoing { to, segment, count, bytes } = &mut self.outgoing;
        if *count == 0 {
            return;
        }
        let count = std::mem::take(count);
        match self.session.of(*to) {
            Some(socket) => {
                let sent = socket.send(*to, bytes, *segment, count);
                if count > 1 && sent.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                    // Segmentation failed (no support, or a smaller MTU on the way): each on its own.
                    for datagram in bytes.chunks(*segment) {
                        self.counters.sent(1, datagram.len(), socket.send(*to, datagram, *segment, 1));
                    }
                } else {
                    self.counters.sent(count, bytes.len(), sent);
                }
            }
            None => self.counters.sent(count, bytes.len(), Err(io::ErrorKind::AddrNotAvailable.into())),
        }
        bytes.clear();
    }

    fn send_unicast(&mut self, to: SocketAddr, datagram: &[u8]) {
        let segments_max = self.session.of(to).map_or(1, |socket| socket.state.max_gso_segments().min(BATCH_SEGMENTS_MAX));
        if !self.outgoing.takes(to, datagram.len(), segments_max) {
            self.flush();
            self.outgoing.to = to;
            self.outgoing.segment = datagram.len();
        }
        self.outgoing.count += 1;
        self.outgoing.bytes.extend_from_slice(datagram);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn multicast_v4(&self, interface: u32, datagram: &[u8]) -> io::Result<()> {
        use nix::{
            libc::{in_addr, in_pktinfo},
            sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg},
        };
        use std::{io::IoSlice, os::fd::AsRawFd};

        let socket = self.session.v4.as_ref().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let index = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
        let out_of = in_pktinfo {
            ipi_ifindex: index,
            ipi_spec_dst: in_addr { s_addr: u32::from(self.multicast_source(interface)).to_be() },
            ipi_addr: in_addr { s_addr: 0 },
        };
        let to = SockaddrIn::from(self.groups.v4);
        let out_of = [ControlMessage::Ipv4PacketInfo(&out_of)];
        sendmsg(socket.io.as_raw_fd(), &[IoSlice::new(datagram)], &out_of, MsgFlags::empty(), Some(&to))?;
        Ok(())
    }

    /// The system chooses well, except on loopback: there it takes an address of another interface, to
    /// which an answer would not come back over loopback.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn multicast_source(&self, interface: u32) -> Ipv4Addr {
        let loopback = self.interfaces.iter().any(|known| known.index == interface && known.loopback);
        if loopback { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED }
    }

    /// By the interface's address, which every system understands.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn multicast_v4(&self, interface: u32, datagram: &[u8]) -> io::Result<()> {
        let socket = self.session.v4.as_ref().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let interface = self.interfaces.iter().find(|known| known.index == interface);
        let addr = interface.into_iter().flat_map(|known| &known.addrs).find_map(|(addr, _)| match addr {
            std::net::IpAddr::V4(v4) => Some(*v4),
            std::net::IpAddr::V6(_) => None,
        });
        let io = SockRef::from(&socket.io);
        io.set_multicast_if_v4(&addr.ok_or(io::ErrorKind::AddrNotAvailable)?)?;
        io.send_to(datagram, &self.groups.v4.into())?;
        Ok(())
    }

    fn multicast_v6(&self, interface: u32, group: Ipv6Addr, datagram: &[u8]) -> io::Result<()> {
        let socket = self.session.v6.as_ref().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let io = SockRef::from(&socket.io);
        io.set_multicast_if_v6(interface)?;
        let group = SocketAddrV6::new(group, self.groups.v6.port(), 0, interface);
        io.send_to(datagram, &group.into())?;
        Ok(())
    }
}

impl Outgoing {
    /// True where a datagram of this length can leave with those that wait: only the last may be shorter.
    fn takes(&self, to: SocketAddr, len: usize, segments_max: usize) -> bool {
        // What asks whether the link carries so much leaves alone: in company its refusal looks as if this system
        // could not send several at once, which would then be done no more.
        let asks = self.count == 1 && self.segment > DATAGRAM_LEN_MAX && len < self.segment;
        self.count > 0
            && !asks
            && self.to == to
            && len <= self.segment
            && self.bytes.len() == self.segment * self.count
            && self.count < segments_max
            && self.bytes.len() + len <= BATCH_LEN_MAX
    }
}

impl Sessions {
    fn bind(listen: Option<Listen>) -> Result<Self, BindError> {
        if let Some(listen) = listen {
            return Self::bind_both(listen, Share::Alone);
        }
        for port in PORT_FIRST..=PORT_LAST {
            match Self::bind_both(Listen::every(port), Share::Alone) {
                Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => {}
                outcome => return outcome,
            }
        }
        Self::bind_both(Listen::every(0), Share::Alone)
    }

    /// One port for both IP versions. A version that this machine does not have is left out, as long as
    /// there is another.
    fn bind_both(listen: Listen, share: Share) -> Result<Self, BindError> {
        let tries = if listen.port == 0 { ANY_PORT_TRIES_MAX } else { 1 };
        let mut outcome = Self::bind_once(listen, share);
        for _ in 1..tries {
            match &outcome {
                Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => outcome = Self::bind_once(listen, share),
                _ => break,
            }
        }
        outcome
    }

    fn bind_once(listen: Listen, share: Share) -> Result<Self, BindError> {
        let mut port = listen.port;
        let mut missing = None;
        let mut bind = |at: Option<SocketAddr>, port: &mut u16| -> Result<Option<SessionSocket>, BindError> {
            let Some(mut at) = at else { return Ok(None) };
            at.set_port(*port);
            match SessionSocket::bind(at, share) {
                Ok((socket, bound)) => {
                    *port = bound;
                    Ok(Some(socket))
                }
                Err(source) if is_family_missing(&source) && at.ip().is_unspecified() => {
                    tracing::info!("no {}: {source}", if at.is_ipv4() { "IPv4" } else { "IPv6" });
                    missing = Some(BindError { at, source });
                    Ok(None)
                }
                Err(source) => Err(BindError { at, source }),
            }
        };
        let v4 = bind(listen.v4.map(|ip| SocketAddr::new(ip.into(), 0)), &mut port)?;
        let v6 = bind(listen.v6.map(|(ip, zone)| SocketAddrV6::new(ip, 0, 0, zone).into()), &mut port)?;
        match missing {
            Some(error) if v4.is_none() && v6.is_none() => Err(error),
            _ => {
                let listen = Listen { v4: listen.v4.filter(|_| v4.is_some()), v6: listen.v6.filter(|_| v6.is_some()), port };
                Ok(Self { v4, v6, listen })
            }
        }
    }

    fn of(&self, to: SocketAddr) -> Option<&SessionSocket> {
        if to.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    /// True where datagrams to this address of ours reach a session socket.
    fn covers(&self, addr: &SocketAddr) -> bool {
        let bound = self.of(*addr).and_then(|socket| socket.io.get_ref().local_addr().ok());
        bound.is_some_and(|bound| bound.ip().is_unspecified() || bound.ip() == addr.ip())
    }
}

/// Two addresses that differ only in a flow label are one.
pub(super) fn without_flow(mut addr: SocketAddr) -> SocketAddr {
    if let SocketAddr::V6(v6) = &mut addr {
        v6.set_flowinfo(0);
    }
    addr
}

/// The system was built or started without this IP version.
pub(super) fn is_family_missing(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL | Errno::EPROTONOSUPPORT))
}
