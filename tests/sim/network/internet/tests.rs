//! Ways across the internet: who reaches whom, from what address, after what time.

use std::collections::BTreeMap;

use super::*;
use crate::network::SESSION_PORT;

const SEED_PORT: u16 = 17_119;

/// A network, the time, and what was told about faults.
struct Scene {
    network: Network,
    now: Duration,
    fired: Fired,
}

impl Scene {
    /// Segments 1 and 2 have a router each, 3 has none. Hosts 0 and 1 are on the first, 2 on the second, 3 on
    /// the third; 4 and 5 are public.
    fn new(kind: Kind) -> Self {
        let mut network = Network::new(1);
        assert_eq!([1, 1, 2, 3].map(|segment| network.add_host(&[segment], true, true)), [0, 1, 2, 3]);
        assert_eq!([1, 2].map(|segment| network.add_router(segment, kind)), [0, 1]);
        assert_eq!([SEED_PORT, SESSION_PORT].map(|port| network.add_public_host(port)), [4, 5]);
        Self { network, now: Duration::from_secs(1), fired: Fired::default() }
    }

    /// Sends, and follows the datagram to its end: who hears it how, after what time.
    fn send(&mut self, host: usize, to: SocketAddr) -> Vec<(Duration, usize, Parcel)> {
        let mut under_way = BTreeMap::new();
        let mut ends = Vec::new();
        let mut arrivals = self.network.send(host, To::Unicast(to), b"hello", &mut self.fired);
        let mut since = Duration::ZERO;
        loop {
            for arrival in arrivals {
                under_way.insert((since + arrival.after, under_way.len()), arrival);
            }
            let Some(((at, _), arrival)) = under_way.pop_first() else { return ends };
            since = at;
            arrivals = match arrival.at {
                Place::Host(host) => {
                    ends.push((at, host, arrival.parcel));
                    Vec::new()
                }
                _ => self.network.route(self.now + at, arrival, &mut self.fired),
            };
        }
    }

    /// The source of what one host sends to another's address, as seen there.
    fn seen_from(&mut self, host: usize, to: SocketAddr) -> Option<(usize, SocketAddr)> {
        let ends = self.send(host, to);
        assert!(ends.len() <= 1, "{ends:?}");
        ends.into_iter().next().map(|(_, host, parcel)| (host, parcel.from))
    }
}

#[test]
fn a_host_behind_a_router_is_seen_by_its_public_address_and_hears_the_answer() {
    let mut scene = Scene::new(Kind::PORT_RESTRICTED_CONE);
    let seed = scene.network.address(4);
    assert_eq!(seed.to_string(), "203.0.113.5:17119");
    let ends = scene.send(0, seed);
    let [(after, 4, parcel)] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!(parcel.from.to_string(), "198.51.100.1:17118");
    assert_eq!((parcel.to, parcel.discovery, parcel.bytes.as_slice()), (seed, false, &b"hello"[..]));
    assert!(parcel.hop_limit < 64, "it was routed: {}", parcel.hop_limit);
    assert_eq!(*after, Weather::CLEAN.delay + DELAY, "the segment and the way across");
    let ends = scene.send(4, parcel.from);
    let [(_, 0, answer)] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!((answer.from, answer.to), (seed, scene.network.address(0)));
    assert!(answer.hop_limit < 64 && answer.interface == 2);
    let mapped = parcel.from;
    assert_eq!(scene.seen_from(5, mapped), None, "nobody asked");
}

#[test]
fn neighbours_talk_without_the_router_and_private_addresses_lead_nowhere_else() {
    let mut scene = Scene::new(Kind::FULL_CONE);
    let address = [0, 1, 2, 3].map(|host| scene.network.address(host));
    let ends = scene.send(0, address[1]);
    let [(after, 1, parcel)] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!((*after, parcel.hop_limit, parcel.from), (Weather::CLEAN.delay, 255, address[0]));
    for (from, to) in [(0, 2), (0, 3), (3, 0), (4, 0), (4, 3)] {
        assert_eq!(scene.seen_from(from, address[to]), None, "{from} to {to}");
    }
    let seed = scene.network.address(4);
    assert_eq!(scene.seen_from(3, seed), None, "a segment without a router");
}

#[test]
fn public_hosts_reach_each_other_and_are_nobodys_neighbours() {
    let mut scene = Scene::new(Kind::FULL_CONE);
    let (seed, other) = (scene.network.address(4), scene.network.address(5));
    assert_eq!(scene.seen_from(4, other), Some((5, seed)));
    assert_eq!(scene.seen_from(4, seed), Some((4, seed)), "itself");
    let odd = SocketAddr::new(other.ip(), 9);
    assert_eq!(scene.seen_from(4, odd), Some((5, seed)), "every port of a victim counts");
    let interfaces = scene.network.interfaces(4);
    assert_eq!(interfaces[0].addrs, [(seed.ip(), 32)]);
    assert_eq!(scene.network.send(4, To::Multicast { interface: 2, v6: false }, b"x", &mut Fired::default()).len(), 0);
    scene.network.change_address(5);
    assert_eq!(scene.seen_from(4, other), None);
    let moved = scene.network.address(5);
    assert_eq!(scene.seen_from(4, moved), Some((5, seed)));
}

#[test]
fn two_hosts_behind_one_router_meet_outside_only_with_a_hairpin() {
    for hairpin in [false, true] {
        let mut scene = Scene::new(Kind { hairpin, ..Kind::FULL_CONE });
        let seed = scene.network.address(4);
        let [alice, bob] = [0, 1].map(|host| scene.seen_from(host, seed).expect("the seed hears it").1);
        assert_ne!(alice, bob);
        assert_eq!(scene.seen_from(0, bob), hairpin.then_some((1, alice)));
    }
}

#[test]
fn without_the_internet_segments_go_on() {
    let mut scene = Scene::new(Kind::FULL_CONE);
    let (seed, neighbour) = (scene.network.address(4), scene.network.address(1));
    let mapped = scene.seen_from(0, seed).expect("the seed hears it").1;
    scene.network.internet.plugged = false;
    assert_eq!((scene.seen_from(0, seed), scene.seen_from(4, mapped), scene.seen_from(5, seed)), (None, None, None));
    assert_eq!(scene.fired.count(Fault::InternetDown), 3);
    assert!(scene.seen_from(0, neighbour).is_some());
    scene.network.heal();
    assert!(scene.seen_from(4, mapped).is_some());
}

#[test]
fn a_router_that_starts_anew_forgets_and_one_that_moved_is_elsewhere() {
    let mut scene = Scene::new(Kind::FULL_CONE);
    let seed = scene.network.address(4);
    let mapped = scene.seen_from(0, seed).expect("the seed hears it").1;
    assert!(scene.seen_from(5, mapped).is_some());
    scene.network.reboot_router(0);
    assert_eq!(scene.seen_from(5, mapped), None);
    assert_eq!(scene.seen_from(0, seed), Some((4, mapped)));
    scene.network.renumber_router(0);
    assert_eq!(scene.seen_from(5, mapped), None);
    let moved = scene.seen_from(0, seed).expect("the seed hears it").1;
    assert_eq!((moved.ip(), moved.port()), (scene.network.router_address(0).into(), mapped.port()));
    assert_ne!(moved, mapped);
}

#[test]
fn mappings_end_at_their_time() {
    let mut scene = Scene::new(Kind::FULL_CONE);
    let seed = scene.network.address(4);
    let mapped = scene.seen_from(0, seed).expect("the seed hears it").1;
    scene.now += Duration::from_secs(29);
    assert!(scene.seen_from(5, mapped).is_some());
    scene.now += Duration::from_secs(2);
    assert_eq!(scene.seen_from(5, mapped), None);
}

#[test]
fn segments_and_the_way_across_have_weather_of_their_own() {
    let mut scene = Scene::new(Kind::FULL_CONE);
    let (seed, neighbour) = (scene.network.address(4), scene.network.address(1));
    scene.network.internet.weather.loss = 1_000;
    assert_eq!(scene.seen_from(0, seed), None);
    assert!(scene.seen_from(0, neighbour).is_some());
    scene.network.internet.weather = Weather { mtu: 32, ..Internet::FAR };
    assert_eq!(scene.seen_from(0, seed), None, "five bytes and two headers");
    scene.network.internet.weather.mtu = 33;
    assert!(scene.seen_from(0, seed).is_some());
    scene.network.weather.loss = 1_000;
    assert_eq!((scene.seen_from(0, seed), scene.seen_from(0, neighbour)), (None, None));
    assert!(scene.seen_from(5, seed).is_some(), "no segment lies between them");
}

#[test]
fn a_partition_parts_two_hosts_across_the_internet_too() {
    let mut scene = Scene::new(Kind::FULL_CONE);
    let seed = scene.network.address(4);
    let mapped = scene.seen_from(0, seed).expect("the seed hears it").1;
    scene.network.block(4, 0, false);
    assert_eq!(scene.seen_from(4, mapped), None);
    assert!(scene.seen_from(5, mapped).is_some() && scene.seen_from(0, seed).is_some());
}

#[test]
fn two_segments_behind_one_router_see_each_other_by_its_outside_or_not_at_all() {
    for hairpin in [true, false] {
        let mut scene = Scene::new(Kind { hairpin, ..Kind::FULL_CONE });
        scene.network.join_router(0, 3);
        let (inside, seed) = (scene.network.address(3), scene.network.address(4));
        assert_eq!(scene.seen_from(3, seed), Some((4, "198.51.100.1:17118".parse().unwrap())));
        assert_eq!(scene.seen_from(0, inside), None, "it does not route between them");
        let outside = SocketAddr::from((scene.network.router_address(0), SESSION_PORT));
        let seen = scene.seen_from(0, outside);
        assert_eq!(seen.map(|(host, from)| (host, from.ip())), hairpin.then_some((3, outside.ip())));
        assert_eq!(scene.seen_from(4, outside).map(|(host, _)| host), Some(3));
    }
}
