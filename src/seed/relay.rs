//! Relaying (protocol, SEEDS): which two addresses a channel joins, and how much may pass from each end to the
//! other. Who may bind an end, `answers` has checked; what passes is sealed, and nobody here looks at it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use super::{
    directory::TTL,
    shards::{SHARDS, Shards, keyed_hash},
};
use crate::{
    clock::Instant,
    id::ChannelId,
    wire::{
        phonebook::{RawId, RelayStatus},
        relay::{RELAY_BURST_LEN_MAX, RELAY_PERIOD_LEN_MAX, RELAY_PERIOD_SECONDS, RELAY_RATE},
    },
};

/// An end is forgotten so long after it was bound last.
const BOUND_FOR: Duration = Duration::from_secs(TTL as u64);
/// Ends in one shard at most, 65,536 in all; who comes later is told to come again.
const ENDS_PER_SHARD_MAX: usize = 256;
/// Ends of one id at most; likewise.
const ENDS_PER_ID_MAX: u8 = 64;
/// How far an end may be ahead of [`RELAY_RATE`].
const BURST: Duration = Duration::from_secs((RELAY_BURST_LEN_MAX / RELAY_RATE) as u64);
const PERIOD: Duration = Duration::from_secs(RELAY_PERIOD_SECONDS);
/// How far all ends together may be ahead of what the operator gives.
const BURST_OF_ALL: Duration = Duration::from_secs(1);

/// All channels of a seed, shared by its threads: the ends of one may send to different threads. Locks are
/// taken in this order only: channels, then owners.
pub(super) struct Relays {
    /// By channel.
    channels: Shards<Channels>,
    /// Ends that each id has; by id.
    owners: Shards<BTreeMap<RawId, u8>>,
    /// Bytes that all may send in a second.
    rate_max: u32,
    /// When what all have sent is paid off, nanoseconds since the clock's start.
    paid_off: AtomicU64,
    /// Channels whose two ends are there.
    open: AtomicUsize,
    bytes: AtomicU64,
    swept: AtomicUsize,
    hash_key: [u8; 16],
}

#[derive(Default)]
struct Channels {
    channels: BTreeMap<ChannelId, Channel>,
    ends: usize,
}

/// The way between two peers.
struct Channel {
    /// The lower id first.
    ids: [RawId; 2],
    /// Of each of them.
    ends: [Option<End>; 2],
    /// It is counted as one whose ends are there.
    is_open: bool,
}

/// One end, where it was bound.
struct End {
    at: SocketAddr,
    until: Instant,
    sent: Sent,
}

/// What an end has sent.
#[derive(Default)]
struct Sent {
    /// When it is paid off at [`RELAY_RATE`].
    paid_off: Instant,
    /// The period began then, with the first datagram after the one before.
    since: Instant,
    /// Bytes since then.
    len: usize,
}

/// Why no end is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Why a datagram goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unrelayed {
    /// It does not come from an end of that channel, or the other end is not there.
    Stray,
    /// That end, or all of them together, have sent enough.
    OverBudget,
}

impl Relays {
    /// No channels. `rate_max`: bytes a second, of all together; `hash_key` is random, and keeps the numbers of channels
    /// secret from all but their ends.
    pub(super) fn new(rate_max: u32, hash_key: [u8; 16]) -> Self {
        Self {
            channels: Shards::new(SHARDS),
            owners: Shards::new(SHARDS),
            rate_max: rate_max.max(1),
            paid_off: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            swept: AtomicUsize::new(0),
            hash_key,
        }
    }

    /// How much is relayed, and for how many pairs as of the last sweep.
    pub(super) fn status(&self) -> RelayStatus {
        RelayStatus {
            rate_max: self.rate_max,
            channels: u32::try_from(self.open.load(Relaxed)).unwrap_or(u32::MAX),
            bytes: self.bytes.load(Relaxed),
        }
    }

    /// The end of `id` in its channel with `peer` is at `at` from now on, and whether the peer's end is there too.
    pub(super) fn bind(&self, now: Instant, id: &RawId, peer: &RawId, at: SocketAddr) -> Result<(ChannelId, bool), Full> {
        let ids = if id < peer { [*id, *peer] } else { [*peer, *id] };
        let mine = usize::from(id > peer);
        let number = self.channel(&ids);
        self.channels.with(shard(number), |shard| {
            let known = shard.channels.get(&number);
            // Two pairs of one number: as likely as that somebody guesses it.
            if known.is_some_and(|channel| channel.ids != ids) {
                return Err(Full);
            }
            if known.is_none_or(|channel| channel.ends[mine].is_none()) {
                if shard.ends >= ENDS_PER_SHARD_MAX || !self.take_end(id) {
                    return Err(Full);
                }
                shard.ends += 1;
            }
            let channel = shard.channels.entry(number).or_insert(Channel { ids, ends: [None, None], is_open: false });
            let sent = channel.ends[mine].take().map(|end| end.sent).unwrap_or_default();
            channel.ends[mine] = Some(End { at, until: now + BOUND_FOR, sent });
            self.count_open(now, channel);
            Ok((number, channel.is_open))
        })
    }

    /// A datagram of `len` bytes came from `from`: where it goes.
    pub(super) fn forward(&self, now: Instant, number: ChannelId, from: SocketAddr, len: usize) -> Result<SocketAddr, Unrelayed> {
        let to = self.channels.with(shard(number), |shard| {
            let [one, other] = &mut shard.channels.get_mut(&number).ok_or(Unrelayed::Stray)?.ends;
            let (Some(one), Some(other)) = (one, other) else { return Err(Unrelayed::Stray) };
            let (end, to) = if one.at == from { (one, other) } else { (other, one) };
            if end.at != from || end.until <= now || to.until <= now {
                return Err(Unrelayed::Stray);
            }
            if end.sent.is_within(now, len) && self.pay(now, len) {
                end.sent.count(now, len);
                Ok(to.at)
            } else {
                Err(Unrelayed::OverBudget)
            }
        })?;
        self.bytes.fetch_add(len as u64, Relaxed);
        Ok(to)
    }

    /// Forgets some of the ends that were not bound again; all within 256 calls.
    pub(super) fn sweep(&self, now: Instant) {
        let at = self.swept.fetch_add(1, Relaxed);
        self.channels.with(at, |shard| {
            let mut gone = 0;
            for channel in shard.channels.values_mut() {
                self.count_open(now, channel);
                for (id, end) in channel.ids.iter().zip(&mut channel.ends) {
                    // Who goes and comes back goes on with what was left to him.
                    if end.take_if(|end| end.until <= now && !end.sent.is_in_period(now)).is_some() {
                        self.give_end_back(id);
                        gone += 1;
                    }
                }
            }
            shard.ends -= gone;
            shard.channels.retain(|_, channel| channel.ends.iter().any(Option::is_some));
        });
    }

    fn count_open(&self, now: Instant, channel: &mut Channel) {
        let is_open = channel.ends.iter().all(|end| end.as_ref().is_some_and(|end| now < end.until));
        match (channel.is_open, is_open) {
            (false, true) => drop(self.open.fetch_add(1, Relaxed)),
            (true, false) => drop(self.open.fetch_sub(1, Relaxed)),
            (false, false) | (true, true) => {}
        }
        channel.is_open = is_open;
    }

    /// The channel between two, the lower id first. Nobody who is not told it can know it.
    pub(super) fn channel(&self, ids: &[RawId; 2]) -> ChannelId {
        ChannelId(keyed_hash(&self.hash_key, &[b"relay", &ids[0], &ids[1]]))
    }

    fn take_end(&self, id: &RawId) -> bool {
        self.owners.with(self.owner_shard(id), |owners| {
            let ends = owners.entry(*id).or_default();
            let has_room = *ends < ENDS_PER_ID_MAX;
            *ends += u8::from(has_room);
            has_room
        })
    }

    fn give_end_back(&self, id: &RawId) {
        self.owners.with(self.owner_shard(id), |owners| {
            let left = owners.get_mut(id).map_or(0, |ends| {
                *ends = ends.saturating_sub(1);
                *ends
            });
            if left == 0 {
                owners.remove(id);
            }
        });
    }

    fn owner_shard(&self, id: &RawId) -> usize {
        keyed_hash(&self.hash_key, &[id]) as usize
    }

    /// Takes a datagram's bytes out of what all may send. False where that is used up, and then nothing was taken.
    fn pay(&self, now: Instant, len: usize) -> bool {
        let now = nanos(now.since_start());
        let step = nanos(time_for(len, u64::from(self.rate_max)));
        let paid_off = |before: u64| {
            let after = before.max(now).saturating_add(step);
            (after - now <= nanos(BURST_OF_ALL)).then_some(after)
        };
        self.paid_off.fetch_update(Relaxed, Relaxed, paid_off).is_ok()
    }
}

impl Sent {
    fn is_in_period(&self, now: Instant) -> bool {
        self.len > 0 && now.since(self.since) < PERIOD
    }

    /// True where so many bytes more are neither too fast nor too many.
    fn is_within(&self, now: Instant, len: usize) -> bool {
        let before = if self.is_in_period(now) { self.len } else { 0 };
        before + len <= RELAY_PERIOD_LEN_MAX && self.after(now, len).since(now) <= BURST
    }

    fn count(&mut self, now: Instant, len: usize) {
        if !self.is_in_period(now) {
            (self.since, self.len) = (now, 0);
        }
        self.len += len;
        self.paid_off = self.after(now, len);
    }

    fn after(&self, now: Instant, len: usize) -> Instant {
        self.paid_off.max(now) + time_for(len, RELAY_RATE as u64)
    }
}

const fn shard(channel: ChannelId) -> usize {
    // Random already.
    channel.0 as usize
}

/// How long so many bytes take at `rate` bytes a second.
const fn time_for(len: usize, rate: u64) -> Duration {
    Duration::from_nanos((len as u64 * 1_000_000_000).div_ceil(rate))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
