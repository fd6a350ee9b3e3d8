//! One owner of a profile, and everybody else its client: also while owners come, go and die.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    thread,
};

use nix::sys::signal::Signal;

use crate::person::{Net, Running, run};

#[test]
fn without_an_owner_status_and_stop_say_so() {
    let alice = Net::new().person("alice");
    for command in ["status", "stop"] {
        let ended = alice.run([command]).expect(11);
        assert!(ended.err.starts_with("p2pchat-udp: no owner is running"), "{}", ended.err);
    }
    assert!(!alice.profile().exists(), "nothing was made");
}

#[test]
fn a_daemon_is_ready_answers_and_says_goodbye() {
    let alice = Net::new().person("alice");
    let mut daemon = alice.start(&["daemon", "--json"]);
    let ready = daemon.until(|line| line["event"] == "ready");
    assert_eq!((&ready["name"], &ready["control"]), (&"alice".into(), &1.into()));
    let status = alice.run(["status", "--json"]).expect(0).lines().remove(0);
    assert_eq!(status["event"], "owner");
    assert_eq!(status["pid"], daemon.child.id());
    assert_eq!(status["mode"], "daemon");
    assert_eq!(status["port"], ready["port"]);
    for key in ["version", "uptime_s", "sessions", "neighbours", "outbox", "store_bytes", "commit_error", "dropped"] {
        assert!(status.get(key).is_some(), "{key}");
    }
    let rows = alice.run(["status"]).expect(0).out;
    for row in ["pid", "uptime", "sessions", "neighbours", "outbox", "store", "commit error", "dropped"] {
        assert!(rows.lines().any(|line| line.starts_with(row)), "{row}: {rows}");
    }
    let me = alice.run(["whoami", "--json"]).expect(0).lines().remove(0);
    assert_eq!(me["owner_pid"], daemon.child.id());
    assert_eq!(me["id"], ready["id"]);
    let second = alice.run(["daemon"]).expect(8);
    assert!(second.err.contains(&daemon.child.id().to_string()), "{}", second.err);
    alice.run(["stop"]).expect(0);
    assert_eq!(daemon.end(), 0);
    alice.run(["status"]).expect(11);
}

#[test]
fn signals_end_a_daemon_well_and_other_commands_with_their_number() {
    let alice = Net::new().person("alice");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = alice.daemon();
        daemon.signal(signal);
        assert_eq!(daemon.end(), 0, "{signal}");
    }
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut listen = alice.listen();
        listen.signal(signal);
        assert_eq!(listen.end(), code);
    }
    assert!(!alice.profile().join("control.sock").exists());
}

#[test]
fn a_hangup_has_a_daemon_read_its_settings_again() {
    let alice = Net::new().person("alice");
    let mut daemon = alice.command(["daemon", "--json"]);
    // The name must come from the file.
    let args: Vec<_> = daemon.get_args().filter(|arg| *arg != "--name" && *arg != "alice").map(ToOwned::to_owned).collect();
    daemon = crate::person::program();
    daemon.args(&args);
    std::fs::create_dir(alice.profile()).unwrap();
    std::fs::write(alice.profile().join("config.toml"), "name = 'alice'\n").unwrap();
    let daemon = Running::new(daemon);
    daemon.until(|line| line["event"] == "ready" && line["name"] == "alice");
    let mut owner = UnixStream::connect(alice.profile().join("control.sock")).unwrap();
    std::fs::write(alice.profile().join("config.toml"), "name = 'alicia'\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    // Asked until it has done it: there is no event for one's own name.
    let mut lines = BufReader::new(owner.try_clone().unwrap()).lines().map(Result::unwrap);
    let hangs = std::time::Instant::now() + crate::person::HANG;
    let mut is_renamed = false;
    while !is_renamed {
        assert!(std::time::Instant::now() < hangs);
        owner.write_all(b"{\"call\":\"whoami\"}\n").unwrap();
        // Each answer to its end: an owner that cannot get rid of them does not read either.
        is_renamed =
            lines.by_ref().take_while(|line| !line.contains("\"done\"")).any(|line| line.contains("\"name\":\"alicia\""));
    }
}

#[test]
fn the_service_manager_is_told_when_all_is_ready() {
    let alice = Net::new().person("alice");
    let path = alice.dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::person::HANG)).unwrap();
    let unit = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/systemd/p2pchat-udp.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let mut command = alice.command(start.split_whitespace().skip(1));
    command.env("NOTIFY_SOCKET", &path);
    let _daemon = Running::new(command);
    let mut bytes = [0; 256];
    let len = manager.recv(&mut bytes).unwrap();
    assert!(bytes[..len].starts_with(b"READY=1"));
    alice.run(["status"]).expect(0);
}

#[test]
fn a_hundred_sends_at_once_without_an_owner_all_succeed() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    thread::scope(|scope| {
        for number in 0..100 {
            let (alice, id) = (&alice, &id);
            scope.spawn(move || alice.run(["send", id, &format!("text {number}"), "--wait", "queued"]).expect(0));
        }
    });
    let outbox = alice.run(["outbox", "--json"]).expect(0).events("outbox");
    assert_eq!(outbox.len(), 100);
    let mut texts = alice.history();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 100, "each once");
}

#[test]
fn two_daemons_at_once_one_owns() {
    let alice = Net::new().person("alice");
    let mut both = [alice.start(&["daemon", "--json"]), alice.start(&["daemon", "--json"])];
    let status = loop {
        let ended = alice.run(["status", "--json"]);
        if ended.code == 0 {
            break ended.lines().remove(0);
        }
    };
    let owner = both.iter().position(|daemon| status["pid"] == daemon.child.id()).unwrap();
    assert_eq!(both[1 - owner].end(), 8);
    alice.run(["stop"]).expect(0);
    assert_eq!(both[owner].end(), 0);
}

#[test]
fn a_client_goes_on_when_its_owner_is_killed() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let owner = alice.daemon();
    let listen = alice.listen();
    owner.kill();
    // The listener becomes the owner itself, over a stale socket, and says so.
    let ready = listen.until(|line| line["event"] == "ready");
    assert_eq!(ready["name"], "alice");
    bob.run(["send", "alice", "still there?"]).expect(0);
    assert_eq!(listen.message(), "still there?");
    let status = alice.run(["status", "--json"]).expect(0).lines().remove(0);
    assert_eq!((&status["pid"], &status["mode"]), (&listen.child.id().into(), &"command".into()));
}

#[test]
fn the_control_socket_answers_by_tag_and_closes_on_nonsense() {
    let alice = Net::new().person("alice");
    let _daemon = alice.daemon();
    let mut stream = UnixStream::connect(alice.profile().join("control.sock")).unwrap();
    stream.write_all(b"{\"call\":\"whoami\",\"tag\":\"w\"}\n{\"call\":\"dance\",\"tag\":2}\nnonsense\n").unwrap();
    let lines: Vec<serde_json::Value> =
        BufReader::new(stream).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(lines[0]["event"], "ready");
    let of = |tag: serde_json::Value| lines.iter().filter(|line| line["tag"] == tag).collect::<Vec<_>>();
    assert_eq!(of("w".into()).iter().map(|line| &line["event"]).collect::<Vec<_>>(), ["whoami", "done"]);
    assert_eq!(of(2.into())[0]["exit"], 8);
    assert!(lines.iter().any(|line| line["code"] == "malformed"));
}

#[test]
fn an_option_that_only_an_owner_can_follow_is_not_passed_over_in_silence() {
    let alice = Net::new().person("alice");
    let _daemon = alice.daemon();
    assert_eq!(alice.run(["peers", "--json"]).expect(0).err, "");
    let mut command = alice.command(["peers", "--json"]);
    command.arg("--no-lan");
    assert!(run(command).expect(0).err.contains("--no-lan has no effect"));
}

#[test]
fn an_interrupted_send_keeps_its_message() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let mut sending = alice.start(&["send", &id, "half a minute", "--json"]);
    sending.until(|line| line["state"] == "queued");
    sending.signal(Signal::SIGINT);
    assert_eq!(sending.end(), 130);
    assert_eq!(alice.history(), ["out half a minute queued"]);
}

#[test]
fn asked_to_stop_a_command_that_owns_the_profile_ends_as_by_a_signal() {
    let alice = Net::new().person("alice");
    let mut listen = alice.listen();
    alice.run(["stop"]).expect(0);
    assert_eq!(listen.end(), 143);
}

#[test]
fn what_comes_the_moment_a_listener_starts_is_not_missed() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let _alice = alice.daemon();
    for number in 0..5 {
        let text = format!("waiting {number}");
        alice.run(["send", &id, &text, "--wait", "queued"]).expect(0);
        let listen = bob.run(["listen", "--count", "1", "--json", "--timeout", "30s"]).expect(0);
        assert_eq!(listen.lines()[0]["text"], text);
    }
}

#[test]
fn a_listener_hears_first_who_is_here_and_can_tell_them_from_who_comes() {
    let net = Net::new();
    let (alice, bob, carol) = (net.person("alice"), net.person("bob"), net.person("carol"));
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    alice.run(["peers", "--wait", "1"]).expect(0);
    let listen = alice.listen();
    let of = |name: &'static str| move |line: &serde_json::Value| line["event"] == "peer" && line["name"] == name;
    let before = listen.until(of("bob"));
    assert_eq!((&before["presence"], &before["already"]), (&"online".into(), &true.into()), "{before}");
    let _carol = carol.daemon();
    let comes = listen.until(of("carol"));
    assert_eq!((&comes["presence"], comes.get("already")), (&"online".into(), None), "{comes}");
}

#[test]
fn a_subscription_begins_behind_the_message_it_names() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let _bob = bob.daemon();
    for text in ["one", "two", "three"] {
        alice.run(["send", &id, text]).expect(0);
    }
    let one = bob.run(["history", "--json"]).expect(0).lines().remove(0)["id"].as_str().unwrap().to_owned();
    let texts = |after: &str| {
        let mut stream = UnixStream::connect(bob.profile().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(crate::person::HANG)).unwrap();
        writeln!(stream, "{{\"call\":\"subscribe\",\"after\":\"{after}\"}}").unwrap();
        let mut reader = BufReader::new(stream);
        let mut said = Vec::new();
        let mut line = String::new();
        // `ready` twice, then what was missed.
        while reader.read_line(&mut line).unwrap() > 0 {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            line.clear();
            match value["event"].as_str().unwrap() {
                "message" => said.push(value["text"].as_str().unwrap().to_owned()),
                "error" => return vec![value["code"].as_str().unwrap().to_owned()],
                _ => {}
            }
            if said.last().is_some_and(|text| text == "three") {
                break;
            }
        }
        said
    };
    assert_eq!(texts(&one), ["two", "three"]);
    assert_eq!(texts("00000000-0000-0000-0000-000000000000"), ["one", "two", "three"]);
    assert_eq!(texts("01a1fd12-6150-7a3b-92ec-1528678ed519"), ["no-such-message"]);
}

#[test]
fn stop_ends_one_owner_and_a_client_may_be_the_next() {
    let alice = Net::new().person("alice");
    let mut daemon = alice.daemon();
    let mut listen = alice.listen();
    alice.run(["stop"]).expect(0);
    assert_eq!(daemon.end(), 0);
    listen.until(|line| line["event"] == "ready");
    alice.run(["stop"]).expect(0);
    assert_eq!(listen.end(), 143);
    alice.run(["status"]).expect(11);
}

#[test]
fn a_timeout_beyond_every_clock_is_refused_and_the_longest_one_is_not() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    for timeout in ["10000000000000000000s", "36526d"] {
        let ended = alice.run(["send", &id, "hi", "--timeout", timeout]).expect(2);
        assert!(ended.err.contains("at most 100 years"), "{}", ended.err);
    }
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    alice.run(["send", &id, "hi", "--timeout", "36525d"]).expect(0);
    alice.run(["peers", "--wait", "1", "--timeout", "36525d"]).expect(0);
    let mut owner = UnixStream::connect(alice.profile().join("control.sock")).unwrap();
    owner.set_read_timeout(Some(crate::person::HANG)).unwrap();
    let request =
        format!("{{\"call\":\"send\",\"peer\":\"{id}\",\"text\":\"hi\",\"timeout\":\"10000000000000000000s\",\"tag\":7}}\n");
    owner.write_all(request.as_bytes()).unwrap();
    let answer = BufReader::new(owner).lines().map(Result::unwrap).find(|line| line.contains("\"tag\":7")).unwrap();
    assert!(answer.contains("\"exit\":2") && answer.contains("at most 100 years"), "{answer}");
}
