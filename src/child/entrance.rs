//! Who has to wait for room in the backlog, and who must not.
//!
//! What ends something waits for nothing: a client's answer to the child's question and the cancellation of a request would
//! otherwise wait for room that is held by what waits for them. They are few: the router drops what matches no open
//! question and no request in flight.
//!
//! Invariant: a cancellation does not overtake the request it means.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::jsonrpc::{Kind, Message, RawId};
use crate::mcp::ids::Param;
use crate::mcp::method;
use crate::router::SessionKey;

/// The requests that wait for room.
#[derive(Clone, Debug, Default)]
pub(super) struct Entrance(Arc<Mutex<HashSet<(SessionKey, RawId)>>>);

/// Whether a message waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It does not.
    AtOnce,
    /// First come first served.
    InTurn,
}

/// Says that a request waits, as long as it exists.
#[derive(Debug)]
pub(super) struct Place {
    entrance: Entrance,
    request: Option<(SessionKey, RawId)>,
}

impl Entrance {
    /// Whether this message waits for room.
    pub(super) fn way(&self, session: SessionKey, message: &Message) -> Way {
        match message.kind() {
            Kind::Result | Kind::Error => Way::AtOnce,
            Kind::Notification if message.method() == method::CANCELLED => self.way_to_cancel(session, message),
            Kind::Request | Kind::Notification => Way::InTurn,
        }
    }

    fn way_to_cancel(&self, session: SessionKey, message: &Message) -> Way {
        let Some(request) = message.param(Param::RequestId) else { return Way::InTurn };
        let request = (session, RawId::from_json(message.text(request)));
        if message.bytes().len() > CANCELLED_BYTES_MAX || self.lock().contains(&request) {
            return Way::InTurn;
        }
        Way::AtOnce
    }

    /// A message begins to wait.
    pub(super) fn wait(&self, session: SessionKey, message: &Message) -> Place {
        let id = if message.kind() == Kind::Request { message.id() } else { None };
        // Of two with the same id, of which one will be refused, the first to go in speaks for both.
        let request = id.map(|id| (session, id)).filter(|request| self.lock().insert(request.clone()));
        Place { entrance: self.clone(), request }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(SessionKey, RawId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(request) = &self.request {
            self.entrance.lock().remove(request);
        }
    }
}

/// A longer cancellation waits: each is passed on as it is, and there may be as many as requests in flight.
const CANCELLED_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()), 100).expect("a message")
    }

    fn cancelled(id: &str, padding: usize) -> Message {
        let reason = "x".repeat(padding);
        let params = format!(r#"{{"requestId":{id},"reason":"{reason}"}}"#);
        message(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#))
    }

    #[test]
    fn answers_and_cancellations_go_at_once_and_everything_else_waits() {
        let entrance = Entrance::default();
        for (text, way) in [
            (r#"{"jsonrpc":"2.0","id":"mcp-mux-1","result":{}}"#, Way::AtOnce),
            (r#"{"jsonrpc":"2.0","id":"mcp-mux-1","error":{"code":1,"message":""}}"#, Way::AtOnce),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, Way::InTurn),
            (r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#, Way::InTurn),
            (r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#, Way::InTurn),
        ] {
            assert_eq!(entrance.way(SessionKey(1), &message(text)), way, "{text}");
        }
        assert_eq!(entrance.way(SessionKey(1), &cancelled("1", 0)), Way::AtOnce);
        assert_eq!(entrance.way(SessionKey(1), &cancelled("1", CANCELLED_BYTES_MAX)), Way::InTurn);
    }

    #[test]
    fn a_cancellation_waits_behind_the_request_it_means() {
        let entrance = Entrance::default();
        let request = message(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#);
        let place = entrance.wait(SessionKey(1), &request);
        let again = entrance.wait(SessionKey(1), &request);
        assert_eq!(entrance.way(SessionKey(1), &cancelled("7", 0)), Way::InTurn);
        assert_eq!(entrance.way(SessionKey(1), &cancelled("\"7\"", 0)), Way::AtOnce);
        assert_eq!(entrance.way(SessionKey(2), &cancelled("7", 0)), Way::AtOnce);
        drop(again);
        assert_eq!(entrance.way(SessionKey(1), &cancelled("7", 0)), Way::InTurn);
        drop(place);
        assert_eq!(entrance.way(SessionKey(1), &cancelled("7", 0)), Way::AtOnce);
    }
}
