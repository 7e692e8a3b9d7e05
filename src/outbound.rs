//! Connections to others: whom they trust, and that nothing of them outlives the program.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use tracing::debug;

/// Connects over https and http, or gives up in time.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    https: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

/// There is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no connection within {} s", .0.as_secs_f32())]
struct TooSlow(Duration);

/// One that trusts these roots, and takes no longer than `timeout` for a connection, its TLS handshake included.
pub(crate) fn connector(roots: RootCertStore, timeout: Duration) -> Connector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(timeout));
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls(roots)).https_or_http().enable_http1();
    Connector { https: connector.wrap_connector(http), timeout }
}

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let (connecting, limit) = (self.https.call(target), self.timeout);
        Box::pin(async move { timeout(limit, connecting).await.map_err(|_| TooSlow(limit))? })
    }
}

/// What is wrong with the certificate of the server, if that is why there is no connection.
pub(crate) fn certificate_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
            return Some(why);
        }
        // An `io::Error` skips what is in it.
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = within.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// Those whom the system trusts, or SSL_CERT_FILE and SSL_CERT_DIR.
pub(crate) async fn system_roots(tracker: &TaskTracker) -> RootCertStore {
    // They are files.
    tracker.spawn_blocking(read_system_roots).await.unwrap_or_else(|_| RootCertStore::empty())
}

/// The tasks of connections are on the tracker too.
#[derive(Clone, Debug)]
pub(crate) struct Tracked(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

fn tls(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.expect("ring has the cipher suites of TLS 1.2 and 1.3");
    versions.with_root_certificates(roots).with_no_client_auth()
}

fn read_system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        debug!(%error, "a root certificate cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    debug!(added, ignored, "root certificates of the system");
    roots
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_handshake_that_hangs_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("https://{}/", listener.local_addr().expect("bound")).parse().expect("a URL");
        let mut connector = connector(RootCertStore::empty(), Duration::from_millis(50));
        let failed = connector.call(url).await.map(|_| ()).expect_err("nobody answers");
        assert_eq!(failed.to_string(), "no connection within 0.05 s");
    }
}
