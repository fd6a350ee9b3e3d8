//! A seed on real sockets under load: lookups and refreshes per core against a bare echo that does the same
//! system calls. `cargo bench --bench seed_udp -- 1000000` registers so many first; nothing is asserted
//! (docs: performance goal P15).
//!
//! The server has one core to itself, whoever asks another. What is counted is the server's own CPU time for
//! each answer, so that whoever else uses this machine changes little.

use std::{
    io::{BufRead, BufReader, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg},
};
use p2pchat_udp::{
    crypto::{
        identity::Identity,
        record::{TokenKey, sign_record},
    },
    net::socket::SOCKET_BUFFER_LEN,
    wire::{
        phonebook::{Answer, COOKIE_LEN, Header, Query, RawId, TOKEN_LEN},
        record::{Record, Visibility},
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

/// Clients at the same time, each with one query under way.
const CLIENTS: usize = 512;
/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(4);
/// Datagrams in one call of the echo.
const BATCH: usize = 64;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let first = args.next();
    if first.as_deref() == Some("echo") {
        return echo();
    }
    let records: u32 = first.map_or(100_000, |arg| arg.parse().expect("how many records"));
    let dir = std::env::temp_dir().join(format!("seed_udp.{}", std::process::id()));
    let server = Server::echo();
    println!("{:<28}{:>12}{:>14}{:>12}", "", "answers/s", "per core", "of echo");
    let mut padded = vec![7; 400];
    let big = server.load(|_, _, out| out.clone_from(&padded));
    padded.truncate(76);
    let small = server.load(|_, _, out| out.clone_from(&padded));
    server.end();
    say("echo of 400 bytes", big, big);
    say("echo of 76 bytes", small, small);

    let server = Server::seed(&dir, records);
    let mut entries = Entries::new(&std::fs::read(dir.join("seed.key")).expect("the seed has made it"));
    let (registered, before) = (Instant::now(), server.resident());
    server.all(records, |n, header, out| entries.register(n, header, out));
    let each = (server.resident() - before) as f64 / f64::from(records);
    println!("{records} registered in {:.1} s, {each:.0} bytes each", registered.elapsed().as_secs_f64());
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let lookup = server.load(|_, header, out| {
        Query::Lookup { id: entries.id(rng.next_u32() % records), watch: false }.encode(header, out);
    });
    say("lookup", lookup, big);
    let mut at = 0;
    let refresh = server.load(|_, header, out| {
        at = (at + 1) % records;
        entries.refresh(at, header, out);
    });
    say("refresh", refresh, small);
    let hello = server.load(|_, header, out| Query::Hello.encode(Header { cookie: [0; COOKIE_LEN], ..header }, out));
    say("hello", hello, small);
    server.end();
    let _ = std::fs::remove_dir_all(dir);
}

/// Answers a second of wall time, and a second of the server's CPU time.
type Rate = (f64, f64);

fn say(what: &str, rate: Rate, echo: Rate) {
    println!("{what:<28}{:>12.0}{:>14.0}{:>11.0}%", rate.0, rate.1, 100.0 * rate.1 / echo.1);
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
        Self::start(Command::new("taskset").args(["-c", "0"]).arg(program).arg("echo"))
    }

    /// One thread, since it sees one core.
    fn seed(dir: &std::path::Path, records: u32) -> Self {
        let program = env!("CARGO_BIN_EXE_p2pchat-udp");
        let mut command = Command::new("taskset");
        command.args(["-c", "0", program, "--seed", "--json", "-l", "127.0.0.1:0", "--max-records"]);
        Self::start(command.arg(records.to_string()).arg("-d").arg(dir))
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

    /// Keeps every client asking for a while.
    fn load(&self, mut query: impl FnMut(u64, Header, &mut Vec<u8>)) -> Rate {
        let cookies = self.cookies();
        let (start, cpu, mut answers) = (Instant::now(), self.cpu(), 0);
        while start.elapsed() < LOAD {
            answers += self.round(&cookies, CLIENTS, &mut query);
        }
        (answers as f64 / start.elapsed().as_secs_f64(), answers as f64 / (self.cpu() - cpu))
    }

    /// Asks until each of so many queries was answered.
    fn all(&self, count: u32, mut query: impl FnMut(u32, Header, &mut Vec<u8>)) {
        let (mut done, mut cookies, mut since) = (0, self.cookies(), Instant::now());
        while done < count {
            if since.elapsed() > Duration::from_secs(60) {
                (cookies, since) = (self.cookies(), Instant::now());
            }
            let now = CLIENTS.min((count - done) as usize);
            let answered =
                self.round(&cookies, now, &mut |client, header, out: &mut Vec<u8>| query(done + client as u32, header, out));
            // Who was not answered asks again, and so do all with him.
            done += if answered == now { now as u32 } else { 0 };
        }
    }

    /// Every client asks once; how many were answered in time.
    fn round(&self, cookies: &[[u8; COOKIE_LEN]], clients: usize, query: &mut impl FnMut(u64, Header, &mut Vec<u8>)) -> usize {
        let mut out = Vec::new();
        for (n, socket) in self.clients.iter().enumerate().take(clients) {
            query(n as u64, Header { txid: n as u64, cookie: cookies[n] }, &mut out);
            let _ = socket.send(&out);
        }
        // Answers that are lost are waited for once.
        let mut patience = 100_u8;
        let mut answer = [0; 1_500];
        let mut answered = 0;
        for socket in self.clients.iter().take(clients) {
            let mut waits = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            if socket.recv(&mut answer).is_ok() {
                answered += 1;
            } else if poll(&mut waits, PollTimeout::from(patience)).is_ok_and(|ready| ready > 0) {
                answered += usize::from(socket.recv(&mut answer).is_ok());
            } else {
                patience = 0;
            }
        }
        answered
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

    fn end(mut self) {
        let _ = self.addr;
        self.child.kill().expect("it runs");
        let _ = self.child.wait();
    }
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
        let addr = p2pchat_udp::wire::addr::Addr(SocketAddr::from(([203, 0, 113, 7], 17_118)));
        let (record, _) = sign_record(
            &identity,
            &Record {
                id: identity.id(),
                seq: unix * 1_000,
                issued: unix,
                lifetime: 3_600,
                network: [0; 8],
                name: "alice".to_owned(),
                visibility: Visibility::Findable,
                seeds: vec![addr],
                addrs: vec![addr],
            },
        );
        let find = |bytes: &[u8]| record.windows(bytes.len()).position(|window| window == bytes).expect("it is there");
        let (id_at, name_at) = (find(identity.id().as_bytes()), find(b"alice"));
        Self { tokens: TokenKey::new(key.try_into().expect("32 bytes")), record, id_at, name_at, unix }
    }

    fn id(&self, n: u32) -> RawId {
        let mut id = [0; 32];
        ChaCha20Rng::seed_from_u64(n.into()).fill_bytes(&mut id);
        id
    }

    /// The record, with id and name of its own.
    fn entry(&mut self, n: u32) -> (RawId, Vec<u8>, [u8; TOKEN_LEN]) {
        let (id, mut record) = (self.id(n), self.record.clone());
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
