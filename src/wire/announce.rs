//! The LAN announce: who is here, signed. It never lists addresses: where it came from is where its
//! sender is (protocol, ANNOUNCE). Checking the signature is `crypto`'s affair.

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
            pad: [0; ANNOUNCE_PAD_LEN_MAX].get(..self.pad).unwrap_or(&[0; ANNOUNCE_PAD_LEN_MAX]),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::DATAGRAM_LEN_MAX;

    fn peer_id() -> PeerId {
        let mut base = [0x66; 32];
        base[0] = 0x58;
        PeerId::from_bytes(base).unwrap()
    }

    fn announce() -> Announce {
        Announce {
            id: peer_id(),
            boot: BootId(1),
            seq: 2,
            port: 17_118,
            ttl: 53,
            network: [0; 8],
            flags: FLAG_ANSWER_ME,
            peers: 3,
            digest: 4,
            nonce: 5,
            name: "alice".to_owned(),
            ext: Vec::new(),
            pad: 0,
        }
    }

    fn datagram(announce: &Announce) -> Vec<u8> {
        let mut datagram = announce.encode_unsigned();
        datagram.extend_from_slice(&[0xaa; SIGNATURE_LEN]);
        datagram
    }

    prop_compose! {
        fn any_announce()(
            (boot, seq, port, ttl) in (any::<u64>(), any::<u64>(), 1u16.., any::<u16>()),
            (network, flags, peers, digest, nonce) in any::<([u8; 8], u8, u32, u64, u64)>(),
            name in "[a-zé ]{0,32}",
            ext in prop::collection::vec(any::<u8>(), 0..=ANNOUNCE_EXT_LEN_MAX),
            pad in 0..=ANNOUNCE_PAD_LEN_MAX,
        ) -> Announce {
            let boot = BootId(boot);
            Announce { id: peer_id(), boot, seq, port, ttl, network, flags, peers, digest, nonce, name, ext, pad }
        }
    }

    proptest! {
        #[test]
        fn announces_survive_the_wire(announce in any_announce()) {
            let datagram = datagram(&announce);
            let signed = Signed::decode(&datagram)?;
            prop_assert_eq!(&signed.announce, &announce);
            prop_assert_eq!(signed.signed, &datagram[..datagram.len() - SIGNATURE_LEN], "the bytes as they came are signed");
            prop_assert_eq!(signed.signature, [0xaa; SIGNATURE_LEN]);
        }

        #[test]
        fn any_bytes_are_an_announce_or_an_error(body in prop::collection::vec(any::<u8>(), 0..400), headed: bool) {
            let datagram = if headed { [HEAD.to_vec(), body].concat() } else { body };
            let _ = Signed::decode(&datagram);
        }

        #[test]
        fn a_cut_or_longer_announce_is_no_announce(announce in any_announce(), cut: prop::sample::Index) {
            let mut datagram = datagram(&announce);
            prop_assert_eq!(Signed::decode(&datagram[..cut.index(datagram.len())]), Err(WireError::Malformed));
            datagram.push(0);
            prop_assert_eq!(Signed::decode(&datagram), Err(WireError::Malformed));
        }
    }

    /// The extension map is for versions to come: whatever stands in it, this version reads the rest.
    #[test]
    fn an_extension_and_unknown_flags_of_a_later_version_are_carried() {
        let ext = vec![0x81, 0xa5, b'r', b'o', b'o', b'm', b's', 0x93, 1, 2, 3];
        let future = Announce { ext, flags: 0xff, ..announce() };
        assert_eq!(Signed::decode(&datagram(&future)).unwrap().announce, future);
    }

    #[test]
    fn another_version_is_told_apart_from_noise() {
        let mut future = datagram(&announce());
        future[5] = 2;
        assert_eq!(Signed::decode(&future), Err(WireError::OtherVersion(2)));
        future[4] ^= 1;
        assert_eq!(Signed::decode(&future), Err(WireError::Malformed), "not our magic");
    }

    #[test]
    fn fields_outside_their_limits_are_malformed() {
        let refused = |announce: Announce| Signed::decode(&datagram(&announce)).err();
        assert_eq!(refused(Announce { name: "x".repeat(NAME_LEN_MAX), ..announce() }), None);
        assert_eq!(refused(Announce { name: "x".repeat(NAME_LEN_MAX + 1), ..announce() }), Some(WireError::Malformed));
        assert_eq!(refused(Announce { ext: vec![0; ANNOUNCE_EXT_LEN_MAX + 1], ..announce() }), Some(WireError::Malformed));
        assert_eq!(refused(Announce { port: 0, ..announce() }), Some(WireError::Malformed));
        let mut no_key = datagram(&announce());
        no_key[6 + 31] |= 0x80;
        assert_eq!(Signed::decode(&no_key), Err(WireError::Malformed), "sign bit 1");
        let mut no_text = datagram(&announce());
        let at = no_text.windows(5).position(|window| window == b"alice").unwrap();
        no_text[at] = 0xff;
        assert_eq!(Signed::decode(&no_text), Err(WireError::Malformed), "the name is no UTF-8");
    }

    #[test]
    fn the_longest_announce_is_one_datagram() {
        let longest = Announce {
            boot: BootId(u64::MAX),
            seq: u64::MAX,
            port: u16::MAX,
            ttl: u16::MAX,
            peers: u32::MAX,
            digest: u64::MAX,
            name: "x".repeat(NAME_LEN_MAX),
            ext: vec![0; ANNOUNCE_EXT_LEN_MAX],
            pad: usize::MAX,
            ..announce()
        };
        let datagram = datagram(&longest);
        assert!(datagram.len() <= DATAGRAM_LEN_MAX);
        assert_eq!(Signed::decode(&datagram).unwrap().announce.pad, ANNOUNCE_PAD_LEN_MAX, "asking for more gives the most");
    }
}
