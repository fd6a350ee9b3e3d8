//! What a seed has done, in numbers for its operator: never an address, an id or a name.

/// Since the seed started, all threads together, as of each thread's last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Records that are held now.
    pub records: u64,
    /// Queries that were for a cookie and nothing else.
    pub hello: u64,
    /// Queries with a valid cookie: by kind.
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
}

impl Counters {
    /// Adds what another thread has done.
    pub(super) fn add(&mut self, other: &Self) {
        // Every field is named, so that a new one cannot be forgotten.
        let Self { records, hello, register, refresh, lookup, find, search, unregister, knock, .. } = other;
        let Self { status, other_version, cookies, refused, busy, dropped, unsent, signatures, tokens, told, .. } = other;
        self.records += records;
        self.hello += hello;
        self.register += register;
        self.refresh += refresh;
        self.lookup += lookup;
        self.find += find;
        self.search += search;
        self.unregister += unregister;
        self.knock += knock;
        self.status += status;
        self.other_version += other_version;
        self.cookies += cookies;
        self.refused += refused;
        self.busy += busy;
        self.dropped += dropped;
        self.unsent += unsent;
        self.signatures += signatures;
        self.tokens += tokens;
        self.told += told;
    }
}
