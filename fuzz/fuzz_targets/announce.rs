//! An announce and its signature check.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_udp::{
    crypto::identity::verify_announce,
    wire::{
        KIND_ANNOUNCE, MAGIC, WIRE_VERSION,
        announce::{Announce, Signed},
    },
};

fuzz_target!(|body: &[u8]| {
    let mut datagram = vec![KIND_ANNOUNCE];
    datagram.extend(MAGIC);
    datagram.push(WIRE_VERSION);
    datagram.extend_from_slice(body);
    if let Ok(signed) = Signed::decode(&datagram) {
        assert!(!verify_announce(&signed), "the fuzzer holds no key");
        let written = Announce::encode_unsigned(&signed.announce);
        assert!(written.len() <= signed.signed.len(), "ours is the shortest form");
    }
});
