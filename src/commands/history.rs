//! `history`: stored messages, oldest first.

use super::{
    End,
    output::{self, Output},
};
use crate::{
    app::Program,
    control::{
        call::History,
        client::Client,
        proto::{Call, Line},
    },
};

/// Arguments of `history`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only with this peer
    peer: Option<String>,
    /// Only the last so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only from this time on: 2026-01-31, 2026-01-31T08:00:00Z, or an age like 2h or 3d
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Only with all of these words: `hel*` for a beginning, "…" for a phrase; case and accents make no difference
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
}

/// Runs it with an owner.
pub async fn run(program: &Program, args: &Args, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let call = History { peer: args.peer.clone(), limit: args.limit, since: args.since.clone(), search: args.search.clone() };
    let mut replies = client.call(Call::History(call));
    while let Some(line) = replies.next().await {
        let line = line?;
        match &line {
            Line::History(row) => output.say(&line, || output::history(row, output::now()))?,
            // Who is meant is not clear: the error that follows says it for people.
            Line::Notice(notice) if !program.json => output::note(&format!("p2pchat-udp: {}", notice.words())),
            other if program.json => output.line(&other.to_json())?,
            _ => {}
        }
    }
    Ok(())
}
