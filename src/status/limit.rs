//! How near limits are.

use serde::Serialize;

use crate::{pool, session};

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The flag that sets it, without dashes.
    pub name: &'static str,
    /// How much of it is used.
    pub used: usize,
    /// How much there is.
    pub limit: usize,
    /// What is counted, if not things.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
    /// Of which of those that have such a limit this is, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<&'static str>,
}

impl Limit {
    /// So many of so many.
    pub const fn new(name: &'static str, (used, limit): (usize, usize)) -> Self {
        Self { name, used, limit, unit: None, of: None }
    }

    /// Bytes.
    pub const fn bytes(name: &'static str, (used, limit): (usize, usize)) -> Self {
        Self { name, used, limit, unit: Some("bytes"), of: None }
    }

    /// That of the one that is nearest to it.
    #[must_use]
    pub const fn of(self, one: &'static str) -> Self {
        Self { of: Some(one), ..self }
    }
}

/// Those of a server.
pub(super) fn of_server(pool: &pool::Report, sessions: &session::Report) -> Vec<Limit> {
    let queues = pool.children.iter().filter_map(|child| child.details.as_ref()).map(|details| details.waiting_bytes);
    let mut limits = vec![
        Limit::new("sessions-max", sessions.places),
        Limit::new("in-flight-max", sessions.fullest).of("fullest session"),
    ];
    limits.extend(pool.places.map(|places| Limit::new("children-max", places)));
    limits.extend(queues.max().map(|queue| Limit::bytes("queue-bytes-max", queue).of("fullest child")));
    limits.push(Limit::new("tasks-max", pool.tasks));
    limits.push(Limit::new("parked-max", sessions.parked));
    limits.push(Limit::bytes("parked-bytes-max", sessions.parked_bytes));
    limits
}
