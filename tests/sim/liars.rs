//! Worlds with seeds that lie, restart, or try to hit somebody else, and with NATs that forget. What a
//! victim gets is counted; times are exact.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use p2pchat_udp::{
    clock::{Instant, Now},
    crypto::{identity::Identity, record::sign_record},
    id::PeerId,
    node::command::{Command, CommandError, Question, Reply, SeedState},
    wire::{
        WIRE_VERSION,
        addr::Addr,
        phonebook::{Answer, COOKIE_LEN, Entry, Header, Query},
        record::{Record, Visibility},
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::{
    faults::Strike,
    nat::{Kind, Timer},
    phonebook::{MS, SECOND, befriend, last_reply, seed, two_networks},
    service::Service,
    world::World,
};

/// What a liar does.
#[derive(Clone)]
enum Lie {
    /// Says of everybody that he is there: under a record that somebody else signed.
    Forged,
    /// Hands on true records, and says that their owners are at the victim's address.
    Aimed { victim: SocketAddr, record: Vec<u8>, signature: [u8; 64] },
    /// Hands on what it was told of, says that all owners are there, and hands no knock on.
    Swallowing(SocketAddr),
    /// Speaks another version.
    OtherVersion,
    /// Has a clock of its own.
    WrongClock,
    /// Says that this one has every name, and that there are more of them.
    Crowded { record: Vec<u8>, signature: [u8; 64] },
    /// Names these as its fellows.
    Fellows(Vec<SocketAddr>),
}

/// A seed that takes every cookie, and lies.
struct Liar {
    lie: Lie,
    forger: Identity,
    /// Who registered here.
    known: BTreeMap<[u8; 32], (Vec<u8>, [u8; 64])>,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Liar {
    fn answer(&self, now: Now, query: &Query<'_>, from: SocketAddr, header: Header, out: &mut Vec<u8>) {
        let not_found = |seeds| Answer::NotFound { warming: false, retry_after: 20, seeds };
        match (query, &self.lie) {
            (Query::Register { .. } | Query::Refresh { .. }, _) => {
                Answer::Registered { token: [1; 16], ttl: 75, seen: from }.encode(header, out);
            }
            (Query::Knock { .. }, Lie::Aimed { victim, .. }) => Answer::Knocked { seen: *victim }.encode(header, out),
            (Query::Knock { .. }, Lie::Swallowing(elsewhere)) => Answer::Knocked { seen: *elsewhere }.encode(header, out),
            (Query::Lookup { id, .. }, Lie::Swallowing(elsewhere)) if self.known.contains_key(id) => {
                let (record, signature) = &self.known[id];
                let entry = Entry { record, signature: *signature, seen: *elsewhere, age: 0 };
                Answer::Found { entries: vec![entry], more: false }.encode(header, out);
            }
            (Query::Lookup { .. }, Lie::Aimed { victim, record, signature }) => {
                let entry = Entry { record, signature: *signature, seen: *victim, age: 0 };
                Answer::Found { entries: vec![entry], more: false }.encode(header, out);
            }
            (Query::Find { .. }, Lie::Crowded { record, signature }) => {
                let entry = Entry { record, signature: *signature, seen: from, age: 0 };
                Answer::Found { entries: vec![entry], more: true }.encode(header, out);
            }
            (Query::Lookup { id, .. }, Lie::Forged) => {
                let (record, signature) = self.forge(*id, now);
                let entry = Entry { record: &record, signature, seen: from, age: 0 };
                Answer::Found { entries: vec![entry], more: false }.encode(header, out);
            }
            (Query::Status, _) => {
                let unix = now.unix.0 / 1_000 + if matches!(self.lie, Lie::WrongClock) { 7_200 } else { 0 };
                let status = p2pchat_udp::wire::phonebook::Status {
                    name: "liar",
                    software: "liar/1",
                    unix,
                    uptime: 1,
                    records: 1,
                    load: 0,
                    seeds: Vec::new(),
                    relay: Default::default(),
                };
                Answer::Status(status).encode(header, out);
            }
            (_, Lie::Fellows(seeds)) => not_found(seeds.clone()).encode(header, out),
            _ => not_found(Vec::new()).encode(header, out),
        }
    }

    fn forge(&self, id: [u8; 32], now: Now) -> (Vec<u8>, [u8; 64]) {
        let id = PeerId::from_bytes(id).expect("asked for by an honest client");
        sign_record(&self.forger, &record_of(id, now))
    }
}

fn record_of(id: PeerId, now: Now) -> Record {
    Record {
        id,
        seq: now.unix.0,
        issued: now.unix.0 / 1_000,
        lifetime: 3_600,
        network: [0; 8],
        name: "bob".to_owned(),
        visibility: Visibility::Findable,
        seeds: Vec::new(),
        addrs: Vec::<Addr>::new(),
    }
}

impl Service for Liar {
    fn handle_datagram(&mut self, now: Now, from: SocketAddr, bytes: &mut [u8]) {
        let Ok((header, query)) = Query::decode(bytes) else { return };
        if let Query::Register { record, signature, .. } = &query {
            let owner = Record::decode(record).expect("registered by an honest client").id;
            self.known.insert(*owner.as_bytes(), (record.to_vec(), *signature));
        }
        let mut out = Vec::new();
        let plain = Header { txid: header.txid, cookie: [0; COOKIE_LEN] };
        if header.cookie == [0; COOKIE_LEN] {
            Answer::Cookie { seen: from }.encode(Header { txid: header.txid, cookie: [1; COOKIE_LEN] }, &mut out);
        } else {
            self.answer(now, &query, from, plain, &mut out);
        }
        if matches!(self.lie, Lie::OtherVersion) {
            out[5] = WIRE_VERSION + 1;
        }
        self.out.push_back((from, out));
    }

    fn handle_timeout(&mut self, _: Now) {}

    fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, bytes) = self.out.pop_front()?;
        *out = bytes;
        Some(to)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

fn liar(world: &mut World, lie: Lie) -> SocketAddr {
    let host = world.network.add_public_host(17_118);
    let begin = move |_: [u8; 32], _: Now| -> Box<dyn Service> {
        let forger = Identity::generate(&mut ChaCha20Rng::seed_from_u64(99));
        Box::new(Liar { lie: lie.clone(), forger, known: BTreeMap::new(), out: VecDeque::new() })
    };
    world.add_station(host, Box::new(begin));
    world.open_at(world.now, host);
    world.network.address(host)
}

/// Alice behind a NAT with these seeds; bob is somebody whom she knows and who is not there.
fn alone(rng_seed: u64, lies: Vec<Lie>) -> World {
    let mut world = World::new(rng_seed);
    let seeds: Vec<_> = lies.into_iter().map(|lie| liar(&mut world, lie).to_string()).collect();
    world.node_config.seeds = seeds;
    let alice = world.add_machine("alice", &[0], true, false);
    world.network.add_router(0, Kind::PORT_RESTRICTED_CONE);
    world.add_machine("bob", &[1], true, false);
    world.start_at(Duration::ZERO, alice);
    world.run_until(10 * MS);
    befriend(&mut world, 0, 1);
    world
}

fn state_of_only_seed(world: &mut World) -> (SeedState, Option<String>) {
    world.command(0, Command::Seeds { only: None, timeout: 3 * SECOND });
    world.run_until(world.now + 4 * SECOND);
    match last_reply(world, 0) {
        Some(Reply::Seeds(views)) => (views[0].state, views[0].reason.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_seed_that_forges_is_named_and_not_believed() {
    let mut world = alone(1, vec![Lie::Forged]);
    world.run_until(5 * SECOND);
    let (state, reason) = state_of_only_seed(&mut world);
    assert_eq!(state, SeedState::BadSignature, "{reason:?}");
    let bob = world.machines[1].person;
    world.command(0, Command::Ask { question: Question::Id(bob), only: None, timeout: 3 * SECOND });
    world.run_until(world.now + 4 * SECOND);
    let Some(Reply::Claims(claims)) = last_reply(&world, 0) else { panic!("{:?}", last_reply(&world, 0)) };
    assert_eq!((claims.claims.len(), claims.asked, claims.answered), (0, 1, 0));
}

/// When time was up it was forgotten that there are more, and the only one on the page was written to.
#[test]
fn who_crowds_a_name_out_is_not_the_only_one_because_another_seed_is_silent() {
    let mut world = World::new(12);
    let alice = world.add_machine("alice", &[0], true, false);
    world.network.add_router(0, Kind::PORT_RESTRICTED_CONE);
    let (bob, now) = (Identity::generate(&mut ChaCha20Rng::seed_from_u64(7)), world.clocks(alice));
    let (record, signature) = sign_record(&bob, &record_of(bob.id(), now));
    let crowded = liar(&mut world, Lie::Crowded { record, signature });
    let silent = world.network.add_public_host(17_118);
    world.node_config.seeds = vec![crowded.to_string(), world.network.address(silent).to_string()];
    world.start_at(Duration::ZERO, alice);
    world.run_until(SECOND);
    world.command(alice, Command::Resolve { peer: "bob".to_owned(), timeout: SECOND });
    world.run_until(world.now + 2 * SECOND);
    let reply = last_reply(&world, alice);
    let Some(Reply::Failed(CommandError::Ambiguous { candidates, .. })) = reply else { panic!("{reply:?}") };
    assert_eq!(candidates.iter().map(|peer| peer.id).collect::<Vec<_>>(), [bob.id()]);
}

#[test]
fn of_three_seeds_two_may_lie() {
    let (mut world, _) = two_networks(2, [Kind::PORT_RESTRICTED_CONE; 2]);
    let honest = world.node_config.seeds[0].clone();
    let lies = [Lie::Forged, Lie::Fellows(Vec::new())].map(|lie| liar(&mut world, lie).to_string());
    world.node_config.seeds = [lies.to_vec(), vec![honest]].concat();
    for machine in 0..2 {
        world.leave(machine, SECOND);
    }
    world.run_until(10 * SECOND);
    let message = world.send(0, 1, "in spite of all");
    let begin = world.now;
    assert!(world.run_while(begin + 10 * SECOND, |world| world.shown_at(1, message).is_some()), "not delivered");
}

/// The first seed to answer took the only introduction: who was quick and lied kept two people apart for ever.
#[test]
fn a_seed_that_swallows_knocks_keeps_nobody_from_being_introduced_by_another() {
    let (mut world, _) = two_networks(7, [Kind::PORT_RESTRICTED_CONE; 2]);
    let honest = world.node_config.seeds[0].clone();
    let elsewhere = world.network.add_public_host(17_119);
    let elsewhere = world.network.address(elsewhere);
    let liars = [(); 2].map(|()| liar(&mut world, Lie::Swallowing(elsewhere)).to_string());
    world.node_config.seeds = [liars.to_vec(), vec![honest]].concat();
    for machine in 0..2 {
        world.leave(machine, SECOND);
    }
    world.run_until(10 * SECOND);
    let message = world.send(0, 1, "by the one that does not lie");
    let begin = world.now;
    assert!(world.run_while(begin + 10 * SECOND, |world| world.shown_at(1, message).is_some()), "not delivered");
}

#[test]
fn a_seed_of_another_version_and_one_with_another_clock_are_named() {
    let mut world = alone(3, vec![Lie::OtherVersion]);
    let (state, reason) = state_of_only_seed(&mut world);
    assert_eq!(
        (state, reason.as_deref()),
        (SeedState::OldVersion, Some("it speaks version 2 of the protocol, this is version 1"))
    );
    let mut world = alone(3, vec![Lie::WrongClock]);
    let (state, reason) = state_of_only_seed(&mut world);
    assert_eq!(state, SeedState::WrongClock);
    assert!(reason.unwrap().starts_with("its clock and ours differ by 7"));
}

/// Threat 11: at most 7 probes of at most 64 bytes and 3 initiations for an address and minute.
#[test]
fn a_seed_can_aim_nobody_at_a_victim() {
    let mut world = World::new(4);
    let victim = world.network.add_public_host(17_118);
    let address = world.network.address(victim);
    let alice = world.add_machine("alice", &[0], true, false);
    world.network.add_router(0, Kind::PORT_RESTRICTED_CONE);
    // Bob is in league with the seed: his record is true.
    let bob = Identity::generate(&mut ChaCha20Rng::seed_from_u64(7));
    let now = world.clocks(alice);
    let (record, signature) =
        sign_record(&bob, &Record { addrs: vec![Addr(address); 6], seq: now.unix.0, ..record_of(bob.id(), now) });
    let seed = liar(&mut world, Lie::Aimed { victim: address, record, signature });
    world.node_config.seeds = vec![seed.to_string()];
    world.node_config.visibility = Some(Visibility::Findable);
    world.start_at(Duration::ZERO, alice);
    world.run_until(10 * MS);
    let peer = bob.id();
    world.command(alice, Command::AddContact { peer, petname: None, name: None, seeds: Vec::new() });
    world.command(alice, Command::Watch(Some(peer)));
    let mut before = (0, 0);
    for minute in 1..=5 {
        world.run_until(minute * 60 * SECOND);
        let heard = world.heard.get(&victim).map_or((0, 0), |heard| (heard.all.datagrams, heard.all.bytes));
        let (datagrams, bytes) = (heard.0 - before.0, heard.1 - before.1);
        println!("minute {minute}: {datagrams} datagrams, {bytes} bytes");
        assert!(datagrams <= 7 + 3 && bytes <= 7 * 64 + 3 * 288, "minute {minute}: {datagrams} datagrams, {bytes} bytes");
        before = heard;
    }
    assert!(before.0 > 0, "the attack was tried");
}

/// Seeds that name others: who is named gets a short hello or four, and no more for it.
#[test]
fn a_seed_can_have_nobody_flooded_by_questions() {
    let mut world = World::new(5);
    let victim = world.network.add_public_host(17_119);
    let address = world.network.address(victim);
    let seed = liar(&mut world, Lie::Fellows(vec![address; 4]));
    world.node_config.seeds = vec![seed.to_string()];
    let alice = world.add_machine("alice", &[0], true, false);
    world.network.add_router(0, Kind::PORT_RESTRICTED_CONE);
    world.start_at(Duration::ZERO, alice);
    world.run_until(SECOND);
    world.command(0, Command::Ask { question: Question::Name("bob".to_owned()), only: None, timeout: 3 * SECOND });
    world.run_until(60 * SECOND);
    let heard = &world.heard[&victim];
    assert!(
        (1..=4).contains(&heard.all.datagrams) && heard.all.bytes <= 4 * 64,
        "{} datagrams, {} bytes",
        heard.all.datagrams,
        heard.all.bytes
    );
}

#[test]
fn a_seed_that_restarts_has_everybody_back_within_a_refresh() {
    let (mut world, host) = two_networks(6, [Kind::PORT_RESTRICTED_CONE; 2]);
    world.run_until(30 * SECOND);
    world.strike_at(world.now, Strike::StationRestart { host, back: 2 * SECOND });
    let begin = world.now + 2 * SECOND;
    world.run_until(begin + 25 * SECOND);
    let bob = world.machines[1].person;
    world.command(0, Command::Ask { question: Question::Id(bob), only: None, timeout: 3 * SECOND });
    world.run_until(world.now + SECOND);
    let Some(Reply::Claims(claims)) = last_reply(&world, 0) else { panic!("{:?}", last_reply(&world, 0)) };
    assert_eq!(claims.claims.iter().map(|claim| claim.id).collect::<Vec<_>>(), [bob]);
    let message = world.send(0, 1, "after the restart");
    let begin = world.now;
    assert!(world.run_while(begin + 5 * SECOND, |world| world.shown_at(1, message).is_some()));
}

#[test]
fn a_seed_that_has_just_started_does_not_say_that_there_is_nobody() {
    let (mut world, host) = two_networks(7, [Kind::PORT_RESTRICTED_CONE; 2]);
    world.run_until(30 * SECOND);
    world.strike_at(world.now, Strike::StationRestart { host, back: SECOND });
    world.run_until(33 * SECOND);
    world.command(0, Command::Resolve { peer: "carol".to_owned(), timeout: 3 * SECOND });
    world.run_until(world.now + 4 * SECOND);
    let Some(Reply::Failed(CommandError::NotFound { .. })) = last_reply(&world, 0) else { panic!("{:?}", last_reply(&world, 0)) };
}

#[test]
fn nats_that_forget_take_no_message_away() {
    let absolute = Kind { timer: Timer::Absolute(60 * SECOND), ..Kind::PORT_RESTRICTED_CONE };
    for (rng_seed, kind) in [(8, absolute), (9, Kind::RESTRICTED_CONE), (10, Kind::LINUX)] {
        let (mut world, _) = two_networks(rng_seed, [kind; 2]);
        let mut messages = Vec::new();
        for round in 0..20u32 {
            world.run_until((round + 1) * 15 * SECOND);
            messages.push((1, world.send(0, 1, &format!("there {round}"))));
            messages.push((0, world.send(1, 0, &format!("back {round}"))));
            match round {
                6 => world.strike_at(world.now, Strike::RouterReboot { router: 0 }),
                12 => world.strike_at(world.now, Strike::RouterRenumbered { router: 1 }),
                16 => world.strike_at(world.now, Strike::InternetDown { heal: 20 * SECOND }),
                _ => {}
            }
        }
        let all = |world: &World| messages.iter().all(|(to, id)| world.shown_at(*to, *id).is_some());
        assert!(world.run_while(world.now + 120 * SECOND, all), "lost, {kind:?}");
        println!("all there {:?} after the last was written", world.now - 20 * 15 * SECOND);
        world.finish();
    }
}

#[test]
fn two_seeds_that_know_each_other_find_people_for_each_other() {
    let mut world = World::new(11);
    let (_, first) = seed(&mut world, Vec::new());
    let (_, second) = seed(&mut world, vec![first]);
    world.node_config.visibility = Some(Visibility::Findable);
    for (segment, home) in [(0, first), (1, second)] {
        let machine = world.add_machine(["bob", "alice"][segment], &[segment], true, false);
        world.network.add_router(segment, Kind::PORT_RESTRICTED_CONE);
        world.node_config.seeds = vec![home.to_string()];
        world.start_at(world.now, machine);
        world.run_until(world.now + 20 * MS);
    }
    world.run_until(2 * SECOND);
    befriend(&mut world, 0, 1);
    befriend(&mut world, 1, 0);
    let message = world.send(1, 0, "over two seeds");
    assert!(world.run_while(15 * SECOND, |world| world.shown_at(0, message).is_some()), "not delivered");
}
