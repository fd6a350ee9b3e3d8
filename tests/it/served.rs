//! Seeds in loops of a test's own, on any socket: the real one with a clock as it is wanted, and some that are
//! not as they should be. Tests on namespaced networks use this file, too.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use p2pchat_udp::{
    clock::{Now, Unix},
    net::clock::now,
    seed::{Seed, SeedConfig, Shared, memory::Memory},
    wire::{
        DATAGRAM_LEN_MAX, WIRE_VERSION,
        phonebook::{Answer, COOKIE_LEN, Entry, Header, Query, RelayStatus, Status, other_version},
    },
};

/// So long a record lives, and so long a seed is young.
const RECORD_LIFETIME: Duration = Duration::from_secs(75);
const TWO_HOURS_MS: u64 = 2 * 3_600 * 1_000;

/// Somebody at a socket, in a loop of the test's own; ends when it is dropped.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Sorted: the loop, real seeds, others.
impl Served {
    /// `handle` is given each datagram, and nothing every now and then.
    fn start(socket: UdpSocket, mut handle: impl FnMut(&UdpSocket, Option<(&[u8], SocketAddr)>) + Send + 'static) -> Self {
        let addr = socket.local_addr().unwrap();
        // Its deadlines and the end are looked at this often.
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = std::thread::spawn(move || {
            let mut datagram = [0; DATAGRAM_LEN_MAX];
            while !ended.load(Ordering::Relaxed) {
                let received = socket.recv_from(&mut datagram).ok();
                handle(&socket, received.map(|(len, from)| (&datagram[..len], from)));
            }
        });
        Self { addr, end, thread: Some(thread) }
    }

    /// Answers each query, which came from there, as `answer` says.
    fn answering(socket: UdpSocket, mut answer: impl FnMut(&[u8], SocketAddr) -> Vec<u8> + Send + 'static) -> Self {
        Self::start(socket, move |socket, received| {
            if let Some((query, from)) = received {
                socket.send_to(&answer(query, from), from).unwrap();
            }
        })
    }

    /// The real seed, whose clock is what `clock` makes of the right one.
    fn seed(socket: UdpSocket, mut clock: impl FnMut(Now) -> Now + Send + 'static) -> Self {
        let begun = clock(now());
        let loopback = socket.local_addr().unwrap().ip().is_loopback();
        let config =
            SeedConfig { name: "attic".to_owned(), records_max: 100, fellows: Vec::new(), cores: 1, loopback, relay: None };
        let directory = Box::new(Memory::new(config.records_max, [1; 16], begun));
        let shared = Shared::new(config, &[2; 32], &[3; 32], [1; 16], begun, directory);
        let mut core = Seed::new(shared, [4; 32], begun);
        let mut out = Vec::new();
        Self::start(socket, move |socket, received| {
            let now = clock(now());
            if let Some((datagram, from)) = received {
                core.handle_datagram(now, from, datagram);
            }
            core.handle_timeout(now);
            while let Some(to) = core.poll_transmit(&mut out) {
                socket.send_to(&out, to).unwrap();
            }
        })
    }

    /// One that has run for long enough to know that somebody is not there: before that it says that it cannot
    /// tell yet. Its clock has gone ahead since it started.
    pub(crate) fn old(socket: UdpSocket) -> Self {
        let mut is_begun = false;
        Self::seed(socket, move |now| {
            let ahead = if std::mem::replace(&mut is_begun, true) { RECORD_LIFETIME } else { Duration::ZERO };
            Now { instant: now.instant + ahead, ..now }
        })
    }

    /// One whose wall clock is two hours behind.
    pub(crate) fn behind(socket: UdpSocket) -> Self {
        Self::seed(socket, |now| Now { unix: Unix(now.unix.0 - TWO_HOURS_MS), ..now })
    }

    /// One whose wall clock is two hours ahead.
    pub(crate) fn ahead(socket: UdpSocket) -> Self {
        Self::seed(socket, |now| Now { unix: Unix(now.unix.0 + TWO_HOURS_MS), ..now })
    }

    /// It finds whomever it is asked for: this record, which somebody changed behind its owner's back.
    pub(crate) fn forger(socket: UdpSocket, record: Vec<u8>, mut signature: [u8; 64]) -> Self {
        signature[0] ^= 1;
        Self::answering(socket, move |query, seen| {
            let (header, query) = Query::decode(query).unwrap();
            let unix = now().unix.0 / 1_000;
            let (cookie, answer) = match query {
                Query::Hello => ([1; COOKIE_LEN], Answer::Cookie { seen }),
                Query::Status => {
                    let (software, seeds, relay) = ("forger", Vec::new(), RelayStatus::default());
                    let status = Status { name: "forger", software, unix, uptime: 100, records: 1, load: 0, seeds, relay };
                    ([0; COOKIE_LEN], Answer::Status(status))
                }
                _ => {
                    let entry = Entry { record: &record, signature, seen, age: 0 };
                    ([0; COOKIE_LEN], Answer::Found { entries: vec![entry], more: false })
                }
            };
            let mut out = Vec::new();
            answer.encode(Header { txid: header.txid, cookie }, &mut out);
            out
        })
    }

    /// It knows as much of our version as every version does.
    pub(crate) fn of_the_next_version(socket: UdpSocket) -> Self {
        Self::answering(socket, |query, _| {
            let mut answer = other_version(query).unwrap();
            assert_eq!(answer[5], WIRE_VERSION);
            answer[5] += 1;
            answer.to_vec()
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
