//! NAT-PMP on a router: an agent maps ports to whoever asks, as home routers do. What it answers is written
//! here once more, byte by byte as RFC 6886 has it.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use super::Router;
use crate::person::SOON;

/// Set where this program runs as an agent on a router: its outside address.
const AGENT: &str = "P2PCHAT_TEST_NATPMP";
/// What an agent says first, once its socket is bound.
const UP: &str = "up";
const PORT: u16 = 5_351;

/// A router that maps ports, until this is dropped.
pub(crate) struct NatPmp {
    child: Child,
    lines: Receiver<String>,
}

impl Router {
    /// From now on it maps ports, one at a time. `outside` is its outside address.
    pub(crate) fn natpmp(&self, outside: &str) -> NatPmp {
        let mut command = self.host.command(std::env::current_exe().unwrap());
        command.args(["--exact", "router::natpmp::agent", "--nocapture"]).env(AGENT, outside);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut read = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(read.by_ref().any(|line| line == UP), "the agent did not start");
        let (sender, lines) = channel();
        std::thread::spawn(move || read.try_for_each(|line| sender.send(line)));
        NatPmp { child, lines }
    }
}

impl NatPmp {
    /// Waits for the next mapping that is made or removed.
    pub(crate) fn says(&self) -> String {
        self.lines.recv_timeout(SOON).expect("nobody asked for a mapping, or to remove it")
    }
}

impl Drop for NatPmp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: what a router does, started above by [`Router::natpmp`]. It ends by being killed.
#[test]
fn agent() {
    let Ok(outside) = std::env::var(AGENT) else { return };
    let outside: Ipv4Addr = outside.parse().unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
    // On a line of its own, whatever the test harness has written.
    println!("\n{UP}");
    let mut buffer = [0; 1_100];
    while let Ok((len, from)) = socket.recv_from(&mut buffer) {
        let answer = answer(&buffer[..len], from, outside);
        let _ = socket.send_to(&answer, from);
    }
}

fn answer(request: &[u8], from: SocketAddr, outside: Ipv4Addr) -> Vec<u8> {
    let head = |op: u8, result: u8| [&[0, 128 + op, 0, result][..], &60u32.to_be_bytes()].concat();
    match *request {
        [0, 0] => [&head(0, 0)[..], &outside.octets()].concat(),
        [0, 1, 0, 0, i0, i1, _, _, l0, l1, l2, l3] => {
            let (inside, lifetime) = (SocketAddr::new(from.ip(), u16::from_be_bytes([i0, i1])), [l0, l1, l2, l3]);
            let is_removal = lifetime == [0; 4];
            nft("flush chain ip nat into");
            if !is_removal {
                nft(&format!("add rule ip nat into iifname eth0 udp dport {} dnat to {inside}", inside.port()));
            }
            println!("{} {inside}", if is_removal { "removed" } else { "mapped" });
            let port = if is_removal { [0; 2] } else { [i0, i1] };
            [&head(1, 0)[..], &[i0, i1], &port, &lifetime].concat()
        }
        // PCP, too, is told that it is too new.
        _ => head(request.get(1).map_or(0, |op| op & 0x7f), 1),
    }
}

fn nft(rules: &str) {
    assert!(Command::new("nft").arg(rules).status().unwrap().success(), "{rules}");
}
