//! The whole program: from its start to the prompt, the memory of one that is idle among 1, 10 and 60 others, and its size.
//! `cargo bench --bench program` prints; nothing is asserted. Linux only, and everybody is on the loopback interface.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::pty::{Winsize, openpty};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2pchat-udp");
/// Starts that are measured.
const STARTS: usize = 30;
/// What is written once the line editor asks for the first line.
const PROMPT: &[u8] = b"> ";
/// After it everything that a start does is done.
const IDLE: Duration = Duration::from_secs(20);

fn command(dir: &Path, name: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--interface", "lo", "--name", name, "--network", &format!("bench-{}", std::process::id())]);
    command.arg("--data-dir").arg(dir.join(name)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn to_the_prompt(dir: &Path) -> Duration {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).expect("a terminal can be had");
    let mut keys = File::from(terminal.master);
    let mut command = command(dir, "alice");
    command.env("TERM", "xterm").stdin(Stdio::from(terminal.slave.try_clone().unwrap()));
    command.stdout(Stdio::from(terminal.slave.try_clone().unwrap())).stderr(Stdio::from(terminal.slave));
    let start = Instant::now();
    let mut child = Running(command.spawn().unwrap());
    drop(command);
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while !seen.windows(PROMPT.len()).any(|part| part == PROMPT) {
        let len = keys.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..len]);
    }
    let took = start.elapsed();
    keys.write_all(b"/quit\r").unwrap();
    // Until the terminal is closed.
    while keys.read(&mut buffer).is_ok_and(|len| len > 0) {}
    child.0.wait().unwrap();
    took
}

fn starts(dir: &Path) {
    let first = to_the_prompt(dir);
    let mut later: Vec<Duration> = (0..STARTS).map(|_| to_the_prompt(dir)).collect();
    later.sort_unstable();
    println!(
        "start to prompt: the first of a profile {first:.1?}; later ones {:.1?}, {:.1?}, {:.1?} (p10, p50, p90 of {STARTS})",
        later[STARTS / 10],
        later[STARTS / 2],
        later[STARTS * 9 / 10],
    );
}

/// Resident memory, in kB, now and at most.
fn resident(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    };
    (field("VmRSS:"), field("VmHWM:"))
}

fn memory(dir: &Path) {
    let subject = Running(command(dir, "subject").arg("daemon").spawn().unwrap());
    // Of one machine at most 64 are listed.
    let mut others = Vec::new();
    for peers in [0, 1, 10, 60] {
        while others.len() < peers {
            others.push(Running(command(dir, &format!("peer{}", others.len())).arg("daemon").spawn().unwrap()));
        }
        let mut wait = command(dir, "subject");
        wait.args(["peers", "--wait", &peers.to_string(), "--timeout", "60s"]);
        let here = wait.status().unwrap().success();
        std::thread::sleep(IDLE);
        let (now, most) = resident(subject.0.id());
        println!("resident, idle among {peers}{}: {now} kB (at most {most} kB)", if here { "" } else { " (not all came)" });
    }
}

fn main() {
    println!("program: {} bytes", fs::metadata(PROGRAM).unwrap().len());
    let dir = tempfile::tempdir().unwrap();
    starts(dir.path());
    memory(dir.path());
}
