//! LAN first: what neighbours say to each other neither goes to a seed nor waits for one, whatever is named in
//! their settings; and across networks a conversation needs seeds to begin, not to go on.

use std::time::Duration;

use super::{FAR, SEED_PORT, SEEDS, World, befriend, register};
use crate::{person::Client, router::Nat};

/// Of one batch; enough for what goes with each message to stand out from refreshes of records.
const MESSAGES: u32 = 200;

/// Sends a batch, one after the other; the median of the times until each is delivered. None may have waited
/// for anything.
fn batch(client: &mut Client, to: &str, what: &str) -> Duration {
    let waits = |line: &serde_json::Value| line["event"] == "status" && !line["reason"].is_null();
    while client.next(Duration::ZERO, &waits).is_some() {}
    let mut times: Vec<_> = (0..MESSAGES).map(|number| client.deliver(to, &format!("{what} {number}"), FAR)).collect();
    times.sort_unstable();
    assert_eq!(client.next(Duration::ZERO, &waits), None, "{what}");
    times[times.len() / 2]
}

#[test]
fn what_neighbours_say_goes_to_no_seed_and_waits_for_none() {
    let Some(mut world) = World::new([Nat::Cone; 2]) else { return };
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS), world.person(0, 1, "bob", &SEEDS));
    let (mut at_alice, mut at_bob) = (alice.start(), bob.start());
    let (me, id) = (at_alice.id(), at_bob.id());
    register(&mut at_alice);
    register(&mut at_bob);
    befriend(&mut at_alice, &mut at_bob);
    at_alice.subscribe();
    world.publics.iter().for_each(|host| host.count(SEED_PORT));
    println!("with seeds in reach, the median: {:?}", batch(&mut at_alice, &id, "in reach"));
    at_alice.reaches(&id, "lan", FAR);
    let counted = world.publics.each_ref().map(|host| host.counted());
    println!("datagrams to each seed during {MESSAGES} messages: {counted:?}");
    // Each refreshes its record every 20 s, and the seeds ask each other every 30.
    assert!(counted.iter().all(|count| *count < u64::from(MESSAGES) / 10), "{counted:?}");
    assert_eq!(alice.run(&["seed", "status"]).status.code(), Some(0));
    assert!(world.publics.iter().zip(counted).all(|(host, before)| host.counted() > before), "they are counted");

    world.lab.unplug("rt1");
    println!("with the way out unplugged, the median: {:?}", batch(&mut at_alice, &id, "unplugged"));
    alice.kill();
    let begun = alice.launch();
    let mut at_alice = alice.connect();
    at_alice.deliver(&id, "first", FAR);
    println!("the first after a start: {:?}", begun.elapsed());
    at_alice.subscribe();
    println!("the same after that, the median: {:?}", batch(&mut at_alice, "bob", "started"));
    at_alice.reaches(&id, "lan", FAR);
    at_bob.reaches(&me, "lan", FAR);
    assert_eq!(at_bob.texts("in").len(), 3 * MESSAGES as usize + 1);

    let seeds = world.seeds.each_mut().map(|seed| seed.take().expect("it runs"));
    for seed in seeds {
        let counted = seed.end_and_count(["register", "find", "lookup", "knock"]);
        println!("registered, asked for a name, asked for an id, knocked: {counted:?}");
        assert!(counted[0] > 0 && counted[1..] == [0; 3], "{counted:?}");
    }
}

#[test]
fn a_conversation_across_networks_outlives_all_seeds() {
    let Some(mut world) = World::new([Nat::Cone; 2]) else { return };
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS), world.person(1, 0, "bob", &SEEDS));
    let (mut at_alice, mut at_bob) = (alice.start(), bob.start());
    let (me, id) = (at_alice.id(), at_bob.id());
    befriend(&mut at_alice, &mut at_bob);
    at_alice.deliver(&id, "with seeds", FAR);
    at_alice.reaches(&id, "direct", FAR);
    at_bob.reaches(&me, "direct", FAR);
    world.seeds = [None, None];
    at_alice.subscribe();
    println!("without seeds, the median: {:?}", batch(&mut at_alice, &id, "without"));
    println!("and back: {:?}", at_bob.deliver(&me, "back", FAR));
    at_alice.reaches(&id, "direct", FAR);
}
