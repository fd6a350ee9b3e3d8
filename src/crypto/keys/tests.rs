//! Epochs: what opens under which keys, and what a rekey makes of them.

use rand_core::SeedableRng;

use super::*;
use crate::{
    id::{BootId, PeerId},
    wire::{message::HandshakePayload, packet::PacketHeader},
};

/// Both ends of a handshake that never was; the initiator's first.
pub(crate) fn established_pair(rng_seed: u64) -> (Established, Established) {
    let mut rng = ChaCha20Rng::seed_from_u64(rng_seed);
    let peer = |from: u8| {
        (from..)
            .find_map(|k| {
                let point = curve25519_dalek::constants::ED25519_BASEPOINT_POINT * curve25519_dalek::Scalar::from(k);
                PeerId::from_bytes(point.compress().0).ok()
            })
            .unwrap()
    };
    let payload = |boot| HandshakePayload { version: 1, boot: BootId(boot), features: vec![], software: String::new() };
    let (i2r, r2i) = (random(&mut rng), random(&mut rng));
    let handshake_hash = *random(&mut rng);
    let (a, b) = (SessionIndex(rng.next_u32()), SessionIndex(rng.next_u32()));
    let initiator = Established {
        peer: peer(100),
        payload: payload(2),
        role: Role::Initiator,
        local: a,
        remote: b,
        handshake_hash,
        send_key: i2r.clone(),
        receive_key: r2i.clone(),
    };
    let responder = Established {
        peer: peer(1),
        payload: payload(1),
        role: Role::Responder,
        local: b,
        remote: a,
        handshake_hash,
        send_key: r2i,
        receive_key: i2r,
    };
    (initiator, responder)
}

fn pair() -> (Keys, Keys) {
    let (a, b) = established_pair(1);
    (Keys::new(&a), Keys::new(&b))
}

fn sealed(keys: &Keys, number: u64) -> Vec<u8> {
    let mut datagram = vec![0; PACKET_HEADER_LEN];
    datagram.extend_from_slice(b"frames");
    keys.seal(SessionIndex(7), PacketNumber(number), &mut datagram);
    datagram
}

fn opened(keys: &Keys, mut datagram: Vec<u8>) -> Result<Epoch, OpenError> {
    let header = PacketHeader::decode(&datagram).unwrap();
    keys.open(&header, &mut datagram).map(|(epoch, frames)| {
        assert_eq!(frames, b"frames");
        epoch
    })
}

#[test]
fn each_direction_has_its_key_and_every_bit_is_authenticated() {
    let (a, b) = pair();
    assert_eq!(opened(&b, sealed(&a, 5)), Ok(Epoch(0)));
    assert_eq!(opened(&a, sealed(&b, 5)), Ok(Epoch(0)));
    assert_eq!(opened(&a, sealed(&a, 5)), Err(OpenError::Forged), "a reflected packet");
    let datagram = sealed(&a, 5);
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let Ok(header) = PacketHeader::decode(&changed) else { continue };
        assert!(b.open(&header, &mut changed).is_err(), "bit {bit}");
    }
}

#[test]
fn a_rekey_leads_both_sides_to_the_same_new_keys() {
    let (mut a, mut b) = pair();
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for epoch in 1..=3 {
        // Either side may propose.
        let (proposer, answerer) = if epoch % 2 == 1 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let proposal = Proposal::new(proposer, &mut rng);
        assert_eq!((proposal.epoch(), proposal.message().len()), (Epoch(epoch), REKEY_LEN));
        let reply = answer(answerer, proposal.message(), &mut rng).unwrap();
        assert_eq!(reply.len(), REKEY_REPLY_LEN);
        proposal.finish(proposer, &reply).unwrap();
        let old = sealed(answerer, 1);
        assert!(proposer.advance());
        assert_eq!(opened(answerer, sealed(proposer, 2)), Ok(Epoch(epoch)), "opens before the answerer sends in it");
        assert_eq!(opened(proposer, old.clone()), Ok(Epoch(epoch - 1)), "the old epoch still opens");
        assert!(answerer.advance());
        assert_eq!(opened(proposer, sealed(answerer, 3)), Ok(Epoch(epoch)));
        proposer.erase_previous();
        answerer.erase_previous();
        assert_eq!(opened(proposer, old), Err(OpenError::NoKeys));
    }
}

#[test]
fn a_rekey_changed_on_its_way_leads_to_different_keys_or_none() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    for at in [0, 31, 32, 600, REKEY_REPLY_LEN - 1] {
        let (mut a, mut b) = pair();
        let proposal = Proposal::new(&a, &mut rng);
        let mut reply = answer(&mut b, proposal.message(), &mut rng).unwrap();
        reply[at] ^= 1;
        if proposal.finish(&mut a, &reply).is_ok() {
            a.advance();
            assert_eq!(opened(&b, sealed(&a, 1)), Err(OpenError::Forged), "byte {at}");
        }
    }
    let (mut a, mut b) = pair();
    let proposal = Proposal::new(&a, &mut rng);
    let mut high = proposal.message().to_vec();
    high[32..35].fill(0xff);
    assert_eq!(answer(&mut b, &high, &mut rng), Err(RekeyError), "coefficients above the modulus");
    assert_eq!(answer(&mut b, &proposal.message()[..REKEY_LEN - 1], &mut rng), Err(RekeyError));
    let mut weak = proposal.message().to_vec();
    weak[..32].fill(0);
    assert_eq!(answer(&mut b, &weak, &mut rng), Err(RekeyError), "a point of small order");
    assert_eq!(proposal.finish(&mut a, &[0; 32]), Err(RekeyError));
    assert!(!a.has_next() && !b.has_next());
}
