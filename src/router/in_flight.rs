//! One request in flight: whose it is, how far it is, and what the next process would need to have it too.

use bytes::Bytes;
use tokio::time::Instant;

use super::cache::Ticket;
use super::id_table::ChildId;
use super::io::Origin;
use super::purpose::Purpose;
use super::queue::Place;
use super::rules::Sieve;
use crate::jsonrpc::{Message, RawId, Span};

/// When a request was handed out, in relation to others: the child reads in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WriteOrder(pub(super) u64);

/// How far a request is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Accepted, not handed out yet.
    Queued(Message),
    /// Handed out for the child.
    Written,
    /// Answered by the answer to a request of mcp-mux's own.
    Follows(ChildId),
    /// The child wants to be told something first, and the client is being asked.
    Asks,
}

/// How often a request was given to a process that did not answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Not yet.
    First,
    /// Once, and it may not be given to a third.
    Second,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Who sent it.
    pub(super) origin: Origin,
    /// Its id there.
    pub(super) client_id: RawId,
    /// The progress token it came with, and where.
    pub(super) token: Option<(Span, RawId)>,
    /// What it is to the router.
    pub(super) purpose: Purpose,
    /// How far it is.
    pub(super) phase: Phase,
    /// When it was accepted.
    pub(super) accepted: Instant,
    /// Since when it waits, or last did: since it was accepted, or since the exit of the process that it was for.
    pub(super) waits_since: Instant,
    /// Its place in the queue, while it waits.
    pub(super) place: Place,
    /// Its message, where it is of use after it was handed out: the next process is to have it if this one exits.
    pub(super) kept: Option<Bytes>,
    /// What its answer has to go through before its client has it.
    pub(super) sieve: Option<Sieve>,
    /// With which its result is kept, where it may be.
    pub(super) ticket: Option<Ticket>,
    /// Its message, where the child may want to have it again together with what its client is asked first.
    pub(super) original: Option<Bytes>,
    /// How often it was sent again like that.
    pub(super) rounds: u8,
    /// Of a client's `subscriptions/listen`: whether it was acknowledged.
    pub(super) acknowledged: bool,
    /// How often it was given to a process that exited.
    pub(super) attempt: Attempt,
    /// When the child was last told something for it: the request itself, or the answer to a question that may be its.
    pub(super) addressed: Instant,
    /// Its place among all that were handed out for the child.
    pub(super) order: WriteOrder,
    /// When it fails.
    pub(super) deadline: Option<Instant>,
}

impl InFlight {
    /// A request that was just accepted, and waits.
    pub(super) fn new(
        origin: Origin,
        client_id: RawId,
        token: Option<(Span, RawId)>,
        purpose: Purpose,
        (place, message): (Place, Message),
        now: Instant,
    ) -> Self {
        Self {
            origin,
            client_id,
            token,
            purpose,
            phase: Phase::Queued(message),
            accepted: now,
            waits_since: now,
            place,
            kept: None,
            sieve: None,
            ticket: None,
            original: None,
            rounds: 0,
            acknowledged: false,
            attempt: Attempt::First,
            addressed: now,
            order: WriteOrder::default(),
            deadline: None,
        }
    }

    /// The bytes of what is kept of it for the child to have again.
    pub(super) fn original_len(&self) -> usize {
        self.original.as_ref().map_or(0, Bytes::len)
    }

    /// The bytes that it takes up as long as it waits.
    pub(super) fn queued_bytes(&self) -> usize {
        match &self.phase {
            Phase::Queued(message) => message.bytes().len(),
            Phase::Written | Phase::Follows(_) | Phase::Asks => 0,
        }
    }
}
