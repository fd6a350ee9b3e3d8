//! How long datagrams may be on the path in use: the search for more, and the way back where large ones vanish (RFC 8899;
//! protocol, PACKETS, size). What a probe looks like is `transmit`'s affair, which packets were lost `recovery`'s.
//!
//! Nothing is probed for its own sake: the search begins once there is more to send than one packet takes, and each probe
//! rides along with that. There is no timer.

use std::time::Duration;

use super::PathAddr;
use crate::{
    clock::Instant,
    wire::{DATAGRAM_LEN_JUMBO, DATAGRAM_LEN_MAX},
};

/// What Ethernet carries in IPv6: 1,500 less 40 and 8.
const DATAGRAM_LEN_ETHERNET: usize = 1_452;
/// Probes of one length that are lost before it counts as too long (RFC 8899 §5.1.2, MAX_PROBES).
const PROBES_MAX: u32 = 3;
/// A gain below this is not looked for.
const STEP_MIN: usize = 16;
/// Large packets that vanish in a row, while none as large that was sent later arrives, until the path counts as one that carries them no more.
const BLACK_HOLE_LOST: u32 = 4;
/// How long a result is believed (RFC 8899 §5.1.1, PMTU_RAISE_TIMER).
const RAISE_INTERVAL: Duration = Duration::from_secs(600);

/// Where the search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// To begin once there is much to send, and not before.
    Idle { not_before: Instant },
    /// Datagrams of `len` are asked about; `in_flight`: one is out.
    Asking { len: usize, lost: u32, in_flight: bool },
}

/// The MTU of one path, in bytes of a datagram without IP and UDP headers.
#[derive(Debug)]
pub(super) struct PathMtu {
    /// Counts the paths: a probe that is late says nothing about another one.
    path: u32,
    len: usize,
    /// Never more than this; [`DATAGRAM_LEN_MAX`] and below: nothing is probed.
    len_max: usize,
    /// What was found not to arrive, if anything.
    too_long: usize,
    search: Search,
}

impl PathMtu {
    /// A path that has proved nothing. A relay forwards no more than its datagrams.
    pub(super) fn new(path: PathAddr, now: Instant) -> Self {
        let len_max = match path {
            PathAddr { relay: Some(_), .. } => path.datagram_len_max(),
            PathAddr { on_link: true, .. } => DATAGRAM_LEN_JUMBO,
            _ => DATAGRAM_LEN_ETHERNET,
        };
        Self {
            path: 0,
            len: path.datagram_len_max(),
            len_max,
            too_long: len_max.saturating_add(1),
            search: Search::Idle { not_before: now },
        }
    }

    /// Another path, which has proved nothing either.
    pub(super) fn on_path_change(&mut self, path: PathAddr, now: Instant) {
        let next = self.path.wrapping_add(1);
        *self = Self { path: next, ..Self::new(path, now) };
    }

    /// A datagram may have so many bytes.
    pub(super) const fn get(&self) -> usize {
        self.len
    }

    /// There is more to send than one packet takes.
    pub(super) fn on_much_to_send(&mut self, now: Instant) {
        let Search::Idle { not_before } = self.search else { return };
        if now >= not_before && self.len < self.len_max {
            self.too_long = self.len_max.saturating_add(1);
            self.ask(now, self.len_max);
        }
    }

    fn ask(&mut self, now: Instant, len: usize) {
        self.search = if len >= self.len.saturating_add(STEP_MIN) {
            Search::Asking { len, lost: 0, in_flight: false }
        } else {
            Search::Idle { not_before: now + RAISE_INTERVAL }
        };
    }

    /// The length of a probe that should leave now, and what path it asks about.
    pub(super) fn take_probe(&mut self) -> Option<(usize, u32)> {
        match &mut self.search {
            Search::Asking { len, in_flight, .. } if !*in_flight => {
                *in_flight = true;
                Some((*len, self.path))
            }
            _ => None,
        }
    }

    /// A probe of `probed` bytes has arrived: the path carries them.
    pub(super) fn on_probe_acked(&mut self, now: Instant, probed: usize, path: u32) {
        if path != self.path || probed <= self.len || probed > self.len_max {
            return;
        }
        self.len = probed;
        self.too_long = self.too_long.max(probed.saturating_add(1));
        self.next(now);
    }

    /// A probe of `probed` bytes was lost.
    pub(super) fn on_probe_lost(&mut self, now: Instant, probed: usize, path: u32) {
        let Search::Asking { len, lost, in_flight } = &mut self.search else { return };
        if *len != probed || path != self.path {
            return;
        }
        *in_flight = false;
        *lost = lost.saturating_add(1);
        if *lost >= PROBES_MAX {
            self.too_long = self.too_long.min(probed);
            self.next(now);
        }
    }

    /// All the way first, then what Ethernet carries, then half of what is in doubt.
    fn next(&mut self, now: Instant) {
        let half = self.len.saturating_add(self.too_long) / 2;
        let is_jumbo = self.len >= DATAGRAM_LEN_ETHERNET;
        let len = match self.too_long {
            // Between Ethernet and jumbo there is little worth its probes.
            too_long if is_jumbo && too_long <= self.len_max => self.len,
            too_long if too_long > DATAGRAM_LEN_ETHERNET && !is_jumbo => DATAGRAM_LEN_ETHERNET,
            _ => half,
        };
        self.ask(now, len);
    }

    /// So many large packets have vanished in a row. True where the path now counts as one that carries none: the first
    /// probe asks for what it carried before, so a mistake lasts one round trip.
    pub(super) fn on_large_lost(&mut self, now: Instant, lost: u32) -> bool {
        if lost < BLACK_HOLE_LOST || self.len <= DATAGRAM_LEN_MAX {
            return false;
        }
        let was = std::mem::replace(&mut self.len, DATAGRAM_LEN_MAX);
        self.too_long = self.len_max.saturating_add(1);
        self.ask(now, was);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::id::ChannelId;

    fn path(on_link: bool) -> PathAddr {
        PathAddr::direct(SocketAddr::from(([192, 0, 2, 1], 1)), on_link)
    }

    /// Searches on a path that carries `carried`; what was found, and how many probes it took.
    fn found(mtu: &mut PathMtu, carried: usize) -> (usize, usize) {
        let (mut probes, now) = (0, Instant::default());
        while let Some((len, path)) = mtu.take_probe() {
            probes += 1;
            assert_eq!(mtu.take_probe(), None, "one at a time");
            if len <= carried { mtu.on_probe_acked(now, len, path) } else { mtu.on_probe_lost(now, len, path) }
        }
        (mtu.get(), probes)
    }

    #[test]
    fn the_search_finds_what_the_path_carries() {
        for (on_link, carried, finds, most_probes) in [
            (true, 65_000, 8_952, 1),
            (true, 8_951, 1_452, 4),
            (true, 1_472, 1_452, 4),
            (false, 65_000, 1_452, 1),
            (false, 1_232, 1_232 - 2 * STEP_MIN, 20),
            (false, 1_412, 1_412 - 2 * STEP_MIN, 20),
            (false, 1_200, 1_200, 20),
        ] {
            let mut mtu = PathMtu::new(path(on_link), Instant::default());
            assert_eq!(mtu.take_probe(), None, "nothing for its own sake");
            mtu.on_much_to_send(Instant::default());
            let (len, probes) = found(&mut mtu, carried);
            assert!((finds..=carried.max(1_200)).contains(&len) && probes <= most_probes, "{carried}: {len} by {probes}");
            mtu.on_much_to_send(Instant::default() + RAISE_INTERVAL / 2);
            assert_eq!(mtu.take_probe(), None, "{carried}: it is believed");
            mtu.on_much_to_send(Instant::default() + RAISE_INTERVAL);
            assert_eq!(mtu.take_probe().is_some(), len < mtu.len_max, "{carried}: for a while");
        }
    }

    #[test]
    fn a_late_probe_says_nothing_about_another_path() {
        let now = Instant::default();
        let mut mtu = PathMtu::new(path(true), now);
        mtu.on_much_to_send(now);
        let (len, old) = mtu.take_probe().unwrap();
        mtu.on_path_change(path(true), now);
        mtu.on_much_to_send(now);
        mtu.on_probe_acked(now, len, old);
        assert_eq!(mtu.get(), 1_200);
        let (_, new) = mtu.take_probe().unwrap();
        mtu.on_probe_lost(now, len, old);
        assert_eq!(mtu.take_probe(), None, "its own is still on its way");
        mtu.on_probe_acked(now, len, new);
        assert_eq!(mtu.get(), len);
    }

    #[test]
    fn a_relay_is_never_probed() {
        let seed = PathAddr::relayed(SocketAddr::from(([192, 0, 2, 1], 1)), ChannelId(1));
        let mut mtu = PathMtu::new(seed, Instant::default());
        mtu.on_much_to_send(Instant::default());
        assert_eq!((mtu.take_probe(), mtu.get()), (None, seed.datagram_len_max()));
    }

    #[test]
    fn a_black_hole_is_left_at_once_and_a_mistake_lasts_one_probe() {
        let now = Instant::default();
        for (carries, finds) in [(8_952, 8_952), (1_452, 1_452), (1_200, 1_200)] {
            let mut mtu = PathMtu::new(path(true), now);
            mtu.on_much_to_send(now);
            assert_eq!(found(&mut mtu, 8_952), (8_952, 1));
            assert!(!mtu.on_large_lost(now, BLACK_HOLE_LOST - 1) && mtu.on_large_lost(now, BLACK_HOLE_LOST));
            assert_eq!(mtu.get(), 1_200);
            let (len, probes) = found(&mut mtu, carries);
            assert!(len == finds && (carries < 8_952 || probes == 1), "{len} by {probes}");
            assert!(carries > 1_200 || !mtu.on_large_lost(now, 100), "1,200 is never too long");
        }
    }
}
