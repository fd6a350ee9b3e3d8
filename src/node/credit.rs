//! How many message bytes all peers together may make us hold: each session begins with 4 KiB, and what it may have
//! beyond that comes out of one sum (protocol, FRAMES). How one session counts its bytes stands in
//! `session/assembler`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Node, peer::Peer};
use crate::{
    id::{PeerId, SessionIndex},
    session::CREDIT_FULL,
};

/// What is granted in all, in bytes, beside the 4 KiB of every session.
pub(crate) const CREDIT_SUM_MAX: u64 = 64 << 20;
/// Of it, what strangers leave to contacts.
const CREDIT_FOR_CONTACTS: u64 = 16 << 20;
/// Of it, what those who have some leave to those who have none.
const CREDIT_FOR_OTHERS: u64 = 32 << 20;
/// Sessions that wait for some at most; any other asks again with its next packet.
const WAITING_MAX: usize = 1_024;

/// Who holds how much of the sum, and who waits for some of it.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    granted: BTreeMap<SessionIndex, (PeerId, u64)>,
    waiting: BTreeSet<(SessionIndex, PeerId)>,
}

impl Credit {
    fn sum(&self) -> u64 {
        self.granted.values().map(|(_, credit)| credit).sum()
    }

    /// True where a session waits for what this one holds.
    pub(crate) fn is_wanted_from(&self, index: SessionIndex) -> bool {
        !self.waiting.is_empty() && self.granted.contains_key(&index)
    }

    /// Lets a session have `credit` in all, if the sum allows it.
    fn take(&mut self, index: SessionIndex, peer: PeerId, credit: u64, is_contact: bool) -> bool {
        let held = self.granted.get(&index).map_or(0, |(_, held)| *held);
        let for_contacts = if is_contact { 0 } else { CREDIT_FOR_CONTACTS };
        let for_others = if held == 0 { 0 } else { CREDIT_FOR_OTHERS };
        let fits = self.sum() - held + credit + for_contacts.max(for_others) <= CREDIT_SUM_MAX;
        if fits {
            self.granted.insert(index, (peer, credit));
            self.waiting.remove(&(index, peer));
        }
        fits
    }

    /// Takes back what was granted to sessions that are over. True where there was any.
    fn drop_ended(&mut self, is_over: impl Fn(&PeerId, SessionIndex) -> bool) -> bool {
        let before = self.granted.len();
        self.granted.retain(|index, (peer, _)| !is_over(peer, *index));
        let freed = self.granted.len() < before;
        if freed || self.waiting.len() >= WAITING_MAX {
            self.waiting.retain(|(index, peer)| !is_over(peer, *index));
        }
        freed
    }
}

impl Node {
    /// Gives the sessions of a peer the credit that they would make use of, as far as the sum goes. Where it does not go
    /// far enough for one that has only its first, that one waits, and whoever holds some and is idle makes room.
    pub(crate) fn grant_credit(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_contact = peer.contact.added;
        let mut waits = Vec::new();
        for session in peer.sessions_mut() {
            let Some(credit) = session.credit_wanted().filter(|_| !session.is_closed()) else {
                self.credit.waiting.remove(&(session.local_index(), id));
                continue;
            };
            if self.credit.take(session.local_index(), id, credit, is_contact) {
                session.grant(credit);
            } else if credit == CREDIT_FULL {
                waits.push((session.local_index(), id));
            }
        }
        if waits.is_empty() {
            return;
        }
        let is_first = self.credit.waiting.is_empty();
        self.drop_ended_credit();
        let room = WAITING_MAX.saturating_sub(self.credit.waiting.len());
        self.credit.waiting.extend(waits.into_iter().take(room));
        if is_first {
            self.touched.extend(self.credit.granted.values().map(|(peer, _)| *peer));
        }
    }

    /// Whoever waits gets what has become free: contacts first.
    pub(crate) fn grant_waiting(&mut self) {
        if self.credit.waiting.is_empty() || !self.drop_ended_credit() {
            return;
        }
        let waiting: Vec<_> = self.credit.waiting.iter().map(|(_, peer)| *peer).collect();
        let is_contact = |id: &PeerId| self.peers.get(id).is_some_and(|peer| peer.contact.added);
        let (contacts, strangers): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_contact);
        for id in contacts.into_iter().chain(strangers) {
            self.grant_credit(id);
            self.ready.insert(id);
        }
    }

    fn drop_ended_credit(&mut self) -> bool {
        let Self { credit, peers, .. } = self;
        credit.drop_ended(|id, index| !peers.get(id).is_some_and(|peer| has_live(peer, index)))
    }
}

/// True for a session that can still receive.
fn has_live(peer: &Peer, index: SessionIndex) -> bool {
    peer.sessions().any(|session| session.local_index() == index && !session.is_closed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::CREDIT_MAX;

    fn id() -> PeerId {
        PeerId::from_bytes(curve25519_dalek::constants::ED25519_BASEPOINT_COMPRESSED.0).expect("the base point is an id")
    }

    proptest! {
        #[test]
        fn the_sum_is_never_exceeded_and_strangers_leave_room(
            asks in proptest::collection::vec((0u32..80, any::<bool>(), any::<bool>()), 1..400),
        ) {
            let mut credit = Credit::default();
            for (index, is_contact, ends) in asks {
                let index = SessionIndex(index);
                let held = credit.granted.get(&index).map_or(0, |held| held.1);
                let before = credit.sum();
                if ends {
                    credit.drop_ended(|_, other| other == index);
                    prop_assert_eq!(credit.sum(), before - held);
                    continue;
                }
                let wanted = (2 * held).clamp(CREDIT_FULL, CREDIT_MAX);
                let taken = credit.take(index, id(), wanted, is_contact);
                prop_assert_eq!(credit.sum(), if taken { before - held + wanted } else { before });
                prop_assert!(credit.sum() <= CREDIT_SUM_MAX);
                prop_assert!(!taken || is_contact || credit.sum() <= CREDIT_SUM_MAX - CREDIT_FOR_CONTACTS);
                // Who has none gets some for as long as there is any.
                prop_assert!(taken || held > 0 || before + wanted > CREDIT_SUM_MAX - CREDIT_FOR_CONTACTS);
            }
        }
    }
}
