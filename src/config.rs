//! The configuration as the program uses it: only valid values, one plain struct per component.
//!
//! `cli` holds what the user typed; [`Config::load`] turns it into this. After that nothing reads the environment,
//! parses or checks again: each constructor consumes its own part.

pub mod allow;
mod bounds;
mod connect;
pub(crate) mod file;
pub mod jwt;
mod known;
pub mod listen;
mod load;
pub mod pattern;
pub mod principals;
mod problem;
pub mod secret;
mod server_name;
mod source;
mod values;

pub use bounds::Bounds;
pub use connect::{ConnectConfig, RemoteConfig};
pub(crate) use load::TRACES_VARIABLES;
pub use problem::{ConfigErrors, Problem};
pub use server_name::ServerName;
pub(crate) use source::Again;
pub use source::Source;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use allow::{AllowHost, AllowOrigin};
use ipnet::IpNet;
use jwt::JwtConfig;
use listen::{Chosen, ListenAddress, UnixConfig};
use principals::PrincipalsConfig;

use self::secret::Secret;
use crate::mcp::Era;

/// Everything the program needs to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: ListenConfig,
    /// Where to listen for operators; none: they come where clients do.
    pub admin: Option<ListenConfig>,
    /// With what connections are encrypted; none: they are not.
    pub tls: Option<TlsConfig>,
    /// Paths and limits of the HTTP side.
    pub http: HttpConfig,
    /// Whom the HTTP side answers.
    pub guard: GuardConfig,
    /// Who may enter.
    pub auth: AuthConfig,
    /// What is served.
    pub servers: ServersConfig,
    /// Logs.
    pub telemetry: TelemetryConfig,
    /// How long requests in flight may go on after a stop was asked for.
    pub drain_timeout: Duration,
    /// What each principal may do.
    pub principals: PrincipalsConfig,
    /// When files are read again.
    pub reread: Reread,
    /// The configuration file, where everybody on the machine can read variables' values in it.
    pub exposed_file: Option<PathBuf>,
    /// Keys of the file that are another program's, and mean nothing here.
    pub foreign_keys: Vec<ForeignKey>,
}

/// A key of another program in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// Where it is: `theme`, or `mcpServers.git.autoApprove`.
    pub place: String,
    /// The key of ours that it looks like.
    pub like: Option<String>,
}

/// When files are read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reread {
    /// When somebody says so (SIGHUP).
    #[default]
    OnSignal,
    /// Also when one of them has changed (`--watch`).
    OnChange,
}

/// What is served.
#[derive(Clone, Debug, PartialEq)]
pub struct ServersConfig {
    /// Where they come from.
    pub arrangement: Arrangement,
    /// The servers, each under a name of its own.
    pub servers: Vec<ServerConfig>,
    /// What is in the file and not served.
    pub unusable: Vec<(ServerName, Unusable)>,
    /// Those of these that could be served but for their folder, which is not there: as they would be.
    pub folderless: Vec<ServerConfig>,
    /// The most servers that are starting at once.
    pub starts_max: NonZeroUsize,
}

/// Where the servers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// There is the one that flags name, or `command` or `spawn` in the file; the program is nothing without it.
    Single,
    /// They are those of `mcpServers` in the file; each may come and go.
    Several,
}

/// Why something in the file is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is not to be.
    Disabled,
    /// It cannot be; why.
    Invalid(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disabled",
            Self::Invalid(why) => why,
        })
    }
}

/// When a server is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With mcp-mux.
    #[default]
    AtOnce,
    /// When somebody comes.
    OnDemand,
}

/// One server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// What it is called, here and in its URLs.
    pub name: ServerName,
    /// When it is started.
    pub start: Start,
    /// It is stopped when nobody has used it for this long, until somebody comes; none: never.
    pub idle_timeout: Option<Duration>,
    /// How its clients are answered.
    pub endpoint: EndpointConfig,
    /// Sessions and their streams.
    pub session: SessionConfig,
    /// Who shares which child.
    pub pool: PoolConfig,
    /// The child processes.
    pub child: ChildConfig,
    /// Multiplexing.
    pub router: RouterConfig,
}

/// How the clients of one server are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointConfig {
    /// The largest request body.
    pub body_bytes_max: usize,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// What one message may make grow.
    pub bounds: Bounds,
    /// After this long without an answer a POST becomes an event stream.
    pub sse_after: Duration,
    /// The time between two keep-alive comments on an event stream.
    pub keep_alive: Duration,
    /// Whether legacy requests are served without a session.
    pub sessions: SessionMode,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// On what; one thing at least.
    pub addresses: Vec<ListenAddress>,
    /// Whether somebody has said so.
    pub chosen: Chosen,
    /// The files of the unix sockets among them.
    pub unix: UnixConfig,
    /// The most connections at once, of all of them together.
    pub connections_max: NonZeroUsize,
    /// The most connections of one address at once; of IPv6, of one /64; on unix sockets, of one user.
    pub connections_per_address_max: NonZeroUsize,
    /// What a connection may do.
    pub connection: ConnectionConfig,
}

/// What a connection may do.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// How long a new one may send nothing.
    pub first_byte_timeout: Duration,
    /// How long a request's head may take, from its first byte; of HTTP/2, that of the first request.
    pub header_timeout: Duration,
    /// How long one may be without a request.
    pub idle_timeout: Duration,
    /// How long its client may take nothing of what is there for it; at least 100 ms, at most 20 days.
    pub untaken_timeout: Duration,
    /// The largest head of a request.
    pub header_bytes_max: usize,
    /// The most headers of a request.
    pub headers_max: NonZeroUsize,
    /// The most streams of an HTTP/2 connection at once.
    pub http2_streams_max: u32,
    /// The most streams of an HTTP/2 connection that may be reset before they were looked at, or for an error of its client.
    pub http2_resets_max: usize,
    /// The most frames that carry nothing of an HTTP/2 connection, at once; and in each ten seconds, about.
    pub http2_frames_max: NonZeroUsize,
}

/// Where what connections are encrypted with is kept.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The certificate, and what is between it and its root (PEM).
    pub cert: PathBuf,
    /// The certificate's private key (PEM).
    pub key: PathBuf,
    /// Whether clients are asked for certificates; none: they are not.
    pub client_ca: Option<ClientCaConfig>,
}

/// Which clients' certificates are accepted.
#[derive(Clone, Debug)]
pub struct ClientCaConfig {
    /// The authorities that may have issued them (PEM).
    pub file: PathBuf,
    /// Whether a client without one is served.
    pub auth: ClientAuth,
}

/// Whether a client without a certificate is served (`--tls-client-auth`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// It is not.
    #[default]
    Required,
    /// It is. One that shows a certificate has to show a good one.
    Optional,
}

/// Paths and limits of the HTTP side.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The MCP endpoint (Streamable HTTP).
    pub path: String,
    /// The event stream of HTTP+SSE.
    pub sse_path: String,
    /// Where HTTP+SSE clients post.
    pub message_path: String,
    /// The largest head of a request.
    pub header_bytes_max: usize,
    /// The most headers of a request.
    pub headers_max: NonZeroUsize,
    /// What proxies in front are believed to say.
    pub forwarded: ForwardedConfig,
    /// Where clients reach this server, if that is not what they say themselves; without a slash at its end.
    pub public_url: Option<String>,
}

/// Whether legacy clients get sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMode {
    /// `initialize` opens a session, every later request names it.
    Sessions,
    /// Every request stands alone (`--stateless`).
    Stateless,
}

/// Whom the HTTP side answers.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// Hosts accepted in `Host` beside the loopback names and the address of the connection itself.
    pub allow_host: Vec<AllowHost>,
    /// Origins accepted beside the loopback ones.
    pub allow_origin: Vec<AllowOrigin>,
}

/// Who may enter.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    /// The file of tokens.
    pub token_file: Option<PathBuf>,
    /// Tokens of the environment, in the file's form.
    pub tokens: Option<Secret>,
    /// Which JSON Web Tokens are accepted; none: none are.
    pub jwt: Option<JwtConfig>,
    /// Whether the certificates that clients show say who they are.
    pub certificates: bool,
    /// Whether everybody may enter, also from other machines.
    pub exposure: Exposure,
}

impl AuthConfig {
    /// Whether one has to say who one is.
    pub const fn is_required(&self) -> bool {
        self.token_file.is_some() || self.tokens.is_some() || self.jwt.is_some() || self.certificates
    }
}

/// Whether a server that nobody has to authenticate to may be reached from other machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exposure {
    /// It may not: then mcp-mux does not start.
    #[default]
    Refused,
    /// That is wanted (`--insecure-no-auth`).
    Wanted,
}

/// What proxies in front are believed to say.
#[derive(Clone, Debug, Default)]
pub struct ForwardedConfig {
    /// The proxies that are believed.
    pub trusted: Vec<TrustedProxy>,
    /// In which header they speak.
    pub header: ForwardedHeader,
}

/// Proxies that are believed (`--trusted-proxy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Those of this network.
    Network(IpNet),
    /// Whoever may connect to a unix socket.
    Unix,
}

impl ForwardedConfig {
    /// Whether that is the address of a proxy that is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|trusted| match trusted {
            TrustedProxy::Network(network) => network.contains(&address),
            TrustedProxy::Unix => false,
        })
    }

    /// Whether whoever connects to a unix socket is a proxy that is believed.
    pub fn trusts_unix(&self) -> bool {
        self.trusted.contains(&TrustedProxy::Unix)
    }
}

/// The headers in which proxies say how a request came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Sessions and their streams.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionConfig {
    /// A session without a request or an open stream for this long is closed; none: never.
    pub idle_timeout: Option<Duration>,
    /// A session older than this is closed; none: never.
    pub age_max: Option<Duration>,
    /// The most sessions at once.
    pub sessions_max: NonZeroUsize,
    /// The most requests in flight in one session, also those that wait for room in the child's input.
    pub in_flight_max: NonZeroUsize,
    /// The most events kept for replay in one session.
    pub replay_events: usize,
    /// The most bytes of events kept for replay in one session.
    pub replay_bytes: usize,
    /// The most GET streams of one session that are read at once.
    pub streams_max: NonZeroUsize,
    /// The most notifications and responses of one session that wait for room in the child's input.
    pub messages_waiting_max: NonZeroUsize,
    /// The most messages on one stream that a connected client may leave unread; at least `replay_events`.
    pub unread_messages_max: NonZeroUsize,
    /// The most bytes of messages on one stream that a connected client may leave unread; at least `replay_bytes`.
    pub unread_bytes_max: usize,
    /// The most bytes of messages and answers that all clients together, of all servers, may leave unread; at least six times as
    /// much. What the server says counts that wants most.
    pub unread_total_bytes_max: usize,
    /// The most modern exchanges that wait for their clients to come back.
    pub parked_max: NonZeroUsize,
    /// The most bytes that these hold.
    pub parked_bytes_max: usize,
    /// How long a modern client may take to come back with what a legacy child asked.
    pub input_timeout: Duration,
    /// How long a request may go on, with that; none: for ever.
    pub request_timeout_max: Option<Duration>,
}

/// Who shares which child.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// The rule.
    pub isolation: Isolation,
    /// How many children everybody shares; with [`Isolation::Shared`].
    pub size: NonZeroUsize,
    /// How many children are started ahead of their sessions; with [`Isolation::Session`].
    pub warm: usize,
    /// The most children at once; with [`Isolation::Principal`] and [`Isolation::Session`].
    pub children_max: NonZeroUsize,
    /// A child that nobody has used for this long is stopped; none: never.
    pub idle_timeout: Option<Duration>,
    /// How long a session waits for a child when there are [`PoolConfig::children_max`] already.
    pub queue_timeout: Duration,
    /// The headers of a session's first request that its child gets as variables; with [`Isolation::Session`].
    pub header_env: Vec<HeaderEnv>,
    /// The most bytes of public results kept to be served again; 0: none.
    pub cache_bytes: usize,
    /// How many tasks are remembered.
    pub bounds: Bounds,
}

/// Who shares a child (`--isolation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Everybody.
    #[default]
    Shared,
    /// The sessions of one principal.
    Principal,
    /// Nobody: each session has its own.
    Session,
}

/// A header that becomes a variable (`--header-env`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderEnv {
    /// The header's name.
    pub header: http::HeaderName,
    /// The variable's name.
    pub variable: String,
}

/// What to do when a child exits by itself (`--on-child-exit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnChildExit {
    /// It is started again.
    #[default]
    Restart,
    /// mcp-mux stops.
    Exit,
}

/// The child processes.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildConfig {
    /// The name of its server in the log, where there are several.
    pub server: Option<ServerName>,
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// The working directory; none: mcp-mux's own.
    pub cwd: Option<PathBuf>,
    /// Variables set for the child.
    pub env: BTreeMap<String, Secret>,
    /// What the child inherits of mcp-mux's environment.
    pub inherit_env: InheritEnv,
    /// The longest line taken from the child's stdout.
    pub line_bytes_max: usize,
    /// The most lines of the child's stderr in the log in a second; 0: none.
    pub stderr_lines_max: u32,
    /// The most bytes waiting for the child's stdin before requests wait too.
    pub queue_bytes_max: usize,
    /// How long a request waits for room, or for a child that is not ready, before it fails.
    pub queue_timeout: Duration,
    /// How long a child may take from its start to the end of its handshake; where its era has to be found out first, from
    /// then on.
    pub start_timeout: Duration,
    /// The era that the command speaks; none: it is found out.
    pub era: Option<Era>,
    /// How long a process that is asked for its era may be silent.
    pub probe_timeout: Duration,
    /// How long the child may take to exit after its stdin was closed, and again after SIGTERM.
    pub stop_timeout: Duration,
    /// What to do when it exits by itself.
    pub on_exit: OnChildExit,
    /// How often it is asked whether it still answers; none: never.
    pub ping_interval: Option<Duration>,
    /// A process older than this is replaced; none: never.
    pub age_max: Option<Duration>,
    /// A process that was given this many requests is replaced; none: never.
    pub requests_max: Option<NonZeroUsize>,
}

/// What a child inherits of mcp-mux's environment. `MCP_MUX_*` is never inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InheritEnv {
    /// All of it.
    All,
    /// Only what programs need to start at all (`PATH`, `HOME`, `LANG`, …), see `--clean-env`.
    Minimal,
}

/// Multiplexing.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterConfig {
    /// How long a request may go without an answer or progress; none: for ever.
    pub request_timeout: Option<Duration>,
    /// How long a request may go on whatever its progress; none: for ever.
    pub request_timeout_max: Option<Duration>,
    /// The most requests in flight in one session.
    pub in_flight_max: NonZeroUsize,
    /// How long an accepted request may wait for a child that is not ready.
    pub queue_timeout: Duration,
    /// What to do when a child's question could belong to several sessions.
    pub on_ambiguous: OnAmbiguous,
    /// The capabilities mcp-mux declares to a shared child.
    pub client_capabilities: DeclaredCapabilities,
    /// What sessions and the child may make grow.
    pub bounds: Bounds,
}

/// What to do when a child's question could belong to several sessions (`--on-ambiguous`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnAmbiguous {
    /// The child gets an error that says how many sessions it could have meant.
    #[default]
    Reject,
    /// Only one session that can be asked has requests in flight at a time.
    Serialize,
}

/// The client capabilities mcp-mux declares to a shared child (`--client-capabilities`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeclaredCapabilities {
    /// `roots`.
    pub roots: bool,
    /// `sampling`.
    pub sampling: bool,
    /// `elicitation`.
    pub elicitation: bool,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// A valid filter, such as `mcp_mux=debug,hyper=warn`.
    pub log_level: String,
    /// How a line of the log looks.
    pub log_format: LogFormat,
    /// What is written of each request.
    pub access: AccessLogConfig,
    /// Where its spans go; none: there are no traces.
    pub traces: Option<TracesConfig>,
}

/// Where spans go (`--otlp-endpoint`, or OpenTelemetry's own variables).
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// The URL that they are posted to; http or https. Its query may be a secret.
    pub url: Secret,
    /// How long the collector may take for those of one POST, and for all attempts at it.
    pub timeout: Duration,
    /// Whether spans name tools, prompts and resources.
    pub names: AccessLogNames,
    /// Variables whose values are of no use, and what is done instead.
    pub doubts: Vec<String>,
}

/// What is written of each request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// Where to.
    pub to: AccessLogTo,
    /// Whether it names tools, prompts and resources.
    pub names: AccessLogNames,
}

/// Where the access log goes (`--access-log`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLogTo {
    /// There is none.
    #[default]
    Nowhere,
    /// To the log, at INFO.
    Log,
    /// To this file, as lines of JSON.
    File(PathBuf),
}

/// Whether the access log and traces name tools, prompts and resources (`--access-log-names`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogNames {
    /// It does not.
    #[default]
    Hidden,
    /// It does.
    Shown,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
