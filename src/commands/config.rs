//! `config`: every setting, its value and where it came from; or sets one in the file.

use super::{
    End,
    output::{Output, note},
};
use crate::{
    app::Program,
    config::{Given, Settings, keys},
    control::{
        call,
        proto::{Call, ConfigLine, ErrorLine, Line},
    },
    text::Shown,
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

/// Runs it. It needs no owner: the file is the profile's, the rest is this command's.
pub async fn run(program: &Program, args: &Args) -> Result<(), End> {
    let output = Output { json: program.json };
    if let (Some(key), Some(value)) = (&args.key, &args.value) {
        program.make_dir()?;
        program.settings.store(key, value)?;
        tell_owner(program, key).await?;
        if Settings::counts_at_start(key) && program.owner().await.is_ok() {
            note(&format!("p2pchat-udp: {key} counts from the owner's next start; `p2pchat-udp stop` ends this one"));
        }
        return Ok(());
    }
    let wanted: Vec<&str> = args.key.as_deref().map_or_else(|| keys().collect(), |key| vec![key]);
    for key in wanted {
        let Some(line) = program.settings.line(key) else {
            let all = keys().collect::<Vec<_>>().join(", ");
            return Err(ErrorLine::new("bad-setting", 2, format!("unknown setting: {key}"))
                .hint(format!("the settings are {all}"))
                .into());
        };
        let text = human(&line);
        output.say(&Line::Config(line), || text)?;
    }
    Ok(())
}

/// What an owner that runs follows at once.
async fn tell_owner(program: &Program, key: &str) -> Result<(), End> {
    if !["allow", "read_receipts"].contains(&key) {
        return Ok(());
    }
    let Ok(owner) = program.owner().await else { return Ok(()) };
    let settings = Settings::load(program.settings.dir.clone(), &Given::new())?;
    let call = match key {
        "allow" => Call::Allow(call::Allow { to: settings.allow }),
        _ => Call::Receipts(call::Receipts { on: settings.read_receipts }),
    };
    owner.call(call).all().await?;
    Ok(())
}

fn human(line: &ConfigLine) -> String {
    let value = match &line.value {
        serde_json::Value::String(text) => format!("{:?}", Shown::line(text).as_str()),
        serde_json::Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    format!("{:<10} {value} ({})", line.key, line.origin)
}
