//! Identifiers: one newtype each, so that a packet number can never be taken for a sequence number.
//! How an id is *made* (keys, randomness) does not live here.

use std::{fmt, str::FromStr};

use blake2::{Blake2s256, Digest};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Characters of a [`PeerId`] as text: 256 bits in base32.
pub const PEER_ID_TEXT_LEN: usize = 52;
/// Characters of the short form, for display only.
pub const PEER_ID_SHORT_LEN: usize = 8;

fn base32() -> Encoding {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    spec.encoding().expect("the alphabet has 32 distinct symbols")
}

/// A peer: its Ed25519 public key, sign bit 0 (protocol, IDENTITY). A value of this type is always a
/// canonical point of large order, so it *is* a valid Noise static key too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

/// Why 32 bytes or a text are not a [`PeerId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 52 lower-case base32 characters, or stray bits at the end.
    #[error("not an id: 52 characters of a-z and 2-7 are needed")]
    Text,
    /// Sign bit set, not canonical, not on the curve, or of small order.
    #[error("not an id: no valid public key")]
    Key,
}

impl PeerId {
    /// Parses 32 bytes. Errors with [`IdError::Key`] where they are no canonical key with sign bit 0.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, IdError> {
        let point = CompressedEdwardsY(bytes).decompress().ok_or(IdError::Key)?;
        Self::from_point(bytes, &point)
    }

    /// As [`from_bytes`](Self::from_bytes), where `bytes` were decompressed to `point` already: that is the dear part.
    pub(crate) fn from_point(bytes: [u8; 32], point: &EdwardsPoint) -> Result<Self, IdError> {
        if is_canonical(&bytes) && !point.is_small_order() { Ok(Self(bytes)) } else { Err(IdError::Key) }
    }

    /// The bytes of the public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 characters: for people's eyes, never for a decision.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(PEER_ID_SHORT_LEN);
        text
    }
}

/// Sign bit 0, and y below the prime 2^255 - 19.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = bytes;
    *last < 0x7f || *last == 0x7f && (*first < 0xed || middle.iter().any(|byte| *byte != 0xff))
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32().encode(&self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.short())
    }
}

impl FromStr for PeerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bytes = base32().decode(text.as_bytes()).map_err(|_| IdError::Text)?;
        Self::from_bytes(bytes.try_into().map_err(|_| IdError::Text)?)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            let bytes = <serde_bytes::ByteArray<32>>::deserialize(deserializer)?;
            Self::from_bytes(bytes.into_array()).map_err(D::Error::custom)
        }
    }
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Takes the bytes as they are.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }
    };
}

byte_id!(
    /// A message, everywhere and for ever: a UUID version 7 made by the client that asked.
    MessageId, 16
);
byte_id!(
    /// A conversation (protocol, ENCODINGS). For two people: the hash of both ids in sorted order.
    ConversationId, 32
);

impl MessageId {
    /// A UUIDv7 (RFC 9562 §5.7) from unix milliseconds and ten random bytes.
    pub fn new(unix_ms: u64, random: &[u8; 10]) -> Self {
        Self(*uuid::Builder::from_unix_timestamp_millis(unix_ms, random).as_uuid().as_bytes())
    }

    /// The last 6 hex digits, as lists show it.
    pub fn short(&self) -> String {
        let text = uuid::Uuid::from_bytes(self.0).simple().to_string();
        text[26..].to_owned()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({})", self.short())
    }
}

impl FromStr for MessageId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Ok(Self(*text.parse::<uuid::Uuid>()?.as_bytes()))
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            Ok(Self(<serde_bytes::ByteArray<16>>::deserialize(deserializer)?.into_array()))
        }
    }
}

impl ConversationId {
    /// The conversation of two people, the same on both sides.
    pub fn direct(a: &PeerId, b: &PeerId) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let mut hash = Blake2s256::new();
        hash.update(b"p2pchat-udp direct conversation");
        hash.update(low.as_bytes());
        hash.update(high.as_bytes());
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConversationId({:02x}{:02x}{:02x}{:02x})", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

impl Serialize for ConversationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConversationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(<serde_bytes::ByteArray<32>>::deserialize(deserializer)?.into_array()))
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The one after this. Saturates: a counter of these widths never ends in practice.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }
    };
}

counter!(
    /// What a receiver calls a session: its own random number in every packet sent to it.
    SessionIndex(u32)
);
counter!(
    /// Number of a sealed packet within a session and direction; never repeats, also across epochs.
    PacketNumber(u64)
);
counter!(
    /// The current keys of a session; the header carries its low 8 bits.
    Epoch(u32)
);
counter!(
    /// Place of a message in one direction of a conversation; the first is 1.
    Seq(u64)
);
counter!(
    /// A life of one direction of a conversation; a restored backup starts another.
    Incarnation(u64)
);
counter!(
    /// A run of a peer's program: max(stored + 1, unix milliseconds).
    BootId(u64)
);
counter!(
    /// What a seed calls the way between two peers that it relays for.
    ChannelId(u64)
);
counter!(
    /// Number of a write batch; they are committed in this order.
    BatchId(u64)
);

#[cfg(test)]
mod tests {
    use super::*;

    /// The Ed25519 base point: a valid id.
    const BASE: [u8; 32] = {
        let mut bytes = [0x66; 32];
        bytes[0] = 0x58;
        bytes
    };

    #[test]
    fn an_id_survives_its_text_form() {
        let id = PeerId::from_bytes(BASE).unwrap();
        let text = id.to_string();
        assert_eq!(text.len(), PEER_ID_TEXT_LEN);
        assert_eq!(text.parse::<PeerId>().unwrap(), id);
        assert!(text.starts_with(&id.short()));
    }

    #[test]
    fn keys_that_are_no_ids_are_refused() {
        let mut signed = BASE;
        signed[31] |= 0x80;
        assert_eq!(PeerId::from_bytes(signed), Err(IdError::Key));
        assert_eq!(PeerId::from_bytes([0; 32]), Err(IdError::Key), "y = 0 has order 4");
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PeerId::from_bytes(identity), Err(IdError::Key), "the neutral element");
        let mut not_canonical = [0xff; 32];
        not_canonical[31] = 0x7f;
        assert_eq!(PeerId::from_bytes(not_canonical), Err(IdError::Key));
        assert_eq!("ABC".parse::<PeerId>(), Err(IdError::Text));
    }

    #[test]
    fn an_id_is_what_its_point_compresses_to() {
        for first in 0..=255 {
            for (middle, last) in [(0xff, 0x7f), (0xff, 0xff), (0xff, 0x7e), (0x66, 0x66), (0x00, 0x00), (0x00, 0x80)] {
                let mut bytes = [middle; 32];
                (bytes[0], bytes[31]) = (first, last);
                let point = CompressedEdwardsY(bytes).decompress();
                let is_id = point.is_some_and(|point| point.compress().0 == bytes && !point.is_small_order() && last < 0x80);
                assert_eq!(PeerId::from_bytes(bytes).is_ok(), is_id, "{bytes:x?}");
            }
        }
    }

    #[test]
    fn a_conversation_has_one_id_on_both_sides() {
        let a = PeerId::from_bytes(BASE).unwrap();
        let double = (curve25519_dalek::constants::ED25519_BASEPOINT_POINT * curve25519_dalek::Scalar::from(4u8)).compress().0;
        let Ok(b) = PeerId::from_bytes(double) else { return };
        assert_eq!(ConversationId::direct(&a, &b), ConversationId::direct(&b, &a));
    }

    #[test]
    fn message_ids_sort_by_time() {
        let early = MessageId::new(1, &[0xff; 10]);
        let late = MessageId::new(2, &[0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<MessageId>().unwrap(), early);
        assert_eq!(early.short().len(), 6);
    }
}
