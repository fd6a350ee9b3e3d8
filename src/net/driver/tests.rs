//! Nodes on real sockets of this machine.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::task::{JoinHandle, LocalSet};

use super::*;
use crate::{
    id::{BootId, MessageId, PeerId},
    net::{handle::Subscription, socket::Groups},
    store::{Fresh, StoreError, row::State},
};

const HANG: Duration = Duration::from_secs(15);

struct Running {
    handle: Handle,
    events: Subscription,
    task: JoinHandle<()>,
}

/// A node with a profile in `dir`, on loopback, in a group of this test's own.
fn start(dir: &Path, name: &str, port: u16) -> Running {
    let open = || match Store::open(dir) {
        // A killed driver's store closes on its own thread.
        Err(StoreError::Locked) => None,
        Err(StoreError::Missing) => {
            let mut rng = ChaCha20Rng::from_seed([name.as_bytes()[0]; 32]);
            let secret = *Identity::generate(&mut rng).secret();
            Some(Store::create(dir, &Fresh { secret, name: name.to_owned(), boot: BootId(0) }))
        }
        outcome => Some(outcome),
    };
    let store = std::iter::repeat_with(open).flatten().next().unwrap();
    let mut groups = Groups::default();
    groups.v4.set_port(port);
    groups.v6.set_port(port);
    let listen = Some(":0".parse().unwrap());
    let sockets = SocketConfig { listen, groups, no_lan: false, interfaces: vec!["lo".to_owned()] };
    let node = NodeConfig { name: name.to_owned(), ..NodeConfig::default() };
    let (driver, handle) = Driver::start(DriverConfig { sockets, node, keep: Keep::default() }, store.unwrap()).unwrap();
    let events = handle.subscribe();
    Running { handle, events, task: tokio::task::spawn_local(driver.run()) }
}

impl Running {
    async fn expect(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Arc<Event> {
        let next = async {
            loop {
                let event = self.events.next().await.unwrap();
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(HANG, next).await.unwrap_or_else(|_| panic!("{what}"))
    }

    async fn send(&self, peer: PeerId, number: u64, text: &str) -> MessageId {
        let id = MessageId::new(number, &[7; 10]);
        let send = Command::Send { peer, id, kind: 0, text: text.to_owned(), expire: None };
        assert_eq!(self.handle.call(send).await, Reply::Queued(id));
        id
    }

    async fn leave(self) {
        assert_eq!(self.handle.call(Command::Leave).await, Reply::Left);
        tokio::time::timeout(HANG, self.task).await.unwrap().unwrap();
    }

    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn delivered(id: MessageId) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Status { id: about, state: State::Delivered, .. } if *about == id)
}

fn message(text: &str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Message { row, .. } if row.text == text)
}

#[tokio::test]
async fn two_nodes_meet_talk_are_killed_and_talk_again() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut alice = start(dirs[0].path(), "alice", 29_217);
            let mut bob = start(dirs[1].path(), "bob", 29_217);
            let (alice_id, bob_id) = (alice.handle.id(), bob.handle.id());
            let resolve = Command::Resolve { peer: "bob".to_owned(), timeout: Duration::from_secs(3) };
            assert_eq!(alice.handle.call(resolve).await, Reply::Resolved(bob_id));

            let id = alice.send(bob_id, 1, "hello").await;
            bob.expect("the message", message("hello")).await;
            alice.expect("its receipt", delivered(id)).await;

            bob.kill().await;
            let waiting = alice.send(bob_id, 2, "while you were away").await;
            let mut bob = start(dirs[1].path(), "bob", 29_217);
            bob.expect("the message", message("while you were away")).await;
            alice.expect("its receipt", delivered(waiting)).await;

            alice.kill().await;
            let alice = start(dirs[0].path(), "alice", 29_217);
            let back = bob.send(alice_id, 3, "and back").await;
            bob.expect("its receipt", delivered(back)).await;
            assert_eq!(alice.handle.id(), alice_id);
            alice.leave().await;
            bob.leave().await;
        })
        .await;
}

#[tokio::test]
async fn who_calls_after_the_end_is_told_and_who_listens_too() {
    let dir = tempfile::tempdir().unwrap();
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut alice = start(dir.path(), "alice", 29_218);
            let handle = alice.handle.clone();
            assert!(handle.port() > 0);
            assert_eq!(handle.call(Command::Leave).await, Reply::Left);
            let ended = async {
                while alice.events.next().await.is_ok() {}
                handle.ended().await;
            };
            tokio::time::timeout(HANG, ended).await.expect("the end is told");
            assert_eq!(handle.call(Command::Status).await, Reply::Failed(crate::node::command::CommandError::Leaving));
            alice.task.await.unwrap();
            Store::open(dir.path()).expect("the profile is free again");
        })
        .await;
}

#[tokio::test]
async fn garbage_on_the_session_port_is_counted_and_answered_by_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let local = LocalSet::new();
    local
        .run_until(async {
            let alice = start(dir.path(), "alice", 29_219);
            let attacker = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let to: SocketAddr = ([127, 0, 0, 1], alice.handle.port()).into();
            for number in 0..2_000u32 {
                let bytes: Vec<_> = (0..number % 1_300).map(|at| (at.wrapping_mul(number + 7) >> 3) as u8).collect();
                attacker.send_to(&bytes, to).await.unwrap();
                if number % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let Reply::Status(status) = alice.handle.call(Command::Status).await else { panic!("no status") };
            assert!(status.dropped > 0);
            assert!(attacker.try_recv(&mut [0; 2_000]).is_err(), "an answer");
            alice.leave().await;
            assert!(attacker.try_recv(&mut [0; 2_000]).is_err(), "an answer");
        })
        .await;
}
