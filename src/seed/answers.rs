//! What a seed answers to each query that came with a valid cookie. Taking up and letting go of records
//! stands in `registering`, finding them in `looking`, relaying in `relaying`, and what the other seeds of a
//! cluster have in `elsewhere`.

mod elsewhere;
mod looking;
mod registering;
mod relaying;

pub(super) use registering::Unchecked;

use std::time::Duration;

use super::{Asked, Seed, directory::TTL, relay::Relays};
use crate::wire::{
    DATAGRAM_LEN_MAX,
    phonebook::{ANSWER_FACTOR_MAX, Answer, COOKIE_LEN, Entry, Header, Query, Refusal, Status},
};

/// Program and version, for people.
const SOFTWARE: &str = concat!("p2pchat-udp/", env!("CARGO_PKG_VERSION"));
/// Seconds after which another look may be worth it, where nothing says more.
const RETRY_AFTER: u16 = 20;

impl Seed {
    pub(super) fn on_asked(&mut self, asked: &Asked<'_>) {
        self.counters.count(&asked.query);
        self.load.count_query(asked.now.instant);
        let (now, source) = (asked.now.instant, asked.from.ip());
        let is_counted = !(self.shared.config.loopback && source.is_loopback());
        if is_counted && let Err(wait) = self.limiter.count_query(now, source, cost(&asked.query)) {
            return self.answer(asked, &busy(wait));
        }
        match asked.query {
            Query::Register { record, signature, token } => self.on_register(asked, record, &signature, token.as_ref()),
            Query::Refresh { id, seq, token } => self.on_refresh(asked, &id, seq, token),
            Query::Unregister { record, signature } => self.on_unregister(asked, record, &signature),
            Query::Lookup { id, watch } => self.on_lookup(asked, &id, watch),
            Query::Find { network, name } => self.on_find(asked, &network, name),
            Query::Search { network, prefix, after } => self.on_search(asked, &network, prefix, after),
            Query::Knock { to, sealed } => self.on_knock(asked, &to, sealed),
            Query::Status => self.on_status(asked),
            // It asks for a cookie, which it got.
            Query::Hello => {}
            Query::Bind { id, token, peer } => self.on_bind(asked, &id, &token, &peer),
        }
    }

    fn on_status(&mut self, asked: &Asked<'_>) {
        let shared = self.shared.clone();
        let records = shared.directory.len();
        let filled = records.saturating_mul(1_000) / shared.config.records_max.max(1);
        let load = self.load.thousandths(asked.now.instant).max(u16::try_from(filled).unwrap_or(u16::MAX)).min(1_000);
        let mut status = Status {
            name: &shared.config.name,
            software: SOFTWARE,
            unix: unix(asked),
            uptime: self.uptime(asked.now).as_secs(),
            records: records as u64,
            load,
            seeds: self.fellows.clone(),
            relay: shared.relays.as_ref().map(Relays::status).unwrap_or_default(),
        };
        let mut datagram = self.buffer();
        loop {
            Answer::Status(status.clone()).encode(header(asked.txid), &mut datagram);
            if datagram.len() <= len_max(asked) || status.seeds.pop().is_none() {
                break;
            }
        }
        self.push(asked.from, datagram);
    }

    /// No record of that. `retry_after`: `None` where there is nothing to wait for but the asker's patience.
    fn not_found(&mut self, asked: &Asked<'_>, retry_after: Option<u16>) {
        let warm_in = Duration::from_secs(TTL.into()).saturating_sub(self.uptime(asked.now));
        let warming = !warm_in.is_zero();
        let retry_after = retry_after.unwrap_or_else(|| if warming { seconds(warm_in) } else { RETRY_AFTER });
        let seeds = self.fellows.clone();
        self.answer(asked, &Answer::NotFound { warming, retry_after, seeds });
    }

    fn answer(&mut self, asked: &Asked<'_>, answer: &Answer<'_>) {
        self.counters.refused += u64::from(matches!(answer, Answer::Refused(_)));
        self.counters.busy += u64::from(matches!(answer, Answer::Refused(Refusal::Busy { .. })));
        self.transmit(asked.from, header(asked.txid), answer);
    }
}

/// What a query costs its source, in refreshes.
const fn cost(query: &Query<'_>) -> u32 {
    match query {
        // Each may lead to a signature check, to a walk over many records, or takes room for others.
        Query::Register { token: None, .. } | Query::Unregister { .. } => 4,
        Query::Find { .. } | Query::Search { .. } | Query::Lookup { watch: true, .. } => 4,
        Query::Register { token: Some(_), .. } | Query::Knock { .. } | Query::Bind { .. } => 2,
        Query::Hello | Query::Refresh { .. } | Query::Lookup { watch: false, .. } | Query::Status => 1,
    }
}

const fn header(txid: u64) -> Header {
    Header { txid, cookie: [0; COOKIE_LEN] }
}

/// Bytes of an answer at most.
fn len_max(asked: &Asked<'_>) -> usize {
    DATAGRAM_LEN_MAX.min(ANSWER_FACTOR_MAX * asked.len)
}

/// The seed's wall clock in seconds.
const fn unix(asked: &Asked<'_>) -> u64 {
    asked.now.unix.0 / 1_000
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u16 {
    u16::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(u16::MAX)
}

fn busy(wait: Duration) -> Answer<'static> {
    Answer::Refused(Refusal::Busy { retry_after: seconds(wait).max(1) })
}

/// As many of the entries as fit `len_max`.
fn encode_found(txid: u64, entries: Vec<Entry<'_>>, more: bool, len_max: usize, out: &mut Vec<u8>) {
    let mut answer = Answer::Found { entries, more };
    loop {
        answer.encode(header(txid), out);
        let Answer::Found { entries, more } = &mut answer else { return };
        if out.len() <= len_max || entries.pop().is_none() {
            return;
        }
        *more = true;
    }
}
