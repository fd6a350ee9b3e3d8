//! What every transport can do here: carry whole messages between two threads. How each does it stands in its
//! own file.

pub(crate) mod enet;
pub(crate) mod kcp;
pub(crate) mod ours;
pub(crate) mod quic;
pub(crate) mod raw;
pub(crate) mod tcp;

use std::{future::Future, net::SocketAddr, time::Instant};

use anyhow::Result;

/// Longest message that a workload sends.
pub(crate) const MESSAGE_LEN_MAX: usize = 65_536;
/// Asked of the system for the receive buffer of everybody's UDP socket: what ours asks for.
pub(crate) const SOCKET_BUFFER_LEN: usize = p2pchat_udp::net::socket::SOCKET_BUFFER_LEN;

/// What a transport is told about its surroundings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// No router is between the two.
    pub(crate) on_link: bool,
    /// Connections of one side at most.
    pub(crate) connections: usize,
}

impl Setting {
    /// True where memory of many idle connections is looked at.
    pub(crate) fn is_crowded(&self) -> bool {
        self.connections > 1
    }
}

/// One end of a connection.
pub(crate) trait Conn {
    /// Takes a message; waits while too much is queued.
    async fn send(&mut self, message: &[u8]) -> Result<()>;
    /// What was taken may not wait for more.
    async fn flush(&mut self) -> Result<()>;
    /// The next message, instead of what `message` held.
    async fn receive(&mut self, message: &mut Vec<u8>) -> Result<()>;
    /// Waits; what the transport has to do meanwhile is done.
    async fn idle_until(&mut self, at: Instant) -> Result<()> {
        tokio::time::sleep_until(at.into()).await;
        Ok(())
    }
}

/// A way to carry messages. Both sides have the same value, each on a thread of its own.
pub(crate) trait Transport: Clone + Send + 'static {
    /// One end of a connection.
    type Conn: Conn;
    /// Where connections are accepted.
    type Listener;
    /// Where connections begin.
    type Dialer;

    /// Listens on any port of this address.
    fn bind(&self, at: SocketAddr) -> impl Future<Output = Result<(Self::Listener, SocketAddr)>>;
    /// The next connection.
    fn accept(&self, listener: &mut Self::Listener) -> impl Future<Output = Result<Self::Conn>>;
    /// Gets ready to dial from this address.
    fn dialer(&self, at: SocketAddr) -> impl Future<Output = Result<Self::Dialer>>;
    /// A new connection, over which messages may be sent.
    fn dial(&self, dialer: &mut Self::Dialer, to: SocketAddr) -> impl Future<Output = Result<Self::Conn>>;
}
