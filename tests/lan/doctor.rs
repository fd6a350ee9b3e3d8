//! `doctor` on networks that are broken in a way that each of its words is about.

use serde_json::Value;

use super::{
    lab::{Host, Lab, Wire},
    person::{Person, SOON},
};

const ONE: Wire<'_> = Wire { switch: "", v4: Some("10.77.0.1/24"), v6: true, dad: false };
const TWO: Wire<'_> = Wire { switch: "", v4: Some("10.77.0.2/24"), v6: true, dad: false };

/// What it found of a thing, and its exit code.
fn doctor(person: &Person) -> (Vec<Value>, Option<i32>) {
    let output = person.run(&["doctor"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    (lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), output.status.code())
}

fn failed(found: &[Value]) -> Vec<&str> {
    found.iter().filter(|line| line["result"] == "fail").map(|line| line["check"].as_str().unwrap()).collect()
}

fn block(host: &Host, ports: &str) {
    let rules = format!(
        "table inet wall {{
            chain input {{ type filter hook input priority 0; udp dport {ports} drop; }}
        }}"
    );
    host.nft(&rules).unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn doctor_names_the_firewall_that_keeps_people_apart() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b) = (lab.host("a", ONE), lab.host("b", TWO));
    lab.settle();
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_alice, _at_bob) = (alice.start(), bob.start());
    at_alice.subscribe();
    at_alice.sees("bob", "online", SOON);
    let (found, code) = doctor(&alice);
    assert_eq!((failed(&found), code), (vec![], Some(0)), "{found:?}");

    // Bob lets in what is announced, and nothing that is meant for him.
    bob.kill();
    block(&b, "17118-17133");
    let _at_bob = bob.start();
    at_alice.sees("bob", "online", SOON);
    let (found, code) = doctor(&alice);
    assert_eq!((failed(&found), code), (vec!["answers"], Some(9)), "{found:?}");
    let line = found.iter().find(|line| line["check"] == "answers").unwrap();
    assert!(line["text"].as_str().unwrap().contains("bob"), "{line}");
    assert!(line["fix"].as_str().unwrap().contains("17117 to 17133"), "{line}");

    // Alice's own machine lets nothing in at all.
    block(&a, "17117-17133");
    let (found, code) = doctor(&alice);
    assert!(failed(&found).contains(&"multicast") && code == Some(9), "{found:?}");
}

#[test]
fn doctor_without_a_network_says_so() {
    let Some(mut lab) = Lab::new() else { return };
    let a = lab.host("a", ONE);
    lab.settle();
    let alice = Person::new(&a, "alice");
    a.ip("link set eth0 down");
    let (found, code) = doctor(&alice);
    assert_eq!((failed(&found), code), (vec!["interfaces"], Some(9)), "{found:?}");
}
