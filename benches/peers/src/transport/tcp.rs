//! TCP as the kernel has it, without Nagle's algorithm, with BBR where the kernel has that. Nothing is sealed.

use std::net::SocketAddr;

use anyhow::Result;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::{Conn, Setting, Transport};

/// Bytes read at once, and where there are many connections.
const READ_LEN: usize = 65_536;
const READ_LEN_CROWDED: usize = 1_024;

/// The transport.
#[derive(Clone)]
pub(crate) struct Tcp(pub(crate) Setting);

/// One end of a connection.
pub(crate) struct TcpConn {
    stream: BufReader<TcpStream>,
    framed: Vec<u8>,
}

impl Tcp {
    fn conn(&self, stream: TcpStream) -> Result<TcpConn> {
        stream.set_nodelay(true)?;
        // A kernel without it keeps its own; the report says what there is.
        let _ = SockRef::from(&stream).set_tcp_congestion(b"bbr");
        let len = if self.0.is_crowded() { READ_LEN_CROWDED } else { READ_LEN };
        Ok(TcpConn { stream: BufReader::with_capacity(len, stream), framed: Vec::new() })
    }
}

impl Transport for Tcp {
    type Conn = TcpConn;
    type Listener = TcpListener;
    type Dialer = ();

    async fn bind(&self, at: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(at).await?;
        let at = listener.local_addr()?;
        Ok((listener, at))
    }

    async fn accept(&self, listener: &mut TcpListener) -> Result<TcpConn> {
        self.conn(listener.accept().await?.0)
    }

    async fn dialer(&self, _at: SocketAddr) -> Result<()> {
        Ok(())
    }

    async fn dial(&self, _dialer: &mut (), to: SocketAddr) -> Result<TcpConn> {
        self.conn(TcpStream::connect(to).await?)
    }
}

impl Conn for TcpConn {
    async fn send(&mut self, message: &[u8]) -> Result<()> {
        self.framed.clear();
        self.framed.extend_from_slice(&u32::try_from(message.len())?.to_le_bytes());
        self.framed.extend_from_slice(message);
        self.stream.get_mut().write_all(&self.framed).await?;
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self, message: &mut Vec<u8>) -> Result<()> {
        let len = usize::try_from(self.stream.read_u32_le().await?)?;
        message.resize(len, 0);
        self.stream.read_exact(message).await?;
        Ok(())
    }
}
