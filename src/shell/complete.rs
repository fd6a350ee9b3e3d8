//! TAB: commands, names, ids. What a completed line means does not live here.

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustyline::{
    Context, Helper,
    completion::{Completer, FilenameCompleter, Pair},
    highlight::{CmdKind, Highlighter},
    hint::Hinter,
    validate::Validator,
};

use tokio::sync::Notify;
use unicode_width::UnicodeWidthStr;

use super::{
    parse::{find, quote},
    topics::{self, First},
};
use crate::{id::PeerId, text::name_key};

/// Candidates shown at most.
const CANDIDATES_MAX: usize = 100;

/// What can be completed now. The shell keeps it up to date; the line editor reads it in its own thread.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lists: Mutex<Lists>,
    typed: AtomicBool,
    /// Rings at each key.
    keys: Notify,
}

/// Names as they are written, each with its id, and ids of messages that wait.
#[derive(Debug, Default, Clone)]
pub struct Lists {
    /// Names and ids of peers.
    pub names: Vec<(String, PeerId)>,
    /// Short ids of messages in the outbox.
    pub waiting: Vec<String>,
}

impl Known {
    /// From now on these peers.
    pub fn set_names(&self, names: Vec<(String, PeerId)>) {
        self.0.lists.lock().unwrap_or_else(PoisonError::into_inner).names = names;
    }

    /// From now on these messages wait.
    pub fn set_waiting(&self, waiting: Vec<String>) {
        self.0.lists.lock().unwrap_or_else(PoisonError::into_inner).waiting = waiting;
    }

    /// True where a key was pressed since this was asked last.
    pub fn take_typed(&self) -> bool {
        self.0.typed.swap(false, Ordering::Relaxed)
    }

    /// Waits for a key.
    pub async fn key(&self) {
        self.0.keys.notified().await;
    }

    fn lists(&self) -> Lists {
        self.0.lists.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where the completed part of `line` (up to the cursor) begins, and what may stand there: what is
/// shown, and what is written.
pub fn complete(line: &str, lists: &Lists) -> (usize, Vec<(String, String)>) {
    let Some(rest) = line.strip_prefix('/') else { return (line.len(), Vec::new()) };
    let Some((word, arguments)) = rest.split_once(' ') else {
        return (0, commands(rest, "/"));
    };
    let Ok(entry) = find(word) else { return (line.len(), Vec::new()) };
    let partial = arguments.trim_start();
    let start = line.len() - partial.len();
    let mut found = match entry.first {
        // Files are the editor's own business.
        First::Other | First::File => Vec::new(),
        First::Command => commands(partial.trim_start_matches('/'), ""),
        First::Message => lists.waiting.iter().filter(|id| id.starts_with(partial)).map(|id| (id.clone(), id.clone())).collect(),
        First::Peer => peers(partial, lists, entry.name == "msg"),
    };
    found.truncate(CANDIDATES_MAX);
    (start, found)
}

/// The cursor stands where a command has a file.
fn takes_file(head: &str) -> bool {
    let command = head.strip_prefix('/').and_then(|rest| rest.split_once(' '));
    command.is_some_and(|(word, _)| find(word).is_ok_and(|entry| entry.first == First::File))
}

fn commands(partial: &str, slash: &str) -> Vec<(String, String)> {
    let partial = partial.to_lowercase();
    let begins = topics::commands().filter(|entry| entry.name.starts_with(&partial));
    let space = |takes: &str| if takes.is_empty() || slash.is_empty() { "" } else { " " };
    begins.map(|entry| (format!("{slash}{}", entry.name), format!("{slash}{}{}", entry.name, space(entry.takes)))).collect()
}

fn peers(partial: &str, lists: &Lists, text_follows: bool) -> Vec<(String, String)> {
    let quoted = partial.strip_prefix('"');
    let wanted = quoted.unwrap_or(partial);
    // Behind the name there is a text: nothing to complete in it.
    if text_follows && (quoted.is_none() && partial.contains(' ') || quoted.is_some_and(|rest| rest.contains('"'))) {
        return Vec::new();
    }
    let wanted = name_key(wanted);
    let space = if text_follows { " " } else { "" };
    let by_name = lists.names.iter().filter(|(name, _)| name_key(name).starts_with(&wanted));
    let mut found: Vec<(String, String)> = by_name.map(|(name, _)| (name.clone(), format!("{}{space}", quote(name)))).collect();
    if found.is_empty() && !wanted.is_empty() {
        let ids = lists.names.iter().filter(|(_, id)| id.to_string().starts_with(&wanted));
        found = ids.map(|(name, id)| (format!("{} {name}", id.short()), format!("{id}{space}"))).collect();
    }
    found.sort();
    found.dedup();
    found
}

/// What the line editor asks while a line is typed.
#[derive(Debug)]
pub(super) struct Editing {
    pub(super) known: Known,
    pub(super) color: bool,
    /// What is typed is a secret: not shown, not completed.
    pub(super) hidden: bool,
}

impl Helper for Editing {}
impl Validator for Editing {}

impl Completer for Editing {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        if self.hidden {
            return Ok((pos, Vec::new()));
        }
        let head = line.get(..pos).unwrap_or(line);
        if takes_file(head) {
            return FilenameCompleter::new().complete_path(line, pos);
        }
        let (start, found) = complete(head, &self.known.lists());
        Ok((start, found.into_iter().map(|(display, replacement)| Pair { display, replacement }).collect()))
    }
}

impl Hinter for Editing {
    type Hint = String;

    /// No hints; but this is asked after each key, so it tells that somebody is there.
    fn hint(&self, _: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.known.0.typed.store(true, Ordering::Relaxed);
        self.known.0.keys.notify_one();
        None
    }
}

impl Highlighter for Editing {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        // As many columns, since the editor reckons with them.
        if self.hidden { Cow::Owned(" ".repeat(line.width())) } else { Cow::Borrowed(line) }
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        self.hidden
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if self.color { Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m")) } else { Cow::Borrowed(prompt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists() -> Lists {
        let mut base = [0x66; 32];
        base[0] = 0x58;
        let id = PeerId::from_bytes(base).unwrap();
        let names = ["bob", "Bobby", "Ann Lee"].map(|name| (name.to_owned(), id)).to_vec();
        Lists { names, waiting: vec!["ab12cd".into(), "ffee00".into()] }
    }

    fn written(line: &str) -> Vec<String> {
        let (start, found) = complete(line, &lists());
        found.into_iter().map(|(_, written)| format!("{}{written}", &line[..start])).collect()
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(written("/pe"), ["/peers"]);
        assert_eq!(written("/m"), ["/msg ", "/me "]);
        assert_eq!(written("/help hi"), ["/help history"]);
        assert_eq!(written("/xyz"), [""; 0]);
    }

    #[test]
    fn names_are_completed_and_quoted() {
        assert_eq!(written("/to b"), ["/to Bobby", "/to bob"]);
        assert_eq!(written("/to A"), ["/to \"Ann Lee\""]);
        assert_eq!(written("/to \"ann l"), ["/to \"Ann Lee\""]);
        assert_eq!(written("/msg an"), ["/msg \"Ann Lee\" "]);
        assert_eq!(written("/msg bob an"), [""; 0], "a text is not completed");
        assert_eq!(written("bo"), [""; 0]);
    }

    #[test]
    fn ids_are_completed() {
        let id = lists().names[0].1.to_string();
        assert_eq!(written(&format!("/whois {}", &id[..6]))[0], format!("/whois {id}"));
        assert_eq!(written("/cancel ab"), ["/cancel ab12cd"]);
        assert_eq!(written("/cancel "), ["/cancel ab12cd", "/cancel ffee00"]);
    }
}
