//! `send`: every receiver looked up, then queued, then followed until the asked state is reached, it
//! never will be, or time is up.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::timeout_at;

use super::{
    answer::{
        Answer, Labels, MODE_COMMAND, Stop, ask, link, peers, plain, reason_word, resolve, state_word, unexpected, why_waiting,
    },
    call::{Send, WaitFor},
    proto::{ErrorLine, Line, StatusLine, Time},
    server::{Events, NoEvents, Node, Out, Owner, now},
};
use crate::{
    contact_link::ContactLink,
    id::{MessageId, PeerId},
    node::{
        command::{Command, Reason, Reply},
        event::Event,
    },
    store::row::State,
    text::{Shown, check_text},
};

/// How long `send` waits for the asked state where the caller does not say.
const SEND_WAIT: Duration = Duration::from_secs(30);

/// A message on its way.
#[derive(Debug)]
struct Followed {
    to: PeerId,
    state: State,
    reason: Option<String>,
    /// It is delivered, and nobody will say when it is read.
    is_unsaid: bool,
}

impl Followed {
    /// True where nothing more is waited for.
    fn is_over(&self, wait: WaitFor) -> bool {
        let wanted = match wait {
            WaitFor::Queued => State::Queued,
            WaitFor::Sent => State::Sent,
            WaitFor::Delivered => State::Delivered,
            WaitFor::Read if self.is_unsaid => State::Delivered,
            WaitFor::Read => State::Read,
        };
        // `Cancelled` and `Failed` stand above every state on the way.
        self.state >= wanted
    }
}

/// Whom I write to is a contact: what a link says of where to ask for it is kept.
async fn keep_seeds<N: Node>(owner: &Owner<N>, peer: &str) -> Answer {
    match link(peer) {
        Ok(ContactLink { id, name, via }) if !via.is_empty() => {
            let name = name.map(|name| name.as_str().to_owned());
            plain(owner, Command::AddContact { peer: id, petname: None, name, seeds: via }).await
        }
        _ => Ok(()),
    }
}

pub(super) async fn send<N: Node>(owner: &Owner<N>, call: Send, out: &Out) -> Answer {
    check_text(&call.text).map_err(|why| ErrorLine::new("bad-text", 2, format!("bad text: {why}")))?;
    if call.peer.is_empty() || !(call.id.is_empty() || call.id.len() == call.peer.len()) {
        return Err(ErrorLine::new("bad-request", 2, "send: a peer is needed, and as many ids as peers, or none").into());
    }
    if call.id.iter().collect::<BTreeSet<_>>().len() < call.id.len() {
        return Err(ErrorLine::new("bad-request", 2, "send: each message needs an id of its own").into());
    }
    // All of them before anything is queued: a list with one mistake sends nothing.
    let mut receivers = BTreeMap::new();
    for (place, peer) in call.peer.iter().enumerate() {
        let id = resolve(owner, peer.clone(), call.timeout, out).await?;
        receivers.entry(id).or_insert(place);
    }
    for peer in &call.peer {
        keep_seeds(owner, peer).await?;
    }
    let deadline = tokio::time::Instant::now() + call.timeout.map_or(SEND_WAIT, |span| span.0);
    // Before anything is queued, so that no state is missed.
    let mut events = owner.node.subscribe();
    let mut followed = BTreeMap::new();
    for (peer, place) in receivers {
        let id = call.id.get(place).copied().map_or_else(new_id, Ok)?;
        let command =
            Command::Send { peer, id, kind: call.kind.0, text: call.text.clone(), expire: call.expire.map(|span| span.0) };
        let id = match ask(owner, command).await? {
            Reply::Queued(id) => id,
            reply => return Err(unexpected(&reply)),
        };
        let entry = Followed { to: peer, state: State::Queued, reason: None, is_unsaid: false };
        out.say(Line::Status(status(id, &entry))).await?;
        followed.insert(id, entry);
    }
    // Asked again with the same ids, a message may be further already.
    if !call.id.is_empty() {
        catch_up(owner, &mut followed, out).await?;
    }
    loop {
        if call.wait == WaitFor::Read {
            note_unsaid(owner, &mut followed, out).await?;
        }
        if followed.values().all(|message| message.is_over(call.wait)) {
            break;
        }
        match next_status(&mut events, &followed, deadline).await {
            Next::Status(id, state, reason) => advance(&mut followed, id, state, reason, out).await?,
            Next::Missed => {
                events = owner.node.subscribe();
                catch_up(owner, &mut followed, out).await?;
            }
            Next::Over => break,
        }
    }
    verdict(owner, &followed, call.wait).await
}

/// Nobody waits for what will not be said.
async fn note_unsaid<N: Node>(owner: &Owner<N>, followed: &mut BTreeMap<MessageId, Followed>, out: &Out) -> Answer {
    for (id, message) in followed.iter_mut().filter(|(_, message)| message.state == State::Delivered && !message.is_unsaid) {
        if let Reply::Waiting { reads: Some(false), .. } = ask(owner, Command::Waiting(message.to)).await? {
            message.is_unsaid = true;
            message.reason = Some(reason_word(Reason::ReadReceiptsOff));
            out.say(Line::Status(status(*id, message))).await?;
        }
    }
    Ok(())
}

enum Next {
    Status(MessageId, State, Option<String>),
    /// Events were lost: the disk knows.
    Missed,
    /// Time is up, or the node is gone.
    Over,
}

async fn next_status(events: &mut impl Events, followed: &BTreeMap<MessageId, Followed>, deadline: tokio::time::Instant) -> Next {
    loop {
        // An event that waits already would win against any deadline.
        if tokio::time::Instant::now() >= deadline {
            return Next::Over;
        }
        match timeout_at(deadline, events.next()).await {
            Ok(Ok(event)) => {
                if let Event::Status { id, state, reason, .. } = &*event
                    && followed.contains_key(id)
                {
                    return Next::Status(*id, *state, reason.map(reason_word));
                }
            }
            Ok(Err(NoEvents::Missed)) => return Next::Missed,
            Ok(Err(NoEvents::Ended)) | Err(_) => return Next::Over,
        }
    }
}

async fn advance(
    followed: &mut BTreeMap<MessageId, Followed>,
    id: MessageId,
    state: State,
    reason: Option<String>,
    out: &Out,
) -> Answer {
    let Some(message) = followed.get_mut(&id) else { return Ok(()) };
    if state < message.state || (state == message.state && reason == message.reason) {
        return Ok(());
    }
    message.state = state;
    message.reason = reason;
    Ok(out.say(Line::Status(status(id, message))).await?)
}

/// Looks on disk for states that were not heard of.
async fn catch_up<N: Node>(owner: &Owner<N>, followed: &mut BTreeMap<MessageId, Followed>, out: &Out) -> Answer {
    for id in followed.keys().copied().collect::<Vec<_>>() {
        if let Some(row) = owner.node.reader().own_by_id(id)?
            && followed.get(&id).is_some_and(|message| row.state > message.state)
        {
            let reason = (!row.reason.is_empty()).then_some(row.reason);
            advance(followed, id, row.state, reason, out).await?;
        }
    }
    Ok(())
}

fn status(id: MessageId, message: &Followed) -> StatusLine {
    StatusLine { id, to: message.to, state: message.state, at: Time(now()), reason: message.reason.clone() }
}

/// Done, or the worst of what became of the messages, with a word on each that is not where it should be.
async fn verdict<N: Node>(owner: &Owner<N>, followed: &BTreeMap<MessageId, Followed>, wait: WaitFor) -> Answer {
    let mut worst: Option<(u8, &str)> = None;
    let mut texts = Vec::new();
    let mut hint = None;
    if followed.values().any(|message| !message.is_over(wait) || message.is_unsaid || message.state >= State::Cancelled) {
        let labels = Labels::read(owner).await?;
        for message in followed.values() {
            let name = labels.of(&message.to);
            let name = Shown::line(&name);
            let why = message.reason.clone();
            let (exit, code, text) = match message.state {
                State::Failed => {
                    let why = why.unwrap_or_else(|| "failed".to_owned());
                    let exit = if why == "expired" { 5 } else { 6 };
                    (exit, "failed", format!("not delivered to {name}: {why}"))
                }
                State::Cancelled => (5, "cancelled", format!("not delivered to {name}: withdrawn")),
                State::Delivered if message.is_unsaid => {
                    (5, "read-receipts-off", format!("delivered to {name}, who does not say what is read: read-receipts-off"))
                }
                _ if message.is_over(wait) => continue,
                state => {
                    let why = match why_waiting(owner, message.to).await {
                        Ok((Some(reason), _)) => {
                            if reason == Reason::AwaitingAcceptance {
                                hint.get_or_insert_with(|| {
                                    format!("{name} is asked whether you may write: `p2pchat-udp requests` there")
                                });
                            } else if reason == Reason::NoPath && is_elsewhere(owner, message.to).await? {
                                hint.get_or_insert_with(|| needs_relay(&name.to_string()));
                            }
                            reason_word(reason)
                        }
                        _ => "no answer yet".to_owned(),
                    };
                    (5, "timeout", format!("still {} for {name}: {why}; {}", state_word(state), who_delivers(owner)))
                }
            };
            worst = worst.max(Some((exit, code)));
            texts.push(text);
        }
    }
    match worst {
        None => Ok(()),
        Some((exit, code)) => Err(ErrorLine { hint, ..ErrorLine::new(code, exit, texts.join("; ")) }.into()),
    }
}

/// True for whom nobody hears on this LAN: only a seed says that it is there.
async fn is_elsewhere<N: Node>(owner: &Owner<N>, peer: PeerId) -> Result<bool, Stop> {
    Ok(peers(owner, false).await?.iter().any(|view| view.id == peer && !view.is_here()))
}

/// What mostly keeps two networks apart.
fn needs_relay(name: &str) -> String {
    format!("a seed sees {name}, but nothing comes through from there: it takes a seed with --relay that both of you use")
}

/// Who goes on when the command has ended.
fn who_delivers<N>(owner: &Owner<N>) -> String {
    if owner.mode == MODE_COMMAND {
        "it is kept and goes out when p2pchat-udp runs next on this profile (`p2pchat-udp daemon` keeps it running)".to_owned()
    } else {
        format!("the {} with pid {} goes on delivering it", owner.mode, std::process::id())
    }
}

/// A fresh message id, for callers that made none.
pub(super) fn new_id() -> Result<MessageId, Stop> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|e| ErrorLine::new("internal", 1, format!("no randomness from the system: {e}")))?;
    Ok(MessageId::new(now().0, &random))
}
