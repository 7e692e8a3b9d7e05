//! The subcommands: *the* table of them, for the command line, its help, the man pages and the completions.
//!
//! Separate from [`Cli`](super::Cli), which is what mcp-mux does without one. Invariant: a word that is in the table is a
//! subcommand when it is the first one, and nowhere else.

use std::ffi::OsString;

use clap::Command;

use super::completions::{CompletionsCli, completions_command};
use super::{CheckCli, ConnectCli, Invocation, check_command, connect_command};

/// One of mcp-mux's works beside serving.
#[derive(Clone, Copy, Debug)]
pub struct Subcommand {
    /// Its word.
    pub name: &'static str,
    /// Its definition, for its help text and its man page.
    pub definition: fn() -> Command,
    /// Reads what was typed (the first word is the program's name, the subcommand's is left out), and the environment.
    pub(super) read: fn(Vec<OsString>, Variable<'_>) -> Result<Invocation, clap::Error>,
}

/// Gives a variable's value.
pub(super) type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// All of them, in the order in which they are shown.
pub const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "check",
        definition: check_command,
        read: |args, variable| CheckCli::read(args, variable).map(Invocation::Check),
    },
    Subcommand {
        name: "connect",
        definition: connect_command,
        read: |args, variable| ConnectCli::read(args, variable).map(|cli| Invocation::Connect(Box::new(cli))),
    },
    Subcommand {
        name: "completions",
        definition: completions_command,
        read: |args, _| CompletionsCli::read(args).map(|cli| Invocation::Completions(cli.shell)),
    },
];

/// How each is used, one a line.
pub(super) fn usages() -> Vec<String> {
    SUBCOMMANDS
        .iter()
        .map(|subcommand| {
            let usage = (subcommand.definition)().render_usage().to_string();
            usage.trim_start_matches("Usage: ").trim_end().to_owned()
        })
        .collect()
}

/// What each is for, one a line, and where there is more about it.
pub(super) fn overview() -> String {
    let width = SUBCOMMANDS.iter().map(|subcommand| subcommand.name.len()).max().unwrap_or_default();
    let mut text = "Subcommands, each with a --help of its own:".to_owned();
    for Subcommand { name, definition, .. } in SUBCOMMANDS {
        let about = definition().get_about().map(ToString::to_string).unwrap_or_default();
        text += &format!("\n  {name:width$}  {about}");
    }
    text
}
