//! What the sockets are told: where to listen, which groups, which interfaces. As people write it too.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    str::FromStr,
};

/// The port of the LAN group: below every system's ephemeral range.
pub const GROUP_PORT: u16 = 17_117;
/// The IPv4 group: in 224.0.0.0/24, which switches flood even when they snoop (RFC 4541 §2.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 178);
/// The IPv6 group: transient, link-local scope.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x5032, 0x5043);

/// Where the session sockets are bound (`--listen`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The IPv4 address; `None`: no IPv4.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address and its zone; `None`: no IPv6.
    pub v6: Option<(Ipv6Addr, u32)>,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

/// A text is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address to listen on: write 0.0.0.0:17118, [::]:17118 or :17118")]
pub struct ListenError;

impl Listen {
    /// Every address of both IP versions.
    pub const fn every(port: u16) -> Self {
        Self { v4: Some(Ipv4Addr::UNSPECIFIED), v6: Some((Ipv6Addr::UNSPECIFIED, 0)), port }
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    /// `:PORT` and `[::]:PORT` mean both IP versions, any other address its own only.
    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(port) = text.strip_prefix(':') {
            return port.parse().map(Self::every).map_err(|_| ListenError);
        }
        match text.parse().map_err(|_| ListenError)? {
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ok(Self::every(v6.port())),
            SocketAddr::V6(v6) => Ok(Self { v4: None, v6: Some((*v6.ip(), v6.scope_id())), port: v6.port() }),
            SocketAddr::V4(v4) => Ok(Self { v4: Some(*v4.ip()), v6: None, port: v4.port() }),
        }
    }
}

/// The LAN group of each IP version (`--group`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// The IPv4 group and port.
    pub v4: SocketAddrV4,
    /// The IPv6 group and port.
    pub v6: SocketAddrV6,
}

impl Default for Groups {
    fn default() -> Self {
        Self { v4: SocketAddrV4::new(GROUP_V4, GROUP_PORT), v6: SocketAddrV6::new(GROUP_V6, GROUP_PORT, 0, 0) }
    }
}

/// An address is no multicast group with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a multicast group and port, as in 224.0.0.178:17117")]
pub struct GroupError;

impl Groups {
    /// Replaces the group of the address's IP version. Errors where it is no multicast address or has port 0.
    pub fn set(&mut self, group: SocketAddr) -> Result<(), GroupError> {
        if !group.ip().is_multicast() || group.port() == 0 {
            return Err(GroupError);
        }
        match group {
            SocketAddr::V4(v4) => self.v4 = v4,
            SocketAddr::V6(v6) => self.v6 = SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0),
        }
        Ok(())
    }
}

/// What the sockets are told once.
#[derive(Debug, Clone, Default)]
pub struct SocketConfig {
    /// Where to listen; `None`: all addresses, the first free port from [`super::PORT_FIRST`] on.
    pub listen: Option<Listen>,
    /// The LAN groups.
    pub groups: Groups,
    /// No multicast at all (`--no-lan`).
    pub no_lan: bool,
    /// Only these interfaces; empty: every one.
    pub interfaces: Vec<String>,
}
