//! `unread` and `mark-read`: how many messages I have not read, and that I have.

use super::{End, output::Output};
use crate::{
    app::Program,
    control::{
        call,
        client::Client,
        proto::{Call, Line, UnreadLine},
    },
    text::Shown,
};

/// Arguments of `unread`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only how many there are in all, for a status line
    #[arg(long)]
    total: bool,
}

/// Arguments of `mark-read`.
#[derive(Debug, Clone, clap::Args)]
pub struct MarkArgs {
    /// Whose messages: petname, name, id or its beginning
    peer: String,
}

/// Runs `unread` with an owner.
pub async fn run(program: &Program, args: &Args, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    for line in client.call(Call::Unread(call::Unread { total: args.total })).all().await? {
        match &line {
            Line::Unread(row) => output.say(&line, || human(row))?,
            other if program.json => output.line(&other.to_json())?,
            _ => {}
        }
    }
    Ok(())
}

fn human(row: &UnreadLine) -> String {
    match (row.total, &row.name) {
        (Some(total), _) => total.to_string(),
        (None, name) => {
            let name = Shown::line(name.as_deref().unwrap_or_default()).to_string();
            format!("{name:<20} {}", row.count.unwrap_or_default())
        }
    }
}

/// Runs `mark-read` with an owner. Doing it twice is harmless.
pub async fn mark(program: &Program, args: &MarkArgs, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let mut replies = client.call(Call::MarkRead(call::MarkRead { peer: args.peer.clone(), id: None }));
    while let Some(line) = replies.next().await {
        let line = line?;
        // Who is meant is not clear: the error that follows says it for people.
        if program.json {
            output.line(&line.to_json())?;
        }
    }
    Ok(())
}
