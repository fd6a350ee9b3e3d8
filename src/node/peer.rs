//! One peer as this node knows it: its contact row, where it may be, and the link. What moves a link
//! from state to state lives in `link`; what travels over it in `delivery`.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use crate::{
    clock::{Instant, Unix},
    crypto::handshake::Initiator,
    id::{PeerId, SessionIndex},
    node::{conversation::Conversation, phonebook::Seek, ping::Ping, relay::Relays},
    session::{PathAddr, Session},
    store::{
        Loaded,
        row::{Contact, REMEMBERED_ADDRESSES_MAX, Trust},
    },
    wire::message::{self, Admission, BusyReason},
};

/// An address counts as proved for this long after something authenticated came from it (protocol, HANDSHAKE).
const PROVED_FOR: Duration = Duration::from_secs(600);
/// What was heard within this is likely to be still there.
const HEARD_JUST_NOW: Duration = Duration::from_secs(10);
/// Initiations to an unproved address within [`UNPROVED_WITHIN`].
const UNPROVED_TRIES_MAX: usize = 3;
const UNPROVED_WITHIN: Duration = Duration::from_secs(60);
/// Addresses that one try goes to at most, besides relays.
const CANDIDATES_PER_TRY_MAX: usize = 4;
/// Candidates kept at most; the one heard longest ago goes.
pub(crate) const CANDIDATES_MAX: usize = 8;

/// Where a peer may be.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) path: PathAddr,
    /// Something authenticated, or a valid announce with hop limit 255, came from here then.
    heard: Option<Instant>,
    /// A seed said then that it is here.
    told: Option<Instant>,
    /// Initiations sent there since it was last heard.
    tried: VecDeque<Instant>,
}

/// The node's state about reaching a peer.
pub(crate) enum Link {
    /// Nobody wants to reach it, or nobody knows where it is.
    Idle,
    /// Reaching it failed: the next try is then.
    Waiting(Instant),
    /// Our initiation is out.
    Handshaking(Box<Dial>),
    /// Messages flow.
    Up(Box<Session>),
}

/// Our half of a handshake that the peer has not answered.
pub(crate) struct Dial {
    pub(crate) initiator: Initiator,
    pub(crate) index: SessionIndex,
    pub(crate) datagram: Vec<u8>,
    pub(crate) repeat: Repeat,
}

/// When a handshake datagram is sent again.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub(crate) tries: u32,
    pub(crate) at: Instant,
}

/// What we asked a peer to do: to wait until then.
#[derive(Debug)]
pub(crate) struct ToldBusy {
    pub(crate) session: SessionIndex,
    pub(crate) until: Instant,
    pub(crate) reason: BusyReason,
}

/// A session in which no packet of epoch 1 has opened yet: it does not count.
pub(crate) struct Rising {
    pub(crate) session: Box<Session>,
    /// We are the initiator, and the peer may not have our third datagram.
    pub(crate) confirm: Option<(Vec<u8>, Repeat)>,
}

/// A session that lost against another one with the same peer: it is received, and sent on no more.
pub(crate) struct Fading {
    pub(crate) session: Box<Session>,
    pub(crate) until: Instant,
    /// The peer's books, where it opened the conversation in this session: it counts on this one.
    pub(crate) books: Option<message::Conversation>,
}

/// A peer.
pub(crate) struct Peer {
    pub(crate) contact: Contact,
    pub(crate) conversation: Option<Conversation>,
    pub(crate) link: Link,
    pub(crate) rising: Vec<Rising>,
    /// Lost against another session with the same peer.
    pub(crate) fading: Option<Fading>,
    pub(crate) candidates: Vec<Candidate>,
    /// What its seeds say.
    pub(crate) seek: Seek,
    /// The ways by seeds, where there is no other.
    pub(crate) relays: Relays,
    /// Dials that failed in a row.
    pub(crate) failures: u32,
    /// Dial no sooner than this: the lower id goes first.
    pub(crate) dial_at: Option<Instant>,
    /// A shell looks at it.
    pub(crate) watched: bool,
    /// Who waits for an answer of it to a ping.
    pub(crate) pings: Vec<Ping>,
    /// Heard on the LAN and neither left nor expired.
    pub(crate) neighbour: bool,
    /// Does not answer although its announces may still be believed: offline until heard again.
    pub(crate) silent: bool,
    /// It took up our handshake and then said nothing: it is not here for us, whatever it announces, until
    /// something of it opens or it starts again.
    pub(crate) aloof: bool,
    /// Something of it was heard in this run.
    pub(crate) heard: bool,
    pub(crate) away: Option<String>,
    /// That was taken last then.
    pub(crate) away_at: Option<Instant>,
    /// What it says about it by now, where that is too soon to be taken.
    pub(crate) next_away: Option<Option<String>>,
    /// What it lets us write, by session, and the number of the item that said so.
    pub(crate) admissions: BTreeMap<SessionIndex, (u64, Admission)>,
    /// What it was told that it may write, and in which session.
    pub(crate) admitted: Option<(SessionIndex, Admission)>,
    /// It was told to wait.
    pub(crate) told_busy: Option<ToldBusy>,
    /// Said goodbye on the LAN, or counts on another session: the link must answer a ping until then.
    pub(crate) doubt_until: Option<Instant>,
    /// Its name was taken last then.
    pub(crate) renamed_at: Option<Instant>,
    /// What it calls itself by now, where that is too soon to be taken.
    pub(crate) next_name: Option<String>,
    /// It has a row in the store: its words or ours stand in the history, or it was added.
    pub(crate) stored: bool,
    /// Its presence as last told.
    pub(crate) told: Option<super::command::Presence>,
    /// The session became the link's then.
    pub(crate) up_since: Instant,
    /// The boot of the session that the link has or had.
    pub(crate) session_boot: crate::id::BootId,
    /// The deadline that stands in the node's table.
    pub(crate) deadline: Option<Instant>,
}

/// Everybody that the store knows: contacts, and whoever has a conversation with us.
pub(super) fn load(loaded: Loaded, now: Unix) -> BTreeMap<PeerId, Box<Peer>> {
    let mut peers: BTreeMap<_, _> = loaded.contacts.into_iter().map(|contact| (contact.id, Peer::new(contact, None))).collect();
    for row in loaded.conversations {
        let (lowest, count) = loaded.outbox_counts.get(&row.id).copied().unwrap_or((row.mine.next, 0));
        let peer = peers.entry(row.peer).or_insert_with(|| Peer::blank(row.peer, now));
        peer.stored = true;
        peer.conversation = Some(Conversation::load(row, lowest, count > 0));
    }
    peers
}

impl Peer {
    /// On the heap: a table of thousands is seldom full, and is rearranged all the time.
    pub(crate) fn new(contact: Contact, conversation: Option<Conversation>) -> Box<Self> {
        let candidates = contact
            .addresses
            .iter()
            .map(|&remote| Candidate { path: PathAddr::direct(remote, false), heard: None, told: None, tried: VecDeque::new() })
            .collect();
        Box::new(Self {
            contact,
            conversation,
            link: Link::Idle,
            rising: Vec::new(),
            fading: None,
            candidates,
            seek: Seek::default(),
            relays: Relays::default(),
            failures: 0,
            dial_at: None,
            watched: false,
            pings: Vec::new(),
            neighbour: false,
            silent: false,
            aloof: false,
            heard: false,
            away: None,
            away_at: None,
            next_away: None,
            admissions: BTreeMap::new(),
            admitted: None,
            told_busy: None,
            doubt_until: None,
            renamed_at: None,
            next_name: None,
            stored: true,
            told: None,
            up_since: Instant::default(),
            session_boot: crate::id::BootId(0),
            deadline: None,
        })
    }

    /// A peer of which only the id is known.
    pub(crate) fn blank(id: PeerId, now: Unix) -> Box<Self> {
        let mut peer = Self::new(
            Contact {
                id,
                more_ids: Vec::new(),
                name: String::new(),
                petname: None,
                trust: Trust::Unknown,
                added: false,
                since: now,
                last_heard: None,
                boot: crate::id::BootId(0),
                announce_seq: 0,
                addresses: Vec::new(),
                seeds: Vec::new(),
                request: None,
                receipts: None,
                refused: false,
            },
            None,
        );
        peer.stored = false;
        peer
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.link {
            Link::Up(session) => Some(session),
            _ => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.link {
            Link::Up(session) => Some(session),
            _ => None,
        }
    }

    /// Every session with this peer, the link's first.
    pub(crate) fn sessions_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        let up = match &mut self.link {
            Link::Up(session) => Some(&mut **session),
            _ => None,
        };
        up.into_iter()
            .chain(self.rising.iter_mut().map(|rising| &mut *rising.session))
            .chain(self.fading.as_mut().map(|fading| &mut *fading.session))
    }

    /// The same, to look at.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        let rising = self.rising.iter().map(|rising| &*rising.session);
        self.session().into_iter().chain(rising).chain(self.fading.as_ref().map(|fading| &*fading.session))
    }

    /// Takes a session out of those that do not count yet.
    pub(crate) fn take_rising(&mut self, index: SessionIndex) -> Option<Rising> {
        let at = self.rising.iter().position(|rising| rising.session.local_index() == index)?;
        let rising = self.rising.remove(at);
        if self.rising.is_empty() {
            // Thousands of peers have none, for hours.
            self.rising = Vec::new();
        }
        Some(rising)
    }

    /// I block it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.contact.trust == Trust::Blocked
    }

    /// It is on this LAN, and nothing says that it does not answer.
    pub(crate) fn is_near(&self) -> bool {
        self.neighbour && !self.silent && !self.aloof
    }

    /// Somebody wants to know now how it is.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.watched || !self.pings.is_empty()
    }

    pub(crate) fn has_mail(&self) -> bool {
        self.conversation.as_ref().is_some_and(Conversation::has_mail)
    }

    /// True where a session is worth a handshake: mail, a person who looks, or a contact that is here.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.is_blocked()
            && (self.has_mail()
                || self.is_looked_at()
                || (self.contact.added && ((self.neighbour && !self.silent) || self.seek.is_here())))
    }

    /// It was heard at this address: authenticated, or by a valid announce of the LAN.
    pub(crate) fn on_heard_at(&mut self, now: Instant, path: PathAddr) {
        let found = self.candidates.iter().position(|candidate| candidate.path.remote == path.remote);
        let mut candidate = match found {
            Some(index) => self.candidates.remove(index),
            None => Candidate { path, heard: None, told: None, tried: VecDeque::new() },
        };
        candidate.path = path;
        candidate.heard = Some(now);
        candidate.tried.clear();
        // Relays come behind all that goes straight, and are none of the first to be forgotten: `relay` bounds them.
        let at = if path.relay.is_some() { self.candidates.len() } else { 0 };
        self.candidates.insert(at, candidate);
        self.forget_candidates();
    }

    fn forget_candidates(&mut self) {
        let straight = |candidate: &Candidate| candidate.path.relay.is_none();
        while self.candidates.len() > CANDIDATES_MAX
            && let Some(last) = self.candidates.iter().rposition(straight)
        {
            self.candidates.remove(last);
        }
        // Most peers have one or two.
        self.candidates.shrink_to_fit();
    }

    /// Where it was heard a moment ago, by no relay.
    pub(crate) fn heard_straight(&self, now: Instant) -> Option<PathAddr> {
        let is_live = |candidate: &&Candidate| {
            candidate.path.relay.is_none() && candidate.heard.is_some_and(|heard| now.since(heard) < HEARD_JUST_NOW)
        };
        self.candidates.iter().find(is_live).map(|candidate| candidate.path)
    }

    pub(crate) fn is_first_candidate(&self, path: PathAddr) -> bool {
        self.candidates.first().is_some_and(|candidate| candidate.path == path && candidate.heard.is_some())
    }

    /// A seed says that it may be at this address: behind all where it was heard.
    pub(crate) fn on_told_at(&mut self, now: Instant, path: PathAddr) {
        if let Some(known) = self.candidates.iter_mut().find(|candidate| candidate.path.remote == path.remote) {
            known.told = Some(now);
            return;
        }
        let is_heard = |candidate: &Candidate| candidate.heard.is_some() && candidate.path.relay.is_none();
        let at = self.candidates.iter().rposition(is_heard).map_or(0, |last| last + 1);
        self.candidates.insert(at, Candidate { path, heard: None, told: Some(now), tried: VecDeque::new() });
        self.forget_candidates();
    }

    /// Where the next initiation goes: proved addresses, newest first, and unproved ones within their
    /// budget; and every relay. Counts them as tried.
    pub(crate) fn targets(&mut self, now: Instant) -> Vec<PathAddr> {
        let (mut targets, mut straight) = (Vec::new(), 0);
        let hold = self.seek.hold;
        for candidate in &mut self.candidates {
            let is_far = !candidate.path.on_link && candidate.path.relay.is_none();
            let is_before = |at: Option<Instant>| hold.is_some_and(|since| is_far && at.is_none_or(|at| at < since));
            if is_before(candidate.heard) && is_before(candidate.told) {
                continue;
            }
            // What was proved before seeds were asked is what they say now, or nothing.
            let proved = candidate.heard.is_some_and(|heard| now.since(heard) < PROVED_FOR) && !is_before(candidate.heard);
            candidate.tried.retain(|tried| now.since(*tried) < UNPROVED_WITHIN);
            let is_relay = candidate.path.relay.is_some();
            if (!proved && candidate.tried.len() >= UNPROVED_TRIES_MAX) || (!is_relay && straight == CANDIDATES_PER_TRY_MAX) {
                continue;
            }
            straight += usize::from(!is_relay);
            candidate.tried.push_back(now);
            candidate.tried.truncate(CANDIDATES_MAX);
            targets.push(candidate.path);
        }
        targets
    }

    /// Remembers where an authenticated packet came from. True where the contact row changed.
    /// Link-local addresses are not kept: their scope may mean something else tomorrow; nor is a relay, which is
    /// not where the peer is.
    pub(crate) fn remember(&mut self, path: PathAddr) -> bool {
        let remote = path.remote;
        let is_local = matches!(remote, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local());
        if is_local || path.relay.is_some() || self.contact.addresses.first() == Some(&remote) {
            return false;
        }
        self.contact.addresses.retain(|known| *known != remote);
        self.contact.addresses.insert(0, remote);
        self.contact.addresses.truncate(REMEMBERED_ADDRESSES_MAX);
        true
    }

    /// The name to show and to look for: what it calls itself, else its short id.
    pub(crate) fn name(&self) -> String {
        if self.contact.name.is_empty() { self.contact.id.short() } else { self.contact.name.clone() }
    }
}
