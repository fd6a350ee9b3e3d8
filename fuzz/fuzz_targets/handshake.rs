//! Handshake datagrams with valid macs and anything inside, to both sides; then the payload alone.
//! Whatever came, the genuine datagrams still finish the handshake.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pchat_udp::{
    crypto::{
        handshake::{Initiator, Responder},
        identity::Identity,
    },
    id::{BootId, SessionIndex},
    wire::{WIRE_VERSION, message::HandshakePayload},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fuzz_target!(|bytes: &[u8]| {
    let _ = HandshakePayload::decode(bytes);

    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (alice, bob) = (Identity::generate(&mut rng), Identity::generate(&mut rng));
    let payload = HandshakePayload { version: WIRE_VERSION, boot: BootId(1), features: Vec::new(), software: String::new() };
    assert!(Responder::new(&bob, "", bytes, SessionIndex(2), &payload, &mut rng).is_err());

    let (mut initiator, initiation) = Initiator::new(&alice, bob.id(), "", SessionIndex(1), &mut rng);
    let changed = overlay(&initiation, bytes);
    if changed != initiation {
        assert!(Responder::new(&bob, "", &changed, SessionIndex(2), &payload, &mut rng).is_err());
    }
    let (mut responder, response) = Responder::new(&bob, "", &initiation, SessionIndex(2), &payload, &mut rng).expect("genuine");
    let changed = overlay(&response, bytes);
    assert!(changed == response || initiator.on_response(&changed, &payload).is_err());
    let (_, confirm) = initiator.on_response(&response, &payload).expect("genuine");
    let changed = overlay(&confirm, bytes);
    assert!(changed == confirm || responder.on_confirm(&changed).is_err());
    responder.on_confirm(&confirm).expect("genuine");
});

/// `genuine` with `bytes` over its end, its mac2 (which nobody checks yet) left alone.
fn overlay(genuine: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut changed = genuine.to_vec();
    let covered = changed.len() - 16;
    changed[..covered].iter_mut().rev().zip(bytes.iter().rev()).for_each(|(byte, new)| *byte = *new);
    changed
}
