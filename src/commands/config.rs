//! `config`: every setting, its value and where it came from; or sets one in the file.

use super::{
    End,
    output::{Output, note},
};
use crate::{
    app::Program,
    control::{
        call,
        proto::{Call, Counts, Line},
    },
};

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this setting
    key: Option<String>,
    /// Its new value in config.toml; empty removes it
    #[arg(requires = "key", allow_hyphen_values = true)]
    value: Option<String>,
}

/// Runs it. It needs no owner: the file is the profile's, the rest is this command's. One that runs follows at once where it can.
pub async fn run(program: &Program, args: &Args) -> Result<(), End> {
    let output = Output { json: program.json };
    if let (Some(key), Some(value)) = (&args.key, &args.value) {
        program.make_dir()?;
        let Ok(owner) = program.owner().await else { return Ok(program.settings.store(key, value)?) };
        let call = call::Config { key: Some(key.clone()), value: Some(value.clone()) };
        for line in owner.call(Call::Config(call)).all().await? {
            // What whoever starts next goes by is no affair of the owner's.
            if let Line::Config(line) = line
                && line.counts != Some(Counts::NextStart)
                && let Some(later) = line.later()
            {
                note(&format!("p2pchat-udp: {later}"));
            }
        }
        return Ok(());
    }
    for line in program.settings.lines(args.key.as_deref())? {
        let text = line.words();
        output.say(&Line::Config(line), || text)?;
    }
    Ok(())
}
