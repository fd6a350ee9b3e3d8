//! Two and three people on one host, for real: every exit code of `send`, every event, nothing lost.

use std::time::Duration;

use crate::person::{Net, Running};

#[test]
fn a_text_is_delivered_and_printed_once() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let listen = bob.listen();
    let sent = alice.run(["send", "bob", "hi", "there", "--json"]).expect(0);
    let states: Vec<_> = sent.events("status").iter().map(|line| line["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!((states.first().map(String::as_str), states.last().map(String::as_str)), (Some("queued"), Some("delivered")));
    let message = listen.until(|line| line["event"] == "message");
    for (key, value) in [("name", "alice"), ("kind", "text"), ("text", "hi there")] {
        assert_eq!(message[key], value);
    }
    assert_eq!(message["late"], false);
    assert_eq!(message["from"], alice.id());
    assert_eq!(message["id"], sent.events("status")[0]["id"]);
    assert_eq!(alice.history(), ["out hi there delivered"]);
    assert_eq!(bob.history(), ["in hi there delivered"]);
    let line = bob.run(["history", "--json"]).expect(0).lines().remove(0);
    let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
    for key in ["event", "id", "peer", "name", "direction", "kind", "text", "sent_at", "received_at", "state", "read"] {
        assert!(keys.contains(&&key.to_owned()), "{key}");
    }
}

#[test]
fn a_megabyte_from_a_pipe_arrives_byte_for_byte() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    // A line end at every 80th place, none at the end, characters of one to four bytes.
    let text: String = (0..500_000).map(|n| if n % 80 == 79 { '\n' } else { ['a', 'ß', '語', '🙂'][n % 4] }).collect();
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 1_048_576).last().unwrap();
    let text = text[..end].trim_end();
    let listen = bob.start(&["listen", "--raw"]);
    // Says nothing when it is ready: the first line that it prints does.
    let mut first = None;
    while first.is_none() {
        alice.run(["send", "bob", "ping", "--timeout", "1s"]);
        first = listen.line_within(Duration::from_millis(500));
    }
    alice.run_with(text.as_bytes(), &["send", "bob", "--timeout", "50s"]).expect(0);
    alice.run(["send", "bob", "that was it"]).expect(0);
    let mut lines = Vec::new();
    loop {
        match listen.line() {
            line if line == "that was it" => break,
            line if line == "ping" => {}
            line => lines.push(line),
        }
    }
    assert!(lines.join("\n") == text, "{} lines came", lines.len());
}

#[test]
fn nobody_of_that_name_is_exit_3_and_nothing_is_queued() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let ended = alice.run(["send", "bill", "hi", "--json"]).expect(3);
    assert!(ended.err.starts_with("p2pchat-udp: no such peer: bill (asked the LAN, "), "{}", ended.err);
    let error = ended.events("error").remove(0);
    assert_eq!((&error["code"], &error["exit"]), (&"no-such-peer".into(), &3.into()));
    alice.run(["whois", "bill"]).expect(3);
    assert_eq!(alice.run(["outbox", "--json"]).expect(0).out, "");
}

#[test]
fn two_of_one_name_is_exit_4_and_nothing_is_sent() {
    let net = Net::new();
    let (alice, one, two) = (net.person("alice"), net.person("bob"), net.person("Bob"));
    let (_one, _two) = (one.daemon(), two.daemon());
    // An owner that has heard both: a command of its own gives the second 250 ms to be heard.
    let _alice = alice.daemon();
    alice.run(["peers", "--wait", "2"]).expect(0);
    let ended = alice.run(["send", "bob", "hi", "--json"]).expect(4);
    for id in [one.id(), two.id()] {
        assert!(ended.err.contains(&id), "{}", ended.err);
        assert!(ended.events("peer").iter().any(|line| line["id"] == id), "{}", ended.out);
    }
    assert_eq!(alice.run(["outbox", "--json"]).expect(0).out, "");
    alice.run(["send", &one.id()[..12], "hi"]).expect(0);
    assert_eq!(one.history(), ["in hi delivered"]);
    assert!(two.history().is_empty());
}

#[test]
fn a_stranger_with_a_contacts_name_is_exit_7_and_nothing_is_sent() {
    let net = Net::new();
    let (alice, bob, mallory) = (net.person("alice"), net.person("bob"), net.person("bob"));
    let _bob = bob.daemon();
    let _alice = alice.daemon();
    alice.run(["send", "bob", "it is you"]).expect(0);
    let _mallory = mallory.daemon();
    alice.run(["peers", "--wait", "2"]).expect(0);
    let ended = alice.run(["send", "bob", "a secret"]).expect(7);
    assert!(ended.err.contains(&bob.id()) && ended.err.contains(&mallory.id()), "{}", ended.err);
    alice.run(["send", &bob.id(), "to you"]).expect(0);
    assert_eq!(bob.history(), ["in it is you delivered", "in to you delivered"]);
    assert!(mallory.history().is_empty());
}

#[test]
fn what_is_not_delivered_in_time_stays_queued_and_goes_out_by_itself() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let ended = alice.run(["send", &id, "for later", "--timeout", "300ms"]).expect(5);
    assert!(ended.err.contains("p2pchat-udp runs next"), "who delivers it: {}", ended.err);
    let row = alice.run(["outbox", "--json"]).expect(0).events("outbox").remove(0);
    for key in ["id", "to", "name", "state", "reason", "age_ms", "next_try_at", "expires_at", "len"] {
        assert!(row.get(key).is_some(), "{key}");
    }
    assert_eq!((&row["state"], &row["len"]), (&"queued".into(), &9.into()));
    let _daemon = alice.daemon();
    let ended = alice.run(["send", &id, "also", "--timeout", "300ms"]).expect(5);
    assert!(ended.err.contains("the daemon with pid"), "{}", ended.err);
    let listen = bob.listen();
    assert_eq!([listen.message(), listen.message()], ["for later", "also"]);
}

#[test]
fn killed_between_queued_and_delivered_nothing_is_lost_or_doubled() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    for number in 0..5 {
        let sending = alice.start(&["send", &id, &format!("text {number}"), "--json"]);
        sending.until(|line| line["state"] == "queued");
        sending.kill();
    }
    let owner = alice.daemon();
    let listen = bob.listen();
    assert_eq!(listen.message(), "text 0");
    owner.kill();
    let _owner = alice.daemon();
    for number in 1..5 {
        assert_eq!(listen.message(), format!("text {number}"));
    }
    alice.run(["send", "bob", "the end"]).expect(0);
    let all: Vec<String> =
        (0..5).map(|number| format!("in text {number} delivered")).chain(["in the end delivered".to_owned()]).collect();
    assert_eq!(bob.history(), all);
}

#[test]
fn a_receiver_that_is_killed_has_each_message_once_and_in_order() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let _alice = alice.daemon();
    let mut bob_runs = bob.daemon();
    for number in 0..60 {
        alice.run(["send", &id, &format!("{number}"), "--wait", "queued"]).expect(0);
        if number % 20 == 10 {
            bob_runs.kill();
            bob_runs = bob.daemon();
        }
    }
    alice.run(["send", &id, "last"]).expect(0);
    let all: Vec<String> =
        (0..60).map(|number| format!("in {number} delivered")).chain(["in last delivered".to_owned()]).collect();
    assert_eq!(bob.history(), all);
}

#[test]
fn a_stranger_has_sixty_messages_at_once_and_a_contact_all() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _alice = alice.daemon();
    let listen = bob.listen();
    let script: String = (0..400).map(|number| format!("/msg bob {number}\n")).collect();
    alice.run_with(script.as_bytes(), &["--timeout", "1s"]).expect(5);
    for number in 0..60 {
        assert_eq!(listen.message(), number.to_string());
    }
    // At one more each second the rest would take minutes.
    let waiting = alice.run(["outbox", "--json"]).expect(0).events("outbox");
    assert!(waiting.len() > 100, "{}", waiting.len());
    assert!(waiting.iter().all(|line| ["queued", "sent"].contains(&line["state"].as_str().unwrap())), "{waiting:?}");
    bob.run(["send", "alice", "I know you"]).expect(0);
    alice.run(["send", "bob", "the end", "--timeout", "50s"]).expect(0);
    for number in 60..400 {
        assert_eq!(listen.message(), number.to_string());
    }
    assert_eq!(listen.message(), "the end");
}

#[test]
fn several_receivers_end_with_the_worst() {
    let net = Net::new();
    let (alice, bob, carol) = (net.person("alice"), net.person("bob"), net.person("carol"));
    let carol_id = carol.id();
    let listen = bob.listen();
    let ended = alice.run(["send", &format!("bob,{carol_id}"), "hi all", "--timeout", "1s"]).expect(5);
    assert!(ended.out.contains("delivered"), "{}", ended.out);
    assert_eq!(listen.message(), "hi all");
    alice.run(["send", "bob,nobody", "hi"]).expect(3);
    assert_eq!(alice.run(["outbox", "--json"]).expect(0).events("outbox").len(), 1, "nobody got the second");
}

#[test]
fn a_withdrawn_message_is_never_shown() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    for text in ["first", "oops", "second"] {
        alice.run(["send", &id, text, "--wait", "queued"]).expect(0);
    }
    let rows = alice.run(["outbox", "--json"]).expect(0).events("outbox");
    let oops = rows[1]["id"].as_str().unwrap();
    alice.run(["outbox", "cancel", "xyz"]).expect(2);
    alice.run(["outbox", "cancel", "00000000"]).expect(2);
    alice.run(["outbox", "cancel", &oops[oops.len() - 6..]]).expect(0);
    let listen = bob.listen();
    let _alice = alice.daemon();
    alice.run(["outbox", "retry"]).expect(0);
    assert_eq!([listen.message(), listen.message()], ["first", "second"]);
    alice.run(["send", "bob", "third"]).expect(0);
    assert_eq!(alice.history()[1], "out oops cancelled");
    alice.run(["outbox", "retry", "nobody"]).expect(3);
}

#[test]
fn an_expired_message_is_not_delivered() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let _alice = alice.daemon();
    let ended = alice.run(["send", &id, "soon stale", "--expire", "200ms", "--timeout", "20s", "--json"]);
    assert_eq!(ended.code, 5, "{}\n{}", ended.out, ended.err);
    let listen = bob.listen();
    alice.run(["send", &id, "fresh"]).expect(0);
    assert_eq!(listen.message(), "fresh");
}

#[test]
fn listen_ends_at_its_count_or_its_time() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    bob.run(["listen", "--timeout", "50ms"]).expect(0);
    let ended = bob.run(["listen", "--timeout", "50ms", "--count", "1"]).expect(5);
    assert!(ended.err.contains("0 of 1"), "{}", ended.err);
    bob.run(["listen", "--from", "nobody"]).expect(3);
    let _owner = bob.daemon();
    let alice_id = alice.id();
    let mut counted = bob.start(&["listen", "--json", "--events", "--count", "2", "--from", &alice_id]);
    counted.until(|line| line["event"] == "ready");
    let carol = net.person("carol");
    carol.run(["send", "bob", "not from alice"]).expect(0);
    alice.run(["send", "bob", "one"]).expect(0);
    alice.run(["send", "bob", "two"]).expect(0);
    assert_eq!([counted.message(), counted.message()], ["one", "two"]);
    assert_eq!(counted.end(), 0);
}

#[test]
fn a_closed_stdout_ends_listen_and_history_quietly() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let mut command = bob.command(["listen", "--events"]);
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    {
        use std::io::{BufRead, BufReader};
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
    }
    assert!(first.contains("ready"), "{first}");
    // Already that alice comes may be what it cannot print any more.
    alice.run(["send", "bob", "hi", "--timeout", "1s"]);
    let output = child.wait_with_output().unwrap();
    assert_eq!((crate::person::code(output.status), output.stderr), (0, Vec::new()));
    bob.run(["send", &alice.id(), "something to print", "--wait", "queued"]).expect(0);
    let mut command = bob.command(["history"]);
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((crate::person::code(output.status), output.stderr), (0, Vec::new()));
}

#[test]
fn peers_lists_and_waits() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    assert_eq!(alice.run(["peers", "--json"]).expect(0).out, "");
    let ended = alice.run(["peers", "--wait", "1", "--timeout", "300ms", "--json"]).expect(5);
    assert_eq!(ended.events("error")[0]["exit"], 5);
    let waiting = alice.start(&["peers", "--wait", "1", "--json"]);
    let _bob = bob.daemon();
    let line = waiting.until(|line| line["event"] == "peer");
    for key in ["id", "name", "petname", "presence", "path", "addr", "last_heard", "trust"] {
        assert!(line.get(key).is_some(), "{key}");
    }
    assert_eq!((&line["name"], &line["presence"], &line["path"]), (&"bob".into(), &"online".into(), &"lan".into()));
    let whois = alice.run(["whois", "bob", "--json"]).expect(0).lines().remove(0);
    assert_eq!(whois["id"], bob.id());
    assert!(alice.run(["whois", "BOB"]).expect(0).out.contains(&bob.id()));
}

#[test]
fn networks_of_other_names_do_not_meet() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let mut command = alice.command(["peers", "--json", "--wait", "1", "--timeout", "1s"]);
    command.args(["--network", "elsewhere"]);
    // The option behind the command overrules the one before it.
    let ended = crate::person::run(command).expect(5);
    assert!(!ended.out.contains("bob"), "{}", ended.out);
}

#[test]
fn history_is_limited_from_its_end_and_by_time() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let _alice = alice.daemon();
    for number in 0..300 {
        let wait = alice.run(["send", &id, &number.to_string(), "--wait", "queued"]);
        wait.expect(0);
    }
    let texts = |args: &[&str]| {
        let mut all = vec!["history", "--json"];
        all.extend(args);
        let lines = alice.run(&all).expect(0).events("history");
        lines.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let numbers = |range: std::ops::Range<u32>| range.map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(texts(&[]), numbers(0..300));
    assert_eq!(texts(&["--limit", "2"]), numbers(298..300));
    assert_eq!(texts(&["--limit", "270"]), numbers(30..300));
    assert_eq!(texts(&["--limit", "0"]), numbers(0..0));
    assert_eq!(texts(&["--since", "1h", &id]), numbers(0..300));
    assert!(texts(&["--since", "2099-01-01"]).is_empty());
    alice.run(["history", "--since", "yesterday-ish"]).expect(2);
    alice.run(["history", "nobody"]).expect(3);
}

#[test]
fn what_a_peer_writes_never_reaches_the_terminal_raw() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let listen = Running::new(bob.command(["listen", "--events"]));
    assert!(listen.line().contains("ready"));
    alice.run(["send", "bob", "\u{1b}]0;owned\u{7}\u{202e}evil\u{9b}31m"]).expect(0);
    let line = loop {
        let line = listen.line();
        if line.contains("evil") {
            break line;
        }
    };
    assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
    let history = bob.run(["history"]).expect(0).out;
    assert!(!history.trim_end().chars().any(|c| c.is_control() || c == '\u{202e}'), "{history:?}");
}
