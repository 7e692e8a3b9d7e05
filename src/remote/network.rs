//! A server across the network: connections, credentials, redirects.
//!
//! Invariant: a request goes to the origin of the URL and to no other. So do the credentials.
//!
//! Spec: RFC 9110, 15.4 (redirects); RFC 6750, 2.1 (the token).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use rustls::RootCertStore;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::place::refer;
use super::service::{AnswerBody, Answering, Broken, Failure, Reached, Service};
use crate::config::RemoteConfig;
use crate::outbound::{Connector, Tracked, connector};
use crate::telemetry::with_sources;

/// Sends requests across the network.
#[derive(Clone, Debug)]
pub(crate) struct Network(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: legacy::Client<Connector, Full<Bytes>>,
    has_roots: bool,
    headers: HeaderMap,
    token: Option<Token>,
    tracker: TaskTracker,
}

/// The token, and where it is.
#[derive(Debug)]
pub(crate) struct Token {
    file: PathBuf,
    /// `Bearer …`.
    header: Mutex<HeaderValue>,
}

impl Token {
    /// Reads it.
    ///
    /// # Errors
    /// The file cannot be read, or what is in it is no token.
    pub(crate) fn read(file: &Path) -> io::Result<Self> {
        Ok(Self { file: file.to_owned(), header: Mutex::new(read_token(file)?) })
    }

    fn header(&self) -> HeaderValue {
        self.header.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read_token(file: &Path) -> io::Result<HeaderValue> {
    let mut text = String::new();
    File::open(file)?.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "it must hold one token, in one line");
    let token = text.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let header = is_token.then(|| HeaderValue::from_str(&format!("Bearer {token}")).ok()).flatten();
    let mut header = header.ok_or_else(invalid)?;
    header.set_sensitive(true);
    Ok(header)
}

impl Network {
    /// One that trusts these roots. Its tasks are on the tracker.
    pub(crate) fn new(
        config: &RemoteConfig,
        token: Option<Token>,
        roots: RootCertStore,
        tracker: &TaskTracker,
    ) -> Self {
        let has_roots = !roots.is_empty();
        let mut builder = legacy::Client::builder(Tracked(tracker.clone()));
        let client = builder
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(connector(roots, CONNECT_TIMEOUT));
        Self(Arc::new(Inner { client, has_roots, headers: config.headers.clone(), token, tracker: tracker.clone() }))
    }
}

impl Service for Network {
    fn call(&self, request: Request<Bytes>) -> Answering {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.call(request).await })
    }
}

impl Inner {
    async fn call(&self, mut request: Request<Bytes>) -> Result<Response<AnswerBody>, Failure> {
        let refused = |what: &str| Failure { what: what.to_owned(), reached: Reached::Refused };
        if request.uri().scheme_str() == Some("https") && !self.has_roots {
            return Err(refused(
                "there is no root certificate to check its own with: install the system's, or name a file in SSL_CERT_FILE",
            ));
        }
        request.headers_mut().extend(self.headers.clone());
        let (mut redirects, mut renewed) = (0, false);
        loop {
            let token = self.token.as_ref().map(Token::header);
            if let Some(token) = &token {
                request.headers_mut().insert(AUTHORIZATION, token.clone());
            }
            let answer = self.client.request(request.clone().map(Full::new)).await.map_err(|error| failure(&error))?;
            let status = answer.status();
            if status == StatusCode::UNAUTHORIZED && !renewed && self.renew(token).await {
                renewed = true;
                continue;
            }
            if status == StatusCode::UNAUTHORIZED {
                warn!("the remote server wants authentication (401): see --auth-token-file");
            }
            if !redirects_to(status) {
                return Ok(answer.map(|body| body.map_err(|error| Broken(with_sources(&error))).boxed_unsync()));
            }
            let place = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
            let Some(target) = place.and_then(|place| refer(request.uri(), place)) else {
                return Err(refused("it answers with a redirect to another origin, which is not followed"));
            };
            let keeps_method = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            redirects += 1;
            if redirects > REDIRECTS_MAX || !keeps_method && request.method() != Method::GET {
                return Err(refused("it answers with a redirect that cannot be followed"));
            }
            debug!(%status, "redirect within the origin");
            *request.uri_mut() = target;
        }
    }

    /// Whether there is another token than the one that was not good.
    async fn renew(&self, old: Option<HeaderValue>) -> bool {
        let (Some(token), Some(old)) = (&self.token, old) else { return false };
        if token.header() != old {
            // Another request's answer has led to it.
            return true;
        }
        let file = token.file.clone();
        let read = self.tracker.spawn_blocking(move || read_token(&file)).await;
        match read {
            Ok(Ok(new)) if new != old => {
                info!("there is another token in --auth-token-file");
                *token.header.lock().unwrap_or_else(PoisonError::into_inner) = new;
                true
            }
            Ok(Ok(_)) | Err(_) => false,
            Ok(Err(error)) => {
                warn!(%error, "the token in --auth-token-file cannot be read again");
                false
            }
        }
    }
}

fn redirects_to(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

fn failure(error: &legacy::Error) -> Failure {
    let reached = if error.is_connect() { Reached::Nobody } else { Reached::Perhaps };
    Failure { what: with_sources(error), reached }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers close connections that nobody uses; most wait longer than this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
const REDIRECTS_MAX: usize = 5;
const TOKEN_BYTES_MAX: u64 = 64 * 1024;
