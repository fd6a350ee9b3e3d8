//! Network interfaces as the core sees them: values that `net` reads and hands in.

use std::net::{IpAddr, SocketAddr};

/// One interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The system's number for it; what multicast is joined and sent by.
    pub index: u32,
    /// The system's name for it.
    pub name: String,
    /// Usable addresses with their prefix lengths; a tentative IPv6 address is not among them.
    pub addrs: Vec<(IpAddr, u8)>,
    /// It carries multicast.
    pub multicast: bool,
    /// It is a loopback interface.
    pub loopback: bool,
    /// It has exactly one peer, as tunnels do.
    pub point_to_point: bool,
}

/// True where `remote` lies in a subnet of one of our interfaces, is IPv6 link-local, or is this machine.
pub fn on_link(interfaces: &[Interface], remote: &SocketAddr) -> bool {
    let ip = remote.ip().to_canonical();
    if ip.is_loopback() || matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return true;
    }
    interfaces
        .iter()
        .filter(|interface| !interface.point_to_point)
        .flat_map(|interface| &interface.addrs)
        .any(|(addr, prefix)| same_subnet(*addr, *prefix, ip))
}

/// Where we take part in multicast: one interface and the families it has addresses of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    /// The interface's index.
    pub index: u32,
    /// Join, hear and send IPv4.
    pub v4: bool,
    /// Join, hear and send IPv6.
    pub v6: bool,
}

/// The memberships that these interfaces call for, by index: every one that carries multicast, is not
/// point-to-point and has an address; where there is none, loopback for IPv4, so that people on one
/// machine meet without a network (protocol, ANNOUNCE). `only` names the interfaces to use; empty: all.
pub fn memberships(interfaces: &[Interface], only: &[String]) -> Vec<Membership> {
    let wanted = |interface: &&Interface| only.is_empty() || only.contains(&interface.name);
    let member = |interface: &Interface| Membership {
        index: interface.index,
        v4: interface.addrs.iter().any(|(addr, _)| addr.is_ipv4()),
        v6: interface.addrs.iter().any(|(addr, _)| addr.is_ipv6()),
    };
    let mut members: Vec<_> = interfaces
        .iter()
        .filter(wanted)
        .filter(|interface| interface.multicast && !interface.loopback && !interface.point_to_point)
        .map(member)
        .filter(|member| member.v4 || member.v6)
        .collect();
    if members.is_empty() {
        let loopback = interfaces.iter().filter(wanted).filter(|interface| interface.loopback).map(member);
        members = loopback.filter(|member| member.v4).map(|member| Membership { v6: false, ..member }).collect();
    }
    members.sort_unstable();
    members
}

fn same_subnet(addr: IpAddr, prefix: u8, other: IpAddr) -> bool {
    match (addr, other) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(prefix.into())).unwrap_or(0);
            u32::from(a) & mask == u32::from(b) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(prefix.into())).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, addrs: &[&str]) -> Interface {
        let addrs = addrs.iter().map(|addr| (addr.parse().expect("an address"), 24)).collect();
        let name = format!("if{index}");
        Interface { index, name, addrs, multicast: true, loopback: false, point_to_point: false }
    }

    fn loopback() -> Interface {
        Interface { multicast: false, loopback: true, ..interface(1, &["127.0.0.1", "::1"]) }
    }

    #[test]
    fn discovery_uses_each_family_that_an_interface_has() {
        let both = interface(2, &["192.0.2.1", "fe80::1"]);
        let only_v6 = interface(3, &["fe80::2"]);
        let tunnel = Interface { point_to_point: true, ..interface(4, &["198.51.100.1"]) };
        let link = |index, v4, v6| Membership { index, v4, v6 };
        let all = [loopback(), both, only_v6, tunnel];
        assert_eq!(memberships(&all, &[]), [link(2, true, true), link(3, false, true)]);
        assert_eq!(memberships(&all, &["if3".to_owned()]), [link(3, false, true)]);
    }

    #[test]
    fn alone_on_a_machine_discovery_falls_back_to_loopback() {
        let tunnel = Interface { point_to_point: true, ..interface(4, &["198.51.100.1"]) };
        assert_eq!(memberships(&[loopback(), tunnel], &[]), [Membership { index: 1, v4: true, v6: false }]);
        assert_eq!(memberships(&[], &[]), []);
    }

    #[test]
    fn on_link_is_a_subnet_of_ours_link_local_or_this_machine() {
        let ours = [interface(2, &["192.0.2.1"])];
        for (remote, expected) in [
            ("192.0.2.200:1", true),
            ("192.0.3.1:1", false),
            ("127.0.0.1:1", true),
            ("[fe80::9%2]:1", true),
            ("[2001:db8::1]:1", false),
        ] {
            assert_eq!(on_link(&ours, &remote.parse().expect("an address")), expected, "{remote}");
        }
        let tunnel = [Interface { point_to_point: true, ..interface(2, &["192.0.2.1"]) }];
        assert!(!on_link(&tunnel, &"192.0.2.200:1".parse().expect("an address")));
    }
}
