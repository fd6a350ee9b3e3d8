//! Datagrams that a seed forwards between two peers that cannot reach each other (protocol, SEEDS): a channel's
//! number in front of the peer's own datagram, the same on the way in and out. Who may use a channel is
//! `seed`'s affair.

use super::{KIND_CONFIRM, KIND_PACKET, KIND_RELAYED, WireError};
use crate::id::ChannelId;

/// Bytes in front of a relayed datagram.
pub const RELAYED_HEADER_LEN: usize = 1 + 8;
/// Bytes of a datagram that a relay forwards, at most: a tunnel at either end takes the rest.
pub const RELAYED_LEN_MAX: usize = 1_160;

/// Bytes that a relay forwards in a second from one end of a pair to the other, headers of ours included.
pub const RELAY_RATE: usize = 4_096;
/// Bytes that it forwards at once after a pause.
pub const RELAY_BURST_LEN_MAX: usize = 16_384;
/// Bytes that it forwards from one end within [`RELAY_PERIOD_SECONDS`].
pub const RELAY_PERIOD_LEN_MAX: usize = 2 << 20;
/// See [`RELAY_PERIOD_LEN_MAX`].
pub const RELAY_PERIOD_SECONDS: u64 = 600;

/// A datagram on its way through a relay.
#[derive(Debug, PartialEq, Eq)]
pub struct Relayed<'a> {
    /// Of the pair.
    pub channel: ChannelId,
    /// A handshake datagram or a sealed packet, and nothing else.
    pub datagram: &'a mut [u8],
}

/// The whole datagram to the seed.
pub fn encode(channel: ChannelId, datagram: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.push(KIND_RELAYED);
    out.extend_from_slice(&channel.0.to_le_bytes());
    out.extend_from_slice(datagram);
}

/// The channel of a datagram that a relay may forward as it is.
pub fn channel(datagram: &[u8]) -> Result<ChannelId, WireError> {
    let (kind, rest) = datagram.split_first().ok_or(WireError::Malformed)?;
    let (channel, inner) = rest.split_first_chunk::<8>().ok_or(WireError::Malformed)?;
    let is_ours = matches!(inner.first(), Some(KIND_PACKET..=KIND_CONFIRM)) && inner.len() <= RELAYED_LEN_MAX;
    if *kind == KIND_RELAYED && is_ours { Ok(ChannelId(u64::from_le_bytes(*channel))) } else { Err(WireError::Malformed) }
}

impl<'a> Relayed<'a> {
    /// Reads what a relay forwarded.
    pub fn decode(datagram: &'a mut [u8]) -> Result<Self, WireError> {
        let channel = channel(datagram)?;
        let datagram = datagram.get_mut(RELAYED_HEADER_LEN..).ok_or(WireError::Malformed)?;
        Ok(Self { channel, datagram })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{DATAGRAM_LEN_MAX, KIND_ANNOUNCE, KIND_INITIATION};

    #[test]
    fn only_what_belongs_into_a_session_is_relayed() {
        let mut out = Vec::new();
        for (inner, relayed) in [
            (vec![KIND_PACKET; RELAYED_LEN_MAX], true),
            (vec![KIND_INITIATION; 288], true),
            (vec![KIND_CONFIRM; 100], true),
            (vec![KIND_PACKET; RELAYED_LEN_MAX + 1], false),
            (vec![KIND_ANNOUNCE; 100], false),
            (vec![KIND_RELAYED; 100], false),
            (Vec::new(), false),
        ] {
            encode(ChannelId(u64::MAX), &inner, &mut out);
            assert_eq!(channel(&out).is_ok(), relayed, "{:?}", inner.first());
            if relayed {
                assert!(out.len() <= DATAGRAM_LEN_MAX);
                let mut inner = inner;
                assert_eq!(Relayed::decode(&mut out), Ok(Relayed { channel: ChannelId(u64::MAX), datagram: &mut inner }));
            }
        }
        for len in 0..RELAYED_HEADER_LEN {
            assert_eq!(channel(&vec![KIND_RELAYED; len]), Err(WireError::Malformed));
        }
    }
}
