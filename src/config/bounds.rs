//! How far what clients and servers say may make mcp-mux grow, where an operator can choose it.
//!
//! One small value that every layer gets a copy of, since most of these hold in several.

/// The most of what clients and servers can make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The deepest nesting of a client's JSON.
    pub nesting_max: usize,
    /// The most messages of a client's batch; 0: none are taken.
    pub batch_max: usize,
    /// The most resources that a session, or one listener, may be subscribed to; 0: none.
    pub subscriptions_max: usize,
    /// The most questions of children that one client may have open; 0: it is asked nothing.
    pub questions_max: usize,
    /// The most bytes of requests that one child's router keeps to send them again with a client's answers; 0: none.
    pub resend_bytes_max: usize,
    /// The most tasks remembered of modern exchanges; never less than [`Bounds::TASKS_MIN`].
    pub tasks_max: usize,
}

impl Bounds {
    /// The least [`Bounds::tasks_max`], so that each of its parts is one at least.
    pub const TASKS_MIN: usize = 16;

    /// Of [`Bounds::tasks_max`], the most of one principal.
    pub const fn tasks_per_principal_max(&self) -> usize {
        self.tasks_max / 4
    }

    /// The most tasks remembered of one legacy session; and of exchanges, of those for which one process is not replaced.
    pub const fn tasks_per_session_max(&self) -> usize {
        self.tasks_max / Self::TASKS_MIN
    }

    /// Of how many of one client's elicitations by URL it is remembered whom their end concerns.
    pub const fn elicitations_per_session_max(&self) -> usize {
        self.questions_max
    }

    /// The same of all clients of one child.
    pub const fn elicitations_max(&self) -> usize {
        self.questions_max.saturating_mul(4)
    }
}

/// Those of the command line.
impl Default for Bounds {
    fn default() -> Self {
        Self {
            nesting_max: crate::jsonrpc::DEPTH_MAX,
            batch_max: crate::jsonrpc::BATCH_MAX,
            subscriptions_max: 4096,
            questions_max: 256,
            resend_bytes_max: 64 << 20,
            tasks_max: 16_384,
        }
    }
}
