//! Looking: by id, by name, in lists; waiting for somebody; knocking.

use super::*;
use crate::wire::phonebook::{ENTRIES_MAX, LOOKUP_LEN};

fn listed(n: u64, name: &str) -> Signed {
    let owner = identity(n);
    Signed::new(&owner, &Record { name: name.to_owned(), visibility: Visibility::Listed, ..record(&owner, 1) })
}

/// All names of a list, page by page.
fn all(world: &mut World, network: [u8; 8], prefix: &str) -> Vec<String> {
    let mut found: Vec<(String, RawId)> = Vec::new();
    loop {
        let after = found.last().cloned();
        let after = after.as_ref().map(|(name, id)| (name.as_str(), *id));
        let out = world.ask(addr(200), &Query::Search { network, prefix, after });
        let (page, more) = entries(&out);
        assert!(page.len() <= ENTRIES_MAX && (!more || !page.is_empty()));
        found.extend(page.iter().map(|entry| {
            let record = Record::decode(entry.record).unwrap();
            (record.name, *record.id.as_bytes())
        }));
        if !more {
            return found.into_iter().map(|(name, _)| name).collect();
        }
    }
}

#[test]
fn whoever_is_not_there_is_not_there_and_a_young_seed_says_that_it_is_young() {
    let mut world = World::new();
    world.seed.handle_fellows(world.now, vec![addr(50), addr(51)]);
    let mut lookup = |seconds| {
        world.pass(seconds);
        world.leaving();
        world.told(addr(1), &Query::Lookup { id: [1; 32], watch: false })
    };
    let Answer::NotFound { warming: true, retry_after: 75, seeds } = lookup(0) else { panic!() };
    assert_eq!(seeds, [addr(50), addr(51)]);
    assert!(matches!(lookup(74), Answer::NotFound { warming: true, retry_after: 1, .. }));
    assert!(matches!(lookup(1), Answer::NotFound { warming: false, retry_after: 20, .. }));
}

#[test]
fn a_name_is_a_claim_and_all_claims_come_back_the_newest_first() {
    let mut world = World::warm();
    for (n, name) in [(1, "Alice"), (2, "alice"), (3, "bob"), (4, "ALICE")] {
        let owner = identity(n);
        world.token(addr(n as u8), &Signed::new(&owner, &Record { name: name.to_owned(), ..record(&owner, 1) }));
        world.pass(1);
    }
    let find = Query::Find { network: [0; 8], name: "aLiCe" };
    let out = world.ask(addr(9), &find);
    assert_eq!(names(&out), ["ALICE", "alice", "Alice"]);
    let again = Signed::new(&identity(1), &Record { name: "Alice".to_owned(), ..record(&identity(1), 2) });
    world.token(addr(1), &again);
    assert_eq!(names(&world.ask(addr(9), &find)), ["Alice", "ALICE", "alice"]);
    let renamed = Signed::new(&identity(4), &record(&identity(4), 2));
    world.token(addr(4), &Signed { ..renamed });
    let other = Signed::new(&identity(4), &Record { name: "carol".to_owned(), ..record(&identity(4), 3) });
    world.token(addr(4), &other);
    assert_eq!(names(&world.ask(addr(9), &find)), ["Alice", "alice"], "who is called otherwise now");
    assert_eq!(names(&world.ask(addr(9), &Query::Find { network: [0; 8], name: "carol" })), ["carol"]);
    assert_eq!(names(&world.ask(addr(9), &Query::Find { network: [0; 8], name: "ali" })), [""; 0], "whole names only");
}

#[test]
fn of_many_claims_the_newest_are_shown() {
    let mut world = World::warm();
    for n in 1..=40 {
        world.token(addr(1), &Signed::new(&identity(n), &record(&identity(n), n)));
        world.pass(1);
    }
    let mut padded = bytes(&Query::Find { network: [0; 8], name: "alice" }, world.cookie(addr(9)));
    padded.resize(1_200, 0);
    let out = world.raw(addr(9), &padded);
    let seqs: Vec<_> = entries(&out).0.iter().map(|entry| Record::decode(entry.record).unwrap().seq).collect();
    let newest: Vec<_> = (1..=40).rev().take(seqs.len()).collect();
    assert!(seqs.len() >= 5 && entries(&out).1);
    assert_eq!(seqs, newest);
}

#[test]
fn lists_have_pages_an_order_and_nobody_who_does_not_want_to_stand_there() {
    let mut world = World::warm();
    let mut expected = Vec::new();
    for n in 0..30 {
        let name = format!("{} {n:02}", ["Anna", "bert", "Cäcilie"][n as usize % 3]);
        world.token(addr(1), &listed(n, &name));
        expected.push(name);
    }
    let hidden = Signed::new(&identity(99), &Record { name: "Anna 99".to_owned(), ..record(&identity(99), 1) });
    world.token(addr(1), &hidden);
    expected.sort_by_key(|name| crate::text::name_key(name));
    assert_eq!(all(&mut world, [0; 8], ""), expected);
    let of = |prefix: &str| expected.iter().filter(|name| name.starts_with(prefix)).cloned().collect::<Vec<_>>();
    assert_eq!(all(&mut world, [0; 8], "BERT"), of("bert"));
    assert_eq!(all(&mut world, [0; 8], "cäcilie 1"), of("Cäcilie 1"));
    assert_eq!(all(&mut world, [0; 8], "dora"), [""; 0]);
    world.token(addr(1), &Signed::new(&identity(0), &Record { name: "Anna 00".to_owned(), ..record(&identity(0), 2) }));
    assert_eq!(all(&mut world, [0; 8], ""), &expected[1..], "no more in lists, by its own wish");
    world.pass(75);
    assert_eq!(all(&mut world, [0; 8], ""), [""; 0]);
}

#[test]
fn names_that_are_the_same_are_all_listed() {
    let mut world = World::warm();
    for n in 0..20 {
        world.token(addr(1), &listed(n, "twin"));
    }
    assert_eq!(all(&mut world, [0; 8], "").len(), 20);
}

#[test]
fn networks_do_not_see_each_other() {
    let mut world = World::warm();
    for (n, network) in [(1, [1; 8]), (2, [2; 8]), (3, [0; 8])] {
        let said = Record { network, visibility: Visibility::Listed, name: format!("of {n}"), ..record(&identity(n), 1) };
        world.token(addr(1), &Signed::new(&identity(n), &said));
    }
    for (n, network) in [(1, [1; 8]), (2, [2; 8]), (3, [0; 8])] {
        assert_eq!(all(&mut world, network, ""), [format!("of {n}")]);
        for other in 1..=3 {
            let name = format!("of {other}");
            let out = world.ask(addr(9), &Query::Find { network, name: &name });
            assert_eq!(entries(&out).0.len(), usize::from(other == n));
        }
    }
}

#[test]
fn whoever_waits_is_told_once_when_the_other_comes() {
    let mut world = World::warm();
    let alice = Signed::new(&identity(1), &record(&identity(1), 1));
    for last in 2..=9 {
        let answer = world.told(addr(last), &Query::Lookup { id: alice.id, watch: true });
        let retry_after = if last <= 5 { 75 } else { 20 };
        assert_eq!(answer, Answer::NotFound { warming: false, retry_after, seeds: Vec::new() }, "the fourth is the last");
    }
    let mut short = bytes(&Query::Lookup { id: [9; 32], watch: true }, world.cookie(addr(2)));
    short.truncate(LOOKUP_LEN - 1);
    let answer = plain(&world.raw(addr(2), &short));
    assert!(matches!(answer, Answer::NotFound { retry_after: 20, .. }), "it has not paid for more");
    world.ask(addr(1), &alice.register(None));
    let told = world.leaving();
    let whom: Vec<_> = told.iter().map(|(to, _)| *to).collect();
    assert_eq!(whom, [2, 3, 4, 5].map(addr));
    for (_, out) in &told {
        assert_eq!(entries(out), (vec![alice.entry(addr(1), 0)], false));
        assert_eq!(Answer::decode(out).unwrap().0, Header { txid: 7, cookie: [0; COOKIE_LEN] });
    }
    world.token(addr(1), &alice);
    assert_eq!(world.counters().told, 4);
    let found = world.ask(addr(2), &Query::Lookup { id: alice.id, watch: true });
    assert_eq!(entries(&found).0.len(), 1);
    world.token(addr(1), &Signed::new(&identity(1), &record(&identity(1), 2)));
}

#[test]
fn nobody_waits_for_ever() {
    let mut world = World::warm();
    let alice = Signed::new(&identity(1), &record(&identity(1), 1));
    world.told(addr(2), &Query::Lookup { id: alice.id, watch: true });
    world.pass(75);
    world.token(addr(1), &alice);
}

#[test]
fn a_knock_reaches_whoever_is_there() {
    let mut world = World::warm();
    let alice = Signed::new(&identity(1), &record(&identity(1), 1));
    let knock = Query::Knock { to: alice.id, sealed: b"for alice" };
    assert!(matches!(world.told(addr(2), &knock), Answer::NotFound { .. }));
    world.token(addr(1), &alice);
    let mut left = knock_once(&mut world, &knock);
    let (Some((from, knocked)), Some((to, notify)), None) = (left.pop(), left.pop(), left.pop()) else { panic!() };
    assert_eq!((to, from), (addr(1), addr(2)));
    let (header, answer) = Answer::decode(&notify).unwrap();
    assert_eq!(answer, Answer::Notify { from: addr(2), sealed: b"for alice" });
    assert_eq!(header, Header { txid: 0, cookie: [0; COOKIE_LEN] });
    assert_eq!(plain(&knocked), Answer::Knocked { seen: addr(1) });
    let left: Vec<_> = (0..5).map(|_| knock_once(&mut world, &knock).len()).collect();
    assert_eq!(left, [2, 2, 1, 1, 1]);
    assert_eq!(world.counters().notified, 3, "and then no more for a while");
    world.pass(2);
    assert_eq!(knock_once(&mut world, &knock).len(), 2);
}

fn knock_once(world: &mut World, knock: &Query<'_>) -> Vec<(SocketAddr, Vec<u8>)> {
    let cookie = world.cookie(addr(2));
    world.seed.handle_datagram(world.now, addr(2), &bytes(knock, cookie));
    world.leaving()
}

#[test]
fn what_does_not_fit_is_said_to_be_more() {
    let mut world = World::warm();
    let seeds = vec![crate::wire::addr::Addr(addr(50)); 3];
    let alice = Signed::new(&identity(1), &Record { seeds, ..record(&identity(1), 1) });
    world.token(addr(1), &alice);
    let mut short = bytes(&Query::Lookup { id: alice.id, watch: false }, world.cookie(addr(2)));
    short.truncate(64);
    assert_eq!(entries(&world.raw(addr(2), &short)), (Vec::new(), true), "three times 64 bytes are too few");
    short.resize(80, 0);
    assert_eq!(entries(&world.raw(addr(2), &short)).0.len(), 1);
}
