//! What is said of networks of every kind. How a real one is looked at is shown by tests with the program.

use super::*;
use crate::{
    id::PeerId,
    node::command::{Allow, Presence},
};

fn interface(name: &str, addr: &str) -> Place {
    Place { name: name.to_owned(), addr: Some(addr.parse().unwrap()), loopback: name == "lo", tunnel: name.starts_with("tun") }
}

fn echo(sent: Result<(), &str>, heard: bool) -> Echo {
    let group = "224.0.0.178:17117".parse().unwrap();
    Echo { interface: "eth0".to_owned(), group, sent: sent.map_err(str::to_owned), heard }
}

fn around(firewall: Firewall, echoes: Vec<Echo>) -> Surroundings {
    Surroundings {
        interfaces: vec![interface("lo", "127.0.0.1"), interface("eth0", "192.0.2.7")],
        lan: true,
        only: Vec::new(),
        network: String::new(),
        echoes: Ok(echoes),
        broadcasts: Ok(Vec::new()),
        ports: 17_117..=17_133,
        firewall,
    }
}

fn results(found: &[Found]) -> Vec<CheckResult> {
    found.iter().map(|found| found.result).collect()
}

use CheckResult::{Fail, Ok as Well, Warn};

#[test]
fn a_firewall_of_ones_own_is_named_with_the_command_that_mends_it() {
    for (firewall, fix) in [
        (Firewall::Ufw, "sudo ufw allow 17117:17133/udp"),
        (Firewall::Firewalld, "sudo firewall-cmd --permanent --add-port=17117-17133/udp && sudo firewall-cmd --reload"),
        (Firewall::Other, "let UDP 17117 to 17133 in; `sudo nft list ruleset` shows what is let in now"),
    ] {
        let found = check_multicast(&around(firewall, vec![echo(Ok(()), false)]));
        assert_eq!(results(&found), [Fail]);
        assert_eq!(found[0].fix.as_deref(), Some(fix));
        assert!(found[0].text.contains("224.0.0.178:17117 on eth0 does not come back"), "{}", found[0].text);
    }
    let found = check_multicast(&around(Firewall::Other, vec![echo(Ok(()), true), echo(Err("not permitted"), false)]));
    assert_eq!(results(&found), [Well, Fail]);
    assert!(found[1].text.contains("not permitted"));
    assert_eq!(results(&check_multicast(&around(Firewall::Other, Vec::new()))), [Fail]);
    let off = Surroundings { lan: false, ..around(Firewall::Other, Vec::new()) };
    assert_eq!(results(&check_multicast(&off)), [Warn]);
    let broken = Surroundings { echoes: Err("no sockets".to_owned()), ..around(Firewall::Other, Vec::new()) };
    assert_eq!(results(&check_multicast(&broken)), [Fail]);
}

#[test]
fn interfaces_that_are_missing_or_lead_elsewhere_are_told() {
    let well = around(Firewall::Other, Vec::new());
    assert_eq!(check_interfaces(&well), ok("eth0 (192.0.2.7)"));
    assert!(check_tunnels(&well).is_empty());
    let none = Surroundings { interfaces: vec![interface("lo", "127.0.0.1")], ..well.clone() };
    assert_eq!(check_interfaces(&none).result, Fail);
    let other = Surroundings { only: vec!["wlan0".to_owned()], ..well.clone() };
    assert!(check_interfaces(&other).text.contains("wlan0"));
    let mut tunnel = well;
    tunnel.interfaces.push(interface("tun0", "10.8.0.2"));
    assert_eq!(results(&check_tunnels(&tunnel)), [Warn]);
}

fn pong(name: &str, rtt: Option<u64>) -> Pong {
    let mut base = [0x66; 32];
    base[0] = 0x58;
    let peer = PeerView {
        id: PeerId::from_bytes(base).unwrap(),
        name: name.to_owned(),
        petname: None,
        presence: Presence::Online,
        away_text: String::new(),
        path: PathKind::Lan,
        addr: None,
        last_heard: None,
        trust: Trust::Seen,
        contact: true,
        rtt: None,
    };
    Pong { peer, rtt: rtt.map(Duration::from_millis), sent: 1, lost: 0 }
}

#[test]
fn neighbours_who_are_heard_and_do_not_answer_are_named() {
    let around = around(Firewall::Ufw, Vec::new());
    let found = check_answers(&around, &[pong("bob", Some(2)), pong("carol", None), pong("e\u{1b}ve", None)]);
    assert_eq!(found.result, Fail);
    assert!(found.text.contains("no answer: carol, ") && !found.text.contains('\u{1b}'), "{found:?}");
    assert_eq!(found.fix.unwrap(), "on both machines: sudo ufw allow 17117:17133/udp");
    assert_eq!(check_answers(&around, &[pong("bob", Some(2))]).result, Well);
    assert_eq!(check_answers(&around, &[]).result, Well);
    assert_eq!(check_neighbours(&around, 1).result, Well);
    let named = Surroundings { network: "office".to_owned(), ..around };
    let nobody = check_neighbours(&named, 0);
    assert!(nobody.result == Warn && nobody.text.contains("--network office"), "{nobody:?}");
}

#[test]
fn seeds_are_told_one_by_one() {
    let seed = |state, reason: Option<&str>| SeedView {
        seed: "seed.example:17118".to_owned(),
        addr: None,
        state,
        reason: reason.map(str::to_owned),
        name: String::new(),
        software: String::new(),
        uptime: Duration::ZERO,
        records: 0,
        load: 0,
        fellows: Vec::new(),
        relay: None,
        registered: false,
        unheard: false,
    };
    assert_eq!(results(&check_seeds(&[], 0)), [Well]);
    assert_eq!(results(&check_seeds(&[seed(SeedState::Ok, None)], 1)), [Well]);
    assert_eq!(results(&check_seeds(&[seed(SeedState::Ok, None)], 0)), [Well, Warn]);
    let bad = [SeedState::Unreachable, SeedState::WrongClock, SeedState::OldVersion, SeedState::BadSignature];
    let found = check_seeds(&bad.map(|state| seed(state, Some("in words"))), 0);
    assert_eq!(results(&found), [Fail; 4]);
    assert!(found.iter().all(|found| found.text.contains("(in words)") && found.fix.is_some()));
    assert_eq!(check_clock(&[seed(SeedState::WrongClock, None)]).result, Fail);
    assert_eq!(check_clock(&[]).result, Well);
}

#[test]
fn what_the_owner_does_is_told() {
    assert_eq!(check_owner("daemon").result, Well);
    assert_eq!(check_owner("command").result, Warn);
    let well = NodeStatus {
        sessions: 0,
        neighbours: 0,
        seeds: 0,
        outbox: 0,
        allow: Allow::default(),
        requests: 0,
        read_receipts: false,
        commit_error: None,
        other_version: false,
        dropped: 0,
    };
    assert_eq!((check_disk(&well).result, check_versions(&well).result), (Well, Well));
    let ill = NodeStatus { commit_error: Some(crate::store::row::CommitError::Full), other_version: true, ..well };
    assert_eq!((check_disk(&ill).result, check_versions(&ill).result), (Fail, Warn));
    let around = around(Firewall::Other, Vec::new());
    assert_eq!((check_port(&around, 17_118).result, check_port(&around, 40_000).result), (Well, Warn));
}

#[test]
fn broadcast_that_does_not_come_back_is_a_warning_and_names_the_interface() {
    let echo = |heard| Echo { interface: "eth0".to_owned(), group: "192.0.2.255:9".parse().unwrap(), sent: Ok(()), heard };
    let with = |echoes| Surroundings { broadcasts: echoes, ..around(Firewall::Ufw, Vec::new()) };
    assert_eq!(check_broadcast(&with(Ok(vec![echo(true)]))).result, CheckResult::Ok);
    assert_eq!(check_broadcast(&with(Ok(Vec::new()))).result, CheckResult::Ok);
    let lost = check_broadcast(&with(Ok(vec![echo(false)])));
    assert!(lost.result == Warn && lost.text.contains("eth0"), "{lost:?}");
    assert_eq!(check_broadcast(&with(Err("no socket".to_owned()))).result, Warn);
}
