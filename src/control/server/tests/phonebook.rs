//! `find`, `whois`, `contact` and `seed` against a node that answers as each test says.

use super::*;
use crate::{
    control::{
        call::{Contact, ContactAction, Find, Seed, SeedAction, Whois},
        proto::NoticeLine,
    },
    node::command::{Claim, Claims, Question, SeedState, SeedView},
    store::row::{Op, Trust, WriteBatch},
};

fn claim(n: u8, name: &str) -> Claim {
    let addr = "203.0.113.5:17118".parse().unwrap();
    Claim { id: id(n), name: name.to_owned(), addr, age: Duration::from_secs(7), listed: true }
}

fn claims(claims: Vec<Claim>, answered: usize, asked: usize) -> Event {
    reply(Reply::Claims(Claims {
        claims,
        asked,
        answered,
        missing: vec!["b:1".to_owned(); asked - answered],
        more: false,
        young: None,
    }))
}

fn seed_view(seed: &str, state: SeedState, registered: bool) -> SeedView {
    let answers = state == SeedState::Ok;
    SeedView {
        seed: seed.to_owned(),
        addr: None,
        state,
        reason: (!answers).then(|| "no answer".to_owned()),
        name: String::new(),
        software: if answers { "p2pchat-udp/0.1.0".to_owned() } else { String::new() },
        uptime: Duration::from_secs(60),
        records: 3,
        load: 125,
        fellows: Vec::new(),
        relay: None,
        registered,
        unheard: false,
    }
}

/// Asks a node that answers so: the lines and the error.
async fn asked(
    call: Call,
    answer: impl FnMut(Command) -> Vec<Event> + std::marker::Send + 'static,
) -> (Vec<Line>, Option<ErrorLine>) {
    let (owner, front) = owner();
    run_node(front, answer);
    asked_of(&owner, call).await
}

async fn asked_of(owner: &Arc<Owner<Fake>>, call: Call) -> (Vec<Line>, Option<ErrorLine>) {
    let client = Client::connect(connect(owner)).await.unwrap();
    let mut replies = client.call(call);
    let mut lines = Vec::new();
    loop {
        match replies.next().await {
            Some(Ok(line)) => lines.push(line),
            Some(Err(CallError::Refused(error))) => return (lines, Some(error)),
            Some(Err(CallError::Lost)) => panic!("the owner is gone"),
            None => return (lines, None),
        }
    }
}

fn seed(action: SeedAction, name: Option<&str>) -> Call {
    Call::Seed(Seed { action, name: name.map(str::to_owned), seed: None, timeout: None })
}

fn find(words: &str) -> Call {
    Call::Find(Find { words: words.to_owned(), timeout: None })
}

/// Of whom these lines tell, and what beside.
fn told(lines: &[Line]) -> (Vec<PeerId>, Vec<&str>) {
    let (mut ids, mut notes) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Line::Peer(peer) => ids.push(peer.id),
            Line::Notice(NoticeLine { code: NoticeCode::NotAllShown, text, .. }) => notes.push(text.as_str()),
            other => panic!("{other:?}"),
        }
    }
    (ids, notes)
}

fn ids(lines: &[Line]) -> Vec<PeerId> {
    told(lines).0
}

fn nobody(peer: String) -> Event {
    reply(Reply::Failed(CommandError::NoSuchPeer { peer, asked: "asked the LAN, 1 there; 2 of 2 seeds".to_owned() }))
}

#[tokio::test]
async fn find_says_whom_we_know_first_and_each_id_once() {
    let (lines, error) = asked(find("BO"), |command| match command {
        Command::Peers { .. } => {
            let carol = PeerView { id: id(4), name: "carol".to_owned(), ..view(Presence::Online) };
            let petnamed = PeerView { id: id(5), name: "eve".to_owned(), petname: Some("my boss".to_owned()), ..carol.clone() };
            vec![reply(Reply::Peers(vec![carol, petnamed, view(Presence::Online)]))]
        }
        Command::Ask { question: Question::Name(name), .. } => {
            assert_eq!(name, "BO");
            vec![claims(vec![claim(6, "bo"), claim(2, "bob")], 1, 2)]
        }
        Command::Ask { question: Question::Prefix(_), .. } => {
            vec![claims(vec![claim(1, "bonnie"), claim(6, "bo"), claim(7, "bobby")], 2, 2)]
        }
        Command::Resolve { peer, .. } => vec![nobody(peer)],
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(error, None);
    assert_eq!(ids(&lines), [5, 2, 6, 7].map(id), "and not ourselves");
    let [.., Line::Peer(claimed), Line::Notice(_)] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((claimed.presence, claimed.path, claimed.trust), (Presence::Unknown, PathKind::None, Trust::Unknown));
    assert_eq!((claimed.age_s, claimed.listed), (Some(7), Some(true)));
}

#[tokio::test]
async fn find_without_a_match_ends_as_the_node_says() {
    let node = |answer: fn(String) -> Event| {
        move |command| match command {
            Command::Peers { .. } => vec![reply(Reply::Peers(vec![view(Presence::Online)]))],
            Command::Ask { .. } => vec![claims(Vec::new(), 1, 2)],
            Command::Resolve { peer, .. } => vec![answer(peer)],
            other => panic!("{other:?}"),
        }
    };
    let (lines, error) = asked(find("zoe"), node(nobody)).await;
    assert_eq!((lines.len(), error.unwrap().exit), (0, 3));
    let late = |_| reply(Reply::Resolved(id(2)));
    let (lines, error) = asked(find("zoe"), node(late)).await;
    assert_eq!((ids(&lines), error), (vec![id(2)], None), "it came in the middle");
    let (_, error) = asked(find("#room"), |command| panic!("{command:?}")).await;
    assert_eq!(error.unwrap().code, "bad-name");
}

#[tokio::test]
async fn whois_says_what_a_seed_says_of_somebody_never_seen() {
    let whois = |peer: String| Call::Whois(Whois { peer, timeout: None, unseen: false });
    let node = |command| match command {
        Command::Resolve { .. } => vec![reply(Reply::Resolved(id(6)))],
        Command::Peers { .. } => vec![reply(Reply::Peers(Vec::new()))],
        Command::Ask { question, .. } => {
            assert_eq!(question, Question::Id(id(6)));
            vec![claims(vec![claim(6, "bo")], 1, 1)]
        }
        other => panic!("{other:?}"),
    };
    let (lines, error) = asked(whois("bo".to_owned()), node).await;
    assert!(matches!(&lines[..], [Line::Peer(peer)] if peer.name == "bo" && peer.age_s == Some(7)), "{lines:?}");
    assert_eq!(error, None);
    let (_, error) = asked(whois("p2pchat:nobody".to_owned()), |command| panic!("{command:?}")).await;
    assert_eq!(error.unwrap().text, "bad link: at 9: not an id");
}

#[tokio::test]
async fn seed_status_names_the_seed_that_cannot_be_used() {
    let (lines, error) = asked(seed(SeedAction::Status, None), |command| match command {
        Command::Seeds { only: None, timeout } => {
            assert_eq!(timeout, Duration::from_secs(3));
            let seeds = vec![seed_view("a:1", SeedState::Ok, true), seed_view("b:1", SeedState::Unreachable, false)];
            vec![reply(Reply::Seeds(seeds))]
        }
        other => panic!("{other:?}"),
    })
    .await;
    let [Line::Seed(ok), Line::Seed(dead)] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((ok.load, ok.records, ok.registered), (Some(0.125), Some(3), true));
    assert_eq!((dead.load, &dead.version, dead.reason.as_deref()), (None, &None, Some("no answer")));
    let error = error.unwrap();
    assert_eq!((error.exit, error.text.as_str()), (9, "b:1 is unreachable (no answer)"));
}

#[tokio::test]
async fn what_to_do_about_a_seed_is_said_of_each_state() {
    for (state, word) in [
        (SeedState::Unreachable, "let out"),
        (SeedState::BadSignature, "another seed"),
        (SeedState::OldVersion, "renewed"),
        (SeedState::WrongClock, "clock"),
    ] {
        for action in [SeedAction::Status, SeedAction::Register] {
            let seeds = vec![SeedView { addr: Some(([192, 0, 2, 1], 1).into()), ..seed_view("a:1", state, false) }];
            let (_, error) = asked(seed(action, None), move |_| vec![reply(Reply::Seeds(seeds.clone()))]).await;
            let hint = error.unwrap().hint;
            assert!(hint.as_ref().is_some_and(|hint| hint.contains(word)), "{action:?} {state:?}: {hint:?}");
        }
    }
}

#[tokio::test]
async fn without_seeds_every_action_says_so() {
    for (action, name) in [
        (SeedAction::Status, None),
        (SeedAction::List, None),
        (SeedAction::Lookup, Some("bob")),
        (SeedAction::Register, None),
        (SeedAction::Unregister, None),
    ] {
        let (lines, error) = asked(seed(action, name), |command| match command {
            Command::Ask { .. } => vec![claims(Vec::new(), 0, 0)],
            _ => vec![reply(Reply::Seeds(Vec::new()))],
        })
        .await;
        let error = error.unwrap();
        assert_eq!((lines.len(), error.code.as_str(), error.exit), (0, "no-seeds", 2), "{action:?}");
    }
}

#[tokio::test]
async fn my_entry_is_there_once_one_seed_has_it_and_gone_once_none_has() {
    for (action, held, exit) in [
        (SeedAction::Register, [true, false], None),
        (SeedAction::Register, [false, false], Some(9)),
        (SeedAction::Unregister, [false, false], None),
        (SeedAction::Unregister, [true, false], Some(9)),
    ] {
        let (lines, error) = asked(seed(action, None), move |command| match command {
            Command::Register { on, .. } => {
                assert_eq!(on, action == SeedAction::Register);
                let view = |held| seed_view("a:1", SeedState::Ok, held);
                vec![reply(Reply::Seeds(held.map(view).to_vec()))]
            }
            other => panic!("{other:?}"),
        })
        .await;
        assert_eq!((lines.len(), error.map(|error| error.exit)), (2, exit), "{action:?} {held:?}");
    }
}

#[tokio::test]
async fn only_who_was_told_so_by_all_says_that_nobody_has_a_name() {
    for (name, found, answered, exit) in [
        (Some("bob"), 1, 1, None),
        (Some("bob"), 0, 3, Some(3)),
        (Some("bob"), 0, 1, Some(9)),
        (None, 0, 3, None),
        (None, 0, 1, Some(9)),
        (None, 1, 1, None),
    ] {
        let action = if name.is_some() { SeedAction::Lookup } else { SeedAction::List };
        let (lines, error) = asked(seed(action, name), move |command| match command {
            Command::Ask { question, .. } => {
                let wanted = name.map_or_else(|| Question::Prefix(String::new()), |name| Question::Name(name.to_owned()));
                assert_eq!(question, wanted);
                vec![claims(vec![claim(6, "bob"); found], answered, 3)]
            }
            other => panic!("{other:?}"),
        })
        .await;
        assert_eq!((ids(&lines).len(), error.as_ref().map(|error| error.exit)), (found, exit), "{name:?} {found} {answered}");
        if let (Some(error), Some(9), Some(_)) = (error, exit, name) {
            assert_eq!(error.text, "not found: bob (1 of 3 seeds answered)");
        }
    }
}

#[tokio::test]
async fn a_lookup_of_an_id_asks_for_the_id() {
    let (lines, _) = asked(seed(SeedAction::Lookup, Some(&id(6).to_string())), |command| match command {
        Command::Ask { question: Question::Id(asked), .. } => vec![claims(vec![claim(6, "bo")], usize::from(asked == id(6)), 1)],
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(ids(&lines), [id(6)]);
}

#[tokio::test]
async fn a_contact_is_added_by_its_link_and_listed_from_the_disk() {
    let (mut owner, front) = owner();
    let contact = |n, added| crate::store::row::Contact {
        id: id(n),
        more_ids: Vec::new(),
        name: if n == 2 { "bob".to_owned() } else { String::new() },
        petname: None,
        trust: Trust::Seen,
        added,
        since: Unix(1),
        last_heard: None,
        boot: BootId(0),
        announce_seq: 0,
        addresses: Vec::new(),
        seeds: Vec::new(),
        request: None,
        receipts: None,
        refused: false,
    };
    let ops = vec![Op::Contact(contact(2, true)), Op::Contact(contact(3, true)), Op::Contact(contact(4, false))].into();
    let fake = &mut Arc::get_mut(&mut owner).unwrap().node;
    fake.store.commit(WriteBatch { id: crate::id::BatchId(1), ops }).unwrap();
    run_node(front, |command| match command {
        Command::AddContact { peer, petname, name, seeds } => {
            assert_eq!((peer, petname.as_deref(), name.as_deref()), (id(2), Some("my bob"), Some("Ann Lee")));
            assert_eq!(seeds, ["seed.example:17118"]);
            vec![reply(Reply::Done)]
        }
        other => panic!("{other:?}"),
    });
    let link = format!("p2pchat:{}?name=Ann%20Lee&via=seed.example%3A17118", id(2));
    let add =
        Contact { action: ContactAction::Add, peer: Some(link), petname: Some(" my  bob".to_owned()), told: None, yes: false };
    let (lines, error) = asked_of(&owner, Call::Contact(add.clone())).await;
    assert!(matches!(&lines[..], [Line::Contact(line)] if line.id == id(2) && line.name == "bob"), "{lines:?} {error:?}");
    let (lines, _) = asked_of(&owner, Call::Contact(Contact::default())).await;
    assert_eq!(lines.len(), 2, "who only wrote is no contact: {lines:?}");
    for (wrong, code) in [
        (Contact { petname: Some("#room".to_owned()), ..add.clone() }, "bad-name"),
        (Contact { peer: Some("bob".to_owned()), ..add.clone() }, "bad-link"),
        (Contact { peer: None, ..add.clone() }, "bad-request"),
        (Contact { action: ContactAction::List, ..add }, "bad-request"),
    ] {
        assert_eq!(asked_of(&owner, Call::Contact(wrong)).await.1.unwrap().code, code);
    }
}

#[tokio::test]
async fn a_seed_that_is_none_and_a_name_too_many_are_refused_unasked() {
    let call = Seed { action: SeedAction::Status, seed: Some("seed.example".to_owned()), ..Seed::default() };
    for (call, code) in [
        (Call::Seed(call), "bad-seed"),
        (seed(SeedAction::Lookup, None), "bad-request"),
        (seed(SeedAction::Lookup, Some("#room")), "bad-name"),
        (seed(SeedAction::List, Some("bob")), "bad-request"),
    ] {
        let (_, error) = asked(call, |command| panic!("{command:?}")).await;
        assert_eq!(error.unwrap().code, code);
    }
}

#[tokio::test]
async fn the_link_names_the_seeds_unless_we_are_hidden() {
    for (visibility, ending) in [("findable", "?name=alice&via=a%3A1"), ("hidden", "?name=alice")] {
        let (mut owner, _front) = owner();
        let settings = &mut Arc::get_mut(&mut owner).unwrap().settings;
        settings.insert("via".to_owned(), vec!["a:1"].into());
        settings.insert("visibility".to_owned(), visibility.into());
        let (lines, _) = asked_of(&owner, Call::WHOAMI).await;
        let [Line::Whoami(me)] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((me.link.as_str(), &me.seeds), (format!("p2pchat:{}{ending}", id(1)).as_str(), &vec!["a:1".to_owned()]));
    }
}

/// A list that was cut, and one that a seed did not add to, looked like any other.
#[tokio::test]
async fn what_is_not_all_is_said_not_to_be() {
    for (answered, more, said) in [
        (3, false, vec![]),
        (3, true, vec!["more than is shown: the seeds have others that fit"]),
        (2, false, vec!["maybe not all: 2 of 3 seeds answered; missing: b:1"]),
    ] {
        let answer = move || {
            let missing = vec!["b:1".to_owned(); 3 - answered];
            reply(Reply::Claims(Claims { claims: vec![claim(6, "bo")], asked: 3, answered, missing, more, young: None }))
        };
        for call in [seed(SeedAction::List, None), seed(SeedAction::Lookup, Some("bo")), find("bo")] {
            let (lines, error) = asked(call, move |command| match command {
                Command::Ask { .. } => vec![answer()],
                Command::Peers { .. } => vec![reply(Reply::Peers(Vec::new()))],
                Command::Resolve { peer, .. } => vec![nobody(peer)],
                other => panic!("{other:?}"),
            })
            .await;
            assert_eq!((told(&lines), error), ((vec![id(6)], said.clone()), None));
        }
    }
}
