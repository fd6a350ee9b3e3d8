//! What each kind of NAT does, requirement by requirement.

use super::*;

const ALICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 1), 17_118);
const BOB: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 2), 17_118);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const START: Duration = Duration::from_secs(100);
const SECOND: Duration = Duration::from_secs(1);

fn nat(kind: Kind) -> Nat {
    Nat::new(kind, PUBLIC, Dice::new(1, "nat"))
}

fn remote(host: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, host), port)
}

/// After one datagram to a remote end: who of that end, its neighbour port and a neighbour host comes in.
fn lets_in(kind: Kind) -> [bool; 3] {
    let mut nat = nat(kind);
    let mapped = nat.handle_outbound(START, ALICE, remote(1, 5_000)).expect("there is room");
    [remote(1, 5_000), remote(1, 5_001), remote(2, 5_000)].map(|from| {
        let inner = nat.handle_inbound(START, from, mapped.port());
        assert!(inner.is_none_or(|inner| inner == ALICE));
        inner.is_some()
    })
}

#[test]
fn each_filter_lets_in_whom_it_should() {
    assert_eq!(lets_in(Kind::FULL_CONE), [true, true, true]);
    assert_eq!(lets_in(Kind::RESTRICTED_CONE), [true, true, false]);
    for kind in [Kind::PORT_RESTRICTED_CONE, Kind::SYMMETRIC, Kind::LINUX] {
        assert_eq!(lets_in(kind), [true, false, false]);
    }
}

#[test]
fn cones_show_one_port_to_everybody_and_symmetric_ones_another_to_each() {
    let mapped = |kind| {
        let mut nat = nat(kind);
        [remote(1, 5_000), remote(1, 5_001), remote(2, 5_000), remote(1, 5_000)]
            .map(|to| nat.handle_outbound(START, ALICE, to).expect("there is room").port())
    };
    for kind in [Kind::FULL_CONE, Kind::RESTRICTED_CONE, Kind::PORT_RESTRICTED_CONE, Kind::LINUX] {
        assert_eq!(mapped(kind), [ALICE.port(); 4]);
    }
    let ports = mapped(Kind::SYMMETRIC);
    assert_eq!(ports[0], ports[3], "the same remote end");
    assert!(ports[0] != ports[1] && ports[0] != ports[2] && ports[1] != ports[2], "{ports:?}");
    let by_address = mapped(Kind { mapping: Dependence::Address, ..Kind::SYMMETRIC });
    assert!(by_address[0] == by_address[1] && by_address[0] != by_address[2], "{by_address:?}");
}

#[test]
fn a_port_that_is_taken_is_given_to_nobody_else() {
    let mut nat = nat(Kind::PORT_RESTRICTED_CONE);
    let seed = remote(1, 5_000);
    let (alice, bob) = (nat.handle_outbound(START, ALICE, seed), nat.handle_outbound(START, BOB, seed));
    let (alice, bob) = (alice.expect("there is room").port(), bob.expect("there is room").port());
    assert_eq!(alice, ALICE.port());
    assert_ne!(bob, alice);
    assert_eq!(nat.handle_inbound(START, seed, alice), Some(ALICE));
    assert_eq!(nat.handle_inbound(START, seed, bob), Some(BOB));
}

#[test]
fn linux_gives_one_port_to_two_hosts_that_talk_to_different_ends() {
    let mut nat = nat(Kind::LINUX);
    let ports = [(ALICE, 1), (BOB, 2), (BOB, 1)].map(|(inner, host)| {
        let mapped = nat.handle_outbound(START, inner, remote(host, 5_000)).expect("there is room");
        assert_eq!(nat.handle_inbound(START, remote(host, 5_000), mapped.port()), Some(inner));
        mapped.port()
    });
    assert_eq!(ports[..2], [17_118; 2]);
    assert_ne!(ports[2], 17_118, "alice talks to that end from there");
}

#[test]
fn only_traffic_out_keeps_a_mapping_unless_traffic_in_does_too() {
    let lives = |inbound| {
        let timer = Timer::Idle { after: 30 * SECOND, inbound };
        let mut nat = nat(Kind { timer, ..Kind::PORT_RESTRICTED_CONE });
        let mapped = nat.handle_outbound(START, ALICE, remote(1, 5_000)).expect("there is room");
        nat.handle_outbound(START + 20 * SECOND, ALICE, remote(1, 5_000));
        [49, 51].map(|after| nat.handle_inbound(START + after * SECOND, remote(1, 5_000), mapped.port()).is_some())
    };
    assert_eq!(lives(false), [true, false]);
    assert_eq!(lives(true), [true, true]);
}

#[test]
fn what_is_said_to_one_end_does_not_keep_the_door_open_for_another() {
    let mut nat = nat(Kind::PORT_RESTRICTED_CONE);
    nat.handle_outbound(START, ALICE, remote(1, 5_000));
    let later = START + 29 * SECOND;
    let mapped = nat.handle_outbound(later, ALICE, remote(2, 5_000)).expect("there is room");
    let later = START + 31 * SECOND;
    assert_eq!(nat.handle_inbound(later, remote(1, 5_000), mapped.port()), None);
    assert_eq!(nat.handle_inbound(later, remote(2, 5_000), mapped.port()), Some(ALICE));
}

#[test]
fn an_absolute_timer_ends_a_busy_mapping() {
    let mut nat = nat(Kind { timer: Timer::Absolute(60 * SECOND), ports: Ports::Random, ..Kind::FULL_CONE });
    let mapped = |nat: &mut Nat, after| nat.handle_outbound(START + after * SECOND, ALICE, remote(1, 5_000));
    let first = mapped(&mut nat, 0);
    let port = first.expect("there is room").port();
    for after in 1..60 {
        assert_eq!(mapped(&mut nat, after), first);
        assert!(nat.handle_inbound(START + after * SECOND, remote(2, 9), port).is_some());
    }
    assert_eq!(nat.handle_inbound(START + 60 * SECOND, remote(1, 5_000), port), None);
    assert_ne!(mapped(&mut nat, 60), first, "it comes back by another port");
}

#[test]
fn neighbours_meet_at_the_public_address_only_through_a_hairpin() {
    let seed = remote(1, 5_000);
    let mut nat = nat(Kind { hairpin: true, ..Kind::PORT_RESTRICTED_CONE });
    let [alice, bob] = [ALICE, BOB].map(|inner| nat.handle_outbound(START, inner, seed).expect("there is room"));
    assert_eq!(nat.handle_hairpin(START, ALICE, bob.port()), None, "bob has not said anything to her");
    assert_eq!(nat.handle_hairpin(START, BOB, alice.port()), Some((bob, ALICE)), "from his public address");
    assert_eq!(nat.handle_hairpin(START, ALICE, bob.port()), Some((alice, BOB)));
    nat.kind.hairpin = false;
    assert_eq!(nat.handle_hairpin(START, ALICE, bob.port()), None);
}

#[test]
fn a_datagram_that_came_too_early_takes_its_port_for_a_while() {
    for (kind, spoiled) in [(Kind::LINUX, true), (Kind::PORT_RESTRICTED_CONE, false)] {
        let mut nat = nat(kind);
        assert_eq!(nat.handle_inbound(START, remote(1, 5_000), ALICE.port()), None);
        let mapped = |nat: &mut Nat, after, host| {
            nat.handle_outbound(START + after * SECOND, ALICE, remote(host, 5_000)).expect("there is room").port()
        };
        assert_eq!(mapped(&mut nat, 1, 1) != ALICE.port(), spoiled);
        assert_eq!(mapped(&mut nat, 1, 2), ALICE.port(), "it came from another end");
        assert_eq!(mapped(&mut nat, 40, 1), ALICE.port(), "forgotten");
    }
}

#[test]
fn a_reboot_forgets_everybody_and_another_address_does_too() {
    let mut nat = nat(Kind::FULL_CONE);
    let seed = remote(1, 5_000);
    let port = nat.handle_outbound(START, ALICE, seed).expect("there is room").port();
    nat.reboot();
    assert_eq!(nat.handle_inbound(START, seed, port), None);
    nat.handle_outbound(START, ALICE, seed);
    nat.renumber(Ipv4Addr::new(198, 51, 101, 1));
    assert_eq!(nat.handle_inbound(START, seed, port), None);
    let mapped = nat.handle_outbound(START, ALICE, seed).expect("there is room");
    assert_eq!(*mapped.ip(), nat.public());
}

#[test]
fn tables_that_are_full_take_nobody_new_and_keep_whom_they_have() {
    let mut full = nat(Kind::SYMMETRIC);
    let out = |nat: &mut Nat, now, n: usize| nat.handle_outbound(now, ALICE, remote(1, n as u16 + 1)).is_some();
    assert!((0..MAPPINGS_MAX).all(|n| out(&mut full, START, n)));
    assert!(!out(&mut full, START, MAPPINGS_MAX));
    assert!(out(&mut full, START + SECOND, 0), "it had one");
    assert!(out(&mut full, START + 30 * SECOND, MAPPINGS_MAX), "the others have ended");
    let mut cone = nat(Kind::PORT_RESTRICTED_CONE);
    assert!((0..PERMITS_MAX).all(|n| out(&mut cone, START, n)));
    assert!(!out(&mut cone, START, PERMITS_MAX) && out(&mut cone, START, 0));
}

#[test]
fn refused_datagrams_leave_so_many_traces_and_no_more() {
    let mut nat = nat(Kind::LINUX);
    for n in 0..2 * STRAYS_MAX {
        nat.handle_inbound(START, remote(1, n as u16 + 1), ALICE.port());
    }
    assert_eq!(nat.strays.len(), STRAYS_MAX);
}

#[test]
fn the_same_dice_give_the_same_ports() {
    let ports = || {
        let mut nat = nat(Kind::SYMMETRIC);
        [1, 2, 3].map(|host| nat.handle_outbound(START, ALICE, remote(host, 5_000)))
    };
    assert_eq!(ports(), ports());
}
