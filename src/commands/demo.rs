//! `demo`: two throw-away people on this machine. Everything is done by this same program in processes of
//! their own, over the loopback interface; nothing is pretended, and nothing leaves the machine.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{End, output::Output};
use crate::{app::Program, control::proto::ErrorLine, text::Shown};

/// The demo's own group, so that whoever chats on this machine is not in it.
const GROUP: &str = "224.0.0.178:17116";
/// What each step may take; nothing here needs more than a moment.
const STEP_TIMEOUT: &str = "5s";

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave the two profiles, to go on with
    #[arg(long)]
    keep: bool,
}

/// Runs it: finds, sends, goes offline, delivers late. Each step is printed with the command that does it.
pub async fn run(program: &Program, args: &Args) -> Result<(), End> {
    // A signal in the middle takes the stage down, with everybody on it.
    program.signals.or(play(args)).await?
}

async fn play(args: &Args) -> Result<(), End> {
    let output = Output { json: false };
    let mut stage = Stage::build(output)?;
    output.line("Two people on this machine, each with a profile of their own:")?;
    stage.daemon("alice").await?;
    stage.daemon("bob").await?;
    output.line("\nThey find each other; nobody told them where:")?;
    stage.show("alice", &["peers", "--wait", "1", "--timeout", STEP_TIMEOUT]).await?;
    output.line("\nAlice writes. `delivered` means: it is on Bob's disk.")?;
    stage.show("alice", &["send", "bob", "hello bob"]).await?;
    stage.show("bob", &["history"]).await?;
    output.line("\nBob shuts his laptop, and Alice writes all the same:")?;
    stage.stop("bob").await?;
    stage.show("alice", &["send", "bob", "see you at eight", "--wait", "queued"]).await?;
    stage.show("alice", &["outbox"]).await?;
    output.line("\nBob is back. Nobody types anything; it goes out by itself:")?;
    stage.daemon("bob").await?;
    stage.until_delivered().await?;
    stage.show("bob", &["history"]).await?;
    stage.show("alice", &["history"]).await?;
    stage.stop("alice").await?;
    stage.stop("bob").await?;
    output.line("\nThat was it. On two machines of one network it is the same, without the -d: just run")?;
    output.line("p2pchat-udp on both.")?;
    if args.keep {
        let dir = stage.keep();
        output.line("\nThe two are kept. Be one of them in this window, and the other in the next:")?;
        for name in ["alice", "bob"] {
            output.line(&format!("$ p2pchat-udp -d {}", dir.join(name).display()))?;
        }
    }
    Ok(())
}

/// Where it happens: a directory and the processes. Both are gone when this is.
struct Stage {
    output: Output,
    program: PathBuf,
    dir: Option<PathBuf>,
    daemons: Vec<(&'static str, Child)>,
    verbose: bool,
}

impl Stage {
    fn build(output: Output) -> Result<Self, End> {
        let failed = |what: &str, e: &io::Error| ErrorLine::new("demo", 1, format!("demo: {what}: {e}"));
        let exe = std::env::current_exe().map_err(|e| failed("this program is not found", &e))?;
        let mut random = [0; 3];
        getrandom::fill(&mut random).map_err(|e| failed("no randomness", &io::Error::other(e)))?;
        let word = data_encoding::HEXLOWER.encode(&random);
        let dir = std::env::temp_dir().join(format!("p2pchat-demo-{word}"));
        let make = |dir: &Path| fs::DirBuilder::new().mode(0o700).create(dir).map_err(|e| failed("no room for the profiles", &e));
        make(&dir)?;
        let stage = Self {
            output,
            program: exe,
            dir: Some(dir.clone()),
            daemons: Vec::new(),
            verbose: std::env::var_os("RUST_LOG").is_some(),
        };
        for name in ["alice", "bob"] {
            let profile = dir.join(name);
            make(&profile)?;
            // In the file, so that the printed commands are the whole commands.
            let config = format!(
                "name = \"{name}\"\nnetwork = \"demo-{word}\"\ninterface = [\"lo\"]\ngroup = [\"{GROUP}\"]\nlisten = \"127.0.0.1:0\"\n"
            );
            fs::write(profile.join(crate::config::FILE_NAME), config).map_err(|e| failed("no room for the profiles", &e))?;
        }
        Ok(stage)
    }

    fn profile(&self, name: &str) -> PathBuf {
        self.dir.clone().unwrap_or_default().join(name)
    }

    /// The program on this person's profile; what the environment says is for the real one.
    fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-d").arg(self.profile(name)).args(args).stdin(Stdio::null()).kill_on_drop(true);
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("P2PCHAT_") {
                command.env_remove(key);
            }
        }
        if !self.verbose {
            command.env("RUST_LOG", "error");
        }
        command
    }

    fn print_command(&self, name: &str, args: &[&str]) -> Result<(), End> {
        let quoted = args.iter().map(|arg| if arg.contains(' ') { format!("\"{arg}\"") } else { (*arg).to_owned() });
        let profile = self.profile(name);
        self.output.line(&format!("$ p2pchat-udp -d {} {}", profile.display(), quoted.collect::<Vec<_>>().join(" ")))
    }

    /// Starts this person's daemon and waits until it is ready.
    async fn daemon(&mut self, name: &'static str) -> Result<(), End> {
        self.print_command(name, &["daemon"])?;
        let mut child = self.command(name, &["daemon"]).stdout(Stdio::piped()).spawn().map_err(|e| broken("daemon", &e))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).await.map_err(|e| broken("daemon", &e))?;
        }
        self.daemons.push((name, child));
        if line.is_empty() {
            return Err(ErrorLine::new("demo", 1, "demo: the daemon did not start").into());
        }
        self.output.line(&Shown::line(line.trim_end()).to_string())
    }

    /// Runs one command, and prints it, what it says, and how long it took.
    async fn show(&self, name: &str, args: &[&str]) -> Result<(), End> {
        self.print_command(name, args)?;
        let began = Instant::now();
        let done = self.command(name, args).stderr(Stdio::inherit()).output().await.map_err(|e| broken(args[0], &e))?;
        let took = began.elapsed().as_millis();
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            self.output.line(&Shown::line(line).to_string())?;
        }
        if !done.status.success() {
            let code = done.status.code().unwrap_or(1);
            return Err(ErrorLine::new("demo", 1, format!("demo: {} ended with {code} after {took} ms", args[0])).into());
        }
        if matches!(args[0], "peers" | "send") {
            self.output.line(&format!("({took} ms, the start of this command included)"))?;
        }
        Ok(())
    }

    /// Until Alice's outbox is empty; it takes a moment.
    async fn until_delivered(&self) -> Result<(), End> {
        let began = Instant::now();
        loop {
            let list = self.command("alice", &["outbox", "--json"]).output().await.map_err(|e| broken("outbox", &e))?;
            if list.status.success() && list.stdout.is_empty() {
                return self.output.line(&format!("(delivered within {} ms of his return)", began.elapsed().as_millis()));
            }
            if began.elapsed().as_secs() >= 5 {
                return Err(ErrorLine::new("demo", 5, "demo: it was not delivered within 5 s").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(&mut self, name: &str) -> Result<(), End> {
        self.show(name, &["stop"]).await?;
        if let Some(place) = self.daemons.iter().position(|(who, _)| *who == name) {
            let (_, mut child) = self.daemons.swap_remove(place);
            let _ = child.wait().await;
        }
        Ok(())
    }

    /// The profiles stay.
    fn keep(&mut self) -> PathBuf {
        self.dir.take().unwrap_or_default()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.daemons.clear();
        if let Some(dir) = &self.dir {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

fn broken(what: &str, error: &io::Error) -> ErrorLine {
    ErrorLine::new("demo", 1, format!("demo: {what} could not be run: {error}"))
}
