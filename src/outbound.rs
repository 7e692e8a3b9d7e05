//! Connections to others: whom they trust, and that nothing of them outlives the program.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};
use tokio_util::task::TaskTracker;
use tracing::debug;

/// Connects over https and http.
pub(crate) type Connector = HttpsConnector<HttpConnector>;

/// One that trusts these roots, and takes no longer than `timeout` to reach an address.
pub(crate) fn connector(roots: RootCertStore, timeout: Duration) -> Connector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(timeout));
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls(roots)).https_or_http().enable_http1();
    connector.wrap_connector(http)
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
