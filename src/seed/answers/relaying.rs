//! Binding the ends of a channel, and forwarding what comes in it. How much may pass is `relay`'s affair.

use std::net::SocketAddr;

use super::unix;
use crate::{
    clock::Now,
    seed::{Asked, Seed, directory::TTL, relay::Unrelayed},
    wire::{
        phonebook::{Answer, RawId, Refusal, TOKEN_LEN},
        relay,
    },
};
impl Seed {
    pub(super) fn on_bind(&mut self, asked: &Asked<'_>, id: &RawId, token: &[u8; TOKEN_LEN], peer: &RawId) {
        let answer = self.bind(asked, id, token, peer);
        self.answer(asked, &answer);
    }

    /// The token proves the owner, the cookie the address: no handshake is needed for this.
    fn bind(&mut self, asked: &Asked<'_>, id: &RawId, token: &[u8; TOKEN_LEN], peer: &RawId) -> Answer<'static> {
        let shared = self.shared.clone();
        let Some(relays) = &shared.relays else { return Answer::Refused(Refusal::NoRelay) };
        if id == peer || !self.may_register(asked) {
            return Answer::Refused(Refusal::BadRecord);
        }
        let (tokens, mut is_proved) = (&mut self.tokens, false);
        shared.directory.lookup(asked.now, id, &mut |entry| {
            is_proved = tokens.verify(unix(asked), id, entry.record, &entry.signature, token);
        });
        if !is_proved {
            return Answer::Need;
        }
        match relays.bind(asked.now.instant, id, peer, asked.from) {
            Ok((channel, open)) => Answer::Bound { channel, open },
            Err(_) => Answer::Refused(Refusal::Busy { retry_after: TTL }),
        }
    }

    /// A datagram to be handed on. It is answered by nothing: who sends it without a right to learns nothing.
    pub(in crate::seed) fn on_relayed(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        let shared = self.shared.clone();
        let (Some(relays), Ok(channel)) = (&shared.relays, relay::channel(bytes)) else {
            self.counters.dropped += 1;
            return;
        };
        self.load.count_query(now.instant);
        match relays.forward(now.instant, channel, from, bytes.len()) {
            Ok(to) => {
                self.counters.relayed += 1;
                self.counters.relayed_bytes += bytes.len() as u64;
                let mut datagram = self.buffer();
                datagram.extend_from_slice(bytes);
                self.push(to, datagram);
            }
            Err(Unrelayed::Stray) => self.counters.stray += 1,
            Err(Unrelayed::OverBudget) => self.counters.over_budget += 1,
        }
    }
}
