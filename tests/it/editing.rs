//! A message that waits gets another text, through the program.

use crate::{
    pane::Pane,
    person::{Net, Person},
};

/// Somebody with two messages for somebody who is not there.
fn waiting(net: &Net) -> (Person, Person, String) {
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    alice.run(["send", &id, "one", "--wait", "queued"]).expect(0);
    let line = alice.run(["send", &id, "two", "--wait", "queued", "--json"]).expect(0).events("status").remove(0);
    let message = line["id"].as_str().unwrap().to_owned();
    (alice, bob, message)
}

#[test]
fn a_message_that_waits_gets_another_text_from_the_line_a_pipe_and_an_editor() {
    let net = Net::new();
    let (alice, bob, two) = waiting(&net);
    let changed =
        alice.run(["outbox", "edit", &two[two.len() - 6..], "lunch", "at", "one?", "--json"]).expect(0).events("status");
    assert_eq!(changed[0]["state"], "queued");
    let new = changed[0]["id"].as_str().unwrap().to_owned();
    assert_ne!(new, two);
    let piped = alice.run_with(b"from a pipe\n", &["outbox", "edit", &new, "--json"]).expect(0).events("status");
    let newer = piped[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(alice.run_with(b"\n", &["outbox", "edit", &newer]).expect(2).out, "");
    assert_eq!(alice.run(["outbox", "--json"]).expect(0).events("outbox").len(), 2);
    // In an editor, on a terminal: what it leaves behind is what is sent.
    let editor = alice.profile().join("editor.sh");
    std::fs::write(&editor, "#!/bin/sh\ngrep -q 'from a pipe' \"$2\" && echo 'from an editor' > \"$2\"\n").unwrap();
    let edit = |variable: &str, editor: &str| {
        let mut command = alice.command(["outbox", "edit", &newer]);
        command.env(variable, editor);
        Pane::open(command).end()
    };
    assert_eq!(edit("VISUAL", "false"), 2);
    assert_eq!(edit("EDITOR", "true"), 0, "nothing was changed");
    assert_eq!(edit("EDITOR", &format!("sh {} --wait", editor.display())), 0);
    let rows = alice.run(["outbox", "--json"]).expect(0).events("outbox");
    assert_eq!(rows.iter().map(|row| row["len"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 14]);
    assert!(
        std::fs::read_dir(alice.profile()).unwrap().all(|file| !file.unwrap().file_name().to_string_lossy().starts_with("draft"))
    );
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    bob.listen().until(|line| line["text"] == "from an editor");
    assert_eq!(bob.history(), ["in one delivered", "in from an editor delivered"]);
    let newest = alice.run(["history", "--json", "--limit", "1"]).expect(0).events("history").remove(0);
    let late = alice.run(["outbox", "edit", newest["id"].as_str().unwrap(), "no"]).expect(2);
    assert!(late.err.contains("no such message in the outbox"), "{}", late.err);
}
