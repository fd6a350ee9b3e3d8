//! Two seeds on hosts of their own that share a Redis on a third: one phonebook for people on other networks,
//! of which any part may die.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{FAR, SEED_PORT, SEEDS, World, befriend, register};
use crate::{
    lab::{Host, Lab, Wire, skip},
    person::Person,
    router::Nat,
    seed::Seed,
};

const REDIS: &str = "203.0.113.20";
const DIRECTORY: [&str; 2] = ["--directory", "redis://203.0.113.20:6379/1"];

/// A Redis without a disk, on a host; killed when it is dropped.
struct Redis(Child);

impl Redis {
    /// `None`, with a printed reason, where the machine has none.
    fn start(host: &Host) -> Option<Self> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            return skip("redis-server is not installed");
        }
        let mut command = host.command("redis-server");
        command.args(["--bind", REDIS, "--protected-mode", "no", "--save", "", "--appendonly", "no", "--dir", "/"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("Ready to accept connections")), "redis-server ends");
        // Reads on to the end, so that it never writes into a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self(child))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A seed with the key of another, where there is one: to people they are one.
fn seed(host: &Host, other: Option<&Seed>) -> Seed {
    let dir = tempfile::Builder::new().prefix("p2plan").tempdir().unwrap();
    if let Some(other) = other {
        std::fs::create_dir(dir.path().join("profile")).unwrap();
        std::fs::copy(other.dir.path().join("profile/seed.key"), dir.path().join("profile/seed.key")).unwrap();
    }
    Seed::start(host, dir, SEED_PORT, &DIRECTORY)
}

/// Waits until this person's own seed finds that name: seeds and Redis meet when they meet.
fn finds(person: &Person, name: &str) {
    let begun = Instant::now();
    loop {
        let output = person.run(&["seed", "lookup", name]);
        if output.status.success() {
            return println!("{} finds {name} after {:?}", person.name, begun.elapsed());
        }
        assert!(begun.elapsed() < FAR, "{}: {}", person.name, String::from_utf8_lossy(&output.stderr));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn people_at_two_seeds_with_one_redis_are_in_one_phonebook_of_which_any_part_may_die() {
    let Some(lab) = Lab::new() else { return };
    let Some(mut world) = World::without_seeds(lab, [Nat::Cone; 2]) else { return };
    let host = world.lab.host("r", Wire::v4("public", "203.0.113.20/24"));
    world.lab.settle();
    let Some(redis) = Redis::start(&host) else { return };
    let first = seed(&world.publics[0], None);
    let second = seed(&world.publics[1], Some(&first));
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS[..1]), world.person(1, 0, "bob", &SEEDS[1..]));
    let (mut at_alice, mut at_bob) = (alice.start(), bob.start());
    register(&mut at_alice);
    register(&mut at_bob);
    finds(&bob, "alice");
    finds(&alice, "bob");
    befriend(&mut at_alice, &mut at_bob);
    // Her NAT lets in nobody but her own seed, which therefore is the one that knocks.
    println!("message from another seed's: {:?}", at_bob.deliver(&at_alice.id(), "in one phonebook", FAR));
    at_bob.reaches(&at_alice.id(), "direct", FAR);

    drop(first);
    finds(&bob, "alice");
    println!("message with a seed less: {:?}", at_alice.deliver(&at_bob.id(), "goes on", FAR));
    let first = seed(&world.publics[0], Some(&second));
    let mut carol = world.person(1, 1, "carol", &SEEDS[..1]);
    let mut at_carol = carol.start();
    finds(&carol, "bob");
    finds(&carol, "alice");

    drop(redis);
    register(&mut at_alice);
    register(&mut at_bob);
    register(&mut at_carol);
    for person in [&alice, &carol] {
        finds(person, "alice");
        finds(person, "carol");
    }
    finds(&bob, "bob");
    befriend(&mut at_alice, &mut at_carol);
    println!("first message without Redis: {:?}", at_carol.deliver(&at_alice.id(), "from memory", FAR));
    at_carol.reaches(&at_alice.id(), "direct", FAR);
    println!("another message without Redis: {:?}", at_bob.deliver(&at_alice.id(), "still", FAR));
    for seed in [first, second] {
        assert!(seed.said().contains("goes on from memory"), "{}", seed.said());
    }
}
