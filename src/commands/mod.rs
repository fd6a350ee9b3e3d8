//! One file per subcommand: its arguments, its run, its output. Every command speaks the control protocol,
//! to the owner of the profile or to a node of its own; which of both, only `app` knows.

pub mod backup;
pub mod completions;
pub mod config;
pub mod contact;
pub mod daemon;
pub mod demo;
pub mod doctor;
pub mod export;
pub mod find;
pub mod history;
pub mod import;
pub mod listen;
pub mod outbox;
pub mod output;
pub mod passwd;
pub mod peers;
pub mod ping;
pub mod requests;
pub mod seed;
pub mod send;
pub mod shell;
pub mod status;
pub mod stop;
pub mod unread;
pub mod whoami;
pub mod whois;

use crate::control::{client::CallError, proto::ErrorLine};

/// Why a command ends without having done what it was asked.
#[derive(Debug)]
pub enum End {
    /// It failed: what and why, with the exit code.
    Error(ErrorLine),
    /// Nobody reads its output any more: it ends quietly.
    OutputClosed,
    /// The owner of the profile ended in the middle: asked again, another one answers.
    Lost,
    /// It ends with this exit code; why was said.
    Code(u8),
    /// A signal ended it: exit code 128 and its number.
    Signal(i32),
}

impl From<ErrorLine> for End {
    fn from(error: ErrorLine) -> Self {
        // On its way out, an owner takes nothing new; the next one does.
        if error.code == "leaving" { Self::Lost } else { Self::Error(error) }
    }
}

impl From<CallError> for End {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) => error.into(),
            CallError::Lost => Self::Lost,
        }
    }
}
