//! Segments, weather and partitions.

use super::*;

fn pair() -> Network {
    let mut network = Network::new(1);
    network.add_host(&[0], true, true);
    network.add_host(&[0, 1], true, true);
    network.add_host(&[1], true, false);
    network
}

/// The host where it ends.
fn receiver(arrival: &Arrival) -> usize {
    let Place::Host(host) = arrival.at else { panic!("{arrival:?}") };
    host
}

fn heard(network: &mut Network, host: usize, to: To) -> Vec<usize> {
    network.send(host, to, b"hello", &mut Fired::default()).iter().map(receiver).collect()
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
