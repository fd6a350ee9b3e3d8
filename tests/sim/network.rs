//! The network of a world: hosts with interfaces on segments, and what happens to datagrams between
//! them. Sans-IO and seeded: datagram in, arrivals with their times out. Nodes do not live here; what joins
//! segments to each other lives in `internet`.

mod internet;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    time::Duration,
};

use p2pchat_udp::{
    net::socket::{GROUP_V4, GROUP_V6},
    node::interface::Interface,
};

use self::internet::Internet;
use crate::{
    dice::Dice,
    faults::{Fault, Fired},
};

/// UDP port of every machine's session socket.
pub(crate) const SESSION_PORT: u16 = 17118;
/// UDP port of every machine's discovery sockets.
pub(crate) const DISCOVERY_PORT: u16 = 17117;
/// A datagram of so many bytes is a large one.
const LARGE: usize = 1_100;
const HOP_LIMIT: u8 = 255;
const V4_PREFIX: u8 = 16;
/// A host on the internet has nobody on its link.
const PUBLIC_PREFIX: u8 = 32;
const V6_PREFIX: u8 = 64;

/// What the air is like. Probabilities in permille.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    /// Lost one by one.
    pub(crate) loss: u32,
    /// Lost in rows: enters the bad state, leaves it, is lost in it (Gilbert).
    pub(crate) burst: Option<(u32, u32, u32)>,
    /// Arrives twice.
    pub(crate) duplicate: u32,
    /// Arrives much later than those behind it.
    pub(crate) reorder: u32,
    /// Somebody sends it again, long after, sometimes from elsewhere.
    pub(crate) replay: u32,
    /// Bits flip.
    pub(crate) corrupt: u32,
    /// The end is missing.
    pub(crate) truncate: u32,
    /// One way.
    pub(crate) delay: Duration,
    /// Drawn on top of `delay` for each.
    pub(crate) jitter: Duration,
    /// Largest IP packet that passes.
    pub(crate) mtu: usize,
    /// Multicast passes.
    pub(crate) multicast: bool,
}

impl Weather {
    /// A quiet switch.
    pub(crate) const CLEAN: Self = Self {
        loss: 0,
        burst: None,
        duplicate: 0,
        reorder: 0,
        replay: 0,
        corrupt: 0,
        truncate: 0,
        delay: Duration::from_micros(300),
        jitter: Duration::ZERO,
        mtu: 1_500,
        multicast: true,
    };

    /// A quiet switch that loses so many of a thousand.
    pub(crate) fn lossy(permille: u32) -> Self {
        Self { loss: permille, ..Self::CLEAN }
    }

    /// Some weather: every ingredient on its own, most of them absent most of the time.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let mut some = |permille, most| if dice.chance(permille) { dice.range(1..=most) as u32 } else { 0 };
        let (loss, duplicate, reorder) = (some(500, 500), some(250, 300), some(250, 300));
        let (replay, corrupt, truncate) = (some(150, 100), some(200, 100), some(150, 100));
        let burst =
            dice.chance(200).then(|| (dice.range(5..=50) as u32, dice.range(50..=400) as u32, dice.range(600..=1_000) as u32));
        let far = dice.chance(250);
        let delay = dice.between(Duration::from_micros(100), Duration::from_millis(if far { 150 } else { 2 }));
        let jitter = if dice.chance(400) { dice.between(Duration::ZERO, delay * 2) } else { Duration::ZERO };
        let mtu = if dice.chance(200) { dice.range(1_280..=1_500) as usize } else { 1_500 };
        Self { loss, burst, duplicate, reorder, replay, corrupt, truncate, delay, jitter, mtu, multicast: !dice.chance(60) }
    }

    /// A datagram of so many bytes is not too large.
    fn lets_through(&self, len: usize, v6: bool, fired: &mut Fired) -> bool {
        // Nothing that a node sends today is too large for the smallest MTU; that a large datagram met one
        // is what counts.
        if len >= LARGE && self.mtu < 1_500 {
            fired.strike(Fault::SmallMtu);
        }
        len + if v6 { 48 } else { 28 } <= self.mtu
    }
}

/// What an interface is plugged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Segment(usize),
    /// The host's own line to the internet.
    Public,
}

/// One interface of a host.
#[derive(Debug, Clone)]
struct Card {
    index: u32,
    wire: Wire,
    /// UDP port of the socket that sends.
    port: u16,
    v4: Option<Ipv4Addr>,
    /// Link-local and unique local.
    v6: Option<(Ipv6Addr, Ipv6Addr)>,
    plugged: bool,
    generation: u8,
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// One address.
    Unicast(SocketAddr),
    /// The group, out by this interface.
    Multicast { interface: u32, v6: bool },
}

/// A datagram as a socket hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) from: SocketAddr,
    /// Where the receiver is hit: its own address, or the group.
    pub(crate) to: SocketAddr,
    pub(crate) interface: u32,
    pub(crate) discovery: bool,
    pub(crate) hop_limit: u8,
    pub(crate) bytes: Vec<u8>,
}

/// Where a datagram gets to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Host(usize),
    /// A router's side towards its segment.
    Inside(usize),
    /// A router's side towards the internet.
    Outside(usize),
}

/// A datagram that will arrive.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) after: Duration,
    /// The host that sent it.
    pub(crate) origin: usize,
    /// At a router it does not end: [`Network::route`].
    pub(crate) at: Place,
    pub(crate) parcel: Parcel,
}

/// All hosts and the air between them.
pub(crate) struct Network {
    dice: Dice,
    hosts: Vec<Vec<Card>>,
    /// On every segment.
    pub(crate) weather: Weather,
    pub(crate) internet: Internet,
    /// Directed, counted: two partitions may overlap.
    blocked: BTreeMap<(usize, usize), (u32, bool)>,
    in_burst: BTreeSet<(Place, Place)>,
    /// Datagrams that were handed in, and their bytes.
    pub(crate) sent: (u64, u64),
}

impl Network {
    /// No hosts, clean weather.
    pub(crate) fn new(rng_seed: u64) -> Self {
        Self {
            dice: Dice::new(rng_seed, "network"),
            hosts: Vec::new(),
            weather: Weather::CLEAN,
            internet: Internet::new(rng_seed),
            blocked: BTreeMap::new(),
            in_burst: BTreeSet::new(),
            sent: (0, 0),
        }
    }

    /// A host with one interface on each of these segments; returns its number. Interfaces count from 2.
    pub(crate) fn add_host(&mut self, segments: &[usize], v4: bool, v6: bool) -> usize {
        let host = self.hosts.len();
        let card = |(n, segment): (usize, &usize)| {
            let mut card = Card {
                index: 2 + n as u32,
                wire: Wire::Segment(*segment),
                port: SESSION_PORT,
                v4: v4.then_some(Ipv4Addr::UNSPECIFIED),
                v6: v6.then_some((Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)),
                plugged: true,
                generation: 0,
            };
            card.number(host);
            card
        };
        self.hosts.push(segments.iter().enumerate().map(card).collect());
        host
    }

    /// What the host's system says about its interfaces now.
    pub(crate) fn interfaces(&self, host: usize) -> Vec<Interface> {
        self.hosts[host].iter().filter(|card| card.plugged).map(Card::interface).collect()
    }

    /// Other addresses on the host's first interface; the segment stays.
    pub(crate) fn change_address(&mut self, host: usize) {
        let card = &mut self.hosts[host][0];
        card.generation += 1;
        card.number(host);
    }

    /// Pulls the host's first cable, or puts it back.
    pub(crate) fn plug(&mut self, host: usize, plugged: bool) {
        self.hosts[host][0].plugged = plugged;
    }

    /// What `a` sends does not reach `b` until [`Network::unblock`].
    pub(crate) fn block(&mut self, a: usize, b: usize, both: bool) {
        let entry = self.blocked.entry((a, b)).or_default();
        *entry = (entry.0 + 1, entry.1 || both);
        if both {
            let entry = self.blocked.entry((b, a)).or_default();
            *entry = (entry.0 + 1, true);
        }
    }

    /// Takes one block back.
    pub(crate) fn unblock(&mut self, a: usize, b: usize, both: bool) {
        for pair in [Some((a, b)), both.then_some((b, a))].into_iter().flatten() {
            let Some(entry) = self.blocked.get_mut(&pair) else { continue };
            entry.0 = entry.0.saturating_sub(1);
            if entry.0 == 0 {
                self.blocked.remove(&pair);
            }
        }
    }

    /// Fine weather, no partition, all cables in.
    pub(crate) fn heal(&mut self) {
        self.weather = Weather::CLEAN;
        self.internet.heal();
        self.blocked.clear();
        self.in_burst.clear();
        self.hosts.iter_mut().flatten().for_each(|card| card.plugged = true);
    }

    /// An address of the host that its neighbours can reach.
    pub(crate) fn address(&self, host: usize) -> SocketAddr {
        let card = &self.hosts[host][0];
        match (card.v4, card.v6) {
            (Some(v4), _) => SocketAddr::from((v4, card.port)),
            (None, Some((_, v6))) => SocketAddr::from((v6, card.port)),
            (None, None) => unreachable!("a host has one family at least"),
        }
    }

    /// A datagram leaves a host's session socket; where and when it arrives. Nothing says that it does.
    pub(crate) fn send(&mut self, host: usize, to: To, bytes: &[u8], fired: &mut Fired) -> Vec<Arrival> {
        self.sent = (self.sent.0 + 1, self.sent.1 + bytes.len() as u64);
        let Some((wire, v6)) = self.way_out(host, to) else { return self.send_routed(host, to, bytes, fired) };
        let multicast = !matches!(to, To::Unicast(_));
        if multicast && !self.weather.multicast {
            fired.strike(Fault::MulticastOff);
            return Vec::new();
        }
        if !self.weather.lets_through(bytes.len(), v6, fired) {
            return Vec::new();
        }
        let mut arrivals = Vec::new();
        for (receiver, parcel) in self.receivers(host, wire, to, bytes) {
            let arrival = Arrival { after: Duration::ZERO, origin: host, at: Place::Host(receiver), parcel };
            self.carry(self.weather.clone(), Place::Host(host), arrival, fired, &mut arrivals);
        }
        arrivals
    }

    /// By which wire and family it reaches its end without a router, if at all.
    fn way_out(&self, host: usize, to: To) -> Option<(Wire, bool)> {
        let cards = || self.hosts[host].iter().filter(|card| card.plugged);
        match to {
            To::Multicast { interface, v6 } => {
                let card = cards().find(|card| card.index == interface && card.wire != Wire::Public)?;
                let has = if v6 { card.v6.is_some() } else { card.v4.is_some() };
                has.then_some((card.wire, v6))
            }
            To::Unicast(SocketAddr::V4(to)) => cards().find(|card| card.reaches_v4(*to.ip())).map(|card| (card.wire, false)),
            To::Unicast(SocketAddr::V6(to)) => cards().find(|card| card.reaches_v6(&to)).map(|card| (card.wire, true)),
        }
    }

    /// Who hears it, and how it looks there.
    fn receivers(&self, host: usize, wire: Wire, to: To, bytes: &[u8]) -> Vec<(usize, Parcel)> {
        let out = self.hosts[host].iter().find(|card| card.plugged && card.wire == wire).expect("way_out found it");
        let mut receivers = Vec::new();
        for (receiver, cards) in self.hosts.iter().enumerate() {
            for card in cards.iter().filter(|card| card.plugged && card.wire == wire) {
                let (from, hit, to) = match to {
                    To::Unicast(to @ SocketAddr::V4(v4)) => (out.v4_source(), card.v4 == Some(*v4.ip()), to),
                    To::Unicast(to @ SocketAddr::V6(v6)) => {
                        let link_local = v6.ip().is_unicast_link_local();
                        let hit = card.v6.is_some_and(|(link, unique)| *v6.ip() == link || *v6.ip() == unique);
                        (out.v6_source(link_local, card.index), hit, to)
                    }
                    To::Multicast { v6: true, .. } => {
                        (out.v6_source(true, card.index), card.v6.is_some(), (GROUP_V6, DISCOVERY_PORT).into())
                    }
                    To::Multicast { .. } => (out.v4_source(), card.v4.is_some(), (GROUP_V4, DISCOVERY_PORT).into()),
                };
                let (Some(from), true, true) = (from, hit, card.hears(to.port())) else { continue };
                receivers.push((receiver, card.parcel(from, to, HOP_LIMIT, bytes.to_vec())));
            }
        }
        receivers
    }

    /// One copy through the weather, from one place to the next.
    fn carry(&mut self, weather: Weather, from: Place, mut arrival: Arrival, fired: &mut Fired, arrivals: &mut Vec<Arrival>) {
        let to = arrival.at;
        if from == to {
            arrivals.push(arrival);
            return;
        }
        if let Place::Host(host) = to
            && let Some((_, both)) = self.blocked.get(&(arrival.origin, host))
        {
            fired.strike(if *both { Fault::TwoWayPartition } else { Fault::OneWayPartition });
            return;
        }
        if let Some((enter, leave, lost)) = weather.burst {
            let inside = self.in_burst.contains(&(from, to));
            if self.dice.chance(if inside { leave } else { enter }) {
                if inside {
                    self.in_burst.remove(&(from, to))
                } else {
                    self.in_burst.insert((from, to))
                };
            }
            if inside && self.dice.chance(lost) {
                fired.strike(Fault::BurstLoss);
                return;
            }
        }
        if self.dice.chance(weather.loss) {
            fired.strike(Fault::Loss);
            return;
        }
        arrival.after = weather.delay + self.dice.between(Duration::ZERO, weather.jitter);
        if self.dice.chance(weather.reorder) {
            fired.strike(Fault::Reorder);
            arrival.after += self.dice.between(weather.delay, weather.delay * 8);
        }
        if self.dice.chance(weather.replay) {
            fired.strike(Fault::Replay);
            let mut again = arrival.clone();
            if self.dice.chance(300) {
                again.parcel.from.set_port(self.dice.range(20_000..=60_000) as u16);
            }
            again.after += self.dice.between(Duration::ZERO, Duration::from_secs(30));
            arrivals.push(again);
        }
        if self.dice.chance(weather.duplicate) {
            fired.strike(Fault::Duplicate);
            let mut twice = arrival.clone();
            twice.after += self.dice.between(Duration::ZERO, weather.delay);
            arrivals.push(twice);
        }
        let bytes = &mut arrival.parcel.bytes;
        if self.dice.chance(weather.corrupt) && !bytes.is_empty() {
            fired.strike(Fault::Corrupt);
            for _ in 0..self.dice.range(1..=4) {
                let at = self.dice.index(bytes.len());
                bytes[at] ^= 1 << self.dice.below(8);
            }
        }
        if self.dice.chance(weather.truncate) && !bytes.is_empty() {
            fired.strike(Fault::Truncate);
            let len = self.dice.index(bytes.len());
            bytes.truncate(len);
        }
        arrivals.push(arrival);
    }
}

impl Card {
    /// Gives the addresses that belong to host, segment and generation to the families it has.
    fn number(&mut self, host: usize) {
        let (host, generation) = (host as u16 + 1, u16::from(self.generation));
        let Wire::Segment(segment) = self.wire else {
            self.v4 = Some(Ipv4Addr::new(203, 0, 113 + generation as u8, host as u8));
            return;
        };
        let segment = segment as u16;
        self.v4 = self.v4.map(|_| Ipv4Addr::new(10, segment as u8, generation as u8, host as u8));
        self.v6 = self.v6.map(|_| {
            let link = Ipv6Addr::new(0xfe80, 0, 0, 0, segment, generation, self.index as u16, host);
            (link, Ipv6Addr::new(0xfd00, 0, 0, segment, 0, generation, self.index as u16, host))
        });
    }

    fn interface(&self) -> Interface {
        let v4 = self.v4.map(|ip| (IpAddr::V4(ip), if self.wire == Wire::Public { PUBLIC_PREFIX } else { V4_PREFIX }));
        let v6 = self.v6.iter().flat_map(|(link, unique)| [(IpAddr::V6(*link), V6_PREFIX), (IpAddr::V6(*unique), V6_PREFIX)]);
        Interface {
            index: self.index,
            name: format!("eth{}", self.index - 2),
            addrs: v4.into_iter().chain(v6).collect(),
            multicast: true,
            loopback: false,
            point_to_point: false,
        }
    }

    fn reaches_v4(&self, to: Ipv4Addr) -> bool {
        match self.wire {
            Wire::Segment(_) => self.v4.is_some_and(|v4| v4.octets()[..2] == to.octets()[..2]),
            Wire::Public => self.v4 == Some(to),
        }
    }

    fn reaches_v6(&self, to: &SocketAddrV6) -> bool {
        let Some((_, unique)) = self.v6 else { return false };
        if to.ip().is_unicast_link_local() {
            return to.scope_id() == self.index;
        }
        unique.segments()[..4] == to.ip().segments()[..4]
    }

    fn v4_source(&self) -> Option<SocketAddr> {
        Some(SocketAddr::V4(SocketAddrV4::new(self.v4?, self.port)))
    }

    fn v6_source(&self, link_local: bool, receiving: u32) -> Option<SocketAddr> {
        let (link, unique) = self.v6?;
        let (ip, scope) = if link_local { (link, receiving) } else { (unique, 0) };
        Some(SocketAddr::V6(SocketAddrV6::new(ip, self.port, 0, scope)))
    }

    /// A datagram to this port is handed over. At a public address all are: who is no machine counts them.
    fn hears(&self, port: u16) -> bool {
        self.wire == Wire::Public || port == self.port || port == DISCOVERY_PORT
    }

    /// A datagram as it is handed over here.
    fn parcel(&self, from: SocketAddr, to: SocketAddr, hop_limit: u8, bytes: Vec<u8>) -> Parcel {
        Parcel { from, to, interface: self.index, discovery: to.port() == DISCOVERY_PORT, hop_limit, bytes }
    }
}

#[cfg(test)]
mod tests;
