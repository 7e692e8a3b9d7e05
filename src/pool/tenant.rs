//! What the pool has to know of those who come for a child.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use http::{HeaderMap, HeaderValue};

use super::Principal;
use crate::child::OwnVariables;
use crate::config::HeaderEnv;
use crate::error::Reject;
use crate::mcp::Era;

/// Somebody who needs a child: a session, a stateless exchange.
#[derive(Debug)]
pub struct Tenant {
    /// Whom it acts for.
    pub(super) principal: Principal,
    /// What it brings for a child of its own.
    pub(super) variables: OwnVariables,
    /// Whether it is a session or an exchange of one modern request.
    pub(super) era: Era,
    /// The tasks that it is about.
    pub(super) tasks: Vec<String>,
}

impl Tenant {
    /// Reads the headers of its first request. The values may be secrets; they are kept as bytes.
    ///
    /// # Errors
    /// [`Reject::InvalidRequest`]: a header that becomes a variable is there twice, and no rule says which one is meant.
    pub(super) fn new(principal: Principal, headers: &HeaderMap, wanted: &[HeaderEnv]) -> Result<Self, Reject> {
        let mut variables = Vec::with_capacity(wanted.len());
        for HeaderEnv { header, variable } in wanted {
            let mut values = headers.get_all(header).iter();
            let value = values.next().map(HeaderValue::as_bytes);
            if values.next().is_some() {
                return Err(Reject::InvalidRequest(format!("more than one {header} header")));
            }
            variables.push((variable.clone(), value.map(|value| OsStr::from_bytes(value).to_owned())));
        }
        Ok(Self { principal, variables: OwnVariables::new(variables), era: Era::Legacy, tasks: Vec::new() })
    }

    /// The same, of that era: a session is legacy, an exchange of one modern request is modern.
    #[must_use]
    pub fn of_era(self, era: Era) -> Self {
        Self { era, ..self }
    }

    /// The same, that needs the child which has these tasks. One that has another's gets none.
    #[must_use]
    pub fn of_tasks(self, tasks: Vec<String>) -> Self {
        Self { tasks, ..self }
    }
}

/// What stands for a client that brings none of these headers.
pub(super) fn absent(wanted: &[HeaderEnv]) -> OwnVariables {
    OwnVariables::new(wanted.iter().map(|one| (one.variable.clone(), None)).collect())
}
