//! Somebody on the wire who has no keys.

use super::*;

#[test]
fn spoofed_and_replayed_packets_change_nothing() {
    let mut pair = Pair::open(40, CLEAN);
    pair.tape = Some(vec![]);
    pair.exchange(A, 200, SECOND, |_| 300);
    pair.exchange(B, 200, SECOND, |_| 300);
    let tape = pair.tape.take().unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(41);
    let before: Vec<_> =
        pair.ends.iter().map(|end| (end.session.path(), end.session.poll_timeout(), end.session.heard_at())).collect();
    for i in 0..100_000 {
        let (receiver, _, datagram) = &tape[rng.next_u32() as usize % tape.len()];
        let mut datagram = datagram.clone();
        if i % 4 > 0 {
            // A new number, an old one, or any bit.
            let bit =
                if i % 4 == 1 { 6 * 8 + rng.next_u32() as usize % 64 } else { rng.next_u32() as usize % (datagram.len() * 8) };
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
        let from = addr(200, rng.next_u32() as u16);
        let now = pair.now;
        let session = &mut pair.ends[*receiver].session;
        assert!(session.handle_datagram(now, from, &mut datagram).is_err());
    }
    let mut out = Vec::new();
    let now = pair.now;
    for (end, before) in pair.ends.iter_mut().zip(before) {
        assert_eq!((end.session.path(), end.session.poll_timeout(), end.session.heard_at()), before);
        assert_eq!(end.session.poll_transmit(now, &mut out), None);
        assert_eq!(end.session.poll_event(), None);
    }
    assert_eq!(pair.stats(A).dropped + pair.stats(B).dropped, 100_000);
    pair.exchange(A, 10, SECOND, |_| 300);
}

#[test]
fn a_peer_that_acks_nothing_cannot_make_us_remember_without_end() {
    let mut pair = Pair::open(42, CLEAN);
    pair.send(A, vec![1; 100]);
    pair.transmit(A);
    // B's keys, in the hands of somebody who sends and never acks.
    let mut out = Vec::new();
    for number in 0..40_000 {
        let mut datagram = vec![0; crate::wire::PACKET_HEADER_LEN];
        crate::wire::frame::Frame::Ping.encode(&mut datagram);
        let b = &pair.ends[B].session;
        b.keys.seal(b.remote, crate::id::PacketNumber(1_000 + number), &mut datagram);
        let (now, from) = (pair.now, pair.ends[B].addr);
        pair.ends[A].session.handle_datagram(now, from, &mut datagram).unwrap();
        while pair.ends[A].session.poll_transmit(now, &mut out).is_some() {}
    }
    assert!(pair.stats(A).sent < 17_000, "{}", pair.stats(A).sent);
}
