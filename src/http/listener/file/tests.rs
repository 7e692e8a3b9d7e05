use std::os::unix::net::{UnixDatagram, UnixListener as StdUnixListener};

use rustix::process::{getegid, geteuid};
use tempfile::TempDir;

use super::*;
use crate::config::listen::Owner;

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("mux.sock");
    (folder, path)
}

async fn listen(path: &Path) -> io::Result<(SocketFile, UnixListener)> {
    SocketFile::listen(path, &UnixConfig::default(), 16).await
}

#[tokio::test]
async fn a_file_has_its_mode_and_owner_and_is_gone_at_the_end() {
    let (_folder, path) = folder();
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    for mode in [0o600, 0o660, 0o666] {
        let config = UnixConfig { mode, owner: Owner { user: Some(user), group: Some(group) } };
        let (file, socket) = SocketFile::listen(&path, &config, 16).await.expect("a socket");
        let found = std::fs::symlink_metadata(&path).expect("it is there");
        assert!(found.file_type().is_socket());
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (mode, user, group));
        UnixStream::connect(&path).await.expect("it listens");
        drop((file, socket));
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn an_owner_that_cannot_be_had_leaves_nothing_behind() {
    if geteuid().is_root() {
        return;
    }
    let (_folder, path) = folder();
    let config = UnixConfig { owner: Owner { user: Some(0), group: None }, ..UnixConfig::default() };
    let error = SocketFile::listen(&path, &config, 16).await.expect_err("that takes root");
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_replaced() {
    let (_folder, path) = folder();
    // The file stays.
    drop(StdUnixListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    let (_file, _socket) = listen(&path).await.expect("it is dead");
    UnixStream::connect(&path).await.expect("it listens");
}

#[tokio::test]
async fn a_socket_that_somebody_listens_on_is_left_alone() {
    let (_folder, path) = folder();
    let (_file, _socket) = listen(&path).await.expect("a socket");
    let error = listen(&path).await.expect_err("it is in use");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    UnixStream::connect(&path).await.expect("it still listens");
}

#[tokio::test]
async fn a_socket_of_another_kind_is_left_alone() {
    let (_folder, path) = folder();
    let _datagrams = UnixDatagram::bind(&path).expect("a socket");
    assert_eq!(listen(&path).await.expect_err("it is in use").kind(), io::ErrorKind::AddrInUse);
    assert!(path.exists());
}

#[tokio::test]
async fn what_is_no_socket_is_never_removed() {
    let (folder, path) = folder();
    let other = folder.path().join("other");
    std::fs::write(&other, "precious").expect("a file");
    let refused = async |path: &Path| listen(path).await.expect_err("it is no socket").kind();
    assert_eq!(refused(&other).await, io::ErrorKind::AlreadyExists);
    assert_eq!(refused(folder.path()).await, io::ErrorKind::AlreadyExists);
    // Nor one that is somewhere else.
    drop(StdUnixListener::bind(folder.path().join("dead")).expect("a socket"));
    std::os::unix::fs::symlink(folder.path().join("dead"), &path).expect("a link");
    assert_eq!(refused(&path).await, io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&other).expect("it is there"), "precious");
    assert_eq!(refused(&folder.path().join("no/folder")).await, io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_file_that_was_replaced_is_not_removed_at_the_end() {
    let (_folder, path) = folder();
    let (file, socket) = listen(&path).await.expect("a socket");
    std::fs::remove_file(&path).expect("it is there");
    let (_another_file, _another) = listen(&path).await.expect("another socket");
    drop((file, socket));
    UnixStream::connect(&path).await.expect("the other listens");
}

#[tokio::test]
async fn of_several_that_start_at_once_one_listens() {
    let (_folder, path) = folder();
    drop(StdUnixListener::bind(&path).expect("a dead socket"));
    let (a, b, c) = tokio::join!(listen(&path), listen(&path), listen(&path));
    let listening: Vec<_> = [a, b, c].into_iter().flatten().collect();
    assert_eq!(listening.len(), 1);
    UnixStream::connect(&path).await.expect("it listens");
}
