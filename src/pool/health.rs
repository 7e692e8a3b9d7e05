//! How the children are doing, for whoever asks whether requests can be answered.

use crate::child::{ChildHandle, ChildState};

/// How a child is doing, or several: the best of them. From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its handshake stands.
    Ready,
    /// It is starting.
    Starting,
    /// It exited and is to be started again.
    Restarting,
    /// It failed too often in a row and is left alone for a while.
    CircuitOpen,
    /// It could not be started.
    Failed,
    /// It was stopped, or there is none.
    Stopped,
}

impl Standing {
    /// Its name for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Restarting => "restarting",
            Self::CircuitOpen => "circuit-open",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    pub(super) fn of(child: &ChildHandle) -> Self {
        let state = child.state();
        // Nobody is left who could change it.
        if state.has_changed().is_err() {
            return Self::Stopped;
        }
        match &*state.borrow() {
            ChildState::Ready => Self::Ready,
            ChildState::Starting => Self::Starting,
            ChildState::Restarting(_) => Self::Restarting,
            ChildState::CircuitOpen(_) => Self::CircuitOpen,
            ChildState::Failed(_) => Self::Failed,
            ChildState::Stopped => Self::Stopped,
        }
    }

    /// Whether nothing will come of it any more.
    pub(super) const fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Stopped)
    }
}

/// How the pool is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether a session that comes now finds a child: [`Standing::Ready`], or what is in its way.
    pub standing: Standing,
    /// How many children's handshakes stand.
    pub ready: usize,
    /// How many children there are.
    pub total: usize,
}

impl Health {
    /// Of no children.
    pub const NONE: Self = Self { standing: Standing::Stopped, ready: 0, total: 0 };
}
