use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::super::testing::{Answer, Server, until};
use super::*;

fn client() -> Client {
    Client::trusting(RootCertStore::empty(), &TaskTracker::new())
}

fn url(server: &Server, path: &str) -> SecureUrl {
    SecureUrl::parse(&format!("{}{path}", server.origin)).unwrap()
}

/// What a server says that `localhost` is, and who believes it.
fn authority() -> (TlsAcceptor, RootCertStore) {
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let localhost = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = localhost.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let leaf: CertificateDer<'static> = leaf.der().clone();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), roots)
}

#[tokio::test]
async fn a_document_comes_with_how_long_it_is_good() {
    let server = Server::start().await;
    for (value, expected) in [
        ("max-age=60", Some(60)),
        ("public, Max-Age = 86400, must-revalidate", Some(86_400)),
        ("max-age=\"5\"", Some(5)),
        ("no-store", None),
        ("max-age=-1", None),
        ("s-maxage=7", None),
        ("max-age", None),
    ] {
        let answer = Answer { status: 200, header: ("cache-control", value.to_owned()), body: "{}".to_owned() };
        server.answers("/keys", answer);
        let document = client().get(&url(&server, "/keys")).await.unwrap();
        assert_eq!((document.body.as_ref(), document.age_max), (&b"{}"[..], expected.map(Duration::from_secs)));
    }
}

#[tokio::test]
async fn what_is_no_document_is_none() {
    let server = Server::start().await;
    let answer = |status, body: &str| Answer {
        status,
        header: ("location", format!("{}/elsewhere", server.origin)),
        body: body.to_owned(),
    };
    server.has("/elsewhere", "{}");
    for status in [301, 302, 303, 307, 308] {
        server.answers("/keys", answer(status, ""));
        let error = client().get(&url(&server, "/keys")).await.unwrap_err();
        assert!(matches!(error, FetchError::Redirect(_)) && !error.is_the_hosts(), "{error}");
    }
    assert!(!server.asked().contains(&"/elsewhere".to_owned()));
    for status in [204, 400, 401, 404, 500, 503] {
        server.answers("/keys", answer(status, ""));
        let error = client().get(&url(&server, "/keys")).await.unwrap_err();
        assert!(matches!(error, FetchError::Status(_)) && !error.is_the_hosts(), "{error}");
    }
}

#[tokio::test]
async fn a_document_of_a_mebibyte_is_read_and_a_larger_one_is_not() {
    let server = Server::start().await;
    server.has("/keys", " ".repeat(1 << 20));
    assert_eq!(client().get(&url(&server, "/keys")).await.unwrap().body.len(), 1 << 20);
    server.has("/keys", " ".repeat((1 << 20) + 1));
    let error = client().get(&url(&server, "/keys")).await.unwrap_err();
    assert!(matches!(error, FetchError::TooLarge), "{error}");
}

#[tokio::test]
async fn who_answers_too_slowly_is_given_up() {
    let server = Server::start().await;
    server.has("/keys", "{}");
    server.hold(true);
    let (client, url) = (client(), url(&server, "/keys"));
    let asked = async {
        until(async || !server.asked().is_empty()).await;
        // All else is done: only the time is missing.
        tokio::time::pause();
        tokio::time::advance(TIMEOUT).await;
        tokio::time::resume();
    };
    let (got, ()) = tokio::join!(client.get(&url), asked);
    let error = got.unwrap_err();
    assert!(matches!(error, FetchError::Slow) && error.is_the_hosts(), "{error}");
}

#[tokio::test]
async fn who_is_not_there_is_told_from_who_says_no() {
    let server = Server::start().await;
    let url = url(&server, "/keys");
    drop(server);
    // As soon as the server's task is gone, the port is.
    until(async || {
        let error = client().get(&url).await.unwrap_err();
        assert!(matches!(error, FetchError::Unreachable(_)) && error.is_the_hosts(), "{error}");
        error.to_string().contains("Connection refused")
    })
    .await;
}

#[tokio::test]
async fn an_https_server_is_believed_only_with_a_certificate_of_somebody_who_is_trusted() {
    let (tls, roots) = authority();
    let server = Server::start_with(Some(tls)).await;
    server.has("/keys", "{}");
    let tracker = TaskTracker::new();
    let keys = url(&server, "/keys");
    assert!(Client::trusting(roots.clone(), &tracker).get(&keys).await.is_ok());
    // Another name of the same address, which the certificate does not have.
    let other = SecureUrl::parse(&server.origin.replace("localhost", "127.0.0.1")).unwrap();
    let error = Client::trusting(roots, &tracker).get(&other).await.unwrap_err();
    assert!(error.to_string().contains("certificate not valid for name"), "{error}");
    let (_, strangers) = authority();
    let error = Client::trusting(strangers, &tracker).get(&keys).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable(_)) && error.to_string().contains("certificate"), "{error}");
    let error = Client::trusting(RootCertStore::empty(), &tracker).get(&keys).await.unwrap_err();
    assert!(matches!(error, FetchError::NoRoots), "{error}");
}

#[tokio::test]
async fn its_tasks_end_with_it() {
    let server = Server::start().await;
    server.has("/keys", "{}");
    let tracker = TaskTracker::new();
    let client = Client::trusting(RootCertStore::empty(), &tracker);
    client.get(&url(&server, "/keys")).await.unwrap();
    drop(client);
    tracker.close();
    timeout(Duration::from_secs(10), tracker.wait()).await.unwrap();
}
