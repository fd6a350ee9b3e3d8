//! A text in the person's own editor, as `git commit` does it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::control::proto::ErrorLine;

/// The file that the editor is given; gone when it is over, whatever happened.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Has `text` edited, in a file of the profile `dir` that nobody else can read; one newline at its end is dropped. Errors
/// where there is no editor or it failed (exit 2), or the result is no text.
pub async fn edit(dir: &Path, text: &str) -> Result<String, ErrorLine> {
    let draft = Draft(dir.join(format!("draft.{}.txt", std::process::id())));
    let failed = |error: io::Error| ErrorLine::new("editor", 2, format!("cannot edit {}: {error}", draft.0.display()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft.0).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|editor| !editor.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // A shell, since the variable may hold options.
    let mut command = tokio::process::Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$@\"")).arg(&editor).arg(&draft.0);
    let status = command.status().await.map_err(failed)?;
    if !status.success() {
        let error = ErrorLine::new("editor", 2, format!("the editor {editor} ended with {status}: nothing was changed"));
        return Err(error.hint("EDITOR names the editor to use"));
    }
    let text = fs::read_to_string(&draft.0).map_err(failed)?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}
