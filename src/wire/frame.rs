//! Frames: the typed pieces inside a packet, each `type varint, length varint, body`. An unknown odd
//! type is skipped, an unknown even one is an error (protocol, ENCODINGS, growing without breaking).

use bincode::{BorrowDecode, Encode};

use super::{
    ACK_RANGES_MAX, FRAGMENT_LEN_MIN, MESSAGE_LEN_MAX, REKEY_PART_LEN_MAX, REKEY_PARTS_MAX, WireError, bincode_config,
    decode_all, encode_to, encoded_len,
};
use crate::id::{Epoch, PacketNumber};

const TYPE_ACK_NOW: u64 = 1;
const TYPE_ACK: u64 = 2;
const TYPE_PADDING: u64 = 3;
const TYPE_MESSAGE: u64 = 4;
const TYPE_FRAGMENT: u64 = 6;
const TYPE_PING: u64 = 8;
const TYPE_PATH_CHALLENGE: u64 = 10;
const TYPE_PATH_RESPONSE: u64 = 12;
const TYPE_CREDIT: u64 = 14;
const TYPE_REKEY: u64 = 16;
const TYPE_REKEY_REPLY: u64 = 18;
const TYPE_CLOSE: u64 = 20;

/// One frame. Slices point into the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The sender would like the ack at once: the last packet of a burst carries it.
    AckNow,
    /// What arrived (RFC 9000 §19.3, delay in microseconds).
    Ack(Ack),
    /// Nothing, this many bytes of it.
    Padding(usize),
    /// A whole message of the session's transport.
    Message {
        /// Number of the message within session and direction.
        n: u64,
        /// The item.
        bytes: &'a [u8],
    },
    /// A piece of a message that is too large for one packet of any path.
    Fragment {
        /// Number of the message within session and direction.
        n: u64,
        /// Where in the message it begins.
        offset: u32,
        /// Bytes of the whole message, at most [`MESSAGE_LEN_MAX`].
        total: u32,
        /// The piece; [`FRAGMENT_LEN_MIN`] bytes at least where the message does not end with it.
        bytes: &'a [u8],
    },
    /// Asks for an ack, nothing else.
    Ping,
    /// Asks whoever is at an address to prove it (RFC 9000 §8.2).
    PathChallenge(u64),
    /// The proof.
    PathResponse(u64),
    /// Message bytes that the receiver of this frame may have sent in all, since the session began.
    Credit {
        /// Never smaller than one sent before.
        limit: u64,
    },
    /// A part of the initiating half of a rekey.
    Rekey(RekeyPart<'a>),
    /// A part of the answering half of a rekey.
    RekeyReply(RekeyPart<'a>),
    /// The last word: the session ends here.
    Close(CloseCode),
}

/// A part of a rekey message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RekeyPart<'a> {
    /// The epoch that the rekey leads to.
    pub epoch: Epoch,
    /// Place of this part, below `parts`.
    pub part: u8,
    /// Parts in all, 1 to [`REKEY_PARTS_MAX`].
    pub parts: u8,
    /// At most [`REKEY_PART_LEN_MAX`] bytes.
    pub bytes: &'a [u8],
}

/// What arrived, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// How long the newest packet waited for this ack, in microseconds.
    pub delay_us: u32,
    /// Inclusive ranges `(first, last)`, descending, with a gap between each two; 1 to
    /// [`ACK_RANGES_MAX`] of them.
    pub ranges: Vec<(PacketNumber, PacketNumber)>,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The program ends or the session has been quiet for long.
    Done,
    /// A newer session with the same peer took over.
    Superseded,
    /// The peer broke a rule of the protocol.
    Protocol,
    /// The peer sent a frame that this version must understand and does not.
    Unsupported,
    /// The peer is not admitted.
    Refused,
    /// A code of a later version.
    Other(u64),
}

impl CloseCode {
    const fn to_wire(self) -> u64 {
        match self {
            Self::Done => 0,
            Self::Superseded => 1,
            Self::Protocol => 2,
            Self::Unsupported => 3,
            Self::Refused => 4,
            Self::Other(code) => code,
        }
    }

    const fn from_wire(code: u64) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Superseded,
            2 => Self::Protocol,
            3 => Self::Unsupported,
            4 => Self::Refused,
            code => Self::Other(code),
        }
    }
}

#[derive(Encode, BorrowDecode)]
struct MessageBody<'a> {
    n: u64,
    bytes: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
struct FragmentBody<'a> {
    n: u64,
    offset: u32,
    total: u32,
    bytes: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
struct RekeyBody<'a> {
    epoch: u32,
    part: u8,
    parts: u8,
    bytes: &'a [u8],
}

impl Frame<'_> {
    /// True for what the receiver must acknowledge (RFC 9002 §2): all but acks, padding and close.
    pub const fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Ack(_) | Self::AckNow | Self::Padding(_) | Self::Close(_))
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::AckNow => head(TYPE_ACK_NOW, 0, out),
            Self::Ack(ack) => ack.encode(out),
            Self::Padding(len) => {
                head(TYPE_PADDING, *len, out);
                out.resize(out.len().saturating_add(*len), 0);
            }
            Self::Message { n, bytes } => body(TYPE_MESSAGE, &MessageBody { n: *n, bytes }, out),
            Self::Fragment { n, offset, total, bytes } => {
                body(TYPE_FRAGMENT, &FragmentBody { n: *n, offset: *offset, total: *total, bytes }, out);
            }
            Self::Ping => head(TYPE_PING, 0, out),
            Self::PathChallenge(token) => fixed(TYPE_PATH_CHALLENGE, *token, out),
            Self::PathResponse(token) => fixed(TYPE_PATH_RESPONSE, *token, out),
            Self::Credit { limit } => body(TYPE_CREDIT, limit, out),
            Self::Rekey(part) => part.encode(TYPE_REKEY, out),
            Self::RekeyReply(part) => part.encode(TYPE_REKEY_REPLY, out),
            Self::Close(code) => body(TYPE_CLOSE, &code.to_wire(), out),
        }
    }

    /// Bytes of message `n` from `offset` on, of `total`, that a fragment of `room` bytes at most can carry.
    pub fn fragment_len(n: u64, offset: u32, total: u32, room: usize) -> usize {
        // Two lengths, of the frame and of the bytes in it, take two more bytes each where they are long.
        let head = Frame::Fragment { n, offset, total, bytes: &[] }.encoded_len().saturating_add(4);
        let rest = usize::try_from(total.saturating_sub(offset)).unwrap_or(usize::MAX);
        room.saturating_sub(head).min(rest)
    }

    /// Bytes that [`encode`](Self::encode) appends.
    pub fn encoded_len(&self) -> usize {
        let body = match self {
            Self::AckNow | Self::Ping => 0,
            Self::Ack(ack) => ack.body_len(),
            Self::Padding(len) => *len,
            Self::Message { n, bytes } => encoded_len(&MessageBody { n: *n, bytes }),
            Self::Fragment { n, offset, total, bytes } => {
                encoded_len(&FragmentBody { n: *n, offset: *offset, total: *total, bytes })
            }
            Self::PathChallenge(_) | Self::PathResponse(_) => size_of::<u64>(),
            Self::Credit { limit } => encoded_len(limit),
            Self::Rekey(part) | Self::RekeyReply(part) => encoded_len(&part.body()),
            Self::Close(code) => encoded_len(&code.to_wire()),
        };
        // Every type is below 251 and so one byte.
        encoded_len(&body).saturating_add(1).saturating_add(body)
    }
}

impl<'a> RekeyPart<'a> {
    const fn body(&self) -> RekeyBody<'a> {
        RekeyBody { epoch: self.epoch.0, part: self.part, parts: self.parts, bytes: self.bytes }
    }

    fn encode(&self, frame_type: u64, out: &mut Vec<u8>) {
        body(frame_type, &self.body(), out);
    }

    fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let RekeyBody { epoch, part, parts, bytes } = decode_all(bytes)?;
        let sound = part < parts && parts <= REKEY_PARTS_MAX && !bytes.is_empty() && bytes.len() <= REKEY_PART_LEN_MAX;
        if sound { Ok(Self { epoch: Epoch(epoch), part, parts, bytes }) } else { Err(WireError::Malformed) }
    }
}

impl Ack {
    /// The numbers as they travel: delay, largest, count of ranges, then length of the first range and
    /// for each further one the gap before it and its length, all minus what they are at least.
    fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let largest = self.ranges.first().map_or(0, |range| range.1.0);
        let ranges = self.ranges.iter().take(ACK_RANGES_MAX);
        let count = u64::try_from(ranges.len()).unwrap_or(u64::MAX);
        let mut below = None;
        let ranges = ranges.flat_map(move |&(first, last)| {
            let gap = below.map(|below: u64| below.saturating_sub(last.0).saturating_sub(2));
            below = Some(first.0);
            gap.into_iter().chain([last.0.saturating_sub(first.0)])
        });
        [u64::from(self.delay_us), largest, count].into_iter().chain(ranges)
    }

    fn body_len(&self) -> usize {
        self.numbers().map(|number| encoded_len(&number)).sum()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        head(TYPE_ACK, self.body_len(), out);
        self.numbers().for_each(|number| encode_to(&number, out));
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, WireError> {
        let delay_us = u32::try_from(varint(&mut bytes)?).map_err(|_| WireError::Malformed)?;
        let mut last = varint(&mut bytes)?;
        let count = usize::try_from(varint(&mut bytes)?).map_err(|_| WireError::Malformed)?;
        if count == 0 || count > ACK_RANGES_MAX {
            return Err(WireError::Malformed);
        }
        let mut ranges = Vec::with_capacity(count);
        loop {
            let first = last.checked_sub(varint(&mut bytes)?).ok_or(WireError::Malformed)?;
            ranges.push((PacketNumber(first), PacketNumber(last)));
            if ranges.len() == count {
                break;
            }
            let gap = varint(&mut bytes)?.checked_add(2).ok_or(WireError::Malformed)?;
            last = first.checked_sub(gap).ok_or(WireError::Malformed)?;
        }
        if bytes.is_empty() { Ok(Self { delay_us, ranges }) } else { Err(WireError::Malformed) }
    }
}

/// The frames of an opened packet, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Reads what `open` has opened.
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    fn frame(&mut self) -> Result<Option<Frame<'a>>, WireError> {
        while !self.rest.is_empty() {
            let frame_type = varint(&mut self.rest)?;
            let len = usize::try_from(varint(&mut self.rest)?).map_err(|_| WireError::Malformed)?;
            let (body, rest) = self.rest.split_at_checked(len).ok_or(WireError::Malformed)?;
            self.rest = rest;
            if let Some(frame) = decode(frame_type, body)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = self.frame();
        if frame.is_err() {
            self.rest = &[];
        }
        frame.transpose()
    }
}

/// One frame from its type and body; `None` for an unknown odd type.
fn decode(frame_type: u64, bytes: &[u8]) -> Result<Option<Frame<'_>>, WireError> {
    let empty = |frame| if bytes.is_empty() { Ok(frame) } else { Err(WireError::Malformed) };
    let token = || <[u8; 8]>::try_from(bytes).map(u64::from_le_bytes).map_err(|_| WireError::Malformed);
    Ok(Some(match frame_type {
        TYPE_ACK_NOW => empty(Frame::AckNow)?,
        TYPE_ACK => Frame::Ack(Ack::decode(bytes)?),
        TYPE_PADDING => Frame::Padding(bytes.len()),
        TYPE_MESSAGE => {
            let MessageBody { n, bytes } = decode_all(bytes)?;
            Frame::Message { n, bytes }
        }
        TYPE_FRAGMENT => fragment(decode_all(bytes)?)?,
        TYPE_PING => empty(Frame::Ping)?,
        TYPE_PATH_CHALLENGE => Frame::PathChallenge(token()?),
        TYPE_PATH_RESPONSE => Frame::PathResponse(token()?),
        TYPE_CREDIT => Frame::Credit { limit: decode_all(bytes)? },
        TYPE_REKEY => Frame::Rekey(RekeyPart::decode(bytes)?),
        TYPE_REKEY_REPLY => Frame::RekeyReply(RekeyPart::decode(bytes)?),
        TYPE_CLOSE => Frame::Close(CloseCode::from_wire(decode_all(bytes)?)),
        odd if odd % 2 == 1 => return Ok(None),
        even => return Err(WireError::UnsupportedFrame(even)),
    }))
}

fn fragment(FragmentBody { n, offset, total, bytes }: FragmentBody<'_>) -> Result<Frame<'_>, WireError> {
    let place = |at: u32| usize::try_from(at).map_err(|_| WireError::Malformed);
    let (all, end) = (place(total)?, place(offset)?.saturating_add(bytes.len()));
    let long_enough = bytes.len() >= FRAGMENT_LEN_MIN || (end == all && !bytes.is_empty());
    let sound = end <= all && all <= MESSAGE_LEN_MAX && long_enough;
    if sound { Ok(Frame::Fragment { n, offset, total, bytes }) } else { Err(WireError::Malformed) }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let (value, used) = bincode::decode_from_slice(bytes, bincode_config()).map_err(|_| WireError::Malformed)?;
    *bytes = bytes.get(used..).ok_or(WireError::Malformed)?;
    Ok(value)
}

fn head(frame_type: u64, len: usize, out: &mut Vec<u8>) {
    encode_to(&frame_type, out);
    encode_to(&len, out);
}

fn body<T: Encode>(frame_type: u64, value: &T, out: &mut Vec<u8>) {
    head(frame_type, encoded_len(value), out);
    encode_to(value, out);
}

fn fixed(frame_type: u64, token: u64, out: &mut Vec<u8>) {
    head(frame_type, size_of::<u64>(), out);
    out.extend_from_slice(&token.to_le_bytes());
}

#[cfg(test)]
mod tests;
