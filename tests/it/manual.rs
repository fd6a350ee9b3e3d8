//! The manual pages against the program: what one says, the other does, and nothing else.

use std::collections::BTreeSet;

use p2pchat_udp::{config, control::call::Call, node::event::NoticeCode, shell::topics};

use crate::person::{Net, program, run};

pub(crate) fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/man/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The page without its macros: words as a reader sees them.
fn read(page: &str) -> String {
    page.replace("\\-", "-").replace("\\fR", "").replace("\\fB", "").replace("\\fI", "").replace("\\fP", "").replace("\\|", "")
}

fn help(args: &[&str]) -> String {
    let mut command = program();
    command.args(args).arg("--help");
    run(command).expect(0).out
}

/// Long options and the commands that a help text offers.
fn offered(help: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let option = |line: &str| {
        let at = line.trim_start();
        let at = if at.starts_with('-') && !at.starts_with("--") { at.split_once(", ").map_or(at, |(_, long)| long) } else { at };
        let long = at.strip_prefix("--")?;
        let end = long.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(long.len());
        (end > 0).then(|| format!("--{}", &long[..end]))
    };
    let options = help.lines().filter_map(option).collect();
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    (options, commands)
}

/// Long options named as the head of a paragraph; those of features that are not built left out.
fn documented(page: &str) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    let is_built = |line: &&str| cfg!(feature = "redis") || !line.contains("(feature redis)");
    for line in read(page).lines().filter(is_built) {
        if let Some(rest) = line.strip_prefix(".BR ").or_else(|| line.strip_prefix(".B ")) {
            for word in rest.split([' ', '"', ',']).filter(|word| word.starts_with("--") && word.len() > 2) {
                let end = word[2..].find(|c: char| !(c.is_ascii_lowercase() || c == '-')).map_or(word.len(), |end| end + 2);
                options.insert(word[..end].to_owned());
            }
        }
    }
    options
}

#[test]
fn every_option_and_command_of_the_help_is_in_the_manual_and_the_other_way_round() {
    let page = page("p2pchat-udp.1");
    let (mut options, commands) = offered(&help(&[]));
    for command in &commands {
        options.extend(offered(&help(&[command])).0);
        for action in offered(&help(&[command])).1 {
            options.extend(offered(&help(&[command, &action])).0);
            assert!(read(&page).contains(&format!(".B {action}\n")), "{command} {action}");
        }
    }
    assert_eq!(documented(&page), options);
    let sections: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".SS "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    assert_eq!(sections, commands);
}

#[test]
fn every_setting_variable_and_shell_command_is_in_the_manual() {
    let page = read(&page("p2pchat-udp.1"));
    for key in config::keys() {
        assert!(page.contains(key), "{key}");
    }
    let help = help(&[]);
    for word in help.split(|c: char| !(c.is_ascii_uppercase() || c == '_')).filter(|word| word.starts_with("P2PCHAT_")) {
        assert!(page.contains(word), "{word}");
    }
    for entry in topics::commands() {
        assert!(page.contains(&format!("/{} ", entry.name)) || page.contains(&format!("/{}\n", entry.name)), "/{}", entry.name);
    }
    let named = page.lines().filter_map(|line| line.strip_prefix(".B /").or_else(|| line.strip_prefix(".BI \"/")));
    for name in named.filter_map(|line| line.split([' ', '"']).next()) {
        assert!(topics::commands().any(|entry| entry.name == name), "/{name} is not built");
    }
}

/// The heads of the paragraphs of one section.
pub(crate) fn heads(page: &str, section: &str) -> BTreeSet<String> {
    let mut lines = page.lines().skip_while(|line| line.trim_start_matches(".SH ").trim_matches('"') != section).skip(1);
    let mut heads = BTreeSet::new();
    while let Some(line) = lines.next().filter(|line| !line.starts_with(".SH")) {
        if line == ".TP"
            && let Some(head) = lines.next().and_then(|line| line.strip_prefix(".B "))
        {
            heads.insert(head.to_owned());
        }
    }
    heads
}

#[test]
fn the_control_page_has_every_call_event_and_notice_and_no_other() {
    let page = page("p2pchat-udp-control.7");
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(heads(&page, "CALLS"), set(&Call::NAMES));
    let events = [
        "ready", "peer", "message", "status", "history", "outbox", "unread", "contact", "request", "seed", "imported", "pong",
        "ping", "check", "whoami", "owner", "config", "notice", "error", "done",
    ];
    assert_eq!(heads(&page, "EVENTS"), set(&events));
    for code in heads(&page, "NOTICE CODES") {
        assert!(serde_json::from_value::<NoticeCode>(code.clone().into()).is_ok(), "{code} does not exist");
    }
    for code in names_of("src/node/event.rs", "pub enum NoticeCode {") {
        assert!(heads(&page, "NOTICE CODES").contains(&code), "{code} is not in the manual");
    }
    for reason in names_of("src/node/command.rs", "pub enum Reason {") {
        assert!(page.contains(&reason), "{reason} is not in the manual");
    }
}

/// The variants of an enum in a source file, as JSON writes them.
fn names_of(file: &str, head: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let body = text.split_once(head).unwrap().1.split_once("\n}").unwrap().0;
    let variants = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    let kebab = |name: &str| {
        let mut out = String::new();
        for c in name.chars() {
            if c.is_ascii_uppercase() && !out.is_empty() {
                out.push('-');
            }
            out.push(c.to_ascii_lowercase());
        }
        out
    };
    let names: Vec<String> = variants.filter(|name| name.chars().all(char::is_alphanumeric)).map(kebab).collect();
    assert!(names.len() > 3, "{head}: {names:?}");
    names
}

#[test]
fn every_error_code_of_the_program_is_in_the_manual_with_its_exit() {
    let page = page("p2pchat-udp-control.7");
    let documented: BTreeSet<String> =
        page.lines().filter_map(|line| line.split_once('|')).map(|(code, _)| code.to_owned()).collect();
    let mut found = BTreeSet::new();
    for file in sources(&format!("{}/src", env!("CARGO_MANIFEST_DIR")).into()) {
        let text = std::fs::read_to_string(&file).unwrap();
        if file.ends_with("tests.rs") {
            continue;
        }
        for at in text.split("ErrorLine::new(\"").skip(1) {
            let (code, rest) = at.split_once('"').unwrap();
            let exit: String = rest.trim_start_matches([',', ' ', '\n']).chars().take_while(char::is_ascii_digit).collect();
            found.insert((code.to_owned(), exit));
        }
    }
    assert!(found.len() > 10, "{found:?}");
    for (code, exit) in found.iter().filter(|(code, _)| code != "x") {
        assert!(documented.contains(code), "{code}");
        let row = page.lines().find_map(|line| line.strip_prefix(&format!("{code}|"))).unwrap_or_default();
        assert!(row.trim_end_matches("|T{").split(", ").any(|one| one == exit || exit.is_empty()), "{code} has exit {exit}");
    }
}

fn sources(dir: &std::path::PathBuf) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_exit_code_of_the_program_is_in_the_manual() {
    let page = page("p2pchat-udp.1");
    for exit in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "130, 143"] {
        assert!(page.contains(&format!("\n{exit}|T{{")), "{exit}");
    }
    // And a real one, so that the table is not all there is.
    Net::new().person("alice").run(["status"]).expect(11);
}
