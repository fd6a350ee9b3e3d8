//! `find`: whom some words fit, here and at the seeds.

use super::{
    End,
    output::{self, Output},
};
use crate::{
    app::Program,
    control::{
        call::Find,
        client::Client,
        proto::{Call, Line},
    },
};

/// Arguments of `find`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A part of a name, or the beginning of an id; at seeds a name, or the beginning of a listed one
    #[arg(required = true)]
    words: Vec<String>,
}

/// Runs it with an owner.
pub async fn run(program: &Program, args: &Args, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let mut replies = client.call(Call::Find(Find { words: args.words.join(" "), timeout: program.timeout }));
    while let Some(line) = replies.next().await {
        let line = line?;
        match &line {
            Line::Peer(peer) => output.say(&line, || output::peer(peer, output::now()))?,
            Line::Notice(notice) if !program.json => output::note(&notice.words()),
            other if program.json => output.line(&other.to_json())?,
            _ => {}
        }
    }
    Ok(())
}
