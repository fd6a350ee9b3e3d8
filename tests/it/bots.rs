//! Programs that are run for messages, and the two example bots, through the program.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;

use crate::{
    pane::Pane,
    person::{HANG, Net, Person, Running},
};

fn bot(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bots").join(name)
}

/// With our own program where a script finds it.
fn with_path(mut command: Command) -> Command {
    let own = Path::new(env!("CARGO_BIN_EXE_p2pchat-udp")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", own.display()));
    command
}

fn listens(person: &Person, exec: &str, args: &[&str]) -> Running {
    let running = Running::new(with_path(person.command([&["listen", "--events", "--json", "--exec", exec], args].concat())));
    running.until(|line| line["event"] == "ready");
    running
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < HANG, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn told(person: &Person) -> Vec<String> {
    let rows = person.run(["history", "--json"]).expect(0).events("history");
    let incoming = rows.iter().filter(|row| row["direction"] == "in");
    incoming.map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_echo_bot_answers_each_message_once_and_in_order() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let _bot = listens(&alice, &bot("echo.sh").display().to_string(), &[]);
    let texts = ["hi", "$(touch hacked) `id` '\"", "two\nlines", "--help"];
    for text in texts {
        bob.run(["send", "alice", "--", text]).expect(0);
    }
    until("all are answered", || told(&bob).len() == texts.len());
    assert_eq!(told(&bob), texts.map(|text| format!("you said: {text}")));
}

#[test]
fn a_program_is_told_who_wrote_and_what_and_nothing_in_its_arguments() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let out = alice.dir.path().join("out");
    let script = "echo \"$P2PCHAT_FROM $P2PCHAT_NAME $P2PCHAT_ID $P2PCHAT_MESSAGE_ID $# $0\" > \"$OUT\"; cat >> \"$OUT\"";
    let mut command = alice.command(["listen", "--count", "1", "--exec", &format!("sh -c '{script}'")]);
    command.env("OUT", &out);
    let mut listening = Running::new(command);
    let big = "x".repeat(1 << 20);
    bob.run_with(big.as_bytes(), &["send", "alice", "-"]).expect(0);
    assert_eq!(listening.end(), 0);
    let seen = std::fs::read_to_string(out).unwrap();
    let (head, text) = seen.split_once('\n').unwrap();
    let sent = bob.run(["history", "--json"]).expect(0).events("history")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(head, format!("{} bob {} {sent} 0 sh", bob.id(), alice.id()));
    assert!(text == big, "a mebibyte comes whole: {}", text.len());
}

/// A bot that called the program while no owner ran was called by its sender's name from then on.
#[test]
fn what_a_bot_starts_is_not_called_as_the_peer_is() {
    let alice = Net::new().person("alice");
    alice.run(["whoami"]).expect(0);
    let whoami = |told: bool| {
        let mut command = crate::person::program();
        command.arg("-d").arg(alice.profile()).args(["whoami", "--json"]).env("P2PCHAT_NAME", "mallory");
        if told {
            command.env("P2PCHAT_MESSAGE_ID", "00000000-0000-0000-0000-000000000001");
        }
        crate::person::run(command).expect(0).lines()[0]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(whoami(true), "alice");
    assert_eq!(whoami(false), "mallory");
}

#[test]
fn a_program_that_fails_or_hangs_costs_one_line_and_no_further_message() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let (log, done) = (alice.dir.path().join("log"), alice.dir.path().join("done"));
    let script = "read what; case $what in hang) sleep 600 & wait;; fail) exit 3;; *) echo $what >> \"$DONE\";; esac";
    let mut command = alice.command(["listen", "--count", "3", "--exec", &format!("sh -c '{script}'")]);
    command.env("DONE", &done).stderr(Stdio::from(std::fs::File::create(&log).unwrap()));
    let mut listening = Running::new(command);
    for text in ["fail\n", "hang\n", "well\n"] {
        bob.run_with(format!("{text}\n").as_bytes(), &["send", "alice", "-"]).expect(0);
    }
    assert_eq!(listening.end(), 0);
    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("sh ")).collect();
    assert!(lines.len() == 2 && lines[0].contains("exit status: 3") && lines[1].contains("more than 10 s"), "{log}");
    assert_eq!(std::fs::read_to_string(done).unwrap(), "well\n");
}

#[test]
fn a_program_that_is_not_there_is_said_and_ends_it() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let log = alice.dir.path().join("log");
    let mut command = alice.command(["listen", "--exec", "/nothing/here --x"]);
    command.stderr(Stdio::from(std::fs::File::create(&log).unwrap()));
    let mut listening = Running::new(command);
    bob.run(["send", "alice", "hi"]).expect(0);
    assert_eq!(listening.end(), 2);
    let said = std::fs::read_to_string(log).unwrap();
    assert!(said.contains("/nothing/here cannot be run") && said.contains("sh -c"), "{said}");
    let quote = alice.run(["listen", "--exec", "sh 'open"]).expect(2);
    assert!(quote.err.contains("quote"), "{}", quote.err);
}

#[test]
fn the_reminding_bot_reminds_also_after_it_was_killed() {
    if Command::new("python3").arg("--version").output().is_err() {
        let why = "python3 is not installed";
        assert!(std::env::var_os("P2PCHAT_SKIP_NOTHING").is_none(), "must run here and cannot: {why}");
        println!("skipped: {why}");
        return;
    }
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    let (socket, last) = (alice.profile().join("control.sock"), alice.dir.path().join("last"));
    let start = || {
        let mut command = Command::new("python3");
        command.arg(bot("remind.py")).args([&socket, &last]).stdout(Stdio::null());
        let child = command.spawn().expect("python3 runs");
        until("it subscribes", || last.exists());
        child
    };
    let mut first = start();
    bob.run(["send", "alice", "hello"]).expect(0);
    until("it says how", || told(&bob) == ["write me `in 10m tea`"]);
    bob.run(["send", "alice", "in 1s tea"]).expect(0);
    until("it reminds", || told(&bob).last().is_some_and(|text| text == "tea"));
    bob.run(["send", "alice", "in 2s cake"]).expect(0);
    first.kill().unwrap();
    first.wait().unwrap();
    bob.run(["send", "alice", "in 1s milk"]).expect(0);
    let mut second = start();
    until("what was asked before and meanwhile comes", || told(&bob).len() == 4);
    let mut rest = told(&bob)[2..].to_vec();
    rest.sort();
    assert_eq!(rest, ["cake", "milk"]);
    second.kill().unwrap();
    second.wait().unwrap();
}

#[test]
fn the_shell_runs_notify_cmd_where_the_bell_rings() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let out = alice.dir.path().join("out");
    let script = format!("sh -c 'cat > {0}.new; echo \" from $P2PCHAT_NAME\" >> {0}.new; mv {0}.new {0}'", out.display());
    alice.run(["config", "notify_cmd", &script]).expect(0);
    assert!(alice.run(["config", "notify_cmd", "sh 'open"]).expect(2).err.contains("quote"));
    let mut shell = Pane::shell(&alice, &[]);
    shell.until_row("Here: bob");
    bob.run(["send", "alice", "look here"]).expect(0);
    shell.until_row("<bob> look here");
    until("it runs", || std::fs::read_to_string(&out).is_ok_and(|text| text == "look here from bob\n"));
    shell.line("/quit");
    assert_eq!(shell.end(), 0);
    alice.run(["config", "notify_cmd", "/nothing/here"]).expect(0);
    let mut shell = Pane::shell(&alice, &[]);
    shell.until_row("Here: bob");
    bob.run(["send", "alice", "once more"]).expect(0);
    shell.until_row("notify_cmd: /nothing/here cannot be run");
    shell.signal(Signal::SIGTERM);
    shell.end();
}

/// What was left running held the pipe, so the program had its 10 s and was ended though it had ended long before.
#[test]
fn a_program_that_leaves_one_behind_which_reads_nothing_is_done_when_it_ends() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    // `sleep` keeps the other end of stdin; it ends with the test.
    let script = "exec 3<&0; sleep 30 <&3 >&- 2>&- &";
    let mut command = alice.command(["listen", "--count", "1", "--exec", &format!("sh -c '{script}'")]);
    let log = alice.dir.path().join("log");
    command.stderr(Stdio::from(std::fs::File::create(&log).unwrap()));
    let mut listening = Running::new(command);
    bob.run_with(&[b'x'; 1 << 20], &["send", "alice", "-"]).expect(0);
    assert_eq!(listening.end(), 0);
    assert_eq!(std::fs::read_to_string(log).unwrap(), "");
}

#[test]
fn what_is_run_for_a_message_is_not_told_how_the_password_is_had() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let seen = alice.dir.path().join("seen");
    let exec = format!("sh -c 'env > {0}.new && mv {0}.new {0}'", seen.display());
    let mut command = alice.command(["listen", "--events", "--json", "--exec", &exec]);
    command.env("P2PCHAT_PASSWORD_CMD", "echo canary");
    let bot = Running::new(command);
    bot.until(|line| line["event"] == "ready");
    bob.run(["send", "alice", "hi"]).expect(0);
    until("it was run", || seen.exists());
    let seen = std::fs::read_to_string(&seen).unwrap();
    assert!(seen.contains("P2PCHAT_MESSAGE_ID=") && !seen.contains("canary"), "{seen}");
}
