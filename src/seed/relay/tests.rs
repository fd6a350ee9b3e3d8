//! Budgets to the byte and the nanosecond, ends that come and go, and limits that hold.

use super::*;

const ALICE: RawId = [1; 32];
const BOB: RawId = [2; 32];
/// A datagram of which 16 are a burst.
const KIB: usize = 1_024;

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, last], 17_118))
}

fn ms(ms: u64) -> Instant {
    Instant::from_start(Duration::from_millis(ms))
}

fn id(n: u32) -> RawId {
    let mut id = [9; 32];
    id[..4].copy_from_slice(&n.to_le_bytes());
    id
}

/// Alice at 1 and bob at 2, bound at `now`.
fn pair(now: Instant) -> (Relays, ChannelId) {
    let relays = Relays::new(u32::MAX, [5; 16]);
    let (channel, open) = relays.bind(now, &ALICE, &BOB, at(1)).unwrap();
    assert!(!open, "bob is not there");
    assert_eq!(relays.bind(now, &BOB, &ALICE, at(2)), Ok((channel, true)));
    (relays, channel)
}

/// How many datagrams in a row pass at `now`.
fn passing(relays: &Relays, now: Instant, channel: ChannelId, from: SocketAddr) -> usize {
    (0..100_000).take_while(|_| relays.forward(now, channel, from, KIB).is_ok()).count()
}

#[test]
fn each_end_reaches_the_other_and_nobody_else_does() {
    let (relays, channel) = pair(ms(1_000));
    let forward = |channel, from| relays.forward(ms(2_000), channel, from, KIB);
    assert_eq!([forward(channel, at(1)), forward(channel, at(2))], [Ok(at(2)), Ok(at(1))]);
    assert_eq!(forward(channel, at(3)), Err(Unrelayed::Stray));
    let elsewhere = SocketAddr::new(at(1).ip(), 17_119);
    assert_eq!(forward(channel, elsewhere), Err(Unrelayed::Stray), "the port counts");
    assert_eq!(forward(ChannelId(channel.0 ^ 1), at(1)), Err(Unrelayed::Stray));
    assert_eq!((relays.status().channels, relays.status().bytes), (1, 2 * KIB as u64));
}

#[test]
fn an_end_is_where_it_was_bound_last() {
    let (relays, channel) = pair(ms(1_000));
    assert_eq!(relays.bind(ms(2_000), &ALICE, &BOB, at(9)), Ok((channel, true)), "the channel stays");
    assert_eq!(relays.forward(ms(2_000), channel, at(1), KIB), Err(Unrelayed::Stray));
    assert_eq!(relays.forward(ms(2_000), channel, at(9), KIB), Ok(at(2)));
    assert_eq!(relays.forward(ms(2_000), channel, at(2), KIB), Ok(at(9)));
}

#[test]
fn channels_are_of_two_and_their_numbers_are_of_this_start() {
    let (relays, channel) = pair(ms(1_000));
    let (other, open) = relays.bind(ms(1_000), &ALICE, &id(3), at(1)).unwrap();
    assert!(other != channel && !open);
    assert_ne!(Relays::new(1, [6; 16]).bind(ms(1_000), &ALICE, &BOB, at(1)).unwrap().0, channel);
}

#[test]
fn an_end_that_is_not_bound_again_is_closed_after_its_time() {
    let (relays, channel) = pair(ms(1_000));
    relays.bind(ms(11_000), &ALICE, &BOB, at(1)).unwrap();
    assert!(relays.forward(ms(75_999), channel, at(1), KIB).is_ok());
    assert_eq!(relays.forward(ms(76_000), channel, at(1), KIB), Err(Unrelayed::Stray), "bob is gone");
    assert_eq!(relays.forward(ms(76_000), channel, at(2), KIB), Err(Unrelayed::Stray));
    assert_eq!(relays.bind(ms(76_000), &ALICE, &BOB, at(1)), Ok((channel, false)));
    assert_eq!(relays.bind(ms(76_000), &BOB, &ALICE, at(2)), Ok((channel, true)));
    (0..SHARDS).for_each(|_| relays.sweep(ms(76_000)));
    assert_eq!(relays.status().channels, 1);
    (0..SHARDS).for_each(|_| relays.sweep(ms(151_000)));
    assert_eq!(relays.status().channels, 0);
}

#[test]
fn an_end_has_a_burst_and_then_its_rate_to_the_byte() {
    let (relays, channel) = pair(ms(1_000));
    assert_eq!(passing(&relays, ms(10_000), channel, at(1)) * KIB, RELAY_BURST_LEN_MAX);
    let just_before = Instant::from_start(Duration::from_nanos(10_249_999_999));
    assert_eq!(passing(&relays, just_before, channel, at(1)), 0);
    for quarter in 1..=40 {
        assert_eq!(passing(&relays, ms(10_000 + 250 * quarter), channel, at(1)), 1, "{RELAY_RATE} bytes in four quarters");
    }
    assert_eq!(passing(&relays, ms(20_000), channel, at(2)) * KIB, RELAY_BURST_LEN_MAX, "the other end has its own");
    let (more, _) = relays.bind(ms(20_000), &ALICE, &id(3), at(1)).unwrap();
    relays.bind(ms(20_000), &id(3), &ALICE, at(3)).unwrap();
    assert_eq!(passing(&relays, ms(20_000), more, at(1)) * KIB, RELAY_BURST_LEN_MAX, "so has another pair");
    assert_eq!(passing(&relays, ms(22_000), channel, at(1)) * KIB, 2 * RELAY_RATE);
    assert_eq!(passing(&relays, ms(60_000), channel, at(1)) * KIB, RELAY_BURST_LEN_MAX, "no pause earns more");
}

#[test]
fn binding_again_or_elsewhere_or_after_a_pause_gives_no_new_budget() {
    let (relays, channel) = pair(ms(0));
    let mut passed = 0;
    let mut second = |second: u64| {
        let from = SocketAddr::new(at(1).ip(), 20_000 + u16::try_from(second).unwrap());
        relays.bind(ms(second * 1_000), &ALICE, &BOB, from).unwrap();
        relays.bind(ms(second * 1_000), &BOB, &ALICE, at(2)).unwrap();
        passed += passing(&relays, ms(second * 1_000), channel, from) * KIB;
        passed
    };
    assert_eq!((0..=10).map(&mut second).last(), Some(RELAY_BURST_LEN_MAX + 10 * RELAY_RATE));
    assert_eq!((11..515).map(&mut second).last(), Some(RELAY_PERIOD_LEN_MAX));
    (0..SHARDS).for_each(|_| relays.sweep(ms(595_000)));
    assert_eq!(second(599), RELAY_PERIOD_LEN_MAX, "both were away for longer than an end is kept");
    assert_eq!(second(600), RELAY_PERIOD_LEN_MAX + RELAY_BURST_LEN_MAX);
}

#[test]
fn a_period_has_its_bytes_and_the_next_one_begins_with_its_first_datagram() {
    let (relays, channel) = pair(ms(0));
    let send = |from: u64, until: u64| {
        let mut passed = 0;
        for now in (from..until).step_by(250) {
            if now % 10_000 == 0 {
                relays.bind(ms(now), &ALICE, &BOB, at(1)).unwrap();
                relays.bind(ms(now), &BOB, &ALICE, at(2)).unwrap();
                relays.sweep(ms(now));
            }
            passed += passing(&relays, ms(now), channel, at(1)) * KIB;
        }
        passed
    };
    assert_eq!(send(0, RELAY_PERIOD_SECONDS * 1_000), RELAY_PERIOD_LEN_MAX);
    assert_eq!(relays.forward(ms(599_999), channel, at(1), 1), Err(Unrelayed::OverBudget), "not a byte more");
    assert_eq!(relays.forward(ms(599_999), channel, at(2), KIB), Ok(at(1)), "the other way has its own");
    assert_eq!(send(600_000, 601_000), RELAY_BURST_LEN_MAX + 3 * KIB);
}

#[test]
fn all_together_have_what_the_operator_gives() {
    let relays = Relays::new(100 * KIB as u32, [5; 16]);
    let channels: Vec<_> = (0..20)
        .map(|n| {
            relays.bind(ms(0), &id(n), &ALICE, at(1)).unwrap();
            relays.bind(ms(0), &ALICE, &id(n), at(2)).unwrap().0
        })
        .collect();
    let pass = |now| -> usize { channels.iter().map(|channel| passing(&relays, now, *channel, at(1))).sum() };
    assert_eq!(pass(ms(10_000)), 100, "a second's worth at once");
    assert_eq!(pass(ms(10_500)), 50);
    assert_eq!(pass(ms(14_500)), 100);
    assert_eq!(relays.forward(ms(14_500), channels[19], at(1), KIB), Err(Unrelayed::OverBudget));
    assert!(relays.forward(ms(14_510), channels[19], at(1), KIB).is_ok(), "what all had no room for cost this end nothing");
    assert_eq!(relays.status().rate_max, 102_400);
}

#[test]
fn there_are_never_more_ends_than_the_limits() {
    let relays = Relays::new(u32::MAX, [5; 16]);
    let of_one = (0..100).filter(|n| relays.bind(ms(0), &ALICE, &id(*n), at(1)).is_ok()).count();
    assert_eq!(of_one, usize::from(ENDS_PER_ID_MAX));
    assert!(relays.bind(ms(0), &ALICE, &id(0), at(1)).is_ok(), "what is there may be bound again");
    assert!(relays.bind(ms(0), &id(99), &ALICE, at(2)).is_ok(), "others may bind the end that is theirs");
    let all = (100..100_000).filter(|n| relays.bind(ms(0), &id(*n), &id(n + 1), at(1)).is_ok()).count();
    let max = SHARDS * ENDS_PER_SHARD_MAX;
    assert!((max - 256..=max).contains(&(all + of_one + 1)), "{all}");
    (0..SHARDS).for_each(|_| relays.sweep(ms(75_000)));
    let is_empty = |at| relays.channels.with(at, |shard| shard.channels.is_empty() && shard.ends == 0);
    assert!((0..SHARDS).all(is_empty));
    assert!((0..SHARDS).all(|at| relays.owners.with(at, |owners| owners.is_empty())));
}
