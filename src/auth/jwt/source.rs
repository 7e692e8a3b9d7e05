//! The places that keys are loaded from: an issuer on the network, or a file.

use std::fs::File;
use std::future::ready;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio_util::task::TaskTracker;

use super::discovery::{self, MetadataError};
use super::fetch::{Client, FetchError};
use super::keeper::{Loaded, Source};
use super::keys::{KeySet, NotKeys};
use crate::config::jwt::SecureUrl;

/// An issuer on the network.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) place: Place,
    pub(super) tracker: TaskTracker,
}

/// Where it has its keys.
#[derive(Debug)]
pub(super) enum Place {
    /// Where its metadata says.
    Metadata(SecureUrl),
    /// Here.
    Keys(SecureUrl),
}

/// Why an issuer's keys could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("{}: {error}", .url.as_str())]
    Fetch { url: SecureUrl, error: FetchError },
    #[error("{}: {error}", .url.as_str())]
    NotKeys { url: SecureUrl, error: NotKeys },
    /// All places that metadata can be at, and what is wrong with each.
    #[error("no metadata: {}", .0.iter().map(|(url, error)| format!("{}: {error}", url.as_str())).collect::<Vec<_>>().join("; "))]
    NoMetadata(Vec<(SecureUrl, NoMetadata)>),
}

/// Why there is no metadata in one place.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoMetadata {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl Source for Network {
    const CHANGES: bool = true;
    type Error = LoadError;

    async fn load(&self) -> Result<Loaded, LoadError> {
        let client = Client::new(&self.tracker).await;
        let url = match &self.place {
            Place::Keys(url) => url.clone(),
            Place::Metadata(issuer) => discover(&client, issuer).await?,
        };
        match client.get(&url).await {
            Ok(document) => match KeySet::parse(&document.body) {
                Ok(keys) => Ok(Loaded { keys, age_max: document.age_max }),
                Err(error) => Err(LoadError::NotKeys { url, error }),
            },
            Err(error) => Err(LoadError::Fetch { url, error }),
        }
    }
}

/// Looks for the issuer's metadata until one place has it.
async fn discover(client: &Client, issuer: &SecureUrl) -> Result<SecureUrl, LoadError> {
    let mut tried = Vec::new();
    for place in discovery::places(issuer) {
        let error = match client.get(&place).await {
            Ok(document) => match discovery::keys_at(&document.body, issuer) {
                Ok(url) => return Ok(url),
                Err(error) => error.into(),
            },
            Err(error) if error.is_the_hosts() => return Err(LoadError::Fetch { url: place, error }),
            Err(error) => error.into(),
        };
        tried.push((place, error));
    }
    Err(LoadError::NoMetadata(tried))
}

/// A file (`--jwks-file`).
#[derive(Debug)]
pub(super) struct KeyFile(pub(super) PathBuf);

/// The file of `--jwks-file` does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the keys of {}", .path.display())]
pub struct KeyFileError {
    path: PathBuf,
    source: KeyFileProblem,
}

impl KeyFileError {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug, thiserror::Error)]
enum KeyFileProblem {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("it is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it is {0}")]
    NotKeys(#[from] NotKeys),
    #[error(
        "none of its {0} keys can be used: RSA (2048 to 8192 bits), EC (P-256, P-384) and OKP (Ed25519), for signatures"
    )]
    NoneUsable(usize),
}

impl KeyFile {
    /// Reads it. Waits for the file system.
    ///
    /// # Errors
    /// It has no key that can be used.
    pub(super) fn read(path: &Path) -> Result<KeySet, KeyFileError> {
        read(path).map_err(|source| KeyFileError { path: path.to_owned(), source })
    }
}

fn read(path: &Path) -> Result<KeySet, KeyFileProblem> {
    let mut document = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut document)?;
    if document.len() as u64 > FILE_BYTES_MAX {
        return Err(KeyFileProblem::TooLarge);
    }
    let keys = KeySet::parse(&document)?;
    if keys.len() == 0 { Err(KeyFileProblem::NoneUsable(keys.unusable())) } else { Ok(keys) }
}

impl Source for KeyFile {
    const CHANGES: bool = false;
    type Error = KeyFileError;

    /// Waits for the file system; only at an operator's word.
    fn load(&self) -> impl Future<Output = Result<Loaded, KeyFileError>> {
        ready(Self::read(&self.0).map(|keys| Loaded { keys, age_max: None }))
    }
}

const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests;
