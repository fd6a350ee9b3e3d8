//! The session of `docs/session.txt` and `docs/session.svg`: two people, in the program as it is. The text is held to what stands
//! on their screens today; `P2PCHAT_RECORD=1 cargo test --test it recorded` writes both anew.

use std::path::PathBuf;

use anstyle_svg::Term;

use crate::{
    pane::{Pane, Styled},
    person::Net,
};

/// What stands for ids in the documents, and for each time: every run has its own.
const IDS: [&str; 2] = ["7kq2m4xa", "d3v9tfcn"];
const TIME: &str = "10:42";
/// Of the picture: as many columns as a window that it shows.
const WIDTH_PX: usize = 760;

fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// What stands in alice's window in the end, and in bob's before he leaves for a while.
fn session() -> Vec<(&'static str, Vec<Styled>)> {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let ids = [alice.id(), bob.id()];
    let mut at_alice = Pane::shell(&alice, &[]);
    at_alice.until_row("/help shows the rest");
    let mut at_bob = Pane::shell(&bob, &[]);
    at_bob.until_row("/help shows the rest");
    at_alice.until_row("bob is here");
    at_alice.line("/to bob");
    at_alice.until_last("bob>");
    at_alice.line("lunch?");
    at_alice.until_row("<alice> lunch?");
    at_bob.until_row("<alice> lunch?");
    at_bob.line("/reply in ten minutes");
    at_alice.until_row("<bob> in ten minutes");
    at_bob.until_row("in ten minutes");
    at_bob.until_last(">");
    let first = at_bob.styled();
    at_bob.line("/quit");
    assert_eq!(at_bob.end(), 0);
    at_alice.until_row("bob is gone");
    at_alice.line("the table by the window");
    at_alice.until_row("when bob comes");
    let mut at_bob = Pane::shell(&bob, &[]);
    at_bob.until_row("<alice> the table by the window");
    at_bob.until_row("/help shows the rest");
    at_alice.until_row("1 delivered");
    at_bob.line("/reply found you");
    at_alice.until_row("<bob> found you");
    at_alice.line("/search lunch");
    at_alice.until_row("<alice\u{2192}bob> lunch?");
    at_alice.until_last("bob>");
    let windows = [("alice", at_alice.styled()), ("bob", first)];
    for pane in [&mut at_alice, &mut at_bob] {
        pane.line("/quit");
        assert_eq!(pane.end(), 0);
    }
    let stable = |text: &str| stable(text, &ids);
    let row = |row: Styled| Styled { plain: stable(&row.plain), ansi: stable(&row.ansi) };
    windows.into_iter().map(|(title, rows)| (title, rows.into_iter().map(row).collect())).collect()
}

/// Without what differs from run to run.
fn stable(text: &str, ids: &[String; 2]) -> String {
    let mut text = text.to_owned();
    for (id, name) in ids.iter().zip(IDS) {
        text = text.replace(&id[..8], name);
    }
    let time = text.char_indices().map(|(at, _)| at).find(|at| is_time(&text[*at..]));
    if let Some(at) = time {
        text.replace_range(at..at + 5, TIME);
    }
    for port in 17_119..=17_133 {
        text = text.replace(&format!("UDP port {port}"), "UDP port 17118");
    }
    text
}

fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.get(2) == Some(&b':') && [0, 1, 3, 4].iter().all(|at| bytes.get(*at).is_some_and(u8::is_ascii_digit))
}

/// All windows below each other, each with its title.
fn put_together(windows: &[(&str, Vec<Styled>)], text: fn(&Styled) -> &str, title: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    for (number, (who, rows)) in windows.iter().enumerate() {
        out += if number > 0 { "\n" } else { "" };
        out += &format!("{}\n$ p2pchat-udp\n", title(who));
        for row in rows {
            out += text(row);
            out += "\n";
        }
    }
    out
}

#[test]
fn the_recorded_session_is_what_the_program_shows() {
    let recorded = || std::fs::read_to_string(docs("session.txt")).unwrap_or_default();
    let together = |windows: &[_]| put_together(windows, |row| &row.plain, |who| format!("[{who}]"));
    let mut windows = session();
    // On a busy machine a mark may come on a line of its own, later: then once more.
    for _ in 0..2 {
        if together(&windows) != recorded() {
            windows = session();
        }
    }
    let text = together(&windows);
    let ansi = put_together(&windows, |row| &row.ansi, |who| format!("\x1b[1m{who}\x1b[0m"));
    // Dim is to be read too, in whatever draws it.
    let picture = Term::new().min_width_px(WIDTH_PX).render_svg(&ansi).replace(" opacity: 0.4", " fill-opacity: 0.7");
    if std::env::var_os("P2PCHAT_RECORD").is_some() {
        std::fs::write(docs("session.txt"), &text).unwrap();
        std::fs::write(docs("session.svg"), &picture).unwrap();
    }
    const ANEW: &str = "P2PCHAT_RECORD=1 cargo test --test it recorded writes the documents anew";
    assert_eq!(text, recorded(), "{ANEW}");
    assert!(picture == std::fs::read_to_string(docs("session.svg")).unwrap_or_default(), "{ANEW}");
}
