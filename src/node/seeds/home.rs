//! Our own record, and the seeds at which it is (protocol, REGISTRATION: at most three home seeds, refreshed each
//! 20 s ± 15 %, forgotten after 75 s).

use std::{net::SocketAddr, time::Duration};

use super::{Seeds, SeedsConfig, SeedsEvent, around, farewell::Farewell, query::Purpose, seed::CLOCK_ERROR_MAX};
use crate::{
    clock::{Instant, Now, Unix},
    id::PeerId,
    node::command::SeedState,
    wire::{
        SIGNATURE_LEN,
        addr::{Addr, is_global},
        phonebook::{Answer, Query, Refusal, TOKEN_LEN},
        record::{ADDRS_MAX, HOME_SEEDS_MAX, RECORD_LIFETIME_MAX, Record},
    },
};

/// A record is refreshed this often, ±15 %.
const REFRESH: Duration = Duration::from_secs(20);
/// No seed keeps a record for longer than this without hearing of its owner.
pub(super) const HELD_MAX: Duration = Duration::from_secs(75);
/// Wait after a failed registration; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A record is signed anew long before it is over.
const SIGN_AGAIN: Duration = Duration::from_secs(RECORD_LIFETIME_MAX as u64 / 2);
/// No seed knows a record of ours with a seq from further ahead, in milliseconds: its clock and the one that
/// signed may each be ahead by what is forgiven.
const SEQ_AHEAD_MAX: u64 = 2 * CLOCK_ERROR_MAX * 1_000;
/// By so many seconds our own clock may move against the one that never goes back; by more, somebody has set it.
const CLOCK_SET_MIN: u64 = 60;

/// What a seed has of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Home {
    /// Nothing, and nothing was tried.
    Idle,
    /// Our record is on its way there.
    Asking { failures: u32 },
    /// Our record.
    Held(Held),
    /// It did not work; the next try is then.
    Waiting { until: Instant, failures: u32 },
}

/// A seed that has our record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// The record's.
    seq: u64,
    refresh_at: Instant,
    refreshing: bool,
}

/// What a seed gave for the record with this seq. It outlives the seed's memory, and so a restart of it.
pub(super) type Token = (u64, [u8; TOKEN_LEN]);

impl Home {
    pub(super) fn is_held(&self) -> bool {
        matches!(self, Self::Held(_))
    }

    /// It is one of the three, or about to be.
    const fn has_place(&self) -> bool {
        matches!(self, Self::Held(_) | Self::Asking { .. })
    }

    /// There is no place for it now: what is due and not done would wake us at once, for ever.
    fn stand_back(&mut self, now: Instant) {
        if let Self::Waiting { until, .. } = self
            && *until <= now
        {
            *until = now + REFRESH;
        }
    }

    /// The seed is at another address.
    pub(super) fn on_lost(&mut self, now: Instant) {
        if let Self::Held(_) = self {
            *self = Self::Waiting { until: now, failures: 0 };
        }
    }

    /// Our way to the seed may be another: it should see us there soon.
    pub(super) fn on_network(&mut self, now: Instant) {
        match self {
            Self::Held(held) => held.refresh_at = now,
            Self::Waiting { until, .. } => *until = now,
            Self::Idle | Self::Asking { .. } => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Held(held) if !held.refreshing => Some(held.refresh_at),
            Self::Waiting { until, .. } => Some(*until),
            _ => None,
        }
    }
}

/// Our record as it was signed last, and what it should say.
#[derive(Debug, Default)]
pub(super) struct OwnRecord {
    /// To be signed by the node.
    pub(super) wanted: Option<Record>,
    signed: Option<Signed>,
    pub(super) farewell: Option<(Vec<u8>, [u8; SIGNATURE_LEN])>,
    /// A record with this seq exists, ours or a seed's word for it.
    seq: u64,
    addrs: Vec<SocketAddr>,
    /// A port of our router that leads to us.
    outside: Option<SocketAddr>,
    /// Taken away by a command.
    pub(super) withdrawn: bool,
    /// Wanted although the settings say that there is none; a command leaves it there to lapse.
    pub(super) forced: bool,
    /// A relay needs it, as long as we run.
    pub(super) relayed: bool,
}

#[derive(Debug)]
struct Signed {
    record: Record,
    bytes: Vec<u8>,
    signature: [u8; SIGNATURE_LEN],
    at: Instant,
}

impl OwnRecord {
    pub(super) fn set_addrs(&mut self, addrs: Vec<SocketAddr>) {
        self.addrs = addrs;
    }

    pub(super) fn set_outside(&mut self, outside: Option<SocketAddr>) {
        self.outside = outside;
    }

    /// What a record may list; first what a router said, which is one address and must not be crowded out.
    fn listed(&self) -> Vec<Addr> {
        let own = self.addrs.iter().filter(|addr| Some(**addr) != self.outside);
        self.outside.iter().chain(own).filter(|addr| is_global(addr)).take(ADDRS_MAX).copied().map(Addr).collect()
    }

    pub(super) fn is_registering(&self, config: &SeedsConfig) -> bool {
        (config.visibility.is_some() && !self.withdrawn) || self.forced || self.relayed
    }

    /// When the record is to be signed anew.
    pub(super) fn deadline(&self, config: &SeedsConfig) -> Option<Instant> {
        self.signed.as_ref().filter(|_| self.is_registering(config)).map(|signed| signed.at + SIGN_AGAIN)
    }

    /// Above every one before, and near the clock.
    pub(super) fn next_seq(&mut self, now: Unix) -> u64 {
        self.seq = self.seq.saturating_add(1).max(now.0);
        self.seq
    }
}

impl Seeds {
    /// Have our record at the seeds from now on, `only` among them whoever else has it; or take it away, from
    /// `only` or from all.
    pub(crate) fn register(&mut self, now: Now, on: bool, only: Option<&str>) {
        let only = only.map(|name| self.seed_named(now.instant, name));
        match (on, only) {
            (true, _) => self.begin_home(now, only.flatten()),
            (false, None) => self.end_homes(now),
            (false, Some(only)) => self.end_home(now, only),
        }
        self.drive(now);
    }

    fn begin_home(&mut self, now: Now, named: Option<usize>) {
        self.queries.retain(|_, pending| !matches!(pending.purpose, Purpose::Unregister(_)));
        (self.own.forced, self.own.withdrawn, self.own.relayed) = (true, false, false);
        for (index, seed) in self.seeds.iter_mut().enumerate() {
            seed.is_named |= named == Some(index);
            seed.is_shunned &= named.is_some_and(|named| named != index);
            seed.farewell = Farewell::None;
            seed.home.on_network(now.instant);
        }
    }

    /// A relay serves only who is registered there: whoever has no record at this seed, as a command that ends soon or
    /// somebody who uses other seeds, has one until [`Self::end_relay`]. Who hides goes without a relay.
    pub(crate) fn register_for_relay(&mut self, now: Now, seed: SocketAddr) {
        if self.own.withdrawn || self.config.hidden {
            return;
        }
        let known = self.seeds.iter().position(|one| one.addr() == Some(seed));
        let Some(index) = known.or_else(|| self.seed_named(now.instant, &seed.to_string())) else { return };
        if self.seeds[index].is_shunned {
            return;
        }
        self.seeds[index].relays = true;
        self.own.relayed |= !self.own.is_registering(&self.config);
        self.drive(now);
    }

    /// Our record is at this seed, or is to be there anyway.
    pub(crate) fn may_hold_us(&self, seed: SocketAddr) -> bool {
        self.seeds.iter().any(|one| one.addr() == Some(seed) && (one.in_use || one.home.is_held()))
    }

    /// Nobody is reached by this seed any more: where it was needed for nothing else, our record there lapses.
    pub(crate) fn end_relay(&mut self, seed: SocketAddr) {
        let is_forced = self.own.forced;
        for one in self.seeds.iter_mut().filter(|one| one.addr() == Some(seed) && one.relays) {
            one.relays = false;
            if !one.in_use && !is_forced {
                one.home = Home::Idle;
            }
        }
    }

    /// Asks a seed for a channel to a peer; [`SeedsEvent::Bound`] or [`SeedsEvent::NotBound`](super::SeedsEvent::NotBound)
    /// follows. False where we are not registered there now.
    pub(crate) fn bind(&mut self, now: Now, seed: SocketAddr, peer: PeerId) -> bool {
        let held = |one: &super::Seed| one.addr() == Some(seed) && one.home.is_held();
        let Some(index) = self.seeds.iter().position(held) else { return false };
        self.query(now, seed, Purpose::Bind { seed: index, peer })
    }

    pub(super) fn bind_query(&self, seed: usize, peer: &PeerId) -> Option<Query<'_>> {
        let (_, token) = self.seeds.get(seed)?.token?;
        Some(Query::Bind { id: *self.config.id.as_bytes(), token, peer: *peer.as_bytes() })
    }

    /// Takes a record back that [`Self::poll_record`] gave out, signed.
    pub(crate) fn handle_signed(&mut self, now: Now, record: Record, bytes: Vec<u8>, signature: [u8; SIGNATURE_LEN]) {
        if record.is_farewell() {
            self.own.farewell = Some((bytes, signature));
            self.own.signed = None;
        } else {
            self.own.signed = Some(Signed { record, bytes, signature, at: now.instant });
        }
        self.drive(now);
    }

    /// The seeds that may hold our record, those first that promise to answer: three of them do.
    fn homes(&self) -> Vec<usize> {
        let mut homes = self.reachable(|seed| seed.in_use || self.own.forced);
        homes.sort_by_key(|index| !self.seeds[*index].is_promising());
        homes
    }

    fn reachable(&self, is_meant: impl Fn(&super::Seed) -> bool) -> Vec<usize> {
        let seeds = self.seeds.iter().enumerate();
        seeds.filter(|(_, seed)| seed.addr().is_some() && !seed.is_shunned && is_meant(seed)).map(|(index, _)| index).collect()
    }

    /// Signs, registers and refreshes what is due.
    pub(super) fn drive_homes(&mut self, now: Now) {
        if !self.own.is_registering(&self.config) || self.leaving.is_some() {
            return;
        }
        let homes = self.homes();
        let relays = self.reachable(|seed| seed.relays && !seed.in_use && !self.own.forced);
        if (homes.is_empty() && relays.is_empty()) || !self.keep_record_true(now, &homes) {
            return;
        }
        let Some(seq) = self.own.signed.as_ref().map(|signed| signed.record.seq) else { return };
        // One that does not answer, or refuses, keeps no other from being home.
        let taken = homes.iter().filter(|index| self.seeds[**index].home.has_place()).count();
        let mut places = HOME_SEEDS_MAX.saturating_sub(taken);
        for index in homes {
            let had_place = self.seeds[index].home.has_place();
            if had_place || places > 0 || self.seeds[index].is_named || self.seeds[index].relays {
                self.drive_home(now, index, seq);
                places = places.saturating_sub(usize::from(!had_place && self.seeds[index].home.has_place()));
            } else {
                self.seeds[index].home.stand_back(now.instant);
            }
        }
        // Beside the three; nobody is told to look for us there.
        relays.into_iter().for_each(|index| self.drive_home(now, index, seq));
    }

    fn drive_home(&mut self, now: Now, index: usize, seq: u64) {
        let Some(addr) = self.seeds[index].addr() else { return };
        let register = Purpose::Register { seed: index, seq };
        let home = &mut self.seeds[index].home;
        let purpose = match home {
            Home::Idle => {
                *home = Home::Asking { failures: 0 };
                register
            }
            Home::Waiting { until, failures } if *until <= now.instant => {
                *home = Home::Asking { failures: *failures };
                register
            }
            Home::Held(held) if held.seq != seq && !held.refreshing => {
                held.refreshing = true;
                register
            }
            Home::Held(held) if held.refresh_at <= now.instant && !held.refreshing => {
                held.refreshing = true;
                Purpose::Refresh { seed: index, seq }
            }
            Home::Held(_) | Home::Asking { .. } | Home::Waiting { .. } => return,
        };
        if !self.query(now, addr, purpose) {
            self.on_home_failed(now, index);
        }
    }

    /// False where the record is to be signed first.
    fn keep_record_true(&mut self, now: Now, homes: &[usize]) -> bool {
        let seeds: Vec<_> = homes.iter().filter_map(|index| self.seeds[*index].addr()).take(HOME_SEEDS_MAX).map(Addr).collect();
        let addrs = self.own.listed();
        let visibility = self.config.visibility.unwrap_or_default();
        // Where only a relay needs it nobody is to find it by a name.
        let is_named = self.config.visibility.is_some() || self.own.forced;
        let name = if is_named { self.config.name.clone() } else { String::new() };
        let issued = |signed: &Signed| signed.record.issued.saturating_add(now.instant.since(signed.at).as_secs());
        if self.own.signed.take_if(|signed| issued(signed).abs_diff(now.unix.0 / 1_000) > CLOCK_SET_MIN).is_some() {
            // Above what a seed has taken; a seq from a clock that was ahead, which none took, is no measure.
            self.own.seq = self.seeds.iter().filter_map(|seed| Some(seed.token?.0)).max().unwrap_or(0);
        }
        let is_true = self.own.signed.as_ref().is_some_and(|signed| {
            let record = &signed.record;
            now.instant.since(signed.at) < SIGN_AGAIN
                && record.seq == self.own.seq
                && (&record.name, record.visibility, &record.addrs) == (&name, visibility, &addrs)
                && same(&record.seeds, &seeds)
        });
        if !is_true && self.own.wanted.is_none() {
            let seq = self.own.next_seq(now.unix);
            self.own.wanted = Some(Record {
                id: self.config.id,
                seq,
                issued: now.unix.0 / 1_000,
                lifetime: RECORD_LIFETIME_MAX,
                network: self.config.network,
                name,
                visibility,
                seeds,
                addrs,
            });
        }
        is_true
    }

    /// `None` where the record has become another meanwhile: the new one is registered instead.
    pub(super) fn register_query(&self, seed: usize, seq: u64) -> Option<Query<'_>> {
        let signed = self.own.signed.as_ref().filter(|signed| signed.record.seq == seq)?;
        let token = self.seeds.get(seed)?.token.filter(|(seq, _)| *seq == signed.record.seq).map(|(_, token)| token);
        Some(Query::Register { record: &signed.bytes, signature: signed.signature, token })
    }

    /// What was to be registered is our record no more: the new one is due at once.
    pub(super) fn on_outdated(&mut self, seed: usize) {
        match &mut self.seeds[seed].home {
            Home::Held(held) => held.refreshing = false,
            home => *home = Home::Idle,
        }
    }

    pub(super) fn refresh_query(&self, seed: usize) -> Option<Query<'_>> {
        let (seq, token) = self.seeds.get(seed)?.token?;
        Some(Query::Refresh { id: *self.config.id.as_bytes(), seq, token })
    }

    /// The answer to what was said of the record with this seq.
    pub(super) fn on_home_answer(&mut self, now: Now, index: usize, seq: u64, answer: &Answer<'_>) {
        match answer {
            Answer::Registered { token, ttl, seen } => {
                if self.seeds[index].seen.replace(*seen).is_some_and(|before| before != *seen) {
                    self.events.push_back(SeedsEvent::Moved);
                }
                let refresh_at = now.instant + around(REFRESH, &mut self.rng);
                self.seeds[index].token = Some((seq, *token));
                self.seeds[index].holds_until = Some(now.instant + Duration::from_secs((*ttl).into()).min(HELD_MAX));
                self.seeds[index].home = Home::Held(Held { seq, refresh_at, refreshing: false });
                self.seeds[index].refusal = None;
                // Withdrawn while it was on its way there.
                if !self.own.is_registering(&self.config) || self.seeds[index].is_shunned {
                    self.want_farewell(now, |one, _| one == index);
                }
            }
            Answer::Need => {
                self.seeds[index].holds_until = None;
                self.seeds[index].home = Home::Asking { failures: 0 };
                let started =
                    self.seeds[index].addr().is_some_and(|addr| self.query(now, addr, Purpose::Register { seed: index, seq }));
                if !started {
                    self.on_home_failed(now, index);
                }
            }
            Answer::Refused(refusal) => self.on_refused(now, index, *refusal),
            _ => self.on_home_failed(now, index),
        }
    }

    /// The seed knows nothing of ours, although no refresh has told us so yet.
    pub(super) fn on_forgotten(&mut self, now: Now, index: usize) {
        if let Home::Held(held) = self.seeds[index].home {
            self.on_home_answer(now, index, held.seq, &Answer::Need);
        }
    }

    fn on_refused(&mut self, now: Now, index: usize, refusal: Refusal) {
        self.seeds[index].refusal = Some(why_refused(refusal));
        let wait = match refusal {
            // Another copy of this profile, or this one before its clock went back: the next is above it.
            Refusal::Stale { seq } if seq <= now.unix.0.saturating_add(SEQ_AHEAD_MAX) => {
                // Also with our own: somebody has it there from another address, and only a new one is ours again.
                self.own.seq = self.own.seq.max(seq).saturating_add(u64::from(seq == self.own.seq));
                RETRY_MIN
            }
            Refusal::Busy { retry_after } => Duration::from_secs(retry_after.into()).clamp(RETRY_MIN, RETRY_MAX),
            Refusal::WrongClock { unix } => {
                let why = format!("its clock and ours differ by {} s", (now.unix.0 / 1_000).abs_diff(unix));
                if let Some(addr) = self.seeds[index].addr() {
                    self.on_bad(addr, SeedState::WrongClock, why);
                }
                RETRY_MAX
            }
            // A seed that could raise our seq at will would leave us no higher one, and nobody would take a
            // later record of ours.
            Refusal::Stale { .. } | Refusal::BadRecord | Refusal::Full | Refusal::NoRelay => RETRY_MAX,
        };
        self.seeds[index].home = Home::Waiting { until: now.instant + around(wait, &mut self.rng), failures: 0 };
    }

    pub(super) fn on_home_failed(&mut self, now: Now, index: usize) {
        let failures = match &self.seeds[index].home {
            Home::Asking { failures, .. } | Home::Waiting { failures, .. } => *failures,
            Home::Idle | Home::Held(_) => 0,
        };
        let wait = RETRY_MIN.saturating_mul(1 << failures.min(6)).min(RETRY_MAX);
        let until = now.instant + around(wait, &mut self.rng);
        self.seeds[index].home = Home::Waiting { until, failures: failures.saturating_add(1) };
    }
}

/// What a seed that refuses says, in words.
pub(super) fn why_refused(refusal: Refusal) -> String {
    match refusal {
        Refusal::Full => "it is full".to_owned(),
        Refusal::Busy { retry_after } => format!("it is too busy, and to be asked again in {retry_after} s"),
        Refusal::Stale { .. } => "it knows a later entry of this profile".to_owned(),
        Refusal::WrongClock { .. } => "its clock and ours differ".to_owned(),
        Refusal::BadRecord | Refusal::NoRelay => "it does not take our entry".to_owned(),
    }
}

/// The same seeds, in whatever order.
fn same(a: &[Addr], b: &[Addr]) -> bool {
    a.len() == b.len() && a.iter().all(|addr| b.contains(addr))
}
