//! The profile's directory: where it is, whose it is, who has it open. What is in its file does not live
//! here (`store`).

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use blake2::{Blake2s256, Digest};
use etcetera::BaseStrategy;
use nix::unistd::{Uid, User};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::Program;
use crate::{
    config::Settings,
    control::proto::ErrorLine,
    crypto::{identity::Identity, vault::Unlock},
    id::BootId,
    store::{Fresh, Store, StoreError},
    text::Name,
};

/// Bytes of a socket's address at most, without the NUL at its end.
const SOCKET_PATH_LEN_MAX: usize = 107;
/// Logins that many machines share: the host's name says more.
const SHARED_LOGINS: [&str; 16] = [
    "root",
    "admin",
    "administrator",
    "user",
    "ubuntu",
    "debian",
    "fedora",
    "centos",
    "ec2-user",
    "pi",
    "test",
    "guest",
    "vagrant",
    "docker",
    "nobody",
    "runner",
];

/// Who has the profile open.
#[derive(Debug)]
pub(super) enum Taken {
    /// We, from now on.
    Store(Box<Store>),
    /// Another process.
    Locked,
    /// Nobody: it has a password, and none was given.
    Sealed,
}

/// The directory to use: as given, else the one of this name in the XDG data directory.
pub(super) fn directory(given: Option<PathBuf>, name: &str) -> Result<PathBuf, ErrorLine> {
    let relative = match given.filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => dir,
        None => etcetera::choose_base_strategy()
            .map_err(|e| unusable(&"(the default)", &e).hint("say where it is with --data-dir"))?
            .data_dir()
            .join(name),
    };
    std::path::absolute(&relative).map_err(|e| unusable(&relative.display(), &e))
}

/// Makes the directory, for its owner only, where it is missing. Errors (exit 8) where it is somebody
/// else's, or no directory.
pub(super) fn make_dir(dir: &Path) -> Result<(), ErrorLine> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    let hint = || format!("make {} writable, or choose another profile with --data-dir", dir.display());
    made.map_err(|e| unusable(&dir.display(), &e).hint(hint()))?;
    let about = fs::metadata(dir).map_err(|e| unusable(&dir.display(), &e).hint(hint()))?;
    if about.uid() != Uid::effective().as_raw() {
        return Err(unusable(&dir.display(), &"it belongs to another user").hint("choose another profile with --data-dir"));
    }
    Ok(())
}

/// Opens the profile, with its password where it has one, and makes it first where there is none. Errors (exit 8, and 10
/// for a wrong password) have changed nothing.
pub(super) fn take(settings: &Settings, unlock: Option<&Unlock>) -> Result<Taken, ErrorLine> {
    let was_there = settings.dir.exists();
    make_dir(&settings.dir)?;
    let found = match unlock {
        Some(unlock) => Store::unlock(&settings.dir, unlock),
        None => Store::open(&settings.dir),
    };
    let opened = match found {
        Err(StoreError::Missing) => create(settings)?,
        opened => opened,
    };
    if opened.is_err() && !was_there {
        // Only where it is empty: another process may have been quicker.
        let _ = fs::remove_dir(&settings.dir);
    }
    match opened {
        Ok(store) => Ok(Taken::Store(Box::new(store))),
        // `Exists`: another process was quicker in making it.
        Err(StoreError::Locked | StoreError::Exists) => Ok(Taken::Locked),
        Err(StoreError::Sealed) => Ok(Taken::Sealed),
        Err(error) => Err(refused(&settings.dir, &error)),
    }
}

/// True while some process has the profile open.
pub(super) fn is_locked(dir: &Path) -> bool {
    matches!(Store::open(dir), Err(StoreError::Locked))
}

fn create(settings: &Settings) -> Result<Result<Store, StoreError>, ErrorLine> {
    let mut rng_seed = [0; 32];
    getrandom::fill(&mut rng_seed).map_err(|e| ErrorLine::new("internal", 1, format!("no randomness from the system: {e}")))?;
    let identity = Identity::generate(&mut ChaCha20Rng::from_seed(rng_seed));
    let name = settings.name.clone().map_or_else(first_name, |name| name.as_str().to_owned());
    let made = Store::create(&settings.dir, &Fresh { secret: *identity.secret(), name, boot: BootId(0) });
    // Whatever stopped us, another process was quicker: its profile is the one to open.
    let other = made.is_err() && settings.dir.join(crate::store::FILE_NAME).exists();
    Ok(if other { Err(StoreError::Exists) } else { made })
}

/// What somebody is called who never said: the login; with the host's name where many share the login.
fn first_name() -> String {
    let login = User::from_uid(Uid::effective()).ok().flatten().map_or_else(String::new, |user| user.name);
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
    first_name_of(&login, &host)
}

fn first_name_of(login: &str, host: &str) -> String {
    let host = host.split('.').next().unwrap_or_default();
    let both = format!("{login}-{host}");
    let shared = login.is_empty() || SHARED_LOGINS.contains(&login);
    let wanted = if shared && !host.is_empty() { both.as_str() } else { login };
    let names = [wanted.trim_matches('-'), login, "somebody"];
    names.iter().find_map(|name| Name::parse(name).ok()).map_or_else(String::new, |name| name.as_str().to_owned())
}

fn unusable(what: &dyn std::fmt::Display, why: &dyn std::fmt::Display) -> ErrorLine {
    ErrorLine::new("profile", 8, format!("cannot use the profile {what}: {why}"))
}

/// Its owner starts, or ends, at this moment.
pub(super) fn in_use(program: &Program) -> ErrorLine {
    let text = format!("the profile {} is in use", program.shown_dir());
    ErrorLine::new("owned", 8, text).hint("its owner starts or ends at this moment: try again")
}

/// Why a store cannot be opened, and what to do about it.
pub(super) fn refused(dir: &Path, error: &StoreError) -> ErrorLine {
    if matches!(error, StoreError::WrongPassword) {
        let text = format!("wrong password for the profile {}", dir.display());
        return ErrorLine::new("password", 10, text)
            .hint("nothing was changed; a forgotten password is final: only a backup without one helps");
    }
    let hint = match error {
        StoreError::NotOurs => "choose another profile with --data-dir",
        StoreError::Corrupt(_) => "nothing was changed; put a backup in its place, or begin a new profile with --data-dir",
        StoreError::Newer { .. } => "nothing was changed; use the newer version of p2pchat-udp",
        StoreError::Permission => "the directory and the files in it must be yours: see `ls -la` there",
        StoreError::Full => "make room on the disk",
        _ => "nothing was changed",
    };
    unusable(&dir.display(), error).hint(hint)
}

/// Where the owner's socket is: in the profile, or, where its path is too long for a socket's address,
/// under a hash of the path in the user's runtime directory.
pub(super) fn socket_path(dir: &Path) -> Result<PathBuf, ErrorLine> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    socket_path_in(dir, runtime.map(PathBuf::from))
}

fn socket_path_in(dir: &Path, runtime: Option<PathBuf>) -> Result<PathBuf, ErrorLine> {
    let beside = dir.join("control.sock");
    if beside.as_os_str().len() <= SOCKET_PATH_LEN_MAX {
        return Ok(beside);
    }
    let hash = Blake2s256::digest(dir.as_os_str().as_encoded_bytes());
    let name: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let too_long = || {
        let why = "its path is too long for a socket, and XDG_RUNTIME_DIR names no directory for it";
        unusable(&dir.display(), &why).hint("choose a shorter path with --data-dir")
    };
    let path = runtime.ok_or_else(too_long)?.join("p2pchat-udp").join(name);
    if path.as_os_str().len() > SOCKET_PATH_LEN_MAX { Err(too_long()) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_login_is_told_apart_by_its_host() {
        assert_eq!(first_name_of("alice", "desk.example.org"), "alice");
        assert_eq!(first_name_of("root", "desk.example.org"), "root-desk");
        assert_eq!(first_name_of("pi", ""), "pi");
        assert_eq!(first_name_of("", "desk"), "desk");
        assert_eq!(first_name_of("", ""), "somebody");
    }

    #[test]
    fn a_long_path_moves_the_socket_to_the_runtime_directory() {
        let short = Path::new("/home/alice/.local/share/p2pchat-udp");
        assert_eq!(socket_path_in(short, None).unwrap(), short.join("control.sock"));
        let long = PathBuf::from(format!("/{}", "x".repeat(120)));
        let path = socket_path_in(&long, Some("/run/user/1000".into())).unwrap();
        assert!(path.starts_with("/run/user/1000/p2pchat-udp"), "{}", path.display());
        let other = PathBuf::from(format!("/{}", "y".repeat(120)));
        assert_ne!(path, socket_path_in(&other, Some("/run/user/1000".into())).unwrap());
        assert_eq!(socket_path_in(&long, None).unwrap_err().exit, 8);
    }
}
