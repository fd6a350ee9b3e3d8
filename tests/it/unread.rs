//! What is not read, through the program: counted, shown, and read.

use crate::{
    pane::Pane,
    person::{Net, Person},
};

fn unread(person: &Person) -> Vec<(String, u64)> {
    let rows = person.run(["unread", "--json"]).expect(0).events("unread");
    rows.iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap())).collect()
}

fn total(person: &Person) -> String {
    person.run(["unread", "--total"]).expect(0).out.trim_end().to_owned()
}

#[test]
fn what_is_not_read_is_counted_until_it_is_said_to_be() {
    let net = Net::new();
    let (alice, bob, carol) = (net.person("alice"), net.person("bob"), net.person("carol"));
    let (_alice, _bob, _carol) = (alice.daemon(), bob.daemon(), carol.daemon());
    assert_eq!((total(&alice).as_str(), alice.run(["unread"]).expect(0).out.as_str()), ("0", ""));
    for text in ["one", "two"] {
        bob.run(["send", "alice", text]).expect(0);
    }
    carol.run(["send", "alice", "hi"]).expect(0);
    assert_eq!(unread(&alice), [("bob".to_owned(), 2), ("carol".to_owned(), 1)]);
    assert_eq!(total(&alice), "3");
    assert_eq!(alice.run(["unread"]).expect(0).out, "bob                  2\ncarol                1\n");
    // What a script reads, nobody has.
    alice.run(["history"]).expect(0);
    assert_eq!(total(&alice), "3");
    alice.run(["send", "bob", "wait"]).expect(0);
    alice.run(["mark-read", "bob"]).expect(0);
    assert_eq!(unread(&alice), [("carol".to_owned(), 1)]);
    let rows = alice.run(["history", "bob", "--json"]).expect(0).events("history");
    assert_eq!(rows.iter().map(|row| row["read"].as_bool().unwrap()).collect::<Vec<_>>(), [true, true, false]);
    bob.run(["send", "alice", "three"]).expect(0);
    assert_eq!(unread(&alice), [("bob".to_owned(), 1), ("carol".to_owned(), 1)]);
    let nobody = alice.run(["mark-read", "dave"]).expect(3);
    assert!(nobody.err.contains("no such peer: dave"), "{}", nobody.err);
}

#[test]
fn what_stands_on_the_screen_is_read_once_its_writer_is_the_target() {
    let net = Net::new();
    let (alice, bob, carol) = (net.person("alice"), net.person("bob"), net.person("carol"));
    let (alice_runs, _bob, _carol) = (alice.daemon(), bob.daemon(), carol.daemon());
    for text in ["early one", "early two"] {
        bob.run(["send", "alice", text]).expect(0);
    }
    carol.run(["send", "alice", "early three"]).expect(0);
    let mut pane = Pane::shell(&alice, &[]);
    pane.until_row("-- unread: bob 2, carol 1; /next shows them");
    pane.line("/next");
    pane.until_row("-- writing to bob");
    pane.until_row("<bob> early two");
    bob.run(["send", "alice", "while you look"]).expect(0);
    pane.until_row("<bob> while you look");
    carol.run(["send", "alice", "look here"]).expect(0);
    pane.until_row("<carol> look here");
    pane.line("/unread");
    pane.until_row("-- unread: carol 2; /next shows them");
    pane.line("/next");
    pane.until_row("<carol> early three");
    pane.until_last("carol>");
    pane.line("/next");
    pane.until_row("-- everything is read");
    let shown = pane.rows().iter().filter(|row| row.contains("<carol> look here")).count();
    assert_eq!(shown, 1, "it stood there already: {:?}", pane.rows());
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    assert_eq!(total(&alice), "0");
    drop(alice_runs);
}
