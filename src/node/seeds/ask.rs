//! A question to several seeds at once: those in use, and whom they name (the client asks on, at most two hops;
//! protocol, LOOKING UP). Nobody is trusted: an answer is a claim, and that there is none is said only by
//! all together.

use std::{net::SocketAddr, time::Duration};

use super::{
    Found, Progress, SEEDS_MAX, Seeds, SeedsEvent,
    farewell::Farewell,
    home::Home,
    query::Purpose,
    seed::{CLOCK_ERROR_MAX, Seed},
};
use crate::{
    clock::{Instant, Now},
    node::command::{Question, SeedState},
    text::name_key,
    wire::{
        addr::is_dialable,
        phonebook::{Answer, Entry, Query, RawId},
        record::{HOME_SEEDS_MAX, Record},
    },
};

/// Questions under way or watched at most.
const ASKS_MAX: usize = 1_024;
/// Seeds that one question goes to at most.
const TARGETS_MAX: usize = 8;
/// Seeds that name each other are followed so far.
const HOPS_MAX: u8 = 2;
/// Pages of a list that are fetched from one seed at most.
const PAGES_MAX: u32 = 32;
/// A watched record is told of within this time; then it must be asked for again.
const WATCH_FOR: Duration = Duration::from_secs(75);

/// Names a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AskId(u64);

/// What is wanted of seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// How they are.
    Status,
    /// Records.
    Records(Question),
    /// That they hold our record, or do not.
    Home(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unsent,
    Sent,
    Answered,
    Failed,
}

/// A seed that a question goes to.
#[derive(Debug)]
struct Target {
    /// A seed that we know by name.
    seed: Option<usize>,
    /// Another one knows it, or this one once it is resolved.
    addr: Option<SocketAddr>,
    hops: u8,
    state: State,
    /// Where its last page ended.
    after: Option<(String, RawId)>,
    pages: u32,
}

/// A question.
#[derive(Debug)]
pub(super) struct Ask {
    want: Want,
    targets: Vec<Target>,
    deadline: Instant,
    /// Be told when the record comes; until then, by which txid and whom.
    watch: bool,
    watched: Vec<(u64, SocketAddr)>,
    is_done: bool,
    /// A seed has more that fits than it was asked for.
    more: bool,
    /// The longest time after which one that has just started knows.
    young: Option<Duration>,
}

impl Ask {
    fn progress(&self, seeds: &[Seed]) -> Progress {
        let (answered, missing): (Vec<_>, Vec<_>) = self.targets.iter().partition(|target| target.state == State::Answered);
        // Of a list that was begun there is more.
        let more = self.more || missing.iter().any(|target| target.pages > 0);
        let missing = missing.into_iter().filter_map(|target| target.label(seeds)).collect();
        Progress { asked: self.targets.len(), answered: answered.len(), missing, more, young: self.young }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    fn target(&mut self, addr: SocketAddr) -> Option<&mut Target> {
        self.targets.iter_mut().find(|target| target.addr == Some(addr))
    }

    /// It goes, or went, to this seed and is not answered.
    pub(super) fn is_for(&self, seed: usize) -> bool {
        !self.is_done && self.targets.iter().any(|target| target.seed == Some(seed))
    }

    fn is_over(&self) -> bool {
        self.targets.iter().all(|target| matches!(target.state, State::Answered | State::Failed))
    }
}

impl Target {
    fn of_seed(seed: usize) -> Self {
        Self { seed: Some(seed), addr: None, hops: 0, state: State::Unsent, after: None, pages: 0 }
    }

    /// What to call it: the name that was given, or its address.
    fn label(&self, seeds: &[Seed]) -> Option<String> {
        self.seed.map(|index| seeds[index].name.clone()).or_else(|| Some(self.addr?.to_string()))
    }

    fn at(addr: SocketAddr, hops: u8) -> Self {
        Self { addr: Some(addr), hops, seed: None, state: State::Unsent, after: None, pages: 0 }
    }
}

impl Seeds {
    /// Asks `only`, or all seeds in use and these `others`. [`SeedsEvent::Found`] for each record,
    /// [`SeedsEvent::Done`] at the end, at the latest after `timeout`; with `watch`, `Found` may come later.
    pub(crate) fn ask(
        &mut self,
        now: Now,
        want: Want,
        only: Option<&str>,
        others: &[String],
        watch: bool,
        timeout: Duration,
    ) -> AskId {
        self.next_ask += 1;
        let id = AskId(self.next_ask);
        let named: Vec<usize> = match only {
            Some(name) => self.seed_named(now.instant, name).into_iter().collect(),
            // Also those that only a command named.
            None if want == Want::Home(false) => (0..self.seeds.len()).filter(|index| self.seeds[*index].is_unheard()).collect(),
            None => {
                let others: Vec<_> = others.iter().filter_map(|name| self.seed_named(now.instant, name)).collect();
                let in_use = (0..self.seeds.len()).filter(|index| self.seeds[*index].in_use);
                in_use.chain(others).collect()
            }
        };
        let mut ask = Ask {
            want,
            targets: Vec::new(),
            deadline: now.instant + timeout,
            watch,
            watched: Vec::new(),
            is_done: false,
            more: false,
            young: None,
        };
        // What is not asked, but waited for, has no limit.
        let targets_max = if matches!(ask.want, Want::Home(_)) { SEEDS_MAX } else { TARGETS_MAX };
        for seed in named.into_iter().take(targets_max) {
            if ask.targets.iter().all(|target| target.seed != Some(seed)) {
                self.seeds[seed].on_wanted();
                ask.targets.push(Target::of_seed(seed));
            }
        }
        if self.asks.len() >= ASKS_MAX {
            self.events.push_back(SeedsEvent::Done { ask: id, progress: ask.progress(&self.seeds) });
            return id;
        }
        self.asks.insert(id, ask);
        self.drive(now);
        id
    }

    /// How far this question has come.
    pub(crate) fn progress(&self, ask: AskId) -> Progress {
        self.asks.get(&ask).map(|ask| ask.progress(&self.seeds)).unwrap_or_default()
    }

    /// Nobody wants to know any more.
    pub(crate) fn forget(&mut self, ask: AskId) {
        self.asks.remove(&ask);
        self.queries.retain(|_, pending| pending.purpose != Purpose::Ask(ask));
    }

    pub(super) fn drive_asks(&mut self, now: Now) {
        let asks: Vec<_> = self.asks.iter().filter(|(_, ask)| !ask.is_done).map(|(id, _)| *id).collect();
        for id in asks {
            self.drive_ask(now, id);
        }
    }

    fn drive_ask(&mut self, now: Now, id: AskId) {
        let has_homes = self.registered() >= HOME_SEEDS_MAX;
        let Some(ask) = self.asks.get_mut(&id) else { return };
        let mut to_send = Vec::new();
        let want = ask.want.clone();
        for target in ask.targets.iter_mut().filter(|target| target.state == State::Unsent) {
            let seed = target.seed.map(|index| &self.seeds[index]);
            if let (Want::Home(on), Some(seed)) = (&want, seed) {
                target.state = match &seed.home {
                    Home::Held(_) if *on => State::Answered,
                    Home::Waiting { .. } if *on => State::Failed,
                    // So many others do.
                    Home::Idle if *on && has_homes && !seed.is_named => State::Answered,
                    _ if !*on => match seed.farewell {
                        Farewell::Heard => State::Answered,
                        Farewell::Due | Farewell::Said => State::Unsent,
                        Farewell::None | Farewell::Unheard { .. } => State::Failed,
                    },
                    _ if seed.is_lost() => State::Failed,
                    _ => State::Unsent,
                };
                continue;
            }
            target.addr = target.addr.or_else(|| seed.and_then(Seed::addr));
            match target.addr {
                Some(addr) => {
                    target.state = State::Sent;
                    to_send.push(addr);
                }
                None if seed.is_some_and(Seed::is_lost) => target.state = State::Failed,
                None => {}
            }
        }
        for addr in to_send {
            if !self.query(now, addr, Purpose::Ask(id)) {
                self.on_target_failed(now, id, addr);
            }
        }
        self.end_ask(now, id);
    }

    /// Says that the question is answered, once it is.
    fn end_ask(&mut self, now: Now, id: AskId) {
        let Some(ask) = self.asks.get_mut(&id) else { return };
        if ask.is_done || !(ask.is_over() || ask.deadline <= now.instant) {
            return;
        }
        ask.is_done = true;
        let progress = ask.progress(&self.seeds);
        let is_watched = ask.watch && !ask.watched.is_empty();
        ask.deadline = now.instant + WATCH_FOR;
        if !is_watched {
            self.forget(id);
        }
        self.events.push_back(SeedsEvent::Done { ask: id, progress });
    }

    /// Time is up for some questions, and for some watches.
    pub(super) fn end_asks(&mut self, now: Now) {
        let due: Vec<_> = self.asks.iter().filter(|(_, ask)| ask.deadline <= now.instant).map(|(id, _)| *id).collect();
        for id in due {
            if self.asks.get(&id).is_some_and(|ask| ask.is_done) {
                self.forget(id);
            } else {
                self.end_ask(now, id);
            }
        }
    }

    pub(super) fn ask_query(&self, id: AskId, to: SocketAddr) -> Option<Query<'_>> {
        let ask = self.asks.get(&id)?;
        let network = self.config.network;
        Some(match &ask.want {
            Want::Status => Query::Status,
            Want::Records(Question::Id(id)) => Query::Lookup { id: *id.as_bytes(), watch: ask.watch },
            Want::Records(Question::Name(name)) => Query::Find { network, name },
            Want::Records(Question::Prefix(prefix)) => {
                let target = ask.targets.iter().find(|target| target.addr == Some(to))?;
                Query::Search { network, prefix, after: target.after.as_ref().map(|(name, id)| (&**name, *id)) }
            }
            Want::Home(_) => return None,
        })
    }

    pub(super) fn on_ask_answer(&mut self, now: Now, id: AskId, txid: u64, from: SocketAddr, answer: &Answer<'_>) {
        match answer {
            Answer::Status(status) => {
                if let Some(seed) = self.seeds.iter_mut().find(|seed| seed.addr() == Some(from)) {
                    seed.on_status(status);
                }
                let difference = (now.unix.0 / 1_000).abs_diff(status.unix);
                if difference > CLOCK_ERROR_MAX {
                    self.on_bad(from, SeedState::WrongClock, format!("its clock and ours differ by {difference} s"));
                }
                self.on_target_answered(id, from);
            }
            Answer::Found { entries, more } => self.on_found(now, id, from, entries, *more),
            Answer::NotFound { warming, retry_after, seeds } => {
                self.follow(id, from, seeds);
                if let Some(ask) = self.asks.get_mut(&id).filter(|ask| ask.watch) {
                    ask.watched.push((txid, from));
                }
                // A seed that has just started has not heard of everybody: its `no` does not count as one.
                if *warming {
                    let wait = Some(Duration::from_secs((*retry_after).into()));
                    self.asks.entry(id).and_modify(|ask| ask.young = ask.young.max(wait));
                    return self.on_target_failed(now, id, from);
                }
                self.on_target_answered(id, from);
            }
            _ => return self.on_target_failed(now, id, from),
        }
        self.drive_ask(now, id);
    }

    fn on_found(&mut self, now: Now, id: AskId, from: SocketAddr, entries: &[Entry<'_>], more: bool) {
        let found = self.fitting(now, id, from, entries);
        // Nothing of what it says holds: it has not answered.
        if found.is_empty() && !entries.is_empty() {
            return self.on_target_failed(now, id, from);
        }
        let Some(ask) = self.asks.get_mut(&id) else { return };
        let last = found.last().map(|found| (found.record.name.clone(), *found.record.id.as_bytes()));
        let is_list = matches!(ask.want, Want::Records(Question::Prefix(_)));
        let Some(target) = ask.target(from) else { return };
        target.pages += 1;
        let goes_on = more && is_list && last.is_some() && target.pages < PAGES_MAX && last != target.after;
        target.after = last;
        target.state = if goes_on { State::Sent } else { State::Answered };
        ask.more |= more && !goes_on;
        if goes_on && !self.query(now, from, Purpose::Ask(id)) {
            self.on_target_failed(now, id, from);
        }
        self.ask_homes(id, &found);
        self.events.extend(found.into_iter().map(|found| SeedsEvent::Found { ask: id, found }));
    }

    /// A record may be left over at a seed where its owner was for a while: the seeds where somebody is at home know better.
    fn ask_homes(&mut self, id: AskId, found: &[Found]) {
        let Some(Ask { want: Want::Records(Question::Id(_)), .. }) = self.asks.get(&id) else { return };
        for found in found.iter().filter(|found| !found.is_at_home()) {
            let homes: Vec<_> = found.record.seeds.iter().map(|addr| addr.0).collect();
            self.add_targets(id, found.seed, &homes, HOPS_MAX);
        }
    }

    /// The entries that are sound and answer this question.
    fn fitting(&mut self, now: Now, id: AskId, from: SocketAddr, entries: &[Entry<'_>]) -> Vec<Found> {
        let Some(ask) = self.asks.get(&id) else { return Vec::new() };
        let (want, network) = (ask.want.clone(), self.config.network);
        self.sound(now, from, entries, |record| fits(&want, &network, record))
    }

    /// A record that we watch for has come: a `Found` that answers no query of ours.
    pub(super) fn on_watched(&mut self, now: Now, txid: u64, from: SocketAddr, entries: &[Entry<'_>]) -> bool {
        let is_watched = |ask: &Ask| ask.watched.contains(&(txid, from));
        let Some(id) = self.asks.iter().find(|(_, ask)| is_watched(ask)).map(|(id, _)| *id) else { return false };
        let found = self.fitting(now, id, from, entries);
        if let Some(ask) = self.asks.get_mut(&id) {
            ask.watched.retain(|watched| *watched != (txid, from));
        }
        self.events.extend(found.into_iter().map(|found| SeedsEvent::Found { ask: id, found }));
        true
    }

    /// The seed names others that may know.
    fn follow(&mut self, id: AskId, from: SocketAddr, seeds: &[SocketAddr]) {
        let hops = self.asks.get_mut(&id).and_then(|ask| ask.target(from)).map_or(HOPS_MAX, |target| target.hops + 1);
        if hops <= HOPS_MAX {
            self.add_targets(id, from, seeds, hops);
        }
    }

    /// The question goes to these seeds, too.
    fn add_targets(&mut self, id: AskId, from: SocketAddr, seeds: &[SocketAddr], hops: u8) {
        let Some(ask) = self.asks.get_mut(&id) else { return };
        let named = ask.targets.iter().filter_map(|target| self.seeds[target.seed?].addr());
        let named: Vec<_> = named.collect();
        for addr in seeds {
            let is_new = ask.target(*addr).is_none() && !named.contains(addr);
            if is_new && ask.targets.len() < TARGETS_MAX && is_dialable(addr, from.ip().is_loopback()) {
                ask.targets.push(Target::at(*addr, hops));
            }
        }
    }

    fn on_target_answered(&mut self, id: AskId, from: SocketAddr) {
        if let Some(target) = self.asks.get_mut(&id).and_then(|ask| ask.target(from)) {
            target.state = State::Answered;
        }
    }

    pub(super) fn on_target_failed(&mut self, now: Now, id: AskId, from: SocketAddr) {
        if let Some(target) = self.asks.get_mut(&id).and_then(|ask| ask.target(from)) {
            target.state = State::Failed;
        }
        self.end_ask(now, id);
    }
}

/// True where the record is of this network and answers the question: a seed may hand on anything.
fn fits(want: &Want, network: &[u8; 8], record: &Record) -> bool {
    record.network == *network
        && match want {
            Want::Records(Question::Id(id)) => record.id == *id,
            Want::Records(Question::Name(name)) => name_key(&record.name) == name_key(name),
            Want::Records(Question::Prefix(prefix)) => name_key(&record.name).starts_with(&name_key(prefix)),
            Want::Status | Want::Home(_) => false,
        }
}
