//! Every part built from the [`Config`], and the program's life from opening its sockets to the clean stop.
//!
//! Invariants: nothing is announced before it works; a command that never came to a handshake ends the program;
//! whatever ends the program, the children are stopped first.

mod banner;
pub(crate) mod configuration;
mod entrance;
mod urls;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use self::configuration::Remarks;
use crate::auth::Remote;
use crate::child::guard::ChildGuard;
use crate::config::{Config, HttpConfig, Reread, ServersConfig, Source};
use crate::error::StartupError;
use crate::http::guard::Guard;
use crate::http::listener::{Bound, Handed, Listener, Stop};
use crate::http::status_page::{Desk, Door};
use crate::http::tls::Tls;
use crate::http::{self, Http};
use crate::metrics::ServerMetrics;
use crate::notify::Notifier;
use crate::reload::{Reading, Reloads, watch};
use crate::servers::Servers;
use crate::shutdown::{self, Parts, Signals, Wish};
use crate::status::Status;
use crate::status::history::Totals;
use crate::telemetry::traces;

/// The running program.
#[derive(Debug)]
pub struct App {
    local_addr: Option<SocketAddr>,
    announcement: Announcement,
    reload: Arc<Notify>,
    parts: Parts,
}

/// What whoever starts the program wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The URLs a client needs, of everything that is listened on: Streamable HTTP, then HTTP+SSE, for each server.
    pub urls: Vec<String>,
    /// JSON to paste into a client's configuration; none where only unix sockets are listened on.
    pub client_configuration: Option<String>,
}

impl App {
    /// Runs until a signal asks for a stop, and stops cleanly. Must be called within a tokio runtime. `source` is what the
    /// configuration is read from again, `handed` what may be listened on without being opened first. `announce` is given the
    /// URLs as soon as clients can use them, and `manager` is told of every turn.
    ///
    /// # Errors
    /// What is to be listened on or the child could not be had, now or (for the child) before its first handshake; of several
    /// servers, none could be. Everything that was started is stopped then too.
    pub async fn run(
        config: Config,
        source: Option<Source>,
        handed: Handed,
        manager: Notifier,
        announce: impl FnOnce(&Announcement),
    ) -> Result<(), StartupError> {
        let mut signals =
            Signals::install().map_err(|source| StartupError::System { what: "handle signals", source })?;
        let app = Self::start_telling(config, source, handed, start_guard()?, manager.clone()).await?;
        announce(&app.announcement);
        manager.ready(&serving(&app.announcement.urls));
        // Until everything has stopped: a stop that hangs is for the watchdog, too.
        let (watchdog, stopped) = (TaskTracker::new(), CancellationToken::new());
        watchdog.spawn(manager.clone().feed_watchdog(stopped.clone()));
        let servers = Arc::clone(app.servers());
        let mut none_works = pin!(servers.none_works());
        let ending = loop {
            tokio::select! {
                error = &mut none_works => {
                    error!("stopping: none of the servers can be used");
                    break Err(error);
                }
                wish = signals.next() => match wish {
                    Wish::Reload => app.reload(),
                    Wish::Stop(signal) => {
                        info!(signal, "stopping");
                        break Ok(());
                    }
                },
                error = app.parts.servers.lost() => {
                    error!("stopping: the server cannot be used");
                    break Err(error);
                }
            }
        };
        // Nothing is read again from now on.
        app.parts.stop.drain.cancel();
        manager.stopping(app.parts.stop_at_most());
        shutdown::stop(app.parts, async || {
            let signal = signals.stop().await;
            warn!(signal, "stopping at once");
        })
        .await;
        stopped.cancel();
        watchdog.close();
        watchdog.wait().await;
        ending
    }

    /// Binds, starts the children, and serves. Returns when the command has shown that it works, or after a second if it
    /// takes longer than that (requests wait for it). The running executable must be mcp-mux's own: it is started once more
    /// as the children's guard, and in the place of each child until the guard knows of it.
    ///
    /// # Errors
    /// What is to be listened on or the child could not be had. Everything that was started is stopped then.
    pub async fn start(config: Config, handed: Handed) -> Result<Self, StartupError> {
        Self::start_with(config, handed, start_guard()?).await
    }

    /// [`App::start`] with a guard of the caller's, for programs that are not mcp-mux's own.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_with(config: Config, handed: Handed, guard: ChildGuard) -> Result<Self, StartupError> {
        Self::start_telling(config, None, handed, guard, Notifier::default()).await
    }

    /// [`App::start_with`], where `manager` is told when files are read again, the configuration of `source` among them.
    async fn start_telling(
        config: Config,
        source: Option<Source>,
        mut handed: Handed,
        guard: ChildGuard,
        manager: Notifier,
    ) -> Result<Self, StartupError> {
        raise_open_files_limit();
        let cannot = |source| StartupError::System { what: "send traces", source };
        traces::begin(config.telemetry.traces.as_ref()).map_err(cannot)?;
        let mut reloads = Reloads::default();
        let tls = config.tls.map(Tls::load).transpose()?.map(Arc::new);
        // First, or it might find what it was given among the rest that is the clients'.
        let mut admin = match &config.admin {
            Some(config) => Some(Listener::take(config, &mut handed).await?),
            None => None,
        };
        let mut listener = Listener::bind(&config.listen, handed).await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        if let Some(tls) = tls {
            listener = listener.with_tls(Arc::clone(&tls));
            admin = admin.map(|admin| admin.with_tls(Arc::clone(&tls)));
            reloads.add("tls", tls.files(), move || Ok(tls.reload()?));
        }
        let proxies = config.http.forwarded.clone();
        if !proxies.trusted.is_empty() {
            listener = listener.exempting(move |remote| match remote {
                Remote::Address(address) => proxies.trusts(address),
                Remote::User(_) => proxies.trusts_unix(),
            });
        }
        let local_addr = listener.local_addr();
        let all_bound = || listener.bound().chain(admin.iter().flat_map(Listener::bound));
        for bound in all_bound() {
            entrance::refuse_exposure(bound, &config.auth)?;
        }
        for bound in all_bound() {
            entrance::warn_of_exposure(bound, &config.auth);
        }
        entrance::warn_of_openness(&config.guard);
        let remarks = Remarks::new(&config.auth);
        remarks.say(&config.servers, config.exposed_file.as_deref(), &config.foreign_keys);
        let mounts = mounts(&config.servers);
        let urls: Vec<_> =
            listener.bound().flat_map(|bound| urls::urls(scheme, bound, &config.http, &mounts)).collect();
        let client_configuration = {
            let names = config.servers.servers.iter().map(|server| server.name.clone());
            let first = listener.bound().find(|bound| matches!(bound, Bound::Tcp { .. }));
            let urls = match &config.http.public_url {
                Some(base) => Some(urls::below(base, &config.http, &mounts)),
                None => first.map(|bound| urls::urls(scheme, bound, &config.http, &mounts)),
            };
            let named = |urls: Vec<String>| names.zip(urls.into_iter().step_by(2)).collect::<Vec<_>>();
            let with_token = config.auth.token_file.is_some() || config.auth.tokens.is_some();
            urls.map(named).map(|servers| banner::client_configuration(&servers, with_token))
        };
        let addresses = listener.bound().map(ToString::to_string).collect::<Vec<_>>().join(", ");

        let (connections, tasks) = (TaskTracker::new(), TaskTracker::new());
        let (stop, sweeper) = (Stop::default(), CancellationToken::new());
        let stop_timeouts = config.servers.servers.iter().map(|server| server.child.stop_timeout);
        let stop_timeout = stop_timeouts.max().unwrap_or_default();
        let authenticator = {
            let HttpConfig { public_url, path, sse_path, .. } = &config.http;
            let of_one = |mount: &String| [format!("{mount}{path}"), format!("{mount}{sse_path}")];
            let resources = mounts.iter().flat_map(of_one).collect();
            let resources = (public_url.as_deref(), resources);
            entrance::authenticator(config.auth, config.principals, resources, &tasks, &sweeper)?
        };
        let servers = Servers::start(config.servers, guard, config.drain_timeout, &tasks);
        let source = source.map(Arc::new);
        entrance::read_again(&mut reloads, &authenticator, &servers, source.as_deref());
        if let Some(source) = source {
            configuration::read_again(&mut reloads, source, &authenticator, &servers, remarks);
        }
        let reload = Arc::new(Notify::new());
        if config.reread == Reread::OnChange {
            tasks.spawn(watch(reloads.watched(), Arc::clone(&reload), stop.drain.clone()));
        }
        let status = serving(&urls);
        let told = move |reading| match reading {
            Reading::Begins => manager.reloading(),
            Reading::Ended => manager.ready(&status),
        };
        tasks.spawn(reloads.run(Arc::clone(&reload), told, stop.drain.clone()));
        let status = Status::new(
            Arc::clone(&servers),
            Box::new(|name| Totals::of(&ServerMetrics::named(name))),
            Box::new(listener.occupancy()),
            tasks.clone(),
        );
        tasks.spawn(Arc::clone(&status).run(sweeper.clone()));
        let desk = if admin.is_some() { Desk::Apart } else { Desk::AmongClients };
        // Behind a proxy it is not where clients come in.
        let proxied = config.http.public_url.is_some() || !config.http.forwarded.trusted.is_empty();
        if desk == Desk::Apart || !proxied {
            for url in urls::status_urls(scheme, admin.as_ref().unwrap_or(&listener), desk) {
                info!(url, "the status page");
            }
        }
        let guard = Guard::new(config.guard);
        let http = Http::with_status(config.http, guard, authenticator, Arc::clone(&servers), (status, desk));
        if let Some(admin) = admin {
            let http = Arc::clone(&http);
            let handle = move |request, peer| Arc::clone(&http).handle_at(Door::Operators, request, peer);
            tasks.spawn(admin.serve(handle, connections.clone(), stop.clone()));
        }
        let handle = move |request, peer| Arc::clone(&http).handle(request, peer);
        tasks.spawn(listener.serve(handle, connections.clone(), stop.clone()));

        let drain_timeout = config.drain_timeout;
        let parts = Parts { servers, connections, tasks, stop, sweeper, drain_timeout, stop_timeout };
        let announcement = Announcement { urls, client_configuration };
        let app = Self { local_addr, announcement, reload, parts };
        let first = timeout(ANNOUNCE_AFTER, app.parts.servers.first()).await;
        match first {
            Ok(Ok(())) => info!(address = addresses, "serving"),
            Ok(Err(error)) => {
                app.shutdown().await;
                return Err(error);
            }
            Err(_) => info!(address = addresses, "serving; the server is still starting"),
        }
        Ok(app)
    }

    /// Has every file read again that can be, soon; the log says how it went. What cannot be used changes nothing.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Stops cleanly: requests in flight get the drain time, then the children are stopped.
    pub async fn shutdown(self) {
        shutdown::stop(self.parts, async || std::future::pending().await).await;
    }

    /// The URLs a client needs, of everything that is listened on: Streamable HTTP, then HTTP+SSE.
    pub fn urls(&self) -> &[String] {
        &self.announcement.urls
    }

    /// The first address that is listened on, with the port that the system chose; none without a port.
    pub const fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// The servers.
    pub const fn servers(&self) -> &Arc<Servers> {
        &self.parts.servers
    }
}

/// What stands before the paths of each server's endpoint.
fn mounts(servers: &ServersConfig) -> Vec<String> {
    match servers.servers.as_slice() {
        [_] => vec![String::new()],
        several => several.iter().map(|server| http::mount(&server.name)).collect(),
    }
}

fn start_guard() -> Result<ChildGuard, StartupError> {
    ChildGuard::start().map_err(|source| StartupError::System { what: "start the guard process", source })
}

/// The program's state in a line, for the service manager.
fn serving(urls: &[String]) -> String {
    urls.first().map_or_else(|| "Serving".to_owned(), |url| format!("Serving {url}"))
}

/// Every client's stream is an open file. The usual soft limit of 1024 is for programs that use `select`.
fn raise_open_files_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => debug!(from = current, to = wanted, "limit of open files raised"),
        Err(error) => warn!(%error, limit = current, "the limit of open files stays as it is"),
    }
}

/// How long the URLs are held back for the child's handshake.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(1);
/// Enough, and not so many that a child that closes all it might have inherited takes long.
const OPEN_FILES: u64 = 65_536;
