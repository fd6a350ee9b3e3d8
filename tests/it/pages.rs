//! `man/p2pchat-udp-commands.1`: every command with its arguments, options and examples, made from the definitions of the command
//! line, which `--help` shows too. `P2PCHAT_RECORD=1 cargo test --test it pages` writes it anew.

use std::{fmt::Write, path::PathBuf};

use clap::Command;
use clap_mangen::Man;
use p2pchat_udp::cli;

const HEAD: &str = r#".\" Made from the definitions of the command line: P2PCHAT_RECORD=1 cargo test --test it pages
.ie \n(.g .ds Aq \(aq
.el .ds Aq '
.TH p2pchat\-udp\-commands 1
.SH NAME
p2pchat\-udp\-commands \- every command of p2pchat\-udp
.SH DESCRIPTION
What
.B \-\-help
says of each command, on one page.
What they are for, and what they do where something is in the way, stands in
.BR p2pchat\-udp (1).
"#;
const FOOT: &str = r#".SH "SEE ALSO"
.BR p2pchat\-udp (1),
.BR p2pchat\-udp\-control (7)
"#;

fn page() -> String {
    let mut root = cli::command();
    root.build();
    let mut page = HEAD.to_owned();
    let globals: Vec<_> = root.get_arguments().filter(|arg| arg.is_global_set()).map(|arg| arg.get_id().clone()).collect();
    section(&mut page, "OPTIONS OF EVERY COMMAND", &options(&root, |id| globals.iter().any(|global| global == id)));
    // What a feature adds stands in the manual of seeds alone.
    let own = options(&root, |id| !globals.contains(id) && !["help", "version", "directory"].iter().any(|other| id == other));
    section(&mut page, "OPTIONS WITHOUT A COMMAND", &own);
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(&mut page, command, &globals);
    }
    // Readable for a groff that knows no UTF-8.
    let escaped = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    (page + FOOT).chars().map(escaped).collect()
}

/// A command, and behind it what it is made of.
fn describe(page: &mut String, command: &Command, globals: &[clap::Id]) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let own = options(command, |id| !globals.contains(id) && id != "help" && id != "version");
    let about = command.get_about().map_or_else(String::new, ToString::to_string);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").lines().map(str::trim).collect::<Vec<_>>().join("\n");
    write!(page, ".SH \"{}\"\n{}.\n.PP\n.nf\n{}\n.fi\n", roff(&name), roff(&about), roff(&usage)).unwrap();
    page.push_str(&own);
    if let Some(after) = command.get_after_help() {
        write!(page, ".PP\n.nf\n{}\n.fi\n", roff(after.to_string().trim_end())).unwrap();
    }
    for part in command.get_subcommands().filter(|part| part.get_name() != "help") {
        describe(page, part, globals);
    }
}

fn section(page: &mut String, title: &str, text: &str) {
    write!(page, ".SH \"{title}\"\n{text}").unwrap();
}

/// The arguments and options of a command that are wanted, as the library writes them.
fn options(command: &Command, wanted: impl Fn(&clap::Id) -> bool) -> String {
    let mut command = command.clone();
    let ids: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    for id in ids.iter().filter(|id| !wanted(id)) {
        command = command.mut_arg(id, |arg| arg.hide(true));
    }
    let mut out = Vec::new();
    Man::new(command).render_options_section(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    // Without its preamble and its own heading.
    let lines = text.lines().skip_while(|line| !line.starts_with(".SH ")).skip(1);
    lines.map(|line| format!("{line}\n")).collect()
}

/// A text as it stands, for groff.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    escaped
        .lines()
        .map(|line| if line.starts_with('.') { format!("\\&{line}") } else { line.to_owned() })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_page_of_all_commands_is_what_the_command_line_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("man/p2pchat-udp-commands.1");
    let page = page();
    if std::env::var_os("P2PCHAT_RECORD").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "P2PCHAT_RECORD=1 cargo test --test it pages writes it anew");
    for command in cli::command().get_subcommands() {
        assert!(page.contains(&format!(".SH \"p2pchat\\-udp {}", roff(command.get_name()))), "{}", command.get_name());
    }
}
