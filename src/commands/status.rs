//! `status`: how the owner of the profile is.

use super::{
    End,
    output::{Output, age},
};
use crate::{
    app::Program,
    control::proto::{Call, Line},
};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it. Never starts a node: without an owner, exit 11.
pub async fn run(program: &Program, _: Args) -> Result<(), End> {
    let client = program.owner().await?;
    let output = Output { json: program.json };
    for line in client.call(Call::STATUS).all().await? {
        output.say(&line, || match &line {
            Line::Owner(owner) => {
                let error = owner.commit_error.as_deref().unwrap_or("none");
                let rows = [
                    ("pid", owner.pid.to_string()),
                    ("mode", owner.mode.clone()),
                    ("version", owner.version.clone()),
                    ("uptime", age(owner.uptime_s.saturating_mul(1_000))),
                    ("port", owner.port.to_string()),
                    ("sessions", owner.sessions.to_string()),
                    ("neighbours", owner.neighbours.to_string()),
                    ("seeds", format!("registered at {}", owner.seeds)),
                    ("outbox", owner.outbox.to_string()),
                    ("allow", format!("{}, {} ask to write", owner.allow.word(), owner.requests)),
                    ("store", format!("{} kB", owner.store_bytes / 1_000)),
                    ("commit error", error.to_owned()),
                    ("dropped", format!("{} datagrams that made no sense", owner.dropped)),
                ];
                let upkeep = owner.upkeep.as_ref().map(|upkeep| ("upkeep", upkeep.words()));
                rows.into_iter().chain(upkeep).map(|(key, value)| format!("{key:<13} {value}")).collect::<Vec<_>>().join("\n")
            }
            other => other.to_json(),
        })?;
    }
    Ok(())
}
