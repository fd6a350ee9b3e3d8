//! Other seeds that the operator named: whether each is there. Whoever does not find somebody here is told of
//! those, and asks them itself; this seed asks nobody on anybody's behalf.

use std::{net::SocketAddr, time::Duration};

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use crate::{
    clock::Instant,
    wire::phonebook::{Answer, COOKIE_LEN, Header, SEEDS_PER_ANSWER_MAX},
};

/// Fellows at most; what an operator names beyond is left out.
const FELLOWS_MAX: usize = 64;
/// How often each is asked.
pub(super) const ASK_INTERVAL: Duration = Duration::from_secs(30);
/// A fellow that has not answered for so long is not there.
const SILENCE_MAX: Duration = Duration::from_secs(100);
/// A fellow is believed to be there before it was asked so often.
const ASKS_BEFORE_DOUBT: u8 = 3;

struct Fellow {
    addr: SocketAddr,
    /// What it gave us, or zeros.
    cookie: [u8; COOKIE_LEN],
    /// Of the query that it has not answered yet.
    txid: Option<u64>,
    /// The open query was sent again, with the cookie that the first one got.
    is_second: bool,
    asks: u8,
    heard: Option<Instant>,
}

impl Fellow {
    fn is_there(&self, now: Instant) -> bool {
        self.asks < ASKS_BEFORE_DOUBT || self.heard.is_some_and(|heard| now.since(heard) <= SILENCE_MAX)
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Fellows(Vec<Fellow>);

impl Fellows {
    /// These from now on; what is known of one that stays is kept.
    pub(super) fn replace(&mut self, addrs: &[SocketAddr]) {
        self.0.retain(|fellow| addrs.contains(&fellow.addr));
        for addr in addrs {
            if self.0.len() < FELLOWS_MAX && !self.0.iter().any(|fellow| fellow.addr == *addr) {
                let cookie = [0; COOKIE_LEN];
                self.0.push(Fellow { addr: *addr, cookie, txid: None, is_second: false, asks: 0, heard: None });
            }
        }
    }

    /// Whom to ask for its status now, and with which header.
    pub(super) fn ask(&mut self, rng: &mut ChaCha20Rng) -> Vec<(SocketAddr, Header)> {
        let ask = |fellow: &mut Fellow| {
            let txid = rng.next_u64();
            (fellow.txid, fellow.is_second) = (Some(txid), false);
            fellow.asks = fellow.asks.saturating_add(1);
            (fellow.addr, Header { txid, cookie: fellow.cookie })
        };
        self.0.iter_mut().map(ask).collect()
    }

    /// An answer came, perhaps to a question of ours.
    pub(super) fn handle_answer(&mut self, now: Instant, from: SocketAddr, header: Header, answer: &Answer<'_>) -> Heard {
        let fellow = self.0.iter_mut().find(|fellow| fellow.addr == from && fellow.txid == Some(header.txid));
        let Some(fellow) = fellow else { return Heard::Nothing };
        match answer {
            Answer::Cookie { .. } => {
                fellow.cookie = header.cookie;
                // Once: a seed that always answers so is no reason to ask for ever.
                let header = Header { txid: header.txid, cookie: header.cookie };
                if std::mem::replace(&mut fellow.is_second, true) { Heard::Noted } else { Heard::AskAgain(header) }
            }
            _ => {
                (fellow.txid, fellow.heard) = (None, Some(now));
                Heard::Noted
            }
        }
    }

    /// Some of those that are there, at most [`SEEDS_PER_ANSWER_MAX`]: not always the same.
    pub(super) fn there(&self, now: Instant, rng: &mut ChaCha20Rng) -> Vec<SocketAddr> {
        let mut there: Vec<_> = self.0.iter().filter(|fellow| fellow.is_there(now)).map(|fellow| fellow.addr).collect();
        while there.len() > SEEDS_PER_ANSWER_MAX {
            there.swap_remove(rng.next_u32() as usize % there.len());
        }
        there
    }
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Ask again with this.
    AskAgain(Header),
    /// It was an answer of a fellow.
    Noted,
    /// It was not.
    Nothing,
}
