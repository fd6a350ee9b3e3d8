//! The machine alone, against a real seed in memory: registration, farewell, and the end of a command's node.

use std::{sync::Arc, time::Duration};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::{Progress, Seeds, SeedsConfig, SeedsEvent, Want};
use crate::{
    clock::{Instant, Now, Unix},
    crypto::{identity::Identity, record::sign_record},
    seed::{Seed, SeedConfig, Shared, memory::Memory},
    wire::record::Visibility,
};

const MS: Duration = Duration::from_millis(1);
/// So long a seed waits for more signatures to check.
const CHECK_WAIT: Duration = Duration::from_millis(2);
/// The real seed answers at the first three addresses, at the last nobody.
const SEEDS: [&str; 4] = ["203.0.113.1:17118", "203.0.113.2:17118", "203.0.113.3:17118", "203.0.113.4:17118"];

struct Pair {
    now: Now,
    identity: Identity,
    seeds: Seeds,
    seed: Seed,
    shared: Arc<Shared>,
}

fn begun(identity: &Identity, visibility: Option<Visibility>, seeds: &[&str], now: Now) -> Seeds {
    let (network, name, seeds) = ([0; 8], "alice".to_owned(), seeds.iter().map(|&seed| seed.to_owned()).collect());
    let config = SeedsConfig { id: identity.id(), network, name, visibility, hidden: false, seeds };
    Seeds::new(config, [2; 32], now.instant)
}

impl Pair {
    fn new(visibility: Option<Visibility>) -> Self {
        Self::with(visibility, &SEEDS[..1])
    }

    fn with(visibility: Option<Visibility>, seeds: &[&str]) -> Self {
        let now = Now { instant: Instant::from_start(Duration::from_secs(1_000)), unix: Unix(1_760_000_000_000) };
        let identity = Identity::generate(&mut ChaCha20Rng::seed_from_u64(1));
        let seeds = begun(&identity, visibility, seeds, now);
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
            // It checks signatures of many at once, and waits a moment for them.
            self.seed.handle_timeout(Now { instant: self.now.instant + CHECK_WAIT, ..self.now });
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

    /// Takes the record away, and says how many of how many seeds said that it is gone.
    fn unregister(&mut self, only: Option<&str>) -> (usize, usize) {
        while self.seeds.poll_event().is_some() {}
        self.seeds.register(self.now, false, only);
        self.seeds.ask(self.now, Want::Home(false), only, &[], false, Duration::from_secs(3));
        self.settle();
        self.wait(Duration::from_secs(4));
        let done = std::iter::from_fn(|| self.seeds.poll_event()).find_map(|event| match event {
            SeedsEvent::Done { progress: Progress { answered, asked, .. }, .. } => Some((answered, asked)),
            _ => None,
        });
        done.expect("at the latest after three seconds")
    }

    /// At which seeds the record is, and which have not said that it is gone.
    fn homes(&self) -> Vec<(bool, bool)> {
        self.seeds.views(None).iter().map(|seed| (seed.registered, seed.unheard)).collect()
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

/// Without an owner `seed register` and `seed unregister` are two processes: the second sent nothing and said that all
/// was gone.
#[test]
fn a_farewell_takes_away_what_a_process_before_registered() {
    let mut pair = Pair::new(Some(Visibility::Findable));
    assert_eq!(pair.records(), 1);
    pair.turn_to(pair.now.instant + Duration::from_secs(1));
    pair.seeds = begun(&pair.identity, None, &SEEDS[..1], pair.now);
    assert_eq!((pair.unregister(None), pair.records()), ((1, 1), 0));
}

#[test]
fn who_stops_while_no_refresh_is_answered_says_goodbye_to_a_seed_that_may_have_his_record() {
    let mut pair = Pair::new(Some(Visibility::Findable));
    let refreshed = pair.now.instant + Duration::from_secs(30);
    while pair.seeds.registered() > 0 {
        assert!(pair.now.instant < refreshed);
        pair.turn_to(pair.seeds.poll_timeout().unwrap());
        pair.seeds.handle_timeout(pair.now);
        while pair.seeds.poll_transmit().is_some() {}
    }
    assert_eq!(pair.records(), 1);
    pair.seeds.leave(pair.now);
    pair.settle();
    assert!(pair.seeds.has_left());
    assert_eq!(pair.records(), 0);
}

/// A seed that is silent counted as one where nothing is.
#[test]
fn a_seed_that_does_not_hear_the_farewell_is_not_said_to_have_let_go() {
    let mut pair = Pair::with(Some(Visibility::Findable), &[SEEDS[0], SEEDS[3]]);
    assert_eq!(pair.unregister(None), (1, 2));
    assert_eq!((pair.homes(), pair.records()), (vec![(false, false), (false, true)], 0));
    pair.wait(Duration::from_secs(75));
    assert_eq!(pair.homes(), [(false, false); 2], "what may have been there has lapsed");
    assert_eq!(pair.seeds.poll_timeout(), None, "nothing is tried again");
}

/// It was taken away everywhere.
#[test]
fn an_entry_is_taken_away_from_the_named_seed_alone() {
    let mut pair = Pair::with(Some(Visibility::Findable), &SEEDS[..2]);
    assert_eq!(pair.homes(), [(true, false); 2]);
    assert_eq!(pair.unregister(Some(SEEDS[0])), (1, 1));
    pair.wait(Duration::from_secs(200));
    assert_eq!((pair.homes(), pair.records()), (vec![(false, false), (true, false)], 1), "also after many refreshes");
    pair.seeds.register(pair.now, true, Some(SEEDS[0]));
    pair.settle();
    assert_eq!(pair.homes(), [(true, false); 2]);
}
