//! What the other seeds of a cluster have: putting records where they find them, asking for theirs, handing
//! knocks on. Nothing that comes from the depot is believed before its signature was checked here.

use super::{
    busy, encode_found, header, len_max,
    registering::{CLOCK_AHEAD_MAX, SINGLE_COST},
};
use crate::{
    clock::Now,
    crypto::record::verify_claim,
    seed::{
        Asked, Seed,
        cluster::{
            Call, Cluster, FETCHED_MAX, HELD, Handing, Known, Over, Put, Remote, Reply, Sought, Tag, Waiter, Want,
            value::{KnockValue, Value},
        },
    },
    text::name_key,
    wire::{
        SIGNATURE_LEN,
        addr::is_dialable,
        phonebook::{Answer, Entry, Query, RawId},
        record::{Claim, RECORD_LIFETIME_MAX},
    },
};

/// Why a value is not used.
enum Unused {
    /// It is over, or says nothing that we do not know.
    Over,
    /// No seed wrote this.
    Wrong,
    /// There is no time to check it.
    Busy,
}

impl Remote {
    /// As it is handed on.
    pub(super) fn entry(&self, now: Now) -> Entry<'_> {
        let age = u16::try_from(unix(now).saturating_sub(self.heard)).unwrap_or(u16::MAX);
        Entry { record: &self.record, signature: self.signature, seen: self.seen, age }
    }
}

impl Seed {
    /// From now on it shares a depot with other seeds. `tag` is random, and the same in all threads.
    pub fn join(&mut self, tag: Tag) {
        self.cluster = Some(Cluster::new(tag, self.shared.hash_key));
    }

    /// What the depot is to do next.
    pub fn poll_call(&mut self) -> Option<Call> {
        let call = self.cluster.as_mut()?.poll_call()?;
        self.counters.written += u64::from(matches!(call, Call::Put(_)));
        Some(call)
    }

    /// The depot says something.
    pub fn handle_reply(&mut self, now: Now, reply: Reply) {
        let Some(cluster) = &mut self.cluster else { return };
        match reply {
            Reply::There(is_there) => cluster.set_there(is_there),
            Reply::Fetched { sought, values } => self.on_fetched(now, &sought, &values),
            Reply::Newer { id, value } => self.on_newer(now, id, &value),
            Reply::Knocked { number, is_there } => {
                if let Some(handing) = cluster.handed(number) {
                    self.settle_knock(now, &handing, is_there);
                }
            }
            Reply::Knock { value } => self.on_knock_handed(now, &value),
        }
    }

    /// Whoever has waited for the depot for long enough is answered without it.
    pub(in crate::seed) fn settle_late(&mut self, now: Now) {
        while let Some((sought, waiters)) = self.cluster.as_mut().and_then(|cluster| cluster.late_fetch(now.instant)) {
            self.counters.late += waiters.len() as u64;
            waiters.iter().for_each(|waiter| self.settle(now, &sought, waiter));
        }
        while let Some(handing) = self.cluster.as_mut().and_then(|cluster| cluster.late_knock(now.instant)) {
            self.counters.late += 1;
            self.settle_knock(now, &handing, false);
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.sweep(now.instant);
        }
    }

    pub(super) fn is_due(&self, now: Now, what: Known<'_>) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.is_due(now.instant, what))
    }

    /// Has a record, or a farewell, that was checked be put into the depot, where it is not there yet.
    pub(super) fn put(&mut self, asked: &Asked<'_>, record: &[u8], signature: &[u8; SIGNATURE_LEN], over: Over) {
        let Some(cluster) = &mut self.cluster else { return };
        let Ok(claim) = Claim::decode(record) else { return };
        let (heard, left) = (unix(asked.now), claim.expires().saturating_sub(unix(asked.now)));
        let value = Value { seq: claim.seq, seen: asked.from, heard, by: cluster.tag, signature: *signature, record };
        let (name, seconds) = if claim.is_farewell() {
            // Until the last record that it takes away is over.
            (None, u64::from(RECORD_LIFETIME_MAX))
        } else {
            (Some((claim.network, name_key(claim.name))), left.min(HELD.into()))
        };
        let seconds = u32::try_from(seconds).unwrap_or(HELD).max(1);
        let what = Known { id: &claim.id, seq: claim.seq, seen: asked.from };
        cluster.put(asked.now.instant, what, Put { id: claim.id, name, value: value.encode(), seconds, over });
    }

    /// True where the asker now waits for the depot.
    pub(super) fn waits(&mut self, asked: &Asked<'_>, sought: impl Fn() -> Sought, want: impl FnOnce() -> Want) -> bool {
        let Some(cluster) = &mut self.cluster else { return false };
        let sought = sought();
        cluster.recent(asked.now.instant, &sought).is_none()
            && cluster.wait(asked.now.instant, &sought, Waiter::new(asked, want()))
    }

    /// What was fetched lately.
    pub(super) fn elsewhere(&self, now: Now, sought: &Sought) -> &[Remote] {
        self.cluster.as_ref().and_then(|cluster| cluster.recent(now.instant, sought)).unwrap_or_default()
    }

    /// Answers with the entry that another seed has, where there is one.
    pub(super) fn found_elsewhere(&mut self, asked: &Asked<'_>, id: &RawId) -> bool {
        let mut datagram = self.buffer();
        let remote = self.elsewhere(asked.now, &Sought::Id(*id)).first();
        if let Some(remote) = remote {
            encode_found(asked.txid, vec![remote.entry(asked.now)], false, len_max(asked), &mut datagram);
        }
        let is_found = remote.is_some();
        if is_found {
            self.push(asked.from, datagram);
        } else {
            self.spare.push(datagram);
        }
        is_found
    }

    fn on_fetched(&mut self, now: Now, sought: &Sought, values: &[Vec<u8>]) {
        let mut found: Vec<Remote> = Vec::new();
        for value in values.iter().take(FETCHED_MAX) {
            match self.believe(now, value, |claim| sought.fits(claim)) {
                Ok(remote) if found.iter().all(|known| known.id != remote.id) => found.push(remote),
                Ok(_) | Err(Unused::Over | Unused::Busy) => {}
                Err(Unused::Wrong) => self.counters.disbelieved += 1,
            }
        }
        self.counters.fetched += found.len() as u64;
        let Some(cluster) = &mut self.cluster else { return };
        let waiters = cluster.fetched(now.instant, sought, found);
        waiters.iter().for_each(|waiter| self.settle(now, sought, waiter));
    }

    /// A value becomes a record of somebody who is there, or nothing.
    fn believe(&mut self, now: Now, value: &[u8], fits: impl Fn(&Claim<'_>) -> bool) -> Result<Remote, Unused> {
        let value = Value::decode(value).ok_or(Unused::Wrong)?;
        if self.cluster.as_ref().is_some_and(|cluster| cluster.tag == value.by) {
            // What we wrote ourselves is in memory, or over.
            return Err(Unused::Over);
        }
        let (claim, unix) = (Claim::decode(value.record).map_err(|_| Unused::Wrong)?, unix(now));
        let is_sound = fits(&claim) && claim.seq == value.seq && is_dialable(&value.seen, self.shared.config.loopback);
        if !is_sound || claim.issued.max(value.heard) > unix.saturating_add(CLOCK_AHEAD_MAX) {
            return Err(Unused::Wrong);
        }
        if claim.is_farewell() || claim.expires() <= unix || value.heard.saturating_add(HELD.into()) <= unix {
            return Err(Unused::Over);
        }
        self.check_value(now, &claim.id, &value)?;
        let Value { seen, heard, by, signature, record, .. } = value;
        Ok(Remote { id: claim.id, record: record.to_vec(), signature, seen, heard, by })
    }

    fn check_value(&mut self, now: Now, id: &RawId, value: &Value<'_>) -> Result<(), Unused> {
        self.count_signature(now, SINGLE_COST).map_err(|_| Unused::Busy)?;
        verify_claim(id, value.record, &value.signature).map(drop).map_err(|_| Unused::Wrong)
    }

    /// Our record of `id` is older than another seed's, or something lies in its place that is no record.
    fn on_newer(&mut self, now: Now, id: RawId, bytes: &[u8]) {
        let newer = Value::decode(bytes).and_then(|value| Some((value, Claim::decode(value.record).ok()?)));
        let newer = newer.filter(|(value, claim)| claim.id == id && claim.seq == value.seq);
        let checked = newer.ok_or(Unused::Wrong).and_then(|(value, claim)| {
            self.check_value(now, &id, &value)?;
            Ok(claim)
        });
        match checked {
            // Of a record at most the one before stays: then its owner may come here with the record itself.
            Ok(claim) => {
                let over = if claim.is_farewell() { claim.seq } else { claim.seq.saturating_sub(1) };
                self.shared.directory.unregister(now, &id, over);
            }
            Err(Unused::Over | Unused::Busy) => {}
            Err(Unused::Wrong) => {
                self.counters.disbelieved += 1;
                self.put_again(now, &id);
            }
        }
    }

    fn put_again(&mut self, now: Now, id: &RawId) {
        let mut here = None;
        self.shared.directory.lookup(now, id, &mut |entry| here = Some((entry.record.to_vec(), entry.signature, entry.seen)));
        let Some((record, signature, from)) = here else { return };
        let asked = Asked { now, from, txid: 0, len: 0, query: Query::Status };
        self.put(&asked, &record, &signature, Over::Anything);
    }

    /// The depot has said what it can, or nothing in time.
    fn settle(&mut self, now: Now, sought: &Sought, waiter: &Waiter) {
        let asked = waiter.asked(now, sought);
        match (sought, &waiter.want) {
            (Sought::Id(id), Want::Lookup { watch }) => self.settle_lookup(&asked, id, *watch),
            (Sought::Id(id), Want::Knock { sealed }) => self.knock_elsewhere(&asked, id, sealed),
            (Sought::Name(network, key), _) => self.settle_find(&asked, network, key.clone()),
            (Sought::Id(_), Want::Find) => {}
        }
    }

    /// Only the seed that somebody is registered with reaches him through his NAT: it must knock.
    pub(super) fn knock_elsewhere(&mut self, asked: &Asked<'_>, to: &RawId, sealed: &[u8]) {
        let remote = self.elsewhere(asked.now, &Sought::Id(*to)).first().map(|remote| (remote.by, remote.seen));
        let Some((by, seen)) = remote else { return self.not_found(asked, None) };
        if let Err(wait) = self.limiter.count_knock(asked.now.instant, asked.from.ip(), to) {
            return self.answer(asked, &busy(wait));
        }
        let value = KnockValue { from: asked.from, to: *to, sealed }.encode();
        let handing = Handing { to: *to, seen, waiter: Waiter::new(asked, Want::Knock { sealed: Vec::new() }) };
        let Some(cluster) = &mut self.cluster else { return };
        if let Some(handing) = cluster.hand(asked.now.instant, by, value, handing) {
            self.settle_knock(asked.now, &handing, false);
        }
    }

    fn settle_knock(&mut self, now: Now, handing: &Handing, is_there: bool) {
        let sought = Sought::Id(handing.to);
        let asked = handing.waiter.asked(now, &sought);
        if is_there {
            self.answer(&asked, &Answer::Knocked { seen: handing.seen });
        } else {
            self.not_found(&asked, None);
        }
    }

    /// Another seed was asked to knock at the door of somebody who is registered here.
    fn on_knock_handed(&mut self, now: Now, value: &[u8]) {
        let knock = KnockValue::decode(value).filter(|knock| is_dialable(&knock.from, self.shared.config.loopback));
        let Some(KnockValue { from, to, sealed }) = knock else {
            self.counters.disbelieved += 1;
            return;
        };
        let mut seen = None;
        self.shared.directory.lookup(now, &to, &mut |entry| seen = Some(entry.seen));
        let Some(seen) = seen else { return };
        if self.limiter.count_knock(now.instant, from.ip(), &to).is_ok() {
            self.counters.notified += 1;
            self.transmit(seen, header(0), &Answer::Notify { from, sealed });
        }
    }
}

/// The seed's wall clock in seconds.
const fn unix(now: Now) -> u64 {
    now.unix.0 / 1_000
}
