//! `GET /servers`: which servers there are, where, and how they are doing.
//!
//! States and counts alone: why a server is not served is in the log.

use bytes::Bytes;
use serde::Serialize;

use super::mount;
use crate::config::{HttpConfig, Unusable};
use crate::pool::Health;
use crate::servers::{Condition, Entry, Servers};

/// The whole answer.
#[derive(Serialize)]
struct Listing {
    servers: Vec<Row>,
}

/// One server.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    state: &'static str,
    /// Streamable HTTP; as the other, below the server's own root.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// HTTP+SSE.
    #[serde(skip_serializing_if = "Option::is_none")]
    sse_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<Children>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<usize>,
}

#[derive(Serialize)]
struct Children {
    ready: usize,
    total: usize,
}

/// All of them, by name.
pub(super) fn listing(servers: &Servers, config: &HttpConfig) -> Bytes {
    let rows = servers.entries().into_iter().map(|(name, entry)| match entry {
        Entry::Served(server) => {
            let (mount, condition) = (mount(&name), server.condition());
            let Health { ready, total, .. } = match condition {
                Condition::Started(health) => health,
                Condition::Asleep | Condition::Waiting | Condition::Stopping | Condition::Failed | Condition::Over => {
                    Health::NONE
                }
            };
            Row {
                name: name.to_string(),
                state: condition.as_str(),
                path: Some(format!("{mount}{}", config.path)),
                sse_path: Some(format!("{mount}{}", config.sse_path)),
                children: Some(Children { ready, total }),
                sessions: Some(server.service().map_or(0, |service| service.registry.len())),
            }
        }
        Entry::Unserved(why) => Row {
            name: name.to_string(),
            state: match why {
                Unusable::Disabled => "disabled",
                Unusable::Invalid(_) => "invalid",
            },
            path: None,
            sse_path: None,
            children: None,
            sessions: None,
        },
    });
    // Plain data is always JSON.
    Bytes::from(serde_json::to_vec(&Listing { servers: rows.collect() }).unwrap_or_default())
}
