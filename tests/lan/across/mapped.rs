//! A router that maps ports to whoever asks, and what that is good for.

use super::{FAR, SEEDS, World, befriend};
use crate::router::Nat;

#[test]
fn whom_no_hole_joins_a_mapped_port_does() {
    let Some(world) = World::new([Nat::Symmetric; 2]) else { return };
    let gateway = world.routers[0].natpmp("203.0.113.1");
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS[..1]), world.person(1, 0, "bob", &SEEDS[..1]));
    let (mut at_alice, mut at_bob) = (alice.start(), bob.start());
    assert_eq!(gateway.says(), "mapped 10.1.0.2:17118");
    befriend(&mut at_alice, &mut at_bob);
    println!("message to a mapped port: {:?}", at_bob.deliver(&at_alice.id(), "through", FAR));
    let line = at_bob.reaches(&at_alice.id(), "direct", FAR);
    assert_eq!(line["addr"], "203.0.113.1:17118");
    println!("and back: {:?}", at_alice.deliver(&at_bob.id(), "back", FAR));
    alice.stop();
    assert_eq!(gateway.says(), "removed 10.1.0.2:17118");
}
