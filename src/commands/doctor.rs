//! `doctor`: why people do not see each other, and what mends it.

use super::{End, output::Output};
use crate::{
    app::Program,
    control::{
        client::Client,
        proto::{Call, Line},
    },
};

/// Arguments of `doctor`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

/// Runs it with an owner.
pub async fn run(program: &Program, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let mut replies = client.call(Call::DOCTOR);
    while let Some(line) = replies.next().await {
        let line = line?;
        if let Line::Check(check) = &line {
            output.say(&line, || check.words())?;
        }
    }
    Ok(())
}
