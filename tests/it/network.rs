//! `ping` and `doctor`, through the program. What they say of broken networks is shown in tests/lan.

use serde_json::Value;

use crate::{
    pane::Pane,
    person::{Ended, Net},
};

fn checks(ended: &Ended) -> Vec<(String, String)> {
    let word = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    ended.events("check").iter().map(|line| (word(line, "check"), word(line, "result"))).collect()
}

#[test]
fn a_ping_tells_the_way_the_times_and_what_is_lost() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _alice = alice.daemon();
    let bobs = bob.daemon();
    let ended = alice.run(["ping", "bob", "--count", "3", "--json"]).expect(0);
    let pongs = ended.events("pong");
    assert_eq!(pongs.iter().map(|pong| pong["n"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(pongs.iter().all(|pong| pong["rtt_ms"].as_f64().unwrap() > 0.0 && pong["path"] == "lan"), "{pongs:?}");
    let [all] = &ended.events("ping")[..] else { panic!("{ended:?}") };
    assert_eq!((&all["asked"], &all["answered"], &all["name"]), (&3.into(), &3.into(), &"bob".into()));
    assert!(all["min_ms"].as_f64() <= all["avg_ms"].as_f64() && all["avg_ms"].as_f64() <= all["max_ms"].as_f64());
    let words = alice.run(["ping", "bob", "--count", "1"]).expect(0).out;
    assert!(words.starts_with("bob (") && words.contains("1 of 1 answered"), "{words}");
    alice.run(["ping", "nobody"]).expect(3);
    alice.run(["ping", "alice"]).expect(3);
    alice.run(["ping", "bob", "--count", "0"]).expect(2);
    bob.run(["stop"]).expect(0);
    drop(bobs);
    let gone = alice.run(["ping", &bob.id(), "--timeout", "200ms"]).expect(5);
    assert!(gone.err.contains("no answer from bob") && gone.err.contains("doctor"), "{}", gone.err);
}

#[test]
fn doctor_looks_at_everything_and_finds_nothing_wrong_here() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    let ended = alice.run(["doctor", "--json"]).expect(0);
    let found = checks(&ended);
    for check in
        ["owner", "disk", "clock", "interfaces", "port", "multicast", "broadcast", "neighbours", "answers", "versions", "seeds"]
    {
        assert!(found.iter().any(|(name, result)| name == check && result != "fail"), "{check}: {found:?}");
    }
    for check in ["owner", "multicast", "neighbours", "answers"] {
        assert!(found.contains(&(check.to_owned(), "ok".to_owned())), "{check}: {found:?}");
    }
    let words = alice.run(["doctor"]).expect(0).out;
    assert!(words.contains("ok    multicast   heard back on"), "{words}");
}

#[test]
fn doctor_says_what_is_wrong_and_what_mends_it() {
    let net = Net::new();
    let alice = net.person("alice");
    alice.run(["config", "via", "127.0.0.1:9"]).expect(0);
    let ended = alice.run(["doctor", "--json"]).expect(9);
    let found = checks(&ended);
    assert!(found.contains(&("seeds".to_owned(), "fail".to_owned())), "{found:?}");
    assert!(found.contains(&("owner".to_owned(), "warn".to_owned())), "{found:?}");
    let bad = ended.events("check");
    assert!(bad.iter().all(|line| line["result"] == "ok" || line["fix"].is_string()), "{bad:?}");
    assert!(ended.err.contains("checks failed"), "{}", ended.err);
}

#[test]
fn the_shell_pings_and_looks_at_the_network() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let mut shell = Pane::shell(&alice, &[]);
    shell.until_row("Here: bob");
    shell.line("/ping bob");
    shell.until_row("bob: 5 of 5 answered");
    shell.line("/doctor");
    shell.until_row("ok    answers     from 1");
    shell.until_row("ok    seeds");
    shell.line("/quit");
    assert_eq!(shell.end(), 0);
}
