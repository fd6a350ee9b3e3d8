//! What is said on the control socket and printed by `--json`: one type per JSON line, with exactly the
//! keys of the manual. What may be asked stands in `call`.

mod archive;
mod network;
mod owner;
mod people;

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub use self::{
    archive::{BadLine, ExportLine, ImportedLine},
    network::{CheckLine, CheckResult, PingLine, PongLine},
    owner::{ConfigLine, Counts, OwnerLine, UpkeepLine},
    people::{ContactLine, PeerLine, RelayPart, RequestLine, SeedLine},
};
pub use super::call::{Call, Request, Span};
use crate::{
    clock::Unix,
    id::{MessageId, PeerId},
    store::row::HistoryRow,
    text::Shown,
    wire::message::{CONTENT_ACTION, CONTENT_TEXT},
};
pub use crate::{
    node::{
        command::{Allow, PathKind, Presence, SeedState},
        event::NoticeCode,
    },
    store::row::{Direction, State, Trust},
};

/// One line: something that happened, a row that was asked for, or how a call ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Line {
    /// The owner is ready; also: a subscription is, and misses nothing from here on.
    Ready(ReadyLine),
    /// A peer, as it is now.
    Peer(PeerLine),
    /// A message came and is on our disk.
    Message(MessageLine),
    /// One of our messages reached another state.
    Status(StatusLine),
    /// A row of the history.
    History(HistoryLine),
    /// A message that is not yet delivered.
    Outbox(OutboxLine),
    /// How many messages of a peer, or in all, are unread.
    Unread(UnreadLine),
    /// A contact.
    Contact(ContactLine),
    /// A stranger asks to write.
    Request(RequestLine),
    /// A seed, as it was when it was asked.
    Seed(SeedLine),
    /// So many lines were imported.
    Imported(ImportedLine),
    /// One question of a ping.
    Pong(PongLine),
    /// All of them together.
    Ping(PingLine),
    /// What `doctor` found of one thing.
    Check(CheckLine),
    /// Who I am.
    Whoami(WhoamiLine),
    /// How the owner is.
    Owner(OwnerLine),
    /// A setting.
    Config(ConfigLine),
    /// Something that a person should know.
    Notice(NoticeLine),
    /// A call failed, or a connection ends.
    Error(ErrorLine),
    /// A call is done.
    Done,
    /// An event of a later version: skipped.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// A line with the tag of the call that it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tagged {
    /// What is said.
    #[serde(flatten)]
    pub line: Line,
    /// Whatever the caller sent as `tag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Value>,
}

impl Line {
    /// The line as it is printed: one JSON object and no newline.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a line has string keys and finite numbers only")
    }
}

/// A time on the wall clock: RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Unix);

impl From<Unix> for Time {
    fn from(unix: Unix) -> Self {
        Self(unix)
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = i64::try_from(self.0.0).unwrap_or(i64::MAX);
        let stamp = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{}", stamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

impl std::str::FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let stamp: jiff::Timestamp = text.parse()?;
        Ok(Self(Unix(u64::try_from(stamp.as_millisecond()).unwrap_or(0))))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a message is: `text`, `action`, or a kind that this version does not know (`kind-7`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kind(pub u64);

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            CONTENT_TEXT => serializer.serialize_str("text"),
            CONTENT_ACTION => serializer.serialize_str("action"),
            other => serializer.collect_str(&format_args!("kind-{other}")),
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "text" => Ok(Self(CONTENT_TEXT)),
            "action" => Ok(Self(CONTENT_ACTION)),
            other => {
                let number = other.strip_prefix("kind-").and_then(|n| n.parse().ok());
                number.map(Self).ok_or_else(|| serde::de::Error::custom("a kind is `text` or `action`"))
            }
        }
    }
}

/// `ready`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyLine {
    /// Who I am.
    pub id: PeerId,
    /// What I call myself.
    pub name: String,
    /// UDP port.
    pub port: u16,
    /// Where others may reach me.
    pub addrs: Vec<SocketAddr>,
    /// Of the program.
    pub version: String,
    /// Of this protocol.
    pub control: u32,
    /// Of a subscription: what was received after this message comes; the nil UUID: nothing was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<MessageId>,
}

/// `message`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageLine {
    /// Which.
    pub id: MessageId,
    /// Who wrote it.
    pub from: PeerId,
    /// What that peer calls itself, or what I call it.
    pub name: String,
    /// Text, action, or something later.
    pub kind: Kind,
    /// Exactly as it was written.
    pub text: String,
    /// Arrival minus the sender's own age counter.
    pub sent_at: Time,
    /// When it was stored here.
    pub received_at: Time,
    /// It had waited at least 30 s at its sender.
    pub late: bool,
}

impl MessageLine {
    /// The line of a received row.
    pub fn new(row: HistoryRow, name: String) -> Self {
        Self {
            id: row.id,
            from: row.peer,
            name,
            kind: Kind(row.kind),
            text: row.text,
            sent_at: Time(row.sent_at),
            received_at: Time(row.received_at),
            late: row.late,
        }
    }
}

/// `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusLine {
    /// Which message.
    pub id: MessageId,
    /// To whom.
    pub to: PeerId,
    /// Its state now.
    pub state: State,
    /// When it got there.
    pub at: Time,
    /// Why it waits or failed.
    pub reason: Option<String>,
}

/// `history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// Which message.
    pub id: MessageId,
    /// The other side.
    pub peer: PeerId,
    /// What I call it, or it itself.
    pub name: String,
    /// Who wrote it.
    pub direction: Direction,
    /// Text, action, or something later.
    pub kind: Kind,
    /// Exactly as it was written.
    pub text: String,
    /// When it was written.
    pub sent_at: Time,
    /// When it came, or was queued.
    pub received_at: Time,
    /// What became of it.
    pub state: State,
    /// Somebody read it: the peer (`out`), or I (`in`).
    pub read: bool,
    /// Its number on this disk, of `export`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

impl HistoryLine {
    /// The line of a stored row.
    pub fn new(row: HistoryRow, name: String) -> Self {
        Self {
            id: row.id,
            peer: row.peer,
            name,
            direction: row.direction,
            kind: Kind(row.kind),
            text: row.text,
            sent_at: Time(row.sent_at),
            received_at: Time(row.received_at),
            state: row.state,
            read: row.state == State::Read,
            n: None,
        }
    }
}

/// `outbox`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxLine {
    /// Which message.
    pub id: MessageId,
    /// To whom.
    pub to: PeerId,
    /// What I call it, or it itself.
    pub name: String,
    /// `queued` or `sent`.
    pub state: State,
    /// Why it waits.
    pub reason: Option<String>,
    /// Since it was queued.
    pub age_ms: u64,
    /// When it is dialled next.
    pub next_try_at: Option<Time>,
    /// When it stops being worth sending.
    pub expires_at: Option<Time>,
    /// Bytes of the text.
    pub len: usize,
}

/// `unread`: of a peer, or in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadLine {
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerId>,
    /// What I call it, or it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How many in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// `whoami`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhoamiLine {
    /// Full id.
    pub id: PeerId,
    /// What I call myself.
    pub name: String,
    /// For others to add me by.
    pub link: String,
    /// Where others may reach me.
    pub addrs: Vec<SocketAddr>,
    /// UDP port.
    pub port: u16,
    /// Seeds in use.
    pub seeds: Vec<String>,
    /// Whether the profile has a password.
    pub encrypted: bool,
    /// Of the program.
    pub version: String,
    /// Process that owns the profile; `null` where this command does for the moment.
    pub owner_pid: Option<u32>,
}

/// `notice`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoticeLine {
    /// Which; the manual lists all.
    pub code: NoticeCode,
    /// In words, sanitized.
    pub text: String,
    /// About whom.
    pub peer: Option<PeerId>,
    /// What that peer is called here, with its short id where another one is called so too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl NoticeLine {
    /// The words for people, who it is about in front.
    pub fn words(&self) -> String {
        let text = Shown::line(&self.text);
        match &self.name {
            Some(name) => format!("{}: {text}", Shown::line(name)),
            None => text.to_string(),
        }
    }
}

/// `error`: what and why, in one line, with the exit code of a command that ends by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorLine {
    /// Which; the manual lists all.
    pub code: String,
    /// Exit code.
    pub exit: u8,
    /// `WHAT: WHY`, sanitized.
    pub text: String,
    /// What to do about it, where there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ErrorLine {
    /// An error without a hint.
    pub fn new(code: &str, exit: u8, text: impl AsRef<str>) -> Self {
        Self { code: code.to_owned(), exit, text: Shown::line(text.as_ref()).to_string(), hint: None }
    }

    /// The same, saying what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for ErrorLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ErrorLine {}

#[cfg(test)]
mod tests;
