//! ENet by rusty_enet: everything reliable, one channel for messages. Nothing is sealed. A host is polled, so this one
//! blocks its thread, for a millisecond at most.

use std::{
    cell::RefCell,
    collections::VecDeque,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rusty_enet::{EventNoRef, Host, HostSettings, Packet, PeerID};
use socket2::SockRef;

use super::{Conn, SOCKET_BUFFER_LEN, Setting, Transport};

/// The channels: messages, and what the receiver has taken.
const MESSAGES: u8 = 0;
const TAKEN: u8 = 1;
/// What may be sent and not yet taken: ENet itself has no limit, and long queues cost it more for each message.
const UNTAKEN_MESSAGES_MAX: u64 = 2_048;
const UNTAKEN_BYTES_MAX: u64 = 2 << 20;
/// The receiver says so after this many.
const SAID_MESSAGES: u64 = 256;
const SAID_BYTES: u64 = 128 << 10;
/// A connection that takes longer than this does not come about.
const DIAL_MAX: Duration = Duration::from_secs(30);
/// Patience with a lossy link, in ENet's own terms: tries, and milliseconds.
const TIMEOUT: (u32, u32, u32) = (32, 60_000, 120_000);

/// The transport.
#[derive(Clone)]
pub(crate) struct Enet(pub(crate) Setting);

/// A host and the books of its connections.
pub(crate) struct Hosted {
    host: Host<UdpSocket>,
    /// The host's socket once more, to wait for it.
    socket: UdpSocket,
    connected: VecDeque<PeerID>,
    /// By the peer's number.
    books: Vec<Books>,
}

type Shared = Rc<RefCell<Hosted>>;

#[derive(Default)]
struct Books {
    untaken: (u64, u64),
    unsaid: (u64, u64),
    received: VecDeque<Packet>,
}

/// One end of a connection.
pub(crate) struct EnetConn {
    hosted: Shared,
    peer: PeerID,
}

impl Hosted {
    fn new(at: SocketAddr, peers: usize) -> Result<Shared> {
        let socket = UdpSocket::bind(at)?;
        SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_LEN)?;
        let settings = HostSettings { peer_limit: peers, channel_limit: 2, ..HostSettings::default() };
        let host = Host::new(socket.try_clone()?, settings).map_err(|error| anyhow!("ENet: {error:?}"))?;
        let books = (0..peers).map(|_| Books::default()).collect();
        Ok(Rc::new(RefCell::new(Self { host, socket, connected: VecDeque::new(), books })))
    }

    /// One event; waits up to a millisecond where there is none.
    fn step(&mut self) -> Result<()> {
        let event = self.host.service()?.map(|event| event.no_ref());
        match event {
            None => {
                let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(1_u8))?;
            }
            Some(EventNoRef::Connect { peer, .. }) => {
                self.host.peer_mut(peer).set_timeout(TIMEOUT.0, TIMEOUT.1, TIMEOUT.2);
                self.connected.push_back(peer);
            }
            Some(EventNoRef::Disconnect { .. }) => bail!("ENet ended the connection"),
            Some(EventNoRef::Receive { peer, channel_id: TAKEN, packet }) => {
                let books = self.books.get_mut(peer.0).context("of no connection")?;
                let (messages, bytes) = packet.data().split_first_chunk().context("too short")?;
                books.untaken.0 -= u64::from_le_bytes(*messages);
                books.untaken.1 -= u64::from_le_bytes(bytes.try_into()?);
            }
            Some(EventNoRef::Receive { peer, packet, .. }) => {
                let books = self.books.get_mut(peer.0).context("of no connection")?;
                books.unsaid.0 += 1;
                books.unsaid.1 += packet.data().len() as u64;
                books.received.push_back(packet);
                if books.unsaid.0 >= SAID_MESSAGES || books.unsaid.1 >= SAID_BYTES {
                    let (messages, bytes) = std::mem::take(&mut books.unsaid);
                    let said = [messages.to_le_bytes(), bytes.to_le_bytes()].concat();
                    self.host.peer_mut(peer).send(TAKEN, &Packet::reliable(said.as_slice()))?;
                }
            }
        }
        Ok(())
    }

    fn connection(hosted: &Shared) -> Result<EnetConn> {
        let end = Instant::now() + DIAL_MAX;
        while Instant::now() < end {
            let mut host = hosted.borrow_mut();
            if let Some(peer) = host.connected.pop_front() {
                return Ok(EnetConn { hosted: Rc::clone(hosted), peer });
            }
            host.step()?;
        }
        bail!("ENet does not connect")
    }
}

impl Transport for Enet {
    type Conn = EnetConn;
    type Listener = Shared;
    type Dialer = Shared;

    async fn bind(&self, at: SocketAddr) -> Result<(Shared, SocketAddr)> {
        let hosted = Hosted::new(at, self.0.connections)?;
        let at = hosted.borrow().socket.local_addr()?;
        Ok((hosted, at))
    }

    async fn accept(&self, hosted: &mut Shared) -> Result<EnetConn> {
        Hosted::connection(hosted)
    }

    async fn dialer(&self, at: SocketAddr) -> Result<Shared> {
        Hosted::new(at, self.0.connections)
    }

    async fn dial(&self, hosted: &mut Shared, to: SocketAddr) -> Result<EnetConn> {
        hosted.borrow_mut().host.connect(to, 2, 0).map_err(|error| anyhow!("ENet: {error:?}"))?;
        Hosted::connection(hosted)
    }
}

impl EnetConn {
    fn is_full(&self) -> bool {
        let hosted = self.hosted.borrow();
        let untaken = hosted.books[self.peer.0].untaken;
        untaken.0 >= UNTAKEN_MESSAGES_MAX || untaken.1 >= UNTAKEN_BYTES_MAX
    }
}

impl Conn for EnetConn {
    async fn send(&mut self, message: &[u8]) -> Result<()> {
        while self.is_full() {
            self.hosted.borrow_mut().step()?;
        }
        let mut hosted = self.hosted.borrow_mut();
        let books = &mut hosted.books[self.peer.0];
        books.untaken.0 += 1;
        books.untaken.1 += message.len() as u64;
        hosted.host.peer_mut(self.peer).send(MESSAGES, &Packet::reliable(message))?;
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.hosted.borrow_mut().host.flush();
        Ok(())
    }

    async fn receive(&mut self, message: &mut Vec<u8>) -> Result<()> {
        let mut hosted = self.hosted.borrow_mut();
        loop {
            if let Some(packet) = hosted.books[self.peer.0].received.pop_front() {
                message.clear();
                message.extend_from_slice(packet.data());
                return Ok(());
            }
            hosted.step()?;
        }
    }

    async fn idle_until(&mut self, at: Instant) -> Result<()> {
        while Instant::now() < at {
            self.hosted.borrow_mut().step()?;
        }
        Ok(())
    }
}
