//! Which router stands between us and the internet, and from which address of ours we reach it. What it is
//! asked does not live here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crab_nat::GATEWAY_PORT;

use crate::wire::addr::is_global;

/// Bytes of the routing table that are read: the default routes stand at its beginning.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TABLE_LEN_MAX: u64 = 64 * 1_024;

/// A router, and our address on its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) router: Ipv4Addr,
    pub(super) client: Ipv4Addr,
}

/// The default router for IPv4, where our address towards it is a private one: who has a global address
/// needs nothing mapped. `None` too where the system does not say.
pub(super) fn find() -> Option<Gateway> {
    let router = default_router()?;
    // Nothing is sent: the system only says from which address it would be.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((router, GATEWAY_PORT)).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(local) if is_private(*local.ip()) => Some(Gateway { router, client: *local.ip() }),
        _ => None,
    }
}

/// RFC 1918, or what a provider's NAT gives (RFC 6598).
fn is_private(v4: Ipv4Addr) -> bool {
    // Any port that a peer may have.
    let any = SocketAddr::new(IpAddr::V4(v4), u16::MAX);
    !is_global(&any) && !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn default_router() -> Option<Ipv4Addr> {
    use std::io::Read;
    let mut table = String::new();
    std::fs::File::open("/proc/net/route").ok()?.take(TABLE_LEN_MAX).read_to_string(&mut table).ok()?;
    parse_default(&table)
}

/// The other systems say it only by routing sockets: there others find us by introductions alone.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn default_router() -> Option<Ipv4Addr> {
    None
}

/// Of the lines of /proc/net/route (interface, destination, gateway, flags, counts, metric, mask, …; addresses in
/// hexadecimal as they lie in memory) the default route with the lowest metric.
#[cfg(any(target_os = "linux", target_os = "android", test))]
fn parse_default(table: &str) -> Option<Ipv4Addr> {
    const RTF_UP: u32 = 0x1;
    const RTF_GATEWAY: u32 = 0x2;
    const RTF_REJECT: u32 = 0x200;
    let hex = |field: &str| u32::from_str_radix(field, 16).ok();
    let default = |line: &str| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [_, to, router, flags, _, _, metric, mask, ..] = fields[..] else { return None };
        let is_default = hex(to)? == 0 && hex(mask)? == 0;
        let leads = hex(flags)? & (RTF_UP | RTF_GATEWAY | RTF_REJECT) == RTF_UP | RTF_GATEWAY;
        let router = Ipv4Addr::from(hex(router)?.to_ne_bytes());
        (is_default && leads).then_some((metric.parse::<u32>().ok()?, router))
    };
    table.lines().filter_map(default).min_by_key(|(metric, _)| *metric).map(|(_, router)| router)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    /// A line as the kernel of this machine would write it.
    fn line(to: [u8; 4], router: [u8; 4], flags: u32, metric: u32, mask: u32) -> String {
        let [to, router] = [to, router].map(u32::from_ne_bytes);
        format!("eth0\t{to:08X}\t{router:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0\n")
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        let lan = line([10, 0, 0, 0], [0; 4], 1, 0, u32::MAX);
        let wifi = line([0; 4], [192, 168, 1, 1], 3, 600, 0);
        let cable = line([0; 4], [10, 0, 0, 1], 3, 100, 0);
        assert_eq!(parse_default(&format!("{HEAD}{wifi}{lan}{cable}")), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(parse_default(&format!("{HEAD}{lan}")), None);
        let tunnel = line([0; 4], [0; 4], 1, 0, 0);
        let rejected = line([0; 4], [10, 0, 0, 9], 0x203, 0, 0);
        let half = line([0; 4], [10, 0, 0, 9], 3, 0, 1);
        assert_eq!(parse_default(&format!("{HEAD}{tunnel}{rejected}{half}{wifi}")), Some(Ipv4Addr::new(192, 168, 1, 1)));
        for nonsense in ["", "\n\n", "eth0 zz zz zz 0 0 0 zz", "eth0 00000000 0101A8C0 0003 0 0 -1 00000000 0 0 0"] {
            assert_eq!(parse_default(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn only_who_has_a_private_address_needs_a_mapping() {
        for (text, private) in [
            ("10.1.2.3", true),
            ("172.16.0.9", true),
            ("192.168.1.7", true),
            ("100.64.0.9", true),
            ("127.0.0.1", false),
            ("169.254.0.1", false),
            ("0.0.0.0", false),
            ("203.0.113.9", false),
        ] {
            assert_eq!(is_private(text.parse().unwrap()), private, "{text}");
        }
    }
}
