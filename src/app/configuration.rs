//! The configuration file, read again: its servers take the place of those there were.

use std::sync::Arc;

use tracing::{info, warn};

use crate::config::{Again, Source};
use crate::reload::Reloads;
use crate::servers::{Changes, Servers};

/// Adds the file to what can be read again.
pub(super) fn read_again(reloads: &mut Reloads, source: Arc<Source>, servers: &Arc<Servers>) {
    let servers = Arc::clone(servers);
    let file = source.file().to_owned();
    reloads.add("configuration", vec![file], move || {
        let Again { servers: now, restart, foreign_keys } = source.again()?;
        say_foreign(&foreign_keys);
        if !restart.is_empty() {
            warn!(keys = joined(&restart), "these keys have changed, and hold after a restart of mcp-mux");
        }
        if let Some(now) = now {
            let Changes { added, removed, changed, kept } = servers.change(now);
            info!(added, removed, changed, kept, "the servers are those of the configuration file");
        }
        Ok(())
    });
}

/// Says which keys mean nothing here.
pub(super) fn say_foreign(keys: &[String]) {
    if !keys.is_empty() {
        info!(keys = joined(keys), "keys of other programs in the configuration file: they mean nothing here");
    }
}

/// So many that they can be read.
fn joined(keys: &[String]) -> String {
    let named: Vec<&str> = keys.iter().take(NAMED_MAX).map(String::as_str).collect();
    let mut text = named.join(", ");
    if let Some(more) = keys.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        text += &format!(" and {more} more");
    }
    text
}

const NAMED_MAX: usize = 40;
