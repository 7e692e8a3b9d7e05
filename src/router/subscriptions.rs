//! Resource subscriptions, counted per URI: the child sees the first subscriber and the last one leave.
//!
//! Spec: 2025-11-25, Resources, Subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use super::id_table::ChildId;
use super::io::SessionKey;

/// How many folders up a part of a resource is looked for.
const PARTS_MAX: usize = 64;

/// Who is subscribed to what.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_uri: BTreeMap<String, Entry>,
    by_session: BTreeMap<SessionKey, BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Entry {
    subscribers: BTreeSet<SessionKey>,
    /// Our `resources/subscribe`, while the child has not answered it.
    pending: Option<ChildId>,
    /// Who has unsubscribed since then, before the answer.
    withdrawn: BTreeSet<SessionKey>,
}

/// What a session's wish to subscribe or unsubscribe comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is so already, or is now: nothing for the child.
    Done,
    /// The child has to be told.
    TellChild,
    /// The answer to this request of ours will tell.
    Follow(ChildId),
    /// The session has too many.
    TooMany,
}

impl Subscriptions {
    /// A session wants to subscribe, and may be subscribed to so many.
    pub(super) fn subscribe(&mut self, session: SessionKey, uri: &str, per_session_max: usize) -> Verdict {
        let own = self.by_session.get(&session);
        if own.is_some_and(|uris| uris.contains(uri)) {
            return Verdict::Done;
        }
        if own.map_or(0, BTreeSet::len) >= per_session_max {
            return Verdict::TooMany;
        }
        let Some(entry) = self.by_uri.get_mut(uri) else { return Verdict::TellChild };
        entry.withdrawn.remove(&session);
        match entry.pending {
            Some(pending) => Verdict::Follow(pending),
            None => {
                self.enroll(session, uri);
                Verdict::Done
            }
        }
    }

    /// The child is being told of the first subscriber.
    pub(super) fn begin(&mut self, uri: &str, pending: ChildId) {
        self.by_uri.entry(uri.to_owned()).or_default().pending = Some(pending);
    }

    /// The child took the subscription: `session` has it, unless it has thought better of it meanwhile.
    pub(super) fn confirm(&mut self, session: SessionKey, uri: &str) {
        if self.by_uri.get(uri).is_none_or(|entry| !entry.withdrawn.contains(&session)) {
            self.enroll(session, uri);
        }
    }

    /// The session is subscribed, whatever the child is being told.
    pub(super) fn enroll(&mut self, session: SessionKey, uri: &str) {
        self.by_uri.entry(uri.to_owned()).or_default().subscribers.insert(session);
        self.by_session.entry(session).or_default().insert(uri.to_owned());
    }

    /// The child answered our `resources/subscribe`, or nobody waits for that: forgets the URI if nobody has it, and says
    /// whether that is so.
    pub(super) fn resolve(&mut self, uri: &str) -> bool {
        if let Some(entry) = self.by_uri.get_mut(uri) {
            entry.pending = None;
            entry.withdrawn.clear();
        }
        let nobody = self.by_uri.get(uri).is_none_or(|entry| entry.subscribers.is_empty());
        if nobody {
            self.by_uri.remove(uri);
        }
        nobody
    }

    /// The child does not tell of it any more: nobody is subscribed to it. Whether anybody was.
    pub(super) fn revoke(&mut self, uri: &str) -> bool {
        let Some(entry) = self.by_uri.get_mut(uri) else { return false };
        let subscribers = std::mem::take(&mut entry.subscribers);
        for session in &subscribers {
            if let Some(uris) = self.by_session.get_mut(session) {
                uris.remove(uri);
                if uris.is_empty() {
                    self.by_session.remove(session);
                }
            }
        }
        if entry.pending.is_none() {
            self.by_uri.remove(uri);
        }
        !subscribers.is_empty()
    }

    /// A session wants to unsubscribe.
    pub(super) fn unsubscribe(&mut self, session: SessionKey, uri: &str) -> Verdict {
        if let Some(entry) = self.by_uri.get_mut(uri).filter(|entry| entry.pending.is_some()) {
            entry.withdrawn.insert(session);
        }
        let Some(uris) = self.by_session.get_mut(&session) else { return Verdict::Done };
        if !uris.remove(uri) {
            return Verdict::Done;
        }
        if uris.is_empty() {
            self.by_session.remove(&session);
        }
        let Some(entry) = self.by_uri.get_mut(uri) else { return Verdict::Done };
        entry.subscribers.remove(&session);
        if entry.subscribers.is_empty() && entry.pending.is_none() {
            self.by_uri.remove(uri);
            Verdict::TellChild
        } else {
            Verdict::Done
        }
    }

    /// The session leaves; returns all it was subscribed to, and of these the URIs that nobody is subscribed to now.
    pub(super) fn leave(&mut self, session: SessionKey) -> (BTreeSet<String>, Vec<String>) {
        let uris = self.by_session.get(&session).cloned().unwrap_or_default();
        let last = |uri: &&String| self.unsubscribe(session, uri) == Verdict::TellChild;
        let orphaned = uris.iter().filter(last).cloned().collect();
        (uris, orphaned)
    }

    /// The sessions that an update of `uri` concerns: those subscribed to it. If there are none, the child means a part of
    /// what somebody is subscribed to (2025-11-25, schema, `ResourceUpdatedNotificationParams.uri`: "might be a
    /// sub-resource"): those subscribed to the nearest whole.
    pub(super) fn subscribers(&self, uri: &str) -> BTreeSet<SessionKey> {
        let mut part = Some(uri);
        for _ in 0..PARTS_MAX {
            let Some(whole) = part else { break };
            if let Some(entry) = self.by_uri.get(whole).filter(|entry| !entry.subscribers.is_empty()) {
                return entry.subscribers.clone();
            }
            // Both spellings of a folder: `…/a/b`, then `…/a/`, then `…/a`.
            part = match whole.strip_suffix('/') {
                Some(folder) => Some(folder),
                None => whole.rfind('/').and_then(|at| whole.get(..=at)),
            };
        }
        BTreeSet::new()
    }

    /// The child is gone: what was asked of it is void, what stood is to be asked of the next one.
    pub(super) fn child_gone(&mut self) {
        for entry in self.by_uri.values_mut() {
            entry.pending = None;
            entry.withdrawn.clear();
        }
        self.by_uri.retain(|_, entry| !entry.subscribers.is_empty());
    }

    /// What the session is subscribed to.
    pub(super) fn of(&self, session: SessionKey) -> BTreeSet<String> {
        self.by_session.get(&session).cloned().unwrap_or_default()
    }

    /// Our request for a URI that the child has not answered.
    pub(super) fn pending(&self, uri: &str) -> Option<ChildId> {
        self.by_uri.get(uri)?.pending
    }

    /// Whether the URI has a subscriber or is about to.
    pub(super) fn contains(&self, uri: &str) -> bool {
        self.by_uri.contains_key(uri)
    }

    /// Every URI with a subscriber, or about to have one.
    pub(super) fn uris(&self) -> Vec<String> {
        self.by_uri.keys().cloned().collect()
    }

    /// How many URIs have a subscriber or are about to.
    pub(super) fn len(&self) -> usize {
        self.by_uri.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionKey = SessionKey(1);
    const B: SessionKey = SessionKey(2);

    #[test]
    fn child_sees_the_first_subscriber_and_the_last_one_leave() {
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.subscribe(A, "x:/1", 9), Verdict::TellChild);
        subscriptions.begin("x:/1", ChildId(7));
        assert_eq!(subscriptions.subscribe(B, "x:/1", 9), Verdict::Follow(ChildId(7)));
        subscriptions.confirm(A, "x:/1");
        assert!(!subscriptions.resolve("x:/1"));
        assert_eq!(subscriptions.subscribe(B, "x:/1", 9), Verdict::Done);
        assert_eq!(subscriptions.unsubscribe(A, "x:/1"), Verdict::Done);
        assert_eq!(subscriptions.leave(B), (BTreeSet::from(["x:/1".to_owned()]), vec!["x:/1".to_owned()]));
        assert_eq!((subscriptions.len(), subscriptions.by_session.len()), (0, 0));
    }

    #[test]
    fn who_unsubscribes_before_the_child_has_answered_is_not_subscribed_by_the_answer() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(A, "x:/1", 9);
        subscriptions.begin("x:/1", ChildId(7));
        assert_eq!(subscriptions.unsubscribe(A, "x:/1"), Verdict::Done);
        subscriptions.confirm(A, "x:/1");
        assert!(subscriptions.resolve("x:/1"), "nobody has it");
        assert_eq!(subscriptions.len(), 0);
    }

    #[test]
    fn an_update_of_a_part_reaches_who_subscribed_to_the_nearest_whole_if_nobody_did_to_the_part() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.confirm(A, "file:///a");
        subscriptions.confirm(B, "file:///ab");
        assert_eq!(subscriptions.subscribers("file:///a/b"), BTreeSet::from([A]));
        assert_eq!(subscriptions.subscribers("file:///a/b/c/d"), BTreeSet::from([A]));
        subscriptions.confirm(B, "file:///a/b/");
        assert_eq!(
            subscriptions.subscribers("file:///a/b/c"),
            BTreeSet::from([B]),
            "not also A, who did not ask for it"
        );
        assert_eq!(subscriptions.subscribers("file:///a/b"), BTreeSet::from([A]));
        assert_eq!(subscriptions.subscribers("file:///ab"), BTreeSet::from([B]));
        assert_eq!(subscriptions.subscribers("file:///c"), BTreeSet::new());
    }
}
