//! The receive sockets of LAN discovery: one per interface and IP version, on a port that every process
//! of this machine shares. Nothing is sent from them.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    task::{Context, Poll},
};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::{
    counters::Counters,
    socket::{ALL_NODES_V6, Groups, is_family_missing, without_flow},
};
use crate::{
    node::{
        Datagram, SocketKind,
        interface::{Interface, memberships},
    },
    wire::DATAGRAM_LEN_MAX,
};

/// Sockets at most: what is past it is not joined, the machine has more interfaces than we can use.
pub const LAN_SOCKETS_MAX: usize = 64;
/// Datagrams taken from one socket and turn.
const RECEIVE_MAX: usize = 64;
/// One byte more than the largest of ours, so that a larger one shows.
const BUFFER_LEN: usize = DATAGRAM_LEN_MAX + 1;

/// The discovery sockets of all interfaces.
#[derive(Debug)]
pub struct LanSockets {
    groups: Groups,
    enabled: bool,
    only: Vec<String>,
    /// By interface index and whether it is IPv6.
    sockets: BTreeMap<(u32, bool), LanSocket>,
}

#[derive(Debug)]
struct LanSocket {
    io: UdpSocket,
    index: u32,
}

impl LanSockets {
    /// None yet. Not `enabled`: none ever. `only` names the interfaces to join; empty: all.
    pub fn new(groups: Groups, enabled: bool, only: Vec<String>) -> Self {
        Self { groups, enabled, only, sockets: BTreeMap::new() }
    }

    /// Joined (interface, IPv6?).
    pub fn joined(&self) -> impl Iterator<Item = (u32, bool)> {
        self.sockets.keys().copied()
    }

    /// Opens and closes sockets so that they are those of `interfaces`. One that fails is logged and left
    /// out until the next call.
    pub fn set_interfaces(&mut self, interfaces: &[Interface]) {
        if !self.enabled {
            return;
        }
        let wanted: Vec<_> = memberships(interfaces, &self.only)
            .iter()
            .flat_map(|link| [(link.index, false, link.v4), (link.index, true, link.v6)])
            .filter_map(|(index, v6, joined)| joined.then_some((index, v6)))
            .collect();
        self.sockets.retain(|link, _| wanted.contains(link));
        for (index, v6) in wanted.into_iter().take(LAN_SOCKETS_MAX) {
            if self.sockets.contains_key(&(index, v6)) {
                continue;
            }
            match LanSocket::open(&self.groups, index, v6) {
                Ok(socket) => {
                    tracing::debug!(index, v6, "joined");
                    self.sockets.insert((index, v6), socket);
                }
                Err(error) if is_family_missing(&error) => tracing::debug!(index, v6, "cannot join: {error}"),
                Err(error) => tracing::warn!(index, v6, "cannot join: {error}"),
            }
        }
    }

    /// Leaves and joins each group again; a socket that cannot is closed and opened at the next
    /// [`Self::set_interfaces`].
    pub fn rejoin(&mut self) {
        let groups = self.groups;
        self.sockets.retain(|&(index, v6), socket| {
            let io = SockRef::from(&socket.io);
            leave(&io, &groups, index, v6);
            join(&io, &groups, index, v6).inspect_err(|error| tracing::debug!(index, v6, "cannot re-join: {error}")).is_ok()
        });
    }

    /// Ready once a datagram may wait on one of the sockets.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.sockets.values().any(|socket| socket.io.poll_recv_ready(cx).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Hands over what waits, up to a limit per socket.
    pub fn receive(&self, counters: &Counters, each: &mut impl FnMut(Datagram<'_>)) {
        for socket in self.sockets.values() {
            for _ in 0..RECEIVE_MAX {
                if !socket.receive(counters, each) {
                    break;
                }
            }
        }
    }
}

impl LanSocket {
    fn open(groups: &Groups, index: u32, v6: bool) -> io::Result<Self> {
        let (domain, at) = if v6 {
            (Domain::IPV6, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), groups.v6.port()))
        } else {
            (Domain::IPV4, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), groups.v4.port()))
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if v6 {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        // Both, for two users on one machine; where the system lacks the second, the first does.
        let _ = socket.set_reuse_port(true);
        refuse_foreign_groups(&socket, !v6);
        ask_for_origin(&socket, v6)?;
        socket.set_nonblocking(true)?;
        socket.bind(&at.into())?;
        join(&SockRef::from(&socket), groups, index, v6)?;
        Ok(Self { io: UdpSocket::from_std(socket.into())?, index })
    }

    /// One datagram. True where more may wait.
    fn receive(&self, counters: &Counters, each: &mut impl FnMut(Datagram<'_>)) -> bool {
        let mut buffer = [0; BUFFER_LEN];
        let received = || receive_one(&self.io, &mut buffer).map_err(|error| counters.not_received(error));
        match self.io.try_io(Interest::READABLE, received) {
            Ok(origin) => {
                counters.received(1, origin.len);
                let ours = origin.to_group && origin.interface.is_none_or(|index| index == self.index);
                match buffer.get_mut(..origin.len.min(BUFFER_LEN)) {
                    Some(bytes) if ours && bytes.len() <= DATAGRAM_LEN_MAX => each(Datagram {
                        from: without_flow(origin.from),
                        interface: self.index,
                        socket: SocketKind::Discovery,
                        hop_limit: origin.hop_limit,
                        bytes,
                    }),
                    _ => counters.misdirected(),
                }
                true
            }
            Err(_) => false,
        }
    }
}

/// What is known of a datagram that came in.
struct Origin {
    from: SocketAddr,
    len: usize,
    hop_limit: Option<u8>,
    interface: Option<u32>,
    to_group: bool,
}

/// By index, never by address: two interfaces may have the same address, or none.
fn join(socket: &SockRef<'_>, groups: &Groups, index: u32, v6: bool) -> io::Result<()> {
    if v6 {
        socket.join_multicast_v6(groups.v6.ip(), index)?;
        // Every IPv6 host is in this group; the socket must be as well to hear it. Nice to have.
        let _ = socket.join_multicast_v6(&ALL_NODES_V6, index);
        Ok(())
    } else {
        socket.join_multicast_v4_n(groups.v4.ip(), &InterfaceIndexOrAddress::Index(index))
    }
}

fn leave(socket: &SockRef<'_>, groups: &Groups, index: u32, v6: bool) {
    // Not joined any more is what is wanted, whatever the reason.
    if v6 {
        let _ = socket.leave_multicast_v6(groups.v6.ip(), index);
        let _ = socket.leave_multicast_v6(&ALL_NODES_V6, index);
    } else {
        let _ = socket.leave_multicast_v4_n(groups.v4.ip(), &InterfaceIndexOrAddress::Index(index));
    }
}

/// Without this a Linux socket hears every group that any process of the machine joined.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn refuse_foreign_groups(socket: &Socket, v4: bool) {
    // Old systems lack the one for IPv6: a datagram more to drop.
    let _ = if v4 { socket.set_multicast_all_v4(false) } else { socket.set_multicast_all_v6(false) };
}

/// Other systems never do that.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn refuse_foreign_groups(_socket: &Socket, _v4: bool) {}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn ask_for_origin(socket: &Socket, v6: bool) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    if v6 {
        setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true)?;
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv4RecvTtl, &true)?;
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn receive_one(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Origin> {
    use nix::{
        libc::{c_int, in_pktinfo, in6_pktinfo},
        sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg},
    };
    use std::{io::IoSliceMut, os::fd::AsRawFd};

    let mut control = nix::cmsg_space!(in_pktinfo, in6_pktinfo, c_int);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())?;
    let from = message.address.as_ref().and_then(|addr| {
        let v4 = addr.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
        v4.or_else(|| addr.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
    });
    let mut origin = Origin {
        from: from.ok_or(io::ErrorKind::InvalidData)?,
        len: message.bytes,
        hop_limit: None,
        interface: None,
        to_group: false,
    };
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                origin.hop_limit = u8::try_from(ttl).ok();
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                origin.interface = u32::try_from(info.ipi_ifindex).ok();
                origin.to_group = to.is_multicast() || to.is_broadcast();
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                origin.interface = Some(info.ipi6_ifindex);
                origin.to_group = Ipv6Addr::from(info.ipi6_addr.s6_addr).is_multicast();
            }
            _ => {}
        }
    }
    Ok(origin)
}

/// Hop limit and interface are read from control messages on the systems above only; here neither is known.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn ask_for_origin(_socket: &Socket, _v6: bool) -> io::Result<()> {
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn receive_one(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Origin> {
    let (len, from) = socket.try_recv_from(buffer)?;
    Ok(Origin { from, len, hop_limit: None, interface: None, to_group: true })
}
