//! Worlds built by hand in which one disk is slow: it costs nobody else anything, and nothing is sent twice for it.

use std::time::Duration;

use p2pchat_udp::{
    node::{
        command::{Command, Reply},
        event::Event,
    },
    session::Stats,
};

use crate::{
    scenarios::{MS, SECOND, office},
    workload::text_of,
    world::World,
};

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
/// A commit of bob's disk takes so long, and up to a quarter more until he hears of it.
const COMMIT: Duration = Duration::from_millis(100);

/// What both ends of the session between two say of it.
fn stats(world: &World, one: usize, other: usize) -> [Stats; 2] {
    [(one, other), (other, one)].map(|(machine, other)| {
        let process = world.machines[machine].process.as_ref().expect("runs");
        process.node.session(&world.machines[other].person).expect("open").stats()
    })
}

/// Carol asks bob for a sign of life: how long it takes.
fn ping(world: &mut World) -> Duration {
    let (start, peer) = (world.now, world.machines[BOB].person);
    let asked = world.command(CAROL, Command::Ping { peer, timeout: SECOND });
    let is_answer = |event: &Event| matches!(event, Event::Reply(id, Reply::Ponged(pong)) if *id == asked && pong.rtt.is_some());
    let seen = world.seen.len();
    let came = world.run_while(start + SECOND, |world| world.seen[seen..].iter().any(|(_, _, event)| is_answer(event)));
    assert!(came, "no answer");
    world.now - start
}

/// What carol sends to bob: how long until it is delivered.
fn delivery(world: &mut World, text: &str) -> Duration {
    let (start, before) = (world.now, world.delivered(CAROL));
    world.send(CAROL, BOB, text);
    let done = world.run_while(start + 10 * SECOND, |world| world.delivered(CAROL) > before);
    assert!(done, "not delivered");
    world.now - start
}

/// Alice keeps bob's disk busy all the time. The longest that carol waits for a sign of life, and for a receipt.
fn longest_waits(commit: Option<Duration>) -> (Duration, Duration) {
    let mut world = office(12, 3);
    world.run_until(5 * SECOND);
    // Bob knows both: what a stranger may have here that nobody has seen is little.
    for other in [ALICE, CAROL] {
        world.send(BOB, other, "hello");
        world.send(other, BOB, "hello");
        world.run_until(world.now + SECOND);
    }
    world.machines[BOB].commit_time = commit.map(|commit| (commit, commit));
    let (mut pinged, mut delivered, mut given) = (Duration::ZERO, Duration::ZERO, 0);
    for n in 0..100 {
        for _ in 0..3 {
            world.send(ALICE, BOB, &text_of(given, 40 + given % 3_000));
            given += 1;
        }
        // At all moments of a commit.
        world.run_until(world.now + 37 * MS + n * MS);
        pinged = pinged.max(ping(&mut world));
        delivered = delivered.max(delivery(&mut world, &text_of(n as usize, 60)));
    }
    let done = world.run_while(world.now + 10 * SECOND, |world| world.delivered(ALICE) == 1 + given);
    assert!(done, "{} of {given} delivered", world.delivered(ALICE));
    for stats in [ALICE, CAROL].into_iter().flat_map(|other| stats(&world, other, BOB)) {
        // A message that is offered again is a duplicate at its receiver's.
        assert_eq!((stats.retransmitted, stats.lost, stats.duplicate, stats.timeouts), (0, 0, 0, 0), "{stats:?}");
    }
    world.finish();
    (pinged, delivered)
}

#[test]
fn a_slow_disk_costs_no_other_peer_a_millisecond() {
    let (pinged, delivered) = longest_waits(None);
    let (pinged_slow, delivered_slow) = longest_waits(Some(COMMIT));
    println!("a ping {pinged:?}, with a slow disk {pinged_slow:?}; a receipt {delivered:?}, {delivered_slow:?}");
    assert_eq!(pinged_slow, pinged, "what needs no commit waits for none");
    let until_heard = COMMIT + COMMIT / 4;
    assert!(delivered_slow <= 2 * until_heard + delivered, "at most the commit under way, and its own: {delivered_slow:?}");
}
