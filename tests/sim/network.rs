//! The network of a world: hosts with interfaces on segments, and what happens to datagrams between
//! them. Sans-IO and seeded: datagram in, arrivals with their times out. Nodes do not live here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    time::Duration,
};

use p2pchat_udp::node::interface::Interface;

use crate::{
    dice::Dice,
    faults::{Fault, Fired},
};

/// UDP port of every host's session socket.
pub(crate) const SESSION_PORT: u16 = 17118;
/// UDP port of every host's discovery sockets.
pub(crate) const DISCOVERY_PORT: u16 = 17117;
/// A datagram of so many bytes is a large one.
const LARGE: usize = 1_100;
const HOP_LIMIT: u8 = 255;
const V4_PREFIX: u8 = 16;
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
}

/// One interface of a host.
#[derive(Debug, Clone)]
struct Card {
    index: u32,
    segment: usize,
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
    pub(crate) interface: u32,
    pub(crate) discovery: bool,
    pub(crate) hop_limit: u8,
    pub(crate) bytes: Vec<u8>,
}

/// A datagram that will arrive.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) after: Duration,
    pub(crate) host: usize,
    pub(crate) parcel: Parcel,
}

/// All hosts and the air between them.
pub(crate) struct Network {
    dice: Dice,
    hosts: Vec<Vec<Card>>,
    pub(crate) weather: Weather,
    /// Directed, counted: two partitions may overlap.
    blocked: BTreeMap<(usize, usize), (u32, bool)>,
    in_burst: BTreeSet<(usize, usize)>,
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
            blocked: BTreeMap::new(),
            in_burst: BTreeSet::new(),
            sent: (0, 0),
        }
    }

    /// A host with one interface on each of these segments; returns its number. Interfaces count from 2.
    pub(crate) fn add_host(&mut self, segments: &[usize], v4: bool, v6: bool) -> usize {
        let host = self.hosts.len();
        let card = |(n, segment): (usize, &usize)| {
            let mut card = Card { index: 2 + n as u32, segment: *segment, v4: None, v6: None, plugged: true, generation: 0 };
            if v4 {
                card.v4 = Some(Ipv4Addr::UNSPECIFIED);
            }
            if v6 {
                card.v6 = Some((Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED));
            }
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
        self.blocked.clear();
        self.in_burst.clear();
        self.hosts.iter_mut().flatten().for_each(|card| card.plugged = true);
    }

    /// An address of the host that its neighbours can reach.
    pub(crate) fn address(&self, host: usize) -> SocketAddr {
        let card = &self.hosts[host][0];
        match (card.v4, card.v6) {
            (Some(v4), _) => SocketAddr::from((v4, SESSION_PORT)),
            (None, Some((_, v6))) => SocketAddr::from((v6, SESSION_PORT)),
            (None, None) => unreachable!("a host has one family at least"),
        }
    }

    /// A datagram leaves a host's session socket; where and when it arrives. Nothing says that it does.
    pub(crate) fn send(&mut self, host: usize, to: To, bytes: &[u8], fired: &mut Fired) -> Vec<Arrival> {
        self.sent = (self.sent.0 + 1, self.sent.1 + bytes.len() as u64);
        let Some((segment, v6)) = self.way_out(host, to) else { return Vec::new() };
        let multicast = !matches!(to, To::Unicast(_));
        if multicast && !self.weather.multicast {
            fired.strike(Fault::MulticastOff);
            return Vec::new();
        }
        // Nothing that a node sends today is too large for the smallest MTU; that a large datagram met one
        // is what counts.
        if bytes.len() >= LARGE && self.weather.mtu < 1_500 {
            fired.strike(Fault::SmallMtu);
        }
        if bytes.len() + if v6 { 48 } else { 28 } > self.weather.mtu {
            return Vec::new();
        }
        let mut arrivals = Vec::new();
        for (receiver, parcel) in self.receivers(host, segment, to, bytes) {
            self.carry(host, receiver, parcel, fired, &mut arrivals);
        }
        arrivals
    }

    /// By which segment and family it leaves, if at all.
    fn way_out(&self, host: usize, to: To) -> Option<(usize, bool)> {
        let cards = || self.hosts[host].iter().filter(|card| card.plugged);
        match to {
            To::Multicast { interface, v6 } => {
                let card = cards().find(|card| card.index == interface)?;
                let has = if v6 { card.v6.is_some() } else { card.v4.is_some() };
                has.then_some((card.segment, v6))
            }
            To::Unicast(SocketAddr::V4(to)) => cards().find(|card| card.reaches_v4(*to.ip())).map(|card| (card.segment, false)),
            To::Unicast(SocketAddr::V6(to)) => cards().find(|card| card.reaches_v6(&to)).map(|card| (card.segment, true)),
        }
    }

    /// Who hears it, and how it looks there.
    fn receivers(&self, host: usize, segment: usize, to: To, bytes: &[u8]) -> Vec<(usize, Parcel)> {
        let out = self.hosts[host].iter().find(|card| card.plugged && card.segment == segment).expect("way_out found it");
        let mut receivers = Vec::new();
        for (receiver, cards) in self.hosts.iter().enumerate() {
            for card in cards.iter().filter(|card| card.plugged && card.segment == segment) {
                let (from, hit, port) = match to {
                    To::Unicast(SocketAddr::V4(to)) => (out.v4.map(v4_source), card.v4 == Some(*to.ip()), to.port()),
                    To::Unicast(SocketAddr::V6(to)) => {
                        let link_local = to.ip().is_unicast_link_local();
                        let hit = card.v6.is_some_and(|(link, unique)| *to.ip() == link || *to.ip() == unique);
                        (out.v6_source(link_local, card.index), hit, to.port())
                    }
                    To::Multicast { v6: true, .. } => (out.v6_source(true, card.index), card.v6.is_some(), DISCOVERY_PORT),
                    To::Multicast { .. } => (out.v4.map(v4_source), card.v4.is_some(), DISCOVERY_PORT),
                };
                let (Some(from), true, SESSION_PORT | DISCOVERY_PORT) = (from, hit, port) else { continue };
                let discovery = port == DISCOVERY_PORT;
                let bytes = bytes.to_vec();
                receivers.push((receiver, Parcel { from, interface: card.index, discovery, hop_limit: HOP_LIMIT, bytes }));
            }
        }
        receivers
    }

    /// One copy through the weather.
    fn carry(&mut self, from: usize, to: usize, mut parcel: Parcel, fired: &mut Fired, arrivals: &mut Vec<Arrival>) {
        if from == to {
            arrivals.push(Arrival { after: Duration::ZERO, host: to, parcel });
            return;
        }
        if let Some((_, both)) = self.blocked.get(&(from, to)) {
            fired.strike(if *both { Fault::TwoWayPartition } else { Fault::OneWayPartition });
            return;
        }
        let weather = self.weather.clone();
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
        let mut after = weather.delay + self.dice.between(Duration::ZERO, weather.jitter);
        if self.dice.chance(weather.reorder) {
            fired.strike(Fault::Reorder);
            after += self.dice.between(weather.delay, weather.delay * 8);
        }
        if self.dice.chance(weather.replay) {
            fired.strike(Fault::Replay);
            let mut again = parcel.clone();
            if self.dice.chance(300) {
                again.from.set_port(self.dice.range(20_000..=60_000) as u16);
            }
            let after = after + self.dice.between(Duration::ZERO, Duration::from_secs(30));
            arrivals.push(Arrival { after, host: to, parcel: again });
        }
        if self.dice.chance(weather.duplicate) {
            fired.strike(Fault::Duplicate);
            let after = after + self.dice.between(Duration::ZERO, weather.delay);
            arrivals.push(Arrival { after, host: to, parcel: parcel.clone() });
        }
        if self.dice.chance(weather.corrupt) && !parcel.bytes.is_empty() {
            fired.strike(Fault::Corrupt);
            for _ in 0..self.dice.range(1..=4) {
                let at = self.dice.index(parcel.bytes.len());
                parcel.bytes[at] ^= 1 << self.dice.below(8);
            }
        }
        if self.dice.chance(weather.truncate) && !parcel.bytes.is_empty() {
            fired.strike(Fault::Truncate);
            let len = self.dice.index(parcel.bytes.len());
            parcel.bytes.truncate(len);
        }
        arrivals.push(Arrival { after, host: to, parcel });
    }
}

fn v4_source(ip: Ipv4Addr) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(ip, SESSION_PORT))
}

impl Card {
    /// Gives the addresses that belong to host, segment and generation to the families it has.
    fn number(&mut self, host: usize) {
        let (segment, host, generation) = (self.segment as u16, host as u16 + 1, u16::from(self.generation));
        self.v4 = self.v4.map(|_| Ipv4Addr::new(10, segment as u8, generation as u8, host as u8));
        self.v6 = self.v6.map(|_| {
            let link = Ipv6Addr::new(0xfe80, 0, 0, 0, segment, generation, self.index as u16, host);
            (link, Ipv6Addr::new(0xfd00, 0, 0, segment, 0, generation, self.index as u16, host))
        });
    }

    fn interface(&self) -> Interface {
        let v4 = self.v4.map(|ip| (IpAddr::V4(ip), V4_PREFIX));
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
        self.v4.is_some_and(|v4| v4.octets()[..2] == to.octets()[..2])
    }

    fn reaches_v6(&self, to: &SocketAddrV6) -> bool {
        let Some((_, unique)) = self.v6 else { return false };
        if to.ip().is_unicast_link_local() {
            return to.scope_id() == self.index;
        }
        unique.segments()[..4] == to.ip().segments()[..4]
    }

    fn v6_source(&self, link_local: bool, receiving: u32) -> Option<SocketAddr> {
        let (link, unique) = self.v6?;
        let (ip, scope) = if link_local { (link, receiving) } else { (unique, 0) };
        Some(SocketAddr::V6(SocketAddrV6::new(ip, SESSION_PORT, 0, scope)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Network {
        let mut network = Network::new(1);
        network.add_host(&[0], true, true);
        network.add_host(&[0, 1], true, true);
        network.add_host(&[1], true, false);
        network
    }

    fn heard(network: &mut Network, host: usize, to: To) -> Vec<usize> {
        network.send(host, to, b"hello", &mut Fired::default()).iter().map(|arrival| arrival.host).collect()
    }

    #[test]
    fn a_segment_hears_its_own_multicast_and_nobody_else_does() {
        let mut network = pair();
        assert_eq!(heard(&mut network, 0, To::Multicast { interface: 2, v6: false }), [0, 1]);
        assert_eq!(heard(&mut network, 1, To::Multicast { interface: 3, v6: false }), [1, 2]);
        assert_eq!(heard(&mut network, 1, To::Multicast { interface: 3, v6: true }), [1], "host 2 has no IPv6");
        assert_eq!(heard(&mut network, 0, To::Multicast { interface: 9, v6: false }), [0; 0]);
    }

    #[test]
    fn link_local_addresses_mean_something_only_with_their_interface() {
        let mut network = pair();
        let arrivals = network.send(0, To::Multicast { interface: 2, v6: true }, b"x", &mut Fired::default());
        let SocketAddr::V6(from) = arrivals[1].parcel.from else { panic!("an IPv6 source") };
        assert_eq!(from.scope_id(), 2, "the receiver's number for the interface");
        assert!(from.ip().is_unicast_link_local());
        assert_eq!(heard(&mut network, 1, To::Unicast(SocketAddr::V6(from))), [0]);
        let elsewhere = SocketAddrV6::new(*from.ip(), from.port(), 0, 3);
        assert_eq!(heard(&mut network, 1, To::Unicast(SocketAddr::V6(elsewhere))), [0; 0]);
    }

    #[test]
    fn who_moved_is_not_reached_at_the_old_address() {
        let mut network = pair();
        let old = To::Unicast(network.address(1));
        assert_eq!(heard(&mut network, 0, old), [1]);
        network.change_address(1);
        assert_eq!(heard(&mut network, 0, old), [0; 0]);
        let new = To::Unicast(network.address(1));
        assert_eq!(heard(&mut network, 0, new), [1]);
        network.plug(1, false);
        assert_eq!(heard(&mut network, 0, new), [0; 0]);
        assert_eq!(network.interfaces(1).len(), 1);
    }

    #[test]
    fn partitions_have_a_direction_and_overlap() {
        let mut network = pair();
        let (to_0, to_1) = (To::Unicast(network.address(0)), To::Unicast(network.address(1)));
        network.block(0, 1, false);
        network.block(0, 1, true);
        assert_eq!((heard(&mut network, 0, to_1), heard(&mut network, 1, to_0)), (Vec::new(), Vec::new()));
        network.unblock(0, 1, true);
        assert_eq!((heard(&mut network, 0, to_1), heard(&mut network, 1, to_0)), (vec![], vec![0]));
        network.unblock(0, 1, false);
        assert_eq!(heard(&mut network, 0, to_1), [1]);
    }

    #[test]
    fn weather_strikes_about_as_often_as_it_says() {
        let mut network = pair();
        network.weather = Weather { corrupt: 100, truncate: 100, duplicate: 100, ..Weather::lossy(200) };
        let to = To::Unicast(network.address(1));
        let mut fired = Fired::default();
        let arrived: usize = (0..10_000).map(|_| network.send(0, to, &[7; 100], &mut fired).len()).sum();
        assert!((1_800..2_200).contains(&fired.count(Fault::Loss)), "{fired:?}");
        assert_eq!(arrived as u64, 10_000 - fired.count(Fault::Loss) + fired.count(Fault::Duplicate));
        assert!(fired.count(Fault::Corrupt) > 600 && fired.count(Fault::Truncate) > 600);
    }

    #[test]
    fn bursts_lose_rows() {
        let mut network = pair();
        network.weather.burst = Some((10, 100, 1_000));
        let to = To::Unicast(network.address(1));
        let lost: Vec<bool> = (0..20_000).map(|_| heard(&mut network, 0, to).is_empty()).collect();
        let total = lost.iter().filter(|lost| **lost).count();
        let rows = lost.windows(2).filter(|pair| pair[1] && !pair[0]).count();
        assert!((1_000..3_000).contains(&total), "{total}");
        assert!(total > 5 * rows, "{total} lost in {rows} rows");
    }

    #[test]
    fn small_links_swallow_large_datagrams() {
        let mut network = pair();
        network.weather.mtu = 1_280;
        let to = To::Unicast(network.address(1));
        let mut fired = Fired::default();
        assert_eq!(network.send(0, to, &[0; 1_252], &mut fired).len(), 1);
        assert_eq!(network.send(0, to, &[0; 1_253], &mut fired).len(), 0);
        assert_eq!(fired.count(Fault::SmallMtu), 2, "both met it");
    }
}
