//! A seed and people who ask it, on virtual time.

mod bounds;
mod cluster;
mod fellows;
mod looking;
mod registering;
mod relaying;

use std::net::SocketAddr;

use super::{memory::Memory, *};
use crate::{
    clock::Unix,
    crypto::{identity::Identity, record::sign_record},
    wire::{
        SIGNATURE_LEN,
        phonebook::{COOKIE_LEN, Entry, RawId, Refusal, TOKEN_LEN},
        record::{Record, Visibility},
    },
};

/// When these tests begin, unix seconds.
const UNIX: u64 = 1_760_000_000;

/// One seed, and the time.
struct World {
    seed: Seed,
    shared: Arc<Shared>,
    now: Now,
}

impl World {
    fn new() -> Self {
        Self::with(SeedConfig {
            name: "attic".to_owned(),
            records_max: 1_000,
            fellows: Vec::new(),
            cores: 1,
            loopback: false,
            relay: None,
        })
    }

    fn with(config: SeedConfig) -> Self {
        let now = Now { instant: Instant::from_start(Duration::from_secs(5_000)), unix: Unix(UNIX * 1_000) };
        let directory = Box::new(Memory::new(config.records_max, [3; 16], now));
        let shared = Shared::new(config, &[1; 32], &[2; 32], [3; 16], now, directory);
        Self { seed: Seed::new(shared.clone(), [4; 32], now), shared, now }
    }

    /// A world with a seed that relays.
    fn relaying() -> Self {
        let config = SeedConfig { relay: Some(1 << 20), ..Self::new().shared.config.clone() };
        Self::with(config)
    }

    /// A world in which the seed has been there for long.
    fn warm() -> Self {
        let mut world = Self::new();
        world.pass(80);
        world
    }

    /// Lets so many seconds pass, tick by tick.
    fn pass(&mut self, seconds: u64) {
        let end = self.now.instant + Duration::from_secs(seconds);
        while self.now.instant < end {
            let next = self.seed.poll_timeout().unwrap_or(end).max(self.now.instant).min(end);
            let unix = self.now.unix.after(next.since(self.now.instant));
            self.now = Now { instant: next, unix };
            self.seed.handle_timeout(self.now);
        }
    }

    /// What leaves, decoded by whoever wants to.
    fn leaving(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            let mut out = Vec::new();
            let Some(to) = self.seed.poll_transmit(&mut out) else { return all };
            all.push((to, out));
        }
    }

    /// The one datagram that answers these bytes.
    fn raw(&mut self, from: SocketAddr, bytes: &[u8]) -> Vec<u8> {
        self.seed.handle_datagram(self.now, from, bytes);
        let mut out = Vec::new();
        let to = self.seed.poll_transmit(&mut out).or_else(|| {
            // Nobody keeps it company.
            self.seed.check_signatures(self.now);
            self.seed.poll_transmit(&mut out)
        });
        assert_eq!(to, Some(from));
        out
    }

    fn cookie(&mut self, from: SocketAddr) -> [u8; COOKIE_LEN] {
        let out = self.raw(from, &bytes(&Query::Hello, [0; COOKIE_LEN]));
        let (header, answer) = Answer::decode(&out).unwrap();
        assert_eq!((answer, header.txid), (Answer::Cookie { seen: from }, 7));
        header.cookie
    }

    /// Asks with a cookie.
    fn ask(&mut self, from: SocketAddr, query: &Query<'_>) -> Vec<u8> {
        let cookie = self.cookie(from);
        self.raw(from, &bytes(query, cookie))
    }

    /// Asks and wants nothing but one answer without entries.
    fn told(&mut self, from: SocketAddr, query: &Query<'_>) -> Answer<'static> {
        let out = self.ask(from, query);
        assert!(self.leaving().is_empty(), "one query, one answer");
        plain(&out)
    }

    fn register(&mut self, from: SocketAddr, signed: &Signed) -> Answer<'static> {
        self.told(from, &signed.register(None))
    }

    fn token(&mut self, from: SocketAddr, signed: &Signed) -> [u8; TOKEN_LEN] {
        match self.register(from, signed) {
            Answer::Registered { token, .. } => token,
            other => panic!("{other:?}"),
        }
    }

    /// Where `id` is said to be.
    fn seen(&mut self, id: RawId) -> Option<SocketAddr> {
        let out = self.ask(addr(200), &Query::Lookup { id, watch: false });
        entries(&out).0.first().map(|entry| entry.seen)
    }

    fn counters(&mut self) -> Counters {
        self.pass(1);
        self.shared.counters()
    }
}

/// A record and its owner's signature.
struct Signed {
    record: Vec<u8>,
    signature: [u8; SIGNATURE_LEN],
    id: RawId,
}

impl Signed {
    fn new(owner: &Identity, record: &Record) -> Self {
        let (bytes, signature) = sign_record(owner, record);
        Self { record: bytes, signature, id: *record.id.as_bytes() }
    }

    fn register(&self, token: Option<[u8; TOKEN_LEN]>) -> Query<'_> {
        Query::Register { record: &self.record, signature: self.signature, token }
    }

    fn unregister(&self) -> Query<'_> {
        Query::Unregister { record: &self.record, signature: self.signature }
    }

    fn entry(&self, seen: SocketAddr, age: u16) -> Entry<'_> {
        Entry { record: &self.record, signature: self.signature, seen, age }
    }
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, last], 17_118))
}

fn identity(rng_seed: u64) -> Identity {
    Identity::generate(&mut ChaCha20Rng::seed_from_u64(rng_seed))
}

fn record(owner: &Identity, seq: u64) -> Record {
    Record {
        id: owner.id(),
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

fn bytes(query: &Query<'_>, cookie: [u8; COOKIE_LEN]) -> Vec<u8> {
    let mut out = Vec::new();
    query.encode(Header { txid: 7, cookie }, &mut out);
    out
}

/// An answer that borrows nothing.
fn plain(datagram: &[u8]) -> Answer<'static> {
    let (header, answer) = Answer::decode(datagram).unwrap();
    assert_eq!(header.txid, 7);
    match answer {
        Answer::Cookie { seen } => Answer::Cookie { seen },
        Answer::Registered { token, ttl, seen } => Answer::Registered { token, ttl, seen },
        Answer::Need => Answer::Need,
        Answer::NotFound { warming, retry_after, seeds } => Answer::NotFound { warming, retry_after, seeds },
        Answer::Unregistered => Answer::Unregistered,
        Answer::Knocked { seen } => Answer::Knocked { seen },
        Answer::Refused(refusal) => Answer::Refused(refusal),
        Answer::Bound { channel, open } => Answer::Bound { channel, open },
        Answer::Found { .. } | Answer::Notify { .. } | Answer::Status(_) => panic!("{answer:?}"),
    }
}

/// The entries of an answer, none where nothing was found, and whether there are more.
fn entries(datagram: &[u8]) -> (Vec<Entry<'_>>, bool) {
    match Answer::decode(datagram).unwrap().1 {
        Answer::Found { entries, more } => (entries, more),
        Answer::NotFound { .. } => (Vec::new(), false),
        other => panic!("{other:?}"),
    }
}

fn names(datagram: &[u8]) -> Vec<String> {
    entries(datagram).0.iter().map(|entry| Record::decode(entry.record).unwrap().name).collect()
}

#[test]
fn without_a_cookie_there_is_nothing_but_a_cookie() {
    let mut world = World::new();
    let alice = Signed::new(&identity(1), &record(&identity(1), 1));
    let stolen = world.cookie(addr(1));
    for query in [
        Query::Hello,
        alice.register(None),
        Query::Refresh { id: alice.id, seq: 1, token: [0; TOKEN_LEN] },
        Query::Lookup { id: alice.id, watch: true },
        Query::Status,
    ] {
        for cookie in [[0; COOKIE_LEN], [9; COOKIE_LEN], stolen] {
            let out = world.raw(addr(2), &bytes(&query, cookie));
            assert_eq!(plain(&out), Answer::Cookie { seen: addr(2) });
            assert!(world.leaving().is_empty());
        }
    }
    assert_eq!((world.counters().records, world.counters().cookies), (0, 16));
    world.pass(121);
    assert_eq!(plain(&world.raw(addr(1), &bytes(&Query::Status, stolen))), Answer::Cookie { seen: addr(1) }, "too old");
}

#[test]
fn what_is_no_query_gets_no_answer() {
    let mut world = World::new();
    let cookie = world.cookie(addr(1));
    let mut long = bytes(&Query::Status, cookie);
    long.resize(1_201, 0);
    let mut unknown = bytes(&Query::Status, cookie);
    unknown[30] = 200;
    let mut answer = Vec::new();
    Answer::Need.encode(Header { txid: 7, cookie }, &mut answer);
    for bytes in [&[][..], &[7], &[0; 64], &long, &unknown, &bytes(&Query::Status, cookie)[..63], &answer] {
        world.seed.handle_datagram(world.now, addr(1), bytes);
        assert!(world.leaving().is_empty());
    }
    assert_eq!(world.counters().dropped, 7);
}

#[test]
fn another_version_is_told_ours() {
    let mut world = World::new();
    let mut query = bytes(&Query::Status, [0; COOKIE_LEN]);
    query[5] = 2;
    let out = world.raw(addr(1), &query);
    assert_eq!(Some(out), other_version(&query).map(Vec::from));
    assert_eq!(world.counters().other_version, 1);
}

#[test]
fn a_mapped_address_is_the_one_that_it_is() {
    let mut world = World::new();
    let mapped = "[::ffff:203.0.113.1]:17118".parse().unwrap();
    let cookie = world.cookie(addr(1));
    world.seed.handle_datagram(world.now, mapped, &bytes(&Query::Lookup { id: [1; 32], watch: false }, cookie));
    assert!(matches!(world.leaving().as_slice(), [(to, out)] if *to == addr(1) && entries(out).0.is_empty()));
}

#[test]
fn a_seed_says_how_it_is() {
    let mut world = World::with(SeedConfig {
        name: "ä".repeat(40),
        records_max: 4,
        fellows: (1..=6).map(|last| format!("[2001:db8::{last}]:17118").parse().unwrap()).collect(),
        cores: 1,
        loopback: false,
        relay: None,
    });
    world.pass(9);
    let alice = Signed::new(&identity(1), &record(&identity(1), 1));
    world.leaving();
    world.token(addr(1), &alice);
    let out = world.ask(addr(2), &Query::Status);
    let Answer::Status(status) = Answer::decode(&out).unwrap().1 else { panic!() };
    assert_eq!((status.name, status.records, status.load), ("ä".repeat(32).as_str(), 1, 250));
    assert_eq!((status.unix, status.uptime), (UNIX + 9, 9));
    assert!(status.software.starts_with("p2pchat-udp/"));
    assert!(!status.seeds.is_empty() && out.len() <= 3 * 64, "as many fellows as fit: {}", status.seeds.len());
    let mut padded = bytes(&Query::Status, world.cookie(addr(2)));
    padded.resize(200, 0);
    let out = world.raw(addr(2), &padded);
    assert!(matches!(Answer::decode(&out).unwrap().1, Answer::Status(status) if status.seeds.len() == 4));
}

#[test]
fn threads_share_what_they_know() {
    let mut world = World::new();
    let mut other =
        World { seed: Seed::new(world.shared.clone(), [5; 32], world.now), shared: world.shared.clone(), now: world.now };
    let alice = Signed::new(&identity(1), &record(&identity(1), 1));
    let cookie = other.cookie(addr(2));
    let waiting = bytes(&Query::Lookup { id: alice.id, watch: true }, cookie);
    assert!(matches!(plain(&world.raw(addr(2), &waiting)), Answer::NotFound { .. }), "a cookie of the other thread");
    other.ask(addr(1), &alice.register(None));
    assert!(matches!(other.leaving().as_slice(), [(to, out)] if *to == addr(2) && entries(out).0.len() == 1));
    assert_eq!(world.seen(alice.id), Some(addr(1)));
    other.pass(1);
    assert_eq!(world.counters().register, 1, "what the other did");
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut world = World::warm();
        let mut out = Vec::new();
        for n in 0..60_u8 {
            let owner = identity(u64::from(n % 20));
            let said = Record { visibility: Visibility::Listed, name: format!("peer {}", n % 7), ..record(&owner, n.into()) };
            let signed = Signed::new(&owner, &said);
            out.push(world.ask(addr(n), &signed.register(None)));
            out.push(world.ask(addr(n), &Query::Search { network: [0; 8], prefix: "", after: None }));
            out.push(world.ask(addr(n), &Query::Find { network: [0; 8], name: "peer 3" }));
            world.seed.handle_fellows(world.now, (0..9).map(|last| addr(100 + last)).collect());
            world.pass(u64::from(n));
            out.extend(world.leaving().into_iter().map(|(_, out)| out));
        }
        (out, world.shared.counters())
    };
    assert_eq!(run(), run());
}
