//! Where the profile's password comes from: a command, a terminal without echo, or lines of stdin. What it opens lives in `store`.

use std::{
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    process::Stdio,
};

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use zeroize::Zeroizing;

use super::{
    Program, connect, internal,
    profile::{self, Taken, socket_path},
};
use crate::{
    commands::{End, output::note},
    control::{
        call::{Call, Passwd, Secret, changed},
        client::Client,
        proto::{ErrorLine, Line},
    },
    crypto::vault::{Cost, PASSWORD_LEN_MAX, Unlock},
    shell::forget_typed,
    store::Store,
};

/// What whoever sets one should know first.
const FINAL: &str = "p2pchat-udp: a forgotten password is final: nobody can open the profile without it";

/// The password that the profile has, from whichever source is there.
pub(super) async fn present(program: &Program) -> Result<Unlock, ErrorLine> {
    if let Some(command) = &program.settings.password_cmd {
        return unlock(from_command(command).await?);
    }
    if !is_asked() {
        let text = format!("the profile {} has a password, and there is no terminal to ask for it", program.shown_dir());
        return Err(ErrorLine::new("password", 10, text).hint("give a command that prints it with --password-cmd"));
    }
    unlock(ask("Password: ").await?)
}

/// `passwd`: sets, changes or removes it, by way of the owner where there is one. Errors have changed nothing.
pub(super) async fn change(program: &Program) -> Result<(), End> {
    let dir = &program.settings.dir;
    if let Some(client) = connect(&socket_path(dir)?).await? {
        return change_by(program, &client).await;
    }
    let old = match profile::take(&program.settings, None)? {
        Taken::Store(_) => None,
        Taken::Locked => return Err(profile::in_use(program).into()),
        Taken::Sealed => Some(unlock(old(program).await?)?),
    };
    if let Some(old) = &old {
        // Before anybody types a new one.
        drop(Store::unlock(dir, old).map_err(|error| profile::refused(dir, &error))?);
    }
    let new = new().await?;
    let had_one = old.is_some();
    let has_one = !new.is_empty();
    let new = has_one.then(|| unlock(new)).transpose()?;
    Store::set_password(dir, old.as_ref(), new.as_ref(), Cost::NEW).map_err(|error| profile::refused(dir, &error))?;
    if has_one {
        forget_typed(dir);
    }
    note(&format!("p2pchat-udp: {}", changed(had_one, has_one)));
    Ok(())
}

/// The same by the owner, who goes on meanwhile.
async fn change_by(program: &Program, client: &Client) -> Result<(), End> {
    let mut had_one = false;
    for line in client.call(Call::WHOAMI).all().await? {
        had_one |= matches!(line, Line::Whoami(whoami) if whoami.encrypted);
    }
    let old = if had_one { Some(Secret::new(old(program).await?)) } else { None };
    let new = Secret::new(new().await?);
    let has_one = !new.is_empty();
    client.call(Call::Passwd(Passwd { old, new: Some(new) })).all().await?;
    note(&format!("p2pchat-udp: {}", changed(had_one, has_one)));
    Ok(())
}

/// The present one of a profile that has one.
async fn old(program: &Program) -> Result<Zeroizing<String>, ErrorLine> {
    match &program.settings.password_cmd {
        Some(command) => from_command(command).await,
        None => ask("Present password: ").await,
    }
}

/// What it is to be; empty: none.
async fn new() -> Result<Zeroizing<String>, ErrorLine> {
    if is_asked() {
        note(FINAL);
    }
    let new = ask("New password (empty: none): ").await?;
    if *ask("The same again: ").await? != *new {
        return Err(ErrorLine::new("usage", 2, "the two passwords differ").hint("nothing was changed; try again"));
    }
    Ok(new)
}

pub(super) fn unlock(password: Zeroizing<String>) -> Result<Unlock, ErrorLine> {
    let mut rng_seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *rng_seed).map_err(|e| internal(&e))?;
    Ok(Unlock::new(password, *rng_seed))
}

/// True where somebody types it, and must not see it; wherever the prompt goes.
fn is_asked() -> bool {
    io::stdin().is_terminal()
}

/// What the command prints, without the newline at its end.
async fn from_command(command: &str) -> Result<Zeroizing<String>, ErrorLine> {
    let failed = |why: &dyn std::fmt::Display| {
        let text = format!("the password command gave no password: {why}");
        ErrorLine::new("password", 10, text)
            .hint("it is run by sh -c, must print the password and end with 0: see --password-cmd")
    };
    // It may ask a person; lines of a script, or of a pipe, are not for it.
    let stdin = if io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::null() };
    let mut shell = tokio::process::Command::new("sh");
    shell.arg("-c").arg(command).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let running = shell.spawn().map_err(|e| failed(&e))?;
    let output = running.wait_with_output().await.map_err(|e| failed(&e))?;
    let bytes = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(failed(&output.status));
    }
    text_of(&bytes)
}

/// One line of stdin; on a terminal after a prompt, and without echo.
async fn ask(prompt: &str) -> Result<Zeroizing<String>, ErrorLine> {
    let silent = if is_asked() { Some(Silent::new(prompt).map_err(|e| internal(&e))?) } else { None };
    // A signal ends the wait and gives the echo back; the thread ends with the process.
    let line = tokio::task::spawn_blocking(read_line).await.map_err(|e| internal(&e))?;
    drop(silent);
    text_of(&line.map_err(|e| ErrorLine::new("usage", 2, format!("no password was read: {e}")))?)
}

fn text_of(bytes: &[u8]) -> Result<Zeroizing<String>, ErrorLine> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.len() > PASSWORD_LEN_MAX {
        return Err(ErrorLine::new("usage", 2, format!("a password has at most {PASSWORD_LEN_MAX} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ErrorLine::new("usage", 2, "a password is UTF-8 text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Byte by byte: what follows is for others, and no buffer keeps it.
fn read_line() -> io::Result<Zeroizing<Vec<u8>>> {
    let stdin = io::stdin();
    let mut line = Zeroizing::new(Vec::with_capacity(PASSWORD_LEN_MAX + 2));
    let mut byte = Zeroizing::new([0]);
    while line.len() <= PASSWORD_LEN_MAX + 1 {
        match nix::unistd::read(stdin.as_fd(), &mut *byte) {
            Ok(0) if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(_) => line.push(byte[0]),
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if byte[0] == b'\n' {
            break;
        }
    }
    Ok(line)
}

/// A terminal that shows nothing of what is typed; dropped, it is as before.
struct Silent(Termios);

impl Silent {
    fn new(prompt: &str) -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        silent.local_flags.insert(LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::ISIG);
        termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &silent)?;
        let mut stderr = io::stderr();
        stderr.write_all(prompt.as_bytes())?;
        stderr.flush()?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}
