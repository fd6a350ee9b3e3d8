//! What a node tells the front doors. Nothing here is told before its evidence: events that claim
//! something wait for the commit of what they claim.

use super::{
    Node,
    command::{CommandError, CommandId, PeerView, Reason, Reply, RequestView},
};
use crate::{
    clock::Unix,
    id::{MessageId, PeerId},
    store::row::{HistoryRow, State},
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The answer to a command.
    Reply(CommandId, Reply),
    /// A message came and is on our disk. Once per message, each sender's in order.
    Message {
        /// The row as it was stored.
        row: HistoryRow,
        /// What its sender calls itself.
        name: String,
        /// Its sender is no contact: it counts as unread until [`Command::Shown`](super::command::Command::Shown).
        stranger: bool,
    },
    /// One of our messages reached another state.
    Status {
        /// Which.
        id: MessageId,
        /// To whom.
        to: PeerId,
        /// Its state now.
        state: State,
        /// Why it waits or failed.
        reason: Option<Reason>,
        /// When.
        at: Unix,
    },
    /// A stranger asks to write.
    Request(RequestView),
    /// A peer came, went, moved, or changed its name.
    Peer(PeerView),
    /// Something that a person should know.
    Notice {
        /// Which.
        code: NoticeCode,
        /// In words, sanitized.
        text: String,
        /// About whom.
        peer: Option<PeerId>,
    },
}

/// Notices; the manual lists them, and no other exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeCode {
    /// Somebody speaks another version of the protocol.
    OtherVersion,
    /// This profile runs on two machines at once.
    ProfileInUseElsewhere,
    /// A peer's profile exists twice.
    PeerClonedProfile,
    /// A backup was restored here or there: a new incarnation began.
    NewIncarnation,
    /// Messages of a peer were lost or withdrawn before they came.
    MessagesMissing,
    /// A stranger's messages wait there, because too much of it is unread here.
    StrangerUnread,
    /// A stranger can only ask to write, because too many have written.
    TooManyStrangers,
    /// A stranger's request waits there, because too many ask.
    TooManyRequests,
    /// The disk is full.
    DiskFull,
    /// The store cannot be written: nothing is accepted any more.
    ReadOnly,
    /// There is no network now.
    NoNetwork,
    /// There is a network again.
    NetworkBack,
    /// A seed's name does not resolve, or it does not answer.
    SeedUnreachable,
    /// It answers again.
    SeedBack,
    /// A seed handed on a record that its owner did not sign.
    SeedBadSignature,
    /// A seed speaks another version of the protocol.
    SeedOldVersion,
    /// A seed's clock and ours differ so much that records do not hold.
    SeedWrongClock,
    /// More fits a question than was told: only with its answer.
    NotAllShown,
}

impl Node {
    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(crate) fn reply(&mut self, command: CommandId, reply: Reply) {
        self.tell(Event::Reply(command, reply));
    }

    pub(crate) fn fail(&mut self, command: CommandId, error: CommandError) {
        self.reply(command, Reply::Failed(error));
    }

    /// Tells something once per run and peer. Of a peer that never wrote and was never written to nothing is told:
    /// ids cost nothing, and each would fill the screen with lines of its own.
    pub(crate) fn notice(&mut self, code: NoticeCode, text: &str, peer: Option<PeerId>) {
        let is_known = peer.is_none_or(|id| self.peers.get(&id).is_some_and(|peer| peer.stored));
        if is_known && self.noticed.insert((code, peer)) {
            self.tell(Event::Notice { code, text: text.to_owned(), peer });
        }
    }

    pub(crate) fn notice_again(&mut self, code: NoticeCode, text: &str) {
        self.tell(Event::Notice { code, text: text.to_owned(), peer: None });
    }
}
