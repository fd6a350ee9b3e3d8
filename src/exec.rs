//! A program of the user's that is run for a message: `listen --exec` and `notify_cmd`. No shell runs, and nothing of a peer's is
//! ever an argument: the text comes on stdin, the rest in the environment. When one is run is not known here.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

use crate::{
    control::proto::MessageLine,
    id::PeerId,
    text::{Name, Shown},
};

/// How long it may run.
const TIME_MAX: Duration = Duration::from_secs(10);

/// In the environment of such a program, and of what it starts: which message it is run for.
const MESSAGE_ID: &str = "P2PCHAT_MESSAGE_ID";

/// True where this process was started by one that was run for a message.
pub fn is_told() -> bool {
    std::env::var_os(MESSAGE_ID).is_some()
}

/// A program and its arguments, as somebody wrote them in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    program: String,
    args: Vec<String>,
    /// What it calls with our own program is about this profile.
    dir: Option<PathBuf>,
}

/// Why a message was not dealt with.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It does not run at all, for no message.
    #[error("{0} cannot be run: {1}")]
    NotRun(String, io::Error),
    /// It ended otherwise than with 0.
    #[error("{0} failed: {1}")]
    Failed(String, std::process::ExitStatus),
    /// It was ended, with all that it had started.
    #[error("{0} ran for more than {s} s and was ended", s = TIME_MAX.as_secs())]
    TooSlow(String),
}

impl ExecError {
    /// It will not run for another message either: it is not there, or is no program.
    pub fn is_final(&self) -> bool {
        use io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
        let Self::NotRun(_, error) = self else { return false };
        let is_no_program = error.raw_os_error() == Some(nix::errno::Errno::ENOEXEC as i32);
        is_no_program || matches!(error.kind(), NotFound | PermissionDenied | NotADirectory | InvalidInput)
    }
}

impl FromStr for Exec {
    type Err = &'static str;

    /// Splits the line into words as a shell does; nothing in it is expanded.
    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut words = shlex::split(line).ok_or("a quote in the command is not closed")?.into_iter();
        let program = words.next().ok_or("a command is needed")?;
        Ok(Self { program, args: words.collect(), dir: None })
    }
}

impl Exec {
    /// The same for the profile in `dir`: our own program finds it there, wherever it is run from.
    #[must_use]
    pub fn for_profile(self, dir: &Path) -> Self {
        Self { dir: Some(std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned())), ..self }
    }

    /// Runs it for a message to `me`, and waits for its end. Its output goes to `output`, or nowhere. Dropped, it is ended.
    pub async fn run(&self, message: &MessageLine, me: &PeerId, output: bool) -> Result<(), ExecError> {
        let out = || if output { Stdio::inherit() } else { Stdio::null() };
        let name = Name::or_short_id(&message.name, &message.from);
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env("P2PCHAT_FROM", message.from.to_string())
            .env("P2PCHAT_NAME", Shown::line(name.as_str()).to_string())
            .env("P2PCHAT_ID", me.to_string())
            .env(MESSAGE_ID, message.id.to_string())
            // The owner runs: nobody needs the password any more.
            .env_remove("P2PCHAT_PASSWORD_CMD")
            .stdin(Stdio::piped())
            .stdout(out())
            .stderr(out())
            .process_group(0);
        if let Some(dir) = &self.dir {
            command.env("P2PCHAT_DATA_DIR", dir);
        }
        let mut child = command.spawn().map_err(|error| ExecError::NotRun(self.program.clone(), error))?;
        let group = Group::of(&child);
        let stdin = child.stdin.take();
        let give = async {
            if let Some(mut stdin) = stdin {
                // Who does not read it does not want it.
                let _ = stdin.write_all(message.text.as_bytes()).await;
            }
        };
        let ended = async {
            tokio::select! {
                // What it has left running may hold the pipe, and read none of it.
                status = child.wait() => return status,
                () = give => {}
            }
            child.wait().await
        };
        let ended = tokio::time::timeout(TIME_MAX, ended).await;
        let Ok(status) = ended else {
            drop(group);
            let _ = child.wait().await;
            return Err(ExecError::TooSlow(self.program.clone()));
        };
        group.release();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(ExecError::Failed(self.program.clone(), status)),
            Err(error) => Err(ExecError::NotRun(self.program.clone(), error)),
        }
    }
}

/// The program and what it has started: ended when dropped, unless it is done.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// What it has left running is its own business.
    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<(String, Vec<String>)> {
        line.parse::<Exec>().ok().map(|exec| (exec.program, exec.args))
    }

    #[test]
    fn a_line_is_split_as_a_shell_does_and_nothing_is_expanded() {
        assert_eq!(words("bot --x 'a b' \"$HOME\""), Some(("bot".into(), vec!["--x".into(), "a b".into(), "$HOME".into()])));
        assert_eq!(words("'/a b/bot'"), Some(("/a b/bot".into(), vec![])));
        assert_eq!(words("bot 'a"), None);
        assert_eq!(words("  "), None);
    }
}
