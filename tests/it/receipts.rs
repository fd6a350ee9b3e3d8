//! Read receipts, through the program: who is told, and what `--wait read` says.

use crate::{
    pane::Pane,
    person::{Net, Person},
};

fn state(person: &Person, text: &str) -> String {
    let rows = person.run(["history", "--json"]).expect(0).events("history");
    rows.iter().find(|row| row["text"] == text).unwrap()["state"].as_str().unwrap().to_owned()
}

#[test]
fn who_waits_for_a_reader_is_told_when_it_was_read_or_that_nobody_will_say() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    bob.run(["send", "alice", "hello"]).expect(0);
    let unsaid = alice.run(["send", "bob", "one", "--wait", "read"]).expect(5);
    assert!(unsaid.err.contains("delivered to bob, who does not say what is read: read-receipts-off"), "{}", unsaid.err);
    let json = alice.run(["send", "bob", "two", "--wait", "read", "--json"]).expect(5).events("status");
    assert_eq!(
        (&json.last().unwrap()["state"], &json.last().unwrap()["reason"]),
        (&"delivered".into(), &"read-receipts-off".into())
    );
    bob.run(["config", "read_receipts", "on"]).expect(0);
    let late = alice.run(["send", "bob", "three", "--wait", "read", "--timeout", "1s"]).expect(5);
    assert!(late.err.contains("still delivered for bob"), "{}", late.err);
    bob.run(["mark-read", "alice"]).expect(0);
    let listen = alice.start(&["listen", "--json", "--events"]);
    listen.until(|line| line["event"] == "ready");
    alice.run(["send", "bob", "four", "--wait", "delivered"]).expect(0);
    bob.run(["mark-read", "alice"]).expect(0);
    listen.until(|line| line["event"] == "status" && line["state"] == "read");
    assert_eq!(["one", "three", "four"].map(|text| state(&alice, text)), ["read", "read", "read"]);
    // One contact alone is told nothing.
    let line = bob.run(["contact", "receipts", "alice", "off", "--json"]).expect(0).events("contact").remove(0);
    assert_eq!(line["receipts"], "off");
    let human = bob.run(["contact", "receipts", "alice", "off"]).expect(0).out;
    assert!(human.contains("is not told what you have read"), "{human}");
    alice.run(["send", "bob", "five", "--wait", "read"]).expect(5);
    bob.run(["mark-read", "alice"]).expect(0);
    assert_eq!(state(&alice, "five"), "delivered");
    let stranger = bob.run(["contact", "receipts", &net.person("carol").id(), "on"]).expect(2);
    assert!(stranger.err.contains("no contact of yours"), "{}", stranger.err);
}

#[test]
fn the_shell_marks_what_was_read_and_tells_it_of_its_target() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let (mut at_alice, mut at_bob) = (Pane::shell(&alice, &[]), Pane::shell(&bob, &[]));
    at_alice.until_row("Here: bob");
    at_bob.until_row("Here: alice");
    at_bob.line("/receipts");
    at_bob.until_row("-- nobody learns what you have read");
    at_bob.line("/receipts on");
    at_bob.until_row("-- contacts learn what you have read");
    at_bob.line("/msg alice hi");
    at_bob.until_row("hi ✓");
    at_alice.line("/to bob");
    at_alice.until_last("bob>");
    at_alice.line("are you there?");
    at_alice.until_row("are you there? ✓");
    at_bob.until_row("<alice> are you there?");
    at_bob.line("/to alice");
    at_alice.until_row("✓✓ bob: 1 read, \"are you there?\"");
    at_alice.line("good");
    at_alice.until_row("✓✓ bob: 1 read, \"good\"");
    at_bob.line("/receipts alice off");
    at_bob.until_row("-- alice does not learn what you have read");
    at_bob.line("/receipts alice maybe");
    at_bob.until_row("usage: /receipts [PEER] [on|off|default]");
    for pane in [&mut at_alice, &mut at_bob] {
        pane.line("/quit");
        assert_eq!(pane.end(), 0);
    }
}
