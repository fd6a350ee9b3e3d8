//! The directory against a map that does the same in the plainest way, and what it does at its limits.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{names::NAMESAKES_MAX, *};
use crate::{
    clock::Unix,
    crypto::identity::Identity,
    id::PeerId,
    seed::directory::TTL,
    wire::{SIGNATURE_LEN, record::Record},
};

const UNIX: u64 = 1_760_000_000;
const PEOPLE: u8 = 8;
const RECORDS_MAX: usize = 6;
const NAMES: [&str; 3] = ["alice", "Alice", "al"];
const NETWORKS: [[u8; 8]; 2] = [[0; 8], [7; 8]];

#[derive(Debug, Clone)]
struct Said {
    who: u8,
    seq: u64,
    name: usize,
    network: usize,
    lifetime: u16,
    is_listed: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Register { said: Said, from: u8, may_move: bool },
    Refresh { who: u8, seq: u64, from: u8, is_proved: bool },
    Unregister { who: u8, seq: u64 },
    Pass { tenths: u64, sweeps: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let said = (0..PEOPLE, 0..4_u64, 0..NAMES.len(), 0..NETWORKS.len(), 30..400_u16, any::<bool>())
        .prop_map(|(who, seq, name, network, lifetime, is_listed)| Said { who, seq, name, network, lifetime, is_listed });
    prop_oneof![
        4 => (said, 0..3_u8, any::<bool>()).prop_map(|(said, from, may_move)| Step::Register { said, from, may_move }),
        2 => (0..PEOPLE, 0..4_u64, 0..3_u8, any::<bool>())
            .prop_map(|(who, seq, from, is_proved)| Step::Refresh { who, seq, from, is_proved }),
        1 => (0..PEOPLE, 0..5_u64).prop_map(|(who, seq)| Step::Unregister { who, seq }),
        2 => (0..900_u64, any::<bool>()).prop_map(|(tenths, sweeps)| Step::Pass { tenths, sweeps }),
    ]
}

/// What the map keeps of somebody. Times in tenths of a second.
struct Model {
    seq: u64,
    seen: SocketAddr,
    heard: u64,
    born: u64,
    expires: u64,
    /// `None` after a farewell.
    record: Option<(Said, Vec<u8>)>,
}

impl Model {
    fn deadline(&self) -> u64 {
        if self.record.is_none() { self.expires } else { self.expires.min(self.heard + 10 * u64::from(TTL)) }
    }
}

struct Both {
    memory: Memory,
    map: BTreeMap<RawId, Model>,
    tenths: u64,
}

static IDS: LazyLock<Vec<PeerId>> =
    LazyLock::new(|| (0..PEOPLE).map(|who| Identity::generate(&mut ChaCha20Rng::seed_from_u64(who.into())).id()).collect());

fn id(who: u8) -> RawId {
    *IDS[usize::from(who)].as_bytes()
}

fn from(from: u8) -> SocketAddr {
    // Two versions of IP.
    if from == 0 { "[2001:db8::1]:2000".parse().unwrap() } else { SocketAddr::from(([203, 0, 113, from], 17_118)) }
}

fn now(tenths: u64) -> Now {
    let passed = Duration::from_millis(100 * tenths);
    Now { instant: Instant::from_start(Duration::from_secs(9) + passed), unix: Unix(UNIX * 1_000).after(passed) }
}

/// Issued when the test began.
fn record(said: &Said) -> Vec<u8> {
    let record = Record {
        id: IDS[usize::from(said.who)],
        seq: said.seq,
        issued: UNIX,
        lifetime: said.lifetime,
        network: NETWORKS[said.network],
        name: NAMES[said.name].to_owned(),
        visibility: if said.is_listed { Visibility::Listed } else { Visibility::Findable },
        seeds: Vec::new(),
        addrs: Vec::new(),
    };
    record.encode()
}

fn register(memory: &Memory, now: Now, record: &[u8], seen: SocketAddr, may_move: bool) -> Outcome {
    let claim = Claim::decode(record).unwrap();
    memory.register(now, &Registration { claim: &claim, record, signature: &[7; SIGNATURE_LEN], seen, may_move })
}

impl Both {
    fn new() -> Self {
        Self { memory: Memory::new(RECORDS_MAX, [1; 16], now(0)), map: BTreeMap::new(), tenths: 0 }
    }

    fn now(&self) -> Now {
        now(self.tenths)
    }

    fn live(&self, id: &RawId) -> Option<&Model> {
        self.map.get(id).filter(|model| model.deadline() > self.tenths)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Register { said, from: at, may_move } => self.register(said, from(*at), *may_move),
            Step::Refresh { who, seq, from: at, is_proved } => self.refresh(id(*who), *seq, from(*at), *is_proved),
            Step::Unregister { who, seq } => self.unregister(id(*who), *seq),
            Step::Pass { tenths, sweeps } => {
                self.tenths += tenths;
                if *sweeps {
                    (0..SHARDS).for_each(|_| self.memory.sweep(self.now()));
                    self.map.retain(|_, model| model.deadline() > self.tenths);
                    let records = self.map.values().filter(|model| model.record.is_some()).count();
                    assert_eq!((self.memory.len(), self.memory.held.load(Relaxed)), (records, self.map.len()));
                }
            }
        }
    }

    fn register(&mut self, said: &Said, seen: SocketAddr, may_move: bool) {
        let (id, record) = (id(said.who), record(said));
        let expires = 10 * u64::from(said.lifetime);
        if expires <= self.tenths {
            return;
        }
        let known = self.live(&id).map(|known| (known.seq, known.seen, known.record.is_none()));
        let expected = match known {
            Some((seq, at, is_gone)) if said.seq < seq || said.seq == seq && (is_gone || at != seen && !may_move) => {
                Outcome::Stale { seq }
            }
            _ => Outcome::Registered { ttl: TTL.min(u16::try_from((expires - self.tenths) / 10).unwrap()) },
        };
        let outcome = register(&self.memory, self.now(), &record, seen, may_move);
        let live = self.map.values().filter(|model| model.deadline() > self.tenths).count();
        if outcome == Outcome::Full {
            // What is over may take room until it is swept away.
            assert!(known.is_none() && self.map.len() >= RECORDS_MAX);
            return;
        }
        assert!(known.is_some() || live < RECORDS_MAX);
        assert_eq!(outcome, expected);
        if matches!(outcome, Outcome::Registered { .. }) {
            let (heard, born) = (self.tenths, self.tenths);
            self.map.insert(id, Model { seq: said.seq, seen, heard, born, expires, record: Some((said.clone(), record)) });
        }
    }

    fn refresh(&mut self, id: RawId, seq: u64, seen: SocketAddr, is_proved: bool) {
        let (now, tenths) = (self.now(), self.tenths);
        let known = self.live(&id).is_some_and(|known| known.seq == seq && known.record.is_some() && is_proved);
        let ttl = self.memory.refresh(now, &id, seq, seen, &mut |_| is_proved);
        assert_eq!(ttl.is_some(), known);
        if let Some(model) = self.map.get_mut(&id).filter(|_| known) {
            (model.heard, model.seen) = (tenths, seen);
            assert_eq!(ttl.map(u64::from), Some((model.deadline() - tenths) / 10));
        }
    }

    fn unregister(&mut self, id: RawId, seq: u64) {
        let known = self.live(&id).is_some_and(|known| known.record.is_some() && known.seq < seq);
        assert_eq!(self.memory.unregister(self.now(), &id, seq), known);
        if let Some(model) = self.map.get_mut(&id).filter(|_| known) {
            (model.record, model.seq) = (None, seq);
        }
    }

    /// Everything that can be asked has the same answer on both sides.
    fn check(&self) {
        for who in 0..PEOPLE {
            self.check_one(&id(who));
        }
        for network in &NETWORKS {
            for name in NAMES {
                self.check_name(network, &name_key(name));
            }
            for prefix in ["", "a", "al", "alice", "b"] {
                self.check_list(network, prefix);
            }
        }
    }

    fn check_one(&self, id: &RawId) {
        let live = self.live(id);
        let mut shown = None;
        let is_there = self.memory.lookup(self.now(), id, &mut |entry| {
            shown = Some((entry.record.to_vec(), entry.seen, u64::from(entry.age)));
        });
        let expected = live.and_then(|model| {
            let (_, record) = model.record.as_ref()?;
            Some((record.clone(), model.seen, (self.tenths - model.heard) / 10))
        });
        assert_eq!((is_there, &shown), (expected.is_some(), &expected));
        match (live, self.memory.known(self.now(), id)) {
            (Some(model), Known::Live { seq, seen }) => {
                assert!(model.record.is_some());
                assert_eq!((seq, seen), (model.seq, model.seen));
            }
            (Some(model), Known::Gone { seq }) => assert!(model.record.is_none() && model.seq == seq),
            (None, Known::Nothing) => {}
            (None, Known::Full) => assert!(self.map.len() >= RECORDS_MAX),
            (_, known) => panic!("{known:?}"),
        }
    }

    /// Who is live in a network: key, id, when it registered.
    fn named(&self, network: &[u8; 8], listed: bool) -> Vec<(String, RawId, u64)> {
        let live = self.map.iter().filter(|(_, model)| model.deadline() > self.tenths);
        let mut named: Vec<_> = live
            .filter_map(|(id, model)| {
                let (said, _) = model.record.as_ref()?;
                let is_meant = NETWORKS[said.network] == *network && (said.is_listed || !listed);
                is_meant.then(|| (name_key(NAMES[said.name]), *id, model.born))
            })
            .collect();
        named.sort();
        named
    }

    fn check_name(&self, network: &[u8; 8], key: &str) {
        let mut found = Vec::new();
        self.memory.find(self.now(), network, key, &mut |entry| {
            found.push(Claim::decode(entry.record).unwrap().id);
            true
        });
        let expected = self.named(network, false);
        let born = |id: &RawId| expected.iter().find(|(of, at, _)| of == key && at == id).map(|(.., born)| *born);
        let times: Vec<_> = found.iter().map(|id| born(id).expect("it has that name")).collect();
        assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
        assert_eq!(found.len(), expected.iter().filter(|(of, ..)| of == key).count());
    }

    fn check_list(&self, network: &[u8; 8], prefix: &str) {
        let expected: Vec<_> = self
            .named(network, true)
            .into_iter()
            .filter(|(key, ..)| key.starts_with(prefix))
            .map(|(key, id, _)| (key, id))
            .collect();
        for page in [1, 3, 100] {
            let mut found: Vec<(String, RawId)> = Vec::new();
            loop {
                let before = found.len();
                let after = found.last().cloned();
                let after = after.as_ref().map(|(key, id)| (key.as_str(), id));
                self.memory.search(self.now(), network, prefix, after, &mut |entry| {
                    let claim = Claim::decode(entry.record).unwrap();
                    found.push((name_key(claim.name), claim.id));
                    found.len() < before + page
                });
                if found.len() < before + page {
                    break;
                }
            }
            assert_eq!(found, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_directory_does_what_a_map_does(steps in prop::collection::vec(step(), 1..60)) {
        let mut both = Both::new();
        for step in &steps {
            both.step(step);
            both.check();
        }
        both.step(&Step::Pass { tenths: 5_000, sweeps: true });
        prop_assert!(both.memory.is_empty());
        prop_assert!((0..SHARDS).all(|shard| both.memory.names.with(shard, |names| names.is_empty())), "no name is left");
        prop_assert!((0..SHARDS).all(|shard| both.memory.lists.with(shard, |lists| lists.is_empty())), "no line is left");
    }
}

/// A record of nobody in particular.
fn forged(n: u32, name: &str, is_listed: bool) -> Vec<u8> {
    let said = Said { who: 0, seq: 1, name: 0, network: 0, lifetime: 3_600, is_listed };
    let mut record = Record::decode(&record(&said)).unwrap();
    record.name = name.to_owned();
    let mut bytes = record.encode();
    let at = bytes.windows(32).position(|window| window == record.id.as_bytes()).unwrap();
    bytes[at..at + 4].copy_from_slice(&n.to_be_bytes());
    bytes
}

#[test]
fn a_name_has_so_many_namesakes_and_the_oldest_go_first() {
    let memory = Memory::new(1_000, [1; 16], now(0));
    for n in 0..200 {
        register(&memory, now(n.into()), &forged(n, "alice", false), from(1), false);
    }
    let mut found = Vec::new();
    memory.find(now(200), &[0; 8], "alice", &mut |entry| {
        let id = Claim::decode(entry.record).unwrap().id;
        found.push(u32::from_be_bytes([id[0], id[1], id[2], id[3]]));
        true
    });
    assert_eq!(found, (0..200).rev().take(NAMESAKES_MAX).collect::<Vec<_>>());
    assert_eq!(memory.len(), 200, "and all are found by id");
}

#[test]
fn a_list_of_the_silent_costs_a_bounded_walk_once() {
    let memory = Memory::new(10_000, [1; 16], now(0));
    for n in 0..5_000 {
        register(&memory, now(0), &forged(n, &format!("a{n:05}"), true), from(1), false);
    }
    register(&memory, now(700), &forged(9_999, "b", true), from(1), false);
    let mut searches = 0;
    let mut found = 0;
    while found == 0 {
        searches += 1;
        memory.search(now(800), &[0; 8], "", None, &mut |_| {
            found += 1;
            true
        });
    }
    assert_eq!(searches, 5_000_usize.div_ceil(SEARCH_STEPS_MAX), "what is over is taken away on the way");
    assert_eq!((found, memory.len()), (1, 1));
}

#[test]
fn seats_that_were_freed_are_used_again() {
    let memory = Memory::new(100, [1; 16], now(0));
    for round in 0..20_u32 {
        let at = now(u64::from(round) * 1_000);
        (0..SHARDS).for_each(|_| memory.sweep(at));
        for n in 0..100 {
            let outcome = register(&memory, at, &forged(round * 100 + n, "alice", false), from(1), false);
            assert_eq!(outcome, Outcome::Registered { ttl: TTL });
        }
        assert_eq!(register(&memory, at, &forged(u32::MAX, "alice", false), from(1), false), Outcome::Full);
    }
    // A table has room for three at least.
    let places: usize = (0..SHARDS).map(|shard| memory.people.with(shard, |people| people.places())).sum();
    assert!(places < 1_000, "{places} places for 100 records at a time");
}

/// The mark of a farewell stays for as long as its record could be believed; whoever comes back does not.
#[test]
fn who_comes_back_after_a_farewell_is_swept_away_like_anybody() {
    let memory = Memory::new(100, [1; 16], now(0));
    let came = Said { who: 0, seq: 1, name: 0, network: 0, lifetime: 3_600, is_listed: false };
    register(&memory, now(0), &record(&came), from(1), false);
    assert!(memory.unregister(now(1), &id(0), 2));
    (0..SHARDS).for_each(|_| memory.sweep(now(2)));
    register(&memory, now(3), &record(&Said { seq: 3, ..came }), from(1), false);
    assert_eq!(memory.len(), 1);
    (0..SHARDS).for_each(|_| memory.sweep(now(3 + 10 * u64::from(TTL))));
    assert_eq!((memory.len(), memory.held.load(Relaxed)), (0, 0));
}

/// Not every program writes a record as ours does.
#[test]
fn an_id_is_known_wherever_the_record_has_it() {
    let memory = Memory::new(100, [1; 16], now(0));
    let bytes = forged(7, "alice", false);
    let entry = bytes.windows(2).position(|window| window == b"\xa1i").unwrap();
    // The first pair of the map becomes the last.
    let (pair, rest) = bytes[entry..].split_at(2 + 2 + 32);
    let turned = [&bytes[..entry], rest, pair].concat();
    let claim = Claim::decode(&turned).unwrap();
    assert_eq!(claim.id, Claim::decode(&bytes).unwrap().id);
    register(&memory, now(0), &turned, from(1), false);
    let mut found = 0;
    assert!(memory.lookup(now(1), &claim.id, &mut |entry| found += usize::from(entry.record == turned)));
    assert_eq!(found, 1);
}
