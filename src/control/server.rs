//! The owner's side of the protocol: one connection, its calls and its subscription. What each call does
//! stands in `answer`; which streams are served, and who may open them, is the business of `app`.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::{Notify, mpsc},
    task::JoinSet,
};

use super::{
    CONTROL_VERSION, LINE_LEN_MAX, answer,
    call::Secret,
    doctor::Surroundings,
    keyboard::Keyboard,
    proto::{Allow, Call, ConfigLine, Counts, ErrorLine, Line, ReadyLine, Request, Tagged},
};
use crate::{
    clock::Unix,
    id::{MessageId, PeerId},
    node::{
        command::{Command, Reply},
        event::Event,
    },
    store::{Progress, Reader},
};

/// Calls of one client that run at the same time at most; past it, its further lines wait unread.
pub const CALLS_MAX: usize = 64;
/// Lines that wait for a client to read them; then its calls wait.
const LINES_MAX: usize = 32;

/// What is served: a running node, as the owner holds it.
pub trait Node: Send + Sync + 'static {
    /// Its events, for one subscriber.
    type Events: Events;
    /// Asks, and waits for the answer. Where the node is gone: [`Reply::Failed`] with `Leaving`.
    fn call(&self, command: Command) -> impl Future<Output = Reply> + Send;
    /// Every event from now on.
    fn subscribe(&self) -> Self::Events;
    /// What is on disk.
    fn reader(&self) -> &Reader;
    /// Where others may reach us now.
    fn addrs(&self) -> Vec<SocketAddr>;
    /// We have another name from now on.
    fn renamed(&self, name: &str);
    /// A setting has this value from now on, also at the next start.
    fn keep(&self, key: &str, value: &str);
    /// Settings as this owner has them: the one of this name, or all. Errors (exit 2): there is none.
    fn config(&self, key: Option<&str>) -> Result<Vec<ConfigLine>, ErrorLine>;
    /// Writes a setting into the profile's file, or with an empty value takes it out; when it counts. Errors (exit 2: it is
    /// no such value) have changed nothing.
    fn set_config(&self, key: &str, value: &str) -> Result<Counts, ErrorLine>;
    /// Reads the settings again. Errors (exit 2, 8) have changed nothing.
    fn read_config(&self) -> Result<Followed, ErrorLine>;
    /// What is done to the store meanwhile, and how far that is.
    fn progress(&self) -> Option<Progress>;
    /// What this machine's network looks like from inside, looked at now; takes at most half a second.
    fn surroundings(&self) -> impl Future<Output = Surroundings> + Send;
    /// Copies the profile to a new file, whose path is absolute. Errors (exit 2: there is one of that name) have made none.
    fn back_up(&self, path: PathBuf) -> impl Future<Output = Result<(), ErrorLine>> + Send;
    /// The profile has this password from now on, or none. Errors (exit 10: `old` is not what it has) have changed nothing.
    fn change_password(&self, old: Option<Secret>, new: Option<Secret>) -> impl Future<Output = Result<(), ErrorLine>> + Send;
}

/// What a node that runs takes from its settings: what is not as it was when they were last read, since what somebody has said
/// meanwhile goes before what an option of the start says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// What I call myself.
    pub name: Option<String>,
    /// Who may write to me.
    pub allow: Option<Allow>,
    /// Contacts are told what I have read.
    pub read_receipts: Option<bool>,
}

/// The events of a node, in order.
pub trait Events: Send + 'static {
    /// The next one. After an error there is none.
    fn next(&mut self) -> impl Future<Output = Result<Arc<Event>, NoEvents>> + Send;
}

/// Why there are no more events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEvents {
    /// Too many waited: what came after them is lost to this subscriber, the disk has it.
    Missed,
    /// The node has ended.
    Ended,
}

/// Where a subscription begins.
#[derive(Debug)]
pub struct Beginning<E> {
    /// The newest message that was received before it; the nil UUID where there is none.
    pub after: MessageId,
    /// What happens since.
    pub events: E,
}

/// The owner of a profile, as its clients see it.
#[derive(Debug)]
pub struct Owner<N> {
    /// The node.
    pub node: N,
    /// Who we are.
    pub id: PeerId,
    /// UDP port.
    pub port: u16,
    /// `shell`, `daemon` or `command`.
    pub mode: &'static str,
    /// The profile's directory, for the size of what is in it.
    pub store_file: PathBuf,
    /// What it runs with, of the settings that count from its start on.
    pub settings: BTreeMap<String, Value>,
    /// When it was ready.
    pub since: Instant,
    /// What we call ourselves now.
    pub name: Mutex<String>,
    /// Whether somebody sits before it.
    pub keyboard: Mutex<Keyboard>,
    /// A client asked for the end.
    pub stop: Notify,
}

impl<N: Node> Owner<N> {
    /// Somebody sits down, or leaves: what was becomes what `change` gives; false where it gives nothing.
    pub(super) fn sit(&self, change: impl FnOnce(Keyboard) -> Option<Keyboard>) -> bool {
        let mut keyboard = self.keyboard.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(*keyboard);
        *keyboard = changed.unwrap_or(*keyboard);
        changed.is_some()
    }

    /// What we call ourselves now.
    pub fn name(&self) -> String {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Seeds in use.
    pub fn seeds(&self) -> Vec<String> {
        let via = self.settings.get("via").and_then(Value::as_array);
        via.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The seeds never hear of us.
    pub fn is_hidden(&self) -> bool {
        self.settings.get("visibility").and_then(Value::as_str) == Some("hidden")
    }

    /// We have another name from now on; the node knows it already.
    pub fn set_name(&self, name: &str) {
        name.clone_into(&mut self.name.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What every connection begins with.
    pub fn ready(&self) -> ReadyLine {
        ReadyLine {
            id: self.id,
            name: self.name(),
            port: self.port,
            addrs: self.node.addrs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            control: CONTROL_VERSION,
            after: None,
        }
    }
}

/// Where the lines of one call go.
#[derive(Debug, Clone)]
pub(super) struct Out {
    lines: mpsc::Sender<String>,
    tag: Option<Value>,
}

/// The client is gone: nobody waits for the rest of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone;

impl Out {
    /// Says `line`. Waits while the client does not read.
    pub(super) async fn say(&self, line: Line) -> Result<(), Gone> {
        let tagged = Tagged { line, tag: self.tag.clone() };
        let mut text = serde_json::to_string(&tagged).expect("a line has string keys and finite numbers only");
        text.push('\n');
        self.lines.send(text).await.map_err(|_| Gone)
    }
}

/// Serves one client until it closes its side and has its answers, or cannot be written to any more.
pub async fn serve<S, N>(stream: S, owner: Arc<Owner<N>>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    N: Node,
{
    serve_from_start(stream, owner, None).await;
}

/// The same for the client that its own process made the node for: its first subscription begins with
/// what happened since this `beginning`, so it misses nothing of a node that started before it.
pub async fn serve_from_start<S, N>(stream: S, owner: Arc<Owner<N>>, mut beginning: Option<Beginning<N::Events>>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    N: Node,
{
    let (read, mut write) = tokio::io::split(stream);
    let (lines, mut outgoing) = mpsc::channel::<String>(LINES_MAX);
    let out = Out { lines, tag: None };
    let reading = async move {
        if out.say(Line::Ready(owner.ready())).await.is_ok() {
            read_requests(BufReader::new(read), &owner, &out, &mut beginning).await;
        }
    };
    let writing = async move {
        while let Some(mut text) = outgoing.recv().await {
            // All that waits goes out in one write.
            while text.len() < 64 * 1024
                && let Ok(more) = outgoing.try_recv()
            {
                text.push_str(&more);
            }
            if write.write_all(text.as_bytes()).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    // Where writing fails, `outgoing` is dropped, and every call ends at its next line.
    tokio::join!(reading, writing);
}

async fn read_requests<R: AsyncRead + Unpin, N: Node>(
    mut read: BufReader<R>,
    owner: &Arc<Owner<N>>,
    out: &Out,
    beginning: &mut Option<Beginning<N::Events>>,
) {
    let mut calls = JoinSet::new();
    let mut subscriptions = JoinSet::new();
    let mut line = Vec::new();
    loop {
        while calls.try_join_next().is_some() {}
        while calls.len() >= CALLS_MAX {
            calls.join_next().await;
        }
        line.clear();
        let mut limited = (&mut read).take(LINE_LEN_MAX as u64);
        let len = tokio::select! {
            len = limited.read_until(b'\n', &mut line) => len.unwrap_or(0),
            () = out.lines.closed() => break,
        };
        if len == 0 {
            break;
        }
        if line.last() != Some(&b'\n') && len == LINE_LEN_MAX {
            let _ = out.say(Line::Error(ErrorLine::new("line-too-long", 2, "a line has at most 8 MiB"))).await;
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match Request::parse(&line) {
            Ok(Request { call, tag }) => {
                let out = Out { lines: out.lines.clone(), tag };
                let owner = owner.clone();
                match call {
                    Call::Subscribe(subscribe) => {
                        while subscriptions.try_join_next().is_some() {}
                        if subscriptions.len() >= CALLS_MAX {
                            let _ = out.say(Line::Error(ErrorLine::new("bad-request", 2, "too many subscriptions"))).await;
                            continue;
                        }
                        // Before the next request is read: what that one sets off is not missed.
                        let beginning = beginning.take().map_or_else(|| answer::beginning(&owner), Ok);
                        subscriptions.spawn(async move {
                            caught(&out, answer::subscribe(&owner, subscribe, beginning, &out)).await;
                        });
                    }
                    call => {
                        calls.spawn(async move { caught(&out, answer::run(&owner, call, &out)).await });
                    }
                }
            }
            Err((tag, error)) => {
                let ends = error.code == "malformed";
                let said = Out { lines: out.lines.clone(), tag }.say(Line::Error(error)).await;
                if ends || said.is_err() {
                    break;
                }
            }
        }
    }
    // Who closed its side still gets the answers to what it asked; nobody waits for the end of a subscription.
    drop(subscriptions);
    while calls.join_next().await.is_some() {}
}

/// Answers; where a mistake in the program ends that early, nobody waits for the rest of the answer.
async fn caught(out: &Out, answering: impl Future<Output = ()>) {
    let mut answering = pin!(answering);
    // Nothing of a call is used after it has panicked.
    let ended = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    if ended.await.is_err() {
        let text = "internal error: the owner failed at this call, and says on its stderr why";
        let _ = out.say(Line::Error(ErrorLine::new("internal", 1, text))).await;
    }
}

/// The wall clock.
pub(super) fn now() -> Unix {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Unix(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
