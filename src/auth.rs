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
//! Invariants: no two ways of authentication ever give the same principal; a credential that is there and is not good is
//! refused, whatever else the request carries; none is kept as it came, nor in an error or a log.
//!
//! Spec: 2025-11-25 and 2026-07-28, Authorization. DESIGN sections 2 (invariants 2 and 7) and 6.

mod credentials;
mod principal;
mod rules;
pub mod tokens;
pub mod usage;

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::credentials::{Ambiguous, Credentials};
pub use self::principal::{Principal, Source};
pub use self::rules::{Rules, What};
use self::tokens::{Holder, Tokens};
use self::usage::{Accounts, Allowance, Usage};

/// What one request's credentials were found to be worth.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Whom the request acts for.
    pub principal: Principal,
    /// What that one uses.
    pub usage: Arc<Usage>,
    /// For how long the credential is good.
    pub validity: Validity,
    /// What it may use.
    pub rules: Rules,
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
            usage: Usage::unlimited(),
            validity: Validity::default(),
            rules: Rules::everything(),
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
    /// It is not good; why, in fixed words.
    Invalid(&'static str),
}

/// The certificate that a client has shown, and that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate<'a> {
    /// There is none.
    None,
    /// It is for nobody who could be named.
    Unnamed,
    /// It is for this subject.
    Named(&'a str),
}

/// The ways in which one can say who one is.
#[derive(Clone, Debug, Default)]
pub struct Methods {
    /// Static tokens.
    pub tokens: Option<Arc<Tokens>>,
    /// Whether the certificates that clients show say who they are.
    pub certificates: bool,
}

impl Methods {
    const fn has_any(&self) -> bool {
        self.tokens.is_some() || self.certificates
    }

    /// Whether a token can be good for something.
    pub const fn has_tokens(&self) -> bool {
        self.tokens.is_some()
    }
}

/// Decides who may enter.
#[derive(Debug)]
pub struct Authenticator {
    methods: Methods,
    accounts: Accounts,
    allowance: Allowance,
    /// Of those who need not say who they are, where that is nobody's business.
    anybody: Admission,
}

impl Authenticator {
    /// With these methods; with none, everybody may enter.
    pub fn new(methods: Methods, allowance: Allowance) -> Self {
        Self { methods, accounts: Accounts::default(), allowance, anybody: Admission::anonymous() }
    }

    /// The ways in which one can say who one is.
    pub const fn methods(&self) -> &Methods {
        &self.methods
    }

    /// Who sent these headers from that address, with that certificate.
    ///
    /// # Errors
    /// [`Denial`].
    pub fn admit(
        &self,
        headers: &HeaderMap,
        certificate: Certificate<'_>,
        address: IpAddr,
    ) -> Result<Admission, Denial> {
        if !self.methods.has_any() {
            if self.allowance.is_unlimited() {
                return Ok(self.anybody.clone());
            }
            return Ok(self.admission(Principal::anonymous(), Validity::default(), address));
        }
        // Where no token can be good for anything, what looks like one is for the server behind.
        let credentials = if self.methods.has_tokens() { Credentials::read(headers) } else { Ok(Credentials::Nothing) };
        let token = match credentials {
            Ok(Credentials::Bearer(token) | Credentials::ApiKey(token)) => token,
            Ok(Credentials::Nothing) => return self.admit_certificate(certificate, address),
            Err(Ambiguous(wrong)) => return Err(Denial::Ambiguous(wrong)),
        };
        let holder = self.methods.tokens.as_ref().and_then(|tokens| tokens.holder(token));
        let Holder { principal, revoked } = holder.ok_or(Denial::Invalid("the token is not known"))?;
        Ok(self.admission(principal, Validity { until: None, revoked: Some(revoked) }, address))
    }

    fn admit_certificate(&self, certificate: Certificate<'_>, address: IpAddr) -> Result<Admission, Denial> {
        match certificate {
            Certificate::Named(subject) if self.methods.certificates => {
                let principal = Principal::new(Source::Certificate, subject);
                Ok(self.admission(principal, Validity::default(), address))
            }
            Certificate::Unnamed if self.methods.certificates => Err(Denial::Invalid("the certificate names nobody")),
            Certificate::None | Certificate::Unnamed | Certificate::Named(_) => Err(Denial::Missing),
        }
    }

    fn admission(&self, principal: Principal, validity: Validity, address: IpAddr) -> Admission {
        let usage = self.accounts.of(&principal, address, self.allowance);
        Admission { principal, usage, validity, rules: Rules::everything() }
    }
}
