//! Links that carry more than Ethernet does, and switches that drop what is too long without a word.

use super::{
    lab::{Lab, Wire},
    person::{Person, SOON},
};

const ONE: Wire<'_> = Wire { switch: "", v4: Some("10.77.0.1/24"), v6: true, dad: false };
const TWO: Wire<'_> = Wire { switch: "", v4: Some("10.77.0.2/24"), v6: true, dad: false };
const LONG: usize = 200_000;

#[test]
fn long_texts_use_jumbo_frames_and_pass_a_switch_that_no_longer_takes_them() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b) = (lab.host("a", ONE), lab.host("b", TWO));
    for (name, host) in [("a", &a), ("b", &b)] {
        lab.mtu(name, 9_000);
        // Each datagram is one packet: joined ones would be long without being so.
        host.ip("link set eth0 gso_max_segs 1");
    }
    lab.settle();
    b.count_longer(17_118, 8_000);
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_bob.subscribe();
    at_alice.subscribe();
    at_alice.sees("bob", "online", SOON);
    at_alice.deliver("bob", "short", SOON);
    assert_eq!(b.counted(), 0, "who says little asks for nothing");
    let text = |n: usize| format!("{n} {}", "x".repeat(LONG));
    (0..5).for_each(|n| println!("jumbo: {:?}", at_alice.deliver("bob", &text(n), SOON)));
    let jumbo = b.counted();
    assert!(jumbo > 20, "{jumbo} jumbo frames");

    // From here on longer frames vanish on the way, though both ends could take them.
    lab.port_mtu("b", 1_400);
    println!("the switch drops long frames: {:?}", at_alice.deliver("bob", &text(5), SOON));
    (6..10).for_each(|n| println!("then: {:?}", at_alice.deliver("bob", &text(n), SOON)));
    println!("the other way: {:?}", at_bob.deliver("alice", &text(10), SOON));
    let lens: Vec<_> = at_bob.texts("in").iter().map(String::len).collect();
    assert_eq!(lens.iter().filter(|len| **len > LONG).count(), 10);
}

#[test]
fn a_path_that_carries_the_least_that_ipv6_allows_is_enough() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b) = (lab.host("a", ONE), lab.host("b", TWO));
    lab.port_mtu("b", 1_280);
    lab.settle();
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_bob.subscribe();
    at_alice.subscribe();
    at_alice.sees("bob", "online", SOON);
    for n in 0..5 {
        println!("1,280: {:?}", at_alice.deliver("bob", &format!("{n} {}", "x".repeat(LONG)), SOON));
    }
    assert_eq!(at_bob.texts("in").len(), 5);
}
