//! Who may enter, and what of others they come to see: nothing.

use std::num::{NonZeroU32, NonZeroUsize};

use super::*;
use crate::auth::tokens::Tokens;
use crate::config::TrustedProxy;
use crate::config::principals::{PrincipalConfig, Rate};
use crate::config::secret::Secret;
use crate::mcp::MODERN_REVISION;
use crate::metrics::{Limit, limit_hits};

const ALICE: (&str, &str) = ("authorization", "Bearer alice-token");
const ALICES_OTHER: (&str, &str) = ("x-api-key", "alice-other-token");
const BOB: (&str, &str) = ("authorization", "Bearer bob-token");
const TOKENS: &str = "alice:alice-token\nbob:bob-token\nalice:alice-other-token\n";
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
const EVENTS: (&str, &str) = ("accept", "text/event-stream");
const HERE: &str = "127.0.0.1";

fn of(tokens: Arc<Tokens>) -> Methods {
    Methods { tokens: Some(tokens), ..Methods::default() }
}

fn limits(default: PrincipalConfig) -> PrincipalsConfig {
    PrincipalsConfig { default, ..PrincipalsConfig::default() }
}

fn guarded(default: PrincipalConfig) -> Harness {
    let (tokens, _) = Tokens::new(None, Some(Secret::new(TOKENS.to_owned()))).expect("three tokens");
    harness_of(Arc::new(Authenticator::new(of(Arc::new(tokens)), limits(default))), |_, _| {})
}

/// So many at once, and then one every so many seconds.
fn rate(seconds: u32, burst: u32) -> PrincipalConfig {
    let rate = Some(Rate::PerSecond(f64::from(seconds).recip()));
    PrincipalConfig { rate, burst: NonZeroU32::new(burst), ..PrincipalConfig::default() }
}

fn count(number: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(number)
}

// spec: RFC 6750, 3; 2025-11-25 basic/authorization, Error Handling
#[tokio::test(start_paused = true)]
async fn without_a_good_token_there_is_nothing_but_health() {
    let harness = guarded(PrincipalConfig::default());
    let modern = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN_REVISION}"}}}}}}"#
    );
    for (method, path, body) in [
        ("POST", "/mcp", CALL),
        ("POST", "/mcp", &initialize(Revision::V2025_11_25)),
        ("POST", "/mcp", &modern),
        ("POST", "/mcp", "no JSON"),
        ("GET", "/mcp", ""),
        ("DELETE", "/mcp", ""),
        ("PUT", "/mcp", ""),
        ("GET", "/sse", ""),
        ("POST", "/messages?sessionId=x", CALL),
        ("GET", "/nowhere", ""),
        ("GET", "/sse?access_token=alice-token", ""),
    ] {
        let answered = harness.ask(method, path, &[], body).await;
        assert_eq!(answered.header("www-authenticate"), r#"Bearer realm="mcp-mux""#, "{method} {path}");
        assert_eq!(answered.kind().await, (401, "unauthenticated".to_owned()), "{method} {path}");
    }
    for wrong in ["Bearer wrong-token", "Bearer alice-toke", "Bearer alice-token2", "Bearer ALICE-TOKEN"] {
        let before = limit_hits(Limit::CredentialRefused);
        let answered = harness.ask("POST", "/mcp", &[("authorization", wrong)], CALL).await;
        assert!(limit_hits(Limit::CredentialRefused) > before);
        let challenge = answered.header("www-authenticate").to_owned();
        assert!(challenge.starts_with(r#"Bearer error="invalid_token""#), "{challenge}");
        let text = answered.rest().await;
        assert!(text.contains("credential-invalid") && !text.contains("token2") && !text.contains("wrong-"), "{text}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(harness.ask("GET", path, &[], "").await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(harness.registry.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_browser_page_can_read_why_it_was_refused() {
    let harness = guarded(PrincipalConfig::default());
    let answered = harness.ask("POST", "/mcp", &[("origin", "http://localhost:3000")], CALL).await;
    assert_eq!(answered.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answered.header("access-control-allow-origin"), "http://localhost:3000");
    assert!(answered.header("access-control-expose-headers").contains("WWW-Authenticate"));
    // Its browser asks first, and never with credentials (Fetch, CORS-preflight request).
    let preflight = [("origin", "http://localhost:3000"), ("access-control-request-method", "POST")];
    assert_eq!(harness.ask("OPTIONS", "/mcp", &preflight, "").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_leave_open_which_one_counts_are_a_bad_request() {
    let harness = guarded(PrincipalConfig::default());
    let answered = harness.ask("POST", "/mcp", &[ALICE, BOB], CALL).await;
    assert_eq!(answered.kind().await, (400, "invalid-request".to_owned()));
}

// DESIGN section 2, invariant 2
#[tokio::test(start_paused = true)]
async fn anothers_session_is_an_unknown_one() {
    let mut harness = guarded(PrincipalConfig::default());
    let id = harness.open_as(&[ALICE], Revision::V2025_11_25).await;
    let session = ("mcp-session-id", id.as_str());
    for (method, headers) in
        [("POST", &[BOB, session][..]), ("DELETE", &[BOB, session]), ("GET", &[BOB, session, EVENTS])]
    {
        let answered = harness.ask(method, "/mcp", headers, CALL).await;
        assert_eq!(answered.kind().await, (404, "session-unknown".to_owned()), "{method}");
    }
    // By whatever token: whose it is, counts.
    for credential in [ALICE, ALICES_OTHER] {
        let (answered, _) = harness.call(&[credential, session], CALL, DONE).await;
        assert_eq!(answered.status, StatusCode::OK);
    }
    let mut stream = harness.ask("GET", "/sse", &[ALICE, EVENTS], "").await;
    let endpoint = stream.chunk().await.expect("the endpoint");
    let url = endpoint.trim().strip_prefix("event: endpoint\ndata: ").expect("an endpoint event");
    let body = initialize(Revision::V2024_11_05);
    assert_eq!(harness.ask("POST", url, &[BOB], &body).await.kind().await, (404, "session-unknown".to_owned()));
    assert_eq!(harness.ask("POST", url, &[], &body).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(harness.ask("POST", url, &[ALICE], &body).await.status, StatusCode::ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn who_comes_too_fast_is_told_when_to_come_back_and_others_notice_nothing() {
    let rate = rate(10, 2);
    let harness = guarded(rate);
    for _ in 0..2 {
        assert_eq!(harness.ask("GET", "/nowhere", &[ALICE], "").await.status, StatusCode::NOT_FOUND);
    }
    let before = limit_hits(Limit::Rate);
    let refused = harness.ask("GET", "/nowhere", &[ALICE], "").await;
    assert!(limit_hits(Limit::Rate) > before);
    assert_eq!(refused.header("retry-after"), "10");
    assert_eq!(refused.kind().await, (429, "rate-limited".to_owned()));
    assert_eq!(harness.ask("GET", "/nowhere", &[ALICES_OTHER], "").await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(harness.ask("GET", "/nowhere", &[BOB], "").await.status, StatusCode::NOT_FOUND);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(harness.ask("GET", "/nowhere", &[ALICE], "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn every_request_of_a_batch_counts_for_the_rate() {
    let rate = rate(1, 4);
    let mut harness = guarded(rate);
    let id = harness.open_as(&[ALICE], Revision::V2025_03_26).await;
    let answered = harness.ask("POST", "/mcp", &[ALICE, ("mcp-session-id", &id)], &batch(4)).await;
    assert_eq!(answered.kind().await, (429, "rate-limited".to_owned()));
}

/// So many calls in one batch.
fn batch(calls: usize) -> String {
    let calls: Vec<_> = (1..=calls).map(|id| CALL.replace(":1,", &format!(":{id},"))).collect();
    format!("[{}]", calls.join(","))
}

#[tokio::test(start_paused = true)]
async fn a_batch_uses_up_the_rate_whatever_its_answer_is_like() {
    for accept in ["application/json", "text/event-stream"] {
        let mut harness = guarded(rate(1, 5));
        let id = harness.open_as(&[ALICE], Revision::V2025_03_26).await;
        let headers = [ALICE, ("mcp-session-id", &id), ("accept", accept)];
        // Four are left, of which the refused one takes one.
        let refused = harness.ask("POST", "/mcp", &headers, &batch(5)).await;
        assert_eq!(refused.kind().await, (429, "rate-limited".to_owned()), "{accept}");
        let child = &mut harness.child;
        let (answered, ()) = tokio::join!(harness.http.ask(request("POST", "/mcp", &headers, &batch(3))), async {
            for id in 1..=3 {
                let (origin, _) = child.next().await.sent();
                child.respond(origin, &DONE.replace(":1,", &format!(":{id},")));
            }
        });
        assert_eq!((answered.status, answered.header("content-type")), (StatusCode::OK, accept));
        assert_eq!(answered.rest().await.matches("result").count(), 3, "{accept}");
        let refused = harness.ask("POST", "/mcp", &headers, CALL).await;
        assert_eq!(refused.kind().await, (429, "rate-limited".to_owned()), "{accept}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_over_http_sse_uses_up_the_rate_like_its_messages_one_by_one() {
    let mut harness = guarded(rate(1, 6));
    let mut stream = harness.ask("GET", "/sse", &[ALICE, EVENTS], "").await;
    let endpoint = stream.chunk().await.expect("the endpoint");
    let url = endpoint.trim().strip_prefix("event: endpoint\ndata: ").expect("an endpoint event");
    let body = initialize(Revision::V2025_03_26);
    assert_eq!(harness.ask("POST", url, &[ALICE], &body).await.status, StatusCode::ACCEPTED);
    harness.child.next().await.attached();
    let (origin, _) = harness.child.next().await.sent();
    harness.child.initialized(origin, Revision::V2025_03_26);
    stream.chunk().await.expect("the answer");
    // Four are left, of which the refused one takes one.
    let refused = harness.ask("POST", url, &[ALICE], &batch(5)).await;
    assert_eq!(refused.kind().await, (429, "rate-limited".to_owned()));
    assert!(harness.child.try_next().is_none());
    assert_eq!(harness.ask("POST", url, &[ALICE], &batch(3)).await.status, StatusCode::ACCEPTED);
    for _ in 0..3 {
        harness.child.next().await.sent();
    }
    assert_eq!(harness.ask("POST", url, &[ALICE], CALL).await.kind().await, (429, "rate-limited".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_principal_has_so_many_sessions_and_no_more_over_both_transports() {
    let mut harness = guarded(PrincipalConfig { sessions_max: count(2), ..PrincipalConfig::default() });
    let id = harness.open_as(&[ALICE], Revision::V2025_11_25).await;
    let stream = harness.ask("GET", "/sse", &[ALICE, EVENTS], "").await;
    let body = initialize(Revision::V2025_11_25);
    let before = limit_hits(Limit::PrincipalSessionsMax);
    let refused = harness.ask("POST", "/mcp", &[ALICES_OTHER], &body).await;
    assert!(limit_hits(Limit::PrincipalSessionsMax) > before);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.kind().await, (429, "principal-sessions-limit".to_owned()));
    assert_eq!(harness.ask("GET", "/sse", &[ALICE, EVENTS], "").await.status, StatusCode::TOO_MANY_REQUESTS);
    harness.open_as(&[BOB], Revision::V2025_11_25).await;
    drop(stream);
    harness.open_as(&[ALICE], Revision::V2025_11_25).await;
    assert_eq!(harness.ask("DELETE", "/mcp", &[ALICE, ("mcp-session-id", &id)], "").await.status.as_u16(), 204);
    assert_eq!(harness.ask("GET", "/sse", &[ALICE, EVENTS], "").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_principal_has_so_many_requests_in_flight_over_all_its_sessions() {
    let mut harness = guarded(PrincipalConfig { in_flight_max: count(1), ..PrincipalConfig::default() });
    let [first, second] = [
        harness.open_as(&[ALICE], Revision::V2025_11_25).await,
        harness.open_as(&[ALICE], Revision::V2025_11_25).await,
    ];
    let bobs = harness.open_as(&[BOB], Revision::V2025_11_25).await;
    let (http, headers) = (Arc::clone(&harness.http), [ALICE, ("mcp-session-id", first.as_str())]);
    let running = http.ask(request("POST", "/mcp", &headers, CALL));
    let (answered, ()) = tokio::join!(running, async {
        let (origin, _) = harness.child.next().await.sent();
        let headers = [ALICE, ("mcp-session-id", second.as_str())];
        let before = limit_hits(Limit::PrincipalInFlightMax);
        let refused = harness.ask("POST", "/mcp", &headers, CALL).await;
        assert!(limit_hits(Limit::PrincipalInFlightMax) > before);
        assert_eq!(refused.kind().await, (429, "principal-in-flight-limit".to_owned()));
        let (answered, _) = harness.call(&[BOB, ("mcp-session-id", &bobs)], CALL, DONE).await;
        assert_eq!(answered.status, StatusCode::OK);
        harness.child.respond(origin, DONE);
    });
    assert_eq!(answered.status, StatusCode::OK);
    let (answered, _) = harness.call(&[ALICE, ("mcp-session-id", &second)], CALL, DONE).await;
    assert_eq!(answered.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn nobody_in_particular_is_limited_by_address() {
    let rate = rate(10, 1);
    let authenticator = Authenticator::new(Methods::default(), limits(rate));
    let harness = harness_of(Arc::new(authenticator), |config, _| {
        config.http.forwarded.trusted =
            vec![TrustedProxy::Network(HERE.parse::<std::net::IpAddr>().expect("an address").into())];
    });
    let ask =
        async |client: &str| harness.ask("GET", "/nowhere", &[("x-forwarded-for", client)], "").await.status.as_u16();
    assert_eq!([ask("192.0.2.1").await, ask("192.0.2.2").await], [404, 404]);
    assert_eq!([ask("192.0.2.1").await, ask("6.6.6.6, 192.0.2.1").await], [429, 429]);
}

#[tokio::test(start_paused = true)]
async fn the_prefix_of_a_trusted_proxy_is_in_the_endpoint_that_clients_post_to() {
    let harness = harness_with(|config, _| {
        config.http.forwarded.trusted =
            vec![TrustedProxy::Network(HERE.parse::<std::net::IpAddr>().expect("an address").into())];
    });
    let mut stream = harness.ask("GET", "/sse", &[EVENTS, ("x-forwarded-prefix", "/tools")], "").await;
    let endpoint = stream.chunk().await.expect("the endpoint");
    assert!(endpoint.starts_with("event: endpoint\ndata: /tools/messages?sessionId="), "{endpoint}");
    let refused = harness.ask("GET", "/sse", &[EVENTS, ("x-forwarded-host", "evil.example")], "").await;
    assert_eq!(refused.kind().await, (403, "host-forbidden".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn when_what_clients_may_do_changes_their_streams_end_and_they_come_back() {
    let mut harness = guarded(PrincipalConfig::default());
    let id = harness.open_as(&[ALICE], Revision::V2025_11_25).await;
    let headers = [ALICE, EVENTS, ("mcp-session-id", id.as_str())];
    let mut stream = harness.ask("GET", "/mcp", &headers, "").await;
    let everything = harness.ask("GET", "/sse", &[BOB, EVENTS], "").await;
    stream.chunk().await.expect("the priming event");
    harness.registry.interrupt_all();
    assert_eq!(stream.rest().await, "");
    assert!(everything.rest().await.starts_with("event: endpoint"));
    assert_eq!(harness.registry.len(), 1);
    assert_eq!(harness.ask("GET", "/mcp", &headers, "").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn what_was_opened_with_a_token_ends_when_it_is_taken_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    std::fs::write(&file, TOKENS).expect("written");
    let tokens = Arc::new(Tokens::new(Some(file.clone()), None).expect("three tokens").0);
    let authenticator = Authenticator::new(of(Arc::clone(&tokens)), PrincipalsConfig::default());
    let mut harness = harness_of(Arc::new(authenticator), |_, _| {});
    let [alices, bobs] =
        [harness.open_as(&[ALICE], Revision::V2025_11_25).await, harness.open_as(&[BOB], Revision::V2025_11_25).await];
    let mut streams = Vec::new();
    for (credential, id) in [(ALICE, &alices), (BOB, &bobs)] {
        let headers = [credential, EVENTS, ("mcp-session-id", id.as_str())];
        streams.push(harness.ask("GET", "/mcp", &headers, "").await);
    }
    std::fs::write(&file, "alice:alice-other-token\nbob:bob-token\n").expect("written");
    tokens.reload().expect("two tokens");
    harness.registry.sweep_lapsed(tokio::time::Instant::now());
    let [alices_stream, mut bobs_stream] = <[Answered; 2]>::try_from(streams).ok().expect("two");
    alices_stream.rest().await;
    assert_eq!(harness.ask("POST", "/mcp", &[ALICE, ("mcp-session-id", &alices)], CALL).await.status.as_u16(), 401);
    let answered = harness.ask("POST", "/mcp", &[ALICES_OTHER, ("mcp-session-id", &alices)], CALL).await;
    assert_eq!(answered.kind().await, (404, "session-unknown".to_owned()));
    bobs_stream.chunk().await.expect("the priming event");
    assert_eq!(bobs_stream.chunk().await.as_deref(), Some(": keep-alive\n\n"));
    assert_eq!(harness.registry.len(), 1);
}
