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
    let _bob = bob.daemon();
    let listen = bob.listen();
    let _alice = alice.daemon();
    listen.until(|line| line["text"] == "from an editor");
    assert_eq!(bob.history(), ["in one delivered", "in from an editor delivered"]);
    let newest = alice.run(["history", "--json", "--limit", "1"]).expect(0).events("history").remove(0);
    let late = alice.run(["outbox", "edit", newest["id"].as_str().unwrap(), "no"]).expect(2);
    assert!(late.err.contains("no such message in the outbox"), "{}", late.err);
}

#[test]
fn a_message_is_written_in_ones_own_editor_from_within_the_shell() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let mut command = alice.command::<&str>([]);
    command.env(
        "EDITOR",
        "sh -c 'test \"$(cat \"$1\")\" = \"$2\" && shift; stty -a | grep -q \" echo \" && printf \"one\\ntwo\\n\" > \"$1\"' sh",
    );
    let mut pane = Pane::open(command);
    pane.until_row("bob");
    pane.line("/editor");
    pane.until_row("choose somebody with /to NAME first");
    pane.line("/to bob");
    pane.until_last("bob>");
    pane.line("/editor a draft");
    pane.until_row("two");
    pane.until("the mark", |rows| rows.iter().any(|row| row.contains("<alice> one")) && rows.iter().any(|row| row.contains('✓')));
    assert_eq!(bob.history(), ["in one\ntwo delivered"]);
    // What came from the editor is found like what was typed.
    pane.keys("\x1b[A");
    pane.until_last("two");
    pane.keys("\x03");
    pane.until_last("bob>");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    let mut command = alice.command::<&str>([]);
    command.env("EDITOR", "false");
    let mut pane = Pane::open(command);
    pane.until_row("bob");
    pane.line("/to bob");
    pane.until_last("bob>");
    pane.line("/editor");
    pane.until_row("EDITOR names the editor to use");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    assert_eq!(bob.history().len(), 1);
    let script = alice.run_with(b"/to bob\n/editor\n", &[] as &[&str]).expect(2);
    assert!(script.err.contains("line 2: /editor needs the terminal to itself"), "{}", script.err);
}

#[test]
fn what_was_typed_is_found_again_in_the_next_run_but_not_under_a_password() {
    use std::os::unix::fs::PermissionsExt;
    let net = Net::new();
    let alice = net.person("alice");
    let file = alice.profile().join("input-history");
    let mut pane = Pane::shell(&alice, &[]);
    pane.until_row("Nobody here yet");
    pane.line("/search needle");
    pane.until_row("nothing");
    // The other window's lines are kept too.
    let mut other = Pane::shell(&alice, &[]);
    other.until_last(">");
    other.line("/help kept");
    other.until_row("/outbox");
    pane.line("/joins");
    pane.until_row("who comes and goes");
    for pane in [&mut other, &mut pane] {
        pane.line("/quit");
        assert_eq!(pane.end(), 0);
    }
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let mut pane = Pane::shell(&alice, &[]);
    pane.until_row("Nobody here yet");
    pane.keys("\x12needl");
    pane.until_row("/search needle");
    pane.keys("\x03\x12kept");
    pane.until_row("/help kept");
    pane.keys("\x03");
    pane.until_last(">");
    // Once the profile is to lie under a password, nothing of it stays in the open.
    pane.line("/passwd");
    pane.until_row("New password");
    pane.line("secret");
    pane.until_row("same again");
    pane.line("secret");
    pane.until_row("has a password from now on");
    assert!(!file.exists());
    pane.line("/outbox");
    pane.until_row("nothing");
    pane.keys("\x12needl");
    pane.until_row("/search needle");
    pane.keys("\x03");
    pane.until_last(">");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    assert!(!file.exists());
    let mut command = alice.command::<&str>([]);
    command.env("P2PCHAT_PASSWORD_CMD", "echo secret");
    let mut pane = Pane::open(command);
    pane.until_last(">");
    pane.keys("\x1b[A");
    pane.keys("x");
    pane.until_last("> x");
    pane.keys("\x03");
    pane.until_last(">");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    assert!(!file.exists());
}

#[test]
fn a_setting_is_said_and_changed_in_the_shell_and_followed_at_once_where_it_can_be() {
    let net = Net::new();
    let alice = net.person("alice");
    let owner = alice.daemon();
    let script = "/config allow\n/config allow requests\n/config visibility listed\n/config joins off\n/config retention 1y\n\
                  /config no_such\n/config name \"Ann Lee\"\n";
    let ended = alice.run_with(script.as_bytes(), &[] as &[&str]).expect(2);
    for row in [
        "allow         \"lan\" (default)",
        "allow         \"requests\" (file)",
        "visibility    \"listed\" (file)",
        "visibility counts from the owner's next start",
        "joins         false (file)",
        "name: this owner was started with another one, by flag",
    ] {
        assert!(ended.out.contains(row), "{row}: {}", ended.out);
    }
    for row in ["line 5: retention 1y", "line 6: unknown setting: no_such"] {
        assert!(ended.err.contains(row), "{row}: {}", ended.err);
    }
    let status = alice.run(["status", "--json"]).expect(0).lines().remove(0);
    assert_eq!(status["allow"], "requests", "the owner goes by it");
    let told = alice.run(["config", "visibility", "hidden"]).expect(0);
    assert!(told.err.contains("visibility counts from the owner's next start"), "{}", told.err);
    drop(owner);
}

#[test]
fn what_waits_is_listed_and_withdrawn_in_the_shell_and_without_a_target_nothing_goes() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let mut pane = Pane::shell(&alice, &[]);
    pane.until_row("Nobody here yet");
    pane.line(&format!("/to {}", bob.id()));
    pane.until_row("is not here since");
    pane.line("never mind");
    pane.until_row("<alice> never mind …");
    let waiting = alice.run(["outbox", "list", "--json"]).expect(0).events("outbox").remove(0);
    let id = waiting["id"].as_str().unwrap().to_owned();
    let short = &id[id.len() - 6..];
    pane.line("/outbox");
    pane.until_row(short);
    // In full: what cannot be taken back is not guessed.
    pane.line(&format!("/can {short}"));
    pane.until_row("write /cancel in full");
    pane.line(&format!("/cancel {short}"));
    pane.until_row("is withdrawn, unless it has arrived already");
    assert_eq!(alice.run(["outbox", "list", "--json"]).expect(0).events("outbox")[0]["reason"], "withdrawn");
    pane.line("/close");
    pane.until_last(">");
    pane.line("to nobody");
    pane.until_row("choose somebody with /to NAME first");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    let listen = bob.listen();
    let _alice = alice.daemon();
    bob.run(["peers", "--wait", "1"]).expect(0);
    alice.run(["send", &bob.id(), "instead"]).expect(0);
    assert_eq!(alice.history(), ["out never mind cancelled", "out instead delivered"]);
    listen.until(|line| line["text"] == "instead");
    assert_eq!(bob.history(), ["in instead delivered"]);
}

#[test]
fn who_writes_in_an_editor_while_the_owner_ends_keeps_the_terminal_and_sees_the_text() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let owner = alice.daemon();
    let go = alice.dir.path().join("go");
    let mut command = alice.command::<&str>([]);
    command.env(
        "EDITOR",
        format!("sh -c 'echo writing; while [ ! -e {} ]; do sleep 0.1; done; echo precious > \"$1\"' sh", go.display()),
    );
    let mut pane = Pane::open(command);
    pane.until_row("bob");
    pane.line("/to bob");
    pane.until_last("bob>");
    pane.line("/editor");
    pane.until_last("writing");
    alice.run(["stop"]).expect(0);
    drop(owner);
    std::fs::write(&go, "").unwrap();
    // The window goes on alone, below what was not sent.
    pane.until_row("this was not sent");
    pane.until_row("precious");
    pane.until_last(">");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    let left = std::fs::read_dir(alice.profile()).unwrap().flatten().map(|file| file.file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| name.starts_with("draft")).collect();
    assert!(left.is_empty(), "{left:?}");
    // What a killed one has left behind goes with the next start.
    std::fs::create_dir(alice.profile().join("draft.999999999")).unwrap();
    alice.run(["whoami"]).expect(0);
    assert!(!alice.profile().join("draft.999999999").exists());
}

#[test]
fn what_was_said_since_the_start_is_not_undone_by_another_setting() {
    let net = Net::new();
    let alice = net.person("alice");
    let _owner = alice.start(&["daemon", "--json", "--allow", "lan"]);
    _owner.until(|line| line["event"] == "ready");
    let script = "/nick Ann\n/allow contacts\n/config bell off\n";
    assert_eq!(alice.run_with(script.as_bytes(), &[] as &[&str]).code, 0);
    let me = alice.run(["status", "--json"]).expect(0).lines().remove(0);
    assert_eq!(me["allow"], "contacts");
    let mut command = crate::person::program();
    command.arg("--data-dir").arg(alice.profile()).args(["whoami", "--json"]);
    assert_eq!(crate::person::run(command).expect(0).lines()[0]["name"], "Ann");
}

#[test]
fn a_setting_is_followed_also_where_it_was_that_before_a_command_said_otherwise() {
    let net = Net::new();
    let alice = net.person("alice");
    let mut command = crate::person::program();
    command.arg("--data-dir").arg(alice.profile()).args(["--no-lan", "daemon", "--json"]);
    let owner = crate::person::Running::new(command);
    owner.until(|line| line["event"] == "ready");
    let script = "/config name Ann\n/nick Bob\n/config name Ann\n";
    assert_eq!(alice.run_with(script.as_bytes(), &[] as &[&str]).code, 0);
    let me = |args: [&str; 2]| {
        let mut command = crate::person::program();
        command.arg("--data-dir").arg(alice.profile()).args(args);
        crate::person::run(command).expect(0).lines().remove(0)
    };
    assert_eq!(me(["whoami", "--json"])["name"], "Ann");
}
