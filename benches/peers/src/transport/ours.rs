//! The program's own sessions on the program's own sockets, in turns as `net::driver` has them: all that waits goes in,
//! all that is due comes out, then the socket or a deadline is waited for. What a node does besides, the disk above all,
//! is not here.

mod links;

use std::{
    cell::RefCell,
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use p2pchat_udp::{
    crypto::identity::Identity,
    id::PeerId,
    net::{
        alarm::Alarm,
        clock,
        counters::Counters,
        socket::{Listen, SocketConfig, Sockets},
    },
    node::Target,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use self::links::Links;
use super::{Conn, Setting, Transport};

/// Messages taken in one turn: the commands that the driver takes.
const MESSAGES_PER_TURN_MAX: usize = 256;
/// Deadlines in the past are handled at once this often in one turn.
const OVERDUE_PER_TURN_MAX: usize = 4;
/// Bytes of messages given and not acked, at which a sender waits: what the program lets one conversation have.
const QUEUED_LEN_MAX: usize = 4 << 20;
/// As many messages, about what the others have in flight.
const QUEUED_MAX: usize = 4_096;
/// Nothing waits longer.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The transport.
#[derive(Clone)]
pub(crate) struct Ours {
    setting: Setting,
    /// Who listens. Nobody's real key.
    server: [u8; 32],
}

impl Ours {
    /// With a key of the listener's own.
    pub(crate) fn new(setting: Setting) -> Self {
        Self { setting, server: *Identity::generate(&mut ChaCha20Rng::seed_from_u64(1)).secret() }
    }

    fn endpoint(&self, identity: Identity, rng_seed: u64) -> Result<Shared> {
        let config = SocketConfig { listen: Some(Listen::every(0)), no_lan: true, ..SocketConfig::default() };
        let sockets = Sockets::bind(&config, Counters::default())?;
        let links = Links::new(identity, self.setting.on_link, ChaCha20Rng::seed_from_u64(rng_seed));
        Ok(Rc::new(RefCell::new(Endpoint {
            sockets,
            links,
            datagram: Vec::new(),
            now: clock::instant(),
            alarm: Some(Alarm::new()),
            given: 0,
        })))
    }

    fn server(&self) -> Result<Identity> {
        Identity::from_secret(&self.server).context("the listener's key is none")
    }
}

/// All sessions of one side, and their sockets.
pub(crate) struct Endpoint {
    sockets: Sockets,
    links: Links,
    datagram: Vec<u8>,
    /// The instant of this turn.
    now: p2pchat_udp::clock::Instant,
    /// Apart, since it is waited for.
    alarm: Option<Alarm>,
    /// Messages taken since the last turn.
    given: usize,
}

type Shared = Rc<RefCell<Endpoint>>;

impl Endpoint {
    /// All that waits goes in.
    fn input(&mut self) {
        let now = clock::now().instant;
        self.now = now;
        let links = &mut self.links;
        self.sockets.receive(|datagram| links.on_datagram(now, datagram.from, datagram.bytes));
    }

    /// All that is due comes out.
    fn output(&mut self) {
        let now = self.now;
        self.given = 0;
        for _ in 0..OVERDUE_PER_TURN_MAX {
            self.links.on_timeout(now);
            while let Some(to) = self.links.poll_transmit(now, &mut self.datagram) {
                self.sockets.send(Target::Unicast(to), &self.datagram);
            }
            self.sockets.flush();
            if self.links.deadline().is_none_or(|at| at > now) {
                break;
            }
        }
    }

    fn turn(&mut self) {
        self.input();
        self.output();
    }
}

/// Until a datagram may wait, or something is due, or `pause` is over.
async fn wait(endpoint: &Shared, pause: Duration) {
    let deadline = endpoint.borrow().links.deadline();
    let pause = deadline.map_or(pause, |at| at.since(clock::instant()).min(pause));
    let mut alarm = endpoint.borrow_mut().alarm.take().unwrap_or_default();
    tokio::select! {
        biased;
        () = poll_fn(|cx| endpoint.borrow().sockets.poll_readable(cx)) => {}
        () = alarm.rings(pause) => {}
    }
    endpoint.borrow_mut().alarm = Some(alarm);
}

/// Turns until there is something. Who finds it has its say in the same turn, as a node has, before anything leaves: its
/// answer takes the ack along.
async fn until<T>(endpoint: &Shared, mut find: impl FnMut(&mut Links) -> Result<Option<T>>) -> Result<T> {
    loop {
        if let Some(found) = find(&mut endpoint.borrow_mut().links)? {
            return Ok(found);
        }
        endpoint.borrow_mut().output();
        wait(endpoint, WAIT_MAX).await;
        endpoint.borrow_mut().input();
    }
}

/// One end of a session.
pub(crate) struct OursConn {
    endpoint: Shared,
    /// Of its session among the links.
    place: usize,
}

impl Transport for Ours {
    type Conn = OursConn;
    type Listener = Shared;
    type Dialer = (Shared, PeerId);

    async fn bind(&self, at: SocketAddr) -> Result<(Shared, SocketAddr)> {
        let endpoint = self.endpoint(self.server()?, 2)?;
        let port = endpoint.borrow().sockets.port();
        Ok((endpoint, SocketAddr::new(at.ip(), port)))
    }

    async fn accept(&self, endpoint: &mut Shared) -> Result<OursConn> {
        let place = until(endpoint, |links| Ok(links.accepted())).await?;
        Ok(OursConn { endpoint: Rc::clone(endpoint), place })
    }

    async fn dialer(&self, _at: SocketAddr) -> Result<Self::Dialer> {
        let identity = Identity::generate(&mut ChaCha20Rng::seed_from_u64(3));
        Ok((self.endpoint(identity, 4)?, self.server()?.id()))
    }

    async fn dial(&self, (endpoint, peer): &mut Self::Dialer, to: SocketAddr) -> Result<OursConn> {
        let index = endpoint.borrow_mut().links.dial(clock::instant(), *peer, to);
        endpoint.borrow_mut().turn();
        let place = until(endpoint, |links| links.ready(index)).await?;
        Ok(OursConn { endpoint: Rc::clone(endpoint), place })
    }
}

impl OursConn {
    fn is_full(&self) -> Result<bool> {
        let endpoint = self.endpoint.borrow();
        let link = endpoint.links.link(self.place)?;
        Ok(link.queued_len() >= QUEUED_LEN_MAX || link.queued() >= QUEUED_MAX)
    }
}

impl Conn for OursConn {
    async fn send(&mut self, message: &[u8]) -> Result<()> {
        while self.is_full()? {
            self.endpoint.borrow_mut().output();
            wait(&self.endpoint, WAIT_MAX).await;
            self.endpoint.borrow_mut().input();
        }
        let mut endpoint = self.endpoint.borrow_mut();
        endpoint.links.send(self.place, message)?;
        endpoint.given += 1;
        if endpoint.given >= MESSAGES_PER_TURN_MAX {
            endpoint.turn();
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.endpoint.borrow_mut().turn();
        Ok(())
    }

    async fn receive(&mut self, message: &mut Vec<u8>) -> Result<()> {
        *message = until(&self.endpoint, |links| links.received(self.place)).await?;
        Ok(())
    }

    async fn idle_until(&mut self, at: Instant) -> Result<()> {
        loop {
            self.endpoint.borrow_mut().output();
            let pause = at.saturating_duration_since(Instant::now());
            if pause.is_zero() {
                return Ok(());
            }
            wait(&self.endpoint, pause).await;
            self.endpoint.borrow_mut().input();
        }
    }
}
