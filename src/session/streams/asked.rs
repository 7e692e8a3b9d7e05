//! What a POST asks of its session: how many requests it brings, and what its client takes in return.

use crate::mcp::method;

/// What a client wants of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// So many requests.
    Requests(usize),
    /// A ping, which is also taken, within reason, when as many requests are in flight as may be: it asks whether anybody
    /// is there.
    Ping,
}

impl Asked {
    /// How many answers there will be.
    pub(in super::super) const fn answers(self) -> usize {
        match self {
            Self::Requests(requests) => requests,
            Self::Ping => 1,
        }
    }

    /// One request of this method.
    pub fn by(method: &str) -> Self {
        if method == method::PING { Self::Ping } else { Self::Requests(1) }
    }
}

/// Whether a POST can be sent more than its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostForm {
    /// It may become an event stream.
    Streamable,
    /// Its client takes nothing but the answers.
    AnswersOnly,
}
