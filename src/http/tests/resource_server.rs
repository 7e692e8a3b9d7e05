//! An OAuth 2.1 resource server: what clients are told on their way to a token, and what a token opens.

use std::net::IpAddr;
use std::time::SystemTime;

use http_body_util::Full;
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::*;
use crate::auth::jwt::Verifier;
use crate::auth::jwt::testing::{AUDIENCE, Signer, claims, config as jwt_config, key_set, seconds};
use crate::config::TrustedProxy;
use crate::config::jwt::{Algorithm, KeySource};
use crate::config::principals::NamesConfig;
use crate::config::principals::PrincipalConfig;
use crate::http::peer::{ClientCertificate, TlsPeer};

const ISSUER: &str = "https://issuer.example";
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file"}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
const EVENTS: (&str, &str) = ("accept", "text/event-stream");

/// A server that believes one issuer, whose key the test has.
struct Guarded {
    harness: Harness,
    signer: Signer,
    _stop: DropGuard,
    _keys: tempfile::NamedTempFile,
}

fn guarded(scopes: &[&str], principals: PrincipalsConfig) -> Guarded {
    let signer = Signer::new(Algorithm::Es256, Some("one"));
    let keys = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(keys.path(), key_set(&[&signer]).to_string()).expect("written");
    let mut config = jwt_config(ISSUER, KeySource::File(keys.path().to_owned()));
    config.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let stop = CancellationToken::new();
    let jwt = Verifier::new(config, &TaskTracker::new(), stop.clone()).expect("a key");
    let methods = Methods { jwt: Some(jwt), certificates: true, ..Methods::default() };
    let harness = harness_of(Arc::new(Authenticator::new(methods, principals)), |config, _| {
        config.http.forwarded.trusted = vec![TrustedProxy::Network(IpAddr::from([127, 0, 0, 1]).into())];
    });
    Guarded { harness, signer, _stop: stop.drop_guard(), _keys: keys }
}

impl Guarded {
    /// The header of a token with these claims beside the usual ones.
    fn bearer(&self, more: Value) -> String {
        let mut all = claims(ISSUER);
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
        format!("Bearer {}", self.signer.token(&all))
    }
}

// spec: 2025-11-25 basic/authorization, Authorization Server Location; RFC 9728, 3.1 and 3.2
#[tokio::test(start_paused = true)]
async fn the_metadata_of_each_resource_is_where_its_client_looks_and_open_to_all() {
    let guarded = guarded(&["mcp:use"], PrincipalsConfig::default());
    for (path, resource) in [("", ""), ("/mcp", "/mcp"), ("/sse", "/sse"), ("/", "")] {
        let uri = format!("/.well-known/oauth-protected-resource{path}");
        let answered = guarded.harness.ask("GET", &uri, &[], "").await;
        let expected = json!({
            "resource": format!("http://127.0.0.1{resource}"),
            "authorization_servers": [ISSUER],
            "scopes_supported": ["mcp:use"],
            "bearer_methods_supported": ["header"],
            "resource_name": "mcp-mux",
        });
        assert_eq!((answered.status, answered.json().await), (StatusCode::OK, expected), "{path}");
    }
    let proxied = [("x-forwarded-proto", "https"), ("x-forwarded-host", "localhost"), ("x-forwarded-prefix", "/tools")];
    let uri = "/.well-known/oauth-protected-resource/tools/mcp";
    let answered = guarded.harness.ask("GET", uri, &proxied, "").await;
    assert_eq!(answered.json().await["resource"], "https://localhost/tools/mcp");
    for (method, path) in [("GET", "/other"), ("POST", "/mcp")] {
        let uri = format!("/.well-known/oauth-protected-resource{path}");
        assert_eq!(guarded.harness.ask(method, &uri, &[], "").await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

// spec: 2025-11-25 basic/authorization, Protected Resource Metadata Discovery Requirements, Scope Challenge Handling
#[tokio::test(start_paused = true)]
async fn a_refusal_says_where_the_metadata_is_and_which_scopes_are_needed() {
    let guarded = guarded(&["mcp:use"], PrincipalsConfig::default());
    let at = |path: &str| format!(r#"resource_metadata="http://127.0.0.1/.well-known/oauth-protected-resource{path}""#);
    let ask = async |path: &str, credential: Option<String>| {
        let header = credential.as_deref().map(|value| ("authorization", value));
        let answered = guarded.harness.ask("POST", path, header.as_slice(), CALL).await;
        (answered.status.as_u16(), answered.header("www-authenticate").to_owned())
    };
    assert_eq!(ask("/mcp", None).await, (401, format!(r#"Bearer {}, scope="mcp:use""#, at("/mcp"))));
    assert_eq!(ask("/messages", None).await, (401, format!(r#"Bearer {}, scope="mcp:use""#, at("/sse"))));
    assert_eq!(ask("/metrics", None).await, (401, format!(r#"Bearer {}, scope="mcp:use""#, at(""))));
    let (status, challenge) = ask("/mcp", Some("Bearer x.y.z".to_owned())).await;
    assert_eq!(status, 401);
    assert!(challenge.starts_with(r#"Bearer error="invalid_token", error_description="#), "{challenge}");
    let (status, challenge) = ask("/mcp", Some(guarded.bearer(json!({"scope": "other"})))).await;
    assert_eq!(status, 403);
    assert!(challenge.starts_with(r#"Bearer error="insufficient_scope""#), "{challenge}");
    assert!(challenge.contains(r#"scope="mcp:use""#) && challenge.contains(&at("/mcp")), "{challenge}");
    let (status, _) = ask("/mcp", Some(guarded.bearer(json!({"scope": "mcp:use", "aud": "https://other"})))).await;
    assert_eq!(status, 401);
    assert_eq!(ask("/nowhere", Some(guarded.bearer(json!({"scope": "a mcp:use"})))).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_claim_takes_away_what_a_tokens_owner_may_do_and_never_adds_to_it() {
    let deny = NamesConfig { allow: None, deny: vec!["write_*".to_owned()] };
    let default = PrincipalConfig { tools: deny, ..PrincipalConfig::default() };
    let entries = std::iter::once(("jwt:*".to_owned(), default)).collect();
    let mut guarded = guarded(&[], PrincipalsConfig { entries, ..PrincipalsConfig::default() });
    let claim = json!({"sub": "ann", "mcp_mux": {"tools": {"allow": ["read_*", "write_file"]}, "sessions-max": 1}});
    let ann = guarded.bearer(claim);
    let credential = ("authorization", ann.as_str());
    let id = guarded.harness.open_as(&[credential], Revision::V2025_11_25).await;
    let headers = [credential, ("mcp-session-id", id.as_str())];
    let (answered, _) = guarded.harness.call(&headers, CALL, DONE).await;
    assert_eq!(answered.status, StatusCode::OK);
    let body = initialize(Revision::V2025_11_25);
    let second = guarded.harness.ask("POST", "/mcp", &[credential], &body).await;
    assert_eq!(second.kind().await, (429, "principal-sessions-limit".to_owned()));
    let nonsense = guarded.bearer(json!({"sub": "bob", "mcp_mux": {"sessions-max": "many"}}));
    let refused = guarded.harness.ask("POST", "/mcp", &[("authorization", &nonsense)], &body).await;
    assert_eq!(refused.kind().await, (401, "credential-invalid".to_owned()));
}

#[tokio::test]
async fn a_standing_stream_ends_with_its_clients_token_unless_a_fresh_one_has_come() {
    let mut guarded = guarded(&[], PrincipalsConfig::default());
    let short = guarded.bearer(json!({"sub": "ann", "exp": seconds() + 60}));
    let long = guarded.bearer(json!({"sub": "ann", "exp": seconds() + 3600}));
    let id = guarded.harness.open_as(&[("authorization", &short)], Revision::V2025_11_25).await;
    let session = ("mcp-session-id", id.as_str());
    let in_an_hour = tokio::time::Instant::now() + Duration::from_secs(600);
    let mut stream = guarded.harness.ask("GET", "/mcp", &[("authorization", &short), session, EVENTS], "").await;
    stream.chunk().await.expect("the priming event");
    guarded.harness.registry.sweep_lapsed(in_an_hour);
    assert_eq!(stream.rest().await, "");
    // The session is there still, and its client comes back.
    let mut stream = guarded.harness.ask("GET", "/mcp", &[("authorization", &long), session, EVENTS], "").await;
    stream.chunk().await.expect("the priming event");
    guarded.harness.registry.sweep_lapsed(in_an_hour);
    assert_eq!(guarded.harness.registry.open_streams(), 1);
    // The stream of HTTP+SSE is its session.
    let everything = guarded.harness.ask("GET", "/sse", &[("authorization", &short), EVENTS], "").await;
    assert_eq!(guarded.harness.registry.len(), 2);
    guarded.harness.registry.sweep_lapsed(in_an_hour);
    assert!(everything.rest().await.starts_with("event: endpoint"));
    assert_eq!(guarded.harness.registry.len(), 1);
}

impl Harness {
    /// What a client with that certificate gets.
    async fn ask_with(&self, certificate: ClientCertificate, request: Request<Full<Bytes>>) -> Answered {
        let peer = Peer { tls: Some(TlsPeer { certificate }), ..(*peer()).clone() };
        Answered::of(Arc::clone(&self.http).handle(request, Arc::new(peer)).await)
    }
}

/// A certificate that is valid for so long from now on.
fn anns(left: Duration) -> ClientCertificate {
    ClientCertificate::Named { subject: "CN=ann".into(), until: SystemTime::now() + left }
}

// spec: RFC 5280, 4.1.2.5
#[tokio::test(start_paused = true)]
async fn a_certificate_that_has_expired_opens_nothing_though_its_connection_lasts() {
    let harness = guarded(&[], PrincipalsConfig::default()).harness;
    let ask = async |certificate| harness.ask_with(certificate, request("GET", "/nowhere", &[], "")).await;
    assert_eq!(ask(anns(Duration::from_secs(60))).await.status, StatusCode::NOT_FOUND);
    let until = SystemTime::now() - Duration::from_millis(1);
    let expired = ask(ClientCertificate::Named { subject: "CN=ann".into(), until }).await;
    assert_eq!(expired.status, StatusCode::UNAUTHORIZED);
    let text = expired.rest().await;
    assert!(text.contains("credential-invalid") && text.contains("the certificate has expired"), "{text}");
}

#[tokio::test]
async fn what_is_open_to_a_client_ends_with_its_certificate() {
    let harness = guarded(&[], PrincipalsConfig::default()).harness;
    let [short, long] = [60, 3600].map(Duration::from_secs);
    let in_ten_minutes = tokio::time::Instant::now() + Duration::from_secs(600);
    let open = async |left| harness.ask_with(anns(left), request("GET", "/sse", &[EVENTS], "")).await;
    let (ending, _lasting) = (open(short).await, open(long).await);
    assert_eq!(harness.registry.len(), 2);
    harness.registry.sweep_lapsed(in_ten_minutes);
    assert!(ending.rest().await.starts_with("event: endpoint"));
    assert_eq!(harness.registry.len(), 1);
}

// spec: RFC 9110, 15.5.2: "MUST send a WWW-Authenticate header field containing at least one challenge"
#[tokio::test(start_paused = true)]
async fn every_401_says_what_is_wanted_also_where_no_token_is() {
    let until = SystemTime::now() - Duration::from_secs(1);
    let expired = ClientCertificate::Named { subject: "CN=ann".into(), until };
    let methods = Methods { certificates: true, ..Methods::default() };
    let authenticator = Authenticator::new(methods, PrincipalsConfig::default());
    let by_certificate = harness_of(Arc::new(authenticator), |_, _| {});
    let by_either = guarded(&[], PrincipalsConfig::default()).harness;
    let at = "https://127.0.0.1/.well-known/oauth-protected-resource/mcp";
    for certificate in [ClientCertificate::None, ClientCertificate::Unnamed { until: None }, expired] {
        for (harness, expected) in [
            (&by_certificate, r#"ClientCertificate realm="mcp-mux""#.to_owned()),
            (&by_either, format!(r#"Bearer resource_metadata="{at}""#)),
        ] {
            let refused = harness.ask_with(certificate.clone(), request("POST", "/mcp", &[], CALL)).await;
            assert_eq!((refused.status.as_u16(), refused.header("www-authenticate")), (401, expected.as_str()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_says_who_one_is_where_no_token_does() {
    let guarded = guarded(&[], PrincipalsConfig::default());
    let ask = async |certificate: ClientCertificate, credential: Option<&str>| {
        let header = credential.map(|value| ("authorization", value));
        guarded.harness.ask_with(certificate, request("GET", "/nowhere", header.as_slice(), "")).await.status.as_u16()
    };
    let ann = || anns(Duration::from_secs(60));
    assert_eq!(ask(ann(), None).await, 404);
    assert_eq!(ask(ClientCertificate::Unnamed { until: None }, None).await, 401);
    assert_eq!(ask(ClientCertificate::None, None).await, 401);
    // A token that is not good is not made good by a certificate.
    assert_eq!(ask(ann(), Some("Bearer x.y.z")).await, 401);
    assert_eq!(ask(ClientCertificate::None, Some(&guarded.bearer(json!({"aud": AUDIENCE})))).await, 404);
}
