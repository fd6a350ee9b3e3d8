//! UDP as it is: a datagram for each message, nothing acked, nothing sealed. The floor under all others.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use socket2::SockRef;
use tokio::net::UdpSocket;

use super::{Conn, MESSAGE_LEN_MAX, SOCKET_BUFFER_LEN, Transport};

/// Says hello, once for each connection.
const HELLO: &[u8] = b"hello";

/// The transport.
#[derive(Clone)]
pub(crate) struct Raw;

/// A connected socket.
pub(crate) struct RawConn(Arc<UdpSocket>);

impl Transport for Raw {
    type Conn = RawConn;
    type Listener = Arc<UdpSocket>;
    type Dialer = SocketAddr;

    async fn bind(&self, at: SocketAddr) -> Result<(Self::Listener, SocketAddr)> {
        let socket = bind(at).await?;
        let at = socket.local_addr()?;
        Ok((Arc::new(socket), at))
    }

    async fn accept(&self, listener: &mut Self::Listener) -> Result<RawConn> {
        let (_, from) = listener.recv_from(&mut [0; HELLO.len()]).await?;
        listener.connect(from).await?;
        listener.send(HELLO).await?;
        Ok(RawConn(Arc::clone(listener)))
    }

    async fn dialer(&self, at: SocketAddr) -> Result<SocketAddr> {
        Ok(at)
    }

    async fn dial(&self, dialer: &mut SocketAddr, to: SocketAddr) -> Result<RawConn> {
        let socket = bind(*dialer).await?;
        socket.connect(to).await?;
        socket.send(HELLO).await?;
        socket.recv(&mut [0; HELLO.len()]).await?;
        Ok(RawConn(Arc::new(socket)))
    }
}

impl Conn for RawConn {
    async fn send(&mut self, message: &[u8]) -> Result<()> {
        self.0.send(message).await?;
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self, message: &mut Vec<u8>) -> Result<()> {
        message.resize(MESSAGE_LEN_MAX, 0);
        let len = self.0.recv(message).await?;
        message.truncate(len);
        Ok(())
    }
}

/// A socket with room for what comes while nobody looks.
pub(super) async fn bind(at: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(at).await?;
    SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_LEN)?;
    Ok(socket)
}
