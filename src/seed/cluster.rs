//! What the seeds of a cluster have in common: a depot, which is a store that is not ours. A thread's part
//! of it: what is to be put there and fetched, who waits for that, and what was fetched lately. The
//! connection to the depot is `net`'s affair, and what is answered is `answers`'.
//!
//! The directory in memory is always the first level: what it has is never fetched. A depot that is slow or
//! gone costs an asker 200 ms at most; a depot that lies is not believed.

mod expiring;
pub(super) mod value;
mod written;

pub use self::value::VALUE_LEN_MAX;

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

pub(super) use self::written::Known;
use self::{expiring::Expiring, written::Written};
use super::Asked;
use crate::{
    clock::{Instant, Now},
    text::name_key,
    wire::{
        SIGNATURE_LEN,
        phonebook::{Query, RawId},
        record::Claim,
    },
};

/// Seconds for which a record stays in the depot after it was put there: it is put there anew with the first
/// refresh after [`WRITE_INTERVAL`], and two refreshes may be lost.
pub const HELD: u32 = 150;
/// A record that has not changed is put into the depot once in this time at most.
pub const WRITE_INTERVAL: Duration = Duration::from_secs(75);
/// Who asks waits no longer than this for the depot.
pub const FETCH_TIMEOUT: Duration = Duration::from_millis(200);
/// What was fetched, or was not there, is not fetched again for this time.
const RECENT_FOR: Duration = Duration::from_secs(2);
/// Calls to put something that wait for the connection, at most; what is beyond is put with the next refresh.
const PUTS_MAX: usize = 1_024;
/// Fetches and knocks under way, at most; what is beyond is answered without the depot.
const FETCHES_MAX: usize = 4_096;
/// Askers who wait for one fetch, at most; who comes later is answered without the depot.
const WAITERS_MAX: usize = 16;
/// Results of fetches kept, at most; the oldest gives way.
const RECENT_MAX: usize = 1_024;
/// Holders of one name that the depot is asked for, at most: an answer has room for no more.
pub const FETCHED_MAX: usize = crate::wire::phonebook::ENTRIES_MAX;

/// Names one start of one seed process, so that the others can tell whose a value is.
pub type Tag = [u8; 8];

/// What the depot is to do. All of it are bytes that it need not understand, but for the beginning of a value,
/// see `value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Keep a value. [`Reply::Newer`] where it may not take the place of what is there.
    Put(Put),
    /// Give what is there. [`Reply::Fetched`] follows.
    Fetch(Sought),
    /// Hand this to another seed. [`Reply::Knocked`] follows.
    Knock {
        /// Echoed.
        number: u64,
        /// To whom.
        to: Tag,
        /// What [`Reply::Knock`] brings there.
        value: Vec<u8>,
    },
}

/// A value for the depot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Under which it is found.
    pub id: RawId,
    /// Network and name under which it is found too; none for a farewell.
    pub name: Option<([u8; 8], String)>,
    /// See `value`.
    pub value: Vec<u8>,
    /// For how long.
    pub seconds: u32,
    /// What it may take the place of.
    pub over: Over,
}

/// What a value may take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Over {
    /// An older record, or the same seen at the same address.
    Older,
    /// Also the same seen elsewhere: its owner has shown a token.
    Same,
    /// Whatever is there: it was not a record.
    Anything,
}

/// What is looked for in the depot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sought {
    /// Who this is.
    Id(RawId),
    /// Who is called so, by `text::name_key`, in which network.
    Name([u8; 8], String),
}

impl Sought {
    /// True where this is what was looked for.
    pub(super) fn fits(&self, claim: &Claim<'_>) -> bool {
        match self {
            Self::Id(id) => claim.id == *id,
            Self::Name(network, key) => claim.network == *network && name_key(claim.name) == *key,
        }
    }
}

/// What comes from the depot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The connection is there, or is gone.
    There(bool),
    /// What was sought, as it lay there: anybody may have written it.
    Fetched {
        /// As in the call.
        sought: Sought,
        /// At most [`FETCHED_MAX`].
        values: Vec<Vec<u8>>,
    },
    /// A put was not done, because of this.
    Newer {
        /// As in the call.
        id: RawId,
        /// What lies there.
        value: Vec<u8>,
    },
    /// What became of [`Call::Knock`].
    Knocked {
        /// As in the call.
        number: u64,
        /// The other seed is there.
        is_there: bool,
    },
    /// Another seed hands on a knock, to somebody who is registered here.
    Knock {
        /// As in the call.
        value: Vec<u8>,
    },
}

/// A record that another seed has taken up, after all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) id: RawId,
    pub(super) record: Vec<u8>,
    pub(super) signature: [u8; SIGNATURE_LEN],
    /// As the other seed saw it.
    pub(super) seen: SocketAddr,
    /// By the other seed's clock, unix seconds.
    pub(super) heard: u64,
    /// The other seed.
    pub(super) by: Tag,
}

/// What an asker wants once the fetch has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    Lookup { watch: bool },
    Find,
    Knock { sealed: Vec<u8> },
}

/// An asker who waits for the depot.
#[derive(Debug)]
pub(super) struct Waiter {
    at: SocketAddr,
    txid: u64,
    len: usize,
    pub(super) want: Want,
}

impl Waiter {
    pub(super) fn new(asked: &Asked<'_>, want: Want) -> Self {
        Self { at: asked.from, txid: asked.txid, len: asked.len, want }
    }

    /// The query once more.
    pub(super) fn asked<'a>(&'a self, now: Now, sought: &'a Sought) -> Asked<'a> {
        let query = match (sought, &self.want) {
            (Sought::Id(id), Want::Lookup { watch }) => Query::Lookup { id: *id, watch: *watch },
            (Sought::Id(to), Want::Knock { sealed }) => Query::Knock { to: *to, sealed },
            (Sought::Name(network, name), _) => Query::Find { network: *network, name },
            (Sought::Id(id), Want::Find) => Query::Lookup { id: *id, watch: false },
        };
        Asked { now, from: self.at, txid: self.txid, len: self.len, query }
    }
}

/// A knock that is handed on.
pub(super) struct Handing {
    pub(super) to: RawId,
    pub(super) seen: SocketAddr,
    pub(super) waiter: Waiter,
}

/// A thread's part.
pub(super) struct Cluster {
    pub(super) tag: Tag,
    is_there: bool,
    written: Written,
    /// Fetches and knocks go first: somebody waits for them.
    urgent: VecDeque<Call>,
    puts: VecDeque<Put>,
    pending: Expiring<Sought, Vec<Waiter>>,
    handing: Expiring<u64, Handing>,
    recent: Expiring<Sought, Vec<Remote>>,
    next_number: u64,
}

impl Cluster {
    pub(super) fn new(tag: Tag, hash_key: [u8; 16]) -> Self {
        Self {
            tag,
            is_there: false,
            written: Written::new(hash_key),
            urgent: VecDeque::new(),
            puts: VecDeque::new(),
            pending: Expiring::default(),
            handing: Expiring::default(),
            recent: Expiring::default(),
            next_number: 0,
        }
    }

    /// A depot that comes back may have lost everything: all that is refreshed is put there again.
    pub(super) fn set_there(&mut self, is_there: bool) {
        self.is_there = is_there;
        self.written.clear();
        self.puts.clear();
        self.urgent.clear();
    }

    /// True where this is not in the depot yet, or should be put there again.
    pub(super) fn is_due(&self, now: Instant, what: Known<'_>) -> bool {
        self.is_there && self.puts.len() < PUTS_MAX && !self.written.is_fresh(now, what)
    }

    pub(super) fn put(&mut self, now: Instant, what: Known<'_>, put: Put) {
        let is_due = self.is_due(now, what) || self.is_there && put.over == Over::Anything && self.puts.len() < PUTS_MAX;
        if is_due && self.written.note(now, what) {
            self.puts.push_back(put);
        }
    }

    pub(super) fn poll_call(&mut self) -> Option<Call> {
        self.urgent.pop_front().or_else(|| self.puts.pop_front().map(Call::Put))
    }

    /// What was fetched lately; empty where it was not there.
    pub(super) fn recent(&self, now: Instant, sought: &Sought) -> Option<&[Remote]> {
        self.recent.at(now, sought).map(Vec::as_slice)
    }

    /// Has the asker wait for a fetch. False where it must not: there is no depot, or too much under way.
    pub(super) fn wait(&mut self, now: Instant, sought: &Sought, waiter: Waiter) -> bool {
        if !self.is_there {
            return false;
        }
        if let Some(waiters) = self.pending.at_mut(now, sought) {
            let has_room = waiters.len() < WAITERS_MAX;
            if has_room {
                waiters.push(waiter);
            }
            return has_room;
        }
        // Those who wait for one that is over are answered soon, and must not make room for this asker.
        let is_over = self.pending.contains(sought);
        let has_room = !is_over && self.pending.len() < FETCHES_MAX && self.urgent.len() < FETCHES_MAX;
        if has_room {
            self.urgent.push_back(Call::Fetch(sought.clone()));
            self.pending.insert(now + FETCH_TIMEOUT, sought.clone(), vec![waiter]);
        }
        has_room
    }

    /// The fetch has ended with this. Who waited for it.
    pub(super) fn fetched(&mut self, now: Instant, sought: &Sought, found: Vec<Remote>) -> Vec<Waiter> {
        while self.recent.len() >= RECENT_MAX {
            self.recent.pop_first();
        }
        self.recent.insert(now + RECENT_FOR, sought.clone(), found);
        self.pending.remove(sought).unwrap_or_default()
    }

    /// Hands a knock to the seed `to`. Gives it back where that cannot be.
    pub(super) fn hand(&mut self, now: Instant, to: Tag, value: Vec<u8>, handing: Handing) -> Option<Handing> {
        if !self.is_there || self.handing.len() >= FETCHES_MAX || self.urgent.len() >= FETCHES_MAX {
            return Some(handing);
        }
        self.next_number += 1;
        self.urgent.push_back(Call::Knock { number: self.next_number, to, value });
        self.handing.insert(now + FETCH_TIMEOUT, self.next_number, handing);
        None
    }

    pub(super) fn handed(&mut self, number: u64) -> Option<Handing> {
        self.handing.remove(&number)
    }

    /// A fetch that took too long, with who waited for it.
    pub(super) fn late_fetch(&mut self, now: Instant) -> Option<(Sought, Vec<Waiter>)> {
        self.pending.pop_over(now)
    }

    /// A knock of which nobody has said in time that it was handed on.
    pub(super) fn late_knock(&mut self, now: Instant) -> Option<Handing> {
        self.handing.pop_over(now).map(|(_, handing)| handing)
    }

    /// When somebody has waited long enough.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.pending.next(), self.handing.next()].into_iter().flatten().min()
    }

    /// Forgets what is over.
    pub(super) fn sweep(&mut self, now: Instant) {
        while self.recent.pop_over(now).is_some() {}
        self.written.sweep(now);
    }
}
