//! What one says of somebody, through the program: another name, a verified key, a block.

use crate::{
    pane::Pane,
    person::{Net, Person},
};

/// The safety words that `whose` sees of `of`.
fn words(whose: &Person, of: &str) -> Vec<String> {
    let line = whose.run(["contact", "verify", of, "--json"]).expect(0).events("contact").remove(0);
    assert_eq!(line["trust"], "seen", "looking at the words says nothing about them");
    line["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

#[test]
fn both_see_the_same_words_and_whoever_compared_them_says_so() {
    let net = Net::new();
    let (alice, bob, carol) = (net.person("alice"), net.person("bob"), net.person("carol"));
    let (_alice, _bob, _carol) = (alice.daemon(), bob.daemon(), carol.daemon());
    alice.run(["send", "bob,carol", "hi"]).expect(0);
    let own = words(&alice, "bob");
    assert_eq!(own.len(), 12);
    assert_eq!(words(&bob, "alice"), own);
    assert_ne!(words(&carol, "alice"), own);
    let human = alice.run(["contact", "verify", "bob"]).expect(0).out;
    assert!(human.starts_with("You and bob (") && own.iter().all(|word| human.contains(word)), "{human}");
    assert!(human.contains("p2pchat-udp contact verify bob --yes"), "{human}");
    let said = alice.run(["contact", "verify", "bob", "--yes"]).expect(0).out;
    assert!(said.starts_with("bob (") && said.ends_with(") is verified\n"), "{said}");
    assert_eq!(alice.run(["whois", "bob", "--json"]).expect(0).events("peer")[0]["trust"], "verified");
    let list = alice.run(["contact", "list", "--json"]).expect(0).events("contact");
    let trust: Vec<_> = list.iter().map(|line| (line["name"].as_str().unwrap(), line["trust"].as_str().unwrap())).collect();
    assert_eq!(trust, [("bob", "verified"), ("carol", "seen")]);
}

#[test]
fn a_contact_is_called_otherwise_and_is_none_any_more() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    let stranger = alice.run(["contact", "rename", "bob", "boss"]).expect(2);
    assert!(stranger.err.starts_with("p2pchat-udp: no contact of yours"), "{}", stranger.err);
    alice.run(["send", "bob", "hi"]).expect(0);
    let named = alice.run(["contact", "rename", "bob", "the boss", "--json"]).expect(0).events("contact");
    assert_eq!((&named[0]["petname"], &named[0]["name"]), (&"the boss".into(), &"bob".into()));
    alice.run(["send", "the boss", "hello"]).expect(0);
    let plain = alice.run(["contact", "rename", "the boss", "--json"]).expect(0).events("contact");
    assert_eq!(plain[0]["petname"], serde_json::Value::Null);
    let said = alice.run(["contact", "remove", "bob"]).expect(0).out;
    assert!(said.contains("is no contact any more"), "{said}");
    assert_eq!(alice.run(["contact", "list"]).expect(0).out, "no contacts yet\n");
    assert_eq!(alice.history(), ["out hi delivered", "out hello delivered"]);
    let myself = alice.run(["contact", "block", &alice.id()]).expect(2);
    assert!(myself.err.contains("that is you"), "{}", myself.err);
}

#[test]
fn whom_i_block_writes_in_vain_until_i_take_it_back() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    bob.run(["send", "alice", "one"]).expect(0);
    let said = alice.run(["contact", "block", "bob"]).expect(0).out;
    assert!(said.contains("is blocked") && said.contains("not told"), "{said}");
    let waits = bob.run(["send", "alice", "two", "--timeout", "3s"]).expect(5);
    assert!(!waits.err.contains("block"), "{}", waits.err);
    let refused = alice.run(["send", "bob", "no"]).expect(6);
    assert!(refused.err.starts_with("p2pchat-udp: you block this peer"), "{}", refused.err);
    assert!(refused.err.contains("contact unblock"), "it says what to do: {}", refused.err);
    assert_eq!(alice.history(), ["in one delivered"], "it was queued");
    assert_eq!(alice.run(["contact", "list", "--json"]).expect(0).events("contact")[0]["trust"], "blocked");
    let listen = alice.listen();
    alice.run(["contact", "unblock", "bob"]).expect(0);
    listen.until(|line| line["event"] == "message" && line["text"] == "two");
    assert_eq!(alice.history(), ["in one delivered", "in two delivered"]);
}

#[test]
fn the_shell_verifies_renames_and_blocks() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    bob.run(["contact", "verify", &alice.id()]).expect(0);
    let mut pane = Pane::shell(&alice, &[]);
    pane.until_row("-- Here: bob");
    pane.line("/msg bob hi");
    pane.until_row("hi ✓");
    let words = words(&bob, "alice");
    pane.line("/verify bob");
    pane.until_row(&format!("--     {}", words[..4].join("  ")));
    pane.until_row(&format!("--     {}", words[8..].join("  ")));
    pane.until_row("-- Compare them aloud. They are the same? /verify bob yes");
    pane.line("/verify bob yes");
    pane.until_row("-- bob is verified");
    pane.line("/rename bob \"the boss\"");
    pane.until_row("-- the boss is what you call bob now");
    pane.line("/to the boss");
    pane.until_row("-- writing to the boss, id");
    pane.until_last("the boss>");
    pane.line("/ignore the boss");
    pane.until_row("-- the boss is blocked and not told so; /unblock \"the boss\" takes it back");
    pane.line("lost?");
    pane.until_row("you block this peer");
    pane.line("/bl bob");
    pane.until_row("write /block in full");
    pane.line("/unblock the boss");
    pane.until_row("-- the boss is not blocked");
    pane.line("found");
    pane.until_row("found ✓");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    assert_eq!(bob.history(), ["in hi delivered", "in found delivered"]);
}
