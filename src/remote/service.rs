//! Who answers HTTP requests: a server across the network, or mcp-mux itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

/// The body of an answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, Broken>;
/// Why the rest of a body does not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) String);
/// An answer on its way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Failure>> + Send>>;

/// Answers HTTP requests.
pub(crate) trait Service: Send + Sync + fmt::Debug {
    /// Sends a request. The URL is absolute. Dropped, what is under way is given up.
    fn call(&self, request: Request<Bytes>) -> Answering;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In words, without anything secret.
    pub(crate) what: String,
    /// Whether the server may have got the request.
    pub(crate) reached: Reached,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Not to the server: it can be sent again, whatever it is.
    Nobody,
    /// Perhaps to the server.
    Perhaps,
    /// Nowhere, and the next one will not come further.
    Refused,
    /// To the server, whose answer cannot be used.
    Unusable,
}
