//! Order and loss where a direction starts anew: a profile that was restored or lost, whose books may be
//! overtaken by what they are about.

use super::*;
use crate::{
    store::row::{ConversationRow, MineRow},
    wire::message::Content,
};

/// What the first side goes on with.
#[derive(Debug, Clone, Copy)]
enum Profile {
    /// A backup from before the first message: its seqs were used since then.
    Restored,
    /// The identity alone.
    Empty,
}

impl Pair {
    /// The first side has spoken, and goes on with an older profile.
    fn went_back(profile: Profile, commit_takes: Duration) -> Self {
        let mut pair = Self::new();
        pair.run_for(Duration::from_millis(20));
        for text in ["one", "two", "three"] {
            pair.send(0, text);
            pair.run_for(Duration::from_secs(1));
        }
        pair.hold_back("five");
        let loaded = pair.sides[0].store.reader().load().unwrap();
        let row = loaded.conversations[0].clone();
        let boot = next_boot(loaded.boot, pair.now.unix);
        let mut store =
            Store::create_backend(InMemoryBackend::new(), &Fresh { secret: loaded.secret, name: loaded.name, boot }).unwrap();
        if let Profile::Restored = profile {
            let mine = MineRow { next: Seq(1), ..row.mine };
            let ops = vec![
                Op::Contact(loaded.contacts[0].clone()),
                Op::Conversation(ConversationRow { mine, yours: Vec::new(), ..row }),
            ];
            store.commit(&WriteBatch { id: BatchId(0), ops: std::sync::Arc::new(ops) }).unwrap();
        }
        // Another machine, and other chances than the first time.
        pair.sides[0].node = start(&store, 3, pair.now);
        pair.sides[0].addr = SocketAddr::from(([192, 0, 2, 3], 17118));
        pair.sides[0].store = store;
        pair.sides[0].committing = None;
        pair.sides.iter_mut().for_each(|side| side.commit_takes = commit_takes);
        pair
    }

    /// The fifth message arrives, the fourth does not.
    fn hold_back(&mut self, text: &str) {
        let (conversation, author, more) = (None, None, Vec::new());
        let (incarnation, message, text) = (self.incarnation(0), MessageId::new(5, &[5; 10]), text.to_owned());
        let content = Content { conversation, incarnation, seq: Seq(5), id: message, author, age_ms: 0, kind: 0, text, more };
        self.hear(1, &Item::Content(content));
        self.run_for(Duration::from_secs(1));
        assert_eq!(self.texts(1).len(), 3, "held back");
    }

    fn notices(&self, side: usize, code: NoticeCode) -> usize {
        let is_it = |event: &&Event| matches!(event, Event::Notice { code: found, .. } if *found == code);
        self.sides[side].events.iter().filter(is_it).count()
    }

    /// Runs until the second side has shown so many texts; how long that took.
    fn time_to_show(&mut self, count: usize) -> Duration {
        let begin = self.now.instant;
        while self.texts(1).len() < count {
            assert!(self.now.instant.since(begin) < Duration::from_secs(120), "lost: {:?}", self.texts(1));
            self.run_for(Duration::from_millis(1));
        }
        self.now.instant.since(begin)
    }
}

/// Content of a new life that comes before its books is refused: they say what became of the life before.
#[test]
fn what_overtakes_its_senders_books_is_neither_lost_nor_shuffled() {
    for profile in [Profile::Restored, Profile::Empty] {
        let mut slowest = Duration::ZERO;
        for lost in 0..40 {
            let mut pair = Pair::went_back(profile, Duration::ZERO);
            pair.loses = Some(lost);
            let long = "x".repeat(600);
            let texts: Vec<_> = (0..10).map(|number| format!("{number} {long}")).collect();
            for text in &texts {
                pair.send(0, text);
            }
            let old = ["one", "two", "three", "five"];
            slowest = slowest.max(pair.time_to_show(old.len() + texts.len()));
            pair.run_for(Duration::from_secs(10));
            assert_eq!(pair.texts(1)[..old.len()], old, "{profile:?}, {lost}");
            assert_eq!(pair.texts(1)[old.len()..], texts, "{profile:?}, {lost}");
            let renewals = usize::from(matches!(profile, Profile::Restored));
            assert_eq!(pair.notices(1, NoticeCode::NewIncarnation), renewals, "{profile:?}, {lost}");
            assert_eq!(pair.sides[0].node.outbox_len, 0, "{profile:?}, {lost}");
        }
        assert!(slowest >= Duration::from_secs(5), "nothing was ever refused: {slowest:?}");
    }
}

#[test]
fn the_first_words_of_a_new_life_wait_for_their_books_and_for_no_second_offer() {
    for (profile, commit, pause) in [Profile::Restored, Profile::Empty].into_iter().flat_map(|profile| {
        [1, 30, 100].into_iter().flat_map(move |commit| [7, 37, 90, 110].map(|pause| (profile, commit, pause)))
    }) {
        let mut pair = Pair::went_back(profile, Duration::from_millis(commit));
        let shown = pair.texts(1).len() + 1;
        for number in 0..10 {
            pair.send(0, &format!("{number}"));
            pair.run_for(Duration::from_millis(pause));
        }
        let took = pair.time_to_show(shown + 10);
        println!("{profile:?}, commits of {commit} ms, one message each {pause} ms: {took:?}");
        assert!(took < Duration::from_secs(1));
    }
}
