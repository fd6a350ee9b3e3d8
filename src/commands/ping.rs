//! `ping`: whether a peer answers, by which way, and how fast.

use super::{
    End,
    output::{Output, path},
};
use crate::{
    app::Program,
    control::{
        call::Ping,
        client::Client,
        proto::{Call, Line, PongLine},
    },
    text::Shown,
};

/// Arguments of `ping`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Petname, name, id, beginning of an id, or link
    peer: String,
    /// How often to ask [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    count: Option<u32>,
}

/// Runs it with an owner.
pub async fn run(program: &Program, args: &Args, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let call = Ping { peer: args.peer.clone(), count: args.count, timeout: program.timeout };
    let mut replies = client.call(Call::Ping(call));
    while let Some(line) = replies.next().await {
        let line = line?;
        match &line {
            Line::Pong(pong) if pong.n == 1 => output.say(&line, || format!("{}\n{}", way(pong), pong.words()))?,
            Line::Pong(pong) => output.say(&line, || pong.words())?,
            Line::Ping(ping) => output.say(&line, || ping.words())?,
            _ => {}
        }
    }
    Ok(())
}

fn way(pong: &PongLine) -> String {
    let addr = pong.addr.map(|addr| format!(" {addr}")).unwrap_or_default();
    format!("{} ({}): {}{addr}", Shown::line(&pong.name), pong.peer.short(), path(pong.path))
}
