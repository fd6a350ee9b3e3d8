//! Finding records, waiting for one, and knocking at one's door.

use super::{busy, encode_found, header, len_max};
use crate::{
    seed::{
        Asked, Seed,
        cluster::{Sought, Want},
        watch::WATCH_SECONDS,
    },
    text::name_key,
    wire::{
        phonebook::{Answer, ENTRIES_MAX, Entry, LOOKUP_LEN, RawId},
        record::Claim,
    },
};

/// Entries of one answer, taken out of the directory, and whether there are more.
#[derive(Default)]
struct Page {
    entries: Vec<Taken>,
    more: bool,
}

/// An entry whose record is ours.
struct Taken {
    record: Vec<u8>,
    /// All but the record.
    entry: Entry<'static>,
}

impl Page {
    /// Takes an entry, where there is room. False where there was none.
    fn take(&mut self, entry: &Entry<'_>) -> bool {
        self.more = self.entries.len() >= ENTRIES_MAX;
        if !self.more {
            let Entry { record, signature, seen, age } = *entry;
            self.entries.push(Taken { record: record.to_vec(), entry: Entry { record: &[], signature, seen, age } });
        }
        !self.more
    }
}

impl Seed {
    pub(super) fn on_lookup(&mut self, asked: &Asked<'_>, id: &RawId, watch: bool) {
        // What comes unasked later must be paid for by this query.
        let watch = watch && asked.len >= LOOKUP_LEN;
        if self.found(asked, id) || self.waits(asked, || Sought::Id(*id), || Want::Lookup { watch }) {
            return;
        }
        self.settle_lookup(asked, id, watch);
    }

    /// The depot, where there is one, has said what it can.
    pub(super) fn settle_lookup(&mut self, asked: &Asked<'_>, id: &RawId, watch: bool) {
        if self.found_elsewhere(asked, id) {
            return;
        }
        let is_noted = watch && self.shared.watches.insert(asked.now.instant, id, asked.from, asked.txid);
        // Between the look and the note it may have registered with another thread, which saw no note.
        if is_noted && self.found(asked, id) {
            return self.shared.watches.remove(id, asked.from);
        }
        self.not_found(asked, is_noted.then_some(WATCH_SECONDS));
    }

    /// Answers with the entry of `id`, where there is one.
    fn found(&mut self, asked: &Asked<'_>, id: &RawId) -> bool {
        let mut datagram = self.buffer();
        let is_found = self.shared.directory.lookup(asked.now, id, &mut |entry| {
            encode_found(asked.txid, vec![*entry], false, len_max(asked), &mut datagram);
        });
        if is_found {
            self.push(asked.from, datagram);
        } else {
            self.spare.push(datagram);
        }
        is_found
    }

    pub(super) fn on_find(&mut self, asked: &Asked<'_>, network: &[u8; 8], name: &str) {
        let key = name_key(name);
        if !self.waits(asked, || Sought::Name(*network, key.clone()), || Want::Find) {
            self.settle_find(asked, network, key);
        }
    }

    /// Likewise: whoever has the name here, then whoever has it elsewhere.
    pub(super) fn settle_find(&mut self, asked: &Asked<'_>, network: &[u8; 8], key: String) {
        let (mut page, mut here) = (Page::default(), Vec::new());
        self.shared.directory.find(asked.now, network, &key, &mut |entry| {
            here.extend(Claim::decode(entry.record).map(|claim| claim.id));
            page.take(entry)
        });
        for remote in self.elsewhere(asked.now, &Sought::Name(*network, key)) {
            if !here.contains(&remote.id) {
                page.take(&remote.entry(asked.now));
            }
        }
        // Of what does not fit the longest goes first: padding one's record crowds nobody out.
        page.entries.sort_by_key(|taken| taken.record.len());
        self.answer_page(asked, &page);
    }

    pub(super) fn on_search(&mut self, asked: &Asked<'_>, network: &[u8; 8], prefix: &str, after: Option<(&str, RawId)>) {
        let mut page = Page::default();
        let after = after.map(|(name, id)| (name_key(name), id));
        let after = after.as_ref().map(|(key, id)| (key.as_str(), id));
        self.shared.directory.search(asked.now, network, &name_key(prefix), after, &mut |entry| page.take(entry));
        self.answer_page(asked, &page);
    }

    fn answer_page(&mut self, asked: &Asked<'_>, page: &Page) {
        if page.entries.is_empty() {
            return self.not_found(asked, None);
        }
        let entries = page.entries.iter().map(|taken| Entry { record: &taken.record, ..taken.entry }).collect();
        let mut datagram = self.buffer();
        encode_found(asked.txid, entries, page.more, len_max(asked), &mut datagram);
        self.push(asked.from, datagram);
    }

    pub(super) fn on_knock(&mut self, asked: &Asked<'_>, to: &RawId, sealed: &[u8]) {
        let mut seen = None;
        self.shared.directory.lookup(asked.now, to, &mut |entry| seen = Some(entry.seen));
        let Some(seen) = seen else {
            let wants = || Want::Knock { sealed: sealed.to_vec() };
            if !self.waits(asked, || Sought::Id(*to), wants) {
                self.knock_elsewhere(asked, to, sealed);
            }
            return;
        };
        if let Err(wait) = self.limiter.count_knock(asked.now.instant, asked.from.ip(), to) {
            return self.answer(asked, &busy(wait));
        }
        self.counters.notified += 1;
        self.transmit(seen, header(0), &Answer::Notify { from: asked.from, sealed });
        self.answer(asked, &Answer::Knocked { seen });
    }
}
