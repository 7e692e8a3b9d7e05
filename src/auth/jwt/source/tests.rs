use serde_json::json;

use super::super::testing::{Answer, Server, Signer, key_set, until};
use super::*;
use crate::config::jwt::Algorithm;

async fn load(place: Place) -> Result<usize, String> {
    let source = Network { place, tracker: TaskTracker::new() };
    source.load().await.map(|loaded| loaded.keys.len()).map_err(|error| error.to_string())
}

fn url(text: &str) -> SecureUrl {
    SecureUrl::parse(text).unwrap()
}

fn keys() -> serde_json::Value {
    key_set(&[&Signer::new(Algorithm::EdDsa, Some("a"))])
}

#[tokio::test]
async fn keys_are_found_through_the_metadata_of_an_issuer() {
    let server = Server::start().await;
    let issuer = server.is_issuer("", &keys());
    assert_eq!(load(Place::Metadata(url(&issuer))).await, Ok(1));
    assert_eq!(server.asked(), ["/.well-known/oauth-authorization-server", "/keys"]);
}

// spec: 2025-11-25 basic/authorization, Authorization Server Metadata Discovery.
#[tokio::test]
async fn every_place_is_tried_in_turn() {
    let places = [
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/openid-configuration/tenant",
        "/tenant/.well-known/openid-configuration",
    ];
    for (at, place) in places.iter().enumerate() {
        let server = Server::start().await;
        let issuer = format!("{}/tenant", server.origin);
        server.has(place, json!({"issuer": issuer, "jwks_uri": format!("{}/keys", server.origin)}));
        server.has("/keys", keys());
        assert_eq!(load(Place::Metadata(url(&issuer))).await, Ok(1));
        assert_eq!(server.asked(), [&places[..=at], &["/keys"]].concat());
    }
}

#[tokio::test]
async fn a_place_with_something_else_does_not_hide_the_next() {
    let server = Server::start().await;
    let issuer = server.origin.clone();
    let metadata = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")});
    server.has("/.well-known/openid-configuration", &metadata);
    server.has("/keys", keys());
    let other = json!({"issuer": "https://other.example", "jwks_uri": "https://other.example/keys"});
    for first in ["<html>not found</html>".to_owned(), other.to_string(), "{}".to_owned(), " ".repeat(2 << 20)] {
        server.has("/.well-known/oauth-authorization-server", first);
        assert_eq!(load(Place::Metadata(url(&issuer))).await, Ok(1));
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_is_not_used() {
    let server = Server::start().await;
    let metadata = json!({"issuer": format!("{}/", server.origin), "jwks_uri": format!("{}/keys", server.origin)});
    server.has("/.well-known/oauth-authorization-server", metadata);
    server.has("/keys", keys());
    let error = load(Place::Metadata(url(&server.origin))).await.unwrap_err();
    assert!(error.contains("another issuer") && error.contains("404"), "{error}");
    assert!(!server.asked().contains(&"/keys".to_owned()));
}

#[tokio::test]
async fn keys_that_are_no_keys_are_an_error_that_says_where() {
    let server = Server::start().await;
    let issuer = server.is_issuer("", &json!({"keys": "none"}));
    let error = load(Place::Metadata(url(&issuer))).await.unwrap_err();
    assert_eq!(error, format!("{issuer}/keys: not a JWK set (a JSON object with an array of objects `keys`)"));
    server.answers("/keys", Answer { status: 503, header: ("x-none", String::new()), body: String::new() });
    let error = load(Place::Keys(url(&format!("{issuer}/keys")))).await.unwrap_err();
    assert_eq!(error, format!("{issuer}/keys: it answers with 503 Service Unavailable"));
}

#[tokio::test]
async fn a_host_that_is_not_there_is_not_asked_three_times() {
    let server = Server::start().await;
    let issuer = url(&format!("{}/tenant", server.origin));
    drop(server);
    until(async || {
        let error = load(Place::Metadata(issuer.clone())).await.unwrap_err();
        assert_eq!(error.matches("no answer").count(), 1, "{error}");
        error.contains("Connection refused")
    })
    .await;
}

#[test]
fn a_file_has_to_have_a_key_that_can_be_used() {
    let file = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let read = KeyFile::read(file.path()).map(|keys| keys.len());
        read.map_err(|error| format!("{error}: {}", error.source).replace(&*file.path().to_string_lossy(), "FILE"))
    };
    assert_eq!(file(&keys().to_string()), Ok(1));
    for (text, expected) in [
        ("", "it is not a JWK set"),
        (r#"{"keys":[]}"#, "none of its 0 keys can be used"),
        (r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#, "none of its 1 keys can be used"),
        (&" ".repeat((1 << 20) + 1), "it is larger than 1048576 bytes"),
    ] {
        let error = file(text).unwrap_err();
        assert!(error.starts_with("cannot use the keys of FILE: ") && error.contains(expected), "{error}");
        assert!(!error.contains("c2VjcmV0"));
    }
    assert!(KeyFile::read(Path::new("/nonexistent/keys.json")).is_err());
}
