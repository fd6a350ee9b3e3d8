//! Many askers at once: datagrams with the address of ours that they came to, and answers to many that leave
//! together, each from the address that was asked. How many datagrams to one address leave stands in `socket`.

use std::{
    io, mem,
    net::{IpAddr, SocketAddr},
};

use super::{Sockets, session::SessionSocket, without_flow};
use crate::net::counters::Counters;

/// Datagrams in one batch at most.
pub const BATCH_DATAGRAMS_MAX: usize = 64;

/// Datagrams that have not left yet.
#[derive(Debug, Default)]
pub struct Batch {
    parts: Vec<Part>,
    /// Buffers of those that have left.
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Part {
    to: SocketAddr,
    /// Of our addresses this one; `None`: the system chooses.
    from: Option<IpAddr>,
    datagram: Vec<u8>,
}

impl Batch {
    /// True where it should leave before more is put in.
    pub fn is_full(&self) -> bool {
        self.parts.len() >= BATCH_DATAGRAMS_MAX
    }

    /// Takes a datagram, to leave from this address of ours; `None`: from whichever the system chooses. What
    /// `datagram` holds then is an empty buffer.
    pub fn push(&mut self, to: SocketAddr, from: Option<IpAddr>, datagram: &mut Vec<u8>) {
        let datagram = mem::replace(datagram, self.spare.pop().unwrap_or_default());
        self.parts.push(Part { to, from: from.filter(|ip| ip.is_ipv4() == to.is_ipv4()), datagram });
    }

    fn clear(&mut self) {
        self.spare.extend(self.parts.drain(..).map(|mut part| {
            part.datagram.clear();
            part.datagram
        }));
    }
}

impl Sockets {
    /// As [`Self::receive`], from the session sockets alone: who sent it, to which address of ours.
    pub fn receive_addressed(&mut self, mut each: impl FnMut(SocketAddr, Option<IpAddr>, &[u8])) {
        for socket in [&self.session.v4, &self.session.v6].into_iter().flatten() {
            // One call a turn: what it took is answered before it has left the near memory.
            socket.receive(&mut self.buffers, &self.counters, &mut |meta, bytes| {
                each(without_flow(meta.addr), meta.dst_ip, bytes);
            });
        }
    }

    /// Sends all of it, and leaves it empty.
    pub fn send_batch(&mut self, batch: &mut Batch) {
        batch.parts.sort_by_key(|part| (part.to.is_ipv4(), part.from));
        for parts in batch.parts.chunk_by(|a, b| (a.to.is_ipv4(), a.from) == (b.to.is_ipv4(), b.from)) {
            let datagrams: Vec<_> = parts.iter().map(|part| (part.to, part.datagram.as_slice())).collect();
            let Some(Part { to, from, .. }) = parts.first() else { continue };
            match self.session.of(*to) {
                Some(socket) => socket.send_each(*from, &datagrams, &self.counters),
                None => self.counters.sent(parts.len(), 0, Err(io::ErrorKind::AddrNotAvailable.into())),
            }
        }
        batch.clear();
    }
}

impl SessionSocket {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn send_each(&self, from: Option<IpAddr>, datagrams: &[(SocketAddr, &[u8])], counters: &Counters) {
        use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
        use std::{io::IoSlice, os::fd::AsRawFd};

        let source = Source::new(from);
        let addrs: Vec<_> = datagrams.iter().map(|(to, _)| Some(SockaddrStorage::from(*to))).collect();
        let slices: Vec<_> = datagrams.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
        let mut headers = MultiHeaders::preallocate(datagrams.len(), source.space());
        let (mut addrs, mut slices, mut rest) = (addrs.as_slice(), slices.as_slice(), datagrams);
        while let Some((_, first)) = rest.first() {
            let sent = sendmmsg(self.io.as_raw_fd(), &mut headers, slices, addrs, source.control(), MsgFlags::empty());
            let (count, len, outcome) = match sent {
                Ok(sent) => {
                    let count = sent.count().max(1);
                    (count, rest.iter().take(count).map(|(_, bytes)| bytes.len()).sum(), Ok(()))
                }
                // What has no room now, the rest has none either.
                Err(error) if error == nix::errno::Errno::EWOULDBLOCK => (rest.len(), 0, Err(error.into())),
                // The first cannot be sent; that says nothing of the rest.
                Err(error) => (1, first.len(), Err(error.into())),
            };
            counters.sent(count, len, outcome);
            addrs = addrs.get(count..).unwrap_or_default();
            slices = slices.get(count..).unwrap_or_default();
            rest = rest.get(count..).unwrap_or_default();
        }
    }

    /// One by one, where the system has no call for several.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn send_each(&self, from: Option<IpAddr>, datagrams: &[(SocketAddr, &[u8])], counters: &Counters) {
        for (to, contents) in datagrams {
            let transmit = quinn_udp::Transmit { destination: *to, ecn: None, contents, segment_size: None, src_ip: from };
            counters.sent(1, contents.len(), self.state.try_send((&self.io).into(), &transmit));
        }
    }
}

/// An address of ours as the system is told to send from it.
#[cfg(any(target_os = "linux", target_os = "android"))]
enum Source {
    Any,
    V4(nix::libc::in_pktinfo),
    V6(nix::libc::in6_pktinfo),
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Source {
    fn new(from: Option<IpAddr>) -> Self {
        use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
        match from {
            None => Self::Any,
            Some(IpAddr::V4(v4)) => Self::V4(in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr: u32::from(v4).to_be() },
                ipi_addr: in_addr { s_addr: 0 },
            }),
            Some(IpAddr::V6(v6)) => Self::V6(in6_pktinfo { ipi6_addr: in6_addr { s6_addr: v6.octets() }, ipi6_ifindex: 0 }),
        }
    }

    fn control(&self) -> Vec<nix::sys::socket::ControlMessage<'_>> {
        use nix::sys::socket::ControlMessage;
        match self {
            Self::Any => Vec::new(),
            Self::V4(info) => vec![ControlMessage::Ipv4PacketInfo(info)],
            Self::V6(info) => vec![ControlMessage::Ipv6PacketInfo(info)],
        }
    }

    /// Room for [`Self::control`], and for nothing else: zeros behind it would be a malformed message.
    fn space(&self) -> Option<Vec<u8>> {
        match self {
            Self::Any => None,
            Self::V4(_) => Some(nix::cmsg_space!(nix::libc::in_pktinfo)),
            Self::V6(_) => Some(nix::cmsg_space!(nix::libc::in6_pktinfo)),
        }
    }
}
