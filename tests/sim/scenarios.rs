//! Worlds built by hand, one for each sentence that the product says about itself. Times are virtual, so
//! they are exact, and they are printed.

use std::time::Duration;

use p2pchat_udp::{
    clock::Instant,
    id::MessageId,
    node::{
        command::Command,
        event::{Event, NoticeCode},
    },
    store::row::{Direction, State},
};

use crate::{
    faults::{Fault, Strike},
    network::Weather,
    stranger::Future,
    workload::{Ask, text_of},
    world::World,
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// So many machines on one wire, all started at once.
pub(crate) fn office(rng_seed: u64, machines: usize) -> World {
    let mut world = World::new(rng_seed);
    for name in ["alice", "bob", "carol", "dave"].into_iter().take(machines) {
        let machine = world.add_machine(name, &[0], true, true);
        world.start_at(Duration::ZERO, machine);
    }
    world
}

/// Runs until every machine's messages are delivered.
pub(crate) fn until_delivered(world: &mut World, patience: Duration, from: usize, messages: usize) -> Duration {
    let start = world.now;
    let done = world.run_while(start + patience, |world| world.delivered(from) >= messages);
    if !done {
        let delivered = world.delivered(from);
        world.fail(&format_args!("{delivered} of {messages} delivered after {patience:?}"));
    }
    world.now - start
}

#[test]
fn two_cold_machines_meet_and_the_first_message_arrives() {
    let (mut slowest_meeting, mut slowest_message) = (Duration::ZERO, Duration::ZERO);
    for rng_seed in 0..10 {
        let mut world = office(rng_seed, 2);
        let bob = world.machines[1].person;
        let met = world.run_while(SECOND, |world| {
            let sees = |machine, person| {
                world.seen.iter().any(|(_, on, event)| *on == machine && matches!(event, Event::Peer(view) if view.id == person))
            };
            sees(0, bob) && sees(1, world.machines[0].person)
        });
        assert!(met, "rng_seed {rng_seed}: not met after a second");
        slowest_meeting = slowest_meeting.max(world.now);
        let start = world.now;
        world.send(0, 1, "hello");
        slowest_message = slowest_message.max(until_delivered(&mut world, 3 * SECOND, 0, 1));
        assert_eq!(world.now - start, slowest_message.min(world.now - start));
        world.finish();
    }
    println!("cold discovery at most {slowest_meeting:?}, then the first message delivered in {slowest_message:?}");
    assert!(slowest_meeting < 100 * MS, "{slowest_meeting:?}");
    assert!(slowest_message < 200 * MS, "{slowest_message:?}");
}

#[test]
fn the_first_word_before_anybody_was_seen() {
    let mut world = office(1, 2);
    world.run_until(MS);
    world.send(0, 1, "are you there?");
    let took = until_delivered(&mut world, 3 * SECOND, 0, 1);
    println!("a message to a peer that nobody has heard yet: {took:?}");
    assert!(took < SECOND, "{took:?}");
    world.finish();
}

#[test]
fn a_thousand_each_way_through_loss_and_kills() {
    let mut world = office(2, 2);
    world.network.weather = Weather::lossy(200);
    world.commit_time = (MS / 3, 3 * MS);
    for n in 0..1_000 {
        let at = SECOND + 10 * MS * n as u32;
        for (from, to) in [(0, 1), (1, 0)] {
            let nth = 2 * n + from;
            let text = text_of(nth, 20 + n % 100);
            world.ask_at(at, Ask::Send { from, to, nth, kind: 0, text, expire: None });
            // Whoever saw no answer because of the kill asks again.
            world.ask_at(20 * SECOND + MS * n as u32, Ask::SendAgain { nth });
        }
    }
    world.strike_at(4 * SECOND, Strike::Kill { node: 0, back: SECOND });
    world.strike_at(7 * SECOND, Strike::KillInStorage { node: 1, operations: 3, back: SECOND });
    world.run_until(22 * SECOND);
    world.network.weather = Weather::lossy(200);
    let lossy = world.run_while(120 * SECOND, |world| {
        (0..2).all(|machine| {
            let history = world.seen.iter();
            history.filter(|(_, on, event)| *on == machine && matches!(event, Event::Message { .. })).count() >= 990
        })
    });
    assert!(lossy, "still waiting under loss");
    println!("2,000 messages through 20 % loss and two kills: {:?}", world.now);
    world.finish();
    for machine in 0..2 {
        let history = world.history(machine);
        for direction in [Direction::In, Direction::Out] {
            assert_eq!(history.iter().filter(|row| row.direction == direction).count(), 1_000);
        }
    }
    assert_eq!((world.fired.count(Fault::Kill), world.fired.count(Fault::KillInStorage)), (1, 1));
}

#[test]
fn mail_waits_for_bob_and_is_there_when_he_returns() {
    let mut world = office(3, 2);
    world.run_until(SECOND);
    world.send(0, 1, "hello");
    until_delivered(&mut world, SECOND, 0, 1);
    world.leave(1, 100 * SECOND);
    world.run_until(10 * SECOND);
    assert!(world.machines[1].process.is_none(), "bob has left");
    let late = world.send(0, 1, "while you were out");
    let back = 101 * SECOND;
    world.run_while(back + 5 * SECOND, |world| world.machines[1].process.is_some());
    let back = world.now;
    let took = until_delivered(&mut world, 5 * SECOND, 0, 2);
    println!("mail delivered {took:?} after bob's return at {back:?}");
    assert!(took <= 2 * SECOND, "{took:?}");
    let row = world.history(1).into_iter().find(|row| row.id == late).expect("it is there");
    assert!(row.late, "it waited for {:?}", row.received_at.since(row.sent_at));
    let age = row.received_at.since(row.sent_at);
    assert!((80 * SECOND..100 * SECOND).contains(&age), "{age:?}");
    world.finish();
}

#[test]
fn a_message_sent_at_once_is_not_late() {
    let mut world = office(3, 2);
    world.run_until(SECOND);
    let id = world.send(0, 1, "now");
    until_delivered(&mut world, SECOND, 0, 1);
    let row = world.history(1).into_iter().find(|row| row.id == id).expect("it is there");
    assert!(!row.late);
}

#[test]
fn both_dial_at_once_and_one_session_stays() {
    for rng_seed in 0..20 {
        let mut world = office(rng_seed, 2);
        world.network.weather = Weather { delay: 30 * MS, ..Weather::CLEAN };
        world.run_until(SECOND);
        let (there, back) = (world.send(0, 1, "you?"), world.send(1, 0, "you?"));
        until_delivered(&mut world, 3 * SECOND, 0, 1);
        until_delivered(&mut world, 3 * SECOND, 1, 1);
        assert!(world.shown_at(1, there).is_some() && world.shown_at(0, back).is_some());
        for n in 0..20 {
            world.send(n % 2, 1 - n % 2, &text_of(n, 30));
            world.run_until(world.now + SECOND);
        }
        assert_eq!((world.delivered(0), world.delivered(1)), (11, 11), "rng_seed {rng_seed}");
        world.finish();
    }
}

#[test]
fn a_restored_backup_is_noticed_and_loses_nothing_new() {
    let mut world = office(4, 2);
    world.run_until(SECOND);
    for n in 0..5 {
        world.send(0, 1, &text_of(n, 30));
    }
    until_delivered(&mut world, 3 * SECOND, 0, 5);
    world.strike_at(world.now, Strike::Restore { node: 0, after: 10 * SECOND });
    world.run_until(world.now + SECOND);
    for n in 5..10 {
        world.send(0, 1, &text_of(n, 30));
    }
    until_delivered(&mut world, 3 * SECOND, 0, 10);
    world.run_until(world.now + 15 * SECOND);
    assert_eq!(world.fired.count(Fault::RestoredImage), 1);
    let after: Vec<_> = (10..15).map(|n| world.send(0, 1, &text_of(n, 30))).collect();
    let shown = world.run_while(world.now + 10 * SECOND, |world| after.iter().all(|id| world.shown_at(1, *id).is_some()));
    assert!(shown, "nothing new is taken for something old");
    let notices: Vec<_> = world.machines.iter().map(|machine| machine.notices.contains(&NoticeCode::NewIncarnation)).collect();
    assert!(notices.contains(&true), "nobody noticed");
    world.finish();
}

#[test]
fn an_image_that_lacks_exactly_the_last_message_is_noticed_before_anything_is_sent() {
    let mut world = office(12, 2);
    world.run_until(SECOND);
    for n in 0..3 {
        world.send(0, 1, &text_of(n, 30));
    }
    until_delivered(&mut world, 3 * SECOND, 0, 3);
    world.strike_at(world.now, Strike::Restore { node: 0, after: 2 * SECOND });
    world.run_until(world.now + SECOND);
    world.send(0, 1, "the last one");
    until_delivered(&mut world, SECOND, 0, 4);
    world.run_until(world.now + 2 * SECOND);
    // Only the other side speaks: the books must tell, not a place that is taken.
    world.send(1, 0, "hello again");
    until_delivered(&mut world, 5 * SECOND, 1, 1);
    world.run_until(world.now + SECOND);
    assert!(world.machines[0].notices.contains(&NoticeCode::NewIncarnation), "{:?}", world.machines[0].notices);
    let after = world.send(0, 1, "in a new life");
    assert!(world.run_while(world.now + SECOND, |world| world.shown_at(1, after).is_some()));
    world.run_until(world.now + SECOND);
    assert!(!world.machines[0].notices.contains(&NoticeCode::ProfileInUseElsewhere), "no place was used twice");
    world.finish();
}

#[test]
fn a_restored_receiver_says_what_it_misses() {
    let mut world = office(5, 2);
    world.run_until(SECOND);
    world.send(0, 1, "before");
    until_delivered(&mut world, 3 * SECOND, 0, 1);
    world.strike_at(world.now, Strike::Restore { node: 1, after: 5 * SECOND });
    world.run_until(world.now + SECOND);
    world.send(0, 1, "lost with the image");
    until_delivered(&mut world, 3 * SECOND, 0, 2);
    world.run_until(world.now + 10 * SECOND);
    let after = world.send(0, 1, "after");
    until_delivered(&mut world, 10 * SECOND, 0, 3);
    assert!(world.shown_at(1, after).is_some());
    assert!(world.machines[1].notices.contains(&NoticeCode::MessagesMissing), "{:?}", world.machines[1].notices);
    world.finish();
}

#[test]
fn a_cloned_profile_is_noticed_by_both_and_loses_nothing() {
    let mut world = office(6, 2);
    world.run_until(SECOND);
    world.send(0, 1, "before");
    until_delivered(&mut world, 3 * SECOND, 0, 1);
    let copy = world.copy(0, 600 * SECOND);
    let mut ids = Vec::new();
    for n in 0..10 {
        world.run_until(world.now + 8 * SECOND);
        ids.push(world.send(0, 1, &text_of(n, 30)));
        ids.push(world.send(copy, 1, &text_of(100 + n, 30)));
    }
    let all = world.run_while(world.now + 90 * SECOND, |world| ids.iter().all(|id| world.shown_at(1, *id).is_some()));
    let missing = ids.iter().filter(|id| world.shown_at(1, **id).is_none()).count();
    assert!(all, "{missing} of {} messages are missing", ids.len());
    let told = |machine: usize, code| world.machines[machine].notices.contains(&code);
    assert!(told(1, NoticeCode::PeerClonedProfile), "bob was not told: {:?}", world.machines[1].notices);
    let elsewhere = [0, copy].map(|machine| told(machine, NoticeCode::ProfileInUseElsewhere));
    assert_eq!(elsewhere, [true, true], "each copy is told");
    world.finish();
}

#[test]
fn a_kill_in_the_handshake_costs_only_time() {
    for rng_seed in 0..40 {
        let mut world = office(rng_seed, 2);
        world.network.weather = Weather { delay: 5 * MS, ..Weather::CLEAN };
        world.run_until(SECOND);
        world.send(0, 1, "one");
        // Handshake, rekey, first message: the kill falls somewhere into them.
        world.strike_at(world.now + 2 * MS * rng_seed as u32, Strike::Kill { node: rng_seed as usize % 2, back: SECOND });
        world.run_until(world.now + 3 * SECOND);
        world.send(1, 0, "two");
        world.finish();
        let rows: usize = (0..2).map(|machine| world.history(machine).len()).sum();
        assert!(rows >= 2, "rng_seed {rng_seed}: {rows} rows");
    }
}

#[test]
fn three_nodes_talk_in_pairs() {
    let mut world = office(7, 3);
    world.run_until(SECOND);
    for n in 0..30 {
        let from = n % 3;
        world.send(from, (from + 1 + n / 3 % 2) % 3, &text_of(n, 50));
        world.run_until(world.now + 20 * MS);
    }
    world.finish();
    for machine in 0..3 {
        let history = world.history(machine);
        let ours = history.iter().filter(|row| row.direction == Direction::Out);
        assert!(ours.clone().all(|row| row.state == State::Delivered));
        assert_eq!((ours.count(), history.iter().filter(|row| row.direction == Direction::In).count()), (10, 10));
    }
}

#[test]
fn the_largest_text_arrives_whole() {
    let mut world = office(8, 2);
    world.run_until(SECOND);
    let text = text_of(1, p2pchat_udp::wire::TEXT_LEN_MAX);
    let id = world.send(0, 1, &text);
    let took = until_delivered(&mut world, 10 * SECOND, 0, 1);
    println!("1 MiB on a clean link: {took:?}");
    let history = world.history(1);
    assert!(history.iter().any(|row| row.id == id && row.text == text));
    world.finish();
}

#[test]
fn a_command_asked_twice_is_done_once() {
    let mut world = office(9, 2);
    world.run_until(SECOND);
    let id = world.send(0, 1, "once");
    let again = Command::Send { peer: world.machines[1].person, id, kind: 0, text: "once".to_owned(), expire: None };
    world.command(0, again.clone());
    until_delivered(&mut world, SECOND, 0, 1);
    world.command(0, again);
    world.run_until(world.now + 5 * SECOND);
    world.finish();
    assert_eq!(world.history(1).len(), 1);
}

#[test]
fn a_peer_from_the_future_chats_with_this_version() {
    let mut world = World::new(10);
    let alice = world.add_machine("alice", &[0], true, true);
    world.start_at(Duration::ZERO, alice);
    let host = world.network.add_host(&[0], true, true);
    let mut future = Future::new(42);
    let (me, them) = (world.machines[alice].person, future.id());
    let (ask, answer) = (MessageId::from_bytes([1; 16]), MessageId::from_bytes([2; 16]));
    let unknown_kind = MessageId::from_bytes([3; 16]);
    world.ledger.asked(ask, alice, me, them, 0, "hello, you".to_owned(), false);
    // Its receipt is believed: it has no books in this world.
    world.ledger.forgotten.insert(ask);
    world.ledger.asked_elsewhere(unknown_kind, them, me, 1_234, "[a hologram]");
    world.ledger.asked_elsewhere(answer, them, me, 0, "hello, past");
    let mut spoken = false;
    for tick in 0u32..20_000 {
        world.run_until(Future::TICK * tick);
        let now = Instant::from_start(world.now);
        for mut parcel in world.strangers.remove(&host).unwrap_or_default() {
            future.handle(now, &mut parcel);
        }
        match tick {
            10 | 1_000 | 5_000 => future.announce(2),
            100 => {
                let (text, expire) = ("hello, you".to_owned(), None);
                world.command(alice, Command::Send { peer: them, id: ask, kind: 0, text, expire });
            }
            _ => {}
        }
        if future.is_open() && !spoken && world.delivered(alice) == 1 {
            future.say(unknown_kind, 1_234, "[a hologram]");
            future.say(answer, 0, "hello, past");
            spoken = true;
        }
        future.turn(now);
        for (to, bytes) in future.leaving() {
            world.carry(host, to, &bytes);
        }
        if world.shown_at(alice, answer).is_some() {
            break;
        }
    }
    assert_eq!(world.delivered(alice), 1, "what was heard there: {:?}", future.heard);
    assert!(world.shown_at(alice, unknown_kind).is_some(), "a kind of a later version is stored and shown");
    assert!(world.shown_at(alice, answer).is_some());
    let row = world.history(alice).into_iter().find(|row| row.id == unknown_kind).expect("stored");
    assert_eq!((row.kind, row.text.as_str(), row.more.is_empty()), (1_234, "[a hologram]", false));
}

#[test]
fn slow_commits_cause_no_needless_retransmit() {
    for slowest in [100, 2_000] {
        let mut world = office(11, 2);
        world.commit_time = (MS * slowest, MS * slowest);
        world.run_until(5 * SECOND);
        for n in 0..40 {
            world.send(n % 2, 1 - n % 2, &text_of(n, 40 + 100 * n));
            world.run_until(world.now + 150 * MS);
        }
        let done = world.run_while(world.now + 60 * SECOND, |world| world.delivered(0) + world.delivered(1) == 40);
        assert!(done, "{} + {} delivered", world.delivered(0), world.delivered(1));
        for machine in 0..2 {
            let peer = world.machines[1 - machine].person;
            let process = world.machines[machine].process.as_ref().expect("runs");
            let stats = process.node.session(&peer).expect("open").stats();
            println!("commits of {slowest} ms, machine {machine}: {stats:?}");
            assert_eq!((stats.retransmitted, stats.lost, stats.duplicate), (0, 0, 0));
        }
        // Nor did anybody re-offer what was only waiting for a disk.
        world.finish();
    }
}

#[test]
fn a_lonely_machine_keeps_its_outbox_through_kills_and_disk_errors() {
    let mut torn = 0;
    for rng_seed in 0..30 {
        let mut world = World::new(rng_seed);
        let alice = world.add_machine("alice", &[0], true, true);
        let bob = world.add_machine("bob", &[0], true, true);
        world.start_at(Duration::ZERO, alice);
        world.commit_time = (Duration::ZERO, 50 * MS);
        for n in 0..200 {
            let text = text_of(n, 100);
            world.ask_at(50 * MS * n as u32, Ask::Send { from: alice, to: bob, nth: n, kind: 0, text, expire: None });
            // Whoever saw no answer asks again.
            world.ask_at(12 * SECOND + 5 * MS * n as u32, Ask::SendAgain { nth: n });
        }
        for n in 1..8 {
            let operations = 7 * n + rng_seed;
            world.strike_at(SECOND * n as u32, Strike::KillInStorage { node: alice, operations, back: 100 * MS });
        }
        world.strike_at(9 * SECOND, Strike::CommitErrors { node: alice, full: false, commits: 2 });
        world.strike_at(9 * SECOND + 700 * MS, Strike::CommitErrors { node: alice, full: true, commits: 1 });
        world.run_until(30 * SECOND);
        torn += world.fired.count(Fault::TornWrite);
        assert_eq!(world.history(alice).len(), 200, "rng_seed {rng_seed}");
    }
    assert!(torn > 0);
}
