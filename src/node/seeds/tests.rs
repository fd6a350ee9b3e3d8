//! What a hostile seed may try: the machine alone on virtual time.

use super::*;
use crate::{
    clock::Unix,
    crypto::{identity::Identity, record::sign_record},
    wire::phonebook::{Answer, COOKIE_LEN, Header, Query, Refusal},
};

const UNIX_MS: u64 = 1_760_000_000_000;

/// A peer that registers at one seed, which we play.
struct World {
    identity: Identity,
    seeds: Seeds,
    seed: SocketAddr,
    now: Now,
    /// Seqs of the records that were signed.
    signed: Vec<u64>,
}

impl World {
    fn new() -> Self {
        let identity = Identity::generate(&mut ChaCha20Rng::seed_from_u64(1));
        let seed: SocketAddr = "192.0.2.1:17118".parse().unwrap();
        let config = SeedsConfig {
            id: identity.id(),
            network: [0; 8],
            name: "alice".to_owned(),
            visibility: Some(Visibility::Findable),
            seeds: vec![seed.to_string()],
        };
        let now = Now { instant: Instant::from_start(Duration::from_secs(100)), unix: Unix(UNIX_MS) };
        let seeds = Seeds::new(config, [2; 32], now.instant);
        Self { identity, seeds, seed, now, signed: Vec::new() }
    }

    /// Lets time pass until a query of ours that is no Hello has left, and returns its txid and whether it
    /// registers. The seed gives a cookie to who has none.
    fn next_query(&mut self) -> (u64, bool) {
        for _ in 0..100 {
            self.seeds.handle_timeout(self.now);
            while let Some(record) = self.seeds.poll_record() {
                self.signed.push(record.seq);
                let (bytes, signature) = sign_record(&self.identity, &record);
                self.seeds.handle_signed(self.now, record, bytes, signature);
            }
            while let Some((_, datagram)) = self.seeds.poll_transmit() {
                match Query::decode(&datagram).unwrap() {
                    (header, Query::Hello) => {
                        let cookie = Header { txid: header.txid, cookie: [7; COOKIE_LEN] };
                        self.answer(cookie, &Answer::Cookie { seen: self.seed });
                    }
                    (header, query) => return (header.txid, matches!(query, Query::Register { .. })),
                }
            }
            let wait = Duration::from_secs(1);
            self.now = Now { instant: self.now.instant + wait, unix: self.now.unix.after(wait) };
        }
        panic!("nothing is asked any more");
    }

    fn answer(&mut self, header: Header, answer: &Answer<'_>) {
        let mut datagram = Vec::new();
        answer.encode(header, &mut datagram);
        self.seeds.handle_datagram(self.now, self.seed, &datagram);
    }

    fn refuse(&mut self, refusal: Refusal) {
        let (txid, registers) = self.next_query();
        assert!(registers);
        self.answer(Header { txid, cookie: [0; COOKIE_LEN] }, &Answer::Refused(refusal));
    }
}

#[test]
fn a_seq_that_a_seed_knows_is_passed_by_unless_none_could_be() {
    let mut world = World::new();
    world.refuse(Refusal::Stale { seq: UNIX_MS + 1_000_000 });
    world.refuse(Refusal::Stale { seq: u64::MAX });
    let (_, registers) = world.next_query();
    assert!(registers, "it is tried again");
    assert_eq!(world.signed, [UNIX_MS, UNIX_MS + 1_000_001]);
}
