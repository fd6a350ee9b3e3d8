//! The lines that were typed, kept for Up and Ctrl-R in a file of the profile. A profile under a password has none: what is typed
//! there is found again in the same window only.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustyline::{Editor, error::ReadlineError, history::FileHistory};

use crate::shell::complete::Editing;

/// The file's name in a profile.
const FILE_NAME: &str = "input-history";

/// Where typed lines are kept.
#[derive(Debug)]
pub(in crate::shell) struct Typed {
    /// `None`: nowhere.
    path: Option<PathBuf>,
}

impl Typed {
    /// Of the profile in `dir`. The file is made, for its owner only, where it is missing and may be.
    pub(in crate::shell) fn open(dir: &Path, is_sealed: bool) -> Self {
        if is_sealed {
            forget_typed(dir);
            return Self { path: None };
        }
        let path = dir.join(FILE_NAME);
        let made = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        Self { path: worked(made).map(|_| path) }
    }

    pub(super) fn load(&self, editor: &mut Editor<Editing, FileHistory>) {
        if let Some(path) = &self.path {
            worked(editor.load_history(path));
        }
    }

    /// Writes what was typed since. A file that is gone stays so: the profile has got a password.
    pub(super) fn keep(&self, editor: &mut Editor<Editing, FileHistory>) {
        if let Some(path) = self.path.as_ref().filter(|path| path.exists()) {
            worked(editor.append_history(path));
        }
    }

    /// A text that was written elsewhere.
    pub(super) fn add(&self, editor: &mut Editor<Editing, FileHistory>, text: &str) {
        worked(editor.add_history_entry(text));
        self.keep(editor);
    }
}

/// Removes what was typed in the profile in `dir`: it is to lie under a password from now on.
pub fn forget_typed(dir: &Path) {
    match fs::remove_file(dir.join(FILE_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(%error, "{FILE_NAME} could not be removed"),
        _ => {}
    }
}

/// Without the lines of earlier days one can work; said in the log.
fn worked<T>(result: Result<T, impl Into<ReadlineError>>) -> Option<T> {
    result.map_err(|error| tracing::info!(error = %error.into(), "{FILE_NAME}")).ok()
}
