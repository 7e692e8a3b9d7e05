//! Who may come in: the way a request came, its credentials, its principal's rate. Between the guard and the routes.
//!
//! Invariant: what is behind it is never reached without an [`Admission`]; every refusal for want of a good credential says
//! how to get one (`WWW-Authenticate`), and nothing of what was presented.
//!
//! Spec: 2025-11-25 and 2026-07-28, Authorization; RFC 6750, 3; RFC 9110, 15.5.2.

use http::header::{HOST, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Response};
use tracing::debug;

use super::Http;
use super::body::Body;
use super::forwarded::Way;
use super::peer::Peer;
use super::request::Refusal;
use crate::auth::{Admission, Denial};
use crate::error::Reject;

impl Http {
    /// Whom a request acts for, if that one may send it now.
    ///
    /// # Errors
    /// The response for one that may not.
    pub(super) fn enter(&self, request: &Parts, peer: &Peer, way: &Way) -> Result<Admission, Box<Response<Body>>> {
        let admitted = self.authenticator.admit(&request.headers, peer.certificate(), way.client);
        let admission = admitted.map_err(|denial| {
            let challenge = self.challenge(&denial);
            let reject = reject(denial);
            debug!(client = %way.client, kind = reject.wire().kind, reason = %reject, "not admitted");
            let mut response = Refusal::from(reject).into_response();
            if let Some(challenge) = challenge {
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            Box::new(response)
        })?;
        admission.usage.request(1).map_err(|reject| {
            debug!(client = %way.client, principal = %admission.principal, "over its rate");
            Box::new(Refusal::from(reject).into_response())
        })?;
        Ok(admission)
    }

    /// How to come by a good credential; none where none is missing.
    fn challenge(&self, denial: &Denial) -> Option<HeaderValue> {
        if !self.authenticator.methods().has_tokens() {
            return None;
        }
        match denial {
            Denial::Missing => Some(HeaderValue::from_static("Bearer realm=\"mcp-mux\"")),
            Denial::Invalid(_) => Some(HeaderValue::from_static("Bearer realm=\"mcp-mux\", error=\"invalid_token\"")),
            Denial::Ambiguous(_) => None,
        }
    }

    /// The URL at which the client reaches this server, without a slash at its end.
    pub(super) fn base_url(&self, request: &Parts, way: &Way) -> String {
        if let Some(url) = &self.config.public_url {
            return url.clone();
        }
        let scheme = if way.https { "https" } else { "http" };
        let host = way.host.as_deref().or_else(|| request.headers.get(HOST)?.to_str().ok());
        let host = host.or_else(|| request.uri.authority().map(http::uri::Authority::as_str));
        format!("{scheme}://{}{}", host.unwrap_or_default(), way.prefix)
    }
}

fn reject(denial: Denial) -> Reject {
    match denial {
        Denial::Missing => Reject::Unauthenticated,
        Denial::Ambiguous(wrong) => Reject::InvalidRequest(wrong.to_owned()),
        Denial::Invalid(why) => Reject::CredentialInvalid(why),
    }
}
