//! The program on a pseudo-terminal of 80×24, and the screen that a person would see.

use std::{
    fmt::Debug,
    fs::File,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::signal::{Signal, killpg},
    unistd::tcgetpgrp,
};

use crate::person::{HANG, PROGRAM, Person, code};

pub(crate) const ROWS: u16 = 24;
pub(crate) const COLUMNS: u16 = 80;
/// Of any terminal here.
const COLUMNS_MAX: u16 = 200;

/// A terminal with the program on it. Killed when it is dropped.
pub(crate) struct Pane {
    child: Child,
    keys: File,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

/// A row of a screen, and the same with escape sequences for its colours.
#[derive(Debug, Clone)]
pub(crate) struct Styled {
    pub(crate) plain: String,
    pub(crate) ansi: String,
}

struct Seen {
    screen: vt100::Parser,
    /// Everything that was ever written to the terminal.
    bytes: Vec<u8>,
    over: bool,
}

impl Pane {
    /// The shell of this person.
    pub(crate) fn shell(person: &Person, args: &[&str]) -> Self {
        Self::open(person.command(args))
    }

    /// The program with these arguments and environment, on a terminal of its own.
    pub(crate) fn open(command: Command) -> Self {
        Self::open_in(COLUMNS, command)
    }

    /// The same on one of so many columns.
    pub(crate) fn open_in(columns: u16, command: Command) -> Self {
        let size = Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        // Makes the terminal the controlling one, so that Ctrl-C can be a signal.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(PROGRAM).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let has = |name: &str| command.get_envs().any(|(key, _)| key == name);
        for (name, value) in [("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")] {
            if !has(name) {
                session.env(name, value);
            }
        }
        session.env_remove("TERM_PROGRAM");
        if !has("NO_COLOR") {
            session.env_remove("NO_COLOR");
        }
        session.stdin(Stdio::from(slave.try_clone().unwrap()));
        session.stdout(Stdio::from(slave.try_clone().unwrap())).stderr(Stdio::from(slave));
        let child = session.spawn().expect("setsid of util-linux starts it");
        drop(session);
        let screen = vt100::Parser::new(ROWS.try_into().unwrap(), columns.try_into().unwrap(), 5_000);
        let seen = Arc::new((Mutex::new(Seen { screen, bytes: Vec::new(), over: false }), Condvar::new()));
        let keys = File::from(master);
        let mut output = keys.try_clone().unwrap();
        let shared = seen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let len = output.read(&mut buffer).unwrap_or(0);
                let mut seen = lock(&shared);
                seen.screen.process(&buffer[..len]);
                seen.bytes.extend_from_slice(&buffer[..len]);
                seen.over = len == 0;
                shared.1.notify_all();
                if len == 0 {
                    return;
                }
            }
        });
        Self { child, keys, seen }
    }

    /// Presses these keys.
    pub(crate) fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line and Enter.
    pub(crate) fn line(&mut self, line: &str) {
        self.keys(&format!("{line}\r"));
    }

    /// Pastes, as a terminal does that was asked for bracketed paste.
    pub(crate) fn paste(&mut self, text: &str) {
        assert!(lock(&self.seen).screen.screen().bracketed_paste(), "the shell asked for bracketed paste");
        self.keys(&format!("\x1b[200~{}\x1b[201~", text.replace('\n', "\r")));
    }

    /// The rows of the screen as they are now, without blanks at their ends nor empty ones below.
    pub(crate) fn rows(&self) -> Vec<String> {
        rows(&lock(&self.seen).screen)
    }

    /// Every row that was ever on the screen, and those that are now.
    pub(crate) fn all_rows(&self) -> Vec<String> {
        let mut seen = lock(&self.seen);
        let mut all = Vec::new();
        let back = seen.screen.screen().scrollback_len();
        let screen = seen.screen.screen_mut();
        for up in (1..=back).rev() {
            screen.set_scrollback(up);
            all.extend(screen.rows(0, COLUMNS_MAX).next().map(|row| row.trim_end().to_owned()));
        }
        screen.set_scrollback(0);
        all.extend(rows(&seen.screen));
        all
    }

    /// The rows of the screen as they are now, in their colours.
    pub(crate) fn styled(&self) -> Vec<Styled> {
        let seen = lock(&self.seen);
        let plain = rows(&seen.screen);
        let styled = plain.into_iter().zip(0..).map(|(plain, row)| Styled { plain, ansi: ansi(seen.screen.screen(), row) });
        styled.collect()
    }

    /// The person makes the window this wide.
    pub(crate) fn resize(&self, columns: u16) {
        lock(&self.seen).screen.screen_mut().set_size(ROWS.try_into().unwrap(), columns.try_into().unwrap());
        let master = self.keys.try_clone().unwrap();
        let status = Command::new("stty").args(["columns", &columns.to_string()]).stdin(Stdio::from(master)).status();
        assert!(status.expect("stty of coreutils starts").success());
    }

    /// Everything that was ever written to the terminal.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        lock(&self.seen).bytes.clone()
    }

    /// Whether the terminal shows what is typed.
    pub(crate) fn has_echo(&self) -> bool {
        let how = nix::sys::termios::tcgetattr(&self.keys).unwrap();
        how.local_flags.contains(nix::sys::termios::LocalFlags::ECHO)
    }

    /// To the program in the foreground.
    pub(crate) fn signal(&self, signal: Signal) {
        killpg(tcgetpgrp(&self.keys).unwrap(), signal).unwrap();
    }

    /// Waits until the screen is as wanted; gives its rows.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, fits: impl Fn(&[String]) -> bool) -> Vec<String> {
        self.until_screen(what, |screen| fits(&rows(screen)))
    }

    /// Waits until the cursor stands in this row and column.
    #[track_caller]
    pub(crate) fn until_cursor(&self, row: usize, column: usize) {
        let at = |screen: &vt100::Parser| {
            let cursor = screen.screen().cursor_position();
            (usize::from(cursor.0), usize::from(cursor.1)) == (row, column)
        };
        self.until_screen("the cursor", at);
    }

    #[track_caller]
    fn until_screen(&self, what: &str, fits: impl Fn(&vt100::Parser) -> bool) -> Vec<String> {
        let until = Instant::now() + HANG;
        let mut seen = lock(&self.seen);
        loop {
            let now = rows(&seen.screen);
            if fits(&seen.screen) {
                return now;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !seen.over, "never came: {what}; on the screen:\n{}", now.join("\n"));
            let waited = self.seen.1.wait_timeout(seen, left.min(Duration::from_secs(1)));
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until a row has this in it; gives that row.
    #[track_caller]
    pub(crate) fn until_row(&self, part: &str) -> String {
        let rows = self.until(part, |rows| rows.iter().any(|row| row.contains(part)));
        rows.into_iter().rev().find(|row| row.contains(part)).unwrap()
    }

    /// Waits until the last row is this.
    #[track_caller]
    pub(crate) fn until_last(&self, row: &str) -> Vec<String> {
        self.until(&format!("{row:?} as the last row"), |rows| rows.last().is_some_and(|last| last == row))
    }

    /// Waits for the end of the program.
    #[track_caller]
    pub(crate) fn end(&mut self) -> i32 {
        let until = Instant::now() + HANG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return code(status);
            }
            assert!(Instant::now() < until, "it does not end; on the screen:\n{}", self.rows().join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        // Closing the terminal would end it as well, in its own time.
        let _ = self.keys.write_all(b"\x03\x04");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Debug for Pane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rows()).finish()
    }
}

/// Also where a test failed while it looked: it alone says so.
fn lock(seen: &(Mutex<Seen>, Condvar)) -> MutexGuard<'_, Seen> {
    seen.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn rows(screen: &vt100::Parser) -> Vec<String> {
    let mut rows: Vec<String> = screen.screen().rows(0, COLUMNS_MAX).map(|row| row.trim_end().to_owned()).collect();
    while rows.last().is_some_and(String::is_empty) {
        rows.pop();
    }
    rows
}

/// A row with what colours it, and nothing else.
fn ansi(screen: &vt100::Screen, row: u16) -> String {
    let (mut out, mut before) = (String::new(), String::new());
    for column in 0..COLUMNS {
        let Some(cell) = screen.cell(row, column).filter(|cell| !cell.is_wide_continuation()) else { continue };
        let mut style = String::from("0");
        if cell.bold() {
            style += ";1";
        }
        if cell.dim() {
            style += ";2";
        }
        if let vt100::Color::Idx(colour) = cell.fgcolor() {
            style += &format!(";{}", 30 + colour);
        }
        if style != before {
            out += &format!("\x1b[{style}m");
            before = style;
        }
        out += if cell.has_contents() { cell.contents() } else { " " };
    }
    format!("{}\x1b[0m", out.trim_end())
}
