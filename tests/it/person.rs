//! A throw-away person for tests: a profile, a network of the test's own, and the real binary.

use std::{
    fmt::Debug,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes this long: it only keeps a broken program from hanging the tests.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_p2pchat-udp");

/// A network that no other test, and no other run of the tests, speaks on.
#[derive(Debug, Clone)]
pub(crate) struct Net {
    options: Vec<String>,
}

impl Net {
    pub(crate) fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let port = 20_000 + (pid.wrapping_mul(97).wrapping_add(number)) % 12_000;
        let options = [
            "-i",
            "lo",
            "--network",
            &format!("test-{pid}-{number}"),
            "--group",
            &format!("224.0.0.178:{port}"),
            "--group",
            &format!("[ff12::5032:5043]:{port}"),
        ];
        Self { options: options.map(str::to_owned).to_vec() }
    }

    /// A person on it, with a new profile.
    pub(crate) fn person(&self, name: &str) -> Person {
        Person { dir: tempfile::tempdir().unwrap(), name: name.to_owned(), net: self.clone() }
    }
}

#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) dir: TempDir,
    pub(crate) name: String,
    net: Net,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Its JSON lines.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"))).collect()
    }

    /// The lines of one event.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["event"] == event).collect()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }
}

/// The program in an environment without settings.
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("P2PCHAT_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
#[track_caller]
pub(crate) fn run(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: code(output.status),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The exit code as a shell says it.
pub(crate) fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

impl Person {
    pub(crate) fn profile(&self) -> PathBuf {
        self.dir.path().join("profile")
    }

    /// A command of this person, not yet run.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = program();
        command.arg("--data-dir").arg(self.profile()).args(["--name", &self.name]).args(&self.net.options).args(args);
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run<S: AsRef<std::ffi::OsStr> + Debug>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        run(self.command(args))
    }

    /// Runs a command that reads `input`.
    #[track_caller]
    pub(crate) fn run_with(&self, input: &[u8], args: &[&str]) -> Ended {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writing = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        let _ = writing.join();
        Ended {
            code: code(output.status),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a command and goes on.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::new(self.command(args))
    }

    /// Starts the owner of the profile; ready when this returns.
    pub(crate) fn daemon(&self) -> Running {
        let daemon = self.start(&["daemon", "--json"]);
        daemon.until(|line| line["event"] == "ready");
        daemon
    }

    /// Starts `listen` with everything that happens; ready when this returns.
    pub(crate) fn listen(&self) -> Running {
        let listen = self.start(&["listen", "--events", "--json"]);
        listen.until(|line| line["event"] == "ready");
        listen
    }

    pub(crate) fn id(&self) -> String {
        let me = self.run(["whoami", "--json"]).expect(0);
        me.lines()[0]["id"].as_str().unwrap().to_owned()
    }

    /// Texts of the history, as `direction text state`.
    pub(crate) fn history(&self) -> Vec<String> {
        let history = self.run(["history", "--json"]).expect(0);
        let word = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        let each = |line: &Value| format!("{} {} {}", word(line, "direction"), word(line, "text"), word(line, "state"));
        history.events("history").iter().map(each).collect()
    }
}

/// A command that runs; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Running {
    pub(crate) fn new(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = lines_of(child.stdout.take());
        let errors = lines_of(child.stderr.take());
        Self { child, lines, errors }
    }

    /// The next line of its stdout.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        match self.lines.recv_timeout(HANG) {
            Ok(line) => line,
            Err(_) => panic!("no line came; stderr: {:?}", self.errors.try_iter().collect::<Vec<_>>()),
        }
    }

    /// The next line of its stdout, if one comes within this time.
    pub(crate) fn line_within(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// Reads JSON lines until one fits.
    #[track_caller]
    pub(crate) fn until(&self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.line();
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
            if fits(&value) {
                return value;
            }
        }
    }

    /// The text of the next message.
    #[track_caller]
    pub(crate) fn message(&self) -> String {
        self.until(|line| line["event"] == "message")["text"].as_str().unwrap().to_owned()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> i32 {
        code(self.child.wait().unwrap())
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(stream) = stream {
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    lines
}

/// Every file below `dir`, with what is in it.
pub(crate) fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}
