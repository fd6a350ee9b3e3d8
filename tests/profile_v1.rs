//! The profile that the first version made (tests/fixtures/profile-v1) opens for ever.
//!
//! It was made by `PROFILE_V1_MAKE=1 cargo test --test profile_v1`, which refuses to touch one that is
//! there: it is never made again.

use std::{collections::BTreeMap, env, fs, path::Path, sync::Arc};

use p2pchat_udp::{
    clock::Unix,
    id::{BatchId, BootId, ConversationId, Incarnation, MessageId, PeerId, Seq},
    store::{
        FILE_NAME, Fresh, HistoryQuery, Store,
        row::{
            Contact, ConversationRow, Direction, HELD_VOID, HistoryRow, MineRow, Op, OutboxRow, State, Trust, VoidReason,
            WriteBatch, YoursRow,
        },
    },
};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/profile-v1");
const SECRET: [u8; 32] = *b"the secret of the first profile.";

fn peer(n: usize) -> PeerId {
    let keys = (0..=u8::MAX).map(|i| ed25519_dalek::SigningKey::from_bytes(&[i; 32]).verifying_key().to_bytes());
    keys.filter_map(|key| PeerId::from_bytes(key).ok()).nth(n).unwrap()
}

fn conversation(n: usize) -> ConversationId {
    ConversationId::direct(&peer(0), &peer(n))
}

fn id(n: u64) -> MessageId {
    MessageId::new(1_700_000_000_000 + n, &[5; 10])
}

fn line(with: usize, direction: Direction, seq: u64, n: u64, text: &str) -> HistoryRow {
    HistoryRow {
        id: id(n),
        conversation: conversation(with),
        peer: peer(with),
        name: String::new(),
        direction,
        incarnation: Incarnation(1),
        seq: Seq(seq),
        kind: n % 2,
        text: text.to_owned(),
        more: if direction == Direction::In { vec![0x81, 0xa2, b'r', b'e', 1] } else { Vec::new() },
        sent_at: Unix(1_700_000_000_000 + n),
        received_at: Unix(1_700_000_060_000 + n),
        late: direction == Direction::In,
        state: if direction == Direction::In { State::Delivered } else { State::Queued },
        reason: String::new(),
    }
}

fn waiting(line: &HistoryRow) -> OutboxRow {
    OutboxRow {
        conversation: line.conversation,
        peer: line.peer,
        seq: line.seq,
        id: line.id,
        kind: line.kind,
        text: line.text.clone(),
        created: line.sent_at,
        expires: Some(Unix(1_800_000_000_000)),
        void: None,
    }
}

fn contact() -> Contact {
    Contact {
        id: peer(1),
        more_ids: Vec::new(),
        name: "bob".to_owned(),
        petname: Some("Bob from the lab".to_owned()),
        trust: Trust::Seen,
        added: true,
        since: Unix(1_700_000_000_000),
        last_heard: Some(Unix(1_700_000_100_000)),
        boot: BootId(1_700_000_000_001),
        announce_seq: 12,
        addresses: vec!["192.0.2.7:17118".parse().unwrap(), "[2001:db8::7]:17119".parse().unwrap()],
        seeds: Vec::new(),
        request: None,
        receipts: None,
        refused: false,
    }
}

fn counters() -> ConversationRow {
    ConversationRow {
        id: conversation(1),
        peer: peer(1),
        mine: MineRow { incarnation: Incarnation(2), next: Seq(5), previous: Some((Incarnation(1), Seq(9))), sent_below: None },
        yours: vec![YoursRow { incarnation: Incarnation(1), high_water: Seq(2), held: vec![(Seq(4), Seq(5))] }],
        unread: 0,
        read: Vec::new(),
    }
}

fn lines() -> [HistoryRow; 6] {
    [
        line(1, Direction::Out, 1, 1, "delivered"),
        line(1, Direction::Out, 2, 2, "waits, with ümläuts and 日本語"),
        line(1, Direction::Out, 3, 3, "withdrawn"),
        line(1, Direction::In, 1, 4, "read"),
        line(1, Direction::In, 2, 5, "unread"),
        line(2, Direction::In, 1, 6, &"long ".repeat(3_000)),
    ]
}

fn make(dir: &Path) {
    assert!(!dir.exists(), "{} is there: it is never made again", dir.display());
    let fresh = Fresh { secret: SECRET, name: "alice".to_owned(), boot: BootId(1) };
    let mut store = Store::create(dir, &fresh).unwrap();
    let [delivered, waits, withdrawn, read, unread, long] = lines();
    let hole = OutboxRow { void: Some(VoidReason::Cancelled), text: String::new(), ..waiting(&withdrawn) };
    let ops = vec![
        Op::Boot(BootId(7)),
        Op::Contact(contact()),
        Op::Conversation(counters()),
        Op::Queue(waiting(&delivered), delivered),
        Op::Queue(waiting(&waits), waits),
        Op::Queue(waiting(&withdrawn), withdrawn),
        Op::Settle { conversation: conversation(1), seq: Seq(1), state: State::Delivered, reason: "" },
        Op::Outbox(hole),
        Op::Receive(read),
        Op::Receive(unread),
        Op::Receive(long),
        Op::MarkRead(peer(1), id(4)),
        Op::Hold(line(1, Direction::In, 4, 7, "held")),
        Op::Hold(HistoryRow { kind: HELD_VOID, text: String::new(), ..line(1, Direction::In, 5, 8, "") }),
    ];
    store.commit(WriteBatch { id: BatchId(1), ops: Arc::new(ops) }).unwrap();
}

#[test]
fn the_first_profile_opens_and_holds_what_it_held() {
    if env::var_os("PROFILE_V1_MAKE").is_some() {
        make(Path::new(FIXTURE));
    }
    let dir = tempfile::tempdir().unwrap();
    fs::copy(Path::new(FIXTURE).join(FILE_NAME), dir.path().join(FILE_NAME)).unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let reader = store.reader();

    let loaded = reader.load().unwrap();
    assert_eq!((loaded.secret, loaded.name.as_str(), loaded.boot), (SECRET, "alice", BootId(7)));
    assert_eq!((loaded.contacts, loaded.conversations), (vec![contact()], vec![counters()]));
    assert_eq!(loaded.outbox_counts, BTreeMap::from([(conversation(1), (Seq(2), 2))]));
    assert_eq!(loaded.damaged, []);

    let mut expected = lines();
    expected[0].state = State::Delivered;
    expected[3].state = State::Read;
    let history = reader.history(&HistoryQuery::default()).unwrap();
    assert_eq!(history.rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>(), expected);
    let outbox = reader.outbox_page(None, 256).unwrap().rows;
    let hole = OutboxRow { void: Some(VoidReason::Cancelled), text: String::new(), ..waiting(&expected[2]) };
    assert_eq!(outbox, [waiting(&expected[1]), hole]);
    assert_eq!(reader.unread().unwrap(), BTreeMap::from([(peer(1), 1), (peer(2), 1)]));
    let held = |seq| reader.held(conversation(1), Incarnation(1), Seq(seq)).unwrap().rows;
    assert_eq!((held(4)[0].text.as_str(), held(5)[0].kind), ("held", HELD_VOID));
    assert_eq!(reader.received_id(conversation(1), Incarnation(1), Seq(2)).unwrap(), Some(id(5)));

    // And it can be written on.
    let ops = vec![Op::Release(conversation(1), Incarnation(1), Seq(4))];
    let committed = store.commit(WriteBatch { id: BatchId(1), ops: Arc::new(ops) }).unwrap();
    assert_eq!(committed.released()[0].text, "held");
}
