//! Requests that the child made and a session is to answer.
//!
//! A client sees mcp-mux's own id (and progress token), never the child's: an answer counts once, and only from the
//! session that was asked.

use std::collections::{BTreeMap, HashMap};

use super::id_table::ChildId;
use super::io::{SessionKey, StreamId};
use crate::jsonrpc::RawId;
use crate::metrics::{Limit, limit_hit};

/// A question's number; its id on the session's side is made of it. The generation is that of the router, so that the
/// questions of a child and of its successor, which a session may be asked at the same time, have different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct QuestionId {
    generation: u64,
    number: u64,
}

impl QuestionId {
    /// As JSON text of the envelope's `id` and of the progress token.
    pub(super) fn text(self) -> Box<str> {
        format!("\"{PREFIX}{}-{}\"", self.generation, self.number).into()
    }

    /// The question that an id or token (JSON text) from a session names, if it is spelled as it was given out.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let (generation, number) = text.strip_prefix('"')?.strip_suffix('"')?.strip_prefix(PREFIX)?.split_once('-')?;
        Some(Self { generation: strictly(generation)?, number: strictly(number)? })
    }
}

/// A number as [`QuestionId::text`] spells it: digits only, and no zero in front of others.
fn strictly(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

const PREFIX: &str = "mcp-mux-";

/// An open question.
#[derive(Debug)]
pub(super) struct Question {
    /// Who was asked.
    pub(super) session: SessionKey,
    /// On which stream.
    pub(super) stream: StreamId,
    /// Who wants to know.
    pub(super) asker: Asker,
    /// What it lives as long as.
    pub(super) scope: Scope,
}

/// Who wants to know the answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A request of the child.
    Child {
        /// Its own id.
        request: RawId,
        /// Its own progress token.
        token: Option<RawId>,
    },
    /// The session's request with this child-side id, before a modern child goes on with it.
    Round(ChildId),
}

impl Asker {
    /// The id of the child's request.
    pub(super) const fn request(&self) -> Option<&RawId> {
        match self {
            Self::Child { request, .. } => Some(request),
            Self::Round(_) => None,
        }
    }

    /// The progress token of the child's request.
    pub(super) const fn token(&self) -> Option<&RawId> {
        match self {
            Self::Child { token, .. } => token.as_ref(),
            Self::Round(_) => None,
        }
    }
}

/// How long an answer to a question is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// As long as its session has requests in flight.
    Requests,
    /// It belongs to a task, which goes on by itself.
    Task,
    /// As long as the request that it belongs to.
    Round,
    /// The child is the session's own, and may want the answer whatever it asked for.
    Session,
}

/// All open questions.
#[derive(Debug)]
pub(super) struct Questions {
    generation: u64,
    last: u64,
    open: BTreeMap<QuestionId, Question>,
    by_child_request: HashMap<RawId, QuestionId>,
    by_session: BTreeMap<SessionKey, usize>,
}

impl Questions {
    /// None yet, of a router of this generation.
    pub(super) fn new(generation: u64) -> Self {
        let (open, by_child_request, by_session) = (BTreeMap::new(), HashMap::new(), BTreeMap::new());
        Self { generation, last: 0, open, by_child_request, by_session }
    }

    /// Opens one, of which a session may have so many.
    ///
    /// # Errors
    /// For the child: it uses the id of another open question, or the session has too many.
    pub(super) fn open(&mut self, question: Question, per_session_max: usize) -> Result<QuestionId, &'static str> {
        if question.asker.request().is_some_and(|request| self.by_child_request.contains_key(request)) {
            return Err("a request with this id is open already");
        }
        if self.by_session.get(&question.session).copied().unwrap_or_default() >= per_session_max {
            limit_hit(Limit::QuestionsMax);
            return Err("too many requests to this client are open (--questions-max)");
        }
        *self.by_session.entry(question.session).or_default() += 1;
        self.last += 1;
        let id = QuestionId { generation: self.generation, number: self.last };
        if let Some(request) = question.asker.request() {
            self.by_child_request.insert(request.clone(), id);
        }
        self.open.insert(id, question);
        Ok(id)
    }

    /// An open question, if this session was asked it.
    pub(super) fn of_session(&self, id: QuestionId, session: SessionKey) -> Option<&Question> {
        self.open.get(&id).filter(|question| question.session == session)
    }

    /// Closes one.
    pub(super) fn close(&mut self, id: QuestionId) -> Option<Question> {
        let question = self.open.remove(&id)?;
        if let Some(request) = question.asker.request() {
            self.by_child_request.remove(request);
        }
        if let Some(count) = self.by_session.get_mut(&question.session) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_session.remove(&question.session);
            }
        }
        Some(question)
    }

    /// The one with the child's own id.
    pub(super) fn by_child_request(&self, id: &RawId) -> Option<QuestionId> {
        self.by_child_request.get(id).copied()
    }

    /// Whether the session has one open.
    pub(super) fn any_of(&self, session: SessionKey) -> bool {
        self.by_session.contains_key(&session)
    }

    /// The open ones of a session that last as long as its requests.
    pub(super) fn of_requests(&self, session: SessionKey) -> Vec<QuestionId> {
        if !self.any_of(session) {
            return Vec::new();
        }
        let asked = |question: &Question| question.session == session && question.scope == Scope::Requests;
        self.open.iter().filter(|(_, question)| asked(question)).map(|(id, _)| *id).collect()
    }

    /// The open ones of a session, or of all, in the order in which they were asked.
    pub(super) fn ids(&self, session: Option<SessionKey>) -> Vec<QuestionId> {
        let asked = |question: &Question| session.is_none_or(|session| question.session == session);
        self.open.iter().filter(|(_, question)| asked(question)).map(|(id, _)| *id).collect()
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_spelling_that_was_given_out_names_a_question() {
        let id = QuestionId { generation: 0, number: 10 };
        assert_eq!(&*id.text(), r#""mcp-mux-0-10""#);
        assert_eq!(QuestionId::from_text(&id.text()), Some(id));
        for text in ["mcp-mux-0-10", r#""mcp-mux-10""#, r#""mcp-mux-0-""#, r#""mcp-mux--10""#, r#""mcp-mux-00-10""#] {
            assert_eq!(QuestionId::from_text(text), None, "{text}");
        }
        for number in ["010", "+10", "-10", "1-0", "10 ", "99999999999999999999"] {
            assert_eq!(QuestionId::from_text(&format!(r#""mcp-mux-0-{number}""#)), None, "{number}");
        }
    }
}
