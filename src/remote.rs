//! A pipe to a remote server: lines of JSON-RPC in, lines of JSON-RPC out, and between them the HTTP that the server wants.
//!
//! The client's half of all three transports (Streamable HTTP with sessions, Streamable HTTP of 2026-07-28, HTTP+SSE), for
//! one client of one era. Messages are passed on as they are, ids included. What it adds is what a transport is for: the
//! headers, the session (opened again when the server has forgotten it), broken streams taken up again, an error for every
//! request that nobody will answer.
//!
//! ```text
//!   stdin ─▶ lines ─▶ ┌──────┐ ─ Call ──▶ a task per HTTP exchange ─▶ Service
//!                     │ core │
//!  stdout ◀─ writer ◀ └──────┘ ◀ Arrival ── head, events, body, end
//! ```
//!
//! `core` decides and is pure; `driver` is the loop around it; `network` is the service that has a connection, credentials
//! and redirects. Another service is mcp-mux itself, for `connect`.
//!
//! Invariants: every request read is answered once, or cancelled; stdin is read while stdout is not, up to a bound; nothing
//! is sent to another origin than the one of the URL.
//!
//! Spec: 2026-07-28, Streamable HTTP; 2025-11-25, Transports; 2024-11-05, Transports, HTTP with SSE.

mod core;
mod driver;
mod events;
pub(crate) mod network;
mod place;
pub(crate) mod probe;
#[cfg(test)]
mod properties;
mod request;
pub(crate) mod service;

pub(crate) use self::core::{Bounds, Ending};
pub(crate) use self::driver::{Input, Link, Read, run};
