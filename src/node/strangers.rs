//! What strangers who may write can have us keep (cli, "Who may write", `lan`). A contact is somebody that I added or wrote to;
//! a stranger is anybody else, and each has a minute's worth of messages and a store of unread ones. Past that nothing is
//! lost: the sender is asked to wait. How that is said stands in `delivery/receive`, and who may write in `requests`.

use std::{collections::BTreeMap, time::Duration};

use super::{Node, event::NoticeCode, peer::Peer};
use crate::{
    clock::{Instant, Now},
    id::PeerId,
    wire::message::{Busy, BusyReason, Item},
};

/// Strangers whose messages are kept at most; any other can only ask to write, until I write to one.
pub(crate) const STRANGERS_MAX: usize = 64;
/// Messages of one stranger in a minute. All of them may come at once; from then on one comes back each second.
pub(crate) const MESSAGES_PER_MINUTE: u32 = 60;
/// Bytes of one stranger in a minute, in the same way: the largest message fits.
pub(crate) const BYTES_PER_MINUTE: u32 = 2 << 20;
/// Bytes of one stranger that are kept and that nobody was shown.
pub(crate) const UNREAD_LEN_MAX: u64 = 16 << 20;
const MINUTE: Duration = Duration::from_secs(60);
/// How long to wait where no clock makes room, but a person: it is told at once when that happens.
pub(crate) const WAIT_FOR_A_PERSON: Duration = Duration::from_secs(60);

/// Why a message of a stranger is not kept now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Its minute is used up: there is room after this.
    Minute(Duration),
    /// Too much of it is unread.
    Unread,
}

/// The strangers whose messages are kept, each with its minute.
#[derive(Debug, Default)]
pub(crate) struct Strangers(BTreeMap<PeerId, Minute>);

/// Two buckets that refill with time: of each, when it is full again.
#[derive(Debug, Default, Clone, Copy)]
struct Minute {
    messages: Instant,
    bytes: Instant,
}

impl Minute {
    const MESSAGE: Duration = Duration::from_millis(60_000 / MESSAGES_PER_MINUTE as u64);

    /// With one more message of `len` bytes; where that is too much, how long until it is not.
    fn with(self, now: Instant, len: usize) -> Result<Self, Duration> {
        let bytes = MINUTE.saturating_mul(u32::try_from(len).unwrap_or(u32::MAX)) / BYTES_PER_MINUTE;
        let taken = Self { messages: self.messages.max(now) + Self::MESSAGE, bytes: self.bytes.max(now) + bytes };
        let wait = taken.messages.max(taken.bytes).since(now + MINUTE);
        if wait.is_zero() { Ok(taken) } else { Err(wait) }
    }
}

impl Strangers {
    /// Those that have written in earlier runs. Whoever only asked to, or was refused, is none of them.
    pub(crate) fn load<'a>(peers: impl Iterator<Item = (&'a PeerId, &'a Box<Peer>)>) -> Self {
        let strangers = peers
            .filter(|(_, peer)| peer.stored && !peer.contact.added)
            .filter(|(_, peer)| peer.contact.request.is_none() && !peer.contact.refused);
        Self(strangers.map(|(id, _)| (*id, Minute::default())).collect())
    }

    /// True for one of them, and for one more while there is room.
    pub(crate) fn has_room_for(&self, id: &PeerId) -> bool {
        self.0.len() < STRANGERS_MAX || self.0.contains_key(id)
    }

    /// Counts a message of `len` bytes from a stranger of whom `unread` bytes lie here, or says why it is not kept.
    pub(crate) fn admit(&mut self, now: Instant, id: PeerId, len: usize, unread: u64) -> Result<(), Full> {
        if unread.saturating_add(len as u64) > UNREAD_LEN_MAX {
            return Err(Full::Unread);
        }
        let minute = self.0.get(&id).copied().unwrap_or_default();
        self.0.insert(id, minute.with(now, len).map_err(Full::Minute)?);
        Ok(())
    }

    /// Until when this stranger can have nothing more kept, however small; `None`: it can now, or is none of these.
    pub(crate) fn pause(&self, now: Instant, id: &PeerId) -> Option<Busy> {
        self.0.get(id)?.with(now, 0).err().map(|wait| Busy::new(wait, BusyReason::Other))
    }

    fn forget(&mut self, id: &PeerId) {
        self.0.remove(id);
    }
}

impl Node {
    /// Counts `len` bytes that a peer wants kept. Where it is a stranger for whom there is no room now: what it is told.
    /// Whoever was told to wait waits to the end, or what is small would never let through what is large.
    pub(crate) fn admit_content(&mut self, now: Now, id: PeerId, len: usize) -> Result<(), Busy> {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.contact.added) else { return Ok(()) };
        if let Some(told) = peer.told_busy.as_ref().filter(|told| now.instant < told.until) {
            return Err(Busy::new(told.until.since(now.instant), told.reason));
        }
        let Some(conversation) = &mut peer.conversation else { return Ok(()) };
        match self.strangers.admit(now.instant, id, len, conversation.row.unread) {
            Ok(()) => {
                conversation.row.unread += len as u64;
                Ok(())
            }
            Err(Full::Minute(wait)) => Err(Busy::new(wait, BusyReason::Other)),
            Err(Full::Unread) => {
                let text = "this stranger has 16 MiB unread here, the rest waits there until somebody reads";
                self.notice(NoticeCode::StrangerUnread, text, Some(id));
                Err(Busy::new(WAIT_FOR_A_PERSON, BusyReason::Other))
            }
        }
    }

    /// Somebody was shown what these peers wrote: nothing of it is unread.
    pub(crate) fn on_shown(&mut self, peers: &[PeerId]) {
        for id in peers {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            let Some(conversation) = peer.conversation.as_mut().filter(|one| one.row.unread > 0) else { continue };
            conversation.row.unread = 0;
            self.batches.push_counters(&conversation.row);
            if self.noticed.remove(&(NoticeCode::StrangerUnread, Some(*id))) {
                self.wait_no_longer(*id);
            }
        }
    }

    /// A stranger becomes a contact, which is bounded by nothing. False where it was one; else its row is to be written.
    pub(crate) fn befriend(&mut self, now: Now, id: PeerId) -> bool {
        let peer = self.peer_mut(id, now);
        peer.stored = true;
        let contact = &mut peer.contact;
        (contact.request, contact.refused) = (None, false);
        if std::mem::replace(&mut contact.added, true) {
            return false;
        }
        self.on_answered(&id);
        self.strangers.forget(&id);
        self.readmit(id);
        self.on_shown(&[id]);
        self.wait_no_longer(id);
        true
    }

    /// There is room for this peer: where it was told to wait, it need not.
    fn wait_no_longer(&mut self, id: PeerId) {
        let Some(told) = self.peers.get_mut(&id).and_then(|peer| peer.told_busy.take()) else { return };
        if told.until <= self.now.instant {
            return;
        }
        if let Some(session) = self.session_mut(id, told.session) {
            session.send_control(Item::Busy(Busy::new(Duration::ZERO, BusyReason::Other)).encode());
        }
        self.touch(id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> PeerId {
        let point = curve25519_dalek::constants::ED25519_BASEPOINT_POINT * curve25519_dalek::Scalar::from(number + 1);
        let mut bytes = point.compress().0;
        bytes[31] &= 0x7f;
        PeerId::from_bytes(bytes).expect("a multiple of the base point")
    }

    proptest! {
        /// Whatever comes whenever: in no minute more than two minutes' worth (a full bucket and what came back), and
        /// who waits as long as it was told gets through.
        #[test]
        fn a_stranger_keeps_to_its_minute(asks in proptest::collection::vec((0u64..3_000, 0usize..1_100_000), 1..200)) {
            let (mut strangers, mut now) = (Strangers::default(), Instant::default() + MINUTE);
            let mut kept: Vec<(Instant, usize)> = Vec::new();
            for (pause, len) in asks {
                now = now + Duration::from_millis(pause);
                if let Err(full) = strangers.admit(now, id(0), len, 0) {
                    let Full::Minute(wait) = full else { panic!("{full:?}") };
                    prop_assert!(strangers.admit(now + wait.saturating_sub(Duration::from_nanos(2)), id(0), len, 0).is_err());
                    now = now + wait;
                    prop_assert_eq!(strangers.admit(now, id(0), len, 0), Ok(()));
                }
                kept.push((now, len));
                let within = kept.iter().filter(|(at, _)| now.since(*at) < MINUTE);
                prop_assert!(within.clone().count() <= 2 * MESSAGES_PER_MINUTE as usize);
                prop_assert!(within.map(|(_, len)| len).sum::<usize>() <= 2 * BYTES_PER_MINUTE as usize);
            }
        }
    }

    #[test]
    fn a_whole_minute_comes_at_once_and_then_one_a_second() {
        let (mut strangers, now) = (Strangers::default(), Instant::default());
        for number in 0..MESSAGES_PER_MINUTE {
            assert_eq!(strangers.pause(now, &id(0)), None);
            assert_eq!(strangers.admit(now, id(0), 100, 0), Ok(()), "{number}");
        }
        let second = Duration::from_secs(1);
        assert_eq!(strangers.pause(now, &id(0)), Some(Busy::new(second, BusyReason::Other)));
        assert_eq!(strangers.admit(now, id(0), 100, 0), Err(Full::Minute(second)));
        assert_eq!(strangers.admit(now, id(1), 100, 0), Ok(()), "each has its own");
        assert_eq!(strangers.admit(now + second, id(0), 100, 0), Ok(()));
    }

    #[test]
    fn two_mebibytes_come_at_once_and_then_one_each_half_minute() {
        let (mut strangers, now) = (Strangers::default(), Instant::default());
        assert_eq!(strangers.admit(now, id(0), 1 << 20, 0), Ok(()));
        assert_eq!(strangers.admit(now, id(0), 1 << 20, 1 << 20), Ok(()));
        assert_eq!(strangers.admit(now, id(0), 1 << 20, 2 << 20), Err(Full::Minute(MINUTE / 2)));
    }

    #[test]
    fn what_is_unread_and_how_many_write_is_bounded() {
        let (mut strangers, now) = (Strangers::default(), Instant::default());
        assert_eq!(strangers.admit(now, id(0), 1, UNREAD_LEN_MAX), Err(Full::Unread));
        assert_eq!(strangers.admit(now, id(0), 1, UNREAD_LEN_MAX - 1), Ok(()));
        for number in 1..64 {
            assert_eq!(strangers.admit(now, id(number), 1, 0), Ok(()));
        }
        assert!(!strangers.has_room_for(&id(64)));
        assert_eq!(strangers.admit(now, id(63), 1, 0), Ok(()), "who is known goes on");
        strangers.forget(&id(7));
        assert!(strangers.has_room_for(&id(64)));
        assert_eq!(strangers.admit(now, id(64), 1, 0), Ok(()));
    }
}
