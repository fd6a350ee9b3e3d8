//! A NAT for UDP over IPv4, in the terms of RFC 4787: which public port stands for whom, who may come in
//! by it, and for how long. Sans-IO and seeded: addresses and times in, addresses out. What carries
//! datagrams to it and away from it lives in `network::internet`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use crate::dice::Dice;

/// Mappings at most; past that nobody new gets out until one ends.
const MAPPINGS_MAX: usize = 1_024;
/// Remote ends that may come in by one mapping; past that no other is spoken to by it until one ends.
const PERMITS_MAX: usize = 256;
/// Refused datagrams that are remembered; past that they leave no trace.
const STRAYS_MAX: usize = 1_024;
/// How long a refused datagram is remembered (Linux: `nf_conntrack_udp_timeout`).
const STRAY_LIFE: Duration = Duration::from_secs(30);
/// Ports drawn before a new mapping is given up.
const DRAWS_MAX: usize = 64;
/// The lowest port that a NAT draws.
const PORT_MIN: u64 = 1_024;

/// How much of the remote end's address a decision looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dependence {
    /// Nothing of it.
    Independent,
    /// Its IP.
    Address,
    /// Its IP and port.
    AddressAndPort,
}

impl Dependence {
    /// What it looks at; the rest is zero.
    fn part(self, remote: SocketAddrV4) -> SocketAddrV4 {
        match self {
            Self::Independent => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
            Self::Address => SocketAddrV4::new(*remote.ip(), 0),
            Self::AddressAndPort => remote,
        }
    }
}

/// When a mapping ends (RFC 4787 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// So long after the last datagram out; with `inbound`, after the last one in or out.
    Idle { after: Duration, inbound: bool },
    /// So long after it was made, whatever the traffic. Several NATs that were measured do so.
    Absolute(Duration),
}

/// Which public port a mapping gets (RFC 4787 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ports {
    /// The inner one while it is free, else any.
    Preserved,
    /// Any.
    Random,
}

/// What a NAT does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// When a mapping is used for another remote end, too (RFC 4787 §4.1).
    pub(crate) mapping: Dependence,
    /// Who comes in: somebody that was sent to before, as far as this looks (RFC 4787 §5).
    pub(crate) filtering: Dependence,
    /// Two hosts behind it reach each other by their public addresses (RFC 4787 §6).
    pub(crate) hairpin: bool,
    pub(crate) timer: Timer,
    pub(crate) ports: Ports,
    /// A refused datagram takes its port from whoever would send to its source later, as Linux's conntrack
    /// does: a probe that comes too early spoils the path.
    pub(crate) poisoned: bool,
}

impl Kind {
    /// Everybody may come in.
    pub(crate) const FULL_CONE: Self = Self {
        mapping: Dependence::Independent,
        filtering: Dependence::Independent,
        hairpin: false,
        timer: Timer::Idle { after: Duration::from_secs(30), inbound: false },
        ports: Ports::Preserved,
        poisoned: false,
    };
    /// Whoever has the IP of somebody that was sent to.
    pub(crate) const RESTRICTED_CONE: Self = Self { filtering: Dependence::Address, ..Self::FULL_CONE };
    /// Whoever was sent to.
    pub(crate) const PORT_RESTRICTED_CONE: Self = Self { filtering: Dependence::AddressAndPort, ..Self::FULL_CONE };
    /// Another port, which nobody can guess, for every remote end.
    pub(crate) const SYMMETRIC: Self =
        Self { mapping: Dependence::AddressAndPort, ports: Ports::Random, ..Self::PORT_RESTRICTED_CONE };
    /// Linux's masquerade: a mapping for every remote end, all by the inner port while it is free there.
    pub(crate) const LINUX: Self = Self {
        mapping: Dependence::AddressAndPort,
        ports: Ports::Preserved,
        timer: Timer::Idle { after: Duration::from_secs(30), inbound: true },
        poisoned: true,
        ..Self::PORT_RESTRICTED_CONE
    };
}

#[derive(Debug, Clone)]
struct Mapping {
    port: u16,
    since: Duration,
    /// Whom it lets in, as far as the filter looks, and until when. It lives as long as one of them.
    permits: BTreeMap<SocketAddrV4, Duration>,
}

impl Mapping {
    fn until(&self) -> Option<Duration> {
        self.permits.values().max().copied()
    }
}

/// One NAT. Times count from any start and never go back.
#[derive(Debug)]
pub(crate) struct Nat {
    kind: Kind,
    public: Ipv4Addr,
    dice: Dice,
    /// By inner address, and as much of the remote one as mappings depend on.
    mappings: BTreeMap<(SocketAddrV4, SocketAddrV4), Mapping>,
    /// Public port and source of refused datagrams, and until when they are remembered.
    strays: BTreeMap<(u16, SocketAddrV4), Duration>,
}

/// Sorted: getters, `handle_*`, what befalls it.
impl Nat {
    /// Nothing is mapped; `dice` draw its ports.
    pub(crate) fn new(kind: Kind, public: Ipv4Addr, dice: Dice) -> Self {
        Self { kind, public, dice, mappings: BTreeMap::new(), strays: BTreeMap::new() }
    }

    /// Its address on the public side.
    pub(crate) fn public(&self) -> Ipv4Addr {
        self.public
    }

    /// A datagram wants out: the source it has from here on. None where there is no room or no port.
    pub(crate) fn handle_outbound(&mut self, now: Duration, inner: SocketAddrV4, remote: SocketAddrV4) -> Option<SocketAddrV4> {
        self.expire(now);
        let key = (inner, self.kind.mapping.part(remote));
        if !self.mappings.contains_key(&key) {
            let port = self.free_port(inner.port(), remote).filter(|_| self.mappings.len() < MAPPINGS_MAX)?;
            self.mappings.insert(key, Mapping { port, since: now, permits: BTreeMap::new() });
        }
        let mapping = self.mappings.get_mut(&key).expect("it was just made");
        let until = match self.kind.timer {
            Timer::Idle { after, .. } => now + after,
            Timer::Absolute(life) => mapping.since + life,
        };
        let part = self.kind.filtering.part(remote);
        if mapping.permits.len() >= PERMITS_MAX && !mapping.permits.contains_key(&part) {
            return None;
        }
        mapping.permits.insert(part, until);
        Some(SocketAddrV4::new(self.public, mapping.port))
    }

    /// A datagram wants in by a port: whom it is for. None where it is refused.
    pub(crate) fn handle_inbound(&mut self, now: Duration, remote: SocketAddrV4, port: u16) -> Option<SocketAddrV4> {
        self.expire(now);
        let part = self.kind.filtering.part(remote);
        for ((inner, _), mapping) in &mut self.mappings {
            let Some(until) = mapping.permits.get_mut(&part).filter(|_| mapping.port == port) else { continue };
            if let Timer::Idle { after, inbound: true } = self.kind.timer {
                *until = now + after;
            }
            return Some(*inner);
        }
        if self.kind.poisoned && self.strays.len() < STRAYS_MAX {
            self.strays.insert((port, remote), now + STRAY_LIFE);
        }
        None
    }

    /// A datagram from inside to a port of our own: its source as the other host sees it, which is the public
    /// one (RFC 4787, REQ-9a), and whom it is for.
    pub(crate) fn handle_hairpin(
        &mut self,
        now: Duration,
        inner: SocketAddrV4,
        port: u16,
    ) -> Option<(SocketAddrV4, SocketAddrV4)> {
        if !self.kind.hairpin {
            return None;
        }
        let source = self.handle_outbound(now, inner, SocketAddrV4::new(self.public, port))?;
        Some((source, self.handle_inbound(now, source, port)?))
    }

    /// All mappings are lost.
    pub(crate) fn reboot(&mut self) {
        self.mappings.clear();
        self.strays.clear();
    }

    /// It is of another kind from now on; of mappings that are one now, the one used last stays.
    pub(crate) fn change(&mut self, kind: Kind) {
        self.kind = kind;
        for ((inner, remote), mut mapping) in std::mem::take(&mut self.mappings) {
            let permits = mapping.permits.into_iter().map(|(remote, until)| (until, kind.filtering.part(remote)));
            mapping.permits = permits.collect::<BTreeSet<_>>().into_iter().map(|(until, remote)| (remote, until)).collect();
            let known = self.mappings.entry((inner, kind.mapping.part(remote))).or_insert_with(|| mapping.clone());
            if known.until() < mapping.until() {
                *known = mapping;
            }
        }
    }

    /// The provider gives it another address; the mappings go with the old one.
    pub(crate) fn renumber(&mut self, public: Ipv4Addr) {
        self.public = public;
        self.reboot();
    }

    fn expire(&mut self, now: Duration) {
        self.mappings.retain(|_, mapping| {
            mapping.permits.retain(|_, until| *until > now);
            !mapping.permits.is_empty()
        });
        self.strays.retain(|_, until| *until > now);
    }

    fn free_port(&mut self, inner: u16, remote: SocketAddrV4) -> Option<u16> {
        if self.kind.ports == Ports::Preserved && self.is_free(inner, remote) {
            return Some(inner);
        }
        (0..DRAWS_MAX).find_map(|_| {
            let port = self.dice.range(PORT_MIN..=u64::from(u16::MAX)) as u16;
            self.is_free(port, remote).then_some(port)
        })
    }

    /// One port may stand for two mappings where the remote ends keep them apart.
    fn is_free(&self, port: u16, remote: SocketAddrV4) -> bool {
        let part = self.kind.mapping.part(remote);
        let is_mapped = self.mappings.iter().any(|((_, other), mapping)| mapping.port == port && *other == part);
        !is_mapped && !self.strays.contains_key(&(port, remote))
    }
}

#[cfg(test)]
mod tests;
