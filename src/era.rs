//! Between the eras: what a modern message says of itself, and what becomes of it for a child of the legacy era.
//!
//! Pure functions over messages. [`envelope`] reads a request's own metadata, [`headers`] and [`annotations`] what its
//! HTTP headers have to repeat of it; [`legacy`] translates requests, answers and questions, [`discover`] and [`listen`]
//! what the legacy era has nothing like; [`state`] seals what a client keeps for mcp-mux between two rounds; [`tasks`] reads
//! what messages say of tasks. Whatever has
//! no reason to change stays as it is spelled: translations are edits ([`edit`]).
//!
//! Spec: 2026-07-28, Overview (`_meta`), Streamable HTTP, Multi Round-Trip Requests, Subscriptions, Discovery.

pub mod annotations;
pub mod discover;
pub mod edit;
pub mod envelope;
pub mod headers;
pub mod legacy;
pub mod listen;
pub mod state;
pub mod tasks;
