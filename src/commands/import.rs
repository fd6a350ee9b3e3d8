//! `import`: lines of an exported file go into the history. Asked for again, or killed in the middle, it adds nothing twice.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    End,
    output::{Output, note},
};
use crate::{
    app::Program,
    control::{
        LINE_LEN_MAX,
        call::Import,
        client::Client,
        proto::{Call, ErrorLine, ExportLine, HistoryLine, ImportedLine, Line},
    },
    id::PeerId,
    text::Shown,
};

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `export` wrote; - for stdin
    file: PathBuf,
}

/// Lines that go to the owner together, and bytes of them, about.
const LINES_MAX: usize = 256;
const BYTES_MAX: usize = 1 << 20;
/// Bad lines that are named; the rest is counted.
const NAMED_MAX: usize = 20;
/// How often it says how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// A file that is being read: kept when the owner changes in the middle.
pub struct Progress {
    from: BufReader<Box<dyn Read>>,
    name: String,
    /// Lines read so far.
    number: usize,
    /// Not known to be on disk.
    waiting: Vec<HistoryLine>,
    len: usize,
    done: ImportedLine,
    told_at: Instant,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Progress({}, {})", self.name, self.number)
    }
}

impl Progress {
    /// Opens the file. Errors (exit 2) have changed nothing.
    pub fn open(args: &Args) -> Result<Self, ErrorLine> {
        let name = args.file.display().to_string();
        let from: Box<dyn Read> = if args.file == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&args.file).map_err(|error| unreadable(&name, &error))?)
        };
        let from = BufReader::new(from);
        let done = ImportedLine::default();
        Ok(Self { from, name, number: 0, waiting: Vec::new(), len: 0, done, told_at: Instant::now() })
    }

    /// Reads on until enough wait to be handed over; false at the end of the file.
    fn fill(&mut self, me: &PeerId) -> Result<bool, ErrorLine> {
        while self.waiting.len() < LINES_MAX && self.len < BYTES_MAX {
            let mut line = Vec::new();
            let read = (&mut self.from).take(LINE_LEN_MAX as u64).read_until(b'\n', &mut line);
            let len = read.map_err(|error| unreadable(&self.name, &error))?;
            if len == 0 {
                return Ok(false);
            }
            self.number += 1;
            if line.last() != Some(&b'\n') && len == LINE_LEN_MAX {
                self.skip_line().map_err(|error| unreadable(&self.name, &error))?;
                self.bad(&"longer than any message");
            } else if !line.trim_ascii().is_empty() {
                match ExportLine::parse(&line) {
                    Ok(line) if line.peer == *me => self.bad(&"said with yourself"),
                    Ok(line) => {
                        self.waiting.push(line);
                        self.len += len;
                    }
                    Err(why) => self.bad(&why),
                }
            }
        }
        Ok(true)
    }

    /// To the end of a line that is too long, in pieces.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.from.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let len = end.unwrap_or(buffer.len());
            self.from.consume(len);
            if end.is_some() || len == 0 {
                return Ok(());
            }
        }
    }

    fn bad(&mut self, why: &dyn std::fmt::Display) {
        self.done.bad += 1;
        if self.done.bad <= NAMED_MAX {
            note(&format!("p2pchat-udp: line {} is left out: {}", self.number, Shown::line(&why.to_string())));
        } else if self.done.bad == NAMED_MAX + 1 {
            note("p2pchat-udp: further lines like these are counted, and not named");
        }
    }

    /// Says how far it is, to a person who waits.
    fn tell(&mut self) {
        if self.told_at.elapsed() >= PROGRESS && io::stderr().is_terminal() {
            self.told_at = Instant::now();
            let _ = write!(io::stderr(), "\r{} lines", self.number);
            let _ = io::stderr().flush();
        }
    }
}

/// Runs it with an owner.
pub async fn run(program: &Program, progress: &mut Progress, client: &Client) -> Result<(), End> {
    loop {
        let more = progress.fill(&client.ready().id)?;
        if !progress.waiting.is_empty() {
            let lines = progress.waiting.clone();
            for line in client.call(Call::Import(Import { lines })).all().await? {
                if let Line::Imported(imported) = line {
                    progress.done.added += imported.added;
                    progress.done.known += imported.known;
                }
            }
            progress.waiting.clear();
            progress.len = 0;
        }
        progress.tell();
        if !more {
            break;
        }
    }
    let done = progress.done;
    let output = Output { json: program.json };
    let words = || format!("imported {}, known {}, bad {}", done.added, done.known, done.bad);
    output.say(&Line::Imported(done), words)?;
    if done.bad > 0 {
        let text = format!("{} lines of {} are left out", done.bad, progress.name);
        return Err(ErrorLine::new("bad-lines", 2, text).hint("the others are imported; `export` writes such files").into());
    }
    Ok(())
}

fn unreadable(name: &str, error: &io::Error) -> ErrorLine {
    ErrorLine::new("file", 2, format!("{name} cannot be read: {error}"))
}
