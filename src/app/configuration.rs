//! The configuration file, read again: its servers take the place of those there were.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::entrance;
use crate::auth::{Authenticator, Change};
use crate::config::{Again, AuthConfig, ForeignKey, Isolation, ServerConfig, ServerName, ServersConfig, Source};
use crate::reload::Reloads;
use crate::servers::{Changes, Server, Servers};

/// Adds the file to what can be read again.
///
/// All that it says is taken together, or nothing of it.
pub(super) fn read_again(
    reloads: &mut Reloads,
    source: Arc<Source>,
    authenticator: &Arc<Authenticator>,
    servers: &Arc<Servers>,
    remarks: Remarks,
) {
    let (authenticator, servers) = (Arc::clone(authenticator), Arc::clone(servers));
    let file = source.file().to_owned();
    reloads.add("configuration", vec![file], move || {
        let Again { servers: now, restart, foreign_keys, exposed_file, principals } = source.again()?;
        if let Some(now) = &now {
            let would_end = |name: &ServerName| {
                let goes_on = |server: Arc<Server>| now.folderless.iter().any(|config| server.is(config));
                servers.named(name).is_some_and(|server| !goes_on(server))
            };
            source.refuse_to_lose(would_end, now)?;
        }
        if !restart.is_empty() {
            warn!(keys = joined(&restart), "these keys have changed, and hold after a restart of mcp-mux");
        }
        if authenticator.set_principals(principals) == Change::Other {
            info!("principals may do what the configuration file says now");
            entrance::interrupt_all(&servers);
        }
        if let Some(now) = now {
            remarks.say(&now, exposed_file.as_deref(), &foreign_keys);
            let Changes { added, removed, changed, kept } = servers.change(now);
            info!(added, removed, changed, kept, "the servers are those of the configuration file");
        }
        Ok(())
    });
}

/// What is said of a configuration that works, for it may not be what was meant; nothing twice in a row.
#[derive(Debug)]
pub(crate) struct Remarks {
    authenticated: bool,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    shared: bool,
    exposed: bool,
    foreign: Vec<ForeignKey>,
}

impl Remarks {
    pub(crate) fn new(auth: &AuthConfig) -> Self {
        Self { authenticated: auth.is_required(), said: Mutex::default() }
    }

    pub(crate) fn say(&self, servers: &ServersConfig, exposed: Option<&Path>, foreign: &[ForeignKey]) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let by_principal = |server: &ServerConfig| server.pool.isolation == Isolation::Principal;
        let shared = !self.authenticated && servers.servers.iter().any(by_principal);
        if shared && !said.shared {
            warn!("there is no authentication: everybody is the same anonymous principal, and all share one process");
        }
        if let Some(file) = exposed.filter(|_| !said.exposed) {
            warn!(
                file = %file.display(),
                "everybody on this machine can read the variables' values in the configuration file: take it from them \
                 (chmod o-r)"
            );
        }
        if said.foreign != foreign {
            say_foreign(foreign);
        }
        *said = Said { shared, exposed: exposed.is_some(), foreign: foreign.to_vec() };
    }
}

/// Says which keys mean nothing here.
fn say_foreign(keys: &[ForeignKey]) {
    let (alike, others): (Vec<_>, Vec<_>) = keys.iter().partition(|key| key.like.is_some());
    let others: Vec<String> = others.into_iter().map(|key| key.place.clone()).collect();
    if !others.is_empty() {
        info!(keys = joined(&others), "keys of other programs in the configuration file: they mean nothing here");
    }
    for key in alike.into_iter().take(NAMED_MAX) {
        let like = key.like.as_deref();
        warn!(key = key.place, like, "a key of the configuration file means nothing here: was the other one meant?");
    }
}

/// So many that they can be read.
fn joined(keys: &[String]) -> String {
    let mut text = keys.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if let Some(more) = keys.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        text += &format!(" and {more} more");
    }
    text
}

const NAMED_MAX: usize = 40;
