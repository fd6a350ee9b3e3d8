//! A seed and some people who ask it, on virtual time.

use std::net::SocketAddr;

use rand_core::SeedableRng;

use super::{memory::Memory, *};
use crate::{
    clock::Unix,
    crypto::{identity::Identity, record::sign_record},
    wire::{
        phonebook::{Answer, Entry, TOKEN_LEN},
        record::{Record, Visibility},
    },
};

/// When these tests begin, unix seconds.
const UNIX: u64 = 1_760_000_000;

struct World {
    seed: Seed,
    shared: Arc<Shared>,
    now: Now,
}

impl World {
    fn new() -> Self {
        let now = Now { instant: Instant::from_start(Duration::from_secs(5_000)), unix: Unix(UNIX * 1_000) };
        let config = SeedConfig { name: "attic".to_owned(), records_max: 100, fellows: Vec::new(), cores: 1, loopback: false };
        let directory = Box::new(Memory::new(config.records_max, [3; 16], now));
        let shared = Shared::new(config, &[1; 32], &[2; 32], [3; 16], now, directory);
        Self { seed: Seed::new(shared.clone(), [4; 32], now), shared, now }
    }

    fn pass(&mut self, duration: Duration) {
        self.now = Now { instant: self.now.instant + duration, unix: self.now.unix.after(duration) };
    }

    fn raw(&mut self, from: SocketAddr, query: &Query<'_>, cookie: [u8; COOKIE_LEN]) -> Vec<u8> {
        let mut out = Vec::new();
        query.encode(Header { txid: 7, cookie }, &mut out);
        self.seed.handle_datagram(self.now, from, &out);
        let mut out = Vec::new();
        assert_eq!(self.seed.poll_transmit(&mut out), Some(from));
        out
    }

    fn cookie(&mut self, from: SocketAddr) -> [u8; COOKIE_LEN] {
        let out = self.raw(from, &Query::Hello, [0; COOKIE_LEN]);
        let (header, answer) = Answer::decode(&out).unwrap();
        assert_eq!(answer, Answer::Cookie { seen: from });
        header.cookie
    }

    /// Asks with a cookie.
    fn ask(&mut self, from: SocketAddr, query: &Query<'_>) -> Vec<u8> {
        let cookie = self.cookie(from);
        self.raw(from, query, cookie)
    }
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, last], 17_118))
}

fn identity(rng_seed: u64) -> Identity {
    Identity::generate(&mut ChaCha20Rng::seed_from_u64(rng_seed))
}

fn record(identity: &Identity, seq: u64) -> Record {
    Record {
        id: identity.id(),
        seq,
        issued: UNIX,
        lifetime: 3_600,
        network: [0; 8],
        name: "alice".to_owned(),
        visibility: Visibility::Findable,
        seeds: Vec::new(),
        addrs: Vec::new(),
    }
}

fn answer(datagram: &[u8]) -> Answer<'_> {
    Answer::decode(datagram).unwrap().1
}

#[test]
fn who_registers_is_found_until_it_is_silent() {
    let mut world = World::new();
    let alice = identity(1);
    let (bytes, signature) = sign_record(&alice, &record(&alice, 1));
    let id = *alice.id().as_bytes();
    let out = world.ask(addr(1), &Query::Register { record: &bytes, signature, token: None });
    let Answer::Registered { token, ttl: 75, seen } = answer(&out) else { panic!("{:?}", answer(&out)) };
    assert_eq!(seen, addr(1));
    let out = world.ask(addr(2), &Query::Lookup { id, watch: false });
    let entry = Entry { record: &bytes, signature, seen: addr(1), age: 0 };
    assert_eq!(answer(&out), Answer::Found { entries: vec![entry], more: false });
    world.pass(Duration::from_secs(60));
    let out = world.ask(addr(3), &Query::Refresh { id, seq: 1, token });
    assert_eq!(answer(&out), Answer::Registered { token, ttl: 75, seen: addr(3) });
    let out = world.ask(addr(3), &Query::Refresh { id, seq: 1, token: [0; TOKEN_LEN] });
    assert_eq!(answer(&out), Answer::Need);
    world.pass(Duration::from_secs(70));
    let out = world.ask(addr(2), &Query::Lookup { id, watch: false });
    assert!(matches!(answer(&out), Answer::Found { entries, .. } if entries[0].seen == addr(3) && entries[0].age == 70));
    world.pass(Duration::from_secs(6));
    let out = world.ask(addr(2), &Query::Lookup { id, watch: false });
    assert!(matches!(answer(&out), Answer::NotFound { warming: false, .. }));
    world.seed.handle_timeout(world.now);
    assert_eq!(world.shared.counters().signatures, 1);
}
