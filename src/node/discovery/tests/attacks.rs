//! What somebody on the LAN may try, and what it gets him.

use std::{net::SocketAddr, time::Duration};

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use super::{
    super::{
        Arrival, Destination, Discovery, DiscoveryEvent, Ignored, NEIGHBOURS_MAX, NEIGHBOURS_PER_SOURCE_MAX,
        SIGNATURES_PER_SECOND_MAX,
    },
    lan::{ETH, Ids, Lan, PORT, START, config, ethernet, known, ms, sign, v4, v6, verify},
};
use crate::{
    id::{BootId, PeerId},
    wire::announce::{Announce, FLAG_ANSWER, FLAG_ANSWER_ME, FLAG_LEAVING},
};

fn from_v4(n: usize) -> Arrival {
    Arrival { from: SocketAddr::new(v4(n).into(), PORT), interface: ETH, on_link: true }
}

fn question(id: PeerId, boot: u64, seq: u64) -> Announce {
    Announce {
        id,
        boot: BootId(boot),
        seq,
        port: PORT,
        ttl: 3_600,
        network: [0; 8],
        flags: FLAG_ANSWER_ME,
        peers: 1,
        digest: seq,
        nonce: seq + 1,
        name: "mallory".to_owned(),
        ext: Vec::new(),
        pad: 200,
    }
}

/// A victim that is alone and past its burst.
fn victim() -> Lan {
    let mut lan = Lan::cold(1, 1, ms(0), true);
    lan.run_until(START + ms(10_000));
    lan
}

#[test]
fn ten_thousand_fakes_a_second_do_not_hide_a_real_peer() {
    // One machine that makes up valid people, and one that makes up sources and signs nothing.
    for valid in [true, false] {
        let mut lan = victim();
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let mut ids = Ids::new(5);
        let pool: Vec<_> = Ids::new(6).take(500).collect();
        let mut real = None;
        for n in 0..20_000u64 {
            lan.run_for(Duration::from_micros(100));
            if n == 4_000 {
                let id = Ids::new(1).next().unwrap();
                let name = config(id, 1, "real");
                real = Some((lan.add(name, vec![ethernet(Some(v4(9)), Some(v6(9)))], lan.now), id));
            }
            let source = if valid { 66 } else { 1_000 + rng.next_u32() as usize % 60_000 };
            let id = if valid { ids.next().unwrap() } else { pool[rng.next_u32() as usize % pool.len()] };
            let mut datagram = sign(&question(id, 1, n));
            if !valid {
                *datagram.last_mut().unwrap() ^= 1;
            }
            for to in 0..lan.nodes.len() {
                lan.deliver(to, from_v4(source), &datagram).ok();
            }
        }
        let (n, id) = real.unwrap();
        let up = lan.nodes[n].up.unwrap();
        let (there, back) = (lan.nodes[0].knows.get(&id), lan.nodes[n].knows.get(&lan.nodes[0].id));
        let found = there.copied().zip(back.copied()).map(|(there, back)| there.max(back).since(up));
        println!("flood, valid keys {valid}: found after {found:?}, {} checked", lan.nodes[0].checked);
        assert!(found.is_some_and(|found| found < Duration::from_secs(5)), "{found:?}");
        assert!(lan.nodes[0].checked <= u64::from(3 * SIGNATURES_PER_SECOND_MAX) + 1_000);
        assert!(lan.here(0).len() <= NEIGHBOURS_PER_SOURCE_MAX + 1);
        lan.nodes.iter().for_each(|node| node.discovery.neighbours.check());
    }
}

#[test]
fn the_table_stays_bounded_and_keeps_contacts() {
    let mut lan = Lan::new(2);
    let friend = Ids::new(3).next().unwrap();
    let mut me = config(Ids::new(0).next().unwrap(), 1, "me");
    me.known.push(known(friend, 0, 0));
    lan.add(me, vec![ethernet(Some(v4(0)), None)], START);
    lan.run_for(ms(10));
    lan.deliver(0, from_v4(5), &sign(&question(friend, 1, 1))).unwrap();
    for (n, id) in Ids::new(5).take(NEIGHBOURS_MAX + 500).enumerate() {
        lan.run_for(ms(1));
        lan.deliver(0, from_v4(100 + n / 10), &sign(&question(id, 1, 1))).unwrap();
    }
    assert_eq!(lan.here(0).len(), NEIGHBOURS_MAX);
    assert!(lan.here(0).contains(&friend));
    lan.nodes[0].discovery.neighbours.check();
    let expired = lan.nodes[0].events.iter().filter(|(_, event)| matches!(event, DiscoveryEvent::Expired { .. })).count();
    assert_eq!(expired, 501, "whoever was crowded out is said to be gone");
}

#[test]
fn everything_replayed_three_times_changes_nothing() {
    let mut lan = Lan::cold(3, 4, ms(300), true);
    lan.record = Some(Vec::new());
    lan.run_until(START + ms(40_000));
    // One restarts with a new address, one says goodbye.
    let id = lan.nodes[0].id;
    lan.kill(0);
    lan.nodes[0].interfaces.clear();
    let again = lan.add(config(id, 1_700_000_000_001, "person0000"), vec![ethernet(Some(v4(20)), Some(v6(20)))], lan.now);
    lan.run_for(ms(10_000));
    lan.act(1, |discovery, now| discovery.leave(now));
    lan.run_for(ms(100));
    let shown = |lan: &Lan, n: usize| -> Vec<_> { lan.nodes[n].discovery.neighbours().cloned().collect() };
    let before: Vec<_> = [2, 3, again].map(|n| (shown(&lan, n), lan.nodes[n].events.len())).into();
    let record = lan.record.take().unwrap();
    assert!(record.len() > 40);
    for _ in 0..3 {
        for (_, datagram) in &record {
            for to in [2, 3, again] {
                // From where the attacker sits, as multicast and straight to the session socket.
                lan.deliver(to, from_v4(66), datagram).ok();
                lan.deliver(to, Arrival { interface: 0, on_link: false, ..from_v4(66) }, datagram).ok();
            }
        }
    }
    for (n, (neighbours, events)) in [2, 3, again].into_iter().zip(before) {
        for (old, new) in neighbours.iter().zip(shown(&lan, n)) {
            assert_eq!((old.id, old.boot, &old.name, old.last_heard), (new.id, new.boot, &new.name, new.last_heard));
            // The very last announce may come by one more address; the real ones stay candidates.
            assert!(old.addrs.iter().all(|addr| new.addrs.contains(addr)), "{old:?} {new:?}");
        }
        assert_eq!(neighbours.len(), shown(&lan, n).len(), "nobody came back from the dead, nobody was sent away");
        let news = &lan.nodes[n].events[events..];
        let harmless = |event: &DiscoveryEvent| matches!(event, DiscoveryEvent::Heard { came: false, new_boot: false, .. });
        assert!(news.iter().all(|(_, event)| harmless(event)), "{news:?}");
    }
}

#[test]
fn what_was_known_before_a_restart_of_ours_stays_known() {
    let mut me = config(Ids::new(0).next().unwrap(), 1, "me");
    let friend = Ids::new(3).next().unwrap();
    me.known.push(known(friend, 7, 40));
    let mut lan = Lan::new(4);
    lan.add(me, vec![ethernet(Some(v4(0)), None)], START);
    lan.run_for(ms(10));
    for (boot, seq) in [(6, 90), (7, 39), (7, 40)] {
        assert_eq!(lan.deliver(0, from_v4(5), &sign(&question(friend, boot, seq))), Err(Ignored::Old));
    }
    assert_eq!(lan.deliver(0, from_v4(5), &sign(&question(friend, 7, 41))), Ok(()));
    let leaving = Announce { flags: FLAG_LEAVING, ..question(friend, 7, 42) };
    assert_eq!(lan.deliver(0, from_v4(5), &sign(&leaving)), Ok(()));
    assert_eq!(lan.deliver(0, from_v4(5), &sign(&question(friend, 7, 41))), Err(Ignored::Old));
    assert!(lan.here(0).is_empty());
}

#[test]
fn nothing_from_elsewhere_is_heard_without_being_asked_for() {
    let mut lan = victim();
    let mut ids = Ids::new(5);
    let routed = Arrival { on_link: false, ..from_v4(5) };
    let answer = |id, nonce| Announce { flags: FLAG_ANSWER, nonce, ..question(id, 1, 1) };
    assert_eq!(lan.deliver(0, routed, &sign(&question(ids.next().unwrap(), 1, 1))), Err(Ignored::NotAsked));
    assert_eq!(lan.deliver(0, routed, &sign(&answer(ids.next().unwrap(), 1))), Err(Ignored::NotAsked));
    let other_interface = Arrival { interface: 77, ..from_v4(5) };
    assert_eq!(lan.deliver(0, other_interface, &sign(&question(ids.next().unwrap(), 1, 1))), Err(Ignored::Interface));
    for bad in
        ["192.168.1.1:17118", "0.0.0.0:17118", "224.0.0.178:17118", "255.255.255.255:17118", "127.0.0.1:17118", "10.0.0.9:53"]
    {
        let from = Arrival { from: bad.parse().unwrap(), ..from_v4(5) };
        assert_eq!(lan.deliver(0, from, &sign(&question(ids.next().unwrap(), 1, 1))), Err(Ignored::Address), "{bad}");
    }
    let aimed = Announce { port: 53, ..question(ids.next().unwrap(), 1, 1) };
    assert_eq!(lan.deliver(0, from_v4(5), &sign(&aimed)), Err(Ignored::Address), "no system service is a peer");
    let mut forged = sign(&question(ids.next().unwrap(), 1, 1));
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(lan.deliver(0, from_v4(5), &forged), Err(Ignored::Signature));
    assert!(lan.here(0).is_empty());
    assert_eq!(lan.tap.iter().filter(|seen| !seen.multicast).count(), 0, "and nothing was answered");
}

#[test]
fn a_source_is_answered_once_a_second_and_a_question_once() {
    let mut lan = victim();
    let answers = |lan: &Lan| lan.tap.iter().filter(|seen| !seen.multicast).count();
    for (n, id) in Ids::new(5).take(50).enumerate() {
        lan.run_for(ms(18));
        let datagram = sign(&question(id, 1, n as u64));
        let again = (0..5).filter(|_| lan.deliver(0, from_v4(5), &datagram).is_ok()).count();
        assert_eq!(again, 1, "the same bytes again are no news");
    }
    assert_eq!(answers(&lan), 1, "50 people at one address within 0.9 s");
    lan.run_for(ms(1_000));
    lan.deliver(0, from_v4(5), &sign(&question(Ids::new(6).next().unwrap(), 1, 1))).unwrap();
    assert_eq!(answers(&lan), 2);
}

#[test]
fn a_copy_of_my_profile_is_noticed_on_both_sides_and_a_recording_of_me_is_not_one() {
    for (mine, theirs) in [(1_000, 2_000), (2_000, 1_000)] {
        let mut lan = Lan::new(6);
        let id = Ids::new(0).next().unwrap();
        lan.add(config(id, mine, "me"), vec![ethernet(Some(v4(0)), Some(v6(0)))], START);
        lan.run_for(ms(5_000));
        lan.add(config(id, theirs, "me"), vec![ethernet(Some(v4(1)), Some(v6(1)))], lan.now);
        lan.run_for(ms(2_000));
        for node in &lan.nodes {
            let told = node.events.iter().filter(|(_, event)| *event == DiscoveryEvent::MyIdElsewhere).count();
            assert_eq!(told, 1, "boots {mine} and {theirs}");
        }
    }
    let mut lan = victim();
    let old = question(lan.nodes[0].id, 5, 9);
    lan.deliver(0, from_v4(5), &sign(&old)).unwrap();
    lan.run_for(ms(5_000));
    assert!(lan.nodes[0].events.is_empty(), "an old boot of mine, from the air");
}

#[test]
fn another_version_is_told_once() {
    let mut lan = victim();
    let mut datagram = sign(&question(Ids::new(5).next().unwrap(), 1, 1));
    datagram[5] += 1;
    for _ in 0..3 {
        assert_eq!(lan.deliver(0, from_v4(5), &datagram), Err(Ignored::OtherVersion));
    }
    assert_eq!(lan.nodes[0].events.iter().map(|(_, event)| event).collect::<Vec<_>>(), [&DiscoveryEvent::OtherVersion]);
}

/// One question to a fresh discovery; the lengths of the answers.
fn answers_to(datagram: &[u8], name: &str) -> Vec<usize> {
    let id = Ids::new(0).next().unwrap();
    let mut discovery = Discovery::new(config(id, u64::MAX, name), [7; 32], START);
    discovery.handle_interfaces(START, &[ethernet(Some(v4(0)), None)]);
    while discovery.poll_announce().is_some() {}
    discovery.handle_datagram(START + ms(1), from_v4(3), datagram, verify).ok();
    let mut lens = Vec::new();
    while let Some(outgoing) = discovery.poll_announce() {
        assert!(matches!(outgoing.to, Destination::Unicast(to) if to == from_v4(3).from), "to whoever asked, nobody else");
        lens.push(sign(&outgoing.announce).len());
    }
    lens
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_is_larger_than_its_question(
        pick in 0usize..20, boot: u64, seq: u64, port in 1u16.., ttl: u16, flags: u8, peers: u32, digest: u64, nonce: u64,
        name in "[a-zä]{0,32}", ext in proptest::collection::vec(any::<u8>(), 0..=128), pad in 0usize..=256, mine in "[a-z]{1,64}",
    ) {
        let id = Ids::new(9).nth(pick).unwrap();
        let asked = Announce { id, boot: BootId(boot), seq, port, ttl, network: [0; 8], flags, peers, digest, nonce, name, ext, pad };
        let datagram = sign(&asked);
        let lens = answers_to(&datagram, &mine);
        prop_assert!(lens.len() <= 1 && lens.iter().sum::<usize>() <= datagram.len(), "{lens:?} > {}", datagram.len());
    }

    #[test]
    fn noise_is_never_answered(mut datagram in proptest::collection::vec(any::<u8>(), 0..400), change: (u16, u8)) {
        prop_assert!(answers_to(&datagram, "me").is_empty());
        // Nor is an announce with one byte changed.
        datagram = sign(&question(Ids::new(9).next().unwrap(), 1, 1));
        let at = usize::from(change.0) % datagram.len();
        datagram[at] ^= change.1.max(1);
        prop_assert!(answers_to(&datagram, "me").is_empty());
    }
}

#[test]
fn an_honest_question_has_room_for_the_longest_name() {
    let mut asker = Discovery::new(config(Ids::new(4).next().unwrap(), 1_700_000_000_000, "a"), [1; 32], START);
    asker.handle_interfaces(START, &[ethernet(Some(v4(3)), None)]);
    let asked = asker.poll_announce().unwrap().announce;
    assert_eq!(answers_to(&sign(&asked), &"n".repeat(64)).len(), 1);
}
