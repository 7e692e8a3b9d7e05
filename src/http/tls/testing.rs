//! Certificates, files and clients for tests.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use crate::config::{ClientAuth, ClientCaConfig, TlsConfig};

/// Who issues certificates.
pub(in crate::http) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
pub(in crate::http) struct Identity {
    pub(in crate::http) cert: String,
    pub(in crate::http) key: String,
}

impl Authority {
    pub(in crate::http) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(in crate::http) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(in crate::http) fn issue(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        Identity { cert: params.signed_by(&key, issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A certificate for a server on this machine; `serial` tells it from others.
    pub(in crate::http) fn server(&self, serial: u64) -> Identity {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.serial_number = Some(serial.into());
        self.issue(&params)
    }

    /// A certificate for a client.
    pub(in crate::http) fn client(&self, common_name: &str) -> Identity {
        self.issue(&named(common_name))
    }

    /// A client that trusts this authority.
    pub(in crate::http) fn connector(&self, client: Client<'_>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_protocol_versions(&[client.version]).unwrap().with_root_certificates(roots);
        let mut config = match client.identity {
            None => config.with_no_client_auth(),
            Some(Identity { cert, key }) => {
                let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        config.alpn_protocols = client.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// What a client is like.
#[derive(Clone, Copy)]
pub(in crate::http) struct Client<'a> {
    pub(in crate::http) version: &'static SupportedProtocolVersion,
    pub(in crate::http) alpn: &'a [&'a str],
    pub(in crate::http) identity: Option<&'a Identity>,
}

impl Default for Client<'_> {
    fn default() -> Self {
        Self { version: &version::TLS13, alpn: &[], identity: None }
    }
}

/// Someone without any other name.
pub(in crate::http) fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// The files of a server, in a folder of their own.
pub(in crate::http) struct Files {
    pub(in crate::http) folder: TempDir,
}

impl Files {
    pub(in crate::http) fn of(identity: &Identity) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.replace(identity);
        files
    }

    pub(in crate::http) fn replace(&self, identity: &Identity) {
        self.write("cert.pem", &identity.cert);
        self.write("key.pem", &identity.key);
    }

    pub(in crate::http) fn write(&self, name: &str, content: &str) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    pub(in crate::http) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(in crate::http) fn config(&self) -> TlsConfig {
        TlsConfig { cert: self.path("cert.pem"), key: self.path("key.pem"), client_ca: None }
    }

    /// With the clients of `authority`.
    pub(in crate::http) fn config_with(&self, authority: &Authority, auth: ClientAuth) -> TlsConfig {
        let file = self.write("ca.pem", &authority.pem());
        TlsConfig { client_ca: Some(ClientCaConfig { file, auth }), ..self.config() }
    }
}
