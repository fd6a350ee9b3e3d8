//! The shell: drives the state machine in `chat` with a terminal (or lines of a script) at one end and
//! the owner of the profile at the other. It speaks the control protocol only, so it does not know
//! whether the owner is this process.

mod aside;
pub mod chat;
pub mod complete;
mod environment;
mod multiplexer;
mod notify;
pub mod parse;
pub mod render;
mod save;
mod term;
pub mod topics;

use std::{
    future::{Future, poll_fn},
    path::PathBuf,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

pub use self::{chat::Company, term::forget_typed};
use zeroize::Zeroizing;

use self::{
    chat::{Action, Chat, Habits, Mode, Tag},
    complete::Known,
    environment::{Clock, columns},
    multiplexer::{LOOK_EVERY, Multiplexer},
    notify::Notifier,
    term::{Asking, Before, Desk, Did, Typed},
};
use crate::{
    clock::Now,
    control::{
        call::Subscribe,
        client::{CallError, Client, Replies},
        proto::{ErrorLine, Line},
    },
    editor,
    exec::Exec,
    id::MessageId,
};

/// How long a script waits for its messages to be delivered, where nobody says.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);

/// What the shell is told at its start.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--plain`
    pub plain: bool,
    /// `--fail-fast`
    pub fail_fast: bool,
    /// `--timeout`
    pub timeout: Option<Duration>,
    /// The bell may ring.
    pub bell: bool,
    /// The profile's directory: for drafts, and for the lines that were typed.
    pub dir: PathBuf,
    /// What runs where it would.
    pub notify: Option<Exec>,
    /// Comings and goings are said.
    pub joins: bool,
    /// Away once nothing was typed for this long.
    pub away_after: Option<Duration>,
    /// Who owns the profile.
    pub company: Company,
    /// For the ids of messages.
    pub rng_seed: [u8; 32],
}

impl Options {
    const fn habits(&self) -> Habits {
        Habits { joins: self.joins, away_after: self.away_after }
    }
}

/// Runs until the person leaves, the script is through, or the owner ends: the exit code; or `until` is
/// over: what it gave. The terminal is as it was before when this returns.
pub async fn run<T>(client: Client, options: &Options, until: impl Future<Output = T>) -> Result<u8, T> {
    let mut until = pin!(until);
    let mut events = client.subscribe(Subscribe::default());
    // Whoever sees the prompt misses nothing from there on, not even where this process is stopped at once.
    let first = tokio::select! {
        first = events.next() => first,
        ended = &mut until => return Err(ended),
    };
    let mode = environment::mode(options);
    let look = environment::look(mode, options, columns());
    let known = Known::default();
    let desk = match mode {
        Mode::Edited => {
            let typed = Typed::open(&options.dir, environment::is_sealed(&client).await);
            Desk::edited(known.clone(), look.color, typed).map_err(|error| error.to_string())
        }
        Mode::Plain | Mode::Script => Desk::plain().map_err(|error| error.to_string()),
    };
    let desk = match desk {
        Ok(desk) => desk,
        Err(error) => {
            eprintln!("p2pchat-udp: the terminal cannot be used: {error}");
            return Ok(1);
        }
    };
    let clock = Clock::start();
    let me = client.ready().id;
    let (tell, asides) = mpsc::unbounded_channel();
    let chat = Chat::new(look, mode, client.ready(), options.company, options.habits(), options.rng_seed, clock.now());
    let mut shell = Shell {
        client,
        events,
        calls: Vec::new(),
        chat,
        desk,
        known,
        mode,
        clock,
        fail_fast: options.fail_fast,
        timeout: options.timeout.unwrap_or(SCRIPT_TIMEOUT),
        bell: options.bell && mode != Mode::Script,
        notifier: options.notify.clone().map(|exec| Notifier::start(exec, me, tell.clone())),
        tell,
        asides,
        saving: 0,
        dir: options.dir.clone(),
        editing: false,
        edited: None,
        ringing: false,
        prompt: String::new(),
        question: None,
        before: Before::Keep,
        line: 0,
        input: Input::Open,
        first_failure: None,
        last_message: None,
        code: None,
        told_how_to_leave: false,
        deaf: false,
        look: tokio::time::interval(LOOK_EVERY),
        multiplexer: (mode != Mode::Script).then(Multiplexer::around).flatten(),
        names_version: 0,
        interrupts: (mode != Mode::Script).then(|| signal(SignalKind::interrupt()).ok()).flatten(),
    };
    shell.on_event(clock.now(), first);
    shell.run(until).await
}

/// Where the lines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// More may come.
    Open,
    /// A script is through: its messages are waited for until then.
    Ended(tokio::time::Instant),
}

#[derive(Debug)]
struct Shell {
    client: Client,
    events: Replies,
    calls: Vec<(Tag, Replies)>,
    chat: Chat,
    desk: Desk,
    known: Known,
    mode: Mode,
    clock: Clock,
    fail_fast: bool,
    timeout: Duration,
    bell: bool,
    notifier: Option<Notifier>,
    /// What runs beside the shell says its end here.
    tell: mpsc::UnboundedSender<Aside>,
    asides: mpsc::UnboundedReceiver<Aside>,
    /// Files that are being written: neither a script nor this program ends before.
    saving: usize,
    dir: PathBuf,
    /// The person's editor has the terminal.
    editing: bool,
    /// What came from it: Up finds it like a line that was typed.
    edited: Option<String>,
    ringing: bool,
    prompt: String,
    /// The question that the next line answers, which is a secret.
    question: Option<&'static str>,
    before: Before,
    line: u64,
    input: Input,
    first_failure: Option<u8>,
    last_message: Option<MessageId>,
    code: Option<u8>,
    told_how_to_leave: bool,
    /// The owner says nothing any more.
    deaf: bool,
    names_version: u64,
    /// Around this terminal.
    multiplexer: Option<Multiplexer>,
    look: tokio::time::Interval,
    /// Ctrl-C where the terminal makes a signal of it. A script is ended by it, as by default.
    interrupts: Option<Signal>,
}

/// What something that runs beside the shell says.
#[derive(Debug)]
enum Aside {
    /// For the person.
    Note(String),
    /// The end of an export.
    Saved(Result<String, ErrorLine>),
    /// The editor gives the terminal back.
    Edited(Result<String, ErrorLine>),
}

enum Step {
    Did(Did),
    Event(Option<Result<Line, CallError>>),
    Answer(usize, Option<Result<Line, CallError>>),
    Aside(Aside),
    Key,
    Time,
    /// It is time to see whether somebody is attached.
    Look,
}

impl Shell {
    async fn run<T>(mut self, mut until: Pin<&mut impl Future<Output = T>>) -> Result<u8, T> {
        self.act();
        while self.code.is_none() || self.saving > 0 || self.editing {
            self.listen();
            let step = tokio::select! {
                step = self.step() => step,
                ended = &mut until => {
                    self.editor_ends().await;
                    return Err(ended);
                }
            };
            let now = self.clock.now();
            self.chat.set_columns(columns());
            if self.known.take_typed() {
                self.chat.handle_key(now);
            }
            match step {
                Step::Did(did) => self.on_did(now, did),
                Step::Event(event) => self.on_event(now, event),
                Step::Answer(place, answer) => {
                    let tag = self.calls[place].0;
                    if !matches!(answer, Some(Ok(_))) {
                        self.calls.swap_remove(place);
                    }
                    self.chat.handle_answer(now, tag, answer);
                }
                Step::Aside(aside) => self.on_aside(now, aside),
                // Taken above.
                Step::Key => {}
                Step::Time => self.chat.handle_timeout(now),
                Step::Look => {
                    let attached = self.multiplexer.as_ref().is_none_or(Multiplexer::is_attached);
                    self.chat.handle_attached(now, attached);
                }
            }
            self.act();
            self.end_of_script();
        }
        Ok(self.code.unwrap_or(0))
    }

    /// Whatever comes first.
    async fn step(&mut self) -> Step {
        let deadline = self.chat.poll_timeout().map(|at| at.since(self.clock.now().instant));
        let script_end = match self.input {
            Input::Ended(at) => Some(at.saturating_duration_since(tokio::time::Instant::now())),
            Input::Open => None,
        };
        let wait = deadline.into_iter().chain(script_end).min();
        let (reads, deaf) = (self.reads(), self.deaf);
        let has_multiplexer = self.multiplexer.is_some();
        let Self { desk, events, calls, interrupts, asides, known, look, .. } = self;
        tokio::select! {
            biased;
            (place, answer) = next_answer(calls) => Step::Answer(place, answer),
            event = events.next(), if !deaf => Step::Event(event),
            did = desk.next(), if reads => Step::Did(did),
            Some(text) = asides.recv() => Step::Aside(text),
            () = known.key() => Step::Key,
            Some(()) = interrupted(interrupts) => Step::Did(Did::Interrupt),
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => Step::Time,
            _ = look.tick(), if has_multiplexer => Step::Look,
        }
    }

    /// Lines are taken: not while the prompt may change, and a script's only one after the other.
    fn reads(&self) -> bool {
        match self.mode {
            Mode::Script => self.input == Input::Open && self.chat.is_settled() && self.saving == 0,
            Mode::Edited | Mode::Plain => self.chat.is_prompt_settled() && !self.editing,
        }
    }

    fn listen(&mut self) {
        if self.reads() && self.input == Input::Open {
            let prompt = self.question.unwrap_or(&self.prompt).to_owned();
            let asking = Asking { prompt, hidden: self.question.is_some() };
            self.desk.go_on(&asking, self.before, self.edited.take(), self.mode == Mode::Plain);
            self.before = Before::Keep;
        }
    }

    fn on_did(&mut self, now: Now, did: Did) {
        match did {
            Did::Line(line) if self.question.take().is_some() => {
                self.line += 1;
                self.chat.handle_secret(Zeroizing::new(line));
            }
            Did::Line(line) => {
                self.line += 1;
                if self.chat.handle_line(now, &line) {
                    self.before = Before::TakeBack;
                }
            }
            Did::Interrupt if self.question.take().is_some() => {
                self.desk.line_is_gone();
                self.chat.handle_no_secret();
            }
            // It was for the editor.
            Did::Interrupt if self.editing => {}
            Did::Interrupt => {
                self.before = Before::TakeBack;
                self.desk.line_is_gone();
                if !self.told_how_to_leave {
                    self.told_how_to_leave = true;
                    self.desk.print(self.chat.look().note("Ctrl-D or /quit ends the chat"));
                }
            }
            Did::End if self.mode == Mode::Script => {
                self.question = None;
                self.chat.handle_no_secret();
                self.input = Input::Ended(tokio::time::Instant::now() + self.timeout);
            }
            Did::End => {
                self.input = Input::Ended(tokio::time::Instant::now() + self.timeout);
                self.chat.quit();
            }
        }
    }

    fn on_event(&mut self, now: Now, event: Option<Result<Line, CallError>>) {
        match event {
            Some(Ok(line)) => {
                match &line {
                    // Where nothing is shown yet, what is missed is missed from here.
                    Line::Ready(ready) => self.last_message = ready.after.or(self.last_message),
                    Line::Message(message) => self.last_message = Some(message.id),
                    _ => {}
                }
                self.chat.handle_event(now, line);
            }
            Some(Err(CallError::Refused(error))) if error.code == "too-slow" => {
                self.events = self.client.subscribe(Subscribe { after: self.last_message, ..Subscribe::default() });
                self.chat.handle_gap();
            }
            Some(Err(_)) | None => {
                self.deaf = true;
                self.chat.handle_lost();
            }
        }
    }

    /// Does what the state machine wants done.
    fn act(&mut self) {
        if self.chat.is_ended() && !self.editing {
            self.desk.leave();
        }
        while let Some(action) = self.chat.poll_action() {
            match action {
                Action::Print(text) if std::mem::take(&mut self.ringing) => self.desk.print(format!("\x07{text}")),
                Action::Print(text) => self.desk.print(text),
                Action::Failed(error) => self.fail(&error),
                Action::Call(tag, call) => self.calls.push((tag, self.client.call(call))),
                Action::Prompt(prompt) => self.prompt = prompt,
                Action::Export { file, peer } => {
                    self.saving += 1;
                    let (tell, client) = (self.tell.clone(), self.client.clone());
                    tokio::spawn(async move {
                        let _ = tell.send(Aside::Saved(save::save(client, file, peer).await));
                    });
                }
                Action::Edit(text) => {
                    self.editing = true;
                    self.desk.lend();
                    let (tell, dir) = (self.tell.clone(), self.dir.clone());
                    tokio::spawn(async move {
                        let _ = tell.send(Aside::Edited(editor::edit(&dir, &text).await));
                    });
                }
                Action::Ask(question) => self.question = Some(question),
                Action::Bell(message) => {
                    self.ringing = self.bell;
                    if let Some(notifier) = &self.notifier {
                        notifier.tell(*message);
                    }
                }
                Action::Clear if self.mode == Mode::Edited => self.before = Before::Clear,
                Action::Clear => {}
                Action::End(code) => self.code = Some(self.first_failure.unwrap_or(code)),
            }
        }
        let version = self.chat.names_version();
        if std::mem::replace(&mut self.names_version, version) != version {
            self.known.set_names(self.chat.names());
        }
        self.known.set_waiting(self.chat.waiting());
    }

    fn fail(&mut self, error: &ErrorLine) {
        if self.mode != Mode::Script {
            let hint = error.hint.as_deref().map(environment::in_the_shell);
            return self.desk.print(self.chat.look().error(&error.text, hint.as_deref()));
        }
        eprintln!("p2pchat-udp: line {}: {error}", self.line);
        if let Some(hint) = &error.hint {
            eprintln!("{hint}");
        }
        self.first_failure.get_or_insert(error.exit);
        if self.fail_fast && self.input == Input::Open {
            self.input = Input::Ended(tokio::time::Instant::now() + self.timeout);
        }
    }

    /// A script ends when its messages are delivered, or its time is up.
    fn end_of_script(&mut self) {
        let Input::Ended(at) = self.input else { return };
        if self.code.is_some() || self.mode != Mode::Script {
            return;
        }
        let waits = self.chat.undelivered();
        if self.chat.is_settled() && waits == 0 && self.saving == 0 {
            self.code = Some(self.first_failure.unwrap_or(0));
        } else if tokio::time::Instant::now() >= at {
            eprintln!("p2pchat-udp: {waits} of this script's messages still wait: they are kept and go out by themselves");
            self.code = Some(self.first_failure.unwrap_or(5));
        }
    }
}

/// Ctrl-C; for ever where it is nobody's business.
async fn interrupted(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// The next line of any call's answer, and which call that is.
async fn next_answer(calls: &mut [(Tag, Replies)]) -> (usize, Option<Result<Line, CallError>>) {
    poll_fn(|context| {
        for (place, (_, replies)) in calls.iter_mut().enumerate() {
            // Asking anew each time loses nothing: `next` is cancel safe.
            if let Poll::Ready(answer) = pin!(replies.next()).poll(context) {
                return Poll::Ready((place, answer));
            }
        }
        Poll::Pending
    })
    .await
}
