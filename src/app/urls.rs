//! The URLs as a client on this machine can use them.
//!
//! A unix socket has one too, in the spelling that clients who know such URLs share: `http+unix`, and as the host the path,
//! percent-encoded.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::config::HttpConfig;
use crate::http::listener::{Bound, Listener};
use crate::http::peer::Reach;
use crate::http::status_page::Desk;

/// Those of one socket, of each server below one of `mounts`: Streamable HTTP, then HTTP+SSE. None for a socket that is nowhere in
/// the file system.
pub(super) fn urls(scheme: &str, bound: &Bound, http: &HttpConfig, mounts: &[String]) -> Vec<String> {
    base(scheme, bound).map(|base| below(&base, http, mounts)).unwrap_or_default()
}

/// The same for where clients see mcp-mux.
pub(super) fn below(base: &str, http: &HttpConfig, mounts: &[String]) -> Vec<String> {
    let of_one = |mount: &String| [&http.path, &http.sse_path].map(|path| format!("{base}{mount}{path}"));
    mounts.iter().flat_map(of_one).collect()
}

/// Where the status page is.
pub(super) fn status_urls(scheme: &str, listener: &Listener, desk: Desk) -> Vec<String> {
    let has_page = |bound: &&Bound| desk == Desk::Apart || bound.reach() == Reach::Machine;
    listener.bound().filter(has_page).filter_map(|bound| Some(format!("{}/", base(scheme, bound)?))).collect()
}

fn base(scheme: &str, bound: &Bound) -> Option<String> {
    Some(match bound {
        Bound::Tcp { host, address } => format!("{scheme}://{}", authority(host.as_deref(), *address)),
        Bound::Unix(Some(path)) => format!("http+unix://{}", encoded(path)),
        Bound::Unix(None) => return None,
    })
}

fn authority(host: Option<&str>, local: SocketAddr) -> String {
    let name = host.filter(|host| host.parse::<IpAddr>().is_err());
    if local.ip().is_unspecified() {
        let loopback = if local.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        SocketAddr::new(loopback, local.port()).to_string()
    } else if let Some(name) = name {
        // A name is printed as given: the guard lets it in, and it is what the operator wants clients to use.
        format!("{name}:{}", local.port())
    } else {
        local.to_string()
    }
}

/// From the root: a client may be in another folder.
fn encoded(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> HttpConfig {
        HttpConfig {
            path: "/mcp".to_owned(),
            sse_path: "/sse".to_owned(),
            message_path: "/messages".to_owned(),
            header_bytes_max: 1,
            headers_max: std::num::NonZeroUsize::MIN,
            forwarded: crate::config::ForwardedConfig::default(),
            public_url: None,
        }
    }

    #[test]
    fn urls_are_usable_on_this_machine() {
        for (host, local, expected) in [
            (Some("127.0.0.1"), "127.0.0.1:8000", "127.0.0.1:8000"),
            (Some("::1"), "[::1]:8000", "[::1]:8000"),
            (Some("0.0.0.0"), "0.0.0.0:9", "127.0.0.1:9"),
            (Some("::"), "[::]:9", "[::1]:9"),
            (None, "[::]:9", "[::1]:9"),
            (Some("localhost"), "127.0.0.1:8000", "localhost:8000"),
            (Some("10.0.0.7"), "10.0.0.7:1", "10.0.0.7:1"),
            (None, "10.0.0.7:1", "10.0.0.7:1"),
        ] {
            for scheme in ["http", "https"] {
                let bound = Bound::Tcp { host: host.map(str::to_owned), address: local.parse().unwrap() };
                let expected = ["mcp", "sse"].map(|path| format!("{scheme}://{expected}/{path}"));
                assert_eq!(urls(scheme, &bound, &http(), &[String::new()]), expected);
            }
        }
    }

    #[test]
    fn the_url_of_a_unix_socket_has_its_path_for_a_host_and_is_never_https() {
        let of = |path: &str| urls("https", &Bound::Unix(Some(path.into())), &http(), &[String::new()]);
        assert_eq!(of("/run/a b.sock"), ["mcp", "sse"].map(|path| format!("http+unix://%2Frun%2Fa%20b.sock/{path}")));
        assert!(of("a.sock")[0].starts_with("http+unix://%2F"));
        assert!(urls("http", &Bound::Unix(None), &http(), &[String::new()]).is_empty());
    }
    #[test]
    fn each_of_several_servers_has_its_own() {
        let bound = Bound::Tcp { host: None, address: "127.0.0.1:1".parse().unwrap() };
        let mounts = ["/servers/a".to_owned(), "/servers/b".to_owned()];
        let expected = ["a/mcp", "a/sse", "b/mcp", "b/sse"].map(|path| format!("http://127.0.0.1:1/servers/{path}"));
        assert_eq!(urls("http", &bound, &http(), &mounts), expected);
    }
}
