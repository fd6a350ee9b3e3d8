//! The encodings of the page for what seeds are told and tell, by its words and without the program's code.

use std::net::{IpAddr, SocketAddr};

pub(super) fn varint(n: u64) -> Vec<u8> {
    match n {
        0..=250 => vec![u8::try_from(n).unwrap()],
        251..=0xffff => [vec![251], u16::try_from(n).unwrap().to_le_bytes().to_vec()].concat(),
        0x1_0000..=0xffff_ffff => [vec![252], u32::try_from(n).unwrap().to_le_bytes().to_vec()].concat(),
        _ => [vec![253], n.to_le_bytes().to_vec()].concat(),
    }
}

pub(super) fn counted(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn octets(addr: SocketAddr) -> Vec<u8> {
    match addr.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

pub(super) fn address(addr: SocketAddr) -> Vec<u8> {
    [vec![u8::from(addr.is_ipv6())], octets(addr), varint(addr.port().into())].concat()
}

/// Octets and port, big endian.
pub(super) fn octets_and_port(addr: SocketAddr) -> Vec<u8> {
    [octets(addr), addr.port().to_be_bytes().to_vec()].concat()
}

/// MessagePack: an integer in its shortest form.
pub(super) fn integer(n: u64) -> Vec<u8> {
    match n {
        0..=0x7f => vec![u8::try_from(n).unwrap()],
        0x80..=0xff => vec![0xcc, u8::try_from(n).unwrap()],
        0x100..=0xffff => [vec![0xcd], u16::try_from(n).unwrap().to_be_bytes().to_vec()].concat(),
        0x1_0000..=0xffff_ffff => [vec![0xce], u32::try_from(n).unwrap().to_be_bytes().to_vec()].concat(),
        _ => [vec![0xcf], n.to_be_bytes().to_vec()].concat(),
    }
}

/// MessagePack: bin of less than 256 bytes.
pub(super) fn bin(bytes: &[u8]) -> Vec<u8> {
    [&[0xc4, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// MessagePack: a text of less than 32 bytes.
pub(super) fn string(text: &str) -> Vec<u8> {
    [&[0xa0 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// MessagePack: less than 16 addresses.
pub(super) fn addresses(addrs: &[SocketAddr]) -> Vec<u8> {
    let addrs_bin: Vec<u8> = addrs.iter().flat_map(|addr| bin(&octets_and_port(*addr))).collect();
    [vec![0x90 | u8::try_from(addrs.len()).unwrap()], addrs_bin].concat()
}

/// MessagePack: a map of less than 16 fields.
pub(super) fn map(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let body: Vec<u8> = fields.iter().flat_map(|(key, value)| [string(key), value.clone()].concat()).collect();
    [vec![0x80 | u8::try_from(fields.len()).unwrap()], body].concat()
}

/// SipHash-2-4 with 16 bytes of output (Aumasson and Bernstein, and their reference code for the length).
pub(super) fn siphash_128(key: &[u8], bytes: &[u8]) -> [u8; 16] {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let (k0, k1) = (word(&key[..8]), word(&key[8..]));
    let mut v =
        [k0 ^ 0x736f_6d65_7073_6575, k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee, k0 ^ 0x6c79_6765_6e65_7261, k1 ^ 0x7465_6462_7974_6573];
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len() / 8 * 8 + 7, 0);
    padded.push(u8::try_from(bytes.len() % 256).unwrap());
    for m in padded.chunks(8).map(word) {
        v[3] ^= m;
        sip_rounds(&mut v, 2);
        v[0] ^= m;
    }
    v[2] ^= 0xee;
    sip_rounds(&mut v, 4);
    let first = v.iter().fold(0, |xor, word| xor ^ word);
    v[1] ^= 0xdd;
    sip_rounds(&mut v, 4);
    let second = v.iter().fold(0, |xor, word| xor ^ word);
    [first.to_le_bytes(), second.to_le_bytes()].concat().try_into().unwrap()
}

fn sip_rounds(v: &mut [u64; 4], count: usize) {
    for _ in 0..count {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

#[test]
fn the_second_siphash_is_the_one_of_its_authors() {
    // vectors.h of the reference code: key 00 01 .. 0f, input of no byte and of 15.
    let bytes: Vec<u8> = (0..16).collect();
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    assert_eq!(siphash_128(&bytes, &[]).to_vec(), hex("a3817f04ba25a8e66df67214c7550293"));
    assert_eq!(siphash_128(&bytes, &bytes[..15]).to_vec(), hex("5493e99933b0a8117e08ec0f97cfc3d9"));
}
