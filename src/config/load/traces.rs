//! Where traces go: what `--otlp-endpoint` says, or what OpenTelemetry's own variables do. What these say of sampling, of the
//! resource and of headers, its library reads; here, whether that will be of use.
//!
//! Spec: OpenTelemetry, Environment Variable Specification; OpenTelemetry Protocol Exporter.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Reader;
use crate::cli::Cli;
use crate::config::secret::Secret;
use crate::config::{AccessLogNames, TracesConfig};

/// The variables that are looked at here.
pub(crate) const VARIABLES: &[&str] = &[
    DISABLED,
    EXPORTER,
    TRACES_ENDPOINT,
    ENDPOINT,
    TRACES_PROTOCOL,
    PROTOCOL,
    TRACES_TIMEOUT,
    TIMEOUT,
    SAMPLER,
    SAMPLER_ARG,
];

const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// The flag.
const FLAG: &str = "otlp-endpoint";

type Variables = BTreeMap<&'static str, Secret>;

/// What this program was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Build {
    Traces,
    NoTraces,
}

const BUILD: Build = if cfg!(feature = "otel") { Build::Traces } else { Build::NoTraces };

/// What is wrong: with which flag or variable, and what would be right.
type Wrong = (&'static str, String);

/// None means that a problem was recorded.
pub(super) fn read(cli: &Cli, reader: &mut Reader, names: Option<AccessLogNames>) -> Option<Option<TracesConfig>> {
    let variables = &cli.origins.otel;
    let url = match url(cli.otlp_endpoint.as_deref(), variables, BUILD) {
        Ok(url) => url,
        // Its value is not shown: there may be a password in it.
        Err((FLAG, wanted)) => {
            reader.problem(FLAG, None, wanted);
            return None;
        }
        Err((variable, wanted)) => {
            reader.problems.push(super::Problem { origin: variable.to_owned(), value: None, wanted });
            return None;
        }
    };
    let Some(url) = url else { return Some(None) };
    let (timeout, mut doubts) = (timeout(variables), protocol(variables));
    doubts.extend(sampler(variables));
    Some(Some(TracesConfig { url: Secret::new(url), timeout, names: names?, doubts: doubts.into_iter().collect() }))
}

/// Where spans are posted to; none: there are no traces.
fn url(flag: Option<&str>, variables: &Variables, build: Build) -> Result<Option<String>, Wrong> {
    if build == Build::NoTraces {
        let wanted = "left out: this mcp-mux was built without traces (cargo build --release --features otel builds one with them)";
        return if flag.is_some() { Err((FLAG, wanted.to_owned())) } else { Ok(None) };
    }
    let variable = |name: &str| variables.get(name).map(Secret::expose);
    let url = match (flag, variable(TRACES_ENDPOINT), variable(ENDPOINT)) {
        (Some(url), _, _) => below(FLAG, url)?,
        (None, Some(url), _) => {
            checked(TRACES_ENDPOINT, url)?;
            url.to_owned()
        }
        (None, None, Some(url)) => below(ENDPOINT, url)?,
        (None, None, None) => return Ok(None),
    };
    let is_off = variable(DISABLED).is_some_and(|text| text.eq_ignore_ascii_case("true"))
        || (flag.is_none() && variable(EXPORTER) == Some("none"));
    Ok(Some(url).filter(|_| !is_off))
}

/// The place of traces below the URL of all signals.
fn below(origin: &'static str, url: &str) -> Result<String, Wrong> {
    let url = url.trim().trim_end_matches('/');
    if url.contains(['?', '#']) {
        return Err((origin, wanted()));
    }
    checked(origin, url)?;
    Ok(format!("{url}/v1/traces"))
}

fn checked(origin: &'static str, url: &str) -> Result<(), Wrong> {
    let uri: Option<http::Uri> = url.parse().ok();
    let is_good = uri.is_some_and(|uri| {
        let named =
            uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
        named && matches!(uri.scheme_str(), Some("http" | "https"))
    });
    if is_good { Ok(()) } else { Err((origin, wanted())) }
}

fn wanted() -> String {
    "a URL such as http://127.0.0.1:4318; what the collector wants to know who one is from goes into OTEL_EXPORTER_OTLP_HEADERS"
        .to_owned()
}

/// In milliseconds; what is none is as if it was not there.
fn timeout(variables: &Variables) -> Duration {
    let read = |name| variables.get(name)?.expose().parse().ok().filter(|milliseconds| *milliseconds > 0);
    read(TRACES_TIMEOUT).or_else(|| read(TIMEOUT)).map_or(TIMEOUT_DEFAULT, Duration::from_millis)
}

/// What is said of the protocol, and cannot be.
fn protocol(variables: &Variables) -> Vec<String> {
    let (name, value) = match (variables.get(TRACES_PROTOCOL), variables.get(PROTOCOL)) {
        (Some(value), _) => (TRACES_PROTOCOL, value),
        (None, Some(value)) => (PROTOCOL, value),
        (None, None) => return Vec::new(),
    };
    if value.expose() == "http/protobuf" {
        return Vec::new();
    }
    vec![format!("{name} is ignored: spans are sent by http/protobuf, which is what the endpoint has to speak")]
}

/// What is said of sampling, and is of no use.
fn sampler(variables: &Variables) -> Option<String> {
    let sampler = variables.get(SAMPLER)?.expose();
    match sampler {
        "always_on" | "always_off" | "parentbased_always_on" | "parentbased_always_off" => None,
        "traceidratio" | "parentbased_traceidratio" => {
            let ratio = variables.get(SAMPLER_ARG).and_then(|ratio| ratio.expose().parse::<f64>().ok());
            let is_good = ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio));
            (!is_good).then(|| format!("{SAMPLER_ARG} is no number from 0 to 1: everything is sampled"))
        }
        _ => Some(format!(
            "{SAMPLER} is none that is known: what has no parent is sampled, everything else as its parent is"
        )),
    }
}

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&'static str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| (*name, Secret::new((*value).to_owned()))).collect()
    }

    #[test]
    fn the_flag_wins_over_the_variable_of_traces_and_that_over_the_one_of_everything() {
        let both = [(TRACES_ENDPOINT, "https://a.example/x?key=1"), (ENDPOINT, "http://b:4318/")];
        let of = |flag, pairs: &[_]| url(flag, &variables(pairs), Build::Traces).unwrap();
        assert_eq!(of(None, &[]), None);
        assert_eq!(of(Some("http://c:1/p/"), &both).as_deref(), Some("http://c:1/p/v1/traces"));
        assert_eq!(of(None, &both).as_deref(), Some("https://a.example/x?key=1"));
        assert_eq!(of(None, &both[1..]).as_deref(), Some("http://b:4318/v1/traces"));
        assert_eq!(of(None, &[both[1], (EXPORTER, "none")]), None);
        assert_eq!(of(Some("http://c:1"), &[(DISABLED, "TRUE")]), None);
        assert!(of(Some("http://c:1"), &[(DISABLED, "no"), (EXPORTER, "none")]).is_some());
    }

    #[test]
    fn what_is_no_url_is_refused_under_its_name_and_not_repeated() {
        for wrong in [
            "",
            "collector:4318",
            "grpc://collector:4317",
            "http://user:secret@collector",
            "http://c/?secret",
            "http://",
        ] {
            let (origin, wanted) = url(Some(wrong), &Variables::new(), Build::Traces).unwrap_err();
            assert!(origin == FLAG && !wanted.contains("secret"), "{wrong}: {wanted}");
        }
        let wrong = variables(&[(ENDPOINT, "localhost:4317")]);
        assert_eq!(url(None, &wrong, Build::Traces).unwrap_err().0, ENDPOINT);
    }

    #[test]
    fn a_program_without_traces_refuses_the_flag_and_ignores_the_variables() {
        let (origin, wanted) = url(Some("http://c:1"), &Variables::new(), Build::NoTraces).unwrap_err();
        assert!(origin == FLAG && wanted.contains("--features otel"), "{wanted}");
        assert_eq!(url(None, &variables(&[(ENDPOINT, "nonsense")]), Build::NoTraces), Ok(None));
    }

    #[test]
    fn values_that_are_of_no_use_are_said_and_those_that_are_not() {
        assert_eq!(timeout(&variables(&[(TIMEOUT, "1500"), (TRACES_TIMEOUT, "soon")])), Duration::from_millis(1500));
        assert_eq!(timeout(&variables(&[(TIMEOUT, "0")])), TIMEOUT_DEFAULT);
        for (pairs, doubts) in [
            (&[(SAMPLER, "parentbased_traceidratio"), (SAMPLER_ARG, "0.25")][..], 0),
            (&[(SAMPLER, "traceidratio"), (SAMPLER_ARG, "25")], 1),
            (&[(SAMPLER, "sometimes"), (PROTOCOL, "grpc")], 2),
            (&[(SAMPLER, "always_off"), (TRACES_PROTOCOL, "http/protobuf"), (PROTOCOL, "grpc")], 0),
        ] {
            let variables = variables(pairs);
            assert_eq!(sampler(&variables).iter().len() + protocol(&variables).len(), doubts, "{variables:?}");
        }
    }
}
