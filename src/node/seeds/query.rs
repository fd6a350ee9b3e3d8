//! One query to one seed: sent, repeated, paired with its answer. The address of whom we ask is proved by
//! its cookie before anything but a short hello goes there, so nobody is hit by more than that because a
//! seed named him.

use std::{net::SocketAddr, time::Duration};

use rand_core::RngCore;

use super::{AskId, Found, NotBound, Seeds, SeedsEvent, seed::CLOCK_ERROR_MAX};
use crate::{
    clock::{Instant, Now},
    crypto::record::verify_record,
    id::PeerId,
    node::command::SeedState,
    wire::{
        WireError,
        phonebook::{Answer, COOKIE_LEN, Entry, Header, Query, Refusal, answer_txid},
        record::Record,
    },
};

/// Times that a query is sent; it counts as unanswered after the last wait.
const TRIES_MAX: u32 = 4;
/// Wait for the first answer, doubled each time: 2.1 s in all.
const RETRY_FIRST: Duration = Duration::from_millis(300);
const RETRY_MAX: Duration = Duration::from_millis(600);
/// Cookies asked for within one query at most: a seed that never takes its own does not go on for ever.
const COOKIE_ROUNDS_MAX: u32 = 2;
/// A cookie is used for so long; seeds take it a little longer.
const COOKIE_FOR: Duration = Duration::from_secs(110);
/// A refresh asks for another so early that goodbye, whenever it comes, need not ask first.
const COOKIE_RENEWED: Duration = Duration::from_secs(80);
/// Cookies kept at most.
const COOKIES_MAX: usize = 128;
/// Queries under way at most; more are not sent.
const QUERIES_MAX: usize = 512;

/// A seed's proof that it knows our address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cookie {
    bytes: [u8; COOKIE_LEN],
    got: Instant,
}

/// What a query is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Our record with this seq, at this seed.
    Register {
        seed: usize,
        seq: u64,
    },
    Refresh {
        seed: usize,
        seq: u64,
    },
    Unregister(usize),
    /// A question.
    Ask(AskId),
    /// A channel to this peer, at this seed.
    Bind {
        seed: usize,
        peer: PeerId,
    },
    /// To be handed on.
    Knock {
        attempt: u64,
        to: [u8; 32],
        sealed: Vec<u8>,
    },
}

impl Purpose {
    /// The seed that it is about, where that is one of ours.
    pub(super) const fn seed(&self) -> Option<usize> {
        match self {
            Self::Register { seed, .. } | Self::Refresh { seed, .. } | Self::Unregister(seed) | Self::Bind { seed, .. } => {
                Some(*seed)
            }
            Self::Ask(_) | Self::Knock { .. } => None,
        }
    }
}

/// A query that has no answer yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) to: SocketAddr,
    pub(super) purpose: Purpose,
    pub(super) next_at: Instant,
    tries: u32,
    cookie_rounds: u32,
}

impl Seeds {
    /// Has a seed hand a knock on; [`SeedsEvent::Knocked`] or [`SeedsEvent::NotKnocked`] follows.
    pub(crate) fn knock(&mut self, now: Now, seed: SocketAddr, attempt: u64, to: [u8; 32], sealed: Vec<u8>) {
        if !self.query(now, seed, Purpose::Knock { attempt, to, sealed }) {
            self.events.push_back(SeedsEvent::NotKnocked { attempt });
        }
    }

    /// Starts a query. False where too many are under way.
    pub(super) fn query(&mut self, now: Now, to: SocketAddr, purpose: Purpose) -> bool {
        if self.queries.len() >= QUERIES_MAX {
            return false;
        }
        let txid = self.rng.next_u64().max(1);
        let pending = Pending { to, purpose, next_at: now.instant + RETRY_FIRST, tries: 1, cookie_rounds: 0 };
        self.queries.insert(txid, pending);
        self.send_query(now, txid);
        true
    }

    fn send_query(&mut self, now: Now, txid: u64) {
        let Some(pending) = self.queries.get(&txid) else { return };
        let to = pending.to;
        let is_refresh = matches!(pending.purpose, Purpose::Refresh { .. });
        let good_for = if is_refresh { COOKIE_RENEWED } else { COOKIE_FOR };
        let cookie = self.cookies.get(&to).filter(|cookie| now.instant.since(cookie.got) < good_for);
        let query = match cookie {
            Some(_) => self.query_of(&pending.purpose, to),
            None => Some(Query::Hello),
        };
        let Some(query) = query else {
            match self.queries.remove(&txid) {
                Some(Pending { purpose: Purpose::Register { seed, .. }, .. }) => self.on_outdated(seed),
                Some(pending) => self.on_failed(now, pending),
                None => {}
            }
            return;
        };
        let mut datagram = Vec::new();
        query.encode(Header { txid, cookie: cookie.map_or([0; COOKIE_LEN], |cookie| cookie.bytes) }, &mut datagram);
        self.transmits.push_back((to, datagram));
    }

    /// What to say now; `None` where there is nothing to say any more.
    fn query_of<'a>(&'a self, purpose: &'a Purpose, to: SocketAddr) -> Option<Query<'a>> {
        match purpose {
            Purpose::Register { seed, seq } => self.register_query(*seed, *seq),
            Purpose::Refresh { seed, .. } => self.refresh_query(*seed),
            Purpose::Unregister(_) => self.unregister_query(),
            Purpose::Ask(ask) => self.ask_query(*ask, to),
            Purpose::Bind { seed, peer } => self.bind_query(*seed, peer),
            Purpose::Knock { to, sealed, .. } => Some(Query::Knock { to: *to, sealed }),
        }
    }

    pub(super) fn repeat_queries(&mut self, now: Now) {
        let due: Vec<_> =
            self.queries.iter().filter(|(_, pending)| pending.next_at <= now.instant).map(|(txid, _)| *txid).collect();
        for txid in due {
            let Some(pending) = self.queries.get_mut(&txid) else { continue };
            if pending.tries < TRIES_MAX {
                pending.next_at = now.instant + RETRY_FIRST.saturating_mul(1 << pending.tries.min(8)).min(RETRY_MAX);
                pending.tries += 1;
                self.send_query(now, txid);
            } else if let Some(pending) = self.queries.remove(&txid) {
                self.on_unanswered(now, pending);
            }
        }
    }

    fn on_unanswered(&mut self, now: Now, pending: Pending) {
        if let Some(index) = self.seeds.iter().position(|seed| seed.addr() == Some(pending.to)) {
            self.seeds[index].on_silence(now.instant);
            self.on_unreachable(index, "no answer".to_owned());
        }
        self.on_failed(now, pending);
    }

    /// The query came to nothing, for whatever reason.
    fn on_failed(&mut self, now: Now, pending: Pending) {
        match pending.purpose {
            Purpose::Register { seed, .. } | Purpose::Refresh { seed, .. } => self.on_home_failed(now, seed),
            Purpose::Unregister(seed) => self.on_unheard(now, seed),
            Purpose::Ask(ask) => self.on_target_failed(now, ask, pending.to),
            Purpose::Bind { peer, .. } => {
                self.events.push_back(SeedsEvent::NotBound { seed: pending.to, peer, why: NotBound::Silent });
            }
            Purpose::Knock { attempt, .. } => self.events.push_back(SeedsEvent::NotKnocked { attempt }),
        }
    }

    /// Takes a datagram of kind answer. False: it answers nothing that we asked.
    pub(crate) fn handle_datagram(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) -> bool {
        let Some(txid) = answer_txid(datagram) else { return false };
        let is_asked = self.queries.get(&txid).is_some_and(|pending| pending.to == from);
        let decoded = Answer::decode(datagram);
        let taken = match decoded {
            Ok((_, Answer::Notify { from: caller, sealed })) if txid == 0 => self.on_notify(now, from, caller, sealed),
            Ok((header, Answer::Cookie { seen })) if is_asked => {
                self.on_seen(now, from, seen);
                self.on_cookie(now, txid, from, header.cookie)
            }
            Ok((_, answer)) if is_asked => {
                if let Some(pending) = self.queries.remove(&txid) {
                    self.on_answer(now, pending, txid, &answer);
                }
                true
            }
            Ok((_, Answer::Found { entries, .. })) => self.on_watched(now, txid, from, &entries),
            Err(WireError::OtherVersion(version)) if is_asked => {
                let why = format!("it speaks version {version} of the protocol, this is version {}", crate::wire::WIRE_VERSION);
                self.on_bad(from, SeedState::OldVersion, why);
                if let Some(pending) = self.queries.remove(&txid) {
                    self.on_failed(now, pending);
                }
                true
            }
            _ => false,
        };
        self.drive(now);
        taken
    }

    /// Only a seed that has our record may have a peer knock: also one where it is no more than left over, since there the
    /// peer found it.
    fn on_notify(&mut self, now: Now, seed: SocketAddr, from: SocketAddr, sealed: &[u8]) -> bool {
        let holds_us = |one: &super::Seed| one.addr() == Some(seed) && one.holds_until.is_some_and(|until| now.instant < until);
        let is_ours = self.seeds.iter().any(holds_us);
        if is_ours {
            self.events.push_back(SeedsEvent::Notified { seed, from, sealed: sealed.to_vec() });
        }
        is_ours
    }

    /// A seed says where it sees us. If that is not where it saw us last, who looks us up is sent astray: all seeds should
    /// see us where we are now.
    fn on_seen(&mut self, now: Now, from: SocketAddr, seen: SocketAddr) {
        let before = self.seeds.iter().find(|seed| seed.addr() == Some(from)).and_then(|seed| seed.seen);
        if before.is_some_and(|before| before != seen) {
            self.seeds.iter_mut().for_each(|seed| seed.home.on_network(now.instant));
        }
    }

    fn on_cookie(&mut self, now: Now, txid: u64, from: SocketAddr, bytes: [u8; COOKIE_LEN]) -> bool {
        if self.cookies.len() >= COOKIES_MAX && !self.cookies.contains_key(&from) {
            let oldest = self.cookies.iter().min_by_key(|(_, cookie)| cookie.got).map(|(addr, _)| *addr);
            oldest.map(|addr| self.cookies.remove(&addr));
        }
        self.cookies.insert(from, Cookie { bytes, got: now.instant });
        let Some(pending) = self.queries.get_mut(&txid) else { return false };
        pending.cookie_rounds += 1;
        if pending.cookie_rounds <= COOKIE_ROUNDS_MAX {
            self.send_query(now, txid);
        }
        true
    }

    fn on_answer(&mut self, now: Now, pending: Pending, txid: u64, answer: &Answer<'_>) {
        let from = pending.to;
        self.on_reachable(from);
        match (pending.purpose, answer) {
            (Purpose::Register { seed, seq } | Purpose::Refresh { seed, seq }, answer) => {
                self.on_home_answer(now, seed, seq, answer)
            }
            (Purpose::Unregister(seed), answer) => self.on_farewell_answer(now, seed, answer),
            (Purpose::Ask(ask), answer) => self.on_ask_answer(now, ask, txid, from, answer),
            (Purpose::Bind { peer, .. }, Answer::Bound { channel, open }) => {
                self.events.push_back(SeedsEvent::Bound { seed: from, peer, channel: *channel, open: *open });
            }
            (Purpose::Bind { seed, peer }, answer) => {
                if *answer == Answer::Need {
                    self.on_forgotten(now, seed);
                }
                let is_refused = *answer == Answer::Refused(Refusal::NoRelay);
                let why = if is_refused { NotBound::Refused } else { NotBound::NotYet };
                self.events.push_back(SeedsEvent::NotBound { seed: from, peer, why });
            }
            (Purpose::Knock { attempt, .. }, Answer::Knocked { seen }) => {
                self.events.push_back(SeedsEvent::Knocked { attempt, seen: *seen });
            }
            (Purpose::Knock { attempt, .. }, _) => self.events.push_back(SeedsEvent::NotKnocked { attempt }),
        }
    }

    /// The records among the entries that hold, `fits` what was asked; a seed that hands on others is said to.
    pub(super) fn sound(
        &mut self,
        now: Now,
        from: SocketAddr,
        entries: &[Entry<'_>],
        fits: impl Fn(&Record) -> bool,
    ) -> Vec<Found> {
        let mut sound = Vec::new();
        for entry in entries {
            match verify_record(entry.record, &entry.signature) {
                Ok(record) if record.is_farewell() || !fits(&record) => {}
                // One of three clocks is wrong by more than is forgiven; nobody is blamed for it.
                Ok(record) if record.expires().saturating_add(CLOCK_ERROR_MAX) < now.unix.0 / 1_000 => {}
                Ok(record) => {
                    sound.push(Found { record, seen: entry.seen, age: Duration::from_secs(entry.age.into()), seed: from })
                }
                Err(_) => {
                    self.on_bad(from, SeedState::BadSignature, "it handed on a record that its owner did not sign".to_owned())
                }
            }
        }
        sound
    }
}
