//! What tells a client without a good token where to get one: the protected resource metadata (RFC 9728) and the
//! challenge that points at it (RFC 6750, 3). Pure.
//!
//! Spec: 2025-11-25 and 2026-07-28 basic/authorization, Protected Resource Metadata Discovery Requirements, Scope Challenge
//! Handling.

use http::HeaderValue;
use serde::Serialize;

/// Where RFC 9728 has the metadata of the resource that is a whole host; for a resource with a path, the path follows.
pub const WELL_KNOWN_PATH: &str = "/.well-known/oauth-protected-resource";

#[derive(Serialize)]
struct Metadata<'a> {
    resource: &'a str,
    resource_name: &'static str,
    authorization_servers: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes_supported: Option<&'a [String]>,
    bearer_methods_supported: [&'static str; 1],
}

/// The metadata of a resource (its URL, as clients write it), as JSON. `scopes` are those that every token must have.
pub fn document(resource: &str, issuer: &str, scopes: &[String]) -> String {
    let metadata = Metadata {
        resource,
        resource_name: "mcp-mux",
        authorization_servers: [issuer],
        // RFC 9728, 3.2: "parameters with zero values MUST be omitted".
        scopes_supported: Some(scopes).filter(|scopes| !scopes.is_empty()),
        bearer_methods_supported: ["header"],
    };
    serde_json::to_string(&metadata).expect("strings and lists of strings can be written as JSON")
}

/// Where the metadata of a resource is (RFC 9728, 3.1): between its host and its path, of which a lone slash is none. The
/// resource is `scheme://host[:port][/path]`.
pub fn document_url(resource: &str) -> String {
    let host = resource.find("://").map_or(0, |scheme| scheme + 3);
    let path = resource.get(host..).and_then(|rest| rest.find(['/', '?']));
    let (origin, path) = resource.split_at(path.map_or(resource.len(), |path| host + path));
    let path = if path == "/" { "" } else { path };
    format!("{origin}{WELL_KNOWN_PATH}{path}")
}

/// Why a client is asked for a token, or for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// It sent none; 401.
    NoToken,
    /// It sent one that opens nothing, and why: `invalid_token`, 401.
    InvalidToken(&'a str),
    /// It sent one that does not have all the scopes: `insufficient_scope`, 403.
    InsufficientScope,
}

impl Challenge<'_> {
    /// The value of `WWW-Authenticate`. `metadata_url` is where the metadata is, if there is any; `scope` has the scopes that
    /// every token must have, separated by blanks.
    pub fn header(self, metadata_url: Option<&str>, scope: &str) -> HeaderValue {
        let mut value = String::from("Bearer");
        let mut add = |name: &str, text: &str| {
            value.push_str(if value.ends_with('"') { ", " } else { " " });
            value.push_str(name);
            value.push_str("=\"");
            value.extend(quoted(text));
            value.push('"');
        };
        match self {
            // RFC 6750, 3.1: without authentication information, no error code.
            Self::NoToken => {}
            Self::InvalidToken(description) => {
                add("error", "invalid_token");
                add("error_description", description);
            }
            Self::InsufficientScope => add("error", "insufficient_scope"),
        }
        if let Some(url) = metadata_url {
            add("resource_metadata", url);
        }
        if !scope.is_empty() {
            add("scope", scope);
        }
        // RFC 6750, 3: one parameter at least must follow.
        if !value.ends_with('"') {
            value.push_str(" realm=\"mcp-mux\"");
        }
        HeaderValue::try_from(value).expect("only visible ASCII and blanks were put in")
    }
}

/// The value of `WWW-Authenticate` where only client certificates are accepted; 401. There has to be one (RFC 9110, 15.5.2), and
/// no scheme for what happens below HTTP is registered. This name says what is wanted, promises nothing that the registered
/// ones do, and a client that does not know it passes over it (11.6.1).
pub const CERTIFICATE_CHALLENGE: HeaderValue = HeaderValue::from_static(r#"ClientCertificate realm="mcp-mux""#);

/// RFC 9110, 5.6.4, without what has no place in a URL, a scope or a description.
fn quoted(text: &str) -> impl Iterator<Item = char> {
    let plain = text.chars().filter(|char| matches!(char, ' '..='~'));
    plain.flat_map(|char| matches!(char, '"' | '\\').then_some('\\').into_iter().chain([char]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const URL: &str = "https://mcp.example.com/.well-known/oauth-protected-resource";

    fn text(challenge: Challenge<'_>, url: Option<&str>, scope: &str) -> String {
        challenge.header(url, scope).to_str().unwrap().to_owned()
    }

    // spec: 2025-11-25 basic/authorization, Authorization Server Location: "MUST include the `authorization_servers` field".
    #[test]
    fn the_metadata_says_whose_tokens_are_accepted() {
        let document = |scopes: &[String]| -> Value {
            let text = document("https://mcp.example.com/mcp", "https://auth.example.com", scopes);
            serde_json::from_str(&text).unwrap()
        };
        let mut expected = json!({
            "resource": "https://mcp.example.com/mcp",
            "resource_name": "mcp-mux",
            "authorization_servers": ["https://auth.example.com"],
            "bearer_methods_supported": ["header"],
        });
        assert_eq!(document(&[]), expected);
        expected["scopes_supported"] = json!(["files:read", "files:write"]);
        assert_eq!(document(&["files:read".to_owned(), "files:write".to_owned()]), expected);
    }

    // spec: RFC 9728, 3.1; 2025-11-25 basic/authorization, Protected Resource Metadata Discovery Requirements.
    #[test]
    fn the_metadata_is_between_host_and_path() {
        for (resource, expected) in [
            ("https://example.com/public/mcp", "https://example.com/.well-known/oauth-protected-resource/public/mcp"),
            ("https://example.com", "https://example.com/.well-known/oauth-protected-resource"),
            ("https://example.com/", "https://example.com/.well-known/oauth-protected-resource"),
            ("http://[::1]:8000/mcp", "http://[::1]:8000/.well-known/oauth-protected-resource/mcp"),
            ("https://a.example?k=v", "https://a.example/.well-known/oauth-protected-resource?k=v"),
        ] {
            assert_eq!(document_url(resource), expected);
        }
    }

    // spec: 2026-07-28 basic/authorization, Scope Selection Strategy (its example).
    #[test]
    fn who_sent_no_token_is_told_where_to_get_one_and_of_no_error() {
        assert_eq!(
            text(Challenge::NoToken, Some(URL), "files:read"),
            format!(r#"Bearer resource_metadata="{URL}", scope="files:read""#)
        );
        assert_eq!(text(Challenge::NoToken, Some(URL), ""), format!(r#"Bearer resource_metadata="{URL}""#));
        assert_eq!(text(Challenge::NoToken, None, ""), r#"Bearer realm="mcp-mux""#);
    }

    // spec: RFC 6750, 3.1.
    #[test]
    fn who_sent_a_bad_token_is_told_what_is_wrong_with_it() {
        let challenge = Challenge::InvalidToken("the token has expired");
        assert_eq!(
            text(challenge, Some(URL), "a b"),
            format!(
                "Bearer error=\"invalid_token\", error_description=\"the token has expired\", \
                 resource_metadata=\"{URL}\", scope=\"a b\""
            )
        );
    }

    // spec: 2026-07-28 basic/authorization, Runtime Insufficient Scope Errors.
    #[test]
    fn who_lacks_a_scope_is_told_all_that_are_wanted() {
        assert_eq!(
            text(Challenge::InsufficientScope, Some(URL), "files:read files:write"),
            format!(
                "Bearer error=\"insufficient_scope\", resource_metadata=\"{URL}\", scope=\"files:read files:write\""
            )
        );
    }

    #[test]
    fn what_is_quoted_stays_inside_its_quotes() {
        let url = "https://a.example/\"x\\\r\nSet-Cookie: ä";
        assert_eq!(
            text(Challenge::NoToken, Some(url), ""),
            r#"Bearer resource_metadata="https://a.example/\"x\\Set-Cookie: ""#
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_a_header_that_cannot_be_sent(url in ".{0,50}", scope in ".{0,50}") {
            let value = text(Challenge::InsufficientScope, Some(&url), &scope);
            // Quotes that are not escaped come in pairs.
            let bare = value.replace("\\\\", "").replace("\\\"", "");
            prop_assert!(bare.matches('"').count().is_multiple_of(2), "{}", value);
        }

        #[test]
        fn any_text_has_a_place_for_metadata(resource in ".{0,50}") {
            prop_assert!(document_url(&resource).contains(WELL_KNOWN_PATH));
        }
    }
}
