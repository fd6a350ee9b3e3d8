//! The record: what a peer has in the phonebook, and the contents of a knock. Both are MessagePack maps
//! of their owner's; a record is signed, a knock is sealed, and both is `crypto`'s affair. How they travel
//! stands in `phonebook`.

use serde::{Deserialize, Serialize};

use super::{NAME_LEN_MAX, WireError, addr::Addr, map, phonebook::RawId};
use crate::id::PeerId;

/// Bytes of a record at most.
pub const RECORD_LEN_MAX: usize = 600;
/// Seeds in a record at most: where its owner registers.
pub const HOME_SEEDS_MAX: usize = 3;
/// Addresses in a record or a knock at most.
pub const ADDRS_MAX: usize = 6;
/// Seconds for which a record may be believed, at most.
pub const RECORD_LIFETIME_MAX: u16 = 3_600;
/// Bytes of a knock before it is sealed, at most.
pub const KNOCK_LEN_MAX: usize = 256;
/// Bytes of the secret that both sides of a punch know.
pub const PUNCH_SECRET_LEN: usize = 16;

/// Who may find a record by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Visibility {
    /// Everybody: it stands in lists and is found by the beginning of its name.
    Listed,
    /// Who knows the whole name, or the id.
    #[default]
    Findable,
}

impl TryFrom<u8> for Visibility {
    type Error = &'static str;

    /// What a later version may add is shown to no more people than the least that we know.
    fn try_from(byte: u8) -> Result<Self, Self::Error> {
        Ok(if byte == 0 { Self::Listed } else { Self::Findable })
    }
}

impl From<Visibility> for u8 {
    fn from(visibility: Visibility) -> Self {
        match visibility {
            Visibility::Listed => 0,
            Visibility::Findable => 1,
        }
    }
}

/// An entry of the phonebook, in its owner's words. With a lifetime of 0 it is a farewell, which takes the
/// entry away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Whose.
    #[serde(rename = "i")]
    pub id: PeerId,
    /// Counts; of two records with one id the higher is true. max(last + 1, unix milliseconds).
    #[serde(rename = "q")]
    pub seq: u64,
    /// When it was signed, in unix seconds by its owner's clock.
    #[serde(rename = "d")]
    pub issued: u64,
    /// Seconds from `issued` on for which it may be believed; at most [`RECORD_LIFETIME_MAX`].
    #[serde(rename = "l", skip_serializing_if = "is_zero")]
    pub lifetime: u16,
    /// Hash of the network's name; zeros, and left out, for the unnamed one.
    #[serde(rename = "w", with = "serde_bytes", skip_serializing_if = "is_unnamed")]
    pub network: [u8; 8],
    /// What the owner calls itself: as it came; `text` decides whether it may be shown as a name.
    #[serde(rename = "n", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Who may find it.
    #[serde(rename = "v")]
    pub visibility: Visibility,
    /// Seeds at which the owner registers, at most [`HOME_SEEDS_MAX`].
    #[serde(rename = "s", skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<Addr>,
    /// Where the owner believes to be, at most [`ADDRS_MAX`]: advice, like everything that a stranger says.
    #[serde(rename = "a", skip_serializing_if = "Vec::is_empty")]
    pub addrs: Vec<Addr>,
}

impl Record {
    /// The bytes to sign. At most [`RECORD_LEN_MAX`] where name and lists keep their limits.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        map::encode(self, &mut out);
        out
    }

    /// Reads a record; unknown fields are skipped. That its owner wrote it, nobody has checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let claim = Claim::decode(bytes)?;
        let id = PeerId::from_bytes(claim.id).map_err(|_| WireError::Malformed)?;
        Ok(claim.of(id))
    }

    /// True where it takes its owner's entry away.
    pub const fn is_farewell(&self) -> bool {
        self.lifetime == 0
    }

    /// Unix seconds after which it must not be believed any more.
    pub fn expires(&self) -> u64 {
        self.issued.saturating_add(self.lifetime.into())
    }
}

/// A record as it is read, before anybody knows whether its id is a key at all: to find that out costs a
/// good part of a signature check, and whoever makes one finds it out there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Claim<'a> {
    /// Whose it says to be.
    #[serde(rename = "i", with = "serde_bytes")]
    pub id: RawId,
    /// As in [`Record::seq`].
    #[serde(rename = "q")]
    pub seq: u64,
    /// As in [`Record::issued`].
    #[serde(rename = "d")]
    pub issued: u64,
    /// As in [`Record::lifetime`].
    #[serde(rename = "l", default)]
    pub lifetime: u16,
    /// As in [`Record::network`].
    #[serde(rename = "w", with = "serde_bytes", default)]
    pub network: [u8; 8],
    /// As in [`Record::name`].
    #[serde(rename = "n", default)]
    pub name: &'a str,
    /// As in [`Record::visibility`].
    #[serde(rename = "v", default)]
    pub visibility: Visibility,
    #[serde(rename = "s", default)]
    seeds: Vec<Addr>,
    #[serde(rename = "a", default)]
    addrs: Vec<Addr>,
}

impl<'a> Claim<'a> {
    /// Reads it; unknown fields are skipped. Errors where it keeps not to a record's limits.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() > RECORD_LEN_MAX {
            return Err(WireError::Malformed);
        }
        let claim: Self = map::decode(bytes)?;
        let is_sound = claim.lifetime <= RECORD_LIFETIME_MAX
            && claim.name.len() <= NAME_LEN_MAX
            && claim.seeds.len() <= HOME_SEEDS_MAX
            && claim.addrs.len() <= ADDRS_MAX;
        if is_sound { Ok(claim) } else { Err(WireError::Malformed) }
    }

    /// The record, where `id` is the one it names and a key.
    pub fn of(self, id: PeerId) -> Record {
        let Self { id: _, seq, issued, lifetime, network, name, visibility, seeds, addrs } = self;
        Record { id, seq, issued, lifetime, network, name: name.to_owned(), visibility, seeds, addrs }
    }

    /// True where it takes its owner's entry away.
    pub const fn is_farewell(&self) -> bool {
        self.lifetime == 0
    }

    /// Unix seconds after which it must not be believed any more.
    pub fn expires(&self) -> u64 {
        self.issued.saturating_add(self.lifetime.into())
    }
}

/// What a knock says, sealed to whom it is for: where its sender may be reached, never text (it is not
/// forward secret; protocol, SEEDS).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knock {
    /// Names the attempt in probes.
    #[serde(rename = "n")]
    pub attempt: u64,
    /// Keys the probes.
    #[serde(rename = "k", with = "serde_bytes")]
    pub secret: [u8; PUNCH_SECRET_LEN],
    /// The sender asks the same seed to relay, in case that nothing else works.
    #[serde(rename = "r", default, skip_serializing_if = "std::ops::Not::not")]
    pub relay: bool,
    /// Addresses of the sender's own interfaces, at most [`ADDRS_MAX`]: probed only where they are on-link.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub addrs: Vec<Addr>,
}

impl Knock {
    /// The bytes to seal. At most [`KNOCK_LEN_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        map::encode(self, &mut out);
        out
    }

    /// Reads an opened knock; unknown fields are skipped.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > KNOCK_LEN_MAX {
            return Err(WireError::Malformed);
        }
        let knock: Self = map::decode(bytes)?;
        if knock.addrs.len() <= ADDRS_MAX { Ok(knock) } else { Err(WireError::Malformed) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
const fn is_zero(number: &u16) -> bool {
    *number == 0
}

fn is_unnamed(network: &[u8; 8]) -> bool {
    *network == [0; 8]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The Ed25519 base point: a valid id.
    fn id() -> PeerId {
        let mut bytes = [0x66; 32];
        bytes[0] = 0x58;
        PeerId::from_bytes(bytes).unwrap()
    }

    fn record() -> Record {
        Record {
            id: id(),
            seq: 1_760_000_000_000,
            issued: 1_760_000_000,
            lifetime: 3_600,
            network: [0; 8],
            name: "alice".to_owned(),
            visibility: Visibility::Findable,
            seeds: vec![Addr("203.0.113.1:17118".parse().unwrap())],
            addrs: vec![Addr("[2001:db8::7]:17118".parse().unwrap())],
        }
    }

    #[test]
    fn a_record_is_short() {
        assert!(record().encode().len() <= 110, "{}", record().encode().len());
        let addr = Addr("[2001:db8::7]:17118".parse().unwrap());
        let (name, network) = ("n".repeat(NAME_LEN_MAX), [7; 8]);
        let longest = Record {
            name,
            network,
            seeds: vec![addr; HOME_SEEDS_MAX],
            addrs: vec![addr; ADDRS_MAX],
            seq: u64::MAX,
            issued: u64::MAX,
            ..record()
        };
        let bytes = longest.encode();
        assert!(bytes.len() <= RECORD_LEN_MAX, "{}", bytes.len());
        assert_eq!(Record::decode(&bytes), Ok(longest));
    }

    #[test]
    fn a_record_beyond_its_limits_is_none() {
        let addr = Addr("203.0.113.1:17118".parse().unwrap());
        for record in [
            Record { lifetime: RECORD_LIFETIME_MAX + 1, ..record() },
            Record { name: "n".repeat(NAME_LEN_MAX + 1), ..record() },
            Record { seeds: vec![addr; HOME_SEEDS_MAX + 1], ..record() },
            Record { addrs: vec![addr; ADDRS_MAX + 1], ..record() },
        ] {
            assert_eq!(Record::decode(&record.encode()), Err(WireError::Malformed));
        }
        let farewell = Record { lifetime: 0, ..record() };
        assert!(Record::decode(&farewell.encode()).unwrap().is_farewell());
        assert_eq!(Record { issued: u64::MAX, ..record() }.expires(), u64::MAX);
    }

    #[test]
    fn a_knock_is_short_and_keeps_its_limits() {
        let addr = Addr("[2001:db8::7]:17118".parse().unwrap());
        let knock = Knock { attempt: u64::MAX, secret: [7; PUNCH_SECRET_LEN], relay: true, addrs: vec![addr; ADDRS_MAX] };
        assert_eq!(Knock::decode(&knock.encode()), Ok(knock.clone()));
        let more = Knock { addrs: vec![addr; ADDRS_MAX + 1], ..knock };
        assert_eq!(Knock::decode(&more.encode()), Err(WireError::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..=RECORD_LEN_MAX)) {
            let _ = Record::decode(&bytes);
            let _ = Knock::decode(&bytes);
        }
    }
}
