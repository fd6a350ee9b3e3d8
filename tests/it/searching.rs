//! Old messages are found by their words, through the program.

use crate::{
    pane::Pane,
    person::{Net, Person},
};

fn found(person: &Person, args: &[&str]) -> Vec<String> {
    let rows = person.run([&["history", "--json"], args].concat()).expect(0).events("history");
    rows.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn messages_are_found_by_words_beginnings_and_phrases() {
    let net = Net::new();
    let (alice, bob, carol) = (net.person("alice"), net.person("bob"), net.person("carol"));
    let (_alice, _bob, _carol) = (alice.daemon(), bob.daemon(), carol.daemon());
    for text in ["Lunch at the Café?", "lunch tomorrow, see you", "you see tomatoes", "東京で会おう"] {
        bob.run(["send", "alice", text]).expect(0);
    }
    alice.run(["send", "carol", "LUNCH with bob was good"]).expect(0);
    assert_eq!(
        found(&alice, &["--search", "lunch"]),
        ["Lunch at the Café?", "lunch tomorrow, see you", "LUNCH with bob was good"]
    );
    assert_eq!(found(&alice, &["bob", "--search", "lunch"]).len(), 2);
    assert_eq!(found(&alice, &["--search", "lunch", "--limit", "1"]), ["LUNCH with bob was good"]);
    assert_eq!(found(&alice, &["--search", "cafe"]), ["Lunch at the Café?"]);
    assert_eq!(found(&alice, &["--search", "tom* see"]), ["lunch tomorrow, see you", "you see tomatoes"]);
    assert_eq!(found(&alice, &["--search", "\"see you\""]), ["lunch tomorrow, see you"]);
    assert_eq!(found(&alice, &["--search", "京"]), ["東京で会おう"]);
    assert!(found(&alice, &["--search", "dinner"]).is_empty());
    assert!(found(&alice, &["--search", "lunch", "--since", "2099-01-01"]).is_empty());
    let nothing = alice.run(["history", "--search", "?!"]).expect(2);
    assert!(nothing.err.contains("nothing to search for: ?!") && nothing.err.contains("double quotes"), "{}", nothing.err);
    let human = alice.run(["history", "--search", "good"]).expect(0).out;
    assert!(human.contains("<me→carol> LUNCH with bob was good"), "{human}");
}

#[test]
fn the_shell_finds_what_was_said_with_the_target_or_with_all() {
    let net = Net::new();
    let (alice, bob, carol) = (net.person("alice"), net.person("bob"), net.person("carol"));
    let (bob_runs, _carol) = (bob.daemon(), carol.daemon());
    for n in 1..=25 {
        let text = format!("note {n}");
        alice.run(["send", &bob.id(), &text, "--wait", "queued"]).expect(0);
    }
    drop(bob_runs);
    let _bob = bob.daemon();
    let mut pane = Pane::shell(&alice, &[]);
    // Both, together or one after the other.
    pane.until_row("carol");
    pane.line("/search note 25");
    pane.until_row("note 25");
    pane.line("/search nothing");
    pane.until_row("-- nothing found");
    pane.line("/search note");
    pane.until_row("-- the newest 20, there is more: add a word, or p2pchat-udp history --search");
    pane.line("/to carol");
    pane.until_last("carol>");
    pane.line("/search note");
    pane.until_row("-- nothing found with carol");
    pane.line("/se");
    pane.until_row("/se may be /seeds or /search");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
}
