//! From one configuration to the next: which servers come, go, or are others from now on.

use std::sync::{Arc, PoisonError};

use tracing::{info, warn};

use super::server::Server;
use super::{Entry, Servers, keeper};
use crate::config::{Arrangement, ServerConfig, ServerName, ServersConfig, Unusable};

/// How the servers of a new configuration differ from those there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New names.
    pub added: usize,
    /// Names that are there no more.
    pub removed: usize,
    /// Names that stand for something else.
    pub changed: usize,
    /// Names of which nothing has changed.
    pub kept: usize,
}

impl Servers {
    /// Makes the servers those of `config`. Those of which nothing has changed are not touched. One that has changed is another
    /// one from now on; the sessions of the old one end when what is in flight in them was answered, or after the drain time.
    pub fn change(&self, config: ServersConfig) -> Changes {
        let mut changes = Changes::default();
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut *table);
        if self.means.closing.is_cancelled() {
            *table = old;
            return changes;
        }
        let ServersConfig { servers, unusable, folderless, .. } = config;
        let served = servers.into_iter().map(|server| (server.name.clone(), Ok(server)));
        let unserved = unusable.into_iter().map(|(name, why)| (name, Err(why)));
        for (name, wanted) in served.chain(unserved) {
            let before = match (old.remove(&name), &wanted) {
                (Some(Entry::Served(server)), wanted) if is_still(&server, wanted.as_ref(), &folderless) => {
                    changes.kept += 1;
                    table.insert(name, Entry::Served(server));
                    continue;
                }
                (Some(Entry::Unserved(why)), Err(now)) if why == *now => {
                    changes.kept += 1;
                    table.insert(name, Entry::Unserved(why));
                    continue;
                }
                (before, _) => before,
            };
            match &before {
                Some(_) => changes.changed += 1,
                None => changes.added += 1,
            }
            if let Some(Entry::Served(before)) = before {
                self.dismiss(before);
            }
            let entry = match wanted {
                Ok(config) => Entry::Served(self.begin(config)),
                Err(why) => {
                    say_why_not(&name, &why);
                    Entry::Unserved(why)
                }
            };
            table.insert(name, entry);
        }
        for (name, entry) in old {
            changes.removed += 1;
            info!(server = %name, "the server is in the configuration no more");
            if let Entry::Served(server) = entry {
                self.dismiss(server);
            }
        }
        self.choose_unnamed(&table);
        changes
    }

    fn dismiss(&self, server: Arc<Server>) {
        server.dismiss();
        self.leaving().push(server);
    }

    fn begin(&self, mut config: ServerConfig) -> Arc<Server> {
        if self.arrangement == Arrangement::Several {
            config.child.server = Some(config.name.clone());
        }
        let server = Server::new(config, self.means.closing.child_token());
        let before = self.leaving().iter().filter(|before| before.name() == server.name()).cloned().collect();
        let keep = keeper::keep(Arc::clone(&server), before, self.arrangement, self.means.clone(), self.lost.clone());
        self.means.tracker.spawn(keep);
        server
    }
}

/// Whether a server is what it is to be, be it that its folder is not there any more: it may be in it still.
fn is_still(server: &Server, wanted: Result<&ServerConfig, &Unusable>, folderless: &[ServerConfig]) -> bool {
    match wanted {
        Ok(config) => server.is(config),
        Err(why) => {
            let same = folderless.iter().any(|config| server.is(config));
            if same {
                warn!(server = %server.name(), "the server goes on as it is, though it could not be started now: {why}");
            }
            same
        }
    }
}

fn say_why_not(name: &ServerName, why: &Unusable) {
    match why {
        Unusable::Disabled => info!(server = %name, "not served: {why}"),
        Unusable::Invalid(_) => warn!(server = %name, "not served: {why}"),
    }
}
