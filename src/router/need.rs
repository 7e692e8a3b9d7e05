//! What a client must have declared to be asked something: the one table of it, for both eras.
//!
//! Spec: 2025-11-25, Lifecycle, Capability Negotiation; 2026-07-28, Overview, `_meta`.

use serde_json::{Value, json};

use super::io::ClientCapabilities;
use crate::jsonrpc::Message;
use crate::mcp::ids::Param;
use crate::mcp::method;

/// What a client must have declared to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `roots`.
    Roots,
    /// `sampling`.
    Sampling,
    /// `elicitation` in form mode.
    ElicitationForm,
    /// `elicitation` in URL mode.
    ElicitationUrl,
    /// A log level: log messages of a modern child, which sends them only for requests that ask for them.
    Log,
    /// Nothing: log messages, and requests of an extension.
    Nothing,
}

impl Need {
    /// Those that are capabilities.
    pub const CAPABILITIES: [Self; 4] = [Self::Roots, Self::Sampling, Self::ElicitationForm, Self::ElicitationUrl];

    /// What this request of the child needs.
    pub fn of(message: &Message) -> Self {
        match message.method() {
            method::ROOTS_LIST => Self::Roots,
            method::SAMPLING => Self::Sampling,
            method::ELICITATION if message.param_str(Param::Mode).as_deref() == Some("url") => Self::ElicitationUrl,
            method::ELICITATION => Self::ElicitationForm,
            _ => Self::Nothing,
        }
    }

    /// Whether a client with these capabilities can be asked.
    pub const fn is_met_by(self, capabilities: ClientCapabilities) -> bool {
        match self {
            Self::Roots => capabilities.roots,
            Self::Sampling => capabilities.sampling,
            Self::ElicitationForm => capabilities.elicitation_form,
            Self::ElicitationUrl => capabilities.elicitation_url,
            Self::Log | Self::Nothing => true,
        }
    }

    /// As a modern client would declare it.
    pub fn required(self) -> Option<Value> {
        match self {
            Self::Roots => Some(json!({"roots": {}})),
            Self::Sampling => Some(json!({"sampling": {}})),
            Self::ElicitationForm => Some(json!({"elicitation": {"form": {}}})),
            Self::ElicitationUrl => Some(json!({"elicitation": {"url": {}}})),
            Self::Log | Self::Nothing => None,
        }
    }

    /// The capability's name, with the part of it that is meant where not all of it is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ElicitationUrl => "elicitation.url",
            Self::Roots | Self::Sampling | Self::ElicitationForm | Self::Log | Self::Nothing => self.capability(),
        }
    }

    /// The capability's name.
    pub const fn capability(self) -> &'static str {
        match self {
            Self::Roots => "roots",
            Self::Sampling => "sampling",
            Self::ElicitationForm | Self::ElicitationUrl => "elicitation",
            Self::Log | Self::Nothing => "",
        }
    }
}
