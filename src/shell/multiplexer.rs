//! Whether anybody looks at the terminal, where tmux or screen holds it: both let their socket be executable by its owner while a
//! client is attached, and take that back when the last one has gone.

use std::{env, ffi::OsStr, fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

/// How often that is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// May its owner execute it.
const ATTACHED: u32 = 0o100;

/// The socket of the tmux or screen that this process runs in.
#[derive(Debug)]
pub(super) struct Multiplexer(PathBuf);

impl Multiplexer {
    /// `None` where the terminal is held by neither, or the socket is not to be found.
    pub(super) fn around() -> Option<Self> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        set("TMUX").and_then(|value| of_tmux(&value)).or_else(|| set("STY").and_then(|value| of_screen(&value))).map(Self)
    }

    /// True while somebody is attached; also where that can no longer be seen.
    pub(super) fn is_attached(&self) -> bool {
        fs::metadata(&self.0).is_ok_and(|about| about.permissions().mode() & ATTACHED != 0) || !self.0.exists()
    }
}

/// `TMUX` is the socket's path, the server's pid and the session, between commas.
fn of_tmux(value: &OsStr) -> Option<PathBuf> {
    let path = value.to_str()?.rsplitn(3, ',').last()?;
    Some(PathBuf::from(path)).filter(|path| path.exists())
}

/// `STY` is the name of the socket, which is in one of these directories.
fn of_screen(value: &OsStr) -> Option<PathBuf> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok()??.name;
    let named = env::var_os("SCREENDIR").map(PathBuf::from);
    let usual = ["/run/screen", "/var/run/screen", "/tmp/screens"].map(|dir| PathBuf::from(dir).join(format!("S-{user}")));
    let at_home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".screen"));
    named.into_iter().chain(usual).chain(at_home).map(|dir| dir.join(value)).find(|path| path.exists())
}
