//! `docs/control.schema.json` against the program: what one says, the other does. A new call or event belongs into `src/control/call` or
//! `src/control/proto`, into `man/p2pchat-udp-control.7`, and into the schema: `call-NAME` or `event-NAME` in `$defs`, and twice in `request` or
//! `line` there. Then [`REQUESTS`] wants one of it, or [`every_line_is_as_the_schema_says`] one that it has seen.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    sync::LazyLock,
};

use jsonschema::Validator;
use p2pchat_udp::control::call::{Call, Request};
use serde_json::{Value, json};

use crate::{
    manual::{heads, page},
    person::{HANG, Net, Person},
    seed::Seed,
};

const ADDITION: &str = "see the first lines of tests/it/schema.rs for all the places of a new one";

fn schema() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/control.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The schema of lines or of requests alone.
fn validator(of: &str, strictly: bool) -> Validator {
    let mut schema = schema();
    schema.as_object_mut().unwrap().remove("anyOf");
    schema["$ref"] = format!("#/$defs/{of}").into();
    // Readers take keys that they do not know; we say none that is not in the schema.
    for (name, def) in schema["$defs"].as_object_mut().unwrap().iter_mut().filter(|_| strictly) {
        if name.starts_with("event-") {
            def["additionalProperties"] = false.into();
        }
    }
    jsonschema::draft202012::new(&schema).unwrap()
}

/// Fails, and says why, where this line of the program is not as the schema says.
#[track_caller]
fn check(line: &Value) {
    static LINES: LazyLock<Validator> = LazyLock::new(|| validator("line", true));
    let wrong: Vec<String> = LINES.iter_errors(line).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    assert!(wrong.is_empty(), "{line}\n{}\n{ADDITION}", wrong.join("\n"));
}

/// Names of the definitions that begin so.
fn defined(prefix: &str) -> BTreeSet<String> {
    schema()["$defs"].as_object().unwrap().keys().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()
}

/// Texts of an array.
fn texts(array: &Value) -> BTreeSet<String> {
    array.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_schema_has_every_call_event_and_code_of_the_manual_and_no_other() {
    let (schema, page) = (schema(), page("p2pchat-udp-control.7"));
    for (section, prefix, union, key) in [("CALLS", "call-", "request", "call"), ("EVENTS", "event-", "line", "event")] {
        let union = &schema["$defs"][union];
        assert_eq!(defined(prefix), heads(&page, section), "{ADDITION}");
        assert_eq!(texts(&union["properties"][key]["enum"]), defined(prefix), "{ADDITION}");
        let mut chosen = BTreeSet::new();
        for choice in union["allOf"].as_array().unwrap() {
            let name = choice["if"]["properties"][key]["const"].as_str().unwrap().to_owned();
            assert_eq!(choice["then"]["$ref"], format!("#/$defs/{prefix}{name}"));
            assert_eq!(schema["$defs"][format!("{prefix}{name}")]["properties"][key]["const"], name);
            chosen.insert(name);
        }
        assert_eq!(chosen, defined(prefix), "{ADDITION}");
    }
    assert_eq!(texts(&schema["$defs"]["notice-code"]["enum"]), heads(&page, "NOTICE CODES"));
    let table = page.split_once(".SH \"ERROR CODES\"").unwrap().1.split_once(".TE").unwrap().0;
    let codes = table.lines().filter_map(|line| line.strip_suffix("|T{")).filter_map(|row| row.split('|').next());
    assert_eq!(texts(&schema["$defs"]["error-code"]["enum"]), codes.map(str::to_owned).collect());
}

/// The owner itself says which keys it knows, to whoever writes one that it does not.
#[test]
fn each_call_has_exactly_the_keys_that_the_owner_takes() {
    let schema = schema();
    for name in Call::NAMES {
        let (_, error) = Request::parse(json!({"call": name, "no such key": 1}).to_string().as_bytes()).unwrap_err();
        let (_, expected) = error.text.split_once("unknown field `no such key`, ").unwrap_or_else(|| panic!("{error}"));
        let taken: BTreeSet<String> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let mut keys: BTreeSet<String> =
            schema["$defs"][format!("call-{name}")]["properties"].as_object().unwrap().keys().cloned().collect();
        assert!(keys.remove("call") && keys.remove("tag"), "{name}");
        assert_eq!(keys, taken, "{name}; {ADDITION}");
    }
}

const UUID: &str = "01a1fd12-6150-7a3b-92ec-1528678ed519";

/// Of each call one that has all keys, and one that has no more than it must; and what is wrong with some others.
fn requests() -> (Vec<Value>, Vec<Value>) {
    let id = Net::new().person("somebody").id();
    let line = json!({"id": UUID, "peer": id, "name": "bob", "direction": "in", "kind": "text", "text": "hi", "read": true, "state": "read",
        "sent_at": "2026-01-02T03:04:05.006Z", "received_at": "2026-01-02T03:04:05.006Z", "v": 1});
    let right = json!([
        {"call": "send", "peer": "bob", "text": "hi", "tag": {"any": [1]}},
        {"call": "send", "peer": ["bob", "carol"], "text": "hi", "kind": "action", "id": [UUID, UUID], "wait": "read", "timeout": "1.5s",
            "expire": 3},
        {"call": "peers"}, {"call": "peers", "wait": 1, "timeout": "500ms"},
        {"call": "whois", "peer": "bob"}, {"call": "whois", "peer": "bob", "timeout": 1, "unseen": true},
        {"call": "history"}, {"call": "history", "peer": "bob", "limit": 3, "since": "2h", "search": "a b*"},
        {"call": "outbox"}, {"call": "outbox", "cancel": "ed519"}, {"call": "outbox", "edit": "ed519", "text": "x"},
        {"call": "outbox", "retry": ""},
        {"call": "whoami"}, {"call": "status"}, {"call": "shutdown"}, {"call": "back"}, {"call": "doctor"},
        {"call": "subscribe"}, {"call": "subscribe", "after": UUID, "notices": true, "present": true},
        {"call": "watch"}, {"call": "watch", "peer": null}, {"call": "watch", "peer": id},
        {"call": "nick", "name": "bob"}, {"call": "away"}, {"call": "away", "text": "at lunch", "idle": true},
        {"call": "unread"}, {"call": "unread", "total": true},
        {"call": "mark-read", "peer": "bob"}, {"call": "mark-read", "peer": "bob", "id": UUID},
        {"call": "find", "words": "bo", "timeout": 1},
        {"call": "contact"}, {"call": "contact", "action": "receipts", "peer": "bob", "told": "on"},
        {"call": "contact", "action": "verify", "peer": "bob", "yes": true},
        {"call": "contact", "action": "add", "peer": "bob", "petname": "b"},
        {"call": "requests"}, {"call": "requests", "action": "accept", "peer": "bob"},
        {"call": "allow", "to": "contacts"}, {"call": "receipts", "on": false},
        {"call": "seed"}, {"call": "seed", "action": "lookup", "name": "bob", "seed": "a.example:1", "timeout": "2s"},
    ]);
    let further = json!([
        {"call": "config"}, {"call": "config", "key": "allow"}, {"call": "config", "key": "joins", "value": "off"},
        {"call": "back", "idle": true}, {"call": "backup", "file": "/tmp/backup"},
        {"call": "passwd"}, {"call": "passwd", "old": "a", "new": "b"},
        {"call": "export"}, {"call": "export", "peer": "bob", "after": 7},
        {"call": "import", "lines": []}, {"call": "import", "lines": [line]},
        {"call": "ping", "peer": "bob"}, {"call": "ping", "peer": "bob", "count": 3, "timeout": "1s"},
    ]);
    let wrong = json!([
        {}, {"call": "teleport"}, {"call": 1}, {"call": "send", "peer": "bob"}, {"call": "send", "text": "hi"},
        {"call": "send", "peer": 1, "text": "hi"}, {"call": "send", "peer": "bob", "text": "hi", "wait": "forever"},
        {"call": "send", "peer": "bob", "text": "hi", "timeout": "soon"}, {"call": "send", "peer": "bob", "text": "hi", "id": "7"},
        {"call": "send", "peer": "bob", "text": "hi", "kind": "song"}, {"call": "whoami", "teh": 1}, {"call": "history", "limit": -1},
        {"call": "watch", "peer": "bob"}, {"call": "allow", "to": "everybody"}, {"call": "receipts"}, {"call": "contact", "action": "eat"},
        {"call": "import", "lines": [{"id": UUID}]}, {"call": "ping", "peer": "bob", "count": "many"},
    ]);
    let list = |value: Value| value.as_array().unwrap().clone();
    ([list(right), list(further)].concat(), list(wrong))
}

#[test]
fn the_schema_takes_the_requests_that_the_owner_takes() {
    let schema = validator("request", false);
    let (right, wrong) = requests();
    for request in &right {
        let parsed = Request::parse(request.to_string().as_bytes());
        assert!(schema.is_valid(request) && parsed.is_ok(), "{request}: {:?}; {parsed:?}", schema.validate(request).err());
        // As our own client writes it.
        let written: Value = serde_json::from_str(&parsed.unwrap().to_json()).unwrap();
        assert!(schema.is_valid(&written), "{written}: {:?}", schema.validate(&written).err());
    }
    for request in &wrong {
        assert!(!schema.is_valid(request), "the schema takes {request}");
        assert!(Request::parse(request.to_string().as_bytes()).is_err(), "the owner takes {request}");
    }
    let asked: BTreeSet<String> = right.iter().map(|request| request["call"].as_str().unwrap().to_owned()).collect();
    assert_eq!(asked, Call::NAMES.map(str::to_owned).into(), "a request of each belongs into `requests`");
}

/// Asks at the socket; every line is checked, and its event noted.
struct Asked {
    stream: BufReader<UnixStream>,
    seen: BTreeSet<String>,
}

impl Asked {
    fn new(person: &Person) -> Self {
        let stream = UnixStream::connect(person.profile().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        let mut asked = Self { stream: BufReader::new(stream), seen: BTreeSet::new() };
        assert_eq!(asked.line()["event"], "ready");
        asked
    }

    fn see(&mut self, line: &Value) {
        check(line);
        self.seen.insert(line["event"].as_str().unwrap().to_owned());
    }

    #[track_caller]
    fn line(&mut self) -> Value {
        let mut text = String::new();
        self.stream.read_line(&mut text).unwrap();
        let line = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        self.see(&line);
        line
    }

    /// Asks, and gives all lines of the answer.
    #[track_caller]
    fn ask(&mut self, request: Value) -> Vec<Value> {
        let tag = json!({"of": request["call"]});
        let mut request = request;
        request["tag"] = tag.clone();
        writeln!(self.stream.get_mut(), "{request}").unwrap();
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            if line["tag"] != tag {
                continue;
            }
            lines.push(line);
            if matches!(lines.last().unwrap()["event"].as_str(), Some("done" | "error")) {
                return lines;
            }
        }
    }

    #[track_caller]
    fn until(&mut self, event: &str) {
        while !self.seen.contains(event) {
            self.line();
        }
    }
}

#[test]
fn every_line_is_as_the_schema_says() {
    let net = Net::new();
    let (alice, bob, carol) = (net.person("alice"), net.person("bob"), net.person("carol"));
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &["--relay"]);
    let via = seed.addr().to_string();
    // One seed that answers, and one that does not.
    alice.run(["config", "via", &format!("{via},127.0.0.1:9")]).expect(0);
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    let mut asked = Asked::new(&alice);
    writeln!(asked.stream.get_mut(), "{}", json!({"call": "subscribe", "present": true})).unwrap();
    bob.run(["send", "alice", "hi"]).expect(0);
    asked.until("message");
    for request in [
        json!({"call": "unread"}),
        json!({"call": "unread", "total": true}),
        json!({"call": "send", "peer": "bob", "text": "hello"}),
        json!({"call": "send", "peer": carol.id(), "text": "later", "wait": "queued"}),
        json!({"call": "mark-read", "peer": "bob"}),
        json!({"call": "peers"}),
        json!({"call": "whois", "peer": "bob"}),
        json!({"call": "history"}),
        json!({"call": "outbox"}),
        json!({"call": "whoami"}),
        json!({"call": "status"}),
        json!({"call": "contact"}),
        json!({"call": "contact", "action": "verify", "peer": "bob"}),
        json!({"call": "seed", "timeout": "1s"}),
        json!({"call": "find", "words": "bob"}),
        json!({"call": "export"}),
        json!({"call": "ping", "peer": "bob", "count": 2}),
        json!({"call": "doctor"}),
        json!({"call": "whois", "peer": "nobody"}),
        json!({"call": "teleport"}),
    ] {
        asked.ask(request);
    }
    let mut rows = asked.ask(json!({"call": "export", "peer": "bob"}));
    rows.retain(|row| row["event"] == "history");
    assert!(!rows.is_empty());
    asked.ask(json!({"call": "import", "lines": rows}));
    asked.ask(json!({"call": "allow", "to": "requests"}));
    let dave = net.person("dave");
    dave.run(["send", "alice", "may I?", "--timeout", "3s"]).expect(5);
    asked.until("request");
    asked.ask(json!({"call": "requests"}));
    asked.until("notice");
    // What commands print, and a seed.
    for args in
        [&["config", "--json"][..], &["whoami", "--json"], &["export"], &["status", "--json"], &["send", "nobody", "x", "--json"]]
    {
        for line in alice.run(args).lines() {
            asked.see(&line);
        }
    }
    check(&seed.ready);
    assert_eq!(asked.seen, defined("event-"), "each must be seen here; {ADDITION}");
}

#[test]
fn a_line_that_is_not_as_the_schema_says_is_noticed() {
    let right = json!({"event": "status", "id": UUID, "to": Net::new().person("a").id(), "state": "sent", "at": "2026-01-02T03:04:05.006Z",
        "reason": null});
    check(&right);
    let lines = validator("line", true);
    for (key, value) in
        [("state", json!("gone")), ("at", json!("yesterday")), ("to", json!("bob")), ("id", json!(7)), ("colour", json!("red"))]
    {
        let mut wrong = right.clone();
        wrong[key] = value;
        assert!(!lines.is_valid(&wrong), "{wrong}");
    }
    let mut missing = right.clone();
    missing.as_object_mut().unwrap().remove("reason");
    assert!(!lines.is_valid(&missing) && !lines.is_valid(&json!({"event": "hologram"})));
    let mut later = right;
    later["colour"] = "red".into();
    assert!(validator("line", false).is_valid(&later), "readers take keys that they do not know");
}
