//! What [`super::render`] shows of the servers there are and of the process.

use std::fmt::Error;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit as NamedUnit;

use super::names::{COUNTERS, Family, GAUGES, Unit};
use super::process;
use super::server::{ServerMetrics, all};

/// Every server's metrics.
#[derive(Debug)]
pub(super) struct Servers;

impl Collector for Servers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let servers = all();
        for family in GAUGES {
            encode_family(&mut encoder, family, MetricType::Gauge, &servers, |server, gauge, mut metric| {
                metric.encode_gauge(&server.level(gauge))
            })?;
        }
        for family in COUNTERS {
            encode_family(&mut encoder, family, MetricType::Counter, &servers, |server, counter, mut metric| {
                metric.encode_counter::<NoLabels, _, u64>(&server.counted(counter), None)
            })?;
        }
        encode_requests(&mut encoder, &servers)
    }
}

type NoLabels = [(&'static str, &'static str); 0];

fn encode_family<T: Copy>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family<T>,
    kind: MetricType,
    servers: &[ServerMetrics],
    encode: impl Fn(&ServerMetrics, T, MetricEncoder<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let unit = match family.unit {
        Unit::None => None,
        Unit::Bytes => Some(NamedUnit::Bytes),
    };
    let mut metric = encoder.encode_descriptor(family.name, &sentence(family.help), unit.as_ref(), kind)?;
    for server in servers {
        for (member, value) in family.members {
            let of = ("server", server.name());
            match family.label {
                Some(label) => encode(server, *member, metric.encode_family(&[of, (label, *value)])?)?,
                None => encode(server, *member, metric.encode_family(&[of])?)?,
            }
        }
    }
    Ok(())
}

fn encode_requests(encoder: &mut DescriptorEncoder<'_>, servers: &[ServerMetrics]) -> Result<(), Error> {
    let readings: Vec<_> = servers
        .iter()
        .flat_map(|server| server.readings().map(move |(method, readings)| (server.name(), method, readings)))
        .flat_map(|(server, method, readings)| readings.into_iter().map(move |reading| (server, method, reading)))
        .collect();
    let labels = |server, method: super::Method, outcome: super::Outcome| {
        [("server", server), ("method", method.as_str()), ("outcome", outcome.as_str())]
    };
    let help = sentence("Requests of clients that have come to an end");
    let mut metric = encoder.encode_descriptor("requests", &help, None, MetricType::Counter)?;
    for (server, method, reading) in &readings {
        let labels = labels(server, *method, reading.outcome);
        metric.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&reading.count, None)?;
    }
    let help =
        sentence("How long requests of clients took, from when they were read to when their answers were handed out");
    let unit = NamedUnit::Seconds;
    let mut metric = encoder.encode_descriptor("request_duration", &help, Some(&unit), MetricType::Histogram)?;
    // Twenty lines each, so only those that have happened.
    for (server, method, reading) in readings.iter().filter(|(.., reading)| reading.count > 0) {
        let labels = labels(server, *method, reading.outcome);
        let mut metric = metric.encode_family(&labels)?;
        metric.encode_histogram::<NoLabels>(reading.seconds, reading.count, &reading.buckets, None)?;
    }
    Ok(())
}

/// The process's own, under the names that everybody uses.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let seconds = |duration: Duration| duration.as_secs_f64();
        let started = "When the process started, in seconds since 1970";
        let gauges = [
            ("process_resident_memory", Some(NamedUnit::Bytes), "Memory in use", process::resident_bytes()),
            ("process_open_fds", None, "Open file descriptors", process::open_files()),
            ("process_max_fds", None, "How many there may be", process::open_files_max()),
        ];
        for (name, unit, help, value) in gauges {
            let Some(value) = value else { continue };
            let mut metric = encoder.encode_descriptor(name, &sentence(help), unit.as_ref(), MetricType::Gauge)?;
            metric.encode_gauge(&value)?;
        }
        let unit = NamedUnit::Seconds;
        let mut metric =
            encoder.encode_descriptor("process_start_time", &sentence(started), Some(&unit), MetricType::Gauge)?;
        metric.encode_gauge(&seconds(process::started()))?;
        let help = sentence("Processor time used, without that of the server processes");
        let mut metric = encoder.encode_descriptor("process_cpu", &help, Some(&unit), MetricType::Counter)?;
        metric.encode_counter::<NoLabels, _, f64>(&seconds(process::processor_time()), None)
    }
}

/// As the registry has it with its own.
fn sentence(help: &str) -> String {
    format!("{help}.")
}

/// What is known of the program, as a metric that is always 1.
pub(super) const fn build() -> [(&'static str, &'static str); 1] {
    [("version", env!("CARGO_PKG_VERSION"))]
}
