//! How long a search of the history takes, with the index and without, in one run (performance: P18), and what the index costs.
//! Texts of about 100 bytes, words as often as in a language (the n-th most usual one in 1/n of the cases), two peers.
//!
//!     cargo bench --bench search -- 10000 100000 1000000
//!     cargo bench --bench search -- sealed 10000 100000 1000000    the same under a password

use std::{
    path::Path,
    time::{Duration, Instant},
};

use p2pchat_udp::{
    clock::Unix,
    crypto::vault::{Cost, Unlock},
    id::{BatchId, BootId, ConversationId, Incarnation, MessageId, PeerId, Seq},
    store::{
        FILE_NAME, Fresh, HistoryQuery, Store,
        row::{Direction, HistoryRow, Op, State, WriteBatch},
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

/// Words that there are.
const VOCABULARY: u32 = 50_000;
/// Rows that a person is shown.
const SHOWN: usize = 20;

fn peer() -> PeerId {
    let mut base = [0x66; 32]; // the base point
    base[0] = 0x58;
    PeerId::from_bytes(base).expect("a valid key")
}

/// The n-th most usual word.
fn word(n: u32) -> String {
    const SYLLABLES: [&str; 16] =
        ["ba", "ke", "li", "mo", "nu", "pa", "re", "si", "to", "vu", "za", "che", "dri", "flo", "gru", "sta"];
    let mut left = n.wrapping_mul(40_503) % 65_536 + 65_536 * (n / 65_536);
    let mut word = String::new();
    loop {
        word.push_str(SYLLABLES[(left % 16) as usize]);
        left /= 16;
        if left == 0 {
            return word;
        }
    }
}

/// Zipf, roughly: e to the power of something even.
fn some_word(rng: &mut ChaCha20Rng) -> String {
    let share = f64::from(rng.next_u32()) / f64::from(u32::MAX);
    word((f64::from(VOCABULARY).powf(share) as u32).saturating_sub(1))
}

fn text(rng: &mut ChaCha20Rng, n: u64) -> String {
    let mut text = String::new();
    while text.len() < 95 {
        text.push_str(&some_word(rng));
        text.push(' ');
    }
    if n % 10_000 == 5_000 {
        text.push_str("needle");
    }
    text
}

fn fill(dir: &Path, messages: u64, sealed: bool) -> Store {
    let fresh = Fresh { secret: [7; 32], name: "alice".to_owned(), boot: BootId(1) };
    let mut store = Store::create(dir, &fresh).expect("an empty directory");
    if sealed {
        drop(store);
        let unlock = Unlock::new("a password".to_owned().into(), [7; 32]);
        Store::set_password(dir, None, Some(&unlock), Cost::NEW).expect("nobody has it open");
        store = Store::unlock(dir, &unlock).expect("it is the one that was set");
    }
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let line = |n: u64, text: String| HistoryRow {
        id: MessageId::new(n, &[1; 10]),
        conversation: ConversationId::from_bytes([1; 32]),
        peer: peer(),
        name: String::new(),
        direction: Direction::In,
        incarnation: Incarnation(1),
        seq: Seq(n),
        kind: 0,
        text,
        more: Vec::new(),
        sent_at: Unix(n),
        received_at: Unix(n),
        late: false,
        state: State::Delivered,
        reason: String::new(),
    };
    for batch in 0..messages.div_ceil(10_000) {
        let numbers = batch * 10_000 + 1..=((batch + 1) * 10_000).min(messages);
        let ops: Vec<_> = numbers.map(|n| Op::Receive(line(n, text(&mut rng, n)))).collect();
        store.commit(WriteBatch { id: BatchId(batch + 1), ops: ops.into() }).expect("nothing is wrong with the disk");
    }
    store
}

/// The best of some, since others use this machine too.
fn time(store: &Store, words: &[&str], times: u32) -> (Duration, usize) {
    let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    let query = HistoryQuery { words, limit: SHOWN, ..HistoryQuery::default() };
    let reader = store.reader();
    let mut found = 0;
    let best = (0..times).map(|_| {
        let began = Instant::now();
        found = reader.history(&query).expect("nothing is wrong with the disk").rows.len();
        began.elapsed()
    });
    (best.min().unwrap_or_default(), found)
}

fn main() {
    let sealed = std::env::args().any(|arg| arg == "sealed");
    let sizes: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 100_000] } else { sizes };
    let usual = word(0);
    let (second, rare) = (word(1), word(VOCABULARY - 7));
    let phrase = format!("{usual} {second}");
    let beginning = format!("{}*", &rare[..3]);
    let searches: [(&str, Vec<&str>); 7] = [
        ("a rare word, 1 in 10,000", vec!["needle"]),
        ("the most usual word", vec![&usual]),
        ("two usual words", vec![&usual, &second]),
        ("a usual and a rare word", vec![&usual, "needle"]),
        ("a beginning", vec![&beginning]),
        ("a phrase", vec![&phrase]),
        ("a word that is not there", vec!["nowhere"]),
    ];
    for messages in sizes {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut store = fill(dir.path(), messages, sealed);
        let size = || std::fs::metadata(dir.path().join(FILE_NAME)).map_or(0, |file| file.len());
        let times = if messages > 100_000 { 3 } else { 10 };
        let read: Vec<_> = searches.iter().map(|(_, words)| time(&store, words, times)).collect();
        let (before, began) = (size(), Instant::now());
        while store.index() {}
        let (took, after) = (began.elapsed(), size());
        println!(
            "{messages} messages; {:.1} MB, with the index {:.1} MB; made in {took:.1?}, {:.1} us each",
            before as f64 / 1e6,
            after as f64 / 1e6,
            took.as_secs_f64() * 1e6 / messages as f64
        );
        for ((what, words), (read, there)) in searches.iter().zip(read) {
            let (indexed, found) = time(&store, words, times * 10);
            assert_eq!(there, found, "{what}");
            println!("  {what:<26} {found:>3} found: {indexed:>10.1?}, by reading {read:>10.1?}");
        }
    }
}
