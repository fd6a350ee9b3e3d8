//! Who is registered: the boundary between what a seed does with a query and where the records lie.
//! `memory` is the directory of one machine, and the first level of any other. Whether a record is its
//! owner's, whoever calls has checked; how long one stays is decided here.

use std::net::SocketAddr;

use crate::{
    clock::Now,
    wire::{
        SIGNATURE_LEN,
        phonebook::{Entry, RawId},
        record::Claim,
    },
};

/// Seconds for which a record stays after its owner was heard.
pub const TTL: u16 = 75;

/// A record whose owner was checked, on its way in.
#[derive(Debug, Clone, Copy)]
pub struct Registration<'a> {
    /// What it says.
    pub claim: &'a Claim<'a>,
    /// Its bytes.
    pub record: &'a [u8],
    /// Over them.
    pub signature: &'a [u8; SIGNATURE_LEN],
    /// Where its owner is, as the seed saw it.
    pub seen: SocketAddr,
    /// Who registers has shown a token, and so is no stranger who read the record elsewhere: only then may a
    /// record that is known already move to another address.
    pub may_move: bool,
}

/// What became of a [`Registration`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in, until its owner was silent for so many seconds.
    Registered {
        /// At most [`TTL`].
        ttl: u16,
    },
    /// A newer record or farewell is known, or the same from another address.
    Stale {
        /// The known one's.
        seq: u64,
    },
    /// There is no room for anybody new.
    Full,
}

/// What is known of an id before its record is worth a signature check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is registered.
    Live {
        /// Its record's.
        seq: u64,
        /// Where it is.
        seen: SocketAddr,
    },
    /// It said farewell.
    Gone {
        /// The farewell's.
        seq: u64,
    },
    /// Nothing, and there would be room.
    Nothing,
    /// Nothing, and there is no room.
    Full,
}

/// Shared by all threads of a seed. No call waits for anything but a short lock, and none calls back into
/// the directory: the closures see an entry where it lies.
pub trait Directory: Send + Sync {
    /// What is known of `id`.
    fn known(&self, now: Now, id: &RawId) -> Known;

    /// Takes a record up, or in place of an older one.
    fn register(&self, now: Now, registration: &Registration<'_>) -> Outcome;

    /// Notes that the owner of this very record was heard at `seen`, where `is_proved` says so of the entry.
    /// The seconds for which that is good; `None` where there is no such record or no proof.
    fn refresh(
        &self,
        now: Now,
        id: &RawId,
        seq: u64,
        seen: SocketAddr,
        is_proved: &mut dyn FnMut(&Entry<'_>) -> bool,
    ) -> Option<u16>;

    /// Takes away what is older than `seq` and remembers until the record's own end that it is over. False
    /// where there is nothing older.
    fn unregister(&self, now: Now, id: &RawId, seq: u64) -> bool;

    /// Shows the entry of `id`. False where there is none.
    fn lookup(&self, now: Now, id: &RawId, show: &mut dyn FnMut(&Entry<'_>)) -> bool;

    /// Shows the entries of a name, as `text::name_key` has it, the newest registration first, until `show`
    /// has seen enough and says false.
    fn find(&self, now: Now, network: &[u8; 8], key: &str, show: &mut dyn FnMut(&Entry<'_>) -> bool);

    /// Shows the listed entries whose keys begin with `prefix`, in the order of key and id and behind `after`,
    /// until `show` has seen enough and says false.
    fn search(
        &self,
        now: Now,
        network: &[u8; 8],
        prefix: &str,
        after: Option<(&str, &RawId)>,
        show: &mut dyn FnMut(&Entry<'_>) -> bool,
    );

    /// Forgets some of what is over; the whole directory within 256 calls.
    fn sweep(&self, now: Now);

    /// Records that it holds: also those that are over and not swept away yet.
    fn len(&self) -> usize;

    /// True where it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
