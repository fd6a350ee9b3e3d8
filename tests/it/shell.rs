//! The shell as a person sees it: the real binary on a pseudo-terminal, two people on one machine.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    pane::Pane,
    person::{Net, Person},
};

/// Rows without the time at their beginning.
fn timeless(rows: &[String]) -> Vec<String> {
    let is_time = |row: &str| row.get(..6).is_some_and(|time| time.as_bytes()[2] == b':' && time.ends_with(' '));
    rows.iter().map(|row| if is_time(row) { format!("HH:MM {}", &row[6..]) } else { row.clone() }).collect()
}

struct Two {
    alice: Pane,
    bob: Pane,
    people: [Person; 2],
}

/// Alice and Bob, each in a shell, each seeing the other.
fn two(args: &[&str]) -> Two {
    let net = Net::new();
    let people = [net.person("alice"), net.person("bob")];
    let alice = Pane::shell(&people[0], args);
    let bob = Pane::shell(&people[1], args);
    for (pane, other) in [(&alice, "bob"), (&bob, "alice")] {
        pane.until(&format!("{other} is seen"), |rows| {
            let seen = |row: &String| row.contains(&format!("Here: {other}")) || row.contains(&format!("{other} is here"));
            rows.iter().any(seen) && rows.last().is_some_and(|row| row.starts_with('>'))
        });
    }
    Two { alice, bob, people }
}

#[test]
fn a_first_run_alone_says_who_i_am_that_nobody_is_here_and_what_to_do() {
    let net = Net::new();
    let alice = net.person("alice");
    let mut pane = Pane::shell(&alice, &[]);
    pane.until_row("p2pchat-udp demo");
    let rows = pane.until_last(">");
    assert!(rows[0].starts_with("-- You are alice, id "), "{rows:#?}");
    assert!(rows[1].starts_with("-- Nobody here yet."));
    assert!(rows[2].contains("/to NAME") && rows[2].contains("/help"));
    let text = rows[3..].join(" ");
    for word in ["other machine", "UDP 17117-17133", "p2pchat-udp demo"] {
        assert!(text.contains(word), "{text}");
    }
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
}

#[test]
fn two_people_find_each_other_and_chat() {
    let Two { mut alice, mut bob, .. } = two(&[]);
    alice.line("/to bob");
    alice.until_last("bob>");
    alice.line("hello bob");
    alice.until_row("<alice> hello bob ✓");
    bob.until_row("<alice> hello bob");
    bob.line("/reply hi alice");
    bob.until_row("<bob→alice> hi alice ✓");
    alice.until_row("<bob> hi alice");
    let rows = alice.until_last("bob>");
    let rows = timeless(&rows);
    let at = rows.iter().position(|row| row == "HH:MM <alice> hello bob ✓").expect("the line has its mark and stands once");
    assert_eq!(rows[at..], ["HH:MM <alice> hello bob ✓", "HH:MM <bob> hi alice", "bob>"], "what was typed gave way");
    alice.line("/me waves");
    alice.until_row("* alice waves ✓");
    bob.until_row("* alice waves");
    alice.keys("\x04");
    assert_eq!(alice.end(), 0);
    bob.until_row("-- alice is gone");
}

#[test]
fn an_incoming_line_leaves_what_is_typed_as_it_is() {
    let Two { mut alice, mut bob, .. } = two(&[]);
    bob.line("/to alice");
    bob.until_last("alice>");
    alice.line("/to bob");
    alice.until_last("bob>");
    // Ctrl-Z stops nothing where nobody could start it again; the line goes on all the same.
    alice.keys("half a \x1a");
    alice.until_last("bob> half a");
    alice.keys("sentence\x1b[D\x1b[D");
    alice.until_last("bob> half a sentence");
    bob.line("coming in");
    let rows = alice.until("the line and the half sentence", |rows| {
        rows.len() > 1 && rows[rows.len() - 2].ends_with("<bob> coming in") && rows.last().unwrap() == "bob> half a sentence"
    });
    alice.until_cursor(rows.len() - 1, "bob> half a sentence".len() - 2);
    // More than one row of the screen, and another line comes in.
    let long = "word ".repeat(30);
    alice.keys(&format!("\x05 {long}"));
    alice.until("three rows", |rows| rows.last().is_some_and(|row| row.ends_with("word")));
    bob.line("once more");
    alice.until("the line above all rows", |rows| {
        let at = rows.iter().position(|row| row.ends_with("<bob> once more"));
        at.is_some_and(|at| {
            rows.get(at + 1).is_some_and(|row| row.starts_with("bob> half a sentence word")) && rows.len() == at + 4
        })
    });
    alice.keys("\r");
    alice.until_row("word  ✓");
    let rows = alice.until_last("bob>");
    assert_eq!(rows.iter().filter(|row| row.contains("half a sentence")).count(), 1, "{rows:#?}");
    bob.until_row("<alice> half a sentence");
}

#[test]
fn a_paste_is_one_message_and_ctrl_c_takes_back_what_was_typed() {
    let Two { mut alice, bob, .. } = two(&[]);
    alice.line("/to bob");
    alice.until_last("bob>");
    alice.keys("this is wrong\x03");
    alice.until_last("bob>");
    assert!(!alice.rows().iter().any(|row| row.contains("wrong")));
    alice.keys("\x03");
    alice.until_row("Ctrl-D or /quit ends the chat");
    alice.until_last("bob>");
    alice.paste("one\n  two\nthree");
    alice.until_last("three");
    alice.keys("\r");
    alice.until_row("three ✓");
    let rows = timeless(&alice.until_last("bob>"));
    assert_eq!(rows[rows.len() - 4..], ["HH:MM <alice> one", "        two", "      three ✓", "bob>"]);
    let rows = bob.until("all lines", |rows| rows.iter().any(|row| row == "      three"));
    let rows = timeless(&rows);
    let at = rows.iter().position(|row| row == "HH:MM <alice> one").unwrap();
    assert_eq!(rows[at + 1..at + 3], ["        two", "      three"]);
}

#[test]
fn text_goes_nowhere_without_a_target_and_unknown_commands_are_not_sent() {
    let Two { mut alice, mut bob, .. } = two(&[]);
    alice.line("hello?");
    alice.until_row("! nobody to send this to: choose somebody with /to NAME first");
    alice.line("/pers");
    alice.until_row("! unknown command /pers: did you mean /peers?");
    alice.line("/to nobody-of-that-name");
    alice.until_row("! no such peer: nobody-of-that-name");
    alice.until_row("/peers lists who is here");
    alice.line("/peers");
    alice.until_row("here     lan 127.0.0.1:");
    alice.line("/help");
    let rows = alice.until("the end of the help", |rows| rows.iter().any(|row| row.starts_with("Marks: … queued")));
    for command in ["/to ", "/msg ", "/history ", "/quit"] {
        assert!(rows.iter().any(|row| format!("{row} ").contains(command)), "{command}: {rows:#?}");
    }
    alice.line("/help talk");
    alice.until_row("  /msg PEER TEXT");
    alice.line("/help block");
    alice.until_row("PEER is not told");
    alice.line("/msg bob done");
    alice.until_row("<alice→bob> done ✓");
    bob.until_row("<alice> done");
    bob.line("/history");
    let texts = |rows: &[String]| rows.iter().filter(|row| row.contains("<alice>")).count();
    let rows = bob.until("once as it came, once in the history", |rows| texts(rows) == 2 && rows.last().unwrap() == ">");
    assert!(rows.iter().all(|row| !row.contains("<alice>") || row.ends_with("<alice> done")), "nothing else came: {rows:#?}");
}

/// The printer once waited for the editor, and the editor for the printer.
#[test]
fn lines_typed_ahead_do_not_stop_the_shell() {
    let Two { mut alice, .. } = two(&[]);
    for round in 0..20 {
        let lines: String = (0..6).map(|line| format!("/nonsense{round}x{line}\r")).collect();
        alice.keys(&lines);
        alice.until_row(&format!("unknown command /nonsense{round}x5"));
    }
    alice.line("/quit");
    assert_eq!(alice.end(), 0);
}

#[test]
fn tab_completes_commands_and_names() {
    let Two { mut alice, .. } = two(&[]);
    alice.keys("/wh\tb\t");
    alice.until_last("> /whois bob");
    alice.keys("\r");
    alice.until_row("  trust     unverified");
    alice.keys("\x1b[A");
    alice.until_last("> /whois bob");
}

#[test]
fn mail_for_who_is_away_waits_and_is_delivered_late_with_one_line_about_it() {
    let Two { mut alice, mut bob, people } = two(&[]);
    alice.line("/to bob");
    alice.until_last("bob>");
    bob.line("/quit");
    assert_eq!(bob.end(), 0);
    alice.until_row("-- bob is gone");
    for text in ["are you there?", "see you at eight, at the usual place"] {
        alice.line(text);
        alice.until_row(&format!("<alice> {text} …"));
    }
    alice.until_row("-- bob is not here: it is kept and goes out by itself when bob comes");
    // What has waited for 30 s is late.
    std::thread::sleep(Duration::from_millis(30_200));
    let bob = Pane::shell(&people[1], &[]);
    let row = bob.until_row("<alice> see you at eight");
    let times = row.split(' ').next().unwrap();
    assert!(times.split('→').count() == 2 && times.split('→').all(|time| time.len() == 5 && &time[2..3] == ":"), "{row}");
    let row = alice.until_row("2 delivered");
    assert_eq!(row, "✓ bob: 2 delivered, last \"see you at eight, at th…\"");
    alice.line("/outbox");
    alice.until_row("-- nothing waits");
}

#[test]
fn leaving_with_mail_that_waits_says_how_much() {
    let Two { mut alice, mut bob, people } = two(&[]);
    alice.line("/to bob");
    alice.until_last("bob>");
    bob.keys("\x04");
    assert_eq!(bob.end(), 0);
    alice.until_row("-- bob is gone");
    alice.line("for later");
    alice.until_row("<alice> for later …");
    alice.line("/to bob");
    alice.until_row("what you write is kept");
    alice.keys("\x04");
    alice.until_row("-- 1 message waits (bob 1); all are kept and go out");
    assert_eq!(alice.end(), 0);
    let again = Pane::shell(&people[0], &[]);
    again.until_row("-- from before: 1 message waits (bob 1)");
}

#[test]
fn a_second_window_is_the_same_person() {
    let net = Net::new();
    let alice = net.person("alice");
    let mut first = Pane::shell(&alice, &[]);
    first.until_last(">");
    let mut second = Pane::shell(&alice, &[]);
    second.until_row("-- The same person in two windows");
    first.line("/quit");
    assert_eq!(first.end(), 0);
    second.until_row("! the owner of this profile has ended");
    second.until("it goes on as the owner", |rows| rows.iter().filter(|row| row.starts_with("-- You are alice")).count() == 2);
    second.line("/outbox");
    second.until_row("-- nothing waits");
    second.line("/quit");
    assert_eq!(second.end(), 0);
}

/// It was dropped as too slow, and began again behind the last message that it had shown: there was none.
#[test]
fn a_window_that_was_stopped_shows_each_message_once() {
    const EVENTS: usize = 4_000;
    const MESSAGES: usize = 20;
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _daemon = bob.daemon();
    let mut window = Pane::shell(&bob, &["--plain"]);
    window.until_last(">");
    window.signal(Signal::SIGSTOP);
    // A change of state each: more than wait for a subscriber, and than are on their way to it.
    let mut calls = UnixStream::connect(bob.profile().join("control.sock")).unwrap();
    let answers = BufReader::new(calls.try_clone().unwrap()).lines();
    let call = format!("{{\"call\":\"send\",\"peer\":\"{}\",\"text\":\"for later\",\"wait\":\"queued\"}}\n", alice.id());
    let asking = std::thread::spawn(move || calls.write_all(call.repeat(EVENTS).as_bytes()).map(|()| calls));
    let done = answers.map(Result::unwrap).filter(|line| line.contains("\"done\"")).take(EVENTS).count();
    assert_eq!(done, EVENTS);
    drop(asking.join());
    let script: String = (0..MESSAGES).map(|number| format!("/msg bob number {number:02}\n")).collect();
    alice.run_with(script.as_bytes(), &["--timeout", "60s"]).expect(0);
    window.signal(Signal::SIGCONT);
    window.until_row(&format!("<alice> number {:02}", MESSAGES - 1));
    window.line("/quit");
    assert_eq!(window.end(), 0);
    let bytes = window.bytes();
    let shown = String::from_utf8_lossy(&bytes);
    for number in 0..MESSAGES {
        assert_eq!(shown.matches(&format!("<alice> number {number:02}")).count(), 1, "{number}: {shown}");
    }
}

/// The last line was given to the editor, which ended with its program before it showed it. An editor that
/// searches shows nothing at all.
#[test]
fn the_last_line_of_a_window_is_shown_also_where_its_editor_shows_nothing() {
    let net = Net::new();
    let alice = net.person("alice");
    let mut first = Pane::shell(&alice, &[]);
    first.until_last(">");
    let mut second = Pane::shell(&alice, &[]);
    second.until_last(">");
    // There must be something to search in.
    second.line("/nonsense");
    second.until_row("unknown command /nonsense");
    second.until_last(">");
    second.keys("\x12");
    second.until_last("(reverse-i-search)`':");
    first.line("/quit");
    assert_eq!(first.end(), 0);
    second.until("the last line below the search, and then the next owner's first", |rows| {
        let at = |part: &str| rows.iter().rposition(|row| row.contains(part));
        let (search, last, next) = (at("i-search"), at("! the owner of this profile has ended"), at("-- You are alice"));
        search.is_some() && search < last && last < next
    });
    second.until_last(">");
    second.line("/quit");
    assert_eq!(second.end(), 0);
}

#[test]
fn in_plain_mode_nothing_is_ever_rewritten() {
    let Two { mut alice, mut bob, .. } = two(&["--plain"]);
    alice.line("/to bob");
    alice.until_last("bob>");
    alice.line("hello bob");
    alice.until_row("delivered to bob: hello bob");
    bob.until_row("<alice> hello bob");
    alice.keys("half");
    bob.line("/msg alice coming in");
    bob.until_row("delivered to alice: coming in");
    alice.until_row("<bob> coming in");
    alice.until_last("bob>");
    alice.line(" a line");
    bob.until_row("<alice> half a line");
    alice.keys("nonsense\x03");
    alice.until_row("Ctrl-D or /quit ends the chat");
    alice.keys("\x04");
    assert_eq!(alice.end(), 0);
    let bytes = String::from_utf8(alice.bytes()).unwrap();
    assert!(!bytes.contains('\x1b') && !bytes.contains('\x08'), "no escape sequence, no way back: {bytes:?}");
    assert!(bytes.is_ascii(), "words instead of glyphs: {bytes:?}");
    bob.line("/quit");
    assert_eq!(bob.end(), 0);
}

#[test]
fn a_dumb_terminal_is_plain_and_another_locale_gets_ascii() {
    let net = Net::new();
    let person = net.person("alice");
    let mut command = person.command::<&str>([]);
    command.env("TERM", "dumb");
    let mut pane = Pane::open(command);
    pane.until_last(">");
    pane.line("/help");
    pane.until_row("TAB completes");
    pane.line("/quit");
    assert_eq!(pane.end(), 0);
    assert!(!pane.bytes().contains(&0x1b));
    let person = net.person("bob");
    let mut command = person.command::<&str>([]);
    command.env("LC_ALL", "C");
    let mut pane = Pane::open(command);
    pane.line("/help");
    pane.until_row("Marks: .. queued here  > sent  + delivered");
}

#[test]
fn lines_from_a_pipe_are_a_script() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let listen = bob.listen();
    let done = alice.run_with(b"/to bob\nfirst line\n/msg bob second line\n//third\n", &["--timeout", "20s"]).expect(0);
    for text in ["first line", "second line", "/third"] {
        assert_eq!(listen.message(), text);
    }
    assert!(done.out.contains("<alice> first line"), "{}", done.out);
    assert!(!done.out.contains('\x1b'));
}

#[test]
fn a_scripts_failing_line_is_named_and_the_rest_goes_on_unless_told_otherwise() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let listen = bob.listen();
    let script = b"nobody is chosen\n/to bob\n/msg nobody-here hi\nstill sent\n";
    let done = alice.run_with(script, &[]).expect(2);
    assert!(done.err.contains("p2pchat-udp: line 1: nobody to send this to"), "{}", done.err);
    assert!(done.err.contains("p2pchat-udp: line 3: no such peer: nobody-here"), "{}", done.err);
    assert_eq!(listen.message(), "still sent");
    let done = alice.run_with(b"/msg nobody-here hi\n/msg bob not sent\n", &["--fail-fast"]).expect(3);
    assert!(!done.err.contains("line 2"));
    alice.run(["send", "bob", "last"]).expect(0);
    assert_eq!(listen.message(), "last");
}

#[test]
fn a_script_whose_messages_still_wait_ends_with_5() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let script = format!("/msg {id} for later\n");
    let done = alice.run_with(script.as_bytes(), &["--timeout", "1s"]).expect(5);
    assert!(done.err.contains("1 of this script's messages still wait"), "{}", done.err);
}

#[test]
fn the_demo_shows_delivery_and_late_delivery_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let mut command = crate::person::program();
    command.arg("demo").arg("--data-dir").arg(place.path().join("unused")).env("TMPDIR", place.path());
    let done = crate::person::run(command).expect(0);
    let at = |part: &str| done.out.find(part).unwrap_or_else(|| panic!("no {part:?} in {}", done.out));
    let steps = [
        "alice daemon",
        "bob daemon",
        "peers --wait 1",
        "send bob \"hello bob\"",
        "<alice> hello bob",
        "bob stop",
        "--wait queued",
        "<alice> see you at eight",
    ];
    let places: Vec<usize> = steps.map(at).to_vec();
    assert!(places.is_sorted(), "{}", done.out);
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_demo_leaves_its_two_people_to_go_on_with_where_it_is_asked_to() {
    let place = tempfile::tempdir().unwrap();
    let mut command = crate::person::program();
    command.args(["demo", "--keep"]).arg("--data-dir").arg(place.path().join("unused")).env("TMPDIR", place.path());
    let done = crate::person::run(command).expect(0);
    for name in ["alice", "bob"] {
        let dir =
            done.out.lines().rev().find_map(|line| line.strip_prefix("$ p2pchat-udp -d ").filter(|dir| dir.ends_with(name)));
        let mut command = crate::person::program();
        command.args(["--no-lan", "history", "--json", "-d", dir.expect("it says where")]);
        assert_eq!(crate::person::run(command).expect(0).events("history").len(), 2);
    }
}

#[test]
fn nothing_that_a_peer_writes_steers_the_terminal() {
    let Two { mut bob, people, alice, .. } = two(&[]);
    // A contact may write as much as it likes.
    bob.line("/msg alice hello");
    bob.until_row("hello ✓");
    drop(alice);
    let net_alice = &people[0];
    let texts = crate::corpus::hostile();
    let script: String = texts.iter().map(|text| format!("/msg bob {text}\n")).collect();
    bob.keys("typed meanwhile");
    let sent = net_alice.run_with(script.as_bytes(), &["--timeout", "60s"]);
    assert_eq!(sent.code, 0, "{}", sent.err);
    bob.until_row("-- bob is gone");
    bob.until_last("> typed meanwhile");
    assert_eq!(crate::corpus::foreign(&bob.bytes()), None);
    assert_eq!(crate::corpus::foreign(sent.out.as_bytes()), None, "nor our own echo of it");
    let stored = people[1].history();
    assert_eq!(stored.len(), 1 + texts.len(), "each of them came");
    bob.keys("\x03");
    bob.line("/history 400");
    bob.until_last(">");
    assert_eq!(crate::corpus::foreign(&bob.bytes()), None);
}
