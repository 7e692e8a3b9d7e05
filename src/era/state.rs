//! `requestState`: what a client keeps for mcp-mux between two rounds of a request.
//!
//! It says which parked exchange is meant and until when, is encrypted and authenticated under a key that only this
//! process knows, and is bound to the request: who asks, the method and the params that matter go into the authentication,
//! so that with any other the state does not open.
//!
//! Spec: 2026-07-28, Multi Round-Trip Requests, Server Requirements 4 and 5.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Generate, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};

use super::edit;
use crate::jsonrpc::{Message, Span};

/// What a `requestState` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The parked exchange.
    pub parked: u128,
    /// Until when it can be presented, in seconds since 1970.
    pub expires_unix: u64,
}

/// Seals and opens states.
pub struct Sealer(XChaCha20Poly1305);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

impl Sealer {
    /// One with a key of its own, from the operating system.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub fn random() -> Result<Self, NoRandomness> {
        let key = Key::try_generate().map_err(|_| NoRandomness)?;
        Ok(Self(XChaCha20Poly1305::new(&key)))
    }

    /// A state as the client keeps it, of use with this binding only.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub fn seal(&self, state: State, binding: &[u8]) -> Result<String, NoRandomness> {
        let nonce = XNonce::try_generate().map_err(|_| NoRandomness)?;
        let mut plain = state.parked.to_be_bytes().to_vec();
        plain.extend_from_slice(&state.expires_unix.to_be_bytes());
        let sealed = self.0.encrypt(&nonce, Payload { msg: &plain, aad: binding }).map_err(|_| NoRandomness)?;
        let mut whole = nonce.to_vec();
        whole.extend_from_slice(&sealed);
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(whole)))
    }

    /// What the client kept; none if it was altered, or is not of this process, or not of this binding.
    pub fn open(&self, text: &str, binding: &[u8]) -> Option<State> {
        if text.len() > STATE_CHARS_MAX {
            return None;
        }
        let whole = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (nonce, sealed) = whole.split_first_chunk::<NONCE_BYTES>()?;
        let plain = self.0.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: binding }).ok()?;
        let (parked, rest) = plain.split_first_chunk::<16>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let state = State { parked: u128::from_be_bytes(*parked), expires_unix: u64::from_be_bytes(*expires) };
        rest.is_empty().then_some(state)
    }
}

/// Whether a state was made by an mcp-mux: not by another server of the modern era, whose own ones are none of our business.
/// It may be one behind this one, and then the state does not open.
pub fn is_ours(text: &str) -> bool {
    text.starts_with(PREFIX)
}

const PREFIX: &str = "mcp-mux.";

/// The operating system gave no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// What a state is bound to: who asks (bytes that nobody else has), for what method, with what params. Each part with its
/// length, so that no two read the same.
///
/// Of the params what the client adds to a retry does not count, nor `_meta`, which each request has of its own; nor do blanks
/// and where among them `name`, `arguments` and `uri` stand, which a client may write anew. Everything else has to be spelled
/// as it was. Nothing is decoded: what two parsers may read differently is two spellings, and a tree of a large request is
/// many times as large.
pub fn binding(who: &[u8], message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    part(&mut out, |out| out.extend_from_slice(who));
    part(&mut out, |out| out.extend_from_slice(message.method().as_bytes()));
    let Some(params) = message.params() else { return out };
    let salient = ["name", "arguments", "uri"];
    for name in salient {
        let value = message.member(params, name).ok().flatten();
        part(&mut out, |out| value.into_iter().for_each(|span| tokens(out, message.text(span))));
    }
    // One that occurs twice stays where it is.
    let once = |name: &&str| matches!(message.member(params, name), Ok(Some(_)));
    let left_out = salient.into_iter().chain(["_meta", "inputResponses", "requestState"]).filter(once);
    let left_out = edit::extents(message, params, &left_out.collect::<Vec<_>>()).unwrap_or_default();
    part(&mut out, |out| {
        let mut start = params.start;
        for span in left_out {
            tokens(out, message.text(Span { start, end: span.start }));
            start = span.end;
        }
        tokens(out, message.text(Span { start, end: params.end }));
    });
    out
}

/// A part with its length before it.
fn part(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 8]);
    write(out);
    let length = u64::try_from(out.len() - at - 8).unwrap_or(u64::MAX);
    if let Some(place) = out.get_mut(at..at + 8) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// JSON text without the blanks between its tokens.
fn tokens(out: &mut Vec<u8>, text: &str) {
    let (mut in_string, mut escaped) = (false, false);
    out.reserve(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => continue,
            b'"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && byte == b'\\' && !escaped;
        out.push(byte);
    }
}

const NONCE_BYTES: usize = 24;
const STATE_CHARS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::DEPTH_MAX;

    fn call(params: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        Message::parse(text.into(), DEPTH_MAX).expect("a message")
    }

    #[test]
    fn a_state_opens_as_it_was_sealed_and_in_no_other_way() {
        let (sealer, other) = (Sealer::random().expect("random"), Sealer::random().expect("random"));
        let state = State { parked: u128::MAX - 7, expires_unix: 1_795_200_000 };
        let text = sealer.seal(state, b"binding").expect("random");
        assert_eq!(sealer.open(&text, b"binding"), Some(state));
        assert_eq!((sealer.open(&text, b"bindinG"), other.open(&text, b"binding")), (None, None));
        assert_ne!(sealer.seal(state, b"binding").expect("random"), text, "never twice the same");
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).expect("ASCII");
            // The last character has bits that mean nothing, and then it is not canonical.
            assert_eq!(sealer.open(&altered, b"binding"), None, "{at}");
        }
        for altered in [format!("{text}-TAMPERED"), String::new(), "x".repeat(10_000), "ü".to_owned()] {
            assert_eq!(sealer.open(&altered, b"binding"), None);
        }
        assert_eq!(format!("{sealer:?}"), "Sealer(***)");
    }

    #[test]
    fn a_binding_is_of_what_matters() {
        let of = |params: &str| binding(b"", &call(params));
        let first = of(r#"{"name":"a","arguments":{"x":1,"y":"\\\" {"},"x":2,"_meta":{"progressToken":1}}"#);
        let retry = r#"{ "inputResponses":{"k":{}},"x":2 ,"requestState":"s", "arguments": {"x": 1,"y":"\\\" {" },"_meta":{"progressToken":2},"name":"a"}"#;
        assert_eq!(first, of(retry));
        for other in [
            retry.replace("\"x\": 1", "\"x\": 2"),
            retry.replace("\"name\":\"a\"", "\"name\":\"b\""),
            retry.replace("\"x\":2", "\"x\":3"),
            retry.replace("\"x\":2", "\"z\":2"),
            retry.replace("\\\" {", "\\\"{"),
        ] {
            assert_ne!(first, of(&other), "{other}");
        }
        assert_ne!(first, binding(b"p", &call(retry)));
        assert_ne!(of(r#"{"name":"a","uri":"b"}"#), of(r#"{"name":"a","arguments":"b"}"#));
        let without = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
        assert!(!binding(b"", &Message::parse(without.into(), DEPTH_MAX).expect("a message")).is_empty());
    }

    #[test]
    fn what_is_spelled_differently_is_different() {
        let of = |n: &str| binding(b"", &call(&format!(r#"{{"name":"a","arguments":{{"n":{n}}}}}"#)));
        let spelled =
            ["1e400", "1e401", "12345678901234567890123", "12345678901234567890124", r#""\ud800""#, r#""\ud801""#];
        for (at, one) in spelled.iter().enumerate() {
            for other in spelled.iter().skip(at + 1) {
                assert_ne!(of(one), of(other));
            }
        }
        // Neither reads as nothing at all.
        let twice = |params: &str| binding(b"", &call(params));
        assert_ne!(twice(r#"{"name":"a","name":"b"}"#), twice(r#"{"name":"a","name":"c"}"#));
    }
}
