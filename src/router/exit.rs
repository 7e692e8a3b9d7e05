//! What an exit, or a child that is not to be had, does to requests.
//!
//! A request of which no byte reached the process goes to the next one, as if it had waited. One that was written may have
//! been carried out: it fails, unless carrying it out twice does no harm ([`method::is_safe_to_repeat`]); then it goes to
//! the next process too, once. Either way it keeps its child-side id, goes before what waits already, and is given
//! `--queue-timeout` (and `--request-timeout`) anew; `--request-timeout-max` counts from when it was accepted.
//!
//! DESIGN section 7.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::time::Instant;

use super::Router;
use super::id_table::ChildId;
use super::in_flight::{Attempt, InFlight, Phase, WriteOrder};
use super::io::{ChildExit, SessionKey};
use super::own::Own;
use super::purpose::{Purpose, progress_token};
use crate::error::Reject;
use crate::jsonrpc::{Kind, Message};
use crate::mcp::method;

/// Why nothing is accepted.
#[derive(Clone, Debug)]
pub(super) enum Denial {
    /// For good.
    Closed(Reject),
    /// For now, since the child failed too often: about until then.
    Suspended(Instant),
}

impl Denial {
    /// What requests are told.
    pub(super) fn reject(&self, now: Instant) -> Reject {
        match self {
            Self::Closed(reject) => reject.clone(),
            Self::Suspended(until) => Reject::CircuitOpen { retry_after: until.saturating_duration_since(now) },
        }
    }
}

/// Something that the next process is to have.
enum Back {
    Request(ChildId, Message),
    Notification(SessionKey, Message),
}

impl Router {
    /// The child takes no more input: what comes from now on waits for the next one; answers of what was written still
    /// count until [`Router::handle_child_exit`].
    pub fn handle_child_ending(&mut self) {
        // So does its answer to its client's `initialize`, but not that to ours.
        match self.handshake.pending().filter(|id| self.written_by(*id).is_some()) {
            Some(_) => self.handshake.end(),
            None => self.handshake.stop(),
        }
    }

    /// The child exited. `unwritten`: the last lines that were handed out for it, whole and in order, of which it was
    /// given no byte.
    ///
    /// Requests that were written are settled with [`Reject::ChildExited`]; those not yet written wait for the next
    /// process, and so do, once, those that may be carried out twice.
    pub fn handle_child_exit(&mut self, exit: &ChildExit, unwritten: &[u8], now: Instant) {
        self.handshake.stop();
        self.void_questions("the server exited");
        let own = std::mem::take(&mut self.own);
        let left = self.left_unwritten(unwritten, &own);
        let unread: BTreeSet<ChildId> = left.iter().filter_map(Back::request).collect();
        let mut back = self.repeatable(&unread);
        back.extend(left);
        let places = self.queue.places_in_front(back.len());
        for (entry, place) in back.into_iter().zip(places) {
            match entry {
                Back::Request(id, message) => {
                    let token = progress_token(&message).ok().flatten().map(|(span, _)| span);
                    self.queue.add_bytes(message.bytes().len());
                    self.requests.back_to_queue(id, message, token, place, now);
                    self.queue.put_request(place, id);
                    self.renew_deadline(id, now);
                }
                Back::Notification(session, message) => self.queue.put_notification(place, session, message),
            }
        }
        for id in self.requests.ids() {
            if !matches!(self.requests.get(id).map(|request| &request.phase), Some(Phase::Queued(_))) {
                self.reject(id, exit.reject());
            }
        }
        self.turn = None;
        self.cancelled.forget_all();
        self.tasks.clear();
        self.elicitations.clear();
        self.subscriptions.child_gone();
        self.listen.child_gone();
        self.deny_queued_if_denied(now);
    }

    /// What of the unwritten lines the next process is to have. Our own requests are made anew for it, questions and
    /// their answers are void, and who cancelled has been told so.
    fn left_unwritten(&mut self, unwritten: &[u8], own: &BTreeMap<ChildId, Own>) -> Vec<Back> {
        let mut back = Vec::new();
        // The lines are the last that were handed out, so their notifications are the last too.
        let mut senders = self.queue.take_handed_out();
        for line in unwritten.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty()) {
            // What cannot be read was not written by us; whatever it was counts as written.
            let Ok(message) = Message::parse(Bytes::copy_from_slice(line), usize::MAX) else { continue };
            match message.kind() {
                Kind::Request => {
                    let Some(id) = ChildId::from_response(&message) else { continue };
                    if own.contains_key(&id) {
                        back.extend(self.requests.followers(id).into_iter().rev().filter_map(|id| self.kept(id)));
                    } else if self.written_by(id).is_some() {
                        back.push(Back::Request(id, message));
                    }
                }
                Kind::Notification if is_passed_on(message.method()) => {
                    let Some(session) = senders.next() else { continue };
                    if self.sessions.contains_key(&session) {
                        back.push(Back::Notification(session, message));
                    }
                }
                Kind::Notification | Kind::Result | Kind::Error => {}
            }
        }
        back.reverse();
        back
    }

    /// The requests that the process was given and another may be given too, in the order in which they were written.
    fn repeatable(&mut self, unread: &BTreeSet<ChildId>) -> Vec<Back> {
        let written = |id: &ChildId| self.requests.get(*id).filter(|request| matches!(request.phase, Phase::Written));
        let mut ids: Vec<(WriteOrder, ChildId)> = self
            .requests
            .ids()
            .into_iter()
            .filter(|id| !unread.contains(id))
            .filter_map(|id| Some((written(&id)?.order, id)))
            .collect();
        ids.sort_unstable();
        let back: Vec<Back> = ids.into_iter().filter_map(|(_, id)| self.kept(id)).collect();
        for id in back.iter().filter_map(Back::request) {
            self.requests.count_attempt(id);
        }
        back
    }

    /// A request that was handed out, with the message that was kept for this.
    fn kept(&self, id: ChildId) -> Option<Back> {
        self.kept_message(id).map(|message| Back::Request(id, message))
    }

    /// The message of a request that was handed out, if it was kept.
    pub(super) fn kept_message(&self, id: ChildId) -> Option<Message> {
        let message = self.requests.get(id)?.kept.clone()?;
        Message::parse(message, usize::MAX).ok()
    }

    /// Keeps a request's message when it is handed out, if that may be of use: to repeat it, or since what is written in
    /// its place is ours.
    pub(super) fn keep_message(&mut self, id: ChildId, message: &Message) {
        let Some(request) = self.requests.get(id) else { return };
        let of_use = matches!(request.phase, Phase::Follows(_)) || may_be_repeated(request, message);
        let bytes = self.requests.original_bytes().saturating_add(message.bytes().len());
        let fits = bytes <= self.config.bounds.resend_bytes_max;
        if request.purpose.may_ask() && fits {
            self.requests.keep_original(id, Bytes::copy_from_slice(message.bytes()));
        }
        if of_use && message.bytes().len() <= KEPT_BYTES_MAX {
            // A copy of its own, for it may be a small part of what it came with.
            self.requests.keep(id, Bytes::copy_from_slice(message.bytes()));
        }
    }

    /// No child will come: everything that waits is settled with `reject`, and so is what comes later.
    pub fn close(&mut self, reject: &Reject) {
        self.handshake.stop();
        self.own.clear();
        self.void_questions("the server is gone");
        for id in self.requests.ids() {
            self.reject(id, reject.clone());
        }
        self.queue.drop_notifications(None);
        self.turn = None;
        self.cancelled.forget_all();
        self.denial = Some(Denial::Closed(reject.clone()));
    }

    /// No child is to be had for now, nor before `until`: what waits is settled with [`Reject::CircuitOpen`], and so is what
    /// comes later, until [`Router::resume`]. Notifications are dropped. May be called again, with another time. Sessions
    /// stay.
    pub fn suspend(&mut self, until: Instant, now: Instant) {
        if !matches!(self.denial, Some(Denial::Closed(_))) {
            self.denial = Some(Denial::Suspended(until));
            self.deny_queued_if_denied(now);
        }
    }

    /// Ends [`Router::suspend`]; nothing else does.
    pub fn resume(&mut self) {
        if matches!(self.denial, Some(Denial::Suspended(_))) {
            self.denial = None;
        }
    }

    pub(super) fn deny_queued_if_denied(&mut self, now: Instant) {
        let Some(reject) = self.denial.as_ref().map(|denial| denial.reject(now)) else { return };
        for id in self.queue.requests().collect::<Vec<_>>() {
            self.reject(id, reject.clone());
        }
        self.queue.drop_notifications(None);
    }
}

impl Back {
    fn request(&self) -> Option<ChildId> {
        match self {
            Self::Request(id, _) => Some(*id),
            Self::Notification(..) => None,
        }
    }
}

/// Whether a notification that was written for the child is as a client sent it, and concerns no process in particular.
fn is_passed_on(method: &str) -> bool {
    !matches!(method, method::INITIALIZED | method::CANCELLED | method::PROGRESS)
}

/// The largest message kept while its request is in flight. What is larger fails with its process.
const KEPT_BYTES_MAX: usize = 16 * 1024;

fn may_be_repeated(request: &InFlight, message: &Message) -> bool {
    let plain = matches!(request.purpose, Purpose::Plain | Purpose::Reads | Purpose::ListsTasks | Purpose::ListsTools);
    // The subscriptions of a modern client go on with the next process, however often.
    request.purpose == Purpose::Listen
        || plain && request.attempt == Attempt::First && method::is_safe_to_repeat(message.method())
}
