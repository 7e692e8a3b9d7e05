//! The configuration of `mcp-mux connect`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::allow::Authority;
use super::secret::Secret;
use super::{AccessLogConfig, ConfigErrors, Problem, TelemetryConfig, values};
use crate::cli::ConnectCli;
use crate::mcp::header;

/// Everything that `mcp-mux connect` needs.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// The remote server.
    pub remote: RemoteConfig,
    /// How long requests in flight may go on after the end of stdin.
    pub drain_timeout: Duration,
    /// Logs.
    pub telemetry: TelemetryConfig,
}

/// A remote server.
#[derive(Clone, Debug)]
pub struct RemoteConfig {
    /// Its endpoint: http or https, with a host.
    pub url: Uri,
    /// Sent with every request; marked as sensitive.
    pub headers: HeaderMap,
    /// Where the token is.
    pub token_file: Option<PathBuf>,
    /// How long it is tried to reach the server before a request fails.
    pub retry_timeout: Duration,
    /// The most requests in flight.
    pub in_flight_max: NonZeroUsize,
    /// The largest message, in either direction.
    pub message_bytes_max: usize,
}

impl ConnectConfig {
    /// Turns what was typed into what is used.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(mut cli: ConnectCli) -> Result<Self, ConfigErrors> {
        let mut problems = std::mem::take(&mut cli.problems);
        match read(&cli, &mut problems) {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigErrors(problems)),
        }
    }
}

fn read(cli: &ConnectCli, problems: &mut Vec<Problem>) -> Option<ConnectConfig> {
    let url = endpoint(&cli.url);
    if url.is_none() {
        // There may be a password in it.
        let wanted = "the URL of an MCP endpoint, such as https://example.com/mcp: http or https, without user name, \
                      password and fragment";
        problems.push(Problem { origin: "URL".to_owned(), value: None, wanted: wanted.to_owned() });
    }
    let mut headers = HeaderMap::new();
    for text in &cli.header {
        match read_header(text) {
            Ok((name, value)) => {
                headers.append(name, value);
            }
            // What stands behind the name is a secret, as likely as not.
            Err(wanted) => {
                let name = text.expose().split(':').next().map(str::to_owned);
                problems.push(Problem { origin: cli.origin("header"), value: name, wanted });
            }
        }
    }
    if headers.contains_key(AUTHORIZATION) && cli.auth_token_file.is_some() {
        let wanted = "without Authorization, which the token of --auth-token-file goes into".to_owned();
        problems.push(Problem { origin: cli.origin("header"), value: Some("Authorization".to_owned()), wanted });
    }
    let mut reader = Reader { cli, problems };
    let insecure_http = reader.read("insecure-http", &cli.insecure_http, values::switch);
    let retry_timeout = reader.read("retry-timeout", &cli.retry_timeout, values::duration);
    let in_flight_max = reader.read("in-flight-max", &cli.in_flight_max, values::some_count);
    let message_bytes_max = reader.read("message-bytes-max", &cli.message_bytes_max, values::some_size);
    let log_level = reader.read("log-level", &cli.log_level, values::log_filter);
    let log_format = reader.read("log-format", &cli.log_format, values::log_format);
    let drain_timeout = reader.read("drain-timeout", &cli.drain_timeout, values::duration);

    let has_secrets = !headers.is_empty() || cli.auth_token_file.is_some();
    if has_secrets && insecure_http == Some(false) && url.as_ref().is_some_and(is_open_to_others) {
        let wanted = "one of https: what --header and --auth-token-file say could be read on its way over http \
                      (--insecure-http, if that does no harm)";
        problems.push(Problem { origin: "URL".to_owned(), value: None, wanted: wanted.to_owned() });
    }
    Some(ConnectConfig {
        remote: RemoteConfig {
            url: url?,
            headers,
            token_file: cli.auth_token_file.clone(),
            retry_timeout: retry_timeout?,
            in_flight_max: in_flight_max?,
            message_bytes_max: message_bytes_max?,
        },
        drain_timeout: drain_timeout?,
        telemetry: TelemetryConfig {
            log_level: log_level?,
            log_format: log_format?,
            access: AccessLogConfig::default(),
            traces: None,
        },
    })
}

struct Reader<'a> {
    cli: &'a ConnectCli,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// Reads one value. None means that a problem was recorded.
    fn read<T>(&mut self, flag: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let problem = |wanted| Problem { origin: self.cli.origin(flag), value: Some(text.to_owned()), wanted };
        parse(text).map_err(|wanted| self.problems.push(problem(wanted))).ok()
    }
}

/// A URL that requests can be sent to.
fn endpoint(text: &str) -> Option<Uri> {
    let uri: Uri = text.trim().parse().ok().filter(|_| !text.contains('#'))?;
    Authority::parse(uri.authority()?.as_str())?;
    matches!(uri.scheme_str()?, "http" | "https").then_some(uri)
}

/// Whether others can read what is sent there.
fn is_open_to_others(url: &Uri) -> bool {
    let authority = url.authority().and_then(|authority| Authority::parse(authority.as_str()));
    url.scheme_str() != Some("https") && !authority.is_some_and(|authority| authority.host.is_loopback())
}

fn read_header(text: &Secret) -> Result<(HeaderName, HeaderValue), String> {
    let wanted = || "a header such as X-Api-Key: secret".to_owned();
    let (name, value) = text.expose().split_once(':').ok_or_else(wanted)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wanted())?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wanted())?;
    value.set_sensitive(true);
    let of_connection = [ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING, UPGRADE];
    let of_protocol =
        [header::SESSION_ID, header::PROTOCOL_VERSION, header::METHOD, header::NAME, header::LAST_EVENT_ID];
    if of_connection.contains(&name)
        || of_protocol.contains(&name.as_str())
        || name.as_str().starts_with(header::PARAM_PREFIX)
    {
        return Err(format!("another header: mcp-mux says itself what {name} is"));
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Invocation;

    fn load(args: &[&str], variables: &[(&str, &str)]) -> Result<ConnectConfig, String> {
        let args = ["mcp-mux", "connect"].iter().chain(args).map(Into::into);
        let read = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        match Invocation::read(args, read).expect("it can be read") {
            Invocation::Connect(cli) => ConnectConfig::load(*cli).map_err(|error| error.to_string()),
            Invocation::Serve(_) | Invocation::Check(_) | Invocation::Completions(_) => panic!("it is another one"),
        }
    }

    #[test]
    fn a_url_is_enough() {
        let config = load(&["https://example.com/mcp?x=1"], &[]).expect("valid");
        assert_eq!(config.remote.url, "https://example.com/mcp?x=1");
        assert_eq!(config.remote.retry_timeout, Duration::from_secs(30));
        assert_eq!((config.drain_timeout, config.remote.in_flight_max.get()), (Duration::from_secs(10), 256));
    }

    #[test]
    fn headers_come_from_the_command_line_or_from_the_environment_one_a_line() {
        let typed = load(&["https://a/", "--header", "X-Api-Key: a:b ", "--header=Cookie: c"], &[]).expect("valid");
        assert_eq!(typed.remote.headers["x-api-key"], "a:b");
        assert!(typed.remote.headers.values().all(HeaderValue::is_sensitive));
        let variables = [("MCP_MUX_CONNECT_HEADER", "A: 1\nB: 2\n"), ("MCP_MUX_HEADER", "C: 3")];
        let config = load(&["https://a/"], &variables).expect("valid");
        assert_eq!(
            (&config.remote.headers["a"], &config.remote.headers["b"]),
            (&"1".parse().unwrap(), &"2".parse().unwrap())
        );
        let config = load(&["https://a/", "--header", "D: 4"], &variables).expect("valid");
        assert_eq!(config.remote.headers.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (args, variables, expected) in [
            (&["ftp://example.com/"][..], &[][..], "URL: must be the URL of an MCP endpoint"),
            (&["https://user:secret@example.com/"], &[], "URL: must be the URL of an MCP endpoint"),
            (&["https://a/#secret"], &[], "URL: must be the URL of an MCP endpoint"),
            (&["https://a/", "--header", "X secret"], &[], "--header \"X secret\": must be a header"),
            (&["https://a/", "--header", "Host: secret"], &[], "--header \"Host\": must be another header"),
            (&["https://a/", "--header", "Mcp-Param-x: secret"], &[], "must be another header"),
            (
                &["https://a/"],
                &[("MCP_MUX_CONNECT_RETRY_TIMEOUT", "soon")],
                "MCP_MUX_CONNECT_RETRY_TIMEOUT \"soon\": must be",
            ),
            (
                &["https://a/", "--header", "Authorization: secret", "--auth-token-file", "f"],
                &[],
                "without Authorization",
            ),
            (&["http://example.com/", "--auth-token-file", "f"], &[], "URL: must be one of https"),
            (&["http://example.com/", "--header", "a: secret"], &[], "URL: must be one of https"),
        ] {
            let error = load(args, variables).expect_err("it is wrong");
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret") || expected.contains("secret"), "{error}");
        }
    }

    #[test]
    fn secrets_go_over_http_on_this_machine_or_where_that_is_wanted() {
        for args in [
            &["http://localhost:1/", "--auth-token-file", "f"][..],
            &["http://[::1]/", "--header", "a: b"],
            &["http://example.com/", "--auth-token-file", "f", "--insecure-http"],
            &["http://example.com/"],
        ] {
            assert!(load(args, &[]).is_ok(), "{args:?}");
        }
    }
}
