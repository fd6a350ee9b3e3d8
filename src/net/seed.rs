//! A seed on real sockets: a thread for every core, each with a state machine and sockets of its own on the
//! same port, so that no datagram waits for another core. What is answered lives in `seed`, one thread's
//! loop in `lane`, and the connection to what it shares with other seeds in `depot`.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{Notify, watch},
};

use self::{depot::Depot, faces::Faces, lane::Lane};
use super::{
    clock,
    counters::{Counters, Counts},
    interfaces,
    socket::{BindError, Listen, Sockets},
};
use crate::seed::{Seed, SeedConfig, Shared, counters::Counters as Asked, memory::Memory};

pub mod depot;
mod faces;
mod lane;

/// Threads at most, however many cores there are.
pub const THREADS_MAX: usize = 64;
/// Addresses of fellow seeds at most; what is beyond is left out.
pub const FELLOWS_MAX: usize = 32;

/// What a seed is told once.
pub struct ServerConfig {
    /// Where to listen.
    pub listen: Listen,
    /// What its operator calls it.
    pub name: String,
    /// Records at most.
    pub records_max: usize,
    /// What it keeps over a restart: its tokens are made with it.
    pub token_secret: [u8; 32],
    /// Bytes that it relays in a second, of all pairs together; `None`: it relays for nobody.
    pub relay: Option<u32>,
    /// Threads, at least 1 and at most [`THREADS_MAX`]; one where the system cannot share a port.
    pub threads: usize,
    /// What it shares with other seeds, in a cluster.
    pub depot: Option<Box<dyn Depot>>,
}

/// A seed could not be started; nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or there is no network stack (exit 9).
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gave no thread (exit 1).
    #[error("no thread: {0}")]
    Thread(#[from] io::Error),
    /// The system gave no randomness (exit 1).
    #[error("the system has no randomness: {0}")]
    Random(#[from] getrandom::Error),
}

/// A seed that runs, until it is closed or dropped.
pub struct Server {
    shared: Arc<Shared>,
    counters: Counters,
    port: u16,
    addrs: Vec<SocketAddr>,
    own: BTreeSet<IpAddr>,
    /// The threads run for as long as it is there.
    fellows: watch::Sender<Vec<SocketAddr>>,
    threads: Vec<JoinHandle<()>>,
    /// Of the depot; it ends after all of them.
    keeper: Option<depot::Running>,
    fallen: Arc<Notify>,
}

impl Server {
    /// Binds all sockets and starts all threads: after this it is *ready*.
    pub fn start(mut config: ServerConfig) -> Result<Self, StartError> {
        let counters = Counters::default();
        let mut bound = bind(&config, &counters)?;
        let interfaces =
            interfaces::read().inspect_err(|error| tracing::warn!("cannot list interfaces: {error}")).unwrap_or_default();
        let own = interfaces.iter().flat_map(|interface| &interface.addrs).map(|(ip, _)| *ip).collect();
        let (mut port, mut addrs) = (0, Vec::new());
        if let Some((_, sockets)) = bound.first_mut() {
            sockets.set_interfaces(&interfaces);
            (port, addrs) = (sockets.port(), sockets.local_addrs());
        }
        let faces = Arc::new(Faces::new(config.records_max));
        let tag = random()?;
        let fallen = Arc::new(Notify::new());
        let (lines, keeper) = match config.depot.take() {
            Some(depot) => {
                let (lines, keeper) = depot::start(depot, tag, bound.len(), Fall(fallen.clone()))?;
                (lines, Some(keeper))
            }
            None => Default::default(),
        };
        let shared = share(config, bound.len())?;
        let (fellows, told) = watch::channel(Vec::new());
        let mut threads = Vec::with_capacity(bound.len());
        let mut lines = lines.into_iter();
        for (runtime, sockets) in bound {
            let mut seed = Seed::new(shared.clone(), random()?, clock::now());
            let line = lines.next().inspect(|_| seed.join(tag));
            let lane = Lane::new(seed, sockets, faces.clone(), told.clone(), line);
            let fall = Fall(fallen.clone());
            let run = move || {
                let _fall = fall;
                runtime.block_on(lane.run());
            };
            threads.push(std::thread::Builder::new().name("seed".to_owned()).spawn(run)?);
        }
        Ok(Self { shared, counters, port, addrs, own, fellows, threads, keeper, fallen })
    }

    /// The port of the sockets.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where others on our networks reach us: loopback left out.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Threads that answer.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// What went in and out of the sockets since the start, and what was asked and answered.
    pub fn counters(&self) -> (Counts, Asked) {
        (self.counters.read(), self.shared.counters())
    }

    /// From now on these are the other seeds. We ourselves are none of them: one list serves all seeds of
    /// an operator.
    pub fn set_fellows(&self, fellows: impl IntoIterator<Item = SocketAddr>) {
        let others = fellows.into_iter().filter(|addr| addr.port() != self.port || !self.own.contains(&addr.ip()));
        let mut fellows: Vec<_> = others.collect();
        if fellows.len() > FELLOWS_MAX {
            tracing::warn!("of {} fellow seeds {FELLOWS_MAX} are used", fellows.len());
            fellows.truncate(FELLOWS_MAX);
        }
        self.fellows.send_if_modified(|known| {
            let changed = *known != fellows;
            *known = fellows;
            changed
        });
    }

    /// Returns once a thread has ended by itself: a mistake in the program.
    pub async fn fallen(&self) {
        self.fallen.notified().await;
    }

    /// Ends it. Gives the last counters.
    pub async fn close(self) -> (Counts, Asked) {
        let Self { shared, counters, fellows, threads, keeper, .. } = self;
        drop(fellows);
        let end = || {
            threads.into_iter().for_each(|thread| drop(thread.join()));
            let _ = keeper.map(depot::Running::wait);
        };
        let _ = tokio::task::spawn_blocking(end).await;
        (counters.read(), shared.counters())
    }
}

/// Says so when its thread ends, however it does.
struct Fall(Arc<Notify>);

impl Drop for Fall {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// The sockets of each thread, in the runtime that waits for them; at least one.
fn bind(config: &ServerConfig, counters: &Counters) -> Result<Vec<(Runtime, Sockets)>, StartError> {
    let mut bound: Vec<(Runtime, Sockets)> = Vec::new();
    for _ in 0..config.threads.clamp(1, THREADS_MAX) {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let sockets = {
            let _guard = runtime.enter();
            match bound.first() {
                None => Sockets::bind_shared(config.listen, counters.clone())?,
                Some((_, first)) => match first.another() {
                    Ok(sockets) => sockets,
                    Err(error) => {
                        tracing::warn!("{} of {} cores are used: {error}", bound.len(), config.threads);
                        break;
                    }
                },
            }
        };
        bound.push((runtime, sockets));
    }
    Ok(bound)
}

fn share(config: ServerConfig, threads: usize) -> Result<Arc<Shared>, StartError> {
    let now = clock::now();
    let directory = Memory::new(config.records_max, random()?, now);
    let seed = SeedConfig {
        name: config.name,
        records_max: config.records_max,
        fellows: Vec::new(),
        cores: u32::try_from(threads).unwrap_or(u32::MAX),
        // Nobody but who is on this machine can send from there: people beside their own seed.
        loopback: true,
        relay: config.relay,
    };
    Ok(Shared::new(seed, &config.token_secret, &random()?, random()?, now, Box::new(directory)))
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
