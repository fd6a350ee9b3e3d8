//! Where a command's lines go: stdout, as JSON or for people. Everything that a peer wrote passes
//! through [`Shown`] before people see it.

use std::io::{ErrorKind, Write};

use jiff::tz::TimeZone;

use super::End;
use crate::{
    clock::Unix,
    control::call::Told,
    control::proto::{
        ContactLine, ErrorLine, HistoryLine, Kind, Line, MessageLine, PeerLine, RequestLine, SeedLine, SeedState, Time,
    },
    node::command::{PathKind, Presence},
    shell::render::fold,
    store::row::{Direction, State, Trust},
    text::Shown,
    wire::message::CONTENT_ACTION,
};

/// A command's stdout.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// One JSON object a line, instead of what people read.
    pub json: bool,
}

impl Output {
    /// Prints `text` and a newline, at once. Errors where nobody reads any more, or it cannot be written.
    pub fn line(self, text: &str) -> Result<(), End> {
        self.bytes(text.as_bytes())
    }

    /// Prints these bytes as they are, and a newline.
    pub fn bytes(self, bytes: &[u8]) -> Result<(), End> {
        write(&[bytes, b"\n"])
    }

    /// Prints the line as JSON, or what `human` makes of it.
    pub fn say(self, line: &Line, human: impl FnOnce() -> String) -> Result<(), End> {
        if self.json { self.line(&line.to_json()) } else { self.line(&human()) }
    }
}

/// Writes all of it to stdout, at once. Who closed stdout did not want to read it; any other error took
/// from somebody what he wants.
pub fn write(parts: &[&[u8]]) -> Result<(), End> {
    let mut stdout = std::io::stdout().lock();
    let written = parts.iter().try_for_each(|part| stdout.write_all(part)).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => End::OutputClosed,
        _ => ErrorLine::new("output", 1, format!("cannot write: {error}")).into(),
    })
}

/// Says `text` on stderr; where nobody reads that, nobody misses it.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// `HH:MM` here, with the date in front where it is not today.
pub fn local_time(time: Time, now: Unix) -> String {
    let zoned = |unix: Unix| {
        let ms = i64::try_from(unix.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_zoned(TimeZone::system())
    };
    let (time, now) = (zoned(time.0), zoned(now));
    let format = if time.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    time.strftime(format).to_string()
}

/// `HH:MM <bob> text`; both times where the text was late; further lines of it indented.
pub fn message(line: &MessageLine, now: Unix) -> String {
    let received = local_time(line.received_at, now);
    let time = if line.late { format!("{}→{received}", local_time(line.sent_at, now)) } else { received };
    folded(format!("{time} {}", said(&line.name, line.kind, &line.text)))
}

/// On a terminal in rows of ours: one that the terminal has folded could pass for a line of somebody else's.
fn folded(text: String) -> String {
    match terminal_size::terminal_size_of(std::io::stdout()) {
        Some((columns, _)) => fold(&text, usize::from(columns.0)),
        None => text,
    }
}

/// A line of the history: who wrote it, and for my own what became of it.
pub fn history(line: &HistoryLine, now: Unix) -> String {
    let time = local_time(line.received_at, now);
    folded(match line.direction {
        Direction::In => format!("{time} {}", said(&line.name, line.kind, &line.text)),
        Direction::Out => {
            let to = format!("me→{}", line.name);
            format!("{time} {} [{}]", said(&to, line.kind, &line.text), state(line.state))
        }
    })
}

fn said(name: &str, kind: Kind, text: &str) -> String {
    let lines: Vec<String> = Shown::lines(text).iter().map(ToString::to_string).collect();
    let text = lines.join("\n      ");
    let name = Shown::name(name);
    match kind.0 {
        CONTENT_ACTION => format!("* {name} {text}"),
        0 => format!("<{name}> {text}"),
        _ if text.is_empty() => format!("<{name}> (a message of a kind that this version does not know)"),
        _ => format!("<{name}> {text}"),
    }
}

/// A peer on one line.
pub fn peer(line: &PeerLine, now: Unix) -> String {
    let name = match &line.petname {
        Some(petname) => format!("{} ({})", Shown::line(petname), Shown::line(&line.name)),
        None => Shown::line(&line.name).to_string(),
    };
    let mut text = format!("{name:<20} {:<8} {:<8}", presence(line.presence), line.id.short());
    match (line.addr, line.age_s) {
        (Some(addr), Some(age_s)) => {
            text.push_str(&format!(" {addr}, at a seed, heard there {} ago", age(age_s.saturating_mul(1_000))));
        }
        (Some(addr), None) => text.push_str(&format!(" {} {addr}", path(line.path))),
        (None, _) => {}
    }
    if line.presence == Presence::Offline
        && let Some(heard) = line.last_heard
    {
        text.push_str(&format!(" last heard {}", local_time(heard, now)));
    }
    if let Some(away) = line.away.as_deref().filter(|away| !away.is_empty()) {
        text.push_str(&format!(" \"{}\"", Shown::line(away)));
    }
    if line.trust != Trust::Verified {
        text.push_str(if line.trust == Trust::Blocked { " blocked" } else { " unverified" });
    }
    text
}

/// A contact on one line.
pub fn contact(line: &ContactLine, now: Unix) -> String {
    let name = match &line.petname {
        Some(petname) => format!("{} ({})", Shown::line(petname), Shown::line(&line.name)),
        None => Shown::line(&line.name).to_string(),
    };
    format!("{name:<20} {:<8} {}, since {}", line.id.short(), trust(line.trust), local_time(line.since, now))
}

/// Whether a contact is told what I have read, in words.
pub const fn receipts(told: Told) -> &'static str {
    match told {
        Told::On => "is told what you have read",
        Told::Off => "is not told what you have read",
        Told::Default => "is told what you have read where all contacts are (config read_receipts)",
    }
}

/// Who asks to write, and with what.
pub fn request(line: &RequestLine, now: Unix) -> String {
    let text = said(&line.name, line.kind, &line.text);
    folded(format!("{} {} {text}", local_time(line.received_at, now), line.peer.short()))
}

/// Safety words, four in a row.
pub fn words(words: &[String]) -> String {
    let rows: Vec<String> = words.chunks(4).map(|row| format!("    {}", row.join("  "))).collect();
    rows.join("\n")
}

/// A seed on one line.
pub fn seed(line: &SeedLine) -> String {
    let mut text = format!("{:<22} {}", line.addr, seed_state(line.state));
    if let Some(reason) = &line.reason {
        text.push_str(&format!(" ({})", Shown::line(reason)));
    }
    text.push_str(if line.registered { ", registered" } else { ", not registered" });
    if let Some(version) = &line.version {
        text.push_str(&format!(", {}", Shown::short(version, 40)));
    }
    if let Some(name) = &line.name {
        text.push_str(&format!(" \"{}\"", Shown::line(name)));
    }
    if let (Some(uptime_s), Some(records), Some(load)) = (line.uptime_s, line.records, line.load) {
        let up = age(uptime_s.saturating_mul(1_000));
        text.push_str(&format!(", up {up}, {records} records, load {:.1} %", load * 100.0));
    }
    if let Some(relay) = line.relay {
        let (kib, used) = (relay.rate_max / 1_024, relay.bytes / 1_024);
        text.push_str(&format!(", relays {kib} KiB/s for {} pairs, {used} KiB so far", relay.channels));
    }
    if !line.fellows.is_empty() {
        let fellows: Vec<String> = line.fellows.iter().map(ToString::to_string).collect();
        text.push_str(&format!(", knows {}", fellows.join(" ")));
    }
    text
}

/// A seed's state in a word.
pub const fn seed_state(state: SeedState) -> &'static str {
    match state {
        SeedState::Ok => "ok",
        SeedState::Unreachable => "unreachable",
        SeedState::BadSignature => "bad-signature",
        SeedState::OldVersion => "old-version",
        SeedState::WrongClock => "wrong-clock",
    }
}

/// Trust in a few words.
pub const fn trust(trust: Trust) -> &'static str {
    match trust {
        Trust::Unknown => "unverified, never met",
        Trust::Seen => "unverified",
        Trust::Verified => "verified",
        Trust::Blocked => "blocked",
    }
}

/// Presence in a word.
pub const fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Online => "online",
        Presence::Away => "away",
        Presence::Offline => "offline",
        Presence::Unknown => "unknown",
    }
}

/// Path in a word.
pub const fn path(path: PathKind) -> &'static str {
    match path {
        PathKind::Lan => "lan",
        PathKind::Direct => "direct",
        PathKind::Relay => "relay",
        PathKind::None => "none",
    }
}

/// State in a word.
pub const fn state(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Sent => "sent",
        State::Delivered => "delivered",
        State::Read => "read",
        State::Cancelled => "cancelled",
        State::Failed => "failed",
    }
}

/// A length of time, in its two largest units.
pub fn age(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m {}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// The wall clock.
pub fn now() -> Unix {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Unix(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
