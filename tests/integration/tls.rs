//! HTTPS, as an operator sets it up.

use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::{ACCEPT, JSON, Mux, command, echo_server, notes_server, request, run_to_end, within};
use crate::limits::{counted, counts};

/// An authority, and the files of a server that it vouches for.
struct Files {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = Self { authority, folder: tempfile::tempdir().unwrap() };
        files.write("ca.pem", &files.authority.pem());
        files.renew();
        files
    }

    /// A certificate and its key.
    fn issue(&self, params: &CertificateParams) -> (CertificateDer<'static>, String, String) {
        let (key, issuer): (_, &Issuer<'_, KeyPair>) = (KeyPair::generate().unwrap(), &self.authority);
        let certificate = params.signed_by(&key, issuer).unwrap();
        (certificate.der().clone(), certificate.pem(), key.serialize_pem())
    }

    /// Replaces the server's certificate and key; returns the certificate.
    fn renew(&self) -> CertificateDer<'static> {
        let (der, cert, key) = self.issue(&CertificateParams::new(["127.0.0.1".to_owned()]).unwrap());
        self.write("cert.pem", &cert);
        self.write("key.pem", &key);
        der
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Starts the program with these files and more flags.
    async fn start(&self, flags: &[&str], server: Vec<String>) -> Mux {
        let (cert, key) = (self.text("cert.pem"), self.text("key.pem"));
        Mux::start(&[&["--tls-cert", &cert, "--tls-key", &key], flags].concat(), server).await
    }

    /// A connection; `client` is the name in the client's certificate.
    async fn connect(&self, mux: &Mux, client: Option<&str>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some(name) => {
                let mut params = CertificateParams::new([]).unwrap();
                params.distinguished_name.push(DnType::CommonName, name);
                let (der, _, key) = self.issue(&params);
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![der], key).unwrap()
            }
        };
        let stream = TcpStream::connect(("127.0.0.1", mux.port)).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        within("a handshake", connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream)).await
    }

    /// The certificate that new connections are shown.
    async fn shown(&self, mux: &Mux) -> CertificateDer<'static> {
        let stream = self.connect(mux, None).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

type Sender = http1::SendRequest<Full<bytes::Bytes>>;

async fn talk(stream: TlsStream<TcpStream>) -> Sender {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Opens a session.
async fn initialize(sender: &mut Sender) -> Result<Value, hyper::Error> {
    let client = json!({"name": "t", "version": "1"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    let body = request(json!("i"), "initialize", params);
    let request = Request::post("/mcp").header("host", "127.0.0.1").header(ACCEPT.0, ACCEPT.1).header(JSON.0, JSON.1);
    let answer = within("an answer", sender.send_request(request.body(Full::from(body)).unwrap())).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = within("a body", answer.into_body().collect()).await?.to_bytes();
    Ok(serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn its_urls_are_https_and_work_and_sighup_takes_what_is_in_the_files_then() {
    let files = Files::new();
    let first = files.renew();
    let mut mux = files.start(&[], notes_server()).await;
    assert_eq!(mux.urls, ["mcp", "sse"].map(|path| format!("https://127.0.0.1:{}/{path}", mux.port)));
    let mut old = talk(files.connect(&mux, None).await.unwrap()).await;
    assert_eq!(initialize(&mut old).await.unwrap()["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(files.shown(&mux).await, first);

    let second = files.renew();
    mux.signal(Signal::HUP);
    mux.logged("read again files=\"tls\"").await;
    assert_eq!(files.shown(&mux).await, second);

    files.write("key.pem", "no key");
    mux.signal(Signal::HUP);
    let key = files.text("key.pem");
    mux.logged(&format!("--tls-key {key} cannot be used: it holds no private key in PEM")).await;
    mux.logged("not read again: what was there stays files=\"tls\"").await;
    assert_eq!(files.shown(&mux).await, second);

    initialize(&mut old).await.expect("a connection from before goes on");
    drop(old);
    let (status, ..) = mux.stop().await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn only_clients_of_the_authority_come_in() {
    let (files, strangers) = (Files::new(), Files::new());
    let ca = files.text("ca.pem");
    let mux = files.start(&["--tls-client-ca", &ca], echo_server()).await;
    let mut alice = talk(files.connect(&mux, Some("alice")).await.unwrap()).await;
    initialize(&mut alice).await.unwrap();
    // The client learns of the refusal when it wants something.
    let mut nobody = talk(files.connect(&mux, None).await.unwrap()).await;
    initialize(&mut nobody).await.unwrap_err();
    assert!(strangers.connect(&mux, Some("alice")).await.is_err(), "it does not know the server either");
    let (status, ..) = mux.stop().await;
    assert_eq!(status.code(), Some(0));
}

// spec: RFC 8446, 6.2
#[tokio::test]
async fn handshakes_that_fail_or_do_not_end_are_counted() {
    let (files, strangers) = (Files::new(), Files::new());
    let mux = files.start(&["--first-byte-timeout", "3s"], echo_server()).await;
    let plain = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    for (sent, received) in [
        // A message that clients never send, one that does not go on, and HTTP, which is no handshake.
        (&b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00"[..], &b"\x15\x03\x03\x00\x02\x02"[..]),
        (&b"\x16\x03\x01\x02\x00\x01"[..], b""),
        (plain, b"HTTP/1.1 400 "),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", mux.port)).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let read = async { while stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {} };
        within("the end of a connection", read).await;
        assert!(answer.starts_with(received), "{answer:?}");
        assert!(!received.is_empty() || answer.is_empty(), "{answer:?}");
    }
    assert!(strangers.connect(&mux, None).await.is_err(), "it does not know who vouches for the server");

    let mut sender = talk(files.connect(&mux, None).await.unwrap()).await;
    let metrics = || Request::get("/metrics").header("host", "127.0.0.1").body(Full::default()).unwrap();
    // That a client did not like the certificate is known a moment later.
    let expected = counted(&[("tls-handshake", 3)]);
    within("so many failed handshakes", async {
        loop {
            let body = sender.send_request(metrics()).await.unwrap().into_body().collect().await.unwrap().to_bytes();
            if counts(std::str::from_utf8(&body).unwrap()) == expected {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_sighup_without_anything_to_read_changes_nothing() {
    let mut mux = Mux::start(&[], echo_server()).await;
    mux.signal(Signal::HUP);
    mux.logged("there is nothing to read again").await;
    mux.session("2025-11-25").await;
    let (status, ..) = mux.stop().await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn every_misconfiguration_is_said_with_the_flag_the_file_and_the_reason() {
    let (files, others) = (Files::new(), Files::new());
    let [cert, key, other_key] = [files.text("cert.pem"), files.text("key.pem"), others.text("key.pem")];
    files.write("empty.pem", "");
    let empty = files.text("empty.pem");
    let nowhere = files.text("nowhere.pem");
    for (flags, expected) in [
        (
            vec!["--tls-cert", &cert],
            format!(
                "invalid configuration: --tls-cert \"{cert}\": must be accompanied by --tls-key, its private key\n"
            ),
        ),
        (
            vec!["--tls-cert", &cert, "--tls-key", &other_key],
            format!(
                "--tls-key {other_key} cannot be used\n  caused by: its private key does not belong to the first \
                 certificate of {cert} (--tls-cert)\n"
            ),
        ),
        (
            vec!["--tls-cert", &nowhere, "--tls-key", &key],
            format!(
                "--tls-cert {nowhere} cannot be used\n  caused by: it cannot be read\n  \
                 caused by: No such file or directory (os error 2)\n"
            ),
        ),
        (
            vec!["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &empty],
            format!("--tls-client-ca {empty} cannot be used\n  caused by: it holds no certificate in PEM"),
        ),
    ] {
        let (code, out, err) = run_to_end(command(&[&["--port", "0"], &flags[..]].concat(), &echo_server())).await;
        assert_eq!((code, out.as_str()), (Some(78), ""), "{err}");
        assert!(err.starts_with(&format!("mcp-mux: error: {expected}")) && err.contains("hint: "), "{err}");
    }
}
