//! The two formats that the metrics are asked for in.
//!
//! OpenMetrics is for those who ask for it, as Prometheus does; the older text format for all others, as everywhere where there are
//! both: people and `promtool` read that. Both have the same samples: what differs is under which names they are described.

use std::collections::HashMap;

/// How the metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's text format, 0.0.4.
    Text,
}

impl Format {
    /// For a request with this `Accept`.
    pub fn accepted(accept: Option<&str>) -> Self {
        let wish = |kind: &str| {
            let ranges = accept.unwrap_or_default().split(',').map(|range| range.split(';').map(str::trim));
            let of_kind = ranges.filter_map(|mut parts| parts.next()?.eq_ignore_ascii_case(kind).then_some(parts));
            of_kind.map(weight).fold(0.0, f32::max)
        };
        let openmetrics = wish("application/openmetrics-text");
        if openmetrics > 0.0 && openmetrics >= wish("text/plain") { Self::OpenMetrics } else { Self::Text }
    }

    /// Its name in `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What is there as OpenMetrics, in this format.
    pub(super) fn write(self, metrics: String) -> String {
        match self {
            Self::OpenMetrics => metrics,
            Self::Text => text(&metrics),
        }
    }
}

/// How much somebody wants what these parameters belong to (RFC 9110, 12.4.2).
fn weight<'a>(parameters: impl Iterator<Item = &'a str>) -> f32 {
    let mut weights = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().unwrap_or(0.0))
    });
    weights.next().unwrap_or(1.0)
}

/// There, what is described is the sample, and there is no type for what is always 1.
fn text(metrics: &str) -> String {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: HashMap<&str, &str> = types.collect();
    let mut out = String::with_capacity(metrics.len());
    for line in metrics.lines() {
        let Some((kind, name, rest)) = described(line) else {
            // The last line says that nothing is missing; here it is a comment.
            if !line.starts_with('#') || line == END {
                out.push_str(line);
                out.push('\n');
            }
            continue;
        };
        let (suffix, rest) = match (types.get(name), kind) {
            (Some(&"counter"), _) => ("_total", rest),
            (Some(&"info"), "TYPE") => ("_info", "gauge"),
            (Some(&"info"), _) => ("_info", rest),
            (Some(_) | None, _) => ("", rest),
        };
        if kind != "UNIT" {
            out.push_str(&format!("# {kind} {name}{suffix} {rest}\n"));
        }
    }
    out
}

const END: &str = "# EOF";

/// What a line describes: with which word, of which metric, and how.
fn described(line: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    Some((kind, name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_describes_samples_and_has_no_units() {
        let metrics = "# HELP a_bytes What.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total{x=\"y\"} 1\n\
                       # HELP b The program.\n# TYPE b info\nb_info{version=\"1\"} 1\n\
                       # HELP c Now.\n# TYPE c gauge\nc 2\n# EOF\n";
        let text = "# HELP a_bytes_total What.\n# TYPE a_bytes_total counter\na_bytes_total{x=\"y\"} 1\n\
                    # HELP b_info The program.\n# TYPE b_info gauge\nb_info{version=\"1\"} 1\n\
                    # HELP c Now.\n# TYPE c gauge\nc 2\n# EOF\n";
        assert_eq!(Format::Text.write(metrics.to_owned()), text);
        assert_eq!(Format::OpenMetrics.write(metrics.to_owned()), metrics);
    }

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [prometheus, "application/openmetrics-text", "Application/OpenMetrics-Text; version=1.0.0, */*"] {
            assert_eq!(Format::accepted(Some(accept)), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            None,
            Some("*/*"),
            Some("text/html,*/*;q=0.8"),
            Some("TEXT/PLAIN"),
            Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"),
            Some("application/openmetrics-text;q=0,text/plain"),
            Some("application/openmetrics-text; Q=0.2, text/plain; q=0.5"),
            Some("application/openmetrics-text;q=much"),
        ] {
            assert_eq!(Format::accepted(accept), Format::Text, "{accept:?}");
        }
    }
}
