//! People on hosts: the real program with a profile of its own, and a client on its control socket, which
//! is a file and so reachable from outside the host's network.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::lab::Host;

/// What a person's program has to do soon: three times the promise of "under 3 s".
pub(crate) const SOON: Duration = Duration::from_secs(9);

/// Somebody with a profile, on a host.
pub(crate) struct Person {
    /// What this person is called.
    pub(crate) name: &'static str,
    host: Host,
    dir: TempDir,
    /// Options before every command.
    pub(crate) options: Vec<&'static str>,
    daemon: Option<Child>,
}

impl Person {
    /// Somebody who never ran the program before.
    pub(crate) fn new(host: &Host, name: &'static str) -> Self {
        let dir = tempfile::Builder::new().prefix("p2plan").tempdir().unwrap();
        Self { name, host: host.clone(), dir, options: Vec::new(), daemon: None }
    }

    /// The program with this person's profile, on this person's host.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_p2pchat-udp"));
        command.arg("-d").arg(self.dir.path().join("profile")).args(["-n", self.name, "--json"]).args(&self.options);
        command.args(args).env_remove("NOTIFY_SOCKET");
        command
    }

    /// The same without `--json`.
    pub(crate) fn plain_command(&self, args: &[&str]) -> Command {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_p2pchat-udp"));
        command.arg("-d").arg(self.dir.path().join("profile")).args(["-n", self.name]).args(&self.options).args(args);
        command
    }

    /// The program as somebody types it who names nothing but the profile.
    pub(crate) fn typed(&self, args: &[String]) -> Command {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_p2pchat-udp"));
        command.arg("-d").arg(self.dir.path().join("profile")).args(args);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Where what the program says on stderr goes: shown when a test fails.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Starts the daemon and does not wait for it.
    pub(crate) fn launch(&mut self) -> Instant {
        self.launch_as(self.command(&["daemon"]))
    }

    /// The same by a command of the caller's.
    pub(crate) fn launch_as(&mut self, mut command: Command) -> Instant {
        assert!(self.daemon.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let started = Instant::now();
        self.daemon = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        started
    }

    /// Starts the daemon and connects to it.
    pub(crate) fn start(&mut self) -> Client {
        self.launch();
        self.connect()
    }

    /// A client of the running daemon, which has said `ready`.
    pub(crate) fn connect(&mut self) -> Client {
        let socket = self.dir.path().join("profile/control.sock");
        let begun = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(&socket)
                && let Some(client) = Client::new(self.name, stream)
            {
                return client;
            }
            assert!(begun.elapsed() < SOON, "{}'s daemon does not answer: {}", self.name, self.said());
            if let Some(ended) = self.daemon.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("{}'s daemon ended, {ended}: {}", self.name, self.said());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What the daemon wrote to stderr.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal to the daemon.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.daemon.as_ref().expect("the daemon runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// SIGTERM: says goodbye and ends with 0.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.ends();
    }

    /// Waits until the daemon, which something else has asked to end, has done so with 0.
    pub(crate) fn ends(&mut self) {
        let mut child = self.daemon.take().expect("the daemon runs");
        let ended = child.wait().unwrap();
        assert!(ended.success(), "{}'s daemon: {ended}: {}", self.name, self.said());
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("--- {} said:\n{}", self.name, self.said());
        }
    }
}

/// A client on a control socket. Lines are read as they come, with their time.
pub(crate) struct Client {
    name: &'static str,
    stream: UnixStream,
    lines: Receiver<(Instant, Value)>,
    kept: Vec<(Instant, Value)>,
    next_tag: u64,
    /// The first line.
    pub(crate) ready: Value,
}

impl Client {
    fn new(name: &'static str, stream: UnixStream) -> Option<Self> {
        let (sender, lines) = channel();
        let reader = BufReader::new(stream.try_clone().unwrap());
        std::thread::spawn(move || {
            for line in reader.lines() {
                let Ok(line) = line else { return };
                let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send((Instant::now(), value)).is_err() {
                    return;
                }
            }
        });
        let (_, ready) = lines.recv_timeout(SOON).ok()?;
        assert_eq!(ready["event"], "ready", "{ready}");
        Some(Self { name, stream, lines, kept: Vec::new(), next_tag: 0, ready })
    }

    /// This person's full id.
    pub(crate) fn id(&self) -> String {
        self.ready["id"].as_str().unwrap().to_owned()
    }

    /// Asks, and does not wait. Gives the tag. An owner that is gone does not hear it.
    pub(crate) fn ask(&mut self, mut call: Value) -> u64 {
        self.next_tag += 1;
        call["tag"] = json!(self.next_tag);
        let _ = writeln!(self.stream, "{call}");
        self.next_tag
    }

    /// Asks and waits for the end: the lines of the answer, the last is `done` or `error`.
    pub(crate) fn call(&mut self, call: Value) -> Vec<Value> {
        let text = call.to_string();
        let tag = json!(self.ask(call));
        let mut answer = Vec::new();
        loop {
            let (_, line) = self.expect(&text, SOON * 2, |line| line["tag"] == tag);
            let ended = line["event"] == "done" || line["event"] == "error";
            answer.push(line);
            if ended {
                return answer;
            }
        }
    }

    /// Who is here, and from now on events, come.
    pub(crate) fn subscribe(&mut self) {
        self.ask(json!({"call": "subscribe", "present": true}));
    }

    /// The next line that fits; lines that do not are kept for later.
    pub(crate) fn expect(&mut self, what: &str, hang: Duration, fits: impl Fn(&Value) -> bool) -> (Instant, Value) {
        self.next(hang, &fits)
            .unwrap_or_else(|| panic!("{}: no {what} within {hang:?}; other lines: {:?}", self.name, self.last()))
    }

    /// The next line that fits, if one comes in time.
    pub(crate) fn next(&mut self, hang: Duration, fits: &impl Fn(&Value) -> bool) -> Option<(Instant, Value)> {
        if let Some(at) = self.kept.iter().position(|(_, line)| fits(line)) {
            return Some(self.kept.remove(at));
        }
        let end = Instant::now() + hang;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if fits(&line.1) => return Some(line),
                Ok(line) => self.kept.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn last(&self) -> &[(Instant, Value)] {
        &self.kept[self.kept.len().saturating_sub(8)..]
    }

    /// Waits until a peer of this name is shown with this presence. Gives its line.
    pub(crate) fn sees(&mut self, name: &str, presence: &str, hang: Duration) -> (Instant, Value) {
        let known = self.call(json!({"call": "peers"}));
        if let Some(line) = known.into_iter().find(|line| line["name"] == name && line["presence"] == presence) {
            return (Instant::now(), line);
        }
        let what = format!("peer {name} {presence}");
        self.expect(&what, hang, |line| line["event"] == "peer" && line["name"] == name && line["presence"] == presence)
    }

    /// Makes somebody a contact, by a link or an id.
    pub(crate) fn add(&mut self, link: &str) {
        let answer = self.call(json!({"call": "contact", "action": "add", "peer": link}));
        assert_eq!(answer.last().unwrap()["event"], "done", "{answer:?}");
    }

    /// Waits until this peer is reached over such a path. Gives its line. That a path becomes another is no event.
    pub(crate) fn reaches(&mut self, id: &str, path: &str, hang: Duration) -> Value {
        let begun = Instant::now();
        loop {
            let known = self.call(json!({"call": "peers"}));
            if let Some(line) = known.iter().find(|line| line["id"] == id && line["path"] == path) {
                return line.clone();
            }
            assert!(begun.elapsed() < hang, "{}: no path {path} to {id} within {hang:?}: {known:?}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Puts a text into the outbox and does not wait longer. Gives its id.
    pub(crate) fn queue(&mut self, peer: &str, text: &str) -> String {
        let answer = self.call(json!({"call": "send", "peer": peer, "text": text, "wait": "queued"}));
        assert_eq!(answer.last().unwrap()["event"], "done", "{answer:?}");
        answer[0]["id"].as_str().unwrap().to_owned()
    }

    /// Sends a text and waits until it is delivered. Gives the time that took.
    pub(crate) fn deliver(&mut self, peer: &str, text: &str, hang: Duration) -> Duration {
        let begun = Instant::now();
        let tag = json!(self.ask(json!({"call": "send", "peer": peer, "text": text, "timeout": "10m"})));
        let what = format!("end of the sending of {text:?}");
        let ends = |line: &Value| line["tag"] == tag && (line["event"] == "done" || line["event"] == "error");
        let (at, line) = self.expect(&what, hang, ends);
        assert_eq!(line["event"], "done", "{line}");
        at - begun
    }

    /// The texts of the history with everybody, in one direction, oldest first.
    pub(crate) fn texts(&mut self, direction: &str) -> Vec<String> {
        let rows = self.call(json!({"call": "history", "limit": 100_000}));
        let rows = rows.into_iter().filter(|row| row["event"] == "history" && row["direction"] == direction);
        rows.map(|row| row["text"].as_str().unwrap().to_owned()).collect()
    }
}

/// A fitting message.
pub(crate) fn message(text: &str) -> impl Fn(&Value) -> bool {
    move |line| line["event"] == "message" && line["text"] == text
}
