use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde_json::json;
use tokio_util::sync::DropGuard;

use super::testing::{Server, Signer, claims, config, encode, key_set, seconds, until};
use super::*;
use crate::config::jwt::SecureUrl;

const ISSUER: &str = "https://issuer.example";

/// A verifier with a file of these keys.
struct WithFile {
    verifier: Arc<Verifier>,
    file: tempfile::NamedTempFile,
    _stop: DropGuard,
}

fn write(file: &tempfile::NamedTempFile, signers: &[&Signer]) {
    std::fs::write(file.path(), key_set(signers).to_string()).unwrap();
}

fn with_file(signers: &[&Signer]) -> WithFile {
    let (file, stop) = (tempfile::NamedTempFile::new().unwrap(), CancellationToken::new());
    write(&file, signers);
    let config = config(ISSUER, KeySource::File(file.path().to_owned()));
    let verifier = Verifier::new(config, &TaskTracker::new(), stop.clone()).unwrap();
    WithFile { verifier, file, _stop: stop.drop_guard() }
}

fn start(config: JwtConfig) -> (Arc<Verifier>, DropGuard) {
    let stop = CancellationToken::new();
    (Verifier::new(config, &TaskTracker::new(), stop.clone()).unwrap(), stop.drop_guard())
}

fn es256(kid: &str) -> Signer {
    Signer::new(Algorithm::Es256, Some(kid))
}

/// What is said without any waiting.
fn at_once(verifier: &Verifier, token: &str) -> Option<Result<Verified, TokenError>> {
    match pin!(verifier.verify(token)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(said) => Some(said),
        Poll::Pending => None,
    }
}

fn fault(verifier: &Verifier, token: &str) -> TokenError {
    at_once(verifier, token).expect("nothing to wait for").unwrap_err()
}

/// So that the keys may be asked for once more.
async fn let_it_rest() {
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_token_whose_key_is_known_is_answered_without_waiting() {
    let signer = es256("a");
    let WithFile { verifier, .. } = &with_file(&[&signer]);
    let token = signer.token(&claims(ISSUER));
    for _ in 0..2 {
        assert_eq!(at_once(verifier, &token).unwrap().unwrap().subject, "alice");
    }
}

#[tokio::test]
async fn every_algorithm_is_accepted_with_its_own_key() {
    for algorithm in Algorithm::ALL {
        for kid in [None, Some("a")] {
            let signer = Signer::new(algorithm, kid);
            let WithFile { verifier, .. } = &with_file(&[&signer]);
            assert!(at_once(verifier, &signer.token(&claims(ISSUER))).unwrap().is_ok(), "{algorithm:?} {kid:?}");
        }
    }
}

// spec: RFC 8725, 2.1 and 3.1: what a token says of its algorithm does not decide how it is checked.
#[tokio::test]
async fn a_public_key_is_never_a_shared_secret() {
    let rsa = Signer::new(Algorithm::Rs256, Some("a"));
    let WithFile { verifier, .. } = &with_file(&[&rsa]);
    let jwk = rsa.jwk();
    let secrets = [
        jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        jwk.to_string().into_bytes(),
        key_set(&[&rsa]).to_string().into(),
    ];
    for name in ["HS256", "hs256", "HS512", "none", "None", ""] {
        let signed =
            format!("{}.{}", encode(json!({"alg": name, "kid": "a"}).to_string()), encode(claims(ISSUER).to_string()));
        for secret in &secrets {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
            let token = format!("{signed}.{}", encode(ring::hmac::sign(&key, signed.as_bytes())));
            assert_eq!(fault(verifier, &token), Fault::Algorithm.into(), "{name}");
        }
        assert_eq!(fault(verifier, &format!("{signed}.")), Fault::Algorithm.into(), "{name}");
    }
    // Nor is no signature at all one.
    let token = rsa.token(&claims(ISSUER));
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(fault(verifier, &format!("{signed}.")), Fault::Signature.into());
}

#[tokio::test]
async fn a_key_that_a_token_brings_is_not_used() {
    let (own, evil) = (es256("a"), es256("a"));
    let WithFile { verifier, .. } = &with_file(&[&own]);
    let header =
        json!({"alg": "ES256", "kid": "a", "jwk": evil.jwk(), "jku": "https://evil.example/keys", "x5c": ["AA"]});
    assert_eq!(fault(verifier, &evil.token_with(&header, &claims(ISSUER))), Fault::Signature.into());
}

#[tokio::test]
async fn a_token_signed_with_another_key_of_the_issuer_than_it_says_is_refused() {
    let (a, b, rsa) = (es256("a"), es256("b"), Signer::new(Algorithm::Rs256, Some("rsa")));
    let WithFile { verifier, .. } = &with_file(&[&a, &b, &rsa]);
    let token = |signer: &Signer, header| signer.token_with(&header, &claims(ISSUER));
    for (token, expected) in [
        (token(&a, json!({"alg": "ES256", "kid": "b"})), Fault::Signature),
        (token(&a, json!({"alg": "ES256", "kid": "rsa"})), Fault::KeyMisfit),
        (token(&rsa, json!({"alg": "RS256", "kid": "a"})), Fault::KeyMisfit),
        (token(&rsa, json!({"alg": "PS256", "kid": "rsa"})), Fault::Signature),
        (token(&a, json!({"alg": "ES256", "kid": "c"})), Fault::KeyUnknown),
        (token(&a, json!({"alg": "ES256"})), Fault::KeyAmbiguous),
        (token(&a, json!({"alg": "ES384"})), Fault::KeyUnknown),
    ] {
        assert_eq!(fault(verifier, &token), expected.into(), "{token}");
    }
    assert!(at_once(verifier, &token(&rsa, json!({"alg": "RS256"}))).unwrap().is_ok());
}

#[tokio::test]
async fn a_byte_that_is_changed_makes_a_token_worth_nothing() {
    let signer = es256("a");
    let WithFile { verifier, .. } = &with_file(&[&signer]);
    let token = signer.token(&claims(ISSUER));
    assert!(at_once(verifier, &token).unwrap().is_ok());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(at_once(verifier, &changed).unwrap().is_err(), "{at}");
        assert!(at_once(verifier, token.get(..at).unwrap()).unwrap().is_err(), "{at}");
    }
}

#[tokio::test]
async fn only_the_issuers_tokens_for_this_server_are_accepted() {
    let signer = es256("a");
    let WithFile { verifier, .. } = &with_file(&[&signer]);
    for (name, value, expected) in [
        ("iss", json!("https://other.example"), Fault::Issuer),
        ("aud", json!("https://other.example"), Fault::Audience),
        ("exp", json!(seconds() - 60), Fault::Expired),
        ("nbf", json!(seconds() + 60), Fault::NotYet),
        ("sub", json!(1), Fault::Subject),
    ] {
        let mut claims = claims(ISSUER);
        claims[name] = value;
        assert_eq!(fault(verifier, &signer.token(&claims)), expected.into());
    }
}

#[tokio::test]
async fn a_token_is_asked_for_again_only_with_other_keys_or_after_its_end() {
    let (a, b) = (es256("a"), es256("b"));
    let WithFile { verifier, file, .. } = &with_file(&[&a]);
    let token = a.token(&claims(ISSUER));
    let now = Now { date: SystemTime::now(), instant: Instant::now() };
    assert!(verifier.verify_at(&token, now).await.is_ok());
    let later = now.date + std::time::Duration::from_secs(631);
    let over = verifier.verify_at(&token, Now { date: later, ..now }).await;
    assert_eq!(over.unwrap_err(), Fault::Expired.into());
    // The key is withdrawn: what was found with it is forgotten.
    write(file, &[&b]);
    verifier.reload();
    until(async || verifier.keeper.known().generation == 2).await;
    assert_eq!(fault(verifier, &token), Fault::KeyUnknown.into());
    assert!(at_once(verifier, &b.token(&claims(ISSUER))).unwrap().is_ok());
}

#[tokio::test]
async fn a_file_without_a_key_stops_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = config(ISSUER, KeySource::File(file.path().to_owned()));
    let error = Verifier::new(config, &TaskTracker::new(), CancellationToken::new()).unwrap_err();
    assert!(error.to_string().starts_with("cannot use the keys of "), "{error}");
}

#[tokio::test]
async fn tokens_of_an_issuer_with_a_path_are_verified_with_keys_that_its_metadata_names() {
    let (server, signer) = (Server::start().await, es256("a"));
    let issuer = server.is_issuer("/tenant", &key_set(&[&signer]));
    let (verifier, _stop) = start(config(&issuer, KeySource::Issuer));
    assert_eq!(verifier.verify(&signer.token(&claims(&issuer))).await.unwrap().subject, "alice");
    assert_eq!(server.asked(), ["/.well-known/oauth-authorization-server/tenant", "/keys"]);
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_had_once_for_all_who_wait() {
    let (server, a, b) = (Server::start().await, es256("a"), es256("b"));
    let issuer = server.is_issuer("", &key_set(&[&a]));
    let keys = SecureUrl::parse(&format!("{issuer}/keys")).unwrap();
    let (verifier, _stop) = start(config(&issuer, KeySource::Url(keys)));
    let (old, new) = (a.token(&claims(&issuer)), b.token(&claims(&issuer)));
    assert!(verifier.verify(&old).await.is_ok());
    assert_eq!(server.asked(), ["/keys"]);
    // Too short a time after the last load: it waits. What no key could make good does not.
    assert!(at_once(&verifier, &new).is_none());
    let mut late = claims(&issuer);
    late["exp"] = json!(seconds() - 60);
    assert_eq!(fault(&verifier, &b.token(&late)), Fault::Expired.into());
    server.has("/keys", key_set(&[&a, &b]));
    server.hold(true);
    let_it_rest().await;
    let tasks = TaskTracker::new();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (verifier, new) = (Arc::clone(&verifier), new.clone());
            tasks.spawn(async move { verifier.verify(&new).await.is_ok() })
        })
        .collect();
    let mut asked = Vec::new();
    until(async || {
        asked.extend(server.asked());
        !asked.is_empty()
    })
    .await;
    // Meanwhile those with a key that is known wait for nobody.
    assert!(at_once(&verifier, &old).unwrap().is_ok());
    assert!(at_once(&verifier, &a.token(&claims(&issuer))).unwrap().is_ok());
    server.hold(false);
    for one in waiting {
        assert!(one.await.unwrap());
    }
    asked.extend(server.asked());
    assert_eq!(asked, ["/keys"]);
}

#[tokio::test]
async fn a_key_that_is_newer_than_the_load_under_way_is_had_with_the_next() {
    let (server, a, b, c) = (Server::start().await, es256("a"), es256("b"), es256("c"));
    let issuer = server.is_issuer("", &key_set(&[&a]));
    let keys = SecureUrl::parse(&format!("{issuer}/keys")).unwrap();
    let (verifier, _stop) = start(config(&issuer, KeySource::Url(keys)));
    assert!(verifier.verify(&a.token(&claims(&issuer))).await.is_ok());
    server.asked();
    let_it_rest().await;
    server.hold(true);
    let tasks = TaskTracker::new();
    let ask = |token: String| {
        let verifier = Arc::clone(&verifier);
        tasks.spawn(async move { verifier.verify(&token).await })
    };
    let made_up = ask(c.token(&claims(&issuer)));
    until(async || !server.asked().is_empty()).await;
    // The load has begun, and brings the old keys; then there is another one.
    let new = ask(b.token(&claims(&issuer)));
    tokio::task::yield_now().await;
    server.hold(false);
    until(async || !verifier.keeper.known().is_loading()).await;
    server.has("/keys", key_set(&[&a, &b]));
    assert!(made_up.await.unwrap().is_err());
    let_it_rest().await;
    assert!(new.await.unwrap().is_ok());
}

#[tokio::test]
async fn an_issuer_without_names_for_its_keys_can_have_another_one_too() {
    let (server, a, b) =
        (Server::start().await, Signer::new(Algorithm::EdDsa, None), Signer::new(Algorithm::EdDsa, None));
    let issuer = server.is_issuer("", &key_set(&[&a]));
    let (verifier, _stop) = start(config(&issuer, KeySource::Issuer));
    assert!(verifier.verify(&a.token(&claims(&issuer))).await.is_ok());
    server.has("/keys", key_set(&[&b]));
    assert!(at_once(&verifier, &b.token(&claims(&issuer))).is_none());
    let_it_rest().await;
    assert!(verifier.verify(&b.token(&claims(&issuer))).await.is_ok());
    let_it_rest().await;
    assert_eq!(verifier.verify(&a.token(&claims(&issuer))).await.unwrap_err(), Fault::Signature.into());
}

#[tokio::test]
async fn while_the_issuer_cannot_be_asked_nothing_is_said_of_tokens_with_unknown_keys() {
    let (server, a, b) = (Server::start().await, es256("a"), es256("b"));
    let issuer = format!("{}/tenant", server.origin);
    let (verifier, _stop) = start(config(&issuer, KeySource::Issuer));
    let (old, new) = (a.token(&claims(&issuer)), b.token(&claims(&issuer)));
    assert_eq!(verifier.verify(&old).await.unwrap_err(), TokenError::KeysUnavailable);
    assert_eq!(fault(&verifier, &old), TokenError::KeysUnavailable);
    // What is wrong without any key is wrong.
    assert_eq!(fault(&verifier, "x.y.z"), Fault::Malformed.into());
    server.is_issuer("/tenant", &key_set(&[&a]));
    let_it_rest().await;
    assert!(verifier.verify(&old).await.is_ok());
    assert!(at_once(&verifier, &new).is_none());
    // The issuer is gone: who is known stays in, and of others one cannot say.
    server.has("/keys", "<html>");
    let_it_rest().await;
    assert_eq!(verifier.verify(&new).await.unwrap_err(), TokenError::KeysUnavailable);
    assert!(at_once(&verifier, &a.token(&claims(&issuer))).unwrap().is_ok());
}

#[tokio::test]
async fn the_task_ends_with_the_program_also_while_the_issuer_is_slow() {
    let server = Server::start().await;
    let issuer = server.is_issuer("", &key_set(&[]));
    server.hold(true);
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let verifier = Verifier::new(config(&issuer, KeySource::Issuer), &tracker, stop.clone()).unwrap();
    let token = es256("a").token(&claims(&issuer));
    until(async || !server.asked().is_empty()).await;
    let waiting = verifier.verify(&token);
    stop.cancel();
    assert_eq!(waiting.await.unwrap_err(), TokenError::KeysUnavailable);
    tracker.close();
    tokio::time::timeout(std::time::Duration::from_secs(10), tracker.wait()).await.unwrap();
}

#[test]
fn no_error_says_what_a_token_says() {
    let verified = Verified {
        subject: "alice".to_owned(),
        expires: SystemTime::UNIX_EPOCH,
        policy: Some(Arc::new(json!({"env": {"API_KEY": "secret"}}))),
    };
    assert!(!format!("{verified:?}").contains("secret"));
}

// spec: RFC 6750, 3: `error_description` has visible ASCII and blanks, without `"` and `\`.
#[test]
fn every_fault_can_be_said_in_a_header() {
    for fault in [
        Fault::Malformed,
        Fault::TooLong,
        Fault::Algorithm,
        Fault::Critical,
        Fault::Kind,
        Fault::KeyUnknown,
        Fault::KeyMisfit,
        Fault::KeyAmbiguous,
        Fault::Signature,
        Fault::Claims,
        Fault::Issuer,
        Fault::Audience,
        Fault::Expired,
        Fault::NoExpiry,
        Fault::Date,
        Fault::NotYet,
        Fault::IssuedLater,
        Fault::IdToken,
        Fault::Subject,
    ] {
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte);
        assert!(fault.to_string().bytes().all(plain), "{fault}");
    }
}
