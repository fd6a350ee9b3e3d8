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
