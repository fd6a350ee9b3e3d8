//! Our record taken away again: by a command from one seed or from all, and from all when we leave. A seed counts as
//! left once it says so: also one of which we do not know that it has our record, since who registered may have been
//! a process before this one.

use std::time::Duration;

use super::{
    Seeds,
    home::{HELD_MAX, Home, why_refused},
    query::{Pending, Purpose},
    seed::Seed,
};
use crate::{
    clock::{Instant, Now},
    wire::{
        phonebook::{Answer, Query},
        record::{Record, Visibility},
    },
};

/// The second farewell to each when we leave.
const SECOND_FAREWELL: Duration = Duration::from_millis(20);
/// After the second one there is nothing to be done any more.
const NO_MORE: Duration = Duration::from_secs(60);

/// How far the farewell to a seed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// None is wanted.
    None,
    /// To be said, once it is signed and somebody knows where the seed is.
    Due,
    /// On its way.
    Said,
    /// The seed says that it has nothing of ours.
    Heard,
    /// It does not say so: our record may be there until then.
    Unheard { until: Instant },
}

impl Seeds {
    /// Takes our record away from all seeds.
    pub(super) fn end_homes(&mut self, now: Now) {
        (self.own.forced, self.own.withdrawn, self.own.relayed) = (false, true, false);
        self.want_farewell(now, |_, seed| {
            seed.in_use || seed.is_named || seed.relays || seed.home != Home::Idle || seed.may_hold_us(now.instant)
        });
        self.seeds.iter_mut().for_each(|seed| (seed.is_named, seed.is_shunned) = (false, false));
    }

    /// Takes our record away from this seed, if there is room for one that nobody named before.
    pub(super) fn end_home(&mut self, now: Now, only: Option<usize>) {
        let Some(only) = only else { return };
        (self.seeds[only].is_named, self.seeds[only].is_shunned) = (false, true);
        self.want_farewell(now, |index, _| index == only);
    }

    /// Says goodbye to the seeds that hold our record.
    pub(crate) fn leave(&mut self, now: Now) {
        let lapses = self.own.forced && self.config.visibility.is_none();
        self.queries.retain(|_, pending| !matches!(pending.purpose, Purpose::Unregister(_)));
        self.seeds.iter_mut().for_each(|seed| seed.farewell = Farewell::None);
        let is_held = |seed: &Seed| seed.addr().is_some() && seed.may_hold_us(now.instant);
        if !lapses && self.seeds.iter().any(is_held) {
            self.leaving = Some(now.instant + SECOND_FAREWELL);
            self.want_farewell(now, |_, seed| is_held(seed));
        } else {
            self.leaving = Some(now.instant);
            self.seeds.iter_mut().for_each(|seed| seed.home = Home::Idle);
        }
    }

    /// The last word is out.
    pub(crate) fn has_left(&self) -> bool {
        let is_over = |seed: &Seed| !matches!(seed.farewell, Farewell::Due | Farewell::Said);
        self.leaving.is_some() && self.own.wanted.is_none() && self.seeds.iter().all(is_over)
    }

    pub(super) fn say_farewell_again(&mut self, now: Now) {
        if self.leaving.is_none_or(|at| at > now.instant) {
            return;
        }
        // Whether or not it was heard: what is not refreshed is forgotten.
        let is_farewell = |pending: &Pending| matches!(pending.purpose, Purpose::Unregister(_));
        let due: Vec<_> = self.queries.iter().filter(|(_, query)| is_farewell(query)).map(|(txid, _)| *txid).collect();
        for txid in due {
            if let Some(Pending { to, purpose: Purpose::Unregister(seed), .. }) = self.queries.remove(&txid) {
                self.query(now, to, Purpose::Unregister(seed));
                (self.seeds[seed].home, self.seeds[seed].farewell) = (Home::Idle, Farewell::None);
            }
        }
        self.leaving = Some(now.instant + NO_MORE);
    }

    /// Has a farewell signed, and said to these seeds. One that is under way elsewhere is said there in the new words.
    pub(super) fn want_farewell(&mut self, now: Now, is_meant: impl Fn(usize, &Seed) -> bool) {
        self.queries.retain(|_, pending| !matches!(pending.purpose, Purpose::Unregister(_)));
        for (index, seed) in self.seeds.iter_mut().enumerate() {
            if seed.farewell == Farewell::Said || is_meant(index, seed) {
                seed.say_farewell();
            }
        }
        self.own.farewell = None;
        let seq = self.own.next_seq(now.unix);
        self.own.wanted = Some(Record {
            id: self.config.id,
            seq,
            issued: now.unix.0 / 1_000,
            lifetime: 0,
            network: self.config.network,
            name: String::new(),
            visibility: Visibility::Findable,
            seeds: Vec::new(),
            addrs: Vec::new(),
        });
    }

    /// Says what farewells can be said.
    pub(super) fn drive_farewells(&mut self, now: Now) {
        if self.own.farewell.is_none() {
            return;
        }
        for index in 0..self.seeds.len() {
            let seed = &mut self.seeds[index];
            if seed.farewell != Farewell::Due {
                continue;
            }
            match seed.addr() {
                Some(addr) => {
                    seed.farewell = Farewell::Said;
                    if !self.query(now, addr, Purpose::Unregister(index)) {
                        self.on_unheard(now, index);
                    }
                }
                None if seed.is_lost() => self.on_unheard(now, index),
                None => {}
            }
        }
    }

    pub(super) fn unregister_query(&self) -> Option<Query<'_>> {
        let (record, signature) = self.own.farewell.as_ref()?;
        Some(Query::Unregister { record, signature: *signature })
    }

    pub(super) fn on_farewell_answer(&mut self, now: Now, index: usize, answer: &Answer<'_>) {
        let seed = &mut self.seeds[index];
        match answer {
            Answer::Unregistered => {
                (seed.home, seed.farewell) = (Home::Idle, Farewell::Heard);
                (seed.holds_until, seed.refusal) = (None, None);
            }
            Answer::Refused(refusal) => {
                seed.refusal = Some(why_refused(*refusal));
                self.on_unheard(now, index);
            }
            _ => self.on_unheard(now, index),
        }
    }

    /// It does not say that it has nothing of ours; what it has lapses.
    pub(super) fn on_unheard(&mut self, now: Now, index: usize) {
        (self.seeds[index].home, self.seeds[index].farewell) = (Home::Idle, Farewell::Unheard { until: now.instant + HELD_MAX });
    }
}

impl Seed {
    fn say_farewell(&mut self) {
        self.farewell = Farewell::Due;
        // What was to be tried again is not.
        if let Home::Waiting { .. } = self.home {
            self.home = Home::Idle;
        }
        self.on_wanted();
    }

    /// Our record is there, or may be since no refresh was answered.
    fn may_hold_us(&self, now: Instant) -> bool {
        self.home.is_held() || self.holds_until.is_some_and(|until| now < until)
    }

    /// Nothing is said by it of our farewell.
    pub(super) fn is_unheard(&self) -> bool {
        matches!(self.farewell, Farewell::Due | Farewell::Said | Farewell::Unheard { .. })
    }
}
