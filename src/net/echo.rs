//! Whether this machine hears what it sends to the LAN groups, and to everybody: for `doctor`. Sockets of its own beside those of a running node,
//! and one datagram for each interface and IP version that every peer drops.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::net::UdpSocket;

use super::{
    counters::Counters,
    socket::{BindError, Listen, SocketConfig, Sockets},
};
use crate::node::{
    SocketKind,
    discovery::Group,
    interface::{Interface, memberships},
};

/// How long what was sent may take to come back: it does not leave this machine's kernel.
const WAIT: Duration = Duration::from_millis(500);
/// What is sent begins with this: no kind of packet does.
const MARK: [u8; 8] = *b"p2pcheck";

/// What was sent by an interface to a group, and whether it came back.
#[derive(Debug)]
pub struct Echo {
    /// Number of the interface.
    pub interface: u32,
    /// To whom.
    pub group: SocketAddr,
    /// Whether it left.
    pub sent: io::Result<()>,
    /// It came back.
    pub heard: bool,
}

/// Sends one datagram to each group by each of the interfaces that `config` uses, and listens. Takes at most half a second. Must be
/// called in a tokio runtime. Errors where no socket can be had.
pub async fn listen_to_self(config: &SocketConfig, interfaces: &[Interface]) -> Result<Vec<Echo>, BindError> {
    let config = SocketConfig { listen: Some(Listen::every(0)), ..config.clone() };
    let mut sockets = Sockets::bind(&config, Counters::default())?;
    sockets.set_interfaces(interfaces);
    let mut datagram = [0; 24];
    let (mark, random) = datagram.split_at_mut(MARK.len());
    mark.copy_from_slice(&MARK);
    // Where there is no chance to be had, two checks at once may take each other's echo for their own.
    let _ = getrandom::fill(random);
    let mut echoes = Vec::new();
    for link in memberships(interfaces, &config.interfaces) {
        for (group, addr, used) in [(Group::V4, config.groups.v4.into(), link.v4), (Group::V6, config.groups.v6.into(), link.v6)]
        {
            if used {
                let sent = sockets.send_to_group(link.index, group, &datagram);
                echoes.push(Echo { interface: link.index, group: addr, sent, heard: false });
            }
        }
    }
    let listening = async {
        while echoes.iter().any(|echo| echo.sent.is_ok() && !echo.heard) {
            poll_fn(|cx| sockets.poll_readable(cx)).await;
            sockets.receive(|heard| {
                let is_ours = heard.socket == SocketKind::Discovery && *heard.bytes == datagram;
                let came_back = |echo: &&mut Echo| {
                    is_ours && echo.interface == heard.interface && echo.group.is_ipv4() == heard.from.is_ipv4()
                };
                echoes.iter_mut().filter(came_back).for_each(|echo| echo.heard = true);
            });
        }
    };
    // What has not come back by then does not.
    let _ = tokio::time::timeout(WAIT, listening).await;
    Ok(echoes)
}

/// The same for broadcast, which nothing here needs: where it comes back and multicast does not, something drops multicast alone.
/// One datagram to each IPv4 subnet that has a broadcast address, of the interfaces that are used. Errors where no socket can be had.
pub async fn broadcast_to_self(config: &SocketConfig, interfaces: &[Interface]) -> io::Result<Vec<Echo>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.set_broadcast(true)?;
    let port = socket.local_addr()?.port();
    let used = |interface: &&Interface| {
        let wanted = config.interfaces.is_empty() || config.interfaces.contains(&interface.name);
        wanted && !interface.loopback && !interface.point_to_point
    };
    let mut random = [0; 16];
    let _ = getrandom::fill(&mut random);
    let datagram = |place: usize| [&MARK[..], &random, &place.to_le_bytes()].concat();
    let mut echoes = Vec::new();
    for interface in interfaces.iter().filter(used) {
        for addr in interface.addrs.iter().filter_map(|(addr, prefix)| broadcast_of(*addr, *prefix)) {
            let group = SocketAddr::from((addr, port));
            let sent = socket.send_to(&datagram(echoes.len()), group).await.map(drop);
            echoes.push(Echo { interface: interface.index, group, sent, heard: false });
        }
    }
    let mut buffer = [0; 64];
    let listening = async {
        while echoes.iter().any(|echo| echo.sent.is_ok() && !echo.heard) {
            let Ok((len, _)) = socket.recv_from(&mut buffer).await else { continue };
            let came_back = |(place, echo): (usize, &mut Echo)| echo.heard |= buffer[..len] == datagram(place);
            echoes.iter_mut().enumerate().for_each(came_back);
        }
    };
    let _ = tokio::time::timeout(WAIT, listening).await;
    Ok(echoes)
}

/// The address that means everybody of this subnet; none where there are too few.
fn broadcast_of(addr: IpAddr, prefix: u8) -> Option<Ipv4Addr> {
    let IpAddr::V4(addr) = addr else { return None };
    let rest = u32::MAX.checked_shr(u32::from(prefix)).filter(|rest| *rest > 1)?;
    Some(Ipv4Addr::from_bits(addr.to_bits() | rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{net::interfaces, wire};

    #[tokio::test]
    async fn what_is_sent_to_the_groups_comes_back() {
        let interfaces = interfaces::read().unwrap();
        let echoes = listen_to_self(&SocketConfig::default(), &interfaces).await.unwrap();
        assert!(!echoes.is_empty(), "loopback at least: {interfaces:?}");
        for echo in &echoes {
            assert!(echo.sent.is_err() || echo.heard, "{echo:?}");
        }
        let none = SocketConfig { interfaces: vec!["nothing0".to_owned()], ..SocketConfig::default() };
        assert!(listen_to_self(&none, &interfaces).await.unwrap().iter().all(|echo| echo.interface != 0));
    }

    #[tokio::test]
    async fn what_is_sent_to_everybody_comes_back() {
        let interfaces = interfaces::read().unwrap();
        for echo in broadcast_to_self(&SocketConfig::default(), &interfaces).await.unwrap() {
            assert!(echo.sent.is_err() || echo.heard, "{echo:?}");
        }
        let of = |addr: &str, prefix| broadcast_of(addr.parse().unwrap(), prefix).map(|addr| addr.to_string());
        assert_eq!(of("192.0.2.7", 24).as_deref(), Some("192.0.2.255"));
        assert_eq!(of("192.0.2.7", 30).as_deref(), Some("192.0.2.7"));
        assert_eq!([of("192.0.2.7", 31), of("192.0.2.7", 32), of("2001:db8::1", 64)], [None, None, None]);
    }

    #[test]
    fn no_peer_takes_it_for_anything() {
        assert!(wire::kind(&MARK).is_err());
    }
}
