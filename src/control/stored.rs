//! Answers that come from the disk: history, outbox, what a subscriber missed. Read in pages, never held
//! whole.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::{
    answer::{Answer, Labels, Stop, ask, error_line, plain, reason_word, resolve, state_word, unexpected, why_waiting},
    archive::left_out,
    call::{History, Outbox},
    follow::new_id,
    proto::{ErrorLine, HistoryLine, Line, MessageLine, OutboxLine, Span, StatusLine, Time},
    server::{Node, Out, Owner, now},
};
use crate::{
    clock::Unix,
    id::{MessageId, PeerId},
    node::command::{Command, CommandError, Reply},
    store::{
        HistoryQuery, ROWS_MAX, ReadError, Reader,
        row::{Direction, HistoryRow, State},
    },
};

/// Why a message that was withdrawn, or whose time was up, still stands in the outbox: its receiver has
/// not yet said whether it had come.
const WITHDRAWN: &str = "withdrawn";
/// In the place of a message: before all of them.
const NOTHING: MessageId = MessageId::from_bytes([0; 16]);
/// Hex digits of a message id that name it at least.
const ID_DIGITS_MIN: usize = 4;

/// `history`.
pub(super) async fn history<N: Node>(owner: &Owner<N>, call: History, out: &Out) -> Answer {
    let since = call.since.as_deref().map(|text| parse_since(text, now())).transpose()?;
    let peer = match call.peer {
        Some(peer) => Some(resolve(owner, peer, None, out).await?),
        None => None,
    };
    let words = call.search.as_deref().map(search_words).transpose()?.unwrap_or_default();
    let labels = Labels::read(owner).await?;
    let reader = owner.node.reader();
    let mut query = HistoryQuery { peer, since, words, ..HistoryQuery::default() };
    query.after = history_start(reader, &query, call.limit)?;
    let mut shown = BTreeSet::new();
    let mut left = call.limit.unwrap_or(usize::MAX);
    while left > 0 {
        query.limit = left.min(ROWS_MAX);
        let page = reader.history(&query)?;
        for damaged in &page.damaged {
            tracing::warn!(%damaged, "left out of the history");
        }
        let Some((last, _)) = page.rows.last() else {
            if !page.damaged.is_empty() {
                out.say(left_out(page.damaged.len())).await?;
            }
            break;
        };
        query.after = Some(*last);
        left = left.saturating_sub(page.rows.len());
        for (_, row) in page.rows {
            let name = labels.then(&row);
            if row.direction == Direction::In {
                shown.insert(row.peer);
            }
            out.say(Line::History(HistoryLine::new(row, name))).await?;
        }
        if !page.damaged.is_empty() {
            out.say(left_out(page.damaged.len())).await?;
        }
    }
    tell_shown(owner, shown).await
}

/// Somebody was shown what these peers wrote.
async fn tell_shown<N: Node>(owner: &Owner<N>, peers: BTreeSet<PeerId>) -> Answer {
    if peers.is_empty() { Ok(()) } else { plain(owner, Command::Shown(peers.into_iter().collect())).await }
}

/// The number after which the last `limit` lines begin.
fn history_start(reader: &Reader, query: &HistoryQuery, limit: Option<usize>) -> Result<Option<u64>, Stop> {
    let Some(mut left) = limit else { return Ok(Some(0)) };
    let mut query = HistoryQuery { after: None, ..query.clone() };
    loop {
        query.limit = left.min(ROWS_MAX);
        let page = if left == 0 { Vec::new() } else { reader.history(&query)?.rows };
        let Some((first, _)) = page.first() else { break };
        query.before = Some(*first);
        left = left.saturating_sub(page.len());
    }
    // Numbers of lines begin with 1, so `before - 1` is a place in front of it.
    Ok(Some(query.before.map_or(0, |first| first.saturating_sub(1))))
}

/// What is searched for: words, and phrases in double quotes; the last one may end with the text.
fn search_words(text: &str) -> Result<Vec<String>, ErrorLine> {
    let parts = text.split('"').enumerate().flat_map(|(number, part)| match number % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    // Signs alone are no words, and none is looked for.
    let words: Vec<String> = parts.filter(|word| word.contains(char::is_alphanumeric)).collect();
    if words.is_empty() {
        let error = ErrorLine::new("bad-request", 2, format!("nothing to search for: {text}"));
        return Err(error.hint("write words, the beginning of one and *, or a phrase in double quotes"));
    }
    Ok(words)
}

/// A time as `--since` takes it: RFC 3339, a date (its midnight here), or an age.
fn parse_since(text: &str, now: Unix) -> Result<Unix, ErrorLine> {
    if let Ok(Span(age)) = text.parse() {
        return Ok(now.before(age));
    }
    if let Ok(Time(unix)) = text.parse() {
        return Ok(unix);
    }
    let date: Result<jiff::civil::Date, _> = text.parse();
    let midnight = date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::system()));
    let ms = midnight.map(|zoned| zoned.timestamp().as_millisecond()).ok().and_then(|ms| u64::try_from(ms).ok());
    ms.map(Unix).ok_or_else(|| {
        ErrorLine::new("bad-time", 2, format!("bad time: {text}"))
            .hint("write 2026-01-31, 2026-01-31T08:00:00Z, or an age: 2h, 3d")
    })
}

/// `outbox`.
pub(super) async fn outbox<N: Node>(owner: &Owner<N>, call: Outbox, out: &Out) -> Answer {
    let Outbox { cancel, edit, text, retry } = call;
    match (cancel, edit, retry) {
        (None, None, None) if text.is_none() => list_outbox(owner, out).await,
        (Some(id), None, None) if text.is_none() => cancel_one(owner, &id, out).await,
        (None, Some(id), None) => edit_one(owner, &id, text, out).await,
        (None, None, Some(peer)) if text.is_none() && peer.is_empty() => plain(owner, Command::Retry(None)).await,
        (None, None, Some(peer)) if text.is_none() => {
            let peer = resolve(owner, peer, None, out).await?;
            plain(owner, Command::Retry(Some(peer))).await
        }
        _ => Err(ErrorLine::new("bad-request", 2, "outbox: cancel, edit or retry, and text with edit only").into()),
    }
}

/// Shows what waits, or puts another text in its place.
async fn edit_one<N: Node>(owner: &Owner<N>, id: &str, text: Option<String>, out: &Out) -> Answer {
    let message = find_message(owner, id)?;
    let labels = Labels::read(owner).await?;
    let Some(text) = text else {
        let row = owner.node.reader().outbox_by_id(message)?.filter(|row| row.void.is_none());
        let row = row.and_then(|row| owner.node.reader().own_by_id(row.id).transpose()).transpose()?;
        let row = row.ok_or_else(|| error_line(&CommandError::NoSuchMessage))?;
        let name = labels.of(&row.peer);
        return Ok(out.say(Line::History(HistoryLine::new(row, name))).await?);
    };
    let id = match ask(owner, Command::Rewrite { message, id: new_id()?, text }).await? {
        Reply::Queued(id) => id,
        reply => return Err(unexpected(&reply)),
    };
    let Some(row) = owner.node.reader().own_by_id(id)? else { return Ok(()) };
    Ok(out.say(Line::Status(StatusLine { id, to: row.peer, state: row.state, at: Time(now()), reason: None })).await?)
}

async fn list_outbox<N: Node>(owner: &Owner<N>, out: &Out) -> Answer {
    let labels = Labels::read(owner).await?;
    let mut waiting = BTreeMap::new();
    let mut after = None;
    loop {
        let page = owner.node.reader().outbox_page(after, ROWS_MAX)?;
        let Some(last) = page.rows.last() else { return Ok(()) };
        after = Some((last.conversation, last.seq));
        for row in page.rows {
            if let Entry::Vacant(entry) = waiting.entry(row.peer) {
                entry.insert(why_waiting(owner, row.peer).await?);
            }
            let (reason, next_try) = waiting.get(&row.peer).copied().unwrap_or_default();
            let now = now();
            let state = owner.node.reader().own_by_id(row.id)?.map_or(State::Queued, |row| row.state);
            let line = OutboxLine {
                id: row.id,
                to: row.peer,
                name: labels.of(&row.peer),
                state,
                reason: row.void.map_or_else(|| reason.map(reason_word), |_| Some(WITHDRAWN.to_owned())),
                age_ms: u64::try_from(now.since(row.created).as_millis()).unwrap_or(u64::MAX),
                next_try_at: next_try.map(|wait| Time(Unix(now.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(0))))),
                expires_at: row.expires.map(Time),
                len: row.text.len(),
            };
            out.say(Line::Outbox(line)).await?;
        }
    }
}

async fn cancel_one<N: Node>(owner: &Owner<N>, text: &str, out: &Out) -> Answer {
    let id = find_message(owner, text)?;
    let ended = match ask(owner, Command::Cancel(id)).await? {
        Reply::Cancelled(ended) => ended,
        reply => return Err(unexpected(&reply)),
    };
    let Some(row) = owner.node.reader().own_by_id(id)? else { return Ok(()) };
    // Without an end it may have arrived just now: what became of it is told when its receiver says so.
    let (state, reason) = ended.map_or_else(|| (row.state, Some(WITHDRAWN.to_owned())), |state| (state, None));
    out.say(Line::Status(StatusLine { id, to: row.peer, state, at: Time(now()), reason })).await?;
    if matches!(state, State::Delivered | State::Read) {
        return Err(
            ErrorLine::new("too-late", 5, format!("not withdrawn: {}: it is {} already", id.short(), state_word(state))).into()
        );
    }
    Ok(())
}

/// The one message of the outbox that `text` names.
fn find_message<N: Node>(owner: &Owner<N>, text: &str) -> Result<MessageId, Stop> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let digits = text.replace('-', "").to_ascii_lowercase();
    if digits.len() < ID_DIGITS_MIN || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ErrorLine::new(
            "bad-id",
            2,
            format!("bad message id: {text}: at least {ID_DIGITS_MIN} hex digits are needed"),
        )
        .into());
    }
    let mut found = BTreeSet::new();
    let mut after = None;
    loop {
        let page = owner.node.reader().outbox_page(after, ROWS_MAX)?;
        let Some(last) = page.rows.last() else { break };
        after = Some((last.conversation, last.seq));
        for row in page.rows.iter().filter(|row| row.void.is_none()) {
            let simple = row.id.to_string().replace('-', "");
            if simple.starts_with(&digits) || simple.ends_with(&digits) {
                found.insert(row.id);
            }
        }
    }
    let first = found.first().copied();
    match (first, found.len()) {
        (Some(id), 1) => Ok(id),
        (None, _) => Err(error_line(&CommandError::NoSuchMessage).into()),
        (Some(_), n) => {
            Err(ErrorLine::new("ambiguous-id", 2, format!("ambiguous message id: {text}: {n} messages have it")).into())
        }
    }
}

/// The newest message that was received; the nil UUID where none ever was.
pub fn newest_received(reader: &Reader) -> Result<MessageId, ReadError> {
    let mut query = HistoryQuery { limit: 1, ..HistoryQuery::default() };
    loop {
        let page = reader.history(&query)?;
        if let Some((_, row)) = page.rows.iter().rev().find(|(_, row)| row.direction == Direction::In) {
            return Ok(row.id);
        }
        let Some((first, _)) = page.rows.first() else { return Ok(NOTHING) };
        query = HistoryQuery { before: Some(*first), ..HistoryQuery::default() };
    }
}

/// Says what was received after `after` in order of commit; gives back what was said, because the same
/// messages may be among the events that follow.
pub(super) async fn replay<N: Node>(
    owner: &Owner<N>,
    after: MessageId,
    out: &Out,
) -> Result<BTreeSet<(PeerId, MessageId)>, Stop> {
    let labels = Labels::read(owner).await?;
    let reader = owner.node.reader();
    let start = if after == NOTHING {
        0
    } else {
        let unknown = || ErrorLine::new("no-such-message", 2, format!("no such message: {after}: it was not received here"));
        reader.received_line(after)?.ok_or_else(unknown)?
    };
    let mut said = BTreeSet::new();
    let mut query = HistoryQuery { after: Some(start), ..HistoryQuery::default() };
    loop {
        let page = reader.history(&query)?;
        let Some((last, _)) = page.rows.last() else { break };
        query.after = Some(*last);
        // What was imported is news to nobody.
        let is_news = |row: &HistoryRow| row.direction == Direction::In && !row.is_imported();
        for (_, row) in page.rows.into_iter().filter(|(_, row)| is_news(row)) {
            said.insert((row.peer, row.id));
            let name = labels.then(&row);
            out.say(Line::Message(MessageLine::new(row, name))).await?;
        }
    }
    tell_shown(owner, said.iter().map(|(peer, _)| *peer).collect()).await?;
    Ok(said)
}
