//! What is said, to whom and how often: rounds and beats to the groups, answers to those who ask,
//! goodbyes. When a round is due is decided in `schedule`.

use std::time::Duration;

use rand_core::RngCore;

use super::{
    Destination, Discovery, Group, Outgoing, Stage,
    hear::Heard,
    neighbours::NEIGHBOURS_MAX,
    schedule::{BURST_ROUNDS_MIN, CHANGE_DELAY_MAX, Due, Families, Schedule, between, steady_interval, ttl_seconds},
};
use crate::{
    clock::Instant,
    id::BootId,
    node::interface::Membership,
    wire::{
        NAME_LEN_MAX, SIGNATURE_LEN,
        announce::{Announce, FLAG_ANSWER, FLAG_ANSWER_ME, FLAG_AWAY, FLAG_LEAVING},
    },
};

/// Up to so many peers here, all of them answer a question; beyond, [`ANSWERS_WANTED`] on average.
pub const ANSWER_ALL_MAX: usize = 32;
/// Answers that a question gets on average where many could answer.
pub const ANSWERS_WANTED: u64 = 3;
/// A question is padded for an answer of this seq and count, and for the longest name.
const ANSWER_SEQ_MAX: u64 = u32::MAX as u64;
/// "≤ 1 per source and second".
const ANSWER_PAUSE: Duration = Duration::from_secs(1);
/// Answers per second in all: a flood of questions from made-up neighbours must not fill the system's
/// neighbour table with them.
pub(super) const ANSWERS_PER_SECOND_MAX: u32 = 128;
/// Sources of questions remembered; there cannot be more within a second.
const ANSWERED_MAX: usize = 2 * ANSWERS_PER_SECOND_MAX as usize;
/// Our last questions that may still be answered, and for how long.
const NONCES_MAX: usize = 16;
pub(super) const NONCE_LIFETIME: Duration = Duration::from_secs(5);
/// Where there is one family only, the first rounds of a burst are said twice, so far apart.
const REPEAT_AFTER: Duration = Duration::from_millis(20);
/// News about us (name, away) go out at most this often.
const NEWS_PAUSE: Duration = Duration::from_secs(5);

/// A question of ours that may still be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) nonce: u64,
    pub(super) interface: u32,
    pub(super) at: Instant,
}

impl Discovery {
    /// Says what is due.
    pub(super) fn speak(&mut self, now: Instant) {
        if self.stage != Stage::Here {
            return;
        }
        self.repeat(now);
        let due: Vec<u32> =
            self.schedules.iter().filter(|(_, schedule)| schedule.due() <= now).map(|(index, _)| *index).collect();
        for index in due {
            let Some(mut schedule) = self.schedules.remove(&index) else { continue };
            self.on_due(now, &mut schedule);
            self.schedules.insert(index, schedule);
        }
    }

    /// "Answer ANSWER_ME from an unknown boot by unicast on every family heard, … all peers when N ≤ 32,
    /// else each with probability 3/N." A boot that is known is answered too while its digest differs
    /// from ours: our answer to its last question was lost, or it slept. Whoever can tell that he is the
    /// one who is missing answers always.
    pub(super) fn consider_question(&mut self, now: Instant, announce: &Announce, heard: Heard, unknown: bool) {
        if !heard.multicast || announce.flags & FLAG_ANSWER_ME == 0 {
            return;
        }
        let mine = self.said(heard.interface);
        let theirs = (announce.peers, announce.digest);
        let we_are_missing = self.neighbours.lacks(theirs, mine, self.part);
        let crowd = self.neighbours.crowd();
        let Some(entry) = self.neighbours.get_mut(&announce.id) else { return };
        let wanted = match entry.question {
            Some((nonce, wanted)) if nonce == announce.nonce => wanted,
            _ => {
                let chosen = crowd <= ANSWER_ALL_MAX || self.rng.next_u64() % (crowd as u64) < ANSWERS_WANTED;
                let wanted = we_are_missing || (chosen && (unknown || theirs != mine));
                entry.question = Some((announce.nonce, wanted));
                wanted
            }
        };
        if wanted {
            self.answer(now, announce, heard);
        }
    }

    pub(super) fn answer(&mut self, now: Instant, question: &Announce, heard: Heard) {
        while self.answered.front().is_some_and(|(at, ..)| now.since(*at) >= ANSWER_PAUSE) {
            self.answered.pop_front();
        }
        // A contact that was started again is another asker: nobody else can sign its new boot.
        let boot = if self.known.contains_key(&question.id) { question.boot } else { BootId(0) };
        let again = self.answered.iter().any(|(_, source, of)| *source == heard.from && *of == boot);
        if again || self.answered.len() >= ANSWERED_MAX || !self.answers.take(now, 0) {
            return;
        }
        let copies = self.schedules.get(&heard.interface).map_or(1, |schedule| self.beat_copies(&schedule.member));
        let announce = self.announce(heard.interface, FLAG_ANSWER, question.nonce, copies);
        if datagram_len(&announce) <= heard.len {
            self.answered.push_back((now, heard.from, boot));
            self.outgoing.push_back(Outgoing { announce, to: Destination::Unicast(heard.from) });
        }
    }

    fn on_due(&mut self, now: Instant, schedule: &mut Schedule) {
        let interface = schedule.member.index;
        match schedule.poll(now) {
            Some(Due::Round(round, _)) if round >= BURST_ROUNDS_MIN && self.is_agreed(interface, schedule.spoke()) => {
                let interval = self.interval(interface, self.beat_copies(&schedule.member));
                schedule.settle(now, interval, &mut self.rng);
            }
            Some(Due::Round(round, families)) => {
                // A switch that withholds our group does so while nobody is heard by IPv6.
                let view = self.neighbours.view(interface);
                let all_nodes = round == 1 && families.v6 && view.count == view.only_v4;
                self.multicast(now, schedule, families, all_nodes, true);
            }
            Some(Due::Beat { v6 }) => {
                let families = self.beat_families(&schedule.member, v6);
                self.multicast(now, schedule, families, false, false);
            }
            None => {}
        }
    }

    fn multicast(&mut self, now: Instant, schedule: &mut Schedule, families: Families, all_nodes: bool, burst: bool) {
        let interface = schedule.member.index;
        // Where many are known already, and nobody knows more, an answer would bring hardly anybody new.
        let few = (self.neighbours.view(interface).count as usize) < ANSWER_ALL_MAX;
        let ask = burst && (few || self.neighbours.says_more(interface, self.said(interface).0));
        let (flags, nonce) = if ask { (FLAG_ANSWER_ME, self.ask(now, interface)) } else { (0, 0) };
        let copies = self.beat_copies(&schedule.member);
        let mut announce = self.announce(interface, flags, nonce, copies);
        if ask {
            announce.pad = self.question_len.saturating_sub(datagram_len(&announce));
        }
        self.send_to_groups(&announce, interface, families, all_nodes);
        if burst && families.count() == 1 && schedule.round() < BURST_ROUNDS_MIN {
            // By two families each round has two chances; by one it gets the second this way.
            self.repeats.push_back((now + REPEAT_AFTER, interface, announce.clone()));
        }
        let ttl = Duration::from_secs(announce.ttl.into());
        schedule.sent(now, self.interval(interface, copies), ttl, &mut self.heard, &mut self.rng);
        self.first_announce.get_or_insert(now);
        self.last_announce = now;
    }

    fn send_to_groups(&mut self, announce: &Announce, interface: u32, families: Families, all_nodes: bool) {
        let groups = [(families.v4, Group::V4), (families.v6, Group::V6), (all_nodes, Group::AllNodesV6)];
        for (_, group) in groups.into_iter().filter(|(wanted, _)| *wanted) {
            let to = Destination::Multicast { interface, group };
            self.outgoing.push_back(Outgoing { announce: announce.clone(), to });
        }
    }

    /// Says again what is due to be said again.
    fn repeat(&mut self, now: Instant) {
        while let Some((at, ..)) = self.repeats.front()
            && *at <= now
        {
            let Some((_, interface, announce)) = self.repeats.pop_front() else { return };
            let Some(schedule) = self.schedules.get(&interface) else { continue };
            let families = Families::from(&schedule.member);
            self.send_to_groups(&announce, interface, families, false);
        }
    }

    pub(super) fn goodbye(&mut self, now: Instant) {
        let members: Vec<Membership> = self.schedules.values().map(|schedule| schedule.member).collect();
        for member in members {
            let announce = Announce { ttl: 0, ..self.announce(member.index, FLAG_LEAVING, 0, 1) };
            self.send_to_groups(&announce, member.index, Families::from(&member), false);
        }
        self.last_announce = now;
    }

    /// An announce on this interface, with a seq of its own. `copies` go out each beat.
    fn announce(&mut self, interface: u32, flags: u8, nonce: u64, copies: usize) -> Announce {
        self.seq += 1;
        let (peers, digest) = self.said(interface);
        let away = if self.away { FLAG_AWAY } else { 0 };
        let mut announce = Announce {
            id: self.config.id,
            boot: self.config.boot,
            seq: self.seq,
            port: self.config.port,
            ttl: 0,
            network: self.config.network,
            flags: flags | away,
            peers,
            digest,
            nonce,
            name: self.config.name.clone(),
            ext: Vec::new(),
            pad: 0,
        };
        announce.ttl = ttl_seconds(self.interval(interface, copies));
        announce
    }

    /// T(N) on this interface, where each beat sends `copies`.
    fn interval(&self, interface: u32, copies: usize) -> Duration {
        // Everything but the name has about the same length in all announces.
        let len = self.question_len.saturating_sub(NAME_LEN_MAX.saturating_sub(self.config.name.len()));
        steady_interval(self.said(interface).0, len, copies)
    }

    fn beat_copies(&self, member: &Membership) -> usize {
        self.beat_families(member, true).count()
    }

    /// Count and digest of everybody seen on an interface, ourselves included.
    fn said(&self, interface: u32) -> (u32, u64) {
        let view = self.neighbours.view(interface);
        (view.count.saturating_add(1), view.digest ^ self.part)
    }

    /// "Cut short once a digest shows that I am known and know all": somebody said exactly what we would
    /// say, nobody said more, and nobody came since we spoke last, who might not have heard us.
    fn is_agreed(&self, interface: u32, spoke: Instant) -> bool {
        let mine = self.said(interface);
        let mut agreed = false;
        for entry in self.neighbours.here() {
            let Some(said) = entry.said.get(&interface) else { continue };
            if said.0 > mine.0 || entry.came >= spoke {
                return false;
            }
            agreed |= *said == mine;
        }
        agreed
    }

    /// By which families a beat goes out: alternating, unless somebody is heard by one of them only.
    fn beat_families(&self, member: &Membership, v6: bool) -> Families {
        let joined = Families::from(member);
        let view = self.neighbours.view(member.index);
        let wanted = match (view.only_v4 > 0, view.only_v6 > 0) {
            (true, true) => joined,
            (true, false) if view.only_v4 == view.count => Families { v4: true, v6: false },
            (false, true) if view.only_v6 == view.count => Families { v4: false, v6: true },
            (true, false) | (false, true) => joined,
            (false, false) => Families { v4: !v6, v6 },
        };
        if wanted.and(joined).any() { wanted.and(joined) } else { joined }
    }

    /// A nonce for a question on this interface.
    fn ask(&mut self, now: Instant, interface: u32) -> u64 {
        let nonce = self.rng.next_u64().max(1);
        if self.questions.len() >= NONCES_MAX {
            self.questions.pop_front();
        }
        self.questions.push_back(Question { nonce, interface, at: now });
        nonce
    }

    pub(super) fn tell_news(&mut self, now: Instant) {
        let soon = now + between(&mut self.rng, Duration::ZERO, CHANGE_DELAY_MAX);
        let at = soon.max(self.last_announce + NEWS_PAUSE);
        self.schedules.values_mut().for_each(|schedule| schedule.hurry(at));
    }

    /// Bytes of the longest answer that a peer like us could give.
    pub(super) fn longest_answer(&mut self) -> usize {
        let name = std::mem::replace(&mut self.config.name, "n".repeat(NAME_LEN_MAX));
        let mut longest = self.announce(0, FLAG_ANSWER, u64::MAX, 1);
        self.config.name = name;
        self.seq = 0;
        longest.boot = BootId(u64::MAX);
        longest.seq = ANSWER_SEQ_MAX;
        longest.port = u16::MAX;
        longest.ttl = u16::MAX;
        longest.peers = NEIGHBOURS_MAX as u32;
        longest.digest = u64::MAX;
        datagram_len(&longest)
    }
}

fn datagram_len(announce: &Announce) -> usize {
    announce.encode_unsigned().len() + SIGNATURE_LEN
}
