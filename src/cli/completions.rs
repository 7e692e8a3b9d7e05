//! What the user can type after `mcp-mux completions`, and what is printed then: what a shell has to know to complete the rest.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory, FromArgMatches, Parser, ValueEnum};
use clap_complete::Generator as _;

use super::{SUBCOMMANDS, command};

/// The command line of `mcp-mux completions` as typed.
#[derive(Clone, Copy, Debug, Parser)]
#[command(
    name = "mcp-mux completions",
    version,
    about = "Print what a shell needs to complete mcp-mux's command line",
    after_long_help = "bash: mcp-mux completions bash > ~/.local/share/bash-completion/completions/mcp-mux\n\
        zsh: mcp-mux completions zsh > _mcp-mux, in a folder of $fpath\n\
        fish: mcp-mux completions fish > ~/.config/fish/completions/mcp-mux.fish",
    override_usage = "mcp-mux completions <SHELL>",
    max_term_width = 100
)]
pub struct CompletionsCli {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash, with bash-completion
    Bash,
    /// Z shell
    Zsh,
    /// Fish
    Fish,
}

impl Shell {
    /// The name that the shell looks for the script under.
    pub fn file_name(self) -> String {
        self.generator().file_name(PROGRAM)
    }

    fn generator(self) -> clap_complete::Shell {
        match self {
            Self::Bash => clap_complete::Shell::Bash,
            Self::Zsh => clap_complete::Shell::Zsh,
            Self::Fish => clap_complete::Shell::Fish,
        }
    }
}

impl CompletionsCli {
    /// Reads what was typed (`args` starts with the program's name, without `completions`).
    pub(super) fn read(args: Vec<OsString>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&completions_command().try_get_matches_from(args)?)
    }
}

/// The definition of `mcp-mux completions`, for its help text and its man page.
pub(super) fn completions_command() -> Command {
    CompletionsCli::command()
}

/// The script for a shell: every flag and every subcommand.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell.generator(), &mut everything(), PROGRAM, &mut script);
    // Where it looks for a subcommand's words, the generator for bash takes the dash of the program's name for the beginning of a
    // subcommand; where it goes there, it does not.
    let script = String::from_utf8_lossy(&script).replace("mcp__subcmd__mux", "mcp__mux");
    script.into_bytes()
}

/// The definition with all subcommands in it, which is not how it is read: see [`Invocation`](super::Invocation).
pub(super) fn everything() -> Command {
    let subcommands = SUBCOMMANDS.iter().map(|subcommand| with_words((subcommand.definition)().name(subcommand.name)));
    with_words(command()).disable_help_subcommand(true).subcommands(subcommands)
}

/// With the words that there are for the values of some flags.
fn with_words(command: Command) -> Command {
    command.mut_args(|arg| {
        let words = arg.get_long().and_then(|flag| WORDS.iter().find(|(of, _)| *of == flag));
        match words {
            Some((_, words)) => arg.value_parser(PossibleValuesParser::new(*words)),
            None => arg,
        }
    })
}

/// The flags whose value is mostly one of a few words.
const WORDS: [(&str, &[&str]); 8] = [
    ("isolation", &["shared", "principal", "session"]),
    ("child-era", &["auto", "legacy", "modern"]),
    ("on-child-exit", &["restart", "exit"]),
    ("on-ambiguous", &["reject", "serialize"]),
    ("forwarded-header", &["x-forwarded", "forwarded"]),
    ("tls-client-auth", &["required", "optional"]),
    ("log-format", &["text", "json"]),
    ("log-level", &["off", "error", "warn", "info", "debug", "trace"]),
];

const PROGRAM: &str = "mcp-mux";
