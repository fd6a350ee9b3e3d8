//! What may run on a host and is no node: a phonebook server, a liar in its place, a prober. Sans-IO like
//! the node. When it runs, and on what host, lives in `world::stations`.

use std::{any::Any, net::SocketAddr};

use p2pchat_udp::clock::{Instant, Now};

/// A program with one UDP socket.
pub(crate) trait Service: Any {
    /// A datagram came to its port.
    fn handle_datagram(&mut self, now: Now, from: SocketAddr, bytes: &mut [u8]);

    /// Its deadline has come.
    fn handle_timeout(&mut self, now: Now);

    /// The next datagram that leaves, into `out`, and where to.
    fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr>;

    /// When it wants to be called.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// Starts one life of a service, which knows nothing of the one before: from 32 bytes for its randomness, other
/// ones each time, and the clocks.
pub(crate) type Begin = Box<dyn FnMut([u8; 32], Now) -> Box<dyn Service>>;
