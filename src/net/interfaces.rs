//! Which interfaces there are, read from the system into the core's values. What is done with them does
//! not live here.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv6Addr},
};

use if_addrs::IfAddr;
use nix::net::if_::InterfaceFlags;

use crate::node::interface::Interface;

/// The interfaces that are up and have a carrier and a usable address, by index. Errors where the system
/// does not list them.
pub fn read() -> io::Result<Vec<Interface>> {
    let flags: BTreeMap<String, InterfaceFlags> =
        nix::ifaddrs::getifaddrs()?.map(|entry| (entry.interface_name, entry.flags)).collect();
    let tentative = tentative();
    let mut by_index = BTreeMap::<u32, Interface>::new();
    for entry in if_addrs::get_if_addrs()? {
        let (Some(index), Some(flags)) = (entry.index, flags.get(&entry.name)) else { continue };
        let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
        if !flags.contains(up) {
            continue;
        }
        let (addr, prefix) = match &entry.addr {
            IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen),
            IfAddr::V6(v6) if tentative.contains(&(index, v6.ip)) => continue,
            IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen),
        };
        let interface = by_index.entry(index).or_insert_with(|| Interface {
            index,
            // Linux calls a further IPv4 address by a label, `eth0:1`.
            name: entry.name.split(':').next().unwrap_or_default().to_owned(),
            addrs: Vec::new(),
            multicast: flags.contains(InterfaceFlags::IFF_MULTICAST),
            loopback: flags.contains(InterfaceFlags::IFF_LOOPBACK),
            point_to_point: flags.contains(InterfaceFlags::IFF_POINTOPOINT),
        });
        interface.addrs.push((addr, prefix));
    }
    let mut interfaces: Vec<_> = by_index.into_values().collect();
    for interface in &mut interfaces {
        interface.addrs.sort_unstable();
        interface.addrs.dedup();
    }
    Ok(interfaces)
}

/// IPv6 addresses that may not be used yet, or never: duplicate detection runs, or found another owner.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn tentative() -> BTreeSet<(u32, Ipv6Addr)> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    table.lines().filter_map(parse_tentative).collect()
}

/// The system does not say it in a file: an address that is not usable yet fails to send, which is a loss.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn tentative() -> BTreeSet<(u32, Ipv6Addr)> {
    BTreeSet::new()
}

/// A line of /proc/net/if_inet6: address, index, prefix, scope, flags, name; numbers in hexadecimal.
#[cfg(any(target_os = "linux", target_os = "android", test))]
fn parse_tentative(line: &str) -> Option<(u32, Ipv6Addr)> {
    const IFA_F_DADFAILED: u8 = 0x08;
    const IFA_F_TENTATIVE: u8 = 0x40;
    let mut fields = line.split_ascii_whitespace();
    let addr = u128::from_str_radix(fields.next()?, 16).ok()?;
    let index = u32::from_str_radix(fields.next()?, 16).ok()?;
    let flags = u8::from_str_radix(fields.nth(2)?, 16).ok()?;
    (flags & (IFA_F_DADFAILED | IFA_F_TENTATIVE) != 0).then(|| (index, Ipv6Addr::from(addr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tentative_addresses_are_told_from_usable_ones() {
        let line = "fe80000000000000005056fffec00008 02 40 20 c0     eth0";
        assert_eq!(parse_tentative(line), Some((2, "fe80::50:56ff:fec0:8".parse().unwrap())));
        assert_eq!(parse_tentative(&line.replace(" c0 ", " 80 ")), None);
        assert_eq!(parse_tentative(&line.replace(" c0 ", " 88 ")).map(|(index, _)| index), Some(2));
        assert_eq!(parse_tentative("nonsense"), None);
        assert_eq!(parse_tentative(""), None);
    }

    /// The system's own table is the oracle: what is usable there must be here, link-local addresses too.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn every_usable_ipv6_address_is_seen() {
        let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        for interface in read().unwrap() {
            let suffix = format!(" {}", interface.name);
            for line in table.lines().filter(|line| line.ends_with(&suffix) && parse_tentative(line).is_none()) {
                let addr = IpAddr::V6(u128::from_str_radix(&line[..32], 16).unwrap().into());
                assert!(interface.addrs.iter().any(|(known, _)| *known == addr), "{addr}: {interface:?}");
            }
        }
    }
}
