//! One session socket: how it is bound, one receive call, one send call. Which of them there are, and what
//! leaves through which, stands in `socket`.

use std::{
    array,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    task::{Context, Poll},
};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::{HOP_LIMIT, SOCKET_BUFFER_LEN};
use crate::{net::counters::Counters, wire::DATAGRAM_LEN_MAX};

/// Datagrams taken by one receive call at most.
const RECEIVE_BUFFERS_MAX: usize = quinn_udp::BATCH_SIZE;

/// Who may have a session socket's port besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Nobody.
    Alone,
    /// Nobody yet: where somebody has it already, that shows. Then who comes as `Another`.
    First,
    /// Who has it already is one of us.
    Another,
}

#[derive(Debug)]
pub(super) struct SessionSocket {
    pub(super) io: AsyncFd<UdpSocket>,
    pub(super) state: UdpSocketState,
}

/// What one receive call fills.
#[derive(Debug)]
pub(super) struct Buffers {
    bytes: Vec<u8>,
    /// Bytes of each.
    len: usize,
    /// What the system says of each. Kept, since filling it with nothing took as long as all else around a call.
    meta: Vec<RecvMeta>,
}

impl Buffers {
    /// A few, each for as much as the system joins into one (GRO).
    pub(super) fn of_flows() -> Self {
        Self::new(16, 65_535)
    }

    /// Many, each for one datagram; of a longer one enough to see that it is none of ours.
    pub(super) fn of_single() -> Self {
        Self::new(RECEIVE_BUFFERS_MAX, DATAGRAM_LEN_MAX + 1)
    }

    fn new(count: usize, len: usize) -> Self {
        let count = count.min(RECEIVE_BUFFERS_MAX);
        Self { bytes: vec![0; count * len], len, meta: vec![RecvMeta::default(); count] }
    }
}

impl SessionSocket {
    pub(super) fn bind(at: SocketAddr, share: Share) -> io::Result<(Self, u16)> {
        let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
        if at.is_ipv4() {
            socket.set_ttl_v4(HOP_LIMIT.into())?;
            socket.set_multicast_ttl_v4(HOP_LIMIT.into())?;
            socket.set_multicast_loop_v4(true)?;
        } else {
            socket.set_only_v6(true)?;
            socket.set_unicast_hops_v6(HOP_LIMIT.into())?;
            socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
            socket.set_multicast_loop_v6(true)?;
        }
        super::super::multicast::refuse_foreign_groups(&socket, at.is_ipv4());
        // Less than asked is a normal state: sessions repair what overflows.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_LEN);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_LEN);
        if share == Share::Another {
            share_port(&socket)?;
        }
        socket.bind(&at.into())?;
        if share == Share::First {
            // Only now: a port that is shared by whoever says so would be taken from its owner without a word.
            let _ = share_port(&socket);
        }
        let io: UdpSocket = socket.into();
        let state = UdpSocketState::new((&io).into())?;
        let _ = without_extras(&io, share != Share::Alone);
        let port = io.local_addr()?.port();
        tracing::debug!(
            port,
            v6 = at.is_ipv6(),
            receive_buffer = state.recv_buffer_size((&io).into()).unwrap_or(0),
            send_buffer = state.send_buffer_size((&io).into()).unwrap_or(0),
            segments = state.max_gso_segments(),
            "session socket"
        );
        // Nobody waits for room to send, and so nobody is woken each time that a datagram has left.
        #[expect(deprecated, reason = "unsound for types that lie about what they own, which a socket does not")]
        let io = AsyncFd::with_interest(io, Interest::READABLE)?;
        Ok((Self { io, state }, port))
    }

    /// Ready once a datagram may wait.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.io.poll_read_ready(cx).map(drop)
    }

    /// One receive call. True where more may wait.
    pub(super) fn receive(
        &self,
        buffers: &mut Buffers,
        counters: &Counters,
        each: &mut impl FnMut(&RecvMeta, &mut [u8]),
    ) -> bool {
        let Buffers { bytes, len: each_len, meta } = buffers;
        let count = meta.len();
        let mut received = 0;
        // Fewer than asked for means that nothing is left: saying so to the reactor saves the call that
        // would find nothing. Which outcome it was is in `received`.
        let _ = self.io.try_io(Interest::READABLE, |io| {
            let mut chunks = bytes.chunks_exact_mut(*each_len);
            let mut slices: [_; RECEIVE_BUFFERS_MAX] = array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            match self.state.recv(io.into(), slices.get_mut(..count).unwrap_or_default(), meta) {
                Ok(count) => received = count,
                Err(error) => return Err(counters.not_received(error)),
            }
            if received < count { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        let (mut datagrams, mut len) = (0, 0);
        for (meta, buffer) in meta.iter().take(received).zip(bytes.chunks_exact_mut(*each_len)) {
            let filled = buffer.get_mut(..meta.len).unwrap_or_default();
            for bytes in filled.chunks_mut(meta.stride.max(1)) {
                datagrams += 1;
                each(meta, bytes);
            }
            len += meta.len;
        }
        counters.received(datagrams, len);
        received == count
    }

    /// One send call: `count` datagrams of `segment` bytes each, the last may be shorter.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8], segment: usize, count: usize) -> io::Result<()> {
        let segment_size = (count > 1).then_some(segment);
        let transmit = Transmit { destination: to, ecn: None, contents: bytes, segment_size, src_ip: None };
        self.state.try_send((&self.io).into(), &transmit)
    }
}

/// What `quinn-udp` asks for and we do not read costs time with every datagram: when it came, and its traffic
/// class. `singly`: nor are datagrams of one sender joined (GRO), where each of many askers has one, nor does
/// each say to which address of ours it came, where there is but one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn without_extras(io: &UdpSocket, singly: bool) -> nix::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    let at = io.local_addr().map_err(|_| nix::Error::ENOTSOCK)?;
    setsockopt(io, sockopt::ReceiveTimestampns, &false)?;
    if at.is_ipv4() {
        setsockopt(io, sockopt::IpRecvTos, &false)?;
    } else {
        setsockopt(io, sockopt::Ipv6RecvTClass, &false)?;
    }
    if singly {
        setsockopt(io, sockopt::UdpGroSegment, &false)?;
    }
    match at {
        at if !singly || at.ip().is_unspecified() => Ok(()),
        SocketAddr::V4(_) => setsockopt(io, sockopt::Ipv4PacketInfo, &false),
        SocketAddr::V6(_) => setsockopt(io, sockopt::Ipv6RecvPacketInfo, &false),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn without_extras(_io: &UdpSocket, _singly: bool) -> nix::Result<()> {
    Ok(())
}

/// Lets sockets of this user have one port together, each with its part of the senders.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Elsewhere the option is there, and the last socket gets everything.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn share_port(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
