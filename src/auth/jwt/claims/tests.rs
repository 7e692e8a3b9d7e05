use proptest::prelude::*;
use serde_json::json;

use super::super::testing::{AUDIENCE, config};
use super::*;
use crate::config::jwt::KeySource;

const ISSUER: &str = "https://issuer.example";
/// The time of the tests, with a leeway of 30 s.
const NOW: u64 = 1_800_000_000;

fn expectations(scopes: &[&str]) -> Expectations {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    Expectations::new(JwtConfig { scopes, ..config(ISSUER, KeySource::Issuer) })
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn right() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 60, "iat": NOW})
}

/// A right token's claims with these instead; null takes one away.
fn with(changes: &Value) -> Value {
    let mut claims = right();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn check(claims: &Value, scopes: &[&str]) -> Result<Verified, TokenError> {
    expectations(scopes).check(claims.to_string().as_bytes(), Kind::Unknown, at(NOW))
}

fn fault(changes: &Value) -> Option<Fault> {
    match check(&with(changes), &[]) {
        Ok(_) => None,
        Err(TokenError::Invalid(fault)) => Some(fault),
        Err(error @ (TokenError::InsufficientScope { .. } | TokenError::KeysUnavailable)) => panic!("{error:?}"),
    }
}

#[test]
fn a_token_that_is_right_says_who_until_when_and_what_they_may() {
    let verified = check(&right(), &[]).unwrap();
    assert_eq!((verified.subject.as_str(), verified.expires, verified.policy), ("alice", at(NOW + 90), None));
    for policy in [json!({"rate": "1/s", "env": {"A": "b"}}), json!([1]), json!("text")] {
        let verified = check(&with(&json!({"mcp_mux": policy})), &[]).unwrap();
        assert_eq!(verified.policy.as_deref(), Some(&policy));
    }
}

// spec: 2026-07-28 basic/authorization, Token Handling: "MUST validate that access tokens were issued specifically for them".
#[test]
fn every_claim_that_can_be_wrong_is_refused() {
    let many = |with: &str| json!((0..1000).map(|at| at.to_string()).chain([with.to_owned()]).collect::<Vec<_>>());
    for (changes, expected) in [
        (json!({}), None),
        (json!({"iss": null}), Some(Fault::Issuer)),
        (json!({"iss": "https://issuer.example/"}), Some(Fault::Issuer)),
        (json!({"iss": "https://ISSUER.example"}), Some(Fault::Issuer)),
        (json!({"iss": "https://evil.example"}), Some(Fault::Issuer)),
        (json!({"iss": [ISSUER]}), Some(Fault::Issuer)),
        (json!({"aud": null}), Some(Fault::Audience)),
        (json!({"aud": "https://mcp.example/mcp/"}), Some(Fault::Audience)),
        (json!({"aud": "https://mcp.example"}), Some(Fault::Audience)),
        (json!({"aud": ""}), Some(Fault::Audience)),
        (json!({"aud": []}), Some(Fault::Audience)),
        (json!({"aud": [1, {}, [AUDIENCE]]}), Some(Fault::Audience)),
        (json!({"aud": {"0": AUDIENCE}}), Some(Fault::Audience)),
        (json!({"aud": "a b https://mcp.example/mcp"}), Some(Fault::Audience)),
        (json!({"aud": "other"}), None),
        (json!({"aud": ["x", AUDIENCE]}), None),
        (json!({"aud": many(AUDIENCE)}), None),
        (json!({"exp": null}), Some(Fault::NoExpiry)),
        (json!({"exp": NOW - 29}), None),
        (json!({"exp": NOW - 30}), Some(Fault::Expired)),
        (json!({"exp": NOW as f64 - 29.5}), None),
        (json!({"exp": 0}), Some(Fault::Expired)),
        (json!({"exp": -1}), Some(Fault::Date)),
        (json!({"exp": "1800000060"}), Some(Fault::Date)),
        (json!({"exp": true}), Some(Fault::Date)),
        (json!({"exp": (NOW + 60) * 1000}), Some(Fault::Date)),
        (json!({"exp": 1e300}), Some(Fault::Date)),
        (json!({"exp": 253_402_300_799_u64}), None),
        (json!({"nbf": NOW}), None),
        (json!({"nbf": NOW + 30}), None),
        (json!({"nbf": NOW + 31}), Some(Fault::NotYet)),
        (json!({"nbf": "now"}), Some(Fault::Date)),
        (json!({"nbf": -1.5}), Some(Fault::Date)),
        (json!({"iat": null}), None),
        (json!({"iat": NOW + 30}), None),
        (json!({"iat": NOW + 31}), Some(Fault::IssuedLater)),
        (json!({"iat": {}}), Some(Fault::Date)),
        (json!({"sub": null}), Some(Fault::Subject)),
        (json!({"sub": ""}), Some(Fault::Subject)),
        (json!({"sub": 7}), Some(Fault::Subject)),
        (json!({"sub": ["alice"]}), Some(Fault::Subject)),
        (json!({"sub": "a".repeat(2048)}), None),
        (json!({"sub": "a".repeat(2049)}), Some(Fault::Subject)),
        (json!({"sub": "client:app"}), Some(Fault::Subject)),
        (json!({"sub": "", "client_id": "app"}), Some(Fault::Subject)),
        (json!({"sub": null, "client_id": ""}), Some(Fault::Subject)),
        (json!({"sub": null, "client_id": 7, "azp": "app"}), Some(Fault::Subject)),
    ] {
        assert_eq!(fault(&changes), expected, "{changes}");
    }
}

#[test]
fn a_leeway_of_nothing_is_none() {
    let strict = Expectations::new(JwtConfig { leeway: Duration::ZERO, ..config(ISSUER, KeySource::Issuer) });
    let check = |changes: &Value| {
        strict.check(with(changes).to_string().as_bytes(), Kind::Unknown, at(NOW)).map(|verified| verified.expires)
    };
    assert_eq!(check(&json!({"exp": NOW + 1})), Ok(at(NOW + 1)));
    assert_eq!(check(&json!({"exp": NOW})), Err(Fault::Expired.into()));
    assert_eq!(check(&json!({"nbf": NOW + 1})), Err(Fault::NotYet.into()));
    assert_eq!(check(&json!({"nbf": NOW})), Ok(at(NOW + 60)));
}

#[test]
fn a_clock_before_1970_lets_nobody_in() {
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let checked = expectations(&[]).check(right().to_string().as_bytes(), Kind::Unknown, before);
    assert_eq!(checked.unwrap_err(), Fault::Expired.into());
}

#[test]
fn a_client_without_a_user_is_never_taken_for_a_user() {
    let subject = |changes: &Value| check(&with(changes), &[]).map(|verified| verified.subject);
    assert_eq!(subject(&json!({"sub": null, "client_id": "app", "azp": "b"})).unwrap(), "client:app");
    assert_eq!(subject(&json!({"sub": null, "azp": "app"})).unwrap(), "client:app");
    assert_eq!(subject(&json!({"sub": "app", "client_id": "app"})).unwrap(), "app");
    assert!(subject(&json!({"sub": "client:app", "client_id": "app"})).is_err());
}

#[test]
fn every_scope_that_is_wanted_must_be_there() {
    let wanted = ["mcp:use", "files:read"];
    for (changes, enough) in [
        (json!({"scope": "files:read mcp:use"}), true),
        (json!({"scope": "openid files:read  profile mcp:use "}), true),
        (json!({"scope": ["files:read", "mcp:use"]}), true),
        (json!({"scp": "files:read mcp:use"}), true),
        (json!({"scp": ["files:read", "mcp:use"]}), true),
        (json!({"scp": ["files:read"], "scope": "mcp:use"}), true),
        (json!({}), false),
        (json!({"scope": ""}), false),
        (json!({"scope": "mcp:use"}), false),
        (json!({"scope": "mcp:use files:readwrite"}), false),
        (json!({"scope": "MCP:USE files:read"}), false),
        (json!({"scope": "mcp:use,files:read"}), false),
        (json!({"scope": {"mcp:use": true, "files:read": true}}), false),
        (json!({"scopes": "mcp:use files:read"}), false),
    ] {
        let checked = check(&with(&changes), &wanted).map(|verified| verified.subject);
        let missing = TokenError::InsufficientScope { wanted: "mcp:use files:read".into() };
        assert_eq!(checked, if enough { Ok("alice".to_owned()) } else { Err(missing) }, "{changes}");
    }
    // A token that is wrong is wrong, whatever its scopes: else a client would ask for more scopes in vain.
    assert_eq!(check(&with(&json!({"exp": 0})), &wanted).unwrap_err(), Fault::Expired.into());
}

#[test]
fn an_id_token_is_not_taken_for_an_access_token() {
    for (changes, expected) in [
        (json!({"at_hash": "x"}), Some(Fault::IdToken)),
        (json!({"c_hash": "x"}), Some(Fault::IdToken)),
        (json!({"typ": "ID"}), Some(Fault::IdToken)),
        (json!({"token_use": "id"}), Some(Fault::IdToken)),
        (json!({"typ": "Bearer", "token_use": "access", "nonce": "x"}), None),
    ] {
        assert_eq!(fault(&changes), expected, "{changes}");
    }
    // One whose header says that it is an access token is one.
    let claims = with(&json!({"at_hash": "x"})).to_string();
    assert!(expectations(&[]).check(claims.as_bytes(), Kind::AccessToken, at(NOW)).is_ok());
}

#[test]
fn claims_are_an_object_and_one_that_stands_twice_counts_as_it_stands_last() {
    let check = |payload: &str| expectations(&[]).check(payload.as_bytes(), Kind::Unknown, at(NOW));
    for payload in ["", "[]", "null", "\"a\"", "{", "{\"a\":1}x"] {
        assert_eq!(check(payload).unwrap_err(), Fault::Claims.into(), "{payload}");
    }
    assert_eq!(expectations(&[]).check(b"{\"a\":\"\xff\"}", Kind::Unknown, at(NOW)).unwrap_err(), Fault::Claims.into());
    let rest = format!(r#""aud":"{AUDIENCE}","sub":"alice","exp":{}"#, NOW + 60);
    assert!(check(&format!(r#"{{"iss":"x","iss":"{ISSUER}",{rest}}}"#)).is_ok());
    assert!(check(&format!(r#"{{"iss":"{ISSUER}","iss":"x",{rest}}}"#)).is_err());
}

proptest! {
    /// Whatever the dates: a token is accepted exactly within them.
    #[test]
    fn a_token_is_accepted_from_its_first_to_its_last_second(
        exp in NOW - 100..NOW + 100, nbf in NOW - 100..NOW + 100, iat in NOW - 100..NOW + 100,
    ) {
        let checked = check(&with(&json!({"exp": exp, "nbf": nbf, "iat": iat})), &[]);
        let within = NOW < exp + 30 && NOW + 30 >= nbf && NOW + 30 >= iat;
        prop_assert_eq!(checked.is_ok(), within);
    }

    /// Whatever an issuer writes is read or refused.
    #[test]
    fn nothing_that_is_signed_makes_it_stumble(name in "iss|aud|exp|nbf|iat|sub|scope|scp|client_id", value in any::<f64>()) {
        for value in [json!(value), json!([value]), json!({"a": value}), json!(value.to_string())] {
            let _ = check(&with(&json!({&name: value})), &["a"]);
        }
    }
}
