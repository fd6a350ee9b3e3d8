//! The machine alone, against a real seed in memory: registration, farewell, and the end of a command's node.

use std::{sync::Arc, time::Duration};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::{Seeds, SeedsConfig};
use crate::{
    clock::{Instant, Now, Unix},
    crypto::{identity::Identity, record::sign_record},
    seed::{Seed, SeedConfig, Shared, memory::Memory},
    wire::record::Visibility,
};

const MS: Duration = Duration::from_millis(1);
/// The real seed answers at the first three addresses, at the last nobody.
const SEEDS: [&str; 4] = ["203.0.113.1:17118", "203.0.113.2:17118", "203.0.113.3:17118", "203.0.113.4:17118"];

struct Pair {
    now: Now,
    identity: Identity,
    seeds: Seeds,
    seed: Seed,
    shared: Arc<Shared>,
}

impl Pair {
    fn new(visibility: Option<Visibility>) -> Self {
        Self::with(visibility, &SEEDS[..1])
    }

    fn with(visibility: Option<Visibility>, seeds: &[&str]) -> Self {
        let now = Now { instant: Instant::from_start(Duration::from_secs(1_000)), unix: Unix(1_760_000_000_000) };
        let identity = Identity::generate(&mut ChaCha20Rng::seed_from_u64(1));
        let (network, name, seeds) = ([0; 8], "alice".to_owned(), seeds.iter().map(|&seed| seed.to_owned()).collect());
        let config = SeedsConfig { id: identity.id(), network, name, visibility, hidden: false, seeds };
        let seeds = Seeds::new(config, [2; 32], now.instant);
        let config =
            SeedConfig { name: "attic".to_owned(), records_max: 10, fellows: Vec::new(), cores: 1, loopback: true, relay: None };
        let shared = Shared::new(config, &[3; 32], &[4; 32], [5; 16], now, Box::new(Memory::new(10, [5; 16], now)));
        let mut pair = Self { now, identity, seeds, seed: Seed::new(shared.clone(), [6; 32], now), shared };
        pair.seeds.handle_network(now, Vec::new());
        pair.settle();
        pair
    }

    /// Everything that is to be said is said and answered, at this instant.
    fn settle(&mut self) {
        let mut out = Vec::new();
        loop {
            while let Some(record) = self.seeds.poll_record() {
                let (bytes, signature) = sign_record(&self.identity, &record);
                self.seeds.handle_signed(self.now, record, bytes, signature);
            }
            let Some((to, datagram)) = self.seeds.poll_transmit() else { return };
            if to.to_string() == SEEDS[3] {
                continue;
            }
            self.seed.handle_datagram(self.now, "203.0.113.9:17118".parse().unwrap(), &datagram);
            while self.seed.poll_transmit(&mut out).is_some() {
                assert!(self.seeds.handle_datagram(self.now, to, &out), "an answer that nobody asked for");
            }
        }
    }

    /// Time goes by, and deadlines are kept on the way.
    fn wait(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(at) = self.seeds.poll_timeout().filter(|at| *at <= end) {
            self.turn_to(at.max(self.now.instant));
            self.seeds.handle_timeout(self.now);
            self.settle();
        }
        self.turn_to(end);
        self.seed.handle_timeout(self.now);
    }

    fn turn_to(&mut self, at: Instant) {
        let ms = u64::try_from(at.since(self.now.instant).as_millis()).unwrap();
        self.now = Now { instant: at, unix: Unix(self.now.unix.0 + ms) };
    }

    fn records(&self) -> u64 {
        self.shared.counters().records
    }
}

#[test]
fn a_record_is_kept_by_refreshes_and_taken_away_by_a_farewell() {
    let mut pair = Pair::new(Some(Visibility::Findable));
    assert_eq!((pair.seeds.registered(), pair.records()), (1, 1));
    pair.wait(Duration::from_secs(3 * 3_600));
    assert_eq!((pair.seeds.registered(), pair.records()), (1, 1));
    pair.seeds.leave(pair.now);
    pair.settle();
    assert!(pair.seeds.has_left(), "the cookie was fresh, and goodbye was said at once");
    assert_eq!(pair.records(), 0);
}

#[test]
fn a_farewell_that_nobody_hears_is_said_twice_and_waits_for_nobody() {
    let mut pair = Pair::new(Some(Visibility::Findable));
    pair.seeds.leave(pair.now);
    let record = pair.seeds.poll_record().unwrap();
    let (bytes, signature) = sign_record(&pair.identity, &record);
    pair.seeds.handle_signed(pair.now, record, bytes, signature);
    assert!(pair.seeds.poll_transmit().is_some() && !pair.seeds.has_left());
    pair.turn_to(pair.now.instant + 20 * MS);
    pair.seeds.handle_timeout(pair.now);
    assert!(pair.seeds.poll_transmit().is_some() && pair.seeds.has_left());
}

/// The end of every command that used a relay took a second: its record was never taken away.
#[test]
fn a_command_that_was_registered_for_a_relay_alone_takes_its_record_away() {
    let mut pair = Pair::new(None);
    assert_eq!(pair.seeds.registered(), 0);
    pair.seeds.register_for_relay(pair.now, SEEDS[0].parse().unwrap());
    pair.settle();
    assert_eq!((pair.seeds.registered(), pair.records()), (1, 1));
    pair.seeds.leave(pair.now);
    pair.settle();
    assert!(pair.seeds.has_left());
    assert_eq!(pair.records(), 0);
}

#[test]
fn what_a_command_registers_on_purpose_outlives_it() {
    let mut pair = Pair::new(None);
    pair.seeds.register(pair.now, true, None);
    pair.settle();
    pair.seeds.leave(pair.now);
    pair.settle();
    assert!(pair.seeds.has_left());
    assert_eq!(pair.records(), 1);
}

#[test]
fn a_withdrawn_record_stays_away() {
    let mut pair = Pair::new(Some(Visibility::Listed));
    pair.seeds.register(pair.now, false, None);
    pair.settle();
    pair.wait(Duration::from_secs(300));
    assert_eq!((pair.seeds.registered(), pair.records()), (0, 0));
    pair.seeds.register(pair.now, true, None);
    pair.settle();
    assert_eq!((pair.seeds.registered(), pair.records()), (1, 1));
}

/// The deadline of a seed that was not needed any more stayed in the past, and the node never slept again.
#[test]
fn of_four_seeds_three_hold_the_record_and_the_silent_one_is_let_be() {
    let mut pair = Pair::with(Some(Visibility::Findable), &[SEEDS[3], SEEDS[0], SEEDS[1], SEEDS[2]]);
    pair.wait(Duration::from_secs(600));
    assert_eq!(pair.seeds.registered(), 3);
    assert!(pair.seeds.poll_timeout().is_some_and(|at| at > pair.now.instant));
}
