//! Over real sockets, with real clients.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use rcgen::{CertificateParams, DistinguishedName, date_time_ymd};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::client;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ProtocolVersion, version};
use tokio_util::task::TaskTracker;

use super::*;
use crate::config::{ClientAuth, TlsConfig};
use crate::http::listener::connection::Tracked;
use crate::http::listener::{Handed, Listener};
use crate::http::peer::ClientCertificate;
use crate::http::tls::testing::{Authority, Client, Files, Identity, named};
use crate::metrics::limit_hits;

const DEADLINE: Duration = Duration::from_secs(60);

/// A served port that answers with what its handshakes have shown of the client; `/events` is answered with two chunks, the
/// second when `release` says so.
struct Served {
    address: SocketAddr,
    tls: Arc<Tls>,
    stop: Stop,
    connections: TaskTracker,
    release: Arc<Notify>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.end.cancel();
    }
}

/// A body: what is sent into the other end.
struct Chunks(mpsc::Receiver<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

async fn serve(config: TlsConfig) -> Served {
    let tls = Arc::new(Tls::load(config).unwrap());
    let listen = super::super::tests::listen("127.0.0.1", 0, 100);
    let listener = Listener::bind(&listen, Handed::none()).await.unwrap().with_tls(Arc::clone(&tls));
    let address = listener.local_addr().unwrap();
    let (stop, connections, release) = (Stop::default(), TaskTracker::new(), Arc::new(Notify::new()));
    let (tasks, released) = (connections.clone(), Arc::clone(&release));
    let handle = move |request: Request<Incoming>, peer: Arc<Peer>| {
        let (sender, chunks) = mpsc::channel(2);
        let first = if request.uri().path() == "/events" {
            let released = Arc::clone(&released);
            let sender = sender.clone();
            tasks.spawn(async move {
                released.notified().await;
                sender.send("second".into()).await
            });
            "first".into()
        } else {
            let shown = peer.tls.as_ref().unwrap();
            let nobody = || match (&shown.certificate, shown.until()) {
                (ClientCertificate::Unnamed { .. }, Some(_)) => "Unnamed, for a time".to_owned(),
                (certificate, _) => format!("{certificate:?}"),
            };
            Bytes::from(shown.subject().map_or_else(nobody, |subject| format!("Named({subject:?})")))
        };
        sender.try_send(first).unwrap();
        async move { Response::new(Chunks(chunks)) }
    };
    let accepting = listener.serve(handle, connections.clone(), stop.clone());
    // Ends with the drain.
    connections.spawn(accepting);
    Served { address, tls, stop, connections, release }
}

impl Served {
    async fn connect(&self, authority: &Authority, client: Client<'_>) -> io::Result<client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        // Or its first request may wait for the system, for which paused time does not.
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        timeout(DEADLINE, authority.connector(client).connect(name, stream)).await.unwrap()
    }

    /// The answer to a request, in the HTTP that was agreed on.
    async fn ask(
        &self,
        stream: client::TlsStream<TcpStream>,
        path: &str,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error>> {
        Ok(self.begin(stream, path).await?.0)
    }

    /// Likewise, and how the client's side of the connection ends.
    async fn begin(
        &self,
        stream: client::TlsStream<TcpStream>,
        path: &str,
    ) -> Result<(Response<Incoming>, JoinHandle<hyper::Result<()>>), Box<dyn std::error::Error>> {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let (io, body) = (TokioIo::new(stream), Full::new(Bytes::new()));
        if http2 {
            let (mut sender, connection) = http2::handshake(Tracked(self.connections.clone()), io).await?;
            let connection = self.connections.spawn(connection);
            let request = Request::get(format!("https://{}{path}", self.address)).body(body)?;
            Ok((timeout(DEADLINE, sender.send_request(request)).await??, connection))
        } else {
            let (mut sender, connection) = http1::handshake(io).await?;
            let connection = self.connections.spawn(connection);
            let request = Request::get(path).header("host", "localhost").body(body)?;
            Ok((timeout(DEADLINE, sender.send_request(request)).await??, connection))
        }
    }

    /// What the server says of who the client is; nothing if it does not serve it.
    async fn who(&self, authority: &Authority, client: Client<'_>) -> Option<String> {
        // Where TLS 1.3 refuses a client, the client only learns of it when it reads.
        let answer = self.ask(self.connect(authority, client).await.ok()?, "/").await.ok()?;
        let body = timeout(DEADLINE, answer.into_body().collect()).await.unwrap().ok()?;
        Some(String::from_utf8(body.to_bytes().into()).unwrap())
    }

    /// Waits until every connection has ended; returns how many handshakes have failed since the test began.
    async fn all_ended(self) -> u64 {
        self.stop.drain.cancel();
        self.connections.close();
        timeout(DEADLINE, self.connections.wait()).await.unwrap();
        limit_hits(Limit::HandshakeFailed)
    }
}

async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<String> {
    let mut read = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut read)).await.unwrap()?;
    Ok(read)
}

#[tokio::test]
async fn both_versions_of_tls_agree_on_the_version_of_http() {
    let authority = Authority::new();
    let files = Files::of(&authority.server(1));
    let served = serve(files.config()).await;
    for (tls, expected) in [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)] {
        for (alpn, agreed, http) in [
            (&[] as &[&str], None, Version::HTTP_11),
            (&["http/1.1"], Some(&b"http/1.1"[..]), Version::HTTP_11),
            (&["h2"], Some(b"h2"), Version::HTTP_2),
            (&["http/1.1", "h2"], Some(b"h2"), Version::HTTP_2),
            (&["other", "http/1.1"], Some(b"http/1.1"), Version::HTTP_11),
        ] {
            let stream = served.connect(&authority, Client { version: tls, alpn, identity: None }).await.unwrap();
            let (_, connection) = stream.get_ref();
            assert_eq!((connection.protocol_version(), connection.alpn_protocol()), (Some(expected), agreed));
            let answer = served.ask(stream, "/").await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, http), "{alpn:?}");
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "None");
        }
        // spec: RFC 7301, 3.2
        let nothing_in_common = Client { version: tls, alpn: &["other"], identity: None };
        assert!(served.connect(&authority, nothing_in_common).await.is_err());
    }
    assert_eq!(served.all_ended().await, 2);
}

#[tokio::test]
async fn what_a_stream_says_goes_out_at_once() {
    let authority = Authority::new();
    let files = Files::of(&authority.server(1));
    let served = serve(files.config()).await;
    for alpn in ["h2", "http/1.1"] {
        let client = Client { alpn: &[alpn], ..Client::default() };
        let answer = served.ask(served.connect(&authority, client).await.unwrap(), "/events").await.unwrap();
        let mut body = answer.into_body();
        for (expected, release) in [("first", false), ("second", true)] {
            if release {
                served.release.notify_one();
            }
            let frame = timeout(DEADLINE, body.frame()).await.unwrap().unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn only_clients_with_a_good_certificate_are_served_and_known_by_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.server(1));
    let (alice, stranger) = (authority.client("alice"), other.client("alice"));
    let mut params = named("late");
    params.not_after = date_time_ymd(2002, 2, 3);
    let expired = authority.issue(&params);
    let mut nobody = CertificateParams::new([]).unwrap();
    nobody.distinguished_name = DistinguishedName::new();
    let nobody = authority.issue(&nobody);
    let mut refused = 0;
    for auth in [ClientAuth::Required, ClientAuth::Optional] {
        let served = serve(files.config_with(&authority, auth)).await;
        let without = (auth == ClientAuth::Optional).then_some("None");
        for version in [&version::TLS12, &version::TLS13] {
            for (alpn, identity, expected) in [
                ("h2", Some(&alice), Some(r#"Named("CN=alice")"#)),
                ("http/1.1", Some(&alice), Some(r#"Named("CN=alice")"#)),
                ("http/1.1", Some(&nobody), Some("Unnamed, for a time")),
                ("http/1.1", None, without),
                ("http/1.1", Some(&stranger), None),
                ("h2", Some(&expired), None),
            ] {
                let client = Client { version, alpn: &[alpn], identity };
                assert_eq!(served.who(&authority, client).await.as_deref(), expected, "{auth:?} {version:?}");
            }
        }
        refused += if auth == ClientAuth::Optional { 4 } else { 6 };
        assert_eq!(served.all_ended().await, refused);
    }
}

#[tokio::test]
async fn a_refused_client_gets_to_know_why_though_it_has_sent_a_request_already() {
    let authority = Authority::new();
    let files = Files::of(&authority.server(1));
    let served = serve(files.config_with(&authority, ClientAuth::Required)).await;
    for _ in 0..20 {
        // With TLS 1.3 it may send before the server has seen its certificate, or that there is none.
        let mut stream = served.connect(&authority, Client::default()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let error = read_to_end(&mut stream).await.unwrap_err();
        assert_eq!(error.to_string(), "received fatal alert: CertificateRequired");
    }
    assert_eq!(served.all_ended().await, 20);
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_server_is_counted_and_forgotten() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.server(1));
    let served = serve(files.config()).await;
    assert!(served.connect(&other, Client::default()).await.is_err());
    assert_eq!(served.who(&authority, Client::default()).await.as_deref(), Some("None"));
    assert_eq!(served.all_ended().await, 1);
}

#[tokio::test]
async fn a_reload_is_for_new_connections_and_old_ones_go_on() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (first, second) = (authority.server(1), authority.server(2));
    let files = Files::of(&first);
    let served = serve(files.config_with(&authority, ClientAuth::Required)).await;
    let (alice, bob) = (authority.client("alice"), other.client("bob"));
    let of = |identity| Client { identity: Some(identity), ..Client::default() };
    let shown = async |client| {
        let stream = served.connect(&authority, client).await.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        let is = |identity: &Identity| CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap() == chain[0];
        if is(&first) { 1 } else { i32::from(is(&second)) * 2 }
    };

    let answer = served.ask(served.connect(&authority, of(&alice)).await.unwrap(), "/events").await.unwrap();
    assert_eq!(shown(of(&alice)).await, 1);
    files.write("key.pem", "broken");
    assert!(served.tls.reload().is_err());
    assert_eq!(shown(of(&alice)).await, 1);

    files.replace(&second);
    files.write("ca.pem", &other.pem());
    served.tls.reload().unwrap();
    assert_eq!(shown(of(&bob)).await, 2);
    assert_eq!(served.who(&authority, of(&bob)).await.as_deref(), Some(r#"Named("CN=bob")"#));
    assert_eq!(served.who(&authority, of(&alice)).await, None);
    // The one that was there before.
    served.release.notify_one();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "firstsecond");
}

#[tokio::test(start_paused = true)]
async fn the_time_to_the_first_request_includes_the_handshake() {
    let authority = Authority::new();
    let files = Files::of(&authority.server(1));
    let served = serve(files.config()).await;
    let waiting = served.ask(served.connect(&authority, Client::default()).await.unwrap(), "/events").await.unwrap();
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await.unwrap(), "", "{begun:?}");
    }
    for alpn in ["h2", "http/1.1"] {
        let client = Client { alpn: &[alpn], ..Client::default() };
        let mut handshake_alone = served.connect(&authority, client).await.unwrap();
        let mut read = Vec::new();
        // HTTP/2 begins with the server's settings. The end comes without a word.
        let ended = timeout(DEADLINE, handshake_alone.read_to_end(&mut read)).await.unwrap();
        assert!(ended.is_err() || alpn == "h2", "{ended:?}");
    }
    served.release.notify_one();
    assert_eq!(waiting.into_body().collect().await.unwrap().to_bytes(), "firstsecond");
    // Who has said nothing has begun no handshake; who has ended it, no request.
    assert_eq!((limit_hits(Limit::FirstByteTimeout), limit_hits(Limit::HeaderTimeout)), (1, 2));
    assert_eq!(served.all_ended().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_clients_certificate_and_what_is_under_way_is_answered() {
    let authority = Authority::new();
    let files = Files::of(&authority.server(1));
    let served = serve(files.config_with(&authority, ClientAuth::Required)).await;
    let mut params = named("alice");
    params.not_after = (SystemTime::now() + Duration::from_secs(3600)).into();
    let alice = authority.issue(&params);
    for alpn in ["h2", "http/1.1"] {
        let client = Client { alpn: &[alpn], identity: Some(&alice), ..Client::default() };
        let begun = Instant::now();
        let stream = served.connect(&authority, client).await.unwrap();
        let (mut answer, client) = served.begin(stream, "/events").await.unwrap();
        // With the certificate, and not with `--idle-timeout`.
        sleep_until(begun + Duration::from_secs(3601)).await;
        served.release.notify_one();
        let body = timeout(DEADLINE, answer.body_mut().collect()).await.unwrap().unwrap();
        assert_eq!(body.to_bytes(), "firstsecond", "{alpn}");
        client.await.unwrap().unwrap_or_else(|error| panic!("{alpn}: it was not told: {error}"));
        assert!(begun.elapsed() < Duration::from_secs(3610), "{alpn}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn plain_http_is_told_to_use_https() {
    let authority = Authority::new();
    let files = Files::of(&authority.server(1));
    let served = serve(files.config()).await;
    let large = format!("POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{}", "x".repeat(60_000));
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "p", &large] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let expected = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
            content-length: 60\r\nconnection: close\r\n\r\nThis port speaks HTTPS: begin the URL with https:// instead\n";
        assert_eq!(read_to_end(&mut stream).await.unwrap(), expected);
    }
    let (_, body) = PLAIN_HTTP_ANSWER.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), 60);
    assert_eq!(served.who(&authority, Client::default()).await.as_deref(), Some("None"));
    assert_eq!(served.all_ended().await, 0);
}

#[tokio::test]
async fn what_is_no_handshake_ends_its_own_connection_alone() {
    let authority = Authority::new();
    let files = Files::of(&authority.server(1));
    let served = serve(files.config()).await;
    for garbage in
        [&b"\0\0\0\0\0\0\0\0"[..], b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", b"\x80\x2e\x01\x03\x01\x00\x15\x00"]
    {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut read = Vec::new();
        // An alert, or nothing.
        let _ = timeout(DEADLINE, stream.read_to_end(&mut read)).await.unwrap();
        assert!(read.is_empty() || read.starts_with(b"\x15\x03"), "{read:?}");
    }
    // A look whether somebody listens is no failure.
    drop(TcpStream::connect(served.address).await.unwrap());
    assert_eq!(served.who(&authority, Client::default()).await.as_deref(), Some("None"));
    assert_eq!(served.all_ended().await, 3);
}

#[tokio::test]
async fn a_drain_says_goodbye_to_idle_connections_and_drops_handshakes() {
    let authority = Authority::new();
    let files = Files::of(&authority.server(1));
    let served = serve(files.config()).await;
    let mut idle = served.connect(&authority, Client::default()).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"0\r\n\r\n") {
        assert_ne!(timeout(DEADLINE, idle.read_buf(&mut answer)).await.unwrap().unwrap(), 0);
    }
    let mut begun = TcpStream::connect(served.address).await.unwrap();
    begun.write_all(b"\x16\x03\x01").await.unwrap();
    served.stop.drain.cancel();
    // Without the `close_notify` of TLS, this would be an error.
    assert_eq!(read_to_end(&mut idle).await.unwrap(), "");
    // It may not have been accepted yet.
    let _ = read_to_end(&mut begun).await;
    assert_eq!(served.all_ended().await, 0);
}
