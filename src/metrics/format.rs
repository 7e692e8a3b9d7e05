//! The two formats that the metrics are asked for in.
//!
//! OpenMetrics is what Prometheus asks for; the older text format is for tools that say they take no other. Both have the same
//! samples: what differs is under which names they are described.

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
        match accept {
            Some(accept) if accept.contains("text/plain") && !accept.contains("openmetrics-text") => Self::Text,
            Some(_) | None => Self::OpenMetrics,
        }
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

/// There, what is described is the sample, and there is no type for what is always 1.
fn text(metrics: &str) -> String {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: HashMap<&str, &str> = types.collect();
    let mut out = String::with_capacity(metrics.len());
    for line in metrics.lines() {
        let Some((kind, name, rest)) = described(line) else {
            if !line.starts_with('#') {
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
                    # HELP c Now.\n# TYPE c gauge\nc 2\n";
        assert_eq!(Format::Text.write(metrics.to_owned()), text);
        assert_eq!(Format::OpenMetrics.write(metrics.to_owned()), metrics);
    }

    #[test]
    fn openmetrics_is_what_one_gets_who_does_not_ask_for_the_other() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [None, Some("*/*"), Some("text/html,*/*;q=0.8"), Some(prometheus)] {
            assert_eq!(Format::accepted(accept), Format::OpenMetrics, "{accept:?}");
        }
        assert_eq!(Format::accepted(Some("text/plain")), Format::Text);
        assert_eq!(Format::accepted(Some("text/plain;version=0.0.4;q=1,*/*;q=0.1")), Format::Text);
    }
}
