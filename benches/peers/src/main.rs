//! The program's transport beside others: the same messages, the same machine, the same minute. Prints one table, and
//! writes it and a chart into `docs/`.
//!
//! Every run is a process of its own, this program called once more: `measure`. What is to be measured stands in `plan`,
//! in which order in `schedule`, what the figures should be in `goals`.

mod chart;
mod goals;
mod link;
mod machine;
mod measure;
mod plan;
mod report;
mod schedule;
mod transport;

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use self::{
    machine::Machine,
    plan::{Peer, Workload},
};

/// The argument before a case that this process is to run.
const MEASURE: &str = "--measure";
/// How this is called, in the page that it writes.
const COMMAND: &str = "cargo run --release --manifest-path benches/peers/Cargo.toml";

/// The program's sessions beside raw UDP, QUIC (quinn), KCP, ENet and TCP.
#[derive(Parser)]
#[command(after_help = EXAMPLES, override_usage = "peers [OPTIONS] [WORKLOAD|TRANSPORT]...")]
struct Options {
    /// Only these workloads (p1 to p8) and these transports (ours, raw, quinn, quinn-stream, quinn-bbr, kcp, enet, tcp);
    /// of a kind that is not named, all
    #[arg(value_name = "WORKLOAD|TRANSPORT")]
    only: Vec<String>,
    /// A tenth of the work, once: shows that all works, and measures nothing
    #[arg(long)]
    quick: bool,
    /// Writes performance.md and performance.svg here; otherwise into docs/, where everything was run
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
P4 to P7 need root, for network namespaces; without it they are skipped.

Examples:
  cargo run --release --manifest-path benches/peers/Cargo.toml
      everything, in about four minutes; writes docs/performance.md and .svg
  cargo run --release --manifest-path benches/peers/Cargo.toml -- p1 p2 ours quinn
      two workloads over two transports; prints only
  cargo run --release --manifest-path benches/peers/Cargo.toml -- --quick
      whether it works, in half a minute";

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    if let (Some(MEASURE), Some(case)) = (args.next().as_deref(), args.next()) {
        measure(&case);
    }
    match compare(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One run, for the process that asked. Ends this one, and with it threads that never end.
fn measure(case: &str) -> ! {
    let run = schedule::deserialize(case).and_then(measure::run);
    let code = match run {
        Ok(figures) => {
            let mut out = std::io::stdout().lock();
            let printed = figures.iter().try_for_each(|(name, value)| writeln!(out, "{name} {value}"));
            i32::from(printed.and_then(|()| out.flush()).is_err())
        }
        Err(error) => {
            eprintln!("{error:#}");
            1
        }
    };
    process::exit(code)
}

fn compare(options: &Options) -> Result<ExitCode> {
    let (workloads, peers) = chosen(&options.only)?;
    let results = schedule::run(&workloads, &peers, options.quick);
    println!("{}", report::table(&results));
    let [must, stretch] = report::sums(&results);
    println!("Goals met: {} of {} that must be, {} of {} beyond.", must.0, must.1, stretch.0, stretch.1);
    let everything = workloads.len() == Workload::ALL.len() && peers.len() == Peer::ALL.len() && !options.quick;
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let out = options.out.clone().or_else(|| (everything && results.is_complete()).then_some(docs));
    match out {
        Some(out) => {
            let page = report::page(&results, &Machine::here(), COMMAND);
            write(&out, "performance.md", &page)?;
            write(&out, "performance.svg", &chart::draw(&results))?;
        }
        None => eprintln!("Nothing is written: not everything was run. --out DIR writes it all the same."),
    }
    Ok(if results.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(out: &Path, name: &str, text: &str) -> Result<()> {
    let path = out.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("written: {}", path.display());
    Ok(())
}

/// Names of workloads and transports, each kind in its own order; of a kind that is not named, all.
fn chosen(names: &[String]) -> Result<(Vec<Workload>, Vec<Peer>)> {
    let (mut workloads, mut peers) = (Vec::new(), Vec::new());
    for name in names {
        if let Ok(workload) = Workload::from_str(name, true) {
            workloads.push(workload);
        } else {
            let peer = Peer::from_str(name, true);
            peers.push(peer.ok().with_context(|| format!("`{name}` is neither a workload nor a transport; see --help"))?);
        }
    }
    let workloads = Workload::ALL.into_iter().filter(|one| workloads.is_empty() || workloads.contains(one)).collect();
    let peers = Peer::ALL.into_iter().filter(|one| peers.is_empty() || peers.contains(one)).collect();
    Ok((workloads, peers))
}
