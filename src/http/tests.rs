//! The transports over a child that the test plays. Time is paused: waits cost nothing and cannot be too short.

mod admission;
mod bounds;
mod connection;
mod leaving;
mod legacy;
mod modern;
mod observed;
mod operators;
mod placement;
mod resource_server;
mod rules;
mod servers;
mod streamable;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use serde_json::Value;

use super::peer::Ends;
use super::*;
use crate::auth::Methods;
use crate::child::ChildHandle;
use crate::config::principals::PrincipalsConfig;
use crate::config::{EndpointConfig, ForwardedConfig, GuardConfig, SessionConfig, SessionMode};
use crate::mcp::Revision;
use crate::pool::Pool;
use crate::router::Origin;
use crate::session::Registry;
use crate::session::testing::{self, FakeChild};

/// An [`Http`] over a child that the test plays.
struct Harness {
    http: Arc<Http>,
    registry: Arc<Registry>,
    child: FakeChild,
    handle: ChildHandle,
}

/// A request that is refused: method or path, headers, body; status and kind.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

/// A response as a test looks at it.
struct Answered {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Body,
}

fn harness() -> Harness {
    harness_with(|_, _| {})
}

fn harness_with(change: impl FnOnce(&mut Settings, &mut SessionConfig)) -> Harness {
    harness_of(authenticator(), change)
}

fn harness_of(authenticator: Arc<Authenticator>, change: impl FnOnce(&mut Settings, &mut SessionConfig)) -> Harness {
    let mut config = config();
    let mut session = testing::config();
    change(&mut config, &mut session);
    let testing::Shared { registry, pool, child, handle } = testing::registry(session);
    Harness { http: serving(config, authenticator, registry.clone(), pool), registry, child, handle }
}

/// How one server is served, and the whole port.
struct Settings {
    http: HttpConfig,
    endpoint: EndpointConfig,
}

impl Deref for Settings {
    type Target = EndpointConfig;

    fn deref(&self) -> &EndpointConfig {
        &self.endpoint
    }
}

impl DerefMut for Settings {
    fn deref_mut(&mut self) -> &mut EndpointConfig {
        &mut self.endpoint
    }
}

fn config() -> Settings {
    let http = HttpConfig {
        path: "/mcp".to_owned(),
        sse_path: "/sse".to_owned(),
        message_path: "/messages".to_owned(),
        header_bytes_max: 8192,
        headers_max: std::num::NonZeroUsize::new(100).expect("not zero"),
        forwarded: ForwardedConfig::default(),
        public_url: None,
    };
    let endpoint = EndpointConfig {
        body_bytes_max: 1000,
        body_timeout: Duration::from_secs(10),
        bounds: crate::config::Bounds::default(),
        sse_after: Duration::from_secs(1),
        keep_alive: Duration::from_secs(15),
        sessions: SessionMode::Sessions,
    };
    Settings { http, endpoint }
}

/// One server alone.
fn serving(config: Settings, authenticator: Arc<Authenticator>, registry: Arc<Registry>, pool: Arc<Pool>) -> Arc<Http> {
    Http::new(config.http, guard(), authenticator, Servers::of(config.endpoint, registry, pool))
}

/// Everybody may enter.
fn authenticator() -> Arc<Authenticator> {
    Arc::new(Authenticator::new(Methods::default(), PrincipalsConfig::default()))
}

fn guard() -> Guard {
    Guard::new(GuardConfig { allow_host: Vec::new(), allow_origin: Vec::new() })
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(uri).header("host", "127.0.0.1");
    if method == "POST" && !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request")
}

/// On this machine.
fn peer() -> Arc<Peer> {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
    Arc::new(Peer::new(Ends::Tcp { local, remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)) }))
}

impl Http {
    async fn ask(self: &Arc<Self>, request: Request<Full<Bytes>>) -> Answered {
        Answered::of(Arc::clone(self).handle(request, peer()).await)
    }

    /// Likewise, once it is known who asks.
    async fn ask_as(&self, caller: &Admission, request: Request<Full<Bytes>>) -> Answered {
        let (parts, body) = request.into_parts();
        let way = Way::of(&self.config.forwarded, &peer(), &parts.headers);
        let (asked, client) = (self.asked(&parts.method, parts.uri.path()), way.client);
        let (server, session, since) = (None, None, Instant::now());
        let passage = Passage { asked, client, principal: None, server, session, since };
        let caller = Caller { admission: caller.clone(), way };
        Answered::of(
            self.route(parts.uri.path(), &parts, pin!(body), &caller, &passage)
                .await
                .unwrap_or_else(Refusal::into_response),
        )
    }
}

impl Harness {
    async fn ask(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        self.http.ask(request(method, uri, headers, body)).await
    }

    /// A POST of one request, answered by the child with `text`.
    async fn call(&mut self, headers: &[(&str, &str)], body: &str, text: &str) -> (Answered, Origin) {
        let child = &mut self.child;
        tokio::join!(self.http.ask(request("POST", "/mcp", headers, body)), async {
            let (origin, _) = child.next().await.sent();
            child.respond(origin, text);
            origin
        })
    }

    /// Opens a session; returns its id.
    async fn open(&mut self, revision: Revision) -> String {
        self.open_as(&[], revision).await
    }

    /// The same with these headers.
    async fn open_as(&mut self, headers: &[(&str, &str)], revision: Revision) -> String {
        let body = initialize(revision);
        let child = &mut self.child;
        let (answered, ()) = tokio::join!(self.http.ask(request("POST", "/mcp", headers, &body)), async {
            child.next().await.attached();
            let (origin, _) = child.next().await.sent();
            child.initialized(origin, revision);
        });
        assert_eq!(answered.status, StatusCode::OK);
        answered.header("mcp-session-id").to_owned()
    }
}

fn initialize(revision: Revision) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{{"sampling":{{}}}},"clientInfo":{{"name":"t","version":"1"}}}}}}"#
    )
}

impl Answered {
    fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The next chunk of the body; none at its end.
    async fn chunk(&mut self) -> Option<String> {
        let frame =
            tokio::time::timeout(Duration::from_secs(3600), self.body.frame()).await.expect("within an hour")?;
        let Ok(frame) = frame;
        Some(String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text"))
    }

    /// What is left of the body.
    async fn rest(mut self) -> String {
        let mut rest = String::new();
        while let Some(chunk) = self.chunk().await {
            rest.push_str(&chunk);
        }
        rest
    }

    /// The body as JSON, which its `Content-Type` has to announce.
    async fn json(self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_str(&self.rest().await).expect("JSON")
    }

    /// Status and `error.data.kind`.
    async fn kind(self) -> (u16, String) {
        let status = self.status.as_u16();
        let body = self.json().await;
        assert_eq!(body["jsonrpc"], "2.0");
        (status, body["error"]["data"]["kind"].as_str().expect("a kind").to_owned())
    }
}
