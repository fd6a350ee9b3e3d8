//! Every line of the protocol against the manual.

use super::*;
use crate::control::call::{SPAN_MAX, SpanError};

/// Lines exactly as the manual prints them: the names and their order are the interface.
const LINES: &[&str] = &[
    r#"{"event":"ready","id":"ID","name":"alice","port":17118,"addrs":["192.0.2.7:17118"],"version":"0.1.0","control":1}"#,
    r#"{"event":"message","id":"UUID","from":"ID","name":"bob","kind":"text","text":"hi","sent_at":"2026-01-02T03:04:05.006Z","received_at":"2026-01-02T03:04:05.006Z","late":false}"#,
    r#"{"event":"status","id":"UUID","to":"ID","state":"delivered","at":"2026-01-02T03:04:05.006Z","reason":null}"#,
    r#"{"event":"history","id":"UUID","peer":"ID","name":"bob","direction":"in","kind":"text","text":"hi","sent_at":"2026-01-02T03:04:05.006Z","received_at":"2026-01-02T03:04:05.006Z","state":"delivered","read":true}"#,
    r#"{"event":"outbox","id":"UUID","to":"ID","name":"bob","state":"queued","reason":"offline","age_ms":1200,"next_try_at":null,"expires_at":null,"len":2}"#,
    r#"{"event":"whoami","id":"ID","name":"alice","link":"p2pchat:x","addrs":[],"port":17118,"seeds":[],"encrypted":false,"version":"0.1.0","owner_pid":123}"#,
    r#"{"event":"contact","id":"ID","petname":"my bob","name":"bob","trust":"verified","since":"2026-01-02T03:04:05.006Z","receipts":"default"}"#,
    r#"{"event":"seed","addr":"seed.example:17118","state":"ok","version":"p2pchat-udp/0.1.0","uptime_s":1,"records":0,"load":0.1,"name":null,"fellows":["192.0.2.9:17118"],"relay":null,"registered":true,"reason":null}"#,
    r#"{"event":"seed","addr":"seed.example:17118","state":"ok","version":"p2pchat-udp/0.1.0","uptime_s":1,"records":0,"load":0.1,"name":null,"fellows":[],"relay":{"rate_max":1048576,"channels":1,"bytes":70000},"registered":true,"reason":null}"#,
    r#"{"event":"notice","code":"other-version","text":"…","peer":null}"#,
    r#"{"event":"error","code":"no-such-peer","exit":3,"text":"…"}"#,
    r#"{"event":"done"}"#,
];

fn filled(line: &str) -> String {
    line.replace("UUID", "0198c0de-0000-7000-8000-000000000001").replace("ID", &base_point())
}

/// The Ed25519 base point as an id.
fn base_point() -> String {
    let mut bytes = [0x66; 32];
    bytes[0] = 0x58;
    PeerId::from_bytes(bytes).unwrap().to_string()
}

#[test]
fn every_line_reads_and_writes_as_the_manual_prints_it() {
    for line in LINES {
        let line = filled(line);
        let value: Line = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(value.to_json(), line);
    }
}

#[test]
fn a_peer_line_has_the_keys_of_the_manual_first() {
    let line = filled(
        r#"{"event":"peer","id":"ID","name":"bob","petname":null,"presence":"online","path":"lan","addr":"192.0.2.9:17118","last_heard":"2026-01-02T03:04:05.006Z","trust":"seen"}"#,
    );
    let value: Line = serde_json::from_str(&line).unwrap();
    let again = value.to_json();
    assert!(again.starts_with(line.trim_end_matches('}')), "{again}");
}

#[test]
fn a_tag_comes_back_as_it_was_and_unknown_things_are_skipped() {
    let tagged: Tagged = serde_json::from_str(r#"{"event":"done","tag":"a7"}"#).unwrap();
    assert_eq!(tagged, Tagged { line: Line::Done, tag: Some("a7".into()) });
    assert_eq!(serde_json::to_string(&tagged).unwrap(), r#"{"event":"done","tag":"a7"}"#);
    let later: Tagged = serde_json::from_str(r#"{"event":"hologram","tag":3,"size":9}"#).unwrap();
    assert_eq!(later, Tagged { line: Line::Unknown, tag: Some(3.into()) });
    let more: Line = serde_json::from_str(r#"{"event":"error","code":"x","exit":3,"text":"t","colour":"red"}"#).unwrap();
    assert_eq!(more, Line::Error(ErrorLine::new("x", 3, "t")));
}

#[test]
fn times_have_milliseconds_and_are_in_utc() {
    assert_eq!(Time(Unix(0)).to_string(), "1970-01-01T00:00:00.000Z");
    assert_eq!(Time(Unix(1_767_323_045_006)).to_string(), "2026-01-02T03:04:05.006Z");
    assert_eq!("2026-01-02T04:04:05.006+01:00".parse::<Time>().unwrap(), Time(Unix(1_767_323_045_006)));
    let _ = Time(Unix(u64::MAX)).to_string();
}

#[test]
fn requests_are_read_with_one_peer_or_many() {
    let request = Request::parse(br#"{"call":"send","peer":"bob","text":"hi","tag":7}"#).unwrap();
    assert_eq!(request, Request { call: Call::Send(super::super::call::Send::new("bob", "hi")), tag: Some(7.into()) });
    let Request { call: Call::Send(send), .. } =
        Request::parse(br#"{"call":"send","peer":["a","b"],"text":"x","wait":"queued","timeout":2}"#).unwrap()
    else {
        panic!("a send was read as something else")
    };
    assert_eq!(send.peer, ["a", "b"]);
    assert_eq!(send.timeout, Some(Span(std::time::Duration::from_secs(2))));
    for call in [Call::WHOAMI, Call::STATUS, Call::SHUTDOWN, Call::DOCTOR, Call::Peers(Default::default())] {
        let request = Request { call, tag: Some(1.into()) };
        assert_eq!(Request::parse(request.to_json().as_bytes()).unwrap(), request);
    }
}

#[test]
fn a_wrong_request_is_named_and_keeps_its_tag() {
    let error = |line: &str| Request::parse(line.as_bytes()).unwrap_err();
    let (tag, unknown) = error(r#"{"call":"teleport","tag":1}"#);
    assert_eq!((tag, unknown.exit), (Some(1.into()), 8));
    let (_, key) = error(r#"{"call":"whoami","teh":1}"#);
    assert_eq!(key.exit, 2);
    assert!(key.text.contains("teh"), "{}", key.text);
    assert_eq!(error("[]").1.exit, 2);
    assert_eq!(error("{}").1.code, "malformed");
    assert_eq!(error(r#"{"call":"send","peer":"bob"}"#).1.exit, 2);
}

#[test]
fn every_call_has_its_name_in_the_list() {
    for name in Call::NAMES {
        let (_, error) = Request::parse(format!(r#"{{"call":"{name}","no such key":1}}"#).as_bytes()).unwrap_err();
        assert_eq!(error.code, "bad-request", "{name}: {error}");
    }
}

#[test]
fn spans_are_read_as_people_write_them() {
    let ms = |text: &str| text.parse::<Span>().map(|s| s.0.as_millis());
    assert_eq!(ms("500ms"), Ok(500));
    assert_eq!(ms("30"), Ok(30_000));
    assert_eq!(ms("1.5s"), Ok(1_500));
    assert_eq!(ms("2h"), Ok(7_200_000));
    assert_eq!(ms("3d"), Ok(259_200_000));
    for bad in ["", "s", "-1s", "5 s", "1w", "inf", "nan"] {
        assert_eq!(ms(bad), Err(SpanError::NotASpan), "{bad}");
    }
}

#[test]
fn a_span_longer_than_any_clock_is_refused() {
    let longest: Span = "36525d".parse().unwrap();
    assert_eq!(longest, Span(SPAN_MAX));
    let _ = (tokio::time::Instant::now() + longest.0, std::time::Instant::now() + longest.0);
    for long in ["36526d", "10000000000000000000s", "99999999999999999999999d", &"9".repeat(400)] {
        assert_eq!(long.parse::<Span>(), Err(SpanError::TooLong), "{long}");
    }
    for timeout in [r#""10000000000000000000s""#, "10000000000000000000"] {
        let line = format!(r#"{{"call":"send","peer":"bob","text":"hi","timeout":{timeout},"tag":7}}"#);
        let (tag, error) = Request::parse(line.as_bytes()).unwrap_err();
        assert_eq!((tag, error.exit), (Some(7.into()), 2));
        assert!(error.text.contains("100 years"), "{error}");
    }
}
