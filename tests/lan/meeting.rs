//! Who finds whom, over what, and how quickly: the real program on cold hosts.

use std::time::Duration;

use serde_json::json;

use super::{
    lab::{Lab, Wire},
    person::{Person, SOON, message},
    router::Nat,
};

const ONE: Wire<'_> = Wire { switch: "", v4: Some("10.77.0.1/24"), v6: true, dad: false };
const TWO: Wire<'_> = Wire { switch: "", v4: Some("10.77.0.2/24"), v6: true, dad: false };

/// Two hosts, nothing ever ran on either: `send bob hi --wait delivered` from the start of bob's daemon.
fn cold(what: &str, one: Wire<'_>, two: Wire<'_>) {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b) = (lab.host("a", one), lab.host("b", two));
    lab.settle();
    let (alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let started = bob.launch();
    let sent = alice.run(&["send", "bob", "hi", "--wait", "delivered"]);
    let took = started.elapsed();
    let (said, errors) = (String::from_utf8_lossy(&sent.stdout), String::from_utf8_lossy(&sent.stderr));
    assert_eq!(sent.status.code(), Some(0), "{said}{errors}");
    assert!(said.contains(r#""state":"delivered""#), "{said}");
    println!("{what}: cold send, both starts included: {took:?}");
    let mut client = bob.connect();
    assert_eq!(client.texts("in"), ["hi"]);
}

#[test]
fn cold_with_ipv4_and_ipv6() {
    cold("v4 and v6", ONE, TWO);
}

#[test]
fn cold_with_ipv6_only() {
    cold("v6 only", Wire { v4: None, ..ONE }, Wire { v4: None, ..TWO });
}

#[test]
fn cold_with_ipv4_only() {
    cold("v4 only", Wire { v6: false, ..ONE }, Wire { v6: false, ..TWO });
}

#[test]
fn cold_with_different_subnets_on_one_wire() {
    cold("different subnets", ONE, Wire { v4: Some("192.168.9.2/24"), ..TWO });
}

#[test]
fn two_interfaces_and_a_docker_decoy_on_every_host() {
    let Some(mut lab) = Lab::new() else { return };
    lab.switch("sw2");
    let (a, b) = (lab.host("a", ONE), lab.host("b", TWO));
    lab.cable("a", Wire { switch: "sw2", v4: Some("10.78.0.1/24"), v6: true, dad: false });
    let c = lab.host("c", Wire { switch: "sw2", v4: Some("10.78.0.3/24"), v6: true, dad: false });
    for host in [&a, &b, &c] {
        host.decoy();
    }
    lab.settle();
    let (mut alice, mut bob, mut carol) = (Person::new(&a, "alice"), Person::new(&b, "bob"), Person::new(&c, "carol"));
    let (mut at_bob, mut at_carol, mut at_alice) = (bob.start(), carol.start(), alice.start());
    for client in [&mut at_alice, &mut at_bob, &mut at_carol] {
        client.subscribe();
    }
    for name in ["bob", "carol"] {
        let (_, line) = at_alice.sees(name, "online", SOON);
        println!("alice sees {name} at {}", line["addr"]);
        println!("alice to {name}: {:?}", at_alice.deliver(name, "hi", SOON));
        assert!(!line["addr"].as_str().unwrap().starts_with("172."), "{line}");
    }
    at_bob.sees("alice", "online", SOON);
    at_bob.expect("the message", SOON, message("hi"));
    at_carol.expect("the message", SOON, message("hi"));
    let names = |lines: Vec<serde_json::Value>| {
        lines.iter().filter_map(|line| line["name"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(names(at_bob.call(json!({"call": "peers"}))), ["alice"], "another wire");
}

#[test]
fn three_people_on_one_host_and_one_elsewhere() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b) = (lab.host("a", ONE), lab.host("b", TWO));
    lab.settle();
    let mut people = [Person::new(&a, "alice"), Person::new(&a, "anna"), Person::new(&a, "adam"), Person::new(&b, "bob")];
    let mut clients: Vec<_> = people.iter_mut().map(Person::start).collect();
    clients.iter_mut().for_each(super::person::Client::subscribe);
    let ports: std::collections::BTreeSet<_> = clients.iter().take(3).map(|client| client.ready["port"].as_u64()).collect();
    assert_eq!(ports.len(), 3, "each its own port");
    for (me, client) in clients.iter_mut().enumerate() {
        for (other, person) in people.iter().enumerate().filter(|(other, _)| *other != me) {
            client.sees(person.name, "online", SOON);
            let took = client.deliver(person.name, &format!("{me} to {other}"), SOON);
            println!("{} to {}: {took:?}", people[me].name, person.name);
        }
    }
    for (me, client) in clients.iter_mut().enumerate() {
        let mut texts = client.texts("in");
        texts.sort_unstable();
        let expected: Vec<_> = (0..4).filter(|other| *other != me).map(|other| format!("{other} to {me}")).collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn three_people_on_a_machine_without_any_network() {
    let Some(mut lab) = Lab::new() else { return };
    let a = lab.bare("a");
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&a, "bob"));
    let (mut at_alice, mut at_bob) = (alice.start(), bob.start());
    at_alice.subscribe();
    at_bob.subscribe();
    at_alice.sees("bob", "online", SOON);
    println!("over loopback: {:?}", at_alice.deliver("bob", "hi", SOON));
    at_bob.expect("the message", SOON, message("hi"));
}

#[test]
fn with_no_lan_nobody_is_seen_and_nobody_sees() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b) = (lab.host("a", ONE), lab.host("b", TWO));
    lab.settle();
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    alice.options = vec!["--no-lan"];
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_bob.subscribe();
    at_alice.subscribe();
    let online = |line: &serde_json::Value| line["event"] == "peer" && line["presence"] == "online";
    // Long enough for the whole start burst of both.
    assert_eq!(at_alice.next(Duration::from_secs(5), &online), None);
    assert_eq!(at_bob.next(Duration::from_millis(10), &online), None);
    assert_eq!(at_alice.call(json!({"call": "peers"})).len(), 1, "only `done`");
    let sent = alice.run(&["send", "bob", "hi", "--timeout", "3s"]);
    assert!(matches!(sent.status.code(), Some(3 | 9)), "{sent:?}");
}

#[test]
fn without_a_network_it_runs_and_joins_when_one_appears() {
    appears("IPv4 and IPv6", ONE);
}

#[test]
fn an_ipv6_address_is_used_as_soon_as_its_duplicate_detection_ends() {
    appears("IPv6 after duplicate detection", Wire { v4: None, dad: true, ..ONE });
}

fn appears(what: &str, wire: Wire<'_>) {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b) = (lab.bare("a"), lab.host("b", TWO));
    lab.settle();
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_alice.subscribe();
    at_bob.subscribe();
    lab.cable("a", wire);
    lab.settle();
    let begun = std::time::Instant::now();
    let (at, _) = at_alice.sees("bob", "online", SOON);
    println!("{what} appeared: seen {:?} after the address was usable", at.saturating_duration_since(begun));
    at_bob.sees("alice", "online", SOON);
    println!("and a message: {:?}", at_bob.deliver("alice", "hi", SOON));
}

#[test]
fn behind_a_router_that_is_cut_off_a_lan_meets_and_two_lans_do_not() {
    let Some(mut lab) = Lab::new() else { return };
    lab.switch("lan2");
    lab.switch("public");
    let mut router = |name: &str, inner, outer| lab.router(name, inner, Wire::v4("public", outer), Nat::Cone);
    let Some(here) = router("rt1", Wire::v4("", "10.77.0.254/24"), "203.0.113.1/24") else { return };
    let Some(_there) = router("rt2", Wire::v4("lan2", "10.78.0.254/24"), "203.0.113.2/24") else { return };
    let (a, b) = (lab.host("a", ONE), lab.host("b", TWO));
    let c = lab.host("c", Wire { switch: "lan2", v4: Some("10.78.0.3/24"), v6: true, dad: false });
    lab.settle();
    here.cut();
    let (mut alice, mut bob, mut carol) = (Person::new(&a, "alice"), Person::new(&b, "bob"), Person::new(&c, "carol"));
    let (mut at_alice, mut at_bob, mut at_carol) = (alice.start(), bob.start(), carol.start());
    at_alice.subscribe();
    at_alice.sees("bob", "online", SOON);
    at_alice.deliver("bob", "without the internet", SOON);
    assert_eq!(at_bob.texts("in"), ["without the internet"]);
    let known = at_carol.call(json!({"call": "peers"}));
    assert!(known.iter().all(|line| line["name"].is_null()), "{known:?}");
}
