//! One document from the network, whoever is at its other end: no redirect is followed, and there is a bound for its size
//! and its time.
//!
//! Separate from what the documents mean: `discovery`, `keys`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy;
use rustls::RootCertStore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::config::jwt::SecureUrl;
use crate::outbound::{Connector, Tracked, connector, system_roots};
use crate::telemetry::with_sources;

/// Asks for documents. Made anew for each load of the keys, so that it trusts whom the system trusts at that time.
#[derive(Debug)]
pub(super) struct Client {
    inner: legacy::Client<Connector, Empty<Bytes>>,
    has_roots: bool,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) body: Bytes,
    /// For how long it is good, if it says so.
    pub(super) age_max: Option<Duration>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// There was no answer: asking the same host for something else will not help.
    #[error("no answer: {0}")]
    Unreachable(String),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Slow,
    #[error(
        "there is no root certificate to check its own with: install the system's, or name a file in SSL_CERT_FILE"
    )]
    NoRoots,
    #[error("it answers with a redirect ({0}), which is not followed")]
    Redirect(StatusCode),
    #[error("it answers with {0}")]
    Status(StatusCode),
    #[error("it answers with more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
}

impl FetchError {
    /// Whether the host itself is the problem.
    pub(super) const fn is_the_hosts(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Slow | Self::NoRoots => true,
            Self::Redirect(_) | Self::Status(_) | Self::TooLarge => false,
        }
    }
}

impl Client {
    /// One that trusts whom the system trusts, or SSL_CERT_FILE and SSL_CERT_DIR. Its tasks are on the tracker, and end
    /// with it.
    pub(super) async fn new(tracker: &TaskTracker) -> Self {
        Self::trusting(system_roots(tracker).await, tracker)
    }

    /// One that trusts these.
    pub(super) fn trusting(roots: RootCertStore, tracker: &TaskTracker) -> Self {
        let has_roots = !roots.is_empty();
        let mut builder = legacy::Client::builder(Tracked(tracker.clone()));
        Self { inner: builder.pool_max_idle_per_host(1).build(connector(roots, TIMEOUT)), has_roots }
    }

    /// Asks for a document, which should be JSON.
    ///
    /// # Errors
    /// There is none within the time and the size allowed, or what answers has something else to say.
    pub(super) async fn get(&self, url: &SecureUrl) -> Result<Document, FetchError> {
        if url.is_https() && !self.has_roots {
            return Err(FetchError::NoRoots);
        }
        timeout(TIMEOUT, self.get_at_leisure(url)).await.unwrap_or(Err(FetchError::Slow))
    }

    async fn get_at_leisure(&self, url: &SecureUrl) -> Result<Document, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url.uri().clone();
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("mcp-mux"));
        let response = self.inner.request(request).await;
        let response = response.map_err(|error| FetchError::Unreachable(with_sources(&error)))?;
        let (status, age_max) = (response.status(), age_max(response.headers()));
        if status.is_redirection() {
            return Err(FetchError::Redirect(status));
        }
        if status != StatusCode::OK {
            return Err(FetchError::Status(status));
        }
        match Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await {
            Ok(body) => Ok(Document { body: body.to_bytes(), age_max }),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
            Err(error) => Err(FetchError::Unreachable(with_sources(error.as_ref()))),
        }
    }
}

/// RFC 9111, 5.2.2.1.
fn age_max(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    directives.flat_map(|value| value.split(',')).find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        let named = name.trim().eq_ignore_ascii_case("max-age");
        named.then(|| seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs))?
    })
}

const TIMEOUT: Duration = Duration::from_secs(10);
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
