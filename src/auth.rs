//! Who somebody is, and what they may do.
//!
//! Separate from `http`, which only carries credentials: what a credential is worth, and what its owner may do, is decided
//! here, and the layers below know a [`Principal`] and nothing of how it was established.
//!
//! | credential | principal |
//! |---|---|
//! | a token of `--auth-token-file`, as `Authorization: Bearer` or `X-API-Key` | `token:NAME` |
//! | a JWT, as `Authorization: Bearer` | `jwt:SUBJECT` |
//! | a client certificate, where the request carries neither | `cert:SUBJECT` |
//! | nothing, where none of these is configured | nobody in particular |
//!
//! Invariants: no two ways of authentication ever give the same principal; one credential decides, and where that one is not
//! good no other is looked at; none is kept as it came, nor in an error or a log.
//!
//! Spec: 2025-11-25 and 2026-07-28, Authorization. DESIGN sections 2 (invariants 2 and 7) and 6.

pub mod accounts;
mod authenticator;
mod credentials;
pub mod jwt;
pub mod metadata;
mod principal;
mod remote;
mod rules;
pub mod tokens;
pub mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::authenticator::{Authenticator, Change, Methods};
pub use self::principal::{Principal, Source};
pub use self::remote::Remote;
pub use self::rules::{Rules, Subject, What};
use self::usage::{Allowance, Usage};
use crate::config::secret::Secret;

/// What one request's credentials were found to be worth. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Whom the request acts for.
    pub principal: Principal,
    /// What that one uses.
    pub usage: Arc<Usage>,
    /// How much of it there may be.
    pub allowance: Allowance,
    /// For how long the credential is good.
    pub validity: Validity,
    /// What it may use.
    pub rules: Rules,
    /// The variables of its own child, where it has one.
    pub variables: Arc<BTreeMap<String, Secret>>,
}

impl Admission {
    /// Somebody without limits.
    #[cfg(test)]
    pub(crate) fn of(principal: Principal) -> Self {
        Self { principal, ..Self::anonymous() }
    }

    /// Where nobody has to say who they are, and may do what they like.
    pub fn anonymous() -> Self {
        Self {
            principal: Principal::anonymous(),
            usage: Arc::default(),
            allowance: Allowance::default(),
            validity: Validity::default(),
            rules: Rules::everything(),
            variables: Arc::default(),
        }
    }
}

/// For how long a credential is good. What it opened ends with it.
#[derive(Clone, Debug, Default)]
pub struct Validity {
    /// Until then; none: for ever.
    pub until: Option<Instant>,
    /// Cancelled when it is taken away; none: it cannot be.
    pub revoked: Option<CancellationToken>,
}

impl Validity {
    /// Whether it was taken away.
    pub fn is_revoked(&self) -> bool {
        self.revoked.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Whether it is not good any more by itself.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Why somebody may not enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// There is no credential.
    Missing,
    /// There are several, and nobody could say which one is meant.
    Ambiguous(&'static str),
    /// The token is not good; why, in fixed words.
    Invalid(String),
    /// There is no token, and the certificate is not good; why.
    Certificate(&'static str),
    /// The token is good, and is not enough: it lacks some of these scopes, separated by blanks.
    InsufficientScope(Arc<str>),
    /// Nobody can say now whether it is good.
    KeysUnavailable,
}

/// The certificate that a client has shown, and that was checked when its connection began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate<'a> {
    /// There is none.
    None,
    /// It is for nobody who could be named.
    Unnamed,
    /// It is somebody's.
    Named {
        /// Whom it is for.
        subject: &'a str,
        /// The last moment at which it is valid.
        until: SystemTime,
    },
}
