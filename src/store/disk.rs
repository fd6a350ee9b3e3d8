//! The file under the store: made whole or not at all, opened and locked once, and remembered while
//! the database above it is closed and opened again after an error. What is in it is not known here.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    ops::Bound,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use redb::{BackendError, StorageBackend};

use super::{FILE_NAME, StoreError};

/// First bytes of a redb file.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// How a file that is not whole yet is called: this, the process id, and a number.
const TEMPORARY: &str = "profile.redb.new-";
/// How the copy of an older profile is called: this, its schema, and the ending of a profile's file.
const COPY: &str = "profile.schema-";
/// That number.
static CREATED: AtomicU32 = AtomicU32::new(0);
/// Bytes read at once when copying.
const COPY_LEN: usize = 1 << 20;

/// A backend that outlives the databases opened on it: redb refuses all work after an error of the
/// disk until the database is opened anew, and the lock must not be lost between.
#[derive(Debug)]
pub(super) struct Disk {
    backend: Box<dyn StorageBackend>,
    /// The first database is open, and has taken the lock for good.
    locked: AtomicBool,
    /// An operation failed for want of room since this was last looked at.
    full: AtomicBool,
}

impl Disk {
    pub(super) fn new(backend: impl StorageBackend) -> Arc<Self> {
        Arc::new(Self { backend: Box::new(backend), locked: AtomicBool::new(false), full: AtomicBool::new(false) })
    }

    /// From now on the lock stays until the last handle is gone.
    pub(super) fn keep_lock(&self) {
        self.locked.store(true, Ordering::Release);
    }

    /// Whether an operation failed for want of room since the last call.
    pub(super) fn take_full(&self) -> bool {
        self.full.swap(false, Ordering::AcqRel)
    }

    /// A copy of the file in `dir` as it lies there, which has this schema; synced, readable only by its owner.
    pub(super) fn copy_beside(&self, dir: &Path, schema: u32) -> io::Result<()> {
        let path = dir.join(format!("{COPY}{schema}.redb"));
        let copy = private().write(true).create(true).truncate(true).open(path)?;
        self.copy_into(copy)?;
        sync_directory(dir)
    }

    /// The file as it lies there, written to another one and synced.
    pub(super) fn copy_into(&self, mut copy: File) -> io::Result<()> {
        let len = self.backend.len()?;
        let mut offset = 0;
        let mut piece = vec![0; COPY_LEN];
        while offset < len {
            let now = usize::try_from(len - offset).unwrap_or(COPY_LEN).min(COPY_LEN);
            self.backend.read(offset, &mut piece[..now])?;
            copy.write_all(&piece[..now])?;
            offset += now as u64;
        }
        copy.sync_all()
    }

    fn seen<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && is_full(error)
        {
            self.full.store(true, Ordering::Release);
        }
        result
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.backend.close();
    }
}

/// What one database is given of a [`Disk`].
#[derive(Debug, Clone)]
pub(super) struct Handle(pub(super) Arc<Disk>);

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.0.seen(self.0.backend.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.seen(self.0.backend.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.seen(self.0.backend.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.seen(self.0.backend.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.seen(self.0.backend.write(offset, data))
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.0.locked.load(Ordering::Acquire) {
            return Err(BackendError::Unsupported); // ours already, see `Disk::locked`
        }
        self.0.backend.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.0.locked.load(Ordering::Acquire) {
            return Ok(());
        }
        self.0.backend.unlock_range(start, end)
    }
}

/// True where an error says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Opens the profile's file in `dir`. Errors with [`StoreError::NotOurs`] where it is no redb file.
pub(super) fn open_file(dir: &Path) -> Result<File, StoreError> {
    checked(OpenOptions::new().read(true).write(true).open(dir.join(FILE_NAME)))
}

/// The same of any file, to be read from its beginning.
pub(super) fn open_path(path: &Path) -> Result<File, StoreError> {
    checked(File::open(path))
}

fn checked(opened: io::Result<File>) -> Result<File, StoreError> {
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Missing,
        io::ErrorKind::IsADirectory => StoreError::NotOurs,
        _ => StoreError::from_io(error),
    })?;
    let mut head = [0; MAGIC.len()];
    match file.read_exact(&mut head) {
        Ok(()) if head == MAGIC => {
            file.rewind().map_err(StoreError::from_io)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(StoreError::NotOurs),
        Ok(()) => Err(StoreError::NotOurs),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(StoreError::NotOurs),
        Err(error) => Err(StoreError::from_io(error)),
    }
}

/// Lets `fill` make the profile's file under a temporary name, syncs it, and gives it its own name,
/// unless there is one already. `dir` is created where missing, for its owner only.
pub(super) fn create_file(dir: &Path, fill: impl FnOnce(File) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let path = dir.join(FILE_NAME);
    create_directory(dir).map_err(StoreError::from_io)?;
    if path.symlink_metadata().is_ok() {
        return Err(StoreError::Exists);
    }
    let made = make_file(dir, fill, |temporary| publish(temporary, &path));
    // Whoever was faster may also have taken our temporary for remains, at any step above.
    if made.is_err() && path.symlink_metadata().is_ok() { Err(StoreError::Exists) } else { made }
}

/// The same in the place of the file that is there. To be called with the lock of that one held: a crash leaves it, or
/// the new one.
pub(super) fn replace_file(dir: &Path, fill: impl FnOnce(File) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let path = dir.join(FILE_NAME);
    make_file(dir, fill, |temporary| fs::rename(temporary, &path).map_err(StoreError::from_io))
}

fn make_file(
    dir: &Path,
    fill: impl FnOnce(File) -> Result<(), StoreError>,
    publish: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let number = CREATED.fetch_add(1, Ordering::Relaxed);
    let temporary = dir.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
    let _ = fs::remove_file(&temporary); // of an earlier process with this id
    let file = private().read(true).write(true).create_new(true).open(&temporary).map_err(StoreError::from_io)?;
    let made = fill(file).and_then(|()| {
        File::open(&temporary).and_then(|file| file.sync_all()).map_err(StoreError::from_io)?;
        publish(&temporary)?;
        sync_directory(dir).map_err(StoreError::from_io)
    });
    let _ = fs::remove_file(&temporary);
    made
}

/// Lets `fill` write a new file for its owner only, which has its name once it is whole and on the disk. Errors with
/// [`StoreError::Exists`] where there is one of that name; after any error there is none.
pub(super) fn create_beside(path: &Path, fill: impl FnOnce(File) -> io::Result<()>) -> Result<(), StoreError> {
    if path.symlink_metadata().is_ok() {
        return Err(StoreError::Exists);
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.new-{}", std::process::id()));
    let _ = fs::remove_file(&temporary); // of an earlier process with this id
    let file = private().write(true).create_new(true).open(&temporary).map_err(StoreError::from_io)?;
    let made = fill(file).map_err(StoreError::from_io).and_then(|()| publish(&temporary, path));
    let _ = fs::remove_file(&temporary);
    made?;
    sync_directory(dir).map_err(StoreError::from_io)
}

/// Tells later whether the profile's file in `dir` is still the one that was opened.
#[cfg(unix)]
pub(super) fn still(dir: &Path, file: &File) -> impl FnOnce() -> bool + use<> {
    use std::os::unix::fs::MetadataExt;
    let path = dir.join(FILE_NAME);
    let identity = |about: io::Result<fs::Metadata>| about.ok().map(|about| (about.dev(), about.ino()));
    let opened = identity(file.metadata());
    move || opened.is_some() && identity(fs::metadata(path)) == opened
}

#[cfg(not(unix))]
pub(super) fn still(_: &Path, _: &File) -> impl FnOnce() -> bool + use<> {
    || true
}

/// Removes what processes left behind that died while they made a profile. To be called with the
/// lock held: whoever makes one now finds that there is one.
pub(super) fn remove_remains(dir: &Path) {
    remove_all(dir, TEMPORARY);
}

/// Removes copies of the profile from before its migration.
pub(super) fn remove_copies(dir: &Path) {
    remove_all(dir, COPY);
}

fn remove_all(dir: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Gives a whole file its name, never over another one: of two processes that make a profile at
/// once, one wins.
fn publish(temporary: &Path, path: &Path) -> Result<(), StoreError> {
    match fs::hard_link(temporary, path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(StoreError::Exists),
        // A file system without hard links.
        Err(_) if !path.exists() => fs::rename(temporary, path).map_err(StoreError::from_io),
        Err(_) => Err(StoreError::Exists),
    }
}

#[cfg(unix)]
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn private() -> OpenOptions {
    OpenOptions::new()
}

fn create_directory(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Makes names in `dir` durable, where the system knows how.
fn sync_directory(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}
