//! `outbox`: what is not yet delivered; withdrawing, and trying now.

use std::io::IsTerminal;

use super::{
    End,
    output::{self, Output, age},
};
use crate::{
    app::Program,
    control::{
        call::Outbox,
        client::Client,
        proto::{Call, ErrorLine, Line, OutboxLine, Time},
    },
    editor,
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
    /// Put another text in the place of a message that has not left yet
    #[command(after_help = EXAMPLES_EDIT)]
    Edit {
        /// Its id, or at least 4 hex digits of its beginning or end
        id: String,
        /// The text; `-`: stdin to its end. Nothing: the editor of $VISUAL or $EDITOR, or stdin where that is no terminal
        text: Vec<String>,
    },
    /// Try now: everybody, or one peer
    Retry {
        /// Only this peer
        peer: Option<String>,
    },
}

const EXAMPLES_EDIT: &str = "\
Examples:
  p2pchat-udp outbox edit eb997a                     in the editor of $EDITOR
  p2pchat-udp outbox edit eb997a lunch at one?
  make 2>&1 | p2pchat-udp outbox edit eb997a";

/// The text that `edit` was given beside the id, where it stands on the command line or in a pipe. Errors are exit 2.
pub fn prepare(args: &Args) -> Result<Option<String>, End> {
    match &args.action {
        Some(Action::Edit { text, .. }) if !text.is_empty() || !std::io::stdin().is_terminal() => {
            Ok(Some(super::send::text_of(text, false)?))
        }
        _ => Ok(None),
    }
}

/// Runs it with an owner. `text`: what [`prepare`] found, or what an editor gave before the owner changed.
pub async fn run(program: &Program, args: &Args, text: &mut Option<String>, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let call = match args.action.clone().unwrap_or(Action::List) {
        Action::List => Outbox::default(),
        Action::Cancel { id } => Outbox { cancel: Some(id), ..Outbox::default() },
        Action::Retry { peer } => Outbox { retry: Some(peer.unwrap_or_default()), ..Outbox::default() },
        Action::Edit { id, .. } => {
            let call = Outbox { edit: Some(id), ..Outbox::default() };
            if text.is_none() {
                *text = edited(program, client, call.clone()).await?;
            }
            if text.is_none() {
                output::note("p2pchat-udp: nothing was changed: the message waits as it was");
                return Ok(());
            }
            Outbox { text: text.clone(), ..call }
        }
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

/// What the person makes of the message in an editor; `None`: nothing else than it was.
async fn edited(program: &Program, client: &Client, call: Outbox) -> Result<Option<String>, End> {
    let lines = client.call(Call::Outbox(call)).all().await?;
    let Some(Line::History(message)) = lines.into_iter().next() else {
        return Err(ErrorLine::new("internal", 1, "the owner did not say what the message is").into());
    };
    let text = editor::edit(&program.settings.dir, &message.text).await?;
    Ok((text != message.text).then_some(text))
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
