//! Several servers behind one port.

use serde_json::json;

use super::*;
use crate::config::{Arrangement, ServerName};
use crate::metrics::{Gauge, Method as Asked, Outcome};
use crate::servers::{Service, testing as many};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

/// Two servers, with their children.
struct Two {
    http: Arc<Http>,
    a: FakeChild,
    b: FakeChild,
}

fn two() -> Two {
    two_for(authenticator())
}

fn two_for(authenticator: Arc<Authenticator>) -> Two {
    let made = |text: &str| {
        let testing::Shared { registry, pool, child, .. } = testing::registry(testing::config());
        let name = ServerName::parse(text).expect("a name");
        ((name, Service::of(config().endpoint, registry, pool)), child)
    };
    let ((first, a), (second, b)) = (made("a"), made("b.2"));
    let servers = Servers::made(Arrangement::Several, [first, second]);
    Two { http: Http::new(config().http, guard(), authenticator, servers), a, b }
}

impl Two {
    async fn ask(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        self.http.ask(request(method, uri, headers, body)).await
    }
}

/// Opens a session on the server below `mount`, whose child is `child`.
async fn open(http: &Arc<Http>, mount: &str, child: &mut FakeChild) -> String {
    let revision = Revision::V2025_11_25;
    let body = initialize(revision);
    let uri = format!("{mount}/mcp");
    let (answered, ()) = tokio::join!(http.ask(request("POST", &uri, &[], &body)), async {
        child.next().await.attached();
        let (origin, _) = child.next().await.sent();
        child.initialized(origin, revision);
    });
    assert_eq!(answered.status, StatusCode::OK);
    answered.header("mcp-session-id").to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_session_of_one_server_is_none_of_another() {
    let mut two = two();
    let id = open(&two.http, "/servers/a", &mut two.a).await;
    let headers = [("mcp-session-id", id.as_str())];
    for (method, body) in [("POST", CALL), ("DELETE", "")] {
        let refused = two.ask(method, "/servers/b.2/mcp", &headers, body).await;
        assert_eq!(refused.kind().await, (404, "session-unknown".to_owned()), "{method}");
    }
    let refused = two.ask("GET", "/servers/b.2/mcp", &[headers[0], ("accept", "text/event-stream")], "").await;
    assert_eq!(refused.kind().await, (404, "session-unknown".to_owned()));
    let (answered, ()) = tokio::join!(two.http.ask(request("POST", "/servers/a/mcp", &headers, CALL)), async {
        let (origin, _) = two.a.next().await.sent();
        two.a.respond(origin, DONE);
    });
    assert_eq!(answered.rest().await, DONE);
    assert!(two.b.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_2024_11_05_says_where_its_own_server_takes_messages() {
    let two = two();
    let mut stream = two.ask("GET", "/servers/b.2/sse", &[("accept", "text/event-stream")], "").await;
    let endpoint = stream.chunk().await.expect("the endpoint");
    let url = endpoint.strip_prefix("event: endpoint\ndata: ").expect("the event").trim_end().to_owned();
    assert!(url.starts_with("/servers/b.2/messages?sessionId="), "{url}");
    let elsewhere = url.replace("b.2", "a");
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(two.ask("POST", &elsewhere, &[], ping).await.kind().await, (404, "session-unknown".to_owned()));
    assert_eq!(two.ask("POST", &url, &[], ping).await.status, StatusCode::ACCEPTED);
    assert!(stream.chunk().await.expect("the answer").contains(r#""result":{}"#));
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_no_servers_says_so() {
    let two = two();
    for (method, path, kind) in [
        ("POST", "/mcp", "server-unnamed"),
        ("GET", "/sse", "server-unnamed"),
        ("POST", "/servers/c/mcp", "server-unknown"),
        ("POST", "/servers/A/mcp", "server-unknown"),
        ("POST", "/servers/a/else", "not-found"),
        ("POST", "/servers/a/servers/b.2/mcp", "not-found"),
        ("POST", "/servers/a", "not-found"),
        ("POST", "/servers/../mcp", "not-found"),
        ("POST", "/servers//mcp", "not-found"),
        ("POST", "/servers/%61/mcp", "not-found"),
        ("POST", "/else", "not-found"),
    ] {
        assert_eq!(two.ask(method, path, &[], CALL).await.kind().await, (404, kind.to_owned()), "{path}");
    }
    assert_eq!(two.ask("PUT", "/servers/a/sse", &[], "").await.kind().await, (405, "method-not-allowed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_list_of_servers_says_where_and_how_they_are_and_only_to_those_who_may_enter() {
    let mut two = two();
    open(&two.http, "/servers/a", &mut two.a).await;
    let answered = two.ask("GET", "/servers", &[], "").await;
    assert_eq!(answered.status, StatusCode::OK);
    let row = |name: &str, sessions: usize| {
        json!({"name": name, "state": "ready", "path": format!("/servers/{name}/mcp"), "ssePath": format!("/servers/{name}/sse"),
            "children": {"ready": 1, "total": 1}, "sessions": sessions})
    };
    assert_eq!(answered.json().await, json!({"servers": [row("a", 1), row("b.2", 0)]}));
    assert_eq!(two.ask("GET", "/servers/", &[], "").await.status, StatusCode::OK);
    assert_eq!(two.ask("POST", "/servers", &[], "").await.status, StatusCode::METHOD_NOT_ALLOWED);

    let methods = Methods { certificates: true, ..Methods::default() };
    let closed = two_for(Arc::new(Authenticator::new(methods, PrincipalsConfig::default())));
    assert_eq!(closed.ask("GET", "/servers", &[], "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(closed.ask("GET", "/readyz", &[], "").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_single_server_is_found_under_its_name_too() {
    let mut harness = harness();
    let id = open(&harness.http, "/servers/default", &mut harness.child).await;
    // It is the same one.
    let answered = harness.ask("DELETE", "/mcp", &[("mcp-session-id", &id)], "").await;
    assert_eq!(answered.status, StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_counted_though_its_server_cannot_be_started() {
    let play = many::Play::default();
    play.broken.lock().unwrap().insert("counted-bad");
    let configs = vec![many::server("counted-bad", &[]), many::server("counted-good", &[])];
    let (servers, tracker) = many::start(many::several(configs), &play);
    let http = Http::new(config().http, guard(), authenticator(), Arc::clone(&servers));
    tokio::time::sleep(many::SOON).await;
    let bad = servers.named(&many::name("counted-bad")).expect("it is there");
    let counted = |outcome| bad.metrics().requests(Asked::Unread, outcome);
    for (path, count) in [("mcp", 1), ("messages?sessionId=x", 2)] {
        let refused = http.ask(request("POST", &format!("/servers/counted-bad/{path}"), &[], CALL)).await;
        assert_eq!(refused.kind().await, (503, "circuit-open".to_owned()));
        assert_eq!(counted(Outcome::ChildUnavailable), count);
    }
    // What is no request is counted nowhere.
    for (method, path) in [("GET", "sse"), ("GET", "mcp"), ("DELETE", "mcp"), ("POST", "sse"), ("POST", "else")] {
        let path = format!("/servers/counted-bad/{path}");
        http.ask(request(method, &path, &[("accept", "text/event-stream")], "")).await;
    }
    assert_eq!(counted(Outcome::ChildUnavailable), 2);
    assert_eq!((counted(Outcome::Invalid), bad.metrics().level(Gauge::RequestsInFlight)), (0, 0));
    many::end((servers, tracker), &play).await;
}
