//! What a typed value means: one small parser per kind of value. Each says, when it fails, what would be right.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::allow::Authority;
use super::principals::Rate;
use super::{
    AccessLogTo, Bounds, ClientAuth, DeclaredCapabilities, ForwardedHeader, HeaderEnv, Isolation, LogFormat,
    OnAmbiguous, OnChildExit, TrustedProxy,
};
use crate::config::secret::Secret;
use crate::mcp::Era;

/// What would be right, in words; follows "must be" in the message.
pub(super) type Wanted = String;

/// Longer ones are mistakes, and could overflow a deadline.
const DURATION_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// Larger ones are mistakes, and could overflow a sum.
const SIZE_MAX: usize = 1 << 40;
/// The same.
const COUNT_MAX: usize = 1_000_000_000_000;

const A_DURATION: &str = "a duration of at most 3650d, such as 90 (seconds), 1.5, 500ms, 30m or 1h 30m";
const A_SIZE: &str = "a size of at most 1TiB, such as 16777216, 16MiB, 16MB or 64k";

/// A duration, also zero.
pub(super) fn duration(text: &str) -> Result<Duration, Wanted> {
    let text = text.trim();
    let number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let duration = if number {
        text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    } else if text.contains('M') {
        // Months: too easily meant as minutes.
        None
    } else {
        humantime::parse_duration(text).ok()
    };
    duration.filter(|duration| *duration <= DURATION_MAX).ok_or_else(|| A_DURATION.to_owned())
}

/// A duration that is not zero.
pub(super) fn some_duration(text: &str) -> Result<Duration, Wanted> {
    let not_zero = duration(text).ok().filter(|duration| !duration.is_zero());
    not_zero.ok_or_else(|| format!("{A_DURATION}, and longer than 0"))
}

/// A duration, or none at all.
pub(super) fn optional_duration(text: &str) -> Result<Option<Duration>, Wanted> {
    if matches!(text.trim().to_ascii_lowercase().as_str(), "none" | "off") {
        return Ok(None);
    }
    match duration(text) {
        Ok(duration) => Ok(Some(duration).filter(|duration| !duration.is_zero())),
        Err(wanted) => Err(format!("{wanted}; or none")),
    }
}

/// A duration of something that must not go on all the time, or none at all.
pub(super) fn optional_long_duration(text: &str) -> Result<Option<Duration>, Wanted> {
    let long = |duration: &Option<Duration>| duration.is_none_or(|duration| duration >= LONG_MIN);
    optional_duration(text).ok().filter(long).ok_or_else(|| format!("{A_DURATION}, and at least 100ms; or none"))
}

/// The shortest that is not all the time.
const LONG_MIN: Duration = Duration::from_millis(100);

/// A time that the system can be told in milliseconds (`TCP_USER_TIMEOUT`).
pub(super) fn untaken_timeout(text: &str) -> Result<Duration, Wanted> {
    let range = LONG_MIN..=Duration::from_secs(20 * 24 * 60 * 60);
    let timeout = duration(text).ok().filter(|timeout| range.contains(timeout));
    timeout.ok_or_else(|| "a duration from 100ms to 20d, such as 90 (seconds), 1.5 or 30m".to_owned())
}

/// A number of bytes, also zero.
pub(super) fn size(text: &str) -> Result<usize, Wanted> {
    let bytes = text.trim().parse::<ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok());
    bytes.filter(|bytes| *bytes <= SIZE_MAX).ok_or_else(|| A_SIZE.to_owned())
}

/// A number of bytes that is not zero.
pub(super) fn some_size(text: &str) -> Result<usize, Wanted> {
    size(text).ok().filter(|bytes| *bytes > 0).ok_or_else(|| format!("{A_SIZE}, and more than 0"))
}

/// A number, also zero.
pub(super) fn count(text: &str) -> Result<usize, Wanted> {
    whole_number(text, "a whole number, 0 or more")
}

/// A number that is not zero.
pub(super) fn some_count(text: &str) -> Result<NonZeroUsize, Wanted> {
    let wanted = "a whole number, 1 or more";
    NonZeroUsize::new(whole_number(text, wanted)?).ok_or_else(|| wanted.to_owned())
}

/// A number; where the end is, is said of one that is beyond.
fn whole_number(text: &str, wanted: &str) -> Result<usize, Wanted> {
    let text = text.trim();
    // One of many digits is no `usize` either.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text.parse().ok().filter(|count| *count <= COUNT_MAX);
    count.ok_or_else(|| if is_number { format!("a whole number of at most {COUNT_MAX}") } else { wanted.to_owned() })
}

/// The size of a request's head: from what hyper reads at once to what it keeps at all.
pub(super) fn header_bytes(text: &str) -> Result<usize, Wanted> {
    let range = 8 * 1024..=256 * 1024;
    size(text)
        .ok()
        .filter(|bytes| range.contains(bytes))
        .ok_or_else(|| "a size from 8KiB to 256KiB, such as 64KiB".to_owned())
}

/// A number of headers.
pub(super) fn headers(text: &str) -> Result<NonZeroUsize, Wanted> {
    some_count(text).ok().filter(|count| count.get() <= 10_000).ok_or_else(|| "a whole number, 1 to 10000".to_owned())
}

/// A number of streams.
pub(super) fn streams(text: &str) -> Result<u32, Wanted> {
    let count = text.trim().parse().ok().filter(|count| (1..=10_000).contains(count));
    count.ok_or_else(|| "a whole number, 1 to 10000".to_owned())
}

/// A number of levels: from what the protocol's own messages need to what is taken from a server.
pub(super) fn nesting(text: &str) -> Result<usize, Wanted> {
    count(text).ok().filter(|count| (8..=1024).contains(count)).ok_or_else(|| "a whole number, 8 to 1024".to_owned())
}

/// A number of tasks.
pub(super) fn tasks(text: &str) -> Result<usize, Wanted> {
    let least = Bounds::TASKS_MIN;
    count(text).ok().filter(|count| *count >= least).ok_or_else(|| format!("a whole number, {least} or more"))
}

/// A number of lines, also zero.
pub(super) fn lines(text: &str) -> Result<u32, Wanted> {
    text.trim().parse().map_err(|_| format!("a whole number from 0 to {}", u32::MAX))
}

/// A number that is not zero, or none at all.
pub(super) fn optional_count(text: &str) -> Result<Option<NonZeroUsize>, Wanted> {
    if matches!(text.trim().to_ascii_lowercase().as_str(), "none" | "off") {
        return Ok(None);
    }
    count(text).map(NonZeroUsize::new).map_err(|wanted| format!("{wanted}; or none"))
}

/// A limit that is not zero, or none at all.
pub(super) fn optional_limit(text: &str) -> Result<Option<NonZeroUsize>, Wanted> {
    if matches!(text.trim().to_ascii_lowercase().as_str(), "none" | "off") {
        return Ok(None);
    }
    some_count(text).map(Some).map_err(|wanted| format!("{wanted}; or none"))
}

/// How many requests may come, as 10 or 10/s, 600/m, or as many as they like.
pub(super) fn rate(text: &str) -> Result<Rate, Wanted> {
    let text = text.trim().to_ascii_lowercase();
    if matches!(text.as_str(), "none" | "off") {
        return Ok(Rate::Unlimited);
    }
    let (number, unit) = text.split_once('/').unwrap_or((&text, "s"));
    let seconds = match unit.trim() {
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        "d" => Some(86_400.0),
        _ => None,
    };
    let number = number.trim().parse::<f64>().ok();
    let per_second = number.zip(seconds).map(|(number, seconds)| number / seconds);
    let rate = per_second.filter(|rate| (RATE_MIN..=RATE_MAX).contains(rate)).map(Rate::PerSecond);
    rate.ok_or_else(|| "a rate from 1/d to 1000000/s, such as 10 (a second), 10/s, 600/m, 36000/h; or none".to_owned())
}

/// A lower one is a mistake, or means that nobody is let in at all.
const RATE_MIN: f64 = 1.0 / 86_400.0;
/// A higher one is none.
const RATE_MAX: f64 = 1e6;

/// How many requests may come at once.
pub(super) fn burst(text: &str) -> Result<NonZeroU32, Wanted> {
    text.trim().parse().map_err(|_| "a whole number from 1 to 4294967295".to_owned())
}

/// A switch.
pub(super) fn switch(text: &str) -> Result<bool, Wanted> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("true or false (also 1, 0, yes, no)".to_owned()),
    }
}

/// A port.
pub(super) fn port(text: &str) -> Result<u16, Wanted> {
    text.trim().parse().map_err(|_| "a port number from 0 to 65535 (0 lets the system choose)".to_owned())
}

/// A host name or an address, without the brackets of an IPv6 address in a URL.
pub(super) fn host(text: &str) -> Result<String, Wanted> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<std::net::IpAddr>().is_ok();
    let name = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if address || (name && bare == text) {
        return Ok(bare.to_owned());
    }
    Err("an address or a host name, such as 127.0.0.1, ::1 or localhost (the port goes into --port)".to_owned())
}

/// The path of an endpoint, without a slash at its end: requests match with and without one.
pub(super) fn path(text: &str) -> Result<String, Wanted> {
    let plain = text.starts_with('/')
        && !text.contains(['?', '#'])
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.parse::<http::uri::PathAndQuery>().is_ok();
    if !plain {
        return Err("a path that starts with /, such as /mcp, without ?, # or blanks".to_owned());
    }
    let text = text.strip_suffix('/').filter(|text| !text.is_empty()).unwrap_or(text);
    let own = matches!(text, "/healthz" | "/readyz" | "/metrics" | "/servers" | "/status.json");
    if own || text.starts_with("/servers/") || text.starts_with("/.well-known/") {
        let wanted = "another path: /healthz, /readyz, /metrics, /status.json and what is under /servers and /.well-known are mcp-mux's own";
        return Err(wanted.to_owned());
    }
    Ok(text.to_owned())
}

/// A command in one string.
pub(super) fn command_line(text: &str) -> Result<Vec<String>, Wanted> {
    let words = shlex::split(text).ok_or("a command whose quotes are closed")?;
    command(words)
}

/// A command as words.
pub(super) fn command(words: Vec<String>) -> Result<Vec<String>, Wanted> {
    if words.first().is_none_or(String::is_empty) {
        return Err("a command that starts with a program, such as `python3 server.py`".to_owned());
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err("a command without NUL bytes".to_owned());
    }
    Ok(words)
}

/// A variable for the child.
pub(super) fn variable(text: &str) -> Result<(String, Secret), Wanted> {
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        return Err("NAME=VALUE".to_owned());
    };
    if text.contains('\0') {
        return Err("NAME=VALUE without NUL bytes".to_owned());
    }
    if name.starts_with("MCP_MUX_") {
        return Err("a name that does not start with MCP_MUX_: those are mcp-mux's own".to_owned());
    }
    Ok((name.to_owned(), Secret::new(value.to_owned())))
}

/// A header that becomes a variable.
pub(super) fn header_env(text: &str) -> Result<HeaderEnv, Wanted> {
    let form = || "HEADER=VARIABLE, such as X-Api-Key=API_KEY".to_owned();
    let (header, variable) = text.split_once('=').ok_or_else(form)?;
    let header = header.trim().parse().map_err(|_| form())?;
    Ok(HeaderEnv { header, variable: foreign_variable(variable)? })
}

/// The name of a variable whose value comes from the network.
pub(super) fn foreign_variable(variable: &str) -> Result<String, Wanted> {
    let plain = variable.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !plain {
        return Err("a variable of letters, digits and _, such as API_KEY".to_owned());
    }
    if variable.starts_with("MCP_MUX_") {
        return Err("a variable that does not start with MCP_MUX_: those are mcp-mux's own".to_owned());
    }
    if DECIDES_ON_CODE.contains(&variable) || DECIDES_ON_CODE_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
    {
        return Err(format!("another variable: with {variable} a client could have the server run code of its own"));
    }
    Ok(variable.to_owned())
}

/// The usual variables by which programs find the code that they run: a help against mistakes, not a list of all.
const DECIDES_ON_CODE: [&str; 14] = [
    "PATH",
    "HOME",
    "SHELL",
    "IFS",
    "ENV",
    "BASH_ENV",
    "NODE_OPTIONS",
    "NODE_PATH",
    "RUBYOPT",
    "RUBYLIB",
    "CLASSPATH",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "LUA_PATH",
];
const DECIDES_ON_CODE_PREFIXES: [&str; 6] = ["LD_", "DYLD_", "PYTHON", "PERL5", "JAVA_TOOL_", "GIT_"];

/// A proxy, or a network of them.
pub(super) fn trusted_proxy(text: &str) -> Result<TrustedProxy, Wanted> {
    if text == "unix" {
        return Ok(TrustedProxy::Unix);
    }
    let network =
        text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(|one| one.to_canonical().into()));
    network
        .map(|network| TrustedProxy::Network(network.trunc()))
        .ok_or_else(|| "an address or a network, such as 10.0.0.7 or 10.0.0.0/8, or unix".to_owned())
}

/// The header of `--forwarded-header`.
pub(super) fn forwarded_header(text: &str) -> Result<ForwardedHeader, Wanted> {
    match text.trim() {
        "x-forwarded" => Ok(ForwardedHeader::XForwarded),
        "forwarded" => Ok(ForwardedHeader::Forwarded),
        _ => Err("x-forwarded or forwarded".to_owned()),
    }
}

/// The URL of a server, without a slash at its end.
pub(super) fn base_url(text: &str) -> Result<String, Wanted> {
    let wanted = || "a URL such as https://mcp.example.com, without ? and #".to_owned();
    let text = text.trim().trim_end_matches('/');
    let url = text.parse::<http::Uri>().map_err(|_| wanted())?;
    let web = matches!(url.scheme_str(), Some("http" | "https"));
    let named = url.authority().is_some_and(|authority| Authority::parse(authority.as_str()).is_some());
    if web && named && url.query().is_none() && !text.contains('#') { Ok(text.to_owned()) } else { Err(wanted()) }
}

/// The rule of `--isolation`.
pub(super) fn isolation(text: &str) -> Result<Isolation, Wanted> {
    match text.trim() {
        "shared" => Ok(Isolation::Shared),
        "principal" => Ok(Isolation::Principal),
        "session" => Ok(Isolation::Session),
        _ => Err("shared, principal or session".to_owned()),
    }
}

/// The rule of `--on-child-exit`.
pub(super) fn on_child_exit(text: &str) -> Result<OnChildExit, Wanted> {
    match text.trim() {
        "restart" => Ok(OnChildExit::Restart),
        "exit" => Ok(OnChildExit::Exit),
        _ => Err("restart or exit".to_owned()),
    }
}

/// The rule of `--tls-client-auth`.
pub(super) fn client_auth(text: &str) -> Result<ClientAuth, Wanted> {
    match text.trim() {
        "required" => Ok(ClientAuth::Required),
        "optional" => Ok(ClientAuth::Optional),
        _ => Err("required or optional".to_owned()),
    }
}

/// The rule of `--child-era`; none: it is found out.
pub(super) fn child_era(text: &str) -> Result<Option<Era>, Wanted> {
    match text.trim() {
        "auto" => Ok(None),
        "legacy" => Ok(Some(Era::Legacy)),
        "modern" => Ok(Some(Era::Modern)),
        _ => Err("auto, legacy or modern".to_owned()),
    }
}

/// The list of `--client-capabilities`.
pub(super) fn capabilities(text: &str) -> Result<DeclaredCapabilities, Wanted> {
    let mut declared = DeclaredCapabilities { roots: false, sampling: false, elicitation: false };
    if text.trim() == "none" {
        return Ok(declared);
    }
    for name in text.split(',') {
        match name.trim() {
            "roots" => declared.roots = true,
            "sampling" => declared.sampling = true,
            "elicitation" => declared.elicitation = true,
            _ => return Err("a list of roots, sampling and elicitation, or none".to_owned()),
        }
    }
    Ok(declared)
}

/// The rule of `--on-ambiguous`.
pub(super) fn on_ambiguous(text: &str) -> Result<OnAmbiguous, Wanted> {
    match text.trim() {
        "reject" => Ok(OnAmbiguous::Reject),
        "serialize" => Ok(OnAmbiguous::Serialize),
        _ => Err("reject or serialize".to_owned()),
    }
}

/// The format of `--log-format`.
pub(super) fn log_format(text: &str) -> Result<LogFormat, Wanted> {
    match text.trim() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("text or json".to_owned()),
    }
}

/// Where `--access-log` goes.
pub(super) fn access_log(text: &str) -> Result<AccessLogTo, Wanted> {
    match text.trim() {
        "off" => Ok(AccessLogTo::Nowhere),
        "on" => Ok(AccessLogTo::Log),
        "" => Err("off, on, or a file".to_owned()),
        file => Ok(AccessLogTo::File(file.into())),
    }
}

/// A filter as `tracing-subscriber` reads it. A bare level is for mcp-mux; the libraries below it say warnings at most.
pub(super) fn log_filter(text: &str) -> Result<String, Wanted> {
    let level = text.trim().to_ascii_lowercase();
    match level.as_str() {
        "off" | "error" | "warn" => return Ok(level),
        "info" | "debug" | "trace" => return Ok(format!("warn,mcp_mux={level}")),
        _ => {}
    }
    // A bare word would be read as a target with everything on: more likely a misspelt level.
    let spelled_out = text.split(',').all(|part| part.contains('=') || part.trim().parse::<tracing::Level>().is_ok());
    let wanted = "off, error, warn, info, debug, trace, or a filter such as mcp_mux=debug,hyper=warn";
    if !spelled_out || EnvFilter::try_new(text).is_err() {
        return Err(wanted.to_owned());
    }
    Ok(text.to_owned())
}
