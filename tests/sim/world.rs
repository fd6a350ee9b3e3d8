//! A world: machines with their disks and clocks, the network between them, people who ask, faults that
//! strike, and one queue of events in virtual time. Each machine runs the real node over the real store; what
//! runs on hosts that are no machines lives in `stations`. What must hold lives in `checkers`; which worlds are
//! run lives in `main` and `scenarios`.

mod stations;

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use p2pchat_udp::{
    clock::{Instant, Now, Unix},
    crypto::identity::Identity,
    id::{BatchId, BootId, MessageId, PeerId},
    node::{
        Datagram, Node, NodeConfig, SocketKind, Target,
        command::{Command, CommandId, Reply},
        discovery::Group,
        event::{Event, NoticeCode},
        next_boot,
    },
    store::{
        CACHE_LEN, Fresh, HistoryQuery, ROWS_MAX, Reader, Store,
        row::{CommitError, Committed, Contact, Direction, HistoryRow, Op, State, Trust, WriteBatch},
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use self::stations::Station;
use crate::{
    checkers::{Books, Broken, Ledger},
    dice::{Dice, Trace},
    disk::Disk,
    faults::{Fault, Fired, Strike},
    heard::Heard,
    network::{Arrival, DISCOVERY_PORT, Network, Parcel, Place, SESSION_PORT, To},
    workload::Ask,
};

/// The wall clock where a world begins.
const UNIX_START: u64 = 1_760_000_000_000;
/// A node that wants to be called so often at one instant does not sleep.
const TURNS_PER_INSTANT_MAX: u32 = 20_000;

/// Of a thousand `delivered`, so many make the simulator open the receiver's disk and look.
const DURABLE_LOOKS: u32 = 20;

/// Something that happens at a time.
enum What {
    Arrive(Arrival),
    /// The disk is done with a batch; the process that gave it is named by its number.
    Write {
        machine: usize,
        process: u64,
    },
    /// The node hears of it.
    Written {
        machine: usize,
        process: u64,
        batch: BatchId,
        result: Result<Committed, CommitError>,
    },
    /// The node hears of its interfaces.
    Interfaces {
        machine: usize,
    },
    Ask(Ask),
    Strike(Strike),
    Start {
        machine: usize,
    },
    Wake {
        machine: usize,
    },
    Unblock {
        a: usize,
        b: usize,
        both: bool,
    },
    Plug {
        machine: usize,
    },
    Restore {
        machine: usize,
        image: Box<(Disk, Books)>,
        back: Duration,
    },
    StopCopy {
        machine: usize,
    },
    HealReads {
        machine: usize,
    },
    PlugInternet,
    /// A station starts.
    Open {
        host: usize,
    },
    /// A station is killed.
    Close {
        host: usize,
    },
}

/// Who may have a deadline, in the order in which they are called at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sleeper {
    Machine(usize),
    Station(usize),
}

/// A computer with one profile.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) person: PeerId,
    pub(crate) host: usize,
    /// Its clock that never goes back stands here when the world begins.
    boot_clock: Duration,
    /// Its wall clock's error in milliseconds.
    unix_error: i64,
    pub(crate) disk: Disk,
    /// A commit takes between these on this disk, where it is another one than the others are.
    pub(crate) commit_time: Option<(Duration, Duration)>,
    pub(crate) books: Books,
    pub(crate) process: Option<Process>,
    /// Processes that ran here.
    processes: u64,
    asleep_until: Option<Duration>,
    /// A copy of another machine's profile.
    copy_of: Option<usize>,
    /// It is switched off for good.
    pub(crate) gone: bool,
    /// How long to stay dead when the disk kills the process.
    back: Duration,
    /// The process is on its way out and comes back after so long.
    leaving: Option<Duration>,
    /// What the process wanted written when it was killed.
    doubtful: Vec<Op>,
    /// Its disk gave up a fault: another address or so many notices.
    pub(crate) notices: Vec<NoticeCode>,
}

/// A running program.
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) store: Store,
    pub(crate) reader: Reader,
    number: u64,
    in_flight: Option<WriteBatch>,
    deadline: Option<Duration>,
    turns: (Duration, u32),
}

/// One run.
pub(crate) struct World {
    pub(crate) rng_seed: u64,
    pub(crate) now: Duration,
    queue: BTreeMap<(Duration, u64), What>,
    tickets: u64,
    pub(crate) network: Network,
    pub(crate) machines: Vec<Machine>,
    /// By host.
    stations: BTreeMap<usize, Station>,
    pub(crate) ledger: Ledger,
    pub(crate) fired: Fired,
    pub(crate) trace: Trace,
    dice: Dice,
    /// A commit takes between these.
    pub(crate) commit_time: (Duration, Duration),
    /// What every node is told beside its name: seeds, who may find it there.
    pub(crate) node_config: NodeConfig,
    /// Memory for pages of each store, in bytes.
    pub(crate) cache_len: usize,
    commands: u64,
    /// Ids of the messages of the workload, by their number.
    pub(crate) messages: BTreeMap<usize, MessageId>,
    commanded: BTreeMap<MessageId, (usize, Command)>,
    /// What came for hosts that are neither machines nor stations.
    pub(crate) strangers: BTreeMap<usize, Vec<Parcel>>,
    /// How much came, from the beginning, for hosts that are no machines.
    pub(crate) heard: BTreeMap<usize, Heard>,
    /// Every event of every machine, for scenarios.
    pub(crate) seen: Vec<(Duration, usize, Event)>,
    log: bool,
}

impl World {
    /// An empty world.
    pub(crate) fn new(rng_seed: u64) -> Self {
        Self {
            rng_seed,
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            tickets: 0,
            network: Network::new(rng_seed),
            machines: Vec::new(),
            stations: BTreeMap::new(),
            ledger: Ledger::default(),
            fired: Fired::default(),
            trace: Trace::default(),
            dice: Dice::new(rng_seed, "world"),
            commit_time: (Duration::from_micros(300), Duration::from_micros(300)),
            node_config: NodeConfig::default(),
            cache_len: CACHE_LEN,
            commands: 0,
            messages: BTreeMap::new(),
            commanded: BTreeMap::new(),
            strangers: BTreeMap::new(),
            heard: BTreeMap::new(),
            seen: Vec::new(),
            log: std::env::var_os("SIM_LOG").is_some(),
        }
    }

    /// A machine with a fresh profile, switched off.
    pub(crate) fn add_machine(&mut self, name: &str, segments: &[usize], v4: bool, v6: bool) -> usize {
        let host = self.network.add_host(segments, v4, v6);
        self.furnish(name, host)
    }

    /// A machine with a public address.
    pub(crate) fn add_public_machine(&mut self, name: &str) -> usize {
        let host = self.network.add_public_host(SESSION_PORT);
        self.furnish(name, host)
    }

    fn furnish(&mut self, name: &str, host: usize) -> usize {
        let number = self.machines.len();
        let mut rng = ChaCha20Rng::from_seed(Dice::seed_of(self.rng_seed, &format!("identity {number}")));
        let identity = Identity::generate(&mut rng);
        let disk = Disk::new(self.dice.below(u64::MAX));
        let unix_error = self.dice.range(0..=4_000) as i64 - 2_000;
        let boot = next_boot(Default::default(), Unix(UNIX_START.saturating_add_signed(unix_error)));
        let fresh = Fresh { secret: *identity.secret(), name: name.to_owned(), boot };
        drop(Store::create_backend(disk.backend(), &fresh).expect("an empty disk without faults"));
        disk.settle();
        self.machines.push(Machine {
            name: name.to_owned(),
            person: identity.id(),
            host,
            boot_clock: self.dice.between(Duration::from_secs(60), Duration::from_secs(1_000_000)),
            unix_error,
            disk,
            commit_time: None,
            books: Books::default(),
            process: None,
            processes: 0,
            asleep_until: None,
            copy_of: None,
            gone: false,
            back: Duration::from_secs(1),
            leaving: None,
            doubtful: Vec::new(),
            notices: Vec::new(),
        });
        number
    }

    /// Before anybody runs: everybody has everybody's id among the contacts.
    pub(crate) fn acquaint(&self) {
        let people: Vec<PeerId> = self.machines.iter().map(|machine| machine.person).collect();
        for machine in &self.machines {
            let mut store = Store::open_backend(machine.disk.backend()).expect("an idle disk without faults");
            let others = people.iter().filter(|person| **person != machine.person);
            let ops = others.map(|person| Op::Contact(contact(*person))).collect::<Vec<_>>().into();
            store.commit(&WriteBatch { id: BatchId(0), ops }).expect("an idle disk without faults");
            drop(store);
            machine.disk.settle();
        }
    }

    fn at(&mut self, at: Duration, what: What) {
        self.tickets += 1;
        self.queue.insert((at.max(self.now), self.tickets), what);
    }

    /// People ask this then.
    pub(crate) fn ask_at(&mut self, at: Duration, ask: Ask) {
        self.at(at, What::Ask(ask));
    }

    /// This fault strikes then.
    pub(crate) fn strike_at(&mut self, at: Duration, strike: Strike) {
        self.at(at, What::Strike(strike));
    }

    /// The machine's program starts then.
    pub(crate) fn start_at(&mut self, at: Duration, machine: usize) {
        self.at(at, What::Start { machine });
    }

    /// What the machine's clocks say.
    pub(crate) fn clocks(&self, machine: usize) -> Now {
        let machine = &self.machines[machine];
        let unix = (UNIX_START + self.now.as_millis() as u64).saturating_add_signed(machine.unix_error);
        Now { instant: Instant::from_start(machine.boot_clock + self.now), unix: Unix(unix) }
    }

    /// Somebody sets all wall clocks right.
    pub(crate) fn set_clocks(&mut self) {
        self.machines.iter_mut().for_each(|machine| machine.unix_error = 0);
    }

    /// Adds to the trace and, where it is wanted, to the log.
    fn note(&mut self, what: fmt::Arguments<'_>, bytes: &[u8]) {
        let what = what.to_string();
        if self.log {
            println!("{:>12.6} {what}", self.now.as_secs_f64());
        }
        self.trace.note(self.now, &what, bytes);
    }

    fn must<T>(&self, result: Result<T, Broken>) -> T {
        match result {
            Ok(value) => value,
            Err(broken) => self.fail(&broken),
        }
    }

    /// Ends the run with a message.
    pub(crate) fn fail(&self, why: &dyn fmt::Display) -> ! {
        panic!("{why}\n    at {:.6} s of virtual time, rng_seed {}", self.now.as_secs_f64(), self.rng_seed)
    }
}

/// The loop.
impl World {
    /// Runs until `end`.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while self.step(end) {}
        self.now = self.now.max(end);
    }

    /// Runs until `end` or until `done`, asked at every event; true where it was `done`.
    pub(crate) fn run_while(&mut self, end: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                self.now = self.now.max(end);
                return done(self);
            }
        }
    }

    /// The next event, unless it lies after `end`.
    fn step(&mut self, end: Duration) -> bool {
        let deadline = self.next_deadline();
        let queued = self.queue.first_key_value().map(|(key, _)| key.0);
        match (queued, deadline) {
            (Some(queued), deadline) if queued <= end && deadline.is_none_or(|(at, _)| queued <= at) => {
                let ((at, _), what) = self.queue.pop_first().expect("it was looked at");
                self.now = at;
                self.happen(what);
                true
            }
            (_, Some((at, sleeper))) if at <= end => {
                self.now = self.now.max(at);
                match sleeper {
                    Sleeper::Machine(machine) => {
                        let now = self.clocks(machine);
                        self.with(machine, |node| node.handle_timeout(now));
                    }
                    Sleeper::Station(host) => self.station_timeout(host),
                }
                true
            }
            _ => false,
        }
    }

    fn next_deadline(&self) -> Option<(Duration, Sleeper)> {
        let awake = self.machines.iter().enumerate().filter(|(_, machine)| machine.asleep_until.is_none());
        let machines = awake.filter_map(|(n, machine)| Some((machine.process.as_ref()?.deadline?, Sleeper::Machine(n))));
        let stations = self.stations.iter().filter_map(|(host, station)| Some((station.deadline()?, Sleeper::Station(*host))));
        machines.chain(stations).min()
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive(arrival) => self.arrive(arrival),
            What::Write { machine, process } => self.write(machine, process),
            What::Written { machine, process, batch, result } => self.written(machine, process, batch, result),
            What::Interfaces { machine } => {
                let (now, interfaces) = (self.clocks(machine), self.network.interfaces(self.machines[machine].host));
                self.with(machine, |node| node.handle_interfaces(now, interfaces));
            }
            What::Ask(ask) => self.ask(ask),
            What::Strike(strike) => self.strike(strike),
            What::Start { machine } => self.start(machine),
            What::Wake { machine } => self.wake(machine),
            What::Unblock { a, b, both } => self.network.unblock(a, b, both),
            What::Plug { machine } => {
                self.network.plug(self.machines[machine].host, true);
                self.interfaces_soon(machine);
            }
            What::Restore { machine, image, back } => self.restore(machine, *image, back),
            What::StopCopy { machine } => self.stop_copy(machine),
            What::Open { host } => self.open(host),
            What::Close { host } => self.close(host),
            What::PlugInternet => self.network.internet.plugged = true,
            What::HealReads { machine } => drop(self.machines[machine].disk.fail_reads(None)),
        }
    }

    /// One input to a machine's node, where one runs and is awake, and everything that comes of it.
    fn with(&mut self, machine: usize, input: impl FnOnce(&mut Node)) {
        if self.machines[machine].asleep_until.is_some() {
            return;
        }
        let Some(process) = &mut self.machines[machine].process else { return };
        process.turns = if process.turns.0 == self.now { (self.now, process.turns.1 + 1) } else { (self.now, 0) };
        if process.turns.1 > TURNS_PER_INSTANT_MAX {
            self.fail(&format_args!("machine {machine} does not sleep"));
        }
        input(&mut process.node);
        self.count_struck(machine);
        self.settle(machine);
    }

    /// The driver's steps 3 to 6.
    fn settle(&mut self, machine: usize) {
        let now = self.clocks(machine);
        let mut out = Vec::new();
        let (host, me) = (self.machines[machine].host, &mut self.machines[machine]);
        let Some(process) = &mut me.process else { return };
        if process.in_flight.is_none()
            && let Some(batch) = process.node.poll_write()
        {
            let number = process.number;
            let placed = self.ledger.batch(&batch.ops);
            process.in_flight = Some(batch);
            self.must(placed);
            let (least, most) = self.machines[machine].commit_time.unwrap_or(self.commit_time);
            let wait = self.dice.between(least, most);
            self.at(self.now + wait, What::Write { machine, process: number });
        }
        loop {
            let Some(process) = &mut self.machines[machine].process else { return };
            let Some(target) = process.node.poll_transmit(now, &mut out) else { break };
            self.transmit(machine, host, target, &out);
        }
        loop {
            let Some(process) = &mut self.machines[machine].process else { return };
            let Some(event) = process.node.poll_event() else { break };
            self.event(machine, event);
        }
        let boot_clock = self.machines[machine].boot_clock;
        if let Some(process) = &mut self.machines[machine].process {
            process.deadline = process.node.poll_timeout().map(|at| at.since_start().saturating_sub(boot_clock));
        }
    }

    fn transmit(&mut self, machine: usize, host: usize, target: Target, bytes: &[u8]) {
        self.note(format_args!("{machine} sends {} bytes (kind {:?}) to {target:?}", bytes.len(), bytes.first()), bytes);
        let to = match target {
            Target::Unicast(to) => To::Unicast(to),
            Target::Multicast { interface, group } => To::Multicast { interface, v6: group != Group::V4 },
        };
        self.carry(host, to, bytes);
    }

    /// A datagram leaves a host.
    pub(crate) fn carry(&mut self, host: usize, to: To, bytes: &[u8]) {
        let arrivals = self.network.send(host, to, bytes, &mut self.fired);
        self.expect(arrivals);
    }

    /// A datagram leaves a public host under somebody else's address.
    pub(crate) fn spoof(&mut self, host: usize, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let arrivals = self.network.spoof(host, from, to, bytes, &mut self.fired);
        self.expect(arrivals);
    }

    fn expect(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            self.at(self.now + arrival.after, What::Arrive(arrival));
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        let Place::Host(host) = arrival.at else {
            let onward = self.network.route(self.now, arrival, &mut self.fired);
            return self.expect(onward);
        };
        let mut parcel = arrival.parcel;
        let Some(machine) = self.machines.iter().position(|machine| machine.host == host) else {
            self.heard.entry(host).or_default().count(&parcel);
            if self.stations.contains_key(&host) {
                return self.station_hears(host, parcel);
            }
            return self.strangers.entry(host).or_default().push(parcel);
        };
        if ![SESSION_PORT, DISCOVERY_PORT].contains(&parcel.to.port()) {
            return;
        }
        let now = self.clocks(machine);
        self.with(machine, |node| {
            let socket = if parcel.discovery { SocketKind::Discovery } else { SocketKind::Session };
            let (from, interface, hop_limit) = (parcel.from, parcel.interface, Some(parcel.hop_limit));
            node.handle_datagram(now, Datagram { from, interface, socket, hop_limit, bytes: &mut parcel.bytes });
        });
    }

    fn event(&mut self, machine: usize, event: Event) {
        self.note(format_args!("{machine} says {}", brief(&event)), &[]);
        let person = self.machines[machine].person;
        match &event {
            Event::Reply(_, Reply::Queued(id)) => {
                let promised = self.ledger.promised(*id, &self.machines[machine].books);
                self.must(promised);
            }
            Event::Reply(_, Reply::Left) => {
                if let Some(back) = self.machines[machine].leaving.take() {
                    self.machines[machine].process = None;
                    self.machines[machine].disk.settle();
                    self.at(self.now + back, What::Start { machine });
                }
            }
            Event::Message { row, .. } => {
                let shown = self.ledger.shown(person, row, &mut self.machines[machine].books);
                self.must(shown);
            }
            Event::Status { id, to, state, .. } => {
                let addressee = self.machines.iter().filter(|other| other.person == *to).map(|other| &other.books);
                self.must(self.ledger.claimed(*id, *state, addressee));
                if *state == State::Delivered && self.dice.chance(DURABLE_LOOKS) {
                    self.look_at_the_disk(*id, *to);
                }
            }
            Event::Notice { code, .. } => self.machines[machine].notices.push(*code),
            _ => {}
        }
        self.seen.push((self.now, machine, event));
    }
}

/// Disks.
impl World {
    fn write(&mut self, machine: usize, number: u64) {
        if let Some(until) = self.machines[machine].asleep_until {
            return self.at(until, What::Write { machine, process: number });
        }
        let me = &mut self.machines[machine];
        let Some(process) = me.process.as_mut().filter(|process| process.number == number) else { return };
        let batch = process.in_flight.clone().expect("a write has a batch");
        let result = process.store.commit(&batch);
        self.count_struck(machine);
        let me = &mut self.machines[machine];
        if me.disk.is_dead() {
            self.fired.strike(Fault::KillInStorage);
            let back = me.back;
            self.note(format_args!("{machine} dies in its storage, batch {:?}", batch.id), &[]);
            self.kill(machine);
            return self.at(self.now + back, What::Start { machine });
        }
        self.note(format_args!("{machine} commits {:?} ({} ops): {}", batch.id, batch.ops.len(), result.is_ok()), &[]);
        if self.log {
            batch.ops.iter().for_each(|op| println!("{:>12} {}", "", brief(op)));
        }
        if result.is_ok() {
            let person = self.machines[machine].person;
            self.machines[machine].books.commit(&batch.ops);
            let committed = self.ledger.committed(person, &batch.ops);
            self.must(committed);
        }
        let most = self.machines[machine].commit_time.unwrap_or(self.commit_time).1;
        let wait = self.dice.between(Duration::ZERO, most / 4);
        if most > Duration::from_millis(500) {
            self.fired.strike(Fault::SlowCommit);
        }
        self.at(self.now + wait, What::Written { machine, process: number, batch: batch.id, result });
    }

    /// Counts the errors that the disk gave.
    fn count_struck(&mut self, machine: usize) {
        for fault in self.machines[machine].disk.struck() {
            self.fired.strike(fault);
        }
    }

    fn written(&mut self, machine: usize, number: u64, batch: BatchId, result: Result<Committed, CommitError>) {
        if let Some(until) = self.machines[machine].asleep_until {
            return self.at(until, What::Written { machine, process: number, batch, result });
        }
        let Some(process) = self.machines[machine].process.as_mut().filter(|process| process.number == number) else { return };
        process.in_flight = None;
        let now = self.clocks(machine);
        self.with(machine, |node| node.handle_committed(now, batch, result));
    }

    /// kill -9: what the disk had not synced is kept, lost or torn.
    fn kill(&mut self, machine: usize) {
        let me = &mut self.machines[machine];
        if me.process.is_none() {
            return;
        }
        (me.leaving, me.asleep_until) = (None, None);
        if me.disk.crash() {
            self.fired.strike(Fault::TornWrite);
        }
        let in_flight = me.process.as_mut().and_then(|process| process.in_flight.take());
        me.doubtful = in_flight.into_iter().flat_map(|batch| batch.ops.to_vec()).collect();
        // Only now: what a store does when it is dropped must not reach the disk.
        me.process = None;
        self.note(format_args!("{machine} is dead"), &[]);
    }

    /// Starts the program on what the disk holds.
    fn start(&mut self, machine: usize) {
        let (now, me) = (self.clocks(machine), &mut self.machines[machine]);
        if me.process.is_some() || me.gone {
            return;
        }
        let opened = Store::open_backend_with(me.disk.backend(), self.cache_len).map_err(|error| error.to_string()).and_then(
            |mut store| {
                let boot = next_boot(store.reader().load().map_err(|error| error.to_string())?.boot, now.unix);
                let batch = WriteBatch { id: BatchId(0), ops: vec![Op::Boot(boot)].into() };
                store.commit(&batch).map_err(|error| error.to_string())?;
                let loaded = store.reader().load().map_err(|error| error.to_string())?;
                Ok((store, loaded))
            },
        );
        let struck = me.disk.struck();
        struck.iter().for_each(|fault| self.fired.strike(*fault));
        if me.disk.is_dead() {
            self.fired.strike(Fault::KillWhileOpening);
            self.fired.add(Fault::TornWrite, u64::from(me.disk.crash()));
            drop(opened);
            self.note(format_args!("{machine} dies while opening its store"), &[]);
            return self.at(self.now + Duration::from_millis(500), What::Start { machine });
        }
        let (store, loaded) = match opened {
            Ok(opened) => opened,
            // Whoever starts it sees the error, and tries again.
            Err(_) if !struck.is_empty() => return self.at(self.now + Duration::from_millis(500), What::Start { machine }),
            Err(why) => self.fail(&format_args!("machine {machine} cannot open its store: {why}")),
        };
        let reader = store.reader();
        self.compare_books(machine, &reader);
        let me = &mut self.machines[machine];
        me.processes += 1;
        let number = me.processes;
        let identity = Identity::from_secret(&loaded.secret).expect("the store keeps the key");
        let config = NodeConfig { name: loaded.name.clone(), port: SESSION_PORT, lan: true, ..self.node_config.clone() };
        let rng_seed = Dice::seed_of(self.rng_seed, &format!("node {machine} {number}"));
        let node = Node::new(config, identity, loaded, reader.clone(), rng_seed, now);
        me.process = Some(Process { node, store, reader, number, in_flight: None, deadline: None, turns: (self.now, 0) });
        self.note(format_args!("{machine} starts"), &[]);
        let interfaces = self.network.interfaces(self.machines[machine].host);
        self.with(machine, |node| node.handle_interfaces(now, interfaces));
    }

    /// Opens what would be left of the addressee's disk if the power went now: the message is there.
    fn look_at_the_disk(&self, id: MessageId, to: PeerId) {
        let holds = |machine: &Machine| {
            let place = machine.books.received.get(&id)?;
            let store = Store::open_backend(machine.disk.copy().backend()).ok()?;
            store.reader().received_id(place.0, place.1, place.2).ok()?.filter(|found| *found == id)
        };
        let is_there = self.machines.iter().filter(|machine| machine.person == to).any(|machine| holds(machine).is_some());
        if !is_there && !self.ledger.forgotten.contains(&id) && !self.ledger.copied.contains(&self.ledger.sent[&id].author) {
            self.fail(&format_args!("BROKEN PROMISE \"delivered is on the receiver's disk\": {id:?} is not on the image"));
        }
    }

    fn compare_books(&mut self, machine: usize, reader: &Reader) {
        // A look of the simulator's own meets no fault, and counts for none.
        let planned = self.machines[machine].disk.fail_reads(None);
        // The last batch may be on disk although nobody was told.
        for op in std::mem::take(&mut self.machines[machine].doubtful) {
            let Op::Hold(row) = &op else { continue };
            if reader.received_id(row.conversation, row.incarnation, row.seq) == Ok(Some(row.id)) {
                self.machines[machine].books.commit(&[op]);
            }
        }
        let history = history(reader);
        let compared = self.ledger.reopened(&mut self.machines[machine].books, &history, |(conversation, incarnation, seq)| {
            reader.received_id(*conversation, *incarnation, *seq).expect("a sound disk can be read")
        });
        self.must(compared);
        self.machines[machine].disk.fail_reads(planned);
    }
}

/// Faults.
impl World {
    fn strike(&mut self, strike: Strike) {
        self.note(format_args!("{strike:?}"), &[]);
        match strike {
            Strike::Partition { a, b, both, heal } => {
                let (a, b) = (self.machines[a].host, self.machines[b].host);
                self.network.block(a, b, both);
                self.at(self.now + heal, What::Unblock { a, b, both });
            }
            Strike::AddressChange { node } => {
                self.fired.strike(Fault::AddressChange);
                self.network.change_address(self.machines[node].host);
                self.interfaces_soon(node);
            }
            Strike::CablePull { node, back } => {
                self.fired.strike(Fault::CablePull);
                self.network.plug(self.machines[node].host, false);
                self.interfaces_soon(node);
                self.at(self.now + back, What::Plug { machine: node });
            }
            Strike::ClockJump { node, ms } => {
                self.fired.strike(if ms > 0 { Fault::ClockForward } else { Fault::ClockBack });
                self.machines[node].unix_error += ms;
            }
            Strike::Kill { node, back } => {
                self.fired.add(Fault::Kill, u64::from(self.machines[node].process.is_some()));
                self.kill(node);
                self.at(self.now + back, What::Start { machine: node });
            }
            Strike::KillInStorage { node, operations, back } => {
                self.machines[node].back = back;
                self.machines[node].disk.die_after(operations);
            }
            Strike::KillWhileOpening { node, operations, back } => {
                self.kill(node);
                self.machines[node].disk.die_after(operations);
                self.at(self.now + back, What::Start { machine: node });
            }
            Strike::Restore { node, after } => self.lay_aside(node, after),
            Strike::Copy { node, life } => drop(self.copy(node, life)),
            Strike::CommitErrors { node, full, commits } => self.machines[node].disk.fail(full, commits),
            Strike::ReadErrors { node, reads, reopen, heal } => {
                self.machines[node].disk.fail_reads(Some(reads));
                if reopen {
                    self.machines[node].disk.fail(false, 1);
                }
                self.at(self.now + heal, What::HealReads { machine: node });
            }
            Strike::Suspend { node, wake } => {
                if self.machines[node].process.is_some() && self.machines[node].asleep_until.is_none() {
                    self.fired.strike(Fault::Suspend);
                    self.machines[node].asleep_until = Some(self.now + wake);
                    self.at(self.now + wake, What::Wake { machine: node });
                }
            }
            Strike::Leave { node, back } => self.leave(node, back),
            Strike::Garbage { node, datagrams } => self.garbage(node, datagrams),
            Strike::InternetDown { heal } => {
                self.network.internet.plugged = false;
                self.at(self.now + heal, What::PlugInternet);
            }
            Strike::StationRestart { host, back } => self.restart(host, back),
            Strike::RouterReboot { router } => {
                self.fired.strike(Fault::RouterReboot);
                self.network.reboot_router(router);
            }
            Strike::RouterRenumbered { router } => {
                self.fired.strike(Fault::RouterRenumbered);
                self.network.renumber_router(router);
            }
        }
    }

    /// Asks the node to go; it comes back `back` after it said goodbye.
    pub(crate) fn leave(&mut self, machine: usize, back: Duration) {
        if self.machines[machine].process.is_none() || self.machines[machine].asleep_until.is_some() {
            return;
        }
        self.fired.strike(Fault::LeaveAndReturn);
        self.machines[machine].leaving = Some(back);
        self.command(machine, Command::Leave);
    }

    fn wake(&mut self, machine: usize) {
        if self.machines[machine].asleep_until.is_none_or(|until| until > self.now) {
            return;
        }
        self.machines[machine].asleep_until = None;
        let now = self.clocks(machine);
        self.with(machine, |node| node.handle_wake(now));
        self.interfaces_soon(machine);
    }

    /// The system is polled every 2 s.
    fn interfaces_soon(&mut self, machine: usize) {
        let wait = self.dice.between(Duration::ZERO, Duration::from_secs(2));
        self.at(self.now + wait, What::Interfaces { machine });
    }

    /// An image as a backup would take it of a process that does not run: what is synced.
    fn image(&self, machine: usize) -> (Disk, Books) {
        let me = &self.machines[machine];
        (me.disk.copy(), me.books.clone())
    }

    fn lay_aside(&mut self, machine: usize, after: Duration) {
        let image = Box::new(self.image(machine));
        self.at(self.now + after, What::Restore { machine, image, back: Duration::from_secs(1) });
    }

    fn restore(&mut self, machine: usize, (disk, books): (Disk, Books), back: Duration) {
        if self.machines[machine].gone {
            return;
        }
        self.fired.strike(Fault::RestoredImage);
        self.note(format_args!("{machine} goes back to an old image"), &[]);
        self.kill(machine);
        let me = &mut self.machines[machine];
        self.ledger.restored.insert(me.person);
        self.ledger.forgotten.extend(me.books.received.keys().filter(|id| !books.received.contains_key(id)));
        for (_, sent) in self.ledger.sent.iter_mut().filter(|(id, sent)| sent.machine == machine && !books.queued.contains(id)) {
            sent.excused = Some("its sender went back to a time before it");
        }
        (me.disk, me.books) = (disk, books);
        self.at(self.now + back, What::Start { machine });
    }

    /// Another machine runs on a copy of the profile, for `life`, and is then switched off for good.
    pub(crate) fn copy(&mut self, machine: usize, life: Duration) -> usize {
        self.fired.strike(Fault::CopiedProfile);
        let (disk, books) = self.image(machine);
        let number = self.machines.len();
        let host = self.network.add_host(&[0], true, true);
        let original = &self.machines[machine];
        let (name, person) = (format!("{}'s copy", original.name), original.person);
        self.ledger.copied.insert(person);
        self.machines.push(Machine {
            name,
            person,
            host,
            boot_clock: self.dice.between(Duration::from_secs(60), Duration::from_secs(1_000_000)),
            unix_error: self.dice.range(0..=4_000) as i64 - 2_000,
            disk,
            commit_time: None,
            books,
            process: None,
            processes: 0,
            asleep_until: None,
            copy_of: Some(machine),
            gone: false,
            back: Duration::from_secs(1),
            leaving: None,
            doubtful: Vec::new(),
            notices: Vec::new(),
        });
        self.start_at(self.now, number);
        self.at(self.now + life, What::StopCopy { machine: number });
        number
    }

    fn garbage(&mut self, machine: usize, datagrams: u64) {
        for _ in 0..datagrams {
            self.fired.strike(Fault::Garbage);
            let mut bytes = vec![0; self.dice.range(0..=1_500) as usize];
            self.dice.fill(&mut bytes);
            if let Some(kind) = bytes.first_mut() {
                *kind = self.dice.below(9) as u8;
            }
            let from = SocketAddr::from(([10, 0, 0, 200], self.dice.range(1_024..=65_535) as u16));
            let (discovery, host) = (self.dice.chance(300), self.machines[machine].host);
            let mut to = self.network.address(host);
            to.set_port(if discovery { DISCOVERY_PORT } else { SESSION_PORT });
            let parcel = Parcel { from, to, interface: 2, discovery, hop_limit: 255, bytes };
            self.at(self.now, What::Arrive(Arrival { after: Duration::ZERO, origin: host, at: Place::Host(host), parcel }));
        }
    }
}

/// People.
impl World {
    /// Gives a command to a machine's node now; nothing where none runs.
    pub(crate) fn command(&mut self, machine: usize, command: Command) -> CommandId {
        self.commands += 1;
        let id = CommandId(self.commands);
        let now = self.clocks(machine);
        self.with(machine, |node| node.handle_command(now, id, command));
        id
    }

    /// Sends a text now; the message's id.
    pub(crate) fn send(&mut self, from: usize, to: usize, text: &str) -> MessageId {
        let nth = self.messages.keys().next_back().map_or(1 << 32, |last| (last + 1).max(1 << 32));
        self.ask(Ask::Send { from, to, nth, kind: 0, text: text.to_owned(), expire: None });
        self.messages[&nth]
    }

    fn ask(&mut self, ask: Ask) {
        self.note(format_args!("asked: {}", brief(&ask)), &[]);
        match ask {
            Ask::Send { from, to, nth, kind, text, expire } => {
                let id = MessageId::new(UNIX_START + self.now.as_millis() as u64, &self.dice.bytes());
                let (author, peer) = (self.machines[from].person, self.machines[to].person);
                self.messages.insert(nth, id);
                self.ledger.asked(id, from, author, peer, kind, text.clone(), expire.is_some());
                let command = Command::Send { peer, id, kind, text, expire };
                self.commanded.insert(id, (from, command.clone()));
                self.command(from, command);
            }
            Ask::SendAgain { nth } => {
                let Some((from, command)) = self.messages.get(&nth).and_then(|id| self.commanded.get(id)).cloned() else {
                    return;
                };
                self.command(from, command);
            }
            Ask::Cancel { nth } => {
                let Some(id) = self.messages.get(&nth).copied() else { return };
                let machine = self.ledger.sent[&id].machine;
                self.ledger.cancelled(id);
                self.command(machine, Command::Cancel(id));
            }
            Ask::Watch { machine, peer } => {
                let peer = peer.map(|peer| self.machines[peer].person);
                self.command(machine, Command::Watch(peer));
            }
            Ask::Retry { machine } => drop(self.command(machine, Command::Retry(None))),
            Ask::Peers { machine } => drop(self.command(machine, Command::Peers { settle: true })),
            Ask::Rename { machine, name } => drop(self.command(machine, Command::SetName(name))),
            Ask::Away { machine, away } => drop(self.command(machine, Command::SetAway(away))),
            Ask::MarkRead { machine } => {
                let last = self.seen.iter().rev().find_map(|(_, at, event)| match event {
                    Event::Message { row, .. } if *at == machine => Some((row.peer, row.id)),
                    _ => None,
                });
                if let Some((peer, id)) = last {
                    self.command(machine, Command::MarkRead(peer, id));
                }
            }
        }
    }
}

/// The end.
impl World {
    /// Faults off, everybody up; within 120 s all outboxes are empty, and the books are right. Returns how
    /// long it took.
    pub(crate) fn finish(&mut self) -> Duration {
        self.note(format_args!("faults off"), &[]);
        let start = self.now;
        self.network.heal();
        self.commit_time = (Duration::from_micros(300), Duration::from_millis(2));
        self.queue.retain(|_, what| !matches!(what, What::Strike(_) | What::Restore { .. } | What::Ask(_)));
        for machine in 0..self.machines.len() {
            self.machines[machine].disk.heal();
            if self.machines[machine].copy_of.is_some() {
                self.stop_copy(machine);
                continue;
            }
            let me = &self.machines[machine];
            if self.ledger.copied.contains(&me.person) && !me.notices.contains(&NoticeCode::ProfileInUseElsewhere) {
                // It never heard its copy and so cannot know that the others listen to a later boot only.
                self.kill(machine);
            }
            if self.machines[machine].asleep_until.is_some() {
                self.machines[machine].asleep_until = Some(self.now);
                self.wake(machine);
            }
            if let Some(back) = &mut self.machines[machine].leaving {
                *back = Duration::ZERO;
            }
            self.start(machine);
            self.at(self.now, What::Interfaces { machine });
        }
        let end = start + Duration::from_secs(120);
        let (mut look, mut done_since) = (self.now, None);
        // An outbox is empty, too, before the disk took what was asked a moment ago: it must stay so.
        while done_since.is_none_or(|since| self.now < since + Duration::from_secs(3)) && self.now < end {
            look += Duration::from_millis(500);
            self.run_until(look);
            let is_all_done = self.machines.iter().filter(|machine| !machine.gone).all(is_done);
            done_since = is_all_done.then(|| done_since.unwrap_or(self.now));
        }
        let took = done_since.unwrap_or(self.now) - start;
        self.check_the_end();
        took
    }

    fn stop_copy(&mut self, machine: usize) {
        self.kill(machine);
        self.machines[machine].gone = true;
        self.excuse_copy(machine);
    }

    /// What is on the copy only goes with it: what was queued there, and what was received and held back.
    fn excuse_copy(&mut self, machine: usize) {
        let received = &self.machines[machine].books.received;
        for (_, sent) in self.ledger.sent.iter_mut().filter(|(id, sent)| sent.machine == machine || received.contains_key(id)) {
            sent.excused = Some("it stands on a copy that was switched off");
        }
    }

    fn check_the_end(&self) {
        let histories: Vec<(PeerId, Vec<HistoryRow>)> =
            self.machines.iter().map(|machine| (machine.person, self.last_history(machine))).collect();
        for (number, machine) in self.machines.iter().enumerate().filter(|(_, machine)| !machine.gone) {
            let addressee = |person| histories.iter().filter(move |(owner, _)| *owner == person).map(|(_, rows)| rows.as_slice());
            self.must(self.ledger.nothing_lost(number, &histories[number].1, &waiting(machine), addressee));
            let received = histories[number].1.iter().filter(|row| row.direction == Direction::In);
            let mut ids: Vec<MessageId> = received.map(|row| row.id).collect();
            ids.sort_unstable();
            if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
                self.fail(&format_args!("BROKEN PROMISE \"nothing is doubled\": {:?} stands twice in a history", pair[0]));
            }
        }
    }

    fn last_history(&self, machine: &Machine) -> Vec<HistoryRow> {
        match &machine.process {
            Some(process) => history(&process.reader),
            None => match Store::open_backend(machine.disk.copy().backend()) {
                Ok(store) => history(&store.reader()),
                Err(why) => self.fail(&format_args!("{} cannot be opened in the end: {why}", machine.name)),
            },
        }
    }

    /// The rows of a machine's history, as its running store gives them.
    pub(crate) fn history(&self, machine: usize) -> Vec<HistoryRow> {
        self.last_history(&self.machines[machine])
    }

    /// How many of its messages a machine has delivered, by the status events of its node.
    pub(crate) fn delivered(&self, machine: usize) -> usize {
        let delivered = |event: &Event| matches!(event, Event::Status { state: State::Delivered, .. });
        self.seen.iter().filter(|(_, at, event)| *at == machine && delivered(event)).count()
    }

    /// When a machine first showed this message.
    pub(crate) fn shown_at(&self, machine: usize, id: MessageId) -> Option<Duration> {
        self.seen.iter().find_map(|(at, on, event)| match event {
            Event::Message { row, .. } if *on == machine && row.id == id => Some(*at),
            _ => None,
        })
    }
}

/// Somebody whose id was added, and of whom nothing else is known.
fn contact(id: PeerId) -> Contact {
    Contact {
        id,
        more_ids: Vec::new(),
        name: String::new(),
        petname: None,
        trust: Trust::Unknown,
        added: true,
        since: Unix(UNIX_START),
        last_heard: None,
        boot: BootId(0),
        announce_seq: 0,
        addresses: Vec::new(),
        seeds: Vec::new(),
        request: None,
        receipts: None,
        refused: false,
    }
}

/// Ids in the outbox.
fn waiting(machine: &Machine) -> Vec<MessageId> {
    let Some(process) = &machine.process else { return Vec::new() };
    let rows = process.reader.outbox_page(None, ROWS_MAX).expect("a sound disk can be read");
    rows.rows.iter().map(|row| row.id).collect()
}

/// It runs, can look at its disk, and nothing waits there.
fn is_done(machine: &Machine) -> bool {
    let reader = machine.process.as_ref().map(|process| &process.reader);
    reader.is_some_and(|reader| reader.outbox_page(None, 1).is_ok_and(|page| page.rows.is_empty()))
}

/// The whole history, page by page.
fn history(reader: &Reader) -> Vec<HistoryRow> {
    let mut rows: Vec<HistoryRow> = Vec::new();
    let mut after = 0;
    loop {
        let query = HistoryQuery { after: Some(after), ..HistoryQuery::default() };
        let page = reader.history(&query).expect("a sound disk can be read").rows;
        let Some((last, _)) = page.last() else { return rows };
        after = *last;
        rows.extend(page.into_iter().map(|(_, row)| row));
    }
}

/// Debug without whole megabytes.
fn brief(value: &dyn fmt::Debug) -> String {
    let mut text = format!("{value:?}");
    if text.len() > 300 {
        let mut end = 300;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}
