//! `listen`: prints messages as they arrive.

use super::{
    End,
    output::{self, Output},
};
use crate::{
    app::Program,
    control::{
        call::{Subscribe, Whois},
        client::Client,
        proto::{Call, ErrorLine, Line, MessageLine, Time},
    },
    exec::{Exec, ExecError},
    id::{MessageId, PeerId},
    text::Shown,
};

/// Arguments of `listen`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only from this peer
    #[arg(long, value_name = "PEER")]
    from: Option<String>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Also who is here, comes and goes, what becomes of my messages, and notices
    #[arg(long)]
    events: bool,
    /// The exact bytes of each text and a newline
    #[arg(long, conflicts_with_all = ["events", "json"])]
    raw: bool,
    /// Run this for each message instead of printing it: its text on stdin, its sender in the environment
    #[arg(long, value_name = "CMD", conflicts_with = "raw", value_parser = exec)]
    exec: Option<Exec>,
}

fn exec(line: &str) -> Result<Exec, &'static str> {
    line.parse()
}

/// How far it came: kept when the owner changes in the middle.
#[derive(Debug)]
pub struct Progress {
    args: Args,
    from: Option<PeerId>,
    /// Behind this message the next owner begins.
    last: Option<MessageId>,
    count: u64,
    deadline: Option<tokio::time::Instant>,
}

impl Progress {
    /// Nothing printed yet.
    pub fn new(program: &Program, mut args: Args) -> Self {
        args.exec = args.exec.map(|exec| exec.for_profile(&program.settings.dir));
        let deadline = program.timeout.map(|span| tokio::time::Instant::now() + span.0);
        Self { args, from: None, last: None, count: 0, deadline }
    }
}

/// Runs it with an owner. Time up ends it: with exit 5 where messages were counted and some are missing.
pub async fn run(program: &Program, progress: &mut Progress, client: &Client) -> Result<(), End> {
    let Some(deadline) = progress.deadline else { return listen(program, progress, client).await };
    match tokio::time::timeout_at(deadline, listen(program, progress, client)).await {
        Ok(ended) => ended,
        Err(_) => match progress.args.count {
            Some(count) => {
                Err(ErrorLine::new("timeout", 5, format!("time is up: {} of {count} messages came", progress.count)).into())
            }
            None => Ok(()),
        },
    }
}

/// Where it was too slow (what it prints to, or runs, is), it goes on behind the last message, and misses none.
async fn listen(program: &Program, progress: &mut Progress, client: &Client) -> Result<(), End> {
    let mut connection = None;
    loop {
        match follow(program, progress, connection.as_ref().unwrap_or(client)).await {
            // On a connection of its own: the owner may still be sending on the other.
            Err(End::Error(error)) if error.code == "too-slow" => connection = Some(program.owner().await?),
            ended => return ended,
        }
    }
}

async fn follow(program: &Program, progress: &mut Progress, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    if progress.args.count == Some(0) {
        return Ok(());
    }
    let mut replies = client.subscribe(Subscribe { after: progress.last, present: progress.args.events, ..Subscribe::default() });
    if let (Some(peer), None) = (progress.args.from.clone(), progress.from) {
        for line in client.call(Call::Whois(Whois { peer, timeout: program.timeout, unseen: true })).all().await? {
            if let Line::Peer(peer) = line {
                progress.from = Some(peer.id);
            }
        }
    }
    while let Some(line) = replies.next().await {
        let line = line?;
        if let Line::Ready(ready) = &line {
            progress.last = ready.after.or(progress.last);
        }
        match &line {
            Line::Message(message) => {
                progress.last = Some(message.id);
                if progress.from.is_some_and(|from| from != message.from) {
                    continue;
                }
                if let Some(exec) = &progress.args.exec {
                    run_for(exec, message, client).await?;
                } else if progress.args.raw {
                    output.bytes(message.text.as_bytes())?;
                } else {
                    output.say(&line, || output::message(message, output::now()))?;
                }
                progress.count += 1;
                if progress.args.count == Some(progress.count) {
                    return Ok(());
                }
            }
            _ if progress.args.events => output.say(&line, || event(&line))?,
            _ => {}
        }
    }
    Ok(())
}

/// A message that a program cannot deal with is no reason to miss the next one.
async fn run_for(exec: &Exec, message: &MessageLine, client: &Client) -> Result<(), End> {
    match exec.run(message, &client.ready().id, true).await {
        Ok(()) => Ok(()),
        // For no message it will. Where the system is short of something, or the program is just replaced, it may for the next.
        Err(error @ ExecError::NotRun(..)) if error.is_final() => Err(ErrorLine::new("exec", 2, error.to_string())
            .hint("--exec takes a program and its arguments; for a pipe or a variable write `sh -c '…'`")
            .into()),
        Err(error) => {
            output::note(&format!("p2pchat-udp: {error}, with message {} of {}", message.id.short(), message.from.short()));
            Ok(())
        }
    }
}

fn event(line: &Line) -> String {
    let now = output::now();
    let time = output::local_time(Time(now), now);
    match line {
        Line::Ready(ready) => format!("{time} -- ready: {} {}, port {}", Shown::line(&ready.name), ready.id.short(), ready.port),
        Line::Peer(peer) => format!("{time} -- {}", output::peer(peer, now)),
        Line::Status(status) => {
            let reason = status.reason.as_deref().map_or_else(String::new, |reason| format!(" ({reason})"));
            format!("{time} -- {} {}{reason}", status.id.short(), output::state(status.state))
        }
        Line::Request(request) => format!("{time} -- asks to write: {}", output::request(request, now)),
        Line::Notice(notice) => format!("{time} -- {}", notice.words()),
        other => other.to_json(),
    }
}
