//! `outbox`: what is not yet delivered; withdrawing, and trying now.

use super::{
    End,
    output::{self, Output, age},
};
use crate::{
    app::Program,
    control::{
        call::Outbox,
        client::Client,
        proto::{Call, Line, OutboxLine, Time},
    },
    text::Shown,
};

/// Arguments of `outbox`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// What waits, and why (without a word: the same)
    List,
    /// Withdraw a message
    Cancel {
        /// Its id, or at least 4 hex digits of its beginning or end
        id: String,
    },
    /// Try now: everybody, or one peer
    Retry {
        /// Only this peer
        peer: Option<String>,
    },
}

/// Runs it with an owner.
pub async fn run(program: &Program, args: &Args, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let call = match args.action.clone().unwrap_or(Action::List) {
        Action::List => Outbox::default(),
        Action::Cancel { id } => Outbox { cancel: Some(id), retry: None },
        Action::Retry { peer } => Outbox { cancel: None, retry: Some(peer.unwrap_or_default()) },
    };
    let mut replies = client.call(Call::Outbox(call));
    while let Some(line) = replies.next().await {
        let line = line?;
        match &line {
            Line::Outbox(row) => output.say(&line, || waiting(row))?,
            Line::Status(status) => output.say(&line, || match &status.reason {
                Some(reason) => format!("{}: {reason}", status.id.short()),
                None => format!("{}: {}", status.id.short(), output::state(status.state)),
            })?,
            other if program.json => output.line(&other.to_json())?,
            _ => {}
        }
    }
    Ok(())
}

fn waiting(row: &OutboxLine) -> String {
    let mut text = format!(
        "{} to {:<16} {:<6} {:<12} {} B, {} old",
        row.id.short(),
        Shown::line(&row.name).to_string(),
        output::state(row.state),
        row.reason.as_deref().unwrap_or("on its way"),
        row.len,
        age(row.age_ms),
    );
    let now = output::now();
    let mut until = |what: &str, time: Option<Time>| {
        if let Some(Time(at)) = time {
            text.push_str(&format!(", {what} in {}", age(u64::try_from(at.since(now).as_millis()).unwrap_or(u64::MAX))));
        }
    };
    until("next try", row.next_try_at);
    until("expires", row.expires_at);
    text
}
