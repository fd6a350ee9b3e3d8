//! Items, the content of `Message` frames: a kind byte and a MessagePack map with short names, unknown
//! ones skipped. Also the payload of the handshake. Their meaning lives in `node`.

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use super::STATUS_LEN_MAX;
use super::{
    HANDSHAKE_LEN_MAX, ITEM_LEN_MAX, MESSAGE_LEN_MAX, NAME_LEN_MAX, REQUEST_LEN_MAX, SEQ_RANGES_MAX, TEXT_LEN_MAX, WireError, map,
};
use crate::id::{BootId, ConversationId, Incarnation, MessageId, PeerId, Seq};

const KIND_ADMISSION: u8 = 0;
const KIND_CONVERSATION: u8 = 1;
const KIND_CONTENT: u8 = 2;
const KIND_VOID: u8 = 3;
const KIND_RECEIPT: u8 = 4;
const KIND_BUSY: u8 = 5;
const KIND_PRESENCE: u8 = 6;
const KIND_NAME: u8 = 7;
const KIND_REQUEST: u8 = 8;

/// Content kind: a text.
pub const CONTENT_TEXT: u64 = 0;
/// Content kind: an action, `/me waves`.
pub const CONTENT_ACTION: u64 = 1;

/// What one `Message` frame (or all fragments of one message) carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Says how much the receiver of this item may send; the first item each side sends.
    Admission(Admission),
    /// Opens a conversation for this session; before the peer's arrived no content leaves.
    Conversation(Conversation),
    /// A chat message.
    Content(Content),
    /// A durable hole where a withdrawn or expired message stood; never shown.
    Void(Void),
    /// What became of messages.
    Receipt(Receipt),
    /// The receiver cannot store anything now.
    Busy(Busy),
    /// Away or not.
    Presence(Presence),
    /// What the peer calls itself from now on.
    Name(Name),
    /// A stranger asks to write.
    Request(Request),
    /// An item of a later version: ignored.
    Unknown(u8),
}

/// The answer to "may I write to you?". A level of a later version counts as the nearest one below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Admission {
    /// 0 refused, 1 one request, 2 full.
    #[serde(rename = "a")]
    pub level: u8,
    /// The sender of this item says what it has read.
    #[serde(rename = "r", default, skip_serializing_if = "std::ops::Not::not")]
    pub reads: bool,
}

impl Admission {
    /// Nothing is taken, now or later.
    pub const REFUSED: Self = Self { level: 0, reads: false };
    /// One [`Request`], and nothing else before it is accepted.
    pub const REQUEST: Self = Self { level: 1, reads: false };
    /// Everything may be sent.
    pub const FULL: Self = Self { level: 2, reads: false };
}

/// A stranger's first text, or its beginning: what a person sees who decides whether to have the rest. It has no place in the
/// conversation; once it was accepted the whole message comes as any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The message that will come.
    #[serde(rename = "d")]
    pub id: MessageId,
    /// As of the content.
    #[serde(rename = "k", default, skip_serializing_if = "is_zero")]
    pub kind: u64,
    /// At most [`REQUEST_LEN_MAX`] bytes of it, cut between two characters.
    #[serde(rename = "t")]
    pub text: String,
}

impl Request {
    /// The request for a message with this text.
    pub fn new(id: MessageId, kind: u64, text: &str) -> Self {
        let fits = |at: &usize| text.is_char_boundary(*at);
        let end = (0..=REQUEST_LEN_MAX.min(text.len())).rev().find(fits).unwrap_or_default();
        Self { id, kind, text: text.get(..end).unwrap_or_default().to_owned() }
    }

    fn is_sound(&self) -> bool {
        !self.text.is_empty() && self.text.len() <= REQUEST_LEN_MAX && !self.text.contains('\0')
    }
}

/// Both directions of a conversation, as one side knows them on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Absent for the conversation of the two people at the ends of the session.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// What the sender of this item sends.
    #[serde(rename = "m")]
    pub mine: Mine,
    /// What the sender of this item has received; absent where it has received nothing ever.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub yours: Option<Yours>,
}

/// The sending direction of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mine {
    /// The life that the seqs belong to.
    #[serde(rename = "i")]
    pub incarnation: Incarnation,
    /// The lowest seq that can still be offered; equal to `next` where nothing can.
    #[serde(rename = "b")]
    pub base: Seq,
    /// The seq of the next new message.
    #[serde(rename = "n")]
    pub next: Seq,
    /// The incarnation before this one and its last seq, where a restored backup started this one.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<(Incarnation, Seq)>,
}

/// The receiving direction of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Yours {
    /// The life that the seqs belong to.
    #[serde(rename = "i")]
    pub incarnation: Incarnation,
    /// All seqs up to here are on disk or released.
    #[serde(rename = "h")]
    pub high_water: Seq,
    /// Inclusive ranges above it that are on disk, held back for order.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<(Seq, Seq)>,
}

/// A chat message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Absent for the conversation of the two people at the ends of the session.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// With `seq`: the place in the author's direction.
    #[serde(rename = "i")]
    pub incarnation: Incarnation,
    /// Place in the author's direction.
    #[serde(rename = "s")]
    pub seq: Seq,
    /// The message's name for ever.
    #[serde(rename = "d")]
    pub id: MessageId,
    /// Absent where the session's peer wrote it.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub author: Option<PeerId>,
    /// Milliseconds that it has waited at its sender, by the sender's clock against itself.
    #[serde(rename = "g", default, skip_serializing_if = "is_zero")]
    pub age_ms: u64,
    /// [`CONTENT_TEXT`], [`CONTENT_ACTION`] or a kind of a later version.
    #[serde(rename = "k", default, skip_serializing_if = "is_zero")]
    pub kind: u64,
    /// The text, or what a version that does not know the kind may show instead.
    #[serde(rename = "t", default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Fields of later versions as a MessagePack map, kept as they came so that a later version finds
    /// them in the history; empty where there are none.
    #[serde(skip)]
    pub more: Vec<u8>,
}

/// A durable hole in a direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Void {
    /// Absent for the conversation of the two people at the ends of the session.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// With `seq`: the place of the hole.
    #[serde(rename = "i")]
    pub incarnation: Incarnation,
    /// Place of the hole.
    #[serde(rename = "s")]
    pub seq: Seq,
    /// The message that stood there.
    #[serde(rename = "d")]
    pub id: MessageId,
}

/// What became of messages, by inclusive ranges of seqs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Absent for the conversation of the two people at the ends of the session.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// The life that the seqs belong to.
    #[serde(rename = "i")]
    pub incarnation: Incarnation,
    /// On the receiver's disk.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub delivered: Vec<(Seq, Seq)>,
    /// The hole came first and is on the receiver's disk.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub void: Vec<(Seq, Seq)>,
    /// Read by a person, or by a program that said so.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<(Seq, Seq)>,
    /// Will never be taken.
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<(Seq, Seq)>,
    /// Two different messages came under one of these seqs: the sender's profile exists twice.
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    pub cloned: Vec<(Seq, Seq)>,
}

/// Please wait before offering again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// Milliseconds to wait.
    #[serde(rename = "w")]
    pub retry_ms: u64,
    /// What is waited for.
    #[serde(rename = "y", default, skip_serializing_if = "BusyReason::is_other")]
    pub reason: BusyReason,
}

impl Busy {
    /// To wait `wait`, and no fraction of a millisecond less.
    pub fn new(wait: Duration, reason: BusyReason) -> Self {
        let retry_ms = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self { retry_ms, reason }
    }

    /// How long to wait.
    pub const fn wait(&self) -> Duration {
        Duration::from_millis(self.retry_ms)
    }
}

/// Why a side takes nothing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub enum BusyReason {
    /// It has enough for now, or for a reason of a later version.
    #[default]
    Other,
    /// Its disk takes nothing.
    DiskFull,
    /// Its user must write first.
    Unanswered,
}

impl BusyReason {
    fn is_other(&self) -> bool {
        *self == Self::Other
    }
}

impl From<u64> for BusyReason {
    fn from(number: u64) -> Self {
        match number {
            1 => Self::DiskFull,
            2 => Self::Unanswered,
            _ => Self::Other,
        }
    }
}

impl From<BusyReason> for u64 {
    fn from(reason: BusyReason) -> Self {
        match reason {
            BusyReason::Other => 0,
            BusyReason::DiskFull => 1,
            BusyReason::Unanswered => 2,
        }
    }
}

/// Away or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// True: the person is not at the keyboard.
    #[serde(rename = "a")]
    pub away: bool,
    /// What the person says about it.
    #[serde(rename = "t", default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What a peer calls itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// As it came; `text` decides whether it may be shown as a name.
    #[serde(rename = "n")]
    pub name: String,
}

/// The payload of the second and third handshake datagram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakePayload {
    /// The newest version of the wire that the sender speaks.
    #[serde(rename = "v")]
    pub version: u8,
    /// The run of the sender's program.
    #[serde(rename = "b")]
    pub boot: BootId,
    /// What frames and items beyond the base set the sender understands.
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Program and version, for people.
    #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
    pub software: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Item {
    /// The item's bytes. At most [`MESSAGE_LEN_MAX`] where texts, names and ranges keep their limits.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Admission(item) => tagged(KIND_ADMISSION, item),
            Self::Conversation(item) => tagged(KIND_CONVERSATION, item),
            Self::Content(item) => item.encode(),
            Self::Void(item) => tagged(KIND_VOID, item),
            Self::Receipt(item) => tagged(KIND_RECEIPT, item),
            Self::Busy(item) => tagged(KIND_BUSY, item),
            Self::Presence(item) => tagged(KIND_PRESENCE, item),
            Self::Name(item) => tagged(KIND_NAME, item),
            Self::Request(item) => tagged(KIND_REQUEST, item),
            Self::Unknown(kind) => vec![*kind],
        }
    }

    /// Reads an item, limits checked. Unknown kinds come back as [`Item::Unknown`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(WireError::Malformed);
        }
        let (&kind, body) = bytes.split_first().ok_or(WireError::Malformed)?;
        Ok(match kind {
            KIND_ADMISSION => Self::Admission(short(body, |_| true)?),
            KIND_CONVERSATION => Self::Conversation(short(body, Conversation::is_sound)?),
            KIND_CONTENT => Self::Content(Content::decode(body)?),
            KIND_VOID => Self::Void(short(body, |void: &Void| void.seq > Seq(0))?),
            KIND_RECEIPT => Self::Receipt(short(body, Receipt::is_sound)?),
            KIND_BUSY => Self::Busy(short(body, |_| true)?),
            KIND_PRESENCE => Self::Presence(short(body, |presence: &Presence| presence.text.len() <= STATUS_LEN_MAX)?),
            KIND_NAME => Self::Name(short(body, |name: &Name| name.name.len() <= NAME_LEN_MAX)?),
            KIND_REQUEST => Self::Request(short(body, Request::is_sound)?),
            other => Self::Unknown(other),
        })
    }
}

impl Conversation {
    fn is_sound(&self) -> bool {
        let mine = Seq(0) < self.mine.base && self.mine.base <= self.mine.next;
        mine && self
            .yours
            .as_ref()
            .is_none_or(|yours| are_ranges(&yours.held) && yours.held.first().is_none_or(|held| held.0 > yours.high_water))
    }
}

impl Content {
    const fn is_field(key: &str) -> bool {
        matches!(key.as_bytes(), b"c" | b"i" | b"s" | b"d" | b"a" | b"g" | b"k" | b"t")
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![KIND_CONTENT];
        map::encode_with(self, &self.more, &mut out);
        out
    }

    fn decode(body: &[u8]) -> Result<Self, WireError> {
        let content = Self { more: map::unknown_fields(body, Self::is_field)?, ..map::decode(body)? };
        if content.is_sound() { Ok(content) } else { Err(WireError::Malformed) }
    }

    fn is_sound(&self) -> bool {
        self.seq > Seq(0) && self.text.len() <= TEXT_LEN_MAX && !self.text.contains('\0')
    }
}

impl Receipt {
    fn is_sound(&self) -> bool {
        [&self.delivered, &self.void, &self.read, &self.refused, &self.cloned].into_iter().all(|ranges| are_ranges(ranges))
    }
}

impl HandshakePayload {
    /// The payload's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        map::encode(self, &mut out);
        out
    }

    /// Reads a payload; unknown fields are skipped.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() <= HANDSHAKE_LEN_MAX { map::decode(bytes) } else { Err(WireError::Malformed) }
    }
}

/// Ascending, disjoint, not empty, at most [`SEQ_RANGES_MAX`].
fn are_ranges(ranges: &[(Seq, Seq)]) -> bool {
    ranges.len() <= SEQ_RANGES_MAX
        && ranges.iter().all(|(first, last)| Seq(0) < *first && first <= last)
        && ranges.is_sorted_by(|a, b| a.1 < b.0)
}

/// Everything but content is short, so that no list in it can ask for much memory.
fn short<T: DeserializeOwned>(body: &[u8], is_sound: impl Fn(&T) -> bool) -> Result<T, WireError> {
    if body.len() > ITEM_LEN_MAX {
        return Err(WireError::Malformed);
    }
    let item = map::decode(body)?;
    if is_sound(&item) { Ok(item) } else { Err(WireError::Malformed) }
}

fn tagged<T: Serialize>(kind: u8, value: &T) -> Vec<u8> {
    let mut out = vec![kind];
    map::encode(value, &mut out);
    out
}

#[cfg(test)]
mod tests;
