//! Whose a task is. A task id is the server's own handle, so it is scoped, not rewritten: to everybody but the session
//! whose request made it, it does not exist.
//!
//! Spec: 2025-11-25, Tasks, Task Access Control.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::value::RawValue;

use super::id_table::ChildId;
use super::io::SessionKey;
use crate::era::tasks::Told;
use crate::jsonrpc::{Duplicate, Message, RawId, Span};
use crate::metrics::{Limit, limit_hit};

/// The tasks of one child.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    by_id: BTreeMap<String, Task>,
    by_session: BTreeMap<SessionKey, VecDeque<String>>,
    /// Progress of a task goes on under the token of the request that made it.
    by_token: BTreeMap<ChildId, String>,
    /// Those that exchanges of modern clients have made and that go on, oldest first. An exchange is over by then; whose
    /// they are the pool knows.
    of_exchanges: VecDeque<String>,
}

#[derive(Debug)]
struct Task {
    owner: SessionKey,
    progress: Option<(ChildId, RawId)>,
    rest: Rest,
}

/// Whether there is anything more to be had of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// It goes on, or its result was not fetched yet.
    Some,
    /// Its result was fetched, or it was cancelled.
    Nothing,
}

impl Tasks {
    /// A request of `owner` made this task. `progress`: our token and the client's. So many are remembered of a session, one
    /// at least; beyond it the oldest is forgotten, which to its owner looks as if its time to live were over.
    pub(super) fn insert(
        &mut self,
        id: String,
        owner: SessionKey,
        progress: Option<(ChildId, RawId)>,
        per_session_max: usize,
    ) {
        if let Some(other) = self.by_id.get(&id) {
            tracing::warn!(
                same_owner = other.owner == owner,
                "the child used a task id twice; the first owner keeps it"
            );
            return;
        }
        let own = self.by_session.entry(owner).or_default();
        own.push_back(id.clone());
        let oldest = if own.len() > per_session_max { own.pop_front() } else { None };
        if let Some((token, _)) = &progress {
            self.by_token.insert(*token, id.clone());
        }
        self.by_id.insert(id, Task { owner, progress, rest: Rest::Some });
        if let Some(oldest) = oldest {
            limit_hit(Limit::TasksMax);
            self.end_progress(&oldest);
            self.by_id.remove(&oldest);
        }
    }

    /// Whose it is.
    pub(super) fn owner(&self, id: &str) -> Option<SessionKey> {
        self.by_id.get(id).map(|task| task.owner)
    }

    /// Where progress under one of our tokens goes, and under which token of the client's.
    pub(super) fn progress(&self, token: ChildId) -> Option<(SessionKey, &RawId)> {
        let task = self.by_id.get(self.by_token.get(&token)?)?;
        Some((task.owner, &task.progress.as_ref()?.1))
    }

    /// The task is over: no more progress. Its result can still be asked for.
    pub(super) fn end_progress(&mut self, id: &str) {
        if let Some((token, _)) = self.by_id.get_mut(id).and_then(|task| task.progress.take()) {
            self.by_token.remove(&token);
        }
    }

    /// Nothing more is to be had of the task, though its owner may still ask.
    pub(super) fn exhaust(&mut self, id: &str) {
        self.end_progress(id);
        if let Some(task) = self.by_id.get_mut(id) {
            task.rest = Rest::Nothing;
        }
    }

    /// Whether something is still to be had of a task: it goes on, or its result was not fetched. (A time to live is the
    /// child's to watch over; that of a task that nobody asks for again has to be waited for.)
    pub(super) fn any_unfinished(&self) -> bool {
        !self.of_exchanges.is_empty() || self.by_id.values().any(|task| task.rest == Rest::Some)
    }

    /// An exchange was told of a task. So many keep a process from being replaced; beyond it the oldest does not.
    pub(super) fn note_of_exchange(&mut self, told: Told, keeping_max: usize) {
        if told.is_over {
            self.of_exchanges.retain(|id| *id != told.id);
        } else if told.is_new && !self.is_of_exchange(&told.id) {
            if self.of_exchanges.len() >= keeping_max {
                limit_hit(Limit::TasksMax);
                self.of_exchanges.pop_front();
            }
            self.of_exchanges.push_back(told.id);
        }
    }

    /// Whether there are such.
    pub(super) fn any_of_exchanges(&self) -> bool {
        !self.of_exchanges.is_empty()
    }

    /// Whether an exchange has made this task, and it goes on.
    pub(super) fn is_of_exchange(&self, id: &str) -> bool {
        self.of_exchanges.iter().any(|task| task == id)
    }

    /// The session leaves, and its tasks are nobody's.
    pub(super) fn leave(&mut self, session: SessionKey) {
        for id in self.by_session.remove(&session).unwrap_or_default() {
            self.end_progress(&id);
            self.by_id.remove(&id);
        }
    }

    /// The child is gone, and its tasks with it.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether no task has an owner.
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many have an owner.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The array of a `tasks/list` result without what is not the session's: the array's place and its new text; none if
    /// there is no array.
    ///
    /// # Errors
    /// There may be two.
    pub(super) fn filter_list(
        &self,
        session: SessionKey,
        answer: &Message,
    ) -> Result<Option<(Span, String)>, Duplicate> {
        let Some(result) = answer.result() else { return Ok(None) };
        let Some(span) = answer.member(result, "tasks")? else { return Ok(None) };
        // What cannot be read is not passed on.
        let tasks: Vec<&RawValue> = serde_json::from_str(answer.text(span)).unwrap_or_default();
        let own: BTreeSet<&str> = self.by_session.get(&session).into_iter().flatten().map(String::as_str).collect();
        let kept: Vec<&str> = tasks
            .into_iter()
            .map(RawValue::get)
            .filter(|task| task_id(task).is_some_and(|id| own.contains(id.as_str())))
            .collect();
        Ok(Some((span, format!("[{}]", kept.join(",")))))
    }
}

/// The `taskId` of a task object.
pub(super) fn task_id(task: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Id {
        #[serde(rename = "taskId")]
        id: String,
    }
    serde_json::from_str::<Id>(task).ok().map(|task| task.id)
}
