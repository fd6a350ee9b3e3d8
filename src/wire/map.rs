//! MessagePack maps with text keys: the form of all that later versions may read or extend (protocol
//! §0). Reads them strictly, skips what it does not know and can hand that on as it came.

use std::iter;

use serde::{Deserialize, Serialize};

use super::WireError;

/// Maps and lists within each other at most, the outermost map included.
pub const MAP_DEPTH_MAX: usize = 8;

/// Appends `value` as a map.
pub(super) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value.serialize(&mut serializer).expect("a Vec takes every byte and our types have no unserializable part");
}

/// Appends `value` as a map and behind its fields those of `more`, a map too; nothing where `more` is
/// empty or no map.
pub(super) fn encode_with<T: Serialize>(value: &T, more: &[u8], out: &mut Vec<u8>) {
    let mut known = Vec::new();
    encode(value, &mut known);
    match (Entries::new(&known), Entries::new(more)) {
        (Ok(ours), Ok(theirs)) => {
            header(ours.left.saturating_add(theirs.left), out);
            out.extend_from_slice(ours.rest);
            out.extend_from_slice(theirs.rest);
        }
        _ => out.extend_from_slice(&known),
    }
}

/// Reads exactly `bytes` as one map. Its keys are texts, it is nested at most [`MAP_DEPTH_MAX`] deep,
/// and nothing is left over.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
    Entries::new(bytes)?.try_for_each(|entry| entry.map(drop))?;
    rmp_serde::from_slice(bytes).map_err(|_| WireError::Malformed)
}

/// The fields of a map whose keys `is_known` does not know, as a map of their own, byte for byte as
/// they came; empty where there are none.
pub(super) fn unknown_fields(bytes: &[u8], is_known: impl Fn(&str) -> bool) -> Result<Vec<u8>, WireError> {
    let mut count = 0_u32;
    let mut fields = Vec::new();
    for entry in Entries::new(bytes)? {
        let (key, bytes) = entry?;
        if !is_known(key) {
            count = count.saturating_add(1);
            fields.extend_from_slice(bytes);
        }
    }
    let mut map = Vec::new();
    if count > 0 {
        header(count, &mut map);
        map.append(&mut fields);
    }
    Ok(map)
}

/// The marker of a map of `len` fields.
fn header(len: u32, out: &mut Vec<u8>) {
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..16), _) => out.push(0x80 | len),
        (_, Ok(len)) => out.extend(iter::once(0xde).chain(len.to_be_bytes())),
        _ => out.extend(iter::once(0xdf).chain(len.to_be_bytes())),
    }
}

/// The fields of a map: each key, and the bytes of key and value. Ends after the first error; what
/// stands behind the map is one.
struct Entries<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        match token(bytes)? {
            (Token::Map(left), rest) => Ok(Self { left, rest }),
            _ => Err(WireError::Malformed),
        }
    }

    fn entry(&mut self) -> Result<(&'a str, &'a [u8]), WireError> {
        let whole = self.rest;
        let (Token::Text(key), rest) = token(whole)? else { return Err(WireError::Malformed) };
        let key = str::from_utf8(key).map_err(|_| WireError::Malformed)?;
        self.rest = skip(rest, MAP_DEPTH_MAX - 1)?;
        let (entry, _) = whole.split_at_checked(whole.len().saturating_sub(self.rest.len())).ok_or(WireError::Malformed)?;
        Ok((key, entry))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(&'a str, &'a [u8]), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            let entry = self.entry();
            if entry.is_err() {
                (self.left, self.rest) = (0, &[]);
            }
            Some(entry)
        } else if self.rest.is_empty() {
            None
        } else {
            self.rest = &[];
            Some(Err(WireError::Malformed))
        }
    }
}

/// Passes over one value, nested at most `depth` deep. Each value has at least one byte, so no count
/// that a peer claims makes this longer than the bytes are.
fn skip(bytes: &[u8], depth: usize) -> Result<&[u8], WireError> {
    let (token, mut rest) = token(bytes)?;
    let (count, per) = match token {
        Token::Scalar | Token::Text(_) => return Ok(rest),
        Token::List(count) => (count, 1),
        Token::Map(count) => (count, 2),
    };
    let depth = depth.checked_sub(1).ok_or(WireError::Malformed)?;
    for _ in 0..u64::from(count).saturating_mul(per) {
        rest = skip(rest, depth)?;
    }
    Ok(rest)
}

/// What begins a MessagePack value, its bytes included where it nests nothing.
enum Token<'a> {
    Scalar,
    Text(&'a [u8]),
    List(u32),
    Map(u32),
}

/// Splits one token off (the MessagePack specification, "Formats").
fn token(bytes: &[u8]) -> Result<(Token<'_>, &[u8]), WireError> {
    let (&marker, rest) = bytes.split_first().ok_or(WireError::Malformed)?;
    let scalar = |len| take(rest, len).map(|(_, rest)| (Token::Scalar, rest));
    let text = |len, rest| take(rest, len).map(|(text, rest)| (Token::Text(text), rest));
    let bytes = |len, rest| take(rest, len).map(|(_, rest)| (Token::Scalar, rest));
    match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => scalar(0),
        0x80..=0x8f => Ok((Token::Map(u32::from(marker & 0x0f)), rest)),
        0x90..=0x9f => Ok((Token::List(u32::from(marker & 0x0f)), rest)),
        0xa0..=0xbf => text(u32::from(marker & 0x1f), rest),
        0xc1 => Err(WireError::Malformed),
        0xc4 => length_8(rest).and_then(|(len, rest)| bytes(len, rest)),
        0xc5 => length_16(rest).and_then(|(len, rest)| bytes(len, rest)),
        0xc6 => length_32(rest).and_then(|(len, rest)| bytes(len, rest)),
        0xc7 => length_8(rest).and_then(|(len, rest)| bytes(len.saturating_add(1), rest)),
        0xc8 => length_16(rest).and_then(|(len, rest)| bytes(len.saturating_add(1), rest)),
        0xc9 => length_32(rest).and_then(|(len, rest)| bytes(len.saturating_add(1), rest)),
        0xcc | 0xd0 => scalar(1),
        0xcd | 0xd1 | 0xd4 => scalar(2),
        0xd5 => scalar(3),
        0xca | 0xce | 0xd2 => scalar(4),
        0xd6 => scalar(5),
        0xcb | 0xcf | 0xd3 => scalar(8),
        0xd7 => scalar(9),
        0xd8 => scalar(17),
        0xd9 => length_8(rest).and_then(|(len, rest)| text(len, rest)),
        0xda => length_16(rest).and_then(|(len, rest)| text(len, rest)),
        0xdb => length_32(rest).and_then(|(len, rest)| text(len, rest)),
        0xdc => length_16(rest).map(|(len, rest)| (Token::List(len), rest)),
        0xdd => length_32(rest).map(|(len, rest)| (Token::List(len), rest)),
        0xde => length_16(rest).map(|(len, rest)| (Token::Map(len), rest)),
        0xdf => length_32(rest).map(|(len, rest)| (Token::Map(len), rest)),
    }
}

fn length_8(bytes: &[u8]) -> Result<(u32, &[u8]), WireError> {
    bytes.split_first().map(|(&len, rest)| (u32::from(len), rest)).ok_or(WireError::Malformed)
}

fn length_16(bytes: &[u8]) -> Result<(u32, &[u8]), WireError> {
    bytes.split_first_chunk().map(|(len, rest)| (u32::from(u16::from_be_bytes(*len)), rest)).ok_or(WireError::Malformed)
}

fn length_32(bytes: &[u8]) -> Result<(u32, &[u8]), WireError> {
    bytes.split_first_chunk().map(|(len, rest)| (u32::from_be_bytes(*len), rest)).ok_or(WireError::Malformed)
}

fn take(bytes: &[u8], len: u32) -> Result<(&[u8], &[u8]), WireError> {
    usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len)).ok_or(WireError::Malformed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Known {
        a: u64,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        b: String,
    }

    fn is_known(key: &str) -> bool {
        key == "a" || key == "b"
    }

    /// Any MessagePack value, by its bytes.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let bytes = |marker: [u8; 3]| {
            prop::collection::vec(any::<u8>(), 0..300).prop_map(move |body| {
                let [one, two, four] = marker;
                let len = u32::try_from(body.len()).unwrap();
                let mut out = match len {
                    0..64 => vec![one, u8::try_from(len).unwrap()],
                    64..256 => [vec![two], u16::try_from(len).unwrap().to_be_bytes().to_vec()].concat(),
                    _ => [vec![four], len.to_be_bytes().to_vec()].concat(),
                };
                out.extend(body);
                out
            })
        };
        let leaf = prop_oneof![
            any::<i64>().prop_map(|n| rmp_serde::to_vec(&n).unwrap()),
            any::<f64>().prop_map(|n| rmp_serde::to_vec(&n).unwrap()),
            any::<f32>().prop_map(|n| rmp_serde::to_vec(&n).unwrap()),
            any::<Option<bool>>().prop_map(|b| rmp_serde::to_vec(&b).unwrap()),
            any::<String>().prop_map(|text| rmp_serde::to_vec(&text).unwrap()),
            bytes([0xc4, 0xc5, 0xc6]),
            any::<(u8, [u8; 4])>().prop_map(|(kind, body)| [vec![0xd6, kind], body.to_vec()].concat()),
            any::<(u8, u8)>().prop_map(|(kind, body)| vec![0xc7, 1, kind, body]),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|list| [
                    vec![0xdc, 0, u8::try_from(list.len()).unwrap()],
                    list.concat()
                ]
                .concat()),
                prop::collection::vec((inner.clone(), inner), 0..6).prop_map(|map| {
                    let mut out = vec![0x80 | u8::try_from(map.len()).unwrap()];
                    map.into_iter().for_each(|(key, value)| out.extend([key, value].concat()));
                    out
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn unknown_fields_are_skipped_and_come_back_as_they_came(
            a: u64, b: String, more in prop::collection::btree_map("[c-z]{1,20}", value(), 0..20), cut: prop::sample::Index
        ) {
            let known = Known { a, b };
            let mut fields = Vec::new();
            if !more.is_empty() {
                header(u32::try_from(more.len()).unwrap(), &mut fields);
            }
            for (key, value) in &more {
                fields.extend(rmp_serde::to_vec(key).unwrap());
                fields.extend(value);
            }
            let mut bytes = Vec::new();
            encode_with(&known, &fields, &mut bytes);
            prop_assert_eq!(decode::<Known>(&bytes)?, known);
            prop_assert_eq!(unknown_fields(&bytes, is_known)?, fields);
            prop_assert_eq!(decode::<Known>(&bytes[..cut.index(bytes.len())]), Err(WireError::Malformed));
            bytes.push(0);
            prop_assert_eq!(decode::<Known>(&bytes), Err(WireError::Malformed));
            prop_assert_eq!(unknown_fields(&bytes, is_known), Err(WireError::Malformed));
        }

        #[test]
        fn reading_is_total_and_never_knows_more_than_serde(bytes in prop::collection::vec(any::<u8>(), 0..64), fields in 0u8..16) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | fields;
            }
            let ours = unknown_fields(&bytes, |_| false);
            if let Ok(map) = decode::<BTreeMap<String, serde::de::IgnoredAny>>(&bytes) {
                prop_assert!(ours.is_ok());
                prop_assert!(map.len() <= usize::from(fields));
            }
        }
    }

    #[test]
    fn only_maps_with_text_keys_are_read() {
        let in_a_list = rmp_serde::to_vec(&(1, "x")).unwrap();
        assert_eq!(decode::<Known>(&in_a_list), Err(WireError::Malformed), "serde alone would take it");
        assert_eq!(decode::<Known>(&[0x81, 0x00, 0x07]), Err(WireError::Malformed), "a number for a key");
        assert_eq!(decode::<Known>(&[0x81, 0xc4, 0x01, b'a', 0x07]), Err(WireError::Malformed), "bytes for a key");
        assert_eq!(decode::<Known>(&[0x81, 0xa1, b'a', 0x07]), Ok(Known { a: 7, b: String::new() }));
        assert_eq!(decode::<Known>(&[0x82, 0xa1, b'a', 0x07, 0xa1, b'a', 0x08]), Err(WireError::Malformed), "a twice");
    }

    #[test]
    fn nesting_ends_at_its_limit() {
        let nested = |lists: usize| {
            let mut bytes = vec![0x82, 0xa1, b'a', 0x07, 0xa1, b'z'];
            bytes.extend(iter::repeat_n(0x91, lists));
            bytes.push(0xc0);
            bytes
        };
        assert!(decode::<Known>(&nested(MAP_DEPTH_MAX - 1)).is_ok());
        assert_eq!(decode::<Known>(&nested(MAP_DEPTH_MAX)), Err(WireError::Malformed));
        assert_eq!(decode::<Known>(&nested(100_000)), Err(WireError::Malformed));
    }

    #[test]
    fn a_claimed_length_costs_nothing() {
        for marker in [0xdb, 0xdd, 0xdf, 0xc6, 0xc9] {
            assert_eq!(decode::<Known>(&[0x81, 0xa1, b'a', marker, 0xff, 0xff, 0xff, 0xff]), Err(WireError::Malformed));
            assert_eq!(decode::<Known>(&[marker, 0xff, 0xff, 0xff, 0xff]), Err(WireError::Malformed));
        }
    }
}
