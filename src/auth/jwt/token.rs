//! A token of which nothing is believed yet: its parts, and what its header asks for. Pure.
//!
//! Of the header only what chooses among *our* algorithms and keys is read: a key or an address of one in it (`jwk`, `jku`,
//! `x5c`, `x5u`) is never looked at (RFC 8725, 3.10). Spec: RFC 7515 (compact serialisation), RFC 8725, RFC 9068.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::{Fault, object};
use crate::config::jwt::Algorithm;

/// A signed token in its three parts.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// How it says that it is signed.
    pub(super) algorithm: Algorithm,
    /// The key that it says it is signed with.
    pub(super) kid: Option<String>,
    /// What it says that it is.
    pub(super) kind: Kind,
    /// What is signed.
    pub(super) signed: &'a [u8],
    /// The claims, as they came.
    payload: &'a str,
    pub(super) signature: Vec<u8>,
}

/// What a token says that it is (`typ`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An access token (RFC 9068).
    AccessToken,
    /// Nothing, or only that it is a JWT: most issuers' access tokens, and also their ID tokens.
    Unknown,
}

/// The header, of which unknown members have no meaning (RFC 7515, 4), and none may stand twice.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

fn present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is none, it is one that is not for here, or it asks for something that is not accepted.
    pub(super) fn parse(text: &'a str, accepted: &[Algorithm]) -> Result<Self, Fault> {
        check_length(text)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(Fault::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Fault::Malformed)?;
        // Five parts: it is encrypted.
        if payload.contains('.') {
            return Err(Fault::Malformed);
        }
        let header = decode(header)?;
        let header: Header = object(&header).ok_or(Fault::Malformed)?;
        let algorithm = Algorithm::named(&header.alg).filter(|algorithm| accepted.contains(algorithm));
        let algorithm = algorithm.ok_or(Fault::Algorithm)?;
        // RFC 7515, 4.1.11: extensions that must be understood; none is.
        if header.crit {
            return Err(Fault::Critical);
        }
        let kind = Kind::named(header.typ.as_deref()).ok_or(Fault::Kind)?;
        let signature = decode(signature)?;
        Ok(Self { algorithm, kid: header.kid, kind, signed: signed.as_bytes(), payload, signature })
    }

    /// The claims; to be asked for only when the signature was found to be right.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Fault> {
        decode(self.payload)
    }
}

impl Kind {
    /// RFC 8725, 3.11, RFC 9068, 4: a token that says it is something else (`logout+jwt`, `dpop+jwt`) is not for here.
    fn named(typ: Option<&str>) -> Option<Self> {
        let Some(typ) = typ else { return Some(Self::Unknown) };
        let typ = typ.to_ascii_lowercase();
        // RFC 7515, 4.1.9: `application/` may be left out.
        match typ.strip_prefix("application/").unwrap_or(&typ) {
            "at+jwt" => Some(Self::AccessToken),
            "jwt" => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// Before anything else is done with it.
pub(super) const fn check_length(text: &str) -> Result<(), Fault> {
    if text.len() > TOKEN_BYTES_MAX { Err(Fault::TooLong) } else { Ok(()) }
}

/// Without padding, and in its one spelling.
fn decode(text: &str) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Fault::Malformed)
}

/// More than any issuer's; some front ends accept no longer header either.
const TOKEN_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn with_header(header: &str) -> Result<(Algorithm, Option<String>, Kind), Fault> {
        let token = format!("{}.{}.{}", encode(header), encode("{}"), encode("signature"));
        Token::parse(&token, &Algorithm::ALL).map(|token| (token.algorithm, token.kid, token.kind))
    }

    #[test]
    fn a_header_chooses_among_our_algorithms_and_keys_and_nothing_else() {
        use Algorithm::{EdDsa, Es256, Rs256};
        let kid = |kid: &str| Some(kid.to_owned());
        for (header, expected) in [
            (r#"{"alg":"ES256"}"#, Ok((Es256, None, Kind::Unknown))),
            (r#"{"alg":"RS256","kid":"a","typ":"JWT"}"#, Ok((Rs256, kid("a"), Kind::Unknown))),
            (r#"{"alg":"EdDSA","kid":"","typ":"at+jwt"}"#, Ok((EdDsa, kid(""), Kind::AccessToken))),
            (r#"{"alg":"Ed25519","typ":"Application/AT+JWT"}"#, Ok((EdDsa, None, Kind::AccessToken))),
            (r#"{"alg":"ES256","jku":"http://evil.example","jwk":{},"b64":false}"#, Ok((Es256, None, Kind::Unknown))),
            // spec: RFC 8725, 3.1 and 3.2: the algorithm is ours to choose.
            (r#"{"alg":"none"}"#, Err(Fault::Algorithm)),
            (r#"{"alg":"NONE"}"#, Err(Fault::Algorithm)),
            (r#"{"alg":"HS256"}"#, Err(Fault::Algorithm)),
            (r#"{"alg":""}"#, Err(Fault::Algorithm)),
            (r#"{"kid":"a"}"#, Err(Fault::Malformed)),
            (r#"{"alg":["ES256"]}"#, Err(Fault::Malformed)),
            (r#"{"alg":"ES256","kid":1}"#, Err(Fault::Malformed)),
            // spec: RFC 7515, 4: "The Header Parameter names within the JOSE Header MUST be unique".
            (r#"{"alg":"ES256","alg":"none"}"#, Err(Fault::Malformed)),
            (r#"{"alg":"ES256","kid":"a","kid":"b"}"#, Err(Fault::Malformed)),
            // spec: RFC 7515, 4.1.11.
            (r#"{"alg":"ES256","crit":["exp"]}"#, Err(Fault::Critical)),
            (r#"{"alg":"ES256","crit":[]}"#, Err(Fault::Critical)),
            (r#"{"alg":"ES256","crit":null}"#, Err(Fault::Critical)),
            (r#"{"alg":"ES256","typ":"logout+jwt"}"#, Err(Fault::Kind)),
            (r#"{"alg":"ES256","typ":"dpop+jwt"}"#, Err(Fault::Kind)),
            (r#"{"alg":"ES256","typ":""}"#, Err(Fault::Kind)),
            // spec: RFC 7515, 4: "a JSON object".
            (r#"["ES256",null,null]"#, Err(Fault::Malformed)),
            ("[]", Err(Fault::Malformed)),
            ("", Err(Fault::Malformed)),
            ("null", Err(Fault::Malformed)),
        ] {
            assert_eq!(with_header(header), expected, "{header}");
        }
    }

    #[test]
    fn only_the_algorithms_that_are_pinned_are_accepted() {
        let token = format!("{}.e30.AA", encode(r#"{"alg":"RS256"}"#));
        assert_eq!(Token::parse(&token, &[Algorithm::Es256]).unwrap_err(), Fault::Algorithm);
        assert!(Token::parse(&token, &[Algorithm::Es256, Algorithm::Rs256]).is_ok());
    }

    #[test]
    fn what_is_no_signed_token_is_told_from_one() {
        let header = encode(r#"{"alg":"ES256"}"#);
        for text in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "secret".to_owned(),
            format!("{header}.e30"),
            format!("{header}.e30.AA.AA.AA"),
            // Padded, in the other alphabet, with bits left over, with a line break: one token has one spelling.
            format!("{header}.e30.AA=="),
            format!("{header}.e30.+/+/"),
            format!("{header}.e30.AB"),
            format!("{header}.e30.AA\n"),
            format!(" {header}.e30.AA"),
        ] {
            assert_eq!(Token::parse(&text, &Algorithm::ALL).unwrap_err(), Fault::Malformed, "{text:?}");
        }
    }

    #[test]
    fn a_token_of_16_kib_is_read_and_a_longer_one_is_not() {
        let header = encode(r#"{"alg":"ES256"}"#);
        let of = |bytes: usize| format!("{header}.{}.AA", "A".repeat(bytes - header.len() - 4));
        assert!(Token::parse(&of(16 << 10), &Algorithm::ALL).is_ok());
        assert_eq!(Token::parse(&of((16 << 10) + 1), &Algorithm::ALL).unwrap_err(), Fault::TooLong);
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_makes_it_stumble(text in ".{0,200}", header in ".{0,60}") {
            let _ = Token::parse(&text, &Algorithm::ALL);
            let _ = with_header(&header);
        }
    }
}
