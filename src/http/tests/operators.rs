//! The status page and the metrics: what is answered to whom, at which door.

use super::*;
use crate::auth::tokens::Tokens;
use crate::config::secret::Secret;
use crate::http::peer::Reach;
use crate::http::status_page::{Desk, Door};
use crate::status::history::Totals;
use crate::status::{Occupancy, Status};
use tokio_util::task::TaskTracker;

const PAGE: [&str; 6] =
    ["/", "/status/page.css", "/status/page.js", "/status/charts.js", "/status/icon.svg", "/status/trouble.svg"];

struct Operators {
    http: Arc<Http>,
    /// Its child is there as long as this is.
    _shared: testing::Shared,
}

impl Operators {
    fn new(desk: Desk, authenticator: Arc<Authenticator>, path: &str) -> Self {
        let shared = testing::registry(testing::config());
        let (registry, pool) = (Arc::clone(&shared.registry), Arc::clone(&shared.pool));
        let Settings { mut http, endpoint } = config();
        path.clone_into(&mut http.path);
        let servers = Servers::of(endpoint, registry, pool);
        let status = Status::new(
            Arc::clone(&servers),
            Box::new(|_| Totals::default()),
            Box::new(Occupancy::default),
            TaskTracker::new(),
        );
        Self { http: Http::with_status(http, guard(), authenticator, servers, (status, desk)), _shared: shared }
    }

    async fn ask(&self, door: Door, reach: Reach, request: Request<Full<Bytes>>) -> Answered {
        let peer = Arc::new(Peer::clone(&peer()).by(reach));
        Answered::of(Arc::clone(&self.http).handle_at(door, request, peer).await)
    }

    async fn get(&self, door: Door, reach: Reach, path: &str) -> u16 {
        self.ask(door, reach, request("GET", path, &[], "")).await.status.as_u16()
    }
}

fn with_token() -> Arc<Authenticator> {
    let (tokens, _) = Tokens::new(None, Some(Secret::new("alice:alice-token".to_owned()))).expect("a token");
    let methods = Methods { tokens: Some(Arc::new(tokens)), ..Methods::default() };
    Arc::new(Authenticator::new(methods, PrincipalsConfig::default()))
}

#[tokio::test]
async fn the_page_may_load_what_is_its_own_and_nothing_else() {
    let operators = Operators::new(Desk::AmongClients, authenticator(), "/mcp");
    for path in PAGE.into_iter().chain(["/status.json"]) {
        let answer = operators.ask(Door::Clients, Reach::Machine, request("GET", path, &[], "")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-store");
        let head = operators.ask(Door::Clients, Reach::Machine, request("HEAD", path, &[], "")).await;
        assert_eq!(head.status, StatusCode::OK);
        let refused = operators.ask(Door::Clients, Reach::Machine, request("POST", path, &[], "{}")).await;
        assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, "GET, HEAD"), "{path}");
    }
}

#[test]
fn the_page_asks_nothing_of_others_and_takes_no_text_for_markup() {
    let page = include_str!("../page/page.html");
    let scripts = [include_str!("../page/page.js"), include_str!("../page/charts.js")].concat();
    let style = include_str!("../page/page.css");
    let namespace = "http://www.w3.org/2000/svg";
    for text in [page, &scripts.replace(namespace, ""), style] {
        assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("//cdn"), "an address of others");
    }
    for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
        assert!(!scripts.contains(word), "{word}");
    }
    assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" on"), "what the policy forbids");
    assert_eq!(page.matches("<script").count(), 1);
    assert!(!style.contains("url(") && !style.contains("@import"));
}

#[tokio::test]
async fn without_a_door_of_their_own_operators_see_the_page_where_this_machine_alone_can_reach_it() {
    let operators = Operators::new(Desk::AmongClients, authenticator(), "/mcp");
    for path in PAGE.into_iter().chain(["/status.json"]) {
        assert_eq!(operators.get(Door::Clients, Reach::Machine, path).await, 200, "{path}");
        assert_eq!(operators.get(Door::Clients, Reach::Network, path).await, 404, "{path}");
    }
    for reach in [Reach::Machine, Reach::Network] {
        assert_eq!(operators.get(Door::Clients, reach, "/metrics").await, 200);
        assert_eq!(operators.get(Door::Clients, reach, "/readyz").await, 200);
    }
}

#[tokio::test]
async fn a_door_of_their_own_has_all_that_is_theirs_and_nothing_of_mcp() {
    let operators = Operators::new(Desk::Apart, authenticator(), "/mcp");
    for path in PAGE.into_iter().chain(["/status.json", "/metrics"]) {
        for reach in [Reach::Machine, Reach::Network] {
            assert_eq!(operators.get(Door::Operators, reach, path).await, 200, "{path}");
            assert_eq!(operators.get(Door::Clients, reach, path).await, 404, "{path}");
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(operators.get(Door::Operators, Reach::Machine, path).await, 200);
        assert_eq!(operators.get(Door::Clients, Reach::Machine, path).await, 200);
    }
    for (method, path) in
        [("GET", "/sse"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("POST", "/messages"), ("POST", "/mcp")]
    {
        let body = if method == "POST" { initialize(Revision::LATEST) } else { String::new() };
        let answer = operators.ask(Door::Operators, Reach::Machine, request(method, path, &[], &body)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_shown_wants_the_authentication_of_clients_and_the_empty_page_none() {
    for (desk, door) in [(Desk::AmongClients, Door::Clients), (Desk::Apart, Door::Operators)] {
        let operators = Operators::new(desk, with_token(), "/mcp");
        for path in PAGE {
            assert_eq!(operators.get(door, Reach::Machine, path).await, 200, "{path}");
        }
        for path in ["/status.json", "/metrics"] {
            let refused = operators.ask(door, Reach::Machine, request("GET", path, &[], "")).await;
            assert_eq!(refused.status.as_u16(), 401, "{path}");
            assert!(refused.header("www-authenticate").starts_with("Bearer"), "{path}");
            let alice = [("authorization", "Bearer alice-token")];
            let seen = operators.ask(door, Reach::Machine, request("GET", path, &alice, "")).await;
            assert_eq!(seen.status, StatusCode::OK, "{path}");
        }
    }
}

#[tokio::test]
async fn a_name_that_is_pointed_at_this_machine_shows_nothing() {
    let operators = Operators::new(Desk::Apart, authenticator(), "/mcp");
    for path in PAGE.into_iter().chain(["/status.json", "/metrics"]) {
        for headers in [[("host", "evil.example")], [("origin", "https://evil.example")]] {
            let mut asked = request("GET", path, &[], "");
            for (name, value) in headers {
                asked.headers_mut().insert(name, value.parse().expect("a value"));
            }
            let answer = operators.ask(Door::Operators, Reach::Machine, asked).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_does_not_read_what_is_for_operators_though_it_may_use_the_server() {
    let operators = Operators::new(Desk::AmongClients, authenticator(), "/mcp");
    let from = |method, path, origin: &str| {
        let mut asked = request(method, path, &[], "");
        for (name, value) in [("host", "localhost:8000"), ("origin", origin)] {
            asked.headers_mut().insert(name, value.parse().expect("a value"));
        }
        asked
    };
    for (method, path) in [("GET", "/status.json"), ("GET", "/metrics"), ("GET", "/"), ("OPTIONS", "/status.json")] {
        for (origin, expected) in [
            ("http://localhost:8000", true),
            ("http://LOCALHOST:8000", true),
            ("http://localhost:3000", false),
            ("http://127.0.0.1:8000", false),
            ("https://localhost", false),
        ] {
            let answer = operators.ask(Door::Clients, Reach::Machine, from(method, path, origin)).await;
            assert_eq!(answer.status.is_success(), expected, "{method} {path} {origin}");
            assert!(expected || answer.status == StatusCode::FORBIDDEN, "{method} {path} {origin}");
            assert!(!answer.headers.contains_key("access-control-allow-origin"), "{method} {path} {origin}");
        }
    }
    let elsewhere = from("OPTIONS", "/mcp", "http://localhost:3000");
    let answer = operators.ask(Door::Clients, Reach::Machine, elsewhere).await;
    assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:3000");
}

#[tokio::test]
async fn an_endpoint_at_the_root_is_not_taken_by_the_page() {
    let operators = Operators::new(Desk::AmongClients, authenticator(), "/");
    let answer = operators.ask(Door::Clients, Reach::Machine, request("GET", "/", &[], "")).await;
    assert!(!answer.status.is_success() && answer.header("content-type") != "text/html; charset=utf-8");
    assert_eq!(operators.get(Door::Clients, Reach::Machine, "/status.json").await, 200);
}

#[tokio::test]
async fn who_comes_through_a_proxy_on_this_machine_is_not_this_machine() {
    let operators = Operators::new(Desk::AmongClients, authenticator(), "/mcp");
    for header in ["forwarded", "x-forwarded-for", "x-forwarded-host", "via", "x-forwarded-proto", "x-real-ip"] {
        for path in ["/", "/status.json"] {
            let passed_on = request("GET", path, &[(header, "1.1 somebody")], "");
            let answer = operators.ask(Door::Clients, Reach::Machine, passed_on).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{header} {path}");
            let passed_on = request("GET", path, &[(header, "1.1 somebody")], "");
            assert_eq!(operators.ask(Door::Operators, Reach::Machine, passed_on).await.status, StatusCode::OK);
        }
    }
}
