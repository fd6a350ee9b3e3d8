//! Setting, changing and removing a password while the process is killed: after every single operation on the disk the profile is
//! copied as it lies there, and each copy opens, with the password of before or with the new one, and has everything.

use std::{
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Mutex, atomic::AtomicUsize},
};

use redb::{BackendError, backends::FileBackend};

use super::{
    sealed::{CHEAP, ops, told, unlock},
    *,
};

/// A disk that copies the whole directory before each change of a file.
#[derive(Debug)]
pub(super) struct Imaging {
    backend: FileBackend,
    dir: PathBuf,
    images: Arc<Mutex<Vec<tempfile::TempDir>>>,
    changes: AtomicUsize,
}

impl Imaging {
    pub(super) fn new(file: std::fs::File, dir: &Path, images: &Arc<Mutex<Vec<tempfile::TempDir>>>) -> Self {
        let backend = FileBackend::new(file).unwrap();
        Self { backend, dir: dir.to_owned(), images: Arc::clone(images), changes: AtomicUsize::new(0) }
    }

    fn image(&self) {
        self.changes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.images.lock().unwrap().push(image(&self.dir));
    }
}

fn image(dir: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), image.path().join(entry.file_name())).unwrap();
    }
    image
}

impl StorageBackend for Imaging {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.image();
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.image();
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.image();
        self.backend.write(offset, data)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }
}

type Told = (Vec<String>, Vec<Damaged>);

fn open(dir: &Path, password: Option<&str>) -> Result<Store, StoreError> {
    password.map_or_else(|| Store::open(dir), |password| Store::unlock(dir, &unlock(password)))
}

/// Exactly one of both opens it, and it has everything; nothing else is left in the directory.
fn check(dir: &Path, old: Option<&str>, new: Option<&str>, all: &Told) -> bool {
    // A profile without one needs none: whatever is given opens it.
    let (with_old, is_sealed) = match open(dir, old) {
        Ok(store) => (true, store.reader().is_sealed()),
        Err(StoreError::Sealed | StoreError::WrongPassword) => (false, true),
        Err(error) => panic!("{error}"),
    };
    let is_old = with_old && is_sealed == old.is_some();
    let store = open(dir, if is_old { old } else { new }).unwrap();
    assert_eq!(store.reader().is_sealed(), if is_old { old } else { new }.is_some());
    assert!(told(&store) == *all);
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(files, [FILE_NAME], "what a killed one left behind is gone");
    is_old
}

#[test]
fn a_kill_while_it_is_set_or_removed_leaves_one_of_both() {
    for (old, new) in [(None, Some("new")), (Some("old"), None)] {
        let dir = tempfile::tempdir().unwrap();
        commit(&mut Store::create(dir.path(), &fresh()).unwrap(), ops());
        Store::set_password(dir.path(), None, old.map(unlock).as_ref(), CHEAP).unwrap();
        let store = open(dir.path(), old).unwrap();
        let all = told(&store);
        let images = Arc::default();
        let fill = |file| store.copy_to(Imaging::new(file, dir.path(), &images), new.map(unlock).as_ref(), CHEAP);
        disk::replace_file(dir.path(), fill).unwrap();
        drop(store);
        let images = images.lock().unwrap();
        assert!(images.len() > 10, "{}", images.len());
        for image in images.iter() {
            assert!(check(image.path(), old, new, &all), "what is not whole yet is not there");
        }
        assert!(!check(dir.path(), old, new, &all));
    }
}

#[test]
fn a_kill_while_it_is_changed_leaves_one_of_both() {
    let dir = tempfile::tempdir().unwrap();
    commit(&mut Store::create(dir.path(), &fresh()).unwrap(), ops());
    Store::set_password(dir.path(), None, Some(&unlock("old")), CHEAP).unwrap();
    let all = told(&open(dir.path(), Some("old")).unwrap());
    let images = Arc::default();
    let imaging = Imaging::new(disk::open_file(dir.path()).unwrap(), dir.path(), &images);
    let store = Store::unlock_backend(imaging, &unlock("old")).unwrap();
    let new = unlock("new");
    let wrapped = store.slot.vault().unwrap().wrap(&new, CHEAP, &mut new.rng()).unwrap();
    store.rewrap(&wrapped).unwrap();
    drop(store);
    let images = images.lock().unwrap();
    let olds = images.iter().filter(|image| check(image.path(), Some("old"), Some("new"), &all)).count();
    assert!(0 < olds && olds < images.len(), "{olds} of {}", images.len());
    assert!(!check(dir.path(), Some("old"), Some("new"), &all));
}

#[test]
fn a_profile_that_was_replaced_while_it_was_opened_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::create(dir.path(), &fresh()).unwrap());
    let file = disk::open_file(dir.path()).unwrap();
    let still = disk::still(dir.path(), &file);
    Store::set_password(dir.path(), None, Some(&unlock("pw")), CHEAP).unwrap();
    assert!(!still(), "another file has its name");
    assert!(disk::still(dir.path(), &disk::open_file(dir.path()).unwrap())());
}

#[test]
fn while_it_is_open_a_profile_is_sealed_changed_and_opened_again_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), &fresh()).unwrap();
    commit(&mut store, ops());
    while store.index() {}
    let (mut all, reader) = (told(&store), store.reader());
    let mut boot = 100;
    for (old, new) in [(None, Some("one")), (Some("one"), Some("two")), (Some("two"), None), (None, None)] {
        let [old, new_lock] = [old, new].map(|password| password.map(unlock));
        if old.is_some() {
            let wrong = store.change_password(dir.path(), Some(&unlock("wrong")), new_lock.as_ref(), CHEAP);
            assert!(matches!(wrong, Err(StoreError::WrongPassword)), "{wrong:?}");
            let none = store.change_password(dir.path(), None, new_lock.as_ref(), CHEAP);
            assert!(matches!(none, Err(StoreError::Sealed)), "{none:?}");
        }
        store.change_password(dir.path(), old.as_ref(), new_lock.as_ref(), CHEAP).unwrap();
        assert_eq!(reader.is_sealed(), new.is_some());
        assert!(told(&store) == all, "whoever reads goes on");
        let other = Store::unlock(dir.path(), &unlock(new.unwrap_or("any")));
        assert!(matches!(other, Err(StoreError::Locked)), "it is still ours: {other:?}");

        boot += 1;
        commit(&mut store, vec![Op::Boot(BootId(boot))]);
        while store.index() {}
        all = told(&store);
        let image = image(dir.path());
        let found = open(image.path(), new).unwrap();
        assert_eq!(found.reader().load().unwrap().boot, BootId(boot), "what came later is in the file that counts");
        assert!(told(&found) == all);
    }
}

#[test]
fn a_password_that_cannot_be_set_leaves_an_open_profile_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), &fresh()).unwrap();
    commit(&mut store, ops());
    let all = told(&store);
    let elsewhere = dir.path().join("gone");
    let failed = store.change_password(&elsewhere, None, Some(&unlock("new")), CHEAP);
    assert!(matches!(failed, Err(StoreError::Io(_))), "{failed:?}");
    assert!(!store.reader().is_sealed() && told(&store) == all);
    commit(&mut store, vec![Op::Boot(BootId(9))]);
    drop(store);
    assert_eq!(open(dir.path(), None).unwrap().reader().load().unwrap().boot, BootId(9));
}
