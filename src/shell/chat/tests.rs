//! The shell as a state machine: lines in, lines and calls out.

mod phonebook;

use jiff::tz::TimeZone;

use super::*;
use crate::{
    control::{
        call::{Away, WaitFor},
        proto::{
            Kind, MessageLine, NoticeCode, NoticeLine, OutboxLine, PathKind, PeerLine, Presence, State, StatusLine, Time, Trust,
        },
    },
    id::MessageId,
    shell::render::Glyphs,
    text::Shown,
};

/// 2026-01-02 10:00:00 UTC.
const TEN: u64 = 1_767_348_000_000;

const HABITS: Habits = Habits { joins: true, away_after: Some(Duration::from_secs(600)) };

fn peer_id(n: u8) -> PeerId {
    let mut bytes = [0; 32];
    for first in 0..=255 {
        bytes[..2].copy_from_slice(&[first, n]);
        if let Ok(id) = PeerId::from_bytes(bytes) {
            return id;
        }
    }
    panic!("half of all bytes are points of the curve")
}

fn peer(n: u8, name: &str, presence: Presence) -> PeerLine {
    PeerLine {
        id: peer_id(n),
        name: name.into(),
        petname: None,
        presence,
        path: PathKind::Lan,
        addr: None,
        last_heard: Some(Time(Unix(TEN - 3_600_000))),
        trust: Trust::Seen,
        contact: true,
        away: None,
        rtt_ms: None,
        already: false,
        age_s: None,
        listed: None,
    }
}

/// What the shell asks and says beside what was typed: nobody asks to write, and nothing is unread.
fn is_aside(call: &Call) -> bool {
    let is_unread = |history: &History| history.peer.is_some() && history.limit == Some(100);
    matches!(call, Call::Requests(_) | Call::Unread(_) | Call::MarkRead(_))
        || matches!(call, Call::History(history) if is_unread(history))
}

/// A shell, its clock, and an owner that does what each test says.
struct Desk {
    chat: Chat,
    ms: u64,
    printed: Vec<String>,
    calls: VecDeque<(Tag, Call)>,
    prompt: String,
    bells: usize,
    asks: Vec<&'static str>,
    failed: Vec<ErrorLine>,
    end: Option<u8>,
}

impl Desk {
    fn new(mode: Mode) -> Self {
        Self::open(mode, Company::Alone)
    }

    fn open(mode: Mode, company: Company) -> Self {
        let glyphs = if mode == Mode::Plain { Glyphs::Words } else { Glyphs::Unicode };
        let look = Look { color: false, glyphs, columns: None, zone: TimeZone::UTC };
        let ready = ReadyLine {
            id: peer_id(1),
            name: "alice".into(),
            port: 17118,
            addrs: Vec::new(),
            version: "0.1.0".into(),
            control: 1,
            after: None,
        };
        let now = Now { instant: Instant::default(), unix: Unix(TEN) };
        let mut desk = Self {
            chat: Chat::new(look, mode, &ready, company, HABITS, [7; 32], now),
            ms: 0,
            printed: Vec::new(),
            calls: VecDeque::new(),
            prompt: String::new(),
            bells: 0,
            asks: Vec::new(),
            failed: Vec::new(),
            end: None,
        };
        desk.drain();
        // Whoever opens a window sits before it; each test goes on from there.
        let sits = desk.calls.iter().position(|(_, call)| matches!(call, Call::Back(Back { idle: true })));
        assert_eq!(sits.is_some(), mode != Mode::Script);
        if let Some((tag, _)) = sits.and_then(|at| desk.calls.remove(at)) {
            desk.chat.handle_answer(now, tag, None);
        }
        desk
    }

    fn now(&self) -> Now {
        Now { instant: Instant::from_start(Duration::from_millis(self.ms)), unix: Unix(TEN + self.ms) }
    }

    fn drain(&mut self) {
        while let Some(action) = self.chat.poll_action() {
            match action {
                Action::Print(text) => self.printed.push(text),
                Action::Failed(error) => self.failed.push(error),
                Action::Call(tag, call) if is_aside(&call) => self.chat.handle_answer(self.now(), tag, None),
                Action::Call(tag, call) => self.calls.push_back((tag, call)),
                Action::Prompt(prompt) => self.prompt = prompt,
                Action::Bell(_) => self.bells += 1,
                Action::Ask(question) => self.asks.push(question),
                Action::Clear | Action::Export { .. } | Action::Edit(_) => {}
                Action::End(code) => self.end = Some(code),
            }
        }
    }

    fn wait(&mut self, ms: u64) {
        let until = self.ms + ms;
        while let Some(at) = self.chat.poll_timeout().filter(|at| at.since_start() <= Duration::from_millis(until)) {
            self.ms = self.ms.max(u64::try_from(at.since_start().as_millis()).unwrap());
            self.chat.handle_timeout(self.now());
            self.drain();
        }
        self.ms = until;
    }

    fn line(&mut self, line: &str) -> bool {
        let typed = self.chat.handle_line(self.now(), line);
        self.drain();
        typed
    }

    fn event(&mut self, line: Line) {
        self.chat.handle_event(self.now(), line);
        self.drain();
    }

    /// Answers the oldest call with these lines and `done`.
    fn answer(&mut self, lines: Vec<Line>) -> Call {
        let (tag, call) = self.calls.pop_front().expect("a call waits for its answer");
        for line in lines {
            self.chat.handle_answer(self.now(), tag, Some(Ok(line)));
        }
        self.chat.handle_answer(self.now(), tag, None);
        self.drain();
        call
    }

    fn refuse(&mut self, error: ErrorLine) {
        let (tag, _) = self.calls.pop_front().expect("a call waits for its answer");
        self.chat.handle_answer(self.now(), tag, Some(Err(CallError::Refused(error))));
        self.drain();
    }

    /// Past the first words, with these peers known and nothing printed.
    fn started(mode: Mode, peers: Vec<PeerLine>) -> Self {
        let mut desk = Self::new(mode);
        desk.answer(peers.into_iter().map(Line::Peer).collect());
        desk.answer(Vec::new());
        desk.wait(6_000);
        desk.printed.clear();
        desk
    }

    fn to(&mut self, peer: PeerLine) {
        self.line(&format!("/to {}", peer.name));
        self.answer(vec![Line::Peer(peer)]);
        assert!(matches!(self.calls.pop_front(), Some((_, Call::Watch(_)))));
        self.printed.clear();
    }

    fn status(&self, id: MessageId, to: u8, state: State) -> Line {
        Line::Status(StatusLine { id, to: peer_id(to), state, at: Time(self.now().unix), reason: None })
    }

    /// The owner queues the oldest message that waits for it.
    fn queue(&mut self, to: u8) -> MessageId {
        let Some((_, Call::Send(send))) = self.calls.front() else { panic!("no message was sent: {:?}", self.calls) };
        let id = send.id[0];
        let status = self.status(id, to, State::Queued);
        self.answer(vec![status]);
        id
    }

    fn message(&self, from: u8, name: &str, text: &str, late_minutes: u64) -> Line {
        let now = self.now().unix;
        Line::Message(MessageLine {
            id: MessageId::new(self.ms, &[from; 10]),
            from: peer_id(from),
            name: name.into(),
            kind: Kind(CONTENT_TEXT),
            text: text.into(),
            sent_at: Time(Unix(now.0 - late_minutes * 60_000)),
            received_at: Time(now),
            late: late_minutes > 0,
        })
    }
}

#[test]
fn a_first_run_says_who_i_am_who_is_here_and_how_to_write() {
    let mut desk = Desk::new(Mode::Edited);
    desk.event(Line::Peer(peer(2, "bob", Presence::Online)));
    desk.wait(1_000);
    assert_eq!(desk.printed.len(), 3, "{:?}", desk.printed);
    assert!(desk.printed[0].starts_with("-- You are alice, id "));
    assert_eq!(desk.printed[1], "-- Here: bob");
    assert!(desk.printed[2].contains("/to bob"));
    desk.wait(10_000);
    assert_eq!(desk.printed.len(), 3, "nothing is said of being alone");
}

#[test]
fn nobody_here_is_said_after_two_seconds_and_what_to_do_after_five() {
    let mut desk = Desk::new(Mode::Edited);
    desk.wait(1_999);
    assert_eq!(desk.printed.len(), 1);
    desk.wait(1);
    assert_eq!(desk.printed[1], "-- Nobody here yet.");
    desk.wait(2_900);
    assert_eq!(desk.printed.len(), 3);
    desk.wait(60_000);
    assert_eq!(desk.printed.len(), 6);
    assert!(desk.printed[4].contains("17117-17133") && desk.printed[5].contains("p2pchat-udp demo"));
    desk.event(Line::Peer(peer(2, "bob", Presence::Online)));
    desk.wait(300);
    assert_eq!(desk.printed[6], "-- bob is here");
}

#[test]
fn a_second_window_says_that_it_is_the_same_person() {
    let desk = Desk::open(Mode::Edited, Company::Shell);
    assert!(desk.printed.iter().any(|text| text.contains("same person in two windows")));
    assert!(desk.printed.iter().any(|text| text.contains("--data-dir")));
}

#[test]
fn text_without_a_target_is_refused_and_stays_on_the_screen() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    let typed = desk.line("hello");
    assert!(!typed);
    assert!(desk.calls.is_empty());
    assert!(desk.failed[0].text.contains("/to NAME"));
}

#[test]
fn a_message_is_printed_once_with_its_mark_as_soon_as_it_is_delivered() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.to(peer(2, "bob", Presence::Online));
    assert_eq!(desk.prompt, "bob> ");
    assert!(desk.line("hello"));
    let id = desk.queue(2);
    assert!(desk.printed.is_empty(), "not before it is delivered or 150 ms are over");
    desk.wait(3);
    desk.event(desk.status(id, 2, State::Delivered));
    assert_eq!(desk.printed, ["10:00 <alice> hello ✓"]);
    desk.wait(5_000);
    assert_eq!(desk.printed.len(), 1);
}

#[test]
fn a_mark_that_changes_later_is_one_line_for_all() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Offline)]);
    desk.to(peer(2, "bob", Presence::Offline));
    let ids: Vec<MessageId> = ["one", "two", "see you at eight"]
        .map(|text| {
            desk.line(text);
            desk.queue(2)
        })
        .to_vec();
    desk.wait(149);
    assert!(desk.printed.is_empty());
    desk.wait(1);
    assert_eq!(desk.printed, ["10:00 <alice> one …", "10:00 <alice> two …", "10:00 <alice> see you at eight …"]);
    desk.wait(60_000);
    desk.event(Line::Peer(peer(2, "bob", Presence::Online)));
    for id in ids {
        desk.event(desk.status(id, 2, State::Sent));
        desk.wait(20);
        desk.event(desk.status(id, 2, State::Delivered));
    }
    desk.wait(2_000);
    assert_eq!(desk.printed[3..], ["-- bob is here", "✓ bob: 3 delivered, last \"see you at eight\""]);
}

#[test]
fn a_state_is_not_shown_before_the_owner_says_it() {
    let mut desk = Desk::started(Mode::Edited, vec![]);
    desk.line("/msg bob hi");
    desk.wait(3_000);
    assert!(desk.printed.is_empty());
    let id = desk.queue(2);
    assert_eq!(desk.printed.len(), 2, "late, but at once, and why it waits");
    assert!(desk.printed[0].ends_with("hi …"));
    desk.event(desk.status(id, 2, State::Delivered));
    desk.wait(400);
    assert!(desk.printed[2].contains("1 delivered"));
}

#[test]
fn messages_are_handed_over_in_the_order_they_were_typed() {
    let mut desk = Desk::started(Mode::Edited, vec![]);
    desk.line("/msg carol first");
    desk.line("/msg bob second");
    assert_eq!(desk.calls.len(), 1);
    desk.refuse(ErrorLine::new("no-such-peer", 3, "no such peer: carol (asked the LAN, 4 there)"));
    assert_eq!(desk.failed.len(), 1);
    let id = desk.queue(2);
    desk.event(desk.status(id, 2, State::Delivered));
    assert_eq!(desk.printed, ["10:00 <alice→22> second ✓".replace("22", &peer_id(2).short())]);
}

#[test]
fn what_i_wrote_stands_before_its_answer() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.to(peer(2, "bob", Presence::Online));
    desk.line("ping");
    desk.queue(2);
    desk.event(desk.message(2, "bob", "pong", 0));
    assert_eq!(desk.printed, ["10:00 <alice> ping …", "10:00 <bob> pong"]);
}

#[test]
fn late_mail_shows_both_times() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.wait(62 * 60_000);
    desk.event(desk.message(2, "bob", "hi", 62));
    assert_eq!(desk.printed, ["10:00→11:02 <bob> hi"]);
}

#[test]
fn a_stranger_is_introduced_once_and_two_of_a_name_show_ids() {
    let stranger = PeerLine { contact: false, ..peer(3, "bob", Presence::Online) };
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online), stranger]);
    desk.event(desk.message(3, "bob", "hi", 0));
    desk.event(desk.message(3, "bob", "hi again", 0));
    let label = format!("bob·{}", peer_id(3).short());
    assert_eq!(
        desk.printed,
        [
            format!("-- {label} is new to you: id {}, not verified", peer_id(3).short()),
            format!("10:00 <{label}> hi"),
            format!("10:00 <{label}> hi again")
        ]
    );
}

#[test]
fn a_name_that_looks_like_another_ones_shows_the_id() {
    let stranger = PeerLine { contact: false, ..peer(3, "b\u{43e}b", Presence::Online) };
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.event(desk.message(2, "bob", "hi", 0));
    desk.event(Line::Peer(stranger));
    desk.event(desk.message(3, "b\u{43e}b", "it is me", 0));
    desk.event(desk.message(2, "bob", "who?", 0));
    let [bob, other] = [(2, "bob"), (3, "b\u{43e}b")].map(|(n, name)| format!("{name}·{}", peer_id(n).short()));
    assert_eq!(desk.printed[0], "10:00 <bob> hi");
    assert!(desk.printed.contains(&format!("10:00 <{other}> it is me")), "{:?}", desk.printed);
    assert_eq!(desk.printed.last(), Some(&format!("10:00 <{bob}> who?")));
}

#[test]
fn a_reply_goes_to_whoever_wrote_last() {
    let mut desk = Desk::started(Mode::Edited, vec![]);
    desk.line("/reply hi");
    assert_eq!(desk.failed[0].text, "nobody has written in this window yet");
    desk.event(desk.message(3, "carol", "hello", 0));
    desk.line("/reply hi");
    let Some((_, Call::Send(send))) = desk.calls.front() else { panic!("nothing was sent") };
    assert_eq!(send.peer, [peer_id(3).to_string()]);
}

#[test]
fn a_notice_says_who_it_is_about() {
    let mut desk = Desk::started(Mode::Edited, vec![]);
    let notice = |name: Option<&str>| {
        let (text, peer) = ("runs twice".to_owned(), name.map(|_| peer_id(2)));
        Line::Notice(NoticeLine { code: NoticeCode::PeerClonedProfile, text, peer, name: name.map(str::to_owned) })
    };
    desk.event(notice(Some("bo\u{1b}b")));
    desk.event(notice(None));
    assert_eq!(desk.printed, [format!("-- {}: runs twice", Shown::line("bo\u{1b}b")), "-- runs twice".to_owned()]);
    assert!(!desk.printed[0].contains('\u{1b}'));
}

#[test]
fn comings_and_goings_are_gathered_and_flapping_is_not_told() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.event(Line::Peer(peer(2, "bob", Presence::Offline)));
    desk.event(Line::Peer(peer(2, "bob", Presence::Online)));
    desk.wait(1_000);
    assert!(desk.printed.is_empty(), "{:?}", desk.printed);
    for n in 10..22 {
        desk.event(Line::Peer(peer(n, &format!("p{n}"), Presence::Online)));
    }
    desk.event(Line::Peer(peer(2, "bob", Presence::Offline)));
    desk.wait(1_000);
    assert_eq!(desk.printed.len(), 2);
    assert!(desk.printed[0].ends_with("and 4 more are here"), "{}", desk.printed[0]);
    assert_eq!(desk.printed[1], "-- bob is gone");
}

#[test]
fn the_target_that_is_away_says_since_when_and_that_texts_are_kept() {
    let mut desk = Desk::started(Mode::Edited, vec![]);
    desk.line("/to bob");
    assert!(!desk.chat.is_prompt_settled());
    desk.answer(vec![Line::Peer(peer(2, "bob", Presence::Offline))]);
    assert!(desk.chat.is_prompt_settled());
    assert_eq!(desk.printed, ["-- bob is not here since 09:00: what you write is kept and goes out by itself when bob comes"]);
}

#[test]
fn who_is_not_found_leaves_no_target() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.to(peer(2, "bob", Presence::Online));
    desk.line("/to carol");
    desk.refuse(ErrorLine::new("no-such-peer", 3, "no such peer: carol (asked the LAN, 1 there)"));
    assert_eq!(desk.prompt, "> ");
    desk.calls.clear();
    desk.line("this is for carol");
    assert!(desk.calls.is_empty(), "not for bob");
}

#[test]
fn after_a_gap_marks_and_presence_are_asked_for() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.to(peer(2, "bob", Presence::Online));
    desk.line("hello");
    let id = desk.queue(2);
    desk.wait(200);
    desk.printed.clear();
    desk.calls.clear();
    desk.chat.handle_gap();
    desk.drain();
    let [(peers, Call::Peers(_)), (again, Call::Send(send))] = &desk.calls.make_contiguous()[..] else {
        panic!("{:?}", desk.calls)
    };
    assert_eq!((&send.id[..], send.wait), (&[id][..], WaitFor::Queued), "the same message");
    let (peers, again) = (*peers, *again);
    desk.chat.handle_answer(desk.now(), again, Some(Ok(desk.status(id, 2, State::Delivered))));
    desk.chat.handle_answer(desk.now(), again, None);
    desk.chat.handle_answer(desk.now(), peers, Some(Ok(Line::Peer(peer(2, "bob", Presence::Offline)))));
    desk.chat.handle_answer(desk.now(), peers, None);
    desk.wait(2_000);
    assert_eq!(desk.printed, ["-- bob is gone", "✓ bob: 1 delivered, \"hello\""]);
}

#[test]
fn leaving_says_what_waits() {
    let mut desk = Desk::started(Mode::Edited, vec![]);
    desk.line("/quit");
    assert!(!desk.chat.is_prompt_settled(), "no other line is edited, which would have to be left again");
    let row = |n: u8, name: &str| {
        Line::Outbox(OutboxLine {
            id: MessageId::from_bytes([n; 16]),
            to: peer_id(n),
            name: name.into(),
            state: State::Queued,
            reason: Some("offline".into()),
            age_ms: 5,
            next_try_at: None,
            expires_at: None,
            len: 2,
        })
    };
    desk.answer(vec![row(2, "bob"), row(2, "bob"), row(3, "dave")]);
    assert_eq!(desk.end, Some(0));
    assert_eq!(desk.printed.len(), 1);
    assert!(desk.printed[0].starts_with("-- 3 messages wait (") && desk.printed[0].contains("all are kept"));
}

#[test]
fn nothing_is_rewritten_where_the_screen_is_plain() {
    let mut desk = Desk::started(Mode::Plain, vec![peer(2, "bob", Presence::Online)]);
    desk.to(peer(2, "bob", Presence::Online));
    desk.line("hello");
    let id = desk.queue(2);
    desk.event(desk.status(id, 2, State::Delivered));
    assert_eq!(desk.printed, ["10:00 delivered to bob: hello"]);
}

#[test]
fn the_bell_rings_for_others_than_the_target_and_not_too_often() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online), peer(3, "eve", Presence::Online)]);
    desk.to(peer(2, "bob", Presence::Online));
    desk.event(desk.message(2, "bob", "hi", 0));
    assert_eq!(desk.bells, 0);
    desk.event(desk.message(3, "eve", "hi", 0));
    desk.event(desk.message(3, "eve", "hi!", 0));
    assert_eq!(desk.bells, 1);
    desk.wait(30_000);
    desk.event(desk.message(2, "bob", "still there?", 0));
    assert_eq!(desk.bells, 2);
}

#[test]
fn an_owner_that_ends_ends_the_shell() {
    let mut desk = Desk::open(Mode::Edited, Company::Daemon);
    desk.chat.handle_lost();
    desk.drain();
    assert_eq!(desk.end, Some(11));
}

#[test]
fn what_peers_call_themselves_never_reaches_the_screen_raw() {
    let mut desk = Desk::started(Mode::Edited, vec![]);
    let nasty = "\x1b]0;pwned\x07\u{202e}evil\n";
    desk.event(Line::Peer(peer(4, nasty, Presence::Online)));
    desk.event(desk.message(5, nasty, nasty, 0));
    desk.wait(1_000);
    desk.line("/peers");
    desk.answer(vec![Line::Peer(peer(4, nasty, Presence::Online))]);
    assert!(desk.printed.len() >= 3);
    for text in &desk.printed {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{text:?}");
    }
}

#[test]
fn a_new_password_is_asked_for_twice_and_the_old_one_where_there_is_one() {
    let mut desk = Desk::started(Mode::Edited, vec![]);
    let secret = |desk: &mut Desk, text: &str| {
        desk.chat.handle_secret(text.to_owned().into());
        desk.drain();
    };
    desk.line("/passwd");
    assert!(!desk.chat.is_prompt_settled(), "no line is taken before it is known what to ask");
    desk.answer(Vec::new());
    secret(&mut desk, "one");
    secret(&mut desk, "two");
    assert_eq!(desk.failed[0].text, "the two passwords differ");
    assert!(desk.calls.is_empty());
    desk.line("/passwd");
    desk.answer(Vec::new());
    secret(&mut desk, "one");
    desk.chat.handle_no_secret();
    secret(&mut desk, "one");
    assert!(desk.calls.is_empty(), "who has left the question answers none");
    desk.drain();
    desk.line("/passwd");
    desk.answer(Vec::new());
    secret(&mut desk, "one");
    secret(&mut desk, "one");
    let Call::Passwd(call) = desk.answer(Vec::new()) else { panic!("no password was changed") };
    assert_eq!(call.old, None);
    assert_eq!(call.new.unwrap().into_inner().as_str(), "one");
    assert_eq!(desk.printed.last().unwrap(), "-- the profile has a password from now on");
    assert!(desk.printed.contains(&"-- nothing was changed".to_owned()));
}

#[test]
fn who_types_nothing_for_a_while_is_away_until_the_next_key() {
    let mut desk = Desk::started(Mode::Edited, vec![]);
    desk.wait(593_000);
    assert!(desk.calls.is_empty(), "{:?}", desk.calls);
    desk.wait(2_000);
    assert_eq!(desk.answer(Vec::new()), Call::Away(Away { text: String::new(), idle: true }));
    desk.wait(3_600_000);
    assert!(desk.calls.is_empty(), "it is said once");
    desk.chat.handle_key(desk.now());
    desk.drain();
    assert_eq!(desk.answer(Vec::new()), Call::Back(Back { idle: true }));
    desk.line("/away lunch");
    assert_eq!(desk.answer(Vec::new()), Call::Away(Away { text: "lunch".into(), idle: false }));
    desk.line("/back");
    assert_eq!(desk.answer(Vec::new()), Call::Back(Back { idle: false }));
    assert_eq!(desk.printed[desk.printed.len() - 2..], ["-- you are away: lunch; /back when you are not", "-- you are back"]);
    let mut script = Desk::started(Mode::Script, vec![]);
    script.wait(3_600_000);
    assert!(script.calls.is_empty(), "a script is nobody");
}

#[test]
fn comings_and_goings_are_said_or_not_as_somebody_chooses() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    let comes_and_goes = |desk: &mut Desk| {
        desk.printed.clear();
        for presence in [Presence::Offline, Presence::Online] {
            desk.event(Line::Peer(peer(2, "bob", presence)));
            desk.wait(2_000);
        }
        desk.printed.len()
    };
    assert_eq!(comes_and_goes(&mut desk), 2);
    desk.line("/joins off");
    assert_eq!(comes_and_goes(&mut desk), 0);
    desk.line("/joins");
    assert_eq!(desk.printed, ["-- nobody's coming and going is said: /joins on"]);
    desk.line("/joins on");
    assert_eq!(comes_and_goes(&mut desk), 2);
    desk.line("/joins sometimes");
    assert!(desk.failed[0].text.starts_with("usage: /joins"));
}

#[test]
fn the_first_message_of_a_day_stands_below_its_date() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.event(desk.message(2, "bob", "good night", 0));
    desk.wait(15 * 3_600_000);
    desk.event(desk.message(2, "bob", "good morning", 0));
    desk.event(desk.message(2, "bob", "again", 0));
    assert_eq!(
        desk.printed,
        ["10:00 <bob> good night", "-- Saturday, 2026-01-03", "01:00 <bob> good morning", "01:00 <bob> again"]
    );
}

#[test]
fn a_stranger_with_my_own_name_is_told_apart_from_me() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.event(desk.message(3, "alice", "hi \u{2713}", 0));
    let id = peer_id(3).short();
    assert!(desk.printed.iter().any(|row| *row == format!("10:00 <alice·{id}> hi \u{2713}")), "{:?}", desk.printed);
    desk.event(desk.message(2, "bob", "me too", 0));
    assert_eq!(desk.printed.last().unwrap(), "10:00 <bob> me too");
}

#[test]
fn a_name_that_goes_on_like_a_line_stands_in_quotes() {
    let mut desk = Desk::started(Mode::Edited, vec![peer(2, "bob", Presence::Online)]);
    desk.event(desk.message(3, "bob> I owe you 100", "hi", 0));
    assert!(desk.printed.iter().any(|row| row == "10:00 <\"bob> I owe you 100\"> hi"), "{:?}", desk.printed);
}
