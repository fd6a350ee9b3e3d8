//! What a typed line means. Nothing is done here, and nothing is looked up: a name is still only what
//! somebody wrote.

use super::topics::{Entry, TOPICS, Topic, commands};
use crate::control::{call::Told, proto::Allow};

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// An empty line.
    Nothing,
    /// A text for the target.
    Text(String),
    /// `/msg PEER TEXT`
    Msg {
        /// To whom, as written.
        peer: String,
        /// What.
        text: String,
    },
    /// `/to PEER`: bare text goes there from now on.
    To(String),
    /// `/close`: bare text goes to nobody from now on.
    Close,
    /// `/reply TEXT`, to whoever wrote last.
    Reply(String),
    /// `/me TEXT`: an action, to the target.
    Me(String),
    /// `/peers`
    Peers,
    /// `/history [N]`, of the target, or of everybody.
    History(Option<u32>),
    /// `/export FILE`: what the target and I said, or all.
    Export(String),
    /// `/unread`
    Unread,
    /// `/next`: to the next one whose messages are unread.
    Next,
    /// `/search WORDS`: in what the target and I said, or in all.
    Search(String),
    /// `/outbox`
    Outbox,
    /// `/cancel ID`
    Cancel(String),
    /// `/nick NAME`
    Nick(String),
    /// `/whois PEER`
    Whois(String),
    /// `/ping PEER`
    Ping(String),
    /// `/doctor`
    Doctor,
    /// `/find WORDS`
    Find(String),
    /// `/seeds`
    Seeds,
    /// `/add LINK [PETNAME]`
    Add {
        /// A link or a full id, as written.
        link: String,
        /// What I call it.
        petname: Option<String>,
    },
    /// `/rename PEER [PETNAME]`
    Rename {
        /// Whom, as written.
        peer: String,
        /// What I call it; absent: what it calls itself.
        petname: Option<String>,
    },
    /// `/verify PEER [yes]`
    Verify {
        /// Whom, as written.
        peer: String,
        /// Its owner and I have the same words.
        yes: bool,
    },
    /// `/block PEER`
    Block(String),
    /// `/unblock PEER`
    Unblock(String),
    /// `/requests`
    Requests,
    /// `/accept PEER`
    Accept(String),
    /// `/refuse PEER`
    Refuse(String),
    /// `/allow [lan|requests|contacts]`: sets it, or says what it is.
    Allow(Option<Allow>),
    /// `/receipts [PEER] on|off|default`: whether contacts, or one, are told what I have read; without a word, what is so.
    Receipts {
        /// One contact; absent: all of whom nothing else is said.
        peer: Option<String>,
        /// Whether; absent: says what is so.
        told: Option<Told>,
    },
    /// `/away [TEXT]`
    Away(String),
    /// `/back`
    Back,
    /// `/joins [on|off]`: whether comings and goings are said here; absent: says what is so.
    Joins(Option<bool>),
    /// `/config [KEY [VALUE]]`: the settings, or one; or sets it.
    Config {
        /// Which; absent: all.
        key: Option<String>,
        /// Absent: says what it is. Empty: takes it out of the file.
        value: Option<String>,
    },
    /// `/editor [TEXT]`: a message, written in the person's own editor.
    Editor(String),
    /// `/passwd`: another password for the profile, or none.
    Passwd,
    /// `/clear`: the screen.
    Clear,
    /// `/help [TOPIC]`
    Help(Help),
    /// `/quit`
    Quit,
    /// It means nothing; this is what to say about it.
    Wrong(String),
}

/// What `/help` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Help {
    /// All commands.
    All,
    /// Those of a topic.
    Topic(&'static Topic),
    /// One of them.
    Command(&'static Entry),
}

/// What `line` means. A text keeps its spaces and its lines.
pub fn parse_line(line: &str) -> Input {
    if line.trim().is_empty() {
        return Input::Nothing;
    }
    if let Some(text) = line.strip_prefix("//") {
        return Input::Text(format!("/{text}"));
    }
    let trimmed = line.trim_start();
    // Pasted code begins with blanks and slashes too; a command is a slash and a letter.
    let slash = trimmed
        .strip_prefix('/')
        .filter(|rest| trimmed.len() == line.len() || rest.starts_with(|c: char| c.is_ascii_alphabetic()));
    match slash {
        Some(rest) => command(rest),
        None => Input::Text(line.to_owned()),
    }
}

fn command(line: &str) -> Input {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match find(word) {
        Ok(entry) => arguments(entry, rest.trim()),
        Err(wrong) => Input::Wrong(wrong),
    }
}

/// The command that `word` names, in full or by a unique beginning.
pub fn find(word: &str) -> Result<&'static Entry, String> {
    let word = word.to_lowercase();
    let named = |entry: &&Entry| entry.name == word || entry.aliases.contains(&word.as_str());
    if let Some(entry) = commands().find(named) {
        return Ok(entry);
    }
    let begins = |entry: &&Entry| {
        !word.is_empty() && (entry.name.starts_with(&word) || entry.aliases.iter().any(|a| a.starts_with(&word)))
    };
    let found: Vec<&'static Entry> = commands().filter(begins).collect();
    let free: Vec<&'static Entry> = found.iter().copied().filter(|entry| entry.by_prefix).collect();
    let written = crate::text::Shown::short(&word, 20);
    match (free.as_slice(), found.as_slice()) {
        ([one], _) => Ok(one),
        ([], [careful, ..]) => Err(format!("write /{} in full", careful.name)),
        ([], []) => {
            let near = commands()
                .flat_map(|entry| entry.aliases.iter().chain([&entry.name]))
                .map(|name| (distance(&word, name), *name))
                .min()
                .filter(|(steps, name)| *steps <= 1 + name.len() / 4);
            let hint = near.map_or_else(|| "/help lists all".to_owned(), |(_, name)| format!("did you mean /{name}?"));
            Err(format!("unknown command /{written}: {hint}"))
        }
        (many, _) => {
            let names: Vec<String> = many.iter().map(|entry| format!("/{}", entry.name)).collect();
            Err(format!("/{written} may be {}", names.join(" or ")))
        }
    }
}

/// A peer, and what it is to be called, where that is said.
fn with_petname(rest: &str) -> Option<(String, Option<String>)> {
    match peer_and_rest(rest)? {
        (peer, "") => Some((peer, None)),
        (peer, petname) => Some((peer, Some(whole_peer(petname)?))),
    }
}

/// The words behind `/config`.
fn config(rest: &str) -> Input {
    match peer_and_rest(rest) {
        None => Input::Config { key: None, value: None },
        Some((key, "")) => Input::Config { key: Some(key), value: None },
        Some((key, value)) => Input::Config { key: Some(key), value: Some(unquoted(value)) },
    }
}

/// The word behind `/joins`, where it makes sense.
fn joins(rest: &str) -> Option<Option<bool>> {
    match rest {
        "" => Some(None),
        "on" => Some(Some(true)),
        "off" => Some(Some(false)),
        _ => None,
    }
}

/// The words behind `/receipts`, where they make sense.
fn receipts(rest: &str) -> Option<Input> {
    let told = |word: &str| match word {
        "on" => Some(Told::On),
        "off" => Some(Told::Off),
        "default" => Some(Told::Default),
        _ => None,
    };
    if rest.is_empty() {
        return Some(Input::Receipts { peer: None, told: None });
    }
    if let Some(all) = told(rest).filter(|told| *told != Told::Default) {
        return Some(Input::Receipts { peer: None, told: Some(all) });
    }
    let (peer, word) = peer_and_rest(rest)?;
    Some(Input::Receipts { peer: Some(peer), told: Some(told(word)?) })
}

fn arguments(entry: &'static Entry, rest: &str) -> Input {
    let usage = || Input::Wrong(format!("usage: /{} {}", entry.name, entry.takes));
    let text = |make: fn(String) -> Input| if rest.is_empty() { usage() } else { make(rest.to_owned()) };
    let nothing = |input: Input| if rest.is_empty() { input } else { Input::Wrong(format!("/{} takes nothing", entry.name)) };
    match entry.name {
        "to" => whole_peer(rest).map_or_else(usage, Input::To),
        "whois" => whole_peer(rest).map_or_else(usage, Input::Whois),
        "msg" => match peer_and_rest(rest) {
            Some((peer, text)) if !text.is_empty() => Input::Msg { peer, text: text.to_owned() },
            _ => usage(),
        },
        "reply" => text(Input::Reply),
        "search" => text(Input::Search),
        "export" => whole_peer(rest).map_or_else(usage, Input::Export),
        "unread" => nothing(Input::Unread),
        "next" => nothing(Input::Next),
        "me" => text(Input::Me),
        "nick" => text(|name| Input::Nick(whole_peer(&name).unwrap_or(name))),
        "cancel" => text(Input::Cancel),
        "peers" => nothing(Input::Peers),
        "ping" => whole_peer(rest).map_or_else(usage, Input::Ping),
        "doctor" => nothing(Input::Doctor),
        "find" => whole_peer(rest).map_or_else(usage, Input::Find),
        "seeds" => nothing(Input::Seeds),
        "add" => with_petname(rest).map_or_else(usage, |(link, petname)| Input::Add { link, petname }),
        "rename" => with_petname(rest).map_or_else(usage, |(peer, petname)| Input::Rename { peer, petname }),
        "verify" => match peer_and_rest(rest) {
            Some((peer, "")) => Input::Verify { peer, yes: false },
            Some((peer, "yes")) => Input::Verify { peer, yes: true },
            _ => usage(),
        },
        "requests" => nothing(Input::Requests),
        "accept" => whole_peer(rest).map_or_else(usage, Input::Accept),
        "refuse" => whole_peer(rest).map_or_else(usage, Input::Refuse),
        "receipts" => receipts(rest).unwrap_or_else(usage),
        "allow" if rest.is_empty() => Input::Allow(None),
        "allow" => Allow::parse(rest).map_or_else(usage, |allow| Input::Allow(Some(allow))),
        "block" => whole_peer(rest).map_or_else(usage, Input::Block),
        "unblock" => whole_peer(rest).map_or_else(usage, Input::Unblock),
        "outbox" => nothing(Input::Outbox),
        "close" => nothing(Input::Close),
        "away" => Input::Away(rest.to_owned()),
        "back" => nothing(Input::Back),
        "joins" => joins(rest).map_or_else(usage, Input::Joins),
        "config" => config(rest),
        "editor" => Input::Editor(rest.to_owned()),
        "passwd" => nothing(Input::Passwd),
        "clear" => nothing(Input::Clear),
        "quit" => nothing(Input::Quit),
        "history" if rest.is_empty() => Input::History(None),
        "history" => rest.parse().ok().filter(|n| *n > 0).map_or_else(usage, |n| Input::History(Some(n))),
        "help" if rest.is_empty() => Input::Help(Help::All),
        "help" => match TOPICS.iter().find(|topic| topic.name.eq_ignore_ascii_case(rest)) {
            Some(topic) => Input::Help(Help::Topic(topic)),
            None => find(rest.trim_start_matches('/')).map_or_else(Input::Wrong, |entry| Input::Help(Help::Command(entry))),
        },
        other => Input::Wrong(format!("/{other} is not built")),
    }
}

/// What stands in the double quotes around all of it, or else all of it.
fn unquoted(rest: &str) -> String {
    match peer_and_rest(rest) {
        Some((text, "")) if rest.starts_with('"') => text,
        _ => rest.to_owned(),
    }
}

/// All of `rest` as one name: quoted, or as it stands.
fn whole_peer(rest: &str) -> Option<String> {
    if rest.starts_with('"') {
        let (name, after) = peer_and_rest(rest)?;
        return after.is_empty().then_some(name);
    }
    (!rest.is_empty()).then(|| rest.to_owned())
}

/// The first word, or what stands in the double quotes that `rest` begins with (in them `\"` and `\\`
/// stand for one character), and what follows.
fn peer_and_rest(rest: &str) -> Option<(String, &str)> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        return (!word.is_empty()).then(|| (word.to_owned(), after.trim_start()));
    };
    let mut name = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return (!name.is_empty()).then(|| (name, chars.as_str().trim_start())),
            '\\' => name.push(chars.next()?),
            c => name.push(c),
        }
    }
}

/// A name as it is written behind a command: in double quotes where it needs them.
pub fn quote(name: &str) -> String {
    if !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '"') {
        return name.to_owned();
    }
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// Insertions, deletions, replacements and swaps of neighbours between two words; long words are far.
fn distance(a: &str, b: &str) -> usize {
    const LONG: usize = 24;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > LONG || b.len() > LONG {
        return LONG;
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(line: &str) -> String {
        match parse_line(line) {
            Input::Wrong(text) => text,
            other => panic!("{line:?} is {other:?}"),
        }
    }

    #[test]
    fn bare_text_is_kept_as_it_was_typed() {
        assert_eq!(parse_line("hello  there "), Input::Text("hello  there ".into()));
        assert_eq!(parse_line("two\nlines"), Input::Text("two\nlines".into()));
        assert_eq!(parse_line("//x"), Input::Text("/x".into()));
        assert_eq!(parse_line("   // a comment"), Input::Text("   // a comment".into()));
        assert_eq!(parse_line("  \t"), Input::Nothing);
    }

    #[test]
    fn a_line_that_looks_like_a_command_is_never_text() {
        assert!(wrong("/frobnicate the peer").starts_with("unknown command /frobnicate: "));
        assert!(wrong("/").starts_with("unknown command /"));
        assert!(wrong("/usr/bin/env").starts_with("unknown command /usr/bin/env"));
        assert!(wrong("  /pasword geheim").starts_with("unknown command"));
        assert!(!wrong("/\x1b[2J").contains('\x1b'));
    }

    #[test]
    fn a_unique_beginning_is_enough_but_never_for_cancel() {
        assert_eq!(parse_line("/pe"), Input::Peers);
        assert_eq!(parse_line("/PEERS"), Input::Peers);
        assert_eq!(parse_line("/q"), Input::Quit);
        assert_eq!(parse_line("/exi"), Input::Quit);
        assert_eq!(wrong("/passw"), "write /passwd in full");
        assert_eq!(parse_line("/names"), Input::Peers);
        assert_eq!(parse_line("/query bob"), Input::To("bob".into()));
        assert_eq!(wrong("/cancel"), "usage: /cancel ID");
        assert_eq!(wrong("/canc ab12"), "write /cancel in full");
        assert_eq!(parse_line("/cancel ab12"), Input::Cancel("ab12".into()));
        assert_eq!(wrong("/cl"), "/cl may be /close or /clear");
        assert!(wrong("/m bob hi").starts_with("/m may be /msg or /me"));
    }

    #[test]
    fn an_unknown_command_gets_a_suggestion() {
        assert_eq!(wrong("/pers"), "unknown command /pers: did you mean /peers?");
        assert_eq!(wrong("/histroy"), "unknown command /histroy: did you mean /history?");
        assert_eq!(wrong("/xyzzy"), "unknown command /xyzzy: /help lists all");
    }

    #[test]
    fn names_with_spaces_stand_in_quotes() {
        assert_eq!(parse_line("/msg bob hi there"), Input::Msg { peer: "bob".into(), text: "hi there".into() });
        assert_eq!(parse_line("/msg \"Ann Lee\" hi"), Input::Msg { peer: "Ann Lee".into(), text: "hi".into() });
        assert_eq!(parse_line("/msg bob one\ntwo"), Input::Msg { peer: "bob".into(), text: "one\ntwo".into() });
        assert_eq!(parse_line("/to \"Ann Lee\""), Input::To("Ann Lee".into()));
        assert_eq!(parse_line("/to Ann Lee"), Input::To("Ann Lee".into()));
        assert_eq!(wrong("/msg \"Ann"), "usage: /msg PEER TEXT");
        assert_eq!(wrong("/msg bob"), "usage: /msg PEER TEXT");
        assert_eq!(wrong("/to"), "usage: /to PEER");
    }

    #[test]
    fn a_link_may_have_a_petname_behind_it() {
        let add = |link: &str, petname: Option<&str>| Input::Add { link: link.into(), petname: petname.map(Into::into) };
        assert_eq!(parse_line("/add p2pchat:x?name=bob"), add("p2pchat:x?name=bob", None));
        assert_eq!(parse_line("/add x my bob"), add("x", Some("my bob")));
        assert_eq!(parse_line("/add x \"my bob\""), add("x", Some("my bob")));
        assert_eq!(wrong("/add"), "usage: /add LINK [PETNAME]");
        assert_eq!(wrong("/find"), "usage: /find WORDS");
        assert_eq!(parse_line("/find Ann Lee"), Input::Find("Ann Lee".into()));
        assert_eq!(wrong("/seeds x"), "/seeds takes nothing");
    }

    #[test]
    fn arguments_are_checked() {
        assert_eq!(parse_line("/history"), Input::History(None));
        assert_eq!(parse_line("/history 5"), Input::History(Some(5)));
        assert_eq!(wrong("/history 0"), "usage: /history [N]");
        assert_eq!(wrong("/history bob"), "usage: /history [N]");
        assert_eq!(wrong("/quit now"), "/quit takes nothing");
        assert_eq!(parse_line("/me waves"), Input::Me("waves".into()));
        assert!(matches!(parse_line("/help /ms"), Input::Help(Help::Command(entry)) if entry.name == "msg"));
        assert!(matches!(parse_line("/help people"), Input::Help(Help::Topic(topic)) if topic.name == "people"));
    }

    #[test]
    fn every_command_of_the_table_is_understood() {
        for entry in commands() {
            let line = format!(
                "/{} {}",
                entry.name,
                entry
                    .takes
                    .replace("[N]", "3")
                    .replace("[TOPIC]", "to")
                    .replace("[PETNAME]", "bob")
                    .replace("[NAME]", "rob")
                    .replace("[yes]", "yes")
                    .replace("[PEER] [on|off|default]", "bob off")
                    .replace("[lan|requests|contacts]", "lan")
                    .replace("[on|off]", "off")
            );
            assert!(!matches!(parse_line(&line), Input::Wrong(_)), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_means_something(line in "\\PC*|/[a-z]{0,8} ?\\PC*|(?s).*") {
            let _ = parse_line(&line);
        }

        #[test]
        fn a_quoted_name_is_read_back(name in "[a-zA-Z\" \\\\é.]{1,20}") {
            let name = name.trim().to_owned();
            prop_assume!(!name.is_empty() && !name.starts_with('"'));
            let line = format!("/msg {} hi", quote(&name));
            prop_assert_eq!(parse_line(&line), Input::Msg { peer: name, text: "hi".into() });
        }
    }
}
