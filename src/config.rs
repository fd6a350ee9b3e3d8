//! Settings: a flag beats the environment beats `config.toml` beats the default. What a setting does
//! does not live here.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use toml_edit::{Document, DocumentMut, Item};

use crate::{
    contact_link::check_seed,
    control::proto::{Allow, ConfigLine, Counts, ErrorLine, Span},
    exec::Exec,
    net::socket::{Groups, Listen},
    text::Name,
    wire::record::Visibility,
};

/// Name of the settings' file in a profile.
pub const FILE_NAME: &str = "config.toml";

/// Seeds to use at most: each is asked for everybody who is looked for.
pub const SEEDS_MAX: usize = 8;

/// The shortest time for which messages are kept.
const RETENTION_MIN: Duration = Duration::from_secs(3_600);

/// Nothing typed for this long: away, where nobody says otherwise.
const AWAY_AFTER: Duration = Duration::from_secs(600);

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An option of this command.
    Flag,
    /// An environment variable.
    Environment,
    /// `config.toml`.
    File,
    /// Nobody said anything.
    Default,
}

impl Origin {
    /// As `config` shows it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    Switch,
    List,
}

/// Every key that a file may hold.
const KEYS: [(&str, Shape); 18] = [
    ("name", Shape::Text),
    ("listen", Shape::Text),
    ("via", Shape::List),
    ("network", Shape::Text),
    ("allow", Shape::Text),
    ("visibility", Shape::Text),
    ("no_lan", Shape::Switch),
    ("interface", Shape::List),
    ("group", Shape::List),
    ("plain", Shape::Switch),
    ("read_receipts", Shape::Switch),
    ("away_after", Shape::Text),
    ("joins", Shape::Switch),
    ("bell", Shape::Switch),
    ("notify_cmd", Shape::Text),
    ("retention", Shape::Text),
    ("password_cmd", Shape::Text),
    ("log", Shape::Text),
];

/// The name of every key, in the order in which `config` lists them.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| *key)
}

/// Keys that count from the start of an owner on: a client's have no effect.
const KEYS_OF_THE_START: [&str; 7] = ["listen", "via", "network", "visibility", "no_lan", "interface", "group"];

/// Keys that whoever starts with them goes by: a shell, a command, the log of a process.
const KEYS_OF_A_PROCESS: [&str; 7] = ["plain", "away_after", "joins", "bell", "notify_cmd", "password_cmd", "log"];

/// Values of options and environment variables, by key, as clap found them.
pub type Given = BTreeMap<&'static str, (Vec<String>, Origin)>;

/// All settings, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The profile's directory.
    pub dir: PathBuf,
    /// What I call myself, where somebody said so; else the profile knows.
    pub name: Option<Name>,
    /// Where to listen; `None`: the first free port of the usual ones.
    pub listen: Option<Listen>,
    /// Seeds to use, each a `HOST:PORT`.
    pub via: Vec<String>,
    /// Peers of another network name neither see nor reach me.
    pub network: String,
    /// Who may write to me.
    pub allow: Allow,
    /// Who may find me at the seeds; `None`: nobody.
    pub visibility: Option<Visibility>,
    /// No multicast at all.
    pub no_lan: bool,
    /// Only these interfaces; empty: all.
    pub interfaces: Vec<String>,
    /// The multicast groups.
    pub groups: Groups,
    /// Nothing is ever rewritten on the screen.
    pub plain: bool,
    /// Contacts are told what I have read.
    pub read_receipts: bool,
    /// In the shell I am away once nothing was typed for this long; `None`: never by itself.
    pub away_after: Option<Duration>,
    /// The shell says who comes and goes.
    pub joins: bool,
    /// The shell rings the bell.
    pub bell: bool,
    /// What the shell runs where the bell would ring.
    pub notify_cmd: Option<Exec>,
    /// Messages older than this are removed; `None`: none ever is.
    pub retention: Option<Duration>,
    /// A command that prints the profile's password.
    pub password_cmd: Option<String>,
    /// Filter of the log, as `RUST_LOG` takes it.
    pub log: Option<String>,
    values: BTreeMap<&'static str, (Vec<String>, Origin)>,
}

impl Settings {
    /// Puts flags, environment and the file of the profile together. Errors (exit 2, or 8 where the file
    /// cannot be read) name the option, the variable, or the line.
    pub fn load(dir: PathBuf, given: &Given) -> Result<Self, ErrorLine> {
        let file = read_file(&dir.join(FILE_NAME))?;
        Self::put_together(dir, &file, given)
    }

    /// Puts flags and environment together, for who has no file. Errors (exit 2) name the option or the
    /// variable.
    pub fn without_file(dir: PathBuf, given: &Given) -> Result<Self, ErrorLine> {
        Self::put_together(dir, &BTreeMap::new(), given)
    }

    fn put_together(dir: PathBuf, file: &InFile, given: &Given) -> Result<Self, ErrorLine> {
        let mut values = BTreeMap::new();
        let mut settings = Self {
            dir,
            name: None,
            listen: None,
            via: Vec::new(),
            network: String::new(),
            allow: Allow::default(),
            visibility: Some(Visibility::default()),
            no_lan: false,
            interfaces: Vec::new(),
            groups: Groups::default(),
            plain: false,
            read_receipts: false,
            away_after: Some(AWAY_AFTER),
            joins: true,
            bell: true,
            notify_cmd: None,
            retention: None,
            password_cmd: None,
            log: None,
            values: BTreeMap::new(),
        };
        for (key, shape) in KEYS {
            // The file is checked also where it is overruled: a mistake in it shows at once.
            if let Some((value, line)) = file.get(key) {
                settings.apply(key, value).map_err(|why| bad(&format!("{FILE_NAME} line {line}"), key, value, &why))?;
            }
            let (value, origin) = match (given.get(key), file.get(key)) {
                (Some((value, origin)), _) => {
                    let place = if *origin == Origin::Flag { "option" } else { "environment" };
                    settings.reset(key);
                    settings.apply(key, value).map_err(|why| bad(place, key, value, &why))?;
                    (value.clone(), *origin)
                }
                (None, Some((value, _))) => (value.clone(), Origin::File),
                (None, None) => (default_of(key, shape), Origin::Default),
            };
            values.insert(key, (value, origin));
        }
        settings.values = values;
        Ok(settings)
    }

    /// Forgets what the file said about a list.
    fn reset(&mut self, key: &str) {
        match key {
            "via" => self.via.clear(),
            "interface" => self.interfaces.clear(),
            "group" => self.groups = Groups::default(),
            _ => {}
        }
    }

    fn apply(&mut self, key: &str, value: &[String]) -> Result<(), String> {
        let text = value.first().map_or("", String::as_str);
        match key {
            "name" => self.name = Some(Name::parse(text).map_err(|e| e.to_string())?),
            "listen" => self.listen = Some(text.parse::<Listen>().map_err(|e| e.to_string())?),
            "via" => self.via = checked_seeds(value)?,
            "network" => self.network = checked_network(text)?,
            "allow" => self.allow = Allow::parse(text).ok_or("lan, requests or contacts is needed")?,
            "visibility" => self.visibility = visibility(text)?,
            "no_lan" => self.no_lan = switch(text)?,
            "interface" => self.interfaces = value.to_vec(),
            "group" => {
                for group in value {
                    let addr: SocketAddr = group.parse().map_err(|_| "not an ADDR:PORT".to_owned())?;
                    self.groups.set(addr).map_err(|e| e.to_string())?;
                }
            }
            "plain" => self.plain = switch(text)?,
            "read_receipts" => self.read_receipts = switch(text)?,
            "away_after" => self.away_after = span_or_off(text)?,
            "joins" => self.joins = switch(text)?,
            "bell" => self.bell = switch(text)?,
            "notify_cmd" if text.trim().is_empty() => self.notify_cmd = None,
            "notify_cmd" => self.notify_cmd = Some(text.parse().map_err(str::to_owned)?),
            "retention" => self.retention = retention(text)?,
            "password_cmd" => self.password_cmd = Some(text.to_owned()).filter(|text| !text.trim().is_empty()),
            "log" => {
                text.parse::<tracing_subscriber::filter::Targets>().map_err(|e| e.to_string())?;
                self.log = Some(text.to_owned());
            }
            _ => return Err("unknown setting".to_owned()),
        }
        Ok(())
    }

    /// A setting as `config` shows it; `None` where there is none of this name.
    pub fn line(&self, key: &str) -> Option<ConfigLine> {
        let (name, shape) = KEYS.iter().find(|(name, _)| *name == key)?;
        let (value, origin) = self.values.get(name)?;
        let value = match (shape, value.first()) {
            (Shape::List, _) => Value::from(value.clone()),
            (Shape::Switch, text) => Value::from(text.is_some_and(|text| switch(text) == Ok(true))),
            (Shape::Text, Some(text)) => Value::from(text.clone()),
            (Shape::Text, None) => Value::Null,
        };
        Some(ConfigLine { key: key.to_owned(), value, origin: origin.word().to_owned(), counts: None })
    }

    /// What an owner runs with from its start on.
    pub fn of_the_start(&self) -> BTreeMap<String, Value> {
        let line = |key: &str| self.line(key).map(|line| (line.key, line.value));
        KEYS_OF_THE_START.iter().filter_map(|key| line(key)).collect()
    }

    /// All settings as `config` shows them, or the one of this name. Errors (exit 2): there is none.
    pub fn lines(&self, key: Option<&str>) -> Result<Vec<ConfigLine>, ErrorLine> {
        match key {
            Some(key) => self.line(key).map(|line| vec![line]).ok_or_else(|| unknown(key)),
            None => Ok(keys().filter_map(|key| self.line(key)).collect()),
        }
    }

    /// From when on another value in the file counts, where somebody runs already.
    pub fn counts(key: &str) -> Counts {
        if KEYS_OF_THE_START.contains(&key) {
            Counts::OwnerStart
        } else if KEYS_OF_A_PROCESS.contains(&key) {
            Counts::NextStart
        } else {
            Counts::Now
        }
    }

    /// The options of this command line that want something else than an owner runs with.
    pub fn overruled_by(&self, owner: &BTreeMap<String, Value>) -> Vec<String> {
        let lines = KEYS_OF_THE_START.iter().filter_map(|key| self.line(key));
        let overruled = lines.filter(|line| line.origin == Origin::Flag.word() && owner.get(&line.key) != Some(&line.value));
        overruled.map(|line| format!("--{}", line.key.replace('_', "-"))).collect()
    }

    /// True where the file has this key.
    pub fn is_in_file(&self, key: &str) -> bool {
        read_file(&self.dir.join(FILE_NAME)).is_ok_and(|file| file.contains_key(key))
    }

    /// Writes one setting into the file, leaving everything else in it as it is; an empty value removes
    /// it. Nothing is written where the value is bad (exit 2).
    pub fn store(&self, key: &str, value: &str) -> Result<(), ErrorLine> {
        let Some((key, shape)) = KEYS.iter().find(|(name, _)| *name == key) else { return Err(unknown(key)) };
        let parts: Vec<String> = match shape {
            Shape::List => value.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            _ => vec![value.to_owned()],
        };
        if !value.is_empty() {
            self.clone().apply(key, &parts).map_err(|why| bad("value", key, &parts, &why))?;
        }
        let path = self.dir.join(FILE_NAME);
        // Also proves that what is there can be read.
        read_file(&path)?;
        let text = read_text(&path)?;
        let mut document: DocumentMut = text
            .parse()
            .map_err(|e: toml_edit::TomlError| ErrorLine::new("bad-config", 2, format!("{FILE_NAME}: {}", e.message())))?;
        if value.is_empty() {
            document.remove(key);
        } else {
            let item = match shape {
                Shape::Text => toml_edit::value(value),
                Shape::Switch => toml_edit::value(switch(value) == Ok(true)),
                Shape::List => toml_edit::value(parts.iter().collect::<toml_edit::Array>()),
            };
            document[key] = item;
        }
        write_file(&path, &document.to_string())
    }
}

fn default_of(key: &str, shape: Shape) -> Vec<String> {
    match (key, shape) {
        ("allow", _) => vec!["lan".to_owned()],
        ("visibility", _) => vec!["findable".to_owned()],
        ("away_after", _) => vec!["10m".to_owned()],
        ("retention", _) => vec!["off".to_owned()],
        ("network", _) => vec![String::new()],
        ("joins" | "bell", _) => vec!["true".to_owned()],
        (_, Shape::Switch) => vec!["false".to_owned()],
        _ => Vec::new(),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" | "" => Ok(false),
        _ => Err("true or false is needed".to_owned()),
    }
}

fn checked_network(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    Name::parse(text).map(|name| name.as_str().to_owned()).map_err(|_| "1 to 64 bytes without control characters".to_owned())
}

/// An hour at least: who mistypes must not lose what was said today.
fn retention(text: &str) -> Result<Option<Duration>, String> {
    match span_or_off(text)? {
        Some(span) if span < RETENTION_MIN => Err("at least 1h is needed; or off".to_owned()),
        span => Ok(span),
    }
}

fn span_or_off(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    text.parse::<Span>().map(|span| Some(span.0)).map_err(|error| format!("{error}; or off"))
}

fn visibility(text: &str) -> Result<Option<Visibility>, String> {
    match text {
        "listed" => Ok(Some(Visibility::Listed)),
        "findable" => Ok(Some(Visibility::Findable)),
        "hidden" => Ok(None),
        _ => Err("listed, findable or hidden is needed".to_owned()),
    }
}

fn checked_seeds(seeds: &[String]) -> Result<Vec<String>, String> {
    if seeds.len() > SEEDS_MAX {
        return Err(format!("more than {SEEDS_MAX} seeds"));
    }
    for seed in seeds {
        check_seed(seed).map_err(|why| format!("{seed:?}: {why}"))?;
    }
    Ok(seeds.to_vec())
}

fn bad(place: &str, key: &str, value: &[String], why: &str) -> ErrorLine {
    let shown = if place == "option" { format!("--{}", key.replace('_', "-")) } else { key.to_owned() };
    let place = match place {
        "option" | "value" => String::new(),
        "environment" => format!("P2PCHAT_{} in the ", key.to_uppercase()) + "environment: ",
        file => format!("{file}: "),
    };
    ErrorLine::new("bad-setting", 2, format!("{place}{shown} {}: {why}", value.join(" ")))
}

fn unknown(key: &str) -> ErrorLine {
    let all = keys().collect::<Vec<_>>().join(", ");
    ErrorLine::new("bad-setting", 2, format!("unknown setting: {key}")).hint(format!("the settings are {all}"))
}

fn read_text(path: &Path) -> Result<String, ErrorLine> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            Err(ErrorLine::new("bad-config", 2, format!("{}: not UTF-8", path.display())))
        }
        Err(e) => {
            let dir = path.parent().unwrap_or(path);
            let error = ErrorLine::new("profile", 8, format!("cannot use the profile {}: {FILE_NAME}: {e}", dir.display()));
            Err(error.hint("choose another profile with --data-dir"))
        }
    }
}

/// The file's values and the line of each.
type InFile = BTreeMap<&'static str, (Vec<String>, usize)>;

fn read_file(path: &Path) -> Result<InFile, ErrorLine> {
    let text = read_text(path)?;
    let line_of = |at: Option<usize>| at.map_or(1, |at| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1);
    let error = |line: usize, why: &str| ErrorLine::new("bad-config", 2, format!("{} line {line}: {why}", path.display()));
    let document = Document::parse(text.as_str())
        .map_err(|e| error(line_of(e.span().map(|span| span.start)), e.message().lines().next().unwrap_or("not TOML")))?;
    let mut values = BTreeMap::new();
    for (key, item) in document.iter() {
        let line = line_of(document.key(key).and_then(|key| key.span()).map(|span| span.start));
        let Some((key, shape)) = KEYS.iter().find(|(name, _)| *name == key) else {
            let all = keys().collect::<Vec<_>>().join(", ");
            return Err(error(line, &format!("unknown setting: {key}")).hint(format!("the settings are {all}")));
        };
        let value = match (shape, item) {
            (Shape::Text, item) => item.as_str().map(|text| vec![text.to_owned()]),
            (Shape::Switch, item) => item.as_bool().map(|on| vec![on.to_string()]),
            (Shape::List, Item::Value(toml_edit::Value::String(one))) => Some(vec![one.value().clone()]),
            (Shape::List, item) => item
                .as_array()
                .and_then(|array| array.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()),
        };
        let wanted = match shape {
            Shape::Text => "a text in quotes is needed",
            Shape::Switch => "true or false is needed",
            Shape::List => "a list of texts is needed, like [\"eth0\"]",
        };
        let value = value.ok_or_else(|| error(line, &format!("{key}: {wanted}")))?;
        values.insert(*key, (value, line));
    }
    Ok(values)
}

/// Replaces the file in one step: a crash leaves the old one or the new one.
fn write_file(path: &Path, text: &str) -> Result<(), ErrorLine> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let failed = |e: std::io::Error| ErrorLine::new("profile", 8, format!("cannot write {}: {e}", path.display()));
    let temporary = path.with_extension(format!("toml.{}", std::process::id()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir_with(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
        dir
    }

    fn load(text: &str, given: &[(&'static str, &str, Origin)]) -> Result<Settings, ErrorLine> {
        let dir = dir_with(text);
        let given = given.iter().map(|(key, value, origin)| (*key, (vec![(*value).to_owned()], *origin))).collect();
        Settings::load(dir.path().to_owned(), &given)
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        assert_eq!(load("", &[]).unwrap().network, "");
        assert_eq!(load("network = 'file'", &[]).unwrap().network, "file");
        let both = [("network", "env", Origin::Environment)];
        let settings = load("network = 'file'", &both).unwrap();
        assert_eq!(settings.network, "env");
        assert_eq!(settings.line("network").unwrap().origin, "environment");
        let off = load("no_lan = true", &[("no_lan", "false", Origin::Environment)]).unwrap();
        assert!(!off.no_lan, "also a `no` beats what stands below");
    }

    #[test]
    fn a_mistake_in_the_file_is_named_with_its_line() {
        for (text, line) in [
            ("# mine\nnmae = 'x'\n", 2),
            ("name = 'x'\nlisten = 'nowhere'\n", 2),
            ("plain = 'yes'\n", 1),
            ("\n\nname = \n", 3),
            ("interface = [1]", 1),
            ("allow = 'everybody'", 1),
            ("via = ['seed.example:1',\n'seed.example']", 1),
            ("\nvisibility = 'seen'", 2),
            ("[name]\nx = 1", 1),
        ] {
            let error = load(text, &[]).unwrap_err();
            assert_eq!(error.exit, 2, "{text}: {error}");
            assert!(error.text.contains(&format!("line {line}")), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_mistake_in_the_file_shows_also_where_it_is_overruled() {
        assert!(load("listen = 'nowhere'", &[("listen", ":0", Origin::Flag)]).is_err());
        let bad = load("", &[("listen", "nowhere", Origin::Flag)]).unwrap_err();
        assert!(bad.text.starts_with("--listen nowhere: "), "{bad}");
        let bad = load("", &[("name", "#room", Origin::Environment)]).unwrap_err();
        assert!(bad.text.contains("P2PCHAT_NAME"), "{bad}");
    }

    #[test]
    fn seeds_are_checked_one_by_one_and_counted() {
        let settings = load("via = ['seed.example:1', '[::1]:2']\nvisibility = 'hidden'", &[]).unwrap();
        assert_eq!((settings.via.len(), settings.visibility), (2, None));
        assert_eq!(load("", &[]).unwrap().visibility, Some(Visibility::Findable));
        let wrong = load("via = ['seed.example:1', 'b']", &[]).unwrap_err();
        assert!(wrong.text.contains("\"b\": a HOST:PORT is needed"), "{wrong}");
        let many = format!("via = [{}]", ["'a:1'"; SEEDS_MAX + 1].join(","));
        assert!(load(&many, &[]).unwrap_err().text.ends_with("more than 8 seeds"));
        let one = load("via = 'a:1'", &[("via", "b:2", Origin::Flag)]).unwrap();
        assert_eq!(one.via, ["b:2"], "a flag takes the place of the whole list");
    }

    #[test]
    fn storing_a_setting_keeps_the_rest_of_the_file() {
        let dir = dir_with("# mine\nname = 'bob' # old\n");
        let settings = Settings::load(dir.path().to_owned(), &Given::new()).unwrap();
        settings.store("interface", "eth0,wlan0").unwrap();
        settings.store("bell", "off").unwrap();
        assert_eq!(settings.store("listen", "nowhere").unwrap_err().exit, 2);
        assert_eq!(settings.store("colour", "red").unwrap_err().exit, 2);
        let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        assert!(text.starts_with("# mine\nname = 'bob' # old\n"), "{text}");
        let again = Settings::load(dir.path().to_owned(), &Given::new()).unwrap();
        assert_eq!(again.interfaces, ["eth0", "wlan0"]);
        assert!(!again.bell);
        again.store("bell", "").unwrap();
        assert!(Settings::load(dir.path().to_owned(), &Given::new()).unwrap().bell);
    }
}
