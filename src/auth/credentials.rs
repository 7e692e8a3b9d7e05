//! Which credentials a request carries: `Authorization: Bearer`, or `X-API-Key`.
//!
//! Spec: RFC 6750, 2.1; RFC 9110, 11.6.2; 2025-11-25, Authorization, Token Requirements (a token is never in the query).

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credentials<'a> {
    /// Nothing that is known here.
    Nothing,
    /// A token, of any kind.
    Bearer(&'a [u8]),
    /// A static token.
    ApiKey(&'a [u8]),
}

/// Several where one is meant: nobody could say which of them counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous(pub(super) &'static str);

impl<'a> Credentials<'a> {
    /// Reads the headers. `X-API-Key` counts only where there is no `Authorization`: beside a token it is often meant for
    /// the server behind.
    pub(super) fn read(headers: &'a HeaderMap) -> Result<Self, Ambiguous> {
        if let Some(value) = only(headers, AUTHORIZATION.as_str(), "more than one Authorization header")? {
            return Ok(bearer(value.as_bytes()).map_or(Self::Nothing, Self::Bearer));
        }
        let key = only(headers, API_KEY, "more than one X-API-Key header")?;
        Ok(key.map_or(Self::Nothing, |key| Self::ApiKey(key.as_bytes().trim_ascii())))
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &str, wrong: &'static str) -> Result<Option<&'a HeaderValue>, Ambiguous> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() { Err(Ambiguous(wrong)) } else { Ok(value) }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let blank = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.split_at(blank);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| rest.trim_ascii()).filter(|token| !token.is_empty())
}

const API_KEY: &str = "x-api-key";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<String, Ambiguous> {
        let pairs = pairs.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
        let headers: HeaderMap = pairs.collect();
        Credentials::read(&headers).map(|found| match found {
            Credentials::Nothing => "nothing".to_owned(),
            Credentials::Bearer(token) => format!("bearer {}", String::from_utf8_lossy(token)),
            Credentials::ApiKey(token) => format!("key {}", String::from_utf8_lossy(token)),
        })
    }

    #[test]
    fn the_scheme_is_read_without_case_and_the_token_as_it_is() {
        for (value, expected) in [
            ("Bearer abc", "bearer abc"),
            ("bearer abc", "bearer abc"),
            ("BEARER   a.b-c_d~e+f/g== ", "bearer a.b-c_d~e+f/g=="),
            ("Bearer ", "nothing"),
            ("Bearer", "nothing"),
            ("Bearerabc", "nothing"),
            ("Basic YTpi", "nothing"),
            ("", "nothing"),
        ] {
            assert_eq!(read(&[("authorization", value)]).as_deref(), Ok(expected), "{value:?}");
        }
    }

    #[test]
    fn an_api_key_counts_where_there_is_no_authorization() {
        assert_eq!(read(&[("x-api-key", "k")]).as_deref(), Ok("key k"));
        assert_eq!(read(&[("x-api-key", "k"), ("authorization", "Bearer t")]).as_deref(), Ok("bearer t"));
        assert_eq!(read(&[("x-api-key", "k"), ("authorization", "Basic t")]).as_deref(), Ok("nothing"));
        assert_eq!(read(&[]).as_deref(), Ok("nothing"));
    }

    #[test]
    fn two_of_a_kind_are_refused() {
        assert!(read(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]).is_err());
        assert!(read(&[("x-api-key", "a"), ("x-api-key", "a")]).is_err());
    }
}
