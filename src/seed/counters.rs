//! What a seed has done, in numbers for its operator: never an address, an id or a name.

use crate::wire::phonebook::Query;

/// Since the seed started, all threads together, as of each thread's last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Records that are held now.
    pub records: u64,
    /// Pairs that are relayed for now.
    pub channels: u64,
    /// Queries for a cookie and nothing else.
    pub hello: u64,
    /// Queries of this kind with a valid cookie.
    pub register: u64,
    /// Likewise.
    pub refresh: u64,
    /// Likewise.
    pub lookup: u64,
    /// Likewise.
    pub find: u64,
    /// Likewise.
    pub search: u64,
    /// Likewise.
    pub unregister: u64,
    /// Likewise.
    pub knock: u64,
    /// Likewise.
    pub status: u64,
    /// Likewise.
    pub bind: u64,
    /// Queries of another version.
    pub other_version: u64,
    /// Cookies given.
    pub cookies: u64,
    /// Queries refused, for whatever reason.
    pub refused: u64,
    /// Of these, because too much was asked.
    pub busy: u64,
    /// Datagrams that were no query, nor a fellow's answer.
    pub dropped: u64,
    /// Answers that found no room in the queue.
    pub unsent: u64,
    /// Signatures checked.
    pub signatures: u64,
    /// Signatures that a token made needless.
    pub tokens: u64,
    /// Watchers that were told.
    pub told: u64,
    /// Knocks that were handed on.
    pub notified: u64,
    /// Datagrams that were relayed.
    pub relayed: u64,
    /// Their bytes.
    pub relayed_bytes: u64,
    /// Datagrams that were not, since their channel or all of them have had enough.
    pub over_budget: u64,
    /// Datagrams to be relayed from where no end of their channel is, or to an end that is not there.
    pub stray: u64,
    /// Records put into the depot.
    pub written: u64,
    /// Records fetched from there and believed.
    pub fetched: u64,
    /// Askers for whom the depot was too slow.
    pub late: u64,
    /// What lay in the depot and was not believed.
    pub disbelieved: u64,
}

impl Counters {
    /// Adds what another thread has done.
    pub(super) fn add(&mut self, other: &Self) {
        // Without `..`, so that a new one cannot be forgotten.
        let Self {
            records,
            channels,
            hello,
            register,
            refresh,
            lookup,
            find,
            search,
            unregister,
            knock,
            status,
            bind,
            other_version,
            cookies,
            refused,
            busy,
            dropped,
            unsent,
            signatures,
            tokens,
            told,
            notified,
            relayed,
            relayed_bytes,
            over_budget,
            stray,
            written,
            fetched,
            late,
            disbelieved,
        } = other;
        self.records += records;
        self.channels += channels;
        self.hello += hello;
        self.register += register;
        self.refresh += refresh;
        self.lookup += lookup;
        self.find += find;
        self.search += search;
        self.unregister += unregister;
        self.knock += knock;
        self.status += status;
        self.bind += bind;
        self.other_version += other_version;
        self.cookies += cookies;
        self.refused += refused;
        self.busy += busy;
        self.dropped += dropped;
        self.unsent += unsent;
        self.signatures += signatures;
        self.tokens += tokens;
        self.told += told;
        self.notified += notified;
        self.relayed += relayed;
        self.relayed_bytes += relayed_bytes;
        self.over_budget += over_budget;
        self.stray += stray;
        self.written += written;
        self.fetched += fetched;
        self.late += late;
        self.disbelieved += disbelieved;
    }

    /// Counts a query with a valid cookie under its kind.
    pub(super) fn count(&mut self, query: &Query<'_>) {
        let count = match query {
            Query::Hello => &mut self.hello,
            Query::Register { .. } => &mut self.register,
            Query::Refresh { .. } => &mut self.refresh,
            Query::Lookup { .. } => &mut self.lookup,
            Query::Find { .. } => &mut self.find,
            Query::Search { .. } => &mut self.search,
            Query::Unregister { .. } => &mut self.unregister,
            Query::Knock { .. } => &mut self.knock,
            Query::Status => &mut self.status,
            Query::Bind { .. } => &mut self.bind,
        };
        *count += 1;
    }
}
