//! JSON Web Tokens: mcp-mux as an OAuth 2.1 resource server that believes one issuer.
//!
//! A token is taken apart (`token`), the issuer's key for it found (`keys`, kept by `keeper`, had from `source`), the signature
//! checked with an algorithm of ours, and only then its claims believed (`claims`). What was found right is kept for a minute
//! (`cache`).
//!
//! Invariants: a request whose token's key is known waits for nothing; others wait for a load of the keys that they share, one
//! at a time, and not one every moment; nothing of a token is in an error or a log. Spec: 2025-11-25 and 2026-07-28
//! basic/authorization, RFC 8725.

mod cache;
mod claims;
mod discovery;
mod fetch;
mod keeper;
mod keys;
mod source;
#[cfg(test)]
pub(crate) mod testing;
mod token;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::cache::{Cache, Now, digest_of};
use self::claims::Expectations;
use self::keeper::{Keeper, Known, Renewal};
use self::keys::NoKey;
pub use self::source::KeyFileError;
use self::source::{KeyFile, Network, Place};
use self::token::Token;
use crate::config::jwt::{Algorithm, JwtConfig, KeySource};

/// Says what a token is worth.
#[derive(Debug)]
pub struct Verifier {
    expectations: Expectations,
    algorithms: Vec<Algorithm>,
    keeper: Keeper,
    key_file: Option<PathBuf>,
    cache: Cache,
}

/// What a token that was found right says.
#[derive(Clone)]
pub struct Verified {
    /// Whom it is about: `sub`; for a client's own token without one, `client:` and the client's id.
    pub subject: String,
    /// When it ends to be accepted.
    pub expires: SystemTime,
    /// The claim of `--jwt-principal-claim`, whatever it is; none if there is none.
    pub policy: Option<Arc<Value>>,
}

/// What the owner may do may hold secrets.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, expires, policy: _ } = self;
        f.debug_struct("Verified").field("subject", subject).field("expires", expires).finish_non_exhaustive()
    }
}

/// Why a token opens nothing. `Display` is fixed text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not a token for here, or not any more: `invalid_token`, 401.
    #[error(transparent)]
    Invalid(#[from] Fault),
    /// It is one, and is not enough: `insufficient_scope`, 403.
    #[error("the token does not have all the scopes that are wanted")]
    InsufficientScope {
        /// All that are wanted, separated by blanks.
        wanted: Arc<str>,
    },
    /// Nobody can say, since the issuer's keys cannot be had at the moment: 503.
    #[error("the issuer's keys cannot be had at the moment")]
    KeysUnavailable,
}

/// What is wrong with a token. `Display` is fixed text, fit for `error_description` (RFC 6750, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not three parts of base64url, the first of them a JSON object.
    #[error("the token is not a signed JSON Web Token")]
    Malformed,
    /// More than 16 KiB.
    #[error("the token is too long")]
    TooLong,
    /// Not one of `--jwt-algorithm`.
    #[error("the token is signed with an algorithm that is not accepted")]
    Algorithm,
    /// `crit`.
    #[error("the token has extensions that are not understood")]
    Critical,
    /// `typ`.
    #[error("the token is of a type that is not accepted")]
    Kind,
    /// The issuer has no such key.
    #[error("the token is signed with a key that the issuer does not have")]
    KeyUnknown,
    /// The issuer's key is for something else.
    #[error("the token is signed with a key that is not for its algorithm")]
    KeyMisfit,
    /// The token does not say with which of several keys it is signed.
    #[error("the token does not say with which key it is signed")]
    KeyAmbiguous,
    /// It was not signed with that key, or was changed.
    #[error("the signature is wrong")]
    Signature,
    /// The claims are no JSON object.
    #[error("the claims are not a JSON object")]
    Claims,
    /// `iss`.
    #[error("the token is from another issuer")]
    Issuer,
    /// `aud`.
    #[error("the token is not for this server")]
    Audience,
    /// `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// No `exp`.
    #[error("the token does not say when it expires")]
    NoExpiry,
    /// `exp`, `nbf` or `iat` is none.
    #[error("a date in the token is not one")]
    Date,
    /// `nbf` is to come.
    #[error("the token is not valid yet")]
    NotYet,
    /// `iat` is to come.
    #[error("the token was issued in the future")]
    IssuedLater,
    /// It is for a client, and not for a server.
    #[error("the token is an ID token, not an access token")]
    IdToken,
    /// No `sub`, or one that cannot be used.
    #[error("the token does not say whom it is about")]
    Subject,
}

impl Verifier {
    /// Reads `--jwks-file`, or begins to have the keys from the network. Must be called within a tokio runtime. Its task is
    /// on the tracker until `stop`.
    ///
    /// # Errors
    /// The file has no key that can be used. An issuer that cannot be reached is none: there are keys as soon as it can.
    pub fn new(config: JwtConfig, tracker: &TaskTracker, stop: CancellationToken) -> Result<Arc<Self>, KeyFileError> {
        let network = |place| {
            let source = Network { place, tracker: tracker.clone() };
            Keeper::start(source, None, tracker, stop.clone())
        };
        let keeper = match &config.keys {
            KeySource::Issuer => network(Place::Metadata(config.issuer.clone())),
            KeySource::Url(url) => network(Place::Keys(url.clone())),
            KeySource::File(path) => {
                let keys = KeyFile::read(path)?;
                Keeper::start(KeyFile(path.clone()), Some(keys), tracker, stop)
            }
        };
        Ok(Self::with(config, keeper))
    }

    fn with(config: JwtConfig, keeper: Keeper) -> Arc<Self> {
        let algorithms = config.algorithms.clone();
        let key_file = if let KeySource::File(path) = &config.keys { Some(path.clone()) } else { None };
        let expectations = Expectations::new(config);
        Arc::new(Self { expectations, algorithms, keeper, key_file, cache: Cache::default() })
    }

    /// Says what a token is worth. Where the key is known, the answer is there at the first poll; where it is not, the
    /// keys are asked for once more: at once, or some seconds after the last time.
    ///
    /// # Errors
    /// The token opens nothing.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        self.verify_at(token, Now { date: SystemTime::now(), instant: Instant::now() }).await
    }

    async fn verify_at(&self, text: &str, mut now: Now) -> Result<Verified, TokenError> {
        token::check_length(text)?;
        let mut known = self.keeper.known();
        let digest = digest_of(text);
        if let Some(verified) = self.cache.find(&digest, known.generation, now) {
            return Ok(verified);
        }
        let token = Token::parse(text, &self.algorithms)?;
        let mut checked = check_signature(&token, &known);
        if let Err(Doubt::NoKeys | Doubt::UntilRenewed(_)) = checked {
            // What no key could make good waits for none.
            if let Err(error @ TokenError::Invalid(_)) =
                self.expectations.check(&token.payload()?, token.kind, now.date)
            {
                return Err(error);
            }
            let asked = Instant::now();
            let loads = if known.is_loading() { 2 } else { 1 };
            for _ in 0..loads {
                match self.keeper.renewed(&known).await {
                    Renewal::Ended(renewed) => {
                        known = renewed;
                        checked = check_signature(&token, &known);
                    }
                    Renewal::Pointless => break,
                    Renewal::NotNow => return Err(TokenError::KeysUnavailable),
                }
                if !matches!(checked, Err(Doubt::UntilRenewed(_))) {
                    break;
                }
            }
            // It may have expired meanwhile.
            now = now.after(asked.elapsed());
        }
        checked.map_err(|doubt| doubt.error(&known))?;
        let verified = self.expectations.check(&token.payload()?, token.kind, now.date)?;
        self.cache.keep(digest, known.generation, verified.clone(), now);
        Ok(verified)
    }

    /// The issuer whose tokens are accepted.
    pub fn issuer(&self) -> &str {
        self.expectations.issuer()
    }

    /// The variables that a claim about its owner may set.
    pub fn claim_env(&self) -> &[String] {
        self.expectations.claim_env()
    }

    /// Whom a token may be for: one of these.
    pub fn audiences(&self) -> &[String] {
        self.expectations.audiences()
    }

    /// The scopes that every token must have.
    pub fn scopes(&self) -> &[String] {
        self.expectations.scopes()
    }

    /// `--jwks-file`.
    pub fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }

    /// Reads `--jwks-file` again, or asks the issuer again. What cannot be had leaves things as they are.
    pub fn reload(&self) {
        self.keeper.reload();
    }
}

/// Why a signature is not found right.
#[derive(Clone, Copy)]
enum Doubt {
    /// There are no keys.
    NoKeys,
    /// With newer keys it may be.
    UntilRenewed(Fault),
    /// Whatever the keys.
    Settled(Fault),
}

impl Doubt {
    fn error(self, known: &Known) -> TokenError {
        match self {
            Self::NoKeys => TokenError::KeysUnavailable,
            Self::UntilRenewed(_) if known.failed => TokenError::KeysUnavailable,
            Self::UntilRenewed(fault) | Self::Settled(fault) => fault.into(),
        }
    }
}

/// Reads a JSON object. By itself serde takes an array of its members' values for one too.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok())?
}

fn check_signature(token: &Token<'_>, known: &Known) -> Result<(), Doubt> {
    let keys = known.keys.as_ref().ok_or(Doubt::NoKeys)?;
    let key = keys.find(token.kid.as_deref(), token.algorithm).map_err(|none| match none {
        NoKey::Unknown => Doubt::UntilRenewed(Fault::KeyUnknown),
        NoKey::Misfit => Doubt::Settled(Fault::KeyMisfit),
        NoKey::Several => Doubt::Settled(Fault::KeyAmbiguous),
    })?;
    if key.verifies(token.algorithm, token.signed, &token.signature) {
        return Ok(());
    }
    Err(match token.kid {
        Some(_) => Doubt::Settled(Fault::Signature),
        // The one key that there is was meant, and there may be another one now.
        None => Doubt::UntilRenewed(Fault::Signature),
    })
}

#[cfg(test)]
mod tests;
