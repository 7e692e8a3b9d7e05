//! PEM files: what is taken from them, and what can be wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use memchr::memmem;
use tokio_rustls::rustls;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError};

use super::certificate::is_before_version_3;

/// Why a file cannot be used for TLS. Never says a word of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Reading it failed.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It is too large to be what it should be.
    #[error("it is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// It begins like PEM, and goes on like something else.
    #[error("it is damaged: what stands between a `-----BEGIN` line and its `-----END` line cannot be read")]
    Pem,
    /// There is no certificate in it.
    #[error("it holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    /// There is no private key in it.
    #[error("it holds no private key in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    NoKey,
    /// The private key is encrypted.
    #[error("its private key is encrypted: decrypt it with `openssl pkey -in FILE -out NEW-FILE`")]
    KeyEncrypted,
    /// The private key is not one that TLS can be done with.
    #[error("its private key cannot be used: it must be RSA (2048 bits or more), ECDSA (P-256, P-384) or Ed25519")]
    KeyUnusable,
    /// The private key is not that of the certificate.
    #[error("its private key does not belong to the first certificate of {} (--tls-cert)", cert.display())]
    KeyOfAnother {
        /// The file of the certificate.
        cert: PathBuf,
    },
    /// A certificate is of a version without what TLS looks at.
    #[error(
        "a certificate in it is of X.509 version 1 or 2; it must be version 3 (`openssl x509 -req` needs `-extfile`)"
    )]
    CertificateOld,
    /// A certificate cannot be understood.
    #[error("a certificate in it cannot be used")]
    Certificate(#[source] rustls::Error),
    /// Client certificates cannot be checked with it.
    #[error("client certificates cannot be checked with it")]
    Verifier(#[source] VerifierBuilderError),
    /// TLS cannot be done at all.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// The certificates in a file, in their order; at least one.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let content = read(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let chain = chain.map_err(|error| damaged(&error, Fault::NoCertificate))?;
    if chain.is_empty() {
        return Err(Fault::NoCertificate);
    }
    for certificate in &chain {
        ParsedCertificate::try_from(certificate).map_err(|error| {
            if is_before_version_3(certificate) { Fault::CertificateOld } else { Fault::Certificate(error) }
        })?;
    }
    Ok(chain)
}

/// The first private key in a file.
pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let content = read(file)?;
    // In PKCS #8, and as OpenSSL once did it.
    let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|sign| memmem::find(&content, sign).is_some()) {
        return Err(Fault::KeyEncrypted);
    }
    PrivateKeyDer::from_pem_slice(&content).map_err(|error| damaged(&error, Fault::NoKey))
}

/// The certificate authorities in a file.
pub(super) fn authorities(file: &Path) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(Fault::Certificate)?;
    }
    Ok(roots)
}

/// Whether users that are neither the file's owner nor of its group may do anything with it.
pub(super) fn is_open_to_others(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0)
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    let mut content = Vec::new();
    // One more than is allowed, to see whether there is more.
    let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content));
    read.map_err(Fault::Read)?;
    if u64::try_from(content.len()).is_ok_and(|bytes| bytes <= FILE_BYTES_MAX) {
        Ok(content)
    } else {
        Err(Fault::TooLarge)
    }
}

/// The error itself quotes the file.
fn damaged(error: &pem::Error, nothing: Fault) -> Fault {
    if matches!(error, pem::Error::NoItemsFound) { nothing } else { Fault::Pem }
}

/// A bundle of every public authority has a quarter of a megabyte.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
