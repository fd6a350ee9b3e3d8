//! The one file of a seed: the secret that its tokens are made with, so that people need not be checked
//! again after a restart. Losing it costs their seeds some signature checks, and nobody anything else.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use crate::control::proto::ErrorLine;

/// Its name in the seed's directory.
const FILE_NAME: &str = "seed.key";
const KEY_LEN: usize = 32;

/// The key in this directory. Both are made where they are missing: the key whole or not at all, and for
/// its owner only. Errors (exit 8) where it cannot be had; what is there is never replaced.
pub(super) fn load_or_make(dir: &Path) -> Result<Zeroizing<[u8; KEY_LEN]>, ErrorLine> {
    let path = dir.join(FILE_NAME);
    let found = match read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => make(dir, &path).and_then(|()| read(&path)),
        found => found,
    };
    found.map_err(|error| {
        let text = format!("cannot use the seed's key {}: {error}", path.display());
        let hint = match error.kind() {
            ErrorKind::InvalidData => "nothing was changed; without the file a new key is made",
            _ => "the directory must be yours, or choose another with --data-dir",
        };
        ErrorLine::new("profile", 8, text).hint(hint)
    })
}

fn read(path: &Path) -> io::Result<Zeroizing<[u8; KEY_LEN]>> {
    let bytes = Zeroizing::new(fs::read(path)?);
    let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice());
    let key = key.map_err(|_| io::Error::new(ErrorKind::InvalidData, format!("it has not {KEY_LEN} bytes")))?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        tracing::warn!("others may read {}: `chmod 600` it", path.display());
    }
    Ok(Zeroizing::new(key))
}

/// Under another name first: a link appears in one step, and never in the place of what is there.
fn make(dir: &Path, path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    getrandom::fill(key.as_mut_slice()).map_err(io::Error::other)?;
    let temporary = dir.join(format!("{FILE_NAME}.{}", std::process::id()));
    let made = write(&temporary, key.as_slice()).and_then(|()| match fs::hard_link(&temporary, path) {
        // Another seed was quicker: its key is ours too.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let _ = fs::remove_file(&temporary);
    made?;
    fs::File::open(dir)?.sync_all()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a crash left behind under this name is nobody's.
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a").join("b");
        let key = load_or_make(&dir).unwrap();
        assert_eq!(load_or_make(&dir).unwrap(), key);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(FILE_NAME))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing else is left behind");
        assert_ne!(*key, [0; KEY_LEN]);
    }

    #[test]
    fn a_file_that_is_no_key_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], &[7; KEY_LEN - 1], &[7; KEY_LEN + 1]] {
            fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
            assert_eq!(load_or_make(dir.path()).unwrap_err().exit, 8);
            assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), bytes);
        }
        let nowhere = Path::new("/proc/nowhere");
        assert_eq!(load_or_make(nowhere).unwrap_err().exit, 8);
    }
}
