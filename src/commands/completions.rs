//! `completions`: the script that has a shell complete this command line.

use clap_complete::{Shell, generate};

use super::{End, output};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: For,
}

/// Shells whose completion is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script for `command`, which is the whole command line. It needs no profile.
pub fn run(args: &Args, command: &mut clap::Command) -> Result<(), End> {
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, command, env!("CARGO_PKG_NAME"), &mut script);
    output::write(&[&script])
}
