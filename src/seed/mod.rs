//! The phonebook across networks (protocol §7): what a seed does with a datagram, as a state machine that
//! is told the time and what came, and says what leaves. One per thread; what the threads share is
//! [`Shared`]. Sockets and threads are `net`'s affair.
//!
//! A seed is believed by nobody: clients check every signature. What it must be is cheap to ask, no help
//! to whoever aims at a third, and still there when many ask.

mod answers;
pub mod counters;
pub mod directory;
pub mod memory;
mod shards;

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

use self::{counters::Counters, directory::Directory, shards::Shards};
use crate::{
    clock::{Instant, Now},
    crypto::{cookie::Cookies, record::TokenKey},
    wire::{
        KIND_QUERY, NAME_LEN_MAX, WireError, kind,
        phonebook::{Answer, COOKIE_LEN, Header, Query, other_version},
    },
};

/// Datagrams that wait to be sent, at most; what is more is lost, as on a full wire.
const TRANSMITS_MAX: usize = 1_024;
/// How often one shard is swept, by all threads together.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

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
}

/// What the threads of a seed share.
pub struct Shared {
    config: SeedConfig,
    directory: Box<dyn Directory>,
    tokens: TokenKey,
    cookie_secret: Zeroizing<[u8; 32]>,
    #[expect(dead_code, reason = "the limiter comes with the next part")]
    hash_key: [u8; 16],
    start: Now,
    seeds: AtomicUsize,
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
        Arc::new(Self {
            config,
            directory,
            tokens: TokenKey::new(token_secret),
            cookie_secret: Zeroizing::new(*cookie_secret),
            hash_key,
            start: now,
            seeds: AtomicUsize::new(0),
            counted: Shards::new(1),
        })
    }

    /// What all threads have done, as of their last ticks.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters { records: self.directory.len() as u64, ..Counters::default() };
        self.counted.with(0, |counted| counted.iter().for_each(|thread| sum.add(thread)));
        sum
    }
}

/// A thread's part of a seed. Getters, `handle_*`, `poll_*`.
pub struct Seed {
    shared: Arc<Shared>,
    index: usize,
    cookies: Cookies,
    #[expect(dead_code, reason = "fellows come with the next part")]
    rng: ChaCha20Rng,
    next_sweep: Instant,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Buffers of datagrams that have left.
    spare: Vec<Vec<u8>>,
    counters: Counters,
}

/// A query and what its answer depends on besides.
struct Asked<'a> {
    now: Now,
    from: SocketAddr,
    txid: u64,
    /// Bytes of the query.
    #[expect(dead_code, reason = "pages come with the next part")]
    len: usize,
    query: Query<'a>,
}

impl Seed {
    /// A thread's part, which begins at `now`.
    pub fn new(shared: Arc<Shared>, rng_seed: [u8; 32], now: Now) -> Self {
        let index = shared.seeds.fetch_add(1, Relaxed);
        shared.counted.with(0, |counted| counted.push(Counters::default()));
        Self {
            index,
            cookies: Cookies::new(&shared.cookie_secret),
            rng: ChaCha20Rng::from_seed(rng_seed),
            next_sweep: now.instant + SWEEP_INTERVAL,
            transmits: VecDeque::new(),
            spare: Vec::new(),
            counters: Counters::default(),
            shared,
        }
    }

    /// A datagram came from `from`.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        match kind(bytes) {
            Ok(KIND_QUERY) => self.on_query(now, from, bytes),
            _ => self.counters.dropped += 1,
        }
    }

    /// These are the other seeds from now on.
    pub fn handle_fellows(&mut self, _now: Now, _fellows: Vec<SocketAddr>) {}

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Now) {
        if now.instant < self.next_sweep {
            return;
        }
        self.next_sweep = now.instant + SWEEP_INTERVAL * self.shared.config.cores.max(1);
        self.shared.directory.sweep(now);
        self.shared.counted.with(0, |counted| counted[self.index] = self.counters);
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
        Some(self.next_sweep)
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
        let subject = subject(&from);
        let seconds = self.seconds(now);
        if query == Query::Hello || !self.cookies.verify(seconds, &subject, &header.cookie) {
            self.counters.hello += u64::from(query == Query::Hello);
            self.counters.cookies += 1;
            let header = Header { txid: header.txid, cookie: self.cookies.make(seconds, &subject) };
            return self.transmit(from, header, &Answer::Cookie { seen: from });
        }
        self.on_asked(&Asked { now, from, txid: header.txid, len: bytes.len(), query });
    }

    fn on_other_version(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.counters.other_version += 1;
        if let Some(told) = other_version(bytes) {
            let mut datagram = self.buffer();
            datagram.extend_from_slice(&told);
            self.push(from, datagram);
        }
    }

    /// Seconds since the start, for cookies: the same in all threads.
    fn seconds(&self, now: Now) -> u32 {
        u32::try_from(now.instant.since(self.shared.start.instant).as_secs()).unwrap_or(u32::MAX)
    }

    fn transmit(&mut self, to: SocketAddr, header: Header, answer: &Answer<'_>) {
        let mut datagram = self.buffer();
        answer.encode(header, &mut datagram);
        self.push(to, datagram);
    }

    fn answer(&mut self, asked: &Asked<'_>, answer: &Answer<'_>) {
        self.counters.refused += u64::from(matches!(answer, Answer::Refused(_)));
        self.transmit(asked.from, Header { txid: asked.txid, cookie: [0; COOKIE_LEN] }, answer);
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
fn subject(from: &SocketAddr) -> Vec<u8> {
    let mut subject = match from.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    subject.extend_from_slice(&from.port().to_be_bytes());
    subject
}

#[cfg(test)]
mod tests;
