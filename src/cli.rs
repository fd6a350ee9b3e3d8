//! The command line: options that every command takes, and the list of commands. What a command's own
//! arguments are and what it does stands in `commands`.

use clap::{
    ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, builder::FalseyValueParser, parser::ValueSource,
};

use crate::{
    commands,
    config::{Given, Origin},
    control::proto::{ErrorLine, Span},
};

const EXAMPLES: &str = "\
Without a command the shell opens. `p2pchat-udp COMMAND --help` tells more about each.

Examples:
  p2pchat-udp                       the shell
  p2pchat-udp demo                  two people on this machine, in two seconds
  p2pchat-udp peers                 who is here
  p2pchat-udp send bob \"lunch?\"     exit 0 once it is on bob's disk
  p2pchat-udp --seed -n home        the phonebook of people on other networks";
const EXAMPLES_DEMO: &str = "\
Examples:
  p2pchat-udp demo            both profiles are removed at the end
  p2pchat-udp demo --keep     they stay, to go on with them";
const EXAMPLES_DAEMON: &str = "\
Examples:
  p2pchat-udp daemon                           until Ctrl-C
  p2pchat-udp -n bob -d ~/bob daemon --json    says `ready` in JSON";
const EXAMPLES_SEND: &str = "\
Examples:
  p2pchat-udp send bob \"lunch?\"               exit 0 once it is on bob's disk
  make 2>&1 | p2pchat-udp send bob            a pipe is one message
  p2pchat-udp send bob,carol hi --wait queued  do not wait for them";
const EXAMPLES_LISTEN: &str = "\
Examples:
  p2pchat-udp listen --from bob               until Ctrl-C
  p2pchat-udp listen --raw --count 1 > file   one message, byte for byte
  p2pchat-udp listen --json --events          messages, presence and states
  p2pchat-udp listen --exec ./bot             run ./bot for each message";
const EXAMPLES_PEERS: &str = "\
Examples:
  p2pchat-udp peers
  p2pchat-udp peers --wait 1 --json    until somebody is here";
const EXAMPLES_WHOIS: &str = "\
Examples:
  p2pchat-udp whois bob
  p2pchat-udp whois \"$LINK\" --json    exit 3: nobody here or at the seeds has that id";
const EXAMPLES_BACKUP: &str = "\
Identity, contacts, outbox and history, as encrypted as they are; without a password whoever has the file is you. config.toml is not in it.

Examples:
  p2pchat-udp backup ~/p2pchat.backup";
const EXAMPLES_RESTORE: &str = "\
Examples:
  p2pchat-udp restore ~/p2pchat.backup
  p2pchat-udp -d /tmp/other restore ~/p2pchat.backup";
const EXAMPLES_EXPORT: &str = "\
Examples:
  p2pchat-udp export > history.jsonl
  p2pchat-udp export bob --format text";
const EXAMPLES_IMPORT: &str = "\
Lines go into the history only: nothing is sent, and nothing counts as new. Lines that are there already are skipped, bad ones
named (exit 2) and the others imported.

Examples:
  p2pchat-udp import history.jsonl
  p2pchat-udp export | p2pchat-udp -d /tmp/other import -";
const EXAMPLES_PING: &str = "\
Examples:
  p2pchat-udp ping bob
  p2pchat-udp ping bob --count 100 --json";
const EXAMPLES_DOCTOR: &str = "\
Looks at this machine's network, neighbours and seeds, says what is wrong and what mends it, and changes nothing.
Exit 9: something is. Takes less than 5 s.

Examples:
  p2pchat-udp doctor
  p2pchat-udp -i eth0 doctor --json";
const EXAMPLES_PASSWD: &str = "\
A forgotten password is final.

Examples:
  p2pchat-udp passwd                                              asks twice, without echo
  p2pchat-udp --password-cmd ./ask-my-store history bob    a program that prints it";
const EXAMPLES_HISTORY: &str = "\
Examples:
  p2pchat-udp history bob --limit 20
  p2pchat-udp history --since 2h --json
  p2pchat-udp history bob --search invoice";
const EXAMPLES_UNREAD: &str = "\
Examples:
  p2pchat-udp unread                of whom, and how many
  p2pchat-udp unread --total        one number, for a status line";
const EXAMPLES_MARK_READ: &str = "\
Examples:
  p2pchat-udp mark-read bob";
const EXAMPLES_OUTBOX: &str = "\
Examples:
  p2pchat-udp outbox
  p2pchat-udp outbox cancel eb997a    an id's last digits are enough
  p2pchat-udp outbox retry bob        now, not at the next try";
const EXAMPLES_FIND: &str = "\
Examples:
  p2pchat-udp find bob              here and at the seeds
  p2pchat-udp find bob --json       with full ids";
const EXAMPLES_WHOAMI: &str = "\
Examples:
  p2pchat-udp whoami --link         what others add me by
  p2pchat-udp whoami --qr           the same for a camera";
const EXAMPLES_CONTACT: &str = "\
Examples:
  p2pchat-udp contact list
  p2pchat-udp contact add \"$LINK\" --petname bob      LINK: what bob's whoami --link prints";
const EXAMPLES_REQUESTS: &str = "\
Examples:
  p2pchat-udp requests                who asks, and with what
  p2pchat-udp requests accept carol
  p2pchat-udp requests refuse 7f3akq2m";
const EXAMPLES_SEED: &str = "\
Examples:
  p2pchat-udp seed status                            the seeds in use
  p2pchat-udp seed status seed.example:17118         this one
  p2pchat-udp seed lookup bob
  p2pchat-udp --via seed.example:17118 seed list     who wants to be seen";
const EXAMPLES_COMPLETIONS: &str = "\
Examples:
  p2pchat-udp completions bash > ~/.local/share/bash-completion/completions/p2pchat-udp
  p2pchat-udp completions zsh > ~/.zfunc/_p2pchat-udp
  p2pchat-udp completions fish > ~/.config/fish/completions/p2pchat-udp.fish";
const EXAMPLES_CONFIG: &str = "\
Examples:
  p2pchat-udp config                 every setting
  p2pchat-udp config name carol      set one";

const SEED_MODE: &str = "Seed mode";
/// What a seed understands, by clap's names.
const OF_A_SEED: [&str; 10] =
    ["seed", "relay", "max_records", "directory", "name", "data_dir", "listen", "via", "json", "verbose"];

/// Chat for people who share a wire: no server, end-to-end encrypted, nothing lost.
#[derive(Debug, Parser)]
#[command(name = "p2pchat-udp", version, max_term_width = 100, disable_help_subcommand = true, subcommand_value_name = "COMMAND")]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    /// A script from stdin ends at its first line that fails
    #[arg(long)]
    pub fail_fast: bool,
    /// Be a seed, the phonebook of people on other networks: no shell, no messages
    #[arg(long, help_heading = SEED_MODE)]
    pub seed: bool,
    /// Of a seed: forward sealed packets, slowly, for pairs that cannot reach each other
    #[arg(long, help_heading = SEED_MODE, requires = "seed")]
    pub relay: bool,
    /// Of a seed: entries in its phonebook at most, 1000000 unless said
    #[arg(long, help_heading = SEED_MODE, value_name = "N", requires = "seed", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_records: Option<u32>,
    /// Of a seed: what it shares with others, which together are one phonebook
    #[cfg(feature = "redis")]
    #[arg(
        long,
        help_heading = SEED_MODE,
        value_name = "redis://HOST:PORT",
        env = "P2PCHAT_DIRECTORY",
        hide_env_values = true
    )]
    pub directory: Option<String>,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do; nothing: the shell.
    #[command(subcommand)]
    pub command: Option<Action>,
}

/// Options of every command.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// What I call myself; kept in the profile
    #[arg(short, long, global = true, value_name = "NAME", env = "P2PCHAT_NAME", hide_env_values = true)]
    name: Option<String>,
    /// The profile's directory
    #[arg(short, long, global = true, value_name = "DIR", env = "P2PCHAT_DATA_DIR", hide_env_values = true)]
    pub(crate) data_dir: Option<std::path::PathBuf>,
    /// UDP address to listen on, like 0.0.0.0:17118, [::]:0 or :17118
    #[arg(short, long, global = true, value_name = "ADDR", env = "P2PCHAT_LISTEN", hide_env_values = true)]
    listen: Option<String>,
    /// A seed that I use to be found and to find others on other networks; repeat for several. With --seed: another seed to know
    #[arg(long, global = true, value_name = "HOST:PORT", env = "P2PCHAT_VIA", hide_env_values = true, value_delimiter = ',')]
    via: Vec<String>,
    /// Peers of another network name neither see nor reach each other
    #[arg(long, global = true, value_name = "NAME", env = "P2PCHAT_NETWORK", hide_env_values = true)]
    network: Option<String>,
    /// Who may write to me, beside contacts: who is really on my LAN (the default; others can ask), nobody before I accept a
    /// request, or nobody
    #[arg(long, global = true, value_parser = ["lan", "requests", "contacts"], env = "P2PCHAT_ALLOW", hide_env_values = true)]
    allow: Option<String>,
    /// At seeds: in lists, by exact name or id only (the default), or not at all
    #[arg(
        long,
        global = true,
        value_parser = ["listed", "findable", "hidden"],
        env = "P2PCHAT_VISIBILITY",
        hide_env_values = true
    )]
    visibility: Option<String>,
    /// No multicast: neither announce nor look on the LAN
    #[arg(long, global = true, env = "P2PCHAT_NO_LAN", hide_env_values = true, value_parser = FalseyValueParser::new())]
    no_lan: bool,
    /// Only this network interface; repeat for several
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAME",
        env = "P2PCHAT_INTERFACE",
        hide_env_values = true,
        value_delimiter = ','
    )]
    interface: Vec<String>,
    /// Another multicast group and port, once per IP version
    #[arg(long, global = true, value_name = "ADDR:PORT", env = "P2PCHAT_GROUP", hide_env_values = true, value_delimiter = ',')]
    group: Vec<String>,
    /// One JSON object a line on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Nothing is rewritten on the screen, no colour, words instead of glyphs
    #[arg(long, global = true, env = "P2PCHAT_PLAIN", hide_env_values = true, value_parser = FalseyValueParser::new())]
    plain: bool,
    /// A command that prints the profile's password
    #[arg(long, global = true, value_name = "CMD", env = "P2PCHAT_PASSWORD_CMD", hide_env_values = true)]
    password_cmd: Option<String>,
    /// Upper bound for whatever the command waits for, like 500ms, 30s or 5m
    #[arg(long, global = true, value_name = "D")]
    pub timeout: Option<Span>,
    /// More log on stderr; twice: still more. RUST_LOG overrules
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Two throw-away people on this machine: find, send, go offline, deliver late
    #[command(after_help = EXAMPLES_DEMO)]
    Demo(commands::demo::Args),
    /// Own the profile without a shell, until SIGTERM or SIGINT
    #[command(after_help = EXAMPLES_DAEMON)]
    Daemon(commands::daemon::Args),
    /// How the owner of the profile is
    Status(commands::status::Args),
    /// Ask the owner to say goodbye and end
    Stop(commands::stop::Args),
    /// Send one text
    #[command(after_help = EXAMPLES_SEND)]
    Send(commands::send::Args),
    /// Print messages as they arrive
    #[command(after_help = EXAMPLES_LISTEN)]
    Listen(commands::listen::Args),
    /// Everybody known: name, presence, path, address
    #[command(after_help = EXAMPLES_PEERS)]
    Peers(commands::peers::Args),
    /// One peer in full
    #[command(after_help = EXAMPLES_WHOIS)]
    Whois(commands::whois::Args),
    /// A copy of the whole profile in a new file, also while it is used
    #[command(after_help = EXAMPLES_BACKUP)]
    Backup(commands::backup::Args),
    /// Make a profile of a backup, where there is none
    #[command(after_help = EXAMPLES_RESTORE)]
    Restore(commands::backup::RestoreArgs),
    /// The history as lines, for `import` or for people
    #[command(after_help = EXAMPLES_EXPORT)]
    Export(commands::export::Args),
    /// Add the lines of an exported file to the history
    #[command(after_help = EXAMPLES_IMPORT)]
    Import(commands::import::Args),
    /// Whether somebody answers, by which way, and how fast
    #[command(after_help = EXAMPLES_PING)]
    Ping(commands::ping::Args),
    /// Why I do not see somebody, and what mends it
    #[command(after_help = EXAMPLES_DOCTOR)]
    Doctor(commands::doctor::Args),
    /// Whom some words fit, here and at the seeds
    #[command(after_help = EXAMPLES_FIND)]
    Find(commands::find::Args),
    /// Stored messages, oldest first
    #[command(after_help = EXAMPLES_HISTORY)]
    History(commands::history::Args),
    /// How many messages I have not read
    #[command(after_help = EXAMPLES_UNREAD)]
    Unread(commands::unread::Args),
    /// I have read what somebody wrote
    #[command(after_help = EXAMPLES_MARK_READ)]
    MarkRead(commands::unread::MarkArgs),
    /// What is not yet delivered
    #[command(after_help = EXAMPLES_OUTBOX)]
    Outbox(commands::outbox::Args),
    /// Name, id, addresses and link of this profile
    #[command(after_help = EXAMPLES_WHOAMI)]
    Whoami(commands::whoami::Args),
    /// Whom I know, and one more by its link
    #[command(after_help = EXAMPLES_CONTACT)]
    Contact(commands::contact::Args),
    /// Strangers who ask to write; accept or refuse them
    #[command(after_help = EXAMPLES_REQUESTS)]
    Requests(commands::requests::Args),
    /// The phonebook across networks: how its seeds are, who is there, and my own entry
    #[command(after_help = EXAMPLES_SEED)]
    Seed(commands::seed::Args),
    /// Completion of this command line by bash, zsh or fish
    #[command(after_help = EXAMPLES_COMPLETIONS)]
    Completions(commands::completions::Args),
    /// Set, change or (empty) remove the profile's password
    #[command(after_help = EXAMPLES_PASSWD)]
    Passwd(commands::passwd::Args),
    /// Every setting, its value and where it came from; or set one
    #[command(after_help = EXAMPLES_CONFIG)]
    Config(commands::config::Args),
}

/// A command line that was read: what to do, and the settings it gave.
#[derive(Debug)]
pub struct Parsed {
    /// What to do.
    pub cli: Cli,
    /// Settings from options and environment.
    pub given: Given,
}

/// Reads the command line. Errors are help or version (exit 0, to be printed as they are) or a mistake.
pub fn parse(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Parsed, Refused> {
    let matches = Cli::command().try_get_matches_from(args).map_err(refused)?;
    let cli = Cli::from_arg_matches(&matches).map_err(refused)?;
    if cli.seed
        && let Some(what) = senseless_for_a_seed(&matches)
    {
        let text = format!("{what} makes no sense with --seed");
        return Err(Refused::Wrong(ErrorLine::new("usage", 2, text).hint("see p2pchat-udp-seed(8)")));
    }
    #[cfg(feature = "redis")]
    if !cli.seed && matches.value_source("directory") == Some(ValueSource::CommandLine) {
        let text = "--directory makes sense with --seed only";
        return Err(Refused::Wrong(ErrorLine::new("usage", 2, text).hint("see p2pchat-udp-seed(8)")));
    }
    Ok(Parsed { cli, given: given(&matches) })
}

/// The whole command line, as completion scripts need it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Why a command line is not run.
#[derive(Debug)]
pub enum Refused {
    /// It asked for this text.
    Help(String),
    /// It is wrong (exit 2).
    Wrong(ErrorLine),
}

fn refused(error: clap::Error) -> Refused {
    use clap::error::ErrorKind;
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Refused::Help(error.render().to_string());
    }
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut what = lines.next().unwrap_or("bad command line").trim_start_matches("error: ").to_owned();
    let mut tip = None;
    for line in lines {
        if let Some(line) = line.strip_prefix("tip: ") {
            tip.get_or_insert_with(|| line.to_owned());
        } else if what.ends_with(':') && !line.starts_with("Usage") {
            what = format!("{what} {line}");
        } else if let Some(values) = line.strip_prefix("[possible values: ") {
            what = format!("{what}: possible is {}", values.trim_end_matches(']'));
        }
    }
    let tip = tip.map_or_else(String::new, |tip| format!("{tip}; "));
    Refused::Wrong(ErrorLine::new("usage", 2, what).hint(format!("{tip}see `p2pchat-udp --help`")))
}

/// What this command line says that only a peer understands. A variable of the environment may be meant for
/// the peers of this machine.
fn senseless_for_a_seed(matches: &ArgMatches) -> Option<String> {
    if let Some(command) = matches.subcommand_name() {
        return Some(format!("the command {command}"));
    }
    let command = Cli::command();
    let mut senseless = command.get_arguments().filter(|arg| !OF_A_SEED.contains(&arg.get_id().as_str()));
    let said = |id: &str| matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine);
    let found = senseless.find(|arg| said(arg.get_id().as_str()))?;
    found.get_long().map(|long| format!("--{long}"))
}

/// Which settings came from where.
fn given(matches: &ArgMatches) -> Given {
    let mut given = Given::new();
    for key in crate::config::keys() {
        let origin = match matches.try_contains_id(key).ok().and_then(|_| matches.value_source(key)) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            // There the variable is the name of a peer, and must not become mine.
            Some(ValueSource::EnvVariable) if key == "name" && crate::exec::is_told() => continue,
            Some(ValueSource::EnvVariable) => Origin::Environment,
            _ => continue,
        };
        let values: Vec<String> = match matches.try_get_many::<String>(key) {
            Ok(values) => values.into_iter().flatten().cloned().collect(),
            Err(_) => vec![matches.get_flag(key).to_string()],
        };
        // An empty variable is how scripts say that there is none.
        if origin == Origin::Flag || values.iter().any(|value| !value.is_empty()) {
            given.insert(key, (values, origin));
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Parsed, Refused> {
        parse(line.split_whitespace().map(Into::into))
    }

    fn wrong(line: &str) -> ErrorLine {
        match parse_words(line) {
            Err(Refused::Wrong(error)) => error,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// `seed lookup bob` once gave whoever asked the name bob.
    #[test]
    fn no_argument_of_a_command_is_taken_for_an_option_of_all() {
        fn check(command: &clap::Command, of_all: &[clap::Id]) {
            for arg in command.get_arguments() {
                assert!(!of_all.contains(arg.get_id()), "{}: {}", command.get_name(), arg.get_id());
            }
            command.get_subcommands().for_each(|command| check(command, of_all));
        }
        // Not built: what all commands take stands once, at the top.
        let cli = Cli::command();
        let of_all: Vec<clap::Id> = cli.get_arguments().map(|arg| arg.get_id().clone()).collect();
        cli.get_subcommands().for_each(|command| check(command, &of_all));
    }

    #[test]
    fn help_teaches_by_examples_that_can_be_typed() {
        let of_all = "demo,daemon,send,listen,peers,whois,backup,restore,export,import,ping,doctor,find,history,unread,mark-read,outbox,whoami,contact,contact add,outbox edit,requests,seed,seed status,seed list,\
                      seed lookup,seed register,seed unregister,passwd,config,completions,";
        let helps = of_all.split(',').map(|name| match parse_words(&format!("p2pchat-udp {name} --help")) {
            Err(Refused::Help(help)) => help,
            other => panic!("{name}: {other:?}"),
        });
        for help in helps {
            let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
            let examples: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            assert!(!examples.is_empty(), "no example in: {help}");
            for example in examples {
                let words = example.trim().split("  ").next().unwrap_or_default();
                let line = words.rsplit(" | ").next().unwrap_or_default().split(" > ").next().unwrap_or_default();
                assert!(parse_words(line).is_ok(), "{example}");
            }
        }
    }

    #[test]
    fn a_mistake_is_one_line_and_exit_2() {
        for (line, word) in [
            ("p2pchat-udp --colour", "--colour"),
            ("p2pchat-udp dance", "dance"),
            ("p2pchat-udp send", "PEER"),
            ("p2pchat-udp --allow everybody", "everybody"),
            ("p2pchat-udp --timeout soon", "soon"),
            ("p2pchat-udp send bob hi --wait forever", "forever"),
            ("p2pchat-udp --visibility seen", "seen"),
        ] {
            let error = wrong(line);
            assert_eq!(error.exit, 2);
            assert!(error.text.contains(word), "{line}: {}", error.text);
            assert!(!error.text.contains('\n'));
        }
    }

    #[test]
    fn options_stand_before_or_behind_the_command() {
        for line in ["p2pchat-udp --network x peers", "p2pchat-udp peers --network x"] {
            let parsed = parse_words(line).unwrap();
            assert_eq!(parsed.given.get("network"), Some(&(vec!["x".to_owned()], Origin::Flag)), "{line}");
        }
        let parsed = parse_words("p2pchat-udp --no-lan -i eth0 -i eth1 --interface a,b").unwrap();
        assert_eq!(parsed.given["no_lan"].0, ["true"]);
        assert_eq!(parsed.given["interface"].0, ["eth0", "eth1", "a", "b"]);
        let parsed = parse_words("p2pchat-udp --via a:1 --via b:2,c:3 --visibility hidden").unwrap();
        assert_eq!(
            (&parsed.given["via"].0, &parsed.given["visibility"].0),
            (&vec!["a:1".to_owned(), "b:2".into(), "c:3".into()], &vec!["hidden".to_owned()])
        );
        assert!(!parsed.given.contains_key("plain"), "what nobody said is not given");
    }
}
