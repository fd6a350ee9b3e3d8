//! Random worlds across networks: people behind routers of every kind, some with a neighbour, and seeds of which
//! one relays at least, or two behind symmetric NATs would wait for ever. Everything that befalls machines on a
//! LAN befalls them here, and what befalls the internet does, too.

use std::time::Duration;

use p2pchat_udp::wire::record::Visibility;

use crate::{
    dice::Dice,
    faults::{self, Fault},
    nat::{Kind, Ports, Timer},
    network::Weather,
    phonebook::seed_that,
    seeds::{Outcome, Sort, commit_time},
    workload::{self, Ask},
    world::World,
};

const ABROAD: Sort = Sort { name: "abroad", seeds: 100, failed_once: FAILED_ONCE, faults: &FAULTS, run };
/// Seeds that failed once, and what was wrong then.
const FAILED_ONCE: &[(u64, &str)] =
    &[(2140, "after a clock was set its old record was still the one that seeds were asked to take")];
/// What must strike here: all that a router or a seed could make worse.
const FAULTS: [Fault; 14] = [
    Fault::InternetDown,
    Fault::RouterReboot,
    Fault::RouterRenumbered,
    Fault::StationRestart,
    Fault::Loss,
    Fault::BurstLoss,
    Fault::Duplicate,
    Fault::Reorder,
    Fault::Replay,
    Fault::AddressChange,
    Fault::CablePull,
    Fault::Kill,
    Fault::Suspend,
    Fault::LeaveAndReturn,
];
/// Texts are no longer: what a relay carries in a second is counted in KiB.
const TEXT_LEN_MAX: usize = 20_000;
/// What a seed that relays forwards in a second.
const RELAY_RATE_MAX: u32 = 1 << 20;

/// One world: networks, people on them, seeds, weather, faults, a workload; then the end.
fn run(rng_seed: u64) -> Outcome {
    let mut dice = Dice::new(rng_seed, "abroad");
    let mut world = World::new(rng_seed);
    let stations = seeds(&mut dice, &mut world);
    let people = [2, 2, 2, 3, 4][dice.index(5)];
    let routers = dice.range(1..=people as u64) as usize;
    for segment in 0..routers {
        let kind = kind(&mut dice);
        println!("rng seed {rng_seed}, network {segment}: {kind:?}");
        world.network.add_router(segment, kind);
    }
    for number in 0..people {
        let name = format!("peer{number}");
        let network = Some(dice.index(routers)).filter(|_| dice.chance(900));
        println!("rng seed {rng_seed}, {name} on {network:?}");
        let machine = match network {
            Some(network) => world.add_machine(&name, &[network], true, dice.chance(500)),
            None => world.add_public_machine(&name),
        };
        let late = dice.chance(250);
        let start = dice.between(Duration::ZERO, Duration::from_millis(if late { 20_000 } else { 300 }));
        world.start_at(start, machine);
    }
    // Whom somebody does not know at all gets no answer from another network.
    world.acquaint();
    let window = dice.between(Duration::from_secs(4), Duration::from_secs(90));
    world.commit_time = commit_time(&mut dice);
    let asks = workload::draw(&mut dice, people, window);
    for (at, ask) in asks.into_iter().filter(|(_, ask)| !is_huge(ask)) {
        world.ask_at(at, ask);
    }
    if dice.chance(850) {
        let on_machines = faults::schedule(&mut dice, people, window);
        for (at, strike) in on_machines.into_iter().chain(faults::across(&mut dice, routers, &stations, window)) {
            world.strike_at(at, strike);
        }
    }
    let weathers = dice.range(1..=3);
    for n in 1..=weathers {
        if dice.chance(500) {
            world.network.weather = Weather::draw(&mut dice);
        }
        if dice.chance(500) {
            let delay = dice.between(Duration::from_millis(2), Duration::from_millis(150));
            world.network.internet.weather = Weather { delay, ..Weather::draw(&mut dice) };
        }
        world.run_until(window * n as u32 / weathers as u32);
    }
    // With a clock that is hours off nobody can be at a seed, and is told so.
    world.set_clocks();
    let healed = world.finish();
    Outcome::new(&world, healed)
}

/// One or two seeds, of which the second may know the first; the hosts they are on.
fn seeds(dice: &mut Dice, world: &mut World) -> Vec<usize> {
    let count = dice.index(2) + 1;
    let relaying = dice.index(count);
    let mut seeds: Vec<(usize, std::net::SocketAddr)> = Vec::new();
    for number in 0..count {
        let fellows = seeds.iter().map(|(_, addr)| *addr).filter(|_| dice.chance(500)).collect();
        let relay = (number == relaying || dice.chance(500)).then_some(RELAY_RATE_MAX);
        seeds.push(seed_that(world, fellows, relay));
    }
    world.node_config.seeds = seeds.iter().map(|(_, addr)| addr.to_string()).collect();
    world.node_config.visibility = Some(Visibility::Findable);
    seeds.into_iter().map(|(host, _)| host).collect()
}

/// A router as somebody may have it at home or in a firm.
fn kind(dice: &mut Dice) -> Kind {
    let kinds = [Kind::FULL_CONE, Kind::RESTRICTED_CONE, Kind::PORT_RESTRICTED_CONE, Kind::SYMMETRIC, Kind::LINUX];
    let mut kind = kinds[dice.index(kinds.len())];
    kind.hairpin = dice.chance(300);
    if dice.chance(200) {
        kind.timer = Timer::Absolute(dice.between(Duration::from_secs(60), Duration::from_secs(300)));
    }
    if dice.chance(200) {
        kind.ports = Ports::Random;
    }
    kind
}

fn is_huge(ask: &Ask) -> bool {
    matches!(ask, Ask::Send { text, .. } if text.len() > TEXT_LEN_MAX)
}

#[test]
fn abroad() {
    ABROAD.run_all();
}

#[test]
fn the_same_seed_twice_is_the_same_run() {
    for rng_seed in [1, 2] {
        assert_eq!(run(rng_seed).trace, run(rng_seed).trace, "rng_seed {rng_seed}");
    }
    assert_ne!(run(1).trace, run(2).trace);
}
