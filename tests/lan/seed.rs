//! Seeds on public hosts: the real program as a phonebook server, for as long as a test runs.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::channel,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{lab::Host, person::SOON};

/// A running seed. It is killed when this is dropped.
pub(crate) struct Seed {
    child: Child,
    /// Its key lies there, in `profile`.
    pub(crate) dir: TempDir,
    /// The first line.
    pub(crate) ready: Value,
}

impl Seed {
    /// Starts one on port `port`, and waits until it is ready. It knows the `fellows`, and relays.
    pub(crate) fn new(host: &Host, port: u16, fellows: &[&str]) -> Self {
        let args: Vec<_> = fellows.iter().flat_map(|fellow| ["--via", fellow]).collect();
        Self::start(host, tempfile::Builder::new().prefix("p2plan").tempdir().unwrap(), port, &args)
    }

    /// The same with what lies in a directory, and with other options than fellows.
    pub(crate) fn start(host: &Host, dir: TempDir, port: u16, args: &[&str]) -> Self {
        let mut command = host.command(env!("CARGO_BIN_EXE_p2pchat-udp"));
        command.arg("-d").arg(dir.path().join("profile")).args(["--seed", "--relay", "--json", "-v", "-n", "attic"]);
        command.args(["--listen", &format!("0.0.0.0:{port}")]).args(args);
        command.env_remove("NOTIFY_SOCKET").stdout(Stdio::piped()).stderr(File::create(dir.path().join("log")).unwrap());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (sender, first) = channel();
        // Reads on to the end, so that the program never writes into a closed pipe.
        std::thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
        let line = first.recv_timeout(SOON).unwrap_or_default();
        let seed = Self { child, dir, ready: serde_json::from_str(&line).unwrap_or_default() };
        assert_eq!(seed.ready["event"], "ready", "{}", seed.said());
        seed
    }

    /// SIGTERM. Gives what it has counted under these names.
    pub(crate) fn end_and_count<const N: usize>(mut self, names: [&str; N]) -> [u64; N] {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.said());
        let log = self.said();
        names.map(|name| {
            let last = log.rsplit_once(&format!(" {name}=")).unwrap_or_else(|| panic!("{name} is not in {log}")).1;
            last.split_whitespace().next().unwrap().parse().unwrap()
        })
    }

    /// What it wrote to stderr.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- a seed said:\n{}", self.said());
        }
    }
}
