//! The seeds that we use (protocol, SEEDS): where each is, how it is, our record there, and what is asked of
//! them. A pure state machine: it hands out records to be signed, names to be resolved and datagrams to be
//! sent. What an answer means for a peer or a command is decided in `phonebook`; how a path is opened in
//! `introduction`.
//!
//! `ask` holds questions to several seeds at once, `home` our own record, `farewell` how it is taken away again,
//! `query` one datagram and its answer, `seed` one seed. After each input poll until `None`.

mod ask;
mod farewell;
mod home;
mod query;
mod seed;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

pub(crate) use self::ask::{AskId, Want};
use self::{
    ask::Ask,
    home::OwnRecord,
    query::{Cookie, Pending},
    seed::Seed,
};
use super::{command::SeedView, event::NoticeCode};
use crate::{
    clock::{Instant, Now},
    id::{ChannelId, PeerId},
    wire::{
        addr::Addr,
        record::{Record, Visibility},
    },
};

/// Seeds known at most: those in use, and such as a command or a contact named.
pub(crate) const SEEDS_MAX: usize = 64;

/// What the machine is told once.
#[derive(Debug, Clone)]
pub(crate) struct SeedsConfig {
    pub(crate) id: PeerId,
    pub(crate) network: [u8; 8],
    pub(crate) name: String,
    /// `None`: no record of ours, unless something needs one.
    pub(crate) visibility: Option<Visibility>,
    /// Only a command may have us registered.
    pub(crate) hidden: bool,
    /// In the order of preference.
    pub(crate) seeds: Vec<String>,
}

/// A record that a seed handed on: its owner's signature was checked, and it is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) record: Record,
    /// Where the seed saw its owner, and how long ago.
    pub(crate) seen: SocketAddr,
    pub(crate) age: Duration,
    /// Which seed says so.
    pub(crate) seed: SocketAddr,
}

impl Found {
    /// Its owner is at home there, as far as the record says; elsewhere a record may have outlived its use.
    pub(crate) fn is_at_home(&self) -> bool {
        self.record.seeds.is_empty() || self.record.seeds.contains(&Addr(self.seed))
    }
}

/// How far a question has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Seeds that were asked.
    pub(crate) asked: usize,
    /// Of them, so many answered.
    pub(crate) answered: usize,
    /// Which have not: a name or an address of each.
    pub(crate) missing: Vec<String>,
    /// A seed has more that fits than it was asked for.
    pub(crate) more: bool,
    /// One that has just started knows then.
    pub(crate) young: Option<Duration>,
}

/// Why a seed does not relay for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotBound {
    /// It does so for nobody.
    Refused,
    /// It does not answer.
    Silent,
    /// It does not know us, or has no room now.
    NotYet,
}

/// What the node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SeedsEvent {
    /// A record; also when a watched one comes, long after [`SeedsEvent::Done`].
    Found { ask: AskId, found: Found },
    /// All that will answer have, or time is up.
    Done { ask: AskId, progress: Progress },
    /// The seed handed the knock over to a peer that is there.
    Knocked { attempt: u64, seen: SocketAddr },
    /// It did not.
    NotKnocked { attempt: u64 },
    /// The seed relays for us and this peer; `open`: its end is there too.
    Bound { seed: SocketAddr, peer: PeerId, channel: ChannelId, open: bool },
    /// It does not.
    NotBound { seed: SocketAddr, peer: PeerId, why: NotBound },
    /// A seed sees us at another address than before.
    Moved,
    /// Somebody knocks.
    Notified { seed: SocketAddr, from: SocketAddr, sealed: Vec<u8> },
    /// A seed in use became another.
    State { code: NoticeCode, text: String },
}

/// The seeds of one node.
pub(crate) struct Seeds {
    config: SeedsConfig,
    rng: ChaCha20Rng,
    seeds: Vec<Seed>,
    cookies: BTreeMap<SocketAddr, Cookie>,
    queries: BTreeMap<u64, Pending>,
    asks: BTreeMap<AskId, Ask>,
    next_ask: u64,
    own: OwnRecord,
    leaving: Option<Instant>,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<SeedsEvent>,
}

impl Seeds {
    /// Knows its seeds' names and has asked nobody yet.
    pub(crate) fn new(config: SeedsConfig, rng_seed: [u8; 32], now: Instant) -> Self {
        let seeds = config.seeds.iter().take(SEEDS_MAX).map(|name| Seed::new(name, true, now)).collect();
        Self {
            config,
            rng: ChaCha20Rng::from_seed(rng_seed),
            seeds,
            cookies: BTreeMap::new(),
            queries: BTreeMap::new(),
            asks: BTreeMap::new(),
            next_ask: 0,
            own: OwnRecord::default(),
            leaving: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// True where there is anybody to ask.
    pub(crate) fn is_in_use(&self) -> bool {
        self.leaving.is_none() && self.seeds.iter().any(|seed| seed.in_use)
    }

    /// True where a seed in use answered last time.
    pub(crate) fn is_reachable(&self) -> bool {
        self.leaving.is_none() && self.seeds.iter().any(|seed| seed.in_use && seed.is_well())
    }

    /// Every seed in use, or that should have heard our farewell and has not; or this one, as far as we know it.
    pub(crate) fn views(&self, only: Option<&str>) -> Vec<SeedView> {
        let wanted = |seed: &&Seed| only.map_or_else(|| seed.in_use || seed.is_unheard(), |only| seed.name == only);
        self.seeds.iter().filter(wanted).map(Seed::view).collect()
    }

    /// Seeds that hold our record now.
    pub(crate) fn registered(&self) -> usize {
        self.seeds.iter().filter(|seed| seed.home.is_held()).count()
    }

    // --- input

    /// Where a seed is, or why nobody knows; the answer to [`Self::poll_resolve`].
    pub(crate) fn handle_resolved(&mut self, now: Now, name: &str, outcome: Result<Vec<SocketAddr>, String>) {
        let Some(index) = self.seeds.iter().position(|seed| seed.name == name) else { return };
        let seed = &mut self.seeds[index];
        match outcome {
            Ok(addrs) if !addrs.is_empty() => seed.on_resolved(now.instant, addrs),
            Ok(_) => self.on_unresolved(now, index, "no address".to_owned()),
            Err(why) => self.on_unresolved(now, index, why),
        }
        self.drive(now);
    }

    fn on_unresolved(&mut self, now: Now, index: usize, why: String) {
        self.seeds[index].on_unresolved(now.instant);
        self.on_unreachable(index, why);
    }

    /// Our own addresses are these now; the way to the seeds may be another.
    pub(crate) fn handle_network(&mut self, now: Now, addrs: Vec<SocketAddr>) {
        self.own.set_addrs(addrs);
        self.seeds.iter_mut().for_each(|seed| seed.on_network(now.instant));
        self.drive(now);
    }

    /// Our session port is reachable from outside there, or, as far as we know, nowhere.
    pub(crate) fn handle_mapped(&mut self, now: Now, outside: Option<SocketAddr>) {
        self.own.set_outside(outside);
        self.drive(now);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.say_farewell_again(now);
        self.repeat_queries(now);
        self.seeds.iter_mut().for_each(|seed| seed.on_time(now.instant));
        self.end_asks(now);
        self.drive(now);
    }

    /// We are called so from now on.
    pub(crate) fn set_name(&mut self, now: Now, name: &str) {
        name.clone_into(&mut self.config.name);
        self.drive(now);
    }

    /// True where this seed is known, or there is room for one more.
    pub(crate) fn has_room_for(&self, name: &str) -> bool {
        let is_known = self.seeds.iter().any(|seed| seed.name == name);
        is_known || self.seeds.len() < SEEDS_MAX || (0..SEEDS_MAX).any(|index| self.is_spare(index))
    }

    /// Index of this seed, which is made known where it is not: in place of one that nothing needs any more, where there
    /// are as many as may be.
    fn seed_named(&mut self, now: Instant, name: &str) -> Option<usize> {
        if let Some(known) = self.seeds.iter().position(|seed| seed.name == name) {
            return Some(known);
        }
        let new = Seed::new(name, false, now);
        if self.seeds.len() < SEEDS_MAX {
            self.seeds.push(new);
            return Some(self.seeds.len() - 1);
        }
        let spare = (0..self.seeds.len()).find(|index| self.is_spare(*index))?;
        self.seeds[spare] = new;
        Some(spare)
    }

    /// Nobody needs this seed: a command or a link named it once.
    fn is_spare(&self, index: usize) -> bool {
        let is_asked = self.asks.values().any(|ask| ask.is_for(index));
        self.seeds[index].is_idle() && !is_asked && !self.queries.values().any(|pending| pending.purpose.seed() == Some(index))
    }

    /// Every mutation ends here.
    fn drive(&mut self, now: Now) {
        self.drive_farewells(now);
        self.drive_homes(now);
        self.drive_asks(now);
    }

    // --- what seeds are like

    fn on_reachable(&mut self, from: SocketAddr) {
        let Some(index) = self.seeds.iter().position(|seed| seed.addr() == Some(from)) else { return };
        if let Some((code, text)) = self.seeds[index].on_reachable() {
            self.events.push_back(SeedsEvent::State { code, text });
        }
    }

    fn on_unreachable(&mut self, index: usize, why: String) {
        if let Some((code, text)) = self.seeds[index].on_bad(super::command::SeedState::Unreachable, why) {
            self.events.push_back(SeedsEvent::State { code, text });
        }
    }

    /// The seed at this address did what no good seed does.
    fn on_bad(&mut self, from: SocketAddr, state: super::command::SeedState, why: String) {
        let Some(index) = self.seeds.iter().position(|seed| seed.addr() == Some(from)) else { return };
        if let Some((code, text)) = self.seeds[index].on_bad(state, why) {
            self.events.push_back(SeedsEvent::State { code, text });
        }
    }

    // --- output

    /// A record to be signed; give it back by [`Self::handle_signed`].
    pub(crate) fn poll_record(&mut self) -> Option<Record> {
        self.own.wanted.take()
    }

    /// A seed whose name is to be resolved.
    pub(crate) fn poll_resolve(&mut self) -> Option<String> {
        self.seeds.iter_mut().find_map(Seed::poll_resolve)
    }

    /// The next datagram.
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// The next event, oldest first.
    pub(crate) fn poll_event(&mut self) -> Option<SeedsEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let queries = self.queries.values().map(|pending| pending.next_at);
        let asks = self.asks.values().map(Ask::deadline);
        let is_registering = self.own.is_registering(&self.config) && self.leaving.is_none();
        let seeds = self.seeds.iter().filter_map(|seed| seed.poll_timeout(is_registering));
        let record = self.own.deadline(&self.config);
        queries.chain(asks).chain(seeds).chain(record).chain(self.leaving).min()
    }
}

/// ±15 %.
fn around(wait: Duration, rng: &mut ChaCha20Rng) -> Duration {
    wait * (85 + rng.next_u32() % 31) / 100
}
