//! The sockets alone, without a node: who hears the group, over which interface, with which hop limit.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use p2pchat_udp::{
    net::{
        counters::Counters,
        interfaces,
        socket::{SocketConfig, Sockets},
    },
    node::{SocketKind, Target, discovery::Group, interface::memberships},
};

use super::lab::{Host, Lab, Wire};

/// Set where this program runs as an agent on a host: what it calls itself.
const AGENT: &str = "P2PCHAT_TEST_AGENT";
/// What an agent says first, once its sockets are bound.
const UP: &str = "up";
/// An agent that runs longer has been forgotten.
const AGENT_TIME_MAX: Duration = Duration::from_secs(60);
/// Counted from when all are up.
const HANG: Duration = Duration::from_secs(18);

/// Not a test: what a host does, started below by [`Agent::start`]. Announces itself on every link each
/// 50 ms and prints what it hears, each line once.
#[test]
fn agent() {
    let Ok(name) = std::env::var(AGENT) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut sockets = Sockets::bind(&SocketConfig::default(), Counters::default()).unwrap();
        // On a line of its own, whatever the test harness has written.
        println!("\n{UP}");
        let mut interfaces = Vec::new();
        let mut heard = BTreeSet::new();
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let end = Instant::now() + AGENT_TIME_MAX;
        while Instant::now() < end {
            tokio::select! {
                _ = tick.tick() => {
                    interfaces = interfaces::read().unwrap();
                    sockets.set_interfaces(&interfaces);
                    for link in memberships(&interfaces, &[]) {
                        for group in [(link.v4, Group::V4), (link.v6, Group::V6)].into_iter().filter(|(on, _)| *on) {
                            sockets.send(Target::Multicast { interface: link.index, group: group.1 }, name.as_bytes());
                        }
                    }
                },
                () = poll_fn(|cx| sockets.poll_readable(cx)) => {
                    let mut answers = Vec::new();
                    sockets.receive(|datagram| {
                        let from = String::from_utf8_lossy(datagram.bytes).into_owned();
                        let over = interfaces.iter().find(|known| known.index == datagram.interface);
                        let over = over.map_or("?", |known| &known.name);
                        let hops = datagram.hop_limit.map_or(String::new(), |hops| hops.to_string());
                        let version = if datagram.from.is_ipv6() { 6 } else { 4 };
                        let line = format!("heard {from} {over} v{version} {:?} {hops}", datagram.socket);
                        if heard.insert(line.clone()) {
                            println!("{line}");
                        }
                        if datagram.socket == SocketKind::Discovery {
                            answers.push(datagram.from);
                        }
                    });
                    for to in answers {
                        answer(&mut sockets, to, &name);
                    }
                },
            }
        }
    });
}

fn answer(sockets: &mut Sockets, to: SocketAddr, name: &str) {
    sockets.send(Target::Unicast(to), name.as_bytes());
    sockets.flush();
}

struct Agent {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    heard: BTreeSet<String>,
}

impl Agent {
    fn start(host: &Host, name: &str) -> Self {
        let mut command = host.command(std::env::current_exe().unwrap());
        command.args(["--exact", "sockets::agent", "--nocapture"]).env(AGENT, name).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap() == UP), "the agent did not start");
        Self { child, lines, heard: BTreeSet::new() }
    }

    /// Reads until all of these lines came; returns every line heard so far.
    fn hears(&mut self, wanted: &[&str]) -> &BTreeSet<String> {
        let started = Instant::now();
        let heard = &mut self.heard;
        while !wanted.iter().all(|line| heard.contains(*line)) {
            assert!(started.elapsed() < HANG, "wanted {wanted:?}, heard {heard:?}");
            let line = self.lines.next().expect("the agent runs").unwrap();
            heard.insert(line.trim().to_owned());
        }
        println!("{:?} after {:?}", wanted, started.elapsed());
        &self.heard
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_hosts_and_two_processes_on_one_host_hear_each_other() {
    let Some(mut lab) = Lab::new() else { return };
    let a = lab.host("a", Wire { v4: Some("10.77.0.1/24"), v6: true, ..Wire::default() });
    let b = lab.host("b", Wire { v4: Some("10.77.0.2/24"), v6: true, ..Wire::default() });
    b.decoy();
    let mut agents = [Agent::start(&a, "one"), Agent::start(&b, "two"), Agent::start(&b, "three")];
    let lines = |who: &str| {
        let v4 = format!("heard {who} eth0 v4 Discovery 255");
        let v6 = format!("heard {who} eth0 v6 Discovery 255");
        [v4, v6, format!("heard {who} eth0 v4 Session "), format!("heard {who} eth0 v6 Session ")]
    };
    for (me, agent) in agents.iter_mut().enumerate() {
        for (other, who) in ["one", "two", "three"].into_iter().enumerate() {
            if (me == 0) != (other == 0) {
                let wanted = lines(who);
                let wanted: Vec<_> = wanted.iter().map(|line| line.trim()).collect();
                let heard = agent.hears(&wanted);
                assert!(me != 0 || heard.iter().all(|line| !line.contains("docker0")), "{heard:?}");
            }
        }
    }
    agents[1].hears(&["heard three eth0 v4 Discovery 255", "heard three docker0 v4 Discovery 255"]);
}

#[test]
fn different_subnets_on_one_wire_hear_each_other_by_both_versions() {
    let Some(mut lab) = Lab::new() else { return };
    let a = lab.host("a", Wire { v4: Some("10.77.0.1/24"), v6: true, ..Wire::default() });
    let b = lab.host("b", Wire { v4: Some("192.168.9.2/24"), v6: true, ..Wire::default() });
    let (mut one, _two) = (Agent::start(&a, "one"), Agent::start(&b, "two"));
    one.hears(&["heard two eth0 v4 Discovery 255", "heard two eth0 v6 Discovery 255", "heard two eth0 v6 Session"]);
}

#[test]
fn a_host_with_two_cables_hears_both_sides_which_do_not_hear_each_other() {
    let Some(mut lab) = Lab::new() else { return };
    lab.switch("sw2");
    let a = lab.host("a", Wire { v4: Some("10.77.0.1/24"), ..Wire::default() });
    lab.cable("a", Wire { switch: "sw2", v4: Some("10.78.0.1/24"), v6: true, dad: false });
    let b = lab.host("b", Wire { v4: Some("10.77.0.2/24"), ..Wire::default() });
    let c = lab.host("c", Wire { switch: "sw2", v4: None, v6: true, dad: false });
    let (mut one, mut two, mut three) = (Agent::start(&a, "one"), Agent::start(&b, "two"), Agent::start(&c, "three"));
    one.hears(&["heard two eth0 v4 Discovery 255", "heard three eth1 v6 Discovery 255"]);
    let heard = two.hears(&["heard one eth0 v4 Discovery 255"]);
    assert!(heard.iter().all(|line| !line.contains("three")), "{heard:?}");
    three.hears(&["heard one eth0 v6 Discovery 255"]);
}
