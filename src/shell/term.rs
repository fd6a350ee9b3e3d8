//! The person's end of the shell: a line editor in its own thread, or plain lines; and one printer for
//! all that comes while a line is being typed. What is typed and printed means nothing here.
//!
//! The editor's thread is told to `Go`, edits one line, hands it over, and waits to be told again.
//! Between two lines nothing is printed: what comes waits in the printer until the next line is edited,
//! so that the rows which were just typed are the last ones on the screen and can be taken back.

mod keys;
mod printer;
mod typed;

use std::{
    io::{BufRead, IsTerminal},
    sync::{Arc, PoisonError, TryLockError, atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        termios::{self, InputFlags, LocalFlags, SetArg, Termios},
    },
    unistd::Pid,
};
use rustyline::{
    ColorMode, CompletionType, Config, Editor, GraphemeClusterMode, config::Configurer, error::ReadlineError,
    history::FileHistory,
};
use tokio::sync::mpsc as async_mpsc;

use self::keys::{Held, Hides};
use self::printer::{Out, Phase, Shared, start_printer, write_out};
pub(super) use self::typed::Typed;
pub use self::typed::forget_typed;
use super::complete::{Editing, Known};

/// Texts that wait to be printed at most; past it they are counted, not kept.
const PRINTS_MAX: usize = 10_000;
/// Lines that Up and Ctrl-R find.
const HISTORY_MAX: usize = 1_000;
/// How long Escape waits for what belongs to it, in milliseconds.
const ESCAPE_WAIT: u16 = 50;
/// How long the end waits for the last texts to be printed, at most: an editor that searches its history
/// shows none.
const LAST_PRINTS: Duration = Duration::from_secs(2);
/// How long a signal that stops this program may take to reach all of its threads.
const STOP_WAIT: Duration = Duration::from_millis(50);
/// Switches the terminal's bracketed paste off, should the editor not have come to it.
const PASTE_OFF: &str = "\x1b[?2004l";

/// What the person did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Did {
    /// Entered a line, or pasted several at once.
    Line(String),
    /// Ctrl-C on an empty line.
    Interrupt,
    /// Ctrl-D on an empty line, the end of the input, or the terminal is gone.
    End,
}

/// What becomes of the line that was just entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// It stays on the screen.
    Keep,
    /// Its rows are taken back: it comes again as a message's line.
    TakeBack,
    /// The whole screen is cleared.
    Clear,
}

#[derive(Debug)]
struct Go {
    asking: Asking,
    before: Before,
    /// A text from elsewhere, that Up shall find.
    typed: Option<String>,
}

/// What stands before the next line, and whether that is shown while it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asking {
    pub(super) prompt: String,
    pub(super) hidden: bool,
}

/// The terminal, or whatever else the lines come from and go to.
#[derive(Debug)]
pub(super) struct Desk {
    shared: Arc<Shared>,
    prints: Option<mpsc::Sender<Out>>,
    done: mpsc::Receiver<()>,
    go: Option<mpsc::Sender<Go>>,
    did: async_mpsc::Receiver<Did>,
    saved: Option<Termios>,
    edited: bool,
    awaited: bool,
    /// What stands on a plain screen.
    asked: Option<Asking>,
    /// A plain terminal as it is while it shows what is typed.
    echoing: Option<Termios>,
}

impl Desk {
    /// A line editor on the terminal.
    pub(super) fn edited(known: Known, color: bool, typed: Typed) -> rustyline::Result<Self> {
        let (did_sender, did) = async_mpsc::channel(1);
        let (go, goes) = mpsc::channel();
        let (held, hides) = (Held::default(), Hides::default());
        let mut editor = editor(known, color, &held, &hides)?;
        typed.load(&mut editor);
        let printer = editor.create_external_printer()?;
        let saved = quiet_terminal();
        let (shared, prints, done) = start_printer(Phase::Between, Some(Box::new(printer)));
        let own = Own { shared: shared.clone(), held, hides, saved: saved.clone(), typed };
        thread::Builder::new().name("editor".to_owned()).spawn(move || edit(editor, &goes, &did_sender, &own))?;
        Ok(Self {
            shared,
            prints: Some(prints),
            done,
            go: Some(go),
            did,
            saved,
            edited: true,
            awaited: false,
            asked: None,
            echoing: None,
        })
    }

    /// Lines as they come, and texts as they are: a plain terminal, or no terminal at all.
    pub(super) fn plain() -> std::io::Result<Self> {
        let (did_sender, did) = async_mpsc::channel(1);
        let (shared, prints, done) = start_printer(Phase::Open, None);
        let gate = shared.clone();
        thread::Builder::new().name("lines".to_owned()).spawn(move || read_lines(&did_sender, &gate))?;
        Ok(Self {
            shared,
            prints: Some(prints),
            done,
            go: None,
            did,
            saved: None,
            edited: false,
            awaited: true,
            asked: None,
            echoing: None,
        })
    }

    /// Prints the text around the line that is being typed. Never waits.
    pub(super) fn print(&self, text: String) {
        let Some(prints) = &self.prints else { return write_out(&format!("{text}\n")) };
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= PRINTS_MAX {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Where the printer is gone, so is the terminal; the next line says so.
        let _ = prints.send(Out::Text(text));
    }

    /// Asks for the next line, where none is asked for.
    pub(super) fn go_on(&mut self, asking: &Asking, before: Before, typed: Option<String>, show_prompt: bool) {
        if let Some(go) = &self.go
            && !self.awaited
        {
            self.awaited = go.send(Go { asking: asking.clone(), before, typed }).is_ok();
        } else if self.go.is_none()
            && show_prompt
            && self.asked.as_ref() != Some(asking)
            && let Some(prints) = &self.prints
        {
            if asking.hidden && self.echoing.is_none() {
                self.echoing = silence();
            }
            let _ = prints.send(Out::Prompt(asking.prompt.clone()));
            self.asked = Some(asking.clone());
        }
    }

    /// Gives the terminal away as it was before, between two lines: nothing is printed until [`Self::take_back`].
    pub(super) fn lend(&self) {
        give_back(self.saved.as_ref());
    }

    /// The terminal is ours again.
    pub(super) fn take_back(&self) {
        quiet_terminal();
    }

    /// The terminal has thrown away what was typed on its plain line: the prompt stands on a new one.
    pub(super) fn line_is_gone(&mut self) {
        if self.go.is_none() {
            self.asked = None;
            give_back(self.echoing.take().as_ref());
            if self.shared.lock().prompt.take().is_some() {
                write_out("\n");
            }
        }
    }

    /// The next thing the person does.
    pub(super) async fn next(&mut self) -> Did {
        let did = self.did.recv().await.unwrap_or(Did::End);
        self.awaited = self.go.is_none();
        self.asked = None;
        give_back(self.echoing.take().as_ref());
        did
    }

    /// Prints what still waits and gives the terminal back as it was; once. From here on texts go straight
    /// out: an editor that ends with this program would take them with it.
    pub(super) fn leave(&mut self) {
        if self.prints.take().is_none() {
            return;
        }
        self.go = None;
        if let Some(mut gate) = try_for(LAST_PRINTS, || self.shared.gate.try_lock()) {
            gate.close();
        }
        self.shared.opened.notify_all();
        let _ = self.done.recv_timeout(LAST_PRINTS);
        give_back(self.echoing.take().or_else(|| self.saved.take()).as_ref());
        if self.edited && self.awaited {
            write_out(&format!("{PASTE_OFF}\r\n"));
        } else if try_for(LAST_PRINTS, || self.shared.gate.try_lock()).is_some_and(|mut gate| gate.prompt.take().is_some()) {
            write_out("\n");
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Makes the terminal as it was.
fn give_back(saved: Option<&Termios>) {
    if let Some(saved) = saved {
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, saved);
    }
}

fn editor(known: Known, color: bool, held: &Held, hides: &Hides) -> rustyline::Result<Editor<Editing, FileHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)?
        .history_ignore_dups(true)?
        .auto_add_history(true)
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .keyseq_timeout(Some(ESCAPE_WAIT))
        // Without it nothing could be hidden; `Editing` knows whether there is colour.
        .color_mode(ColorMode::Enabled)
        .build();
    let history = FileHistory::with_config(&config);
    let mut editor = Editor::with_history(config, history)?;
    editor.set_helper(Some(Editing { known, color, hidden: false }));
    keys::bind(&mut editor, held, hides);
    Ok(editor)
}

/// What the editor's thread shares with the others.
struct Own {
    shared: Arc<Shared>,
    held: Held,
    hides: Hides,
    saved: Option<Termios>,
    typed: Typed,
}

impl Own {
    /// Edits one line; one that was left by Ctrl-Z goes on where it was.
    fn read_line(&self, editor: &mut Editor<Editing, FileHistory>, prompt: &str) -> rustyline::Result<String> {
        let mut line = editor.readline(prompt);
        while self.hides.take_again() {
            line = editor.readline(prompt);
        }
        while let Some((before, behind)) = self.take_held() {
            self.shared.enter(Phase::Between);
            give_back(self.saved.as_ref());
            // The whole job, as the terminal itself would.
            let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
            thread::sleep(STOP_WAIT);
            quiet_terminal();
            if !self.shared.enter(Phase::Editing) {
                break;
            }
            line = editor.readline_with_initial(prompt, (&before, &behind));
        }
        line
    }

    fn take_held(&self) -> Option<(String, String)> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A terminal that takes lines as before and shows nothing of them but their end; how it was.
fn silence() -> Option<Termios> {
    let saved = termios::tcgetattr(std::io::stdin()).ok()?;
    let mut silent = saved.clone();
    silent.local_flags &= !LocalFlags::ECHO;
    silent.local_flags |= LocalFlags::ECHONL;
    termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &silent).ok()?;
    Some(saved)
}

/// Between two lines nothing that is typed is echoed, nor does it end anything: the next line has it.
fn quiet_terminal() -> Option<Termios> {
    let saved = termios::tcgetattr(std::io::stdin()).ok()?;
    let mut quiet = saved.clone();
    quiet.local_flags &= !(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
    quiet.input_flags &= !(InputFlags::ICRNL | InputFlags::IXON);
    termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &quiet).ok()?;
    Some(saved)
}

/// Edits line after line. At the end the terminal is as it was, also where a last line was entered meanwhile.
fn edit(editor: Editor<Editing, FileHistory>, goes: &mpsc::Receiver<Go>, did: &async_mpsc::Sender<Did>, own: &Own) {
    edit_lines(editor, goes, did, own);
    give_back(own.saved.as_ref());
}

fn edit_lines(mut editor: Editor<Editing, FileHistory>, goes: &mpsc::Receiver<Go>, did: &async_mpsc::Sender<Did>, own: &Own) {
    let shared = &own.shared;
    let mut typed_rows = 0;
    while let Ok(Go { asking: Asking { prompt, hidden }, before, typed }) = goes.recv() {
        if let Some(text) = typed {
            own.typed.add(&mut editor, &text);
        }
        match before {
            Before::TakeBack if typed_rows > 0 => write_out(&format!("\x1b[{typed_rows}A\r\x1b[J")),
            Before::Clear => write_out("\x1b[H\x1b[2J"),
            _ => {}
        }
        shared.lock().doubtful = false;
        if !shared.enter(Phase::Editing) {
            return;
        }
        // Up and Ctrl-R find no secret.
        editor.set_auto_add_history(!hidden);
        own.hides.hidden.store(hidden, Ordering::Relaxed);
        if let Some(editing) = editor.helper_mut() {
            editing.hidden = hidden;
        }
        let line = own.read_line(&mut editor, &prompt);
        own.typed.keep(&mut editor);
        // Where a text may stand behind the line, its rows stay.
        let alone = match try_for(Duration::from_millis(20), || shared.gate.try_lock()) {
            Some(mut gate) => {
                gate.enter(Phase::Between);
                !gate.doubtful && !gate.printing
            }
            None => false,
        };
        let (columns, rows) = editor.dimensions().unwrap_or((80, 24));
        typed_rows = match &line {
            Ok(line) if alone => rows_of(&prompt, line, columns).min(usize::from(rows).saturating_sub(1)),
            Err(ReadlineError::Interrupted) if alone => 1,
            _ => 0,
        };
        let event = match line {
            Ok(line) => Did::Line(line),
            Err(ReadlineError::Interrupted) => Did::Interrupt,
            Err(_) => Did::End,
        };
        if did.blocking_send(event).is_err() {
            return;
        }
    }
}

fn try_for<T>(time: Duration, mut lock: impl FnMut() -> Result<T, TryLockError<T>>) -> Option<T> {
    const STEPS: u32 = 20;
    for _ in 0..STEPS {
        match lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(time / STEPS),
        }
    }
    None
}

/// How far below its first row the cursor stands once the line was entered. As the editor reckons it.
fn rows_of(prompt: &str, line: &str, columns: u16) -> usize {
    let mode = GraphemeClusterMode::from_env();
    let (mut row, mut column) = (0, 0);
    let mut buffer = [0; 4];
    for c in prompt.chars().chain(line.chars()) {
        let width = match c {
            '\n' => {
                row += 1;
                column = 0;
                continue;
            }
            '\t' => 8 - column % 8,
            c => mode.width(c.encode_utf8(&mut buffer)),
        };
        column += width;
        if column > columns {
            row += 1;
            column = width;
        }
    }
    row + usize::from(column == columns) + 1
}

fn read_lines(did: &async_mpsc::Sender<Did>, shared: &Shared) {
    let mut input = std::io::stdin().lock();
    let echoes = std::io::stdin().is_terminal();
    loop {
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line);
        if echoes {
            // The line's end is on the screen: the prompt is used up.
            let prompt = shared.lock().prompt.take();
            if prompt.is_some() && !line.ends_with(b"\n") {
                write_out("\n");
            }
        }
        let event = match read {
            Ok(0) | Err(_) => Did::End,
            Ok(_) => {
                let end = line.strip_suffix(b"\n").unwrap_or(&line);
                let end = end.strip_suffix(b"\r").unwrap_or(end);
                Did::Line(String::from_utf8_lossy(end).into_owned())
            }
        };
        let ends = event == Did::End;
        if did.blocking_send(event).is_err() || ends {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_line_are_counted_as_the_editor_draws_them() {
        assert_eq!(rows_of("bob> ", "hello", 80), 1);
        assert_eq!(rows_of("bob> ", &"x".repeat(74), 80), 1);
        assert_eq!(rows_of("bob> ", &"x".repeat(75), 80), 2, "a full row moves the cursor on");
        assert_eq!(rows_of("bob> ", &"x".repeat(76), 80), 2);
        assert_eq!(rows_of("bob> ", "a\nb\nc", 80), 3);
        assert_eq!(rows_of("> ", &"日".repeat(39), 80), 2);
        assert_eq!(rows_of("> ", &"日".repeat(40), 80), 2);
        assert_eq!(rows_of("", "a\tb", 8), 2);
    }
}
