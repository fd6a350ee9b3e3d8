//! The history outside of a profile, through the program: exported, imported, and what does not follow from it.

use serde_json::Value;

use crate::{
    pane::Pane,
    person::{Ended, Net, Person},
};

/// What an import said: added, known, bad.
fn imported(ended: &Ended) -> [u64; 3] {
    let line = &ended.events("imported")[0];
    ["added", "known", "bad"].map(|key| line[key].as_u64().unwrap())
}

fn import(person: &Person, file: &str) -> Ended {
    person.run_with(file.as_bytes(), &["import", "-", "--json"])
}

/// Two who have talked, and what the first one exports.
fn talked(net: &Net) -> (Person, Person, String) {
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let (alices, bobs) = (alice.daemon(), bob.daemon());
    for text in ["one", "two\nlines", "\u{1b}[31m three"] {
        alice.run(["send", "bob", text]).expect(0);
        bob.run(["send", "alice", &format!("re: {text}")]).expect(0);
    }
    let file = alice.run(["export"]).expect(0).out;
    for (person, runs) in [(&alice, alices), (&bob, bobs)] {
        person.run(["stop"]).expect(0);
        drop(runs);
    }
    (alice, bob, file)
}

#[test]
fn what_is_exported_is_imported_as_it_was_and_once() {
    let net = Net::new();
    let (alice, bob, file) = talked(&net);
    let lines: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|line| line["v"] == 1 && line["event"] == "history" && line.get("n").is_none()), "{file}");
    assert_eq!(lines[4]["text"], "\u{1b}[31m three");
    assert_eq!(alice.run(["export", "bob"]).expect(0).out, file);
    let words = alice.run(["export", "--format", "text"]).expect(0).out;
    assert!(words.contains("<me→bob> one") && !words.contains('\u{1b}'), "{words}");

    // In the same profile all of it is known.
    assert_eq!(imported(&import(&alice, &file).expect(0)), [0, 6, 0]);
    assert_eq!(alice.run(["export"]).expect(0).out, file);

    // In another one it is there as it was, and is no news to anybody.
    let carol = net.person("carol");
    carol.run(["contact", "add", &bob.id(), "--petname", "bob"]).expect(0);
    assert_eq!(imported(&import(&carol, &file).expect(0)), [6, 0, 0]);
    assert_eq!(imported(&import(&carol, &file).expect(0)), [0, 6, 0]);
    let again: Vec<Value> = carol.run(["export"]).expect(0).out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (was, is) in lines.iter().zip(&again) {
        for key in ["id", "peer", "direction", "kind", "text", "sent_at", "received_at"] {
            assert_eq!(was[key], is[key], "{key}");
        }
        let state = if is["direction"] == "in" { "read".into() } else { was["state"].clone() };
        assert_eq!((&is["state"], &is["read"]), (&state, &(state == "read").into()));
    }
    assert_eq!(carol.run(["unread", "--total"]).expect(0).out, "0\n");
    assert_eq!(carol.run(["outbox", "--json"]).expect(0).out, "");
    assert_eq!(carol.run(["history", "--search", "lines", "--json"]).expect(0).events("history").len(), 2);
}

#[test]
fn nothing_that_is_imported_is_sent_or_shown_as_new() {
    let net = Net::new();
    let (alice, bob, file) = talked(&net);
    let waiting = file.replace("\"state\":\"delivered\"", "\"state\":\"queued\"");
    let carol = net.person("carol");
    let first = file.lines().next().unwrap().to_owned();
    import(&carol, &first).expect(0);
    let _carol = carol.daemon();
    let _bob = bob.daemon();
    let shell = Pane::shell(&carol, &[]);
    shell.until_last(">");
    assert_eq!(imported(&import(&carol, &waiting).expect(0)), [5, 1, 0]);
    carol.run(["contact", "add", &bob.id(), "--petname", "bob"]).expect(0);
    // What comes now comes after all of it.
    bob.run(["send", &carol.id(), "news"]).expect(0);
    let rows = shell.until("the news", |rows| rows.iter().any(|row| row.contains("news")));
    assert!(!rows.iter().any(|row| row.contains("re: one")), "{rows:?}");
    assert!(carol.history().iter().all(|text| text != "queued"));
    let states: Vec<Value> =
        carol.run(["history", "--json"]).expect(0).events("history").iter().map(|row| row["state"].clone()).collect();
    assert!(!states.contains(&"queued".into()) && states.contains(&"cancelled".into()), "{states:?}");
    let news = bob.run(["history", "--json"]).expect(0).events("history");
    assert_eq!(news.iter().filter(|row| row["peer"] == carol.id().as_str()).count(), 1, "bob has nothing but his own message");
    assert_eq!(alice.run(["whoami"]).expect(0).err, "");
}

#[test]
fn bad_lines_are_named_and_the_others_imported() {
    let net = Net::new();
    let (_, bob, file) = talked(&net);
    let mut lines: Vec<String> = file.lines().map(str::to_owned).collect();
    lines.insert(0, "no JSON at all".to_owned());
    lines.insert(2, lines[1].replace("\"v\":1", "\"v\":2"));
    lines.insert(4, "{\"v\":1,\"event\":\"done\"}".to_owned());
    lines.insert(5, String::new());
    lines.push(lines[1].replace("\"text\":\"one\"", "\"text\":\"\""));
    let carol = net.person("carol");
    let ended = import(&carol, &lines.join("\n")).expect(2);
    assert_eq!(imported(&ended), [6, 0, 4]);
    for (line, why) in [(1, "not an exported line"), (3, "later version"), (5, "not a message"), (11, "")] {
        let said = ended.err.lines().find(|said| said.contains(&format!("line {line} is left out")));
        assert!(said.is_some_and(|said| said.contains(why)), "line {line}: {}", ended.err);
    }
    assert!(ended.err.contains("4 lines of - are left out"), "{}", ended.err);
    let gone = carol.run(["import", "/nothing/here"]).expect(2);
    assert!(gone.err.contains("/nothing/here cannot be read"), "{}", gone.err);
    // Bob has what Alice exported: to him it is said with himself.
    let bobs = import(&bob, &file).expect(2);
    assert!(imported(&bobs) == [0, 0, 6] && bobs.err.contains("said with yourself"), "{}", bobs.err);
    // What stands in a bad line steers no terminal.
    let steers = lines[1]
        .replace("\"direction\":\"in\"", "\"direction\":\"\\u001b]0;x\\u0007\"")
        .replace("\"direction\":\"out\"", "\"direction\":\"\\u001b]0;x\\u0007\"");
    let ended = import(&carol, &steers).expect(2);
    assert!(!ended.err.contains('\u{1b}') && ended.err.contains("\\x1b"), "{:?}", ended.err);
    let many = "x\n".repeat(30);
    let ended = import(&carol, &many).expect(2);
    assert!(ended.err.lines().count() <= 25 && ended.err.contains("counted"), "{}", ended.err);
}

#[test]
fn a_line_longer_than_any_message_is_left_out() {
    let carol = Net::new().person("carol");
    let file = format!("{}\n", "x".repeat(20 << 20));
    let ended = import(&carol, &file).expect(2);
    assert_eq!(imported(&ended), [0, 0, 1]);
    assert!(ended.err.contains("line 1 is left out: longer"), "{}", ended.err);
}

#[test]
fn a_closed_stdout_ends_export_quietly() {
    let net = Net::new();
    let (alice, _, _) = talked(&net);
    let mut command = alice.command(["export"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_shell_exports_to_a_new_file_only() {
    use std::os::unix::fs::PermissionsExt;
    let net = Net::new();
    let (alice, _, file) = talked(&net);
    let path = alice.dir.path().join("said.jsonl");
    let script = format!("/export {0}\n/export {0}\n", path.display());
    let ended = alice.run_with(script.as_bytes(), &[]).expect(2);
    assert!(ended.out.contains("6 messages are written to"), "{}", ended.out);
    assert!(ended.err.contains("line 2") && ended.err.contains("is there already"), "{}", ended.err);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), file);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut shell = Pane::shell(&alice, &[]);
    shell.until_last(">");
    shell.keys(&format!("/export {}\t", path.display().to_string().trim_end_matches("id.jsonl")));
    shell.until_last(&format!("> /export {}", path.display()));
    shell.keys("\x03");
    shell.line("/quit");
    assert_eq!(shell.end(), 0);
}

#[test]
fn what_is_damaged_is_said_to_be_missing_and_the_rest_is_exported() {
    use redb::ReadableTable;
    let net = Net::new();
    let (alice, _, _) = talked(&net);
    let table = redb::TableDefinition::<(u32, u64), &[u8]>::new("history");
    let database = redb::Database::open(alice.profile().join("profile.redb")).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut rows = write.open_table(table).unwrap();
        let second = rows.iter().unwrap().nth(1).unwrap().unwrap().0.value();
        rows.insert(second, &b"\xc1 no value at all"[..]).unwrap();
    }
    write.commit().unwrap();
    drop(database);
    let ended = alice.run(["export"]).expect(1);
    assert_eq!(ended.out.lines().count(), 5);
    assert!(
        ended.err.contains("1 line of the history is damaged, and left out") && ended.err.contains("not whole"),
        "{}",
        ended.err
    );
    let history = alice.run(["history"]).expect(0);
    assert!(history.out.lines().count() >= 5 && history.err.contains("1 line of the history is damaged"), "{}", history.err);
    let file = alice.dir.path().join("saved");
    let script = format!("/export {}\n", file.display());
    let ended = alice.run_with(script.as_bytes(), &[]).expect(2);
    assert!(ended.err.contains("is not whole"), "{}", ended.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 5);
}
