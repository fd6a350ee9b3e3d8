//! People who do not hear each other on a LAN, with a seed between them: everything that they type.

use std::net::SocketAddr;

use crate::{
    person::{Net, Person, Running},
    phonebook::{DEAD, link},
    seed::Seed,
    seeds::socket,
    served::Served,
};

/// Runs with this seed and no LAN, and is in its phonebook when this returns.
fn daemon(person: &Person, seed: SocketAddr, visibility: &str) -> Running {
    let daemon = person.start(&["daemon", "--json", "--no-lan", "--via", &seed.to_string(), "--visibility", visibility]);
    daemon.until(|line| line["event"] == "ready");
    if visibility != "hidden" {
        person.run(["seed", "register"]).expect(0);
    }
    daemon
}

#[test]
fn everything_that_a_seed_says_of_itself_and_of_whom_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    let addr = seed.addr().to_string();
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _alice = daemon(&alice, seed.addr(), "listed");
    let status = alice.run(["seed", "status", "--json"]).expect(0).events("seed").remove(0);
    assert_eq!((&status["addr"], &status["state"], &status["name"]), (&addr.as_str().into(), &"ok".into(), &"home".into()));
    assert_eq!((&status["records"], &status["registered"]), (&1.into(), &true.into()));
    assert_eq!(status["version"], format!("p2pchat-udp/{}", env!("CARGO_PKG_VERSION")));
    assert!(status["uptime_s"].is_u64() && status["load"].is_f64() && status["fellows"] == serde_json::json!([]), "{status}");
    assert_eq!(alice.run(["status", "--json"]).expect(0).lines()[0]["seeds"], 1);
    assert!(status["relay"].is_null(), "{status}");
    let relaying_dir = tempfile::tempdir().unwrap();
    let relaying = Seed::start(&relaying_dir, &["--relay"]);
    let of_relay =
        bob.run(["seed", "status", &relaying.addr().to_string(), "--no-lan", "--json"]).expect(0).events("seed").remove(0);
    assert_eq!(of_relay["relay"], serde_json::json!({"rate_max": 1 << 20, "channels": 0, "bytes": 0}));
    let human = alice.run(["seed", "status"]).expect(0).out;
    assert!(human.starts_with(&addr) && human.contains(" ok, registered, p2pchat-udp/"), "{human}");

    // Named on the command line, a seed need not be in use.
    let id = alice.id();
    for args in [&["list"][..], &["lookup", "ALICE"], &["lookup", &id], &["lookup", &link(&alice)]] {
        let args = ["seed"].iter().chain(args).copied().chain([addr.as_str(), "--json", "--no-lan"]);
        let found = bob.run(args).expect(0).events("peer");
        assert_eq!((found.len(), &found[0]["id"], &found[0]["name"]), (1, &id.as_str().into(), &"alice".into()));
        assert_eq!(
            (&found[0]["presence"], &found[0]["path"], &found[0]["trust"]),
            (&"unknown".into(), &"none".into(), &"unknown".into())
        );
        assert!(found[0]["age_s"].is_u64() && found[0]["listed"] == true, "{}", found[0]);
        assert!(found[0]["addr"].as_str().unwrap().starts_with("127.0.0.1:"), "{}", found[0]);
    }
    assert_eq!(alice.run(["whoami", "--json"]).expect(0).lines()[0]["name"], "alice", "who asks keeps his name");
    let both = bob.run(["seed", "status", "--no-lan", "--via", &addr, "--via", DEAD, "--json"]).expect(9);
    let states: Vec<_> = both.events("seed").iter().map(|seed| seed["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["ok", "unreachable"], "in the order in which they were given");
}

#[test]
fn who_is_found_at_a_seed_can_be_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    let addr = seed.addr().to_string();
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _alice = daemon(&alice, seed.addr(), "listed");
    let options = ["--no-lan", "--via", &addr, "--json"];
    let found = bob.run(["find", "ali"].iter().chain(&options)).expect(0).events("peer");
    assert_eq!((found.len(), &found[0]["name"]), (1, &"alice".into()));
    let whois = bob.run(["whois", "alice"].iter().chain(&options)).expect(0).events("peer").remove(0);
    assert_eq!((&whois["id"], &whois["contact"]), (&alice.id().into(), &false.into()));
    assert!(whois["age_s"].is_u64(), "nothing has been exchanged: {whois}");
    bob.run(["send", "alice", "hello"].iter().chain(&options)).expect(0);
    assert_eq!(alice.history(), ["in hello delivered"]);
    let known = bob.run(["find", "ali"].iter().chain(&options)).expect(0).events("peer");
    assert_eq!((known.len(), &known[0]["contact"]), (1, &true.into()), "each id once, as it is known here");
    assert!(known[0].get("age_s").is_none(), "{}", known[0]);
}

#[test]
fn the_seeds_of_a_link_lead_to_whoever_gave_it() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _alice = daemon(&alice, seed.addr(), "findable");
    let link = link(&alice);
    assert!(link.contains("&via=127.0.0.1%3A"), "{link}");
    bob.run(["contact", "add", &link, "--no-lan"]).expect(0);
    bob.run(["send", "alice", "by your link", "--no-lan"]).expect(0);
    assert_eq!(alice.history(), ["in by your link delivered"]);
    let carol = net.person("carol");
    carol.run(["send", &link, "to your link", "--no-lan"]).expect(0);
    assert_eq!(alice.history()[1..], ["in to your link delivered"]);
}

#[test]
fn a_name_is_nobody_elses_only_where_every_seed_says_so() {
    let seed = Served::old(socket());
    let old = seed.addr.to_string();
    let net = Net::new();
    let alice = net.person("alice");
    let run = |args: &[&str], vias: &[&str]| {
        let vias = vias.iter().flat_map(|via| ["--via", *via]);
        alice.run(args.iter().copied().chain(["--no-lan", "--timeout", "1s"]).chain(vias))
    };
    let nobody = run(&["seed", "lookup", "zoe"], &[&old]).expect(3);
    assert_eq!(nobody.err.lines().next(), Some("p2pchat-udp: no such peer: zoe (1 of 1 seeds)"));
    assert_eq!(run(&["seed", "list"], &[&old]).expect(0).out, "nobody is listed\n");
    let some = run(&["seed", "lookup", "zoe"], &[&old, DEAD]).expect(9);
    assert_eq!(some.err.lines().next(), Some("p2pchat-udp: not found: zoe (1 of 2 seeds answered)"));
    run(&["find", "zoe"], &[&old, DEAD]).expect(9);
    run(&["send", "zoe", "hi"], &[&old, DEAD]).expect(9);
    // On a LAN all of it can be asked.
    let on_lan = alice.run(["find", "zoe", "--via", &old]).expect(3);
    assert!(on_lan.err.starts_with("p2pchat-udp: no such peer: zoe (asked the LAN, 0 there; 1 of 1 seeds)"), "{}", on_lan.err);
    alice.run(["send", "zoe", "hi", "--via", &old]).expect(3);
    // One that has just started cannot know.
    let dir = tempfile::tempdir().unwrap();
    let young = Seed::start(&dir, &[]);
    let young = young.addr().to_string();
    for args in [&["seed", "lookup", "zoe"][..], &["seed", "list"], &["find", "zoe"]] {
        let said = run(args, &[&old, &young]).expect(9).err;
        let (_, wait) = said.split_once("1 of 2 seeds answered; one has just started: ask again in ").expect(&said);
        let seconds: u32 = wait.split_once(" s").expect(wait).0.parse().unwrap();
        assert!((50..=75).contains(&seconds), "{said}");
    }
}

/// `whois` of an id was exit 0 and "unknown, never", whatever anybody had answered.
#[test]
fn an_id_is_nobodys_only_where_everybody_says_so() {
    let seed = Served::old(socket());
    let old = seed.addr.to_string();
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let young_dir = tempfile::tempdir().unwrap();
    let young_seed = Seed::start(&young_dir, &[]);
    let young = young_seed.addr().to_string();
    for command in ["whois", "find"] {
        for (options, code, said) in [
            (&["--no-lan", "--via", &old][..], 3, format!("no such peer: {id} (asked 1 of 1 seeds)")),
            (&["--via", &old], 3, format!("no such peer: {id} (asked the LAN, 0 there; 1 of 1 seeds)")),
            (&["--timeout", "1s"], 9, format!("not found: {id} (the LAN had too little time to answer)")),
            (
                &["--no-lan", "--via", &old, "--via", DEAD, "--timeout", "1s"],
                9,
                format!("not found: {id} (no LAN; 1 of 2 seeds answered)"),
            ),
            (&["--no-lan"], 9, format!("not found: {id} (there was nobody to ask: no LAN)")),
        ] {
            let ended = alice.run([command, &id].iter().chain(options)).expect(code);
            assert_eq!((ended.out.as_str(), ended.err.lines().next()), ("", Some(format!("p2pchat-udp: {said}").as_str())));
        }
    }
    let of_young = alice.run(["whois", &link(&bob), "--no-lan", "--via", &old, "--via", &young, "--timeout", "1s"]).expect(9);
    assert!(of_young.err.contains("1 of 2 seeds answered; one has just started"), "{}", of_young.err);
    // Who is there is found, and an id of nobody may still be written to.
    let _bob = bob.start(&["daemon", "--no-lan", "--via", &old]);
    _bob.line();
    bob.run(["seed", "register"]).expect(0);
    let found = alice.run(["whois", &id, "--no-lan", "--via", &old, "--json"]).expect(0).events("peer").remove(0);
    assert!(found["age_s"].is_u64() && found["name"] == "bob", "{found}");
    let nobody = net.person("carol").id();
    let written = alice.run_with(format!("/to {nobody}\nhi\n").as_bytes(), &["--no-lan", "--timeout", "1s"]).expect(5);
    assert!(!written.err.contains("no such peer"), "{}", written.err);
    assert_eq!(alice.history(), ["out hi queued"]);
    alice.run(["listen", "--from", &nobody, "--timeout", "100ms"]).expect(0);
}

/// Without an owner, somebody who sat next to me was "never heard".
#[test]
fn whois_hears_the_lan_before_it_answers() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let _bob = bob.daemon();
    let online = |word: &str| {
        let peer = alice.run(["whois", word, "--json"]).expect(0).events("peer").remove(0);
        assert_eq!((&peer["presence"], &peer["path"]), (&"online".into(), &"lan".into()), "{word}: {peer}");
    };
    online(&id);
    online(&link(&bob));
    alice.run(["contact", "add", &link(&bob), "--petname", "rob"]).expect(0);
    online("rob");
}

#[test]
fn visibility_decides_who_finds_me_and_unregister_takes_me_away() {
    let seed = Served::old(socket());
    let addr = seed.addr.to_string();
    let net = Net::new();
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(|name| net.person(name));
    let _alice = daemon(&alice, seed.addr, "listed");
    let _bob = daemon(&bob, seed.addr, "findable");
    let _carol = daemon(&carol, seed.addr, "hidden");
    let names = |args: &[&str], code| {
        let ended = dave.run(["seed"].iter().chain(args).copied().chain([addr.as_str(), "--json", "--no-lan"])).expect(code);
        ended.events("peer").iter().map(|peer| peer["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["list"], 0), ["alice"]);
    assert_eq!(names(&["lookup", "alice"], 0), ["alice"]);
    assert_eq!(names(&["lookup", "bob"], 0), ["bob"]);
    assert!(names(&["lookup", "bo"], 3).is_empty(), "only by the whole name");
    assert!(names(&["lookup", "carol"], 3).is_empty());
    let carols = carol.run(["seed", "status", "--json"]).expect(0).events("seed").remove(0);
    assert_eq!(carols["registered"], false);

    let gone = bob.run(["seed", "unregister", "--json"]).expect(0).events("seed").remove(0);
    assert_eq!(gone["registered"], false);
    assert!(names(&["lookup", "bob"], 3).is_empty());
    assert!(names(&["lookup", &bob.id()], 3).is_empty());
    bob.run(["seed", "register"]).expect(0);
    assert_eq!(names(&["lookup", "bob"], 0), ["bob"]);
    alice.run(["stop"]).expect(0);
    assert!(names(&["lookup", "alice"], 3).is_empty(), "who ends says goodbye there too");
}

/// Three seeds suffice, but a named one was asked for.
#[test]
fn a_seed_that_is_named_has_my_entry_although_three_others_have_it() {
    let seeds = [(); 5].map(|()| Served::old(socket()));
    let addrs = seeds.each_ref().map(|seed| seed.addr.to_string());
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    // The fourth is in use and has no place, the fifth is not in use.
    let vias = addrs[..4].iter().flat_map(|addr| ["--via", addr]);
    let daemon =
        alice.start(&["daemon", "--json", "--no-lan", "--visibility", "listed"].into_iter().chain(vias).collect::<Vec<_>>());
    daemon.until(|line| line["event"] == "ready");
    let registered = |args: &[&str]| {
        let seeds = alice.run(["seed"].iter().chain(args).copied().chain(["--json"])).expect(0).events("seed");
        seeds.iter().filter(|seed| seed["registered"] == true).count()
    };
    assert_eq!(registered(&["register"]), 3);
    for (addr, of_four) in addrs[3..].iter().zip([4, 4]) {
        assert_eq!(registered(&["register", addr]), 1);
        assert_eq!(registered(&["status"]), of_four);
        bob.run(["seed", "lookup", "alice", addr, "--no-lan"]).expect(0);
    }
    alice.run(["seed", "unregister"]).expect(0);
    for addr in &addrs {
        bob.run(["seed", "lookup", "alice", addr, "--no-lan"]).expect(3);
    }
}

#[test]
fn without_an_owner_an_entry_is_left_behind() {
    let seed = Served::old(socket());
    let addr = seed.addr.to_string();
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let seeds = alice.run(["seed", "register", "--no-lan", "--via", &addr, "--json"]).expect(0).events("seed");
    assert_eq!((seeds.len(), &seeds[0]["registered"]), (1, &true.into()));
    bob.run(["seed", "lookup", "alice", &addr, "--no-lan"]).expect(0);
    // Any other command is gone before anybody could write to it.
    bob.run(["peers", "--no-lan", "--via", &addr]).expect(0);
    alice.run(["seed", "lookup", "bob", &addr, "--no-lan"]).expect(3);
}

/// Each command is a process of its own there, and the second knows of nothing that the first did.
#[test]
fn without_an_owner_an_entry_is_taken_away_too() {
    let seed = Served::old(socket());
    let addr = seed.addr.to_string();
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    alice.run(["seed", "register", "--no-lan", "--via", &addr]).expect(0);
    bob.run(["seed", "lookup", "alice", &addr, "--no-lan"]).expect(0);
    let some = alice.run(["seed", "unregister", "--no-lan", "--via", &addr, "--via", DEAD]).expect(9);
    let why = format!("p2pchat-udp: not unregistered: {DEAD} is unreachable (no answer)");
    assert_eq!(some.err.lines().next(), Some(&*why));
    bob.run(["seed", "lookup", "alice", &addr, "--no-lan"]).expect(3);
    alice.run(["seed", "unregister", "--no-lan", "--via", &addr]).expect(0);
}

#[test]
fn an_entry_is_taken_away_from_the_seed_that_is_named_and_from_no_other() {
    let seeds = [(); 2].map(|()| Served::old(socket()));
    let addrs = seeds.each_ref().map(|seed| seed.addr.to_string());
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let daemon = alice.start(&["daemon", "--json", "--no-lan", "--via", &addrs[0], "--via", &addrs[1]]);
    daemon.until(|line| line["event"] == "ready");
    alice.run(["seed", "register"]).expect(0);
    let seeds = alice.run(["seed", "unregister", &addrs[0], "--json"]).expect(0).events("seed");
    assert_eq!((seeds.len(), &seeds[0]["registered"]), (1, &false.into()));
    bob.run(["seed", "lookup", "alice", &addrs[0], "--no-lan"]).expect(3);
    bob.run(["seed", "lookup", "alice", &addrs[1], "--no-lan"]).expect(0);
}

#[test]
fn the_shell_asks_its_seeds() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    let addr = seed.addr().to_string();
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _alice = daemon(&alice, seed.addr(), "listed");
    let ended = bob.run_with(b"/seeds\n/find ali\n/msg alice hi\n", &["--no-lan", "--via", &addr]).expect(0);
    let rows: Vec<&str> = ended.out.lines().collect();
    assert!(rows.iter().any(|row| row.starts_with(&addr) && row.contains("ok")), "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("alice") && row.contains("at a seed, heard there")), "{rows:?}");
    assert_eq!(alice.history(), ["in hi delivered"]);
}
