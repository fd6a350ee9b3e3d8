//! People on different networks: the real program behind real NATs, who find each other by real seeds, and
//! what becomes of them when something of that is gone. Each NAT alone is tested in `router`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    lab::{Host, Lab, Wire},
    person::{Client, Person},
    router::{Nat, Router},
    seed::Seed,
};

/// Where the seeds are.
const SEEDS: [&str; 2] = ["203.0.113.10:17118", "203.0.113.11:17118"];
const SEED_PORT: u16 = 17_118;
/// What takes seeds and holes in NATs has to happen within this: three times the longest that is promised.
const FAR: Duration = Duration::from_secs(30);

/// Two LANs, each behind a router, and outside two seeds that know each other.
struct World {
    seeds: [Option<Seed>; 2],
    routers: [Router; 2],
    /// Two on each LAN.
    hosts: [[Host; 2]; 2],
    lab: Lab,
}

impl World {
    fn new(nat: Nat) -> Option<Self> {
        let mut lab = Lab::new()?;
        lab.switch("public");
        let seeds = [("s", "203.0.113.10/24"), ("t", "203.0.113.11/24")];
        let seeds = seeds.map(|(name, address)| lab.host(name, Wire::v4("public", address)));
        let (mut routers, mut hosts) = (Vec::new(), Vec::new());
        for (number, lan, names) in [(1, "lan1", ["a", "b"]), (2, "lan2", ["c", "d"])] {
            lab.switch(lan);
            let [inner, outer] = [format!("10.{number}.0.1/24"), format!("203.0.113.{number}/24")];
            routers.push(lab.router(&format!("rt{number}"), Wire::v4(lan, &inner), Wire::v4("public", &outer), nat)?);
            let mut host = |at: usize| lab.host(names[at], Wire::v4(lan, &format!("10.{number}.0.{}/24", at + 2)));
            hosts.push([host(0), host(1)]);
        }
        lab.settle();
        let seeds = [0, 1].map(|at| Some(Seed::new(&seeds[at], SEED_PORT, &[SEEDS[1 - at]])));
        let (Ok(routers), Ok(hosts)) = (routers.try_into(), hosts.try_into()) else { unreachable!("two of each") };
        Some(Self { seeds, routers, hosts, lab })
    }

    /// Somebody new on a LAN, who uses these seeds.
    fn person(&self, lan: usize, at: usize, name: &'static str, seeds: &[&'static str]) -> Person {
        let mut person = Person::new(&self.hosts[lan][at], name);
        person.options = seeds.iter().flat_map(|seed| ["--via", seed]).collect();
        person
    }
}

/// Waits until the seeds of this person have its record.
fn register(client: &mut Client) {
    let answer = client.call(json!({"call": "seed", "action": "register"}));
    assert_eq!(answer.last().unwrap()["event"], "done", "{answer:?}");
}

/// Has both add each other by their ids alone.
fn befriend(one: &mut Client, other: &mut Client) {
    other.add(&one.id());
    one.add(&other.id());
}

/// The line about this id among those of an answer.
fn line_of<'a>(answer: &'a [Value], id: &str) -> &'a Value {
    answer.iter().find(|line| line["id"] == id).unwrap_or_else(|| panic!("no {id} in {answer:?}"))
}

#[test]
fn who_is_registered_at_another_seed_is_found_and_reached_directly() {
    let Some(world) = World::new(Nat::Cone) else { return };
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS[..1]), world.person(1, 0, "bob", &SEEDS[1..]));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    register(&mut at_bob);
    register(&mut at_alice);
    let begun = Instant::now();
    let found = at_alice.call(json!({"call": "find", "words": "bob"}));
    println!("bob found by his name: {:?}", begun.elapsed());
    let line = line_of(&found, &at_bob.id());
    assert_eq!((&line["name"], &line["path"]), (&"bob".into(), &"none".into()), "{line}");

    let begun = Instant::now();
    befriend(&mut at_alice, &mut at_bob);
    println!("first message across, from its sending on: {:?}", at_alice.deliver(&at_bob.id(), "across", FAR));
    let line = at_alice.reaches(&at_bob.id(), "direct", FAR);
    println!("from the look-up to a direct path: {:?}", begun.elapsed());
    assert!(line["addr"].as_str().unwrap().starts_with("203.0.113.2:"), "{line}");
    println!("another message: {:?}", at_alice.deliver(&at_bob.id(), "again", FAR));
    println!("and back: {:?}", at_bob.deliver(&at_alice.id(), "back", FAR));
    assert_eq!((at_bob.texts("in"), at_alice.texts("in")), (vec!["across".into(), "again".into()], vec!["back".into()]));
    let whois = alice.run(&["whois", "bob"]);
    let line: Value = serde_json::from_slice(&whois.stdout).unwrap();
    assert_eq!((&line["path"], &line["presence"]), (&"direct".into(), &"online".into()), "{line}");
}

#[test]
fn with_the_first_of_two_seeds_dead_the_other_introduces() {
    let Some(mut world) = World::new(Nat::Cone) else { return };
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS), world.person(1, 0, "bob", &SEEDS[1..]));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    register(&mut at_bob);
    register(&mut at_alice);
    world.seeds[0] = None;
    let begun = Instant::now();
    let found = at_alice.call(json!({"call": "find", "words": "bob"}));
    println!("bob found by his name: {:?}", begun.elapsed());
    line_of(&found, &at_bob.id());
    let link = at_bob.call(json!({"call": "whoami"}))[0]["link"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    at_bob.add(&at_alice.id());
    at_alice.add(&link);
    println!("message, with one seed dead: {:?}", at_alice.deliver("bob", "across", FAR));
    at_alice.reaches(&at_bob.id(), "direct", FAR);
    println!("from the look-up to a direct path: {:?}", begun.elapsed());
}
