//! Two nodes and a Vec for a network: the contract of a node on one screen. No socket, no clock, no
//! thread: `net::driver` is this loop with real ones. Run it with `cargo run --example two_nodes`.

use std::{net::SocketAddr, time::Duration};

use p2pchat_udp::{
    clock::{Instant, Now, Unix},
    crypto::identity::Identity,
    id::{BootId, MessageId, PeerId},
    node::{Datagram, Node, NodeConfig, SocketKind, Target, command::*, event::Event, interface::Interface},
    store::{Fresh, Store, row::State},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// A node, its disk (in memory here), and its address.
fn start(name: &str, last_byte: u8, now: Now) -> (Node, Store, SocketAddr, PeerId) {
    let (name, ip) = (name.to_owned(), [10, 0, 0, last_byte].into());
    let me = Identity::generate(&mut ChaCha20Rng::from_seed([last_byte; 32])); // randomness is an argument
    let fresh = Fresh { secret: *me.secret(), name: name.clone(), boot: BootId(1) };
    let store = Store::create_backend(redb::backends::InMemoryBackend::new(), &fresh).expect("memory does not fail");
    let config = NodeConfig { name, port: 17118, lan: true, ..NodeConfig::default() };
    let (id, reader, addrs) = (me.id(), store.reader(), vec![(ip, 24)]);
    let mut node = Node::new(config, me, reader.load().expect("just made"), reader, [last_byte; 32], now);
    let (index, name, multicast, loopback, point_to_point) = (1, "eth0".to_owned(), true, false, false);
    node.handle_interfaces(now, vec![Interface { index, name, addrs, multicast, loopback, point_to_point }]);
    (node, store, (ip, 17118).into(), id)
}

/// Alice says hello to Bob, whom she never met, and waits until it is on his disk.
pub(crate) fn main() {
    let at = |time: Duration| Now { instant: Instant::from_start(time), unix: Unix(time.as_millis() as u64) };
    let (mut time, mut done) = (Duration::ZERO, false);
    let mut nodes = [start("alice", 1, at(time)), start("bob", 2, at(time))];
    let mut network: Vec<(usize, SocketAddr, SocketKind, Vec<u8>)> = Vec::new(); // to whom, from where, on which socket
    let (peer, id, text) = (nodes[1].3, MessageId::new(1, &[7; 10]), "hello, bob".to_owned());
    nodes[0].0.handle_command(at(time), CommandId(1), Command::Send { peer, id, kind: 0, text, expire: None });
    while !done {
        for (n, (node, store, address, _)) in nodes.iter_mut().enumerate() {
            while let Some(batch) = node.poll_write() {
                node.handle_committed(at(time), batch.id, store.commit(&batch)); // a claim waits for its commit
            }
            let mut bytes = Vec::new();
            while let Some(target) = node.poll_transmit(at(time), &mut bytes) {
                let socket = if matches!(target, Target::Unicast(_)) { SocketKind::Session } else { SocketKind::Discovery };
                network.push((1 - n, *address, socket, bytes.clone()));
            }
            while let Some(event) = node.poll_event() {
                println!("{:9.6} s  {n}: {event:?}", time.as_secs_f64());
                done |= matches!(event, Event::Status { state: State::Delivered, .. });
            }
        }
        let deadline = nodes.iter().filter_map(|node| node.0.poll_timeout()).min().filter(|_| network.is_empty());
        time = deadline.map_or(time + Duration::from_micros(100), |at| time.max(at.since_start())); // under way, or asleep
        for (to, from, socket, mut bytes) in network.drain(..) {
            let datagram = Datagram { from, interface: 1, socket, hop_limit: Some(255), bytes: &mut bytes };
            nodes[to].0.handle_datagram(at(time), datagram);
        }
        nodes.iter_mut().for_each(|node| node.0.handle_timeout(at(time)));
    }
}
