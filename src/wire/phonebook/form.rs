//! Answers as bincode takes them: std's addresses have another form on the wire.

use std::net::SocketAddr;

use bincode::{BorrowDecode, Encode};

use super::{Answer, Entry, Refusal, RelayStatus, Status, TOKEN_LEN};
use crate::{
    id::ChannelId,
    wire::{SIGNATURE_LEN, addr::AddrForm},
};

#[derive(Encode, BorrowDecode)]
pub(super) struct EntryForm<'a> {
    record: &'a [u8],
    signature: [u8; SIGNATURE_LEN],
    seen: AddrForm,
    age: u16,
}

/// The order is the wire's.
#[derive(Encode, BorrowDecode)]
pub(super) enum AnswerForm<'a> {
    Cookie {
        seen: AddrForm,
    },
    Registered {
        token: [u8; TOKEN_LEN],
        ttl: u16,
        seen: AddrForm,
    },
    Need,
    Found {
        entries: Vec<EntryForm<'a>>,
        more: bool,
    },
    NotFound {
        warming: bool,
        retry_after: u16,
        seeds: Vec<AddrForm>,
    },
    Unregistered,
    Knocked {
        seen: AddrForm,
    },
    Notify {
        from: AddrForm,
        sealed: &'a [u8],
    },
    Status {
        name: &'a str,
        software: &'a str,
        unix: u64,
        uptime: u64,
        records: u64,
        load: u16,
        seeds: Vec<AddrForm>,
        relay: RelayStatus,
    },
    Refused(Refusal),
    Bound {
        channel: u64,
        open: bool,
    },
}

fn forms(addrs: &[SocketAddr]) -> Vec<AddrForm> {
    addrs.iter().map(|addr| (*addr).into()).collect()
}

fn addrs(forms: Vec<AddrForm>) -> Vec<SocketAddr> {
    forms.into_iter().map(Into::into).collect()
}

impl<'a> From<&Answer<'a>> for AnswerForm<'a> {
    fn from(answer: &Answer<'a>) -> Self {
        match answer {
            Answer::Cookie { seen } => Self::Cookie { seen: (*seen).into() },
            Answer::Registered { token, ttl, seen } => Self::Registered { token: *token, ttl: *ttl, seen: (*seen).into() },
            Answer::Need => Self::Need,
            Answer::Found { entries, more } => {
                let form = |entry: &Entry<'a>| EntryForm {
                    record: entry.record,
                    signature: entry.signature,
                    seen: entry.seen.into(),
                    age: entry.age,
                };
                Self::Found { entries: entries.iter().map(form).collect(), more: *more }
            }
            Answer::NotFound { warming, retry_after, seeds } => {
                Self::NotFound { warming: *warming, retry_after: *retry_after, seeds: forms(seeds) }
            }
            Answer::Unregistered => Self::Unregistered,
            Answer::Knocked { seen } => Self::Knocked { seen: (*seen).into() },
            Answer::Notify { from, sealed } => Self::Notify { from: (*from).into(), sealed },
            Answer::Status(status) => Self::Status {
                name: status.name,
                software: status.software,
                unix: status.unix,
                uptime: status.uptime,
                records: status.records,
                load: status.load,
                seeds: forms(&status.seeds),
                relay: status.relay,
            },
            Answer::Refused(refusal) => Self::Refused(*refusal),
            Answer::Bound { channel, open } => Self::Bound { channel: channel.0, open: *open },
        }
    }
}

impl<'a> From<AnswerForm<'a>> for Answer<'a> {
    fn from(form: AnswerForm<'a>) -> Self {
        match form {
            AnswerForm::Cookie { seen } => Self::Cookie { seen: seen.into() },
            AnswerForm::Registered { token, ttl, seen } => Self::Registered { token, ttl, seen: seen.into() },
            AnswerForm::Need => Self::Need,
            AnswerForm::Found { entries, more } => {
                let entry = |form: EntryForm<'a>| Entry {
                    record: form.record,
                    signature: form.signature,
                    seen: form.seen.into(),
                    age: form.age,
                };
                Self::Found { entries: entries.into_iter().map(entry).collect(), more }
            }
            AnswerForm::NotFound { warming, retry_after, seeds } => Self::NotFound { warming, retry_after, seeds: addrs(seeds) },
            AnswerForm::Unregistered => Self::Unregistered,
            AnswerForm::Knocked { seen } => Self::Knocked { seen: seen.into() },
            AnswerForm::Notify { from, sealed } => Self::Notify { from: from.into(), sealed },
            AnswerForm::Status { name, software, unix, uptime, records, load, seeds, relay } => {
                Self::Status(Status { name, software, unix, uptime, records, load, seeds: addrs(seeds), relay })
            }
            AnswerForm::Refused(refusal) => Self::Refused(refusal),
            AnswerForm::Bound { channel, open } => Self::Bound { channel: ChannelId(channel), open },
        }
    }
}
