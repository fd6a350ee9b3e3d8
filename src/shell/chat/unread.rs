//! What the person has not read: how much of whom, and that it is read once it stands on the screen while its writer is the
//! target.

use std::collections::BTreeSet;

use super::{Asked, Chat, Mode};
use crate::{
    clock::Now,
    control::{
        call::{Call, History, MarkRead, Unread, Whois},
        proto::{Direction, HistoryLine, MessageLine, UnreadLine},
    },
    id::{MessageId, PeerId},
};

/// Lines of one peer that are shown at once when it becomes the target.
const SHOWN_MAX: usize = 100;
/// Messages of others that stand on the screen and are not read, remembered at most; more would be shown twice.
const PRINTED_MAX: usize = 1_024;

/// Messages on this screen whose writer was not the target.
#[derive(Debug, Default)]
pub(super) struct Printed(BTreeSet<(PeerId, MessageId)>);

impl Chat {
    /// A message stands on the screen now.
    pub(super) fn on_printed(&mut self, message: &MessageLine) {
        let is_target = self.target.as_ref().is_some_and(|target| target.id == message.from);
        if self.mode == Mode::Script {
            return;
        }
        if is_target {
            self.read_up_to(message.from, message.id);
        } else if self.printed.0.len() < PRINTED_MAX {
            self.printed.0.insert((message.from, message.id));
        }
    }

    fn read_up_to(&mut self, peer: PeerId, id: MessageId) {
        self.call(Call::MarkRead(MarkRead { peer: peer.to_string(), id: Some(id) }), Asked::Nothing);
    }

    /// Somebody is the target now: what it wrote and nobody read is shown.
    pub(super) fn ask_unread_of(&mut self, peer: PeerId) {
        if self.mode != Mode::Script {
            let call = History { peer: Some(peer.to_string()), limit: Some(SHOWN_MAX), ..History::default() };
            self.call(Call::History(call), Asked::UnreadOf(peer, Vec::new()));
        }
    }

    pub(super) fn on_unread_of(&mut self, peer: PeerId, mut rows: Vec<HistoryLine>, now: Now) {
        rows.retain(|row| row.direction == Direction::In && !row.read);
        let Some(last) = rows.last().map(|row| row.id) else { return };
        let new: Vec<HistoryLine> = rows.into_iter().filter(|row| !self.printed.0.remove(&(peer, row.id))).collect();
        if !new.is_empty() {
            self.print_history(&new, now);
        }
        self.read_up_to(peer, last);
    }

    pub(super) fn ask_unread(&mut self, asked: Asked) {
        self.call(Call::Unread(Unread::default()), asked);
    }

    /// Who wrote what nobody read: `unread: bob 2, dave 1`
    pub(super) fn print_unread(&mut self, rows: &[UnreadLine], is_start: bool) {
        let mut each = Vec::new();
        for row in rows {
            let (Some(peer), Some(count)) = (row.peer, row.count) else { continue };
            let label = self.people.meet(peer, row.name.as_deref().unwrap_or_default());
            each.push(format!("{label} {count}"));
        }
        match each.as_slice() {
            [] if is_start => {}
            [] => self.print(self.look.note("everything is read")),
            _ => self.print(self.look.note(&format!("unread: {}; /next shows them", each.join(", ")))),
        }
    }

    /// The next one who wrote what nobody read is the target.
    pub(super) fn next_unread(&mut self, rows: &[UnreadLine]) {
        let target = self.target.as_ref().map(|target| target.id);
        match rows.iter().filter_map(|row| row.peer).find(|peer| Some(*peer) != target) {
            Some(peer) => {
                self.call(Call::Whois(Whois { peer: peer.to_string(), timeout: None, unseen: true }), Asked::To(None));
            }
            None => self.print(self.look.note("everything is read")),
        }
    }
}
