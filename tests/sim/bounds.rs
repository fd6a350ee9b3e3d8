//! What strangers may have kept: worlds in which one side writes and the other never does. Times are virtual, and
//! exact.

use std::time::Duration;

use p2pchat_udp::{
    clock::Instant,
    id::{Incarnation, MessageId, Seq},
    node::{
        command::Command,
        event::{Event, NoticeCode},
    },
    store::row::Direction,
    wire::{
        TEXT_LEN_MAX,
        message::{Conversation, Item, Mine, Yours},
    },
};

use crate::{faults::Strike, scenarios::office, stranger::Future, workload::text_of, world::World};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Messages that a machine has received and shown.
fn shown(world: &World, machine: usize) -> usize {
    let is_message = |event: &Event| matches!(event, Event::Message { .. });
    world.seen.iter().filter(|(_, on, event)| *on == machine && is_message(event)).count()
}

/// Two people; the first has written to the second, who never wrote back.
fn letters(rng_seed: u64, count: usize, len: usize) -> World {
    let mut world = office(rng_seed, 2);
    world.run_until(SECOND);
    for n in 0..count {
        world.send(0, 1, &text_of(n, len));
    }
    world
}

#[test]
fn a_thousand_messages_of_a_stranger_arrive_in_order_at_sixty_a_minute() {
    let mut world = letters(20, 1_000, 100);
    for minutes in 0..16 {
        world.run_until(SECOND * 3 / 2 + MINUTE * minutes);
        let came = shown(&world, 1);
        let due = 1_000.min(60 + 60 * minutes as usize);
        assert!((due.saturating_sub(2)..=due).contains(&came), "{came} after {minutes} minutes, not {due}");
    }
    let process = world.machines[0].process.as_ref().expect("runs");
    let stats = process.node.session(&world.machines[1].person).expect("open").stats();
    println!("1,000 messages of 100 bytes to somebody who never wrote: {stats:?}");
    // Each about once, the first window twice; the rest is 940 s of keepalives and acks.
    assert!(stats.sent_len < 500_000, "{stats:?}");
    world.finish();
    let order: Vec<_> = world.history(1).iter().map(|row| row.seq.0).collect();
    assert_eq!(order, (1..=1_000).collect::<Vec<_>>());
}

#[test]
fn a_stranger_that_is_answered_waits_no_longer() {
    let mut world = letters(21, 300, 1_000);
    world.run_until(5 * SECOND);
    let before = shown(&world, 1);
    assert!((60..=66).contains(&before), "{before}");
    world.send(1, 0, "hello");
    world.run_until(6 * SECOND);
    assert_eq!(shown(&world, 1), 300);
    world.finish();
}

#[test]
fn what_nobody_reads_is_bounded_also_after_a_kill_and_goes_on_when_somebody_does() {
    let mut world = letters(22, 20, TEXT_LEN_MAX);
    world.run_until(2 * SECOND);
    assert_eq!(shown(&world, 1), 2, "two of the largest at once");
    world.run_until(20 * MINUTE);
    assert_eq!(shown(&world, 1), 16, "16 MiB");
    assert_eq!(world.machines[1].notices, [NoticeCode::StrangerUnread], "told once");
    world.strike_at(world.now, Strike::Kill { node: 1, back: SECOND });
    world.run_until(25 * MINUTE);
    assert_eq!(shown(&world, 1), 16);
    let reader = world.machines[0].person;
    world.command(1, Command::Shown(vec![reader]));
    world.run_until(25 * MINUTE + SECOND);
    assert_eq!(shown(&world, 1), 18, "at once, as far as its minute goes");
    world.run_until(27 * MINUTE);
    assert_eq!(shown(&world, 1), 20);
    world.finish();
}

/// What all sessions of a machine may have under way that have more than the 4 KiB of every one.
fn granted(world: &World, machine: usize) -> u64 {
    let Some(process) = &world.machines[machine].process else { return 0 };
    let sessions = world.machines.iter().filter_map(|other| process.node.session(&other.person));
    sessions.map(|session| session.credit()).filter(|credit| *credit > 4_096).sum()
}

#[test]
fn the_credit_of_all_peers_has_a_sum_and_everybody_is_served() {
    const PEERS: usize = 40;
    let mut world = World::new(24);
    for n in 0..=PEERS {
        let machine = world.add_machine(&format!("peer{n}"), &[0], true, false);
        world.start_at(Duration::ZERO, machine);
    }
    world.run_until(SECOND);
    let texts: Vec<_> = (1..=PEERS).map(|n| (n, text_of(n, 600_000))).collect();
    for (n, text) in &texts {
        world.send(*n, 0, text);
    }
    let (mut most, mut came) = (0, Vec::new());
    let done = world.run_while(60 * SECOND, |world| {
        most = most.max(granted(world, 0));
        shown(world, 0) == PEERS
    });
    for (at, _, event) in world.seen.iter().filter(|(_, on, _)| *on == 0) {
        if let Event::Message { .. } = event {
            came.push(*at);
        }
    }
    println!("600 kB from each of {PEERS} strangers at once: {most} bytes granted at most, the last came at {:?}", came.last());
    assert!(done, "{} came", came.len());
    assert_eq!(most, 48 << 20, "all that strangers may have together");
    assert!(came[23] < 3 * SECOND && came[PEERS - 1] < 4 * SECOND, "{came:?}");
    // Who was let go to make room has what it was owed, and writes again.
    for (n, _) in &texts {
        world.send(*n, 0, "and a word");
    }
    world.finish();
    assert_eq!(world.history(0).len(), 2 * PEERS);
}

/// A peer that asks nobody whether it may: whatever it is told, it goes on.
#[test]
fn a_flood_of_a_stranger_is_bounded_and_harms_no_contact() {
    let mut world = office(23, 2);
    let (alice, bob) = (0, 1);
    let host = world.network.add_host(&[0], true, true);
    let mut flood = Future::new(43);
    let (me, them) = (world.machines[alice].person, flood.id());
    let mut said = 0u32;
    for tick in 0u32..60_000 {
        world.run_until(Future::TICK * tick);
        let now = Instant::from_start(world.now);
        for mut parcel in world.strangers.remove(&host).unwrap_or_default() {
            flood.handle(now, &mut parcel);
        }
        match tick {
            10 => flood.announce(2),
            // A session, and not a word: whom I only look at is no contact.
            100 => {
                world.command(alice, Command::Watch(Some(them)));
            }
            _ if tick % 1_000 == 500 => {
                world.send(alice, bob, &text_of(tick as usize, 100));
                world.send(bob, alice, &text_of(1_000_000 + tick as usize, 100));
            }
            _ => {}
        }
        if flood.is_open() && tick % 10 == 0 {
            said += 1;
            let mut bytes = [9; 16];
            bytes[..4].copy_from_slice(&said.to_be_bytes());
            let (id, text) = (MessageId::from_bytes(bytes), text_of(said as usize, 1_000));
            world.ledger.asked_elsewhere(id, them, me, 0, &text);
            flood.say(id, 0, &text);
        }
        flood.turn(now);
        for (to, bytes) in flood.leaving() {
            world.carry(host, to, &bytes);
        }
    }
    let kept = world.history(alice).iter().filter(|row| row.peer == them && row.direction == Direction::In).count();
    let busy = flood.heard.iter().filter(|item| matches!(item, Item::Busy(_))).count();
    println!("a stranger that said {said} messages in a minute: {kept} kept, asked to wait {busy} times");
    assert!(said > 5_000 && (60..=120).contains(&kept), "{kept} of {said}");
    assert!(busy <= 61, "{busy}");
    assert_eq!((world.delivered(alice), world.delivered(bob)), (60, 60));
    let late = world.history(alice).iter().filter(|row| row.received_at.since(row.sent_at) > SECOND / 10).count();
    assert_eq!(late, 0, "nobody else waits for it");
}

/// A peer that keeps its session busy with books of lives that it never had, under an id that it may make anew.
#[test]
fn a_stranger_that_never_wrote_fills_no_screen_and_no_disk() {
    let mut world = office(25, 2);
    let host = world.network.add_host(&[0], true, true);
    let mut flood = Future::new(44);
    let (alice, them) = (0, flood.id());
    let mut said = 0u64;
    for tick in 0u32..30_000 {
        world.run_until(Future::TICK * tick);
        let now = Instant::from_start(world.now);
        for mut parcel in world.strangers.remove(&host).unwrap_or_default() {
            flood.handle(now, &mut parcel);
        }
        match tick {
            10 => flood.announce(2),
            100 => {
                world.command(alice, Command::Watch(Some(them)));
            }
            _ => {}
        }
        if flood.is_open() && tick % 100 == 50 {
            said += 1;
            let gave_up = Seq(said * 1_000_000);
            let former = Incarnation(1_000 * said);
            let mine = [
                Mine { incarnation: Incarnation(77), base: gave_up, next: gave_up, previous: None },
                Mine { incarnation: former, base: Seq(1), next: Seq(1), previous: None },
                Mine {
                    incarnation: Incarnation(former.0 + 1),
                    base: Seq(1),
                    next: Seq(1),
                    previous: Some((former, Seq(1 << 40))),
                },
            ];
            let of_alice = flood.heard.iter().rev().find_map(|item| match item {
                Item::Conversation(books) => Some(books.mine.incarnation),
                _ => None,
            });
            let yours = of_alice.map(|incarnation| Yours { incarnation, high_water: Seq(1 << 40), held: Vec::new() });
            for mine in mine {
                flood.control(&Item::Conversation(Conversation { conversation: None, mine, yours: yours.clone() }));
            }
        }
        flood.turn(now);
        for (to, bytes) in flood.leaving() {
            world.carry(host, to, &bytes);
        }
    }
    assert!(said > 250, "{said}");
    assert_eq!(world.machines[alice].notices, [], "nothing is said of it");
    let books = flood.heard.iter().filter(|item| matches!(item, Item::Conversation(_))).count();
    assert!(books <= 2, "alice began anew for it {books} times");
}
