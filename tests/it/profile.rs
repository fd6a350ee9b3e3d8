//! A profile that cannot be used, a port that is taken: one line, its exit code, nothing changed.

use std::{fs, net::UdpSocket, os::unix::fs::PermissionsExt, path::Path};

use redb::ReadableDatabase;

use crate::person::{Net, Person, contents, program, run};

#[test]
fn a_new_profile_is_for_its_owner_only() {
    let alice = Net::new().person("alice");
    let mut daemon = alice.daemon();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&alice.profile()), 0o700);
    for file in ["profile.redb", "control.sock"] {
        assert_eq!(mode(&alice.profile().join(file)), 0o600, "{file}");
    }
    alice.run(["stop"]).expect(0);
    assert_eq!(daemon.end(), 0);
    assert!(!alice.profile().join("control.sock").exists());
}

/// Every command that needs the profile says why it cannot have it, and leaves it as it was.
#[track_caller]
fn is_unusable(person: &Person, why: &str) {
    let before = contents(&person.profile());
    for args in [&["whoami"][..], &["daemon"], &["history"], &["send", "bob", "hi"]] {
        let ended = person.run(args).expect(8);
        assert!(ended.err.starts_with("p2pchat-udp: cannot use the profile "), "{}", ended.err);
        assert!(ended.err.contains(why), "{why}: {}", ended.err);
        assert_eq!(ended.err.lines().count(), 2, "why, and what to do: {}", ended.err);
    }
    assert!(before == contents(&person.profile()), "something was changed");
}

#[test]
fn a_file_that_is_not_ours_is_left_alone() {
    let alice = Net::new().person("alice");
    fs::create_dir(alice.profile()).unwrap();
    fs::write(alice.profile().join("profile.redb"), "Dear diary,\n".repeat(1_000)).unwrap();
    is_unusable(&alice, "not a profile");
}

#[test]
fn a_damaged_profile_is_said_to_be_damaged() {
    let alice = Net::new().person("alice");
    alice.run(["whoami"]).expect(0);
    let path = alice.profile().join("profile.redb");
    let mut bytes = fs::read(&path).unwrap();
    // The magic stays, so that it is ours; everything behind it is gone.
    for byte in bytes.iter_mut().skip(16) {
        *byte = 0x5a;
    }
    fs::write(&path, bytes).unwrap();
    let ended = alice.run(["whoami"]).expect(8);
    assert!(ended.err.contains("damaged"), "{}", ended.err);
    is_unusable(&alice, "damaged");
}

#[test]
fn a_profile_path_that_is_no_directory() {
    let alice = Net::new().person("alice");
    fs::write(alice.profile(), "a file").unwrap();
    let ended = alice.run(["whoami"]).expect(8);
    assert!(ended.err.starts_with("p2pchat-udp: cannot use the profile"), "{}", ended.err);
    assert_eq!(fs::read_to_string(alice.profile()).unwrap(), "a file");
}

#[test]
fn a_profile_that_may_not_be_written() {
    // For root every directory is writable; one that cannot be made at all shows the same.
    let mut command = program();
    command.args(["--data-dir", "/proc/self/fd/no/such", "whoami", "--no-lan"]);
    let ended = run(command).expect(8);
    assert!(ended.err.starts_with("p2pchat-udp: cannot use the profile"), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 2, "{}", ended.err);
}

#[test]
fn a_port_that_was_named_and_is_taken() {
    let alice = Net::new().person("alice");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let ended = alice.run(["--listen", &addr, "whoami"]).expect(9);
    assert!(ended.err.starts_with("p2pchat-udp: ") && ended.err.contains(&addr), "{}", ended.err);
    alice.run(["--listen", "127.0.0.1:0", "whoami"]).expect(0);
}

#[test]
fn without_a_named_port_the_next_free_one_is_taken() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let (_a, _b) = (alice.daemon(), bob.daemon());
    let port = |person: &Person| person.run(["whoami", "--json"]).expect(0).lines()[0]["port"].as_u64().unwrap();
    assert_ne!(port(&alice), port(&bob));
}

#[test]
fn a_path_too_long_for_a_socket_has_it_in_the_runtime_directory() {
    let net = Net::new();
    let mut alice = net.person("alice");
    let long = alice.dir.path().join("x".repeat(100));
    fs::create_dir(&long).unwrap();
    alice.dir = tempfile::tempdir_in(long).unwrap();
    let runtime = tempfile::tempdir_in("/tmp").unwrap();
    let mut daemon = crate::person::Running::new({
        let mut command = alice.command(["daemon", "--json"]);
        command.env("XDG_RUNTIME_DIR", runtime.path());
        command
    });
    daemon.until(|line| line["event"] == "ready");
    let with = |args: &[&str]| {
        let mut command = alice.command(args);
        command.env("XDG_RUNTIME_DIR", runtime.path());
        run(command)
    };
    with(&["status"]).expect(0);
    with(&["stop"]).expect(0);
    assert_eq!(daemon.end(), 0);
    let mut command = alice.command(["whoami"]);
    command.env_remove("XDG_RUNTIME_DIR");
    run(command).expect(8);
}

/// A file system of 1.5 MB, taken away again at the end. `None` where this machine does not allow it.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1500k,mode=700", "tmpfs"]).arg(dir.path()).stderr(std::process::Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        if !mounted {
            let why = "this machine does not let us mount a small file system";
            assert!(std::env::var_os("P2PCHAT_SKIP_NOTHING").is_none(), "must run here and cannot: {why}");
            println!("skipped: {why}");
        }
        mounted.then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_full_disk_a_message_is_refused_and_what_was_queued_is_kept() {
    let Some(disk) = SmallDisk::mount() else { return };
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let text = "x".repeat(300_000);
    let send = |text: &str| {
        // The last of two is the one that counts.
        let mut command = alice.command(["send", &id, "--wait", "queued", "--timeout", "20s"]);
        command.arg("--data-dir").arg(disk.0.path().join("p"));
        command.stdin(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        (crate::person::code(output.status), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let mut queued = 0;
    let error = loop {
        match send(&text) {
            (0, _) => queued += 1,
            (1, error) => break error,
            other => panic!("{other:?}"),
        }
        assert!(queued < 10, "the disk never filled up");
    };
    assert_eq!(error, "p2pchat-udp: the disk is full, nothing was queued\n");
    let mut command = alice.command(["outbox", "--json"]);
    command.arg("--data-dir").arg(disk.0.path().join("p"));
    assert_eq!(run(command).expect(0).events("outbox").len(), queued);
}

#[test]
fn a_profile_for_which_there_is_no_room_leaves_no_directory() {
    let Some(disk) = SmallDisk::mount() else { return };
    let full = fs::write(disk.0.path().join("others"), vec![b'x'; 2_000_000]);
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let profile = disk.0.path().join("p");
    let alice = Net::new().person("alice");
    let whoami = || {
        let mut command = alice.command(["whoami"]);
        command.arg("--data-dir").arg(&profile);
        run(command).expect(8)
    };
    let ended = whoami();
    assert!(ended.err.starts_with("p2pchat-udp: cannot use the profile "), "{}", ended.err);
    assert!(!profile.exists(), "it was left behind");
    // A directory that was there before stays.
    fs::create_dir(&profile).unwrap();
    whoami();
    assert_eq!(fs::read_dir(&profile).unwrap().count(), 0);
}

#[test]
fn a_profile_of_a_newer_version_is_left_alone() {
    let alice = Net::new().person("alice");
    alice.run(["whoami"]).expect(0);
    let database = redb::Database::open(alice.profile().join("profile.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    transaction.open_table(meta).unwrap().insert("schema", 9u32.to_le_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    is_unusable(&alice, "newer version");
}

#[test]
fn a_profile_of_the_first_schema_is_taken_over_and_its_copy_goes_at_the_next_start() {
    let net = Net::new();
    let [alice, bob] = ["alice", "bob"].map(|name| net.person(name));
    fs::create_dir_all(alice.profile()).unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/profile-v1/profile.redb");
    fs::copy(fixture, alice.profile().join("profile.redb")).unwrap();
    // Its key is nobody's.
    bob.run(["whoami"]).expect(0);
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    let open = |person: &Person| redb::Database::open(person.profile().join("profile.redb")).unwrap();
    let key = open(&bob).begin_read().unwrap().open_table(meta).unwrap().get("secret").unwrap().unwrap().value().to_vec();
    let transaction = open(&alice).begin_write().unwrap();
    transaction.open_table(meta).unwrap().insert("secret", key.as_slice()).unwrap();
    transaction.commit().unwrap();
    let copy = alice.profile().join("profile.schema-1.redb");
    let history = alice.run(["history"]).expect(0).out;
    assert!(history.contains("waits, with ümläuts and 日本語") && history.contains("Bob from the lab"), "{history}");
    assert!(copy.exists());
    assert_eq!(alice.run(["unread", "--total"]).expect(0).out, "2\n");
    assert!(!copy.exists());
    assert_eq!(alice.run(["history"]).expect(0).out, history);
}
