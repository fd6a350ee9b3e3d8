//! Command lines, settings, names and texts: what is refused, how, and that nothing happened then.

use std::collections::BTreeSet;

use crate::person::{Net, program, run};

/// Every command of the contract that is built.
const COMMANDS: [&str; 26] = [
    "demo",
    "daemon",
    "status",
    "stop",
    "send",
    "listen",
    "peers",
    "whois",
    "backup",
    "restore",
    "export",
    "import",
    "ping",
    "doctor",
    "find",
    "history",
    "unread",
    "mark-read",
    "outbox",
    "whoami",
    "contact",
    "requests",
    "seed",
    "completions",
    "passwd",
    "config",
];
/// Every option of the contract that every command takes and that is built.
const OPTIONS: [&str; 15] = [
    "--name",
    "--data-dir",
    "--listen",
    "--via",
    "--network",
    "--allow",
    "--visibility",
    "--no-lan",
    "--interface",
    "--group",
    "--json",
    "--plain",
    "--password-cmd",
    "--timeout",
    "--verbose",
];
/// Options of the contract by command.
const OF_COMMANDS: [(&str, &[&str]); 9] = [
    ("demo", &["--keep"]),
    ("send", &["--wait", "--expire", "--strict"]),
    ("listen", &["--from", "--count", "--events", "--raw", "--exec"]),
    ("peers", &["--wait"]),
    ("ping", &["--count"]),
    ("export", &["--format"]),
    ("history", &["--limit", "--since", "--search"]),
    ("unread", &["--total"]),
    ("whoami", &["--link", "--qr"]),
];

/// Actions of the contract by command, as far as they are built.
const ACTIONS: [(&str, &[&str]); 4] = [
    ("outbox", &["list", "cancel", "edit", "retry"]),
    ("contact", &["list", "add", "rename", "verify", "receipts", "block", "unblock", "remove"]),
    ("requests", &["accept", "refuse"]),
    ("seed", &["status", "list", "lookup", "register", "unregister"]),
];

fn help(args: &[&str]) -> String {
    let mut command = program();
    command.args(args).arg("--help");
    let ended = run(command).expect(0);
    assert_eq!(ended.err, "");
    ended.out
}

#[test]
fn every_row_of_the_contract_that_is_built_is_in_the_help() {
    let all = help(&[]);
    for option in OPTIONS {
        assert!(all.contains(option), "{option}");
    }
    for command in COMMANDS {
        assert!(all.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{command}");
        let own = help(&[command]);
        assert!(own.contains("Usage: p2pchat-udp"), "{command}");
    }
    for (command, options) in OF_COMMANDS {
        let own = help(&[command]);
        for option in options {
            assert!(own.contains(option), "{command} {option}");
        }
    }
    for (command, actions) in ACTIONS {
        for action in actions {
            assert!(help(&[command]).contains(action), "{command} {action}");
            assert!(help(&[command, action]).contains("Usage: p2pchat-udp"), "{command} {action}");
        }
    }
    assert!(help(&["contact", "add"]).contains("--petname"));
    assert!(help(&["contact", "verify"]).contains("--yes"));
}

#[test]
fn what_is_not_built_is_not_offered() {
    let all = help(&[]);
    assert_eq!(all.contains("--directory"), cfg!(feature = "redis"), "only where it can work");
}

#[test]
fn a_wrong_command_line_is_one_line_and_exit_2() {
    for args in [
        &["--colour"][..],
        &["dance"],
        &["send"],
        &["--allow", "everybody", "peers"],
        &["--timeout", "soon", "peers"],
        &["--timeout", "10000000000000000000s", "peers"],
        &["send", "bob", "hi", "--expire", "36526d"],
        &["--listen", "nowhere", "peers"],
        &["--group", "192.0.2.1:1", "peers"],
        &["--via", "seed.example", "peers"],
        &["--via", "2001:db8::1:17118", "peers"],
        &["--visibility", "seen", "peers"],
        &["--name", "#room", "peers"],
        &["--name", "p2pchat:x", "peers"],
        &["--name", "a\nb", "peers"],
        &["--name", &"x".repeat(65), "peers"],
        &["send", "bob", "hi", "--wait", "forever"],
        &["send", "bob,,alice", "hi"],
        &["listen", "--raw", "--json"],
        &["outbox", "burn"],
        &["seed"],
        &["seed", "lookup"],
        &["seed", "status", "seed.example"],
        &["contact"],
        &["contact", "add", "p2pchat:nobody"],
        &["contact", "rename", "bob", "/bob"],
        &["contact", "block"],
        &["find"],
        &["config", "colour"],
        &["config", "listen", "nowhere"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program();
        command.args(args).arg("--data-dir").arg(dir.path().join("p"));
        let ended = run(command).expect(2);
        let first = ended.err.lines().next().unwrap_or_default();
        assert!(first.starts_with("p2pchat-udp: "), "{args:?}: {}", ended.err);
        assert!(ended.err.lines().count() <= 2, "{args:?}: {}", ended.err);
        assert_eq!(ended.out, "", "{args:?}");
        assert!(!dir.path().join("p").join("profile.redb").exists(), "{args:?} made a profile");
    }
}

#[test]
fn a_bad_text_is_refused_before_anything_is_queued() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    alice.run(["send", &id, ""]).expect(2);
    for (input, args) in [
        (&b""[..], &["send", &id][..]),
        (b"\n", &["send", &id, "-"]),
        (b"a\0b", &["send", &id]),
        (b"a\xffb", &["send", &id, "--strict"]),
        (&vec![b'x'; 1_048_577], &["send", &id]),
    ] {
        alice.run_with(input, args).expect(2);
    }
    assert_eq!(alice.run(["outbox", "--json"]).expect(0).out, "");
    assert_eq!(alice.run(["history", "--json"]).expect(0).out, "");
}

#[test]
fn stdin_is_mended_with_a_notice_and_loses_one_newline() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let id = bob.id();
    let ended = alice.run_with(b"a\xffb\n\n", &["send", &id, "--wait", "queued"]).expect(0);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    alice.run(["send", &id, "--wait", "queued", "--", "-x", "two", "words"]).expect(0);
    assert_eq!(alice.history(), ["out a\u{fffd}b\n queued", "out -x two words queued"]);
}

/// Key, value by file, environment and flag.
const KEYS: [(&str, &str, &str, &str); 15] = [
    ("name", "file", "environment", "flag"),
    ("listen", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"),
    ("via", "a.example:1", "b.example:2", "c.example:3"),
    ("network", "file", "environment", "flag"),
    ("allow", "lan", "requests", "contacts"),
    ("visibility", "listed", "findable", "hidden"),
    ("no_lan", "true", "false", "true"),
    ("interface", "eth8", "eth9", "eth7"),
    ("group", "224.0.0.1:1", "224.0.0.1:2", "224.0.0.1:3"),
    ("plain", "true", "false", "true"),
    ("read_receipts", "true", "", ""),
    ("joins", "false", "", ""),
    ("notify_cmd", "beep", "", ""),
    ("away_after", "5m", "", ""),
    ("retention", "30d", "", ""),
];

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default_for_each_key() {
    for (key, file, environment, flag) in KEYS {
        let dir = tempfile::tempdir().unwrap();
        let shown = |with_file: bool, with_environment: bool, with_flag: bool| {
            let text = match key {
                "no_lan" | "plain" | "read_receipts" | "joins" => format!("{key} = {file}\n"),
                "via" | "interface" | "group" => format!("{key} = [\"{file}\"]\n"),
                _ => format!("{key} = \"{file}\"\n"),
            };
            std::fs::write(dir.path().join("config.toml"), if with_file { &text } else { "" }).unwrap();
            let mut command = program();
            if with_environment {
                command.env(format!("P2PCHAT_{}", key.to_uppercase()), environment);
            }
            if with_flag {
                command.arg(format!("--{}", key.replace('_', "-")));
                if !matches!(key, "no_lan" | "plain") {
                    command.arg(flag);
                }
            }
            command.arg("--data-dir").arg(dir.path()).args(["config", key, "--json"]);
            let line = run(command).expect(0).lines().remove(0);
            let value = match &line["value"] {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(list) => list.iter().map(|v| v.as_str().unwrap()).collect::<Vec<_>>().join(","),
                other => other.to_string(),
            };
            (value, line["origin"].as_str().unwrap().to_owned())
        };
        let is = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
        assert_eq!(shown(false, false, false).1, "default", "{key}");
        assert_eq!(shown(true, false, false), is(file, "file"), "{key}");
        if environment.is_empty() {
            continue;
        }
        assert_eq!(shown(true, true, false), is(environment, "environment"), "{key}");
        assert_eq!(shown(true, true, true), is(flag, "flag"), "{key}");
        assert_eq!(shown(true, false, true), is(flag, "flag"), "{key}");
    }
}

#[test]
fn config_lists_and_stores_and_names_a_mistake_with_its_line() {
    let net = Net::new();
    let alice = net.person("alice");
    let all = alice.run(["config", "--json"]).expect(0);
    let keys: BTreeSet<String> = all.events("config").iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect();
    for (key, ..) in KEYS {
        assert!(keys.contains(key), "{key}");
    }
    alice.run(["config", "bell", "off"]).expect(0);
    let bell = alice.run(["config", "bell", "--json"]).expect(0).lines().remove(0);
    assert_eq!((&bell["value"], &bell["origin"]), (&false.into(), &"file".into()));
    std::fs::write(alice.profile().join("config.toml"), "bell = true\n\nbel = false\n").unwrap();
    for args in [&["config"][..], &["peers"], &["daemon"]] {
        let ended = alice.run(args).expect(2);
        assert!(ended.err.contains("line 3") && ended.err.contains("bel"), "{}", ended.err);
    }
}

#[test]
fn the_name_is_kept_in_the_profile() {
    let net = Net::new();
    let alice = net.person("alice");
    alice.run(["whoami"]).expect(0);
    let mut command = program();
    command.arg("--data-dir").arg(alice.profile()).args(["whoami", "--json", "--no-lan"]);
    assert_eq!(run(command).expect(0).lines()[0]["name"], "alice");
}

/// What bash offers for the last of these words, by the script that the program prints.
fn completed(words: &str) -> Vec<String> {
    let mut command = program();
    command.args(["completions", "bash"]);
    let script = run(command).expect(0).out;
    let asks = format!(
        "{script}\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         $(complete -p p2pchat-udp | sed 's|.*-F *\\([^ ]*\\).*|\\1|') p2pchat-udp \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    );
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-c", &asks]);
    run(bash).expect(0).out.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_actions_options_and_values() {
    assert_eq!(completed("p2pchat-udp hist"), ["history"]);
    assert_eq!(completed("p2pchat-udp contact ver"), ["verify"]);
    assert_eq!(completed("p2pchat-udp send --wait r"), ["read"]);
    assert_eq!(completed("p2pchat-udp unread --tot"), ["--total"]);
    assert_eq!(completed("p2pchat-udp --allow c"), ["contacts"]);
    for (shell, sign) in [("zsh", "#compdef p2pchat-udp"), ("fish", "complete -c p2pchat-udp")] {
        let mut command = program();
        command.args(["completions", shell]);
        let script = run(command).expect(0).out;
        assert!(script.contains(sign) && script.contains("mark-read"), "{shell}");
        // Where that shell is on this machine, it must read it.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        if let Ok(status) = std::process::Command::new(shell).arg("-n").arg(file.path()).status() {
            assert!(status.success(), "{shell}");
        }
    }
    let mut command = program();
    command.args(["completions", "tcsh"]);
    assert!(run(command).expect(2).err.contains("bash, zsh, fish"));
}

/// What stands in the tests that run the program, but for those that compare lists with lists.
fn tested() -> String {
    let mut all = String::new();
    for room in ["it", "lan"] {
        let dir = format!("{}/tests/{room}", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let lists = ["manual.rs", "schema.rs"].map(std::ffi::OsStr::new);
            if path.is_file() && !lists.contains(&path.file_name().unwrap()) {
                let text = std::fs::read_to_string(path).unwrap();
                // Behind this file's own lists.
                all += text.split_once("\nfn help(").map_or(text.as_str(), |(_, tests)| tests);
            }
        }
    }
    all
}

#[test]
fn every_row_of_the_contract_that_is_built_is_used_by_a_test_through_the_program() {
    let tested = tested();
    let has = |words: &[String]| words.iter().any(|word| tested.contains(word.as_str()));
    let mut missing = Vec::new();
    for command in COMMANDS {
        if !has(&[format!("\"{command}\""), format!("p2pchat-udp {command}")]) {
            missing.push(command.to_owned());
        }
    }
    let options = OPTIONS.iter().copied().chain(OF_COMMANDS.iter().flat_map(|(_, options)| options.iter().copied()));
    for option in options {
        let short = if option == "--verbose" { "\"-v\"".to_owned() } else { format!("{option} ") };
        if !has(&[format!("\"{option}\""), format!("\"{option}="), short]) {
            missing.push(option.to_owned());
        }
    }
    for (command, actions) in ACTIONS {
        for action in actions {
            if !has(&[format!("\"{command}\", \"{action}\""), format!("{command} {action}"), format!("{command}\", \"{action}")])
            {
                missing.push(format!("{command} {action}"));
            }
        }
    }
    for entry in p2pchat_udp::shell::topics::commands() {
        let name = entry.name;
        if !has(&[format!("/{name}\""), format!("/{name} "), format!("/{name}\\n"), format!("/{name}\\r")]) {
            missing.push(format!("/{name}"));
        }
    }
    for key in p2pchat_udp::config::keys() {
        if !KEYS.iter().any(|(known, ..)| *known == key) && !has(&[format!("\"{key}\""), format!("{key} =")]) {
            missing.push(format!("config {key}"));
        }
    }
    assert_eq!(missing, [] as [String; 0]);
}
