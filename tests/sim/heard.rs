//! How much arrived at a host, and from whom: what a victim would say.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::network::Parcel;

/// Sources that are told apart; what comes from later ones counts only in the sum.
const SOURCES_MAX: usize = 65_536;

/// Datagrams and their bytes (UDP payload).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.datagrams += 1;
        self.bytes += bytes as u64;
    }
}

/// Everything that arrived at one host, at whatever port.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    pub(crate) all: Amount,
    /// By source as the host sees it.
    pub(crate) by_source: BTreeMap<SocketAddr, Amount>,
}

impl Heard {
    /// One more datagram arrived.
    pub(crate) fn count(&mut self, parcel: &Parcel) {
        self.all.add(parcel.bytes.len());
        if self.by_source.len() < SOURCES_MAX || self.by_source.contains_key(&parcel.from) {
            self.by_source.entry(parcel.from).or_default().add(parcel.bytes.len());
        }
    }
}
