//! A whole profile with bytes changed anywhere: opened and read to the end, or refused; no panic gets out.
//!
//! Known to fail: redb 4.4 panics over damaged pages of its freed-page tables while it commits, in a commit of
//! ours or in its own when a database closes; a destructor that meets the poisoned lock panics a second time
//! while it unwinds, which ends the process before anybody can catch it. Not to close after damage was seen
//! does not help: the first panic is the one that kills. `.ci/run` builds this target and does not run it.
#![no_main]

use std::{
    io,
    sync::{Arc, LazyLock, Mutex, Once},
};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use p2pchat_udp::{
    clock::Unix,
    crypto::identity::Identity,
    id::{BatchId, BootId, ConversationId, Incarnation, MessageId, Seq},
    store::{
        Fresh, HistoryQuery, StorageBackend, Store,
        row::{Contact, ConversationRow, Direction, HistoryRow, MineRow, Op, OutboxRow, State, Trust, WriteBatch, YoursRow},
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl Disk {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > 64 << 20 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes();
        let end = offset as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(())
    }
}

#[derive(Arbitrary, Debug)]
struct Change {
    page: u16,
    offset: u16,
    value: u8,
}

/// A profile with a contact, a message in the outbox, one received and one held back.
static PROFILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (me, peer) = (Identity::generate(&mut rng), Identity::generate(&mut rng).id());
    let conversation = ConversationId::direct(&me.id(), &peer);
    let disk = Disk::default();
    let fresh = Fresh { secret: *me.secret(), name: "me".to_owned(), boot: BootId(1) };
    let mut store = Store::create_backend(disk.clone(), &fresh).expect("an empty disk");
    let row = |seq: u64, direction| HistoryRow {
        id: MessageId::from_bytes([seq as u8; 16]),
        conversation,
        peer,
        name: String::new(),
        direction,
        incarnation: Incarnation(5),
        seq: Seq(seq),
        kind: 0,
        text: format!("message {seq}"),
        more: Vec::new(),
        sent_at: Unix(1),
        received_at: Unix(2),
        late: false,
        state: if direction == Direction::Out { State::Queued } else { State::Delivered },
        reason: String::new(),
    };
    let outbox = OutboxRow {
        conversation,
        peer,
        seq: Seq(1),
        id: MessageId::from_bytes([1; 16]),
        kind: 0,
        text: "message 1".to_owned(),
        created: Unix(1),
        expires: None,
        void: None,
    };
    let contact = Contact {
        id: peer,
        more_ids: Vec::new(),
        name: "bob".to_owned(),
        petname: None,
        trust: Trust::Seen,
        added: true,
        since: Unix(1),
        last_heard: None,
        boot: BootId(1),
        announce_seq: 1,
        addresses: vec!["192.0.2.1:17118".parse().expect("an address")],
        seeds: vec!["seed.example:17118".to_owned()],
        request: None,
        refused: false,
        receipts: None,
    };
    let ops = vec![
        Op::Contact(contact),
        Op::Conversation(ConversationRow {
            id: conversation,
            peer,
            mine: MineRow { incarnation: Incarnation(4), next: Seq(2), previous: None, sent_below: None },
            yours: vec![YoursRow { incarnation: Incarnation(5), high_water: Seq(1), held: vec![(Seq(3), Seq(3))] }],
            unread: 7,
            read: Vec::new(),
        }),
        Op::Queue(outbox, row(1, Direction::Out)),
        Op::Receive(row(2, Direction::In)),
        Op::Hold(row(3, Direction::In)),
    ];
    store.commit(WriteBatch { id: BatchId(1), ops: Arc::new(ops) }).expect("a good disk");
    drop(store);
    disk.bytes().clone()
});

/// libfuzzer's hook ends the process at every panic; those that the store catches must come back to it.
/// One that gets out of the store ends the process, and the last one noted says where it began.
static NOTING: Once = Once::new();
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

fuzz_target!(|changes: Vec<Change>| {
    let profile = PROFILE.clone();
    NOTING.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            *LAST_PANIC.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = panic.to_string();
        }));
    });
    let disk = Disk(Arc::new(Mutex::new(profile)));
    for change in changes.iter().take(64) {
        let mut bytes = disk.bytes();
        // Only the pages that hold something: the file is mostly room to grow.
        let at = (usize::from(change.page) % 64) * 4_096 + usize::from(change.offset) % 4_096;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = change.value;
        }
    }
    if std::panic::catch_unwind(|| read(disk)).is_err() {
        eprintln!("{}", LAST_PANIC.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        std::process::abort();
    }
});

fn read(disk: Disk) {
    let Ok(mut store) = Store::open_backend(disk) else { return };
    let reader = store.reader();
    let Ok(loaded) = reader.load() else { return };
    let _ = reader.outbox_page(None, 256);
    let _ = reader.history(&HistoryQuery::default());
    let _ = reader.history(&HistoryQuery { words: vec!["message".to_owned()], ..HistoryQuery::default() });
    let _ = reader.unread();
    for conversation in &loaded.conversations {
        let _ = reader.outbox(conversation.id, Seq(1), 256, 1 << 20);
        let _ = reader.held(conversation.id, Incarnation(5), Seq(3));
    }
    let _ = store.commit(WriteBatch { id: BatchId(1), ops: Arc::new(vec![Op::Name("other".to_owned())]) });
}
