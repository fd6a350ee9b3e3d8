//! The client's side of the protocol, over any stream of bytes: several calls at once, kept apart by
//! their tags. Which stream it is (a socket to the owner, a pipe in memory) does not matter here.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc,
};

use super::{
    LINE_LEN_MAX,
    call::Subscribe,
    proto::{Call, ErrorLine, Line, ReadyLine, Request, Tagged},
};

/// Bytes of lines that a caller may leave unread before its call is dropped with `too-slow`: what a
/// caller takes at once never comes near, and one that forgot a subscription costs no more.
const UNREAD_LEN_MAX: usize = 64 * 1024 * 1024;

/// A connection to an owner. Cheap to clone; it ends with the last clone and the last [`Replies`].
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tags: AtomicU64,
    calls: Calls,
    requests: mpsc::UnboundedSender<String>,
    ready: ReadyLine,
}

/// Where the lines of each open call go; `None` once the connection is gone.
type Calls = Arc<Mutex<Option<BTreeMap<u64, Caller>>>>;

#[derive(Debug)]
struct Caller {
    lines: mpsc::UnboundedSender<(Line, usize)>,
    unread: Arc<AtomicUsize>,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The owner's answer. Nothing was changed unless it says so.
    #[error("{0}")]
    Refused(ErrorLine),
    /// The owner is gone: what was asked may or may not have been done. Asking the next owner again with
    /// the same message ids is harmless.
    #[error("the owner of the profile has ended")]
    Lost,
}

impl Client {
    /// Talks to the server at the other end of `stream`, once it has said `ready`. Must be called in a
    /// tokio runtime: two tasks carry the lines.
    pub async fn connect<S>(stream: S) -> Result<Self, CallError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(stream);
        let mut read = BufReader::new(read);
        let ready = match next_line(&mut read).await {
            Some((Tagged { line: Line::Ready(ready), .. }, _)) => ready,
            Some((Tagged { line: Line::Error(error), .. }, _)) => return Err(CallError::Refused(error)),
            _ => return Err(CallError::Lost),
        };
        let calls: Calls = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let (requests, outgoing) = mpsc::unbounded_channel();
        tokio::spawn(write_requests(write, outgoing));
        tokio::spawn(read_lines(read, calls.clone()));
        Ok(Self { shared: Arc::new(Shared { tags: AtomicU64::new(1), calls, requests, ready }) })
    }

    /// What the server said first.
    pub fn ready(&self) -> &ReadyLine {
        &self.shared.ready
    }

    /// Asks. The answer comes line by line; nothing need be awaited for the request to leave.
    pub fn call(&self, call: Call) -> Replies {
        let tag = self.shared.tags.fetch_add(1, Ordering::Relaxed);
        let (sender, lines) = mpsc::unbounded_channel();
        let unread = Arc::new(AtomicUsize::new(0));
        if let Some(calls) = lock(&self.shared.calls).as_mut() {
            calls.insert(tag, Caller { lines: sender, unread: unread.clone() });
        }
        let request = Request { call, tag: Some(tag.into()) };
        // Where the writer is gone, so is the reader, and `lines` ends.
        let _ = self.shared.requests.send(request.to_json());
        Replies { lines, unread, ended: false, _client: self.clone() }
    }

    /// All events from now on: the first line is `ready`, from there on nothing is missed.
    pub fn subscribe(&self, subscribe: Subscribe) -> Replies {
        self.call(Call::Subscribe(subscribe))
    }
}

/// The answer to a call: its lines, until it is done.
#[derive(Debug)]
pub struct Replies {
    lines: mpsc::UnboundedReceiver<(Line, usize)>,
    unread: Arc<AtomicUsize>,
    ended: bool,
    _client: Client,
}

impl Replies {
    /// The next line; `None` once the call is done; its error, once, where it failed. May be dropped and
    /// asked again (cancel safe).
    pub async fn next(&mut self) -> Option<Result<Line, CallError>> {
        if self.ended {
            return None;
        }
        let answer = match self.lines.recv().await {
            Some((line, len)) => {
                self.unread.fetch_sub(len, Ordering::Relaxed);
                match line {
                    Line::Done => None,
                    Line::Error(error) => Some(Err(CallError::Refused(error))),
                    line => Some(Ok(line)),
                }
            }
            None => Some(Err(CallError::Lost)),
        };
        self.ended = !matches!(answer, Some(Ok(_)));
        answer
    }

    /// All lines, once the call is done.
    pub async fn all(mut self) -> Result<Vec<Line>, CallError> {
        let mut lines = Vec::new();
        while let Some(line) = self.next().await {
            lines.push(line?);
        }
        Ok(lines)
    }
}

fn lock(calls: &Calls) -> std::sync::MutexGuard<'_, Option<BTreeMap<u64, Caller>>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write_requests<W: AsyncWrite + Unpin>(mut write: W, mut requests: mpsc::UnboundedReceiver<String>) {
    while let Some(mut line) = requests.recv().await {
        line.push('\n');
        if write.write_all(line.as_bytes()).await.is_err() || write.flush().await.is_err() {
            return;
        }
    }
    let _ = write.shutdown().await;
}

async fn read_lines<R: AsyncRead + Unpin>(mut read: BufReader<R>, calls: Calls) {
    while let Some((tagged, len)) = next_line(&mut read).await {
        let ends = matches!(tagged.line, Line::Done | Line::Error(_));
        let Some(tag) = tagged.tag.as_ref().and_then(serde_json::Value::as_u64) else {
            // An error without a tag is about the connection: every call ends by it.
            if ends && let Some(callers) = lock(&calls).take() {
                for caller in callers.into_values() {
                    let _ = caller.lines.send((tagged.line.clone(), 0));
                }
            }
            continue;
        };
        let mut guard = lock(&calls);
        let Some(callers) = guard.as_mut() else { return };
        let Some(caller) = callers.get(&tag) else { continue };
        let too_slow = caller.unread.fetch_add(len, Ordering::Relaxed) > UNREAD_LEN_MAX;
        let line =
            if too_slow { Line::Error(ErrorLine::new("too-slow", 1, "events were not read in time")) } else { tagged.line };
        if caller.lines.send((line, len)).is_err() || ends || too_slow {
            callers.remove(&tag);
        }
    }
    *lock(&calls) = None;
}

/// The next line that makes sense; `None` at the end of the stream, or where a line is longer than
/// allowed.
async fn next_line<R: AsyncRead + Unpin>(read: &mut BufReader<R>) -> Option<(Tagged, usize)> {
    use tokio::io::AsyncReadExt;
    let mut line = Vec::new();
    loop {
        line.clear();
        let len = read.take(LINE_LEN_MAX as u64).read_until(b'\n', &mut line).await.ok()?;
        if line.last() != Some(&b'\n') {
            return None;
        }
        // A line of a later version that this one cannot read is skipped, as an unknown event is.
        if let Ok(tagged) = serde_json::from_slice(&line) {
            return Some((tagged, len));
        }
    }
}
