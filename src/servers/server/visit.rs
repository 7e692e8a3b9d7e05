//! Visits: whoever serves a request pays its server one, and the server stays started for as long.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::service::Service;
use super::{Phase, Server};
use crate::config::ServerName;
use crate::error::Reject;

/// A request that is being answered by a server, which stays started all the time.
#[derive(Debug)]
pub struct Visit {
    server: Arc<Server>,
    service: Arc<Service>,
    purpose: Purpose,
}

/// What a visit is for.
#[derive(Clone, Debug)]
enum Purpose {
    /// Whatever somebody wants.
    Anything,
    /// What was begun before the server was taken out; who wants anything else is told this.
    ToFinish(Reject),
}

impl Server {
    /// Pays it a visit; it is started for that if it has to be.
    ///
    /// # Errors
    /// [`Reject::CircuitOpen`]: it could not be started just now. [`Reject::ChildUnavailable`]: it was not started within its
    /// `--queue-timeout`, since others are to be started first. [`Reject::ShuttingDown`]; [`Reject::NotFound`] for one that
    /// was taken out of the configuration.
    ///
    /// # Cancel safety
    /// Cancelled, it may be started for nobody.
    pub async fn visit(self: &Arc<Self>) -> Result<Visit, Reject> {
        if let Some(visit) = self.enter()? {
            return Ok(visit);
        }
        let queue_timeout = self.config.as_ref().map_or(Duration::ZERO, |config| config.pool.queue_timeout);
        let late = || {
            let why = "it was not started in time, since others are starting or it is still being stopped";
            Reject::ChildUnavailable(why.to_owned())
        };
        let _waiting = Waiting::of(&self.waiting);
        let coming = async {
            let mut phase = self.phase.subscribe();
            loop {
                phase.borrow_and_update();
                if let Some(visit) = self.enter()? {
                    return Ok(visit);
                }
                self.wanted.notify_one();
                phase.changed().await.map_err(|_| Reject::ShuttingDown)?;
            }
        };
        timeout(queue_timeout, coming).await.unwrap_or_else(|_| Err(late()))
    }

    /// Visits what is left of it once it is served no more, to finish something; whoever wants to begin something is told
    /// `otherwise`.
    pub(in super::super) fn visit_remains(self: &Arc<Self>, otherwise: &Reject) -> Option<Visit> {
        match &*self.phase.borrow() {
            Phase::Up(service) | Phase::Leaving(service) if self.is_dismissed() => {
                Some(self.receive(service, Purpose::ToFinish(otherwise.clone())))
            }
            Phase::Up(_) | Phase::Leaving(_) => None,
            Phase::Asleep | Phase::Waiting | Phase::Stopping(_) | Phase::Failed(_) | Phase::Over => None,
        }
    }

    /// The phase has to be held.
    fn receive(self: &Arc<Self>, service: &Arc<Service>, purpose: Purpose) -> Visit {
        self.visits.fetch_add(1, Ordering::Relaxed);
        self.visits_begun.fetch_add(1, Ordering::Relaxed);
        Visit { server: Arc::clone(self), service: Arc::clone(service), purpose }
    }

    fn enter(self: &Arc<Self>) -> Result<Option<Visit>, Reject> {
        // Whoever lets it fall asleep holds the other side of this lock.
        match &*self.phase.borrow() {
            Phase::Up(service) => Ok(Some(self.receive(service, Purpose::Anything))),
            Phase::Asleep | Phase::Waiting | Phase::Stopping(_) => Ok(None),
            Phase::Failed(until) => {
                let retry_after = until.saturating_duration_since(Instant::now());
                if retry_after.is_zero() { Ok(None) } else { Err(Reject::CircuitOpen { retry_after }) }
            }
            Phase::Leaving(_) | Phase::Over if self.is_dismissed() => Err(Reject::NotFound),
            Phase::Leaving(_) | Phase::Over => Err(Reject::ShuttingDown),
        }
    }
}

/// Somebody who waits for a server to be started.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn of(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Release);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Visit {
    /// What serves it, for as long as that may be.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Checks that something may be begun that is not under way yet.
    ///
    /// # Errors
    /// The server is served no more, and only finishes what it has.
    pub fn may_begin(&self) -> Result<(), Reject> {
        match &self.purpose {
            Purpose::Anything => Ok(()),
            Purpose::ToFinish(otherwise) => Err(otherwise.clone()),
        }
    }

    /// The server.
    pub fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    /// The server's name.
    pub fn name(&self) -> &ServerName {
        &self.server.name
    }
}

impl Deref for Visit {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.server.visits.fetch_sub(1, Ordering::Relaxed);
    }
}
