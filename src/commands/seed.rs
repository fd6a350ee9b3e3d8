//! `seed`: the phonebook across networks: how its seeds are, who is in it, and my own entry.

use super::{
    End,
    output::{self, Output},
};
use crate::{
    app::Program,
    contact_link::check_seed,
    control::{
        call::{Seed, SeedAction},
        client::Client,
        proto::{Call, Line},
    },
};

/// Arguments of `seed`.
#[derive(Debug, Clone, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES_STATUS: &str = "\
Examples:
  p2pchat-udp seed status                        the seeds in use
  p2pchat-udp seed status seed.example:17118     this one, used or not";
const EXAMPLES_LIST: &str = "\
Examples:
  p2pchat-udp seed list                          who wants to be seen
  p2pchat-udp seed list seed.example:17118       at this one";
const EXAMPLES_LOOKUP: &str = "\
Examples:
  p2pchat-udp seed lookup bob                    exit 3: no seed has him
  p2pchat-udp seed lookup \"$LINK\"                what bob's whoami --link prints";
const EXAMPLES_REGISTER: &str = "\
Examples:
  p2pchat-udp seed register
  p2pchat-udp seed register seed.example:17118   also at this one";
const EXAMPLES_UNREGISTER: &str = "\
Examples:
  p2pchat-udp seed unregister                    nobody finds me from now on";

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// How they are: version, uptime, load, records, and the seeds that they know
    #[command(after_help = EXAMPLES_STATUS)]
    Status(Which),
    /// Who is listed there
    #[command(after_help = EXAMPLES_LIST)]
    List(Which),
    /// Who has this name there
    #[command(after_help = EXAMPLES_LOOKUP)]
    Lookup {
        /// A whole name, a full id, or a link
        #[arg(value_name = "NAME")]
        who: String,
        #[command(flatten)]
        which: Which,
    },
    /// Have my entry there from now on
    #[command(after_help = EXAMPLES_REGISTER)]
    Register(Which),
    /// Take my entry away, from all or from the one seed, until the next start
    #[command(after_help = EXAMPLES_UNREGISTER)]
    Unregister(Which),
}

#[derive(Debug, Clone, clap::Args)]
struct Which {
    /// Only this seed, whether or not it is in use
    #[arg(value_name = "HOST:PORT", value_parser = seed)]
    only: Option<String>,
}

fn seed(text: &str) -> Result<String, &'static str> {
    check_seed(text).map(|()| text.to_owned())
}

impl Action {
    fn call(self, program: &Program) -> Seed {
        let (action, name, Which { only }) = match self {
            Self::Status(which) => (SeedAction::Status, None, which),
            Self::List(which) => (SeedAction::List, None, which),
            Self::Lookup { who, which } => (SeedAction::Lookup, Some(who), which),
            Self::Register(which) => (SeedAction::Register, None, which),
            Self::Unregister(which) => (SeedAction::Unregister, None, which),
        };
        Seed { action, name, seed: only, timeout: program.timeout }
    }
}

/// Runs it with an owner.
pub async fn run(program: &Program, args: &Args, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let mut any = false;
    let mut replies = client.call(Call::Seed(args.action.clone().call(program)));
    while let Some(line) = replies.next().await {
        let line = line?;
        any = true;
        match &line {
            Line::Seed(seed) => output.say(&line, || output::seed(seed))?,
            Line::Peer(peer) => output.say(&line, || output::peer(peer, output::now()))?,
            Line::Notice(notice) if !program.json => output::note(&notice.words()),
            other if program.json => output.line(&other.to_json())?,
            _ => {}
        }
    }
    if !any && !program.json {
        output.line("nobody is listed")?;
    }
    Ok(())
}
