//! TLS on the port: the certificate, the key and whom clients have to be, read from files and read again when asked to.
//!
//! Separate from `listener`, which has the connections: what a handshake is done with is decided here. Invariants: a
//! connection is served with what stood in the files when it came; files that cannot be used change nothing; no part of a
//! key is in a log or an error.

mod certificate;
mod files;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{
    ClientCertVerifierBuilder, NoServerSessionStorage, ServerConfig, ServerConnection, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tracing::{info, warn};

pub use self::files::Fault;

use self::certificate::Validity;
use crate::config::{ClientAuth, ClientCaConfig, TlsConfig};
use crate::error::StartupError;
use crate::http::peer::{ClientCertificate, TlsPeer};

/// What handshakes are done with.
#[derive(Debug)]
pub struct Tls {
    files: TlsConfig,
    current: Mutex<Arc<ServerConfig>>,
}

/// Which file cannot be used for TLS, and why.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {} cannot be used", file.display())]
pub struct TlsError {
    /// The flag that names the file, such as `--tls-cert`.
    pub flag: &'static str,
    /// The file.
    pub file: PathBuf,
    /// Why.
    #[source]
    pub fault: Fault,
}

impl From<TlsError> for StartupError {
    fn from(TlsError { flag, file, fault }: TlsError) -> Self {
        Self::File { flag, file, source: Box::new(fault) }
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(files: TlsConfig) -> Result<Self, TlsError> {
        let current = Mutex::new(read(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again. Connections that come from now on are served with what they hold; those that are open go on
    /// as they are, with the certificates of both sides that they began with.
    ///
    /// # Errors
    /// The first file that cannot be used. Nothing has changed then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let next = read(&self.files)?;
        *self.current() = next;
        Ok(())
    }

    /// Its files.
    pub fn files(&self) -> Vec<PathBuf> {
        let TlsConfig { cert, key, client_ca } = &self.files;
        [cert, key].into_iter().chain(client_ca.as_ref().map(|client_ca| &client_ca.file)).cloned().collect()
    }

    /// What the next handshake is done with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current())
    }

    fn current(&self) -> MutexGuard<'_, Arc<ServerConfig>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a connection's handshake has shown of the client.
pub(super) fn peer(connection: &ServerConnection) -> TlsPeer {
    let first = connection.peer_certificates().and_then(|chain| chain.first());
    TlsPeer { certificate: first.map_or(ClientCertificate::None, |der| client_certificate(der)) }
}

/// What a client's certificate (DER) says of whom it is for, and until when. That it may be believed is not found out here.
pub fn client_certificate(der: &[u8]) -> ClientCertificate {
    let until = certificate::validity(der).map(|Validity { from: _, until }| until.at);
    match (certificate::subject(der), until) {
        (Some(subject), Some(until)) => ClientCertificate::Named { subject, until },
        // One whose end cannot be told is nobody's either.
        (None, until) | (Some(_), until @ None) => ClientCertificate::Unnamed { until },
    }
}

fn read(files: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let TlsConfig { cert, key, client_ca } = files;
    let of_cert = |fault| TlsError { flag: CERT, file: cert.clone(), fault };
    let of_key = |fault| TlsError { flag: KEY, file: key.clone(), fault };
    let provider = Arc::new(ring::default_provider());

    let chain = files::certificates(cert).map_err(of_cert)?;
    let validity = chain.first().and_then(|first| certificate::validity(first));
    let signing_key = files::private_key(key).map_err(of_key)?;
    let signing_key = provider.key_provider.load_private_key(signing_key).map_err(|_| of_key(Fault::KeyUnusable))?;
    let certified = CertifiedKey::new(chain, signing_key);
    match certified.keys_match() {
        // Unknown: the kind of key does not tell.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => return Err(of_key(Fault::KeyOfAnother { cert: cert.clone() })),
        Err(error) => return Err(of_cert(Fault::Certificate(error))),
    }

    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(|error| of_cert(Fault::Tls(error)))?;
    let config = match client_ca {
        None => config.with_no_client_auth(),
        Some(ClientCaConfig { file, auth }) => {
            let of_ca = |fault| TlsError { flag: CLIENT_CA, file: file.clone(), fault };
            let roots = Arc::new(files::authorities(file).map_err(of_ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => ClientCertVerifierBuilder::allow_unauthenticated(verifier),
            };
            config.with_client_cert_verifier(verifier.build().map_err(|error| of_ca(Fault::Verifier(error)))?)
        }
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    if client_ca.is_none() {
        // In the client's keeping, so that it takes no room here. Its keys are new ones each time the files are read.
        config.ticketer = ring::Ticketer::new().map_err(|error| of_cert(Fault::Tls(error)))?;
    } else {
        // A resumed session would not be asked for a certificate again, which may have expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    tell(files, validity);
    Ok(Arc::new(config))
}

/// Says in the log what will be used, and what of it an operator should look at.
fn tell(files: &TlsConfig, validity: Option<Validity>) {
    let cert = files.cert.display();
    match validity {
        Some(Validity { from, until }) => {
            let now = SystemTime::now();
            if until.at < now {
                warn!(file = %cert, expired = %until, "the TLS certificate has expired: clients will refuse it");
            } else if from.at > now {
                warn!(file = %cert, valid_from = %from, "the TLS certificate is not valid yet: clients will refuse it");
            } else {
                info!(file = %cert, expires = %until, "TLS certificate read");
            }
        }
        None => info!(file = %cert, "TLS certificate read"),
    }
    if files::is_open_to_others(&files.key) {
        let file = files.key.display();
        warn!(%file, "every user of this machine can get at the TLS key: take the right away (chmod o= on the file)");
    }
}

/// HTTP/2, as ALPN calls it (RFC 9113, 3.1).
pub(super) const HTTP2: &[u8] = b"h2";

const CERT: &str = "--tls-cert";
const KEY: &str = "--tls-key";
const CLIENT_CA: &str = "--tls-client-ca";
