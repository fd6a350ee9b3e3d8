//! The password of a profile, through the program: set, asked for, changed, removed; wrong; and seen by nobody.

use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::{
    pane::Pane,
    person::{Ended, Net, Person, Running, run},
};

const PASSWORD: &str = "correct horse canary";

/// Sets the password of a profile without one.
fn set(person: &Person) -> Ended {
    person.run_with(format!("{PASSWORD}\n{PASSWORD}\n").as_bytes(), &["passwd"])
}

/// A command that is given the password, without it standing in its arguments or its environment.
fn knowing(person: &Person, args: &[&str]) -> std::process::Command {
    let file = person.dir.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let mut command = person.command(args);
    command.env("P2PCHAT_PASSWORD_CMD", format!("cat '{}'", file.display()));
    command
}

fn is_encrypted(whoami: &Ended) -> bool {
    whoami.lines()[0]["encrypted"].as_bool().unwrap()
}

#[test]
fn a_password_is_set_asked_for_changed_and_removed() {
    let alice = Net::new().person("alice");
    let whoami = alice.run(["whoami", "--json"]).expect(0);
    assert!(!is_encrypted(&whoami));
    let id = whoami.lines()[0]["id"].clone();
    assert!(set(&alice).expect(0).err.contains("has a password from now on"));
    let asked = alice.run(["whoami"]).expect(10);
    assert!(asked.err.contains("has a password") && asked.err.contains("--password-cmd"), "{}", asked.err);
    let file = alice.profile().join("profile.redb");
    let before = std::fs::read(&file).unwrap();
    let wrong = alice.run(["whoami", "--password-cmd", "echo no"]).expect(10);
    assert!(wrong.err.contains("wrong password") && wrong.err.contains("final"), "{}", wrong.err);
    let failed = alice.run(["whoami", "--password-cmd", "echo out; exit 3"]).expect(10);
    assert!(failed.err.contains("exit status: 3"), "{}", failed.err);
    let wrong = alice.run_with(b"no\nx\nx\n", &["passwd"]).expect(10);
    assert!(wrong.err.contains("wrong password"), "{}", wrong.err);
    assert!(before == std::fs::read(&file).unwrap(), "nothing was touched");
    let whoami = run(knowing(&alice, &["whoami", "--json"])).expect(0);
    assert!(is_encrypted(&whoami));
    assert_eq!(whoami.lines()[0]["id"], id);
    // The present one, then the new one twice; only the newline at its end is no part of it.
    let differ = alice.run_with(format!("{PASSWORD}\none\ntwo\n").as_bytes(), &["passwd"]).expect(2);
    assert!(differ.err.contains("differ"), "{}", differ.err);
    alice.run_with(format!("{PASSWORD}\n two \n two \n").as_bytes(), &["passwd"]).expect(0);
    run(knowing(&alice, &["whoami"])).expect(10);
    alice.run(["config", "password_cmd", "printf ' two '"]).expect(0);
    assert!(is_encrypted(&alice.run(["whoami", "--json"]).expect(0)));
    assert!(alice.run_with(b"\n\n", &["passwd"]).expect(0).err.contains("no password any more"));
    assert!(!is_encrypted(&alice.run(["whoami", "--json"]).expect(0)));
}

#[test]
fn an_owner_is_asked_nothing_and_changes_the_password_while_it_goes_on() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    alice.run_with(format!("{PASSWORD}\n{PASSWORD}\n").as_bytes(), &["passwd"]).expect(0);
    let _bob = bob.daemon();
    let owner = Running::new(knowing(&alice, &["daemon", "--json"]));
    owner.until(|line| line["event"] == "ready");
    alice.run(["send", "bob", "behind a lock"]).expect(0);
    bob.run(["send", "alice", "and back"]).expect(0);
    assert_eq!(alice.history().len(), 2);
    let wrong = alice.run_with(b"a\nb\nb\n", &["passwd"]).expect(10);
    assert!(wrong.err.contains("wrong password"), "{}", wrong.err);
    let change = |from: &str, to: &str| {
        let changed = alice.run_with(format!("{from}{to}\n{to}\n").as_bytes(), &["passwd"]).expect(0);
        alice.run(["send", "bob", "still here"]).expect(0);
        assert_eq!(is_encrypted(&alice.run(["whoami", "--json"]).expect(0)), !to.is_empty());
        changed.err
    };
    assert!(change(&format!("{PASSWORD}\n"), "another").contains("is another one from now on"));
    assert!(change("another\n", "").contains("no password any more"));
    assert!(change("", PASSWORD).contains("has a password from now on"));
    alice.run(["stop"]).expect(0);
    alice.run(["whoami"]).expect(10);
    let history = run(knowing(&alice, &["history", "--json"])).expect(0);
    assert_eq!(history.events("history").len(), 5);
    assert_eq!(bob.history().len(), 5);
}

#[test]
fn nothing_of_a_profile_with_a_password_can_be_read_nor_the_password_seen() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bobthepeer"));
    set(&alice).expect(0);
    let log = alice.dir.path().join("log");
    let mut command = knowing(&alice, &["-vvv", "daemon", "--json"]);
    command.stderr(Stdio::from(std::fs::File::create(&log).unwrap()));
    let mut owner = Running::new(command);
    owner.until(|line| line["event"] == "ready");
    let _bob = bob.daemon();
    alice.run(["send", "bobthepeer", "the canary sings at dawn"]).expect(0);
    bob.run(["send", "alice", "the canary was heard"]).expect(0);
    let again = format!("{PASSWORD}\nanother canary\nanother canary\n");
    alice.run_with(again.as_bytes(), &["passwd"]).expect(0);
    let (me, peer) = (alice.id(), bob.id());
    for file in ["cmdline", "environ"] {
        let seen = std::fs::read(format!("/proc/{}/{file}", owner.child.id())).unwrap();
        assert!(!String::from_utf8_lossy(&seen).contains(PASSWORD), "{file}");
    }
    owner.signal(Signal::SIGTERM);
    assert_eq!(owner.end(), 0);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("canary"), "{log}");
    let mut canaries: Vec<Vec<u8>> = ["canary", "bobthepeer", "alice", &me, &peer].map(|word| word.as_bytes().to_vec()).into();
    for id in [&me, &peer] {
        canaries.push(id.parse::<p2pchat_udp::id::PeerId>().unwrap().as_bytes().to_vec());
    }
    let found = |person: &Person| {
        let files: Vec<Vec<u8>> =
            std::fs::read_dir(person.profile()).unwrap().flatten().map(|e| std::fs::read(e.path()).unwrap()).collect();
        let holds = |what: &[u8]| files.iter().any(|bytes| bytes.windows(what.len()).any(|window| window == what));
        canaries.iter().filter(|what| holds(what)).count()
    };
    assert_eq!(found(&alice), 0);
    // Without a password the same look finds it all.
    bob.run(["stop"]).expect(0);
    assert!(found(&bob) >= 4, "{}", found(&bob));
}

#[test]
fn on_a_terminal_it_is_asked_for_without_echo() {
    let alice = Net::new().person("alice");
    let mut pane = Pane::open(alice.command(["passwd"]));
    pane.until_row("a forgotten password is final");
    pane.until_row("New password (empty: none):");
    pane.line(PASSWORD);
    pane.until_row("The same again:");
    pane.line(PASSWORD);
    pane.until_row("has a password from now on");
    assert_eq!(pane.end(), 0);
    let seen = |pane: &Pane| String::from_utf8_lossy(&pane.bytes()).contains("canary");
    assert!(!seen(&pane));
    let mut shell = Pane::shell(&alice, &[]);
    shell.until_row("Password:");
    shell.line(PASSWORD);
    shell.until_last(">");
    shell.line("/quit");
    assert_eq!(shell.end(), 0);
    assert!(!seen(&shell));
}

#[test]
fn the_shell_changes_it_without_showing_or_keeping_what_is_typed() {
    let alice = Net::new().person("alice");
    for plain in [&[][..], &["--plain"][..]] {
        let mut shell = Pane::shell(&alice, plain);
        shell.until_last(">");
        shell.line("/passwd");
        shell.until_row("a forgotten password is final");
        shell.until_last("New password (empty: none):");
        shell.line(PASSWORD);
        shell.until_last("The same again:");
        shell.keys("half of it\x03\x03");
        shell.until_row("nothing was changed");
        shell.line("/passwd");
        shell.until("a second question", |rows| rows.iter().filter(|row| row.starts_with("New password")).count() == 2);
        shell.line(PASSWORD);
        shell.until("a second time", |rows| rows.iter().filter(|row| row.starts_with("The same again")).count() == 2);
        shell.line(PASSWORD);
        shell.until_row("has a password from now on");
        // What was typed before is there again, a secret is not.
        if plain.is_empty() {
            shell.until_last(">");
            shell.keys("\x1b[A");
            shell.until_last("> /passwd");
            shell.keys("\x03");
        }
        shell.until_last(">");
        shell.line("/passwd");
        shell.until_row("Present password:");
        shell.line(PASSWORD);
        shell.line("");
        shell.line("");
        shell.until_row("no password any more");
        shell.line("/quit");
        assert_eq!(shell.end(), 0);
        assert!(!String::from_utf8_lossy(&shell.bytes()).contains("canary"), "{:?}", shell.rows());
    }
}

#[test]
fn too_few_lines_are_bad_input_and_change_nothing() {
    let alice = Net::new().person("alice");
    alice.run(["whoami"]).expect(0);
    let ended = alice.run_with(b"only one\n", &["passwd"]).expect(2);
    assert!(ended.err.contains("no password was read"), "{}", ended.err);
    assert!(!is_encrypted(&alice.run(["whoami", "--json"]).expect(0)));
}

#[test]
fn a_script_changes_it_by_the_lines_that_follow() {
    let alice = Net::new().person("alice");
    let script = format!("/passwd\n{PASSWORD}\n{PASSWORD}\n/passwd\nwrong\nother\nother\n/peers\n");
    let ended = alice.run_with(script.as_bytes(), &[]).expect(10);
    assert!(ended.err.contains("line 7: wrong password") && ended.out.contains("from now on"), "{ended:?}");
    alice.run(["whoami"]).expect(10);
    assert!(is_encrypted(&run(knowing(&alice, &["whoami", "--json"])).expect(0)));
}

#[test]
fn ctrl_c_at_the_prompt_gives_the_echo_back() {
    let alice = Net::new().person("alice");
    set(&alice).expect(0);
    let mut pane = Pane::open(alice.command(["whoami"]));
    pane.until_row("Password:");
    assert!(!pane.has_echo());
    pane.keys("half of it\x03");
    assert_eq!(pane.end(), 130);
    assert!(pane.has_echo());
}

#[test]
fn of_a_secret_that_is_taken_back_nothing_can_be_brought_back_nor_is_it_logged() {
    let net = Net::new();
    let alice = net.person("alice");
    let mut command = alice.command::<&str>([]);
    command.env("RUST_LOG", "trace");
    let mut pane = Pane::open(command);
    pane.until_row("Nobody here yet");
    for kill in ["\x03", "\x15", "\x17", "\x01\x0b", "\x1b\x7f"] {
        pane.line("/passwd");
        pane.until_row("New password");
        pane.keys(&format!("xyzzy{kill}"));
        if kill == "\x03" {
            pane.until_row("nothing was changed");
        } else {
            // Asked once more; empty, twice: none, as before.
            pane.until("the question again", |rows| rows.iter().filter(|row| row.starts_with("New password")).count() == 2);
            pane.line("");
            pane.until_row("The same again");
            pane.line("");
            pane.until_row("has no password, as before");
        }
        pane.keys("\x19");
        pane.keys("typed");
        pane.until("what is typed", |rows| rows.iter().any(|row| row.ends_with("typed")));
        pane.keys("\x03");
        pane.line("/clear");
        pane.until("an empty screen", |rows| rows.iter().all(|row| !row.starts_with("New password")));
    }
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    let seen = String::from_utf8_lossy(&pane.bytes()).into_owned();
    assert!(!seen.contains("xyzzy"), "on the screen, or in the log");
    assert!(!seen.contains("rustyline"), "the editor's own log names each key");
    assert!(std::fs::read_to_string(alice.profile().join("input-history")).unwrap().lines().all(|line| !line.contains("xyzzy")));
}

#[test]
fn the_password_command_reads_nothing_of_what_is_for_the_program() {
    let net = Net::new();
    let alice = net.person("alice");
    set(&alice);
    let line = format!(
        "{{\"v\":1,\"event\":\"history\",\"id\":\"0192f5a0-0000-7000-8000-000000000001\",\"peer\":\"{}\",\"name\":\"bob\",\"direction\":\"in\",\
         \"kind\":\"text\",\"text\":\"old\",\"sent_at\":\"2020-01-02T03:04:05.006Z\",\"received_at\":\"2020-01-02T03:04:05.006Z\",\
         \"state\":\"read\",\"read\":true}}\n",
        net.person("bob").id()
    );
    let mut command = knowing(&alice, &["import", "-", "--json"]);
    let gives = command.get_envs().find(|(name, _)| *name == "P2PCHAT_PASSWORD_CMD").unwrap().1.unwrap().to_owned();
    command.env("P2PCHAT_PASSWORD_CMD", format!("cat > /dev/null; echo why >&2; {}", gives.display()));
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), line.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("\"added\":1"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("why"), "what it says is heard");
}
