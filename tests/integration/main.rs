//! The real program, on a port of its own, with real children and real connections.
//!
//! Every wait has a deadline and is for an event, never for time to pass.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test that fails says so by panicking"
)]

mod harness;

mod access_log;
mod check;
mod child_process;
mod command_line;
mod configuration_file;
mod connect;
mod entrance;
mod eras;
mod event_streams;
mod http_sse;
mod isolation;
mod limits;
mod listening;
mod load;
mod long_answers;
mod process_one;
mod servers;
mod service_manager;
mod streamable;
mod tls;
#[cfg(feature = "otel")]
mod traces;
