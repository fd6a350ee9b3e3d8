//! Who is on this LAN (protocol, ANNOUNCE): when we announce ourselves, what we make of the announces of
//! others, and which of them get an answer.
//!
//! A pure state machine: it hands out `Announce` values and the node signs them; joining groups is
//! `net`'s affair, presence of peers with an open session is the node's. An announce only ever adds a
//! candidate address; nothing here removes or replaces a path. Not here yet, and this is where they
//! will stand: pages of the list inside a session, the ring that notices crashes, and what to do where
//! multicast is dead.
//!
//! Methods, sorted: getters, `handle_*` (input), commands, `poll_*` (output). After each input poll
//! until `None`.

mod budget;
mod hear;
mod neighbours;
mod say;
mod schedule;
#[cfg(test)]
mod tests;
mod values;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

pub use self::{
    budget::SIGNATURES_PER_SECOND_MAX,
    neighbours::{ADDRS_MAX, NEIGHBOURS_MAX, NEIGHBOURS_PER_SOURCE_MAX},
    say::{ANSWER_ALL_MAX, ANSWERS_WANTED},
    schedule::{BURST_ROUNDS, CHANGE_DELAY_MAX, STEADY_BYTES_PER_SECOND, STEADY_INTERVAL_MIN},
    values::{Arrival, Destination, DiscoveryConfig, DiscoveryEvent, Group, Ignored, Known, Neighbour, Outgoing},
};
use self::{
    budget::{Bucket, Budget},
    neighbours::{Neighbours, digest_part},
    say::{ANSWERS_PER_SECOND_MAX, Question},
    schedule::{Families, HeardRate, Schedule, between},
};
use super::interface::{Interface, Membership, memberships};
use crate::{
    clock::Instant,
    id::{BootId, PeerId},
    wire::{
        NAME_LEN_MAX,
        announce::{Announce, Signed},
    },
};

/// The second goodbye.
const SECOND_GOODBYE: Duration = Duration::from_millis(20);
/// After a wake-up, whoever's time is up has so long to be heard again.
const WAKE_GRACE: Duration = Duration::from_secs(5);
/// The LAN has answered so long after our first announce.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Nothing new for so long after an answer: everybody has answered.
const QUIET: Duration = Duration::from_millis(500);

/// Where we are between the first word and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Here,
    /// One goodbye is out, the second is due.
    Leaving(Instant),
    Gone,
}

/// LAN discovery of one node.
#[derive(Debug)]
pub struct Discovery {
    config: DiscoveryConfig,
    away: bool,
    rng: ChaCha20Rng,
    stage: Stage,
    seq: u64,
    /// Our part of every digest.
    part: u64,
    /// Every question is padded to this, so that no answer is larger.
    question_len: usize,
    interfaces: Vec<Interface>,
    schedules: BTreeMap<u32, Schedule>,
    neighbours: Neighbours,
    /// Contacts, with the highest boot and seq heard.
    known: BTreeMap<PeerId, (BootId, u64)>,
    budget: Budget,
    heard: HeardRate,
    questions: VecDeque<Question>,
    answers: Bucket,
    answered: VecDeque<(Instant, SocketAddr, BootId)>,
    created: Instant,
    /// When interfaces were told first.
    started: Option<Instant>,
    first_announce: Option<Instant>,
    last_announce: Instant,
    /// When somebody came last.
    last_news: Option<Instant>,
    told_other_version: bool,
    told_elsewhere: bool,
    /// The boot of a copy of this profile that is later than ours, and until when it may be believed.
    copy: Option<(BootId, Instant)>,
    /// When an old announce with our id made us ask last.
    doubted: Option<Instant>,
    /// What is said once more, when and where; at most two per interface.
    repeats: VecDeque<(Instant, u32, Announce)>,
    outgoing: VecDeque<Outgoing>,
    events: VecDeque<DiscoveryEvent>,
}

impl Discovery {
    /// A discovery that knows no interface yet; it starts with the first [`Self::handle_interfaces`].
    pub fn new(config: DiscoveryConfig, rng_seed: [u8; 32], now: Instant) -> Self {
        let mut budget = Budget::new(now);
        for address in config.known.iter().flat_map(|known| &known.addresses) {
            budget.remember(now, address.ip().to_canonical());
        }
        let mut discovery = Self {
            away: false,
            rng: ChaCha20Rng::from_seed(rng_seed),
            stage: Stage::Here,
            seq: 0,
            part: digest_part(&config.id, config.boot),
            question_len: 0,
            interfaces: Vec::new(),
            schedules: BTreeMap::new(),
            neighbours: Neighbours::default(),
            known: config.known.iter().map(|known| (known.id, (known.boot, known.seq))).collect(),
            budget,
            heard: HeardRate::default(),
            questions: VecDeque::new(),
            answers: Bucket::new(ANSWERS_PER_SECOND_MAX, ANSWERS_PER_SECOND_MAX, now),
            answered: VecDeque::new(),
            created: now,
            started: None,
            first_announce: None,
            last_announce: now,
            last_news: None,
            told_other_version: false,
            told_elsewhere: false,
            copy: None,
            doubted: None,
            repeats: VecDeque::new(),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            config,
        };
        discovery.config.name = cut(&discovery.config.name);
        discovery.question_len = discovery.longest_answer();
        discovery
    }

    /// Everybody who is here now, by id.
    pub fn neighbours(&self) -> impl Iterator<Item = &Neighbour> {
        self.neighbours.here().map(|entry| &entry.shown)
    }

    /// This peer, if it is here now.
    pub fn neighbour(&self, id: &PeerId) -> Option<&Neighbour> {
        self.neighbours.get(id).filter(|entry| entry.is_here()).map(|entry| &entry.shown)
    }

    /// When the LAN counts as asked: 2 s after the first announce; at once where there is no LAN.
    pub fn asked_at(&self) -> Instant {
        match (self.first_announce, self.started) {
            (Some(first), _) => first + ANSWER_WAIT,
            (None, Some(started)) if self.schedules.is_empty() => started,
            (None, Some(started)) => started + ANSWER_WAIT,
            (None, None) if self.config.lan => self.created + ANSWER_WAIT,
            (None, None) => self.created,
        }
    }

    /// The LAN has been asked, and had its time to answer.
    pub fn asked(&self, now: Instant) -> bool {
        self.asked_at() <= now
    }

    /// When a list of who is here is worth showing if nothing more comes: [`Self::asked_at`], or half a
    /// second after the last new peer. Later news may move it.
    pub fn settled_at(&self) -> Instant {
        let asked = self.asked_at();
        self.last_news.map_or(asked, |at| asked.min(at + QUIET))
    }

    /// A list of who is here is worth showing.
    pub fn settled(&self, now: Instant) -> bool {
        self.settled_at() <= now
    }

    /// The last goodbye is out.
    pub fn has_left(&self) -> bool {
        self.stage == Stage::Gone && self.outgoing.is_empty()
    }

    /// Takes a datagram of kind announce. `verify` checks its signature and is called only within the
    /// budget, never for what was heard before.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        arrival: Arrival,
        datagram: &[u8],
        verify: impl FnOnce(&Signed<'_>) -> bool,
    ) -> Result<(), Ignored> {
        self.hear(now, arrival, datagram, verify)
    }

    /// Takes the interfaces as they are now. The first time the burst starts at once; later each
    /// interface that is new or has other addresses gets one, within [`CHANGE_DELAY_MAX`].
    pub fn handle_interfaces(&mut self, now: Instant, interfaces: &[Interface]) {
        let first = self.started.is_none();
        self.started.get_or_insert(now);
        let before = std::mem::replace(&mut self.interfaces, interfaces.to_vec());
        let members = if self.config.lan { memberships(interfaces, &self.config.only) } else { Vec::new() };
        let lost: Vec<u32> =
            self.schedules.keys().copied().filter(|index| members.iter().all(|member| member.index != *index)).collect();
        for index in lost {
            self.schedules.remove(&index);
            self.neighbours.forget_interface(index);
        }
        for member in members {
            let start = if first { now } else { now + between(&mut self.rng, Duration::ZERO, CHANGE_DELAY_MAX) };
            let Some(schedule) = self.schedules.get_mut(&member.index) else {
                self.schedules.insert(member.index, Schedule::new(member, start));
                continue;
            };
            schedule.member = member;
            let changed = changed(&before, interfaces, member);
            if changed.any() {
                schedule.burst(start, changed);
            }
        }
        // Nobody expires here: this may be the first news after a sleep, before it is known as one.
        self.speak(now);
    }

    /// The machine slept: who was here may have gone, and we may have been forgotten. To be told before the
    /// first [`Self::handle_timeout`] of the new time.
    pub fn handle_wake(&mut self, now: Instant) {
        self.neighbours.doubt(now, now + WAKE_GRACE);
        for schedule in self.schedules.values_mut() {
            let start = now + between(&mut self.rng, Duration::ZERO, CHANGE_DELAY_MAX);
            schedule.burst(start, Families::from(&schedule.member));
        }
    }

    /// What [`Self::poll_timeout`] asked for is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Stage::Leaving(second) = self.stage {
            if second <= now {
                self.goodbye(now);
                self.stage = Stage::Gone;
            }
            return;
        }
        while let Some(id) = self.neighbours.expire(now) {
            self.events.push_back(DiscoveryEvent::Expired { id });
        }
        if let Some((boot, _)) = self.copy.take_if(|(_, until)| *until <= now) {
            self.outlive(now, boot);
        }
        self.speak(now);
    }

    /// A copy of this profile with a later boot is silent now. Whoever heard it ignores what we announce
    /// under ours, so we go on under the next one.
    fn outlive(&mut self, now: Instant, copy: BootId) {
        self.config.boot = copy.next();
        self.part = digest_part(&self.config.id, self.config.boot);
        self.events.push_back(DiscoveryEvent::NewBoot { boot: self.config.boot });
        for schedule in self.schedules.values_mut() {
            schedule.burst(now, Families::from(&schedule.member));
        }
    }

    /// We call ourselves this from now on; cut at [`NAME_LEN_MAX`] bytes. Told to the LAN soon.
    pub fn set_name(&mut self, now: Instant, name: &str) {
        let name = cut(name);
        if self.config.name != name {
            self.config.name = name;
            self.tell_news(now);
        }
    }

    /// We are away from the keyboard, or back. Told to the LAN soon.
    pub fn set_away(&mut self, now: Instant, away: bool) {
        if self.away != away {
            self.away = away;
            self.tell_news(now);
        }
    }

    /// This peer became a contact: its announces go first from now on, and it is never crowded out.
    pub fn remember(&mut self, known: Known) {
        let heard = self.known.entry(known.id).or_default();
        *heard = (*heard).max((known.boot, known.seq));
        for address in known.addresses {
            self.budget.remember(self.last_announce, address.ip().to_canonical());
        }
    }

    /// Says goodbye, now and once more 20 ms later; see [`Self::has_left`]. Nothing else is said after.
    pub fn leave(&mut self, now: Instant) {
        if self.stage != Stage::Here {
            return;
        }
        self.outgoing.clear();
        self.goodbye(now);
        // Whom nobody could hear need not repeat himself.
        self.stage = if self.outgoing.is_empty() { Stage::Gone } else { Stage::Leaving(now + SECOND_GOODBYE) };
    }

    /// The next announce to sign and send.
    pub fn poll_announce(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// The next piece of news.
    pub fn poll_event(&mut self) -> Option<DiscoveryEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called; `None`: never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Here => {
                let round = self.schedules.values().map(Schedule::due).min();
                let repeat = self.repeats.front().map(|(at, ..)| *at);
                let copy = self.copy.map(|(_, until)| until);
                [round, repeat, copy, self.neighbours.next_expiry()].into_iter().flatten().min()
            }
            Stage::Leaving(second) => Some(second),
            Stage::Gone => None,
        }
    }
}

/// The families of `member` whose addresses are not as they were.
fn changed(before: &[Interface], now: &[Interface], member: Membership) -> Families {
    let addrs = |interfaces: &[Interface], v4: bool| {
        let interface = interfaces.iter().find(|interface| interface.index == member.index);
        let mut addrs: Vec<_> = interface.map(|interface| interface.addrs.clone()).unwrap_or_default();
        addrs.retain(|(addr, _)| addr.is_ipv4() == v4);
        addrs.sort_unstable();
        addrs
    };
    let differs = |v4| addrs(before, v4) != addrs(now, v4);
    Families { v4: differs(true), v6: differs(false) }
}

/// At most [`NAME_LEN_MAX`] bytes of `name`, cut at a character.
fn cut(name: &str) -> String {
    let mut cut = name.to_owned();
    while cut.len() > NAME_LEN_MAX {
        cut.pop();
    }
    cut
}
