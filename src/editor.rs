//! A text in the person's own editor, as `git commit` does it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

use crate::control::proto::ErrorLine;

/// How the directory of a draft begins; the process id follows.
const DIR: &str = "draft.";

/// The directory of the file that the editor is given, and of what it puts beside it; gone when it is over.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what is left of drafts whose processes were killed, in the profile in `dir`.
pub fn remove_remains(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(DIR)).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Has `text` edited, in a file of the profile `dir` that nobody else can read; one newline at its end is dropped. Errors
/// where there is no editor or it failed (exit 2), or the result is no text.
pub async fn edit(dir: &Path, text: &str) -> Result<String, ErrorLine> {
    let draft = Draft(dir.join(format!("{DIR}{}", std::process::id())));
    let path = draft.0.join("message.txt");
    let failed = |error: io::Error| ErrorLine::new("editor", 2, format!("cannot edit {}: {error}", path.display()));
    fs::DirBuilder::new().mode(0o700).create(&draft.0).map_err(failed)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|editor| !editor.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // A shell, since the variable may hold options.
    let mut command = tokio::process::Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$@\"")).arg(&editor).arg(&path);
    let status = command.status().await.map_err(failed)?;
    if !status.success() {
        let error = ErrorLine::new("editor", 2, format!("the editor {editor} ended with {status}: nothing was changed"));
        return Err(error.hint("EDITOR names the editor to use"));
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}
