//! How a record, and a knock, lie in the depot. Whoever reads one there knows that anybody may have written
//! it: whether it is believed is decided in `answers`.
//!
//! A value: version 1, seq (8, big-endian), address (16, IPv4 mapped; port 2, big-endian), when its owner was
//! heard (unix seconds, 8, big-endian), tag of the seed (8), signature (64), record. The first three are in
//! places of their own, so that the depot can compare them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Tag;
use crate::wire::{
    SIGNATURE_LEN,
    phonebook::{RawId, SEALED_LEN_MAX},
    record::RECORD_LEN_MAX,
};

const VERSION: u8 = 1;
const ADDR_LEN: usize = 18;
const HEAD_LEN: usize = 1 + 8 + ADDR_LEN + 8 + 8;
/// Bytes of a value at most; what is longer was not written by a seed.
pub const VALUE_LEN_MAX: usize = HEAD_LEN + SIGNATURE_LEN + RECORD_LEN_MAX;

/// A record in the depot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::seed) struct Value<'a> {
    /// As the record has it.
    pub(in crate::seed) seq: u64,
    /// Where the other seed saw its owner.
    pub(in crate::seed) seen: SocketAddr,
    /// When, by that seed's clock, unix seconds.
    pub(in crate::seed) heard: u64,
    /// That seed.
    pub(in crate::seed) by: Tag,
    /// Over the record.
    pub(in crate::seed) signature: [u8; SIGNATURE_LEN],
    /// As its owner signed it.
    pub(in crate::seed) record: &'a [u8],
}

impl<'a> Value<'a> {
    pub(in crate::seed) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_LEN + SIGNATURE_LEN + self.record.len());
        out.push(VERSION);
        out.extend_from_slice(&self.seq.to_be_bytes());
        put_addr(self.seen, &mut out);
        out.extend_from_slice(&self.heard.to_be_bytes());
        out.extend_from_slice(&self.by);
        out.extend_from_slice(&self.signature);
        out.extend_from_slice(self.record);
        out
    }

    /// `None` for what is none of this version.
    pub(in crate::seed) fn decode(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > VALUE_LEN_MAX {
            return None;
        }
        let rest = bytes.strip_prefix(&[VERSION])?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (seen, rest) = take_addr(rest)?;
        let (heard, rest) = rest.split_first_chunk()?;
        let (by, rest) = rest.split_first_chunk()?;
        let (signature, record) = rest.split_first_chunk()?;
        let (seq, heard) = (u64::from_be_bytes(*seq), u64::from_be_bytes(*heard));
        Some(Self { seq, seen, heard, by: *by, signature: *signature, record })
    }
}

/// A knock on its way to the seed at which whom it is for is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::seed) struct KnockValue<'a> {
    /// Where who knocks is, as the first seed saw it.
    pub(in crate::seed) from: SocketAddr,
    /// For whom.
    pub(in crate::seed) to: RawId,
    /// For its eyes only.
    pub(in crate::seed) sealed: &'a [u8],
}

impl<'a> KnockValue<'a> {
    pub(in crate::seed) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_addr(self.from, &mut out);
        out.extend_from_slice(&self.to);
        out.extend_from_slice(self.sealed);
        out
    }

    pub(in crate::seed) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (from, rest) = take_addr(bytes.strip_prefix(&[VERSION])?)?;
        let (to, sealed) = rest.split_first_chunk()?;
        (sealed.len() <= SEALED_LEN_MAX).then_some(Self { from, to: *to, sealed })
    }
}

fn put_addr(addr: SocketAddr, out: &mut Vec<u8>) {
    let ip = match addr.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    out.extend_from_slice(&ip.octets());
    out.extend_from_slice(&addr.port().to_be_bytes());
}

fn take_addr(bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (octets, rest) = bytes.split_first_chunk::<16>()?;
    let (port, rest) = rest.split_first_chunk()?;
    Some((SocketAddr::new(Ipv6Addr::from(*octets).to_canonical(), u16::from_be_bytes(*port)), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_the_depot_compares_stands_in_its_place() {
        for seen in ["203.0.113.7:17118", "[2001:db8::7]:17118"] {
            let seen = seen.parse().unwrap();
            let value = Value { seq: 7, seen, heard: 9, by: [3; 8], signature: [5; 64], record: b"record" };
            let bytes = value.encode();
            assert_eq!(Value::decode(&bytes), Some(value));
            assert_eq!(bytes[1..9], 7_u64.to_be_bytes());
            assert_eq!(bytes[25..27], 17_118_u16.to_be_bytes());
            let knock = KnockValue { from: seen, to: [4; 32], sealed: b"sealed" };
            assert_eq!(KnockValue::decode(&knock.encode()), Some(knock));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_none(bytes in prop::collection::vec(any::<u8>(), 0..=VALUE_LEN_MAX + 1)) {
            prop_assert!(Value::decode(&bytes).is_none_or(|value| value.record.len() <= RECORD_LEN_MAX));
            prop_assert!(KnockValue::decode(&bytes).is_none_or(|knock| knock.sealed.len() <= SEALED_LEN_MAX));
        }
    }
}
