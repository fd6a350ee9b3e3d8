//! Queries to a seed and its answers (protocol, SEEDS). What a record says stands in `record`; what a seed
//! does with a query is `seed`'s affair, and what a peer makes of an answer `node`'s.
//!
//! A datagram is kind, magic, version, txid, cookie, then one bincode body. Behind a query's body zeros may
//! follow: they make it long enough for what it asks, since no answer is longer than its query without a
//! valid cookie, nor than three times as long with one.

mod form;

use std::net::SocketAddr;

use bincode::{BorrowDecode, Encode};

use self::form::AnswerForm;
use super::{
    DATAGRAM_LEN_MAX, KIND_ANSWER, KIND_QUERY, MAGIC, NAME_LEN_MAX, SIGNATURE_LEN, WIRE_VERSION, WireError, bincode_config,
    encode_to,
    record::{KNOCK_LEN_MAX, RECORD_LEN_MAX},
};
use crate::id::ChannelId;

/// Bytes of a cookie: proof that its holder receives at the address it sends from.
pub const COOKIE_LEN: usize = 16;
/// Bytes of a token: proof that a seed has checked a record's signature before.
pub const TOKEN_LEN: usize = 16;
/// Every query has at least so many bytes, and no answer without a valid cookie has more.
pub const QUERY_LEN_MIN: usize = 64;
/// A query that is answered with records has at least so many: a third of the longest answer.
pub const LOOKUP_LEN: usize = DATAGRAM_LEN_MAX.div_ceil(ANSWER_FACTOR_MAX);
/// With a valid cookie an answer has at most so many times its query's bytes.
pub const ANSWER_FACTOR_MAX: usize = 3;
/// Entries in one answer at most; as many as the datagram holds.
pub const ENTRIES_MAX: usize = 8;
/// Seeds in one answer at most.
pub const SEEDS_PER_ANSWER_MAX: usize = 4;
/// What sealing adds to a knock: an ephemeral key, the sealed static key, a tag.
pub const KNOCK_OVERHEAD: usize = 32 + 48 + 16;
/// Bytes of a sealed knock at most.
pub const SEALED_LEN_MAX: usize = KNOCK_LEN_MAX + KNOCK_OVERHEAD;
/// Bytes of a program's name and version at most.
pub const SOFTWARE_LEN_MAX: usize = 32;

/// Kind, magic, version, txid, cookie.
const HEADER_LEN: usize = 1 + 4 + 1 + 8 + COOKIE_LEN;

/// An id as a key to look under: 32 bytes of which nobody has asked yet whether they are a [`PeerId`](crate::id::PeerId).
pub type RawId = [u8; 32];

/// What pairs an answer with its query, and what proves the asker's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The asker's choice, echoed; 0 in a [`Answer::Notify`].
    pub txid: u64,
    /// In a query: what the seed gave before, or zeros. In [`Answer::Cookie`]: the new one. Else zeros.
    pub cookie: [u8; COOKIE_LEN],
}

/// What a seed can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Query<'a> {
    /// A cookie, please. Answer: [`Answer::Cookie`], and that is also the answer to any other query without a
    /// valid one.
    Hello,
    /// Take up my record. Answers: [`Answer::Registered`], [`Answer::Refused`].
    Register {
        /// As its owner signed it.
        record: &'a [u8],
        /// Over the record.
        signature: [u8; SIGNATURE_LEN],
        /// What this seed gave for this very record before: it need not check the signature again.
        token: Option<[u8; TOKEN_LEN]>,
    },
    /// I am still here. Answers: [`Answer::Registered`], [`Answer::Need`].
    Refresh {
        /// Whose record.
        id: RawId,
        /// The record's.
        seq: u64,
        /// What the seed gave for it.
        token: [u8; TOKEN_LEN],
    },
    /// The record of an id. Answers: [`Answer::Found`], [`Answer::NotFound`].
    Lookup {
        /// Whose.
        id: RawId,
        /// Where there is none now: tell me when it comes, with the same txid, within the time of `NotFound`.
        watch: bool,
    },
    /// Every record with exactly this name. Answers: [`Answer::Found`], [`Answer::NotFound`].
    Find {
        /// Hash of the network's name, as in records.
        network: [u8; 8],
        /// Compared as `text::name_key` does.
        name: &'a str,
    },
    /// Listed records whose names begin so; an empty beginning: all. Answers: [`Answer::Found`],
    /// [`Answer::NotFound`].
    Search {
        /// Hash of the network's name, as in records.
        network: [u8; 8],
        /// Compared as `text::name_key` does.
        prefix: &'a str,
        /// Where the page before ended.
        after: Option<(&'a str, RawId)>,
    },
    /// Take my record away: a farewell. Answers: [`Answer::Unregistered`], [`Answer::Refused`].
    Unregister {
        /// A record with lifetime 0.
        record: &'a [u8],
        /// Over it.
        signature: [u8; SIGNATURE_LEN],
    },
    /// Hand this to a peer that is registered with you. Answers: [`Answer::Knocked`], [`Answer::NotFound`].
    Knock {
        /// To whom.
        to: RawId,
        /// For its eyes only.
        sealed: &'a [u8],
    },
    /// How are you, and whom do you know? Answer: [`Answer::Status`].
    Status,
    /// Relay for me and this peer: both must be registered, and both must ask, again within the time of a record.
    /// Answers: [`Answer::Bound`], [`Answer::Refused`], [`Answer::Need`] where I am not registered.
    Bind {
        /// Whose record I gave the seed.
        id: RawId,
        /// What the seed gave for it.
        token: [u8; TOKEN_LEN],
        /// Whom to relay to.
        peer: RawId,
    },
}

/// What a seed answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The cookie stands in the header.
    Cookie {
        /// Where the query came from: the asker's address as the world sees it.
        seen: SocketAddr,
    },
    /// Taken up, or still there.
    Registered {
        /// For [`Query::Refresh`], and for [`Query::Register`] after a restart of the seed.
        token: [u8; TOKEN_LEN],
        /// Seconds after which the record is forgotten unless it is refreshed.
        ttl: u16,
        /// Where others are told to find it.
        seen: SocketAddr,
    },
    /// There is no such record any more: register again.
    Need,
    /// These records.
    Found {
        /// At most [`ENTRIES_MAX`], in the order of names where a list was asked for.
        entries: Vec<Entry<'a>>,
        /// There are more behind the last.
        more: bool,
    },
    /// No record of that, here.
    NotFound {
        /// The seed started a short while ago: it may not have heard of everybody yet.
        warming: bool,
        /// Seconds after which another look may be worth it; a watch ends then.
        retry_after: u16,
        /// Other seeds, which may know. At most [`SEEDS_PER_ANSWER_MAX`].
        seeds: Vec<SocketAddr>,
    },
    /// Taken away.
    Unregistered,
    /// Handed over.
    Knocked {
        /// Where the peer that was knocked for is.
        seen: SocketAddr,
    },
    /// Not asked for: somebody knocks. The txid is 0.
    Notify {
        /// Where that somebody is, as the seed saw it.
        from: SocketAddr,
        /// For the receiver's eyes only.
        sealed: &'a [u8],
    },
    /// How the seed is.
    Status(Status<'a>),
    /// Not done, and nothing has changed.
    Refused(Refusal),
    /// My end of the channel is here.
    Bound {
        /// Stands in front of what is relayed.
        channel: ChannelId,
        /// The peer's end is there too.
        open: bool,
    },
}

/// A record as a seed hands it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// As its owner signed it.
    pub record: &'a [u8],
    /// Over the record.
    pub signature: [u8; SIGNATURE_LEN],
    /// Where its owner is, as the seed saw it.
    pub seen: SocketAddr,
    /// Seconds since the owner was heard.
    pub age: u16,
}

/// How a seed is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status<'a> {
    /// What its operator calls it.
    pub name: &'a str,
    /// Program and version, for people.
    pub software: &'a str,
    /// Its wall clock, unix seconds.
    pub unix: u64,
    /// Since it started, seconds.
    pub uptime: u64,
    /// Records that it holds.
    pub records: u64,
    /// How busy it is: thousandths of what it takes.
    pub load: u16,
    /// Fellow seeds that it knows, at most [`SEEDS_PER_ANSWER_MAX`].
    pub seeds: Vec<SocketAddr>,
    /// What it relays.
    pub relay: RelayStatus,
}

/// What a seed relays; zeros where it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, BorrowDecode)]
pub struct RelayStatus {
    /// Bytes that it relays in a second at most, of all pairs.
    pub rate_max: u32,
    /// Pairs that it relays for now.
    pub channels: u32,
    /// Bytes relayed since it started.
    pub bytes: u64,
}

/// Why a seed does not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Refusal {
    /// The record is malformed, or its signature is not its owner's.
    BadRecord,
    /// The record is over, or begins in the future, by the seed's clock: one of both clocks is wrong.
    WrongClock {
        /// The seed's wall clock, unix seconds.
        unix: u64,
    },
    /// A newer record of this owner is known.
    Stale {
        /// The known one's.
        seq: u64,
    },
    /// The seed is full.
    Full,
    /// Too much was asked from this address.
    Busy {
        /// Seconds to wait.
        retry_after: u16,
    },
    /// The seed relays for nobody.
    NoRelay,
}

impl<'a> Query<'a> {
    /// The datagram, with as many zeros behind it as its answer may need.
    pub fn encode(&self, header: Header, out: &mut Vec<u8>) {
        out.clear();
        put_header(KIND_QUERY, header, out);
        encode_to(self, out);
        let min = match self {
            Self::Lookup { .. } | Self::Find { .. } | Self::Search { .. } => LOOKUP_LEN,
            _ => QUERY_LEN_MIN,
        };
        out.resize(out.len().max(min), 0);
    }

    /// Reads a query. Errors with [`WireError::OtherVersion`] where only the version is foreign: see
    /// [`other_version`].
    pub fn decode(datagram: &'a [u8]) -> Result<(Header, Self), WireError> {
        if !(QUERY_LEN_MIN..=DATAGRAM_LEN_MAX).contains(&datagram.len()) {
            return Err(WireError::Malformed);
        }
        let (header, body) = take_header(KIND_QUERY, datagram)?;
        let (query, used) = bincode::borrow_decode_from_slice(body, bincode_config()).map_err(|_| WireError::Malformed)?;
        let padding = body.get(used..).ok_or(WireError::Malformed)?;
        let is_sound = match &query {
            Self::Register { record, .. } | Self::Unregister { record, .. } => record.len() <= RECORD_LEN_MAX,
            Self::Find { name, .. } => name.len() <= NAME_LEN_MAX,
            Self::Search { prefix, after, .. } => {
                prefix.len() <= NAME_LEN_MAX && after.is_none_or(|(name, _)| name.len() <= NAME_LEN_MAX)
            }
            Self::Knock { sealed, .. } => sealed.len() <= SEALED_LEN_MAX,
            Self::Hello | Self::Refresh { .. } | Self::Lookup { .. } | Self::Status | Self::Bind { .. } => true,
        };
        if is_sound && is_zero(padding) { Ok((header, query)) } else { Err(WireError::Malformed) }
    }
}

/// Sixteen at a time: there are hundreds behind every lookup.
fn is_zero(padding: &[u8]) -> bool {
    let (chunks, rest) = padding.as_chunks::<16>();
    chunks.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0) && rest.iter().all(|byte| *byte == 0)
}

impl<'a> Answer<'a> {
    /// The datagram.
    pub fn encode(&self, header: Header, out: &mut Vec<u8>) {
        out.clear();
        put_header(KIND_ANSWER, header, out);
        encode_to(&AnswerForm::from(self), out);
    }

    /// Reads an answer. Errors with [`WireError::OtherVersion`] where the seed speaks another version.
    pub fn decode(datagram: &'a [u8]) -> Result<(Header, Self), WireError> {
        if datagram.len() > DATAGRAM_LEN_MAX {
            return Err(WireError::Malformed);
        }
        let (header, body) = take_header(KIND_ANSWER, datagram)?;
        let form: AnswerForm<'_> = super::decode_all(body)?;
        let answer = Self::from(form);
        let is_sound = match &answer {
            Self::Found { entries, .. } => {
                entries.len() <= ENTRIES_MAX && entries.iter().all(|entry| entry.record.len() <= RECORD_LEN_MAX)
            }
            Self::NotFound { seeds, .. } => seeds.len() <= SEEDS_PER_ANSWER_MAX,
            Self::Notify { sealed, .. } => sealed.len() <= SEALED_LEN_MAX,
            Self::Status(status) => {
                status.name.len() <= NAME_LEN_MAX
                    && status.software.len() <= SOFTWARE_LEN_MAX
                    && status.seeds.len() <= SEEDS_PER_ANSWER_MAX
            }
            _ => true,
        };
        if is_sound { Ok((header, answer)) } else { Err(WireError::Malformed) }
    }
}

/// What a seed answers to a query of another version: its own version and the txid, and nothing else
/// (as RFC 9000 §6 does). `None` where `query` is no query at all. Never longer than the query.
pub fn other_version(query: &[u8]) -> Option<[u8; HEADER_LEN]> {
    let (header, _) = query.split_first_chunk::<HEADER_LEN>().filter(|_| query.len() >= QUERY_LEN_MIN)?;
    let [kind, m0, m1, m2, m3, _version, rest @ ..] = *header;
    let (txid, _) = rest.split_first_chunk::<8>()?;
    if kind != KIND_QUERY || [m0, m1, m2, m3] != MAGIC {
        return None;
    }
    let mut out = Vec::with_capacity(HEADER_LEN);
    put_header(KIND_ANSWER, Header { txid: u64::from_le_bytes(*txid), cookie: [0; COOKIE_LEN] }, &mut out);
    out.try_into().ok()
}

fn put_header(kind: u8, header: Header, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&MAGIC);
    out.push(WIRE_VERSION);
    out.extend_from_slice(&header.txid.to_le_bytes());
    out.extend_from_slice(&header.cookie);
}

/// Splits the header off. A foreign version is an error only where everything before it is ours.
fn take_header(kind: u8, datagram: &[u8]) -> Result<(Header, &[u8]), WireError> {
    let (header, body) = datagram.split_first_chunk::<HEADER_LEN>().ok_or(WireError::Malformed)?;
    let [is_kind, m0, m1, m2, m3, version, rest @ ..] = header;
    let (txid, cookie) = rest.split_first_chunk::<8>().ok_or(WireError::Malformed)?;
    if *is_kind != kind || [*m0, *m1, *m2, *m3] != MAGIC {
        return Err(WireError::Malformed);
    }
    if *version != WIRE_VERSION {
        return Err(WireError::OtherVersion(*version));
    }
    let cookie = cookie.try_into().map_err(|_| WireError::Malformed)?;
    Ok((Header { txid: u64::from_le_bytes(*txid), cookie }, body))
}

/// The txid of an answer of whatever version, to know whom it came from.
pub fn answer_txid(datagram: &[u8]) -> Option<u64> {
    let (kind, rest) = datagram.split_first()?;
    let (magic, rest) = rest.split_first_chunk::<4>()?;
    let (_version, rest) = rest.split_first()?;
    let (txid, _) = rest.split_first_chunk::<8>()?;
    (*kind == KIND_ANSWER && *magic == MAGIC).then(|| u64::from_le_bytes(*txid))
}

#[cfg(test)]
mod tests;
