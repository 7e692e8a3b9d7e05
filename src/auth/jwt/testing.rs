//! An issuer for tests: its keys, its tokens, and a server on loopback that has its documents.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::jwt::{Algorithm, JwtConfig, KeySource, SecureUrl};

/// The audience of [`config`].
pub(crate) const AUDIENCE: &str = "https://mcp.example/mcp";

/// What accepts the tokens of this issuer for [`AUDIENCE`].
pub(crate) fn config(issuer: &str, keys: KeySource) -> JwtConfig {
    JwtConfig {
        issuer: SecureUrl::parse(issuer).unwrap(),
        audiences: vec!["other".to_owned(), AUDIENCE.to_owned()],
        keys,
        algorithms: Algorithm::ALL.to_vec(),
        scopes: Vec::new(),
        leeway: Duration::from_secs(30),
        claim_env: Vec::new(),
        principal_claim: "mcp_mux".to_owned(),
    }
}

/// Now, as tokens say it.
pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Waits until it is so, which takes no longer than others need.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.expect("it is never so");
}

/// The claims of a token that is right.
pub(crate) fn claims(issuer: &str) -> Value {
    json!({"iss": issuer, "aud": AUDIENCE, "sub": "alice", "iat": seconds(), "exp": seconds() + 600})
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair of an issuer.
pub(crate) struct Signer {
    algorithm: Algorithm,
    kid: Option<String>,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

impl Signer {
    /// A new key pair; for RSA always the same.
    pub(crate) fn new(algorithm: Algorithm, kid: Option<&str>) -> Self {
        let random = SystemRandom::new();
        let ec = |of| {
            let document = EcdsaKeyPair::generate_pkcs8(of, &random).unwrap();
            Pair::Ec(EcdsaKeyPair::from_pkcs8(of, document.as_ref(), &random).unwrap())
        };
        let rsa = |encoding| {
            let document = STANDARD.decode(RSA_KEY.concat()).unwrap();
            Pair::Rsa(RsaKeyPair::from_der(&document).unwrap(), encoding)
        };
        let pair = match algorithm {
            Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
            Algorithm::Es256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDsa => {
                let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                Pair::Ed(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
            }
        };
        Self { algorithm, kid: kid.map(str::to_owned), pair }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// The public half, and no more than has to be said of it.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())}),
            Pair::Rsa(pair, _) => {
                let components = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": encode(components.n), "e": encode(components.e)})
            }
        };
        if let Some(kid) = &self.kid {
            jwk["kid"] = json!(kid);
        }
        jwk
    }

    /// A token with this header, whatever it says.
    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        format!("{signed}.{}", encode(self.sign(signed.as_bytes())))
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        let mut header = json!({"alg": self.algorithm.as_str()});
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        self.token_with(&header, claims)
    }
}

/// A JWK set of these.
pub(crate) fn key_set(signers: &[&Signer]) -> Value {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()})
}

/// A server that has documents, until it is dropped.
pub(crate) struct Server {
    /// `http://127.0.0.1:1234`, or with https and `localhost`.
    pub(crate) origin: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<HashMap<String, Answer>>,
    asked: Mutex<Vec<String>>,
    held: watch::Sender<bool>,
}

/// What a server has in one place.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) header: (&'static str, String),
    pub(crate) body: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin =
            if tls.is_some() { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
        let (shared, stop, tracker) = (Arc::<Shared>::default(), CancellationToken::new(), TaskTracker::new());
        let server = Self { origin, shared: Arc::clone(&shared), _stop: stop.clone().drop_guard() };
        let (connections, stopped) = (tracker.clone(), stop.clone());
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                let connection = async move {
                    match tls {
                        None => serve(stream, shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, shared).await;
                            }
                        }
                    }
                };
                connections.spawn(stopped.clone().run_until_cancelled_owned(connection));
            }
        };
        tracker.spawn(stop.run_until_cancelled_owned(accept));
        server
    }

    /// Has a document.
    pub(crate) fn has(&self, path: &str, body: impl ToString) {
        self.answers(path, Answer { status: 200, header: ("x-none", String::new()), body: body.to_string() });
    }

    pub(crate) fn answers(&self, path: &str, answer: Answer) {
        self.shared.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Whether answers wait.
    pub(crate) fn hold(&self, held: bool) {
        self.shared.held.send_replace(held);
    }

    /// What was asked for since the last time, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// Has metadata of an issuer with this path, and its keys, and says who it is.
    pub(crate) fn is_issuer(&self, path: &str, keys: &Value) -> String {
        let issuer = format!("{}{path}", self.origin);
        let metadata = json!({"issuer": issuer, "jwks_uri": format!("{}/keys", self.origin)});
        self.has(&format!("/.well-known/oauth-authorization-server{path}"), metadata);
        self.has("/keys", keys);
        issuer
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let answer = async |request: Request<Incoming>| {
        let accept = request.headers().get("accept").and_then(|accept| accept.to_str().ok());
        assert_eq!(accept, Some("application/json"));
        let path = request.uri().to_string();
        shared.asked.lock().unwrap().push(path.clone());
        shared.held.subscribe().wait_for(|held| !held).await.unwrap();
        let answer = shared.answers.lock().unwrap().get(&path).cloned();
        let response = match answer {
            Some(Answer { status, header: (name, value), body }) => {
                Response::builder().status(status).header(name, value).body(Full::new(Bytes::from(body))).unwrap()
            }
            None => Response::builder().status(404).body(Full::default()).unwrap(),
        };
        Ok::<_, Infallible>(response)
    };
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

/// Made for these tests, and used for nothing else.
#[rustfmt::skip]
const RSA_KEY: [&str; 16] = [
    "MIIEpQIBAAKCAQEAs3lxf1eRawiVjQSIQDdQyLsoKRU9KLM1FMbk9OkPTOdFSc+ad9E3aOl0YqchZSVTT/MclP/JRgl8MHkquyyvencd",
    "p4jx9vAcTYkfe1m7+VUV8Ny5VYenpBN8dk8dW119AtfQOLOwEsz4japmphfX8I2p1ErItOHF5U5zuc9AXfaQNqe7eg2FsBs8r3GenQbb",
    "eLkNwpw37rJS2wqiUQzmJLAnczOnpNjEDof1JzRZXH6wV9UVgl/tRVXdIlpoN9PEWJic1Q2Ho5go0fq/p4mJ+GNnJwChDKYeYc3E35eu",
    "ejJ0se6dsBhXCmAQj+xsvc7Pbd2vpVWGAxJ6qVPVNSuEoQIDAQABAoIBADLD67Qq51GgtHiWaxnK67lToxj3znxYMHAHkFSsJa1Jj4JA",
    "zD8O+T7eJhMPljUfeTDYoeGNdneukCe/5jPagGpCDivI4zRHl6Hg4vxHlhGBHTsrm+rS+7q/3kkyuKmSyJ0IwXeAcBHpU3by16UsgmKj",
    "F4IagyoS4KCrb7WDp3/MGDyVge6XjH/jaOVG3utZfDqCwZgjJdhP0lPBCUhHm03jHskfcGrKRpgXTXBKFTORp5GfGE3LKwTq8zLx7rXA",
    "zIb83UFsDCquC+m99CMjXvHShheLMNCo//QbjhJmF1+W85cPrCrCZAGlj4m3GAGld4vpsJk/ASSKJwC8TAizA78CgYEA5+cR4w1p/ZOe",
    "gJSltCbxXNwmNZDxEseVHRDXfe4zETmFbq4/vcCGvkMAKC1J061HPDH8uKdKuByq5wtlv1mKGiV4OLKNuAvflE1gObMoU5XcBuYPwnlz",
    "VJhsz2Q/hJgmJ11ioIEyhOjTL4OLI0Ff6WS8k0EJNastbinrraY/IcMCgYEAxh+1y1TNovqs0tqTvBWzEFcOGI5nu4ypmV1b/4CpNobV",
    "Hnm6Ore9U6SaGSu4lDsj0/h09B3XC5OD1+HQSElegcY7AZq+inijloCrbZ0NlfXMJK8ZHsPk+2PejpXWGUYvh0wCO45pqOTzqARMqLOe",
    "Ieqz9vKA6QDv3IDMKWUiVcsCgYEAi4Ms9J7GTAJ6EbrbsXTYMdhTuFgZYAXoBFN0gNNDr7IePwbfXAWuSlo+hu0wBAOz3lfoRSKHxhmh",
    "C1yE+sggWDiAigOJVNb3y9187VmGAjse4puXkZTFOHh2xZH20ItEMNxykEMJpIH5QxVtKGmVDPFIrYIryzjPHP5lRdPFGUcCgYEAh2RQ",
    "Jb20MXZA+G7qmpPxpG75cQqQFPjRRb8pCXfxKxQFPChPfaTmuuw3apAYOSQZHdgihFiIBp8ucC8e2OdasDC5TiVjpNlAYa9YdzXmfN5W",
    "PZNzBTU1nB3pj2MRxn/SJxFoTS7LQeIEKIOXp4nnvKHZjh62vYQoZnWWD4vPZPUCgYEAmwfAFmw2cd7iQE1ageDj6esfYZkZxReVxUr7",
    "h6Vye2fRCl0+ktvo/XMufF67LW4Pk/zOh5DTkZ9MGh2XFq3+/wNHoN60kHcrCbjWY4fXyAnd1ColzHhHuDC1IURVhvoCHg0sWbn6KG4m",
    "rYn9UK6gmUFEwpUzu2Cxyya/ukuoQLU=",
];
