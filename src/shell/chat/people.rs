//! Who is known, what they are called here, and what of their coming and going was said.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    clock::Instant,
    control::{
        call::ContactAction,
        proto::{ContactLine, PeerLine, Presence, Trust},
    },
    id::PeerId,
    text::{Name, Shown},
};

/// Comings and goings are gathered for this long, and one that undoes the other is not told.
const GATHER: Duration = Duration::from_millis(250);
/// So many are named in one line; the rest is counted.
const LISTED_MAX: usize = 8;
/// Peers remembered at most; past it, whoever is not here is forgotten first.
const PEOPLE_MAX: usize = 8_192;

#[derive(Debug)]
struct Person {
    name: Name,
    petname: Option<Name>,
    presence: Presence,
    away: String,
    trust: Trust,
    contact: bool,
    /// What was said last; `None`: nothing yet.
    told: Option<Presence>,
    /// It was said that this is somebody new.
    introduced: bool,
}

/// Everybody known.
#[derive(Debug)]
pub(super) struct People {
    me: PeerId,
    own: Option<Name>,
    map: BTreeMap<PeerId, Person>,
    /// How many bear a name that can be taken for this: where it is more than one, ids are shown.
    names: BTreeMap<String, usize>,
    due: Option<Instant>,
    /// How often somebody came to be known, or was renamed.
    version: u64,
}

impl People {
    /// Nobody yet but me, who am called so.
    pub(super) fn new(me: PeerId, name: &str) -> Self {
        let mut people = Self { me, own: None, map: BTreeMap::new(), names: BTreeMap::new(), due: None, version: 0 };
        people.set_own_name(name);
        people
    }

    /// I am called so from now on: whoever looks like me is shown with an id.
    pub(super) fn set_own_name(&mut self, name: &str) {
        if let Some(own) = std::mem::replace(&mut self.own, Name::parse(name).ok()) {
            self.uncount(&own);
        }
        self.version += 1;
        for look in self.own.as_ref().map(Name::looks).into_iter().flatten() {
            *self.names.entry(look).or_default() += 1;
        }
    }

    fn uncount(&mut self, name: &Name) {
        for look in name.looks() {
            let count = self.names.entry(look.clone()).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.names.remove(&look);
            }
        }
    }

    /// What a peer is called here: its petname, else its name, with the short id where two have it, or one that looks like it.
    pub(super) fn label(&self, id: &PeerId) -> Shown {
        let Some(person) = self.map.get(id) else { return Shown::line(&id.short()) };
        let name = person.called();
        if self.is_shared(name) {
            return Shown::line(&format!("{}·{}", Shown::name(name.as_str()), id.short()));
        }
        Shown::name(name.as_str())
    }

    /// Takes over what is known of a peer, without a word about its coming or going.
    pub(super) fn learn(&mut self, peer: &PeerLine) {
        if peer.id == self.me {
            return;
        }
        let name = Name::or_short_id(&peer.name, &peer.id);
        let petname = peer.petname.as_deref().and_then(|petname| Name::parse(petname).ok());
        let old = self.remove(&peer.id);
        let (told, introduced) = old.map_or((None, false), |old| (old.told, old.introduced));
        let person = Person {
            name,
            petname,
            presence: peer.presence,
            away: peer.away.clone().unwrap_or_default(),
            trust: peer.trust,
            contact: peer.contact,
            told,
            introduced,
        };
        self.insert(peer.id, person);
    }

    /// A peer that wrote, or that is written to, under this name: its label.
    pub(super) fn meet(&mut self, id: PeerId, name: &str) -> Shown {
        if !self.map.contains_key(&id) {
            let name = Name::or_short_id(name, &id);
            let person = Person {
                name,
                petname: None,
                presence: Presence::Unknown,
                away: String::new(),
                trust: Trust::Unknown,
                contact: true,
                told: None,
                introduced: false,
            };
            self.insert(id, person);
        }
        self.label(&id)
    }

    /// The label of somebody in a stored message, which has another name where it was called so then: with its id, since
    /// somebody else may be called so now.
    pub(super) fn label_then(&mut self, id: PeerId, name: &str) -> Shown {
        let label = self.meet(id, name);
        match (self.map.get(&id), Name::parse(name)) {
            (Some(person), Ok(then)) if person.called() != &then => {
                Shown::line(&format!("{}·{}", Shown::name(then.as_str()), id.short()))
            }
            _ => label,
        }
    }

    /// Something else is said of somebody from now on: its label.
    pub(super) fn say_of(&mut self, contact: &ContactLine, action: ContactAction) -> Shown {
        let ContactLine { id, petname, name, .. } = contact;
        let old = self.remove(id);
        let (presence, away, told, was_contact) =
            old.map_or((Presence::Unknown, String::new(), None, false), |old| (old.presence, old.away, old.told, old.contact));
        let is_contact = match action {
            ContactAction::Add => true,
            ContactAction::Remove => false,
            _ => was_contact || contact.trust == Trust::Verified,
        };
        let person = Person {
            name: Name::or_short_id(name, id),
            petname: petname.as_deref().and_then(|petname| Name::parse(petname).ok()),
            presence,
            away,
            trust: contact.trust,
            contact: is_contact,
            told,
            introduced: true,
        };
        self.insert(*id, person);
        self.label(id)
    }

    fn insert(&mut self, id: PeerId, person: Person) {
        if self.map.len() >= PEOPLE_MAX
            && let Some(gone) = self.map.iter().find(|(_, person)| !person.is_here() && !person.contact).map(|(id, _)| *id)
        {
            self.remove(&gone);
        }
        for look in person.called().looks() {
            *self.names.entry(look).or_default() += 1;
        }
        self.version += 1;
        self.map.insert(id, person);
    }

    fn remove(&mut self, id: &PeerId) -> Option<Person> {
        let person = self.map.remove(id)?;
        self.uncount(person.called());
        Some(person)
    }

    fn is_shared(&self, name: &Name) -> bool {
        name.looks().iter().any(|look| self.names.get(look).is_some_and(|count| *count > 1))
    }

    /// A peer is, or is called, otherwise than before. `told`: comings and goings are said already. May
    /// return a line to print at once.
    pub(super) fn on_peer(&mut self, now: Instant, peer: PeerLine, told: bool) -> Option<String> {
        let before = self.map.get(&peer.id).map(|person| (self.label(&peer.id), person.is_here(), person.petname.clone()));
        self.learn(&peer);
        if told {
            let person = self.map.get(&peer.id)?;
            if person.told.unwrap_or(Presence::Unknown) != person.presence {
                self.due = self.due.or(Some(now + GATHER));
            }
        }
        let (label, was_here, petname) = before?;
        let (after, person) = (self.label(&peer.id), self.map.get(&peer.id)?);
        // A petname is no news to who gave it.
        let renamed = label != after && was_here && told && person.told.is_some() && person.petname == petname;
        renamed.then(|| format!("{label} is called {after} now"))
    }

    /// The first word of somebody that I have never written to: who that is.
    pub(super) fn first_word(&mut self, id: &PeerId) -> Option<String> {
        let label = self.label(id);
        let person = self.map.get_mut(id)?;
        if person.contact || person.introduced || person.trust == Trust::Verified {
            return None;
        }
        person.introduced = true;
        Some(format!("{label} is new to you: id {}, not verified", id.short()))
    }

    /// I wrote to it, or am about to: it is not new to me.
    pub(super) fn introduce(&mut self, id: &PeerId) {
        if let Some(person) = self.map.get_mut(id) {
            person.introduced = true;
        }
    }

    /// Who is here, for the first list: label, and name as it is written. From here on changes are told.
    pub(super) fn tell_first(&mut self) -> Vec<(Shown, String)> {
        for person in self.map.values_mut() {
            person.told = Some(person.presence);
        }
        let here = self.map.iter().filter(|(_, person)| person.is_here());
        let mut list: Vec<(Shown, String)> = here.map(|(id, _)| (self.label(id), self.written(id))).collect();
        list.sort();
        list
    }

    pub(super) fn is_anybody_here(&self) -> bool {
        self.map.values().any(Person::is_here)
    }

    pub(super) fn is_here(&self, id: &PeerId) -> bool {
        self.map.get(id).is_some_and(Person::is_here)
    }

    /// What is to be said about comings and goings now.
    pub(super) fn poll_changes(&mut self, now: Instant) -> Vec<String> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = None;
        let (mut here, mut gone, mut other) = (Vec::new(), Vec::new(), Vec::new());
        let ids: Vec<PeerId> = self.map.keys().copied().collect();
        for id in ids {
            let label = self.label(&id).to_string();
            let Some(person) = self.map.get_mut(&id) else { continue };
            let told = person.told.replace(person.presence).unwrap_or(Presence::Unknown);
            match (told, person.presence) {
                (Presence::Online, Presence::Online) | (Presence::Away, Presence::Away) => {}
                (Presence::Away, Presence::Online) => other.push(format!("{label} is back at the keyboard")),
                (_, Presence::Online) => here.push(label),
                (_, Presence::Away) => {
                    let why =
                        if person.away.is_empty() { String::new() } else { format!(": {}", Shown::short(&person.away, 40)) };
                    other.push(format!("{label} is away from the keyboard{why}"));
                }
                (Presence::Online | Presence::Away, _) => gone.push(label),
                _ => {}
            }
        }
        let verb = |many: usize| if many == 1 { "is" } else { "are" };
        let mut lines = Vec::new();
        if !here.is_empty() {
            lines.push(format!("{} {} here", listed(&here), verb(here.len())));
        }
        if !gone.is_empty() {
            lines.push(format!("{} {} gone", listed(&gone), verb(gone.len())));
        }
        lines.extend(other);
        lines
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// What is written to mean this peer: its name, or its id where two have the name.
    pub(super) fn written(&self, id: &PeerId) -> String {
        let Some(person) = self.map.get(id) else { return id.to_string() };
        let name = person.called();
        if self.is_shared(name) { id.to_string() } else { name.as_str().to_owned() }
    }

    /// Changes where `names` may have.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Everybody's name as it is written, with the id.
    pub(super) fn names(&self) -> Vec<(String, PeerId)> {
        self.map.keys().map(|id| (self.written(id), *id)).collect()
    }
}

impl Person {
    fn called(&self) -> &Name {
        self.petname.as_ref().unwrap_or(&self.name)
    }

    const fn is_here(&self) -> bool {
        matches!(self.presence, Presence::Online | Presence::Away)
    }
}

/// `bob`, `bob and carol`, `bob, carol and dave`, and past eight the rest as a number.
pub(super) fn listed(names: &[String]) -> String {
    if names.len() > LISTED_MAX {
        return format!("{} and {} more", names[..LISTED_MAX].join(", "), names.len() - LISTED_MAX);
    }
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
