//! The session's timers: one enum, one table. What each does when it fires is one `match` in `mod`.

use std::time::Duration;

use crate::{clock::Instant, crypto::handshake::Role};

/// Keepalives at least this far apart are in no hurry.
const UNHURRIED: Duration = Duration::from_secs(10);
/// Such leave on a common beat: those of a thousand sessions in a few bursts, and their answers come in a few.
const BEAT: Duration = Duration::from_millis(500);
/// One side of a session asks, and the other one, which hears that, need not.
const RESPONDER_LATER: Duration = Duration::from_secs(1);

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// The oldest packet below the largest acked one is lost by now (RFC 9002 §6.1.2).
    Loss,
    /// Nothing was acked for a probe timeout: send the oldest unacked once more (RFC 9002 §6.2).
    Probe,
    /// An ack has waited for company long enough.
    Ack,
    /// The pacer lets the next packet go.
    Pace,
    /// The peer was silent for a keepalive interval.
    Keepalive,
    /// The keys before the current ones are not needed any more.
    EraseKeys,
    /// Epoch 1 must have been reached.
    FirstRekey,
    /// A candidate path gets its next challenge, the traffic, or is given up.
    Path,
}

const TIMERS: [Timer; 8] =
    [Timer::Loss, Timer::Probe, Timer::Ack, Timer::Pace, Timer::Keepalive, Timer::EraseKeys, Timer::FirstRekey, Timer::Path];

/// When a side that was silent asks for a sign of life, where nothing was heard since then.
pub(super) fn keepalive_at(heard_at: Instant, interval: Duration, role: Role) -> Instant {
    let at = heard_at + interval;
    if interval < UNHURRIED {
        return at;
    }
    let at = if role == Role::Responder { at + RESPONDER_LATER } else { at };
    let beyond = at.since_start().as_nanos().checked_rem(BEAT.as_nanos()).unwrap_or_default();
    at + BEAT.saturating_sub(Duration::from_nanos(u64::try_from(beyond).unwrap_or_default()))
}

/// A deadline, or none, for each timer.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: [Option<Instant>; TIMERS.len()],
}

impl Timers {
    /// Sets, moves or (with `None`) clears a timer.
    pub(super) fn set(&mut self, timer: Timer, deadline: Option<Instant>) {
        for (known, slot) in TIMERS.iter().zip(&mut self.deadlines) {
            if *known == timer {
                *slot = deadline;
            }
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Takes one timer that is due.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let mut due = TIMERS.iter().zip(&mut self.deadlines);
        let (timer, slot) = due.find(|(_, deadline)| deadline.is_some_and(|deadline| deadline <= now))?;
        *slot = None;
        Some(*timer)
    }

    /// Clears all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
