//! `backup` and `restore`: their arguments. What is done with them lives in `app`, since nobody may be its owner, or must.

use std::path::PathBuf;

/// Arguments of `backup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A new file
    pub file: PathBuf,
}

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// What `backup` wrote
    pub file: PathBuf,
}
