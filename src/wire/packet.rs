//! The clear parts: packet headers and the three handshake datagrams. What is sealed inside a packet
//! is a row of frames (`frame`); what Noise seals inside a handshake datagram is `crypto`'s affair.

use super::{
    DATAGRAM_LEN_MAX, HANDSHAKE_LEN_MAX, INITIATION_LEN, KIND_CONFIRM, KIND_INITIATION, KIND_PACKET, KIND_RESPONSE, MAC_LEN,
    PACKET_HEADER_LEN, TAG_LEN, WireError,
};
use crate::id::{PacketNumber, SessionIndex};

/// The clear header of a packet; it is the AEAD's additional data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketHeader {
    /// Low 8 bits of the epoch whose keys sealed it.
    pub epoch: u8,
    /// The receiver's name for the session.
    pub receiver: SessionIndex,
    /// Also the AEAD's nonce.
    pub number: PacketNumber,
}

impl PacketHeader {
    /// The header's bytes, in wire order.
    pub fn encode(&self) -> [u8; PACKET_HEADER_LEN] {
        let mut bytes = [0; PACKET_HEADER_LEN];
        let (kind_epoch, rest) = bytes.split_at_mut(2);
        let (receiver, number) = rest.split_at_mut(4);
        kind_epoch.copy_from_slice(&[KIND_PACKET, self.epoch]);
        receiver.copy_from_slice(&self.receiver.0.to_le_bytes());
        number.copy_from_slice(&self.number.0.to_le_bytes());
        bytes
    }

    /// Reads the header of a packet that is long enough to hold a tag.
    pub fn decode(datagram: &[u8]) -> Result<Self, WireError> {
        if datagram.len() < PACKET_HEADER_LEN + TAG_LEN {
            return Err(WireError::Malformed);
        }
        let mut reader = Reader(datagram);
        if reader.u8()? != KIND_PACKET {
            return Err(WireError::Malformed);
        }
        Ok(Self { epoch: reader.u8()?, receiver: SessionIndex(reader.u32()?), number: PacketNumber(reader.u64()?) })
    }
}

/// First handshake datagram: a stranger's first words, always [`INITIATION_LEN`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initiation<'a> {
    /// What the initiator wants to be called.
    pub sender: SessionIndex,
    /// The first Noise message.
    pub noise: &'a [u8],
    /// Keyed by the responder's id: stops noise.
    pub mac1: [u8; MAC_LEN],
    /// Keyed by a cookie; zeros without one.
    pub mac2: [u8; MAC_LEN],
}

/// Second handshake datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// What the responder wants to be called.
    pub sender: SessionIndex,
    /// The initiation's sender.
    pub receiver: SessionIndex,
    /// The second Noise message.
    pub noise: &'a [u8],
    /// Keyed by the initiator's ephemeral key, which only the initiation's receivers know.
    pub mac1: [u8; MAC_LEN],
    /// Zeros.
    pub mac2: [u8; MAC_LEN],
}

/// Third handshake datagram: it carries who the initiator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirm<'a> {
    /// The response's sender.
    pub receiver: SessionIndex,
    /// The third Noise message.
    pub noise: &'a [u8],
    /// Keyed by the responder's id.
    pub mac1: [u8; MAC_LEN],
    /// Zeros.
    pub mac2: [u8; MAC_LEN],
}

/// Bytes of an initiation before its macs: what mac1 covers.
pub const INITIATION_MAC1_OFFSET: usize = INITIATION_LEN - 2 * MAC_LEN;
/// Bytes of the first Noise message, padding included.
pub const INITIATION_NOISE_LEN: usize = INITIATION_MAC1_OFFSET - 1 - 4;

impl<'a> Initiation<'a> {
    /// Appends kind, sender and noise; the macs follow, from whoever holds the keys.
    pub fn encode_without_macs(sender: SessionIndex, noise: &[u8], out: &mut Vec<u8>) {
        out.push(KIND_INITIATION);
        out.extend_from_slice(&sender.0.to_le_bytes());
        out.extend_from_slice(noise);
    }

    /// Reads an initiation of exactly [`INITIATION_LEN`] bytes.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, WireError> {
        if datagram.len() != INITIATION_LEN {
            return Err(WireError::Malformed);
        }
        let (mut reader, mac1, mac2) = handshake(datagram, KIND_INITIATION)?;
        Ok(Self { sender: SessionIndex(reader.u32()?), noise: reader.0, mac1, mac2 })
    }
}

impl<'a> Response<'a> {
    /// Appends kind, both indices and noise; the macs follow.
    pub fn encode_without_macs(sender: SessionIndex, receiver: SessionIndex, noise: &[u8], out: &mut Vec<u8>) {
        out.push(KIND_RESPONSE);
        out.extend_from_slice(&sender.0.to_le_bytes());
        out.extend_from_slice(&receiver.0.to_le_bytes());
        out.extend_from_slice(noise);
    }

    /// Reads a response.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, WireError> {
        let (mut reader, mac1, mac2) = handshake(datagram, KIND_RESPONSE)?;
        Ok(Self { sender: SessionIndex(reader.u32()?), receiver: SessionIndex(reader.u32()?), noise: reader.0, mac1, mac2 })
    }
}

impl<'a> Confirm<'a> {
    /// Appends kind, receiver and noise; the macs follow.
    pub fn encode_without_macs(receiver: SessionIndex, noise: &[u8], out: &mut Vec<u8>) {
        out.push(KIND_CONFIRM);
        out.extend_from_slice(&receiver.0.to_le_bytes());
        out.extend_from_slice(noise);
    }

    /// Reads a confirm.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, WireError> {
        let (mut reader, mac1, mac2) = handshake(datagram, KIND_CONFIRM)?;
        Ok(Self { receiver: SessionIndex(reader.u32()?), noise: reader.0, mac1, mac2 })
    }
}

/// Checks kind and length, cuts both macs off the end and returns a reader over what is between.
fn handshake(datagram: &[u8], kind: u8) -> Result<(Reader<'_>, [u8; MAC_LEN], [u8; MAC_LEN]), WireError> {
    const _: () = assert!(HANDSHAKE_LEN_MAX <= DATAGRAM_LEN_MAX);
    if datagram.len() > HANDSHAKE_LEN_MAX {
        return Err(WireError::Malformed);
    }
    let (rest, mac2) = datagram.split_last_chunk::<MAC_LEN>().ok_or(WireError::Malformed)?;
    let (rest, mac1) = rest.split_last_chunk::<MAC_LEN>().ok_or(WireError::Malformed)?;
    let mut reader = Reader(rest);
    if reader.u8()? == kind { Ok((reader, *mac1, *mac2)) } else { Err(WireError::Malformed) }
}

/// Takes fixed little-endian integers off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (chunk, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Malformed)?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.chunk().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.chunk().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header = PacketHeader { epoch: 7, receiver: SessionIndex(0x0102_0304), number: PacketNumber(99) };
        let mut datagram = header.encode().to_vec();
        assert_eq!(PacketHeader::decode(&datagram), Err(WireError::Malformed), "no room for a tag");
        datagram.extend_from_slice(&[0; TAG_LEN]);
        assert_eq!(PacketHeader::decode(&datagram), Ok(header));
    }

    #[test]
    fn handshake_datagrams_survive_the_wire() {
        let mut datagram = Vec::new();
        Initiation::encode_without_macs(SessionIndex(5), &[9; INITIATION_NOISE_LEN], &mut datagram);
        datagram.extend_from_slice(&[1; MAC_LEN]);
        datagram.extend_from_slice(&[2; MAC_LEN]);
        let initiation = Initiation::decode(&datagram).unwrap();
        assert_eq!((initiation.sender, initiation.noise.len()), (SessionIndex(5), INITIATION_NOISE_LEN));
        assert_eq!((initiation.mac1, initiation.mac2), ([1; MAC_LEN], [2; MAC_LEN]));
        assert_eq!(Initiation::decode(&datagram[..INITIATION_LEN - 1]), Err(WireError::Malformed));
        assert_eq!(Response::decode(&datagram), Err(WireError::Malformed), "another kind");

        let mut datagram = Vec::new();
        Response::encode_without_macs(SessionIndex(6), SessionIndex(5), &[8; 96], &mut datagram);
        datagram.extend_from_slice(&[0; 2 * MAC_LEN]);
        let response = Response::decode(&datagram).unwrap();
        assert_eq!((response.sender, response.receiver, response.noise), (SessionIndex(6), SessionIndex(5), &[8; 96][..]));
    }
    #[test]
    fn handshake_datagrams_have_a_longest() {
        let mut datagram = Vec::new();
        Response::encode_without_macs(SessionIndex(6), SessionIndex(5), &[8; HANDSHAKE_LEN_MAX - 9 - 2 * MAC_LEN], &mut datagram);
        datagram.extend_from_slice(&[0; 2 * MAC_LEN]);
        assert!(Response::decode(&datagram).is_ok());
        datagram.push(0);
        assert_eq!(Response::decode(&datagram), Err(WireError::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_datagram_or_an_error(
            kind: u8, body in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..=HANDSHAKE_LEN_MAX)
        ) {
            let mut datagram = vec![kind];
            datagram.extend(body);
            let ok = [
                PacketHeader::decode(&datagram).is_ok(),
                Initiation::decode(&datagram).is_ok(),
                Response::decode(&datagram).is_ok(),
                Confirm::decode(&datagram).is_ok(),
            ];
            proptest::prop_assert!(ok.iter().filter(|ok| **ok).count() <= 1, "a kind is one kind");
            proptest::prop_assert!(ok == [false; 4] || crate::wire::kind(&datagram) == Ok(kind));
        }
    }
}
