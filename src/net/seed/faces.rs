//! By which of our addresses each asker knows us. What leaves for it must come from there: on a machine with
//! several addresses the system would choose, and a NAT on the way lets nobody in who was not asked.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// Addresses of ours at most; for those beyond, the system chooses.
const ADDRS_MAX: usize = 255;
/// Askers that are remembered, at least and at most; where two share a place the later one has it, and for the
/// other the system chooses.
const SLOTS_MIN: usize = 1 << 12;
/// See [`SLOTS_MIN`].
const SLOTS_MAX: usize = 1 << 20;

/// Shared by all threads of a seed: what one of them is asked may make another one tell somebody.
pub(super) struct Faces {
    /// 24 bits that tell askers apart, and which address, counted from 1.
    slots: Box<[AtomicU32]>,
    addrs: Box<[OnceLock<IpAddr>]>,
    hasher: RandomState,
}

impl Faces {
    /// For about so many askers.
    pub(super) fn new(askers: usize) -> Self {
        let slots = askers.clamp(SLOTS_MIN, SLOTS_MAX).next_power_of_two();
        Self {
            slots: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            addrs: (0..ADDRS_MAX).map(|_| OnceLock::new()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// `from` asked at `ours`.
    pub(super) fn note(&self, from: SocketAddr, ours: IpAddr) {
        let (Some(number), Some((slot, tag))) = (self.number(ours), self.place(from)) else { return };
        let noted = tag | number;
        // Every thread reads the slots: one that says so already is left alone.
        if slot.load(Relaxed) != noted {
            slot.store(noted, Relaxed);
        }
    }

    /// Where `to` asked last, as far as that is known.
    pub(super) fn of(&self, to: SocketAddr) -> Option<IpAddr> {
        let (slot, tag) = self.place(to)?;
        let noted = slot.load(Relaxed);
        let number = usize::try_from(noted & 0xff).ok().filter(|_| noted & !0xff == tag)?;
        self.addrs.get(number.checked_sub(1)?)?.get().copied()
    }

    fn place(&self, asker: SocketAddr) -> Option<(&AtomicU32, u32)> {
        // A zone is of this machine, and not what an address is told by.
        let hash = self.hasher.hash_one((asker.ip(), asker.port()));
        let [low, high] = [hash, hash >> 32].map(|half| u32::try_from(half & 0xffff_ffff).unwrap_or(0));
        let slot = self.slots.get(usize::try_from(low).ok()? & (self.slots.len() - 1))?;
        Some((slot, high & !0xff))
    }

    /// An address gets the next number when it is met first.
    fn number(&self, ours: IpAddr) -> Option<u32> {
        if ours.is_multicast() || ours.is_unspecified() || ours == IpAddr::from([255; 4]) {
            return None;
        }
        let at = self.addrs.iter().position(|addr| *addr.get_or_init(|| ours) == ours)?;
        u32::try_from(at + 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asker_is_answered_from_where_it_asked_last() {
        let faces = Faces::new(1);
        let [one, other]: [IpAddr; 2] = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
        let asker = |port| SocketAddr::from(([203, 0, 113, 5], port));
        for port in 1..=100 {
            assert_eq!(faces.of(asker(port)), None);
            faces.note(asker(port), if port % 2 == 0 { one } else { other });
        }
        let known = (1..=100).filter(|port| faces.of(asker(*port)) == Some(if port % 2 == 0 { one } else { other })).count();
        assert!(known >= 90, "{known} of 100: some share a place");
        faces.note(asker(1), one);
        assert_eq!(faces.of(asker(1)), Some(one));
        let zoned = "[fe80::1%3]:5".parse().unwrap();
        faces.note(zoned, other);
        assert_eq!(faces.of("[fe80::1]:5".parse().unwrap()), Some(other));
    }

    #[test]
    fn what_is_no_address_of_ours_is_not_taken_and_there_is_an_end() {
        let faces = Faces::new(usize::MAX);
        assert_eq!(faces.slots.len(), SLOTS_MAX);
        let asker = SocketAddr::from(([203, 0, 113, 5], 5));
        for no in ["224.0.0.178", "ff02::1", "255.255.255.255", "0.0.0.0", "::"] {
            faces.note(asker, no.parse().unwrap());
            assert_eq!(faces.of(asker), None, "{no}");
        }
        for last in 0..=255 {
            faces.note(asker, IpAddr::from([10, 0, 0, last]));
            assert_eq!(faces.of(asker), Some(IpAddr::from([10, 0, 0, last.min(254)])), "the one beyond is not noted");
        }
    }
}
