//! Who may come in: the way a request came, its credentials, its principal's rate. Between the guard and the routes.
//!
//! Invariant: what is behind it is never reached without an [`Admission`]; every refusal for want of a good credential says
//! how to get one (`WWW-Authenticate`), and nothing of what was presented.
//!
//! Spec: 2025-11-25 and 2026-07-28, Authorization; RFC 6750, 3; RFC 9110, 15.5.2.

use bytes::Bytes;
use http::header::{HOST, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use tracing::debug;

use super::body::Body;
use super::forwarded::Way;
use super::peer::Peer;
use super::request::Refusal;
use super::{Http, Place, request};
use crate::auth::metadata::{self, Challenge};
use crate::auth::{Admission, Denial, Principal};
use crate::config::HttpConfig;
use crate::error::Reject;

/// Somebody may not enter, or not now.
pub(super) struct NotAdmitted {
    /// What is answered.
    pub(super) response: Response<Body>,
    /// Why, as in the table of errors.
    pub(super) kind: &'static str,
    /// Who it is, where that is known.
    pub(super) principal: Option<Principal>,
}

impl NotAdmitted {
    fn of(reject: Reject, principal: Option<Principal>) -> Box<Self> {
        let kind = reject.wire().kind;
        Box::new(Self { response: Refusal::from(reject).into_response(), kind, principal })
    }
}

impl Http {
    /// Whom a request acts for, if that one may send it now.
    ///
    /// # Errors
    /// What is answered to one that may not.
    pub(super) async fn enter(&self, request: &Parts, peer: &Peer, way: &Way) -> Result<Admission, Box<NotAdmitted>> {
        let admitted = self.authenticator.admit(&request.headers, peer.certificate(), way.client).await;
        let admission = admitted.map_err(|denial| {
            let challenge = self.challenge(&denial, request, way);
            let reject = reject(denial).counted();
            debug!(client = %way.client, kind = reject.wire().kind, reason = %reject, "not admitted");
            let mut refused = NotAdmitted::of(reject, None);
            if let Some(challenge) = challenge {
                refused.response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            refused
        })?;
        admission.usage.request(1, &admission.allowance).map_err(|reject| {
            debug!(client = %way.client, principal = %admission.principal, "over its rate");
            NotAdmitted::of(reject, Some(admission.principal.clone()))
        })?;
        Ok(admission)
    }

    /// How to come by a good credential; none where none is missing.
    fn challenge(&self, denial: &Denial, request: &Parts, way: &Way) -> Option<HeaderValue> {
        let methods = self.authenticator.methods();
        let challenge = match denial {
            Denial::Missing | Denial::Certificate(_) if !methods.has_tokens() => {
                return Some(metadata::CERTIFICATE_CHALLENGE);
            }
            // Of a token there was none, so nothing is wrong with it.
            Denial::Missing | Denial::Certificate(_) => Challenge::NoToken,
            Denial::Invalid(why) => Challenge::InvalidToken(why),
            Denial::InsufficientScope(_) => Challenge::InsufficientScope,
            Denial::Ambiguous(_) | Denial::KeysUnavailable => return None,
        };
        let resource = methods.jwt.as_ref().map(|jwt| (self.resource(request, way), jwt.scopes().join(" ")));
        let (url, scope) = resource.map(|(resource, scope)| (metadata::document_url(&resource), scope)).unzip();
        Some(challenge.header(url.as_deref(), &scope.unwrap_or_default()))
    }

    /// The protected resource that a request is for, as its client writes it: that of an endpoint is its URL, everything else
    /// is the whole server.
    fn resource(&self, request: &Parts, way: &Way) -> String {
        let Place { mount, path, .. } = Place::of(request.uri.path().trim_end_matches('/'));
        let HttpConfig { path: streamable, sse_path, message_path, .. } = &self.config;
        let (mount, path) = match path {
            // It is found through the stream, which is what a client is given.
            _ if path == message_path => (mount, sse_path.as_str()),
            _ if path == streamable || path == sse_path => (mount, path),
            _ => ("", ""),
        };
        format!("{}{mount}{path}", self.base_url(request, way))
    }

    /// The metadata of a protected resource (RFC 9728, 3); none if that is not what the path is for.
    pub(super) fn resource_metadata(&self, path: &str, request: &Parts, way: &Way) -> Option<Response<Body>> {
        let jwt = self.authenticator.methods().jwt.as_ref()?;
        let resource = path.strip_prefix(metadata::WELL_KNOWN_PATH)?;
        let base = self.base_url(request, way);
        // The prefix under which a proxy has this server stands between the two, or the proxy has kept it to itself.
        let resource = resource.strip_prefix(self.prefix(way)).unwrap_or(resource);
        let HttpConfig { path: streamable, sse_path, .. } = &self.config;
        // Whether there is a server of that name is nothing for everybody.
        let path = Place::of(resource).path;
        if !resource.is_empty() && path != streamable && path != sse_path {
            return None;
        }
        let document = metadata::document(&format!("{base}{resource}"), jwt.issuer(), jwt.scopes());
        Some(request::json(StatusCode::OK, Bytes::from(document)))
    }

    /// The path under which the client reaches this server's own; empty, or with a slash at its beginning and none at its end.
    pub(super) fn prefix<'a>(&'a self, way: &'a Way) -> &'a str {
        let Some(url) = &self.config.public_url else { return &way.prefix };
        let path = url.split_once("://").and_then(|(_, rest)| Some(rest.split_at(rest.find('/')?).1));
        path.unwrap_or_default()
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
        Denial::Certificate(why) => Reject::CredentialInvalid(why.to_owned()),
        Denial::InsufficientScope(wanted) => Reject::ScopeMissing(wanted),
        Denial::KeysUnavailable => Reject::KeysUnavailable,
    }
}
