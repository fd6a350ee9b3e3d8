//! THE loop: the only place where a node meets sockets, clocks, the disk and the front doors. What is
//! decided lives in `node`; what bytes do on their way in `socket`.

use std::{
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{
    alarm::Alarm,
    clock::{self, SleepWatch},
    committer::{Committer, Keep, Keeper},
    counters::Counters,
    doorbell::Doorbell,
    handle::{self, Front, Handle},
    interfaces,
    portmap::PortMapper,
    resolver::{Resolved, Resolver},
    socket::{BindError, Listen, SocketConfig, Sockets},
};
use crate::{
    clock::{Instant, Now},
    crypto::identity::Identity,
    id::BatchId,
    node::{
        Node, NodeConfig,
        command::{Command, CommandId, Reply},
        event::Event,
        interface::Interface,
        next_boot,
    },
    store::{
        ReadError, Store,
        row::{CommitError, Committed, Op, WriteBatch},
    },
    wire::DATAGRAM_LEN_JUMBO,
};

#[cfg(test)]
mod tests;

/// How often interfaces are looked at.
pub const INTERFACES_INTERVAL: Duration = Duration::from_secs(2);
/// After a ring of the doorbell, the system is given this long to finish what it is at.
pub const DOORBELL_PAUSE: Duration = Duration::from_millis(10);
/// How often groups are joined again.
pub const REJOIN_INTERVAL: Duration = Duration::from_secs(60);
/// The node says goodbye within 100 ms and waits a little for its disk; where it has not by then, the loop
/// ends without.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// What is on its way to the disk when the loop ends gets this long.
pub const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Commands taken in one turn; the rest waits for the next.
const COMMANDS_PER_TURN_MAX: usize = 256;
/// Datagrams sent in one turn; the rest leaves in the next.
const DATAGRAMS_PER_TURN_MAX: usize = 4_096;
/// Events told in one turn: fewer than a subscriber may keep waiting, so that a quick reader gets its
/// turn before it counts as slow.
const EVENTS_PER_TURN_MAX: usize = handle::SUBSCRIBER_EVENTS_MAX / 4;
/// Deadlines that lie in the past are handled at once this often in one turn; then the loop breathes.
const OVERDUE_PER_TURN_MAX: usize = 4;
/// One breath.
const BREATH: Duration = Duration::from_millis(1);

/// What a driver is told once.
#[derive(Debug, Clone)]
pub struct DriverConfig {
    /// Where to listen, and on which interfaces to discover.
    pub sockets: SocketConfig,
    /// The node's settings. `port`, `lan` and `interfaces` are set by the driver.
    pub node: NodeConfig,
    /// What is kept of the store's history.
    pub keep: Keep,
}

/// A node could not be started; nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or there is no network stack (exit 9).
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The profile cannot be read (exit 8).
    #[error("the profile cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The profile cannot be written (exit 8).
    #[error("the profile cannot be written: {0}")]
    Commit(#[from] CommitError),
    /// The profile's key is not one (exit 8).
    #[error("the profile's key is damaged")]
    Key,
    /// The system gave no thread for the disk (exit 1).
    #[error("no thread for the disk: {0}")]
    Thread(std::io::Error),
    /// The system gave no randomness (exit 1).
    #[error("the system has no randomness: {0}")]
    Random(getrandom::Error),
}

/// A node and everything that it runs on.
pub struct Driver {
    node: Node,
    sockets: Sockets,
    committer: Committer,
    front: Front,
    interfaces: Vec<Interface>,
    doorbell: Doorbell,
    alarm: Alarm,
    resolver: Resolver,
    port_mapper: PortMapper,
    look_at: Instant,
    rejoin_at: Instant,
    last_turn: Instant,
    sleep_watch: SleepWatch,
    /// The node's deadline stays in the past: wait a little, or a mistake there takes a whole core.
    breathe: bool,
    leaving: Option<(CommandId, Instant)>,
    datagram: Vec<u8>,
}

/// Why the loop woke up. Everything else that waits is taken in the same turn.
enum Wake {
    Ready,
    Rung,
    Command(CommandId, Command),
    Committed(BatchId, Result<Committed, CommitError>),
    Resolved(Resolved),
    Mapped(Option<SocketAddr>),
}

/// What a turn leaves behind.
struct Turn {
    /// There is more to do at once.
    more: bool,
    /// Somebody at a front door has something to read.
    told: bool,
    /// The node has said goodbye.
    left: bool,
}

impl Driver {
    /// Binds the sockets and starts the node of this profile: after this it is *ready*. Must be called in
    /// a tokio runtime; nothing happens before [`Self::run`].
    pub fn start(config: DriverConfig, mut store: Store) -> Result<(Self, Handle), StartError> {
        let counters = Counters::default();
        let mut sockets = Sockets::bind(&config.sockets, counters.clone())?;
        let now = clock::now();
        let reader = store.reader();
        let mut loaded = reader.load()?;
        loaded.boot = next_boot(loaded.boot, now.unix);
        // A boot id that is not on the disk could be used twice.
        store.commit(WriteBatch { id: BatchId(0), ops: vec![Op::Boot(loaded.boot)].into() })?;

        let identity = Identity::from_secret(&loaded.secret).map_err(|_| StartError::Key)?;
        let mut rng_seed = [0; 32];
        getrandom::fill(&mut rng_seed).map_err(StartError::Random)?;
        // Before the first look: what changes from now on rings.
        let doorbell = Doorbell::new();
        let interfaces = read_interfaces().unwrap_or_default();
        sockets.set_interfaces(&interfaces);
        let (handle, front) = handle::channel(identity.id(), sockets.port(), reader.clone(), counters);
        front.set_local_addrs(sockets.local_addrs());
        let lan = !config.sockets.no_lan;
        let node_config = NodeConfig { port: sockets.port(), lan, interfaces: config.sockets.interfaces, ..config.node };
        let port_mapper = port_mapper(&node_config, config.sockets.listen).map_err(StartError::Random)?;
        let committer = Committer::spawn(store, config.keep).map_err(StartError::Thread)?;
        let mut node = Node::new(node_config, identity, loaded, reader, rng_seed, now);
        node.handle_interfaces(now, interfaces.clone());
        let driver = Self {
            node,
            sockets,
            committer,
            front,
            interfaces,
            doorbell,
            alarm: Alarm::new(),
            resolver: Resolver::default(),
            port_mapper,
            look_at: now.instant + INTERFACES_INTERVAL,
            rejoin_at: now.instant + REJOIN_INTERVAL,
            last_turn: now.instant,
            sleep_watch: SleepWatch::new(),
            breathe: false,
            leaving: None,
            datagram: Vec::with_capacity(DATAGRAM_LEN_JUMBO),
        };
        Ok((driver, handle))
    }

    /// What gives its store another password.
    pub fn keeper(&self) -> Keeper {
        self.committer.keeper()
    }

    /// Drives the node until it was told to leave, or nobody holds a handle any more and it was.
    pub async fn run(mut self) {
        let mut turn = self.turn(Wake::Ready);
        while !turn.left {
            if turn.told {
                self.front.let_read().await;
            }
            let wake = if turn.more { Wake::Ready } else { self.wait().await };
            turn = self.turn(wake);
        }
        self.finish().await;
    }

    /// 1: waits for a datagram, a command, the end of a commit, or a deadline.
    async fn wait(&mut self) -> Wake {
        let deadline = self.deadline();
        let pause = if self.breathe { BREATH } else { deadline.since(clock::instant()) };
        let Self { sockets, committer, front, doorbell, alarm, resolver, port_mapper, .. } = self;
        tokio::select! {
            biased;
            (batch, outcome) = committer.committed() => Wake::Committed(batch, outcome),
            Some((id, command)) = front.command() => Wake::Command(id, command),
            () = poll_fn(|cx| sockets.poll_readable(cx)) => Wake::Ready,
            () = doorbell.rings() => Wake::Rung,
            resolved = resolver.resolved() => Wake::Resolved(resolved),
            outside = port_mapper.asked() => Wake::Mapped(outside),
            () = alarm.rings(pause) => Wake::Ready,
        }
    }

    fn deadline(&self) -> Instant {
        let leave_by = self.leaving.map(|(_, by)| by);
        [self.node.poll_timeout(), leave_by].into_iter().flatten().fold(self.look_at, Instant::min)
    }

    /// 2 to 6: one instant; everything that waits goes in, everything that is due comes out.
    fn turn(&mut self, wake: Wake) -> Turn {
        let now = clock::now();
        self.notice_sleep(now);
        match wake {
            Wake::Ready => {}
            Wake::Rung => self.look_at = self.look_at.min(now.instant + DOORBELL_PAUSE),
            Wake::Command(id, command) => self.command(now, id, command),
            Wake::Committed(batch, outcome) => self.node.handle_committed(now, batch, outcome),
            Wake::Resolved((name, outcome)) => self.node.handle_resolved(now, &name, outcome),
            Wake::Mapped(outside) => self.node.handle_mapped(now, outside),
        }
        let node = &mut self.node;
        self.sockets.receive(|datagram| node.handle_datagram(now, datagram));
        for _ in 0..COMMANDS_PER_TURN_MAX {
            let Some((id, command)) = self.front.try_command() else { break };
            self.command(now, id, command);
        }
        if now.instant >= self.look_at {
            self.look_at_interfaces(now);
        }
        let mut turn = Turn { more: false, told: false, left: false };
        for _ in 0..OVERDUE_PER_TURN_MAX {
            if self.is_overdue(now) {
                self.node.handle_timeout(now);
            }
            self.drain(now, &mut turn);
            if turn.more || !self.is_overdue(now) {
                break;
            }
        }
        self.breathe = self.is_overdue(now);
        if let Some((id, by)) = self.leaving
            && !turn.left
            && now.instant >= by
        {
            self.front.tell(Event::Reply(id, Reply::Left));
            turn.left = true;
        }
        turn
    }

    fn is_overdue(&self, now: Now) -> bool {
        self.node.poll_timeout().is_some_and(|deadline| deadline <= now.instant)
    }

    /// 3, 4 and 5: a batch to the disk, datagrams to the network, events to the front doors.
    fn drain(&mut self, now: Now, turn: &mut Turn) {
        if !self.committer.is_busy()
            && let Some(batch) = self.node.poll_write()
        {
            self.committer.submit(batch);
        }
        while let Some(name) = self.node.poll_resolve() {
            self.resolver.start(name);
        }
        turn.more |= !self.transmit(now);
        for _ in 0..EVENTS_PER_TURN_MAX {
            let Some(event) = self.node.poll_event() else { return };
            if matches!(event, Event::Reply(_, Reply::Left)) {
                self.transmit(now);
                turn.left = true;
            }
            self.front.tell(event);
            turn.told = true;
        }
        turn.more = true;
    }

    /// True once nothing more wants to leave now.
    fn transmit(&mut self, now: Now) -> bool {
        for _ in 0..DATAGRAMS_PER_TURN_MAX {
            let Some(target) = self.node.poll_transmit(now, &mut self.datagram) else {
                self.sockets.flush();
                return true;
            };
            self.sockets.send(target, &self.datagram);
        }
        self.sockets.flush();
        false
    }

    fn command(&mut self, now: Now, id: CommandId, command: Command) {
        if command == Command::Leave && self.leaving.is_none() {
            self.leaving = Some((id, now.instant + LEAVE_TIMEOUT));
        }
        self.node.handle_command(now, id, command);
    }

    fn notice_sleep(&mut self, now: Now) {
        let pause = now.instant.since(std::mem::replace(&mut self.last_turn, now.instant));
        if pause > clock::SLEEP_MIN && self.sleep_watch.woke() {
            tracing::info!("the machine slept");
            self.look_at_interfaces(now);
            self.sockets.rejoin();
            self.port_mapper.on_network();
            self.node.handle_wake(now);
        }
    }

    /// A change is told to the node. Groups that could not be joined are tried again either way.
    fn look_at_interfaces(&mut self, now: Now) {
        self.look_at = now.instant + INTERFACES_INTERVAL;
        if now.instant >= self.rejoin_at {
            self.rejoin_at = now.instant + REJOIN_INTERVAL;
            self.sockets.rejoin();
        }
        let Some(interfaces) = read_interfaces() else { return };
        self.sockets.set_interfaces(&interfaces);
        if interfaces != self.interfaces {
            tracing::debug!(count = interfaces.len(), "interfaces changed");
            self.front.set_local_addrs(self.sockets.local_addrs());
            self.interfaces.clone_from(&interfaces);
            self.port_mapper.on_network();
            self.node.handle_interfaces(now, interfaces);
        }
    }

    /// What was promised to the disk gets there before the loop ends, where the disk is quick enough. The
    /// goodbye is out already: a router that is slow delays no more than the end.
    async fn finish(mut self) {
        let unmapped = std::mem::take(&mut self.port_mapper).remove();
        let writes = async {
            while self.committer.is_busy() {
                let (batch, outcome) = self.committer.committed().await;
                self.node.handle_committed(clock::now(), batch, outcome);
                let mut turn = Turn { more: false, told: false, left: true };
                self.drain(clock::now(), &mut turn);
            }
            self.committer.close().await;
        };
        let (written, ()) = tokio::join!(tokio::time::timeout(LAST_COMMIT_TIMEOUT, writes), unmapped);
        if written.is_err() {
            tracing::warn!("the disk is too slow: the last changes may be missing");
        }
    }
}

/// Only who can be found through seeds has any use for a port of a router.
fn port_mapper(config: &NodeConfig, listen: Option<Listen>) -> Result<PortMapper, getrandom::Error> {
    let listen = listen.map_or(Some(Ipv4Addr::UNSPECIFIED), |listen| listen.v4);
    match listen.filter(|_| !config.seeds.is_empty() && config.visibility.is_some()) {
        Some(listen) => PortMapper::start(config.port, listen),
        None => Ok(PortMapper::default()),
    }
}

/// `None` where the system does not say: what was known before is then the best guess.
fn read_interfaces() -> Option<Vec<Interface>> {
    interfaces::read().inspect_err(|error| tracing::warn!("cannot list interfaces: {error}")).ok()
}
