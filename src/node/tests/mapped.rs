//! A router that maps a port to us: what seeds hear of it, and what those who look us up make of it. The seed
//! is played by the test.

use std::collections::BTreeSet;

use super::*;
use crate::{
    crypto::record::verify_record,
    wire::{
        KIND_INITIATION,
        phonebook::{Answer, COOKIE_LEN, Entry, Header, Query, TOKEN_LEN},
        record::{Record, Visibility},
    },
};

const SEED: &str = "203.0.113.200:17118";
/// Where the seed sees everybody.
const SEEN: &str = "203.0.113.77:40000";

/// A node behind a router, as far as a seed sees it.
struct Client {
    side: Side,
    now: Now,
    registered: Vec<(Vec<u8>, [u8; wire::SIGNATURE_LEN])>,
    /// Whom anything but a query was sent to, and its kind.
    sent: BTreeSet<(SocketAddr, u8)>,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Client {
    fn new(number: u8) -> Self {
        let now = Now { instant: Instant::from_start(Duration::from_secs(100)), unix: Unix(1_700_000_000_000) };
        let mut side = side(number, now);
        let loaded = side.store.reader().load().unwrap();
        let identity = Identity::from_secret(&loaded.secret).unwrap();
        let config = NodeConfig {
            name: loaded.name.clone(),
            port: 17118,
            seeds: vec![SEED.to_owned()],
            visibility: Some(Visibility::Findable),
            ..NodeConfig::default()
        };
        side.node = Node::new(config, identity, loaded, side.store.reader(), [number; 32], now);
        let interface = Interface {
            index: 2,
            name: "eth0".to_owned(),
            addrs: vec![(IpAddr::from([192, 168, number, 2]), 24)],
            multicast: true,
            loopback: false,
            point_to_point: false,
        };
        side.node.handle_interfaces(now, vec![interface]);
        Self { side, now, registered: Vec::new(), sent: BTreeSet::new() }
    }

    /// The seed knows this record and nobody else's, and hands no knock on.
    fn run_for(&mut self, time: Duration, known: Option<&(Vec<u8>, [u8; wire::SIGNATURE_LEN])>) {
        let end = self.now.instant + time;
        loop {
            while self.turn(known) {}
            let Some(next) = self.side.node.poll_timeout().filter(|next| *next <= end) else { break };
            self.advance(next.max(self.now.instant));
            self.side.node.handle_timeout(self.now);
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Instant) {
        let step = to.since(self.now.instant);
        self.now = Now { instant: to, unix: self.now.unix.after(step) };
    }

    fn turn(&mut self, known: Option<&(Vec<u8>, [u8; wire::SIGNATURE_LEN])>) -> bool {
        let (node, now) = (&mut self.side.node, self.now);
        if let Some(name) = node.poll_resolve() {
            node.handle_resolved(now, &name, Ok(vec![addr(SEED)]));
            return true;
        }
        if let Some(batch) = node.poll_write() {
            let committed = self.side.store.commit(&batch);
            node.handle_committed(now, batch.id, committed);
            return true;
        }
        let mut out = Vec::new();
        match node.poll_transmit(now, &mut out) {
            Some(Target::Unicast(to)) if to == addr(SEED) => self.play_seed(&out, known),
            Some(Target::Unicast(to)) => _ = self.sent.insert((to, out[0])),
            Some(Target::Multicast { .. }) => {}
            None => return false,
        }
        true
    }

    fn play_seed(&mut self, query: &[u8], known: Option<&(Vec<u8>, [u8; wire::SIGNATURE_LEN])>) {
        let (Header { txid, cookie }, query) = Query::decode(query).unwrap();
        let registered = Answer::Registered { token: [9; TOKEN_LEN], ttl: 75, seen: addr(SEEN) };
        let entry = known.map(|(record, signature)| Entry { record, signature: *signature, seen: addr(SEEN), age: 0 });
        let answer = match query {
            _ if cookie != [7; COOKIE_LEN] => Answer::Cookie { seen: addr(SEEN) },
            Query::Register { record, signature, .. } => {
                self.registered.push((record.to_vec(), signature));
                registered
            }
            Query::Refresh { .. } => registered,
            Query::Lookup { .. } if known.is_some() => Answer::Found { entries: entry.into_iter().collect(), more: false },
            _ => Answer::NotFound { warming: false, retry_after: 60, seeds: Vec::new() },
        };
        let mut bytes = Vec::new();
        answer.encode(Header { txid, cookie: [7; COOKIE_LEN] }, &mut bytes);
        let datagram =
            Datagram { from: addr(SEED), interface: 2, socket: SocketKind::Session, hop_limit: Some(60), bytes: &mut bytes };
        self.side.node.handle_datagram(self.now, datagram);
    }

    fn map(&mut self, outside: Option<&str>) {
        self.side.node.handle_mapped(self.now, outside.map(addr));
        self.run_for(Duration::from_millis(10), None);
    }

    fn records(&self) -> Vec<Record> {
        self.registered.iter().map(|(bytes, signature)| verify_record(bytes, signature).unwrap()).collect()
    }

    /// What the last record that the seed took lists, and how many it took.
    fn listed(&self) -> (usize, Vec<SocketAddr>) {
        let records = self.records();
        assert!(records.is_sorted_by(|one, next| one.seq < next.seq), "each is above the one before");
        (records.len(), records.last().unwrap().addrs.iter().map(|addr| addr.0).collect())
    }
}

const OUTSIDE: &str = "203.0.113.9:17118";

#[test]
fn the_outside_address_is_listed_while_it_leads_to_us() {
    let mut client = Client::new(1);
    client.run_for(Duration::from_secs(1), None);
    assert_eq!(client.listed(), (1, vec![]), "a private address is nobody's business");
    client.map(Some(OUTSIDE));
    assert_eq!(client.listed(), (2, vec![addr(OUTSIDE)]));
    client.map(Some(OUTSIDE));
    assert_eq!(client.listed().0, 2, "a renewed mapping is no news");
    client.map(Some("203.0.113.9:40001"));
    assert_eq!(client.listed(), (3, vec![addr("203.0.113.9:40001")]));
    client.map(None);
    assert_eq!(client.listed(), (4, vec![]));
    assert!(client.sent.is_empty(), "nobody else hears of it: {:?}", client.sent);
}

/// Routers answer sooner than seeds.
#[test]
fn a_record_that_changes_while_it_is_registered_is_registered_at_once() {
    let mut client = Client::new(1);
    client.map(Some(OUTSIDE));
    assert_eq!(client.listed(), (1, vec![addr(OUTSIDE)]));
}

#[test]
fn what_a_router_cannot_mean_is_not_listed_and_nobody_is_told() {
    let mut client = Client::new(1);
    client.run_for(Duration::from_secs(1), None);
    for lie in
        ["10.0.0.9:17118", "100.64.0.9:17118", "0.0.0.0:17118", "127.0.0.1:17118", "255.255.255.255:9999", "203.0.113.9:53"]
    {
        client.map(Some(lie));
    }
    assert_eq!(client.listed(), (1, vec![]));
    let told: Vec<_> = std::iter::from_fn(|| client.side.node.poll_event()).collect();
    assert!(!told.iter().any(|event| matches!(event, Event::Notice { .. })), "{told:?}");
}

#[test]
fn a_mapping_outlives_a_change_of_our_own_addresses_and_is_never_crowded_out() {
    let mut client = Client::new(1);
    client.map(Some(OUTSIDE));
    let mut interface = client.side.node.interfaces[0].clone();
    interface.addrs.extend((1..=9u16).map(|last| (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]), 64)));
    client.side.node.handle_interfaces(client.now, vec![interface]);
    client.run_for(Duration::from_secs(1), None);
    let (_, listed) = client.listed();
    assert_eq!((listed.len(), listed[0]), (wire::record::ADDRS_MAX, addr(OUTSIDE)));
}

/// No hole can be punched, here because the seed hands no knock on: the listed address is tried all the same.
#[test]
fn whoever_looks_us_up_tries_the_outside_address() {
    let mut bob = Client::new(2);
    bob.map(Some(OUTSIDE));
    let known = bob.registered.last().unwrap();
    let mut alice = Client::new(1);
    let send = Command::Send {
        peer: bob.side.node.id(),
        id: MessageId::new(alice.now.unix.0, &[1; 10]),
        kind: 0,
        text: "hi".to_owned(),
        expire: None,
    };
    alice.side.node.handle_command(alice.now, CommandId(1), send);
    alice.run_for(Duration::from_secs(5), Some(known));
    assert!(alice.sent.contains(&(addr(OUTSIDE), KIND_INITIATION)), "{:?}", alice.sent);
}
