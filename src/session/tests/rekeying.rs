//! Epochs: the first rekey, rekeys in use, and what must never cross them.

use super::*;
use crate::{
    id::PacketNumber,
    wire::{
        PACKET_HEADER_LEN,
        frame::{Ack, Frame, RekeyPart},
    },
};

/// Gives `to` a packet that `from`'s keys seal, with these frames.
fn inject(pair: &mut Pair, from: usize, frames: &[Frame<'_>]) {
    let mut datagram = vec![0; PACKET_HEADER_LEN];
    frames.iter().for_each(|frame| frame.encode(&mut datagram));
    let end = &mut pair.ends[from];
    let number = PacketNumber(end.session.recovery.next_number().0 + 1_000);
    let remote = end.session.remote;
    end.session.keys.seal(remote, number, &mut datagram);
    let source = end.addr;
    let now = pair.now;
    _ = pair.ends[1 - from].session.handle_datagram(now, source, &mut datagram);
    pair.settle();
}

#[test]
fn content_never_travels_in_epoch_0() {
    for rng_seed in 0..20 {
        let mut pair = Pair::new(rng_seed, LinkConfig { loss: 30, jitter: 2 * MS, ..CLEAN });
        pair.tape = Some(vec![]);
        let secret = vec![0xA5; 400];
        let n = pair.send(A, secret.clone());
        pair.send(B, secret.clone());
        pair.run_until(60 * SECOND, |pair| pair.ends.iter().all(|end| end.received.len() == 1));
        assert_eq!(pair.ends[B].received, [(n, secret)]);
        // Whoever records all and later breaks epoch 0 (its keys are the handshake's) finds no content.
        let (a, b) = established_pair(rng_seed);
        let keys = [Keys::new(&a), Keys::new(&b)];
        let mut opened = 0;
        for (receiver, _, mut datagram) in pair.tape.take().unwrap() {
            let header = crate::wire::packet::PacketHeader::decode(&datagram).unwrap();
            if header.epoch > 0 {
                continue;
            }
            let (_, frames) = keys[receiver].open(&header, &mut datagram).unwrap();
            for frame in crate::wire::frame::Frames::new(frames) {
                opened += 1;
                assert!(matches!(
                    frame.unwrap(),
                    Frame::Ack(_) | Frame::Ping | Frame::Rekey(_) | Frame::RekeyReply(_) | Frame::Close(_)
                ));
            }
        }
        assert!(opened >= 4);
    }
}

#[test]
fn content_in_epoch_0_closes() {
    for frame in [
        Frame::Message { n: 1, bytes: b"x" },
        Frame::Credit { limit: 9 },
        Frame::PathChallenge(1),
        Frame::Fragment { n: 1, offset: 1, total: 2, bytes: b"x" },
    ] {
        let mut pair = Pair::new(1, CLEAN);
        inject(&mut pair, A, &[frame]);
        assert_eq!(pair.ends[B].events, [SessionEvent::Closed(CloseReason::Violation(CloseCode::Protocol))]);
        assert!(pair.ends[B].received.is_empty());
    }
}

#[test]
fn a_wrong_kem_secret_never_opens_epoch_1_and_the_session_is_dropped_silently() {
    // Somebody who knows the handshake's keys, but not the KEM secret, answers in the responder's place:
    // a responder whose root differs is the same thing seen from outside.
    let mut pair = Pair::new(3, CLEAN);
    let (_, mut other) = established_pair(3);
    other.handshake_hash[0] ^= 1;
    let (path, mut rng) = (pair.ends[A].addr, ChaCha20Rng::seed_from_u64(9));
    pair.ends[B].session = Session::new(other, path, SessionConfig::default(), pair.now, &mut rng);
    pair.send(A, vec![1; 100]);
    pair.run_for(9 * SECOND);
    assert!(pair.ends.iter().all(|end| !end.session.is_open() && end.session.is_heard()));
    pair.run_for(3 * SECOND);
    for end in &pair.ends {
        assert_eq!(end.events, [SessionEvent::Closed(CloseReason::NeverOpened)]);
        assert!(end.received.is_empty());
    }
    let quiet = (pair.stats(A).sent, pair.stats(B).sent);
    pair.run_for(60 * SECOND);
    assert_eq!((pair.stats(A).sent, pair.stats(B).sent), quiet, "silently");
}

#[test]
fn the_first_rekey_survives_loss() {
    for rng_seed in 0..200 {
        let mut pair = Pair::new(1_000 + rng_seed, LinkConfig { loss: 50, delay: 20 * MS, jitter: 5 * MS, ..CLEAN });
        pair.run_until(10 * SECOND, |pair| pair.ends.iter().all(|end| end.session.is_open()));
        assert!(pair.ends.iter().all(|end| end.session.stats().rekeys == 1));
    }
}

#[test]
fn old_keys_are_erased() {
    let mut pair = Pair::new(60, CLEAN);
    // Kept back from epoch 0: a packet that the initiator sealed and that never arrived.
    let late = |pair: &Pair, above: u64| {
        // Asks for no ack: the ack would name a number that the initiator has not used.
        let mut datagram = vec![0; PACKET_HEADER_LEN];
        Frame::Ack(Ack { delay_us: 0, ranges: vec![(PacketNumber(0), PacketNumber(0))] }).encode(&mut datagram);
        let session = &pair.ends[A].session;
        session.keys.seal(session.remote, PacketNumber(session.recovery.next_number().0 + above), &mut datagram);
        datagram
    };
    let give = |pair: &mut Pair, mut datagram: Vec<u8>| {
        let (now, from) = (pair.now, pair.ends[A].addr);
        pair.ends[B].session.handle_datagram(now, from, &mut datagram)
    };
    pair.transmit(B);
    pair.transmit(A);
    let (soon, much_later) = (late(&pair, 500), late(&pair, 501));
    pair.run_for(9 * SECOND);
    assert_eq!(give(&mut pair, soon), Ok(()));
    pair.run_for(2 * SECOND);
    assert_eq!(give(&mut pair, much_later), Err(Dropped::NoKeys), "epoch 0 opens for 10 s");

    let mut pair = Pair::open(61, CLEAN);
    pair.run_for(60 * SECOND);
    let (soon, much_later) = (late(&pair, 600), late(&pair, 601));
    let Session { rekey, keys, chance, .. } = &mut pair.ends[A].session;
    rekey.propose(keys, chance);
    pair.run_for(29 * SECOND);
    assert_eq!(pair.ends[B].session.epoch(), Epoch(2));
    assert_eq!(give(&mut pair, soon), Ok(()));
    pair.run_for(2 * SECOND);
    assert_eq!(give(&mut pair, much_later), Err(Dropped::NoKeys), "later epochs for 30 s");
}

#[test]
fn a_rekey_is_due_by_count_too() {
    let pair = Pair::open(61, CLEAN);
    let Session { rekey, keys, .. } = &pair.ends[B].session;
    assert!(!rekey.is_due(pair.now, keys, PacketNumber(1 << 39)));
    assert!(rekey.is_due(pair.now, keys, PacketNumber((1 << 40) + 100)));
}

/// Steady traffic both ways for `duration`; all of it must arrive.
fn chat(pair: &mut Pair, duration: Duration, both: bool) {
    let (end, mut sent) = (pair.now + duration, [0; 2]);
    let received = [pair.ends[A].received.len(), pair.ends[B].received.len()];
    while pair.now < end {
        for from in if both { 0..2 } else { 0..1 } {
            pair.send(from, vec![1; 100]);
            sent[from] += 1;
        }
        pair.run_for(500 * MS);
    }
    pair.run_until(30 * SECOND, |pair| {
        pair.ends[A].received.len() == received[A] + sent[B] && pair.ends[B].received.len() == received[B] + sent[A]
    });
}

#[test]
fn a_session_in_use_rekeys_every_two_minutes_and_loses_nothing() {
    for link in [CLEAN, LinkConfig { loss: 20, jitter: 5 * MS, ..CLEAN }] {
        let mut pair = Pair::open(20, link);
        chat(&mut pair, 600 * SECOND, true);
        for end in &pair.ends {
            let rekeys = end.session.stats().rekeys;
            assert!((5..=6).contains(&rekeys), "{rekeys}");
            assert_eq!(u64::from(end.session.epoch().0), rekeys);
            assert_eq!(end.events, [SessionEvent::Opened]);
        }
    }
}

#[test]
fn the_responder_rekeys_where_the_initiator_does_not() {
    let mut pair = Pair::open(21, CLEAN);
    pair.ends[A].session.rekey.never_due();
    chat(&mut pair, 155 * SECOND, false);
    assert_eq!(pair.ends[A].session.epoch(), Epoch(1));
    chat(&mut pair, 10 * SECOND, false);
    assert_eq!(pair.ends[A].session.epoch(), Epoch(2), "at 160 s");
}

#[test]
fn both_rekey_at_once_and_the_initiators_stands() {
    for rng_seed in 0..20 {
        let mut pair = Pair::open(22 + rng_seed, LinkConfig { loss: 20, jitter: 3 * MS, ..CLEAN });
        pair.run_for(60 * SECOND);
        for end in [A, B] {
            let Session { rekey, keys, chance, .. } = &mut pair.ends[end].session;
            rekey.propose(keys, chance);
        }
        pair.run_until(20 * SECOND, |pair| pair.ends.iter().all(|end| end.session.epoch() == Epoch(2)));
        pair.exchange(A, 50, 20 * SECOND, |_| 100);
        pair.exchange(B, 50, 20 * SECOND, |_| 100);
        assert!(pair.ends.iter().all(|end| end.session.stats().rekeys == 2 && !end.session.is_closed()));
    }
}

#[test]
fn no_content_leaves_in_an_old_epoch() {
    let mut pair = Pair::open(50, CLEAN);
    pair.run_for(600 * SECOND);
    assert_eq!(pair.ends[A].session.epoch(), Epoch(1), "an idle session does not rekey");
    pair.tape = Some(vec![]);
    pair.exchange(B, 1, 5 * SECOND, |_| 300);
    let content: Vec<u8> = pair.tape.take().unwrap().iter().filter(|(to, ..)| *to == A).map(|(_, _, bytes)| bytes[1]).collect();
    assert!(content.contains(&1) && content.contains(&2), "the rekey in the old epoch, the content in the new: {content:?}");
    assert_eq!(pair.ends[A].session.epoch(), Epoch(2));
}

#[test]
fn a_second_rekey_within_30_s_closes() {
    let mut pair = Pair::open(51, CLEAN);
    let Session { rekey, keys, chance, .. } = &mut pair.ends[A].session;
    rekey.propose(keys, chance);
    pair.run_for(SECOND);
    assert_eq!(pair.ends[B].events.last(), Some(&SessionEvent::Closed(CloseReason::Violation(CloseCode::Protocol))));
}

#[test]
fn rekeys_that_make_no_sense_close() {
    let part = |epoch, part, parts, len: usize| RekeyPart { epoch: Epoch(epoch), part, parts, bytes: &[7; 640][..len] };
    for parts in [vec![part(3, 0, 2, 640)], vec![part(2, 0, 2, 640), part(2, 1, 3, 576)], vec![part(2, 0, 1, 640)]] {
        let mut pair = Pair::open(52, CLEAN);
        pair.run_for(60 * SECOND);
        let frames: Vec<_> = parts.into_iter().map(Frame::Rekey).collect();
        inject(&mut pair, A, &frames);
        assert_eq!(pair.ends[B].events.last(), Some(&SessionEvent::Closed(CloseReason::Violation(CloseCode::Protocol))));
    }
    // A part of an old rekey is a late copy.
    let mut pair = Pair::open(53, CLEAN);
    inject(&mut pair, A, &[Frame::Rekey(part(1, 0, 2, 640)), Frame::RekeyReply(part(1, 0, 2, 640))]);
    assert!(!pair.ends[B].session.is_closed());
}

#[test]
fn an_ack_of_a_packet_never_sent_closes() {
    let mut pair = Pair::open(54, CLEAN);
    let next = pair.ends[B].session.recovery.next_number();
    let last = PacketNumber(next.0 - 1);
    inject(&mut pair, A, &[Frame::Ack(Ack { delay_us: 0, ranges: vec![(PacketNumber(0), last)] })]);
    assert!(!pair.ends[B].session.is_closed());
    let mut pair = Pair::open(54, CLEAN);
    inject(&mut pair, A, &[Frame::Ack(Ack { delay_us: 0, ranges: vec![(PacketNumber(0), next)] })]);
    assert_eq!(pair.ends[B].events.last(), Some(&SessionEvent::Closed(CloseReason::Violation(CloseCode::Protocol))));
    assert_eq!(pair.ends[A].events.last(), Some(&SessionEvent::Opened), "the close is on its way");
    pair.run_for(SECOND);
    assert_eq!(pair.ends[A].events.last(), Some(&SessionEvent::Closed(CloseReason::Remote(CloseCode::Protocol))));
}

#[test]
fn what_breaks_the_limits_of_credit_and_assembler_closes() {
    let long = vec![1; 1_100];
    let over: Vec<Vec<Frame<'_>>> = vec![
        // 4 KiB of credit before anybody is admitted.
        (0..4).map(|i| Frame::Message { n: 1 + 4 * i, bytes: &long }).collect(),
        vec![Frame::Message { n: 3, bytes: b"a lane that does not exist" }],
        vec![Frame::Message { n: 1, bytes: b"" }],
        vec![Frame::Message { n: 1 + 4 * 70_000, bytes: b"x" }],
        vec![Frame::Fragment { n: 1, offset: 9_000, total: 100_000, bytes: &long }],
        vec![
            Frame::Fragment { n: 1, offset: 0, total: 3_000, bytes: &long },
            Frame::Fragment { n: 1, offset: 1_100, total: 3_001, bytes: &long },
        ],
        vec![Frame::Fragment { n: 1, offset: 0, total: 3_000, bytes: &long }, Frame::Message { n: 1, bytes: b"x" }],
        vec![Frame::Fragment { n: 1, offset: 0, total: 3_000, bytes: b"too short" }],
        vec![Frame::Fragment { n: 1, offset: 2_999, total: 3_000, bytes: b"too long" }],
    ];
    for frames in over {
        let mut pair = Pair::new(55, CLEAN);
        pair.run_for(SECOND);
        inject(&mut pair, A, &frames);
        assert_eq!(
            pair.ends[B].events.last(),
            Some(&SessionEvent::Closed(CloseReason::Violation(CloseCode::Protocol))),
            "{:?}",
            frames.first().map(Frame::encoded_len)
        );
    }
    // Too many messages begun at once.
    let mut pair = Pair::open(56, CLEAN);
    for n in 0..257 {
        assert!(!pair.ends[B].session.is_closed(), "{n}");
        let end = &mut pair.ends[B].session;
        end.replay = ReplayWindow::default();
        inject(&mut pair, A, &[Frame::Fragment { n: 4 * n + 1, offset: 1, total: 2, bytes: b"x" }]);
    }
    assert!(pair.ends[B].session.is_closed());
}
