//! By which of our addresses each asker knows us. What leaves for it must come from there: on a machine with
//! several addresses the system would choose, and a NAT on the way lets nobody in who was not asked.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
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
    /// The first of each IP version: who is in no slot asked there.
    firsts: [OnceLock<IpAddr>; 2],
    /// There is a second of one version. Until then, which on most machines is for ever, nothing is noted.
    several: AtomicBool,
    hasher: RandomState,
}

impl Faces {
    /// For about so many askers.
    pub(super) fn new(askers: usize) -> Self {
        let slots = askers.clamp(SLOTS_MIN, SLOTS_MAX).next_power_of_two();
        Self {
            slots: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            addrs: (0..ADDRS_MAX).map(|_| OnceLock::new()).collect(),
            firsts: [const { OnceLock::new() }; 2],
            several: AtomicBool::new(false),
            hasher: RandomState::new(),
        }
    }

    /// `from` asked at `ours`.
    pub(super) fn note(&self, from: SocketAddr, ours: IpAddr) {
        if !is_ours(ours) || self.is_only(ours) {
            return;
        }
        let (Some(number), Some((slot, tag))) = (self.number(ours), self.place(from)) else { return };
        let noted = tag | number;
        // Every thread reads the slots: one that says so already is left alone.
        if slot.load(Relaxed) != noted {
            slot.store(noted, Relaxed);
        }
    }

    /// Where `to` asked last, as far as that is known.
    pub(super) fn of(&self, to: SocketAddr) -> Option<IpAddr> {
        let noted = if self.several.load(Relaxed) { self.noted(to) } else { None };
        noted.or_else(|| self.first(to.ip()).get().copied())
    }

    /// True where nobody of this IP version has asked anywhere else yet.
    fn is_only(&self, ours: IpAddr) -> bool {
        let is_first = *self.first(ours).get_or_init(|| ours) == ours;
        if !is_first {
            self.several.store(true, Relaxed);
        }
        is_first && !self.several.load(Relaxed)
    }

    fn first(&self, version: IpAddr) -> &OnceLock<IpAddr> {
        let [v4, v6] = &self.firsts;
        if version.is_ipv4() { v4 } else { v6 }
    }

    fn noted(&self, to: SocketAddr) -> Option<IpAddr> {
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
        let at = self.addrs.iter().position(|addr| *addr.get_or_init(|| ours) == ours)?;
        u32::try_from(at + 1).ok()
    }
}

/// False of what many are reached at.
fn is_ours(addr: IpAddr) -> bool {
    !addr.is_multicast() && !addr.is_unspecified() && addr != IpAddr::from([255; 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asker_is_answered_from_where_it_asked_last() {
        let faces = Faces::new(1);
        let [one, other, v6]: [IpAddr; 3] = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|text| text.parse().unwrap());
        let asker = |port| SocketAddr::from(([203, 0, 113, 5], port));
        assert_eq!(faces.of(asker(1)), None, "the system chooses");
        faces.note(asker(500), one);
        faces.note("[2001:db8::7]:5".parse().unwrap(), v6);
        assert!(!faces.several.load(Relaxed), "one of each IP version");
        for port in 1..=100 {
            assert_eq!(faces.of(asker(port)), Some(one), "the only one");
            faces.note(asker(port), one);
        }
        for port in 2..=100 {
            faces.note(asker(port), if port % 2 == 0 { one } else { other });
        }
        let known = (2..=100).filter(|port| faces.of(asker(*port)) == Some(if port % 2 == 0 { one } else { other })).count();
        assert!(known >= 90, "{known} of 99: some share a place");
        assert_eq!(faces.of(asker(1)), Some(one), "who asked while there was one asked there");
        faces.note(asker(1), one);
        assert_eq!(faces.of(asker(1)), Some(one));
        let zoned = "[fe80::1%3]:5".parse().unwrap();
        faces.note(zoned, "2001:db8::2".parse().unwrap());
        assert_eq!(faces.of("[fe80::1]:5".parse().unwrap()), Some("2001:db8::2".parse().unwrap()));
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
        for number in 0..300_u32 {
            let ours = |number: u32| IpAddr::from((0x0a00_0000 + number).to_be_bytes());
            faces.note(asker, ours(number));
            // The first needs no number. Those beyond have none: the asker stays where it was.
            assert_eq!(faces.of(asker), Some(ours(number.min(255))));
        }
    }
}
