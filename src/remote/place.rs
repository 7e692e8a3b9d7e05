//! Where requests may go: one origin, whatever a server says.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// What a server refers to, seen from a URL of its own; none where that is another origin, or no URL.
///
/// # Origins
/// Scheme, host and port (RFC 6454, 4), where the port is the scheme's own if none is named.
pub(super) fn refer(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.trim();
    let reference = reference.split('#').next().unwrap_or(reference);
    let target = if reference.contains("://") {
        reference.parse().ok()?
    } else if let Some(rest) = reference.strip_prefix("//") {
        format!("{}://{rest}", base.scheme_str()?).parse().ok()?
    } else {
        let path = base.path();
        let folder = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
        let path = match reference.chars().next() {
            Some('/') => reference.to_owned(),
            Some('?') => format!("{path}{reference}"),
            Some(_) => format!("{folder}{reference}"),
            None => return Some(base.clone()),
        };
        let mut parts = base.clone().into_parts();
        parts.path_and_query = Some(without_dots(&path).parse::<PathAndQuery>().ok()?);
        Uri::from_parts(parts).ok()?
    };
    same_origin(base, &target).then_some(target)
}

/// Whether two URLs are of the same origin.
fn same_origin(one: &Uri, other: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let authority = uri.authority()?;
        let plain = !authority.as_str().contains('@');
        plain.then(|| (uri.scheme().cloned(), authority.host().to_ascii_lowercase(), port(uri.scheme(), authority)))
    };
    origin(one).is_some() && origin(one) == origin(other)
}

fn port(scheme: Option<&Scheme>, authority: &Authority) -> Option<u16> {
    let usual = if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 };
    authority.port_u16().or(Some(usual))
}

/// RFC 3986, 5.2.4, of a path that may have a query.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            segment => segments.push(segment),
        }
    }
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    format!("/{}{query}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_stay_within_the_origin() {
        let base: Uri = "https://example.com/a/sse?x=1".parse().expect("a URL");
        for (reference, target) in [
            ("/messages?sessionId=1", Some("https://example.com/messages?sessionId=1")),
            ("messages?sessionId=/../", Some("https://example.com/a/messages?sessionId=/../")),
            ("../messages", Some("https://example.com/messages")),
            ("./../../b/.", Some("https://example.com/b/")),
            ("?s=1", Some("https://example.com/a/sse?s=1")),
            ("", Some("https://example.com/a/sse?x=1")),
            ("https://EXAMPLE.com:443/m#f", Some("https://EXAMPLE.com:443/m")),
            ("//example.com/m", Some("https://example.com/m")),
            ("http://example.com/m", None),
            ("https://example.com:444/m", None),
            ("https://example.org/m", None),
            ("//example.org/m", None),
            ("https://user@example.com/m", None),
            ("/with blank", None),
        ] {
            assert_eq!(refer(&base, reference).map(|uri| uri.to_string()).as_deref(), target, "{reference}");
        }
    }
}
