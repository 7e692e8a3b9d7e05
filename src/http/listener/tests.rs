use std::future::pending;
use std::num::NonZeroUsize;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connection::Tracked;
use super::sockets::Acceptor;
use super::*;
use crate::config::listen::{Chosen, ListenAddress, UnixConfig};
use crate::http::peer::Ends;
use crate::metrics::{Limit, limit_hits};

mod bounds;
mod http2;
mod several;

/// A served port: `/slow` is answered when `release` says so, `/never` never, anything else at once.
struct Served {
    address: SocketAddr,
    stop: Stop,
    connections: TaskTracker,
    /// `/slow` or `/never` has come in.
    reached: Arc<Notify>,
    release: Arc<Notify>,
    accepting: JoinHandle<()>,
}

pub(super) fn listen(host: &str, port: u16, connections_max: usize) -> ListenConfig {
    ListenConfig {
        addresses: vec![ListenAddress::Tcp { host: host.to_owned(), port }],
        chosen: Chosen::ByOperator,
        unix: UnixConfig::default(),
        connections_max: NonZeroUsize::new(connections_max).unwrap(),
        connections_per_address_max: NonZeroUsize::new(1000).unwrap(),
        connection: connection(),
    }
}

fn connection() -> ConnectionConfig {
    ConnectionConfig {
        first_byte_timeout: Duration::from_secs(30),
        header_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(120),
        untaken_timeout: Duration::from_secs(60),
        header_bytes_max: 64 * 1024,
        headers_max: NonZeroUsize::new(100).unwrap(),
        http2_streams_max: 128,
        http2_resets_max: 200,
        http2_frames_max: NonZeroUsize::new(1000).unwrap(),
    }
}

async fn serve() -> Served {
    serve_at_most(1000).await
}

async fn serve_at_most(connections_max: usize) -> Served {
    serve_by(Listener::bind(&listen("127.0.0.1", 0, connections_max), Handed::none()).await.unwrap())
}

fn serve_by(listener: Listener) -> Served {
    let address = listener.local_addr().unwrap();
    let (stop, connections) = (Stop::default(), TaskTracker::new());
    let (reached, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let notifies = (Arc::clone(&reached), Arc::clone(&release));
    let handle = move |request: Request<Incoming>, peer: Arc<Peer>| {
        let local = match peer.ends {
            Ends::Tcp { local, .. } => local.to_string(),
            Ends::Unix(process) => format!("uid {}", process.uid),
        };
        let (reached, released) = notifies.clone();
        async move {
            match request.uri().path() {
                "/slow" => {
                    reached.notify_one();
                    released.notified().await;
                }
                "/large" => return Response::new(Full::new(Bytes::from(vec![b'x'; 64 << 20]))),
                "/never" => {
                    reached.notify_one();
                    pending::<()>().await;
                }
                _ => {}
            }
            Response::new(Full::new(Bytes::from(local)))
        }
    };
    let serving = listener.serve(handle, connections.clone(), stop.clone());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it by its handle")]
    let accepting = tokio::spawn(serving);
    Served { address, stop, connections, reached, release, accepting }
}

async fn connect(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.unwrap()
}

async fn request(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
}

/// Reads until `end` has come, or everything if the connection ends.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&read).ends_with(end) {
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
    };
    timeout(DEADLINE, reading).await.unwrap();
    String::from_utf8(read).unwrap()
}

async fn all_ended(served: &Served) {
    served.connections.close();
    timeout(DEADLINE, served.connections.wait()).await.unwrap();
}

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn requests_are_answered_with_the_address_they_came_to() {
    let served = serve().await;
    let mut stream = connect(&served).await;
    for _ in 0..2 {
        request(&mut stream, "/").await;
        let end = served.address.to_string();
        assert!(read_until(&mut stream, &end).await.starts_with("HTTP/1.1 200 OK"));
    }
    drop(stream);
    all_ended(&served).await;
}

#[tokio::test]
async fn http2_is_recognised_by_its_preface() {
    let served = serve().await;
    let stream = connect(&served).await;
    let executor = Tracked(served.connections.clone());
    let handshake = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.unwrap();
    served.connections.spawn(connection);
    let request = Request::get(format!("http://{}/", served.address)).body(Full::new(Bytes::new())).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    served.stop.drain.cancel();
    all_ended(&served).await;
}

#[tokio::test]
async fn a_request_that_begins_as_a_preface_does_is_answered_all_the_same() {
    let served = serve().await;
    for first in ["P", "PR", "PRI", "G"] {
        let mut stream = connect(&served).await;
        stream.write_all(first.as_bytes()).await.unwrap();
        let rest =
            format!("{} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", if first == "G" { "ET" } else { "OX" });
        stream.write_all(rest.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "the end of the connection").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{first}: {answer}");
    }
    all_ended(&served).await;
}

#[tokio::test]
async fn a_drain_accepts_no_more_closes_idle_connections_and_lets_requests_end() {
    let served = serve().await;
    let (mut idle, mut busy) = (connect(&served).await, connect(&served).await);
    request(&mut idle, "/").await;
    read_until(&mut idle, &served.address.to_string()).await;
    request(&mut busy, "/slow").await;
    served.reached.notified().await;
    served.stop.drain.cancel();
    served.accepting.await.unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
    assert_eq!(read_until(&mut idle, "nothing").await, "");
    served.release.notify_one();
    assert!(read_until(&mut busy, "nothing").await.starts_with("HTTP/1.1 200 OK"));
    served.connections.close();
    timeout(DEADLINE, served.connections.wait()).await.unwrap();
}

#[tokio::test]
async fn the_end_drops_requests_that_are_never_answered() {
    let served = serve().await;
    let mut stream = connect(&served).await;
    request(&mut stream, "/never").await;
    served.reached.notified().await;
    served.stop.drain.cancel();
    served.stop.end.cancel();
    assert_eq!(read_until(&mut stream, "nothing").await, "");
    all_ended(&served).await;
}

#[tokio::test(start_paused = true)]
async fn connections_without_a_request_go_away_and_those_with_one_stay() {
    let served = serve().await;
    let mut waiting = connect(&served).await;
    request(&mut waiting, "/slow").await;
    served.reached.notified().await;
    // The beginning of HTTP/2's preface could still become anything, that of a request only a request.
    for begun in ["", "PRI", "GET / HT"] {
        let mut stream = connect(&served).await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut stream, "nothing").await, "", "{begun}");
    }
    served.release.notify_one();
    assert!(read_until(&mut waiting, &served.address.to_string()).await.starts_with("HTTP/1.1 200 OK"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let mut config = listen("127.0.0.1", 0, 1);
    config.connection.untaken_timeout = Duration::from_millis(500);
    let listener = Listener::bind(&config, Handed::none()).await.unwrap();
    let Acceptor::Tcp(socket) = &listener.sockets[0].acceptor else { panic!("a port") };
    assert_eq!(rustix::net::sockopt::tcp_user_timeout(socket).unwrap(), 500);
    let hits = limit_hits(Limit::UntakenTimeout);
    let served = serve_by(listener);
    let mut stuck = connect(&served).await;
    request(&mut stuck, "/large").await;
    // There is room for the next one when it is gone.
    let mut next = connect(&served).await;
    request(&mut next, "/").await;
    let end = served.address.to_string();
    assert!(read_until(&mut next, &end).await.ends_with(&end));
    assert!(limit_hits(Limit::UntakenTimeout) > hits);
}

#[tokio::test]
async fn a_connection_above_the_limit_waits_until_another_ends() {
    let served = serve_at_most(2).await;
    let (mut first, mut second) = (connect(&served).await, connect(&served).await);
    for stream in [&mut first, &mut second] {
        request(stream, "/slow").await;
        served.reached.notified().await;
    }
    // Connected by the kernel, and taken by nobody.
    let mut third = connect(&served).await;
    request(&mut third, "/").await;
    let end = served.address.to_string();
    assert!(timeout(Duration::from_millis(100), third.readable()).await.is_err());
    assert_eq!(served.connections.len(), 2);
    drop(first);
    assert!(read_until(&mut third, &end).await.starts_with("HTTP/1.1 200 OK"));
    served.release.notify_waiters();
    assert!(read_until(&mut second, &end).await.starts_with("HTTP/1.1 200 OK"));
    served.stop.drain.cancel();
    timeout(DEADLINE, served.accepting).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_house_does_not_hold_up_the_stop() {
    let served = serve_at_most(1).await;
    let mut only = connect(&served).await;
    request(&mut only, "/never").await;
    served.reached.notified().await;
    served.stop.drain.cancel();
    timeout(DEADLINE, served.accepting).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_said_with_what_to_do() {
    let bind = async |host: &str, port| {
        let error = Listener::bind(&listen(host, port, 1), Handed::none()).await.unwrap_err();
        assert_eq!(error.exit_code(), 69);
        (error.to_string(), error.hint().unwrap())
    };
    let served = serve().await;
    let port = served.address.port();
    let (text, hint) = bind("127.0.0.1", port).await;
    assert_eq!(text, format!("port {port} on 127.0.0.1 is in use"));
    assert_eq!(hint, "stop what uses it or choose another with --port or --listen (0 lets the system choose)");
    // TEST-NET-1 (RFC 5737) is nobody's.
    assert_eq!(bind("192.0.2.1", 0).await.0, "192.0.2.1 is not an address of this machine");
    // RFC 6761: never resolves.
    assert_eq!(bind("nowhere.invalid", 0).await.0, "host nowhere.invalid has no address");
}

#[test]
fn failures_to_accept_are_logged_a_few_times_only() {
    let mut failures = AcceptFailures::default();
    let error = io::Error::from_raw_os_error(24);
    let start = Instant::now();
    failures.report(&error, start);
    assert_eq!(failures.since, 0);
    for _ in 0..50 {
        failures.report(&error, start + Duration::from_secs(1));
    }
    assert_eq!(failures.since, 50);
    failures.report(&error, start + ACCEPT_REPORT_INTERVAL);
    assert_eq!(failures.since, 0);
    assert!(!is_the_connections_own(&error));
    assert!(is_the_connections_own(&io::ErrorKind::ConnectionAborted.into()));
}
