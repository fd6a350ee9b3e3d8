//! What went in and out of the sockets, counted where it happens and read by whoever asks. Which
//! datagrams made no sense is counted by the node.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::wire::DATAGRAM_LEN_MAX;

/// Shared counters of all sockets of a node. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    received: AtomicU64,
    received_bytes: AtomicU64,
    receive_failed: AtomicU64,
    misdirected: AtomicU64,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    send_full: AtomicU64,
    send_failed: AtomicU64,
}

/// The counters at one moment, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Datagrams received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Receive calls that failed.
    pub receive_failed: u64,
    /// Datagrams on a discovery socket that were truncated, sent to one address instead of the group, or
    /// came over another interface.
    pub misdirected: u64,
    /// Datagrams that the system took.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Datagrams lost because the system's buffer was full.
    pub send_full: u64,
    /// Datagrams that the system refused: no route, no such interface, a firewall.
    pub send_failed: u64,
}

impl Counters {
    /// The counters now.
    pub fn read(&self) -> Counts {
        let cells = &self.0;
        Counts {
            received: cells.received.load(Relaxed),
            received_bytes: cells.received_bytes.load(Relaxed),
            receive_failed: cells.receive_failed.load(Relaxed),
            misdirected: cells.misdirected.load(Relaxed),
            sent: cells.sent.load(Relaxed),
            sent_bytes: cells.sent_bytes.load(Relaxed),
            send_full: cells.send_full.load(Relaxed),
            send_failed: cells.send_failed.load(Relaxed),
        }
    }

    pub(super) fn received(&self, count: usize, len: usize) {
        self.0.received.fetch_add(count as u64, Relaxed);
        self.0.received_bytes.fetch_add(len as u64, Relaxed);
    }

    /// Counts a failed receive call, and makes its error one after which a socket is left alone until
    /// something new arrives: an error that stays must not turn the loop into a busy one.
    pub(super) fn not_received(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::WouldBlock {
            tracing::debug!("receive: {error}");
            self.0.receive_failed.fetch_add(1, Relaxed);
        }
        io::ErrorKind::WouldBlock.into()
    }

    pub(super) fn misdirected(&self) {
        self.0.misdirected.fetch_add(1, Relaxed);
    }

    pub(super) fn sent(&self, count: usize, len: usize, outcome: io::Result<()>) {
        let (cell, bytes) = match outcome {
            Ok(()) => (&self.0.sent, len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (&self.0.send_full, 0),
            // A session has asked whether the link carries so much, or has yet to notice that it does no more.
            Err(error) if len > DATAGRAM_LEN_MAX && error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32) => return,
            Err(error) => {
                tracing::debug!("send: {error}");
                (&self.0.send_failed, 0)
            }
        };
        cell.fetch_add(count as u64, Relaxed);
        self.0.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }
}
