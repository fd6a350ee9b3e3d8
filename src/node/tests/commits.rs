//! How often the disk is asked for what.

use super::*;

impl Pair {
    /// Batches that a side has handed to its disk.
    fn batches(&self, side: usize) -> u64 {
        self.sides[side].node.batches.growing().0
    }

    fn run_until_delivered(&mut self, message: MessageId) {
        while self.states(0, message).last() != Some(&State::Delivered) {
            self.run_for(Duration::from_micros(10));
        }
    }
}

#[test]
fn a_receipt_costs_no_commit_of_its_own_where_the_next_message_follows() {
    let mut pair = Pair::new();
    pair.run_for(Duration::from_millis(20));
    pair.send(0, "hello");
    pair.run_for(Duration::from_secs(1));
    pair.sides.iter_mut().for_each(|side| side.commit_takes = Duration::from_micros(300));
    let before = [pair.batches(0), pair.batches(1)];
    for number in 0..20 {
        let message = pair.send(0, &format!("{number}"));
        let asked = pair.now.instant;
        pair.run_until_delivered(message);
        // Two commits, and what is sent in between.
        let took = pair.now.instant.since(asked);
        assert!(took < Duration::from_micros(600) + 3 * DELAY, "{took:?}");
    }
    assert_eq!([0, 1].map(|side| pair.batches(side) - before[side]), [20, 20]);
    // The last one's has nothing to go along with.
    pair.run_for(Duration::from_millis(5));
    assert_eq!(pair.batches(0) - before[0], 21);
    assert_eq!(pair.sides[0].store.reader().load().unwrap().outbox_len, 0);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.batches(0) - before[0], 21);
}
