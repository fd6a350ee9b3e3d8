//! `stop`: asks the owner of the profile to say goodbye and end.

use super::End;
use crate::{
    app::Program,
    control::proto::{Call, Line},
};

/// Arguments of `stop`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it: returns once the owner has let go of the profile. Without an owner, exit 11.
pub async fn run(program: &Program, _: Args) -> Result<(), End> {
    let client = program.owner().await?;
    let status = client.call(Call::STATUS).all().await.map_err(End::from);
    let pid = status.unwrap_or_default().iter().find_map(|line| match line {
        Line::Owner(owner) => Some(owner.pid),
        _ => None,
    });
    match client.call(Call::SHUTDOWN).all().await.map_err(End::from) {
        // It ended before its answer was read.
        Ok(_) | Err(End::Lost) => {}
        Err(end) => return Err(end),
    }
    program.until_free(pid.unwrap_or_default()).await
}
