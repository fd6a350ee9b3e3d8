//! What the owner answered: rows, the end of an answer, and refusals.

use std::{collections::BTreeMap, time::Duration};

use super::{About, Asked, Chat, Company, HISTORY_ROWS, NOBODY, Tag};
use crate::{
    clock::Now,
    control::{
        client::CallError,
        proto::{HistoryLine, Line, OutboxLine, PeerLine, Presence, State, Trust},
    },
    id::PeerId,
    shell::{
        chat::Action,
        render::{Glyphs, Look},
    },
    text::{Name, Shown},
};

impl Chat {
    pub(super) fn on_row(&mut self, now: Now, tag: Tag, line: Line) {
        let Some(asked) = self.asked.get_mut(&tag) else { return };
        match (asked, line) {
            (Asked::FirstPeers, Line::Peer(peer)) => self.on_peer(now, peer),
            (Asked::To(found), Line::Peer(peer)) => *found = Some(peer),
            (Asked::Whois, Line::Peer(peer)) => {
                self.people.learn(&peer);
                self.print(self.look.whois(&peer, now.unix));
            }
            (Asked::Checks, Line::Pong(pong)) => self.print(self.look.note(&pong.words())),
            (Asked::Checks, Line::Ping(ping)) => self.print(self.look.note(&ping.words())),
            (Asked::Config, Line::Config(line)) => self.on_config(&line),
            (Asked::Checks, Line::Check(check)) => self.print(check.words()),
            (Asked::Peers(rows) | Asked::Find(rows), Line::Peer(peer)) => rows.push(peer),
            (Asked::Seeds(rows), Line::Seed(seed)) => rows.push(seed),
            (Asked::Requests(rows) | Asked::FirstRequests(rows), Line::Request(row)) => rows.push(row),
            (Asked::Answer(action), Line::Contact(contact)) => {
                let action = *action;
                self.on_request_answered(action, &contact);
            }
            (Asked::FirstUnread(rows) | Asked::Unread(rows) | Asked::Next(rows), Line::Unread(row)) => rows.push(row),
            (Asked::Encrypted(had_one), Line::Whoami(whoami)) => *had_one = whoami.encrypted,
            (Asked::Status(About::Allow), Line::Owner(owner)) => self.say_allow(owner.allow),
            (Asked::Status(About::Receipts), Line::Owner(owner)) => self.say_receipts(owner.read_receipts),
            (Asked::Contact(action), Line::Contact(contact)) => {
                let action = *action;
                self.on_contact(action, &contact);
            }
            (Asked::History(rows) | Asked::Search(rows) | Asked::UnreadOf(_, rows), Line::History(row)) => rows.push(row),
            (Asked::Outbox(rows) | Asked::Quit(rows) | Asked::FirstOutbox(rows), Line::Outbox(row)) => rows.push(row),
            (Asked::Cancel, Line::Status(status)) => {
                let text = match status.state {
                    State::Cancelled => format!("{} is withdrawn", status.id.short()),
                    // Its receiver has not said yet whether it has it.
                    State::Queued | State::Sent => format!("{} is withdrawn, unless it has arrived already", status.id.short()),
                    state => format!("{}: too late, it is {}", status.id.short(), self.word(state)),
                };
                self.owns.silence(&status);
                self.print(self.look.note(&text));
            }
            // Beside what was found: that it is not all.
            (Asked::Find(_) | Asked::History(_) | Asked::Search(_), line @ Line::Notice(_)) => self.handle_event(now, line),
            (Asked::Send(_) | Asked::Nothing, line @ Line::Status(_)) => self.handle_event(now, line),
            _ => {}
        }
    }

    fn word(&self, state: State) -> &'static str {
        Look { glyphs: Glyphs::Words, ..self.look.clone() }.mark(state)
    }

    pub(super) fn on_done(&mut self, now: Now, asked: Asked) {
        match asked {
            Asked::Nothing
            | Asked::Cancel
            | Asked::Whois
            | Asked::Checks
            | Asked::Config
            | Asked::Contact(_)
            | Asked::Answer(_)
            | Asked::Status(_) => {}
            Asked::Requests(rows) => self.print_requests(&rows),
            Asked::FirstRequests(rows) => self.say_asking(&rows),
            Asked::Receipts(on) => self.say_receipts(on),
            Asked::Allow(allow) => self.say_allow(allow),
            Asked::FirstPeers => {
                if let Some(first) = self.first {
                    let soon = now.instant + if self.people.is_anybody_here() { Duration::ZERO } else { NOBODY };
                    self.first = Some(first.min(soon));
                }
            }
            Asked::FirstOutbox(rows) => {
                self.owns.remember(&rows);
                if let Some(text) = self.waits(&rows) {
                    self.print(self.look.note(&format!("from before: {text}")));
                }
            }
            Asked::Send(id) => {
                self.owns.accepted(&id);
                self.send_next();
                self.print_owns(now);
            }
            Asked::To(Some(peer)) => self.turn_to(peer),
            Asked::To(None) => self.wrong("nobody found", None),
            Asked::Peers(rows) => {
                rows.iter().for_each(|peer| self.people.learn(peer));
                let labels: Vec<(Shown, &PeerLine)> = rows.iter().map(|peer| (self.people.label(&peer.id), peer)).collect();
                let text = self.look.peers(&labels, now.unix);
                self.print(text);
            }
            Asked::Find(rows) => self.print_found(&rows, now),
            Asked::Seeds(rows) => self.print(self.look.seeds(&rows)),
            Asked::History(rows) if rows.is_empty() => self.print(self.look.note("no messages yet")),
            Asked::History(rows) => self.print_history(&rows, now),
            Asked::FirstUnread(rows) => self.print_unread(&rows, true),
            Asked::Unread(rows) => self.print_unread(&rows, false),
            Asked::Next(rows) => self.next_unread(&rows),
            Asked::UnreadOf(peer, rows) => self.on_unread_of(peer, rows, now),
            Asked::Search(rows) => self.print_found_lines(&rows, now),
            Asked::Outbox(rows) => {
                let labels: Vec<(Shown, &OutboxLine)> =
                    rows.iter().map(|row| (self.people.meet(row.to, &row.name), row)).collect();
                let text = self.look.outbox(&labels, now.unix);
                self.print(text);
            }
            Asked::Nick(name) => {
                self.people.set_own_name(name.as_str());
                self.name = name.as_str().to_owned();
                self.print(self.look.note(&format!("you are {name} now")));
            }
            Asked::Away(text) => self.say_away(&text),
            Asked::Back => self.print(self.look.note("you are back")),
            Asked::Encrypted(had_one) => self.ask_passwords(had_one),
            Asked::Passwd(changing) => self.say_changed(changing),
            Asked::Quit(rows) => self.leave(&rows),
        }
    }

    /// Says what waits, and ends.
    fn leave(&mut self, rows: &[OutboxLine]) {
        if let Some(text) = self.waits(rows) {
            let when = if self.company != Company::Alone { "by themselves" } else { "by themselves when p2pchat-udp runs again" };
            self.print(self.look.note(&format!("{text}; all are kept and go out {when}")));
        }
        self.end(0);
    }

    pub(super) fn on_refused(&mut self, now: Now, asked: Asked, error: CallError) {
        // How they are is told all the same, before what is wrong with them.
        if let Asked::Seeds(rows) = &asked
            && !rows.is_empty()
        {
            self.print(self.look.seeds(rows));
        }
        let background = asked.is_background();
        match asked {
            Asked::Send(id) => {
                self.owns.refused(&id);
                self.send_next();
            }
            // What was typed ahead for somebody who is not found must not go to whoever was before.
            Asked::To(_) if self.target.is_some() => self.set_target(None),
            _ => {}
        }
        match error {
            CallError::Refused(error) if !background => self.actions.push_back(Action::Failed(error)),
            CallError::Refused(_) => {}
            CallError::Lost => self.handle_lost(),
        }
        if matches!(asked, Asked::Quit(_)) {
            self.end(0);
        }
        self.print_owns(now);
    }

    fn turn_to(&mut self, peer: PeerLine) {
        self.people.learn(&peer);
        self.people.introduce(&peer.id);
        let (id, presence) = (peer.id, peer.presence);
        self.set_target(Some(id));
        let label = self.people.label(&id);
        let text = match presence {
            _ if peer.trust == Trust::Blocked => format!("you block {label}: nothing goes there before /unblock"),
            Presence::Online => {
                let verified = if peer.trust == Trust::Verified { "verified" } else { "not verified" };
                format!("writing to {label}, id {}, {verified}", id.short())
            }
            Presence::Away => {
                let why = peer.away.filter(|text| !text.is_empty()).map(|text| format!(" ({})", Shown::short(&text, 40)));
                format!("writing to {label}, who is away from the keyboard{}", why.unwrap_or_default())
            }
            Presence::Offline | Presence::Unknown => {
                let since = peer
                    .last_heard
                    .map_or_else(|| ", never heard yet".to_owned(), |at| format!(" since {}", self.look.time(at.0, self.unix)));
                self.owns.told_waiting(id);
                format!("{label} is not here{since}: what you write is kept and goes out by itself when {label} comes")
            }
        };
        self.print(self.look.note(&text));
        self.ask_unread_of(id);
    }

    /// What a seed says of somebody is no reason to call anybody here otherwise.
    fn print_found(&mut self, rows: &[PeerLine], now: Now) {
        rows.iter().filter(|peer| peer.age_s.is_none()).for_each(|peer| self.people.learn(peer));
        let label = |peer: &PeerLine| match peer.age_s {
            None => self.people.label(&peer.id),
            Some(_) => Shown::line(Name::or_short_id(&peer.name, &peer.id).as_str()),
        };
        let labels: Vec<(Shown, &PeerLine)> = rows.iter().map(|peer| (label(peer), peer)).collect();
        let text = self.look.peers(&labels, now.unix);
        self.print(text);
    }

    pub(super) fn print_history(&mut self, rows: &[HistoryLine], now: Now) {
        let me = Shown::line(&self.name);
        let lines: Vec<String> = rows
            .iter()
            .map(|row| {
                let label = self.people.label_then(row.peer, &row.name);
                self.look.history(row, &me, &label, now.unix)
            })
            .collect();
        self.print(lines.join("\n"));
    }

    /// What a search has found: the newest, and whether there is more.
    fn print_found_lines(&mut self, rows: &[HistoryLine], now: Now) {
        let newest = rows.get(rows.len().saturating_sub(HISTORY_ROWS)..).unwrap_or_default();
        if newest.is_empty() {
            let with = self.target.as_ref().map(|target| format!(" with {}", self.people.label(&target.id)));
            return self.print(self.look.note(&format!("nothing found{}", with.unwrap_or_default())));
        }
        self.print_history(newest, now);
        if newest.len() < rows.len() {
            let text = format!("the newest {HISTORY_ROWS}, there is more: add a word, or p2pchat-udp history --search");
            self.print(self.look.note(&text));
        }
    }

    /// `3 messages wait (bob 2, dave 1)`
    fn waits(&mut self, rows: &[OutboxLine]) -> Option<String> {
        let mut counts: BTreeMap<PeerId, usize> = BTreeMap::new();
        for row in rows {
            self.people.meet(row.to, &row.name);
            *counts.entry(row.to).or_default() += 1;
        }
        let each: Vec<String> = counts.iter().map(|(id, count)| format!("{} {count}", self.people.label(id))).collect();
        match rows.len() {
            0 => None,
            1 => Some(format!("1 message waits ({})", each.join(", "))),
            n => Some(format!("{n} messages wait ({})", each.join(", "))),
        }
    }
}
