//! Routers alone, with plain sockets: who is seen as whom, who is let in, what a cut and a power cut do.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, UdpSocket},
    process::{Child, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
};

use super::{Nat, Router};
use crate::{
    lab::{Host, Lab, Wire},
    person::SOON,
};

/// Set where this program runs as an agent on a host: which port it binds.
const AGENT: &str = "P2PCHAT_TEST_SOCKET";
/// What an agent says first, once its socket is bound.
const UP: &str = "up";
/// A longer text is cut.
const TEXT_BYTES_MAX: usize = 64;
/// The port of every socket but a second one on a host: hosts with one port must not meet in a NAT.
const PORT: u16 = 17_118;

/// Not a test: what a host does, started below by [`Socket::new`]. Each line of stdin is an address and a
/// text, which it sends there; each datagram becomes a line of the same form. It ends with its stdin.
#[test]
fn agent() {
    let Ok(port) = std::env::var(AGENT) else { return };
    let socket = Arc::new(UdpSocket::bind(format!("0.0.0.0:{port}")).unwrap());
    // On a line of its own, whatever the test harness has written.
    println!("\n{UP}");
    let hearing = socket.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; TEXT_BYTES_MAX];
        while let Ok((length, from)) = hearing.recv_from(&mut buffer) {
            println!("{from} {}", String::from_utf8_lossy(&buffer[..length]));
        }
    });
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (to, text) = line.split_once(' ').unwrap();
        // Where no way leads, a datagram is lost like any other.
        let _ = socket.send_to(text.as_bytes(), to);
    }
}

/// A UDP socket on a host. What it is told to say goes out in order.
struct Socket {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<(SocketAddr, String)>,
}

impl Socket {
    fn new(host: &Host, port: u16) -> Self {
        let mut command = host.command(std::env::current_exe().unwrap());
        command.args(["--exact", "router::tests::agent", "--nocapture"]).env(AGENT, port.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut read = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(read.by_ref().any(|line| line == UP), "the agent did not start");
        let (sender, lines) = channel();
        std::thread::spawn(move || read.try_for_each(|line| sender.send(line)));
        Self { child, lines, heard: Vec::new() }
    }

    fn say(&self, to: impl std::fmt::Display, text: &str) {
        writeln!(self.child.stdin.as_ref().unwrap(), "{to} {text}").unwrap();
    }

    /// Waits for this text; gives who seems to have sent it.
    fn hears(&mut self, text: &str) -> SocketAddr {
        loop {
            if let Some((from, _)) = self.heard.iter().find(|(_, heard)| heard == text) {
                return *from;
            }
            let line = self.lines.recv_timeout(SOON).unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.heard));
            let (from, text) = line.split_once(' ').unwrap();
            self.heard.push((from.parse().unwrap(), text.to_owned()));
        }
    }

    /// Whether this text came before the last that was waited for.
    fn has_heard(&self, text: &str) -> bool {
        self.heard.iter().any(|(_, heard)| heard == text)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A LAN with two hosts behind a router, and two public hosts.
struct Home {
    inside: Socket,
    neighbour: Socket,
    public: Socket,
    /// On the same host as `public`.
    other_port: Socket,
    stranger: Socket,
    router: Router,
    lab: Lab,
}

const INSIDE: &str = "10.1.0.2:17118";
const NEIGHBOUR: &str = "10.1.0.3:17118";
const PUBLIC: &str = "203.0.113.10:17118";
const OTHER_PORT: &str = "203.0.113.10:17119";
const STRANGER: &str = "203.0.113.11:17118";

impl Home {
    fn new(nat: Nat) -> Option<Self> {
        let mut lab = Lab::new()?;
        lab.switch("lan");
        lab.switch("public");
        let a = lab.host("a", Wire::v4("lan", "10.1.0.2/24"));
        let (inner, outer) = (Wire::v4("lan", "10.1.0.1/24"), Wire::v4("public", "203.0.113.1/24"));
        let router = lab.router("rt", inner, outer, nat)?;
        let b = lab.host("b", Wire::v4("lan", "10.1.0.3/24"));
        let p = lab.host("p", Wire::v4("public", "203.0.113.10/24"));
        let q = lab.host("q", Wire::v4("public", "203.0.113.11/24"));
        lab.settle();
        Some(Self {
            inside: Socket::new(&a, PORT),
            neighbour: Socket::new(&b, PORT),
            public: Socket::new(&p, PORT),
            other_port: Socket::new(&p, PORT + 1),
            stranger: Socket::new(&q, PORT),
            router,
            lab,
        })
    }
}

/// What sockets can find out about a router.
#[derive(Debug, PartialEq)]
struct Seen {
    /// As whom `inside` is seen by two public hosts.
    mapped: [SocketAddr; 2],
    /// Whether `inside` hears those that it never spoke to: a stranger, and a host that it did speak to, from
    /// another port.
    stranger: bool,
    other_port: bool,
}

/// Every silence is followed by something that is heard and took the same way: nothing is waited out.
fn look(nat: Nat) -> Option<Seen> {
    let mut home = Home::new(nat)?;
    home.inside.say(PUBLIC, "first");
    let first = home.public.hears("first");
    for (socket, address, text) in [(&mut home.stranger, STRANGER, "stranger"), (&mut home.other_port, OTHER_PORT, "other port")]
    {
        home.neighbour.say(address, "open");
        let neighbour = socket.hears("open");
        assert_ne!(neighbour, first, "each inside socket has an address of its own");
        socket.say(first, text);
        socket.say(neighbour, text);
        assert_eq!(home.neighbour.hears(text).to_string(), address);
    }
    home.public.say(first, "answer");
    assert_eq!(home.inside.hears("answer").to_string(), PUBLIC);
    let (stranger, other_port) = (home.inside.has_heard("stranger"), home.inside.has_heard("other port"));
    home.inside.say(STRANGER, "second");
    let second = home.stranger.hears("second");
    Some(Seen { mapped: [first, second], stranger, other_port })
}

fn expect(nat: Nat, one_port: bool, stranger: bool, other_port: bool) {
    let Some(seen) = look(nat) else { return };
    let [first, second] = seen.mapped;
    assert_eq!((first.ip().to_string(), second.ip()), ("203.0.113.1".to_owned(), first.ip()));
    assert_eq!((first == second, seen.stranger, seen.other_port), (one_port, stranger, other_port), "{seen:?}");
}

#[test]
fn cone_has_one_port_and_lets_in_who_was_spoken_to() {
    expect(Nat::Cone, true, false, false);
}

#[test]
fn restricted_cone_lets_in_every_port_of_an_address_that_was_spoken_to() {
    expect(Nat::Restricted, true, false, true);
}

#[test]
fn full_cone_lets_in_strangers() {
    expect(Nat::FullCone, true, true, true);
}

#[test]
fn full_cone_answers_strangers_from_its_one_port_and_bounces_nothing() {
    let Some(mut home) = Home::new(Nat::FullCone) else { return };
    home.inside.say(PUBLIC, "first");
    let mapped = home.public.hears("first");
    home.stranger.say(mapped, "hello");
    home.inside.hears("hello");
    home.inside.say(STRANGER, "welcome");
    assert_eq!(home.stranger.hears("welcome"), mapped);
    home.public.say("203.0.113.1:17118", "bounced");
    home.public.say(STRANGER, "direct");
    home.stranger.hears("direct");
    assert!(!home.stranger.has_heard("bounced"));
}

#[test]
fn symmetric_has_a_port_for_each_destination() {
    expect(Nat::Symmetric, false, false, false);
}

#[test]
fn routed_changes_nothing_and_lets_in_strangers() {
    let Some(seen) = look(Nat::Routed) else { return };
    let inside = INSIDE.parse().unwrap();
    assert_eq!(seen, Seen { mapped: [inside; 2], stranger: true, other_port: true });
}

#[test]
fn cut_off_from_the_outside_a_lan_goes_on_and_after_that_all_is_as_before() {
    let Some(mut home) = Home::new(Nat::FullCone) else { return };
    home.inside.say(PUBLIC, "before");
    let mapped = home.public.hears("before");
    let cuts: [fn(&Home); 2] = [|home| home.router.cut(), |home| home.lab.loss("rt", 100)];
    let heals: [fn(&Home); 2] = [|home| home.router.heal(), |home| home.lab.loss("rt", 0)];
    for (number, (cut, heal)) in cuts.into_iter().zip(heals).enumerate() {
        let [here, after] = [format!("here {number}"), format!("after {number}")];
        cut(&home);
        home.inside.say(PUBLIC, "lost");
        home.inside.say(NEIGHBOUR, &here);
        assert_eq!(home.neighbour.hears(&here).to_string(), INSIDE);
        home.public.say(mapped, "lost");
        home.public.say(STRANGER, &here);
        home.stranger.hears(&here);
        heal(&home);
        home.stranger.say(mapped, &after);
        home.inside.hears(&after);
        home.inside.say(PUBLIC, &after);
        assert_eq!(home.public.hears(&after), mapped);
    }
    assert!(!home.public.has_heard("lost") && !home.inside.has_heard("lost"));
}

#[test]
fn after_forgetting_or_with_another_address_the_old_mapping_is_void() {
    for nat in [Nat::FullCone, Nat::Cone, Nat::Symmetric] {
        let Some(mut home) = Home::new(nat) else { return };
        home.inside.say(PUBLIC, "one");
        let one = home.public.hears("one");
        home.router.forget();
        home.public.say(one, "late");
        home.inside.say(PUBLIC, "two");
        let two = home.public.hears("two");
        assert!(one.ip() == two.ip() && one.port() != two.port(), "{one} {two}");
        home.router.renumber("203.0.113.2/24");
        home.public.say(two, "late");
        home.inside.say(PUBLIC, "three");
        let three = home.public.hears("three");
        assert!(three.ip().to_string() == "203.0.113.2" && three.port() != two.port(), "{three}");
        home.public.say(three, "answer");
        home.inside.hears("answer");
        assert!(!home.inside.has_heard("late"));
    }
}

#[test]
fn two_lans_meet_only_through_holes_punched_from_both_sides() {
    let Some(mut lab) = Lab::new() else { return };
    lab.switch("public");
    let p = lab.host("p", Wire::v4("public", "203.0.113.10/24"));
    let mut sides = Vec::new();
    for (number, lan) in [(1, "lan1"), (2, "lan2")] {
        lab.switch(lan);
        let [inner, outer] = [format!("10.{number}.0.1/24"), format!("203.0.113.{number}/24")];
        let (inner, outer) = (Wire::v4(lan, &inner), Wire::v4("public", &outer));
        if lab.router(&format!("rt{number}"), inner, outer, Nat::Cone).is_none() {
            return;
        }
        sides.push(lab.host(&format!("h{number}"), Wire::v4(lan, &format!("10.{number}.0.2/24"))));
    }
    lab.settle();
    // Even one who knows the way does not come in.
    p.ip("route add 10.0.0.0/8 via 203.0.113.1");
    let [mut one, mut two] = [&sides[0], &sides[1]].map(|host| Socket::new(host, PORT));
    let mut public = Socket::new(&p, PORT);
    one.say(PUBLIC, "one");
    two.say(PUBLIC, "two");
    let (at_one, at_two) = (public.hears("one"), public.hears("two"));
    one.say("10.2.0.2:17118", "private");
    public.say(INSIDE, "private");
    one.say(at_two, "too early");
    one.say(PUBLIC, "has knocked");
    public.hears("has knocked");
    two.say(at_one, "through");
    assert_eq!(one.hears("through"), at_two);
    one.say(at_two, "back");
    assert_eq!(two.hears("back"), at_one);
    assert!(["private", "too early"].iter().all(|text| !one.has_heard(text) && !two.has_heard(text)));
}
