//! One record as it lies in memory: all in one allocation, since at a million of them every pointer and
//! every rounding counts. When it is over is decided here; where it lies is `people`'s affair.

use std::net::{IpAddr, SocketAddr};

use crate::{
    seed::directory::TTL,
    wire::{
        SIGNATURE_LEN,
        phonebook::{Entry, RawId},
    },
};

/// Tenths of a second since the directory began: 13 years in 4 bytes.
pub(super) type Tick = u32;
/// Ticks in a second.
pub(super) const TICKS_PER_SECOND: u32 = 10;

const ID_LEN: usize = 32;
/// Flags, where the id is, when its owner was heard, when it expires, seq. Behind them: record, signature,
/// address; or, of who said farewell, the id.
const ID_AT: usize = 1;
const HEARD_AT: usize = ID_AT + 2;
const EXPIRES_AT: usize = HEARD_AT + 4;
const SEQ_AT: usize = EXPIRES_AT + 4;
const HEAD_LEN: usize = SEQ_AT + 8;
/// Where it is in a record that our own program encoded. Far memory is slow, and two places of it take no longer
/// than one, as long as the first need not say where the second is.
const ID_USUALLY_AT: usize = HEAD_LEN + 5;
const FLAG_V6: u8 = 1;
const FLAG_GONE: u8 = 2;

/// A record with what is known of its owner, or the mark that a farewell leaves.
pub(super) struct Packed(Box<[u8]>);

impl Packed {
    /// A record, whose bytes name `id`, heard at `heard` from `seen`. Errors where they do not name it.
    pub(super) fn live(
        id: &RawId,
        seq: u64,
        (heard, expires): (Tick, Tick),
        seen: SocketAddr,
        signature: &[u8; SIGNATURE_LEN],
        record: &[u8],
    ) -> Option<Self> {
        let id_at = HEAD_LEN + record.windows(ID_LEN).position(|window| window == id)?;
        let mut bytes = Vec::with_capacity(HEAD_LEN + record.len() + SIGNATURE_LEN + addr_len(seen));
        put_head(&mut bytes, flags(seen), u16::try_from(id_at).ok()?, (heard, expires), seq);
        bytes.extend_from_slice(record);
        bytes.extend_from_slice(signature);
        put_addr(&mut bytes, seen);
        Some(Self(bytes.into_boxed_slice()))
    }

    /// The mark of a farewell.
    pub(super) fn gone(id: &RawId, seq: u64, expires: Tick) -> Self {
        let mut bytes = Vec::with_capacity(HEAD_LEN + ID_LEN);
        put_head(&mut bytes, FLAG_GONE, HEAD_LEN as u16, (0, expires), seq);
        bytes.extend_from_slice(id);
        Self(bytes.into_boxed_slice())
    }

    pub(super) fn id(&self) -> &RawId {
        self.0.get(self.id_at()..).and_then(<[u8]>::first_chunk).expect("both makers put the id there")
    }

    /// True where its id is this one.
    pub(super) fn is_of(&self, id: &RawId) -> bool {
        let usual = self.0.get(ID_USUALLY_AT..).and_then(<[u8]>::first_chunk);
        usual == Some(id) && self.id_at() == ID_USUALLY_AT || self.id() == id
    }

    fn id_at(&self) -> usize {
        u16::from_le_bytes(self.field(ID_AT)).into()
    }

    pub(super) fn seq(&self) -> u64 {
        u64::from_le_bytes(self.field(SEQ_AT))
    }

    /// True where it is the mark of a farewell.
    pub(super) fn is_gone(&self) -> bool {
        self.0[0] & FLAG_GONE != 0
    }

    /// When its record may not be believed any more.
    pub(super) fn expires(&self) -> Tick {
        Tick::from_le_bytes(self.field(EXPIRES_AT))
    }

    /// When it is over unless its owner is heard.
    pub(super) fn deadline(&self) -> Tick {
        if self.is_gone() {
            return self.expires();
        }
        self.heard().saturating_add(u32::from(TTL) * TICKS_PER_SECOND).min(self.expires())
    }

    /// Seconds until the deadline.
    pub(super) fn ttl(&self, now: Tick) -> u16 {
        u16::try_from(self.deadline().saturating_sub(now) / TICKS_PER_SECOND).map_or(TTL, |ttl| ttl.min(TTL))
    }

    /// What lookups are shown; `None` for the mark of a farewell.
    pub(super) fn entry(&self, now: Tick) -> Option<Entry<'_>> {
        if self.is_gone() {
            return None;
        }
        let (rest, seen) = split_addr(self.0[0] & FLAG_V6 != 0, self.0.get(HEAD_LEN..)?)?;
        let (record, signature) = rest.split_last_chunk()?;
        let age = u16::try_from(now.saturating_sub(self.heard()) / TICKS_PER_SECOND).unwrap_or(u16::MAX);
        Some(Entry { record, signature: *signature, seen, age })
    }

    /// Notes that its owner was heard.
    pub(super) fn hear(&mut self, now: Tick, seen: SocketAddr) {
        let Some(entry) = self.entry(now) else { return };
        if entry.seen.is_ipv6() != seen.is_ipv6() {
            let times = (now, self.expires());
            if let Some(moved) = Self::live(self.id(), self.seq(), times, seen, &entry.signature, entry.record) {
                *self = moved;
            }
            return;
        }
        let mut addr = Vec::with_capacity(addr_len(seen));
        put_addr(&mut addr, seen);
        let addr_at = self.0.len() - addr.len();
        self.0[addr_at..].copy_from_slice(&addr);
        self.0[HEARD_AT..EXPIRES_AT].copy_from_slice(&now.to_le_bytes());
    }

    fn heard(&self) -> Tick {
        Tick::from_le_bytes(self.field(HEARD_AT))
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(<[u8]>::first_chunk).copied().expect("both makers write the whole head")
    }
}

const fn flags(seen: SocketAddr) -> u8 {
    if seen.is_ipv6() { FLAG_V6 } else { 0 }
}

const fn addr_len(seen: SocketAddr) -> usize {
    if seen.is_ipv6() { 18 } else { 6 }
}

fn put_head(out: &mut Vec<u8>, flags: u8, id_at: u16, (heard, expires): (Tick, Tick), seq: u64) {
    out.push(flags);
    out.extend_from_slice(&id_at.to_le_bytes());
    out.extend_from_slice(&heard.to_le_bytes());
    out.extend_from_slice(&expires.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
}

fn put_addr(out: &mut Vec<u8>, seen: SocketAddr) {
    match seen.ip() {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
    out.extend_from_slice(&seen.port().to_le_bytes());
}

/// Takes an address from the end.
fn split_addr(is_v6: bool, bytes: &[u8]) -> Option<(&[u8], SocketAddr)> {
    let (rest, port) = bytes.split_last_chunk()?;
    let (rest, ip) = if is_v6 {
        let (rest, octets) = rest.split_last_chunk::<16>()?;
        (rest, IpAddr::from(*octets))
    } else {
        let (rest, octets) = rest.split_last_chunk::<4>()?;
        (rest, IpAddr::from(*octets))
    };
    Some((rest, SocketAddr::new(ip, u16::from_le_bytes(*port))))
}
