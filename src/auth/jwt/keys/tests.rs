use serde_json::json;

use super::super::testing::{Signer, encode, key_set};
use super::*;

fn parse(document: &Value) -> KeySet {
    KeySet::parse(document.to_string().as_bytes()).unwrap()
}

fn find<'a>(keys: &'a KeySet, kid: Option<&str>, algorithm: Algorithm) -> Result<&'a Key, NoKey> {
    keys.find(kid, algorithm)
}

/// A set of this signer's key with other members.
fn with(signer: &Signer, members: &Value) -> KeySet {
    let mut jwk = signer.jwk();
    for (name, value) in members.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    parse(&json!({"keys": [jwk]}))
}

#[test]
fn every_algorithm_verifies_its_own_signatures_and_nobody_elses() {
    let message = b"signed";
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm, None);
        let (keys, signature) = (parse(&key_set(&[&signer])), signer.sign(message));
        let key = find(&keys, None, algorithm).unwrap();
        for other in Algorithm::ALL {
            assert_eq!(key.verifies(other, message, &signature), other == algorithm, "{algorithm:?} as {other:?}");
        }
        assert!(!key.verifies(algorithm, b"Signed", &signature));
        assert!(!key.verifies(algorithm, message, &[]));
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!key.verifies(algorithm, message, &changed), "{algorithm:?}");
            assert!(!key.verifies(algorithm, message, &signature[..at]), "{algorithm:?}");
        }
        assert!(!key.verifies(algorithm, message, &[signature.as_slice(), &[0]].concat()));
        assert!(!key.verifies(algorithm, message, &vec![0; signature.len()]));
    }
}

/// What others have signed: the examples of RFC 7515 (A.2, A.3) and RFC 8037 (A.4).
#[test]
fn the_examples_of_the_specifications_verify() {
    let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let rsa = json!({"kty": "RSA", "e": "AQAB", "n": concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNM",
        "sD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtd",
        "VMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    )});
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    for (jwk, algorithm, signed, signature) in [
        (
            rsa,
            Algorithm::Rs256,
            format!("eyJhbGciOiJSUzI1NiJ9.{claims}"),
            concat!(
                "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9C",
                "UAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6",
                "_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp",
                "0igcN_IoypGlUPQGe77Rw",
            ),
        ),
        (
            ec,
            Algorithm::Es256,
            format!("eyJhbGciOiJFUzI1NiJ9.{claims}"),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            okp,
            Algorithm::EdDsa,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        let keys = parse(&json!({"keys": [jwk]}));
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = find(&keys, None, algorithm).unwrap();
        assert!(key.verifies(algorithm, signed.as_bytes(), &signature), "{algorithm:?}");
    }
}

#[test]
fn a_key_is_found_by_its_name_and_only_for_what_it_is_for() {
    let (a, b) = (Signer::new(Algorithm::Es256, Some("a")), Signer::new(Algorithm::Es256, Some("b")));
    let (rsa, ed) = (Signer::new(Algorithm::Rs256, Some("rsa")), Signer::new(Algorithm::EdDsa, None));
    let keys = parse(&key_set(&[&a, &b, &rsa, &ed]));
    assert_eq!((keys.len(), keys.unusable()), (4, 0));
    let kid = |kid, algorithm| keys.find(kid, algorithm).map(|key| key.kid.as_deref());
    assert_eq!(kid(Some("a"), Algorithm::Es256), Ok(Some("a")));
    assert_eq!(kid(Some("b"), Algorithm::Es256), Ok(Some("b")));
    assert_eq!(kid(Some("rsa"), Algorithm::Ps512), Ok(Some("rsa")));
    assert_eq!(kid(Some("a"), Algorithm::Rs256), Err(NoKey::Misfit));
    assert_eq!(kid(Some("a"), Algorithm::Es384), Err(NoKey::Misfit));
    assert_eq!(kid(Some("c"), Algorithm::Es256), Err(NoKey::Unknown));
    assert_eq!(kid(Some(""), Algorithm::EdDsa), Err(NoKey::Unknown));
    // Without a name: the only one that fits.
    assert_eq!(kid(None, Algorithm::Rs256), Ok(Some("rsa")));
    assert_eq!(kid(None, Algorithm::EdDsa), Ok(None));
    assert_eq!(kid(None, Algorithm::Es256), Err(NoKey::Several));
    assert_eq!(kid(None, Algorithm::Es384), Err(NoKey::Unknown));
}

#[test]
fn two_keys_of_one_name_are_told_apart_by_what_they_are_for() {
    let (ec, ed) = (Signer::new(Algorithm::Es256, Some("a")), Signer::new(Algorithm::EdDsa, Some("a")));
    let keys = parse(&key_set(&[&ec, &ed]));
    let message = b"signed";
    let verifies = |algorithm, signer: &Signer| {
        keys.find(Some("a"), algorithm).unwrap().verifies(algorithm, message, &signer.sign(message))
    };
    assert!(verifies(Algorithm::Es256, &ec) && verifies(Algorithm::EdDsa, &ed));
    let keys = parse(&key_set(&[&ec, &Signer::new(Algorithm::Es256, Some("a"))]));
    assert_eq!(find(&keys, Some("a"), Algorithm::Es256).unwrap_err(), NoKey::Several);
}

#[test]
fn what_a_key_says_it_is_for_is_kept_to() {
    let (ec, rsa) = (Signer::new(Algorithm::Es256, Some("a")), Signer::new(Algorithm::Rs256, Some("a")));
    for (members, usable) in [
        (json!({"use": "sig"}), true),
        (json!({"use": "sig", "key_ops": ["verify"], "alg": "ES256", "x5c": ["?"], "d": "?"}), true),
        (json!({"key_ops": ["sign", "verify"]}), true),
        (json!({"use": "enc"}), false),
        (json!({"use": "SIG"}), false),
        (json!({"key_ops": ["sign"]}), false),
        (json!({"key_ops": []}), false),
        (json!({"alg": "ES384"}), false),
        (json!({"alg": "RS256"}), false),
        (json!({"alg": "HS256"}), false),
        (json!({"alg": "ECDH-ES"}), false),
        (json!({"alg": 1}), false),
        (json!({"crv": "P-384"}), false),
        (json!({"crv": "secp256k1"}), false),
        (json!({"kty": "RSA"}), false),
        (json!({"kty": "oct", "k": "c2VjcmV0"}), false),
        (json!({"x": "AA"}), false),
        (json!({"x": encode([0; 33])}), false),
        (json!({"y": null}), false),
        (json!({"y": "not base64"}), false),
    ] {
        let keys = with(&ec, &members);
        assert_eq!((keys.len(), keys.unusable()), if usable { (1, 0) } else { (0, 1) }, "{members}");
        assert_eq!(find(&keys, Some("a"), Algorithm::Es256).is_ok(), usable, "{members}");
    }
    let keys = with(&rsa, &json!({"alg": "RS256"}));
    assert!(find(&keys, Some("a"), Algorithm::Rs256).is_ok());
    assert_eq!(find(&keys, Some("a"), Algorithm::Ps256).unwrap_err(), NoKey::Misfit);
}

#[test]
fn an_rsa_key_has_2048_to_8192_bits() {
    let rsa = Signer::new(Algorithm::Rs256, None);
    for (bytes, usable) in [(128, false), (255, false), (256, true), (1024, true), (1025, false)] {
        assert_eq!(with(&rsa, &json!({"n": encode(vec![0xff; bytes])})).len() == 1, usable, "{bytes}");
    }
    for e in ["", "AA", "="] {
        assert_eq!(with(&rsa, &json!({"e": e})).len(), 0, "{e:?}");
    }
}

#[test]
fn zeros_before_a_modulus_do_not_matter() {
    let rsa = Signer::new(Algorithm::Rs256, None);
    let n = URL_SAFE_NO_PAD.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap();
    let keys = with(&rsa, &json!({"n": encode([&[0, 0], n.as_slice()].concat())}));
    assert!(find(&keys, None, Algorithm::Rs256).unwrap().verifies(Algorithm::Rs256, b"a", &rsa.sign(b"a")));
}

#[test]
fn a_point_that_is_not_on_the_curve_verifies_nothing() {
    let ec = Signer::new(Algorithm::Es256, None);
    let keys = with(&ec, &json!({"y": encode([1; 32])}));
    assert!(!find(&keys, None, Algorithm::Es256).unwrap().verifies(Algorithm::Es256, b"a", &ec.sign(b"a")));
}

#[test]
fn one_bad_key_does_not_spoil_the_others() {
    let ec = Signer::new(Algorithm::Es256, Some("a"));
    // A key is an object (RFC 7517, 4), not a list of its members' values.
    let list = json!(["OKP", null, null, null, "a", "Ed25519", null, null, encode([7; 32]), null]);
    let keys = parse(&json!({"keys": [1, {}, {"kty": "oct", "kid": "a"}, ec.jwk(), {"kty": 7}, list], "more": true}));
    assert_eq!((keys.len(), keys.unusable()), (1, 5));
    assert!(find(&keys, Some("a"), Algorithm::Es256).is_ok());
    assert_eq!(parse(&json!({"keys": []})).len(), 0);
}

#[test]
fn what_is_no_key_set_is_not_taken_for_an_empty_one() {
    let list = r#"[[{"kty":"RSA"}]]"#;
    for document in ["", "null", "[]", list, "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, "<html>", r#"{"kty":"RSA"}"#] {
        assert_eq!(KeySet::parse(document.as_bytes()).unwrap_err(), NotKeys::Format, "{document}");
    }
    let many = |count| json!({"keys": vec![json!({}); count]}).to_string();
    assert_eq!(KeySet::parse(many(256).as_bytes()).unwrap().unusable(), 256);
    assert_eq!(KeySet::parse(many(257).as_bytes()).unwrap_err(), NotKeys::TooMany);
}
