//! The LAN announce: who is here, signed. It never lists addresses: where it came from is where its
//! sender is (protocol §2). Checking the signature is `crypto`'s affair.

use bincode::{BorrowDecode, Encode};

use super::{
    ANNOUNCE_EXT_LEN_MAX, ANNOUNCE_PAD_LEN_MAX, KIND_ANNOUNCE, MAGIC, NAME_LEN_MAX, SIGNATURE_LEN, WIRE_VERSION, WireError,
    decode_all, encode_to,
};
use crate::id::{BootId, PeerId};

/// Kind, magic and version.
const HEAD: [u8; 6] = [KIND_ANNOUNCE, MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], WIRE_VERSION];

/// Flag: whoever does not know this boot of mine, answer by unicast and echo the nonce.
pub const FLAG_ANSWER_ME: u8 = 1;
/// Flag: I go.
pub const FLAG_LEAVING: u8 = 2;
/// Flag: I am not at the keyboard.
pub const FLAG_AWAY: u8 = 4;
/// Flag: this is an answer; `nonce` is the asker's.
pub const FLAG_ANSWER: u8 = 8;

/// What a peer says about itself on a LAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// Who.
    pub id: PeerId,
    /// Which run of its program.
    pub boot: BootId,
    /// Counts within the boot; an old one is ignored.
    pub seq: u64,
    /// UDP port of its session socket; never 0.
    pub port: u16,
    /// Seconds for which this may be believed.
    pub ttl: u16,
    /// Hash of the network's name; zeros for the unnamed one.
    pub network: [u8; 8],
    /// `FLAG_*`; unknown bits are ignored.
    pub flags: u8,
    /// How many peers the sender knows here, itself included.
    pub peers: u32,
    /// XOR over the hashes of their ids and boots: advice, anyone can forge it.
    pub digest: u64,
    /// Fresh with `FLAG_ANSWER_ME`; the asker's with `FLAG_ANSWER`; else 0.
    pub nonce: u64,
    /// As it came; `text` decides whether it may be shown as a name.
    pub name: String,
    /// MessagePack map for later versions, at most [`ANNOUNCE_EXT_LEN_MAX`] bytes.
    pub ext: Vec<u8>,
    /// Zeros that make a question no shorter than its answer.
    pub pad: usize,
}

/// An announce as it came, with what its signature covers. Not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<'a> {
    /// What it says.
    pub announce: Announce,
    /// The bytes that are signed, as received; never a re-encoding.
    pub signed: &'a [u8],
    /// The Ed25519 signature.
    pub signature: [u8; SIGNATURE_LEN],
}

#[derive(Encode, BorrowDecode)]
struct Body<'a> {
    id: [u8; 32],
    boot: u64,
    seq: u64,
    port: u16,
    ttl: u16,
    network: [u8; 8],
    flags: u8,
    peers: u32,
    digest: u64,
    nonce: [u8; 8],
    name: &'a str,
    ext: &'a [u8],
    pad: &'a [u8],
}

impl Announce {
    /// The bytes to sign; the signature is appended to them and the whole is the datagram.
    pub fn encode_unsigned(&self) -> Vec<u8> {
        let mut out = HEAD.to_vec();
        let body = Body {
            id: *self.id.as_bytes(),
            boot: self.boot.0,
            seq: self.seq,
            port: self.port,
            ttl: self.ttl,
            network: self.network,
            flags: self.flags,
            peers: self.peers,
            digest: self.digest,
            nonce: self.nonce.to_le_bytes(),
            name: &self.name,
            ext: &self.ext,
            pad: &[0; ANNOUNCE_PAD_LEN_MAX][..self.pad.min(ANNOUNCE_PAD_LEN_MAX)],
        };
        encode_to(&body, &mut out);
        out
    }
}

impl<'a> Signed<'a> {
    /// Reads an announce datagram. Errors with [`WireError::OtherVersion`] where only the version is
    /// foreign.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, WireError> {
        let (signed, signature) = datagram.split_last_chunk::<SIGNATURE_LEN>().ok_or(WireError::Malformed)?;
        let (head, body) = signed.split_first_chunk::<6>().ok_or(WireError::Malformed)?;
        let [kind, magic @ .., version] = head;
        if *kind != KIND_ANNOUNCE || *magic != MAGIC {
            return Err(WireError::Malformed);
        }
        if *version != WIRE_VERSION {
            return Err(WireError::OtherVersion(*version));
        }
        let body: Body<'_> = decode_all(body)?;
        let sound = body.port != 0
            && body.name.len() <= NAME_LEN_MAX
            && body.ext.len() <= ANNOUNCE_EXT_LEN_MAX
            && body.pad.len() <= ANNOUNCE_PAD_LEN_MAX;
        if !sound {
            return Err(WireError::Malformed);
        }
        let announce = Announce {
            id: PeerId::from_bytes(body.id).map_err(|_| WireError::Malformed)?,
            boot: BootId(body.boot),
            seq: body.seq,
            port: body.port,
            ttl: body.ttl,
            network: body.network,
            flags: body.flags,
            peers: body.peers,
            digest: body.digest,
            nonce: u64::from_le_bytes(body.nonce),
            name: body.name.to_owned(),
            ext: body.ext.to_vec(),
            pad: body.pad.len(),
        };
        Ok(Self { announce, signed, signature: *signature })
    }
}
