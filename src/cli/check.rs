//! What the user can type after `mcp-mux check`: everything that can be typed to serve, and how the answer is to look.
//!
//! The flags are those of [`Cli`], by its own definition, with the same variables and the same keys: a configuration is checked as
//! it would be served. Those that make no difference to the answer are read and judged, and left out of the help.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory, ValueEnum, value_parser};

use super::subcommands::Variable;
use super::{Cli, FORMAT, OPERATING, PREFIX, described, flag_with_variable};

/// The command line of `mcp-mux check` as typed, with the variables of the environment filled in.
#[derive(Clone, Debug)]
pub struct CheckCli {
    /// What would be served.
    pub cli: Box<Cli>,
    /// How the answer looks.
    pub format: AnswerFormat,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// For people: a table, or a list for a single server
    #[default]
    Text,
    /// One JSON object
    Json,
}

impl CheckCli {
    /// Reads what was typed (`args` starts with the program's name, without `check`), and as [`Cli::read`] what was not.
    pub(super) fn read(args: Vec<OsString>, variable: Variable<'_>) -> Result<Self, clap::Error> {
        let (cli, matches) = Cli::read_as(check_command(), args, variable, None)?;
        let format = matches.get_one(FORMAT).copied().unwrap_or_default();
        Ok(Self { cli: Box::new(cli), format })
    }
}

/// The definition of `mcp-mux check`, for its help text and its man page.
pub fn check_command() -> Command {
    let definition = Cli::command().mut_arg("log_level", |arg| arg.default_value("warn"));
    let of_others = |arg: &Arg| flag_with_variable(arg).is_some_and(|flag| !SHOWN.contains(&flag));
    described(definition, PREFIX)
        .mut_args(|arg| if of_others(&arg) { arg.hide(true) } else { arg })
        .arg(
            Arg::new(FORMAT)
                .long(FORMAT)
                .value_name("FORMAT")
                .help_heading(OPERATING)
                .value_parser(value_parser!(AnswerFormat))
                .default_value("text")
                .help("How the answer looks"),
        )
        .name("mcp-mux check")
        .override_usage("mcp-mux check [OPTIONS] [-- <COMMAND>...]")
        .about("Start each server once and show what it speaks")
        .long_about(
            "Start each server once and show what it speaks.\n\n\
             The configuration is read and judged as for serving. Then each server is started once, --starts-max at a time, also \
             those that are --lazy; it is asked who it is and what it has, as mcp-mux asks it, and is stopped. Nothing is \
             listened on.",
        )
        .after_help("--help says more. The answer goes to stdout, the log to stderr.")
        .after_long_help(AFTER_HELP)
}

/// The flags that are of use here; every other one is admitted too.
const SHOWN: [&str; 14] = [
    "spawn",
    "cwd",
    "env",
    "clean-env",
    "client-capabilities",
    "start-timeout",
    "child-era",
    "probe-timeout",
    "stop-timeout",
    "line-bytes-max",
    "config",
    "log-level",
    "log-format",
    "starts-max",
];

const AFTER_HELP: &str = "Every other flag of mcp-mux can be given too, with its variable and its key in the file of --config, and is \
    judged as for serving; `mcp-mux --help` has them all. --format has neither variable nor key.\n\n\
    For each server the answer says: whether it works; the eras and the revisions that it speaks; its name and version; its \
    capabilities; how many tools, resources, resource templates and prompts it lists, where it has the capability; and the \
    time from its start to its answer. A list is followed for 100 pages and until --start-timeout is over (5 seconds at least); a \
    + stands behind the number of what was counted until then. A server of 2026-07-28 is started a second time, to see whether \
    it speaks older revisions too, unless it says so or --child-era says what it is. For a server that does not work there are \
    the reason and the last lines of its stderr. What a server says is cut where it is long and has its control characters \
    escaped; values of --env that have eight characters or more are left out of it.\n\n\
    A server that is disabled is not started. One that cannot be used (a folder that is not there) does not work. Servers with \
    --header-env are started without these variables.\n\n\
    With --format json the answer is one object, to which keys may be added:\n\
    \n  ok                 whether the exit code is 0\
    \n  servers            an object for each, by name, always with all of these keys:\
    \n    name             its name\
    \n    state            works, failing, invalid (cannot be used), disabled\
    \n    reason, advice   why it does not work, and what to do about it; or null\
    \n    stderr           its last lines, where it does not work\
    \n    eras             modern, legacy, both or none\
    \n    revisions        those that were agreed on, newest first\
    \n    server           name, title and version, each of which may be null; or null\
    \n    capabilities     an object with a list of features for each; or null\
    \n    tools, resources, resourceTemplates, prompts\
    \n                     count, and complete: whether these are all; or null\
    \n    answeredAfterMs  milliseconds; or null\
    \n    remarks          what else is to be said, in sentences\n\n\
    Exit codes: 0 all enabled servers work, 1 unexpected failure, 2 wrong usage, 69 a server does not work, 70 a bug in \
    mcp-mux, 78 a value in the configuration is wrong, 130 and 143 stopped by SIGINT or SIGTERM before the answer.";
