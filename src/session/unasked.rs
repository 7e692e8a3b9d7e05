//! Questions of children that no client will answer: a session gave them up unread, under pressure. mcp-mux answers in
//! the client's place, so that a child does not wait for ever.
//!
//! A delivery never waits, so what is given up is put here and answered by the registry's task. Bounded: a question too
//! many stays without an answer, as it would if its client were silent.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::sync::Notify;
use tracing::debug;

use crate::child::ChildHandle;
use crate::jsonrpc::{self, DEPTH_MAX, Frame, Kind, Message, RawId};
use crate::mcp::code;
use crate::router::{Origin, SessionKey, StreamId};

/// Questions that wait to be answered by mcp-mux.
#[derive(Debug, Default)]
pub(super) struct Unasked {
    questions: Mutex<VecDeque<Question>>,
    wake: Notify,
}

/// What a child asked a session.
type Question = (ChildHandle, SessionKey, RawId);

impl Unasked {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Question>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a session gave up of what its child sent it. Only requests matter.
    pub(super) fn put(&self, child: &ChildHandle, session: SessionKey, dropped: Vec<Frame>) {
        for id in dropped.into_iter().filter_map(question) {
            let mut questions = self.lock();
            if questions.len() >= QUESTIONS_MAX {
                drop(questions);
                debug!(limit = QUESTIONS_MAX, "a question that no client read is left without an answer");
                continue;
            }
            questions.push_back((child.clone(), session, id));
            drop(questions);
            self.wake.notify_one();
        }
    }

    /// Answers, for ever.
    pub(super) async fn answer(&self) {
        loop {
            let Some((child, session, id)) = self.lock().pop_front() else {
                self.wake.notified().await;
                continue;
            };
            let Ok(message) = Message::parse(refusal(&id).into_bytes(), DEPTH_MAX) else { continue };
            debug!("a question that no client read is answered with an error");
            if let Err(reject) = child.send(Origin::client(session, StreamId::STANDALONE), message).await {
                debug!(kind = reject.wire().kind, "the child did not take it");
            }
        }
    }
}

/// The id of a question.
fn question(frame: Frame) -> Option<RawId> {
    let message = Message::parse(frame.into_bytes(), DEPTH_MAX).ok()?;
    message.id().filter(|_| message.kind() == Kind::Request)
}

fn refusal(id: &RawId) -> Frame {
    let error = json!({
        "code": code::LIMIT_REACHED,
        "message": "the client did not read it",
        "data": {"source": "mcp-mux", "kind": "question-dropped"},
    });
    jsonrpc::error_response(Some(id), &error)
}

/// The most questions that wait to be answered, over all sessions.
const QUESTIONS_MAX: usize = 1024;
