//! `peers`: everybody known.

use super::{
    End,
    output::{self, Output},
};
use crate::{
    app::Program,
    control::{
        call::Peers,
        client::Client,
        proto::{Call, Line},
    },
};

/// Arguments of `peers`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Wait until so many are online (at most 10 s, or --timeout; then exit 5)
    #[arg(long, value_name = "N")]
    wait: Option<usize>,
}

/// Runs it with an owner.
pub async fn run(program: &Program, args: &Args, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let mut replies = client.call(Call::Peers(Peers { wait: args.wait, timeout: program.timeout }));
    let mut any = false;
    while let Some(line) = replies.next().await {
        let line = line?;
        if let Line::Peer(peer) = &line {
            any = true;
            output.say(&line, || output::peer(peer, output::now()))?;
        }
    }
    if !any && !program.json {
        output.line("nobody here yet")?;
    }
    Ok(())
}
