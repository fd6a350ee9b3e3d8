//! `send`: one text to one or several peers, from the command line or from stdin.

use std::{collections::BTreeMap, io::Read, time::Instant};

use super::{
    End,
    output::{self, Output},
};
use crate::{
    app::Program,
    control::{
        call::{Send, WaitFor},
        client::Client,
        proto::{Call, ErrorLine, Kind, Line, Span},
    },
    id::MessageId,
    store::row::State,
    text::{Shown, TEXT_LEN_MAX, check_text},
};

/// Arguments of `send`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Petname, name, id, beginning of an id, or link; several with commas
    peer: String,
    /// The text; `-` or nothing: stdin to its end. Behind `--` it may begin with a hyphen
    text: Vec<String>,
    /// Which state to wait for (at most 30 s, or --timeout; then exit 5)
    #[arg(long, value_enum, value_name = "STATE", default_value = "delivered")]
    wait: WaitFor,
    /// Not worth delivering after this long, like 2h or 3d
    #[arg(long, value_name = "D")]
    expire: Option<Span>,
    /// Refuse a text from stdin that is not UTF-8, instead of mending it
    #[arg(long)]
    strict: bool,
}

/// A text that may be sent, and to whom: checked before anything is opened.
#[derive(Debug)]
pub struct Letter {
    call: Send,
    since: Instant,
    /// States that were printed: the next owner begins from the first again.
    said: BTreeMap<MessageId, (State, Option<String>)>,
}

/// Reads and checks what is to be sent. Errors (exit 2) before anything is queued.
pub fn prepare(program: &Program, args: Args) -> Result<Letter, End> {
    let peer: Vec<String> = args.peer.split(',').map(|peer| peer.trim().to_owned()).collect();
    if peer.iter().any(String::is_empty) {
        return Err(ErrorLine::new("bad-peer", 2, format!("bad peer: {:?}: a name or an id is needed", args.peer)).into());
    }
    let text = text_of(&args.text, args.strict)?;
    let mut id = Vec::new();
    for _ in &peer {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|e| ErrorLine::new("internal", 1, format!("no randomness from the system: {e}")))?;
        id.push(MessageId::new(output::now().0, &random));
    }
    let call = Send { peer, text, kind: Kind::default(), id, wait: args.wait, timeout: program.timeout, expire: args.expire };
    Ok(Letter { call, since: Instant::now(), said: BTreeMap::new() })
}

/// The text that these words of a command line mean: themselves, or what comes from stdin. Errors (exit 2) where it is none.
pub fn text_of(words: &[String], strict: bool) -> Result<String, End> {
    let text = match words {
        [] => from_stdin(strict)?,
        [only] if only == "-" => from_stdin(strict)?,
        words => words.join(" "),
    };
    check_text(&text).map_err(|why| ErrorLine::new("bad-text", 2, format!("bad text: {why}")))?;
    Ok(text)
}

fn from_stdin(strict: bool) -> Result<String, End> {
    let mut bytes = Vec::new();
    // Enough to see that it is too long, and no more.
    let read = std::io::stdin().lock().take(TEXT_LEN_MAX as u64 + 2).read_to_end(&mut bytes);
    read.map_err(|e| ErrorLine::new("stdin", 1, format!("cannot read stdin: {e}")))?;
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // A character that was cut by the limit is no mistake of the writer: the text is too long.
        Err(e) if e.as_bytes().len() > TEXT_LEN_MAX + 1 => {
            return Err(ErrorLine::new("bad-text", 2, "bad text: the text is longer than 1,048,576 bytes").into());
        }
        Err(_) if strict => return Err(ErrorLine::new("bad-text", 2, "bad text: stdin is not UTF-8").into()),
        Err(e) => {
            output::note("p2pchat-udp: stdin is not UTF-8: what cannot be read is sent as \u{fffd}");
            String::from_utf8_lossy(e.as_bytes()).into_owned()
        }
    };
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

/// Runs it with an owner. Asked again with the next one, the same message is queued once.
pub async fn run(program: &Program, letter: &mut Letter, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let mut call = letter.call.clone();
    call.timeout = call.timeout.map(|Span(whole)| Span(whole.saturating_sub(letter.since.elapsed())));
    let wait = call.wait;
    let mut replies = client.call(Call::Send(call));
    while let Some(line) = replies.next().await {
        let line = line?;
        if let Line::Status(status) = &line {
            let now = (status.state, status.reason.clone());
            match letter.said.get(&status.id) {
                Some(said) if said.0 > now.0 || *said == now => continue,
                _ => letter.said.insert(status.id, now),
            };
        }
        // Who does not read our output still wants the message sent.
        if program.json {
            let _ = output.line(&line.to_json());
        } else if let Line::Status(status) = &line
            && (status.state >= wanted(wait) && status.state < State::Cancelled)
        {
            let to = letter.call.id.iter().position(|id| *id == status.id).and_then(|at| letter.call.peer.get(at));
            let to = to.map_or_else(|| status.to.short(), |to| Shown::short(to, 40).to_string());
            let _ = output.line(&format!("{} {to}", output::state(status.state)));
        }
    }
    Ok(())
}

const fn wanted(wait: WaitFor) -> State {
    match wait {
        WaitFor::Queued => State::Queued,
        WaitFor::Sent => State::Sent,
        WaitFor::Delivered => State::Delivered,
        WaitFor::Read => State::Read,
    }
}
