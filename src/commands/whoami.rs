//! `whoami`: name, id, addresses and link of this profile.

use super::{End, output::Output};
use crate::{
    app::Program,
    control::{
        client::Client,
        proto::{Call, Line, WhoamiLine},
    },
    text::Shown,
};

/// Arguments of `whoami`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

/// Runs it with an owner.
pub async fn run(program: &Program, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    for line in client.call(Call::WHOAMI).all().await? {
        output.say(&line, || match &line {
            Line::Whoami(me) => in_full(me),
            other => other.to_json(),
        })?;
    }
    Ok(())
}

fn in_full(me: &WhoamiLine) -> String {
    let mut rows = vec![("name", Shown::line(&me.name).to_string()), ("id", me.id.to_string()), ("port", me.port.to_string())];
    rows.extend(me.addrs.iter().map(|addr| ("address", addr.to_string())));
    rows.push(("link", me.link.clone()));
    rows.push(("at rest", if me.encrypted { "encrypted" } else { "not encrypted: as safe as this account" }.to_owned()));
    rows.push(("owner", me.owner_pid.map_or_else(|| "this command".to_owned(), |pid| format!("pid {pid}"))));
    rows.push(("version", me.version.clone()));
    rows.iter().map(|(key, value)| format!("{key:<8} {value}")).collect::<Vec<_>>().join("\n")
}
