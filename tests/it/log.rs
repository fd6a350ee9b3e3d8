//! What the log may not hold, and that nobody needs to read it.

use std::{fs::File, process::Stdio};

use p2pchat_udp::store::Store;

use crate::person::{Net, Running, run};

#[test]
fn the_log_holds_no_text_no_key_and_at_info_no_address() {
    let net = Net::new();
    for (verbose, addresses) in [("-vvv", true), ("-v", false)] {
        let people = [net.person("alice"), net.person("bob")];
        let logs = people.each_ref().map(|person| person.dir.path().join("log"));
        let owners = [0, 1].map(|n| {
            let mut command = people[n].command([verbose, "daemon", "--json"]);
            command.stderr(Stdio::from(File::create(&logs[n]).unwrap()));
            let owner = Running::new(command);
            owner.until(|line| line["event"] == "ready");
            owner
        });
        people[0].run(["send", "bob", "the canary sings at dawn"]).expect(0);
        people[1].run(["send", "alice", "the canary was heard"]).expect(0);
        for mut owner in owners {
            owner.signal(nix::sys::signal::Signal::SIGTERM);
            assert_eq!(owner.end(), 0);
        }
        for (person, log) in people.iter().zip(&logs) {
            let log = std::fs::read_to_string(log).unwrap();
            assert!(!log.contains("canary"), "{log}");
            let secret = Store::open(&person.profile()).unwrap().reader().load().unwrap().secret;
            let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            let list = secret.map(|byte| byte.to_string()).join(", ");
            assert!(!log.contains(&hex) && !log.contains(&list), "{log}");
            assert!(addresses || !log.contains("127.0.0.1"), "{log}");
        }
    }
}

#[test]
fn a_closed_stderr_changes_nothing() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    for (args, code) in [(&["send", &id, "hi", "--timeout", "200ms"][..], 5), (&["--colour"], 2), (&["-vvv", "whoami"], 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = alice.command(args);
        command.stderr(Stdio::from(writer));
        run(command).expect(code);
    }
}

#[test]
fn under_the_journal_there_are_no_time_stamps() {
    let alice = Net::new().person("alice");
    let first = |journal: bool| {
        let mut command = alice.command(["-vvv", "whoami"]);
        if journal {
            command.env("JOURNAL_STREAM", "1:1");
        } else {
            command.env_remove("JOURNAL_STREAM");
        }
        run(command).expect(0).err.lines().next().unwrap_or_default().to_owned()
    };
    assert!(first(false).starts_with(|c: char| c.is_ascii_digit()), "{}", first(false));
    assert!(!first(true).starts_with(|c: char| c.is_ascii_digit()), "{}", first(true));
}
