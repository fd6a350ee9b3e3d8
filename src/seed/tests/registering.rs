//! Registering: what is taken up, what it replaces, how long it stays, who may take it away.

use super::*;

#[test]
fn who_registers_is_found_until_it_is_silent() {
    let mut world = World::warm();
    let alice = Signed::new(&identity(1), &record(&identity(1), 1));
    let answer = world.register(addr(1), &alice);
    let Answer::Registered { token, ttl: 75, seen } = answer else { panic!("{answer:?}") };
    assert_eq!(seen, addr(1));
    let out = world.ask(addr(2), &Query::Lookup { id: alice.id, watch: false });
    assert_eq!(entries(&out), (vec![alice.entry(addr(1), 0)], false));
    world.pass(60);
    let refresh = |token| Query::Refresh { id: alice.id, seq: 1, token };
    assert_eq!(world.told(addr(3), &refresh(token)), Answer::Registered { token, ttl: 75, seen: addr(3) });
    assert_eq!(world.told(addr(4), &refresh([0; TOKEN_LEN])), Answer::Need, "no token, no move");
    world.pass(74);
    let out = world.ask(addr(2), &Query::Lookup { id: alice.id, watch: false });
    assert_eq!(entries(&out), (vec![alice.entry(addr(3), 74)], false));
    world.pass(1);
    assert_eq!(world.seen(alice.id), None);
    assert_eq!(world.told(addr(3), &refresh(token)), Answer::Need);
    let counters = world.counters();
    assert_eq!((counters.register, counters.refresh, counters.signatures, counters.tokens), (1, 3, 1, 0));
    world.pass(30);
    assert_eq!(world.counters().records, 0, "swept away");
}

#[test]
fn a_record_never_outlives_its_own_time() {
    let mut world = World::new();
    let alice = Signed::new(&identity(1), &Record { lifetime: 30, ..record(&identity(1), 1) });
    let answer = world.register(addr(1), &alice);
    let Answer::Registered { token, ttl: 30, .. } = answer else { panic!("{answer:?}") };
    world.pass(20);
    let refresh = Query::Refresh { id: alice.id, seq: 1, token };
    assert_eq!(world.told(addr(1), &refresh), Answer::Registered { token, ttl: 10, seen: addr(1) });
    world.pass(10);
    assert_eq!((world.seen(alice.id), world.told(addr(1), &refresh)), (None, Answer::Need));
    assert!(matches!(world.register(addr(1), &alice), Answer::Refused(Refusal::WrongClock { .. })));
}

#[test]
fn a_wrong_clock_is_told_the_right_time() {
    let mut world = World::new();
    let alice = identity(1);
    for (issued, lifetime, is_good) in
        [(UNIX + 600, 60, true), (UNIX + 601, 60, false), (UNIX - 59, 60, true), (UNIX - 60, 60, false), (u64::MAX, 60, false)]
    {
        let signed = Signed::new(&alice, &Record { issued, lifetime, ..record(&alice, 1) });
        let answer = world.register(addr(1), &signed);
        if is_good {
            assert!(matches!(answer, Answer::Registered { .. }), "{issued}: {answer:?}");
        } else {
            assert_eq!(answer, Answer::Refused(Refusal::WrongClock { unix: UNIX }), "{issued}");
        }
    }
}

#[test]
fn a_record_that_its_owner_did_not_sign_is_refused() {
    let mut world = World::new();
    let (alice, bob) = (identity(1), identity(2));
    let good = Signed::new(&alice, &record(&alice, 1));
    let by_bob = Signed { id: good.id, ..Signed::new(&bob, &record(&alice, 1)) };
    let other = Signed { record: record(&alice, 2).encode(), signature: good.signature, id: good.id };
    let farewell = Signed::new(&alice, &Record { lifetime: 0, ..record(&alice, 1) });
    let nothing = Signed { record: b"nothing".to_vec(), signature: good.signature, id: good.id };
    for bad in [by_bob, other, farewell, nothing] {
        assert_eq!(world.register(addr(1), &bad), Answer::Refused(Refusal::BadRecord));
    }
    for text in ["203.0.113.1:53", "127.0.0.1:17118", "[::1]:17118"] {
        let from = text.parse().unwrap();
        assert_eq!(world.register(from, &good), Answer::Refused(Refusal::BadRecord), "nobody is sent to {text}");
    }
    assert_eq!((world.counters().records, world.counters().signatures), (0, 2), "the others cost no check");
    let config = SeedConfig { name: String::new(), records_max: 9, fellows: Vec::new(), cores: 1, loopback: true, relay: None };
    assert!(matches!(World::with(config).register("[::1]:17118".parse().unwrap(), &good), Answer::Registered { .. }));
}

#[test]
fn the_highest_seq_counts() {
    let mut world = World::new();
    let alice = identity(1);
    let [first, second] = [1, 2].map(|seq| Signed::new(&alice, &record(&alice, seq)));
    let old = world.token(addr(1), &first);
    world.token(addr(2), &second);
    assert_eq!(world.register(addr(1), &first), Answer::Refused(Refusal::Stale { seq: 2 }));
    assert_eq!(world.told(addr(1), &first.register(Some(old))), Answer::Refused(Refusal::Stale { seq: 2 }));
    assert_eq!(world.told(addr(1), &Query::Refresh { id: first.id, seq: 1, token: old }), Answer::Need);
    assert_eq!(world.seen(first.id), Some(addr(2)));
    assert_eq!(world.counters().records, 1);
}

#[test]
fn a_stranger_who_read_a_record_does_not_move_its_owner() {
    let mut world = World::new();
    let alice = Signed::new(&identity(1), &record(&identity(1), 1));
    let token = world.token(addr(1), &alice);
    assert_eq!(world.register(addr(9), &alice), Answer::Refused(Refusal::Stale { seq: 1 }));
    assert_eq!(world.told(addr(9), &alice.register(Some([0; TOKEN_LEN]))), Answer::Refused(Refusal::Stale { seq: 1 }));
    assert_eq!(world.seen(alice.id), Some(addr(1)));
    assert!(matches!(world.register(addr(1), &alice), Answer::Registered { .. }), "from the same address, once more");
    assert!(matches!(world.told(addr(3), &alice.register(Some(token))), Answer::Registered { .. }));
    assert_eq!(world.seen(alice.id), Some(addr(3)));
    let v6 = "[2001:db8::5]:2000".parse().unwrap();
    let refresh = Query::Refresh { id: alice.id, seq: 1, token };
    assert_eq!(world.told(v6, &refresh), Answer::Registered { token, ttl: 75, seen: v6 });
    assert_eq!(world.seen(alice.id), Some(v6), "to another version of IP");
    assert_eq!(world.counters().tokens, 1);
}

#[test]
fn after_a_restart_a_token_spares_the_signature_check() {
    let mut before = World::new();
    let alice = Signed::new(&identity(1), &record(&identity(1), 1));
    let token = before.token(addr(1), &alice);
    let mut after = World::new();
    assert_eq!(after.told(addr(1), &Query::Refresh { id: alice.id, seq: 1, token }), Answer::Need);
    assert_eq!(after.told(addr(1), &alice.register(Some(token))), Answer::Registered { token, ttl: 75, seen: addr(1) });
    assert_eq!((after.counters().signatures, after.counters().tokens), (0, 1));
}

#[test]
fn a_full_seed_refuses_whoever_is_new_and_keeps_whoever_is_there() {
    let mut world = World::with(SeedConfig {
        name: String::new(),
        records_max: 3,
        fellows: Vec::new(),
        cores: 1,
        loopback: false,
        relay: None,
    });
    let people: Vec<_> = (1..=4).map(|n| Signed::new(&identity(n), &record(&identity(n), 1))).collect();
    for person in &people[..3] {
        world.token(addr(1), person);
    }
    assert_eq!(world.register(addr(4), &people[3]), Answer::Refused(Refusal::Full));
    assert_eq!(world.counters().signatures, 3, "no check for what there is no room for");
    assert!(people[..3].iter().all(|person| world.seen(person.id) == Some(addr(1))));
    let newer = Signed::new(&identity(1), &record(&identity(1), 2));
    world.token(addr(1), &newer);
    world.pass(102);
    world.token(addr(4), &people[3]);
}

#[test]
fn a_farewell_takes_away_and_an_old_record_does_not_come_back() {
    let mut world = World::warm();
    let alice = identity(1);
    let [first, second, third] = [1, 2, 3].map(|seq| Signed::new(&alice, &record(&alice, seq)));
    let bye = |seq, owner: &Identity| Signed::new(owner, &Record { lifetime: 0, ..record(&alice, seq) });
    assert_eq!(world.told(addr(1), &bye(9, &alice).unregister()), Answer::Unregistered, "nothing to take away");
    let token = world.token(addr(1), &second);
    assert_eq!(world.told(addr(1), &bye(2, &alice).unregister()), Answer::Refused(Refusal::Stale { seq: 2 }));
    assert_eq!(world.told(addr(1), &bye(3, &identity(2)).unregister()), Answer::Refused(Refusal::BadRecord));
    assert_eq!(world.told(addr(1), &second.unregister()), Answer::Refused(Refusal::BadRecord), "no farewell");
    assert_eq!(world.seen(second.id), Some(addr(1)));
    assert_eq!(world.told(addr(7), &bye(3, &alice).unregister()), Answer::Unregistered);
    assert_eq!(world.told(addr(7), &bye(3, &alice).unregister()), Answer::Unregistered, "the first answer was lost");
    assert_eq!(world.told(addr(7), &bye(2, &alice).unregister()), Answer::Refused(Refusal::Stale { seq: 3 }));
    assert_eq!(world.seen(second.id), None);
    let out = world.ask(addr(2), &Query::Find { network: [0; 8], name: "alice" });
    assert!(entries(&out).0.is_empty());
    for old in [&first, &second, &third] {
        assert_eq!(world.register(addr(1), old), Answer::Refused(Refusal::Stale { seq: 3 }));
    }
    assert_eq!(world.told(addr(1), &second.register(Some(token))), Answer::Refused(Refusal::Stale { seq: 3 }));
    assert_eq!(world.told(addr(1), &Query::Refresh { id: second.id, seq: 2, token }), Answer::Need);
    assert_eq!(world.counters().records, 0, "a farewell is no record");
    world.pass(3_000);
    assert_eq!(world.register(addr(1), &second), Answer::Refused(Refusal::Stale { seq: 3 }), "as long as it might be believed");
    world.token(addr(1), &Signed::new(&alice, &record(&alice, 4)));
    assert_eq!((world.seen(second.id), world.counters().records), (Some(addr(1)), 1));
}

#[test]
fn farewells_leave_and_are_forgotten() {
    let mut world = World::with(SeedConfig {
        name: String::new(),
        records_max: 1,
        fellows: Vec::new(),
        cores: 1,
        loopback: false,
        relay: None,
    });
    let (alice, bob) = (identity(1), identity(2));
    world.token(addr(1), &Signed::new(&alice, &Record { lifetime: 200, ..record(&alice, 1) }));
    let bye = Signed::new(&alice, &Record { lifetime: 0, ..record(&alice, 2) });
    assert_eq!(world.told(addr(1), &bye.unregister()), Answer::Unregistered);
    let bob = Signed::new(&bob, &record(&bob, 1));
    assert_eq!(world.register(addr(2), &bob), Answer::Refused(Refusal::Full), "it counts as long as it is kept");
    world.pass(230);
    world.token(addr(2), &bob);
}

#[test]
fn whoever_asks_too_much_is_told_to_wait() {
    let mut world = World::new();
    let cookie = world.cookie(addr(1));
    let query = bytes(&Query::Lookup { id: [1; 32], watch: false }, cookie);
    let busy = |out: &[u8]| matches!(plain(out), Answer::Refused(Refusal::Busy { retry_after: 1 }));
    let mut asked = 0;
    while !busy(&world.raw(addr(1), &query)) {
        asked += 1;
    }
    assert!((500..2_000).contains(&asked), "{asked}");
    assert!(matches!(world.told(addr(2), &Query::Lookup { id: [1; 32], watch: false }), Answer::NotFound { .. }));
    world.pass(1);
    assert!(!busy(&world.raw(addr(1), &query)));
    assert_eq!((world.counters().busy, world.counters().refused), (1, 1));
}

#[test]
fn signature_checks_have_a_budget_and_whoever_has_a_token_needs_none() {
    let mut world = World::new();
    let alice = Signed::new(&identity(1), &record(&identity(1), 1));
    let token = world.token(addr(1), &alice);
    let forged = Signed { signature: [1; SIGNATURE_LEN], ..Signed::new(&identity(2), &record(&identity(2), 1)) };
    let mut checks = 0;
    for source in 0..5_000_u32 {
        let from = SocketAddr::from(((source << 8 | 10 << 24 | 1).to_be_bytes(), 17_118));
        match world.register(from, &forged) {
            Answer::Refused(Refusal::BadRecord) => checks += 1,
            Answer::Refused(Refusal::Busy { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    // Some networks share a place with one that was met before: those are checked alone, at twice the cost.
    assert!((2_000..3_100).contains(&checks), "{checks} at one moment");
    assert!(matches!(world.told(addr(1), &alice.register(Some(token))), Answer::Registered { .. }));
}

/// Who registers waits a moment for company: the signatures of many are checked together.
#[test]
fn of_many_who_register_at_once_only_those_who_did_not_sign_are_refused() {
    let mut world = World::new();
    let people: Vec<_> = (0..20).map(|n| Signed::new(&identity(n), &record(&identity(n), 1))).collect();
    let register = |world: &mut World, n: u8, signed: &Signed| {
        let cookie = world.cookie(addr(n));
        world.seed.handle_datagram(world.now, addr(n), &bytes(&signed.register(None), cookie));
        assert!(world.leaving().is_empty(), "it waits");
    };
    for (n, signed) in (0..).zip(&people) {
        let signature = if n == 7 || n == 13 { [1; SIGNATURE_LEN] } else { signed.signature };
        register(&mut world, n, &Signed { signature, record: signed.record.clone(), id: signed.id });
    }
    // Registered twice, as where the answer was late.
    register(&mut world, 3, &people[3]);
    let soon = world.now.instant + Duration::from_millis(2);
    assert!(world.seed.poll_timeout().is_some_and(|due| due <= soon), "nobody waits for long");
    world.seed.handle_timeout(Now { instant: soon, unix: world.now.unix });
    let left = world.leaving();
    assert_eq!(left.len(), 21, "everybody has an answer");
    for (to, answer) in left {
        match plain(&answer) {
            Answer::Registered { seen, .. } => assert_eq!(seen, to),
            answer => assert!(answer == Answer::Refused(Refusal::BadRecord) && (to == addr(7) || to == addr(13)), "{answer:?}"),
        }
    }
    assert_eq!((world.counters().records, world.counters().signatures), (18, 21));
    assert_eq!(world.seen(people[3].id), Some(addr(3)));
}

#[test]
fn false_signatures_among_many_are_paid_for() {
    let mut world = World::new();
    let forged = Signed { signature: [1; SIGNATURE_LEN], ..Signed::new(&identity(2), &record(&identity(2), 1)) };
    let mut checks = 0;
    for source in 0..5_000_u32 {
        let from = SocketAddr::from(((source << 8 | 10 << 24 | 1).to_be_bytes(), 17_118));
        let cookie = world.cookie(from);
        world.seed.handle_datagram(world.now, from, &bytes(&forged.register(None), cookie));
        checks += world.leaving().iter().filter(|(_, out)| plain(out) == Answer::Refused(Refusal::BadRecord)).count();
    }
    assert!((900..1_300).contains(&checks), "{checks} at one moment, a third of what true ones have");
}

/// Whoever sent a false signature spoils no batch again, and his neighbours lose nothing by it.
#[test]
fn who_sent_a_false_signature_is_checked_alone_and_nobody_pays_for_it() {
    let mut world = World::new();
    let forged = Signed { signature: [1; SIGNATURE_LEN], ..Signed::new(&identity(2), &record(&identity(2), 1)) };
    assert_eq!(world.register(addr(1), &forged), Answer::Refused(Refusal::BadRecord));
    for _ in 0..50 {
        let cookie = world.cookie(addr(1));
        world.seed.handle_datagram(world.now, addr(1), &bytes(&forged.register(None), cookie));
        assert_eq!(plain(&world.leaving()[0].1), Answer::Refused(Refusal::BadRecord), "at once, with nobody else's");
    }
    let near = Signed::new(&identity(1), &record(&identity(1), 1));
    let cookie = world.cookie(addr(2));
    world.seed.handle_datagram(world.now, addr(2), &bytes(&near.register(None), cookie));
    assert!(matches!(plain(&world.leaving()[0].1), Answer::Registered { .. }), "a neighbour is checked alone, too");
    world.pass(600);
    let cookie = world.cookie(addr(1));
    world.seed.handle_datagram(world.now, addr(1), &bytes(&forged.register(None), cookie));
    assert!(world.leaving().is_empty(), "in the end it waits for company as everybody does");
}
