//! Seed mode (`--seed`): the phonebook for people on other networks, from its options to its end. What a
//! seed answers lives in `seed`, its sockets and threads in `net::seed`.

use std::{net::SocketAddr, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{Signals, internal, profile, signals, start_log};
use crate::{
    cli::Cli,
    commands::{End, output::Output},
    config::{Given, Settings},
    control::{CONTROL_VERSION, proto::ErrorLine},
    net::{
        counters::Counts,
        dns::Names,
        seed::{Server, ServerConfig, StartError, depot::Depot},
        socket::{Listen, PORT_FIRST},
    },
    seed::counters::Counters,
    text::{Name, Shown},
};

mod key;

/// Records where nobody says how many: 256 MB.
const RECORDS_MAX_DEFAULT: u32 = 1_000_000;
/// Bytes that a seed relays in a second, of all pairs together.
const RELAY_RATE_MAX: u32 = 1 << 20;
/// How often the log says what was counted.
const COUNTERS_INTERVAL: Duration = Duration::from_secs(60);
/// Name of the directory where nobody says another.
const DIR_NAME: &str = "p2pchat-udp-seed";

/// `ready`. A seed has no id.
#[derive(Serialize)]
struct Ready<'a> {
    event: &'static str,
    name: &'a str,
    port: u16,
    addrs: &'a [SocketAddr],
    version: &'static str,
    control: u32,
}

/// A seed, from its start to its end.
pub(super) fn start(runtime: &tokio::runtime::Runtime, cli: &Cli, given: &Given) -> Result<(), End> {
    let dir = profile::directory(cli.global.data_dir.clone(), DIR_NAME)?;
    let depot = depot(cli)?;
    let settings = Settings::without_file(dir, given)?;
    start_log(cli.global.verbose, None);
    let signals = {
        let _guard = runtime.enter();
        Signals::new().and_then(|signals| signals.hear_hangups().map(|()| signals)).map_err(|e| internal(&e))?
    };
    let name = settings.name.clone().map_or_else(host_name, |name| name.as_str().to_owned());
    let config = ServerConfig {
        listen: settings.listen.unwrap_or(Listen::every(PORT_FIRST)),
        name: name.clone(),
        records_max: usize::try_from(cli.max_records.unwrap_or(RECORDS_MAX_DEFAULT)).unwrap_or(usize::MAX),
        relay: cli.relay.then_some(RELAY_RATE_MAX),
        token_secret: *key::load_or_make(&settings.dir)?,
        threads: std::thread::available_parallelism().map_or(1, Into::into),
        depot,
    };
    let server = Server::start(config).map_err(|error| not_started(&error))?;
    say_ready(cli.global.json, &name, &server);
    runtime.block_on(async {
        let ended = run(&server, &signals, Names::new(settings.via)).await;
        let last = server.close().await;
        log_counters(&last);
        ended
    })
}

/// What it shares with other seeds. Its address is in no error: it may have a password.
#[cfg(feature = "redis")]
fn depot(cli: &Cli) -> Result<Option<Box<dyn Depot>>, End> {
    let Some(url) = cli.directory.as_ref().filter(|url| !url.is_empty()) else { return Ok(None) };
    match crate::net::redis::Redis::new(url) {
        Ok(redis) if url.starts_with("redis://") => Ok(Some(Box::new(redis))),
        _ => {
            let wrong = ErrorLine::new("usage", 2, "--directory: not redis://HOST:PORT/DB");
            Err(wrong.hint("TLS and unix sockets are not spoken; see p2pchat-udp-seed(8)").into())
        }
    }
}

/// A seed that should be one of several must not be one alone.
#[cfg(not(feature = "redis"))]
fn depot(_: &Cli) -> Result<Option<Box<dyn Depot>>, End> {
    if std::env::var_os("P2PCHAT_DIRECTORY").is_none_or(|url| url.is_empty()) {
        return Ok(None);
    }
    let wrong = ErrorLine::new("usage", 2, "P2PCHAT_DIRECTORY is set, and this program cannot share a directory");
    Err(wrong.hint("build it with `cargo build --release --features redis`, or unset the variable").into())
}

fn say_ready(json: bool, name: &str, server: &Server) {
    let ready = Ready {
        event: "ready",
        name,
        port: server.port(),
        addrs: server.addrs(),
        version: env!("CARGO_PKG_VERSION"),
        control: CONTROL_VERSION,
    };
    let text = if json {
        serde_json::to_string(&ready).unwrap_or_default()
    } else {
        format!("ready: seed {}, port {}", Shown::line(name), server.port())
    };
    // Who does not read it does not mind.
    let _ = Output { json }.line(&text);
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// Runs until a signal ends it, which is the end that it has.
async fn run(server: &Server, signals: &Signals, mut fellows: Names) -> Result<(), End> {
    let mut look_up_at = Instant::now();
    let mut count_at = Instant::now() + COUNTERS_INTERVAL;
    loop {
        let look_up = async {
            sleep_until(look_up_at).await;
            fellows.look_up().await;
        };
        tokio::select! {
            signal = signals.next() => match signal {
                // There is no file to read again, but names may stand for something else.
                signals::HANGUP => look_up_at = Instant::now(),
                _ => return Ok(()),
            },
            () = look_up => {
                server.set_fellows(fellows.addrs());
                look_up_at = Instant::now() + fellows.interval();
            }
            () = sleep_until(count_at) => {
                log_counters(&server.counters());
                count_at += COUNTERS_INTERVAL;
            }
            () = server.fallen() => return Err(internal(&"a thread of the seed has ended").into()),
        }
    }
}

/// Numbers for the operator: never an address, an id or a name.
fn log_counters((counts, asked): &(Counts, Counters)) {
    let Counts { received, received_bytes, receive_failed, sent, sent_bytes, send_full, send_failed, .. } = counts;
    tracing::info!(
        records = asked.records,
        channels = asked.channels,
        received,
        received_bytes,
        receive_failed,
        sent,
        sent_bytes,
        send_full,
        send_failed,
        cookies = asked.cookies,
        register = asked.register,
        refresh = asked.refresh,
        lookup = asked.lookup,
        find = asked.find,
        search = asked.search,
        unregister = asked.unregister,
        knock = asked.knock,
        status = asked.status,
        bind = asked.bind,
        signatures = asked.signatures,
        tokens = asked.tokens,
        told = asked.told,
        notified = asked.notified,
        relayed = asked.relayed,
        relayed_bytes = asked.relayed_bytes,
        over_budget = asked.over_budget,
        stray = asked.stray,
        refused = asked.refused,
        busy = asked.busy,
        other_version = asked.other_version,
        dropped = asked.dropped,
        unsent = asked.unsent,
        written = asked.written,
        fetched = asked.fetched,
        late = asked.late,
        disbelieved = asked.disbelieved,
        "counters"
    );
}

/// What a seed is called that has no name: its machine.
fn host_name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
    let first = host.split('.').next().unwrap_or_default();
    Name::parse(first).map_or_else(|_| "seed".to_owned(), |name| name.as_str().to_owned())
}

fn not_started(error: &StartError) -> ErrorLine {
    match error {
        StartError::Bind(error) => ErrorLine::new("network", 9, error.to_string())
            .hint("is a seed or a peer running here already? Choose another port with --listen :PORT"),
        StartError::Random(_) | StartError::Thread(_) => internal(error),
    }
}
