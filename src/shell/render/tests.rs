//! What the screen shows, to the character.

use super::*;
use crate::{
    control::proto::{PathKind, PeerLine, Presence, Time, Trust},
    id::{MessageId, PeerId},
};

/// 2026-01-02 03:04:05 UTC.
const NOW: Unix = Unix(1_767_323_045_000);
const MINUTE: u64 = 60_000;

fn look(glyphs: Glyphs) -> Look {
    Look { color: false, glyphs, columns: Some(80), zone: TimeZone::UTC }
}

fn id() -> PeerId {
    let mut bytes = [0x66; 32];
    bytes[0] = 0x58;
    PeerId::from_bytes(bytes).unwrap()
}

fn message(text: &str) -> MessageLine {
    MessageLine {
        id: MessageId::from_bytes([0; 16]),
        from: id(),
        name: "bob".into(),
        kind: Kind(CONTENT_TEXT),
        text: text.into(),
        sent_at: Time(NOW),
        received_at: Time(NOW),
        late: false,
    }
}

fn shown(line: &MessageLine, look: &Look) -> String {
    look.message(line, &Shown::line("bob"), NOW)
}

fn peer(presence: Presence) -> PeerLine {
    PeerLine {
        id: id(),
        name: "bob".into(),
        petname: None,
        presence,
        path: PathKind::Lan,
        addr: Some("192.0.2.9:17118".parse().unwrap()),
        last_heard: Some(Time(Unix(NOW.0 - 5 * MINUTE))),
        trust: Trust::Seen,
        contact: true,
        away: None,
        rtt_ms: None,
        already: false,
        age_s: None,
        listed: None,
    }
}

#[test]
fn a_message_is_time_name_text() {
    assert_eq!(shown(&message("hi"), &look(Glyphs::Unicode)), "03:04 <bob> hi");
    let action = MessageLine { kind: Kind(CONTENT_ACTION), ..message("waves") };
    assert_eq!(shown(&action, &look(Glyphs::Unicode)), "03:04 * bob waves");
    let later = MessageLine { kind: Kind(9), ..message("") };
    assert_eq!(shown(&later, &look(Glyphs::Unicode)), "03:04 <bob> a message of a kind this version does not know");
    let yesterday = MessageLine { sent_at: Time(Unix(NOW.0 - 10 * 60 * MINUTE)), ..message("hi") };
    assert_eq!(shown(&yesterday, &look(Glyphs::Unicode)), "2026-01-01 17:04 <bob> hi");
}

#[test]
fn a_late_message_shows_both_times() {
    let late = MessageLine { sent_at: Time(Unix(NOW.0 - 62 * MINUTE)), late: true, ..message("hi") };
    assert_eq!(shown(&late, &look(Glyphs::Unicode)), "02:02→03:04 <bob> hi");
    assert_eq!(shown(&late, &look(Glyphs::Ascii)), "02:02->03:04 <bob> hi");
    assert_eq!(shown(&late, &look(Glyphs::Words)), "02:02 (came 03:04) <bob> hi");
    let older = MessageLine { sent_at: Time(Unix(NOW.0 - 10 * 60 * MINUTE)), late: true, ..message("hi") };
    assert_eq!(shown(&older, &look(Glyphs::Unicode)), "2026-01-01 17:04→03:04 <bob> hi");
}

#[test]
fn rows_of_a_peers_text_never_begin_where_ours_do() {
    let spoof = format!("{}\n03:04 <alice> I owe you", "x".repeat(100));
    for columns in [Some(80), Some(40), None] {
        let text = shown(&message(&spoof), &Look { columns, ..look(Glyphs::Unicode) });
        for row in text.lines().skip(1) {
            assert!(row.starts_with("      "), "{row:?}");
        }
    }
    let blanks = format!("a{}03:04 <alice> I owe you", "\u{a0}".repeat(67));
    let text = shown(&message(&blanks), &look(Glyphs::Unicode));
    assert!(text.lines().skip(1).all(|row| row.starts_with("      ")), "{text:?}");
    assert!(text.lines().all(|row| row.width() <= 80), "{text:?}");
}

#[test]
fn long_lines_are_folded_at_words() {
    let text = shown(&message(&"word ".repeat(30)), &Look { columns: Some(40), ..look(Glyphs::Unicode) });
    assert_eq!(text.lines().next(), Some("03:04 <bob> word word word word word"));
    assert!(text.lines().all(|row| row.width() <= 40), "{text}");
    let address = format!("see https://example.org/{}", "a".repeat(100));
    let text = shown(&message(&address), &look(Glyphs::Unicode));
    assert!(text.contains(&"a".repeat(100)), "an address stays in one piece");
}

#[test]
fn a_very_long_message_is_cut_and_says_so() {
    let text = shown(&message(&"é".repeat(500_000)), &look(Glyphs::Unicode));
    assert!(text.len() < 40_000);
    assert!(text.ends_with("[1000000 bytes in all: p2pchat-udp history has the rest]"));
    let text = shown(&message(&"x\n".repeat(1_000)), &look(Glyphs::Unicode));
    assert_eq!(text.lines().count(), SHOWN_LINES_MAX + 1);
}

#[test]
fn our_own_line_carries_its_mark() {
    let me = Shown::line("alice");
    let bob = Shown::line("bob");
    let own = Own { me: &me, to: None, at: NOW, kind: Kind(CONTENT_TEXT), text: "hi", state: State::Delivered };
    assert_eq!(look(Glyphs::Unicode).own(&own, NOW), "03:04 <alice> hi ✓");
    assert_eq!(look(Glyphs::Ascii).own(&Own { to: Some(&bob), ..own }, NOW), "03:04 <alice->bob> hi +");
    assert_eq!(look(Glyphs::Words).own(&own, NOW), "03:04 <alice> hi (delivered)");
    let marks: Vec<&str> = [State::Queued, State::Sent, State::Delivered, State::Read, State::Failed]
        .map(|state| look(Glyphs::Unicode).mark(state))
        .to_vec();
    assert_eq!(marks, ["…", "›", "✓", "✓✓", "!"]);
    assert_eq!(look(Glyphs::Words).own_plain(&own, &bob, NOW), "03:04 delivered to bob: hi");
}

#[test]
fn a_later_change_is_one_short_line() {
    let bob = Shown::line("bob");
    let look = look(Glyphs::Unicode);
    assert_eq!(
        look.summary(&bob, State::Delivered, 3, Some("see you at eight, at the usual place"), None),
        "✓ bob: 3 delivered, last \"see you at eight, at th…\""
    );
    assert_eq!(look.summary(&bob, State::Delivered, 1, Some("hi"), None), "✓ bob: 1 delivered, \"hi\"");
    assert_eq!(look.summary(&bob, State::Failed, 1, None, Some(reason("refused"))), "! bob: 1 failed: refused there");
}

#[test]
fn tables_fit_80_columns() {
    let named = PeerLine { name: "x".repeat(64), presence: Presence::Offline, ..peer(Presence::Offline) };
    let here = peer(Presence::Online);
    let v6 = PeerLine { addr: Some("[fe80::1234:5678:9abc:def0%2]:17118".parse().unwrap()), ..peer(Presence::Online) };
    let rows = [(Shown::line("bob"), &here), (Shown::line(&named.name), &named), (Shown::line("bob"), &v6)];
    let text = look(Glyphs::Unicode).peers(&rows, NOW);
    assert_eq!(text.lines().count(), 3);
    assert!(text.lines().all(|row| row.width() <= 80), "{text}");
    assert!(text.contains("here") && text.contains("last heard 02:59"), "{text}");
    assert_eq!(look(Glyphs::Unicode).peers(&[], NOW), "-- nobody known yet");
    assert!(look(Glyphs::Unicode).help().lines().all(|row| row.width() <= 80));
    assert!(look(Glyphs::Unicode).help().lines().count() <= 23, "on a screen of 24 rows");
    for topic in crate::shell::topics::TOPICS {
        let text = look(Glyphs::Unicode).help_on(topic);
        assert!(text.lines().all(|row| row.width() <= 80) && text.lines().count() <= 23, "{text}");
    }
}

#[test]
fn colour_is_only_where_it_is_wanted_and_always_ends() {
    let colored = shown(&message("hi"), &Look { color: true, ..look(Glyphs::Unicode) });
    assert!(colored.contains("\x1b[1;36mbob\x1b[0m"), "{colored:?}");
    assert!(!shown(&message("hi\x1b[31m"), &look(Glyphs::Unicode)).contains('\x1b'));
}

#[test]
fn a_prompt_is_short() {
    assert_eq!(prompt(None), "> ");
    assert_eq!(prompt(Some(&Shown::line("bob"))), "bob> ");
    assert!(prompt(Some(&Shown::line(&"x".repeat(64)))).width() <= NAME_COLUMNS_MAX + 2);
}

#[test]
fn joined_emoji_are_folded_as_if_no_terminal_joined_them() {
    let family = "👨\u{200d}".repeat(60);
    let text = shown(&message(&format!("{family} 12:34 <alice> yes")), &Look { columns: Some(40), ..look(Glyphs::Unicode) });
    for row in text.lines() {
        let columns: usize = row.chars().map(|c| UnicodeWidthChar::width(c).unwrap_or(0)).sum();
        assert!(columns <= 40, "{columns}: {row}");
    }
    assert!(text.lines().skip(1).all(|row| row.starts_with("      ")), "{text}");
}

#[test]
fn hearts_keycaps_and_what_begins_like_an_address_are_folded_by_us() {
    for columns in [80, 40, 20] {
        let look = Look { columns: Some(columns), ..look(Glyphs::Unicode) };
        for text in ["\u{2764}\u{fe0f}".repeat(90), "1\u{fe0f}".repeat(90), format!("http{}", ">".repeat(200)), "x ".repeat(60)] {
            let rows = shown(&message(&format!("{text}12:34 <alice> yes")), &look);
            for row in rows.lines() {
                let selectors = row.chars().filter(|c| *c == '\u{fe0f}').count();
                let wide: usize = row.chars().map(|c| UnicodeWidthChar::width(c).unwrap_or(0)).sum();
                assert!(wide + selectors <= columns, "{columns}: {row}");
            }
            assert!(rows.lines().skip(1).all(|row| row.starts_with("      ")), "{rows}");
        }
    }
}
