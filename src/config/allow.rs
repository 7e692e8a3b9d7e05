//! Hosts and web origins as they are compared: the entries of `--allow-host` and `--allow-origin`, and what the `Host`
//! and `Origin` headers say.
//!
//! Invariant: two spellings of one host or origin (case, a trailing dot, a default port, an IPv4 address inside an IPv6
//! one) are equal values; what is not a plain host or origin has no value.

use std::net::IpAddr;

/// An entry of `--allow-host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowHost {
    /// `*`: every host.
    Any,
    /// This host; with a port, on this port alone.
    Host(Authority),
}

impl AllowHost {
    /// An entry as it is written; none if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" { Some(Self::Any) } else { Authority::parse(text).map(Self::Host) }
    }
}

/// An entry of `--allow-origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowOrigin {
    /// `*`: every origin.
    Any,
    /// `null`: pages without an origin (a local file, a sandboxed frame).
    Null,
    /// This origin.
    Origin(WebOrigin),
}

impl AllowOrigin {
    /// An entry as it is written; none if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::Any),
            "null" => Some(Self::Null),
            _ => WebOrigin::parse(text).map(Self::Origin),
        }
    }
}

/// A host, and a port where one is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: Option<u16>,
}

impl Authority {
    /// `host`, `host:port`, `[::1]:port`; none for anything else (RFC 9112, 3.2: `uri-host [ ":" port ]`).
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
            let (address, rest) = bracketed.split_once(']')?;
            let host = Host::Ip(address.parse::<std::net::Ipv6Addr>().map(IpAddr::from).ok()?.to_canonical());
            (host, if rest.is_empty() { "" } else { rest.strip_prefix(':')? })
        } else {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            (Host::parse(host)?, port)
        };
        let port = match port {
            "" => None,
            _ if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            _ => return None,
        };
        Some(Self { host, port })
    }
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case, without a trailing dot.
    Name(String),
    /// An address; an IPv4 address inside an IPv6 one is the IPv4 address.
    Ip(IpAddr),
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        // The dot of the root, which clients leave on addresses too.
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
            return Some(Self::Ip(address.into()));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_name = text.split('.').all(|label| !label.is_empty() && label.bytes().all(plain));
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }

    /// Whether it is this machine as seen by itself: `localhost`, `127.0.0.0/8`, `::1`.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Ip(address) => address.is_loopback(),
        }
    }
}

/// A web origin (RFC 6454): scheme, host, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin {
    /// In lower case.
    pub scheme: String,
    /// The host.
    pub host: Host,
    /// The port; the scheme's own where none is written and the scheme is `http` or `https`.
    pub port: Option<u16>,
}

impl WebOrigin {
    /// `scheme://host[:port]`; none for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let plain = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let Authority { host, port } = Authority::parse(authority).filter(|_| plain)?;
        let scheme = scheme.to_ascii_lowercase();
        let port = port.or(match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        });
        Some(Self { scheme, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_host_are_equal() {
        for spellings in [
            &["example.com", "EXAMPLE.com", "example.com.", "example.com:", "Example.Com.:"][..],
            &["127.0.0.1", "127.0.0.1.", "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]"],
            &["localhost:80", "LOCALHOST.:080"],
        ] {
            let hosts: Vec<_> = spellings.iter().map(|text| Authority::parse(text).expect(text)).collect();
            assert!(hosts.windows(2).all(|pair| pair[0] == pair[1]), "{hosts:?}");
        }
    }

    #[test]
    fn what_is_no_plain_host_has_no_value() {
        for text in ["", ".", "..", "127.0.0.1..", "a..b", ".a", ":80", "a:b", "a:70000", "a b", "a/", "[::1", "[::1]1"]
        {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }
}
