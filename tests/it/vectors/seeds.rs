//! The vectors of seeds: a record, its farewell, a cookie, a token, every query and every answer, a knock and
//! its probes. Each is made twice, by the program and by the words of the page.

use std::net::SocketAddr;

use blake2::{
    Blake2s256, Blake2sMac, Digest,
    digest::{Mac, consts::U16},
};
use p2pchat_udp::{
    crypto::{
        cookie::Cookies,
        identity::{Identity, network_tag, noise_public},
        knock::{ProbeKey, open_knock, seal_knock},
        record::{TokenKey, sign_record, verify_record},
    },
    id::ChannelId,
    text::name_key,
    wire::{
        addr::Addr,
        phonebook::{Answer, Entry, Header, Query, Refusal, RelayStatus, Status, other_version},
        probe::ProbeStage,
        record::{Knock, Record, Visibility},
        relay,
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use snow::{
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};

use super::{
    Vectors, ephemeral,
    page::{address, addresses, bin, counted, integer, map, octets_and_port, siphash_128, string, varint},
};

const NETWORK: &str = "lab";
const TXID: u64 = 7;
/// The seed's clock, and the one of everybody.
const UNIX: u64 = 1_760_000_000;
/// Seconds since the seed started.
const UPTIME: u32 = 4_000;
/// What alice and bob call the attempt, and its secret.
const ATTEMPT: u64 = 5;

/// Who is where, and what the seed has made.
struct Scene<'a> {
    alice: &'a Identity,
    bob: &'a Identity,
    alice_at: SocketAddr,
    bob_at: SocketAddr,
    seed_at: SocketAddr,
    fellow_at: SocketAddr,
    record: (Vec<u8>, [u8; 64]),
    farewell: (Vec<u8>, [u8; 64]),
    cookies: [[u8; 16]; 2],
    token: [u8; 16],
    sealed: Vec<u8>,
}

pub(super) fn add(vectors: &mut Vectors, alice: &Identity, bob: &Identity) {
    let at = |text: &str| text.parse().unwrap();
    let mut scene = Scene {
        alice,
        bob,
        alice_at: at("203.0.113.9:17118"),
        bob_at: at("[2001:db8::7]:17118"),
        seed_at: at("192.0.2.1:17118"),
        fellow_at: at("198.51.100.2:17118"),
        record: (Vec::new(), [0; 64]),
        farewell: (Vec::new(), [0; 64]),
        cookies: [[0; 16]; 2],
        token: [0; 16],
        sealed: Vec::new(),
    };
    scene.add_records(vectors);
    scene.add_proofs(vectors);
    scene.add_knock(vectors);
    scene.add_queries(vectors);
    scene.add_answers(vectors);
    let name = "Stra\u{df}e JOSE\u{301}";
    let key = "strasse jos\u{e9}";
    assert_eq!(name_key(name), key);
    vectors.add("name", name);
    vectors.add("its key", key);
}

fn secret<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first + u8::try_from(i).unwrap())
}

fn h(parts: &[&[u8]]) -> [u8; 32] {
    Blake2s256::digest(parts.concat()).into()
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mac = <Blake2sMac<U16> as Mac>::new_from_slice(key).unwrap();
    mac.chain_update(parts.concat()).finalize().into_bytes().into()
}

/// The X25519 secret of an identity.
fn noise_secret(identity: &Identity) -> [u8; 32] {
    let hash = ring::digest::digest(&ring::digest::SHA512, identity.secret());
    let mut scalar: [u8; 32] = hash.as_ref()[..32].try_into().unwrap();
    scalar[0] &= 0xf8;
    scalar[31] = scalar[31] & 0x7f | 0x40;
    scalar
}

impl Scene<'_> {
    /// What bob has in the phonebook, and how he takes it away a minute later.
    fn add_records(&mut self, vectors: &mut Vectors) {
        let record = Record {
            id: self.bob.id(),
            seq: UNIX * 1_000,
            issued: UNIX,
            lifetime: 3_600,
            network: network_tag(NETWORK),
            name: "bob".to_owned(),
            visibility: Visibility::Findable,
            seeds: vec![Addr(self.seed_at)],
            addrs: vec![Addr(self.bob_at)],
        };
        let farewell = Record {
            seq: (UNIX + 60) * 1_000,
            issued: UNIX + 60,
            lifetime: 0,
            name: String::new(),
            seeds: Vec::new(),
            addrs: Vec::new(),
            ..record.clone()
        };
        (self.record, self.farewell) = (sign_record(self.bob, &record), sign_record(self.bob, &farewell));

        let id = bin(self.bob.id().as_bytes());
        let tag = bin(&network_tag(NETWORK));
        let by_the_page = map(&[
            ("i", id.clone()),
            ("q", integer(UNIX * 1_000)),
            ("d", integer(UNIX)),
            ("l", integer(3_600)),
            ("w", tag.clone()),
            ("n", string("bob")),
            ("v", integer(1)),
            ("s", addresses(&[self.seed_at])),
            ("a", addresses(&[self.bob_at])),
        ]);
        assert_eq!(self.record.0, by_the_page);
        let by_the_page =
            map(&[("i", id), ("q", integer((UNIX + 60) * 1_000)), ("d", integer(UNIX + 60)), ("w", tag), ("v", integer(1))]);
        assert_eq!(self.farewell.0, by_the_page);
        for (name, (bytes, signature)) in [("record", &self.record), ("farewell", &self.farewell)] {
            let signed = [b"p2pchat-udp record 1", bytes.as_slice()].concat();
            let key = Ed25519KeyPair::from_seed_unchecked(self.bob.secret()).unwrap();
            assert_eq!(key.sign(&signed).as_ref(), signature);
            UnparsedPublicKey::new(&ED25519, self.bob.id().as_bytes()).verify(&signed, signature).unwrap();
            assert!(verify_record(bytes, signature).is_ok());
            vectors.add(name, bytes);
            vectors.add(&format!("signature of the {name}"), signature);
        }
    }

    /// What our seed gives: another's may be anything.
    fn add_proofs(&mut self, vectors: &mut Vectors) {
        let cookie_secret: [u8; 32] = secret(0x60);
        let mut cookies = Cookies::new(&cookie_secret);
        let key = &h(&[b"cookie", &cookie_secret, &u64::from(UPTIME / 3_600).to_le_bytes()])[..16];
        for (cookie, at) in self.cookies.iter_mut().zip([self.alice_at, self.bob_at]) {
            let subject = octets_and_port(at);
            *cookie = cookies.make(UPTIME, &subject);
            let time = UPTIME.to_le_bytes();
            assert_eq!(*cookie, *[&time[..], &siphash_128(key, &[&time[..], &subject].concat())[..12]].concat());
            vectors.add(&format!("cookie of {at}"), *cookie);
        }
        let (token_secret, id) = (secret(0x40), self.bob.id());
        let (record, signature) = &self.record;
        self.token = TokenKey::new(&token_secret).token(UNIX, id.as_bytes(), record, signature);
        let key = &h(&[b"token", &token_secret, &(UNIX / 86_400).to_le_bytes()])[..16];
        assert_eq!(self.token, siphash_128(key, &[id.as_bytes(), &signature[..], record].concat()));
        vectors.add("token of the record", self.token);
    }

    /// Alice knocks for bob, and both probe.
    fn add_knock(&mut self, vectors: &mut Vectors) {
        let near: SocketAddr = "192.168.1.5:17118".parse().unwrap();
        let knock = Knock { attempt: ATTEMPT, secret: secret(0x80), relay: true, addrs: vec![Addr(near)] };
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let ephemeral = ephemeral(&rng);
        self.sealed = seal_knock(self.alice, &self.bob.id(), NETWORK, &knock, &mut rng);
        assert_eq!(open_knock(self.bob, NETWORK, &self.sealed).unwrap(), (self.alice.id(), knock.clone()));

        let contents =
            map(&[("n", integer(ATTEMPT)), ("k", bin(&secret::<16>(0x80))), ("r", vec![0xc3]), ("a", addresses(&[near]))]);
        let (alice_secret, bob_secret) = (noise_secret(self.alice), noise_secret(self.bob));
        let bob_public = noise_public(&self.bob.id());
        let builder = |secret| {
            snow::Builder::with_resolver("Noise_X_25519_ChaChaPoly_BLAKE2s".parse().unwrap(), Box::new(NothingDrawn))
                .local_private_key(secret)
                .and_then(|builder| builder.prologue(b"p2pchat-udp knock/1lab"))
                .unwrap()
        };
        let sender = builder(&alice_secret).remote_public_key(&bob_public).unwrap();
        let mut by_the_page = [0; 1_024];
        let mut sender = sender.fixed_ephemeral_key_for_testing_only(&ephemeral).build_initiator().unwrap();
        let len = sender.write_message(&contents, &mut by_the_page).unwrap();
        assert_eq!(self.sealed, by_the_page[..len]);
        let (mut opened, mut receiver) = ([0; 1_024], builder(&bob_secret).build_responder().unwrap());
        let len = receiver.read_message(&self.sealed, &mut opened).unwrap();
        assert_eq!(&opened[..len], contents, "bob opens it");
        assert_eq!(receiver.get_remote_static().unwrap(), noise_public(&self.alice.id()), "and knows who knocks");
        vectors.add("knock", contents);
        vectors.add("knock ephemeral secret", ephemeral);
        vectors.add("sealed knock", &self.sealed);

        for (name, stage, side) in [("probe of alice", 0, 1), ("ack of bob", 1, 0), ("ack of the ack of alice", 2, 1)] {
            let probe = ProbeKey::new(&knock, side == 1).probe(ProbeStage::try_from(stage).unwrap()).encode();
            let attempt = ATTEMPT.to_le_bytes();
            let mac = mac(&secret::<16>(0x80), &[&[stage, side], &attempt]);
            assert_eq!(probe.to_vec(), [&[9, stage][..], &attempt, &mac].concat());
            vectors.add(name, probe);
        }
    }

    fn add_queries(&self, vectors: &mut Vectors) {
        let [alice, bob] = self.cookies;
        let (record, signature) = (self.record.0.as_slice(), self.record.1);
        let (farewell, farewell_signature) = (self.farewell.0.as_slice(), self.farewell.1);
        let (token, id, network) = (self.token, *self.bob.id().as_bytes(), network_tag(NETWORK));
        let seq = UNIX * 1_000;
        let signed = [counted(record), signature.to_vec()].concat();
        let after = [vec![1], counted(b"bob"), id.to_vec()].concat();
        for (name, cookie, query, body) in [
            ("Hello", [0; 16], Query::Hello, vec![0]),
            ("Register", bob, Query::Register { record, signature, token: None }, [&[1], &signed[..], &[0]].concat()),
            (
                "Register with a token",
                bob,
                Query::Register { record, signature, token: Some(token) },
                [&[1], &signed[..], &[1], &token].concat(),
            ),
            ("Refresh", bob, Query::Refresh { id, seq, token }, [&[2], &id[..], &varint(seq), &token].concat()),
            ("Lookup with a watch", alice, Query::Lookup { id, watch: true }, [&[3], &id[..], &[1]].concat()),
            ("Find bob", alice, Query::Find { network, name: "bob" }, [&[4], &network[..], &counted(b"bob")].concat()),
            (
                "Search b",
                alice,
                Query::Search { network, prefix: "b", after: None },
                [&[5], &network[..], &counted(b"b"), &[0]].concat(),
            ),
            (
                "Search b, after bob",
                alice,
                Query::Search { network, prefix: "b", after: Some(("bob", id)) },
                [&[5], &network[..], &counted(b"b"), &after].concat(),
            ),
            (
                "Unregister",
                bob,
                Query::Unregister { record: farewell, signature: farewell_signature },
                [&[6], &counted(farewell)[..], &farewell_signature].concat(),
            ),
            ("Knock", alice, Query::Knock { to: id, sealed: &self.sealed }, [&[7], &id[..], &counted(&self.sealed)].concat()),
            ("Status", alice, Query::Status, vec![8]),
            (
                "Bind bob to alice",
                bob,
                Query::Bind { id, token, peer: *self.alice.id().as_bytes() },
                [&[9], &id[..], &token, self.alice.id().as_bytes()].concat(),
            ),
        ] {
            let mut datagram = Vec::new();
            query.encode(Header { txid: TXID, cookie }, &mut datagram);
            let mut by_the_page = [header(7, TXID, cookie), body].concat();
            let len = by_the_page.len();
            by_the_page.resize(len.max(if (3..6).contains(&by_the_page[30]) { 400 } else { 64 }), 0);
            assert_eq!(datagram, by_the_page, "{name}");
            assert_eq!(Query::decode(&datagram), Ok((Header { txid: TXID, cookie }, query)));
            vectors.add(name, &datagram[..len]);
        }
    }

    fn add_answers(&self, vectors: &mut Vectors) {
        let ([cookie, _], token) = (self.cookies, self.token);
        let (record, signature) = (self.record.0.as_slice(), self.record.1);
        let (alice, bob, fellow) = (address(self.alice_at), address(self.bob_at), address(self.fellow_at));
        let entry = Entry { record, signature, seen: self.bob_at, age: 12 };
        let status = Status {
            name: "attic",
            software: "p2pchat-udp/0.1.0",
            unix: UNIX,
            uptime: UPTIME.into(),
            records: 300,
            load: 21,
            seeds: vec![self.fellow_at],
            relay: RelayStatus { rate_max: 1_000_000, channels: 2, bytes: 70_000 },
        };
        let status_body = [
            &[8],
            &counted(b"attic")[..],
            &counted(b"p2pchat-udp/0.1.0"),
            &varint(UNIX),
            &varint(4_000),
            &varint(300),
            &[21, 1],
            &fellow,
            &varint(1_000_000),
            &[2],
            &varint(70_000),
        ];
        for (name, answer, body) in [
            ("Cookie", Answer::Cookie { seen: self.alice_at }, [&[0], &alice[..]].concat()),
            (
                "Registered",
                Answer::Registered { token, ttl: 75, seen: self.bob_at },
                [&[1], &token[..], &varint(75), &bob].concat(),
            ),
            ("Need", Answer::Need, vec![2]),
            (
                "Found",
                Answer::Found { entries: vec![entry], more: false },
                [&[3, 1], &counted(record)[..], &signature, &bob, &varint(12), &[0]].concat(),
            ),
            (
                "NotFound, warming",
                Answer::NotFound { warming: true, retry_after: 75, seeds: vec![self.fellow_at] },
                [&[4, 1], &varint(75)[..], &[1], &fellow].concat(),
            ),
            ("Unregistered", Answer::Unregistered, vec![5]),
            ("Knocked", Answer::Knocked { seen: self.bob_at }, [&[6], &bob[..]].concat()),
            (
                "Notify",
                Answer::Notify { from: self.alice_at, sealed: &self.sealed },
                [&[7], &alice[..], &counted(&self.sealed)].concat(),
            ),
            ("Status of the seed", Answer::Status(status), status_body.concat()),
            ("Refused, BadRecord", Answer::Refused(Refusal::BadRecord), vec![9, 0]),
            ("Refused, WrongClock", Answer::Refused(Refusal::WrongClock { unix: UNIX }), [&[9, 1], &varint(UNIX)[..]].concat()),
            (
                "Refused, Stale",
                Answer::Refused(Refusal::Stale { seq: UNIX * 1_000 }),
                [&[9, 2], &varint(UNIX * 1_000)[..]].concat(),
            ),
            ("Refused, Full", Answer::Refused(Refusal::Full), vec![9, 3]),
            ("Refused, Busy", Answer::Refused(Refusal::Busy { retry_after: 300 }), [&[9, 4], &varint(300)[..]].concat()),
            ("Refused, NoRelay", Answer::Refused(Refusal::NoRelay), vec![9, 5]),
            ("Bound", Answer::Bound { channel: ChannelId(70_000), open: true }, [&[10], &varint(70_000)[..], &[1]].concat()),
        ] {
            let txid = if matches!(answer, Answer::Notify { .. }) { 0 } else { TXID };
            let cookie = if matches!(answer, Answer::Cookie { .. }) { cookie } else { [0; 16] };
            let mut datagram = Vec::new();
            answer.encode(Header { txid, cookie }, &mut datagram);
            assert_eq!(datagram, [header(8, txid, cookie), body].concat(), "{name}");
            assert_eq!(Answer::decode(&datagram), Ok((Header { txid, cookie }, answer)));
            vectors.add(name, datagram);
        }
        let mut hello = Vec::new();
        Query::Hello.encode(Header { txid: TXID, cookie: [0; 16] }, &mut hello);
        hello[5] = 2;
        let told = other_version(&hello).unwrap();
        assert_eq!(told.to_vec(), header(8, TXID, [0; 16]));
        vectors.add("answer to a query of version 2", told);
        let mut relayed = Vec::new();
        relay::encode(ChannelId(70_000), &[1, 2, 3], &mut relayed);
        assert_eq!(relayed, [&[10], &70_000u64.to_le_bytes()[..], &[1, 2, 3]].concat());
        vectors.add("010203, relayed", relayed);
    }
}

/// snow's own primitives, and no chance: the ephemeral key is given.
struct NothingDrawn;

impl Random for NothingDrawn {
    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), snow::Error> {
        Err(snow::Error::Rng)
    }
}

impl CryptoResolver for NothingDrawn {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Self))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

fn header(kind: u8, txid: u64, cookie: [u8; 16]) -> Vec<u8> {
    [&[kind], &b"p2pc"[..], &[1], &txid.to_le_bytes(), &cookie].concat()
}
