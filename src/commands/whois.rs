//! `whois`: one peer in full.

use super::{
    End,
    output::{self, Output, age, local_time},
};
use crate::{
    app::Program,
    control::{
        call::Whois,
        client::Client,
        proto::{Call, Line, PeerLine},
    },
    text::Shown,
};

/// Arguments of `whois`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Petname, name, id, beginning of an id, or link
    peer: String,
}

/// Runs it with an owner.
pub async fn run(program: &Program, args: &Args, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let mut replies = client.call(Call::Whois(Whois { peer: args.peer.clone(), timeout: program.timeout, unseen: false }));
    while let Some(line) = replies.next().await {
        let line = line?;
        if let Line::Peer(peer) = &line {
            output.say(&line, || in_full(peer))?;
        }
    }
    Ok(())
}

fn in_full(peer: &PeerLine) -> String {
    let mut rows = vec![("name", Shown::line(&peer.name).to_string())];
    if let Some(petname) = &peer.petname {
        rows.push(("petname", Shown::line(petname).to_string()));
    }
    rows.push(("id", peer.id.to_string()));
    rows.push(("presence", output::presence(peer.presence).to_owned()));
    if let Some(away) = peer.away.as_ref().filter(|away| !away.is_empty()) {
        rows.push(("away", Shown::line(away).to_string()));
    }
    rows.push(("path", output::path(peer.path).to_owned()));
    if let Some(addr) = peer.addr {
        rows.push(("address", addr.to_string()));
    }
    if let Some(age_s) = peer.age_s {
        rows.push(("at a seed", format!("heard there {} ago; nothing exchanged yet", age(age_s.saturating_mul(1_000)))));
    }
    if let Some(rtt) = peer.rtt_ms {
        rows.push(("round trip", format!("{rtt:.1} ms")));
    }
    rows.push(("last heard", peer.last_heard.map_or_else(|| "never".to_owned(), |heard| local_time(heard, output::now()))));
    rows.push(("trust", output::trust(peer.trust).to_owned()));
    rows.push(("contact", if peer.contact { "yes" } else { "no" }.to_owned()));
    rows.iter().map(|(key, value)| format!("{key:<11} {value}")).collect::<Vec<_>>().join("\n")
}
