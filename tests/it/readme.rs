//! README.md shows what the program really prints: its transcripts are made here. A block stands between
//! `<!-- transcript: NAME -->` and `<!-- /transcript -->`; `P2PCHAT_BLESS=1 cargo test --test it readme`
//! writes all of them anew.

use std::{path::Path, time::Duration};

use crate::{
    pane::Pane,
    person::{Ended, Net, Person},
    seed::Seed,
};

/// What differs from run to run, and what stands for it in the README.
struct Names(Vec<(String, &'static str)>);

impl Names {
    fn of(alice: &Person, bob: &Person) -> Self {
        let short = |person: &Person| person.id()[..8].to_owned();
        Self(vec![(short(alice), "n4ko2v7q"), (short(bob), "u6hd3w5x")])
    }

    /// The line as the README has it: ids, ports, times and message ids are always the same there.
    fn fixed(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (id, name) in &self.0 {
            line = line.replace(id, name);
        }
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for place in 0..words.len() {
            let is_time =
                |word: &str| word.len() == 5 && word.as_bytes()[2] == b':' && word.replace(':', "").parse::<u16>().is_ok();
            let is_message = |word: &str| word.len() == 6 && word.bytes().all(|b| b.is_ascii_hexdigit());
            if is_time(&words[place]) {
                words[place] = "10:41".to_owned();
            } else if is_message(&words[place]) {
                words[place] = "3f9c1a".to_owned();
            } else if place > 0 && words[place - 1] == "port" {
                words[place] = "17118".to_owned();
            } else if place > 0 && words[place - 1] == "pid" {
                words[place] = "4217".to_owned();
            } else if words[place].ends_with("s")
                && words[place].trim_end_matches("ms").trim_end_matches('s').parse::<u32>().is_ok()
            {
                words[place] = "1s".to_owned();
            }
        }
        words.join(" ").trim_end().to_owned()
    }

    fn block(&self, lines: &[String]) -> String {
        let lines: Vec<String> = lines.iter().map(|line| self.fixed(line)).collect();
        format!("```console\n{}\n```\n", lines.join("\n"))
    }
}

/// Runs a command and writes down what a person would have typed and seen.
fn typed(who: &Person, args: &[&str], lines: &mut Vec<String>) -> Ended {
    let quoted = args.iter().map(|arg| if arg.contains([' ', '?', '&']) { format!("\"{arg}\"") } else { (*arg).to_owned() });
    lines.push(format!("{}$ p2pchat-udp {}", who.name, quoted.collect::<Vec<_>>().join(" ")));
    let ended = who.run(args);
    lines.extend(ended.out.lines().chain(ended.err.lines()).map(str::to_owned));
    ended
}

/// Bob's window, with Alice in another.
fn one_machine() -> String {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let names = Names::of(&alice, &bob);
    let mut other = Pane::shell(&alice, &[]);
    other.until_last(">");
    let mut pane = Pane::shell(&bob, &[]);
    pane.until_row("Here: alice");
    // The last of what it says by itself; an answer before that would stand among it.
    pane.until_row("Write /to alice");
    pane.until_last(">");
    pane.line("/to alice");
    pane.until_last("alice>");
    pane.line("hello alice");
    pane.until_row("hello alice ✓");
    other.until_row("<bob> hello alice");
    other.line("/reply hi bob, lunch?");
    pane.until_row("<alice> hi bob, lunch?");
    pane.until_last("alice>");
    pane.line("in five minutes");
    pane.until_row("in five minutes ✓");
    let mut rows = pane.until_last("alice>");
    // On a machine that is busy for more than 20 ms what was typed may stay beside what was sent.
    rows.retain(|row| !row.starts_with("alice> "));
    rows.insert(0, "$ p2pchat-udp -d /tmp/bob -n bob".to_owned());
    names.block(&rows)
}

fn two_machines() -> String {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let names = Names::of(&alice, &bob);
    let mut lines = vec!["bob$ p2pchat-udp -n bob daemon &".to_owned()];
    let daemon = bob.start(&["daemon"]);
    lines.push(daemon.line());
    typed(&alice, &["send", "bob", "lunch?"], &mut lines).expect(0);
    typed(&bob, &["history"], &mut lines).expect(0);
    names.block(&lines)
}

fn later() -> String {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let names = Names::of(&alice, &bob);
    let bob_runs = bob.daemon();
    let alice_runs = alice.daemon();
    alice.run(["send", "bob", "hello"]).expect(0);
    bob.run(["stop"]).expect(0);
    drop(bob_runs);
    let mut lines = Vec::new();
    typed(&alice, &["send", "bob", "see you at eight", "--timeout", "1s"], &mut lines).expect(5);
    lines.push("alice$ # bob opens his laptop".to_owned());
    let _bob_runs = bob.daemon();
    let began = std::time::Instant::now();
    while !alice.run(["outbox", "--json"]).expect(0).out.is_empty() {
        assert!(began.elapsed() < crate::person::HANG, "it was never delivered");
        std::thread::sleep(Duration::from_millis(50));
    }
    typed(&alice, &["history", "--limit", "1"], &mut lines).expect(0);
    drop(alice_runs);
    names.block(&lines)
}

/// Alice and Bob hear nothing of each other but what the seed says. Both come from what is above: a daemon runs.
fn two_networks() -> String {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    let addr = seed.addr().to_string();
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let [link_of_alice, link_of_bob] = [("n4ko2v7q", "alice"), ("u6hd3w5x", "bob")]
        .map(|(id, name)| format!("p2pchat:{id}…?name={name}&via=seed.example%3A17118"));
    let names = Names::of(&alice, &bob);
    let (alice_runs, bob_runs) = (alice.daemon(), bob.daemon());
    let mut lines = Vec::new();
    let set = |person: &Person, lines: &mut Vec<String>| {
        typed(person, &["stop"], lines).expect(0);
        lines.push(format!("{}$ p2pchat-udp config via seed.example:17118", person.name));
        person.run(["config", "via", &addr]).expect(0);
        person.run(["config", "no_lan", "on"]).expect(0);
    };
    set(&bob, &mut lines);
    drop(bob_runs);
    lines.push("bob$ p2pchat-udp -n bob daemon &".to_owned());
    let daemon = bob.start(&["daemon"]);
    lines.push(daemon.line());
    bob.run(["seed", "register"]).expect(0);
    let link = typed(&bob, &["whoami", "--link"], &mut lines).expect(0).out.trim_end().to_owned();
    set(&alice, &mut lines);
    drop(alice_runs);
    // Bob first: once Alice has added him she may have knocked, and then he has met her, or not yet.
    let own_link = typed(&alice, &["whoami", "--link"], &mut lines).expect(0).out.trim_end().to_owned();
    typed(&bob, &["contact", "add", &own_link], &mut lines).expect(0);
    typed(&alice, &["contact", "add", &link], &mut lines).expect(0);
    typed(&alice, &["send", "bob", "lunch?"], &mut lines).expect(0);
    let lines: Vec<String> =
        lines.iter().map(|line| line.replace(&link, &link_of_bob).replace(&own_link, &link_of_alice)).collect();
    names.block(&lines)
}

#[test]
fn readme_transcripts_are_what_the_program_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let mut new = readme.clone();
    for (name, made) in
        [("one-machine", one_machine()), ("two-machines", two_machines()), ("later", later()), ("two-networks", two_networks())]
    {
        let begin = format!("<!-- transcript: {name} -->\n");
        let at = new.find(&begin).unwrap_or_else(|| panic!("README.md has no {begin}")) + begin.len();
        let end = at + new[at..].find("<!-- /transcript -->").expect("a transcript ends");
        if std::env::var_os("P2PCHAT_BLESS").is_none() {
            assert_eq!(&new[at..end], made, "{name}: P2PCHAT_BLESS=1 writes it anew");
        }
        new.replace_range(at..end, &made);
    }
    if new != readme {
        std::fs::write(&path, new).unwrap();
    }
}
