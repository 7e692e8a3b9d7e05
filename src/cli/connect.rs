//! What the user can type after `mcp-mux connect`.
//!
//! Separate from [`Cli`](super::Cli) because none of that means anything here: there is no server to start and no port.
//! So its variables have a beginning of their own too: a file of tokens that clients may enter with is not the token that
//! is shown to somebody else.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Command, CommandFactory, FromArgMatches, Parser};

use super::{OPERATING, described, flag_with_variable};
use crate::config::Problem;
use crate::config::secret::Secret;

/// The command line of `mcp-mux connect` as typed, with the variables of the environment filled in.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "mcp-mux connect",
    version,
    about = "Be a stdio MCP server in front of a remote one",
    long_about = "Be a stdio MCP server in front of a remote one.\n\n\
        For clients that only speak stdio: they start `mcp-mux connect URL` as their server, and what they write goes to the \
        MCP endpoint at the URL, be that Streamable HTTP with sessions (2025-03-26 to 2025-11-25), Streamable HTTP of \
        2026-07-28, or HTTP+SSE (2024-11-05). Which of them it is, is found out. A client of 2026-07-28 and an older server \
        understand each other, and so do an older client and a server of 2026-07-28.",
    after_long_help = "Every flag but --help and --version has an environment variable: --auth-token-file is \
        MCP_MUX_CONNECT_AUTH_TOKEN_FILE. A flag wins over its variable; an empty variable counts as unset.\n\n\
        Durations: 90 (seconds), 1.5, 500ms, 30m, 1h 30m. Sizes: 16777216, 16MiB, 16MB, 64k.\n\n\
        stdout has JSON-RPC messages alone, one a line; logs go to stderr. At the end of stdin, requests in flight may go on \
        for --drain-timeout, then the session is closed.\n\n\
        There is no login in a browser (OAuth): a remote server that wants a token gets the one in --auth-token-file.\n\n\
        Root certificates are the system's, or those in SSL_CERT_FILE and SSL_CERT_DIR.\n\n\
        Exit codes: 0 stdin ended or stopped by SIGINT or SIGTERM, 1 unexpected failure, 2 wrong usage, 70 a bug in mcp-mux, \
        78 a value in the configuration is wrong.",
    override_usage = "mcp-mux connect [OPTIONS] <URL>",
    max_term_width = 100
)]
pub struct ConnectCli {
    /// The remote MCP endpoint
    ///
    /// As `https://example.com/mcp`, or `http://127.0.0.1:8000/sse`.
    #[arg(value_name = "URL")]
    pub url: String,

    /// A header for every request to the remote server (repeatable)
    ///
    /// As `X-Api-Key: secret`. MCP_MUX_CONNECT_HEADER holds one a line: other people on the machine can read command lines.
    #[arg(long, value_name = "NAME: VALUE", help_heading = REMOTE)]
    pub header: Vec<Secret>,

    /// A file with the token that is sent as `Authorization: Bearer`
    ///
    /// It holds the token alone. It is read again when the remote server answers 401; if there is another token in it then, the
    /// request is sent again with that.
    #[arg(long, value_name = "FILE", help_heading = REMOTE)]
    pub auth_token_file: Option<PathBuf>,

    /// Send --header and the token also over a connection that others can read
    ///
    /// Without it they are sent over https only, or http to this machine.
    #[arg(long, value_name = "BOOL", help_heading = REMOTE, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", hide_default_value = true)]
    pub insecure_http: String,

    /// How long to try to reach the remote server before a request fails
    ///
    /// Also how long an event stream that broke is tried to be taken up again. Between two attempts is a wait that grows.
    #[arg(long, value_name = "DURATION", help_heading = REMOTE, default_value = "30s")]
    pub retry_timeout: String,

    /// The most requests in flight
    ///
    /// A further one gets an error.
    #[arg(long, value_name = "COUNT", help_heading = REMOTE, default_value = "256")]
    pub in_flight_max: String,

    /// The largest message, of the client and of the remote server
    ///
    /// A request that would have been answered with a larger one gets an error.
    #[arg(long, value_name = "SIZE", help_heading = REMOTE, default_value = "16MiB")]
    pub message_bytes_max: String,

    /// How much to log: off, error, warn, info, debug, trace, or a filter
    ///
    /// A filter looks like `mcp_mux=debug,hyper=warn`. Messages, headers and tokens are never logged.
    #[arg(long, value_name = "LEVEL", help_heading = OPERATING, default_value = "info")]
    pub log_level: String,

    /// How a log line looks: text, json
    #[arg(long, value_name = "FORMAT", help_heading = OPERATING, default_value = "text")]
    pub log_format: String,

    /// How long requests in flight may go on after the end of stdin, SIGINT or SIGTERM
    #[arg(long, value_name = "DURATION", help_heading = OPERATING, default_value = "10s")]
    pub drain_timeout: String,

    /// The flags that were given by the environment.
    #[arg(skip)]
    pub(crate) variables: BTreeSet<String>,

    /// What is wrong with variables that could not be used.
    #[arg(skip)]
    pub(crate) problems: Vec<Problem>,
}

const REMOTE: &str = "Remote server";
/// How the variables begin.
const PREFIX: &str = "MCP_MUX_CONNECT_";

impl ConnectCli {
    /// Reads what was typed (`args` starts with the program's name, without `connect`), and from the environment what was
    /// not.
    ///
    /// # Errors
    /// What clap has to say, `--help` and `--version` included.
    pub(super) fn read(
        mut args: Vec<OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, clap::Error> {
        let mut command = connect_command();
        let typed = command.try_get_matches_from_mut(&args)?;
        let (mut variables, mut problems, mut added) = (BTreeSet::new(), Vec::new(), Vec::new());
        for flag in command.get_arguments().filter_map(flag_with_variable) {
            let was_typed = typed.value_source(&flag.replace('-', "_")) == Some(ValueSource::CommandLine);
            let value = variable(&variable_name(flag)).filter(|value| !value.is_empty() && !was_typed);
            match value.map(OsString::into_string) {
                None => continue,
                Some(Ok(text)) if flag == "header" => {
                    let lines = text.lines().filter(|line| !line.is_empty());
                    added.extend(lines.map(|line| OsString::from(format!("--{flag}={line}"))));
                }
                Some(Ok(text)) => added.push(OsString::from(format!("--{flag}={text}"))),
                Some(Err(_)) => {
                    let wanted = "valid UTF-8".to_owned();
                    problems.push(Problem { origin: variable_name(flag), value: None, wanted });
                    continue;
                }
            }
            variables.insert(flag.to_owned());
        }
        let at = args.len().min(1);
        args.splice(at..at, added);
        let cli = Self::from_arg_matches(&command.try_get_matches_from_mut(&args)?)?;
        Ok(Self { variables, problems, ..cli })
    }

    /// What the user wrote to give this flag: `--header` or `MCP_MUX_CONNECT_HEADER`.
    pub(crate) fn origin(&self, flag: &str) -> String {
        if self.variables.contains(flag) { variable_name(flag) } else { format!("--{flag}") }
    }
}

/// The definition of `mcp-mux connect`, for its help text and its man page.
pub fn connect_command() -> Command {
    described(ConnectCli::command(), PREFIX)
}

fn variable_name(flag: &str) -> String {
    format!("{PREFIX}{}", flag.replace('-', "_").to_ascii_uppercase())
}
