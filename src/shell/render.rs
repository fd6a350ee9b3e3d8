//! What the shell prints, as text: pure functions from values to lines. Nothing is decided here about
//! when something is printed, and nothing of a peer's gets past [`Shown`].

mod tables;

use jiff::{Timestamp, tz::TimeZone};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub(in crate::shell) use self::tables::trust;
use super::parse::quote;
use crate::{
    clock::Unix,
    control::proto::{Direction, HistoryLine, Kind, MessageLine, RequestLine, State},
    text::Shown,
    wire::message::{CONTENT_ACTION, CONTENT_TEXT},
};

/// Columns that the second and every further row of a message is moved to the right by: whatever a
/// peer writes, its rows never begin where ours do.
const INDENT: usize = 6;
/// A window with no more columns than this behind what rows are indented by is folded by its terminal.
const COLUMNS_MIN: usize = 4;
/// Columns of a name in a table at most.
const NAME_COLUMNS_MAX: usize = 20;
/// A message longer than this many bytes is cut where it is shown; the history has all of it.
const SHOWN_LEN_MAX: usize = 16 * 1024;
/// A message of more lines than this is cut where it is shown.
const SHOWN_LINES_MAX: usize = 200;

/// How things look on this output.
#[derive(Debug, Clone)]
pub struct Look {
    /// Escape sequences for colours may be printed.
    pub color: bool,
    /// Marks as words, in ASCII, or as they are meant.
    pub glyphs: Glyphs,
    /// Columns of the terminal; `None`: rows are not folded.
    pub columns: Option<usize>,
    /// Of the person.
    pub zone: TimeZone,
}

/// What a mark is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyphs {
    /// `delivered`
    Words,
    /// `+`
    Ascii,
    /// `✓`
    Unicode,
}

/// What a piece of a line is, and so which colour it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    Text,
    Dim,
    Name,
    Me,
    Good,
    Bad,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Text => "",
            Self::Dim => "2",
            Self::Name => "1;36",
            Self::Me => "1;32",
            Self::Good => "32",
            Self::Bad => "31",
        }
    }
}

/// A line to be, in pieces. What a peer wrote comes in as [`Shown`] only.
#[derive(Debug, Default)]
struct Pieces(Vec<(Paint, String)>);

impl Pieces {
    fn own(mut self, paint: Paint, text: impl Into<String>) -> Self {
        self.0.push((paint, text.into()));
        self
    }

    fn shown(self, paint: Paint, text: &Shown) -> Self {
        self.own(paint, text.as_str())
    }

    /// A text of several lines; their ends stay ends.
    fn body(mut self, text: &str) -> Self {
        let cut = text.len() > SHOWN_LEN_MAX || text.lines().nth(SHOWN_LINES_MAX).is_some();
        let mut head = text;
        if cut {
            let mut end = SHOWN_LEN_MAX.min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            head = &text[..end];
        }
        for (number, line) in Shown::lines(head).into_iter().take(SHOWN_LINES_MAX).enumerate() {
            self = self.own(Paint::Text, if number == 0 { "" } else { "\n" }).shown(Paint::Text, &line);
        }
        if cut {
            self = self.own(Paint::Dim, format!("\n[{} bytes in all: p2pchat-udp history has the rest]", text.len()));
        }
        self
    }

    /// The line as it is printed, folded where the terminal has an end, without a newline at its own.
    fn folded(self, look: &Look, indent: usize) -> String {
        let mut out =
            Folder { out: String::new(), column: 0, indent, columns: look.columns.filter(|c| *c > indent + COLUMNS_MIN) };
        for (paint, text) in self.0 {
            let paint = if look.color { paint.code() } else { "" };
            if !paint.is_empty() && !text.is_empty() {
                out.out.push_str(&format!("\x1b[{paint}m"));
            }
            for (number, line) in text.split('\n').enumerate() {
                if number > 0 {
                    out.new_row();
                }
                line.split_inclusive(' ').for_each(|word| out.word(word));
            }
            if !paint.is_empty() && !text.is_empty() {
                out.out.push_str("\x1b[0m");
            }
        }
        out.out
    }
}

/// Folds words into rows.
struct Folder {
    out: String,
    column: usize,
    indent: usize,
    columns: Option<usize>,
}

impl Folder {
    fn new_row(&mut self) {
        self.out.truncate(self.out.trim_end_matches(' ').len());
        self.out.push('\n');
        self.out.push_str(&" ".repeat(self.indent));
        self.column = self.indent;
    }

    fn word(&mut self, word: &str) {
        let Some(columns) = self.columns else { return self.out.push_str(word) };
        let bare = columns_of(word.trim_end_matches(' '));
        if self.column + bare > columns && self.column > self.indent {
            self.new_row();
        }
        // A long address stays in one piece, so that a terminal can open it: it has no blank of any
        // kind in it, so it cannot look like a line of ours.
        let is_of_one = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"');
        let address = (word.starts_with("http://") || word.starts_with("https://")) && word.trim_end().bytes().all(is_of_one);
        if self.column + bare <= columns || address {
            self.out.push_str(word);
            self.column += columns_of(word);
            return;
        }
        for (c, width) in widths(word) {
            if self.column + width > columns {
                self.new_row();
            }
            self.out.push(c);
            self.column += width;
        }
    }
}

/// The same for a message that is not printed in the shell: its rows, none longer than so many columns. What is folded stands
/// as far in as the further lines of a message.
pub fn fold(text: &str, columns: usize) -> String {
    let folded = text.split('\n').map(|line| {
        let mut row = Folder {
            out: String::new(),
            column: 0,
            indent: INDENT,
            columns: Some(columns).filter(|c| *c > INDENT + COLUMNS_MIN),
        };
        line.split_inclusive(' ').for_each(|word| row.word(word));
        row.out
    });
    folded.collect::<Vec<_>>().join("\n")
}

/// Columns that a text takes at most: a terminal that knows no joiners draws each person of a family for itself. Where a row is
/// folded too late the terminal does it, and what follows stands where lines of ours begin.
fn columns_of(text: &str) -> usize {
    text.width().max(widths(text).map(|(_, width)| width).sum())
}

/// Characters with the columns of each; one that a selector makes an emoji is wide.
fn widths(text: &str) -> impl Iterator<Item = (char, usize)> {
    let next = text.chars().skip(1).map(Some).chain([None]);
    text.chars().zip(next).map(|(c, next)| {
        let width = c.width().unwrap_or(0);
        (c, if next == Some('\u{fe0f}') { width.max(2) } else { width })
    })
}

impl Look {
    fn arrow(&self) -> &'static str {
        if self.glyphs == Glyphs::Unicode { "→" } else { "->" }
    }

    /// The mark of a state; a word where marks are words.
    pub fn mark(&self, state: State) -> &'static str {
        let (word, ascii, unicode) = match state {
            State::Queued => ("queued", "..", "…"),
            State::Sent => ("sent", ">", "›"),
            State::Delivered => ("delivered", "+", "✓"),
            State::Read => ("read", "++", "✓✓"),
            State::Cancelled => ("cancelled", "x", "×"),
            State::Failed => ("failed", "!", "!"),
        };
        match self.glyphs {
            Glyphs::Words => word,
            Glyphs::Ascii => ascii,
            Glyphs::Unicode => unicode,
        }
    }

    fn zoned(&self, time: Unix) -> jiff::Zoned {
        let ms = i64::try_from(time.0).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX).to_zoned(self.zone.clone())
    }

    /// `HH:MM`, with the date before it where it is not today's.
    pub fn time(&self, time: Unix, now: Unix) -> String {
        let (time, now) = (self.zoned(time), self.zoned(now));
        let format = if time.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        time.strftime(format).to_string()
    }

    /// A day, as the line says it that stands before its first message.
    pub fn day(&self, time: Unix) -> String {
        self.zoned(time).strftime("%A, %Y-%m-%d").to_string()
    }

    /// When it was written, and for a late one also when it came.
    fn times(&self, sent: Unix, received: Unix, late: bool, now: Unix) -> String {
        let sent_text = self.time(sent, now);
        if !late {
            return sent_text;
        }
        let received_text = if self.zoned(sent).date() == self.zoned(received).date() {
            self.zoned(received).strftime("%H:%M").to_string()
        } else {
            self.time(received, now)
        };
        if self.glyphs == Glyphs::Words {
            format!("{sent_text} (came {received_text})")
        } else {
            format!("{sent_text}{}{received_text}", self.arrow())
        }
    }

    /// A message of a peer's: `HH:MM <bob> text`, `10:00→11:02 <bob> text`, `HH:MM * bob waves`.
    pub fn message(&self, line: &MessageLine, label: &Shown, now: Unix) -> String {
        let times = self.times(line.sent_at.0, line.received_at.0, line.late, now);
        let pieces = Pieces::default().own(Paint::Dim, times).own(Paint::Text, " ");
        said(pieces, line.kind, Paint::Name, label, &line.text).folded(self, INDENT)
    }

    /// What a stranger asks to write with.
    pub fn request(&self, line: &RequestLine, label: &Shown, now: Unix) -> String {
        let head = format!("{} asks to write: ", self.time(line.received_at.0, now));
        said(Pieces::default().own(Paint::Dim, head), line.kind, Paint::Name, label, &line.text).folded(self, INDENT)
    }

    /// A message of ours, with its mark. `to` is named where it is not who bare text goes to.
    pub fn own(&self, own: &Own<'_>, now: Unix) -> String {
        let who = own.to.map_or_else(|| own.me.to_string(), |to| format!("{}{}{to}", own.me, self.arrow()));
        let pieces = Pieces::default().own(Paint::Dim, self.time(own.at, now)).own(Paint::Text, " ");
        let pieces = said(pieces, own.kind, Paint::Me, &Shown::line(&who), own.text);
        self.with_mark(pieces, own.state).folded(self, INDENT)
    }

    /// Where nothing is rewritten the text stands above already, as it was typed: who, and how far it is.
    pub fn own_plain(&self, own: &Own<'_>, label: &Shown, now: Unix) -> String {
        let text = Shown::short(own.text, 24);
        let time = self.time(own.at, now);
        Pieces::default()
            .own(Paint::Dim, time)
            .own(Paint::Text, format!(" {} to {label}: {text}", self.mark(own.state)))
            .folded(self, INDENT)
    }

    fn with_mark(&self, pieces: Pieces, state: State) -> Pieces {
        let mark =
            if self.glyphs == Glyphs::Words { format!(" ({})", self.mark(state)) } else { format!(" {}", self.mark(state)) };
        let paint = match state {
            State::Delivered | State::Read => Paint::Good,
            State::Failed | State::Cancelled => Paint::Bad,
            State::Queued | State::Sent => Paint::Dim,
        };
        pieces.own(paint, mark)
    }

    /// A row of the history, like the line it once was.
    pub fn history(&self, line: &HistoryLine, me: &Shown, label: &Shown, now: Unix) -> String {
        if line.direction == Direction::Out {
            let to = Some(label);
            return self.own(&Own { me, to, at: line.sent_at.0, kind: line.kind, text: &line.text, state: line.state }, now);
        }
        // Arrival minus age is when it was sent: what waited 30 s was late.
        let late = line.received_at.0.since(line.sent_at.0) >= std::time::Duration::from_secs(30);
        let times = self.times(line.sent_at.0, line.received_at.0, late, now);
        let pieces = Pieces::default().own(Paint::Dim, times).own(Paint::Text, " ");
        said(pieces, line.kind, Paint::Name, label, &line.text).folded(self, INDENT)
    }

    /// `✓ bob: 3 delivered, last "see you at…"`
    pub fn summary(&self, label: &Shown, state: State, count: usize, last: Option<&str>, why: Option<&str>) -> String {
        let mark = if self.glyphs == Glyphs::Words { String::new() } else { format!("{} ", self.mark(state)) };
        let word = Self { glyphs: Glyphs::Words, ..self.clone() }.mark(state);
        let last = last.map(|text| {
            let which = if count == 1 { "" } else { "last " };
            format!(", {which}\"{}\"", Shown::short(text, 24))
        });
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let paint = if matches!(state, State::Failed) { Paint::Bad } else { Paint::Good };
        Pieces::default()
            .own(paint, mark)
            .own(Paint::Text, format!("{label}: {count} {word}{}{why}", last.unwrap_or_default()))
            .folded(self, INDENT)
    }

    /// A line of ours about what is going on.
    pub fn note(&self, text: &str) -> String {
        let dash = if self.glyphs == Glyphs::Words { "" } else { "-- " };
        Pieces::default()
            .own(Paint::Dim, format!("{dash}{}", Shown::line(text)))
            .folded(self, if dash.is_empty() { 0 } else { 3 })
    }

    /// A line of ours about what went wrong, and what to do.
    pub fn error(&self, text: &str, hint: Option<&str>) -> String {
        let mut pieces = Pieces::default()
            .own(Paint::Bad, if self.glyphs == Glyphs::Words { "error: " } else { "! " })
            .shown(Paint::Text, &Shown::line(text));
        if let Some(hint) = hint {
            pieces = pieces.own(Paint::Text, "\n").shown(Paint::Text, &Shown::line(hint));
        }
        pieces.folded(self, 2)
    }
}

/// A message of ours as it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// What I call myself.
    pub me: &'a Shown,
    /// To whom, where that is said.
    pub to: Option<&'a Shown>,
    /// When it was written.
    pub at: Unix,
    /// Text or action.
    pub kind: Kind,
    /// As it was typed.
    pub text: &'a str,
    /// How far it is.
    pub state: State,
}

fn said(pieces: Pieces, kind: Kind, paint: Paint, label: &Shown, text: &str) -> Pieces {
    match kind.0 {
        CONTENT_ACTION => pieces.own(Paint::Text, "* ").shown(paint, label).own(Paint::Text, " ").body(text),
        other => {
            let pieces = pieces.own(Paint::Text, "<").shown(paint, label).own(Paint::Text, "> ");
            if other != CONTENT_TEXT && text.is_empty() {
                return pieces.own(Paint::Dim, "a message of a kind this version does not know");
            }
            pieces.body(text)
        }
    }
}

/// Why a message waits or failed, in a person's words. A reason of a later version stands as it is.
pub fn reason(reason: &str) -> &str {
    match reason {
        "offline" => "not here now",
        "looking" => "not seen yet",
        "no-path" => "seen, but nothing comes back from there",
        "awaiting-acceptance" => "waits to be accepted there",
        "disk-full-there" => "its disk is full",
        "busy-there" => "has enough for now",
        "blocked" => "you block it",
        "expired" => "its time was up",
        "refused" => "refused there",
        "too-large-for-peer" => "too large for that version",
        "unsupported-by-peer" => "that version does not know it",
        other => other,
    }
}

/// The prompt: the target and `>`.
pub fn prompt(target: Option<&Shown>) -> String {
    target.map_or_else(|| "> ".to_owned(), |label| format!("{}> ", Shown::short(label.as_str(), NAME_COLUMNS_MAX)))
}

/// How to write to somebody of this name.
pub fn how_to(name: &str) -> String {
    format!("/to {}", quote(name))
}

#[cfg(test)]
mod tests;
