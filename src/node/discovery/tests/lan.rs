//! The LAN model: 0.2 to 0.6 ms for every datagram, loss of multicast, and a tap on the wire.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use blake2::{Blake2s256, Digest};
use curve25519_dalek::{constants::ED25519_BASEPOINT_POINT, edwards::EdwardsPoint};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use super::super::{
    Arrival, Destination, Discovery, DiscoveryConfig, DiscoveryEvent, Group, Ignored, Known, Outgoing, schedule::between,
};
use crate::{
    clock::Instant,
    id::{BootId, PeerId},
    node::interface::Interface,
    wire::announce::{Announce, Signed},
};

/// The interface that every node has.
pub(super) const ETH: u32 = 2;
pub(super) const LO: u32 = 1;
pub(super) const PORT: u16 = 17_118;
pub(super) const START: Instant = Instant::from_start(Duration::from_secs(1_000));

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Distinct valid ids without end.
pub(super) struct Ids(EdwardsPoint);

impl Ids {
    /// The ids of another family are other ids.
    pub(super) fn new(family: u64) -> Self {
        Self(ED25519_BASEPOINT_POINT * curve25519_dalek::Scalar::from(1 + family * 1_000_000_007))
    }
}

impl Iterator for Ids {
    type Item = PeerId;

    fn next(&mut self) -> Option<PeerId> {
        loop {
            self.0 += ED25519_BASEPOINT_POINT;
            if let Ok(id) = PeerId::from_bytes(self.0.compress().0) {
                return Some(id);
            }
        }
    }
}

/// A stand-in signature: only who calls this can have made it.
pub(super) fn sign(announce: &Announce) -> Vec<u8> {
    let mut bytes = announce.encode_unsigned();
    let hash = Blake2s256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    bytes.extend_from_slice(&hash);
    bytes
}

pub(super) fn verify(signed: &Signed<'_>) -> bool {
    let hash = Blake2s256::digest(signed.signed);
    signed.signature[..32] == hash[..] && signed.signature[32..] == hash[..]
}

pub(super) fn config(id: PeerId, boot: u64, name: &str) -> DiscoveryConfig {
    DiscoveryConfig {
        id,
        boot: BootId(boot),
        network: [0; 8],
        port: PORT,
        name: name.to_owned(),
        lan: true,
        only: Vec::new(),
        known: Vec::new(),
    }
}

pub(super) fn ethernet(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Interface {
    let v4 = v4.map(|addr| (IpAddr::V4(addr), 8));
    let v6 = v6.map(|addr| (IpAddr::V6(addr), 64));
    Interface {
        index: ETH,
        name: "eth0".to_owned(),
        addrs: v4.into_iter().chain(v6).collect(),
        multicast: true,
        loopback: false,
        point_to_point: false,
    }
}

pub(super) fn loopback() -> Interface {
    Interface {
        index: LO,
        name: "lo".to_owned(),
        addrs: vec![(IpAddr::V4(Ipv4Addr::LOCALHOST), 8)],
        multicast: false,
        loopback: true,
        point_to_point: false,
    }
}

/// The `n`th machine's addresses.
pub(super) fn v4(n: usize) -> Ipv4Addr {
    (0x0a00_0001 + n as u32).into()
}

pub(super) fn v6(n: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, (n >> 16) as u16, n as u16 + 1)
}

/// Something on the wire, for counting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) from: usize,
    pub(super) multicast: bool,
    /// IP and UDP headers included.
    pub(super) bytes: usize,
}

#[derive(Debug)]
enum Happening {
    Start(usize),
    Wake(usize),
    Arrive { to: usize, arrival: Arrival, datagram: Vec<u8> },
}

pub(super) struct Node {
    pub(super) discovery: Discovery,
    pub(super) id: PeerId,
    pub(super) interfaces: Vec<Interface>,
    pub(super) port: u16,
    /// Sockets are open since.
    pub(super) up: Option<Instant>,
    pub(super) events: Vec<(Instant, DiscoveryEvent)>,
    /// When it came to know each other node first.
    pub(super) knows: BTreeMap<PeerId, Instant>,
    pub(super) ignored: BTreeMap<Ignored, u64>,
    /// Signatures that were checked.
    pub(super) checked: u64,
    pending: Option<Instant>,
}

impl Node {
    fn addr(&self, v6: bool) -> Option<SocketAddr> {
        let mut addrs =
            self.interfaces.iter().flat_map(|interface| interface.addrs.iter().map(move |addr| (interface.index, addr)));
        let (index, (ip, _)) = addrs.find(|(_, (ip, _))| ip.is_ipv6() == v6)?;
        Some(match ip {
            IpAddr::V4(_) => SocketAddr::new(*ip, self.port),
            IpAddr::V6(v6) => std::net::SocketAddrV6::new(*v6, self.port, 0, index).into(),
        })
    }

    fn member(&self) -> Option<u32> {
        let members = crate::node::interface::memberships(&self.interfaces, &[]);
        members.first().map(|member| member.index)
    }
}

pub(super) struct Lan {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) tap: Vec<Seen>,
    /// Every datagram, where `record` is set: sender and bytes.
    pub(super) record: Option<Vec<(usize, Vec<u8>)>>,
    /// Share of multicast copies that are lost, each by itself.
    pub(super) loss: f64,
    rng: ChaCha20Rng,
    order: u64,
    queue: BTreeMap<(Instant, u64), Happening>,
    by_addr: BTreeMap<SocketAddr, usize>,
}

impl Lan {
    pub(super) fn new(rng_seed: u64) -> Self {
        Self {
            now: START,
            nodes: Vec::new(),
            tap: Vec::new(),
            record: None,
            loss: 0.0,
            rng: ChaCha20Rng::seed_from_u64(rng_seed),
            order: 0,
            queue: BTreeMap::new(),
            by_addr: BTreeMap::new(),
        }
    }

    /// `count` machines with both families, names of 10 bytes, that start within `spread`.
    pub(super) fn cold(rng_seed: u64, count: usize, spread: Duration, dual: bool) -> Self {
        let mut lan = Self::new(rng_seed);
        for (n, id) in Ids::new(0).take(count).enumerate() {
            let start = START + between(&mut lan.rng, Duration::ZERO, spread);
            let interface = ethernet(Some(v4(n)), dual.then(|| v6(n)));
            lan.add(config(id, 1_700_000_000_000, &format!("person{n:04}")), vec![interface], start);
        }
        lan
    }

    /// A node whose sockets open at `start`.
    pub(super) fn add(&mut self, config: DiscoveryConfig, interfaces: Vec<Interface>, start: Instant) -> usize {
        let n = self.nodes.len();
        let mut rng_seed = [0; 32];
        self.rng.fill_bytes(&mut rng_seed);
        let (id, port) = (config.id, config.port);
        let discovery = Discovery::new(config, rng_seed, start);
        self.nodes.push(Node {
            discovery,
            id,
            interfaces,
            port,
            up: None,
            events: Vec::new(),
            knows: BTreeMap::new(),
            ignored: BTreeMap::new(),
            checked: 0,
            pending: None,
        });
        self.index(n);
        self.push(start, Happening::Start(n));
        n
    }

    fn index(&mut self, n: usize) {
        self.by_addr.retain(|_, other| *other != n);
        let addrs: Vec<_> = [false, true].into_iter().filter_map(|v6| self.nodes[n].addr(v6)).collect();
        self.by_addr.extend(addrs.into_iter().map(|addr| (addr, n)));
    }

    fn push(&mut self, at: Instant, happening: Happening) {
        self.order += 1;
        self.queue.insert((at, self.order), happening);
    }

    /// Everything up to `until`.
    pub(super) fn run_until(&mut self, until: Instant) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
        self.now = until;
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Start(n) => {
                self.nodes[n].up = Some(self.now);
                let interfaces = self.nodes[n].interfaces.clone();
                self.act(n, |discovery, now| discovery.handle_interfaces(now, &interfaces));
            }
            Happening::Wake(n) => {
                if self.nodes[n].pending == Some(self.now) {
                    self.nodes[n].pending = None;
                    self.act(n, |discovery, now| discovery.handle_timeout(now));
                }
            }
            Happening::Arrive { to, arrival, datagram } => {
                self.deliver(to, arrival, &datagram).ok();
            }
        }
    }

    /// Hands a datagram to a node, as if it came this moment.
    pub(super) fn deliver(&mut self, to: usize, arrival: Arrival, datagram: &[u8]) -> Result<(), Ignored> {
        if self.nodes[to].up.is_none() {
            return Ok(());
        }
        let mut checked = 0;
        let mut result = Ok(());
        self.act(to, |discovery, now| {
            result = discovery.handle_datagram(now, arrival, datagram, |signed| {
                checked += 1;
                verify(signed)
            });
        });
        self.nodes[to].checked += checked;
        if let Err(reason) = result {
            *self.nodes[to].ignored.entry(reason).or_default() += 1;
        }
        result
    }

    /// Does something to a node, then everything that follows from it.
    pub(super) fn act(&mut self, n: usize, action: impl FnOnce(&mut Discovery, Instant)) {
        action(&mut self.nodes[n].discovery, self.now);
        while let Some(event) = self.nodes[n].discovery.poll_event() {
            if let DiscoveryEvent::Heard { id, .. } = &event {
                let now = self.now;
                self.nodes[n].knows.entry(*id).or_insert(now);
            }
            self.nodes[n].events.push((self.now, event));
        }
        while let Some(Outgoing { announce, to }) = self.nodes[n].discovery.poll_announce() {
            self.transmit(n, &sign(&announce), to);
        }
        let due = self.nodes[n].discovery.poll_timeout().map(|due| due.max(self.now));
        if due != self.nodes[n].pending {
            self.nodes[n].pending = due;
            if let Some(due) = due {
                self.push(due, Happening::Wake(n));
            }
        }
    }

    fn transmit(&mut self, n: usize, datagram: &[u8], to: Destination) {
        if let Some(record) = &mut self.record {
            record.push((n, datagram.to_vec()));
        }
        match to {
            Destination::Unicast(addr) => {
                self.see(n, false, datagram.len(), addr.is_ipv6());
                let (Some(from), Some(&to)) = (self.nodes[n].addr(addr.is_ipv6()), self.by_addr.get(&addr)) else { return };
                // The session socket does not tell the interface.
                self.arrive(to, Arrival { from, interface: 0, on_link: false }, datagram);
            }
            Destination::Multicast { group, .. } => {
                let v6 = group != Group::V4;
                self.see(n, true, datagram.len(), v6);
                let Some(from) = self.nodes[n].addr(v6) else { return };
                let local = self.nodes[n].member() == Some(LO);
                for to in 0..self.nodes.len() {
                    let same_host = self.nodes[to].addr(v6).map(|addr| addr.ip()) == Some(from.ip());
                    let joined = self.nodes[to].addr(v6).is_some() && (self.nodes[to].member() == Some(LO)) == local;
                    let lost = !same_host && (self.rng.next_u32() as f64) < self.loss * f64::from(u32::MAX);
                    if let Some(interface) = self.nodes[to].member().filter(|_| joined && !lost) {
                        self.arrive(to, Arrival { from, interface, on_link: true }, datagram);
                    }
                }
            }
        }
    }

    fn see(&mut self, from: usize, multicast: bool, len: usize, v6: bool) {
        let bytes = len + 8 + if v6 { 40 } else { 20 };
        self.tap.push(Seen { at: self.now, from, multicast, bytes });
    }

    fn arrive(&mut self, to: usize, arrival: Arrival, datagram: &[u8]) {
        let delay = between(&mut self.rng, Duration::from_micros(200), Duration::from_micros(600));
        self.push(self.now + delay, Happening::Arrive { to, arrival, datagram: datagram.to_vec() });
    }

    /// A node's machine has other interfaces from now on.
    pub(super) fn set_interfaces(&mut self, n: usize, interfaces: Vec<Interface>) {
        self.nodes[n].interfaces = interfaces.clone();
        self.index(n);
        self.act(n, |discovery, now| discovery.handle_interfaces(now, &interfaces));
    }

    /// The node's process dies: no goodbye.
    pub(super) fn kill(&mut self, n: usize) {
        self.nodes[n].up = None;
        self.nodes[n].pending = None;
        self.queue.retain(|_, happening| !matches!(happening, Happening::Wake(other) if *other == n));
    }

    pub(super) fn multicast_between(&self, from: Instant, to: Instant) -> (usize, usize) {
        let seen = self.tap.iter().filter(|seen| seen.multicast && seen.at >= from && seen.at < to);
        seen.fold((0, 0), |(packets, bytes), seen| (packets + 1, bytes + seen.bytes))
    }

    /// For each two nodes: how long after both had open sockets each knew the other. `None`: not yet.
    pub(super) fn mutual(&self) -> Vec<Option<Duration>> {
        let mut times = Vec::new();
        for (n, a) in self.nodes.iter().enumerate() {
            for b in &self.nodes[n + 1..] {
                let open = a.up.max(b.up).unwrap_or(START);
                let known = a.knows.get(&b.id).zip(b.knows.get(&a.id)).map(|(one, other)| *one.max(other));
                times.push(known.map(|known| known.since(open)));
            }
        }
        times
    }

    pub(super) fn here(&self, n: usize) -> Vec<PeerId> {
        self.nodes[n].discovery.neighbours().map(|neighbour| neighbour.id).collect()
    }
}

/// The value that `percent` of all are not above; unknown ones count as for ever.
pub(super) fn percentile(times: &mut [Option<Duration>], percent: f64) -> Duration {
    times.sort_unstable_by_key(|time| time.unwrap_or(Duration::MAX));
    let rank = (times.len() as f64 * percent / 100.0).ceil() as usize;
    times.get(rank.saturating_sub(1)).copied().flatten().unwrap_or(Duration::MAX)
}

pub(super) fn known(id: PeerId, boot: u64, seq: u64) -> Known {
    Known { id, boot: BootId(boot), seq, addresses: Vec::new() }
}
