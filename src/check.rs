//! `mcp-mux check`: starts each server once, and shows what it speaks and what it has.
//!
//! A server is asked by mcp-mux's own parts: [`child::spawn`] starts it, finds its era out and brings its
//! handshake about as it does for serving; then a session is attached to the child, and asks what a client would. So a server
//! that works here works with mcp-mux. No port is opened, and no file is written.
//!
//! - `conversation`: one session with a child;
//! - `examination`: one server, from its start to its stop;
//! - `found`: what came of it, and how that is written as JSON;
//! - `text`: the same for people;
//! - `harmless`: what servers say, made fit for a terminal.
//!
//! Invariants: every child is stopped before there is an answer; nothing a server says reaches the answer unbounded, nor a
//! terminal with its control characters.

mod conversation;
mod examination;
mod found;
mod harmless;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use self::examination::{Examination, Spawn};
pub use self::found::{Capability, Count, Failure, Found, Outcome, Report, ServerInfo, ServerReport};
pub use self::text::Colours;
use crate::app::configuration::Remarks;
use crate::child::{self, ChildGuard};
use crate::config::{Arrangement, Config, ServersConfig, Unusable};
use crate::error::StartupError;
use crate::http::tls::Tls;
use crate::shutdown::{Signals, Wish};

/// How a check ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// With an answer.
    Answered(Report),
    /// A signal asked for a stop before.
    Stopped {
        /// Its name.
        signal: &'static str,
    },
}

impl Ending {
    /// The exit code: 69 if a server does not work, and as a shell has it where a signal came.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Answered(report) if report.is_ok() => 0,
            Self::Answered(_) => 69,
            Self::Stopped { signal: "SIGINT" } => 130,
            Self::Stopped { .. } => 143,
        }
    }
}

/// Asks every server, or ends when a signal asks for that. Must be called within a tokio runtime; the running executable must be
/// mcp-mux's own, as for [`App::run`](crate::app::App::run).
///
/// # Errors
/// A certificate or a key cannot be used, or the system refused something. That a server does not work is no error.
pub async fn run(config: Config) -> Result<Ending, StartupError> {
    let system = |what| move |source| StartupError::System { what, source };
    let mut signals = Signals::install().map_err(system("handle signals"))?;
    let remarks = Remarks::new(&config.auth);
    remarks.say(&config.servers, config.exposed_file.as_deref(), &config.foreign_keys);
    if let Some(tls) = config.tls {
        // What it is for is not opened; but it is a part of the configuration that only its use would judge.
        Tls::load(tls)?;
    }
    let guard = ChildGuard::start().map_err(system("start the guard process"))?;
    let tracker = TaskTracker::new();
    let spawn: Spawn = {
        let tracker = tracker.clone();
        Arc::new(move |config, router, tenancy| child::spawn(config, router, tenancy, guard.clone(), &tracker))
    };
    let stop = Stop::default();
    let mut asking = std::pin::pin!(examine(config.servers, spawn, &stop, &tracker));
    let mut stopped_by = None;
    let report = loop {
        tokio::select! {
            report = &mut asking => break report,
            wish = signals.next() => match wish {
                Wish::Reload => debug!("SIGHUP: there is nothing to be read again"),
                Wish::Stop(signal) if stop.soon.is_cancelled() => {
                    warn!(signal, "stopping at once");
                    stop.now.cancel();
                }
                Wish::Stop(signal) => {
                    info!(signal, "stopping");
                    stopped_by = Some(signal);
                    stop.soon.cancel();
                }
            }
        }
    };
    tracker.close();
    if timeout(TASKS_TIMEOUT, tracker.wait()).await.is_err() {
        debug!("tasks did not end; leaving them");
    }
    Ok(match stopped_by {
        Some(signal) => Ending::Stopped { signal },
        None => Ending::Answered(report),
    })
}

/// Asks for an end before the answer.
#[derive(Clone, Debug, Default)]
struct Stop {
    /// The children are stopped.
    soon: CancellationToken,
    /// They are killed.
    now: CancellationToken,
}

/// Asks all, so many at a time as the configuration says. Those that were not asked to the end when a stop came are left out.
async fn examine(config: ServersConfig, spawn: Spawn, stop: &Stop, tracker: &TaskTracker) -> Report {
    let ServersConfig { arrangement, servers, unusable, folderless: _, starts_max } = config;
    let starts = Arc::new(Semaphore::new(starts_max.get().min(Semaphore::MAX_PERMITS)));
    let mut asked = Vec::with_capacity(servers.len());
    for mut server in servers {
        if arrangement == Arrangement::Several {
            server.child.server = Some(server.name.clone());
        }
        let name = server.name.clone();
        let examination = Examination::new(server, Arc::clone(&spawn), stop.clone());
        let starts = Arc::clone(&starts);
        let task = tracker.spawn(async move {
            let _permit = starts.acquire().await;
            examination.run().await
        });
        asked.push((name, task));
    }
    let mut reports = Vec::with_capacity(asked.len() + unusable.len());
    for (name, task) in asked {
        // An error is a panic, which is in the log.
        let outcome = task.await.unwrap_or_else(|_| Some(Outcome::Fails(Failure::by_a_bug(), None)));
        reports.extend(outcome.map(|outcome| ServerReport { name, outcome }));
    }
    for (name, why) in unusable {
        let outcome = match why {
            Unusable::Disabled => Outcome::Disabled,
            Unusable::Invalid(why) => Outcome::Invalid(harmless::bounded(&why, harmless::SENTENCE_MAX)),
        };
        reports.push(ServerReport { name, outcome });
    }
    reports.sort_by(|one, other| one.name.cmp(&other.name));
    Report { servers: reports }
}

/// For what should have ended already.
const TASKS_TIMEOUT: Duration = Duration::from_secs(5);
