//! What happens to mail when wires, processes and people come and go.

use std::{
    io::Write as _,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use p2pchat_udp::id::MessageId;
use serde_json::{Value, json};

use super::{
    lab::{Host, Lab, Wire},
    person::{Client, Person, SOON, message},
};

const ONE: Wire<'_> = Wire { switch: "", v4: Some("10.77.0.1/24"), v6: true, dad: false };
const TWO: Wire<'_> = Wire { switch: "", v4: Some("10.77.0.2/24"), v6: true, dad: false };

fn two_hosts() -> Option<(Lab, Host, Host)> {
    let mut lab = Lab::new()?;
    let (a, b) = (lab.host("a", ONE), lab.host("b", TWO));
    lab.settle();
    Some((lab, a, b))
}

/// Median and worst of some times.
fn print_times(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!(
        "{what}: p50 {:?}, p90 {:?}, worst {:?}",
        times[times.len() / 2],
        times[times.len() * 9 / 10],
        times[times.len() - 1]
    );
}

#[test]
fn conversation_at_30_percent_loss() {
    let Some((lab, a, b)) = two_hosts() else { return };
    lab.loss("a", 30);
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_alice.subscribe();
    at_bob.subscribe();
    let begun = Instant::now();
    at_alice.sees("bob", "online", SOON * 2);
    at_bob.sees("alice", "online", SOON * 2);
    println!("30 % loss: mutual after {:?}", begun.elapsed());
    println!("30 % loss: first message {:?}", at_alice.deliver("bob", "first", SOON * 2));
    let mut times = Vec::new();
    for number in 0..50 {
        times.push(at_alice.deliver("bob", &format!("a {number}"), SOON));
        times.push(at_bob.deliver("alice", &format!("b {number}"), SOON));
    }
    print_times("30 % loss, enter to delivered", times);
    let expected: Vec<_> = (0..50).map(|number| format!("b {number}")).collect();
    assert_eq!(at_alice.texts("in"), expected);
    assert_eq!(at_bob.texts("in").len(), 51);
}

#[test]
fn either_side_is_killed_in_mid_conversation() {
    let Some((_lab, a, b)) = two_hosts() else { return };
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_alice.subscribe();
    at_bob.subscribe();
    at_alice.sees("bob", "online", SOON);
    println!("before: {:?}", at_alice.deliver("bob", "1", SOON));

    bob.kill();
    at_alice.queue("bob", "2");
    let started = Instant::now();
    at_bob = bob.start();
    at_bob.subscribe();
    wait_for_texts(&mut at_bob, 2, SOON);
    println!("the receiver was killed: mail there {:?} after its start", started.elapsed());

    println!("the other way: {:?}", at_bob.deliver("alice", "3", SOON));
    at_alice.queue("bob", "4");
    alice.kill();
    let started = Instant::now();
    at_alice = alice.start();
    at_alice.subscribe();
    wait_for_texts(&mut at_bob, 3, SOON);
    println!("the sender was killed: mail there {:?} after its start", started.elapsed());
    println!("after: {:?}", at_bob.deliver("alice", "5", SOON));
    assert_eq!(at_bob.texts("in"), ["1", "2", "4"]);
    assert_eq!(at_alice.texts("in"), ["3", "5"]);
}

/// Waits until so many messages have come in, woken by events.
fn wait_for_texts(client: &mut Client, count: usize, hang: Duration) {
    let begun = Instant::now();
    loop {
        let texts = client.texts("in");
        if texts.len() >= count {
            return;
        }
        assert!(begun.elapsed() < hang, "{} of {count} messages after {hang:?}", texts.len());
        let _ = client.next(Duration::from_millis(500), &|line: &Value| line["event"] == "message");
    }
}

#[test]
fn the_cable_is_pulled_and_put_back() {
    let Some((lab, a, b)) = two_hosts() else { return };
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_alice.subscribe();
    at_bob.subscribe();
    at_alice.sees("bob", "online", SOON);
    println!("before: {:?}", at_alice.deliver("bob", "1", SOON));
    lab.unplug("b");
    at_alice.queue("bob", "2");
    at_bob.queue("alice", "3");
    let unplugged = Instant::now();
    let gone = |line: &Value| line["event"] == "peer" && line["name"] == "bob" && line["presence"] == "offline";
    let (at, _) = at_alice.expect("bob's absence", Duration::from_secs(60), gone);
    println!("the cable was pulled: noticed after {:?}", at - unplugged);
    lab.plug("b");
    let plugged = Instant::now();
    let (at, _) = at_bob.expect("the mail", SOON * 2, message("2"));
    println!("the cable was put back: mail to it after {:?}", at.saturating_duration_since(plugged));
    let (at, _) = at_alice.expect("the mail", SOON * 2, message("3"));
    println!("the cable was put back: mail from it after {:?}", at.saturating_duration_since(plugged));
}

#[test]
fn frames_vanish_for_a_while_and_nobody_is_told() {
    let Some((lab, a, b)) = two_hosts() else { return };
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_alice.subscribe();
    at_bob.subscribe();
    at_alice.sees("bob", "online", SOON);
    at_alice.deliver("bob", "1", SOON);
    lab.loss("b", 100);
    let cut = Instant::now();
    at_alice.queue("bob", "2");
    at_bob.queue("alice", "3");
    let gone = |line: &Value| line["event"] == "peer" && line["name"] == "bob" && line["presence"] == "offline";
    let (at, _) = at_alice.expect("bob's absence", Duration::from_secs(60), gone);
    println!("silence: noticed after {:?}", at - cut);
    lab.loss("b", 0);
    let healed = Instant::now();
    let (at, _) = at_bob.expect("the mail", Duration::from_secs(60), message("2"));
    println!("silence ended: mail one way after {:?}", at.saturating_duration_since(healed));
    let (at, _) = at_alice.expect("the mail", Duration::from_secs(60), message("3"));
    println!("silence ended: mail the other way after {:?}", at.saturating_duration_since(healed));
}

/// The machine sleeps: its programs stop, and nothing it would hear reaches it.
#[test]
fn a_host_sleeps_and_wakes() {
    let Some((lab, a, b)) = two_hosts() else { return };
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_alice.subscribe();
    at_bob.subscribe();
    at_alice.sees("bob", "online", SOON);
    at_alice.deliver("bob", "1", SOON);
    bob.signal(Signal::SIGSTOP);
    lab.loss("b", 100);
    at_alice.queue("bob", "2");
    let gone = |line: &Value| line["event"] == "peer" && line["name"] == "bob" && line["presence"] == "offline";
    at_alice.expect("bob's absence", Duration::from_secs(60), gone);
    lab.loss("b", 0);
    bob.signal(Signal::SIGCONT);
    let woken = Instant::now();
    let (at, _) = at_bob.expect("the mail", SOON, message("2"));
    println!("woken: mail after {:?}", at.saturating_duration_since(woken));
    println!("and back: {:?}", at_bob.deliver("alice", "3", SOON));
}

#[test]
fn an_address_changes_in_mid_conversation() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b) = (lab.host("a", Wire { v6: false, ..ONE }), lab.host("b", Wire { v6: false, ..TWO }));
    lab.settle();
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_alice.subscribe();
    at_bob.subscribe();
    at_alice.sees("bob", "online", SOON);
    at_alice.deliver("bob", "1", SOON);
    b.ip("addr del 10.77.0.2/24 dev eth0");
    b.ip("addr add 10.77.0.99/24 brd + dev eth0");
    println!("to the new address: {:?}", at_alice.deliver("bob", "2", SOON));
    println!("from the new address: {:?}", at_bob.deliver("alice", "3", SOON));
    let (_, line) = at_alice.sees("bob", "online", SOON);
    println!("alice sees bob at {}", line["addr"]);
    b.ip("addr del 10.77.0.99/24 dev eth0");
    b.ip("addr add 10.77.0.2/24 brd + dev eth0");
    println!("from the old address again: {:?}", at_bob.deliver("alice", "4", SOON));
    println!("to the old address again: {:?}", at_alice.deliver("bob", "5", SOON));
}

#[test]
fn mail_to_somebody_who_is_away_arrives_late_and_says_so() {
    let Some((_lab, a, b)) = two_hosts() else { return };
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_alice.subscribe();
    at_bob.subscribe();
    at_alice.sees("bob", "online", SOON);
    at_alice.deliver("bob", "1", SOON);
    let (_, first_row) = at_bob.expect("the message", SOON, message("1"));
    let stopped = Instant::now();
    bob.stop();
    let (at, _) = at_alice.sees("bob", "offline", SOON);
    println!("goodbye: shown after {:?}", at.saturating_duration_since(stopped));
    let first = at_alice.queue("bob", "2");
    at_alice.queue("bob", "3");
    // What waited at least 30 s counts as late: this is time that has to pass.
    std::thread::sleep(Duration::from_secs(31));
    let started = bob.launch();
    let mut at_bob = bob.connect();
    at_bob.ask(json!({"call": "subscribe", "after": first_row["id"]}));
    for text in ["2", "3"] {
        let (at, line) = at_bob.expect("the mail", SOON, message(text));
        println!("bob returned: {text:?} is there {:?} after his start", at - started);
        assert_eq!(line["late"], true, "{line}");
    }
    let delivered = |line: &Value| line["event"] == "status" && line["state"] == "delivered" && line["id"] == first;
    let (at, _) = at_alice.expect("the receipt", SOON, delivered);
    println!("and alice knows {:?} after his start", at.saturating_duration_since(started));
    let rows = at_bob.call(json!({"call": "history"}));
    let row = rows.iter().find(|row| row["text"] == "2").unwrap();
    assert_eq!(first_row["late"], false, "{first_row}");
    let millis = |key: &str| row[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    assert!(millis("received_at") - millis("sent_at") >= 30_000, "both times: {row}");
    assert_eq!(at_bob.texts("in"), ["1", "2", "3"]);
}

#[test]
fn a_mebibyte_from_a_pipe_arrives_byte_for_byte() {
    let Some((_lab, a, b)) = two_hosts() else { return };
    let (alice, bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    // Every kind of UTF-8, line ends and controls; a NUL is no text.
    let mut text = String::new();
    let mut state = 7_u32;
    while text.len() < 1_048_576 - 4 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wide = if state & 3 == 0 { 0x1_0000 + (state >> 12) % 0xf_0000 } else { 1 + (state >> 8) % 0x7e };
        text.push(char::from_u32(wide).unwrap_or('\n'));
    }
    while text.len() < 1_048_576 {
        text.push('\n');
    }
    // The last newline of a pipe is dropped: this one is there to be.
    let piped = format!("{text}\n");

    let mut listen = bob.plain_command(&["listen", "--raw", "--count", "1", "--timeout", "60s"]);
    let mut listen = listen.stdout(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let mut send = alice.command(&["send", "bob", "-", "--timeout", "60s"]);
    let mut child = send.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(piped.as_bytes()).unwrap();
    let sent = child.wait_with_output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    println!("1 MiB cold, both starts included: {:?}", begun.elapsed());
    let mut heard = Vec::new();
    std::io::Read::read_to_end(&mut listen.stdout.take().unwrap(), &mut heard).unwrap();
    assert!(listen.wait().unwrap().success());
    assert_eq!(heard.len(), piped.len());
    assert!(heard == piped.as_bytes(), "the bytes differ");
}

/// Sends numbered texts over a control socket, each with an id of its own, so that asking again after a
/// crash is harmless.
struct Stream {
    person: Person,
    client: Client,
    peer: &'static str,
    total: usize,
    asked: usize,
    queued: usize,
}

impl Stream {
    fn new(mut person: Person, peer: &'static str, total: usize) -> Self {
        let mut client = person.start();
        client.subscribe();
        Self { person, client, peer, total, asked: 0, queued: 0 }
    }

    fn id(&self, number: usize) -> MessageId {
        let mut random = [self.person.name.as_bytes()[0]; 10];
        random[2..].copy_from_slice(&(number as u64).to_be_bytes());
        MessageId::new(1_700_000_000_000 + number as u64, &random)
    }

    /// Asks for a few more and waits until they are queued; in order, because order is what is tested.
    fn queue(&mut self, count: usize) {
        let end = (self.queued + count).min(self.total);
        while self.queued < end {
            self.asked = self.queued + 1;
            let id = self.id(self.queued).to_string();
            let text = format!("{} {}", self.person.name, self.queued);
            let call = json!({"call": "send", "peer": self.peer, "text": text, "id": id, "wait": "queued"});
            let answer = self.client.call(call);
            assert_eq!(answer.last().unwrap()["event"], "done", "{answer:?}");
            self.queued += 1;
        }
    }

    /// kill -9 with one request on its way, and a new start that asks the same again.
    fn crash(&mut self) {
        let id = self.id(self.queued).to_string();
        let text = format!("{} {}", self.person.name, self.queued);
        self.client.ask(json!({"call": "send", "peer": self.peer, "text": text, "id": id, "wait": "queued"}));
        self.person.kill();
        self.client = self.person.start();
        self.client.subscribe();
    }
}

#[test]
fn a_thousand_each_way_at_20_percent_loss_with_a_kill_of_each() {
    const TOTAL: usize = 1_000;
    let Some((lab, a, b)) = two_hosts() else { return };
    let mut alice = Stream::new(Person::new(&a, "alice"), "bob", TOTAL);
    let mut bob = Stream::new(Person::new(&b, "bob"), "alice", TOTAL);
    alice.client.sees("bob", "online", SOON);
    bob.client.sees("alice", "online", SOON);
    lab.loss("a", 20);
    let begun = Instant::now();
    while alice.queued < TOTAL || bob.queued < TOTAL {
        alice.queue(20);
        bob.queue(20);
        match alice.queued {
            300 => alice.crash(),
            600 => bob.crash(),
            _ => {}
        }
    }
    println!("1,000 each way: queued after {:?}", begun.elapsed());
    wait_for_texts(&mut alice.client, TOTAL, Duration::from_secs(60));
    wait_for_texts(&mut bob.client, TOTAL, Duration::from_secs(60));
    println!("1,000 each way at 20 % loss, each side killed once: {:?}", begun.elapsed());
    let expected = |name: &str| (0..TOTAL).map(|number| format!("{name} {number}")).collect::<Vec<_>>();
    assert_eq!(alice.client.texts("in"), expected("bob"));
    assert_eq!(bob.client.texts("in"), expected("alice"));
}

/// Kills at random: a history checker over many lives of both sides.
#[test]
fn fifty_kills_lose_double_and_reorder_nothing() {
    const KILLS: u32 = 50;
    const TOTAL: usize = 1_000_000;
    let Some((lab, a, b)) = two_hosts() else { return };
    let rng_seed = std::env::var("P2PCHAT_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7_u32);
    println!("rng seed {rng_seed} (P2PCHAT_TEST_SEED)");
    let mut state = rng_seed;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    let mut alice = Stream::new(Person::new(&a, "alice"), "bob", TOTAL);
    let mut bob = Stream::new(Person::new(&b, "bob"), "alice", TOTAL);
    alice.client.sees("bob", "online", SOON);
    bob.client.sees("alice", "online", SOON);
    lab.loss("a", 10);
    let begun = Instant::now();
    for _ in 0..KILLS {
        alice.queue(1 + random(6) as usize);
        bob.queue(1 + random(6) as usize);
        if random(2) == 0 { alice.crash() } else { bob.crash() }
    }
    alice.queue(1);
    bob.queue(1);
    let (from_alice, from_bob) = (alice.queued, bob.queued);
    wait_for_texts(&mut alice.client, from_bob, Duration::from_secs(60));
    wait_for_texts(&mut bob.client, from_alice, Duration::from_secs(60));
    println!("{KILLS} kills, {from_alice} and {from_bob} messages at 10 % loss: {:?}", begun.elapsed());
    let expected = |name: &str, count| (0..count).map(|number| format!("{name} {number}")).collect::<Vec<_>>();
    assert_eq!(alice.client.texts("in"), expected("bob", from_bob));
    assert_eq!(bob.client.texts("in"), expected("alice", from_alice));
    assert_eq!(alice.client.texts("out"), expected("alice", from_alice));
    assert_eq!(bob.client.texts("out"), expected("bob", from_bob));
}

/// Whoever waits for somebody tries at growing pauses; a return ends the pause.
#[test]
fn mail_is_there_as_soon_as_somebody_is_back() {
    let Some((_lab, a, b)) = two_hosts() else { return };
    let (mut alice, mut bob) = (Person::new(&a, "alice"), Person::new(&b, "bob"));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    at_alice.subscribe();
    at_bob.subscribe();
    at_alice.sees("bob", "online", SOON);
    at_alice.deliver("bob", "0", SOON);
    let mut times = Vec::new();
    for number in 1..5 {
        if number % 2 == 0 {
            bob.stop()
        } else {
            bob.kill()
        }
        at_alice.queue("bob", &number.to_string());
        // Long enough for the pauses to have grown.
        std::thread::sleep(Duration::from_secs(4));
        let started = Instant::now();
        at_bob = bob.start();
        at_bob.subscribe();
        wait_for_texts(&mut at_bob, number + 1, SOON);
        times.push(started.elapsed());
    }
    print_times("returned after 4 s: mail there after the start", times);
}
