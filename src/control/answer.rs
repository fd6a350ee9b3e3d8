//! What the owner answers to each call. The lines themselves are defined in `proto`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::timeout_at;

use super::{
    SUBSCRIBER_EVENTS_MAX, archive,
    call::{Nick, Peers, Subscribe, Watch},
    config, contacts, doctor, follow, keyboard, phonebook, ping,
    proto::{
        Call, ErrorLine, Line, MessageLine, NoticeLine, OwnerLine, PeerLine, ReadyLine, Span, StatusLine, Time, UpkeepLine,
        WhoamiLine,
    },
    requests,
    server::{Beginning, Events, Gone, NoEvents, Node, Out, Owner},
    stored, unread,
};
use crate::{
    contact_link::{ContactLink, SCHEME},
    id::PeerId,
    node::{
        command::{Command, CommandError, PeerView, Reason, Reply},
        event::Event,
    },
    store::{
        ReadError,
        row::{HistoryRow, State},
    },
    text::{Name, Shown},
};

/// How long a peer is looked for where the caller does not say.
pub(super) const LOOK: Duration = Duration::from_secs(3);
/// How long `peers --wait` waits where the caller does not say.
const PEERS_WAIT: Duration = Duration::from_secs(10);
/// The mode of an owner that is there for one command only.
pub(super) const MODE_COMMAND: &str = "command";

/// Why a call ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// It failed: its last line.
    Error(ErrorLine),
    /// Nobody listens.
    Gone,
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<ErrorLine> for Stop {
    fn from(error: ErrorLine) -> Self {
        Self::Error(error)
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        // On its way out an owner closes the store first.
        let (code, exit) = if error == ReadError::Closed { ("leaving", 11) } else { ("store", 1) };
        Self::Error(ErrorLine::new(code, exit, format!("the profile cannot be read: {error}")))
    }
}

pub(super) type Answer = Result<(), Stop>;

/// Answers `call`: its lines, then `done` or `error`.
pub(super) async fn run<N: Node>(owner: &Owner<N>, call: Call, out: &Out) {
    let shutdown = matches!(call, Call::Shutdown(_));
    let answer = match call {
        Call::Send(send) => follow::send(owner, send, out).await,
        Call::Peers(peers) => list_peers(owner, &peers, out).await,
        Call::Whois(whois) => phonebook::whois(owner, whois, out).await,
        Call::History(history) => stored::history(owner, history, out).await,
        Call::Outbox(outbox) => stored::outbox(owner, outbox, out).await,
        Call::Whoami(_) => whoami(owner, out).await,
        Call::Status(_) => status(owner, out).await,
        Call::Subscribe(subscribe) => return self::subscribe(owner, subscribe, beginning(owner), out).await,
        Call::Shutdown(_) => Ok(()),
        Call::Watch(Watch { peer }) => plain(owner, Command::Watch(peer)).await,
        Call::Nick(Nick { name }) => nick(owner, &name).await,
        Call::Away(call) => keyboard::away(owner, call).await,
        Call::Back(call) => keyboard::back(owner, call).await,
        Call::Unread(call) => unread::unread(owner, call, out).await,
        Call::MarkRead(read) => unread::mark_read(owner, read, out).await,
        Call::Find(find) => phonebook::find(owner, find, out).await,
        Call::Contact(contact) => contacts::contact(owner, contact, out).await,
        Call::Requests(call) => requests::requests(owner, call, out).await,
        Call::Allow(call) => requests::allow(owner, call).await,
        Call::Receipts(call) => requests::receipts(owner, call).await,
        Call::Passwd(call) => {
            let new = call.new.filter(|new| !new.is_empty());
            owner.node.change_password(call.old, new).await.map_err(Stop::from)
        }
        Call::Backup(call) => archive::backup(owner, call).await,
        Call::Export(call) => archive::export(owner, call, out).await,
        Call::Import(call) => archive::import(owner, call, out).await,
        Call::Ping(call) => ping::ping(owner, call, out).await,
        Call::Config(call) => config::config(owner, call, out).await,
        Call::Doctor(_) => doctor::doctor(owner, out).await,
        Call::Seed(seed) => phonebook::seed(owner, seed, out).await,
    };
    end(answer, out).await;
    if shutdown {
        owner.stop.notify_one();
    }
}

/// Where a subscription begins that is asked for now.
pub(super) fn beginning<N: Node>(owner: &Owner<N>) -> Result<Beginning<N::Events>, Stop> {
    // In this order: whoever asks again from the first finds everything that the second missed.
    Ok(Beginning { after: stored::newest_received(owner.node.reader())?, events: owner.node.subscribe() })
}

/// Answers `subscribe`, from this `beginning`.
pub(super) async fn subscribe<N: Node>(
    owner: &Owner<N>,
    call: Subscribe,
    beginning: Result<Beginning<N::Events>, Stop>,
    out: &Out,
) {
    let answer = match beginning {
        Ok(beginning) => events(owner, call, beginning, out).await,
        Err(stop) => Err(stop),
    };
    end(answer, out).await;
}

async fn end(answer: Answer, out: &Out) {
    let _ = match answer {
        Ok(()) => out.say(Line::Done).await,
        Err(Stop::Error(error)) => out.say(Line::Error(error)).await,
        Err(Stop::Gone) => Err(Gone),
    };
}

/// Asks the node; what is not done is an error with the exit code of the manual.
pub(super) async fn ask<N: Node>(owner: &Owner<N>, command: Command) -> Result<Reply, Stop> {
    match owner.node.call(command).await {
        Reply::Failed(error) => Err(Stop::Error(error_line(&error))),
        reply => Ok(reply),
    }
}

pub(super) async fn plain<N: Node>(owner: &Owner<N>, command: Command) -> Answer {
    ask(owner, command).await.map(|_| ())
}

/// Nothing that a person did: said so, and logged.
pub(super) fn unexpected(reply: &Reply) -> Stop {
    tracing::error!(?reply, "a reply of another command");
    Stop::Error(ErrorLine::new("internal", 1, "internal error: the node gave an answer to another question"))
}

/// A command's error as the line that ends a call.
pub(super) fn error_line(error: &CommandError) -> ErrorLine {
    let (code, exit) = match error {
        CommandError::NoSuchPeer { .. } => ("no-such-peer", 3),
        CommandError::NotFound { .. } => ("not-found", 9),
        CommandError::Ambiguous { .. } => ("ambiguous-peer", 4),
        CommandError::FamiliarName { .. } => ("familiar-name", 7),
        CommandError::NoContact => ("no-contact", 2),
        CommandError::NoRequest => ("no-request", 2),
        CommandError::Blocked => ("blocked", 6),
        CommandError::Myself => ("myself", 2),
        CommandError::BadText(_) => ("bad-text", 2),
        CommandError::TakenId => ("bad-request", 2),
        CommandError::TooLate => ("too-late", 5),
        CommandError::NoSuchMessage => ("no-such-message", 2),
        CommandError::DiskFull => ("disk-full", 1),
        CommandError::Store => ("store", 1),
        CommandError::OutboxFull => ("outbox-full", 1),
        CommandError::TooManyPings => ("too-many-pings", 1),
        CommandError::TooManySeeds => ("too-many-seeds", 1),
        CommandError::Leaving => ("leaving", 11),
    };
    let line = ErrorLine::new(code, exit, error.to_string());
    match error {
        CommandError::Ambiguous { candidates, .. } => line.hint(format!("write the id of one of them: {}", listed(candidates))),
        CommandError::FamiliarName { candidates, .. } => {
            line.hint(format!("write the id of the one that you mean: {}", listed(candidates)))
        }
        CommandError::NoSuchPeer { .. } => line.hint(
            "`p2pchat-udp peers` lists who is here; somebody elsewhere is found by the whole name, or by what `whoami --link` prints there",
        ),
        CommandError::NotFound { .. } => {
            line.hint("ask again with a longer --timeout; of seeds `p2pchat-udp seed status` says which is silent")
        }
        CommandError::Blocked => line.hint("`p2pchat-udp contact unblock PEER` takes the block back"),
        CommandError::NoContact => line.hint("add it with `p2pchat-udp contact add LINK`; who is written to is a contact too"),
        CommandError::NoRequest => line.hint("`p2pchat-udp requests` lists who asks to write"),
        CommandError::TooLate => line.hint("withdraw it with `p2pchat-udp outbox cancel ID`, as far as it has not arrived, and write another"),
        CommandError::OutboxFull => line.hint("`p2pchat-udp outbox` lists what waits, `outbox cancel ID` withdraws"),
        _ => line,
    }
}

/// Candidates on one line: name, whether a contact, and the full id, which is what to write.
fn listed(candidates: &[PeerView]) -> String {
    let each = candidates.iter().map(|peer| {
        let name = peer.petname.as_ref().unwrap_or(&peer.name);
        let kind = if peer.contact { "contact" } else { "stranger" };
        format!("{} ({kind}) {}", Shown::line(name), peer.id)
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Who is meant by `peer`. Where several may be, they are said before the error.
pub(super) async fn resolve<N: Node>(owner: &Owner<N>, peer: String, timeout: Option<Span>, out: &Out) -> Result<PeerId, Stop> {
    if peer.get(..SCHEME.len()).is_some_and(|head| head.eq_ignore_ascii_case(SCHEME)) {
        link(&peer)?;
    }
    let timeout = timeout.map_or(LOOK, |span| span.0);
    match owner.node.call(Command::Resolve { peer, timeout }).await {
        Reply::Resolved(id) => Ok(id),
        Reply::Failed(error) => {
            if let CommandError::Ambiguous { candidates, .. } | CommandError::FamiliarName { candidates, .. } = &error {
                for peer in candidates {
                    out.say(Line::Peer(peer.clone().into())).await?;
                }
            }
            Err(error_line(&error).into())
        }
        reply => Err(unexpected(&reply)),
    }
}

/// A link, or an id alone.
pub(super) fn link(text: &str) -> Result<ContactLink, ErrorLine> {
    text.parse().map_err(|why| ErrorLine::new("bad-link", 2, format!("bad link: {why}")))
}

/// Everybody known.
pub(super) async fn peers<N: Node>(owner: &Owner<N>, settle: bool) -> Result<Vec<PeerView>, Stop> {
    match ask(owner, Command::Peers { settle }).await? {
        Reply::Peers(peers) => Ok(peers),
        reply => Err(unexpected(&reply)),
    }
}

/// What lists call the peers: petname, else own name; and whether it is a petname.
#[derive(Debug)]
pub(super) struct Labels(BTreeMap<PeerId, (String, bool)>);

impl Labels {
    pub(super) async fn read<N: Node>(owner: &Owner<N>) -> Result<Self, Stop> {
        let peers = peers(owner, false).await?;
        let label = |name, petname: Option<String>| petname.map_or((name, false), |petname| (petname, true));
        Ok(Self(peers.into_iter().map(|peer| (peer.id, label(peer.name, peer.petname))).collect()))
    }

    pub(super) fn of(&self, id: &PeerId) -> String {
        self.0.get(id).map_or_else(|| id.short(), |(label, _)| label.clone())
    }

    /// The same for the other side of a stored message: what I call it now, or what it called itself then.
    pub(super) fn then(&self, row: &HistoryRow) -> String {
        match self.0.get(&row.peer) {
            Some((petname, true)) => petname.clone(),
            _ if !row.name.is_empty() => row.name.clone(),
            _ => self.of(&row.peer),
        }
    }

    /// The same, with the short id where another one is called so too, or looks so.
    fn told_apart(&self, id: &PeerId) -> String {
        let label = self.of(id);
        let looks = |id: &PeerId, label: &str| Name::or_short_id(label, id).looks();
        let own = looks(id, &label);
        let is_shared = self.0.iter().any(|(other, (name, _))| other != id && !looks(other, name).is_disjoint(&own));
        if is_shared { format!("{label}·{}", id.short()) } else { label }
    }
}

async fn list_peers<N: Node>(owner: &Owner<N>, call: &Peers, out: &Out) -> Answer {
    let Some(wanted) = call.wait else {
        for peer in peers(owner, true).await? {
            out.say(Line::Peer(peer.into())).await?;
        }
        return Ok(());
    };
    let span = call.timeout.map_or(PEERS_WAIT, |span| span.0);
    let deadline = tokio::time::Instant::now() + span;
    loop {
        // Before the look, so that nobody comes unnoticed between both.
        let mut events = owner.node.subscribe();
        let list = peers(owner, false).await?;
        let online = list.iter().filter(|peer| peer.is_here()).count();
        let in_time = online >= wanted || until_peer_event(&mut events, deadline).await;
        if online < wanted && in_time {
            continue;
        }
        for peer in list {
            out.say(Line::Peer(peer.into())).await?;
        }
        if in_time {
            return Ok(());
        }
        let text = format!("not enough peers: {online} of {wanted} online after {}", Span(span));
        return Err(ErrorLine::new("timeout", 5, text).into());
    }
}

/// True once something is new about a peer; false when time is up first, or the node is gone.
async fn until_peer_event(events: &mut impl Events, deadline: tokio::time::Instant) -> bool {
    loop {
        // An event that waits already would win against any deadline.
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        match timeout_at(deadline, events.next()).await {
            Ok(Ok(event)) if matches!(*event, Event::Peer(_)) => return true,
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return false,
        }
    }
}

/// Why messages to this peer wait, and until when.
pub(super) async fn why_waiting<N: Node>(owner: &Owner<N>, peer: PeerId) -> Result<(Option<Reason>, Option<Duration>), Stop> {
    match ask(owner, Command::Waiting(peer)).await? {
        Reply::Waiting { reason, next_try, .. } => Ok((reason, next_try)),
        reply => Err(unexpected(&reply)),
    }
}

/// A reason as JSON and people write it.
pub(super) fn reason_word(reason: Reason) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A state as JSON and people write it.
pub(super) const fn state_word(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Sent => "sent",
        State::Delivered => "delivered",
        State::Read => "read",
        State::Cancelled => "cancelled",
        State::Failed => "failed",
    }
}

async fn whoami<N: Node>(owner: &Owner<N>, out: &Out) -> Answer {
    let ReadyLine { id, name, port, addrs, version, .. } = owner.ready();
    let seeds = owner.seeds();
    // Who is not at the seeds is not found there.
    let via = if owner.is_hidden() { &[][..] } else { &seeds };
    let line = WhoamiLine {
        id,
        link: ContactLink::new(id, Name::parse(&name).ok(), via).to_string(),
        name,
        addrs,
        port,
        seeds,
        encrypted: owner.node.reader().is_sealed(),
        version,
        owner_pid: (owner.mode != MODE_COMMAND).then(std::process::id),
    };
    Ok(out.say(Line::Whoami(line)).await?)
}

async fn status<N: Node>(owner: &Owner<N>, out: &Out) -> Answer {
    let status = match ask(owner, Command::Status).await? {
        Reply::Status(status) => status,
        reply => return Err(unexpected(&reply)),
    };
    let line = OwnerLine {
        pid: std::process::id(),
        mode: owner.mode.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: owner.since.elapsed().as_secs(),
        port: owner.port,
        sessions: status.sessions,
        neighbours: status.neighbours,
        seeds: status.seeds,
        outbox: status.outbox,
        allow: status.allow,
        requests: status.requests,
        read_receipts: status.read_receipts,
        store_bytes: std::fs::metadata(&owner.store_file).map_or(0, |file| file.len()),
        commit_error: status.commit_error.map(|error| error.to_string()),
        upkeep: owner.node.progress().map(UpkeepLine::from),
        dropped: status.dropped,
        settings: owner.settings.clone(),
    };
    Ok(out.say(Line::Owner(line)).await?)
}

async fn nick<N: Node>(owner: &Owner<N>, name: &str) -> Answer {
    let name = Name::parse(name).map_err(|e| ErrorLine::new("bad-name", 2, format!("bad name: {name}: {e}")))?;
    plain(owner, Command::SetName(name.as_str().to_owned())).await?;
    owner.set_name(name.as_str());
    owner.node.renamed(name.as_str());
    Ok(())
}

/// `ready`, who is here, what was received after the given message, then everything that happens.
async fn events<N: Node>(owner: &Owner<N>, call: Subscribe, beginning: Beginning<N::Events>, out: &Out) -> Answer {
    let Beginning { after, mut events } = beginning;
    out.say(Line::Ready(ReadyLine { after: call.after.or(Some(after)), ..owner.ready() })).await?;
    if call.present {
        for peer in peers(owner, false).await?.into_iter().filter(PeerView::is_here) {
            out.say(Line::Peer(PeerLine { already: true, ..peer.into() })).await?;
        }
    }
    let mut replayed = match call.after {
        Some(after) => stored::replay(owner, after, out).await?,
        None => BTreeSet::new(),
    };
    loop {
        match events.next().await {
            Ok(event) => {
                let is_replayed = matches!(&*event, Event::Message { row, .. } if replayed.remove(&(row.peer, row.id)));
                if is_replayed || (call.notices && !matches!(*event, Event::Notice { .. })) {
                    continue;
                }
                if let Some(line) = event_line(owner, &event).await {
                    out.say(line).await?;
                }
                if let Event::Message { row, stranger: true, .. } = &*event {
                    plain(owner, Command::Shown(vec![row.peer])).await?;
                }
            }
            Err(NoEvents::Missed) => {
                let text = format!("too slow: more than {SUBSCRIBER_EVENTS_MAX} events were not read");
                return Err(ErrorLine::new("too-slow", 1, text)
                    .hint("subscribe again with `after` and the last message's id")
                    .into());
            }
            Err(NoEvents::Ended) => return Err(ErrorLine::new("leaving", 11, "the owner of the profile has ended").into()),
        }
    }
}

/// An event as a line; replies belong to the calls that asked.
async fn event_line<N: Node>(owner: &Owner<N>, event: &Event) -> Option<Line> {
    Some(match event {
        Event::Reply(..) => return None,
        Event::Message { row, name, .. } => Line::Message(MessageLine::new(row.clone(), name.clone())),
        Event::Status { id, to, state, reason, at } => {
            Line::Status(StatusLine { id: *id, to: *to, state: *state, at: Time(*at), reason: reason.map(reason_word) })
        }
        Event::Request(view) => Line::Request(view.clone().into()),
        Event::Peer(peer) => Line::Peer(peer.clone().into()),
        Event::Notice { code, text, peer } => {
            let name = match peer {
                Some(id) => Some(Labels::read(owner).await.map_or_else(|_| id.short(), |labels| labels.told_apart(id))),
                None => None,
            };
            Line::Notice(NoticeLine { code: *code, text: text.clone(), peer: *peer, name })
        }
    })
}
