//! A seed and whoever asks it, in whatever order and from wherever: it never panics, says nothing but a
//! cookie to whoever has none, and sends nobody more than was paid for.
#![no_main]

use std::{collections::BTreeMap, net::SocketAddr, sync::LazyLock, time::Duration};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use p2pchat_udp::{
    clock::{Instant, Now, Unix},
    crypto::{
        cookie::Cookies,
        identity::Identity,
        record::{TokenKey, sign_record},
    },
    id::ChannelId,
    seed::{Seed, SeedConfig, Shared, memory::Memory},
    wire::{
        DATAGRAM_LEN_MAX, KIND_ANSWER, KIND_QUERY, MAGIC, WIRE_VERSION,
        addr::Addr,
        phonebook::{ANSWER_FACTOR_MAX, Answer, COOKIE_LEN, Header, QUERY_LEN_MIN, Query, RawId, SEALED_LEN_MAX},
        record::{Record, Visibility},
        relay,
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const OPS_MAX: usize = 200;
const UNIX: u64 = 1_760_000_000;
const TOKEN_SECRET: [u8; 32] = [1; 32];
const COOKIE_SECRET: [u8; 32] = [2; 32];

#[derive(Arbitrary, Debug)]
struct Said {
    who: u8,
    seq: u8,
    lifetime: u16,
    name: u8,
    addrs: u8,
    listed: bool,
}

#[derive(Arbitrary, Debug)]
enum Ask {
    Hello,
    Register {
        said: Said,
        token: bool,
    },
    Refresh {
        said: Said,
        token: bool,
    },
    Lookup {
        who: u8,
        watch: bool,
    },
    Find {
        name: u8,
    },
    Search {
        prefix: u8,
        after: Option<(u8, u8)>,
    },
    Unregister {
        said: Said,
    },
    Knock {
        who: u8,
        len: u16,
    },
    Status,
    Bind {
        said: Said,
        token: bool,
        peer: u8,
    },
    /// Behind a valid cookie, anything.
    Body(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Op {
    Ask {
        from: u8,
        ask: Ask,
        cookie: bool,
        len: u16,
    },
    Bytes {
        from: u8,
        bytes: Vec<u8>,
    },
    /// In the channel of these two, where its number is known.
    Relay {
        from: u8,
        who: u8,
        peer: u8,
        kind: u8,
        len: u16,
    },
    Pass {
        ms: u32,
    },
    Fellows {
        count: u8,
    },
}

static PEOPLE: LazyLock<Vec<Identity>> =
    LazyLock::new(|| (0..6).map(|n| Identity::generate(&mut ChaCha20Rng::seed_from_u64(n))).collect());

struct World {
    seed: Seed,
    now: Now,
    start: Instant,
    /// Bytes that each may still be sent.
    credit: BTreeMap<SocketAddr, usize>,
    /// By their two ids, the lower one first.
    channels: BTreeMap<[RawId; 2], ChannelId>,
}

fn pair(who: u8, peer: u8) -> [RawId; 2] {
    let mut ids = [id(who), id(peer)];
    ids.sort_unstable();
    ids
}

fn person(who: u8) -> &'static Identity {
    &PEOPLE[usize::from(who) % PEOPLE.len()]
}

fn id(who: u8) -> RawId {
    *person(who).id().as_bytes()
}

fn name(name: u8) -> &'static str {
    ["", "a", "alice", "Alice", "ALİCE", "ß", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
        [usize::from(name) % 7]
}

fn addr(from: u8) -> SocketAddr {
    match from % 4 {
        0 => SocketAddr::from(([203, 0, 113, from], 17_118)),
        1 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, from.into()], 17_118)),
        2 => SocketAddr::from(([127, 0, 0, 1], 2_000)),
        _ => SocketAddr::from(([203, 0, 113, 1], u16::from(from) * 20)),
    }
}

fn signed(said: &Said) -> (Vec<u8>, [u8; 64]) {
    let owner = person(said.who);
    let far = Addr("[2001:db8::7]:17118".parse().expect("an address"));
    let record = Record {
        id: owner.id(),
        seq: said.seq.into(),
        issued: UNIX,
        lifetime: said.lifetime % 3_601,
        network: [0; 8],
        name: name(said.name).to_owned(),
        visibility: if said.listed { Visibility::Listed } else { Visibility::Findable },
        seeds: Vec::new(),
        addrs: vec![far; usize::from(said.addrs % 7)],
    };
    sign_record(owner, &record)
}

impl World {
    fn new() -> Self {
        let now = Now { instant: Instant::from_start(Duration::from_secs(9)), unix: Unix(UNIX * 1_000) };
        let config = SeedConfig {
            name: "attic".to_owned(),
            records_max: 4,
            fellows: Vec::new(),
            cores: 64,
            loopback: true,
            relay: Some(1 << 20),
        };
        let directory = Box::new(Memory::new(config.records_max, [3; 16], now));
        let shared = Shared::new(config, &TOKEN_SECRET, &COOKIE_SECRET, [3; 16], now, directory);
        Self {
            seed: Seed::new(shared, [4; 32], now),
            now,
            start: now.instant,
            credit: BTreeMap::new(),
            channels: BTreeMap::new(),
        }
    }

    fn header(&self, from: SocketAddr, cookie: bool) -> Header {
        let octets = match from.ip() {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let subject = [&octets[..], &from.port().to_be_bytes()].concat();
        let seconds = self.now.instant.since(self.start).as_secs() as u32;
        let cookie = if cookie { Cookies::new(&COOKIE_SECRET).make(seconds, &subject) } else { [0; COOKIE_LEN] };
        Header { txid: 7, cookie }
    }

    fn token(&self, (record, signature): &(Vec<u8>, [u8; 64]), who: u8, good: bool) -> [u8; 16] {
        let unix = self.now.unix.0 / 1_000;
        if good { TokenKey::new(&TOKEN_SECRET).token(unix, &id(who), record, signature) } else { [9; 16] }
    }

    fn query(&self, header: Header, ask: &Ask, out: &mut Vec<u8>) {
        match ask {
            Ask::Hello => Query::Hello.encode(header, out),
            Ask::Register { said, token } => {
                let of = signed(said);
                let token = token.then(|| self.token(&of, said.who, said.seq % 2 == 0));
                Query::Register { record: &of.0, signature: of.1, token }.encode(header, out);
            }
            Ask::Refresh { said, token } => {
                let token = self.token(&signed(said), said.who, *token);
                Query::Refresh { id: id(said.who), seq: said.seq.into(), token }.encode(header, out);
            }
            Ask::Lookup { who, watch } => Query::Lookup { id: id(*who), watch: *watch }.encode(header, out),
            Ask::Find { name: of } => Query::Find { network: [0; 8], name: name(*of) }.encode(header, out),
            Ask::Search { prefix, after } => {
                let after = after.map(|(of, who)| (name(of), id(who)));
                Query::Search { network: [0; 8], prefix: name(*prefix), after }.encode(header, out);
            }
            Ask::Unregister { said } => {
                let (record, signature) = signed(&Said { lifetime: 0, ..*said });
                Query::Unregister { record: &record, signature }.encode(header, out);
            }
            Ask::Knock { who, len } => {
                let sealed = vec![5; usize::from(*len) % (SEALED_LEN_MAX + 1)];
                Query::Knock { to: id(*who), sealed: &sealed }.encode(header, out);
            }
            Ask::Bind { said, token, peer } => {
                let token = self.token(&signed(said), said.who, *token);
                Query::Bind { id: id(said.who), token, peer: id(*peer) }.encode(header, out);
            }
            Ask::Status => Query::Status.encode(header, out),
            Ask::Body(body) => {
                *out = [&[KIND_QUERY][..], &MAGIC, &[WIRE_VERSION], &header.txid.to_le_bytes(), &header.cookie, body].concat();
                out.resize(out.len().max(QUERY_LEN_MIN), 0);
            }
        }
    }

    fn leaving(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let (mut all, mut out) = (Vec::new(), Vec::new());
        while let Some(to) = self.seed.poll_transmit(&mut out) {
            assert!(out.len() <= DATAGRAM_LEN_MAX);
            all.push((to, out.clone()));
        }
        all
    }

    fn ask(&mut self, from: SocketAddr, ask: &Ask, cookie: bool, len: u16) {
        let mut datagram = Vec::new();
        self.query(self.header(from, cookie), ask, &mut datagram);
        datagram.resize(datagram.len().max(usize::from(len) % (DATAGRAM_LEN_MAX + 1)), 0);
        if matches!(ask, Ask::Lookup { .. }) {
            datagram.truncate(QUERY_LEN_MIN + usize::from(len));
        }
        self.seed.handle_datagram(self.now, from, &datagram);
        let left = self.leaving();
        if let (Ask::Bind { said, peer, .. }, [(_, out)]) = (ask, &left[..])
            && let Ok((_, Answer::Bound { channel, .. })) = Answer::decode(out)
        {
            assert_eq!(*self.channels.entry(pair(said.who, *peer)).or_insert(channel), channel);
        }
        if !cookie {
            let only = |(to, out): &(SocketAddr, Vec<u8>)| {
                *to == from && out.len() <= datagram.len() && matches!(Answer::decode(out), Ok((_, Answer::Cookie { .. })))
            };
            assert!(left.len() <= 1 && left.iter().all(only), "{left:?}");
            return;
        }
        let paid = ANSWER_FACTOR_MAX * datagram.len();
        let is_notify = |out: &[u8]| matches!(Answer::decode(out), Ok((_, Answer::Notify { .. })));
        if left.iter().any(|(_, out)| is_notify(out)) {
            assert!(left.iter().map(|(_, out)| out.len()).sum::<usize>() <= paid, "a knock pays for what it causes");
            return;
        }
        *self.credit.entry(from).or_default() += paid;
        for (to, out) in left {
            let credit = self.credit.entry(to).or_default();
            *credit = credit.checked_sub(out.len()).expect("nobody is sent more than was paid for");
        }
    }

    fn relay(&mut self, from: SocketAddr, pair: [RawId; 2], kind: u8, len: u16) {
        let (mut datagram, channel) = (Vec::new(), self.channels.get(&pair).copied().unwrap_or_default());
        relay::encode(channel, &vec![kind % 12; usize::from(len % 1_400)], &mut datagram);
        self.seed.handle_datagram(self.now, from, &datagram);
        let left = self.leaving();
        assert!(left.len() <= 1 && left.iter().all(|(_, out)| *out == datagram), "as it is, or not at all");
        assert!(left.is_empty() || (1..=4).contains(&(kind % 12)), "nothing but what belongs into a session");
    }
}

fuzz_target!(|ops: Vec<Op>| {
    let mut world = World::new();
    for op in ops.iter().take(OPS_MAX) {
        match op {
            Op::Ask { from, ask, cookie, len } => world.ask(addr(*from), ask, *cookie, *len),
            Op::Bytes { from, bytes } => {
                world.seed.handle_datagram(world.now, addr(*from), bytes);
                let left = world.leaving();
                let is_answer = bytes.first() == Some(&KIND_ANSWER);
                assert!(left.len() <= 1, "one datagram, one answer, or one more question to a fellow");
                assert!(is_answer || left.iter().all(|(_, out)| out.len() <= bytes.len()), "nothing has a valid cookie");
            }
            Op::Relay { from, who, peer, kind, len } => world.relay(addr(*from), pair(*who, *peer), *kind, *len),
            Op::Pass { ms } => {
                let passed = Duration::from_millis(u64::from(ms % 200_000));
                world.now = Now { instant: world.now.instant + passed, unix: world.now.unix.after(passed) };
                world.seed.handle_timeout(world.now);
                // What is asked of fellows goes where the operator said.
                world.leaving();
            }
            Op::Fellows { count } => world.seed.handle_fellows(world.now, (0..*count).map(addr).collect()),
        }
    }
});
