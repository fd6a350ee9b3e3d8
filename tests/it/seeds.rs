//! Seeds that are not as they should be, that come and go, that are full or many: what whoever uses them
//! is told, through the real binary.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use p2pchat_udp::{
    clock::{Now, Unix},
    net::clock::now,
    seed::{Seed as Core, SeedConfig, Shared, memory::Memory},
    wire::{
        DATAGRAM_LEN_MAX, WIRE_VERSION,
        phonebook::{Answer, COOKIE_LEN, Entry, Header, Query, Refusal, RelayStatus, Status, other_version},
    },
};
use serde_json::Value;

use crate::{
    person::{Net, Person, Running},
    seed::{Asker, Seed, entered, free_port},
};

/// Somebody at a port of his own, in a loop of the test's own; ends when it is dropped.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// `handle` is given each datagram, and nothing every now and then.
    fn start(mut handle: impl FnMut(&UdpSocket, Option<(&[u8], SocketAddr)>) + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        // Its deadlines and the end are looked at this often.
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = std::thread::spawn(move || {
            let mut datagram = [0; DATAGRAM_LEN_MAX];
            while !ended.load(Ordering::Relaxed) {
                let received = socket.recv_from(&mut datagram).ok();
                handle(&socket, received.map(|(len, from)| (&datagram[..len], from)));
            }
        });
        Self { addr, end, thread: Some(thread) }
    }

    /// Answers each query as `answer` says.
    fn answering(mut answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        Self::start(move |socket, received| {
            if let Some((query, from)) = received {
                socket.send_to(&answer(query), from).unwrap();
            }
        })
    }

    /// The real seed, whose clock is what `clock` makes of the right one.
    pub(crate) fn seed(mut clock: impl FnMut(Now) -> Now + Send + 'static) -> Self {
        let begun = clock(now());
        let config =
            SeedConfig { name: "attic".to_owned(), records_max: 100, fellows: Vec::new(), cores: 1, loopback: true, relay: None };
        let directory = Box::new(Memory::new(config.records_max, [1; 16], begun));
        let shared = Shared::new(config, &[2; 32], &[3; 32], [1; 16], begun, directory);
        let mut core = Core::new(shared, [4; 32], begun);
        let mut out = Vec::new();
        Self::start(move |socket, received| {
            let now = clock(now());
            if let Some((datagram, from)) = received {
                core.handle_datagram(now, from, datagram);
            }
            core.handle_timeout(now);
            while let Some(to) = core.poll_transmit(&mut out) {
                socket.send_to(&out, to).unwrap();
            }
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

const TWO_HOURS_MS: u64 = 2 * 3_600 * 1_000;

/// It finds whomever it is asked for: a record that somebody changed behind its owner's back.
fn forger() -> Served {
    let zoe = entered("zoe", 9);
    let mut signature = zoe.signature;
    signature[0] ^= 1;
    Served::answering(move |query| {
        let (header, query) = Query::decode(query).unwrap();
        let unix = now().unix.0 / 1_000;
        let (cookie, answer) = match query {
            Query::Hello => ([1; COOKIE_LEN], Answer::Cookie { seen: SocketAddr::from(([127, 0, 0, 1], 9)) }),
            Query::Status => {
                let (software, seeds, relay) = ("forger", Vec::new(), RelayStatus::default());
                let status = Status { name: "forger", software, unix, uptime: 100, records: 1, load: 0, seeds, relay };
                ([0; COOKIE_LEN], Answer::Status(status))
            }
            _ => {
                let entry = Entry { record: &zoe.record, signature, seen: SocketAddr::from(([127, 0, 0, 1], 9)), age: 0 };
                ([0; COOKIE_LEN], Answer::Found { entries: vec![entry], more: false })
            }
        };
        let mut out = Vec::new();
        answer.encode(Header { txid: header.txid, cookie }, &mut out);
        out
    })
}

/// It knows as much of ours as every version does.
fn of_the_next_version() -> Served {
    Served::answering(|query| {
        let mut answer = other_version(query).unwrap();
        assert_eq!(answer[5], WIRE_VERSION);
        answer[5] += 1;
        answer.to_vec()
    })
}

/// Runs with these seeds, and says everything that happens.
fn listen(person: &Person, vias: &[&str], options: &[&str]) -> Running {
    let vias = vias.iter().flat_map(|via| ["--via", *via]);
    let args: Vec<&str> = ["listen", "--events", "--json"].into_iter().chain(vias).chain(options.iter().copied()).collect();
    let running = person.start(&args);
    running.until(|line| line["event"] == "ready");
    running
}

/// The text of the next notice of this code.
#[track_caller]
fn notice(running: &Running, code: &str) -> String {
    running.until(|line| line["event"] == "notice" && line["code"] == code)["text"].as_str().unwrap().to_owned()
}

/// `state` in JSON and for people, in the shell, and as a notice; `why` wherever there is room for it.
#[track_caller]
fn is_said_to_be(seed: &Served, state: &str, why: &str) {
    let alice = Net::new().person("alice");
    let addr = seed.addr.to_string();
    let owner = listen(&alice, &[&addr], &["--no-lan"]);
    let nobody = alice.run(["seed", "lookup", "zoe", "--json"]).expect(9);
    assert!(nobody.events("peer").is_empty(), "{}", nobody.out);
    let told = notice(&owner, &format!("seed-{state}"));
    assert!(told.contains(&addr) && told.contains(why), "{told}");

    let seeds = alice.run(["seed", "status", "--json"]).expect(9).events("seed");
    assert_eq!((seeds.len(), &seeds[0]["addr"], &seeds[0]["state"]), (1, &addr.as_str().into(), &state.into()));
    assert!(seeds[0]["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{}", seeds[0]);
    let human = alice.run(["seed", "status"]).expect(9).out;
    assert!(human.starts_with(&addr) && human.contains(&format!(" {state} (")) && human.contains(why), "{human}");
    let shell = alice.run_with(b"/seeds\n", &[]);
    let words = state.replace('-', " ");
    assert!(shell.out.lines().any(|row| row.starts_with(&addr) && row.contains(&words)), "{}\n{}", shell.out, shell.err);
}

#[test]
fn a_seed_whose_clock_is_two_hours_off_is_said_to_be() {
    let behind = Served::seed(|now| Now { unix: Unix(now.unix.0 - TWO_HOURS_MS), ..now });
    is_said_to_be(&behind, "wrong-clock", "its clock and ours differ by 7");
    // It takes our record up; the clocks are compared when it says how it is.
    let ahead = Served::seed(|now| Now { unix: Unix(now.unix.0 + TWO_HOURS_MS), ..now });
    let alice = Net::new().person("alice");
    let status = alice.run(["seed", "status", &ahead.addr.to_string(), "--json"]).expect(9).events("seed").remove(0);
    assert_eq!(status["state"], "wrong-clock", "{status}");
}

#[test]
fn a_seed_of_another_version_is_said_to_be() {
    is_said_to_be(&of_the_next_version(), "old-version", "it speaks version 2 of the protocol");
}

#[test]
fn a_seed_that_hands_on_a_forgery_is_said_to_and_is_not_believed() {
    is_said_to_be(&forger(), "bad-signature", "its owner did not sign");
}

#[test]
fn seeds_out_of_reach_are_told_of_and_are_in_nobodys_way_until_they_are_back() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let addr = format!("127.0.0.1:{}", free_port(8_000));
    let silent = UdpSocket::bind(&addr).unwrap();
    let owner = listen(&alice, &[&addr, "nobody.invalid:17118"], &[]);
    let mut told = [0, 1].map(|_| notice(&owner, "seed-unreachable"));
    told.sort();
    assert_eq!(told[0], format!("the seed {addr} cannot be reached: no answer"));
    let why = told[1].strip_prefix("the seed nobody.invalid:17118 cannot be reached: ");
    assert!(why.is_some_and(|why| !why.is_empty()), "{told:?}");
    bob.run(["send", "alice", "hi"]).expect(0);
    assert_eq!(owner.message(), "hi");

    drop(silent);
    let dir = tempfile::tempdir().unwrap();
    let _seed = Seed::start_at(&dir, &addr, &[]);
    assert_eq!(notice(&owner, "seed-back"), format!("the seed {addr} answers again"));
}

/// Runs with this seed and no LAN, and is in its phonebook when this returns.
fn registered(person: &Person, seed: &str) -> Running {
    let owner = listen(person, &[seed], &["--no-lan"]);
    person.run(["seed", "register"]).expect(0);
    owner
}

#[test]
fn two_of_one_name_at_a_seed_are_exit_4_and_nothing_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    let addr = seed.addr().to_string();
    let net = Net::new();
    let (one, two, carol) = (net.person("bob"), net.person("Bob"), net.person("carol"));
    let _owners = [&one, &two].map(|bob| registered(bob, &addr));
    let options = ["--no-lan", "--via", &addr, "--json"];
    let ended = carol.run(["send", "bob", "hi"].iter().chain(&options)).expect(4);
    for id in [one.id(), two.id()] {
        assert!(ended.err.contains(&id), "{}", ended.err);
        assert!(ended.events("peer").iter().any(|line| line["id"] == id), "{}", ended.out);
    }
    assert_eq!(carol.run(["outbox", "--json"]).expect(0).out, "");
    carol.run(["send", &one.id(), "hi"].iter().chain(&options)).expect(0);
    assert_eq!(one.history(), ["in hi delivered"]);
    assert!(two.history().is_empty());
}

#[test]
fn a_full_seed_keeps_whom_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &["--max-records", "2"]);
    let people = [("alice", 1), ("bob", 2), ("carol", 3)].map(|(name, rng_seed)| entered(name, rng_seed));
    let mut askers = [0; 3].map(|_| Asker::new(seed.addr()));
    let tokens = [0, 1].map(|n| people[n].register(&mut askers[n], None));
    let third = Query::Register { record: &people[2].record, signature: people[2].signature, token: None };
    assert_eq!(askers[2].ask(&third), Answer::Refused(Refusal::Full));
    for n in [0, 1] {
        let found = askers[2].ask(&people[n].lookup());
        assert!(matches!(&found, Answer::Found { entries, .. } if entries[0].record == people[n].record), "{found:?}");
        let refresh = Query::Refresh { id: *people[n].id.as_bytes(), seq: 1, token: tokens[n] };
        assert!(matches!(askers[n].ask(&refresh), Answer::Registered { .. }));
    }
    assert!(matches!(askers[0].ask(&people[2].lookup()), Answer::NotFound { .. }));
    let dave = Net::new().person("dave");
    let addr = seed.addr().to_string();
    let refused = dave.run(["seed", "register", "--no-lan", "--via", &addr, "--json"]).expect(9);
    assert_eq!(refused.events("seed")[0]["registered"], false);
    assert!(refused.err.contains("not registered: ") && refused.err.contains(&addr), "{}", refused.err);
}

#[test]
fn of_four_seeds_three_hold_a_record() {
    let dirs = [0; 4].map(|_| tempfile::tempdir().unwrap());
    let seeds = dirs.each_ref().map(|dir| Seed::start(dir, &[]));
    let addrs = seeds.each_ref().map(|seed| seed.addr().to_string());
    let alice = Net::new().person("alice");
    let _owner = listen(&alice, &addrs.each_ref().map(String::as_str), &["--no-lan"]);
    alice.run(["seed", "register"]).expect(0);
    let status = alice.run(["seed", "status", "--json"]).expect(0).events("seed");
    let holds: Vec<&Value> = status.iter().map(|seed| &seed["registered"]).collect();
    assert_eq!(holds, [true, true, true, false], "the first three as they were given: {status:?}");
    let records = seeds.each_ref().map(|seed| match Asker::new(seed.addr()).ask(&Query::Status) {
        Answer::Status(status) => status.records,
        other => panic!("{other:?}"),
    });
    assert_eq!(records, [1, 1, 1, 0]);
}

#[test]
fn everybody_behind_one_address_is_answered() {
    const PORTS: u64 = 64;
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    let everybody: Vec<_> = (0..PORTS).map(|n| (entered(&format!("p{n}"), 1_000 + n), Asker::new(seed.addr()))).collect();
    let ids: Vec<_> = everybody.iter().map(|(person, _)| (person.lookup(), person.record.clone())).collect();
    let registered: Vec<Asker> = everybody
        .into_iter()
        .map(|(person, mut asker)| {
            person.register(&mut asker, None);
            asker
        })
        .collect();
    // Each asks for the one before it, the first for the last.
    let before = ids.iter().cycle().skip(ids.len() - 1);
    for (mut asker, (lookup, record)) in registered.into_iter().zip(before) {
        let found = asker.ask(lookup);
        assert!(matches!(&found, Answer::Found { entries, .. } if entries[0].record == *record), "{found:?}");
    }
}
