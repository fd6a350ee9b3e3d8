//! `daemon`: owns the profile without a shell.

use super::{End, output::Output};
use crate::{
    app::{Front, Program},
    control::{call::Subscribe, proto::Line},
    text::Shown,
};

/// Arguments of `daemon`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Says that it is ready, and waits for the end. A signal is the end that it has.
pub async fn run(program: &Program, front: &Front) -> Result<(), End> {
    if let Err(error) = program.signals.hear_hangups() {
        tracing::warn!(%error, "SIGHUP will not have the settings read again");
    }
    let output = Output { json: program.json };
    let ready = front.client().ready().clone();
    // Who does not read it does not mind.
    let _ = output.say(&Line::Ready(ready.clone()), || {
        format!("ready: {} {}, port {}", Shown::line(&ready.name), ready.id.short(), ready.port)
    });
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
    let ended = tokio::select! {
        ended = front.ended(program) => ended,
        never = log_notices(front) => match never {},
    };
    match ended {
        Err(End::Signal(_)) => Ok(()),
        end => end,
    }
}

/// What a person should know goes to the log, where there is no shell to say it.
async fn log_notices(front: &Front) -> std::convert::Infallible {
    loop {
        let mut events = front.client().subscribe(Subscribe { notices: true, ..Subscribe::default() });
        while let Some(Ok(line)) = events.next().await {
            if let Line::Notice(notice) = line {
                tracing::warn!(code = ?notice.code, "{}", notice.words());
            }
        }
        // Dropped as too slow, or the end has begun, which is not for us to say.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
