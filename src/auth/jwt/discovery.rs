//! From an issuer to where its keys are. Pure.
//!
//! Spec: 2025-11-25 and 2026-07-28 basic/authorization, Authorization Server Metadata Discovery; RFC 8414 (3, 5); OpenID
//! Connect Discovery 1.0 (4).

use serde::Deserialize;

use super::object;
use crate::config::jwt::SecureUrl;

/// Where an issuer's metadata may be, in the order in which to look.
pub(super) fn places(issuer: &SecureUrl) -> Vec<SecureUrl> {
    let uri = issuer.uri();
    // RFC 8414, 3.1: "any terminating "/" MUST be removed".
    let path = uri.path().trim_end_matches('/');
    let origin = format!(
        "{}://{}",
        uri.scheme_str().unwrap_or("https"),
        uri.authority().map(http::uri::Authority::as_str).unwrap_or_default()
    );
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    places.iter().filter_map(|place| SecureUrl::parse(place)).collect()
}

/// Why a document does not say where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MetadataError {
    #[error("it is no metadata (a JSON object with `issuer` and `jwks_uri`)")]
    Format,
    #[error("it is the metadata of another issuer, {0:?}: --jwt-issuer has to be spelled the same")]
    OtherIssuer(String),
    #[error("it names no keys (`jwks_uri`)")]
    NoKeys,
    #[error("its keys are at a place that is not https, {0:?}")]
    Insecure(String),
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
}

/// Where the keys are, as an issuer's metadata says.
///
/// # Errors
/// It does not say so, or it is not that issuer's.
pub(super) fn keys_at(metadata: &[u8], issuer: &SecureUrl) -> Result<SecureUrl, MetadataError> {
    let metadata: Metadata = object(metadata).ok_or(MetadataError::Format)?;
    // spec: 2026-07-28 basic/authorization, Authorization Server Discovery: "MUST be identical", else "MUST NOT use".
    if metadata.issuer != issuer.as_str() {
        return Err(MetadataError::OtherIssuer(shortened(metadata.issuer)));
    }
    let place = metadata.jwks_uri.ok_or(MetadataError::NoKeys)?;
    // An issuer elsewhere has no business on this machine.
    let secure = SecureUrl::parse(&place).filter(|url| url.is_https() || issuer.is_loopback());
    secure.ok_or_else(|| MetadataError::Insecure(shortened(place)))
}

/// For the log.
fn shortened(text: String) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

const SHOWN_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> SecureUrl {
        SecureUrl::parse(text).unwrap()
    }

    // spec: 2025-11-25 basic/authorization, Authorization Server Metadata Discovery: the order is theirs.
    #[test]
    fn metadata_is_looked_for_in_the_order_of_the_specification() {
        for (issuer, expected) in [
            (
                "https://auth.example.com/tenant1",
                &[
                    "https://auth.example.com/.well-known/oauth-authorization-server/tenant1",
                    "https://auth.example.com/.well-known/openid-configuration/tenant1",
                    "https://auth.example.com/tenant1/.well-known/openid-configuration",
                ][..],
            ),
            (
                "https://auth.example.com",
                &[
                    "https://auth.example.com/.well-known/oauth-authorization-server",
                    "https://auth.example.com/.well-known/openid-configuration",
                ],
            ),
            (
                "https://auth.example.com/",
                &[
                    "https://auth.example.com/.well-known/oauth-authorization-server",
                    "https://auth.example.com/.well-known/openid-configuration",
                ],
            ),
            (
                "http://localhost:8080/realms/a/",
                &[
                    "http://localhost:8080/.well-known/oauth-authorization-server/realms/a",
                    "http://localhost:8080/.well-known/openid-configuration/realms/a",
                    "http://localhost:8080/realms/a/.well-known/openid-configuration",
                ],
            ),
        ] {
            let places = places(&url(issuer));
            assert_eq!(places.iter().map(SecureUrl::as_str).collect::<Vec<_>>(), expected, "{issuer}");
        }
    }

    #[test]
    fn metadata_is_used_only_if_it_is_that_issuers() {
        let keys_at = |metadata: &str, issuer: &str| {
            keys_at(metadata.as_bytes(), &url(issuer)).map(|place| place.as_str().to_owned())
        };
        let issuer = "https://a.example";
        assert_eq!(
            keys_at(r#"{"issuer":"https://a.example","jwks_uri":"https://b.example/keys?v=1","x":[]}"#, issuer)
                .unwrap(),
            "https://b.example/keys?v=1"
        );
        let other = |text: &str| Err(MetadataError::OtherIssuer(text.to_owned()));
        let insecure = |text: &str| Err(MetadataError::Insecure(text.to_owned()));
        for (metadata, expected) in [
            (r#"{"issuer":"https://a.example/","jwks_uri":"https://a.example/k"}"#, other("https://a.example/")),
            (r#"{"issuer":"https://A.example","jwks_uri":"https://a.example/k"}"#, other("https://A.example")),
            (r#"{"issuer":"https://evil.example","jwks_uri":"https://a.example/k"}"#, other("https://evil.example")),
            (r#"{"issuer":"https://a.example","jwks_uri":"http://a.example/k"}"#, insecure("http://a.example/k")),
            (r#"{"issuer":"https://a.example","jwks_uri":"http://127.0.0.1/k"}"#, insecure("http://127.0.0.1/k")),
            (r#"{"issuer":"https://a.example","jwks_uri":"/k"}"#, insecure("/k")),
            (r#"{"issuer":"https://a.example"}"#, Err(MetadataError::NoKeys)),
            (r#"{"jwks_uri":"https://a.example/k"}"#, Err(MetadataError::Format)),
            (r#"["https://a.example","https://a.example/k"]"#, Err(MetadataError::Format)),
            ("<html>", Err(MetadataError::Format)),
        ] {
            assert_eq!(keys_at(metadata, issuer), expected, "{metadata}");
        }
        let local = r#"{"issuer":"http://127.0.0.1:1","jwks_uri":"http://127.0.0.1:1/k"}"#;
        assert!(keys_at(local, "http://127.0.0.1:1").is_ok());
    }

    #[test]
    fn what_an_issuer_says_does_not_fill_the_log() {
        let metadata = format!(r#"{{"issuer":"{}"}}"#, "ä".repeat(10_000));
        let error = keys_at(metadata.as_bytes(), &url("https://a.example")).unwrap_err();
        assert!(error.to_string().chars().count() < 300);
    }
}
