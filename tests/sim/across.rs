//! Worlds with an internet: what hosts behind NATs can reach, with the smallest of phonebooks, an echo that
//! says from where it was asked.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use p2pchat_udp::{
    clock::{Instant, Now},
    crypto::{handshake::Initiator, identity::Identity},
    id::SessionIndex,
    wire::KIND_RESPONSE,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::{
    faults::{self, Strike},
    nat::{Kind, Ports, Timer},
    network::{SESSION_PORT, To},
    service::Service,
    world::World,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const ECHO_PORT: u16 = 17_119;
/// When probes leave, in milliseconds from the first (protocol, SEEDS).
const PROBES: [u32; 7] = [0, 50, 100, 200, 400, 800, 1_600];

/// Answers each datagram with its source, in words.
#[derive(Default)]
struct Echo {
    answers: VecDeque<(SocketAddr, Vec<u8>)>,
    asked: usize,
}

impl Service for Echo {
    fn handle_datagram(&mut self, _: Now, from: SocketAddr, _: &mut [u8]) {
        self.asked += 1;
        self.answers.push_back((from, from.to_string().into_bytes()));
    }

    fn handle_timeout(&mut self, _: Now) {}

    fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, bytes) = self.answers.pop_front()?;
        *out = bytes;
        Some(to)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// Asks an echo for its own address, and probes another's.
struct Prober {
    echo: SocketAddr,
    /// What the echo says.
    mapped: Vec<SocketAddr>,
    /// Probes that are not yet due.
    probes: VecDeque<(Instant, SocketAddr)>,
    /// Who has answered a probe: a way that was walked in both directions.
    answered: Vec<SocketAddr>,
    out: VecDeque<(SocketAddr, &'static [u8])>,
}

impl Prober {
    fn new(echo: SocketAddr) -> Self {
        let (mapped, probes, answered, out) = Default::default();
        Self { echo, mapped, probes, answered, out }
    }

    fn ask(&mut self) {
        self.out.push_back((self.echo, b"who am i?"));
    }

    fn probe(&mut self, now: Now, to: SocketAddr) {
        self.probes = PROBES.iter().map(|after| (now.instant + MS * *after, to)).collect();
    }
}

impl Service for Prober {
    fn handle_datagram(&mut self, _: Now, from: SocketAddr, bytes: &mut [u8]) {
        match &*bytes {
            b"probe" => self.out.push_back((from, b"answer")),
            b"answer" => self.answered.push(from),
            said if from == self.echo => {
                let said = std::str::from_utf8(said).expect("an echo says an address");
                self.mapped.push(said.parse().expect("an echo says an address"));
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        while let Some((_, to)) = self.probes.front().filter(|(at, _)| *at <= now.instant) {
            self.out.push_back((*to, b"probe"));
            self.probes.pop_front();
        }
    }

    fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, bytes) = self.out.pop_front()?;
        *out = bytes.to_vec();
        Some(to)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.probes.front()?.0)
    }
}

/// An echo on the internet.
fn echo(world: &mut World) -> usize {
    let host = world.network.add_public_host(ECHO_PORT);
    world.add_station(host, Box::new(|_, _| Box::new(Echo::default())));
    world.open_at(world.now, host);
    host
}

/// A prober on a segment of its own, behind such a NAT.
fn prober(world: &mut World, segment: usize, kind: Kind, echo: usize) -> usize {
    world.network.add_router(segment, kind);
    let host = world.network.add_host(&[segment], true, true);
    let echo = world.network.address(echo);
    world.add_station(host, Box::new(move |_, _| Box::new(Prober::new(echo))));
    world.open_at(world.now, host);
    host
}

/// What the echo says of a prober now; none where no answer comes.
fn mapped(world: &mut World, prober: usize) -> Option<SocketAddr> {
    let answers = |world: &World| world.service::<Prober>(prober).expect("runs").mapped.len();
    let before = answers(world);
    world.tell(prober, |_, prober: &mut Prober| prober.ask());
    let came = world.run_while(world.now + SECOND, |world| answers(world) > before);
    came.then(|| world.service::<Prober>(prober).expect("runs").mapped[before])
}

/// Two hosts behind such NATs learn their addresses, are told each other's, and probe; the second begins so much
/// later. True where one had an answer.
fn meet(kinds: [Kind; 2], later: Duration) -> bool {
    let mut world = World::new(1);
    let echo = echo(&mut world);
    let hosts = [0, 1].map(|n| prober(&mut world, n, kinds[n], echo));
    world.run_until(MS);
    let mapped = hosts.map(|host| mapped(&mut world, host).expect("the echo answers"));
    for (host, to) in [(hosts[0], mapped[1]), (hosts[1], mapped[0])] {
        world.tell(host, |now, prober: &mut Prober| prober.probe(now, to));
        world.run_until(world.now + if host == hosts[0] { later } else { 5 * SECOND });
    }
    hosts.iter().any(|host| !world.service::<Prober>(*host).expect("runs").answered.is_empty())
}

#[test]
fn who_can_punch_and_who_cannot() {
    let kinds = [Kind::FULL_CONE, Kind::RESTRICTED_CONE, Kind::PORT_RESTRICTED_CONE, Kind::SYMMETRIC, Kind::LINUX];
    let table = kinds.map(|a| kinds.map(|b| meet([a, b], Duration::ZERO)));
    let expected = [
        [true, true, true, true, true],
        [true, true, true, true, true],
        [true, true, true, false, true],
        [true, true, false, false, false],
        [true, true, true, false, true],
    ];
    assert_eq!(table, expected, "full, restricted, port-restricted, symmetric, Linux");
}

#[test]
fn a_probe_that_comes_too_early_spoils_the_path_where_refusals_are_remembered() {
    for (kind, met) in [(Kind::PORT_RESTRICTED_CONE, true), (Kind::LINUX, true)] {
        assert_eq!(meet([kind, kind], 10 * MS), met, "both are out before either is in");
    }
    for (kind, met) in [(Kind::PORT_RESTRICTED_CONE, true), (Kind::LINUX, false)] {
        assert_eq!(meet([kind, kind], 60 * MS), met);
    }
}

#[test]
fn an_absolute_timer_moves_a_host_whatever_it_says() {
    let timer = Timer::Absolute(60 * SECOND);
    let mut world = World::new(2);
    let echo = echo(&mut world);
    let host = prober(&mut world, 0, Kind { timer, ports: Ports::Random, ..Kind::PORT_RESTRICTED_CONE }, echo);
    world.run_until(MS);
    let seen: Vec<_> = (0..5)
        .map(|n| {
            world.run_until(SECOND * 20 * n + MS);
            mapped(&mut world, host).expect("the echo answers")
        })
        .collect();
    assert!(seen[0] == seen[1] && seen[1] == seen[2] && seen[2] != seen[3] && seen[3] == seen[4], "{seen:?}");
}

#[test]
fn everything_that_can_befall_the_internet_does() {
    let mut world = World::new(3);
    let echo = echo(&mut world);
    let host = prober(&mut world, 0, Kind::PORT_RESTRICTED_CONE, echo);
    world.run_until(MS);
    let first = mapped(&mut world, host).expect("the echo answers");
    world.strike_at(world.now, Strike::RouterReboot { router: 0 });
    world.strike_at(world.now, Strike::RouterRenumbered { router: 0 });
    world.run_until(10 * SECOND);
    let second = mapped(&mut world, host).expect("the echo answers");
    assert_ne!(first.ip(), second.ip());
    world.strike_at(world.now, Strike::InternetDown { heal: 10 * SECOND });
    world.run_until(world.now + SECOND);
    assert_eq!(mapped(&mut world, host), None);
    world.run_until(world.now + 10 * SECOND);
    assert_eq!(mapped(&mut world, host), Some(second));
    assert_eq!(world.service::<Echo>(echo).expect("runs").asked, 3);
    world.strike_at(world.now, Strike::StationRestart { host: echo, back: 10 * SECOND });
    world.run_until(world.now + SECOND);
    assert!(world.service::<Echo>(echo).is_none());
    assert_eq!(mapped(&mut world, host), None);
    world.run_until(world.now + 10 * SECOND);
    assert_eq!(mapped(&mut world, host), Some(second));
    assert_eq!(world.service::<Echo>(echo).expect("runs").asked, 1, "another life, which knows nothing");
    world.close_at(world.now, echo);
    world.run_until(world.now + SECOND);
    assert_eq!(mapped(&mut world, host), None);
    let missing: Vec<_> = faults::ACROSS.into_iter().filter(|fault| world.fired.count(*fault) == 0).collect();
    assert_eq!(missing, []);
}

#[test]
fn a_victim_counts_what_it_gets_and_from_whom() {
    let mut world = World::new(4);
    let echo = echo(&mut world);
    let victim = world.network.add_public_host(SESSION_PORT);
    let hosts = [0, 1].map(|segment| prober(&mut world, segment, Kind::SYMMETRIC, echo));
    let mut target = world.network.address(victim);
    target.set_port(53);
    world.run_until(MS);
    for host in hosts {
        world.tell(host, |now, prober: &mut Prober| prober.probe(now, target));
    }
    world.run_until(5 * SECOND);
    let heard = &world.heard[&victim];
    assert_eq!((heard.all.datagrams, heard.all.bytes), (14, 14 * 5));
    let sources: Vec<_> = heard.by_source.iter().map(|(from, amount)| (from.ip(), amount.datagrams)).collect();
    assert_eq!(sources, [0, 1].map(|router| (world.network.router_address(router).into(), 7)));
    assert_eq!(world.strangers[&victim].len(), 14);
}

#[test]
fn a_victim_hears_whom_somebody_asked_in_its_name() {
    let mut world = World::new(6);
    let echo = echo(&mut world);
    let [victim, attacker] = [SESSION_PORT; 2].map(|port| world.network.add_public_host(port));
    world.run_until(MS);
    let (name, seed) = (world.network.address(victim), world.network.address(echo));
    world.spoof(attacker, name, seed, b"who am i?");
    world.run_until(SECOND);
    assert_eq!(world.heard[&victim].by_source.keys().collect::<Vec<_>>(), [&seed]);
    assert!(!world.heard.contains_key(&attacker));
}

/// The first word of a handshake with this machine, and what answered it.
fn call(world: &mut World, caller: usize, machine: usize, to: SocketAddr) -> Vec<(SocketAddr, Option<u8>)> {
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let identity = Identity::generate(&mut rng);
    let (_, initiation) = Initiator::new(&identity, world.machines[machine].person, "", SessionIndex(9), &mut rng);
    world.carry(caller, To::Unicast(to), &initiation);
    world.run_until(world.now + SECOND);
    let answers = world.strangers.remove(&caller).unwrap_or_default();
    answers.into_iter().map(|parcel| (parcel.from, parcel.bytes.first().copied())).collect()
}

#[test]
fn machines_answer_at_their_public_address_and_behind_a_router_at_the_mapped_one() {
    let mut world = World::new(5);
    let echo = echo(&mut world);
    world.network.add_router(0, Kind::FULL_CONE);
    let machines = [world.add_machine("alice", &[0], true, true), world.add_public_machine("bob")];
    machines.iter().for_each(|machine| world.start_at(Duration::ZERO, *machine));
    let caller = world.network.add_public_host(SESSION_PORT);
    world.run_until(SECOND);
    let alice = SocketAddr::from((world.network.router_address(0), SESSION_PORT));
    assert_eq!(call(&mut world, caller, 0, alice), [], "nothing is mapped");
    let to_echo = To::Unicast(world.network.address(echo));
    world.carry(world.machines[0].host, to_echo, b"who am i?");
    world.run_until(world.now + SECOND);
    assert_eq!(world.heard[&echo].by_source.keys().collect::<Vec<_>>(), [&alice]);
    let bob = world.network.address(world.machines[1].host);
    for (machine, at) in [(0, alice), (1, bob)] {
        let answers = call(&mut world, caller, machine, at);
        assert!(answers.contains(&(at, Some(KIND_RESPONSE))), "{answers:?}");
    }
}

#[test]
fn the_same_world_twice_is_the_same_run() {
    let run = |rng_seed| {
        let mut world = World::new(rng_seed);
        let echo = echo(&mut world);
        let host = prober(&mut world, 0, Kind::SYMMETRIC, echo);
        world.run_until(MS);
        mapped(&mut world, host).expect("the echo answers");
        world.trace.digest()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
