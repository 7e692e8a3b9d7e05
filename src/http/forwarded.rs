//! What a request says of the way it came, where a proxy that is trusted says so: the client's address, and the scheme,
//! the host and the path prefix that the client used.
//!
//! Invariant: nothing is believed from anybody but the connection's other end, if that is a trusted proxy, and of what it
//! passes on, only what trusted proxies added: the last address that is none of theirs is the client's.
//!
//! Spec: RFC 7239; the `X-Forwarded-*` headers have none.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};

use super::peer::Peer;
use crate::auth::Remote;
use crate::config::allow::Authority;
use crate::config::{ForwardedConfig, ForwardedHeader};

/// The way a request came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The client.
    pub(super) client: Remote,
    /// What the client addressed, where a proxy says so.
    pub(super) host: Option<String>,
    /// Whether the client's own connection is encrypted.
    pub(super) https: bool,
    /// What stands before this server's own paths; empty, or with a slash at its beginning and none at its end.
    pub(super) prefix: String,
}

impl Way {
    /// Of a request with these headers on that connection.
    pub(super) fn of(config: &ForwardedConfig, peer: &Peer, headers: &HeaderMap) -> Self {
        let remote = peer.ends.remote().to_canonical();
        let direct = Self { client: remote, host: None, https: peer.is_encrypted(), prefix: String::new() };
        let trusted = match remote {
            Remote::Address(address) => config.trusts(address),
            Remote::User(_) => config.trusts_unix(),
        };
        if !trusted {
            return direct;
        }
        let hops = match config.header {
            ForwardedHeader::XForwarded => x_forwarded(headers),
            ForwardedHeader::Forwarded => forwarded(headers),
        };
        let hop = hops.last().cloned().unwrap_or_default();
        // From the last to the first: each was added by the one after it, which is trusted.
        let mut client = remote;
        for hop in hops.iter().rev() {
            let Some(address) = hop.client else { break };
            client = Remote::Address(address);
            if !config.trusts(address) {
                break;
            }
        }
        Self {
            client,
            host: hop.host.filter(|host| Authority::parse(host).is_some()),
            https: hop.https.unwrap_or(direct.https),
            prefix: prefix(headers),
        }
    }
}

/// What one proxy said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hop {
    client: Option<IpAddr>,
    host: Option<String>,
    https: Option<bool>,
}

/// Elements of a list header, over all its lines.
fn elements<'a>(headers: &'a HeaderMap, name: &'static str) -> impl DoubleEndedIterator<Item = &'a str> {
    // One that is not text hides those before it: an empty element is no address.
    let lines = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    lines.collect::<Vec<_>>().into_iter().flat_map(|line| line.split(',').map(str::trim))
}

/// The nearest proxy speaks last, in each of these headers.
fn x_forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let mut hops: Vec<Hop> =
        elements(headers, "x-forwarded-for").map(|text| Hop { client: address(text), ..Hop::default() }).collect();
    if hops.is_empty() {
        hops.push(Hop::default());
    }
    if let Some(last) = hops.last_mut() {
        last.https = elements(headers, "x-forwarded-proto").next_back().and_then(scheme);
        last.host = elements(headers, "x-forwarded-host").next_back().map(str::to_owned);
    }
    hops
}

fn forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let mut hops = Vec::new();
    for value in headers.get_all("forwarded") {
        let text = value.to_str().unwrap_or_default();
        let Some(elements) = outside_quotes(text, ',') else {
            // An open quote could have swallowed what proxies added: nothing before its end is theirs for certain.
            hops.push(Hop::default());
            continue;
        };
        for element in elements {
            let mut hop = Hop::default();
            let mut clients = 0;
            for pair in outside_quotes(element, ';').unwrap_or_default() {
                let Some((name, value)) = pair.split_once('=') else { continue };
                let value = unquoted(value.trim());
                match name.trim().to_ascii_lowercase().as_str() {
                    "for" => {
                        clients += 1;
                        // Said twice, it is not said (RFC 7239, 4).
                        hop.client = address(&value).filter(|_| clients == 1);
                    }
                    "host" => hop.host = Some(value),
                    "proto" => hop.https = scheme(&value),
                    _ => {}
                }
            }
            hops.push(hop);
        }
    }
    hops
}

/// The parts between separators that do not stand in a quoted string; none if such a string does not end.
fn outside_quotes(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|char: char| {
        let separates = char == separator && !quoted;
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        separates
    });
    let parts = parts.collect();
    (!quoted).then_some(parts)
}

fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return text.to_owned() };
    let mut escaped = false;
    inner
        .chars()
        .filter(|char| {
            escaped = *char == '\\' && !escaped;
            !escaped
        })
        .collect()
}

fn scheme(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "https" => Some(true),
        "http" => Some(false),
        _ => None,
    }
}

/// An address, with or without a port, an IPv6 one with or without brackets; none for `unknown` and names made up.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

/// `X-Forwarded-Prefix`, if it is a plain path.
fn prefix(headers: &HeaderMap) -> String {
    let value = headers.get_all("x-forwarded-prefix").iter().next_back().map(HeaderValue::to_str);
    let Some(Ok(text)) = value else { return String::new() };
    let text = text.trim().trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    // Clients would resolve `.` and `..`, and so leave what stands before them.
    let whole = text.split('/').skip(1).all(|segment| !matches!(segment, "" | "." | ".."));
    let path = text.starts_with('/') && whole && text.len() <= PREFIX_BYTES_MAX;
    if path && text.bytes().all(plain) { text.to_owned() } else { String::new() }
}

const PREFIX_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrustedProxy;
    use crate::http::peer::{Ends, Process};

    fn way(trusted: &[&str], header: ForwardedHeader, remote: &str, pairs: &[(&'static str, &str)]) -> Way {
        let network = |text: &&str| match *text {
            "unix" => TrustedProxy::Unix,
            text => TrustedProxy::Network(text.parse().expect("a network")),
        };
        let config = ForwardedConfig { trusted: trusted.iter().map(network).collect(), header };
        let local = SocketAddr::from(([127, 0, 0, 1], 8000));
        let peer = Peer::new(match remote.strip_prefix("uid ") {
            Some(uid) => Ends::Unix(Process { uid: uid.parse().expect("a number"), pid: Some(9) }),
            None => Ends::Tcp { local, remote: SocketAddr::new(remote.parse().expect("one"), 9) },
        });
        let headers =
            pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        Way::of(&config, &peer, &headers.collect())
    }

    #[test]
    fn a_process_of_this_machine_is_believed_only_where_unix_sockets_are_trusted() {
        assert_eq!(client(&["unix"], "uid 33", "192.0.2.1"), "192.0.2.1");
        assert_eq!(client(&["unix", "10.0.0.0/8"], "uid 33", "192.0.2.1, 10.0.0.1"), "192.0.2.1");
        assert_eq!(client(&["0.0.0.0/0", "::/0"], "uid 33", "192.0.2.1"), "uid 33");
        assert_eq!(client(&["unix"], "10.0.0.1", "192.0.2.1"), "10.0.0.1");
        assert_eq!(x(&["unix"], "uid 33", &[]).client.to_string(), "uid 33");
        assert!(x(&["unix"], "uid 33", &[("x-forwarded-proto", "https")]).https);
    }

    fn x(trusted: &[&str], remote: &str, pairs: &[(&'static str, &str)]) -> Way {
        way(trusted, ForwardedHeader::XForwarded, remote, pairs)
    }

    fn client(trusted: &[&str], remote: &str, forwarded_for: &str) -> String {
        x(trusted, remote, &[("x-forwarded-for", forwarded_for)]).client.to_string()
    }

    #[test]
    fn nothing_is_believed_from_anyone_who_is_not_trusted() {
        let all = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-prefix", "/evil"),
            ("forwarded", "for=1.2.3.4;proto=https;host=evil.example"),
        ];
        for header in [ForwardedHeader::XForwarded, ForwardedHeader::Forwarded] {
            for trusted in [&[][..], &["10.0.0.0/8"], &["192.0.2.7/32"]] {
                let found = way(trusted, header, "192.0.2.8", &all);
                let expected = Way {
                    client: Remote::Address([192, 0, 2, 8].into()),
                    host: None,
                    https: false,
                    prefix: String::new(),
                };
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn the_client_is_the_last_that_is_no_trusted_proxy() {
        let trusted = ["10.0.0.0/8", "fd00::/8", "::1/128"];
        for (remote, forwarded_for, expected) in [
            ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "6.6.6.6, 192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "6.6.6.6, 192.0.2.1, 10.9.9.9", "192.0.2.1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
            ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
            ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
            ("::ffff:10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
            ("::1", "fd00::1", "fd00::1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.1, unknown", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.1,", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.1, 10.0.0.2, nonsense, 10.0.0.3", "10.0.0.3"),
        ] {
            assert_eq!(client(&trusted, remote, forwarded_for), expected, "{remote}, {forwarded_for:?}");
        }
    }

    #[test]
    fn lines_of_a_header_are_one_list_and_what_is_not_text_is_no_address() {
        let found = x(&["10.0.0.0/8"], "10.0.0.1", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1")]);
        assert_eq!(found.client.to_string(), "192.0.2.1");
        let found = x(&["10.0.0.0/8"], "10.0.0.1", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "\u{e9}")]);
        assert_eq!(found.client.to_string(), "10.0.0.1");
    }

    #[test]
    fn scheme_host_and_prefix_are_the_nearest_proxys() {
        let found = x(
            &["10.0.0.1/32"],
            "10.0.0.1",
            &[
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "http, HTTPS"),
                ("x-forwarded-host", "evil.example, mcp.example:8443"),
                ("x-forwarded-prefix", "/tools/"),
            ],
        );
        let host = Some("mcp.example:8443".to_owned());
        assert_eq!(
            found,
            Way { client: Remote::Address([192, 0, 2, 1].into()), host, https: true, prefix: "/tools".to_owned() }
        );
        for (prefix, expected) in [
            ("/", ""),
            ("tools", ""),
            ("//evil.example", ""),
            ("/a b", ""),
            ("/a?b", ""),
            ("/a/b", "/a/b"),
            ("/a//b", ""),
            ("/..", ""),
            ("/a/../b", ""),
            ("/a/./b", ""),
            ("/.a/..b/c...", "/.a/..b/c..."),
            ("/a\"", ""),
        ] {
            let found = x(&["10.0.0.1/32"], "10.0.0.1", &[("x-forwarded-prefix", prefix)]);
            assert_eq!(found.prefix, expected, "{prefix:?}");
        }
        for host in ["", "evil.example/", "a b", "user@host", "[::1"] {
            assert_eq!(x(&["10.0.0.1/32"], "10.0.0.1", &[("x-forwarded-host", host)]).host, None, "{host:?}");
        }
    }

    // spec: RFC 7239, 4 and 6
    #[test]
    fn forwarded_is_read_with_its_quotes() {
        let trusted = ["10.0.0.0/8"];
        for (value, expected) in [
            ("for=192.0.2.1;proto=https;host=mcp.example", "192.0.2.1 true mcp.example"),
            ("For=\"[2001:db8::1]:4711\"; Proto=HTTP", "2001:db8::1 false -"),
            ("for=6.6.6.6, for=192.0.2.1;host=\"mcp.example:1\"", "192.0.2.1 false mcp.example:1"),
            ("for=\"a,for=6.6.6.6\", for=192.0.2.1", "192.0.2.1 false -"),
            ("for=\"6.6.6.6\\\", for=192.0.2.1\"", "10.0.0.1 false -"),
            // What a client sent, and what its proxy added on the same line.
            ("for=6.6.6.6;x=\", for=192.0.2.1", "10.0.0.1 false -"),
            ("for=6.6.6.6;host=\"evil.example, for=192.0.2.1", "10.0.0.1 false -"),
            ("for=6.6.6.6;for=192.0.2.1", "10.0.0.1 false -"),
            ("for=192.0.2.1, for=_hidden", "10.0.0.1 false -"),
            ("for=192.0.2.1, for=unknown", "10.0.0.1 false -"),
            ("proto=https", "10.0.0.1 true -"),
            ("", "10.0.0.1 false -"),
        ] {
            let found = way(&trusted, ForwardedHeader::Forwarded, "10.0.0.1", &[("forwarded", value)]);
            let shown = format!("{} {} {}", found.client, found.https, found.host.as_deref().unwrap_or("-"));
            assert_eq!(shown, expected, "{value:?}");
        }
        // The other headers say nothing then.
        let other = [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=192.0.2.1")];
        let found = way(&trusted, ForwardedHeader::Forwarded, "10.0.0.1", &other);
        assert_eq!(found.client.to_string(), "192.0.2.1");
    }
}
