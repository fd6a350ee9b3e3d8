//! A profile's file: how it is made, locked, refused, migrated, and what damage does.

use std::{
    fs,
    ops::Bound,
    path::Path,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{ReadableTable, ReadableTableMetadata};

use super::{super::*, *};

fn create(dir: &Path) -> Store {
    Store::create(dir, &fresh()).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Changes the file behind the store's back.
fn tamper(dir: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(dir.join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn a_profile_is_for_its_owner_only_and_survives_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("deep").join("profile");
    let mut store = create(&dir);
    commit(&mut store, vec![queue(1, 1, 11)]);
    drop(store);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(FILE_NAME))), (0o700, 0o600));
    }
    assert_eq!(names(&dir), [FILE_NAME]);
    let store = Store::open(&dir).unwrap();
    assert_eq!(store.reader().load().unwrap().secret, [7; 32]);
    assert_eq!(outbox(&store, 1), [waiting(1, 1, 11)]);
}

#[test]
fn a_second_opener_is_told_that_it_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path());
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Locked)));
    assert!(matches!(Store::create(dir.path(), &fresh()), Err(StoreError::Exists)));
    let reader = store.reader();
    drop(store);
    assert!(reader.load().is_err());
    assert!(Store::open(dir.path()).is_ok(), "a reader that is left over locks nothing");
}

#[test]
fn of_two_that_make_one_profile_at_once_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let start = Barrier::new(2);
    let made = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for secret in [1, 2] {
            let (start, made, dir) = (&start, &made, dir.path());
            scope.spawn(move || {
                start.wait();
                let store = Store::create(dir, &Fresh { secret: [secret; 32], ..fresh() });
                made.lock().unwrap().push(store.map(|store| store.reader().load().unwrap().secret[0] == secret).ok());
            });
        }
    });
    let made = made.into_inner().unwrap();
    assert_eq!(made.iter().filter(|made| **made == Some(true)).count(), 1, "{made:?}");
    assert_eq!(names(dir.path()), [FILE_NAME]);
}

#[test]
fn a_loser_whose_temporary_the_winner_swept_away_is_told_that_there_is_a_profile() {
    let dir = tempfile::tempdir().unwrap();
    let made = disk::create_file(dir.path(), |_| {
        drop(create(dir.path()));
        disk::remove_remains(dir.path());
        Ok(())
    });
    assert!(matches!(made, Err(StoreError::Exists)), "{made:?}");
}

#[test]
fn remains_of_a_creation_that_died_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("profile.redb.new-1"), b"half").unwrap();
    fs::write(dir.path().join("config.toml"), b"").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Missing)));
    drop(create(dir.path()));
    assert_eq!(names(dir.path()), ["config.toml", FILE_NAME]);
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    for other in [&b""[..], b"hello", &[0; 100_000]] {
        fs::write(&path, other).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(StoreError::NotOurs)));
        assert_eq!(fs::read(&path).unwrap(), other);
    }
    fs::remove_file(&path).unwrap();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("somebody else's")).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let before = fs::read(&path).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::NotOurs)));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_newer_profile_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(dir.path()));
    tamper(dir.path(), |transaction| {
        transaction.open_table(tables::META.plain()).unwrap().insert("schema", 9u32.to_le_bytes().as_slice()).unwrap();
    });
    let before = fs::read(dir.path().join(FILE_NAME)).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Newer { found: 9, known: tables::SCHEMA })));
    assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), before);
    // The same where nobody can look first.
    let backend = InMemoryBackend::new();
    backend.set_len(before.len() as u64).unwrap();
    backend.write(0, &before).unwrap();
    assert!(matches!(Store::open_backend(backend), Err(StoreError::Newer { found: 9, .. })));
}

#[test]
fn a_truncated_profile_is_damaged_and_not_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(dir.path()));
    let path = dir.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    for len in [4_096, whole.len() / 2, whole.len() - 4_096] {
        fs::write(&path, &whole[..len]).unwrap();
        let error = Store::open(dir.path()).map(drop);
        assert!(matches!(error, Err(StoreError::Corrupt(_))), "{len} bytes: {error:?}");
    }
}

#[test]
fn what_cannot_be_read_is_a_matter_of_permissions() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Missing)));
    fs::create_dir(dir.path().join(FILE_NAME)).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::NotOurs)));
    fs::write(dir.path().join("file"), b"").unwrap();
    assert!(matches!(Store::create(&dir.path().join("file"), &fresh()), Err(StoreError::Io(_))));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let closed = dir.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        // Root may write everywhere; then there is nothing to see here.
        if fs::write(closed.join("probe"), b"").is_err() {
            assert!(matches!(Store::create(&closed, &fresh()), Err(StoreError::Permission)));
        }
    }
}

const DOUBLE_BOOT: Step = |transaction, _| {
    let mut meta = transaction.open_table(tables::META.plain())?;
    let boot = meta.get("boot")?.map(|boot| boot.value().to_vec()).unwrap_or_default();
    meta.insert("boot2", boot.as_slice())?;
    Ok(())
};
const BREAK: Step = |transaction, _| {
    transaction.open_table(tables::META.plain())?.remove("secret")?;
    Err(redb::Error::Corrupted("a step that fails".to_owned()))
};

#[test]
fn an_older_profile_is_migrated_after_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path());
    commit(&mut store, vec![queue(1, 1, 11)]);
    drop(store);
    let store = Store::open_with(dir.path(), &[STEPS[0], DOUBLE_BOOT], None).unwrap();
    assert_eq!(outbox(&store, 1), [waiting(1, 1, 11)]);
    drop(store);
    tamper(dir.path(), |transaction| {
        assert!(transaction.open_table(tables::META.plain()).unwrap().get("boot2").unwrap().is_some());
    });
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Newer { found: 3, known: 2 })));
    // The copy is a profile of the old schema.
    fs::rename(dir.path().join("profile.schema-2.redb"), dir.path().join(FILE_NAME)).unwrap();
    assert_eq!(outbox(&Store::open(dir.path()).unwrap(), 1), [waiting(1, 1, 11)]);
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(dir.path()));
    assert!(matches!(Store::open_with(dir.path(), &[STEPS[0], DOUBLE_BOOT, BREAK], None), Err(StoreError::Corrupt(_))));
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.reader().load().unwrap().secret, [7; 32]);
    drop(store);
    tamper(dir.path(), |transaction| {
        assert!(transaction.open_table(tables::META.plain()).unwrap().get("boot2").unwrap().is_none());
    });
}

#[test]
fn a_damaged_row_is_named_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path());
    commit(&mut store, (1..=3).map(|n| queue(1, n, 10 + n)).chain([Op::Receive(line_in(1, 1, 21))]).collect());
    drop(store);
    tamper(dir.path(), |transaction| {
        transaction.open_table(tables::HISTORY.plain()).unwrap().insert((1, 2), b"\xc1 nonsense".as_slice()).unwrap();
        transaction.open_table(tables::OUTBOX.plain()).unwrap().insert((1, 3), b"".as_slice()).unwrap();
        transaction.open_table(tables::CONTACTS.plain()).unwrap().insert(&[1; 32], b"\x80".as_slice()).unwrap();
    });
    let mut store = Store::open(dir.path()).unwrap();
    let reader = store.reader();
    let history = reader.history(&HistoryQuery::default()).unwrap();
    assert_eq!(history.rows.iter().map(|row| row.0).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!((history.damaged[0].table, history.damaged[0].key.as_str()), ("history", "2"));
    let outbox = reader.outbox(conversation(1), Seq(0), 256, usize::MAX).unwrap();
    assert_eq!(outbox.rows, [waiting(1, 1, 11)]);
    assert_eq!(outbox.damaged.iter().map(|damaged| damaged.table).collect::<Vec<_>>(), ["history", "outbox"]);
    assert!(matches!(reader.own_by_id(id(12)), Err(ReadError::Row(_))));
    let loaded = reader.load().unwrap();
    assert_eq!((loaded.contacts.len(), loaded.damaged.len(), loaded.outbox_len), (0, 1, 3));
    // What cannot be read can still be settled, and writing goes on.
    commit(&mut store, vec![settle(1, 3, State::Delivered), queue(1, 4, 14)]);
    assert_eq!(store.reader().load().unwrap().outbox_len, 3);
}

#[test]
fn fields_of_later_versions_are_skipped() {
    #[derive(serde::Serialize)]
    struct Later {
        #[serde(rename = "l")]
        line: u64,
        #[serde(rename = "i")]
        id: MessageId,
        #[serde(rename = "c")]
        created: u64,
        #[serde(rename = "priority")]
        unknown: Vec<&'static str>,
    }
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path());
    commit(&mut store, vec![queue(1, 1, 11)]);
    drop(store);
    tamper(dir.path(), |transaction| {
        let later = tables::encode(&Later { line: 1, id: id(11), created: 11, unknown: vec!["high", "low"] });
        transaction.open_table(tables::OUTBOX.plain()).unwrap().insert((1, 1), later.as_slice()).unwrap();
    });
    assert_eq!(outbox(&Store::open(dir.path()).unwrap(), 1), [waiting(1, 1, 11)]);
}

#[test]
fn texts_of_the_largest_size_are_kept_and_stand_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path());
    let text = "ä".repeat(1 << 19);
    let mut row = waiting(1, 1, 11);
    let mut line = line_out(1, 1, 11);
    (row.text, line.text) = (text.clone(), text);
    commit(&mut store, vec![Op::Queue(row.clone(), line.clone())]);
    assert_eq!(outbox(&store, 1), [row]);
    assert_eq!(history(&store), [line]);
    drop(store);
    tamper(dir.path(), |transaction| {
        let bytes = transaction.open_table(tables::OUTBOX.plain()).unwrap().stats().unwrap().stored_bytes();
        assert!(bytes < 200, "{bytes} bytes in the outbox");
    });
}

/// A file whose disk fails while told to.
#[derive(Debug)]
struct Failing(FileBackend, Arc<AtomicBool>);

impl Failing {
    fn check(&self) -> io::Result<()> {
        if self.1.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, redb::BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.0.unlock_range(start, end)
    }
}

#[test]
fn a_full_disk_costs_neither_the_lock_nor_the_store() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(dir.path()));
    let full = Arc::new(AtomicBool::new(false));
    let backend = FileBackend::new(disk::open_file(dir.path()).unwrap()).unwrap();
    let mut store = Store::open_backend(Failing(backend, Arc::clone(&full))).unwrap();
    commit(&mut store, vec![queue(1, 1, 11)]);

    full.store(true, Ordering::SeqCst);
    let batch = WriteBatch { id: BatchId(2), ops: Arc::new(vec![queue(1, 2, 12)]) };
    for _ in 0..3 {
        assert!(store.commit(&batch).is_err());
        assert!(matches!(Store::open(dir.path()), Err(StoreError::Locked)));
    }
    full.store(false, Ordering::SeqCst);
    store.commit(&batch).unwrap();
    assert_eq!(outbox(&store, 1), [waiting(1, 1, 11), waiting(1, 2, 12)]);
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Locked)));
    drop(store);
    assert_eq!(outbox(&Store::open(dir.path()).unwrap(), 1).len(), 2);
}
