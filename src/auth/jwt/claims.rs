//! What a token says, once it is known who says it: whether it is for here, now, and for whom. Pure: the time is an input.
//!
//! Spec: RFC 7519 (4.1), RFC 9068 (4), RFC 8725 (3.8 to 3.12), 2025-11-25 and 2026-07-28 basic/authorization, Token Handling.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::token::Kind;
use super::{Fault, TokenError, Verified};
use crate::config::jwt::JwtConfig;

/// What every token has to say.
#[derive(Debug)]
pub(super) struct Expectations {
    issuer: String,
    audiences: Vec<String>,
    scopes: Vec<String>,
    /// The scopes as a challenge has them.
    scope: Arc<str>,
    leeway: Duration,
    principal_claim: String,
    claim_env: Vec<String>,
}

type Claims = Map<String, Value>;

impl Expectations {
    pub(super) fn new(config: JwtConfig) -> Self {
        let JwtConfig { issuer, audiences, scopes, leeway, principal_claim, claim_env, keys: _, algorithms: _ } =
            config;
        let (issuer, scope) = (issuer.as_str().to_owned(), scopes.join(" ").into());
        Self { issuer, audiences, scopes, scope, leeway, principal_claim, claim_env }
    }

    /// Whose tokens are accepted.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What a claim about its owner may set.
    pub(super) fn claim_env(&self) -> &[String] {
        &self.claim_env
    }

    /// Whom a token may be for.
    pub(super) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// What every token must have.
    pub(super) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Whom the claims are about, if they are what they have to be. A claim that stands twice counts as it stands last
    /// (RFC 7519, 4).
    ///
    /// # Errors
    /// The first that is wrong; that a scope is missing only if nothing else is.
    pub(super) fn check(&self, payload: &[u8], kind: Kind, now: SystemTime) -> Result<Verified, TokenError> {
        let claims: Claims = serde_json::from_slice(payload).map_err(|_| Fault::Claims)?;
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(Fault::Issuer.into());
        }
        let ours =
            |audience: &Value| audience.as_str().is_some_and(|name| self.audiences.iter().any(|own| own == name));
        if !one_or_many(claims.get("aud")).iter().any(ours) {
            return Err(Fault::Audience.into());
        }
        let expires = self.check_times(&claims, now)?;
        if is_id_token(&claims, kind) {
            return Err(Fault::IdToken.into());
        }
        let subject = subject(&claims)?;
        if !self.scopes.iter().all(|scope| has_scope(&claims, scope)) {
            return Err(TokenError::InsufficientScope { wanted: Arc::clone(&self.scope) });
        }
        let policy = claims.get(&self.principal_claim).cloned().map(Arc::new);
        Ok(Verified { subject, expires, policy })
    }

    /// When the token ends to be accepted.
    fn check_times(&self, claims: &Claims, now: SystemTime) -> Result<SystemTime, Fault> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| Fault::Expired)?;
        let end = date(claims, "exp")?.ok_or(Fault::NoExpiry)? + self.leeway;
        if now >= end {
            return Err(Fault::Expired);
        }
        if date(claims, "nbf")?.is_some_and(|from| now + self.leeway < from) {
            return Err(Fault::NotYet);
        }
        if date(claims, "iat")?.is_some_and(|issued| now + self.leeway < issued) {
            return Err(Fault::IssuedLater);
        }
        Ok(SystemTime::UNIX_EPOCH + end)
    }
}

/// RFC 7519, 2: seconds since 1970, also with a fraction.
fn date(claims: &Claims, name: &str) -> Result<Option<Duration>, Fault> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| *seconds <= DATE_SECONDS_MAX).ok_or(Fault::Date)?;
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| Fault::Date)
}

fn one_or_many(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(many)) => many,
        Some(one) => std::slice::from_ref(one),
        None => &[],
    }
}

/// `scope` is one string (RFC 9068, 2.2.3); some issuers have an array, or call it `scp`.
fn has_scope(claims: &Claims, wanted: &str) -> bool {
    let all = ["scope", "scp"].into_iter().flat_map(|name| one_or_many(claims.get(name)));
    all.filter_map(Value::as_str).flat_map(str::split_ascii_whitespace).any(|scope| scope == wanted)
}

/// An ID token says to a client who its user is, and opens nothing (RFC 8725, 3.11 and 3.12). Mostly its `aud` is not ours;
/// where an issuer has one name for both, these tell. `nonce` does not: some issuers have it in access tokens too.
fn is_id_token(claims: &Claims, kind: Kind) -> bool {
    let says = |name: &str, wanted: &str| {
        claims.get(name).and_then(Value::as_str).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
    };
    match kind {
        Kind::AccessToken => false,
        Kind::Unknown => {
            claims.contains_key("at_hash")
                || claims.contains_key("c_hash")
                || says("typ", "ID")
                || says("token_use", "id")
        }
    }
}

/// `sub`; for a token that a client has for itself, and whose issuer leaves out `sub`, `client:` and the client's id. That no
/// user may have such a name keeps the two apart.
fn subject(claims: &Claims) -> Result<String, Fault> {
    let text = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= SUBJECT_BYTES_MAX => Ok(Some(text.as_str())),
        Some(_) => Err(Fault::Subject),
    };
    if let Some(subject) = text("sub")? {
        return if subject.starts_with(CLIENT) { Err(Fault::Subject) } else { Ok(subject.to_owned()) };
    }
    let client = match text("client_id")? {
        Some(client) => Some(client),
        None => text("azp")?,
    };
    client.map(|client| format!("{CLIENT}{client}")).ok_or(Fault::Subject)
}

const CLIENT: &str = "client:";
/// OpenID Connect has 255; a URI may be longer.
const SUBJECT_BYTES_MAX: usize = 2048;
/// The end of the year 9999. What is later was mostly meant in milliseconds.
const DATE_SECONDS_MAX: f64 = 253_402_300_799.0;

#[cfg(test)]
mod tests;
