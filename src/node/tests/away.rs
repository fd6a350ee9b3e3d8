//! What a peer says about being away, and how often it is listened to.

use super::*;
use crate::wire::message::Presence as Said;

impl Pair {
    /// The first side says so by the session.
    fn says(&mut self, away: bool, text: &str) {
        self.hear(1, &Item::Presence(Said { away, text: text.to_owned() }));
    }

    /// What the second side told of the first, in order.
    fn told_away(&self) -> Vec<String> {
        let told = |event: &Event| match event {
            Event::Peer(view) => Some(format!("{:?} {}", view.presence, view.away_text).trim().to_owned()),
            _ => None,
        };
        self.sides[1].events.iter().filter_map(told).collect()
    }
}

fn met() -> Pair {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    pair.send(0, "hello");
    pair.run_for(Duration::from_secs(10));
    pair.sides[1].events.clear();
    pair
}

#[test]
fn away_its_reason_and_back_are_told() {
    let mut pair = met();
    pair.command(0, Command::SetAway(Some("lunch".to_owned())));
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.told_away(), ["Away lunch"]);
    pair.command(0, Command::SetAway(Some("a nap".to_owned())));
    pair.run_for(Duration::from_secs(2));
    pair.command(0, Command::SetAway(None));
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.told_away(), ["Away lunch", "Away a nap", "Online"]);
}

/// Each time that a peer said something else was an event for every window.
#[test]
fn who_comes_and_goes_without_end_is_told_once_a_second() {
    let mut pair = met();
    for n in 0..1_000 {
        pair.says(n % 2 == 0, if n % 2 == 0 { "again" } else { "" });
        pair.says(true, &format!("reason {n}"));
        pair.run_for(Duration::from_millis(10));
    }
    pair.says(true, "at last");
    pair.run_for(Duration::from_secs(2));
    let told = pair.told_away();
    assert!((5..=24).contains(&told.len()), "{} in 10 s: {told:?}", told.len());
    assert_eq!(told.last().unwrap(), "Away at last");
}
