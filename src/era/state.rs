//! `requestState`: what a client keeps for mcp-mux between two rounds of a request.
//!
//! It says which parked exchange is meant and until when, is encrypted and authenticated under a key that only this
//! process knows, and is bound to the request: the principal, the method and the params that matter go into the
//! authentication, so that with any other the state does not open.
//!
//! Spec: 2026-07-28, Multi Round-Trip Requests, Server Requirements 4 and 5.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Generate, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use serde_json::Value;

use crate::jsonrpc::Message;

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

/// Whether a state was made by an mcp-mux, and not by a server of the modern era, whose own ones are none of our business.
pub fn is_ours(text: &str) -> bool {
    text.starts_with(PREFIX)
}

const PREFIX: &str = "mcp-mux.";

/// The operating system gave no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// What a state is bound to: who asks, for what method, with what params. What differs between a request and its retry
/// does not count, nor does how the same value is spelled.
pub fn binding(principal: &str, message: &Message) -> Vec<u8> {
    let mut params: Value =
        message.params().and_then(|span| serde_json::from_str(message.text(span)).ok()).unwrap_or_default();
    if let Some(params) = params.as_object_mut() {
        for name in ["_meta", "inputResponses", "requestState"] {
            params.remove(name);
        }
    }
    // As JSON, so that no two different triples read the same.
    serde_json::json!([principal, message.method(), params]).to_string().into_bytes()
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
        let of = |params: &str| binding("", &call(params));
        let first = of(r#"{"name":"a","arguments":{"x":1,"y":[2]},"_meta":{"progressToken":1}}"#);
        let retry = r#"{"inputResponses":{"k":{}},"requestState":"s","arguments":{"y":[2], "x":1},"name":"\u0061","_meta":{"progressToken":2}}"#;
        assert_eq!(first, of(retry));
        assert_ne!(first, of(r#"{"name":"a","arguments":{"x":1,"y":[3]}}"#));
        assert_ne!(first, of(r#"{"name":"b","arguments":{"x":1,"y":[2]}}"#));
        assert_ne!(first, binding("p", &call(retry)));
    }
}
