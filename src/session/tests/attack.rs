//! Somebody on the wire who has no keys.

use super::*;

#[test]
fn spoofed_and_replayed_packets_change_nothing() {
    let mut pair = Pair::open(40, CLEAN);
    pair.tape = Some(vec![]);
    pair.exchange(A, 200, SECOND, |_| 300);
    pair.exchange(B, 200, SECOND, |_| 300);
    pair.run_for(SECOND);
    let mut tape = pair.tape.take().unwrap();
    // What the path did not carry would be news to its receiver.
    tape.retain(|(_, _, datagram)| datagram.len() <= ETHERNET);
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
        // Both are answered by what asks for an ack itself.
        crate::wire::frame::Frame::Ping.encode(&mut datagram);
        crate::wire::frame::Frame::PathChallenge(number).encode(&mut datagram);
        let b = &pair.ends[B].session;
        b.keys.seal(b.remote, crate::id::PacketNumber(1_000 + number), &mut datagram);
        let (now, from) = (pair.now, pair.ends[B].addr);
        pair.ends[A].session.handle_datagram(now, from, &mut datagram).unwrap();
        while pair.ends[A].session.poll_transmit(now, &mut out).is_some() {}
    }
    assert!(pair.stats(A).sent < 17_000, "{}", pair.stats(A).sent);
}

#[test]
fn a_peer_that_acks_nothing_cannot_make_control_items_pile_up() {
    let mut pair = Pair::open(44, CLEAN);
    pair.deaf[B] = true;
    let taken = (0..40_000).filter(|_| pair.ends[A].session.send_control(vec![1; 100]).is_some()).count();
    assert_eq!(taken, 16_384);
    assert_eq!(pair.ends[A].session.queued(), 16_384 * 100, "what comes after the limit is kept nowhere");
    pair.run_for(SECOND);
    assert_eq!(pair.ends[A].events.last(), Some(&SessionEvent::Closed(CloseReason::Local(CloseCode::Protocol))));
}

#[test]
fn a_peer_that_acks_late_is_sent_control_items_without_end() {
    let mut pair = Pair::open(45, LinkConfig { delay: 200 * MS, ..CLEAN });
    for _ in 0..50 {
        assert!((0..1_000).all(|_| pair.ends[A].session.send_control(vec![1; 100]).is_some()));
        pair.run_for(5 * SECOND);
    }
    assert_eq!(pair.ends[B].received.len(), 50_000);
    assert!(!pair.ends[A].session.is_closed());
}

mod hostile {
    //! A peer with the right keys and no manners.

    use proptest::prelude::*;

    use super::*;
    use crate::{
        id::PacketNumber,
        wire::{
            PACKET_HEADER_LEN,
            frame::{Ack, Frame, RekeyPart},
        },
    };

    /// Random numbers, small ones and edges more often.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..8, 0u64..3_000, Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()]
    }

    /// Appends one frame, or bytes that are none.
    fn frame(kind: u8, a: u64, b: u64, bytes: &[u8], out: &mut Vec<u8>) {
        let small = |n: u64| u32::try_from(n % 70_000).unwrap();
        let part = |parts: u8| RekeyPart {
            epoch: Epoch(u32::try_from(a % 4).unwrap()),
            part: u8::try_from(b % u64::from(parts)).unwrap(),
            parts,
            bytes: &bytes[..bytes.len().clamp(1, 640)],
        };
        match kind {
            0 => Frame::Message { n: a, bytes }.encode(out),
            1 => Frame::Fragment { n: a % 2_000, offset: small(a), total: small(a).saturating_add(small(b)), bytes }.encode(out),
            2 => {
                let (first, last) = (PacketNumber(a.min(b)), PacketNumber(a.max(b)));
                Frame::Ack(Ack { delay_us: u32::MAX, ranges: vec![(first, last)] }).encode(out);
            }
            3 => Frame::Credit { limit: a }.encode(out),
            4 => Frame::PathChallenge(a).encode(out),
            5 => Frame::PathResponse(a).encode(out),
            6 => Frame::Rekey(part(2)).encode(out),
            7 => Frame::RekeyReply(part(2)).encode(out),
            8 => Frame::Ping.encode(out),
            9 => Frame::AckNow.encode(out),
            10 => out.extend_from_slice(bytes),
            _ => Frame::Message { n: 1 + 4 * (a % 50), bytes }.encode(out),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever it sends: no panic, no endless sending, no more held than was granted, honest timers.
        #[test]
        fn a_hostile_peer_costs_no_more_than_its_credit(
            packets in proptest::collection::vec(
                (
                    proptest::collection::vec((0u8..12, number(), number(), proptest::collection::vec(any::<u8>(), 1..300)), 1..4),
                    0u64..400, 0u8..4,
                ),
                1..40,
            ),
        ) {
            let mut pair = Pair::open(43, CLEAN);
            for _ in 0..20 {
                pair.send(A, vec![1; 3_000]);
            }
            let mut sealed = pair.ends[B].session.recovery.next_number().0;
            let (mut out, mut received) = (Vec::new(), 0);
            for (frames, wait, port) in packets {
                let mut datagram = vec![0; PACKET_HEADER_LEN];
                frames.iter().for_each(|(kind, a, b, bytes)| frame(*kind, *a, *b, bytes, &mut datagram));
                sealed += 1 + wait % 3;
                let b = &pair.ends[B].session;
                b.keys.seal(b.remote, PacketNumber(sealed), &mut datagram);
                let now = pair.now + Duration::from_millis(wait);
                pair.now = now;
                let from = addr(2, 2_000 + u16::from(port));
                let session = &mut pair.ends[A].session;
                _ = session.handle_datagram(now, from, &mut datagram);
                session.handle_timeout(now);
                let mut burst = 0;
                while session.poll_transmit(now, &mut out).is_some() {
                    burst += 1;
                    prop_assert!(burst < 200, "it goes on and on");
                }
                while let Some(event) = session.poll_event() {
                    if let SessionEvent::Received { bytes, .. } = event {
                        received += bytes.len();
                    }
                }
                prop_assert!(received <= 2 << 20);
                prop_assert!(session.poll_timeout().is_none_or(|at| at > now), "{:?} {:?}", now, session.timers);
            }
        }
    }
}
