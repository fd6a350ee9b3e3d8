//! A copy of a profile while it is used, and what is restored from it.

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{
    sealed::{CHEAP, ops, told, unlock},
    *,
};

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([5; 32])
}

/// Everything but the lives of our directions and the seqs of what waits.
fn kept(store: &Store) -> (Vec<HistoryRow>, Vec<String>, Vec<(MessageId, String)>) {
    let reader = store.reader();
    let history = reader.history(&HistoryQuery::default()).unwrap().rows.into_iter().map(|(_, row)| row).collect();
    let contacts = reader.contacts().unwrap().rows.iter().map(|contact| format!("{contact:?}")).collect();
    let outbox = reader.outbox_page(None, ROWS_MAX).unwrap().rows.into_iter().map(|row| (row.id, row.text)).collect();
    (history, contacts, outbox)
}

fn profile(dir: &Path) -> Store {
    let mut store = Store::create(dir, &fresh()).unwrap();
    commit(&mut store, ops());
    store
}

#[test]
fn what_is_restored_is_what_was_copied_in_new_lives() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = profile(&dir.path().join("was"));
    let copy = dir.path().join("copy");
    store.back_up(&copy).unwrap();
    // What comes later is not in it.
    commit(&mut store, vec![Op::Receive(line_in(1, 7, 999))]);
    let restored = dir.path().join("is");
    let loaded = Store::restore(&restored, &copy, None, &mut rng()).unwrap();
    assert_eq!((loaded.secret, loaded.name.as_str()), ([7; 32], "alice"));
    let is = Store::open(&restored).unwrap();
    let (history, contacts, outbox) = kept(&is);
    let was = kept(&store);
    assert_eq!(history.len() + 1, was.0.len());
    assert_eq!(history[..], was.0[..history.len()]);
    assert_eq!((contacts, &outbox), (was.1, &was.2));
    assert!(!outbox.is_empty());
    let lives = |store: &Store| store.reader().load().unwrap().conversations;
    for (was, is) in lives(&store).iter().zip(lives(&is)) {
        assert_ne!(is.mine.incarnation, was.mine.incarnation);
        assert_eq!(is.mine.previous, Some((was.mine.incarnation, Seq(was.mine.next.0 - 1))));
        assert_eq!((&is.yours, is.unread), (&was.yours, was.unread));
        let waiting = store.reader().outbox(was.id, Seq(1), ROWS_MAX, usize::MAX).unwrap().rows.len() as u64;
        assert_eq!(is.mine.next, Seq(waiting + 1));
    }
    let seqs: Vec<_> = is.reader().outbox(conversation(1), Seq(1), ROWS_MAX, usize::MAX).unwrap().rows;
    assert_eq!(seqs.iter().map(|row| row.seq.0).collect::<Vec<_>>(), (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_backup_takes_the_place_of_nothing_and_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = profile(&dir.path().join("was"));
    let copy = dir.path().join("copy");
    store.back_up(&copy).unwrap();
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(dir.path().join("mine"), "mine").unwrap();
    for taken in ["copy", "mine"] {
        assert!(matches!(store.back_up(&dir.path().join(taken)), Err(StoreError::Exists)));
    }
    assert!(matches!(store.back_up(&dir.path().join("no/dir")), Err(StoreError::Io(_))));
    assert_eq!(std::fs::read_to_string(dir.path().join("mine")).unwrap(), "mine");
    let mut files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["copy", "mine", "was"], "nothing half made is left");
}

#[test]
fn with_a_password_the_copy_has_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let was = dir.path().join("was");
    drop(profile(&was));
    Store::set_password(&was, None, Some(&unlock("pw")), CHEAP).unwrap();
    let store = Store::unlock(&was, &unlock("pw")).unwrap();
    let copy = dir.path().join("copy");
    store.back_up(&copy).unwrap();
    let bytes = std::fs::read(&copy).unwrap();
    assert!(!bytes.windows(5).any(|window| window == b"quick"), "nothing lies open in it");
    let restored = dir.path().join("is");
    let try_with = |password: Option<&str>| {
        Store::restore(&restored, &copy, password.map(unlock).as_ref(), &mut rng()).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(try_with(None), Err(StoreError::Sealed.to_string()));
    assert_eq!(try_with(Some("wrong")), Err(StoreError::WrongPassword.to_string()));
    assert!(matches!(Store::open(&restored), Err(StoreError::Missing)), "nothing was made");
    try_with(Some("pw")).unwrap();
    assert_eq!(try_with(Some("pw")), Err(StoreError::Exists.to_string()));
    let is = Store::unlock(&restored, &unlock("pw")).unwrap();
    assert_eq!(kept(&is), kept(&store));
    assert!(told(&is).1.is_empty());
}

#[test]
fn what_is_no_backup_makes_no_profile() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let target = dir.path().join("is");
    std::fs::write(&file, "something else").unwrap();
    let restored = Store::restore(&target, &file, None, &mut rng());
    assert!(matches!(restored, Err(StoreError::NotOurs)), "{restored:?}");
    let store = profile(&dir.path().join("was"));
    let copy = dir.path().join("copy");
    store.back_up(&copy).unwrap();
    let bytes = std::fs::read(&copy).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let restored = Store::restore(&target, &file, None, &mut rng());
    assert!(restored.is_err(), "{restored:?}");
    assert!(matches!(Store::open(&target), Err(StoreError::Missing)));
    assert!(matches!(Store::restore(&target, &dir.path().join("none"), None, &mut rng()), Err(StoreError::Missing)));
}
