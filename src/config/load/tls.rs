//! The flags of TLS, which belong together. Their files are read by whoever uses them, who reads them again later.

use std::path::PathBuf;

use super::Reader;
use crate::cli::Cli;
use crate::config::{ClientAuth, ClientCaConfig, TlsConfig, values};

/// Whether connections are encrypted, and with what. None means that a problem was recorded.
pub(super) fn read(cli: &Cli, reader: &mut Reader) -> Option<Option<TlsConfig>> {
    let auth = match &cli.tls_client_auth {
        Some(text) => reader.read("tls-client-auth", text, values::client_auth),
        None => Some(ClientAuth::default()),
    };
    let shown = |file: &PathBuf| file.display().to_string();
    match (&cli.tls_cert, &cli.tls_key) {
        (Some(cert), None) => {
            reader.problem("tls-cert", Some(&shown(cert)), "accompanied by --tls-key, its private key");
        }
        (None, Some(key)) => reader.problem("tls-key", Some(&shown(key)), "accompanied by --tls-cert, its certificate"),
        (None, None) => {
            if let Some(file) = &cli.tls_client_ca {
                let wanted = "absent, unless TLS is on (--tls-cert, --tls-key)";
                reader.problem("tls-client-ca", Some(&shown(file)), wanted);
            }
        }
        (Some(_), Some(_)) => {}
    }
    if let (Some(text), None) = (&cli.tls_client_auth, &cli.tls_client_ca) {
        reader.problem(
            "tls-client-auth",
            Some(text),
            "absent, unless --tls-client-ca says whose certificates are good",
        );
    }
    let auth = auth?;
    let client_ca = cli.tls_client_ca.clone().map(|file| ClientCaConfig { file, auth });
    let files = cli.tls_cert.clone().zip(cli.tls_key.clone());
    Some(files.map(|(cert, key)| TlsConfig { cert, key, client_ca }))
}
