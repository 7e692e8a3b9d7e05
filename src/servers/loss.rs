//! Why a server was lost.

use crate::error::StartupError;

/// How a server was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Its command does not work; what there is to say of it.
    Child(String),
    /// By a bug.
    Bug,
}

impl Loss {
    pub(super) fn of(error: StartupError) -> Self {
        if let StartupError::Child(text) = error { Self::Child(text) } else { Self::Bug }
    }

    pub(super) fn into_error(self) -> StartupError {
        match self {
            Self::Child(text) => StartupError::Child(text),
            Self::Bug => StartupError::Bug(LOST),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Child(text) => text,
            Self::Bug => LOST,
        }
    }
}

const LOST: &str = "the task that owns the server's process ended by itself";
