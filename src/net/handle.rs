//! What the front doors hold of a running node: commands in, replies and events out. How the node is
//! driven does not live here.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::{mpsc, oneshot, watch};

use super::counters::{Counters, Counts};
use crate::{
    id::PeerId,
    node::{
        command::{Command, CommandError, CommandId, Reply},
        event::Event,
    },
    store::Reader,
};

/// Commands that wait for the loop; past it the front doors wait.
pub const COMMANDS_MAX: usize = 256;
/// Events that wait for one subscriber; past it the subscriber is dropped as too slow.
pub const SUBSCRIBER_EVENTS_MAX: usize = 1_024;
/// Bytes of text that wait for one subscriber; past it the subscriber is dropped as too slow.
pub const SUBSCRIBER_BYTES_MAX: usize = 64 << 20;

/// Times that the loop lets others run while a subscriber has much to read. Tokio gives each of them 128 events at a time.
const READING_TURNS_MAX: usize = SUBSCRIBER_EVENTS_MAX / 128;

/// A running node, as seen by a front door. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    shared: Arc<Shared>,
    ended: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Shared {
    id: PeerId,
    port: u16,
    reader: Reader,
    counters: Counters,
    changing: Mutex<Changing>,
}

#[derive(Debug, Default)]
struct Changing {
    addrs: Vec<SocketAddr>,
    subscribers: Vec<Subscriber>,
    ended: bool,
}

/// A command, and where its reply goes.
#[derive(Debug)]
struct Request {
    command: Command,
    reply: oneshot::Sender<Reply>,
}

impl Handle {
    /// Asks the node and waits for its reply. [`CommandError::Leaving`] where the loop has ended.
    pub async fn call(&self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request { command, reply }).await.is_err() {
            return Reply::Failed(CommandError::Leaving);
        }
        answer.await.unwrap_or(Reply::Failed(CommandError::Leaving))
    }

    /// Every event from now on, except replies.
    pub fn subscribe(&self) -> Subscription {
        let (events, queue) = mpsc::channel(SUBSCRIBER_EVENTS_MAX);
        let waiting = Arc::new(Waiting::default());
        let mut changing = self.shared.changing();
        if !changing.ended {
            changing.subscribers.push(Subscriber { events, waiting: waiting.clone() });
        }
        Subscription { queue, waiting }
    }

    /// Looks at what is on the disk.
    pub fn reader(&self) -> &Reader {
        &self.shared.reader
    }

    /// Who this node is.
    pub fn id(&self) -> PeerId {
        self.shared.id
    }

    /// The port of its session sockets.
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// Where others on its networks reach it now; loopback left out.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.shared.changing().addrs.clone()
    }

    /// What went in and out of its sockets so far.
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// Returns once the loop has ended.
    pub async fn ended(&self) {
        // The sender gone is an end as well.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

/// The events of a node for one subscriber, in order.
#[derive(Debug)]
pub struct Subscription {
    queue: mpsc::Receiver<Arc<Event>>,
    waiting: Arc<Waiting>,
}

/// Why there are no more events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsubscribed {
    /// Too many waited: what came after them is lost to this subscriber.
    #[error("too slow: more than {SUBSCRIBER_EVENTS_MAX} events waited")]
    TooSlow,
    /// The node has ended.
    #[error("the owner has ended")]
    Ended,
}

impl Subscription {
    /// The next event. What waited before an end is given first.
    pub async fn next(&mut self) -> Result<Arc<Event>, Unsubscribed> {
        let event = self.queue.recv().await;
        self.taken(event)
    }

    /// The next event, if one waits now.
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, Unsubscribed> {
        match self.queue.try_recv() {
            Ok(event) => self.taken(Some(event)).map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => self.taken(None).map(Some),
        }
    }

    fn taken(&self, event: Option<Arc<Event>>) -> Result<Arc<Event>, Unsubscribed> {
        match event {
            Some(event) => {
                self.waiting.bytes.fetch_sub(weight(&event), Relaxed);
                Ok(event)
            }
            None if self.waiting.too_slow.load(Relaxed) => Err(Unsubscribed::TooSlow),
            None => Err(Unsubscribed::Ended),
        }
    }
}

#[derive(Debug)]
struct Subscriber {
    events: mpsc::Sender<Arc<Event>>,
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    too_slow: AtomicBool,
}

impl Subscriber {
    /// False where it is gone, or too slow and told so.
    fn tell(&self, event: &Arc<Event>) -> bool {
        let weight = weight(event);
        let bytes = self.waiting.bytes.fetch_add(weight, Relaxed).saturating_add(weight);
        let full = bytes > SUBSCRIBER_BYTES_MAX || self.events.try_send(event.clone()).is_err();
        if full {
            self.waiting.too_slow.store(true, Relaxed);
        }
        !full
    }
}

/// Bytes that an event keeps in memory, about.
fn weight(event: &Event) -> usize {
    match event {
        Event::Message { row, .. } => row.text.len() + row.more.len(),
        _ => 0,
    }
}

impl Shared {
    fn changing(&self) -> MutexGuard<'_, Changing> {
        // Nothing panics while it holds this lock, and a half-told event harms nobody.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop's end of a [`Handle`]: takes commands, gives replies and events. A test may hold it in the
/// place of a node.
#[derive(Debug)]
pub struct Front {
    requests: mpsc::Receiver<Request>,
    shared: Arc<Shared>,
    ended: watch::Sender<bool>,
    unanswered: BTreeMap<CommandId, oneshot::Sender<Reply>>,
    /// Number of unanswered commands at which those whose asker is gone are looked for.
    sweep_at: usize,
    next_id: u64,
}

/// Makes both ends.
pub fn channel(id: PeerId, port: u16, reader: Reader, counters: Counters) -> (Handle, Front) {
    let (sender, requests) = mpsc::channel(COMMANDS_MAX);
    let (end, ended) = watch::channel(false);
    let shared = Arc::new(Shared { id, port, reader, counters, changing: Mutex::default() });
    let handle = Handle { requests: sender, shared: shared.clone(), ended };
    let unanswered = BTreeMap::new();
    (handle, Front { requests, shared, ended: end, unanswered, sweep_at: COMMANDS_MAX, next_id: 0 })
}

impl Front {
    /// Waits for the next command. `None`: every handle is gone.
    pub async fn command(&mut self) -> Option<(CommandId, Command)> {
        let request = self.requests.recv().await?;
        Some(self.accept(request))
    }

    /// The next command, if one waits now.
    pub fn try_command(&mut self) -> Option<(CommandId, Command)> {
        let request = self.requests.try_recv().ok()?;
        Some(self.accept(request))
    }

    fn accept(&mut self, Request { command, reply }: Request) -> (CommandId, Command) {
        // Who stopped waiting is forgotten, or a long run would remember them all.
        if self.unanswered.len() >= self.sweep_at {
            self.unanswered.retain(|_, reply| !reply.is_closed());
            self.sweep_at = COMMANDS_MAX.max(2 * self.unanswered.len());
        }
        let id = CommandId(self.next_id);
        self.next_id += 1;
        self.unanswered.insert(id, reply);
        (id, command)
    }

    /// Gives a reply to who asked, and any other event to every subscriber.
    pub fn tell(&mut self, event: Event) {
        match event {
            Event::Reply(id, reply) => {
                if let Some(waiting) = self.unanswered.remove(&id) {
                    // Nobody waits any more: then nobody misses it.
                    let _ = waiting.send(reply);
                }
            }
            event => {
                let event = Arc::new(event);
                self.shared.changing().subscribers.retain(|subscriber| subscriber.tell(&event));
            }
        }
    }

    /// Lets those read who were told something and share this thread. Who reads all that it can is never too slow; who does not
    /// costs little more than a moment.
    pub async fn let_read(&self) {
        for _ in 0..READING_TURNS_MAX {
            tokio::task::yield_now().await;
            let is_behind = |subscriber: &Subscriber| subscriber.events.capacity() < SUBSCRIBER_EVENTS_MAX * 3 / 4;
            if !self.shared.changing().subscribers.iter().any(is_behind) {
                return;
            }
        }
    }

    /// Says where others reach us from now on.
    pub fn set_local_addrs(&self, addrs: Vec<SocketAddr>) {
        self.shared.changing().addrs = addrs;
    }
}

impl Drop for Front {
    /// Whoever waits for anything learns that the loop has ended.
    fn drop(&mut self) {
        let mut changing = self.shared.changing();
        changing.ended = true;
        changing.subscribers.clear();
        self.ended.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll};

    use super::*;
    use crate::{
        id::BootId,
        node::event::NoticeCode,
        store::{Fresh, Store},
    };

    fn pair() -> (Handle, Front) {
        let dir = tempfile::tempdir().unwrap();
        let fresh = Fresh { secret: [7; 32], name: "alice".to_owned(), boot: BootId(1) };
        let store = Store::create(dir.path(), &fresh).unwrap();
        let mut base = [0x66; 32];
        base[0] = 0x58;
        channel(PeerId::from_bytes(base).unwrap(), 17_118, store.reader(), Counters::default())
    }

    fn notice(number: usize) -> Event {
        Event::Notice { code: NoticeCode::NoNetwork, text: number.to_string(), peer: None }
    }

    #[tokio::test]
    async fn each_command_gets_its_own_reply() {
        let (handle, mut front) = pair();
        let answering = async {
            let (first, _) = front.command().await.unwrap();
            let (second, command) = front.command().await.unwrap();
            assert_eq!(command, Command::Leave);
            front.tell(Event::Reply(second, Reply::Left));
            front.tell(Event::Reply(first, Reply::Done));
        };
        let (one, two, ()) = tokio::join!(handle.call(Command::Status), handle.call(Command::Leave), answering);
        assert_eq!((one, two), (Reply::Done, Reply::Left));
    }

    #[tokio::test]
    async fn a_subscriber_that_does_not_read_is_dropped_and_told_and_the_others_are_not() {
        let (handle, mut front) = pair();
        let (mut slow, mut quick) = (handle.subscribe(), handle.subscribe());
        for number in 0..SUBSCRIBER_EVENTS_MAX + 5 {
            front.tell(notice(number));
            assert_eq!(*quick.next().await.unwrap(), notice(number));
        }
        for number in 0..SUBSCRIBER_EVENTS_MAX {
            assert_eq!(*slow.next().await.unwrap(), notice(number));
        }
        assert_eq!(slow.next().await, Err(Unsubscribed::TooSlow));
        assert_eq!(quick.try_next(), Ok(None));
    }

    #[tokio::test]
    async fn who_reads_all_that_it_can_is_not_too_slow_where_many_messages_are_delivered_at_once() {
        let (handle, mut front) = pair();
        let mut subscription = handle.subscribe();
        let reading = tokio::spawn(async move {
            for number in 0..10_240 {
                assert_eq!(subscription.next().await.as_deref(), Ok(&notice(number)));
            }
        });
        for number in 0..10_240 {
            front.tell(notice(number));
            // As many as the loop tells in one turn.
            if number % 256 == 255 {
                front.let_read().await;
            }
        }
        reading.await.unwrap();
    }

    #[tokio::test]
    async fn the_end_is_told_to_everybody_who_waits() {
        let (handle, front) = pair();
        let mut subscription = handle.subscribe();
        let mut call = pin!(handle.call(Command::Status));
        let waits = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        drop(front);
        assert_eq!(call.await, Reply::Failed(CommandError::Leaving));
        assert_eq!(subscription.next().await, Err(Unsubscribed::Ended));
        assert_eq!(handle.subscribe().next().await, Err(Unsubscribed::Ended), "after the end");
        handle.ended().await;
    }

    #[tokio::test]
    async fn who_stopped_waiting_is_forgotten() {
        let (handle, mut front) = pair();
        for _ in 0..10 * COMMANDS_MAX {
            let mut call = Box::pin(handle.call(Command::Status));
            assert!(std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
            drop(call);
            // A task that never pauses is made to by tokio.
            tokio::task::yield_now().await;
            assert!(front.try_command().is_some());
        }
        assert!(front.unanswered.len() <= 2 * COMMANDS_MAX, "{}", front.unanswered.len());
    }
}
