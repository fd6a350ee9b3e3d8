//! Strangers who ask to write, through the program: they are listed, accepted and refused.

use crate::{
    pane::Pane,
    person::{Net, Person},
};

/// What asks at this person: name and text.
fn asking(person: &Person) -> Vec<(String, String)> {
    let lines = person.run(["requests", "--json"]).expect(0).events("request");
    let word = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().to_owned();
    lines.iter().map(|line| (word(line, "name"), word(line, "text"))).collect()
}

#[test]
fn who_asks_is_listed_and_what_it_wrote_comes_once_accepted() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    bob.run(["config", "allow", "requests"]).expect(0);
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    assert_eq!(bob.run(["requests"]).expect(0).out, "nobody asks to write\n");
    let listen = bob.listen();
    let waits = alice.run(["send", "bob", "may I?", "--timeout", "2s"]).expect(5);
    assert!(waits.err.contains("still sent for bob: awaiting-acceptance"), "{}", waits.err);
    assert!(waits.err.contains("bob is asked whether you may write"), "{}", waits.err);
    let told = listen.until(|line| line["event"] == "request");
    assert_eq!((&told["peer"], &told["name"], &told["text"]), (&alice.id().into(), &"alice".into(), &"may I?".into()));
    assert_eq!(asking(&bob), [("alice".to_owned(), "may I?".to_owned())]);
    let human = bob.run(["requests"]).expect(0).out;
    assert!(human.trim_end().ends_with("<alice> may I?"), "{human}");
    assert!(bob.run(["status"]).expect(0).out.contains("requests, 1 ask to write"));
    let outbox = alice.run(["outbox", "--json"]).expect(0).events("outbox").remove(0);
    assert_eq!((&outbox["state"], &outbox["reason"]), (&"sent".into(), &"awaiting-acceptance".into()));
    assert!(bob.history().is_empty());
    let said = bob.run(["requests", "accept", "alice"]).expect(0).out;
    assert!(said.starts_with("alice (") && said.contains("is a contact now"), "{said}");
    listen.until(|line| line["event"] == "message" && line["text"] == "may I?");
    assert!(asking(&bob).is_empty());
    let twice = bob.run(["requests", "accept", "alice"]).expect(2);
    assert!(twice.err.contains("no request of theirs") && twice.err.contains("p2pchat-udp requests"), "{}", twice.err);
    alice.run(["send", "bob", "thanks"]).expect(0);
    assert_eq!(bob.history(), ["in may I? delivered", "in thanks delivered"]);
}

#[test]
fn who_is_refused_is_told_so_for_all_that_it_writes() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    // What is set while the owner runs counts at once.
    bob.run(["config", "allow", "requests"]).expect(0);
    alice.run(["send", "bob", "please", "--wait", "sent"]).expect(0);
    let listen = alice.listen();
    let line = bob.run(["requests", "refuse", &alice.id()[..10], "--json"]).expect(0).events("contact").remove(0);
    assert_eq!(line["name"], "alice");
    let failed = listen.until(|line| line["event"] == "status" && line["state"] == "failed");
    assert_eq!(failed["reason"], "refused");
    let again = alice.run(["send", "bob", "pretty please"]).expect(6);
    assert!(again.err.contains("not delivered to bob: refused"), "{}", again.err);
    assert_eq!(alice.history(), ["out please failed", "out pretty please failed"]);
    assert!(bob.history().is_empty() && asking(&bob).is_empty());
    bob.run(["contact", "add", &alice.id()]).expect(0);
    alice.run(["send", "bob", "thanks"]).expect(0);
    assert_eq!(bob.history(), ["in thanks delivered"]);
}

#[test]
fn with_contacts_alone_a_stranger_is_refused_and_a_contact_is_not() {
    let net = Net::new();
    let (alice, bob, carol) = (net.person("alice"), net.person("bob"), net.person("carol"));
    bob.run(["config", "allow", "contacts"]).expect(0);
    let (_alice, _bob, _carol) = (alice.daemon(), bob.daemon(), carol.daemon());
    bob.run(["send", "carol", "hi"]).expect(0);
    carol.run(["send", "bob", "hi"]).expect(0);
    let refused = alice.run(["send", "bob", "hi"]).expect(6);
    assert!(refused.err.contains("not delivered to bob: refused"), "{}", refused.err);
    assert!(asking(&bob).is_empty());
}

#[test]
fn the_shell_shows_who_asks_and_answers() {
    let net = Net::new();
    let (alice, bob, carol) = (net.person("alice"), net.person("bob"), net.person("carol"));
    let (_bob, _carol) = (bob.daemon(), carol.daemon());
    let mut pane = Pane::shell(&alice, &[]);
    pane.until_row("-- Here: bob and carol");
    pane.line("/allow");
    pane.until_row("-- contacts and who is on your LAN may write; anybody else can ask to");
    pane.line("/allow nobody");
    pane.until_row("usage: /allow [lan|requests|contacts]");
    pane.line("/allow requests");
    pane.until_row("-- contacts may write; anybody else can ask to");
    bob.run(["send", "alice", "may I?", "--wait", "sent"]).expect(0);
    pane.until_row("asks to write: <bob> may I?");
    pane.until_row("-- bob waits for your answer: /accept bob, /refuse bob or /block bob");
    carol.run(["send", "alice", "\u{1b}[31mred", "--wait", "sent"]).expect(0);
    pane.until_row("asks to write: <carol> \\x1b[31mred");
    pane.line("/requests");
    pane.until_row("-- /accept NAME: a contact");
    pane.line("/accept bob");
    pane.until_row("-- bob is a contact now: what waits there comes");
    pane.until_row("<bob> may I?");
    pane.line("/refuse carol");
    pane.until_row("-- carol is refused, and told so");
    pane.line("/requests");
    pane.until_row("-- nobody asks to write");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    // It is kept, and who asks while nobody looks is named at the next start.
    let setting = alice.run(["config", "allow", "--json"]).expect(0).lines().remove(0);
    assert_eq!((&setting["value"], &setting["origin"]), (&"requests".into(), &"file".into()));
}
