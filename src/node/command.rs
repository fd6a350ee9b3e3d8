//! What the front doors may ask of a node. A command is one mutation or one look; its answer is an
//! `Event::Reply` with the same [`CommandId`], in its own time.

use std::time::Duration;

pub use super::{
    delivery::Import,
    ping::Pong,
    requests::{Allow, RequestView},
    values::NodeStatus,
};
use crate::{
    id::{MessageId, PeerId},
    store::row::State,
    wire::phonebook::RelayStatus,
};

/// Pairs a command with its reply; chosen by the driver, unique within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// What a node can be asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Queue a message. Reply [`Reply::Queued`] once it is on disk. The same message with the same `id` again is
    /// answered the same and queued once; another one with that `id` is refused.
    Send {
        /// To whom; known by id, whether or not ever seen.
        peer: PeerId,
        /// Made by whoever asks, so that asking again is harmless.
        id: MessageId,
        /// Content kind: text or action.
        kind: u64,
        /// 1 to `TEXT_LEN_MAX` bytes, no NUL.
        text: String,
        /// Not worth delivering after this long.
        expire: Option<Duration>,
    },
    /// Who is meant by what a person wrote (p2pchat-udp(1), WHO IS MEANT BY A PEER). Reply
    /// [`Reply::Resolved`], at the latest after `timeout`.
    Resolve {
        /// A petname, a name, an id or its beginning, or a `p2pchat:` link.
        peer: String,
        /// At most 3 s where the caller did not say.
        timeout: Duration,
    },
    /// Whether anybody has this id: known here, heard on the LAN, or at a seed. Reply [`Reply::Resolved`] or
    /// [`Reply::Claims`], at the latest after `timeout`.
    Sight {
        /// Who.
        peer: PeerId,
        /// How long to look.
        timeout: Duration,
    },
    /// Everybody known. Reply [`Reply::Peers`]. With `settle`, only after the LAN had time to answer:
    /// 2 s after the first announce, or once nothing new came for 0.5 s after the first answer.
    Peers {
        /// Wait for the LAN.
        settle: bool,
    },
    /// Somebody looks at this peer now (a shell's target): watch its presence closely. `None`: nobody.
    Watch(Option<PeerId>),
    /// Ask a peer for a sign of life; a session is opened where there is none. Reply [`Reply::Ponged`], at the latest after
    /// `timeout`.
    Ping {
        /// Whom; known by id, whether or not ever seen.
        peer: PeerId,
        /// How long to wait.
        timeout: Duration,
    },
    /// Withdraw a message. Reply [`Reply::Cancelled`]; how it ends is told by status events.
    Cancel(MessageId),
    /// Another text in the place of a message that has never left. Reply [`Reply::Queued`] once it is on disk; the old one
    /// ends as cancelled.
    Rewrite {
        /// The message that waits.
        message: MessageId,
        /// The new one's id, made by whoever asks.
        id: MessageId,
        /// As of `Send`.
        text: String,
    },
    /// Try now: this peer, or everybody with waiting messages.
    Retry(Option<PeerId>),
    /// Call me this from now on (already a valid name).
    SetName(String),
    /// Away, with a word about it; `None`: back.
    SetAway(Option<String>),
    /// This person has read this peer's messages up to this one.
    MarkRead(PeerId, MessageId),
    /// Somebody was shown what these peers wrote: of strangers only so much may lie here that nobody has seen.
    Shown(Vec<PeerId>),
    /// A contact by id: `added`, with what I call it. Reply [`Reply::Done`] once it is on disk.
    AddContact {
        /// Who.
        peer: PeerId,
        /// What I call it.
        petname: Option<String>,
        /// What it calls itself, as a link says: taken where nothing better is known.
        name: Option<String>,
        /// Seeds that may know where it is, as `HOST:PORT`.
        seeds: Vec<String>,
    },
    /// Change what I say of a peer. Reply [`Reply::Done`] once it is on disk.
    EditContact {
        /// Whom; known by id, whether or not ever seen.
        peer: PeerId,
        /// How.
        edit: Edit,
    },
    /// Who asks to write. Reply [`Reply::Requests`].
    Requests,
    /// Others may write to me so from now on.
    SetAllow(Allow),
    /// Contacts are told what I have read from now on, or are not, but for those of whom it is said otherwise.
    SetReadReceipts(bool),
    /// How the seeds are, asked now. Reply [`Reply::Seeds`] once each has answered, or after `timeout`.
    Seeds {
        /// This one, `HOST:PORT`, whether or not it is in use; `None`: all in use.
        only: Option<String>,
        /// How long to wait.
        timeout: Duration,
    },
    /// What the seeds have. Reply [`Reply::Claims`] once each has answered, or after `timeout`.
    Ask {
        /// What to ask.
        question: Question,
        /// This seed, `HOST:PORT`, whether or not it is in use; `None`: all in use, and whom they name.
        only: Option<String>,
        /// How long to wait.
        timeout: Duration,
    },
    /// Have my record at the seeds from now on, or take it away. Reply [`Reply::Seeds`] once each has answered, or
    /// after `timeout`.
    Register {
        /// False: take it away, until the next start.
        on: bool,
        /// This seed, also beside all in use, or away from this one alone; `None`: all in use.
        only: Option<String>,
        /// How long to wait.
        timeout: Duration,
    },
    /// Keep lines of a history that were said elsewhere, or here before. Reply [`Reply::Imported`] once they are on disk.
    Import(Vec<Import>),
    /// Why a message is still on its way. Reply [`Reply::Waiting`].
    Waiting(PeerId),
    /// How the node is. Reply [`Reply::Status`].
    Status,
    /// Say goodbye to everybody. Reply [`Reply::Left`] once the last word is out; then the loop ends.
    Leave,
}

/// What I say of a peer from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// I call it this; `None`: what it calls itself.
    Petname(Option<String>),
    /// Its owner and I have compared our words: the key is its own. It is a contact then.
    Verify,
    /// It is told what I have read, or is not; `None`: as all are.
    Receipts(Option<bool>),
    /// It may write, as it has asked: it is a contact then.
    Accept,
    /// It may not write, now or later.
    Refuse,
    /// It costs us nothing any more and is told nothing: its session ends without a word.
    Block,
    /// It is as any other, and its key as before the words were compared.
    Unblock,
    /// It is no contact any more. What was written stays, and a block too.
    Remove,
}

/// What seeds are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The record of this id.
    Id(PeerId),
    /// Everybody with exactly this name.
    Name(String),
    /// Everybody listed whose name begins so; empty: all that are listed.
    Prefix(String),
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// On our disk.
    Queued(MessageId),
    /// Who was meant.
    Resolved(PeerId),
    /// Everybody known: online first, then by name, then by id.
    Peers(Vec<PeerView>),
    /// So many lines of a history are on disk now, and so many were there before.
    Imported {
        /// New ones.
        added: usize,
        /// The others.
        known: usize,
    },
    /// How a ping ended.
    Ponged(Box<Pong>),
    /// The hole is on our disk; or the message had an end already, this one.
    Cancelled(Option<State>),
    /// Why messages to this peer wait, if they do, and when the next try is.
    Waiting {
        /// Which; `None` where the peer is connected.
        reason: Option<Reason>,
        /// Time until the next dial.
        next_try: Option<Duration>,
        /// Whether the peer says what it has read; `None`: not heard yet.
        reads: Option<bool>,
    },
    /// How the node is.
    Status(NodeStatus),
    /// The seeds, in the order in which they were given.
    Seeds(Vec<SeedView>),
    /// Who asks to write, who came first first.
    Requests(Vec<RequestView>),
    /// What the seeds have.
    Claims(Claims),
    /// Taken.
    Done,
    /// Goodbye is said.
    Left,
    /// Not done; nothing has changed.
    Failed(CommandError),
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// Nobody has this name or id, and everybody asked has answered (exit 3).
    #[error("no such peer: {peer} ({asked})")]
    NoSuchPeer {
        /// What was written, sanitized.
        peer: String,
        /// Who was asked: the LAN and how many are there, the seeds and how many they are.
        asked: String,
    },
    /// Nobody answered to this name, but not everybody could be asked (exit 9).
    #[error("not found: {peer} ({asked})")]
    NotFound {
        /// What was written, sanitized.
        peer: String,
        /// Who was asked.
        asked: String,
    },
    /// More than one peer is meant (exit 4).
    #[error("ambiguous peer: {peer}")]
    Ambiguous {
        /// What was written, sanitized.
        peer: String,
        /// All of them.
        candidates: Vec<PeerView>,
    },
    /// A contact's bare name is also announced by a stranger (exit 7).
    #[error("{peer} is the name of a contact and of a stranger")]
    FamiliarName {
        /// What was written, sanitized.
        peer: String,
        /// The contact first, then the strangers.
        candidates: Vec<PeerView>,
    },
    /// I block this peer (exit 6).
    #[error("you block this peer")]
    Blocked,
    /// What was asked for is for contacts (exit 2).
    #[error("no contact of yours")]
    NoContact,
    /// It has not asked to write, or I have answered (exit 2).
    #[error("no request of theirs")]
    NoRequest,
    /// That is me (exit 2).
    #[error("that is you")]
    Myself,
    /// The text is empty, too long or holds NUL (exit 2).
    #[error("{0}")]
    BadText(&'static str),
    /// Another message of ours has this id: to somebody else, or with another text (exit 2).
    #[error("another message has this id: to somebody else, or with another text")]
    TakenId,
    /// No message of ours in the outbox has this id (exit 2).
    #[error("no such message in the outbox")]
    NoSuchMessage,
    /// It may have been sent already (exit 5).
    #[error("too late: it may have been sent already")]
    TooLate,
    /// The disk is full: the message was not accepted (exit 1).
    #[error("the disk is full, nothing was queued")]
    DiskFull,
    /// The store failed: whether the message was queued is not known (exit 1).
    #[error("the profile cannot be written")]
    Store,
    /// As many seeds as may be are in use or asked now (exit 1).
    #[error("too many seeds are in use or being asked: there is no room for another one")]
    TooManySeeds,
    /// Too many wait for an answer of this peer already (exit 1).
    #[error("too many pings of this peer wait for an answer")]
    TooManyPings,
    /// The outbox is full (exit 1).
    #[error("the outbox is full")]
    OutboxFull,
    /// The node is on its way out (exit 11).
    #[error("the owner is ending")]
    Leaving,
}

/// Whether a peer can be reached now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Reachable now.
    Online,
    /// Reachable; the person is not at the keyboard.
    Away,
    /// Was heard before and is not now.
    Offline,
    /// Never heard in this run.
    Unknown,
}

/// Over what a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// On this LAN.
    Lan,
    /// Over routers, directly.
    Direct,
    /// By a relay.
    Relay,
    /// Not at all.
    None,
}

/// Why a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The peer was here and is not.
    Offline,
    /// Not seen yet in this run.
    Looking,
    /// Seen, but nothing comes back from where it is.
    NoPath,
    /// Its disk is full.
    DiskFullThere,
    /// It takes nothing of strangers that its user has not written to.
    AwaitingAcceptance,
    /// It has enough of a stranger for now.
    BusyThere,
    /// It is delivered, and its receiver does not say what it has read.
    ReadReceiptsOff,
    /// I block it.
    Blocked,
    /// Its time was up before it was delivered.
    Expired,
    /// The peer does not take it.
    Refused,
    /// More than the peer takes in one message.
    TooLargeForPeer,
    /// The peer's version does not understand it.
    UnsupportedByPeer,
}

/// A peer as a list shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerView {
    /// Who.
    pub id: PeerId,
    /// What it calls itself; its short id where it never said. Valid as a name, not yet sanitized.
    pub name: String,
    /// What I call it.
    pub petname: Option<String>,
    /// Reachable?
    pub presence: Presence,
    /// What it says about being away; empty elsewhere.
    pub away_text: String,
    /// Over what.
    pub path: PathKind,
    /// Where.
    pub addr: Option<std::net::SocketAddr>,
    /// When something authenticated came last.
    pub last_heard: Option<crate::clock::Unix>,
    /// How far its key is trusted.
    pub trust: crate::store::row::Trust,
    /// I added it or wrote to it.
    pub contact: bool,
    /// Smoothed round trip, where a session is open.
    pub rtt: Option<Duration>,
}

impl PeerView {
    /// It runs now, whether somebody sits before it or not.
    pub const fn is_here(&self) -> bool {
        matches!(self.presence, Presence::Online | Presence::Away)
    }
}

/// Who claims what at the seeds. Every claim is signed by the id that it names; a name is nobody's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// By name, then by id.
    pub claims: Vec<Claim>,
    /// Seeds that were asked.
    pub asked: usize,
    /// Of them, so many answered.
    pub answered: usize,
    /// Which have not, as they were named or by their addresses.
    pub missing: Vec<String>,
    /// There are more that fit: a seed has more than it was asked for, or more came than is kept.
    pub more: bool,
    /// A seed that has just started has not heard of everybody yet, and counts as one that has not answered: it knows then.
    pub young: Option<Duration>,
}

impl Claims {
    /// Who has answered, in words, where not everybody has.
    pub(crate) fn shortfall(&self) -> String {
        let young =
            self.young.map(|wait| format!("; one has just started: ask again in {} s", wait.as_secs())).unwrap_or_default();
        format!("{} of {} seeds answered{young}", self.answered, self.asked)
    }
}

/// What somebody says about himself at a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub id: PeerId,
    /// What it calls itself; its short id where it does not say. Valid as a name, not yet sanitized.
    pub name: String,
    /// Where the seed saw it.
    pub addr: std::net::SocketAddr,
    /// Time since the seed heard it.
    pub age: Duration,
    /// It stands in lists.
    pub listed: bool,
}

/// How a seed is, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedView {
    /// `HOST:PORT` as it was given.
    pub seed: String,
    /// Where it is, once its name was resolved.
    pub addr: Option<std::net::SocketAddr>,
    /// Can it be used?
    pub state: SeedState,
    /// Why not, or why our record is not there, in words.
    pub reason: Option<String>,
    /// What its operator calls it; valid as a name, not yet sanitized.
    pub name: String,
    /// Its program and version, not yet sanitized.
    pub software: String,
    /// Since it started.
    pub uptime: Duration,
    /// Records that it holds.
    pub records: u64,
    /// How busy it is: thousandths of what it takes.
    pub load: u16,
    /// Fellow seeds that it knows.
    pub fellows: Vec<std::net::SocketAddr>,
    /// What it relays; `None` where it does not.
    pub relay: Option<RelayStatus>,
    /// Our record is there.
    pub registered: bool,
    /// It has not said that our record is gone, although it was told so: it may be there until it lapses.
    pub unheard: bool,
}

/// Can a seed be used?
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedState {
    /// It answers.
    Ok,
    /// Its name does not resolve, or it does not answer.
    Unreachable,
    /// It handed on a record that its owner did not sign.
    BadSignature,
    /// It speaks another version of the protocol.
    OldVersion,
    /// Its clock and ours differ so much that records do not hold.
    WrongClock,
}
