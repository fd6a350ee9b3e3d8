//! No command: the shell, of the owner or as one more window of it.

use std::{io::IsTerminal, os::unix::process::CommandExt};

use super::End;
use crate::{
    app::{Front, INTERRUPT, Program},
    control::proto::{Call, ErrorLine, Line},
    shell::{self, Company, Options},
};

/// Exit code: the owner of the profile has ended, and it was another process.
pub const OWNER_ENDED: u8 = 11;

/// Runs until the person leaves, the script is through, a signal comes, or the owner ends.
pub async fn run(program: &Program, front: &Front) -> Result<(), End> {
    if program.json {
        return Err(ErrorLine::new("usage", 2, "--json needs a command: the shell is for people").into());
    }
    let mut rng_seed = [0; 32];
    getrandom::fill(&mut rng_seed).map_err(|e| ErrorLine::new("internal", 1, format!("no randomness: {e}")))?;
    let options = Options {
        plain: program.settings.plain,
        fail_fast: program.fail_fast,
        timeout: program.timeout.map(|span| span.0),
        dir: program.settings.dir.clone(),
        bell: program.settings.bell,
        notify: program.settings.notify_cmd.clone().map(|exec| exec.for_profile(&program.settings.dir)),
        joins: program.settings.joins,
        away_after: program.settings.away_after,
        company: company(front).await,
        rng_seed,
    };
    let is_person = std::io::stdin().is_terminal();
    let until = async {
        loop {
            match front.ended(program).await {
                // Ctrl-C takes back what was typed, and never ends the chat.
                Err(End::Signal(INTERRUPT)) if is_person => {}
                ended => return ended,
            }
        }
    };
    match shell::run(front.client().clone(), &options, until).await {
        Ok(0) => Ok(()),
        Ok(code) => Err(End::Code(code)),
        Err(ended) => ended,
    }
}

/// The window of a person goes on when the process that owned the profile has ended: it becomes the owner
/// itself, or a window of the next. A script ends.
pub fn go_on_alone() -> Result<(), End> {
    if !std::io::stdin().is_terminal() {
        return Err(End::Code(OWNER_ENDED));
    }
    // From the beginning, in the same process: a thread that still reads the keyboard ends by it.
    let mut args = std::env::args_os();
    let program = std::env::current_exe().ok().or_else(|| args.next().map(Into::into)).unwrap_or_default();
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    Err(ErrorLine::new("internal", 1, format!("the shell could not go on: {error}")).into())
}

async fn company(front: &Front) -> Company {
    if front.is_owner() {
        return Company::Alone;
    }
    let lines = front.client().call(Call::STATUS).all().await.unwrap_or_default();
    match lines.first() {
        Some(Line::Owner(owner)) if owner.mode == "shell" => Company::Shell,
        _ => Company::Daemon,
    }
}
