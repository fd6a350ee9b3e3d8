//! When the session changes its keys, and how both halves of a rekey travel in parts (protocol, HANDSHAKE). The
//! cryptography is `crypto::keys`; packets are `transmit` and `receive`.

use std::time::Duration;

use rand_core::RngCore;

use super::{assembler::Violation, recovery::Piece};
use crate::{
    clock::Instant,
    crypto::{
        chance::Chance,
        handshake::Role,
        keys::{Keys, Proposal, answer},
    },
    id::{Epoch, PacketNumber},
    wire::{
        REKEY_PART_LEN_MAX,
        frame::{Frame, RekeyPart},
    },
};

/// Age of an epoch in use at which the session's initiator rekeys, ± [`REKEY_AGE_SPREAD`].
pub(super) const REKEY_AGE: Duration = Duration::from_secs(120);
const REKEY_AGE_SPREAD: Duration = Duration::from_secs(10);
/// Age at which the responder rekeys, where the initiator did not.
pub(super) const REKEY_AGE_RESPONDER: Duration = Duration::from_secs(160);
/// Age past which no content leaves in an epoch.
pub(super) const EPOCH_AGE_MAX: Duration = Duration::from_secs(300);
/// Packets of one epoch after which a rekey is due.
const EPOCH_PACKETS_MAX: u64 = 1 << 40;
/// A second rekey within this time breaks the protocol.
const REKEY_INTERVAL_MIN: Duration = Duration::from_secs(30);
/// Old keys open late packets for this long.
const OLD_KEYS_KEPT: Duration = Duration::from_secs(30);
/// The keys of epoch 0, for this long.
const FIRST_KEYS_KEPT: Duration = Duration::from_secs(10);

/// Parts of one half as they come in.
#[derive(Default)]
struct Parts {
    parts: Vec<Option<Vec<u8>>>,
}

impl Parts {
    /// The joined bytes, once the last part came.
    fn insert(&mut self, part: &RekeyPart<'_>) -> Result<Option<Vec<u8>>, Violation> {
        if self.parts.is_empty() {
            self.parts.resize(usize::from(part.parts), None);
        }
        if self.parts.len() != usize::from(part.parts) {
            return Err(Violation);
        }
        *self.parts.get_mut(usize::from(part.part)).ok_or(Violation)? = Some(part.bytes.to_vec());
        if self.parts.iter().any(Option::is_none) {
            return Ok(None);
        }
        Ok(Some(self.parts.drain(..).flatten().flatten().collect()))
    }
}

enum State {
    /// Neither side has begun.
    Steady,
    /// We have sent, or are sending, the first half.
    Proposed { proposal: Box<Proposal>, reply: Parts },
    /// We have the next keys and are sending the second half.
    Answered { reply: Vec<u8> },
}

/// What follows from a part that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    None,
    /// The next keys are made and in use: ping the peer in the new epoch.
    Advanced,
}

/// The state of the session's keys in time.
pub(super) struct Rekey {
    role: Role,
    state: State,
    /// The peer's first half, as it comes.
    incoming: Parts,
    /// When the current epoch began, and with which packet.
    since: Instant,
    first_packet: u64,
    /// Age at which we rekey.
    due_age: Duration,
    /// A bit for each part of ours that must be sent.
    unsent: u8,
}

impl Rekey {
    pub(super) fn new(role: Role, now: Instant) -> Self {
        Self {
            role,
            state: State::Steady,
            incoming: Parts::default(),
            since: now,
            first_packet: 0,
            due_age: Duration::ZERO,
            unsent: 0,
        }
    }

    /// The first rekey, at once, by the initiator; later ones by age or count. Ask when ack-eliciting
    /// packets come or go: an idle session does not rekey.
    pub(super) fn is_due(&self, now: Instant, keys: &Keys, next: PacketNumber) -> bool {
        if !matches!(self.state, State::Steady) {
            return false;
        }
        if keys.epoch() == Epoch(0) {
            return self.role == Role::Initiator;
        }
        now.since(self.since) >= self.due_age || next.0.saturating_sub(self.first_packet) >= EPOCH_PACKETS_MAX
    }

    /// True where content may leave in the current epoch.
    pub(super) fn lets_content(&self, now: Instant, keys: &Keys) -> bool {
        keys.epoch() > Epoch(0) && now.since(self.since) < EPOCH_AGE_MAX
    }

    /// Begins a rekey.
    pub(super) fn propose(&mut self, keys: &Keys, chance: &mut Chance) {
        let proposal = Box::new(Proposal::new(keys, &mut chance.rng()));
        self.unsent = part_bits(proposal.message());
        self.state = State::Proposed { proposal, reply: Parts::default() };
    }

    /// A part of the peer's first half.
    pub(super) fn on_rekey(
        &mut self,
        now: Instant,
        part: &RekeyPart<'_>,
        keys: &mut Keys,
        chance: &mut Chance,
    ) -> Result<Step, Violation> {
        if part.epoch <= keys.epoch() {
            return Ok(Step::None);
        }
        if part.epoch != keys.epoch().next() || (keys.epoch() == Epoch(0) && self.role == Role::Initiator) {
            return Err(Violation);
        }
        match self.state {
            // Both rekey: the initiator's stands.
            State::Proposed { .. } if self.role == Role::Initiator => return Ok(Step::None),
            // One reply for each epoch; its parts repeat until they are acked.
            State::Answered { .. } => return Ok(Step::None),
            State::Proposed { .. } | State::Steady => {}
        }
        if keys.epoch() > Epoch(0) && now.since(self.since) < REKEY_INTERVAL_MIN {
            return Err(Violation);
        }
        let Some(message) = self.incoming.insert(part)? else { return Ok(Step::None) };
        let reply = answer(keys, &message, &mut chance.rng()).map_err(|_| Violation)?;
        self.unsent = part_bits(&reply);
        self.state = State::Answered { reply };
        Ok(Step::None)
    }

    /// A part of the peer's second half.
    pub(super) fn on_reply(
        &mut self,
        now: Instant,
        part: &RekeyPart<'_>,
        keys: &mut Keys,
        next: PacketNumber,
        chance: &mut Chance,
    ) -> Result<Step, Violation> {
        if part.epoch > keys.epoch().next() {
            return Err(Violation);
        }
        // Late copies, and replies to a proposal that gave way to the initiator's.
        let State::Proposed { proposal, reply } = &mut self.state else { return Ok(Step::None) };
        if part.epoch != proposal.epoch() {
            return Ok(Step::None);
        }
        let Some(whole) = reply.insert(part)? else { return Ok(Step::None) };
        proposal.finish(keys, &whole).map_err(|_| Violation)?;
        self.advance(now, keys, next, chance);
        Ok(Step::Advanced)
    }

    /// Uses the next keys from now on. Ours: once the reply is whole; the peer's: once a packet opened in
    /// them.
    pub(super) fn advance(&mut self, now: Instant, keys: &mut Keys, next: PacketNumber, chance: &mut Chance) {
        if keys.advance() {
            self.state = State::Steady;
            self.incoming = Parts::default();
            self.unsent = 0;
            self.since = now;
            self.first_packet = next.0;
            let spread = REKEY_AGE_SPREAD.saturating_mul(chance.rng().next_u32() % 2_000) / 1_000;
            self.due_age = match self.role {
                Role::Initiator => REKEY_AGE - REKEY_AGE_SPREAD + spread,
                Role::Responder => REKEY_AGE_RESPONDER,
            };
        }
    }

    /// When the keys before the current ones are erased.
    pub(super) fn erase_deadline(&self, keys: &Keys) -> Instant {
        self.since + if keys.epoch() == Epoch(1) { FIRST_KEYS_KEPT } else { OLD_KEYS_KEPT }
    }

    /// True where a part waits to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent != 0
    }

    /// Takes the next part to send.
    pub(super) fn next_part(&mut self, keys: &Keys) -> Option<(Frame<'_>, Piece)> {
        let part = u8::try_from(self.unsent.trailing_zeros()).ok().filter(|part| *part < 8)?;
        self.unsent &= self.unsent.saturating_sub(1);
        let epoch = keys.epoch().next();
        let (bytes, proposed) = match &self.state {
            State::Proposed { proposal, .. } => (proposal.message(), true),
            State::Answered { reply } => (reply.as_slice(), false),
            State::Steady => return None,
        };
        let parts = parts_of(bytes);
        let bytes = bytes.chunks(bytes.len().div_ceil(usize::from(parts).max(1))).nth(usize::from(part))?;
        let frame = RekeyPart { epoch, part, parts, bytes };
        let frame = if proposed { Frame::Rekey(frame) } else { Frame::RekeyReply(frame) };
        Some((frame, Piece::Rekey { epoch, part, reply: !proposed }))
    }

    /// A packet with a part was lost, or must be probed for.
    pub(super) fn on_lost(&mut self, epoch: Epoch, part: u8, reply: bool, keys: &Keys) {
        let same = match self.state {
            State::Proposed { .. } => !reply,
            State::Answered { .. } => reply,
            State::Steady => false,
        };
        if same && epoch == keys.epoch().next() {
            self.unsent |= 1u8.checked_shl(u32::from(part)).unwrap_or(0);
        }
    }
}

#[cfg(test)]
impl Rekey {
    /// For the test of the other side's patience.
    pub(super) fn never_due(&mut self) {
        self.due_age = Duration::MAX;
    }
}

/// How many parts a half has. They are equally long: packets of one length leave in one call, and one wake-up takes them.
fn parts_of(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len().div_ceil(REKEY_PART_LEN_MAX)).unwrap_or(u8::MAX)
}

fn part_bits(bytes: &[u8]) -> u8 {
    1u8.checked_shl(parts_of(bytes).into()).unwrap_or(0).wrapping_sub(1)
}
