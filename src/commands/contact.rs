//! `contact`: whom I know, and one more by its link.

use super::{
    End,
    output::{self, Output},
};
use crate::{
    app::Program,
    contact_link::ContactLink,
    control::{
        call::{Contact, ContactAction},
        client::Client,
        proto::{Call, ErrorLine, Line},
    },
    text::Name,
};

/// Arguments of `contact`.
#[derive(Debug, Clone, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES_ADD: &str = "\
Examples:
  p2pchat-udp contact add \"$LINK\"                    LINK: what bob's whoami --link prints
  p2pchat-udp contact add \"$LINK\" --petname bob

Across networks both must have added each other before the first word.";

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// Everybody that I added or wrote to
    List,
    /// Add somebody, as `whoami --link` there prints it
    #[command(after_help = EXAMPLES_ADD)]
    Add {
        /// A p2pchat: link, or a full id
        link: String,
        /// What I call it
        #[arg(long, value_name = "NAME")]
        petname: Option<String>,
    },
}

/// Checks what was written, before anything is opened. Errors are exit 2.
pub fn prepare(args: Args) -> Result<Contact, End> {
    match args.action {
        Action::List => Ok(Contact::default()),
        Action::Add { link, petname } => {
            let checked: Result<ContactLink, _> = link.parse();
            checked.map_err(|why| ErrorLine::new("bad-link", 2, format!("bad link: {why}")).hint(LINK_HINT))?;
            if let Some(petname) = &petname {
                Name::parse(petname).map_err(|why| ErrorLine::new("bad-name", 2, format!("bad name: {petname}: {why}")))?;
            }
            Ok(Contact { action: ContactAction::Add, peer: Some(link), petname })
        }
    }
}

const LINK_HINT: &str = "a link is what `p2pchat-udp whoami --link` prints; in quotes, since shells take & for themselves";

/// Runs it with an owner. Adding twice is harmless.
pub async fn run(program: &Program, call: &Contact, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let mut replies = client.call(Call::Contact(call.clone()));
    let mut any = false;
    while let Some(line) = replies.next().await {
        let line = line?;
        any = true;
        match &line {
            Line::Contact(contact) => output.say(&line, || output::contact(contact, output::now()))?,
            other if program.json => output.line(&other.to_json())?,
            _ => {}
        }
    }
    if !any && !program.json {
        output.line("no contacts yet")?;
    }
    Ok(())
}
