//! Owning a profile: the node's thread, the control server's thread, the socket. The node must not wait
//! for a slow reader, nor a client for a command that prints: so the loop, the server and the command
//! have a thread each.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    io::DuplexStream,
    net::UnixListener,
    runtime,
    sync::{Semaphore, oneshot},
};

use super::{Mode, Program, backup, internal, password, profile, surroundings};
use crate::{
    config::{Given, Settings},
    control::{
        call::Secret,
        doctor::Surroundings,
        follow_settings, newest_received,
        proto::{ConfigLine, Counts, ErrorLine},
        server::{Beginning, Events, Followed, NoEvents, Node, Owner, serve, serve_from_start},
    },
    crypto::vault::Cost,
    editor,
    id::BatchId,
    net::{
        committer::{Change, Keep, Keeper},
        driver::{Driver, DriverConfig, StartError},
        handle::{Handle, Subscription, Unsubscribed},
    },
    node::{
        NodeConfig,
        command::{Command, Reply},
        event::Event,
    },
    shell::forget_typed,
    store::{
        Progress, Reader, Store,
        row::{Op, WriteBatch},
    },
};

/// Clients at one time; more wait until one has gone.
const CLIENTS_MAX: usize = 256;
/// Bytes on their way between a command and the server of its own process.
const PIPE_LEN: usize = 256 * 1024;
/// The pause after a failed accept: descriptors may be short for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What clients are still told, at the very end.
const LAST_LINES: Duration = Duration::from_millis(200);

/// A node that this process runs, and its control server.
#[derive(Debug)]
pub(super) struct Own {
    owner: Arc<Owner<Running>>,
    /// What happened since the start, for the first connection.
    beginning: Mutex<Option<Beginning<Subscription>>>,
    socket: PathBuf,
    loop_thread: JoinHandle<()>,
    server: runtime::Handle,
    server_thread: JoinHandle<()>,
    end_server: oneshot::Sender<()>,
}

/// Why an owner ends that nobody told to end in its own process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// A client asked for it.
    Asked,
    /// The node is gone: a mistake in the program.
    Broken,
}

/// The node behind the control server.
#[derive(Debug)]
pub(super) struct Running {
    handle: Handle,
    keeper: Keeper,
    dir: PathBuf,
    /// As they were last read.
    settings: Mutex<Settings>,
    given: Given,
}

impl Running {
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node for Running {
    type Events = Subscription;

    async fn call(&self, command: Command) -> Reply {
        self.handle.call(command).await
    }

    fn subscribe(&self) -> Subscription {
        self.handle.subscribe()
    }

    fn reader(&self) -> &Reader {
        self.handle.reader()
    }

    fn addrs(&self) -> Vec<SocketAddr> {
        self.handle.local_addrs()
    }

    fn renamed(&self, name: &str) {
        // Where the file says who I am, it would win at the next start.
        let is_in_file = self.settings().is_in_file("name");
        if is_in_file {
            self.keep("name", name);
        }
    }

    fn keep(&self, key: &str, value: &str) {
        let mut settings = self.settings();
        if let Err(error) = settings.store(key, value) {
            tracing::warn!(%error, key, "not written to config.toml");
        } else if let Ok(written) = Settings::load(self.dir.clone(), &self.given) {
            *settings = written;
        }
    }

    fn config(&self, key: Option<&str>) -> Result<Vec<ConfigLine>, ErrorLine> {
        self.settings().lines(key)
    }

    fn set_config(&self, key: &str, value: &str) -> Result<Counts, ErrorLine> {
        self.settings().store(key, value)?;
        Ok(Settings::counts(key))
    }

    fn read_config(&self) -> Result<Followed, ErrorLine> {
        let settings = Settings::load(self.dir.clone(), &self.given)?;
        self.keeper.set_retention(settings.retention);
        let mut before = self.settings();
        let name = settings.name.as_ref().filter(|_| settings.name != before.name).map(|name| name.as_str().to_owned());
        let followed = Followed {
            name,
            allow: Some(settings.allow).filter(|allow| *allow != before.allow),
            read_receipts: Some(settings.read_receipts).filter(|told| *told != before.read_receipts),
        };
        *before = settings;
        Ok(followed)
    }

    fn progress(&self) -> Option<Progress> {
        self.keeper.progress()
    }

    async fn surroundings(&self) -> Surroundings {
        let settings = self.settings().clone();
        surroundings::look(&settings).await
    }

    async fn back_up(&self, path: PathBuf) -> Result<(), ErrorLine> {
        self.keeper.back_up(path.clone()).await.map_err(|error| backup::not_written(&path, &error))
    }

    async fn change_password(&self, old: Option<Secret>, new: Option<Secret>) -> Result<(), ErrorLine> {
        let unlock = |secret: Option<Secret>| secret.map(|secret| password::unlock(secret.into_inner())).transpose();
        let (dir, old, new) = (self.dir.clone(), unlock(old)?, unlock(new)?);
        let seals = new.is_some();
        let changed = self.keeper.change_password(Change { dir, old, new, cost: Cost::NEW }).await;
        changed.map_err(|error| profile::refused(&self.dir, &error))?;
        if seals {
            forget_typed(&self.dir);
        }
        Ok(())
    }
}

impl Events for Subscription {
    async fn next(&mut self) -> Result<Arc<Event>, NoEvents> {
        Self::next(self).await.map_err(|why| match why {
            Unsubscribed::TooSlow => NoEvents::Missed,
            Unsubscribed::Ended => NoEvents::Ended,
        })
    }
}

impl Own {
    /// Starts everything on an open store. When it returns, sockets are bound and clients are served.
    pub(super) async fn start(program: &Program, mode: Mode, mut store: Store, socket: PathBuf) -> Result<Self, ErrorLine> {
        let settings = &program.settings;
        editor::remove_remains(&settings.dir);
        let name = keep_name(settings, &mut store)?;
        let after = newest_received(&store.reader()).map_err(|e| internal(&e))?;
        let listener = bind(&socket)?;
        let config = DriverConfig {
            sockets: surroundings::sockets(settings),
            keep: Keep { dir: Some(settings.dir.clone()), retention: settings.retention },
            node: NodeConfig {
                name: name.clone(),
                network: settings.network.clone(),
                port: 0,
                lan: !settings.no_lan,
                interfaces: settings.interfaces.clone(),
                seeds: settings.via.clone(),
                // Before anybody could write to it, a node that lives for one command is gone.
                visibility: settings.visibility.filter(|_| mode != Mode::Command),
                hidden: settings.visibility.is_none(),
                allow: settings.allow,
                read_receipts: settings.read_receipts,
            },
        };
        let Started { handle, keeper, events, thread: loop_thread } = start_loop(config, store).await.inspect_err(|_| {
            let _ = fs::remove_file(&socket);
        })?;
        // Who listens for nothing must not keep it all.
        let beginning = Mutex::new((mode != Mode::Command).then_some(Beginning { after, events }));
        let owner = Arc::new(Owner {
            id: handle.id(),
            port: handle.port(),
            mode: mode.word(),
            store_file: settings.dir.join(crate::store::FILE_NAME),
            settings: settings.of_the_start(),
            since: Instant::now(),
            name: Mutex::new(name),
            keyboard: Mutex::default(),
            stop: tokio::sync::Notify::new(),
            node: Running {
                handle,
                keeper,
                dir: settings.dir.clone(),
                settings: Mutex::new(settings.clone()),
                given: program.given.clone(),
            },
        });
        let (server, server_thread, end_server) = start_server(listener, owner.clone()).map_err(|e| internal(&e))?;
        Ok(Self { owner, beginning, socket, loop_thread, server, server_thread, end_server })
    }

    /// A connection to the own server.
    pub(super) fn connection(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(PIPE_LEN);
        let beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.server.spawn(serve_from_start(far, self.owner.clone(), beginning));
        near
    }

    /// Returns once it is time to end: a client asked for it, or the node is gone.
    pub(super) async fn stopped(&self) -> Stopped {
        tokio::select! {
            () = self.owner.stop.notified() => Stopped::Asked,
            () = self.owner.node.handle.ended() => Stopped::Broken,
        }
    }

    /// Takes from the settings what may change while running.
    pub(super) async fn read_settings_again(&self) {
        match follow_settings(&self.owner).await {
            Ok(()) => tracing::info!("settings read again; what is for sockets and seeds counts from the next start"),
            Err(error) => tracing::warn!(%error, "settings not read again"),
        }
    }

    /// Goodbye to the peers, then to the clients; at the end nobody owns the profile.
    pub(super) async fn close(self) {
        let Self { owner, beginning: _, socket, loop_thread, server: _server, server_thread, end_server } = self;
        // While the profile is still ours: the next owner's socket has the same name.
        let _ = fs::remove_file(&socket);
        owner.node.handle.call(Command::Leave).await;
        join(loop_thread).await;
        let _ = end_server.send(());
        join(server_thread).await;
    }
}

/// Waits for a thread without stopping the others' lines.
async fn join(thread: JoinHandle<()>) {
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
}

/// The name of this run; where somebody said another one than the profile knows, it is kept there.
fn keep_name(settings: &Settings, store: &mut Store) -> Result<String, ErrorLine> {
    let unreadable = |e: &dyn std::fmt::Display| {
        ErrorLine::new("profile", 8, format!("cannot use the profile {}: {e}", settings.dir.display()))
    };
    let known = store.reader().load().map_err(|e| unreadable(&e))?.name;
    match &settings.name {
        Some(name) if name.as_str() != known => {
            let ops = vec![Op::Name(name.as_str().to_owned())].into();
            store.commit(WriteBatch { id: BatchId(0), ops }).map_err(|e| unreadable(&e))?;
            Ok(name.as_str().to_owned())
        }
        _ => Ok(known),
    }
}

/// A node in its thread.
struct Started {
    handle: Handle,
    keeper: Keeper,
    events: Subscription,
    thread: JoinHandle<()>,
}

/// Starts the node's thread; returns once the node is ready.
async fn start_loop(config: DriverConfig, store: Store) -> Result<Started, ErrorLine> {
    let (tell, told) = oneshot::channel();
    let run = move || {
        let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = tell.send(Err(internal(&error)));
                return;
            }
        };
        runtime.block_on(async move {
            match Driver::start(config, store) {
                Ok((driver, handle)) => {
                    // Before the node does anything, so that nothing of it is missed.
                    let _ = tell.send(Ok((handle.subscribe(), handle, driver.keeper())));
                    driver.run().await;
                }
                Err(error) => {
                    let _ = tell.send(Err(not_started(&error)));
                }
            }
        });
        // A name that is still looked up keeps nobody waiting.
        runtime.shutdown_background();
    };
    let thread = std::thread::Builder::new().name("node".to_owned()).spawn(run).map_err(|e| internal(&e))?;
    match told.await {
        Ok(Ok((events, handle, keeper))) => Ok(Started { handle, keeper, events, thread }),
        Ok(Err(error)) => {
            // The store is closed before anybody is told, so that another try finds it free.
            join(thread).await;
            Err(error)
        }
        Err(_) => Err(internal(&"the node did not start")),
    }
}

fn not_started(error: &StartError) -> ErrorLine {
    match error {
        StartError::Bind(error) => {
            ErrorLine::new("network", 9, error.to_string()).hint("without --listen the next free port is taken")
        }
        StartError::Random(_) | StartError::Thread(_) => internal(error),
        _ => ErrorLine::new("profile", 8, format!("cannot use the profile: {error}")),
    }
}

type Server = (runtime::Handle, JoinHandle<()>, oneshot::Sender<()>);

fn start_server(listener: std::os::unix::net::UnixListener, owner: Arc<Owner<Running>>) -> io::Result<Server> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (end, ended) = oneshot::channel();
    let listener = {
        let _guard = runtime.enter();
        UnixListener::from_std(listener)?
    };
    let run = move || {
        runtime.block_on(async move {
            let accepting = tokio::spawn(accept(listener, owner));
            // An error means that nobody can end it any more: then it ends as well.
            let _ = ended.await;
            accepting.abort();
        });
        runtime.shutdown_timeout(LAST_LINES);
    };
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(run)?;
    Ok((handle, thread, end))
}

async fn accept(listener: UnixListener, owner: Arc<Owner<Running>>) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = serve(stream, owner.clone());
                tokio::spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a client was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Binds the control socket, for its owner only. Whoever holds the profile's lock may replace what is
/// there: nobody answers at it.
fn bind(socket: &Path) -> Result<std::os::unix::net::UnixListener, ErrorLine> {
    let failed = |e: &dyn std::fmt::Display| {
        ErrorLine::new("profile", 8, format!("cannot make the control socket {}: {e}", socket.display()))
    };
    if let Some(dir) = socket.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| failed(&e))?;
        let about = fs::metadata(dir).map_err(|e| failed(&e))?;
        if about.uid() != nix::unistd::Uid::effective().as_raw() {
            return Err(failed(&"its directory belongs to another user"));
        }
    }
    match fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&e)),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(socket).map_err(|e| failed(&e))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(|e| failed(&e))?;
    listener.set_nonblocking(true).map_err(|e| failed(&e))?;
    Ok(listener)
}
