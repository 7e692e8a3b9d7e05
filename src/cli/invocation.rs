//! Which of its works mcp-mux was started for.
//!
//! A subcommand is the first word or none at all: what stands behind a flag or behind `--` belongs to the server's command,
//! be that called `connect` too.

use std::ffi::OsString;

use super::{CheckCli, Cli, ConnectCli, SUBCOMMANDS, Shell};

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// Serve a server: `mcp-mux [OPTIONS] -- COMMAND`.
    Serve(Box<Cli>),
    /// Start each server once and show what it speaks: `mcp-mux check [OPTIONS] [-- COMMAND]`.
    Check(CheckCli),
    /// Be a server in front of a remote one: `mcp-mux connect URL`.
    Connect(Box<ConnectCli>),
    /// Print what a shell needs to complete the command line: `mcp-mux completions SHELL`.
    Completions(Shell),
}

impl Invocation {
    /// Reads the command line; as [`Cli::read`].
    ///
    /// # Errors
    /// What clap has to say, `--help` and `--version` included: print it and exit with its code.
    pub fn read(
        args: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, clap::Error> {
        let mut args: Vec<OsString> = args.into_iter().collect();
        if let Some(subcommand) = SUBCOMMANDS.iter().find(|one| args.get(1).is_some_and(|word| word == one.name)) {
            args.remove(1);
            return (subcommand.read)(args, &variable);
        }
        Cli::read(args, variable).map(|cli| Self::Serve(Box::new(cli)))
    }
}
