//! What a seed answers to each query that came with a valid cookie.

use std::time::Duration;

use super::{
    Asked, Seed,
    directory::{Outcome, Registration, TTL},
};
use crate::{
    crypto::record::verify_claim,
    wire::{
        SIGNATURE_LEN,
        addr::is_dialable,
        phonebook::{Answer, COOKIE_LEN, Header, Query, Refusal, Status, TOKEN_LEN},
        record::Claim,
    },
};

/// Seconds by which an owner's clock may be ahead of ours.
const CLOCK_AHEAD_MAX: u64 = 600;
/// Program and version, for people.
const SOFTWARE: &str = concat!("p2pchat-udp/", env!("CARGO_PKG_VERSION"));
/// Seconds to wait where nothing says how long.
const RETRY_AFTER: u16 = 20;

impl Seed {
    pub(super) fn on_asked(&mut self, asked: &Asked<'_>) {
        match asked.query {
            Query::Register { record, signature, token } => self.on_register(asked, record, &signature, token.as_ref()),
            Query::Refresh { id, seq, token } => {
                self.counters.refresh += 1;
                let (now, shared) = (asked.now, &self.shared);
                let ttl = shared.directory.refresh(now, &id, seq, asked.from, &mut |entry| {
                    shared.tokens.verify(now.unix.0 / 1_000, &id, entry.record, &entry.signature, &token)
                });
                let answer = ttl.map_or(Answer::Need, |ttl| Answer::Registered { token, ttl, seen: asked.from });
                self.answer(asked, &answer);
            }
            Query::Lookup { id, .. } => {
                self.counters.lookup += 1;
                let header = Header { txid: asked.txid, cookie: [0; COOKIE_LEN] };
                let mut datagram = self.buffer();
                let found = self.shared.directory.lookup(asked.now, &id, &mut |entry| {
                    Answer::Found { entries: vec![*entry], more: false }.encode(header, &mut datagram);
                });
                if found { self.push(asked.from, datagram) } else { self.not_found(asked) }
            }
            Query::Status => self.on_status(asked),
            _ => self.not_found(asked),
        }
    }

    fn on_register(
        &mut self,
        asked: &Asked<'_>,
        record: &[u8],
        signature: &[u8; SIGNATURE_LEN],
        token: Option<&[u8; TOKEN_LEN]>,
    ) {
        self.counters.register += 1;
        let answer = self.register(asked, record, signature, token).unwrap_or_else(Answer::Refused);
        self.answer(asked, &answer);
    }

    fn register(
        &mut self,
        asked: &Asked<'_>,
        record: &[u8],
        signature: &[u8; SIGNATURE_LEN],
        token: Option<&[u8; TOKEN_LEN]>,
    ) -> Result<Answer<'static>, Refusal> {
        let unix = asked.now.unix.0 / 1_000;
        let claim = Claim::decode(record).map_err(|_| Refusal::BadRecord)?;
        if claim.is_farewell() || !is_dialable(&asked.from, self.shared.config.loopback) {
            return Err(Refusal::BadRecord);
        }
        if claim.issued > unix + CLOCK_AHEAD_MAX || claim.expires() <= unix {
            return Err(Refusal::WrongClock { unix });
        }
        let may_move = token.is_some_and(|token| self.shared.tokens.verify(unix, &claim.id, record, signature, token));
        if !may_move {
            self.counters.signatures += 1;
            verify_claim(&claim.id, record, signature).map_err(|_| Refusal::BadRecord)?;
        }
        let registration = Registration { claim: &claim, record, signature, seen: asked.from, may_move };
        match self.shared.directory.register(asked.now, &registration) {
            Outcome::Registered { ttl } => {
                let token = self.shared.tokens.token(unix, &claim.id, record, signature);
                Ok(Answer::Registered { token, ttl, seen: asked.from })
            }
            Outcome::Stale { seq } => Err(Refusal::Stale { seq }),
            Outcome::Full => Err(Refusal::Full),
        }
    }

    fn not_found(&mut self, asked: &Asked<'_>) {
        let uptime = asked.now.instant.since(self.shared.start.instant);
        let warming = uptime < Duration::from_secs(TTL.into());
        self.answer(asked, &Answer::NotFound { warming, retry_after: RETRY_AFTER, seeds: Vec::new() });
    }

    fn on_status(&mut self, asked: &Asked<'_>) {
        self.counters.status += 1;
        let shared = self.shared.clone();
        let status = Status {
            name: &shared.config.name,
            software: SOFTWARE,
            unix: asked.now.unix.0 / 1_000,
            uptime: asked.now.instant.since(shared.start.instant).as_secs(),
            records: shared.directory.len() as u64,
            load: 0,
            seeds: Vec::new(),
        };
        self.answer(asked, &Answer::Status(status));
    }
}
