//! From a path to the server that answers, or to what is left of the one before it.
//!
//! A server that is served no more still has what it has begun: sessions whose clients were asked something, or cancel what they
//! wait for; questions to clients without one. What can only be for that goes there until it is over, everything else to
//! the server that has its name now.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use hyper::body::Body as HttpBody;

use super::body::Body;
use super::observe::{Exchange, Passage, Record};
use super::request::{self, Refusal};
use super::{Caller, Endpoint, Http, legacy_sse};
use crate::config::ServerName;
use crate::error::Reject;
use crate::metrics::ServerMetrics;
use crate::servers::{Server, Visit};
use crate::session::SessionId;

/// A path, taken apart: `/servers/NAME` and what is below it, or all of it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// None where it is the only one's.
    pub(super) server: Option<ServerName>,
    /// What stands before the endpoint's own path; empty, or with a slash at its beginning and none at its end.
    pub(super) mount: &'a str,
    pub(super) path: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        let named = path.strip_prefix(SERVERS_PATH).and_then(|rest| {
            let (name, _) = rest.split_once('/')?;
            let (mount, path) = path.split_at_checked(SERVERS_PATH.len() + name.len())?;
            Some(Self { server: Some(ServerName::parse(name)?), mount, path })
        });
        named.unwrap_or(Self { server: None, mount: "", path })
    }
}

impl Http {
    /// Has the server answer that a path is of.
    pub(super) async fn route<B>(
        &self,
        path: &str,
        request: &Parts,
        body: Pin<&mut B>,
        caller: &Caller,
        passage: &Passage<'_>,
    ) -> Result<Response<Body>, Refusal>
    where
        B: HttpBody<Data = Bytes>,
    {
        let place = Place::of(path);
        let found = self.find(&place);
        let known = [&self.config.path, &self.config.sse_path, &self.config.message_path];
        if found.is_ok() && !known.into_iter().any(|known| known == place.path) {
            return Err(Reject::NotFound.into());
        }
        let takes_messages = self.takes_messages(place.path, &request.method);
        // From now on it is seen, also if the server cannot be visited.
        let begin = |metrics: &ServerMetrics| match takes_messages {
            true => Exchange::begin(metrics, Record::of(request, passage.asked, caller)),
            false => Exchange::none(),
        };
        let remains = self.remains_with_its_session(&place, request);
        let remains = match &found {
            Err(reject) => remains.or_else(|| self.remains_with_its_question(&place, request, reject)),
            Ok(_) => remains,
        };
        let (exchange, visit) = match (remains, found) {
            (Some(visit), _) => (begin(visit.pool.metrics()), Ok(visit)),
            (None, Ok(server)) => (begin(server.metrics()), self.visit(server, &place, request).await),
            (None, Err(reject)) => return Err(reject.into()),
        };
        match visit {
            Ok(service) if !takes_messages => {
                let (server, session) = (service.server(), request::session_id(&request.headers).ok().flatten());
                let endpoint = Endpoint { http: self, service, mount: place.mount };
                let response = endpoint.route(place.path, request, body, caller, exchange).await?;
                let (server, principal) = (Some(server.name().as_str()), Some(&caller.admission.principal));
                Passage {
                    server,
                    principal,
                    session: session.and_then(SessionId::from_client).map(SessionId::tag),
                    ..*passage
                }
                .done(&response);
                Ok(response)
            }
            Ok(service) => {
                let server = service.server();
                let endpoint = Endpoint { http: self, service, mount: place.mount };
                match endpoint.route(place.path, request, body, caller, exchange).await {
                    // It is the server that ends, perhaps, because it does not work, and not mcp-mux.
                    Err(Refusal { reject: Reject::ShuttingDown, id, seen }) => {
                        let reject = server.visit().await.err().unwrap_or(Reject::ShuttingDown);
                        Err(Refusal { reject, id, seen })
                    }
                    outcome => outcome,
                }
            }
            Err(reject) if takes_messages => exchange.conclude(Err(reject.into())),
            Err(reject) => Err(reject.into()),
        }
    }

    /// Whether something is sent that may become a request of JSON-RPC.
    fn takes_messages(&self, path: &str, method: &Method) -> bool {
        *method == Method::POST && (path == self.config.path || path == self.config.message_path)
    }

    /// Visits the server that a place is of.
    async fn visit(&self, server: Arc<Server>, place: &Place<'_>, request: &Parts) -> Result<Visit, Reject> {
        let visit = match server.visit().await {
            // It was taken out just now; another may be in its place.
            Err(Reject::NotFound) => match self.find(place) {
                Ok(server) => server.visit().await,
                Err(reject) => Err(reject),
            },
            visit => visit,
        };
        visit.or_else(|reject| self.remains_with_its_question(place, request, &reject).ok_or(reject))
    }

    /// The server that a place is of.
    fn find(&self, place: &Place<'_>) -> Result<Arc<Server>, Reject> {
        match &place.server {
            Some(name) => self.servers.named(name).ok_or(Reject::ServerUnknown),
            None if [&self.config.path, &self.config.sse_path, &self.config.message_path]
                .iter()
                .all(|known| *known != place.path) =>
            {
                Err(Reject::NotFound)
            }
            None => self.servers.only().ok_or(Reject::ServerUnnamed),
        }
    }

    /// What is left of a server that is served no more, if that has the session which a request names.
    fn remains_with_its_session(&self, place: &Place<'_>, request: &Parts) -> Option<Visit> {
        let session = match place.path {
            path if path == self.config.path => request::session_id(&request.headers).ok().flatten(),
            path if path == self.config.message_path => legacy_sse::session_id(&request.uri),
            _ => None,
        }?;
        let remains = self.servers.remains(self.name(place)?, &Reject::SessionUnknown);
        remains.into_iter().find(|visit| visit.registry.holds(session))
    }

    /// What is left of a server that is served no more and has asked modern clients something, where there is nothing else that a
    /// request could be for, since of that `reject`. Whether it answers such a question, its body says.
    fn remains_with_its_question(&self, place: &Place<'_>, request: &Parts, reject: &Reject) -> Option<Visit> {
        let may_answer = place.path == self.config.path && request.method == Method::POST;
        if !may_answer || !request::is_modern(&request.headers) {
            return None;
        }
        let remains = self.servers.remains(self.name(place)?, reject);
        remains.into_iter().find(|visit| !visit.registry.parked().is_empty())
    }

    fn name<'a>(&'a self, place: &'a Place<'_>) -> Option<&'a ServerName> {
        place.server.as_ref().or_else(|| self.servers.unnamed())
    }
}

/// What stands before the paths of a server's endpoint.
pub fn mount(server: &ServerName) -> String {
    format!("{SERVERS_PATH}{server}")
}

/// Where each server is found under its name.
const SERVERS_PATH: &str = "/servers/";
