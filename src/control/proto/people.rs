//! Lines about people: peers, contacts, and the seeds by which they are found.

use std::{net::SocketAddr, ops::Not};

use serde::{Deserialize, Serialize};

use super::{Kind, PathKind, Presence, SeedState, Time, Trust};
use crate::{
    control::call::Told,
    id::PeerId,
    node::command::{Claim, PeerView, RequestView, SeedView},
    store::row::{Contact, Request},
};

/// `peer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerLine {
    /// Full id.
    pub id: PeerId,
    /// What it calls itself; its short id where it never said.
    pub name: String,
    /// What I call it.
    pub petname: Option<String>,
    /// Reachable?
    pub presence: Presence,
    /// Over what.
    pub path: PathKind,
    /// Where.
    pub addr: Option<SocketAddr>,
    /// When something authenticated came last.
    pub last_heard: Option<Time>,
    /// How far its key is trusted.
    pub trust: Trust,
    /// I added it or wrote to it.
    #[serde(default)]
    pub contact: bool,
    /// What it says about being away.
    #[serde(default)]
    pub away: Option<String>,
    /// Smoothed round trip, where a session is open.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// Of a subscription: it was here when that began, and did not come just now.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub already: bool,
    /// Of what a seed has: seconds since the seed heard it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
    /// Of what a seed has: it stands in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
}

impl PeerLine {
    /// What a list calls it: the petname, else its own name.
    pub fn label(&self) -> &str {
        self.petname.as_deref().unwrap_or(&self.name)
    }

    /// A peer known by its id only.
    pub(in crate::control) fn never_seen(id: PeerId) -> Self {
        Self {
            id,
            name: id.short(),
            petname: None,
            presence: Presence::Unknown,
            path: PathKind::None,
            addr: None,
            last_heard: None,
            trust: Trust::Unknown,
            contact: false,
            away: None,
            rtt_ms: None,
            already: false,
            age_s: None,
            listed: None,
        }
    }
}

/// `request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestLine {
    /// Who asks.
    pub peer: PeerId,
    /// What it calls itself; its short id where it never said.
    pub name: String,
    /// Text, action, or something later.
    #[serde(default)]
    pub kind: Kind,
    /// What it would write, or the beginning of it; exactly as it was written.
    pub text: String,
    /// When it was stored here.
    pub received_at: Time,
}

impl From<RequestView> for RequestLine {
    fn from(view: RequestView) -> Self {
        let Request { kind, text, received_at, .. } = view.request;
        Self { peer: view.peer, name: view.name, kind: Kind(kind), text, received_at: Time(received_at) }
    }
}

impl From<PeerView> for PeerLine {
    fn from(view: PeerView) -> Self {
        Self {
            id: view.id,
            name: view.name,
            petname: view.petname,
            presence: view.presence,
            path: view.path,
            addr: view.addr,
            last_heard: view.last_heard.map(Time),
            trust: view.trust,
            contact: view.contact,
            away: (view.presence == Presence::Away).then_some(view.away_text),
            rtt_ms: view.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
            already: false,
            age_s: None,
            listed: None,
        }
    }
}

impl From<Claim> for PeerLine {
    /// What a peer says of itself at a seed, and no more: nothing has been exchanged with it for that.
    fn from(claim: Claim) -> Self {
        Self {
            name: claim.name,
            addr: Some(claim.addr),
            age_s: Some(claim.age.as_secs()),
            listed: Some(claim.listed),
            ..Self::never_seen(claim.id)
        }
    }
}

/// `contact`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContactLine {
    /// Full id.
    pub id: PeerId,
    /// What I call it.
    pub petname: Option<String>,
    /// What it calls itself; its short id where it never said.
    pub name: String,
    /// How far its key is trusted.
    pub trust: Trust,
    /// When it was met first.
    pub since: Time,
    /// Whether it is told what I have read.
    #[serde(default = "as_all")]
    pub receipts: Told,
    /// Of `verify`: the words that both must see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<String>>,
}

const fn as_all() -> Told {
    Told::Default
}

impl ContactLine {
    /// What a list calls it: the petname, else its own name.
    pub fn label(&self) -> &str {
        self.petname.as_deref().unwrap_or(&self.name)
    }
}

impl From<Contact> for ContactLine {
    fn from(contact: Contact) -> Self {
        let name = if contact.name.is_empty() { contact.id.short() } else { contact.name };
        Self {
            id: contact.id,
            petname: contact.petname,
            name,
            trust: contact.trust,
            since: Time(contact.since),
            receipts: Told::of(contact.receipts),
            words: None,
        }
    }
}

/// `seed`. What only the seed itself could say is `null` where it never answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedLine {
    /// `HOST:PORT` as it was given.
    pub addr: String,
    /// Can it be used?
    pub state: SeedState,
    /// Its program and version.
    pub version: Option<String>,
    /// Since it started.
    pub uptime_s: Option<u64>,
    /// Records that it holds.
    pub records: Option<u64>,
    /// How busy it is; 1: it takes no more.
    pub load: Option<f64>,
    /// What its operator calls it.
    pub name: Option<String>,
    /// Fellow seeds that it knows.
    pub fellows: Vec<SocketAddr>,
    /// What it relays; `null` where it does not.
    pub relay: Option<RelayPart>,
    /// Our record is there.
    pub registered: bool,
    /// Why it cannot be used, or did not take our record, in words.
    pub reason: Option<String>,
}

/// What a seed relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayPart {
    /// Bytes in a second at most, of all pairs.
    pub rate_max: u32,
    /// Pairs that it relays for now.
    pub channels: u32,
    /// Bytes relayed since it started.
    pub bytes: u64,
}

impl From<SeedView> for SeedLine {
    fn from(view: SeedView) -> Self {
        // Every seed says which program it is.
        let answered = !view.software.is_empty();
        Self {
            addr: view.seed,
            state: view.state,
            uptime_s: answered.then_some(view.uptime.as_secs()),
            records: answered.then_some(view.records),
            load: answered.then_some(f64::from(view.load) / 1_000.0),
            name: (!view.name.is_empty()).then_some(view.name),
            version: answered.then_some(view.software),
            fellows: view.fellows,
            relay: view.relay.map(|relay| RelayPart { rate_max: relay.rate_max, channels: relay.channels, bytes: relay.bytes }),
            registered: view.registered,
            reason: view.reason,
        }
    }
}
