//! What may be asked on the control socket: the name of a command and its long options as keys.

mod people;

use std::{fmt, ops::Not, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

pub use self::people::{Allow, Contact, ContactAction, Ping, Receipts, Requests, RequestsAction, Seed, SeedAction, Told};
use super::proto::{ErrorLine, HistoryLine, Kind};
pub use super::span::{SPAN_MAX, Span, SpanError};
use crate::id::{MessageId, PeerId};

/// A line of a client: a call and the tag that its answer shall carry.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is asked.
    pub call: Call,
    /// Given back with every line of the answer.
    pub tag: Option<Value>,
}

impl Request {
    /// The request in a line. Errors name what is wrong, beside the tag as far as there was one.
    pub fn parse(line: &[u8]) -> Result<Self, (Option<Value>, ErrorLine)> {
        let malformed = |why: &dyn fmt::Display| ErrorLine::new("malformed", 2, format!("malformed request: {why}"));
        let mut map: Map<String, Value> = serde_json::from_slice(line).map_err(|e| (None, malformed(&e)))?;
        let tag = map.remove("tag");
        let Some(Value::String(name)) = map.get("call") else {
            return Err((tag, malformed(&"it needs a `call`")));
        };
        let name = name.clone();
        match serde_json::from_value(Value::Object(map)) {
            Ok(call) => Ok(Self { call, tag }),
            Err(_) if !Call::NAMES.contains(&name.as_str()) => {
                let error =
                    ErrorLine::new("unknown-call", 8, format!("unknown call: {name}: this owner's version does not know it"));
                Err((tag, error.hint("end the owner with `p2pchat-udp stop` and start it again in this version")))
            }
            Err(error) => Err((tag, ErrorLine::new("bad-request", 2, format!("{name}: {error}")))),
        }
    }

    /// The request as a line, without a newline.
    pub fn to_json(&self) -> String {
        let mut value = serde_json::to_value(&self.call).expect("a call has string keys only");
        if let (Some(map), Some(tag)) = (value.as_object_mut(), &self.tag) {
            map.insert("tag".to_owned(), tag.clone());
        }
        value.to_string()
    }
}

/// What may be asked. A peer is written as on the command line: petname, name, id, its beginning, link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub enum Call {
    /// Queue a text, and follow it: `status` lines until the asked state is reached.
    Send(Send),
    /// Everybody known: `peer` lines, online first.
    Peers(Peers),
    /// One peer: its `peer` line. Errors as `send` does, so it serves to look somebody up.
    Whois(Whois),
    /// Stored messages, oldest first: `history` lines.
    History(History),
    /// What is not yet delivered: `outbox` lines; or withdraws one, or tries now.
    Outbox(Outbox),
    /// Who I am: one `whoami` line.
    Whoami(Empty),
    /// How the owner is: one `owner` line.
    Status(Empty),
    /// From now on all events, after one `ready`; never done.
    Subscribe(Subscribe),
    /// The owner says goodbye and ends; done before it does.
    Shutdown(Empty),
    /// Somebody looks at this peer now: its presence is watched closely.
    Watch(Watch),
    /// Call me this from now on.
    Nick(Nick),
    /// I am away, with a word about it.
    Away(Away),
    /// I am back.
    Back(Back),
    /// How many messages I have not read: `unread` lines, by peer.
    Unread(Unread),
    /// I have read this peer's messages, up to this one or all.
    MarkRead(MarkRead),
    /// Whom these words fit, here and at the seeds: `peer` lines, those known here first.
    Find(Find),
    /// The contacts, or one more: `contact` lines.
    Contact(Contact),
    /// Strangers who ask to write: `request` lines; or answers one of them: its `contact` line.
    Requests(Requests),
    /// Others may write to me so from now on.
    Allow(Allow),
    /// Contacts are told what I have read from now on, or are not, but for those of whom it is said otherwise.
    Receipts(Receipts),
    /// The seeds: `seed` lines; or what they have: `peer` lines.
    Seed(Seed),
    /// The profile has another password from now on, or none; done once it is so on the disk.
    Passwd(Passwd),
    /// Copy the profile to a new file; done once it is on the disk.
    Backup(Backup),
    /// The history in order of commit, a page at a time: `history` lines with their number `n`.
    Export(Export),
    /// Keep these lines in the history: one `imported` line.
    Import(Import),
    /// Ask a peer for signs of life: `pong` lines, and one `ping`.
    Ping(Ping),
    /// Why people do not see each other: `check` lines; error 9 where one of them is a `fail`.
    Doctor(Empty),
    /// The owner's settings, or one: `config` lines; or sets one in the profile's file, and follows it where it can.
    Config(Config),
}

impl Call {
    /// Every call's name.
    pub const NAMES: [&'static str; 28] = [
        "send",
        "peers",
        "whois",
        "history",
        "outbox",
        "whoami",
        "status",
        "subscribe",
        "shutdown",
        "watch",
        "nick",
        "away",
        "back",
        "unread",
        "mark-read",
        "find",
        "contact",
        "requests",
        "allow",
        "receipts",
        "seed",
        "passwd",
        "backup",
        "export",
        "import",
        "ping",
        "doctor",
        "config",
    ];

    /// `whoami` without arguments.
    pub const WHOAMI: Self = Self::Whoami(Empty {});
    /// `status` without arguments.
    pub const STATUS: Self = Self::Status(Empty {});
    /// `shutdown` without arguments.
    pub const SHUTDOWN: Self = Self::Shutdown(Empty {});
    /// `doctor` without arguments.
    pub const DOCTOR: Self = Self::Doctor(Empty {});
}

/// A call without arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// `send`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// To whom: one peer or a list; nothing is queued unless each is found.
    #[serde(deserialize_with = "one_or_many")]
    pub peer: Vec<String>,
    /// The text, exactly.
    pub text: String,
    /// `text` (default) or `action`.
    #[serde(default)]
    pub kind: Kind,
    /// The messages' ids, one for each peer, made by the caller so that asking again is harmless;
    /// absent: made by the owner.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub id: Vec<MessageId>,
    /// The state that ends the call; default `delivered`.
    #[serde(default)]
    pub wait: WaitFor,
    /// How long to wait for that state; default 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long it is worth sending; default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire: Option<Span>,
}

impl Send {
    /// A text to one peer, waiting until it is delivered.
    pub fn new(peer: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            peer: vec![peer.into()],
            text: text.into(),
            kind: Kind::default(),
            id: Vec::new(),
            wait: WaitFor::default(),
            timeout: None,
            expire: None,
        }
    }
}

/// The state of a message that `send` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WaitFor {
    /// On our disk.
    Queued,
    /// Put on the wire to a live session.
    Sent,
    /// On the receiver's disk.
    #[default]
    Delivered,
    /// Read there, where its receiver says so.
    Read,
}

/// `peers`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// Wait until so many are online; time is up first: error 5, after the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<usize>,
    /// For how long; default 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// `whois`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whois {
    /// Who.
    pub peer: String,
    /// How long to look; at most and by default 3 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// An id or a link will do, also of somebody whom nobody has seen; nobody waits for the LAN.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

/// `history`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// With whom; absent: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// So many from the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Not older than this: RFC 3339, a date, or an age like `2h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only with all of these words, without regard to case and accents: `*` behind the beginning of one, `"…"` around a phrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
}

/// `outbox`: without a key the list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    /// Withdraw this message: a full id, or a unique beginning or ending of at least 4 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
    /// The message that waits, written as for `cancel`: its `history` line; with `text` that one takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<String>,
    /// Of `edit`: the other text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Try now: this peer, or `""` for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<String>,
}

/// `backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Where to, from the root of the file system on.
    pub file: PathBuf,
}

/// `export`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// With whom; absent: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Only what stands behind this number; no further line: that was all.
    #[serde(default)]
    pub after: u64,
}

/// `import`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// Lines as `export` gives them.
    pub lines: Vec<HistoryLine>,
}

/// `subscribe`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// First what was received after this message; after the nil UUID: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<MessageId>,
    /// Only notices, for who shows messages to nobody: else what it is sent counts as shown.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub notices: bool,
    /// First who is here.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub present: bool,
}

/// `watch`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// At whom; absent: at nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerId>,
}

/// `nick`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nick {
    /// The name.
    pub name: String,
}

/// `away`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Away {
    /// A word about it.
    #[serde(default)]
    pub text: String,
    /// Nobody said so: nothing was typed for a while. What somebody has said stays.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub idle: bool,
}

/// `back`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Back {
    /// Something was typed again: only from where nothing was for a while.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub idle: bool,
}

/// `passwd`. Two secrets, which travel over a socket that is closed to other accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passwd {
    /// What it has now, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Secret>,
    /// What it is to have; absent or empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Secret>,
}

/// What to say once `passwd` is done: whether there was one before, and is one now.
pub const fn changed(had_one: bool, has_one: bool) -> &'static str {
    match (had_one, has_one) {
        (false, false) => "the profile has no password, as before",
        (false, true) => "the profile has a password from now on",
        (true, true) => "the password is another one from now on",
        (true, false) => "the profile has no password any more",
    }
}

/// A password. Its `Debug` says nothing, and it leaves memory with its owner.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A password as it was typed.
    pub const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// Of no length.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was typed.
    pub fn into_inner(self) -> Zeroizing<String> {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// `config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its value in the file from now on, as on the command line; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// `unread`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unread {
    /// Only how many in all: one line.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub total: bool,
}

/// `mark-read`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkRead {
    /// Whose messages.
    pub peer: String,
    /// Up to this one; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
}

/// `find`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// A part of a name or petname known here, the beginning of an id, or at the seeds of a name.
    pub words: String,
    /// How long to look; at most and by default 3 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// One value or an array of them.
fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
