//! The HTTP side: who may ask, what is asked for, and an answer for everything.
//!
//! One file for each transport (`streamable`, `legacy_sse`) and for the modern era (`modern`); `request` reads what a client sent and refuses, [`body`]
//! is what it gets. [`Http`] puts them on their paths. Errors are JSON-RPC errors in JSON, whatever went wrong.
//!
//! Invariant: [`Http::handle`] always answers; what it waits for has a bound, save a request's own answer.
//!
//! Spec: 2026-07-28, Streamable HTTP; 2025-11-25, Transports; 2024-11-05, Transports, HTTP with SSE.

pub mod body;
mod entrance;
mod forwarded;
pub mod guard;
pub mod health;
mod legacy_sse;
pub mod listener;
mod listing;
mod modern;
mod observe;
pub mod peer;
mod place;
mod request;
pub mod sse;
pub mod status_page;
mod streamable;
#[cfg(test)]
mod tests;
pub mod tls;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use tokio::time::Instant;
use tracing::debug;

use self::body::Body;
use self::entrance::NotAdmitted;
use self::forwarded::Way;
use self::guard::Guard;
use self::observe::{Exchange, HttpAsked, Passage};
use self::peer::Peer;
use self::place::Place;
pub use self::place::mount;
use self::request::{EVENT_STREAM, Refusal};
use self::status_page::{DATA_PATH, Desk, Door, METRICS_PATH};
use crate::auth::{Admission, Authenticator};
use crate::config::HttpConfig;
use crate::error::Reject;
use crate::metrics;
use crate::pool::Tenant;
use crate::servers::{Servers, Visit};
use crate::status::Status;

/// Whom a request is from.
#[derive(Debug)]
struct Caller {
    /// What its credentials are worth.
    admission: Admission,
    /// How it came.
    way: Way,
}

/// Answers HTTP requests.
#[derive(Debug)]
pub struct Http {
    config: HttpConfig,
    guard: Guard,
    authenticator: Arc<Authenticator>,
    servers: Arc<Servers>,
    /// What the status page shows; without it there is none.
    status: Option<Arc<Status>>,
    desk: Desk,
}

/// One server, as a request has reached it.
#[derive(Debug)]
struct Endpoint<'a> {
    http: &'a Http,
    service: Visit,
    /// What stands before the endpoint's own path; empty, or with a slash at its beginning and none at its end.
    mount: &'a str,
}

impl Http {
    /// In front of `servers`.
    pub fn new(
        config: HttpConfig,
        guard: Guard,
        authenticator: Arc<Authenticator>,
        servers: Arc<Servers>,
    ) -> Arc<Self> {
        Arc::new(Self { config, guard, authenticator, servers, status: None, desk: Desk::AmongClients })
    }

    /// As [`Http::new`], with a status page at that desk.
    pub fn with_status(
        config: HttpConfig,
        guard: Guard,
        authenticator: Arc<Authenticator>,
        servers: Arc<Servers>,
        (status, desk): (Arc<Status>, Desk),
    ) -> Arc<Self> {
        Arc::new(Self { config, guard, authenticator, servers, status: Some(status), desk })
    }

    /// As [`Http::handle_at`] where clients come in.
    ///
    /// # Cancel safety
    /// As [`Http::handle_at`].
    pub fn handle<B>(self: Arc<Self>, request: Request<B>, peer: Arc<Peer>) -> impl Future<Output = Response<Body>>
    where
        B: HttpBody<Data = Bytes>,
    {
        self.handle_at(Door::Clients, request, peer)
    }

    /// Answers one request that came in on the connection with `peer`, at that door.
    ///
    /// # Cancel safety
    /// Cancelled (the client hung up), a message that was not handed over to the child yet is not; one that was takes
    /// its course, unless the exchange is stateless.
    pub fn handle_at<B>(
        self: Arc<Self>,
        door: Door,
        request: Request<B>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Response<Body>>
    where
        B: HttpBody<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        async move {
            let mut body = pin!(body);
            let response = self.respond(&parts, body.as_mut(), &peer, door).await;
            let status = response.status();
            // One whose body did not come in time is not waited for again, if it can be helped.
            let late = status == StatusCode::REQUEST_TIMEOUT && parts.version != Version::HTTP_2;
            if !status.is_success() && !late && loses_its_response(&parts) {
                drain(body).await;
            }
            // In HTTP/1.1 hyper leaves it out by itself.
            if parts.method == Method::HEAD && parts.version == Version::HTTP_2 { head_of(response) } else { response }
        }
    }

    async fn respond<B>(&self, request: &Parts, body: Pin<&mut B>, peer: &Peer, door: Door) -> Response<Body>
    where
        B: HttpBody<Data = Bytes>,
    {
        if request.version == Version::HTTP_2
            && let Err(reject) = check_head(request, &self.config)
        {
            return Refusal::from(reject).into_response();
        }
        let way = Way::of(&self.config.forwarded, peer, &request.headers);
        let path = request.uri.path();
        // Client configurations often carry a slash too many.
        let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
        let (since, asked, client) = (Instant::now(), self.asked(&request.method, path), way.client);
        let passage = |principal| Passage { asked, client, principal, server: None, session: None, since };
        let (headers, uri, host) = (&request.headers, &request.uri, way.host.as_deref());
        let local = peer.local_ip();
        let checked = match self.is_for_operators(door, path) {
            true => self.guard.check_own(headers, uri, local, host),
            false => self.guard.check(headers, uri, local, host),
        };
        let cors = match checked {
            Ok(cors) => cors,
            Err(reject) => {
                debug!(kind = reject.wire().kind, "request refused by the guard");
                let kind = reject.wire().kind;
                let response = Refusal::from(reject).into_response();
                passage(None).refused(&response, kind);
                return response;
            }
        };
        if request.method == Method::OPTIONS {
            return self.guard.preflight(&cors, &request.headers).map(|()| Body::empty());
        }
        let has_status = self.has_status(door, peer, &request.headers);
        let page = if has_status { self.page(door, path, request) } else { None };
        let answered = match page.or_else(|| self.open_to_all(path, request, &way)) {
            Some(answered) => answered,
            None => match self.enter(request, peer, &way).await {
                Ok(caller) => {
                    let caller = Caller { admission: caller, way };
                    let answered = match path {
                        DATA_PATH if has_status => self.status_data(request).await,
                        METRICS_PATH if self.has_metrics(door) => metrics(request),
                        "/servers" => self.list_servers(&request.method),
                        _ if door == Door::Operators => Err(Reject::NotFound.into()),
                        _ => self.route(path, request, body, &caller, &passage(None)).await,
                    };
                    answered.or_else(|refusal| Ok(refuse(refusal, &passage(Some(&caller.admission.principal)))))
                }
                Err(refused) => {
                    let NotAdmitted { response, kind, principal } = *refused;
                    passage(principal.as_ref()).refused(&response, kind);
                    Ok(response)
                }
            },
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(refusal) => {
                debug!(kind = refusal.reject.wire().kind, reason = %refusal.reject, "request refused");
                refusal.into_response()
            }
        };
        cors.apply(response.headers_mut());
        response
    }

    /// What is asked for, in words of mcp-mux's own.
    fn asked(&self, method: &Method, path: &str) -> HttpAsked {
        const METHODS: [&str; 6] = ["GET", "POST", "DELETE", "OPTIONS", "HEAD", "PUT"];
        let http_method = METHODS.into_iter().find(|known| method == known).unwrap_or("other");
        let HttpConfig { path: streamable, sse_path, message_path, .. } = &self.config;
        let endpoint = match Place::of(path).path {
            path if path == streamable => "mcp",
            path if path == sse_path => "sse",
            path if path == message_path => "messages",
            METRICS_PATH => "metrics",
            "/servers" => "servers",
            "/" | DATA_PATH => "status",
            "/healthz" | "/readyz" => "health",
            _ => "other",
        };
        HttpAsked { http_method, endpoint }
    }

    /// What nobody has to authenticate for; none for anything else.
    fn open_to_all(&self, path: &str, request: &Parts, way: &Way) -> Option<Result<Response<Body>, Refusal>> {
        match path {
            "/healthz" => Some(health(&request.method, health::healthz)),
            "/readyz" => Some(health(&request.method, || health::readyz(self.servers.health()))),
            _ if !matches!(request.method, Method::GET | Method::HEAD) => None,
            _ => self.resource_metadata(path, request, way).map(Ok),
        }
    }

    fn list_servers(&self, method: &Method) -> Result<Response<Body>, Refusal> {
        get(method, || request::json(StatusCode::OK, listing::listing(&self.servers, &self.config)))
    }
}

impl Endpoint<'_> {
    async fn route<B>(
        &self,
        path: &str,
        request: &Parts,
        body: Pin<&mut B>,
        caller: &Caller,
        exchange: Exchange,
    ) -> Result<Response<Body>, Refusal>
    where
        B: HttpBody<Data = Bytes>,
    {
        let HttpConfig { path: streamable, sse_path, .. } = &self.http.config;
        if path == streamable {
            return self.streamable(request, body, caller, exchange).await;
        }
        match (path == sse_path, &request.method) {
            (true, &Method::GET) => self.open_legacy(&request.headers, caller),
            (true, _) => Err(Reject::MethodNotAllowed("GET").into()),
            (false, &Method::POST) => self.post_legacy(request, body, caller, exchange).await,
            (false, _) => Err(Reject::MethodNotAllowed("POST").into()),
        }
    }

    /// Who needs a child, by the headers of a session's first request.
    fn tenant(&self, headers: &HeaderMap, caller: &Caller) -> Result<Tenant, Reject> {
        self.service.pool.tenant(&caller.admission, headers)
    }
}

/// Answers GET and HEAD.
fn get(method: &Method, answer: impl FnOnce() -> Response<Body>) -> Result<Response<Body>, Refusal> {
    if method != Method::GET && method != Method::HEAD {
        return Err(Reject::MethodNotAllowed("GET, HEAD").into());
    }
    Ok(answer())
}

fn health(method: &Method, report: impl FnOnce() -> (StatusCode, String)) -> Result<Response<Body>, Refusal> {
    get(method, || {
        let (status, text) = report();
        request::json(status, Bytes::from(text))
    })
}

fn metrics(request: &Parts) -> Result<Response<Body>, Refusal> {
    get(&request.method, || {
        let format = metrics::Format::accepted(request.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
        let mut response = Response::new(Body::from(Bytes::from(metrics::render_as(format))));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
}

/// The response to a request that is refused.
fn refuse(refusal: Refusal, passage: &Passage<'_>) -> Response<Body> {
    let (kind, seen) = (refusal.reject.wire().kind, refusal.seen);
    debug!(kind, reason = %refusal.reject, "request refused");
    let response = refusal.into_response();
    if !seen {
        passage.refused(&response, kind);
    }
    response
}

/// A head that is too large for HTTP/1.1 never gets here; that of HTTP/2 is seen when it is whole.
fn check_head(request: &Parts, config: &HttpConfig) -> Result<(), Reject> {
    let headers = &request.headers;
    if headers.len() > config.headers_max.get() {
        return Err(Reject::TooManyHeaders { limit: config.headers_max.get() }.counted());
    }
    let path = request.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    if path + fields.sum::<usize>() > config.header_bytes_max {
        return Err(Reject::HeadTooLarge { limit: config.header_bytes_max }.counted());
    }
    Ok(())
}

/// What answers HEAD: the same, but for the body (RFC 9110, 9.3.2).
fn head_of(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

/// Whether a request that is refused before its body was read may lose the response: in HTTP/2 always; in HTTP/1.1 the connection
/// is closed, and with much unread the system tells the client that, and not what was said before.
fn loses_its_response(request: &Parts) -> bool {
    let length = request.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let unsent = request.headers.contains_key(EXPECT);
    request.version == Version::HTTP_2 || (length.is_none_or(|length| length > UNREAD_BYTES_MAX) && !unsent)
}

/// Reads on what is left of a body whose request was refused. In HTTP/2 a response that ends before its request resets the
/// request's stream, which is right (RFC 9113, 8.1), but makes common clients lose the response.
async fn drain<B>(mut body: Pin<&mut B>)
where
    B: HttpBody<Data = Bytes>,
{
    let mut left = DRAIN_BYTES_MAX;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => left,
                None => break,
            };
        }
    };
    // A client that is slower than this has to do without.
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, read).await;
}

/// What hyper reads by itself, about.
const UNREAD_BYTES_MAX: u64 = 8 * 1024;
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// A response that is an event stream.
fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies such as nginx would hold events back otherwise.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
