//! QUIC by quinn: a stream for each message, so that none waits for another's loss; or one stream for all.

use std::{
    future::Future,
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::stream::{FuturesUnordered, StreamExt};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig, TokioRuntime, TransportConfig,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, BufReader};

use super::{Conn, MESSAGE_LEN_MAX, SOCKET_BUFFER_LEN, Setting, Transport};

/// Streams that may be open at once, where there is one connection. Else as quinn has it.
const STREAMS_MAX: u32 = 4_096;
/// Longer than any workload is silent.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// Bytes read at once from a stream, and where there are many connections.
const READ_LEN: usize = 65_536;
const READ_LEN_CROWDED: usize = 1_024;
/// The name in the certificate.
const NAME: &str = "localhost";

/// What messages are put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// One each.
    PerMessage,
    /// One for all.
    One,
}

/// The congestion control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Congestion {
    /// quinn's default.
    Cubic,
    /// What quinn has of it.
    Bbr,
}

/// The transport.
#[derive(Clone)]
pub(crate) struct Quic {
    streams: Streams,
    congestion: Congestion,
    setting: Setting,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Quic {
    /// With a certificate of its own.
    pub(crate) fn new(streams: Streams, congestion: Congestion, setting: Setting) -> Result<Self> {
        // The first caller decides for the process; all callers want the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
        let (certificate, key) = (made.cert.der().clone(), made.key_pair.serialize_der());
        Ok(Self { streams, congestion, setting, certificate, key })
    }

    fn config(&self) -> Result<Arc<TransportConfig>> {
        let mut config = TransportConfig::default();
        if !self.setting.is_crowded() {
            config.max_concurrent_uni_streams(STREAMS_MAX.into());
        }
        config.max_idle_timeout(Some(IDLE_MAX.try_into()?));
        if self.congestion == Congestion::Bbr {
            config.congestion_controller_factory(Arc::new(quinn::congestion::BbrConfig::default()));
        }
        Ok(Arc::new(config))
    }

    fn conn(&self, connection: Connection, one: Option<(SendStream, RecvStream)>) -> QuicConn {
        let len = if self.setting.is_crowded() { READ_LEN_CROWDED } else { READ_LEN };
        let one = one.map(|(out, back)| (out, BufReader::with_capacity(len, back)));
        QuicConn { connection, one, reads: FuturesUnordered::new(), framed: Vec::new() }
    }
}

impl Transport for Quic {
    type Conn = QuicConn;
    type Listener = Endpoint;
    type Dialer = Endpoint;

    async fn bind(&self, at: SocketAddr) -> Result<(Endpoint, SocketAddr)> {
        let key = PrivatePkcs8KeyDer::from(self.key.clone());
        let mut config = ServerConfig::with_single_cert(vec![self.certificate.clone()], key.into())?;
        config.transport_config(self.config()?);
        let endpoint = endpoint(at, Some(config))?;
        let at = endpoint.local_addr()?;
        Ok((endpoint, at))
    }

    async fn accept(&self, endpoint: &mut Endpoint) -> Result<QuicConn> {
        let connection = endpoint.accept().await.context("the endpoint is closed")?.await?;
        let one = match self.streams {
            Streams::PerMessage => None,
            Streams::One => {
                let (out, mut back) = connection.accept_bi().await?;
                back.read_u8().await?;
                Some((out, back))
            }
        };
        Ok(self.conn(connection, one))
    }

    async fn dialer(&self, at: SocketAddr) -> Result<Endpoint> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let mut config = ClientConfig::with_root_certificates(Arc::new(roots))?;
        config.transport_config(self.config()?);
        let mut endpoint = endpoint(at, None)?;
        endpoint.set_default_client_config(config);
        Ok(endpoint)
    }

    async fn dial(&self, endpoint: &mut Endpoint, to: SocketAddr) -> Result<QuicConn> {
        let connection = endpoint.connect(to, NAME)?.await?;
        let one = match self.streams {
            Streams::PerMessage => None,
            Streams::One => {
                let (mut out, back) = connection.open_bi().await?;
                // The other side hears of a stream with its first byte.
                out.write_all(&[0]).await?;
                Some((out, back))
            }
        };
        Ok(self.conn(connection, one))
    }
}

/// With the socket buffer that all have here.
fn endpoint(at: SocketAddr, server: Option<ServerConfig>) -> Result<Endpoint> {
    let socket = UdpSocket::bind(at)?;
    SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_LEN)?;
    SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER_LEN)?;
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?)
}

type Read = Pin<Box<dyn Future<Output = Result<Vec<u8>>>>>;

/// One end of a connection.
pub(crate) struct QuicConn {
    connection: Connection,
    one: Option<(SendStream, BufReader<RecvStream>)>,
    reads: FuturesUnordered<Read>,
    framed: Vec<u8>,
}

impl Conn for QuicConn {
    async fn send(&mut self, message: &[u8]) -> Result<()> {
        match &mut self.one {
            None => {
                let mut stream = self.connection.open_uni().await?;
                stream.write_all(message).await?;
                stream.finish()?;
            }
            Some((stream, _)) => {
                self.framed.clear();
                self.framed.extend_from_slice(&u32::try_from(message.len())?.to_le_bytes());
                self.framed.extend_from_slice(message);
                stream.write_all(&self.framed).await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self, message: &mut Vec<u8>) -> Result<()> {
        let Self { connection, one, reads, .. } = self;
        if let Some((_, stream)) = one {
            let len = usize::try_from(stream.read_u32_le().await?)?;
            message.resize(len, 0);
            stream.read_exact(message).await?;
            return Ok(());
        }
        loop {
            tokio::select! {
                biased;
                Some(read) = reads.next(), if !reads.is_empty() => {
                    *message = read?;
                    return Ok(());
                }
                stream = connection.accept_uni() => {
                    let mut stream = stream?;
                    reads.push(Box::pin(async move { Ok(stream.read_to_end(MESSAGE_LEN_MAX).await?) }));
                }
            }
        }
    }
}
