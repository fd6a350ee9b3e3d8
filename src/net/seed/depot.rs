//! The connection of a seed to the depot of its cluster: a thread of its own, so that no query ever waits for
//! it in a seed's thread. What is put there and what is believed is `seed::cluster`'s affair; which store it
//! is stands behind [`Depot`].

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::seed::{
    Seed,
    cluster::{Call, Reply, Tag},
};

/// Calls of all threads that wait for the connection, at most; what is more waits in the threads.
const CALLS_MAX: usize = 4_096;
/// Calls in one exchange at most.
const BATCH_MAX: usize = 512;
/// Replies that wait for one thread, at most; what is more is lost, and its asker answered without.
const REPLIES_MAX: usize = 4_096;
/// How often a seed looks whether another hands it a knock.
const LISTEN_INTERVAL: Duration = Duration::from_millis(50);
/// For so long the end of the thread is waited for.
const END_MAX: Duration = Duration::from_secs(2);
/// Until the next try to connect, at first and at most: twice as long each time.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(16);

/// A store that several seeds share. It may lose everything at any time.
pub trait Depot: Send {
    /// Does all calls, one reply for each that has one, and takes out what other seeds have left for `tag`.
    /// Connects where there is no connection. Errors where that is gone: what was done nobody knows.
    fn exchange(&mut self, tag: &Tag, calls: &[&Call]) -> Result<Exchange, DepotError>;
}

/// What came of some calls.
#[derive(Debug, Default)]
pub struct Exchange {
    /// In the order of the calls.
    pub replies: Vec<Option<Reply>>,
    /// For whichever thread: [`Reply::Knock`].
    pub knocks: Vec<Reply>,
    /// Why some of it was not done, though the connection is there.
    pub failed: Option<String>,
}

/// The depot cannot be reached. The seed goes on from memory.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DepotError(pub String);

/// A thread's end of the line to the depot.
pub(super) struct Line {
    lane: usize,
    calls: SyncSender<(usize, Call)>,
    replies: mpsc::Receiver<Reply>,
    /// Found no room.
    held: Option<Call>,
}

impl Line {
    /// Hands over what the seed wants of the depot, as far as there is room.
    pub(super) fn hand_over(&mut self, seed: &mut Seed) {
        while let Some(call) = self.held.take().or_else(|| seed.poll_call()) {
            if let Err(TrySendError::Full((_, call))) = self.calls.try_send((self.lane, call)) {
                self.held = Some(call);
                return;
            }
        }
    }

    /// The next reply; never, where the thread has ended.
    pub(super) async fn next(&mut self) -> Reply {
        match self.replies.recv().await {
            Some(reply) => reply,
            None => std::future::pending().await,
        }
    }
}

/// A thread that runs, until it drops `fall`.
pub(super) struct Running {
    ended: Receiver<()>,
}

impl Running {
    /// Waits until the thread has ended, once all lines are gone. True where it has: a name that no DNS answers for
    /// may keep it, and then it ends with the process.
    pub(super) fn wait(self) -> bool {
        self.ended.recv_timeout(END_MAX) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Starts the thread, which drops `fall` as it ends, once all lines are gone.
pub(super) fn start<F: Send + 'static>(
    depot: Box<dyn Depot>,
    tag: Tag,
    lanes: usize,
    fall: F,
) -> std::io::Result<(Vec<Line>, Running)> {
    let (send, calls) = sync_channel(CALLS_MAX);
    let (mut lines, mut replies) = (Vec::with_capacity(lanes), Vec::with_capacity(lanes));
    for lane in 0..lanes {
        let (reply, receive) = mpsc::channel(REPLIES_MAX);
        lines.push(Line { lane, calls: send.clone(), replies: receive, held: None });
        replies.push(reply);
    }
    let keeper = Keeper { depot, tag, calls, replies, is_there: None, is_whole: true, retry: RETRY_FIRST };
    let (end, ended) = sync_channel::<()>(1);
    let run = move || {
        let _ends = (end, fall);
        keeper.run();
    };
    std::thread::Builder::new().name("depot".to_owned()).spawn(run)?;
    Ok((lines, Running { ended }))
}

/// What the thread has.
struct Keeper {
    depot: Box<dyn Depot>,
    tag: Tag,
    calls: Receiver<(usize, Call)>,
    replies: Vec<mpsc::Sender<Reply>>,
    /// As the seeds were told.
    is_there: Option<bool>,
    /// The last exchange was done whole.
    is_whole: bool,
    retry: Duration,
}

impl Keeper {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let calls: Vec<&Call> = batch.iter().map(|(_, call)| call).collect();
            let goes_on = match self.depot.exchange(&self.tag, &calls) {
                Ok(exchange) => {
                    self.hand_out(&batch, exchange);
                    self.collect(&mut batch)
                }
                Err(error) => {
                    batch.clear();
                    self.on_gone(&error)
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    fn hand_out(&mut self, batch: &[(usize, Call)], exchange: Exchange) {
        self.retry = RETRY_FIRST;
        if self.is_there != Some(true) {
            tracing::info!("the directory that seeds share is there");
            self.tell(true);
        }
        if let Some(failed) = exchange.failed.as_ref().filter(|_| self.is_whole) {
            tracing::warn!("the directory that seeds share does not do all that it is asked: {failed}");
        }
        self.is_whole = exchange.failed.is_none();
        for ((lane, _), reply) in batch.iter().zip(exchange.replies) {
            if let (Some(line), Some(reply)) = (self.replies.get(*lane), reply) {
                let _ = line.try_send(reply);
            }
        }
        // Whichever thread it is sends from the one port.
        if let Some(line) = self.replies.first() {
            exchange.knocks.into_iter().for_each(|knock| drop(line.try_send(knock)));
        }
    }

    /// Waits for calls, but not for long. False where nobody can call any more.
    fn collect(&self, batch: &mut Vec<(usize, Call)>) -> bool {
        batch.clear();
        match self.calls.recv_timeout(LISTEN_INTERVAL) {
            Ok(call) => batch.push(call),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        batch.extend(self.calls.try_iter().take(BATCH_MAX - 1));
        true
    }

    /// Once an outage, not once a try. False where nobody can call any more.
    fn on_gone(&mut self, error: &DepotError) -> bool {
        if self.is_there != Some(false) {
            tracing::warn!("the directory that seeds share cannot be reached, this seed goes on from memory: {error}");
            self.tell(false);
        }
        let until = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
        loop {
            // What was called before the seeds knew is answered without.
            match self.calls.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn tell(&mut self, is_there: bool) {
        self.is_there = Some(is_there);
        // This one must not be lost; a thread that has ended hears nothing.
        self.replies.iter().for_each(|line| drop(line.blocking_send(Reply::There(is_there))));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    };

    use super::*;
    use crate::seed::cluster::Sought;

    /// There or not, as the test wants it; it finds nothing.
    struct Switched {
        is_there: Arc<AtomicBool>,
        tries: Arc<AtomicUsize>,
    }

    impl Depot for Switched {
        fn exchange(&mut self, _: &Tag, calls: &[&Call]) -> Result<Exchange, DepotError> {
            self.tries.fetch_add(1, Relaxed);
            if !self.is_there.load(Relaxed) {
                return Err(DepotError("switched off".to_owned()));
            }
            let reply = |call: &&Call| match call {
                Call::Fetch(sought) => Some(Reply::Fetched { sought: sought.clone(), values: Vec::new() }),
                _ => None,
            };
            Ok(Exchange { replies: calls.iter().map(reply).collect(), knocks: Vec::new(), failed: None })
        }
    }

    #[test]
    fn every_thread_hears_of_an_outage_and_of_its_end_and_gets_its_own_replies() {
        let (is_there, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let depot = Switched { is_there: is_there.clone(), tries: tries.clone() };
        let (mut lines, thread) = start(Box::new(depot), [1; 8], 2, ()).unwrap();
        let heard = |line: &mut Line| line.replies.blocking_recv().unwrap();
        for expected in [true, false, true] {
            is_there.store(expected, Relaxed);
            lines.iter_mut().for_each(|line| assert_eq!(heard(line), Reply::There(expected)));
        }
        for (lane, line) in lines.iter_mut().enumerate() {
            let sought = Sought::Id([lane as u8; 32]);
            line.calls.send((lane, Call::Fetch(sought.clone()))).unwrap();
            assert_eq!(heard(line), Reply::Fetched { sought, values: Vec::new() });
        }
        drop(lines);
        assert!(thread.wait(), "it has ended");
    }

    #[test]
    fn what_is_called_during_an_outage_neither_blocks_nor_piles_up() {
        let is_there = Arc::new(AtomicBool::new(false));
        let depot = Switched { is_there: is_there.clone(), tries: Arc::default() };
        let (mut lines, thread) = start(Box::new(depot), [1; 8], 1, ()).unwrap();
        let [line] = lines.as_mut_slice() else { panic!() };
        assert_eq!(line.replies.blocking_recv(), Some(Reply::There(false)));
        for _ in 0..2 * CALLS_MAX {
            line.calls.send((0, Call::Fetch(Sought::Id([1; 32])))).unwrap();
        }
        assert!(line.replies.try_recv().is_err(), "nobody answers");
        drop(lines);
        assert!(thread.wait(), "it has ended");
    }

    /// A thread that panics says so, and one that hangs keeps nobody.
    #[test]
    fn the_end_of_the_thread_is_noticed_and_not_waited_for_without_end() {
        struct Broken(Option<Receiver<()>>);
        impl Depot for Broken {
            fn exchange(&mut self, _: &Tag, _: &[&Call]) -> Result<Exchange, DepotError> {
                match self.0.take() {
                    Some(hangs) => drop(hangs.recv()),
                    None => panic!("as a mistake in the program would"),
                }
                Err(DepotError("gone".to_owned()))
            }
        }
        let (fall, fallen) = sync_channel::<()>(1);
        let (lines, thread) = start(Box::new(Broken(None)), [1; 8], 1, fall).unwrap();
        assert!(fallen.recv().is_err() && thread.wait(), "while its lines are there");
        drop(lines);
        let (release, hangs) = sync_channel::<()>(1);
        let (lines, thread) = start(Box::new(Broken(Some(hangs))), [1; 8], 1, ()).unwrap();
        drop(lines);
        assert!(!thread.wait());
        drop(release);
    }
}
