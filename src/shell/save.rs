//! `/export`: writes the history to a file while the shell goes on. What a line of it is lives in `control::proto`.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::control::{
    call::{Call, Export},
    client::{CallError, Client},
    proto::{ErrorLine, ExportLine, Line},
};

/// Writes all that was said with this peer, or with everybody, to a new file: what to say then.
pub(super) async fn save(client: Client, file: String, peer: Option<String>) -> Result<String, ErrorLine> {
    let path = at_home(&file);
    let failed = |why: String| ErrorLine::new("file", 2, why);
    match write(&client, &path, peer).await {
        Ok(1) => Ok(format!("1 message is written to {file}")),
        Ok(lines) => Ok(format!("{lines} messages are written to {file}")),
        Err(Failure::Exists) => Err(failed(format!("{file} is there already: nothing was written")).hint("name another one")),
        Err(Failure::Damaged(what)) => Err(failed(format!("{file} is not whole: {what}"))),
        Err(Failure::Io(error)) => Err(failed(format!("{file} is not written: {error}"))),
        Err(Failure::Call(CallError::Refused(error))) => Err(error),
        Err(Failure::Call(CallError::Lost)) => Err(failed(format!("{file} is not whole: the owner of the profile has ended"))),
    }
}

enum Failure {
    Exists,
    /// All else is written.
    Damaged(String),
    Io(io::Error),
    Call(CallError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::AlreadyExists { Self::Exists } else { Self::Io(error) }
    }
}

async fn write(client: &Client, path: &Path, peer: Option<String>) -> Result<u64, Failure> {
    // Whoever may read it reads what was said.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(file);
    let (mut after, mut written, mut damaged) = (0, 0, None);
    loop {
        let page = client.call(Call::Export(Export { peer: peer.clone(), after })).all().await;
        let page = page.map_err(Failure::Call)?;
        let mut last = None;
        for line in page {
            match line {
                Line::History(line) => {
                    last = line.n;
                    writeln!(out, "{}", ExportLine::new(line).to_json())?;
                    written += 1;
                }
                Line::Notice(notice) => damaged = Some(notice.words()),
                _ => {}
            }
        }
        let Some(last) = last else { break };
        after = last;
    }
    let file: File = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    damaged.map_or(Ok(written), |what| Err(Failure::Damaged(what)))
}

/// `~/` is home, as in a shell.
fn at_home(file: &str) -> PathBuf {
    match (file.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(file),
    }
}
