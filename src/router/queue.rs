//! What waits for the child, in the order in which it is to be handed out.
//!
//! Separate from the table of requests because notifications wait too, and because what comes back from a process that
//! exited goes before what waits already. The requests themselves stay in the table; here are their places.

use std::collections::btree_map::IntoIter;
use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;

use super::id_table::ChildId;
use super::io::SessionKey;
use crate::jsonrpc::Message;
use crate::metrics::{Limit, limit_hit};

/// The most notifications kept for a child that is not ready, and the most that can be kept when it exits.
const NOTIFICATIONS_MAX: usize = 1024;

/// A place in the queue; lower ones go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(i64);

/// Something in the queue.
#[derive(Debug)]
pub(super) enum Entry {
    /// A request, which the table has.
    Request(ChildId),
    /// A session's notification.
    Notification(SessionKey, Message),
}

/// What waits for the child.
#[derive(Debug, Default)]
pub(super) struct Queue {
    requests: BTreeMap<Place, ChildId>,
    notifications: BTreeMap<Place, (SessionKey, Message)>,
    /// The first place and the last one given out.
    front: i64,
    back: i64,
    /// Bytes of all messages that wait, those of requests included.
    bytes: usize,
    /// Whose the last notifications were that were handed out, oldest first; at most [`NOTIFICATIONS_MAX`].
    handed_out: VecDeque<SessionKey>,
}

impl Queue {
    /// The place behind everything.
    pub(super) const fn place_behind(&mut self) -> Place {
        self.back += 1;
        Place(self.back)
    }

    /// So many places in front of everything, in order.
    pub(super) fn places_in_front(&mut self, count: usize) -> impl Iterator<Item = Place> + use<> {
        let end = self.front;
        self.front = self.front.saturating_sub(i64::try_from(count).unwrap_or(i64::MAX));
        (self.front..end).map(Place)
    }

    /// A request waits from now on.
    pub(super) fn put_request(&mut self, place: Place, id: ChildId) {
        self.requests.insert(place, id);
    }

    /// A notification waits from now on, unless too many do already.
    pub(super) fn put_notification(&mut self, place: Place, session: SessionKey, message: Message) {
        if self.notifications.len() >= NOTIFICATIONS_MAX {
            limit_hit(Limit::MessagesWaitingMax);
            return tracing::debug!(method = message.method(), "dropped a client's notification: too many wait");
        }
        self.bytes += message.bytes().len();
        self.notifications.insert(place, (session, message));
    }

    /// A request's message is kept as long as it waits.
    pub(super) const fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// It waits no longer.
    pub(super) const fn remove_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// A request waits no longer.
    pub(super) fn remove_request(&mut self, place: Place) {
        self.requests.remove(&place);
    }

    /// Takes everything out, in order. The bytes of requests still count.
    pub(super) fn take(&mut self) -> Taken {
        let notifications = std::mem::take(&mut self.notifications);
        self.bytes = notifications.values().fold(self.bytes, |bytes, (_, message)| bytes - message.bytes().len());
        Taken {
            requests: std::mem::take(&mut self.requests).into_iter().peekable(),
            notifications: notifications.into_iter().peekable(),
        }
    }

    /// The requests that wait, in order.
    pub(super) fn requests(&self) -> impl Iterator<Item = ChildId> + '_ {
        self.requests.values().copied()
    }

    /// Forgets the notifications of a session, or of all.
    pub(super) fn drop_notifications(&mut self, session: Option<SessionKey>) {
        let bytes = &mut self.bytes;
        self.notifications.retain(|_, (from, message)| {
            let stays = session.is_some_and(|session| session != *from);
            if !stays {
                *bytes -= message.bytes().len();
            }
            stays
        });
    }

    /// A notification was handed out for the child.
    pub(super) fn note_notification(&mut self, session: SessionKey) {
        if self.handed_out.len() >= NOTIFICATIONS_MAX {
            self.handed_out.pop_front();
        }
        self.handed_out.push_back(session);
    }

    /// Whose the last notifications were that were handed out for the child, the newest first. It is gone.
    pub(super) fn take_handed_out(&mut self) -> impl Iterator<Item = SessionKey> + use<> {
        std::mem::take(&mut self.handed_out).into_iter().rev()
    }

    /// How many requests wait.
    pub(super) fn requests_waiting(&self) -> usize {
        self.requests.len()
    }

    /// How many requests and notifications wait.
    pub(super) fn len(&self) -> usize {
        self.requests.len() + self.notifications.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all messages that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What was taken out of a queue.
pub(super) struct Taken {
    requests: Peekable<IntoIter<Place, ChildId>>,
    notifications: Peekable<IntoIter<Place, (SessionKey, Message)>>,
}

impl Iterator for Taken {
    type Item = (Place, Entry);

    fn next(&mut self) -> Option<Self::Item> {
        let request = self.requests.peek().map(|(place, _)| *place);
        if let Some((place, (session, message))) =
            self.notifications.next_if(|(place, _)| request.is_none_or(|request| *place < request))
        {
            return Some((place, Entry::Notification(session, message)));
        }
        self.requests.next().map(|(place, id)| (place, Entry::Request(id)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn notification(text: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{text}"}}"#);
        Message::parse(Bytes::from(text), 10).unwrap()
    }

    fn order(queue: &mut Queue) -> Vec<String> {
        let text = |(_, entry)| match entry {
            Entry::Request(id) => id.text().into(),
            Entry::Notification(_, message) => message.method().to_owned(),
        };
        queue.take().map(text).collect()
    }

    #[test]
    fn what_comes_back_goes_before_what_waits() {
        let (mut queue, session) = (Queue::default(), SessionKey(1));
        for id in 1..3 {
            let place = queue.place_behind();
            queue.put_request(place, ChildId(id));
            let place = queue.place_behind();
            queue.put_notification(place, session, notification(&format!("n{id}")));
        }
        let mut places = queue.places_in_front(3);
        queue.put_request(places.next().unwrap(), ChildId(7));
        queue.put_notification(places.next().unwrap(), session, notification("n7"));
        queue.put_request(places.next().unwrap(), ChildId(8));
        let place = queue.places_in_front(1).next().unwrap();
        queue.put_request(place, ChildId(9));
        assert_eq!(order(&mut queue), ["9", "7", "n7", "8", "1", "n1", "2", "n2"]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn notifications_are_bounded_and_go_with_their_session() {
        let mut queue = Queue::default();
        let before = crate::metrics::limit_hits(Limit::MessagesWaitingMax);
        for n in 0..2000 {
            let place = queue.place_behind();
            queue.put_notification(place, SessionKey(n % 2), notification("n"));
            queue.note_notification(SessionKey(n));
        }
        assert_eq!(queue.len(), NOTIFICATIONS_MAX);
        assert!(crate::metrics::limit_hits(Limit::MessagesWaitingMax) >= before + 976);
        queue.drop_notifications(Some(SessionKey(1)));
        assert_eq!(queue.len(), NOTIFICATIONS_MAX / 2);
        queue.drop_notifications(None);
        assert_eq!((queue.is_empty(), queue.bytes()), (true, 0));
        let handed_out: Vec<_> = queue.take_handed_out().collect();
        assert_eq!((handed_out.len(), handed_out[0]), (NOTIFICATIONS_MAX, SessionKey(1999)));
    }
}
