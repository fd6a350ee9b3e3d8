//! Seeds that are not as they should be, that come and go, that are full or many: what whoever uses them
//! is told, through the real binary.

use std::net::UdpSocket;

use p2pchat_udp::wire::phonebook::{Answer, Query, Refusal};
use serde_json::Value;

use crate::{
    person::{Net, Person, Running},
    seed::{Asker, Seed, entered, free_port},
    served::Served,
};

/// A socket for somebody who is served.
pub(crate) fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
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
    let behind = Served::behind(socket());
    is_said_to_be(&behind, "wrong-clock", "its clock and ours differ by 7");
    // It takes our record up; the clocks are compared when it says how it is.
    let ahead = Served::ahead(socket());
    let alice = Net::new().person("alice");
    let status = alice.run(["seed", "status", &ahead.addr.to_string(), "--json"]).expect(9).events("seed").remove(0);
    assert_eq!(status["state"], "wrong-clock", "{status}");
}

#[test]
fn a_seed_of_another_version_is_said_to_be() {
    is_said_to_be(&Served::of_the_next_version(socket()), "old-version", "it speaks version 2 of the protocol");
}

#[test]
fn a_seed_that_hands_on_a_forgery_is_said_to_and_is_not_believed() {
    let zoe = entered("zoe", 9);
    is_said_to_be(&Served::forger(socket(), zoe.record, zoe.signature), "bad-signature", "its owner did not sign");
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
    assert_eq!(refused.events("seed")[0]["reason"], "it is full");
    let why = format!("p2pchat-udp: not registered: {addr} says that it is full\n");
    assert!(refused.err.starts_with(&why), "{}", refused.err);
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
