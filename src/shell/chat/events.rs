//! What happens by itself: messages come, peers come and go, own messages get further. What was asked for
//! is answered in `answers`.

use super::{BELL_PAUSE, Chat, FIRST, IDLE, Mode};
use crate::{
    clock::Now,
    control::proto::{MessageLine, PeerLine, Presence, State},
    id::PeerId,
    shell::{
        chat::Action,
        render::{prompt, reason},
    },
    text::Shown,
};

impl Chat {
    pub(super) fn on_message(&mut self, now: Now, message: &MessageLine) {
        // What we wrote stands before its answer.
        self.print_owns_to(now, message.from);
        self.say_day(now);
        let label = self.people.meet(message.from, &message.name);
        if let Some(text) = self.people.first_word(&message.from) {
            self.print(self.look.note(&text));
        }
        self.print(self.look.message(message, &label, now.unix));
        self.last_from = Some(message.from);
        self.on_printed(message);
        let is_target = self.target.as_ref().is_some_and(|target| target.id == message.from);
        let looks_away = now.instant.since(self.typed_at) >= IDLE;
        let rested = self.bell_at.is_none_or(|at| now.instant.since(at) >= BELL_PAUSE);
        if self.mode != Mode::Script && rested && (!is_target || looks_away) {
            self.bell_at = Some(now.instant);
            self.actions.push_back(Action::Bell(Box::new(message.clone())));
        }
    }

    pub(super) fn on_peer(&mut self, now: Now, peer: PeerLine) {
        let id = peer.id;
        if id == self.me {
            return;
        }
        let told = self.habits.joins && self.first.is_none() && self.mode != Mode::Script;
        let before = self.people.label(&id);
        let here = matches!(peer.presence, Presence::Online | Presence::Away);
        if let Some(text) = self.people.on_peer(now.instant, peer, told) {
            self.print(self.look.note(&text));
        }
        if here {
            self.alone = None;
            self.first = self.first.map(|first| first.min(now.instant + FIRST));
        }
        if self.target.as_ref().is_some_and(|target| target.id == id) && self.people.label(&id) != before {
            self.actions.push_back(Action::Prompt(prompt(Some(&self.people.label(&id)))));
        }
    }

    pub(super) fn print_owns(&mut self, now: Now) {
        self.print_due(now, None);
        for change in self.owns.poll_changes(now.instant) {
            let label = self.people.label(&change.to);
            let why = change.reason.as_deref().map(reason);
            let text = self.look.summary(&label, change.state, change.count, change.last.as_deref(), why);
            self.print(text);
        }
    }

    /// The first message of a new day stands below its date: the times above are another day's.
    fn say_day(&mut self, now: Now) {
        let day = self.look.day(now.unix);
        if self.mode != Mode::Script && self.day != day {
            self.print(self.look.note(&day));
            self.day = day;
        }
    }

    /// What we wrote to this peer is printed now, whatever its mark.
    fn print_owns_to(&mut self, now: Now, peer: PeerId) {
        self.print_due(now, Some(peer));
    }

    fn print_due(&mut self, now: Now, early: Option<PeerId>) {
        let me = Shown::line(&self.name);
        while let Some(own) = self.owns.poll_due(now.instant, early) {
            let label = self.people.label(&own.to);
            let elsewhere = self.target.as_ref().is_none_or(|target| target.id != own.to);
            let line = own.as_shown(&me, elsewhere.then_some(&label));
            self.say_day(now);
            let text = if self.mode == Mode::Plain {
                self.look.own_plain(&line, &label, now.unix)
            } else {
                self.look.own(&line, now.unix)
            };
            self.print(text);
            if own.state == State::Queued && self.owns.told_waiting(own.to) {
                let text = format!("{label} is not here: it is kept and goes out by itself when {label} comes");
                if !self.people.is_here(&own.to) {
                    self.print(self.look.note(&text));
                }
            }
        }
    }
}
