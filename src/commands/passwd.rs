//! `passwd`: sets, changes or removes the password of the profile. Where it comes from and what is done with it lives in `app`.

/// Arguments of `passwd`.
#[derive(Debug, clap::Args)]
pub struct Args {}
