//! `/find`, `/add` and `/seeds`.

use super::*;
use crate::control::proto::{ContactLine, SeedLine, SeedState};

/// Somebody as a seed tells of him.
fn claim(n: u8, name: &str) -> PeerLine {
    PeerLine {
        path: PathKind::None,
        addr: Some("203.0.113.5:17118".parse().unwrap()),
        last_heard: None,
        trust: Trust::Unknown,
        contact: false,
        age_s: Some(7),
        listed: Some(true),
        ..peer(n, name, Presence::Unknown)
    }
}

fn seed(addr: &str, state: SeedState) -> SeedLine {
    let is_ok = state == SeedState::Ok;
    SeedLine {
        addr: addr.into(),
        state,
        version: is_ok.then(|| "p2pchat-udp/0.1.0".into()),
        uptime_s: is_ok.then_some(7_200),
        records: is_ok.then_some(12),
        load: is_ok.then_some(0.1),
        name: None,
        fellows: Vec::new(),
        relay: None,
        registered: is_ok,
        reason: (!is_ok).then(|| "no answer\x1b[2J".into()),
    }
}

#[test]
fn a_claim_of_a_seed_changes_nobodys_name_here() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.line("/find bob");
    let call = desk.answer(vec![Line::Peer(peer(2, "bob", Presence::Online)), Line::Peer(claim(3, "bob"))]);
    assert!(matches!(call, Call::Find(find) if find.words == "bob"));
    let rows: Vec<&str> = desk.printed[0].lines().collect();
    assert!(rows[0].starts_with("bob  ") && rows[0].contains("here"), "{rows:?}");
    assert!(
        rows[1].starts_with("bob  ") && rows[1].contains("unknown") && rows[1].contains("at a seed, heard there 7 s ago"),
        "{rows:?}"
    );
    assert!(rows[1].contains(&peer_id(3).short()), "{rows:?}");
    desk.to(peer(2, "bob", Presence::Online));
    assert_eq!(desk.prompt, "bob> ", "nobody else is called so here");
}

#[test]
fn nobody_found_is_the_error_of_the_owner() {
    let mut desk = Desk::started(Mode::Script, Vec::new());
    desk.line("/find bob");
    assert!(!desk.chat.is_settled(), "a script waits for the answer");
    desk.refuse(ErrorLine::new("not-found", 9, "not found: bob (LAN; 1 of 3 seeds answered)"));
    assert_eq!(desk.failed[0].exit, 9);
    assert!(desk.printed.is_empty());
}

#[test]
fn who_is_added_is_called_by_his_petname() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.line("/add p2pchat:x?name=bob my bob");
    let line = ContactLine {
        id: peer_id(2),
        petname: Some("my bob".into()),
        name: "bob".into(),
        trust: Trust::Seen,
        since: Time(Unix(TEN)),
        receipts: crate::control::call::Told::Default,
        words: None,
    };
    let Call::Contact(call) = desk.answer(vec![Line::Contact(line)]) else { panic!("another call") };
    assert_eq!((call.peer.as_deref(), call.petname.as_deref()), (Some("p2pchat:x?name=bob"), Some("my bob")));
    assert!(desk.printed[0].starts_with("-- my bob is a contact now, id "), "{:?}", desk.printed);
    assert!(desk.chat.names().contains(&("my bob".to_owned(), peer_id(2))), "TAB writes it so");
    desk.wait(1_000);
    assert_eq!(desk.printed.len(), 1, "he is still here: {:?}", desk.printed);
}

#[test]
fn seeds_are_listed_before_the_error_that_one_cannot_be_used() {
    let mut desk = Desk::started(Mode::Edited, Vec::new());
    desk.line("/seeds");
    let (tag, call) = desk.calls.pop_front().unwrap();
    assert!(matches!(call, Call::Seed(_)));
    for line in [seed("seed.example:17118", SeedState::Ok), seed("b:1", SeedState::Unreachable)] {
        desk.chat.handle_answer(desk.now(), tag, Some(Ok(Line::Seed(line))));
    }
    let error = ErrorLine::new("seed-unusable", 9, "b:1 is unreachable");
    desk.chat.handle_answer(desk.now(), tag, Some(Err(CallError::Refused(error))));
    desk.drain();
    let rows: Vec<&str> = desk.printed[0].lines().collect();
    assert_eq!(rows[0], "seed.example:17118  ok             you are there; up 2 h, 12 records");
    assert!(rows[1].starts_with("b:1                 unreachable    you are not there; no answer"), "{rows:?}");
    assert!(!rows[1].contains('\x1b'), "{rows:?}");
    assert_eq!(desk.failed.len(), 1);
}
