//! The peer's address changes, or seems to.

use super::*;

#[test]
fn a_transfer_follows_its_peer_to_another_address() {
    for rng_seed in 0..10 {
        let mut pair = Pair::open(rng_seed, LinkConfig { loss: 10, delay: 3 * MS, ..CLEAN });
        for _ in 0..40 {
            pair.send(A, vec![1; 60_000]);
            pair.send(B, vec![2; 60_000]);
        }
        pair.run_for(20 * MS);
        pair.ends[A].addr = addr(77, 1_234);
        pair.run_until(60 * SECOND, |pair| pair.ends.iter().all(|end| end.received.len() == 40));
        assert_eq!(pair.ends[B].session.path(), addr(77, 1_234));
        assert!(pair.ends[B].events.contains(&SessionEvent::PathChanged));
        assert!(!pair.ends[A].events.contains(&SessionEvent::PathChanged));
        let received: BTreeSet<_> = pair.ends[B].received.iter().map(|(n, _)| *n).collect();
        assert_eq!(received.len(), 40);
    }
}

#[test]
fn a_silent_old_path_does_not_hold_the_traffic_back_and_the_new_one_gets_three_times_its_bytes_at_most() {
    let mut pair = Pair::open(30, CLEAN);
    pair.tape = Some(vec![]);
    // From now on B hears A from elsewhere, but nothing that B sends there arrives.
    let real = pair.ends[A].addr;
    pair.ends[A].addr = addr(99, 9);
    let now = pair.now;
    pair.ends[A].session.ping(now);
    for _ in 0..20 {
        pair.send(B, vec![3; 1_000]);
    }
    pair.transmit(A);
    pair.deaf[A] = true;
    pair.run_for(SECOND);
    let heard: usize = pair.tape.iter().flatten().filter(|(to, ..)| *to == B).map(|(_, _, bytes)| bytes.len()).sum();
    assert_ne!(pair.ends[B].session.path(), addr(99, 9), "it never answered");
    let sent = pair.sent_to[&addr(99, 9).remote];
    assert!(heard > 0 && sent > 0 && sent <= 3 * heard, "{sent} bytes for {heard}");
    pair.deaf[A] = false;
    pair.ends[A].addr = real;
    pair.run_until(30 * SECOND, |pair| pair.ends[A].received.len() == 20);
    assert_eq!(pair.ends[B].session.path(), real);
}

#[test]
fn a_copy_from_elsewhere_moves_nothing() {
    // An attacker overtakes: the newest packet arrives from his address first.
    let mut pair = Pair::open(31, CLEAN);
    pair.tape = Some(vec![]);
    for _ in 0..5 {
        pair.send(A, vec![4; 500]);
        pair.transmit(A);
        let (_, _, datagram) = pair.tape.as_ref().unwrap().last().unwrap().clone();
        let now = pair.now;
        pair.ends[B].session.handle_datagram(now, addr(66, 6), &mut datagram.clone()).unwrap();
        pair.run_for(SECOND);
        assert_eq!(pair.ends[B].session.path(), pair.ends[A].addr);
    }
    assert_eq!(pair.ends[B].received.len(), 5);
    assert!(!pair.ends[B].events.contains(&SessionEvent::PathChanged));
}

#[test]
fn a_candidate_of_the_node_is_used_once_it_answered() {
    let mut pair = Pair::open(32, CLEAN);
    let now = pair.now;
    pair.ends[B].session.try_path(now, addr(55, 5));
    pair.run_for(10 * SECOND);
    assert_eq!(pair.ends[B].session.path(), pair.ends[A].addr, "nobody is there");
    pair.ends[A].addr = addr(55, 5);
    let now = pair.now;
    pair.ends[B].session.try_path(now, addr(55, 5));
    pair.run_for(SECOND);
    assert_eq!(pair.ends[B].session.path(), addr(55, 5));
    pair.exchange(B, 10, SECOND, |_| 100);
}
