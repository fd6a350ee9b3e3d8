//! What was asked of the owner: what each call is for, and the rows of its answer so far. What becomes of them lives in `answers`.

use crate::{
    control::{
        call::{ContactAction, RequestsAction},
        proto::{Allow, HistoryLine, OutboxLine, PeerLine, RequestLine, SeedLine, UnreadLine},
    },
    id::{MessageId, PeerId},
    text::Name,
};

/// What a call was for, and the rows of its answer so far.
#[derive(Debug)]
pub(super) enum Asked {
    /// Nobody waits for it.
    Nothing,
    FirstPeers,
    FirstOutbox(Vec<OutboxLine>),
    FirstRequests(Vec<RequestLine>),
    Send(MessageId),
    To(Option<PeerLine>),
    Whois,
    /// Signs of life, or what is wrong: each is printed as it comes.
    Checks,
    Peers(Vec<PeerLine>),
    Find(Vec<PeerLine>),
    Seeds(Vec<SeedLine>),
    Contact(ContactAction),
    Requests(Vec<RequestLine>),
    Answer(RequestsAction),
    Allow(Allow),
    Receipts(bool),
    Status(About),
    History(Vec<HistoryLine>),
    Search(Vec<HistoryLine>),
    FirstUnread(Vec<UnreadLine>),
    Unread(Vec<UnreadLine>),
    Next(Vec<UnreadLine>),
    UnreadOf(PeerId, Vec<HistoryLine>),
    Outbox(Vec<OutboxLine>),
    Cancel,
    Nick(Name),
    Away(String),
    Back,
    Config,
    /// Whether the profile has a password.
    Encrypted(bool),
    Passwd(Changing),
    Quit(Vec<OutboxLine>),
}

/// A password from this to that: whether there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changing {
    pub(super) had_one: bool,
    pub(super) has_one: bool,
}

/// What of an owner's state was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Allow,
    Receipts,
}

impl Asked {
    /// Nobody has typed it.
    pub(super) const fn is_background(&self) -> bool {
        matches!(
            self,
            Self::Nothing
                | Self::FirstPeers
                | Self::FirstOutbox(_)
                | Self::FirstRequests(_)
                | Self::FirstUnread(_)
                | Self::UnreadOf(..)
        )
    }
}
