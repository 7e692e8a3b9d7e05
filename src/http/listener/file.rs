//! The file of a unix socket: made, or taken over from a program that is gone, and removed at the end.
//!
//! Invariants: nobody can connect before the file's owner and mode are what they are to be, since nothing listens until then;
//! nothing is removed but a socket that nobody listens on, or this one.

use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::config::listen::UnixConfig;

/// The file of a socket of ours, until this is dropped. To be dropped before the socket: until then its number is no other's.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// A socket that listens at this path.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`]: somebody listens there; [`io::ErrorKind::AlreadyExists`]: what is there is no socket.
    pub(super) async fn listen(path: &Path, config: &UnixConfig, backlog: u32) -> io::Result<(Self, UnixListener)> {
        // Others that start meanwhile would find a socket that nobody listens on yet.
        let _alone = alone_in_folder(path).await;
        make_way(path).await?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        let made = std::fs::symlink_metadata(path)?;
        let file = Self { path: path.to_owned(), device: made.dev(), inode: made.ino() };
        if config.owner.user.is_some() || config.owner.group.is_some() {
            lchown(path, config.owner.user, config.owner.group)?;
        }
        std::fs::set_permissions(path, Permissions::from_mode(config.mode))?;
        Ok((file, socket.listen(backlog)?))
    }

    fn is(&self, found: &Metadata) -> bool {
        found.file_type().is_socket() && found.dev() == self.device && found.ino() == self.inode
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let path = &self.path;
        // Somebody may have put another there, or taken it away.
        if !std::fs::symlink_metadata(path).is_ok_and(|found| self.is(&found)) {
            return debug!(path = %path.display(), "the socket's file is not there any more");
        }
        if let Err(error) = std::fs::remove_file(path) {
            warn!(path = %path.display(), %error, "the socket's file cannot be removed");
        }
    }
}

/// Removes the socket of a program that is gone.
async fn make_way(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no socket"));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        // Also one that is too busy to take a connection, and one that is not for streams.
        Ok(_) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
    }
    debug!(path = %path.display(), "nobody listens on the socket that is there: it is removed");
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Keeps other mcp-muxes that start from the folder, until it is dropped. Whoever may not read it does without.
async fn alone_in_folder(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let folder = File::open(folder).ok()?;
    let locked = async {
        loop {
            match folder.try_lock() {
                Ok(()) => return true,
                Err(TryLockError::WouldBlock) => sleep(LOCK_RETRY).await,
                Err(TryLockError::Error(_)) => return false,
            }
        }
    };
    timeout(LOCK_TIMEOUT, locked).await.unwrap_or(false).then_some(folder)
}

const LOCK_RETRY: Duration = Duration::from_millis(10);
/// A few calls of the system are made under it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
