//! Who sent a request, and what that one may do.
//!
//! Invariant: one credential decides; where the one that is there is not good, no other is looked at.
//!
//! Spec: 2025-11-25 and 2026-07-28, Authorization, Token Handling; RFC 6750, 2.1.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use rustc_hash::FxHashMap;
use serde_json::Value;
use tokio::time::Instant;

use super::accounts::Accounts;
use super::credentials::{Ambiguous, Credentials};
use super::jwt::{TokenError, Verified, Verifier};
use super::tokens::{Holder, Tokens};
use super::usage::{Allowance, Rate};
use super::{Admission, Certificate, Denial, Principal, Remote, Rules, Source, Validity};
use crate::config::ConfigErrors;
use crate::config::principals::{PrincipalConfig, PrincipalsConfig, RateLimit, Terms};
use crate::config::secret::Secret;

/// The ways in which one can say who one is.
#[derive(Clone, Debug, Default)]
pub struct Methods {
    /// Static tokens.
    pub tokens: Option<Arc<Tokens>>,
    /// Tokens of an issuer.
    pub jwt: Option<Arc<Verifier>>,
    /// Whether the certificates that clients show say who they are.
    pub certificates: bool,
}

impl Methods {
    const fn has_any(&self) -> bool {
        self.has_tokens() || self.certificates
    }

    /// Whether a token can be good for something.
    pub const fn has_tokens(&self) -> bool {
        self.tokens.is_some() || self.jwt.is_some()
    }
}

/// Whether something is other than it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// All is as before.
    None,
    /// Something is not.
    Other,
}

/// Decides who may enter.
#[derive(Debug)]
pub struct Authenticator {
    methods: Methods,
    accounts: Accounts,
    terms: Mutex<Known>,
    /// Of those who need not say who they are, where there is nothing to say about them.
    anybody: Admission,
}

/// What holds for whom.
#[derive(Debug)]
struct Known {
    principals: PrincipalsConfig,
    /// Whether nothing is said about anybody.
    silent: bool,
    /// What was found to hold.
    grants: FxHashMap<Principal, Grant>,
}

/// What holds for one principal.
#[derive(Clone, Debug)]
struct Grant {
    /// What its token says, and is kept here so that no other has its address.
    claim: Option<Arc<Value>>,
    allowance: Allowance,
    rules: Rules,
    variables: Arc<std::collections::BTreeMap<String, Secret>>,
}

impl Authenticator {
    /// With these methods (with none, everybody may enter), and what principals may do.
    pub fn new(methods: Methods, principals: PrincipalsConfig) -> Self {
        let terms = Mutex::new(Known::new(principals));
        Self { methods, accounts: Accounts::default(), terms, anybody: Admission::anonymous() }
    }

    /// The ways in which one can say who one is.
    pub const fn methods(&self) -> &Methods {
        &self.methods
    }

    /// Whether what principals may do is in a file.
    pub fn has_file(&self) -> bool {
        self.lock().principals.file.is_some()
    }

    /// Reads what principals may do again, from the configuration file. It waits for the file system.
    ///
    /// # Errors
    /// What is wrong with the file; then everything stays as it was.
    pub fn reload(&self) -> Result<Change, ConfigErrors> {
        let before = self.lock().principals.clone();
        Ok(self.set_principals(before.reload()?))
    }

    /// From now on principals may do this.
    pub(crate) fn set_principals(&self, principals: PrincipalsConfig) -> Change {
        let mut known = self.lock();
        let change = if principals == known.principals { Change::None } else { Change::Other };
        *known = Known::new(principals);
        change
    }

    /// Who sent these headers from there, with that certificate.
    ///
    /// # Errors
    /// [`Denial`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        certificate: Certificate<'_>,
        remote: Remote,
    ) -> Result<Admission, Denial> {
        if !self.methods.has_any() {
            return if self.lock().silent {
                Ok(self.anybody.clone())
            } else {
                self.admission(Principal::anonymous(), Validity::default(), None, remote)
            };
        }
        // Where no token can be good for anything, what looks like one is for the server behind.
        let credentials = if self.methods.has_tokens() { Credentials::read(headers) } else { Ok(Credentials::Nothing) };
        let (token, may_be_jwt) = match credentials {
            Ok(Credentials::Bearer(token)) => (token, true),
            Ok(Credentials::ApiKey(token)) => (token, false),
            Ok(Credentials::Nothing) => return self.admit_certificate(certificate, remote),
            Err(Ambiguous(wrong)) => return Err(Denial::Ambiguous(wrong)),
        };
        if let Some(Holder { principal, revoked }) =
            self.methods.tokens.as_ref().and_then(|tokens| tokens.holder(token))
        {
            return self.admission(principal, Validity { until: None, revoked: Some(revoked) }, None, remote);
        }
        let verifier = self.methods.jwt.as_ref().filter(|_| may_be_jwt);
        let (Some(verifier), Ok(token)) = (verifier, std::str::from_utf8(token)) else {
            return Err(Denial::Invalid("the token is not known".to_owned()));
        };
        let Verified { subject, expires, policy } = verifier.verify(token).await?;
        // What it opens ends with its key, too: by then a withdrawn one is not used any more.
        let left = expires.duration_since(SystemTime::now()).unwrap_or_default().min(UNSEEN_MAX);
        let validity = Validity { until: Instant::now().checked_add(left), revoked: None };
        self.admission(Principal::new(Source::Jwt, &subject), validity, policy, remote)
    }

    fn admit_certificate(&self, certificate: Certificate<'_>, remote: Remote) -> Result<Admission, Denial> {
        match certificate {
            Certificate::Named { subject, until } if self.methods.certificates => {
                // RFC 5280, 4.1.2.5: the last moment is part of the time.
                let left = until.duration_since(SystemTime::now());
                let left = left.map_err(|_| Denial::Certificate("the certificate has expired"))?;
                let validity = Validity { until: Instant::now().checked_add(left), revoked: None };
                self.admission(Principal::new(Source::Certificate, subject), validity, None, remote)
            }
            Certificate::Unnamed if self.methods.certificates => {
                Err(Denial::Certificate("the certificate names nobody"))
            }
            Certificate::None | Certificate::Unnamed | Certificate::Named { .. } => Err(Denial::Missing),
        }
    }

    fn admission(
        &self,
        principal: Principal,
        validity: Validity,
        claim: Option<Arc<Value>>,
        remote: Remote,
    ) -> Result<Admission, Denial> {
        let claim_env = self.methods.jwt.as_ref().map(|jwt| jwt.claim_env()).unwrap_or_default();
        let Grant { allowance, rules, variables, .. } = self.lock().grant(&principal, claim, claim_env)?;
        let usage = self.accounts.of(&principal, remote);
        Ok(Admission { principal, usage, allowance, validity, rules, variables })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn new(principals: PrincipalsConfig) -> Self {
        let silent = principals.entries.is_empty() && principals.default.terms() == Terms::default();
        Self { principals, silent, grants: FxHashMap::default() }
    }

    fn grant(
        &mut self,
        principal: &Principal,
        claim: Option<Arc<Value>>,
        claim_env: &[String],
    ) -> Result<Grant, Denial> {
        let same = |grant: &&Grant| match (&grant.claim, &claim) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if let Some(grant) = self.grants.get(principal).filter(same) {
            return Ok(grant.clone());
        }
        let unreadable =
            |_| Denial::Invalid("the token's claim about what its owner may do is not understood".to_owned());
        let claimed = claim.as_deref().map(PrincipalConfig::from_claim).transpose().map_err(unreadable)?;
        if claimed.as_ref().is_some_and(|claimed| !claimed.env.keys().all(|name| claim_env.contains(name))) {
            let why = "the token's claim sets a variable that --jwt-claim-env does not name";
            return Err(Denial::Invalid(why.to_owned()));
        }
        let grant = Grant::of(self.principals.terms(principal.label(), claimed.as_ref()), claim);
        if self.grants.len() >= GRANTS_MAX {
            self.grants.clear();
        }
        self.grants.insert(principal.clone(), grant.clone());
        Ok(grant)
    }
}

impl Grant {
    fn of(terms: Terms, claim: Option<Arc<Value>>) -> Self {
        let Terms { rate, sessions_max, in_flight_max, tools, resources, prompts, env } = terms;
        let rate =
            rate.map(|RateLimit { per_second, burst }| Rate::new(Duration::from_secs_f64(per_second.recip()), burst));
        let allowance = Allowance { rate, sessions_max, in_flight_max };
        Self { claim, allowance, rules: Rules::new(tools, resources, prompts), variables: Arc::new(env) }
    }
}

impl From<TokenError> for Denial {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid(fault) => Self::Invalid(fault.to_string()),
            TokenError::InsufficientScope { wanted } => Self::InsufficientScope(wanted),
            TokenError::KeysUnavailable => Self::KeysUnavailable,
        }
    }
}

/// How long what a JWT opened may go on without another request with a good one.
const UNSEEN_MAX: Duration = Duration::from_secs(60 * 60);
/// What holds for more principals than these is found out again when it is needed.
const GRANTS_MAX: usize = 10_000;
