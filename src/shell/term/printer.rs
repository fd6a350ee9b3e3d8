//! The printer: one thread that all texts go through, around the line that is being typed or straight out.

use std::{
    io::Write,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use nix::sys::termios::{self, LocalFlags};
use rustyline::ExternalPrinter;

/// How long the printer waits for the editor to take the terminal, in milliseconds.
const EDITOR_WAIT_MS: usize = 1_000;
/// A text that changes nothing on the screen: up one row, and down again.
const NO_TEXT: &str = "\x1b[A\n";

/// What goes to the screen.
#[derive(Debug)]
pub(super) enum Out {
    Text(String),
    /// Where nothing is rewritten: the prompt, unless it stands there.
    Prompt(String),
}

/// What the printer may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A line is being edited: texts go around it.
    Editing,
    /// Between two lines: texts wait.
    Between,
    /// Nobody edits any more, or anything: texts go straight out.
    Open,
}

#[derive(Debug)]
pub(super) struct Gate {
    pub(super) phase: Phase,
    /// The line that is being edited is the last one.
    pub(super) closing: bool,
    /// Something may have been printed straight behind the line that was entered.
    pub(super) doubtful: bool,
    /// The editor was given a text and has maybe not shown it.
    pub(super) printing: bool,
    /// Plain lines: a prompt stands at the end of the screen.
    pub(super) prompt: Option<String>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) gate: Mutex<Gate>,
    pub(super) opened: Condvar,
    pub(super) waiting: AtomicUsize,
    pub(super) lost: AtomicUsize,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until a line is being edited, or nothing is edited any more. The editor takes the terminal a
    /// moment after it was told to: what is printed before that would count as printed behind the line.
    fn wait_for_turn(&self) -> MutexGuard<'_, Gate> {
        let mut gate = self.lock();
        for _ in 0..EDITOR_WAIT_MS {
            while gate.phase == Phase::Between {
                gate = self.opened.wait(gate).unwrap_or_else(PoisonError::into_inner);
            }
            if gate.phase == Phase::Open || is_edited() {
                break;
            }
            drop(gate);
            thread::sleep(Duration::from_millis(1));
            gate = self.lock();
        }
        gate
    }

    /// False at the end: no line is edited any more.
    pub(super) fn enter(&self, phase: Phase) -> bool {
        let mut gate = self.lock();
        gate.enter(phase);
        self.opened.notify_all();
        gate.phase != Phase::Open
    }
}

/// The editor has the terminal: it alone switches this off.
fn is_edited() -> bool {
    termios::tcgetattr(std::io::stdin()).is_ok_and(|now| !now.local_flags.contains(LocalFlags::IEXTEN))
}

pub(super) fn start_printer(
    phase: Phase,
    printer: Option<Box<dyn ExternalPrinter + Send>>,
) -> (Arc<Shared>, mpsc::Sender<Out>, mpsc::Receiver<()>) {
    let gate = Mutex::new(Gate { phase, closing: false, doubtful: false, printing: false, prompt: None });
    let shared = Arc::new(Shared { gate, opened: Condvar::new(), waiting: AtomicUsize::new(0), lost: AtomicUsize::new(0) });
    let (prints, texts) = mpsc::channel::<Out>();
    let (done_sender, done) = mpsc::channel();
    let own = shared.clone();
    // Where no thread can be had, nothing is printed and `close` does not wait.
    let _ = thread::Builder::new().name("printer".to_owned()).spawn(move || {
        print_all(&texts, &own, printer);
        let _ = done_sender.send(());
    });
    (shared, prints, done)
}

fn print_all(texts: &mpsc::Receiver<Out>, shared: &Shared, mut printer: Option<Box<dyn ExternalPrinter + Send>>) {
    let mut next = None;
    while let Some(out) = next.take().or_else(|| texts.recv().ok()) {
        let mut text = match out {
            Out::Text(text) => text,
            Out::Prompt(prompt) => {
                shared.lock().show_prompt(prompt);
                continue;
            }
        };
        // What came together is printed together: one redraw of the line for all.
        let mut count = 1;
        while count < 100 {
            match texts.try_recv() {
                Ok(Out::Text(more)) => {
                    text.push('\n');
                    text.push_str(&more);
                    count += 1;
                }
                other => {
                    next = other.ok();
                    break;
                }
            }
        }
        shared.waiting.fetch_sub(count, Ordering::Relaxed);
        let lost = shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            text.push_str(&format!("\n-- {lost} lines came faster than they could be shown: /history has the messages"));
        }
        text.push('\n');
        let mut gate = shared.wait_for_turn();
        match (&mut printer, gate.phase) {
            (Some(printer), Phase::Editing) => {
                // The editor takes a text only while it edits, and comes back to editing only by the gate: a
                // printer that kept it would wait for an editor that waits for it.
                gate.printing = true;
                drop(gate);
                let _ = printer.print(text);
                let mut gate = shared.lock();
                gate.printing = false;
                gate.doubtful |= !is_edited();
            }
            _ => gate.print_plain(&text),
        }
    }
    if let Some(printer) = &mut printer
        && shared.wait_for_turn().phase == Phase::Editing
    {
        // The editor has room for one text and takes the next when it has shown the one before. So once it
        // has taken the second of these, all texts stand on the screen.
        for _ in 0..2 {
            let _ = printer.print(NO_TEXT.to_owned());
        }
    }
}

impl Gate {
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = if self.closing { Phase::Open } else { phase };
    }

    /// No line is edited after the one that is being edited now, if one is.
    pub(super) fn close(&mut self) {
        self.closing = true;
        if self.phase == Phase::Between {
            self.phase = Phase::Open;
        }
    }

    fn show_prompt(&mut self, prompt: String) {
        if self.prompt.as_ref() != Some(&prompt) {
            let before = if self.prompt.is_some() { "\n" } else { "" };
            write_out(&format!("{before}{prompt}"));
            self.prompt = Some(prompt);
        }
    }

    /// Where nothing is rewritten: a row that has a prompt, and maybe a half typed line, ends; behind the
    /// text the prompt stands again.
    fn print_plain(&self, text: &str) {
        let (before, after) = self.prompt.as_deref().map_or(("", ""), |prompt| ("\n", prompt));
        write_out(&format!("{before}{text}{after}"));
    }
}

/// A terminal that takes nothing any more is noticed by whoever reads from it.
pub(super) fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
