//! A server across the network: connections, credentials, redirects.
//!
//! Invariant: a request goes to the origin of the URL and to no other. So do the credentials.
//!
//! Spec: RFC 9110, 15.4 (redirects); RFC 6750, 2.1 (the token).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use rustls::{CertificateError, RootCertStore};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::place::refer;
use super::service::{AnswerBody, Answering, Broken, Failure, Reached, Service};
use crate::config::RemoteConfig;
use crate::outbound::{Connector, Tracked, certificate_error, connector};
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
    /// Where the server has said that something is.
    moved: Mutex<BTreeMap<String, Uri>>,
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
            .build(connector(roots, config.retry_timeout.clamp(CONNECT_TIMEOUT_MIN, CONNECT_TIMEOUT)));
        let (headers, moved, tracker) = (config.headers.clone(), Mutex::default(), tracker.clone());
        Self(Arc::new(Inner { client, has_roots, headers, token, moved, tracker }))
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
        let asked = request.uri().clone();
        if request.uri().scheme_str() == Some("https") && !self.has_roots {
            return Err(refused(
                "there is no root certificate to check its own with: install the system's, or name a file in SSL_CERT_FILE",
            ));
        }
        request.headers_mut().extend(self.headers.clone());
        if let Some(target) = self.moved(&asked) {
            *request.uri_mut() = target;
        }
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
                if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) || status.is_server_error() {
                    // The next one asks again where to go.
                    self.forget_move(&asked);
                }
                return Ok(answer.map(|body| body.map_err(|error| Broken(with_sources(&error))).boxed_unsync()));
            }
            let place = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
            let Some(place) = place else {
                return Err(refused(&format!("it answers with a redirect ({status}) that does not say where to")));
            };
            let named: String = place.chars().take(PLACE_CHARACTERS_MAX).collect();
            let Some(target) = refer(request.uri(), place) else {
                let what =
                    format!("it answers with a redirect ({status}) to another origin, which is not followed: {named}");
                return Err(refused(&what));
            };
            let keeps_method = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            if !keeps_method && request.method() != Method::GET {
                let method = request.method();
                let what = format!(
                    "it redirects a {method} with {status}, which is not followed (only 307 and 308 are), to {named}"
                );
                return Err(refused(&what));
            }
            redirects += 1;
            if redirects > REDIRECTS_MAX {
                return Err(refused(&format!("it answers with too many redirects, the last of them to {named}")));
            }
            debug!(%status, "redirect within the origin");
            if keeps_method {
                self.remember_move(&asked, &target);
            }
            *request.uri_mut() = target;
        }
    }

    fn moved(&self, asked: &Uri) -> Option<Uri> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).get(&asked.to_string()).cloned()
    }

    fn remember_move(&self, asked: &Uri, target: &Uri) {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.to_string();
        if moved.len() < MOVES_MAX || moved.contains_key(&asked) {
            moved.insert(asked, target.clone());
        }
    }

    fn forget_move(&self, asked: &Uri) {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).remove(&asked.to_string());
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
    if let Some(why) = certificate_error(error) {
        let why = if *why == CertificateError::UnknownIssuer {
            "none of the authorities known here has issued it (SSL_CERT_FILE names a file of others)".to_owned()
        } else {
            why.to_string()
        };
        return Failure { what: format!("its certificate is not trusted: {why}"), reached: Reached::Refused };
    }
    let reached = if error.is_connect() { Reached::Nobody } else { Reached::Perhaps };
    Failure { what: with_sources(error), reached }
}

/// The most time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What it gets at least, however short `--retry-timeout` is.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_secs(2);
/// As much of where a redirect leads to is told.
const PLACE_CHARACTERS_MAX: usize = 200;
/// So many places are remembered to be elsewhere.
const MOVES_MAX: usize = 16;
/// Servers close connections that nobody uses; most wait longer than this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
const REDIRECTS_MAX: usize = 5;
const TOKEN_BYTES_MAX: u64 = 64 * 1024;
