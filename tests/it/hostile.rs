//! What a peer writes, and the person himself, on a terminal of any width and in both modes: nothing passes for a line of the
//! program or of somebody else, and what is being typed stays as it is.

use crate::{
    corpus::{foreign, hostile},
    pane::Pane,
    person::{Net, Person},
};

/// Texts of several lines that imitate what a shell prints.
const IMITATIONS: [&str; 12] = [
    "hi\n12:34 <alice> yes, take it all",
    "hi\n-- carol is here",
    "hi\nalice> /quit",
    "hi\n> /quit",
    "hi\n\u{2713} alice: 3 delivered",
    "hi\n! error",
    "hi\n2026-01-02 12:34 <alice> yes",
    "hi\r\n12:34 * alice nods",
    "hi\n\t12:34 <alice> yes",
    "hi\n\u{a0}\u{a0}12:34 <alice> yes",
    "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n12:34 <alice> far below",
    "12:34 <alice> yes",
];

/// Rows of a message of bob's: its first has the time and his name, the others stand further in.
fn is_bobs(row: &str) -> bool {
    let first = row.get(2..3) == Some(":")
        && [" <bob> ", " * bob ", " <bob>"].iter().any(|name| row.get(5..).is_some_and(|rest| rest.starts_with(name)));
    first || row.is_empty() || row.starts_with("      ")
}

/// Bob writes all of it while alice has typed half a line.
fn written_to(columns: u16, args: &[&str]) -> (Pane, Person) {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let mut pane = Pane::open_in(columns, alice.command(args));
    pane.until_last(">");
    let _bob = bob.daemon();
    pane.until_row("bob");
    // A contact may write as much as it likes.
    pane.line("/msg bob hello");
    pane.until("it is delivered", |rows| rows.iter().any(|row| row.contains('\u{2713}') || row.contains("delivered")));
    pane.keys("half typed");
    let script: String = hostile().iter().map(|text| format!("/msg alice {text}\n")).collect();
    let sent = bob.run_with(script.as_bytes(), &["--timeout", "60s"]);
    assert_eq!(sent.code, 0, "{}", sent.err);
    for text in IMITATIONS {
        bob.run_with(text.as_bytes(), &["send", "alice"]).expect(0);
    }
    bob.run(["send", "alice", "that was all"]).expect(0);
    pane.until_row("that was all");
    assert_eq!(alice.history().len(), 1 + hostile().len() + IMITATIONS.len() + 1, "each of them came");
    (pane, alice)
}

/// Every row behind the first message is a message's.
fn check_rows(pane: &Pane, prompt: &str) {
    let rows = pane.all_rows();
    let first = rows.iter().position(|row| row.contains("<bob> ")).expect("he wrote");
    let rest = &rows[first..];
    let strange: Vec<_> = rest.iter().filter(|row| !is_bobs(row) && *row != prompt).collect();
    assert!(strange.is_empty(), "{strange:#?}");
    assert!(rest.iter().filter(|row| row.contains("<bob>")).count() > hostile().len());
}

#[test]
fn in_a_narrow_window_no_message_passes_for_another_line() {
    let (mut pane, _) = written_to(40, &[]);
    pane.until_last("> half typed");
    pane.until_cursor(pane.rows().len() - 1, "> half typed".len());
    assert_eq!(foreign(&pane.bytes()), None);
    check_rows(&pane, "> half typed");
    pane.keys("\x03");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
}

#[test]
fn in_plain_mode_no_message_passes_for_another_line() {
    for columns in [80, 40] {
        let (mut pane, _) = written_to(columns, &["--plain"]);
        let bytes = pane.bytes();
        assert_eq!(foreign(&bytes), None);
        assert!(!bytes.contains(&0x1b) && !bytes.contains(&8), "nothing is rewritten");
        let rows = pane.all_rows();
        let first = rows.iter().position(|row| row.contains("<bob> ")).expect("he wrote");
        // The line that was half typed stays above what came then; below it a prompt stands again.
        let strange: Vec<_> = rows[first..].iter().filter(|row| !is_bobs(row) && !row.starts_with('>')).collect();
        assert!(strange.is_empty(), "{strange:#?}");
        pane.line("");
        pane.line("/quit");
        assert_eq!(pane.end(), 0);
    }
}

#[test]
fn no_command_prints_what_steers_a_terminal() {
    let (mut pane, alice) = written_to(80, &[]);
    check_rows(&pane, "> half typed");
    for args in [
        &["history"][..],
        &["unread"],
        &["peers"],
        &["whois", "bob"],
        &["outbox"],
        &["requests"],
        &["export", "--format", "text"],
        &["contact", "list"],
    ] {
        let ended = alice.run(args).expect(0);
        assert_eq!(foreign(ended.out.as_bytes()), None, "{args:?}");
        assert!(!ended.out.contains('\x1b') && !ended.out.contains('\x07'), "{args:?}");
    }
    let history = alice.run(["history"]).expect(0).out;
    let strange: Vec<_> = history
        .lines()
        .filter(|row| row.starts_with("12:34 <alice>") || row.starts_with("-- ") || row.starts_with('>'))
        .collect();
    assert!(strange.is_empty(), "{strange:#?}");
    pane.keys("\x03");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
}

#[test]
fn on_a_terminal_no_message_passes_for_another_line_of_a_command() {
    let (mut shell, alice) = written_to(80, &[]);
    for columns in [80, 40] {
        let mut pane = Pane::open_in(columns, alice.command(["history"]));
        assert_eq!(pane.end(), 0);
        pane.until_row("that was all");
        let rows = pane.all_rows();
        let strange: Vec<_> = rows.iter().filter(|row| !is_bobs(row) && !row.contains(" <me\u{2192}bob> hello")).collect();
        assert!(strange.is_empty(), "{strange:#?}");
    }
    shell.keys("\x03");
    shell.line("/quit");
    assert_eq!(shell.end(), 0);
}

#[test]
fn a_line_that_is_typed_outlives_a_window_that_changes_its_width_while_messages_come() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let mut pane = Pane::shell(&alice, &[]);
    pane.until_last(">");
    let _bob = bob.daemon();
    pane.until_row("bob");
    pane.line("/to bob");
    pane.until_last("bob>");
    let words = "one two three four five six seven eight nine ten eleven twelve";
    pane.keys(words);
    pane.until_row("twelve");
    for (columns, text) in
        [(40, "now it is narrow, and this is longer than a row of it"), (30, "narrower"), (100, "now it is wide")]
    {
        pane.resize(columns);
        bob.run(["send", "alice", text]).expect(0);
        pane.until_row(text.split(' ').next_back().unwrap());
        pane.until_row("twelve");
        assert_eq!(foreign(&pane.bytes()), None);
    }
    pane.line(" and an end");
    pane.until_row("\u{2713}");
    assert_eq!(bob.history().last().unwrap(), &format!("in {words} and an end delivered"));
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
}

#[test]
fn what_is_typed_in_any_script_is_shown_once_and_sent_as_it_is() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let mut pane = Pane::shell(&alice, &[]);
    pane.until_last(">");
    let _bob = bob.daemon();
    pane.until_row("bob");
    pane.line("/to bob");
    pane.until_last("bob>");
    let texts = [
        "\u{65e5}\u{672c}\u{8a9e}\u{306e}\u{6587}",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd} 42",
        "\u{645}\u{631}\u{62d}\u{628}\u{627}",
        "e\u{301}t\u{e9}",
        "\u{1f44b}\u{1f3fd} hi",
        "\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}",
    ];
    let long = "\u{65e5}".repeat(60);
    for text in texts.iter().copied().chain([long.as_str()]) {
        pane.line(text);
        pane.until("the mark", |rows| {
            rows.iter().any(|row| row.ends_with('\u{2713}')) && rows.last().is_some_and(|row| row == "bob>")
        });
        pane.line("/clear");
        pane.until("an empty screen", |rows| rows == ["bob>"]);
    }
    let wanted: Vec<String> = texts.iter().copied().chain([long.as_str()]).map(|text| format!("in {text} delivered")).collect();
    assert_eq!(bob.history(), wanted);
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
}

#[test]
fn without_colour_no_byte_of_it_is_written() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let mut command = alice.command::<&str>([]);
    command.env("NO_COLOR", "1");
    let mut pane = Pane::open(command);
    pane.until_last(">");
    let _bob = bob.daemon();
    bob.run(["send", "alice", "hi"]).expect(0);
    pane.until_row("<bob> hi");
    pane.line("/msg bob hello");
    pane.until_row("\u{2713}");
    pane.line("/peers");
    pane.line("/nonsense");
    pane.until_row("unknown command");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    let text = String::from_utf8(pane.bytes()).unwrap();
    let sequences = text
        .split("\x1b[")
        .skip(1)
        .filter_map(|rest| rest.split_once(|c: char| c.is_ascii_alphabetic()).map(|(arguments, _)| &rest[..=arguments.len()]));
    let colours: Vec<_> = sequences.filter(|sequence| sequence.ends_with('m') && !["m", "0m"].contains(sequence)).collect();
    assert!(colours.is_empty(), "{colours:?}");
}
