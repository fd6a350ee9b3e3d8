//! A seed as its operator and its clients see it: the real binary, asked over real sockets in the words
//! of the wire. What it answers in every case is tested in `seed` itself.

use std::{
    net::{SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;
use p2pchat_udp::{
    crypto::{identity::Identity, record::sign_record},
    id::PeerId,
    wire::{
        DATAGRAM_LEN_MAX, KIND_PACKET,
        phonebook::{Answer, COOKIE_LEN, Entry, Header, Query, TOKEN_LEN, answer_txid},
        record::{Record, Visibility},
        relay,
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::Value;

use crate::person::{HANG, Running, program, run};

/// A seed of this test's own; killed when it is dropped.
pub(crate) struct Seed {
    pub(crate) dir: PathBuf,
    pub(crate) running: Running,
    pub(crate) ready: Value,
}

impl Seed {
    /// On a port that is free, with this directory.
    pub(crate) fn start(dir: &tempfile::TempDir, args: &[&str]) -> Self {
        Self::start_at(dir, "127.0.0.1:0", args)
    }

    /// At this address.
    pub(crate) fn start_at(dir: &tempfile::TempDir, listen: &str, args: &[&str]) -> Self {
        let dir = dir.path().join("seed");
        let log = std::fs::File::options().create(true).append(true).open(dir.with_extension("log")).unwrap();
        let mut command = program();
        command.args(["--seed", "--json", "-v", "-n", "home", "--listen", listen, "-d"]).arg(&dir).args(args);
        command.stderr(Stdio::from(log));
        let running = Running::new(command);
        let ready = running.until(|line| line["event"] == "ready");
        Self { dir, running, ready }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(self.ready["port"].as_u64().unwrap()).unwrap()))
    }

    /// Ends it, and gives what it has logged since the first start on its directory.
    pub(crate) fn end(mut self) -> String {
        self.running.signal(Signal::SIGTERM);
        assert_eq!(self.running.end(), 0);
        std::fs::read_to_string(self.dir.with_extension("log")).unwrap()
    }
}

/// A counter as the log says it last.
pub(crate) fn counted(log: &str, name: &str) -> u64 {
    let last = log.rsplit_once(&format!(" {name}=")).unwrap_or_else(|| panic!("{name} is not in {log:?}")).1;
    last.split_whitespace().next().unwrap().parse().unwrap()
}

/// Somebody who asks a seed.
pub(crate) struct Asker {
    pub(crate) socket: UdpSocket,
    seed: SocketAddr,
    cookie: [u8; COOKIE_LEN],
    txid: u64,
    answer: Vec<u8>,
}

impl Asker {
    pub(crate) fn new(seed: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Loopback loses what its buffers cannot hold; then the question is asked again.
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self { socket, seed, cookie: [0; COOKIE_LEN], txid: 0, answer: Vec::new() }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Asks until there is an answer to this very datagram.
    fn exchange(&mut self, query: &Query<'_>) -> (Header, Answer<'_>) {
        self.txid += 1;
        let mut datagram = Vec::new();
        query.encode(Header { txid: self.txid, cookie: self.cookie }, &mut datagram);
        for _ in 0..HANG.as_secs() {
            self.socket.send_to(&datagram, self.seed).unwrap();
            self.answer.resize(DATAGRAM_LEN_MAX, 0);
            let Ok((len, from)) = self.socket.recv_from(&mut self.answer) else { continue };
            self.answer.truncate(len);
            if from == self.seed && answer_txid(&self.answer) == Some(self.txid) {
                return Answer::decode(&self.answer).unwrap();
            }
        }
        panic!("no answer to {query:?}");
    }

    /// What comes without a question.
    fn told(&mut self) -> Answer<'_> {
        self.socket.set_read_timeout(Some(HANG)).unwrap();
        self.answer.resize(DATAGRAM_LEN_MAX, 0);
        let (len, from) = self.socket.recv_from(&mut self.answer).unwrap();
        assert_eq!(from, self.seed);
        self.answer.truncate(len);
        Answer::decode(&self.answer).unwrap().1
    }

    /// The answer to a question, which is asked with a cookie.
    pub(crate) fn ask(&mut self, query: &Query<'_>) -> Answer<'_> {
        if self.cookie == [0; COOKIE_LEN] {
            self.cookie = self.exchange(&Query::Hello).0.cookie;
        }
        self.exchange(query).1
    }
}

/// A person who never runs: a key and a record.
pub(crate) struct Entered {
    pub(crate) id: PeerId,
    pub(crate) record: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) farewell: (Vec<u8>, [u8; 64]),
}

pub(crate) fn entered(name: &str, rng_seed: u64) -> Entered {
    let identity = Identity::generate(&mut ChaCha20Rng::seed_from_u64(rng_seed));
    let record = Record {
        id: identity.id(),
        seq: 1,
        issued: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        lifetime: 3_600,
        network: [0; 8],
        name: name.to_owned(),
        visibility: Visibility::Listed,
        seeds: Vec::new(),
        addrs: Vec::new(),
    };
    let farewell = sign_record(&identity, &Record { seq: 2, lifetime: 0, ..record.clone() });
    let (record, signature) = sign_record(&identity, &record);
    Entered { id: identity.id(), record, signature, farewell }
}

impl Entered {
    pub(crate) fn register(&self, asker: &mut Asker, token: Option<[u8; TOKEN_LEN]>) -> [u8; TOKEN_LEN] {
        let addr = asker.addr();
        match asker.ask(&Query::Register { record: &self.record, signature: self.signature, token }) {
            Answer::Registered { token, ttl, seen } => {
                assert_eq!((ttl, seen), (75, addr));
                token
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn lookup(&self) -> Query<'static> {
        Query::Lookup { id: *self.id.as_bytes(), watch: false }
    }
}

#[test]
fn it_says_who_it_is_and_how_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    assert_eq!((&seed.ready["name"], &seed.ready["control"]), (&"home".into(), &1.into()));
    assert_eq!(seed.ready["version"], env!("CARGO_PKG_VERSION"));
    assert!(seed.ready["addrs"].is_array() && seed.ready.get("id").is_none(), "{}", seed.ready);

    let mut asker = Asker::new(seed.addr());
    let addr = asker.addr();
    assert!(matches!(asker.exchange(&Query::Hello).1, Answer::Cookie { seen } if seen == addr));
    match asker.ask(&Query::Status) {
        Answer::Status(status) => {
            assert_eq!((status.name, status.records, status.seeds.len()), ("home", 0, 0));
            assert_eq!(status.software, concat!("p2pchat-udp/", env!("CARGO_PKG_VERSION")));
        }
        other => panic!("{other:?}"),
    }
    seed.end();
}

#[test]
fn people_see_one_line_that_says_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["--seed", "-n", "home", "-l", "127.0.0.1:0", "-d"]).arg(dir.path());
    let mut running = Running::new(command);
    let line = running.line();
    assert!(line.starts_with("ready: seed home, port "), "{line}");
    running.signal(Signal::SIGINT);
    assert_eq!(running.end(), 0);
    assert_eq!(running.line_within(HANG), None, "and nothing else");
}

#[test]
fn a_record_comes_stays_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    let (alice, addr) = (entered("alice", 1), seed.addr());
    let (mut owner, mut other) = (Asker::new(addr), Asker::new(addr));
    assert!(matches!(other.ask(&alice.lookup()), Answer::NotFound { warming: true, .. }));

    let token = alice.register(&mut owner, None);
    let seen = owner.addr();
    let is_alice = |answer: Answer<'_>| match answer {
        Answer::Found { entries, more: false } => match entries[..] {
            [Entry { record, signature, seen: at, .. }] => record == alice.record && signature == alice.signature && at == seen,
            _ => false,
        },
        _ => false,
    };
    // Whichever thread hears them, each from a socket of its own.
    for _ in 0..8 {
        assert!(is_alice(Asker::new(addr).ask(&alice.lookup())));
    }
    assert!(is_alice(other.ask(&Query::Find { network: [0; 8], name: "ALICE" })));
    assert!(is_alice(other.ask(&Query::Search { network: [0; 8], prefix: "al", after: None })));
    let refresh = Query::Refresh { id: *alice.id.as_bytes(), seq: 1, token };
    assert!(matches!(owner.ask(&refresh), Answer::Registered { .. }));

    let (record, signature) = &alice.farewell;
    assert!(matches!(owner.ask(&Query::Unregister { record, signature: *signature }), Answer::Unregistered));
    assert!(matches!(other.ask(&alice.lookup()), Answer::NotFound { .. }));
    assert!(matches!(owner.ask(&refresh), Answer::Need));
    let log = seed.end();
    assert_eq!((counted(&log, "register"), counted(&log, "records")), (1, 0), "{log}");
}

/// Of a machine with several addresses each asker knows one, and so do the NATs on its way.
#[test]
fn who_asked_at_one_address_is_told_from_there_whatever_thread_tells() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start_at(&dir, "0.0.0.0:0", &[]);
    let at = |last: u8| SocketAddr::from(([127, 0, 0, last], seed.addr().port()));
    for n in 0..4 {
        let alice = entered("alice", 100 + u64::from(n));
        let (mut watcher, mut owner, mut caller) = (Asker::new(at(70 + n)), Asker::new(at(80 + n)), Asker::new(at(90 + n)));
        let watch = Query::Lookup { id: *alice.id.as_bytes(), watch: true };
        assert!(matches!(watcher.ask(&watch), Answer::NotFound { .. }));
        alice.register(&mut owner, None);
        assert!(matches!(watcher.told(), Answer::Found { entries, .. } if entries[0].record == alice.record));
        let knock = Query::Knock { to: *alice.id.as_bytes(), sealed: b"let me in" };
        assert!(matches!(caller.ask(&knock), Answer::Knocked { seen } if seen == owner.addr()));
        assert!(matches!(owner.told(), Answer::Notify { from, sealed: b"let me in", .. } if from == caller.addr()));
    }
    seed.end();
}

#[test]
fn two_who_bind_their_ends_are_relayed() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &["--relay"]);
    let people = [entered("alice", 1), entered("bob", 2)];
    let ids = people.each_ref().map(|person| *person.id.as_bytes());
    let mut askers = [Asker::new(seed.addr()), Asker::new(seed.addr())];
    let tokens = [0, 1].map(|one| people[one].register(&mut askers[one], None));
    let mut bind = |one: usize| match askers[one].ask(&Query::Bind { id: ids[one], token: tokens[one], peer: ids[1 - one] }) {
        Answer::Bound { channel, open } => (channel, open),
        other => panic!("{other:?}"),
    };
    let (channel, open) = bind(0);
    assert!(!open);
    assert_eq!(bind(1), (channel, true));
    let mut datagram = Vec::new();
    relay::encode(channel, &[KIND_PACKET; 1_000], &mut datagram);
    for [from, to] in [[0, 1], [1, 0]] {
        let mut got = [0; DATAGRAM_LEN_MAX];
        let heard = (0..HANG.as_secs()).find_map(|_| {
            askers[from].socket.send_to(&datagram, seed.addr()).unwrap();
            askers[to].socket.recv_from(&mut got).ok()
        });
        let (len, at) = heard.expect("nothing was relayed");
        assert_eq!((&got[..len], at), (&datagram[..], seed.addr()), "as it is");
    }
    match Asker::new(seed.addr()).ask(&Query::Status) {
        Answer::Status(status) => {
            assert_eq!((status.relay.rate_max, status.relay.channels), (1 << 20, 1));
            assert!(status.relay.bytes >= 2 * datagram.len() as u64);
        }
        other => panic!("{other:?}"),
    }
    let log = seed.end();
    assert!(counted(&log, "relayed") >= 2 && counted(&log, "bind") == 2, "{log}");
}

#[test]
fn after_a_restart_a_token_spares_the_signature() {
    let dir = tempfile::tempdir().unwrap();
    let alice = entered("alice", 1);
    let seed = Seed::start(&dir, &[]);
    let token = alice.register(&mut Asker::new(seed.addr()), None);
    let key = seed.dir.join("seed.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read(&key).unwrap();
    assert_eq!((kept.len(), std::fs::read_dir(&seed.dir).unwrap().count()), (32, 1), "the key and nothing else");
    let log = seed.end();
    assert_eq!((counted(&log, "signatures"), counted(&log, "tokens")), (1, 0), "{log}");

    let seed = Seed::start(&dir, &[]);
    assert_eq!(std::fs::read(&key).unwrap(), kept);
    let mut asker = Asker::new(seed.addr());
    match asker.ask(&alice.lookup()) {
        Answer::NotFound { warming: true, retry_after, .. } => assert!((1..=75).contains(&retry_after)),
        other => panic!("{other:?}"),
    }
    alice.register(&mut asker, Some(token));
    assert!(matches!(asker.ask(&alice.lookup()), Answer::Found { .. }));
    let log = seed.end();
    assert_eq!((counted(&log, "signatures"), counted(&log, "tokens")), (0, 1), "{log}");
}

#[test]
fn the_log_holds_no_address_no_id_and_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let canary = entered("canary", 7);
    let seed = Seed::start(&dir, &[]);
    let mut asker = Asker::new(seed.addr());
    canary.register(&mut asker, None);
    asker.ask(&canary.lookup());
    asker.ask(&Query::Find { network: [0; 8], name: "canary" });
    asker.ask(&Query::Knock { to: *canary.id.as_bytes(), sealed: b"canary" });
    let log = seed.end();
    assert!(counted(&log, "lookup") == 1 && counted(&log, "received") >= 4, "{log}");
    for word in ["canary", "127.0.0.1", &canary.id.to_string(), &canary.id.short()] {
        assert!(!log.contains(word), "{word} in {log}");
    }
}

#[test]
fn junk_and_a_hangup_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    let mut asker = Asker::new(seed.addr());
    asker.ask(&Query::Status);
    seed.running.signal(Signal::SIGHUP);
    let mut status = Vec::new();
    Query::Status.encode(Header { txid: 1, cookie: asker.cookie }, &mut status);
    let mut junk = Asker::new(seed.addr());
    for len in (0..=status.len()).chain([1_199, 1_200, 1_201, 9_000]) {
        for first in [0, 7, 8, 255] {
            let mut datagram = status.clone();
            datagram.resize(len, first);
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            let _ = junk.socket.send_to(&datagram, seed.addr());
        }
    }
    assert!(matches!(asker.ask(&Query::Status), Answer::Status(_)));
    // Each socket has one thread of the seed's: what the junk came before is answered behind it.
    assert!(matches!(junk.ask(&Query::Status), Answer::Status(_)));
    assert!(counted(&seed.end(), "dropped") > 0);
}

#[test]
fn a_taken_port_is_exit_9_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &[]);
    for other in ["--seed", "daemon"] {
        let mut command = program();
        command.args([other, "--listen", &seed.addr().to_string(), "-d"]).arg(dir.path().join("other"));
        let ended = run(command).expect(9);
        let [what, hint] = ended.err.lines().collect::<Vec<_>>()[..] else { panic!("{}", ended.err) };
        assert!(what.starts_with("p2pchat-udp: cannot listen on 127.0.0.1:"), "{what}");
        assert!(hint.contains("--listen"), "{hint}");
    }
    seed.end();
}

/// Its operator believes that it shares one, and two phonebooks would each have half of the people.
#[cfg(not(feature = "redis"))]
#[test]
fn a_seed_that_cannot_share_a_directory_does_not_start_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program();
    command.env("P2PCHAT_DIRECTORY", "redis://:canary@192.0.2.1:6379").arg("--seed").arg("-d").arg(dir.path().join("seed"));
    let ended = run(command).expect(2);
    assert!(ended.err.contains("P2PCHAT_DIRECTORY") && ended.err.contains("--features redis"), "{}", ended.err);
    assert!(!ended.err.contains("canary"));
}

#[test]
fn what_makes_no_sense_for_a_seed_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["--network", "x"][..],
        &["--allow", "lan"],
        &["--visibility", "listed"],
        &["--no-lan"],
        &["--interface", "lo"],
        &["--group", "224.0.0.1:5"],
        &["--plain"],
        &["--timeout", "1s"],
        &["--fail-fast"],
        &["--password-cmd", "x"],
        &["--directory", "localhost"],
        &["--max-records", "0"],
        &["--via", "nowhere"],
        &["peers"],
        &["daemon"],
        &["send", "bob", "hi"],
    ] {
        let mut command = program();
        command.arg("--seed").args(args).arg("-d").arg(dir.path().join("seed"));
        let ended = run(command).expect(2);
        assert!(ended.err.contains(args[0]), "{args:?}: {}", ended.err);
        assert_eq!(ended.out, "");
        assert!(!dir.path().join("seed").exists(), "{args:?} made a key");
    }
    for args in [&["--max-records", "5"][..], &["--relay"]] {
        let mut command = program();
        command.args(args);
        assert!(run(command).expect(2).err.contains("--seed"));
    }
    // What the environment says may be meant for the peers of this machine.
    let mut command = program();
    command.env("P2PCHAT_NETWORK", "x").args(["--seed", "-l", "127.0.0.1:0", "-d"]).arg(dir.path());
    let mut running = Running::new(command);
    running.line();
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end(), 0);
}

/// A port that nobody has, below those that the system gives away.
pub(crate) fn free_port(from: u16) -> u16 {
    let from = from + u16::try_from(std::process::id() % 1_000).unwrap() * 4;
    let is_free = |port: &u16| UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    (from..).find(is_free).unwrap()
}

#[test]
fn seeds_that_know_each_other_say_so() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let ports = [free_port(12_000), free_port(16_000)];
    let addrs = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    // One list for both: none of them is its own fellow.
    let via = format!("{},{}", addrs[0], addrs[1]);
    let seeds = [0, 1].map(|n| Seed::start_at(&dirs[n], &addrs[n].to_string(), &["--via", &via]));
    let nobody = entered("nobody", 3);
    for (n, fellow) in [(0, addrs[1]), (1, addrs[0])] {
        let mut asker = Asker::new(addrs[n]);
        let until = std::time::Instant::now() + HANG;
        loop {
            let Answer::Status(status) = asker.ask(&Query::Status) else { panic!() };
            if status.seeds == [fellow] {
                break;
            }
            assert!(status.seeds.is_empty() && std::time::Instant::now() < until, "{:?}", status.seeds);
        }
        assert!(matches!(asker.ask(&nobody.lookup()), Answer::NotFound { seeds, .. } if seeds == [fellow]));
    }
    for seed in seeds {
        let log = seed.end();
        assert_eq!(counted(&log, "dropped"), 0, "each fellow's answer was heard: {log}");
    }
}

#[test]
fn a_fellow_without_an_address_is_a_warning_and_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Seed::start(&dir, &["--via", "no-such-seed.invalid:17118"]);
    assert!(matches!(Asker::new(seed.addr()).ask(&Query::Status), Answer::Status(_)));
    seed.end();
}

#[test]
fn the_help_shows_it_and_the_manual_explains_it() {
    let mut command = program();
    command.arg("--help");
    let help = run(command).expect(0).out;
    assert!(["--seed", "--max-records", "--relay"].iter().all(|option| help.contains(option)), "{help}");
    assert_eq!(help.contains("--directory"), cfg!(feature = "redis"), "only where it can work");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/p2pchat-udp-seed.8")).unwrap();
    for option in ["seed", "name", "data\\-dir", "listen", "via", "relay", "max\\-records", "json", "verbose"] {
        assert!(page.contains(&format!("\\-\\-{option}")), "--{option}");
    }
}

#[test]
fn the_unit_for_systemd_starts_what_there_is() {
    let unit = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/systemd/p2pchat-udp-seed.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let args = start.split_whitespace().skip(1).map(|arg| arg.replace("%S", dir.path().to_str().unwrap()));
    let socket = dir.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(HANG)).unwrap();
    let mut command = program();
    command.args(args).env("P2PCHAT_LISTEN", "127.0.0.1:0").env("NOTIFY_SOCKET", &socket);
    let mut running = Running::new(command);
    let mut said = [0; 64];
    let len = manager.recv(&mut said).unwrap();
    assert_eq!(String::from_utf8_lossy(&said[..len]).trim(), "READY=1");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end(), 0);
    assert!(dir.path().join("p2pchat-udp-seed").join("seed.key").is_file());
}
