//! Which path packets take, and the proof a new one must give first (RFC 9000 §8.2 and §9; protocol,
//! PACKETS). Only authenticated packets reach this file.

use std::{collections::VecDeque, time::Duration};

use rand_core::RngCore;

use super::PathAddr;
use crate::{
    clock::Instant,
    crypto::chance::Chance,
    wire::{PACKET_HEADER_LEN, TAG_LEN, frame::Frame},
};

/// Answers to challenges that may wait; the oldest is dropped.
const RESPONSES_MAX: usize = 4;
/// Challenges to one candidate; then it is given up.
const CHALLENGES_MAX: u32 = 6;
/// Bytes that may go to an unproved path for each byte that came from it.
const AMPLIFICATION_MAX: usize = 3;
/// Bytes that may go to a path from which nothing came, because the node asked to try it.
const UNASKED_LEN_MAX: usize = 200;
/// A challenge and a row of bytes around it: header, frame, a request to ack at once, tag.
const CHALLENGE_DATAGRAM_LEN: usize = PACKET_HEADER_LEN + 10 + 2 + TAG_LEN;
/// The old path is given up after this many probe timeouts of silence.
const SILENT_TIMEOUTS: u32 = 3;
/// Challenges are at least this far apart: the candidate's round trip is not known yet.
const CHALLENGE_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// The same where a router is between.
const CHALLENGE_INTERVAL_MIN_FAR: Duration = Duration::from_millis(250);

/// A path that has not answered yet.
#[derive(Debug)]
struct Candidate {
    path: PathAddr,
    token: u64,
    /// For the path in use: whether it still answers is the other half of the question.
    current_token: u64,
    since: Instant,
    /// When it gets its next challenge.
    next_at: Instant,
    received: usize,
    sent: usize,
    challenges: u32,
    due: bool,
    current_due: bool,
    /// The old path is silent: packets go to the candidate, within its allowance.
    carries: bool,
}

/// The path in use and what may follow it.
#[derive(Debug)]
pub(super) struct Paths {
    current: PathAddr,
    /// When an authenticated packet last came over the path in use.
    heard_at: Instant,
    candidate: Option<Candidate>,
    responses: VecDeque<(PathAddr, u64)>,
}

impl Paths {
    pub(super) fn new(current: PathAddr, now: Instant) -> Self {
        Self { current, heard_at: now, candidate: None, responses: VecDeque::new() }
    }

    /// The path in use.
    pub(super) fn current(&self) -> PathAddr {
        self.current
    }

    /// An authenticated packet of `len` bytes came. `newest`: none with a higher number came before, so
    /// the peer sends from there now. True where a candidate appeared.
    pub(super) fn on_packet(&mut self, now: Instant, from: PathAddr, len: usize, newest: bool, chance: &mut Chance) -> bool {
        if from == self.current {
            self.heard_at = now;
            return false;
        }
        match &mut self.candidate {
            Some(candidate) if candidate.path == from => candidate.received = candidate.received.saturating_add(len),
            // A relay is where the peer was before it had a way of its own: nobody goes back there.
            _ if newest && (from.relay.is_none() || self.current.relay.is_some()) => {
                self.try_path(now, from, chance);
                self.candidate.iter_mut().for_each(|candidate| candidate.received = len);
                return true;
            }
            _ => {}
        }
        false
    }

    /// Makes `path` the candidate; the one before is dropped.
    pub(super) fn try_path(&mut self, now: Instant, path: PathAddr, chance: &mut Chance) {
        if path == self.current || self.candidate.as_ref().is_some_and(|candidate| candidate.path == path) {
            return;
        }
        let mut rng = chance.rng();
        self.candidate = Some(Candidate {
            path,
            token: rng.next_u64(),
            current_token: rng.next_u64(),
            since: now,
            next_at: now + interval(path),
            received: 0,
            sent: 0,
            challenges: 1,
            due: true,
            current_due: true,
            carries: false,
        });
    }

    /// A challenge came over `from`: the answer goes back there.
    pub(super) fn on_challenge(&mut self, from: PathAddr, token: u64) {
        if self.responses.len() >= RESPONSES_MAX {
            self.responses.pop_front();
        }
        self.responses.push_back((from, token));
    }

    /// A response came. The new path where the candidate has proved itself: it is in use from now on.
    pub(super) fn on_response(&mut self, now: Instant, token: u64) -> Option<PathAddr> {
        let candidate = self.candidate.as_ref()?;
        if token == candidate.token {
            self.current = candidate.path;
            self.heard_at = now;
            self.candidate = None;
            return Some(self.current);
        }
        // The old path answered first: the packet from elsewhere was a copy, or a detour.
        if token == candidate.current_token && candidate.received > 0 {
            self.candidate = None;
        }
        None
    }

    /// Asks again, moves the traffic, or gives the candidate up. `timeout`: one probe timeout of the path
    /// in use.
    pub(super) fn on_timer(&mut self, now: Instant, timeout: Duration) {
        let Some(candidate) = &mut self.candidate else { return };
        if candidate.challenges >= CHALLENGES_MAX {
            self.candidate = None;
            return;
        }
        let silence = now.since(self.heard_at.max(candidate.since));
        candidate.carries = candidate.received > 0 && silence >= timeout.saturating_mul(SILENT_TIMEOUTS);
        candidate.challenges = candidate.challenges.saturating_add(1);
        candidate.next_at = now + interval(candidate.path).max(timeout);
        candidate.due = true;
        candidate.current_due = true;
    }

    /// When [`on_timer`](Self::on_timer) wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.candidate.as_ref().map(|candidate| candidate.next_at)
    }

    /// Where the next ordinary packet goes, and how long it may be at most. `None`: as long as the path
    /// takes.
    pub(super) fn destination(&self) -> (PathAddr, Option<usize>) {
        match &self.candidate {
            Some(candidate) if candidate.carries => (candidate.path, Some(candidate.allowance())),
            _ => (self.current, None),
        }
    }

    /// A frame that must go over one certain path now.
    pub(super) fn next_frame(&mut self) -> Option<(PathAddr, Frame<'static>)> {
        if let Some((path, token)) = self.responses.pop_front() {
            return Some((path, Frame::PathResponse(token)));
        }
        let current = self.current;
        let candidate = self.candidate.as_mut()?;
        if std::mem::take(&mut candidate.due) && candidate.allowance() >= CHALLENGE_DATAGRAM_LEN {
            return Some((candidate.path, Frame::PathChallenge(candidate.token)));
        }
        let asks_current = std::mem::take(&mut candidate.current_due) && candidate.received > 0;
        asks_current.then_some((current, Frame::PathChallenge(candidate.current_token)))
    }

    /// `len` bytes left for `path`.
    pub(super) fn on_sent(&mut self, path: PathAddr, len: usize) {
        if let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.path == path) {
            candidate.sent = candidate.sent.saturating_add(len);
        }
    }
}

fn interval(path: PathAddr) -> Duration {
    if path.on_link { CHALLENGE_INTERVAL_MIN } else { CHALLENGE_INTERVAL_MIN_FAR }
}

impl Candidate {
    fn allowance(&self) -> usize {
        let asked = self.received.saturating_mul(AMPLIFICATION_MAX);
        let all = if self.received == 0 { UNASKED_LEN_MAX } else { asked };
        all.saturating_sub(self.sent)
    }
}
