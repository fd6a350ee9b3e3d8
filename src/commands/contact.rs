//! `contact`: whom I know and what I say of them.

use super::{
    End,
    output::{self, Output},
};
use crate::{
    app::Program,
    contact_link::ContactLink,
    control::{
        call::{Contact, ContactAction, Told},
        client::Client,
        proto::{Call, ContactLine, ErrorLine, Line},
    },
    shell::parse::quote,
    text::{Name, Shown},
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

Who has not added or accepted you gets a request of you, unless you are on one LAN.";

const EXAMPLES_RENAME: &str = "\
Examples:
  p2pchat-udp contact rename bob \"bob from work\"
  p2pchat-udp contact rename \"bob from work\"         as he calls himself";

const EXAMPLES_VERIFY: &str = "\
Examples:
  p2pchat-udp contact verify bob                     the words; bob does the same for you
  p2pchat-udp contact verify bob --yes               they are the same: his key is his own";

const EXAMPLES_BLOCK: &str = "\
Examples:
  p2pchat-udp contact block mallory
  p2pchat-udp contact unblock mallory                what waited there comes after all";

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
    /// Call somebody otherwise; without a name, as it calls itself
    #[command(after_help = EXAMPLES_RENAME)]
    Rename {
        /// Whom: petname, name, id or its beginning
        peer: String,
        /// What I call it from now on
        petname: Option<String>,
    },
    /// Twelve words, the same on both screens: whose key it is
    #[command(after_help = EXAMPLES_VERIFY)]
    Verify {
        /// Whom: petname, name, id or its beginning, link
        peer: String,
        /// We have compared them, and they are the same
        #[arg(long)]
        yes: bool,
    },
    /// Whether somebody is told what I have read: on, off, or default, as all are
    Receipts {
        /// Whom: petname, name, id or its beginning
        peer: String,
        /// on, off, or as `config read_receipts` says
        told: Told,
    },
    /// Have nothing more of somebody, who is not told
    #[command(after_help = EXAMPLES_BLOCK)]
    Block {
        /// Whom: petname, name, id or its beginning, link
        peer: String,
    },
    /// Have what somebody writes again
    Unblock {
        /// Whom: petname, name, id or its beginning, link
        peer: String,
    },
    /// Make a contact a stranger; what was written stays
    Remove {
        /// Whom: petname, name, id or its beginning
        peer: String,
    },
}

/// Checks what was written, before anything is opened. Errors are exit 2.
pub fn prepare(args: Args) -> Result<Contact, End> {
    let with = |action, peer| Contact { action, peer: Some(peer), ..Contact::default() };
    Ok(match args.action {
        Action::List => Contact::default(),
        Action::Add { link, petname } => {
            let checked: Result<ContactLink, _> = link.parse();
            checked.map_err(|why| ErrorLine::new("bad-link", 2, format!("bad link: {why}")).hint(LINK_HINT))?;
            Contact { petname: petname.map(checked_name).transpose()?, ..with(ContactAction::Add, link) }
        }
        Action::Rename { peer, petname } => {
            Contact { petname: petname.map(checked_name).transpose()?, ..with(ContactAction::Rename, peer) }
        }
        Action::Verify { peer, yes } => Contact { yes, ..with(ContactAction::Verify, peer) },
        Action::Receipts { peer, told } => Contact { told: Some(told), ..with(ContactAction::Receipts, peer) },
        Action::Block { peer } => with(ContactAction::Block, peer),
        Action::Unblock { peer } => with(ContactAction::Unblock, peer),
        Action::Remove { peer } => with(ContactAction::Remove, peer),
    })
}

fn checked_name(name: String) -> Result<String, ErrorLine> {
    match Name::parse(&name) {
        Ok(_) => Ok(name),
        Err(why) => Err(ErrorLine::new("bad-name", 2, format!("bad name: {name}: {why}"))),
    }
}

const LINK_HINT: &str = "a link is what `p2pchat-udp whoami --link` prints; in quotes, since shells take & for themselves";

/// Runs it with an owner. Doing any of it twice is harmless.
pub async fn run(program: &Program, call: &Contact, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    let mut replies = client.call(Call::Contact(call.clone()));
    let mut any = false;
    while let Some(line) = replies.next().await {
        let line = line?;
        any = true;
        match &line {
            Line::Contact(contact) => output.say(&line, || said(call, contact))?,
            other if program.json => output.line(&other.to_json())?,
            _ => {}
        }
    }
    if !any && !program.json {
        output.line("no contacts yet")?;
    }
    Ok(())
}

/// What a person reads of it.
fn said(call: &Contact, line: &ContactLine) -> String {
    let who = format!("{} ({})", Shown::line(line.label()), line.id.short());
    match call.action {
        ContactAction::List | ContactAction::Add | ContactAction::Rename => output::contact(line, output::now()),
        ContactAction::Verify if call.yes => format!("{who} is verified"),
        ContactAction::Verify => {
            let words = line.words.as_deref().unwrap_or_default();
            let again = call.peer.as_deref().map(quote).unwrap_or_default();
            format!(
                "You and {who} must both see these words, or somebody stands between you:\n\n{}\n\n\
                 Compare them aloud. They are the same? p2pchat-udp contact verify {again} --yes",
                output::words(words)
            )
        }
        ContactAction::Receipts => format!("{who} {}", output::receipts(line.receipts)),
        ContactAction::Block => format!("{who} is blocked: nothing of it comes here, and it is not told"),
        ContactAction::Unblock => format!("{who} is not blocked"),
        ContactAction::Remove => format!("{who} is no contact any more; what you wrote each other stays"),
    }
}
