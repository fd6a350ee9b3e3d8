//! Seeds that are broken, each in its own way, beside one that is not: each is named with what is wrong with
//! it, wherever seeds are shown, and what people say to each other goes its way.

use std::{
    io::Write,
    process::Stdio,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use p2pchat_udp::{
    crypto::{identity::Identity, record::sign_record},
    wire::record::{Record, Visibility},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};

use super::{FAR, SEEDS, World, befriend, register, served::Served};
use crate::{person::Person, router::Nat};

/// What is used beside the one that is well, what that is said to be, and a word of why.
const BROKEN: [(&str, &str, &str); 7] = [
    ("nobody.invalid:17118", "unreachable", ""),
    ("203.0.113.11:17119", "unreachable", "no answer"),
    ("203.0.113.99:17118", "unreachable", "no answer"),
    ("203.0.113.11:17120", "wrong-clock", "its clock and ours differ by 7"),
    ("203.0.113.11:17123", "wrong-clock", "its clock and ours differ by 7"),
    ("203.0.113.11:17121", "old-version", "it speaks version 2 of the protocol"),
    ("203.0.113.11:17122", "bad-signature", "its owner did not sign"),
];

/// The record of somebody who never runs.
fn record() -> (Vec<u8>, [u8; 64]) {
    let identity = Identity::generate(&mut ChaCha20Rng::seed_from_u64(9));
    let record = Record {
        id: identity.id(),
        seq: 1,
        issued: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        lifetime: 3_600,
        network: [0; 8],
        name: "zoe".to_owned(),
        visibility: Visibility::Listed,
        seeds: Vec::new(),
        addrs: Vec::new(),
    };
    sign_record(&identity, &record)
}

/// What the shell prints for `/seeds`.
fn seeds_in_the_shell(person: &Person) -> String {
    let mut shell = person.plain_command(&[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(b"/seeds\n").unwrap();
    String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn each_broken_seed_is_named_with_its_reason_and_the_one_that_is_well_does() {
    let Some(mut world) = World::new([Nat::Cone; 2]) else { return };
    world.seeds[1] = None;
    let socket = |addr: &str| world.publics[1].socket(addr);
    let _silent = socket(BROKEN[1].0);
    let (record, signature) = record();
    let _broken = [
        Served::behind(socket(BROKEN[3].0)),
        Served::ahead(socket(BROKEN[4].0)),
        Served::of_the_next_version(socket(BROKEN[5].0)),
        Served::forger(socket(BROKEN[6].0), record, signature),
    ];
    let vias: Vec<_> = BROKEN.iter().map(|(addr, ..)| *addr).chain([SEEDS[0]]).collect();
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &vias), world.person(1, 0, "bob", &SEEDS[..1]));
    let (mut at_alice, mut at_bob) = (alice.start(), bob.start());
    register(&mut at_bob);
    befriend(&mut at_alice, &mut at_bob);
    println!("message beside seven broken seeds: {:?}", at_alice.deliver(&at_bob.id(), "all is well", FAR));
    at_alice.reaches(&at_bob.id(), "direct", FAR);
    let found = at_alice.call(json!({"call": "seed", "action": "lookup", "name": "bob"}));
    assert!(found.iter().any(|line| line["id"] == at_bob.id()), "{found:?}");
    // A forgery shows itself only to whoever asks for somebody.
    let nobody = alice.run(&["seed", "lookup", "zoe"]);
    let said = String::from_utf8(nobody.stdout).unwrap();
    assert!(nobody.status.code() == Some(9) && !said.contains(r#""event":"peer""#), "{said}");

    let begun = Instant::now();
    let status = alice.run(&["seed", "status"]);
    println!("the state of eight seeds: {:?}", begun.elapsed());
    assert_eq!(status.status.code(), Some(9));
    let lines = String::from_utf8(status.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let human = String::from_utf8(alice.plain_command(&["seed", "status"]).output().unwrap().stdout).unwrap();
    let shell = seeds_in_the_shell(&alice);
    for (addr, state, why) in BROKEN.into_iter().chain([(SEEDS[0], "ok", "")]) {
        let line = lines.iter().find(|line| line["addr"] == addr).unwrap_or_else(|| panic!("no {addr} in {lines:?}"));
        assert_eq!(line["state"], state, "{line}");
        assert_eq!(line["reason"].is_string(), state != "ok", "{line}");
        for said in [&human, &shell] {
            let row = said.lines().find(|row| row.starts_with(addr)).unwrap_or_else(|| panic!("no {addr} in {said}"));
            let state = if std::ptr::eq(said, &shell) { state.replace('-', " ") } else { state.to_owned() };
            assert!(row.contains(&state) && row.contains(why), "{row}");
        }
    }
    println!("{shell}");
    println!("and back: {:?}", at_bob.deliver(&at_alice.id(), "here, too", FAR));
}
