//! The house rules of ARCHITECTURE.md, as a test: who may import whom, what may stand where, how long
//! things may be. Read textually, not compiled, so that it costs nothing and says file and line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Lines of a file without its tests, at most.
const FILE_LINES_MAX: usize = 500;
/// Lines of lib.rs at most: it fits a screen or two and says where to begin.
const LIB_LINES_MAX: usize = 80;
/// Lines of a function at most.
const FUNCTION_LINES_MAX: usize = 70;

/// Who may import whom; `app` may import all, what else stands in no row nothing of ours. A path with `::` allows
/// only that part of a room.
const LAYERS: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("clock", &[]),
    ("text", &["id"]),
    ("contact_link", &["id", "text"]),
    ("words", &["id"]),
    ("wire", &["id", "clock", "text"]),
    ("crypto", &["id", "clock", "text", "wire"]),
    ("session", &["id", "clock", "text", "wire", "crypto"]),
    ("store", &["id", "clock", "text", "wire", "crypto::vault"]),
    ("node", &["id", "clock", "text", "contact_link", "wire", "crypto", "session", "store"]),
    ("seed", &["id", "clock", "text", "wire", "crypto"]),
    ("net", &["id", "clock", "text", "wire", "crypto", "store", "node", "seed"]),
    (
        "control",
        &[
            "id",
            "clock",
            "text",
            "contact_link",
            "words",
            "wire::message",
            "store",
            "node::command",
            "node::event",
            "net::handle",
        ],
    ),
    ("editor", &["control::proto"]),
    ("exec", &["id", "text", "control::proto"]),
    ("shell", &["id", "clock", "text", "wire::message", "control", "editor", "exec"]),
    ("config", &["id", "clock", "text", "contact_link", "wire::record", "control::proto", "net::socket", "exec"]),
    (
        "commands",
        &[
            "id",
            "clock",
            "text",
            "contact_link",
            "wire::message",
            "store",
            "node::command",
            "control",
            "editor",
            "exec",
            "shell",
            "config",
            "cli",
            "app",
        ],
    ),
    ("cli", &["id", "clock", "text", "config", "control", "commands", "shell", "exec"]),
];

/// Everything that is handed its time, its chance and its input.
const BELOW_NET: &[&str] =
    &["id", "clock", "text", "contact_link", "words", "wire", "crypto", "session", "store", "node", "seed"];

/// What no core does, and what to do instead.
const NOT_BELOW_NET: &[(&str, &str)] = &[
    ("tokio", "the core knows no runtime; `net` does"),
    ("async", "the core never waits; it returns a deadline"),
    (".await", "the core never waits; it returns a deadline"),
    ("spawn", "threads and tasks start in `net` and `app`"),
    ("UdpSocket", "sockets are `net`'s"),
    ("TcpStream", "sockets are `net`'s"),
    ("UnixStream", "sockets are `net`'s and `control`'s"),
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("OsRng", "chance is an argument, as `rng_seed`"),
    ("thread_rng", "chance is an argument, as `rng_seed`"),
    ("getrandom", "chance is an argument, as `rng_seed`"),
    ("from_entropy", "chance is an argument, as `rng_seed`"),
    ("RandomState", "its order differs from run to run"),
    ("Mutex", "one thread, one loop: there is nothing to lock"),
    ("RwLock", "one thread, one loop: there is nothing to lock"),
    ("Condvar", "one thread, one loop: there is nothing to wait for"),
    ("std::env", "settings are arguments"),
    ("println!", "printing is for the front doors"),
    ("eprintln!", "printing is for the front doors"),
];

/// Who may have a word that is forbidden below or above, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("src/store/reader.rs", "RwLock", "readers on other threads meet a database that is opened anew"),
    ("src/seed/shards.rs", "Mutex", "the threads of a seed share one directory; a lock is held for one look into one shard"),
    ("src/shell/complete.rs", "Helper", "the name of rustyline's trait"),
];

/// Files that have outgrown [`FILE_LINES_MAX`], with their lines when that was noticed. They may shrink
/// and not grow; whoever splits one takes its row away.
const OUTGROWN: &[(&str, usize)] = &[];

/// Words that no source of ours has, and what to say instead.
const BANNED: &[(&str, &str)] = &[
    ("Manager", "name what it is, not that it manages"),
    ("Helper", "name what it is, not that it helps"),
    ("Util", "name what it is"),
    ("fn get_", "a getter is called after what it returns"),
    ("fn process", "handle_* for input, poll_* for output, on_* for reactions"),
    ("fn manage", "handle_* for input, poll_* for output, on_* for reactions"),
    ("const MAX_", "limits: noun, unit, MAX last"),
    ("todo!", "finish it"),
    ("unimplemented!", "finish it"),
    ("TODO", "finish it, or leave it out"),
    ("FIXME", "finish it, or leave it out"),
    ("dbg!", "the log is `tracing`"),
    ("#[allow(", "#[expect(lint, reason = \"…\")]"),
    ("#![allow(", "#[expect(lint, reason = \"…\")] at the spot"),
    ("unsafe {", "forbidden"),
    ("beacon", "announce"),
    ("cli.md", "say the rule, or name the manual's heading"),
    ("protocol §", "a heading of the protocol's manual page, as in (protocol, SEEDS)"),
];

/// Where a system may be named: everything special to it stands there, with a portable branch beside.
const SYSTEM_SPECIFIC: &[&str] = &["src/net/", "src/control", "src/app/signals"];

struct Source {
    path: String,
    /// As written.
    text: String,
    /// Without comments, texts of string literals and test modules; same lines.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: without_tests(&strip(text)) }
    }

    /// The first part of the path below src.
    fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    fn is_test(&self) -> bool {
        !self.path.starts_with("src/") || self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    /// Lines of code that hold `word`, not as a part of a longer name.
    fn lines_with<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.lines().enumerate().filter(move |(_, line)| has_word(line, word)).map(|(at, _)| at + 1)
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let starts = !word.starts_with(is_name) || !before.is_some_and(is_name);
        let ends = !word.ends_with(is_name) || word.ends_with('_') || !after.is_some_and(is_name);
        starts && ends
    })
}

/// Blanks comments and the insides of string and character literals, so that only code is judged.
fn strip(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut i = 0;
    while i < chars.len() {
        match chars[i] {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            'r' if (at(i + 1) == '"' || (at(i + 1) == '#' && at(i + 2) == '"')) && (i == 0 || !is_name(at(i - 1))) => {
                let end: &[char] = if at(i + 1) == '#' { &['"', '#'] } else { &['"'] };
                i += end.len() + 1;
                while i < chars.len() && !chars[i..].starts_with(end) {
                    out.extend((chars[i] == '\n').then_some('\n'));
                    i += 1;
                }
                i += end.len();
                out.push_str("\"\"");
            }
            '"' => {
                i += 1;
                while i < chars.len() && chars[i] != '"' {
                    out.extend((chars[i] == '\n').then_some('\n'));
                    i += if chars[i] == '\\' && at(i + 1) != '\n' { 2 } else { 1 };
                }
                i += 1;
                out.push_str("\"\"");
            }
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < chars.len() && chars[i] != '\'' {
                    i += 1;
                }
                i += 1;
                out.push_str("' '");
            }
            '\'' if at(i + 2) == '\'' => {
                i += 3;
                out.push_str("' '");
            }
            c => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

/// Blanks the module of unit tests at the end of a file.
fn without_tests(code: &str) -> String {
    match code.find("#[cfg(test)]\nmod tests {") {
        Some(at) => code[..at].to_owned(),
        None => code.to_owned(),
    }
}

/// The rooms of ours that a file names: `crate::a::b` as "a::b", grouped imports included.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        paths(&code[at + "crate::".len()..], "", &mut found);
    }
    found
}

/// Reads `a::b`, `a::{b, c::d}` or `{a, b::c}` and notes each path's first two parts.
fn paths(code: &str, prefix: &str, found: &mut BTreeSet<String>) -> usize {
    let name: String = code.chars().take_while(|&c| is_name(c)).collect();
    let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}::{name}") };
    let rest = &code[name.len()..];
    if let Some(group) = rest.strip_prefix(if name.is_empty() { "{" } else { "::{" }) {
        let prefix = if name.is_empty() { prefix } else { &path };
        let mut at = code.len() - group.len();
        loop {
            at += code[at..].len() - code[at..].trim_start_matches([',', ' ', '\n']).len();
            if code[at..].starts_with('}') || at >= code.len() {
                return at + 1;
            }
            at += paths(&code[at..], prefix, found).max(1);
        }
    }
    if prefix.is_empty() && rest.starts_with("::") {
        return name.len() + 2 + paths(&rest[2..], &name, found);
    }
    found.insert(path.split("::").take(2).collect::<Vec<_>>().join("::"));
    code.find([',', '}', ';', '\n', ' ', '(']).unwrap_or(code.len())
}

fn allowed(room: &str, path: &str) -> bool {
    let other = path.split("::").next().unwrap_or(path);
    if room == other || matches!(room, "lib" | "main" | "app") {
        return true;
    }
    LAYERS.iter().find(|(name, _)| *name == room).is_some_and(|(_, below)| {
        below.iter().any(|&below| below == other || path == below || (path == "wire::self" && below == "wire"))
    })
}

/// Where each function begins and how many lines it has.
fn functions(code: &str) -> Vec<(usize, usize, String)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.trim_start().split("fn ").nth(1).filter(|_| has_word(line, "fn")) else { continue };
        let name: String = name.chars().take_while(|&c| is_name(c)).collect();
        let mut depth = 0;
        let mut begun = false;
        for (end, line) in lines.iter().enumerate().skip(at) {
            for c in line.chars() {
                depth += i32::from(c == '{') - i32::from(c == '}');
                begun |= c == '{';
            }
            if begun && depth <= 0 {
                found.push((at + 1, end - at + 1, name));
                break;
            }
            if !begun && line.trim_end().ends_with(';') {
                break;
            }
        }
    }
    found
}

/// Names declared as a `HashMap` or `HashSet` in this file, and the lines that walk over one.
fn hash_walks(code: &str) -> Vec<(usize, String)> {
    let mut names = BTreeSet::new();
    for kind in ["HashMap<", "HashSet<", "HashMap::", "HashSet::"] {
        for (at, _) in code.match_indices(kind) {
            let before = code[..at].trim_end_matches(is_name).trim_end_matches(':').trim_end();
            let before = before.trim_end_matches([':', '=', ' ', '&']).trim_end_matches("mut").trim_end();
            let name: String = before.chars().rev().take_while(|&c| is_name(c)).collect();
            if !name.is_empty() {
                names.insert(name.chars().rev().collect::<String>());
            }
        }
    }
    let mut found = Vec::new();
    for (at, line) in code.lines().enumerate() {
        for name in &names {
            let walks = [".iter", ".keys", ".values", ".drain", ".retain", ".into_iter", ".into_values", ".into_keys"];
            let calls = walks.iter().any(|walk| has_word(line, name) && line.contains(&format!("{name}{walk}")));
            let loops = line.trim_start().starts_with("for ")
                && line
                    .split(" in ")
                    .nth(1)
                    .is_some_and(|over| over.trim_end_matches([' ', '{']).rsplit(['.', '&', ' ']).next() == Some(name));
            if calls || loops {
                found.push((at + 1, name.clone()));
            }
        }
    }
    found
}

fn is_exception(source: &Source, word: &str) -> bool {
    EXCEPTIONS.iter().any(|(path, excepted, _why)| *path == source.path && *excepted == word)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for dir in ["src", "tests", "examples", "benches", "fuzz/fuzz_targets"] {
        walk(&root().join(dir), &mut files);
    }
    files.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        Source::new(&name, &fs::read_to_string(path).unwrap())
    };
    files.iter().map(read).collect()
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
        let path = entry.path();
        if path.ends_with("target") {
            // What a package below has built.
        } else if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Collects what a rule finds in every file and fails with all of it.
fn check(rule: impl Fn(&Source, &mut Vec<(usize, String)>)) {
    let mut report = String::new();
    for source in sources() {
        let mut found = Vec::new();
        rule(&source, &mut found);
        for (line, what) in found {
            writeln!(report, "{}:{line}: {what}", source.path).unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn every_file_says_what_lives_in_it() {
    check(|source, found| {
        if !source.text.starts_with("//! ") {
            found.push((1, "begins with no `//! …` that says what lives here".to_owned()));
        }
    });
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    check(|source, found| {
        if !source.is_test() {
            let strangers = imports(&source.code).into_iter().filter(|path| !allowed(source.room(), path));
            found.extend(strangers.map(|path| (1, format!("{} may not import {path}", source.room()))));
        }
    });
}

#[test]
fn below_net_there_is_no_runtime_no_clock_no_chance_and_no_lock() {
    check(|source, found| {
        if source.is_test() || !BELOW_NET.contains(&source.room()) {
            return;
        }
        for (word, instead) in NOT_BELOW_NET {
            if is_exception(source, word) {
                continue;
            }
            found.extend(source.lines_with(word).map(|line| (line, format!("`{word}`: {instead}"))));
        }
        let files = ["std::fs", "fs::File", "File::open"].into_iter().filter(|_| source.room() != "store");
        for word in files {
            found.extend(source.lines_with(word).map(|line| (line, format!("`{word}`: files are the store's"))));
        }
        found.extend(
            hash_walks(&source.code)
                .into_iter()
                .map(|(line, name)| (line, format!("walks over the hash table `{name}`, whose order is chance: use a BTreeMap"))),
        );
    });
}

#[test]
fn files_and_functions_stay_short() {
    check(|source, found| {
        if source.is_test() {
            return;
        }
        let lines = without_tests(&source.text).lines().count();
        let outgrown = OUTGROWN.iter().find(|(path, _)| *path == source.path).map(|(_, lines)| *lines);
        let max = if source.path == "src/lib.rs" { LIB_LINES_MAX } else { outgrown.unwrap_or(FILE_LINES_MAX) };
        if lines > max {
            found.push((1, format!("{lines} lines without tests; {max} at most")));
        }
        let long = functions(&source.code).into_iter().filter(|(_, lines, _)| *lines > FUNCTION_LINES_MAX);
        found.extend(long.map(|(at, lines, name)| (at, format!("`{name}` has {lines} lines; {FUNCTION_LINES_MAX} at most"))));
    });
}

#[test]
fn some_words_are_not_ours() {
    check(|source, found| {
        if source.path == "tests/tidy.rs" {
            return;
        }
        for (word, instead) in BANNED.iter().filter(|(word, _)| !is_exception(source, word)) {
            let lines = source.lines_with(word).filter(|line| {
                // Rust's own name for it.
                *word != "fn get_" || !source.code.lines().nth(line - 1).is_some_and(|line| has_word(line, "get_mut"))
            });
            found.extend(lines.map(|line| (line, format!("`{word}`: {instead}"))));
        }
    });
}

#[test]
fn bincode_is_named_in_wire_only() {
    check(|source, found| {
        if source.room() != "wire" && source.path != "tests/tidy.rs" {
            found.extend(source.lines_with("bincode").map(|line| (line, "bincode stays inside wire/".to_owned())));
        }
    });
}

#[test]
fn systems_are_named_where_they_differ_only() {
    check(|source, found| {
        let may = source.is_test() || SYSTEM_SPECIFIC.iter().any(|prefix| source.path.starts_with(prefix));
        if !may {
            found.extend(
                source
                    .lines_with("target_os")
                    .map(|line| (line, "systems differ in net, control and app/signals only".to_owned())),
            );
        }
    });
}

/// The table "The walk of one message" in ARCHITECTURE.md names functions; each must exist.
#[test]
fn the_walk_of_one_message_walks_through_real_functions() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let names = walk_names(&page);
    assert!(names.len() >= 10, "the table is gone or has changed its form: {names:?}");
    let mut declared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (_, _, name) in functions(&source.code) {
            declared.entry(name).or_default().push(source.path.clone());
        }
        for kind in ["struct ", "enum "] {
            for (at, _) in source.code.match_indices(kind) {
                let name: String = source.code[at + kind.len()..].chars().take_while(|&c| is_name(c)).collect();
                declared.entry(name).or_default().push(source.path.clone());
            }
        }
    }
    let missing: Vec<_> = names.iter().filter(|name| !declared.contains_key(*name)).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md, the walk: nothing is called {missing:?}");
}

/// Names in backticks in the second column of the walk's table.
fn walk_names(page: &str) -> BTreeSet<String> {
    let Some(table) = page.split_once("walk of one message").map(|(_, rest)| rest) else { return BTreeSet::new() };
    let rows = table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(2))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .map(|name| name.rsplit("::").next().unwrap_or(&name).trim_end_matches("()").to_owned())
        .collect()
}

/// A manual page, a unit or a bot that is not in the package's list would be missing on every machine that has the package.
#[test]
fn the_debian_package_lists_what_there_is() {
    let list = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml is there");
    let list = list.split_once("[package.metadata.deb]").and_then(|(_, rest)| rest.split_once("\n[lib]")).expect("its part").0;
    let mut missing = Vec::new();
    for dir in ["man", "docs", "examples/bots", "contrib/systemd"] {
        for entry in fs::read_dir(root().join(dir)).expect(dir).map(Result::unwrap) {
            let name = entry.file_name().into_string().expect("a name in ASCII");
            let (unit, end) = name.rsplit_once('.').expect("an ending");
            let listed = [format!("[\"{dir}/{name}\""), format!("[\"{dir}/*.{end}\""), format!("[\"{dir}/*\"")];
            let is_unit = dir == "contrib/systemd" && list.contains(&format!("unit-name = \"{unit}\""));
            if !is_unit && !listed.iter().any(|asset| list.contains(asset)) {
                missing.push(format!("{dir}/{name}"));
            }
        }
    }
    assert!(missing.is_empty(), "not in the package: {missing:?}");
}

/// `benches/peers` is a workspace of its own, and has to repeat how the program is built: else it measures another one.
#[test]
fn the_program_is_built_alike_where_it_is_measured() {
    let read = |name: &str| -> toml_edit::DocumentMut {
        let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        text.parse().unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let value = |table: &toml_edit::Item, key: &str| table.get(key).map(|item| item.to_string().trim().to_owned());
    let (program, measured) = (read("Cargo.toml"), read("benches/peers/Cargo.toml"));
    let (program, measured) = (&program["profile"]["release"], &measured["profile"]["release"]);
    for key in ["lto", "codegen-units", "panic", "strip", "overflow-checks", "debug-assertions"] {
        assert_eq!(value(program, key), value(measured, key), "{key}");
    }
    assert_eq!(value(program, "opt-level"), value(&measured["package"]["p2pchat-udp"], "opt-level"));
    // All else is built for speed there, and so must be what the program builds for speed.
    assert_eq!(value(measured, "opt-level").as_deref(), Some("3"));
    for (name, package) in program["package"].as_table().expect("a table for each package").iter() {
        assert_eq!(value(package, "opt-level").as_deref(), Some("3"), "{name}");
    }
}

/// What a package says of its licence is what LICENSE-MIT says.
#[test]
fn the_debian_package_has_the_licence() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let package = read("contrib/debian/copyright");
    for line in
        read("LICENSE-MIT").lines().skip(2).map(|line| line.trim_start_matches("Copyright (c) ")).filter(|line| !line.is_empty())
    {
        assert!(package.contains(line), "contrib/debian/copyright: {line}");
    }
}

/// The rules themselves: each finds what it is for and nothing else.
mod rules {
    use super::*;

    #[test]
    fn comments_and_texts_are_no_code() {
        let source = Source::new(
            "src/node/x.rs",
            "//! tokio\nlet a = \"tokio\"; // tokio\nlet b = r#\"tokio\"#;\nlet c = '\"';\nuse tokio;\n",
        );
        assert_eq!(source.lines_with("tokio").collect::<Vec<_>>(), [5]);
        let source = Source::new("src/node/x.rs", "use a;\n#[cfg(test)]\nmod tests {\n use tokio;\n}\n");
        assert_eq!(source.lines_with("tokio").count(), 0, "tests may");
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("x.spawn(", "spawn") && has_word("fn get_x", "fn get_"));
        assert!(!has_word("respawned", "spawn") && !has_word("MutexGuardian", "Mutex"));
    }

    #[test]
    fn imports_are_seen_through_groups() {
        let code = "use crate::{\n    id::{PeerId, SessionIndex},\n    node::{command::{Command, Reply}, event::Event},\n    wire::kind,\n};\nuse crate::store::row::Contact;\nlet x = crate::text::Shown::line();";
        let expected =
            ["id::PeerId", "id::SessionIndex", "node::command", "node::event", "wire::kind", "store::row", "text::Shown"];
        assert_eq!(imports(code), expected.into_iter().map(str::to_owned).collect());
    }

    #[test]
    fn layers_hold() {
        assert!(allowed("wire", "id::PeerId") && allowed("wire", "wire::frame") && allowed("control", "node::event"));
        assert!(!allowed("wire", "crypto::keys") && !allowed("session", "store::row") && !allowed("store", "session"));
        assert!(!allowed("shell", "net::driver") && !allowed("control", "node::Node"));
    }

    #[test]
    fn functions_are_measured() {
        let code = "trait T {\n    fn a(&self);\n}\nfn b() {\n    {\n    }\n}\n";
        assert_eq!(functions(code), [(4, 4, "b".to_owned())]);
    }

    #[test]
    fn walks_over_hash_tables_are_seen() {
        let code = "struct A { peers: HashMap<u8, u8> }\nself.peers.get(&1);\nfor x in &self.peers {\nself.peers.values()\nlet mut seen = HashSet::new();\nseen.drain()\n";
        let lines: Vec<_> = hash_walks(code).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [3, 4, 6]);
    }

    #[test]
    fn the_walk_is_read_from_its_table() {
        let page = "## The walk of one message\n\n| # | file | what |\n|---|---|---|\n| 1 | shell/parse `parse_line` | text → `Command` |\n| 2 | `Node::handle_command()` | x |\n\n| `other` |\n";
        assert_eq!(walk_names(page), ["handle_command", "parse_line"].into_iter().map(str::to_owned).collect());
    }
}
