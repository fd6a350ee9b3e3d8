//! Keys that do here what they do not do in every line editor: Ctrl-C, Ctrl-Z, and in a secret line whatever takes text away.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use rustyline::{
    Cmd, ConditionalEventHandler, Editor, Event, EventContext, EventHandler, KeyCode, KeyEvent, Modifiers, Movement, RepeatCount,
    history::FileHistory,
};

use crate::shell::complete::Editing;

/// Gives them to this editor.
pub(super) fn bind(editor: &mut Editor<Editing, FileHistory>, held: &Held, hides: &Hides) {
    editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(ClearLine(hides.clone()))));
    for key in KILLS {
        editor.bind_sequence(key, EventHandler::Conditional(Box::new(KeepNothing(hides.clone()))));
    }
    editor.bind_sequence(KeyEvent::ctrl('Z'), EventHandler::Conditional(Box::new(Suspend(held.clone()))));
    editor.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
}

/// What is known of the line that is edited, where it is a secret.
pub(super) type Hides = Arc<Hidden>;

/// See [`Hides`].
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// It is one.
    pub(super) hidden: AtomicBool,
    /// It was taken back, and is asked for once more.
    again: AtomicBool,
}

impl Hidden {
    /// Whether it is to be asked for once more; once.
    pub(super) fn take_again(&self) -> bool {
        self.again.swap(false, Ordering::Relaxed)
    }
}

/// Keys that take away more than a character, which Ctrl-Y brings back.
const KILLS: [KeyEvent; 9] = [
    KeyEvent(KeyCode::Char('U'), Modifiers::CTRL),
    KeyEvent(KeyCode::Char('W'), Modifiers::CTRL),
    KeyEvent(KeyCode::Char('K'), Modifiers::CTRL),
    KeyEvent(KeyCode::Char('d'), Modifiers::ALT),
    KeyEvent(KeyCode::Char('D'), Modifiers::ALT),
    KeyEvent(KeyCode::Backspace, Modifiers::ALT),
    KeyEvent(KeyCode::Char('H'), Modifiers::CTRL_ALT),
    KeyEvent(KeyCode::Delete, Modifiers::CTRL),
    KeyEvent(KeyCode::Backspace, Modifiers::CTRL),
];

/// Of a secret nothing is kept: what takes a part of it away takes all of it, and the question is asked once more.
struct KeepNothing(Hides);

impl ConditionalEventHandler for KeepNothing {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        let hidden = self.0.hidden.load(Ordering::Relaxed);
        self.0.again.fetch_or(hidden, Ordering::Relaxed);
        hidden.then_some(Cmd::Interrupt)
    }
}

/// Ctrl-C takes back what is typed; with nothing typed the shell says how to leave. A secret it leaves.
struct ClearLine(Hides);

impl ConditionalEventHandler for ClearLine {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, ctx: &EventContext<'_>) -> Option<Cmd> {
        let leaves = ctx.line().is_empty() || self.0.hidden.load(Ordering::Relaxed);
        Some(if leaves { Cmd::Interrupt } else { Cmd::Kill(Movement::WholeBuffer) })
    }
}

/// A line that is held while the program is stopped: what stands before the cursor, and behind it.
pub(super) type Held = Arc<Mutex<Option<(String, String)>>>;

/// Ctrl-Z leaves the line, so that the program can stop with the terminal as it was before. (The editor's
/// own way goes on before the other threads have stopped, and the line is not drawn again.)
struct Suspend(Held);

impl ConditionalEventHandler for Suspend {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, ctx: &EventContext<'_>) -> Option<Cmd> {
        let (before, behind) = ctx.line().split_at_checked(ctx.pos())?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((before.to_owned(), behind.to_owned()));
        Some(Cmd::Interrupt)
    }
}
