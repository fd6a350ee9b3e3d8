//! What commands print: lists, one peer in full, help.

use super::{Glyphs, Look, NAME_COLUMNS_MAX, Paint, Pieces, reason};
use crate::{
    clock::Unix,
    control::proto::{OutboxLine, PathKind, PeerLine, Presence, SeedLine, SeedState, State, Trust},
    shell::topics::{Entry, TOPICS, Topic},
    text::Shown,
};

/// Columns of a seed's reason.
const REASON_COLUMNS_MAX: usize = 60;

impl Look {
    /// The list of peers, a row each.
    pub fn peers(&self, peers: &[(Shown, &PeerLine)], now: Unix) -> String {
        if peers.is_empty() {
            return self.note("nobody known yet");
        }
        let widest = peers.iter().map(|(label, _)| label.columns()).max().unwrap_or(0).min(NAME_COLUMNS_MAX);
        let rows = peers.iter().map(|(label, peer)| {
            let label = Shown::short(label.as_str(), widest.max(1));
            let pad = " ".repeat(widest.saturating_sub(label.columns()));
            let here = matches!(peer.presence, Presence::Online | Presence::Away);
            let paint = if here { Paint::Name } else { Paint::Dim };
            let state = match peer.presence {
                Presence::Online => "here   ",
                Presence::Away => "away   ",
                Presence::Offline => "offline",
                Presence::Unknown => "unknown",
            };
            let place = if here { self.place(peer) } else { self.last_heard(peer, now) };
            Pieces::default()
                .shown(paint, &label)
                .own(Paint::Text, format!("{pad}  {}  {state}  ", peer.id.short()))
                .own(Paint::Dim, place)
                .folded(&Self { columns: None, ..self.clone() }, 0)
        });
        rows.collect::<Vec<_>>().join("\n")
    }

    /// The seeds, a row each.
    pub fn seeds(&self, seeds: &[SeedLine]) -> String {
        let widest = seeds.iter().map(|seed| seed.addr.len()).max().unwrap_or(0);
        let row = |seed: &SeedLine| {
            let paint = if seed.state == SeedState::Ok { Paint::Name } else { Paint::Dim };
            let what = match (seed.uptime_s, seed.records, &seed.reason) {
                (_, _, Some(reason)) => Shown::short(reason, REASON_COLUMNS_MAX).to_string(),
                (Some(uptime_s), Some(records), None) => {
                    format!("up {}, {records} records", age(uptime_s.saturating_mul(1_000)))
                }
                _ => String::new(),
            };
            let mine = if seed.registered { "you are there" } else { "you are not there" };
            let what = if what.is_empty() { mine.to_owned() } else { format!("{mine}; {what}") };
            Pieces::default()
                .shown(paint, &Shown::line(&format!("{:<widest$}", seed.addr)))
                .own(Paint::Text, format!("  {:<13}  ", state_of(seed.state)))
                .own(Paint::Dim, what)
                .folded(&Self { columns: None, ..self.clone() }, 0)
        };
        seeds.iter().map(row).collect::<Vec<_>>().join("\n")
    }

    fn place(&self, peer: &PeerLine) -> String {
        let path = path_word(peer.path);
        let addr = peer.addr.map(|addr| format!(" {addr}")).unwrap_or_default();
        let rtt = peer.rtt_ms.map(|ms| format!(", {ms:.1} ms")).unwrap_or_default();
        format!("{path}{addr}{rtt}")
    }

    fn last_heard(&self, peer: &PeerLine, now: Unix) -> String {
        match (peer.last_heard, peer.age_s) {
            (Some(time), _) => format!("last heard {}", self.time(time.0, now)),
            (None, Some(age_s)) => format!("at a seed, heard there {} ago", age(age_s.saturating_mul(1_000))),
            (None, None) => "not heard yet".to_owned(),
        }
    }

    /// One peer in full.
    pub fn whois(&self, peer: &PeerLine, now: Unix) -> String {
        let mut rows = vec![format!("{}", Shown::line(&peer.name))];
        if let Some(petname) = &peer.petname {
            rows[0] = format!("{} (calls itself {})", Shown::line(petname), Shown::line(&peer.name));
        }
        rows.push(format!("  id        {}", peer.id));
        let presence = match peer.presence {
            Presence::Online => format!("here, {}", self.place(peer)),
            Presence::Away => {
                let why =
                    peer.away.as_deref().filter(|text| !text.is_empty()).map(|text| format!(": {}", Shown::short(text, 40)));
                format!("away{}, {}", why.unwrap_or_default(), self.place(peer))
            }
            Presence::Offline => format!("offline, {}", self.last_heard(peer, now)),
            Presence::Unknown => self.last_heard(peer, now),
        };
        rows.push(format!("  presence  {presence}"));
        rows.push(format!("  trust     {}", trust(peer.trust)));
        rows.join("\n")
    }

    /// What waits, a row each.
    pub fn outbox(&self, rows: &[(Shown, &OutboxLine)], now: Unix) -> String {
        if rows.is_empty() {
            return self.note("nothing waits");
        }
        let widest = rows.iter().map(|(label, _)| label.columns()).max().unwrap_or(0).min(NAME_COLUMNS_MAX);
        let line = |(label, row): &(Shown, &OutboxLine)| {
            let label = Shown::short(label.as_str(), widest.max(1));
            let pad = " ".repeat(widest.saturating_sub(label.columns()));
            let why = row.reason.as_deref().map_or_else(String::new, |why| format!("  {}", reason(why)));
            let next = row.next_try_at.map_or_else(String::new, |at| format!(", next try {}", self.time(at.0, now)));
            let state = Self { glyphs: Glyphs::Words, ..self.clone() }.mark(row.state);
            format!("{}  {label}{pad}  {state:6}  {:>6}  {} bytes{why}{next}", row.id.short(), age(row.age_ms), row.len)
        };
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// `/help`, all of it.
    pub fn help(&self) -> String {
        let mut rows = vec!["Write a line and press Enter: it goes to your target, the name before the >.".to_owned()];
        for topic in TOPICS {
            let names: Vec<String> = topic.commands.iter().map(|entry| format!("/{}", entry.name)).collect();
            rows.push(format!("  {:<8} {}", topic.name, names.join(" ")));
        }
        rows.push("/help talk, and so on, tells what each does; /help to, and so on, more of one.".to_owned());
        rows.push("A unique beginning of a command will do; //x sends /x; TAB completes.".to_owned());
        if self.glyphs != Glyphs::Words {
            let mark = |state| self.mark(state);
            rows.push(format!(
                "Marks: {} queued here  {} sent  {} delivered to their disk  {} failed",
                mark(State::Queued),
                mark(State::Sent),
                mark(State::Delivered),
                mark(State::Failed)
            ));
        }
        rows.join("\n")
    }

    /// `/help TOPIC`.
    pub fn help_on(&self, topic: &Topic) -> String {
        let mut rows = vec![format!("{}: {}", topic.name, topic.about)];
        for entry in topic.commands {
            let usage = format!("/{} {}", entry.name, entry.takes);
            rows.push(format!("  {usage:<20} {}", entry.does));
        }
        rows.join("\n")
    }

    /// `/help COMMAND`.
    pub fn help_of(&self, entry: &Entry) -> String {
        let mut rows = vec![format!("/{} {}", entry.name, entry.takes).trim_end().to_owned(), format!("  {}", entry.does)];
        if !entry.more.is_empty() {
            rows.push(format!("  {}", entry.more));
        }
        if !entry.aliases.is_empty() {
            let names: Vec<String> = entry.aliases.iter().map(|name| format!("/{name}")).collect();
            rows.push(format!("  also: {}", names.join(" ")));
        }
        rows.join("\n")
    }
}

const fn path_word(path: PathKind) -> &'static str {
    match path {
        PathKind::Lan => "lan",
        PathKind::Direct => "direct",
        PathKind::Relay => "relay",
        PathKind::None => "no path",
    }
}

const fn state_of(state: SeedState) -> &'static str {
    match state {
        SeedState::Ok => "ok",
        SeedState::Unreachable => "unreachable",
        SeedState::BadSignature => "bad signature",
        SeedState::OldVersion => "old version",
        SeedState::WrongClock => "wrong clock",
    }
}

/// Trust in a few words.
pub(in crate::shell) const fn trust(trust: Trust) -> &'static str {
    match trust {
        Trust::Unknown => "unverified: no word exchanged yet",
        Trust::Seen => "unverified: the same key since the first time",
        Trust::Verified => "verified",
        Trust::Blocked => "blocked",
    }
}

/// A length of time in one unit.
fn age(ms: u64) -> String {
    match ms / 1_000 {
        s @ 0..=59 => format!("{s} s"),
        s @ 60..=3_599 => format!("{} min", s / 60),
        s @ 3_600..=86_399 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}
