//! A router, its child and its sessions, of which each says what it is told to. Separate from what is measured because the
//! wire and the router are measured with it.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use mcp_mux::config::{Bounds, DeclaredCapabilities, OnAmbiguous, RouterConfig};
use mcp_mux::jsonrpc::{Frame, Message};
use mcp_mux::mcp::{Era, Revision};
use mcp_mux::router::{Origin, Output, Payload, Profile, Router, SessionKey, Sharing, Stage, StreamId};
use tokio::time::Instant;

use crate::{parsed, request, response};

/// The id of every request, as its client spells it.
pub(crate) const CLIENT_ID: &str = "7";

/// A router whose child is ready.
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) now: Instant,
}

impl World {
    pub(crate) fn new(era: Era) -> Self {
        let now = Instant::now();
        let mut router = Router::new(config(), Sharing::Shared, era);
        router.handle_child_start(now);
        let mut world = Self { router, now };
        let handshake = child_id(&world.told_child().into_bytes());
        world.router.handle_child_message(parsed(introduction(era, handshake)), now);
        assert_eq!(world.router.stage(), Stage::Ready);
        while world.router.poll_output().is_some() {}
        world
    }

    /// Attaches a legacy session whose handshake stands.
    pub(crate) fn attach_session(&mut self, key: u64) -> SessionKey {
        let profile = Profile { revision: Some(Revision::LATEST), ..Profile::default() };
        self.router.attach(SessionKey(key), profile, self.now);
        while self.router.poll_output().is_some() {}
        SessionKey(key)
    }

    /// A session's request, and what the child reads of it.
    pub(crate) fn sends(&mut self, session: SessionKey, request: Message) -> Frame {
        let origin = Origin::client(session, StreamId(1));
        self.router.handle_session_message(origin, request, 0, self.now).expect("it is accepted");
        self.told_child()
    }

    /// The child's answer, and what the session has of it.
    pub(crate) fn answers(&mut self, response: Message) -> Frame {
        self.router.handle_child_message(response, self.now);
        let payload = self.told_session();
        let Payload::Response(frame) = payload else { panic!("an answer, and not {payload:?}") };
        frame
    }

    /// A round from end to end: what the child reads of a request, and what the session has of the answer to it.
    pub(crate) fn round(&mut self, session: SessionKey, request: Bytes, answer: impl Fn(&str) -> Bytes) -> Round {
        let asked = self.sends(session, parsed(request)).into_bytes();
        let child_id = child_id(&asked);
        let answered = self.answers(parsed(answer(&child_id.to_string()))).into_bytes();
        assert!(self.router.poll_output().is_none(), "nothing else came of it");
        Round { child_id, asked, answered }
    }

    /// A round of what leaves as it came, but for its id. Returns the id that the child saw; the next requests have the
    /// numbers after it.
    pub(crate) fn check_round(&mut self, session: SessionKey, size: usize) -> u64 {
        let round = self.round(session, request(CLIENT_ID, size), |id| response(id, size));
        assert_eq!(round.asked, request(&round.child_id.to_string(), size));
        assert_eq!(round.answered, response(CLIENT_ID, size));
        round.child_id
    }

    /// What comes out next, which is for the child.
    fn told_child(&mut self) -> Frame {
        match self.router.poll_output() {
            Some(Output::ToChild(frame)) => frame,
            other => panic!("something for the child, and not {other:?}"),
        }
    }

    /// What comes out next, which is something that a session is told unasked.
    pub(crate) fn told_session_message(&mut self) -> Frame {
        let payload = self.told_session();
        let Payload::Message(frame) = payload else { panic!("a message, and not {payload:?}") };
        frame
    }

    fn told_session(&mut self) -> Payload {
        match self.router.poll_output() {
            Some(Output::ToSession(delivery)) => delivery.payload,
            other => panic!("something for a session, and not {other:?}"),
        }
    }
}

/// What came of a request.
pub(crate) struct Round {
    /// Its id on the child's side.
    pub(crate) child_id: u64,
    pub(crate) asked: Bytes,
    pub(crate) answered: Bytes,
}

/// The defaults.
fn config() -> RouterConfig {
    RouterConfig {
        request_timeout: None,
        request_timeout_max: None,
        in_flight_max: NonZeroUsize::new(128).expect("it is not zero"),
        queue_timeout: Duration::from_secs(60),
        on_ambiguous: OnAmbiguous::Reject,
        client_capabilities: DeclaredCapabilities { roots: true, sampling: true, elicitation: true },
        bounds: Bounds::default(),
    }
}

/// What a child says of itself.
fn introduction(era: Era, id: u64) -> Bytes {
    let result = match era {
        Era::Legacy => {
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"s","version":"1"}}"#
        }
        Era::Modern => {
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#
        }
    };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into()
}

/// The id of a request that the child was given.
fn child_id(request: &Bytes) -> u64 {
    parsed(request.clone()).id_as_u64().expect("ids of the child's side are numbers")
}
