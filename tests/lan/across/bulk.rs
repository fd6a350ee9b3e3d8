//! As much as one message may hold, by a relay.

use std::{
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

use p2pchat_udp::wire::TEXT_LEN_MAX;
use serde_json::json;

use super::{SEED_PORT, SEEDS, World, befriend, register};
use crate::{lab::Lab, router::Nat, seed::Seed};

/// A relay forwards 4 KiB in a second for a pair: the largest message takes 260 s, rekeys of the session included.
const BULK: Duration = Duration::from_secs(3 * 260);

/// Lines of digits that nothing repeats.
fn text() -> String {
    let (mut text, mut state) = (String::with_capacity(TEXT_LEN_MAX + 17), 1_u64);
    while text.len() < TEXT_LEN_MAX {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{state:016x}\n"));
    }
    text.truncate(TEXT_LEN_MAX - 1);
    text.push('.');
    text
}

#[test]
fn a_mebibyte_by_a_relay_is_on_the_disk_of_whoever_was_killed_when_it_was_delivered() {
    let Some(lab) = Lab::aside() else { return };
    let Some(mut world) = World::without_seeds(lab, [Nat::Symmetric; 2]) else { return };
    world.seeds[0] = Some(Seed::new(&world.publics[0], SEED_PORT, &[]));
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS[..1]), world.person(1, 0, "bob", &SEEDS[..1]));
    let (mut at_alice, mut at_bob) = (alice.start(), bob.start());
    let (me, id) = (at_alice.id(), at_bob.id());
    register(&mut at_alice);
    register(&mut at_bob);
    befriend(&mut at_alice, &mut at_bob);
    let text = text();
    let begun = Instant::now();
    let mut send = alice.command(&["send", &id, "--timeout", "15m"]);
    let mut send = send.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    send.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    at_alice.reaches(&id, "relay", BULK);
    let sent = send.wait_with_output().unwrap();
    bob.kill();
    println!("{} bytes by a relay: {:?}", text.len(), begun.elapsed());
    assert_eq!(sent.status.code(), Some(0), "{}", String::from_utf8_lossy(&sent.stdout));
    at_alice.reaches(&id, "relay", BULK);

    let mut at_bob = bob.start();
    let there = at_bob.texts("in");
    assert_eq!(there.len(), 1, "{} messages", there.len());
    assert!(there[0] == text, "{} bytes came, or others", there[0].len());
    let rows = at_bob.call(json!({"call": "history", "limit": 1}));
    assert_eq!((&rows[0]["peer"], &rows[0]["state"]), (&me.into(), &"delivered".into()));
}
