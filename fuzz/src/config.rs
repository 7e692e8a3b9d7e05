//! What an operator writes: a command line, an environment and a configuration file, and the small grammars in them.
//!
//! | line | |
//! |---|---|
//! | `$NAME=value` | a variable; the prefix `MCP_MUX_` may be left out |
//! | `>text` | a line of the configuration file |
//! | `?text` | a host, an origin or a `Host` header |
//! | anything else | an argument |

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use mcp_mux::cli::Cli;
use mcp_mux::config::allow::{AllowHost, AllowOrigin, Authority, Host, WebOrigin};
use mcp_mux::config::{Config, Isolation};

/// The input is a list of arguments and variables.
pub fn run(data: &[u8]) {
    let mut args = vec![OsString::from("mcp-mux")];
    let mut variables: BTreeMap<String, OsString> = BTreeMap::new();
    let mut file = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        match line.split_first() {
            Some((b'$', variable)) => {
                let at = variable.iter().position(|byte| *byte == b'=').unwrap_or(variable.len());
                let name = String::from_utf8_lossy(&variable[..at]).into_owned();
                let name = if name.starts_with("MCP_MUX_") { name } else { format!("MCP_MUX_{name}") };
                let value = variable.get(at + 1..).unwrap_or_default();
                variables.insert(name, OsString::from_vec(value.to_vec()));
            }
            Some((b'>', text)) => file.extend_from_slice(&[text, b"\n"].concat()),
            Some((b'?', text)) => check_names(&String::from_utf8_lossy(text)),
            Some(_) => args.push(OsString::from_vec(line.to_vec())),
            None => {}
        }
    }
    // Files of this machine are none of the input's business, and some would keep it waiting.
    args.retain(|arg| !arg.to_string_lossy().starts_with("--config"));
    variables.remove("MCP_MUX_CONFIG");
    if file.is_empty() {
        return load(&args, &variables, None);
    }
    let path = std::env::temp_dir().join(format!("mcp-mux-fuzz-{}", std::process::id()));
    fs::write(&path, &file).unwrap_or_else(|error| panic!("{error}"));
    let mut config = OsString::from("--config=");
    config.push(&path);
    args.insert(1, config);
    load(&args, &variables, Some(&path));
    fs::remove_file(&path).unwrap_or_else(|error| panic!("{error}"));
}

/// Whatever is typed comes to a configuration, or to an error that says what is wrong and no secret.
fn load(args: &[OsString], variables: &BTreeMap<String, OsString>, file: Option<&Path>) {
    let secret = variables.get("MCP_MUX_AUTH_TOKENS").and_then(|value| value.to_str());
    // So long that it can be nothing else, and typed nowhere else.
    let elsewhere = |secret: &str| {
        let of_args = args.iter().any(|arg| arg.to_string_lossy().contains(secret));
        let of_variables = variables.iter().filter(|(name, _)| *name != "MCP_MUX_AUTH_TOKENS");
        of_args || of_variables.into_iter().any(|(_, value)| value.to_string_lossy().contains(secret))
    };
    let secret = secret.filter(|secret| secret.len() >= 12 && !elsewhere(secret));
    let shows_secret = |text: &str| secret.is_some_and(|secret| text.contains(secret));

    let cli = match Cli::read(args.iter().cloned(), |name| variables.get(name).cloned()) {
        Ok(cli) => cli,
        Err(error) => {
            assert!(!shows_secret(&error.to_string()) && !error.to_string().is_empty());
            return assert!([0, 2].contains(&error.exit_code()));
        }
    };
    assert!(!shows_secret(&format!("{cli:?}")));
    match Config::load(cli) {
        Ok(config) => {
            assert!(!shows_secret(&format!("{config:?}")));
            check(&config);
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            for problem in errors.problems() {
                let of_file = file.is_some_and(|file| problem.origin.starts_with(&file.display().to_string()));
                let of_others = ["--", "MCP_MUX_", "the command after --"];
                assert!(of_file || of_others.iter().any(|way| problem.origin.starts_with(way)), "{problem}");
                assert!(!problem.wanted.is_empty(), "{problem}");
            }
            assert!(!shows_secret(&errors.to_string()));
        }
    }
}

/// What every part of the program takes for granted.
fn check(config: &Config) {
    let paths = [&config.http.path, &config.http.sse_path, &config.http.message_path];
    for (at, path) in paths.into_iter().enumerate() {
        assert!(path.starts_with('/') && path.parse::<http::Uri>().is_ok_and(|uri| uri.path() == path), "{path:?}");
        assert!(paths.iter().take(at).all(|other| *other != path), "two have the path {path:?}");
    }
    let [server] = config.servers.servers.as_slice() else { panic!("one server") };
    assert!(server.child.command.first().is_some_and(|program| !program.is_empty()));
    assert!(!server.endpoint.body_timeout.is_zero() && !server.endpoint.keep_alive.is_zero());
    assert!(server.endpoint.body_bytes_max > 0 && server.endpoint.body_bytes_max <= server.child.queue_bytes_max);
    assert!(server.router.request_timeout.zip(server.router.request_timeout_max).is_none_or(|(one, all)| one <= all));
    assert!(server.pool.warm == 0 || server.pool.isolation == Isolation::Session);
    assert!(server.pool.size.get() == 1 || server.pool.isolation == Isolation::Shared);
    for name in server.child.env.keys().chain(server.pool.header_env.iter().map(|one| &one.variable)) {
        assert!(!name.is_empty() && !name.contains(['=', '\0']) && !name.starts_with("MCP_MUX_"), "{name:?}");
    }
    if let Some(url) = &config.http.public_url {
        let uri = url.parse::<http::Uri>().unwrap_or_else(|error| panic!("{url:?}: {error}"));
        assert!(matches!(uri.scheme_str(), Some("http" | "https")) && !url.ends_with('/') && uri.query().is_none());
    }
}

/// Two spellings of one thing are one value, and what is not a plain host or origin has none.
fn check_names(text: &str) {
    if let Some(authority) = Authority::parse(text) {
        let spelled = spell(&authority.host, authority.port);
        assert_eq!(Authority::parse(&spelled).as_ref(), Some(&authority), "{text:?} became {spelled:?}");
        assert_eq!(Authority::parse(&text.to_ascii_uppercase()).as_ref(), Some(&authority), "{text:?}");
        assert!(!text.contains(['/', '@', '?', '#', '\\', ' ', ',', '*', '%']), "{text:?} is no plain host");
        assert_eq!(AllowHost::parse(text), Some(AllowHost::Host(authority)));
    }
    if let Some(origin) = WebOrigin::parse(text) {
        let spelled = format!("{}://{}", origin.scheme, spell(&origin.host, origin.port));
        assert_eq!(WebOrigin::parse(&spelled).as_ref(), Some(&origin), "{text:?} became {spelled:?}");
        assert_eq!(WebOrigin::parse(&text.to_ascii_uppercase()).as_ref(), Some(&origin), "{text:?}");
        assert_eq!(AllowOrigin::parse(text), Some(AllowOrigin::Origin(origin)));
    }
}

fn spell(host: &Host, port: Option<u16>) -> String {
    if let Host::Name(name) = host {
        assert!(!name.is_empty() && !name.ends_with('.') && !name.contains(char::is_uppercase), "{name:?}");
    }
    let host = match host {
        Host::Name(name) => name.clone(),
        Host::Ip(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        Host::Ip(address) => address.to_string(),
    };
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}
