//! KCP by tokio_kcp in its fastest mode: a tick of 10 ms, resent after two acks of later ones, no congestion control.
//! Nothing is sealed.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio_kcp::{KcpConfig, KcpListener, KcpNoDelayConfig, KcpStream};

use super::{Conn, MESSAGE_LEN_MAX, Transport, raw};

/// Bytes of a datagram.
const MTU: usize = 1_400;
/// Segments in flight.
const WINDOW: u16 = 1_024;
/// Longer than any workload lasts.
const EXPIRE: Duration = Duration::from_secs(600);
/// Says hello, once for each connection: KCP has no handshake.
const HELLO: &[u8] = b"hello";

/// The transport.
#[derive(Clone)]
pub(crate) struct Kcp;

/// One end of a connection.
pub(crate) struct KcpConn(KcpStream);

fn config() -> KcpConfig {
    KcpConfig {
        mtu: MTU,
        nodelay: KcpNoDelayConfig::fastest(),
        wnd_size: (WINDOW, WINDOW),
        session_expire: EXPIRE,
        flush_write: true,
        flush_acks_input: true,
        stream: false,
        ..KcpConfig::default()
    }
}

impl Transport for Kcp {
    type Conn = KcpConn;
    type Listener = KcpListener;
    type Dialer = SocketAddr;

    async fn bind(&self, at: SocketAddr) -> Result<(KcpListener, SocketAddr)> {
        let socket = raw::bind(at).await?;
        let at = socket.local_addr()?;
        Ok((KcpListener::from_socket(config(), socket).await?, at))
    }

    async fn accept(&self, listener: &mut KcpListener) -> Result<KcpConn> {
        let mut conn = KcpConn(listener.accept().await?.0);
        conn.receive(&mut Vec::new()).await?;
        conn.send(HELLO).await?;
        conn.flush().await?;
        Ok(conn)
    }

    async fn dialer(&self, at: SocketAddr) -> Result<SocketAddr> {
        Ok(at)
    }

    async fn dial(&self, dialer: &mut SocketAddr, to: SocketAddr) -> Result<KcpConn> {
        let socket = raw::bind(*dialer).await?;
        socket.connect(to).await?;
        let mut conn = KcpConn(KcpStream::connect_with_socket(&config(), socket, to).await?);
        conn.send(HELLO).await?;
        conn.flush().await?;
        conn.receive(&mut Vec::new()).await?;
        Ok(conn)
    }
}

impl Conn for KcpConn {
    async fn send(&mut self, message: &[u8]) -> Result<()> {
        let len = self.0.send(message).await?;
        ensure!(len == message.len(), "KCP took {len} bytes of {}", message.len());
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.0.flush().await?;
        Ok(())
    }

    async fn receive(&mut self, message: &mut Vec<u8>) -> Result<()> {
        message.resize(MESSAGE_LEN_MAX, 0);
        let len = self.0.recv(message).await?;
        ensure!(len > 0, "KCP ended the connection");
        message.truncate(len);
        Ok(())
    }
}
