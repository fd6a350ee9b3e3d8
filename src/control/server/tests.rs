//! A server and its clients over pipes in memory, with a node that answers as each test says.

mod phonebook;

use std::{collections::VecDeque, time::Duration};

use tokio::io::DuplexStream;

use super::*;
use crate::{
    clock::Unix,
    control::{
        call::{Away, Back, Nick, Peers, Send, Span, Subscribe, WaitFor},
        client::{CallError, Client},
        doctor::Firewall,
    },
    id::{BootId, ConversationId, Incarnation, MessageId, Seq},
    net::{
        counters::Counters,
        handle::{self, Front, Handle, Subscription},
    },
    node::{
        command::{CommandError, PathKind, PeerView, Presence, Reason},
        event::NoticeCode,
    },
    store::{
        Fresh, Store,
        row::{Direction, HistoryRow, State},
    },
};

/// Whoever is called so makes the node panic.
const MISTAKE: &str = "a mistake";

/// A node that answers as a test says.
struct Fake {
    handle: Handle,
    store: Store,
}

impl Node for Fake {
    type Events = Subscription;

    async fn call(&self, command: Command) -> Reply {
        self.handle.call(command).await
    }

    fn subscribe(&self) -> Subscription {
        self.handle.subscribe()
    }

    fn reader(&self) -> &Reader {
        self.handle.reader()
    }

    fn addrs(&self) -> Vec<SocketAddr> {
        vec!["192.0.2.7:17118".parse().unwrap()]
    }

    fn renamed(&self, name: &str) {
        assert_ne!(name, MISTAKE);
    }

    fn keep(&self, _: &str, _: &str) {}

    fn progress(&self) -> Option<Progress> {
        None
    }

    fn config(&self, _: Option<&str>) -> Result<Vec<ConfigLine>, ErrorLine> {
        Ok(Vec::new())
    }

    fn set_config(&self, _: &str, _: &str) -> Result<Counts, ErrorLine> {
        Ok(Counts::Now)
    }

    fn read_config(&self) -> Result<Followed, ErrorLine> {
        Ok(Followed { name: None, allow: None, read_receipts: None })
    }

    async fn surroundings(&self) -> Surroundings {
        Surroundings {
            interfaces: Vec::new(),
            lan: true,
            only: Vec::new(),
            network: String::new(),
            echoes: Ok(Vec::new()),
            broadcasts: Ok(Vec::new()),
            ports: 17_117..=17_133,
            firewall: Firewall::Other,
        }
    }

    async fn back_up(&self, path: PathBuf) -> Result<(), ErrorLine> {
        self.store.back_up(&path).map_err(|error| ErrorLine::new("file", 2, error.to_string()))
    }

    async fn change_password(&self, old: Option<Secret>, _: Option<Secret>) -> Result<(), ErrorLine> {
        let is_right = old.is_some_and(|old| old.into_inner().as_str() == "right");
        if is_right { Ok(()) } else { Err(ErrorLine::new("password", 10, "wrong password")) }
    }
}

fn id(scalar: u8) -> PeerId {
    let point = curve25519_dalek::constants::ED25519_BASEPOINT_POINT * curve25519_dalek::Scalar::from(scalar);
    let mut bytes = point.compress().0;
    bytes[31] &= 0x7f;
    PeerId::from_bytes(bytes).unwrap()
}

fn owner() -> (Arc<Owner<Fake>>, Front) {
    let fresh = Fresh { secret: [1; 32], name: "alice".to_owned(), boot: BootId(1) };
    let store = Store::create_backend(redb::backends::InMemoryBackend::new(), &fresh).unwrap();
    let (handle, front) = handle::channel(id(1), 17118, store.reader(), Counters::default());
    let owner = Owner {
        node: Fake { handle, store },
        id: id(1),
        port: 17118,
        mode: "daemon",
        store_file: PathBuf::new(),
        settings: BTreeMap::new(),
        since: Instant::now(),
        name: Mutex::new("alice".to_owned()),
        keyboard: Mutex::default(),
        stop: Notify::new(),
    };
    (Arc::new(owner), front)
}

fn connect(owner: &Arc<Owner<Fake>>) -> DuplexStream {
    let (near, far) = tokio::io::duplex(4_096);
    tokio::spawn(serve(far, owner.clone()));
    near
}

/// Answers every command by `answer` until the test is over.
fn run_node(mut front: Front, mut answer: impl FnMut(Command) -> Vec<Event> + std::marker::Send + 'static) {
    tokio::spawn(async move {
        while let Some((command_id, command)) = front.command().await {
            for event in answer(command) {
                // A reply of a fake carries no id of its own.
                front.tell(match event {
                    Event::Reply(_, reply) => Event::Reply(command_id, reply),
                    event => event,
                });
            }
        }
    });
}

fn reply(reply: Reply) -> Event {
    Event::Reply(crate::node::command::CommandId(0), reply)
}

fn status(id: MessageId, state: State) -> Event {
    Event::Status { id, to: self::id(2), state, reason: None, at: Unix(1) }
}

fn message(number: u64, text: &str) -> Event {
    let row = HistoryRow {
        id: MessageId::new(number, &[0; 10]),
        conversation: ConversationId::direct(&id(1), &id(2)),
        peer: id(2),
        name: String::new(),
        direction: Direction::In,
        incarnation: Incarnation(1),
        seq: Seq(number),
        kind: 0,
        text: text.to_owned(),
        more: Vec::new(),
        sent_at: Unix(1),
        received_at: Unix(2),
        late: false,
        state: State::Delivered,
        reason: String::new(),
    };
    Event::Message { row, name: "bob".to_owned(), stranger: false }
}

fn view(presence: Presence) -> PeerView {
    PeerView {
        id: id(2),
        name: "bob".to_owned(),
        petname: None,
        presence,
        away_text: String::new(),
        path: PathKind::Lan,
        addr: None,
        last_heard: None,
        trust: crate::store::row::Trust::Seen,
        contact: false,
        rtt: None,
    }
}

async fn lines(stream: DuplexStream) -> VecDeque<Value> {
    let mut text = String::new();
    let (mut read, write) = tokio::io::split(stream);
    read.read_to_string(&mut text).await.unwrap();
    drop(write);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_send_is_followed_to_the_state_that_was_asked_for() {
    let (owner, front) = owner();
    run_node(front, |command| match command {
        Command::Resolve { .. } => vec![reply(Reply::Resolved(id(2)))],
        Command::Send { id, .. } => {
            vec![reply(Reply::Queued(id)), status(id, State::Queued), status(id, State::Sent), status(id, State::Delivered)]
        }
        _ => Vec::new(),
    });
    let client = Client::connect(connect(&owner)).await.unwrap();
    assert_eq!(client.ready().name, "alice");
    let lines = client.call(Call::Send(Send::new("bob", "hi"))).all().await.unwrap();
    let states: Vec<State> = lines
        .iter()
        .map(|line| match line {
            Line::Status(status) => status.state,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(states, [State::Queued, State::Sent, State::Delivered], "each once, in order");
}

#[tokio::test]
async fn time_is_up_with_exit_5_and_the_name_of_who_goes_on() {
    let (owner, front) = owner();
    run_node(front, |command| match command {
        Command::Resolve { .. } => vec![reply(Reply::Resolved(id(2)))],
        Command::Send { id, .. } => vec![reply(Reply::Queued(id))],
        Command::Peers { .. } => vec![reply(Reply::Peers(Vec::new()))],
        Command::Waiting(_) => vec![reply(Reply::Waiting { reason: Some(Reason::Offline), next_try: None, reads: None })],
        _ => Vec::new(),
    });
    let client = Client::connect(connect(&owner)).await.unwrap();
    let mut send = Send::new("bob", "hi");
    send.timeout = Some(Span(Duration::from_millis(70)));
    let Err(CallError::Refused(error)) = client.call(Call::Send(send.clone())).all().await else { panic!("not in time") };
    assert_eq!(error.exit, 5);
    assert!(error.text.contains("offline") && error.text.contains("daemon"), "{error}");
    send.wait = WaitFor::Queued;
    client.call(Call::Send(send)).all().await.unwrap();
}

#[tokio::test]
async fn a_call_that_panics_is_an_error_for_its_client_and_for_nobody_else() {
    let (owner, front) = owner();
    run_node(front, |_| vec![reply(Reply::Done)]);
    let client = Client::connect(connect(&owner)).await.unwrap();
    let Err(CallError::Refused(error)) = client.call(Call::Nick(Nick { name: MISTAKE.to_owned() })).all().await else {
        panic!("it did not fail")
    };
    assert_eq!((error.code.as_str(), error.exit), ("internal", 1));
    client.call(Call::WHOAMI).all().await.unwrap();
}

#[tokio::test]
async fn one_unknown_receiver_of_several_and_nothing_is_queued() {
    let (owner, front) = owner();
    run_node(front, |command| match command {
        Command::Resolve { peer, .. } if peer == "bob" => vec![reply(Reply::Resolved(id(2)))],
        Command::Resolve { peer, .. } => {
            vec![reply(Reply::Failed(CommandError::NoSuchPeer { peer, asked: "asked the LAN, 4 there".to_owned() }))]
        }
        other => panic!("{other:?}"),
    });
    let client = Client::connect(connect(&owner)).await.unwrap();
    let mut send = Send::new("bob", "hi");
    send.peer.push("bill".to_owned());
    let Err(CallError::Refused(error)) = client.call(Call::Send(send)).all().await else { panic!("it was sent") };
    assert_eq!((error.exit, error.code.as_str()), (3, "no-such-peer"));
    assert_eq!(error.text, "no such peer: bill (asked the LAN, 4 there)");
}

#[tokio::test]
async fn one_id_for_two_messages_is_refused_before_anything_is_queued() {
    let (owner, front) = owner();
    run_node(front, |command| match command {
        Command::Resolve { peer, .. } => vec![reply(Reply::Resolved(id(if peer == "bob" { 2 } else { 3 })))],
        Command::Send { text, .. } if text == "hi" => vec![reply(Reply::Failed(CommandError::TakenId))],
        other => panic!("{other:?}"),
    });
    let client = Client::connect(connect(&owner)).await.unwrap();
    let (one, two) = (MessageId::new(1, &[0; 10]), MessageId::new(2, &[0; 10]));
    for (text, ids, why) in [("bye", [one, one], "an id of its own"), ("hi", [one, two], "another message has this id")] {
        let mut send = Send::new("bob", text);
        send.peer.push("eve".to_owned());
        send.id = ids.to_vec();
        let Err(CallError::Refused(error)) = client.call(Call::Send(send)).all().await else { panic!("it was sent") };
        assert_eq!((error.exit, error.code.as_str()), (2, "bad-request"));
        assert!(error.text.contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_bad_text_never_reaches_the_node() {
    let (owner, front) = owner();
    run_node(front, |command| panic!("{command:?}"));
    let client = Client::connect(connect(&owner)).await.unwrap();
    for text in ["", "a\0b", &"x".repeat(1_048_577)] {
        let Err(CallError::Refused(error)) = client.call(Call::Send(Send::new("bob", text))).all().await else { panic!("taken") };
        assert_eq!(error.exit, 2);
    }
    let Err(CallError::Refused(error)) = client.call(Call::Nick(Nick { name: "#x".into() })).all().await else { panic!("taken") };
    assert_eq!(error.exit, 2);
}

#[tokio::test]
async fn a_call_that_waits_does_not_hold_up_another() {
    let (owner, front) = owner();
    run_node(front, |command| match command {
        Command::Peers { settle: true } => Vec::new(),
        _ => vec![reply(Reply::Done)],
    });
    let client = Client::connect(connect(&owner)).await.unwrap();
    let mut waiting = client.call(Call::Peers(Peers::default()));
    let whoami = client.call(Call::WHOAMI).all().await.unwrap();
    let Some(Line::Whoami(me)) = whoami.first() else { panic!("{whoami:?}") };
    assert_eq!(me.link, format!("p2pchat:{}?name=alice", id(1)));
    tokio::select! {
        biased;
        line = waiting.next() => panic!("{line:?}"),
        () = tokio::task::yield_now() => {}
    }
}

#[tokio::test]
async fn who_closes_his_side_still_gets_his_answers() {
    let (owner, front) = owner();
    run_node(front, |_| vec![reply(Reply::Peers(Vec::new()))]);
    let mut stream = connect(&owner);
    stream.write_all(b"{\"call\":\"peers\",\"tag\":\"p\"}\n\n{\"call\":\"whoami\"}\n{\"call\":\"subscribe\"}").await.unwrap();
    stream.shutdown().await.unwrap();
    let lines = lines(stream).await;
    assert_eq!(lines[0]["event"], "ready");
    assert!(lines.contains(&serde_json::json!({"event":"done","tag":"p"})), "{lines:?}");
    assert!(lines.contains(&serde_json::json!({"event":"done"})), "{lines:?}");
}

#[tokio::test]
async fn a_malformed_line_ends_its_client_and_no_other() {
    let (owner, front) = owner();
    run_node(front, |_| vec![reply(Reply::Done)]);
    let other = Client::connect(connect(&owner)).await.unwrap();
    let mut stream = connect(&owner);
    stream.write_all(b"{\"call\":\"dance\",\"tag\":1}\n{\"call\":\"whois\",\"tag\":2}\nGET / HTTP/1.1\n").await.unwrap();
    let lines = lines(stream).await;
    assert_eq!((&lines[1]["exit"], &lines[1]["tag"]), (&8.into(), &1.into()));
    assert_eq!((&lines[2]["exit"], &lines[2]["tag"]), (&2.into(), &2.into()));
    assert_eq!(lines[3]["code"], "malformed");
    assert_eq!(lines.len(), 4);
    other.call(Call::Back(Back::default())).all().await.unwrap();
}

#[tokio::test]
async fn a_line_beyond_the_limit_ends_its_client() {
    let (owner, _front) = owner();
    let stream = connect(&owner);
    let (read, mut write) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        let chunk = vec![b' '; 64 * 1024];
        while write.write_all(&chunk).await.is_ok() {}
    });
    let mut lines = BufReader::new(read).lines();
    lines.next_line().await.unwrap();
    let error = lines.next_line().await.unwrap().unwrap();
    assert!(error.contains("line-too-long"), "{error}");
    assert!(matches!(lines.next_line().await, Ok(None) | Err(_)));
    writing.await.unwrap();
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_dropped_and_holds_up_nobody() {
    let (owner, mut front) = owner();
    let mut idle = connect(&owner);
    idle.write_all(b"{\"call\":\"subscribe\",\"tag\":1}\n").await.unwrap();
    let quick = Client::connect(connect(&owner)).await.unwrap();
    let mut events = quick.subscribe(Subscribe::default());
    assert!(matches!(events.next().await, Some(Ok(Line::Ready(_)))));
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    for number in 0..3_000 {
        front.tell(message(number, "x"));
        match events.next().await {
            Some(Ok(Line::Message(line))) => assert_eq!(line.id, MessageId::new(number, &[0; 10])),
            other => panic!("{other:?}"),
        }
    }
    idle.shutdown().await.unwrap();
    let lines = lines(idle).await;
    assert!(lines.len() < 3_000, "{}", lines.len());
    drop(front);
}

#[tokio::test]
async fn the_last_word_to_a_slow_subscriber_says_why() {
    let (owner, mut front) = owner();
    let mut idle = connect(&owner);
    idle.write_all(b"{\"call\":\"subscribe\",\"tag\":1}\n").await.unwrap();
    let mut reader = BufReader::new(idle).lines();
    for _ in 0..2 {
        assert!(reader.next_line().await.unwrap().unwrap().contains("ready"));
    }
    for number in 0..3_000 {
        front.tell(message(number, &"x".repeat(100)));
        tokio::task::yield_now().await;
    }
    let mut last = String::new();
    let mut messages = 0;
    while !last.contains("\"error\"") {
        last = reader.next_line().await.unwrap().unwrap();
        messages += 1;
    }
    assert!(last.contains("too-slow"), "{last}");
    assert!(messages >= SUBSCRIBED, "{messages}: what waited is not thrown away");
}

/// Events that wait for a subscriber.
const SUBSCRIBED: usize = crate::control::SUBSCRIBER_EVENTS_MAX;

#[tokio::test]
async fn an_owner_that_ends_is_told_from_one_that_refuses() {
    let (owner, front) = owner();
    let (near, far) = tokio::io::duplex(4_096);
    let serving = tokio::spawn(serve(far, owner.clone()));
    let client = Client::connect(near).await.unwrap();
    let waiting = client.call(Call::Peers(Peers { wait: Some(1), timeout: None }));
    serving.abort();
    assert_eq!(waiting.all().await, Err(CallError::Lost));
    assert_eq!(client.call(Call::WHOAMI).all().await, Err(CallError::Lost));
    drop(front);
    let client = Client::connect(connect(&owner)).await.unwrap();
    let Err(CallError::Refused(error)) = client.call(Call::STATUS).all().await else { panic!("answered") };
    assert_eq!((error.code.as_str(), error.exit), ("leaving", 11));
}

#[tokio::test]
async fn peers_waits_until_enough_are_online() {
    let (owner, front) = owner();
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut online = false;
    run_node(front, move |command| match command {
        Command::Peers { .. } => {
            let presence = if online { Presence::Online } else { Presence::Offline };
            online = true;
            let _ = tell.send(());
            vec![reply(Reply::Peers(vec![view(presence)])), Event::Peer(view(Presence::Online))]
        }
        _ => Vec::new(),
    });
    let client = Client::connect(connect(&owner)).await.unwrap();
    let lines = client.call(Call::Peers(Peers { wait: Some(1), timeout: None })).all().await.unwrap();
    assert!(matches!(&lines[..], [Line::Peer(peer)] if peer.presence == Presence::Online), "{lines:?}");
    assert!(told.recv().await.is_some());
    let Err(CallError::Refused(error)) =
        client.call(Call::Peers(Peers { wait: Some(2), timeout: Some(Span(Duration::from_millis(30))) })).all().await
    else {
        panic!("there is only one")
    };
    assert_eq!(error.exit, 5);
}

#[tokio::test]
async fn a_notice_names_its_peer_and_tells_two_of_one_name_apart() {
    let (owner, mut front) = owner();
    let client = Client::connect(connect(&owner)).await.unwrap();
    let mut notices = client.subscribe(Subscribe { notices: true, ..Subscribe::default() });
    assert!(matches!(notices.next().await, Some(Ok(Line::Ready(_)))));
    let named = |n: u8, name: &str| PeerView { id: id(n), name: name.to_owned(), ..view(Presence::Online) };
    for (peer, words) in [
        (Some(2), "carol: runs twice".to_owned()),
        (Some(3), format!("Bob·{}: runs twice", id(3).short())),
        (Some(5), format!("{}: runs twice", id(5).short())),
        (None, "runs twice".to_owned()),
    ] {
        front.tell(Event::Notice { code: NoticeCode::PeerClonedProfile, text: "runs twice".to_owned(), peer: peer.map(id) });
        if peer.is_some() {
            let (asked, Command::Peers { .. }) = front.command().await.unwrap() else { panic!("another command") };
            let peers = vec![named(2, "carol"), named(3, "Bob"), named(4, "bob")];
            front.tell(Event::Reply(asked, Reply::Peers(peers)));
        }
        let Some(Ok(Line::Notice(notice))) = notices.next().await else { panic!("no notice") };
        assert_eq!(notice.words(), words);
    }
}

#[tokio::test]
async fn what_a_subscriber_is_sent_of_a_stranger_counts_as_shown_but_not_who_asks_for_notices() {
    let (owner, mut front) = owner();
    let client = Client::connect(connect(&owner)).await.unwrap();
    let mut notices = client.subscribe(Subscribe { notices: true, ..Subscribe::default() });
    assert!(matches!(notices.next().await, Some(Ok(Line::Ready(_)))));
    let stranger = |number| match message(number, "hi") {
        Event::Message { row, name, .. } => Event::Message { row, name, stranger: true },
        event => event,
    };
    front.tell(stranger(1));
    front.tell(Event::Notice { code: NoticeCode::DiskFull, text: "full".to_owned(), peer: None });
    assert!(matches!(notices.next().await, Some(Ok(Line::Notice(_)))), "nothing else");
    assert!(front.try_command().is_none(), "nobody was shown it");
    let mut all = client.subscribe(Subscribe::default());
    assert!(matches!(all.next().await, Some(Ok(Line::Ready(_)))));
    front.tell(message(2, "of a contact"));
    front.tell(stranger(3));
    let (command_id, command) = front.command().await.unwrap();
    assert_eq!(command, Command::Shown(vec![id(2)]));
    front.tell(Event::Reply(command_id, Reply::Done));
    for _ in 0..2 {
        assert!(matches!(all.next().await, Some(Ok(Line::Message(_)))));
    }
}

#[tokio::test]
async fn what_somebody_says_of_himself_goes_before_what_a_window_guesses() {
    let (owner, front) = owner();
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = told.clone();
    run_node(front, move |command| {
        if let Command::SetAway(away) = command {
            seen.lock().unwrap().push(away);
        }
        vec![reply(Reply::Done)]
    });
    let client = Client::connect(connect(&owner)).await.unwrap();
    let away = |text: &str, idle| Call::Away(Away { text: text.to_owned(), idle });
    let back = |idle| Call::Back(Back { idle });
    for (call, expected) in [
        (back(true), None),
        (away("", true), Some(Some(String::new()))),
        (back(true), Some(None)),
        (away("lunch", false), Some(Some("lunch".to_owned()))),
        (away("", true), None),
        (back(true), None),
        (back(false), Some(None)),
        (away("", true), Some(Some(String::new()))),
        (away("out", false), Some(Some("out".to_owned()))),
    ] {
        told.lock().unwrap().clear();
        client.call(call.clone()).all().await.unwrap();
        assert_eq!(told.lock().unwrap().pop(), expected, "{call:?}");
    }
    let long = client.call(away(&"x".repeat(65), false)).all().await;
    assert!(matches!(long, Err(CallError::Refused(error)) if error.code == "bad-text"));
}
