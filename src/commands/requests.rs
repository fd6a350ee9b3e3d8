//! `requests`: strangers who ask to write, and what I answer.

use super::{
    End,
    output::{self, Output},
};
use crate::{
    app::Program,
    control::{
        call::{Requests, RequestsAction},
        client::Client,
        proto::{Call, Line},
    },
    text::Shown,
};

/// Arguments of `requests`.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

const EXAMPLES_ACCEPT: &str = "\
Examples:
  p2pchat-udp requests accept carol                  what waits at carol comes";

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// Let somebody write, who is a contact then
    #[command(after_help = EXAMPLES_ACCEPT)]
    Accept {
        /// Who asks: name, id or its beginning
        peer: String,
    },
    /// Have nothing of somebody, who is told; `contact add` takes it back
    Refuse {
        /// Who asks: name, id or its beginning
        peer: String,
    },
}

impl Args {
    /// What it asks of the owner.
    pub fn call(self) -> Requests {
        match self.action {
            None => Requests::default(),
            Some(Action::Accept { peer }) => Requests { action: RequestsAction::Accept, peer: Some(peer) },
            Some(Action::Refuse { peer }) => Requests { action: RequestsAction::Refuse, peer: Some(peer) },
        }
    }
}

/// Runs it with an owner. What was answered once is no request any more: doing it twice is an error, and harmless.
pub async fn run(program: &Program, call: &Requests, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let mut replies = client.call(Call::Requests(call.clone()));
    let mut any = false;
    while let Some(line) = replies.next().await {
        let line = line?;
        any = true;
        match &line {
            Line::Request(request) => output.say(&line, || output::request(request, output::now()))?,
            Line::Contact(contact) => output.say(&line, || {
                let who = format!("{} ({})", Shown::line(contact.label()), contact.id.short());
                match call.action {
                    RequestsAction::Refuse => format!("{who} is refused, and told so"),
                    _ => format!("{who} is a contact now: what waits there comes"),
                }
            })?,
            other if program.json => output.line(&other.to_json())?,
            _ => {}
        }
    }
    if !any && !program.json {
        output.line("nobody asks to write")?;
    }
    Ok(())
}
