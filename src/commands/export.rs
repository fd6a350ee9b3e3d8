//! `export`: the history, as lines for `import`, for other programs, or for people.

use super::{
    End,
    output::{self, Output},
};
use crate::control::{
    call::Export,
    client::Client,
    proto::{Call, ExportLine, HistoryLine, Line},
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
}

impl Progress {
    /// Nothing written yet.
    pub const fn new(args: Args) -> Self {
        Self { args, after: 0 }
    }
}

/// Runs it with an owner.
pub async fn run(progress: &mut Progress, client: &Client) -> Result<(), End> {
    let output = Output { json: progress.args.format == Format::Jsonl };
    loop {
        let page = page(client, progress.args.peer.clone(), progress.after).await?;
        let Some(last) = page.last() else { return Ok(()) };
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

async fn page(client: &Client, peer: Option<String>, after: u64) -> Result<Vec<HistoryLine>, End> {
    let lines = client.call(Call::Export(Export { peer, after })).all().await?;
    Ok(lines.into_iter().filter_map(|line| if let Line::History(line) = line { Some(line) } else { None }).collect())
}
