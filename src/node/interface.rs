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

/// True where `remote` lies in a subnet of one of our interfaces, is IPv6 link-local, or is this machine
/// (cli: on-link).
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
