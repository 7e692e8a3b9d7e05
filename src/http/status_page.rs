//! The status page: a page for people, the same as JSON, and at which door either is to be had.
//!
//! The page itself and what belongs to it are the same for everybody and hold nothing; they are answered to whoever may reach
//! them, since a browser that opens a page cannot bring a token. What is shown comes from `/status.json`, which wants the
//! authentication that everything else wants; the page asks for a token where it has to.
//!
//! Everything is served from here and nothing from elsewhere: the headers forbid the page whatever it does not need, so that a
//! text that somebody else has written could do nothing even if it were taken for markup.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};

use super::body::Body;
use super::peer::{Peer, Reach};
use super::request::Refusal;
use super::{Http, request};
use crate::error::Reject;

/// At what a request has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// What is listened on for clients.
    Clients,
    /// What is listened on for operators alone (`--admin`).
    Operators,
}

/// Where operators find what is theirs: the status page and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desk {
    /// At a door of their own, and nowhere else.
    Apart,
    /// Where clients come in: the metrics for everybody, the status page where this machine alone can reach it.
    AmongClients,
}

/// A part of the page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 6] = [
    Asset { path: "/", content_type: "text/html; charset=utf-8", text: include_str!("page/page.html") },
    Asset { path: "/status/page.css", content_type: "text/css; charset=utf-8", text: include_str!("page/page.css") },
    Asset { path: "/status/page.js", content_type: JAVASCRIPT, text: include_str!("page/page.js") },
    Asset { path: "/status/charts.js", content_type: JAVASCRIPT, text: include_str!("page/charts.js") },
    Asset { path: "/status/icon.svg", content_type: "image/svg+xml", text: include_str!("page/icon.svg") },
    Asset { path: "/status/trouble.svg", content_type: "image/svg+xml", text: include_str!("page/trouble.svg") },
];
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// The metrics.
pub(super) const METRICS_PATH: &str = "/metrics";
/// What is shown, as JSON.
pub(super) const DATA_PATH: &str = "/status.json";

/// What proxies add, each in its own way.
const PASSED_ON: [&str; 10] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
];

/// Whether a proxy says that it has passed the request on.
fn was_passed_on(headers: &HeaderMap) -> bool {
    PASSED_ON.iter().any(|name| headers.contains_key(*name))
}

impl Http {
    /// Whether the status page is to be had for who came like this.
    pub(super) fn has_status(&self, door: Door, peer: &Peer, headers: &HeaderMap) -> bool {
        self.status.is_some()
            && match (door, self.desk) {
                (Door::Operators, _) => true,
                (Door::Clients, Desk::Apart) => false,
                (Door::Clients, Desk::AmongClients) => {
                    peer.reach == Reach::Machine && !self.is_behind_a_proxy() && !was_passed_on(headers)
                }
            }
    }

    /// Whether it is configured to have one in front. All that comes from there comes from this machine, perhaps.
    fn is_behind_a_proxy(&self) -> bool {
        !self.config.forwarded.trusted.is_empty() || self.config.public_url.is_some()
    }

    /// Whether the metrics are.
    pub(super) fn has_metrics(&self, door: Door) -> bool {
        door == Door::Operators || self.desk == Desk::AmongClients
    }

    /// Whether what is at that path is for operators alone, if it is there.
    pub(super) fn is_for_operators(&self, door: Door, path: &str) -> bool {
        let of_desk = || path == METRICS_PATH || path == DATA_PATH || ASSETS.iter().any(|asset| asset.path == path);
        door == Door::Operators || (of_desk() && !self.is_endpoint(path))
    }

    fn is_endpoint(&self, path: &str) -> bool {
        [&self.config.path, &self.config.sse_path, &self.config.message_path]
            .into_iter()
            .any(|endpoint| endpoint == path)
    }

    /// The part of the page at that path; none if there is none.
    pub(super) fn page(&self, door: Door, path: &str, request: &Parts) -> Option<Result<Response<Body>, Refusal>> {
        // Whoever wants a transport at a path of these is to have it.
        if door == Door::Clients && self.is_endpoint(path) {
            return None;
        }
        let asset = ASSETS.iter().find(|asset| asset.path == path)?;
        Some(only_looks(&request.method).map_err(Refusal::from).map(|()| {
            let mut response = Response::new(Body::from(Bytes::from_static(asset.text.as_bytes())));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
            protected(response)
        }))
    }

    /// What the page shows.
    pub(super) async fn status_data(&self, request: &Parts) -> Result<Response<Body>, Refusal> {
        only_looks(&request.method)?;
        let status = self.status.as_ref().ok_or(Reject::NotFound)?;
        let query = request.uri.query().unwrap_or_default();
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let since = value("since").and_then(|since| since.parse().ok()).unwrap_or(0);
        // A server's name needs no encoding.
        let server = value("server").filter(|name| !name.is_empty());
        let text = status.json(server, since).await;
        Ok(protected(request::json(http::StatusCode::OK, Bytes::from(text))))
    }
}

fn only_looks(method: &Method) -> Result<(), Reject> {
    if matches!(*method, Method::GET | Method::HEAD) { Ok(()) } else { Err(Reject::MethodNotAllowed("GET, HEAD")) }
}

/// With what a browser is told of how far to trust it.
fn protected(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
