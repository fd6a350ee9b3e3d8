//! Opens everything and wires it together: which process owns the profile, what runs in which thread, and
//! how a command ends. The only place that starts threads for the front doors.

mod backup;
mod own;
mod password;
mod profile;
mod seed;
mod signals;
mod surroundings;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::IsTerminal,
    process::ExitCode,
    time::{Duration, Instant},
};

use tokio::net::UnixStream;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use self::{
    own::Own,
    profile::{Taken, socket_path},
};
pub use self::{
    own::Stopped,
    signals::{INTERRUPT, Signals},
};
use crate::{
    cli::{self, Action, Cli, Parsed, Refused},
    commands::{
        self, End,
        output::{self, Output, note},
    },
    config::{Given, Origin, Settings},
    control::{
        call::Nick,
        client::{CallError, Client},
        proto::{Call, ErrorLine, Line, Span},
    },
};

/// How long a command tries to become the owner of the profile, or a client of the owner.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an owner may take to say `ready` to a client.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// First and longest pause between two tries.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// What an owner is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A person at a shell.
    Shell,
    /// To run.
    Daemon,
    /// One command; it ends with it.
    Command,
    /// One command that wants every event since the node's start.
    Listener,
}

impl Mode {
    /// As `status` says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Daemon => "daemon",
            Self::Command | Self::Listener => "command",
        }
    }
}

/// One run of the program: its settings, and what every command may need.
#[derive(Debug)]
pub struct Program {
    /// Settings.
    pub settings: Settings,
    /// Which of them this command line or its environment gave.
    pub given: Given,
    /// One JSON object a line on stdout.
    pub json: bool,
    /// A script ends at its first line that fails.
    pub fail_fast: bool,
    /// Upper bound for whatever the command waits for.
    pub timeout: Option<Span>,
    /// Signals since the start.
    pub signals: Signals,
}

/// The whole program. Gives its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Parsed { cli, given } = match cli::parse(args) {
        Ok(parsed) => parsed,
        Err(Refused::Help(text)) => return leave(false, output::write(&[text.as_bytes()])),
        Err(Refused::Wrong(error)) => return leave(false, Err(error.into())),
    };
    let json = cli.global.json;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return leave(json, Err(internal(&error).into())),
    };
    let ended = start(&runtime, cli, given);
    // Nobody waits for a thread that still reads stdin.
    runtime.shutdown_background();
    leave(json, ended)
}

fn start(runtime: &tokio::runtime::Runtime, cli: Cli, given: Given) -> Result<(), End> {
    if cli.seed {
        return seed::start(runtime, &cli, &given);
    }
    let dir = profile::directory(cli.global.data_dir.clone(), "p2pchat-udp")?;
    let settings = Settings::load(dir, &given)?;
    start_log(cli.global.verbose, settings.log.as_deref());
    let signals = {
        let _guard = runtime.enter();
        Signals::new().map_err(|e| internal(&e))?
    };
    let Cli { global, fail_fast, command, .. } = cli;
    let program = Program { settings, given, json: global.json, fail_fast, timeout: global.timeout, signals };
    runtime.block_on(run(&program, command))
}

async fn run(program: &Program, action: Option<Action>) -> Result<(), End> {
    match action {
        None => shell(program).await,
        Some(Action::Daemon(_)) => daemon(program).await,
        Some(Action::Demo(args)) => commands::demo::run(program, &args).await,
        Some(Action::Status(args)) => commands::status::run(program, args).await,
        Some(Action::Stop(args)) => commands::stop::run(program, args).await,
        Some(Action::Passwd(_)) => program.signals.or(password::change(program)).await?,
        Some(Action::Config(args)) => commands::config::run(program, &args).await,
        Some(Action::Send(args)) => {
            let mut letter = commands::send::prepare(program, args)?;
            program.with_owner(async |client| commands::send::run(program, &mut letter, client).await).await
        }
        Some(Action::Listen(args)) => {
            let mut progress = commands::listen::Progress::new(program, args);
            let listen = async |client: &Client| commands::listen::run(program, &mut progress, client).await;
            program.with_owner_in(Mode::Listener, listen).await
        }
        Some(Action::Peers(args)) => program.with_owner(async |client| commands::peers::run(program, &args, client).await).await,
        Some(Action::Whois(args)) => program.with_owner(async |client| commands::whois::run(program, &args, client).await).await,
        Some(Action::Backup(args)) => program.signals.or(backup::back_up(program, &args.file)).await?,
        Some(Action::Restore(args)) => program.signals.or(backup::restore(program, &args.file)).await?,
        Some(Action::Export(args)) => {
            let mut progress = commands::export::Progress::new(args);
            program.with_owner(async |client| commands::export::run(&mut progress, client).await).await
        }
        Some(Action::Import(args)) => {
            let mut progress = commands::import::Progress::open(&args)?;
            program.with_owner(async |client| commands::import::run(program, &mut progress, client).await).await
        }
        Some(Action::Ping(args)) => program.with_owner(async |client| commands::ping::run(program, &args, client).await).await,
        Some(Action::Doctor(_)) => program.with_owner(async |client| commands::doctor::run(program, client).await).await,
        Some(Action::History(args)) => {
            program.with_owner(async |client| commands::history::run(program, &args, client).await).await
        }
        Some(Action::Completions(args)) => commands::completions::run(&args, &mut cli::command()),
        Some(Action::Unread(args)) => {
            program.with_owner(async |client| commands::unread::run(program, &args, client).await).await
        }
        Some(Action::MarkRead(args)) => {
            program.with_owner(async |client| commands::unread::mark(program, &args, client).await).await
        }
        Some(Action::Outbox(args)) => {
            let mut text = commands::outbox::prepare(&args)?;
            program.with_owner(async |client| commands::outbox::run(program, &args, &mut text, client).await).await
        }
        Some(Action::Find(args)) => program.with_owner(async |client| commands::find::run(program, &args, client).await).await,
        Some(Action::Whoami(args)) => {
            program.with_owner(async |client| commands::whoami::run(program, &args, client).await).await
        }
        Some(Action::Contact(args)) => {
            let call = commands::contact::prepare(args)?;
            program.with_owner(async |client| commands::contact::run(program, &call, client).await).await
        }
        Some(Action::Requests(args)) => {
            let call = args.call();
            program.with_owner(async |client| commands::requests::run(program, &call, client).await).await
        }
        Some(Action::Seed(args)) => program.with_owner(async |client| commands::seed::run(program, &args, client).await).await,
    }
}

async fn shell(program: &Program) -> Result<(), End> {
    let front = program.signals.or(Front::open(program, Mode::Shell)).await??;
    let is_window = !front.is_owner();
    let ended = commands::shell::run(program, &front).await;
    front.close().await;
    match ended {
        Err(End::Code(commands::shell::OWNER_ENDED)) if is_window => commands::shell::go_on_alone(),
        ended => ended,
    }
}

async fn daemon(program: &Program) -> Result<(), End> {
    let until = Instant::now() + OPEN_TIMEOUT;
    loop {
        let front = program.signals.or(Front::open(program, Mode::Daemon)).await??;
        if front.is_owner() {
            let ended = commands::daemon::run(program, &front).await;
            front.close().await;
            return ended;
        }
        // A command ends in a moment; a shell or another daemon stays.
        let owner = front.client().call(Call::STATUS).all().await.unwrap_or_default();
        if let Some(Line::Owner(owner)) = owner.first()
            && (owner.mode != Mode::Command.word() || Instant::now() > until)
        {
            let text =
                format!("the profile {} is in use: the {} with pid {} owns it", program.shown_dir(), owner.mode, owner.pid);
            return Err(ErrorLine::new("owned", 8, text).hint("`p2pchat-udp stop` ends it").into());
        }
        program.signals.or(tokio::time::sleep(PAUSE_MAX)).await?;
    }
}

impl Program {
    /// A client of the owner that runs now. Without one: exit 11.
    pub async fn owner(&self) -> Result<Client, End> {
        match connect(&socket_path(&self.settings.dir)?).await {
            Ok(Some(client)) => Ok(client),
            Ok(None) => {
                let text = format!("no owner is running on the profile {}", self.shown_dir());
                Err(ErrorLine::new("no-owner", 11, text).hint("`p2pchat-udp daemon` starts one, and so does the shell").into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns once the owner with this pid has let go of the profile: nobody has it, or another one.
    pub async fn until_free(&self, pid: u32) -> Result<(), End> {
        let until = Instant::now() + OPEN_TIMEOUT;
        while profile::is_locked(&self.settings.dir) {
            if let Ok(client) = self.owner().await
                && let Ok(lines) = client.call(Call::STATUS).all().await
                && lines.iter().any(|line| matches!(line, Line::Owner(owner) if owner.pid != pid))
            {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(ErrorLine::new("timeout", 5, "time is up: the owner has not let go of the profile yet").into());
            }
            self.signals.or(tokio::time::sleep(PAUSE_MAX)).await?;
        }
        Ok(())
    }

    /// Makes the profile's directory where it is missing.
    pub fn make_dir(&self) -> Result<(), ErrorLine> {
        profile::make_dir(&self.settings.dir)
    }

    /// The profile's directory, for people.
    pub fn shown_dir(&self) -> String {
        self.settings.dir.display().to_string()
    }

    /// Runs a command as a client: of the owner, or of a node of its own for as long as it takes. Where
    /// the owner ends in the middle the command starts again with the next one, so it must be harmless to
    /// repeat.
    pub async fn with_owner(&self, command: impl AsyncFnMut(&Client) -> Result<(), End>) -> Result<(), End> {
        self.with_owner_in(Mode::Command, command).await
    }

    async fn with_owner_in(&self, mode: Mode, mut command: impl AsyncFnMut(&Client) -> Result<(), End>) -> Result<(), End> {
        loop {
            let front = self.signals.or(Front::open(self, mode)).await??;
            let ended = tokio::select! {
                ended = command(front.client()) => ended,
                signal = self.signals.next() => Err(End::Signal(signal)),
                stopped = front.stopped() => Err(match stopped {
                    // As if it had been told by a signal: what it was to do is not done.
                    Stopped::Asked => End::Signal(signals::TERMINATE),
                    Stopped::Broken => gone(),
                }),
            };
            let is_owner = front.is_owner();
            front.close().await;
            match ended {
                Err(End::Lost) if !is_owner => tracing::debug!("the owner has ended: looking for the next"),
                Err(End::Lost) => return Err(gone()),
                ended => return ended,
            }
        }
    }
}

/// The way in to a profile: the owner's control server, in this process or in another one.
#[derive(Debug)]
pub struct Front {
    client: Client,
    own: Option<Own>,
}

impl Front {
    /// Becomes the owner of the profile, or a client of its owner, whichever is possible first.
    pub async fn open(program: &Program, mode: Mode) -> Result<Self, ErrorLine> {
        let socket = socket_path(&program.settings.dir)?;
        let mut until = Instant::now() + OPEN_TIMEOUT;
        let mut pause = PAUSE_MIN;
        let mut unlock = None;
        loop {
            if let Some(client) = connect(&socket).await? {
                program.tell_owner(&client).await;
                return Ok(Self { client, own: None });
            }
            match profile::take(&program.settings, unlock.as_ref())? {
                Taken::Store(store) => {
                    let own = Own::start(program, mode, *store, socket).await?;
                    let client = Client::connect(own.connection()).await.map_err(|e| internal(&e))?;
                    return Ok(Self { client, own: Some(own) });
                }
                Taken::Sealed => {
                    unlock = Some(password::present(program).await?);
                    until = Instant::now() + OPEN_TIMEOUT;
                    continue;
                }
                // Its owner starts or ends at this moment.
                Taken::Locked if Instant::now() < until => {}
                Taken::Locked => {
                    let text = format!("the profile {} is in use, and its owner does not answer", program.shown_dir());
                    return Err(ErrorLine::new("owner-silent", 8, text).hint("end the process that holds it"));
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// What every question goes through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// True where this process owns the profile.
    pub fn is_owner(&self) -> bool {
        self.own.is_some()
    }

    /// Returns once another process asked this owner to end, or its node has ended; never for a client.
    pub async fn stopped(&self) -> Stopped {
        match &self.own {
            Some(own) => own.stopped().await,
            None => std::future::pending().await,
        }
    }

    /// Returns when it is time to end: asked to, or by a signal; SIGHUP has the settings read again.
    pub async fn ended(&self, program: &Program) -> Result<(), End> {
        loop {
            tokio::select! {
                stopped = self.stopped() => return match stopped {
                    Stopped::Asked => Ok(()),
                    Stopped::Broken => Err(gone()),
                },
                signal = program.signals.next() => match (signal, &self.own) {
                    (signals::HANGUP, Some(own)) => own.read_settings_again().await,
                    (signal, _) => return Err(End::Signal(signal)),
                },
            }
        }
    }

    /// Says goodbye to everybody and lets go of the profile, where this process owns it.
    pub async fn close(self) {
        drop(self.client);
        if let Some(own) = self.own {
            own.close().await;
        }
    }
}

impl Program {
    /// An option that only an owner can follow came too late; a name did not.
    async fn tell_owner(&self, client: &Client) {
        let is_flag = |key| self.given.get(key).is_some_and(|(_, origin)| *origin == Origin::Flag);
        if is_flag("name")
            && let Some(name) = &self.settings.name
            && *name.as_str() != client.ready().name
        {
            let name = name.as_str().to_owned();
            if let Err(error) = client.call(Call::Nick(Nick { name })).all().await {
                tracing::warn!(%error, "the name was not taken");
            }
        }
        if is_flag("allow") {
            note("p2pchat-udp: --allow has no effect: the profile has an owner; `p2pchat-udp config allow` sets it there too");
        }
        if !self.settings.overruled_by(&BTreeMap::new()).is_empty()
            && let Ok(lines) = client.call(Call::STATUS).all().await
            && let Some(Line::Owner(owner)) = lines.first()
        {
            for option in self.settings.overruled_by(&owner.settings) {
                note(&format!(
                    "p2pchat-udp: {option} has no effect: the {} with pid {} was started without it",
                    owner.mode, owner.pid
                ));
            }
        }
    }
}

/// A client of whoever answers at `socket`; `None` where nobody does.
async fn connect(socket: &std::path::Path) -> Result<Option<Client>, ErrorLine> {
    let Ok(stream) = UnixStream::connect(socket).await else { return Ok(None) };
    match tokio::time::timeout(READY_TIMEOUT, Client::connect(stream)).await {
        Ok(Ok(client)) => Ok(Some(client)),
        Ok(Err(CallError::Refused(error))) => Err(error),
        Ok(Err(CallError::Lost)) => Ok(None),
        Err(_) => Err(ErrorLine::new("owner-silent", 8, "the owner of the profile does not answer")
            .hint("is it stopped? End it, or let it go on")),
    }
}

/// The node of this process has ended by itself.
fn gone() -> End {
    End::Error(internal(&"the node has ended"))
}

fn internal(error: &dyn std::fmt::Display) -> ErrorLine {
    ErrorLine::new("internal", 1, format!("internal error: {error}"))
}

/// The log goes to stderr, one line each; the journal has its own clock.
fn start_log(verbose: u8, setting: Option<&str>) {
    let by_count = match verbose {
        0 => "warn",
        1 => "p2pchat_udp=info,warn",
        2 => "p2pchat_udp=debug,info",
        _ => "trace",
    };
    let wanted = if verbose == 0 { setting.unwrap_or(by_count) } else { by_count };
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter: Targets = from_environment.as_deref().unwrap_or(wanted).parse().or_else(|_| by_count.parse()).unwrap_or_default();
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(std::io::stderr).with_ansi(colour);
    let log = tracing_subscriber::registry().with(filter);
    // Already set where tests run several programs in one process.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.with(lines.without_time()).try_init()
    } else {
        log.with(lines).try_init()
    };
}

/// Says what went wrong, and gives the exit code.
fn leave(json: bool, ended: Result<(), End>) -> ExitCode {
    match ended {
        Ok(()) | Err(End::OutputClosed) => ExitCode::SUCCESS,
        Err(End::Code(code)) => ExitCode::from(code),
        Err(End::Signal(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)),
        Err(End::Lost) => leave(json, Err(End::Error(internal(&"the owner of the profile has ended")))),
        Err(End::Error(error)) => {
            note(&format!("p2pchat-udp: {error}"));
            if let Some(hint) = &error.hint {
                note(hint);
            }
            let exit = error.exit;
            if json {
                let _ = Output { json }.line(&Line::Error(error).to_json());
            }
            ExitCode::from(exit)
        }
    }
}
