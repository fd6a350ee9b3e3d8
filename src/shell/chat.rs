//! The shell as a state machine: typed lines, events and answers in; lines to print and calls to make
//! out. No terminal, no clock and no socket: `mod` has those.

mod answers;
mod asked;
mod config;
mod contacts;
mod events;
mod first;
mod keyboard;
mod own;
mod passwd;
mod people;
mod requests;
mod send;
mod unread;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use self::{
    asked::{About, Asked},
    own::Owns,
    people::People,
};
use super::{
    parse::{Help, Input, parse_line},
    render::{Look, prompt},
};
use crate::{
    clock::{Instant, Now, Unix},
    control::{
        call::{
            Back, Call, ContactAction, Find, History, Nick, Outbox, Peers, Ping, Requests, RequestsAction, Seed, Watch, Whois,
        },
        client::CallError,
        proto::{ErrorLine, Line, MessageLine, ReadyLine},
    },
    id::PeerId,
    text::Name,
    wire::message::{CONTENT_ACTION, CONTENT_TEXT},
};

/// Nobody seen for this long after the start: it is said.
const NOBODY: Duration = Duration::from_secs(2);
/// Once somebody is seen, the others of the first moment are waited for.
const FIRST: Duration = Duration::from_millis(300);
/// Still nobody: what may be wrong is said, once.
const ALONE: Duration = Duration::from_secs(5);
/// The bell rings at most once in this time.
const BELL_PAUSE: Duration = Duration::from_secs(3);
/// Who has typed nothing for this long may look elsewhere: the bell rings for the target too.
const IDLE: Duration = Duration::from_secs(30);
/// `/history` without a number.
const HISTORY_ROWS: usize = 20;
/// `/history N` at most.
const HISTORY_ROWS_MAX: u32 = 1_000;

/// Pairs a call with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// How the shell runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A line editor: what was typed gives way to how it is shown.
    Edited,
    /// Nothing on the screen is rewritten.
    Plain,
    /// The lines are a script's.
    Script,
}

/// What a person has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habits {
    /// Comings and goings are said.
    pub joins: bool,
    /// Away once nothing was typed for this long; `None`: only by command.
    pub away_after: Option<Duration>,
}

/// Who owns the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// This process: the node ends with the shell.
    Alone,
    /// A process without a shell; it goes on.
    Daemon,
    /// Another shell: the same person in two windows.
    Shell,
}

/// What the driver must do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Print this, without touching what is being typed. May have several rows; no newline at its end.
    Print(String),
    /// Something a person or a script asked for was not done.
    Failed(ErrorLine),
    /// Ask the owner; the answer goes to `handle_answer`.
    Call(Tag, Call),
    /// The prompt from now on.
    Prompt(String),
    /// Ring the bell, and run what somebody wants run then, for this message.
    Bell(Box<MessageLine>),
    /// Write the history to this new file: with this peer, or with all.
    Export {
        /// As it was typed.
        file: String,
        /// An id.
        peer: Option<String>,
    },
    /// Have this text edited in the person's editor; what it becomes goes to `handle_edited`.
    Edit(String),
    /// The next line is a secret, after this question: to `handle_secret`.
    Ask(&'static str),
    /// Clear the screen.
    Clear,
    /// The end, with this exit code.
    End(u8),
}

/// Who bare text goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    id: PeerId,
}

/// The shell.
#[derive(Debug)]
pub struct Chat {
    look: Look,
    mode: Mode,
    company: Company,
    habits: Habits,
    /// It was said that nothing is typed.
    idle: bool,
    /// Somebody looks at the terminal, as far as is known.
    attached: bool,
    me: PeerId,
    name: String,
    people: People,
    target: Option<Target>,
    last_from: Option<PeerId>,
    owns: Owns,
    printed: unread::Printed,
    asked: BTreeMap<Tag, Asked>,
    next_tag: u64,
    secret: Option<passwd::Next>,
    rng: ChaCha20Rng,
    actions: VecDeque<Action>,
    /// When the first list is said; `None`: it was.
    first: Option<Instant>,
    alone: Option<Instant>,
    bell_at: Option<Instant>,
    typed_at: Instant,
    /// The day of the last message that was printed, or of the start.
    day: String,
    unix: Unix,
    ended: bool,
}

impl Chat {
    /// A shell for whoever said `ready`. `rng_seed` makes ids.
    pub fn new(
        look: Look,
        mode: Mode,
        ready: &ReadyLine,
        company: Company,
        habits: Habits,
        rng_seed: [u8; 32],
        now: Now,
    ) -> Self {
        let day = look.day(now.unix);
        let mut chat = Self {
            look,
            day,
            mode,
            company,
            habits,
            idle: false,
            attached: true,
            me: ready.id,
            name: ready.name.clone(),
            people: People::new(ready.id, &ready.name),
            target: None,
            last_from: None,
            owns: Owns::default(),
            printed: unread::Printed::default(),
            asked: BTreeMap::new(),
            next_tag: 1,
            secret: None,
            rng: ChaCha20Rng::from_seed(rng_seed),
            actions: VecDeque::new(),
            first: (mode != Mode::Script).then_some(now.instant + NOBODY),
            alone: (mode != Mode::Script).then_some(now.instant + ALONE),
            bell_at: None,
            typed_at: now.instant,
            unix: now.unix,
            ended: false,
        };
        if mode != Mode::Script {
            chat.greet(ready);
        }
        chat.call(Call::Peers(Peers::default()), Asked::FirstPeers);
        chat.call(Call::Outbox(Outbox::default()), Asked::FirstOutbox(Vec::new()));
        if mode != Mode::Script {
            // Whoever opens a window sits before it, also where another one was left idle and closed.
            chat.call(Call::Back(Back { idle: true }), Asked::Nothing);
            chat.ask_unread(Asked::FirstUnread(Vec::new()));
        }
        chat.call(Call::Requests(Requests::default()), Asked::FirstRequests(Vec::new()));
        chat.actions.push_back(Action::Prompt(prompt(None)));
        chat
    }

    /// How things look, for whoever prints errors.
    pub fn look(&self) -> &Look {
        &self.look
    }

    /// The terminal has another width now.
    pub fn set_columns(&mut self, columns: Option<usize>) {
        self.look.columns = columns;
    }

    /// Nothing that was asked for is under way: what the last line wanted is done, or failed.
    pub fn is_settled(&self) -> bool {
        self.owns.is_settled() && self.asked.values().all(Asked::is_background)
    }

    /// The target is as it will be, and nobody is about to leave.
    pub fn is_prompt_settled(&self) -> bool {
        !self.asked.values().any(|asked| matches!(asked, Asked::To(_) | Asked::Next(_) | Asked::Encrypted(_) | Asked::Quit(_)))
    }

    /// The end is among the actions, or was.
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// How many messages of this shell are not delivered yet.
    pub fn undelivered(&self) -> usize {
        self.owns.undelivered()
    }

    /// Changes where `names` may have.
    pub const fn names_version(&self) -> u64 {
        self.people.version()
    }

    /// Everybody's name as it is written, with the full id: for completion.
    pub fn names(&self) -> Vec<(String, PeerId)> {
        self.people.names()
    }

    /// Ids of messages that wait: for completion.
    pub fn waiting(&self) -> Vec<String> {
        self.owns.waiting()
    }

    /// Somebody touched the keyboard.
    pub fn handle_key(&mut self, now: Now) {
        let paused = now.instant.since(self.typed_at) >= IDLE;
        self.typed_at = now.instant;
        if self.idle {
            self.sit_down();
        } else if paused && self.mode != Mode::Script {
            // Another window may have been left, and have said so for me.
            self.call(Call::Back(Back { idle: true }), Asked::Nothing);
        }
    }

    /// A line was typed, or read from a script. True where its text comes back as a message's line: what was
    /// typed can go.
    pub fn handle_line(&mut self, now: Now, line: &str) -> bool {
        self.unix = now.unix;
        self.handle_key(now);
        match parse_line(line) {
            Input::Nothing => {}
            Input::Text(text) => return self.send_to_target(now, text, CONTENT_TEXT),
            Input::Me(text) => return self.send_to_target(now, text, CONTENT_ACTION),
            Input::Msg { peer, text } => return self.send(now, peer, text, CONTENT_TEXT),
            Input::Reply(text) => match self.last_from {
                Some(id) => return self.send(now, id.to_string(), text, CONTENT_TEXT),
                None => self.wrong("nobody has written in this window yet", None),
            },
            Input::To(peer) => self.call(Call::Whois(Whois { peer, timeout: None, unseen: true }), Asked::To(None)),
            Input::Close => self.set_target(None),
            Input::Peers => self.call(Call::Peers(Peers::default()), Asked::Peers(Vec::new())),
            Input::Whois(peer) => self.call(Call::Whois(Whois { peer, timeout: None, unseen: false }), Asked::Whois),
            Input::Ping(peer) => self.call(Call::Ping(Ping { peer, count: None, timeout: None }), Asked::Checks),
            Input::Doctor => {
                self.print(self.look.note("looking at the network: this takes some seconds"));
                self.call(Call::DOCTOR, Asked::Checks);
            }
            Input::Find(words) => self.call(Call::Find(Find { words, timeout: None }), Asked::Find(Vec::new())),
            Input::Seeds => self.call(Call::Seed(Seed::default()), Asked::Seeds(Vec::new())),
            Input::Add { link, petname } => self.contact(ContactAction::Add, link, petname),
            Input::Rename { peer, petname } => self.contact(ContactAction::Rename, peer, petname),
            Input::Verify { peer, yes } => self.verify(peer, yes),
            Input::Block(peer) => self.contact(ContactAction::Block, peer, None),
            Input::Unblock(peer) => self.contact(ContactAction::Unblock, peer, None),
            Input::Requests => self.ask_requests(),
            Input::Accept(peer) => self.answer_request(RequestsAction::Accept, peer),
            Input::Refuse(peer) => self.answer_request(RequestsAction::Refuse, peer),
            Input::Allow(to) => self.allow(to),
            Input::Receipts { peer, told } => self.receipts(peer, told),
            Input::History(rows) => self.ask_history(rows),
            Input::Export(file) => {
                let peer = self.target.as_ref().map(|target| target.id.to_string());
                self.actions.push_back(Action::Export { file, peer });
            }
            Input::Unread => self.ask_unread(Asked::Unread(Vec::new())),
            Input::Next => self.ask_unread(Asked::Next(Vec::new())),
            Input::Search(words) => self.search(words),
            Input::Outbox => self.call(Call::Outbox(Outbox::default()), Asked::Outbox(Vec::new())),
            Input::Cancel(id) => {
                self.call(Call::Outbox(Outbox { cancel: Some(id), ..Outbox::default() }), Asked::Cancel);
            }
            Input::Nick(name) => match Name::parse(&name) {
                Ok(name) => self.call(Call::Nick(Nick { name: name.as_str().to_owned() }), Asked::Nick(name)),
                Err(error) => self.wrong(&error.to_string(), None),
            },
            Input::Config { key, value } => self.config(key, value),
            Input::Editor(text) => self.edit(text),
            Input::Passwd => self.call(Call::WHOAMI, Asked::Encrypted(false)),
            Input::Away(text) => self.go_away(text),
            Input::Back => self.call(Call::Back(Back::default()), Asked::Back),
            Input::Joins(on) => self.set_joins(on),
            Input::Clear => self.actions.push_back(Action::Clear),
            Input::Help(Help::All) => self.print(self.look.help()),
            Input::Help(Help::Topic(topic)) => self.print(self.look.help_on(topic)),
            Input::Help(Help::Command(entry)) => self.print(self.look.help_of(entry)),
            Input::Quit => self.quit(),
            Input::Wrong(text) => self.wrong(&text, None),
        }
        false
    }

    /// The person wants to leave: says what waits first.
    pub fn quit(&mut self) {
        self.call(Call::Outbox(Outbox::default()), Asked::Quit(Vec::new()));
    }

    /// Something happened.
    pub fn handle_event(&mut self, now: Now, line: Line) {
        self.unix = now.unix;
        match line {
            Line::Message(message) => self.on_message(now, &message),
            Line::Status(status) => {
                self.people.introduce(&status.to);
                self.owns.on_status(now.instant, &status);
                self.print_owns(now);
            }
            Line::Peer(peer) => self.on_peer(now, peer),
            Line::Request(request) => self.on_request(&request, now.unix),
            Line::Notice(notice) => self.print(self.look.note(&notice.words())),
            _ => {}
        }
    }

    /// The answer to a call goes on (`Some`), or is done (`None`).
    pub fn handle_answer(&mut self, now: Now, tag: Tag, answer: Option<Result<Line, CallError>>) {
        self.unix = now.unix;
        match answer {
            Some(Ok(line)) => self.on_row(now, tag, line),
            None => {
                if let Some(asked) = self.asked.remove(&tag) {
                    self.on_done(now, asked);
                }
            }
            Some(Err(error)) => {
                if let Some(asked) = self.asked.remove(&tag) {
                    self.on_refused(now, asked, error);
                }
            }
        }
    }

    /// It is `poll_timeout`, or later.
    pub fn handle_timeout(&mut self, now: Now) {
        self.unix = now.unix;
        self.print_owns(now);
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        if is_due(self.idle_at()) {
            self.stand_up();
        }
        if is_due(self.first) {
            self.say_who_is_here();
        }
        if is_due(self.alone) {
            self.alone = None;
            if !self.people.is_anybody_here() {
                self.say_alone();
            }
        }
        for text in self.people.poll_changes(now.instant) {
            self.print(self.look.note(&text));
        }
    }

    /// When `handle_timeout` has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.first, self.alone, self.idle_at(), self.owns.poll_timeout(), self.people.poll_timeout()].into_iter().flatten().min()
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn print(&mut self, text: String) {
        self.actions.push_back(Action::Print(text));
    }

    fn wrong(&mut self, text: &str, hint: Option<&str>) {
        let error = ErrorLine::new("usage", 2, text);
        let error = if let Some(hint) = hint { error.hint(hint) } else { error };
        self.actions.push_back(Action::Failed(error));
    }

    fn call(&mut self, call: Call, asked: Asked) {
        let tag = Tag(self.next_tag);
        self.next_tag += 1;
        self.asked.insert(tag, asked);
        self.actions.push_back(Action::Call(tag, call));
    }

    fn ask_history(&mut self, rows: Option<u32>) {
        let peer = self.target.as_ref().map(|target| target.id.to_string());
        let limit = rows.map_or(HISTORY_ROWS, |rows| rows.min(HISTORY_ROWS_MAX) as usize);
        let call = History { peer, limit: Some(limit), ..History::default() };
        self.call(Call::History(call), Asked::History(Vec::new()));
    }

    fn search(&mut self, words: String) {
        let peer = self.target.as_ref().map(|target| target.id.to_string());
        // One more than is shown, to know whether there is more.
        let call = History { peer, limit: Some(HISTORY_ROWS + 1), search: Some(words), ..History::default() };
        self.call(Call::History(call), Asked::Search(Vec::new()));
    }

    fn end(&mut self, code: u8) {
        if !self.ended {
            self.ended = true;
            self.actions.push_back(Action::End(code));
        }
    }

    /// The owner of the profile is gone.
    pub fn handle_lost(&mut self) {
        // Where the owner is this process, it ends the shell itself.
        if !self.ended && self.company != Company::Alone {
            self.actions.push_back(Action::Failed(ErrorLine::new("no-owner", 11, "the owner of this profile has ended")));
            self.end(11);
        }
    }

    /// Events were lost, and those about messages are told again: what the others said is asked for.
    pub fn handle_gap(&mut self) {
        self.call(Call::Peers(Peers::default()), Asked::FirstPeers);
        // Sent again with the same id, a message stays one, and its state is told.
        for send in self.owns.calls_again() {
            self.call(Call::Send(send), Asked::Nothing);
        }
    }

    fn set_target(&mut self, id: Option<PeerId>) {
        self.target = id.map(|id| Target { id });
        let label = id.map(|id| self.people.label(&id));
        self.actions.push_back(Action::Prompt(prompt(label.as_ref())));
        self.call(Call::Watch(Watch { peer: id }), Asked::Nothing);
    }
}

#[cfg(test)]
mod tests;
