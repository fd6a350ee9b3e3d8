//! Taking up records, hearing that their owners are still there, letting go of them.

use super::{busy, encode_found, unix};
use crate::{
    crypto::record::verify_claim,
    seed::{
        Asked, Seed,
        cluster::{self, Over},
        directory::{Known, Outcome, Registration},
    },
    wire::{
        DATAGRAM_LEN_MAX, SIGNATURE_LEN,
        addr::is_dialable,
        phonebook::{Answer, Entry, RawId, Refusal, TOKEN_LEN},
        record::Claim,
    },
};

/// Seconds by which an owner's clock may be ahead of ours.
pub(super) const CLOCK_AHEAD_MAX: u64 = 600;

/// Why not, as the asker is told.
type Refused = Answer<'static>;

impl Seed {
    pub(super) fn on_register(
        &mut self,
        asked: &Asked<'_>,
        record: &[u8],
        signature: &[u8; SIGNATURE_LEN],
        token: Option<&[u8; TOKEN_LEN]>,
    ) {
        match self.register(asked, record, signature, token) {
            Ok((id, answer)) => {
                self.answer(asked, &answer);
                self.tell_watchers(asked, &id, record, signature);
            }
            Err(refused) => self.answer(asked, &refused),
        }
    }

    /// The cheap questions first: what is wrong for one of those never costs a signature check.
    fn register(
        &mut self,
        asked: &Asked<'_>,
        record: &[u8],
        signature: &[u8; SIGNATURE_LEN],
        token: Option<&[u8; TOKEN_LEN]>,
    ) -> Result<(RawId, Answer<'static>), Refused> {
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
                return Err(Answer::Refused(Refusal::Stale { seq }));
            }
            Known::Gone { seq } if claim.seq <= seq => return Err(Answer::Refused(Refusal::Stale { seq })),
            Known::Full => return Err(Answer::Refused(Refusal::Full)),
            Known::Live { .. } | Known::Gone { .. } | Known::Nothing => {}
        }
        if has_token {
            self.counters.tokens += 1;
        } else {
            self.check_signature(asked, &claim.id, record, signature)?;
        }
        let registration = Registration { claim: &claim, record, signature, seen: from, may_move: has_token };
        match self.shared.directory.register(asked.now, &registration) {
            Outcome::Registered { ttl } => {
                self.put(asked, record, signature, if has_token { Over::Same } else { Over::Older });
                let token = self.tokens.token(unix, &claim.id, record, signature);
                Ok((claim.id, Answer::Registered { token, ttl, seen: from }))
            }
            Outcome::Stale { seq } => Err(Answer::Refused(Refusal::Stale { seq })),
            Outcome::Full => Err(Answer::Refused(Refusal::Full)),
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

    fn check_signature(
        &mut self,
        asked: &Asked<'_>,
        id: &RawId,
        record: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), Refused> {
        self.limiter.count_signature(asked.now.instant).map_err(busy)?;
        self.load.count_signature(asked.now.instant);
        self.counters.signatures += 1;
        verify_claim(id, record, signature).map(drop).map_err(|_| Answer::Refused(Refusal::BadRecord))
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
