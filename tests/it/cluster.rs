//! Seeds that share a directory, with a real Redis of each test's own: any of them may die at any time.

use std::{net::TcpListener, process::Command, time::Instant};

use p2pchat_udp::wire::{
    DATAGRAM_LEN_MAX,
    phonebook::{Answer, Entry, Query},
};
use redis::Commands;

use crate::{
    person::{HANG, Running, program, run},
    seed::{Asker, Entered, Seed, counted, entered},
};

/// A Redis without a disk, on a port of its own; killed when it is dropped.
struct Redis {
    dir: tempfile::TempDir,
    port: u16,
    running: Option<Running>,
}

impl Redis {
    /// `None` where the machine has none.
    fn start() -> Option<Self> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            let why = "redis-server is not installed";
            assert!(std::env::var_os("P2PCHAT_SKIP_NOTHING").is_none(), "must run here and cannot: {why}");
            println!("skipped: {why}");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { dir: tempfile::tempdir().unwrap(), port, running: None };
        redis.restart();
        Some(redis)
    }

    /// Empty, on the same port.
    fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &self.port.to_string(), "--dir"]);
        command.arg(self.dir.path()).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        let running = Running::new(command);
        while !running.line().contains("Ready to accept connections") {}
        self.running = Some(running);
    }

    fn kill(&mut self) {
        self.running.take().unwrap().kill();
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/1", self.port)
    }

    fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection_with_timeout(HANG).unwrap()
    }

    fn seed(&self, dir: &tempfile::TempDir) -> Seed {
        Seed::start(dir, &["--directory", &self.url()])
    }
}

/// Two seeds with one key, and where they live.
fn two(redis: &Redis) -> ([tempfile::TempDir; 2], [Seed; 2]) {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = redis.seed(&dirs[0]);
    std::fs::create_dir(dirs[1].path().join("seed")).unwrap();
    std::fs::copy(first.dir.join("seed.key"), dirs[1].path().join("seed").join("seed.key")).unwrap();
    let second = redis.seed(&dirs[1]);
    (dirs, [first, second])
}

/// Asks until the answer fits: seeds and Redis meet when they meet.
#[track_caller]
fn until(asker: &mut Asker, query: &Query<'_>, fits: impl Fn(&Answer<'_>) -> bool) {
    let end = Instant::now() + HANG;
    loop {
        let answer = asker.ask(query);
        if fits(&answer) {
            return;
        }
        assert!(Instant::now() < end, "{answer:?}");
    }
}

fn is_found(answer: &Answer<'_>, whom: &Entered) -> bool {
    match answer {
        Answer::Found { entries, .. } => {
            entries.iter().any(|Entry { record, signature, .. }| *record == whom.record && *signature == whom.signature)
        }
        _ => false,
    }
}

const fn is_not_found(answer: &Answer<'_>) -> bool {
    matches!(answer, Answer::NotFound { .. })
}

#[test]
fn two_seeds_are_one_phonebook() {
    let Some(redis) = Redis::start() else { return };
    let (_dirs, [first, second]) = two(&redis);
    let alice = entered("alice", 1);
    let (mut owner, mut other) = (Asker::new(first.addr()), Asker::new(second.addr()));
    let token = alice.register(&mut owner, None);
    until(&mut other, &alice.lookup(), |answer| is_found(answer, &alice));
    until(&mut other, &Query::Find { network: [0; 8], name: "ALICE" }, |answer| is_found(answer, &alice));

    // Only the first reaches her through her NAT, and so it is the first that knocks.
    let knock = Query::Knock { to: *alice.id.as_bytes(), sealed: b"sealed" };
    let (seen, from) = (owner.addr(), other.addr());
    until(&mut other, &knock, |answer| matches!(answer, Answer::Knocked { seen: at } if *at == seen));
    let mut told = [0; DATAGRAM_LEN_MAX];
    owner.socket.set_read_timeout(Some(HANG)).unwrap();
    let (len, by) = owner.socket.recv_from(&mut told).unwrap();
    assert_eq!(by, first.addr());
    assert_eq!(Answer::decode(&told[..len]).unwrap().1, Answer::Notify { from, sealed: b"sealed" });

    // One key: what the first gave counts at the second.
    alice.register(&mut other, Some(token));
    // And a farewell counts for both, also for whoever has kept the record.
    let bob = entered("bob", 2);
    bob.register(&mut owner, None);
    until(&mut other, &bob.lookup(), |answer| is_found(answer, &bob));
    let (record, signature) = &bob.farewell;
    assert!(matches!(owner.ask(&Query::Unregister { record, signature: *signature }), Answer::Unregistered));
    until(&mut other, &bob.lookup(), is_not_found);
    bob.register(&mut other, None);
    until(&mut other, &bob.lookup(), is_not_found);
    let log = second.end();
    assert!(counted(&log, "tokens") >= 1 && counted(&log, "fetched") >= 1 && counted(&log, "written") >= 1, "{log}");
    assert_eq!(counted(&log, "disbelieved"), 0, "{log}");
    assert!(!log.contains("127.0.0.1"), "{log}");
    first.end();
}

#[test]
fn either_seed_may_die() {
    let Some(redis) = Redis::start() else { return };
    let (dirs, [first, second]) = two(&redis);
    let (alice, bob) = (entered("alice", 1), entered("bob", 2));
    alice.register(&mut Asker::new(first.addr()), None);
    bob.register(&mut Asker::new(second.addr()), None);
    let mut at_second = Asker::new(second.addr());
    until(&mut at_second, &alice.lookup(), |answer| is_found(answer, &alice));
    first.running.kill();
    until(&mut at_second, &alice.lookup(), |answer| is_found(answer, &alice));
    until(&mut at_second, &bob.lookup(), |answer| is_found(answer, &bob));

    // One that starts knows everybody at once, also whom only the dead one had.
    let first = redis.seed(&dirs[0]);
    let mut at_first = Asker::new(first.addr());
    second.running.kill();
    for person in [&alice, &bob] {
        until(&mut at_first, &person.lookup(), |answer| is_found(answer, person));
    }
    first.end();
}

#[test]
fn redis_may_die_and_come_back_empty() {
    let Some(mut redis) = Redis::start() else { return };
    let (_dirs, [first, second]) = two(&redis);
    let (alice, bob) = (entered("alice", 1), entered("bob", 2));
    let (mut owner, mut other) = (Asker::new(first.addr()), Asker::new(second.addr()));
    let token = alice.register(&mut owner, None);
    until(&mut other, &alice.lookup(), |answer| is_found(answer, &alice));
    redis.kill();
    // From memory; what the other has cannot be known.
    until(&mut other, &alice.lookup(), is_not_found);
    assert!(is_found(&Asker::new(first.addr()).ask(&alice.lookup()), &alice));
    bob.register(&mut other, None);
    assert!(is_found(&other.ask(&bob.lookup()), &bob));
    assert!(matches!(other.ask(&Query::Status), Answer::Status(status) if status.records == 1));

    redis.restart();
    let refresh = Query::Refresh { id: *alice.id.as_bytes(), seq: 1, token };
    let end = Instant::now() + HANG;
    loop {
        assert!(matches!(owner.ask(&refresh), Answer::Registered { .. }));
        if is_found(&other.ask(&alice.lookup()), &alice) {
            break;
        }
        assert!(Instant::now() < end, "it is there with a refresh");
    }
    for seed in [first, second] {
        let log = seed.end();
        assert_eq!(log.matches("goes on from memory").count(), 1, "one warning an outage: {log}");
    }
}

#[test]
fn what_others_write_into_redis_is_refused() {
    let Some(redis) = Redis::start() else { return };
    let (_dirs, [first, second]) = two(&redis);
    let mut raw = redis.connect();
    let people: Vec<_> = (1..=6).map(|n| entered("alice", n)).collect();
    let mut owners: Vec<_> = people.iter().map(|_| Asker::new(first.addr())).collect();
    for (person, owner) in people.iter().zip(&mut owners) {
        person.register(owner, None);
    }
    let key = |person: &Entered| [b"p2pchat:1:r:", person.id.as_bytes().as_slice()].concat();
    let end = Instant::now() + HANG;
    while !people.iter().all(|person| raw.exists(key(person)).unwrap()) {
        assert!(Instant::now() < end, "all are written");
    }
    // Somebody else's record; a record cut off; a bit of the signature; too much; another type.
    let good: Vec<u8> = raw.get(key(&people[5])).unwrap();
    let mut flipped: Vec<u8> = raw.get(key(&people[2])).unwrap();
    flipped[50] ^= 1;
    let () = raw.set(key(&people[0]), &good).unwrap();
    let () = raw.set(key(&people[1]), &good[..good.len() - 1]).unwrap();
    let () = raw.set(key(&people[2]), flipped).unwrap();
    let () = raw.set(key(&people[3]), vec![1_u8; 8 << 20]).unwrap();
    let () = raw.del(key(&people[4])).unwrap();
    let () = raw.rpush(key(&people[4]), "junk").unwrap();
    let mut asker = Asker::new(second.addr());
    for person in &people[..5] {
        assert!(is_not_found(&asker.ask(&person.lookup())), "{}", person.id);
    }
    until(&mut asker, &people[5].lookup(), |answer| is_found(answer, &people[5]));
    let by_name = Query::Find { network: [0; 8], name: "alice" };
    until(&mut asker, &by_name, |answer| matches!(answer, Answer::Found { entries, .. } if entries.len() == 1));

    // Junk in the way of a record, and of its name, goes away with the next one.
    let zoe = entered("zoe", 99);
    let () = raw.rpush(key(&zoe), "junk").unwrap();
    let () = raw.set(b"p2pchat:1:n:\0\0\0\0\0\0\0\0zoe", "junk").unwrap();
    zoe.register(&mut Asker::new(first.addr()), None);
    until(&mut asker, &zoe.lookup(), |answer| is_found(answer, &zoe));
    until(&mut asker, &Query::Find { network: [0; 8], name: "zoe" }, |answer| is_found(answer, &zoe));
    assert!(counted(&second.end(), "disbelieved") >= 4);
    first.end();
}

#[test]
fn a_directory_is_a_seeds_and_has_an_address() {
    for (args, word) in [(&["--seed", "--directory", "http://x"][..], "redis://"), (&["--directory", "redis://x:1"], "--seed")] {
        let mut command = program();
        command.args(args);
        let ended = run(command).expect(2);
        assert!(ended.err.contains("--directory") && ended.err.contains(word), "{}", ended.err);
    }
}

/// A wrong address may have a right password.
#[test]
fn the_password_of_a_directory_is_in_no_error() {
    for wrong in ["rediss://:canary@192.0.2.1:6379", "http://:canary@x", "redis://:canary@[", ":canary@x"] {
        for is_variable in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut command = program();
            command.arg("--seed").arg("-d").arg(dir.path().join("seed"));
            if is_variable {
                command.env("P2PCHAT_DIRECTORY", wrong);
            } else {
                command.args(["--directory", wrong]);
            }
            let ended = run(command).expect(2);
            assert!(ended.err.contains("redis://HOST:PORT") && !ended.err.contains("canary"), "{wrong}: {}", ended.err);
            assert!(!dir.path().join("seed").exists(), "it made a key");
        }
    }
}

/// Nothing waits for a Redis that is not there, neither the start nor the end.
#[test]
fn without_redis_a_seed_is_a_seed() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let seed = Seed::start(&dir, &["--directory", &format!("redis://127.0.0.1:{port}")]);
    let alice = entered("alice", 1);
    let mut asker = Asker::new(seed.addr());
    assert!(is_not_found(&asker.ask(&alice.lookup())));
    alice.register(&mut asker, None);
    assert!(is_found(&asker.ask(&alice.lookup()), &alice));
    let log = seed.end();
    assert!(log.contains("goes on from memory"), "{log}");
}
