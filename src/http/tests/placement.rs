//! What a request brings for its session's own child, on each transport.

use std::num::NonZeroUsize;

use super::*;
use crate::child::OwnVariables;
use crate::config::{HeaderEnv, PoolConfig};
use crate::session::testing::Own;

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
const SECRET: (&str, &str) = ("x-api-key", "s3cret");

async fn own(sessions: SessionMode) -> (Arc<Http>, Own) {
    let own = testing::own(|pool: &mut PoolConfig| {
        pool.header_env = vec![HeaderEnv { header: HeaderName::from_static("x-api-key"), variable: "KEY".to_owned() }];
        pool.children_max = NonZeroUsize::MIN;
    })
    .await;
    let mut config = config();
    config.sessions = sessions;
    (serving(config, authenticator(), own.registry.clone(), own.pool.clone()), own)
}

fn variables(value: Option<&str>) -> OwnVariables {
    OwnVariables::new(vec![("KEY".to_owned(), value.map(Into::into))])
}

#[tokio::test(start_paused = true)]
async fn headers_of_initialize_count_and_those_of_later_requests_do_not() {
    let (http, own) = own(SessionMode::Sessions).await;
    let body = initialize(Revision::V2025_11_25);
    let (answered, mut child) = tokio::join!(http.ask(request("POST", "/mcp", &[SECRET], &body)), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (tenancy, mut child) = own.child();
        assert!(tenancy.variables == variables(Some("s3cret")));
        child.next().await.attached();
        let (origin, _) = child.next().await.sent();
        child.initialized(origin, Revision::V2025_11_25);
        child
    });
    let headers = [("mcp-session-id", answered.header("mcp-session-id")), ("x-api-key", "another")];
    let (answered, ()) = tokio::join!(http.ask(request("POST", "/mcp", &headers, CALL)), async {
        let (origin, _) = child.next().await.sent();
        child.respond(origin, DONE);
    });
    assert_eq!(answered.status, StatusCode::OK);
    assert!(own.try_child().is_none());
}

#[tokio::test(start_paused = true)]
async fn headers_of_the_get_count_with_http_sse() {
    let (http, own) = own(SessionMode::Sessions).await;
    let mut stream = http.ask(request("GET", "/sse", &[SECRET], "")).await;
    let endpoint = stream.chunk().await.expect("the endpoint");
    let url = endpoint.lines().find_map(|line| line.strip_prefix("data: ")).expect("a path");
    assert!(own.try_child().is_none(), "there is nothing for it to do yet");
    let posted = http.ask(request("POST", url, &[("x-api-key", "another")], &initialize(Revision::V2024_11_05))).await;
    assert_eq!(posted.status, StatusCode::ACCEPTED);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(own.child().0.variables == variables(Some("s3cret")));
}

#[tokio::test(start_paused = true)]
async fn headers_of_each_request_count_without_sessions() {
    let (http, own) = own(SessionMode::Stateless).await;
    for value in [Some("s3cret"), None] {
        let headers: Vec<_> = value.map(|value| ("x-api-key", value)).into_iter().collect();
        let (answered, mut child) = tokio::join!(http.ask(request("POST", "/mcp", &headers, CALL)), async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (tenancy, mut child) = own.child();
            assert!(tenancy.variables == variables(value));
            child.next().await.attached();
            let (origin, _) = child.next().await.sent();
            child.respond(origin, DONE);
            child
        });
        assert_eq!(answered.status, StatusCode::OK);
        child.next().await.detached();
        assert!(matches!(child.next().await, testing::Arrival::Stopped));
        child.exits();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_is_there_twice_is_refused_wherever_it_counts() {
    let (http, own) = own(SessionMode::Sessions).await;
    let twice = [SECRET, SECRET];
    let refused = http.ask(request("POST", "/mcp", &twice, &initialize(Revision::V2025_11_25))).await;
    assert_eq!(refused.kind().await, (400, "invalid-request".to_owned()));
    let refused = http.ask(request("GET", "/sse", &twice, "")).await;
    let body = refused.json().await;
    assert_eq!(body["error"]["message"], "invalid request: more than one x-api-key header");
    assert!(own.registry.is_empty() && own.try_child().is_none());
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_child_in_time_is_told_to_come_back_and_leaves_no_session() {
    let (http, own) = own(SessionMode::Sessions).await;
    let body = initialize(Revision::V2025_11_25);
    let mut first = Box::pin(http.ask(request("POST", "/mcp", &[], &body)));
    tokio::select! { biased; _ = &mut first => panic!("no answer"), () = tokio::time::sleep(Duration::from_secs(1)) => {} }
    let refused = http.ask(request("POST", "/mcp", &[], &body)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    let json = refused.json().await;
    assert_eq!((&json["id"], &json["error"]["data"]["kind"]), (&Value::from(0), &Value::from("children-limit")));
    assert_eq!(own.registry.len(), 1);

    let mut stream = http.ask(request("GET", "/sse", &[], "")).await;
    let endpoint = stream.chunk().await.expect("the endpoint");
    let url = endpoint.lines().find_map(|line| line.strip_prefix("data: ")).expect("a path");
    http.ask(request("POST", url, &[], &body)).await;
    assert!(stream.rest().await.contains("children-limit"));
}
