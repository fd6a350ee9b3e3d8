//! Profiles of older schemas: what they held is there afterwards, and a copy of them beside.

use std::path::Path;

use redb::TableHandle;

use super::{
    sealed::{CHEAP, many_ops, told, unlock},
    *,
};
use crate::{
    crypto::vault::Unlock,
    store::{
        cells::{Cells, Sealer},
        hot::{self, COMMITS},
        tables::{HOT, META},
    },
};

#[test]
fn no_copy_without_a_password_stays_beside_a_profile_that_is_given_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), &fresh()).unwrap();
    commit(&mut store, many_ops());
    as_schema_1(&store, None);
    drop(store);
    // Migrated and locked by one opening.
    Store::set_password(dir.path(), None, Some(&unlock("pw")), CHEAP).unwrap();
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [FILE_NAME]);
    drop(Store::unlock(dir.path(), &unlock("pw")).unwrap());
}

/// The file as the first schema had it: each of what is hot in a table of its own.
fn as_schema_1(store: &Store, sealer: Option<Sealer<'_>>) {
    let counters = Cells::<u32, &[u8]>::new("counters");
    let unread = Cells::<u32, (u64, u64)>::new("unread");
    let words = Cells::<(u64, u32), &[u8]>::new("words");
    let transaction = store.slot.begin_write().unwrap();
    {
        let hot = HOT.open(&transaction, sealer);
        let mut meta = META.open(&transaction, sealer);
        meta.insert("commits", hot.get(COMMITS).unwrap().unwrap().value()).unwrap();
        words.open(&transaction, sealer).insert((0, 0), b"old").unwrap();
        for number in [1, 2] {
            let value = hot.get(hot::counters(number)).unwrap().unwrap();
            counters.open(&transaction, sealer).insert(number, value.value()).unwrap();
            let value = hot.get(hot::unread(number)).unwrap().unwrap();
            unread.open(&transaction, sealer).insert(number, rmp_serde::from_slice(value.value()).unwrap()).unwrap();
        }
    }
    HOT.delete(&transaction, sealer).unwrap();
    tables::put_schema(&transaction, 1, sealer.map_or(0, |_| u32::MAX)).unwrap();
    transaction.commit().unwrap();
}

fn open(dir: &Path, password: Option<&Unlock>) -> Store {
    match password {
        Some(password) => Store::unlock(dir, password).unwrap(),
        None => Store::open(dir).unwrap(),
    }
}

#[test]
fn a_profile_of_the_first_schema_opens_as_it_was_with_a_password_and_without() {
    for password in [None, Some(unlock("pw"))] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(dir.path(), &fresh()).unwrap();
        commit(&mut store, many_ops());
        drop(store);
        if let Some(password) = &password {
            Store::set_password(dir.path(), None, Some(password), CHEAP).unwrap();
        }
        let mut store = open(dir.path(), password.as_ref());
        let (before, commits) = (told(&store), store.reader().commits().unwrap());
        let vault = store.slot.vault();
        let chance = fork(&mut store.chance);
        as_schema_1(&store, sealer(vault.as_ref(), chance.as_ref()));
        drop(store);

        let mut store = open(dir.path(), password.as_ref());
        assert_eq!(told(&store), before);
        assert_eq!((store.reader().commits().unwrap(), before.0.len() > 50), (commits, true));
        let names: Vec<_> =
            store.slot.begin_write().unwrap().list_tables().unwrap().map(|table| table.name().to_owned()).collect();
        assert!(["counters", "unread", "words"].iter().all(|old| !names.contains(&(*old).to_owned())), "{names:?}");
        let copy = dir.path().join("profile.schema-1.redb");
        assert!(copy.exists());
        // And it goes on.
        commit(&mut store, vec![Op::Receive(line_in(1, 9, 190))]);
        assert_eq!(store.reader().unread().unwrap()[&peer(1)], 2);
        drop(store);
        drop(open(dir.path(), password.as_ref()));
        assert!(!copy.exists(), "it was opened once more");
    }
}
