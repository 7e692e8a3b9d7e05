//! mcp-mux: one stdio MCP server behind one port, many clients at once.
//!
//! The way of a message, one direction down and the same way back; a layer knows only the ones below it:
//!
//! ```text
//!   clients    HTTP/1.1, HTTP/2 · Streamable HTTP on /mcp · HTTP+SSE on /sse and /messages
//!      │
//!    http      accepts, guards (Host, Origin), routes; one file per transport            a task per connection
//!      │  Message ↓        ↑ events of a stream
//!   session    one client's streams, its replay buffer, its attachment to a child        a table, swept by a task
//!      │  a lease on a child
//!    pool      who shares which child, how many there are, who waits for one             a task per start and stop
//!      │  Message ↓        ↑ Delivery, into a bounded outbox
//!    child     one process: its pipes, its life, its restarts                            a task per child
//!      │  Message ↓        ↑ Output
//!   router     sans-IO: who gets what, under which id                                    no task, no clock, no IO
//!      │  Frame ↓          ↑ Message
//!    stdio     one line, one JSON-RPC message
//! ```
//!
//! | module | sole responsibility |
//! |---|---|
//! | [`init`] | what process 1 of a container does beside being mcp-mux |
//! | [`check`] | each server started once, and what it speaks |
//! | [`connect`] | the way back: a stdio server in front of a remote one |
//! | [`app`], `reload`, `shutdown` | every part built from the configuration; start-up, what is read again, the stop sequence |
//! | [`notify`] | what a service manager is told of that |
//! | [`http`] | the port, whom it answers, the transports |
//! | [`status`] | how everything is doing, for people |
//! | [`servers`] | which servers there are, under which names; starting and stopping each |
//! | [`session`] | one client's streams and state; the table of all of them |
//! | [`pool`] | isolation: who gets which child, for how long |
//! | [`child`] | the actor that owns a process, its pipes and its router |
//! | [`router`] | one child's conversation with those attached to it |
//! | `remote` | the client's side of the transports: a pipe to a server across the network |
//! | [`auth`] | who somebody is, and what they may do |
//! | [`era`] | what a modern message says of itself; its translation for a legacy child, and back |
//! | [`jsonrpc`], `lines` | envelopes found in one pass, ids as spelled, edits spliced in; lines of a pipe |
//! | [`mcp`] | the protocol's words; *the* table of the places that carry ids |
//! | [`cli`], [`config`] | what the user can type; what it means |
//! | [`error`] | why the program ends; why a message is refused, and how that looks on the wire |
//! | [`telemetry`], [`metrics`] | the log, the access log, traces; every metric's name and labels |
//! | `outbound` | connections to others: whom they trust |
//!
//! # Invariants
//!
//! 1. Every accepted request gets exactly one response, with the client's own `id` byte for byte, whatever happens to
//!    the child. A cancelled one gets none.
//! 2. Nothing crosses sessions. What cannot be attributed is delivered to nobody.
//! 3. A slow, stuck or malicious client never delays another: whoever reads a child's stdout never waits for a client,
//!    and everything that can grow has a bound with a defined answer.
//! 4. A child's stdin receives only whole, valid, single-line UTF-8 JSON-RPC messages.
//! 5. State is reclaimed: what is closed, finished or dead leaves no entry behind.
//! 6. No orphan: when mcp-mux stops, every child and its process group is gone.
//! 7. Secrets stay inside: no token, session id or payload in a log or an error, no `MCP_MUX_*` in a child.
//!
//! Imports go down this list, never up (`tests/architecture.rs`); the way back is data, never an import.

pub mod init;

pub mod app;
pub mod check;
pub mod connect;
mod reload;
mod shutdown;

pub mod notify;

pub mod http;
pub mod status;

pub mod servers;
pub mod session;

pub mod pool;

pub mod child;
pub mod router;

pub mod auth;
mod remote;

pub mod era;
pub mod jsonrpc;
mod lines;
pub mod mcp;

pub mod cli;
pub mod config;
pub mod error;
pub mod metrics;
mod outbound;
pub mod telemetry;
