//! Messages that nobody wants to keep any longer, through the program.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::person::{HANG, Net, Person};

/// So many long lines that bob wrote a long time ago, as `import` takes them.
fn old_lines(bob: &str, lines: usize) -> String {
    let text = "once upon a time ".repeat(120);
    let line = |n: usize| {
        json!({"event": "history", "v": 1, "id": format!("0192f5a0-0000-7000-8000-{n:012x}"), "peer": bob, "name": "bob", "direction": "in",
            "kind": "text", "text": format!("{n} {text}"), "sent_at": "2020-01-02T03:04:05.006Z", "received_at": "2020-01-02T03:04:05.006Z",
            "state": "read", "read": true})
        .to_string()
    };
    (0..lines).map(|n| line(n) + "\n").collect()
}

fn status(person: &Person) -> Value {
    person.run(["status", "--json"]).expect(0).lines().remove(0)
}

/// Asks until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + HANG;
    while !is_so() {
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn old_messages_go_what_is_unread_stays_and_the_file_becomes_smaller() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    bob.run(["send", "alice", "today"]).expect(0);
    alice.run_with(old_lines(&bob.id(), 5_000).as_bytes(), &["import", "-"]).expect(0);
    alice.run(["send", &net.person("carol").id(), "waits", "--wait", "queued"]).expect(0);
    let before = status(&alice)["store_bytes"].as_u64().unwrap();
    let lines = || alice.run(["history", "--json"]).expect(0).events("history").len();
    assert_eq!(lines(), 5_002);
    let refused = alice.run(["config", "retention", "5m"]).expect(2);
    assert!(refused.err.contains("at least 1h is needed; or off"), "{}", refused.err);
    alice.run(["config", "retention", "30d"]).expect(0);
    let mut seen = Vec::new();
    until("the old ones are gone", || {
        seen.extend(status(&alice).get("upkeep").cloned());
        lines() == 2
    });
    until("the file is smaller", || {
        seen.extend(status(&alice).get("upkeep").cloned());
        status(&alice)["store_bytes"].as_u64().unwrap() * 2 < before
    });
    for upkeep in &seen {
        assert!(["retention", "compaction"].contains(&upkeep["what"].as_str().unwrap()), "{upkeep}");
        assert!(upkeep["done"].as_u64() <= upkeep["of"].as_u64(), "{upkeep}");
    }
    // What has gone is still known: the same file brings nothing back.
    let again = alice.run_with(old_lines(&bob.id(), 3).as_bytes(), &["import", "-", "--json"]).expect(0);
    assert_eq!(again.events("imported")[0]["known"], 3);
    assert_eq!(alice.run(["unread", "--json"]).expect(0).events("unread")[0]["count"], 1);
    // The daemon has the file that is there now.
    bob.run(["send", "alice", "tomorrow"]).expect(0);
    alice.run(["stop"]).expect(0);
    assert_eq!(lines(), 3);
}
