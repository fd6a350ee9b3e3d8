//! What the people of a world do: a seeded list of things to ask of machines, by time. Asking itself
//! lives in `world`.

use std::time::Duration;

use p2pchat_udp::wire::{
    TEXT_LEN_MAX,
    message::{CONTENT_ACTION, CONTENT_TEXT},
};

use crate::dice::Dice;

/// Something that a person asks of a machine. Machines are named by number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ask {
    /// A message; the n-th of the world.
    Send { from: usize, to: usize, nth: usize, kind: u64, text: String, expire: Option<Duration> },
    /// The very same command again, as a client does that saw no answer.
    SendAgain { nth: usize },
    /// Withdraw the n-th message of the world.
    Cancel { nth: usize },
    /// Look at somebody's presence, or at nobody's.
    Watch { machine: usize, peer: Option<usize> },
    /// Try now.
    Retry { machine: usize },
    /// List who is there, after the LAN settled.
    Peers { machine: usize },
    /// Call me something else.
    Rename { machine: usize, name: String },
    /// Away, and back.
    Away { machine: usize, away: Option<String> },
    /// The last message shown was read.
    MarkRead { machine: usize },
}

/// A day at the office, in `window`: conversations in bursts and single words, most of them short.
pub(crate) fn draw(dice: &mut Dice, people: usize, window: Duration) -> Vec<(Duration, Ask)> {
    let mut asks = Vec::new();
    let mut messages = 0;
    let huge = dice.chance(30);
    for _ in 0..dice.range(2..=14) {
        let at = dice.between(Duration::ZERO, window);
        let from = dice.index(people);
        let to = (from + 1 + dice.index(people - 1)) % people;
        let burst = if dice.chance(150) { dice.range(10..=40) } else { dice.range(1..=5) };
        let pause = dice.between(Duration::ZERO, Duration::from_millis(400));
        for n in 0..burst {
            let at = at + pause * n as u32;
            let nth = messages;
            messages += 1;
            let kind = if dice.chance(100) { CONTENT_ACTION } else { CONTENT_TEXT };
            let text = text(dice, nth, huge && n == 0);
            let expire = dice.chance(40).then(|| dice.between(Duration::from_millis(100), Duration::from_secs(20)));
            asks.push((at, Ask::Send { from, to, nth, kind, text, expire }));
            if dice.chance(80) {
                asks.push((at + dice.between(Duration::ZERO, Duration::from_secs(5)), Ask::SendAgain { nth }));
            }
            if dice.chance(60) {
                asks.push((at + dice.between(Duration::ZERO, Duration::from_secs(3)), Ask::Cancel { nth }));
            }
        }
    }
    for _ in 0..dice.range(0..=6) {
        let at = dice.between(Duration::ZERO, window);
        let machine = dice.index(people);
        let ask = match dice.below(6) {
            0 => Ask::Watch { machine, peer: dice.chance(700).then(|| (machine + 1) % people) },
            1 => Ask::Retry { machine },
            2 => Ask::Peers { machine },
            3 => Ask::Rename { machine, name: format!("name{}", dice.below(100)) },
            4 => Ask::Away { machine, away: dice.chance(600).then(|| "lunch".to_owned()) },
            _ => Ask::MarkRead { machine },
        };
        asks.push((at, ask));
    }
    asks.sort_by_key(|(at, _)| *at);
    asks
}

/// A text of its own for the n-th message: most are a line, some a page, and one of a huge world's
/// bursts begins with the largest there may be.
fn text(dice: &mut Dice, nth: usize, huge: bool) -> String {
    let len = match dice.below(100) {
        _ if huge && dice.chance(300) => TEXT_LEN_MAX,
        0..=9 => 1,
        10..=79 => dice.range(2..=80) as usize,
        80..=95 => dice.range(81..=1_500) as usize,
        _ => dice.range(1_501..=20_000) as usize,
    };
    text_of(nth, len)
}

/// `len` bytes that no other message of the world has, where there is room for that.
pub(crate) fn text_of(nth: usize, len: usize) -> String {
    let mut text = format!("{nth}:");
    while text.len() < len {
        text.push_str("wire — \u{1f980}");
    }
    let mut end = len;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.extend(std::iter::repeat_n('.', len - end));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_length_that_was_asked_for() {
        for len in [1, 2, 3, 7, 8, 9, 10, 11, 300, TEXT_LEN_MAX] {
            assert_eq!(text_of(12, len).len(), len);
        }
        assert_ne!(text_of(1, 10), text_of(2, 10));
    }

    #[test]
    fn workloads_repeat_and_talk_to_others() {
        for seed in 0..100 {
            let drawn = || draw(&mut Dice::new(seed, "work"), 3, Duration::from_secs(20));
            let asks = drawn();
            assert_eq!(asks, drawn());
            assert!(asks.iter().any(|(_, ask)| matches!(ask, Ask::Send { .. })));
            assert!(asks.iter().all(|(_, ask)| !matches!(ask, Ask::Send { from, to, .. } if from == to)));
        }
    }
}
