//! Datagrams to many addresses that leave together: a seed answers everybody who asked in one turn with few
//! system calls. How many to one address leave stands in `socket`.

use std::{io, net::SocketAddr, ops::Range};

use super::{SessionSocket, Sockets};
use crate::net::counters::Counters;

/// Datagrams in one batch at most.
pub const BATCH_DATAGRAMS_MAX: usize = 64;

/// Datagrams that have not left yet.
#[derive(Debug, Default)]
pub struct Batch {
    parts: Vec<(SocketAddr, Range<usize>)>,
    bytes: Vec<u8>,
}

impl Batch {
    /// True where it should leave before more is put in.
    pub fn is_full(&self) -> bool {
        self.parts.len() >= BATCH_DATAGRAMS_MAX
    }

    /// Puts one in.
    pub fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.parts.push((to, start..self.bytes.len()));
    }
}

impl Sockets {
    /// Sends all of it, and leaves it empty.
    pub fn send_batch(&mut self, batch: &mut Batch) {
        for (socket, is_v4) in [(&self.session.v4, true), (&self.session.v6, false)] {
            let of_socket = batch.parts.iter().filter(|(to, _)| to.is_ipv4() == is_v4);
            let parts: Vec<_> = of_socket.map(|(to, range)| (*to, batch.bytes.get(range.clone()).unwrap_or_default())).collect();
            match socket {
                _ if parts.is_empty() => {}
                Some(socket) => socket.send_each(&parts, &self.counters),
                None => self.counters.sent(parts.len(), 0, Err(io::ErrorKind::AddrNotAvailable.into())),
            }
        }
        batch.parts.clear();
        batch.bytes.clear();
    }
}

impl SessionSocket {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn send_each(&self, parts: &[(SocketAddr, &[u8])], counters: &Counters) {
        use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
        use std::{io::IoSlice, os::fd::AsRawFd};

        let addrs: Vec<_> = parts.iter().map(|(to, _)| Some(SockaddrStorage::from(*to))).collect();
        let slices: Vec<_> = parts.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
        let mut headers = MultiHeaders::preallocate(parts.len(), None);
        let (mut addrs, mut slices, mut parts) = (addrs.as_slice(), slices.as_slice(), parts);
        while let Some((_, first)) = parts.first() {
            let sent = sendmmsg(self.io.as_raw_fd(), &mut headers, slices, addrs, [], MsgFlags::empty());
            let (count, len, outcome) = match sent {
                Ok(sent) => {
                    let count = sent.count().max(1);
                    (count, parts.iter().take(count).map(|(_, bytes)| bytes.len()).sum(), Ok(()))
                }
                // What has no room now, the rest has none either.
                Err(error) if error == nix::errno::Errno::EWOULDBLOCK => (parts.len(), 0, Err(error.into())),
                // The first cannot be sent; that says nothing of the rest.
                Err(error) => (1, first.len(), Err(error.into())),
            };
            counters.sent(count, len, outcome);
            addrs = addrs.get(count..).unwrap_or_default();
            slices = slices.get(count..).unwrap_or_default();
            parts = parts.get(count..).unwrap_or_default();
        }
    }

    /// One by one, where the system has no call for several.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn send_each(&self, parts: &[(SocketAddr, &[u8])], counters: &Counters) {
        for (to, bytes) in parts {
            counters.sent(1, bytes.len(), self.send(*to, bytes, bytes.len(), 1));
        }
    }
}
