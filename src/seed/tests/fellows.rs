//! Fellow seeds: asked now and then, named to others while they answer.

use super::*;

fn world() -> World {
    World::with(SeedConfig {
        name: String::new(),
        records_max: 9,
        fellows: vec![addr(50), addr(51)],
        cores: 1,
        loopback: false,
        relay: None,
    })
}

/// The fellows that are named to whoever finds nobody.
fn named(world: &mut World) -> Vec<SocketAddr> {
    match world.told(addr(1), &Query::Lookup { id: [1; 32], watch: false }) {
        Answer::NotFound { seeds, .. } => seeds,
        other => panic!("{other:?}"),
    }
}

/// Lets a fellow answer everything that it is asked.
fn answer_as(world: &mut World, fellow: SocketAddr) -> usize {
    let mut asked = 0;
    for (to, query) in world.leaving() {
        let (header, query) = Query::decode(&query).unwrap();
        assert_eq!(query, Query::Status);
        let mut out = Vec::new();
        if to != fellow {
            continue;
        }
        asked += 1;
        if header.cookie == [0; COOKIE_LEN] {
            Answer::Cookie { seen: addr(99) }.encode(Header { cookie: [8; COOKIE_LEN], ..header }, &mut out);
        } else {
            assert_eq!(header.cookie, [8; COOKIE_LEN]);
            Answer::Refused(Refusal::Full).encode(Header { cookie: [0; COOKIE_LEN], ..header }, &mut out);
        }
        world.seed.handle_datagram(world.now, fellow, &out);
    }
    asked
}

#[test]
fn a_fellow_is_named_until_it_has_not_answered() {
    let mut world = world();
    assert_eq!(named(&mut world), [addr(50), addr(51)]);
    let mut asked = 0;
    for second in 0..300 {
        asked += answer_as(&mut world, addr(50));
        world.pass(1);
        let named = named_quietly(&mut world);
        assert!(named.contains(&addr(50)), "second {second}");
        assert_eq!(named.contains(&addr(51)), second < 60, "second {second}");
    }
    assert_eq!(asked, 11, "once in 30 s, and once more for the cookie");
    for second in 0..200 {
        world.leaving();
        world.pass(1);
        assert_eq!(named_quietly(&mut world).is_empty(), second >= 70, "silent for 100 s: second {second}");
    }
}

/// As [`named`], where questions to fellows may wait.
fn named_quietly(world: &mut World) -> Vec<SocketAddr> {
    let waiting = world.leaving();
    let named = named(world);
    for (to, bytes) in waiting {
        world.seed.push(to, bytes);
    }
    named
}

#[test]
fn only_a_fellow_that_was_asked_is_believed() {
    let mut world = world();
    world.pass(1);
    let asked = world.leaving();
    let (header, _) = Query::decode(&asked[0].1).unwrap();
    let mut out = Vec::new();
    Answer::Cookie { seen: addr(99) }.encode(header, &mut out);
    world.seed.handle_datagram(world.now, addr(60), &out);
    Answer::Cookie { seen: addr(99) }.encode(Header { txid: header.txid ^ 1, ..header }, &mut out);
    world.seed.handle_datagram(world.now, addr(50), &out);
    assert!(world.leaving().is_empty());
    assert_eq!(world.counters().dropped, 2);
    Answer::Cookie { seen: addr(99) }.encode(header, &mut out);
    for _ in 0..9 {
        world.seed.handle_datagram(world.now, addr(50), &out);
    }
    assert_eq!(world.leaving().len(), 1, "a seed that always gives cookies is asked once more, not for ever");
}

#[test]
fn fellows_can_be_replaced_and_of_many_some_are_named() {
    let mut world = world();
    world.seed.handle_fellows(world.now, (0..100).map(|last| addr(100 + last)).collect());
    world.pass(1);
    assert_eq!(world.leaving().len(), 64);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let named = named(&mut world);
        assert_eq!(named.len(), 4);
        seen.extend(named);
        world.pass(1);
        world.leaving();
    }
    assert!(seen.len() > 20, "not always the same: {}", seen.len());
    world.seed.handle_fellows(world.now, Vec::new());
    assert!(named(&mut world).is_empty());
}
