//! A seed on real sockets under load: what it answers per core against a bare echo that does the same system
//! calls, what a registration costs in memory, how soon everybody is back after a crash.
//! `cargo bench --bench seed_udp -- 1000000` registers so many; nothing is asserted
//! (docs: what a seed should answer per core).
//!
//! The server has one core to itself, whoever asks another. What is counted is the server's own CPU time for
//! each answer, so that whoever else uses this machine changes little.

use std::{
    io::{BufRead, BufReader, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    ops::Range,
    os::fd::AsRawFd,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg},
};
use p2pchat_udp::{
    crypto::{
        identity::Identity,
        record::{TokenKey, sign_record},
    },
    net::socket::SOCKET_BUFFER_LEN,
    wire::{
        SIGNATURE_LEN,
        phonebook::{Answer, COOKIE_LEN, Header, Query, RawId, TOKEN_LEN},
        record::{Record, Visibility},
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

/// The server's core, and everybody else's.
const CORES: [&str; 2] = ["0", "1"];
/// As the systemd unit has it.
const TUNABLES: &str = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=33554432";
/// Clients at the same time.
const CLIENTS: usize = 64;
/// Queries that each has under way: they leave in one system call, so that one core can keep another busy.
const DEPTH: usize = 8;
/// Queries under way at the same time.
const BURST: usize = CLIENTS * DEPTH;
/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(6);
/// In so many turns with the echo.
const TURNS: u32 = 6;
/// Datagrams in one call of the echo.
const BATCH: usize = 64;
/// Registrations that were really signed, and whose signatures the seed checks.
const SIGNED: u32 = 60_000;
/// A little less than a seed checks signatures in a second: above that it says that it is busy.
const SIGNED_PER_SECOND: f64 = 29_000.0;
/// Ports that register and look up once each.
const PORTS: u32 = 64;
/// Rounds in a row in which somebody was not answered, after which all is given up.
const LOST_MAX: u32 = 200;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let first = args.next();
    if first.as_deref() == Some("echo") {
        return echo();
    }
    leave_the_servers_core();
    let records: u32 = first.map_or(100_000, |arg| arg.parse().expect("how many records"));
    let dir = std::env::temp_dir().join(format!("seed_udp.{}", std::process::id()));
    println!("{:<34}{:>12}{:>14}{:>10}", "", "answers/s", "per CPU-s", "of echo");
    let server = Server::seed(&dir, records);
    let mut entries = Entries::new(&std::fs::read(dir.join("seed.key")).expect("the seed has made it"));
    fill(&server, &mut entries, records);
    ask(&server, &Server::echo(), &mut entries, records);
    sign(&server, &entries);
    let crashed = Instant::now();
    server.end();
    come_back(&Server::seed(&dir, records), crashed, &mut entries, records);
    let _ = std::fs::remove_dir_all(dir);
}

/// On a machine with one core all share it.
fn leave_the_servers_core() {
    let own = std::process::id().to_string();
    let moved = Command::new("taskset").args(["-cp", CORES[1], &own]).stdout(Stdio::null()).status();
    if !moved.is_ok_and(|status| status.success()) {
        println!("whoever asks is on no core of its own");
    }
}

/// Registers all with tokens, and says what they weigh at 10,000, at ten times as many, and so on.
fn fill(server: &Server, entries: &mut Entries, records: u32) {
    let (before, mut done, mut all) = (server.resident(), 0, Rate::default());
    let stages = (4..).map(|power| 10_u32.pow(power)).take_while(|stage| *stage < records).chain([records]);
    let mut weights = Vec::new();
    for stage in stages {
        all += server.all(stage - done, None, |n, header, out| entries.register(done + n, header, out));
        done = stage;
        weights.push((stage, (server.resident() - before) as f64 / f64::from(stage)));
    }
    all.say("registration with token", None);
    for (stage, weight) in weights {
        println!("{stage} registered: {weight:.0} resident bytes each");
    }
}

/// Whoever is registered is looked up and refreshes, also beside a flood of junk.
fn ask(server: &Server, echo: &Server, entries: &mut Entries, records: u32) {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let lookup = beside("lookup", server, echo, |_, header, out| {
        Query::Lookup { id: Entries::id(rng.next_u32() % records), watch: false }.encode(header, out);
    });
    let mut at = 0;
    beside("refresh", server, echo, |_, header, out| {
        at = (at + 1) % records;
        entries.refresh(at, header, out);
    });
    beside("hello", server, echo, |_, header, out| {
        Query::Hello.encode(Header { cookie: [0; COOKIE_LEN], ..header }, out);
    });
    let (mut junk, mut asked) = (Junk::new(server.addr), 0_u32);
    let flooded = server.load(LOAD, &mut |_, header, out: &mut Vec<u8>| {
        asked += 1;
        junk.send();
        Query::Lookup { id: Entries::id(rng.next_u32() % records), watch: false }.encode(header, out);
    });
    flooded.say("lookup beside junk", None);
    let (kept, answered) = (100.0 * flooded.per_cpu() / lookup.per_cpu(), 100.0 * flooded.answers / f64::from(asked));
    println!(
        "junk: {:.0}/s, half random bytes, half lookups without cookie, 2 for each lookup; per CPU-s {kept:.0}% of the \
         lookups without; {answered:.2}% of {asked} lookups answered",
        2.0 * f64::from(asked) / flooded.seconds
    );
}

/// What a seed answers, and what an echo does of queries as long, in turns: whatever else this machine does slows
/// down both.
fn beside(what: &str, server: &Server, echo: &Server, mut query: impl FnMut(u64, Header, &mut Vec<u8>)) -> Rate {
    let mut sample = Vec::new();
    query(0, Header { txid: 0, cookie: [0; COOKIE_LEN] }, &mut sample);
    let (mut echoed, mut answered) = (Rate::default(), Rate::default());
    for _ in 0..TURNS {
        echoed += echo.load(LOAD / TURNS, &mut |_, _, out: &mut Vec<u8>| out.clone_from(&sample));
        answered += server.load(LOAD / TURNS, &mut query);
    }
    echoed.say(&format!("echo of {} bytes", sample.len()), None);
    answered.say(what, Some(&echoed));
    answered
}

/// Strangers register with nothing but their signatures; then some register and look each other up from ports
/// of their own.
fn sign(server: &Server, entries: &Entries) {
    let people: Vec<_> = (0..SIGNED + PORTS).map(|n| entries.sign(n)).collect();
    let register = |n: u32, header, out: &mut Vec<u8>| {
        let (_, record, signature) = &people[n as usize];
        Query::Register { record, signature: *signature, token: None }.encode(header, out);
    };
    let pace = Duration::from_secs_f64(BURST as f64 / SIGNED_PER_SECOND);
    let checks = checks(&people);
    checks.say("signature checks, one by one", Some(&checks));
    server.all(SIGNED, Some(pace), register).say("registration by signature", Some(&checks));
    println!("({SIGNED} really signed; a seed checks 30,000 signatures a second and core at most: that bounds answers/s)");
    let cookies = server.cookies();
    let ports = PORTS as usize;
    let registered = server.round(&cookies, ports, 1, &mut |n, header, out| register(SIGNED + n as u32, header, out));
    let found = server.round(&cookies, ports, 1, &mut |n, header, out| {
        let (id, ..) = people[(SIGNED + (n as u32 + 1) % PORTS) as usize];
        Query::Lookup { id, watch: false }.encode(header, out);
    });
    println!("{PORTS} source ports: {registered} registered, {found} found another");
}

/// What one core of this machine checks without anything else, as the library does it.
fn checks(people: &[(RawId, Vec<u8>, [u8; SIGNATURE_LEN])]) -> Rate {
    let (start, mut done) = (Instant::now(), 0_u32);
    for (id, record, signature) in people.iter().cycle() {
        let key = VerifyingKey::from_bytes(id).expect("it is a key");
        let _ = std::hint::black_box(key.verify(record, &Signature::from_bytes(signature)));
        done += 1;
        if start.elapsed() > LOAD / 3 {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    Rate { answers: done.into(), seconds, cpu: seconds }
}

/// All register again, with the tokens of the seed that crashed.
fn come_back(server: &Server, crashed: Instant, entries: &mut Entries, records: u32) {
    let again = server.all(records, None, |n, header, out| entries.register(n, header, out));
    let seconds = crashed.elapsed().as_secs_f64();
    again.say("registration after kill -9", None);
    println!("kill -9, same key: after {seconds:.1} s {} of {records} records are back", server.records());
}

/// What was answered in how many seconds of wall time, and of the server's CPU time.
#[derive(Default)]
struct Rate {
    answers: f64,
    seconds: f64,
    cpu: f64,
}

impl Rate {
    fn per_cpu(&self) -> f64 {
        self.answers / self.cpu
    }

    fn say(&self, what: &str, echo: Option<&Self>) {
        let share = echo.map_or(String::new(), |echo| format!("{:.0}%", 100.0 * self.per_cpu() / echo.per_cpu()));
        println!("{what:<34}{:>12.0}{:>14.0}{share:>10}", self.answers / self.seconds, self.per_cpu());
    }
}

impl std::ops::AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        self.answers += other.answers;
        self.seconds += other.seconds;
        self.cpu += other.cpu;
    }
}

/// Somebody who sends what no seed asked for, and reads nothing.
struct Junk {
    socket: UdpSocket,
    rng: ChaCha20Rng,
    bytes: [u8; 400],
    query: Vec<u8>,
}

impl Junk {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket.connect(server).expect("loopback is there");
        Self { socket, rng: ChaCha20Rng::seed_from_u64(3), bytes: [0; 400], query: Vec::new() }
    }

    fn send(&mut self) {
        let len = 1 + self.rng.next_u32() as usize % self.bytes.len();
        self.rng.fill_bytes(&mut self.bytes[..len]);
        let _ = self.socket.send(&self.bytes[..len]);
        let header = Header { txid: 0, cookie: [0; COOKIE_LEN] };
        Query::Lookup { id: [7; 32], watch: false }.encode(header, &mut self.query);
        let _ = self.socket.send(&self.query);
    }
}

/// A server in a process of its own, and everybody who asks it.
struct Server {
    child: Child,
    addr: SocketAddr,
    clients: Vec<UdpSocket>,
}

impl Server {
    /// Sends back what comes.
    fn echo() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        Self::start(Command::new("taskset").args(["-c", CORES[0]]).arg(program).arg("echo"))
    }

    /// One thread, since it sees one core.
    fn seed(dir: &std::path::Path, records: u32) -> Self {
        let program = env!("CARGO_BIN_EXE_p2pchat-udp");
        let mut command = Command::new("taskset");
        command.env("GLIBC_TUNABLES", TUNABLES);
        command.args(["-c", CORES[0], program, "--seed", "--json", "-l", "127.0.0.1:0", "--max-records"]);
        Self::start(command.arg((records + SIGNED + PORTS).to_string()).arg("-d").arg(dir))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("taskset is there");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut ready).expect("the server says where it is");
        let port = ready.split("\"port\":").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_else(|| ready.trim());
        let addr = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
        let client = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
            socket.connect(addr).expect("loopback is there");
            socket.set_nonblocking(true).expect("sockets can");
            socket
        };
        Self { child, addr, clients: (0..CLIENTS).map(client).collect() }
    }

    /// Keeps everybody asking for a while: while the answers to one half of the clients are read, the server has
    /// the questions of the other.
    fn load(&self, time: Duration, query: &mut impl FnMut(u64, Header, &mut Vec<u8>)) -> Rate {
        let cookies = self.cookies();
        let (start, cpu, mut answers) = (Instant::now(), self.cpu(), 0);
        let [mut asking, mut reading] = [0..BURST / 2, BURST / 2..BURST];
        self.ask(&cookies, reading.clone(), DEPTH, query);
        while start.elapsed() < time {
            self.ask(&cookies, asking.clone(), DEPTH, query);
            answers += self.hear(reading.clone(), DEPTH);
            (asking, reading) = (reading, asking);
        }
        answers += self.hear(reading, DEPTH);
        Rate { answers: answers as f64, seconds: start.elapsed().as_secs_f64(), cpu: self.cpu() - cpu }
    }

    /// Asks until each of so many queries was answered; a round takes as long as `pace` at least.
    fn all(&self, count: u32, pace: Option<Duration>, mut query: impl FnMut(u32, Header, &mut Vec<u8>)) -> Rate {
        let (mut done, mut lost, mut answers) = (0, 0, 0);
        let (mut cookies, mut since) = (self.cookies(), Instant::now());
        let (start, cpu) = (Instant::now(), self.cpu());
        while done < count {
            if since.elapsed() > Duration::from_secs(60) {
                (cookies, since) = (self.cookies(), Instant::now());
            }
            let now = BURST.min((count - done) as usize);
            let round = Instant::now();
            let answered =
                self.round(&cookies, now, DEPTH, &mut |n, header, out: &mut Vec<u8>| query(done + n as u32, header, out));
            answers += answered;
            // Who was not answered asks again, and so do all with him.
            (done, lost) = if answered == now { (done + now as u32, 0) } else { (done, lost + 1) };
            assert!(lost < LOST_MAX, "{answered} of {now} are answered, time and again");
            std::thread::sleep(pace.unwrap_or_default().saturating_sub(round.elapsed()));
        }
        Rate { answers: answers as f64, seconds: start.elapsed().as_secs_f64(), cpu: self.cpu() - cpu }
    }

    /// Asks so many queries, and reads the answers; how many came in time, and not with a no.
    fn round(
        &self,
        cookies: &[[u8; COOKIE_LEN]],
        queries: usize,
        depth: usize,
        query: &mut impl FnMut(u64, Header, &mut Vec<u8>),
    ) -> usize {
        self.ask(cookies, 0..queries, depth, query);
        self.hear(0..queries, depth)
    }

    /// Sends the queries with these numbers, `depth` of them from each client.
    fn ask(
        &self,
        cookies: &[[u8; COOKIE_LEN]],
        numbers: Range<usize>,
        depth: usize,
        query: &mut impl FnMut(u64, Header, &mut Vec<u8>),
    ) {
        // All are made before the first is sent: how long one takes to make changes nothing for the server.
        let mut queries = vec![Vec::new(); numbers.len()];
        for (n, out) in numbers.clone().zip(&mut queries) {
            query(n as u64, Header { txid: n as u64, cookie: cookies[n / depth] }, out);
        }
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(depth, None);
        for (client, queries) in self.clients.iter().skip(numbers.start / depth).zip(queries.chunks(depth)) {
            let slices: Vec<_> = queries.iter().map(|query| [IoSlice::new(query)]).collect();
            // What has no room is not answered, and that is counted.
            let _ = sendmmsg(client.as_raw_fd(), &mut headers, &slices, vec![None; slices.len()], [], MsgFlags::empty());
        }
    }

    /// Reads the answers to the queries with these numbers.
    fn hear(&self, numbers: Range<usize>, depth: usize) -> usize {
        // Answers that are lost are waited for once. Nobody sleeps meanwhile: the server would pay for waking him.
        let mut patience = Duration::from_secs(1);
        let mut answered = 0;
        let mut buffers = vec![[0; 1_500]; depth];
        for start in numbers.clone().step_by(depth) {
            let socket = &self.clients[start / depth];
            let (mut wanted, mut since) = (depth.min(numbers.end - start), Instant::now());
            while wanted > 0 {
                let heard = receive(socket, &mut buffers[..wanted]);
                answered += heard.iter().filter(|answer| is_yes(answer)).count();
                wanted -= heard.len();
                if !heard.is_empty() {
                    since = Instant::now();
                } else if since.elapsed() > patience {
                    patience = Duration::ZERO;
                    break;
                }
            }
        }
        if patience.is_zero() {
            self.forget_late(&mut [0; 1_500]);
        }
        answered
    }

    /// What comes late answers no question of the next round.
    fn forget_late(&self, answer: &mut [u8]) {
        std::thread::sleep(Duration::from_millis(50));
        for socket in &self.clients {
            while socket.recv(answer).is_ok() {}
        }
    }

    /// Each client's, where the server gives any.
    fn cookies(&self) -> Vec<[u8; COOKIE_LEN]> {
        let ask = |socket: &UdpSocket| {
            let (mut out, mut answer) = (Vec::new(), [0; 1_500]);
            socket.set_nonblocking(false).expect("sockets can");
            socket.set_read_timeout(Some(Duration::from_secs(1))).expect("sockets can");
            Query::Hello.encode(Header { txid: 0, cookie: [0; COOKIE_LEN] }, &mut out);
            socket.send(&out).expect("loopback takes it");
            let len = socket.recv(&mut answer).unwrap_or(0);
            socket.set_nonblocking(true).expect("sockets can");
            Answer::decode(&answer[..len]).map_or([0; COOKIE_LEN], |(header, _)| header.cookie)
        };
        self.clients.iter().map(ask).collect()
    }

    /// Records that it says it has.
    fn records(&self) -> u64 {
        let (cookies, mut out, mut answer) = (self.cookies(), Vec::new(), [0; 1_500]);
        let socket = &self.clients[0];
        socket.set_nonblocking(false).expect("sockets can");
        Query::Status.encode(Header { txid: 0, cookie: cookies[0] }, &mut out);
        socket.send(&out).expect("loopback takes it");
        let len = socket.recv(&mut answer).unwrap_or(0);
        match Answer::decode(&answer[..len]) {
            Ok((_, Answer::Status(status))) => status.records,
            _ => 0,
        }
    }

    /// Its CPU time in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).expect("a number");
        (ticks(11) + ticks(12)) / 100.0
    }

    /// Bytes of memory that it has.
    fn resident(&self) -> u64 {
        let pages = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).expect("it runs");
        pages.split(' ').nth(1).and_then(|text| text.parse::<u64>().ok()).expect("a number") * 4_096
    }

    /// SIGKILL, as a crash would.
    fn end(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What waits, as far as there are buffers for it.
fn receive<'a>(socket: &UdpSocket, buffers: &'a mut [[u8; 1_500]]) -> Vec<&'a [u8]> {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(buffers.len(), None);
    let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
    let received = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
    let lens: Vec<_> = received.map(|received| received.map(|one| one.bytes).collect()).unwrap_or_default();
    buffers.iter().zip(lens).map(|(buffer, len)| &buffer[..len]).collect()
}

/// True of what an echo says, too.
fn is_yes(answer: &[u8]) -> bool {
    !matches!(Answer::decode(answer), Ok((_, Answer::Refused(_) | Answer::NotFound { .. } | Answer::Need)))
}

/// People who are registered without having signed anything: a seed that gave a token asks no more.
struct Entries {
    tokens: TokenKey,
    record: Vec<u8>,
    id_at: usize,
    name_at: usize,
    unix: u64,
}

impl Entries {
    fn new(key: &[u8]) -> Self {
        let identity = Identity::generate(&mut ChaCha20Rng::seed_from_u64(1));
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (record, _) = sign_record(&identity, &record(&identity, unix, "alice".to_owned()));
        let find = |bytes: &[u8]| record.windows(bytes.len()).position(|window| window == bytes).expect("it is there");
        let (id_at, name_at) = (find(identity.id().as_bytes()), find(b"alice"));
        Self { tokens: TokenKey::new(key.try_into().expect("32 bytes")), record, id_at, name_at, unix }
    }

    /// Somebody who has signed: id, record, signature.
    fn sign(&self, n: u32) -> (RawId, Vec<u8>, [u8; SIGNATURE_LEN]) {
        let identity = Identity::generate(&mut ChaCha20Rng::seed_from_u64(1_000_000_000 + u64::from(n)));
        let (record, signature) = sign_record(&identity, &record(&identity, self.unix, format!("s{n}")));
        (*identity.id().as_bytes(), record, signature)
    }

    fn id(n: u32) -> RawId {
        let mut id = [0; 32];
        ChaCha20Rng::seed_from_u64(n.into()).fill_bytes(&mut id);
        id
    }

    /// The record, with id and name of its own.
    fn entry(&mut self, n: u32) -> (RawId, Vec<u8>, [u8; TOKEN_LEN]) {
        let (id, mut record) = (Self::id(n), self.record.clone());
        record[self.id_at..][..32].copy_from_slice(&id);
        let mut rest = n;
        for letter in &mut record[self.name_at..][..5] {
            *letter = b'a' + (rest % 26) as u8;
            rest /= 26;
        }
        let token = self.tokens.token(self.unix, &id, &record, &[7; 64]);
        (id, record, token)
    }

    fn register(&mut self, n: u32, header: Header, out: &mut Vec<u8>) {
        let (_, record, token) = self.entry(n);
        Query::Register { record: &record, signature: [7; 64], token: Some(token) }.encode(header, out);
    }

    fn refresh(&mut self, n: u32, header: Header, out: &mut Vec<u8>) {
        let (id, _, token) = self.entry(n);
        Query::Refresh { id, seq: self.unix * 1_000, token }.encode(header, out);
    }
}

/// As long as most are: one seed, one address.
fn record(identity: &Identity, unix: u64, name: String) -> Record {
    let addr = p2pchat_udp::wire::addr::Addr(SocketAddr::from(([203, 0, 113, 7], 17_118)));
    Record {
        id: identity.id(),
        seq: unix * 1_000,
        issued: unix,
        lifetime: 3_600,
        network: [0; 8],
        name,
        visibility: Visibility::Findable,
        seeds: vec![addr],
        addrs: vec![addr],
    }
}

/// As few system calls for each datagram as there can be.
fn echo() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    println!("{}", socket.local_addr().expect("it is bound").port());
    socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_LEN).expect("sockets can");
    let fd = socket.as_raw_fd();
    let mut buffers = vec![[0; 1_500]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut lens = Vec::with_capacity(BATCH);
    loop {
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        lens.clear();
        match recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None) {
            Ok(received) => lens.extend(received.map(|one| (one.bytes, one.address))),
            Err(Errno::EINTR) => continue,
            Err(error) => panic!("{error}"),
        }
        let slices: Vec<_> = buffers.iter().zip(&lens).map(|(buffer, (len, _))| [IoSlice::new(&buffer[..*len])]).collect();
        let addrs: Vec<_> = lens.iter().map(|(_, addr)| *addr).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(lens.len(), None);
        let _ = sendmmsg(fd, &mut headers, &slices, &addrs, [], MsgFlags::empty());
    }
}
