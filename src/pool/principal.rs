//! Whom a client acts for.

use std::sync::Arc;

/// Who somebody is. Without authentication, everybody is the same anonymous one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal(Option<Arc<str>>);

impl Principal {
    /// Nobody in particular.
    pub const fn anonymous() -> Self {
        Self(None)
    }

    /// What tells it from others; nothing for nobody in particular.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        Self(Some(name.into()))
    }
}
