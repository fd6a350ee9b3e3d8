//! Answers about settings: what they are for this owner, and what it does when one is another from now on. What they mean, and
//! the file, live in `config` of the program.

use super::{
    answer::{Answer, error_line},
    call::Config,
    proto::{Counts, ErrorLine, Line},
    server::{Followed, Node, Out, Owner},
};
use crate::node::command::{Command, Reply};

/// `config`.
pub(super) async fn config<N: Node>(owner: &Owner<N>, call: Config, out: &Out) -> Answer {
    match call {
        Config { key: Some(key), value: Some(value) } => {
            let counts = owner.node.set_config(&key, &value)?;
            follow_settings(owner).await?;
            for mut line in owner.node.config(Some(&key))? {
                // An empty value takes it out of the file.
                let overruled = counts == Counts::Now && ["flag", "environment"].contains(&line.origin.as_str());
                line.counts = Some(if overruled { Counts::Overruled } else { counts });
                out.say(Line::Config(line)).await?;
            }
            Ok(())
        }
        Config { key: None, value: Some(_) } => Err(ErrorLine::new("bad-request", 2, "config: a value needs a key").into()),
        Config { key, value: None } => {
            for line in owner.node.config(key.as_deref())? {
                out.say(Line::Config(line)).await?;
            }
            Ok(())
        }
    }
}

/// Reads the settings again, and takes from them what may change while running. Errors (exit 2, 8: the file is wrong)
/// have changed nothing.
pub async fn follow_settings<N: Node>(owner: &Owner<N>) -> Result<(), ErrorLine> {
    let Followed { name, allow, read_receipts } = owner.node.read_config()?;
    let done = |reply| match reply {
        Reply::Failed(error) => Err(error_line(&error)),
        _ => Ok(()),
    };
    if let Some(name) = name.filter(|name| *name != owner.name()) {
        done(owner.node.call(Command::SetName(name.clone())).await)?;
        owner.set_name(&name);
    }
    if let Some(allow) = allow {
        done(owner.node.call(Command::SetAllow(allow)).await)?;
    }
    if let Some(told) = read_receipts {
        done(owner.node.call(Command::SetReadReceipts(told)).await)?;
    }
    Ok(())
}
