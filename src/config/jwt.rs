//! Which JSON Web Tokens are accepted, and where the keys come from that they are checked with.
//!
//! Invariant: there is no value for an algorithm that needs no key or a shared one, nor for a URL whose answers anybody on
//! the way could have written.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::allow::Authority;

/// The tokens of one issuer (`--jwt-issuer`).
#[derive(Clone, Debug)]
pub struct JwtConfig {
    /// The issuer as its tokens spell it.
    pub issuer: SecureUrl,
    /// What a token must have one of in `aud`; never empty.
    pub audiences: Vec<String>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// How a token may be signed; never empty.
    pub algorithms: Vec<Algorithm>,
    /// The scopes that every token must have, each of them once.
    pub scopes: Vec<String>,
    /// By how much the issuer's clock may differ.
    pub leeway: Duration,
    /// The claim that may hold what the token's owner may do.
    pub principal_claim: String,
    /// The variables that this claim may set.
    pub claim_env: Vec<String>,
}

/// Where the keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The place that the issuer's metadata names.
    Issuer,
    /// A JWK set on the network (`--jwks-url`).
    Url(SecureUrl),
    /// A JWK set in a file (`--jwks-file`).
    File(PathBuf),
}

/// How a token may be signed. Only signatures whose key the issuer alone has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PKCS #1 v1.5, SHA-384.
    Rs384,
    /// RSA, PKCS #1 v1.5, SHA-512.
    Rs512,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// RSA, PSS, SHA-384.
    Ps384,
    /// RSA, PSS, SHA-512.
    Ps512,
    /// ECDSA, P-256, SHA-256.
    Es256,
    /// ECDSA, P-384, SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// By its name in `alg` (RFC 7518, 3.1); `Ed25519` is what RFC 9864 calls the one kind of `EdDSA` that is known here.
    pub fn named(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Its name in `alg`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A URL whose answers come from whom it names: https, or http that does not leave this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureUrl {
    text: String,
    uri: Uri,
    loopback: bool,
}

impl SecureUrl {
    /// A URL as it is written; none if it is not one, or not one of those. Credentials and fragments have no place in it.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok().filter(|_| !text.contains('#'))?;
        let loopback = Authority::parse(uri.authority()?.as_str())?.host.is_loopback();
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => loopback,
            _ => false,
        };
        secure.then(|| Self { text: text.to_owned(), uri, loopback })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// For a request.
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether it is on this machine.
    pub const fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// Whether others can write its answers only with its host's certificate.
    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_secure_when_nobody_between_can_write_its_answers() {
        for secure in [
            "https://issuer.example",
            "https://issuer.example:8443/tenant?x=y",
            "http://localhost:8080/realms/test",
            "http://127.0.0.1",
            "http://[::1]:1/",
            "https://10.0.0.1/",
        ] {
            assert_eq!(SecureUrl::parse(secure).map(|url| url.as_str().to_owned()).as_deref(), Some(secure));
        }
        for not in [
            "http://issuer.example",
            "http://10.0.0.1/",
            "http://localhost.example/",
            "http://127.0.0.1@issuer.example/",
            "https://user:secret@issuer.example/",
            "https://issuer.example/#part",
            "ftp://localhost/",
            "https:///path",
            "issuer.example",
            "/path",
            "https://issuer.example/a b",
            "",
        ] {
            assert_eq!(SecureUrl::parse(not), None, "{not}");
        }
    }

    #[test]
    fn only_signatures_with_a_key_pair_have_a_name() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::named(algorithm.as_str()), Some(algorithm));
        }
        assert_eq!(Algorithm::named("Ed25519"), Some(Algorithm::EdDsa));
        for not in ["none", "None", "HS256", "HS384", "HS512", "rs256", "ES256K", "Ed448", "RSA-OAEP", ""] {
            assert_eq!(Algorithm::named(not), None, "{not}");
        }
    }
}
