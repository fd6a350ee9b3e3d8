//! The phonebook across networks (protocol, SEEDS): what a seed does with a datagram, as a state machine that
//! is told the time and what came, and says what leaves. One per thread; what the threads share is
//! [`Shared`]. Sockets and threads are `net`'s affair.
//!
//! A seed is believed by nobody: clients check every signature. What it must be is cheap to ask, no help
//! to whoever aims at a third, and still there when many ask.

mod answers;
pub mod cluster;
pub mod counters;
pub mod directory;
mod fellows;
mod limits;
mod load;
pub mod memory;
mod relay;
mod shards;
mod watch;

use std::{
    collections::VecDeque,
    mem,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use self::{
    answers::Unchecked,
    cluster::Cluster,
    counters::Counters,
    directory::Directory,
    fellows::{ASK_INTERVAL, Fellows, Heard},
    limits::Limiter,
    load::Load,
    relay::Relays,
    shards::Shards,
    watch::Watches,
};
use crate::{
    clock::{Instant, Now},
    crypto::{cookie::Cookies, record::TokenKey},
    wire::{
        KIND_ANSWER, KIND_QUERY, KIND_RELAYED, NAME_LEN_MAX, WireError, kind,
        phonebook::{Answer, Header, Query, other_version},
    },
};

/// Datagrams that wait to be sent, at most; what is more is lost, as on a full wire.
const TRANSMITS_MAX: usize = 1_024;
/// How often one shard is swept, by all threads together: each after 26 s.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct SeedConfig {
    /// What the operator calls it; more than a name's bytes are cut off.
    pub name: String,
    /// Records at most.
    pub records_max: usize,
    /// Other seeds, to tell who does not find somebody here; [`Seed::handle_fellows`] replaces them.
    pub fellows: Vec<SocketAddr>,
    /// Threads: each has its part of what a source may ask.
    pub cores: u32,
    /// Clients on this machine may register, and are not counted: tests, and several people on one host.
    pub loopback: bool,
    /// Bytes that it relays in a second, of all pairs together; `None`: it relays for nobody.
    pub relay: Option<u32>,
}

/// What the threads of a seed share.
pub struct Shared {
    config: SeedConfig,
    directory: Box<dyn Directory>,
    watches: Watches,
    relays: Option<Relays>,
    fellows: Shards<Fellows>,
    token_secret: Zeroizing<[u8; 32]>,
    cookie_secret: Zeroizing<[u8; 32]>,
    hash_key: [u8; 16],
    start: Now,
    /// Threads that have a part.
    seeds: AtomicUsize,
    /// What each of them has done.
    counted: Shards<Vec<Counters>>,
}

impl Shared {
    /// Of a seed that starts at `now`. Only `token_secret` outlives it: with it, who was registered before a
    /// restart is so again without a signature check. The other two are random.
    pub fn new(
        mut config: SeedConfig,
        token_secret: &[u8; 32],
        cookie_secret: &[u8; 32],
        hash_key: [u8; 16],
        now: Now,
        directory: Box<dyn Directory>,
    ) -> Arc<Self> {
        while config.name.len() > NAME_LEN_MAX {
            config.name.pop();
        }
        let fellows = Shards::new(1);
        fellows.with(0, |fellows: &mut Fellows| fellows.replace(&config.fellows));
        Arc::new(Self {
            relays: config.relay.map(|rate_max| Relays::new(rate_max, hash_key)),
            config,
            directory,
            watches: Watches::new(hash_key),
            fellows,
            token_secret: Zeroizing::new(*token_secret),
            cookie_secret: Zeroizing::new(*cookie_secret),
            hash_key,
            start: now,
            seeds: AtomicUsize::new(0),
            counted: Shards::new(1),
        })
    }

    /// What all threads have done, as of their last ticks.
    pub fn counters(&self) -> Counters {
        let channels = self.relays.as_ref().map_or(0, |relays| relays.status().channels).into();
        let mut sum = Counters { records: self.directory.len() as u64, channels, ..Counters::default() };
        self.counted.with(0, |counted| counted.iter().for_each(|thread| sum.add(thread)));
        sum
    }
}

/// A thread's part of a seed. Getters, `handle_*`, `poll_*`.
pub struct Seed {
    shared: Arc<Shared>,
    /// The first one made asks the fellows.
    index: usize,
    cookies: Cookies,
    tokens: TokenKey,
    limiter: Limiter,
    load: Load,
    rng: ChaCha20Rng,
    /// Fellows to tell of, as of the last tick.
    fellows: Vec<SocketAddr>,
    next_tick: Instant,
    next_ask: Instant,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Buffers of datagrams that have left.
    spare: Vec<Vec<u8>>,
    unchecked: Unchecked,
    /// Where it is one of several that share a depot.
    cluster: Option<Cluster>,
    counters: Counters,
}

/// A query with a valid cookie, and what its answer depends on besides.
struct Asked<'a> {
    now: Now,
    from: SocketAddr,
    txid: u64,
    /// Bytes of the query.
    len: usize,
    query: Query<'a>,
}

impl Seed {
    /// A thread's part, which begins at `now`.
    pub fn new(shared: Arc<Shared>, rng_seed: [u8; 32], now: Now) -> Self {
        let index = shared.seeds.fetch_add(1, Relaxed);
        shared.counted.with(0, |counted| counted.push(Counters::default()));
        let mut seed = Self {
            index,
            cookies: Cookies::new(&shared.cookie_secret),
            tokens: TokenKey::new(&shared.token_secret),
            limiter: Limiter::new(shared.config.cores, shared.hash_key),
            load: Load::default(),
            rng: ChaCha20Rng::from_seed(rng_seed),
            fellows: Vec::new(),
            next_tick: now.instant + TICK_INTERVAL,
            next_ask: now.instant,
            transmits: VecDeque::new(),
            spare: Vec::new(),
            unchecked: Unchecked::default(),
            cluster: None,
            counters: Counters::default(),
            shared,
        };
        seed.look_at_fellows(now);
        seed
    }

    /// A datagram came from `from`.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        match kind(bytes) {
            Ok(KIND_QUERY) => self.on_query(now, from, bytes),
            Ok(KIND_ANSWER) => self.on_answer(now, from, bytes),
            Ok(KIND_RELAYED) => self.on_relayed(now, from, bytes),
            _ => self.counters.dropped += 1,
        }
    }

    /// These are the other seeds from now on.
    pub fn handle_fellows(&mut self, now: Now, fellows: Vec<SocketAddr>) {
        self.shared.fellows.with(0, |known| known.replace(&fellows));
        self.look_at_fellows(now);
        self.next_ask = now.instant;
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.next_tick <= now.instant {
            self.next_tick = now.instant + TICK_INTERVAL * self.shared.config.cores.max(1);
            self.shared.directory.sweep(now);
            self.shared.watches.sweep(now.instant);
            self.shared.relays.iter().for_each(|relays| relays.sweep(now.instant));
            self.look_at_fellows(now);
        }
        if self.unchecked.poll_timeout().is_some_and(|due| due <= now.instant) {
            self.check_signatures(now);
        }
        self.settle_late(now);
        if self.index == 0 && self.next_ask <= now.instant {
            self.next_ask = now.instant + ASK_INTERVAL;
            let asks = self.shared.fellows.with(0, |fellows| fellows.ask(&mut self.rng));
            asks.into_iter().for_each(|(fellow, header)| self.ask(fellow, header));
        }
        let (index, counters) = (self.index, self.counters);
        self.shared.counted.with(0, |counted| counted[index] = counters);
    }

    /// The next datagram to send: it stands in `out` then, and its address is returned.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, mut datagram) = self.transmits.pop_front()?;
        mem::swap(out, &mut datagram);
        self.spare.push(datagram);
        Some(to)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = if self.index == 0 { self.next_tick.min(self.next_ask) } else { self.next_tick };
        let late = self.cluster.as_ref().and_then(Cluster::poll_timeout);
        [late, self.unchecked.poll_timeout()].into_iter().flatten().chain([own]).min()
    }

    fn on_query(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        let (header, query) = match Query::decode(bytes) {
            Ok(decoded) => decoded,
            Err(WireError::OtherVersion(_)) => return self.on_other_version(from, bytes),
            Err(_) => {
                self.counters.dropped += 1;
                return;
            }
        };
        let mut subject_bytes = [0; 18];
        let subject = subject(from, &mut subject_bytes);
        let seconds = self.seconds(now);
        if query == Query::Hello || !self.cookies.verify(seconds, subject, &header.cookie) {
            self.counters.hello += u64::from(query == Query::Hello);
            self.counters.cookies += 1;
            let header = Header { txid: header.txid, cookie: self.cookies.make(seconds, subject) };
            return self.transmit(from, header, &Answer::Cookie { seen: from });
        }
        self.on_asked(&Asked { now, from, txid: header.txid, len: bytes.len(), query });
    }

    fn on_other_version(&mut self, from: SocketAddr, bytes: &[u8]) {
        let Some(told) = other_version(bytes) else {
            self.counters.dropped += 1;
            return;
        };
        self.counters.other_version += 1;
        let mut datagram = self.buffer();
        datagram.extend_from_slice(&told);
        self.push(from, datagram);
    }

    /// Only a fellow answers a seed.
    fn on_answer(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        let heard = Answer::decode(bytes).map_or(Heard::Nothing, |(header, answer)| {
            self.shared.fellows.with(0, |fellows| fellows.handle_answer(now.instant, from, header, &answer))
        });
        match heard {
            Heard::AskAgain(header) => self.ask(from, header),
            Heard::Noted => {}
            Heard::Nothing => self.counters.dropped += 1,
        }
    }

    fn ask(&mut self, fellow: SocketAddr, header: Header) {
        let mut datagram = self.buffer();
        Query::Status.encode(header, &mut datagram);
        self.push(fellow, datagram);
    }

    /// Another thread may have heard of them.
    fn look_at_fellows(&mut self, now: Now) {
        self.fellows = self.shared.fellows.with(0, |fellows| fellows.there(now.instant, &mut self.rng));
    }

    /// Since the start: the same in all threads.
    fn uptime(&self, now: Now) -> Duration {
        now.instant.since(self.shared.start.instant)
    }

    /// The clock of cookies.
    fn seconds(&self, now: Now) -> u32 {
        u32::try_from(self.uptime(now).as_secs()).unwrap_or(u32::MAX)
    }

    fn transmit(&mut self, to: SocketAddr, header: Header, answer: &Answer<'_>) {
        let mut datagram = self.buffer();
        answer.encode(header, &mut datagram);
        self.push(to, datagram);
    }

    fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer
    }

    fn push(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push_back((to, datagram));
        } else {
            self.counters.unsent += 1;
            self.spare.push(datagram);
        }
    }
}

/// What a cookie is of: the octets of the address and the port.
fn subject(from: SocketAddr, out: &mut [u8; 18]) -> &[u8] {
    let [high, low] = from.port().to_be_bytes();
    match from.ip() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            out[..6].copy_from_slice(&[a, b, c, d, high, low]);
            &out[..6]
        }
        IpAddr::V6(v6) => {
            out[..16].copy_from_slice(&v6.octets());
            out[16..].copy_from_slice(&[high, low]);
            out
        }
    }
}

#[cfg(test)]
mod tests;
