//! Who may write to me, and how a stranger asks (cli, "Who may write"; protocol, DELIVERY). What strangers who may write can
//! have us keep stands in `strangers`.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Node,
    command::{CommandId, Reason, Reply},
    conversation::Conversation,
    event::{Event, NoticeCode},
    peer::{Link, Peer},
    strangers::WAIT_FOR_A_PERSON,
};
use crate::{
    clock::Now,
    id::{PeerId, Seq, SessionIndex},
    session::{CloseReason, PathAddr, Session},
    store::row::{self, Op, State, VoidReason},
    wire::{
        frame::CloseCode,
        message::{self, Admission, Busy, BusyReason, Item},
    },
};

/// Requests that are kept until I answer; whoever comes later is asked to wait.
pub(crate) const REQUESTS_MAX: usize = 20;
/// Strangers from elsewhere that have a session at most.
const CALLERS_MAX: usize = 64;
/// One of them that has had its time gives way to another after this.
const CALLER_TURN: Duration = Duration::from_secs(30);

/// Whom I let write to me; contacts always may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allow {
    /// Who is really on my LAN; anybody else may ask.
    #[default]
    Lan,
    /// Nobody, but everybody may ask.
    Requests,
    /// Nobody, and nobody may ask.
    Contacts,
}

impl Allow {
    /// All of them, by the words of the option.
    pub const WORDS: [(&'static str, Self); 3] = [("lan", Self::Lan), ("requests", Self::Requests), ("contacts", Self::Contacts)];

    /// The one of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, allow)| *allow)
    }

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Requests => "requests",
            Self::Contacts => "contacts",
        }
    }
}

/// A stranger that asks to write, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView {
    /// Who.
    pub peer: PeerId,
    /// What it calls itself; its short id where it never said. Valid as a name, not yet sanitized.
    pub name: String,
    /// What it would write, or the beginning of it; not yet sanitized.
    pub request: row::Request,
}

/// Who asks, for as long as I have not answered.
#[derive(Debug, Default)]
pub(crate) struct Requests(BTreeSet<PeerId>);

impl Requests {
    pub(crate) fn load<'a>(peers: impl Iterator<Item = (&'a PeerId, &'a Box<Peer>)>) -> Self {
        Self(peers.filter(|(_, peer)| peer.contact.request.is_some()).map(|(id, _)| *id).collect())
    }
}

impl Peer {
    /// What the peer lets us write, as it said in the link's session; `None`: it has not said so yet.
    pub(crate) fn admission(&self) -> Option<Admission> {
        self.admissions.get(&self.session()?.local_index()).map(|(_, admission)| *admission)
    }
}

impl Node {
    // --- what we let others write

    /// What this peer may write by this path.
    fn admission_of(&self, id: &PeerId, path: PathAddr) -> Admission {
        let contact = self.peers.get(id).map(|peer| &peer.contact);
        if contact.is_some_and(|contact| contact.added) {
            return Admission { reads: self.tells_read(id), ..Admission::FULL };
        }
        match self.config.allow {
            _ if contact.is_some_and(|contact| contact.refused) => Admission::REFUSED,
            Allow::Contacts => Admission::REFUSED,
            Allow::Lan if path.on_link && self.strangers.has_room_for(id) => Admission::FULL,
            Allow::Lan | Allow::Requests => Admission::REQUEST,
        }
    }

    /// What may come by this session of the peer.
    pub(crate) fn admission_in(&self, id: &PeerId, session: SessionIndex) -> Admission {
        let session = self.peers.get(id).and_then(|peer| peer.sessions().find(|one| one.local_index() == session));
        session.map_or(Admission::REFUSED, |session| self.admission_of(id, session.path()))
    }

    /// Tells a peer what it may write, where that has changed; with everything, also who we are.
    pub(crate) fn readmit(&mut self, id: PeerId) {
        let Some(session) = self.peers.get(&id).and_then(|peer| peer.session()) else { return };
        let (index, path) = (session.local_index(), session.path());
        let admission = self.admission_of(&id, path);
        if admission == Admission::REQUEST && self.config.allow == Allow::Lan && path.on_link {
            let text = "64 strangers have written: any other can only ask to, until you write to one of them";
            self.notice(NoticeCode::TooManyStrangers, text, None);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let before = peer.admitted.replace((index, admission));
        if before == Some((index, admission)) {
            return;
        }
        let Some(session) = peer.session_mut() else { return };
        session.send_control(Item::Admission(admission).encode());
        let is_let_in = before.is_none_or(|(session, before)| session != index || before < Admission::FULL);
        if admission >= Admission::FULL && is_let_in {
            session.send_control(Item::Name(message::Name { name: self.config.name.clone() }).encode());
            if let Some(text) = self.away.clone() {
                session.send_control(Item::Presence(message::Presence { away: true, text }).encode());
            }
        }
        self.send_read(id);
        self.touch(id);
    }

    /// Others may write to me from now on.
    pub(crate) fn set_allow(&mut self, command: CommandId, allow: Allow) {
        self.config.allow = allow;
        let all: Vec<_> = self.peers.keys().copied().collect();
        all.into_iter().for_each(|id| self.readmit(id));
        self.reply(command, Reply::Done);
    }

    /// True where a stranger from elsewhere may have a session: there are only so many.
    pub(crate) fn has_room_for_caller(&mut self, now: Now) -> bool {
        let is_far = |session: &Session| !session.path().on_link;
        let is_caller = |peer: &Peer| !peer.contact.added && peer.sessions().any(is_far);
        let callers = || self.peers.iter().filter(|(_, peer)| is_caller(peer));
        if callers().count() < CALLERS_MAX {
            return true;
        }
        let had_its_time = |peer: &Peer| peer.session().is_some_and(is_far) && now.instant.since(peer.up_since) >= CALLER_TURN;
        let oldest = callers().filter(|(_, peer)| had_its_time(peer)).min_by_key(|(_, peer)| peer.up_since).map(|(id, _)| *id);
        let Some(oldest) = oldest else { return false };
        if let Some(session) = self.peers.get_mut(&oldest).and_then(|peer| peer.session_mut()) {
            // It knows that it is to wait before it tries again.
            session.close(CloseCode::Superseded);
        }
        self.lose_link(now, oldest, CloseReason::Local(CloseCode::Superseded));
        true
    }

    // --- who asks

    /// A stranger asks. One request each, and 20 in all, the oldest kept; it is told nothing before I answer.
    pub(crate) fn on_request(&mut self, now: Now, id: PeerId, session: SessionIndex, request: message::Request) {
        let has_asked = self.peers.get(&id).is_some_and(|peer| peer.contact.request.is_some());
        if has_asked || self.admission_in(&id, session) != Admission::REQUEST {
            return;
        }
        if self.requests.0.len() >= REQUESTS_MAX {
            let text = "20 strangers ask to write: any other waits until you answer one of them";
            self.notice(NoticeCode::TooManyRequests, text, None);
            return self.say_busy(now, id, session, Busy::new(WAIT_FOR_A_PERSON, BusyReason::Unanswered));
        }
        if !self.can_store() {
            return self.say_busy(now, id, session, Busy::new(WAIT_FOR_A_PERSON, BusyReason::DiskFull));
        }
        let received_at = self.steady(now);
        let peer = self.peer_mut(id, now);
        peer.stored = true;
        let request = row::Request { id: request.id, kind: request.kind, text: request.text, received_at };
        peer.contact.request = Some(request.clone());
        let (contact, name) = (peer.contact.clone(), peer.name());
        self.requests.0.insert(id);
        self.batches.push(Op::Contact(contact));
        self.batches.gate(super::delivery::Claim::Event(Event::Request(RequestView { peer: id, name, request })));
    }

    /// Everybody who asks, who came first first.
    pub(crate) fn request_views(&self) -> Vec<RequestView> {
        let view = |id: &PeerId| {
            let peer = self.peers.get(id)?;
            Some(RequestView { peer: *id, name: peer.name(), request: peer.contact.request.clone()? })
        };
        let mut views: Vec<_> = self.requests.0.iter().filter_map(view).collect();
        views.sort_by_key(|view| view.request.received_at);
        views
    }

    /// I have answered, by whatever I did: the request is none any more.
    pub(crate) fn on_answered(&mut self, id: &PeerId) {
        if self.requests.0.remove(id) {
            self.noticed.remove(&(NoticeCode::TooManyRequests, None));
        }
    }

    // --- what others let us write

    /// The peer says what we may write in this session, in the item of this number: what it said later may be here already.
    pub(crate) fn on_admission(&mut self, now: Now, id: PeerId, session: SessionIndex, (n, admission): (u64, Admission)) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let live: BTreeSet<_> = peer.sessions().map(Session::local_index).collect();
        peer.admissions.retain(|index, _| live.contains(index));
        let before = peer.admissions.get(&session).copied();
        if before.is_some_and(|(later, _)| later > n) {
            return;
        }
        peer.admissions.insert(session, (n, admission));
        if admission >= Admission::FULL && before.is_some_and(|(_, before)| before < Admission::FULL) {
            if let Some(conversation) = &mut peer.conversation {
                conversation.on_admitted();
            }
            // It has not taken our books before.
            self.send_conversation(now, id);
        }
        self.touch(id);
    }

    /// Offers what may be offered before everything may: the beginning of the first message, or nothing for ever.
    pub(crate) fn offer_little(&mut self, now: Now, id: PeerId) {
        match self.peers.get(&id).and_then(|peer| peer.admission()) {
            Some(Admission::REQUEST) => self.offer_request(now, id),
            Some(Admission::REFUSED) => self.on_refused(now, id),
            _ => {}
        }
    }

    fn offer_request(&mut self, now: Now, id: PeerId) {
        let wall = self.steady(now);
        loop {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            let (Some(conversation), Link::Up(session)) = (&mut peer.conversation, &mut peer.link) else { return };
            if !conversation.may_ask() || session.queue_room() == 0 {
                return;
            }
            let Some(seq) = conversation.first_message() else {
                if conversation.more && conversation.has_room() && self.load_offers(id) {
                    continue;
                }
                return;
            };
            if !conversation.is_ready(seq) || !self.may_leave(id, seq) {
                return;
            }
            let Some(peer) = self.peers.get_mut(&id) else { return };
            let (Some(conversation), Link::Up(session)) = (&mut peer.conversation, &mut peer.link) else { return };
            match super::delivery::offered_item(conversation, &self.reader, seq, now.instant, wall) {
                Some(Item::Content(content)) => {
                    let request = message::Request::new(content.id, content.kind, &content.text);
                    let number = session.send_message(Item::Request(request).encode());
                    return conversation.on_handed(seq, number);
                }
                // It has become a hole meanwhile: the next one asks.
                Some(_) => {}
                None => return,
            }
        }
    }

    /// The peer takes nothing of us: all that waits has failed, and what was withdrawn is.
    fn on_refused(&mut self, now: Now, id: PeerId) {
        loop {
            let Some(conversation) = self.peers.get(&id).and_then(|peer| peer.conversation.as_ref()) else { return };
            let ends: Vec<_> = conversation.offers.iter().map(|(seq, offer)| (*seq, end_of(offer.void))).collect();
            ends.into_iter().for_each(|(seq, end): (Seq, _)| self.settle(now, id, seq, end));
            if !self.peers.get(&id).and_then(|peer| peer.conversation.as_ref()).is_some_and(Conversation::may_ask)
                || !self.load_offers(id)
            {
                return;
            }
        }
    }

    /// Why a message that is sent is not delivered yet, where the peer has said so.
    pub(crate) fn is_asking(&self, id: &PeerId) -> bool {
        self.peers.get(id).and_then(|peer| peer.admission()) == Some(Admission::REQUEST)
    }
}

/// How a message ends that is refused.
const fn end_of(void: Option<VoidReason>) -> (State, Option<Reason>) {
    match void {
        None => (State::Failed, Some(Reason::Refused)),
        Some(VoidReason::Cancelled) => (State::Cancelled, None),
        Some(VoidReason::Expired) => (State::Failed, Some(Reason::Expired)),
    }
}
