//! Messages that were written in this shell, or waited when it began: which are still to be sent, to be
//! printed, or have changed since they were.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    clock::{Instant, Now, Unix},
    control::{
        call::{Send, WaitFor},
        proto::{Kind, OutboxLine, State, StatusLine},
    },
    id::{MessageId, PeerId},
    shell::render,
    text::Shown,
};

/// A message of ours is printed with the mark it has by then.
const MARK_WAIT: Duration = Duration::from_millis(150);
/// Changes of printed messages are gathered for this long after the last.
const GATHER: Duration = Duration::from_millis(300);
/// And for this long at most.
const GATHER_MAX: Duration = Duration::from_secs(1);
/// Delivered messages that are remembered for a later "read".
const DELIVERED_MAX: usize = 1_000;

/// A message of ours.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) id: MessageId,
    /// To whom, as it was written.
    pub(super) written: String,
    pub(super) text: String,
    pub(super) kind: Kind,
    at: Unix,
    due: Instant,
    /// Known once the owner has looked.
    to: Option<PeerId>,
    state: Option<State>,
    sent: bool,
    printed: bool,
}

impl Own {
    /// Asks the owner to take it.
    pub(super) fn call(&self) -> Send {
        let to = self.to.map_or_else(|| self.written.clone(), |to| to.to_string());
        let mut send = Send::new(to, self.text.clone());
        send.kind = self.kind;
        send.id = vec![self.id];
        send.wait = WaitFor::Queued;
        send
    }
}

/// A message whose line is to be printed now.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) to: PeerId,
    pub(super) state: State,
    at: Unix,
    kind: Kind,
    text: String,
}

impl Due {
    pub(super) fn as_shown<'a>(&'a self, me: &'a Shown, to: Option<&'a Shown>) -> render::Own<'a> {
        render::Own { me, to, at: self.at, kind: self.kind, text: &self.text, state: self.state }
    }
}

/// What has changed since it was printed, for one peer.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) to: PeerId,
    pub(super) state: State,
    pub(super) count: usize,
    /// The text of the last of them, where it is known.
    pub(super) last: Option<String>,
    pub(super) reason: Option<String>,
    began: Instant,
    due: Instant,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Owns {
    /// In the order they were written.
    list: VecDeque<Own>,
    /// From an earlier run, or another window: no text is known.
    before: BTreeMap<MessageId, PeerId>,
    changes: Vec<Change>,
    /// Peers of whom it was said that they are not here.
    told: BTreeSet<PeerId>,
}

impl Owns {
    pub(super) fn insert(&mut self, now: Now, id: MessageId, written: String, text: String, kind: Kind) {
        let to = written.parse().ok();
        let due = now.instant + MARK_WAIT;
        self.list.push_back(Own { id, written, text, kind, at: now.unix, due, to, state: None, sent: false, printed: false });
        let over = self.list.iter().filter(|own| own.printed && own.state >= Some(State::Delivered)).count();
        if over > DELIVERED_MAX
            && let Some(oldest) = self.list.iter().position(|own| own.printed && own.state >= Some(State::Delivered))
        {
            self.list.remove(oldest);
        }
    }

    /// What waited before this shell began.
    pub(super) fn remember(&mut self, rows: &[OutboxLine]) {
        for row in rows.iter().filter(|row| self.list.iter().all(|own| own.id != row.id)) {
            self.before.insert(row.id, row.to);
        }
    }

    /// The next to ask the owner for; `None` where one is being asked for, or all were.
    pub(super) fn next_unsent(&mut self) -> Option<&Own> {
        if self.list.iter().any(|own| own.sent && own.state.is_none()) {
            return None;
        }
        let own = self.list.iter_mut().find(|own| !own.sent)?;
        own.sent = true;
        Some(own)
    }

    /// What asks the owner again for those that it has and that may have got further.
    pub(super) fn calls_again(&self) -> Vec<Send> {
        let open = |own: &&Own| own.state.is_some_and(|state| state < State::Delivered);
        self.list.iter().filter(open).map(Own::call).collect()
    }

    /// The owner has it.
    pub(super) fn accepted(&mut self, id: &MessageId) {
        if let Some(own) = self.list.iter_mut().find(|own| own.id == *id) {
            own.state = own.state.or(Some(State::Queued));
        }
    }

    /// The owner does not want it: there is no such message.
    pub(super) fn refused(&mut self, id: &MessageId) {
        self.list.retain(|own| own.id != *id);
    }

    /// What was withdrawn by hand needs no line of its own.
    pub(super) fn silence(&mut self, status: &StatusLine) {
        self.before.remove(&status.id);
        if status.state == State::Cancelled {
            self.list.retain(|own| own.id != status.id);
            self.changes.retain(|change| !(change.state == State::Cancelled && change.to == status.to));
        }
    }

    /// A message of ours got further.
    pub(super) fn on_status(&mut self, now: Instant, status: &StatusLine) {
        let mut text = None;
        let known = self.list.iter_mut().find(|own| own.id == status.id);
        match known {
            Some(own) if own.state >= Some(status.state) => return,
            Some(own) => {
                own.to = Some(status.to);
                own.state = Some(status.state);
                if !own.printed {
                    return;
                }
                text = Some(own.text.clone());
            }
            None => {
                if !self.before.contains_key(&status.id) {
                    return;
                }
                if status.state >= State::Delivered {
                    self.before.remove(&status.id);
                }
            }
        }
        if status.state >= State::Delivered {
            self.told.remove(&status.to);
            self.note_change(now, status, text);
        }
    }

    fn note_change(&mut self, now: Instant, status: &StatusLine, text: Option<String>) {
        let is_same = |change: &&mut Change| change.to == status.to && change.state == status.state;
        if let Some(change) = self.changes.iter_mut().find(is_same) {
            change.count += 1;
            change.last = text.or_else(|| change.last.take());
            change.due = (now + GATHER).min(change.began + GATHER_MAX);
            return;
        }
        self.changes.push(Change {
            to: status.to,
            state: status.state,
            count: 1,
            last: text,
            reason: status.reason.clone(),
            began: now,
            due: now + GATHER,
        });
    }

    /// The next line of ours that is to be printed: in order, each once it is due and somebody has it.
    /// `early`: also what went to this peer and is not due.
    pub(super) fn poll_due(&mut self, now: Instant, early: Option<PeerId>) -> Option<Due> {
        let own = self.list.iter_mut().find(|own| !own.printed)?;
        let (to, state) = (own.to?, own.state?);
        if own.due > now && state < State::Delivered && early != Some(to) {
            return None;
        }
        own.printed = true;
        Some(Due { to, state, at: own.at, kind: own.kind, text: own.text.clone() })
    }

    /// Changes whose time has come.
    pub(super) fn poll_changes(&mut self, now: Instant) -> Vec<Change> {
        let (due, later) = std::mem::take(&mut self.changes).into_iter().partition(|change| change.due <= now);
        self.changes = later;
        due
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let line =
            self.list.iter().find(|own| !own.printed).filter(|own| own.state.is_some() && own.to.is_some()).map(|own| own.due);
        self.changes.iter().map(|change| change.due).chain(line).min()
    }

    /// True the first time since something was delivered there.
    pub(super) fn told_waiting(&mut self, peer: PeerId) -> bool {
        self.told.insert(peer)
    }

    /// The owner has, or has refused, all of them.
    pub(super) fn is_settled(&self) -> bool {
        self.list.iter().all(|own| own.state.is_some())
    }

    pub(super) fn undelivered(&self) -> usize {
        self.list.iter().filter(|own| own.state < Some(State::Delivered)).count()
    }

    pub(super) fn waiting(&self) -> Vec<String> {
        let own = self.list.iter().filter(|own| own.state < Some(State::Delivered)).map(|own| own.id.short());
        self.before.keys().map(MessageId::short).chain(own).collect()
    }
}
