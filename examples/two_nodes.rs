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
    let me = Identity::generate(&mut ChaCha20Rng::from_seed([last_byte; 32])); // randomness is an argument
    let fresh = Fresh { secret: *me.secret(), name: name.to_owned(), boot: BootId(1) };
    let store = Store::create_backend(redb::backends::InMemoryBackend::new(), &fresh).expect("memory does not fail");
    let (network, interfaces) = (String::new(), Vec::new()); // the unnamed network, all interfaces
    let config = NodeConfig { name: name.to_owned(), network, port: 17118, lan: true, interfaces };
    let (id, reader, ip) = (me.id(), store.reader(), [10, 0, 0, last_byte].into());
    let mut node = Node::new(config, me, reader.load().expect("just made"), reader, [last_byte; 32], now);
    let (name, addrs) = ("eth0".to_owned(), vec![(ip, 24)]);
    node.handle_interfaces(
        now,
        vec![Interface { index: 1, name, addrs, multicast: true, loopback: false, point_to_point: false }],
    );
    (node, store, (ip, 17118).into(), id)
}

/// Alice says hello to Bob, whom she never met, and waits until it is on his disk.
pub(crate) fn main() {
    let at = |time| Now { instant: Instant::from_start(time), unix: Unix(1_760_000_000_000 + time.as_millis() as u64) };
    let mut time = Duration::ZERO;
    let mut nodes = [start("alice", 1, at(time)), start("bob", 2, at(time))];
    let mut network: Vec<(usize, SocketAddr, SocketKind, Vec<u8>)> = Vec::new(); // to whom, from where, on which socket
    let hello =
        Command::Send { peer: nodes[1].3, id: MessageId::new(1, &[7; 10]), kind: 0, text: "hello, bob".to_owned(), expire: None };
    nodes[0].0.handle_command(at(time), CommandId(1), hello);
    loop {
        for (n, (node, store, address, _)) in nodes.iter_mut().enumerate() {
            while let Some(batch) = node.poll_write() {
                node.handle_committed(at(time), batch.id, store.commit(&batch)); // a claim waits for its commit
            }
            let mut datagram = Vec::new();
            while let Some(target) = node.poll_transmit(at(time), &mut datagram) {
                let socket = if matches!(target, Target::Unicast(_)) { SocketKind::Session } else { SocketKind::Discovery };
                network.push((1 - n, *address, socket, datagram.clone()));
            }
            while let Some(event) = node.poll_event() {
                println!("{:9.6} s  {n}: {event:?}", time.as_secs_f64());
                if matches!(event, Event::Status { state: State::Delivered, .. }) {
                    return;
                }
            }
        }
        match (network.is_empty(), nodes.iter().filter_map(|node| node.0.poll_timeout()).min()) {
            (true, Some(deadline)) => time = time.max(deadline.since_start()), // nothing under way: sleep
            _ => time += Duration::from_micros(100),
        }
        for (to, from, socket, mut bytes) in network.drain(..) {
            let datagram = Datagram { from, interface: 1, socket, hop_limit: Some(255), bytes: &mut bytes };
            nodes[to].0.handle_datagram(at(time), datagram);
        }
        nodes.iter_mut().for_each(|node| node.0.handle_timeout(at(time)));
    }
}
