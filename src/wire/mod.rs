//! Bytes to values and back: pure, total, never panicking. All kinds, sizes and limits of the wire
//! stand in this file. Keys, addresses and meaning do not live here.
//!
//! Datagram bodies and frame bodies are bincode (little endian, varint); what is stored, signed or
//! read by later versions is MessagePack (protocol, ENCODINGS). bincode is named nowhere outside this module.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

pub mod addr;
pub mod announce;
pub mod frame;
mod map;
pub mod message;
pub mod packet;
pub mod phonebook;
pub mod probe;
pub mod record;
pub mod relay;

pub use map::MAP_DEPTH_MAX;

/// Version of the wire, as announced and as in the Noise prologue.
pub const WIRE_VERSION: u8 = 1;
/// Stands behind the kind of every datagram that may reach a stranger by multicast or at a seed.
pub const MAGIC: [u8; 4] = *b"p2pc";

/// First byte of a sealed packet.
pub const KIND_PACKET: u8 = 1;
/// First byte of the first handshake datagram.
pub const KIND_INITIATION: u8 = 2;
/// First byte of the second handshake datagram.
pub const KIND_RESPONSE: u8 = 3;
/// First byte of the third handshake datagram.
pub const KIND_CONFIRM: u8 = 4;
/// First byte of a handshake cookie. Reserved: no cookie is sent yet, and one received is ignored.
pub const KIND_COOKIE: u8 = 5;
/// First byte of a LAN announce.
pub const KIND_ANNOUNCE: u8 = 6;
/// First byte of a query to a seed.
pub const KIND_QUERY: u8 = 7;
/// First byte of a seed's answer.
pub const KIND_ANSWER: u8 = 8;
/// First byte of a probe between two peers that a seed has introduced.
pub const KIND_PROBE: u8 = 9;
/// First byte of a datagram on its way through a relay.
pub const KIND_RELAYED: u8 = 10;

/// The largest datagram before a path has proved more: what every IPv6 path carries, with room for
/// tunnels (RFC 9000 §14).
pub const DATAGRAM_LEN_MAX: usize = 1_200;
/// The largest datagram that any probe may reach, and so the size of a receive buffer.
pub const DATAGRAM_LEN_JUMBO: usize = 8_952;
/// Clear header of a packet: kind, epoch, receiver index, packet number.
pub const PACKET_HEADER_LEN: usize = 1 + 1 + 4 + 8;
/// The AEAD tag behind the sealed frames.
pub const TAG_LEN: usize = 16;
/// A keyed BLAKE2s-128.
pub const MAC_LEN: usize = 16;
/// Every initiation has exactly this length, so that no response is larger (amplification).
pub const INITIATION_LEN: usize = 288;
/// A response or confirm is at most this long.
pub const HANDSHAKE_LEN_MAX: usize = 288;
/// Bytes of a handshake's MessagePack payload at most: what fits a response, which holds kind, two
/// indices, an ephemeral key, a sealed static key, the payload's tag and two macs besides.
pub const HANDSHAKE_PAYLOAD_LEN_MAX: usize = HANDSHAKE_LEN_MAX - (1 + 4 + 4) - 32 - (32 + TAG_LEN) - TAG_LEN - 2 * MAC_LEN;

/// Bytes of a text at most.
pub const TEXT_LEN_MAX: usize = crate::text::TEXT_LEN_MAX;
/// Bytes of an encoded message at most: a text and what travels with it.
pub const MESSAGE_LEN_MAX: usize = TEXT_LEN_MAX + 4_096;
/// Bytes of a fragment at least, where it is not a message's end: what is remembered of holes stays a small part of what came.
pub const FRAGMENT_LEN_MIN: usize = 256;
/// Ranges in one ack at most; older ones are left out, they were reported before.
pub const ACK_RANGES_MAX: usize = 32;
/// Bytes of a handshake message that is split over rekey frames: each part.
pub const REKEY_PART_LEN_MAX: usize = 640;
/// Parts of one rekey message at most.
pub const REKEY_PARTS_MAX: u8 = 4;
/// Bytes of an item that is no content at most: a receipt with all its ranges is shorter.
pub const ITEM_LEN_MAX: usize = 4_096;
/// Bytes of what somebody says about being away, at most.
pub const STATUS_LEN_MAX: usize = 64;
/// Bytes of a request's text at most.
pub const REQUEST_LEN_MAX: usize = 256;
/// Bytes of a name at most.
pub const NAME_LEN_MAX: usize = crate::text::NAME_LEN_MAX;
/// Bytes of an announce's extension map at most.
pub const ANNOUNCE_EXT_LEN_MAX: usize = 128;
/// Bytes of an announce's padding at most.
pub const ANNOUNCE_PAD_LEN_MAX: usize = 256;
/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;
/// Ranges of seqs in a receipt or in what a receiver holds back, at most.
pub const SEQ_RANGES_MAX: usize = 32;

/// Why bytes are not a value. The bytes are dropped and counted; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Too short, too long, trailing bytes, a value out of its range.
    #[error("malformed")]
    Malformed,
    /// Not one of the kinds that this version knows.
    #[error("unknown kind {0}")]
    UnknownKind(u8),
    /// Our magic, another version.
    #[error("version {0}")]
    OtherVersion(u8),
    /// A frame of an unknown even type: whoever sent it relies on being understood.
    #[error("unsupported frame type {0}")]
    UnsupportedFrame(u64),
}

/// The configuration of every bincode body: little endian, varint, and a limit that no honest
/// datagram reaches, so that a length field cannot ask for memory.
const fn bincode_config() -> bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<DATAGRAM_LEN_JUMBO>,
> {
    bincode::config::standard().with_limit::<DATAGRAM_LEN_JUMBO>()
}

/// Decodes exactly `bytes`: what is left over is an error.
fn decode_all<'a, T: bincode::BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, WireError> {
    let (value, used) = bincode::borrow_decode_from_slice(bytes, bincode_config()).map_err(|_| WireError::Malformed)?;
    if used == bytes.len() { Ok(value) } else { Err(WireError::Malformed) }
}

/// Appends the bincode form of `value`.
fn encode_to<T: bincode::Encode>(value: &T, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, out, bincode_config())
        .expect("a Vec takes every byte and our values are below the limit");
}

/// Length of the bincode form of `value`.
fn encoded_len<T: bincode::Encode>(value: &T) -> usize {
    let mut size = bincode::enc::write::SizeWriter::default();
    bincode::encode_into_writer(value, &mut size, bincode_config()).expect("counting bytes cannot fail");
    size.bytes_written
}

/// What a datagram is, by its first byte. Errors where the byte is none of ours or nothing is there.
pub fn kind(datagram: &[u8]) -> Result<u8, WireError> {
    match datagram.first() {
        Some(&kind @ KIND_PACKET..=KIND_RELAYED) => Ok(kind),
        Some(&kind) => Err(WireError::UnknownKind(kind)),
        None => Err(WireError::Malformed),
    }
}
