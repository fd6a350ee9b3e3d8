//! Sockets of this machine.

use std::{future::poll_fn, net::IpAddr, time::Duration};

use super::*;

/// A test that hangs has failed; three times what the slowest machine should need.
const HANG: Duration = Duration::from_secs(6);

#[derive(Debug, PartialEq)]
struct Heard {
    from: SocketAddr,
    interface: u32,
    socket: SocketKind,
    hop_limit: Option<u8>,
    bytes: Vec<u8>,
}

async fn hear(sockets: &mut Sockets, count: usize) -> Vec<Heard> {
    let mut heard = Vec::new();
    let all = async {
        while heard.len() < count {
            poll_fn(|cx| sockets.poll_readable(cx)).await;
            sockets.receive(|datagram| {
                heard.push(Heard {
                    from: datagram.from,
                    interface: datagram.interface,
                    socket: datagram.socket,
                    hop_limit: datagram.hop_limit,
                    bytes: datagram.bytes.to_vec(),
                });
            });
        }
    };
    tokio::time::timeout(HANG, all).await.expect("the datagrams arrive");
    heard
}

/// Groups of this test alone: other tests and programs of this machine are not heard.
fn groups(port: u16) -> Groups {
    let mut groups = Groups::default();
    groups.v4.set_port(port);
    groups.v6.set_port(port);
    groups
}

fn open(groups: Groups, no_lan: bool) -> Sockets {
    let listen = Some(":0".parse().unwrap());
    Sockets::bind(&SocketConfig { listen, groups, no_lan, interfaces: Vec::new() }, Counters::default()).unwrap()
}

fn interfaces() -> Vec<Interface> {
    crate::net::interfaces::read().unwrap()
}

fn loopback() -> Option<Interface> {
    let found =
        interfaces().into_iter().find(|interface| interface.loopback && interface.addrs.iter().any(|(addr, _)| addr.is_ipv4()));
    if found.is_none() {
        eprintln!("skipped: no loopback interface with IPv4 is up here");
    }
    found
}

/// True where the two can speak over this link, which some sandboxes do not allow.
fn joined(sockets: &Sockets, link: (u32, bool)) -> bool {
    let joined = sockets.lan.joined().any(|other| other == link);
    if !joined {
        eprintln!("skipped: this machine does not let us join the group on {link:?}");
    }
    joined
}

#[tokio::test]
async fn everybody_on_one_machine_hears_the_group_with_interface_and_hop_limit() {
    let Some(loopback) = loopback() else { return };
    let groups = groups(29_117);
    let (mut a, mut b, mut c) = (open(groups, false), open(groups, false), open(groups, true));
    let link = loopback.index;
    for sockets in [&mut a, &mut b, &mut c] {
        sockets.set_interfaces(std::slice::from_ref(&loopback));
    }
    if !joined(&a, (link, false)) {
        return;
    }
    a.rejoin();
    a.send(Target::Multicast { interface: link, group: Group::V4 }, b"hello");
    a.send(Target::Multicast { interface: link, group: Group::V4 }, b"");
    let heard = hear(&mut a, 1).await;
    let from = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), a.port());
    assert_eq!((heard[0].interface, heard[0].hop_limit, heard[0].from), (link, Some(255), from));
    assert_eq!((heard[0].socket, &heard[0].bytes[..], heard.len()), (SocketKind::Discovery, &b"hello"[..], 1));
    assert_eq!(hear(&mut b, 1).await.len(), 1);
    assert_eq!(c.lan.joined().count(), 0, "--no-lan joins nothing");
    assert_eq!((a.counters.read().sent, b.counters.read().received, c.counters.read().received), (1, 1, 0));
}

#[tokio::test]
async fn every_link_of_this_machine_is_heard_on_itself_and_no_other() {
    let groups = groups(29_118);
    let (mut a, mut b) = (open(groups, false), open(groups, false));
    let interfaces = interfaces();
    a.set_interfaces(&interfaces);
    b.set_interfaces(&interfaces);
    let links: Vec<_> = a.lan.joined().collect();
    if links.iter().all(|&(index, _)| interfaces.iter().any(|known| known.index == index && known.loopback)) {
        eprintln!("skipped: no interface of this machine carries multicast");
        return;
    }
    for (interface, v6) in links {
        if !joined(&b, (interface, v6)) {
            continue;
        }
        let group = if v6 { Group::V6 } else { Group::V4 };
        a.send(Target::Multicast { interface, group }, &interface.to_be_bytes());
        if a.counters.read().send_failed > 0 {
            eprintln!("skipped: this machine does not let us send to the group on interface {interface}");
            return;
        }
        let Ok(heard) = tokio::time::timeout(HANG / 3, hear(&mut b, 1)).await else {
            eprintln!("skipped: a firewall keeps this machine's own multicast from us");
            return;
        };
        assert_eq!(heard.len(), 1, "once, not once per joined interface");
        assert_eq!((heard[0].interface, heard[0].hop_limit, heard[0].from.port()), (interface, Some(255), a.port()));
        assert_eq!(heard[0].from.is_ipv6(), v6);
        if let SocketAddr::V6(from) = heard[0].from {
            assert!(!from.ip().is_unicast_link_local() || from.scope_id() == interface);
            a.send(Target::Multicast { interface, group: Group::AllNodesV6 }, b"all nodes");
            assert_eq!(hear(&mut b, 1).await[0].bytes, b"all nodes");
        }
    }
}

#[tokio::test]
async fn a_batch_arrives_as_the_datagrams_it_was_made_of() {
    let (mut a, mut b) = (open(groups(29_119), true), open(groups(29_119), true));
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let to = SocketAddr::new(ip, b.port());
        if b.session.of(to).is_none() || std::net::UdpSocket::bind((ip, 0)).is_err() {
            eprintln!("skipped: no {ip} here");
            continue;
        }
        let sizes = [1_200, 1_200, 1_200, 7, 8, 900, 900, 1_200, 1_200, 1, 1_200];
        for (number, size) in sizes.into_iter().cycle().take(220).enumerate() {
            a.send(Target::Unicast(to), &vec![number as u8; size]);
        }
        a.flush();
        let heard = hear(&mut b, 220).await;
        for (number, (heard, size)) in heard.iter().zip(sizes.into_iter().cycle()).enumerate() {
            assert_eq!(heard.bytes, vec![number as u8; size], "datagram {number}");
            assert_eq!((heard.from, heard.socket), (SocketAddr::new(ip, a.port()), SocketKind::Session));
        }
        assert_eq!(heard.len(), 220);
    }
    let counts = a.counters.read();
    assert_eq!((counts.send_full, counts.send_failed, counts.sent), (0, 0, b.counters.read().received));
}

#[tokio::test]
async fn what_nobody_can_take_is_counted_and_nothing_else() {
    let mut a = open(groups(29_120), false);
    a.send(Target::Unicast("240.0.0.1:9".parse().unwrap()), b"x");
    a.flush();
    a.send(Target::Multicast { interface: 4_000_000, group: Group::V4 }, b"x");
    a.send(Target::Multicast { interface: 4_000_000, group: Group::V6 }, b"x");
    let counts = a.counters.read();
    assert!(counts.send_failed >= 2, "{counts:?}");
}

#[tokio::test]
async fn on_the_shared_port_only_the_group_and_our_sizes_are_heard() {
    let Some(loopback) = loopback() else { return };
    let groups = groups(29_121);
    let mut a = open(groups, false);
    a.set_interfaces(std::slice::from_ref(&loopback));
    if !joined(&a, (loopback.index, false)) {
        return;
    }
    a.send(Target::Unicast(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 29_121)), b"to one address");
    a.flush();
    let group = Target::Multicast { interface: loopback.index, group: Group::V4 };
    a.send(group, &[1; DATAGRAM_TOO_LONG]);
    a.send(group, b"to the group");
    let heard = hear(&mut a, 1).await;
    assert_eq!(heard[0].bytes, b"to the group");
    assert_eq!(a.counters.read().misdirected, 2);
}

const DATAGRAM_TOO_LONG: usize = DATAGRAM_LEN_MAX + 1;

#[tokio::test]
async fn a_taken_port_is_an_error_where_it_was_asked_for_and_none_where_not() {
    let taken = open(groups(29_122), true);
    let asked = SocketConfig { listen: Some(format!(":{}", taken.port()).parse().unwrap()), ..SocketConfig::default() };
    let error = Sockets::bind(&asked, Counters::default()).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("cannot listen on 0.0.0.0:{}: ", taken.port())), "{error}");

    let free: Vec<_> = (0..20).map(|_| Sockets::bind(&SocketConfig::default(), Counters::default()).unwrap()).collect();
    let mut ports: Vec<_> = free.iter().map(Sockets::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 20, "each its own");
    assert!(ports.iter().any(|port| !(PORT_FIRST..=PORT_LAST).contains(port)), "any port after the last");
}

#[test]
fn what_asks_whether_the_link_carries_it_leaves_alone() {
    let to = SocketAddr::from(([192, 0, 2, 1], 1));
    let waiting = |segment: usize, count: usize| Outgoing { to, segment, count, bytes: vec![0; segment * count] };
    assert!(!waiting(8_952, 1).takes(to, 1_200, 64), "a probe and what follows it");
    assert!(!waiting(1_452, 1).takes(to, 36, 64));
    assert!(waiting(8_952, 1).takes(to, 8_952, 64), "a path that has proved so much");
    assert!(waiting(1_452, 2).takes(to, 36, 64), "and the end of what it is sent");
    assert!(waiting(1_200, 1).takes(to, 36, 64), "what every link carries");
}

#[tokio::test]
async fn of_a_batch_everything_leaves_that_can() {
    let mut sockets = open(groups(29_123), true);
    let receivers = [0; 8].map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut batch = Batch::default();
    for (n, receiver) in (0u8..).zip(&receivers) {
        // Nobody may broadcast who did not ask for it.
        batch.push("255.255.255.255:9".parse().unwrap(), None, &mut b"refused".to_vec());
        batch.push(receiver.local_addr().unwrap(), None, &mut vec![n; 100 + usize::from(n)]);
    }
    assert!(!batch.is_full());
    sockets.send_batch(&mut batch);
    for (n, receiver) in (0u8..).zip(&receivers) {
        receiver.set_read_timeout(Some(HANG)).unwrap();
        let mut buffer = [0; 200];
        let len = receiver.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..len], vec![n; 100 + usize::from(n)]);
    }
    let counts = sockets.counters.read();
    assert_eq!((counts.sent, counts.sent_bytes, counts.send_failed, counts.send_full), (8, 828, 8, 0));
    sockets.send_batch(&mut batch);
    assert_eq!(sockets.counters.read(), counts, "it is empty");
    for _ in 0..BATCH_DATAGRAMS_MAX {
        assert!(!batch.is_full());
        batch.push(receivers[0].local_addr().unwrap(), None, &mut b"x".to_vec());
    }
    assert!(batch.is_full());
}

/// Who asked at one of several addresses takes the answer from no other.
#[tokio::test]
async fn an_answer_comes_from_the_address_that_was_asked() {
    let mut sockets = Sockets::bind_shared(Listen::every(0), Counters::default()).unwrap();
    let mut askers = Vec::new();
    for (own, asked) in [("127.0.0.1:0", "127.0.0.1"), ("127.0.0.1:0", "127.0.0.77"), ("[::1]:0", "::1")] {
        let ip: IpAddr = asked.parse().unwrap();
        let Ok(asker) = std::net::UdpSocket::bind(own) else {
            eprintln!("skipped: no {own} here");
            continue;
        };
        asker.connect((ip, sockets.port())).unwrap();
        asker.set_read_timeout(Some(HANG)).unwrap();
        asker.send(asked.as_bytes()).unwrap();
        askers.push((asker, ip));
    }
    let (mut batch, mut heard) = (Batch::default(), 0);
    let all = async {
        while heard < askers.len() {
            poll_fn(|cx| sockets.poll_readable(cx)).await;
            sockets.receive_addressed(|from, ours, bytes| {
                assert_eq!(ours.unwrap().to_string().as_bytes(), bytes);
                batch.push(from, ours, &mut bytes.to_vec());
                heard += 1;
            });
        }
    };
    tokio::time::timeout(HANG, all).await.expect("the datagrams arrive");
    sockets.send_batch(&mut batch);
    for (asker, ip) in askers {
        let mut buffer = [0; 200];
        let len = asker.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..len], *ip.to_string().as_bytes());
    }
}

/// Every sender of many reaches one of the sets, and neither set is left without any.
#[tokio::test]
async fn a_shared_port_is_shared_among_those_who_belong_together_only() {
    let localhost = |port| Listen { v4: Some(Ipv4Addr::LOCALHOST), v6: None, port };
    let mut first = Sockets::bind_shared(localhost(0), Counters::default()).unwrap();
    let Ok(mut second) = first.another() else {
        eprintln!("skipped: this system does not share ports");
        return;
    };
    let port = first.port();
    assert_eq!(second.port(), port);
    for taken in [
        Sockets::bind_shared(localhost(port), Counters::default()),
        Sockets::bind(&SocketConfig { listen: Some(localhost(port)), ..SocketConfig::default() }, Counters::default()),
    ] {
        assert_eq!(taken.unwrap_err().source.kind(), io::ErrorKind::AddrInUse);
    }
    const SENDERS: usize = 64;
    for _ in 0..SENDERS {
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"hi", ("127.0.0.1", port)).unwrap();
    }
    let counts = [std::cell::Cell::new(0), std::cell::Cell::new(0)];
    let all = async {
        while counts.iter().map(std::cell::Cell::get).sum::<usize>() < SENDERS {
            poll_fn(|cx| if first.poll_readable(cx).is_ready() { Poll::Ready(()) } else { second.poll_readable(cx) }).await;
            first.receive(|_| counts[0].set(counts[0].get() + 1));
            second.receive(|_| counts[1].set(counts[1].get() + 1));
        }
    };
    tokio::time::timeout(HANG, all).await.expect("the datagrams arrive");
    assert!(counts.iter().all(|count| count.get() > 0), "{counts:?}");
}

#[test]
fn listen_addresses_are_read_as_the_manual_says() {
    let any4 = Some(Ipv4Addr::UNSPECIFIED);
    let any6 = Some((Ipv6Addr::UNSPECIFIED, 0));
    for (text, v4, v6, port) in [
        (":17118", any4, any6, 17_118),
        ("[::]:0", any4, any6, 0),
        ("0.0.0.0:5", any4, None, 5),
        ("192.0.2.7:5", Some(Ipv4Addr::new(192, 0, 2, 7)), None, 5),
        ("[fe80::1%3]:5", None, Some(("fe80::1".parse().unwrap(), 3)), 5),
    ] {
        assert_eq!(text.parse(), Ok(Listen { v4, v6, port }), "{text}");
    }
    for text in ["", ":", "17118", "localhost:1", ":65536", "192.0.2.7"] {
        assert_eq!(text.parse::<Listen>(), Err(ListenError), "{text}");
    }
}

#[test]
fn a_group_replaces_that_of_its_ip_version() {
    let mut groups = Groups::default();
    groups.set("239.1.2.3:99".parse().unwrap()).unwrap();
    assert_eq!((groups.v4.to_string().as_str(), groups.v6), ("239.1.2.3:99", Groups::default().v6));
    for wrong in ["192.0.2.1:99", "239.1.2.3:0", "[fe80::1]:99"] {
        assert_eq!(groups.set(wrong.parse().unwrap()), Err(GroupError), "{wrong}");
    }
}
