//! The internet of a world: routers with a NAT that join segments to it, and hosts with public
//! addresses, each on a line of its own. IPv4 only: the IPv6 addresses of a world are link-local and unique
//! local (RFC 4193), which nobody routes between sites.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{Arrival, Card, DISCOVERY_PORT, Network, Parcel, Place, To, Weather, Wire};
use crate::{
    dice::Dice,
    faults::{Fault, Fired},
    nat::{Kind, Nat},
};

/// What a datagram begins with that is to be routed (the systems' default).
const HOP_LIMIT: u8 = 64;
/// One way.
const DELAY: Duration = Duration::from_millis(20);

/// All routers and what lies between them.
pub(crate) struct Internet {
    rng_seed: u64,
    /// On every way between two public addresses. Segments have their own.
    pub(crate) weather: Weather,
    /// Without it, segments go on.
    pub(crate) plugged: bool,
    routers: Vec<Router>,
}

struct Router {
    /// It does not route between them, as with a guests' Wi-Fi.
    segments: Vec<usize>,
    nat: Nat,
    generation: u8,
}

impl Internet {
    /// Fine weather between far places.
    pub(crate) const FAR: Weather = Weather { delay: DELAY, ..Weather::CLEAN };

    pub(super) fn new(rng_seed: u64) -> Self {
        Self { rng_seed, weather: Self::FAR, plugged: true, routers: Vec::new() }
    }

    pub(super) fn heal(&mut self) {
        (self.weather, self.plugged) = (Self::FAR, true);
    }

    fn router_of(&self, segment: usize) -> Option<usize> {
        self.routers.iter().position(|router| router.segments.contains(&segment))
    }
}

/// Sorted: getters, what is built, what befalls it, the way of a datagram.
impl Network {
    /// The public address that a router has now.
    pub(crate) fn router_address(&self, router: usize) -> Ipv4Addr {
        self.internet.routers[router].nat.public()
    }

    /// Joins a segment to the internet; the router's number. A segment has one at most.
    pub(crate) fn add_router(&mut self, segment: usize, kind: Kind) -> usize {
        assert!(self.internet.router_of(segment).is_none(), "segment {segment} has a router");
        let number = self.internet.routers.len();
        let dice = Dice::new(self.internet.rng_seed, &format!("router {number}"));
        let nat = Nat::new(kind, public_address(number, 0), dice);
        self.internet.routers.push(Router { segments: vec![segment], nat, generation: 0 });
        number
    }

    /// One more segment behind a router.
    pub(crate) fn join_router(&mut self, router: usize, segment: usize) {
        assert!(self.internet.router_of(segment).is_none(), "segment {segment} has a router");
        self.internet.routers[router].segments.push(segment);
    }

    /// A host with a public address, which sends from this port; its number. Every port of it is open.
    pub(crate) fn add_public_host(&mut self, port: u16) -> usize {
        let host = self.hosts.len();
        let mut card =
            Card { index: 2, wire: Wire::Public, port, v4: Some(Ipv4Addr::UNSPECIFIED), v6: None, plugged: true, generation: 0 };
        card.number(host);
        self.hosts.push(vec![card]);
        host
    }

    /// The router starts anew: all mappings are lost.
    pub(crate) fn reboot_router(&mut self, router: usize) {
        self.internet.routers[router].nat.reboot();
    }

    /// It is of another kind from now on, under the same public address; what is mapped stays.
    pub(crate) fn change_router(&mut self, router: usize, kind: Kind) {
        self.internet.routers[router].nat.change(kind);
    }

    /// The router gets another public address.
    pub(crate) fn renumber_router(&mut self, router: usize) {
        let it = &mut self.internet.routers[router];
        it.generation += 1;
        it.nat.renumber(public_address(router, it.generation));
    }

    /// A datagram that nobody on the host's links is meant by: to the router, where there is one.
    pub(super) fn send_routed(&mut self, host: usize, to: To, bytes: &[u8], fired: &mut Fired) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        let To::Unicast(to @ SocketAddr::V4(_)) = to else { return arrivals };
        let Some((card, at)) = self.gateway(host) else { return arrivals };
        let from = card.v4_source().expect("a gateway is of IPv4");
        let parcel = card.parcel(from, to, HOP_LIMIT, bytes.to_vec());
        let arrival = Arrival { after: Duration::ZERO, origin: host, at, parcel };
        if at == Place::Host(host) {
            self.across(at, arrival, fired, &mut arrivals);
        } else if self.weather.lets_through(bytes.len(), false, fired) {
            self.carry(self.weather.clone(), Place::Host(host), arrival, fired, &mut arrivals);
        }
        arrivals
    }

    /// A datagram leaves a public host under a source that it chose: nobody on its way asks whose it is.
    pub(crate) fn spoof(
        &mut self,
        host: usize,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        fired: &mut Fired,
    ) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        let Some((card, at @ Place::Host(_))) = self.gateway(host) else { return arrivals };
        let parcel = card.parcel(from, to, HOP_LIMIT, bytes.to_vec());
        self.across(at, Arrival { after: Duration::ZERO, origin: host, at, parcel }, fired, &mut arrivals);
        arrivals
    }

    /// By which of its interfaces a host reaches the internet, and what is at the end of that wire: a router,
    /// or, where the line is its own, nothing but itself.
    fn gateway(&self, host: usize) -> Option<(&Card, Place)> {
        self.hosts[host].iter().filter(|card| card.plugged && card.v4.is_some()).find_map(|card| match card.wire {
            Wire::Public => Some((card, Place::Host(host))),
            Wire::Segment(segment) => Some((card, Place::Inside(self.internet.router_of(segment)?))),
        })
    }

    /// A datagram that has arrived at a router goes on; where and when it arrives next.
    pub(crate) fn route(&mut self, now: Duration, mut arrival: Arrival, fired: &mut Fired) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        let Parcel { from: SocketAddr::V4(from), to: SocketAddr::V4(to), .. } = arrival.parcel else { return arrivals };
        arrival.parcel.hop_limit -= 1;
        match arrival.at {
            Place::Inside(router) => {
                let nat = &mut self.internet.routers[router].nat;
                if *to.ip() == nat.public() {
                    let Some((source, inner)) = nat.handle_hairpin(now, from, to.port()) else { return arrivals };
                    (arrival.parcel.from, arrival.parcel.to) = (source.into(), inner.into());
                    self.enter_segment(router, arrival, fired, &mut arrivals);
                } else if let Some(source) = nat.handle_outbound(now, from, to) {
                    arrival.parcel.from = source.into();
                    self.across(Place::Outside(router), arrival, fired, &mut arrivals);
                }
            }
            Place::Outside(router) => {
                let Some(inner) = self.internet.routers[router].nat.handle_inbound(now, from, to.port()) else { return arrivals };
                arrival.parcel.to = inner.into();
                self.enter_segment(router, arrival, fired, &mut arrivals);
            }
            Place::Host(host) => unreachable!("host {host} routes nothing"),
        }
        arrivals
    }

    /// From a public address to another. Nobody there, or an address that is private: it is dropped.
    fn across(&mut self, from: Place, mut arrival: Arrival, fired: &mut Fired, arrivals: &mut Vec<Arrival>) {
        if !self.internet.plugged {
            return fired.strike(Fault::InternetDown);
        }
        let Parcel { to: SocketAddr::V4(to), ref bytes, .. } = arrival.parcel else { return };
        if !self.internet.weather.lets_through(bytes.len(), false, fired) {
            return;
        }
        let Some(at) = self.public_place(*to.ip()) else { return };
        arrival.at = at;
        arrival.parcel.hop_limit -= 1;
        if let Place::Host(host) = at {
            arrival.parcel.interface = self.hosts[host][0].index;
        }
        self.carry(self.internet.weather.clone(), from, arrival, fired, arrivals);
    }

    /// Whose public address it is.
    fn public_place(&self, ip: Ipv4Addr) -> Option<Place> {
        let is_there = |card: &Card| card.wire == Wire::Public && card.plugged && card.v4 == Some(ip);
        let host = self.hosts.iter().position(|cards| cards.iter().any(is_there));
        let router = || self.internet.routers.iter().position(|router| router.nat.public() == ip);
        host.map(Place::Host).or_else(|| router().map(Place::Outside))
    }

    /// The last leg, to a host behind the router.
    fn enter_segment(&mut self, router: usize, mut arrival: Arrival, fired: &mut Fired, arrivals: &mut Vec<Arrival>) {
        let Parcel { to: SocketAddr::V4(to), ref bytes, .. } = arrival.parcel else { return };
        if !self.weather.lets_through(bytes.len(), false, fired) {
            return;
        }
        let behind = &self.internet.routers[router].segments;
        let is_behind = |wire: Wire| matches!(wire, Wire::Segment(segment) if behind.contains(&segment));
        let is_there = |card: &&Card| is_behind(card.wire) && card.plugged && card.v4 == Some(*to.ip()) && card.hears(to.port());
        let card = self.hosts.iter().enumerate().find_map(|(host, cards)| Some((host, cards.iter().find(is_there)?)));
        let Some((host, card)) = card else { return };
        (arrival.at, arrival.parcel.interface) = (Place::Host(host), card.index);
        arrival.parcel.discovery = to.port() == DISCOVERY_PORT;
        self.carry(self.weather.clone(), Place::Inside(router), arrival, fired, arrivals);
    }
}

/// Routers and hosts are numbered from different test networks (RFC 5737), the former from 198.51.100.0/24.
fn public_address(router: usize, generation: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100 + generation, router as u8 + 1)
}

#[cfg(test)]
mod tests;
