//! What the user can type: every flag, its help text, its default and its environment variable.
//!
//! The texts here are also the man page. Values are kept as typed; [`Config::load`](crate::config::Config::load) turns
//! them into what they mean and reports everything that is wrong at once. What is refused here is only what cannot be
//! read as a command line at all (an unknown flag, no server to run).
//!
//! Invariant: a flag wins over its variable, a variable over the configuration file, that over the default; an empty variable
//! counts as unset.

mod check;
mod completions;
mod connect;
mod invocation;
mod origins;
mod subcommands;

pub use check::{AnswerFormat, CheckCli, check_command};
pub use completions::{CompletionsCli, Shell, completions};
pub use connect::{ConnectCli, connect_command};
pub use invocation::Invocation;
pub(crate) use origins::{Origins, Settings};
pub use subcommands::{SUBCOMMANDS, Subcommand};

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use crate::config::secret::Secret;
use crate::config::{ServerName, Unusable};

/// The command line as typed, with the variables of the environment filled in.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "mcp-mux",
    version,
    about = "Serve a stdio MCP server to many network clients at once",
    long_about = "Serve a stdio MCP server to many network clients at once.\n\n\
        mcp-mux starts one stdio MCP server as a child process and serves it on one port to any number of clients, \
        over Streamable HTTP and HTTP+SSE at the same time. Every client gets the answers to its own requests and \
        nothing of anybody else's.",
    after_help = "--help has all flags, in groups: limits, TLS, JSON Web Tokens, principals, timeouts.",
    after_long_help = "Every flag but --help and --version has an environment variable: --body-bytes-max is \
        MCP_MUX_BODY_BYTES_MAX. A flag wins over its variable; an empty variable counts as unset. No MCP_MUX_ variable \
        is passed on to the server. In the file of --config every flag is a key, body-bytes-max; a variable wins over it. \
        A repeatable flag, its variable and its key replace each other: they are never added up.\n\n\
        Durations: 90 (seconds), 1.5, 500ms, 30m, 1h 30m; where there may be none at all: none, off or 0.\n\
        Sizes: 16777216, 16MiB, 16MB, 64k (k, M, G are powers of 1000, Ki, Mi, Gi of 1024).\n\n\
        Start-up prints the URLs a client needs to stdout, one a line, and nothing else. Logs go to stderr.\n\n\
        Exit codes: 0 stopped by SIGINT or SIGTERM, 1 unexpected failure, 2 wrong usage, 69 cannot listen or cannot \
        start the server, 70 a bug in mcp-mux, 78 a value in the configuration is wrong.",
    allow_negative_numbers = true,
    max_term_width = 100
)]
pub struct Cli {
    /// The server's program and arguments
    ///
    /// They stand after `--` and are started without a shell.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,

    /// The server's command line, split as a shell does it
    ///
    /// Quotes and backslashes mean what they mean to a shell; but the server is started without one, so there are no
    /// variables, globs or pipes.
    #[arg(long, value_name = "COMMAND LINE", help_heading = SERVER, conflicts_with = "command")]
    pub spawn: Option<String>,

    /// The server's working directory
    #[arg(long, value_name = "FOLDER", help_heading = SERVER)]
    pub cwd: Option<PathBuf>,

    /// A variable of the server's (repeatable)
    ///
    /// It is added to its environment. MCP_MUX_ENV holds one NAME=VALUE a line. Other people on the machine can read command lines: give secrets by
    /// MCP_MUX_ENV or in the file of --config, or let the server inherit them.
    #[arg(long, value_name = "NAME=VALUE", help_heading = SERVER)]
    pub env: Vec<Secret>,

    /// Do not pass mcp-mux's environment on to the server
    ///
    /// It gets what programs need to start at all (PATH, HOME, USER, LOGNAME, SHELL, LANG, LC_*, TERM, TMPDIR, TZ) and
    /// what --env sets.
    #[arg(long, value_name = "BOOL", help_heading = SERVER, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", hide_default_value = true)]
    pub clean_env: String,

    /// Client capabilities declared to the server: roots, sampling, elicitation, or none
    ///
    /// A question of the server is passed on only to a client that declared the capability itself. To a server of 2026-07-28
    /// that is what its older clients can declare; a client of 2026-07-28 says with each request what it can do, and that is
    /// passed on as it is.
    #[arg(long, value_name = "LIST", help_heading = SERVER, default_value = "roots,sampling,elicitation")]
    pub client_capabilities: String,

    /// How long the server may take to start
    ///
    /// The time from its start to the end of its handshake.
    #[arg(long, value_name = "DURATION", help_heading = SERVER, default_value = "60s")]
    pub start_timeout: String,

    /// Which revisions the server speaks: auto, legacy, modern
    ///
    /// `legacy`: those with `initialize`, up to 2025-11-25. `modern`: 2026-07-28. `auto` finds it out once, at the start: the
    /// first process is asked `server/discover`, and goes on with what it answered; if the question ends or confuses it, it
    /// is replaced. With `principal` or `session` isolation it is the process that tries the command at the start. Clients of
    /// either kind are served whatever the server speaks.
    #[arg(long, value_name = "ERA", help_heading = SERVER, default_value = "auto")]
    pub child_era: String,

    /// How long to wait for the answer of a server that is asked which revisions it speaks
    ///
    /// One that says nothing within it is taken to be legacy. With --child-era auto.
    #[arg(long, value_name = "DURATION", help_heading = SERVER, default_value = "5s")]
    pub probe_timeout: String,

    /// How long the server may take to exit
    ///
    /// It has this long after its stdin was closed, before it gets SIGTERM; and once more, before it gets SIGKILL.
    #[arg(long, value_name = "DURATION", help_heading = SERVER, default_value = "5s")]
    pub stop_timeout: String,

    /// What to do when the server exits by itself: restart, exit
    ///
    /// `restart` starts it again, after a wait that grows while it keeps failing. `exit` stops mcp-mux (exit code 69), for
    /// those who run it under a supervisor of their own; only with --isolation shared.
    #[arg(long, value_name = "RULE", help_heading = SERVER, default_value = "restart")]
    pub on_child_exit: String,

    /// Ask the server this often whether it still answers
    ///
    /// A `ping`; a server that answers nothing until the next one is due is killed and started again. Choose it longer than
    /// the longest time for which the server may be too busy to answer.
    #[arg(long, value_name = "DURATION", help_heading = SERVER, default_value = "none")]
    pub ping_interval: String,

    /// The longest line taken from the server
    ///
    /// A longer one is dropped; the request that it would have answered gets an error.
    #[arg(long, value_name = "SIZE", help_heading = SERVER, default_value = "16MiB")]
    pub line_bytes_max: String,

    /// The most lines of the server's stderr that are logged in a second; 0 logs none
    ///
    /// Further ones are read, counted and left out. The last lines are in error texts all the same.
    #[arg(long, value_name = "COUNT", help_heading = SERVER, default_value = "1000")]
    pub stderr_lines_max: String,

    /// Start the server when somebody comes
    ///
    /// The first request waits for it. Of many servers only those run then that are used.
    #[arg(long, value_name = "BOOL", help_heading = SERVER, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", hide_default_value = true)]
    pub lazy: String,

    /// Stop the server when nobody has used it for this long
    ///
    /// No session, no request, no task. It is started again when somebody comes. Sessions end by --session-idle-timeout.
    #[arg(long, value_name = "DURATION", help_heading = SERVER, default_value = "none")]
    pub server_idle_timeout: String,

    /// Who shares a server process: shared, principal, session
    ///
    /// `shared`: all clients share one process, or --pool of them. `principal`: the sessions of one authenticated user share
    /// one; without authentication everybody is the same, anonymous user. `session`: each session has a process of its own,
    /// as on a private pipe; the client's own `initialize` reaches it.
    #[arg(long, value_name = "RULE", help_heading = ISOLATION, default_value = "shared")]
    pub isolation: String,

    /// How many processes to share
    ///
    /// With --isolation shared. A new session goes to the one with the fewest, and stays there.
    #[arg(long, value_name = "COUNT", help_heading = ISOLATION, default_value = "1")]
    pub pool: String,

    /// How many processes to start ahead of the sessions that will take them
    ///
    /// With --isolation session: a new session does not wait for its process to start.
    #[arg(long, value_name = "COUNT", help_heading = ISOLATION, default_value = "0")]
    pub warm: String,

    /// The most processes at once
    ///
    /// With --isolation principal or session; --warm is part of it. A session that finds no room waits in turn, for
    /// --queue-timeout, and is then refused.
    #[arg(long, value_name = "COUNT", help_heading = ISOLATION, default_value = "100")]
    pub children_max: String,

    /// Stop a process that nobody has used for this long [default: 5m with --isolation principal, else none]
    ///
    /// One without a session, or one that was started ahead. It is started again when it is needed.
    #[arg(long, value_name = "DURATION", help_heading = ISOLATION)]
    pub child_idle_timeout: Option<String>,

    /// Replace a process that is older than this
    ///
    /// New requests go to its successor as soon as that is ready; the old process ends what it has and is then stopped. What
    /// it keeps in memory goes with it.
    #[arg(long, value_name = "DURATION", help_heading = ISOLATION, default_value = "none")]
    pub child_max_age: String,

    /// Replace a process that was given this many requests
    ///
    /// As with --child-max-age.
    #[arg(long, value_name = "COUNT", help_heading = ISOLATION, default_value = "none")]
    pub child_max_requests: String,

    /// Put a header of a session's first request into the environment of its process (repeatable)
    ///
    /// As X-Api-Key=API_KEY; only with --isolation session. Where the header is absent, the variable is what --env says, and
    /// is never inherited from mcp-mux. The value is not logged. MCP_MUX_HEADER_ENV holds one HEADER=VARIABLE a line.
    #[arg(long, value_name = "HEADER=VARIABLE", help_heading = ISOLATION)]
    pub header_env: Vec<String>,

    /// The address to listen on [default: 127.0.0.1]
    ///
    /// Or a host name. The default is reachable from this machine alone. 0.0.0.0 or :: listens on all interfaces; clients have to
    /// authenticate then (--auth-token-file), unless --insecure-no-auth says that everybody may enter.
    #[arg(long, value_name = "HOST", help_heading = LISTENING)]
    pub host: Option<String>,

    /// The port to listen on [default: 8000]
    ///
    /// 0 lets the system choose one.
    #[arg(long, value_name = "PORT", help_heading = LISTENING)]
    pub port: Option<String>,

    /// What to listen on, instead of --host and --port (repeatable)
    ///
    /// `127.0.0.1:8000`, `[::1]:8000`, `localhost:8000`: an address or a host name, and a port. `unix:/run/mcp-mux.sock`: a
    /// socket in the file system, for clients and proxies on this machine; it speaks HTTP, also where the ports speak HTTPS.
    /// `systemd:` or `systemd:NAME`: the sockets that systemd has opened (those with that FileDescriptorName=), which are used
    /// as they are. Several separated by commas; MCP_MUX_LISTEN may also have one a line. With neither this flag nor --host nor
    /// --port, sockets that systemd has opened are used by themselves.
    #[arg(long, value_name = "ADDRESS", help_heading = LISTENING, value_delimiter = ',')]
    pub listen: Vec<String>,

    /// Where operators find the status page and the metrics, apart from the clients (repeatable)
    ///
    /// An address as for --listen; `systemd:` needs a name there. It serves `/` (the status page), `/status.json`, `/metrics`,
    /// `/servers`, `/healthz` and `/readyz`, and nothing of MCP; where clients come in there are only `/servers`, `/healthz` and
    /// `/readyz` of these then. Without this flag the metrics are where clients come in, and so is the status page
    /// at addresses that this machine alone can reach (127.0.0.1, ::1, unix:). Who wants to see the metrics or what the page shows has
    /// to authenticate as clients do. An address that other machines can reach needs authentication, as --listen does. Several
    /// separated by commas; MCP_MUX_ADMIN may also have one a line.
    #[arg(long, value_name = "ADDRESS", help_heading = LISTENING, value_delimiter = ',')]
    pub admin: Vec<String>,

    /// Who may connect to the unix sockets: the mode of their files [default: 600]
    ///
    /// 600: mcp-mux's own user; 660: also their group; 666: everybody on this machine. With --listen unix: or --admin unix:.
    #[arg(long, value_name = "MODE", help_heading = LISTENING)]
    pub unix_mode: Option<String>,

    /// Whose the files of the unix sockets are: a user, user:group or :group
    ///
    /// Names of /etc/passwd and /etc/group, or numbers. What is left out stays as the system has it: mcp-mux's own. Another user
    /// takes the rights of root. With --listen unix: or --admin unix:.
    #[arg(long, value_name = "OWNER", help_heading = LISTENING)]
    pub unix_owner: Option<String>,

    /// The path of Streamable HTTP
    #[arg(long, value_name = "PATH", help_heading = LISTENING, default_value = "/mcp")]
    pub path: String,

    /// The path of the event stream of HTTP+SSE
    #[arg(long, value_name = "PATH", help_heading = LISTENING, default_value = "/sse")]
    pub sse_path: String,

    /// The path that HTTP+SSE clients post to
    #[arg(long, value_name = "PATH", help_heading = LISTENING, default_value = "/messages")]
    pub message_path: String,

    /// A host name that clients may use (repeatable)
    ///
    /// As example.com or example.com:8443, several separated by commas; `*` allows every name. Loopback names, the
    /// address a client connected to and the names given with --host and --listen are always allowed. This is what keeps web pages
    /// from reaching the server through DNS rebinding.
    #[arg(long, value_name = "HOST", help_heading = LISTENING, value_delimiter = ',')]
    pub allow_host: Vec<String>,

    /// A web origin whose pages may use this server (repeatable)
    ///
    /// As `https://app.example.com`, several separated by commas; `null` for pages without an origin; `*` allows every
    /// origin. Origins on loopback names are always allowed, and so are clients that send no Origin because they are no
    /// browsers.
    #[arg(long, value_name = "ORIGIN", help_heading = LISTENING, value_delimiter = ',')]
    pub allow_origin: Vec<String>,

    /// The URL at which clients reach this server
    ///
    /// As `https://mcp.example.com` or `https://example.com/tools`; needed where a proxy in front does not pass on what
    /// clients addressed (see --trusted-proxy). Its host is allowed as with --allow-host.
    #[arg(long, value_name = "URL", help_heading = LISTENING)]
    pub public_url: Option<String>,

    /// A proxy in front that is believed (repeatable)
    ///
    /// An address or a network, as 10.0.0.7 or 10.0.0.0/8, several separated by commas; `unix`: whoever may connect to a unix
    /// socket of --listen. What it says of the client's address, of the scheme, the host and the path prefix (X-Forwarded-Prefix) counts; from anybody else it is nothing. The proxy must
    /// set these headers or take out what clients send in them.
    #[arg(long, value_name = "NETWORK", help_heading = LISTENING, value_delimiter = ',')]
    pub trusted_proxy: Vec<String>,

    /// In which header trusted proxies speak: x-forwarded, forwarded
    ///
    /// `x-forwarded`: X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host. `forwarded`: Forwarded (RFC 7239). The other is
    /// ignored, since a proxy that does not know it passes on what clients put into it.
    #[arg(long, value_name = "HEADER", help_heading = LISTENING, default_value = "x-forwarded")]
    pub forwarded_header: String,

    /// A file of tokens with which clients may enter
    ///
    /// One `name:token` a line; blank lines and those that start with # say nothing. A client sends its token as
    /// `Authorization: Bearer` or as X-API-Key. Several tokens may have one name; what has the same name is the same user. The
    /// file is read again on SIGHUP, and what was opened with a token that is gone is closed. MCP_MUX_AUTH_TOKENS holds
    /// tokens themselves, in the same form.
    #[arg(long, value_name = "FILE", help_heading = AUTHENTICATION)]
    pub auth_token_file: Option<PathBuf>,

    /// Let everybody enter who can reach this port, also from other machines
    ///
    /// Without it mcp-mux does not listen on an address that other machines can reach unless clients have to authenticate.
    #[arg(long, value_name = "BOOL", help_heading = AUTHENTICATION, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", hide_default_value = true)]
    pub insecure_no_auth: String,

    /// The most connections at once
    ///
    /// Every open event stream is one, and a client has another for its requests. When there is no room, connections that
    /// have sent no request for a second are closed to make some, then those that have been idle for 5 seconds, the oldest
    /// first; is there none, further clients wait, unanswered, until a connection ends. Each takes a file descriptor
    /// (ulimit -n).
    #[arg(long, value_name = "COUNT", help_heading = LIMITS, default_value = "20000")]
    pub connections_max: String,

    /// Accept JSON Web Tokens of this issuer
    ///
    /// mcp-mux is then an OAuth 2.1 resource server: requests carry `Authorization: Bearer`, and clients find the issuer
    /// through the protected resource metadata that mcp-mux serves. An https URL, spelled as in the tokens' `iss`; http only on
    /// a loopback host. With --jwt-audience. Its keys are found through its metadata (OAuth or OpenID Connect), are
    /// renewed in time, and are asked for again when a token names one that is not known.
    #[arg(long, value_name = "URL", help_heading = AUTHENTICATION)]
    pub jwt_issuer: Option<String>,

    /// A name of this server in the tokens' `aud` (repeatable)
    ///
    /// A token must have one of them. Mostly the URL by which clients know this server, such as `https://mcp.example.com/mcp`;
    /// several separated by commas. With --jwt-issuer.
    #[arg(long, value_name = "AUDIENCE", help_heading = AUTHENTICATION, value_delimiter = ',')]
    pub jwt_audience: Vec<String>,

    /// Where the issuer's keys are, as a JWK set
    ///
    /// For an issuer without metadata. An https URL; http only on a loopback host.
    #[arg(long, value_name = "URL", help_heading = AUTHENTICATION)]
    pub jwks_url: Option<String>,

    /// A file with the issuer's keys, as a JWK set
    ///
    /// Then nothing is asked of the issuer. It is read at the start and on SIGHUP.
    #[arg(long, value_name = "FILE", help_heading = AUTHENTICATION)]
    pub jwks_file: Option<PathBuf>,

    /// How a token may be signed [default: RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA]
    ///
    /// A list, separated by commas. A token signed in another way is refused, whatever it says of itself. There is neither
    /// `none` nor an algorithm with a shared secret.
    #[arg(long, value_name = "LIST", help_heading = AUTHENTICATION)]
    pub jwt_algorithm: Option<String>,

    /// A scope that every token must have (repeatable)
    ///
    /// Several separated by blanks; a token must have all of them by name, in `scope` or `scp`. A client whose token has too few
    /// is told which it needs.
    #[arg(long, value_name = "SCOPE", help_heading = AUTHENTICATION)]
    pub jwt_scope: Vec<String>,

    /// By how much the issuer's clock may differ [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = AUTHENTICATION)]
    pub jwt_leeway: Option<String>,

    /// The claim that says what a token's owner may do [default: mcp_mux]
    ///
    /// An object with the keys of an entry of the configuration file's `principals`. A token without it is fine.
    #[arg(long, value_name = "NAME", help_heading = AUTHENTICATION)]
    pub jwt_principal_claim: Option<String>,

    /// A variable that this claim may set (repeatable)
    ///
    /// As `API_KEY`, several separated by commas; only with --isolation principal. A token whose claim sets another one is refused: who
    /// issues tokens may let their owners decide what is in them, and some variables decide what a program does.
    #[arg(long, value_name = "VARIABLE", help_heading = AUTHENTICATION, value_delimiter = ',')]
    pub jwt_claim_env: Vec<String>,
    /// Speak TLS (HTTPS) with the certificate in this file
    ///
    /// A PEM file: the certificate, then those between it and its root. TLS 1.2 and 1.3, and no plain HTTP on the port any more.
    /// On SIGHUP this file and those of the other --tls flags are read again: new connections get what they hold then, open
    /// ones go on. Files that cannot be used change nothing, and the log says why.
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert
    ///
    /// A PEM file, not encrypted: RSA, ECDSA (P-256, P-384) or Ed25519. Nobody but mcp-mux should be able to read it.
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub tls_key: Option<PathBuf>,

    /// Ask clients for certificates that were issued by an authority in this file
    ///
    /// A PEM file with one or more certificates of authorities. What a client's certificate is for (its subject) is who the
    /// client is.
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub tls_client_ca: Option<PathBuf>,

    /// Whether clients must have a certificate: required, optional [default: required]
    ///
    /// With --tls-client-ca. `required`: one without is not connected at all. `optional`: it is served as one that has not
    /// said who it is. A bad certificate is refused either way.
    #[arg(long, value_name = "RULE", help_heading = TLS)]
    pub tls_client_auth: Option<String>,
    /// The most connections of one address at once
    ///
    /// Of IPv6, of one /64; on unix sockets, of one user. Further ones are closed as soon as they are there. Clients behind one
    /// address translation, or on this machine, have one address.
    #[arg(long, value_name = "COUNT", help_heading = LIMITS, default_value = "1000")]
    pub connections_per_address_max: String,

    /// How long a new connection may send nothing
    #[arg(long, value_name = "DURATION", help_heading = LIMITS, default_value = "30s")]
    pub first_byte_timeout: String,

    /// How long the head of a request may take to arrive
    ///
    /// From its first byte to its last. In HTTP/2 that of a connection's first request; of others it is --idle-timeout.
    #[arg(long, value_name = "DURATION", help_heading = LIMITS, default_value = "30s")]
    pub header_timeout: String,

    /// How long a connection may go without a request
    ///
    /// From the end of an answer to the first byte of the next request. Choose it longer than clients and load balancers
    /// keep an idle connection for reuse (60 to 90 seconds), or they send a request just as it is closed. An open event
    /// stream is a request that goes on.
    #[arg(long, value_name = "DURATION", help_heading = LIMITS, default_value = "2m")]
    pub idle_timeout: String,

    /// How long a client may take nothing of what is there for it
    ///
    /// Then its connection is ended: as the system sees it (Linux, TCP), and in HTTP/2 as the client's windows say. Keep-alive
    /// comments are something to take too, so a client that is gone is noticed on every open event stream. 100ms to 20d.
    #[arg(long, value_name = "DURATION", help_heading = LIMITS, default_value = "1m")]
    pub untaken_timeout: String,

    /// The largest head of a request: its line and headers
    ///
    /// 8KiB to 256KiB; a larger one is answered with status 431.
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, default_value = "64KiB")]
    pub header_bytes_max: String,

    /// The most headers of a request
    ///
    /// One with more is answered with status 431.
    #[arg(long, value_name = "COUNT", help_heading = LIMITS, default_value = "100")]
    pub headers_max: String,

    /// The most requests at once on one HTTP/2 connection
    ///
    /// An open event stream is one. Further ones are refused (REFUSED_STREAM), and clients send them again.
    #[arg(long, value_name = "COUNT", help_heading = LIMITS, default_value = "128")]
    pub http2_streams_max: String,

    /// The most requests of one HTTP/2 connection that may be cancelled before they were looked at
    ///
    /// So many at a time; the connection that goes beyond is ended (ENHANCE_YOUR_CALM). So is one with 1024 requests in its
    /// life that were refused as faulty or too many.
    #[arg(long, value_name = "COUNT", help_heading = LIMITS, default_value = "200")]
    pub http2_resets_max: String,

    /// The most frames of one HTTP/2 connection that carry neither a request nor any of its body
    ///
    /// So many at once, and about as many again every ten seconds, and one more for every 64 bytes sent to the client: it
    /// has to say that there is room for more. A connection that goes beyond is ended.
    #[arg(long, value_name = "COUNT", help_heading = LIMITS, default_value = "10000")]
    pub http2_frames_max: String,

    /// Close a session without a request or an open stream for this long
    #[arg(long, value_name = "DURATION", help_heading = SESSIONS, default_value = "30m")]
    pub session_idle_timeout: String,

    /// Close a session this long after it was opened
    #[arg(long, value_name = "DURATION", help_heading = SESSIONS, default_value = "none")]
    pub session_max_age: String,

    /// The most sessions at once
    #[arg(long, value_name = "COUNT", help_heading = SESSIONS, default_value = "10000")]
    pub sessions_max: String,

    /// Serve Streamable HTTP without sessions
    ///
    /// Every request stands alone: no Mcp-Session-Id, no GET stream, no question of the server to a client. A client that
    /// hangs up cancels its request, since nobody could ask for its answer. --sessions-max counts requests.
    #[arg(long, value_name = "BOOL", help_heading = SESSIONS, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", hide_default_value = true)]
    pub stateless: String,

    /// The most events kept for replay in one session
    ///
    /// A client whose stream broke gets them when it comes back with Last-Event-ID.
    #[arg(long, value_name = "COUNT", help_heading = SESSIONS, default_value = "256")]
    pub replay_events: String,

    /// The most bytes of events kept for replay in one session
    #[arg(long, value_name = "SIZE", help_heading = SESSIONS, default_value = "1MiB")]
    pub replay_bytes: String,

    /// The most GET streams of one session at once
    ///
    /// A client needs one. When it opens one more, the oldest ends: mostly a connection that broke unnoticed.
    #[arg(long, value_name = "COUNT", help_heading = SESSIONS, default_value = "16")]
    pub streams_max: String,

    /// The most notifications and responses of one session that wait for room in the server's input
    ///
    /// Further ones are refused with status 503. (Requests that wait count for --in-flight-max.)
    #[arg(long, value_name = "COUNT", help_heading = SESSIONS, default_value = "64")]
    pub messages_waiting_max: String,

    /// The most messages on one stream that a connected client may leave unread [default: 4096, or --replay-events]
    ///
    /// A stream whose client is further behind is ended; where it can be resumed, nothing but the oldest messages is lost
    /// (--replay-events). With HTTP+SSE answers count too, and the session ends. At least --replay-events, which is the default
    /// where that is more.
    #[arg(long, value_name = "COUNT", help_heading = SESSIONS)]
    pub unread_messages_max: Option<String>,

    /// The most bytes of messages on one stream that a connected client may leave unread [default: 8MiB, or --replay-bytes]
    ///
    /// As --unread-messages-max; one message more may be there, however large. Answers do not count, but for
    /// --unread-total-bytes-max. At least --replay-bytes, which is the default where that is more.
    #[arg(long, value_name = "SIZE", help_heading = SESSIONS)]
    pub unread_bytes_max: Option<String>,

    /// The most bytes of messages and answers that all clients may leave unread [default: 512MiB, or more]
    ///
    /// Also those that are kept for clients that are not connected, and those on their way to one that takes them slowly. The
    /// clients of one principal, or of one address where nobody has to authenticate, may together have no more of it than is
    /// left of it, and each session half of that: one session alone a third, one principal half, so that there is room for
    /// others. Beyond that the oldest messages are dropped, and answers of more than 8 KiB (of 512 bytes where nobody is there)
    /// replaced by an error; no stream is ended. What is small goes out to a client that waits for it. At least six times --unread-bytes-max and
    /// --line-bytes-max, which is the default where that is more.
    #[arg(long, value_name = "SIZE", help_heading = LIMITS)]
    pub unread_total_bytes_max: Option<String>,

    /// The most modern requests that wait for their clients to come back with answers [default: half of --sessions-max]
    ///
    /// Each keeps its place among the sessions and what it holds in the server for --input-timeout. For one more, the one
    /// whose time ends first is given up.
    #[arg(long, value_name = "COUNT", help_heading = SESSIONS)]
    pub parked_max: Option<String>,

    /// The most bytes of requests that wait for their clients to come back
    ///
    /// As --parked-max; a single one may be larger.
    #[arg(long, value_name = "SIZE", help_heading = SESSIONS, default_value = "64MiB")]
    pub parked_bytes_max: String,

    /// How long a request may go without an answer or progress
    ///
    /// Then the client gets an error, and the server is told to cancel the request.
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS, default_value = "none")]
    pub request_timeout: String,

    /// How long a request may go on, whatever its progress
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS, default_value = "none")]
    pub request_timeout_max: String,

    /// How long a client of 2026-07-28 may take to come back with what a server before it asked
    ///
    /// Such a client is asked by an answer and goes on with a request of its own; until then its request in the server and
    /// whatever it holds there (a process of its own, its turn) are kept. When nobody came back in time, or others wait
    /// for the process (--children-max), the server's question gets an error and its request is cancelled. This time does
    /// not count for --request-timeout, but for --request-timeout-max, and is never longer than that.
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS, default_value = "2m")]
    pub input_timeout: String,

    /// The most requests in flight in one session
    #[arg(long, value_name = "COUNT", help_heading = REQUESTS, default_value = "128")]
    pub in_flight_max: String,

    /// What to do with a question of the server that could be for several clients: reject, serialize
    ///
    /// Sampling, elicitation and roots requests do not say which client they are for. `reject` answers such a question
    /// with an error; `serialize` lets only one client that can be asked have requests in flight at a time, so that it
    /// could never be for more than one. In neither does a client ever see another's question.
    #[arg(long, value_name = "RULE", help_heading = REQUESTS, default_value = "reject")]
    pub on_ambiguous: String,

    /// The largest request body
    #[arg(long, value_name = "SIZE", help_heading = REQUESTS, default_value = "16MiB")]
    pub body_bytes_max: String,

    /// How long a request body may take to arrive
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS, default_value = "30s")]
    pub body_timeout: String,

    /// The most bytes waiting for the server
    ///
    /// Further requests wait in turn, for --queue-timeout.
    #[arg(long, value_name = "SIZE", help_heading = REQUESTS, default_value = "64MiB")]
    pub queue_bytes_max: String,

    /// How long a request waits for room or for a restarting server
    ///
    /// Then it fails.
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS, default_value = "60s")]
    pub queue_timeout: String,

    /// The deepest nesting of a client's JSON
    ///
    /// 8 to 1024 levels; a message with more is refused. The JSON readers of many servers fail at less than a client can send.
    #[arg(long, value_name = "COUNT", help_heading = REQUESTS, default_value = "128")]
    pub nesting_max: String,

    /// The most messages of a client's batch; 0 takes no batches
    ///
    /// One with more is refused as a whole. Only revision 2025-03-26 has batches.
    #[arg(long, value_name = "COUNT", help_heading = REQUESTS, default_value = "1024")]
    pub batch_max: String,

    /// The most resources that one session may be subscribed to; 0 admits no subscription
    ///
    /// Of a client of 2026-07-28 with an older server: with one `subscriptions/listen`.
    #[arg(long, value_name = "COUNT", help_heading = REQUESTS, default_value = "4096")]
    pub subscriptions_max: String,

    /// The most questions of the server that one client may have open; 0 asks clients nothing
    ///
    /// Sampling, elicitation and roots requests in one session, or during one request of a client of 2026-07-28 to an older
    /// server. A further one gets an error. Of as many elicitations by URL it is remembered who is to be told of their end; of all
    /// clients of a process, of four times as many.
    #[arg(long, value_name = "COUNT", help_heading = REQUESTS, default_value = "256")]
    pub questions_max: String,

    /// The most bytes of requests kept to be sent again with their clients' answers; 0 keeps none
    ///
    /// Of older clients, for one process: a server of 2026-07-28 that asks something wants the request again. One for which there
    /// was no room is passed on all the same; it fails if the server asks its client something.
    #[arg(long, value_name = "SIZE", help_heading = REQUESTS, default_value = "64MiB")]
    pub resend_bytes_max: String,

    /// The most tasks of which is remembered whose they are
    ///
    /// 16 at least, of clients of 2026-07-28; a quarter of them for one principal, and of older clients a sixteenth for one
    /// session. The oldest is forgotten: clients are told that there is no such task, but for one of 2026-07-28 that is in nobody's
    /// way (nobody authenticates, or each has a process of its own), which asks whichever process it comes to. For a sixteenth of them a process that is to be replaced is kept.
    #[arg(long, value_name = "COUNT", help_heading = REQUESTS, default_value = "16384")]
    pub tasks_max: String,

    /// The most bytes of results kept to be served again; 0 keeps none
    ///
    /// Results of a server of 2026-07-28 that it marks as public (lists, resources) are served from memory for as long as it
    /// says, or until it says that they have changed.
    #[arg(long, value_name = "SIZE", help_heading = REQUESTS, default_value = "16MiB")]
    pub cache_bytes: String,

    /// Turn a POST without an answer into an event stream after this long
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS, default_value = "1s")]
    pub sse_after: String,

    /// The time between two keep-alive comments on an event stream
    #[arg(long, value_name = "DURATION", help_heading = REQUESTS, default_value = "15s")]
    pub keep_alive: String,

    /// The requests that each principal may make: 10 or 10/s, 600/m, 36000/h, or none
    ///
    /// A principal is who a client is authenticated as; without authentication each client address is one (of IPv6 its /64; on unix sockets each user).
    /// Further requests are refused until there is room again. The table `principals` of the configuration file says for one
    /// principal what this flag and the other three say for each.
    #[arg(long, value_name = "RATE", help_heading = PRINCIPALS, default_value = "none")]
    pub rate: String,

    /// How many requests a principal may make at once, after a pause [default: those of one second, and at least 1]
    ///
    /// With --rate.
    #[arg(long, value_name = "COUNT", help_heading = PRINCIPALS)]
    pub rate_burst: Option<String>,

    /// The most sessions of one principal at once
    #[arg(long, value_name = "COUNT", help_heading = PRINCIPALS, default_value = "none")]
    pub principal_sessions_max: String,

    /// The most requests in flight of one principal, in all its sessions
    #[arg(long, value_name = "COUNT", help_heading = PRINCIPALS, default_value = "none")]
    pub principal_in_flight_max: String,

    /// A file with the configuration, TOML or JSON
    ///
    /// Every flag but --config, --help and --version is a key in it, written as the flag without its dashes; so is `command`,
    /// a list of the words after `--`. `principals` says what each principal may do. `mcpServers` has several servers, as the files
    /// of desktop clients have them; beside their `command`, `args`, `env` and `cwd` stand the flags of the groups Server, Isolation,
    /// Sessions and Requests (spawn, env, isolation and pool too), for that server alone. A file whose name ends in .toml is TOML,
    /// in .json JSON; any other is JSON if it begins with a brace, else TOML. Paths in it are relative to the folder that
    /// mcp-mux is started in. It may be a pipe. It is read again on SIGHUP and with --watch.
    #[arg(long, value_name = "FILE", help_heading = OPERATING)]
    pub config: Option<PathBuf>,

    /// How much to log: off, error, warn, info, debug, trace, or a filter
    ///
    /// A filter looks like `mcp_mux=debug,hyper=warn`. Requests, answers, tokens and session ids are never logged; what
    /// the server writes to stderr is, and its log messages that belong to no client.
    #[arg(long, value_name = "LEVEL", help_heading = OPERATING, default_value = "info")]
    pub log_level: String,

    /// How a log line looks: text, json
    #[arg(long, value_name = "FORMAT", help_heading = OPERATING, default_value = "text")]
    pub log_format: String,

    /// Read the files again when they change
    ///
    /// That of --config and those of tokens, keys and certificates: what SIGHUP reads again. They are looked at twice a second, and
    /// read when they have not changed for half a second. A file that cannot be used changes nothing, and the log says why.
    #[arg(long, value_name = "BOOL", help_heading = OPERATING, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", hide_default_value = true)]
    pub watch: String,

    /// The most servers that are starting at once
    ///
    /// With `mcpServers` in the file of --config; further ones wait for their turn. Those that a client waits for have as many places of
    /// their own beside these. At most half are for those that are tried again since they could not be started.
    #[arg(long, value_name = "COUNT", help_heading = OPERATING, default_value = "4")]
    pub starts_max: String,

    /// Whether each request gets a line in the log: off, on, or a file for these lines
    ///
    /// A line says who asked for what, when, and how it ended: time, server, principal, a hash of the session's id, the client's
    /// address, transport, revision, method, sizes, duration, outcome, HTTP status and error code. With `on` it is a line of the
    /// log at INFO under the target mcp_mux::access; in a file it is a JSON object. SIGHUP opens the file again, once it was moved
    /// away. Writing never holds a request up: lines that do not fit are lost, and counted in /metrics. Off by default, since it is
    /// one line for every request; the counts and durations are in /metrics anyway.
    #[arg(long, value_name = "WHERE", help_heading = OPERATING, default_value = "off")]
    pub access_log: String,

    /// Name the tool, prompt or resource in the access log, and in traces
    ///
    /// These may be private: the name of a resource is often a path.
    #[arg(long, value_name = "BOOL", help_heading = OPERATING, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", hide_default_value = true)]
    pub access_log_names: String,

    /// Send traces to this OpenTelemetry collector, which takes OTLP over HTTP
    ///
    /// As `http://127.0.0.1:4318`, to which /v1/traces is added. Each request is a span, whose parent its client says: in
    /// `_meta.traceparent` of the message, else in the header traceparent. Sending never holds a request up: spans that do not fit
    /// are lost, and counted in /metrics. Without the flag OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT says
    /// where to; without any of them there are no traces. OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
    /// OTEL_TRACES_SAMPLER and OTEL_SDK_DISABLED mean what they mean elsewhere. Only a mcp-mux that was built with
    /// `--features otel` has traces; any other does not start with this flag, and ignores these variables.
    #[arg(long, value_name = "URL", help_heading = OPERATING)]
    pub otlp_endpoint: Option<String>,

    /// How long requests in flight may go on after SIGINT or SIGTERM
    ///
    /// A second signal cuts it short; a further one kills the server, which otherwise has --stop-timeout.
    #[arg(long, value_name = "DURATION", help_heading = OPERATING, default_value = "10s")]
    pub drain_timeout: String,

    /// Where the values came from.
    #[arg(skip)]
    pub(crate) origins: Origins,

    /// The servers of `mcpServers`; none: there is no such table.
    #[arg(skip)]
    pub(crate) servers: Option<Vec<ServerCli>>,
}

/// An entry of `mcpServers`.
#[derive(Clone, Debug)]
pub(crate) struct ServerCli {
    /// Its name, or one like it where it has none that can be.
    pub(crate) name: ServerName,
    /// Why it cannot be served whatever its values are.
    pub(crate) unusable: Option<Unusable>,
    /// As it would have been typed if it were the only one; none: nobody wants to know.
    pub(crate) cli: Option<Box<Cli>>,
}

/// Whom a flag concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// One server: each entry of `mcpServers` may have a value of its own.
    Server,
    /// mcp-mux as a whole.
    Process,
}

impl Whose {
    /// That of this flag, by the group that it was defined in.
    pub(crate) fn of(arg: &Arg) -> Self {
        static OF_SERVERS: LazyLock<BTreeSet<clap::Id>> = LazyLock::new(|| {
            let groups = [SERVER, ISOLATION, SESSIONS, REQUESTS];
            let of_server = |arg: &&Arg| arg.get_help_heading().is_some_and(|group| groups.contains(&group));
            Cli::command().get_arguments().filter(of_server).map(|arg| arg.get_id().clone()).collect()
        });
        if OF_SERVERS.contains(arg.get_id()) { Self::Server } else { Self::Process }
    }
}

const SERVER: &str = "Server";
const ISOLATION: &str = "Isolation";
const LISTENING: &str = "Listening";
const AUTHENTICATION: &str = "Authentication";
const TLS: &str = "TLS";
const LIMITS: &str = "Limits";
const SESSIONS: &str = "Sessions";
const REQUESTS: &str = "Requests";
const PRINCIPALS: &str = "Principals";
const OPERATING: &str = "Operating";

impl Cli {
    /// Reads the command line (`args` starts with the program's own name); from the environment (`variable` gives a
    /// variable's value) what the command line does not say; and from the configuration file, if one of these names it,
    /// what neither says. What is wrong with the file is reported by [`Config::load`](crate::config::Config::load).
    ///
    /// # Errors
    /// What clap has to say, `--help` and `--version` included: print it and exit with its code.
    pub fn read(
        args: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, clap::Error> {
        Self::read_keeping(args, &variable, None)
    }

    /// [`Cli::read`], but what the file says of the process as a whole is taken from `kept`.
    pub(crate) fn read_keeping(
        args: impl IntoIterator<Item = OsString>,
        variable: &dyn Fn(&str) -> Option<OsString>,
        kept: Option<&Settings>,
    ) -> Result<Self, clap::Error> {
        Self::read_as(command(), args, variable, kept).map(|(cli, _)| cli)
    }

    /// [`Cli::read_keeping`] by a definition that has all flags of this one and may have more, with what clap makes of them.
    fn read_as(
        mut command: Command,
        args: impl IntoIterator<Item = OsString>,
        variable: &dyn Fn(&str) -> Option<OsString>,
        kept: Option<&Settings>,
    ) -> Result<(Self, ArgMatches), clap::Error> {
        let mut args: Vec<OsString> = args.into_iter().collect();
        let given = command.try_get_matches_from_mut(&args)?;
        let mut origins = Origins::default();
        let not_typed = origins.look_up(&command, &given, variable, kept);
        // Before everything typed: behind a `--` they would belong to the server's command.
        let at = args.len().min(1);
        let mut servers = not_typed.servers.as_ref().map(|_| Vec::new());
        for entry in not_typed.servers.into_iter().flatten() {
            let cli = match entry.args {
                Some(own) => {
                    let typed = args.iter().skip(at).cloned();
                    let all = args.iter().take(at).cloned().chain(own).chain(typed);
                    let cli = Self::from_arg_matches(&command.try_get_matches_from_mut(all)?)?;
                    Some(Box::new(Self { command: entry.command, origins: entry.origins, ..cli }))
                }
                None => None,
            };
            let server = ServerCli { name: entry.name, unusable: entry.unusable, cli };
            servers.get_or_insert_default().push(server);
        }
        args.splice(at..at, not_typed.args);

        let matches = command.try_get_matches_from_mut(&args)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.servers = servers;
        if cli.command.is_empty() && cli.spawn.is_none() {
            cli.command = not_typed.command.unwrap_or_default();
        }
        if cli.command.is_empty() && cli.spawn.is_none() && cli.servers.is_none() && origins.problems.is_empty() {
            let text = "no server to run: give its command after `--`, or in one string with --spawn, or in the file of --config";
            return Err(command.error(ErrorKind::MissingRequiredArgument, text));
        }
        cli.origins = origins;
        Ok((cli, matches))
    }
}

/// The command line's definition, for the help text and the man page. The long help says every flag's variable.
pub fn command() -> Command {
    let command = described(Cli::command(), PREFIX);
    let overview = subcommands::overview();
    let [short, long] = [command.get_after_help(), command.get_after_long_help()]
        .map(|help| format!("{overview}\n\n{}", help.map(ToString::to_string).unwrap_or_default()));
    let usages = USAGES.iter().map(ToString::to_string).chain(subcommands::usages()).collect::<Vec<_>>();
    let command = command.override_usage(usages.join("\n       ")).after_help(short).after_long_help(long);
    let command = command.mut_args(|arg| match FIRST.iter().position(|flag| arg.get_long() == Some(flag)) {
        Some(at) => arg.help_heading(MOST_USED).display_order(at),
        None if arg.get_id() == COMMAND => arg.help_heading(MOST_USED).hide_short_help(true),
        None => arg.hide_short_help(true),
    });
    // What people look for stands first, and what every program has last.
    let (help, version) = (Arg::new("help").short('h').action(ArgAction::Help), Arg::new("version").short('V'));
    command.disable_help_flag(true).disable_version_flag(true).args([
        help.long("help").help_heading(MORE).help("Print this, or more of it with --help"),
        version.long("version").action(ArgAction::Version).help_heading(MORE).help("Print version"),
    ])
}

/// A definition whose help says every flag's variable, which begins with `prefix`, and its default.
fn described(command: Command, prefix: &str) -> Command {
    command.mut_args(|arg| {
        let Some(flag) = flag_with_variable(&arg) else { return arg };
        let default = arg.get_default_values().first().filter(|_| !arg.is_hide_default_value_set());
        let default = default.map_or_else(String::new, |default| format!(" [default: {}]", default.display()));
        let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let long = arg.get_long_help().map_or_else(|| short.clone(), ToString::to_string);
        let variable = format!("{prefix}{}", flag.replace('-', "_").to_ascii_uppercase());
        arg.help(short + &default).long_help(format!("{long}\n\n[env: {variable}]{default}")).hide_default_value(true)
    })
}

/// What most people need, in this order; the short help has no more.
const FIRST: [&str; 10] =
    ["spawn", "config", "port", "host", "isolation", "pool", "env", "auth-token-file", "allow-host", "log-level"];
const MOST_USED: &str = "Most used";
const MORE: &str = "More";
/// How mcp-mux is used without a subcommand.
const USAGES: [&str; 3] = [
    "mcp-mux [OPTIONS] -- <COMMAND>...",
    "mcp-mux [OPTIONS] --spawn <COMMAND LINE>",
    "mcp-mux [OPTIONS] --config <FILE>",
];
/// How the variables begin.
const PREFIX: &str = "MCP_MUX_";

/// The variable of a flag: `MCP_MUX_BODY_BYTES_MAX` for `body-bytes-max`.
fn variable_name(flag: &str) -> String {
    format!("{PREFIX}{}", flag.replace('-', "_").to_ascii_uppercase())
}

fn flag_with_variable(arg: &Arg) -> Option<&str> {
    arg.get_long().filter(|flag| !matches!(*flag, "help" | "version" | FORMAT))
}

/// The flags that are keys of the configuration file too.
pub(crate) fn flag_with_key(arg: &Arg) -> Option<&str> {
    flag_with_variable(arg).filter(|flag| *flag != CONFIG)
}

const CONFIG: &str = "config";
/// The words after `--`, as an argument and as a key.
const COMMAND: &str = "command";
/// Of `mcp-mux check` alone: how its answer looks is for whoever asks to say, each time.
const FORMAT: &str = "format";

#[cfg(test)]
mod tests;
