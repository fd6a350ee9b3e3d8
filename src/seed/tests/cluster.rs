//! Two seeds that share a depot, which is honest, gone, or full of lies.

use std::collections::BTreeMap;

use super::*;
use crate::{
    seed::cluster::{Call, FETCH_TIMEOUT, HELD, Over, Put, Reply, Sought, VALUE_LEN_MAX, value::Value},
    text::name_key,
};

/// A depot as Redis is one: it compares what it need not understand.
#[derive(Default)]
struct Shelf {
    values: BTreeMap<RawId, Vec<u8>>,
    names: BTreeMap<([u8; 8], String), Vec<RawId>>,
    puts: usize,
    fetches: usize,
}

impl Shelf {
    fn put(&mut self, put: Put) -> Option<Reply> {
        self.puts += 1;
        let old = self.values.get(&put.id).filter(|_| put.over != Over::Anything);
        if let Some(old) = old.filter(|old| old.len() >= 27 && old[0] == 1) {
            if old[1..9] > put.value[1..9] {
                return Some(Reply::Newer { id: put.id, value: old.clone() });
            }
            if old[1..9] == put.value[1..9] && put.over == Over::Older && old[9..27] != put.value[9..27] {
                return None;
            }
        }
        if put.name.is_none() && !self.values.contains_key(&put.id) {
            return None;
        }
        self.values.insert(put.id, put.value);
        if let Some(name) = put.name {
            self.names.entry(name).or_default().push(put.id);
        }
        None
    }

    fn fetch(&mut self, sought: Sought) -> Reply {
        self.fetches += 1;
        let ids = match &sought {
            Sought::Id(id) => vec![*id],
            Sought::Name(network, key) => self.names.get(&(*network, key.clone())).cloned().unwrap_or_default(),
        };
        let values = ids.iter().filter_map(|id| self.values.get(id).cloned()).collect();
        Reply::Fetched { sought, values }
    }
}

/// Two seeds and what they share.
struct Pair {
    worlds: [World; 2],
    shelf: Shelf,
}

const TAGS: [[u8; 8]; 2] = [[1; 8], [2; 8]];

impl Pair {
    fn new() -> Self {
        let mut worlds = [World::warm(), World::warm()];
        for (world, tag) in worlds.iter_mut().zip(TAGS) {
            world.leaving();
            world.seed.join(tag);
            world.seed.handle_reply(world.now, Reply::There(true));
        }
        Self { worlds, shelf: Shelf::default() }
    }

    /// Does what the seeds want of the depot.
    fn serve(&mut self) {
        while let Some((at, call)) = (0..2).find_map(|at| Some((at, self.worlds[at].seed.poll_call()?))) {
            let reply = match call {
                Call::Put(put) => self.shelf.put(put),
                Call::Fetch(sought) => Some(self.shelf.fetch(sought)),
                Call::Knock { number, to, value } => {
                    let other = TAGS.iter().position(|tag| *tag == to);
                    if let Some(other) = other {
                        let World { seed, now, .. } = &mut self.worlds[other];
                        seed.handle_reply(*now, Reply::Knock { value });
                    }
                    Some(Reply::Knocked { number, is_there: other.is_some() })
                }
            };
            let World { seed, now, .. } = &mut self.worlds[at];
            reply.into_iter().for_each(|reply| seed.handle_reply(*now, reply));
        }
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.worlds.iter_mut().for_each(|world| world.pass(1));
            self.serve();
        }
    }

    /// The answer of one seed, which may ask the depot first.
    fn ask(&mut self, at: usize, from: SocketAddr, query: &Query<'_>) -> Vec<u8> {
        let world = &mut self.worlds[at];
        let cookie = world.cookie(from);
        world.seed.handle_datagram(world.now, from, &bytes(query, cookie));
        self.serve();
        let mut out = Vec::new();
        assert_eq!(self.worlds[at].seed.poll_transmit(&mut out), Some(from));
        out
    }

    fn register(&mut self, at: usize, from: SocketAddr, signed: &Signed) -> [u8; TOKEN_LEN] {
        let token = self.worlds[at].token(from, signed);
        self.serve();
        token
    }

    fn seen(&mut self, at: usize, id: RawId) -> Option<SocketAddr> {
        let out = self.ask(at, addr(200), &Query::Lookup { id, watch: false });
        entries(&out).0.first().map(|entry| entry.seen)
    }

    fn disbelieved(&mut self, at: usize) -> u64 {
        self.worlds[at].counters().disbelieved
    }
}

fn alice(seq: u64) -> Signed {
    Signed::new(&identity(1), &record(&identity(1), seq))
}

#[test]
fn who_registers_with_one_is_found_at_the_other_by_id_and_by_name() {
    let mut pair = Pair::new();
    let (alice, bob) = (alice(1), Signed::new(&identity(2), &record(&identity(2), 1)));
    pair.register(0, addr(1), &alice);
    pair.register(1, addr(2), &bob);
    assert_eq!((pair.seen(1, alice.id), pair.seen(0, alice.id)), (Some(addr(1)), Some(addr(1))));
    let find = Query::Find { network: [0; 8], name: "ALICE" };
    for at in [0, 1] {
        let out = pair.ask(at, addr(9), &find);
        let mut seen: Vec<_> = entries(&out).0.iter().map(|entry| entry.seen).collect();
        seen.sort();
        assert_eq!(seen, [addr(1), addr(2)], "each once, whoever has them");
    }
    let elsewhere = Query::Find { network: [1; 8], name: "alice" };
    assert!(matches!(plain(&pair.ask(1, addr(9), &elsewhere)), Answer::NotFound { .. }));
    assert_eq!(pair.disbelieved(0) + pair.disbelieved(1), 0);
}

#[test]
fn a_record_that_does_not_change_is_put_there_every_75_seconds_and_stays_while_it_is_refreshed() {
    let mut pair = Pair::new();
    let alice = alice(1);
    let token = pair.register(0, addr(1), &alice);
    for _ in 0..30 {
        pair.pass(20);
        pair.worlds[0].leaving();
        let refresh = Query::Refresh { id: alice.id, seq: 1, token };
        assert!(matches!(plain(&pair.ask(0, addr(1), &refresh)), Answer::Registered { .. }));
        assert_eq!(pair.seen(1, alice.id), Some(addr(1)));
    }
    assert!((7..=9).contains(&pair.shelf.puts), "{} in 600 s", pair.shelf.puts);
    // Said again, it is no news. It moves: that is told at once.
    let puts = pair.shelf.puts;
    for _ in 0..9 {
        pair.ask(0, addr(1), &alice.register(Some(token)));
    }
    assert!(pair.shelf.puts <= puts + 1, "at most once in 75 s");
    let puts = pair.shelf.puts;
    let refresh = Query::Refresh { id: alice.id, seq: 1, token };
    pair.ask(0, addr(3), &refresh);
    assert_eq!(pair.shelf.puts, puts + 1);
    pair.pass(3);
    assert_eq!(pair.seen(1, alice.id), Some(addr(3)));
    pair.pass(u64::from(HELD));
    assert_eq!(pair.seen(1, alice.id), None, "nobody has heard of it since");
}

#[test]
fn what_was_fetched_or_not_there_is_not_fetched_again_at_once() {
    let mut pair = Pair::new();
    for _ in 0..9 {
        assert_eq!(pair.seen(1, [7; 32]), None);
    }
    assert_eq!(pair.shelf.fetches, 1);
    pair.pass(2);
    assert_eq!(pair.seen(1, [7; 32]), None);
    assert_eq!(pair.shelf.fetches, 2);
}

#[test]
fn many_who_ask_for_one_wait_for_one_fetch() {
    let mut pair = Pair::new();
    let alice = alice(1);
    pair.register(0, addr(1), &alice);
    let world = &mut pair.worlds[1];
    let cookies: Vec<_> = (10..40).map(|n| (n, world.cookie(addr(n)))).collect();
    for (n, cookie) in cookies {
        world.seed.handle_datagram(world.now, addr(n), &bytes(&Query::Lookup { id: alice.id, watch: false }, cookie));
    }
    let at_once = world.leaving();
    assert_eq!(at_once.len(), 14, "16 wait; who comes later is answered without");
    pair.serve();
    let told = pair.worlds[1].leaving();
    assert!(told.len() == 16 && told.iter().all(|(_, out)| entries(out).0.len() == 1));
    assert_eq!(pair.shelf.fetches, 1);
}

#[test]
fn a_depot_that_is_slow_costs_200_ms_and_one_that_is_gone_nothing() {
    let mut world = World::warm();
    world.leaving();
    world.seed.join(TAGS[0]);
    let lookup = Query::Lookup { id: [7; 32], watch: false };
    assert!(matches!(world.told(addr(1), &lookup), Answer::NotFound { .. }), "not there yet");
    world.seed.handle_reply(world.now, Reply::There(true));
    let cookie = world.cookie(addr(1));
    world.seed.handle_datagram(world.now, addr(1), &bytes(&lookup, cookie));
    assert!(world.leaving().is_empty());
    let asked = world.now.instant;
    let mut late = Vec::new();
    while late.is_empty() {
        let next = world.seed.poll_timeout().unwrap();
        world.now = Now { instant: next, ..world.now };
        world.seed.handle_timeout(world.now);
        late = world.leaving();
    }
    assert_eq!(world.now.instant.since(asked), FETCH_TIMEOUT);
    assert!(matches!(plain(&late[0].1), Answer::NotFound { .. }));
    world.seed.handle_reply(world.now, Reply::There(false));
    assert!(matches!(world.told(addr(1), &lookup), Answer::NotFound { .. }), "at once");
    assert_eq!(world.counters().late, 1);
}

/// A thread with much to do reads a question before it sees that the time of an earlier one is up.
#[test]
fn whoever_asks_when_a_fetch_is_over_takes_nobodys_answer_away() {
    let mut world = World::warm();
    world.leaving();
    world.seed.join(TAGS[0]);
    world.seed.handle_reply(world.now, Reply::There(true));
    let lookup = Query::Lookup { id: [7; 32], watch: false };
    let cookies = [1, 2].map(|last| world.cookie(addr(last)));
    world.seed.handle_datagram(world.now, addr(1), &bytes(&lookup, cookies[0]));
    world.now = Now { instant: world.now.instant + FETCH_TIMEOUT, ..world.now };
    world.seed.handle_datagram(world.now, addr(2), &bytes(&lookup, cookies[1]));
    world.seed.handle_timeout(world.now);
    let mut answered: Vec<_> = world.leaving().into_iter().map(|(to, out)| (to, plain(&out))).collect();
    answered.sort_by_key(|(to, _)| *to);
    assert!(
        matches!(&answered[..], [(a, Answer::NotFound { .. }), (b, Answer::NotFound { .. })] if (*a, *b) == (addr(1), addr(2)))
    );
}

#[test]
fn a_depot_that_comes_back_empty_is_filled_by_refreshes() {
    let mut pair = Pair::new();
    let alice = alice(1);
    let token = pair.register(0, addr(1), &alice);
    pair.shelf = Shelf::default();
    let refresh = Query::Refresh { id: alice.id, seq: 1, token };
    pair.ask(0, addr(1), &refresh);
    assert_eq!(pair.seen(1, alice.id), None);
    for world in &mut pair.worlds {
        world.seed.handle_reply(world.now, Reply::There(false));
        world.seed.handle_reply(world.now, Reply::There(true));
    }
    pair.pass(20);
    pair.worlds[0].leaving();
    pair.ask(0, addr(1), &refresh);
    assert_eq!(pair.seen(1, alice.id), Some(addr(1)));
}

#[test]
fn a_farewell_counts_everywhere_and_an_old_record_does_not_come_back() {
    let mut pair = Pair::new();
    let owner = identity(1);
    let (old, farewell) = (alice(1), Signed::new(&owner, &Record { lifetime: 0, ..record(&owner, 2) }));
    pair.register(0, addr(1), &old);
    // Said to the one that does not have it.
    assert_eq!(plain(&pair.ask(1, addr(1), &farewell.unregister())), Answer::Unregistered);
    assert_eq!(pair.seen(1, old.id), None);
    let forged = Signed { signature: [7; 64], ..Signed::new(&owner, &Record { lifetime: 0, ..record(&owner, 3) }) };
    assert_eq!(plain(&pair.ask(1, addr(1), &forged.unregister())), Answer::Refused(Refusal::BadRecord));
    // Whoever has kept the record is heard for a moment, until the depot says what became of it.
    pair.register(1, addr(66), &old);
    assert_eq!(pair.seen(1, old.id), None);
    assert_eq!(plain(&pair.ask(1, addr(66), &old.register(None))), Answer::Refused(Refusal::Stale { seq: 2 }));
    let back = alice(3);
    pair.register(1, addr(1), &back);
    pair.pass(75);
    assert_eq!(pair.seen(0, old.id), Some(addr(1)));
}

#[test]
fn a_stranger_who_has_read_a_record_does_not_take_its_place() {
    let mut pair = Pair::new();
    let (older, alice) = (alice(5), alice(9));
    pair.register(0, addr(1), &alice);
    pair.register(1, addr(66), &older);
    assert_eq!(pair.seen(1, alice.id), Some(addr(1)), "an older one is given up for the newer");
    pair.register(1, addr(66), &alice);
    let in_the_depot = |pair: &Pair| Value::decode(&pair.shelf.values[&alice.id]).unwrap().seen;
    assert_eq!(in_the_depot(&pair), addr(1), "the same one seen elsewhere does not move it");
    let token = pair.register(0, addr(1), &alice);
    let moved = pair.ask(1, addr(2), &alice.register(Some(token)));
    assert!(matches!(plain(&moved), Answer::Registered { .. }), "one key for all tokens");
    assert_eq!(in_the_depot(&pair), addr(2));
}

#[test]
fn a_knock_goes_through_the_seed_at_which_the_other_is_registered() {
    let mut pair = Pair::new();
    let alice = alice(1);
    pair.register(0, addr(1), &alice);
    let knock = Query::Knock { to: alice.id, sealed: b"sealed" };
    assert_eq!(plain(&pair.ask(1, addr(9), &knock)), Answer::Knocked { seen: addr(1) });
    let told = pair.worlds[0].leaving();
    let [(to, out)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(*to, addr(1));
    assert_eq!(Answer::decode(out).unwrap().1, Answer::Notify { from: addr(9), sealed: b"sealed" });
    let nobody = Query::Knock { to: [7; 32], sealed: b"sealed" };
    assert!(matches!(plain(&pair.ask(1, addr(9), &nobody)), Answer::NotFound { .. }));
    assert!(pair.worlds[0].leaving().is_empty());
    // The other seed is gone, and its records are still there for a while.
    let mut value = pair.shelf.values.remove(&alice.id).unwrap();
    value[35..43].copy_from_slice(&[9; 8]);
    pair.shelf.values.insert(alice.id, value);
    pair.pass(3);
    pair.worlds[1].leaving();
    assert!(matches!(plain(&pair.ask(1, addr(8), &knock)), Answer::NotFound { .. }));
}

#[test]
fn what_lies_in_the_depot_is_believed_only_with_its_owners_signature() {
    let mut pair = Pair::new();
    let (owner, alice) = (identity(1), alice(1));
    pair.register(0, addr(1), &alice);
    let good = pair.shelf.values[&alice.id].clone();
    assert!(Value::decode(&good).is_some());
    let other = Signed::new(&identity(2), &record(&identity(2), 1));
    let bob = Value { record: &other.record, signature: other.signature, ..Value::decode(&good).unwrap() }.encode();
    let aimed = |seen: &str| Value { seen: seen.parse().unwrap(), ..Value::decode(&good).unwrap() }.encode();
    let over = Signed::new(&owner, &Record { issued: UNIX - 3_600, ..record(&owner, 1) });
    let over = Value { record: &over.record, signature: over.signature, ..Value::decode(&good).unwrap() }.encode();
    let mut lies = vec![bob, aimed("127.0.0.1:17118"), aimed("203.0.113.9:53"), vec![7; VALUE_LEN_MAX + 1], b"lies".to_vec()];
    // A bit of the address or of when it was heard is the other seed's word; all else is signed or checked.
    for at in (0..9).chain(43..good.len()) {
        let mut lie = good.clone();
        lie[at] ^= 1;
        lies.push(lie);
    }
    let count = lies.len() as u64;
    for mut lie in lies {
        let now = pair.worlds[1].now.unix.0 / 1_000;
        if let Some(heard) = lie.get_mut(27..35) {
            heard.copy_from_slice(&now.to_be_bytes());
        }
        pair.shelf.values.insert(alice.id, lie);
        pair.pass(3);
        assert_eq!(pair.seen(1, alice.id), None);
    }
    let disbelieved = pair.disbelieved(1);
    assert!((count - 4..=count).contains(&disbelieved), "{disbelieved} of {count}; a few only seem to be over");
    pair.shelf.values.insert(alice.id, over);
    pair.pass(3);
    assert_eq!((pair.seen(1, alice.id), pair.disbelieved(1)), (None, disbelieved), "over is no lie");
    pair.worlds[1].seed.handle_reply(pair.worlds[1].now, Reply::Knock { value: b"lies".to_vec() });
    assert_eq!(pair.disbelieved(1), disbelieved + 1);
}

#[test]
fn a_lie_in_the_way_of_a_record_is_written_over() {
    let mut pair = Pair::new();
    let alice = alice(1);
    let mut lie = vec![0xff; 200];
    lie[0] = 1;
    pair.shelf.values.insert(alice.id, lie);
    pair.register(0, addr(1), &alice);
    assert_eq!((pair.seen(1, alice.id), pair.disbelieved(0)), (Some(addr(1)), 1));
}

#[test]
fn names_in_the_depot_are_believed_no_more_than_ids() {
    let mut pair = Pair::new();
    let bob = Signed::new(&identity(2), &Record { name: "bob".to_owned(), ..record(&identity(2), 1) });
    pair.register(0, addr(2), &bob);
    pair.shelf.names.insert(([0; 8], name_key("alice")), vec![bob.id; 50]);
    let find = Query::Find { network: [0; 8], name: "alice" };
    assert!(matches!(plain(&pair.ask(1, addr(9), &find)), Answer::NotFound { .. }));
    assert_eq!(pair.disbelieved(1), 8, "no more than an answer holds are looked at");
}

#[test]
fn answers_from_the_depot_keep_the_bounds_of_all_answers() {
    let mut pair = Pair::new();
    for n in 1..=20_u8 {
        let owner = identity(n.into());
        pair.register(0, addr(n), &Signed::new(&owner, &Record { name: "n".repeat(64), ..record(&owner, 1) }));
    }
    let name = "n".repeat(64);
    let find = Query::Find { network: [0; 8], name: &name };
    let out = pair.ask(1, addr(99), &find);
    let (found, more) = entries(&out);
    assert!(!found.is_empty() && more && out.len() <= 3 * bytes(&find, [0; COOKIE_LEN]).len());
}
