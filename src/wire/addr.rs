//! Addresses as values on the wire, and which of them may be dialled at all on a stranger's word
//! (protocol, SEEDS). Whether one is proved, and who may be probed, is `node`'s affair.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bincode::{BorrowDecode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Ports below this belong to services that never asked for our datagrams.
const PORT_MIN: u16 = 1_024;

/// An address in a bincode body: which IP version, the address, the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) enum AddrForm {
    V4([u8; 4], u16),
    V6([u8; 16], u16),
}

impl From<SocketAddr> for AddrForm {
    fn from(addr: SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets(), addr.port()),
            IpAddr::V6(v6) => Self::V6(v6.octets(), addr.port()),
        }
    }
}

impl From<AddrForm> for SocketAddr {
    fn from(form: AddrForm) -> Self {
        match form {
            AddrForm::V4(octets, port) => Self::from((Ipv4Addr::from(octets), port)),
            // An IPv4 address in disguise is that IPv4 address: one value, one form.
            AddrForm::V6(octets, port) => Self::new(Ipv6Addr::from(octets).to_canonical(), port),
        }
    }
}

/// An address in a MessagePack map: its 4 or 16 octets and the port, big endian, as one byte string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addr(pub SocketAddr);

impl Serialize for Addr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let port = self.0.port().to_be_bytes();
        let octets = match self.0.ip().to_canonical() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        serializer.serialize_bytes(&[&octets[..], &port].concat())
    }
}

impl<'de> Deserialize<'de> for Addr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <serde_bytes::ByteBuf>::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("an address has 6 or 18 bytes");
        let (octets, port) = bytes.split_last_chunk::<2>().ok_or_else(wrong)?;
        let ip = match (<[u8; 4]>::try_from(octets), <[u8; 16]>::try_from(octets)) {
            (Ok(v4), _) => IpAddr::from(v4),
            (_, Ok(v6)) => Ipv6Addr::from(v6).to_canonical(),
            _ => return Err(wrong()),
        };
        Ok(Self(SocketAddr::new(ip, u16::from_be_bytes(*port))))
    }
}

/// True where a datagram may be sent to `addr` because somebody says that a peer is there: a unicast
/// address of a host, on a port that no service of the system has. `loopback`: also to this machine
/// itself, which makes sense only where it was heard there.
pub fn is_dialable(addr: &SocketAddr, loopback: bool) -> bool {
    if addr.port() < PORT_MIN {
        return false;
    }
    match addr.ip() {
        IpAddr::V4(v4) => is_dialable_v4(v4, loopback),
        // An IPv4 address in disguise would pass rules that are written for IPv4.
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() || is_compatible(v6) => false,
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && (loopback || !v6.is_loopback()),
    }
}

fn is_dialable_v4(v4: Ipv4Addr, loopback: bool) -> bool {
    let [first, ..] = v4.octets();
    first != 0 && first < 240 && !v4.is_multicast() && (loopback || !v4.is_loopback())
}

/// `::a.b.c.d` (RFC 4291 §2.5.5.1), which nobody uses any more.
fn is_compatible(v6: Ipv6Addr) -> bool {
    matches!(v6.segments(), [0, 0, 0, 0, 0, 0, high, low] if (high, low) != (0, 0) && (high, low) != (0, 1))
}

/// True where `addr` says something on the internet: neither private (RFC 1918, RFC 4193, RFC 6598), nor
/// link-local, nor this machine. What a record may list.
pub fn is_global(addr: &SocketAddr) -> bool {
    is_dialable(addr, false)
        && match addr.ip() {
            IpAddr::V4(v4) => {
                let shared = matches!(v4.octets(), [100, 64..=127, ..]);
                !v4.is_private() && !v4.is_link_local() && !shared
            }
            IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unique_local(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nobody_can_be_aimed_at_what_is_no_host() {
        for (text, dialable, global) in [
            ("203.0.113.9:17118", true, true),
            ("10.1.2.3:17118", true, false),
            ("192.168.0.2:17118", true, false),
            ("172.31.0.2:17118", true, false),
            ("100.64.0.1:17118", true, false),
            ("169.254.1.1:17118", true, false),
            ("[2001:db8::1]:17118", true, true),
            ("[fd00::1]:17118", true, false),
            ("[fe80::1]:17118", true, false),
            ("203.0.113.9:0", false, false),
            ("203.0.113.9:53", false, false),
            ("203.0.113.9:1023", false, false),
            ("0.0.0.0:17118", false, false),
            ("0.1.2.3:17118", false, false),
            ("127.0.0.1:17118", false, false),
            ("224.0.0.178:17118", false, false),
            ("239.255.255.255:17118", false, false),
            ("240.0.0.1:17118", false, false),
            ("255.255.255.255:17118", false, false),
            ("[::]:17118", false, false),
            ("[::1]:17118", false, false),
            ("[ff02::1]:17118", false, false),
            ("[::ffff:203.0.113.9]:17118", false, false),
            ("[::ffff:127.0.0.1]:17118", false, false),
            ("[::203.0.113.9]:17118", false, false),
        ] {
            assert_eq!((is_dialable(&addr(text), false), is_global(&addr(text))), (dialable, global), "{text}");
        }
        assert!(is_dialable(&addr("127.0.0.1:17118"), true) && is_dialable(&addr("[::1]:17118"), true));
        assert!(!is_dialable(&addr("0.0.0.0:17118"), true) && !is_dialable(&addr("127.0.0.1:53"), true));
    }

    #[test]
    fn every_first_octet_is_decided() {
        for first in 0..=255u8 {
            let dialable = is_dialable(&SocketAddr::from(([first, 9, 9, 9], 17_118)), false);
            assert_eq!(dialable, !matches!(first, 0 | 127 | 224..=255), "{first}");
        }
    }

    #[test]
    fn an_address_has_two_forms_and_both_come_back() {
        for text in ["203.0.113.9:17118", "[2001:db8::1]:65535", "0.0.0.0:0"] {
            let addr = addr(text);
            assert_eq!(SocketAddr::from(AddrForm::from(addr)), addr);
            let bytes = rmp_serde::to_vec(&Addr(addr)).unwrap();
            assert_eq!(rmp_serde::from_slice::<Addr>(&bytes).unwrap(), Addr(addr));
        }
        for len in [0, 2, 5, 7, 17, 19] {
            let bytes = rmp_serde::to_vec(&serde_bytes::ByteBuf::from(vec![1; len])).unwrap();
            assert!(rmp_serde::from_slice::<Addr>(&bytes).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn an_ipv4_address_in_disguise_is_that_address_on_both_ways() {
        let (disguised, plain) = (addr("[::ffff:203.0.113.9]:5"), addr("203.0.113.9:5"));
        let octets = Ipv4Addr::new(203, 0, 113, 9).to_ipv6_mapped().octets();
        assert_eq!(AddrForm::from(disguised), AddrForm::from(plain), "said in one form");
        assert_eq!(SocketAddr::from(AddrForm::V6(octets, 5)), plain, "heard in the other");
        let bytes = [&octets[..], &5u16.to_be_bytes()].concat();
        let bytes = rmp_serde::to_vec(&serde_bytes::ByteBuf::from(bytes)).unwrap();
        assert_eq!(rmp_serde::from_slice::<Addr>(&bytes).unwrap(), Addr(plain));
        assert_eq!(rmp_serde::to_vec(&Addr(disguised)).unwrap(), rmp_serde::to_vec(&Addr(plain)).unwrap());
    }
}
