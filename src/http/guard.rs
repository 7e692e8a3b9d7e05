//! Whom the HTTP side answers at all: `Host`, `Origin`, and what a browser has to be told (CORS).
//!
//! Pure. Checked before anything else of a request is looked at: a page of any web site can make a browser send
//! requests to a server on the user's own machine, under a name of its choosing (DNS rebinding). 2025-11-25,
//! Transports, Security Warning 1: "Servers MUST validate the `Origin` header on all incoming connections".
//!
//! Invariant: what is not provably allowed is refused; in doubt (two headers, an unreadable value) it is refused.

use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HOST, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};

use crate::config::GuardConfig;
use crate::config::allow::{AllowHost, AllowOrigin, Authority, Host, WebOrigin};
use crate::error::Reject;

/// Decides whom the HTTP side answers.
#[derive(Clone, Debug)]
pub struct Guard {
    config: GuardConfig,
}

/// What a response has to say for the browser that asked for it to let its page read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The allowed origin as it was sent; none when the client is no browser.
    origin: Option<HeaderValue>,
}

impl Guard {
    /// A guard with these rules.
    pub const fn new(config: GuardConfig) -> Self {
        Self { config }
    }

    /// Checks a request's `Host` (or the authority of its URI), what a trusted proxy says it was, and `Origin`. `local` is
    /// the address of this side of the connection; a unix socket has none.
    ///
    /// # Errors
    /// [`Reject::HostMissing`], [`Reject::HostForbidden`], [`Reject::OriginForbidden`].
    pub fn check(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        local: Option<IpAddr>,
        forwarded: Option<&str>,
    ) -> Result<Cors, Reject> {
        self.check_host(headers, uri, local, forwarded)?;
        self.check_origin(headers)
    }

    /// Every name the request gives must be allowed, and there must be one: `Host` in HTTP/1.1 (RFC 9112, 3.2), the
    /// authority in HTTP/2, perhaps both.
    fn check_host(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        local: Option<IpAddr>,
        forwarded: Option<&str>,
    ) -> Result<(), Reject> {
        let mut named = headers.get_all(HOST).iter().map(|value| value.to_str().ok());
        let host = named.next();
        let authority = uri.authority().map(|authority| Some(authority.as_str()));
        let several = named.next().is_some();
        let names = [host, authority];
        let allowed = |name: Option<&str>| {
            name.and_then(Authority::parse).is_some_and(|authority| self.admits_host(&authority, local))
        };
        if several || names == [None, None] {
            return Err(Reject::HostMissing);
        }
        if names.into_iter().chain([forwarded.map(Some)]).flatten().all(allowed) {
            Ok(())
        } else {
            Err(Reject::HostForbidden)
        }
    }

    fn admits_host(&self, authority: &Authority, local: Option<IpAddr>) -> bool {
        let Authority { host, port } = authority;
        host.is_loopback()
            || local.is_some_and(|local| *host == Host::Ip(local.to_canonical()))
            || self.config.allow_host.iter().any(|allowed| match allowed {
                AllowHost::Any => true,
                // Clients leave out the port where it is the default of their scheme.
                AllowHost::Host(allowed) => {
                    let same_port = match (allowed.port, port) {
                        (None, _) | (Some(80 | 443), None) => true,
                        (expected, port) => expected == *port,
                    };
                    allowed.host == *host && same_port
                }
            })
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<Cors, Reject> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            // A page's request that its browser sends without Origin since the page cannot read the answer (Fetch, no-cors).
            return if is_of_a_foreign_page(headers) && !self.config.allow_origin.contains(&AllowOrigin::Any) {
                Err(Reject::OriginForbidden)
            } else {
                Ok(Cors { origin: None })
            };
        };
        let admitted = origins.next().is_none() && origin.to_str().is_ok_and(|origin| self.admits_origin(origin));
        if admitted { Ok(Cors { origin: Some(origin.clone()) }) } else { Err(Reject::OriginForbidden) }
    }

    fn admits_origin(&self, text: &str) -> bool {
        let origin = WebOrigin::parse(text);
        let loopback =
            |origin: &WebOrigin| matches!(origin.scheme.as_str(), "http" | "https") && origin.host.is_loopback();
        origin.as_ref().is_some_and(loopback)
            || self.config.allow_origin.iter().any(|allowed| match allowed {
                AllowOrigin::Any => true,
                AllowOrigin::Null => text == "null",
                AllowOrigin::Origin(allowed) => origin.as_ref() == Some(allowed),
            })
    }

    /// The same for what is for operators, which a page of another origin may not read, not even one that may use the server. For
    /// the own page, wherever it is reached, nothing has to be said. (Browsers say where the page's scripts are from.)
    ///
    /// # Errors
    /// As [`Guard::check`].
    pub fn check_own(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        local: Option<IpAddr>,
        forwarded: Option<&str>,
    ) -> Result<Cors, Reject> {
        self.check_host(headers, uri, local, forwarded)?;
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let names = [host, uri.authority().map(|authority| authority.as_str()), forwarded];
        let is_own = |origin: &HeaderValue| {
            let origin = origin.to_str().ok().and_then(WebOrigin::parse);
            origin.is_some_and(|origin| {
                // As the browser spelled it: with the same scheme, since that of a proxy is not known.
                let of_name = |name: &str| WebOrigin::parse(&format!("{}://{name}", origin.scheme));
                names.iter().flatten().any(|name| of_name(name).as_ref() == Some(&origin))
            })
        };
        let mut origins = headers.get_all(ORIGIN).iter();
        let admitted = match (origins.next(), origins.next()) {
            (None, _) => !is_of_a_foreign_page(headers),
            (Some(origin), None) => is_own(origin),
            (Some(_), Some(_)) => false,
        };
        if admitted { Ok(Cors { origin: None }) } else { Err(Reject::OriginForbidden) }
    }

    /// The answer to `OPTIONS`: to a browser that asks what its page may send (Fetch, CORS-preflight request), or to
    /// anybody else, which methods there are.
    pub fn preflight(&self, cors: &Cors, headers: &HeaderMap) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        if cors.origin.is_some() && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            cors.apply(answer);
            answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(headers));
            answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        } else {
            cors.apply(answer);
            answer.insert(ALLOW, METHODS);
        }
        response
    }
}

impl Cors {
    /// Adds what the browser wants to see. Every response needs it, an error too.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let Some(origin) = &self.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(VARY, HeaderValue::from_static("Origin"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

/// Whether a browser says that a page of another site asks for this, and not a person who follows a link (Fetch Metadata).
fn is_of_a_foreign_page(headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|said| said == value);
    says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate")
}

/// The headers a page may send: those of the transports, of every revision, and those of the requested ones whose
/// names are open-ended or a tracer's.
fn allowed_headers(headers: &HeaderMap) -> HeaderValue {
    let requested = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|value| value.to_str().ok());
    let names = requested.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse::<HeaderName>().ok());
    let admitted = names.filter(|name| {
        name.as_str().starts_with("mcp-param-") || matches!(name.as_str(), "traceparent" | "tracestate" | "baggage")
    });
    let mut allowed = HEADERS.to_owned();
    for name in admitted.take(REQUESTED_HEADERS_MAX) {
        allowed.push_str(", ");
        allowed.push_str(name.as_str());
    }
    HeaderValue::try_from(allowed).unwrap_or(const { HeaderValue::from_static(HEADERS) })
}

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
const HEADERS: &str = "Content-Type, Accept, Authorization, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, \
    Mcp-Method, Mcp-Name, X-API-Key";
const EXPOSED: HeaderValue =
    HeaderValue::from_static("Mcp-Session-Id, MCP-Protocol-Version, Retry-After, WWW-Authenticate");
/// A tool has a handful of parameters in headers; a request that asks for more than this is not about them.
const REQUESTED_HEADERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow_host: &[&str], allow_origin: &[&str]) -> Guard {
        Guard::new(GuardConfig {
            allow_host: allow_host.iter().map(|text| AllowHost::parse(text).unwrap()).collect(),
            allow_origin: allow_origin.iter().map(|text| AllowOrigin::parse(text).unwrap()).collect(),
        })
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn check(guard: &Guard, pairs: &[(&'static str, &str)], uri: &str) -> Result<Cors, Reject> {
        guard.check(&headers(pairs), &uri.parse().unwrap(), Some("10.0.0.7".parse().unwrap()), None)
    }

    fn admits_host(guard: &Guard, host: &str) -> bool {
        check(guard, &[("host", host)], "/mcp").is_ok()
    }

    fn admits_origin(guard: &Guard, origin: &str) -> bool {
        check(guard, &[("host", "localhost"), ("origin", origin)], "/mcp").is_ok()
    }

    #[test]
    fn the_own_page_is_own_wherever_it_is_reached_and_no_other_is() {
        let guard = guard(&["mux.example"], &["https://app.example", "*"]);
        let local = Some("192.0.2.2".parse().unwrap());
        let check = |pairs: &[(&'static str, &str)]| guard.check_own(&headers(pairs), &Uri::default(), local, None);
        for (host, origin) in [
            ("mux.example", "https://mux.example"),
            ("mux.example:8443", "https://mux.example:8443"),
            ("MUX.example", "http://mux.example:80"),
            ("192.0.2.2:8000", "http://192.0.2.2:8000"),
            ("localhost:8000", "http://localhost:8000"),
        ] {
            assert_eq!(check(&[("host", host), ("origin", origin)]), Ok(Cors { origin: None }), "{host} {origin}");
        }
        for (host, origin) in [
            ("mux.example", "https://app.example"),
            ("mux.example", "https://mux.example:8443"),
            ("mux.example", "null"),
            ("localhost:8000", "http://localhost:3000"),
            ("localhost:8000", "http://127.0.0.1:8000"),
        ] {
            assert_eq!(check(&[("host", host), ("origin", origin)]), Err(Reject::OriginForbidden), "{host} {origin}");
        }
        let evil = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(check(&evil), Err(Reject::HostForbidden));
        assert_eq!(check(&[("host", "mux.example"), ("sec-fetch-site", "cross-site")]), Err(Reject::OriginForbidden));
        assert_eq!(check(&[("host", "mux.example")]), Ok(Cors { origin: None }));
    }

    #[test]
    fn loopback_names_and_the_connections_own_address_are_allowed_on_any_port() {
        let guard = guard(&[], &[]);
        for host in [
            "localhost",
            "LocalHost:1",
            "localhost.",
            "localhost:",
            "127.0.0.1:8000",
            "127.9.9.9",
            "[::1]:80",
            "[::ffff:127.0.0.1]",
            "10.0.0.7",
            "10.0.0.7:9",
            "[::ffff:10.0.0.7]:9",
        ] {
            assert!(admits_host(&guard, host), "{host}");
        }
    }

    #[test]
    fn any_other_host_is_refused() {
        let guard = guard(&[], &[]);
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil-localhost",
            "sub.localhost",
            "127.0.0.1.evil.example",
            "10.0.0.8",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "[::2]",
            "[::1",
            "::1",
            "[::1]x",
            "[[::1]]",
            "localhost:x",
            "localhost:65536",
            "localhost:+80",
            "localhost:80:80",
            "localhost, localhost",
            "user@localhost",
            "localhost/",
            "localhost..",
        ] {
            assert!(!admits_host(&guard, host), "{host}");
        }
    }

    // A port of a browser's machine may lead to a unix socket: a proxy's, or one that `ssh -L` forwards.
    #[test]
    fn on_a_unix_socket_a_host_is_wanted_as_everywhere() {
        let ask = |guard: &Guard, host: &str| {
            guard.check(&headers(&[("host", host)]), &Uri::from_static("/mcp"), None, None).is_ok()
        };
        let (none, listed) = (guard(&[], &[]), guard(&["mux.example"], &[]));
        assert!(ask(&none, "localhost") && ask(&none, "127.0.0.1:80") && ask(&listed, "mux.example"));
        assert!(!ask(&none, "evil.example") && !ask(&none, "10.0.0.7") && !ask(&none, "%2Frun%2Fmcp-mux.sock"));
    }

    #[test]
    fn exactly_one_host_is_wanted() {
        let guard = guard(&[], &[]);
        assert_eq!(check(&guard, &[], "/mcp"), Err(Reject::HostMissing));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(check(&guard, &twice, "/mcp"), Err(Reject::HostMissing));
        let not_text = HeaderMap::from_iter([(HOST, HeaderValue::from_bytes(b"localhost\xff").unwrap())]);
        assert!(guard.check(&not_text, &Uri::from_static("/"), None, None).is_err());
    }

    #[test]
    fn the_authority_of_the_uri_counts_like_host() {
        let guard = guard(&[], &[]);
        assert!(check(&guard, &[], "http://localhost:8000/mcp").is_ok());
        assert!(check(&guard, &[], "http://evil.example/mcp").is_err());
        assert!(check(&guard, &[("host", "localhost")], "http://evil.example/mcp").is_err());
        assert!(check(&guard, &[("host", "evil.example")], "http://localhost/mcp").is_err());
    }

    #[test]
    fn allowed_hosts_are_compared_without_case_and_with_their_port_if_they_have_one() {
        let guard = guard(&["Mux.Example.com.", "other.example:8443", "tls.example:443", "192.168.1.5"], &[]);
        for host in ["mux.example.com", "MUX.example.com.:1", "other.example:8443", "tls.example", "192.168.1.5:7"] {
            assert!(admits_host(&guard, host), "{host}");
        }
        for host in ["other.example", "other.example:80", "tls.example:444", "x.mux.example.com"] {
            assert!(!admits_host(&guard, host), "{host}");
        }
        assert!(admits_host(&super::tests::guard(&["*"], &[]), "anything.example:1"));
    }

    // spec: 2025-11-25 basic/transports, Security Warning 1
    #[test]
    fn origins_other_than_loopback_are_refused_unless_listed() {
        let none = guard(&[], &[]);
        for origin in ["http://localhost:3000", "https://127.0.0.1", "HTTP://LOCALHOST", "http://[::1]:6274"] {
            assert!(admits_origin(&none, origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "localhost",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://localhost/",
            "http://localhost https://evil.example",
            "ftp://localhost",
            "http://user@localhost",
        ] {
            assert!(!admits_origin(&none, origin), "{origin}");
        }
        let listed = guard(&[], &["https://App.example", "http://plain.example:8080", "null", "vscode-webview://abc"]);
        for origin in [
            "https://app.example",
            "https://app.example:443",
            "http://plain.example:8080",
            "null",
            "vscode-webview://abc",
        ] {
            assert!(admits_origin(&listed, origin), "{origin}");
        }
        for origin in
            ["http://app.example", "https://app.example:8443", "http://plain.example", "https://x.app.example"]
        {
            assert!(!admits_origin(&listed, origin), "{origin}");
        }
        let any = guard(&[], &["*"]);
        assert!(admits_origin(&any, "null") && admits_origin(&any, "https://evil.example"));
    }

    #[test]
    fn what_a_foreign_page_asks_for_without_an_origin_is_refused_too() {
        let ask = |guard: &Guard, site: &'static str, mode: &'static str| {
            check(guard, &[("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)], "/sse")
        };
        let (some, any) = (guard(&[], &["https://app.example"]), guard(&[], &["*"]));
        assert_eq!(ask(&some, "cross-site", "no-cors"), Err(Reject::OriginForbidden));
        assert_eq!(ask(&some, "cross-site", "cors"), Err(Reject::OriginForbidden));
        assert!(ask(&some, "cross-site", "navigate").is_ok() && ask(&any, "cross-site", "no-cors").is_ok());
        assert!(ask(&some, "same-origin", "no-cors").is_ok() && ask(&some, "none", "navigate").is_ok());
    }

    #[test]
    fn two_origins_are_refused() {
        let twice = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://localhost")];
        assert_eq!(check(&guard(&[], &["*"]), &twice, "/"), Err(Reject::OriginForbidden));
    }

    #[test]
    fn a_browser_gets_its_own_origin_back_and_others_get_nothing() {
        let guard = guard(&[], &["*"]);
        let cors = check(&guard, &[("host", "localhost"), ("origin", "https://app.example")], "/mcp").unwrap();
        let mut answer = headers(&[("vary", "accept")]);
        cors.apply(&mut answer);
        assert_eq!(answer["access-control-allow-origin"], "https://app.example");
        assert_eq!(answer.get_all(VARY).iter().collect::<Vec<_>>(), ["accept", "Origin"]);
        let exposed = answer["access-control-expose-headers"].to_str().unwrap();
        assert!(exposed.contains("Mcp-Session-Id") && exposed.contains("MCP-Protocol-Version"));
        assert!(!answer.contains_key("access-control-allow-credentials"));

        let mut answer = HeaderMap::new();
        check(&guard, &[("host", "localhost")], "/mcp").unwrap().apply(&mut answer);
        assert!(answer.is_empty());
    }

    #[test]
    fn preflight_allows_the_headers_of_the_transports_and_nothing_unknown() {
        let guard = guard(&[], &[]);
        let request = [
            ("host", "localhost"),
            ("origin", "http://localhost:6274"),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "content-type, Mcp-Param-Region,traceparent, x-evil, \"bad\", mcp-param-",
            ),
        ];
        let cors = check(&guard, &request, "/mcp").unwrap();
        let answer = guard.preflight(&cors, &headers(&request));
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(answer.headers()["access-control-allow-origin"], "http://localhost:6274");
        assert_eq!(answer.headers()["access-control-allow-methods"], "GET, POST, DELETE, OPTIONS");
        assert_eq!(answer.headers()["access-control-max-age"], "86400");
        let allowed = answer.headers()["access-control-allow-headers"].to_str().unwrap();
        for name in ["Content-Type", "Mcp-Session-Id", "MCP-Protocol-Version", "Last-Event-ID", "Authorization"] {
            assert!(allowed.contains(name), "{name}");
        }
        assert!(allowed.contains("mcp-param-region") && allowed.contains("traceparent"));
        assert!(!allowed.contains("evil") && !allowed.contains("bad"));
    }

    #[test]
    fn options_from_others_than_browsers_names_the_methods() {
        let guard = guard(&[], &[]);
        let answer = guard.preflight(&Cors { origin: None }, &HeaderMap::new());
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(answer.headers()["allow"], "GET, POST, DELETE, OPTIONS");
        assert_eq!(answer.headers().len(), 1);
    }
}
