//! Who is attached to the child: sessions, and exchanges of one request, come with what is known of them and go with all
//! that is theirs.

use tokio::time::Instant;

use super::Router;
use super::id_table::ChildId;
use super::io::{Profile, SessionKey};
use super::subscriptions::Verdict;
use crate::auth::What;
use crate::error::Reject;
use crate::mcp::{Era, Revision};

impl Router {
    /// Attaches a session (or a stateless exchange). It may send at once; what it sends waits for the child. A profile
    /// that [`Router::detach`] returned goes on where it stopped. A [private](super::Sharing::Private) child has one session in its
    /// life.
    pub fn attach(&mut self, session: SessionKey, mut profile: Profile, now: Instant) {
        self.adapt(&mut profile);
        profile.subscriptions.retain(|uri| profile.rules.admits(What::Resource, uri));
        let subscriptions = profile.subscriptions.clone();
        let profile_era = profile.era;
        let level = profile.level;
        let open = profile.revision.is_some() || profile.era == Era::Modern && level.is_some();
        self.sessions.insert(session, profile);
        if open {
            let change = self.levels.put(session, Some(level));
            self.tell_level(change);
        }
        for uri in subscriptions {
            // It has them already, however many it may have now.
            let verdict = self.subscriptions.subscribe(session, &uri, usize::MAX);
            self.subscriptions.enroll(session, &uri);
            if verdict == Verdict::TellChild && self.is_ready() {
                self.subscribe_child(&uri);
            }
        }
        self.listen.wish_changed_by(profile_era);
        self.follow_wishes(now);
    }

    /// Detaches a session: its requests in flight are cancelled in the child and settled with
    /// [`Reject::SessionClosed`], its questions are answered with an error, its subscriptions and level are given up.
    /// Returns what it would be attached with again.
    pub fn detach(&mut self, session: SessionKey, now: Instant) -> Option<Profile> {
        let ids: Vec<ChildId> = self.requests.of_session(session).collect();
        for id in ids {
            self.abort(id, Reject::SessionClosed, now);
        }
        let mut profile = self.sessions.remove(&session)?;
        self.queue.drop_notifications(Some(session));
        for question in self.questions.ids(Some(session)) {
            if let Some(question) = self.questions.close(question) {
                self.refuse_asker(&question.asker, "client-gone", "the client that was asked is gone");
            }
        }
        profile.level = self.levels.of(session);
        let change = self.levels.put(session, None);
        self.tell_level(change);
        let (uris, orphaned) = self.subscriptions.leave(session);
        profile.subscriptions = uris;
        for uri in orphaned {
            self.unsubscribe_child(&uri);
        }
        self.tasks.leave(session);
        self.elicitations.retain(|(_, asked)| *asked != session);
        self.listen.wish_changed_by(profile.era);
        self.pump(now);
        Some(profile)
    }

    /// Those attached that are exchanges of one modern request, and no sessions.
    pub fn exchanges(&self) -> Vec<SessionKey> {
        self.sessions.iter().filter(|(_, profile)| profile.era == Era::Modern).map(|(session, _)| *session).collect()
    }

    /// A session's handshake stands.
    pub(super) fn open(&mut self, session: SessionKey, revision: Revision, now: Instant) {
        if let Some(profile) = self.sessions.get_mut(&session) {
            profile.revision = Some(revision);
        }
        let level = self.levels.of(session);
        let change = self.levels.put(session, Some(level));
        self.tell_level(change);
        self.listen.wish_changed_by(Era::Legacy);
        self.follow_wishes(now);
    }
}
