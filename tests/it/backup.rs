//! `backup` and `restore`, through the program: while messages flow, into a new profile, and what goes on from there.

use std::os::unix::fs::PermissionsExt;

use crate::person::{HANG, Net, Person, run};

fn restored(net: &Net, name: &'static str, file: &std::path::Path) -> Person {
    let person = net.person(name);
    let ended = person.run(["restore", &file.display().to_string()]).expect(0);
    assert!(ended.err.contains("is restored"), "{}", ended.err);
    person
}

fn texts(person: &Person) -> Vec<String> {
    let rows = person.run(["history", "--json"]).expect(0).events("history");
    rows.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn who_is_restored_goes_on_and_nothing_is_lost_or_shown_twice() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let alices = alice.daemon();
    let bobs = bob.daemon();
    alice.run(["send", "bob", "before"]).expect(0);
    bob.run(["stop"]).expect(0);
    drop(bobs);
    alice.run(["send", "bob", "waits in the backup", "--wait", "queued"]).expect(0);
    let file = alice.dir.path().join("alice.backup");
    alice.run(["backup", &file.display().to_string()]).expect(0);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = alice.run(["backup", &file.display().to_string()]).expect(2);
    assert!(again.err.contains("is there already"), "{}", again.err);
    // What the former self says later has the seqs that come next.
    alice.run(["send", "bob", "after the backup", "--wait", "queued"]).expect(0);
    let _bob = bob.daemon();
    let began = std::time::Instant::now();
    while texts(&bob).len() < 3 {
        assert!(began.elapsed() < HANG);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let id = alice.id();
    alice.run(["stop"]).expect(0);
    drop(alices);

    let new = restored(&net, "alice", &file);
    assert_eq!(new.id(), id);
    let _new = new.daemon();
    new.run(["send", "bob", "of the restored one"]).expect(0);
    bob.run(["send", "alice", "and back"]).expect(0);
    assert_eq!(texts(&bob), ["before", "waits in the backup", "after the backup", "of the restored one", "and back"]);
    assert_eq!(texts(&new), ["before", "waits in the backup", "of the restored one", "and back"]);
    assert_eq!(new.run(["outbox", "--json"]).expect(0).out, "");
}

#[test]
fn a_backup_is_made_also_without_an_owner_and_as_encrypted_as_the_profile_is() {
    let net = Net::new();
    let alice = net.person("alice");
    alice.run_with(b"secret\nsecret\n", &["passwd"]).expect(0);
    let (dir, file) = (alice.dir.path().join("p w"), alice.dir.path().join("p w/alice.backup"));
    std::fs::create_dir(&dir).unwrap();
    alice.run(["backup", "x"]).expect(10);
    let knowing = |person: &Person, args: &[&str]| {
        let mut command = person.command(args);
        command.env("P2PCHAT_PASSWORD_CMD", "echo secret").current_dir(&dir);
        run(command)
    };
    knowing(&alice, &["backup", "alice.backup"]).expect(0);
    let id = knowing(&alice, &["whoami", "--json"]).expect(0).lines()[0]["id"].clone();
    let name = file.display().to_string();
    let other = net.person("other");
    assert!(other.run(["restore", &name]).expect(10).err.contains("has a password"));
    let wrong = other.run(["restore", &name, "--password-cmd", "echo wrong"]).expect(10);
    assert!(wrong.err.contains("wrong password") && wrong.err.contains("nothing was restored"), "{}", wrong.err);
    knowing(&other, &["restore", &name]).expect(0);
    other.run(["whoami"]).expect(10);
    assert_eq!(knowing(&other, &["whoami", "--json"]).expect(0).lines()[0]["id"], id);
    let taken = knowing(&other, &["restore", &name]).expect(8);
    assert!(taken.err.contains("already") && taken.err.contains("--data-dir"), "{}", taken.err);
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let net = Net::new();
    let alice = net.person("alice");
    let file = alice.dir.path().join("file");
    std::fs::write(&file, "something else").unwrap();
    let bad = alice.run(["restore", &file.display().to_string()]).expect(2);
    assert!(bad.err.contains("is no backup"), "{}", bad.err);
    let gone = alice.run(["restore", "/nothing/here"]).expect(2);
    assert!(gone.err.contains("there is no file /nothing/here"), "{}", gone.err);
    assert!(!alice.profile().join("profile.redb").exists());
}

#[test]
fn a_profile_that_is_not_there_is_not_copied_but_missed() {
    use std::os::unix::ffi::OsStrExt;
    let net = Net::new();
    let alice = net.person("alice");
    let file = alice.dir.path().join("copy");
    let missed = alice.run(["backup", &file.display().to_string()]).expect(8);
    assert!(missed.err.contains("there is no profile in"), "{}", missed.err);
    assert!(!file.exists() && !alice.profile().join("profile.redb").exists(), "nothing was made");
    let _alice = alice.daemon();
    let strange = alice.dir.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
    let mut command = alice.command(["backup"]);
    command.arg(&strange);
    assert!(run(command).expect(2).err.contains("is not UTF-8"));
}
