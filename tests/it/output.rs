//! A stdout that nobody reads, and one that takes nothing: the first is no failure, the second is.

use std::{fs::File, process::Stdio};

use crate::person::{Ended, Net, Person, program, run};

/// Runs it with a stdout that is always full.
fn on_a_full_disk(person: &Person, args: &[&str]) -> Ended {
    let mut command = person.command(args);
    command.stdout(Stdio::from(File::options().write(true).open("/dev/full").unwrap()));
    run(command)
}

#[track_caller]
fn says_why(args: &[&str], ended: &Ended) {
    assert_eq!(ended.code, 1, "{args:?}: {}", ended.err);
    assert!(ended.err.starts_with("p2pchat-udp: cannot write: "), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
}

#[test]
fn an_output_that_cannot_be_written_is_exit_1() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    alice.run(["send", &bob.id(), "hi", "--wait", "queued"]).expect(0);
    for args in [
        &["history"][..],
        &["history", "--json"],
        &["peers"],
        &["outbox"],
        &["whoami"],
        &["config"],
        &["listen", "--events", "--count", "3"],
        &["--help"],
    ] {
        says_why(args, &on_a_full_disk(&alice, args));
    }
    // Its exit code speaks of the message: who saw another one would send it again.
    on_a_full_disk(&alice, &["send", &bob.id(), "hi", "--wait", "queued", "--json"]).expect(0);
}

#[test]
fn a_message_that_listen_cannot_write_is_exit_1() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let alice_id = alice.id();
    let _alice = alice.daemon();
    let _bob = bob.daemon();
    std::thread::scope(|scope| {
        let listening = scope.spawn(|| on_a_full_disk(&alice, &["listen", "--count", "3"]));
        // There is no telling when it listens: it hears the first of these that comes after that.
        while !listening.is_finished() {
            bob.run(["send", &alice_id, "hi"]).expect(0);
        }
        says_why(&["listen"], &listening.join().unwrap());
    });
}

#[test]
fn a_stdout_that_nobody_reads_is_no_failure() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    alice.run(["send", &bob.id(), "hi", "--wait", "queued"]).expect(0);
    let quiet = |mut command: std::process::Command| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(Stdio::from(writer));
        assert_eq!(run(command).expect(0).err, "");
    };
    for args in [&["history"][..], &["history", "--json"], &["peers"], &["listen", "--events"]] {
        quiet(alice.command(args));
    }
    let mut help = program();
    help.arg("--help");
    quiet(help);
}
