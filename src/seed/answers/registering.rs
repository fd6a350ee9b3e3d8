//! Taking up records, hearing that their owners are still there, letting go of them.

use std::{net::SocketAddr, time::Duration};

use super::{busy, encode_found, unix};
use crate::{
    clock::{Instant, Now},
    crypto::record::{Unverified, verify_all, verify_claim},
    seed::{
        Asked, Seed,
        cluster::{self, Over},
        directory::{Known, Outcome, Registration},
    },
    wire::{
        DATAGRAM_LEN_MAX, SIGNATURE_LEN,
        addr::is_dialable,
        phonebook::{Answer, Entry, Query, RawId, Refusal, TOKEN_LEN},
        record::Claim,
    },
};

/// Seconds by which an owner's clock may be ahead of ours.
pub(super) const CLOCK_AHEAD_MAX: u64 = 600;

/// Registrations whose signatures are checked together at most: more would not be cheaper by much, and everybody
/// else waits meanwhile.
const CHECKS_MAX: usize = 256;
/// For so long the first of them waits for company.
const CHECK_WAIT: Duration = Duration::from_millis(2);
/// One check alone costs as much as so many in a batch.
pub(super) const SINGLE_COST: u32 = 2;

/// Why not, as the asker is told.
type Refused = Answer<'static>;

/// Registrations whose signatures are to be checked.
#[derive(Default)]
pub(in crate::seed) struct Unchecked {
    waiting: Vec<Waiting>,
    due: Option<Instant>,
}

struct Waiting {
    from: SocketAddr,
    txid: u64,
    /// Bytes of the query.
    len: usize,
    id: RawId,
    record: Vec<u8>,
    signature: [u8; SIGNATURE_LEN],
}

impl Waiting {
    fn unverified(&self) -> Unverified<'_> {
        Unverified { id: &self.id, bytes: &self.record, signature: &self.signature }
    }
}

impl Unchecked {
    /// When they are to be checked.
    pub(in crate::seed) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

impl Seed {
    /// The cheap questions first: what is wrong for one of those never costs a signature check.
    pub(super) fn on_register(
        &mut self,
        asked: &Asked<'_>,
        record: &[u8],
        signature: &[u8; SIGNATURE_LEN],
        token: Option<&[u8; TOKEN_LEN]>,
    ) {
        match self.look_at(asked, record, signature, token) {
            Ok((claim, true)) => {
                self.counters.tokens += 1;
                self.take_up(asked, &claim, record, signature, true);
            }
            Ok((claim, false)) if self.limiter.is_suspect(asked.now.instant, asked.from.ip()) => {
                match self.check_signature(asked, &claim.id, record, signature) {
                    Ok(()) => self.take_up(asked, &claim, record, signature, false),
                    Err(refused) => self.answer(asked, &refused),
                }
            }
            Ok((claim, false)) => self.wait_for_company(asked, claim.id, record, signature),
            Err(refused) => self.answer(asked, &refused),
        }
    }

    fn wait_for_company(&mut self, asked: &Asked<'_>, id: RawId, record: &[u8], signature: &[u8; SIGNATURE_LEN]) {
        if let Err(wait) = self.count_signature(asked.now, 1) {
            return self.answer(asked, &busy(wait));
        }
        let (from, txid, len) = (asked.from, asked.txid, asked.len);
        self.unchecked.waiting.push(Waiting { from, txid, len, id, record: record.to_vec(), signature: *signature });
        self.unchecked.due.get_or_insert(asked.now.instant + CHECK_WAIT);
        if self.unchecked.waiting.len() >= CHECKS_MAX {
            self.check_signatures(asked.now);
        }
    }

    /// What a record says, and whether its token spares the check.
    fn look_at<'a>(
        &mut self,
        asked: &Asked<'_>,
        record: &'a [u8],
        signature: &[u8; SIGNATURE_LEN],
        token: Option<&[u8; TOKEN_LEN]>,
    ) -> Result<(Claim<'a>, bool), Refused> {
        let (unix, from) = (unix(asked), asked.from);
        let claim = Claim::decode(record).map_err(|_| Answer::Refused(Refusal::BadRecord))?;
        if claim.is_farewell() || !self.may_register(asked) {
            return Err(Answer::Refused(Refusal::BadRecord));
        }
        if claim.issued > unix.saturating_add(CLOCK_AHEAD_MAX) || claim.expires() <= unix {
            return Err(Answer::Refused(Refusal::WrongClock { unix }));
        }
        let has_token = token.is_some_and(|token| self.tokens.verify(unix, &claim.id, record, signature, token));
        match self.shared.directory.known(asked.now, &claim.id) {
            Known::Live { seq, seen } if claim.seq < seq || claim.seq == seq && seen != from && !has_token => {
                Err(Answer::Refused(Refusal::Stale { seq }))
            }
            Known::Gone { seq } if claim.seq <= seq => Err(Answer::Refused(Refusal::Stale { seq })),
            Known::Full => Err(Answer::Refused(Refusal::Full)),
            Known::Live { .. } | Known::Gone { .. } | Known::Nothing => Ok((claim, has_token)),
        }
    }

    /// Checks all signatures that wait for it, and answers.
    pub(in crate::seed) fn check_signatures(&mut self, now: Now) {
        let Unchecked { waiting, .. } = std::mem::take(&mut self.unchecked);
        let unverified: Vec<_> = waiting.iter().map(Waiting::unverified).collect();
        let all_good = unverified.len() > 1 && verify_all(&unverified);
        if !all_good && unverified.len() > 1 {
            self.limiter.add_signatures(now.instant, SINGLE_COST * unverified.len() as u32);
        }
        for one in &waiting {
            let Waiting { from, txid, len, ref id, ref record, ref signature } = *one;
            let query = Query::Register { record, signature: *signature, token: None };
            let asked = Asked { now, from, txid, len, query };
            match Claim::decode(record) {
                Ok(claim) if all_good || verify_claim(id, record, signature).is_ok() => {
                    self.take_up(&asked, &claim, record, signature, false);
                }
                _ => {
                    // Nobody does that by mistake: it spoils no more batches.
                    self.limiter.suspect(now.instant, from.ip());
                    self.answer(&asked, &Answer::Refused(Refusal::BadRecord));
                }
            }
        }
    }

    /// A record that is its owner's goes into the directory.
    fn take_up(&mut self, asked: &Asked<'_>, claim: &Claim<'_>, record: &[u8], signature: &[u8; SIGNATURE_LEN], has_token: bool) {
        let registration = Registration { claim, record, signature, seen: asked.from, may_move: has_token };
        match self.shared.directory.register(asked.now, &registration) {
            Outcome::Registered { ttl } => {
                self.put(asked, record, signature, if has_token { Over::Same } else { Over::Older });
                let token = self.tokens.token(unix(asked), &claim.id, record, signature);
                self.answer(asked, &Answer::Registered { token, ttl, seen: asked.from });
                self.tell_watchers(asked, &claim.id, record, signature);
            }
            Outcome::Stale { seq } => self.answer(asked, &Answer::Refused(Refusal::Stale { seq })),
            Outcome::Full => self.answer(asked, &Answer::Refused(Refusal::Full)),
        }
    }

    pub(super) fn on_refresh(&mut self, asked: &Asked<'_>, id: &RawId, seq: u64, token: [u8; TOKEN_LEN]) {
        if !self.may_register(asked) {
            return self.answer(asked, &Answer::Refused(Refusal::BadRecord));
        }
        let is_due = self.is_due(asked.now, cluster::Known { id, seq, seen: asked.from });
        let (tokens, unix) = (&mut self.tokens, unix(asked));
        let mut due = None;
        // The token proves the owner, the cookie the address: so the address may move.
        let ttl = self.shared.directory.refresh(asked.now, id, seq, asked.from, &mut |entry| {
            let is_proved = tokens.verify(unix, id, entry.record, &entry.signature, &token);
            due = (is_proved && is_due).then(|| (entry.record.to_vec(), entry.signature));
            is_proved
        });
        if let Some((record, signature)) = due {
            self.put(asked, &record, &signature, Over::Same);
        }
        let answer = ttl.map_or(Answer::Need, |ttl| Answer::Registered { token, ttl, seen: asked.from });
        self.answer(asked, &answer);
    }

    pub(super) fn on_unregister(&mut self, asked: &Asked<'_>, record: &[u8], signature: &[u8; SIGNATURE_LEN]) {
        let answer = self.unregister(asked, record, signature).map_or_else(|refused| refused, |()| Answer::Unregistered);
        self.answer(asked, &answer);
    }

    fn unregister(&mut self, asked: &Asked<'_>, record: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), Refused> {
        let claim = Claim::decode(record).map_err(|_| Answer::Refused(Refusal::BadRecord))?;
        if !claim.is_farewell() {
            return Err(Answer::Refused(Refusal::BadRecord));
        }
        match self.shared.directory.known(asked.now, &claim.id) {
            Known::Live { seq, .. } if claim.seq <= seq => Err(Answer::Refused(Refusal::Stale { seq })),
            Known::Live { .. } => {
                self.check_signature(asked, &claim.id, record, signature)?;
                self.shared.directory.unregister(asked.now, &claim.id, claim.seq);
                self.put(asked, record, signature, Over::Same);
                Ok(())
            }
            // It may be registered with another seed of the cluster.
            Known::Nothing | Known::Full if self.cluster.is_some() => {
                self.check_signature(asked, &claim.id, record, signature)?;
                self.put(asked, record, signature, Over::Same);
                Ok(())
            }
            Known::Gone { seq } if claim.seq < seq => Err(Answer::Refused(Refusal::Stale { seq })),
            // Said again because the answer was lost, or there is nothing to take away.
            Known::Gone { .. } | Known::Nothing | Known::Full => Ok(()),
        }
    }

    /// Where an answer to a lookup may send people.
    pub(super) fn may_register(&self, asked: &Asked<'_>) -> bool {
        is_dialable(&asked.from, self.shared.config.loopback)
    }

    /// Checks one at once: few let go of their records, or come from where false signatures came from.
    fn check_signature(
        &mut self,
        asked: &Asked<'_>,
        id: &RawId,
        record: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), Refused> {
        self.count_signature(asked.now, SINGLE_COST).map_err(busy)?;
        verify_claim(id, record, signature).map(drop).map_err(|_| Answer::Refused(Refusal::BadRecord))
    }

    /// Errors with the time to wait.
    pub(super) fn count_signature(&mut self, now: Now, cost: u32) -> Result<(), Duration> {
        self.limiter.count_signature(now.instant, cost)?;
        self.load.count_signature(now.instant, cost);
        self.counters.signatures += 1;
        Ok(())
    }

    /// Whoever looked for `id` in vain has padded its query for this answer.
    fn tell_watchers(&mut self, asked: &Asked<'_>, id: &RawId, record: &[u8], signature: &[u8; SIGNATURE_LEN]) {
        for watcher in self.shared.watches.take(asked.now.instant, id) {
            let entry = Entry { record, signature: *signature, seen: asked.from, age: 0 };
            let mut datagram = self.buffer();
            encode_found(watcher.txid, vec![entry], false, DATAGRAM_LEN_MAX, &mut datagram);
            self.counters.told += 1;
            self.push(watcher.at, datagram);
        }
    }
}
