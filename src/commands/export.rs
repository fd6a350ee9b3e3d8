//! `export`: the history, as lines for `import`, for other programs, or for people.

use super::{
    End,
    output::{self, Output, note},
};
use crate::control::{
    call::Export,
    client::Client,
    proto::{Call, ErrorLine, ExportLine, HistoryLine, Line},
};

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only with this peer
    peer: Option<String>,
    /// What is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// JSON lines, everything, for `import`
    #[default]
    Jsonl,
    /// What people read
    Text,
}

/// How far it came: kept when the owner changes in the middle.
#[derive(Debug)]
pub struct Progress {
    args: Args,
    after: u64,
    /// Something could not be read.
    damaged: bool,
}

impl Progress {
    /// Nothing written yet.
    pub const fn new(args: Args) -> Self {
        Self { args, after: 0, damaged: false }
    }
}

/// Runs it with an owner.
pub async fn run(progress: &mut Progress, client: &Client) -> Result<(), End> {
    let output = Output { json: progress.args.format == Format::Jsonl };
    loop {
        let page = page(client, progress).await?;
        let Some(last) = page.last() else { return whole(progress) };
        let after = last.n.unwrap_or(u64::MAX);
        for line in page {
            match progress.args.format {
                Format::Jsonl => output.line(&ExportLine::new(line).to_json())?,
                Format::Text => output.line(&output::history(&line, output::now()))?,
            }
        }
        progress.after = after;
    }
}

async fn page(client: &Client, progress: &mut Progress) -> Result<Vec<HistoryLine>, End> {
    let (peer, after) = (progress.args.peer.clone(), progress.after);
    let mut rows = Vec::new();
    for line in client.call(Call::Export(Export { peer, after })).all().await? {
        match line {
            Line::History(row) => rows.push(row),
            Line::Notice(notice) => {
                progress.damaged = true;
                note(&format!("p2pchat-udp: {}", notice.words()));
            }
            _ => {}
        }
    }
    Ok(rows)
}

/// What is missing must not pass for all there was.
fn whole(progress: &Progress) -> Result<(), End> {
    if !progress.damaged {
        return Ok(());
    }
    let error = ErrorLine::new("store", 1, "the export is not whole: lines of the history are damaged");
    Err(error.hint("keep this one; a backup may have the rest").into())
}
