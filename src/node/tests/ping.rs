//! A peer is asked for a sign of life: when an answer comes, when none does, and what stays of it.

use super::*;
use crate::node::command::{CommandError, Edit, Pong};

const TIMEOUT: Duration = Duration::from_secs(3);

impl Pair {
    fn ping(&mut self) -> CommandId {
        let peer = self.id(1);
        self.command(0, Command::Ping { peer, timeout: TIMEOUT })
    }

    fn pong(&self, command: CommandId) -> Pong {
        match self.replies(0, command).as_slice() {
            [Reply::Ponged(pong)] => (**pong).clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_ping_opens_a_session_and_tells_the_round_trip() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    let first = pair.ping();
    pair.run_for(Duration::from_millis(100));
    let pong = pair.pong(first);
    assert_eq!(pong.rtt, Some(2 * DELAY));
    assert_eq!((pong.peer.id, pong.lost), (pair.id(1), 0));
    assert!(pong.sent > 0);
    let both = [pair.ping(), pair.ping()];
    pair.run_for(2 * DELAY);
    for command in both {
        assert_eq!(pair.pong(command).rtt, Some(2 * DELAY), "two who ask at once are both answered");
    }
}

#[test]
fn a_lost_ping_is_asked_again_and_counted() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    let first = pair.ping();
    pair.run_for(Duration::from_secs(1));
    let before = pair.pong(first);
    pair.loses = Some(0);
    let second = pair.ping();
    pair.run_for(TIMEOUT - Duration::from_millis(1));
    let pong = pair.pong(second);
    assert!(pong.rtt.is_some_and(|rtt| rtt > 2 * DELAY), "{pong:?}");
    assert_eq!(pong.lost - before.lost, 1, "{pong:?}");
}

#[test]
fn who_does_not_answer_is_told_when_time_is_up_and_nothing_stays() {
    let mut pair = Pair::new();
    pair.cut = true;
    let keys = (50..=u8::MAX).map(|seed| ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes());
    let peer = keys.filter_map(|key| PeerId::from_bytes(key).ok()).next().unwrap();
    pair.run_for(Duration::from_secs(1));
    let known = pair.sides[0].node.peers.len();
    let ping = pair.command(0, Command::Ping { peer, timeout: TIMEOUT });
    pair.run_for(TIMEOUT - Duration::from_millis(1));
    assert!(pair.replies(0, ping).is_empty());
    pair.run_for(Duration::from_millis(1));
    let pong = pair.pong(ping);
    assert_eq!((pong.rtt, pong.sent), (None, 0));
    assert_eq!(pair.sides[0].node.peers.len(), known, "nobody is known by it");
}

#[test]
fn neither_i_nor_who_is_blocked_is_pinged_and_not_too_often() {
    let mut pair = Pair::new();
    pair.cut = true;
    let me = pair.id(0);
    let mine = pair.command(0, Command::Ping { peer: me, timeout: TIMEOUT });
    assert_eq!(pair.replies_after(mine), [Reply::Failed(CommandError::Myself)]);
    for _ in 0..16 {
        pair.ping();
    }
    let too_many = pair.ping();
    assert_eq!(pair.replies_after(too_many), [Reply::Failed(CommandError::TooManyPings)]);
    let peer = pair.id(1);
    pair.command(0, Command::EditContact { peer, edit: Edit::Block });
    pair.run_for(TIMEOUT);
    let blocked = pair.ping();
    assert_eq!(pair.replies_after(blocked), [Reply::Failed(CommandError::Blocked)]);
}

impl Pair {
    fn replies_after(&mut self, command: CommandId) -> Vec<Reply> {
        self.drain();
        self.replies(0, command)
    }
}
