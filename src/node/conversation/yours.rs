//! The receiving direction of a conversation: the peer's lives, what is missing of them, and our books about them for the peer.

use std::time::Duration;

use super::{Conversation, MISSING_PAUSE, REPEATS_PER_SECOND_MAX};
use crate::{
    clock::Instant,
    id::{Incarnation, Seq},
    store::row::{INCARNATIONS_MAX, YoursRow},
    wire::message,
};

impl Conversation {
    /// When it is time to tell how much is missing.
    pub(crate) fn missing_deadline(&self) -> Option<Instant> {
        (self.missing > 0).then(|| self.missing_told + MISSING_PAUSE)
    }

    /// How many messages are missing, where it is time to tell.
    pub(crate) fn take_missing(&mut self, now: Instant) -> Option<u64> {
        self.missing_deadline().filter(|at| *at <= now)?;
        self.missing_told = now;
        Some(std::mem::take(&mut self.missing))
    }

    /// True where one more repeated place may be looked up in this second.
    pub(crate) fn may_repeat(&mut self, now: Instant) -> bool {
        if now.since(self.repeats.0) >= Duration::from_secs(1) {
            self.repeats = (now, 0);
        }
        self.repeats.1 = self.repeats.1.saturating_add(1);
        self.repeats.1 <= REPEATS_PER_SECOND_MAX
    }

    /// The life that seqs of the peer belong to; made where it is new, everything below `base` given up.
    pub(crate) fn yours_mut(&mut self, incarnation: Incarnation, base: Seq) -> &mut YoursRow {
        let found = self.row.yours.iter().position(|yours| yours.incarnation == incarnation);
        let index = found.unwrap_or_else(|| {
            if self.row.yours.len() >= INCARNATIONS_MAX {
                self.row.yours.remove(0);
            }
            self.row.yours.push(YoursRow { incarnation, high_water: Seq(base.0.saturating_sub(1)), held: Vec::new() });
            self.row.yours.len() - 1
        });
        &mut self.row.yours[index]
    }

    pub(crate) fn yours(&self, incarnation: Incarnation) -> Option<&YoursRow> {
        self.row.yours.iter().find(|yours| yours.incarnation == incarnation)
    }

    /// The last place of each of the peer's lives that is unfinished here; of `previous` no sooner than it says.
    pub(crate) fn ends(&self, previous: Option<(Incarnation, Seq)>) -> Vec<(Incarnation, Seq)> {
        let end = |yours: &YoursRow| {
            let held = yours.held.last().map(|held| held.1);
            let said = previous.filter(|previous| previous.0 == yours.incarnation).map(|previous| previous.1);
            Some((yours.incarnation, held.max(said)?))
        };
        self.row.yours.iter().filter_map(end).collect()
    }

    /// Our books about the peer's direction, for the peer: its current life where it is known.
    pub(crate) fn yours_for_peer(&self) -> Option<message::Yours> {
        let yours = match self.theirs {
            Some(incarnation) => self.yours(incarnation),
            None => self.row.yours.last(),
        }?;
        let held = yours.held.iter().copied().take(crate::wire::SEQ_RANGES_MAX).collect();
        Some(message::Yours { incarnation: yours.incarnation, high_water: yours.high_water, held })
    }
}
