//! What the fuzzers do with their bytes: one function for each target, which panics where mcp-mux is wrong.
//!
//! `fuzz_targets/` has a program for each, which needs nightly and cargo-fuzz; `tests/fuzz_corpus.rs` gives the same functions
//! every committed input, on any toolchain. Inputs are text, one operation a line, save those of `wire` and `connection`,
//! which are what comes over the wire.

mod certificate;
mod config;
mod connection;
mod events;
mod http;
mod input;
mod judge;
mod jwt;
mod router;
mod sse;
mod wire;
mod world;

/// A target's name, which is also that of its folder in `corpus/`, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 8] = [
    ("wire", wire::run),
    ("router", router::run),
    ("http", http::run),
    ("connection", connection::run),
    ("sse", sse::run),
    ("config", config::run),
    ("jwt", jwt::run),
    ("certificate", certificate::run),
];

/// The target of that name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    target.unwrap_or_else(|| panic!("no target {name}")).1(data);
}
