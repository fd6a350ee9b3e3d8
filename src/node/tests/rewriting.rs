//! Another text in the place of a message that nobody has seen.

use super::*;

impl Pair {
    fn rewrite(&mut self, message: MessageId, text: &str) -> (MessageId, CommandId) {
        let id = MessageId::new(self.now.unix.0 + self.sides[0].commands, &[0xee; 10]);
        (id, self.command(0, Command::Rewrite { message, id, text: text.to_owned() }))
    }

    fn kill(&mut self, side: usize) {
        let loaded = self.sides[side].store.reader().load().unwrap();
        let boot = Op::Boot(next_boot(loaded.boot, self.now.unix));
        self.sides[side].store.commit(&WriteBatch { id: BatchId(0), ops: std::sync::Arc::new(vec![boot]) }).unwrap();
        self.sides[side].committing = None;
        self.sides[side].node = start(&self.sides[side].store, side as u8 + 1, self.now);
    }

    fn lines(&self) -> Vec<(String, State)> {
        let rows = self.sides[0].store.reader().history(&HistoryQuery::default()).unwrap().rows;
        rows.into_iter().map(|(_, row)| (row.text, row.state)).collect()
    }
}

/// The first side has three messages for the second, which it has never reached.
fn waiting() -> (Pair, [MessageId; 3]) {
    let mut pair = Pair::new();
    pair.cut = true;
    let messages = ["one", "two", "three"].map(|text| pair.send(0, text));
    pair.run_for(Duration::from_secs(60));
    (pair, messages)
}

#[test]
fn the_new_text_comes_in_the_place_of_the_old_one_also_after_a_crash() {
    for is_killed in [false, true] {
        let (mut pair, [_, two, three]) = waiting();
        if is_killed {
            pair.kill(0);
            pair.run_for(Duration::from_secs(1));
        }
        let (new, command) = pair.rewrite(two, "zwei");
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.replies(0, command), [Reply::Queued(new)]);
        assert_eq!((pair.states(0, two).last(), pair.states(0, new).last()), (Some(&State::Cancelled), Some(&State::Queued)));
        // Once more, and the last one too.
        let (again, _) = pair.rewrite(new, "dos");
        pair.rewrite(three, "tres");
        if is_killed {
            pair.run_for(Duration::from_millis(1));
            pair.kill(0);
        }
        pair.cut = false;
        pair.run_for(Duration::from_secs(120));
        assert_eq!(pair.texts(1), ["one", "dos", "tres"]);
        let row = pair.sides[0].store.reader().own_by_id(again).unwrap().unwrap();
        assert_eq!(row.state, State::Delivered);
        let (delivered, cancelled) = (State::Delivered, State::Cancelled);
        let expected = [
            ("one", delivered),
            ("two", cancelled),
            ("three", cancelled),
            ("zwei", cancelled),
            ("dos", delivered),
            ("tres", delivered),
        ];
        assert_eq!(pair.lines(), expected.map(|(text, state)| (text.to_owned(), state)));
        assert_eq!(pair.sides[0].store.reader().load().unwrap().outbox_len, 0);
    }
}

#[test]
fn what_may_have_been_seen_is_not_edited_whatever_crashes() {
    // Its receiver has it and has not said so: nothing that it says comes back.
    for is_killed in [false, true] {
        let mut pair = Pair::new();
        pair.run_for(Duration::from_millis(20));
        pair.send(0, "hello");
        pair.run_for(Duration::from_secs(1));
        pair.sides[1].commit_takes = Duration::from_secs(3_600);
        let message = pair.send(0, "secret");
        pair.run_for(Duration::from_millis(20));
        if is_killed {
            pair.kill(0);
            pair.cut = true;
        }
        let (_, command) = pair.rewrite(message, "nothing");
        pair.run_for(Duration::from_millis(100));
        assert_eq!(pair.replies(0, command), [Reply::Failed(CommandError::TooLate)]);
        let (_, command) = pair.rewrite(MessageId::new(1, &[1; 10]), "what?");
        pair.run_for(Duration::from_millis(100));
        assert_eq!(pair.replies(0, command), [Reply::Failed(CommandError::NoSuchMessage)]);
    }
}

#[test]
fn what_waited_before_a_session_leaves_only_once_the_disk_says_that_it_may_have() {
    let (mut pair, [one, ..]) = waiting();
    pair.sides[0].commit_takes = Duration::from_secs(1);
    pair.cut = false;
    let mut first = None;
    while pair.texts(1).is_empty() {
        pair.run_for(Duration::from_millis(10));
        let peer = pair.id(1);
        let stored = pair.sides[0].store.reader().load().unwrap().conversations.remove(0).mine.sent_below;
        if pair.sides[0].node.session(&peer).is_some() && stored == Some(Seq(1)) {
            first = Some(pair.now.instant);
            assert!(!pair.states(0, one).contains(&State::Sent), "the disk does not know yet");
        }
    }
    assert!(first.is_some(), "the session was up before");
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.texts(1), ["one", "two", "three"]);
}

#[test]
fn a_full_disk_refuses_the_edit_and_the_old_text_goes_out() {
    let (mut pair, [_, two, _]) = waiting();
    pair.sides[0].full = true;
    let (_, command) = pair.rewrite(two, "zwei");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.replies(0, command), [Reply::Failed(CommandError::DiskFull)]);
    pair.cut = false;
    pair.run_for(Duration::from_secs(30));
    pair.sides[0].full = false;
    pair.run_for(Duration::from_secs(90));
    assert_eq!(pair.texts(1), ["one", "two", "three"]);
    assert_eq!(pair.lines().iter().map(|line| line.1).collect::<Vec<_>>(), [State::Delivered; 3]);
}
