//! One run of one workload over one transport, in this process: two threads, each with a runtime of its own. What comes
//! out is a few numbers by name, printed for the process that asked.

mod client;
mod server;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use tokio::runtime::Builder;

use crate::{
    link,
    plan::{Impairment, Peer, Work, Workload},
    transport::{
        Setting, Transport,
        enet::Enet,
        kcp::Kcp,
        ours::Ours,
        quic::{Congestion, Quic, Streams},
        raw::Raw,
        tcp::Tcp,
    },
};

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) peer: Peer,
    pub(crate) repetition: usize,
    pub(crate) quick: bool,
}

/// What one side has seen.
#[derive(Debug, Default)]
struct Side {
    /// Seconds of CPU.
    cpu: f64,
    /// Seconds from the first message to the last.
    wall: f64,
    /// Messages, or connections.
    count: usize,
    bytes: usize,
    /// Seconds each.
    latencies: Vec<f64>,
    /// Bytes of memory that this process has taken meanwhile.
    memory: f64,
}

/// What both sides of a run share beside the transport.
#[derive(Clone)]
struct Shared {
    work: Work,
    /// What timestamps in messages count from.
    epoch: Instant,
    /// The transport does not promise that all arrives.
    may_lose: bool,
    /// The client has sent all.
    sent: Arc<AtomicBool>,
    /// The client has seen all that it wanted.
    over: Arc<AtomicBool>,
}

/// Runs it, and says what was measured.
pub(crate) fn run(case: Case) -> Result<Vec<(&'static str, f64)>> {
    if case.workload.is_pinned() {
        pin()?;
    }
    let work = case.workload.work(case.peer, case.quick);
    let connections = if let Work::Dials { count } = work { count + 1 } else { 1 };
    let impairment = case.workload.impairment();
    let setting = Setting { on_link: impairment.is_none_or(|impairment| impairment.on_link), connections };
    let (client, server) = match case.peer {
        Peer::Ours => both(Ours::new(setting), case, work),
        Peer::Raw => both(Raw, case, work),
        Peer::Quinn => both(Quic::new(Streams::PerMessage, Congestion::Cubic, setting)?, case, work),
        Peer::QuinnStream => both(Quic::new(Streams::One, Congestion::Cubic, setting)?, case, work),
        Peer::QuinnBbr => both(Quic::new(Streams::One, Congestion::Bbr, setting)?, case, work),
        Peer::Kcp => both(Kcp, case, work),
        Peer::Enet => both(Enet(setting), case, work),
        Peer::Tcp => both(Tcp(setting), case, work),
    }?;
    Ok(figures(work, client, server))
}

/// To the last core that we may use: the first has more to do for others.
fn pin() -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let core = (0..CpuSet::count()).rfind(|core| allowed.is_set(*core).unwrap_or(false)).context("no core is ours")?;
    let mut one = CpuSet::new();
    one.set(core)?;
    sched_setaffinity(this, &one)?;
    Ok(())
}

/// Both threads, and the link between them.
fn both<T: Transport>(transport: T, case: Case, work: Work) -> Result<(Side, Side)> {
    let impairment = case.workload.impairment();
    let shared =
        Shared { work, epoch: Instant::now(), may_lose: case.peer == Peer::Raw, sent: Arc::default(), over: Arc::default() };
    let (address_sender, address) = mpsc::channel();
    let (link_sender, link_server) = mpsc::channel();
    let server = {
        let (transport, shared) = (transport.clone(), shared.clone());
        thread::Builder::new().name("server".to_owned()).spawn(move || -> Result<Side> {
            let at = enter(link::SERVER, impairment, &link_sender)?;
            Builder::new_current_thread().enable_all().build()?.block_on(async move {
                let (listener, at) = transport.bind(at).await?;
                address_sender.send(at)?;
                server::run(&transport, listener, &shared).await
            })
        })?
    };
    let (link_sender, link_client) = mpsc::channel();
    let (ready_sender, ready) = mpsc::channel();
    let client = {
        let shared = shared.clone();
        thread::Builder::new().name("client".to_owned()).spawn(move || -> Result<Side> {
            let at = enter(link::CLIENT, impairment, &link_sender)?;
            let to = ready.recv()?;
            Builder::new_current_thread().enable_all().build()?.block_on(client::run(&transport, at, to, &shared))
        })?
    };
    if let Some(impairment) = impairment {
        let rng_seed = 1_000 + case.repetition as u64;
        let (client, server) = (link_client.recv(), link_server.recv());
        if let (Ok(client), Ok(server)) = (client, server) {
            link::connect(client, server, impairment, rng_seed);
        }
    }
    // A server that failed says why below.
    if let Ok(at) = address.recv() {
        ready_sender.send(at)?;
    }
    drop(ready_sender);
    let client = client.join().map_err(|_| anyhow!("the client panicked"))?;
    shared.over.store(true, Ordering::Relaxed);
    if client.is_err() && !server.is_finished() {
        // It has nobody to speak with.
        return Err(client.err().context("cannot fail")?);
    }
    let server = server.join().map_err(|_| anyhow!("the server panicked"))?.context("server")?;
    Ok((client.context("client")?, server))
}

fn enter(address: Ipv4Addr, impairment: Option<Impairment>, devices: &mpsc::Sender<tun::Device>) -> Result<SocketAddr> {
    let mut ip = Ipv4Addr::LOCALHOST;
    if impairment.is_some() {
        devices.send(link::enter(address)?)?;
        ip = address;
    }
    Ok(SocketAddr::new(IpAddr::V4(ip), 0))
}

fn figures(work: Work, client: Side, server: Side) -> Vec<(&'static str, f64)> {
    let cpu = client.cpu + server.cpu;
    let latencies = |mut all: Vec<f64>| {
        all.sort_unstable_by(f64::total_cmp);
        [("p50", quantile(&all, 0.5)), ("p99", quantile(&all, 0.99)), ("p999", quantile(&all, 0.999))]
    };
    match work {
        Work::PingPong { .. } => latencies(client.latencies).to_vec(),
        Work::Paced { .. } => latencies(server.latencies).to_vec(),
        Work::Flood { .. } => {
            let (count, bytes) = (server.count.max(1) as f64, server.bytes as f64);
            vec![
                ("cpu_per_message", cpu / count),
                ("cpu_per_byte", cpu / bytes.max(1.0)),
                ("bytes_per_second", bytes / server.wall),
                ("arrived", count / client.count.max(1) as f64),
            ]
        }
        Work::Dials { count } => {
            // Two sides are in this process.
            vec![("cpu", cpu / count as f64), ("memory", client.memory / count as f64 / 2.0)]
        }
    }
}

/// Of sorted values.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Seconds of CPU that this thread has used.
fn cpu() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(f64::NAN, |time| Duration::from(time).as_secs_f64())
}

/// Bytes of memory that this process holds.
fn memory() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? * 1_024.0)
}

/// What a message says: whether it is the last, and when it was sent.
fn stamp(message: &mut [u8], is_last: bool, sent: Duration) {
    message[0] = u8::from(is_last);
    message[8..16].copy_from_slice(&u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
}

/// See [`stamp`].
fn is_last(message: &[u8]) -> bool {
    message.first() == Some(&1)
}

/// See [`stamp`].
fn sent(message: &[u8]) -> Result<Duration> {
    let nanos = message.get(8..16).context("a message without a time")?;
    Ok(Duration::from_nanos(u64::from_le_bytes(nanos.try_into()?)))
}
