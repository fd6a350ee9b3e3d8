//! Signals that end the program, or have a daemon read its settings again.

use std::{cell::RefCell, future::Future, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::End;

/// SIGHUP: the terminal is gone; to a daemon: read the settings again.
pub(super) const HANGUP: i32 = 1;
/// SIGINT.
pub const INTERRUPT: i32 = 2;
/// SIGTERM.
pub(super) const TERMINATE: i32 = 15;

/// What was signalled since the start.
#[derive(Debug)]
pub struct Signals {
    streams: RefCell<Vec<(i32, Signal)>>,
}

impl Signals {
    /// From now on signals no longer end the program by themselves. Must be called in a runtime.
    pub fn new() -> io::Result<Self> {
        let mut streams = vec![(INTERRUPT, signal(SignalKind::interrupt())?), (TERMINATE, signal(SignalKind::terminate())?)];
        if !hangup_is_ignored() {
            streams.push((HANGUP, signal(SignalKind::hangup())?));
        }
        Ok(Self { streams: RefCell::new(streams) })
    }

    /// A daemon has no terminal to lose: to it SIGHUP always means to read its settings again.
    pub fn hear_hangups(&self) -> io::Result<()> {
        let mut streams = self.streams.borrow_mut();
        if streams.iter().all(|(number, _)| *number != HANGUP) {
            streams.push((HANGUP, signal(SignalKind::hangup())?));
        }
        Ok(())
    }

    /// The next one.
    pub async fn next(&self) -> i32 {
        std::future::poll_fn(|cx| {
            for (number, stream) in self.streams.borrow_mut().iter_mut() {
                if stream.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// What `work` gives, unless a signal comes first.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            done = work => Ok(done),
            signal = self.next() => Err(End::Signal(signal)),
        }
    }
}

/// True under `nohup`, whose wish to go on is kept.
#[cfg(target_os = "linux")]
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// The system does not say it in a file.
#[cfg(not(target_os = "linux"))]
fn hangup_is_ignored() -> bool {
    false
}
