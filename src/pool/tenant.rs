//! What the pool has to know of those who come for a child.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use http::{HeaderMap, HeaderValue};

use crate::auth::{Admission, Principal, Rules};
use crate::child::OwnVariables;
use crate::config::{HeaderEnv, Isolation, PoolConfig};
use crate::error::Reject;
use crate::mcp::Era;

/// Somebody who needs a child: a session, a stateless exchange.
#[derive(Debug)]
pub struct Tenant {
    /// Whom it acts for, and what that one may do.
    admission: Admission,
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
    pub(super) fn new(caller: &Admission, headers: &HeaderMap, config: &PoolConfig) -> Result<Self, Reject> {
        let mut variables = Vec::with_capacity(config.header_env.len());
        for HeaderEnv { header, variable } in &config.header_env {
            let mut values = headers.get_all(header).iter();
            let value = values.next().map(HeaderValue::as_bytes);
            if values.next().is_some() {
                return Err(Reject::InvalidRequest(format!("more than one {header} header")));
            }
            variables.push((variable.clone(), value.map(|value| OsStr::from_bytes(value).to_owned())));
        }
        if config.isolation == Isolation::Principal {
            let own = caller.variables.iter();
            variables.extend(own.map(|(name, value)| (name.clone(), Some(value.expose().into()))));
        }
        let (admission, variables) = (caller.clone(), OwnVariables::new(variables));
        Ok(Self { admission, variables, era: Era::Legacy, tasks: Vec::new() })
    }

    /// Whom it acts for.
    pub const fn principal(&self) -> &Principal {
        &self.admission.principal
    }

    /// What its credentials were found to be worth.
    pub const fn admission(&self) -> &Admission {
        &self.admission
    }

    /// What it may use.
    pub const fn rules(&self) -> &Rules {
        &self.admission.rules
    }

    /// Bytes that no other tenant has: whom it acts for, what it may use and what it brings. They hold the values, so they are
    /// to be shown to nobody.
    pub fn identity(&self) -> Vec<u8> {
        let mut identity = Vec::new();
        let variables = self.variables.values().map(|value| value.map(OsStr::as_bytes));
        for part in std::iter::once(self.principal().label().map(str::as_bytes)).chain(variables) {
            identity.push(u8::from(part.is_some()));
            let part = part.unwrap_or_default();
            identity.extend_from_slice(&part.len().to_be_bytes());
            identity.extend_from_slice(part);
        }
        // Behind all others, of which there are as many for everybody.
        identity.extend(self.rules().identity().into_iter().flatten());
        identity
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
pub(crate) fn absent(wanted: &[HeaderEnv]) -> OwnVariables {
    OwnVariables::new(wanted.iter().map(|one| (one.variable.clone(), None)).collect())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::config::principals::NamesConfig;
    use crate::pool::testing;

    #[test]
    fn every_tenant_has_an_identity_of_its_own() {
        let header_env = ["x-a", "x-b"]
            .map(|header| HeaderEnv { header: HeaderName::from_static(header), variable: header.to_owned() })
            .into();
        let config = PoolConfig { header_env, ..testing::config(Isolation::Session) };
        let under = |rules: &Rules, principal, values: &[(&'static str, &'static str)]| {
            let caller = Admission { rules: rules.clone(), ..Admission::anonymous() };
            let caller = Admission { principal, ..caller };
            let headers =
                values.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            Tenant::new(&caller, &headers.collect(), &config).expect("no header twice").identity()
        };
        let of = |principal, values: &[(&'static str, &'static str)]| under(&Rules::everything(), principal, values);
        let nobody = Principal::anonymous;
        let deny = |pattern: &str| NamesConfig { allow: None, deny: vec![pattern.to_owned()] };
        let [some, others] = ["a", "b"].map(|pattern| Rules::new(vec![deny(pattern)], Vec::new(), Vec::new()));
        let all = [
            of(nobody(), &[]),
            of(nobody(), &[("x-a", "")]),
            of(nobody(), &[("x-a", "1")]),
            of(nobody(), &[("x-b", "1")]),
            of(nobody(), &[("x-a", "1"), ("x-b", "1")]),
            of(nobody(), &[("x-a", "11")]),
            of(Principal::named(""), &[]),
            of(Principal::named("p"), &[]),
            of(Principal::named("p"), &[("x-a", "1")]),
            under(&some, Principal::named("p"), &[]),
            under(&others, Principal::named("p"), &[]),
            under(&some, nobody(), &[]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
        assert_eq!(of(nobody(), &[("x-a", "1"), ("x-other", "2")]), of(nobody(), &[("x-a", "1")]));
    }
}
