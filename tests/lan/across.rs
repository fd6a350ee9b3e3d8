//! People on different networks: the real program behind real NATs, who find each other by real seeds, and
//! what becomes of them when something of that is gone. Each NAT alone is tested in `router`.

mod asked;
mod broken;
mod bulk;
#[cfg(feature = "redis")]
mod cluster;
mod mapped;
mod near;
mod recipe;
#[path = "../it/served.rs"]
mod served;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    lab::{Host, Lab, Wire},
    person::{Client, Person, message},
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
    /// Where they run.
    publics: [Host; 2],
    routers: [Router; 2],
    /// Two on each LAN.
    hosts: [[Host; 2]; 2],
    lab: Lab,
}

impl World {
    fn new(nats: [Nat; 2]) -> Option<Self> {
        let mut world = Self::without_seeds(Lab::new()?, nats)?;
        world.seeds = [0, 1].map(|at| Some(Seed::new(&world.publics[at], SEED_PORT, &[SEEDS[1 - at]])));
        Some(world)
    }

    /// The same with nobody on the public hosts.
    fn without_seeds(mut lab: Lab, nats: [Nat; 2]) -> Option<Self> {
        lab.switch("public");
        let publics = [("s", "203.0.113.10/24"), ("t", "203.0.113.11/24")];
        let publics = publics.map(|(name, address)| lab.host(name, Wire::v4("public", address)));
        let (mut routers, mut hosts) = (Vec::new(), Vec::new());
        for (number, lan, names) in [(1, "lan1", ["a", "b"]), (2, "lan2", ["c", "d"])] {
            lab.switch(lan);
            let [inner, outer] = [format!("10.{number}.0.1/24"), format!("203.0.113.{number}/24")];
            routers.push(lab.router(
                &format!("rt{number}"),
                Wire::v4(lan, &inner),
                Wire::v4("public", &outer),
                nats[number - 1],
            )?);
            let mut host = |at: usize| lab.host(names[at], Wire::v4(lan, &format!("10.{number}.0.{}/24", at + 2)));
            hosts.push([host(0), host(1)]);
        }
        lab.settle();
        let (Ok(routers), Ok(hosts)) = (routers.try_into(), hosts.try_into()) else { unreachable!("two of each") };
        Some(Self { seeds: [None, None], publics, routers, hosts, lab })
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
    let Some(world) = World::new([Nat::Cone; 2]) else { return };
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
    let Some(mut world) = World::new([Nat::Cone; 2]) else { return };
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

#[test]
fn a_command_that_ends_soon_finds_and_delivers() {
    let Some(world) = World::new([Nat::Cone; 2]) else { return };
    let (alice, mut bob) = (world.person(0, 0, "alice", &SEEDS[..1]), world.person(1, 0, "bob", &SEEDS[1..]));
    let mut at_bob = bob.start();
    register(&mut at_bob);
    let me: Value = serde_json::from_slice(&alice.run(&["whoami"]).stdout).unwrap();
    at_bob.add(me["id"].as_str().unwrap());
    let begun = Instant::now();
    let sent = alice.run(&["send", &at_bob.id(), "hi", "--wait", "delivered"]);
    println!("cold send across, start included: {:?}", begun.elapsed());
    assert_eq!(sent.status.code(), Some(0), "{}{}", String::from_utf8_lossy(&sent.stdout), String::from_utf8_lossy(&sent.stderr));
    assert_eq!(at_bob.texts("in"), ["hi"]);
}

#[test]
fn mail_waits_and_what_is_gone_is_gone_at_every_seed() {
    let Some(mut world) = World::new([Nat::Cone; 2]) else { return };
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS[..1]), world.person(1, 0, "bob", &SEEDS[1..]));
    let carol = world.person(0, 1, "carol", &SEEDS);
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    let id = at_bob.id();
    befriend(&mut at_alice, &mut at_bob);
    at_alice.deliver(&id, "before", FAR);

    bob.stop();
    at_alice.queue(&id, "while away");
    println!("mail, from the start of one who had left: {:?}", comes_back(&mut bob, "while away"));
    bob.kill();
    at_alice.queue(&id, "while dead");
    println!("mail, from the start of one who had been killed: {:?}", comes_back(&mut bob, "while dead"));
    let mut at_bob = bob.connect();
    assert_eq!(at_bob.texts("in"), ["before", "while away", "while dead"]);

    let lookup = |name: &str| {
        let output = carol.run(&["seed", "lookup", name, "--timeout", "5s"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    register(&mut at_bob);
    assert_eq!(lookup("bob").0, Some(0));
    let (code, said) = lookup("nobody");
    assert_eq!(code, Some(9), "a seed that has just started does not say that there is nobody: {said}");
    let begun = Instant::now();
    // Each of these waits two seconds for the LAN.
    while carol.run(&["whois", "nobody"]).status.code() != Some(3) {
        assert!(begun.elapsed() < Duration::from_secs(90), "{}", lookup("nobody").1);
    }
    let answer = at_bob.call(json!({"call": "seed", "action": "unregister"}));
    assert_eq!(answer.last().unwrap()["event"], "done", "{answer:?}");
    let (code, said) = lookup("bob");
    assert_eq!(code, Some(3), "{said}");
    register(&mut at_bob);
    assert_eq!(lookup("bob").0, Some(0));
    world.seeds[0] = None;
    let (code, said) = lookup("nobody");
    assert_eq!(code, Some(9), "{said}");
    assert!(said.contains("nobody (1 of 2 seeds answered)"), "{said}");
}

/// Starts somebody's daemon anew, and waits for this message. Gives the time that took.
fn comes_back(person: &mut Person, text: &str) -> Duration {
    let begun = person.launch();
    let mut client = person.connect();
    client.ask(json!({"call": "subscribe", "after": "00000000-0000-0000-0000-000000000000"}));
    let (at, _) = client.expect(text, FAR, message(text));
    at - begun
}

#[test]
fn without_the_internet_a_lan_is_as_quick_as_without_seeds() {
    let Some(world) = World::new([Nat::Cone; 2]) else { return };
    for router in &world.routers {
        router.cut();
    }
    for (what, seeds) in [("no seeds", &[][..]), ("two seeds that nobody reaches", &SEEDS)] {
        let (alice, mut bob) = (world.person(0, 0, "alice", seeds), world.person(0, 1, "bob", seeds));
        let started = bob.launch();
        let sent = alice.run(&["send", "bob", "hi", "--wait", "delivered"]);
        println!("{what}: cold send, both starts included: {:?}", started.elapsed());
        assert_eq!(sent.status.code(), Some(0), "{}", String::from_utf8_lossy(&sent.stderr));
        let (mut alice, mut at_bob) = (alice, bob.connect());
        let mut at_alice = alice.start();
        let times = (0..20).map(|number| at_alice.deliver("bob", &format!("{number}"), FAR));
        println!("{what}: the slowest of 20 messages: {:?}", times.max().unwrap());
        println!("{what}: and back: {:?}", at_bob.deliver("alice", "back", FAR));
        let nobody = alice.run(&["whois", "nobody"]);
        assert_eq!(nobody.status.code(), Some(if seeds.is_empty() { 3 } else { 9 }), "{nobody:?}");
    }
}

#[test]
fn about_a_neighbour_no_seed_is_asked() {
    let Some(mut world) = World::new([Nat::Cone; 2]) else { return };
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS[..1]), world.person(0, 1, "bob", &SEEDS[..1]));
    let (mut at_alice, mut at_bob) = (alice.start(), bob.start());
    register(&mut at_alice);
    register(&mut at_bob);
    befriend(&mut at_alice, &mut at_bob);
    at_alice.deliver("bob", "near", FAR);
    at_bob.deliver("alice", "near", FAR);
    // Takes as long as LAN and seeds may take to answer.
    assert_eq!(alice.run(&["whois", "nobody"]).status.code(), Some(9));
    at_alice.reaches(&at_bob.id(), "lan", FAR);
    let counted = world.seeds[0].take().expect("it runs").end_and_count(["register", "find", "lookup", "knock"]);
    println!("registered, asked for a name, asked for an id, knocked: {counted:?}");
    assert_eq!((counted[2], counted[3]), (0, 0));
}

#[test]
fn with_all_seeds_gone_known_addresses_do() {
    for nat in [Nat::FullCone, Nat::Routed] {
        let Some(mut world) = World::new([nat; 2]) else { return };
        let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS), world.person(1, 0, "bob", &SEEDS));
        let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
        befriend(&mut at_alice, &mut at_bob);
        let id = at_bob.id();
        at_alice.deliver(&id, "with seeds", FAR);
        // The first words may have gone by a relay.
        at_alice.reaches(&id, "direct", FAR);
        world.seeds = [None, None];
        alice.kill();
        let begun = alice.launch();
        let mut at_alice = alice.connect();
        at_alice.deliver(&id, "without", FAR);
        println!("by known addresses, from the start: {:?}", begun.elapsed());
        at_alice.reaches(&id, "direct", FAR);
        assert_eq!(at_bob.texts("in"), ["with seeds", "without"]);
    }
}

/// Queues numbered texts, from one number to before another.
fn say(client: &mut Client, to: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        client.queue(to, &format!("{number}"));
    }
}

/// Waits until the last of so many numbered texts is here; each came once and in order.
fn hears_all(client: &mut Client, count: usize) -> Instant {
    let last = (count - 1).to_string();
    let (at, _) = client.expect(&last, FAR, message(&last));
    assert_eq!(client.texts("in"), (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
    at
}

#[test]
fn who_moves_to_another_network_in_the_middle_of_a_conversation_loses_nothing() {
    let Some(mut world) = World::new([Nat::Cone; 2]) else { return };
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS[..1]), world.person(0, 1, "bob", &SEEDS[1..]));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    let id = at_bob.id();
    at_bob.subscribe();
    befriend(&mut at_alice, &mut at_bob);
    say(&mut at_alice, &id, 0..100);
    at_alice.reaches(&id, "lan", FAR);
    at_bob.expect("half of them", FAR, message("50"));
    world.hosts[0][1].ip("link set eth0 down");
    say(&mut at_alice, &id, 100..150);
    world.lab.cable("b", Wire::v4("lan2", "10.2.0.9/24"));
    let begun = Instant::now();
    say(&mut at_alice, &id, 150..200);
    println!("all messages, after the move: {:?}", hears_all(&mut at_bob, 200) - begun);
    at_alice.reaches(&id, "direct", FAR);
    println!("and back: {:?}", at_bob.deliver(&at_alice.id(), "moved", FAR));

    world.hosts[0][1].ip("link set eth1 down");
    world.hosts[0][1].ip("link set eth0 up");
    world.hosts[0][1].ip("route append default via 10.1.0.1 dev eth0");
    let begun = Instant::now();
    say(&mut at_alice, &id, 200..300);
    println!("all messages, after the way home: {:?}", hears_all(&mut at_bob, 300) - begun);
    at_alice.reaches(&id, "lan", FAR);
}

type Befall = fn(&mut World);

#[test]
fn a_router_that_forgets_or_gets_another_address_stops_no_conversation() {
    let Some(mut world) = World::new([Nat::Cone; 2]) else { return };
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS[..1]), world.person(1, 0, "bob", &SEEDS[1..]));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    let (me, id) = (at_alice.id(), at_bob.id());
    at_bob.subscribe();
    befriend(&mut at_alice, &mut at_bob);
    say(&mut at_alice, &id, 0..10);
    hears_all(&mut at_bob, 10);
    at_alice.reaches(&id, "direct", FAR);
    let mut count = 10;
    let befalls: [(&str, Befall); 3] = [
        ("the sender's router forgets", |world| world.routers[0].forget()),
        ("the receiver's router forgets", |world| world.routers[1].forget()),
        ("the sender's router gets another address", |world| world.routers[0].renumber("203.0.113.3/24")),
    ];
    for (what, befall) in befalls {
        befall(&mut world);
        let begun = Instant::now();
        say(&mut at_alice, &id, count..count + 10);
        count += 10;
        println!("{what}: all messages after {:?}", hears_all(&mut at_bob, count) - begun);
        println!("{what}: and back: {:?}", at_bob.deliver(&me, what, FAR));
        at_alice.reaches(&id, "direct", FAR);
    }
}

#[test]
fn two_seeds_and_three_people_on_one_host() {
    let Some(mut lab) = Lab::new() else { return };
    let alone = lab.bare("alone");
    let public = lab.host("public", Wire::v4("", "203.0.113.10/24"));
    lab.settle();
    for (host, seeds) in
        [(&alone, ["127.0.0.1:17100", "127.0.0.1:17101"]), (&public, ["203.0.113.10:17100", "203.0.113.10:17101"])]
    {
        let _seeds = [Seed::new(host, 17_100, &seeds[1..]), Seed::new(host, 17_101, &seeds[..1])];
        let mut people = ["alice", "bob", "carol"].map(|name| Person::new(host, name));
        for (number, person) in people.iter_mut().enumerate() {
            // They must not meet otherwise.
            person.options = vec!["--no-lan", "--via", seeds[number % 2]];
        }
        let mut clients = people.each_mut().map(|person| person.start());
        clients.iter_mut().for_each(register);
        let ids = clients.each_ref().map(Client::id);
        let others = |me: usize| ids.iter().enumerate().filter(move |(other, _)| *other != me).map(|(_, id)| id);
        for (me, client) in clients.iter_mut().enumerate() {
            others(me).for_each(|id| client.add(id));
        }
        for (me, client) in clients.iter_mut().enumerate() {
            for id in others(me) {
                println!("by {}: {:?}", seeds[0], client.deliver(id, "hi", FAR));
                // No router is between.
                client.reaches(id, "lan", FAR);
            }
        }
        for client in &mut clients {
            assert_eq!(client.texts("in"), ["hi", "hi"]);
        }
    }
}

#[test]
fn behind_symmetric_nats_a_seed_relays_and_behind_one_a_path_opens() {
    for (nats, seeds, path) in [
        ([Nat::Symmetric, Nat::Symmetric], &SEEDS[1..], "relay"),
        ([Nat::Symmetric, Nat::Cone], &SEEDS[..1], "relay"),
        ([Nat::Symmetric, Nat::Restricted], &SEEDS[..1], "direct"),
        ([Nat::Symmetric, Nat::FullCone], &SEEDS[..1], "direct"),
    ] {
        let Some(world) = World::new(nats) else { return };
        let (mut alice, mut bob) = (world.person(0, 0, "alice", seeds), world.person(1, 0, "bob", &SEEDS[1..]));
        let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
        let (me, id) = (at_alice.id(), at_bob.id());
        register(&mut at_alice);
        register(&mut at_bob);
        at_bob.subscribe();
        let begun = Instant::now();
        befriend(&mut at_alice, &mut at_bob);
        at_alice.deliver(&id, "0", FAR);
        println!("{path}: from the look-up to the first message: {:?}", begun.elapsed());
        at_alice.reaches(&id, path, FAR);
        at_bob.reaches(&me, path, FAR);
        let begun = Instant::now();
        say(&mut at_alice, &id, 1..40);
        println!("{path}: 39 messages more: {:?}", hears_all(&mut at_bob, 40) - begun);
        println!("{path}: and back: {:?}", at_bob.deliver(&me, "back", FAR));
    }
}
