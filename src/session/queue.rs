//! What waits to be sent on one stream, with an account of its size.
//!
//! Pure. Messages (notifications, questions to the client) can be given up under pressure; answers cannot: each is the
//! one response that an accepted request gets.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;

use super::unread::{Held, Share};
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Kind, Message, RawId};
use crate::mcp::{Revision, method};

/// A frame that is going to be kept: a small one gets bytes of its own, so that it does not keep the whole buffer alive
/// that the child's output was read into.
pub(super) fn compact(frame: Frame) -> Frame {
    if frame.len() > COMPACT_BYTES_MAX {
        return frame;
    }
    let mut bytes = BytesMut::with_capacity(frame.len());
    frame.write_to(&mut bytes);
    Frame::new(bytes.freeze())
}

/// Whether a message will still matter when its reader comes to it late: a question, or that one was cancelled.
pub(super) fn lasts(frame: &Frame) -> bool {
    let message = Message::parse(frame.clone().into_bytes(), usize::MAX);
    message.is_ok_and(|message| message.kind() == Kind::Request || message.method() == method::CANCELLED)
}

/// What settles a request.
#[derive(Debug)]
pub enum Answer {
    /// The response.
    Response(Frame),
    /// The response to `initialize`.
    Initialized(Frame, Revision),
    /// An error of mcp-mux's own.
    Rejected(RawId, Reject),
}

impl Answer {
    /// The JSON-RPC response.
    pub fn into_frame(self) -> Frame {
        match self {
            Self::Response(frame) | Self::Initialized(frame, _) => frame,
            Self::Rejected(id, reject) => jsonrpc::error_response(Some(&id), &reject.error_object()),
        }
    }

    /// The same, where it is going to be kept: see [`compact`].
    pub(super) fn compact(self) -> Self {
        match self {
            Self::Response(frame) => Self::Response(compact(frame)),
            Self::Initialized(frame, revision) => Self::Initialized(compact(frame), revision),
            Self::Rejected(id, reject) => Self::Rejected(id, reject),
        }
    }

    /// The id of the request. Rarely needed, so it is looked for instead of being carried along.
    fn id(&self) -> Option<RawId> {
        match self {
            Self::Response(frame) | Self::Initialized(frame, _) => id_of(frame),
            Self::Rejected(id, _) => Some(id.clone()),
        }
    }

    /// What it counts against limits in bytes. An error of ours is small and counts as nothing, but for what it tells of
    /// the child.
    fn size(&self) -> usize {
        match self {
            Self::Response(frame) | Self::Initialized(frame, _) => frame.len(),
            #[expect(clippy::wildcard_enum_match_arm, reason = "the others are fixed texts and numbers")]
            Self::Rejected(_, reject) => match reject {
                Reject::ChildExited { stderr, .. } => stderr.iter().map(String::len).sum(),
                _ => 0,
            },
        }
    }
}

/// What was taken from a stream.
#[derive(Debug)]
pub struct Taken {
    /// What it is.
    pub item: Item,
    /// What is held for it, of what all sessions may leave unread.
    pub held: Held,
}

/// What waits on a stream.
#[derive(Debug)]
pub enum Item {
    /// A notification or a question to the client.
    Message(Frame),
    /// What settles a request.
    Answer(Answer),
}

#[derive(Debug)]
struct Queued {
    /// The place in the order of the whole session.
    seq: u64,
    size: usize,
    item: Item,
}

/// Messages and answers in the order they came.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Queued>,
    messages: usize,
    message_bytes: usize,
    answer_bytes: usize,
    /// Of what all sessions may leave unread.
    held: Held,
    /// There was no room to hold it all.
    over: bool,
}

impl Queue {
    /// Puts something in. It is held of the session's `share`; see [`Queue::is_over`].
    pub(super) fn push(&mut self, seq: u64, item: Item, share: &Arc<Share>) {
        let size = match &item {
            Item::Message(frame) => {
                self.messages += 1;
                self.message_bytes += frame.len();
                frame.len()
            }
            Item::Answer(answer) => {
                self.answer_bytes += answer.size();
                answer.size()
            }
        };
        self.items.push_back(Queued { seq, size, item });
        self.hold(share);
    }

    /// Holds all of it, also what there was no room for when it came.
    pub(super) fn hold(&mut self, share: &Arc<Share>) {
        let bytes = self.bytes();
        self.over = !self.held.grow(bytes, share);
    }

    fn bytes(&self) -> usize {
        self.message_bytes + self.answer_bytes
    }

    /// Something was taken out, or made smaller: what was held of it.
    fn release(&mut self) -> Held {
        let bytes = self.bytes();
        let held = self.held.split(bytes);
        self.over = self.over && bytes > self.held.bytes();
        held
    }

    /// What it holds of the session's share.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.bytes()
    }

    /// Whether there was no room for what was put in last: until enough is taken out. Then whoever put it in does that.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether there is but one thing in it, and a small one.
    pub(super) fn is_one_small(&self) -> bool {
        self.items.len() == 1 && self.bytes() <= SMALL_BYTES_MAX
    }

    pub(super) fn pop(&mut self) -> Option<Taken> {
        self.remove(0)
    }

    fn remove(&mut self, at: usize) -> Option<Taken> {
        let queued = self.items.remove(at)?;
        match queued.item {
            Item::Message(_) => {
                self.messages -= 1;
                self.message_bytes -= queued.size;
            }
            Item::Answer(_) => self.answer_bytes -= queued.size,
        }
        if self.items.is_empty() {
            // An idle stream keeps no buffer.
            self.items = VecDeque::new();
        }
        let held = self.release();
        Some(Taken { item: queued.item, held })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn answers(&self) -> usize {
        self.items.len() - self.messages
    }

    pub(super) fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    /// The bytes of all messages but the largest.
    pub(super) fn message_bytes_but_largest(&self) -> usize {
        let messages = self.items.iter().filter(|queued| matches!(queued.item, Item::Message(_)));
        self.message_bytes - messages.map(|queued| queued.size).max().unwrap_or(0)
    }

    pub(super) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// The only thing in the queue, if it is an error of ours.
    pub(super) fn only_rejected(&self) -> Option<&Reject> {
        match self.items.front() {
            Some(Queued { item: Item::Answer(Answer::Rejected(_, reject)), .. }) if self.items.len() == 1 => {
                Some(reject)
            }
            Some(_) | None => None,
        }
    }

    /// When the oldest message came.
    pub(super) fn oldest_message(&self) -> Option<u64> {
        if self.messages == 0 {
            return None;
        }
        self.items.iter().find(|queued| matches!(queued.item, Item::Message(_))).map(|queued| queued.seq)
    }

    /// Gives the oldest message up.
    pub(super) fn drop_oldest_message(&mut self) -> Option<Frame> {
        let at = self.items.iter().position(|queued| matches!(queued.item, Item::Message(_)))?;
        match self.remove(at)?.item {
            Item::Message(frame) => Some(frame),
            Item::Answer(_) => None,
        }
    }

    /// When the newest answer of more than so many bytes came, and how large it is.
    pub(super) fn newest_answer_above(&self, bytes: usize) -> Option<(u64, usize)> {
        self.items.iter().rev().find(|queued| queued.is_answer_above(bytes)).map(|queued| (queued.seq, queued.size))
    }

    /// Puts a small error in the place of the newest answer of more than so many bytes, which are not less than [`ERROR_BYTES`].
    pub(super) fn replace_newest_answer(&mut self, bytes: usize, reject: &Reject) {
        let Some(queued) = self.items.iter_mut().rev().find(|queued| queued.is_answer_above(bytes)) else { return };
        self.answer_bytes -= queued.size;
        queued.size = 0;
        // Without a readable id the answer itself stays: it is never dropped, only not counted any more.
        if let Item::Answer(answer) = &queued.item
            && let Some(id) = answer.id()
        {
            queued.item = Item::Answer(Answer::Rejected(id, reject.clone()));
        }
        drop(self.release());
    }

    /// Takes all answers out, with what is held for them; messages stay.
    pub(super) fn take_answers(&mut self) -> (Vec<Answer>, Held) {
        let mut answers = Vec::with_capacity(self.answers());
        let items = std::mem::take(&mut self.items);
        self.answer_bytes = 0;
        for queued in items {
            match queued.item {
                Item::Answer(answer) => answers.push(answer),
                Item::Message(_) => self.items.push_back(queued),
            }
        }
        (answers, self.release())
    }

    /// Takes all messages out with the places they have in the session's order; answers stay.
    pub(super) fn take_messages(&mut self) -> Vec<(u64, Frame)> {
        let mut messages = Vec::with_capacity(self.messages);
        let items = std::mem::take(&mut self.items);
        (self.messages, self.message_bytes) = (0, 0);
        for queued in items {
            match queued.item {
                Item::Message(frame) => messages.push((queued.seq, frame)),
                Item::Answer(_) => self.items.push_back(queued),
            }
        }
        drop(self.release());
        messages
    }
}

impl Queued {
    fn is_answer_above(&self, bytes: usize) -> bool {
        matches!(self.item, Item::Answer(_)) && self.size > bytes
    }
}

/// Larger frames share the buffer they came in, which then is not much larger than they are.
const COMPACT_BYTES_MAX: usize = 8 * 1024;
/// What is no larger is sent to a reader that waits for it, also where there is no room to hold it.
pub(super) const SMALL_BYTES_MAX: usize = COMPACT_BYTES_MAX;
/// About the size of the error that stands in for an answer that was not kept.
pub(super) const ERROR_BYTES: usize = 512;

/// The id of a response. In one that came from the child it is where the router put it, however long the rest is.
fn id_of(frame: &Frame) -> Option<RawId> {
    if let Some(id) = frame.replaced_member("id") {
        return Some(RawId::from_json(id));
    }
    jsonrpc::Message::parse(frame.clone().into_bytes(), usize::MAX).ok()?.id()
}
