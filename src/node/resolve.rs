//! Who is meant: from what a person wrote to one peer, or to an honest refusal (p2pchat-udp(1), WHO IS MEANT
//! BY A PEER). Names never unlock anything; they only select among ids.

use super::{
    Node,
    command::{Claims, CommandError, CommandId, PeerView, Question, Reply},
    seeds::AskId,
};
use crate::{
    clock::{Instant, Now},
    contact_link::ContactLink,
    id::{PEER_ID_SHORT_LEN, PeerId},
    text::{Shown, name_key},
};

use std::time::Duration;

/// Look-ups that wait at most; past that a new one is answered at once with what is known.
pub(crate) const LOOKUPS_MAX: usize = 256;
/// After the first announce left, others with the same name get this long to be heard too.
const SAME_NAME_GRACE: Duration = Duration::from_millis(250);

/// A look-up that waits for the LAN.
#[derive(Debug)]
pub(crate) struct Lookup {
    command: CommandId,
    ask: Ask,
    deadline: Instant,
    seeds: Asked,
}

/// What the seeds say about it.
#[derive(Debug)]
enum Asked {
    NotYet,
    Asking(AskId),
    Done(Claims),
}

#[derive(Debug)]
enum Ask {
    Resolve(String),
    Sight(PeerId),
    Peers,
}

impl Ask {
    /// What was written, for whoever is told that there is nobody.
    fn word(&self) -> String {
        match self {
            Self::Resolve(word) => word.clone(),
            Self::Sight(id) => id.to_string(),
            Self::Peers => String::new(),
        }
    }

    /// The same as seeds are asked.
    fn question(&self) -> Question {
        match self {
            Self::Sight(id) => Question::Id(*id),
            Self::Resolve(_) | Self::Peers => Question::Name(self.word()),
        }
    }
}

/// What the known peers say about a word.
enum Found {
    One(PeerId),
    /// One, but only by the name it announces: another one may turn up.
    OneByName(PeerId),
    Error(CommandError),
    Nobody,
}

impl Node {
    pub(crate) fn resolve(&mut self, now: Now, command: CommandId, word: String, timeout: Duration) {
        let word = word.trim().to_owned();
        self.look_up(now, Lookup { command, ask: Ask::Resolve(word), deadline: now.instant + timeout, seeds: Asked::NotYet });
    }

    pub(crate) fn sight(&mut self, now: Now, command: CommandId, id: PeerId, timeout: Duration) {
        self.look_up(now, Lookup { command, ask: Ask::Sight(id), deadline: now.instant + timeout, seeds: Asked::NotYet });
    }

    pub(crate) fn list_peers(&mut self, now: Now, command: CommandId, settle: bool) {
        if !settle {
            return self.reply(command, Reply::Peers(self.peer_views()));
        }
        let deadline = now.instant + Duration::from_secs(3);
        self.look_up(now, Lookup { command, ask: Ask::Peers, deadline, seeds: Asked::NotYet });
    }

    fn look_up(&mut self, now: Now, lookup: Lookup) {
        let full = self.lookups.len() >= LOOKUPS_MAX;
        if let Some(lookup) = self.answer_lookup(now, lookup, full) {
            self.lookups.push(lookup);
        }
    }

    /// Time went by: answers what can be answered.
    pub(crate) fn answer_lookups(&mut self, now: Now) {
        for lookup in std::mem::take(&mut self.lookups) {
            if let Some(waiting) = self.answer_lookup(now, lookup, false) {
                self.lookups.push(waiting);
            }
        }
    }

    /// This peer was heard: answers what that can answer. To look through everybody for each look-up would be
    /// milliseconds each at full tables, for every announce.
    pub(crate) fn answer_lookups_about(&mut self, now: Now, id: PeerId) {
        let (about, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.lookups).into_iter().partition(|lookup| self.may_be_about(now, lookup, &id));
        self.lookups = others;
        for lookup in about {
            if let Some(waiting) = self.answer_lookup(now, lookup, false) {
                self.lookups.push(waiting);
            }
        }
    }

    /// True where news of this peer, or the time, may answer the look-up.
    pub(super) fn may_be_about(&self, now: Now, lookup: &Lookup, id: &PeerId) -> bool {
        let over = self.discovery.asked(now.instant) || lookup.deadline <= now.instant;
        match (&lookup.ask, self.peers.get(id)) {
            (Ask::Resolve(word), Some(peer)) => {
                over || name_key(&peer.name()) == name_key(word) || id.to_string().starts_with(word)
            }
            (Ask::Sight(wanted), Some(_)) => over || wanted == id,
            (Ask::Peers, _) | (_, None) => true,
        }
    }

    pub(crate) fn lookup_timeout(&self) -> Option<Instant> {
        let deadline = self.lookups.iter().map(|lookup| lookup.deadline).min()?;
        let grace = self.first_announce.map(|at| at + SAME_NAME_GRACE);
        // What was over before now has been seen already.
        let next = [Some(self.discovery.settled_at()), Some(self.discovery.asked_at()), grace]
            .into_iter()
            .flatten()
            .filter(|at| *at > self.now.instant);
        Some(next.fold(deadline, Instant::min))
    }

    /// Answers the look-up, or gives it back where an answer would be too early.
    fn answer_lookup(&mut self, now: Now, mut lookup: Lookup, at_once: bool) -> Option<Lookup> {
        // A list may be shown once it is quiet; that nobody has a name is said only after the whole wait.
        let settled = match &lookup.ask {
            Ask::Peers => self.discovery.settled(now.instant),
            Ask::Resolve(_) | Ask::Sight(_) => self.discovery.asked(now.instant),
        };
        let over = at_once || settled || lookup.deadline <= now.instant;
        let found = match &lookup.ask {
            Ask::Peers if over => {
                self.reply(lookup.command, Reply::Peers(self.peer_views()));
                return None;
            }
            Ask::Peers => return Some(lookup),
            Ask::Resolve(word) => self.find(word),
            Ask::Sight(id) if *id == self.id() => Found::Error(CommandError::Myself),
            Ask::Sight(id) if self.peers.contains_key(id) => Found::One(*id),
            Ask::Sight(_) => Found::Nobody,
        };
        let grace_over = self.first_announce.is_some_and(|at| at + SAME_NAME_GRACE <= now.instant);
        match found {
            Found::One(id) => self.reply(lookup.command, Reply::Resolved(id)),
            Found::OneByName(id) if over || grace_over => self.reply(lookup.command, Reply::Resolved(id)),
            Found::Error(error) => self.fail(lookup.command, error),
            Found::OneByName(_) => return Some(lookup),
            Found::Nobody => {
                let is_late = at_once || lookup.deadline <= now.instant;
                if matches!(lookup.seeds, Asked::NotYet) && self.seeds.is_in_use() && !is_late {
                    // The LAN and the seeds are asked at the same time.
                    let question = lookup.ask.question();
                    lookup.seeds = Asked::Asking(self.ask_for_lookup(now, lookup.command, question, lookup.deadline));
                }
                if !is_late && (!over || matches!(lookup.seeds, Asked::Asking(_))) {
                    return Some(lookup);
                }
                let answer = self.by_claims(&lookup.ask, settled, lookup.seeds);
                self.reply(lookup.command, answer);
            }
        }
        None
    }

    /// The seeds have said what they know about whom a look-up is for.
    pub(super) fn on_lookup_asked(&mut self, now: Now, command: CommandId, claims: Claims) {
        let Some(at) = self.lookups.iter().position(|lookup| lookup.command == command) else { return };
        let lookup = Lookup { seeds: Asked::Done(claims), ..self.lookups.swap_remove(at) };
        if let Some(lookup) = self.answer_lookup(now, lookup, false) {
            self.lookups.push(lookup);
        }
    }

    /// Nobody here is meant: what the seeds say counts.
    fn by_claims(&mut self, ask: &Ask, settled: bool, seeds: Asked) -> Reply {
        let word = &ask.word();
        let claims = match seeds {
            // Without time to ask them none has answered.
            Asked::NotYet => {
                return Reply::Failed(self.nobody(
                    word,
                    settled,
                    &Claims { asked: self.seeds.views(None).len(), ..Claims::default() },
                ));
            }
            Asked::Asking(ask) => {
                let claims = self.claims_so_far(ask);
                self.seeds.forget(ask);
                claims
            }
            Asked::Done(claims) => claims,
        };
        // I never match myself.
        let me = self.id();
        let others: Vec<_> = claims.claims.iter().filter(|claim| claim.id != me).collect();
        match others[..] {
            [] => Reply::Failed(self.nobody(word, settled, &claims)),
            // Of an id there is one at most, and nothing else is known of it.
            _ if matches!(ask, Ask::Sight(_)) => Reply::Claims(claims),
            // Who crowds a name's page out must not be taken for the only one.
            [one] if !claims.more => Reply::Resolved(one.id),
            _ => {
                let candidates = others.iter().map(|claim| self.view_of_claim(claim)).collect();
                Reply::Failed(CommandError::Ambiguous { peer: Shown::line(word).to_string(), candidates })
            }
        }
    }

    /// Says that there is nobody, where all who could know have answered; else who has not.
    fn nobody(&self, word: &str, settled: bool, claims: &Claims) -> CommandError {
        let peer = Shown::line(word).to_string();
        let has_lan = self.first_announce.is_some();
        let Claims { asked, answered, .. } = *claims;
        let all_seeds = asked == answered;
        if (has_lan || asked > 0) && (settled || !has_lan) && all_seeds {
            let lan = has_lan.then(|| format!("the LAN, {} there", self.discovery.neighbours().count()));
            let seeds = (asked > 0).then(|| format!("{answered} of {asked} seeds"));
            let asked: Vec<_> = lan.into_iter().chain(seeds).collect();
            return CommandError::NoSuchPeer { peer, asked: format!("asked {}", asked.join("; ")) };
        }
        let lan = match (has_lan, settled) {
            (true, true) => "LAN",
            (true, false) => "the LAN had too little time to answer",
            (false, _) if asked > 0 => "no LAN",
            (false, _) => "there was nobody to ask: no LAN",
        };
        let seeds = (asked > 0).then(|| claims.shortfall());
        let asked: Vec<_> = [lan.to_owned()].into_iter().chain(seeds).collect();
        CommandError::NotFound { peer, asked: asked.join("; ") }
    }

    /// What the manual promises of a word: petname, then a contact's own name, then a neighbour's name, then an id's
    /// beginning; the first step with a match decides.
    fn find(&self, word: &str) -> Found {
        if let Ok(ContactLink { id, .. }) = word.parse() {
            return if id == self.id() { Found::Error(CommandError::Myself) } else { Found::One(id) };
        }
        let views = self.peer_views();
        let key = name_key(word);
        let named = |view: &&PeerView| name_key(&view.name) == key;
        let petnamed: Vec<_> =
            views.iter().filter(|view| view.petname.as_deref().is_some_and(|name| name_key(name) == key)).collect();
        let contacts: Vec<_> = views.iter().filter(|view| view.contact).filter(named).collect();
        let strangers: Vec<_> = views.iter().filter(|view| !view.contact).filter(named).collect();
        let prefixed: Vec<_> =
            views.iter().filter(|view| word.len() >= PEER_ID_SHORT_LEN && view.id.to_string().starts_with(word)).collect();
        if petnamed.is_empty() && !contacts.is_empty() && !strangers.is_empty() {
            let candidates = contacts.into_iter().chain(strangers).cloned().collect();
            return Found::Error(CommandError::FamiliarName { peer: Shown::line(word).to_string(), candidates });
        }
        let is_name_of_stranger = petnamed.is_empty() && contacts.is_empty() && !strangers.is_empty();
        let step = [petnamed, contacts, strangers, prefixed].into_iter().find(|step| !step.is_empty());
        match step.as_deref() {
            None => Found::Nobody,
            Some([one]) if is_name_of_stranger => Found::OneByName(one.id),
            Some([one]) => Found::One(one.id),
            Some(several) => {
                let candidates = several.iter().map(|view| (*view).clone()).collect();
                Found::Error(CommandError::Ambiguous { peer: Shown::line(word).to_string(), candidates })
            }
        }
    }
}
